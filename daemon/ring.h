/* SPDX-License-Identifier: MIT */
/* Bounded rings between two threads: records of any size, one producer, one consumer, no lock.
 *
 *   producer                                  consumer
 *   p = ring_reserve(r, size)                 bell_clear(bell)      (after its fd was readable)
 *   … fill p …                                while ((p = ring_peek(r, &size))) {
 *   ring_commit(r)                                    … use p …
 *   bell_ring(bell)                                   ring_pop(r);
 *                                             }
 *
 * A record is contiguous and aligned to 8 bytes. A full ring refuses; the producer counts a drop:
 * nobody ever waits. Several rings may share one bell. The memory is taken page by page as it is
 * used and goes back with ring_trim(). */
#ifndef DAEMON_RING_H
#define DAEMON_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct ring {
	uint8_t *buf; /* 'size' bytes, mmap */
	size_t size;  /* power of two */
	/* Producer. */
	MESH_ALIGNED(64)
	_Atomic uint64_t head; /* bytes ever written; its release publishes records */
	uint64_t reserved;     /* head after the next commit; 0 = nothing reserved */
	uint64_t seen_tail;    /* the producer's last look at 'tail' */
	/* Consumer. */
	MESH_ALIGNED(64)
	_Atomic uint64_t tail; /* bytes ever consumed; its release gives room back */
	uint64_t seen_head;    /* the consumer's last look at 'head' */
};

/* 'size' is a power of two of at least a page. Returns 0 or -ENOMEM. Before the threads start. */
MESH_MUST_USE int ring_init(struct ring *r, size_t size);
/* After the threads ended; wipes what is left in it, for rings carry plaintext. Fine on a zeroed
 * struct. */
void ring_wipe(struct ring *r);

/* Room for a record of 'size' bytes, or null if the ring is full ('size' over a quarter of the ring
 * never fits). Replaces an earlier reservation that was not committed. Producer. */
void *ring_reserve(struct ring *r, size_t size);
void ring_commit(struct ring *r);
/* Gives the pages back if the ring is empty. Producer. */
void ring_trim(struct ring *r);

/* Bytes in use; a moment old for the thread that asks. Producer or consumer. */
size_t ring_used(const struct ring *r);

/* The oldest record and its size, or null; stays where it is until ring_pop(). Consumer. */
void *ring_peek(struct ring *r, size_t *size);
void ring_pop(struct ring *r);

/* Wakes the consumer of one or more rings through an eventfd, at most once per bell_clear(). */
struct bell {
	int fd; /* for poll; -1 = closed */
	_Atomic bool is_rung;
};

MESH_MUST_USE int bell_open(struct bell *b);
void bell_close(struct bell *b);
/* After a commit. Any thread. */
void bell_ring(struct bell *b);
/* Before looking into the rings. Consumer. */
void bell_clear(struct bell *b);

#endif
