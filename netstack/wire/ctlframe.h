/* SPDX-License-Identifier: MIT */
/* Framing of the control connection's Noise messages: type and length in front of each.
 *
 * Only the initiation has the protocol version in front. Any thread; no allocation.
 * Page: netstack/wire/ctlframe.md. Spec: control-transport 5. */
#ifndef NETSTACK_WIRE_CTLFRAME_H
#define NETSTACK_WIRE_CTLFRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"

enum ctlframe_type {
	CTLFRAME_INITIATION = 1,
	CTLFRAME_RESPONSE = 2,
	CTLFRAME_ERROR = 3,
	CTLFRAME_RECORD = 4,
};

enum {
	CTLFRAME_HDR_SIZE = 3,
	CTLFRAME_INITIATION_HDR_SIZE = 5,
	CTLFRAME_INITIATION_SIZE = 101, /* whole message */
	CTLFRAME_RESPONSE_SIZE = 51,    /* whole message */
	CTLFRAME_MAX = 4096,            /* any frame on the wire, header included */
	CTLFRAME_BODY_MAX = CTLFRAME_MAX - CTLFRAME_HDR_SIZE,
	CTLFRAME_TAG_SIZE = 16,
	CTLFRAME_PLAIN_MAX = CTLFRAME_BODY_MAX - CTLFRAME_TAG_SIZE, /* 4077 */
};

struct ctlframe_hdr {
	uint8_t type;  /* enum ctlframe_type; only known ones are returned */
	uint16_t size; /* bytes of body that follow */
};

/* Parts of an initiation. */
struct ctlframe_initiation {
	uint16_t version;
	uint8_t ephemeral[32];
	uint8_t sealed_static[48];
	uint8_t tag[CTLFRAME_TAG_SIZE];
};

struct ctlframe_response {
	uint8_t ephemeral[32];
	uint8_t tag[CTLFRAME_TAG_SIZE];
};

/* Header of every message but the initiation. Returns 0; -EAGAIN if fewer than 3 bytes are there; -EBADMSG for
 * a type other than RESPONSE, ERROR and RECORD or a size over CTLFRAME_BODY_MAX. */
MESH_MUST_USE int ctlframe_hdr_parse(struct ctlframe_hdr *hdr, const uint8_t *buf, size_t size);
void ctlframe_hdr_write(struct wr *w, enum ctlframe_type type, uint16_t size);

/* A whole initiation of exactly CTLFRAME_INITIATION_SIZE bytes. -EBADMSG otherwise. */
MESH_MUST_USE int ctlframe_initiation_parse(struct ctlframe_initiation *m, const uint8_t *buf, size_t size);
void ctlframe_initiation_write(struct wr *w, const struct ctlframe_initiation *m);
/* The body of a response (48 bytes, without the header). */
MESH_MUST_USE int ctlframe_response_parse(struct ctlframe_response *m, const uint8_t *body, size_t size);
/* A whole response with header. */
void ctlframe_response_write(struct wr *w, const struct ctlframe_response *m);

#endif
