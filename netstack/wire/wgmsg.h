/* SPDX-License-Identifier: MIT */
/* The four WireGuard messages. Fixed layouts are structs of byte arrays, pinned by static_assert;
 * the codec checks type, reserved bytes and length once, so that behind it only valid shapes exist.
 * Spec: netstack/wire/wgmsg.md; WireGuard paper 5.4. */
#ifndef NETSTACK_WIRE_WGMSG_H
#define NETSTACK_WIRE_WGMSG_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"

enum wgmsg_type {
	WGMSG_INITIATION = 1,
	WGMSG_RESPONSE = 2,
	WGMSG_COOKIE_REPLY = 3,
	WGMSG_DATA = 4,
};

enum {
	WGMSG_MAC_SIZE = 16,
	WGMSG_COOKIE_SIZE = 16,
	WGMSG_TAG_SIZE = 16,       /* Poly1305 */
	WGMSG_TIMESTAMP_SIZE = 12, /* TAI64N */
	WGMSG_INITIATION_SIZE = 148,
	WGMSG_RESPONSE_SIZE = 92,
	WGMSG_COOKIE_REPLY_SIZE = 64,
	WGMSG_HANDSHAKE_MAX = WGMSG_INITIATION_SIZE,
	WGMSG_DATA_HDR_SIZE = 16,
	WGMSG_DATA_MIN = WGMSG_DATA_HDR_SIZE + WGMSG_TAG_SIZE, /* a keepalive */
	WGMSG_DATA_OVERHEAD = WGMSG_DATA_HDR_SIZE + WGMSG_TAG_SIZE,
	WGMSG_PADDING = 16, /* plaintexts are padded to a multiple of this */
};

struct wg_macs {
	uint8_t mac1[WGMSG_MAC_SIZE];
	uint8_t mac2[WGMSG_MAC_SIZE];
};

struct wg_initiation {
	uint8_t type_le32[4]; /* WGMSG_INITIATION and three zero bytes */
	uint8_t sender_index_le32[4];
	uint8_t ephemeral[32];
	uint8_t static_sealed[32 + WGMSG_TAG_SIZE];
	uint8_t timestamp_sealed[WGMSG_TIMESTAMP_SIZE + WGMSG_TAG_SIZE];
	struct wg_macs macs;
};

struct wg_response {
	uint8_t type_le32[4];
	uint8_t sender_index_le32[4];
	uint8_t receiver_index_le32[4];
	uint8_t ephemeral[32];
	uint8_t empty_sealed[WGMSG_TAG_SIZE];
	struct wg_macs macs;
};

struct wg_cookie_reply {
	uint8_t type_le32[4];
	uint8_t receiver_index_le32[4];
	uint8_t nonce[24];
	uint8_t cookie_sealed[WGMSG_COOKIE_SIZE + WGMSG_TAG_SIZE];
};

/* In front of the sealed packet; the tag is behind it. */
struct wg_data_hdr {
	uint8_t type_le32[4];
	uint8_t receiver_index_le32[4];
	uint8_t counter_le64[8];
};

static_assert(sizeof(struct wg_initiation) == WGMSG_INITIATION_SIZE, "WireGuard paper, 5.4.2");
static_assert(sizeof(struct wg_response) == WGMSG_RESPONSE_SIZE, "WireGuard paper, 5.4.3");
static_assert(sizeof(struct wg_cookie_reply) == WGMSG_COOKIE_REPLY_SIZE, "WireGuard paper, 5.4.7");
static_assert(sizeof(struct wg_data_hdr) == WGMSG_DATA_HDR_SIZE, "WireGuard paper, 5.4.6");
static_assert(_Alignof(struct wg_initiation) == 1, "byte arrays only");
static_assert(_Alignof(struct wg_data_hdr) == 1, "byte arrays only");

/* Which message is this? Checks the type, the three reserved zero bytes and the length (exact
 * for 1..3, at least WGMSG_DATA_MIN for 4).
 *
 * Returns the enum wgmsg_type, or -EBADMSG. Any thread. Spec: netstack/wire/wgmsg.md,
 * "Demultiplexing". */
MESH_MUST_USE int wgmsg_type(const uint8_t *buf, size_t size);

/* Copy a message out of 'buf'. Each returns 0, or -EBADMSG if wgmsg_type() would not name that
 * message; the target is then untouched. Any thread. */
MESH_MUST_USE int wgmsg_initiation_parse(struct wg_initiation *msg, const uint8_t *buf,
					 size_t size);
MESH_MUST_USE int wgmsg_response_parse(struct wg_response *msg, const uint8_t *buf, size_t size);
MESH_MUST_USE int wgmsg_cookie_reply_parse(struct wg_cookie_reply *msg, const uint8_t *buf,
					   size_t size);

/* Fields of a data message, in host order. */
struct wg_data {
	uint32_t receiver_index;
	uint64_t counter;
};

/* Reads the header of a data message of 'size' bytes (header, sealed packet, tag).
 * Returns 0, or -EBADMSG and leaves '*data' untouched. Any thread. */
MESH_MUST_USE int wgmsg_data_parse(struct wg_data *data, const uint8_t *buf, size_t size);

/* Writes the 16 bytes in front of a sealed packet. Any thread. */
void wgmsg_data_hdr_write(uint8_t hdr[static WGMSG_DATA_HDR_SIZE], const struct wg_data *data);

/* The index fields of the structs above. */
static inline uint32_t wgmsg_le32(const uint8_t b[static 4])
{
	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline void wgmsg_put_le32(uint8_t b[static 4], uint32_t v)
{
	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
	b[2] = (uint8_t)(v >> 16);
	b[3] = (uint8_t)(v >> 24);
}

#endif
