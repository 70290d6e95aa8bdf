/* SPDX-License-Identifier: MIT */
/* Addresses, endpoints, prefixes: classes, text and wire forms. */
#include "base/ep.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const uint8_t v4_mapped[12] = { [10] = 0xff, [11] = 0xff };

struct ip ip4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	return (struct ip){ .family = IP_V4, .b = { a, b, c, d } };
}

struct ip ip4_be(const uint8_t b[static 4])
{
	return ip4(b[0], b[1], b[2], b[3]);
}

struct ip ip6(const uint8_t b[static 16])
{
	struct ip ip = { .family = IP_V6 };

	if (memcmp(b, v4_mapped, sizeof(v4_mapped)) == 0)
		return ip4_be(b + 12);
	memcpy(ip.b, b, 16);
	return ip;
}

bool ip_eq(const struct ip *a, const struct ip *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

int ip_cmp(const struct ip *a, const struct ip *b)
{
	return memcmp(a, b, sizeof(*a));
}

bool ep_eq(const struct ep *a, const struct ep *b)
{
	return a->port == b->port && ip_eq(&a->ip, &b->ip);
}

int ep_cmp(const struct ep *a, const struct ep *b)
{
	int c = ip_cmp(&a->ip, &b->ip);

	return c ? c : (int)a->port - (int)b->port;
}

bool prefix_eq(const struct prefix *a, const struct prefix *b)
{
	return a->bits == b->bits && ip_eq(&a->ip, &b->ip);
}

bool ip_is_unspecified(const struct ip *ip)
{
	static const uint8_t zero[16];

	return ip_is_set(ip) && memcmp(ip->b, zero, 16) == 0;
}

bool ip_is_loopback(const struct ip *ip)
{
	static const uint8_t one[16] = { [15] = 1 };

	return ip->family == IP_V4 ? ip->b[0] == 127 : ip->family == IP_V6 && memcmp(ip->b, one, 16) == 0;
}

bool ip_is_multicast(const struct ip *ip)
{
	static const uint8_t all[4] = { 255, 255, 255, 255 };

	if (ip->family == IP_V4)
		return (ip->b[0] & 0xf0) == 0xe0 || memcmp(ip->b, all, 4) == 0;
	return ip->family == IP_V6 && ip->b[0] == 0xff;
}

bool ip_is_link_local(const struct ip *ip)
{
	if (ip->family == IP_V4)
		return ip->b[0] == 169 && ip->b[1] == 254;
	return ip->family == IP_V6 && ip->b[0] == 0xfe && (ip->b[1] & 0xc0) == 0x80;
}

bool ip_is_private(const struct ip *ip)
{
	if (ip->family == IP_V6)
		return (ip->b[0] & 0xfe) == 0xfc;
	if (ip->family != IP_V4)
		return false;
	return ip->b[0] == 10 || (ip->b[0] == 172 && (ip->b[1] & 0xf0) == 16) ||
	       (ip->b[0] == 192 && ip->b[1] == 168);
}

bool ip_is_cgnat(const struct ip *ip)
{
	return ip->family == IP_V4 && ip->b[0] == 100 && (ip->b[1] & 0xc0) == 64;
}

bool ip_is_tailnet(const struct ip *ip)
{
	static const uint8_t ula[6] = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0 };

	if (ip->family == IP_V6)
		return memcmp(ip->b, ula, sizeof(ula)) == 0;
	return ip_is_cgnat(ip) && !(ip->b[1] == 115 && (ip->b[2] & 0xfe) == 92);
}

char *ip_write(char text[static IP_TEXT_MAX], const struct ip *ip)
{
	int af = ip->family == IP_V4 ? AF_INET : AF_INET6;

	if (!ip_is_set(ip) || !inet_ntop(af, ip->b, text, IP_TEXT_MAX))
		(void)snprintf(text, IP_TEXT_MAX, "invalid IP");
	return text;
}

char *ep_write(char text[static EP_TEXT_MAX], const struct ep *ep)
{
	char ip[IP_TEXT_MAX];

	if (!ep_is_set(ep))
		(void)snprintf(text, EP_TEXT_MAX, "invalid AddrPort");
	else
		(void)snprintf(text, EP_TEXT_MAX, ep->ip.family == IP_V6 ? "[%s]:%u" : "%s:%u",
			       ip_write(ip, &ep->ip), (unsigned)ep->port);
	return text;
}

char *prefix_write(char text[static PREFIX_TEXT_MAX], const struct prefix *p)
{
	char ip[IP_TEXT_MAX];

	if (!ip_is_set(&p->ip))
		(void)snprintf(text, PREFIX_TEXT_MAX, "invalid Prefix");
	else
		(void)snprintf(text, PREFIX_TEXT_MAX, "%s/%u", ip_write(ip, &p->ip), (unsigned)p->bits);
	return text;
}

int ip_parse(struct ip *ip, const char *text, size_t len)
{
	char z[IP_TEXT_MAX];
	uint8_t b[16];

	if (len == 0 || len >= sizeof(z) || memchr(text, 0, len))
		return -EBADMSG;
	memcpy(z, text, len);
	z[len] = 0;
	if (inet_pton(AF_INET, z, b) == 1) {
		*ip = ip4_be(b);
		return 0;
	}
	if (inet_pton(AF_INET6, z, b) != 1)
		return -EBADMSG;
	*ip = ip6(b);
	return 0;
}

/* Decimal number of 1..'max_len' digits without leading zeros, at most 'max'. */
static int number_parse(uint32_t *out, const char *text, size_t len, size_t max_len, uint32_t max)
{
	uint32_t v = 0;

	if (len == 0 || len > max_len || (len > 1 && text[0] == '0'))
		return -EBADMSG;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EBADMSG;
		v = v * 10 + (uint32_t)(text[i] - '0');
	}
	if (v > max)
		return -EBADMSG;
	*out = v;
	return 0;
}

/* The last 'c' in the text, or null. */
static const char *last_char(const char *text, size_t len, char c)
{
	while (len > 0)
		if (text[--len] == c)
			return text + len;
	return NULL;
}

int ep_parse(struct ep *ep, const char *text, size_t len)
{
	const char *colon = last_char(text, len, ':');
	size_t ip_len = colon ? (size_t)(colon - text) : 0;
	uint32_t port;
	struct ip ip;
	bool bracket;

	if (!colon || number_parse(&port, colon + 1, len - ip_len - 1, 5, 65535) < 0)
		return -EBADMSG;
	bracket = ip_len >= 2 && text[0] == '[' && colon[-1] == ']';
	if (ip_parse(&ip, text + bracket, ip_len - 2 * (size_t)bracket) < 0)
		return -EBADMSG;
	/* A bare IPv6 address would make the port ambiguous. */
	if (bracket != (memchr(text, ':', ip_len) != NULL))
		return -EBADMSG;
	*ep = (struct ep){ .ip = ip, .port = (uint16_t)port };
	return 0;
}

int prefix_parse(struct prefix *p, const char *text, size_t len, bool allow_bare)
{
	const char *slash = last_char(text, len, '/');
	size_t ip_len = slash ? (size_t)(slash - text) : len;
	uint32_t bits;
	struct ip ip;

	if ((!slash && !allow_bare) || ip_parse(&ip, text, ip_len) < 0)
		return -EBADMSG;
	bits = ip_bits(&ip);
	if (slash && number_parse(&bits, slash + 1, len - ip_len - 1, 3, ip_bits(&ip)) < 0)
		return -EBADMSG;
	*p = (struct prefix){ .ip = ip, .bits = (uint8_t)bits };
	return 0;
}

struct prefix prefix_masked(const struct prefix *p)
{
	struct prefix r = *p;

	for (unsigned i = 0; i < sizeof(r.ip.b); i++) {
		unsigned keep = r.bits > 8 * i ? r.bits - 8 * i : 0;

		if (keep < 8)
			r.ip.b[i] = (uint8_t)(r.ip.b[i] & (0xff00 >> keep));
	}
	return r;
}

bool prefix_is_masked(const struct prefix *p)
{
	struct prefix m = prefix_masked(p);

	return ip_eq(&m.ip, &p->ip);
}

struct prefix prefix_host(const struct ip *ip)
{
	return (struct prefix){ .ip = *ip, .bits = ip_bits(ip) };
}

bool prefix_contains(const struct prefix *p, const struct ip *ip)
{
	struct prefix a = prefix_masked(p), b = { .ip = *ip, .bits = p->bits };

	if (p->ip.family != ip->family || !ip_is_set(ip))
		return false;
	b = prefix_masked(&b);
	return ip_eq(&a.ip, &b.ip);
}

bool prefix_overlaps(const struct prefix *a, const struct prefix *b)
{
	return a->bits <= b->bits ? prefix_contains(a, &b->ip) : prefix_contains(b, &a->ip);
}

void wr_ep(struct wr *w, const struct ep *ep)
{
	if (ep->ip.family == IP_V4) {
		wr_bytes(w, v4_mapped, sizeof(v4_mapped));
		wr_bytes(w, ep->ip.b, 4);
	} else {
		wr_bytes(w, ep->ip.b, 16);
	}
	wr_be16(w, ep->port);
}

struct ep rd_ep(struct rd *r)
{
	const uint8_t *b = rd_view(r, 16);
	struct ep ep = { 0 };

	if (b)
		ep.ip = ip6(b);
	ep.port = rd_be16(r);
	return r->bad ? (struct ep){ 0 } : ep;
}
