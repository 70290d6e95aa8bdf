/* SPDX-License-Identifier: MIT */
/* Relay, path and network reports for the local API, and figures for metrics. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_int.h"

enum { TEXT_MAX = 256 };

static char *dup_text(const char *text, bool *bad)
{
	char *c = strdup(text ? text : "");

	*bad |= !c;
	return c;
}

/* ---- why not direct ---- */

char *es_why_not_direct(const struct engine *e, struct mono now, const struct epeer *p, bool *bad)
{
	const struct netcheck_report *r = netcheck_report(e->net);
	struct prober_view v[PROBER_CANDS_MAX];
	size_t n = ep_candidates(e, p, now, v), tried = 0, answers = 0;
	char text[TEXT_MAX];

	for (size_t i = 0; i < n; i++) {
		tried += v[i].verdict != PROBER_UNTRIED;
		answers += v[i].verdict == PROBER_ANSWERS || v[i].verdict == PROBER_IN_USE;
	}
	if (key_is_zero(p->disco.b))
		(void)snprintf(text, sizeof(text), "the peer has told no disco key yet");
	else if (!e->port4 && !e->port6)
		(void)snprintf(text, sizeof(text), "this node has no UDP socket");
	else if (r && !r->udp)
		(void)snprintf(text, sizeof(text), "UDP seems to be blocked on our side: no STUN answer");
	else if (n == 0)
		(void)snprintf(text, sizeof(text), "the peer has told no endpoints yet");
	else if (tried == 0)
		(void)snprintf(text, sizeof(text), "%zu endpoints known, none tried: no traffic yet", n);
	else
		(void)snprintf(text, sizeof(text), "%zu candidates probed, %zu answer; our NAT: %s", tried,
			       answers,
			       r && r->mapping_varies == TRI_TRUE  ? "hard (mapping varies)" :
			       r && r->mapping_varies == TRI_FALSE ? "easy" :
								     "unknown");
	return dup_text(text, bad);
}

static const char *source_text(unsigned from)
{
	return from & PROBER_FROM_NETMAP ? "map" : from & PROBER_FROM_CMM ? "call-me-maybe" : "ping";
}

static void fill_candidates(const struct engine *e, struct mono now, const struct epeer *p, struct pathinfo *out, bool *bad)
{
	struct prober_view v[PROBER_CANDS_MAX];
	size_t n = ep_candidates(e, p, now, v);

	out->candidates = calloc(n + 1, sizeof(*out->candidates));
	*bad |= !out->candidates;
	for (size_t i = 0; out->candidates && i < n; i++) {
		struct pathinfo_candidate *c = &out->candidates[out->n_candidates++];

		c->ep = v[i].ep;
		c->source = dup_text(source_text(v[i].from), bad);
		c->pings = v[i].n_sent;
		c->pongs = v[i].n_pongs;
		c->latency_ms = (double)v[i].latency_ns / 1e6;
	}
}

/* How far the way through a relay came, one line. */
static char *relay_text(const struct engine *e, const struct epeer *p, const struct relayclient_server *s,
			bool *bad)
{
	struct relayclient_outcome o;
	char ep[EP_TEXT_MAX], text[160];

	if (!relayclient_outcome(&e->relayc, &p->key, &s->node, &o))
		return dup_text("candidate, not asked yet", bad);
	ep_write(ep, &o.bound);
	switch (o.step) {
	case RELAYCLIENT_ASKING:
		return dup_text("asked for an endpoint", bad);
	case RELAYCLIENT_NO_RESPONSE:
		return dup_text("asked for an endpoint; no answer", bad);
	case RELAYCLIENT_BINDING:
		(void)snprintf(text, sizeof(text), "allocated vni %u; binding", o.vni);
		break;
	case RELAYCLIENT_NO_CHALLENGE:
		(void)snprintf(text, sizeof(text), "allocated vni %u; none of its addresses answers", o.vni);
		break;
	case RELAYCLIENT_BOUND:
		(void)snprintf(text, sizeof(text), "allocated vni %u; bound %s; waiting for the peer", o.vni, ep);
		break;
	case RELAYCLIENT_NO_PONG:
		(void)snprintf(text, sizeof(text), "allocated vni %u; bound %s; the peer did not answer through it",
			       o.vni, ep);
		break;
	case RELAYCLIENT_WORKED:
		(void)snprintf(text, sizeof(text), "allocated vni %u; bound %s %.0fms", o.vni, ep,
			       (double)o.latency_ns / 1e6);
		break;
	}
	return dup_text(text, bad);
}

static void fill_relays(const struct engine *e, const struct epeer *p, struct pathinfo *out, bool *bad)
{
	size_t n = relayclient_n_servers(&e->relayc, &p->key);

	if (n == 0) {
		out->relay_reason = dup_text(
			"no node is a relay for us: no grant gives us tailscale.com/cap/relay on one", bad);
		return;
	}
	out->relays = calloc(e->relayc.n_servers, sizeof(*out->relays));
	*bad |= !out->relays;
	for (size_t i = 0; out->relays && i < e->relayc.n_servers; i++) {
		const struct relayclient_server *s = &e->relayc.servers[i];
		const struct epeer *r = ep_by_key(e, &s->node);
		const struct map_node *node = r ? r->node : s->is_self ? netmap_self(e->map) : NULL;
		struct pathinfo_relay *o;
		const struct map_node *used;

		if (!node || r == p)
			continue;
		used = es_relay_node(e, &p->targets);
		o = &out->relays[out->n_relays++];
		o->name = es_base_name(node, bad);
		if (node->n_addrs)
			o->ip = node->addrs[0].ip;
		o->usable = used == node;
		if (!o->usable && !s->is_self && node->online == TRI_FALSE)
			o->text = dup_text("offline", bad);
		else if (!o->usable && !s->is_self && !node->host.peer_relay)
			o->text = dup_text("does not say that it runs a relay server", bad);
		else
			o->text = relay_text(e, p, s, bad);
	}
}

int engine_pathinfo(const struct engine *e, struct mono now, const struct ip *ip, struct pathinfo *out)
{
	const struct epeer *p = ep_by_ip(e, ip);
	struct ladder_targets t;
	char text[TEXT_MAX];
	bool bad = false;

	if (!p)
		return -ENOENT;
	t = ep_targets(p, now);
	*out = (struct pathinfo){ .ip = *ip };
	out->name = es_base_name(p->node, &bad);
	out->in_use = dup_text(t.first.kind == PATH_DIRECT ? "direct" :
			       t.first.kind == PATH_RELAY  ? "peer-relay" :
			       t.first.kind == PATH_DERP   ? "derp" :
							     "",
			       &bad);
	if (t.first.kind == PATH_DERP)
		(void)snprintf(text, sizeof(text), "%s", es_region_code(e, t.first.region));
	else
		path_write(text, &t.first);
	out->addr = dup_text(text, &bad);
	out->latency_ms = (double)t.latency_ns / 1e6;
	out->since_ms = mono_since_ms(now, p->path_since);
	out->direct_reason = t.first.kind == PATH_DIRECT ? dup_text(text, &bad) :
							   es_why_not_direct(e, now, p, &bad);
	fill_candidates(e, now, p, out, &bad);
	fill_relays(e, p, out, &bad);
	(void)snprintf(text, sizeof(text), "home %u (%s), theirs %u (%s)", e->home, es_region_code(e, e->home),
		       p->node->home_derp, es_region_code(e, p->node->home_derp));
	out->derp_reason = dup_text(text, &bad);
	if (!bad)
		return 0;
	pathinfo_wipe(out);
	return -ENOMEM;
}

/* ---- relay ---- */

static void fill_client(const struct engine *e, const struct relayserver_session *s, unsigned side,
			struct relayinfo_client *c, bool *bad)
{
	const struct epeer *p = ep_by_disco(e, &s->clients[side]);
	const struct map_node *n = p ? p->node :
				   disco_key_eq(&s->clients[side], &e->disco) && e->map ? netmap_self(e->map) :
											  NULL;
	char text[KEY_SHORT_MAX];

	c->ep = s->side[side].bound;
	key_short(text, KEY_DISCO, s->clients[side].b);
	c->short_disco = dup_text(text, bad);
	c->packets = s->side[side].rx_pkts;
	c->bytes = s->side[side].rx_bytes;
	if (!n)
		return;
	c->name = es_base_name(n, bad);
	c->key = n->key;
	if (n->n_addrs)
		c->ip = n->addrs[0].ip;
}

static void fill_sessions(const struct engine *e, struct mono now, struct relayinfo *r, bool *bad)
{
	const struct relayserver_session *s = NULL;

	r->sessions = calloc(e->relays.n_live + 1, sizeof(*r->sessions));
	*bad |= !r->sessions;
	while (r->sessions && r->n_sessions < e->relays.n_live &&
	       (s = relayserver_next(&e->relays, s ? s->vni : 0))) {
		struct relayinfo_session *o = &r->sessions[r->n_sessions++];
		struct mono seen = mono_max(s->side[0].seen, s->side[1].seen);

		o->vni = s->vni;
		fill_client(e, s, 0, &o->client1, bad);
		fill_client(e, s, 1, &o->client2, bad);
		o->bound = relayserver_is_bound(s);
		o->age_ms = mono_since_ms(now, s->created);
		o->idle_ms = s->side[0].rx_pkts + s->side[1].rx_pkts ? mono_since_ms(now, seen) : -1;
	}
}

static void fill_endpoints(const struct engine *e, struct relayinfo *r, bool *bad)
{
	static const char *const names[] = { [RELAYSERVER_STATIC] = "static",
					     [RELAYSERVER_LOCAL] = "local",
					     [RELAYSERVER_PUBLIC] = "public",
					     [RELAYSERVER_PORTMAP] = "portmap",
					     [RELAYSERVER_STUN] = "stun" };
	enum relayserver_origin origins[RELAYSERVER_ADDRS_MAX];
	struct ep eps[RELAYSERVER_ADDRS_MAX];
	size_t n = relayserver_addrs(&e->relays, eps, origins);

	r->endpoints = calloc(n + 1, sizeof(*r->endpoints));
	*bad |= !r->endpoints;
	for (size_t i = 0; r->endpoints && i < n; i++)
		r->endpoints[r->n_endpoints++] = (struct relayinfo_endpoint){
			.ep = eps[i], .origin = dup_text(names[origins[i]], bad)
		};
}

static void fill_servers(const struct engine *e, struct mono now, struct relayinfo *r, bool *bad)
{
	r->servers = calloc(e->relayc.n_servers + 1, sizeof(*r->servers));
	*bad |= !r->servers;
	for (size_t i = 0; r->servers && i < e->relayc.n_servers; i++) {
		const struct relayclient_server *s = &e->relayc.servers[i];
		const struct epeer *p = ep_by_key(e, &s->node);
		const struct map_node *n = p ? p->node : s->is_self ? netmap_self(e->map) : NULL;
		struct relayinfo_server *o;

		if (!n)
			continue;
		o = &r->servers[r->n_servers++];
		o->name = es_base_name(n, bad);
		if (n->n_addrs)
			o->ip = n->addrs[0].ip;
		o->online = s->is_self || n->online == TRI_TRUE;
		for (size_t j = 0; j < e->n_slots; j++) {
			const struct epeer *q = e->slots[j];
			struct ladder_targets t;

			if (!q || q->targets.first.kind != PATH_RELAY)
				continue;
			t = ep_targets(q, now); /* as measured last, not as it was when it was chosen */
			if (t.first.kind != PATH_RELAY || es_relay_node(e, &t) != n)
				continue;
			o->in_use_by++;
			if (t.latency_ns && (o->latency_ms <= 0 || (double)t.latency_ns / 1e6 < o->latency_ms))
				o->latency_ms = (double)t.latency_ns / 1e6;
		}
		if (!o->online)
			o->why_not = dup_text("offline", bad);
		else if (!s->is_self && !n->host.peer_relay)
			o->why_not = dup_text("does not say that it runs a relay server", bad);
	}
}

int engine_relayinfo(const struct engine *e, struct mono now, struct relayinfo *r)
{
	bool bad = false;

	*r = (struct relayinfo){ .on = e->prefs.has_relay_port, .port = e->prefs.relay_port };
	if (e->relays.state == RELAYSERVER_ON) {
		r->bound_port = e->relays.port[0];
		r->has_v4 = e->relays.port[0] != 0;
		r->has_v6 = e->relays.port[1] != 0;
	} else if (r->on && e->relays.state == RELAYSERVER_FAILED) {
		r->error = dup_text(strerror(-e->relays.err), &bad);
	} else if (r->on && engine_relay_disabled(e)) {
		r->error = dup_text("disabled for this node by the tailnet admin", &bad);
	} else if (r->on && !e->prefs.want_running) {
		r->error = dup_text("stopped: the node is down", &bad);
	}
	for (size_t i = 0; i < e->n_slots; i++)
		r->allowed_peers += e->slots[i] && er_may_allocate(e, e->slots[i]->node);
	for (unsigned i = 0; i < 4; i++) {
		r->packets += e->relays.n.fwd_pkts[i / 2][i % 2];
		r->bytes += e->relays.n.fwd_bytes[i / 2][i % 2];
	}
	r->open = e->relays.n_bound;
	r->connecting = (int64_t)e->relays.n_live - e->relays.n_bound;
	fill_endpoints(e, r, &bad);
	fill_sessions(e, now, r, &bad);
	fill_servers(e, now, r, &bad);
	if (!bad)
		return 0;
	relayinfo_wipe(r);
	return -ENOMEM;
}

/* ---- network report ---- */

static char *counters(const struct netcheck_global *g, size_t n, bool *bad)
{
	struct json_w w = { 0 };
	char text[EP_TEXT_MAX], *out;

	if (!n)
		return NULL;
	json_w_obj(&w, NULL);
	for (size_t i = 0; i < n; i++)
		json_w_i64(&w, ep_write(text, &g[i].ep), g[i].count);
	json_w_end(&w);
	out = json_w_take(&w, NULL);
	*bad |= !out;
	return out;
}

static void fill_latencies(const struct netcheck_report *n, struct netreport *r, bool *bad)
{
	r->latency = calloc(n->n_latency + 1, sizeof(*r->latency));
	r->latency_v4 = calloc(n->n_latency + 1, sizeof(*r->latency));
	r->latency_v6 = calloc(n->n_latency + 1, sizeof(*r->latency));
	if (!r->latency || !r->latency_v4 || !r->latency_v6) {
		*bad = true;
		return;
	}
	for (size_t i = 0; i < n->n_latency; i++) {
		const struct netcheck_latency *l = &n->latency[i];

		if (l->ns >= 0)
			r->latency[r->n_latency++] = (struct netreport_latency){ l->region, l->ns };
		if (l->v4_ns >= 0)
			r->latency_v4[r->n_latency_v4++] = (struct netreport_latency){ l->region, l->v4_ns };
		if (l->v6_ns >= 0)
			r->latency_v6[r->n_latency_v6++] = (struct netreport_latency){ l->region, l->v6_ns };
	}
}

static void fill_regions(const struct engine *e, struct netreport *r, bool *bad)
{
	const struct derp_map *m = e->map ? netmap_derp(e->map) : NULL;

	r->regions = m ? calloc(m->n_regions + 1, sizeof(*r->regions)) : NULL;
	*bad |= m && !r->regions;
	for (size_t i = 0; r->regions && i < m->n_regions; i++)
		r->regions[r->n_regions++] =
			(struct netreport_region){ .id = m->regions[i].id,
						   .code = dup_text(m->regions[i].code, bad),
						   .name = dup_text(m->regions[i].name, bad) };
}

int engine_netreport(const struct engine *e, struct netreport *r)
{
	const struct netcheck_report *n = netcheck_report(e->net);
	bool bad = false;
	char text[EP_TEXT_MAX];

	*r = (struct netreport){ .now_ns = env_wall_ns(e->env), .preferred_derp = e->home };
	fill_regions(e, r, &bad);
	if (n) {
		r->now_ns = n->wall_ns;
		r->udp = n->udp;
		r->ipv4 = n->ipv4;
		r->ipv6 = n->ipv6;
		r->ipv4_can_send = n->ipv4_can_send;
		r->ipv6_can_send = n->ipv6_can_send;
		r->os_has_ipv6 = n->os_has_ipv6;
		r->mapping_varies = n->mapping_varies;
		r->upnp = n->upnp;
		r->pmp = n->pmp;
		r->pcp = n->pcp;
		fill_latencies(n, r, &bad);
		r->counters_v4 = counters(n->v4, n->n_v4, &bad);
		r->counters_v6 = counters(n->v6, n->n_v6, &bad);
		r->global_v4 = dup_text(ep_is_set(&n->global4) ? ep_write(text, &n->global4) : "", &bad);
		r->global_v6 = dup_text(ep_is_set(&n->global6) ? ep_write(text, &n->global6) : "", &bad);
	}
	if (!bad)
		return 0;
	netreport_wipe(r);
	return -ENOMEM;
}

/* ---- figures ---- */

void engine_figures(const struct engine *e, struct mono now, struct engine_figures *f)
{
	*f = (struct engine_figures){ .home_derp = e->home, .netmap_age_s = -1 };
	memcpy(f->path_changes, e->path_changes, sizeof(f->path_changes));
	f->staged_dropped = e->staged_dropped;
	f->control_connected = ctlclient_status(e->ctl).is_live;
	f->advertised_routes = e->prefs.n_advertise_routes;
	if (e->map) {
		f->netmap_age_s = mono_since_ms(now, e->map_at) / 1000;
		f->key_expiry_s = netmap_self(e->map)->key_expiry_s;
		f->approved_routes = netmap_self(e->map)->n_allowed_ips - netmap_self(e->map)->n_addrs;
	}
	for (size_t i = 0; i < e->n_slots; i++) {
		const struct epeer *p = e->slots[i];

		if (!p)
			continue;
		if (!mono_is_zero(p->last_sent) &&
		    mono_since_ns(now, p->last_sent) < ENGINE_ACTIVE_S * NS_PER_S)
			f->peers_by[p->targets.first.kind]++;
		else if (p->node->online == TRI_FALSE)
			f->peers_offline++;
		else
			f->peers_idle++;
	}
}

static uint64_t count_warm(const struct engine *e)
{
	uint64_t n = 0;

	for (size_t i = 0; i < e->n_slots; i++)
		n += e->slots[i] && (e->slots[i]->ladder || e->slots[i]->dev || e->slots[i]->box);
	return n;
}

void engine_counters(const struct engine *e, void (*fn)(void *ctx, const char *name, uint64_t value), void *ctx)
{
	const struct device_counters *d = &e->device.counters;

	fn(ctx, "peers_warm", count_warm(e));
	fn(ctx, "magicsock_disco_sent_udp", e->sent_disco_udp);
	fn(ctx, "magicsock_disco_sent_derp", e->sent_disco_derp);
	fn(ctx, "magicsock_disco_recv_ping", e->self.n.recv_ping);
	fn(ctx, "magicsock_disco_recv_pong", e->self.n.recv_pong);
	fn(ctx, "magicsock_disco_recv_callmemaybe", e->self.n.recv_call_me_maybe);
	fn(ctx, "magicsock_disco_recv_bad_peer", e->recv_bad_peer);
	fn(ctx, "magicsock_tsmp_disco_key_advertisement_sent", e->tsmp_disco_sent);
	fn(ctx, "magicsock_tsmp_disco_key_advertisement_received", e->tsmp_disco_received);
	fn(ctx, "magicsock_tsmp_disco_key_advertisement_applied", e->tsmp_disco_applied);
	fn(ctx, "magicsock_tsmp_disco_key_advertisement_unchanged", e->tsmp_disco_unchanged);
	fn(ctx, "meshd_disco_drop_source", e->gate.drop_source);
	fn(ctx, "meshd_disco_drop_total", e->gate.drop_total);
	fn(ctx, "magicsock_disco_recv_bad_key", e->recv_bad_key);
	fn(ctx, "magicsock_disco_recv_bad_parse", e->recv_bad_parse);
	fn(ctx, "udprelay_endpoints_open", e->relays.n_bound);
	fn(ctx, "udprelay_endpoints_connecting", e->relays.n_live - e->relays.n_bound);
	fn(ctx, "meshd_path_suspect", e->self.n.suspect);
	fn(ctx, "meshd_path_failover", e->self.n.failover);
	fn(ctx, "meshd_path_upgrade", e->self.n.upgrade);
	fn(ctx, "meshd_path_drop_duplicate_ping", e->self.n.dup_ping);
	fn(ctx, "meshd_path_drop_pong_limit", e->self.n.drop_pong_limit);
	fn(ctx, "meshd_path_drop_ping_limit", e->self.n.drop_ping_limit);
	fn(ctx, "meshd_path_drop_unknown_pong", e->self.n.drop_unknown_pong);
	fn(ctx, "meshd_path_drop_call_me_maybe", e->self.n.drop_call_me_maybe);
	fn(ctx, "meshd_path_drop_endpoint", e->self.n.drop_endpoint);
	fn(ctx, "meshd_relay_client_bad_responses", e->relayc.n.bad_responses);
	fn(ctx, "meshd_relay_client_bad_challenges", e->relayc.n.bad_challenges);
	fn(ctx, "meshd_relay_client_drop_limit", e->relayc.n.drop_limit);
	fn(ctx, "meshd_relay_allocations", e->relayc.n.allocs);
	fn(ctx, "meshd_relay_binds", e->relayc.n.binds);
	fn(ctx, "meshd_relay_offers", e->relayc.n.offers);
	fn(ctx, "meshd_derp_sent_packets", e->derp.n.sent_pkts);
	fn(ctx, "meshd_derp_received_packets", e->derp.n.rcvd_pkts);
	fn(ctx, "meshd_derp_dropped_queue", e->derp.n.drop_queue);
	fn(ctx, "meshd_wg_initiations_received", d->rx_initiations);
	fn(ctx, "meshd_wg_initiations_sent", d->tx_initiations);
	fn(ctx, "meshd_wg_drop_mac1", d->drop_mac1);
	fn(ctx, "meshd_wg_drop_auth", d->drop_auth);
	fn(ctx, "meshd_wg_drop_replay", d->drop_replay);
	fn(ctx, "meshd_staged_dropped", e->staged_dropped);
	fn(ctx, "meshd_outputs_dropped", e->out_dropped);
	for (unsigned i = 0; i < RELAYSERVER_DROPS; i++) {
		char name[64];

		(void)snprintf(name, sizeof(name), "meshd_relay_server_drop_%s",
			       relayserver_drop_name((enum relayserver_drop)i));
		fn(ctx, name, e->relays.n.drops[i]);
	}
}
