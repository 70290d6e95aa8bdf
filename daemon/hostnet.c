/* SPDX-License-Identifier: MIT */
#include "daemon/hostnet.h"

#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_SIZE = 256 };

static bool overlap(const struct prefix *a, const struct prefix *b)
{
	return prefix_contains(a, &b->ip) || prefix_contains(b, &a->ip);
}

static bool address_in(const struct prefix *range, const char *own_ifname, char what[static HOSTNET_TEXT_MAX])
{
	struct ifaddrs *list;
	bool found = false;

	if (getifaddrs(&list) < 0)
		return false;
	for (const struct ifaddrs *a = list; a && !found; a = a->ifa_next) {
		const struct sockaddr_in *in = (const void *)a->ifa_addr;
		char text[IP_TEXT_MAX];
		struct ip ip;

		if (!in || in->sin_family != AF_INET || strcmp(a->ifa_name, own_ifname) == 0)
			continue;
		ip = ip4_be((const uint8_t *)&in->sin_addr);
		found = prefix_contains(range, &ip);
		if (found)
			(void)snprintf(what, HOSTNET_TEXT_MAX, "the address %s on %.15s", ip_write(text, &ip),
				       a->ifa_name);
	}
	freeifaddrs(list);
	return found;
}

/* One line: the interface, then the destination as the 1st and the mask as the 7th field behind it; both in
 * network order, printed as numbers of this host. The heading has no such fields. */
static bool read_route(char *line, const char **name, struct prefix *p)
{
	char *at = line + strcspn(line, "\t"), *end;
	uint32_t v[2];

	if (!*at)
		return false;
	*at++ = 0;
	*name = line;
	for (int field = 1; field <= 7; field++) {
		if (field == 1 || field == 7) {
			v[field == 7] = (uint32_t)strtoul(at, &end, 16);
			if (end == at || *end != '\t')
				return false;
		}
		at += strcspn(at, "\t");
		if (!*at++)
			return false;
	}
	*p = (struct prefix){ .ip = ip4_be((const uint8_t *)&v[0]), .bits = (uint8_t)__builtin_popcount(v[1]) };
	return true;
}

bool hostnet_route_overlaps(FILE *routes, const struct prefix *range, const char *own_ifname,
			    char what[static HOSTNET_TEXT_MAX])
{
	char line[LINE_SIZE];

	while (fgets(line, sizeof(line), routes)) {
		char text[PREFIX_TEXT_MAX];
		const char *name;
		struct prefix p;

		if (!read_route(line, &name, &p) || !p.bits || strcmp(name, own_ifname) == 0 || !overlap(range, &p))
			continue;
		(void)snprintf(what, HOSTNET_TEXT_MAX, "the route %s on %.15s", prefix_write(text, &p), name);
		return true;
	}
	return false;
}

bool hostnet_uses(const struct prefix *range, const char *own_ifname, char what[static HOSTNET_TEXT_MAX])
{
	FILE *routes;
	bool found;

	if (address_in(range, own_ifname, what))
		return true;
	routes = fopen("/proc/net/route", "re");
	if (!routes)
		return false;
	found = hostnet_route_overlaps(routes, range, own_ifname, what);
	(void)fclose(routes);
	return found;
}
