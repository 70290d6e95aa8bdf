/* SPDX-License-Identifier: MIT */
/* The flow memory: hash chains over one array of entries, with an LRU list through it. Everything
 * is allocated when the shard is made, and touched only as flows come. Declared in filter.h. */
#include "policy/filter.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	struct flow_key key;
	struct mono expires;
	uint32_t chain;        /* next in the hash chain; 0 = end */
	uint32_t newer, older; /* LRU; 0 = end */
	uint32_t bucket;
	bool is_replied;
};

struct flows {
	struct entry *entries; /* 'max' + 1; number 0 is not used */
	uint32_t *buckets;
	uint32_t mask, n, max;
	uint32_t newest, oldest;
};

static_assert(sizeof(struct flow_key) == 40, "no hidden padding: hashed and compared whole");

uint64_t flow_key_hash(const struct flow_key *key, const uint8_t seed[static 16])
{
	uint64_t h;

	crypto_shorthash((uint8_t *)&h, (const uint8_t *)key, sizeof(*key), seed);
	return h;
}

struct flows *flows_new(size_t max)
{
	struct flows *f = calloc(1, sizeof(*f));
	uint32_t slots = 16;

	if (!f)
		return NULL;
	f->max = (uint32_t)(max == 0 ? 1 : max > INT32_MAX ? INT32_MAX : max);
	while (slots < f->max)
		slots *= 2;
	f->mask = slots - 1;
	f->entries = calloc((size_t)f->max + 1, sizeof(*f->entries));
	f->buckets = calloc(slots, sizeof(*f->buckets));
	if (!f->entries || !f->buckets) {
		flows_free(f);
		return NULL;
	}
	return f;
}

void flows_free(struct flows *f)
{
	if (!f)
		return;
	free(f->entries);
	free(f->buckets);
	free(f);
}

static void unlink_entry(struct flows *f, uint32_t i)
{
	struct entry *e = &f->entries[i];

	if (e->newer)
		f->entries[e->newer].older = e->older;
	else
		f->newest = e->older;
	if (e->older)
		f->entries[e->older].newer = e->newer;
	else
		f->oldest = e->newer;
}

static void link_newest(struct flows *f, uint32_t i)
{
	struct entry *e = &f->entries[i];

	e->newer = 0;
	e->older = f->newest;
	if (f->newest)
		f->entries[f->newest].newer = i;
	else
		f->oldest = i;
	f->newest = i;
}

/* The entry of a live flow, or 0. A dead one is left to the LRU. */
static uint32_t find(const struct flows *f, struct mono now, const struct flow_key *key,
		     uint64_t hash)
{
	uint32_t i = f->buckets[hash & f->mask];

	while (i && memcmp(&f->entries[i].key, key, sizeof(*key)) != 0)
		i = f->entries[i].chain;
	return i && mono_before(now, f->entries[i].expires) ? i : 0;
}

static void renew(struct flows *f, struct mono now, uint32_t i)
{
	struct entry *e = &f->entries[i];
	int64_t life = e->key.proto == IP_PKT_TCP ? FLOWS_TCP_S
		       : e->is_replied            ? FLOWS_UDP_REPLIED_S
						  : FLOWS_UDP_NEW_S;

	e->expires = mono_add_s(now, life);
	if (f->newest == i)
		return;
	unlink_entry(f, i);
	link_newest(f, i);
}

static void unchain(struct flows *f, uint32_t i)
{
	uint32_t *link = &f->buckets[f->entries[i].bucket];

	while (*link != i)
		link = &f->entries[*link].chain;
	*link = f->entries[i].chain;
}

void flows_note(struct flows *f, struct mono now, const struct flow_key *key, uint64_t hash)
{
	uint32_t bucket = (uint32_t)(hash & f->mask), i = f->buckets[bucket];

	/* A dead flow with the same key is begun anew in its place. */
	while (i && memcmp(&f->entries[i].key, key, sizeof(*key)) != 0)
		i = f->entries[i].chain;
	if (i) {
		if (!mono_before(now, f->entries[i].expires))
			f->entries[i].is_replied = false;
		renew(f, now, i);
		return;
	}
	if (f->n < f->max) {
		i = ++f->n;
	} else {
		i = f->oldest;
		unchain(f, i);
		unlink_entry(f, i);
	}
	f->entries[i] =
		(struct entry){ .key = *key, .chain = f->buckets[bucket], .bucket = bucket };
	f->buckets[bucket] = i;
	link_newest(f, i);
	renew(f, now, i);
}

bool flows_allow(struct flows *f, struct mono now, const struct flow_key *key, uint64_t hash)
{
	uint32_t i = find(f, now, key, hash);

	if (!i)
		return false;
	f->entries[i].is_replied = true;
	renew(f, now, i);
	return true;
}

size_t flows_count(const struct flows *f)
{
	return f->n;
}

bool flow_cache_wants(struct flow_cache *c, struct mono now, const struct flow_key *key,
		      uint64_t hash)
{
	/* Other bits than those that pick a shard and a bucket. */
	size_t at = (size_t)(hash >> 40) % FLOW_CACHE_SIZE;

	if (memcmp(&c->slots[at].key, key, sizeof(*key)) == 0 &&
	    mono_before(now, mono_add_s(c->slots[at].noted, 1)))
		return false;
	c->slots[at].key = *key;
	c->slots[at].noted = now;
	return true;
}
