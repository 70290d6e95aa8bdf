/* SPDX-License-Identifier: MIT */
/* The nine disco messages, cleartext <-> struct (disco 3). Version rules differ per type and are
 * kept exactly: they decide what a stock node accepts. */
#include <errno.h>

#include "wire/disco.h"

enum {
	BIND_SIZE = 4 + 4 + KEY_SIZE + DISCO_CHALLENGE_SIZE,
	RELAY_EP_SIZE = 3 * KEY_SIZE + 8 + 4 + 8 + 8, /* before the addresses */
};

static struct disco_key rd_key(struct rd *r)
{
	struct disco_key key;

	rd_bytes(r, key.b, sizeof(key.b));
	return key;
}

/* The address list that ends a message. False if the rest is not a multiple of 18. */
static bool parse_eps(struct disco_eps *eps, struct rd *r)
{
	const size_t n = r->left / EP_WIRE_SIZE;

	if (r->left % EP_WIRE_SIZE != 0)
		return false;
	eps->n_total = (uint16_t)(n > UINT16_MAX ? UINT16_MAX : n);
	eps->n_eps = (uint16_t)(n > DISCO_EPS_MAX ? DISCO_EPS_MAX : n);
	for (size_t i = 0; i < eps->n_eps; i++)
		eps->eps[i] = rd_ep(r);
	return true;
}

static void write_eps(const struct disco_eps *eps, struct wr *w)
{
	for (size_t i = 0; i < eps->n_eps; i++)
		wr_ep(w, &eps->eps[i]);
}

static int parse_ping(struct disco_ping *ping, struct rd *r)
{
	rd_bytes(r, ping->tx.b, sizeof(ping->tx.b));
	if (r->bad)
		return -EBADMSG;
	if (r->left >= KEY_SIZE) {
		rd_bytes(r, ping->node.b, sizeof(ping->node.b));
		/* A zero key is consumed but counts as absent. */
		ping->has_node_key = !key_is_zero(ping->node.b);
	}
	ping->padding = r->left;
	return 0;
}

static void parse_bind(struct disco_bind *bind, struct rd *r)
{
	bind->vni = rd_be32(r);
	bind->generation = rd_be32(r);
	bind->remote = rd_key(r);
	rd_bytes(r, bind->challenge, sizeof(bind->challenge));
}

static int parse_relay_ep(struct disco_relay_ep *ep, struct rd *r)
{
	if (r->left < RELAY_EP_SIZE + EP_WIRE_SIZE)
		return -EBADMSG;
	ep->server = rd_key(r);
	ep->client[0] = rd_key(r);
	ep->client[1] = rd_key(r);
	ep->lamport_id = rd_be64(r);
	ep->vni = rd_be32(r);
	ep->bind_lifetime_ns = (int64_t)rd_be64(r);
	ep->steady_lifetime_ns = (int64_t)rd_be64(r);
	return parse_eps(&ep->addrs, r) ? 0 : -EBADMSG;
}

static void write_relay_ep(const struct disco_relay_ep *ep, struct wr *w)
{
	wr_bytes(w, ep->server.b, KEY_SIZE);
	wr_bytes(w, ep->client[0].b, KEY_SIZE);
	wr_bytes(w, ep->client[1].b, KEY_SIZE);
	wr_be64(w, ep->lamport_id);
	wr_be32(w, ep->vni);
	wr_be64(w, (uint64_t)ep->bind_lifetime_ns);
	wr_be64(w, (uint64_t)ep->steady_lifetime_ns);
	write_eps(&ep->addrs, w);
}

static int parse_body(struct disco_msg *msg, uint8_t version, struct rd *r)
{
	switch (msg->type) {
	case DISCO_PING:
		return parse_ping(&msg->ping, r);
	case DISCO_PONG:
		rd_bytes(r, msg->pong.tx.b, sizeof(msg->pong.tx.b));
		msg->pong.src = rd_ep(r);
		return r->bad ? -EBADMSG : 0;
	case DISCO_CALL_ME_MAYBE:
		/* Another version or a ragged list is an empty list, not an error. */
		if (version == 0)
			(void)parse_eps(&msg->call_me_maybe, r);
		return 0;
	case DISCO_BIND:
	case DISCO_BIND_CHALLENGE:
	case DISCO_BIND_ANSWER:
		parse_bind(&msg->bind, r);
		return r->bad ? -EBADMSG : 0;
	case DISCO_CALL_ME_MAYBE_VIA:
		return version == 0 ? parse_relay_ep(&msg->via, r) : 0;
	case DISCO_ALLOC_REQUEST:
		if (version != 0)
			return 0;
		msg->alloc_request.client[0] = rd_key(r);
		msg->alloc_request.client[1] = rd_key(r);
		msg->alloc_request.generation = rd_be32(r);
		return r->bad ? -EBADMSG : 0;
	case DISCO_ALLOC_RESPONSE:
		if (version != 0)
			return 0;
		msg->alloc_response.generation = rd_be32(r);
		return r->bad ? -EBADMSG : parse_relay_ep(&msg->alloc_response.ep, r);
	}
	return -EBADMSG;
}

int disco_msg_parse(struct disco_msg *msg, const uint8_t *buf, size_t size)
{
	struct rd r = RD(buf, size);
	const uint8_t type = rd_u8(&r), version = rd_u8(&r);
	struct disco_msg m = { .type = (enum disco_type)type };
	int err;

	if (r.bad || type < DISCO_PING || type > DISCO_ALLOC_RESPONSE)
		return -EBADMSG;
	err = parse_body(&m, version, &r);
	if (err == 0)
		*msg = m;
	return err;
}

static void write_body(const struct disco_msg *msg, struct wr *w)
{
	switch (msg->type) {
	case DISCO_PING:
		wr_bytes(w, msg->ping.tx.b, sizeof(msg->ping.tx.b));
		if (msg->ping.has_node_key)
			wr_bytes(w, msg->ping.node.b, sizeof(msg->ping.node.b));
		wr_zero(w, msg->ping.padding);
		break;
	case DISCO_PONG:
		wr_bytes(w, msg->pong.tx.b, sizeof(msg->pong.tx.b));
		wr_ep(w, &msg->pong.src);
		break;
	case DISCO_CALL_ME_MAYBE:
		write_eps(&msg->call_me_maybe, w);
		break;
	case DISCO_BIND:
	case DISCO_BIND_CHALLENGE:
	case DISCO_BIND_ANSWER:
		wr_be32(w, msg->bind.vni);
		wr_be32(w, msg->bind.generation);
		wr_bytes(w, msg->bind.remote.b, KEY_SIZE);
		wr_bytes(w, msg->bind.challenge, sizeof(msg->bind.challenge));
		break;
	case DISCO_CALL_ME_MAYBE_VIA:
		write_relay_ep(&msg->via, w);
		break;
	case DISCO_ALLOC_REQUEST:
		wr_bytes(w, msg->alloc_request.client[0].b, KEY_SIZE);
		wr_bytes(w, msg->alloc_request.client[1].b, KEY_SIZE);
		wr_be32(w, msg->alloc_request.generation);
		break;
	case DISCO_ALLOC_RESPONSE:
		wr_be32(w, msg->alloc_response.generation);
		write_relay_ep(&msg->alloc_response.ep, w);
		break;
	}
}

int disco_msg_write(const struct disco_msg *msg, uint8_t *buf, size_t cap)
{
	struct wr w = WR(buf, cap);

	wr_u8(&w, (uint8_t)msg->type);
	wr_u8(&w, 0); /* version */
	write_body(msg, &w);
	return w.bad ? -ENOBUFS : (int)wr_used(&w, cap);
}

const char *disco_type_text(enum disco_type type)
{
	switch (type) {
	case DISCO_PING:
		return "ping";
	case DISCO_PONG:
		return "pong";
	case DISCO_CALL_ME_MAYBE:
		return "call-me-maybe";
	case DISCO_BIND:
		return "bind-udp-relay-endpoint";
	case DISCO_BIND_CHALLENGE:
		return "bind-udp-relay-endpoint-challenge";
	case DISCO_BIND_ANSWER:
		return "bind-udp-relay-endpoint-answer";
	case DISCO_CALL_ME_MAYBE_VIA:
		return "call-me-maybe-via";
	case DISCO_ALLOC_REQUEST:
		return "allocate-udp-relay-endpoint-request";
	case DISCO_ALLOC_RESPONSE:
		return "allocate-udp-relay-endpoint-response";
	}
	return "unknown";
}
