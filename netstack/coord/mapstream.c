/* SPDX-License-Identifier: MIT */
/* One map stream: compares what its node should know with what was sent, and writes the difference.
 * See mapbuild.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coord/mapbuild.h"
#include "coord/mapview.h"
#include "wire/ctljson.h"
#include "wire/json.h"

/* What was sent about one peer. */
struct sent_peer {
	int64_t id;
	uint64_t static_hash, routes_hash, endpoints_hash;
	struct disco_key disco;
	int64_t expiry_s;
	uint32_t home_derp;
	int32_t cap;
	bool online;
};

struct sent_user {
	int64_t id;
	uint64_t hash;
};

struct mapstream {
	int64_t node_id;
	bool started;
	struct sent_peer *peers; /* ascending id */
	size_t n_peers;
	struct sent_user *users; /* ascending id */
	size_t n_users;
	uint64_t users_hash;     /* of the picture's users when they were last looked at */
	uint64_t self_hash, derp_hash, dns_hash, filter_hash, ssh_hash;
	uint64_t policy_id; /* of the picture last looked at */
	bool had_ssh;
};

/* One peer as this viewer shall see it now. */
struct want {
	size_t at;                  /* index in the picture */
	const struct view_node *vn;
	uint64_t routes_hash;
};

enum { NODE_TEXT_SIZE = 700 /* of a node as a rule, in bytes */ };

enum change { SAME, PATCH, FULL };

struct mapstream *mapstream_new(int64_t node_id)
{
	struct mapstream *s = calloc(1, sizeof(*s));

	if (s)
		s->node_id = node_id;
	return s;
}

void mapstream_free(struct mapstream *s)
{
	if (!s)
		return;
	free(s->peers);
	free(s->users);
	free(s);
}

/* ---- a node as the viewer sees it ---- */

/* Room for addresses, primary routes and both exit routes. */
struct routed {
	struct prefix *allowed, *primary;
	size_t n_allowed, n_primary;
};

static const struct prefix exit_routes[] = { { { .family = IP_V4 }, 0 }, { { .family = IP_V6 }, 0 } };

static void routed_free(struct routed *r)
{
	free(r->allowed);
	free(r->primary);
}

/* What 'viewer' may send to node 'at' (all of it for the node itself). */
static bool route_node(const struct mapview *v, size_t viewer, size_t at, struct routed *out)
{
	const struct map_node *n = &v->nodes[at]->node;

	out->allowed = malloc((n->n_addrs + v->n_routes + 2) * sizeof(*out->allowed));
	out->primary = malloc((v->n_routes + 1) * sizeof(*out->primary));
	if (!out->allowed || !out->primary)
		return false;
	for (size_t i = 0; i < n->n_addrs; i++)
		out->allowed[out->n_allowed++] = n->addrs[i];
	for (size_t i = 0; i < v->n_routes; i++) {
		if (v->routes[i].owner != at ||
		    (viewer != at && !policyset_may_route(v->policy->set, viewer, at, &v->routes[i].prefix)))
			continue;
		out->allowed[out->n_allowed++] = v->routes[i].prefix;
		out->primary[out->n_primary++] = v->routes[i].prefix;
	}
	if (v->is_exit[at])
		for (size_t i = 0; i < ARRAY_LEN(exit_routes); i++)
			out->allowed[out->n_allowed++] = exit_routes[i];
	return true;
}

static uint64_t hash_routed(const struct routed *r)
{
	uint64_t h = VIEW_HASH_INIT;

	for (size_t i = 0; i < r->n_allowed; i++) {
		h = view_hash(h, &r->allowed[i].ip, sizeof(r->allowed[i].ip));
		h = view_hash(h, &r->allowed[i].bits, 1);
	}
	return h;
}

static void write_node(struct json_w *w, const char *key, const struct map_node *from, const struct routed *r)
{
	struct map_node n = *from; /* borrows everything */

	n.allowed_ips = r->allowed;
	n.n_allowed_ips = r->n_allowed;
	n.primary_routes = r->primary;
	n.n_primary_routes = r->n_primary;
	ctl_node_write(w, key, &n);
}

static int write_peer(struct json_w *w, const struct mapview *v, size_t viewer, const struct want *p)
{
	struct routed r = { 0 };
	bool ok = route_node(v, viewer, p->at, &r);

	if (ok)
		write_node(w, NULL, &p->vn->node, &r);
	routed_free(&r);
	return ok ? 0 : -ENOMEM;
}

/* ---- comparing ---- */

static enum change compare(const struct sent_peer *s, const struct want *p)
{
	const struct map_node *n = &p->vn->node;
	bool differs = false;

	if (s->static_hash != p->vn->static_hash || s->routes_hash != p->routes_hash)
		return FULL;
	if (s->endpoints_hash != p->vn->endpoints_hash) {
		if (!n->n_endpoints)
			return FULL; /* a patch can't clear */
		differs = true;
	}
	if (!disco_key_eq(&s->disco, &n->disco)) {
		if (key_is_zero(n->disco.b))
			return FULL;
		differs = true;
	}
	if (s->home_derp != n->home_derp) {
		if (!n->home_derp)
			return FULL;
		differs = true;
	}
	if (s->expiry_s != n->key_expiry_s) {
		if (!n->key_expiry_s)
			return FULL;
		differs = true;
	}
	if (s->cap != n->cap) {
		if (!n->cap)
			return FULL;
		differs = true;
	}
	if (s->online != (n->online == TRI_TRUE))
		differs = true;
	return differs ? PATCH : SAME;
}

static void write_patch(struct json_w *w, const struct sent_peer *s, const struct want *p)
{
	const struct map_node *n = &p->vn->node;
	struct ctl_patch patch = { .id = n->id, .home_derp = n->home_derp, .cap = n->cap, .endpoints = n->endpoints,
				   .n_endpoints = n->n_endpoints, .disco = n->disco, .online = n->online == TRI_TRUE,
				   .last_seen_s = n->last_seen_s, .key_expiry_s = n->key_expiry_s };

	if (s->endpoints_hash != p->vn->endpoints_hash)
		patch.bits |= CTL_PATCH_ENDPOINTS;
	if (!disco_key_eq(&s->disco, &n->disco))
		patch.bits |= CTL_PATCH_DISCO;
	if (s->home_derp != n->home_derp)
		patch.bits |= CTL_PATCH_HOME_DERP;
	if (s->expiry_s != n->key_expiry_s)
		patch.bits |= CTL_PATCH_KEY_EXPIRY;
	if (s->cap != n->cap)
		patch.bits |= CTL_PATCH_CAP;
	if (s->online != patch.online) {
		patch.bits |= CTL_PATCH_ONLINE;
		if (!patch.online && n->last_seen_s)
			patch.bits |= CTL_PATCH_LAST_SEEN;
	}
	ctl_patch_write(w, NULL, &patch);
}

static void remember(struct sent_peer *s, const struct want *p)
{
	const struct map_node *n = &p->vn->node;

	s->id = n->id;
	s->static_hash = p->vn->static_hash;
	s->routes_hash = p->routes_hash;
	s->endpoints_hash = p->vn->endpoints_hash;
	s->disco = n->disco;
	s->expiry_s = n->key_expiry_s;
	s->home_derp = n->home_derp;
	s->cap = n->cap;
	s->online = n->online == TRI_TRUE;
}

/* Everything that is to be written about peers. */
struct diff {
	struct want *wanted;      /* all visible peers */
	size_t n_wanted;
	unsigned char *change;    /* enum change of each */
	struct sent_peer **old;   /* what was sent of each; null: new */
	int64_t *removed;
	size_t n_removed;
	size_t n_patch, n_full;
};

static void diff_free(struct diff *d)
{
	free(d->wanted);
	free(d->change);
	free(d->old);
	free(d->removed);
}

static bool collect_wanted(const struct mapview *v, size_t viewer, struct diff *d)
{
	for (size_t i = 0; i < v->n_nodes; i++) {
		struct routed r = { 0 };
		struct want *p;
		bool ok;

		if (!policyset_visible(v->policy->set, viewer, i))
			continue;
		p = &d->wanted[d->n_wanted++];
		p->at = i;
		p->vn = v->nodes[i];
		if (!v->n_routes && !v->is_exit[i]) {
			p->routes_hash = 0; /* the usual mesh has none: addresses are in the static hash */
			continue;
		}
		ok = route_node(v, viewer, i, &r);
		p->routes_hash = r.n_allowed > v->nodes[i]->node.n_addrs ? hash_routed(&r) : 0;
		routed_free(&r);
		if (!ok)
			return false;
	}
	return true;
}

/* Both lists ascend by id. */
static bool make_diff(struct mapstream *s, const struct mapview *v, size_t viewer, struct diff *d)
{
	size_t k = 0;

	d->wanted = calloc(v->n_nodes + 1, sizeof(*d->wanted));
	d->change = calloc(v->n_nodes + 1, 1);
	d->old = calloc(v->n_nodes + 1, sizeof(struct sent_peer *));
	d->removed = calloc(s->n_peers + 1, sizeof(*d->removed));
	if (!d->wanted || !d->change || !d->old || !d->removed || !collect_wanted(v, viewer, d))
		return false;
	for (size_t i = 0; i < d->n_wanted; i++) {
		int64_t id = d->wanted[i].vn->node.id;

		while (k < s->n_peers && s->peers[k].id < id)
			d->removed[d->n_removed++] = s->peers[k++].id;
		if (k < s->n_peers && s->peers[k].id == id) {
			d->old[i] = &s->peers[k++];
			d->change[i] = (unsigned char)compare(d->old[i], &d->wanted[i]);
		} else {
			d->change[i] = FULL;
		}
		d->n_patch += d->change[i] == PATCH;
		d->n_full += d->change[i] == FULL;
	}
	while (k < s->n_peers)
		d->removed[d->n_removed++] = s->peers[k++].id;
	return true;
}

/* ---- the parts of a message ---- */

static int write_peers(struct json_w *w, const struct mapview *v, size_t viewer, const struct diff *d, bool first)
{
	if (d->n_removed) {
		json_w_arr(w, "PeersRemoved");
		for (size_t i = 0; i < d->n_removed; i++)
			json_w_i64(w, NULL, d->removed[i]);
		json_w_end(w);
	}
	if (d->n_full) {
		json_w_arr(w, first ? "Peers" : "PeersChanged");
		for (size_t i = 0; i < d->n_wanted; i++)
			if (d->change[i] == FULL && write_peer(w, v, viewer, &d->wanted[i]) != 0)
				return -ENOMEM;
		json_w_end(w);
	}
	if (d->n_patch) {
		json_w_arr(w, "PeersChangedPatch");
		for (size_t i = 0; i < d->n_wanted; i++)
			if (d->change[i] == PATCH)
				write_patch(w, d->old[i], &d->wanted[i]);
		json_w_end(w);
	}
	return 0;
}

static bool commit_peers(struct mapstream *s, const struct diff *d)
{
	struct sent_peer *peers = calloc(d->n_wanted + 1, sizeof(*peers));

	if (!peers)
		return false;
	for (size_t i = 0; i < d->n_wanted; i++)
		remember(&peers[i], &d->wanted[i]);
	free(s->peers);
	s->peers = peers;
	s->n_peers = d->n_wanted;
	return true;
}

/* The node itself, with its attributes. Written only if it differs from what was sent. */
static int write_self(struct mapstream *s, struct json_w *w, const struct mapview *v, size_t viewer, bool *any)
{
	struct map_node n = v->nodes[viewer]->node; /* borrows */
	struct map_cap caps[64] = { 0 };
	struct routed r = { 0 };
	const char *const *attrs;
	uint64_t h = v->nodes[viewer]->static_hash;
	size_t n_attrs;

	attrs = policyset_attrs(v->policy->set, viewer, &n_attrs);
	for (size_t i = 0; i < n_attrs && i < ARRAY_LEN(caps); i++) {
		caps[i].name = (char *)(uintptr_t)attrs[i];
		h = view_hash_str(h, attrs[i]);
		n.caps = caps;
		n.n_caps = i + 1;
	}
	if (!route_node(v, viewer, viewer, &r)) {
		routed_free(&r);
		return -ENOMEM;
	}
	h = view_hash_i64(h ^ hash_routed(&r), n.key_expiry_s);
	/* Its own endpoints, home and disco key it knows best: they don't count as a change. */
	if (!s->started || h != s->self_hash) {
		n.online = TRI_TRUE;
		n.last_seen_s = 0;
		n.machine_authorized = !n.expired;
		write_node(w, "Node", &n, &r);
		s->self_hash = h;
		*any = true;
	}
	routed_free(&r);
	return 0;
}

static int write_filter(struct mapstream *s, struct json_w *w, const struct mapview *v, size_t viewer, bool *any)
{
	struct filter_rules rules;
	struct json_w sub = { 0 };
	size_t size;
	uint64_t h;
	char *text;

	if (s->started && s->policy_id == v->policy->id)
		return 0; /* the same compilation */
	if (policyset_filter(v->policy->set, viewer, &rules) != 0)
		return -ENOMEM;
	ctl_filter_rules_write(&sub, NULL, &rules);
	filter_rules_wipe(&rules);
	text = json_w_take(&sub, &size);
	if (!text)
		return -ENOMEM;
	h = view_hash(VIEW_HASH_INIT, text, size);
	if (!s->started || h != s->filter_hash) {
		json_w_obj(w, "PacketFilters");
		json_w_raw(w, "base", text, size);
		json_w_end(w);
		s->filter_hash = h;
		*any = true;
	}
	free(text);
	return 0;
}

static int write_ssh(struct mapstream *s, struct json_w *w, const struct mapview *v, size_t viewer, bool *any)
{
	bool has = policyset_has_ssh(v->policy->set);
	struct bytes text = { 0 };
	uint64_t h;

	if (!has) {
		if (s->had_ssh) { /* absent would mean "as before" */
			json_w_obj(w, "SSHPolicy");
			json_w_null(w, "rules");
			json_w_end(w);
			*any = true;
		}
		s->had_ssh = false;
		return 0;
	}
	if (policyset_ssh(v->policy->set, viewer, v->url, &text) != 0) {
		bytes_wipe(&text);
		return -ENOMEM;
	}
	h = view_hash(VIEW_HASH_INIT, bytes_data(&text), bytes_size(&text));
	if (!s->had_ssh || h != s->ssh_hash) {
		json_w_raw(w, "SSHPolicy", (const char *)bytes_data(&text), bytes_size(&text));
		s->ssh_hash = h;
		s->had_ssh = true;
		*any = true;
	}
	bytes_wipe(&text);
	return 0;
}

static void write_dns(struct mapstream *s, struct json_w *w, const struct mapview *v, bool *any)
{
	uint64_t h = view_hash_str(VIEW_HASH_INIT, v->domain);
	char *domains[] = { v->domain };
	struct dns_route route = { .suffix = v->domain };
	const struct dns_config dns = { .proxied = true, .domains = domains, .n_domains = 1, .routes = &route,
					.n_routes = 1 };

	if (s->started && h == s->dns_hash)
		return;
	ctl_dns_write(w, "DNSConfig", &dns);
	s->dns_hash = h;
	*any = true;
}

/* Index of a profile in the picture, which has them in ascending order; -1 if there is none. */
static long user_index(const struct mapview *v, int64_t id)
{
	size_t lo = 0, hi = v->n_users;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (v->users[mid].profile.id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < v->n_users && v->users[lo].profile.id == id ? (long)lo : -1;
}

/* Notes that the profile was sent. 1: it had to be, as it is new or has changed; 0: it was there already. */
static int note_user(struct mapstream *s, const struct view_user *u)
{
	size_t lo = 0, hi = s->n_users;
	struct sent_user *list;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->users[mid].id < u->profile.id)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < s->n_users && s->users[lo].id == u->profile.id) {
		int differs = s->users[lo].hash != u->hash;

		s->users[lo].hash = u->hash;
		return differs;
	}
	list = realloc(s->users, (s->n_users + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	s->users = list;
	memmove(&list[lo + 1], &list[lo], (s->n_users - lo) * sizeof(*list));
	list[lo] = (struct sent_user){ u->profile.id, u->hash };
	s->n_users++;
	return 1;
}

/* Profiles come no later than the first node that names them. */
static int write_users(struct mapstream *s, struct json_w *w, const struct mapview *v, size_t viewer,
		       const struct diff *d, bool *any)
{
	bool open = false, *need;
	int err = 0;

	if (s->started && !d->n_full && s->users_hash == v->users_hash)
		return 0; /* nobody new, nobody renamed */
	need = calloc(v->n_users + 1, sizeof(*need));
	if (!need)
		return -ENOMEM;
	for (size_t i = 0; i <= d->n_wanted; i++) {
		const struct map_node *n = i < d->n_wanted ? &d->wanted[i].vn->node : &v->nodes[viewer]->node;
		long at = user_index(v, n->user);

		if (at >= 0)
			need[at] = true;
	}
	for (size_t i = 0; i < v->n_users && err >= 0; i++) {
		err = need[i] ? note_user(s, &v->users[i]) : 0;
		if (err <= 0)
			continue;
		if (!open)
			json_w_arr(w, "UserProfiles");
		open = true;
		ctl_user_profile_write(w, NULL, &v->users[i].profile);
	}
	if (open)
		json_w_end(w);
	*any |= open;
	s->users_hash = v->users_hash;
	free(need);
	return err < 0 ? err : 0;
}

static void write_constants(struct json_w *w, const struct mapview *v)
{
	json_w_str(w, "Domain", v->host);
	json_w_bool(w, "CollectServices", false);
	/* Or stock clients upload their logs to their vendor. */
	json_w_obj(w, "Debug");
	json_w_bool(w, "DisableLogTail", true);
	json_w_end(w);
}

static int write_all(struct mapstream *s, struct json_w *w, const struct mapview *v, size_t viewer,
		     const struct diff *d, bool *any)
{
	int err = write_self(s, w, v, viewer, any);

	if (!s->started || s->derp_hash != v->derp_hash) {
		ctl_derp_map_write(w, "DERPMap", &v->derp);
		s->derp_hash = v->derp_hash;
		*any = true;
	}
	write_dns(s, w, v, any);
	if (!err)
		err = write_users(s, w, v, viewer, d, any);
	if (!err)
		err = write_filter(s, w, v, viewer, any);
	if (!err)
		err = write_ssh(s, w, v, viewer, any);
	*any |= d->n_removed || d->n_full || d->n_patch;
	if (!err)
		err = write_peers(w, v, viewer, d, !s->started);
	if (!s->started) {
		write_constants(w, v);
		*any = true;
	}
	return err;
}

int mapstream_next(struct mapstream *s, const struct mapview *v, int64_t wall_s, struct bytes *out)
{
	long viewer = mapview_index(v, s->node_id);
	struct diff d = { 0 };
	struct json_w w = { 0 };
	bool any = false;
	char *text = NULL;
	size_t size;
	int err = -ENOMEM;

	if (viewer < 0)
		return -ENOENT;
	if (make_diff(s, v, (size_t)viewer, &d)) {
		/* Room for a whole map at once, if it takes one, not by doubling and copying; no more of it than is
		 * written becomes memory. */
		if (!s->started)
			(void)bytes_room(&w.out, v->n_nodes * NODE_TEXT_SIZE);
		json_w_obj(&w, NULL);
		err = write_all(s, &w, v, (size_t)viewer, &d, &any);
		json_w_time(&w, "ControlTime", wall_s);
		json_w_end(&w);
	}
	if (!err && any) {
		text = json_w_take(&w, &size);
		err = text ? bytes_append(out, text, size) : -ENOMEM;
	}
	if (!err && !commit_peers(s, &d))
		err = -ENOMEM;
	s->started = true;
	s->policy_id = v->policy->id;
	json_w_wipe(&w);
	diff_free(&d);
	free(text);
	return err ? -ENOMEM : any;
}
