/* SPDX-License-Identifier: MIT */
/* The control client and what a map means: peers, routes, filter, regions. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_int.h"
#include "policy/filter.h"
#include "wg/routes.h"

enum { EXPIRY_LATE_S = 1 };

static int64_t wall_s(const struct engine *e)
{
	return env_wall_ns(e->env) / NS_PER_S;
}

/* ---- client ---- */

int em_new_client(struct engine *e, const struct engine_cfg *cfg)
{
	struct ctl_map_response msg = { 0 };
	struct netmap_change change = { 0 };

	if (cfg->cached_map && cfg->saved &&
	    netmap_load((const uint8_t *)cfg->cached_map, cfg->cached_map_size, &msg) == 0) {
		if (netmap_apply(NULL, &msg, NETMAP_FULL, wall_s(e), &e->map, &change) == 0) {
			e->map_is_cached = true;
			netmap_change_wipe(&change);
			(void)snprintf(e->map_url, sizeof(e->map_url), "%s", cfg->saved->url);
		}
		ctl_map_response_wipe(&msg);
	}
	e->ctl = ctlclient_new(cfg->saved, e->map, e->env);
	return e->ctl ? 0 : -ENOMEM;
}

static void wipe_hostinfo_borrowed(struct hostinfo *h)
{
	free(h->derp_latency);
}

void em_hostinfo(struct engine *e, struct mono now)
{
	const char *name = e->prefs.hostname && *e->prefs.hostname ? e->prefs.hostname : e->hostname;
	const struct netcheck_report *r = netcheck_report(e->net);
	struct hostinfo h = {
		.hostname = (char *)(uintptr_t)name,
		.os = (char *)(uintptr_t) "linux",
		.os_version = e->os_version,
		.version = (char *)(uintptr_t)API_VERSION_SHORT,
		.backend_log_id = e->log_id,
		.routable_ips = e->prefs.advertise_routes,
		.n_routable_ips = e->prefs.n_advertise_routes,
		.request_tags = e->prefs.advertise_tags,
		.n_request_tags = e->prefs.n_advertise_tags,
		.peer_relay = e->prefs.has_relay_port,
		.shields_up = e->prefs.shields_up,
		.no_logs = true,
	};

	if (r && netcheck_netinfo(r, &h) < 0)
		e->out_dropped++;
	h.have_port_map = ep_is_set(&e->portmap_told);
	h.preferred_derp = e->home;
	h.has_netinfo = h.has_netinfo || e->home;
	if (ctlclient_set_host(e->ctl, now, &h) < 0)
		e->out_dropped++;
	wipe_hostinfo_borrowed(&h);
}

void em_start(struct engine *e, struct mono now, const char *auth_key, bool force)
{
	const struct ctlclient_prefs p = {
		.url = e->prefs.control_url,
		.auth_key = auth_key,
		.force_reauth = force,
		.ephemeral = e->is_ephemeral,
	};
	char why[CTLCLIENT_TEXT_MAX];

	em_hostinfo(e, now);
	ctlclient_set_disco(e->ctl, now, &e->disco);
	if (ctlclient_start(e->ctl, now, &p, why) < 0)
		log_error(e->env->log, "control: %s", why);
	e->state_due = true;
}

/* ---- view and host ---- */

static bool is_exit(const struct prefix *p)
{
	return p->bits == 0;
}

/* May traffic for this prefix of the peer go into the tunnel? Own addresses always; subnets when the user
 * accepts routes; default routes only of the exit node he chose. */
static bool takes_route(const struct engine *e, const struct map_node *n, const struct prefix *p)
{
	for (size_t i = 0; i < n->n_addrs; i++)
		if (prefix_eq(&n->addrs[i], p))
			return true;
	if (is_exit(p))
		return e->prefs.exit_node_id && strcmp(e->prefs.exit_node_id, n->stable_id) == 0;
	return e->prefs.route_all;
}

static size_t count_routes(const struct engine *e)
{
	size_t n = 0;

	for (size_t i = 0; i < e->n_slots; i++)
		if (e->slots[i] && e->slots[i]->is_usable)
			n += e->slots[i]->node->n_allowed_ips;
	return n;
}

static bool is_online(const struct engine *e)
{
	return e->map && e->has_device && e->prefs.want_running && !e->is_locked &&
	       netmap_self(e->map)->machine_authorized &&
	       !netmap_node_expired(netmap_self(e->map), wall_s(e));
}

static struct routes *build_routes(struct engine *e)
{
	size_t max = count_routes(e), n = 0;
	struct routes_entry *list = calloc(max + 1, sizeof(*list));
	struct routes *r;
	uint64_t seed;

	for (size_t i = 0; list && i < e->n_slots; i++) {
		const struct epeer *p = e->slots[i];

		if (!p || !p->is_usable)
			continue;
		for (size_t j = 0; j < p->node->n_allowed_ips; j++)
			if (takes_route(e, p->node, &p->node->allowed_ips[j]))
				list[n++] = (struct routes_entry){ p->node->allowed_ips[j], p->id.index };
	}
	env_fill(e->env, &seed, sizeof(seed));
	r = list ? routes_new(list, n, seed) : NULL;
	free(list);
	return r;
}

static bool has_cap_sources(const struct filter_rules *rules)
{
	for (size_t i = 0; i < rules->n_rules; i++)
		for (size_t k = 0; k < rules->rules[i].n_srcs; k++)
			if (rules->rules[i].srcs[k].kind == FILTER_SRC_CAP)
				return true;
	return false;
}

static struct filter *build_filter(struct engine *e)
{
	const struct map_node *self = netmap_self(e->map);
	const struct map_node **peers = calloc(e->n_slots + 1, sizeof(*peers));
	struct filter_cfg cfg = {
		.rules = netmap_filter(e->map),
		.local = self->allowed_ips,
		.n_local = self->n_allowed_ips,
		.peers = peers,
		.shields_up = e->prefs.shields_up,
	};
	struct filter *f;

	e->filter_has_caps = has_cap_sources(cfg.rules);
	for (size_t i = 0; peers && i < e->n_slots; i++)
		if (e->slots[i])
			peers[cfg.n_peers++] = e->slots[i]->node;
	f = peers ? filter_new(&cfg) : NULL;
	free((void *)peers);
	return f;
}

/* The data plane forgets a peer's keys with it: so does the session. */
static void leave_view(struct engine *e, struct epeer *p)
{
	if (p->in_view && p->dev)
		device_reset(&e->device, p->dev);
	p->in_view = false;
}

static struct engine_view_peer view_peer(const struct epeer *p)
{
	return (struct engine_view_peer){ .id = p->id,
					  .is_wg_only = p->node->wireguard_only,
					  .is_jailed = p->node->jailed };
}

/* False: no memory, nothing has changed. */
static bool publish_view(struct engine *e, struct mono now)
{
	struct engine_view_peer *list = calloc(e->n_slots + 1, sizeof(*list));
	struct engine_out *o = list ? eq_push(e, ENGINE_VIEW, NULL, 0) : NULL;
	size_t n = 0;

	if (!o) {
		free(list);
		return false;
	}
	for (size_t i = 0; is_online(e) && i < e->n_slots; i++)
		if (e->slots[i])
			list[n++] = view_peer(e->slots[i]);
	CONTAINER_OF(o, struct engine_item, out)->owned[0] = list;
	o->view.peers = list;
	o->view.n_peers = n;
	e->routes = NULL;
	if (is_online(e)) {
		o->view.routes = e->routes = build_routes(e);
		o->view.filter = build_filter(e);
	}
	for (size_t i = 0; i < e->n_slots; i++) {
		struct epeer *p = e->slots[i];

		if (p && n)
			ep_in_view(e, now, p); /* behind the view in the line of outputs */
		else if (p)
			leave_view(e, p);
	}
	return true;
}

/* False: no memory, nothing has changed. */
static bool publish_host(struct engine *e)
{
	const struct map_node *self = e->map ? netmap_self(e->map) : NULL;
	size_t max = count_routes(e), n = 0;
	struct prefix *routes = calloc(max + 1, sizeof(*routes));
	struct prefix *addrs = calloc((self ? self->n_addrs : 0) + 1, sizeof(*addrs));
	struct engine_out *o = routes && addrs ? eq_push(e, ENGINE_HOST, NULL, 0) : NULL;

	if (!o) {
		free(routes);
		free(addrs);
		return false;
	}
	CONTAINER_OF(o, struct engine_item, out)->owned[0] = routes;
	CONTAINER_OF(o, struct engine_item, out)->owned[1] = addrs;
	o->host.is_up = is_online(e);
	for (size_t i = 0; o->host.is_up && i < e->n_slots; i++) {
		const struct epeer *p = e->slots[i];

		if (!p || !p->is_usable)
			continue;
		for (size_t j = 0; j < p->node->n_allowed_ips; j++)
			if (takes_route(e, p->node, &p->node->allowed_ips[j]))
				routes[n++] = p->node->allowed_ips[j];
	}
	for (size_t i = 0; o->host.is_up && i < self->n_addrs; i++)
		addrs[o->host.n_addrs++] = self->addrs[i];
	o->host.addrs = addrs;
	o->host.routes = routes;
	o->host.n_routes = hostroutes_all(&e->hostroutes, routes, n);
	return true;
}

/* ---- changes of few peers ---- */

/* The routes of a peer that go into the tunnel, appended to a list; false: there is no room. */
static bool add_routes(const struct engine *e, const struct epeer *p, struct routes_entry *list, size_t *n)
{
	for (size_t j = 0; p->is_usable && j < p->node->n_allowed_ips; j++) {
		if (!takes_route(e, p->node, &p->node->allowed_ips[j]))
			continue;
		if (*n == ENGINE_CHANGE_ROUTES)
			return false;
		list[(*n)++] = (struct routes_entry){ p->node->allowed_ips[j], p->id.index };
	}
	return true;
}

void em_added(struct engine *e, const struct epeer *p)
{
	struct engine_change *c = &e->change;

	if (c->n_added < ENGINE_CHANGE_MAX)
		c->added[c->n_added++] = p->id;
	else
		e->view_due = e->host_due = true;
}

void em_gone(struct engine *e, const struct epeer *p)
{
	struct engine_change *c = &e->change;

	if (p->in_view && c->n_gone < ENGINE_CHANGE_MAX && add_routes(e, p, c->gone_routes, &c->n_gone_routes))
		c->gone[c->n_gone++] = p->id;
	else
		e->view_due = e->host_due = true;
}

/* What tells of a change, made whole before anything is changed. */
struct change {
	struct engine_item *view, *host;
	struct engine_view_peer *peers;
	struct peer_id *gone;
	struct prefix *in, *out; /* routes of the host that come and go */
	size_t n_in, n_out;
};

static bool change_new(struct engine *e, struct change *t, const struct routes_entry *added, size_t n_added)
{
	const struct engine_change *c = &e->change;

	t->view = eq_new(e, ENGINE_VIEW, NULL, 0);
	t->host = eq_new(e, ENGINE_HOST, NULL, 0);
	t->peers = calloc(c->n_added + 1, sizeof(*t->peers));
	t->gone = calloc(c->n_gone + 1, sizeof(*t->gone));
	t->in = calloc(n_added + 1, sizeof(*t->in));
	t->out = calloc(c->n_gone_routes + 1, sizeof(*t->out));
	if (!t->view || !t->host || !t->peers || !t->gone || !t->in || !t->out)
		return false;
	for (; t->n_in < n_added; t->n_in++)
		t->in[t->n_in] = added[t->n_in].prefix;
	for (; t->n_out < c->n_gone_routes; t->n_out++)
		t->out[t->n_out] = c->gone_routes[t->n_out].prefix;
	return hostroutes_change(&e->hostroutes, t->in, &t->n_in, t->out, &t->n_out);
}

static void change_free(struct change *t)
{
	eq_drop(t->view);
	eq_drop(t->host);
	free(t->peers);
	free(t->gone);
	free(t->in);
	free(t->out);
}

static void push_change(struct engine *e, struct mono now, struct change *t)
{
	const struct engine_change *c = &e->change;
	struct engine_out *v = &t->view->out, *h = &t->host->out;

	t->view->owned[0] = t->peers;
	t->view->owned[1] = t->gone;
	t->host->owned[0] = t->in;
	t->host->owned[1] = t->out;
	v->view = (struct engine_view){ .is_change = true, .peers = t->peers, .gone = t->gone, .routes = e->routes };
	h->host = (struct engine_host){ .is_up = true, .is_change = true, .routes = t->in, .n_routes = t->n_in,
					.gone = t->out, .n_gone = t->n_out };
	eq_add(e, t->view);
	eq_add(e, t->host);
	for (size_t i = 0; i < c->n_gone; i++)
		t->gone[v->view.n_gone++] = c->gone[i];
	for (size_t i = 0; i < c->n_added; i++) {
		struct epeer *p = ep_get(e, c->added[i]);

		if (!p)
			continue;
		t->peers[v->view.n_peers++] = view_peer(p);
		ep_in_view(e, now, p); /* behind the view in the line of outputs */
	}
}

/* The two outputs for what came and went; false: it takes the whole view. */
static bool publish_change(struct engine *e, struct mono now)
{
	const struct engine_change *c = &e->change;
	struct routes_entry added[ENGINE_CHANGE_ROUTES];
	struct change t = { 0 };
	struct routes *routes;
	size_t n = 0;

	if (!e->routes || e->filter_has_caps || !is_online(e))
		return false;
	for (size_t i = 0; i < c->n_added; i++) {
		const struct epeer *p = ep_get(e, c->added[i]);

		if (p && !add_routes(e, p, added, &n))
			return false;
	}
	/* The routes last: a version of them that nobody takes over would be lost with all it shares. */
	routes = change_new(e, &t, added, n) ? routes_patch(e->routes, c->gone_routes, c->n_gone_routes, added, n) : NULL;
	if (!routes) {
		change_free(&t);
		return false;
	}
	e->routes = routes;
	push_change(e, now, &t);
	return true;
}

void engine_view_failed(struct engine *e, bool is_change)
{
	e->routes = NULL;
	e->view_due |= is_change;
	e->host_due |= is_change;
}

void em_publish(struct engine *e, struct mono now)
{
	const bool has_change = e->change.n_added || e->change.n_gone;

	if (has_change && (e->view_due || e->host_due || !publish_change(e, now)))
		e->view_due = e->host_due = true;
	e->change.n_added = e->change.n_gone = e->change.n_gone_routes = 0;
	/* What there is no memory for stays due: the next event tries again. */
	if (e->view_due)
		e->view_due = !publish_view(e, now);
	if (e->host_due)
		e->host_due = !publish_host(e);
}

/* ---- map ---- */

static void set_usable(struct engine *e, struct epeer *p, int64_t s)
{
	const bool ok = !netmap_node_expired(p->node, s);

	if (ok == p->is_usable)
		return;
	p->is_usable = ok;
	if (!ok && p->dev)
		device_reset(&e->device, p->dev);
	e->view_due = e->host_due = true;
	e->relays_due |= p->is_relay;
}

static void expire_at(struct engine *e, struct mono now, int64_t at_s, int64_t s)
{
	e->expiry_s = at_s;
	e->expiry_at = at_s ? mono_add_s(now, at_s - s + EXPIRY_LATE_S) : MONO_NEVER;
}

static void check_expiry(struct engine *e, struct mono now)
{
	const int64_t s = wall_s(e);

	for (size_t i = 0; i < e->n_slots; i++)
		if (e->slots[i])
			set_usable(e, e->slots[i], s);
	expire_at(e, now, e->map ? netmap_next_expiry(e->map, s) : 0, s);
}

/* The same for one peer that changed. The next expiry only comes nearer: that of a peer that left is looked at
 * in vain, once. */
static void check_peer_expiry(struct engine *e, struct mono now, struct epeer *p)
{
	const int64_t s = wall_s(e), at_s = p->node->key_expiry_s;

	set_usable(e, p, s);
	if (at_s > s && (!e->expiry_s || at_s < e->expiry_s))
		expire_at(e, now, at_s, s);
}

static void apply_peer(struct engine *e, struct mono now, const struct netmap_node_change *c)
{
	struct epeer *p = ep_by_node(e, c->id);
	int err = 0;

	if (p && (c->bits & (NETMAP_NODE_REMOVED | NETMAP_NODE_KEY))) {
		ep_del(e, now, p);
		p = NULL;
	}
	if (!c->node)
		return;
	if (p)
		ep_update(e, now, p, c->node, c->bits);
	else
		err = ep_add(e, now, c->node);
	if (err)
		log_warn(e->env->log, "map: %s: cannot be added: %s", c->node->name, strerror(-err));
	p = ep_by_node(e, c->id);
	if (p)
		check_peer_expiry(e, now, p);
}

/* Peers that are equal may still have moved to other memory. */
static void refresh_nodes(struct engine *e)
{
	for (size_t i = 0; i < e->n_slots; i++) {
		const struct map_node *n = e->slots[i] ? netmap_peer(e->map, e->slots[i]->node_id) : NULL;

		if (n)
			e->slots[i]->node = n;
	}
}

static void apply_change(struct engine *e, struct mono now, const struct netmap_change *c)
{
	const unsigned all = NETMAP_SELF | NETMAP_FILTER;
	bool event = c->bits & NETMAP_FILTER;

	for (size_t i = 0; i < c->n_peers; i++) {
		const struct netmap_node_change *pc = &c->peers[i];

		event |= pc->node && pc->node->host.peer_relay && (!pc->old || !pc->old->host.peer_relay);
		apply_peer(e, now, pc);
	}
	e->is_locked = netmap_is_locked(e->map);
	if (c->bits & all) {
		e->view_due = e->host_due = e->relays_due = true;
		check_expiry(e, now);
	}
	if (c->bits & NETMAP_DERP)
		en_derp_map(e, now, netmap_derp(e->map));
	if (c->bits & NETMAP_SELF)
		er_set(e, now);
	if (e->relays_due || event)
		er_candidates(e, now, event);
	e->state_due |= c->bits & (NETMAP_SELF | NETMAP_HEALTH | NETMAP_LOCK);
}

static void persist_map(struct engine *e, bool is_on)
{
	struct engine_out *o = eq_push(e, ENGINE_PERSIST_MAP, NULL, 0);

	if (o)
		o->is_on = is_on;
}

void *engine_save_map(const struct engine *e, const char **url, size_t *size)
{
	struct bytes out = { .max = CTLJSON_MAP_MAX };

	if (!e->map)
		return NULL;
	*url = e->map_url;
	if (netmap_save(e->map, &out) != 0)
		bytes_wipe(&out);
	*size = bytes_size(&out);
	return out.buf; /* nothing was consumed: the data is at its start */
}

void em_take_map(struct engine *e, struct mono now, const struct netmap *map,
		 const struct netmap_change *change)
{
	struct netmap *old = e->map;

	e->map = netmap_get(map);
	e->map_at = now;
	e->map_is_cached = false;
	(void)snprintf(e->map_url, sizeof(e->map_url), "%s", ctlclient_saved(e->ctl)->url);
	apply_change(e, now, change);
	if (change->has_moved)
		refresh_nodes(e);
	ep_pump(e, now);
	netmap_put(old);
	if (change->bits)
		persist_map(e, true);
}

/* The map of the last run is used until the server speaks (RELIABILITY 7, rule 8). */
static void use_cached_map(struct engine *e, struct mono now)
{
	struct netmap_change change = { 0 };

	if (!e->map || netmap_diff(NULL, e->map, &change) < 0)
		return;
	apply_change(e, now, &change);
	netmap_change_wipe(&change);
}

static void drop_map(struct engine *e, struct mono now)
{
	for (size_t i = 0; i < e->n_slots; i++)
		if (e->slots[i])
			ep_del(e, now, e->slots[i]);
	netmap_put(e->map);
	e->map = NULL;
	e->view_due = e->host_due = true;
	persist_map(e, false);
}

/* ---- client's outputs ---- */

static void open_stream(struct engine *e, struct mono now, const struct ctlclient_out *c)
{
	uint32_t id = edp_stream(e, ENGINE_OWNER_CTL, c->id);
	struct engine_out *o = id ? eq_push(e, ENGINE_OPEN, NULL, 0) : NULL;
	struct stream_addr *a;

	if (!o) {
		edp_forget(e, id);
		ctlclient_closed(e->ctl, now, c->id, "too many streams");
		return;
	}
	a = &CONTAINER_OF(o, struct engine_item, out)->addr;
	(void)snprintf(a->host, sizeof(a->host), "%s", c->host);
	a->port = c->port;
	a->tls = c->tls == CTLCLIENT_PLAIN	? STREAM_PLAIN :
		 c->tls == CTLCLIENT_TLS_VERIFY ? STREAM_TLS_VERIFY :
						  STREAM_TLS_NOVERIFY;
	o->addr = a;
	o->stream = id;
}

static void ctl_output(struct engine *e, struct mono now, const struct ctlclient_out *c)
{
	struct engine_out *o;
	uint32_t id;

	switch (c->kind) {
	case CTLCLIENT_OUT_OPEN:
		open_stream(e, now, c);
		break;
	case CTLCLIENT_OUT_SEND:
		o = eq_push(e, ENGINE_STREAM_SEND, c->data, c->size);
		if (o)
			o->stream = edp_id(e, ENGINE_OWNER_CTL, c->id);
		break;
	case CTLCLIENT_OUT_CLOSE:
		id = edp_id(e, ENGINE_OWNER_CTL, c->id);
		o = id ? eq_push(e, ENGINE_STREAM_CLOSE, NULL, 0) : NULL;
		if (o)
			o->stream = id;
		edp_forget(e, id);
		break;
	case CTLCLIENT_OUT_PERSIST:
		o = eq_push(e, ENGINE_PERSIST, NULL, 0);
		if (o)
			o->saved = ctlclient_saved(e->ctl);
		break;
	case CTLCLIENT_OUT_STATUS:
		e->state_due = true;
		break;
	case CTLCLIENT_OUT_NETMAP:
		em_take_map(e, now, c->map, c->change);
		e->state_due = true;
		break;
	case CTLCLIENT_OUT_LOGOUT:
		drop_map(e, now);
		o = eq_push(e, ENGINE_LOGGED_OUT, ctlclient_logout_why(e->ctl),
			    strlen(ctlclient_logout_why(e->ctl)) + 1);
		if (o)
			o->name = (const char *)o->data;
		e->state_due = true;
		break;
	}
}

/* The client makes and rotates the node key; everything that is sealed with it follows. */
static void check_identity(struct engine *e, struct mono now)
{
	const struct node_key key = ctlclient_node_key(e->ctl);

	if (node_key_eq(&key, &e->node_key))
		return;
	if (ep_rekey(e, now) < 0)
		log_error(e->env->log, "wg: out of memory");
	e->view_due = true;
}

void em_pump(struct engine *e, struct mono now)
{
	struct ctlclient_out c;

	check_identity(e, now);
	while (ctlclient_poll(e->ctl, now, &c)) {
		check_identity(e, now);
		ctl_output(e, now, &c);
	}
	em_publish(e, now);
}

void em_tick(struct engine *e, struct mono now)
{
	ctlclient_tick(e->ctl, now);
	if (mono_due(e->expiry_at, now))
		check_expiry(e, now);
}

void engine_start(struct engine *e, struct mono now, const char *auth_key)
{
	e->is_started = true;
	check_identity(e, now);
	use_cached_map(e, now);
	er_set(e, now);
	if (e->prefs.want_running && e->prefs.control_url && *e->prefs.control_url)
		em_start(e, now, auth_key, false);
	e->state_due = e->view_due = e->host_due = true;
}

void engine_persisted(struct engine *e, struct mono now)
{
	ctlclient_persisted(e->ctl, now);
}

int engine_login(struct engine *e, struct mono now, const char *auth_key, bool force_reauth,
		 char why[static ENGINE_ERR_MAX])
{
	const struct ctlclient_prefs p = { .url = e->prefs.control_url, .auth_key = auth_key };
	int err = ctlclient_check(&p, why);

	if (err)
		return err;
	em_start(e, now, auth_key, force_reauth);
	return 0;
}

void engine_logout(struct engine *e, struct mono now)
{
	ctlclient_logout(e->ctl, now);
}

int engine_set_prefs(struct engine *e, struct mono now, const struct prefs *next, uint64_t changed,
		     char why[static ENGINE_ERR_MAX])
{
	const struct ctlclient_prefs p = { .url = next->control_url };
	const uint64_t link = PREF_BIT(PREF_WANT_RUNNING) | PREF_BIT(PREF_CONTROL_URL);
	struct prefs copy = { 0 };
	int err = next->want_running && next->control_url && *next->control_url ? ctlclient_check(&p, why) : 0;

	if (!err)
		err = prefs_copy(&copy, next);
	if (err) {
		if (err == -ENOMEM)
			(void)snprintf(why, ENGINE_ERR_MAX, "out of memory");
		return err;
	}
	copy.bound_relay_port = e->prefs.bound_relay_port;
	prefs_wipe(&e->prefs);
	e->prefs = copy;
	if (!e->is_started)
		return 0;
	if ((changed & link) && !e->prefs.want_running)
		ctlclient_stop(e->ctl, now);
	else if ((changed & link) && e->prefs.control_url && *e->prefs.control_url)
		em_start(e, now, NULL, false);
	else
		em_hostinfo(e, now);
	er_set(e, now);
	en_endpoints(e, now);
	if (changed & link)
		derpclient_set_home(&e->derp, now, e->prefs.want_running ? e->home : 0);
	e->view_due = e->host_due = e->state_due = true;
	return 0;
}
