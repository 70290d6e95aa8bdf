/* SPDX-License-Identifier: MIT */
/* Published hash table from 32-bit numbers to objects. */
#include "config.h"

#include "daemon/slots.h"

#include <errno.h>
#include <stdlib.h>

enum { SLOTS_MIN = 16 };

/* Stands where an entry was deleted: a search goes on behind it. Its address alone matters. */
static const struct slots_entry deleted_mark = { 0 };

static struct slots_entry *deleted(void)
{
	return (struct slots_entry *)(uintptr_t)&deleted_mark;
}

static uint32_t hash(uint32_t key)
{
	key *= UINT32_C(0x9e3779b1); /* our own numbers: nobody outside chooses them */
	return key ^ key >> 15;
}

static void array_free(struct snapshot_item *item)
{
	free(CONTAINER_OF(item, struct slots_array, item));
}

void slots_init(struct slots *s, struct snapshot *snapshot)
{
	*s = (struct slots){ .snapshot = snapshot };
}

void slots_wipe(struct slots *s)
{
	free(snapshot_own(&s->array));
	snapshot_store(&s->array, NULL);
	s->n = s->n_used = 0;
}

static void insert(struct slots_array *a, struct slots_entry *e)
{
	uint32_t i = hash(e->key) & a->mask;

	while (snapshot_own(&a->slots[i]))
		i = (i + 1) & a->mask;
	snapshot_store(&a->slots[i], e);
}

/* Makes an array for one entry more, at most half full, without marks. */
static int grow(struct slots *s)
{
	struct slots_array *old = snapshot_own(&s->array), *a;
	uint32_t cap = SLOTS_MIN;

	while (cap < (s->n + 1) * 2)
		cap *= 2;
	a = calloc(1, sizeof(*a) + cap * sizeof(a->slots[0]));
	if (!a)
		return -ENOMEM;
	a->mask = cap - 1;
	for (uint32_t i = 0; old && i <= old->mask; i++) {
		struct slots_entry *e = snapshot_own(&old->slots[i]);

		if (e && e != deleted())
			insert(a, e);
	}
	s->n_used = s->n;
	snapshot_store(&s->array, a);
	if (old)
		snapshot_retire(s->snapshot, &old->item, array_free);
	return 0;
}

int slots_put(struct slots *s, struct slots_entry *e)
{
	const struct slots_array *a = snapshot_own(&s->array);

	if (slots_get(s, e->key))
		return -EEXIST;
	/* At most three quarters in use, marks included, so that every search ends. */
	if (!a || (s->n_used + 1) * 4 > (a->mask + 1) * 3) {
		const int err = grow(s);

		if (err)
			return err;
	}
	insert(snapshot_own(&s->array), e);
	s->n++;
	s->n_used++;
	return 0;
}

static struct snapshot_ptr *find(struct slots_array *a, uint32_t key)
{
	if (!a)
		return NULL;
	for (uint32_t i = hash(key) & a->mask;; i = (i + 1) & a->mask) {
		const struct slots_entry *e = snapshot_load(&a->slots[i]);

		if (!e)
			return NULL;
		if (e != &deleted_mark && e->key == key)
			return &a->slots[i];
	}
}

struct slots_entry *slots_del(struct slots *s, uint32_t key)
{
	struct snapshot_ptr *slot = find(snapshot_own(&s->array), key);
	struct slots_entry *e;

	if (!slot)
		return NULL;
	e = snapshot_own(slot);
	snapshot_store(slot, deleted());
	s->n--;
	return e;
}

struct slots_entry *slots_get(const struct slots *s, uint32_t key)
{
	struct slots_array *a = snapshot_load(&s->array);

	if (!a)
		return NULL;
	for (uint32_t i = hash(key) & a->mask;; i = (i + 1) & a->mask) {
		struct slots_entry *e = snapshot_load(&a->slots[i]);

		if (!e || (e != &deleted_mark && e->key == key))
			return e;
	}
}

struct slots_entry *slots_next(const struct slots *s, uint32_t *it)
{
	const struct slots_array *a = snapshot_own(&s->array);

	while (a && *it <= a->mask) {
		struct slots_entry *e = snapshot_own(&a->slots[(*it)++]);

		if (e && e != &deleted_mark)
			return e;
	}
	return NULL;
}
