/* SPDX-License-Identifier: MIT */
/* One zstd frame <-> bytes, bounded: messages of the map stream (control-messages 7.1).
 *
 * Each message is a complete frame of its own; nothing is kept between calls. Any thread. */
#ifndef NETSTACK_WIRE_ZSTDFRAME_H
#define NETSTACK_WIRE_ZSTDFRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"

/* Does the buffer begin with the magic number of a zstd frame? */
bool zstdframe_is(const uint8_t *buf, size_t size);
/* Decodes exactly one frame and appends at most 'max' bytes to 'out'. Returns 0; -EBADMSG: not one whole
 * valid frame, or a window over 16 MiB; -ENOBUFS: more than 'max' bytes; -ENOMEM. On failure 'out' holds what
 * it held before. */
MESH_MUST_USE int zstdframe_decode(struct bytes *out, const uint8_t *buf, size_t size, size_t max);
/* Decodes exactly one frame and hands its content over in pieces, at most 'max' bytes in all, holding no more than
 * the frame's window (which equals the content for small frames, and is at most 16 MiB). 'sink' returns 0 or a
 * negative errno, which ends it. Returns 0, that error, or as zstdframe_decode(); pieces may have been handed over
 * before a failure. */
MESH_MUST_USE int zstdframe_pieces(const uint8_t *buf, size_t size, size_t max,
				   int (*sink)(void *ctx, const uint8_t *p, size_t size), void *ctx);
/* Appends one frame with the content's size in its head and a window of at most 256 KiB, so that whoever
 * reads it in pieces needs no more. Returns 0 or -ENOMEM / -ENOBUFS. */
MESH_MUST_USE int zstdframe_encode(struct bytes *out, const uint8_t *buf, size_t size);

/* The same frame from content that comes in pieces, each appended to 'out' compressed when it is worth it. Null: out
 * of memory. */
struct zstdframe_w;
MESH_MUST_USE struct zstdframe_w *zstdframe_w_new(void);
void zstdframe_w_free(struct zstdframe_w *w);
/* 'is_last': the frame is complete afterwards. Returns 0 or -ENOMEM / -ENOBUFS. */
MESH_MUST_USE int zstdframe_w_push(struct zstdframe_w *w, struct bytes *out, const uint8_t *buf, size_t size,
				   bool is_last);

#endif
