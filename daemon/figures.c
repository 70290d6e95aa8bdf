/* SPDX-License-Identifier: MIT */
/* Metrics, the relay's forwarding counts, and who has an address. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/netmap.h"
#include "daemon/meshd.h"
#include "relay/relayserver.h"

/* ---- relay counts ---- */

void relaystat_wipe(struct meshd *m)
{
	const void *key;
	size_t it = 0;
	void *p;

	while ((p = map_next(&m->relay_seen, &it, &key)))
		free(p);
	map_wipe(&m->relay_seen);
}

static struct meshd_relay_seen *seen_of(struct meshd *m, uint32_t vni)
{
	struct meshd_relay_seen *s = map_get(&m->relay_seen, &vni);

	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	if (s && map_put(&m->relay_seen, &vni, s) < 0) {
		free(s);
		return NULL;
	}
	return s;
}

void relaystat_collect(struct meshd *m)
{
	const struct relayserver *r = engine_relay(m->engine);
	const struct relayserver_session *s = NULL;

	while ((s = relayserver_next(r, s ? s->vni : 0))) {
		const uint32_t vni = s->vni;
		struct dp_relay_stats st;
		struct meshd_relay_seen *seen;

		if (dp_relay_stats(m->dp, vni, &st) < 0 || !(seen = seen_of(m, vni)))
			continue;
		for (unsigned i = 0; i < 2; i++) {
			if (st.pkts[i] > seen->pkts[i])
				engine_relay_used(m->engine, vni, i, st.last[i], st.pkts[i] - seen->pkts[i],
						  st.bytes[i] - seen->bytes[i]);
			seen->pkts[i] = st.pkts[i];
			seen->bytes[i] = st.bytes[i];
		}
	}
}

void relaystat_rate(struct meshd *m)
{
	const struct relayserver *r = engine_relay(m->engine);
	uint64_t bytes = 0;

	for (unsigned i = 0; i < 4; i++)
		bytes += r->n.fwd_bytes[i / 2][i % 2];
	m->relay_bytes_s = (bytes - m->relay_bytes) / MESHD_RELAY_STATS_S;
	m->relay_bytes = bytes;
}

void relaystat_watch(struct meshd *m, struct mono now)
{
	if (m->is_relaying)
		return;
	m->is_relaying = true;
	relaystat_rate(m); /* counts from here */
	m->relay_bytes_s = 0;
	loop_timer_set(m->loop, &m->relay_timer, mono_add_s(now, MESHD_RELAY_STATS_S));
}

/* ---- metrics ---- */

static void take_counter(void *ctx, const char *name, uint64_t value)
{
	struct meshd *m = ctx;
	struct metrics_counter *c;

	if (m->n_counters == MESHD_COUNTERS_MAX)
		return;
	c = &m->counters[m->n_counters];
	free((void *)(uintptr_t)c->name);
	*c = (struct metrics_counter){ .name = strdup(name), .value = value };
	if (c->name)
		m->n_counters++;
}

static void add_dp_counters(struct meshd *m, const struct dp_counters *c)
{
	char name[64];

	for (unsigned i = 0; i < DP_IN_N; i++) {
		(void)snprintf(name, sizeof(name), "meshd_dp_in_drop_%s", dp_in_drop_name((enum dp_in_drop)i));
		take_counter(m, name, c->in_dropped[i]);
	}
	for (unsigned i = 0; i < DP_OUT_N; i++) {
		(void)snprintf(name, sizeof(name), "meshd_dp_out_drop_%s", dp_out_drop_name((enum dp_out_drop)i));
		take_counter(m, name, c->out_dropped[i]);
	}
	take_counter(m, "meshd_dp_rxq_overflow", c->rxq_overflow);
	take_counter(m, "meshd_dp_relay_rxq_overflow", c->relay_rxq_overflow);
	take_counter(m, "meshd_dp_gso_fallbacks", c->gso_fallbacks);
	take_counter(m, "meshd_dp_tun_fallbacks", c->tun_fallbacks);
	take_counter(m, "meshd_dp_bad_checksums", c->bad_csums);
	take_counter(m, "meshd_dp_duplicates_limited", c->dups_limited);
	take_counter(m, "meshd_dp_tun_reads", c->tun_reads);
	take_counter(m, "meshd_dp_tun_writes", c->tun_writes);
	take_counter(m, "meshd_dp_udp_receives", c->udp_recvs);
	take_counter(m, "meshd_dp_udp_sends", c->udp_sends);
}

static void fill_paths(struct metrics_input *in, const struct dp_counters *c)
{
	static const enum metrics_path to[DP_PATH_N] = { [DP_DIRECT4] = METRICS_DIRECT_V4,
							 [DP_DIRECT6] = METRICS_DIRECT_V6,
							 [DP_DERP] = METRICS_DERP,
							 [DP_RELAY4] = METRICS_PEER_RELAY_V4,
							 [DP_RELAY6] = METRICS_PEER_RELAY_V6 };

	for (unsigned i = 0; i < DP_PATH_N; i++) {
		in->in[to[i]] = (struct metrics_count){ c->in_pkts[i], c->in_bytes[i] };
		in->out[to[i]] = (struct metrics_count){ c->out_pkts[i], c->out_bytes[i] };
	}
	for (unsigned i = 0; i < DP_IN_N; i++)
		*(i == DP_IN_ACL ? &in->in_dropped_acl : &in->in_dropped_error) += c->in_dropped[i];
	for (unsigned i = 0; i < DP_OUT_N; i++) {
		enum metrics_out_drop d = i == DP_OUT_MULTICAST	 ? METRICS_OUT_MULTICAST :
					  i == DP_OUT_LINK_LOCAL ? METRICS_OUT_LINK_LOCAL :
					  i == DP_OUT_TOO_SHORT	 ? METRICS_OUT_TOO_SHORT :
					  i == DP_OUT_PROTOCOL	 ? METRICS_OUT_UNKNOWN_PROTOCOL :
								   METRICS_OUT_ERROR;

		in->out_dropped[d] += c->out_dropped[i];
	}
}

static void fill_relay(struct meshd *m, struct metrics_input *in, const struct dp_counters *c)
{
	const struct relayserver *r = engine_relay(m->engine);

	in->relay_ran = m->relay_ran;
	for (unsigned i = 0; i < 2; i++)
		for (unsigned j = 0; j < 2; j++)
			in->relay_forwarded[i][j] =
				(struct metrics_count){ c->relay_pkts[i][j] + r->n.own_pkts[i][j],
							c->relay_bytes[i][j] + r->n.own_bytes[i][j] };
	in->relay_open = r->n_bound;
	in->relay_connecting = r->n_live - r->n_bound;
	in->relay_sessions_total = r->n.allocated;
	in->relay_dropped[METRICS_RELAY_UNKNOWN_VNI] =
		c->relay_dropped[DP_RELAY_UNKNOWN_VNI] + r->n.drops[RELAYSERVER_DROP_UNKNOWN_VNI];
	in->relay_dropped[METRICS_RELAY_BAD_SOURCE] =
		c->relay_dropped[DP_RELAY_BAD_SOURCE] + r->n.drops[RELAYSERVER_DROP_STRANGER];
	in->relay_dropped[METRICS_RELAY_NOT_BOUND] =
		c->relay_dropped[DP_RELAY_NOT_BOUND] + r->n.drops[RELAYSERVER_DROP_NOT_BOUND];
	in->relay_dropped[METRICS_RELAY_RATE_LIMIT] =
		c->relay_dropped[DP_RELAY_RATE_LIMIT] + r->n.drops[RELAYSERVER_DROP_RATE] +
		r->n.drops[RELAYSERVER_DROP_BANDWIDTH];
	in->relay_dropped[METRICS_RELAY_SEND_ERROR] = c->relay_dropped[DP_RELAY_SEND_ERROR];
}

static void fill_latencies(struct meshd *m, struct metrics_input *in)
{
	size_t n = 0;

	relayinfo_wipe(&m->relayinfo);
	m->relayinfo = (struct relayinfo){ 0 };
	if (engine_relayinfo(m->engine, loop_now(m->loop), &m->relayinfo) < 0)
		return;
	for (size_t i = 0; i < m->relayinfo.n_servers && n < MESHD_RELAYS_SHOWN; i++) {
		const struct relayinfo_server *s = &m->relayinfo.servers[i];

		if (s->in_use_by)
			m->latencies[n++] = (struct metrics_latency){ s->name, s->latency_ms / 1e3 };
	}
	in->relay_latency = m->latencies;
	in->n_relay_latency = n;
}

int backend_metrics(void *ctx, struct metrics_input *in)
{
	static const enum metrics_rung rung[4] = { [PATH_NONE] = METRICS_RUNG_NONE,
						   [PATH_DIRECT] = METRICS_RUNG_DIRECT,
						   [PATH_RELAY] = METRICS_RUNG_PEER_RELAY,
						   [PATH_DERP] = METRICS_RUNG_DERP };
	struct meshd *m = ctx;
	struct engine_figures f;
	struct dp_counters c;
	struct status s;

	dp_counters(m->dp, &c);
	engine_figures(m->engine, loop_now(m->loop), &f);
	relaystat_collect(m);
	*in = (struct metrics_input){ .advertised_routes = f.advertised_routes,
				      .approved_routes = f.approved_routes,
				      .home_derp = f.home_derp,
				      .peers_idle = f.peers_idle,
				      .peers_offline = f.peers_offline,
				      .control_connected = f.control_connected,
				      .netmap_age_s = f.netmap_age_s,
				      .key_expiry_s = f.key_expiry_s };
	in->peers[METRICS_DIRECT_V4] = f.peers_by[PATH_DIRECT];
	in->peers[METRICS_PEER_RELAY_V4] = f.peers_by[PATH_RELAY];
	in->peers[METRICS_DERP] = f.peers_by[PATH_DERP];
	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j < 4; j++)
			in->path_changes[rung[i]][rung[j]] = f.path_changes[i][j];
	fill_paths(in, &c);
	fill_relay(m, in, &c);
	fill_latencies(m, in);
	if (engine_status(m->engine, loop_now(m->loop), false, &s) == 0) {
		in->health_warnings = s.n_health;
		status_wipe(&s);
	}
	m->n_counters = 0;
	engine_counters(m->engine, take_counter, m);
	add_dp_counters(m, &c);
	in->counters = m->counters;
	in->n_counters = m->n_counters;
	return 0;
}

const char *backend_unhealthy(void *ctx)
{
	struct meshd *m = ctx;
	const struct engine_state st = engine_state(m->engine);
	const struct prefs *p = engine_prefs(m->engine);

	if (st.state != STATE_RUNNING)
		(void)snprintf(m->unhealthy, sizeof(m->unhealthy), "state is %s", status_state_name(st.state));
	else if (p->has_relay_port && engine_relay(m->engine)->state != RELAYSERVER_ON)
		(void)snprintf(m->unhealthy, sizeof(m->unhealthy), "the relay's port is not bound");
	else
		return NULL;
	return m->unhealthy;
}

/* ---- whois ---- */

static const struct map_node *node_by_route(const struct netmap *map, const struct ip *ip)
{
	const struct map_node *n, *best = NULL;
	unsigned bits = 0;
	size_t it = 0;

	while ((n = netmap_next(map, &it))) {
		for (size_t i = 0; i < n->n_allowed_ips; i++) {
			if (!prefix_contains(&n->allowed_ips[i], ip) || (best && n->allowed_ips[i].bits <= bits))
				continue;
			best = n;
			bits = n->allowed_ips[i].bits;
		}
	}
	return best && bits > 0 ? best : NULL;
}

static void add_cap(struct meshd *m, struct api_whois *who, const struct map_cap *c)
{
	for (size_t i = 0; i < who->n_caps; i++)
		if (strcmp(who->caps[i].name, c->name) == 0)
			return;
	if (who->n_caps == MESHD_WHOIS_CAPS_MAX)
		return;
	m->whois_caps[who->n_caps++] = *c; /* borrows */
	who->caps = m->whois_caps;
}

static void collect_caps(struct meshd *m, const struct netmap *map, struct api_whois *who)
{
	const struct filter_rules *rules = netmap_filter(map);
	const struct map_node *self = netmap_self(map);

	who->caps = m->whois_caps;
	for (size_t i = 0; i < rules->n_rules; i++) {
		const struct filter_rules one = { .rules = &rules->rules[i], .n_rules = 1 };

		for (size_t g = 0; g < rules->rules[i].n_grants; g++) {
			const struct filter_grant *grant = &rules->rules[i].grants[g];

			for (size_t k = 0; k < grant->n_caps; k++)
				for (size_t a = 0; a < who->node->n_addrs && a < self->n_addrs; a++)
					if (filter_rules_have_cap(&one, &who->node->addrs[a].ip, who->node,
								  &self->addrs[a].ip, grant->caps[k].name))
						add_cap(m, who, &grant->caps[k]);
		}
	}
}

int whois_find(struct meshd *m, const struct ip *ip, const struct node_key *key, struct api_whois *who)
{
	const struct netmap *map = engine_netmap(m->engine);

	*who = (struct api_whois){ 0 };
	if (!map)
		return -ENOENT;
	if (ip && ip_is_set(ip))
		who->node = netmap_by_ip(map, ip);
	else if (key)
		who->node = netmap_peer_by_key(map, key);
	if (!who->node && ip && ip_is_set(ip))
		who->node = node_by_route(map, ip);
	if (!who->node)
		return -ENOENT;
	who->user = netmap_user(map, who->node->user);
	collect_caps(m, map, who);
	return 0;
}
