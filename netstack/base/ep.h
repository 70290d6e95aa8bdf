/* SPDX-License-Identifier: MIT */
/* IP addresses, ip:port endpoints and prefixes.
 *
 * IPv4 is normalised once, at the border: a v4-mapped IPv6 address read from the wire becomes IPv4
 * (RELIABILITY 3, rule 6), so two equal addresses are equal bytes. Unused bytes are zero: structs may
 * be compared with the _eq functions, hashed whole and used as map keys. */
#ifndef NETSTACK_BASE_EP_H
#define NETSTACK_BASE_EP_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"

enum ip_family { IP_NONE = 0, IP_V4 = 4, IP_V6 = 6 };

struct ip {
	uint8_t family; /* enum ip_family */
	uint8_t b[16];  /* 4 or 16 bytes, network order; the rest zero */
};

struct ep {
	struct ip ip;
	uint8_t pad; /* always zero */
	uint16_t port; /* host order */
};

static_assert(sizeof(struct ep) == 20, "no hidden padding: endpoints are hashed whole");

struct prefix {
	struct ip ip;
	uint8_t bits; /* 0..32 or 0..128 */
};

enum { IP_TEXT_MAX = 46, EP_TEXT_MAX = 54, PREFIX_TEXT_MAX = 50 };

struct ip ip4(uint8_t a, uint8_t b, uint8_t c, uint8_t d);
struct ip ip4_be(const uint8_t b[static 4]);
/* From 16 bytes; a v4-mapped address becomes IPv4. */
struct ip ip6(const uint8_t b[static 16]);

bool ip_eq(const struct ip *a, const struct ip *b);
/* Family, then bytes: <0, 0, >0. */
int ip_cmp(const struct ip *a, const struct ip *b);
bool ep_eq(const struct ep *a, const struct ep *b);
int ep_cmp(const struct ep *a, const struct ep *b);
bool prefix_eq(const struct prefix *a, const struct prefix *b);

static inline bool ip_is_set(const struct ip *ip)
{
	return ip->family != IP_NONE;
}

static inline bool ep_is_set(const struct ep *ep)
{
	return ep->ip.family != IP_NONE;
}

/* Number of bits of an address of this family: 0, 32 or 128. */
static inline uint8_t ip_bits(const struct ip *ip)
{
	return ip->family == IP_V4 ? 32 : ip->family == IP_V6 ? 128 : 0;
}

bool ip_is_unspecified(const struct ip *ip);
bool ip_is_loopback(const struct ip *ip);
bool ip_is_multicast(const struct ip *ip);  /* the IPv4 broadcast address too */
bool ip_is_link_local(const struct ip *ip); /* 169.254/16, fe80::/10 */
bool ip_is_private(const struct ip *ip);    /* 10/8, 172.16/12, 192.168/16, fc00::/7 */
bool ip_is_cgnat(const struct ip *ip);      /* 100.64/10 */
bool ip_is_tailnet(const struct ip *ip);    /* 100.64/10 minus 100.115.92/23, fd7a:115c:a1e0::/48 */

/* Text forms: dotted quad, RFC 5952, "ip:port", "[v6]:port", "ip/bits". The buffers are filled with
 * a final NUL; unset values give "invalid IP", "invalid AddrPort", "invalid Prefix". All return 'text'. */
char *ip_write(char text[static IP_TEXT_MAX], const struct ip *ip);
char *ep_write(char text[static EP_TEXT_MAX], const struct ep *ep);
char *prefix_write(char text[static PREFIX_TEXT_MAX], const struct prefix *p);

/* Text of 'len' characters to value; zones, white space and leading zeros are refused.
 * prefix_parse takes "ip/bits" and, if 'allow_bare', an address alone (full length). Host bits are
 * kept: test with prefix_is_masked().
 * Return 0 or -EBADMSG; on failure the target is untouched. */
MESH_MUST_USE int ip_parse(struct ip *ip, const char *text, size_t len);
MESH_MUST_USE int ep_parse(struct ep *ep, const char *text, size_t len);
MESH_MUST_USE int prefix_parse(struct prefix *p, const char *text, size_t len, bool allow_bare);

bool prefix_is_masked(const struct prefix *p);
struct prefix prefix_masked(const struct prefix *p);
/* A single address as a prefix. */
struct prefix prefix_host(const struct ip *ip);
bool prefix_contains(const struct prefix *p, const struct ip *ip);
bool prefix_overlaps(const struct prefix *a, const struct prefix *b);

/* The 18-byte form of disco messages: 16-byte address (v4-mapped for IPv4), big-endian port. */
enum { EP_WIRE_SIZE = 18 };
void wr_ep(struct wr *w, const struct ep *ep);
struct ep rd_ep(struct rd *r);

#endif
