/* SPDX-License-Identifier: MIT */
/* The growing byte queue of bytes.h. */
#include "base/bytes.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

enum { BYTES_KEEP = 64 * 1024, BYTES_FIRST = 512 };

uint8_t *bytes_room(struct bytes *b, size_t size)
{
	size_t used = bytes_size(b), max = b->max ? b->max : BYTES_MAX_DEFAULT;
	size_t cap = b->cap ? b->cap : BYTES_FIRST;
	uint8_t *p;

	if (size > max || used > max - size)
		return NULL;
	if (b->buf && b->cap - b->tail >= size)
		return b->buf + b->tail;
	if (b->buf && b->cap - used >= size) {
		memmove(b->buf, b->buf + b->head, used);
		b->head = 0;
		b->tail = used;
		return b->buf + b->tail;
	}
	while (cap < used + size)
		cap *= 2;
	/* Not realloc: what was queued may be secret and must not stay behind in freed memory. */
	p = malloc(cap);
	if (!p)
		return NULL;
	if (used)
		memcpy(p, b->buf + b->head, used);
	if (b->buf)
		sodium_memzero(b->buf, b->cap);
	free(b->buf);
	b->buf = p;
	b->cap = cap;
	b->head = 0;
	b->tail = used;
	return b->buf + b->tail;
}

void bytes_commit(struct bytes *b, size_t size)
{
	b->tail += size;
}

int bytes_append(struct bytes *b, const void *src, size_t size)
{
	size_t max = b->max ? b->max : BYTES_MAX_DEFAULT;
	uint8_t *p;

	if (size > max || bytes_size(b) > max - size)
		return -ENOBUFS;
	if (size == 0)
		return 0;
	p = bytes_room(b, size);
	if (!p)
		return -ENOMEM;
	memcpy(p, src, size);
	bytes_commit(b, size);
	return 0;
}

void bytes_consume(struct bytes *b, size_t size)
{
	if (size >= bytes_size(b)) {
		if (b->cap > BYTES_KEEP)
			bytes_wipe(b);
		b->head = b->tail = 0;
		return;
	}
	b->head += size;
}

void bytes_wipe(struct bytes *b)
{
	if (b->buf)
		sodium_memzero(b->buf, b->cap);
	free(b->buf);
	b->buf = NULL;
	b->head = b->tail = b->cap = 0;
}
