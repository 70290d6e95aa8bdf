/* SPDX-License-Identifier: MIT */
/* What all ladders of one node share: who we are, our own endpoints, and the limits that hold for
 * the node as a whole (RELIABILITY 5). One per engine; the ladders borrow it. Control thread only.
 */
#ifndef NETSTACK_PATH_PATHSELF_H
#define NETSTACK_PATH_PATHSELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bucket.h"
#include "base/env.h"
#include "base/ep.h"
#include "base/key.h"
#include "base/mono.h"

enum {
	PATHSELF_EPS_MAX = 64,
	PATHSELF_IFADDRS_MAX = 64,
	PATHSELF_FRESH_S = 27,      /* own endpoints this old may go into a CallMeMaybe (disco 6) */
	PATHSELF_PINGS_PER_S = 512, /* discovery Pings, all peers (RELIABILITY 5) */
	PATHSELF_PONGS_PER_S = 2000,
};

struct pathself_counters {
	uint64_t recv_ping, recv_pong, recv_call_me_maybe;
	uint64_t dup_ping;           /* same id again from the same address: not answered */
	uint64_t drop_pong_limit;    /* pongs not sent: peer's or node's limit */
	uint64_t drop_ping_limit;    /* pings put off: node's limit */
	uint64_t drop_unknown_pong;  /* transaction id not ours or too old */
	uint64_t drop_call_me_maybe; /* over 1/s per peer */
	uint64_t drop_endpoint;      /* endpoints refused or over the limit per peer */
	uint64_t suspect;            /* times a path in use became suspect */
	uint64_t failover;           /* times a suspect path was left */
	uint64_t upgrade;            /* times a better rung was taken */
};

struct pathself {
	const struct env *env;
	struct node_key node; /* goes into every Ping */
	struct ep eps[PATHSELF_EPS_MAX];
	size_t n_eps;
	struct mono eps_at;                      /* when 'eps' was gathered; zero = never */
	uint32_t n_eps_changes;                  /* times a gathering found others than the one before */
	struct ip ifaddrs[PATHSELF_IFADDRS_MAX]; /* of this host: hints to them are refused */
	size_t n_ifaddrs;
	bool has_udp;    /* false: no UDP path is tried at all (always-DERP switch, no socket) */
	bool has_direct; /* false: relay and DERP only (never-direct switch) */
	uint8_t n_stun_silent; /* gatherings in a row that got no answer from outside */
	struct mono udp_pong;  /* last Pong of any peer by UDP; zero = never */
	struct bucket pings, pongs;
	struct pathself_counters n;
};

/* 'env' is borrowed. UDP and direct paths are on. */
void pathself_init(struct pathself *s, struct mono now, const struct node_key *node,
		   const struct env *env);

/* A finished gathering of own endpoints, also when nothing changed: renews freshness. Entries over
 * PATHSELF_EPS_MAX are dropped. Then call ladder_input_own_endpoints() for each ladder. */
void pathself_set_endpoints(struct pathself *s, struct mono now, const struct ep *eps, size_t n);

/* Tells how that gathering went, behind it: with an answer of a STUN server or without. If peers answered by UDP
 * meanwhile, UDP has come back and the gathering came too early: its result does not count as fresh. */
void pathself_set_stun(struct pathself *s, struct mono now, bool has_answer);
/* Is another gathering soon likely to be in vain? It costs TLS connections then. */
bool pathself_stun_is_hopeless(const struct pathself *s, struct mono now);

/* Addresses of this host's interfaces, after each link change. */
void pathself_set_ifaddrs(struct pathself *s, const struct ip *addrs, size_t n);

/* Were they gathered within the last 'ms'? */
bool pathself_eps_are_fresh(const struct pathself *s, struct mono now, int64_t ms);

/* Takes one token of the node-wide limits; false: not now (counted). */
bool pathself_may_ping(struct pathself *s, struct mono now);
bool pathself_may_pong(struct pathself *s, struct mono now);

#endif
