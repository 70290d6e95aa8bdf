/* SPDX-License-Identifier: MIT */
/* down, logout, switch. Spec: cli 2.3, 2.4. */
#include <string.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/peers.h"
#include "cli/risk.h"
#include "cli/settings.h"

static const struct flag down_flags[] = {
	{ "reason", FLAG_STRING, NULL, "reason for the disconnect, for the daemon's log", NULL, false },
	{ "accept-risk", FLAG_STRING, NULL,
	  "accept risk and skip confirmation for `risk` types: lose-ssh, mac-app-connector, all", NULL, false },
};

/* Takes --reason for the requests that follow. */
static int take_reason(struct cli *c, const struct flags *f)
{
	c->reason = flags_str(f, "reason");
	if (strlen(c->reason) > CLIENT_REASON_MAX)
		return out_error(c, "the reason is too long: %zu bytes (max %d)", strlen(c->reason), CLIENT_REASON_MAX);
	return EXIT_OK;
}

static int run_down(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct prefs_edit e = { .mask = PREF_BIT(PREF_WANT_RUNNING) };
	struct status s = { 0 };
	bool stopped;
	int err;

	(void)args;
	if (n_args > 0)
		return out_error(c, "too many non-flag arguments");
	err = take_reason(c, f);
	if (!err)
		err = peers_fetch(c, false, &s);
	if (err)
		return err;
	stopped = s.backend_state && strcmp(s.backend_state, "Stopped") == 0;
	status_wipe(&s);
	if (stopped) {
		(void)fprintf(c->err, "Tailscale was already stopped.\n");
		return EXIT_OK;
	}
	err = risk_confirm(c, flags_str(f, "accept-risk"),
			   "You are connected over Tailscale; this action will disable Tailscale and result in "
			   "your session disconnecting.");
	return err ? err : settings_send(c, &e, NULL);
}

const struct cmd cmd_down = {
	.name = "down",
	.usage = "down",
	.short_help = "Disconnect",
	CMD_FLAGS(down_flags),
	.run = run_down,
};

/* --- logout --- */

static const struct flag logout_flags[] = {
	{ "local", FLAG_BOOL, "false", "do not fail when the control server cannot be told", NULL, false },
	{ "reason", FLAG_STRING, NULL, "reason for the logout, for the daemon's log", NULL, false },
	{ "accept-risk", FLAG_STRING, NULL,
	  "accept risk and skip confirmation for `risk` types: lose-ssh, mac-app-connector, all", NULL, false },
};

static int run_logout(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct client_reply r;
	int err;

	(void)args;
	if (n_args > 0)
		return out_error(c, "too many non-flag arguments");
	err = take_reason(c, f);
	if (!err)
		err = risk_confirm(c, flags_str(f, "accept-risk"),
				   "You are connected over Tailscale; this action will log out and result in your session "
				   "disconnecting.");
	if (!err)
		err = client_call(c, "POST", flags_bool(f, "local") ? "logout?local=true" : "logout", NULL, 0, &r);
	if (!err)
		client_reply_wipe(&r);
	return err;
}

const struct cmd cmd_logout = {
	.name = "logout",
	.usage = "logout",
	.short_help = "Disconnect and expire the current node key",
	.long_help = "\"logout\" ends the login: the node key is expired on the server and deleted here.",
	CMD_FLAGS(logout_flags),
	.run = run_logout,
};

/* --- switch --- */

static const struct flag switch_flags[] = {
	{ "list", FLAG_BOOL, "false", "list available accounts", NULL, false },
	{ "json", FLAG_BOOL, "false", "list available accounts in JSON format", NULL, false },
};

static const char *text(const cJSON *obj, const char *key)
{
	const cJSON *v = json_get(obj, key);

	return cJSON_IsString(v) ? v->valuestring : "";
}

static void list_text(struct cli *c, const cJSON *profiles, const char *current)
{
	char id[64], domain[300], name[300];
	struct out_table t;
	const cJSON *p;

	out_table_init(&t, 2, 2);
	out_table_add(&t, "ID\tTailnet\tAccount\n");
	cJSON_ArrayForEach(p, profiles)
		out_table_add(&t, "%s\t%s\t%s%s\n", out_safe(id, sizeof(id), text(p, "ID")),
			      out_safe(domain, sizeof(domain), text(json_get(p, "NetworkProfile"), "DomainName")),
			      out_safe(name, sizeof(name), text(p, "Name")),
			      strcmp(text(p, "ID"), current) == 0 ? "*" : "");
	out_table_flush(&t, c->out);
}

static int list_json(struct cli *c, const cJSON *profiles, const char *current)
{
	struct json_w w = { .indent = "  " };
	struct bytes doc = { 0 };
	const cJSON *p;

	json_w_arr(&w, NULL);
	cJSON_ArrayForEach(p, profiles) {
		json_w_obj(&w, NULL);
		json_w_str(&w, "id", text(p, "ID"));
		json_w_str(&w, "nickname", text(p, "Name"));
		json_w_str(&w, "tailnet", text(json_get(p, "NetworkProfile"), "DomainName"));
		json_w_str(&w, "account", text(json_get(p, "UserProfile"), "LoginName"));
		json_w_bool(&w, "selected", strcmp(text(p, "ID"), current) == 0);
		json_w_end(&w);
	}
	json_w_end(&w);
	if (jsonmap_finish(&w, &doc))
		return out_error(c, "out of memory");
	(void)fprintf(c->out, "%.*s\n", (int)bytes_size(&doc), (const char *)bytes_data(&doc));
	bytes_wipe(&doc);
	return EXIT_OK;
}

static int fetch(struct cli *c, const char *path, cJSON **json)
{
	struct client_reply r;
	int err = client_get(c, path, &r);

	if (err)
		return err;
	*json = json_parse((const char *)bytes_data(&r.body), bytes_size(&r.body), 0, NULL);
	client_reply_wipe(&r);
	return *json ? EXIT_OK : out_error(c, "unexpected answer of the daemon");
}

static int switch_to(struct cli *c, const cJSON *profiles, const char *current, const char *name)
{
	char quoted[PREFVAL_QUOTE_MAX];
	const cJSON *p;

	cJSON_ArrayForEach(p, profiles) {
		if (strcmp(text(p, "ID"), name) != 0 && strcmp(text(p, "Name"), name) != 0 &&
		    strcmp(text(json_get(p, "NetworkProfile"), "DomainName"), name) != 0)
			continue;
		if (strcmp(text(p, "ID"), current) == 0) {
			(void)fprintf(c->out, "Already on account %s\n",
				      prefval_quote(quoted, name, strlen(name)));
			return EXIT_OK;
		}
	}
	return out_error(c, "No profile named %s", prefval_quote(quoted, name, strlen(name)));
}

static int run_switch(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	cJSON *profiles = NULL, *current = NULL;
	int err;

	if (n_args > 1 || (n_args == 0 && !flags_bool(f, "list") && !flags_bool(f, "json")))
		return out_usage_error(c, &cmd_switch, "usage: %s switch --list, or switch NAME", c->prog);
	err = fetch(c, "profiles/", &profiles);
	if (!err)
		err = fetch(c, "profiles/current", &current);
	if (!err && n_args)
		err = switch_to(c, profiles, text(current, "ID"), args[0]);
	else if (!err && flags_bool(f, "json"))
		err = list_json(c, profiles, text(current, "ID"));
	else if (!err)
		list_text(c, profiles, text(current, "ID"));
	cJSON_Delete(profiles);
	cJSON_Delete(current);
	return err;
}

const struct cmd cmd_switch = {
	.name = "switch",
	.usage = "switch [--list] [--json] [NAME]",
	.short_help = "Show the accounts of this node",
	.long_help = "This build keeps one login at a time; \"switch --list\" shows it.",
	CMD_FLAGS(switch_flags),
	.run = run_switch,
};
