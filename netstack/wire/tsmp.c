/* SPDX-License-Identifier: MIT */
/* TSMP packets inside the tunnel (disco 9). IPv4 without options and with a header checksum, TTL
 * and hop limit 64, as the reference sends them. */
#include "wire/tsmp.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

enum { V4_SIZE = 20, V6_SIZE = 40, TTL = 64 };

bool tsmp_is_packet(const uint8_t *pkt, size_t size)
{
	if (size >= V4_SIZE && pkt[0] >> 4 == 4)
		return pkt[9] == TSMP_PROTO;
	return size >= V6_SIZE && pkt[0] >> 4 == 6 && pkt[6] == TSMP_PROTO;
}

/* Fills the addresses and leaves 'r' at the body, cut to what the IP header claims. */
static int parse_ip(struct tsmp_msg *msg, struct rd *r, const uint8_t *pkt, size_t size)
{
	size_t hdr = V6_SIZE, total;

	if (!tsmp_is_packet(pkt, size))
		return -EBADMSG;
	if (pkt[0] >> 4 == 4) {
		hdr = (size_t)(pkt[0] & 15) * 4;
		total = (size_t)pkt[2] << 8 | pkt[3];
		/* A fragment has no whole body. */
		if (hdr < V4_SIZE || (pkt[6] & 0x3f) != 0 || pkt[7] != 0)
			return -EBADMSG;
		msg->src = ip4_be(pkt + 12);
		msg->dst = ip4_be(pkt + 16);
	} else {
		total = V6_SIZE + ((size_t)pkt[4] << 8 | pkt[5]);
		msg->src = ip6(pkt + 8);
		msg->dst = ip6(pkt + 24);
	}
	if (total > size || total < hdr)
		return -EBADMSG;
	*r = RD(pkt + hdr, total - hdr);
	return 0;
}

int tsmp_parse(struct tsmp_msg *msg, const uint8_t *pkt, size_t size)
{
	struct tsmp_msg m = { .kind = TSMP_REJECT };
	struct rd r;

	if (parse_ip(&m, &r, pkt, size) != 0)
		return -EBADMSG;
	m.kind = (enum tsmp_kind)rd_u8(&r);
	switch (m.kind) {
	case TSMP_REJECT:
		break;
	case TSMP_DISCO_KEY:
		rd_bytes(&r, m.disco.b, sizeof(m.disco.b));
		r.bad |= key_is_zero(m.disco.b);
		break;
	case TSMP_PONG:
		rd_bytes(&r, m.id, sizeof(m.id));
		m.peerapi_port = rd_be16(&r);
		break;
	case TSMP_PING:
		rd_bytes(&r, m.id, sizeof(m.id));
		break;
	default: /* the type is a byte of the wire, not our enum */
		return -EBADMSG;
	}
	if (r.bad)
		return -EBADMSG;
	*msg = m;
	return 0;
}

static void write_ip(struct wr *w, const struct tsmp_msg *msg, size_t body)
{
	uint8_t *const start = w->p;
	uint32_t sum = 0;

	if (msg->src.family == IP_V6) {
		wr_be32(w, 0x60000000);
		wr_be16(w, (uint16_t)body);
		wr_u8(w, TSMP_PROTO);
		wr_u8(w, TTL);
		wr_bytes(w, msg->src.b, 16);
		wr_bytes(w, msg->dst.b, 16);
		return;
	}
	wr_be16(w, 0x4500);
	wr_be16(w, (uint16_t)(V4_SIZE + body));
	wr_be32(w, 0); /* identification, fragment */
	wr_u8(w, TTL);
	wr_u8(w, TSMP_PROTO);
	wr_be16(w, 0); /* checksum, below */
	wr_bytes(w, msg->src.b, 4);
	wr_bytes(w, msg->dst.b, 4);
	if (w->bad)
		return;
	for (size_t i = 0; i < V4_SIZE; i += 2)
		sum += (uint32_t)start[i] << 8 | start[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16));
	start[10] = (uint8_t)(sum >> 8);
	start[11] = (uint8_t)sum;
}

int tsmp_write(uint8_t *buf, size_t cap, const struct tsmp_msg *msg)
{
	const size_t body = msg->kind == TSMP_DISCO_KEY ? 1 + KEY_SIZE
			    : msg->kind == TSMP_PONG    ? 1 + TSMP_ID_SIZE + 2
							: 1 + TSMP_ID_SIZE;
	struct wr w = WR(buf, cap);

	if (msg->kind == TSMP_REJECT || msg->src.family != msg->dst.family || !ip_is_set(&msg->src))
		return -EPROTO;
	write_ip(&w, msg, body);
	wr_u8(&w, (uint8_t)msg->kind);
	if (msg->kind == TSMP_DISCO_KEY)
		wr_bytes(&w, msg->disco.b, KEY_SIZE);
	else
		wr_bytes(&w, msg->id, sizeof(msg->id));
	if (msg->kind == TSMP_PONG)
		wr_be16(&w, msg->peerapi_port);
	return w.bad ? -ENOBUFS : (int)wr_used(&w, cap);
}
