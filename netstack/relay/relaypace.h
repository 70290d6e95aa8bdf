/* SPDX-License-Identifier: MIT */
/* How a relay's packet workers gather work: what a wake-up costs is more than what a datagram costs.
 *
 * Many slow flows come as single datagrams of different sources, which no offload gathers; each would wake a worker
 * that reads one, sends one and sleeps. Two things keep such wake-ups few:
 *
 *   relaypace    of one worker: while single datagrams come so fast that a short pause gathers several, it pauses
 *                before it reads again. It never pauses longer than RELAYPACE_MAX_US, nor for flows in bulk, which
 *                come gathered, nor at a low rate: then each datagram is forwarded at once.
 *   relayspread  of all workers: while one of them can do all the work, the others' sockets get nothing.
 *
 * Owner: one forwarding worker each. No clock, no allocation. */
#ifndef NETSTACK_RELAY_RELAYPACE_H
#define NETSTACK_RELAY_RELAYPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mono.h"

enum {
	RELAYPACE_MAX_US = 150,   /* the longest pause; a quarter of a fast path's round trip through a relay */
	RELAYPACE_MIN_US = 20,    /* the shortest: below that the worker is busy, and receives fill up anyway */
	RELAYPACE_WANT = 4,       /* datagrams a pause is to gather ... */
	RELAYPACE_MIN = 2,        /* ... and how many make it worth the timer */
	RELAYPACE_WINDOW_MS = 10, /* over which the rate is measured */
	RELAYPACE_BULK_SHARE = 8, /* one gathered receive in so many: no pause */
};

struct relaypace {
	struct mono since; /* begin of the window */
	uint32_t n_recvs;  /* of the window: datagrams and gathered runs */
	uint32_t n_bulk;   /* gathered runs of them */
	uint32_t pause_ns; /* before the next read; 0 = none */
};

/* A turn of the worker found 'n_recvs' datagrams or gathered runs, 'n_bulk' of them such runs. Updates
 * 'pause_ns'. */
void relaypace_add(struct relaypace *p, struct mono now, uint32_t n_recvs, uint32_t n_bulk);

enum {
	RELAYSPREAD_WINDOW_MS = 100,
	RELAYSPREAD_UP_PCT = 50,   /* of a core used: more than one worker from now on */
	RELAYSPREAD_DOWN_PCT = 25, /* of a core used by all of them: one is enough ... */
	RELAYSPREAD_HOLD_MS = 5000, /* ... if that lasts; each change may reorder what is under way */
};

struct relayspread {
	struct mono since, calm_since; /* begin of the window; since when little was used */
	uint64_t cpu_ns;               /* of all workers at its begin */
	uint64_t n_lost;               /* datagrams lost by the kernel at its begin */
	bool is_spread;                /* out: all workers get datagrams */
};

/* Is the window over, so that relayspread_add() wants the figures? */
static inline bool relayspread_is_due(const struct relayspread *s, struct mono now)
{
	return mono_since_ns(now, s->since) >= RELAYSPREAD_WINDOW_MS * NS_PER_MS;
}

/* Processor time of all workers and datagrams lost so far. True if 'is_spread' has changed. */
bool relayspread_add(struct relayspread *s, struct mono now, uint64_t cpu_ns, uint64_t n_lost);

#endif
