/* SPDX-License-Identifier: MIT */
/* Does this host use a range of addresses elsewhere? Asked before a mesh takes the range. Any thread. */
#ifndef DAEMON_HOSTNET_H
#define DAEMON_HOSTNET_H

#include <stdbool.h>
#include <stdio.h>

#include "base/ep.h"

enum { HOSTNET_TEXT_MAX = 80 };

/* Looks at the IPv4 addresses and the main routes of all interfaces but 'own_ifname' (ours). True: 'what' says
 * which one overlaps 'range' ("the route 100.64.0.0/16 on eth1"). Default routes do not count. */
bool hostnet_uses(const struct prefix *range, const char *own_ifname, char what[static HOSTNET_TEXT_MAX]);
/* The part for routes: reads lines as of /proc/net/route. */
bool hostnet_route_overlaps(FILE *routes, const struct prefix *range, const char *own_ifname,
			    char what[static HOSTNET_TEXT_MAX]);

#endif
