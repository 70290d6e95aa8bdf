/* SPDX-License-Identifier: MIT */
/* The PCP codec, see pcp.h. */
#include "wire/pcp.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

enum { VERSION = 2, ANSWER = 0x80, UDP = 17, V4_MAPPED_ZEROS = 10 };

/* IPv4 as v4-mapped IPv6; unset is ::ffff:0.0.0.0. */
static void write_ip(struct wr *w, const struct ip *ip)
{
	static const uint8_t none[4];

	wr_zero(w, V4_MAPPED_ZEROS);
	wr_be16(w, 0xffff);
	wr_bytes(w, ip->family == IP_V4 ? ip->b : none, 4);
}

static void write_header(struct wr *w, uint8_t op, uint32_t life_s, const struct ip *client)
{
	wr_u8(w, VERSION);
	wr_u8(w, op);
	wr_zero(w, 2);
	wr_be32(w, life_s);
	write_ip(w, client);
}

void pcp_announce_write(uint8_t out[static PCP_HEADER_SIZE], const struct ip *client)
{
	struct wr w = WR(out, PCP_HEADER_SIZE);

	write_header(&w, PCP_OP_ANNOUNCE, 0, client);
}

void pcp_map_write(uint8_t out[static PCP_MAP_SIZE], const struct pcp_map *map)
{
	struct wr w = WR(out, PCP_MAP_SIZE);

	write_header(&w, PCP_OP_MAP, map->life_s, &map->client);
	wr_bytes(&w, map->nonce, sizeof(map->nonce));
	wr_u8(&w, UDP);
	wr_zero(&w, 3);
	wr_be16(&w, map->port);
	wr_be16(&w, map->external.port);
	write_ip(&w, &map->external.ip);
}

/* v4-mapped comes out as IPv4. */
static struct ip read_ip(struct rd *r)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	uint8_t b[16];

	rd_bytes(r, b, sizeof(b));
	return memcmp(b, mapped, sizeof(mapped)) == 0 ? ip4_be(b + sizeof(mapped)) : ip6(b);
}

int pcp_answer_parse(struct pcp_answer *a, const uint8_t *buf, size_t size)
{
	struct rd r = { .p = buf, .left = size };
	struct pcp_answer got = { 0 };
	uint8_t version = rd_u8(&r), op = rd_u8(&r), protocol;

	rd_skip(&r, 1);
	got.op = op & (uint8_t)~ANSWER;
	got.result = rd_u8(&r);
	got.life_s = rd_be32(&r);
	got.epoch = rd_be32(&r);
	rd_skip(&r, 12);
	if (r.bad || size > PCP_SIZE_MAX || version != VERSION || !(op & ANSWER) || got.op > PCP_OP_MAP)
		return -EBADMSG;
	if (got.op == PCP_OP_MAP && got.result == PCP_SUCCESS) {
		rd_bytes(&r, got.nonce, sizeof(got.nonce));
		protocol = rd_u8(&r);
		rd_skip(&r, 3);
		got.port = rd_be16(&r);
		got.external.port = rd_be16(&r);
		got.external.ip = read_ip(&r);
		if (r.bad || protocol != UDP)
			return -EBADMSG;
	}
	*a = got;
	return 0;
}
