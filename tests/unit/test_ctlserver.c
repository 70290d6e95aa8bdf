/* SPDX-License-Identifier: MIT */
/* The control server with its registry, policy and maps, as clients and the administrator see it. */
#include "coordtest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct ct *start(void)
{
	struct ct *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	ct_init(t, 7);
	return t;
}

static void stop(struct ct *t)
{
	ct_wipe(t);
	free(t);
}

static void done(cJSON *v)
{
	cJSON_Delete(v);
}

/* Was the register request granted? */
static bool is_member(const struct ct_client *c)
{
	return c->status == 200 && strstr(c->body, "\"MachineAuthorized\":true");
}

/* ---- joining ---- */

static void two_nodes_see_each_other(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "Alice's Laptop"), *b = ct_client(t, "Box.example.net");
	const struct map_node *p;
	char text[IP_TEXT_MAX];

	(void)state;
	ct_join(t, a, "alice@example.com", "");
	ct_join(t, b, "bob", "");
	p = ct_peer(a, "box");
	assert_non_null(p);
	assert_non_null(ct_peer(b, "alices-laptop"));
	assert_string_equal(ip_write(text, &a->self.addrs[0].ip), "100.64.0.1");
	assert_string_equal(ip_write(text, &p->addrs[0].ip), "100.64.0.2");
	assert_string_equal(ip_write(text, &p->addrs[1].ip), "fd7a:115c:a1e0::2");
	assert_string_equal(a->self.name, "alices-laptop.mesh.internal.");
	assert_true(p->online == TRI_TRUE);
	assert_int_equal(p->cap, 131); /* its own, not the viewer's */
	assert_true(disco_key_eq(&p->disco, &b->disco));
	assert_int_equal(a->derp.n_regions, 1);
	assert_int_equal(a->n_users, 2);
	assert_true(a->filter.n_rules > 0);
	stop(t);
}

static void auth_key_rules(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b"), *c = ct_client(t, "c");
	char key[REG_KEY_TEXT_MAX], again[REG_KEY_TEXT_MAX], *text;
	cJSON *v;

	(void)state;
	ct_key(t, "", key);
	assert_int_equal(strlen(key), 121);
	assert_string_equal(key + 89, "abababababababababababababababab"); /* the fingerprint */
	ct_register(t, a, key, "");
	assert_true(is_member(a));
	ct_register(t, b, key, "");
	assert_non_null(strstr(b->body, "auth key already used"));
	/* The same node may repeat it: containers do. */
	ct_register(t, a, key, "");
	assert_true(is_member(a));
	ct_register(t, b, "hskey-auth-000000000000-0000000000000000000000000000000000000000000000000000000000000000", "");
	assert_non_null(strstr(b->body, "invalid auth key"));
	key[40] ^= 1;
	ct_register(t, b, key, "");
	assert_non_null(strstr(b->body, "invalid auth key"));
	ct_key(t, "\"ExpirationS\":60", again);
	again[120] = '0'; /* another server's fingerprint */
	ct_register(t, b, again, "");
	assert_non_null(strstr(b->body, "invalid auth key"));

	ct_key(t, "\"Reusable\":true,\"ExpirationS\":60", again);
	ct_register(t, b, again, "");
	assert_true(is_member(b));
	ct_run(t, 61000);
	ct_register(t, c, again, "");
	assert_non_null(strstr(c->body, "auth key expired"));
	ct_key(t, "\"Reusable\":true", again);
	v = ct_admin(t, "keys.list", 200, "{}");
	assert_int_equal(cJSON_GetArraySize(test_get(v, "Keys")), 4);
	text = cJSON_PrintUnformatted(v);
	assert_null(strstr(text, again + 24)); /* never the secret */
	cJSON_free(text);
	done(v);
	done(ct_admin(t, "keys.revoke", 200, "{\"ID\":4}"));
	done(ct_admin(t, "keys.revoke", 404, "{\"ID\":9}"));
	ct_register(t, c, again, "");
	assert_non_null(strstr(c->body, "auth key revoked"));
	stop(t);
}

static void keys_are_bound_to_machines(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b");
	char key[REG_KEY_TEXT_MAX];

	(void)state;
	ct_join(t, a, "admin", "");
	b->key = a->key; /* another machine claims the node key */
	ct_register(t, b, "", "");
	assert_non_null(strstr(b->body, "node key already in use by another machine"));
	ct_key(t, "", key);
	ct_register(t, b, key, "");
	assert_non_null(strstr(b->body, "node key already in use by another machine"));
	(void)ct_map(t, b, true, false, "");
	assert_int_equal(b->status, 404);
	env_fill(&t->env.env, b->key.b, KEY_SIZE);
	ct_register(t, b, key, ""); /* the key was not spent */
	assert_true(is_member(b));
	stop(t);
}

static void old_clients_change_nothing(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a");
	char key[REG_KEY_TEXT_MAX], text[KEY_TEXT_MAX], body[600];
	struct ctlserver_req req = { .id = 77, .method = "POST", .path = "/machine/register", .version = 90 };

	(void)state;
	ct_key(t, "", key);
	key_write(text, KEY_NODE, a->key.b);
	(void)snprintf(body, sizeof(body), "{\"Version\":90,\"NodeKey\":\"%s\",\"Auth\":{\"AuthKey\":\"%s\"}}", text, key);
	req.body = (const uint8_t *)body;
	req.body_size = strlen(body);
	a->stream = 77;
	ctlserver_request(t->s, t->now, &req);
	ct_pump(t);
	assert_int_equal(a->status, 400);
	assert_non_null(strstr(a->body, "unsupported client version"));
	ct_register(t, a, key, "");
	assert_true(is_member(a));
	stop(t);
}

static void answers_wait_for_the_disk(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a");
	char key[REG_KEY_TEXT_MAX];
	uint64_t registering;

	(void)state;
	ct_key(t, "", key);
	t->disk_fails = true;
	ct_register(t, a, key, "");
	assert_int_equal(a->status, 0);
	/* One that polls without waiting for its answer learns no address either. */
	registering = a->stream;
	(void)ct_map(t, a, true, false, "");
	assert_int_equal(a->status, 503);
	a->status = 0;
	a->stream = registering;
	assert_int_equal(a->n_msgs, 0);
	ctlserver_persisted(t->s, t->now, t->failed_ticket);
	ct_pump(t);
	assert_int_equal(a->status, 200);
	t->disk_fails = false;
	(void)ct_map(t, a, true, false, "");
	assert_int_equal(a->n_msgs, 1);
	ct_hang_up(t, a);
	/* A disk that never answers is said so. */
	env_fill(&t->env.env, a->machine.b, KEY_SIZE);
	env_fill(&t->env.env, a->key.b, KEY_SIZE);
	t->disk_fails = false;
	ct_key(t, "", key);
	t->disk_fails = true;
	ct_register(t, a, key, "");
	ct_run(t, 11000);
	assert_int_equal(a->status, 503);
	stop(t);
}

static void interactive_login_is_approved(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a");
	char extra[200];
	cJSON *v;

	(void)state;
	ct_register(t, a, "", "");
	assert_non_null(strstr(a->body, "http://192.0.2.1:443/register/"));
	v = ct_admin(t, "nodes.list", 200, "{}");
	assert_int_equal(cJSON_GetArraySize(test_get(v, "Pending")), 1);
	(void)snprintf(extra, sizeof(extra), ",\"Followup\":\"http://192.0.2.1:443/register/%s\"",
		       test_str(cJSON_GetArrayItem(test_get(v, "Pending"), 0), "ID"));
	ct_register(t, a, "", extra);
	assert_int_equal(a->status, 0); /* waits */
	done(ct_admin(t, "nodes.approve", 200, "{\"ID\":\"%s\",\"User\":\"carol\"}",
		      test_str(cJSON_GetArrayItem(test_get(v, "Pending"), 0), "ID")));
	done(v);
	assert_int_equal(a->status, 200);
	assert_non_null(strstr(a->body, "\"MachineAuthorized\":true"));
	assert_non_null(strstr(a->body, "carol"));
	(void)ct_map(t, a, true, false, "");
	assert_int_equal(a->self.id, 1);
	stop(t);
}

static void own_node_needs_no_key(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "coordinator");

	(void)state;
	a->own = true;
	ct_register(t, a, "", "");
	assert_non_null(strstr(a->body, "\"MachineAuthorized\":true"));
	assert_non_null(strstr(a->body, "admin"));
	done(ct_admin(t, "nodes.expire", 409, "{\"Node\":\"coordinator\"}"));
	stop(t);
}

static void logout_and_login_again(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b");
	char key[REG_KEY_TEXT_MAX];
	struct ip ip;

	(void)state;
	ct_join(t, a, "admin", "");
	ct_join(t, b, "admin", "");
	ip = a->self.addrs[0].ip;
	ct_register(t, a, "", ",\"Expiry\":\"1970-01-01T00:02:03Z\"");
	assert_non_null(strstr(a->body, "\"NodeKeyExpired\":true"));
	assert_true(ct_peer(b, "a")->expired);
	assert_true(ct_peer(b, "a")->key_expiry_s > 1000000); /* never the client's 1970 */
	ct_register(t, a, "", "");
	assert_non_null(strstr(a->body, "\"NodeKeyExpired\":true"));
	env_fill(&t->env.env, a->key.b, KEY_SIZE);
	ct_key(t, "", key);
	ct_register(t, a, key, "");
	(void)ct_map(t, a, true, false, "");
	assert_true(ip_eq(&a->self.addrs[0].ip, &ip)); /* the same node with its address */
	assert_false(ct_peer(b, "a")->expired);
	assert_true(node_key_eq(&ct_peer(b, "a")->key, &a->key));
	stop(t);
}

/* ---- the stream ---- */

static void changes_are_patches(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b");
	size_t full;

	(void)state;
	ct_join(t, a, "admin", "");
	ct_join(t, b, "admin", "");
	full = a->n_full;
	(void)ct_map(t, b, false, true,
		     ",\"Endpoints\":[\"192.0.2.5:41641\",\"127.0.0.1:1\",\"100.64.0.9:1\",\"[fe80::1]:5\"],"
		     "\"EndpointTypes\":[2,1,1,1],\"Hostinfo\":{\"Hostname\":\"b\",\"OS\":\"linux\","
		     "\"NetInfo\":{\"PreferredDERP\":999}}");
	assert_int_equal(a->n_full, full);
	assert_int_equal(ct_peer(a, "b")->n_endpoints, 1);
	assert_int_equal(ct_peer(a, "b")->home_derp, 999);
	assert_true(a->last_size < 250);
	/* The same again is no message at all. */
	full = a->n_msgs;
	(void)ct_map(t, b, false, true, ",\"Endpoints\":[\"192.0.2.5:41641\"]");
	assert_int_equal(a->n_msgs, full);
	/* A new disco key at once. */
	env_fill(&t->env.env, b->disco.b, KEY_SIZE);
	(void)ct_map(t, b, false, true, "");
	assert_true(disco_key_eq(&ct_peer(a, "b")->disco, &b->disco));
	/* Endpoints that became empty can't be a patch. */
	(void)ct_map(t, b, false, true, ",\"Endpoints\":[]");
	assert_int_equal(ct_peer(a, "b")->n_endpoints, 0);
	stop(t);
}

/* A client that roams writes both at once: the poll with where it was. */
static void an_update_is_not_undone_by_a_poll_that_it_overtook(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b");

	(void)state;
	ct_join(t, a, "admin", "");
	ct_join(t, b, "admin", "");
	(void)ct_map(t, b, false, true, ",\"Endpoints\":[\"192.0.2.5:2\"]");
	(void)ct_map(t, b, true, false, ",\"Endpoints\":[\"192.0.2.5:1\"],\"Hostinfo\":{\"Hostname\":\"new\"}");
	assert_null(ct_peer(a, "b"));
	assert_int_equal(ct_peer(a, "new")->endpoints[0].port, 2);
	(void)ct_map(t, b, false, true, ",\"Hostinfo\":{\"Hostname\":\"b\"}");
	/* Another run of it says nothing old. */
	env_fill(&t->env.env, b->disco.b, KEY_SIZE);
	(void)ct_map(t, b, true, false, ",\"Endpoints\":[\"192.0.2.5:3\"]");
	assert_int_equal(ct_peer(a, "b")->endpoints[0].port, 3);
	assert_true(disco_key_eq(&ct_peer(a, "b")->disco, &b->disco));
	/* Nor does a poll that comes alone. */
	ct_run(t, 31000);
	(void)ct_map(t, b, true, false, ",\"Endpoints\":[\"192.0.2.5:4\"]");
	assert_int_equal(ct_peer(a, "b")->endpoints[0].port, 4);
	stop(t);
}

static void slow_reader_gets_one_merged_message(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b");
	size_t before;

	(void)state;
	ct_join(t, a, "admin", "");
	ct_join(t, b, "admin", "");
	a->drain = false;
	(void)ct_map(t, b, false, true, ",\"Endpoints\":[\"192.0.2.5:1\"]");
	before = a->n_msgs;
	for (int i = 2; i < 50; i++) {
		char eps[64];

		(void)snprintf(eps, sizeof(eps), ",\"Endpoints\":[\"192.0.2.5:%d\"]", i);
		(void)ct_map(t, b, false, true, eps);
	}
	assert_int_equal(a->n_msgs, before);
	a->drain = true;
	ctlserver_drained(t->s, t->now, a->stream);
	ct_pump(t);
	assert_int_equal(a->n_msgs, before + 1);
	assert_int_equal(ct_peer(a, "b")->endpoints[0].port, 49);
	stop(t);
}

static void presence_has_grace(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b");

	(void)state;
	ct_join(t, a, "admin", "");
	ct_join(t, b, "admin", "");
	ct_hang_up(t, b);
	ct_run(t, 8000);
	assert_true(ct_peer(a, "b")->online == TRI_TRUE);
	ct_run(t, 3000);
	assert_true(ct_peer(a, "b")->online == TRI_FALSE);
	(void)ct_map(t, b, true, false, "");
	assert_true(ct_peer(a, "b")->online == TRI_TRUE);
	/* A second poll replaces the first; its end does not take the node offline. */
	(void)ct_map(t, b, true, false, "");
	ct_run(t, 15000);
	assert_true(ct_peer(a, "b")->online == TRI_TRUE);
	assert_int_equal(ctlserver_n_streams(t->s), 2);
	stop(t);
}

static void keep_alives_come_within_a_minute(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a");
	size_t msgs;

	(void)state;
	ct_join(t, a, "admin", "");
	msgs = a->n_msgs;
	a->last_size = 0;
	ct_run(t, 49000);
	assert_int_equal(a->last_size, 0);
	ct_run(t, 11000);
	assert_int_equal(a->last_size, strlen("{\"KeepAlive\":true}"));
	assert_int_equal(a->n_msgs, msgs);
	stop(t);
}

static void ephemeral_nodes_go(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b");
	char key[REG_KEY_TEXT_MAX];

	(void)state;
	ct_join(t, a, "admin", "");
	ct_key(t, "\"Ephemeral\":true", key);
	ct_register(t, b, key, "");
	(void)ct_map(t, b, true, false, "");
	assert_non_null(ct_peer(a, "b"));
	ct_hang_up(t, b);
	ct_run(t, 119000);
	assert_non_null(ct_peer(a, "b"));
	ct_run(t, 2000);
	assert_null(ct_peer(a, "b"));
	assert_int_equal(t->n_kicks, 1);
	stop(t);
}

static void expiry_is_told_and_enforced(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b");

	(void)state;
	ct_join(t, a, "admin", "");
	ct_join(t, b, "admin", "");
	assert_true(ctlserver_is_member(t->s, &b->key));
	done(ct_admin(t, "nodes.expire", 200, "{\"Node\":\"b\"}"));
	ct_run(t, 100);
	assert_false(ctlserver_is_member(t->s, &b->key));
	assert_true(ct_peer(a, "b")->expired);
	assert_true(key_is_zero(ct_peer(a, "b")->disco.b));
	assert_false(b->self.machine_authorized);
	assert_true(t->n_kicks >= 1);
	stop(t);
}

static void keys_expire_by_themselves(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b");
	char key[REG_KEY_TEXT_MAX];
	size_t kicks;

	(void)state;
	ct_join(t, a, "admin", "");
	ct_key(t, "", key);
	ct_register(t, b, key, ",\"Expiry\":\"2026-01-02T03:10:00Z\""); /* six minutes from now */
	(void)ct_map(t, b, true, false, "");
	assert_int_equal(ct_peer(a, "b")->key_expiry_s, 1767323400);
	kicks = t->n_kicks;
	ct_run(t, 350000);
	assert_false(ct_peer(a, "b")->expired);
	assert_int_equal(t->n_kicks, kicks);
	ct_run(t, 7000);
	assert_true(ct_peer(a, "b")->expired);
	assert_int_equal(t->n_kicks, kicks + 1); /* DERP lets it go within seconds */
	assert_false(b->self.machine_authorized);
	ct_register(t, b, "", "");
	assert_non_null(strstr(b->body, "\"NodeKeyExpired\":true"));
	stop(t);
}

static void expired_nodes_stay_without_derp(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b"), *c = ct_client(t, "c");

	(void)state;
	ct_join(t, a, "admin", "");
	ct_join(t, b, "admin", "");
	ct_join(t, c, "admin", "");
	done(ct_admin(t, "nodes.expire", 200, "{\"Node\":\"b\"}"));
	ct_register(t, c, "", ",\"Expiry\":\"2020-01-01T00:00:00Z\""); /* logs out */
	for (int i = 0; i < 2; i++) {
		assert_true(ct_is_admitted(t, &a->key));
		assert_false(ct_is_admitted(t, &b->key));
		assert_false(ct_is_admitted(t, &c->key));
		ct_restart(t); /* their rows are loaded like others */
		ct_pump(t);
	}
	stop(t);
}

/* ---- strangers ---- */

/* What they leave behind while they wait is bounded. */
static void strangers_cannot_fill_memory(void **state)
{
	static char big[CTLSERVER_BODY_MAX + 2];
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *again = ct_client(t, "a"), *b = ct_client(t, "b");
	const struct ctlserver_req req = { .id = t->next_id++, .method = "POST", .path = "/machine/register",
					   .body = (const uint8_t *)big, .body_size = sizeof(big) - 1,
					   .machine = a->machine, .version = 131 };
	char extra[200], first[64];
	cJSON *v;

	(void)state;
	memset(big, ' ', sizeof(big) - 1);
	a->stream = req.id;
	ctlserver_request(t->s, t->now, &req);
	ct_pump(t);
	assert_int_equal(a->status, 413);
	/* A login has one follow-up that waits. */
	ct_register(t, a, "", "");
	again->machine = a->machine;
	again->key = a->key;
	v = ct_admin(t, "nodes.list", 200, "{}");
	(void)snprintf(first, sizeof(first), "%s", test_str(cJSON_GetArrayItem(test_get(v, "Pending"), 0), "ID"));
	done(v);
	(void)snprintf(extra, sizeof(extra), ",\"Followup\":\"http://192.0.2.1:443/register/%s\"", first);
	ct_register(t, a, "", extra);
	assert_int_equal(a->status, 0);
	ct_register(t, again, "", extra);
	assert_int_equal(again->status, 0);
	assert_int_equal(a->status, 200);
	assert_non_null(strstr(a->body, first));
	/* A machine that asks with one key after the other displaces its own logins only. */
	for (int i = 0; i < 2 * REG_PENDING_MACHINE_MAX; i++) {
		b->key.b[0]++;
		ct_register(t, b, "", "");
		assert_non_null(strstr(b->body, "/register/"));
	}
	v = ct_admin(t, "nodes.list", 200, "{}");
	assert_int_equal(cJSON_GetArraySize(test_get(v, "Pending")), 1 + REG_PENDING_MACHINE_MAX);
	assert_string_equal(test_str(cJSON_GetArrayItem(test_get(v, "Pending"), 0), "ID"), first);
	done(v);
	stop(t);
}

static void strangers_together_displace_the_oldest(void **state)
{
	struct ct *t = start();
	struct ct_client *b = ct_client(t, "b");
	const cJSON *list;
	cJSON *v;

	(void)state;
	for (unsigned i = 0; i <= REG_PENDING_MAX; i++) {
		b->machine.b[0] = (uint8_t)i;
		b->machine.b[1] = (uint8_t)(i >> 8);
		memcpy(b->key.b, b->machine.b, 2);
		ct_register(t, b, "", "");
		assert_non_null(strstr(b->body, "/register/"));
	}
	v = ct_admin(t, "nodes.list", 200, "{}");
	list = test_get(v, "Pending");
	assert_int_equal(cJSON_GetArraySize(list), REG_PENDING_MAX);
	/* The newest waits; it is the first that went. */
	assert_non_null(strstr(b->body, test_str(cJSON_GetArrayItem(list, REG_PENDING_MAX - 1), "ID")));
	done(v);
	stop(t);
}

/* What a node says of itself is cut: it is kept, and goes to all its peers. */
static void what_nodes_say_of_themselves_is_bounded(void **state)
{
	static char text[3200], long_text[300];
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b");
	size_t used;
	cJSON *v;

	(void)state;
	ct_join(t, a, "admin", "");
	ct_join(t, b, "admin", "");
	memset(long_text, 'x', sizeof(long_text) - 1);
	(void)snprintf(text, sizeof(text), ",\"Hostinfo\":{\"Hostname\":\"b\",\"OS\":\"%s\",\"IPNVersion\":\"%s\"}", long_text,
		       long_text);
	(void)ct_map(t, b, false, true, text);
	assert_string_equal(ct_peer(a, "b")->host.os, "");
	assert_string_equal(ct_peer(a, "b")->host.version, "");
	long_text[255] = 0;
	(void)snprintf(text, sizeof(text), ",\"Hostinfo\":{\"Hostname\":\"b\",\"OS\":\"%s\"}", long_text);
	(void)ct_map(t, b, false, true, text);
	assert_string_equal(ct_peer(a, "b")->host.os, long_text);
	/* Tags that a login asks for: they come with its name. */
	used = (size_t)snprintf(text, sizeof(text), "c\",\"RequestTags\":[\"tag:t\"");
	while (used < 3000)
		used += (size_t)snprintf(text + used, sizeof(text) - used, ",\"tag:t\"");
	(void)snprintf(text + used, sizeof(text) - used, "],\"Machine\":\"");
	env_fill(&t->env.env, b->machine.b, KEY_SIZE);
	env_fill(&t->env.env, b->key.b, KEY_SIZE);
	b->hostname = text;
	ct_register(t, b, "", "");
	v = ct_admin(t, "nodes.list", 200, "{}");
	assert_int_equal(cJSON_GetArraySize(test_get(cJSON_GetArrayItem(test_get(v, "Pending"), 0), "RequestTags")),
			 REG_TAGS_MAX);
	done(v);
	stop(t);
}

/* ---- administration ---- */

static void node_administration(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "laptop");
	cJSON *v;

	(void)state;
	ct_join(t, a, "admin", "");
	ct_join(t, b, "admin", "");
	v = ct_admin(t, "nodes.rename", 404, "{\"Node\":\"laptob\",\"Name\":\"x\"}");
	assert_non_null(strstr(test_str(v, "Error"), "laptop"));
	done(v);
	done(ct_admin(t, "nodes.rename", 409, "{\"Node\":\"laptop\",\"Name\":\"a\"}"));
	done(ct_admin(t, "nodes.rename", 400, "{\"Node\":\"laptop\",\"Name\":\"-x\"}"));
	done(ct_admin(t, "nodes.rename", 200, "{\"Node\":\"100.64.0.2\",\"Name\":\"desk\"}"));
	ct_pump(t);
	assert_non_null(ct_peer(a, "desk"));
	assert_string_equal(b->self.name, "desk.mesh.internal.");
	/* A rename by the administrator sticks. */
	(void)ct_map(t, b, false, true, ",\"Hostinfo\":{\"Hostname\":\"other\",\"OS\":\"linux\"}");
	assert_non_null(ct_peer(a, "desk"));
	v = ct_admin(t, "nodes.tag", 400, "{\"Node\":\"desk\",\"Tags\":[\"tag:x\"]}");
	assert_non_null(strstr(test_str(v, "Error"), "add to tagOwners: \"tag:x\": ["));
	done(v);
	/* A request that is refused has changed nothing. */
	done(ct_admin(t, "policy.set", 200, "{\"Policy\":\"{\\\"tagOwners\\\":{\\\"tag:x\\\":[]},\\\"grants\\\":"
		      "[{\\\"src\\\":[\\\"*\\\"],\\\"dst\\\":[\\\"*\\\"],\\\"ip\\\":[\\\"*\\\"]}]}\"}"));
	done(ct_admin(t, "nodes.tag", 200, "{\"Node\":\"desk\",\"Tags\":[\"tag:x\"]}"));
	done(ct_admin(t, "nodes.tag", 400, "{\"Node\":\"desk\",\"Tags\":[\"tag:x\",7]}"));
	ct_pump(t);
	assert_int_equal(ct_peer(a, "desk")->n_tags, 1);
	done(ct_admin(t, "nodes.delete", 200, "{\"Node\":\"desk\"}"));
	ct_pump(t);
	assert_int_equal(a->n_peers, 0);
	assert_true(b->ended);
	(void)ct_map(t, b, true, false, "");
	assert_int_equal(b->status, 404);
	/* Its address is free, its id is not used again. */
	env_fill(&t->env.env, b->key.b, KEY_SIZE);
	ct_join(t, b, "admin", "");
	assert_int_equal(b->self.id, 3);
	stop(t);
}

static void policy_reaches_nodes(void **state)
{
	static const char allow[] = "{\\\"acls\\\":[{\\\"action\\\":\\\"accept\\\",\\\"src\\\":[\\\"bob@\\\"],"
				    "\\\"dst\\\":[\\\"bob@:*\\\"]}]}";
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b"), *b2 = ct_client(t, "b2");
	cJSON *v;

	(void)state;
	ct_join(t, a, "alice", "");
	ct_join(t, b, "bob", "");
	ct_join(t, b2, "bob", "");
	assert_int_equal(a->n_peers, 2);
	v = ct_admin(t, "policy.check", 200, "{\"Policy\":\"%s\"}", allow);
	assert_int_equal(test_get(v, "LostPairs")->valueint, 2);
	done(v);
	assert_int_equal(a->n_peers, 2);
	done(ct_admin(t, "policy.set", 200, "{\"Policy\":\"%s\"}", allow));
	assert_int_equal(a->n_peers, 0);
	assert_int_equal(a->filter.n_rules, 0);
	assert_int_equal(b->n_peers, 1);
	/* A policy with an error, or with a test that fails, leaves the old one in force. */
	v = ct_admin(t, "policy.set", 400, "{\"Policy\":\"{\\n \\\"acls\\\": [{}]}\"}");
	assert_int_equal(test_get(cJSON_GetArrayItem(test_get(v, "Errors"), 0), "Line")->valueint, 2);
	done(v);
	done(ct_admin(t, "policy.set", 400,
		      "{\"Policy\":\"{\\\"acls\\\":[],\\\"tests\\\":[{\\\"src\\\":\\\"bob@\\\",\\\"accept\\\":"
		      "[\\\"100.64.0.1:22\\\"]}]}\"}"));
	v = ct_admin(t, "policy.get", 200, "{}");
	assert_int_equal(test_get(v, "Revision")->valueint, 2);
	done(v);
	assert_int_equal(b->n_peers, 1);
	stop(t);
}

/* 'src' holds 'cap' on the client by the filter that the client received. */
static bool holds(const struct ct_client *at, const struct ct_client *src, const char *cap)
{
	return filter_rules_have_cap(&at->filter, &src->self.addrs[0].ip, NULL, &at->self.addrs[0].ip, cap);
}

static void relay_works_at_once(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *r = ct_client(t, "relay");

	(void)state;
	ct_join(t, a, "alice", "");
	ct_join(t, r, "bob", "");
	assert_false(holds(a, r, "tailscale.com/cap/relay-target"));
	(void)ct_map(t, r, false, true, ",\"Hostinfo\":{\"Hostname\":\"relay\",\"OS\":\"linux\",\"PeerRelay\":true}");
	assert_true(holds(a, r, "tailscale.com/cap/relay-target"));
	assert_true(holds(r, a, "tailscale.com/cap/relay"));
	(void)ct_map(t, r, false, true, ",\"Hostinfo\":{\"Hostname\":\"relay\",\"OS\":\"linux\"}");
	assert_false(holds(a, r, "tailscale.com/cap/relay-target"));
	stop(t);
}

static bool allows(const struct map_node *n, const char *text)
{
	char buf[PREFIX_TEXT_MAX];

	for (size_t i = 0; n && i < n->n_allowed_ips; i++)
		if (strcmp(prefix_write(buf, &n->allowed_ips[i]), text) == 0)
			return true;
	return false;
}

static void routes_need_approval_and_one_primary(void **state)
{
	static const char routes[] = ",\"Hostinfo\":{\"Hostname\":\"%s\",\"OS\":\"linux\",\"RoutableIPs\":[\"10.33.0.0/16\"]}";
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *r1 = ct_client(t, "r1"), *r2 = ct_client(t, "r2");
	char extra[256];

	(void)state;
	done(ct_admin(t, "policy.set", 200, "{\"Policy\":\"{}\"}"));
	ct_join(t, a, "alice", "");
	ct_join(t, r1, "bob", "");
	ct_join(t, r2, "bob", "");
	(void)snprintf(extra, sizeof(extra), routes, "r1");
	(void)ct_map(t, r1, false, true, extra);
	(void)snprintf(extra, sizeof(extra), routes, "r2");
	(void)ct_map(t, r2, false, true, extra);
	assert_false(allows(ct_peer(a, "r1"), "10.33.0.0/16"));
	done(ct_admin(t, "nodes.routes", 400, "{\"Node\":\"r1\",\"Routes\":[\"10.33.0.1/16\"]}"));
	done(ct_admin(t, "nodes.routes", 200, "{\"Node\":\"r1\",\"Routes\":[\"10.33.0.0/16\"]}"));
	done(ct_admin(t, "nodes.routes", 200, "{\"Node\":\"r2\",\"Routes\":[\"10.33.0.0/16\"]}"));
	/* A request that is refused has changed nothing. */
	done(ct_admin(t, "nodes.routes", 400, "{\"Node\":\"r1\",\"Routes\":7}"));
	done(ct_admin(t, "nodes.routes", 400, "{\"Node\":\"r1\",\"Routes\":[\"10.44.0.0/16\",7]}"));
	assert_true(allows(ct_peer(a, "r1"), "10.33.0.0/16"));
	assert_false(allows(ct_peer(a, "r2"), "10.33.0.0/16"));
	ct_hang_up(t, r1);
	ct_run(t, 11000);
	assert_false(allows(ct_peer(a, "r1"), "10.33.0.0/16"));
	assert_true(allows(ct_peer(a, "r2"), "10.33.0.0/16"));
	/* The new primary stays when the old one returns. */
	(void)ct_map(t, r1, true, false, "");
	assert_true(allows(ct_peer(a, "r2"), "10.33.0.0/16"));
	stop(t);
}

static void restart_remembers(void **state)
{
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "a"), *b = ct_client(t, "b");
	char key[REG_KEY_TEXT_MAX];
	cJSON *v;

	(void)state;
	done(ct_admin(t, "policy.set", 200,
		      "{\"Policy\":\"{\\\"tagOwners\\\":{\\\"tag:srv\\\":[]},\\\"acls\\\":[{\\\"action\\\":\\\"accept\\\","
		      "\\\"src\\\":[\\\"*\\\"],\\\"dst\\\":[\\\"*:*\\\"]}]}\"}"));
	ct_join(t, a, "admin", "");
	ct_join(t, b, "admin", "\"tag:srv\"");
	ct_key(t, "", key);
	(void)ct_map(t, a, false, true, ",\"Endpoints\":[\"192.0.2.5:41641\"]");
	ct_run(t, 31000); /* what may be lost is on disk by now */
	ct_restart(t);
	(void)ct_map(t, b, true, false, "");
	assert_int_equal(b->self.id, 2);
	assert_string_equal(b->self.tags[0], "tag:srv");
	assert_non_null(ct_peer(b, "a"));
	assert_int_equal(ct_peer(b, "a")->n_endpoints, 1);
	assert_true(disco_key_eq(&ct_peer(b, "a")->disco, &a->disco));
	v = ct_admin(t, "policy.get", 200, "{}");
	assert_int_equal(test_get(v, "Revision")->valueint, 2);
	done(v);
	env_fill(&t->env.env, a->machine.b, KEY_SIZE);
	env_fill(&t->env.env, a->key.b, KEY_SIZE);
	ct_register(t, a, key, "");
	assert_true(is_member(a));
	stop(t);
}

static void address_pool_runs_out(void **state)
{
	struct registry_cfg cfg = { .pool4 = { ip4(100, 64, 0, 0), 30 } };
	struct test_env env;
	struct registry *r;
	struct reg_request q = { .own = false, .cap = 131 };
	struct reg_answer a;
	struct reg_node *n;

	(void)state;
	test_env_init(&env, 3);
	assert_int_equal(prefix_parse(&cfg.pool6, "fd7a:115c:a1e0::/48", 19, false), 0);
	r = registry_new(&cfg, &env.env);
	for (uint8_t i = 1; i <= 3; i++) {
		memset(q.machine.b, i, KEY_SIZE);
		memset(q.key.b, i, KEY_SIZE);
		registry_register(r, MONO_ZERO, &q, &a);
		assert_int_equal(a.verdict, REG_PENDING);
		/* .0 and .3 are never given. */
		assert_int_equal(registry_approve(r, MONO_ZERO, a.pending->id, 1, &n), i < 3 ? 0 : -ENOSPC);
	}
	assert_int_equal(registry_delete(r, registry_node(r, 1)), 0);
	assert_int_equal(registry_approve(r, MONO_ZERO, registry_pending_at(r, 0)->id, 1, &n), 0);
	registry_free(r);
}

static void host_names_become_labels(void **state)
{
	static const struct {
		const char *in, *out;
	} table[] = { { "Foo.local", "foo" }, { "", "node" }, { "--a--", "a" }, { "Bob's iPad (2)", "bobs-ipad-2" },
		      { "\xf0\x9f\x92\xac", "node" }, { "localhost", "node" }, { "a_b", "a-b" } };
	struct ct *t = start();
	struct ct_client *a = ct_client(t, "same"), *b = ct_client(t, "same");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct ct_client *c = ct_client(t, table[i].in);
		char want[80];

		ct_join(t, c, "admin", "");
		(void)snprintf(want, sizeof(want), "%s", table[i].out);
		assert_int_equal(strncmp(c->self.name, want, strlen(want)), 0);
	}
	ct_join(t, a, "admin", "");
	ct_join(t, b, "admin", "");
	assert_string_equal(b->self.name, "same-1.mesh.internal.");
	stop(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_nodes_see_each_other),
		cmocka_unit_test(auth_key_rules),
		cmocka_unit_test(keys_are_bound_to_machines),
		cmocka_unit_test(old_clients_change_nothing),
		cmocka_unit_test(answers_wait_for_the_disk),
		cmocka_unit_test(interactive_login_is_approved),
		cmocka_unit_test(own_node_needs_no_key),
		cmocka_unit_test(logout_and_login_again),
		cmocka_unit_test(changes_are_patches),
		cmocka_unit_test(an_update_is_not_undone_by_a_poll_that_it_overtook),
		cmocka_unit_test(slow_reader_gets_one_merged_message),
		cmocka_unit_test(presence_has_grace),
		cmocka_unit_test(keep_alives_come_within_a_minute),
		cmocka_unit_test(ephemeral_nodes_go),
		cmocka_unit_test(expiry_is_told_and_enforced),
		cmocka_unit_test(keys_expire_by_themselves),
		cmocka_unit_test(expired_nodes_stay_without_derp),
		cmocka_unit_test(strangers_cannot_fill_memory),
		cmocka_unit_test(strangers_together_displace_the_oldest),
		cmocka_unit_test(what_nodes_say_of_themselves_is_bounded),
		cmocka_unit_test(node_administration),
		cmocka_unit_test(policy_reaches_nodes),
		cmocka_unit_test(relay_works_at_once),
		cmocka_unit_test(routes_need_approval_and_one_primary),
		cmocka_unit_test(restart_remembers),
		cmocka_unit_test(address_pool_runs_out),
		cmocka_unit_test(host_names_become_labels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
