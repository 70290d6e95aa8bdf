/* SPDX-License-Identifier: MIT */
/* The relay client under a random sequence of (advance time, input, poll): work stays bounded,
 * outputs end, no deadline stays due, nothing is sent to a forbidden address. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "relay/relayclient.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	struct relayclient rc;
	struct mono now;
	struct rd in;
	struct disco_tx tx; /* of the last Ping */
	struct path_addr tx_path;
	uint32_t generation; /* of the last request */
	uint8_t rng;
};

static void fill(void *ctx, void *dst, size_t size)
{
	struct run *r = ctx;
	uint8_t *p = dst;

	for (size_t i = 0; i < size; i++)
		p[i] = r->rng = (uint8_t)(r->rng * 5u + 1u + i);
}

static int64_t wall(void *ctx)
{
	(void)ctx;
	return 0;
}

static struct node_key node_of(uint8_t i)
{
	struct node_key k;

	memset(k.b, 1 + i % 4, sizeof(k.b));
	return k;
}

/* Valid points, so that boxes can be made; computed once. */
static struct disco_key disco_of(uint8_t i)
{
	static struct disco_key pub[4];
	uint8_t priv[KEY_SIZE];

	i %= 4;
	if (key_is_zero(pub[i].b)) {
		memset(priv, 0x40 + i, sizeof(priv));
		key_public(pub[i].b, priv);
	}
	return pub[i];
}

static struct disco_relay_ep relay_ep(struct run *r, uint8_t peer)
{
	const uint8_t b = rd_u8(&r->in);
	struct disco_relay_ep ep = { .server = disco_of(b >> 6),
				     .lamport_id = b & 3,
				     .vni = b >> 2 & 7 };
	const struct disco_key other = disco_of(peer);

	disco_sort_pair(ep.client, &r->rc.disco, &other);
	ep.bind_lifetime_ns = (int64_t)(b & 15) * NS_PER_S;
	ep.addrs.n_eps = ep.addrs.n_total = b & 3;
	for (size_t i = 0; i < ep.addrs.n_eps; i++)
		ep.addrs.eps[i] =
			(struct ep){ .ip = ip4(rd_u8(&r->in), 64, 0, (uint8_t)i), .port = b };
	return ep;
}

static void step(struct run *r)
{
	const uint8_t op = rd_u8(&r->in), who = rd_u8(&r->in);
	const struct relayclient_peer peer = { .node = node_of(who), .disco = disco_of(who) };
	const struct disco_key sender = disco_of(who);
	struct disco_alloc_response resp;
	struct disco_bind bind = { .vni = who >> 2 & 7, .remote = disco_of(who >> 5) };
	struct disco_pong pong = { .tx = r->tx };
	const struct node_key server = node_of((uint8_t)(who >> 4));

	r->now = mono_add_ms(r->now, (int64_t)(op >> 4) * (op >> 4) * 30);
	switch (op & 15) {
	case 0:
	case 1:
		relayclient_discover(&r->rc, r->now, &peer, NULL, 0);
		break;
	case 2:
	case 3:
		resp.generation = r->generation - (op >> 7);
		resp.ep = relay_ep(r, who);
		relayclient_input_response(&r->rc, r->now, &server, &resp);
		break;
	case 4:
	case 5:
		resp.ep = relay_ep(r, who);
		relayclient_input_via(&r->rc, r->now, &peer, &resp.ep, NULL, 0);
		break;
	case 6:
	case 7:
		if (relayclient_box(&r->rc, &sender))
			relayclient_input_challenge(
				&r->rc, r->now, &(struct ep){ .ip = ip4(9, 64, 0, 0), .port = who },
				bind.vni, &sender, &bind);
		break;
	case 8:
		relayclient_input_ping(&r->rc, r->now, &r->tx_path, &sender);
		break;
	case 9:
		(void)relayclient_input_pong(&r->rc, r->now, &r->tx_path, &sender, &pong);
		break;
	case 10:
		relayclient_cancel(&r->rc, &peer.node);
		break;
	case 11:
		relayclient_input_link(&r->rc, r->now);
		break;
	case 12:
		relayclient_set_enabled(&r->rc, op & 16);
		break;
	default:
		break;
	}
}

static void drain(struct run *r)
{
	struct relayclient_out out;
	int n = 0;

	relayclient_tick(&r->rc, r->now);
	while (relayclient_poll(&r->rc, r->now, &out)) {
		const struct ip *ip = &out.path.ep.ip;

		if (++n > 5000)
			abort();
		if (out.kind == RELAYCLIENT_SEND_BIND && (ip_is_multicast(ip) || ip_is_tailnet(ip)))
			abort();
		if (out.kind == RELAYCLIENT_SEND_ALLOC)
			r->generation = out.msg.alloc_request.generation;
		if (out.kind == RELAYCLIENT_SEND_PING) {
			r->tx = out.msg.ping.tx;
			r->tx_path = out.path;
		}
	}
	if (mono_due(relayclient_deadline(&r->rc), r->now) || r->rc.n_work > RELAYCLIENT_WORK_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run *r = calloc(1, sizeof(*r));
	const struct env env = { .fill = fill, .wall_ns = wall, .ctx = r };
	struct relayclient_server servers[3];
	const struct node_key own = { { 99 } };
	struct disco_priv priv;

	if (!r)
		abort();
	memset(priv.b, 0x50, sizeof(priv.b));
	r->now = mono_add_s(MONO_ZERO, 100);
	r->in = RD(data, size);
	relayclient_init(&r->rc, &own, &priv, &env);
	for (uint8_t i = 0; i < 3; i++)
		servers[i] = (struct relayclient_server){ .node = node_of(i),
							  .disco = disco_of(i),
							  .is_self = i == 2 };
	(void)relayclient_set_servers(&r->rc, servers, 3);
	for (int i = 0; i < 400 && r->in.left > 0 && !r->in.bad; i++) {
		step(r);
		drain(r);
	}
	relayclient_wipe(&r->rc);
	free(r);
	return 0;
}
