/* SPDX-License-Identifier: MIT */
/* When to send one more initiation before WireGuard's 5 s are over.
 *
 * The first initiation often leaves while there is no way to the peer yet: its DERP connection does not stand, or no
 * direct path is proven. Such a one is lost, and the packet behind it would wait for the next regular attempt. What
 * tells that another one may fare better:
 *
 *   HASTEN_REACHED   a path was found, or the peer itself was heard: again soon, 100, 200, 400 .. ms after the last
 *   HASTEN_ABSENT    a DERP server has no such client: the peer may be about to connect. Again 250, 500 and 1000 ms
 *                    after the last, once in a series of attempts
 *
 * Anyone can forge the second, and replay what the first comes from. So no more than HASTEN_MAX go out in any 5 s
 * beside the regular ones, and a series has HASTEN_ABSENT_MAX on a server's word alone: one is left for the peer
 * itself. They are never closer than a responder's limit of 50 a second. Control thread. */
#ifndef NETSTACK_WG_HASTEN_H
#define NETSTACK_WG_HASTEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mono.h"

enum {
	HASTEN_MAX = 4,
	HASTEN_ABSENT_MAX = 3,
	HASTEN_WINDOW_S = 5,
	HASTEN_REACHED_MS = 100, /* an answer that is on its way by a usual path comes first */
	HASTEN_ABSENT_MS = 250,
	HASTEN_SETTLE_MS = 10, /* after a hint: several often come at once, and the answer right behind them */
};

enum hasten_why { HASTEN_REACHED, HASTEN_ABSENT };

struct hasten {
	struct mono at;                /* the next one; NEVER = none */
	struct mono last;              /* initiation of any kind; ZERO = none */
	struct mono taken[HASTEN_MAX]; /* the last ones that came early, as a ring; ZERO = none */
	uint8_t place;                 /* the oldest of them */
	uint8_t n_early;               /* since the last regular one */
	uint8_t n_absent;              /* of this series, the planned one included */
	bool is_absent;                /* that was said in this series */
};

void hasten_init(struct hasten *h);
/* A new series of attempts begins. */
void hasten_begin(struct hasten *h);
/* A regular initiation goes out: what was planned is void. */
void hasten_regular(struct hasten *h, struct mono now);
/* While an initiation is unanswered. */
void hasten_hint(struct hasten *h, struct mono now, enum hasten_why why);
/* True if one is to be sent now (at 'h->at', or later); it counts as sent. */
bool hasten_due(struct hasten *h, struct mono now);
/* The attempts are over, or the answer is there. */
void hasten_stop(struct hasten *h);
/* Takes one of the HASTEN_MAX for a regular initiation that does not wait; false: there is none left. */
bool hasten_take(struct hasten *h, struct mono now);

#endif
