/* SPDX-License-Identifier: MIT */
/* The DERP client against a hostile server: raw bytes, right and wrong hello frames, frames of every type and size,
 * time, network changes. Held: input is buffered within its bound, output is a well-formed frame stream behind the
 * request, and nothing is delivered before login. */
#include <stdlib.h>
#include <string.h>

#include "relay/derpclient.h"
#include "relay/derplink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum op { OP_RAW, OP_SWITCH, OP_SERVER_KEY, OP_SERVER_INFO, OP_FRAME, OP_TIME, OP_SEND, OP_NET, OP_CLOSED, OP_TAKE, OPS };

struct world {
	struct env env;
	struct derpclient c;
	struct mono now;
	struct node_priv priv, srv_priv;
	struct node_key pub, srv;
	uint8_t counter;
	bool fast_start;
	bool is_up;
	uint32_t stream;
};

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void fill(void *ctx, void *dst, size_t size)
{
	struct world *w = ctx;

	for (size_t i = 0; i < size; i++)
		((uint8_t *)dst)[i] = w->counter++;
}

static int64_t wall(void *ctx)
{
	(void)ctx;
	return 0;
}

static void drain(struct world *w)
{
	struct stream_info info = { .is_tls13 = w->fast_start, .has_derp_key = w->fast_start };
	struct derpclient_out out;
	int rounds = 0;

	memcpy(info.derp_key, w->srv.b, sizeof(info.derp_key));
	while (derpclient_poll(&w->c, w->now, &out)) {
		require(++rounds < 100000);
		if (out.kind == DERPCLIENT_OPEN) {
			w->stream = out.stream;
			derpclient_opened(&w->c, w->now, w->stream, &info);
		}
		if (out.kind == DERPCLIENT_CLOSE && out.stream == w->stream)
			w->stream = 0;
		if (out.kind == DERPCLIENT_STATE)
			w->is_up = out.is_up;
		if (out.kind == DERPCLIENT_RECV)
			require(w->is_up && out.size <= DERP_PACKET_MAX);
	}
	for (size_t i = 0; i < w->c.n_links; i++)
		require(bytes_size(&w->c.links[i]->in) <= DERP_FRAME_MAX + 5 + 64 * 1024 &&
			bytes_size(&w->c.links[i]->ctl) <= 64 * 1024);
}

static void feed(struct world *w, const uint8_t *buf, size_t size)
{
	derpclient_input(&w->c, w->now, w->stream, buf, size);
	drain(w);
}

static void hello(struct world *w, enum op op)
{
	static const uint8_t nonce[DERP_NONCE_SIZE] = { 1 };
	uint8_t buf[512];
	struct wr out = WR(buf, sizeof(buf));

	if (op == OP_SERVER_KEY)
		derp_server_key_write(&out, &w->srv);
	else
		require(derp_server_info_write(&out, &w->srv_priv, &w->pub, nonce) == 0);
	feed(w, buf, wr_used(&out, sizeof(buf)));
}

static void frame(struct world *w, struct rd *r)
{
	uint8_t buf[DERP_HEADER_SIZE + 256];
	struct wr out = WR(buf, sizeof(buf));
	uint8_t type = rd_u8(r), len = rd_u8(r);
	uint32_t claimed = len == 255 ? rd_be32(r) : len;
	size_t n = len < r->left ? len : r->left;

	wr_u8(&out, type);
	wr_be32(&out, claimed);
	if (!r->bad)
		wr_bytes(&out, rd_view(r, n), n);
	feed(w, buf, wr_used(&out, sizeof(buf)));
}

static void take(struct world *w, size_t size)
{
	uint8_t buf[256];

	while (w->stream && derpclient_take(&w->c, w->now, w->stream, buf, size % sizeof(buf) + 1) > 0)
		;
}

static void event(struct world *w, struct rd *r)
{
	static const char text[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n";
	enum op op = (enum op)(rd_u8(r) % OPS);
	size_t n;
	uint8_t arg;

	switch (op) {
	case OP_RAW:
		n = rd_u8(r);
		n = n < r->left ? n : r->left;
		if (n > 0)
			feed(w, rd_view(r, n), n);
		break;
	case OP_SWITCH:
		feed(w, (const uint8_t *)text, sizeof(text) - 1);
		break;
	case OP_SERVER_KEY:
	case OP_SERVER_INFO:
		hello(w, op);
		break;
	case OP_FRAME:
		frame(w, r);
		break;
	case OP_TIME:
		arg = rd_u8(r);
		w->now = mono_add_ms(w->now, (int64_t)arg * arg * 3);
		derpclient_tick(&w->c, w->now);
		drain(w);
		break;
	case OP_SEND:
		arg = rd_u8(r);
		n = arg < r->left ? arg : r->left;
		(void)!derpclient_send(&w->c, w->now, 900, &w->srv, r->p, n);
		drain(w);
		break;
	case OP_NET:
		derpclient_net_changed(&w->c, w->now);
		drain(w);
		break;
	case OP_CLOSED:
		derpclient_closed(&w->c, w->now, w->stream, "fuzz");
		drain(w);
		break;
	case OP_TAKE:
		take(w, rd_u8(r));
		drain(w);
		break;
	case OPS:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char name[] = "900a", host[] = "derp.example", none[] = "";
	struct derp_node node = { .name = name, .host_name = host, .cert_name = none, .ipv4 = none, .ipv6 = none,
				  .stun_test_ip = none, .stun_port = 3478, .derp_port = 443 };
	struct derp_region region = { .id = 900, .code = none, .name = none, .nodes = &node, .n_nodes = 1, .score = 1 };
	struct derp_map map = { .regions = &region, .n_regions = 1 };
	struct rd r = RD(data, size);
	struct world w = { 0 };

	w.env = (struct env){ .fill = fill, .wall_ns = wall, .ctx = &w };
	w.now = mono_add_s(MONO_ZERO, 1000);
	memset(w.priv.b, 1, KEY_SIZE);
	memset(w.srv_priv.b, 2, KEY_SIZE);
	key_public(w.pub.b, w.priv.b);
	key_public(w.srv.b, w.srv_priv.b);
	w.fast_start = rd_u8(&r) & 1;
	require(derpclient_init(&w.c, &w.env) == 0 && derpclient_set_map(&w.c, w.now, &map) == 0);
	derpclient_set_key(&w.c, w.now, &w.priv);
	derpclient_set_home(&w.c, w.now, 900);
	drain(&w);
	while (r.left > 0 && !r.bad)
		event(&w, &r);
	derpclient_wipe(&w.c);
	return 0;
}
