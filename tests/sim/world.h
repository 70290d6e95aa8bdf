/* SPDX-License-Identifier: MIT */
/* The virtual world: nodes on a virtual network, DERP, control, and flows of numbered packets
 * between them. A scenario builds a topology, starts flows, breaks things and asserts paths, times
 * and counters.
 *
 * Nodes come in two kinds behind one interface. A light node is ladder + relay client + relay
 * server with plain DERP forwarding: fast, for path choice alone and for the seeded soak. A whole
 * node is the engine with real WireGuard; the coordinator and DERP server of the project run inside
 * the world. */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/sim/net.h"
#include "wire/pathaddr.h"

enum {
	WORLD_NODES_MAX = 12,
	WORLD_FLOWS_MAX = 16,
	WORLD_PORT = 41641,       /* every node's UDP port */
	WORLD_RELAY_PORT = 40000, /* of its relay server, when on */
	WORLD_STUN_MS = 40,       /* gathering own endpoints takes this long */
	WORLD_CTL_MS = 60,        /* a change reaches the other nodes by control */
	WORLD_DERP_MS = 20,       /* one leg to the DERP server; the host's delay is added */
	WORLD_WINDOW = 4096,      /* packets remembered to notice a second delivery */
};

struct node;
struct wcoord;
struct world;

struct node_ops {
	/* Other nodes, endpoints or grants changed: take the map anew (light nodes). */
	void (*map)(struct node *n);
	void (*recv)(struct node *n, uint16_t port, const struct ep *from, uint8_t *buf,
		     size_t size);
	void (*send)(struct node *n, struct node *to, const uint8_t *payload, size_t size);
	void (*set_relay)(struct node *n, bool is_on);
	void (*link)(struct node *n);
	/* The process ends and starts again. */
	void (*restart)(struct node *n);
	struct path_addr (*path)(struct node *n, struct node *to, bool *is_trusted,
				 struct path_addr *second);
	struct mono (*deadline)(struct node *n);
	void (*tick)(struct node *n);
	void (*free)(struct node *n);
};

struct node {
	struct world *w;
	struct host *host;
	const struct node_ops *ops;
	void *impl;
	unsigned int index;
	bool is_relay;   /* relay server wanted */
	bool may_relay;  /* holds the grant: others may use it */
	bool is_removed; /* from everybody's map */
	bool is_off;     /* the process does not run */
	bool derp_down;  /* its connection to DERP is cut */
	/* What control knows of it. */
	struct ep eps[16];
	size_t n_eps;
	struct path_addr last_path[WORLD_NODES_MAX]; /* as last seen, to count changes */
	uint64_t path_changes;
	uint64_t actions; /* outputs of its machines */
};

/* Numbered packets from 'a' to 'b', one every 'interval_ms'. */
struct flow {
	struct node *a, *b;
	int64_t interval_ms;
	struct mono next;
	bool is_stopped;
	uint64_t sent, delivered, twice, reordered;
	uint64_t last_seq;
	struct mono last_delivered;
	int64_t gap_ns;   /* longest time without a delivery since flow_mark() */
	int64_t first_ns; /* from the first packet sent to the first delivered; -1 = none yet */
	struct mono started;
	uint8_t seen[WORLD_WINDOW / 8];
};

struct world {
	struct net *net;
	struct node *nodes[WORLD_NODES_MAX];
	size_t n_nodes;
	struct flow flows[WORLD_FLOWS_MAX];
	size_t n_flows;
	bool derp_down;    /* DERP forwards nothing */
	bool control_down; /* changes do not travel */
	uint64_t wrong;    /* packets that reached a node they were not for */
	uint64_t busy;     /* events that caused more than 1,000 actions */
	uint64_t leaks;    /* times a payload left a whole node unsealed */
	uint64_t derp_packets, derp_data;
	struct wcoord *coord; /* of whole nodes; null in a world of light ones */
};

struct world *world_new(uint64_t seed);
void world_free(struct world *w);

/* A node without insides: its implementation sets 'ops' and 'impl'. */
struct node *world_add(struct world *w, const char *name, const char *addr, struct nat *nat);
/* A light node. */
struct node *world_node(struct world *w, const char *name, const char *addr, struct nat *nat);

/* Makes the node's relay server run (or not) and tells control. */
void world_relay(struct node *n, bool is_on);
/* The process ends and starts again with new keys where they are not persistent (disco, relay
 * server). */
void world_restart(struct node *n);
/* The host's addresses changed (net_move, is_down, ...): the node notices at once. */
void world_link(struct node *n);
/* Everybody gets a new map after WORLD_CTL_MS, unless control is down. */
void world_map_changed(struct world *w);
void world_remove(struct node *n);

/* A flow in both directions; flow_mark() restarts gap measurement. */
struct flow *world_flow(struct world *w, struct node *a, struct node *b, int64_t interval_ms);
struct flow *world_one_way(struct world *w, struct node *a, struct node *b, int64_t interval_ms);
void flow_mark(struct world *w);
/* Longest gap of any flow since the mark, the present one included. */
int64_t flow_gap_ms(const struct world *w);

void world_run(struct world *w, int64_t ms);
/* Runs until 'a' reaches 'b' by 'kind', trusted (DERP: alone), and returns after how many ms; -1 if
 * not within 'limit_ms'. */
int64_t world_until(struct world *w, struct node *a, struct node *b, enum path_kind kind,
		    int64_t limit_ms);
/* The same for both directions. */
int64_t world_until_both(struct world *w, struct node *a, struct node *b, enum path_kind kind,
			 int64_t limit_ms);
enum path_kind world_kind(struct node *a, struct node *b);
struct path_addr world_path(struct node *a, struct node *b);

/* For the implementations of nodes: a packet was delivered, in the clear. */
enum { WORLD_PAYLOAD = 24 };
/* What leaves a whole node: counts a leak if a payload is readable in it. */
void world_watch(struct world *w, const uint8_t *data, size_t size);
void world_delivered(struct node *at, const uint8_t *payload, size_t size);
/* DERP: bytes from node to node, or nothing if it is down. */
typedef void (*world_derp_fn)(struct node *to, struct node *from, uint8_t *buf, size_t size);
void world_derp(struct node *from, struct node *to, const uint8_t *buf, size_t size,
		world_derp_fn fn);

/* tests/sim/light.c */
void light_new(struct node *n);

#endif
