/* SPDX-License-Identifier: MIT */
/* Allowed IPs: longest-prefix match from an inner address to a peer. Built once from a list,
 * immutable, read by any number of threads; a change of few addresses makes a new table that shares
 * the rest with the old one.
 *
 * Single addresses (nearly all of a mesh) sit in a hash table, one probe; wider prefixes are
 * flattened to a sorted list of disjoint ranges, one binary search. 10,000 peers with two addresses
 * take about 0.5 MB. */
#ifndef NETSTACK_WG_ROUTES_H
#define NETSTACK_WG_ROUTES_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"

#define ROUTES_NONE UINT32_MAX

struct routes; /* opaque */

struct routes_entry {
	struct prefix prefix; /* host bits are ignored */
	uint32_t peer_id;     /* anything but ROUTES_NONE */
};

/* Builds a table from 'n' entries (borrowed during the call). Where two entries have the same
 * prefix the later one wins. 'seed' keys the hash. Returns null if out of memory. Owner: the
 * caller, routes_free(). */
struct routes *routes_new(const struct routes_entry *entries, size_t n, uint64_t seed);
void routes_free(struct routes *r);
/* A new version of 'old' without the addresses 'del' and with 'add' (borrowed), in time that does not depend
 * on the size of the table. Only single addresses, few of them, can be changed this way: returns null if
 * something else was asked for, an address to be added is there (one to be taken away is not, or not with
 * this peer), or out of memory: 'old' is then as before, build a new table. Afterwards 'old' answers as before but
 * can't be patched again, and must be freed before or with the new one's last reader. One thread at a time. */
MESH_MUST_USE struct routes *routes_patch(struct routes *old, const struct routes_entry *del, size_t n_del,
					  const struct routes_entry *add, size_t n_add);

/* The peer of the longest prefix that contains the address, or ROUTES_NONE. 'addr' is 4 or 16 bytes
 * in network order, as in struct ip_pkt. A null table has no routes. Any thread. */
uint32_t routes_lookup4(const struct routes *r, const uint8_t addr[static 4]);
uint32_t routes_lookup6(const struct routes *r, const uint8_t addr[static 16]);

static inline uint32_t routes_lookup(const struct routes *r, uint8_t family, const uint8_t *addr)
{
	return family == IP_V4   ? routes_lookup4(r, addr)
	       : family == IP_V6 ? routes_lookup6(r, addr)
				 : ROUTES_NONE;
}

/* Bytes of memory that the table holds. */
size_t routes_bytes(const struct routes *r);

#endif
