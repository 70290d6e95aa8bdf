/* SPDX-License-Identifier: MIT */
/* How much may wait in the kernel for a relay's packet worker.
 *
 * A large receive buffer lets a worker that was kept from its core catch up without loss. Under lasting overload the
 * same buffer is always full and saves nothing: what it holds makes every session wait for it, and has left the
 * processor's cache when it is read, which makes the relay slower still. So a worker that never rests and loses
 * datagrams nevertheless makes its buffer smaller step by step; a rest makes it larger again:
 *
 *   in a window, no rest and datagrams lost:  3/4 of what it was, at least RELAYQUEUE_MIN
 *   a twentieth of the window at rest:        twice that, at most RELAYQUEUE_MAX
 *   half of it, or a gap in it:               RELAYQUEUE_MAX
 *
 * A gap is a turn so long that the worker was kept from its core: what came meanwhile has to wait somewhere. Else it
 * stays. Where nothing is lost the buffer is whole: it never causes the first loss.
 *
 * Owner: one forwarding worker each. No clock, no allocation. */
#ifndef NETSTACK_RELAY_RELAYQUEUE_H
#define NETSTACK_RELAY_RELAYQUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mono.h"

enum {
	RELAYQUEUE_MAX = 7 << 20,     /* bytes as SO_RCVBUF takes them: whole */
	RELAYQUEUE_MIN = 512 << 10,   /* with what is being forwarded it fits the cache of one core */
	RELAYQUEUE_WINDOW_MS = 20,
	RELAYQUEUE_REST_SHARE = 20,   /* one part in so many of a window at rest: no overload ... */
	RELAYQUEUE_CALM_SHARE = 2,    /* ... for some time */
	RELAYQUEUE_GAP_US = 3000,     /* a turn is one batch of datagrams */
};

struct relayqueue {
	struct mono since; /* begin of the window */
	struct mono turn;  /* begin of the last turn */
	bool has_gap;      /* in the window */
	int64_t rest_ns;   /* of the window, waiting for a datagram */
	uint64_t n_lost;   /* datagrams lost at its begin */
	uint32_t bytes;    /* out: the wanted buffer */
};

/* A worker begins, its buffers are whole. */
void relayqueue_init(struct relayqueue *q, struct mono now);

/* A turn of the worker began 'now' after 'rest_ns' of waiting; 'n_lost' datagrams were lost by the kernel so far. True
 * if 'bytes' has changed. */
bool relayqueue_add(struct relayqueue *q, struct mono now, int64_t rest_ns, uint64_t n_lost);

#endif
