/* SPDX-License-Identifier: MIT */
/* Bandwidth of the peer relay: at most so much in all, shared fairly between sessions, and at most so much for
 * one session. Off by default.
 *
 * Nothing is queued, so nothing is delayed: what does not fit is dropped, as a full link would. Each session that
 * has sent lately earns an equal share; what the others leave unused may be taken beyond it, but only from the upper
 * half of what is saved up, so that a share is always there for its owner.
 *
 * Owner: one forwarding worker, or control for what it forwards itself. No allocation. Spec: RELIABILITY 5. */
#ifndef NETSTACK_RELAY_RELAYFAIR_H
#define NETSTACK_RELAY_RELAYFAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bucket.h"

enum {
	RELAYFAIR_SLOTS = 1024,    /* sessions told apart; VNIs are handed out in sequence, so collisions are rare */
	RELAYFAIR_BURST_MS = 50,   /* of the whole rate saved up */
	RELAYFAIR_EPOCH_MS = 100,  /* a session counts as active for one to two of these */
	RELAYFAIR_BURST_MIN = 256 * 1024, /* bytes: several of the largest datagrams */
};

struct relayfair_slot {
	struct bucket share;  /* of the total */
	struct bucket own;    /* the session's own limit */
	uint32_t epoch;       /* last one in which it sent */
};

struct relayfair {
	uint64_t bytes_per_s;         /* in all; 0 = unlimited */
	uint64_t session_bytes_per_s; /* of one session, both directions; 0 = unlimited */
	struct bucket total;
	struct mono epoch_at;
	uint32_t epoch;
	uint32_t n_now, n_before;     /* active sessions of this epoch and the one before */
	struct relayfair_slot slots[RELAYFAIR_SLOTS];
};

void relayfair_init(struct relayfair *f, struct mono now, uint64_t bytes_per_s, uint64_t session_bytes_per_s);
/* May this datagram of 'size' bytes be forwarded for 'vni'? Takes its bytes if so. */
bool relayfair_take(struct relayfair *f, struct mono now, uint32_t vni, size_t size);

static inline bool relayfair_is_on(const struct relayfair *f)
{
	return f->bytes_per_s > 0 || f->session_bytes_per_s > 0;
}

#endif
