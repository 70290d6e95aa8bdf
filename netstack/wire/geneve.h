/* SPDX-License-Identifier: MIT */
/* The 8-byte Geneve header in front of everything that goes through a peer relay.
 *
 * Byte tables: netstack/wire/geneve.md. Both functions are small enough to be inline: the packet
 * workers call them per packet. Any thread. */
#ifndef NETSTACK_WIRE_GENEVE_H
#define NETSTACK_WIRE_GENEVE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"

enum {
	GENEVE_SIZE = 8,
	GENEVE_PROTO_DISCO = 0x7a11, /* disco.md 4.3 */
	GENEVE_PROTO_WIREGUARD = 0x7a12,
	GENEVE_VNI_MAX = 0xffffff, /* 24 bits; a server hands out 1..GENEVE_VNI_MAX */
};

struct geneve_hdr {
	uint32_t vni;      /* 0..GENEVE_VNI_MAX */
	uint16_t protocol; /* GENEVE_PROTO_*, or whatever was received */
	uint8_t version;   /* 0 for everything we send */
	bool control;      /* bind messages between a client and the relay server only */
};

/* Reads the header; options, reserved bits and byte 7 are not looked at (wire/classify does where
 * it matters). Returns 0; -EBADMSG when fewer than GENEVE_SIZE bytes are there. */
MESH_MUST_USE static inline int geneve_parse(struct geneve_hdr *hdr, const uint8_t *buf,
					     size_t size)
{
	struct rd r = RD(buf, size);
	const uint8_t version = rd_u8(&r), flags = rd_u8(&r);
	const uint16_t protocol = rd_be16(&r);
	const uint32_t vni = rd_be24(&r);

	(void)rd_u8(&r);
	if (r.bad)
		return -EBADMSG;
	*hdr = (struct geneve_hdr){ .vni = vni,
				    .protocol = protocol,
				    .version = (uint8_t)(version >> 6),
				    .control = (flags & 0x80) != 0 };
	return 0;
}

/* Writes a version 0 header without options. 'vni' is taken modulo 2^24. */
static inline void geneve_write(uint8_t buf[static GENEVE_SIZE], uint16_t protocol, uint32_t vni,
				bool control)
{
	buf[0] = 0;
	buf[1] = control ? 0x80 : 0;
	buf[2] = (uint8_t)(protocol >> 8);
	buf[3] = (uint8_t)protocol;
	buf[4] = (uint8_t)(vni >> 16);
	buf[5] = (uint8_t)(vni >> 8);
	buf[6] = (uint8_t)vni;
	buf[7] = 0;
}

#endif
