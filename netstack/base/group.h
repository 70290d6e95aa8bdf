/* SPDX-License-Identifier: MIT */
/* Brings the items of a batch together by key, each key's in the order in which they came.
 *
 * Packets of several peers arrive mixed, and everything that works on many packets of one key at once (vector units,
 * helpers, segmentation offload) would see runs of one. Only the order within a key matters to anybody: keys come in
 * the order of their first item. Pure, no allocation, linear. */
#ifndef NETSTACK_BASE_GROUP_H
#define NETSTACK_BASE_GROUP_H

#include <stdbool.h>
#include <stdint.h>

enum {
	GROUP_ITEMS_MAX = 1024,
	GROUP_KEYS_MAX = 128, /* the items of all further keys stay in their order, at the end */
};

/* A permutation: what stands at 'i' afterwards stood at at[i] before. */
struct group {
	uint16_t at[GROUP_ITEMS_MAX];
};

/* Fills '*g' for keys[0..n-1] (n <= GROUP_ITEMS_MAX). False if the items of each key are together already: then there
 * is nothing to do and '*g' is undefined. */
bool group_by_key(struct group *g, const uint64_t *keys, uint32_t n);
/* Puts the 'n' items of an array, of 'size' (1..64) bytes each, into that order. */
void group_apply(const struct group *g, void *items, uint32_t n, uint32_t size);

#endif
