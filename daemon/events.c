/* SPDX-License-Identifier: MIT */
/* What the edges report, into the engine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/api_coord.h"
#include "daemon/meshd.h"

static void activity(struct meshd *m, struct mono now, const struct dp_event *ev)
{
	const struct dp_activity *a = &ev->activity;
	static const enum path_kind kinds[DP_VIA_N] = { [DP_VIA_DIRECT] = PATH_DIRECT,
							[DP_VIA_RELAY] = PATH_RELAY,
							[DP_VIA_DERP] = PATH_DERP };
	struct engine_activity out = { .sent_data = a->tx_data_pkts > 0 };

	for (unsigned v = 0; v < DP_VIA_N; v++) {
		out.tx_bytes += a->tx_bytes[v];
		out.rx_bytes += a->rx_bytes[v];
		out.sent |= a->tx_pkts[v] > 0;
		out.received[kinds[v]] = a->rx_pkts[v] > 0;
	}
	engine_input_activity(m->engine, now, ev->peer, &out);
}

static void dp_event(struct meshd *m, struct mono now, const struct dp_event *ev)
{
	struct engine *e = m->engine;

	switch (ev->kind) {
	case DP_EV_HANDSHAKE:
		engine_input_handshake(e, now, &ev->path, ev->data, ev->size);
		break;
	case DP_EV_DISCO:
		engine_input_disco(e, now, &ev->path, ev->geneve_control, ev->data, ev->size);
		break;
	case DP_EV_STUN:
		engine_input_stun(e, now, ev->sock, &ev->path.ep, ev->data, ev->size);
		break;
	case DP_EV_GENEVE:
		engine_input_geneve(e, now, ev->sock, &ev->path.ep, ev->data, ev->size);
		break;
	case DP_EV_WANT_SESSION:
		engine_input_want(e, now, ev->peer, ev->data, ev->size);
		break;
	case DP_EV_DERP_OUT:
		engine_input_derp_out(e, now, ev->peer, ev->path.region, ev->data, ev->size);
		break;
	case DP_EV_TSMP:
		engine_input_tsmp(e, now, ev->peer, &ev->path, ev->data, ev->size);
		break;
	case DP_EV_KEY_ACTIVITY:
		engine_input_key(e, now, ev->peer);
		break;
	case DP_EV_RX_PATH:
		engine_input_rx_path(e, now, ev->peer, &ev->path);
		break;
	case DP_EV_ACTIVITY:
		activity(m, now, ev);
		break;
	case DP_EV_PATH_MTU:
		log_debug(&m->log, "dp: a packet was too big for its path");
		break;
	case DP_EV_TUN_GONE:
		log_error(&m->log, "tun: %s: gone: %s", dp_ifname(m->dp), strerror(-ev->error));
		loop_stop(m->loop);
		break;
	}
}

static void act_all(struct meshd *m, struct mono now)
{
	struct engine_out o;

	while (engine_poll(m->engine, now, &o))
		act(m, now, &o);
	dp_derp_flush(m->dp);
}

/* Packets that go out by DERP and may be gathered before they are written: a DERP link takes that many at once. */
enum { DERP_BATCH = 32 };

void meshd_dp_events(struct meshd *m, struct mono now)
{
	struct dp_event ev;
	unsigned gathered = 0;

	while (dp_poll(m->dp, now, &ev)) {
		dp_event(m, now, &ev);
		if (ev.kind == DP_EV_DERP_OUT && ++gathered < DERP_BATCH)
			continue;
		gathered = 0;
		/* In arrival order: an answer to one datagram leaves before the next is looked at. */
		act_all(m, now);
	}
	if (gathered)
		act_all(m, now);
}

void meshd_tls_events(struct meshd *m, struct mono now)
{
	struct tlsconn_event ev;

	/* What came by DERP and does not fit to the worker would be lost: it waits in the socket instead. */
	while (dp_has_derp_room(m->dp) && tlsconn_poll(m->tls, &ev)) {
		switch (ev.kind) {
		case TLSCONN_OPENED:
			engine_opened(m->engine, now, ev.id, &ev.info);
			break;
		case TLSCONN_DATA:
			engine_stream_input(m->engine, now, ev.id, ev.data, ev.size);
			act_all(m, now);
			break;
		case TLSCONN_WRITABLE:
			for (size_t i = 0; i < m->n_ready; i++) {
				if (m->ready[i] != ev.id)
					continue;
				m->ready[i] = m->ready[--m->n_ready];
				act_ready(m, now, ev.id);
				break;
			}
			break;
		case TLSCONN_CLOSED:
			engine_closed(m->engine, now, ev.id, ev.reason);
			break;
		}
	}
}

/* ---- links ---- */

static void tell_gateway(struct meshd *m, struct mono now)
{
	struct ip gateway = { 0 }, self = { 0 };

	if (rtnl_gateway(m->rtnl, &gateway, &self) < 0)
		gateway = self = (struct ip){ 0 };
	engine_set_gateway(m->engine, now, &gateway, &self);
}

void meshd_link(struct meshd *m, struct mono now, bool is_major)
{
	struct ip ips[ENGINE_ADDRS_MAX];
	struct rtnl_addr *addrs;
	size_t n_addrs, n = 0;
	int err = rtnl_addrs(m->rtnl, &addrs, &n_addrs);

	if (err) {
		log_warn(&m->log, "rtnl: addresses: %s", strerror(-err));
		return;
	}
	for (size_t i = 0; i < n_addrs && n < ENGINE_ADDRS_MAX; i++) {
		const struct rtnl_addr *a = &addrs[i];

		/* Other overlays: what they carry must not carry us. */
		if (strncmp(a->ifname, "zt", 2) == 0 || strcmp(a->ifname, "wt0") == 0)
			continue;
		if (!a->is_up || a->is_loopback || a->is_deprecated || ip_is_tailnet(&a->prefix.ip))
			continue;
		if (a->prefix.ip.family == IP_V6 && ip_is_link_local(&a->prefix.ip))
			continue;
		ips[n++] = a->prefix.ip;
	}
	free(addrs);
	if (is_major) {
		dp_rebind(m->dp);
		tlsconn_rerouted(m->tls);
	}
	engine_set_ports(m->engine, now, dp_port(m->dp, IP_V4), dp_port(m->dp, IP_V6));
	tell_gateway(m, now);
	engine_set_addrs(m->engine, now, ips, n, is_major);
}

/* ---- our own coordinator ---- */

static void pipe_opened(void *ctx, uint32_t stream, struct mono now)
{
	struct meshd *m = ctx;
	const struct stream_info info = { 0 };

	engine_opened(m->engine, now, stream, &info);
}

static void pipe_bytes(void *ctx, uint32_t stream, struct mono now, const uint8_t *data, size_t size)
{
	struct meshd *m = ctx;

	engine_stream_input(m->engine, now, stream, data, size);
}

static void pipe_closed(void *ctx, uint32_t stream, struct mono now)
{
	struct meshd *m = ctx;

	engine_closed(m->engine, now, stream, "closed by the coordinator");
}

/* This host's own coordinator is the server of a node that knows no other: a bare `up` joins it. A node that has
 * joined it follows when its URL changes. */
static void adopt_server(struct meshd *m, struct mono now)
{
	const struct prefs *old = engine_prefs(m->engine);
	struct prefs next = { 0 };
	const char *url = coordrole_url(m->coord), *mine = old->control_url ? old->control_url : "";
	bool follows = !*mine || (*m->coord_url && strcmp(mine, m->coord_url) == 0);
	char why[ENGINE_ERR_MAX];

	if (!coordrole_is_on(m->coord))
		return;
	(void)snprintf(m->coord_url, sizeof(m->coord_url), "%s", url);
	if (!follows || strcmp(mine, url) == 0)
		return;
	if (prefs_copy(&next, old) < 0)
		return;
	free(next.control_url);
	next.control_url = strdup(url);
	if (!next.control_url || engine_set_prefs(m->engine, now, &next, PREF_BIT(PREF_CONTROL_URL), why) < 0 ||
	    store_put_prefs(m->store, &next) < 0)
		log_warn(&m->log, "coordinator: cannot be made this node's server");
	prefs_wipe(&next);
}

static void role_changed(void *ctx, struct mono now)
{
	struct meshd *m = ctx;
	const uint16_t port = coordrole_stun_port(m->coord);
	struct ip ip = coordrole_public_ip(m->coord);

	engine_set_public(m->engine, now, &ip, coordrole_is_on(m->coord) && ip_is_set(&ip) ? 1 : 0);
	engine_set_own_ports(m->engine, &port, port ? 1 : 0);
	adopt_server(m, now);
}

static void role_reply(void *ctx, uint64_t call, unsigned status, const char *json, size_t size)
{
	struct meshd *m = ctx;

	api_coord_reply(m->api, call, status, json, size);
}

void meshd_coord_events(struct coordrole_events *ev, struct meshd *m)
{
	ev->opened = pipe_opened;
	ev->bytes = pipe_bytes;
	ev->closed = pipe_closed;
	ev->reply = role_reply;
	ev->changed = role_changed;
	ev->ctx = m;
}
