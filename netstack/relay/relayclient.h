/* SPDX-License-Identifier: MIT */
/* The client side of the peer relay, for all peers of one node: ask servers for an endpoint, bind
 * to it, prove that the peer is reachable through it, offer the path (peer-relay 9, 10).
 *
 *   discover ──► ALLOCATING ──response──► BINDING ──challenge──► ANSWERED ──pong──► offer, done
 *   call-me-maybe-via ──────────────────────┘
 *
 * Each state repeats what it sent after 0.5, 1 and 2 s (ANSWERED: the Answer and a Ping).
 * ALLOCATING is given up after 10 s, BINDING and ANSWERED after the bind lifetime, at most 30 s.
 *
 * One allocation per (peer, server node), one handshake per (peer, server key). The machine never
 * learns about path choice: the engine passes which relay paths are already in use. Control thread
 * only. Spec: netstack/wire/disco.md, "Relay client". */
#ifndef NETSTACK_RELAY_RELAYCLIENT_H
#define NETSTACK_RELAY_RELAYCLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/env.h"
#include "base/ep.h"
#include "base/key.h"
#include "base/mono.h"
#include "wire/disco.h"
#include "wire/pathaddr.h"
#include "wire/relaypath.h"

enum {
	RELAYCLIENT_SERVERS_MAX = 64,  /* candidate servers asked at once */
	RELAYCLIENT_WORK_MAX = 1024,   /* allocations and handshakes at a time, all peers */
	RELAYCLIENT_PEER_VIAS_MAX = 8, /* handshakes at a time that one peer may cause */
	RELAYCLIENT_ALLOC_S = 10,
	RELAYCLIENT_BIND_S = 30,
	/* The bind lifetime we name in a CallMeMaybeVia, at most. A stock peer sends one Bind and then waits for so
	 * long, deaf to further ones: where its UDP was blocked at that moment, it would stay off the relay for 30 s. */
	RELAYCLIENT_VIA_BIND_S = 4,
	RELAYCLIENT_PINGS_MAX = 10, /* Pings in one handshake (disco 7) */
	RELAYCLIENT_ADDRS_MAX = 32, /* addresses of one server that are tried */
	RELAYCLIENT_PAST_MAX = 64,  /* outcomes remembered */
	RELAYCLIENT_KNOWN_MAX = 4,  /* relay paths in use that are remembered per peer */
};

/* A node that may be asked for an endpoint: it holds relay-target on us (peer-relay 3). */
struct relayclient_server {
	struct node_key node;
	struct disco_key disco; /* the node's, not the relay server's */
	bool is_self;           /* this node's own relay server */
};

/* The other end of a relay path. */
struct relayclient_peer {
	struct node_key node;
	struct disco_key disco;
};

enum relayclient_out_kind {
	/* Seal 'msg' (ALLOC_REQUEST) with the NODE disco keys for node 'to' and send it by its
	 * home DERP. */
	RELAYCLIENT_SEND_ALLOC,
	/* Give msg.alloc_request to the relay server in this process and its answer back to
	 * relayclient_input_response() with this node's own keys. */
	RELAYCLIENT_LOCAL_ALLOC,
	/* Seal 'msg' (CALL_ME_MAYBE_VIA) for peer 'to' and send it by its home DERP. */
	RELAYCLIENT_SEND_VIA,
	/* Seal 'msg' (BIND, BIND_ANSWER) with 'box' and send it to path.ep behind Geneve: path.vni,
	 * disco, control bit set. */
	RELAYCLIENT_SEND_BIND,
	/* Seal 'msg' (PING) for peer 'to' and send it by 'path': Geneve without control bit. */
	RELAYCLIENT_SEND_PING,
	/* The path 'offer' to peer 'to' works: ladder_input_offer(). */
	RELAYCLIENT_OFFER,
};

struct relayclient_out {
	enum relayclient_out_kind kind;
	struct node_key to;          /* server node, or peer */
	struct disco_key to_disco;   /* disco key that goes with it */
	struct path_addr path;       /* SEND_BIND, SEND_PING */
	const struct disco_box *box; /* SEND_BIND; borrowed until the next call */
	struct disco_msg msg;
	struct relay_path offer; /* OFFER */
};

struct relayclient_counters {
	uint64_t allocs, alloc_repeats, alloc_timeouts;
	uint64_t binds, bind_repeats, bind_timeouts;
	uint64_t offers;
	uint64_t duplicates;    /* work skipped because the same was running or in use */
	uint64_t bad_responses; /* unexpected, wrong pair, wrong generation, zero key */
	uint64_t bad_challenges;
	uint64_t drop_limit; /* over a limit above */
};

/* How far the way to a peer through one server node came, for "why not by relay". */
enum relayclient_step {
	RELAYCLIENT_ASKING,       /* allocation requested */
	RELAYCLIENT_NO_RESPONSE,  /* ... and never answered: offline, no server, no grant */
	RELAYCLIENT_BINDING,      /* allocated: 'vni'; Bind sent */
	RELAYCLIENT_NO_CHALLENGE, /* ... and none of its addresses answers */
	RELAYCLIENT_BOUND,        /* bound at 'bound'; the peer is pinged through it */
	RELAYCLIENT_NO_PONG,      /* ... and never answered: the peer could not bind */
	RELAYCLIENT_WORKED,       /* offered, with 'latency_ns' */
};

struct relayclient_outcome {
	struct node_key peer, server;
	enum relayclient_step step;
	uint32_t vni;
	struct ep bound;
	int64_t latency_ns;
};

struct relayclient_work;

struct relayclient {
	const struct env *env; /* borrowed */
	struct node_key node;
	struct disco_priv priv; /* secret */
	struct disco_key disco;
	bool is_enabled; /* false: disable-relay-client, only-tcp-443 */
	struct relayclient_server servers[RELAYCLIENT_SERVERS_MAX];
	size_t n_servers;
	struct relayclient_work *work; /* owned list */
	size_t n_work;
	uint32_t alloc_generation; /* of the last request; starts at 1 */
	uint32_t bind_generation;  /* of the last handshake; never 0 */
	uint64_t n_again;          /* CallMeMaybeVias that named a raised Lamport id */
	struct relayclient_outcome past[RELAYCLIENT_PAST_MAX]; /* ring of finished work */
	size_t n_past;                                         /* ever recorded */
	struct relayclient_counters n;
};

/* 'env' is borrowed; the keys are copied. Cannot fail. */
void relayclient_init(struct relayclient *rc, const struct node_key *node,
		      const struct disco_priv *priv, const struct env *env);
void relayclient_wipe(struct relayclient *rc);

/* A new own disco key: all work is cancelled. */
void relayclient_set_key(struct relayclient *rc, const struct disco_priv *priv);
/* Kill switches (peer-relay 3). Off empties the candidate set and refuses CallMeMaybeVia; paths in
 * use are not torn down. */
void relayclient_set_enabled(struct relayclient *rc, bool is_enabled);
/* Replaces the candidate set; surplus entries are dropped and counted. Running work goes on.
 * Returns true if a server was added: then ladder_input_relays(..., true) for every peer. */
bool relayclient_set_servers(struct relayclient *rc, const struct relayclient_server *servers,
			     size_t n);
/* Number of servers that may be asked for a path to 'peer'; the peer itself never counts. */
size_t relayclient_n_servers(const struct relayclient *rc, const struct node_key *peer);

/* Asks every candidate server for an endpoint to 'peer', unless that is running already. 'known'
 * are relay paths in use (LADDER_WANT_RELAYS): no handshake follows for the same server key and
 * VNI. */
void relayclient_discover(struct relayclient *rc, struct mono now,
			  const struct relayclient_peer *peer, const struct relay_path *known,
			  size_t n_known);

/* An allocation response that came by DERP from node 'from' and was sealed with that node's disco
 * key (or from the own server). */
void relayclient_input_response(struct relayclient *rc, struct mono now,
				const struct node_key *from,
				const struct disco_alloc_response *resp);
/* A CallMeMaybeVia of 'peer', checked by the engine as disco 5 demands (DERP, node and disco key
 * agree, capability version). 'known' from ladder_known_relays(). */
void relayclient_input_via(struct relayclient *rc, struct mono now,
			   const struct relayclient_peer *peer, const struct disco_relay_ep *via,
			   const struct relay_path *known, size_t n_known);
/* The box for a packet with the control bit from this sender key, or null: no handshake with that
 * server is running, drop before any cryptography. Borrowed until the next call. */
const struct disco_box *relayclient_box(const struct relayclient *rc,
					const struct disco_key *sender);
/* A Challenge opened with that box, from address 'from' behind Geneve header 'vni'. */
void relayclient_input_challenge(struct relayclient *rc, struct mono now, const struct ep *from,
				 uint32_t vni, const struct disco_key *sender,
				 const struct disco_bind *challenge);
/* A Ping of disco key 'sender' arrived through 'path' (PATH_RELAY). The engine answers it in any
 * case; if a handshake waits there, it pings back. */
void relayclient_input_ping(struct relayclient *rc, struct mono now, const struct path_addr *path,
			    const struct disco_key *sender);
/* A Pong through 'path' that no ladder knew. False: not ours either. */
bool relayclient_input_pong(struct relayclient *rc, struct mono now, const struct path_addr *path,
			    const struct disco_key *sender, const struct disco_pong *pong);

/* The present or last work for 'peer' through the server node 'server'. False: none is known. */
bool relayclient_outcome(const struct relayclient *rc, const struct node_key *peer,
			 const struct node_key *server, struct relayclient_outcome *out);

/* The peer was removed or reset: all its work ends. */
void relayclient_cancel(struct relayclient *rc, const struct node_key *peer);
/* The host's links changed: running handshakes start anew from the new address. */
void relayclient_input_link(struct relayclient *rc, struct mono now);

bool relayclient_poll(struct relayclient *rc, struct mono now, struct relayclient_out *out);
struct mono relayclient_deadline(const struct relayclient *rc);
void relayclient_tick(struct relayclient *rc, struct mono now);

#endif
