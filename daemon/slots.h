/* SPDX-License-Identifier: MIT */
/* A table from 32-bit numbers (receiver indices, VNIs) to objects, changed by control while workers
 * look things up. Open addressing; a change is one store into a slot. Growing publishes a new array
 * and retires the old.
 *
 * An object's first member is its 'struct slots_entry'. After slots_del() workers may hold it until
 * the grace period: retire it. */
#ifndef DAEMON_SLOTS_H
#define DAEMON_SLOTS_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "daemon/snapshot.h"

struct slots_entry {
	uint32_t key; /* never changes while it is in the table */
};

struct slots_array {
	struct snapshot_item item;
	uint32_t mask;
	struct snapshot_ptr slots[]; /* entries, null, or a mark that one was deleted here */
};

struct slots {
	struct snapshot_ptr array; /* struct slots_array; null while empty */
	/* Control thread only. */
	uint32_t n;                /* entries */
	uint32_t n_used;           /* entries and marks */
	struct snapshot *snapshot; /* borrowed */
};

void slots_init(struct slots *s, struct snapshot *snapshot);
/* Frees the array; entries are the caller's. No worker may be reading. */
void slots_wipe(struct slots *s);
/* Returns 0; -EEXIST if the key is there; -ENOMEM. Control thread. */
MESH_MUST_USE int slots_put(struct slots *s, struct slots_entry *e);
/* Takes the entry out and returns it, or null. Control thread. */
struct slots_entry *slots_del(struct slots *s, uint32_t key);
/* The entry, or null. Any thread. */
struct slots_entry *slots_get(const struct slots *s, uint32_t key);
/* Iteration by control: start with '*it' = 0; null at the end. Deleting the entry just returned is
 * allowed. */
struct slots_entry *slots_next(const struct slots *s, uint32_t *it);

#endif
