/* SPDX-License-Identifier: MIT */
/* Disco in and out: finds the box for a sender, hands the message to the machine that wants it, seals what
 * machines send. The order of checks is that of disco 5. */
#include <errno.h>
#include <string.h>

#include "engine_int.h"
#include "wire/geneve.h"

/* ---- out ---- */

void ed_send_box(struct engine *e, struct mono now, const struct disco_box *box, const struct node_key *to,
		 const struct path_addr *path, bool control, const struct disco_msg *msg)
{
	uint8_t nonce[DISCO_NONCE_SIZE];
	struct engine_out *o;
	int n;

	env_fill(e->env, nonce, sizeof(nonce));
	n = disco_seal(box, nonce, msg, e->scratch, sizeof(e->scratch));
	if (n < 0)
		return;
	if (path->kind == PATH_DERP) {
		e->sent_disco_derp++;
		if (derpclient_send(&e->derp, now, path->region, to, e->scratch, (size_t)n) < 0)
			log_debug(e->env->log, "disco: %s lost: no DERP region %u",
				  disco_type_text(msg->type), path->region);
		return;
	}
	e->sent_disco_udp++;
	o = eq_push(e, ENGINE_SEND, e->scratch, (size_t)n);
	if (!o)
		return;
	o->to = *path;
	o->geneve_proto = GENEVE_PROTO_DISCO;
	o->geneve_control = control;
}

/* Disco for a peer by DERP takes the connection where it can be reached best (derp 10). */
static struct path_addr derp_path(const struct engine *e, const struct epeer *p)
{
	return path_derp(derpclient_route(&e->derp, &p->key, p->node->home_derp));
}

void ed_send(struct engine *e, struct mono now, struct epeer *p, const struct path_addr *path,
	     const struct disco_msg *msg)
{
	const struct disco_box *box = ep_box(e, now, p);

	if (box)
		ed_send_box(e, now, box, &p->key, path, false, msg);
}

/* ---- in ---- */

/* The peer that a Ping or a DERP message is from: the node whose map entry agrees with the sealing key. */
static struct epeer *sender_node(struct epeer *head, const struct node_key *derp_src,
				 const struct node_key *hint)
{
	for (struct epeer *p = head; p; p = p->same_disco)
		if (derp_src && node_key_eq(&p->key, derp_src))
			return p;
	if (derp_src)
		return NULL;
	for (struct epeer *p = head; p; p = p->same_disco)
		if (hint && node_key_eq(&p->key, hint))
			return p;
	return head->same_disco ? NULL : head;
}

static void input_ping(struct engine *e, struct mono now, const struct path_addr *from, struct epeer *head,
		       const struct node_key *derp_src, const struct disco_ping *ping)
{
	struct epeer *p = sender_node(head, derp_src, ping->has_node_key ? &ping->node : NULL);

	if (from->kind == PATH_RELAY)
		relayclient_input_ping(&e->relayc, now, from, &head->disco);
	if (!p)
		p = head;
	if (!ep_ladder(e, now, p))
		return;
	ladder_input_ping(p->ladder, now, from, ping);
	ep_hint(e, now, p, HASTEN_REACHED);
	ep_touch(e, p);
}

static void input_pong(struct engine *e, struct mono now, const struct path_addr *from, struct epeer *head,
		       const struct disco_pong *pong)
{
	for (struct epeer *p = head; p; p = p->same_disco) {
		if (p->ladder && ladder_input_pong(p->ladder, now, from, pong)) {
			(void)ep_ladder(e, now, p); /* in use */
			ep_hint(e, now, p, HASTEN_REACHED);
			ep_touch(e, p);
			return;
		}
	}
	if (from->kind != PATH_RELAY || !relayclient_input_pong(&e->relayc, now, from, &head->disco, pong))
		e->self.n.drop_unknown_pong++;
}

static void input_via(struct engine *e, struct mono now, struct epeer *p, const struct disco_relay_ep *via)
{
	const struct relayclient_peer rp = { .node = p->key, .disco = p->disco };
	struct relay_path known[LADDER_RELAYS_MAX];
	size_t n;

	if (p->node->cap < DISCO_CAP_RELAY || !ep_ladder(e, now, p))
		return;
	n = ladder_known_relays(p->ladder, now, known);
	relayclient_input_via(&e->relayc, now, &rp, via, known, n);
}

/* Messages that are accepted by DERP alone, from the node that the map says has this disco key. */
static void input_derp_only(struct engine *e, struct mono now, const struct node_key *derp_src,
			    struct epeer *head, const struct disco_msg *msg)
{
	struct epeer *p = derp_src ? sender_node(head, derp_src, NULL) : NULL;

	if (!p) {
		e->recv_bad_disco++;
		return;
	}
	switch (msg->type) {
	case DISCO_CALL_ME_MAYBE:
		if (!ep_ladder(e, now, p))
			break;
		ladder_input_call_me_maybe(p->ladder, now, &msg->call_me_maybe);
		ep_hint(e, now, p, HASTEN_REACHED);
		ep_touch(e, p);
		break;
	case DISCO_CALL_ME_MAYBE_VIA:
		input_via(e, now, p, &msg->via);
		break;
	case DISCO_ALLOC_REQUEST:
		er_alloc_request(e, now, p, msg);
		break;
	case DISCO_ALLOC_RESPONSE:
		er_learn_server(e, &msg->alloc_response.ep.server, p->node_id);
		relayclient_input_response(&e->relayc, now, &p->key, &msg->alloc_response);
		break;
	case DISCO_PING:
	case DISCO_PONG:
	case DISCO_BIND:
	case DISCO_BIND_CHALLENGE:
	case DISCO_BIND_ANSWER:
		break;
	}
}

/* 'err' of disco_open(). What is authentic was worth its cryptography, also in the words of a later version: the
 * gate is for those who forge. */
static void not_understood(struct engine *e, struct mono now, const struct path_addr *from,
			   const struct disco_key *sender, int err)
{
	if (err == -EPROTO) {
		e->recv_bad_parse++;
		return;
	}
	discogate_failed(&e->gate, now, sender, from);
	e->recv_bad_key++;
}

static void input_control(struct engine *e, struct mono now, const struct path_addr *from, uint8_t *pkt,
			  size_t size)
{
	const struct disco_key sender = disco_sender(pkt);
	const struct disco_box *box = relayclient_box(&e->relayc, &sender);
	struct disco_msg msg;
	int err;

	if (!box) {
		e->recv_bad_peer++;
		return;
	}
	if (!discogate_may_open(&e->gate, now, &sender, from))
		return;
	err = disco_open(box, pkt, size, &msg);
	if (err) {
		not_understood(e, now, from, &sender, err);
		return;
	}
	if (msg.type == DISCO_BIND_CHALLENGE && from->kind == PATH_RELAY)
		relayclient_input_challenge(&e->relayc, now, &from->ep, from->vni, &sender, &msg.bind);
}

void ed_input(struct engine *e, struct mono now, const struct path_addr *from, bool control,
	      const struct node_key *derp_src, const uint8_t *data, size_t size)
{
	const struct disco_box *box;
	struct disco_msg msg;
	struct disco_key sender;
	struct epeer *head;
	int err;

	e->recv_disco++;
	if (size > sizeof(e->scratch) || !disco_is_packet(data, size) || !e->has_device) {
		e->recv_bad_parse++;
		return;
	}
	memcpy(e->scratch, data, size); /* opened in place */
	if (control) {
		input_control(e, now, from, e->scratch, size);
		return;
	}
	sender = disco_sender(e->scratch);
	head = ep_by_disco(e, &sender);
	if (!head) {
		e->recv_bad_peer++;
		return;
	}
	if (!discogate_may_open(&e->gate, now, &sender, from))
		return;
	box = ep_box(e, now, head);
	if (!box) {
		e->recv_bad_peer++;
		return;
	}
	err = disco_open(box, e->scratch, size, &msg);
	if (err) {
		not_understood(e, now, from, &sender, err);
		return;
	}
	switch (msg.type) {
	case DISCO_PING:
		input_ping(e, now, from, head, derp_src, &msg.ping);
		break;
	case DISCO_PONG:
		input_pong(e, now, from, head, &msg.pong);
		break;
	case DISCO_CALL_ME_MAYBE:
	case DISCO_CALL_ME_MAYBE_VIA:
	case DISCO_ALLOC_REQUEST:
	case DISCO_ALLOC_RESPONSE:
		input_derp_only(e, now, derp_src, head, &msg);
		break;
	case DISCO_BIND:
	case DISCO_BIND_CHALLENGE:
	case DISCO_BIND_ANSWER:
		e->recv_bad_disco++; /* these come with the control bit */
		break;
	}
}

void engine_input_disco(struct engine *e, struct mono now, const struct path_addr *from, bool control,
			const uint8_t *data, size_t size)
{
	ed_input(e, now, from, control, NULL, data, size);
}

/* ---- relay client ---- */

static void relay_output(struct engine *e, struct mono now, struct relayclient_out *o)
{
	struct epeer *p = ep_by_key(e, &o->to);
	struct path_addr path;

	switch (o->kind) {
	case RELAYCLIENT_SEND_ALLOC:
	case RELAYCLIENT_SEND_VIA:
		if (!p)
			break;
		path = derp_path(e, p);
		ed_send(e, now, p, &path, &o->msg);
		break;
	case RELAYCLIENT_LOCAL_ALLOC:
		er_alloc_request(e, now, NULL, &o->msg);
		break;
	case RELAYCLIENT_SEND_BIND:
		ed_send_box(e, now, o->box, NULL, &o->path, true, &o->msg);
		break;
	case RELAYCLIENT_SEND_PING:
		if (p)
			ed_send(e, now, p, &o->path, &o->msg);
		break;
	case RELAYCLIENT_OFFER:
		if (!p || !ep_ladder(e, now, p))
			break;
		ladder_input_offer(p->ladder, now, &o->offer);
		ep_touch(e, p);
		break;
	}
}

void ed_pump_relay_client(struct engine *e, struct mono now)
{
	struct relayclient_out o;

	while (relayclient_poll(&e->relayc, now, &o))
		relay_output(e, now, &o);
}
