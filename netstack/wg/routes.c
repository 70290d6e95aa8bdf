/* SPDX-License-Identifier: MIT */
/* Longest-prefix match for a mesh: hash tables of single addresses, and for everything wider a
 * sorted list of disjoint ranges. Both families work on the same two 64-bit halves, IPv4 with the
 * upper half zero and its own tables, so that one implementation serves both.
 *
 * Flattening: prefixes nest or are disjoint, never cross. Sorted by first address and then by
 * length they form a pre-order walk; a stack of the open prefixes says whose each stretch is.
 *
 * Single addresses are spread over small tables (shards), so that routes_patch() copies those that
 * change and shares the others. Versions form a chain: what two of them share is owned by the newer
 * one, and the older one keeps the list of what it alone still needs. */
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

/* One of the small tables: 'mask' + 1 slots of one of the two kinds, at most two thirds used. */
struct shard {
	uint32_t mask;
	uint32_t n;
	union {
		struct host4 h4[0];
		struct host h6[0];
	} slots;
};

struct shards {
	struct shard **list; /* 'mask' + 1, or null: no single addresses */
	uint32_t mask;
	uint32_t n; /* addresses in all */
};

struct routes {
	uint64_t seed;
	size_t bytes;
	struct shards hosts4, hosts6;
	struct range *ranges4; /* sorted by 'first', which begins with address zero */
	struct range *ranges6;
	size_t n_ranges4, n_ranges6;
	bool has_doubles;       /* some single address was listed twice: what a patch would uncover is unknown */
	bool is_superseded;     /* there is a newer version: it owns all but ... */
	struct shard **garbage; /* ... these */
	size_t n_garbage;
};

enum { SHARD_AIM = 32, SHARDS_MAX = 4096, PATCH_MAX = 64 };

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

static struct shard *shard_new(uint8_t family, size_t n_hosts)
{
	const size_t slots = slots_for(n_hosts);
	const size_t size = family == IP_V4 ? sizeof(struct host4) : sizeof(struct host);
	struct shard *s = malloc(sizeof(*s) + slots * size);

	if (!s)
		return NULL;
	s->mask = (uint32_t)slots - 1;
	s->n = 0;
	for (size_t i = 0; i < slots; i++) {
		if (family == IP_V4)
			s->slots.h4[i].peer_id = ROUTES_NONE;
		else
			s->slots.h6[i].peer_id = ROUTES_NONE;
	}
	return s;
}

static size_t shard_bytes(uint8_t family, const struct shard *s)
{
	return sizeof(*s) +
	       (s->mask + 1u) * (family == IP_V4 ? sizeof(struct host4) : sizeof(struct host));
}

/* The shard of an address, and where in it the search begins. */
static size_t shard_of(const struct shards *t, uint64_t h)
{
	return h & t->mask;
}

static size_t slot_of(const struct shard *s, uint64_t h)
{
	return h >> 16 & s->mask;
}

/* The address must not be there; the shard has room. */
static void shard_put(struct shard *s, uint8_t family, uint64_t h, struct addr a, uint32_t peer_id)
{
	size_t at = slot_of(s, h);

	if (family == IP_V4) {
		while (s->slots.h4[at].peer_id != ROUTES_NONE)
			at = (at + 1) & s->mask;
		s->slots.h4[at] = (struct host4){ (uint32_t)a.lo, peer_id };
	} else {
		while (s->slots.h6[at].peer_id != ROUTES_NONE)
			at = (at + 1) & s->mask;
		s->slots.h6[at] = (struct host){ a, peer_id };
	}
	s->n++;
}

static struct host shard_get(const struct shard *s, uint8_t family, size_t at)
{
	if (family == IP_V4)
		return (struct host){ { 0, s->slots.h4[at].addr }, s->slots.h4[at].peer_id };
	return s->slots.h6[at];
}

static void shards_wipe(struct shards *t)
{
	for (size_t i = 0; t->list && i <= t->mask; i++)
		free(t->list[i]);
	free(t->list);
}

static bool put_hosts(struct routes *r, struct shards *t, uint8_t family, const struct item *items,
		      size_t n)
{
	uint32_t n_shards = 1, *counts;
	bool ok = true;

	while (n_shards < SHARDS_MAX && n_shards * (size_t)SHARD_AIM < n)
		n_shards *= 2;
	t->mask = n_shards - 1;
	t->n = (uint32_t)n;
	t->list = calloc(n_shards, sizeof(*t->list));
	counts = calloc(n_shards, sizeof(*counts));
	for (size_t i = 0; counts && i < n; i++)
		counts[shard_of(t, mix(r->seed, items[i].first))]++;
	for (uint32_t i = 0; t->list && counts && i < n_shards; i++) {
		t->list[i] = shard_new(family, counts[i]);
		ok &= t->list[i] != NULL;
		r->bytes += sizeof(*t->list) + (t->list[i] ? shard_bytes(family, t->list[i]) : 0);
	}
	ok &= t->list && counts;
	for (size_t i = 0; ok && i < n; i++) {
		const uint64_t h = mix(r->seed, items[i].first);

		shard_put(t->list[shard_of(t, h)], family, h, items[i].first, items[i].peer_id);
	}
	free(counts);
	return ok;
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
	n_hosts = n_items;
	n_items = drop_doubles(items, n_items);
	r->has_doubles |= n_items != n_hosts;
	n_hosts = 0;
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
		ok = put_hosts(r, family == IP_V4 ? &r->hosts4 : &r->hosts6, family, hosts, n_hosts);
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
	for (size_t i = 0; i < r->n_garbage; i++)
		free(r->garbage[i]);
	free(r->garbage);
	if (r->is_superseded) {
		free(r->hosts4.list);
		free(r->hosts6.list);
	} else {
		shards_wipe(&r->hosts4);
		shards_wipe(&r->hosts6);
		free(r->ranges4);
		free(r->ranges6);
	}
	free(r);
}

/* --- patching --- */

/* A copy of the shard with one address more ('add') or less; null: out of memory, the address is there (is
 * not there, or is another peer's). */
static struct shard *shard_change(const struct shard *s, uint8_t family, uint64_t seed, struct addr a,
				  uint32_t peer_id, bool add)
{
	struct shard *copy = shard_new(family, s->n + 1);
	bool found = false;

	for (size_t at = 0; copy && at <= s->mask; at++) {
		const struct host e = shard_get(s, family, at);

		if (e.peer_id == ROUTES_NONE)
			continue;
		if (addr_cmp(e.addr, a) == 0 && (add || e.peer_id == peer_id))
			found = true;
		else
			shard_put(copy, family, mix(seed, e.addr), e.addr, e.peer_id);
	}
	if (!copy || found == add) {
		free(copy);
		return NULL;
	}
	if (add)
		shard_put(copy, family, mix(seed, a), a, peer_id);
	return copy;
}

static bool change_one(const struct routes *old, struct routes *r, const struct routes_entry *e, bool add)
{
	const uint8_t family = e->prefix.ip.family;
	const struct shards *was = family == IP_V4 ? &old->hosts4 : &old->hosts6;
	struct shards *t = family == IP_V4 ? &r->hosts4 : &r->hosts6;
	struct shard *s;
	struct addr a;
	size_t i;

	if (!t->list || e->prefix.bits != ip_bits(&e->prefix.ip))
		return false;
	a = addr_from(family, e->prefix.ip.b);
	i = shard_of(t, mix(r->seed, a));
	s = shard_change(t->list[i], family, r->seed, a, e->peer_id, add);
	if (!s)
		return false;
	r->bytes += shard_bytes(family, s);
	r->bytes -= shard_bytes(family, t->list[i]);
	if (t->list[i] != was->list[i])
		free(t->list[i]); /* changed twice */
	t->list[i] = s;
	t->n += add ? 1u : UINT32_MAX;
	/* Shards that have grown far beyond their size are worth building anew. */
	return t->n / 4 <= (t->mask + 1u) * SHARD_AIM;
}

static bool copy_list(struct shards *t)
{
	struct shard **list = t->list ? malloc((t->mask + 1u) * sizeof(*list)) : NULL;

	if (!t->list)
		return true;
	if (list)
		memcpy(list, t->list, (t->mask + 1u) * sizeof(*list));
	t->list = list;
	return list != NULL;
}

/* Where both lists differ: either the new shard is freed, or the old one noted as garbage. */
static void settle(struct routes *old, struct shards *was, struct shards *t, bool is_ok)
{
	for (size_t i = 0; t->list && i <= t->mask; i++) {
		if (t->list[i] == was->list[i])
			continue;
		if (is_ok)
			old->garbage[old->n_garbage++] = was->list[i];
		else
			free(t->list[i]);
	}
	if (!is_ok)
		free(t->list);
}

struct routes *routes_patch(struct routes *old, const struct routes_entry *del, size_t n_del,
			    const struct routes_entry *add, size_t n_add)
{
	struct routes *r;
	struct shard **garbage;
	bool ok;

	if (!old || old->is_superseded || old->has_doubles || n_del + n_add > PATCH_MAX)
		return NULL;
	r = malloc(sizeof(*r));
	garbage = calloc(n_del + n_add + 1, sizeof(*garbage));
	if (!r || !garbage) {
		free(r);
		free(garbage);
		return NULL;
	}
	*r = *old;
	ok = copy_list(&r->hosts4);
	ok = copy_list(&r->hosts6) && ok;
	for (size_t i = 0; ok && i < n_del; i++)
		ok = change_one(old, r, &del[i], false);
	for (size_t i = 0; ok && i < n_add; i++)
		ok = change_one(old, r, &add[i], true);
	if (ok) {
		old->garbage = garbage;
		old->is_superseded = true;
	} else {
		free(garbage);
	}
	settle(old, &old->hosts4, &r->hosts4, ok);
	settle(old, &old->hosts6, &r->hosts6, ok);
	if (!ok) {
		free(r);
		r = NULL;
	}
	return r;
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
	if (r->hosts4.list) {
		const uint64_t h = mix(r->seed, a);
		const struct shard *s = r->hosts4.list[shard_of(&r->hosts4, h)];

		for (size_t at = slot_of(s, h); s->slots.h4[at].peer_id != ROUTES_NONE;
		     at = (at + 1) & s->mask)
			if (s->slots.h4[at].addr == a.lo)
				return s->slots.h4[at].peer_id;
	}
	return range_find(r->ranges4, r->n_ranges4, a);
}

uint32_t routes_lookup6(const struct routes *r, const uint8_t addr[static 16])
{
	struct addr a = addr_from6(addr);

	if (!r)
		return ROUTES_NONE;
	if (r->hosts6.list) {
		const uint64_t h = mix(r->seed, a);
		const struct shard *s = r->hosts6.list[shard_of(&r->hosts6, h)];

		for (size_t at = slot_of(s, h); s->slots.h6[at].peer_id != ROUTES_NONE;
		     at = (at + 1) & s->mask)
			if (addr_cmp(s->slots.h6[at].addr, a) == 0)
				return s->slots.h6[at].peer_id;
	}
	return range_find(r->ranges6, r->n_ranges6, a);
}

size_t routes_bytes(const struct routes *r)
{
	return r ? r->bytes : 0;
}
