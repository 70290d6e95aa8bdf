/* SPDX-License-Identifier: MIT */
/* What this node can be reached by: network reports, own endpoints, the home region. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine_int.h"

static struct netcheck_host host_abilities(const struct engine *e, bool relay)
{
	struct netcheck_host h = { .only_stun = relay };

	for (size_t i = 0; i < e->n_addrs; i++) {
		h.has_ip4 |= e->addrs[i].family == IP_V4;
		h.has_ip6 |= e->addrs[i].family == IP_V6 && !ip_is_link_local(&e->addrs[i]);
	}
	h.os_has_ipv6 = e->port6 != 0;
	return h;
}

void en_start(struct engine *e, struct mono now, bool full)
{
	const struct netcheck_host h = host_abilities(e, false);

	if (!e->is_started || !e->prefs.want_running)
		return;
	portmapper_want(&e->pm, now, full);
	netcheck_start(e->net, now, &h, full);
	e->next_stun = mono_add_ms(now, ENGINE_STUN_MIN_S * 1000 +
						(int64_t)env_below(e->env, ENGINE_STUN_SPREAD_S * 1000));
}

void en_start_relay(struct engine *e, struct mono now)
{
	const struct netcheck_host h = host_abilities(e, true);

	netcheck_start(e->relay_net, now, &h, false);
	e->next_relay_stun = mono_add_ms(now, ENGINE_STUN_MIN_S * 1000 +
						      (int64_t)env_below(e->env, ENGINE_STUN_SPREAD_S * 1000));
}

static void set_home(struct engine *e, struct mono now, uint32_t region);

void en_derp_map(struct engine *e, struct mono now, const struct derp_map *map)
{
	if (netcheck_set_map(e->net, map) < 0 || netcheck_set_map(e->relay_net, map) < 0 ||
	    derpclient_set_map(&e->derp, now, map) < 0)
		e->out_dropped++;
	if (e->home && !derp_map_region(map, e->home))
		e->home = 0;
	/* Where there is no choice nothing has to be measured: without UDP that would take seconds. */
	if (!e->home && map->n_regions == 1)
		set_home(e, now, netcheck_fallback(map, e->node_key.b));
	e->home_due = e->home || !map->n_regions ? MONO_NEVER : mono_add_ms(now, ENGINE_HOME_MS);
	en_start(e, now, true);
	if (e->relays.state == RELAYSERVER_ON)
		en_start_relay(e, now);
}

/* ---- own endpoints (path-selection 8) ---- */

/* Link-local IPv4 and unique local IPv6 are announced only by a host that has nothing else. */
static bool is_second_choice(const struct ip *ip)
{
	return ip->family == IP_V4 ? ip_is_link_local(ip) : ip_is_private(ip);
}

/* Temporary addresses pile up: two of a subnet are enough. */
static bool has_two_of_subnet(const struct ep *eps, size_t n, const struct ip *ip)
{
	const struct prefix net = { .ip = *ip, .bits = 64 };
	size_t seen = 0;

	for (size_t i = 0; ip->family == IP_V6 && i < n; i++)
		seen += prefix_contains(&net, &eps[i].ip);
	return seen >= 2;
}

size_t en_local_eps(const struct engine *e, uint16_t port4, uint16_t port6, struct ep *eps, size_t max)
{
	size_t n = 0;

	for (int choice = 0; choice < 2 && n == 0; choice++) {
		for (size_t i = 0; i < e->n_addrs && n < max; i++) {
			const struct ip *ip = &e->addrs[i];

			if ((ip->family == IP_V6 && ip_is_link_local(ip)) || is_second_choice(ip) != (choice == 1) ||
			    has_two_of_subnet(eps, n, ip))
				continue;
			eps[n++] = (struct ep){ .ip = *ip, .port = ip->family == IP_V4 ? port4 : port6 };
		}
	}
	return n;
}

struct ep_list {
	struct ep eps[MAP_ENDPOINTS_MAX];
	uint8_t types[MAP_ENDPOINTS_MAX];
	size_t n;
};

/* First occurrence wins; ports that are not open make no endpoint. */
static void add_ep(struct ep_list *l, const struct ep *ep, uint8_t type)
{
	if (!ep_is_set(ep) || !ep->port || l->n == MAP_ENDPOINTS_MAX)
		return;
	for (size_t i = 0; i < l->n; i++)
		if (ep_eq(&l->eps[i], ep))
			return;
	l->eps[l->n] = *ep;
	l->types[l->n++] = type;
}

/* Learned endpoints stay announced for a while: a NAT mapping outlives one lost report. */
static void remember_ep(struct engine *e, struct mono now, const struct ep *ep, uint8_t type)
{
	struct engine_cached_ep *c = NULL;

	for (size_t i = 0; i < e->n_cached_eps; i++)
		if (ep_eq(&e->cached_eps[i].ep, ep))
			c = &e->cached_eps[i];
	if (!c && e->n_cached_eps < ENGINE_EP_CACHE_MAX)
		c = &e->cached_eps[e->n_cached_eps++];
	if (!c) { /* full: the one seen longest ago goes */
		c = &e->cached_eps[0];
		for (size_t i = 1; i < e->n_cached_eps; i++)
			if (mono_before(e->cached_eps[i].seen, c->seen))
				c = &e->cached_eps[i];
	}
	*c = (struct engine_cached_ep){ .ep = *ep, .type = type, .seen = now };
}

static void expire_eps(struct engine *e, struct mono now)
{
	size_t n = 0;

	for (size_t i = 0; i < e->n_cached_eps; i++)
		if (mono_since_ns(now, e->cached_eps[i].seen) < ENGINE_EP_CACHE_S * NS_PER_S)
			e->cached_eps[n++] = e->cached_eps[i];
	e->n_cached_eps = n;
}

static void collect_eps(struct engine *e, struct mono now, struct ep_list *l)
{
	const struct netcheck_report *r = netcheck_report(e->net);
	struct ep eps[ENGINE_ADDRS_MAX];
	uint8_t types[ENGINE_ADDRS_MAX];
	size_t n = r ? netcheck_endpoints(r, e->port4, eps, types, ENGINE_ADDRS_MAX) : 0;

	add_ep(l, &e->portmap_told, EP_TYPE_PORTMAP);
	for (size_t i = 0; i < n; i++) {
		add_ep(l, &eps[i], types[i]);
		remember_ep(e, now, &eps[i], types[i]);
	}
	for (size_t i = 0; i < e->n_public; i++) {
		const struct ep ep = { .ip = e->public_ips[i],
				       .port = e->public_ips[i].family == IP_V4 ? e->port4 : e->port6 };

		add_ep(l, &ep, EP_TYPE_EXPLICIT);
	}
	expire_eps(e, now);
	for (size_t i = 0; i < e->n_cached_eps; i++)
		add_ep(l, &e->cached_eps[i].ep, e->cached_eps[i].type);
	for (size_t i = 0; i < e->prefs.n_static_endpoints; i++)
		add_ep(l, &e->prefs.static_endpoints[i], EP_TYPE_EXPLICIT);
	n = en_local_eps(e, e->port4, e->port6, eps, ENGINE_ADDRS_MAX);
	for (size_t i = 0; i < n; i++)
		add_ep(l, &eps[i], EP_TYPE_LOCAL);
}

void en_endpoints(struct engine *e, struct mono now)
{
	struct ep_list l = { .n = 0 };

	collect_eps(e, now, &l);
	pathself_set_endpoints(&e->self, now, l.eps, l.n);
	ctlclient_set_endpoints(e->ctl, now, l.eps, l.types, l.n);
	for (size_t i = 0; i < e->n_slots; i++) {
		if (!e->slots[i] || !e->slots[i]->ladder)
			continue;
		ladder_input_own_endpoints(e->slots[i]->ladder, now);
		ep_touch(e, e->slots[i]);
	}
}

/* A peer told from where it hears us: an endpoint that a STUN report may have missed. */
void en_seen_as(struct engine *e, struct mono now, const struct ep *ep)
{
	for (size_t i = 0; i < e->n_addrs; i++)
		if (ip_eq(&e->addrs[i], &ep->ip))
			return;
	remember_ep(e, now, ep, EP_TYPE_STUN);
}

/* ---- home region ---- */

static void set_home(struct engine *e, struct mono now, uint32_t region)
{
	if (!region || region == e->home)
		return;
	/* No change while the control server cannot tell the peers, unless there is none at all. */
	if (e->home && !ctlclient_status(e->ctl).is_live)
		return;
	log_info(e->env->log, "derp: home is region %u", region);
	e->home = region;
	e->home_lost = derpclient_state(&e->derp, region) == DERPCLIENT_UP ? MONO_NEVER : now;
	netcheck_set_home(e->net, region);
	derpclient_set_home(&e->derp, now, region);
	ctlclient_set_home(e->ctl, now, region);
	e->state_due = true;
}

int engine_pick_derp(struct engine *e, struct mono now)
{
	const struct derp_map *map = e->map ? netmap_derp(e->map) : NULL;
	size_t start = map && map->n_regions ? (size_t)env_below(e->env, map->n_regions) : 0;

	for (size_t i = 0; map && i < map->n_regions; i++) {
		const uint32_t id = map->regions[(start + i) % map->n_regions].id;

		if (id == e->home)
			continue;
		set_home(e, now, id);
		return 0;
	}
	return -ENOENT;
}

/* The region that the control server serves itself, if there is one: TCP gets there, for the map came from it. */
static uint32_t region_of_control(const struct engine *e, const struct derp_map *map)
{
	const char *url = e->prefs.control_url ? strstr(e->prefs.control_url, "://") : NULL;
	const char *host = url ? url + 3 : "";

	host += *host == '[';
	for (size_t i = 0; i < map->n_regions; i++) {
		const struct derp_region *r = &map->regions[i];

		for (size_t k = 0; k < r->n_nodes; k++) {
			const size_t len = strlen(r->nodes[k].host_name);

			if (len && !r->nodes[k].stun_only && strncmp(host, r->nodes[k].host_name, len) == 0 &&
			    strchr("]:/", host[len]))
				return r->id;
		}
	}
	return 0;
}

/* Without UDP, or with a region that does not answer, a report takes 3 to 5 s, in which nobody could reach us: the
 * first home is chosen by what is known by now. The report may choose another. */
static void choose_first_home(struct engine *e, struct mono now)
{
	const struct derp_map *map = e->map ? netmap_derp(e->map) : NULL;
	uint32_t region = netcheck_best_so_far(e->net);

	e->home_due = MONO_NEVER;
	if (e->home || !map)
		return;
	if (!region)
		region = region_of_control(e, map);
	set_home(e, now, region ? region : netcheck_fallback(map, e->node_key.b));
}

static void report_done(struct engine *e, struct mono now)
{
	const struct netcheck_report *r = netcheck_report(e->net);
	uint32_t region = r ? r->preferred : 0;

	if (!region && !e->home && e->map)
		region = netcheck_fallback(netmap_derp(e->map), e->node_key.b);
	set_home(e, now, region);
	en_endpoints(e, now);
	pathself_set_stun(&e->self, now, r && r->udp);
	em_hostinfo(e, now);
	if (e->netcheck_asked)
		(void)eq_push(e, ENGINE_NETCHECK_DONE, NULL, 0);
	e->netcheck_asked = false;
}

static void relay_report_done(struct engine *e)
{
	const struct netcheck_report *r = netcheck_report(e->relay_net);
	struct ep eps[RELAYSERVER_ADDRS_MAX];
	uint8_t types[RELAYSERVER_ADDRS_MAX];
	size_t n = r ? netcheck_endpoints(r, e->relays.port[0], eps, types, RELAYSERVER_ADDRS_MAX) : 0;

	relayserver_set_addrs(&e->relays, RELAYSERVER_STUN, eps, n);
}

/* ---- machine ---- */

static void stream_output(struct engine *e, const struct netcheck_out *n)
{
	uint32_t id;
	struct engine_out *o;
	struct engine_item *item;

	if (n->kind == NETCHECK_OPEN) {
		id = edp_stream(e, ENGINE_OWNER_NETCHECK, n->stream);
		o = id ? eq_push(e, ENGINE_OPEN, NULL, 0) : NULL;
		if (!o)
			return; /* the report's own limit ends the wait */
		item = CONTAINER_OF(o, struct engine_item, out);
		item->addr = *n->addr;
		o->addr = &item->addr;
		o->stream = id;
		return;
	}
	id = edp_id(e, ENGINE_OWNER_NETCHECK, n->stream);
	if (!id)
		return;
	o = n->kind == NETCHECK_WRITE ? eq_push(e, ENGINE_STREAM_SEND, n->data, n->size) :
					eq_push(e, ENGINE_STREAM_CLOSE, NULL, 0);
	if (o)
		o->stream = id;
	if (n->kind == NETCHECK_CLOSE)
		edp_forget(e, id);
}

static void net_output(struct engine *e, struct mono now, struct netcheck *net, const struct netcheck_out *n)
{
	struct engine_out *o;

	switch (n->kind) {
	case NETCHECK_SEND:
		o = eq_push(e, ENGINE_SEND, n->data, n->size);
		if (!o)
			break;
		o->to = path_direct(&n->to);
		o->sock = net == e->relay_net ? ENGINE_SOCK_RELAY : ENGINE_SOCK_MAIN;
		break;
	case NETCHECK_RESOLVE:
		o = eq_push(e, ENGINE_RESOLVE, n->name, strlen(n->name) + 1);
		if (o)
			o->name = (const char *)o->data;
		break;
	case NETCHECK_OPEN:
	case NETCHECK_WRITE:
	case NETCHECK_CLOSE:
		stream_output(e, n);
		break;
	case NETCHECK_DONE:
		if (net == e->net)
			report_done(e, now);
		else
			relay_report_done(e);
		break;
	}
}

void en_pump(struct engine *e, struct mono now)
{
	struct netcheck_out n;

	while (netcheck_poll(e->net, now, &n))
		net_output(e, now, e->net, &n);
	while (netcheck_poll(e->relay_net, now, &n))
		net_output(e, now, e->relay_net, &n);
}

/* Reports run while somebody talks: an idle node sends nothing (path-selection 8). */
static bool is_active(const struct engine *e, struct mono now)
{
	for (size_t i = 0; i < e->n_slots; i++) {
		const struct epeer *p = e->slots[i];

		if (p && !mono_is_zero(p->last_sent) &&
		    mono_since_ns(now, p->last_sent) < ENGINE_ACTIVE_S * NS_PER_S)
			return true;
	}
	return false;
}

void en_sent(struct engine *e, struct mono now, struct epeer *p)
{
	p->last_sent = now;
	if (mono_is_never(e->next_stun))
		e->next_stun = now;
}

void en_tick(struct engine *e, struct mono now)
{
	for (size_t i = 0; e->map && i < netmap_derp(e->map)->n_regions; i++) {
		uint32_t region = netmap_derp(e->map)->regions[i].id;

		netcheck_heard(e->net, region, derpclient_heard(&e->derp, region));
	}
	netcheck_tick(e->net, now);
	netcheck_tick(e->relay_net, now);
	if (mono_due(e->home_due, now))
		choose_first_home(e, now);
	if (mono_due(e->next_stun, now)) {
		if (is_active(e, now))
			en_start(e, now, false);
		else
			e->next_stun = MONO_NEVER; /* until en_sent(): a node at rest is not woken to find that it rests */
	}
	if (e->relays.state == RELAYSERVER_ON && mono_due(e->next_relay_stun, now))
		en_start_relay(e, now);
}

struct mono en_deadline(const struct engine *e)
{
	struct mono d = mono_min(netcheck_deadline(e->net), netcheck_deadline(e->relay_net));

	d = mono_min(d, e->home_due);
	if (!e->is_started || !e->prefs.want_running)
		return d;
	if (e->relays.state == RELAYSERVER_ON)
		d = mono_min(d, e->next_relay_stun);
	return e->map ? mono_min(d, e->next_stun) : d;
}

/* ---- inputs ---- */

void engine_input_stun(struct engine *e, struct mono now, uint32_t sock, const struct ep *from,
		       const uint8_t *data, size_t size)
{
	(void)from;
	/* The relay may share the main socket: the transaction id tells whose answer it is. */
	if (netcheck_input(sock == ENGINE_SOCK_MAIN ? e->net : e->relay_net, now, data, size) == -ENOENT)
		(void)!netcheck_input(sock == ENGINE_SOCK_MAIN ? e->relay_net : e->net, now, data, size);
}

void engine_resolved(struct engine *e, struct mono now, const char *name, const struct ip *ip4,
		     const struct ip *ip6)
{
	netcheck_resolved(e->net, now, name, ip4, ip6);
	netcheck_resolved(e->relay_net, now, name, ip4, ip6);
}

void engine_set_ports(struct engine *e, struct mono now, uint16_t port4, uint16_t port6)
{
	if (e->port4 == port4 && e->port6 == port6)
		return;
	e->port4 = port4;
	e->port6 = port6;
	e->self.has_udp = port4 || port6;
	epm_update(e, now);
	en_endpoints(e, now);
	en_start(e, now, true);
}

void engine_set_addrs(struct engine *e, struct mono now, const struct ip *addrs, size_t n, bool is_major)
{
	n = n < ENGINE_ADDRS_MAX ? n : ENGINE_ADDRS_MAX;
	if (n == e->n_addrs && !is_major && (!n || memcmp(e->addrs, addrs, n * sizeof(*addrs)) == 0))
		return;
	if (n)
		memcpy(e->addrs, addrs, n * sizeof(*addrs));
	e->n_addrs = n;
	pathself_set_ifaddrs(&e->self, addrs, n);
	er_addrs(e, now);
	if (is_major) {
		e->n_cached_eps = 0;
		netcheck_forget(e->net);
		netcheck_forget(e->relay_net);
	}
	/* The new addresses are announced at once; what STUN finds follows. */
	en_endpoints(e, now);
	for (size_t i = 0; i < e->n_slots; i++) {
		if (!e->slots[i] || !e->slots[i]->ladder)
			continue;
		ladder_input_link(e->slots[i]->ladder, now, is_major);
		ep_touch(e, e->slots[i]);
	}
	derpclient_set_addrs(&e->derp, now, addrs, n);
	if (is_major && e->is_started) {
		relayclient_input_link(&e->relayc, now);
		derpclient_net_changed(&e->derp, now);
		ctlclient_relink(e->ctl, now);
	}
	en_start(e, now, is_major);
	e->next_relay_stun = now;
}

void engine_set_public(struct engine *e, struct mono now, const struct ip *addrs, size_t n)
{
	e->n_public = n < ARRAY_LEN(e->public_ips) ? n : ARRAY_LEN(e->public_ips);
	if (e->n_public)
		memcpy(e->public_ips, addrs, e->n_public * sizeof(*addrs));
	er_addrs(e, now);
	en_endpoints(e, now);
}

void engine_set_own_ports(struct engine *e, const uint16_t *ports, size_t n)
{
	e->n_own_ports = n < ARRAY_LEN(e->own_ports) ? n : ARRAY_LEN(e->own_ports);
	if (e->n_own_ports)
		memcpy(e->own_ports, ports, e->n_own_ports * sizeof(*ports));
	relayserver_set_own(&e->relays, e->addrs, e->n_addrs, e->own_ports, e->n_own_ports);
}

void engine_send_failed(struct engine *e, struct mono now, const struct path_addr *to, int err)
{
	netcheck_send_failed(e->net, &to->ep);
	if (err != -ENETUNREACH && err != -EHOSTUNREACH && err != -EAFNOSUPPORT && err != -EADDRNOTAVAIL)
		return;
	for (size_t i = 0; i < e->n_slots; i++) {
		struct epeer *p = e->slots[i];
		const struct prober_cand *c =
			p && p->ladder ? prober_find(&p->ladder->prober, &to->ep) : NULL;

		if (!p || !p->ladder || (!c && !path_eq(&p->targets.first, to)))
			continue;
		ladder_input_send_failed(p->ladder, now, to);
		ep_touch(e, p);
	}
}

void engine_netcheck(struct engine *e, struct mono now)
{
	e->netcheck_asked = true;
	en_start(e, now, true);
	if (!e->is_started || !e->prefs.want_running)
		(void)eq_push(e, ENGINE_NETCHECK_DONE, NULL, 0);
}

void engine_restun(struct engine *e, struct mono now, bool rebind)
{
	if (rebind) {
		const size_t n = e->n_addrs;
		struct ip addrs[ENGINE_ADDRS_MAX];

		memcpy(addrs, e->addrs, sizeof(addrs));
		engine_set_addrs(e, now, addrs, n, true);
	}
	en_start(e, now, true);
}
