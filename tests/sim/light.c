/* SPDX-License-Identifier: MIT */
/* A light node: one ladder per peer, the relay client, the relay server; no WireGuard, no engine.
 * What it does with outputs is what the engine does, reduced to what paths need. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "path/ladder.h"
#include "relay/relayclient.h"
#include "relay/relayserver.h"
#include "tests/sim/light.h"
#include "tests/sim/stock.h"
#include "tests/sim/world.h"
#include "wire/classify.h"
#include "wire/disco.h"
#include "wire/geneve.h"

enum { NOTE_MS = 100, WINDOW = 4096, REGION = 1, STUN_S = 23, STUN_ACTIVE_S = 45 };

struct lpeer {
	struct node *node; /* null = not a peer */
	struct ladder l;
	struct stock *stock; /* of a node that behaves as the reference client: instead of the ladder */
	struct disco_box box;
	struct disco_key disco; /* as the map said */
	struct ladder_targets targets;
	struct mono sent_noted;
	struct mono rx_noted[4]; /* by path kind */
	uint64_t tx, rx_top;
	uint32_t rx_epoch, rx_old; /* the session; a restart begins another and ends the old one */
	uint8_t rx_window[WINDOW / 8]; /* WireGuard's replay window */
};

struct light {
	struct node *n;
	struct node_key node;
	struct disco_priv priv;
	struct disco_key disco;
	struct pathself self;
	struct relayclient rc;
	struct relayserver rs;
	struct lpeer peers[WORLD_NODES_MAX];
	bool is_stock;
	size_t n_relays;
	bool is_gathering;
	unsigned int life;   /* restarts: late events of an earlier life are ignored */
	struct mono stun_at; /* periodic gathering; NEVER while nothing is sent */
	struct mono last_sent;
};

static const struct node_ops OPS;

static struct light *light_of(const struct node *n)
{
	return n->impl;
}

static struct mono now_of(const struct light *x)
{
	return x->n->w->net->now;
}

const struct ladder *light_ladder(const struct node *n, const struct node *peer)
{
	return &light_of(n)->peers[peer->index].l;
}

const struct pathself_counters *light_counters(const struct node *n)
{
	return &light_of(n)->self.n;
}

const struct relayclient *light_relayclient(const struct node *n)
{
	return &light_of(n)->rc;
}

const struct relayserver *light_relayserver(const struct node *n)
{
	return &light_of(n)->rs;
}

static struct lpeer *peer_by_key(struct light *x, const struct node_key *key)
{
	for (size_t i = 0; i < WORLD_NODES_MAX; i++)
		if (x->peers[i].node && node_key_eq(&x->peers[i].l.node, key))
			return &x->peers[i];
	return NULL;
}

static struct lpeer *peer_by_disco(struct light *x, const struct disco_key *key)
{
	for (size_t i = 0; i < WORLD_NODES_MAX; i++)
		if (x->peers[i].node && disco_key_eq(&x->peers[i].disco, key))
			return &x->peers[i];
	return NULL;
}

/* ---- sending -----------------------------------------------------------------------------------
 */

static void derp_in(struct node *to, struct node *from, uint8_t *buf, size_t size);

static void send_bytes(struct light *x, struct node *to, const struct path_addr *path,
		       uint16_t proto, bool control, const uint8_t *buf, size_t size)
{
	uint8_t pkt[GENEVE_SIZE + DISCO_PACKET_MAX];
	int err;

	x->n->actions++;
	if (path->kind == PATH_DERP) {
		world_derp(x->n, to, buf, size, derp_in);
		return;
	}
	if (path->kind == PATH_NONE)
		return;
	assert(size <= DISCO_PACKET_MAX);
	memcpy(pkt + GENEVE_SIZE, buf, size);
	geneve_write(pkt, proto, path->vni, control);
	err = path->kind == PATH_RELAY
		      ? net_send(x->n->host, WORLD_PORT, &path->ep, pkt, GENEVE_SIZE + size)
		      : net_send(x->n->host, WORLD_PORT, &path->ep, buf, size);
	if (err != 0 && to && !control && !x->is_stock)
		ladder_input_send_failed(&x->peers[to->index].l, now_of(x), path);
}

static void send_disco(struct light *x, struct node *to, const struct disco_box *box,
		       const struct path_addr *path, bool control, const struct disco_msg *msg)
{
	uint8_t nonce[DISCO_NONCE_SIZE], buf[DISCO_PACKET_MAX];
	int size;

	env_fill(x->self.env, nonce, sizeof(nonce));
	size = disco_seal(box, nonce, msg, buf, sizeof(buf));
	assert(size > 0);
	send_bytes(x, to, path, GENEVE_PROTO_DISCO, control, buf, (size_t)size);
}

/* ---- own endpoints -----------------------------------------------------------------------------
 */

struct gathered {
	unsigned int life;
};

static void gather_done(void *ctx, void *arg)
{
	struct node *n = ctx;
	struct light *x = light_of(n);
	struct gathered *g = arg;
	const struct ep stun = { .ip = ip4(192, 0, 2, 254), .port = 3478 };
	struct ep eps[16];
	size_t n_eps = 0;
	const struct ep seen = net_reflexive(n->host, WORLD_PORT, &stun);
	const bool is_late = g->life != x->life;

	free(g);
	if (is_late)
		return;
	x->is_gathering = false;
	if (n->host->is_down)
		return;
	if (ep_is_set(&seen))
		eps[n_eps++] = seen;
	for (size_t i = 0; i < n->host->n_addrs; i++) {
		const struct ep ep = { .ip = n->host->addrs[i], .port = WORLD_PORT };

		if (!ep_eq(&ep, &seen))
			eps[n_eps++] = ep;
	}
	pathself_set_endpoints(&x->self, now_of(x), eps, n_eps);
	if (n_eps != n->n_eps || memcmp(n->eps, eps, n_eps * sizeof(eps[0])) != 0) {
		memcpy(n->eps, eps, n_eps * sizeof(eps[0]));
		n->n_eps = n_eps;
		world_map_changed(n->w);
	}
	for (size_t i = 0; i < WORLD_NODES_MAX; i++)
		if (x->peers[i].node)
			ladder_input_own_endpoints(&x->peers[i].l, now_of(x));
}

static void gather(struct light *x)
{
	struct gathered *g;

	if (x->is_gathering)
		return;
	g = malloc(sizeof(*g));
	assert(g);
	g->life = x->life;
	x->is_gathering = true;
	net_after(x->n->w->net, WORLD_STUN_MS * NS_PER_MS, gather_done, x->n, g);
}

/* ---- relay server ------------------------------------------------------------------------------
 */

static void set_relay_addrs(struct light *x)
{
	const struct host *h = x->n->host;
	const struct ep stun = { .ip = ip4(192, 0, 2, 254), .port = 3478 };
	const struct ep seen = net_reflexive(x->n->host, WORLD_RELAY_PORT, &stun);
	struct ep eps[NET_ADDRS_MAX];

	for (size_t i = 0; i < h->n_addrs; i++)
		eps[i] = (struct ep){ .ip = h->addrs[i], .port = 0 };
	relayserver_set_addrs(&x->rs, RELAYSERVER_LOCAL, eps, h->n_addrs);
	relayserver_set_addrs(&x->rs, RELAYSERVER_STUN, &seen, ep_is_set(&seen) ? 1 : 0);
}

static void pump_relayserver(struct light *x)
{
	struct relayserver_out out;

	while (relayserver_poll(&x->rs, now_of(x), &out)) {
		x->n->actions++;
		switch (out.kind) {
		case RELAYSERVER_SOCKETS:
			if (out.is_on) {
				const int err = relayserver_bound(
					&x->rs, now_of(x), 0, WORLD_RELAY_PORT, WORLD_RELAY_PORT);

				assert(err == 0);
				(void)err;
				set_relay_addrs(x);
			}
			break;
		case RELAYSERVER_SEND:
			(void)net_send(x->n->host, WORLD_RELAY_PORT, &out.to, out.data, out.size);
			break;
		case RELAYSERVER_ENTRY_SET:
		case RELAYSERVER_ENTRY_DEL:
			break; /* no workers: the machine forwards all */
		}
	}
}

/* Answers an allocation request of a node that holds the grant. False: silence. */
static bool allocate(struct light *x, const struct node_key *from,
		     const struct disco_alloc_request *req, struct disco_alloc_response *resp)
{
	struct relayserver_endpoint ep;

	if (!x->n->may_relay || relayserver_allocate(&x->rs, now_of(x), from, &req->client[0],
						     &req->client[1], &ep) != 0)
		return false;
	*resp = (struct disco_alloc_response){
		.generation = req->generation,
		.ep = { .server = ep.server,
			.client = { ep.clients[0], ep.clients[1] },
			.lamport_id = ep.lamport_id,
			.vni = ep.vni,
			.bind_lifetime_ns = ep.bind_life_s * NS_PER_S,
			.steady_lifetime_ns = ep.steady_life_s * NS_PER_S },
	};
	resp->ep.addrs.n_eps = resp->ep.addrs.n_total = (uint16_t)ep.n_addrs;
	memcpy(resp->ep.addrs.eps, ep.addrs, ep.n_addrs * sizeof(ep.addrs[0]));
	return true;
}

/* ---- pumping -----------------------------------------------------------------------------------
 */

static bool pump_relayclient(struct light *x)
{
	static const struct path_addr derp = { .kind = PATH_DERP, .region = REGION };
	struct relayclient_out out;
	struct lpeer *p;

	if (!relayclient_poll(&x->rc, now_of(x), &out))
		return false;
	p = peer_by_key(x, &out.to);
	switch (out.kind) {
	case RELAYCLIENT_SEND_ALLOC:
	case RELAYCLIENT_SEND_VIA:
		if (p)
			send_disco(x, p->node, &p->box, &derp, false, &out.msg);
		break;
	case RELAYCLIENT_LOCAL_ALLOC: {
		struct disco_alloc_response resp;

		if (allocate(x, &x->node, &out.msg.alloc_request, &resp))
			relayclient_input_response(&x->rc, now_of(x), &x->node, &resp);
		break;
	}
	case RELAYCLIENT_SEND_BIND:
		send_disco(x, NULL, out.box, &out.path, true, &out.msg);
		break;
	case RELAYCLIENT_SEND_PING:
		if (p)
			send_disco(x, p->node, &p->box, &out.path, false, &out.msg);
		break;
	case RELAYCLIENT_OFFER:
		if (p)
			ladder_input_offer(&p->l, now_of(x), &out.offer);
		break;
	}
	return true;
}

static void send_call(struct light *x, struct lpeer *p)
{
	struct disco_msg msg = { .type = DISCO_CALL_ME_MAYBE };

	msg.call_me_maybe.n_eps = msg.call_me_maybe.n_total = (uint16_t)x->self.n_eps;
	memcpy(msg.call_me_maybe.eps, x->self.eps, x->self.n_eps * sizeof(x->self.eps[0]));
	send_disco(x, p->node, &p->box, &p->stock->derp, false, &msg);
}

/* To each relay that it may ask, but not to the peer itself. */
static void send_to_relays(struct light *x, const struct lpeer *p, const struct stock_out *out)
{
	for (size_t i = 0; i < WORLD_NODES_MAX; i++) {
		struct lpeer *r = &x->peers[i];

		if (r->node && r != p && r->node->is_relay && r->node->may_relay)
			send_disco(x, r->node, &r->box, &out->path, false, &out->msg);
	}
}

static bool pump_stock(struct light *x, struct lpeer *p)
{
	struct stock_out out;
	struct disco_box box;
	int err;

	if (!stock_poll(p->stock, &out))
		return false;
	switch (out.kind) {
	case STOCK_SEND:
		send_disco(x, p->node, &p->box, &out.path, false, &out.msg);
		break;
	case STOCK_SEND_CALL:
		send_call(x, p);
		break;
	case STOCK_SEND_BIND:
		err = disco_box_init(&box, &x->priv, &x->disco, &out.server);
		assert(err == 0);
		(void)err;
		send_disco(x, NULL, &box, &out.path, true, &out.msg);
		disco_box_wipe(&box);
		break;
	case STOCK_SEND_ALLOC:
		send_to_relays(x, p, &out);
		break;
	}
	return true;
}

static bool pump_ladder(struct light *x, struct lpeer *p)
{
	const struct relayclient_peer peer = { .node = p->l.node, .disco = p->disco };
	struct ladder_out out;

	if (!ladder_poll(&p->l, now_of(x), &out))
		return false;
	x->n->actions++;
	switch (out.kind) {
	case LADDER_SEND:
		send_disco(x, p->node, &p->box, &out.path, false, &out.msg);
		break;
	case LADDER_PATH:
		p->targets = out.targets;
		break;
	case LADDER_WANT_RELAYS:
		relayclient_discover(&x->rc, now_of(x), &peer, out.known, out.n_known);
		break;
	case LADDER_WANT_ENDPOINTS:
		gather(x);
		break;
	case LADDER_PING_RESULT:
	case LADDER_SEEN_AS:
		break;
	}
	return true;
}

static void pump(struct light *x)
{
	bool again = true;

	while (again) {
		again = pump_relayclient(x);
		for (size_t i = 0; i < WORLD_NODES_MAX; i++)
			if (x->peers[i].stock)
				again |= pump_stock(x, &x->peers[i]);
			else if (x->peers[i].node)
				again |= pump_ladder(x, &x->peers[i]);
	}
	pump_relayserver(x);
}

/* ---- receiving ---------------------------------------------------------------------------------
 */

static void note_received(struct light *x, struct lpeer *p, const struct path_addr *from)
{
	struct mono *noted = &p->rx_noted[from->kind];

	if (x->is_stock) /* nothing that it receives changes where it sends */
		return;
	if (mono_before(now_of(x), mono_add_ms(*noted, NOTE_MS)) && !mono_is_zero(*noted))
		return;
	*noted = now_of(x);
	ladder_input_received(&p->l, now_of(x), from);
}

static void data_in(struct light *x, const struct path_addr *from, const uint8_t *buf, size_t size)
{
	struct rd r = RD(buf, size);
	const uint8_t type = rd_u8(&r), src = rd_u8(&r), dst = rd_u8(&r);
	const uint32_t epoch = (rd_skip(&r, 1), rd_be32(&r));
	const uint32_t to_life = rd_be32(&r);
	const uint64_t seq = rd_be64(&r);
	struct lpeer *p;

	if (r.bad || type != 4)
		return;
	/* As WireGuard: no receiver index for strangers, nor for a session from before a restart.
	 */
	if (dst != x->n->index || to_life != x->life || src >= WORLD_NODES_MAX ||
	    !x->peers[src].node)
		return;
	p = &x->peers[src];
	if (epoch == p->rx_old)
		return;
	if (epoch != p->rx_epoch) {
		p->rx_old = p->rx_epoch;
		p->rx_epoch = epoch;
		p->rx_top = 0;
		memset(p->rx_window, 0, sizeof(p->rx_window));
	}
	if (seq + WINDOW <= p->rx_top)
		return;
	for (uint64_t s = p->rx_top + 1; s <= seq; s++)
		p->rx_window[s % WINDOW / 8] &= (uint8_t) ~(1u << s % 8);
	p->rx_top = seq > p->rx_top ? seq : p->rx_top;
	note_received(x, p, from);
	if (p->rx_window[seq % WINDOW / 8] & 1u << seq % 8)
		return; /* the second copy */
	p->rx_window[seq % WINDOW / 8] |= (uint8_t)(1u << seq % 8);
	world_delivered(x->n, r.p, r.left);
}

static void stock_control_in(struct light *x, const struct path_addr *from, const struct disco_key *sender,
			     uint8_t *buf, size_t size)
{
	struct disco_msg msg;
	struct disco_box box;

	for (size_t i = 0; i < WORLD_NODES_MAX; i++) {
		struct stock *s = x->peers[i].stock;

		if (!s || !disco_key_eq(&s->ep.server, sender) ||
		    disco_box_init(&box, &x->priv, &x->disco, sender) != 0)
			continue;
		if (disco_open(&box, buf, size, &msg) == 0)
			stock_input(s, now_of(x), from, &msg);
		disco_box_wipe(&box);
		return;
	}
}

static void control_in(struct light *x, const struct path_addr *from, uint8_t *buf, size_t size)
{
	const struct disco_key sender = disco_sender(buf);
	const struct disco_box *box = relayclient_box(&x->rc, &sender);
	struct disco_msg msg;

	if (x->is_stock) {
		stock_control_in(x, from, &sender, buf, size);
		return;
	}
	if (box && disco_open(box, buf, size, &msg) == 0 && msg.type == DISCO_BIND_CHALLENGE)
		relayclient_input_challenge(&x->rc, now_of(x), &from->ep, from->vni, &sender,
					    &msg.bind);
}

static void derp_message(struct light *x, struct lpeer *p, const struct disco_msg *msg)
{
	const struct relayclient_peer peer = { .node = p->l.node, .disco = p->disco };
	static const struct path_addr derp = { .kind = PATH_DERP, .region = REGION };
	struct relay_path known[LADDER_RELAYS_MAX];
	struct disco_msg resp = { .type = DISCO_ALLOC_RESPONSE };
	size_t n;

	switch (msg->type) {
	case DISCO_CALL_ME_MAYBE:
		ladder_input_call_me_maybe(&p->l, now_of(x), &msg->call_me_maybe);
		break;
	case DISCO_CALL_ME_MAYBE_VIA:
		n = ladder_known_relays(&p->l, now_of(x), known);
		relayclient_input_via(&x->rc, now_of(x), &peer, &msg->via, known, n);
		break;
	case DISCO_ALLOC_REQUEST:
		if (allocate(x, &p->l.node, &msg->alloc_request, &resp.alloc_response))
			send_disco(x, p->node, &p->box, &derp, false, &resp);
		break;
	case DISCO_ALLOC_RESPONSE:
		relayclient_input_response(&x->rc, now_of(x), &p->l.node, &msg->alloc_response);
		break;
	case DISCO_PING:
	case DISCO_PONG:
	case DISCO_BIND:
	case DISCO_BIND_CHALLENGE:
	case DISCO_BIND_ANSWER:
		break;
	}
}

static void disco_in(struct light *x, const struct path_addr *from, uint8_t *buf, size_t size)
{
	const struct disco_key sender = disco_sender(buf);
	struct lpeer *p = peer_by_disco(x, &sender);
	struct disco_msg msg;

	if (!p || disco_open(&p->box, buf, size, &msg) != 0)
		return;
	if (msg.type == DISCO_ALLOC_RESPONSE && x->is_stock) {
		for (size_t i = 0; i < WORLD_NODES_MAX; i++)
			if (x->peers[i].stock)
				stock_input(x->peers[i].stock, now_of(x), from, &msg);
	} else if (p->stock) {
		stock_input(p->stock, now_of(x), from, &msg);
	} else if (msg.type == DISCO_PING) {
		ladder_input_ping(&p->l, now_of(x), from, &msg.ping);
		if (from->kind == PATH_RELAY)
			relayclient_input_ping(&x->rc, now_of(x), from, &sender);
	} else if (msg.type == DISCO_PONG) {
		if (!ladder_input_pong(&p->l, now_of(x), from, &msg.pong))
			(void)relayclient_input_pong(&x->rc, now_of(x), from, &sender, &msg.pong);
	} else if (from->kind == PATH_DERP) {
		derp_message(x, p, &msg);
	}
}

static void derp_in(struct node *to, struct node *from, uint8_t *buf, size_t size)
{
	struct light *x = light_of(to);
	const struct path_addr path = path_derp(REGION);

	(void)from;
	if (disco_is_packet(buf, size)) {
		disco_in(x, &path, buf, size);
	} else {
		to->w->derp_data++;
		data_in(x, &path, buf, size);
	}
	pump(x);
}

static void recv_udp(struct node *n, uint16_t port, const struct ep *from, uint8_t *buf,
		     size_t size)
{
	struct light *x = light_of(n);
	const struct classify c = classify(buf, size);
	const struct path_addr path = c.is_geneve ? path_relay(from, c.vni) : path_direct(from);

	if (port == WORLD_RELAY_PORT) {
		relayserver_input(&x->rs, now_of(x), from, buf, size);
		pump_relayserver(x);
		return;
	}
	if (port != WORLD_PORT)
		return;
	switch (c.kind) {
	case CLASSIFY_DISCO:
		if (c.is_control)
			control_in(x, &path, buf + c.offset, size - c.offset);
		else
			disco_in(x, &path, buf + c.offset, size - c.offset);
		break;
	case CLASSIFY_WIREGUARD:
		data_in(x, &path, buf + c.offset, size - c.offset);
		break;
	case CLASSIFY_STUN:
		break;
	}
	pump(x);
}

/* ---- the interface of a node -------------------------------------------------------------------
 */

static void op_send(struct node *n, struct node *to, const uint8_t *payload, size_t size)
{
	struct light *x = light_of(n);
	struct lpeer *p = &x->peers[to->index];
	uint8_t buf[4 + 4 + 4 + 8 + WORLD_PAYLOAD];
	struct wr w = WR(buf, sizeof(buf));

	if (!p->node)
		return;
	wr_u8(&w, 4);
	wr_u8(&w, (uint8_t)n->index);
	wr_u8(&w, (uint8_t)to->index);
	wr_u8(&w, 0);
	wr_be32(&w, x->life);
	wr_be32(&w, light_of(to)->life);
	wr_be64(&w, ++p->tx);
	wr_bytes(&w, payload, size);
	if (mono_is_zero(p->sent_noted) ||
	    !mono_before(now_of(x), mono_add_ms(p->sent_noted, NOTE_MS))) {
		p->sent_noted = now_of(x);
		x->last_sent = now_of(x);
		if (mono_is_never(x->stun_at))
			x->stun_at = mono_add_s(now_of(x), STUN_S);
		if (!p->stock)
			ladder_input_sent(&p->l, now_of(x));
		pump(x);
	}
	if (p->stock) {
		struct path_addr targets[2];

		stock_sent(p->stock, now_of(x));
		stock_targets(p->stock, now_of(x), targets);
		p->targets = (struct ladder_targets){ .first = targets[0], .second = targets[1] };
		pump(x);
	}
	send_bytes(x, to, &p->targets.first, GENEVE_PROTO_WIREGUARD, false, buf, sizeof(buf));
	send_bytes(x, to, &p->targets.second, GENEVE_PROTO_WIREGUARD, false, buf, sizeof(buf));
}

static void set_servers(struct light *x)
{
	struct relayclient_server servers[WORLD_NODES_MAX];
	size_t n = 0;
	bool added;

	for (size_t i = 0; i < x->n->w->n_nodes; i++) {
		struct node *o = x->n->w->nodes[i];

		if (!o->is_relay || !o->may_relay || o->is_removed)
			continue;
		if (o == x->n)
			servers[n++] = (struct relayclient_server){ .node = x->node,
								    .disco = x->disco,
								    .is_self = true };
		else
			servers[n++] = (struct relayclient_server){ .node = light_of(o)->node,
								    .disco = light_of(o)->disco };
	}
	x->n_relays = n;
	added = relayclient_set_servers(&x->rc, servers, n);
	for (size_t i = 0; i < WORLD_NODES_MAX; i++)
		if (x->peers[i].node)
			ladder_input_relays(&x->peers[i].l, now_of(x),
					    relayclient_n_servers(&x->rc, &x->peers[i].l.node),
					    added);
}

static void del_peer(struct light *x, struct lpeer *p)
{
	relayclient_cancel(&x->rc, &p->l.node);
	ladder_wipe(&p->l);
	disco_box_wipe(&p->box);
	free(p->stock);
	*p = (struct lpeer){ .node = NULL };
}

static void op_map(struct node *n)
{
	struct light *x = light_of(n);

	for (size_t i = 0; i < n->w->n_nodes; i++) {
		struct node *o = n->w->nodes[i];
		struct lpeer *p = &x->peers[i];
		struct ladder_peer info;
		int err;

		if (o == n)
			continue;
		if (o->is_removed || n->is_removed) {
			if (p->node)
				del_peer(x, p);
			continue;
		}
		if (!p->node) {
			p->node = o;
			ladder_init(&p->l, now_of(x), &x->self);
		}
		if (!disco_key_eq(&p->disco, &light_of(o)->disco)) {
			p->disco = light_of(o)->disco;
			err = disco_box_init(&p->box, &x->priv, &x->disco, &p->disco);
			assert(err == 0);
		}
		info = (struct ladder_peer){ .node = light_of(o)->node,
					     .disco = p->disco,
					     .endpoints = o->eps,
					     .n_endpoints = o->n_eps,
					     .home_derp = REGION,
					     .cap = DISCO_CAP_RELAY };
		err = ladder_set_peer(&p->l, now_of(x), &info);
		assert(err == 0);
		(void)err;
		if (p->stock)
			stock_map(p->stock, &p->disco, REGION, o->eps, o->n_eps, x->n_relays > 0);
	}
	set_servers(x);
	pump(x);
}

static void op_set_relay(struct node *n, bool is_on)
{
	struct light *x = light_of(n);

	relayserver_set(&x->rs, now_of(x), is_on, WORLD_RELAY_PORT);
	pump_relayserver(x);
}

static void op_link(struct node *n)
{
	struct light *x = light_of(n);

	pathself_set_ifaddrs(&x->self, n->host->addrs, n->host->n_addrs);
	x->self.eps_at = MONO_ZERO;
	for (size_t i = 0; i < WORLD_NODES_MAX; i++)
		if (x->peers[i].stock)
			stock_link(x->peers[i].stock);
	relayclient_input_link(&x->rc, now_of(x));
	for (size_t i = 0; i < WORLD_NODES_MAX; i++)
		if (x->peers[i].node)
			ladder_input_link(&x->peers[i].l, now_of(x), true);
	set_relay_addrs(x);
	gather(x);
	pump(x);
}

static struct path_addr op_path(struct node *n, struct node *to, bool *is_trusted,
				struct path_addr *second)
{
	struct light *x = light_of(n);
	const struct lpeer *p = &x->peers[to->index];

	*is_trusted = false;
	*second = (struct path_addr){ .kind = PATH_NONE };
	if (!p->node)
		return *second;
	if (p->stock) {
		struct path_addr targets[2];

		stock_targets(p->stock, now_of(x), targets);
		*is_trusted = stock_is_trusted(p->stock, now_of(x));
		*second = targets[1];
		return targets[0];
	}
	*is_trusted = p->targets.is_trusted;
	*second = p->targets.second;
	return p->targets.first;
}

static struct mono op_deadline(struct node *n)
{
	struct light *x = light_of(n);
	struct mono first = mono_min(relayclient_deadline(&x->rc), relayserver_deadline(&x->rs));

	first = mono_min(first, x->stun_at);
	for (size_t i = 0; i < WORLD_NODES_MAX; i++)
		if (x->peers[i].stock)
			first = mono_min(first, stock_deadline(x->peers[i].stock));
		else if (x->peers[i].node)
			first = mono_min(first, ladder_deadline(&x->peers[i].l));
	return first;
}

static void op_tick(struct node *n)
{
	struct light *x = light_of(n);

	if (mono_due(x->stun_at, now_of(x))) {
		x->stun_at = MONO_NEVER;
		if (mono_before(now_of(x), mono_add_s(x->last_sent, STUN_ACTIVE_S))) {
			x->stun_at = mono_add_s(now_of(x), STUN_S);
			gather(x);
		}
	}
	relayclient_tick(&x->rc, now_of(x));
	relayserver_tick(&x->rs, now_of(x));
	for (size_t i = 0; i < WORLD_NODES_MAX; i++)
		if (x->peers[i].stock)
			stock_tick(x->peers[i].stock, now_of(x));
		else if (x->peers[i].node)
			ladder_tick(&x->peers[i].l, now_of(x));
	pump(x);
}

void light_be_stock(struct node *n)
{
	struct light *x = light_of(n);

	x->is_stock = true;
	for (size_t i = 0; i < WORLD_NODES_MAX; i++) {
		struct lpeer *p = &x->peers[i];

		if (!p->node)
			continue;
		assert(!p->stock);
		p->stock = malloc(sizeof(*p->stock));
		assert(p->stock);
		stock_init(p->stock, x->self.env, &x->node, &x->disco);
	}
	op_map(n);
}

static void op_free(struct node *n)
{
	struct light *x = light_of(n);

	for (size_t i = 0; i < WORLD_NODES_MAX; i++)
		if (x->peers[i].node)
			del_peer(x, &x->peers[i]);
	relayclient_wipe(&x->rc);
	relayserver_wipe(&x->rs);
	free(x);
}

static void op_restart(struct node *n)
{
	op_free(n);
	light_new(n);
}

static const struct node_ops OPS = {
	.restart = op_restart,
	.map = op_map,
	.recv = recv_udp,
	.send = op_send,
	.set_relay = op_set_relay,
	.link = op_link,
	.path = op_path,
	.deadline = op_deadline,
	.tick = op_tick,
	.free = op_free,
};

void light_new(struct node *n)
{
	struct light *x = calloc(1, sizeof(*x));
	const struct relayserver_cfg cfg = { .live_max = 64 };
	const struct env *env = &n->w->net->env;
	static const struct node_ops *const ops = &OPS;
	int err;

	assert(x);
	x->n = n;
	x->stun_at = MONO_NEVER;
	x->life = (unsigned int)net_random(n->w->net) | 1; /* never 0: no session */
	memset(x->node.b, (int)n->index + 1, sizeof(x->node.b));
	env_fill(env, x->priv.b, sizeof(x->priv.b));
	key_clamp(x->priv.b);
	key_public(x->disco.b, x->priv.b);
	pathself_init(&x->self, n->w->net->now, &x->node, env);
	pathself_set_ifaddrs(&x->self, n->host->addrs, n->host->n_addrs);
	relayclient_init(&x->rc, &x->node, &x->priv, env);
	err = relayserver_init(&x->rs, &cfg, env);
	assert(err == 0);
	(void)err;
	n->impl = x;
	n->ops = ops;
	gather(x);
}
