/* SPDX-License-Identifier: MIT */
/* Parts of a batch, claimed by compare-and-swap. */
#include "config.h"

#include "daemon/crew.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/ring.h"

enum {
	STACK_SIZE = 128 << 10,
	/* In time and not in looks: a pause takes 10 ns on one processor and 70 on the next. */
	SPIN_NS = 20000, /* before a helper sleeps: about the worker's time between batches */
	SPIN_OWNER_NS = 2000, /* before the worker gives the core to a helper that has lost its own */
	LOOKS = 16, /* between two looks at the clock */
};

struct helper {
	struct crew *crew;
	unsigned lane;
	pthread_t thread;
	struct bell bell;
	_Atomic bool is_asleep;
};

struct crew {
	/* Generation << 32 | parts << 16 | next part. Its release publishes fn, ctx and what the worker
	 * wrote; claiming acquires. */
	MESH_ALIGNED(64) _Atomic uint64_t ticket;
	/* Parts of this generation that helpers or the worker finished; its release publishes their work. */
	MESH_ALIGNED(64) _Atomic uint32_t n_done;
	/* Read by who looks for work, all the time: not on a line that is written. */
	MESH_ALIGNED(64) _Atomic bool is_over;
	/* The worker's; read by who has claimed a part. */
	crew_fn fn;
	void *ctx;
	uint32_t generation;
	unsigned n;
	struct helper helpers[CREW_HELPERS_MAX];
};

static inline uint32_t parts_of(uint64_t ticket)
{
	return (uint32_t)(ticket >> 16) & 0xffff;
}

static inline uint32_t next_of(uint64_t ticket)
{
	return (uint32_t)ticket & 0xffff;
}

static inline void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

static int64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Looks for a moment whether 'is_so' comes true; the answer. */
static bool spin(bool (*is_so)(const struct crew *), const struct crew *c, int64_t ns)
{
	const int64_t end = now_ns() + ns;

	do {
		for (int i = 0; i < LOOKS; i++) {
			if (is_so(c))
				return true;
			pause_cpu();
		}
	} while (now_ns() < end);
	return false;
}

/* Does parts until none is left. */
static void work(struct crew *c, unsigned lane)
{
	uint64_t t = atomic_load_explicit(&c->ticket, memory_order_acquire);

	while (next_of(t) < parts_of(t)) {
		/* Acquire: pairs with the release in crew_run(). Fails if the run is another one by now. */
		if (!atomic_compare_exchange_weak_explicit(&c->ticket, &t, t + 1, memory_order_acquire,
							   memory_order_acquire))
			continue;
		c->fn(c->ctx, next_of(t), lane);
		/* Release: pairs with the acquire in crew_run(). */
		(void)atomic_fetch_add_explicit(&c->n_done, 1, memory_order_release);
		t = atomic_load_explicit(&c->ticket, memory_order_acquire);
	}
}

static bool has_work(const struct crew *c)
{
	const uint64_t t = atomic_load_explicit(&c->ticket, memory_order_seq_cst);

	return next_of(t) < parts_of(t) || atomic_load_explicit(&c->is_over, memory_order_seq_cst);
}

/* Sequentially consistent against wake(): either this sees the new ticket, or that sees the mark. */
static void sleep_until_rung(struct helper *h)
{
	struct pollfd fd = { .fd = h->bell.fd, .events = POLLIN };

	atomic_store_explicit(&h->is_asleep, true, memory_order_seq_cst);
	if (!has_work(h->crew)) {
		(void)poll(&fd, 1, -1);
		bell_clear(&h->bell);
	}
	atomic_store_explicit(&h->is_asleep, false, memory_order_relaxed);
}

static void *helper_main(void *arg)
{
	struct helper *h = arg;

	while (!atomic_load_explicit(&h->crew->is_over, memory_order_acquire)) {
		work(h->crew, h->lane);
		if (!spin(has_work, h->crew, SPIN_NS))
			sleep_until_rung(h);
	}
	return NULL;
}

/* Are the parts of the run that is under way all done? Acquire: pairs with the release in work(). */
static bool is_done(const struct crew *c)
{
	return atomic_load_explicit(&c->n_done, memory_order_acquire) ==
	       parts_of(atomic_load_explicit(&c->ticket, memory_order_relaxed));
}

/* The worker takes a part itself. */
static void wake(struct crew *c, uint32_t n)
{
	for (unsigned i = 0; i < c->n && i < n - 1; i++)
		if (atomic_load_explicit(&c->helpers[i].is_asleep, memory_order_seq_cst))
			bell_ring(&c->helpers[i].bell);
}

void crew_run(struct crew *c, crew_fn fn, void *ctx, uint32_t n)
{
	if (!c || n < 2) {
		for (uint32_t i = 0; i < n; i++)
			fn(ctx, i, 0);
		return;
	}
	c->fn = fn;
	c->ctx = ctx;
	atomic_store_explicit(&c->n_done, 0, memory_order_relaxed);
	/* No helper holds an older ticket with parts left: the last run ended with none. */
	atomic_store_explicit(&c->ticket, (uint64_t)++c->generation << 32 | n << 16,
			      memory_order_seq_cst);
	wake(c, n);
	work(c, 0);
	if (!is_done(c) && !spin(is_done, c, SPIN_OWNER_NS))
		while (!is_done(c))
			(void)sched_yield();
}

static int start(struct helper *h, const char *name)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int err = bell_open(&h->bell);

	if (err)
		return err;
	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, STACK_SIZE);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&h->thread, &attr, helper_main, h);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	if (err)
		bell_close(&h->bell);
	else
		(void)pthread_setname_np(h->thread, name);
	return -err;
}

int crew_new(struct crew **out, unsigned n, const char *name)
{
	struct crew *c;
	int err = 0;

	*out = NULL;
	if (!n)
		return 0;
	c = aligned_alloc(64, sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct crew){ 0 };
	for (; c->n < n && c->n < CREW_HELPERS_MAX; c->n++) {
		struct helper *h = &c->helpers[c->n];

		h->crew = c;
		h->lane = c->n + 1;
		err = start(h, name);
		if (err)
			break;
	}
	if (err) {
		crew_free(c);
		return err;
	}
	*out = c;
	return 0;
}

void crew_free(struct crew *c)
{
	if (!c)
		return;
	atomic_store_explicit(&c->is_over, true, memory_order_seq_cst);
	for (unsigned i = 0; i < c->n; i++)
		bell_ring(&c->helpers[i].bell);
	for (unsigned i = 0; i < c->n; i++) {
		(void)pthread_join(c->helpers[i].thread, NULL);
		bell_close(&c->helpers[i].bell);
	}
	free(c);
}

unsigned crew_default(long cores)
{
	/* Both directions at once on three or four cores would only take them from each other. */
	return cores < 3 ? 0 : cores < 6 ? 1 : cores < 12 ? 2 : CREW_HELPERS_MAX;
}
