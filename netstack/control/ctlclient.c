/* SPDX-License-Identifier: MIT */
/* The control client: life, preferences, what the node tells about itself, outputs and timers. */
#include "control/ctlclient.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/log.h"
#include "control/ctlclient_int.h"

/* --- small helpers of all files --- */

int64_t ctlclient_now_s(const struct ctlclient *c)
{
	return env_wall_ns(c->env) / NS_PER_S + c->clock_delta_s;
}

struct mono ctlclient_backoff(struct ctlclient *c, struct mono now, unsigned fails)
{
	const uint64_t n = fails < 1000 ? fails : 1000;
	uint64_t ms = n * n * CTL_BACKOFF_UNIT_MS;

	ms = ms < CTL_BACKOFF_MAX_MS ? ms : CTL_BACKOFF_MAX_MS;
	return mono_add_ms(now, (int64_t)(ms / 2 + env_below(c->env, ms + 1)));
}

void ctlclient_set_state(struct ctlclient *c, enum ctlclient_state state)
{
	if (c->state == state)
		return;
	c->state = state;
	c->status_dirty = true;
}

void ctlclient_error(struct ctlclient *c, bool fatal, const char *fmt, ...)
{
	char text[CTLCLIENT_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (strcmp(text, c->error) == 0 && fatal == c->is_fatal)
		return;
	memcpy(c->error, text, sizeof(text));
	c->is_fatal = fatal;
	c->status_dirty = true;
	log_at(c->env->log, fatal ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, "control: %s: %s", c->url.host, text);
}

void ctlclient_no_error(struct ctlclient *c)
{
	if (!c->error[0])
		return;
	c->error[0] = 0;
	c->is_fatal = false;
	c->status_dirty = true;
}

void ctlclient_request_wipe(struct ctl_request *r)
{
	bytes_wipe(&r->body);
	*r = (struct ctl_request){ .deadline = MONO_NEVER };
}

const char *ctlclient_text(const struct bytes *b, char buf[static CTLCLIENT_TEXT_MAX])
{
	const uint8_t *p = bytes_data(b);
	size_t n = 0;

	for (size_t i = 0; i < bytes_size(b) && n < 200; i++)
		buf[n++] = p[i] >= ' ' && p[i] < 0x7f ? (char)p[i] : ' ';
	while (n > 0 && buf[n - 1] == ' ')
		n--;
	buf[n] = 0;
	return buf;
}

static void public_keys(struct ctlclient *c)
{
	key_public(c->machine_pub.b, c->saved.machine.b);
	c->node_pub = (struct node_key){ 0 };
	if (!key_is_zero(c->saved.node.b))
		key_public(c->node_pub.b, c->saved.node.b);
}

void ctlclient_rotate(struct ctlclient *c)
{
	c->saved.old_node = c->saved.node;
	env_fill(c->env, c->saved.node.b, KEY_SIZE);
	key_clamp(c->saved.node.b);
	c->saved.registered = false;
	c->rotated = true;
	public_keys(c);
}

void ctlclient_unrotate(struct ctlclient *c)
{
	c->saved.node = c->saved.old_node;
	key_wipe(c->saved.old_node.b);
	c->saved.registered = true;
	c->rotated = c->was_member = c->is_resumed = false;
	public_keys(c);
}

/* --- outputs --- */

static void out_free(struct ctl_out *o)
{
	if (!o)
		return;
	bytes_wipe(&o->data);
	if (o->saved)
		sodium_memzero(o->saved, sizeof(*o->saved));
	free(o->saved);
	netmap_change_wipe(&o->change);
	netmap_put(o->map);
	netmap_put(o->old);
	free(o);
}

struct ctl_out *ctlclient_queue(struct ctlclient *c, enum ctlclient_out_kind kind)
{
	struct ctl_out *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL; /* the stream's or the request's time limit takes care of what is lost */
	o->out.kind = kind;
	*c->last = o;
	c->last = &o->next;
	return o;
}

void ctlclient_save(struct ctlclient *c)
{
	struct ctl_out *o = ctlclient_queue(c, CTLCLIENT_OUT_PERSIST);

	c->persist_wait++;
	if (o)
		o->saved = malloc(sizeof(*o->saved));
	if (!o || !o->saved) {
		/* Nothing more goes to the server: better than keys that a restart does not know. */
		ctlclient_error(c, true, "out of memory while storing keys");
		return;
	}
	*o->saved = c->saved;
}

struct ctlclient_status ctlclient_status(const struct ctlclient *c)
{
	const struct user_profile *u = c->map ? netmap_user(c->map, netmap_self(c->map)->user) : NULL;

	return (struct ctlclient_status){
		.state = c->state,
		.is_live = c->is_live,
		.auth_url = c->auth_url,
		.error = c->error,
		.is_fatal = c->is_fatal,
		.login = u && u->login_name ? u->login_name : c->login,
	};
}

static void work(struct ctlclient *c, struct mono now)
{
	ctlclient_login_work(c, now);
	ctlclient_map_work(c, now);
	ctlclient_flush(c, now);
}

bool ctlclient_poll(struct ctlclient *c, struct mono now, struct ctlclient_out *out)
{
	struct ctl_out *o;

	out_free(c->current);
	c->current = NULL;
	if (!c->first)
		work(c, now);
	if (c->first) {
		o = c->current = c->first;
		c->first = o->next;
		if (!c->first)
			c->last = &c->first;
		*out = o->out;
		out->host = o->host;
		out->data = bytes_data(&o->data);
		out->size = bytes_size(&o->data);
		out->saved = o->saved;
		out->map = o->map;
		out->change = &o->change;
		return true;
	}
	if (!c->status_dirty)
		return false;
	c->status_dirty = false;
	*out = (struct ctlclient_out){ .kind = CTLCLIENT_OUT_STATUS, .status = ctlclient_status(c) };
	return true;
}

/* --- life --- */

struct ctlclient *ctlclient_new(const struct ctlclient_saved *saved, const struct netmap *cached, const struct env *env)
{
	struct ctlclient *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->env = env;
	c->last = &c->first;
	c->reg.deadline = c->poll.deadline = c->lite.deadline = MONO_NEVER;
	c->retry_at = c->tls_at = c->dial_deadline = c->watchdog = c->logout_deadline = MONO_NEVER;
	if (saved)
		c->saved = *saved;
	if (key_is_zero(c->saved.machine.b)) {
		env_fill(env, c->saved.machine.b, KEY_SIZE);
		key_clamp(c->saved.machine.b);
		ctlclient_save(c);
	}
	/* The server may have accepted the new key or not: it is asked, and else the old one goes on. */
	if (!c->saved.registered && !key_is_zero(c->saved.node.b) && !key_is_zero(c->saved.old_node.b))
		c->was_member = c->is_resumed = true;
	public_keys(c);
	c->map = netmap_get(cached);
	return c;
}

void ctlclient_free(struct ctlclient *c)
{
	if (!c)
		return;
	ctlclient_drop(c);
	out_free(c->current);
	while (c->first) {
		struct ctl_out *o = c->first;

		c->first = o->next;
		out_free(o);
	}
	netmap_put(c->map);
	hostinfo_wipe(&c->host);
	sodium_memzero(c, sizeof(*c));
	free(c);
}

int ctlclient_check(const struct ctlclient_prefs *prefs, char *why)
{
	struct ctl_url url;
	const char *key = prefs->auth_key ? prefs->auth_key : "";
	int err = ctlclient_url_parse(&url, prefs->url, why);

	if (err)
		return err;
	for (const char *p = key; *p; p++) {
		if (*p > ' ' && *p < 0x7f)
			continue;
		if (why)
			(void)snprintf(why, CTLCLIENT_TEXT_MAX, "an auth key has no spaces or control characters");
		return -EBADMSG;
	}
	if (strlen(key) >= CTLCLIENT_AUTH_KEY_MAX) {
		if (why)
			(void)snprintf(why, CTLCLIENT_TEXT_MAX, "the auth key is too long");
		return -EBADMSG;
	}
	return 0;
}

/* Another server: what was agreed with the old one is void. */
static void forget_server(struct ctlclient *c)
{
	c->saved.server = (struct machine_key){ 0 };
	key_wipe(c->saved.node.b);
	key_wipe(c->saved.old_node.b);
	c->saved.registered = c->was_member = c->is_resumed = false;
	c->saved.url[0] = 0;
	public_keys(c);
	netmap_put(c->map);
	c->map = NULL;
	c->is_fresh = false;
	c->clock_delta_s = 0;
	c->login[0] = 0;
}

/* Timers and counters of a new attempt. */
static void reset_attempts(struct ctlclient *c)
{
	c->dial_fails = c->login_fails = c->map_fails = c->lite_fails = c->not_found = 0;
	c->login_at = c->map_at = c->lite_at = MONO_ZERO;
	c->refused = false;
}

int ctlclient_start(struct ctlclient *c, struct mono now, const struct ctlclient_prefs *prefs, char *why)
{
	const char *key = prefs->auth_key ? prefs->auth_key : "";
	struct ctl_url url;
	int err = ctlclient_check(prefs, why);

	if (!err)
		err = ctlclient_url_parse(&url, prefs->url, why);
	if (err)
		return err;
	ctlclient_drop(c);
	c->url = url;
	(void)snprintf(c->url_text, sizeof(c->url_text), "%s", prefs->url);
	if (strcmp(c->saved.url, c->url_text) != 0)
		forget_server(c);
	sodium_memzero(c->auth_key, sizeof(c->auth_key));
	memcpy(c->auth_key, key, strlen(key));
	c->has_fingerprint = ctlclient_key_fingerprint(key, c->fingerprint);
	c->tls_only = prefs->tls_only;
	c->ephemeral = prefs->ephemeral;
	c->accept_new_key = prefs->force_reauth;
	c->auth_url[0] = c->followup[0] = 0;
	c->logout = false;
	c->logout_deadline = MONO_NEVER;
	/* A key that names its server is held against the server, also where that is known already. */
	c->check_key = prefs->force_reauth || c->has_fingerprint;
	c->told_valid = false;
	reset_attempts(c);
	ctlclient_no_error(c);
	c->self_expired = c->map && netmap_node_expired(netmap_self(c->map), ctlclient_now_s(c));
	c->need_register = !c->saved.registered || prefs->force_reauth || c->self_expired;
	/* While the server has not decided on a new login of a member, whatever is asked for next is the same login: its
	 * key is new already, and 'old_node' is what there is to go back to. */
	c->rotated = c->was_member;
	c->is_resumed = c->is_resumed && !prefs->force_reauth && !*key;
	if (!c->was_member && prefs->force_reauth && !key_is_zero(c->saved.node.b)) {
		c->was_member = c->saved.registered && !c->self_expired;
		ctlclient_rotate(c);
		ctlclient_save(c);
	}
	ctlclient_set_state(c, CTLCLIENT_STARTING);
	c->status_dirty = true;
	ctlclient_connect(c, now);
	return 0;
}

void ctlclient_stop(struct ctlclient *c, struct mono now)
{
	(void)now;
	ctlclient_drop(c);
	c->phase = CTL_OFF;
	sodium_memzero(c->auth_key, sizeof(c->auth_key));
	c->auth_url[0] = c->followup[0] = 0;
	c->logout = false;
	c->logout_deadline = MONO_NEVER;
	ctlclient_no_error(c);
	ctlclient_set_state(c, CTLCLIENT_STOPPED);
}

void ctlclient_logout(struct ctlclient *c, struct mono now)
{
	c->logout = true;
	c->logout_why[0] = 0;
	c->refused = false;
	c->login_at = MONO_ZERO;
	c->logout_deadline = mono_add_ms(now, CTL_LOGOUT_MS);
	sodium_memzero(c->auth_key, sizeof(c->auth_key));
	/* What the server knows is the old key; an answer to the login that is under way would pass for the logout's. */
	(void)ctlclient_restore(c);
	if (c->reg.stream)
		ctlclient_drop(c);
	/* Nothing that the server knows of, or no way to tell it. */
	if (!c->saved.registered || key_is_zero(c->saved.node.b) || !c->url.host[0]) {
		ctlclient_logout_done(c);
		return;
	}
	if (c->phase == CTL_OFF || c->phase == CTL_WAIT)
		ctlclient_connect(c, now);
}

void ctlclient_persisted(struct ctlclient *c, struct mono now)
{
	(void)now;
	if (c->persist_wait > 0)
		c->persist_wait--;
}

void ctlclient_relink(struct ctlclient *c, struct mono now)
{
	if (c->phase == CTL_OFF || c->refused)
		return;
	ctlclient_drop(c);
	reset_attempts(c);
	ctlclient_connect(c, now);
}

/* --- what the server is told --- */

int ctlclient_set_host(struct ctlclient *c, struct mono now, const struct hostinfo *host)
{
	struct hostinfo copy;
	const uint32_t home = c->host.preferred_derp;
	int err;

	(void)now;
	err = hostinfo_copy(&copy, host);
	if (err)
		return err;
	if (!copy.preferred_derp && home) { /* set by ctlclient_set_home() */
		copy.preferred_derp = home;
		copy.has_netinfo = true;
	}
	/* Latencies alone are no news: every report measures others, and every few seconds there is one. They go along
	 * with what is. */
	c->tell_dirty = c->tell_dirty || !hostinfo_says_same(&copy, &c->host);
	hostinfo_wipe(&c->host);
	c->host = copy;
	return 0;
}

void ctlclient_set_home(struct ctlclient *c, struct mono now, uint32_t derp_region)
{
	(void)now;
	if (c->host.preferred_derp == derp_region)
		return;
	c->host.preferred_derp = derp_region;
	c->host.has_netinfo = true;
	c->tell_dirty = true;
}

void ctlclient_set_disco(struct ctlclient *c, struct mono now, const struct disco_key *disco)
{
	(void)now;
	if (disco_key_eq(&c->disco, disco))
		return;
	c->disco = *disco;
	c->tell_dirty = true;
}

void ctlclient_set_endpoints(struct ctlclient *c, struct mono now, const struct ep *eps, const uint8_t *types, size_t n)
{
	bool same;

	(void)now;
	n = n < MAP_ENDPOINTS_MAX ? n : MAP_ENDPOINTS_MAX;
	same = n == c->n_endpoints;
	for (size_t i = 0; i < n; i++) {
		const uint8_t type = types ? types[i] : EP_TYPE_UNKNOWN;

		same = same && ep_eq(&eps[i], &c->endpoints[i]) && type == c->endpoint_types[i];
		c->endpoints[i] = eps[i];
		c->endpoint_types[i] = type;
	}
	c->n_endpoints = n;
	c->tell_dirty = c->tell_dirty || !same;
}

/* --- timers --- */

static struct mono later(struct mono at, bool wanted)
{
	return wanted ? at : MONO_NEVER;
}

struct mono ctlclient_deadline(const struct ctlclient *c)
{
	const bool up = c->phase == CTL_UP && !c->persist_wait;
	struct mono d = mono_min(ctlclient_dial_deadline(c), c->logout_deadline);

	if (c->phase == CTL_OFF)
		return c->logout_deadline;
	d = mono_min(d, mono_min(c->reg.deadline, c->lite.deadline));
	d = mono_min(d, c->poll.stream ? c->watchdog : MONO_NEVER);
	d = mono_min(d, later(c->login_at, up && c->need_register && !c->reg.stream && !c->refused));
	d = mono_min(d, later(c->map_at, up && !c->need_register && !c->poll.stream && !c->logout));
	d = mono_min(d, later(c->lite_at, up && c->is_live && !c->need_register && !c->logout && c->tell_dirty &&
						  !c->lite.stream));
	if (c->map && !c->self_expired && netmap_self(c->map)->key_expiry_s != 0) {
		/* Wall time only gives an estimate: the tick looks again. */
		int64_t left = netmap_self(c->map)->key_expiry_s - ctlclient_now_s(c);

		left = left < 1 ? 1 : left > 3600 ? 3600 : left;
		d = mono_min(d, mono_add_s(c->expiry_base, left));
	}
	return d;
}

const char *ctlclient_logout_why(const struct ctlclient *c)
{
	return c->logout_why;
}

void ctlclient_tick(struct ctlclient *c, struct mono now)
{
	c->expiry_base = now;
	if (mono_due(c->logout_deadline, now)) {
		(void)snprintf(c->logout_why, sizeof(c->logout_why), "%s", *c->error ? c->error : "no answer");
		ctlclient_logout_done(c);
		return;
	}
	if (c->phase == CTL_OFF)
		return;
	ctlclient_check_expiry(c);
	if (c->poll.stream && mono_due(c->watchdog, now)) {
		ctlclient_error(c, false, "the server is silent");
		c->map_fails++;
		ctlclient_redial(c, now);
		return;
	}
	if (mono_due(c->reg.deadline, now) || mono_due(c->lite.deadline, now)) {
		ctlclient_error(c, false, "the server does not answer");
		ctlclient_login_lost(c, now);
		ctlclient_redial(c, now);
		return;
	}
	ctlclient_dial_tick(c, now);
}

/* --- views --- */

const struct ctlclient_saved *ctlclient_saved(const struct ctlclient *c)
{
	return &c->saved;
}

const struct netmap *ctlclient_netmap(const struct ctlclient *c)
{
	return c->map;
}

struct node_key ctlclient_node_key(const struct ctlclient *c)
{
	return c->node_pub;
}

const struct node_priv *ctlclient_node_priv(const struct ctlclient *c)
{
	return &c->saved.node;
}
