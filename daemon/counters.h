/* SPDX-License-Identifier: MIT */
/* Numbers that one thread writes and others read: packet counts, byte counts, times of last use.
 *
 * Relaxed everywhere: each is a number of its own and publishes nothing else. A plain load and
 * store is enough for a single writer; counter_add_shared() is for the few that several threads
 * write. */
#ifndef DAEMON_COUNTERS_H
#define DAEMON_COUNTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct counter {
	_Atomic uint64_t v;
};

/* By the only writer. */
static inline void counter_add(struct counter *c, uint64_t n)
{
	atomic_store_explicit(&c->v, atomic_load_explicit(&c->v, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static inline void counter_set(struct counter *c, uint64_t v)
{
	atomic_store_explicit(&c->v, v, memory_order_relaxed);
}

/* By any writer. */
static inline void counter_add_shared(struct counter *c, uint64_t n)
{
	(void)atomic_fetch_add_explicit(&c->v, n, memory_order_relaxed);
}

static inline uint64_t counter_get(const struct counter *c)
{
	return atomic_load_explicit(&c->v, memory_order_relaxed);
}

/* A mark that a worker sets and control takes away. */
struct counter_mark {
	_Atomic bool v;
};

/* Sets the mark; true if it was not set before. The load keeps the common case free of a locked
 * instruction. */
static inline bool counter_mark_set(struct counter_mark *m)
{
	return !atomic_load_explicit(&m->v, memory_order_relaxed) &&
	       !atomic_exchange_explicit(&m->v, true, memory_order_relaxed);
}

static inline void counter_mark_clear(struct counter_mark *m)
{
	atomic_store_explicit(&m->v, false, memory_order_relaxed);
}

static inline bool counter_mark_get(const struct counter_mark *m)
{
	return atomic_load_explicit(&m->v, memory_order_relaxed);
}

#endif
