/* SPDX-License-Identifier: MIT */
/* The local API over the engine: what handlers ask for, and the answers that come later. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "control/netmap.h"
#include "daemon/meshd.h"
#include "relay/relayserver.h"

/* ---- reading ---- */

/* What the workers have counted up to now. */
static void refresh_totals(struct meshd *m)
{
	struct peer_id id;
	size_t it = 0;

	while (engine_next_peer(m->engine, &it, &id)) {
		struct dp_peer_totals t;

		if (dp_peer_totals(m->dp, id, &t) == 0)
			engine_set_totals(m->engine, id, t.rx_bytes, t.tx_bytes);
	}
}

static int backend_status(void *ctx, bool peers, struct status *s)
{
	struct meshd *m = ctx;
	int err;

	refresh_totals(m);
	err = engine_status(m->engine, loop_now(m->loop), peers, s);

	if (err)
		return err;
	free(s->meshd.tun_name);
	s->meshd.tun_name = strdup(dp_ifname(m->dp));
	/* What `up` would use when no server is named. */
	if ((!s->meshd.server || !*s->meshd.server) && m->coord && coordrole_is_on(m->coord)) {
		free(s->meshd.server);
		s->meshd.server = strdup(coordrole_url(m->coord));
	}
	if (m->host_error[0])
		err = status_add_health(s, "router-health", m->host_error);
	if (!err && store_health(m->store))
		err = status_add_health(s, "state-store-health", store_health(m->store));
	return err;
}

static int backend_status_ids(void *ctx, int64_t **ids, size_t *n)
{
	struct meshd *m = ctx;

	return engine_status_ids(m->engine, ids, n);
}

static int backend_status_peer(void *ctx, int64_t id, struct status *s, struct status_peer *p)
{
	struct meshd *m = ctx;

	return engine_status_peer(m->engine, loop_now(m->loop), id, s, p);
}

static void set_text(char **field, const char *text)
{
	free(*field);
	*field = text ? strdup(text) : NULL;
}

static const struct prefs *backend_prefs(void *ctx)
{
	struct meshd *m = ctx;
	const struct netmap *map = engine_netmap(m->engine);
	const struct user_profile *u = map ? netmap_user(map, netmap_self(map)->user) : NULL;

	prefs_wipe(&m->prefs_view);
	m->prefs_view = (struct prefs){ 0 };
	if (prefs_copy(&m->prefs_view, engine_prefs(m->engine)) < 0)
		return engine_prefs(m->engine);
	if (m->prefs_view.logged_out) { /* nobody: the one that was is only in the stored preferences */
		set_text(&m->prefs_view.login.node_id, NULL);
		set_text(&m->prefs_view.login.login_name, NULL);
		set_text(&m->prefs_view.login.display_name, NULL);
		m->prefs_view.login.user_id = 0;
	} else if (map) {
		set_text(&m->prefs_view.login.node_id, netmap_self(map)->stable_id);
		m->prefs_view.login.user_id = netmap_self(map)->user;
	}
	if (u && !m->prefs_view.logged_out) {
		set_text(&m->prefs_view.login.login_name, u->login_name);
		set_text(&m->prefs_view.login.display_name, u->display_name);
	}
	return &m->prefs_view;
}

static uint64_t backend_locked(void *ctx, uint64_t fields, char err[static API_ERR_MAX])
{
	struct meshd *m = ctx;

	fields &= m->conf->locked_all ? UINT64_MAX : m->conf->locked;
	if (fields)
		conf_locked_text(m->conf, fields, err);
	return fields;
}

static const struct derp_map *backend_derp_map(void *ctx)
{
	const struct meshd *m = ctx;
	const struct netmap *map = engine_netmap(m->engine);

	return map ? netmap_derp(map) : NULL;
}

static int backend_whois(void *ctx, const struct ip *ip, const struct node_key *key, struct api_whois *who)
{
	return whois_find(ctx, ip, key, who);
}

static int backend_path(void *ctx, const struct ip *ip, struct pathinfo *p)
{
	struct meshd *m = ctx;

	return engine_pathinfo(m->engine, loop_now(m->loop), ip, p);
}

static int backend_net_map(void *ctx, struct bytes *out)
{
	struct meshd *m = ctx;
	const struct netmap *map = engine_netmap(m->engine);
	struct json_w w = { 0 };
	size_t size;
	char *text;
	int err;

	if (!map)
		return -ENOENT;
	netmap_write(&w, map);
	text = json_w_take(&w, &size);
	err = text ? bytes_append(out, text, size) : -ENOMEM;
	free(text);
	return err;
}

/* ---- changing ---- */

/* The relay's port is tried before anything is stored: a port in use fails the edit. */
static int try_relay(struct meshd *m, const struct prefs *next, char err[static API_ERR_MAX])
{
	const uint16_t port = next->relay_port ? next->relay_port : next->bound_relay_port;
	char why[DP_ERR_MAX];
	const char *reason;
	int rc;

	if (!next->has_relay_port || !next->want_running || engine_relay_disabled(m->engine))
		return 0;
	if (port && dp_relay_port(m->dp, IP_V4) == port)
		return 0;
	rc = dp_relay_open(m->dp, port, why);
	if (!rc)
		return 0;
	reason = strrchr(why, ':');
	(void)snprintf(err, API_ERR_MAX, "failed to start relay server on UDP port %u: %s", port,
		       reason ? reason + 2 : why);
	return rc;
}

int backend_change_prefs(struct meshd *m, const struct prefs *next, uint64_t changed, char err[static API_ERR_MAX])
{
	struct mono now = loop_now(m->loop);
	int rc = 0;

	if (changed & (PREF_BIT(PREF_RELAY_PORT) | PREF_BIT(PREF_WANT_RUNNING)))
		rc = try_relay(m, next, err);
	if (!rc)
		rc = engine_set_prefs(m->engine, now, next, changed, err);
	if (rc)
		return rc;
	meshd_turn(m, now); /* what the change means is done before it is answered */
	rc = store_put_prefs(m->store, engine_prefs(m->engine));
	if (rc)
		(void)snprintf(err, API_ERR_MAX, "in force, but not stored: %s", strerror(-rc));
	bus_state(m);
	return rc;
}

void backend_stored(void *ctx, uint64_t id, enum persist_kind kind, int err)
{
	struct meshd *m = ctx;
	const struct api_token token = { id };
	char why[API_ERR_MAX];

	(void)snprintf(why, sizeof(why), "in force, but not stored: %s", strerror(-err));
	switch (kind) {
	case PERSIST_PREFS:
		api_reply_prefs(m->api, token, err ? why : NULL);
		break;
	case PERSIST_DONE:
		if (err)
			api_reply_text(m->api, token, 500, why);
		else
			api_reply_done(m->api, token);
		break;
	}
}

static void backend_set_prefs(void *ctx, struct api_token token, const struct prefs *next, uint64_t changed)
{
	struct meshd *m = ctx;
	char err[API_ERR_MAX];
	int rc = backend_change_prefs(m, next, changed, err);

	if (rc)
		api_reply_prefs(m->api, token, err);
	else
		persist_answer(&m->persist, token.id, PERSIST_PREFS);
}

enum { START_LIFE_S = 60 }; /* between the stock command line's two requests; it waits for nothing */

static void forget_key(struct meshd *m)
{
	sodium_memzero(m->start_key, sizeof(m->start_key));
}

static void start_due(void *ctx, struct mono now)
{
	struct meshd *m = ctx;

	(void)now;
	m->has_start = false;
	/* One that still tries to join gets no other key. */
	if (m->start_was_logged_in || engine_state(m->engine).state == STATE_RUNNING)
		forget_key(m);
}

void backend_state(struct meshd *m)
{
	/* A node that was a member all the time may yet be asked to log in anew with it. */
	if (!m->start_was_logged_in && engine_state(m->engine).state == STATE_RUNNING)
		forget_key(m);
}

static void keep_start(struct meshd *m, const struct api_start *start)
{
	m->has_start = true;
	m->start_pid = start->pid;
	m->start_was_logged_in = engine_state(m->engine).state >= STATE_STOPPED;
	forget_key(m);
	if (start->auth_key && !start->force)
		(void)snprintf(m->start_key, sizeof(m->start_key), "%s", start->auth_key);
	m->start_timer.fn = start_due;
	m->start_timer.ctx = m;
	loop_timer_set(m->loop, &m->start_timer, mono_add_s(loop_now(m->loop), START_LIFE_S));
}

static void backend_start(void *ctx, struct api_token token, const struct api_start *start)
{
	struct meshd *m = ctx;
	struct prefs next = { 0 };
	char err[API_ERR_MAX];
	int rc = prefs_copy(&next, start->prefs ? start->prefs : engine_prefs(m->engine));

	if (rc) {
		api_reply_error(m->api, token, 500, "out of memory", false);
		return;
	}
	next.logged_out = false;
	keep_start(m, start);
	m->login_due = next.want_running;
	rc = backend_change_prefs(m, &next, prefs_diff(engine_prefs(m->engine), &next), err);
	if (!rc && next.want_running)
		rc = engine_login(m->engine, loop_now(m->loop), start->auth_key, start->force, err);
	m->login_due = false;
	prefs_wipe(&next);
	if (rc)
		api_reply_text(m->api, token, 500, err);
	else
		persist_answer(&m->persist, token.id, PERSIST_DONE);
}

static void backend_login_interactive(void *ctx, struct api_token token, pid_t pid)
{
	struct meshd *m = ctx;
	const struct engine_state st = engine_state(m->engine);
	struct prefs next = { 0 };
	char err[API_ERR_MAX] = "out of memory";
	/* A member that logs in again wants a new key (--force-reauth); one that is just joining does not, even if it has
	 * joined by now. */
	const bool is_second = m->has_start && (m->start_pid == pid || pid == -1);
	const bool force = is_second ? m->start_was_logged_in : st.state >= STATE_STOPPED;
	/* The stock command line gives the key with `start` and then asks for the login. One that is joining
	 * is already using it. */
	const char *key = m->start_key[0] && (is_second || !force) ? m->start_key : NULL;
	int rc;

	if (store_health(m->store)) {
		api_reply_text(m->api, token, 500, "cannot log in when state store is unhealthy");
		return;
	}
	rc = prefs_copy(&next, engine_prefs(m->engine));
	m->has_start = m->has_start && !is_second;
	if (!rc) {
		next.logged_out = false;
		next.want_running = true;
		rc = backend_change_prefs(m, &next, prefs_diff(engine_prefs(m->engine), &next), err);
	}
	prefs_wipe(&next);
	/* A login that waits for its visitor keeps its URL. */
	if (!rc && !*st.auth_url && (force || (st.state != STATE_RUNNING && !key)))
		rc = engine_login(m->engine, loop_now(m->loop), key, force, err);
	if (is_second || force)
		forget_key(m);
	if (rc)
		api_reply_text(m->api, token, 500, err);
	else
		persist_answer(&m->persist, token.id, PERSIST_DONE);
}

static void backend_logout(void *ctx, struct api_token token, bool local)
{
	struct meshd *m = ctx;

	if (key_is_zero(engine_node_key(m->engine).b)) {
		api_reply_done(m->api, token);
		return;
	}
	m->logout = token;
	m->logout_local = local;
	engine_logout(m->engine, loop_now(m->loop));
}

void backend_logged_out(struct meshd *m, const char *why)
{
	const int lost = store_forget_login(m->store);
	struct prefs next = { 0 };
	char err[API_ERR_MAX];

	forget_key(m);
	if (lost)
		log_warn(&m->log, "store: login: not removed: %s", strerror(-lost));
	if (prefs_copy(&next, engine_prefs(m->engine)) == 0) {
		next.logged_out = true;
		next.want_running = false;
		if (engine_set_prefs(m->engine, loop_now(m->loop), &next,
				     prefs_diff(engine_prefs(m->engine), &next), err) == 0 &&
		    store_put_prefs(m->store, engine_prefs(m->engine)) < 0)
			log_warn(&m->log, "store: preferences: not written");
	}
	prefs_wipe(&next);
	if (m->logout.id && why && *why && !m->logout_local) {
		(void)snprintf(err, sizeof(err), "logged out locally; the control server could not be told (%s)", why);
		api_reply_text(m->api, m->logout, 500, err);
	} else if (m->logout.id && lost) {
		(void)snprintf(err, sizeof(err), "logged out, but that is not stored: %s", strerror(-lost));
		api_reply_text(m->api, m->logout, 500, err);
	} else if (m->logout.id) {
		persist_answer(&m->persist, m->logout.id, PERSIST_DONE);
	}
	m->logout.id = 0;
	bus_state(m);
}

/* ---- pings ---- */

static void reply_ping_error(struct meshd *m, struct api_token token, const struct ip *ip, const char *err,
			     bool is_local)
{
	char text[IP_TEXT_MAX];
	struct pingresult r = { .ip = ip_write(text, ip),
				.err = (char *)(uintptr_t)err,
				.is_local_ip = is_local };

	api_reply_ping(m->api, token, &r);
}

static bool is_own_ip(const struct meshd *m, const struct ip *ip)
{
	const struct netmap *map = engine_netmap(m->engine);
	const struct map_node *self = map ? netmap_self(map) : NULL;

	for (size_t i = 0; self && i < self->n_addrs; i++)
		if (ip_eq(&self->addrs[i].ip, ip))
			return true;
	return false;
}

static void backend_ping(void *ctx, struct api_token token, const struct api_ping *ping)
{
	struct meshd *m = ctx;
	char err[ENGINE_ERR_MAX], text[IP_TEXT_MAX];
	size_t i = 0;

	if (is_own_ip(m, &ping->ip)) {
		(void)snprintf(err, sizeof(err), "%s is local Tailscale IP", ip_write(text, &ping->ip));
		reply_ping_error(m, token, &ping->ip, err, true);
		return;
	}
	while (i < MESHD_PINGS_MAX && m->pings[i].token.id)
		i++;
	if (i == MESHD_PINGS_MAX) {
		reply_ping_error(m, token, &ping->ip, "too many pings at once", false);
		return;
	}
	m->pings[i] = (struct meshd_ping){ .token = token, .ip = ping->ip };
	if (engine_ping(m->engine, loop_now(m->loop), token.id, &ping->ip, ping->type, ping->size, err) < 0) {
		m->pings[i].token.id = 0;
		reply_ping_error(m, token, &ping->ip, err, false);
	}
}

void backend_ping_result(struct meshd *m, const struct engine_out *o)
{
	for (size_t i = 0; i < MESHD_PINGS_MAX; i++) {
		char text[IP_TEXT_MAX];
		struct pingresult r;

		if (m->pings[i].token.id != o->ping_id)
			continue;
		r = *o->ping;
		r.ip = ip_write(text, &m->pings[i].ip);
		api_reply_ping(m->api, m->pings[i].token, &r);
		m->pings[i].token.id = 0;
		return;
	}
}

/* ---- netcheck, debug ---- */

static void backend_netcheck(void *ctx, struct api_token token)
{
	struct meshd *m = ctx;

	if (m->n_netchecks == MESHD_WAITERS_MAX) {
		api_reply_netcheck(m->api, token, NULL, "too many network checks at once");
		return;
	}
	m->netchecks[m->n_netchecks++] = token;
	engine_netcheck(m->engine, loop_now(m->loop));
}

void backend_netcheck_done(struct meshd *m)
{
	struct netreport r;
	int err = engine_netreport(m->engine, &r);

	for (size_t i = 0; i < m->n_netchecks; i++)
		api_reply_netcheck(m->api, m->netchecks[i], err ? NULL : &r, err ? "out of memory" : NULL);
	m->n_netchecks = 0;
	if (!err)
		netreport_wipe(&r);
}

static int backend_debug(void *ctx, enum api_debug action)
{
	struct meshd *m = ctx;
	struct mono now = loop_now(m->loop);

	switch (action) {
	case API_DEBUG_RESTUN:
		engine_restun(m->engine, now, false);
		return 0;
	case API_DEBUG_PICK_NEW_DERP:
		return engine_pick_derp(m->engine, now);
	case API_DEBUG_REBIND:
		dp_rebind(m->dp);
		engine_restun(m->engine, now, true);
		return 0;
	case API_DEBUG_BREAK_DERP_CONNS:
		engine_break_streams(m->engine, now, false);
		return 0;
	case API_DEBUG_BREAK_TCP_CONNS:
		engine_break_streams(m->engine, now, true);
		return 0;
	case API_DEBUG_CLEAR_NETMAP_CACHE:
		return store_del_map(m->store);
	case API_DEBUG_ROTATE_DISCO_KEY:
		engine_rotate_disco(m->engine, now);
		return 0;
	case API_DEBUG_FORCE_NETMAP_UPDATE:
		engine_refetch_map(m->engine, now);
		return 0;
	}
	return -ENOSYS;
}

static void backend_shutdown(void *ctx)
{
	struct meshd *m = ctx;

	loop_stop(m->loop);
}

void backend_init(struct meshd *m)
{
	m->backend = (struct api_backend){ .status = backend_status,
					   .status_ids = backend_status_ids,
					   .status_peer = backend_status_peer,
					   .prefs = backend_prefs,
					   .set_prefs = backend_set_prefs,
					   .locked_prefs = backend_locked,
					   .start = backend_start,
					   .login_interactive = backend_login_interactive,
					   .logout = backend_logout,
					   .ping = backend_ping,
					   .netcheck = backend_netcheck,
					   .derp_map = backend_derp_map,
					   .whois = backend_whois,
					   .metrics = backend_metrics,
					   .relay = backend_relay,
					   .relay_report = backend_relay_report,
					   .path = backend_path,
					   .net_map = backend_net_map,
					   .debug = backend_debug,
					   .subscribed = bus_subscribed,
					   .health = bus_health,
					   .shutdown = backend_shutdown,
					   .ctx = m };
}
