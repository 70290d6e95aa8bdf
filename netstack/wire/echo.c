/* SPDX-License-Identifier: MIT */
#include "wire/echo.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

enum {
	ICMP_ECHO_REQUEST = 8, /* RFC 792 */
	ICMP_ECHO_REPLY = 0,
	ICMP6_ECHO_REQUEST = 128, /* RFC 4443 4.1 */
	ICMP6_ECHO_REPLY = 129,
	ICMP_HDR_SIZE = 8,
	MARK_SIZE = 8,
	BODY_SIZE = ICMP_HDR_SIZE + MARK_SIZE + ECHO_ID_SIZE,
	TTL = 64,
};

/* Tells our echoes from those of the host's programs. */
static const uint8_t mark[MARK_SIZE] = { 'm', 'e', 's', 'h', 'e', 'c', 'h', 'o' };

static void write_ip(struct wr *w, const struct ip *src, const struct ip *dst)
{
	if (src->family == IP_V4) {
		wr_u8(w, 0x45);
		wr_u8(w, 0);
		wr_be16(w, IP4_HDR_SIZE + BODY_SIZE);
		wr_be32(w, 0); /* no identification, no fragment */
		wr_u8(w, TTL);
		wr_u8(w, IP_PKT_ICMP);
		wr_be16(w, 0);
		wr_bytes(w, src->b, 4);
		wr_bytes(w, dst->b, 4);
	} else {
		wr_be32(w, 0x60000000);
		wr_be16(w, BODY_SIZE);
		wr_u8(w, IP_PKT_ICMP6);
		wr_u8(w, TTL);
		wr_bytes(w, src->b, 16);
		wr_bytes(w, dst->b, 16);
	}
}

int echo_write(uint8_t *buf, size_t cap, const struct ip *src, const struct ip *dst,
	       const uint8_t id[static ECHO_ID_SIZE])
{
	struct wr w = WR(buf, cap);
	struct ip_pkt pkt;
	size_t size;

	if (src->family != dst->family || (src->family != IP_V4 && src->family != IP_V6))
		return -EPROTO;
	write_ip(&w, src, dst);
	wr_u8(&w, src->family == IP_V4 ? ICMP_ECHO_REQUEST : ICMP6_ECHO_REQUEST);
	wr_u8(&w, 0);
	wr_be16(&w, 0); /* checksum */
	wr_bytes(&w, id, 2);
	wr_be16(&w, 1); /* sequence */
	wr_bytes(&w, mark, sizeof(mark));
	wr_bytes(&w, id, ECHO_ID_SIZE);
	if (w.bad)
		return -ENOBUFS;
	size = wr_used(&w, cap);
	if (src->family == IP_V4)
		ip_csum_ip4_set(buf, IP4_HDR_SIZE);
	if (ip_pkt_parse(&pkt, buf, size) < 0 || !ip_csum_l4_set(buf, &pkt))
		return -EPROTO; /* a mapped address */
	return (int)size;
}

bool echo_is_answer(const struct ip_pkt *pkt, uint8_t *id)
{
	const bool is_v4 = pkt->family == IP_V4;
	const uint8_t *body;

	if (pkt->proto != (is_v4 ? IP_PKT_ICMP : IP_PKT_ICMP6) ||
	    pkt->icmp_type != (is_v4 ? ICMP_ECHO_REPLY : ICMP6_ECHO_REPLY) || !pkt->has_l4 ||
	    pkt->is_frag || pkt->size - pkt->l4 != BODY_SIZE)
		return false;
	body = pkt->data + pkt->l4 + ICMP_HDR_SIZE;
	if (memcmp(body, mark, sizeof(mark)) != 0)
		return false;
	if (id)
		memcpy(id, body + MARK_SIZE, ECHO_ID_SIZE);
	return true;
}
