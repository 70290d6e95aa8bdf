/* SPDX-License-Identifier: MIT */
/* The coordinator as a machine: the input is a sequence of events (register, poll, hang up, lite update, key
 * rotation, administration, policies, time, slow readers, restart from the database) by a few clients. After each
 * event every client that reads has, by the deltas it received, exactly the map that a fresh poll would give. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/netmap.h"
#include "coord/admin.h"
#include "coord/ctlserver.h"
#include "tests/unit/testing.h"
#include "wire/ctljson.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLIENTS = 5, ROWS = 256, EVENTS_MAX = 400 };

struct client {
	struct machine_key machine;
	struct node_key key;
	struct disco_key disco;
	uint64_t stream;      /* open poll; 0 = none */
	bool is_slow;         /* does not read: the last message stays in flight */
	bool in_flight;
	struct netmap *map;
	uint64_t once;        /* a fresh fetch under way, for comparison */
	struct netmap *fresh;
};

struct row {
	enum reg_table table;
	int64_t id;
	char *data;
};

struct world {
	struct test_env env;
	struct mono now;
	struct ctlserver *s;
	struct client c[CLIENTS];
	struct row rows[ROWS]; /* the database */
	size_t n_rows;
	uint64_t next_id;
	char keys[3][REG_KEY_TEXT_MAX];
};

static const char *const policies[] = {
	"",
	"{\"tagOwners\":{\"tag:srv\":[]},\"acls\":[{\"action\":\"accept\",\"src\":[\"autogroup:member\"],\"dst\":[\"tag:srv:22\"]}]}",
	("{\"tagOwners\":{\"tag:srv\":[]},\"grants\":[{\"src\":[\"autogroup:member\"],\"dst\":[\"autogroup:self\"],\"ip\":[\"*\"]},"
	 "{\"src\":[\"*\"],\"dst\":[\"*\"],\"app\":{\"tailscale.com/cap/relay\":[]}}],"
	 "\"nodeAttrs\":[{\"target\":[\"tag:srv\"],\"attr\":[\"x\"]}]}"),
	("{\"tagOwners\":{\"tag:srv\":[]},\"acls\":[{\"action\":\"accept\",\"src\":[\"*\"],\"dst\":[\"10.0.0.0/8:*\",\"bob@:1\"]}],"
	 "\"autoApprovers\":{\"routes\":{\"10.0.0.0/8\":[\"bob@\"]}},\"ssh\":[]}"),
	"{\"acls\":[]}",
};

static void check(bool ok, const char *what)
{
	if (!ok) {
		(void)fprintf(stderr, "broken: %s\n", what);
		abort();
	}
}

static void pump(struct world *w);

/* ---- server ---- */

static void start_server(struct world *w)
{
	static const enum reg_table order[] = { REG_USERS, REG_KEYS, REG_NODES, REG_POLICIES, REG_SETTINGS };
	struct derp_map derp = { 0 };
	struct ctlserver_cfg cfg = { .url = "http://192.0.2.1:443", .domain = "mesh.internal", .derp = &derp };

	cfg.pool4 = (struct prefix){ ip4(100, 64, 0, 0), 10 };
	cfg.pool6 = (struct prefix){ { .family = IP_V6, .b = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0 } }, 48 };
	w->s = ctlserver_new(&cfg, &w->env.env);
	check(w->s != NULL, "memory");
	for (size_t k = 0; k < ARRAY_LEN(order); k++)
		for (size_t i = 0; i < w->n_rows; i++)
			if (w->rows[i].table == order[k])
				check(ctlserver_load(w->s, w->now, order[k], w->rows[i].id, w->rows[i].data) == 0,
				      w->rows[i].data);
	check(ctlserver_start(w->s, w->now) == 0, "start");
	pump(w);
}

static void store(struct world *w, const struct reg_batch *b)
{
	for (size_t i = 0; i < b->n_rows; i++) {
		const struct reg_write *r = &b->rows[i];
		size_t k = 0;

		while (k < w->n_rows && (w->rows[k].table != r->table || w->rows[k].id != r->id))
			k++;
		if (k < w->n_rows) {
			free(w->rows[k].data);
			w->rows[k] = w->rows[--w->n_rows];
		}
		if (r->data) {
			check(w->n_rows < ROWS, "rows");
			w->rows[w->n_rows++] = (struct row){ r->table, r->id, strdup(r->data) };
		}
	}
	ctlserver_persisted(w->s, w->now, b->ticket);
}

/* ---- clients ---- */

static void close_poll(struct client *c)
{
	c->stream = 0;
	c->in_flight = false;
	netmap_put(c->map);
	c->map = NULL;
}

static void take(struct world *w, struct netmap **map, const uint8_t *data, size_t size)
{
	struct netmap_change change = { 0 };
	struct ctl_map_response m;
	struct netmap *next = NULL;
	struct ctl_why why;

	check(size > 4 && ctl_map_response_parse(&m, (const char *)data + 4, size - 4, &why) == 0, "a message parses");
	if (!m.keep_alive) {
		check(netmap_apply(*map, &m, *map ? NETMAP_DELTA : NETMAP_FULL, w->env.wall_ns / NS_PER_S, &next,
				   &change) == 0, "a message applies");
		netmap_change_wipe(&change);
		netmap_put(*map);
		*map = next;
	}
	ctl_map_response_wipe(&m);
}

static void take_chunk(struct world *w, const struct ctlserver_out *o)
{
	for (size_t i = 0; i < CLIENTS; i++) {
		struct client *c = &w->c[i];

		if (c->stream == o->id) {
			check(!c->in_flight, "one message in flight");
			take(w, &c->map, o->data, o->size);
			c->in_flight = c->is_slow;
			if (!c->is_slow)
				ctlserver_drained(w->s, w->now, o->id);
		} else if (c->once == o->id) {
			take(w, &c->fresh, o->data, o->size);
		}
	}
}

static void pump(struct world *w)
{
	struct ctlserver_out o;

	while (ctlserver_poll(w->s, w->now, &o)) {
		if (o.kind == CTLSERVER_BATCH)
			store(w, o.batch);
		if (o.kind == CTLSERVER_CHUNK)
			take_chunk(w, &o);
		for (size_t i = 0; (o.kind == CTLSERVER_END || o.kind == CTLSERVER_RESPOND) && i < CLIENTS; i++)
			if (w->c[i].stream && w->c[i].stream == o.id)
				close_poll(&w->c[i]);
	}
}

static void send_request(struct world *w, const struct client *c, const char *path, const char *body, uint64_t id)
{
	const struct ctlserver_req req = { .id = id, .method = "POST", .path = path, .body = (const uint8_t *)body,
					   .body_size = strlen(body), .machine = c->machine, .version = 131 };

	ctlserver_request(w->s, w->now, &req);
}

static void do_register(struct world *w, struct client *c, uint8_t arg)
{
	char key[KEY_TEXT_MAX], body[800];

	if (arg & 8)
		env_fill(&w->env.env, c->key.b, KEY_SIZE); /* rotation */
	key_write(key, KEY_NODE, c->key.b);
	(void)snprintf(body, sizeof(body), "{\"Version\":131,\"NodeKey\":\"%s\",\"Auth\":{\"AuthKey\":\"%s\"},"
					   "\"Hostinfo\":{\"Hostname\":\"h%u\"}%s}", key, w->keys[arg % 3], arg & 1,
		       arg & 4 ? ",\"Expiry\":\"1970-01-01T00:02:03Z\"" : "");
	send_request(w, c, "/machine/register", body, w->next_id++);
}

static void do_map(struct world *w, struct client *c, bool stream, bool omit, uint8_t arg, uint64_t id)
{
	static const char *const hosts[] = {
		"", ",\"Hostinfo\":{\"Hostname\":\"x\",\"PeerRelay\":true}",
		",\"Hostinfo\":{\"Hostname\":\"y\",\"RoutableIPs\":[\"10.0.0.0/8\"],\"NetInfo\":{\"PreferredDERP\":5}}",
		",\"Hostinfo\":{\"Hostname\":\"x\",\"RoutableIPs\":[\"0.0.0.0/0\",\"::/0\"]}",
	};
	static const char *const eps[] = { "", ",\"Endpoints\":[]", ",\"Endpoints\":[\"192.0.2.1:5\"]",
					   ",\"Endpoints\":[\"192.0.2.1:5\",\"[2001:db8::1]:6\"]" };
	char key[KEY_TEXT_MAX], disco[KEY_TEXT_MAX], body[900];

	if (arg & 0x80)
		env_fill(&w->env.env, c->disco.b, KEY_SIZE);
	key_write(key, KEY_NODE, c->key.b);
	key_write(disco, KEY_DISCO, c->disco.b);
	(void)snprintf(body, sizeof(body), "{\"Version\":%d,\"NodeKey\":\"%s\",\"DiscoKey\":\"%s\",\"Stream\":%s,"
					   "\"OmitPeers\":%s%s%s}", arg & 0x40 ? 132 : 131, key, disco,
		       stream ? "true" : "false", omit ? "true" : "false", hosts[arg % 4], eps[arg / 4 % 4]);
	send_request(w, c, "/machine/map", body, id);
}

static void open_poll(struct world *w, struct client *c, uint8_t arg)
{
	uint64_t id = w->next_id++;

	close_poll(c);
	c->stream = id;
	do_map(w, c, true, false, arg, id);
	pump(w);
}

/* ---- administration ---- */

static void admin(struct world *w, const char *verb, const char *body)
{
	struct bytes out = { 0 };
	uint64_t ticket;
	unsigned status = admin_call(w->s, w->now, verb, body, strlen(body), &out, &ticket);

	check(status == 200 || status == 400 || status == 404 || status == 409, verb);
	bytes_wipe(&out);
}

static void set_policy(struct world *w, const char *text)
{
	struct policy_errs errs;
	size_t lost;

	check(ctlserver_set_policy(w->s, w->now, text, strlen(text), false, &errs, &lost) == 0, "policy");
}

static void make_keys(struct world *w)
{
	char *tags[] = { (char *)(uintptr_t) "tag:srv" };

	for (size_t i = 0; i < 3; i++) {
		struct reg_key_opts o = { .reusable = true, .ephemeral = i == 1, .tags = tags, .n_tags = i == 2 };
		const struct reg_user *u;
		const struct reg_key *k;

		check(registry_add_user(ctlserver_registry(w->s), i ? "bob" : "alice", &u) == 0, "user");
		o.user = u->id;
		check(registry_add_key(ctlserver_registry(w->s), &o, w->keys[i], &k) == 0, "key");
	}
	pump(w);
}

static void administer(struct world *w, uint8_t node, uint8_t what)
{
	static const char *const verbs[] = { "nodes.expire", "nodes.delete", "nodes.rename", "nodes.tag", "nodes.routes" };
	char body[200];

	(void)snprintf(body, sizeof(body),
		       "{\"Node\":\"%u\",\"Name\":\"n%u\",\"Tags\":[\"tag:srv\"],\"Routes\":[\"10.0.0.0/8\",\"0.0.0.0/0\",\"::/0\"]}",
		       1 + node % 12, what % 7);
	admin(w, verbs[what % ARRAY_LEN(verbs)], body);
}

/* ---- the invariant ---- */

static bool same_peer(const struct map_node *a, const struct map_node *b)
{
	struct map_node x = *a, y = *b; /* borrow */

	/* A node that came back online keeps its LastSeen in a client: nobody looks at it then. */
	x.last_seen_s = y.last_seen_s = 0;
	return map_node_eq(&x, &y);
}

static bool same_self(const struct map_node *a, const struct map_node *b)
{
	bool same = strcmp(a->name, b->name) == 0 && a->n_allowed_ips == b->n_allowed_ips && a->n_caps == b->n_caps &&
		    a->expired == b->expired && a->key_expiry_s == b->key_expiry_s &&
		    a->machine_authorized == b->machine_authorized && a->user == b->user && node_key_eq(&a->key, &b->key);

	for (size_t i = 0; same && i < a->n_allowed_ips; i++)
		same = prefix_eq(&a->allowed_ips[i], &b->allowed_ips[i]);
	return same;
}

static char *filter_text(const struct netmap *m)
{
	struct json_w w = { 0 };
	char *text;

	ctl_filter_rules_write(&w, NULL, netmap_filter(m));
	text = json_w_take(&w, NULL);
	check(text != NULL, "memory");
	return text;
}

static void compare(struct client *c)
{
	size_t i = 0, k = 0;
	const struct map_node *a, *b;
	char *fa, *fb;

	check(c->fresh != NULL, "a fresh fetch is answered");
	do {
		a = netmap_next(c->map, &i);
		b = netmap_next(c->fresh, &k);
		check(!a == !b, "the same number of peers");
		check(!a || same_peer(a, b), "the same peers");
		check(!a || netmap_user(c->map, a->user), "every owner was introduced");
	} while (a);
	check(same_self(netmap_self(c->map), netmap_self(c->fresh)), "the same self");
	fa = filter_text(c->map);
	fb = filter_text(c->fresh);
	check(strcmp(fa, fb) == 0, "the same filter");
	free(fa);
	free(fb);
	netmap_put(c->fresh);
	c->fresh = NULL;
	c->once = 0;
}

static void check_clients(struct world *w)
{
	for (size_t i = 0; i < CLIENTS; i++) {
		struct client *c = &w->c[i];

		if (!c->stream || c->in_flight || !c->map)
			continue;
		c->once = w->next_id++;
		/* As the node that the poll belongs to: its key may have been rotated since. */
		if (!node_key_eq(&netmap_self(c->map)->key, &c->key)) {
			c->once = 0;
			continue;
		}
		/* Says nothing about itself, so it changes nothing. */
		do_map(w, c, false, false, 0, c->once);
		pump(w);
		compare(c);
	}
}

/* ---- events ---- */

static void restart(struct world *w)
{
	ctlserver_free(w->s);
	for (size_t i = 0; i < CLIENTS; i++)
		close_poll(&w->c[i]);
	start_server(w);
}

static void pass_time(struct world *w, uint8_t arg)
{
	static const int64_t steps_ms[] = { 1, 900, 11000, 55000, 130000, 1000000 };
	int64_t ms = steps_ms[arg % ARRAY_LEN(steps_ms)];

	w->now = mono_add_ms(w->now, ms);
	w->env.wall_ns += ms * NS_PER_MS;
	ctlserver_tick(w->s, w->now);
}

static void event(struct world *w, uint8_t op, uint8_t arg)
{
	struct client *c = &w->c[op / 16 % CLIENTS];

	switch (op % 16) {
	case 0:
	case 1:
		do_register(w, c, arg);
		break;
	case 2:
	case 3:
		open_poll(w, c, arg);
		break;
	case 4:
		if (c->stream)
			ctlserver_request_closed(w->s, w->now, c->stream);
		close_poll(c);
		break;
	case 5:
	case 6:
	case 7:
		do_map(w, c, false, true, arg, w->next_id++);
		break;
	case 8:
		c->is_slow = arg & 1;
		if (!c->is_slow && c->in_flight) {
			c->in_flight = false;
			ctlserver_drained(w->s, w->now, c->stream);
		}
		break;
	case 9:
	case 10:
		administer(w, arg / 8, arg);
		break;
	case 11:
		set_policy(w, policies[arg % ARRAY_LEN(policies)]);
		break;
	case 12:
		ctlserver_preferred(w->s, w->now, &c->key, 1 + arg % 3);
		break;
	case 13:
		if (arg > 200)
			restart(w);
		break;
	default:
		pass_time(w, arg);
		break;
	}
	pump(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	test_env_init(&w->env, 11);
	w->now = mono_add_s(MONO_ZERO, 10);
	w->next_id = 1;
	start_server(w);
	make_keys(w);
	for (size_t i = 0; i < CLIENTS; i++) {
		env_fill(&w->env.env, w->c[i].machine.b, KEY_SIZE);
		env_fill(&w->env.env, w->c[i].key.b, KEY_SIZE);
		env_fill(&w->env.env, w->c[i].disco.b, KEY_SIZE);
	}
	for (size_t i = 0; i + 1 < size && i < 2 * EVENTS_MAX; i += 2) {
		event(w, data[i], data[i + 1]);
		check_clients(w);
	}
	ctlserver_free(w->s);
	for (size_t i = 0; i < CLIENTS; i++)
		close_poll(&w->c[i]);
	for (size_t i = 0; i < w->n_rows; i++)
		free(w->rows[i].data);
	free(w);
	return 0;
}
