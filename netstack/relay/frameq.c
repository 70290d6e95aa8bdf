/* SPDX-License-Identifier: MIT */
/* The bounded packet queue of frameq.h. */
#include "relay/frameq.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Buffers up to this size stay with their slot, in powers of two from SLOT_MIN. */
enum { SLOT_KEEP = 4096, SLOT_MIN = 512 };

static struct frameq_slot *slot_at(const struct frameq *q, uint32_t i)
{
	return &q->slots[(q->first + i) % FRAMEQ_PACKETS];
}

static bool slot_reserve(struct frameq_slot *slot, size_t size)
{
	size_t cap = SLOT_MIN;
	uint8_t *buf;

	if (slot->cap >= size)
		return true;
	while (cap < size && cap < SLOT_KEEP)
		cap *= 2;
	if (cap < size)
		cap = size;
	buf = malloc(cap);
	if (!buf)
		return false;
	free(slot->buf);
	slot->buf = buf;
	slot->cap = (uint32_t)cap;
	return true;
}

int frameq_push(struct frameq *q, struct mono now, const struct node_key *peer, const uint8_t *data, size_t size)
{
	struct frameq_slot *slot;

	if (!q->slots)
		q->slots = calloc(FRAMEQ_PACKETS, sizeof(*q->slots));
	while (q->slots && q->n > 0 && (q->n == FRAMEQ_PACKETS || q->bytes + size > FRAMEQ_BYTES)) {
		frameq_pop(q);
		q->dropped++;
	}
	slot = q->slots ? slot_at(q, q->n) : NULL;
	if (!slot || size > FRAMEQ_BYTES || !slot_reserve(slot, size)) {
		q->dropped++;
		return -ENOMEM;
	}
	slot->peer = *peer;
	slot->at = now;
	slot->size = (uint32_t)size;
	if (size)
		memcpy(slot->buf, data, size);
	q->bytes += size;
	q->n++;
	return 0;
}

const struct frameq_slot *frameq_first(const struct frameq *q)
{
	return q->n > 0 ? slot_at(q, 0) : NULL;
}

void frameq_pop(struct frameq *q)
{
	struct frameq_slot *slot;

	if (q->n == 0)
		return;
	slot = slot_at(q, 0);
	q->bytes -= slot->size;
	if (slot->cap > SLOT_KEEP) {
		free(slot->buf);
		slot->buf = NULL;
		slot->cap = 0;
	}
	q->first = (q->first + 1) % FRAMEQ_PACKETS;
	q->n--;
}

void frameq_clear(struct frameq *q)
{
	while (q->n > 0)
		frameq_pop(q);
}

void frameq_trim(struct frameq *q)
{
	if (q->n > 0 || !q->slots)
		return;
	for (size_t i = 0; i < FRAMEQ_PACKETS; i++)
		free(q->slots[i].buf);
	free(q->slots);
	q->slots = NULL;
	q->first = 0;
}

void frameq_wipe(struct frameq *q)
{
	frameq_clear(q);
	frameq_trim(q);
	memset(q, 0, sizeof(*q));
}
