/* SPDX-License-Identifier: MIT */
/* The library's only window to the world: random bytes, wall time, a log.
 *
 * Production fills it from the system (daemon/loop.c), tests from a seed and a fixed calendar, so
 * that two runs with the same seed are identical byte for byte (ARCHITECTURE, rule 1). */
#ifndef NETSTACK_BASE_ENV_H
#define NETSTACK_BASE_ENV_H

#include <stddef.h>
#include <stdint.h>

struct log;

struct env {
	/* Fills 'dst' with 'size' random bytes; cannot fail. */
	void (*fill)(void *ctx, void *dst, size_t size);
	/* Wall time: nanoseconds since 1970-01-01T00:00:00Z, without leap seconds. */
	int64_t (*wall_ns)(void *ctx);
	void *ctx;
	const struct log *log; /* may be null */
};

static inline void env_fill(const struct env *env, void *dst, size_t size)
{
	env->fill(env->ctx, dst, size);
}

static inline int64_t env_wall_ns(const struct env *env)
{
	return env->wall_ns(env->ctx);
}

/* A random number in 0..'bound'-1; 0 if 'bound' is 0. The bias is below bound / 2^64: fit for jitter
 * and ports, not for keys. */
static inline uint64_t env_below(const struct env *env, uint64_t bound)
{
	uint64_t v;

	env->fill(env->ctx, &v, sizeof(v));
	return bound ? v % bound : 0;
}

#endif
