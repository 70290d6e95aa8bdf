/* SPDX-License-Identifier: MIT */
/* Inside of the registry: shared by registry.c (state and administration), regjoin.c (registration) and
 * regrows.c (rows), regname.c (names), and by nothing else. */
#ifndef NETSTACK_COORD_REGISTRYINT_H
#define NETSTACK_COORD_REGISTRYINT_H

#include "base/map.h"
#include "coord/registry.h"

/* Key of the index by name: filled up with zeros. */
struct reg_name {
	char text[REG_NAME_MAX + 1];
};

struct registry {
	struct registry_cfg cfg;
	const struct env *env;
	struct reg_user **users; /* by id, ascending, as all three */
	size_t n_users;
	struct reg_key **keys;
	size_t n_keys;
	struct reg_node **nodes;
	size_t n_nodes;
	struct reg_pending **pending; /* oldest first */
	size_t n_pending;
	struct map by_key; /* node key -> node */
	struct map by_ip;  /* struct ip -> node */
	struct map by_name; /* struct reg_name -> node */
	int64_t next_user, next_key, next_node;
	struct ip last4, last6;  /* given last */
	struct reg_batch batch;  /* being collected */
	struct map row_at;       /* table and id -> index in it, from 1 */
	uint64_t ticket;         /* of the last batch taken */
	uint64_t durable;        /* batches up to this are stored */
	uint64_t n_writes;       /* rows that were to be queued */
	bool counters_dirty;
	bool unsaved;            /* out of memory: a row is missing in 'batch', which must not leave without it */
	uint64_t version;
	struct reg_event {
		struct node_key key;
		bool member;
	} *events;               /* for registry_take_event() */
	size_t n_events, first_event;
	struct mono lazy_at;     /* when dirty nodes are written */
};

enum {
	REG_OFFLINE_S = 10,  /* grace for a reconnect (coordinator 7, Disconnect) */
	REG_LAZY_S = 30,     /* what may be lost is written this late */
	REG_AGAIN_S = 1,     /* after there was no memory for a row */
	REG_KEYS_MAX = 10000,
	REG_USERS_MAX = 10000,
};

/* Growing array of pointers. False: out of memory. */
bool reg_push(void ***list, size_t *n, void *item);
#define REG_PUSH(list, n, item)                                   \
	({                                                        \
		void **list_ = (void **)(list);                   \
		bool ok_ = reg_push(&list_, &(n), (item));        \
		if (ok_)                                          \
			(list) = (__typeof__(list))list_;         \
		ok_;                                              \
	})

void reg_user_free(struct reg_user *u);
void reg_key_free(struct reg_key *k);
void reg_node_free(struct reg_node *n);
void reg_pending_free(struct reg_pending *p);

char **reg_tags_dup(char *const *tags, size_t n); /* null: out of memory or n == 0 */
void reg_tags_free(char **tags, size_t n);

/* Adds a complete node to all indexes. Returns 0; -EEXIST: a duplicate; -ENOSPC: too many; -ENOMEM. Then the node stays
 * the caller's. */
MESH_MUST_USE int reg_insert_node(struct registry *r, struct reg_node *n);
/* A peer could see this change. */
void reg_touch(struct registry *r, struct reg_node *n);
/* Queues the row. False: out of memory; as long as the record is in its list, the next batch waits until there is memory
 * for its row. */
bool reg_save_node(struct registry *r, struct reg_node *n);
bool reg_save_key(struct registry *r, struct reg_key *k);
bool reg_save_user(struct registry *r, const struct reg_user *u);
/* The node differs from its row in something that may be lost: written within REG_LAZY_S. */
void reg_dirty(struct registry *r, struct mono now, struct reg_node *n);

/* Reports that a key is a member's now, or is not any more. */
void reg_event(struct registry *r, const struct node_key *key, bool member);
/* A free pair of addresses. False: the pool is used up. */
bool reg_alloc_ips(struct registry *r, struct ip *ip4, struct ip *ip6);
/* The node of that name, or null. */
struct reg_node *reg_named(const struct registry *r, const char *name);
/* The index by name: adds a node (false: out of memory), takes one out. */
bool reg_name_put(struct registry *r, struct reg_node *n);
void reg_name_del(struct registry *r, const struct reg_node *n);
/* Renames a node that is in the index. Takes 'name', which nobody else has; null is for a failed copy. False: out of
 * memory, the old name stays. */
bool reg_name_set(struct registry *r, struct reg_node *n, char *name);
/* A unique label made from a host name. Null: out of memory. 'self' may keep its own. */
char *reg_unique_name(const struct registry *r, const char *hostname, const struct reg_node *self);
/* Copies what a node says of itself, lists cut to what is kept. 0 or -ENOMEM. */
MESH_MUST_USE int reg_copy_host(struct hostinfo *to, const struct hostinfo *from);
/* Sanitized label: lower case, letters, digits and '-', at most 63 characters, "node" if nothing is left. */
void reg_sanitize(char out[static REG_NAME_MAX + 1], const char *hostname);
/* Changes a node's key in the index too. False: out of memory. */
bool reg_rekey(struct registry *r, struct reg_node *n, const struct node_key *key);

/* Rows (regrows.c): fresh JSON text, or null. */
char *reg_user_row(const struct reg_user *u);
char *reg_key_row(const struct reg_key *k);
char *reg_node_row(const struct reg_node *n);
char *reg_counters_row(const struct registry *r);

static inline int64_t reg_wall_s(const struct registry *r)
{
	return env_wall_ns(r->env) / INT64_C(1000000000);
}

#endif
