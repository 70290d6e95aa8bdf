/* SPDX-License-Identifier: MIT */
/* Preferences as one table in the order of the JSON; the nested objects (AutoUpdate, AppConnector, Meshd)
 * hold fields of the same table. */
#include "wire/prefs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"
#include "wire/jsonmap.h"
#include "wire/prefval.h"

enum { RELAY_PORT_DEFAULT = 40000 }; /* cli 1 */

#define F(kind, key, member, flags) JM_FIELD(struct prefs, kind, key, member, flags)
#define L(kind, key, member, flags) JM_COUNTED(struct prefs, kind, key, member, n_##member, flags, NULL)

static const struct jsonmap_field pref_fields[PREF_N] = {
	[PREF_CONTROL_URL] = F(JM_STR, "ControlURL", control_url, 0),
	[PREF_ROUTE_ALL] = F(JM_BOOL, "RouteAll", route_all, 0),
	[PREF_EXIT_NODE_ID] = F(JM_STR, "ExitNodeID", exit_node_id, 0),
	[PREF_EXIT_NODE_IP] = F(JM_IP, "ExitNodeIP", exit_node_ip, 0),
	[PREF_AUTO_EXIT_NODE] = F(JM_STR, "AutoExitNode", auto_exit_node, JM_OMIT),
	[PREF_INTERNAL_EXIT_NODE_PRIOR] =
		F(JM_STR, "InternalExitNodePrior", internal_exit_node_prior, 0),
	[PREF_EXIT_NODE_ALLOW_LAN] = F(JM_BOOL, "ExitNodeAllowLANAccess", exit_node_allow_lan, 0),
	[PREF_CORP_DNS] = F(JM_BOOL, "CorpDNS", corp_dns, 0),
	[PREF_RUN_SSH] = F(JM_BOOL, "RunSSH", run_ssh, 0),
	[PREF_RUN_WEB_CLIENT] = F(JM_BOOL, "RunWebClient", run_web_client, 0),
	[PREF_WANT_RUNNING] = F(JM_BOOL, "WantRunning", want_running, 0),
	[PREF_LOGGED_OUT] = F(JM_BOOL, "LoggedOut", logged_out, 0),
	[PREF_SHIELDS_UP] = F(JM_BOOL, "ShieldsUp", shields_up, 0),
	[PREF_ADVERTISE_TAGS] = L(JM_STRS, "AdvertiseTags", advertise_tags, 0),
	[PREF_HOSTNAME] = F(JM_STR, "Hostname", hostname, 0),
	[PREF_NOTEPAD_URLS] = F(JM_BOOL, "NotepadURLs", notepad_urls, 0),
	[PREF_FORCE_DAEMON] = F(JM_BOOL, "ForceDaemon", force_daemon, JM_OMIT),
	[PREF_EGG] = F(JM_BOOL, "Egg", egg, JM_OMIT),
	[PREF_ADVERTISE_ROUTES] = L(JM_PREFIXES, "AdvertiseRoutes", advertise_routes, 0),
	[PREF_ADVERTISE_SERVICES] = L(JM_STRS, "AdvertiseServices", advertise_services, 0),
	[PREF_SYNC] = F(JM_TRI, "Sync", sync, 0),
	[PREF_NO_SNAT] = F(JM_BOOL, "NoSNAT", no_snat, 0),
	[PREF_NO_STATEFUL_FILTERING] =
		F(JM_TRI, "NoStatefulFiltering", no_stateful_filtering, JM_OMIT),
	[PREF_NETFILTER_MODE] = F(JM_I32, "NetfilterMode", netfilter_mode, 0),
	[PREF_OPERATOR_USER] = F(JM_STR, "OperatorUser", operator_user, JM_OMIT),
	[PREF_PROFILE_NAME] = F(JM_STR, "ProfileName", profile_name, JM_OMIT),
	[PREF_AUTO_UPDATE_CHECK] = F(JM_BOOL, "Check", auto_update_check, 0),
	[PREF_AUTO_UPDATE_APPLY] = F(JM_TRI, "Apply", auto_update_apply, 0),
	[PREF_APP_CONNECTOR] = F(JM_BOOL, "Advertise", app_connector, 0),
	[PREF_POSTURE_CHECKING] = F(JM_BOOL, "PostureChecking", posture_checking, 0),
	[PREF_NETFILTER_KIND] = F(JM_STR, "NetfilterKind", netfilter_kind, 0),
	[PREF_REMOTE_CONFIG] = F(JM_BOOL, "RemoteConfig", remote_config, 0),
	[PREF_RELAY_PORT] = JM_COUNTED(struct prefs, JM_OPT_U16, "RelayServerPort", relay_port,
				       has_relay_port, JM_OMIT, NULL),
	[PREF_RELAY_ENDPOINTS] =
		L(JM_EPS, "RelayServerStaticEndpoints", relay_endpoints, JM_OMIT),
	[PREF_STATIC_ENDPOINTS] = L(JM_EPS, "StaticEndpoints", static_endpoints, 0),
};

/* Members beside the table: no edit touches them. */
static const struct jsonmap_field own_fields[] = {
	JM_COUNTED(struct prefs, JM_OPT_U16, "StoredRelayPort", stored_relay_port,
		   has_stored_relay_port, JM_OMIT, NULL),
	JM_FIELD(struct prefs, JM_U16, "BoundRelayPort", bound_relay_port, JM_OMIT),
};

static const struct jsonmap_field login_fields[] = {
	JM_FIELD(struct prefs_login, JM_I64, "ID", user_id, 0),
	JM_FIELD(struct prefs_login, JM_STR, "LoginName", login_name, 0),
	JM_FIELD(struct prefs_login, JM_STR, "DisplayName", display_name, 0),
	JM_FIELD(struct prefs_login, JM_STR, "NodeID", node_id, 0),
};

enum { LOGIN_USER_FIELDS = 3 }; /* the first ones are inside "UserProfile" */

static const struct jsonmap login_map = JM_TABLE(struct prefs_login, login_fields);
static const struct jsonmap pref_map = JM_TABLE(struct prefs, pref_fields);
static const struct jsonmap own_map = JM_TABLE(struct prefs, own_fields);

void prefs_defaults(struct prefs *p)
{
	memset(p, 0, sizeof(*p));
	p->corp_dns = true;
	p->netfilter_mode = PREFS_NETFILTER_ON;
	p->no_stateful_filtering = TRI_TRUE;
	p->auto_update_check = true;
}

void prefs_wipe(struct prefs *p)
{
	jsonmap_wipe(&login_map, &p->login);
	jsonmap_wipe(&pref_map, p); /* zeroes all of it: 'own_map' holds numbers alone */
}

int prefs_copy(struct prefs *to, const struct prefs *from)
{
	int err = jsonmap_copy(&pref_map, to, from);

	for (size_t i = 0; !err && i < own_map.n_fields; i++)
		err = jsonmap_copy_field(&own_fields[i], to, from);
	if (!err)
		err = jsonmap_copy(&login_map, &to->login, &from->login);
	if (err)
		prefs_wipe(to);
	return err;
}

void prefs_edit_wipe(struct prefs_edit *e)
{
	prefs_wipe(&e->prefs);
	e->mask = 0;
	e->relay_on = TRI_UNSET;
}

uint64_t prefs_diff(const struct prefs *a, const struct prefs *b)
{
	uint64_t diff = 0;

	for (size_t i = 0; i < PREF_N; i++)
		if (!jsonmap_eq_field(&pref_fields[i], a, b))
			diff |= PREF_BIT(i);
	return diff;
}

const char *prefs_field_name(enum prefs_field field)
{
	switch (field) {
	case PREF_AUTO_UPDATE_CHECK:
		return "AutoUpdate.Check";
	case PREF_AUTO_UPDATE_APPLY:
		return "AutoUpdate.Apply";
	case PREF_APP_CONNECTOR:
		return "AppConnector.Advertise";
	default: /* all others are named by their key */
		return field < PREF_N ? pref_fields[field].key : "";
	}
}

/* --- edits --- */

static int fail(char err[static PREFS_ERR_MAX], const char *text)
{
	(void)snprintf(err, PREFS_ERR_MAX, "%s", text);
	return -EINVAL;
}

/* The port that all static relay endpoints share, else the usual one (cli 1). */
static uint16_t shared_port(const struct prefs *p)
{
	for (size_t i = 0; i < p->n_relay_endpoints; i++)
		if (p->relay_endpoints[i].port != p->relay_endpoints[0].port)
			return RELAY_PORT_DEFAULT;
	return p->n_relay_endpoints ? p->relay_endpoints[0].port : RELAY_PORT_DEFAULT;
}

/* --advertise-relay-server: resolved here, where old and new values meet. */
static int apply_relay_on(struct prefs *p, const struct prefs_edit *e, char err[static PREFS_ERR_MAX])
{
	bool names_port = e->mask & PREF_BIT(PREF_RELAY_PORT);

	switch (e->relay_on) {
	case TRI_UNSET:
		break;
	case TRI_FALSE:
		if (names_port && e->prefs.has_relay_port) {
			(void)snprintf(err, PREFS_ERR_MAX,
				       "--advertise-relay-server=false contradicts --relay-server-port=%u",
				       e->prefs.relay_port);
			return -EINVAL;
		}
		p->has_relay_port = false;
		p->relay_port = 0;
		break;
	case TRI_TRUE:
		if (names_port && !e->prefs.has_relay_port)
			return fail(err, "--advertise-relay-server contradicts --relay-server-port=\"\"");
		if (p->has_relay_port)
			break;
		p->has_relay_port = true;
		p->relay_port = p->has_stored_relay_port ? p->stored_relay_port : shared_port(p);
		break;
	}
	if (p->has_relay_port) {
		p->has_stored_relay_port = true;
		p->stored_relay_port = p->relay_port;
	}
	return 0;
}

int prefs_apply(struct prefs *next, const struct prefs *old, const struct prefs_edit *edit,
		char err[static PREFS_ERR_MAX])
{
	int ret = prefs_copy(next, old);

	err[0] = 0;
	for (size_t i = 0; !ret && i < PREF_N; i++)
		if (edit->mask & PREF_BIT(i))
			ret = jsonmap_copy_field(&pref_fields[i], next, &edit->prefs);
	if (!ret) {
		next->n_relay_endpoints =
			prefval_sort_endpoints(next->relay_endpoints, next->n_relay_endpoints);
		next->n_static_endpoints =
			prefval_sort_endpoints(next->static_endpoints, next->n_static_endpoints);
		next->n_advertise_routes =
			prefval_sort_routes(next->advertise_routes, next->n_advertise_routes);
		ret = apply_relay_on(next, edit, err);
	}
	if (!ret)
		ret = prefs_check(next, err);
	if (ret)
		prefs_wipe(next);
	return ret;
}

static int check_endpoints(const struct ep *eps, size_t n, const char *what,
			   char err[static PREFS_ERR_MAX])
{
	char text[EP_TEXT_MAX];
	const char *why;

	for (size_t i = 0; i < n; i++) {
		if (prefval_check_endpoint(&eps[i], &why) == 0)
			continue;
		(void)snprintf(err, PREFS_ERR_MAX, "failed to set %s: \"%s\" cannot be used: %s", what,
			       ep_write(text, &eps[i]), why);
		return -EINVAL;
	}
	return 0;
}

int prefs_check(const struct prefs *p, char err[static PREFS_ERR_MAX])
{
	int ret;

	err[0] = 0;
	if (p->netfilter_mode < PREFS_NETFILTER_OFF || p->netfilter_mode > PREFS_NETFILTER_ON) {
		(void)snprintf(err, PREFS_ERR_MAX, "invalid NetfilterMode %d", p->netfilter_mode);
		return -EINVAL;
	}
	if (p->remote_config)
		return fail(err, "remote-config is not supported");
	ret = prefval_check_hostname(p->hostname ? p->hostname : "", err);
	for (size_t i = 0; !ret && i < p->n_advertise_tags; i++)
		ret = prefval_check_tag(p->advertise_tags[i], err);
	if (!ret)
		ret = prefval_check_routes(p->advertise_routes, p->n_advertise_routes, err);
	if (!ret)
		ret = check_endpoints(p->relay_endpoints, p->n_relay_endpoints,
				      "relay server static endpoints", err);
	if (!ret)
		ret = check_endpoints(p->static_endpoints, p->n_static_endpoints, "static endpoints",
				      err);
	return ret;
}

const char *prefs_unbuilt_typed(const struct prefs *p, uint64_t mask)
{
	if (mask & PREF_BIT(PREF_NO_SNAT) && !p->no_snat)
		return "--snat-subnet-routes";
	if (mask & PREF_BIT(PREF_NETFILTER_MODE) && p->netfilter_mode != PREFS_NETFILTER_OFF)
		return "--netfilter-mode";
	return prefs_unbuilt(p, mask);
}

const char *prefs_unbuilt(const struct prefs *p, uint64_t mask)
{
	const struct {
		uint64_t bits;
		bool asks;
		const char *flag;
	} rows[] = {
		{ PREF_BIT(PREF_EXIT_NODE_ID) | PREF_BIT(PREF_EXIT_NODE_IP) | PREF_BIT(PREF_AUTO_EXIT_NODE),
		  (p->exit_node_id && *p->exit_node_id) || ip_is_set(&p->exit_node_ip) ||
			  (p->auto_exit_node && *p->auto_exit_node),
		  "--exit-node" },
		{ PREF_BIT(PREF_EXIT_NODE_ALLOW_LAN), p->exit_node_allow_lan,
		  "--exit-node-allow-lan-access" },
		{ PREF_BIT(PREF_RUN_SSH), p->run_ssh, "--ssh" },
		{ PREF_BIT(PREF_APP_CONNECTOR), p->app_connector, "--advertise-connector" },
		{ PREF_BIT(PREF_NO_STATEFUL_FILTERING), p->no_stateful_filtering == TRI_FALSE,
		  "--stateful-filtering" },
		{ PREF_BIT(PREF_NETFILTER_MODE), p->netfilter_mode == PREFS_NETFILTER_NODIVERT, "--netfilter-mode" },
		{ PREF_BIT(PREF_ADVERTISE_SERVICES), p->n_advertise_services > 0,
		  "--advertise-services" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].asks && mask & rows[i].bits)
			return rows[i].flag;
	return NULL;
}

/* --- JSON --- */

/* Opens and closes the nested objects around their fields. */
static void before_field(struct json_w *w, size_t i, const char *suffix)
{
	char key[40];

	(void)snprintf(key, sizeof(key), "%s%s", i == PREF_APP_CONNECTOR ? "AppConnector" : "AutoUpdate",
		       suffix);
	if (i == PREF_AUTO_UPDATE_CHECK || i == PREF_APP_CONNECTOR)
		json_w_obj(w, key);
}

static void after_field(struct json_w *w, size_t i)
{
	if (i == PREF_AUTO_UPDATE_APPLY || i == PREF_APP_CONNECTOR)
		json_w_end(w);
	if (i == PREF_REMOTE_CONFIG)
		json_w_null(w, "DriveShares");
}

static void write_login(struct json_w *w, const struct prefs_login *login)
{
	if (!login->login_name) {
		json_w_null(w, "Config");
		return;
	}
	json_w_obj(w, "Config");
	json_w_obj(w, "UserProfile");
	for (size_t i = 0; i < LOGIN_USER_FIELDS; i++)
		jsonmap_write_field(w, &login_fields[i], login);
	json_w_end(w);
	jsonmap_write_field(w, &login_fields[LOGIN_USER_FIELDS], login);
	json_w_end(w);
}

int prefs_write(struct bytes *out, const struct prefs *p, const char *indent)
{
	struct json_w w = { .indent = indent };

	json_w_obj(&w, NULL);
	for (size_t i = 0; i < PREF_STATIC_ENDPOINTS; i++) {
		before_field(&w, i, "");
		jsonmap_write_field(&w, &pref_fields[i], p);
		after_field(&w, i);
	}
	write_login(&w, &p->login);
	json_w_obj(&w, "Meshd");
	jsonmap_write_field(&w, &pref_fields[PREF_STATIC_ENDPOINTS], p);
	jsonmap_write_members(&w, &own_map, p);
	json_w_end(&w);
	json_w_end(&w);
	return jsonmap_finish(&w, out);
}

static void write_set(struct json_w *w, const struct prefs_edit *e, size_t i)
{
	char key[48];

	(void)snprintf(key, sizeof(key), "%sSet", pref_fields[i].key);
	jsonmap_write_field(w, &pref_fields[i], &e->prefs);
	json_w_bool(w, key, true);
}

/* AutoUpdate and its mask are objects; AppConnector is one whose mask is a boolean. */
static void write_auto_update(struct json_w *w, const struct prefs_edit *e)
{
	json_w_obj(w, "AutoUpdate");
	jsonmap_write_field(w, &pref_fields[PREF_AUTO_UPDATE_CHECK], &e->prefs);
	jsonmap_write_field(w, &pref_fields[PREF_AUTO_UPDATE_APPLY], &e->prefs);
	json_w_end(w);
	json_w_obj(w, "AutoUpdateSet");
	if (e->mask & PREF_BIT(PREF_AUTO_UPDATE_CHECK))
		json_w_bool(w, "CheckSet", true);
	if (e->mask & PREF_BIT(PREF_AUTO_UPDATE_APPLY))
		json_w_bool(w, "ApplySet", true);
	json_w_end(w);
}

int prefs_edit_write(struct bytes *out, const struct prefs_edit *e)
{
	const uint64_t update = PREF_BIT(PREF_AUTO_UPDATE_CHECK) | PREF_BIT(PREF_AUTO_UPDATE_APPLY);
	struct json_w w = { 0 };

	json_w_obj(&w, NULL);
	for (size_t i = 0; i < PREF_STATIC_ENDPOINTS; i++)
		if (e->mask & PREF_BIT(i) & ~update && i != PREF_APP_CONNECTOR)
			write_set(&w, e, i);
	if (e->mask & update)
		write_auto_update(&w, e);
	if (e->mask & PREF_BIT(PREF_APP_CONNECTOR)) {
		json_w_obj(&w, "AppConnector");
		jsonmap_write_field(&w, &pref_fields[PREF_APP_CONNECTOR], &e->prefs);
		json_w_end(&w);
		json_w_bool(&w, "AppConnectorSet", true);
	}
	if (e->mask & PREF_BIT(PREF_STATIC_ENDPOINTS) || e->relay_on != TRI_UNSET) {
		json_w_obj(&w, "Meshd");
		if (e->mask & PREF_BIT(PREF_STATIC_ENDPOINTS))
			write_set(&w, e, PREF_STATIC_ENDPOINTS);
		if (e->relay_on != TRI_UNSET)
			json_w_bool(&w, "RelayOn", e->relay_on == TRI_TRUE);
		json_w_end(&w);
	}
	json_w_end(&w);
	return jsonmap_finish(&w, out);
}

/* One reading of a body: where values and mask bits go. */
struct reader {
	struct prefs *p;
	uint64_t *mask;      /* null: complete preferences */
	enum tri *relay_on;
	char *err;
};

static int bad_field(struct reader *r, const char *name, int ret)
{
	if (ret)
		(void)snprintf(r->err, PREFS_ERR_MAX, "invalid value for %s", name);
	return ret;
}

/* Reads 'v' if its name is 'key' or 'key' + "Set". '*hit' tells. */
static int read_named(struct reader *r, size_t i, const cJSON *v, bool *hit)
{
	const char *key = pref_fields[i].key;
	size_t len = strlen(key);

	if (strncmp(v->string, key, len) != 0)
		return 0;
	if (v->string[len] == 0) {
		*hit = true;
		return bad_field(r, prefs_field_name((enum prefs_field)i),
				 jsonmap_read_field(&pref_fields[i], r->p, v));
	}
	if (!r->mask || strcmp(v->string + len, "Set") != 0)
		return 0;
	*hit = true;
	if (!cJSON_IsBool(v))
		return bad_field(r, v->string, -EBADMSG);
	if (cJSON_IsTrue(v) && i == PREF_INTERNAL_EXIT_NODE_PRIOR)
		return fail(r->err, "InternalExitNodePrior is internal and cannot be set");
	if (cJSON_IsTrue(v))
		*r->mask |= PREF_BIT(i);
	return 0;
}

/* The members of 'obj' are fields first..last of the table. */
static int read_fields(struct reader *r, const cJSON *obj, size_t first, size_t last)
{
	const cJSON *v;
	int err = 0;

	if (cJSON_IsNull(obj))
		return 0;
	if (!cJSON_IsObject(obj))
		return -EBADMSG;
	cJSON_ArrayForEach(v, obj) {
		bool hit = false;

		for (size_t i = first; !hit && !err && i <= last; i++)
			err = read_named(r, i, v, &hit);
		if (err)
			return err;
	}
	return 0;
}

static int read_meshd(struct reader *r, const cJSON *obj)
{
	int err = read_fields(r, obj, PREF_STATIC_ENDPOINTS, PREF_STATIC_ENDPOINTS);
	const cJSON *v;

	for (size_t i = 0; !err && !r->mask && i < own_map.n_fields; i++) {
		v = json_get(obj, own_fields[i].key);
		if (v)
			err = bad_field(r, own_fields[i].key,
					jsonmap_read_field(&own_fields[i], r->p, v));
	}
	v = json_get(obj, "RelayOn");
	if (!err && r->relay_on && v) {
		if (!cJSON_IsBool(v))
			return bad_field(r, "RelayOn", -EBADMSG);
		*r->relay_on = cJSON_IsTrue(v) ? TRI_TRUE : TRI_FALSE;
	}
	return err;
}

static int read_login(struct reader *r, const cJSON *obj)
{
	struct json_in in = { 0 };
	int err;

	jsonmap_wipe(&login_map, &r->p->login);
	err = jsonmap_read(&login_map, &r->p->login, json_obj(&in, obj, "UserProfile"), NULL);
	if (err)
		return 0; /* nobody is logged in */
	r->p->login.node_id = json_dup(&in, obj, "NodeID");
	return in.err;
}

static int read_one(struct reader *r, const cJSON *v)
{
	const char *k = v->string;
	bool hit = false;
	int err = 0;

	if (strcmp(k, "AutoUpdate") == 0 || strcmp(k, "AutoUpdateSet") == 0)
		return read_fields(r, v, PREF_AUTO_UPDATE_CHECK, PREF_AUTO_UPDATE_APPLY);
	if (strcmp(k, "AppConnector") == 0)
		return read_fields(r, v, PREF_APP_CONNECTOR, PREF_APP_CONNECTOR);
	if (strcmp(k, "Meshd") == 0)
		return read_meshd(r, v);
	if (strcmp(k, "Config") == 0 && cJSON_IsObject(v))
		return read_login(r, v);
	if (strcmp(k, "AppConnectorSet") == 0 && r->mask) {
		if (cJSON_IsTrue(v))
			*r->mask |= PREF_BIT(PREF_APP_CONNECTOR);
		return 0;
	}
	for (size_t i = 0; !hit && !err && i < PREF_STATIC_ENDPOINTS; i++) {
		if (i >= PREF_AUTO_UPDATE_CHECK && i <= PREF_APP_CONNECTOR)
			continue; /* their names stand inside objects only */
		err = read_named(r, i, v, &hit);
	}
	return err;
}

static int read_all(struct reader *r, const char *text, size_t len)
{
	struct json_err why;
	cJSON *json = json_parse(text, len, 0, &why);
	const cJSON *v;
	int err = 0;

	r->err[0] = 0;
	if (!json) {
		(void)snprintf(r->err, PREFS_ERR_MAX, "invalid JSON: %s", why.reason);
		return -EBADMSG;
	}
	if (!cJSON_IsObject(json)) {
		err = -EBADMSG;
	} else {
		cJSON_ArrayForEach(v, json) {
			err = read_one(r, v);
			if (err)
				break;
		}
	}
	cJSON_Delete(json);
	if (err && !r->err[0])
		(void)snprintf(r->err, PREFS_ERR_MAX, "invalid JSON for preferences");
	return err;
}

int prefs_parse(struct prefs *p, const char *text, size_t len, char err[static PREFS_ERR_MAX])
{
	struct reader r = { .p = p, .err = err };
	int ret = read_all(&r, text, len);

	if (ret)
		prefs_wipe(p);
	return ret;
}

int prefs_edit_parse(struct prefs_edit *e, const char *text, size_t len, char err[static PREFS_ERR_MAX])
{
	struct reader r = { .p = &e->prefs, .mask = &e->mask, .relay_on = &e->relay_on, .err = err };
	int ret = read_all(&r, text, len);

	if (ret)
		prefs_edit_wipe(e);
	return ret;
}
