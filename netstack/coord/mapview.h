/* SPDX-License-Identifier: MIT */
/* Inside of a picture of the mesh: shared by mapview.c (build) and mapstream.c (compare and write). */
#ifndef NETSTACK_COORD_MAPVIEW_H
#define NETSTACK_COORD_MAPVIEW_H

#include "coord/mapbuild.h"

/* A node as its peers see it; shared by successive pictures while nothing about it changes. */
struct view_node {
	unsigned refs;
	uint64_t version;      /* of the registry's node */
	bool expired;
	struct map_node node;  /* without routes: allowed_ips are the addresses */
	uint64_t static_hash;  /* over everything that a PeerChange can't carry, without routes */
	uint64_t endpoints_hash;
};

/* The compiled policy; shared likewise. */
struct view_policy {
	unsigned refs;
	uint64_t id;           /* never the same for two compilations */
	uint64_t input_hash;   /* over everything the policy looks at */
	struct policyset *set;
};

/* A subnet route and who serves it. */
struct view_route {
	struct prefix prefix;
	size_t owner;          /* index of the primary */
};

struct view_user {
	struct user_profile profile;
	uint64_t hash;
};

struct mapview {
	struct view_node **nodes; /* ascending id */
	size_t n_nodes;
	struct view_policy *policy;
	struct view_route *routes;
	size_t n_routes;
	bool *is_exit;         /* per node: approved exit routes */
	struct view_user *users; /* ascending id, the one of tagged nodes among them */
	size_t n_users;
	uint64_t users_hash;
	char *domain, *url, *host;
	struct derp_map derp;
	uint64_t derp_hash;
};

/* FNV-1a, 64 bits: these hashes only tell "the same as before" on data that was authenticated; a chosen
 * collision would hide a node's own change from its peers, nothing else. */
#define VIEW_HASH_INIT UINT64_C(0xcbf29ce484222325)
uint64_t view_hash(uint64_t h, const void *data, size_t size);
uint64_t view_hash_str(uint64_t h, const char *s);
uint64_t view_hash_i64(uint64_t h, int64_t v);

#endif
