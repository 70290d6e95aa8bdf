/* SPDX-License-Identifier: MIT */
/* Administration verbs: a table of names and functions, each from a JSON object to a JSON object. */
#include "coord/admin.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/log.h"
#include "base/near.h"
#include "wire/json.h"

/* One call. */
struct call {
	struct ctlserver *s;
	struct registry *reg;
	struct mono now;
	const cJSON *body;
	struct json_in in;
	struct json_w *w;   /* the answer's object is open */
	unsigned status;    /* 0 = fine so far */
	char why[POLICY_MSG_MAX];
};

MESH_PRINTF(3, 4) static void fail(struct call *c, unsigned status, const char *fmt, ...)
{
	va_list ap;

	if (c->status)
		return;
	c->status = status;
	va_start(ap, fmt);
	(void)vsnprintf(c->why, sizeof(c->why), fmt, ap);
	va_end(ap);
}

static int64_t wall_s(const struct call *c)
{
	/* Through the registry's own idea of time: keys and nodes compare with it. */
	return registry_wall_s(c->reg);
}

/* ---- nodes ---- */

static void write_node(struct call *c, const char *key, const struct reg_node *n)
{
	const struct reg_user *u = registry_user_by_id(c->reg, n->user);
	char text[PREFIX_TEXT_MAX];
	struct json_w *w = c->w;

	json_w_obj(w, key);
	json_w_i64(w, "ID", n->id);
	json_w_str(w, "Name", n->name);
	json_w_arr(w, "Addresses");
	json_w_str(w, NULL, ip_write(text, &n->ip4));
	json_w_str(w, NULL, ip_write(text, &n->ip6));
	json_w_end(w);
	json_w_str(w, "User", u ? u->name : "");
	json_w_strs(w, "Tags", n->tags, n->n_tags);
	json_w_bool(w, "Online", n->online);
	if (n->last_seen_s)
		json_w_time(w, "LastSeen", n->last_seen_s);
	if (n->expiry_s)
		json_w_time(w, "Expires", n->expiry_s);
	json_w_bool(w, "Expired", reg_node_expired(n, wall_s(c)));
	json_w_bool(w, "Ephemeral", n->ephemeral);
	json_w_bool(w, "Own", n->own);
	json_w_str(w, "Hostname", n->host.hostname);
	json_w_str(w, "OS", n->host.os);
	json_w_str(w, "Version", n->host.version);
	json_w_i64(w, "Cap", n->cap);
	json_w_bool(w, "PeerRelay", n->host.peer_relay);
	json_w_i64(w, "HomeDERP", n->home_derp);
	json_w_time(w, "Created", n->created_s);
	json_w_key(w, "NodeKey", KEY_NODE, n->key.b);
	json_w_arr(w, "AnnouncedRoutes");
	for (size_t i = 0; i < n->host.n_routable_ips; i++)
		json_w_str(w, NULL, prefix_write(text, &n->host.routable_ips[i]));
	json_w_end(w);
	json_w_arr(w, "ApprovedRoutes");
	for (size_t i = 0; i < n->n_approved; i++)
		json_w_str(w, NULL, prefix_write(text, &n->approved[i]));
	json_w_end(w);
	json_w_end(w);
}

static void nodes_list(struct call *c)
{
	char key[KEY_SHORT_MAX];

	json_w_arr(c->w, "Nodes");
	for (size_t i = 0; i < registry_n_nodes(c->reg); i++)
		write_node(c, NULL, registry_node_at(c->reg, i));
	json_w_end(c->w);
	json_w_arr(c->w, "Pending");
	for (size_t i = 0; i < registry_n_pending(c->reg); i++) {
		const struct reg_pending *p = registry_pending_at(c->reg, i);

		json_w_obj(c->w, NULL);
		json_w_str(c->w, "ID", p->id);
		json_w_str(c->w, "Hostname", p->host.hostname ? p->host.hostname : "");
		json_w_str(c->w, "OS", p->host.os ? p->host.os : "");
		key_short(key, KEY_MACHINE, p->machine.b);
		json_w_str(c->w, "Machine", key);
		json_w_strs(c->w, "RequestTags", p->host.request_tags, p->host.n_request_tags);
		json_w_i64(c->w, "ExpiresInS", mono_since_ns(p->until, c->now) / NS_PER_S);
		json_w_end(c->w);
	}
	json_w_end(c->w);
}

/* "; the closest names are a, b" for an unknown node. */
static void unknown_node(struct call *c, const char *name)
{
	char text[120] = "";
	size_t at = 0;

	for (size_t d = 1; d <= 3; d++) {
		for (size_t i = 0; i < registry_n_nodes(c->reg); i++) {
			const char *have = registry_node_at(c->reg, i)->name;
			int n;

			if (near_distance(name, have, 3) != d)
				continue;
			n = snprintf(text + at, sizeof(text) - at, "%s%s", at ? ", " : "; the closest: ", have);
			if (n < 0 || (size_t)n >= sizeof(text) - at)
				goto out;
			at += (size_t)n;
		}
	}
out:
	fail(c, 404, "no node \"%.63s\"%s", name, text);
}

/* The node that the body names by id, name or address. */
static struct reg_node *find_node(struct call *c)
{
	const char *name = json_str(&c->in, c->body, "Node");
	struct reg_node *n;
	int64_t id = 0;

	if (c->in.err || !*name) {
		fail(c, 400, "\"Node\" is missing: an id, a name or an address");
		return NULL;
	}
	for (const char *p = name; *p && strlen(name) < 18; p++) {
		if (*p < '0' || *p > '9') {
			id = 0;
			break;
		}
		id = id * 10 + (*p - '0');
	}
	n = registry_node_by_name(c->reg, name);
	if (!n && id)
		n = registry_node(c->reg, id);
	if (!n)
		unknown_node(c, name);
	return n;
}

static void nodes_delete(struct call *c)
{
	struct reg_node *n = find_node(c);

	if (!n)
		return;
	write_node(c, "Node", n);
	ctlserver_drop_node(c->s, c->now, n->id);
	if (registry_delete(c->reg, n) != 0)
		fail(c, 500, "out of memory");
}

static void nodes_expire(struct call *c)
{
	struct reg_node *n = find_node(c);
	int err = n ? registry_expire(c->reg, n) : 0;

	if (err == -EPERM)
		fail(c, 409, "%s is the coordinator's own node: it never expires", n->name);
	else if (err)
		fail(c, 500, "out of memory");
	else if (n)
		write_node(c, "Node", n);
}

static void nodes_rename(struct call *c)
{
	struct reg_node *n = find_node(c);
	const char *name = json_str(&c->in, c->body, "Name");
	int err = n ? registry_rename(c->reg, n, name) : 0;

	if (err == -EINVAL)
		fail(c, 400, "\"%.63s\" is not a host name: lower-case letters, digits and '-', at most 63", name);
	else if (err == -EEXIST)
		fail(c, 409, "the name %s is taken", name);
	else if (err)
		fail(c, 500, "out of memory");
	else if (n)
		write_node(c, "Node", n);
}

/* Every tag must be in tagOwners. False: an error was recorded. */
static bool check_tags(struct call *c, char **tags, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strncmp(tags[i], "tag:", 4) != 0) {
			fail(c, 400, "\"%.60s\" is not a tag: tag:NAME", tags[i]);
			return false;
		}
		if (!ctlserver_policy(c->s) || !policyfile_has_tag(ctlserver_policy(c->s), tags[i])) {
			fail(c, 400, "tag \"%.60s\" is not in the policy; add to tagOwners: \"%.60s\": [\"admin@\"]",
			     tags[i], tags[i]);
			return false;
		}
	}
	return true;
}

static void free_list(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

static void nodes_tag(struct call *c)
{
	struct reg_node *n = find_node(c);
	size_t n_tags = 0;
	char **tags = json_strs(&c->in, c->body, "Tags", &n_tags);

	if (n && !c->in.err && check_tags(c, tags, n_tags)) {
		int err = registry_set_tags(c->reg, n, tags, n_tags);

		if (err == -EINVAL)
			fail(c, 409, "%s has no user: its last tag can not be removed", n->name);
		else if (err)
			fail(c, 500, "out of memory");
		else
			write_node(c, "Node", n);
	}
	free_list(tags, n_tags);
}

static void nodes_routes(struct call *c)
{
	struct reg_node *n = find_node(c);
	size_t n_texts = 0, k = 0;
	char **texts = json_strs(&c->in, c->body, "Routes", &n_texts);
	struct prefix *routes = calloc(n_texts + 2, sizeof(*routes));

	for (size_t i = 0; routes && i < n_texts && !c->status; i++) {
		char text[PREFIX_TEXT_MAX];
		struct prefix m;

		if (prefix_parse(&routes[k], texts[i], strlen(texts[i]), true) != 0) {
			fail(c, 400, "\"%.60s\" is not a valid IP address or CIDR prefix", texts[i]);
		} else if (!prefix_is_masked(&routes[k])) {
			m = prefix_masked(&routes[k]);
			fail(c, 400, "%.60s has non-address bits set; expected %s", texts[i], prefix_write(text, &m));
		}
		k++;
	}
	if (k > REG_ROUTES_MAX)
		fail(c, 400, "more than %d routes", REG_ROUTES_MAX);
	if (n && !c->status && !c->in.err) {
		if (!routes || registry_set_routes(c->reg, n, routes, k) != 0)
			fail(c, 500, "out of memory");
		else
			write_node(c, "Node", n);
	}
	free(routes);
	free_list(texts, n_texts);
}

/* Tags that a pending login asked for and its user owns. */
static void approve_tags(struct call *c, struct reg_node *n, const struct reg_user *u)
{
	const struct policy_user pu = { u->id, u->name, u->email };
	const struct policyfile *p = ctlserver_policy(c->s);

	if (!n->host.n_request_tags)
		return;
	for (size_t i = 0; i < n->host.n_request_tags; i++) {
		if (p && policyfile_owns_tag(p, &pu, n->host.request_tags[i]))
			continue;
		log_warn(ctlserver_log(c->s), "coord: node %s: tag %.60s is not owned by %s: joined without tags",
			 n->name, n->host.request_tags[i], u->name);
		return;
	}
	if (registry_set_tags(c->reg, n, n->host.request_tags, n->host.n_request_tags) != 0)
		fail(c, 500, "out of memory");
}

static const struct reg_user *get_user(struct call *c)
{
	const char *name = json_str(&c->in, c->body, "User");
	const struct reg_user *u = NULL;
	int err = c->in.err ? -EINVAL : registry_add_user(c->reg, *name ? name : "admin", &u);

	if (err == -EINVAL)
		fail(c, 400, "\"%.64s\" is not a user name: up to 64 letters, digits and ._@+-", name);
	else if (err)
		fail(c, 500, "too many users, or out of memory");
	return err ? NULL : u;
}

static void nodes_approve(struct call *c)
{
	const char *id = json_str(&c->in, c->body, "ID");
	const struct reg_user *u;
	struct reg_node *n = NULL;
	int err;

	/* A whole URL is fine too. */
	if (strrchr(id, '/'))
		id = strrchr(id, '/') + 1;
	if (!registry_pending(c->reg, id)) {
		fail(c, 404, "no login waits under \"%.63s\"; see `coordinator nodes`", id);
		return;
	}
	u = get_user(c);
	if (!u)
		return;
	err = registry_approve(c->reg, c->now, id, u->id, &n);
	if (err == -ENOSPC)
		fail(c, 409, "no address is left in the pool");
	else if (err == -EPROTO)
		fail(c, 409, "its node key belongs to another machine by now");
	else if (err)
		fail(c, 500, "out of memory");
	else {
		approve_tags(c, n, u);
		write_node(c, "Node", n);
	}
}

/* ---- keys ---- */

static void keys_create(struct call *c)
{
	struct reg_key_opts o = { 0 };
	char text[REG_KEY_TEXT_MAX] = "";
	const struct reg_key *k;
	const struct reg_user *u;
	char **tags = json_strs(&c->in, c->body, "Tags", &o.n_tags);

	o.reusable = json_bool(&c->in, c->body, "Reusable");
	o.ephemeral = json_bool(&c->in, c->body, "Ephemeral");
	o.life_s = json_get(c->body, "ExpirationS") ? json_i64(&c->in, c->body, "ExpirationS", 0, INT64_C(1) << 33) : 3600;
	o.tags = tags;
	if (c->in.err)
		fail(c, 400, "\"%s\" %s", c->in.field ? c->in.field : "?", c->in.reason ? c->in.reason : "is wrong");
	else if (check_tags(c, tags, o.n_tags) && (u = get_user(c))) {
		o.user = u->id;
		if (registry_add_key(c->reg, &o, text, &k) != 0) {
			fail(c, 500, "too many keys, or out of memory");
		} else {
			json_w_i64(c->w, "ID", k->id);
			json_w_str(c->w, "Key", text);
		}
	}
	sodium_memzero(text, sizeof(text));
	free_list(tags, o.n_tags);
}

static void keys_list(struct call *c)
{
	json_w_arr(c->w, "Keys");
	for (size_t i = 0; i < registry_n_keys(c->reg); i++) {
		const struct reg_key *k = registry_key_at(c->reg, i);
		const struct reg_user *u = registry_user_by_id(c->reg, k->user);

		json_w_obj(c->w, NULL);
		json_w_i64(c->w, "ID", k->id);
		json_w_str(c->w, "Prefix", k->prefix);
		json_w_str(c->w, "User", u ? u->name : "");
		json_w_strs(c->w, "Tags", k->tags, k->n_tags);
		json_w_bool(c->w, "Reusable", k->reusable);
		json_w_bool(c->w, "Ephemeral", k->ephemeral);
		json_w_bool(c->w, "Used", k->used);
		json_w_bool(c->w, "Revoked", k->revoked);
		json_w_bool(c->w, "Expired", k->expires_s && k->expires_s <= wall_s(c));
		json_w_time(c->w, "Created", k->created_s);
		if (k->expires_s)
			json_w_time(c->w, "Expires", k->expires_s);
		json_w_end(c->w);
	}
	json_w_end(c->w);
}

static void keys_revoke(struct call *c)
{
	int64_t id = json_i64(&c->in, c->body, "ID", 1, INT64_MAX);
	int err = c->in.err ? -ENOENT : registry_revoke_key(c->reg, id);

	if (err == -ENOENT)
		fail(c, 404, "no key %lld; see `coordinator keys list`", (long long)id);
	else if (err)
		fail(c, 500, "out of memory");
}

/* ---- policy ---- */

static void policy_get(struct call *c)
{
	int64_t revision;
	const char *text = ctlserver_policy_text(c->s, &revision);

	json_w_i64(c->w, "Revision", revision);
	json_w_str(c->w, "Policy", text);
}

static void write_errs(struct call *c, const struct policy_errs *errs)
{
	json_w_arr(c->w, "Errors");
	for (size_t i = 0; i < errs->n; i++) {
		json_w_obj(c->w, NULL);
		json_w_i64(c->w, "Line", errs->list[i].line);
		json_w_i64(c->w, "Col", errs->list[i].col);
		json_w_str(c->w, "Message", errs->list[i].msg);
		json_w_end(c->w);
	}
	json_w_end(c->w);
	if (errs->n_dropped)
		json_w_i64(c->w, "MoreErrors", (int64_t)errs->n_dropped);
}

static void policy_put(struct call *c, bool dry)
{
	const cJSON *v = json_get(c->body, "Policy");
	struct policy_errs errs;
	size_t lost = 0;
	int64_t revision;
	int err;

	if (!cJSON_IsString(v)) {
		fail(c, 400, "\"Policy\" is missing");
		return;
	}
	err = ctlserver_set_policy(c->s, c->now, v->valuestring, strlen(v->valuestring), dry, &errs, &lost);
	if (err == -ENOMEM) {
		fail(c, 500, "out of memory");
		return;
	}
	if (err) {
		write_errs(c, &errs);
		fail(c, 400, err == -EPROTO ? "the policy's own tests failed" : "the policy has errors");
		return;
	}
	(void)ctlserver_policy_text(c->s, &revision);
	json_w_i64(c->w, "Revision", revision);
	json_w_i64(c->w, "LostPairs", (int64_t)lost);
}

static void policy_check(struct call *c)
{
	policy_put(c, true);
}

static void policy_set(struct call *c)
{
	policy_put(c, false);
}

static void status(struct call *c)
{
	size_t online = 0;
	int64_t revision;

	for (size_t i = 0; i < registry_n_nodes(c->reg); i++)
		online += registry_node_at(c->reg, i)->online;
	(void)ctlserver_policy_text(c->s, &revision);
	json_w_i64(c->w, "Nodes", (int64_t)registry_n_nodes(c->reg));
	json_w_i64(c->w, "Online", (int64_t)online);
	json_w_i64(c->w, "Streams", (int64_t)ctlserver_n_streams(c->s));
	json_w_i64(c->w, "Users", (int64_t)registry_n_users(c->reg));
	json_w_i64(c->w, "Keys", (int64_t)registry_n_keys(c->reg));
	json_w_i64(c->w, "Pending", (int64_t)registry_n_pending(c->reg));
	json_w_i64(c->w, "PolicyRevision", revision);
	json_w_bool(c->w, "PolicyInForce", ctlserver_policy(c->s) != NULL);
}

/* ---- dispatch ---- */

static const struct {
	const char *verb;
	void (*fn)(struct call *c);
} verbs[] = {
	{ "status", status },
	{ "keys.create", keys_create },
	{ "keys.list", keys_list },
	{ "keys.revoke", keys_revoke },
	{ "nodes.list", nodes_list },
	{ "nodes.approve", nodes_approve },
	{ "nodes.delete", nodes_delete },
	{ "nodes.expire", nodes_expire },
	{ "nodes.rename", nodes_rename },
	{ "nodes.tag", nodes_tag },
	{ "nodes.routes", nodes_routes },
	{ "policy.get", policy_get },
	{ "policy.check", policy_check },
	{ "policy.set", policy_set },
};

static void run(struct call *c, const char *verb)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (strcmp(verbs[i].verb, verb) == 0) {
			verbs[i].fn(c);
			return;
		}
	}
	fail(c, 404, "no such command: %.40s", verb);
}

unsigned admin_call(struct ctlserver *s, struct mono now, const char *verb, const char *body, size_t body_size,
		    struct bytes *out, uint64_t *ticket)
{
	struct json_w w = { 0 };
	struct call c = { .s = s, .reg = ctlserver_registry(s), .now = now, .w = &w };
	struct json_err why = { .reason = "" };
	cJSON *tree = body_size ? json_parse(body, body_size, 0, &why) : NULL;
	size_t size;
	char *text;

	c.body = tree;
	json_w_obj(&w, NULL);
	if (!tree && json_err_code(&why) == -ENOMEM)
		fail(&c, 500, "out of memory");
	else if (body_size && !cJSON_IsObject(tree))
		fail(&c, 400, "the request is not a JSON object");
	else
		run(&c, verb);
	if (c.in.err == -ENOMEM)
		fail(&c, 500, "out of memory");
	else if (c.in.err)
		fail(&c, 400, "\"%s\" %s", c.in.field ? c.in.field : "?", c.in.reason ? c.in.reason : "is wrong");
	if (c.status)
		json_w_str(&w, "Error", c.why);
	json_w_end(&w);
	cJSON_Delete(tree);
	ctlserver_changed(s, now);
	*ticket = registry_ticket(c.reg);
	text = json_w_take(&w, &size);
	if (!text || bytes_append(out, text, size) != 0)
		c.status = 500;
	if (text)
		sodium_memzero(text, size);
	free(text);
	return c.status ? c.status : 200;
}
