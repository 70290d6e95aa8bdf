/* SPDX-License-Identifier: MIT */
/* STUN answers with limits: 100 a second per source, 20,000 in all; an answer is at most 1.1 times the
 * request. The socket is daemon/stund's. Owner: control thread. Spec: netcheck 1.2; RELIABILITY 5. */
#ifndef NETSTACK_RELAY_STUNSERVER_H
#define NETSTACK_RELAY_STUNSERVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/bucket.h"
#include "base/env.h"
#include "base/ep.h"
#include "base/mono.h"
#include "wire/stun.h"

enum {
	STUNSERVER_PER_SOURCE = 100,
	STUNSERVER_TOTAL = 20000,
	STUNSERVER_SOURCES = 1024, /* remembered; hashed by address (IPv6: /64), the least recent of 4 gives way */
};

struct stunserver_source {
	uint8_t who[9]; /* family, then address or /64 prefix */
	struct bucket bucket;
};

struct stunserver_counters {
	uint64_t answered4, answered6;
	uint64_t drop_malformed;
	uint64_t drop_rate;
};

struct stunserver {
	uint8_t seed[16];
	struct bucket total;
	struct stunserver_source sources[STUNSERVER_SOURCES];
	struct stunserver_counters n;
};

void stunserver_init(struct stunserver *s, const struct env *env);

/* Answers one datagram. Returns the size of the answer in 'out', to be sent to 'from' from the address that
 * was asked; 0 = no answer (counted by reason). */
size_t stunserver_answer(struct stunserver *s, struct mono now, const struct ep *from, const uint8_t *buf,
			 size_t size, uint8_t out[static STUN_RESPONSE_MAX]);

#endif
