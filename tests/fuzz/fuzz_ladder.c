/* SPDX-License-Identifier: MIT */
/* A ladder under a random sequence of (advance time, input, poll). After every step: outputs end,
 * no deadline stays due, nothing is sent to a forbidden address, targets are consistent. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "path/ladder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
	struct pathself self;
	struct ladder l;
	struct mono now;
	struct rd in;
	struct disco_tx sent[16]; /* ids that may be answered */
	struct path_addr sent_to[16];
	size_t n_sent;
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

static struct ep pick_ep(struct run *r)
{
	static const uint8_t first[8] = { 10, 127, 224, 100, 198, 203, 0, 192 };
	const uint8_t b = rd_u8(&r->in);

	if (b & 0x80)
		return (struct ep){ .ip = { IP_V6, { 0x20, 1, 0xd, 0xb8, [15] = b & 7 } },
				    .port = b };
	return (struct ep){ .ip = ip4(first[b & 7], 64, 0, b >> 3), .port = b & 3 };
}

static struct path_addr pick_path(struct run *r)
{
	const uint8_t kind = rd_u8(&r->in) % 4;
	const struct ep ep = pick_ep(r);

	return kind == 0   ? path_derp(1)
	       : kind == 1 ? path_relay(&ep, 1 + (ep.port & 3))
			   : path_direct(&ep);
}

static void set_peer(struct run *r)
{
	struct ep eps[8];
	struct ladder_peer peer = { .endpoints = eps, .cap = 121 };
	const uint8_t flags = rd_u8(&r->in);

	peer.n_endpoints = flags & 7;
	for (size_t i = 0; i < peer.n_endpoints; i++)
		eps[i] = pick_ep(r);
	peer.home_derp = flags & 8 ? 1 : 0;
	peer.is_wireguard_only = (flags & 0xf0) == 0xf0;
	peer.is_silent = (flags & 0xf0) == 0xe0;
	memset(peer.disco.b, (flags & 0x70) == 0x70 ? 0 : 7, sizeof(peer.disco.b));
	if (ladder_set_peer(&r->l, r->now, &peer) != 0)
		abort();
}

static void answer(struct run *r)
{
	struct disco_pong pong = { .src = pick_ep(r) };
	size_t i;

	if (r->n_sent == 0)
		return;
	i = rd_u8(&r->in) % r->n_sent;
	pong.tx = r->sent[i];
	(void)ladder_input_pong(&r->l, r->now, &r->sent_to[i], &pong);
}

static void messages(struct run *r)
{
	const struct path_addr from = pick_path(r);
	struct disco_ping ping = { .has_node_key = true };
	struct disco_eps eps = { .n_eps = rd_u8(&r->in) % 20 };

	rd_bytes(&r->in, ping.tx.b, 2);
	ladder_input_ping(&r->l, r->now, &from, &ping);
	if (eps.n_eps > 15)
		return;
	eps.n_total = eps.n_eps;
	for (size_t i = 0; i < eps.n_eps; i++)
		eps.eps[i] = pick_ep(r);
	ladder_input_call_me_maybe(&r->l, r->now, &eps);
}

static void offer(struct run *r)
{
	const struct ep ep = pick_ep(r);
	struct relay_path rp = { .path = path_relay(&ep, 1 + (ep.port & 3)),
				 .latency_ns = ep.port * NS_PER_MS };

	memset(rp.server.b, 1 + rd_u8(&r->in) % 6, sizeof(rp.server.b));
	ladder_input_offer(&r->l, r->now, &rp);
	if (ep.port == 3)
		ladder_input_relay_lost(&r->l, r->now, &rp.server);
}

static void step(struct run *r)
{
	const uint8_t op = rd_u8(&r->in);
	struct path_addr path;

	r->now = mono_add_ms(r->now, (int64_t)(op >> 4) * (op >> 4) * 40);
	switch (op & 15) {
	case 0:
		set_peer(r);
		break;
	case 1:
	case 2:
		ladder_input_sent(&r->l, r->now);
		break;
	case 3:
		path = pick_path(r);
		ladder_input_received(&r->l, r->now, &path);
		break;
	case 4:
	case 5:
	case 6:
		answer(r);
		break;
	case 7:
		messages(r);
		break;
	case 8:
		offer(r);
		break;
	case 9:
		ladder_input_relays(&r->l, r->now, op >> 6, op & 16);
		break;
	case 10:
		ladder_input_link(&r->l, r->now, op & 16);
		break;
	case 11:
		ladder_input_own_endpoints(&r->l, r->now);
		break;
	case 12:
		path = pick_path(r);
		ladder_input_send_failed(&r->l, r->now, &path);
		break;
	case 13:
		if (ladder_user_ping(&r->l, r->now, rd_u8(&r->in), (size_t)rd_be16(&r->in)) == 0)
			break;
		break;
	default:
		break;
	}
}

static void check_send(struct run *r, const struct ladder_out *out)
{
	const struct ip *ip = &out->path.ep.ip;

	if (out->path.kind == PATH_NONE)
		abort();
	if (out->path.kind == PATH_DIRECT && out->msg.type == DISCO_PING &&
	    (ip_is_unspecified(ip) || ip_is_multicast(ip) || ip_is_tailnet(ip)))
		abort();
	if (out->msg.type != DISCO_PING)
		return;
	r->sent[r->n_sent % 16] = out->msg.ping.tx;
	r->sent_to[r->n_sent % 16] = out->path;
	if (r->n_sent < 16)
		r->n_sent++;
}

static void drain(struct run *r)
{
	struct ladder_out out;
	struct ladder_targets t;
	int n = 0;

	ladder_tick(&r->l, r->now);
	while (ladder_poll(&r->l, r->now, &out)) {
		if (++n > 1000)
			abort();
		if (out.kind == LADDER_SEND)
			check_send(r, &out);
	}
	if (mono_due(ladder_deadline(&r->l), r->now)) {
		/* One more turn may be needed; two would be a busy loop. */
		ladder_tick(&r->l, r->now);
		while (ladder_poll(&r->l, r->now, &out))
			if (++n > 2000)
				abort();
		if (mono_due(ladder_deadline(&r->l), r->now))
			abort();
	}
	t = ladder_targets(&r->l, r->now);
	if ((t.first.kind == PATH_NONE && t.second.kind != PATH_NONE) ||
	    (t.is_trusted && t.is_suspect) ||
	    (t.first.kind != PATH_NONE && path_eq(&t.first, &t.second)))
		abort();
	if (r->l.prober.n_cands > PROBER_CANDS_MAX || r->l.prober.n_pings > PROBER_INFLIGHT_MAX)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run *r = calloc(1, sizeof(*r));
	const struct env env = { .fill = fill, .wall_ns = wall, .ctx = r };
	const struct ep own = { .ip = ip4(192, 64, 0, 1), .port = 1 };
	const struct node_key key = { { 1 } };

	if (!r)
		abort();
	r->now = mono_add_s(MONO_ZERO, 100);
	r->in = RD(data, size);
	pathself_init(&r->self, r->now, &key, &env);
	pathself_set_endpoints(&r->self, r->now, &own, 1);
	ladder_init(&r->l, r->now, &r->self);
	for (int i = 0; i < 400 && r->in.left > 0 && !r->in.bad; i++) {
		step(r);
		drain(r);
	}
	ladder_wipe(&r->l);
	free(r);
	return 0;
}
