/* SPDX-License-Identifier: MIT */
/* News for the subscribers of the local API's bus: state, the own node, peers, health, traffic.
 *
 * When to tell; what is said is made by control/mapnews and wire/notify. Without a subscriber nothing is built and no
 * timer runs. The map that was told last is kept by reference, so that the next one is told as what is different.
 * Spec: localapi 4, 5. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/mapnews.h"
#include "control/netmap.h"
#include "daemon/meshd.h"

enum {
	TRAFFIC_S = 2, /* as upstream asks its engine while somebody watches */
	HEALTH_S = 5,
};

/* --- health --- */

int bus_health(void *ctx, struct bytes *out)
{
	struct meshd *m = ctx;
	struct status s = { 0 };
	int err = m->backend.status(m, false, &s);

	if (err)
		return err;
	err = notify_health_write(out, &s);
	status_wipe(&s);
	return err;
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

static int tell_change(struct meshd *m, const struct netmap *map, uint64_t masks)
{
	struct notify n = { .version = API_VERSION_SHORT };
	struct mapnews news = { 0 };

	if (mapnews_make(&news, m->bus_map, map, masks & NOTIFY_PEER_CHANGES) < 0)
		return -ENOMEM;
	n.self_change = news.self;
	n.peers_changed = news.changed;
	n.peers_changed_all = news.all;
	n.peer_patches = news.patches;
	n.peers_removed = news.removed;
	n.user_profiles = news.users;
	api_notify(m->api, &n);
	mapnews_wipe(&news);
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

static void tell_traffic(struct meshd *m)
{
	struct notify n = { .version = API_VERSION_SHORT };
	struct bytes doc = { 0 };
	struct status s = { 0 };

	if (m->backend.status(m, true, &s))
		return;
	if (notify_traffic_write(&doc, &s, engine_n_derps(m->engine)) == 0 && bytes_append(&doc, "", 1) == 0) {
		n.engine = (const char *)bytes_data(&doc);
		api_notify(m->api, &n);
	}
	bytes_wipe(&doc);
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
