/* SPDX-License-Identifier: MIT */
/* The data plane as the control thread sees it: TUN device, UDP sockets, the packet workers, the
 * relay's forwarding, and the messages between them and the engine. act.c calls this and nothing
 * below it.
 *
 *   control thread                        workers
 *   dp_publish_view()   whole view  ──►   out:  TUN → route → filter note → seal → UDP
 *   dp_set_peer_path()  pointer     ──►   in:   UDP → open → replay → source → filter → TUN
 *   dp_key_install()    slot        ──►   relay: one per core, while the relay is on
 *   dp_inject(), dp_derp_in() ring  ──►
 *   dp_poll()                 ring  ◄──   handshake, disco, STUN, DERP out, …
 *   dp_send()             sends at once on the workers' socket
 *
 * All functions belong to the control thread. None of them waits for a worker, except dp_close()
 * and dp_relay_close(), which join threads. What the workers may still be reading is freed after a
 * grace period (daemon/snapshot.h). Spec: ARCHITECTURE 4 to 6. */
#ifndef DAEMON_DP_H
#define DAEMON_DP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "base/mono.h"
#include "wire/pathaddr.h"
#include "wire/peerid.h"

struct dp;
struct crypto;
struct filter;
struct keypair;
struct log;
struct loop;
struct routes;

enum { DP_ERR_MAX = 200, DP_TARGETS_MAX = 2, DP_IFNAME_MAX = 16, DP_RELAY_SOCKS_MAX = 16 };

struct dp_cfg {
	const char *tun_name; /* wanted interface name, "tailscale0" */
	uint16_t port;        /* wanted UDP port; 0 = any; taken = any other (dp_port() tells) */
	uint32_t mtu;         /* 0 = 1280 */
	const struct crypto *crypto; /* borrowed; wg/aead.h */
	const struct log *log;       /* borrowed; may be null */
	struct loop *loop;           /* borrowed; wakes 'on_events' */
	/* Called on the loop when dp_poll() has something; poll until it returns false. */
	void (*on_events)(void *ctx, struct mono now);
	void *ctx;
	/* What the relay forwards at most, in all and for one session (relay/relayfair); 0 = unlimited. With a
	 * limit one worker forwards everything, so that it can share fairly. */
	uint64_t relay_bytes_per_s, relay_session_bytes_per_s;
	/* Switches for tests: force the fallbacks that old kernels need (dp_cfg_force()). */
	bool use_no_vnet_hdr, use_no_uso, use_no_gso, use_no_gro;
	/* Threads that help each direction with its crypto (daemon/crew.h): crew_default(), or forced. 'crypto'
	 * has a lane for each beside the worker's. */
	unsigned n_helpers;
	/* Socket mark of all our sockets; 0 = 0x80000 (host-network 3.1). */
	uint32_t fwmark;
};

/* Sets the switches for tests from 'words', separated by commas: "no-vnet-hdr", "no-uso", "no-gso",
 * "no-gro"; "helpers-0" to "helpers-3" sets their number. Returns 0; -EINVAL: an unknown word. */
MESH_MUST_USE int dp_cfg_force(struct dp_cfg *cfg, const char *words);

/* Opens TUN and sockets and starts the workers; nothing is received for real until a view is
 * published.
 * '*out' is the caller's, to be closed with dp_close(). On failure 'err' holds one line for the
 * user
 * ("tun: tailscale0: already in use"). Returns 0 or a negative errno. */
MESH_MUST_USE int dp_open(struct dp **out, const struct dp_cfg *cfg, char err[static DP_ERR_MAX]);
/* Stops and joins the workers, drops the rings, wipes and frees everything. Null is accepted. */
void dp_close(struct dp *dp);

/* Port of the main socket: both families use the same. 0 if the family could not be opened (IPv6
 * only). */
uint16_t dp_port(const struct dp *dp, enum ip_family family);
/* The interface's real name and index. */
const char *dp_ifname(const struct dp *dp);
uint32_t dp_ifindex(const struct dp *dp);
/* After a link change: forgets which paths refused UDP GSO or were too narrow, and opens the socket
 * of a family that failed before. The sockets are bound to the wildcard address with a mark, so on
 * Linux they live through every link change and keep their port. */
void dp_rebind(struct dp *dp);

/* --- what the workers look up --- */

/* One peer of a view. */
struct dp_view_peer {
	struct peer_id id;
	bool is_wg_only; /* plain WireGuard peer: told apart in events only */
	bool is_jailed;  /* may answer but never open a flow to us: its packets meet an empty filter
			  */
};

/* The whole view. 'routes' maps prefixes to peer_id.index. Ownership of 'routes' and 'filter' moves
 * to the data plane on success; they are freed after the grace period that follows the next view.
 */
struct dp_view {
	const struct dp_view_peer *peers; /* borrowed until the call returns; any order */
	size_t n_peers;
	struct routes *routes; /* wg/routes.h; null = no routes */
	struct filter *filter; /* policy/filter.h; null = drop everything that comes in */
};

/* Publishes a view. A peer whose id (index and generation) was in the last view keeps its path,
 * keys and counters; one that is missing loses them, and its key pairs are wiped. Paths and keys
 * can be set for peers of the newest view only. Returns 0; -ENOMEM (the old view stays; ownership
 * did not move); -EINVAL: two peers with one index. */
MESH_MUST_USE int dp_publish_view(struct dp *dp, const struct dp_view *view);
/* The same for a view that differs from the newest in few peers, in time that does not depend on how many there
 * are: those of 'gone' are taken away, 'view->peers' are added, 'view->routes' is the next version
 * (routes_patch()) of the newest view's; its filter stays, 'view->filter' is ignored. Returns 0; -ENOENT: a peer of
 * 'gone' is not in the view, or there is none; -EINVAL: an index is taken; -ENOMEM. On failure nothing changed; ownership
 * of the routes moves in any case. */
MESH_MUST_USE int dp_change_view(struct dp *dp, const struct dp_view *view, const struct peer_id *gone,
				 size_t n_gone);
/* Takes over a next version of the newest view's routes that will not be published, as a dp_change_view() that fails
 * does: it can be freed with that view only. A whole view must come next. */
void dp_keep_routes(struct dp *dp, struct routes *routes);

/* Where packets to the peer go: 'targets' (0..DP_TARGETS_MAX); with two, each packet is sent on
 * both, as long as the copies stay below 10 Mbit/s (RELIABILITY 8). None: packets are dropped and
 * counted. DERP targets come back as DP_EV_DERP_OUT. Returns 0, -ENOENT for a peer not in the view,
 * -ENOMEM. */
MESH_MUST_USE int dp_set_peer_path(struct dp *dp, struct peer_id peer,
				   const struct path_addr *targets, size_t n);

/* Makes 'kp' receivable under its local index; ownership moves to the data plane on success. The
 * engine may keep the pointer for keypair counters until it drops the key or the peer. Returns 0;
 * -ENOENT for a peer not in the view; -EEXIST if the local index is in use; -ENOMEM. */
MESH_MUST_USE int dp_key_install(struct dp *dp, struct peer_id peer, struct keypair *kp);
/* Seals with the installed key pair of that local index from now on. Returns 0 or -ENOENT. */
MESH_MUST_USE int dp_key_use(struct dp *dp, struct peer_id peer, uint32_t local_index);
/* Forgets the key pair; it is wiped after the grace period. If it was the one to send with, the
 * peer has none. Harmless if unknown. */
void dp_key_drop(struct dp *dp, uint32_t local_index);

/* --- packets from control --- */

/* Names a local socket: the main ones, or the relay's (their number is in the events). */
enum { DP_SOCK_MAIN = 0, DP_SOCK_RELAY = 1 };

/* Sends one datagram from socket 'sock' now: handshake, disco, STUN, relay challenge, forwarded
 * relay data. To a PATH_DIRECT or PATH_RELAY path; for RELAY the 8-byte header is put in front
 * here: 'geneve_proto' is 0x7A11 or 0x7A12, 'geneve_control' its control bit (both ignored for
 * DIRECT). A relay server that writes its own Geneve header sends to PATH_DIRECT. Returns 0 or a
 * negative errno
 * (-EMSGSIZE, -ENETUNREACH, -EAFNOSUPPORT without a socket of that family, -EAGAIN if it is full,
 * …). */
struct dp_send {
	struct path_addr to;
	uint16_t geneve_proto;
	bool geneve_control;
	uint32_t sock; /* DP_SOCK_MAIN, or the 'sock' of an event */
	const void *data;
	size_t size;
};
MESH_MUST_USE int dp_send(struct dp *dp, const struct dp_send *s);

/* Gives plaintext IP packets (or one of size 0: a keepalive) to the out worker, which seals and
 * sends them as if they came from TUN, without route lookup. For staged packets, keepalives and
 * TSMP. Packets that find no usable key come back as DP_EV_WANT_SESSION (not the empty one).
 * Returns 0; -ENOENT for an unknown peer; -ENOBUFS if the ring is full (counted). */
MESH_MUST_USE int dp_inject(struct dp *dp, struct peer_id peer, const void *packet, size_t size);

/* Is there room for what one read from a DERP connection gives? If not, look again soon. */
bool dp_has_derp_room(const struct dp *dp);
/* A WireGuard data message (type 4) that came by DERP, for the in worker, who looks for it after dp_derp_flush():
 * one wake-up for all that a read gave. Returns 0; -EBADMSG if it is not one; -ENOBUFS if the ring is full
 * (counted). */
MESH_MUST_USE int dp_derp_in(struct dp *dp, uint32_t region, const void *data, size_t size);
void dp_derp_flush(struct dp *dp);

/* --- events --- */

enum dp_event_kind {
	DP_EV_HANDSHAKE, /* WireGuard messages 1..3, bare, from 'path' */
	DP_EV_DISCO,  /* disco packet, bare, from 'path' ('geneve_control' if behind a header with
			 that bit) */
	DP_EV_STUN,   /* STUN message from 'path' */
	DP_EV_GENEVE, /* whole datagram with its Geneve header, for our relay server */
	DP_EV_WANT_SESSION, /* 'data' is an IP packet to 'peer' that found no usable key: start a
			       handshake, stage it (at most 128 a peer), dp_inject() it when the key
			       is in use */
	DP_EV_DERP_OUT,     /* sealed packet to 'peer', to be sent through 'path.region' */
	DP_EV_TSMP, /* inner IP packet with protocol 99, or answer to an echo of our own, from 'peer' by 'path'; never reaches the
		       host */
	DP_EV_KEY_ACTIVITY, /* key pair 'local_index' of 'peer' sealed or opened its first packet,
			       or some more 500 ms later: read keypair_activity(). The first opened
			       packet confirms it */
	DP_EV_RX_PATH, /* data of 'peer' now arrives by 'path' (it came by another, or for the first
			  time; at most 10 a second a peer). Never changes where we send */
	DP_EV_ACTIVITY, /* 'activity' of 'peer' since its last such event; every ~100 ms while
			   active */
	DP_EV_PATH_MTU, /* a datagram to 'peer' by 'path' was too big for the path: GSO is off for
			   it, and the packet was sent again alone or dropped */
	DP_EV_TUN_GONE, /* the TUN device was deleted or failed; 'error' */
};

/* Traffic of one peer by kind of path. Keepalives count as packets, not as data. */
enum dp_via { DP_VIA_DIRECT, DP_VIA_RELAY, DP_VIA_DERP, DP_VIA_N };

struct dp_activity {
	uint64_t tx_pkts[DP_VIA_N],
		tx_bytes[DP_VIA_N]; /* since the last event; bytes of WireGuard messages, as upstream counts */
	uint64_t rx_pkts[DP_VIA_N], rx_bytes[DP_VIA_N];
	uint64_t tx_data_pkts, rx_data_pkts;    /* those that were not keepalives */
	struct mono last_tx, last_rx;           /* last authentic packet ever; MONO_ZERO = never */
	struct mono last_tx_data, last_rx_data; /* last that was not a keepalive */
	struct mono last_rx_via[DP_VIA_N];
};

struct dp_event {
	enum dp_event_kind kind;
	struct peer_id
		peer; /* WANT_SESSION, DERP_OUT, TSMP, KEY_ACTIVITY, RX_PATH, ACTIVITY, PATH_MTU */
	struct path_addr path; /* where it came from or goes to */
	bool geneve_control;   /* DISCO */
	uint32_t sock; /* HANDSHAKE, DISCO, STUN, GENEVE: the local socket; answer from the same */
	uint32_t local_index; /* KEY_ACTIVITY */
	int error;            /* TUN_GONE: negative errno */
	struct mono when;     /* arrival time */
	const uint8_t *data;  /* borrowed until the next dp_poll() */
	size_t size;
	struct dp_activity activity; /* ACTIVITY */
};

/* The next event. Returns false if there is none, or after so many that the loop's other work
 * should have its turn; then 'on_events' is called again in the next one. */
bool dp_poll(struct dp *dp, struct mono now, struct dp_event *ev);

/* --- the relay's forwarding --- */

/* Opens the relay's sockets on 'port' (0 = any), min(16, cores) per family, and starts their
 * workers. If the relay is open on another port it moves only if the new one can be opened;
 * otherwise all stays as it was. 'port' equal to the main port: the main sockets serve the relay
 * too (no sockets, no workers). On failure 'err' has one line ("relay: udp4 port 40000: Address
 * already in use"). IPv6 failing alone is logged and ignored. Returns 0 or a negative errno. */
MESH_MUST_USE int dp_relay_open(struct dp *dp, uint16_t port, char err[static DP_ERR_MAX]);
/* Stops forwarding, joins its workers, closes its sockets. Harmless if it is not open. */
void dp_relay_close(struct dp *dp);
/* Port of the relay for a family; 0 if there is none. */
uint16_t dp_relay_port(const struct dp *dp, enum ip_family family);

/* Forwards data of 'vni' between the two bound addresses, byte for byte, until dp_relay_del(); what
 * else arrives with that VNI comes as DP_EV_GENEVE. For a known VNI the addresses are replaced and
 * the counts go on. 'sock' per side is the socket its packets came in by (event 'sock'). Returns 0,
 * -EINVAL, -ENOMEM. */
struct dp_relay_side {
	struct ep ep;
	uint32_t sock;
};
MESH_MUST_USE int dp_relay_set(struct dp *dp, uint32_t vni,
			       const struct dp_relay_side sides[static 2]);
void dp_relay_del(struct dp *dp, uint32_t vni);

/* What came from each side on the data path and was forwarded by the workers, Geneve header
 * included. */
struct dp_relay_stats {
	uint64_t pkts[2], bytes[2];
	struct mono last[2]; /* MONO_ZERO = never */
};
/* Returns 0 or -ENOENT. */
MESH_MUST_USE int dp_relay_stats(const struct dp *dp, uint32_t vni, struct dp_relay_stats *st);

/* --- figures --- */

/* Label 'path' of the upstream metrics. */
enum dp_path { DP_DIRECT4, DP_DIRECT6, DP_DERP, DP_RELAY4, DP_RELAY6, DP_PATH_N };

/* Why packets from peers were dropped. */
enum dp_in_drop {
	DP_IN_UNKNOWN,     /* datagram of no known kind */
	DP_IN_NO_KEY,      /* unknown receiver index */
	DP_IN_KEY_EXPIRED, /* key pair past its age or count */
	DP_IN_AUTH,        /* authentication failed */
	DP_IN_REPLAY,      /* replayed or behind the window */
	DP_IN_SOURCE,      /* inner source does not belong to the peer */
	DP_IN_MALFORMED,   /* inner packet is no IP packet */
	DP_IN_ACL,         /* every filter drop: label "acl" */
	DP_IN_TUN,         /* TUN would not take it */
	DP_IN_RING,        /* a ring to control was full */
	DP_IN_N,
};

/* Why packets to peers were dropped. */
enum dp_out_drop {
	DP_OUT_MULTICAST,  /* label "multicast" */
	DP_OUT_LINK_LOCAL, /* label "link_local_unicast" */
	DP_OUT_TOO_SHORT,  /* label "too_short" */
	DP_OUT_PROTOCOL,   /* label "unknown_protocol" */
	DP_OUT_NO_ROUTE,   /* the rest is label "error" */
	DP_OUT_NO_PATH,    /* peer without a path */
	DP_OUT_RING,       /* a ring to control was full, or too many packets wait for a session */
	DP_OUT_MALFORMED,  /* an offload header that makes no sense */
	DP_OUT_SEND,       /* the socket refused it */
	DP_OUT_N,
};

/* Label 'reason' of meshd_peer_relay_dropped_packets_total. */
enum dp_relay_drop {
	DP_RELAY_UNKNOWN_VNI,
	DP_RELAY_BAD_SOURCE,
	DP_RELAY_NOT_BOUND,
	DP_RELAY_RATE_LIMIT,
	DP_RELAY_SEND_ERROR,
	DP_RELAY_DROP_N,
};

struct dp_counters {
	uint64_t in_pkts[DP_PATH_N], in_bytes[DP_PATH_N];   /* relay: Geneve header included */
	uint64_t out_pkts[DP_PATH_N], out_bytes[DP_PATH_N]; /* relay: without it */
	uint64_t in_dropped[DP_IN_N];
	uint64_t out_dropped[DP_OUT_N];
	uint64_t relay_pkts[2][2], relay_bytes[2][2]; /* [in][out], 0 = udp4, 1 = udp6 */
	uint64_t relay_dropped[DP_RELAY_DROP_N];      /* by the workers; the machine has its own */
	uint64_t rxq_overflow, relay_rxq_overflow;    /* SO_RXQ_OVFL: lost in the kernel */
	uint64_t gso_fallbacks;                       /* batches sent again without UDP GSO */
	uint64_t dups_limited; /* packets that went on the first of two targets alone */
	uint64_t tun_fallbacks; /* super-packets that TUN refused, written again packet by packet */
	uint64_t bad_csums;    /* inner packets with a wrong checksum that were not gathered for it */
	uint64_t tun_reads, tun_writes, udp_recvs, udp_sends; /* system calls */
};

/* Sums the workers' counters. */
void dp_counters(const struct dp *dp, struct dp_counters *c);
const char *dp_in_drop_name(enum dp_in_drop r);   /* "no_key" … */
const char *dp_out_drop_name(enum dp_out_drop r); /* "no_route" … */

/* Totals of one peer since it entered the view: bytes of inner packets. Returns 0 or -ENOENT. */
struct dp_peer_totals {
	uint64_t rx_bytes, tx_bytes;
	struct mono last_rx, last_tx;
};
MESH_MUST_USE int dp_peer_totals(const struct dp *dp, struct peer_id peer,
				 struct dp_peer_totals *t);

/* "ipsec-mb", "openssl" or "libsodium"; "vnet_hdr+uso", "vnet_hdr", "single"; for status output. */
const char *dp_aead_name(const struct dp *dp);
const char *dp_tun_mode(const struct dp *dp);

#endif
