/* SPDX-License-Identifier: MIT */
/* Event loop of the control thread: epoll, one timerfd for the deadline heap, signalfd, helper
 * thread. */
#include "config.h"

#include "daemon/loop.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

enum {
	EVENTS_MAX = 64,           /* descriptors served per turn */
	TIMERS_MAX = 256,          /* timers run per turn, so that descriptors get their turn too */
	HELPER_STACK = 256 * 1024, /* name resolution and TLS set-up stay well below */
};

/* One helper thread and its queues. */
struct helper {
	struct loop *loop;
	pthread_t thread;
	bool is_started; /* control thread only */
	/* Under 'lock'. */
	pthread_mutex_t lock;
	pthread_cond_t work;     /* there is a job, or the end */
	pthread_cond_t progress; /* a job has run */
	struct loop_job *todo, **todo_tail;
	struct loop_job *finished, **finished_tail;
	bool is_stopping;
};

struct loop {
	const struct log *log;
	int epoll_fd;
	int wake_fd;   /* eventfd: loop_wake(), finished jobs */
	int timer_fd;  /* CLOCK_BOOTTIME, absolute */
	int signal_fd; /* -1 before loop_signals() */
	struct loop_fd wake_watch, timer_watch, signal_watch;
	struct heap timers;
	struct mono armed; /* what the timerfd is set to */
	struct mono now;
	bool is_stopping;
	loop_signal_fn signal_fn;
	void *signal_ctx;
	loop_timer_fn turn_end;
	void *turn_end_ctx;
	/* The turn's events not served yet; a deleted watch is taken out of them. */
	struct epoll_event events[EVENTS_MAX];
	int n_events, at_event;
	struct helper helpers[LOOP_N_LANES];
};

struct mono loop_clock(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return (struct mono){ (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec };
}

static void fill_random(void *ctx, void *dst, size_t size)
{
	uint8_t *p = dst;

	(void)ctx;
	while (size) {
		const ssize_t n = getrandom(p, size, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			abort(); /* no keys without randomness */
		p += n;
		size -= (size_t)n;
	}
}

static int64_t wall_clock(void *ctx)
{
	struct timespec ts;

	(void)ctx;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

struct env loop_env(const struct log *log)
{
	return (struct env){ .fill = fill_random, .wall_ns = wall_clock, .log = log };
}

/* --- helper threads --- */

static void *helper_main(void *arg)
{
	struct helper *h = arg;

	(void)pthread_mutex_lock(&h->lock);
	for (;;) {
		struct loop_job *job = h->todo;

		if (h->is_stopping)
			break;
		if (!job) {
			(void)pthread_cond_wait(&h->work, &h->lock);
			continue;
		}
		h->todo = job->next;
		if (!h->todo)
			h->todo_tail = &h->todo;
		(void)pthread_mutex_unlock(&h->lock);

		job->run(job->ctx);

		(void)pthread_mutex_lock(&h->lock);
		job->did_run = true;
		job->next = NULL;
		*h->finished_tail = job;
		h->finished_tail = &job->next;
		(void)pthread_cond_signal(&h->progress);
		loop_wake(h->loop);
	}
	(void)pthread_mutex_unlock(&h->lock);
	return NULL;
}

static void helper_init(struct helper *h, struct loop *l)
{
	h->loop = l;
	h->todo_tail = &h->todo;
	h->finished_tail = &h->finished;
	(void)pthread_mutex_init(&h->lock, NULL);
	(void)pthread_cond_init(&h->work, NULL);
	(void)pthread_cond_init(&h->progress, NULL);
}

static int helper_start(struct helper *h)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, HELPER_STACK);
	/* Signals are the loop's; it may block them only after this thread was started. */
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&h->thread, &attr, helper_main, h);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	h->is_started = err == 0;
	return -err;
}

static void finish_jobs(struct loop *l, struct loop_job *job)
{
	while (job) {
		struct loop_job *next = job->next;

		job->next = NULL;
		job->is_queued = false;
		if (job->done)
			job->done(job->ctx, job->did_run, l->now);
		job = next;
	}
}

static void take_finished(struct loop *l, struct helper *h)
{
	struct loop_job *job;

	(void)pthread_mutex_lock(&h->lock);
	job = h->finished;
	h->finished = NULL;
	h->finished_tail = &h->finished;
	(void)pthread_mutex_unlock(&h->lock);
	finish_jobs(l, job);
}

static void helper_stop(struct helper *h)
{
	if (!h->is_started)
		return;
	(void)pthread_mutex_lock(&h->lock);
	h->is_stopping = true;
	(void)pthread_cond_signal(&h->work);
	(void)pthread_mutex_unlock(&h->lock);
	(void)pthread_join(h->thread, NULL);
}

/* What is left when the threads have ended. A 'done' may post again, on any lane; such a job is finished
 * without having run. */
static bool drain(struct loop *l, struct helper *h)
{
	struct loop_job *job = h->finished, *rest = h->todo;

	h->finished = h->todo = NULL;
	h->finished_tail = &h->finished;
	h->todo_tail = &h->todo;
	finish_jobs(l, job);
	finish_jobs(l, rest);
	return job || rest;
}

static void helpers_stop(struct loop *l)
{
	bool any = true;

	for (size_t i = 0; i < LOOP_N_LANES; i++)
		helper_stop(&l->helpers[i]);
	while (any) {
		any = false;
		for (size_t i = 0; i < LOOP_N_LANES; i++)
			any |= drain(l, &l->helpers[i]);
	}
	for (size_t i = 0; i < LOOP_N_LANES; i++) {
		(void)pthread_cond_destroy(&l->helpers[i].progress);
		(void)pthread_cond_destroy(&l->helpers[i].work);
		(void)pthread_mutex_destroy(&l->helpers[i].lock);
	}
}

void loop_job_wait(struct loop *l, struct loop_job *job)
{
	struct helper *h = &l->helpers[job->lane];
	struct loop_job **at = &h->finished;

	if (!job->is_queued)
		return;
	(void)pthread_mutex_lock(&h->lock);
	while (!job->did_run)
		(void)pthread_cond_wait(&h->progress, &h->lock);
	while (*at && *at != job)
		at = &(*at)->next;
	if (*at) {
		*at = job->next;
		if (!*at)
			h->finished_tail = at;
	}
	(void)pthread_mutex_unlock(&h->lock);
	job->next = NULL;
	finish_jobs(l, job);
}

void loop_job_post(struct loop *l, struct loop_job *job)
{
	struct helper *h = &l->helpers[job->lane];

	assert(!job->is_queued);
	job->next = NULL;
	job->did_run = false;
	job->is_queued = true;
	(void)pthread_mutex_lock(&h->lock);
	*h->todo_tail = job;
	h->todo_tail = &job->next;
	(void)pthread_cond_signal(&h->work);
	(void)pthread_mutex_unlock(&h->lock);
}

/* --- descriptors --- */

int loop_fd_add(struct loop *l, struct loop_fd *w, int fd, uint32_t events, loop_fd_fn fn,
		void *ctx)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	assert(!w->fn);
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	*w = (struct loop_fd){ .fd = fd, .fn = fn, .ctx = ctx };
	return 0;
}

int loop_fd_mod(struct loop *l, struct loop_fd *w, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = w };

	assert(w->fn);
	return epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, w->fd, &ev) < 0 ? -errno : 0;
}

void loop_fd_del(struct loop *l, struct loop_fd *w)
{
	if (!w->fn)
		return;
	(void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
	w->fn = NULL;
	for (int i = l->at_event; i < l->n_events; i++)
		if (l->events[i].data.ptr == w)
			l->events[i].data.ptr = NULL;
}

static void drain_counter(int fd)
{
	uint64_t n;

	while (read(fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
}

static void wake_ready(void *ctx, uint32_t events, struct mono now)
{
	struct loop *l = ctx;

	(void)events;
	(void)now;
	drain_counter(l->wake_fd);
	for (size_t i = 0; i < LOOP_N_LANES; i++)
		take_finished(l, &l->helpers[i]);
}

static void timer_ready(void *ctx, uint32_t events, struct mono now)
{
	struct loop *l = ctx;

	(void)events;
	(void)now;
	drain_counter(l->timer_fd);
	l->armed = MONO_NEVER; /* it has fired; run_timers() does the work */
}

static void signal_ready(void *ctx, uint32_t events, struct mono now)
{
	struct loop *l = ctx;
	struct signalfd_siginfo si;

	(void)events;
	while (read(l->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
		l->signal_fn(l->signal_ctx, (int)si.ssi_signo, now);
}

int loop_signals(struct loop *l, const sigset_t *set, loop_signal_fn fn, void *ctx)
{
	const int err = pthread_sigmask(SIG_BLOCK, set, NULL);

	if (err)
		return -err;
	assert(l->signal_fd < 0);
	l->signal_fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l->signal_fd < 0)
		return -errno;
	l->signal_fn = fn;
	l->signal_ctx = ctx;
	return loop_fd_add(l, &l->signal_watch, l->signal_fd, EPOLLIN, signal_ready, l);
}

void loop_wake(struct loop *l)
{
	const uint64_t one = 1;

	/* EAGAIN means that the counter is at its limit: it is awake already. */
	while (write(l->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* --- timers --- */

void loop_timer_set(struct loop *l, struct loop_timer *t, struct mono deadline)
{
	if (heap_set(&l->timers, &t->node, deadline) < 0) {
		log_error(l->log, "loop: timer: out of memory");
		abort();
	}
}

void loop_timer_stop(struct loop *l, struct loop_timer *t)
{
	heap_del(&l->timers, &t->node);
}

static void run_timers(struct loop *l)
{
	for (int i = 0; i < TIMERS_MAX; i++) {
		struct heap_node *node = heap_first(&l->timers);
		struct loop_timer *t;

		if (!node || !mono_due(node->deadline, l->now))
			return;
		t = CONTAINER_OF(node, struct loop_timer, node);
		heap_del(&l->timers, node);
		t->fn(t->ctx, l->now);
	}
}

/* Sets the timerfd to the earliest deadline, if it is not. */
static void arm_timer(struct loop *l)
{
	const struct mono due = heap_deadline(&l->timers);
	struct itimerspec its = { 0 };

	if (due.ns == l->armed.ns)
		return;
	l->armed = due;
	if (!mono_is_never(due)) {
		/* Zero would disarm it; a time in the past fires at once. */
		const int64_t ns = due.ns > 0 ? due.ns : 1;

		its.it_value.tv_sec = (time_t)(ns / NS_PER_S);
		its.it_value.tv_nsec = (long)(ns % NS_PER_S);
	}
	(void)timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);
}

/* --- the loop --- */

int loop_turn(struct loop *l, int max_ms)
{
	arm_timer(l);
	l->n_events = epoll_wait(l->epoll_fd, l->events, EVENTS_MAX, max_ms);
	if (l->n_events < 0) {
		l->n_events = 0;
		if (errno != EINTR)
			return -errno;
	}
	l->now = loop_clock();
	for (l->at_event = 0; l->at_event < l->n_events;) {
		const struct epoll_event *ev = &l->events[l->at_event++];
		const struct loop_fd *w = ev->data.ptr;

		if (w && w->fn)
			w->fn(w->ctx, ev->events, l->now);
	}
	l->n_events = l->at_event = 0;
	run_timers(l);
	if (l->turn_end)
		l->turn_end(l->turn_end_ctx, l->now);
	return 0;
}

int loop_run(struct loop *l)
{
	l->is_stopping = false;
	while (!l->is_stopping) {
		const int err = loop_turn(l, -1);

		if (err)
			return err;
	}
	return 0;
}

void loop_stop(struct loop *l)
{
	l->is_stopping = true;
}

struct mono loop_now(const struct loop *l)
{
	return l->now;
}

void loop_set_turn_end(struct loop *l, loop_timer_fn fn, void *ctx)
{
	l->turn_end = fn;
	l->turn_end_ctx = ctx;
}

static int open_all(struct loop *l)
{
	int err;

	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->epoll_fd < 0 || l->wake_fd < 0 || l->timer_fd < 0)
		return -errno;
	err = loop_fd_add(l, &l->wake_watch, l->wake_fd, EPOLLIN, wake_ready, l);
	if (!err)
		err = loop_fd_add(l, &l->timer_watch, l->timer_fd, EPOLLIN, timer_ready, l);
	for (size_t i = 0; i < LOOP_N_LANES && !err; i++)
		err = helper_start(&l->helpers[i]);
	return err;
}

static void close_all(struct loop *l)
{
	const int fds[] = { l->epoll_fd, l->wake_fd, l->timer_fd, l->signal_fd };

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			(void)close(fds[i]);
	heap_wipe(&l->timers);
	free(l);
}

struct loop *loop_new(const struct log *log)
{
	struct loop *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return NULL;
	l->log = log;
	l->epoll_fd = l->wake_fd = l->timer_fd = l->signal_fd = -1;
	l->armed = MONO_NEVER;
	l->now = loop_clock();
	for (size_t i = 0; i < LOOP_N_LANES; i++)
		helper_init(&l->helpers[i], l);
	err = open_all(l);
	if (err) {
		helpers_stop(l);
		close_all(l);
		errno = -err;
		return NULL;
	}
	return l;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	helpers_stop(l);
	close_all(l);
}
