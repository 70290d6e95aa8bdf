/* SPDX-License-Identifier: MIT */
/* A usable path through a peer relay: what relay/relayclient offers to path/ladder, and what the
 * ladder tells the relay client it already has. Plain data. */
#ifndef NETSTACK_WIRE_RELAYPATH_H
#define NETSTACK_WIRE_RELAYPATH_H

#include <stdint.h>

#include "base/key.h"
#include "wire/pathaddr.h"

struct relay_path {
	struct path_addr path;   /* PATH_RELAY: address and VNI */
	struct disco_key server; /* the relay server's own key, not its node's */
	int64_t latency_ns;      /* round trip to the peer through it; 0 = not measured */
};

#endif
