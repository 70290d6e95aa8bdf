/* SPDX-License-Identifier: MIT */
/* The STUN codec of stun.h. */
#include "wire/stun.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"

enum {
	STUN_BINDING_REQUEST = 0x0001,
	STUN_BINDING_SUCCESS = 0x0101,
	STUN_ATTR_MAPPED = 0x0001,
	STUN_ATTR_XOR_MAPPED = 0x0020,
	STUN_ATTR_XOR_MAPPED_ALT = 0x8020, /* some servers' pre-RFC number */
	STUN_ATTR_SOFTWARE = 0x8022,
	STUN_ATTR_FINGERPRINT = 0x8028,
	STUN_ATTR_HEADER = 4,
	STUN_FINGERPRINT_SIZE = STUN_ATTR_HEADER + 4,
	STUN_FAMILY_IP4 = 1,
	STUN_FAMILY_IP6 = 2,
};

static const uint32_t STUN_COOKIE = 0x2112a442;
static const uint32_t STUN_FINGERPRINT_XOR = 0x5354554e; /* RFC 8489 14.7 */
static const uint32_t CRC32_POLY = 0xedb88320;           /* IEEE 802.3, reflected */
static const char stun_software[8] = { 't', 'a', 'i', 'l', 'n', 'o', 'd', 'e' };

struct stun_attr {
	uint16_t type;
	const uint8_t *value;
	size_t size;
};

/* A datagram of 32 bytes, a few times a minute: bit by bit is fast enough and needs no table. */
static uint32_t fingerprint(const uint8_t *p, size_t size)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < size; i++) {
		crc ^= p[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? CRC32_POLY : 0);
	}
	return ~crc ^ STUN_FINGERPRINT_XOR;
}

bool stun_is_stun(const uint8_t *buf, size_t size)
{
	struct rd r = RD(buf, size);
	uint8_t first;

	if (size < STUN_HEADER_SIZE)
		return false;
	first = rd_u8(&r);
	rd_skip(&r, 3);
	return (first & 0xc0) == 0 && rd_be32(&r) == STUN_COOKIE;
}

bool stun_is_response(const uint8_t *buf, size_t size)
{
	return stun_is_stun(buf, size) && buf[0] == STUN_BINDING_SUCCESS >> 8 &&
	       buf[1] == (STUN_BINDING_SUCCESS & 0xff);
}

/* The next attribute. False at the end, or ('r->bad') if the rest is not one. */
static bool attr_next(struct rd *r, struct stun_attr *attr)
{
	if (r->bad || r->left == 0)
		return false;
	attr->type = rd_be16(r);
	attr->size = rd_be16(r);
	attr->value = rd_view(r, (attr->size + 3) & ~(size_t)3);
	return !r->bad;
}

void stun_request_write(uint8_t out[static STUN_REQUEST_SIZE], const struct stun_txid *txid)
{
	struct wr w = WR(out, STUN_REQUEST_SIZE);

	wr_be16(&w, STUN_BINDING_REQUEST);
	wr_be16(&w, STUN_REQUEST_SIZE - STUN_HEADER_SIZE);
	wr_be32(&w, STUN_COOKIE);
	wr_bytes(&w, txid->b, sizeof(txid->b));
	wr_be16(&w, STUN_ATTR_SOFTWARE);
	wr_be16(&w, sizeof(stun_software));
	wr_bytes(&w, stun_software, sizeof(stun_software));
	wr_be16(&w, STUN_ATTR_FINGERPRINT);
	wr_be16(&w, STUN_FINGERPRINT_SIZE - STUN_ATTR_HEADER);
	wr_be32(&w, fingerprint(out, STUN_REQUEST_SIZE - STUN_FINGERPRINT_SIZE));
}

int stun_request_parse(struct stun_txid *txid, const uint8_t *buf, size_t size)
{
	struct rd r = RD(buf, size);
	struct stun_attr attr = { 0 };
	bool software_ok = false;

	if (!stun_is_stun(buf, size) || rd_be16(&r) != STUN_BINDING_REQUEST)
		return -EBADMSG;
	/* The length field is not looked at: the attributes end where the datagram does. */
	rd_skip(&r, STUN_HEADER_SIZE - 2);
	while (attr_next(&r, &attr)) {
		if (attr.type == STUN_ATTR_SOFTWARE && attr.size == sizeof(stun_software) &&
		    memcmp(attr.value, stun_software, sizeof(stun_software)) == 0)
			software_ok = true;
	}
	if (r.bad || !software_ok || attr.type != STUN_ATTR_FINGERPRINT ||
	    attr.size != STUN_FINGERPRINT_SIZE - STUN_ATTR_HEADER)
		return -EBADMSG;
	r = RD(attr.value, attr.size);
	if (rd_be32(&r) != fingerprint(buf, size - STUN_FINGERPRINT_SIZE))
		return -EBADMSG;
	memcpy(txid->b, buf + 8, sizeof(txid->b));
	return 0;
}

size_t stun_response_write(uint8_t out[static STUN_RESPONSE_MAX], const struct stun_txid *txid,
			   const struct ep *mapped)
{
	bool is_ip4 = mapped->ip.family == IP_V4;
	size_t ip_size = is_ip4 ? 4 : 16;
	uint8_t mask[16];
	struct wr m = WR(mask, sizeof(mask));
	struct wr w = WR(out, STUN_RESPONSE_MAX);

	wr_be32(&m, STUN_COOKIE);
	wr_bytes(&m, txid->b, sizeof(txid->b));
	wr_be16(&w, STUN_BINDING_SUCCESS);
	wr_be16(&w, (uint16_t)(STUN_ATTR_HEADER + 4 + ip_size));
	wr_be32(&w, STUN_COOKIE);
	wr_bytes(&w, txid->b, sizeof(txid->b));
	wr_be16(&w, STUN_ATTR_XOR_MAPPED);
	wr_be16(&w, (uint16_t)(4 + ip_size));
	wr_u8(&w, 0);
	wr_u8(&w, is_ip4 ? STUN_FAMILY_IP4 : STUN_FAMILY_IP6);
	wr_be16(&w, mapped->port ^ (uint16_t)(STUN_COOKIE >> 16));
	for (size_t i = 0; i < ip_size; i++)
		wr_u8(&w, mapped->ip.b[i] ^ mask[i]);
	return wr_used(&w, STUN_RESPONSE_MAX);
}

/* An address attribute; 'mask' (null: plain) is the cookie and the transaction id. */
static bool address_parse(const struct stun_attr *attr, const uint8_t *mask, struct ep *ep)
{
	struct rd r = RD(attr->value, attr->size);
	uint8_t family, ip[16] = { 0 };
	size_t ip_size;

	rd_skip(&r, 1);
	family = rd_u8(&r);
	memset(ep, 0, sizeof(*ep));
	ep->port = rd_be16(&r) ^ (mask ? (uint16_t)(STUN_COOKIE >> 16) : 0);
	if (family != STUN_FAMILY_IP4 && family != STUN_FAMILY_IP6)
		return false;
	ip_size = family == STUN_FAMILY_IP4 ? 4 : 16;
	rd_bytes(&r, ip, ip_size);
	for (size_t i = 0; mask && i < ip_size; i++)
		ip[i] ^= mask[i];
	ep->ip = ip_size == 4 ? ip4_be(ip) : ip6(ip);
	return !r.bad;
}

int stun_response_parse(struct stun_txid *txid, struct ep *mapped, const uint8_t *buf, size_t size)
{
	struct rd r = RD(buf, size);
	struct ep xored = { 0 }, plain = { 0 };
	struct stun_attr attr;
	const uint8_t *mask;
	size_t attrs_size;

	if (!stun_is_stun(buf, size) || rd_be16(&r) != STUN_BINDING_SUCCESS)
		return -EBADMSG;
	attrs_size = rd_be16(&r);
	mask = rd_view(&r, sizeof(uint32_t) + STUN_TXID_SIZE);
	if (attrs_size > r.left)
		return -EBADMSG;
	r.left = attrs_size; /* bytes behind the announced length are ignored */
	while (attr_next(&r, &attr)) {
		if (attr.type == STUN_ATTR_XOR_MAPPED || attr.type == STUN_ATTR_XOR_MAPPED_ALT) {
			if (!address_parse(&attr, mask, &xored))
				return -EBADMSG;
		} else if (attr.type == STUN_ATTR_MAPPED) {
			if (!address_parse(&attr, NULL, &plain))
				return -EBADMSG;
		}
	}
	if (r.bad || (!ep_is_set(&xored) && !ep_is_set(&plain)))
		return -EBADMSG;
	*mapped = ep_is_set(&xored) ? xored : plain;
	memcpy(txid->b, buf + 8, sizeof(txid->b));
	return 0;
}
