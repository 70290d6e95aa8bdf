/* SPDX-License-Identifier: MIT */
/* The configuration file: upstream's alpha0 JSON, complete or partial. A key that is present locks its
 * preference. Names are case-insensitive as upstream's; unknown ones are errors. Spec: cli 9. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/confpriv.h"
#include "relay/relayserver.h"

enum { MBPS_MAX = 1000000 };

enum value_kind { KEY_TEXT, KEY_BOOL, KEY_LIST, KEY_PORT };

/* One file key that is a preference: how its value becomes text, and who parses the text. */
struct file_key {
	const char *name;
	enum value_kind kind;
	enum prefs_field field;
	size_t off;                                             /* KEY_BOOL */
	int (*parse)(struct prefs *, const char *, char *);     /* all others */
};

static int parse_routes(struct prefs *p, const char *text, char *err)
{
	return prefval_routes(p, text, false, err);
}

static int parse_operator(struct prefs *p, const char *text, char *err)
{
	(void)err;
	return conf_set_str(&p->operator_user, text);
}

static int parse_exit_node(struct prefs *p, const char *text, char *err)
{
	(void)p;
	if (!*text)
		return 0;
	(void)snprintf(err, PREFS_ERR_MAX, "not in this build: exitNode");
	return -EINVAL;
}

#define BOOL(name, field, member) { name, KEY_BOOL, field, offsetof(struct prefs, member), NULL }

static const struct file_key keys[] = {
	{ "serverURL", KEY_TEXT, PREF_CONTROL_URL, 0, prefval_control_url },
	BOOL("enabled", PREF_WANT_RUNNING, want_running),
	{ "operatorUser", KEY_TEXT, PREF_OPERATOR_USER, 0, parse_operator },
	{ "hostname", KEY_TEXT, PREF_HOSTNAME, 0, prefval_hostname },
	BOOL("acceptDNS", PREF_CORP_DNS, corp_dns),
	BOOL("acceptRoutes", PREF_ROUTE_ALL, route_all),
	{ "exitNode", KEY_TEXT, PREF_EXIT_NODE_ID, 0, parse_exit_node },
	BOOL("allowLANWhileUsingExitNode", PREF_EXIT_NODE_ALLOW_LAN, exit_node_allow_lan),
	{ "advertiseRoutes", KEY_LIST, PREF_ADVERTISE_ROUTES, 0, parse_routes },
	BOOL("disableSNAT", PREF_NO_SNAT, no_snat),
	{ "netfilterMode", KEY_TEXT, PREF_NETFILTER_MODE, 0, prefval_netfilter },
	BOOL("runSSHServer", PREF_RUN_SSH, run_ssh),
	BOOL("runWebClient", PREF_RUN_WEB_CLIENT, run_web_client),
	BOOL("shieldsUp", PREF_SHIELDS_UP, shields_up),
	BOOL("postureChecking", PREF_POSTURE_CHECKING, posture_checking),
	{ "staticEndpoints", KEY_LIST, PREF_STATIC_ENDPOINTS, 0, prefval_static_endpoints },
	{ "relayServerPort", KEY_PORT, PREF_RELAY_PORT, 0, prefval_relay_port },
	{ "relayServerStaticEndpoints", KEY_LIST, PREF_RELAY_ENDPOINTS, 0, prefval_relay_endpoints },
};

struct reader {
	struct conf *c;
	const char *name; /* of the file */
	struct conf_error *err;
	bool exit_node;   /* advertiseExitNode */
};

static int wrong_type(struct reader *r, const char *key, const char *want)
{
	return conf_fail(r->err, 1, "%s: %s: want %s", r->name, key, want);
}

/* A JSON list of texts as the comma list that people type. */
static int join(struct bytes *out, const cJSON *list)
{
	const cJSON *v;
	int err = 0;

	cJSON_ArrayForEach(v, list) {
		if (!cJSON_IsString(v))
			return -EBADMSG;
		if (bytes_size(out))
			err = bytes_append(out, ",", 1);
		if (!err)
			err = bytes_append(out, v->valuestring, strlen(v->valuestring));
		if (err)
			return err;
	}
	return bytes_append(out, "", 1);
}

static int read_text(struct reader *r, const struct file_key *k, const char *text)
{
	char why[PREFS_ERR_MAX] = "";
	int ret = k->parse(&r->c->edit.prefs, text, why);

	if (ret == -EINVAL)
		return conf_fail(r->err, 1, "%s: %s: %s", r->name, k->name, why);
	return ret;
}

static int read_value(struct reader *r, const struct file_key *k, const cJSON *v)
{
	struct bytes text = { 0 };
	char port[24];
	int64_t n;
	int ret;

	switch (k->kind) {
	case KEY_BOOL:
		if (!cJSON_IsBool(v))
			return wrong_type(r, k->name, "true or false");
		*(bool *)((char *)&r->c->edit.prefs + k->off) = cJSON_IsTrue(v);
		return 0;
	case KEY_TEXT:
		if (!cJSON_IsString(v))
			return wrong_type(r, k->name, "a text");
		return read_text(r, k, v->valuestring);
	case KEY_PORT:
		if (cJSON_IsNull(v))
			return read_text(r, k, "");
		if (!json_value_i64(v, &n))
			return wrong_type(r, k->name, "a port number");
		(void)snprintf(port, sizeof(port), "%lld", (long long)n);
		return read_text(r, k, port);
	case KEY_LIST:
		if (cJSON_IsNull(v))
			return read_text(r, k, "");
		ret = cJSON_IsArray(v) ? join(&text, v) : -EBADMSG;
		if (ret == -EBADMSG)
			ret = wrong_type(r, k->name, "a list of texts");
		else if (!ret)
			ret = read_text(r, k, (const char *)bytes_data(&text));
		bytes_wipe(&text);
		return ret;
	}
	return -EINVAL;
}

/* Settings that are numbers and no preferences. 'hit' tells whether it was one. */
static int read_number(struct reader *r, const cJSON *v, bool *hit)
{
	const struct {
		const char *name;
		uint32_t *to;
		int64_t min, max;
	} numbers[] = {
		{ "relayServerMbps", &r->c->relay_mbps, 0, MBPS_MAX },
		{ "relayServerSessionMbps", &r->c->relay_session_mbps, 0, MBPS_MAX },
		{ "relayServerSessions", &r->c->relay_sessions, 1, RELAYSERVER_LIVE_LIMIT },
	};

	*hit = false;
	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		char want[64];
		int64_t n;

		if (strcasecmp(v->string, numbers[i].name) != 0)
			continue;
		*hit = true;
		(void)snprintf(want, sizeof(want), "a whole number from %d to %d", (int)numbers[i].min,
			       (int)numbers[i].max);
		if (!json_value_i64(v, &n) || n < numbers[i].min || n > numbers[i].max)
			return wrong_type(r, numbers[i].name, want);
		*numbers[i].to = (uint32_t)n;
	}
	return 0;
}

/* Keys that are no plain preference. 'hit' tells whether it was one. */
static int read_special(struct reader *r, const cJSON *v, bool *hit)
{
	const char *k = v->string;

	*hit = true;
	if (strcasecmp(k, "version") == 0) {
		if (!cJSON_IsString(v) || strcmp(v->valuestring, "alpha0") != 0)
			return wrong_type(r, "version", "\"alpha0\"");
		return 0;
	}
	if (strcasecmp(k, "locked") == 0) {
		if (!cJSON_IsBool(v) && !cJSON_IsNull(v))
			return wrong_type(r, "locked", "true or false");
		r->c->locked_all = cJSON_IsTrue(v);
		return 0;
	}
	if (strcasecmp(k, "authKey") == 0)
		return cJSON_IsString(v) ? conf_set_str(&r->c->auth_key, v->valuestring) :
					   wrong_type(r, "authKey", "a text");
	if (strcasecmp(k, "portMapping") == 0) {
		unsigned methods;

		if (!cJSON_IsString(v) || conf_portmap(&methods, v->valuestring) < 0)
			return wrong_type(r, "portMapping", CONF_PORTMAP_WORDS);
		if (!r->c->is_portmap_named)
			r->c->portmap = methods;
		return 0;
	}
	if (strcasecmp(k, "advertiseExitNode") == 0) {
		if (!cJSON_IsBool(v))
			return wrong_type(r, "advertiseExitNode", "true or false");
		r->exit_node = cJSON_IsTrue(v);
		return 0;
	}
	if (strcasecmp(k, "noStatefulFiltering") == 0) {
		if (!cJSON_IsBool(v))
			return wrong_type(r, "noStatefulFiltering", "true or false");
		r->c->edit.prefs.no_stateful_filtering = cJSON_IsTrue(v) ? TRI_TRUE : TRI_FALSE;
		r->c->edit.mask |= PREF_BIT(PREF_NO_STATEFUL_FILTERING);
		return 0;
	}
	*hit = false;
	return 0;
}

static int read_key(struct reader *r, const cJSON *v)
{
	char quoted[PREFVAL_QUOTE_MAX];
	bool hit;
	int ret = read_special(r, v, &hit);

	if (!ret && !hit)
		ret = read_number(r, v, &hit);
	if (hit)
		return ret;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (strcasecmp(keys[i].name, v->string) != 0)
			continue;
		ret = read_value(r, &keys[i], v);
		if (!ret)
			r->c->edit.mask |= PREF_BIT(keys[i].field);
		return ret;
	}
	return conf_fail(r->err, 1, "%s: unknown key %.250s", r->name,
			 prefval_quote(quoted, v->string, strlen(v->string)));
}

/* Both default routes beside the others. */
static int add_exit_routes(struct reader *r)
{
	struct prefs *p = &r->c->edit.prefs;
	struct prefix *all = calloc(p->n_advertise_routes + 2, sizeof(*all));

	if (!all)
		return -ENOMEM;
	if (p->n_advertise_routes)
		memcpy(all, p->advertise_routes, p->n_advertise_routes * sizeof(*all));
	all[p->n_advertise_routes] = (struct prefix){ .ip = { .family = IP_V4 } };
	all[p->n_advertise_routes + 1] = (struct prefix){ .ip = { .family = IP_V6 } };
	free(p->advertise_routes);
	p->advertise_routes = all;
	p->n_advertise_routes = prefval_sort_routes(all, p->n_advertise_routes + 2);
	r->c->edit.mask |= PREF_BIT(PREF_ADVERTISE_ROUTES);
	return 0;
}

int conf_parse_file(struct conf *c, const char *name, const char *text, size_t len, struct conf_error *err)
{
	struct reader r = { .c = c, .name = name, .err = err };
	struct json_err why;
	cJSON *json = json_parse(text, len, JSON_HUJSON | JSON_UNIQUE, &why);
	const char *unbuilt;
	const cJSON *v;
	int ret = 0;

	if (!json)
		return conf_fail(err, 1, "%s:%u:%u: %s", name, why.line, why.col, why.reason);
	if (!cJSON_IsObject(json))
		ret = conf_fail(err, 1, "%s: want a JSON object", name);
	for (v = ret ? NULL : json->child; !ret && v; v = v->next)
		ret = read_key(&r, v);
	cJSON_Delete(json);
	if (!ret && r.exit_node)
		ret = add_exit_routes(&r);
	unbuilt = prefs_unbuilt_typed(&c->edit.prefs, c->edit.mask);
	if (!ret && unbuilt)
		ret = conf_fail(err, 77, "%s: not in this build: %s", name, unbuilt);
	c->locked = c->locked_all ? PREF_BIT(PREF_N) - 1 : c->edit.mask;
	return ret;
}

void conf_locked_text(const struct conf *c, uint64_t fields, char text[static PREFS_ERR_MAX])
{
	uint64_t hit = fields & c->locked;

	text[0] = 0;
	if (!hit)
		return;
	if (c->locked_all) {
		(void)snprintf(text, PREFS_ERR_MAX, "can't reconfigure tailscaled when using a config file; "
						    "config file is locked");
		return;
	}
	(void)snprintf(text, PREFS_ERR_MAX,
		       "%s is set by %.200s; edit it and restart meshd",
		       prefs_field_name((enum prefs_field)__builtin_ctzll(hit)), c->config_path);
}
