/* SPDX-License-Identifier: MIT */
/* Bounded queue of DERP packets: 32 packets and 512 KiB, drop oldest. Used on both sides of DERP, one queue
 * for disco and one for the rest, so that neither starves the other.
 *
 * Slots keep their buffers, so that in steady state nothing is allocated per packet; large ones are given
 * back when they empty. Owner: whoever holds the struct. */
#ifndef NETSTACK_RELAY_FRAMEQ_H
#define NETSTACK_RELAY_FRAMEQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/key.h"
#include "base/mono.h"

enum { FRAMEQ_PACKETS = 32, FRAMEQ_BYTES = 512 * 1024 };
/* Frames that are ready to be written and wait for nothing but the end of this turn: so many bytes are gathered before
 * packets wait in a queue, where the oldest are dropped. */
enum { DERP_SPILL = 32 * 1024 };

struct frameq_slot {
	struct node_key peer;
	struct mono at;  /* when it was queued */
	uint8_t *buf;    /* owned */
	uint32_t cap;
	uint32_t size;
};

struct frameq {
	struct frameq_slot *slots; /* owned, FRAMEQ_PACKETS of them; null until first used */
	uint32_t first, n;
	size_t bytes;              /* in queued packets */
	uint64_t dropped;          /* packets dropped because the queue was full */
};

/* Queues a copy of the packet, dropping as many of the oldest as it takes. Returns 0 or -ENOMEM (the packet
 * is then counted as dropped). */
MESH_MUST_USE int frameq_push(struct frameq *q, struct mono now, const struct node_key *peer,
			      const uint8_t *data, size_t size);
/* The oldest packet, or null. */
const struct frameq_slot *frameq_first(const struct frameq *q);
void frameq_pop(struct frameq *q);
/* Drops what waits, keeps the counter. */
void frameq_clear(struct frameq *q);
/* Gives back the memory of an empty queue. */
void frameq_trim(struct frameq *q);
void frameq_wipe(struct frameq *q);

#endif
