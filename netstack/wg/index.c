/* SPDX-License-Identifier: MIT */
/* Slots in an array that doubles; free ones in a queue, so that a slot rests as long as possible.
 */
#include "wg/index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"

enum { FIRST_CAP = 64 };
#define NO_SLOT UINT32_MAX

void index_init(struct index_table *t, uint32_t max, const struct env *env)
{
	*t = (struct index_table){
		.max = max > 0 && max < INDEX_SLOTS_MAX ? max : INDEX_SLOTS_MAX,
		.free_first = NO_SLOT,
		.free_last = NO_SLOT,
		.env = env,
	};
}

void index_wipe(struct index_table *t)
{
	free(t->entries);
	t->entries = NULL;
	t->cap = t->n = 0;
	t->free_first = t->free_last = NO_SLOT;
}

static void push_free(struct index_table *t, uint32_t slot)
{
	t->entries[slot].owner = NULL;
	t->entries[slot].next = NO_SLOT;
	if (t->free_last == NO_SLOT)
		t->free_first = slot;
	else
		t->entries[t->free_last].next = slot;
	t->free_last = slot;
}

static int grow(struct index_table *t)
{
	uint32_t cap = t->cap ? t->cap * 2 : FIRST_CAP;
	struct index_entry *entries;

	if (t->cap >= t->max)
		return -ENOBUFS;
	if (cap > t->max)
		cap = t->max;
	entries = realloc(t->entries, cap * sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	t->entries = entries;
	for (uint32_t slot = t->cap; slot < cap; slot++) {
		entries[slot].index = slot | (uint32_t)env_below(t->env, 1 << 12)
						     << INDEX_SLOT_BITS;
		push_free(t, slot);
	}
	t->cap = cap;
	return 0;
}

int index_alloc(struct index_table *t, void *owner, uint32_t *index)
{
	struct index_entry *e;
	int err;

	if (t->free_first == NO_SLOT) {
		err = grow(t);
		if (err)
			return err;
	}
	e = &t->entries[t->free_first];
	t->free_first = e->next;
	if (t->free_first == NO_SLOT)
		t->free_last = NO_SLOT;
	e->owner = owner;
	t->n++;
	*index = e->index;
	return 0;
}

void *index_get(const struct index_table *t, uint32_t index)
{
	uint32_t slot = index_slot(index);

	if (slot >= t->cap || t->entries[slot].index != index)
		return NULL;
	return t->entries[slot].owner;
}

void index_put(struct index_table *t, uint32_t index)
{
	uint32_t slot = index_slot(index);

	if (!index_get(t, index))
		return;
	/* The next tag: one further in a random start, so all 4096 pass before one repeats. */
	t->entries[slot].index += 1u << INDEX_SLOT_BITS;
	t->n--;
	push_free(t, slot);
}
