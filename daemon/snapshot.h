/* SPDX-License-Identifier: MIT */
/* Publication of immutable objects and grace periods (liburcu, QSBR flavour; nothing else calls
 * it).
 *
 * The control thread builds an object, stores a pointer to it, and retires the old one. A worker
 * loads the pointer and may use what it leads to until its next quiescent state: at the top of each
 * batch it says so, and before it sleeps it goes offline. The old object is freed when every worker
 * has passed one.
 *
 *   control:  build ──► snapshot_store() ──► snapshot_retire(old) ─ ─ all passed → free(old)
 *   worker 0: quiescent … batch … quiescent … batch …
 *   worker 1: quiescent … batch … offline (asleep) …     asleep counts as passed
 *
 * Rules: no pointer is kept across batches; nothing is retired from a worker; a published object is
 * const for everybody. The control thread never waits: synchronize_rcu() runs on the loop's helper
 * thread. */
#ifndef DAEMON_SNAPSHOT_H
#define DAEMON_SNAPSHOT_H

#include <stdatomic.h>

#include "base/compiler.h"

struct loop;
struct snapshot;

/* A pointer that control stores and workers load. */
struct snapshot_ptr {
	_Atomic(void *) p;
};

/* Release: pairs with the acquire in snapshot_load(). */
static inline void snapshot_store(struct snapshot_ptr *p, void *v)
{
	atomic_store_explicit(&p->p, v, memory_order_release);
}

static inline void *snapshot_load(const struct snapshot_ptr *p)
{
	return atomic_load_explicit(&p->p, memory_order_acquire);
}

/* By the thread that stores. */
static inline void *snapshot_own(const struct snapshot_ptr *p)
{
	return atomic_load_explicit(&p->p, memory_order_relaxed);
}

/* First member (or any member) of an object that is published: its place in the list of retired
 * ones. */
struct snapshot_item {
	struct snapshot_item *next;
	void (*free)(struct snapshot_item *item); /* wipes secrets and frees the object */
};

/* The list of retired objects. Control thread. Null if out of memory. */
struct snapshot *snapshot_new(struct loop *loop);
/* Frees everything retired, at once or when the grace period that is running ends. All workers must
 * have been joined. Null is accepted. */
void snapshot_free(struct snapshot *s);
/* Frees 'item' with 'fn' after a grace period. The pointer to it must have been replaced before. */
void snapshot_retire(struct snapshot *s, struct snapshot_item *item,
		     void (*fn)(struct snapshot_item *item));

/* A worker calls these for itself: first and last thing in its life, at the top of each batch,
 * around each wait. Between offline and online it may not touch what it loaded. */
void snapshot_thread_enter(void);
void snapshot_thread_leave(void);
void snapshot_quiescent(void);
void snapshot_offline(void);
void snapshot_online(void);

#endif
