/* SPDX-License-Identifier: MIT */
/* Bounds-checked cursors: 'struct rd' reads, 'struct wr' writes.
 *
 * The length check is inside, so a caller cannot forget it. An overrun sets 'bad', which is sticky:
 * readers then return zeros, writers write nothing, and one test at the end covers a whole message.
 * All wire parsing goes through these (RELIABILITY 3, rule 1). */
#ifndef NETSTACK_BASE_BYTES_H
#define NETSTACK_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct rd {
	const uint8_t *p; /* next byte */
	size_t left;      /* bytes that may still be read */
	bool bad;         /* something was read past the end */
};

struct wr {
	uint8_t *p;  /* next byte */
	size_t left; /* bytes that may still be written */
	bool bad;    /* something did not fit */
};

#define RD(buf, size) ((struct rd){ .p = (buf), .left = (size) })
#define WR(buf, size) ((struct wr){ .p = (buf), .left = (size) })

/* The next 'n' bytes, borrowed from the buffer, or null (and 'bad') if fewer are left. */
static inline const uint8_t *rd_view(struct rd *r, size_t n)
{
	const uint8_t *p = r->p;

	if (r->bad || r->left < n) {
		r->bad = true;
		return NULL;
	}
	r->p += n;
	r->left -= n;
	return p;
}

static inline void rd_skip(struct rd *r, size_t n)
{
	(void)rd_view(r, n);
}

/* Copies the next 'n' bytes to 'dst'; zeros if there are not enough. */
static inline void rd_bytes(struct rd *r, void *dst, size_t n)
{
	const uint8_t *p = rd_view(r, n);

	if (p)
		memcpy(dst, p, n);
	else
		memset(dst, 0, n);
}

static inline uint64_t rd_uint(struct rd *r, size_t n, bool little)
{
	const uint8_t *p = rd_view(r, n);
	uint64_t v = 0;

	if (!p)
		return 0;
	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[little ? n - 1 - i : i];
	return v;
}

static inline uint8_t rd_u8(struct rd *r)
{
	return (uint8_t)rd_uint(r, 1, false);
}

static inline uint16_t rd_be16(struct rd *r)
{
	return (uint16_t)rd_uint(r, 2, false);
}

static inline uint32_t rd_be24(struct rd *r)
{
	return (uint32_t)rd_uint(r, 3, false);
}

static inline uint32_t rd_be32(struct rd *r)
{
	return (uint32_t)rd_uint(r, 4, false);
}

static inline uint64_t rd_be64(struct rd *r)
{
	return rd_uint(r, 8, false);
}

static inline uint16_t rd_le16(struct rd *r)
{
	return (uint16_t)rd_uint(r, 2, true);
}

static inline uint32_t rd_le32(struct rd *r)
{
	return (uint32_t)rd_uint(r, 4, true);
}

static inline uint64_t rd_le64(struct rd *r)
{
	return rd_uint(r, 8, true);
}

/* Room for the next 'n' bytes, or null (and 'bad') if it does not fit. */
static inline uint8_t *wr_room(struct wr *w, size_t n)
{
	uint8_t *p = w->p;

	if (w->bad || w->left < n) {
		w->bad = true;
		return NULL;
	}
	w->p += n;
	w->left -= n;
	return p;
}

static inline void wr_bytes(struct wr *w, const void *src, size_t n)
{
	uint8_t *p = wr_room(w, n);

	if (p && n)
		memcpy(p, src, n);
}

static inline void wr_zero(struct wr *w, size_t n)
{
	uint8_t *p = wr_room(w, n);

	if (p)
		memset(p, 0, n);
}

static inline void wr_uint(struct wr *w, uint64_t v, size_t n, bool little)
{
	uint8_t *p = wr_room(w, n);

	for (size_t i = 0; p && i < n; i++)
		p[little ? i : n - 1 - i] = (uint8_t)(v >> 8 * i);
}

static inline void wr_u8(struct wr *w, uint8_t v)
{
	wr_uint(w, v, 1, false);
}

static inline void wr_be16(struct wr *w, uint16_t v)
{
	wr_uint(w, v, 2, false);
}

static inline void wr_be24(struct wr *w, uint32_t v)
{
	wr_uint(w, v, 3, false);
}

static inline void wr_be32(struct wr *w, uint32_t v)
{
	wr_uint(w, v, 4, false);
}

static inline void wr_be64(struct wr *w, uint64_t v)
{
	wr_uint(w, v, 8, false);
}

static inline void wr_le16(struct wr *w, uint16_t v)
{
	wr_uint(w, v, 2, true);
}

static inline void wr_le32(struct wr *w, uint32_t v)
{
	wr_uint(w, v, 4, true);
}

static inline void wr_le64(struct wr *w, uint64_t v)
{
	wr_uint(w, v, 8, true);
}

/* Bytes written so far into a buffer of 'size' bytes. */
static inline size_t wr_used(const struct wr *w, size_t size)
{
	return size - w->left;
}

/* Growing byte queue: appended at the tail, consumed at the head. For streams (DERP, control, HTTP),
 * never per packet on the data path. */
struct bytes {
	uint8_t *buf; /* owned */
	size_t head;  /* first byte in use */
	size_t tail;  /* one past the last byte in use */
	size_t cap;   /* size of 'buf' */
	size_t max;   /* 'tail - head' never exceeds this; 0 = BYTES_MAX_DEFAULT */
};

#define BYTES_MAX_DEFAULT (64u << 20)

/* Appends 'size' bytes. Returns 0; -ENOBUFS over 'max'; -ENOMEM. On failure nothing is appended. */
__attribute__((warn_unused_result)) int bytes_append(struct bytes *b, const void *src, size_t size);
/* Makes room for 'size' bytes at the tail and returns it, or null; commit with bytes_commit(). */
uint8_t *bytes_room(struct bytes *b, size_t size);
void bytes_commit(struct bytes *b, size_t size);
/* Drops 'size' bytes from the head (at most all); memory above 64 KiB goes back when empty. */
void bytes_consume(struct bytes *b, size_t size);
/* Wipes and frees the buffer; the struct is empty and usable again. */
void bytes_wipe(struct bytes *b);

static inline size_t bytes_size(const struct bytes *b)
{
	return b->tail - b->head;
}

static inline const uint8_t *bytes_data(const struct bytes *b)
{
	return b->buf ? b->buf + b->head : NULL;
}

#endif
