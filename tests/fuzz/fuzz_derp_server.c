/* SPDX-License-Identifier: MIT */
/* The DERP server under hostile connections: raw bytes, right and wrong logins, frames of every type and size, slow
 * readers, time, keys that come and go. Held: what a connection gets is a well-formed frame stream, packets come only
 * from keys that are logged in and only after login, queues and counts stay within their bounds. */
#include <stdlib.h>
#include <string.h>

#include "relay/derpserver.h"
#include "wire/derp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CONNS = 6, KEYS = 3, OUT_MAX = 1 << 15 };

enum op { OP_OPEN, OP_LOGIN, OP_FRAME, OP_RAW, OP_TAKE, OP_TIME, OP_CLOSED, OP_ADMIT, OP_REMOVE, OPS };

struct side {
	bool is_open, has_key, has_info;
	uint8_t out[OUT_MAX]; /* not yet parsed */
	size_t n_out;
};

struct world {
	struct env env;
	struct derpserver s;
	struct mono now;
	struct node_priv priv[KEYS];
	struct node_key pub[KEYS];
	uint8_t counter;
	struct side sides[CONNS + 1];
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

static void one_frame(struct world *w, struct side *c, const struct derp_hdr *hdr, const uint8_t *p)
{
	struct derp_packet pkt;
	bool known = false;

	switch (hdr->type) {
	case DERP_SERVER_KEY:
		require(!c->has_key && hdr->size == DERP_SERVER_KEY_MIN);
		c->has_key = true;
		break;
	case DERP_SERVER_INFO:
		require(c->has_key && !c->has_info);
		c->has_info = true;
		break;
	case DERP_RECV_PACKET:
		require(c->has_info && derp_packet_parse(&pkt, p, hdr->size) == 0);
		for (int k = 0; k < KEYS; k++)
			known |= node_key_eq(&pkt.peer, &w->pub[k]);
		require(known);
		break;
	case DERP_PEER_GONE:
	case DERP_PONG:
	case DERP_KEEP_ALIVE:
		require(c->has_info);
		break;
	default:
		abort();
	}
}

static void take(struct world *w, uint32_t conn, size_t chunk)
{
	struct side *c = &w->sides[conn];
	struct derp_hdr hdr;
	size_t n, at = 0;

	while (c->n_out + chunk <= sizeof(c->out) &&
	       (n = derpserver_take(&w->s, w->now, conn, c->out + c->n_out, chunk)) > 0) {
		require(c->is_open && n <= chunk);
		c->n_out += n;
	}
	while (derp_hdr_parse(&hdr, c->out + at, c->n_out - at, DERP_PACKET_MAX + KEY_SIZE) == 0 &&
	       c->n_out - at >= DERP_HEADER_SIZE + (size_t)hdr.size) {
		one_frame(w, c, &hdr, c->out + at + DERP_HEADER_SIZE);
		at += DERP_HEADER_SIZE + (size_t)hdr.size;
	}
	memmove(c->out, c->out + at, c->n_out - at);
	c->n_out -= at;
}

static void forget(struct side *c)
{
	c->is_open = c->has_key = c->has_info = false;
	c->n_out = 0;
}

static void drain(struct world *w)
{
	struct derpserver_out out;

	while (derpserver_poll(&w->s, w->now, &out)) {
		if (out.kind == DERPSERVER_CLOSE) {
			require(w->sides[out.conn].is_open);
			forget(&w->sides[out.conn]);
		}
	}
	require(w->s.n_logins <= CONNS && derpserver_clients(&w->s) <= KEYS);
}

static void login(struct world *w, uint32_t conn, uint8_t arg)
{
	static const uint8_t nonce[DERP_NONCE_SIZE] = { 7 };
	uint8_t buf[256];
	struct wr out = WR(buf, sizeof(buf));

	require(derp_client_info_write(&out, &w->priv[arg % KEYS], &w->s.pub, nonce) == 0);
	derpserver_input(&w->s, w->now, conn, buf, wr_used(&out, sizeof(buf)));
}

static void frame(struct world *w, uint32_t conn, uint8_t arg, struct rd *r)
{
	uint8_t buf[DERP_HEADER_SIZE + KEY_SIZE + 256];
	struct wr out = WR(buf, sizeof(buf));
	uint8_t type = rd_u8(r), len = rd_u8(r);
	size_t n = len < r->left ? len : r->left;

	wr_u8(&out, type);
	if (type == DERP_SEND_PACKET) {
		wr_be32(&out, len == 255 ? rd_be32(r) : KEY_SIZE + (uint32_t)n);
		n = n < r->left ? n : r->left;
		wr_bytes(&out, w->pub[arg % KEYS].b, KEY_SIZE);
	} else {
		wr_be32(&out, (uint32_t)n);
	}
	if (!r->bad)
		wr_bytes(&out, rd_view(r, n), n);
	derpserver_input(&w->s, w->now, conn, buf, wr_used(&out, sizeof(buf)));
}

static void event(struct world *w, struct rd *r)
{
	enum op op = (enum op)(rd_u8(r) % OPS);
	uint32_t conn = rd_u8(r) % CONNS + 1;
	struct ep remote = { .ip = ip4(192, 0, 2, (uint8_t)(conn % 3)), .port = 1 };
	uint8_t arg = rd_u8(r);
	size_t n;

	switch (op) {
	case OP_OPEN:
		if (derpserver_open(&w->s, w->now, conn, &remote, true) == 0)
			w->sides[conn].is_open = true;
		break;
	case OP_LOGIN:
		login(w, conn, arg);
		break;
	case OP_FRAME:
		frame(w, conn, arg, r);
		break;
	case OP_RAW:
		n = arg < r->left ? arg : r->left;
		if (n > 0)
			derpserver_input(&w->s, w->now, conn, rd_view(r, n), n);
		break;
	case OP_TAKE:
		take(w, conn, arg + 1u);
		break;
	case OP_TIME:
		w->now = mono_add_ms(w->now, (int64_t)arg * arg);
		derpserver_tick(&w->s, w->now);
		break;
	case OP_CLOSED:
		derpserver_closed(&w->s, w->now, conn);
		forget(&w->sides[conn]);
		break;
	case OP_ADMIT:
		require(derpserver_admit(&w->s, &w->pub[arg % KEYS]) == 0);
		break;
	case OP_REMOVE:
		derpserver_remove(&w->s, w->now, &w->pub[arg % KEYS]);
		require(!derpserver_has(&w->s, &w->pub[arg % KEYS]));
		break;
	case OPS:
		break;
	}
	drain(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct derpserver_cfg cfg = { .rate_bytes_per_s = 100000 };
	struct rd r = RD(data, size);
	struct node_priv priv;
	struct world *w = calloc(1, sizeof(*w));

	require(w != NULL);
	w->env = (struct env){ .fill = fill, .wall_ns = wall, .ctx = w };
	w->now = mono_add_s(MONO_ZERO, 1000);
	memset(priv.b, 0x77, KEY_SIZE);
	for (int k = 0; k < KEYS; k++) {
		memset(w->priv[k].b, k + 1, KEY_SIZE);
		key_public(w->pub[k].b, w->priv[k].b);
	}
	require(derpserver_init(&w->s, &cfg, &priv, &w->env) == 0);
	while (r.left > 0 && !r.bad)
		event(w, &r);
	derpserver_wipe(&w->s);
	free(w);
	return 0;
}
