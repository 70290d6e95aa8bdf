/* SPDX-License-Identifier: MIT */
/* Token bucket: 'rate' units a second, at most 'burst' saved up. The caller keeps rate and burst in its
 * configuration, so that a bucket costs 16 bytes. A zeroed bucket is empty at time zero: call
 * bucket_fill() to start full. */
#ifndef NETSTACK_BASE_BUCKET_H
#define NETSTACK_BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mono.h"

struct bucket {
	int64_t level_ns; /* saved up, as nanoseconds of earning: units * NS_PER_S / rate */
	struct mono last; /* when 'level_ns' was right */
};

static inline int64_t bucket_cost_ns(uint64_t rate, uint64_t units)
{
	return (int64_t)(units * (uint64_t)NS_PER_S / rate);
}

static inline void bucket_fill(struct bucket *b, struct mono now, uint64_t rate, uint64_t burst)
{
	b->level_ns = bucket_cost_ns(rate, burst);
	b->last = now;
}

/* Would bucket_take() succeed? 'rate' must not be 0. */
static inline bool bucket_has(struct bucket *b, struct mono now, uint64_t rate, uint64_t burst, uint64_t units)
{
	int64_t full = bucket_cost_ns(rate, burst), gain = mono_since_ns(now, b->last);

	if (gain > 0) {
		b->level_ns = gain >= full - b->level_ns ? full : b->level_ns + gain;
		b->last = now;
	}
	return b->level_ns >= bucket_cost_ns(rate, units);
}

/* Takes 'units' if they are there; takes nothing otherwise. 'rate' must not be 0. */
static inline bool bucket_take(struct bucket *b, struct mono now, uint64_t rate, uint64_t burst, uint64_t units)
{
	if (!bucket_has(b, now, rate, burst, units))
		return false;
	b->level_ns -= bucket_cost_ns(rate, units);
	return true;
}

/* When bucket_take() will succeed, if nothing else is taken until then. */
static inline struct mono bucket_ready_at(const struct bucket *b, uint64_t rate, uint64_t units)
{
	int64_t missing = bucket_cost_ns(rate, units) - b->level_ns;

	return missing > 0 ? mono_add_ns(b->last, missing) : b->last;
}

#endif
