/* SPDX-License-Identifier: MIT */
/* What the files of ctljson share. Private to them. */
#ifndef NETSTACK_WIRE_CTLJSON_PRIV_H
#define NETSTACK_WIRE_CTLJSON_PRIV_H

#include "wire/ctljson.h"

/* A growing array of 'size'-byte elements. */
struct ctljson_list {
	void *p;
	size_t n, cap;
};

/* The members of a map message that may be long: lists of nodes. */
enum { CTLJSON_PEERS, CTLJSON_CHANGED, CTLJSON_LISTS };
extern const char *const ctljson_lists[CTLJSON_LISTS];
/* Parses a message. 'lists' (null: none) are the nodes that stand behind the zeros of the lists in the text; what is
 * taken is emptied. */
int ctljson_map_parse(struct ctl_map_response *out, const char *text, size_t size,
		      struct ctljson_list lists[CTLJSON_LISTS], struct ctl_why *why);
void ctljson_nodes_wipe(struct map_node *nodes, size_t n);

/* Room for one more, zeroed, or null after recording -ENOMEM. */
void *ctljson_push(struct json_in *in, struct ctljson_list *l, size_t size);

/* Prefixes of a list of texts ("ip/bits"); a malformed one is an error. */
void ctljson_prefixes(struct json_in *in, const cJSON *obj, const char *key, struct prefix **out, size_t *n);
/* Endpoints; those with a zone or that do not parse are left out. 'types' (may be null) is parallel. */
void ctljson_endpoints(struct json_in *in, const cJSON *obj, const char *key, const cJSON *types_in,
		       struct ep **out, uint8_t **types, size_t *n);
/* A CapMap object plus a list of names without values; sorted by name. */
void ctljson_caps(struct json_in *in, const cJSON *map, const cJSON *names, struct map_cap **out, size_t *n);
void ctljson_caps_write(struct json_w *w, const char *key, const struct map_cap *caps, size_t n);
void ctljson_prefixes_write(struct json_w *w, const char *key, const struct prefix *p, size_t n);
void ctljson_eps_write(struct json_w *w, const char *key, const struct ep *eps, size_t n);
enum tri ctljson_tri(struct json_in *in, const cJSON *obj, const char *key);
void ctljson_tri_write(struct json_w *w, const char *key, enum tri v);
/* Writes a member only if it says something. */
void ctljson_str_write(struct json_w *w, const char *key, const char *text);
void ctljson_flag_write(struct json_w *w, const char *key, bool v);
/* A member name that is a decimal number > 0. */
bool ctljson_id(const char *text, int64_t *id);
/* PeerChange. */
void ctljson_patch_read(struct json_in *in, const cJSON *v, struct ctl_patch *out);
void ctljson_dns_read(struct json_in *in, const cJSON *v, struct dns_config *out);
/* HomeParams.RegionScore of a DERPMap; false if it is not there. */
bool ctljson_scores_read(struct json_in *in, const cJSON *derp, struct ctl_region_score **out, size_t *n);

/* Parses a whole body of at most 'max' bytes into an object tree; null with '*err' and '*why' set. */
cJSON *ctljson_body(const char *text, size_t size, size_t max, int *err, struct ctl_why *why);
/* The result of a codec: in->err, with '*why' filled. 'where' may be null. */
int ctljson_result(const struct json_in *in, const char *where, struct ctl_why *why);
int ctljson_json_err(const struct json_err *e, struct ctl_why *why);

#endif
