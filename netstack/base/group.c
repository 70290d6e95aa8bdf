/* SPDX-License-Identifier: MIT */
/* A small hash table numbers the keys; then a counting sort. */
#include "base/group.h"

#include <assert.h>
#include <string.h>

enum { SLOT_BITS = 8, SLOTS = 1 << SLOT_BITS, ITEM_MAX = 64 };

static_assert(SLOTS >= 2 * GROUP_KEYS_MAX, "a free slot is found soon");

struct table {
	uint64_t key[SLOTS];
	uint8_t number[SLOTS]; /* from 1; 0 = free */
	uint8_t n;
};

/* The number of a key, from 0. Keys that find no room are one: GROUP_KEYS_MAX. */
static uint8_t number_of(struct table *t, uint64_t key)
{
	uint32_t i = (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> (64 - SLOT_BITS));

	for (; t->number[i]; i = (i + 1) % SLOTS)
		if (t->key[i] == key)
			return (uint8_t)(t->number[i] - 1);
	if (t->n == GROUP_KEYS_MAX)
		return GROUP_KEYS_MAX;
	t->key[i] = key;
	t->number[i] = ++t->n;
	return (uint8_t)(t->n - 1);
}

bool group_by_key(struct group *g, const uint64_t *keys, uint32_t n)
{
	uint16_t first[GROUP_KEYS_MAX + 2] = { 0 };
	uint8_t number[GROUP_ITEMS_MAX];
	struct table t = { .n = 0 };
	bool is_mixed = false;

	assert(n <= GROUP_ITEMS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		number[i] = i && keys[i] == keys[i - 1] ? number[i - 1] : number_of(&t, keys[i]);
		is_mixed |= i && number[i] < number[i - 1];
		first[number[i] + 1]++;
	}
	if (!is_mixed)
		return false;
	for (uint32_t k = 1; k < GROUP_KEYS_MAX + 2; k++)
		first[k] = (uint16_t)(first[k] + first[k - 1]);
	for (uint32_t i = 0; i < n; i++)
		g->at[first[number[i]]++] = (uint16_t)i;
	return true;
}

/* Along the cycles of the permutation, so that no second array is needed. */
void group_apply(const struct group *g, void *items, uint32_t n, uint32_t size)
{
	uint64_t is_done[GROUP_ITEMS_MAX / 64] = { 0 };
	uint8_t *a = items, kept[ITEM_MAX];

	assert(n <= GROUP_ITEMS_MAX && size <= ITEM_MAX);
	for (uint32_t begin = 0; begin < n; begin++) {
		uint32_t i = begin;

		if (g->at[i] == i || is_done[i / 64] >> i % 64 & 1)
			continue;
		memcpy(kept, a + i * size, size);
		for (; g->at[i] != begin; i = g->at[i]) {
			memcpy(a + i * size, a + g->at[i] * size, size);
			is_done[i / 64] |= UINT64_C(1) << i % 64;
		}
		memcpy(a + i * size, kept, size);
		is_done[i / 64] |= UINT64_C(1) << i % 64;
	}
}
