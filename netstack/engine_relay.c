/* SPDX-License-Identifier: MIT */
/* Peer relaying, both roles: the server of this node, and which nodes may relay for it. */
#include <errno.h>
#include <string.h>

#include "engine_int.h"
#include "wire/geneve.h"

#define CAP_RELAY        "tailscale.com/cap/relay"
#define CAP_RELAY_TARGET "tailscale.com/cap/relay-target"

/* A port that is taken may be free later: a process that ends, another one's first socket at the start of the host. */
enum {
	RELAY_AGAIN_S = 60,
	CHOSEN_PORT_TRIES = 3, /* then a port of an earlier run is given up, and the firewall rules for it */
};

/* ---- permission (peer-relay 3) ---- */

static bool holds(const struct engine *e, const struct map_node *src, const struct map_node *dst,
		  const char *cap)
{
	struct ip a, b;

	return !src->unsigned_peerapi_only && ep_cap_pair(src, dst, &a, &b) &&
	       filter_rules_have_cap(netmap_filter(e->map), &a, src, &b, cap);
}

bool er_may_allocate(const struct engine *e, const struct map_node *node)
{
	return e->map && holds(e, node, netmap_self(e->map), CAP_RELAY);
}

bool er_is_target(const struct engine *e, const struct map_node *node)
{
	const struct map_node *self = e->map ? netmap_self(e->map) : NULL;

	return self && (node == self || node->cap >= DISCO_CAP_RELAY) && holds(e, node, self, CAP_RELAY_TARGET);
}

bool engine_relay_disabled(const struct engine *e)
{
	return e->map && map_node_has_cap(netmap_self(e->map), "disable-relay-server");
}

void er_candidates(struct engine *e, struct mono now, bool is_event)
{
	struct relayclient_server servers[RELAYCLIENT_SERVERS_MAX];
	const struct map_node *self = e->map ? netmap_self(e->map) : NULL;
	size_t n = 0;
	bool added;

	e->relays_due = false;
	if (self)
		relayclient_set_enabled(&e->relayc, !map_node_has_cap(self, "disable-relay-client") &&
							    !map_node_has_cap(self, "only-tcp-443"));
	for (size_t i = 0; i < e->n_slots; i++) {
		struct epeer *p = e->slots[i];

		if (!p)
			continue;
		p->is_relay = er_is_target(e, p->node);
		if (p->is_relay && p->is_usable && n < RELAYCLIENT_SERVERS_MAX)
			servers[n++] = (struct relayclient_server){ .node = p->key, .disco = p->disco };
	}
	if (self && n < RELAYCLIENT_SERVERS_MAX && e->relays.state == RELAYSERVER_ON && er_is_target(e, self))
		servers[n++] = (struct relayclient_server){ .node = e->node_key,
							    .disco = e->disco,
							    .is_self = true };
	added = relayclient_set_servers(&e->relayc, servers, n);
	for (size_t i = 0; i < e->n_slots; i++) {
		struct epeer *p = e->slots[i];

		if (!p || !p->ladder)
			continue;
		ladder_input_relays(p->ladder, now, relayclient_n_servers(&e->relayc, &p->key),
				    added || is_event);
		ep_touch(e, p);
	}
}

void er_discover(struct engine *e, struct mono now, struct epeer *p, const struct relay_path *known, size_t n)
{
	const struct relayclient_peer rp = { .node = p->key, .disco = p->disco };

	relayclient_discover(&e->relayc, now, &rp, known, n);
}

void er_learn_server(struct engine *e, const struct disco_key *server, int64_t node_id)
{
	unsigned i = 0;

	while (i < ENGINE_RELAY_NAMES && !disco_key_eq(&e->relay_names[i].server, server))
		i++;
	if (i == ENGINE_RELAY_NAMES)
		i = e->next_relay_name++ % ENGINE_RELAY_NAMES;
	e->relay_names[i].server = *server;
	e->relay_names[i].node_id = node_id;
}

/* ---- the server ---- */

void er_set(struct engine *e, struct mono now)
{
	uint16_t port = e->prefs.relay_port ? e->prefs.relay_port : e->prefs.bound_relay_port;
	bool on = e->prefs.has_relay_port && e->prefs.want_running && !engine_relay_disabled(e);
	const bool was_on = e->relays.state == RELAYSERVER_ON;

	relayserver_set(&e->relays, now, on, on ? port : 0);
	if (was_on && e->relays.state != RELAYSERVER_ON)
		er_candidates(e, now, false); /* this node asked itself, too */
	epm_update(e, now);
	er_addrs(e, now);
}

void er_addrs(struct engine *e, struct mono now)
{
	struct ep eps[ENGINE_ADDRS_MAX];
	size_t n;

	(void)now;
	relayserver_set_addrs(&e->relays, RELAYSERVER_STATIC, e->prefs.relay_endpoints,
			      e->prefs.n_relay_endpoints);
	n = en_local_eps(e, 0, 0, eps, ENGINE_ADDRS_MAX);
	relayserver_set_addrs(&e->relays, RELAYSERVER_LOCAL, eps, n);
	for (n = 0; n < e->n_public; n++)
		eps[n] = (struct ep){ .ip = e->public_ips[n] };
	relayserver_set_addrs(&e->relays, RELAYSERVER_PUBLIC, eps, n);
	epm_relay_addrs(e);
	relayserver_set_own(&e->relays, e->addrs, e->n_addrs, e->own_ports, e->n_own_ports);
}

static void respond(struct engine *e, struct mono now, struct epeer *p,
		    const struct disco_alloc_request *req, const struct relayserver_endpoint *r)
{
	struct disco_msg m = { .type = DISCO_ALLOC_RESPONSE };
	struct disco_relay_ep *ep = &m.alloc_response.ep;
	struct path_addr path;

	m.alloc_response.generation = req->generation;
	ep->server = r->server;
	ep->client[0] = r->clients[0];
	ep->client[1] = r->clients[1];
	ep->lamport_id = r->lamport_id;
	ep->vni = r->vni;
	ep->bind_lifetime_ns = (int64_t)r->bind_life_s * NS_PER_S;
	ep->steady_lifetime_ns = (int64_t)r->steady_life_s * NS_PER_S;
	for (size_t i = 0; i < r->n_addrs && i < DISCO_EPS_MAX; i++)
		ep->addrs.eps[ep->addrs.n_eps++] = r->addrs[i];
	ep->addrs.n_total = ep->addrs.n_eps;
	if (!p) {
		er_learn_server(e, &ep->server, e->map ? netmap_self(e->map)->id : 0);
		relayclient_input_response(&e->relayc, now, &e->node_key, &m.alloc_response);
		return;
	}
	path = path_derp(p->node->home_derp); /* peer-relay 6: to the requester's home region */
	ed_send(e, now, p, &path, &m);
}

/* 'p' null: this node asks its own server. */
void er_alloc_request(struct engine *e, struct mono now, struct epeer *p, const struct disco_msg *msg)
{
	const struct disco_alloc_request *req = &msg->alloc_request;
	const struct disco_key *sender = p ? &p->disco : &e->disco;
	struct relayserver_endpoint ep;
	int err;

	if (!disco_key_eq(&req->client[0], sender) && !disco_key_eq(&req->client[1], sender)) {
		e->recv_bad_disco++;
		return;
	}
	if (p && !er_may_allocate(e, p->node)) {
		log_debug(e->env->log, "relay: %s may not allocate: no grant", p->node->name);
		return;
	}
	err = relayserver_allocate(&e->relays, now, p ? &p->key : &e->node_key, &req->client[0],
				   &req->client[1], &ep);
	if (err) {
		log_debug(e->env->log, "relay: allocation for %s refused: %s",
			  p ? p->node->name : "this node", strerror(-err));
		return;
	}
	respond(e, now, p, req, &ep);
}

static unsigned sock_slot(const struct ep *ep)
{
	unsigned h = ep->port;

	for (size_t i = 0; i < sizeof(ep->ip.b); i++)
		h = h * 31 + ep->ip.b[i];
	return h % ENGINE_SOCKS_CACHE;
}

/* Any of the relay's sockets may answer: they share the port. The one that was asked is the best. */
uint32_t er_sock(const struct engine *e, const struct ep *ep)
{
	unsigned i = sock_slot(ep);

	return ep_eq(&e->socks[i].ep, ep) ? e->socks[i].sock : ENGINE_SOCK_RELAY;
}

void er_learn_sock(struct engine *e, const struct ep *ep, uint32_t sock)
{
	unsigned i = sock_slot(ep);

	e->socks[i].ep = *ep;
	e->socks[i].sock = sock;
}

void engine_input_geneve(struct engine *e, struct mono now, uint32_t sock, const struct ep *from,
			 const uint8_t *data, size_t size)
{
	er_learn_sock(e, from, sock);
	relayserver_input(&e->relays, now, from, data, size);
	er_pump(e, now); /* 'data' is borrowed by what it sends */
}

static void relay_sockets(struct engine *e, struct mono now, const struct relayserver_out *r)
{
	struct engine_out *o = eq_push(e, ENGINE_RELAY_SOCKETS, NULL, 0);

	if (!o) {
		if (r->is_on)
			engine_relay_bound(e, now, -ENOMEM, 0, 0);
		return;
	}
	o->is_on = r->is_on;
	o->port = r->port;
}

void er_pump(struct engine *e, struct mono now)
{
	struct relayserver_out r;
	struct engine_out *o;

	while (relayserver_poll(&e->relays, now, &r)) {
		switch (r.kind) {
		case RELAYSERVER_SOCKETS:
			relay_sockets(e, now, &r);
			break;
		case RELAYSERVER_SEND:
			o = eq_push(e, ENGINE_SEND, r.data, r.size);
			if (!o)
				break;
			o->to = path_direct(&r.to);
			o->sock = er_sock(e, &r.to);
			break;
		case RELAYSERVER_ENTRY_SET:
			o = eq_push(e, ENGINE_RELAY_SET, NULL, 0);
			if (!o)
				break;
			o->vni = r.vni;
			o->side[0] = (struct engine_relay_side){ .ep = r.a, .sock = er_sock(e, &r.a) };
			o->side[1] = (struct engine_relay_side){ .ep = r.b, .sock = er_sock(e, &r.b) };
			break;
		case RELAYSERVER_ENTRY_DEL:
			o = eq_push(e, ENGINE_RELAY_DEL, NULL, 0);
			if (o)
				o->vni = r.vni;
			break;
		}
	}
}

void engine_relay_bound(struct engine *e, struct mono now, int err, uint16_t port4, uint16_t port6)
{
	if (relayserver_bound(&e->relays, now, err, port4, port6) < 0)
		log_error(e->env->log, "relay: out of memory");
	else if (err)
		log_debug(e->env->log, "relay: cannot bind: %s", strerror(-err));
	else
		log_info(e->env->log, "relay: listening on udp port %u", port4);
	e->relay_again_at = e->relays.state == RELAYSERVER_FAILED ? mono_add_s(now, RELAY_AGAIN_S) : MONO_NEVER;
	e->n_relay_failures = err ? e->n_relay_failures + 1 : 0;
	if (!err)
		e->prefs.bound_relay_port = port4;
	else if (err == -EADDRINUSE && !e->prefs.relay_port && e->n_relay_failures >= CHOSEN_PORT_TRIES)
		e->prefs.bound_relay_port = 0;
	epm_update(e, now);
	er_addrs(e, now);
	er_candidates(e, now, true);
	if (e->relays.state == RELAYSERVER_ON)
		en_start_relay(e, now);
	e->state_due = true;
}

void er_tick(struct engine *e, struct mono now)
{
	relayserver_tick(&e->relays, now);
	if (!mono_due(e->relay_again_at, now))
		return;
	e->relay_again_at = MONO_NEVER;
	er_set(e, now);
}

void engine_relay_used(struct engine *e, uint32_t vni, unsigned from, struct mono seen, uint64_t pkts,
		       uint64_t bytes)
{
	relayserver_used(&e->relays, vni, from, seen, pkts, bytes);
}

const struct relayserver *engine_relay(const struct engine *e)
{
	return &e->relays;
}
