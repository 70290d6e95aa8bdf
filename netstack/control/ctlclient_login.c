/* SPDX-License-Identifier: MIT */
/* Register and logout (control-messages 4, 5). */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/log.h"
#include "control/ctlclient_int.h"

/* What the reference client sends to log out: any past time does. */
enum { LOGOUT_EXPIRY_S = 123 };

static void send_register(struct ctlclient *c, struct mono now)
{
	const struct ctl_register_request m = {
		.version = CTLCLIENT_VERSION,
		.node = c->node_pub,
		.auth_key = c->auth_key,
		.has_expiry = c->logout,
		.expiry_s = LOGOUT_EXPIRY_S,
		.followup = c->followup,
		.ephemeral = c->ephemeral,
		.has_host = true,
		.host = c->host, /* borrowed */
	};
	struct ctl_register_request copy = m;
	struct json_w w = { 0 };
	size_t size = 0;
	char *body;

	if (!key_is_zero(c->saved.old_node.b))
		key_public(copy.old_node.b, c->saved.old_node.b);
	/* Tags come from the key; asking for some beside it is an error at other servers. */
	if (c->auth_key[0]) {
		copy.host.request_tags = NULL;
		copy.host.n_request_tags = 0;
	}
	ctl_register_request_write(&w, &copy);
	body = json_w_take(&w, &size);
	c->reg.stream = body ? ctlclient_ask(c, "POST", "/machine/register", body, size) : 0;
	if (body)
		sodium_memzero(body, size);
	free(body);
	if (!c->reg.stream) {
		ctlclient_redial(c, now);
		return;
	}
	/* Waiting for an approval takes as long as it takes. */
	c->reg.deadline = c->followup[0] ? MONO_NEVER : mono_add_ms(now, CTL_REQUEST_MS);
}

void ctlclient_login_work(struct ctlclient *c, struct mono now)
{
	if (c->phase != CTL_UP || c->persist_wait || c->reg.stream || c->refused)
		return;
	if (!c->need_register && !c->logout)
		return;
	if (now.ns < c->login_at.ns)
		return;
	if (key_is_zero(c->saved.node.b) && !c->logout) {
		ctlclient_rotate(c);
		key_wipe(c->saved.old_node.b);
		ctlclient_save(c);
		return; /* goes on when the key is durable */
	}
	send_register(c, now);
}

static void login_again(struct ctlclient *c, struct mono now)
{
	c->login_at = ctlclient_backoff(c, now, ++c->login_fails);
}

bool ctlclient_restore(struct ctlclient *c)
{
	if (!c->was_member || key_is_zero(c->saved.old_node.b))
		return false;
	ctlclient_unrotate(c);
	c->need_register = false;
	c->map_at = MONO_ZERO;
	/* What held for the failed login only: its key, and that another key of the server was welcome. */
	sodium_memzero(c->auth_key, sizeof(c->auth_key));
	c->accept_new_key = c->check_key = c->has_fingerprint = false;
	ctlclient_save(c);
	if (c->state == CTLCLIENT_NEEDS_LOGIN) /* it had asked for a visit to its page first */
		ctlclient_set_state(c, CTLCLIENT_STARTING);
	return true;
}

/* The server said no: nothing changes by asking again. */
static void login_refused(struct ctlclient *c, const char *text)
{
	c->auth_url[0] = c->followup[0] = 0;
	if (ctlclient_restore(c)) {
		ctlclient_error(c, true, "the server refused: %.200s (the node stays a member as before)", text);
		return;
	}
	c->refused = true;
	ctlclient_error(c, true, "the server refused: %.250s", text);
	ctlclient_set_state(c, CTLCLIENT_NEEDS_LOGIN);
}

static void login_ok(struct ctlclient *c, const struct ctl_register_response *m)
{
	log_info(c->env->log, "control: %s: registered%s%s", c->url.host, *m->login_name ? " as " : "", m->login_name);
	c->need_register = false;
	c->login_fails = c->not_found = 0;
	c->map_at = MONO_ZERO;
	c->auth_url[0] = c->followup[0] = 0;
	c->accept_new_key = false;
	c->rotated = c->was_member = c->is_resumed = false;
	sodium_memzero(c->auth_key, sizeof(c->auth_key));
	(void)snprintf(c->login, sizeof(c->login), "%s", m->login_name);
	c->saved.registered = true;
	key_wipe(c->saved.old_node.b);
	(void)snprintf(c->saved.url, sizeof(c->saved.url), "%s", c->url_text);
	ctlclient_save(c);
	ctlclient_no_error(c);
	c->status_dirty = true;
	if (c->state == CTLCLIENT_NEEDS_LOGIN)
		ctlclient_set_state(c, CTLCLIENT_STARTING);
}

static void login_url(struct ctlclient *c, struct mono now, const char *url)
{
	const bool same = strcmp(c->auth_url, url) == 0;

	if (strlen(url) >= sizeof(c->auth_url)) {
		login_refused(c, "its login URL is too long");
		return;
	}
	(void)snprintf(c->auth_url, sizeof(c->auth_url), "%s", url);
	(void)snprintf(c->followup, sizeof(c->followup), "%s", url);
	c->status_dirty = true;
	ctlclient_no_error(c);
	ctlclient_set_state(c, CTLCLIENT_NEEDS_LOGIN);
	if (same)
		login_again(c, now);
	else
		c->login_at = now;
}

static void login_parsed(struct ctlclient *c, struct mono now, const struct ctl_register_response *m)
{
	const bool is_ok = !*m->error && !m->needs_resign && !m->node_key_expired && !*m->auth_url;

	/* Nobody waits for this login any more, and its auth key is gone: it has not taken place. */
	if (!is_ok && c->is_resumed && ctlclient_restore(c)) {
		log_info(c->env->log, "control: %s: a new login was cut off: the node stays a member as before",
			 c->url.host);
		return;
	}
	/* The order is that of control-messages 5. */
	if (*m->error) {
		login_refused(c, m->error);
	} else if (m->needs_resign) {
		login_refused(c, "tailnet lock is on, which this program does not support");
	} else if (m->node_key_expired) {
		if (c->rotated) {
			login_refused(c, "it calls a new node key expired");
			return;
		}
		ctlclient_rotate(c);
		ctlclient_save(c);
		c->login_at = now;
	} else if (*m->auth_url) {
		login_url(c, now, m->auth_url);
	} else {
		login_ok(c, m);
	}
}

static void login_failed(struct ctlclient *c, struct mono now, const struct ctl_request *r)
{
	char text[CTLCLIENT_TEXT_MAX];

	if (r->status == 429) {
		/* No other back-off: the server names the time (control-transport 8). */
		const int64_t s = r->retry_after_s > 0 && r->retry_after_s <= 3600 ?
					  r->retry_after_s :
					  5 + (int64_t)env_below(c->env, 6);

		c->login_at = mono_add_s(now, s);
		ctlclient_error(c, false, "the server asks to wait %lld seconds", (long long)s);
		return;
	}
	if (r->status)
		ctlclient_error(c, false, "register was answered with status %u: %s", r->status,
				ctlclient_text(&r->body, text));
	else
		ctlclient_error(c, false, "register was cut off");
	/* A body that waits for approval ends with the connection at some servers: ask again with it. */
	login_again(c, now);
}

/* Was the server told? A refusal comes with status 200, too. */
static void logout_answer(struct ctlclient *c, const struct ctl_request *r)
{
	struct ctl_register_response m;
	struct ctl_why why = { "" };

	if (!r->status) {
		(void)snprintf(c->logout_why, sizeof(c->logout_why), "its answer was cut off");
	} else if (r->status != 200) {
		(void)snprintf(c->logout_why, sizeof(c->logout_why), "it answered with HTTP status %u",
			       (unsigned)r->status);
	} else if (ctl_register_response_parse(&m, (const char *)bytes_data(&r->body), bytes_size(&r->body), &why) != 0) {
		(void)snprintf(c->logout_why, sizeof(c->logout_why), "its answer is malformed: %.250s", why.text);
	} else {
		if (*m.error)
			(void)snprintf(c->logout_why, sizeof(c->logout_why), "it refused: %.250s", m.error);
		ctl_register_response_wipe(&m);
	}
}

void ctlclient_login_answer(struct ctlclient *c, struct mono now)
{
	struct ctl_request r = c->reg;
	struct ctl_register_response m;
	struct ctl_why why = { "" };

	c->reg = (struct ctl_request){ .deadline = MONO_NEVER };
	if (c->logout) {
		logout_answer(c, &r);
		ctlclient_request_wipe(&r);
		ctlclient_logout_done(c);
		return;
	}
	if (r.status != 200) {
		login_failed(c, now, &r);
	} else if (ctl_register_response_parse(&m, (const char *)bytes_data(&r.body), bytes_size(&r.body), &why) != 0) {
		ctlclient_error(c, false, "the answer to register is malformed: %s", why.text);
		login_again(c, now);
	} else {
		login_parsed(c, now, &m);
		ctl_register_response_wipe(&m);
	}
	ctlclient_request_wipe(&r);
}

void ctlclient_login_lost(struct ctlclient *c, struct mono now)
{
	if (c->reg.stream)
		login_again(c, now);
}

void ctlclient_logout_done(struct ctlclient *c)
{
	const bool was_set = c->logout;

	c->logout = c->was_member = c->is_resumed = c->rotated = false;
	c->logout_deadline = MONO_NEVER;
	ctlclient_drop(c);
	c->phase = CTL_OFF;
	key_wipe(c->saved.node.b);
	key_wipe(c->saved.old_node.b);
	c->saved.registered = false;
	c->node_pub = (struct node_key){ 0 };
	netmap_put(c->map);
	c->map = NULL;
	c->is_fresh = c->self_expired = false;
	c->auth_url[0] = c->followup[0] = c->login[0] = 0;
	ctlclient_no_error(c);
	ctlclient_set_state(c, CTLCLIENT_STOPPED);
	ctlclient_save(c);
	if (was_set)
		(void)ctlclient_queue(c, CTLCLIENT_OUT_LOGOUT);
}
