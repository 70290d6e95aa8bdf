/* SPDX-License-Identifier: MIT */
/* Who is a member: users, nodes, auth keys, addresses, names, expiry, pending logins.
 *
 * Pure state with rules, no protocol: ctlserver turns requests into calls of this file and mapbuild
 * turns nodes into maps. Every change that must survive is queued as a row ('struct reg_write') of a
 * batch; the owner stores a batch in one transaction and then calls registry_persisted(). Answers that
 * promise something wait for their ticket (RELIABILITY 7, rule 4: durable before visible).
 *
 * A row is the JSON text of a record; the store keeps it beside its id and loads it unchanged.
 * Control thread only. Spec: coordinator 3, 4, 5, 7.3, 7.4, 12. */
#ifndef NETSTACK_COORD_REGISTRY_H
#define NETSTACK_COORD_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/env.h"
#include "base/mono.h"
#include "wire/mapdata.h"

enum {
	REG_TAGGED_USER = 2147455555, /* the user id under which tagged nodes are shown */
	REG_NAME_MAX = 63,            /* one DNS label */
	REG_NODES_MAX = 100000,
	REG_PENDING_MAX = 1000,       /* logins waiting for approval; the oldest goes */
	REG_PENDING_MACHINE_MAX = 4,  /* ... of one machine; its oldest goes */
	REG_PENDING_LIFE_S = 900,
	REG_EPHEMERAL_S = 120,        /* an ephemeral node is deleted this long after its last poll */
	REG_KEY_TEXT_MAX = 160,
	REG_KEY_PREFIX = 12,          /* hex digits of an auth key's public part */
	REG_ENDPOINTS_MAX = 32,       /* endpoints kept of one node */
	REG_ROUTES_MAX = 1000,        /* announced routes kept of one node */
	REG_TAGS_MAX = 100,           /* requested tags kept of one node */
};

struct reg_user {
	int64_t id;
	char *name;    /* unique; what --user names */
	char *display;
	char *email;   /* "" = none */
	int64_t created_s;
};

struct reg_key {
	int64_t id;
	char prefix[REG_KEY_PREFIX + 1];
	uint8_t hash[32];  /* SHA-256 over the 32 secret bytes: they are uniformly random */
	int64_t user;      /* owner, or creator when there are tags */
	char **tags;
	size_t n_tags;
	bool reusable, ephemeral, used, revoked;
	int64_t created_s, expires_s; /* 0 = never */
	bool dirty;        /* memory only: differs from the stored row */
};

struct reg_node {
	/* Persistent. */
	int64_t id;
	struct machine_key machine;
	struct node_key key;
	struct disco_key disco;
	int64_t user;       /* 0 = tagged */
	char **tags;
	size_t n_tags;
	struct ip ip4, ip6;
	char *name;         /* one DNS label, unique */
	bool named_by_admin; /* a hostname change does not rename it */
	bool ephemeral;
	bool own;           /* the coordinator's own node: never expires */
	bool by_key;        /* joined with an auth key */
	int64_t auth_key;   /* id of that key; 0 = none */
	int32_t cap;        /* capability version it announced last */
	uint32_t home_derp;
	struct hostinfo host;
	struct ep *endpoints;
	uint8_t *endpoint_types;
	size_t n_endpoints;
	struct prefix *approved;
	size_t n_approved;
	int64_t created_s, expiry_s, last_seen_s; /* 0 = never */

	/* Memory only. */
	bool online;        /* as told to peers; goes false 10 s after the last poll ended */
	uint32_t n_polls;   /* open map streams */
	struct mono offline_at;   /* MONO_NEVER unless the last poll has just ended */
	struct mono ephemeral_at; /* deletion of an ephemeral node */
	struct mono told_at;      /* its last update other than by a poll; ZERO = none since the start */
	uint64_t joined;    /* ticket of the row with its key and addresses: nothing is told to it before that is stored */
	bool dirty;         /* differs from the stored row in something that may be lost */
	uint64_t version;   /* changes whenever anything a peer could see changes */
};

/* A login that waits for `coordinator nodes approve`. */
struct reg_pending {
	char id[25];        /* 24 hex digits */
	struct machine_key machine;
	struct node_key key;
	struct hostinfo host;
	int64_t expiry_s;   /* wished */
	int32_t cap;
	struct mono until;
};

enum reg_table { REG_USERS, REG_NODES, REG_KEYS, REG_POLICIES, REG_SETTINGS };

/* One row to store: 'data' null = delete the row. Settings have ids of their own (enum below). */
struct reg_write {
	enum reg_table table;
	int64_t id;
	char *data;
};

/* Rows of REG_SETTINGS. */
enum reg_setting {
	REG_SET_NOISE_KEY = 1, /* "privkey:..." as JSON string */
	REG_SET_DERP_KEY = 2,
	REG_SET_CONFIG = 3,    /* daemon's: url, listen, ... */
	REG_SET_DERP_EXTRA = 4, /* derp add */
	REG_SET_COUNTERS = 5,  /* ids never used again */
};

/* Rows that belong together: one transaction. */
struct reg_batch {
	uint64_t ticket;
	struct reg_write *rows;
	size_t n_rows;
};

void reg_write_wipe(struct reg_write *w);
void reg_batch_wipe(struct reg_batch *b);

struct registry_cfg {
	struct prefix pool4, pool6; /* addresses are given out of these */
	int64_t node_expiry_s;      /* 0 = nodes never expire */
	uint8_t fingerprint[16];    /* of the server's Noise key, for auth keys */
};

struct registry;

/* Returns null when out of memory. 'cfg' is copied; 'env' is borrowed for the registry's life. */
struct registry *registry_new(const struct registry_cfg *cfg, const struct env *env);
void registry_free(struct registry *r);
void registry_configure(struct registry *r, const struct registry_cfg *cfg);

/* Takes one stored row, in the order users, keys, nodes. Returns 0; -EBADMSG if it is not a valid row
 * or contradicts an earlier one (same id, key or address); -ENOMEM. Settings and policies are not its. */
MESH_MUST_USE int registry_load(struct registry *r, enum reg_table table, int64_t id, const char *data,
				struct mono now);

/* ---- persistence ---- */

/* The ticket that the next batch will carry if anything was written since the last one was taken;
 * else that of the last batch. An answer that promises what was just written waits for it. */
uint64_t registry_ticket(const struct registry *r);
bool registry_is_durable(const struct registry *r, uint64_t ticket);
/* Grows with every row that is queued: a call that left it alone has changed nothing. */
uint64_t registry_n_writes(const struct registry *r);
/* Is there something to store? */
bool registry_has_batch(const struct registry *r, struct mono now);
/* Takes the next batch to store. False: nothing to store, or no memory for it: then nothing is lost, and tickets wait.
 * Ownership passes to the caller. */
bool registry_take_batch(struct registry *r, struct mono now, struct reg_batch *out);
/* Batches up to 'ticket' are on disk. */
void registry_persisted(struct registry *r, uint64_t ticket);
/* Queues a row of another table (settings, policies) into the next batch; 'data' null deletes. */
MESH_MUST_USE int registry_write(struct registry *r, enum reg_table table, int64_t id, const char *data);

/* ---- users ---- */

/* The user of that name or e-mail, or null. */
const struct reg_user *registry_user(const struct registry *r, const char *name);
const struct reg_user *registry_user_by_id(const struct registry *r, int64_t id);
/* Finds or creates. 'name': 1..64 characters of letters, digits and "._@+-".
 * Returns 0; -EINVAL for a bad name; -ENOMEM. */
MESH_MUST_USE int registry_add_user(struct registry *r, const char *name, const struct reg_user **out);
size_t registry_n_users(const struct registry *r);
const struct reg_user *registry_user_at(const struct registry *r, size_t i);

/* ---- auth keys ---- */

struct reg_key_opts {
	int64_t user;
	char *const *tags;
	size_t n_tags;
	bool reusable, ephemeral;
	int64_t life_s; /* 0 = never expires */
};

/* Makes a key; 'text' gets "hskey-auth-" + 12 hex + "-" + 64 hex + "-" + 32 hex. Wipe it after use.
 * Returns 0; -ENOMEM; -ENOBUFS over 10,000 keys. */
MESH_MUST_USE int registry_add_key(struct registry *r, const struct reg_key_opts *opts,
				   char text[static REG_KEY_TEXT_MAX], const struct reg_key **out);
/* Returns 0 or -ENOENT. */
MESH_MUST_USE int registry_revoke_key(struct registry *r, int64_t id);
size_t registry_n_keys(const struct registry *r);
const struct reg_key *registry_key_at(const struct registry *r, size_t i);

/* ---- nodes ---- */

/* Lookups: null if there is none. Nodes are sorted by id in registry_node_at(). */
struct reg_node *registry_node(const struct registry *r, int64_t id);
struct reg_node *registry_node_by_key(const struct registry *r, const struct node_key *key);
struct reg_node *registry_node_by_name(const struct registry *r, const char *name);
size_t registry_n_nodes(const struct registry *r);
struct reg_node *registry_node_at(const struct registry *r, size_t i);

bool reg_node_expired(const struct reg_node *n, int64_t wall_s);
/* Announced and approved routes, exit routes included: at most REG_ROUTES_MAX written to 'out';
 * returns their number. */
size_t reg_node_routes(const struct reg_node *n, struct prefix out[static REG_ROUTES_MAX]);

/* What a register request asks for. */
struct reg_request {
	struct machine_key machine; /* of the Noise session */
	struct node_key key;
	const char *auth_key;       /* "" = none */
	const struct hostinfo *host;
	int64_t expiry_s;           /* wished; 0 = none */
	int32_t cap;
	const char *followup_id;    /* last path element of Followup; "" = none */
	bool own;                   /* from this machine's own node by the local road */
	bool logout;                /* Expiry in the past */
};

enum reg_verdict {
	REG_OK,          /* 'node' is the member */
	REG_KEY_EXPIRED, /* NodeKeyExpired: rotate and come again */
	REG_REFUSED,     /* 'why' is the text for the user */
	REG_PENDING,     /* 'pending' waits for approval */
	REG_FULL,        /* no address left or too many nodes; 'why' */
	REG_NOMEM,
};

struct reg_answer {
	enum reg_verdict verdict;
	struct reg_node *node;
	const struct reg_pending *pending;
	char why[160];
	bool created; /* a node that was not there before */
	bool changed; /* something that peers may see */
};

/* Decides a registration in the order of coordinator 3 and carries it out: creates, updates, expires
 * or deletes the node, consumes the auth key, all in one batch. */
void registry_register(struct registry *r, struct mono now, const struct reg_request *req,
		       struct reg_answer *out);

const struct reg_pending *registry_pending(const struct registry *r, const char *id);
size_t registry_n_pending(const struct registry *r);
const struct reg_pending *registry_pending_at(const struct registry *r, size_t i);
/* Approves a pending login for 'user'. Returns 0 ('*out' is the node); -ENOENT; -EPROTO if its node key
 * belongs to another machine meanwhile; -ENOSPC without an address; -ENOMEM. */
MESH_MUST_USE int registry_approve(struct registry *r, struct mono now, const char *id, int64_t user,
				   struct reg_node **out);

/* Administration. Each bumps the node's version and queues its row. */
MESH_MUST_USE int registry_rename(struct registry *r, struct reg_node *n, const char *name); /* -EINVAL, -EEXIST */
MESH_MUST_USE int registry_set_tags(struct registry *r, struct reg_node *n, char *const *tags, size_t n_tags);
MESH_MUST_USE int registry_set_routes(struct registry *r, struct reg_node *n, const struct prefix *routes,
				      size_t n_routes);
MESH_MUST_USE int registry_expire(struct registry *r, struct reg_node *n); /* -EPERM for the own node */
/* Frees the node and its addresses; the pointer is dead. */
MESH_MUST_USE int registry_delete(struct registry *r, struct reg_node *n);

/* What a map request told about the node. Null members are "not said". Returns whether something
 * changed that peers may see. Endpoints with loopback, multicast, unspecified, link-local or overlay
 * addresses are dropped. */
struct reg_update {
	const struct hostinfo *host;
	const struct ep *endpoints; /* with 'has_endpoints' */
	const uint8_t *endpoint_types;
	size_t n_endpoints;
	bool has_endpoints;
	const struct disco_key *disco;
	int32_t cap;          /* 0 = not said */
	uint32_t home_derp;   /* 0 = not said */
};
bool registry_update(struct registry *r, struct mono now, struct reg_node *n, const struct reg_update *u);
/* Approves one more announced route (autoApprovers). Returns 0 or -ENOMEM. */
MESH_MUST_USE int registry_approve_route(struct registry *r, struct reg_node *n, const struct prefix *route);

/* A map stream of the node began or ended. */
void registry_poll_begin(struct registry *r, struct mono now, struct reg_node *n);
void registry_poll_end(struct registry *r, struct mono now, struct reg_node *n);

/* Time: offline notices after 10 s, ephemeral deletion, pending logins, lazy rows. Returns whether
 * something changed that peers may see. */
bool registry_tick(struct registry *r, struct mono now);
struct mono registry_deadline(const struct registry *r);
/* The next node key that became a member's ('*member') or stopped being one (deleted, logged out, expired by hand,
 * rotated away), in the order of events. False: none. */
bool registry_take_event(struct registry *r, struct node_key *key, bool *member);
/* Is it the machine key of any node? */
bool registry_knows_machine(const struct registry *r, const struct machine_key *machine);
/* Changes with every change of any node. */
uint64_t registry_version(const struct registry *r);

/* Wall time in unix seconds, as keys and nodes expire by it. */
int64_t registry_wall_s(const struct registry *r);

/* Is 'text' our own form of an auth key? (docs, masking) */
bool registry_is_key_text(const char *text);

#endif
