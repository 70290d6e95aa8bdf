/* SPDX-License-Identifier: MIT */
/* How the reference client treats one peer, as far as ours depends on it (path-selection 3..7, peer-relay 9, 10):
 * a model of our own for light nodes, to show what happens between its timers and ours. Latencies are not compared:
 * the first address of a kind that answers is kept while it is trusted, and a direct one beats a relay. */
#ifndef TESTS_SIM_STOCK_H
#define TESTS_SIM_STOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "base/mono.h"
#include "wire/disco.h"
#include "wire/pathaddr.h"

enum { STOCK_CANDS = 16, STOCK_PINGS = 64, STOCK_OUTS = 64, STOCK_BIND_PINGS = 10 };

enum stock_out_kind {
	STOCK_SEND,       /* 'msg' to the peer by 'path' */
	STOCK_SEND_CALL,  /* a CallMeMaybe with the node's endpoints as they are now */
	STOCK_SEND_BIND,  /* 'msg' to the relay server 'path', sealed to its key 'server', control bit */
	STOCK_SEND_ALLOC, /* 'msg' to every relay's node */
};

struct stock_out {
	enum stock_out_kind kind;
	struct path_addr path;
	struct disco_key server;
	struct disco_msg msg;
};

struct stock {
	const struct env *env;
	struct node_key node; /* its own */
	struct disco_key self, peer;
	struct path_addr derp;
	bool has_relays;
	struct stock_cand {
		struct ep ep;
		struct mono pinged; /* ZERO = may be at once */
		bool in_map, is_called, is_seen;
	} cands[STOCK_CANDS];
	size_t n_cands;
	struct path_addr best; /* NONE: DERP alone */
	struct mono trusted_until;
	struct stock_ping {
		struct disco_tx tx;
		struct path_addr to;
		struct mono at;
	} pings[STOCK_PINGS];
	size_t n_pings; /* ever */
	struct mono heartbeat_at, last_sent;
	/* Relay: one allocation and one handshake at a time. */
	struct mono last_relay, alloc_until, alloc_again;
	uint32_t alloc_generation, bind_generation;
	struct disco_relay_ep ep; /* of the handshake */
	struct mono bind_until;   /* ZERO: none runs */
	bool is_answered;
	struct path_addr bound;
	struct disco_tx bind_tx[STOCK_BIND_PINGS];
	size_t n_bind_tx;
	struct stock_out outs[STOCK_OUTS];
	size_t first_out, n_outs;
};

void stock_init(struct stock *s, const struct env *env, const struct node_key *node, const struct disco_key *self);
/* The map: the peer's key and endpoints, and whether there are relays to ask. */
void stock_map(struct stock *s, const struct disco_key *peer, uint32_t region, const struct ep *eps, size_t n,
	       bool has_relays);
/* A packet is about to be sent. */
void stock_sent(struct stock *s, struct mono now);
/* A message of the peer, or of the relay server of the handshake (BIND_CHALLENGE). */
void stock_input(struct stock *s, struct mono now, const struct path_addr *from, const struct disco_msg *msg);
/* Other addresses of its own host. */
void stock_link(struct stock *s);
/* By which paths packets go; both may be set. */
void stock_targets(const struct stock *s, struct mono now, struct path_addr out[static 2]);
bool stock_is_trusted(const struct stock *s, struct mono now);
struct mono stock_deadline(const struct stock *s);
void stock_tick(struct stock *s, struct mono now);
bool stock_poll(struct stock *s, struct stock_out *out);

#endif
