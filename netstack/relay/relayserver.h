/* SPDX-License-Identifier: MIT */
/* The built-in peer relay: allocation, the three-way bind, the VNI table, expiry. A pure machine.
 *
 * It owns which pairs may use which VNI and from which addresses; the packet workers copy the bulk of the
 * data by the entries it publishes (ENTRY_SET, ENTRY_DEL). Until both sides are bound, and for whatever
 * a worker hands back, it forwards itself.
 *
 *   OFF --set(on)--> BINDING --bound(ok)--> ON --set(off)--> OFF
 *                       |  ^                 |
 *        bound(error)   v  | allocate()      | set(other port): new sockets, new key, empty table
 *                     FAILED <---------------+ socket_failed()
 *
 *   one side of a session:   -Bind-> generation stored, Challenge out -Answer, MAC right-> bound
 *
 * Work before authentication is one table lookup; the reply to a Bind is never larger than the Bind; a
 * datagram causes at most one other; data goes only between the two bound addresses, byte for byte.
 *
 * Owner: control thread. Spec: peer-relay; limits: RELIABILITY 5. */
#ifndef NETSTACK_RELAY_RELAYSERVER_H
#define NETSTACK_RELAY_RELAYSERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bucket.h"
#include "base/compiler.h"
#include "base/env.h"
#include "base/ep.h"
#include "base/key.h"
#include "base/map.h"
#include "base/mono.h"
#include "relay/relayfair.h"

enum {
	RELAYSERVER_LIVE_MAX = 4096,      /* sessions, default of cfg.live_max */
	RELAYSERVER_LIVE_LIMIT = 65536,   /* the most that cfg.live_max may be */
	RELAYSERVER_LIVE_PER_NODE = 128,  /* sessions of one requesting node */
	RELAYSERVER_ALLOC_PER_S = 10,     /* allocations of one requesting node ... */
	RELAYSERVER_ALLOC_BURST = 20,     /* ... and how many at once */
	RELAYSERVER_BIND_LIFE_S = 30,     /* an unbound session; peer-relay 6 */
	RELAYSERVER_STEADY_LIFE_S = 300,  /* a bound one, since the quieter side was last heard */
	RELAYSERVER_SWEEP_S = 30,
	RELAYSERVER_SECRET_S = 120,       /* age at which the challenge secret is replaced */
	RELAYSERVER_ADDRS_MAX = 32,       /* endpoints announced */
	RELAYSERVER_VNI_MAX = 0xffffff,
};

/* Where an announced endpoint comes from; also the order in which they are announced. */
enum relayserver_origin {
	RELAYSERVER_STATIC,  /* the operator named it */
	RELAYSERVER_LOCAL,   /* address of an interface with our port */
	RELAYSERVER_PUBLIC,  /* the host is reached by it (coordinator URL, cloud metadata), our port */
	RELAYSERVER_PORTMAP, /* mapped by the gateway */
	RELAYSERVER_STUN,    /* observed from the relay's own sockets */
	RELAYSERVER_ORIGINS,
};

enum relayserver_state { RELAYSERVER_OFF, RELAYSERVER_BINDING, RELAYSERVER_ON, RELAYSERVER_FAILED };

/* Why a datagram or a request was dropped; names in relayserver_drop_name(). */
enum relayserver_drop {
	RELAYSERVER_DROP_OFF,            /* the server does not run */
	RELAYSERVER_DROP_SHORT,          /* less than a Geneve header */
	RELAYSERVER_DROP_UNKNOWN_VNI,
	RELAYSERVER_DROP_NOT_DISCO,      /* control bit with another protocol */
	RELAYSERVER_DROP_MALFORMED,      /* envelope or message */
	RELAYSERVER_DROP_UNKNOWN_KEY,    /* sender is not one of the session's two */
	RELAYSERVER_DROP_FORGED,         /* the box did not open */
	RELAYSERVER_DROP_RATE,           /* too many forgeries from this source, or too many boxes in all */
	RELAYSERVER_DROP_WRONG_BODY,     /* other VNI, other remote key, generation 0, other message */
	RELAYSERVER_DROP_GENERATION,     /* Answer without a matching Bind */
	RELAYSERVER_DROP_MAC,            /* Answer to a challenge that we did not send there */
	RELAYSERVER_DROP_BAD_ADDR,       /* loopback, link-local, multicast, unspecified, own listener */
	RELAYSERVER_DROP_NOT_BOUND,      /* data before both sides are bound */
	RELAYSERVER_DROP_STRANGER,       /* data from an address that is not bound */
	RELAYSERVER_DROP_BANDWIDTH,      /* over the configured limit or the session's share of it */
	RELAYSERVER_DROPS,
};

/* Why an allocation was refused. */
enum relayserver_refusal {
	RELAYSERVER_REFUSED_OFF,
	RELAYSERVER_REFUSED_NO_ADDR,     /* "server not ready, retry after 3s" */
	RELAYSERVER_REFUSED_KEY,         /* zero, equal, or the server's own key */
	RELAYSERVER_REFUSED_RATE,
	RELAYSERVER_REFUSED_NODE_LIMIT,
	RELAYSERVER_REFUSED_FULL,        /* every session is bound, or the VNI pool is exhausted */
	RELAYSERVER_REFUSALS,
};

struct relayserver_cfg {
	uint32_t live_max;           /* sessions in all; 0 = RELAYSERVER_LIVE_MAX */
	uint32_t live_per_node;      /* 0 = RELAYSERVER_LIVE_PER_NODE */
	/* Limits of relay/relayfair for what this machine forwards itself; 0 = unlimited. Entries published to
	 * packet workers are theirs to limit. */
	uint64_t bytes_per_s;
	uint64_t session_bytes_per_s;
};

/* What an allocation gives; the engine puts it into the disco response. */
struct relayserver_endpoint {
	struct disco_key server;
	struct disco_key clients[2]; /* sorted */
	uint64_t lamport_id;
	uint32_t vni;
	uint32_t bind_life_s;
	uint32_t steady_life_s;
	struct ep addrs[RELAYSERVER_ADDRS_MAX];
	size_t n_addrs;
};

enum relayserver_out_kind {
	RELAYSERVER_SOCKETS,   /* make it so: relay sockets on 'port' (0 = any) if 'is_on', else none; then
				* call relayserver_bound() (only if 'is_on') */
	RELAYSERVER_SEND,      /* send 'data' to 'to' from the relay's socket of that family */
	RELAYSERVER_ENTRY_SET, /* workers forward VNI 'vni' between 'a' and 'b' from now on */
	RELAYSERVER_ENTRY_DEL, /* workers forget 'vni' */
};

struct relayserver_out {
	enum relayserver_out_kind kind;
	bool is_on;           /* SOCKETS */
	uint16_t port;        /* SOCKETS */
	struct ep to;         /* SEND */
	const uint8_t *data;  /* SEND; borrowed from the machine or from the last input's buffer: valid until
			       * the next call of input, allocate or poll */
	size_t size;          /* SEND */
	uint32_t vni;         /* ENTRY_* */
	struct ep a, b;       /* ENTRY_SET: address of the lower and of the higher disco key */
};

struct relayserver_node {
	struct node_key key;
	uint32_t live;         /* sessions it asked for */
	struct bucket bucket;  /* allocations it may still ask for */
};

struct relayserver_side {
	struct ep bound;           /* unset until an Answer was accepted */
	uint32_t generation;       /* Bind waiting for its Answer; 0 = none */
	struct mono seen;          /* last Answer or data */
	uint64_t rx_pkts, rx_bytes; /* data received from this side, Geneve header included */
	bool has_shared;
	uint8_t shared[32];        /* precomputed box key with this client */
};

struct relayserver_session {
	struct disco_key clients[2]; /* sorted */
	struct relayserver_side side[2];
	uint64_t lamport_id;
	struct mono created;
	struct relayserver_node *node; /* who asked first */
	uint32_t vni;                  /* 0 = slot is free */
	uint32_t prev, next;           /* index + 1 in the list of unbound (least recent first) or free sessions */
	bool is_live;                  /* false: closed, waiting for its ENTRY_DEL to be fetched */
	bool is_published;             /* ENTRY_SET is out */
	bool is_due;                   /* poll has to report it */
};

struct relayserver_counters {
	uint64_t fwd_pkts[2][2];  /* [in][out], 0 = IPv4, 1 = IPv6; own and the workers' */
	uint64_t own_pkts[2][2], own_bytes[2][2]; /* of them: forwarded here, while a session is not bound */
	uint64_t fwd_bytes[2][2];
	uint64_t drops[RELAYSERVER_DROPS];
	uint64_t refusals[RELAYSERVER_REFUSALS];
	uint64_t allocated;
	uint64_t evicted;         /* unbound sessions that made room */
	uint64_t challenges;      /* Binds answered */
	uint64_t binds;           /* Answers accepted */
};

/* One row of the table that slows down forgers: a source and the client key it forges. */
struct relayserver_guard {
	uint64_t who;         /* hash of source address and key */
	struct bucket bucket; /* forgeries still allowed */
};

enum { RELAYSERVER_GUARDS = 256, RELAYSERVER_OWN_IPS = 64, RELAYSERVER_OWN_PORTS = 16 };

struct relayserver {
	const struct env *env;       /* borrowed */
	struct relayserver_cfg cfg;
	enum relayserver_state state;
	int err;                     /* FAILED: negative errno of the socket */
	bool want_on;
	uint16_t want_port;
	bool sockets_due;            /* RELAYSERVER_SOCKETS has to be sent */
	uint16_t port[2];            /* bound ports by family (0 = IPv4, 1 = IPv6); 0 = none */
	struct disco_priv priv;      /* fresh at each start */
	struct disco_key pub;
	struct ep addrs[RELAYSERVER_ORIGINS][RELAYSERVER_ADDRS_MAX];
	size_t n_addrs[RELAYSERVER_ORIGINS];
	struct ip own_ips[RELAYSERVER_OWN_IPS];
	size_t n_own_ips;
	uint16_t own_ports[RELAYSERVER_OWN_PORTS];
	size_t n_own_ports;
	struct relayserver_session *sessions; /* owned, cfg.live_max of them; null until first started */
	uint32_t *due;                        /* owned ring of sessions that poll has to report */
	uint32_t due_first, n_due;
	struct map by_vni, by_pair, nodes;
	uint32_t n_live, n_bound;
	uint32_t unbound_first, unbound_last; /* index + 1; least recently used first */
	uint32_t free_first;                  /* index + 1 */
	uint32_t n_used;                      /* slots beyond were never used */
	uint32_t next_vni;
	uint64_t next_lamport;
	uint8_t secret[2][32];       /* current, previous */
	bool has_secret[2];
	struct mono secret_at;
	struct mono sweep_at;
	struct relayserver_guard guards[RELAYSERVER_GUARDS];
	uint8_t guard_seed[16];
	struct bucket opens;         /* boxes opened in all */
	struct relayserver_out out;  /* the one datagram that is due; size 0 = none */
	uint8_t out_buf[256];        /* a challenge */
	struct relayfair *fair;      /* owned; null = no limit is configured */
	struct relayserver_counters n;
};

/* Prepares an idle relay. 'env' is borrowed for the machine's life. Returns 0 or -ENOMEM. */
MESH_MUST_USE int relayserver_init(struct relayserver *s, const struct relayserver_cfg *cfg,
				   const struct env *env);

/* Wanted state. A change of 'is_on' or 'port' stops the running server (sessions are forgotten) and emits
 * RELAYSERVER_SOCKETS; the same values again do nothing unless the server has FAILED, which tries anew. */
void relayserver_set(struct relayserver *s, struct mono now, bool is_on, uint16_t port);

/* The answer to RELAYSERVER_SOCKETS with is_on: 'err' 0 and the bound ports (port6 0 = no IPv6), or a negative
 * errno: state FAILED, the next allocation tries again. Success makes a new key and an empty table.
 * Returns 0 or -ENOMEM (state FAILED). */
MESH_MUST_USE int relayserver_bound(struct relayserver *s, struct mono now, int err, uint16_t port4,
				    uint16_t port6);

/* A socket died: everything is forgotten, state FAILED. */
void relayserver_socket_failed(struct relayserver *s, struct mono now, int err);

/* Replaces the endpoints of one origin (at most RELAYSERVER_ADDRS_MAX are kept). A port of 0 stands for the
 * bound port of that family. Loopback, unspecified, multicast, link-local and tailnet addresses are left
 * out; of RELAYSERVER_STATIC only unspecified and multicast ones. */
void relayserver_set_addrs(struct relayserver *s, enum relayserver_origin origin, const struct ep *eps,
			   size_t n);

/* What the host itself listens on: data is never forwarded to one of 'ips' with one of 'ports' (other
 * daemons' UDP ports, STUN) nor to the relay's own ports. The node's own WireGuard port is left out of
 * 'ports', or self-relay would not work. At most RELAYSERVER_OWN_IPS and RELAYSERVER_OWN_PORTS are kept. */
void relayserver_set_own(struct relayserver *s, const struct ip *ips, size_t n_ips, const uint16_t *ports,
			 size_t n_ports);

/* The endpoints that an allocation announces now, in order, with their origins (either may be null).
 * Returns how many; writes at most RELAYSERVER_ADDRS_MAX. */
size_t relayserver_addrs(const struct relayserver *s, struct ep *eps, enum relayserver_origin *origins);

/* Allocates for the pair 'a', 'b' (any order) on behalf of the node 'requester', whose right to do so the
 * caller has checked (peer-relay 3). A live session of the pair is returned again.
 *
 * Returns 0; -EAGAIN: not running or no address known yet; -EPROTO: a key is zero, equal to the other or
 * the server's own; -ENOBUFS: a limit is reached. Refusals are counted by reason. */
MESH_MUST_USE int relayserver_allocate(struct relayserver *s, struct mono now,
				       const struct node_key *requester, const struct disco_key *a,
				       const struct disco_key *b, struct relayserver_endpoint *out);

/* A datagram from one of the relay's sockets (never STUN: that is for netcheck). Drain poll before the next
 * one: 'buf' must stay valid until then. */
void relayserver_input(struct relayserver *s, struct mono now, const struct ep *from, const uint8_t *buf,
		       size_t size);

/* Workers forwarded 'pkts' packets with 'bytes' bytes that came from side 'from' (0 = 'a' of ENTRY_SET) since
 * the last report; 'seen' is when the last one came. Unknown VNIs are ignored. Report before each tick. */
void relayserver_used(struct relayserver *s, uint32_t vni, unsigned from, struct mono seen, uint64_t pkts,
		      uint64_t bytes);

bool relayserver_poll(struct relayserver *s, struct mono now, struct relayserver_out *out);
struct mono relayserver_deadline(const struct relayserver *s);
void relayserver_tick(struct relayserver *s, struct mono now);
void relayserver_wipe(struct relayserver *s);

/* Sessions sorted by VNI: the first whose VNI is greater than 'after' (0 = start), or null. Borrowed until
 * the next call that changes the machine. */
const struct relayserver_session *relayserver_next(const struct relayserver *s, uint32_t after);

/* Is the session bound on both sides? */
static inline bool relayserver_is_bound(const struct relayserver_session *e)
{
	return ep_is_set(&e->side[0].bound) && ep_is_set(&e->side[1].bound);
}

/* For relaybind.c: may anything ever be sent to this address (see relayserver_set_own())? */
bool relayserver_may_send_to(const struct relayserver *s, const struct ep *to);
/* For relaybind.c: side 'side' proved itself at 'from'. */
void relayserver_bind_side(struct relayserver *s, struct mono now, struct relayserver_session *e, unsigned side,
			   const struct ep *from);

/* "unknown_vni" and so on, for counters in status and metrics. */
const char *relayserver_drop_name(enum relayserver_drop drop);
const char *relayserver_refusal_name(enum relayserver_refusal refusal);

#endif
