/* SPDX-License-Identifier: MIT */
/* Flags to preferences and back. */
#include "cli/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/client.h"
#include "cli/out.h"

enum { QUERY_TIMEOUT_MS = 5000, GRANT_WAIT_MS = 1500, GRANT_POLL_MS = 100 };

/* --- flags to an edit --- */

/* A flag whose value is a boolean preference, perhaps the other way round. */
struct bool_row {
	const char *flag;
	enum prefs_field field;
	size_t off;
	bool is_inverted;
};

static const struct bool_row bool_rows[] = {
	{ "accept-dns", PREF_CORP_DNS, offsetof(struct prefs, corp_dns), false },
	{ "accept-routes", PREF_ROUTE_ALL, offsetof(struct prefs, route_all), false },
	{ "advertise-connector", PREF_APP_CONNECTOR, offsetof(struct prefs, app_connector), false },
	{ "exit-node-allow-lan-access", PREF_EXIT_NODE_ALLOW_LAN,
	  offsetof(struct prefs, exit_node_allow_lan), false },
	{ "report-posture", PREF_POSTURE_CHECKING, offsetof(struct prefs, posture_checking), false },
	{ "shields-up", PREF_SHIELDS_UP, offsetof(struct prefs, shields_up), false },
	{ "snat-subnet-routes", PREF_NO_SNAT, offsetof(struct prefs, no_snat), true },
	{ "ssh", PREF_RUN_SSH, offsetof(struct prefs, run_ssh), false },
	{ "update-check", PREF_AUTO_UPDATE_CHECK, offsetof(struct prefs, auto_update_check), false },
	{ "webclient", PREF_RUN_WEB_CLIENT, offsetof(struct prefs, run_web_client), false },
};

/* A flag whose text is parsed by wire/prefval. */
struct text_row {
	const char *flag;
	enum prefs_field field;
	int (*parse)(struct prefs *, const char *, char err[static PREFS_ERR_MAX]);
};

static int parse_operator(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX])
{
	(void)err;
	p->operator_user = strdup(text);
	return p->operator_user ? 0 : -ENOMEM;
}

static int parse_nickname(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX])
{
	(void)err;
	p->profile_name = strdup(text);
	return p->profile_name ? 0 : -ENOMEM;
}

/* An address, "auto:any", or a name; all are refused later as not built unless empty. */
static int parse_exit_node(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX])
{
	char quoted[PREFVAL_QUOTE_MAX];

	if (!*text)
		return 0;
	if (strcmp(text, "auto:any") == 0) {
		p->auto_exit_node = strdup("any");
		return p->auto_exit_node ? 0 : -ENOMEM;
	}
	if (ip_parse(&p->exit_node_ip, text, strlen(text)) == 0)
		return 0;
	if (prefval_check_hostname(text, err)) {
		(void)snprintf(err, PREFS_ERR_MAX,
			       "invalid value %.250s for --exit-node; must be IP or peer hostname",
			       prefval_quote(quoted, text, strlen(text)));
		return -EINVAL;
	}
	p->exit_node_id = strdup(text);
	return p->exit_node_id ? 0 : -ENOMEM;
}

static const struct text_row text_rows[] = {
	{ "advertise-tags", PREF_ADVERTISE_TAGS, prefval_tags },
	{ "exit-node", PREF_EXIT_NODE_IP, parse_exit_node },
	{ "hostname", PREF_HOSTNAME, prefval_hostname },
	{ "netfilter-mode", PREF_NETFILTER_MODE, prefval_netfilter },
	{ "nickname", PREF_PROFILE_NAME, parse_nickname },
	{ "operator", PREF_OPERATOR_USER, parse_operator },
	{ "relay-server-port", PREF_RELAY_PORT, prefval_relay_port },
	{ "relay-server-static-endpoints", PREF_RELAY_ENDPOINTS, prefval_relay_endpoints },
	{ "static-endpoints", PREF_STATIC_ENDPOINTS, prefval_static_endpoints },
};

static int edit_texts(struct cli *c, const struct flags *f, struct prefs_edit *e)
{
	char err[PREFS_ERR_MAX] = "out of memory";

	for (size_t i = 0; i < ARRAY_LEN(text_rows); i++) {
		const struct text_row *r = &text_rows[i];

		if (!flags_is_set(f, r->flag))
			continue;
		if (r->parse(&e->prefs, flags_str(f, r->flag), err))
			return out_error(c, "%s", err);
		e->mask |= PREF_BIT(r->field);
	}
	/* One flag, three preferences: an empty value clears them all. */
	if (flags_is_set(f, "exit-node"))
		e->mask |= PREF_BIT(PREF_EXIT_NODE_ID) | PREF_BIT(PREF_AUTO_EXIT_NODE);
	return EXIT_OK;
}

static void edit_bools(const struct flags *f, struct prefs_edit *e)
{
	for (size_t i = 0; i < ARRAY_LEN(bool_rows); i++) {
		const struct bool_row *r = &bool_rows[i];

		if (!flags_is_set(f, r->flag))
			continue;
		*(bool *)((char *)&e->prefs + r->off) = flags_bool(f, r->flag) != r->is_inverted;
		e->mask |= PREF_BIT(r->field);
	}
	if (flags_is_set(f, "stateful-filtering")) {
		e->prefs.no_stateful_filtering = flags_bool(f, "stateful-filtering") ? TRI_FALSE : TRI_TRUE;
		e->mask |= PREF_BIT(PREF_NO_STATEFUL_FILTERING);
	}
	if (flags_is_set(f, "sync")) {
		e->prefs.sync = flags_bool(f, "sync") ? TRI_TRUE : TRI_FALSE;
		e->mask |= PREF_BIT(PREF_SYNC);
	}
	if (flags_is_set(f, "auto-update")) {
		e->prefs.auto_update_apply = flags_bool(f, "auto-update") ? TRI_TRUE : TRI_FALSE;
		e->mask |= PREF_BIT(PREF_AUTO_UPDATE_APPLY);
	}
}

static int edit_routes(struct cli *c, const struct flags *f, struct prefs_edit *e, bool *needs_old)
{
	bool exit_node = flags_bool(f, "advertise-exit-node");
	char err[PREFS_ERR_MAX] = "out of memory";

	*needs_old = flags_is_set(f, "advertise-exit-node") != flags_is_set(f, "advertise-routes");
	if (!flags_is_set(f, "advertise-routes"))
		return EXIT_OK;
	if (prefval_routes(&e->prefs, flags_str(f, "advertise-routes"), exit_node, err))
		return out_error(c, "%s", err);
	e->mask |= PREF_BIT(PREF_ADVERTISE_ROUTES);
	return EXIT_OK;
}

static int check_risks(struct cli *c, const struct flags *f)
{
	const char *p = flags_str(f, "accept-risk");
	char quoted[PREFVAL_QUOTE_MAX];

	while (*p) {
		size_t n = strcspn(p, ",");

		if (!((n == 8 && memcmp(p, "lose-ssh", n) == 0) || (n == 3 && memcmp(p, "all", n) == 0) ||
		      (n == 17 && memcmp(p, "mac-app-connector", n) == 0)))
			return out_error(c, "unknown risk %s; want lose-ssh, mac-app-connector or all",
					 prefval_quote(quoted, p, n));
		p += n + (p[n] == ',');
	}
	return EXIT_OK;
}

static int edit_relay(struct cli *c, const struct flags *f, struct prefs_edit *e)
{
	bool on = flags_bool(f, "advertise-relay-server");
	const char *port = flags_str(f, "relay-server-port");

	if (!flags_is_set(f, "advertise-relay-server"))
		return EXIT_OK;
	if (flags_is_set(f, "relay-server-port") && on == !*port)
		return out_error(c, on ? "--advertise-relay-server contradicts --relay-server-port=\"\"%s" :
					 "--advertise-relay-server=false contradicts --relay-server-port=%s",
				 port);
	e->relay_on = on ? TRI_TRUE : TRI_FALSE;
	return EXIT_OK;
}

int settings_edit(struct cli *c, const struct flags *f, struct prefs_edit *e, bool *needs_old)
{
	const char *unbuilt;
	int err;

	*needs_old = false;
	edit_bools(f, e);
	err = edit_texts(c, f, e);
	if (!err)
		err = edit_routes(c, f, e, needs_old);
	if (!err)
		err = edit_relay(c, f, e);
	if (!err)
		err = check_risks(c, f);
	if (!err && flags_bool(f, "remote-config"))
		err = out_error(c, "remote-config is not supported");
	unbuilt = prefs_unbuilt_typed(&e->prefs, e->mask);
	if (!err && unbuilt)
		err = out_unsupported(c, "not in this build: %s", unbuilt);
	if (err)
		prefs_edit_wipe(e);
	return err;
}

/* --advertise-exit-node alone keeps the other routes; --advertise-routes alone keeps the default ones. */
int settings_finish(struct cli *c, const struct flags *f, struct prefs_edit *e, const struct prefs *old)
{
	bool names_exit = flags_is_set(f, "advertise-exit-node");
	bool exit_node = names_exit ? flags_bool(f, "advertise-exit-node") : prefval_is_exit_node(old);
	const struct prefs *src = flags_is_set(f, "advertise-routes") ? &e->prefs : old;
	struct prefix *all = calloc(src->n_advertise_routes + 2, sizeof(*all));
	size_t n = 0;

	if (!all)
		return out_error(c, "out of memory");
	for (size_t i = 0; i < src->n_advertise_routes; i++)
		if (src->advertise_routes[i].bits)
			all[n++] = src->advertise_routes[i];
	if (exit_node) {
		all[n++] = (struct prefix){ .ip = { .family = IP_V4 } };
		all[n++] = (struct prefix){ .ip = { .family = IP_V6 } };
	}
	free(e->prefs.advertise_routes);
	e->prefs.advertise_routes = all;
	e->prefs.n_advertise_routes = prefval_sort_routes(all, n);
	e->mask |= PREF_BIT(PREF_ADVERTISE_ROUTES);
	return EXIT_OK;
}

/* --- warnings --- */

static void warn_forwarding(struct cli *c)
{
	struct client_reply r;
	cJSON *json;
	const cJSON *v;

	if (client_request(c, "GET", "check-ip-forwarding", NULL, 0, QUERY_TIMEOUT_MS, &r))
		return;
	json = r.status == 200 ? json_parse((const char *)bytes_data(&r.body), bytes_size(&r.body), 0, NULL) :
				 NULL;
	v = json_get(json, "Warning");
	if (cJSON_IsString(v) && *v->valuestring)
		(void)fprintf(c->err, "Warning: %s\n", v->valuestring);
	cJSON_Delete(json);
	client_reply_wipe(&r);
}

void settings_warn(struct cli *c, const struct flags *f, const struct prefs *now)
{
	if (flags_is_set(f, "netfilter-mode") && now->netfilter_mode == PREFS_NETFILTER_OFF)
		(void)fprintf(c->out, "Warning: netfilter=off; configure iptables yourself.\n");
	if (flags_bool(f, "auto-update"))
		(void)fprintf(c->err, "Warning: auto-update is handled by your package manager\n");
	if (prefval_is_exit_node(now) && now->no_snat &&
	    (flags_is_set(f, "advertise-exit-node") || flags_is_set(f, "snat-subnet-routes")))
		(void)fprintf(c->err, "Warning: --snat-subnet-routes=false is set with --advertise-exit-node; "
				      "internet traffic through this exit node may not work as expected\n");
	if (flags_is_set(f, "relay-server-static-endpoints") && now->n_relay_endpoints && !now->has_relay_port)
		(void)fprintf(c->err, "Warning: static endpoints have no effect until the relay server is on "
				      "(--relay-server-port)\n");
	if (now->n_advertise_routes &&
	    (flags_is_set(f, "advertise-routes") || flags_is_set(f, "advertise-exit-node")))
		warn_forwarding(c);
}

static void warn_grant(struct cli *c)
{
	struct client_reply r = { 0 };
	struct status s = { 0 };
	char text[IP_TEXT_MAX];

	if (client_request(c, "GET", "status", NULL, 0, QUERY_TIMEOUT_MS, &r))
		return;
	if (r.status == 200 &&
	    status_parse(&s, (const char *)bytes_data(&r.body), bytes_size(&r.body)) == 0) {
		if (s.backend_state && strcmp(s.backend_state, "Running") == 0 && s.n_peers && s.n_ips)
			(void)fprintf(c->err,
				      "Warning: no peer may use this node as a relay. Add a grant to the policy, e.g.:\n"
				      "  {\"src\": [\"*\"], \"dst\": [\"%s\"], \"app\": {\"tailscale.com/cap/relay\": []}}\n",
				      ip_write(text, &s.ips[0]));
		status_wipe(&s);
	}
	client_reply_wipe(&r);
}

/* Fills an empty '*info'; false if it cannot be had. */
static bool fetch_relay(struct cli *c, struct relayinfo *info)
{
	struct client_reply r = { 0 };
	bool ok;

	if (client_request(c, "GET", "meshd/relay", NULL, 0, QUERY_TIMEOUT_MS, &r))
		return false;
	ok = r.status == 200 && relayinfo_parse(info, (const char *)bytes_data(&r.body), bytes_size(&r.body)) == 0;
	client_reply_wipe(&r);
	return ok;
}

void settings_warn_relay(struct cli *c, const struct prefs *now)
{
	static const struct timespec pause = { .tv_nsec = GRANT_POLL_MS * 1000000L };
	struct relayinfo info = { 0 };
	char safe[400];
	bool ok = now->has_relay_port && fetch_relay(c, &info);

	/* A coordinator gives the capability once it knows that this node relays: that news is on its way. */
	for (int ms = 0; ok && info.bound_port && info.allowed_peers == 0 && ms < GRANT_WAIT_MS; ms += GRANT_POLL_MS) {
		(void)nanosleep(&pause, NULL);
		relayinfo_wipe(&info);
		info = (struct relayinfo){ 0 };
		ok = fetch_relay(c, &info);
	}
	if (!ok)
		return;
	if (info.allowed_peers == 0)
		warn_grant(c);
	if (info.firewall_hint)
		(void)fprintf(c->err, "Note: a firewall is active; to let peers reach the relay: %s\n",
			      out_safe(safe, sizeof(safe), info.firewall_hint));
	relayinfo_wipe(&info);
}

/* --- the daemon --- */

static int parse_prefs(struct cli *c, const struct client_reply *r, struct prefs *p)
{
	char err[PREFS_ERR_MAX];

	if (prefs_parse(p, (const char *)bytes_data(&r->body), bytes_size(&r->body), err))
		return out_error(c, "unexpected answer of the daemon: %s", err);
	return EXIT_OK;
}

int settings_fetch(struct cli *c, struct prefs *p)
{
	struct client_reply r;
	int err = client_get(c, "prefs", &r);

	if (err)
		return err;
	err = parse_prefs(c, &r, p);
	client_reply_wipe(&r);
	return err;
}

int settings_send(struct cli *c, const struct prefs_edit *e, struct prefs *now)
{
	struct bytes body = { 0 };
	struct client_reply r;
	int err;

	if (prefs_edit_write(&body, e))
		return out_error(c, "out of memory");
	err = client_call(c, "PATCH", "prefs", bytes_data(&body), bytes_size(&body), &r);
	bytes_wipe(&body);
	if (err)
		return err;
	if (now)
		err = parse_prefs(c, &r, now);
	client_reply_wipe(&r);
	return err;
}

/* --- get --- */

static void put(struct bytes *out, const char *text)
{
	if (bytes_append(out, text ? text : "", text ? strlen(text) : 0))
		abort();
}

static void put_list(struct bytes *out, const char *text)
{
	if (bytes_size(out))
		put(out, ",");
	put(out, text);
}

static void put_eps(struct bytes *out, const struct ep *eps, size_t n)
{
	char text[EP_TEXT_MAX];

	for (size_t i = 0; i < n; i++)
		put_list(out, ep_write(text, &eps[i]));
}

static void get_routes(const struct prefs *p, struct bytes *out)
{
	bool exit_node = prefval_is_exit_node(p);
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < p->n_advertise_routes; i++)
		if (!exit_node || p->advertise_routes[i].bits)
			put_list(out, prefix_write(text, &p->advertise_routes[i]));
}

static void get_tags(const struct prefs *p, struct bytes *out)
{
	for (size_t i = 0; i < p->n_advertise_tags; i++)
		put_list(out, p->advertise_tags[i]);
}

static void get_exit_node(const struct prefs *p, struct bytes *out)
{
	char text[IP_TEXT_MAX];

	if (p->auto_exit_node && *p->auto_exit_node) {
		put(out, "auto:");
		put(out, p->auto_exit_node);
	} else if (ip_is_set(&p->exit_node_ip)) {
		put(out, ip_write(text, &p->exit_node_ip));
	} else {
		put(out, p->exit_node_id);
	}
}

static void get_relay_port(const struct prefs *p, struct bytes *out)
{
	char text[8];

	(void)snprintf(text, sizeof(text), "%u", p->relay_port);
	if (p->has_relay_port)
		put(out, text);
}

static void get_netfilter(const struct prefs *p, struct bytes *out)
{
	static const char *const modes[] = { "off", "nodivert", "on" };

	put(out, p->netfilter_mode >= 0 && p->netfilter_mode < (int)ARRAY_LEN(modes) ?
			 modes[p->netfilter_mode] :
			 "");
}

static void get_hostname(const struct prefs *p, struct bytes *out)
{
	put(out, p->hostname);
}

static void get_nickname(const struct prefs *p, struct bytes *out)
{
	put(out, p->profile_name);
}

static void get_operator(const struct prefs *p, struct bytes *out)
{
	put(out, p->operator_user);
}

static void get_relay_endpoints(const struct prefs *p, struct bytes *out)
{
	put_eps(out, p->relay_endpoints, p->n_relay_endpoints);
}

static void get_static_endpoints(const struct prefs *p, struct bytes *out)
{
	put_eps(out, p->static_endpoints, p->n_static_endpoints);
}

static void put_bool(struct bytes *out, bool v)
{
	put(out, v ? "true" : "false");
}

static void get_exit_advert(const struct prefs *p, struct bytes *out)
{
	put_bool(out, prefval_is_exit_node(p));
}

static void get_relay_on(const struct prefs *p, struct bytes *out)
{
	put_bool(out, p->has_relay_port);
}

static void get_auto_update(const struct prefs *p, struct bytes *out)
{
	put_bool(out, p->auto_update_apply == TRI_TRUE);
}

static void get_remote_config(const struct prefs *p, struct bytes *out)
{
	put_bool(out, p->remote_config);
}

static void get_stateful(const struct prefs *p, struct bytes *out)
{
	put_bool(out, p->no_stateful_filtering == TRI_FALSE);
}

static void get_sync(const struct prefs *p, struct bytes *out)
{
	put_bool(out, p->sync != TRI_FALSE);
}

/* 'get' null: the row of 'bool_rows' with that flag. */
static const struct {
	const char *name;
	bool is_bool;
	void (*get)(const struct prefs *, struct bytes *);
} settings[] = {
	{ "accept-dns", true, NULL },
	{ "accept-routes", true, NULL },
	{ "advertise-connector", true, NULL },
	{ "advertise-exit-node", true, get_exit_advert },
	{ "advertise-relay-server", true, get_relay_on },
	{ "advertise-routes", false, get_routes },
	{ "advertise-tags", false, get_tags },
	{ "auto-update", true, get_auto_update },
	{ "exit-node", false, get_exit_node },
	{ "exit-node-allow-lan-access", true, NULL },
	{ "hostname", false, get_hostname },
	{ "netfilter-mode", false, get_netfilter },
	{ "nickname", false, get_nickname },
	{ "operator", false, get_operator },
	{ "relay-server-port", false, get_relay_port },
	{ "relay-server-static-endpoints", false, get_relay_endpoints },
	{ "remote-config", true, get_remote_config },
	{ "report-posture", true, NULL },
	{ "shields-up", true, NULL },
	{ "snat-subnet-routes", true, NULL },
	{ "ssh", true, NULL },
	{ "stateful-filtering", true, get_stateful },
	{ "static-endpoints", false, get_static_endpoints },
	{ "sync", true, get_sync },
	{ "update-check", true, NULL },
	{ "webclient", true, NULL },
};

const char *settings_name(size_t i)
{
	return i < ARRAY_LEN(settings) ? settings[i].name : NULL;
}

bool settings_is_bool(size_t i)
{
	return settings[i].is_bool;
}

bool settings_is_refused(size_t i, const struct prefs *p)
{
	for (unsigned k = 0; k < PREF_N; k++) {
		const char *flag = prefs_unbuilt_typed(p, PREF_BIT(k));

		if (flag && strcmp(flag + 2, settings[i].name) == 0)
			return true;
	}
	return false;
}

void settings_value(size_t i, const struct prefs *p, struct bytes *out)
{
	if (settings[i].get)
		settings[i].get(p, out);
	for (size_t k = 0; !settings[i].get && k < ARRAY_LEN(bool_rows); k++)
		if (strcmp(bool_rows[k].flag, settings[i].name) == 0)
			put_bool(out, *(const bool *)((const char *)p + bool_rows[k].off) !=
					      bool_rows[k].is_inverted);
	put(out, "");
	if (bytes_append(out, "", 1))
		abort();
	out->tail--;
}
