/* SPDX-License-Identifier: MIT */
/* A control server without transport and clients that keep what they are told: what the tests of coord/ share. */
#ifndef TESTS_UNIT_COORDTEST_H
#define TESTS_UNIT_COORDTEST_H

#include "testing.h"

#include "coord/admin.h"
#include "coord/ctlserver.h"
#include "wire/ctljson.h"

enum { CT_CLIENTS = 32, CT_PEERS = 64, CT_ROWS = 512 };

/* What a client knows of a peer. */
struct ct_peer {
	struct map_node node;
};

struct ct_client {
	struct machine_key machine;
	struct node_key key;
	struct disco_key disco;
	const char *hostname;
	bool own;
	/* The last register answer. */
	unsigned status;
	char *body;
	/* The poll. */
	uint64_t stream;
	bool ended;
	struct map_node self;
	struct ct_peer peers[CT_PEERS];
	size_t n_peers;
	struct filter_rules filter;
	struct derp_map derp;
	size_t n_users, n_msgs, n_full, n_patches, n_removed;
	size_t last_size;   /* bytes of the last message */
	bool drain;         /* take messages at once */
};

struct ct_row {
	enum reg_table table;
	int64_t id;
	char *data;
};

struct ct {
	struct test_env env;
	struct mono now;
	struct ctlserver *s;
	struct ct_client c[CT_CLIENTS];
	size_t n;
	struct ct_row rows[CT_ROWS]; /* the disk */
	size_t n_rows;
	bool disk_fails;
	uint64_t failed_ticket;
	size_t n_kicks, n_admits;
	struct node_key admitted[CT_CLIENTS]; /* who may use DERP now */
	size_t n_admitted;
	uint64_t next_id;
};

void ct_init(struct ct *t, uint64_t seed);
void ct_wipe(struct ct *t);
/* Stops the server and starts another one from the disk. */
void ct_restart(struct ct *t);
/* Takes all outputs. */
void ct_pump(struct ct *t);
/* Advances time in steps, ticking. */
void ct_run(struct ct *t, int64_t ms);

struct ct_client *ct_client(struct ct *t, const char *hostname);
/* A register request; 'extra' are further JSON members (", ..."). The answer is in c->status and c->body. */
void ct_register(struct ct *t, struct ct_client *c, const char *auth_key, const char *extra);
/* A map request with the given flags and further members. Returns its id. */
uint64_t ct_map(struct ct *t, struct ct_client *c, bool stream, bool omit, const char *extra);
/* Joins with a fresh single-use key of 'user' (or with tags) and opens the poll. */
void ct_join(struct ct *t, struct ct_client *c, const char *user, const char *tags);
/* May it use DERP? */
bool ct_is_admitted(const struct ct *t, const struct node_key *key);
void ct_hang_up(struct ct *t, struct ct_client *c);

/* An administration call that must answer 'status'; returns its JSON (cJSON_Delete it). */
cJSON *ct_admin(struct ct *t, const char *verb, unsigned status, const char *fmt, ...) MESH_PRINTF(4, 5);
/* A fresh key in 'text' (REG_KEY_TEXT_MAX bytes); 'members' as for keys.create. */
void ct_key(struct ct *t, const char *members, char *text);

const struct map_node *ct_peer(const struct ct_client *c, const char *name);

#endif
