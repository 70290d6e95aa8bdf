/* SPDX-License-Identifier: MIT */
/* The STUN answers of stunserver.h. */
#include "relay/stunserver.h"

#include <sodium.h>
#include <string.h>

enum { WAYS = 4 };

void stunserver_init(struct stunserver *s, const struct env *env)
{
	memset(s, 0, sizeof(*s));
	env_fill(env, s->seed, sizeof(s->seed));
}

/* The bucket of a source: one of WAYS rows chosen by a keyed hash; the one used longest ago gives way. */
static struct bucket *bucket_of(struct stunserver *s, struct mono now, const struct ip *ip)
{
	struct stunserver_source key = { .who = { ip->family } }, *row, *oldest;
	uint64_t hash;

	memcpy(key.who + 1, ip->b, ip->family == IP_V4 ? 4 : 8);
	crypto_shorthash((unsigned char *)&hash, key.who, sizeof(key.who), s->seed);
	row = oldest = &s->sources[hash % (STUNSERVER_SOURCES / WAYS) * WAYS];
	for (unsigned i = 0; i < WAYS; i++, row++) {
		if (memcmp(row->who, key.who, sizeof(key.who)) == 0)
			return &row->bucket;
		if (mono_before(row->bucket.last, oldest->bucket.last))
			oldest = row;
	}
	memcpy(oldest->who, key.who, sizeof(key.who));
	bucket_fill(&oldest->bucket, now, STUNSERVER_PER_SOURCE, STUNSERVER_PER_SOURCE);
	return &oldest->bucket;
}

size_t stunserver_answer(struct stunserver *s, struct mono now, const struct ep *from, const uint8_t *buf,
			 size_t size, uint8_t out[static STUN_RESPONSE_MAX])
{
	struct stun_txid txid;

	if (!ep_is_set(from) || stun_request_parse(&txid, buf, size) != 0) {
		s->n.drop_malformed++;
		return 0;
	}
	if (!bucket_take(bucket_of(s, now, &from->ip), now, STUNSERVER_PER_SOURCE, STUNSERVER_PER_SOURCE, 1) ||
	    !bucket_take(&s->total, now, STUNSERVER_TOTAL, STUNSERVER_TOTAL, 1)) {
		s->n.drop_rate++;
		return 0;
	}
	if (from->ip.family == IP_V4)
		s->n.answered4++;
	else
		s->n.answered6++;
	return stun_response_write(out, &txid, from);
}
