/* SPDX-License-Identifier: MIT */
/* Allocator of receiver indices: 20 bits of slot, 12 bits of random tag that changes at every use
 * of a slot, so that a late packet for an old session does not hit the slot's next owner.
 *
 * The same slot number addresses the data plane's receiver-index table: index_slot(index) <
 * index_table.cap. A slot that was given back is used again last. Control thread. */
#ifndef NETSTACK_WG_INDEX_H
#define NETSTACK_WG_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct env;

enum { INDEX_SLOT_BITS = 20, INDEX_SLOTS_MAX = 1 << INDEX_SLOT_BITS };

static inline uint32_t index_slot(uint32_t index)
{
	return index & (INDEX_SLOTS_MAX - 1);
}

struct index_entry {
	void *owner;    /* borrowed; null = free */
	uint32_t index; /* slot and present tag */
	uint32_t next;  /* next free slot */
};

struct index_table {
	struct index_entry *entries; /* owned */
	uint32_t cap, max;
	uint32_t n; /* in use */
	uint32_t free_first, free_last;
	const struct env *env;
};

/* At most 'max' indices (0 = INDEX_SLOTS_MAX). Allocates nothing yet. 'env' is borrowed. */
void index_init(struct index_table *t, uint32_t max, const struct env *env);
void index_wipe(struct index_table *t);

/* A new index for 'owner' (not null). Returns 0; -ENOBUFS when full; -ENOMEM. */
MESH_MUST_USE int index_alloc(struct index_table *t, void *owner, uint32_t *index);
/* The owner of an index, or null if it is not in use (slot free or tag old). */
void *index_get(const struct index_table *t, uint32_t index);
/* Gives an index back; one that is not in use is ignored. */
void index_put(struct index_table *t, uint32_t index);

#endif
