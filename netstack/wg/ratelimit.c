/* SPDX-License-Identifier: MIT */
/* Hash chains over an array of entries, with an LRU list through the same array: links are indexes,
 * so the array may move when it grows. The array doubles; the chains are sized once, for the most
 * sources allowed, so that no call ever rehashes. */
#include "wg/ratelimit.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"

enum { FIRST_CAP = 64 };
#define NS_PER_TOKEN (NS_PER_S / RATELIMIT_PER_S)
#define NS_FULL      (NS_PER_TOKEN * RATELIMIT_BURST)

/* Who: 4 bytes of IPv4, the upper 8 of IPv6, or 16 that name something else. */
struct source {
	uint8_t kind; /* 4, 6, or 1 */
	uint8_t b[16];
};

struct ratelimit_entry {
	struct source src;
	int64_t balance_ns; /* tokens times NS_PER_TOKEN */
	struct mono last;
	uint32_t chain;        /* next in the hash chain */
	uint32_t newer, older; /* LRU */
};

void ratelimit_init(struct ratelimit *r, uint32_t max_sources, const struct env *env)
{
	*r = (struct ratelimit){ .max = max_sources ? max_sources : RATELIMIT_SOURCES_MAX };
	env_fill(env, r->seed, sizeof(r->seed));
}

void ratelimit_wipe(struct ratelimit *r)
{
	free(r->entries);
	free(r->buckets);
	*r = (struct ratelimit){ .max = r->max };
}

static uint32_t *bucket_of(const struct ratelimit *r, const struct source *src)
{
	uint64_t h;

	crypto_shorthash((uint8_t *)&h, (const uint8_t *)src, sizeof(*src), r->seed);
	return &r->buckets[h % r->max];
}

/* --- LRU list --- */

static void unlink_entry(struct ratelimit *r, uint32_t i)
{
	struct ratelimit_entry *e = &r->entries[i];

	if (e->newer)
		r->entries[e->newer].older = e->older;
	else
		r->newest = e->older;
	if (e->older)
		r->entries[e->older].newer = e->newer;
	else
		r->oldest = e->newer;
}

static void link_newest(struct ratelimit *r, uint32_t i)
{
	struct ratelimit_entry *e = &r->entries[i];

	e->newer = 0;
	e->older = r->newest;
	if (r->newest)
		r->entries[r->newest].newer = i;
	else
		r->oldest = i;
	r->newest = i;
}

static void unchain(struct ratelimit *r, uint32_t i)
{
	uint32_t *link = bucket_of(r, &r->entries[i].src);

	while (*link != i)
		link = &r->entries[*link].chain;
	*link = r->entries[i].chain;
}

/* A place for a new source: a fresh one, or that of the source that was quiet longest. 0: no
 * memory. */
static uint32_t take_place(struct ratelimit *r)
{
	uint32_t i;

	if (r->n < r->max && r->n + 1 >= r->cap) {
		uint32_t cap = r->cap ? r->cap * 2 : FIRST_CAP;
		struct ratelimit_entry *entries;

		if (cap > r->max + 1)
			cap = r->max + 1;
		entries = realloc(r->entries, cap * sizeof(*entries));
		if (entries) {
			r->entries = entries;
			r->cap = cap;
		}
	}
	if (r->n < r->max && r->n + 1 < r->cap)
		return ++r->n;
	i = r->oldest;
	if (i) {
		unchain(r, i);
		unlink_entry(r, i);
	}
	return i;
}

static bool spend(struct ratelimit_entry *e, struct mono now)
{
	int64_t passed = mono_since_ns(now, e->last);

	e->last = now;
	e->balance_ns = passed >= NS_FULL - e->balance_ns ? NS_FULL : e->balance_ns + passed;
	if (e->balance_ns < NS_PER_TOKEN)
		return false;
	e->balance_ns -= NS_PER_TOKEN;
	return true;
}

static bool allow(struct ratelimit *r, struct mono now, const struct source *src)
{
	uint32_t *bucket, i;

	if (!r->buckets) {
		r->buckets = calloc(r->max, sizeof(*r->buckets));
		if (!r->buckets)
			return false;
	}
	bucket = bucket_of(r, src);
	for (i = *bucket; i; i = r->entries[i].chain) {
		if (memcmp(&r->entries[i].src, src, sizeof(*src)) == 0)
			break;
	}
	if (i) {
		unlink_entry(r, i);
	} else {
		i = take_place(r);
		if (!i)
			return false;
		r->entries[i] = (struct ratelimit_entry){
			.src = *src, .balance_ns = NS_FULL, .last = now, .chain = *bucket
		};
		*bucket = i;
	}
	link_newest(r, i);
	return spend(&r->entries[i], now);
}

bool ratelimit_allow(struct ratelimit *r, struct mono now, const struct ip *src)
{
	struct source s = { .kind = src->family };

	/* A host owns its whole /64. */
	memcpy(s.b, src->b, src->family == IP_V4 ? 4 : 8);
	return allow(r, now, &s);
}

bool ratelimit_allow_id(struct ratelimit *r, struct mono now, const uint8_t id[static 16])
{
	struct source s = { .kind = 1 };

	memcpy(s.b, id, sizeof(s.b));
	return allow(r, now, &s);
}
