/* SPDX-License-Identifier: MIT */
/* What is different between two maps, as the documents that subscribers of the local API's bus get: whole nodes,
 * patches for what a patch can say, those that went, users that are new. Pure. Spec: localapi 4 (bits 12, 15). */
#ifndef NETSTACK_CONTROL_MAPNEWS_H
#define NETSTACK_CONTROL_MAPNEWS_H

#include <stdbool.h>

#include "base/compiler.h"

struct netmap;

/* JSON texts, owned; null = nothing to say. */
struct mapnews {
	char *self;    /* the own node */
	char *changed; /* list: nodes that are new or changed in more than a patch can say */
	char *all;     /* list: the same and the patched ones, whole */
	char *patches; /* list */
	char *removed; /* list of node ids */
	char *users;   /* object by user id: profiles that came with a node */
};

/* Fills an empty '*n'. 'old' may be null: everything is new then. Without 'with_peers' only 'self' is told. Returns
 * 0, or -ENOMEM with '*n' empty. */
MESH_MUST_USE int mapnews_make(struct mapnews *n, const struct netmap *old, const struct netmap *now, bool with_peers);
void mapnews_wipe(struct mapnews *n);

#endif
