/* SPDX-License-Identifier: MIT */
/* What one node may see: the full map of a new stream, and afterwards only what differs from the last
 * state sent on that stream.
 *
 *   registry, policy, settings ──► mapview   one picture of the whole mesh: compiled policy, for each node
 *                                            its JSON parts and their hashes (shared by all viewers)
 *   mapview + viewer ──► mapstream_next()    the next MapResponse, or nothing
 *
 * Because a stream compares wanted with sent, events need no bookkeeping, may be merged at will, and a slow
 * reader gets one message for many changes. A stream keeps hashes, not copies: about 80 bytes per visible
 * peer.
 *
 * Control thread only. Spec: coordinator 7.1, 7.2, 7.3; control-messages 8, 9. */
#ifndef NETSTACK_COORD_MAPBUILD_H
#define NETSTACK_COORD_MAPBUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/mono.h"
#include "coord/policyfile.h"
#include "coord/registry.h"
#include "wire/mapdata.h"

struct mapview_cfg {
	const char *domain;      /* MagicDNS base, "mesh.internal" */
	const char *url;         /* of the coordinator: Domain and SSH check URLs */
	int64_t policy_revision; /* differs whenever the policy does */
	const struct derp_map *derp;
};

struct mapview; /* immutable picture; owns all it shows */

/* Builds the picture. 'prev' (may be null) lends what has not changed: nodes, and the compiled policy when
 * neither the policy nor anything that it looks at changed; it stays valid and the caller's. 'policy' null =
 * everything denied. 'cfg' and 'policy' are borrowed for the call. Returns null when out of memory. */
struct mapview *mapview_new(const struct registry *r, const struct policyfile *policy,
			    const struct mapview_cfg *cfg, struct mapview *prev, int64_t wall_s);
void mapview_free(struct mapview *v);
/* The compiled policy and a node's index in it; -1 when the node is not there. */
const struct policyset *mapview_policy(const struct mapview *v);
long mapview_index(const struct mapview *v, int64_t node_id);
/* Was the node's key expired when the picture was made? False if it is not there. */
bool mapview_is_expired(const struct mapview *v, int64_t node_id);
struct mapstream; /* what was sent on one stream */

struct mapstream *mapstream_new(int64_t node_id);
void mapstream_free(struct mapstream *s);

/* Writes the next message: the complete map the first time, later the difference. Appends its JSON text to
 * 'out'.
 * Returns 1 if there is a message, 0 if nothing changed, -ENOENT if the node is gone (end the stream),
 * -ENOMEM (the stream's state is then undefined: end it). */
MESH_MUST_USE int mapstream_next(struct mapstream *s, const struct mapview *v, int64_t wall_s,
				 struct bytes *out);

#endif
