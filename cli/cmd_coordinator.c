/* SPDX-License-Identifier: MIT */
/* coordinator: a mesh of its own. Spec: cli 7b. Nodes and their commands are in cmd_coordnodes.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/coordinator.h"
#include "cli/out.h"
#include "wire/apijson.h"

enum { PATH_MAX_LEN = 128, POLICY_MAX = 1 << 20, LINE_MAX_LEN = 512 };

/* ---- requests ---- */

/* Closes and wipes 'body'; null is a GET. */
static int call(struct cli *c, const char *verb, struct json_w *body, struct client_reply *r)
{
	char path[PATH_MAX_LEN];
	struct bytes doc = { 0 };
	int code;

	(void)snprintf(path, sizeof(path), "meshd/coordinator/%s", verb);
	if (!body)
		return client_get(c, path, r);
	json_w_end(body);
	if (jsonmap_finish(body, &doc) == 0)
		code = client_call(c, "POST", path, bytes_data(&doc), bytes_size(&doc), r);
	else
		code = out_error(c, "out of memory");
	json_w_wipe(body);
	bytes_wipe(&doc);
	return code;
}

int coordinator_run(struct cli *c, const struct flags *f, const char *verb, struct json_w *body,
		    void (*print)(struct cli *c, const cJSON *v))
{
	struct client_reply r = { 0 };
	int code = call(c, verb, body, &r);

	if (!code && flags_bool(f, "json")) {
		code = coordinator_json(c, &r);
	} else if (!code && print) {
		cJSON *v = coordinator_tree(c, &r);

		if (v)
			print(c, v);
		else
			code = EXIT_FAILED;
		cJSON_Delete(v);
	}
	client_reply_wipe(&r);
	return code;
}

int coordinator_no_args(struct cli *c, int n_args, char *const *args)
{
	return n_args ? out_error(c, "unexpected argument \"%.80s\"", args[0]) : EXIT_OK;
}

cJSON *coordinator_tree(struct cli *c, const struct client_reply *r)
{
	cJSON *v = json_parse((const char *)bytes_data(&r->body), bytes_size(&r->body), 0, NULL);

	if (!cJSON_IsObject(v)) {
		cJSON_Delete(v);
		v = NULL;
		(void)out_error(c, "the daemon's answer is not JSON");
	}
	return v;
}

int coordinator_json(struct cli *c, const struct client_reply *r)
{
	return out_json(c, (const char *)bytes_data(&r->body), bytes_size(&r->body), "\t", true);
}

const char *coordinator_str(const cJSON *v, const char *key)
{
	const cJSON *m = json_get(v, key);

	return cJSON_IsString(m) ? m->valuestring : "";
}

int64_t coordinator_int(const cJSON *v, const char *key)
{
	int64_t n = 0;

	return json_value_i64(json_get(v, key), &n) ? n : 0;
}

/* "a,b" of a list of texts; "-" for none. */
char *coordinator_list(char *buf, size_t size, const cJSON *v, const char *key)
{
	const cJSON *e;
	size_t at = 0;

	buf[0] = '\0';
	cJSON_ArrayForEach(e, json_get(v, key))
	{
		int n = snprintf(buf + at, size - at, "%s%s", at ? "," : "", cJSON_IsString(e) ? e->valuestring : "");

		if (n < 0 || (size_t)n >= size - at)
			break;
		at += (size_t)n;
	}
	if (!at)
		(void)snprintf(buf, size, "-");
	return buf;
}

/* A list flag: comma-separated words, spaces around them ignored; 'prefix' is put before words without it. */
void coordinator_words(struct json_w *w, const char *key, const char *text, const char *prefix)
{
	json_w_arr(w, key);
	while (*text) {
		size_t len = strcspn(text, ","), skip = strspn(text, " ");
		size_t end = len;
		char word[LINE_MAX_LEN];

		while (end > skip && text[end - 1] == ' ')
			end--;
		if (skip < end) {
			bool has = strncmp(text + skip, prefix, strlen(prefix)) == 0;

			(void)snprintf(word, sizeof(word), "%s%.*s", has ? "" : prefix, (int)(end - skip), text + skip);
			json_w_str(w, NULL, word);
		}
		text += len + (text[len] == ',');
	}
	json_w_end(w);
}

/* ---- enable, disable, status ---- */

static const struct flag enable_flags[] = {
	{ "url", FLAG_STRING, NULL, "`URL` of the coordinator: http://HOST[:PORT] or https://HOST[:PORT]", NULL, false },
	{ "listen", FLAG_STRING, NULL, "`ADDR:PORT` to listen on (default all addresses and the URL's port)", NULL, false },
	{ "domain", FLAG_STRING, NULL, "`name` below which nodes are named (default \"mesh.internal\")", NULL, false },
	{ "stun-port", FLAG_INT, "3478", "UDP `port` of the STUN server", NULL, false },
	{ "cert", FLAG_STRING, NULL, "`file` with the TLS certificate chain", NULL, false },
	{ "key", FLAG_STRING, NULL, "`file` with the certificate's private key", NULL, false },
	{ "behind-proxy", FLAG_BOOL, "false", "listen in plain HTTP; a proxy in front does TLS", NULL, false },
	{ "pool4", FLAG_STRING, NULL, "IPv4 `CIDR` to give addresses from (default 100.64.0.0/10)", NULL, false },
	{ "node-expiry", FLAG_DURATION, "0", "nodes must log in again after this long; 0 means never", NULL, false },
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
};

/* What can be told without the daemon. Returns EXIT_OK or an exit code after printing. */
static int check_enable(struct cli *c, const struct flags *f)
{
	const char *url = flags_str(f, "url"), *pool = flags_str(f, "pool4");
	bool cert = *flags_str(f, "cert") != '\0', key = *flags_str(f, "key") != '\0';
	bool https = strncmp(url, "https://", 8) == 0;
	int64_t stun = flags_int(f, "stun-port");
	struct prefix p;

	if (!*url)
		return out_error(c, "--url is missing: the address under which nodes reach this machine, "
				    "for example http://192.0.2.1");
	if (!https && strncmp(url, "http://", 7) != 0)
		return out_error(c, "invalid value \"%.80s\" for --url; want http://HOST[:PORT] or https://HOST[:PORT]", url);
	if (cert != key)
		return out_error(c, "--cert and --key belong together");
	if (cert && flags_bool(f, "behind-proxy"))
		return out_error(c, "--behind-proxy contradicts --cert: the proxy has the certificate");
	if (https && !cert && !flags_bool(f, "behind-proxy"))
		return out_error(c, "an https URL needs --cert and --key, or --behind-proxy");
	if (stun < 1 || stun > 65535)
		return out_error(c, "invalid value \"%.80s\" for --stun-port; want 1-65535", flags_get(f, "stun-port")->s);
	if (*pool && (prefix_parse(&p, pool, strlen(pool), false) != 0 || p.ip.family != IP_V4))
		return out_error(c, "invalid value \"%.80s\" for --pool4; want an IPv4 CIDR such as 100.64.0.0/10", pool);
	if (flags_int(f, "node-expiry") < 0)
		return out_error(c, "invalid value \"%.80s\" for --node-expiry; want a positive duration, or 0 for never",
				 flags_get(f, "node-expiry")->s);
	return EXIT_OK;
}

static void put_str(struct json_w *w, const char *key, const char *value)
{
	if (*value)
		json_w_str(w, key, value);
}

/* The daemon runs elsewhere: a relative file name would mean another file there. */
static int put_file(struct cli *c, struct json_w *w, const char *key, const char *name)
{
	char *full;

	if (!*name)
		return EXIT_OK;
	full = realpath(name, NULL);
	if (!full)
		return out_error(c, "%.200s: %s", name, strerror(errno));
	json_w_str(w, key, full);
	free(full);
	return EXIT_OK;
}

static void print_enabled(struct cli *c, const cJSON *v)
{
	const char *url = coordinator_str(v, "URL");
	const cJSON *e;

	cJSON_ArrayForEach(e, json_get(v, "Warnings"))
		(void)fprintf(c->err, "%s\n", cJSON_IsString(e) ? e->valuestring : "");
	(void)fprintf(c->out,
		      "Coordinator running at %s\n"
		      "\n"
		      "Make a key for the next machine:  sudo %s coordinator keys create\n"
		      "Join from there:                  sudo %s up --login-server %s --auth-key KEY\n",
		      url, c->prog, c->prog, url);
}

static int run_enable(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct json_w w = { 0 };
	int code = coordinator_no_args(c, n_args, args);

	if (!code)
		code = check_enable(c, f);
	if (code)
		return code;
	json_w_obj(&w, NULL);
	json_w_str(&w, "URL", flags_str(f, "url"));
	put_str(&w, "Listen", flags_str(f, "listen"));
	put_str(&w, "Domain", flags_str(f, "domain"));
	json_w_i64(&w, "STUNPort", flags_int(f, "stun-port"));
	code = put_file(c, &w, "Cert", flags_str(f, "cert"));
	if (!code)
		code = put_file(c, &w, "Key", flags_str(f, "key"));
	json_w_bool(&w, "BehindProxy", flags_bool(f, "behind-proxy"));
	put_str(&w, "Pool4", flags_str(f, "pool4"));
	json_w_i64(&w, "NodeExpiryS", flags_int(f, "node-expiry") / INT64_C(1000000000));
	if (!code)
		return coordinator_run(c, f, "enable", &w, print_enabled);
	json_w_wipe(&w);
	return code;
}

static const struct flag json_flags[] = {
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
};

static void print_disabled(struct cli *c, const cJSON *v)
{
	(void)v;
	(void)fprintf(c->out, "Coordinator off; nodes, keys and policy are kept.\n");
}

static int run_disable(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct json_w w = { 0 };
	int code = coordinator_no_args(c, n_args, args);

	if (code)
		return code;
	json_w_obj(&w, NULL);
	return coordinator_run(c, f, "disable", &w, print_disabled);
}

static void print_status(struct cli *c, const cJSON *v)
{
	const char *error = coordinator_str(v, "Error"), *listen = coordinator_str(v, "Listen");
	char listen_safe[LINE_MAX_LEN];

	if (!cJSON_IsTrue(json_get(v, "On"))) {
		(void)fprintf(c->out, "Coordinator is off. (%s coordinator enable --url URL)\n", c->prog);
		return;
	}
	(void)fprintf(c->out, "URL:        %s\n", coordinator_str(v, "URL"));
	if (!cJSON_IsTrue(json_get(v, "Serving")))
		(void)fprintf(c->out, "Problem:    %s\n", *error ? out_safe(listen_safe, sizeof(listen_safe), error) : "not serving");
	(void)fprintf(c->out, "Listening:  TCP %s (control and DERP), UDP %lld (STUN)\n",
		      *listen ? listen : "all addresses, the URL's port", (long long)coordinator_int(v, "STUNPort"));
	(void)fprintf(c->out, "DERP:       region %lld\n", (long long)coordinator_int(v, "DERPRegion"));
	(void)fprintf(c->out, "Domain:     %s\n", coordinator_str(v, "Domain"));
	(void)fprintf(c->out, "Nodes:      %lld, %lld online\n", (long long)coordinator_int(v, "Nodes"),
		      (long long)coordinator_int(v, "Online"));
	(void)fprintf(c->out, "Policy:     revision %lld\n", (long long)coordinator_int(v, "PolicyRevision"));
	(void)fprintf(c->out, "Database:   %lld KiB\n", (long long)(coordinator_int(v, "DatabaseBytes") + 1023) / 1024);
}

static int run_status(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	int code = coordinator_no_args(c, n_args, args);

	return code ? code : coordinator_run(c, f, "status", NULL, print_status);
}

/* ---- keys ---- */

static const struct flag keys_create_flags[] = {
	{ "reusable", FLAG_BOOL, "false", "the key may be used more than once", NULL, false },
	{ "ephemeral", FLAG_BOOL, "false", "nodes that join with it are deleted when they go offline", NULL, false },
	{ "expiration", FLAG_DURATION, "1h", "how long the key can be used; 0 means for ever", NULL, false },
	{ "user", FLAG_STRING, "admin", "`name` of the user that nodes belong to", NULL, false },
	{ "tags", FLAG_STRING, NULL, "`list` of tags that nodes get, separated by commas", NULL, false },
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
};

static void print_key(struct cli *c, const cJSON *v)
{
	(void)fprintf(c->out, "%s\n", coordinator_str(v, "Key"));
}

static int run_keys_create(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	const int64_t life = flags_int(f, "expiration");
	struct json_w w = { 0 };
	int code = coordinator_no_args(c, n_args, args);

	if (code)
		return code;
	if (life < 0 || (life > 0 && life < INT64_C(1000000000)))
		return out_error(c, "invalid value \"%.80s\" for --expiration; want at least 1s, or 0 for ever",
				 flags_get(f, "expiration")->s);
	json_w_obj(&w, NULL);
	json_w_bool(&w, "Reusable", flags_bool(f, "reusable"));
	json_w_bool(&w, "Ephemeral", flags_bool(f, "ephemeral"));
	json_w_i64(&w, "ExpirationS", life / INT64_C(1000000000));
	json_w_str(&w, "User", flags_str(f, "user"));
	coordinator_words(&w, "Tags", flags_str(f, "tags"), "tag:");
	return coordinator_run(c, f, "admin/keys.create", &w, print_key);
}

static const char *yes_no(const cJSON *v, const char *key)
{
	return cJSON_IsTrue(json_get(v, key)) ? "yes" : "no";
}

static void print_keys(struct cli *c, const cJSON *v)
{
	struct out_table t;
	const cJSON *k;
	char tags[LINE_MAX_LEN];

	out_table_init(&t, 0, 2);
	out_table_add(&t, "ID\tUSER\tTAGS\tREUSABLE\tEPHEMERAL\tUSED\tEXPIRES\n");
	cJSON_ArrayForEach(k, json_get(v, "Keys"))
	{
		const char *expires = coordinator_str(k, "Expires");

		if (cJSON_IsTrue(json_get(k, "Revoked")))
			expires = "revoked";
		else if (cJSON_IsTrue(json_get(k, "Expired")))
			expires = "expired";
		out_table_add(&t, "%lld\t%s\t%s\t%s\t%s\t%s\t%s\n", (long long)coordinator_int(k, "ID"),
			      *coordinator_str(k, "User") ? coordinator_str(k, "User") : "-",
			      coordinator_list(tags, sizeof(tags), k, "Tags"), yes_no(k, "Reusable"),
			      yes_no(k, "Ephemeral"), yes_no(k, "Used"), *expires ? expires : "never");
	}
	out_table_flush(&t, c->out);
}

static int run_keys_list(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct json_w w = { 0 };
	int code = coordinator_no_args(c, n_args, args);

	if (code)
		return code;
	json_w_obj(&w, NULL);
	return coordinator_run(c, f, "admin/keys.list", &w, print_keys);
}

int coordinator_number(struct cli *c, const char *what, const char *text, int64_t *out)
{
	int64_t n = 0;
	size_t len = strspn(text, "0123456789");

	for (size_t i = 0; i < len && len < 18; i++)
		n = n * 10 + (text[i] - '0');
	if (text[len] || !len || len >= 18 || !n)
		return out_error(c, "invalid %s \"%.80s\"; want a number", what, text);
	*out = n;
	return EXIT_OK;
}

static int run_keys_revoke(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct json_w w = { 0 };
	int64_t id = 0;
	int code;

	if (n_args != 1)
		return out_error(c, "usage: %s coordinator keys revoke ID", c->prog);
	code = coordinator_number(c, "key id", args[0], &id);
	if (code)
		return code;
	json_w_obj(&w, NULL);
	json_w_i64(&w, "ID", id);
	return coordinator_run(c, f, "admin/keys.revoke", &w, NULL);
}

static const struct cmd keys_subs[] = {
	{ .name = "create", .usage = "coordinator keys create [flags]", .short_help = "Make an auth key",
	  .long_help = "Prints the key alone. Each key is used once and within one hour unless told otherwise.",
	  CMD_FLAGS(keys_create_flags), .run = run_keys_create },
	{ .name = "list", .usage = "coordinator keys list [flags]", .short_help = "List auth keys, never their secrets",
	  CMD_FLAGS(json_flags), .run = run_keys_list },
	{ .name = "revoke", .usage = "coordinator keys revoke ID", .short_help = "Make an auth key useless",
	  CMD_FLAGS(json_flags), .run = run_keys_revoke },
};

/* ---- policy ---- */

/* The file, or stdin for "-", as fresh text. Null: an error was printed. */
static char *read_policy(struct cli *c, const char *name, size_t *size)
{
	FILE *in = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
	char *text = malloc(POLICY_MAX + 2);
	int err = in ? 0 : errno;

	*size = 0;
	if (in && text) {
		*size = fread(text, 1, POLICY_MAX + 1, in);
		err = ferror(in) ? errno : 0;
	}
	if (in && in != stdin)
		(void)fclose(in);
	if (err || !text || *size > POLICY_MAX) {
		(void)out_error(c, "%.200s: %s", name,
				err ? strerror(err) : !text ? "out of memory" : "longer than 1 MiB: no policy");
		free(text);
		return NULL;
	}
	text[*size] = '\0';
	return text;
}

/* "line:column: message" for each error. */
static int print_policy_errors(struct cli *c, const struct client_reply *r)
{
	cJSON *v = json_parse((const char *)bytes_data(&r->body), bytes_size(&r->body), 0, NULL);
	const cJSON *e, *list = json_get(v, "Errors");
	char safe[LINE_MAX_LEN];

	if (!cJSON_IsArray(list)) {
		cJSON_Delete(v);
		return client_check(c, r);
	}
	cJSON_ArrayForEach(e, list)
		(void)fprintf(c->err, "%lld:%lld: %s\n", (long long)coordinator_int(e, "Line"),
			      (long long)coordinator_int(e, "Col"),
			      out_safe(safe, sizeof(safe), coordinator_str(e, "Message")));
	if (coordinator_int(v, "MoreErrors"))
		(void)fprintf(c->err, "and %lld more\n", (long long)coordinator_int(v, "MoreErrors"));
	cJSON_Delete(v);
	return EXIT_FAILED;
}

static int send_policy(struct cli *c, const char *verb, const char *text, size_t size, struct client_reply *r)
{
	struct bytes doc = { 0 };
	struct json_w w = { 0 };
	int code;

	json_w_obj(&w, NULL);
	json_w_strn(&w, "Policy", text, size);
	json_w_end(&w);
	if (jsonmap_finish(&w, &doc) != 0)
		code = out_error(c, "out of memory");
	else
		code = client_request(c, "POST", verb, bytes_data(&doc), bytes_size(&doc), 0, r);
	json_w_wipe(&w);
	bytes_wipe(&doc);
	return code;
}

static int put_policy(struct cli *c, const struct flags *f, int n_args, char *const *args, bool set)
{
	struct client_reply r = { 0 };
	long long lost;
	size_t size;
	char *text;
	cJSON *v;
	int code;

	if (n_args != 1)
		return out_error(c, "usage: %s coordinator policy %s FILE", c->prog, set ? "set" : "check");
	text = read_policy(c, args[0], &size);
	if (!text)
		return EXIT_FAILED;
	code = send_policy(c, set ? "meshd/coordinator/admin/policy.set" : "meshd/coordinator/admin/policy.check", text,
			   size, &r);
	free(text);
	if (!code && flags_bool(f, "json")) {
		code = coordinator_json(c, &r);
		code = code ? code : r.status == 200 ? EXIT_OK : EXIT_FAILED;
	} else if (!code && r.status != 200) {
		code = print_policy_errors(c, &r);
	} else if (!code) {
		v = coordinator_tree(c, &r);
		lost = (long long)coordinator_int(v, "LostPairs");
		if (lost)
			(void)fprintf(c->out, "%lld %s of nodes can %s talk to each other\n", lost,
				      lost == 1 ? "pair" : "pairs", set ? "no longer" : "then no longer");
		if (set)
			(void)fprintf(c->out, "Policy revision %lld is in force.\n", (long long)coordinator_int(v, "Revision"));
		else
			(void)fprintf(c->out, "The policy is valid.\n");
		code = v ? EXIT_OK : EXIT_FAILED;
		cJSON_Delete(v);
	}
	client_reply_wipe(&r);
	return code;
}

static int run_policy_check(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	return put_policy(c, f, n_args, args, false);
}

static int run_policy_set(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	return put_policy(c, f, n_args, args, true);
}

/* As it was given, so that it can be edited and set again. */
static void print_policy(struct cli *c, const cJSON *v)
{
	const char *text = coordinator_str(v, "Policy");

	(void)fprintf(c->out, "%s%s", text, *text && text[strlen(text) - 1] != '\n' ? "\n" : "");
}

static int run_policy_get(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct json_w w = { 0 };
	int code = coordinator_no_args(c, n_args, args);

	if (code)
		return code;
	json_w_obj(&w, NULL);
	return coordinator_run(c, f, "admin/policy.get", &w, print_policy);
}

static const struct cmd policy_subs[] = {
	{ .name = "get", .usage = "coordinator policy get [flags]", .short_help = "Print the policy in force",
	  CMD_FLAGS(json_flags), .run = run_policy_get },
	{ .name = "check", .usage = "coordinator policy check FILE", .short_help = "Check a policy, change nothing",
	  CMD_FLAGS(json_flags), .run = run_policy_check },
	{ .name = "set", .usage = "coordinator policy set FILE", .short_help = "Replace the policy",
	  .long_help = "FILE is HuJSON; - reads it from standard input. The file's own tests run first; on any\n"
		       "error the old policy stays in force. Nodes hear of the new one within a second.",
	  CMD_FLAGS(json_flags), .run = run_policy_set },
};

/* ---- the command ---- */

static const struct cmd coordinator_subs[] = {
	{ .name = "enable", .usage = "coordinator enable --url URL [flags]", .short_help = "Make this machine the coordinator",
	  CMD_FLAGS(enable_flags), .run = run_enable },
	{ .name = "disable", .usage = "coordinator disable", .short_help = "Stop being the coordinator; its state is kept",
	  CMD_FLAGS(json_flags), .run = run_disable },
	{ .name = "status", .usage = "coordinator status [flags]", .short_help = "Show what the coordinator does",
	  CMD_FLAGS(json_flags), .run = run_status },
	{ .name = "keys", .short_help = "Auth keys for joining", CMD_SUBS(keys_subs) },
	{ .name = "nodes", .usage = "coordinator nodes [flags] [subcommand]", .short_help = "Members of the mesh",
	  CMD_FLAGS(json_flags), CMD_SUBS(coordinator_nodes_subs), .run = coordinator_nodes_list },
	{ .name = "policy", .short_help = "Who may talk to whom", CMD_SUBS(policy_subs) },
	{ .name = "derp", .short_help = "Relay servers that nodes are told of", CMD_SUBS(coordinator_derp_subs) },
};

const struct cmd cmd_coordinator = {
	.name = "coordinator",
	.short_help = "Run a mesh of its own on this machine",
	.long_help = "The same daemon serves as control server, DERP server and STUN server.",
	CMD_SUBS(coordinator_subs),
};
