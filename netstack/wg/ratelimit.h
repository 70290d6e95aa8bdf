/* SPDX-License-Identifier: MIT */
/* Token buckets per source for handshakes under load: 20 a second, bursts of 5, per IPv4 address
 * and per IPv6 /64 (RELIABILITY 5). The table is bounded and drops the source that was quiet
 * longest; it is allocated at first use, keyed with SipHash, and never grows by more than one step
 * per call.
 *
 * Control thread. */
#ifndef NETSTACK_WG_RATELIMIT_H
#define NETSTACK_WG_RATELIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "base/mono.h"

struct env;

enum { RATELIMIT_PER_S = 20, RATELIMIT_BURST = 5, RATELIMIT_SOURCES_MAX = 65536 };

struct ratelimit_entry;

struct ratelimit {
	struct ratelimit_entry *entries; /* owned; 0 is not used */
	uint32_t *buckets;               /* owned; heads of hash chains, indexes into 'entries' */
	uint32_t n, max;                 /* entries in use; most allowed */
	uint32_t cap;                    /* entries allocated */
	uint32_t newest, oldest;         /* LRU list */
	uint8_t seed[16];
};

/* At most 'max_sources' (0 = RATELIMIT_SOURCES_MAX) are remembered. Allocates nothing yet. */
void ratelimit_init(struct ratelimit *r, uint32_t max_sources, const struct env *env);
void ratelimit_wipe(struct ratelimit *r);

/* May 'src' send one more handshake at 'now'? Takes a token if so. Out of memory counts as yes for
 * known sources and no for new ones. */
bool ratelimit_allow(struct ratelimit *r, struct mono now, const struct ip *src);

/* The same for a source without address: 16 bytes that name it (a node key behind DERP). */
bool ratelimit_allow_id(struct ratelimit *r, struct mono now, const uint8_t id[static 16]);

#endif
