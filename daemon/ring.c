/* SPDX-License-Identifier: MIT */
/* Single-producer, single-consumer rings of variable-size records, and the bell that wakes a
 * consumer.
 *
 * A record is an 8-byte head (its size, or SKIP: the rest of the ring is unused) and its bytes,
 * rounded up to 8. Positions count bytes for ever and are taken modulo the size. */
#include "config.h"

#include "daemon/ring.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#define SKIP UINT64_MAX

enum { HEAD_SIZE = 8 };

int ring_init(struct ring *r, size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(r, 0, sizeof(*r));
	if (p == MAP_FAILED)
		return -ENOMEM;
	r->buf = p;
	r->size = size;
	return 0;
}

void ring_wipe(struct ring *r)
{
	if (!r->buf)
		return;
	/* Touch only what is still in it: wiping all would fault in every page just to unmap it. */
	for (size_t n; ring_peek(r, &n); ring_pop(r))
		sodium_memzero(ring_peek(r, &n), n);
	(void)munmap(r->buf, r->size);
	memset(r, 0, sizeof(*r));
}

static void put_head(struct ring *r, uint64_t pos, uint64_t v)
{
	memcpy(r->buf + (pos & (r->size - 1)), &v, sizeof(v));
}

/* Are 'need' bytes free behind 'head'? */
static bool has_room(struct ring *r, uint64_t head, uint64_t need)
{
	if (head + need - r->seen_tail <= r->size)
		return true;
	/* Acquire: pairs with the release in ring_pop(), so that the consumer is done with the
	 * room. */
	r->seen_tail = atomic_load_explicit(&r->tail, memory_order_acquire);
	return head + need - r->seen_tail <= r->size;
}

void *ring_reserve(struct ring *r, size_t size)
{
	const uint64_t need = HEAD_SIZE + ((size + 7) & ~UINT64_C(7));
	uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	const uint64_t to_end = r->size - (head & (r->size - 1));

	r->reserved = 0;
	if (size > r->size / 4)
		return NULL;
	if (to_end < need) {
		/* Records are contiguous: leave the rest of the ring unused. */
		if (!has_room(r, head, to_end + need))
			return NULL;
		put_head(r, head, SKIP);
		head += to_end;
	} else if (!has_room(r, head, need)) {
		return NULL;
	}
	put_head(r, head, size);
	r->reserved = head + need;
	return r->buf + (head & (r->size - 1)) + HEAD_SIZE;
}

void ring_commit(struct ring *r)
{
	/* Release: pairs with the acquire in ring_peek(). */
	atomic_store_explicit(&r->head, r->reserved, memory_order_release);
	r->reserved = 0;
}

void ring_trim(struct ring *r)
{
	const uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);

	/* Empty: the consumer reads no byte of it before the next commit. */
	if (r->buf && atomic_load_explicit(&r->tail, memory_order_acquire) == head)
		(void)madvise(r->buf, r->size, MADV_DONTNEED);
}

size_t ring_used(const struct ring *r)
{
	const uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	return (size_t)(atomic_load_explicit(&r->head, memory_order_relaxed) - tail);
}

void *ring_peek(struct ring *r, size_t *size)
{
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed), v;

	for (;;) {
		if (tail == r->seen_head) {
			/* Acquire: pairs with the release in ring_commit(). */
			r->seen_head = atomic_load_explicit(&r->head, memory_order_acquire);
			if (tail == r->seen_head)
				return NULL;
		}
		memcpy(&v, r->buf + (tail & (r->size - 1)), sizeof(v));
		if (v != SKIP)
			break;
		tail += r->size - (tail & (r->size - 1));
		atomic_store_explicit(&r->tail, tail, memory_order_release);
	}
	*size = v;
	return r->buf + (tail & (r->size - 1)) + HEAD_SIZE;
}

void ring_pop(struct ring *r)
{
	const uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	uint64_t v;

	memcpy(&v, r->buf + (tail & (r->size - 1)), sizeof(v));
	/* Release: pairs with the acquire in has_room(). */
	atomic_store_explicit(&r->tail, tail + HEAD_SIZE + ((v + 7) & ~UINT64_C(7)),
			      memory_order_release);
}

int bell_open(struct bell *b)
{
	atomic_init(&b->is_rung, false);
	b->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return b->fd < 0 ? -errno : 0;
}

void bell_close(struct bell *b)
{
	if (b->fd >= 0)
		(void)close(b->fd);
	b->fd = -1;
}

void bell_ring(struct bell *b)
{
	const uint64_t one = 1;

	/* Sequentially consistent against bell_clear(): either the consumer sees what was committed
	 * before this, or this sees that the bell was cleared and rings again. The fence orders the
	 * commit before the look at the flag. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&b->is_rung, memory_order_relaxed) ||
	    atomic_exchange_explicit(&b->is_rung, true, memory_order_seq_cst))
		return;
	while (write(b->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void bell_clear(struct bell *b)
{
	uint64_t n;

	while (read(b->fd, &n, sizeof(n)) < 0 && errno == EINTR)
		;
	atomic_store_explicit(&b->is_rung, false, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
}
