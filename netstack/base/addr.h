/* SPDX-License-Identifier: MIT */
/* An address as two host-order words, for tables that compare and search: IPv6 whole, IPv4 in the
 * low word. The two families share the type but never a table. */
#ifndef NETSTACK_BASE_ADDR_H
#define NETSTACK_BASE_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/ep.h"

struct addr {
	uint64_t hi, lo;
};

static inline uint32_t addr_word4(const uint8_t b[static 4])
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline struct addr addr_from4(const uint8_t b[static 4])
{
	return (struct addr){ 0, addr_word4(b) };
}

static inline struct addr addr_from6(const uint8_t b[static 16])
{
	struct rd r = RD(b, 16);
	struct addr a;

	a.hi = rd_be64(&r);
	a.lo = rd_be64(&r);
	return a;
}

static inline struct addr addr_from(uint8_t family, const uint8_t *b)
{
	return family == IP_V4 ? addr_from4(b) : addr_from6(b);
}

/* The greatest address of a family. */
static inline struct addr addr_top(uint8_t family)
{
	return family == IP_V4 ? (struct addr){ 0, UINT32_MAX }
			       : (struct addr){ UINT64_MAX, UINT64_MAX };
}

static inline int addr_cmp(struct addr a, struct addr b)
{
	if (a.hi != b.hi)
		return a.hi < b.hi ? -1 : 1;
	return a.lo < b.lo ? -1 : a.lo > b.lo;
}

/* The address behind 'a'; it wraps at the end of the space, which callers test for. */
static inline struct addr addr_next(struct addr a)
{
	a.lo++;
	a.hi += a.lo == 0;
	return a;
}

/* The last address of a prefix that begins at 'first' and leaves 'host_bits' free. */
static inline struct addr addr_last(struct addr first, unsigned host_bits)
{
	if (host_bits >= 128)
		first.hi = UINT64_MAX;
	else if (host_bits > 64)
		first.hi |= (UINT64_C(1) << (host_bits - 64)) - 1;
	if (host_bits >= 64)
		first.lo = UINT64_MAX;
	else
		first.lo |= (UINT64_C(1) << host_bits) - 1;
	return first;
}

#endif
