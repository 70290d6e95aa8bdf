/* SPDX-License-Identifier: MIT */
/* Who has an address: GET whois; and nodes in the control protocol's form as the local API shows them.
 * Spec: localapi 3.1, cli 5.3. */
#ifndef NETSTACK_WIRE_WHOIS_H
#define NETSTACK_WIRE_WHOIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "wire/json.h"
#include "wire/mapdata.h"

/* {"Node":…,"UserProfile":…,"CapMap":…}. 'user' may be null; 'caps' are what the caller of the API
 * holds on us. */
MESH_MUST_USE int whois_write(struct bytes *out, const struct map_node *node,
			      const struct user_profile *user, const struct map_cap *caps, size_t n_caps,
			      const char *indent);
/* A DERP map as GET derpmap gives it. */
MESH_MUST_USE int whois_write_derp_map(struct bytes *out, const struct derp_map *map, const char *indent);

struct whois_cap {
	char *name;
	char *values; /* JSON text: an array or null */
};

/* The answer as the command line needs it. */
struct whois {
	char *name;
	char *stable_id;
	struct prefix *addrs;
	size_t n_addrs;
	struct prefix *allowed_ips;
	size_t n_allowed_ips;
	char **tags;
	size_t n_tags;
	char *login_name;
	int64_t user_id;
	struct whois_cap *caps; /* sorted by name */
	size_t n_caps;
};

MESH_MUST_USE int whois_parse(struct whois *w, const char *text, size_t len);
void whois_wipe(struct whois *w);

#endif
