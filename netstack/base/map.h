/* SPDX-License-Identifier: MIT */
/* Hash map from fixed-size keys to pointers, keyed with SipHash and a random key per map, so that a
 * stranger cannot choose colliding keys. Bounded: a full map refuses.
 *
 * Owner: whoever holds the struct; no locking. Keys are copied in; values are borrowed. */
#ifndef NETSTACK_BASE_MAP_H
#define NETSTACK_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct env;

struct map {
	uint8_t *slots;    /* 'cap' slots: value pointer, then the key */
	size_t cap;        /* power of two, or 0 before the first insert */
	size_t n;          /* entries */
	size_t max;        /* most entries allowed */
	size_t key_size;   /* bytes compared and hashed */
	size_t slot_size;  /* bytes per slot */
	uint8_t seed[16];  /* SipHash key */
};

/* Keys of 'key_size' bytes, at most 'max' entries. Allocates nothing yet. */
void map_init(struct map *m, size_t key_size, size_t max, const struct env *env);
/* Frees the table; values are the caller's. */
void map_wipe(struct map *m);
/* The value stored for 'key', or null. */
void *map_get(const struct map *m, const void *key);
/* Stores a non-null value, replacing an older one. Returns 0; -ENOBUFS when full; -ENOMEM. */
MESH_MUST_USE int map_put(struct map *m, const void *key, void *value);
/* Removes and returns the value, or null. */
void *map_del(struct map *m, const void *key);
/* Iteration in no order: start with '*it' = 0; returns null at the end. '*key' (optional) is borrowed.
 * Changing the map in between is allowed only by deleting the entry just returned if iteration is
 * then started anew. */
void *map_next(const struct map *m, size_t *it, const void **key);

#endif
