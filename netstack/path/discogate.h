/* SPDX-License-Identifier: MIT */
/* Bounds the cryptography that disco packets can cause (RELIABILITY 5, "known key forged"): disco
 * keys are visible on the wire, so anybody may send packets that carry a peer's key and do not
 * open.
 *
 * After 8 failures within a second from one source under one key, that pair waits (8 more a
 * second); all boxes together are limited to 20,000 a second. One per engine. Control thread only.
 */
#ifndef NETSTACK_PATH_DISCOGATE_H
#define NETSTACK_PATH_DISCOGATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bucket.h"
#include "base/env.h"
#include "base/key.h"
#include "base/mono.h"
#include "wire/pathaddr.h"

enum {
	DISCOGATE_SLOTS = 256,
	DISCOGATE_FAILS_PER_S = 8,
	DISCOGATE_OPENS_PER_S = 20000,
	DISCOGATE_OPENS_BURST = 2000,
};

struct discogate {
	uint8_t seed[16];
	struct discogate_slot {
		uint64_t who;        /* hash of source and key; 0 = never used */
		struct bucket fails; /* failures still allowed */
	} slots[DISCOGATE_SLOTS];
	struct bucket opens;
	uint64_t drop_source, drop_total;
};

void discogate_init(struct discogate *g, struct mono now, const struct env *env);

/* May a packet with this sender key from 'from' be opened now? False: drop it, counted here. */
bool discogate_may_open(struct discogate *g, struct mono now, const struct disco_key *sender,
			const struct path_addr *from);
/* It did not open. */
void discogate_failed(struct discogate *g, struct mono now, const struct disco_key *sender,
		      const struct path_addr *from);

#endif
