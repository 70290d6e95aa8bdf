/* SPDX-License-Identifier: MIT */
/* Limits on opening disco boxes. A slot is found by a keyed hash; a newcomer takes over the slot of
 * whoever was there before, with a fresh allowance, so a flood from many addresses meets the total
 * limit. */
#include "path/discogate.h"

#include <sodium.h>
#include <string.h>

static_assert(sizeof(((struct discogate *)0)->seed) == crypto_shorthash_KEYBYTES, "SipHash key");

void discogate_init(struct discogate *g, struct mono now, const struct env *env)
{
	memset(g, 0, sizeof(*g));
	env_fill(env, g->seed, sizeof(g->seed));
	bucket_fill(&g->opens, now, DISCOGATE_OPENS_PER_S, DISCOGATE_OPENS_BURST);
}

static uint64_t who(const struct discogate *g, const struct disco_key *sender,
		    const struct path_addr *from)
{
	uint8_t in[KEY_SIZE + sizeof(from->ep.ip.b) + 1], out[crypto_shorthash_BYTES];
	uint64_t h;

	/* The port is left out: it costs an attacker nothing. */
	memcpy(in, sender->b, KEY_SIZE);
	in[KEY_SIZE] = from->ep.ip.family;
	memcpy(in + KEY_SIZE + 1, from->ep.ip.b, sizeof(from->ep.ip.b));
	(void)crypto_shorthash(out, in, sizeof(in), g->seed);
	memcpy(&h, out, sizeof(h));
	return h ? h : 1;
}

static struct discogate_slot *slot_of(struct discogate *g, uint64_t h)
{
	return &g->slots[h % DISCOGATE_SLOTS];
}

bool discogate_may_open(struct discogate *g, struct mono now, const struct disco_key *sender,
			const struct path_addr *from)
{
	const uint64_t h = who(g, sender, from);
	const struct discogate_slot *s = slot_of(g, h);
	struct bucket left = s->fails;

	/* Looks without taking: only failures cost. */
	if (s->who == h &&
	    !bucket_take(&left, now, DISCOGATE_FAILS_PER_S, DISCOGATE_FAILS_PER_S, 1)) {
		g->drop_source++;
		return false;
	}
	if (!bucket_take(&g->opens, now, DISCOGATE_OPENS_PER_S, DISCOGATE_OPENS_BURST, 1)) {
		g->drop_total++;
		return false;
	}
	return true;
}

void discogate_failed(struct discogate *g, struct mono now, const struct disco_key *sender,
		      const struct path_addr *from)
{
	const uint64_t h = who(g, sender, from);
	struct discogate_slot *s = slot_of(g, h);

	if (s->who != h) {
		s->who = h;
		bucket_fill(&s->fails, now, DISCOGATE_FAILS_PER_S, DISCOGATE_FAILS_PER_S);
	}
	(void)bucket_take(&s->fails, now, DISCOGATE_FAILS_PER_S, DISCOGATE_FAILS_PER_S, 1);
}
