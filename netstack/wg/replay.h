/* SPDX-License-Identifier: MIT */
/* Replay window of a receiving key: RFC 6479 bitmap, exactly 8192 counters wide.
 *
 * A counter is fresh if it was not accepted before and is at most REPLAY_WINDOW behind the
 * greatest one accepted, as in the reference's self-test. Check before opening to save work, accept
 * after the packet proved authentic.
 *
 * The window belongs to the worker that holds its leaf lock; the lock lives in daemon/. */
#ifndef NETSTACK_WG_REPLAY_H
#define NETSTACK_WG_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum { REPLAY_WINDOW = 8192 };
/* No counter from here on is ever valid: 'next' can then not wrap (WireGuard paper 6.1). */
#define REPLAY_COUNTER_END (UINT64_MAX - REPLAY_WINDOW)

struct replay {
	uint64_t next; /* greatest accepted counter + 1; 0 = nothing yet */
	/* One word more than the window, because the words at its ends are only partly in it. */
	uint64_t bits[REPLAY_WINDOW / 64 + 1];
};

/* Nothing accepted yet. A zeroed struct is the same. */
void replay_init(struct replay *r);

/* Would replay_accept() take 'counter'? Changes nothing. */
bool replay_check(const struct replay *r, uint64_t counter);

/* Marks 'counter' as seen. Returns 0; -ESTALE if it is a replay or behind the window (nothing
 * changes). */
MESH_MUST_USE int replay_accept(struct replay *r, uint64_t counter);

/* The same for a batch: looks at the counters whose bit in 'mask' is set, in order, and returns the
 * bitmap of the accepted ones. 'n' is at most 64. */
uint64_t replay_accept_n(struct replay *r, const uint64_t *counters, size_t n, uint64_t mask);

#endif
