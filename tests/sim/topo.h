/* SPDX-License-Identifier: MIT */
/* Topologies that many scenarios share. Names of NAT kinds as in RELIABILITY 9. */
#ifndef TESTS_SIM_TOPO_H
#define TESTS_SIM_TOPO_H

#include "tests/sim/world.h"

enum topo_kind {
	TOPO_O,  /* open: public address */
	TOPO_FC, /* full cone */
	TOPO_EA, /* easy, filters by address */
	TOPO_E,  /* easy, filters by address and port: plain Linux */
	TOPO_CG, /* carrier NAT over an easy one */
	TOPO_H,  /* hard: mapping by address and port */
	TOPO_CH, /* carrier NAT that is hard over an easy one */
	TOPO_U,  /* no UDP */
	TOPO_KINDS,
};

extern const char *const topo_names[TOPO_KINDS];

/* A node behind a NAT of that kind; 'i' (1..9) keeps addresses apart. */
struct node *topo_node(struct world *w, const char *name, enum topo_kind kind, int i);

/* The same as a whole node that joins with 'key'; its UDP may be blocked by the kind. */
struct node *topo_whole(struct world *w, const char *name, enum topo_kind kind, int i,
			const char *key);

/* Two nodes and, unless 'n_relays' is 0, public relays 203.0.113.201.. that are on; a while later.
 */
struct topo {
	struct world *w;
	struct node *a, *b, *relay[3];
};
struct topo topo_pair(uint64_t seed, enum topo_kind a, enum topo_kind b, int n_relays);

/* The same with whole nodes and a coordinator at 192.0.2.1; returns once everybody has joined and
 * knows the others. Relays are on. */
struct topo topo_mesh(uint64_t seed, enum topo_kind a, enum topo_kind b, int n_relays);

/* Starts 50 packets a second each way; both ends must be on the rung 'kind' within so long. */
void topo_reach(struct topo *t, enum path_kind kind, int64_t within_ms);
/* topo_pair() with 100 packets a second each way, topo_mesh() with 50: on the rung they reach, warm, the gap
 * measured from here. */
struct topo topo_flowing_pair(uint64_t seed, enum topo_kind a, enum topo_kind b, int n_relays,
			      enum path_kind kind);
struct topo topo_flowing_mesh(uint64_t seed, enum topo_kind a, enum topo_kind b, int n_relays,
			      enum path_kind kind);

/* Every scenario ends with this: nothing was delivered twice or to a stranger, no machine span.
 * Frees. SIM_VERBOSE=1 prints the longest gap since the last flow_mark(). */
void topo_end(struct topo *t);

#endif
