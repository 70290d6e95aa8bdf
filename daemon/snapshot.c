/* SPDX-License-Identifier: MIT */
/* Grace periods: a list of retired objects that is swept after synchronize_rcu() on the helper
 * thread. */
#include "config.h"

#include "daemon/snapshot.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include <urcu-qsbr.h>

#include "daemon/loop.h"

#if defined(__SANITIZE_THREAD__)
#define HAVE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAVE_TSAN 1
#endif
#endif

/* ThreadSanitizer cannot see into liburcu: the edge from a worker's quiescent state to the end of
 * the grace period is told here, on an address that stands for it. */
#ifdef HAVE_TSAN
#include <sanitizer/tsan_interface.h>

static const char tsan_edge = 0; /* only its address is used */

static void edge_release(void)
{
	__tsan_release((void *)(uintptr_t)&tsan_edge);
}

static void edge_acquire(void)
{
	__tsan_acquire((void *)(uintptr_t)&tsan_edge);
}
#else
static void edge_release(void)
{
}

static void edge_acquire(void)
{
}
#endif

struct snapshot {
	struct loop *loop;
	struct loop_job job;           /* waits for a grace period */
	struct snapshot_item *retired; /* since the last job was posted */
	struct snapshot_item *waiting; /* freed when the job is done */
	bool is_closing;               /* the owner is gone: the job's end frees this */
};

static void free_list(struct snapshot_item **list)
{
	struct snapshot_item *item = *list;

	*list = NULL;
	while (item) {
		struct snapshot_item *next = item->next;

		item->free(item);
		item = next;
	}
}

static void wait_grace(void *ctx)
{
	(void)ctx;
	synchronize_rcu();
	edge_acquire();
}

static void sweep(struct snapshot *s)
{
	s->waiting = s->retired;
	s->retired = NULL;
	if (s->waiting)
		loop_job_post(s->loop, &s->job);
}

static void grace_over(void *ctx, bool did_run, struct mono now)
{
	struct snapshot *s = ctx;

	(void)now;
	/* Not run: the loop is being freed; that happens after all workers were joined. */
	(void)did_run;
	free_list(&s->waiting);
	if (s->is_closing) {
		free_list(&s->retired);
		free(s);
		return;
	}
	sweep(s);
}

struct snapshot *snapshot_new(struct loop *loop)
{
	struct snapshot *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->loop = loop;
	s->job = (struct loop_job){ .run = wait_grace, .done = grace_over, .ctx = s };
	return s;
}

void snapshot_free(struct snapshot *s)
{
	if (!s)
		return;
	s->is_closing = true;
	if (s->job.is_queued)
		return;
	free_list(&s->retired);
	free(s);
}

void snapshot_retire(struct snapshot *s, struct snapshot_item *item,
		     void (*fn)(struct snapshot_item *item))
{
	item->free = fn;
	item->next = s->retired;
	s->retired = item;
	if (!s->job.is_queued)
		sweep(s);
}

void snapshot_thread_enter(void)
{
	rcu_register_thread();
}

void snapshot_thread_leave(void)
{
	edge_release();
	rcu_unregister_thread();
}

void snapshot_quiescent(void)
{
	edge_release();
	rcu_quiescent_state();
}

void snapshot_offline(void)
{
	edge_release();
	rcu_thread_offline();
}

void snapshot_online(void)
{
	rcu_thread_online();
}
