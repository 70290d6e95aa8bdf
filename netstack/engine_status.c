/* SPDX-License-Identifier: MIT */
/* The node's status as the local API shows it (wire/status.h). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_int.h"
#include "wire/disco.h"

#define WARN_ROUTES "Some peers are advertising routes but --accept-routes is false"
#define WARN_SNAT "Routes are advertised, but this build does not translate the sources of their traffic: hosts " \
		  "behind them need a route back. When they have one, say so with --snat-subnet-routes=false"
#define WARN_DNS "MagicDNS is not in this build: this host does not resolve the names of peers. " \
		 "--accept-dns=false hides this"

/* Copies; an allocation that fails is remembered in '*bad', so that a filler asks once at its end. */
static char *dup_text(const char *text, bool *bad)
{
	char *c = strdup(text ? text : "");

	*bad |= !c;
	return c;
}

static struct prefix *dup_prefixes(const struct prefix *p, size_t n, bool *bad)
{
	struct prefix *c = n ? malloc(n * sizeof(*c)) : NULL;

	*bad |= n && !c;
	if (c)
		memcpy(c, p, n * sizeof(*c));
	return c;
}

static int64_t wall_of(const struct engine *e, struct mono now, struct mono t)
{
	return mono_is_zero(t) ? 0 : env_wall_ns(e->env) - mono_since_ns(now, t);
}

const char *es_region_code(const struct engine *e, uint32_t region)
{
	const struct derp_region *r = e->map ? derp_map_region(netmap_derp(e->map), region) : NULL;

	return r ? r->code : "";
}

/* First label of the node's name. */
char *es_base_name(const struct map_node *n, bool *bad)
{
	const char *dot = strchr(n->name, '.');
	char *c = *n->name ? strndup(n->name, dot ? (size_t)(dot - n->name) : strlen(n->name)) :
			     strdup(n->host.hostname);

	*bad |= !c;
	return c;
}

static char *cap_map(const struct map_node *n, bool *bad)
{
	struct json_w w = { 0 };
	char *text;

	if (!n->n_caps)
		return NULL;
	json_w_obj(&w, NULL);
	for (size_t i = 0; i < n->n_caps; i++) {
		const struct map_cap *c = &n->caps[i];

		if (!c->n_values) {
			json_w_null(&w, c->name);
			continue;
		}
		json_w_arr(&w, c->name);
		for (size_t j = 0; j < c->n_values; j++)
			json_w_raw(&w, NULL, c->values[j], strlen(c->values[j]));
		json_w_end(&w);
	}
	json_w_end(&w);
	text = json_w_take(&w, NULL);
	*bad |= !text;
	return text;
}

static void copy_tags(struct status_peer *s, const struct map_node *n, bool *bad)
{
	s->tags = n->n_tags ? calloc(n->n_tags, sizeof(*s->tags)) : NULL;
	for (size_t i = 0; s->tags && i < n->n_tags; i++)
		s->tags[s->n_tags++] = dup_text(n->tags[i], bad);
	s->capabilities = n->n_caps ? calloc(n->n_caps, sizeof(*s->capabilities)) : NULL;
	for (size_t i = 0; s->capabilities && i < n->n_caps; i++)
		s->capabilities[s->n_capabilities++] = dup_text(n->caps[i].name, bad);
	*bad |= (n->n_tags && !s->tags) || (n->n_caps && !s->capabilities);
}

/* What the map says about a node. */
static void from_map(const struct engine *e, struct status_peer *s, const struct map_node *n, bool *bad)
{
	s->id = dup_text(n->stable_id, bad);
	s->node_id = n->id;
	s->key = n->key;
	s->host_name = dup_text(n->host.hostname, bad);
	s->dns_name = dup_text(n->name, bad);
	s->os = dup_text(n->host.os, bad);
	s->user_id = n->user;
	s->ips = n->n_addrs ? calloc(n->n_addrs, sizeof(*s->ips)) : NULL;
	for (size_t i = 0; s->ips && i < n->n_addrs; i++)
		s->ips[s->n_ips++] = n->addrs[i].ip;
	s->allowed_ips = dup_prefixes(n->allowed_ips, n->n_allowed_ips, bad);
	s->n_allowed_ips = s->allowed_ips ? n->n_allowed_ips : 0;
	s->primary_routes = dup_prefixes(n->primary_routes, n->n_primary_routes, bad);
	s->n_primary_routes = s->primary_routes ? n->n_primary_routes : 0;
	copy_tags(s, n, bad);
	s->cap_map = cap_map(n, bad);
	s->cur_addr = dup_text("", bad);
	s->peer_relay = dup_text("", bad);
	s->relay = dup_text(es_region_code(e, n->home_derp), bad);
	s->created_ns = n->created_s * NS_PER_S;
	s->online = n->online == TRI_TRUE;
	s->last_seen_ns = s->online ? 0 : n->last_seen_s * NS_PER_S; /* who is here was not "last seen" */
	s->key_expiry_ns = n->key_expiry_s * NS_PER_S;
	s->expired = netmap_node_expired(n, env_wall_ns(e->env) / NS_PER_S);
	for (size_t i = 0; i < n->n_allowed_ips; i++)
		s->exit_node_option |= n->allowed_ips[i].bits == 0;
	s->exit_node = e->prefs.exit_node_id && *e->prefs.exit_node_id &&
		       strcmp(e->prefs.exit_node_id, n->stable_id) == 0;
	s->in_network_map = true;
	s->no_file_sharing_reason = dup_text("", bad);
}

const struct map_node *es_relay_node(const struct engine *e, const struct ladder_targets *t)
{
	const struct map_node *self = e->map ? netmap_self(e->map) : NULL;

	if (t->first.kind != PATH_RELAY || !self)
		return NULL;
	for (unsigned i = 0; i < ENGINE_RELAY_NAMES; i++) {
		const int64_t id = e->relay_names[i].node_id;

		if (id && disco_key_eq(&e->relay_names[i].server, &t->server))
			return id == self->id ? self : netmap_peer(e->map, id);
	}
	for (size_t i = 0; i < e->n_slots; i++) {
		const struct map_node *n = e->slots[i] ? e->slots[i]->node : NULL;

		for (size_t j = 0; n && er_is_target(e, n) && j < n->n_endpoints; j++)
			if (ip_eq(&n->endpoints[j].ip, &t->first.ep.ip))
				return n;
	}
	return NULL;
}

static void from_path(const struct engine *e, struct mono now, struct status_peer *s, const struct epeer *p,
		      bool *bad)
{
	const struct ladder_targets t = ep_targets(p, now);
	const struct map_node *relay = es_relay_node(e, &t);
	char text[PATH_TEXT_MAX];

	path_write(text, &t.first);
	if (t.is_trusted && t.first.kind == PATH_DIRECT) {
		free(s->cur_addr);
		s->cur_addr = dup_text(text, bad);
	} else if (t.is_trusted && t.first.kind == PATH_RELAY) {
		free(s->peer_relay);
		s->peer_relay = dup_text(text, bad);
	}
	s->meshd.type = dup_text(t.first.kind == PATH_DIRECT ? "direct" :
				 t.first.kind == PATH_RELAY  ? "peer-relay" :
				 t.first.kind == PATH_DERP   ? "derp" :
							       "",
				 bad);
	s->meshd.since_ns = wall_of(e, now, p->path_since);
	s->meshd.latency_ms = (double)t.latency_ns / 1e6;
	if (relay) {
		s->meshd.relay_name = es_base_name(relay, bad);
		if (relay->n_addrs)
			s->meshd.relay_ip = relay->addrs[0].ip;
	}
	if (t.first.kind != PATH_DIRECT)
		s->meshd.why_not_direct = es_why_not_direct(e, now, p, bad);
}

static void from_peer(const struct engine *e, struct mono now, struct status_peer *s, const struct epeer *p,
		      bool *bad)
{
	struct prober_view views[PROBER_CANDS_MAX];
	struct session_status st = { 0 };
	char text[EP_TEXT_MAX];
	size_t n;

	from_map(e, s, p->node, bad);
	from_path(e, now, s, p, bad);
	n = ep_candidates(e, p, now, views);
	s->addrs = n ? calloc(n, sizeof(*s->addrs)) : NULL;
	for (size_t i = 0; s->addrs && i < n; i++)
		s->addrs[s->n_addrs++] = dup_text(ep_write(text, &views[i].ep), bad);
	if (p->dev)
		device_status(p->dev, now, &st);
	s->last_handshake_ns = wall_of(e, now, st.last_handshake);
	s->rx_bytes = p->rx_bytes + p->hs_rx_bytes;
	s->tx_bytes = p->tx_bytes + p->hs_tx_bytes;
	s->last_write_ns = wall_of(e, now, p->last_sent);
	s->active = !mono_is_zero(p->last_sent) &&
		    mono_since_ns(now, p->last_sent) < ENGINE_ACTIVE_S * NS_PER_S;
	s->in_magicsock = true;
	s->in_engine = s->active || s->rx_bytes || s->tx_bytes;
}

static void fill_self(const struct engine *e, struct status *s, bool *bad)
{
	const struct map_node *self = netmap_self(e->map);
	char suffix[256];
	struct ep_text {
		char t[EP_TEXT_MAX];
	} text;

	s->self = calloc(1, sizeof(*s->self));
	s->tailnet = calloc(1, sizeof(*s->tailnet));
	if (!s->self || !s->tailnet) {
		*bad = true;
		return;
	}
	from_map(e, s->self, self, bad);
	s->self->online = ctlclient_status(e->ctl).is_live;
	free(s->self->relay);
	s->self->relay = dup_text(es_region_code(e, e->home), bad);
	s->self->meshd.type = dup_text("", bad);
	s->self->addrs = calloc(e->self.n_eps + 1, sizeof(*s->self->addrs));
	for (size_t i = 0; s->self->addrs && i < e->self.n_eps; i++)
		s->self->addrs[s->self->n_addrs++] = dup_text(ep_write(text.t, &e->self.eps[i]), bad);
	s->ips = calloc(self->n_addrs + 1, sizeof(*s->ips));
	for (size_t i = 0; s->ips && i < self->n_addrs; i++)
		s->ips[s->n_ips++] = self->addrs[i].ip;
	free(s->magic_dns_suffix);
	s->magic_dns_suffix = dup_text(netmap_suffix(e->map, suffix, sizeof(suffix)), bad);
	s->tailnet->name = dup_text(netmap_domain(e->map), bad);
	s->tailnet->magic_dns_suffix = dup_text(s->magic_dns_suffix, bad);
	s->tailnet->magic_dns_enabled = netmap_dns(e->map)->proxied;
}

/* Before the first map: clients take it for granted that there is an own node. */
static void fill_nobody(const struct engine *e, struct status *s, bool *bad)
{
	const struct map_node nobody = { .key = e->node_key,
					 .stable_id = (char[]){ "" },
					 .name = (char[]){ "" },
					 .host = { .os = (char[]){ "linux" } } };

	s->self = calloc(1, sizeof(*s->self));
	if (!s->self) {
		*bad = true;
		return;
	}
	from_map(e, s->self, &nobody, bad);
	free(s->self->host_name);
	s->self->host_name = dup_text(e->hostname, bad);
	s->self->meshd.type = dup_text("", bad);
	s->self->in_network_map = false;
}

static void add_user(const struct engine *e, struct status *s, int64_t id, bool *bad)
{
	const struct user_profile *u = netmap_user(e->map, id);
	struct status_user *list;

	for (size_t i = 0; i < s->n_users; i++)
		if (s->users[i].id == id)
			return;
	list = u ? realloc(s->users, (s->n_users + 1) * sizeof(*list)) : NULL;
	if (!list)
		return;
	s->users = list;
	list[s->n_users++] =
		(struct status_user){ .id = id,
				      .login_name = dup_text(u->login_name, bad),
				      .display_name = dup_text(u->display_name, bad),
				      .profile_pic_url = dup_text(u->profile_pic_url, bad) };
}

static void count_path(struct status_path_counts *c, const struct status_peer *p)
{
	if (!p->online && !p->active)
		c->offline++;
	else if (!p->active)
		c->idle++;
	else if (*p->cur_addr)
		c->direct++;
	else if (*p->peer_relay)
		c->peer_relay++;
	else
		c->derp++;
}

static void fill_peers(const struct engine *e, struct mono now, struct status *s, bool *bad)
{
	s->peers = calloc(e->n_slots + 1, sizeof(*s->peers));
	for (size_t i = 0; s->peers && i < e->n_slots; i++) {
		const struct epeer *p = e->slots[i];

		if (!p)
			continue;
		from_peer(e, now, &s->peers[s->n_peers], p, bad);
		count_path(&s->meshd.path_counts, &s->peers[s->n_peers++]);
		add_user(e, s, p->node->user, bad);
	}
	*bad |= !s->peers;
}

static int key_order(const void *a, const void *b)
{
	const struct map_node *const *x = a, *const *y = b;

	return memcmp((*x)->key.b, (*y)->key.b, KEY_SIZE);
}

int engine_status_ids(const struct engine *e, int64_t **ids, size_t *n)
{
	const struct map_node **nodes = calloc(e->n_slots + 1, sizeof(const struct map_node *));

	*n = 0;
	*ids = calloc(e->n_slots + 1, sizeof(**ids));
	if (!nodes || !*ids) {
		free(nodes);
		free(*ids);
		*ids = NULL;
		return -ENOMEM;
	}
	for (size_t i = 0; e->map && i < e->n_slots; i++)
		if (e->slots[i])
			nodes[(*n)++] = e->slots[i]->node;
	qsort(nodes, *n, sizeof(const struct map_node *), key_order);
	for (size_t i = 0; i < *n; i++)
		(*ids)[i] = nodes[i]->id;
	free(nodes);
	return 0;
}

int engine_status_peer(const struct engine *e, struct mono now, int64_t id, struct status *s, struct status_peer *p)
{
	const struct epeer *peer = e->map ? ep_by_node(e, id) : NULL;
	bool bad = false;

	if (!peer)
		return -ENOENT;
	from_peer(e, now, p, peer, &bad);
	if (!bad) {
		count_path(&s->meshd.path_counts, p);
		add_user(e, s, peer->node->user, &bad);
	}
	if (!bad)
		return 0;
	status_peer_wipe(p);
	return -ENOMEM;
}

/* ---- health ---- */

static void add_health(struct status *s, const char *code, const char *text, bool *bad)
{
	*bad |= status_add_health(s, code, text) < 0;
}

static bool has_unaccepted_routes(const struct engine *e)
{
	for (size_t i = 0; !e->prefs.route_all && i < e->n_slots; i++)
		if (e->slots[i] && e->slots[i]->node->n_primary_routes)
			return true;
	return false;
}

/* The control server's DNS asks for what this build lacks. */
static bool wants_dns(const struct engine *e)
{
	const struct dns_config *d = e->map ? netmap_dns(e->map) : NULL;

	return e->prefs.corp_dns && d && (d->proxied || d->n_resolvers || d->n_routes);
}

/* What is on by default and not in this build: told where somebody could rely on it (cli 0.3, 2.1). */
static void fill_unbuilt(const struct engine *e, struct status *s, bool *bad)
{
	if (e->prefs.n_advertise_routes && !e->prefs.no_snat)
		add_health(s, "snat-not-built", WARN_SNAT, bad);
	if (wants_dns(e))
		add_health(s, "magicdns-not-built", WARN_DNS, bad);
}

static void fill_health(const struct engine *e, struct mono now, struct status *s, bool *bad)
{
	const struct engine_state st = engine_state(e);
	const bool is_login = st.is_fatal || st.state == STATE_NEEDS_LOGIN;
	char *const *texts;
	char line[ENGINE_ERR_MAX + 64];
	size_t n;

	if (!e->prefs.want_running)
		add_health(s, "wantrunning-false", "Tailscale is stopped.", bad);
	if (*st.error)
		add_health(s, is_login ? "login-state" : "not-in-map-poll", st.error, bad);
	else if (e->prefs.want_running && e->map && !st.is_live)
		add_health(s, "not-in-map-poll", "Not connected to the control server: using the last known map", bad);
	if (e->is_locked)
		add_health(s, "tailnet-lock-unverified", "Tailnet lock is on, which this build cannot verify: staying offline", bad);
	if (e->prefs.has_relay_port && e->relays.state == RELAYSERVER_FAILED) {
		(void)snprintf(line, sizeof(line), "The relay server cannot use UDP port %u: %s",
			       e->prefs.relay_port, strerror(-e->relays.err));
		add_health(s, "relay-port-bind-failed", line, bad);
	}
	if (e->prefs.has_relay_port && engine_relay_disabled(e))
		add_health(s, "relay-disabled-by-admin", "Relay server is disabled for this node by the tailnet admin", bad);
	if (st.state == STATE_RUNNING && e->home && mono_due(mono_add_s(e->home_lost, ENGINE_DERP_QUIET_S), now)) {
		(void)snprintf(line, sizeof(line), "No connection to the home relay server (region %s)",
			       es_region_code(e, e->home));
		add_health(s, "no-derp-connection", line, bad);
	}
	if (has_unaccepted_routes(e))
		add_health(s, "accept-routes-off", WARN_ROUTES, bad);
	fill_unbuilt(e, s, bad);
	n = e->map ? netmap_health(e->map, &texts) : 0;
	for (size_t i = 0; i < n; i++)
		add_health(s, "control-health", texts[i], bad);
}

static void fill_relay(const struct engine *e, struct status_relay_server *r, bool *bad)
{
	r->on = e->prefs.has_relay_port;
	r->port = e->relays.state == RELAYSERVER_ON ? e->relays.port[0] : 0;
	r->sessions = e->relays.n_bound;
	r->connecting = (int64_t)e->relays.n_live - e->relays.n_bound;
	if (r->on && e->relays.state == RELAYSERVER_FAILED)
		r->error = dup_text(strerror(-e->relays.err), bad);
	else if (r->on && engine_relay_disabled(e))
		r->error = dup_text("disabled for this node by the tailnet admin", bad);
}

int engine_status(const struct engine *e, struct mono now, bool peers, struct status *s)
{
	const struct engine_state st = engine_state(e);
	bool bad = false;

	*s = (struct status){ .tun = true, .have_node_key = !key_is_zero(e->node_key.b) };
	s->version = dup_text(API_VERSION_SHORT, &bad);
	s->backend_state = dup_text(status_state_name(st.state), &bad);
	s->auth_url = dup_text(st.auth_url, &bad);
	s->magic_dns_suffix = dup_text("", &bad);
	s->meshd.schema_version = 1;
	s->meshd.meshd_version = dup_text(API_MESHD_VERSION, &bad);
	s->meshd.server = dup_text(e->prefs.control_url, &bad);
	s->meshd.accept_routes = e->prefs.route_all;
	s->meshd.control_connected = st.is_live;
	s->meshd.netmap_is_cached = e->map && e->map_is_cached;
	s->meshd.udp_port = e->port4;
	s->meshd.tun_name = dup_text("", &bad); /* the daemon knows it */
	fill_relay(e, &s->meshd.relay_server, &bad);
	fill_health(e, now, s, &bad);
	if (e->map) {
		fill_self(e, s, &bad);
		add_user(e, s, netmap_self(e->map)->user, &bad);
	} else {
		fill_nobody(e, s, &bad);
	}
	if (e->map && peers)
		fill_peers(e, now, s, &bad);
	if (!bad)
		return 0;
	status_wipe(s);
	*s = (struct status){ 0 };
	return -ENOMEM;
}
