/* SPDX-License-Identifier: MIT */
/* The parts of a network map. Private to netmap.c (references, views, differences) and netmap_apply.c (making the
 * next map). Every part is immutable as soon as a second reference to it exists. */
#ifndef NETSTACK_CONTROL_NETMAP_PRIV_H
#define NETSTACK_CONTROL_NETMAP_PRIV_H

#include <string.h>

#include "control/netmap.h"

enum { NETMAP_BLOCK = 64 };

struct netmap_node {
	unsigned refs;
	struct map_node n;
};

/* Neighbours in the order of ids; never empty inside a map. */
struct netmap_block {
	unsigned refs;
	unsigned n;
	struct netmap_node *v[NETMAP_BLOCK];
	uint32_t tags[NETMAP_BLOCK]; /* first bytes of each node's key: a search looks at few nodes */
};

static inline uint32_t netmap_tag(const struct node_key *key)
{
	uint32_t tag;

	memcpy(&tag, key->b, sizeof(tag));
	return tag;
}

struct netmap_derp {
	unsigned refs;
	struct derp_map map; /* scores applied */
	struct ctl_region_score *scores;
	size_t n_scores;
};

struct netmap_dns {
	unsigned refs;
	struct dns_config dns;
};

struct netmap_chunk {
	unsigned refs;
	char *name;
	struct filter_rules rules;
};

struct netmap_filter {
	unsigned refs;
	struct netmap_chunk **chunks; /* sorted by name */
	size_t n_chunks;
	struct filter_rules all; /* the rules of all chunks in order; their insides belong to the chunks */
};

struct netmap_user {
	unsigned refs;
	struct user_profile u;
};

struct netmap_users {
	unsigned refs;
	struct netmap_user **v; /* sorted by id */
	size_t n;
};

struct netmap_text {
	unsigned refs;
	char *domain;
	char **health;
	size_t n_health;
	bool is_locked;
};

struct netmap {
	unsigned refs;
	struct netmap_node *self;
	struct netmap_block **blocks;
	size_t n_blocks;
	size_t n_peers;
	struct netmap_derp *derp; /* these five may be null: nothing was said */
	struct netmap_dns *dns;
	struct netmap_filter *filter;
	struct netmap_users *users;
	struct netmap_text *text;
};

/* Drop one reference; null is fine. */
void netmap_node_put(struct netmap_node *p);
void netmap_block_put(struct netmap_block *p);
void netmap_derp_put(struct netmap_derp *p);
void netmap_dns_put(struct netmap_dns *p);
void netmap_chunk_put(struct netmap_chunk *p);
void netmap_filter_put(struct netmap_filter *p);
void netmap_user_put(struct netmap_user *p);
void netmap_users_put(struct netmap_users *p);
void netmap_text_put(struct netmap_text *p);

/* Where a peer is, or would be: block and place in it. True if it is there. */
bool netmap_find(const struct netmap *m, int64_t id, size_t *block, unsigned *at);
/* What is different between two versions of a node; 0: equal. */
unsigned netmap_node_diff(const struct map_node *a, const struct map_node *b);

#endif
