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
/* Appends one frame with the content's size in its head. Returns 0 or -ENOMEM / -ENOBUFS. */
MESH_MUST_USE int zstdframe_encode(struct bytes *out, const uint8_t *buf, size_t size);

#endif
