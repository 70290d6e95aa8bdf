/* SPDX-License-Identifier: MIT */
/* Deadline heap: which of many machines is due next. Intrusive: a node is a member of its owner's
 * struct and knows its place, so moving a deadline costs O(log n) and no allocation. */
#ifndef NETSTACK_BASE_HEAP_H
#define NETSTACK_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/mono.h"

struct heap_node {
	struct mono deadline; /* MONO_NEVER: not in the heap */
	size_t at;            /* 1 + index in the heap; 0 = not in it */
};

struct heap {
	struct heap_node **nodes; /* owned array of borrowed nodes */
	size_t n;
	size_t cap;
};

/* Sets the node's deadline; MONO_NEVER takes it out. Returns 0 or -ENOMEM (only on a first insert). */
MESH_MUST_USE int heap_set(struct heap *h, struct heap_node *node, struct mono deadline);
/* Takes the node out; harmless if it is not in. */
void heap_del(struct heap *h, struct heap_node *node);
/* The node with the earliest deadline, or null. */
struct heap_node *heap_first(const struct heap *h);
struct mono heap_deadline(const struct heap *h);
/* Frees the array; nodes are the callers'. */
void heap_wipe(struct heap *h);

#endif
