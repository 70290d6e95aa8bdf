/* SPDX-License-Identifier: MIT */
/* Builds the picture of the whole mesh out of registry and policy; see mapbuild.h. */
#include "coord/mapview.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coord/mapbuild.h"

enum { HOST_TEXT_MAX = 255 };

uint64_t view_hash(uint64_t h, const void *data, size_t size)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < size; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	return h;
}

uint64_t view_hash_str(uint64_t h, const char *s)
{
	return s ? view_hash(h, s, strlen(s) + 1) : view_hash(h, "\377", 1);
}

uint64_t view_hash_i64(uint64_t h, int64_t v)
{
	return view_hash(h, &v, sizeof(v));
}

static uint64_t hash_prefix(uint64_t h, const struct prefix *p)
{
	h = view_hash(h, &p->ip, sizeof(p->ip));
	return view_hash(h, &p->bits, 1);
}

/* ---- nodes ---- */

static void node_put(struct view_node *n)
{
	if (!n || --n->refs)
		return;
	map_node_wipe(&n->node);
	free(n);
}

static char *node_name(const struct reg_node *r, const char *domain)
{
	char name[256];
	int len = snprintf(name, sizeof(name), "%s.%s.", r->name, domain);

	/* A name that can't be built costs this node its name, not the map its validity. */
	if (len < 0 || (size_t)len >= sizeof(name))
		(void)snprintf(name, sizeof(name), "%s.", r->name);
	return strdup(name);
}

/* A text that goes to every peer. No honest one is longer than a host name. */
static char *short_text(const char *s)
{
	return strdup(s && strlen(s) <= HOST_TEXT_MAX ? s : "");
}

/* What peers may know of a node's host: no hardware, no network details. */
static bool public_host(struct hostinfo *to, const struct hostinfo *from)
{
	to->hostname = short_text(from->hostname);
	to->os = short_text(from->os);
	to->os_version = strdup("");
	to->version = short_text(from->version);
	to->backend_log_id = strdup("");
	to->peerapi4 = from->peerapi4;
	to->peerapi6 = from->peerapi6;
	to->peer_relay = from->peer_relay;
	to->shields_up = from->shields_up;
	return to->hostname && to->os && to->os_version && to->version && to->backend_log_id;
}

static bool copy_tags(struct map_node *to, const struct reg_node *r)
{
	if (!r->n_tags)
		return true;
	to->tags = calloc(r->n_tags, sizeof(*to->tags));
	for (size_t i = 0; to->tags && i < r->n_tags; i++, to->n_tags++) {
		to->tags[i] = strdup(r->tags[i]);
		if (!to->tags[i])
			return false;
	}
	return to->tags != NULL;
}

static bool fill_node(struct map_node *to, const struct reg_node *r, const char *domain, bool expired)
{
	char id[24];

	(void)snprintf(id, sizeof(id), "%lld", (long long)r->id);
	to->id = r->id;
	to->stable_id = strdup(id);
	to->name = node_name(r, domain);
	to->user = r->user ? r->user : REG_TAGGED_USER;
	to->key = r->key;
	to->cap = r->cap;
	to->created_s = r->created_s;
	to->key_expiry_s = r->expiry_s;
	to->online = r->online ? TRI_TRUE : TRI_FALSE;
	to->last_seen_s = r->online ? 0 : r->last_seen_s;
	to->expired = expired;
	to->machine_authorized = true;
	to->addrs = calloc(2, sizeof(*to->addrs));
	to->allowed_ips = calloc(2, sizeof(*to->allowed_ips));
	if (!to->stable_id || !to->name || !to->addrs || !to->allowed_ips)
		return false;
	to->n_addrs = to->n_allowed_ips = 2;
	to->addrs[0] = to->allowed_ips[0] = prefix_host(&r->ip4);
	to->addrs[1] = to->allowed_ips[1] = prefix_host(&r->ip6);
	if (!expired) {
		to->disco = r->disco;
		to->home_derp = r->home_derp;
		if (r->n_endpoints) {
			to->endpoints = malloc(r->n_endpoints * sizeof(*to->endpoints));
			if (!to->endpoints)
				return false;
			memcpy(to->endpoints, r->endpoints, r->n_endpoints * sizeof(*to->endpoints));
			to->n_endpoints = r->n_endpoints;
		}
	}
	return public_host(&to->host, &r->host) && copy_tags(to, r);
}

static void hash_node(struct view_node *n)
{
	const struct map_node *m = &n->node;
	uint64_t h = VIEW_HASH_INIT;

	h = view_hash_i64(h, m->id);
	h = view_hash_str(h, m->name);
	h = view_hash_i64(h, m->user);
	h = view_hash(h, m->key.b, KEY_SIZE);
	for (size_t i = 0; i < m->n_addrs; i++)
		h = hash_prefix(h, &m->addrs[i]);
	for (size_t i = 0; i < m->n_tags; i++)
		h = view_hash_str(h, m->tags[i]);
	h = view_hash_str(h, m->host.hostname);
	h = view_hash_str(h, m->host.os);
	h = view_hash_str(h, m->host.version);
	h = view_hash_i64(h, m->host.peerapi4 | (int64_t)m->host.peerapi6 << 16);
	h = view_hash_i64(h, m->host.peer_relay | m->host.shields_up << 1 | m->expired << 2);
	n->static_hash = h;
	h = VIEW_HASH_INIT;
	for (size_t i = 0; i < m->n_endpoints; i++)
		h = view_hash(h, &m->endpoints[i], sizeof(m->endpoints[i]));
	n->endpoints_hash = h;
}

static struct view_node *find_node(const struct mapview *v, int64_t id)
{
	long at = v ? mapview_index(v, id) : -1;

	return at < 0 ? NULL : v->nodes[at];
}

static bool build_nodes(struct mapview *v, const struct registry *r, const struct mapview *prev, int64_t wall_s)
{
	bool same_domain = prev && strcmp(prev->domain, v->domain) == 0;

	v->nodes = calloc(registry_n_nodes(r) + 1, sizeof(*v->nodes));
	if (!v->nodes)
		return false;
	for (size_t i = 0; i < registry_n_nodes(r); i++) {
		const struct reg_node *n = registry_node_at(r, i);
		struct view_node *old = same_domain ? find_node(prev, n->id) : NULL, *fresh;
		bool expired = reg_node_expired(n, wall_s);

		if (old && old->version == n->version && old->expired == expired) {
			old->refs++;
			v->nodes[v->n_nodes++] = old;
			continue;
		}
		fresh = calloc(1, sizeof(*fresh));
		if (!fresh)
			return false;
		fresh->refs = 1;
		fresh->version = n->version;
		fresh->expired = expired;
		v->nodes[v->n_nodes++] = fresh;
		if (!fill_node(&fresh->node, n, v->domain, expired))
			return false;
		hash_node(fresh);
	}
	return true;
}

long mapview_index(const struct mapview *v, int64_t id)
{
	size_t lo = 0, hi = v->n_nodes;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v->nodes[mid]->node.id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < v->n_nodes && v->nodes[lo]->node.id == id ? (long)lo : -1;
}

/* ---- routes ---- */

/* One primary per prefix: the previous one while it is online, else the lowest id that is online, else the
 * lowest id (coordinator 7.3). */
static bool better_owner(const struct mapview *v, const struct mapview *prev, const struct prefix *p, size_t now,
			 size_t candidate)
{
	bool now_on = v->nodes[now]->node.online == TRI_TRUE, cand_on = v->nodes[candidate]->node.online == TRI_TRUE;

	if (now_on != cand_on)
		return cand_on;
	for (size_t i = 0; prev && i < prev->n_routes; i++)
		if (prefix_eq(&prev->routes[i].prefix, p) &&
		    prev->nodes[prev->routes[i].owner]->node.id == v->nodes[candidate]->node.id)
			return true;
	return false;
}

static bool add_route(struct mapview *v, const struct mapview *prev, const struct prefix *p, size_t owner)
{
	struct view_route *routes;

	for (size_t i = 0; i < v->n_routes; i++) {
		if (!prefix_eq(&v->routes[i].prefix, p))
			continue;
		if (better_owner(v, prev, p, v->routes[i].owner, owner))
			v->routes[i].owner = owner;
		return true;
	}
	routes = realloc(v->routes, (v->n_routes + 1) * sizeof(*routes));
	if (!routes)
		return false;
	v->routes = routes;
	routes[v->n_routes++] = (struct view_route){ *p, owner };
	return true;
}

/* ---- policy ---- */

struct world {
	struct policy_world w;
	struct policy_user *users;
	struct policy_node *nodes;
	struct prefix **routes;
};

static void world_free(struct world *w)
{
	for (size_t i = 0; w->routes && i < w->w.n_nodes; i++)
		free(w->routes[i]);
	free(w->routes);
	free(w->users);
	free(w->nodes);
}

static bool world_nodes(struct mapview *v, const struct registry *r, const struct mapview *prev, struct world *out)
{
	struct prefix *buf = malloc(REG_ROUTES_MAX * sizeof(*buf));
	bool ok = buf != NULL;

	for (size_t i = 0; ok && i < registry_n_nodes(r); i++) {
		const struct reg_node *n = registry_node_at(r, i);
		struct policy_node *p = &out->nodes[i];

		p->id = n->id;
		p->user = n->user;
		p->ip4 = n->ip4;
		p->ip6 = n->ip6;
		p->tags = n->tags;
		p->n_tags = n->n_tags;
		p->peer_relay = n->host.peer_relay;
		p->n_routes = reg_node_routes(n, buf);
		out->w.n_nodes++;
		if (p->n_routes) {
			out->routes[i] = malloc(p->n_routes * sizeof(*buf));
			ok = out->routes[i] != NULL;
			if (ok)
				memcpy(out->routes[i], buf, p->n_routes * sizeof(*buf));
			p->routes = out->routes[i];
		}
		for (size_t k = 0; ok && k < p->n_routes; k++) {
			if (buf[k].bits == 0)
				v->is_exit[i] = true;
			else
				ok = add_route(v, prev, &buf[k], i);
		}
	}
	free(buf);
	return ok;
}

static bool world_init(struct mapview *v, const struct registry *r, const struct mapview *prev, struct world *out)
{
	size_t n = registry_n_nodes(r), n_users = registry_n_users(r);

	out->users = calloc(n_users + 1, sizeof(*out->users));
	out->nodes = calloc(n + 1, sizeof(*out->nodes));
	out->routes = calloc(n + 1, sizeof(*out->routes));
	v->is_exit = calloc(n + 1, sizeof(*v->is_exit));
	if (!out->users || !out->nodes || !out->routes || !v->is_exit)
		return false;
	out->w.users = out->users;
	out->w.nodes = out->nodes;
	for (size_t i = 0; i < n_users; i++) {
		const struct reg_user *u = registry_user_at(r, i);

		out->users[i] = (struct policy_user){ u->id, u->name, u->email };
		out->w.n_users++;
	}
	return world_nodes(v, r, prev, out);
}

static uint64_t world_hash(const struct policy_world *w, const struct policyfile *policy)
{
	uint64_t h = view_hash(VIEW_HASH_INIT, &policy, sizeof(policy));

	for (size_t i = 0; i < w->n_users; i++) {
		h = view_hash_i64(h, w->users[i].id);
		h = view_hash_str(h, w->users[i].name);
		h = view_hash_str(h, w->users[i].email);
	}
	for (size_t i = 0; i < w->n_nodes; i++) {
		const struct policy_node *n = &w->nodes[i];

		h = view_hash_i64(h, n->id);
		h = view_hash_i64(h, n->user);
		h = view_hash(h, &n->ip4, sizeof(n->ip4));
		h = view_hash(h, &n->ip6, sizeof(n->ip6));
		for (size_t k = 0; k < n->n_tags; k++)
			h = view_hash_str(h, n->tags[k]);
		for (size_t k = 0; k < n->n_routes; k++)
			h = hash_prefix(h, &n->routes[k]);
		h = view_hash_i64(h, n->peer_relay);
	}
	return h;
}

static void policy_put(struct view_policy *p)
{
	if (!p || --p->refs)
		return;
	policyset_free(p->set);
	free(p);
}

static bool compile(struct mapview *v, const struct world *w, const struct policyfile *policy,
		    const struct mapview *prev, const struct mapview_cfg *cfg)
{
	/* The caller's revision tells two policies at one address apart. */
	uint64_t hash = view_hash_i64(world_hash(&w->w, policy), cfg->policy_revision);
	struct policyfile *none = NULL;
	struct policy_errs errs;
	int err = 0;

	if (prev && prev->policy->input_hash == hash) {
		v->policy = prev->policy;
		v->policy->refs++;
		return true;
	}
	v->policy = calloc(1, sizeof(*v->policy));
	if (!v->policy)
		return false;
	v->policy->refs = 1;
	v->policy->id = prev ? prev->policy->id + 1 : 1;
	v->policy->input_hash = hash;
	if (!policy)
		err = policyfile_parse(&none, "{\"acls\":[]}", 11, &errs);
	if (!err)
		err = policyfile_compile(&v->policy->set, policy ? policy : none, &w->w);
	policyfile_free(none);
	return !err;
}

/* ---- users and settings ---- */

static bool add_profile(struct mapview *v, int64_t id, const char *login, const char *display)
{
	struct view_user *u = &v->users[v->n_users++];

	u->profile.id = id;
	u->profile.login_name = strdup(login);
	u->profile.display_name = strdup(display);
	u->profile.profile_pic_url = strdup("");
	u->hash = view_hash_str(view_hash_str(VIEW_HASH_INIT, login), display);
	return u->profile.login_name && u->profile.display_name && u->profile.profile_pic_url;
}

static bool build_users(struct mapview *v, const struct registry *r)
{
	size_t n = registry_n_users(r);

	v->users = calloc(n + 1, sizeof(*v->users));
	if (!v->users)
		return false;
	for (size_t i = 0; i < n; i++) {
		const struct reg_user *u = registry_user_at(r, i);

		if (!add_profile(v, u->id, *u->email ? u->email : u->name, u->display))
			return false;
	}
	/* Ids of users count from 1 and number at most REG_USERS_MAX: this one stays the last. */
	if (!add_profile(v, REG_TAGGED_USER, "tagged-devices", "Tagged Devices"))
		return false;
	v->users_hash = VIEW_HASH_INIT;
	for (size_t i = 0; i < v->n_users; i++)
		v->users_hash = view_hash_i64(v->users_hash, (int64_t)v->users[i].hash ^ v->users[i].profile.id);
	return true;
}

bool mapview_is_expired(const struct mapview *v, int64_t node_id)
{
	long at = mapview_index(v, node_id);

	return at >= 0 && v->nodes[at]->expired;
}

static uint64_t hash_derp(const struct derp_map *m)
{
	uint64_t h = VIEW_HASH_INIT;

	for (size_t i = 0; i < m->n_regions; i++) {
		const struct derp_region *r = &m->regions[i];

		h = view_hash_i64(h, r->id);
		h = view_hash_str(view_hash_str(h, r->code), r->name);
		h = view_hash_i64(h, r->avoid | r->no_measure_no_home << 1);
		for (size_t k = 0; k < r->n_nodes; k++) {
			const struct derp_node *n = &r->nodes[k];

			h = view_hash_str(view_hash_str(h, n->name), n->host_name);
			h = view_hash_str(view_hash_str(h, n->cert_name), n->ipv4);
			h = view_hash_str(h, n->ipv6);
			h = view_hash_i64(view_hash_i64(h, n->stun_port), n->derp_port); /* -1 = no STUN */
		}
	}
	return h;
}

/* The host part of the URL, which is what Domain shows. */
static char *url_host(const char *url)
{
	const char *p = strstr(url, "://");
	char host[256];
	size_t n = 0;

	for (p = p ? p + 3 : url; *p && !strchr("/:", *p) && n < sizeof(host) - 1; p++)
		host[n++] = *p;
	host[n] = '\0';
	return strdup(host);
}

struct mapview *mapview_new(const struct registry *r, const struct policyfile *policy, const struct mapview_cfg *cfg,
			    struct mapview *prev, int64_t wall_s)
{
	struct mapview *v = calloc(1, sizeof(*v));
	struct world w = { 0 };
	bool ok;

	if (!v)
		return NULL;
	v->domain = strdup(cfg->domain);
	v->url = strdup(cfg->url);
	v->host = url_host(cfg->url);
	ok = v->domain && v->url && v->host && derp_map_copy(&v->derp, cfg->derp) == 0 &&
	     build_nodes(v, r, prev, wall_s) && world_init(v, r, prev, &w) && compile(v, &w, policy, prev, cfg) &&
	     build_users(v, r);
	world_free(&w);
	if (!ok) {
		mapview_free(v);
		return NULL;
	}
	v->derp_hash = hash_derp(&v->derp);
	return v;
}

const struct policyset *mapview_policy(const struct mapview *v)
{
	return v->policy->set;
}

void mapview_free(struct mapview *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->n_nodes; i++)
		node_put(v->nodes[i]);
	free(v->nodes);
	policy_put(v->policy);
	free(v->routes);
	free(v->is_exit);
	for (size_t i = 0; i < v->n_users; i++)
		user_profile_wipe(&v->users[i].profile);
	free(v->users);
	free(v->domain);
	free(v->url);
	free(v->host);
	derp_map_wipe(&v->derp);
	free(v);
}
