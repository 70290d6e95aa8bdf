/* SPDX-License-Identifier: MIT */
/* Longest-prefix match for a mesh: a hash table of single addresses, and for everything wider a
 * sorted list of disjoint ranges. Both families work on the same two 64-bit halves, IPv4 with the
 * upper half zero and its own tables, so that one implementation serves both.
 *
 * Flattening: prefixes nest or are disjoint, never cross. Sorted by first address and then by
 * length they form a pre-order walk; a stack of the open prefixes says whose each stretch is. */
#include "wg/routes.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"

/* One prefix while building; afterwards one stretch of address space, up to the next one's start.
 */
struct range {
	struct addr first;
	uint32_t peer_id;
};

struct host {
	struct addr addr;
	uint32_t peer_id; /* ROUTES_NONE: free slot */
};

/* The same for IPv4, where an address is one word: half the cache lines. */
struct host4 {
	uint32_t addr;
	uint32_t peer_id;
};

struct routes {
	uint64_t seed;
	size_t bytes;
	struct host4 *hosts4; /* 'mask4' + 1 slots, or null */
	struct host *hosts6;
	size_t mask4, mask6;
	struct range *ranges4; /* sorted by 'first', which begins with address zero */
	struct range *ranges6;
	size_t n_ranges4, n_ranges6;
};

/* An entry while building, in either family. */
struct item {
	struct addr first, last;
	uint32_t peer_id;
	uint8_t bits;
	size_t order; /* position in the caller's list: of equal prefixes the later one wins */
};

/* A multiplicative hash: keyed, although only whoever writes the map could choose the addresses. */
static uint64_t mix(uint64_t seed, struct addr a)
{
	uint64_t h = (a.hi ^ seed) * UINT64_C(0x9e3779b97f4a7c15);

	h = (h ^ h >> 29 ^ a.lo) * UINT64_C(0xbf58476d1ce4e5b9);
	h ^= h >> 32;
	return h * UINT64_C(0x94d049bb133111eb) >> 16;
}

/* --- building --- */

static struct item item_make(const struct routes_entry *e, size_t order)
{
	struct prefix p = prefix_masked(&e->prefix);
	unsigned host_bits = (unsigned)ip_bits(&p.ip) - p.bits;
	struct item it = { .peer_id = e->peer_id, .bits = p.bits, .order = order };

	it.first = addr_from(p.ip.family, p.ip.b);
	it.last = addr_last(it.first, host_bits);
	return it;
}

static int item_cmp(const void *pa, const void *pb)
{
	const struct item *a = pa, *b = pb;
	int c = addr_cmp(a->first, b->first);

	if (c)
		return c;
	if (a->bits != b->bits)
		return a->bits < b->bits ? -1 : 1;
	return a->order < b->order ? -1 : 1;
}

/* Keeps the last of equal prefixes; 'items' are sorted. Returns how many are left. */
static size_t drop_doubles(struct item *items, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (kept > 0 && items[kept - 1].bits == items[i].bits &&
		    addr_cmp(items[kept - 1].first, items[i].first) == 0)
			items[kept - 1] = items[i];
		else
			items[kept++] = items[i];
	}
	return kept;
}

/* The stretch from 'first' on belongs to 'peer_id'; joins it to the one before where it can. */
static void push_range(struct range *ranges, size_t *n, struct addr first, uint32_t peer_id)
{
	if (*n > 0 && addr_cmp(ranges[*n - 1].first, first) == 0)
		(*n)--; /* nothing lies between: a nested prefix begins where its parent does */
	if (*n > 0 && ranges[*n - 1].peer_id == peer_id)
		return;
	ranges[(*n)++] = (struct range){ .first = first, .peer_id = peer_id };
}

/* Flattens 'n' sorted prefixes that are wider than one address. A prefix begins one stretch and its
 * end another, so 'ranges' needs 2 * n + 1 places. 'top' is the family's greatest address. */
static size_t flatten(const struct item *items, size_t n, struct addr top, struct range *ranges)
{
	const struct item *open[129]; /* nested prefixes have different lengths: 129 at most */
	size_t depth = 0, n_ranges = 0;

	push_range(ranges, &n_ranges, (struct addr){ 0, 0 }, ROUTES_NONE);
	for (size_t i = 0; i <= n; i++) {
		/* Close what ends before this prefix begins; at the end close all. */
		while (depth > 0 &&
		       (i == n || addr_cmp(open[depth - 1]->last, items[i].first) < 0)) {
			struct addr last = open[--depth]->last;

			if (addr_cmp(last, top) != 0)
				push_range(ranges, &n_ranges, addr_next(last),
					   depth > 0 ? open[depth - 1]->peer_id : ROUTES_NONE);
		}
		if (i == n)
			break;
		push_range(ranges, &n_ranges, items[i].first, items[i].peer_id);
		open[depth++] = &items[i];
	}
	return n_ranges;
}

/* Slots for 'n' hosts: a power of two, at most two thirds full. */
static size_t slots_for(size_t n)
{
	size_t slots = 4;

	while (slots * 2 < n * 3)
		slots *= 2;
	return slots;
}

static bool put_hosts4(struct routes *r, const struct item *items, size_t n)
{
	size_t slots = slots_for(n);

	r->hosts4 = malloc(slots * sizeof(*r->hosts4));
	if (!r->hosts4)
		return false;
	for (size_t i = 0; i < slots; i++)
		r->hosts4[i].peer_id = ROUTES_NONE;
	r->mask4 = slots - 1;
	r->bytes += slots * sizeof(*r->hosts4);
	for (size_t i = 0; i < n; i++) {
		size_t at = mix(r->seed, items[i].first) & r->mask4;

		while (r->hosts4[at].peer_id != ROUTES_NONE)
			at = (at + 1) & r->mask4;
		r->hosts4[at] = (struct host4){ (uint32_t)items[i].first.lo, items[i].peer_id };
	}
	return true;
}

static bool put_hosts6(struct routes *r, const struct item *items, size_t n)
{
	size_t slots = slots_for(n);

	r->hosts6 = malloc(slots * sizeof(*r->hosts6));
	if (!r->hosts6)
		return false;
	for (size_t i = 0; i < slots; i++)
		r->hosts6[i].peer_id = ROUTES_NONE;
	r->mask6 = slots - 1;
	r->bytes += slots * sizeof(*r->hosts6);
	for (size_t i = 0; i < n; i++) {
		size_t at = mix(r->seed, items[i].first) & r->mask6;

		while (r->hosts6[at].peer_id != ROUTES_NONE)
			at = (at + 1) & r->mask6;
		r->hosts6[at] = (struct host){ items[i].first, items[i].peer_id };
	}
	return true;
}

static struct range *put_ranges(struct routes *r, const struct item *items, size_t n,
				struct addr top, size_t *n_ranges)
{
	struct range *ranges = malloc((2 * n + 1) * sizeof(*ranges)), *fit;

	if (!ranges)
		return NULL;
	*n_ranges = flatten(items, n, top, ranges);
	fit = realloc(ranges, *n_ranges * sizeof(*ranges));
	r->bytes += *n_ranges * sizeof(*ranges);
	return fit ? fit : ranges;
}

/* Builds one family's tables. 'items' has room for all entries. */
static bool build(struct routes *r, const struct routes_entry *entries, size_t n, uint8_t family,
		  struct item *items)
{
	uint8_t full = family == IP_V4 ? 32 : 128;
	struct addr top = addr_top(family);
	size_t n_items = 0, n_hosts = 0;
	struct item *hosts;
	bool ok = true;

	for (size_t i = 0; i < n; i++) {
		if (entries[i].prefix.ip.family == family && entries[i].prefix.bits <= full)
			items[n_items++] = item_make(&entries[i], i);
	}
	qsort(items, n_items, sizeof(*items), item_cmp);
	n_items = drop_doubles(items, n_items);
	for (size_t i = 0; i < n_items; i++)
		n_hosts += items[i].bits == full;
	hosts = malloc((n_hosts + 1) * sizeof(*hosts));
	if (!hosts)
		return false;
	n_hosts = 0;
	for (size_t i = 0, kept = 0, all = n_items; i < all; i++) {
		if (items[i].bits == full) {
			hosts[n_hosts++] = items[i];
			n_items--;
		} else {
			items[kept++] = items[i];
		}
	}
	if (n_hosts > 0)
		ok = family == IP_V4 ? put_hosts4(r, hosts, n_hosts)
				     : put_hosts6(r, hosts, n_hosts);
	free(hosts);
	if (ok && n_items > 0 && family == IP_V4)
		ok = (r->ranges4 = put_ranges(r, items, n_items, top, &r->n_ranges4));
	else if (ok && n_items > 0)
		ok = (r->ranges6 = put_ranges(r, items, n_items, top, &r->n_ranges6));
	return ok;
}

struct routes *routes_new(const struct routes_entry *entries, size_t n, uint64_t seed)
{
	struct routes *r = calloc(1, sizeof(*r));
	struct item *items = malloc((n + 1) * sizeof(*items));

	if (r) {
		r->seed = seed;
		r->bytes = sizeof(*r);
	}
	if (!r || !items || !build(r, entries, n, IP_V4, items) ||
	    !build(r, entries, n, IP_V6, items)) {
		routes_free(r);
		r = NULL;
	}
	free(items);
	return r;
}

void routes_free(struct routes *r)
{
	if (!r)
		return;
	free(r->hosts4);
	free(r->hosts6);
	free(r->ranges4);
	free(r->ranges6);
	free(r);
}

/* --- lookup --- */

/* The stretch that contains 'a': the last one that begins at or before it. The first begins at
 * zero. */
static uint32_t range_find(const struct range *ranges, size_t n, struct addr a)
{
	size_t low = 0, high = n;

	if (n == 0)
		return ROUTES_NONE;
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;

		if (addr_cmp(ranges[mid].first, a) <= 0)
			low = mid;
		else
			high = mid;
	}
	return ranges[low].peer_id;
}

uint32_t routes_lookup4(const struct routes *r, const uint8_t addr[static 4])
{
	struct addr a = addr_from4(addr);

	if (!r)
		return ROUTES_NONE;
	for (size_t at = mix(r->seed, a) & r->mask4;
	     r->hosts4 && r->hosts4[at].peer_id != ROUTES_NONE; at = (at + 1) & r->mask4) {
		if (r->hosts4[at].addr == a.lo)
			return r->hosts4[at].peer_id;
	}
	return range_find(r->ranges4, r->n_ranges4, a);
}

uint32_t routes_lookup6(const struct routes *r, const uint8_t addr[static 16])
{
	struct addr a = addr_from6(addr);

	if (!r)
		return ROUTES_NONE;
	for (size_t at = mix(r->seed, a) & r->mask6;
	     r->hosts6 && r->hosts6[at].peer_id != ROUTES_NONE; at = (at + 1) & r->mask6) {
		if (addr_cmp(r->hosts6[at].addr, a) == 0)
			return r->hosts6[at].peer_id;
	}
	return range_find(r->ranges6, r->n_ranges6, a);
}

size_t routes_bytes(const struct routes *r)
{
	return r ? r->bytes : 0;
}
