/* SPDX-License-Identifier: MIT */
/* Host names to addresses, on the loop's helper thread. For netcheck's STUN servers; streams resolve inside
 * daemon/tlsconn. Owner: control thread. */
#ifndef DAEMON_RESOLVE_H
#define DAEMON_RESOLVE_H

#include "base/compiler.h"
#include "base/ep.h"
#include "base/mono.h"

struct loop;

/* Up to one address per family, unset where there is none. 'name' is borrowed. Not called if the loop ends
 * first. */
typedef void (*resolve_fn)(void *ctx, const char *name, const struct ip *ip4, const struct ip *ip6,
			   struct mono now);

/* Asks for 'name' (copied); 'done' is called from the loop. Returns 0, -EINVAL (empty or longer than 253) or
 * -ENOMEM. */
MESH_MUST_USE int resolve_post(struct loop *loop, const char *name, resolve_fn done, void *ctx);

#endif
