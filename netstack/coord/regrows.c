/* SPDX-License-Identifier: MIT */
/* The registry's records as rows: JSON text out, checked JSON text in. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "coord/registryint.h"
#include "wire/ctljson.h"
#include "wire/json.h"

static char *take(struct json_w *w)
{
	size_t size;

	return json_w_take(w, &size);
}

char *reg_user_row(const struct reg_user *u)
{
	struct json_w w = { 0 };

	json_w_obj(&w, NULL);
	json_w_str(&w, "Name", u->name);
	json_w_str(&w, "Display", u->display);
	json_w_str(&w, "Email", u->email);
	json_w_i64(&w, "Created", u->created_s);
	json_w_end(&w);
	return take(&w);
}

char *reg_key_row(const struct reg_key *k)
{
	struct json_w w = { 0 };
	char hash[65];

	json_w_obj(&w, NULL);
	json_w_str(&w, "Prefix", k->prefix);
	json_w_str(&w, "Hash", sodium_bin2hex(hash, sizeof(hash), k->hash, sizeof(k->hash)));
	json_w_i64(&w, "User", k->user);
	json_w_strs(&w, "Tags", k->tags, k->n_tags);
	json_w_bool(&w, "Reusable", k->reusable);
	json_w_bool(&w, "Ephemeral", k->ephemeral);
	json_w_bool(&w, "Used", k->used);
	json_w_bool(&w, "Revoked", k->revoked);
	json_w_i64(&w, "Created", k->created_s);
	json_w_i64(&w, "Expires", k->expires_s);
	json_w_end(&w);
	return take(&w);
}

char *reg_counters_row(const struct registry *r)
{
	struct json_w w = { 0 };

	json_w_obj(&w, NULL);
	json_w_i64(&w, "User", r->next_user);
	json_w_i64(&w, "Key", r->next_key);
	json_w_i64(&w, "Node", r->next_node);
	json_w_end(&w);
	return take(&w);
}

char *reg_node_row(const struct reg_node *n)
{
	struct json_w w = { 0 };
	char text[EP_TEXT_MAX];

	json_w_obj(&w, NULL);
	json_w_key(&w, "Machine", KEY_MACHINE, n->machine.b);
	json_w_key(&w, "Key", KEY_NODE, n->key.b);
	if (!key_is_zero(n->disco.b))
		json_w_key(&w, "Disco", KEY_DISCO, n->disco.b);
	if (n->user)
		json_w_i64(&w, "User", n->user);
	if (n->n_tags)
		json_w_strs(&w, "Tags", n->tags, n->n_tags);
	json_w_str(&w, "IPv4", ip_write(text, &n->ip4));
	json_w_str(&w, "IPv6", ip_write(text, &n->ip6));
	json_w_str(&w, "Name", n->name);
	json_w_bool(&w, "NamedByAdmin", n->named_by_admin);
	json_w_bool(&w, "Ephemeral", n->ephemeral);
	json_w_bool(&w, "Own", n->own);
	json_w_bool(&w, "ByKey", n->by_key);
	json_w_i64(&w, "AuthKey", n->auth_key);
	json_w_i64(&w, "Cap", n->cap);
	json_w_i64(&w, "HomeDERP", n->home_derp);
	json_w_i64(&w, "Created", n->created_s);
	json_w_i64(&w, "Expiry", n->expiry_s);
	json_w_i64(&w, "LastSeen", n->last_seen_s);
	json_w_arr(&w, "Approved");
	for (size_t i = 0; i < n->n_approved; i++)
		json_w_str(&w, NULL, prefix_write(text, &n->approved[i]));
	json_w_end(&w);
	json_w_arr(&w, "Endpoints");
	for (size_t i = 0; i < n->n_endpoints; i++)
		json_w_str(&w, NULL, ep_write(text, &n->endpoints[i]));
	json_w_end(&w);
	ctl_hostinfo_write(&w, "Host", &n->host);
	json_w_end(&w);
	return take(&w);
}

/* ---- loading ---- */

static int load_user(struct registry *r, struct json_in *in, const cJSON *v, int64_t id)
{
	struct reg_user *u = calloc(1, sizeof(*u));

	if (!u)
		return -ENOMEM;
	u->id = id;
	u->name = json_dup(in, v, "Name");
	u->display = json_dup(in, v, "Display");
	u->email = json_dup(in, v, "Email");
	u->created_s = json_i64(in, v, "Created", INT64_MIN, INT64_MAX);
	if (!in->err && (!*u->name || registry_user(r, u->name) || registry_user_by_id(r, id)))
		in->err = -EBADMSG;
	if (!in->err && !REG_PUSH(r->users, r->n_users, u))
		in->err = -ENOMEM;
	if (in->err)
		reg_user_free(u);
	else if (id >= r->next_user)
		r->next_user = id + 1;
	return in->err;
}

static int load_key(struct registry *r, struct json_in *in, const cJSON *v, int64_t id)
{
	struct reg_key *k = calloc(1, sizeof(*k));
	const char *hash;
	size_t bin = 0;

	if (!k)
		return -ENOMEM;
	k->id = id;
	json_text(in, v, "Prefix", k->prefix, sizeof(k->prefix));
	hash = json_str(in, v, "Hash");
	if (!in->err && (sodium_hex2bin(k->hash, sizeof(k->hash), hash, strlen(hash), NULL, &bin, NULL) != 0 ||
			 bin != sizeof(k->hash) || strlen(k->prefix) != REG_KEY_PREFIX))
		in->err = -EBADMSG;
	k->user = json_i64(in, v, "User", 0, INT64_MAX);
	k->tags = json_strs(in, v, "Tags", &k->n_tags);
	k->reusable = json_bool(in, v, "Reusable");
	k->ephemeral = json_bool(in, v, "Ephemeral");
	k->used = json_bool(in, v, "Used");
	k->revoked = json_bool(in, v, "Revoked");
	k->created_s = json_i64(in, v, "Created", INT64_MIN, INT64_MAX);
	k->expires_s = json_i64(in, v, "Expires", INT64_MIN, INT64_MAX);
	if (!in->err && !REG_PUSH(r->keys, r->n_keys, k))
		in->err = -ENOMEM;
	if (in->err)
		reg_key_free(k);
	else if (id >= r->next_key)
		r->next_key = id + 1;
	return in->err;
}

static struct ip load_ip(struct json_in *in, const cJSON *v, const char *key, enum ip_family family)
{
	const char *text = json_str(in, v, key);
	struct ip ip = { 0 };

	if (!in->err && (ip_parse(&ip, text, strlen(text)) != 0 || ip.family != family))
		json_fail(in, -EBADMSG, key, "is not an address");
	return ip;
}

static void load_lists(struct json_in *in, const cJSON *v, struct reg_node *n)
{
	size_t n_routes = 0, n_eps = 0;
	char **routes = json_strs(in, v, "Approved", &n_routes);
	char **eps = json_strs(in, v, "Endpoints", &n_eps);

	if (n_routes > REG_ROUTES_MAX || n_eps > REG_ENDPOINTS_MAX)
		json_fail(in, -EBADMSG, "Approved", "is too long");
	if (!in->err && n_routes && !(n->approved = calloc(n_routes, sizeof(*n->approved))))
		in->err = -ENOMEM;
	if (!in->err && n_eps && (!(n->endpoints = calloc(n_eps, sizeof(*n->endpoints))) ||
				  !(n->endpoint_types = calloc(n_eps, 1))))
		in->err = -ENOMEM;
	for (size_t i = 0; !in->err && i < n_routes; i++)
		if (prefix_parse(&n->approved[n->n_approved++], routes[i], strlen(routes[i]), false) != 0)
			json_fail(in, -EBADMSG, "Approved", "is not a prefix");
	for (size_t i = 0; !in->err && i < n_eps; i++)
		if (ep_parse(&n->endpoints[n->n_endpoints++], eps[i], strlen(eps[i])) != 0)
			json_fail(in, -EBADMSG, "Endpoints", "is not an endpoint");
	reg_tags_free(routes, n_routes);
	reg_tags_free(eps, n_eps);
}

static void read_node(struct json_in *in, const cJSON *v, struct reg_node *n)
{
	json_key(in, v, "Machine", KEY_MACHINE, n->machine.b);
	json_key(in, v, "Key", KEY_NODE, n->key.b);
	json_key(in, v, "Disco", KEY_DISCO, n->disco.b);
	n->user = json_i64(in, v, "User", 0, INT64_MAX);
	n->tags = json_strs(in, v, "Tags", &n->n_tags);
	n->ip4 = load_ip(in, v, "IPv4", IP_V4);
	n->ip6 = load_ip(in, v, "IPv6", IP_V6);
	n->name = json_dup(in, v, "Name");
	n->named_by_admin = json_bool(in, v, "NamedByAdmin");
	n->ephemeral = json_bool(in, v, "Ephemeral");
	n->own = json_bool(in, v, "Own");
	n->by_key = json_bool(in, v, "ByKey");
	n->auth_key = json_i64(in, v, "AuthKey", 0, INT64_MAX);
	n->cap = (int32_t)json_i64(in, v, "Cap", 0, INT32_MAX);
	n->home_derp = (uint32_t)json_i64(in, v, "HomeDERP", 0, UINT32_MAX);
	n->created_s = json_i64(in, v, "Created", INT64_MIN, INT64_MAX);
	n->expiry_s = json_i64(in, v, "Expiry", INT64_MIN, INT64_MAX);
	n->last_seen_s = json_i64(in, v, "LastSeen", INT64_MIN, INT64_MAX);
	ctl_hostinfo_read(in, json_obj(in, v, "Host"), &n->host);
	load_lists(in, v, n);
}

static int load_node(struct registry *r, struct json_in *in, const cJSON *v, int64_t id, struct mono now)
{
	struct reg_node *n = calloc(1, sizeof(*n));
	int err = 0;

	if (!n)
		return -ENOMEM;
	n->id = id;
	read_node(in, v, n);
	if (!in->err && (key_is_zero(n->key.b) || !*n->name || registry_node_by_name(r, n->name) ||
			 (n->user == 0) != (n->n_tags > 0) || (n->user && !registry_user_by_id(r, n->user))))
		json_fail(in, -EBADMSG, "Key", "contradicts another row");
	if (!in->err)
		err = reg_insert_node(r, n);
	if (err)
		json_fail(in, err == -ENOMEM ? -ENOMEM : -EBADMSG, "Key", "is there twice");
	if (in->err) {
		reg_node_free(n);
		return in->err;
	}
	if (n->ephemeral)
		n->ephemeral_at = mono_add_s(now, REG_EPHEMERAL_S);
	if (id >= r->next_node)
		r->next_node = id + 1;
	/* Addresses are given on from the highest. */
	if (ip_cmp(&r->last4, &n->ip4) < 0)
		r->last4 = n->ip4;
	if (ip_cmp(&r->last6, &n->ip6) < 0)
		r->last6 = n->ip6;
	return 0;
}

static int load_counters(struct registry *r, struct json_in *in, const cJSON *v)
{
	int64_t user = json_i64(in, v, "User", 0, INT64_MAX), key = json_i64(in, v, "Key", 0, INT64_MAX);
	int64_t node = json_i64(in, v, "Node", 0, INT64_MAX);

	r->next_user = user > r->next_user ? user : r->next_user;
	r->next_key = key > r->next_key ? key : r->next_key;
	r->next_node = node > r->next_node ? node : r->next_node;
	return in->err;
}

int registry_load(struct registry *r, enum reg_table table, int64_t id, const char *data, struct mono now)
{
	struct json_err why;
	cJSON *v = json_parse(data, strlen(data), 0, &why);
	struct json_in in = { 0 };
	int err = -EBADMSG;

	if (!v)
		return json_err_code(&why);
	if (id < 1) {
		cJSON_Delete(v);
		return -EBADMSG;
	}
	switch (table) {
	case REG_USERS:
		err = load_user(r, &in, v, id);
		break;
	case REG_KEYS:
		err = load_key(r, &in, v, id);
		break;
	case REG_NODES:
		err = load_node(r, &in, v, id, now);
		break;
	case REG_SETTINGS:
		err = id == REG_SET_COUNTERS ? load_counters(r, &in, v) : -EBADMSG;
		break;
	case REG_POLICIES:
		break;
	}
	cJSON_Delete(v);
	return err;
}
