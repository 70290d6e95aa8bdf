/* SPDX-License-Identifier: MIT */
/* Monotonic time as a type of its own, so that it cannot be mixed with wall time.
 *
 * The daemon reads CLOCK_BOOTTIME once per loop turn or packet batch; tests count from zero.
 * Machines only ever compare and add. */
#ifndef NETSTACK_BASE_MONO_H
#define NETSTACK_BASE_MONO_H

#include <stdbool.h>
#include <stdint.h>

struct mono {
	int64_t ns;
};

/* A deadline that never comes. */
#define MONO_NEVER ((struct mono){ INT64_MAX })
/* Before every other time; the value of a zeroed struct. */
#define MONO_ZERO ((struct mono){ 0 })

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S  INT64_C(1000000000)

static inline bool mono_before(struct mono a, struct mono b)
{
	return a.ns < b.ns;
}

/* Is 'deadline' reached at 'now'? MONO_NEVER never is. */
static inline bool mono_due(struct mono deadline, struct mono now)
{
	return deadline.ns != INT64_MAX && deadline.ns <= now.ns;
}

static inline bool mono_is_never(struct mono t)
{
	return t.ns == INT64_MAX;
}

static inline bool mono_is_zero(struct mono t)
{
	return t.ns == 0;
}

static inline struct mono mono_min(struct mono a, struct mono b)
{
	return a.ns < b.ns ? a : b;
}

static inline struct mono mono_max(struct mono a, struct mono b)
{
	return a.ns > b.ns ? a : b;
}

/* 't' plus 'ns', saturating at MONO_NEVER. */
static inline struct mono mono_add_ns(struct mono t, int64_t ns)
{
	struct mono r;

	if (t.ns == INT64_MAX || __builtin_add_overflow(t.ns, ns, &r.ns))
		return MONO_NEVER;
	return r;
}

static inline struct mono mono_add_ms(struct mono t, int64_t ms)
{
	return mono_add_ns(t, ms * NS_PER_MS);
}

static inline struct mono mono_add_s(struct mono t, int64_t s)
{
	return mono_add_ns(t, s * NS_PER_S);
}

/* Nanoseconds from 'since' to 'now'; negative if 'since' is later. */
static inline int64_t mono_since_ns(struct mono now, struct mono since)
{
	return now.ns - since.ns;
}

static inline int64_t mono_since_ms(struct mono now, struct mono since)
{
	return (now.ns - since.ns) / NS_PER_MS;
}

#endif
