/* SPDX-License-Identifier: MIT */
#include "coordtest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/zstdframe.h"

static void new_server(struct ct *t)
{
	struct derp_node node = { .name = (char *)(uintptr_t) "999a", .host_name = (char *)(uintptr_t) "192.0.2.1",
				  .cert_name = (char *)(uintptr_t) "", .ipv4 = (char *)(uintptr_t) "192.0.2.1",
				  .ipv6 = (char *)(uintptr_t) "none", .stun_test_ip = (char *)(uintptr_t) "",
				  .stun_port = 3478, .derp_port = 443 };
	struct derp_region region = { .id = 999, .code = (char *)(uintptr_t) "mesh", .name = (char *)(uintptr_t) "Mesh",
				      .score = 1.0, .nodes = &node, .n_nodes = 1 };
	const struct derp_map derp = { &region, 1 };
	struct ctlserver_cfg cfg = { .url = "http://192.0.2.1:443", .domain = "mesh.internal", .derp = &derp };

	assert_int_equal(prefix_parse(&cfg.pool4, "100.64.0.0/10", 13, false), 0);
	assert_int_equal(prefix_parse(&cfg.pool6, "fd7a:115c:a1e0::/48", 19, false), 0);
	memset(cfg.fingerprint, 0xab, sizeof(cfg.fingerprint));
	t->s = ctlserver_new(&cfg, &t->env.env);
	assert_non_null(t->s);
	for (enum reg_table table = REG_USERS; table <= REG_SETTINGS; table++) {
		/* As the store does: users, keys, nodes, policies, settings. */
		enum reg_table now = table == REG_NODES ? REG_KEYS : table == REG_KEYS ? REG_NODES : table;

		for (size_t i = 0; i < t->n_rows; i++)
			if (t->rows[i].table == now)
				assert_int_equal(ctlserver_load(t->s, t->now, now, t->rows[i].id, t->rows[i].data), 0);
	}
	assert_int_equal(ctlserver_start(t->s, t->now), 0);
}

void ct_init(struct ct *t, uint64_t seed)
{
	memset(t, 0, sizeof(*t));
	test_env_init(&t->env, seed);
	t->now = mono_add_s(MONO_ZERO, 1000);
	t->next_id = 1;
	new_server(t);
	ct_pump(t);
}

static void forget_map(struct ct_client *c)
{
	for (size_t i = 0; i < c->n_peers; i++)
		map_node_wipe(&c->peers[i].node);
	c->n_peers = 0;
	map_node_wipe(&c->self);
	filter_rules_wipe(&c->filter);
	derp_map_wipe(&c->derp);
	memset(&c->self, 0, sizeof(c->self));
	memset(&c->filter, 0, sizeof(c->filter));
	memset(&c->derp, 0, sizeof(c->derp));
	c->n_users = 0;
}

void ct_wipe(struct ct *t)
{
	ctlserver_free(t->s);
	for (size_t i = 0; i < t->n; i++) {
		forget_map(&t->c[i]);
		free(t->c[i].body);
	}
	for (size_t i = 0; i < t->n_rows; i++)
		free(t->rows[i].data);
}

void ct_restart(struct ct *t)
{
	t->n_admitted = 0;
	ctlserver_free(t->s);
	for (size_t i = 0; i < t->n; i++) {
		t->c[i].stream = 0;
		forget_map(&t->c[i]);
	}
	new_server(t);
	ct_pump(t);
}

/* ---- the disk ---- */

static void store(struct ct *t, const struct reg_batch *b)
{
	for (size_t i = 0; i < b->n_rows; i++) {
		const struct reg_write *w = &b->rows[i];
		size_t k = 0;

		while (k < t->n_rows && (t->rows[k].table != w->table || t->rows[k].id != w->id))
			k++;
		if (k < t->n_rows) {
			free(t->rows[k].data);
			t->rows[k] = t->rows[--t->n_rows];
		}
		if (w->data) {
			assert_true(t->n_rows < CT_ROWS);
			t->rows[t->n_rows++] = (struct ct_row){ w->table, w->id, strdup(w->data) };
		}
	}
}

/* ---- clients ---- */

static struct ct_peer *find_peer(struct ct_client *c, int64_t id)
{
	for (size_t i = 0; i < c->n_peers; i++)
		if (c->peers[i].node.id == id)
			return &c->peers[i];
	return NULL;
}

static void take_node(struct ct_client *c, const struct map_node *n)
{
	struct ct_peer *p = find_peer(c, n->id);

	if (!p) {
		assert_true(c->n_peers < CT_PEERS);
		p = &c->peers[c->n_peers++];
		memset(p, 0, sizeof(*p));
	}
	map_node_wipe(&p->node);
	assert_int_equal(map_node_copy(&p->node, n), 0);
}

static void drop_peer(struct ct_client *c, int64_t id)
{
	struct ct_peer *p = find_peer(c, id);

	assert_non_null(p); /* never about a peer that it does not know */
	map_node_wipe(&p->node);
	*p = c->peers[--c->n_peers];
}

static void take_patch(struct ct_client *c, const struct ctl_patch *p)
{
	struct ct_peer *peer = find_peer(c, p->id);

	assert_non_null(peer);
	if (p->bits & CTL_PATCH_HOME_DERP)
		peer->node.home_derp = p->home_derp;
	if (p->bits & CTL_PATCH_CAP)
		peer->node.cap = p->cap;
	if (p->bits & CTL_PATCH_DISCO)
		peer->node.disco = p->disco;
	if (p->bits & CTL_PATCH_ONLINE)
		peer->node.online = p->online ? TRI_TRUE : TRI_FALSE;
	if (p->bits & CTL_PATCH_KEY_EXPIRY)
		peer->node.key_expiry_s = p->key_expiry_s;
	if (p->bits & CTL_PATCH_ENDPOINTS) {
		free(peer->node.endpoints);
		peer->node.endpoints = malloc(p->n_endpoints * sizeof(struct ep));
		memcpy(peer->node.endpoints, p->endpoints, p->n_endpoints * sizeof(struct ep));
		peer->node.n_endpoints = p->n_endpoints;
	}
}

static void take_message(struct ct_client *c, const char *text, size_t size)
{
	struct ctl_map_response m;
	struct ctl_why why = { { 0 } };

	if (ctl_map_response_parse(&m, text, size, &why) != 0)
		fail_msg("%s: %.*s", why.text, (int)size, text);
	c->last_size = size;
	c->n_msgs += !m.keep_alive;
	if (m.self) {
		map_node_wipe(&c->self);
		assert_int_equal(map_node_copy(&c->self, m.self), 0);
	}
	assert_true(c->self.id > 0 || m.keep_alive); /* the first message names the node */
	for (size_t i = 0; i < m.n_removed; i++)
		drop_peer(c, m.removed[i]);
	for (size_t i = 0; i < m.n_peers; i++)
		take_node(c, &m.peers[i]);
	for (size_t i = 0; i < m.n_changed; i++)
		take_node(c, &m.changed[i]);
	for (size_t i = 0; i < m.n_patches; i++)
		take_patch(c, &m.patches[i]);
	if (m.n_filters) {
		filter_rules_wipe(&c->filter);
		assert_int_equal(filter_rules_copy(&c->filter, &m.filters[0].rules), 0);
	}
	if (m.has_regions) {
		derp_map_wipe(&c->derp);
		assert_int_equal(derp_map_copy(&c->derp, &m.derp), 0);
	}
	c->n_full += m.n_changed + m.n_peers;
	c->n_patches += m.n_patches;
	c->n_removed += m.n_removed;
	c->n_users += m.n_users;
	ctl_map_response_wipe(&m);
}

static struct ct_client *by_stream(struct ct *t, uint64_t id)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->c[i].stream == id)
			return &t->c[i];
	return NULL;
}

static void take_chunk(struct ct *t, const struct ctlserver_out *o)
{
	struct ct_client *c = by_stream(t, o->id);
	struct bytes plain = { 0 };
	size_t size;

	assert_non_null(c);
	assert_true(o->size > 4);
	size = o->data[0] | (size_t)o->data[1] << 8 | (size_t)o->data[2] << 16 | (size_t)o->data[3] << 24;
	assert_int_equal(size, o->size - 4);
	if (zstdframe_is(o->data + 4, size)) {
		assert_int_equal(zstdframe_decode(&plain, o->data + 4, size, 1 << 24), 0);
		take_message(c, (const char *)bytes_data(&plain), bytes_size(&plain));
	} else {
		take_message(c, (const char *)o->data + 4, size);
	}
	bytes_wipe(&plain);
	if (c->drain)
		ctlserver_drained(t->s, t->now, o->id);
}

static void take_response(struct ct *t, const struct ctlserver_out *o)
{
	struct ct_client *c = by_stream(t, o->id);

	if (!c)
		return;
	c->status = o->status;
	free(c->body);
	c->body = calloc(1, o->size + 1);
	if (o->size)
		memcpy(c->body, o->data, o->size);
	c->stream = 0;
}

bool ct_is_admitted(const struct ct *t, const struct node_key *key)
{
	for (size_t i = 0; i < t->n_admitted; i++)
		if (node_key_eq(&t->admitted[i], key))
			return true;
	return false;
}

static void set_admitted(struct ct *t, const struct node_key *key, bool admitted)
{
	for (size_t i = 0; i < t->n_admitted; i++)
		if (node_key_eq(&t->admitted[i], key))
			t->admitted[i--] = t->admitted[--t->n_admitted];
	if (!admitted)
		return;
	assert_true(t->n_admitted < CT_CLIENTS);
	t->admitted[t->n_admitted++] = *key;
}

void ct_pump(struct ct *t)
{
	struct ctlserver_out o;

	while (ctlserver_poll(t->s, t->now, &o)) {
		struct ct_client *c;

		switch (o.kind) {
		case CTLSERVER_RESPOND:
			take_response(t, &o);
			break;
		case CTLSERVER_CHUNK:
			take_chunk(t, &o);
			break;
		case CTLSERVER_END:
			c = by_stream(t, o.id);
			if (c) {
				c->ended = true;
				c->stream = 0;
			}
			break;
		case CTLSERVER_BATCH:
			if (t->disk_fails) {
				t->failed_ticket = o.batch->ticket;
				break;
			}
			store(t, o.batch);
			ctlserver_persisted(t->s, t->now, o.batch->ticket);
			break;
		case CTLSERVER_ADMIT:
			t->n_admits++;
			set_admitted(t, &o.key, true);
			break;
		case CTLSERVER_KICK:
			t->n_kicks++;
			set_admitted(t, &o.key, false);
			break;
		}
	}
}

void ct_run(struct ct *t, int64_t ms)
{
	struct mono end = mono_add_ms(t->now, ms);

	while (mono_before(t->now, end)) {
		struct mono next = mono_min(mono_max(ctlserver_deadline(t->s), t->now), end);
		int64_t step = mono_since_ns(next, t->now);

		if (step < NS_PER_MS)
			step = NS_PER_MS; /* a deadline that does not move must not hang the test */
		t->now = mono_add_ns(t->now, step);
		t->env.wall_ns += step;
		ctlserver_tick(t->s, t->now);
		ct_pump(t);
	}
}

struct ct_client *ct_client(struct ct *t, const char *hostname)
{
	struct ct_client *c = &t->c[t->n++];

	assert_true(t->n <= CT_CLIENTS);
	env_fill(&t->env.env, c->machine.b, KEY_SIZE);
	env_fill(&t->env.env, c->key.b, KEY_SIZE);
	env_fill(&t->env.env, c->disco.b, KEY_SIZE);
	c->hostname = hostname;
	c->drain = true;
	return c;
}

static void request(struct ct *t, struct ct_client *c, const char *path, const char *body)
{
	const struct ctlserver_req req = { .id = t->next_id, .method = "POST", .path = path,
					   .body = (const uint8_t *)body, .body_size = strlen(body),
					   .machine = c->machine, .version = 131, .own = c->own };

	t->next_id++;
	ctlserver_request(t->s, t->now, &req);
}

void ct_register(struct ct *t, struct ct_client *c, const char *auth_key, const char *extra)
{
	char key[KEY_TEXT_MAX], body[4096];

	key_write(key, KEY_NODE, c->key.b);
	(void)snprintf(body, sizeof(body),
		       "{\"Version\":131,\"NodeKey\":\"%s\",\"Auth\":{\"AuthKey\":\"%s\"},"
		       "\"Hostinfo\":{\"Hostname\":\"%s\",\"OS\":\"linux\"}%s}",
		       key, auth_key, c->hostname, extra);
	c->status = 0;
	c->stream = t->next_id;
	request(t, c, "/machine/register", body);
	ct_pump(t);
}

uint64_t ct_map(struct ct *t, struct ct_client *c, bool stream, bool omit, const char *extra)
{
	char key[KEY_TEXT_MAX], disco[KEY_TEXT_MAX], body[4096];
	uint64_t id = t->next_id, old = c->stream;

	key_write(key, KEY_NODE, c->key.b);
	key_write(disco, KEY_DISCO, c->disco.b);
	(void)snprintf(body, sizeof(body),
		       "{\"Version\":131,\"NodeKey\":\"%s\",\"DiscoKey\":\"%s\",\"Stream\":%s,\"OmitPeers\":%s,"
		       "\"KeepAlive\":true,\"Compress\":\"%s\"%s}",
		       key, disco, stream ? "true" : "false", omit ? "true" : "false", c->own ? "" : "zstd", extra);
	c->status = 0;
	if (!omit) {
		forget_map(c);
		c->stream = id;
		c->ended = false;
	}
	if (stream && old) {
		/* The old poll's END must not be taken for the new one's. */
		c->stream = id;
	}
	request(t, c, "/machine/map", body);
	ct_pump(t);
	return id;
}

void ct_hang_up(struct ct *t, struct ct_client *c)
{
	ctlserver_request_closed(t->s, t->now, c->stream);
	c->stream = 0;
	ct_pump(t);
}

cJSON *ct_admin(struct ct *t, const char *verb, unsigned status, const char *fmt, ...)
{
	struct bytes out = { 0 };
	char body[8192];
	uint64_t ticket;
	unsigned got;
	va_list ap;
	cJSON *v;

	va_start(ap, fmt);
	(void)vsnprintf(body, sizeof(body), fmt, ap);
	va_end(ap);
	got = admin_call(t->s, t->now, verb, body, strlen(body), &out, &ticket);
	v = cJSON_ParseWithLength((const char *)bytes_data(&out), bytes_size(&out));
	if (got != status || !v)
		fail_msg("%s %s: %u %.*s", verb, body, got, (int)bytes_size(&out), (const char *)bytes_data(&out));
	bytes_wipe(&out);
	ct_pump(t);
	return v;
}

void ct_key(struct ct *t, const char *members, char *text)
{
	cJSON *v = ct_admin(t, "keys.create", 200, "{%s}", members);

	(void)snprintf(text, REG_KEY_TEXT_MAX, "%s", test_str(v, "Key"));
	cJSON_Delete(v);
}

void ct_join(struct ct *t, struct ct_client *c, const char *user, const char *tags)
{
	char members[256], key[REG_KEY_TEXT_MAX];

	(void)snprintf(members, sizeof(members), "\"User\":\"%s\",\"Tags\":[%s]", user, tags);
	ct_key(t, members, key);
	ct_register(t, c, key, "");
	if (c->status != 200 || !strstr(c->body, "\"MachineAuthorized\":true"))
		fail_msg("%s: %u %s", c->hostname, c->status, c->body ? c->body : "");
	(void)ct_map(t, c, true, false, "");
	assert_true(c->self.id > 0);
}

const struct map_node *ct_peer(const struct ct_client *c, const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < c->n_peers; i++)
		if (strncmp(c->peers[i].node.name, name, len) == 0 && c->peers[i].node.name[len] == '.')
			return &c->peers[i].node;
	return NULL;
}
