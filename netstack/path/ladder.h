/* SPDX-License-Identifier: MIT */
/* The path to one peer: direct -> peer relay -> DERP.
 *
 * A ladder knows everything about reaching ONE peer. It sends and answers Pings, learns addresses,
 * compares paths exactly as the reference does, and names at every moment the path packets take.
 * It owns a prober (candidates, Pings in flight); relay paths are offered to it by the relay
 * client. The engine carries its outputs out and tells it what arrived. Control thread only.
 *
 *   ┌──────┐  pong, best unknown or worse  ┌─────────┐  6.5 s without a pong,  ┌───────────┐
 *   │ DERP │ ────────────────────────────► │ TRUSTED │ ──── link change ─────► │ UNTRUSTED │
 *   └──────┘                               └─────────┘ ◄── pong on this path ─ └───────────┘
 *     ▲  ▲                       two extra   │   ▲ ▲                             │      │
 *     │  │                       pings lost  │   │ └ 1 s, and the next rung      │      │
 *     │  │                                   ▼   │   answers: it is best      traffic   │
 *     │  └──────── 3 s without an ───────  ┌─────────┐                           │      │
 *     │                answer              │ SUSPECT │ ◄─────────────────────────┘      │
 *     │                                    └─────────┘                                  │
 *     └────────────────── a ping to it stays unanswered for 5 s ────────────────────────┘
 *
 *   DERP       no UDP path is known: packets go by DERP alone
 *   TRUSTED    packets go by 'best' alone
 *   UNTRUSTED  packets go by 'best' AND by DERP (the reference's rule)
 *   SUSPECT    an active flow doubts it: packets go by 'best' AND by the next rung
 *
 * Stock timers hold for idle peers (path-selection 2..7, 18). For an active flow: silence of
 * max(300 ms, 4 x srtt) asks the path in use; two unanswered Pings make it suspect; the next rung
 * is kept warm; a heartbeat every 2 s is followed up (RELIABILITY 8, "How F1 reaches 1 s"). While such
 * a flow is not direct, addresses are asked every 2 s (every second on a relay path) and own endpoints looked up
 * every 4 s; a peer whose CallMeMaybe is not heard is left in peace with ours for 8.5 s, so that it gets to send one.
 *
 * Inputs in any state are legal: what does not fit is counted and ignored. After each input and
 * each ladder_tick() the owner drains ladder_poll() and asks ladder_deadline(). */
#ifndef NETSTACK_PATH_LADDER_H
#define NETSTACK_PATH_LADDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/mono.h"
#include "path/pathself.h"
#include "path/prober.h"
#include "wire/disco.h"
#include "wire/pathaddr.h"
#include "wire/relaypath.h"

enum {
	LADDER_RELAYS_MAX = 4, /* relay paths remembered and kept warm */
	LADDER_USER_PINGS_MAX = 8,
	LADDER_PONGS_MAX = 8,    /* answers waiting for ladder_poll() */
	LADDER_PONGS_PER_S = 50, /* answers to this peer, burst LADDER_PONG_BURST */
	LADDER_PONG_BURST = 100,
	LADDER_CMM_PER_S = 1, /* CallMeMaybes taken from this peer, burst LADDER_CMM_BURST */
	LADDER_CMM_BURST = 3,
	LADDER_DUP_MS = 3000, /* longest duplicate sending while a flow is active */
	/* The data plane may send at most this much twice per second and peer (RELIABILITY 8). */
	LADDER_DUP_BYTES_PER_S = 10 * 1000 * 1000 / 8,
};

/* What the netmap says about the peer. */
struct ladder_peer {
	struct node_key node;
	struct disco_key disco;     /* zero = none: the peer speaks no disco */
	const struct ep *endpoints; /* borrowed until the call returns */
	size_t n_endpoints;
	uint32_t home_derp;     /* 0 = unknown */
	int32_t cap;            /* capability version; relay paths need DISCO_CAP_RELAY */
	bool is_wireguard_only; /* no disco, no DERP, no relay (path-selection 14) */
	bool is_silent;         /* node attribute silent-disco: no heartbeat */
};

/* Where packets to the peer go now. */
struct ladder_targets {
	struct path_addr first;  /* PATH_NONE: nowhere (drop, count "no path") */
	struct path_addr second; /* the same packet also goes here; PATH_NONE: no second copy */
	bool is_trusted; /* 'first' has proved itself within the last 6.5 s, and is not suspect */
	bool is_suspect;
	struct disco_key server; /* 'first' is a relay path: the relay server's key */
	int64_t latency_ns;      /* of 'first'; 0 = unknown (DERP) */
};

enum ladder_out_kind {
	LADDER_SEND,           /* seal 'msg' for the peer's disco key, send it by 'path' */
	LADDER_PATH,           /* ladder_targets() changed: publish 'targets' */
	LADDER_WANT_RELAYS,    /* relayclient_discover(); relay paths in use: 'known', 'n_known' */
	LADDER_WANT_ENDPOINTS, /* gather own endpoints, then pathself_set_endpoints() and
				* ladder_input_own_endpoints() */
	LADDER_PING_RESULT,    /* user ping 'result' is finished */
	LADDER_SEEN_AS,        /* the peer sees this node at 'seen_as' (from a direct Pong) */
};

struct ladder_ping_result {
	uint64_t id;           /* as given to ladder_user_ping() */
	bool is_answered;      /* false: no answer within 5 s; 'path' is PATH_NONE */
	struct path_addr path; /* where the answered Ping was sent */
	int64_t latency_ns;
};

struct ladder_out {
	enum ladder_out_kind kind;
	struct path_addr path;                      /* SEND */
	struct disco_msg msg;                       /* SEND */
	struct ladder_targets targets;              /* PATH */
	struct relay_path known[LADDER_RELAYS_MAX]; /* WANT_RELAYS: need no new handshake */
	size_t n_known;
	struct ladder_ping_result result; /* PING_RESULT */
	struct ep seen_as;                /* SEEN_AS */
};

/* A relay path that has proved itself. */
struct ladder_relay {
	struct relay_path rp;
	struct mono last_pong;
	struct mono last_ping;
	uint8_t missed; /* Pings in a row without an answer */
};

/* The best path that is not DERP. */
struct ladder_best {
	struct path_addr path;   /* PATH_NONE: none */
	struct disco_key server; /* relay paths */
	int64_t latency_ns;
	uint32_t mtu; /* proven wire MTU; 1360 without a probe */
	struct mono trusted_until;
	struct mono last_pong;
	struct ep seen_as; /* direct: this node's address there, as the peer sees it; unset = unknown */
};

struct ladder {
	/* Set at init. */
	struct pathself *self; /* borrowed */
	/* From the netmap. */
	struct node_key node;
	struct disco_key disco;
	uint32_t home_derp;
	int32_t cap;
	bool is_wireguard_only;
	bool is_silent;
	/* Path state. */
	struct prober prober;
	struct ladder_best best;
	struct ladder_relay
		relays[LADDER_RELAYS_MAX]; /* relay paths other than, or equal to, best */
	uint8_t n_relays;
	uint32_t heard_derp;             /* region the peer was last heard on; 0 = none */
	struct ladder_targets published; /* as last given out by LADDER_PATH */
	bool is_published;
	/* Activity. */
	struct mono last_sent;        /* last external send noted */
	struct mono unanswered_since; /* first send since 'last_rx'; NEVER = none */
	struct mono last_rx;          /* last authenticated packet or Pong on 'best' */
	struct mono rx_since;         /* packets have come by 'best' without a pause since; NEVER = they don't */
	struct mono flow_since;       /* begin of the present activity */
	int64_t srtt_ns;              /* smoothed round trip of 'best'; 0 = unknown */
	/* Watching 'best'. */
	struct mono suspect_since; /* NEVER = not suspect */
	struct mono probe_at;      /* next extra Ping or verdict; NEVER = none */
	uint8_t probes;            /* Pings on best in a row that wait for an answer */
	bool is_hinted;            /* the peer was heard elsewhere: one lost Ping is enough */
	struct mono derp_ping;     /* last Ping by DERP */
	/* Rounds. */
	struct mono heartbeat_at;         /* NEVER = not running */
	struct mono last_round;           /* last full discovery round; ZERO = none yet */
	struct mono last_relay_discovery; /* ZERO = none, or limits were reset */
	struct mono best_at;              /* when best became what it is; ZERO = never */
	struct mono behind_at;            /* last data by DERP while best was a trusted relay path; ZERO = none */
	struct mono cmm_at;               /* when a CallMeMaybe is due; NEVER = none */
	bool cmm_waits;                   /* for own endpoints */
	struct mono last_cmm;             /* when one was last wanted; ZERO = never */
	struct mono cmm_sent;             /* when one last left; ZERO = never */
	uint32_t cmm_sent_eps;            /* pathself's n_eps_changes then */
	uint8_t n_cmm_unheard;            /* that left since the peer's last one, or since something changed */
	/* Calling the peer off a dead path (ladder_call_off()). */
	enum ladder_call_off {
		LADDER_OFF_NONE,
		LADDER_OFF_NAME,  /* due: a CallMeMaybe that names the dead address too */
		LADDER_OFF_WAITS, /* that one went out */
		LADDER_OFF_LEAVE, /* due: one without it, upon which the peer forgets it */
		LADDER_OFF_DONE,  /* until suspicion ends */
	} call_off;
	struct ep off_addr; /* this node's address on the dead path */
	size_t n_relay_servers;           /* candidate servers known to the node */
	/* Outputs waiting for ladder_poll(). */
	struct ladder_pong {
		struct path_addr to;
		struct disco_pong pong;
	} pongs[LADDER_PONGS_MAX];
	uint8_t n_pongs;
	bool want_relays;
	bool want_endpoints;
	struct ep seen_as, told_seen_as;
	struct ladder_user_ping {
		uint64_t id;
		struct mono until;
		bool is_done;
		struct ladder_ping_result result;
	} user[LADDER_USER_PINGS_MAX];
	uint8_t n_user;
	/* Limits per peer (RELIABILITY 5). */
	struct bucket pong_limit;
	struct bucket cmm_limit;
};

/* Prepares a ladder without endpoints; call ladder_set_peer() next. 'self' is borrowed. Cannot
 * fail. */
void ladder_init(struct ladder *l, struct mono now, struct pathself *self);
void ladder_wipe(struct ladder *l);

/* The peer's description, at first and after each change of it in the netmap. A changed disco key
 * keeps candidates and best; Pings must renew trust. A changed relay flag of some node is
 * ladder_input_relays(). Returns 0, or -ENOMEM: some endpoints are missing, the rest holds. */
MESH_MUST_USE int ladder_set_peer(struct ladder *l, struct mono now,
				  const struct ladder_peer *peer);

/* Disco messages of this peer, opened and parsed, with the path they came by. */
void ladder_input_ping(struct ladder *l, struct mono now, const struct path_addr *from,
		       const struct disco_ping *ping);
/* Returns false if the transaction id is not this ladder's: try the next node with that disco key,
 * then the relay client. */
bool ladder_input_pong(struct ladder *l, struct mono now, const struct path_addr *from,
		       const struct disco_pong *pong);
void ladder_input_call_me_maybe(struct ladder *l, struct mono now, const struct disco_eps *eps);

/* Activity notes. Needed at most every 100 ms: a WireGuard packet was sent (by whatever path), or
 * one was received and authenticated by way of 'from' (every 100 ms for each path, so that a packet
 * on another path than the one in use is noticed). */
void ladder_input_sent(struct ladder *l, struct mono now);
void ladder_input_received(struct ladder *l, struct mono now, const struct path_addr *from);

/* A relay path proved itself in a handshake (relayclient RELAYCLIENT_OFFER). */
void ladder_input_offer(struct ladder *l, struct mono now, const struct relay_path *offer);
/* A relay server is known to be gone (own server switched off, grant taken away): its paths are
 * dropped at once. */
void ladder_input_relay_lost(struct ladder *l, struct mono now, const struct disco_key *server);
/* The node's set of candidate relay servers, 'n' of them. 'is_event': something changed for the
 * better (a server appeared, a peer's PeerRelay turned true, the filter changed): limits are reset
 * once. */
void ladder_input_relays(struct ladder *l, struct mono now, size_t n, bool is_event);

/* The host's links changed. 'is_major': addresses or sockets changed; paths must prove themselves
 * anew. Minor changes only reset limits. */
void ladder_input_link(struct ladder *l, struct mono now, bool is_major);
/* Own endpoints were gathered (pathself_set_endpoints()): a waiting CallMeMaybe goes out. */
void ladder_input_own_endpoints(struct ladder *l, struct mono now);
/* A DERP connection came back: a CallMeMaybe that went into the dead one is repeated, for peers in use. */
void ladder_input_derp_up(struct ladder *l, struct mono now);
/* Sending by 'path' failed for good (host or network unreachable). */
void ladder_input_send_failed(struct ladder *l, struct mono now, const struct path_addr *path);

/* Starts a disco ping for a person (path-selection 13). 'id' is the caller's; 'size' is the wanted
 * disco packet size, 0 = smallest. Ends in exactly one LADDER_PING_RESULT unless this fails.
 * Returns 0; -EBADMSG: size over DISCO_PING_SIZE_MAX; -ENOBUFS: too many at once; -ENOENT: no path
 * to try at all; -EPROTO: the peer speaks no disco. */
MESH_MUST_USE int ladder_user_ping(struct ladder *l, struct mono now, uint64_t id, size_t size);

bool ladder_poll(struct ladder *l, struct mono now, struct ladder_out *out);
struct mono ladder_deadline(const struct ladder *l);
void ladder_tick(struct ladder *l, struct mono now);

/* Where packets go at 'now'. The last LADDER_PATH said the same unless outputs are waiting. */
struct ladder_targets ladder_targets(const struct ladder *l, struct mono now);

/* The 0..2 paths for a handshake initiation or response: the path in use, and DERP too when the
 * last Pong of the path is older than one heartbeat (path-selection, trap 15). Returns the count.
 */
unsigned int ladder_handshake_paths(const struct ladder *l, struct mono now,
				    struct path_addr out[static 2]);

/* Did a flow use this peer within the last seconds? The DERP connection to its region is then kept
 * open. */
bool ladder_is_active(const struct ladder *l, struct mono now);

/* Relay paths that need no new handshake: the trusted best one and warm ones (for
 * relayclient_input_via()). Returns the count. */
size_t ladder_known_relays(const struct ladder *l, struct mono now,
			   struct relay_path out[static LADDER_RELAYS_MAX]);

/* For status and "why not direct": fills up to 'max' candidates, best first, returns how many
 * exist. */
size_t ladder_candidates(const struct ladder *l, struct mono now, struct prober_view *out,
			 size_t max);

#endif
