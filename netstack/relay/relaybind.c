/* SPDX-License-Identifier: MIT */
/* The bind handshake of relaybind.h. */
#include "relay/relaybind.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/hkdf.h"
#include "base/log.h"
#include "wire/geneve.h"

/* Bind messages are 152 bytes; what is larger is none. */
enum { PACKET_MAX = 1500 };

void relaybind_mac(uint8_t mac[static DISCO_CHALLENGE_SIZE], const uint8_t secret[static 32],
		   const struct disco_bind *bind, const struct ep *from)
{
	uint8_t in[4 + 4 + KEY_SIZE + 16 + 2];
	struct wr w = WR(in, sizeof(in));

	wr_be32(&w, bind->vni);
	wr_be32(&w, bind->generation);
	wr_bytes(&w, bind->remote.b, KEY_SIZE);
	wr_bytes(&w, from->ip.b, from->ip.family == IP_V4 ? 4 : 16);
	wr_le16(&w, from->port); /* little endian: peer-relay 8 */
	hash_keyed(mac, DISCO_CHALLENGE_SIZE, secret, 32, in, wr_used(&w, sizeof(in)));
}

/* Looked at on each control packet: a secret of 2 minutes becomes the previous one. */
static void secret_rotate(struct relayserver *s, struct mono now)
{
	if (s->has_secret[0] && mono_since_ns(now, s->secret_at) < RELAYSERVER_SECRET_S * NS_PER_S)
		return;
	if (s->has_secret[0]) {
		memcpy(s->secret[1], s->secret[0], sizeof(s->secret[1]));
		s->has_secret[1] = true;
	}
	env_fill(s->env, s->secret[0], sizeof(s->secret[0]));
	s->has_secret[0] = true;
	s->secret_at = now;
}

/* The row of the forgers' table for this source and key; another one's row is taken over. */
static struct relayserver_guard *guard_get(struct relayserver *s, struct mono now, const struct ep *from,
					   const struct disco_key *key)
{
	uint8_t in[sizeof(from->ip) + KEY_SIZE];
	struct relayserver_guard *g;
	uint64_t who;

	memcpy(in, &from->ip, sizeof(from->ip));
	memcpy(in + sizeof(from->ip), key->b, KEY_SIZE);
	crypto_shorthash((unsigned char *)&who, in, sizeof(in), s->guard_seed);
	g = &s->guards[who % RELAYSERVER_GUARDS];
	if (g->who != who) {
		g->who = who;
		bucket_fill(&g->bucket, now, RELAYBIND_FORGED_PER_S, RELAYBIND_FORGED_PER_S);
	}
	return g;
}

static bool guard_allows(struct relayserver *s, struct mono now, struct relayserver_guard *g)
{
	return bucket_has(&g->bucket, now, RELAYBIND_FORGED_PER_S, RELAYBIND_FORGED_PER_S, 1) &&
	       bucket_take(&s->opens, now, RELAYBIND_OPENS_PER_S, RELAYBIND_OPENS_PER_S, 1);
}

/* The shared key with one client, computed at its first control packet. */
static bool box_get(struct relayserver *s, struct relayserver_session *e, unsigned side, struct disco_box *box)
{
	struct relayserver_side *me = &e->side[side];

	if (!me->has_shared) {
		if (disco_box_init(box, &s->priv, &s->pub, &e->clients[side]) != 0)
			return false;
		memcpy(me->shared, box->shared, sizeof(me->shared));
		me->has_shared = true;
		return true;
	}
	memcpy(box->shared, me->shared, sizeof(box->shared));
	box->self = s->pub;
	box->peer = e->clients[side];
	return true;
}

static void challenge(struct relayserver *s, const struct disco_box *box, const struct disco_bind *bind,
		      const struct ep *from, size_t request_size)
{
	struct disco_msg msg = { .type = DISCO_BIND_CHALLENGE, .bind = *bind };
	uint8_t nonce[DISCO_NONCE_SIZE];
	int size;

	relaybind_mac(msg.bind.challenge, s->secret[0], bind, from);
	env_fill(s->env, nonce, sizeof(nonce));
	geneve_write(s->out_buf, GENEVE_PROTO_DISCO, bind->vni, true);
	size = disco_seal(box, nonce, &msg, s->out_buf + GENEVE_SIZE, sizeof(s->out_buf) - GENEVE_SIZE);
	/* Never more than was received: the source is not proved yet (RELIABILITY 5). */
	if (size < 0 || (size_t)size > request_size)
		return;
	s->n.challenges++;
	s->out = (struct relayserver_out){ .kind = RELAYSERVER_SEND,
					   .to = *from,
					   .data = s->out_buf,
					   .size = (size_t)size + GENEVE_SIZE,
					   .vni = bind->vni };
}

static enum relayserver_drop answer(struct relayserver *s, struct mono now, struct relayserver_session *e,
				    unsigned side, const struct disco_bind *bind, const struct ep *from)
{
	uint8_t mac[DISCO_CHALLENGE_SIZE];
	char text[EP_TEXT_MAX];
	bool is_right = false;

	if (e->side[side].generation == 0 || bind->generation != e->side[side].generation)
		return RELAYSERVER_DROP_GENERATION;
	for (unsigned i = 0; i < 2 && !is_right; i++) {
		if (!s->has_secret[i])
			continue;
		relaybind_mac(mac, s->secret[i], bind, from);
		is_right = sodium_memcmp(mac, bind->challenge, sizeof(mac)) == 0;
	}
	sodium_memzero(mac, sizeof(mac));
	if (!is_right)
		return RELAYSERVER_DROP_MAC;
	log_debug(s->env->log, "relayserver: vni %u: client %u bound at %s", e->vni, side + 1,
		  ep_write(text, from));
	relayserver_bind_side(s, now, e, side, from);
	return RELAYSERVER_DROPS;
}

/* What is to be done with an authentic message; RELAYSERVER_DROPS = it was in order. */
static enum relayserver_drop handle(struct relayserver *s, struct mono now, struct relayserver_session *e,
				    unsigned side, const struct disco_box *box, const struct disco_msg *msg,
				    const struct ep *from, size_t size)
{
	const struct disco_bind *bind = &msg->bind;

	if (msg->type != DISCO_BIND && msg->type != DISCO_BIND_ANSWER)
		return RELAYSERVER_DROP_WRONG_BODY;
	if (bind->vni != e->vni || !disco_key_eq(&bind->remote, &e->clients[1 - side]))
		return RELAYSERVER_DROP_WRONG_BODY;
	if (!relayserver_may_send_to(s, from))
		return RELAYSERVER_DROP_BAD_ADDR;
	if (msg->type == DISCO_BIND_ANSWER)
		return answer(s, now, e, side, bind, from);
	if (bind->generation == 0)
		return RELAYSERVER_DROP_WRONG_BODY;
	/* An existing binding stays as it is until the Answer. */
	e->side[side].generation = bind->generation;
	challenge(s, box, bind, from, size);
	return RELAYSERVER_DROPS;
}

void relaybind_input(struct relayserver *s, struct mono now, struct relayserver_session *e, const struct ep *from,
		     const uint8_t *pkt, size_t size)
{
	enum relayserver_drop why = RELAYSERVER_DROP_MALFORMED;
	uint8_t copy[PACKET_MAX]; /* opened in place */
	struct relayserver_guard *guard;
	struct disco_box box = { 0 };
	struct disco_key sender;
	struct disco_msg msg;
	unsigned side;
	int err;

	if (size > sizeof(copy) || !disco_is_packet(pkt, size))
		goto out;
	sender = disco_sender(pkt);
	why = RELAYSERVER_DROP_UNKNOWN_KEY;
	side = disco_key_eq(&sender, &e->clients[0]) ? 0 : 1;
	if (!disco_key_eq(&sender, &e->clients[side]))
		goto out;
	secret_rotate(s, now);
	guard = guard_get(s, now, from, &sender);
	why = RELAYSERVER_DROP_RATE;
	if (!guard_allows(s, now, guard))
		goto out;
	why = RELAYSERVER_DROP_FORGED;
	if (!box_get(s, e, side, &box))
		goto out;
	memcpy(copy, pkt, size);
	err = disco_open(&box, copy, size, &msg);
	if (err == -EBADMSG)
		(void)bucket_take(&guard->bucket, now, RELAYBIND_FORGED_PER_S, RELAYBIND_FORGED_PER_S, 1);
	if (err) {
		why = err == -EBADMSG ? RELAYSERVER_DROP_FORGED : RELAYSERVER_DROP_MALFORMED;
		goto out;
	}
	why = handle(s, now, e, side, &box, &msg, from, size);
out:
	disco_box_wipe(&box);
	if (why != RELAYSERVER_DROPS)
		s->n.drops[why]++;
}
