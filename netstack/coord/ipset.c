/* SPDX-License-Identifier: MIT */
/* Address sets: see ipset.h. */
#include "coord/ipset.h"

#include <stdlib.h>
#include <string.h>

static ipset_num family_max(uint8_t family)
{
	return family == IP_V4 ? (ipset_num)UINT32_MAX : ~(ipset_num)0;
}

static ipset_num ip_num(const struct ip *ip)
{
	size_t size = ip->family == IP_V4 ? 4 : 16;
	ipset_num n = 0;

	for (size_t i = 0; i < size; i++)
		n = n << 8 | ip->b[i];
	return n;
}

struct ip ipset_ip(uint8_t family, ipset_num n)
{
	struct ip ip = { .family = family };
	size_t size = family == IP_V4 ? 4 : 16;

	for (size_t i = size; i-- > 0; n >>= 8)
		ip.b[i] = (uint8_t)(n & 0xff);
	return ip;
}

void ipset_wipe(struct ipset *s)
{
	free(s->r);
	*s = (struct ipset){ 0 };
}

void ipset_add_range(struct ipset *s, struct ipset_range r)
{
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 8;
		struct ipset_range *p = realloc(s->r, cap * sizeof(*p));

		if (!p) {
			s->nomem = true;
			return;
		}
		s->r = p;
		s->cap = cap;
	}
	s->r[s->n++] = r;
}

struct ipset_range ipset_range_of(const struct prefix *p)
{
	struct prefix m = prefix_masked(p);
	uint8_t bits = ip_bits(&m.ip);
	struct ipset_range r = { .family = m.ip.family, .first = ip_num(&m.ip) };
	unsigned host = (unsigned)(bits - m.bits);

	r.last = host >= 128 ? ~(ipset_num)0 : r.first | (((ipset_num)1 << host) - 1);
	return r;
}

void ipset_add_ip(struct ipset *s, const struct ip *ip)
{
	if (ip_is_set(ip))
		ipset_add_range(s, (struct ipset_range){ ip->family, ip_num(ip), ip_num(ip) });
}

void ipset_add_prefix(struct ipset *s, const struct prefix *p)
{
	if (ip_is_set(&p->ip))
		ipset_add_range(s, ipset_range_of(p));
}

void ipset_add_set(struct ipset *s, const struct ipset *from)
{
	for (size_t i = 0; i < from->n; i++)
		ipset_add_range(s, from->r[i]);
	s->nomem |= from->nomem;
}

void ipset_add_all(struct ipset *s)
{
	ipset_add_range(s, (struct ipset_range){ IP_V4, 0, family_max(IP_V4) });
	ipset_add_range(s, (struct ipset_range){ IP_V6, 0, family_max(IP_V6) });
}

static struct ipset_range v4(uint32_t first, uint32_t last)
{
	return (struct ipset_range){ IP_V4, first, last };
}

void ipset_add_tailnet(struct ipset *s)
{
	const ipset_num ula = (ipset_num)UINT64_C(0xfd7a115ca1e00000) << 64;

	ipset_add_range(s, v4(0x64400000, 0x64735bff)); /* 100.64.0.0 - 100.115.91.255 */
	ipset_add_range(s, v4(0x64735e00, 0x647fffff)); /* 100.115.94.0 - 100.127.255.255 */
	ipset_add_range(s, (struct ipset_range){ IP_V6, ula, ula | (((ipset_num)1 << 80) - 1) });
}

void ipset_add_internet(struct ipset *s)
{
	const ipset_num v6 = (ipset_num)UINT64_C(0x2000000000000000) << 64;

	ipset_add_range(s, v4(0x00000000, 0x09ffffff)); /* up to 10/8 */
	ipset_add_range(s, v4(0x0b000000, 0x643fffff)); /* up to 100.64/10 */
	ipset_add_range(s, v4(0x64800000, 0xa9fdffff)); /* up to 169.254/16 */
	ipset_add_range(s, v4(0xa9ff0000, 0xac0fffff)); /* up to 172.16/12 */
	ipset_add_range(s, v4(0xac200000, 0xc0a7ffff)); /* up to 192.168/16 */
	ipset_add_range(s, v4(0xc0a90000, 0xffffffff));
	ipset_add_range(s, (struct ipset_range){ IP_V6, v6, v6 | (((ipset_num)1 << 125) - 1) });
}

static int range_cmp(const void *a, const void *b)
{
	const struct ipset_range *x = a, *y = b;

	if (x->family != y->family)
		return x->family < y->family ? -1 : 1;
	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->last < y->last ? -1 : x->last > y->last;
}

void ipset_normalize(struct ipset *s)
{
	size_t out = 0;

	if (s->n < 2)
		return;
	qsort(s->r, s->n, sizeof(*s->r), range_cmp);
	for (size_t i = 1; i < s->n; i++) {
		struct ipset_range *last = &s->r[out], *r = &s->r[i];

		if (r->family == last->family &&
		    (r->first <= last->last || r->first - 1 == last->last)) {
			if (r->last > last->last)
				last->last = r->last;
		} else {
			s->r[++out] = *r;
		}
	}
	s->n = out + 1;
}

void ipset_intersect(struct ipset *s, const struct ipset *with)
{
	struct ipset out = { .nomem = s->nomem || with->nomem };

	for (size_t i = 0; i < s->n; i++) {
		for (size_t j = 0; j < with->n; j++) {
			const struct ipset_range *a = &s->r[i], *b = &with->r[j];
			struct ipset_range r = { a->family, a->first > b->first ? a->first : b->first,
						 a->last < b->last ? a->last : b->last };

			if (a->family == b->family && r.first <= r.last)
				ipset_add_range(&out, r);
		}
	}
	free(s->r);
	*s = out;
}

static bool meets(const struct ipset_range *a, const struct ipset_range *b)
{
	return a->family == b->family && a->first <= b->last && b->first <= a->last;
}

bool ipset_has(const struct ipset *s, const struct ip *ip)
{
	struct ipset_range r = { .family = ip->family };

	if (!ip_is_set(ip))
		return false;
	r.first = r.last = ip_num(ip);
	return ipset_contains(s, r);
}

bool ipset_overlaps(const struct ipset *s, const struct prefix *p)
{
	struct ipset_range r = ipset_range_of(p);

	for (size_t i = 0; i < s->n; i++)
		if (meets(&s->r[i], &r))
			return true;
	return false;
}

bool ipset_contains(const struct ipset *s, struct ipset_range r)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->r[i].family == r.family && s->r[i].first <= r.first && r.last <= s->r[i].last)
			return true;
	return false;
}

bool ipset_next_prefix(struct ipset_range *r, struct prefix *out)
{
	unsigned max = r->family == IP_V4 ? 32 : 128, host = 0;
	ipset_num size = 1;

	if (r->family == IP_NONE || r->first > r->last)
		return false;
	/* Grow the block while its start stays aligned and its end inside. */
	while (host < max) {
		ipset_num mask = host + 1 >= 128 ? ~(ipset_num)0 : ((ipset_num)1 << (host + 1)) - 1;

		if ((r->first & mask) != 0 || (r->first | mask) > r->last)
			break;
		host++;
		size = mask;
	}
	*out = (struct prefix){ .ip = ipset_ip(r->family, r->first), .bits = (uint8_t)(max - host) };
	if (host == 0)
		size = 0;
	if ((r->first | size) == r->last)
		r->family = IP_NONE; /* used up; 'first' could overflow */
	else
		r->first = (r->first | size) + 1;
	return true;
}

struct ip_range ipset_ip_range(struct ipset_range r)
{
	return (struct ip_range){ .first = ipset_ip(r.family, r.first),
				  .last = ipset_ip(r.family, r.last) };
}

struct ipset_range ipset_from_ip_range(const struct ip_range *r)
{
	return (struct ipset_range){ r->first.family, ip_num(&r->first), ip_num(&r->last) };
}
