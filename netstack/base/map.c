/* SPDX-License-Identifier: MIT */
/* Open addressing with linear probing and backward-shift deletion: no tombstones, so a table that is
 * churned for ever stays as fast as a fresh one. */
#include "base/map.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"

enum { MAP_FIRST_CAP = 16 };

static uint8_t *slot_at(const struct map *m, size_t i)
{
	return m->slots + i * m->slot_size;
}

static void *slot_value(const uint8_t *slot)
{
	void *v;

	memcpy(&v, slot, sizeof(v));
	return v;
}

static const uint8_t *slot_key(const uint8_t *slot)
{
	return slot + sizeof(void *);
}

static void slot_set(const struct map *m, uint8_t *slot, const void *key, void *value)
{
	memcpy(slot, &value, sizeof(value));
	memcpy(slot + sizeof(void *), key, m->key_size);
}

static size_t home_of(const struct map *m, const void *key)
{
	uint64_t h;

	crypto_shorthash((uint8_t *)&h, key, m->key_size, m->seed);
	return (size_t)h & (m->cap - 1);
}

void map_init(struct map *m, size_t key_size, size_t max, const struct env *env)
{
	size_t slot = sizeof(void *) + key_size;

	*m = (struct map){ .key_size = key_size, .max = max };
	m->slot_size = (slot + sizeof(void *) - 1) / sizeof(void *) * sizeof(void *);
	env_fill(env, m->seed, sizeof(m->seed));
}

void map_wipe(struct map *m)
{
	free(m->slots);
	m->slots = NULL;
	m->cap = m->n = 0;
}

/* The slot that holds 'key', or the free slot where it would go. Needs a table with a free slot. */
static uint8_t *find(const struct map *m, const void *key, size_t *at)
{
	size_t i = home_of(m, key);

	while (slot_value(slot_at(m, i)) && memcmp(slot_key(slot_at(m, i)), key, m->key_size) != 0)
		i = (i + 1) & (m->cap - 1);
	*at = i;
	return slot_at(m, i);
}

void *map_get(const struct map *m, const void *key)
{
	size_t at;

	return m->n ? slot_value(find(m, key, &at)) : NULL;
}

static int grow(struct map *m)
{
	struct map old = *m;
	size_t at;

	m->cap = old.cap ? old.cap * 2 : MAP_FIRST_CAP;
	m->slots = calloc(m->cap, m->slot_size);
	if (!m->slots) {
		*m = old;
		return -ENOMEM;
	}
	for (size_t i = 0; i < old.cap; i++) {
		const uint8_t *s = slot_at(&old, i);

		if (slot_value(s))
			memcpy(find(m, slot_key(s), &at), s, m->slot_size);
	}
	free(old.slots);
	return 0;
}

int map_put(struct map *m, const void *key, void *value)
{
	size_t at;
	int err;

	if (map_get(m, key)) {
		slot_set(m, find(m, key, &at), key, value);
		return 0;
	}
	if (m->n >= m->max)
		return -ENOBUFS;
	if ((m->n + 1) * 4 > m->cap * 3) {
		err = grow(m);
		if (err)
			return err;
	}
	slot_set(m, find(m, key, &at), key, value);
	m->n++;
	return 0;
}

void *map_del(struct map *m, const void *key)
{
	size_t hole, i;
	void *value = NULL;

	if (!m->n)
		return NULL;
	value = slot_value(find(m, key, &hole));
	if (!value)
		return NULL;
	/* Close the gap: move back every follower that may stand in the hole. */
	for (i = (hole + 1) & (m->cap - 1); slot_value(slot_at(m, i)); i = (i + 1) & (m->cap - 1)) {
		size_t home = home_of(m, slot_key(slot_at(m, i)));

		if (((i - home) & (m->cap - 1)) >= ((i - hole) & (m->cap - 1))) {
			memcpy(slot_at(m, hole), slot_at(m, i), m->slot_size);
			hole = i;
		}
	}
	memset(slot_at(m, hole), 0, m->slot_size);
	m->n--;
	return value;
}

void *map_next(const struct map *m, size_t *it, const void **key)
{
	for (; *it < m->cap; (*it)++) {
		const uint8_t *s = slot_at(m, *it);

		if (slot_value(s)) {
			if (key)
				*key = slot_key(s);
			(*it)++;
			return slot_value(s);
		}
	}
	return NULL;
}
