/* SPDX-License-Identifier: MIT */
/* The peer relay as a state machine: the input is a list of events (allocate, right and wrong binds and answers,
 * data, raw bytes, time). Held after each datagram: at most one comes out; before an address is proved nothing
 * larger than what it sent goes to it, and nothing to anyone else; data goes from one bound address of a session
 * to its other one, unchanged. */
#include <stdlib.h>
#include <string.h>

#include "relay/relayserver.h"
#include "wire/disco.h"
#include "wire/geneve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLIENTS = 4, ADDRS = 8, PKT_MAX = 2048 };

enum op { OP_ALLOCATE, OP_BIND, OP_ANSWER, OP_DATA, OP_RAW, OP_RAW_CONTROL, OP_TIME, OP_ONOFF, OPS };

struct world {
	struct relayserver s;
	struct env env;
	struct mono now;
	uint8_t counter;
	struct disco_priv priv[CLIENTS];
	struct disco_key pub[CLIENTS];
	struct ep addrs[ADDRS];
	struct disco_bind last[CLIENTS]; /* Challenge received last */
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
		((uint8_t *)dst)[i] = (uint8_t)(w->counter++ * 37 + 11);
}

static int64_t wall(void *ctx)
{
	(void)ctx;
	return 0;
}

static struct ep addr_of(unsigned i)
{
	static const char *const texts[ADDRS] = { "192.0.2.1:1",   "192.0.2.2:2",   "[2001:db8::3]:3", "192.0.2.1:4",
						  "127.0.0.1:5",   "198.51.100.1:40000", "[fe80::1]:7",  "224.0.0.1:8" };
	struct ep ep = { 0 };

	require(ep_parse(&ep, texts[i % ADDRS], strlen(texts[i % ADDRS])) == 0);
	return ep;
}

static const struct relayserver_session *session_of(struct world *w, uint32_t vni)
{
	return vni ? map_get(&w->s.by_vni, &vni) : NULL;
}

/* The client gets what was sent to it, and remembers a Challenge. */
static void deliver(struct world *w, const struct relayserver_out *out)
{
	uint8_t copy[PKT_MAX];
	struct disco_box box;
	struct disco_msg msg;

	for (unsigned c = 0; c < CLIENTS && out->size <= sizeof(copy) && out->size > GENEVE_SIZE; c++) {
		memcpy(copy, out->data, out->size);
		if (disco_box_init(&box, &w->priv[c], &w->pub[c], &w->s.pub) == 0 &&
		    disco_open(&box, copy + GENEVE_SIZE, out->size - GENEVE_SIZE, &msg) == 0 &&
		    msg.type == DISCO_BIND_CHALLENGE)
			w->last[c] = msg.bind;
	}
}

static void take(struct world *w, const struct ep *from, const uint8_t *pkt, size_t size)
{
	const struct relayserver_session *e;
	struct relayserver_out out;
	unsigned side;
	int sent = 0;

	while (relayserver_poll(&w->s, w->now, &out)) {
		if (out.kind == RELAYSERVER_SOCKETS && out.is_on)
			require(relayserver_bound(&w->s, w->now, 0, 40000, 40000) == 0);
		if (out.kind != RELAYSERVER_SEND)
			continue;
		require(pkt && ++sent == 1 && out.size <= size);
		if (pkt[1] & 0x80) {
			require(ep_eq(&out.to, from));
			deliver(w, &out);
			continue;
		}
		e = session_of(w, out.vni);
		require(e && relayserver_is_bound(e) && out.size == size && memcmp(out.data, pkt, size) == 0);
		side = ep_eq(from, &e->side[0].bound) ? 0 : 1;
		require(ep_eq(from, &e->side[side].bound) && ep_eq(&out.to, &e->side[1 - side].bound));
		require(relayserver_may_send_to(&w->s, &out.to));
	}
	require(w->s.n_live <= w->s.cfg.live_max);
}

static void input(struct world *w, const struct ep *from, const uint8_t *pkt, size_t size)
{
	relayserver_input(&w->s, w->now, from, pkt, size);
	take(w, from, pkt, size);
}

static void send_bind(struct world *w, unsigned c, const struct ep *from, const struct disco_msg *msg)
{
	static const uint8_t nonce[DISCO_NONCE_SIZE] = { 1 };
	uint8_t pkt[PKT_MAX];
	struct disco_box box;
	int n;

	if (disco_box_init(&box, &w->priv[c], &w->pub[c], &w->s.pub) != 0)
		return; /* the server is off and has no key */
	geneve_write(pkt, GENEVE_PROTO_DISCO, msg->bind.vni, true);
	n = disco_seal(&box, nonce, msg, pkt + GENEVE_SIZE, sizeof(pkt) - GENEVE_SIZE);
	require(n > 0);
	input(w, from, pkt, (size_t)n + GENEVE_SIZE);
}

static void raw(struct world *w, const struct ep *from, struct rd *r, bool is_control, uint32_t vni)
{
	uint8_t pkt[PKT_MAX];
	size_t n = rd_u8(r);

	n = n < r->left ? n : r->left;
	geneve_write(pkt, is_control ? GENEVE_PROTO_DISCO : GENEVE_PROTO_WIREGUARD, vni, is_control);
	rd_bytes(r, pkt + GENEVE_SIZE, n);
	input(w, from, pkt, n + GENEVE_SIZE);
}

static void event(struct world *w, struct rd *r)
{
	enum op op = (enum op)(rd_u8(r) % OPS);
	uint8_t who = rd_u8(r), arg = rd_u8(r);
	unsigned c = who % CLIENTS, other = who / CLIENTS % CLIENTS;
	struct ep from = addr_of(arg);
	uint32_t vni = arg / ADDRS % 8;
	struct disco_msg msg = { .type = DISCO_BIND,
				 .bind = { .vni = vni, .generation = arg % 3, .remote = w->pub[other] } };
	struct relayserver_endpoint ep;
	struct node_key node = { { (uint8_t)(arg % 3) } };

	switch (op) {
	case OP_ALLOCATE:
		(void)!relayserver_allocate(&w->s, w->now, &node, &w->pub[c], &w->pub[other], &ep);
		take(w, NULL, NULL, 0);
		break;
	case OP_BIND:
		send_bind(w, c, &from, &msg);
		break;
	case OP_ANSWER:
		msg.type = DISCO_BIND_ANSWER;
		msg.bind = w->last[c];
		send_bind(w, c, &from, &msg);
		break;
	case OP_DATA:
		raw(w, &from, r, false, vni);
		break;
	case OP_RAW_CONTROL:
		raw(w, &from, r, true, vni);
		break;
	case OP_RAW:
		input(w, &from, r->p, r->left < arg ? r->left : arg);
		break;
	case OP_TIME:
		w->now = mono_add_ms(w->now, arg * INT64_C(500));
		relayserver_tick(&w->s, w->now);
		take(w, NULL, NULL, 0);
		break;
	case OP_ONOFF:
		relayserver_set(&w->s, w->now, arg % 4 != 0, 40000);
		take(w, NULL, NULL, 0);
		break;
	case OPS:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ip own = ip4(198, 51, 100, 1);
	struct ep local = { .ip = own };
	struct rd r = RD(data, size);
	static struct world w; /* large; started over with every input */

	memset(&w, 0, sizeof(w));
	w.env = (struct env){ .fill = fill, .wall_ns = wall, .ctx = &w };
	w.now = mono_add_s(MONO_ZERO, 1000);
	for (unsigned i = 0; i < CLIENTS; i++) {
		memset(w.priv[i].b, (int)i + 1, KEY_SIZE);
		key_clamp(w.priv[i].b);
		key_public(w.pub[i].b, w.priv[i].b);
	}
	require(relayserver_init(&w.s, &(struct relayserver_cfg){ .live_max = 4, .live_per_node = 3 }, &w.env) == 0);
	relayserver_set_own(&w.s, &own, 1, NULL, 0);
	relayserver_set_addrs(&w.s, RELAYSERVER_LOCAL, &local, 1);
	relayserver_set(&w.s, w.now, true, 40000);
	take(&w, NULL, NULL, 0);
	while (r.left > 0 && !r.bad)
		event(&w, &r);
	relayserver_wipe(&w.s);
	return 0;
}
