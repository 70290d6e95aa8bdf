/* SPDX-License-Identifier: MIT */
/* up and login: settings, then the login, then waiting on the bus until the node runs. Spec: cli 2.2, 2.3. */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/authkey.h"
#include "cli/client.h"
#include "cli/out.h"
#include "cli/peers.h"
#include "cli/settings.h"

enum { EXPIRY_SOON_S = 7 * 86400, POLL_MS = 500 };

#define LOGIN_FLAGS \
	{ "login-server", FLAG_STRING, NULL, "base `URL` of the control server", NULL, false }, \
	{ "auth-key", FLAG_STRING, NULL, \
	  "node authorization `key`; also file:PATH, env:NAME, fd:N, or - for standard input", "authkey", \
	  false }, \
	{ "timeout", FLAG_DURATION, "0s", \
	  "maximum amount of time to wait for the node to enter a Running state; 0s waits forever", NULL, \
	  false }, \
	{ "client-id", FLAG_STRING, NULL, "not supported", NULL, true }, \
	{ "client-secret", FLAG_STRING, NULL, "not supported", NULL, true }, \
	{ "id-token", FLAG_STRING, NULL, "not supported", NULL, true }, \
	{ "audience", FLAG_STRING, NULL, "not supported", NULL, true }, \
	FLAG_NOT_BUILT("qr", FLAG_BOOL), \
	FLAG_NOT_BUILT("qr-format", FLAG_STRING), \
	FLAG_NOT_BUILT("no-renew", FLAG_BOOL)

static const struct flag up_flags[] = {
	SETTINGS_FLAGS,
	LOGIN_FLAGS,
	{ "force-reauth", FLAG_BOOL, "false", "force reauthentication with a new node key", NULL, false },
	{ "reset", FLAG_BOOL, "false", "reset unspecified settings to their default values", NULL, false },
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
	{ "host-routes", FLAG_BOOL, "true", "only true is accepted", NULL, true },
};

static const struct flag login_flags[] = {
	SETTINGS_FLAGS,
	LOGIN_FLAGS,
};

static int64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* One run. */
struct up {
	struct cli *c;
	const struct flags *f;
	struct prefs_edit edit;
	struct prefs old, next;
	struct status status;
	char key[AUTHKEY_MAX]; /* "" = none */
	bool needs_old;        /* the edit is completed once the current routes are known */
	bool json, force, reset;
	bool printed;          /* something for the user to do */
};

/* --- the command line --- */

static int check_unsupported(struct up *u)
{
	static const char *const texts[] = { "client-id", "client-secret", "id-token", "audience" };

	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (*flags_str(u->f, texts[i]))
			return out_unsupported(u->c, "not supported in this build: --%s", texts[i]);
	return EXIT_OK;
}

static int read_flags(struct up *u)
{
	char err[PREFS_ERR_MAX] = "out of memory";
	int ret = settings_edit(u->c, u->f, &u->edit, &u->needs_old);

	if (!ret)
		ret = check_unsupported(u);
	if (!ret && flags_is_set(u->f, "login-server")) {
		if (prefval_control_url(&u->edit.prefs, flags_str(u->f, "login-server"), err))
			ret = out_error(u->c, "%s", err);
		u->edit.mask |= PREF_BIT(PREF_CONTROL_URL);
	}
	if (!ret && flags_int(u->f, "timeout") < 0)
		ret = out_error(u->c, "invalid value \"%s\" for --timeout; want 0 or more",
				flags_str(u->f, "timeout"));
	if (!ret && flags_is_set(u->f, "auth-key"))
		ret = authkey_read(u->c, flags_str(u->f, "auth-key"), u->key);
	return ret;
}

/* --- what is to be --- */

/* --reset: everything that was not named goes back to its default; the server stays. */
static int reset_edit(struct up *u)
{
	struct prefs_edit full = { .mask = PREF_BIT(PREF_N) - 1 };
	char err[PREFS_ERR_MAX] = "out of memory";
	struct prefs base;
	int ret;

	prefs_defaults(&base);
	ret = prefs_apply(&full.prefs, &base, &u->edit, err);
	if (ret)
		return out_error(u->c, "%s", err);
	full.mask &= ~PREF_BIT(PREF_INTERNAL_EXIT_NODE_PRIOR) & ~PREF_BIT(PREF_PROFILE_NAME);
	if (!(u->edit.mask & PREF_BIT(PREF_CONTROL_URL)))
		full.mask &= ~PREF_BIT(PREF_CONTROL_URL);
	prefs_edit_wipe(&u->edit);
	u->edit = full;
	return EXIT_OK;
}

static bool same_url(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

/* The server that is known without being named: the stored one, or the coordinator of this host. */
static int check_server(struct up *u)
{
	bool running = u->status.backend_state && strcmp(u->status.backend_state, "Running") == 0;
	bool named = u->edit.mask & PREF_BIT(PREF_CONTROL_URL);
	const char *known = u->old.control_url && *u->old.control_url ? u->old.control_url :
									u->status.meshd.server;

	if (named && running && !u->force && !same_url(u->edit.prefs.control_url, known))
		return out_error(u->c, "can't change --login-server without --force-reauth");
	if (named || (known && *known))
		return EXIT_OK;
	return out_error(u->c,
			 "no control server is known. Join one with\n\n\t%s up --login-server URL\n\n"
			 "or make this host the coordinator of a mesh of its own with\n\n"
			 "\t%s coordinator enable --url URL\n",
			 u->c->prog, u->c->prog);
}

/* Compat mode: tells what stays although it was not repeated. */
static void say_kept(struct up *u)
{
	struct prefs defaults;
	bool any = false;

	if (!u->c->compat || u->reset || flags_n_set(u->f) == 0)
		return;
	prefs_defaults(&defaults);
	for (size_t i = 0; settings_name(i); i++) {
		struct bytes now = { 0 }, def = { 0 };
		const char *value;

		settings_value(i, &u->old, &now);
		settings_value(i, &defaults, &def);
		value = (const char *)bytes_data(&now);
		if (!flags_is_set(u->f, settings_name(i)) &&
		    strcmp(value, (const char *)bytes_data(&def)) != 0) {
			(void)fprintf(u->c->err, "%s --%s=%s", any ? "" : "# kept:", settings_name(i), value);
			any = true;
		}
		bytes_wipe(&now);
		bytes_wipe(&def);
	}
	if (any)
		(void)fputc('\n', u->c->err);
}

static int plan(struct up *u)
{
	char err[PREFS_ERR_MAX] = "out of memory";
	int ret = peers_fetch(u->c, false, &u->status);

	if (!ret)
		ret = settings_fetch(u->c, &u->old);
	if (!ret && u->needs_old)
		ret = settings_finish(u->c, u->f, &u->edit, &u->old);
	if (!ret)
		ret = check_server(u);
	if (!ret && u->reset)
		ret = reset_edit(u);
	if (ret)
		return ret;
	u->edit.prefs.want_running = true;
	u->edit.prefs.logged_out = false;
	u->edit.mask |= PREF_BIT(PREF_WANT_RUNNING) | PREF_BIT(PREF_LOGGED_OUT);
	if (prefs_apply(&u->next, &u->old, &u->edit, err))
		return out_error(u->c, "%s", err);
	say_kept(u);
	return EXIT_OK;
}

/* --- output --- */

static void print_json(struct up *u, const char *url, const char *state, const char *error)
{
	struct json_w w = { .indent = url ? "\t" : "  " };
	struct bytes doc = { 0 };

	json_w_obj(&w, NULL);
	if (url)
		json_w_str(&w, "AuthURL", url);
	json_w_str(&w, "BackendState", state);
	if (error)
		json_w_str(&w, "Error", error);
	json_w_end(&w);
	if (jsonmap_finish(&w, &doc) == 0)
		(void)fprintf(u->c->out, "%.*s\n", (int)bytes_size(&doc), (const char *)bytes_data(&doc));
	(void)fflush(u->c->out);
	bytes_wipe(&doc);
}

static void print_url(struct up *u, const char *what, const char *url, const char *state)
{
	char safe[1200];

	/* Only what a browser may open: another scheme could run something (RELIABILITY 1.2). */
	if (strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0)
		return;
	if (u->json)
		print_json(u, url, state, NULL);
	else
		(void)fprintf(u->c->err, "\n%s\n\n\t%s\n\n", what, out_safe(safe, sizeof(safe), url));
	u->printed = true;
}

static int fail(struct up *u, int code, const char *text)
{
	if (u->json)
		print_json(u, NULL, "", text);
	(void)out_error(u->c, "%s", text);
	return code;
}

/* True when there was something to print. */
static bool print_warnings(struct up *u)
{
	struct status s = { 0 };
	char safe[400];
	bool any;

	if (peers_fetch(u->c, false, &s))
		return false;
	any = s.n_health > 0;
	if (s.n_health == 1)
		(void)fprintf(u->c->err, "# Health check warning: %s\n",
			      out_safe(safe, sizeof(safe), s.health[0]));
	else if (s.n_health > 1)
		(void)fprintf(u->c->err, "# Health check warnings:\n");
	for (size_t i = 0; s.n_health > 1 && i < s.n_health; i++)
		(void)fprintf(u->c->err, "#     - %s\n", out_safe(safe, sizeof(safe), s.health[i]));
	if (!u->c->compat && s.self && s.self->key_expiry_ns &&
	    s.self->key_expiry_ns / 1000000000 - (int64_t)time(NULL) < EXPIRY_SOON_S)
		(void)fprintf(u->c->err, "# the node key ends in %lld days; renew it with '%s up --force-reauth'\n",
			      (long long)((s.self->key_expiry_ns / 1000000000 - (int64_t)time(NULL)) / 86400),
			      u->c->prog);
	status_wipe(&s);
	return any;
}

/* --- the daemon --- */

static int post_start(struct up *u)
{
	struct json_w w = { 0 };
	struct bytes body = { 0 }, prefs = { 0 };
	struct client_reply r;
	int err = prefs_write(&prefs, &u->next, NULL);

	json_w_obj(&w, NULL);
	json_w_str(&w, "AuthKey", u->key);
	if (!err)
		json_w_raw(&w, "UpdatePrefs", (const char *)bytes_data(&prefs), bytes_size(&prefs));
	/* With a key nobody is asked: the new login is part of this request. */
	if (u->force && *u->key) {
		json_w_obj(&w, "Meshd");
		json_w_bool(&w, "ForceReauth", true);
		json_w_end(&w);
	}
	json_w_end(&w);
	if (!err)
		err = jsonmap_finish(&w, &body);
	else
		json_w_wipe(&w);
	bytes_wipe(&prefs);
	if (err)
		return out_error(u->c, "out of memory");
	err = client_request(u->c, "POST", "start", bytes_data(&body), bytes_size(&body), 0, &r);
	bytes_wipe(&body); /* it held the key */
	if (err)
		return err;
	if (r.status == 500) {
		char text[PREFS_ERR_MAX], line[PREFS_ERR_MAX + 20];

		client_error_text(&r, text, sizeof(text));
		(void)snprintf(line, sizeof(line), "backend error: %s", text);
		err = fail(u, EXIT_FAILED, line);
	} else {
		err = client_check(u->c, &r);
	}
	client_reply_wipe(&r);
	return err;
}

static int post_login(struct up *u)
{
	struct client_reply r;
	int err = client_call(u->c, "POST", "login-interactive", NULL, 0, &r);

	client_reply_wipe(&r);
	return err;
}

static int finish(struct up *u)
{
	if (u->json)
		print_json(u, NULL, "Running", NULL);
	else if (u->printed)
		(void)fprintf(u->c->err, "Success.\n");
	return EXIT_OK;
}

/* What one message of the bus means. Returns true when waiting ends, with '*code'. */
static bool on_event(struct up *u, const struct notify_event *e, bool is_first, bool *left, int *code)
{
	char line[PREFS_ERR_MAX], url[PREFS_ERR_MAX * 3];

	if (e->err_message && *e->err_message && !is_first) {
		(void)snprintf(line, sizeof(line), "backend error: %.300s", e->err_message);
		*code = fail(u, EXIT_FAILED, line);
		return true;
	}
	/* With --force-reauth the old login still runs for a moment. */
	if (e->has_state && e->state != STATE_RUNNING)
		*left = true;
	if (e->self_key && u->status.self) {
		char old[KEY_TEXT_MAX];

		key_write(old, KEY_NODE, u->status.self->key.b);
		*left = *left || strcmp(old, e->self_key) != 0;
	}
	if (e->browse_to_url && *e->browse_to_url && !*u->key)
		print_url(u, "To authenticate, visit:", e->browse_to_url, "NeedsLogin");
	if (e->has_state && e->state == STATE_NEEDS_MACHINE_AUTH) {
		(void)snprintf(url, sizeof(url), "%s/admin", u->next.control_url ? u->next.control_url : "");
		print_url(u, "To approve your machine, visit (as admin):", url, "NeedsMachineAuth");
	}
	if (!e->has_state || e->state != STATE_RUNNING || (u->force && !*left))
		return false;
	*code = finish(u);
	return true;
}

/* How often to look why it takes so long, until there is a reason to print. */
enum { HINT_MS = 3000 };

/* Milliseconds from now to 'limit_ms' after 'start_ms', as client_stream_line() takes them. */
static int wait_ms(int64_t start_ms, int64_t limit_ms)
{
	const int64_t left = limit_ms - (now_ms() - start_ms);

	if (limit_ms == INT64_MAX)
		return -1;
	return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static int timed_out(struct up *u)
{
	char text[200];

	(void)snprintf(text, sizeof(text),
		       "timeout waiting for Tailscale service to enter a Running state; check "
		       "health with \"%s status\"",
		       u->c->prog);
	return fail(u, EXIT_TIMEOUT, text);
}

/* --force-reauth: does the node run with another key than before? The bus may not have told. */
static bool has_new_key(struct up *u)
{
	struct status s = { 0 };
	bool is_new;

	if (!u->force || !u->status.self || peers_fetch(u->c, false, &s))
		return false;
	is_new = s.self && strcmp(s.backend_state ? s.backend_state : "", "Running") == 0 &&
		 !node_key_eq(&s.self->key, &u->status.self->key);
	status_wipe(&s);
	return is_new;
}

/* The next line of the bus, waiting until 'until_ms' after 'start_ms'. With --force-reauth the wait is cut in
 * pieces and the status looked at in between; '*done' then says that the node runs with its new key. */
static int next_line(struct up *u, struct client_stream *bus, int64_t start_ms, int64_t until_ms,
		     const char **line, size_t *len, bool *done)
{
	for (;;) {
		int ms = wait_ms(start_ms, until_ms), err;
		const bool is_piece = u->force && (ms < 0 || ms > POLL_MS);

		err = client_stream_line(bus, is_piece ? POLL_MS : ms, line, len);
		*done = err == -ETIMEDOUT && has_new_key(u);
		if (*done || err != -ETIMEDOUT || !is_piece)
			return err;
	}
}

static int wait_running(struct up *u, struct client_stream *bus)
{
	const int64_t timeout_ns = flags_int(u->f, "timeout");
	const int64_t limit_ms = timeout_ns ? timeout_ns / 1000000 : INT64_MAX;
	const int64_t start = now_ms();
	int64_t hint_ms = u->json ? INT64_MAX : HINT_MS;
	bool is_first = true, left = false;
	int code = EXIT_FAILED;

	for (;;) {
		const int64_t until = hint_ms < limit_ms ? hint_ms : limit_ms;
		struct notify_event e = { 0 };
		const char *line;
		size_t len;
		bool done;
		int err = next_line(u, bus, start, until, &line, &len, &done);

		if (done)
			return finish(u);
		if (err == -ETIMEDOUT) {
			if (hint_ms != INT64_MAX)
				hint_ms = u->printed || print_warnings(u) ? INT64_MAX : hint_ms + HINT_MS;
			if (until == limit_ms)
				return timed_out(u);
			continue;
		}
		if (err == -EPIPE) {
			(void)fail(u, EXIT_NO_DAEMON, "the daemon closed the connection");
			return EXIT_NO_DAEMON;
		}
		if (err || notify_parse(&e, line, len))
			return fail(u, EXIT_FAILED, "unexpected message of the daemon");
		done = on_event(u, &e, is_first, &left, &code);
		notify_event_wipe(&e);
		is_first = false;
		if (done)
			return code;
	}
}

/* Only settings change, and the node runs: nothing to wait for. */
static bool is_just_edit(const struct up *u)
{
	return u->status.backend_state && strcmp(u->status.backend_state, "Running") == 0 && !u->force &&
	       u->next.n_advertise_tags == u->old.n_advertise_tags &&
	       !(prefs_diff(&u->next, &u->old) & PREF_BIT(PREF_ADVERTISE_TAGS));
}

static bool needs_login(const struct up *u)
{
	const char *state = u->status.backend_state ? u->status.backend_state : "";

	return u->force || strcmp(state, "NeedsLogin") == 0 || !u->status.have_node_key ||
	       prefs_diff(&u->next, &u->old) & PREF_BIT(PREF_ADVERTISE_TAGS);
}

static int start(struct up *u)
{
	struct client_stream *bus = NULL;
	struct prefs now = { 0 };
	int err;

	if (is_just_edit(u)) {
		err = settings_send(u->c, &u->edit, &now);
		if (!err && u->json)
			print_json(u, NULL, "Running", NULL);
		prefs_wipe(&now);
		return err;
	}
	err = client_stream_open(u->c, "watch-ipn-bus?mask=2", &bus);
	if (err)
		return err;
	if (needs_login(u)) {
		err = post_start(u);
		if (!err && !*u->key)
			err = post_login(u);
	} else {
		err = settings_send(u->c, &u->edit, NULL);
	}
	if (!err)
		err = wait_running(u, bus);
	client_stream_close(bus);
	return err;
}

static int run(struct up *u)
{
	int err = read_flags(u);

	if (!err)
		err = plan(u);
	if (!err)
		err = start(u);
	if (!err) {
		settings_warn(u->c, u->f, &u->next);
		if (flags_is_set(u->f, "relay-server-port") || flags_bool(u->f, "advertise-relay-server"))
			settings_warn_relay(u->c, &u->next);
		if (!u->json)
			(void)print_warnings(u);
	}
	sodium_memzero(u->key, sizeof(u->key));
	prefs_edit_wipe(&u->edit);
	prefs_wipe(&u->old);
	prefs_wipe(&u->next);
	status_wipe(&u->status);
	return err;
}

static int run_up(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct up u = { .c = c,
			.f = f,
			.json = flags_bool(f, "json"),
			.force = flags_bool(f, "force-reauth"),
			.reset = flags_bool(f, "reset") };
	char quoted[PREFVAL_QUOTE_MAX];

	if (n_args > 0)
		return out_error(c, "too many non-flag arguments: %s",
				 prefval_quote(quoted, args[0], strlen(args[0])));
	if (!flags_bool(f, "host-routes"))
		return out_error(c, "unsupported value; only 'true' is allowed");
	return run(&u);
}

const struct cmd cmd_up = {
	.name = "up",
	.usage = "up [flags]",
	.short_help = "Connect, logging in if needed",
	.long_help = "\"up\" connects this machine to its network. Settings that are not named keep their "
		     "values.\nWith --reset they go back to their defaults.",
	CMD_FLAGS(up_flags),
	.run = run_up,
};

/* --- login --- */

static int run_login(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct up u = { .c = c, .f = f };
	struct status s = { 0 };
	bool logged_in;
	int err;

	(void)args;
	if (n_args > 0)
		return out_error(c, "too many non-flag arguments");
	err = peers_fetch(c, false, &s);
	if (err)
		return err;
	logged_in = s.have_node_key && s.backend_state && strcmp(s.backend_state, "NeedsLogin") != 0;
	status_wipe(&s);
	if (logged_in)
		return out_unsupported(c,
				       "not in this build: a second profile. Log out first, or use '%s up "
				       "--force-reauth'",
				       c->prog);
	return run(&u);
}

const struct cmd cmd_login = {
	.name = "login",
	.usage = "login [flags]",
	.short_help = "Log in",
	.long_help = "\"login\" logs this machine in to a network. This build keeps one login at a time.",
	CMD_FLAGS(login_flags),
	.run = run_login,
};
