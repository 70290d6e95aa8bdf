/* SPDX-License-Identifier: MIT */
/* First bytes of a datagram -> kind, in the order of path-selection 9. */
#include "wire/classify.h"

#include "wire/disco.h"
#include "wire/geneve.h"

/* RFC 8489 5: two zero bits, method binding, magic cookie in bytes 4..7. */
static bool is_stun(const uint8_t *p, size_t size)
{
	return size >= 20 && (p[0] & 0xc0) == 0 && p[1] == 0x01 && p[4] == 0x21 && p[5] == 0x12 &&
	       p[6] == 0xa4 && p[7] == 0x42;
}

/* Version 0, no reserved bits, byte 7 zero. Option length and the critical bit are not tested: the
 * payload is always taken at byte 8. */
static bool is_geneve(const uint8_t *p, size_t size)
{
	return size >= GENEVE_SIZE && (p[0] & 0xc0) == 0 && (p[1] & 0x3f) == 0 && p[7] == 0;
}

struct classify classify(const uint8_t *pkt, size_t size)
{
	struct classify c = { .kind = CLASSIFY_WIREGUARD };
	struct geneve_hdr hdr;

	if (is_stun(pkt, size)) {
		c.kind = CLASSIFY_STUN;
		return c;
	}
	if (is_geneve(pkt, size) && geneve_parse(&hdr, pkt, size) == 0) {
		if (hdr.protocol == GENEVE_PROTO_DISCO &&
		    disco_is_packet(pkt + GENEVE_SIZE, size - GENEVE_SIZE))
			c.kind = CLASSIFY_DISCO;
		if (c.kind == CLASSIFY_DISCO || hdr.protocol == GENEVE_PROTO_WIREGUARD) {
			c.vni = hdr.vni;
			c.offset = GENEVE_SIZE;
			c.is_geneve = true;
			c.is_control = hdr.control;
			return c;
		}
	}
	if (disco_is_packet(pkt, size))
		c.kind = CLASSIFY_DISCO;
	return c;
}
