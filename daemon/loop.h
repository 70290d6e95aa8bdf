/* SPDX-License-Identifier: MIT */
/* The control thread's event loop: file descriptors (epoll), timers (one deadline heap, one timerfd
 * on CLOCK_BOOTTIME, so that deadlines pass while a laptop sleeps), signals (signalfd), and the
 * helper threads for calls that may block: one for whatever waits for others (DNS lookup, TLS set-up,
 * grace periods), one for the disk (sqlite sync), because a name server that is silent for half a
 * minute must not hold back a commit that an answer waits for. They own no state.
 *
 * Everything here belongs to the thread that runs loop_run(); the only exception is loop_wake().
 * The clock is read once per turn: callbacks get that time, so all events of a turn have the same
 * 'now'.
 *
 *   struct loop *l = loop_new(log);
 *   loop_fd_add(l, &conn->watch, fd, EPOLLIN, conn_ready, conn);
 *   loop_timer_set(l, &conn->timer, mono_add_s(loop_now(l), 5));
 *   loop_run(l);                                    returns after loop_stop()
 *   loop_free(l); */
#ifndef DAEMON_LOOP_H
#define DAEMON_LOOP_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/compiler.h"
#include "base/env.h"
#include "base/heap.h"
#include "base/mono.h"

struct log;
struct loop;

/* 'events' is what epoll reported (EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR …). The callback may
 * delete any watch, its own included, and free its memory. */
typedef void (*loop_fd_fn)(void *ctx, uint32_t events, struct mono now);
typedef void (*loop_timer_fn)(void *ctx, struct mono now);
typedef void (*loop_signal_fn)(void *ctx, int signo, struct mono now);

/* One watched descriptor; a member of its owner's struct. Zero it before the first use. The
 * descriptor stays the owner's: delete the watch first, then close. */
struct loop_fd {
	int fd;
	loop_fd_fn fn; /* null: not watched */
	void *ctx;
};

/* One timer; a member of its owner's struct. Set 'fn' and 'ctx', leave the rest zero. */
struct loop_timer {
	struct heap_node node; /* the loop's */
	loop_timer_fn fn;
	void *ctx;
};

/* The helper threads. */
enum loop_lane {
	LOOP_LANE_SLOW, /* everything but the disk */
	LOOP_LANE_DISK,
	LOOP_N_LANES,
};

/* One slow job; a member of its owner's struct, which must live until 'done' was called. */
struct loop_job {
	enum loop_lane lane;
	/* Runs on its lane's helper thread; may block. Touches nothing but what 'ctx' leads to and the
	 * owner leaves alone meanwhile. */
	void (*run)(void *ctx);
	/* Runs on the loop's thread afterwards. 'did_run' is false if the loop was freed before the
	 * job's turn came. Null: nobody waits for it. */
	void (*done)(void *ctx, bool did_run, struct mono now);
	void *ctx;
	struct loop_job *next; /* the loop's */
	bool did_run;          /* the loop's */
	bool is_queued;        /* the loop's: between loop_job_post() and 'done' */
};

/* Makes a loop and starts its helper threads. 'log' is borrowed, may be null. Null if the system
 * refuses (errno says why). */
MESH_MUST_USE struct loop *loop_new(const struct log *log);
/* Finishes the jobs that are running, calls 'done' of every posted job, stops the helper threads and
 * frees the loop. Null is accepted. */
void loop_free(struct loop *l);

/* Turns until loop_stop(). Returns 0, or a negative errno if epoll itself failed. */
MESH_MUST_USE int loop_run(struct loop *l);
/* One turn: waits at most 'max_ms' (-1 = until something happens), runs what is due. For tests and
 * for draining at shutdown. Returns 0 or a negative errno. */
MESH_MUST_USE int loop_turn(struct loop *l, int max_ms);
/* loop_run() returns at the end of this turn. */
void loop_stop(struct loop *l);
/* Time of this turn (CLOCK_BOOTTIME). */
struct mono loop_now(const struct loop *l);
/* Ends the wait of loop_run() from another thread. Any thread. */
void loop_wake(struct loop *l);
/* Called at the end of every turn after all callbacks, e.g. to poll the engine's outputs once. */
void loop_set_turn_end(struct loop *l, loop_timer_fn fn, void *ctx);

/* Watches 'fd' for 'events'. Returns 0 or a negative errno. */
MESH_MUST_USE int loop_fd_add(struct loop *l, struct loop_fd *w, int fd, uint32_t events,
			      loop_fd_fn fn, void *ctx);
/* Changes the events of a watch. Returns 0 or a negative errno. */
MESH_MUST_USE int loop_fd_mod(struct loop *l, struct loop_fd *w, uint32_t events);
/* Ends the watch; harmless if there is none. No callback of it comes any more, even in this turn.
 */
void loop_fd_del(struct loop *l, struct loop_fd *w);

/* Sets or moves a timer; MONO_NEVER stops it; a time in the past fires in the next turn. One shot.
 * Running out of memory here is fatal to the process: a lost timer cannot be repaired. */
void loop_timer_set(struct loop *l, struct loop_timer *t, struct mono deadline);
void loop_timer_stop(struct loop *l, struct loop_timer *t);

/* Blocks the signals of 'set' in this thread (call it before other threads start) and delivers them
 * to 'fn'. Once per loop. Returns 0 or a negative errno. */
MESH_MUST_USE int loop_signals(struct loop *l, const sigset_t *set, loop_signal_fn fn, void *ctx);

/* Gives the job to its lane; the jobs of a lane run one after the other in order. A job that is queued
 * already must not be posted again (ask 'is_queued'). */
void loop_job_post(struct loop *l, struct loop_job *job);
/* Blocks until the job has run, and calls its 'done'. For shutdown; nothing happens if it is not queued. */
void loop_job_wait(struct loop *l, struct loop_job *job);

/* Current CLOCK_BOOTTIME. Any thread. */
struct mono loop_clock(void);
/* An environment for the library: getrandom() and CLOCK_REALTIME; 'log' is borrowed. Any thread. */
struct env loop_env(const struct log *log);

#endif
