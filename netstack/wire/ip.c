/* SPDX-License-Identifier: MIT */
/* Inner packet headers and Internet checksums. One pass with the cursor; what a header promises is
 * held against what is there. */
#include "wire/ip.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

/* What the chain of headers in front of the transport says. */
struct chain {
	size_t l4; /* offset of what follows the chain */
	uint16_t frag_off;
	uint8_t proto;
	bool is_frag;
	bool more_frags;
};

static int parse_ip4(struct ip_pkt *pkt, struct chain *c, struct rd *r)
{
	size_t avail = r->left, hdr_size, total;
	uint16_t frag;

	hdr_size = (size_t)(rd_u8(r) & 0x0f) * 4;
	rd_skip(r, 1); /* type of service */
	total = rd_be16(r);
	rd_skip(r, 2); /* identification */
	frag = rd_be16(r);
	rd_skip(r, 1); /* time to live */
	c->proto = rd_u8(r);
	rd_skip(r, 2); /* header checksum: the kernel's to check */
	pkt->src = rd_view(r, 4);
	pkt->dst = rd_view(r, 4);
	if (r->bad || hdr_size < IP4_HDR_SIZE || total < hdr_size || total > avail)
		return -EBADMSG;
	c->l4 = hdr_size;
	c->more_frags = frag & 0x2000;
	c->frag_off = (uint16_t)((frag & 0x1fff) * 8);
	c->is_frag = c->more_frags || c->frag_off > 0;
	pkt->size = (uint16_t)total;
	return 0;
}

static bool is_mapped(const uint8_t addr[static 16])
{
	static const uint8_t head[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

	return memcmp(addr, head, sizeof(head)) == 0;
}

/* Reads one extension header of kind 'kind' at the cursor. Returns its size, or 0 if it does not
 * fit. */
static size_t parse_ext(struct chain *c, struct rd *r, uint8_t kind)
{
	uint8_t next = rd_u8(r), len = rd_u8(r);
	size_t size;

	if (kind == IP_PKT_FRAGMENT) {
		uint16_t frag = rd_be16(r);

		rd_skip(r, 4); /* identification */
		c->frag_off = frag & 0xfff8;
		c->more_frags = frag & 1;
		/* Offset 0 without more to come is an atomic fragment (RFC 6946): a whole packet.
		 */
		c->is_frag = c->more_frags || c->frag_off > 0;
		size = 8;
	} else {
		/* Units of 8 bytes, of 4 in AH (RFC 4302 2.2). */
		size = kind == IP_PKT_AH ? ((size_t)len + 2) * 4 : ((size_t)len + 1) * 8;
		if (size < 8)
			return 0;
		rd_skip(r, size - 2);
	}
	c->proto = next;
	return r->bad ? 0 : size;
}

static int parse_ip6(struct ip_pkt *pkt, struct chain *c, struct rd *r)
{
	size_t avail = r->left, payload;
	int n_ext = 0;

	rd_skip(r, 4); /* version, traffic class, flow label */
	payload = rd_be16(r);
	c->proto = rd_u8(r);
	rd_skip(r, 1); /* hop limit */
	pkt->src = rd_view(r, 16);
	pkt->dst = rd_view(r, 16);
	if (r->bad || IP6_HDR_SIZE + payload > avail || IP6_HDR_SIZE + payload > IP_PKT_SIZE_MAX)
		return -EBADMSG;
	if (is_mapped(pkt->src) || is_mapped(pkt->dst))
		return -EBADMSG;
	r->left = payload;
	c->l4 = IP6_HDR_SIZE;
	pkt->size = (uint16_t)(IP6_HDR_SIZE + payload);
	/* A fragment header ends the chain of a later fragment: what follows is payload. */
	while (c->frag_off == 0 && (c->proto == IP_PKT_HOPOPTS || c->proto == IP_PKT_ROUTING ||
				    c->proto == IP_PKT_DSTOPTS || c->proto == IP_PKT_FRAGMENT ||
				    c->proto == IP_PKT_AH)) {
		size_t size;

		/* Hop-by-hop options come first or not at all (RFC 8200 4.1); one fragment header
		 * is all. */
		if ((c->proto == IP_PKT_HOPOPTS && n_ext > 0) ||
		    (c->proto == IP_PKT_FRAGMENT && c->is_frag) || ++n_ext > IP_PKT_EXT_MAX)
			return -EBADMSG;
		size = parse_ext(c, r, c->proto);
		if (size == 0)
			return -EBADMSG;
		c->l4 += size;
	}
	return 0;
}

/* Ports, flags or type of the transport header at the cursor; 'has_l4' only if all of them are
 * there. */
static void parse_l4(struct ip_pkt *pkt, struct rd *r)
{
	switch (pkt->proto) {
	case IP_PKT_TCP:
		pkt->has_l4 = r->left >= 20;
		if (!pkt->has_l4)
			return;
		pkt->src_port = rd_be16(r);
		pkt->dst_port = rd_be16(r);
		rd_skip(r, 9); /* sequence, acknowledgement, data offset */
		pkt->tcp_flags = rd_u8(r);
		return;
	case IP_PKT_UDP:
	case IP_PKT_SCTP:
		pkt->has_l4 = r->left >= (pkt->proto == IP_PKT_UDP ? 8 : 12);
		if (!pkt->has_l4)
			return;
		pkt->src_port = rd_be16(r);
		pkt->dst_port = rd_be16(r);
		return;
	case IP_PKT_ICMP:
	case IP_PKT_ICMP6:
		pkt->has_l4 = r->left >= 8;
		if (!pkt->has_l4)
			return;
		pkt->icmp_type = rd_u8(r);
		pkt->icmp_code = rd_u8(r);
		rd_skip(r, 2);
		if (pkt->proto == IP_PKT_ICMP ? pkt->icmp_type == 0 || pkt->icmp_type == 8
					      : pkt->icmp_type == 128 || pkt->icmp_type == 129)
			pkt->src_port = pkt->dst_port = rd_be16(r);
		return;
	default:
		return;
	}
}

int ip_pkt_parse(struct ip_pkt *pkt, const uint8_t *buf, size_t size)
{
	struct ip_pkt p = { .data = buf };
	struct rd r = RD(buf, size);
	struct chain c = { 0 };
	int err;

	if (size == 0)
		return -EBADMSG;
	p.family = buf[0] >> 4;
	if (p.family == IP_V4)
		err = parse_ip4(&p, &c, &r);
	else if (p.family == IP_V6)
		err = parse_ip6(&p, &c, &r);
	else
		err = -EBADMSG;
	if (err)
		return err;
	/* A fragment whose end lies past the greatest packet: the ping of death. */
	if ((size_t)c.frag_off + (p.size - c.l4) > IP_PKT_SIZE_MAX)
		return -EBADMSG;
	p.l4 = (uint16_t)c.l4;
	p.proto = c.proto;
	p.frag_off = c.frag_off;
	p.is_frag = c.is_frag;
	p.more_frags = c.more_frags;
	if (p.frag_off == 0) {
		r = RD(buf + p.l4, (size_t)p.size - p.l4);
		parse_l4(&p, &r);
	}
	*pkt = p;
	return 0;
}

/* --- checksums --- */

/* Two 64-bit lanes: every compiler turns this into the vector unit that the target has for certain
 * (SSE2, NEON), which sums 32-bit halves without carries. */
typedef uint64_t csum_vec __attribute__((vector_size(16)));

static inline csum_vec load_vec(const uint8_t *p)
{
	csum_vec v;

	memcpy(&v, p, sizeof(v));
	return v;
}

uint64_t ip_csum_add(uint64_t sum, const void *buf, size_t size)
{
	const csum_vec low = { UINT32_MAX, UINT32_MAX };
	const uint8_t *p = buf;
	csum_vec a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
	uint32_t w;
	uint16_t h;

	/* A lane takes 2^32 words before it could overflow: more than any packet has. */
	for (; size >= 64; size -= 64, p += 64) {
		csum_vec v0 = load_vec(p), v1 = load_vec(p + 16), v2 = load_vec(p + 32),
			 v3 = load_vec(p + 48);

		a += (v0 & low) + (v0 >> 32);
		b += (v1 & low) + (v1 >> 32);
		c += (v2 & low) + (v2 >> 32);
		d += (v3 & low) + (v3 >> 32);
	}
	for (; size >= 16; size -= 16, p += 16) {
		csum_vec v = load_vec(p);

		a += (v & low) + (v >> 32);
	}
	a += b + c + d;
	/* Folded to 32 bits and a carry, so that callers may chain without counting bits. */
	sum = (sum & UINT32_MAX) + (sum >> 32);
	sum += (a[0] & UINT32_MAX) + (a[0] >> 32) + (a[1] & UINT32_MAX) + (a[1] >> 32);
	for (; size >= 4; size -= 4, p += 4) {
		memcpy(&w, p, sizeof(w));
		sum += w;
	}
	if (size >= 2) {
		memcpy(&h, p, sizeof(h));
		sum += h;
		size -= 2;
		p += 2;
	}
	if (size > 0) {
		h = 0;
		memcpy(&h, p, 1); /* padded with a zero byte behind, in memory order */
		sum += h;
	}
	return sum;
}

uint64_t ip_csum_pseudo(uint8_t family, const uint8_t *src, const uint8_t *dst, uint8_t proto,
			uint32_t l4_size)
{
	size_t addr_size = family == IP_V4 ? 4 : 16;
	uint8_t tail[8];
	struct wr w = WR(tail, sizeof(tail));
	uint64_t sum;

	/* The IPv4 form has a 16-bit length; zeros in front do not change the sum. */
	wr_be32(&w, l4_size);
	wr_be24(&w, 0);
	wr_u8(&w, proto);
	sum = ip_csum_add(0, src, addr_size);
	sum = ip_csum_add(sum, dst, addr_size);
	return ip_csum_add(sum, tail, sizeof(tail));
}

void ip_csum_ip4_set(uint8_t *hdr, size_t hdr_size)
{
	uint16_t csum;

	memset(hdr + 10, 0, sizeof(csum));
	csum = ip_csum_fold(ip_csum_add(0, hdr, hdr_size));
	memcpy(hdr + 10, &csum, sizeof(csum));
}

/* Offset of the checksum in the transport header, or 0 if this packet has none to look at. */
static size_t csum_offset(const struct ip_pkt *pkt)
{
	if (pkt->is_frag || !pkt->has_l4)
		return 0;
	switch (pkt->proto) {
	case IP_PKT_TCP:
		return 16;
	case IP_PKT_UDP:
		return 6;
	case IP_PKT_ICMP:
		return pkt->family == IP_V4 ? 2 : 0;
	case IP_PKT_ICMP6:
		return pkt->family == IP_V6 ? 2 : 0;
	default:
		return 0;
	}
}

/* Sum over transport header, payload and, where the protocol has it, the pseudo-header. */
static uint64_t l4_sum(const struct ip_pkt *pkt)
{
	size_t l4_size = (size_t)pkt->size - pkt->l4;
	uint64_t sum = 0;

	if (pkt->proto != IP_PKT_ICMP)
		sum = ip_csum_pseudo(pkt->family, pkt->src, pkt->dst, pkt->proto,
				     (uint32_t)l4_size);
	return ip_csum_add(sum, pkt->data + pkt->l4, l4_size);
}

bool ip_csum_l4_ok(const struct ip_pkt *pkt)
{
	size_t off = csum_offset(pkt);
	const uint8_t *field = pkt->data + pkt->l4 + off;

	if (off == 0)
		return false;
	/* Zero means "not computed", over IPv4 alone (RFC 768, RFC 8200 8.1). */
	if (pkt->proto == IP_PKT_UDP && field[0] == 0 && field[1] == 0)
		return pkt->family == IP_V4;
	return ip_csum_fold(l4_sum(pkt)) == 0;
}

bool ip_csum_l4_set(uint8_t *buf, const struct ip_pkt *pkt)
{
	size_t off = csum_offset(pkt);
	uint8_t *field = buf + pkt->l4 + off;
	uint16_t csum;

	if (off == 0)
		return false;
	memset(field, 0, sizeof(csum));
	csum = ip_csum_fold(l4_sum(pkt));
	if (csum == 0 && pkt->proto == IP_PKT_UDP)
		csum = UINT16_MAX; /* zero would mean "not computed" */
	memcpy(field, &csum, sizeof(csum));
	return true;
}
