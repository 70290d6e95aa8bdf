/* SPDX-License-Identifier: MIT */
/* Whole nodes of the virtual world: the engine with real WireGuard, joined through the project's
 * own coordinator (wcoord.h). */
#ifndef TESTS_SIM_WHOLE_H
#define TESTS_SIM_WHOLE_H

#include <stdint.h>

#include "base/ep.h"

struct engine;
struct nat;
struct node;
struct wdp;
struct world;

/* Adds and starts a node that joins the world's coordinator with the key. */
struct node *whole_node(struct world *w, const char *name, const char *addr, struct nat *nat,
			const char *auth_key);
struct engine *whole_engine(const struct node *n);
/* Its tailnet address; unset until it has joined. */
struct ip whole_ip(const struct node *n);
const struct wdp *whole_dp(const struct node *n);
/* Carries out what the engine wants; after each call into it from outside. */
void whole_pump(struct node *n);

/* Another process takes the port of its relay server, or lets go of it. */
void whole_take_relay_port(struct node *n, bool is_taken);

/* The last finished ping of a person. */
struct whole_ping {
	uint64_t id; /* 0 = none yet */
	double latency_s;
};
struct whole_ping whole_pings(const struct node *n);
/* How often something (a deadline, a packet, bytes of a stream) called the engine. */
uint64_t whole_wakes(const struct node *n);

#endif
