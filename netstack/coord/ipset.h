/* SPDX-License-Identifier: MIT */
/* Sets of addresses as sorted ranges: union, intersection, and the same set as CIDR prefixes.
 *
 * The policy compiler resolves every alias to one of these. Any thread. */
#ifndef NETSTACK_COORD_IPSET_H
#define NETSTACK_COORD_IPSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "wire/mapdata.h"

/* An address as a number: IPv4 in the low 32 bits. */
typedef unsigned __int128 ipset_num;

struct ipset_range {
	uint8_t family; /* IP_V4 sorts before IP_V6 */
	ipset_num first, last;
};

/* Zeroed: empty. After any 'add', ipset_normalize() before the set is read. */
struct ipset {
	struct ipset_range *r; /* owned */
	size_t n, cap;
	bool nomem;            /* sticky: an add failed, the set is incomplete */
};

void ipset_wipe(struct ipset *s);
void ipset_add_range(struct ipset *s, struct ipset_range r);
void ipset_add_ip(struct ipset *s, const struct ip *ip); /* unset: nothing */
void ipset_add_prefix(struct ipset *s, const struct prefix *p);
void ipset_add_set(struct ipset *s, const struct ipset *from);
/* Everything: 0.0.0.0/0 and ::/0. */
void ipset_add_all(struct ipset *s);
/* 100.64.0.0/10 without 100.115.92.0/23, and fd7a:115c:a1e0::/48. */
void ipset_add_tailnet(struct ipset *s);
/* The internet: IPv4 without private, link-local and CGNAT ranges, and 2000::/3. */
void ipset_add_internet(struct ipset *s);
/* Sorts and merges overlapping and neighbouring ranges. */
void ipset_normalize(struct ipset *s);
/* Keeps what is in both (both normalized). */
void ipset_intersect(struct ipset *s, const struct ipset *with);

bool ipset_has(const struct ipset *s, const struct ip *ip);
bool ipset_overlaps(const struct ipset *s, const struct prefix *p);
bool ipset_contains(const struct ipset *s, struct ipset_range r);
struct ipset_range ipset_range_of(const struct prefix *p);
/* Writes the largest prefix at the head of '*r' and cuts it off; false when '*r' is used up. */
bool ipset_next_prefix(struct ipset_range *r, struct prefix *out);
struct ip ipset_ip(uint8_t family, ipset_num n);
struct ip_range ipset_ip_range(struct ipset_range r);
struct ipset_range ipset_from_ip_range(const struct ip_range *r);

#endif
