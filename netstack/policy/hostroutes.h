/* SPDX-License-Identifier: MIT */
/* Which routes of the host lead into the tunnel, from the prefixes that peers may be reached by.
 *
 * Not one a peer: their single addresses in fd7a:115c:a1e0::/48 become one route of that range, which is the mesh's
 * alone, and those in 100.64.0.0/10 one route too once there are very many. Up to then each has its own, as
 * providers and clouds use that range as well and the host may have to reach something in it. Everything else stays
 * as it is. A packet to an address of the range that is no peer's goes nowhere: the tunnel looks peers up by the
 * prefixes themselves.
 *
 * 20,000 routes take the kernel 50 ms to enter, a megabyte and more to keep, and 10 ms at each later question of
 * anybody for the host's routes; a peer that comes or goes costs the host nothing now.
 *
 * Pure; the struct belongs to whoever publishes. Spec: host-network 3.2; tailscale's net/routemanager draws the same
 * line at the same number. */
#ifndef NETSTACK_POLICY_HOSTROUTES_H
#define NETSTACK_POLICY_HOSTROUTES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/ep.h"

enum {
	HOSTROUTES_EACH_MAX = 10000,  /* more addresses in 100.64.0.0/10 than this share one route ... */
	HOSTROUTES_EACH_AGAIN = 9000, /* ... until there are as few as this again: no flapping at the line */
};

/* What the routes told last stand for. All zero: nothing told yet. */
struct hostroutes {
	size_t n_ula, n_cgnat;
	bool is_coarse; /* one route for all in 100.64.0.0/10 */
};

/* Takes all 'n' prefixes of peers, and leaves in 'list' the routes that they need; returns how many. */
size_t hostroutes_all(struct hostroutes *h, struct prefix *list, size_t n);
/* Takes what came and what went since, and leaves in the lists the routes to add and to remove. False: the change
 * moves one of the shared routes, so all have to be told again; the lists and '*h' are undefined then, and
 * hostroutes_all() is next. */
MESH_MUST_USE bool hostroutes_change(struct hostroutes *h, struct prefix *in, size_t *n_in, struct prefix *out,
				     size_t *n_out);

#endif
