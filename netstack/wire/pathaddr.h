/* SPDX-License-Identifier: MIT */
/* One way to reach a peer: a UDP address, a peer relay's address with a VNI, or a DERP region.
 *
 * Shared by path/ (which chooses), relay/, the engine, the packet workers (which send) and the status
 * output. Identity of a path is address + VNI, or the region. Spec: path-selection 1, peer-relay 12. */
#ifndef NETSTACK_WIRE_PATHADDR_H
#define NETSTACK_WIRE_PATHADDR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ep.h"

enum path_kind {
	PATH_NONE,   /* nowhere */
	PATH_DIRECT, /* plain UDP to 'ep' */
	PATH_RELAY,  /* UDP to the peer relay at 'ep', behind a Geneve header with 'vni' */
	PATH_DERP,   /* through DERP region 'region' */
};

struct path_addr {
	struct ep ep;    /* DIRECT, RELAY; else unset */
	uint32_t vni;    /* RELAY: 1..2^24-1; else 0 */
	uint32_t region; /* DERP: region id; else 0 */
	uint8_t kind;    /* enum path_kind */
	uint8_t pad[3];  /* always zero: paths are hashed and compared whole */
};

/* "198.51.100.7:41641", "203.0.113.10:40000:vni:7", "derp-1"; "" for PATH_NONE. */
enum { PATH_TEXT_MAX = EP_TEXT_MAX + 16 };
char *path_write(char text[static PATH_TEXT_MAX], const struct path_addr *path);

bool path_eq(const struct path_addr *a, const struct path_addr *b);

static inline struct path_addr path_direct(const struct ep *ep)
{
	return (struct path_addr){ .ep = *ep, .kind = PATH_DIRECT };
}

static inline struct path_addr path_relay(const struct ep *ep, uint32_t vni)
{
	return (struct path_addr){ .ep = *ep, .vni = vni, .kind = PATH_RELAY };
}

static inline struct path_addr path_derp(uint32_t region)
{
	return (struct path_addr){ .region = region, .kind = PATH_DERP };
}

#endif
