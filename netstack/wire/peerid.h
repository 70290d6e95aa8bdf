/* SPDX-License-Identifier: MIT */
/* How a peer is named between the engine and the data plane: a small number that is used again
 * after the peer is gone, and a generation that is not, so that a late message about an old peer
 * finds nobody. */
#ifndef NETSTACK_WIRE_PEERID_H
#define NETSTACK_WIRE_PEERID_H

#include <stdbool.h>
#include <stdint.h>

struct peer_id {
	uint32_t index; /* dense: 0..number of peers; what wg/routes gives */
	uint32_t gen;   /* > 0; differs each time 'index' is given out */
};

static inline bool peer_id_eq(struct peer_id a, struct peer_id b)
{
	return a.index == b.index && a.gen == b.gen;
}

/* No peer: the value of a zeroed struct. */
static inline bool peer_id_is_set(struct peer_id id)
{
	return id.gen != 0;
}

#endif
