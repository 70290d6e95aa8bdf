/* SPDX-License-Identifier: MIT */
/* A whole node: the engine, carried out as daemon/act.c does, on the virtual network. */
#include "tests/unit/testing.h"

#include "tests/sim/whole.h"

#include <stdlib.h>
#include <errno.h>
#include <string.h>

#include "control/netmap.h"
#include "engine.h"
#include "tests/sim/wcoord.h"
#include "tests/sim/wdp.h"
#include "tests/sim/world.h"
#include "wire/classify.h"
#include "wire/geneve.h"
#include "wire/ip.h"
#include "wire/prefs.h"
#include "wire/wgmsg.h"

enum {
	INNER_SIZE = IP4_HDR_SIZE + 8 + WORLD_PAYLOAD,
	FLOW_PORT = 5000,
	READY_MAX = 16,
	TAKE_SIZE = 16384,
};

/* What a daemon keeps on disk. */
struct disk {
	bool has_saved;
	struct ctlclient_saved saved;
	char *map;
	size_t map_size;
	int64_t floor_ns;
};

struct whole {
	struct node *n;
	struct engine *e;
	struct wdp dp;
	struct disk disk;
	struct prefs prefs;
	struct ip ip; /* own tailnet address; unset until the first map */
	struct path_addr first[WORLD_NODES_MAX];
	bool is_pumping, again;
	bool has_relay_socket;
	bool relay_port_is_taken; /* another process has WORLD_RELAY_PORT */
	struct whole_ping last_ping; /* result of engine_ping() */
	uint64_t n_wakes;
};

static const struct node_ops OPS;

static struct whole *whole_of(const struct node *n)
{
	return n->impl;
}

static struct mono now_of(const struct whole *x)
{
	return x->n->w->net->now;
}

struct engine *whole_engine(const struct node *n)
{
	return whole_of(n)->e;
}

struct ip whole_ip(const struct node *n)
{
	return whole_of(n)->ip;
}

const struct wdp *whole_dp(const struct node *n)
{
	return &whole_of(n)->dp;
}

void whole_take_relay_port(struct node *n, bool is_taken)
{
	whole_of(n)->relay_port_is_taken = is_taken;
}

uint64_t whole_wakes(const struct node *n)
{
	return whole_of(n)->n_wakes;
}

struct whole_ping whole_pings(const struct node *n)
{
	return whole_of(n)->last_ping;
}

/* ---- sending -----------------------------------------------------------------------------------
 */

static void send_udp(struct whole *x, const struct path_addr *to, uint16_t port, uint16_t proto,
		     bool control, const uint8_t *data, size_t size)
{
	uint8_t buf[GENEVE_SIZE + 9216];
	int err;

	assert_true(size <= sizeof(buf) - GENEVE_SIZE);
	world_watch(x->n->w, data, size);
	if (to->kind == PATH_RELAY) {
		geneve_write(buf, proto, to->vni, control);
		memcpy(buf + GENEVE_SIZE, data, size);
		err = net_send(x->n->host, port, &to->ep, buf, GENEVE_SIZE + size);
	} else {
		err = net_send(x->n->host, port, &to->ep, data, size);
	}
	if (err)
		engine_send_failed(x->e, now_of(x), to, err);
}

static void send_sealed(struct whole *x, const struct wdp_result *r)
{
	for (size_t i = 0; i < r->peer->n_targets; i++) {
		const struct path_addr *to = &r->peer->targets[i];

		x->n->actions++;
		if (to->kind == PATH_DERP)
			engine_input_derp_out(x->e, now_of(x), r->peer->id, to->region, r->data,
					      r->size);
		else
			send_udp(x, to, WORLD_PORT, GENEVE_PROTO_WIREGUARD, false, r->data,
				 r->size);
	}
}

/* Seals a plaintext for a peer and sends it, or asks for a key. */
static void send_plain(struct whole *x, struct wdp_peer *p, const uint8_t *plain, size_t size)
{
	uint8_t buf[WDP_PACKET_MAX];
	const struct wdp_result r = wdp_seal(&x->dp, now_of(x), p, plain, size, buf);
	struct engine_activity a;

	if (r.verdict == WDP_WANT && size)
		engine_input_want(x->e, now_of(x), p->id, plain, size);
	if (r.verdict == WDP_SEND)
		send_sealed(x, &r);
	if (r.tell_key)
		engine_input_key(x->e, now_of(x), p->id);
	if (wdp_activity(p, now_of(x), &a))
		engine_input_activity(x->e, now_of(x), p->id, &a);
}

/* ---- receiving ---------------------------------------------------------------------------------
 */

static void deliver(struct whole *x, const uint8_t *data, size_t size)
{
	struct ip_pkt pkt;

	if (ip_pkt_parse(&pkt, data, size) == 0 && pkt.proto == IP_PKT_UDP &&
	    pkt.dst_port == FLOW_PORT && pkt.size >= INNER_SIZE)
		world_delivered(x->n, data + pkt.l4 + 8, WORLD_PAYLOAD);
}

static void data_in(struct whole *x, const struct path_addr *from, uint8_t *msg, size_t size)
{
	const struct wdp_result r = wdp_open(&x->dp, now_of(x), from, msg, size);
	struct engine_activity a;

	if (r.peer && r.tell_path)
		engine_input_rx_path(x->e, now_of(x), r.peer->id, from);
	if (r.tell_key)
		engine_input_key(x->e, now_of(x), r.peer->id);
	if (r.verdict == WDP_DELIVER)
		deliver(x, r.data, r.size);
	if (r.verdict == WDP_TSMP)
		engine_input_tsmp(x->e, now_of(x), r.peer->id, from, r.data, r.size);
	if (r.peer && wdp_activity(r.peer, now_of(x), &a))
		engine_input_activity(x->e, now_of(x), r.peer->id, &a);
}

static void wireguard_in(struct whole *x, const struct path_addr *from, uint8_t *msg, size_t size)
{
	if (size > 0 && msg[0] == WGMSG_DATA)
		data_in(x, from, msg, size);
	else
		engine_input_handshake(x->e, now_of(x), from, msg, size);
}

static void relay_in(struct whole *x, const struct ep *from, uint8_t *buf, size_t size)
{
	if (classify(buf, size).kind == CLASSIFY_STUN)
		engine_input_stun(x->e, now_of(x), ENGINE_SOCK_RELAY, from, buf, size);
	else
		engine_input_geneve(x->e, now_of(x), ENGINE_SOCK_RELAY, from, buf, size);
}

static void op_recv(struct node *n, uint16_t port, const struct ep *from, uint8_t *buf, size_t size)
{
	struct whole *x = whole_of(n);
	const struct classify c = classify(buf, size);
	const struct path_addr path = c.is_geneve ? path_relay(from, c.vni) : path_direct(from);

	if (port == WORLD_RELAY_PORT) {
		if (x->has_relay_socket)
			relay_in(x, from, buf, size);
	} else if (port == WORLD_PORT) {
		switch (c.kind) {
		case CLASSIFY_STUN:
			engine_input_stun(x->e, now_of(x), ENGINE_SOCK_MAIN, from, buf, size);
			break;
		case CLASSIFY_DISCO:
			engine_input_disco(x->e, now_of(x), &path, c.is_control, buf + c.offset,
					   size - c.offset);
			break;
		case CLASSIFY_WIREGUARD:
			wireguard_in(x, &path, buf + c.offset, size - c.offset);
			break;
		}
	}
	whole_pump(n);
}

/* ---- outputs: one function per kind, as daemon/act.c --------------------------------------------
 */

static void act_ready(struct whole *x, uint32_t stream)
{
	uint8_t buf[TAKE_SIZE];
	size_t n;

	while ((n = engine_take(x->e, now_of(x), stream, buf, sizeof(buf))) > 0)
		wcoord_send(x->n->w->coord, x->n, stream, buf, n);
}

static void act_inject(struct whole *x, const struct engine_out *o)
{
	struct wdp_peer *p = wdp_peer(&x->dp, o->peer);
	uint8_t copy[WDP_PACKET_MAX];

	if (!p)
		return;
	if (o->size)
		memcpy(copy, o->data, o->size);
	send_plain(x, p, copy, o->size);
}

static void act_derp_in(struct whole *x, const struct engine_out *o)
{
	const struct path_addr from = path_derp(o->region);
	uint8_t copy[WDP_PACKET_MAX];

	if (o->size > sizeof(copy))
		return;
	x->n->w->derp_data++;
	memcpy(copy, o->data, o->size);
	data_in(x, &from, copy, o->size);
}

static void act_map(struct whole *x, const struct engine_out *o)
{
	const char *url;

	free(x->disk.map);
	x->disk.map_size = 0;
	x->disk.map = o->is_on ? engine_save_map(x->e, &url, &x->disk.map_size) : NULL;
}

static void act_data(struct whole *x, const struct engine_out *o)
{
	if (o->kind == ENGINE_SEND) {
		send_udp(x, &o->to, o->sock == ENGINE_SOCK_MAIN ? WORLD_PORT : WORLD_RELAY_PORT,
			 o->geneve_proto, o->geneve_control, o->data, o->size);
	} else if (o->kind == ENGINE_INJECT) {
		act_inject(x, o);
	} else {
		act_derp_in(x, o);
	}
}

static void act_relay_sockets(struct whole *x, const struct engine_out *o)
{
	/* Where the system chooses, it chooses one that is free. */
	const uint16_t port = o->port ? o->port : WORLD_RELAY_PORT + (x->relay_port_is_taken ? 1 : 0);
	const bool is_refused = o->is_on && port == WORLD_RELAY_PORT && x->relay_port_is_taken;

	x->has_relay_socket = o->is_on && !is_refused;
	if (is_refused)
		engine_relay_bound(x->e, now_of(x), -EADDRINUSE, 0, 0);
	else if (o->is_on)
		engine_relay_bound(x->e, now_of(x), 0, port, port);
}

static void act_host(struct whole *x, const struct engine_out *o)
{
	if (o->host.is_change)
		return; /* routes alone: the world has none */
	x->ip = (struct ip){ .family = IP_NONE };
	for (size_t i = 0; o->host.is_up && i < o->host.n_addrs; i++)
		if (o->host.addrs[i].ip.family == IP_V4)
			x->ip = o->host.addrs[i].ip;
}

static void act_ping(struct whole *x, const struct engine_out *o)
{
	x->last_ping = (struct whole_ping){ .id = o->ping_id, .latency_s = o->ping->latency_s };
}

static void act_keep(struct whole *x, const struct engine_out *o)
{
	if (o->kind == ENGINE_PERSIST) {
		x->disk.saved = *o->saved;
		x->disk.has_saved = true;
		engine_persisted(x->e, now_of(x));
	} else if (o->kind == ENGINE_PERSIST_FLOOR) {
		x->disk.floor_ns = o->stamp_floor_ns;
	} else {
		act_map(x, o);
	}
}

static void act(struct whole *x, const struct engine_out *o)
{
	x->n->actions++;
	switch (o->kind) {
	case ENGINE_SEND:
	case ENGINE_INJECT:
	case ENGINE_DERP_IN:
		act_data(x, o);
		break;
	case ENGINE_VIEW:
		wdp_view(&x->dp, &o->view);
		break;
	case ENGINE_PATH:
		wdp_path(&x->dp, o->peer, o->targets, o->n_targets);
		break;
	case ENGINE_KEY_INSTALL:
		wdp_key_install(&x->dp, o->kp);
		break;
	case ENGINE_KEY_USE:
		wdp_key_use(&x->dp, o->peer, o->local_index);
		break;
	case ENGINE_KEY_DROP:
		wdp_key_drop(&x->dp, o->local_index);
		break;
	case ENGINE_OPEN:
		wcoord_open(x->n->w->coord, x->n, o->stream, o->addr);
		break;
	case ENGINE_STREAM_SEND:
		wcoord_send(x->n->w->coord, x->n, o->stream, o->data, o->size);
		break;
	case ENGINE_STREAM_READY:
		act_ready(x, o->stream);
		break;
	case ENGINE_STREAM_CLOSE:
		wcoord_close(x->n->w->coord, x->n, o->stream);
		break;
	case ENGINE_RESOLVE:
		engine_resolved(x->e, now_of(x), o->name, NULL, NULL); /* no DNS in this world */
		break;
	case ENGINE_RELAY_SOCKETS:
		act_relay_sockets(x, o);
		break;
	case ENGINE_RELAY_SET: /* no workers: the engine forwards all itself */
	case ENGINE_RELAY_DEL:
		break;
	case ENGINE_PORTMAP: /* no gateway is ever named */
		break;
	case ENGINE_HOST:
		act_host(x, o);
		break;
	case ENGINE_PERSIST:
	case ENGINE_PERSIST_FLOOR:
	case ENGINE_PERSIST_MAP:
		act_keep(x, o);
		break;
	case ENGINE_PING_RESULT:
		act_ping(x, o);
		break;
	case ENGINE_STATE:
	case ENGINE_NETCHECK_DONE:
	case ENGINE_LOGGED_OUT:
		break;
	}
}

void whole_pump(struct node *n)
{
	struct whole *x = whole_of(n);
	struct engine_out o;

	/* An output may cause an input (a stream that answers at once): one loop, never two. */
	if (x->is_pumping) {
		x->again = true;
		return;
	}
	x->is_pumping = true;
	x->n_wakes++;
	do {
		x->again = false;
		while (engine_poll(x->e, now_of(x), &o))
			act(x, &o);
	} while (x->again);
	x->is_pumping = false;
}

/* ---- events of streams --------------------------------------------------------------------------
 */

void whole_opened(struct node *n, uint32_t stream, const struct stream_info *info)
{
	engine_opened(whole_of(n)->e, n->w->net->now, stream, info);
	whole_pump(n);
}

void whole_bytes(struct node *n, uint32_t stream, const uint8_t *data, size_t size)
{
	engine_stream_input(whole_of(n)->e, n->w->net->now, stream, data, size);
	whole_pump(n);
}

void whole_closed(struct node *n, uint32_t stream, const char *reason)
{
	engine_closed(whole_of(n)->e, n->w->net->now, stream, reason);
	whole_pump(n);
}

/* ---- the interface of a node --------------------------------------------------------------------
 */

static void write_inner(uint8_t buf[static INNER_SIZE], const struct ip *src, const struct ip *dst,
			const uint8_t *payload)
{
	struct wr w = WR(buf, INNER_SIZE);

	wr_be16(&w, 0x4500);
	wr_be16(&w, INNER_SIZE);
	wr_be32(&w, 0);
	wr_u8(&w, 64);
	wr_u8(&w, IP_PKT_UDP);
	wr_be16(&w, 0);
	wr_bytes(&w, src->b, 4);
	wr_bytes(&w, dst->b, 4);
	wr_be16(&w, FLOW_PORT);
	wr_be16(&w, FLOW_PORT);
	wr_be16(&w, 8 + WORLD_PAYLOAD);
	wr_be16(&w, 0); /* no checksum: allowed over IPv4 */
	wr_bytes(&w, payload, WORLD_PAYLOAD);
	ip_csum_ip4_set(buf, IP4_HDR_SIZE);
}

static void op_send(struct node *n, struct node *to, const uint8_t *payload, size_t size)
{
	struct whole *x = whole_of(n);
	const struct ip dst = whole_ip(to);
	struct wdp_peer *p = wdp_route(&x->dp, &dst);
	uint8_t inner[INNER_SIZE];

	assert_int_equal(size, WORLD_PAYLOAD);
	if (!p || !ip_is_set(&x->ip)) {
		x->dp.drop_no_route++;
		return;
	}
	write_inner(inner, &x->ip, &dst, payload);
	send_plain(x, p, inner, sizeof(inner));
	whole_pump(n);
}

static void op_map(struct node *n)
{
	(void)n; /* the coordinator tells it */
}

static void op_set_relay(struct node *n, bool is_on)
{
	struct whole *x = whole_of(n);
	char why[ENGINE_ERR_MAX];

	x->prefs.has_relay_port = is_on;
	x->prefs.relay_port = is_on ? WORLD_RELAY_PORT : 0;
	assert_int_equal(
		engine_set_prefs(x->e, now_of(x), &x->prefs, PREF_BIT(PREF_RELAY_PORT), why), 0);
	whole_pump(n);
}

static void op_link(struct node *n)
{
	struct whole *x = whole_of(n);
	const bool has_link = !n->host->is_down;

	engine_set_addrs(x->e, now_of(x), n->host->addrs, has_link ? n->host->n_addrs : 0, true);
	whole_pump(n);
}

static struct path_addr op_path(struct node *n, struct node *to, bool *is_trusted,
				struct path_addr *second)
{
	struct whole *x = whole_of(n);
	const struct ip dst = whole_ip(to);
	const struct wdp_peer *p = ip_is_set(&dst) ? wdp_route(&x->dp, &dst) : NULL;

	*second = (struct path_addr){ .kind = PATH_NONE };
	*is_trusted = p && p->n_targets == 1;
	if (!p)
		return *second;
	if (p->n_targets == 0) { /* never spoken to, or not for long: it begins with DERP */
		const struct map_node *peer = netmap_by_ip(engine_netmap(x->e), &dst);

		return peer && peer->home_derp ? path_derp(peer->home_derp) : *second;
	}
	if (p->n_targets > 1)
		*second = p->targets[1];
	return p->targets[0];
}

static struct mono op_deadline(struct node *n)
{
	return engine_deadline(whole_of(n)->e);
}

static void op_tick(struct node *n)
{
	engine_tick(whole_of(n)->e, n->w->net->now);
	whole_pump(n);
}

static void stop(struct node *n)
{
	struct whole *x = whole_of(n);

	wcoord_forget(n->w->coord, n);
	engine_free(x->e);
	x->e = NULL;
	wdp_wipe(&x->dp);
}

static void op_free(struct node *n)
{
	struct whole *x = whole_of(n);

	stop(n);
	prefs_wipe(&x->prefs);
	free(x->disk.map);
	free(x);
}

static void start(struct node *n, const char *auth_key)
{
	struct whole *x = whole_of(n);
	static const char log_id[] =
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	struct engine_cfg cfg = { .env = &n->w->net->env,
				  .crypto = &x->dp.crypto,
				  .prefs = &x->prefs,
				  .saved = x->disk.has_saved ? &x->disk.saved : NULL,
				  .cached_map = x->disk.map,
				  .cached_map_size = x->disk.map_size,
				  .stamp_floor_ns = x->disk.floor_ns,
				  .hostname = n->host->name,
				  .os_version = "6.1",
				  .log_id = log_id };

	wdp_init(&x->dp);
	x->has_relay_socket = false;
	x->e = engine_new(&cfg, now_of(x));
	assert_non_null(x->e);
	engine_set_ports(x->e, now_of(x), WORLD_PORT, WORLD_PORT);
	engine_set_addrs(x->e, now_of(x), n->host->addrs, n->host->n_addrs, false);
	engine_start(x->e, now_of(x), auth_key);
	whole_pump(n);
}

static void op_restart(struct node *n)
{
	stop(n);
	start(n, NULL);
}

static const struct node_ops OPS = {
	.map = op_map,
	.recv = op_recv,
	.send = op_send,
	.set_relay = op_set_relay,
	.link = op_link,
	.restart = op_restart,
	.path = op_path,
	.deadline = op_deadline,
	.tick = op_tick,
	.free = op_free,
};

struct node *whole_node(struct world *w, const char *name, const char *addr, struct nat *nat,
			const char *auth_key)
{
	struct node *n = world_add(w, name, addr, nat);
	struct whole *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	x->n = n;
	n->impl = x;
	n->ops = &OPS;
	prefs_defaults(&x->prefs);
	x->prefs.want_running = true;
	x->prefs.control_url = strdup(wcoord_url(w->coord));
	start(n, auth_key);
	return n;
}
