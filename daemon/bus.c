/* SPDX-License-Identifier: MIT */
/* News for the subscribers of the local API's bus: state, the own node, peers, health, traffic.
 *
 * Without a subscriber nothing is built and no timer runs. The map that was told last is kept by
 * reference, so that the next one is told as what is different. Spec: localapi 4, 5. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/netmap.h"
#include "daemon/meshd.h"
#include "wire/ctljson.h"
#include "wire/rfc3339.h"

enum {
	TRAFFIC_S = 2, /* as upstream asks its engine while somebody watches */
	HEALTH_S = 5,
};

/* --- health --- */

static const struct {
	const char *code, *severity, *title;
	bool impacts_connectivity;
} warnings[] = {
	{ "login-state", "high", "Logged out", true },
	{ "wantrunning-false", "low", "Stopped", true },
	{ "not-in-map-poll", "medium", "Out of sync", false },
	{ "no-derp-connection", "medium", "Relay server unavailable", true },
	{ "relay-port-bind-failed", "medium", "Peer relay port unavailable", false },
	{ "relay-disabled-by-admin", "low", "Peer relay disabled", false },
	{ "accept-routes-off", "low", "Routes not accepted", false },
	{ "router-health", "high", "Routes or addresses not set", true },
	{ "state-store-health", "high", "State cannot be stored", false },
	{ "tailnet-lock-unverified", "high", "Tailnet lock", true },
	{ "control-health", "medium", "Message of the control server", false },
};

static void put_warning(struct json_w *w, const char *code, const char *text, unsigned n_same)
{
	size_t i = 0;
	char name[64];

	while (i + 1 < ARRAY_LEN(warnings) && strcmp(warnings[i].code, code) != 0)
		i++;
	/* Several of one kind need names of their own. */
	(void)snprintf(name, sizeof(name), n_same ? "%s-%u" : "%s", code, n_same);
	json_w_obj(w, name);
	json_w_str(w, "WarnableCode", name);
	json_w_str(w, "Severity", warnings[i].severity);
	json_w_str(w, "Title", warnings[i].title);
	json_w_str(w, "Text", text);
	if (warnings[i].impacts_connectivity)
		json_w_bool(w, "ImpactsConnectivity", true);
	json_w_end(w);
}

int bus_health(void *ctx, struct bytes *out)
{
	struct meshd *m = ctx;
	struct status s = { 0 };
	struct json_w w = { 0 };
	int err = m->backend.status(m, false, &s);

	if (err)
		return err;
	json_w_obj(&w, NULL);
	json_w_obj(&w, "Warnings");
	for (size_t i = 0; i < s.n_health; i++) {
		unsigned n_same = 0;

		for (size_t k = 0; k < i; k++)
			n_same += strcmp(s.health_codes[k], s.health_codes[i]) == 0;
		put_warning(&w, s.health_codes[i], s.health[i], n_same);
	}
	json_w_end(&w);
	json_w_end(&w);
	status_wipe(&s);
	return jsonmap_finish(&w, out);
}

static void tell_health(struct meshd *m)
{
	struct notify n = { .version = API_VERSION_SHORT };
	struct bytes doc = { 0 };

	if (bus_health(m, &doc) < 0 || bytes_append(&doc, "", 1) < 0) {
		bytes_wipe(&doc);
		return;
	}
	if (!bytes_size(&m->bus_health) || strcmp((const char *)bytes_data(&m->bus_health),
						  (const char *)bytes_data(&doc)) != 0) {
		n.health = (const char *)bytes_data(&doc);
		api_notify(m->api, &n);
	}
	bytes_wipe(&m->bus_health);
	m->bus_health = doc;
}

/* --- state --- */

void bus_state(struct meshd *m)
{
	const struct engine_state st = engine_state(m->engine);
	const struct notify n = { .version = API_VERSION_SHORT,
				  .has_state = true,
				  .state = st.state,
				  .prefs = m->backend.prefs(m),
				  .browse_to_url = *st.auth_url ? st.auth_url : NULL,
				  .login_finished = st.state == STATE_RUNNING,
				  .err_message = !m->login_due && st.is_fatal && *st.error ? st.error : NULL };
	bool any = false;

	if (m->api)
		(void)api_bus_masks(m->api, &any);
	if (!any)
		return;
	api_notify(m->api, &n);
	tell_health(m);
}

/* --- the map --- */

/* The documents of one change; a null one has nothing to say. */
struct news {
	struct json_w self, changed, all, patches, removed, users;
	size_t n_changed, n_all, n_patches, n_removed, n_users;
};

/* What a patch can say (the others need the whole node). */
static bool is_patch(unsigned bits)
{
	return !(bits & ~(unsigned)(NETMAP_NODE_ONLINE | NETMAP_NODE_HOME | NETMAP_NODE_ENDPOINTS));
}

static void put_patch(struct json_w *w, const struct netmap_node_change *c)
{
	const struct map_node *n = c->node;
	char text[EP_TEXT_MAX];

	json_w_obj(w, NULL);
	json_w_i64(w, "NodeID", n->id);
	if (c->bits & NETMAP_NODE_HOME)
		json_w_i64(w, "DERPRegion", n->home_derp);
	if (c->bits & NETMAP_NODE_ENDPOINTS) {
		json_w_arr(w, "Endpoints");
		for (size_t i = 0; i < n->n_endpoints; i++)
			json_w_str(w, NULL, ep_write(text, &n->endpoints[i]));
		json_w_end(w);
	}
	if (c->bits & NETMAP_NODE_ONLINE && n->online != TRI_UNSET)
		json_w_bool(w, "Online", n->online == TRI_TRUE);
	if (c->bits & NETMAP_NODE_ONLINE && n->online != TRI_TRUE && n->last_seen_s)
		json_w_time(w, "LastSeen", n->last_seen_s);
	json_w_end(w);
}

static void put_user(struct news *w, const struct netmap *map, int64_t id)
{
	const struct user_profile *u = netmap_user(map, id);
	char key[24];

	if (!u)
		return;
	(void)snprintf(key, sizeof(key), "%lld", (long long)id);
	json_w_obj(&w->users, key);
	json_w_i64(&w->users, "ID", id);
	json_w_str(&w->users, "LoginName", u->login_name);
	json_w_str(&w->users, "DisplayName", u->display_name);
	json_w_end(&w->users);
	w->n_users++;
}

static void put_change(struct news *w, const struct netmap *map, const struct netmap_node_change *c)
{
	if (!c->node) {
		json_w_i64(&w->removed, NULL, c->id);
		w->n_removed++;
		return;
	}
	ctl_node_write(&w->all, NULL, c->node);
	w->n_all++;
	if (is_patch(c->bits)) {
		put_patch(&w->patches, c);
		w->n_patches++;
		return;
	}
	ctl_node_write(&w->changed, NULL, c->node);
	w->n_changed++;
	/* Only with a node that is new or another's: profiles of known ones were told with it. */
	if (!c->old || c->old->user != c->node->user)
		put_user(w, map, c->node->user);
}

/* Closes a document and gives its text if it says something, else null. Free it. */
static char *take(struct json_w *w, size_t n)
{
	char *text;

	json_w_end(w);
	text = json_w_take(w, NULL);
	if (n)
		return text;
	free(text);
	return NULL;
}

static void send_news(struct meshd *m, struct news *w, bool is_self)
{
	struct notify n = { .version = API_VERSION_SHORT };
	char *texts[] = { is_self ? json_w_take(&w->self, NULL) : NULL,
			  take(&w->changed, w->n_changed),
			  take(&w->all, w->n_all),
			  take(&w->patches, w->n_patches),
			  take(&w->removed, w->n_removed),
			  take(&w->users, w->n_users) };

	n.self_change = texts[0];
	n.peers_changed = texts[1];
	n.peers_changed_all = texts[2];
	n.peer_patches = texts[3];
	n.peers_removed = texts[4];
	n.user_profiles = texts[5];
	api_notify(m->api, &n);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		free(texts[i]);
}

static int tell_change(struct meshd *m, const struct netmap *map, uint64_t masks)
{
	struct netmap_change c = { 0 };
	struct news w = { 0 };

	if (netmap_diff(m->bus_map, map, &c) < 0)
		return -ENOMEM;
	if (c.self_bits)
		ctl_node_write(&w.self, NULL, netmap_self(map));
	json_w_arr(&w.changed, NULL);
	json_w_arr(&w.all, NULL);
	json_w_arr(&w.patches, NULL);
	json_w_arr(&w.removed, NULL);
	json_w_obj(&w.users, NULL);
	for (size_t i = 0; masks & NOTIFY_PEER_CHANGES && i < c.n_peers; i++)
		put_change(&w, map, &c.peers[i]);
	send_news(m, &w, c.self_bits != 0);
	netmap_change_wipe(&c);
	return 0;
}

void bus_map(struct meshd *m)
{
	const struct netmap *map = engine_netmap(m->engine);
	bool any = false;
	uint64_t masks;

	if (map == m->bus_map)
		return;
	masks = m->api ? api_bus_masks(m->api, &any) : 0;
	if (any && map && tell_change(m, map, masks) < 0)
		return; /* the next change tells both */
	m->bus_map_due = true;
	netmap_put(m->bus_map);
	m->bus_map = map ? netmap_get(map) : NULL;
}

/* --- traffic --- */

static void put_live(struct json_w *w, const struct status_peer *p)
{
	char key[KEY_TEXT_MAX], at[RFC3339_TEXT_MAX];

	key_write(key, KEY_NODE, p->key.b);
	json_w_obj(w, key);
	json_w_i64(w, "RxBytes", (int64_t)p->rx_bytes);
	json_w_i64(w, "TxBytes", (int64_t)p->tx_bytes);
	json_w_str(w, "LastHandshake",
		   p->last_handshake_ns ? rfc3339_write(at, p->last_handshake_ns / NS_PER_S,
							(int32_t)(p->last_handshake_ns % NS_PER_S)) :
					  rfc3339_write(at, RFC3339_ZERO_S, 0));
	json_w_str(w, "NodeKey", key);
	json_w_end(w);
}

static void tell_traffic(struct meshd *m)
{
	struct notify n = { .version = API_VERSION_SHORT };
	struct status s = { 0 };
	struct json_w w = { 0 };
	uint64_t rx = 0, tx = 0;
	int64_t n_live = 0;
	char *text;

	if (m->backend.status(m, true, &s))
		return;
	for (size_t i = 0; i < s.n_peers; i++) {
		rx += s.peers[i].rx_bytes;
		tx += s.peers[i].tx_bytes;
		n_live += s.peers[i].in_engine;
	}
	json_w_obj(&w, NULL);
	json_w_i64(&w, "RBytes", (int64_t)rx);
	json_w_i64(&w, "WBytes", (int64_t)tx);
	json_w_i64(&w, "NumLive", n_live);
	json_w_i64(&w, "LiveDERPs", engine_n_derps(m->engine));
	json_w_obj(&w, "LivePeers");
	for (size_t i = 0; i < s.n_peers; i++)
		if (s.peers[i].in_engine)
			put_live(&w, &s.peers[i]);
	json_w_end(&w);
	json_w_end(&w);
	text = json_w_take(&w, NULL);
	n.engine = text;
	if (text)
		api_notify(m->api, &n);
	free(text);
	status_wipe(&s);
}

/* --- the timer --- */

static void tell_map(struct meshd *m)
{
	struct notify n = { .version = API_VERSION_SHORT };
	struct bytes map = { 0 };

	if (m->backend.net_map(m, &map) == 0 && bytes_append(&map, "", 1) == 0) {
		n.net_map = (const char *)bytes_data(&map);
		api_notify(m->api, &n);
	}
	bytes_wipe(&map);
}

static void bus_due(void *ctx, struct mono now)
{
	struct meshd *m = ctx;
	bool any;
	const uint64_t masks = api_bus_masks(m->api, &any);

	if (!any)
		return;
	loop_timer_set(m->loop, &m->bus_timer, mono_add_s(now, masks & NOTIFY_ENGINE ? TRAFFIC_S : HEALTH_S));
	tell_health(m);
	if (masks & NOTIFY_ENGINE)
		tell_traffic(m);
	/* Whole maps are big: bursts of changes are told once. */
	if (m->bus_map_due && masks & NOTIFY_INITIAL_NETMAP)
		tell_map(m);
	m->bus_map_due = false;
}

void bus_subscribed(void *ctx, uint64_t mask)
{
	struct meshd *m = ctx;
	const struct mono first = mono_add_s(loop_now(m->loop), mask & NOTIFY_ENGINE ? 0 : HEALTH_S);

	/* Nobody looked at the health while nobody listened: it is told to all once, whatever it was. */
	bytes_wipe(&m->bus_health);
	loop_timer_set(m->loop, &m->bus_timer, mono_min(m->bus_timer.node.deadline, first));
}

void bus_init(struct meshd *m)
{
	m->bus_timer = (struct loop_timer){ .fn = bus_due, .ctx = m };
	m->bus_timer.node.deadline = MONO_NEVER;
}

void bus_wipe(struct meshd *m)
{
	netmap_put(m->bus_map);
	m->bus_map = NULL;
	bytes_wipe(&m->bus_health);
}
