/* SPDX-License-Identifier: MIT */
/* The reference client's rules for one peer. See stock.h. */
#include "tests/sim/stock.h"

#include <assert.h>
#include <string.h>

enum {
	HEARTBEAT_MS = 3000,
	TRUST_MS = 6500,
	SESSION_S = 45,
	PING_INTERVAL_S = 5,
	PING_TIMEOUT_S = 5,
	RELAY_INTERVAL_S = 30,
	ALLOC_S = 10,
	ALLOC_RETRY_S = 3,
	BIND_S = 30,
};

static bool is_set(struct mono at)
{
	return !mono_is_zero(at);
}

void stock_init(struct stock *s, const struct env *env, const struct node_key *node, const struct disco_key *self)
{
	*s = (struct stock){ .env = env, .node = *node, .self = *self };
}

static struct stock_out *push(struct stock *s, enum stock_out_kind kind, const struct path_addr *path, enum disco_type type)
{
	struct stock_out *o = &s->outs[(s->first_out + s->n_outs++) % STOCK_OUTS];

	assert(s->n_outs <= STOCK_OUTS);
	*o = (struct stock_out){ .kind = kind, .path = *path, .msg = { .type = type } };
	return o;
}

bool stock_poll(struct stock *s, struct stock_out *out)
{
	if (s->n_outs == 0)
		return false;
	*out = s->outs[s->first_out];
	s->first_out = (s->first_out + 1) % STOCK_OUTS;
	s->n_outs--;
	return true;
}

bool stock_is_trusted(const struct stock *s, struct mono now)
{
	return s->best.kind != PATH_NONE && mono_before(now, s->trusted_until);
}

void stock_targets(const struct stock *s, struct mono now, struct path_addr out[static 2])
{
	const struct path_addr none = { .kind = PATH_NONE };

	out[0] = s->best.kind == PATH_NONE ? s->derp : s->best;
	out[1] = s->best.kind == PATH_NONE || stock_is_trusted(s, now) ? none : s->derp;
}

/* ---- addresses ---- */

static struct stock_cand *find(struct stock *s, const struct ep *ep)
{
	for (size_t i = 0; i < s->n_cands; i++)
		if (ep_eq(&s->cands[i].ep, ep))
			return &s->cands[i];
	return NULL;
}

static struct stock_cand *find_or_add(struct stock *s, const struct ep *ep)
{
	struct stock_cand *c = find(s, ep);

	if (!c && s->n_cands < STOCK_CANDS) {
		c = &s->cands[s->n_cands++];
		*c = (struct stock_cand){ .ep = *ep };
	}
	return c;
}

/* Forgets what nobody names any more; what it sends by goes along. */
static void prune(struct stock *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n_cands; i++) {
		const struct stock_cand c = s->cands[i];

		if (c.in_map || c.is_called || c.is_seen)
			s->cands[n++] = c;
	}
	s->n_cands = n;
	if (s->best.kind == PATH_DIRECT && !find(s, &s->best.ep))
		s->best.kind = PATH_NONE;
}

void stock_map(struct stock *s, const struct disco_key *peer, uint32_t region, const struct ep *eps, size_t n,
	       bool has_relays)
{
	s->peer = *peer;
	s->derp = path_derp(region);
	s->has_relays = has_relays;
	for (size_t i = 0; i < s->n_cands; i++)
		s->cands[i].in_map = false;
	for (size_t i = 0; i < n; i++) {
		struct stock_cand *c = find_or_add(s, &eps[i]);

		if (c)
			c->in_map = true;
	}
	prune(s);
}

void stock_link(struct stock *s)
{
	s->best.kind = PATH_NONE;
	s->trusted_until = MONO_ZERO;
	for (size_t i = 0; i < s->n_cands; i++)
		s->cands[i].pinged = MONO_ZERO;
}

/* ---- rounds ---- */

static void ping(struct stock *s, struct mono now, const struct path_addr *to)
{
	struct stock_ping *p = &s->pings[s->n_pings++ % STOCK_PINGS];
	struct stock_out *o = push(s, STOCK_SEND, to, DISCO_PING);

	env_fill(s->env, p->tx.b, sizeof(p->tx.b));
	p->to = *to;
	p->at = now;
	o->msg.ping = (struct disco_ping){ .tx = p->tx, .has_node_key = true, .node = s->node };
}

/* A CallMeMaybe goes out only with a Ping of this round. */
static void round_of_pings(struct stock *s, struct mono now, bool with_call)
{
	bool sent = false;

	for (size_t i = 0; i < s->n_cands; i++) {
		struct stock_cand *c = &s->cands[i];
		const struct path_addr to = path_direct(&c->ep);

		if (is_set(c->pinged) && mono_before(now, mono_add_s(c->pinged, PING_INTERVAL_S)))
			continue;
		c->pinged = now;
		ping(s, now, &to);
		sent = true;
	}
	if (sent && with_call)
		(void)push(s, STOCK_SEND_CALL, &s->derp, DISCO_CALL_ME_MAYBE);
}

static void ask_relays(struct stock *s)
{
	struct stock_out *o = push(s, STOCK_SEND_ALLOC, &s->derp, DISCO_ALLOC_REQUEST);

	disco_sort_pair(o->msg.alloc_request.client, &s->self, &s->peer);
	o->msg.alloc_request.generation = s->alloc_generation;
}

static void maybe_relays(struct stock *s, struct mono now)
{
	if (!s->has_relays || (s->best.kind == PATH_DIRECT && stock_is_trusted(s, now)) || stock_is_trusted(s, now) ||
	    (is_set(s->last_relay) && mono_before(now, mono_add_s(s->last_relay, RELAY_INTERVAL_S))))
		return;
	s->last_relay = now;
	/* Not while work for the peer runs. */
	if (is_set(s->alloc_until) || is_set(s->bind_until))
		return;
	s->alloc_generation++;
	s->alloc_until = mono_add_s(now, ALLOC_S);
	s->alloc_again = mono_add_s(now, ALLOC_RETRY_S);
	ask_relays(s);
}

/* A Ping that was lost ends a path that is not trusted any more. */
static void expire(struct stock *s, struct mono now)
{
	for (size_t i = 0; i < STOCK_PINGS; i++) {
		struct stock_ping *p = &s->pings[i];

		if (p->to.kind == PATH_NONE || mono_before(now, mono_add_s(p->at, PING_TIMEOUT_S)))
			continue;
		if (path_eq(&p->to, &s->best) && !stock_is_trusted(s, now))
			s->best.kind = PATH_NONE;
		p->to.kind = PATH_NONE;
	}
}

void stock_sent(struct stock *s, struct mono now)
{
	expire(s, now);
	s->last_sent = now;
	if (s->best.kind != PATH_DIRECT || !stock_is_trusted(s, now)) {
		round_of_pings(s, now, true);
		maybe_relays(s, now);
	}
	if (!is_set(s->heartbeat_at))
		s->heartbeat_at = mono_add_ms(now, HEARTBEAT_MS);
}

static void heartbeat(struct stock *s, struct mono now)
{
	s->heartbeat_at = MONO_ZERO;
	if (!mono_before(now, mono_add_s(s->last_sent, SESSION_S)))
		return;
	s->heartbeat_at = mono_add_ms(now, HEARTBEAT_MS);
	if (s->best.kind != PATH_NONE)
		ping(s, now, &s->best);
	if (s->best.kind != PATH_DIRECT || !stock_is_trusted(s, now))
		round_of_pings(s, now, true);
	maybe_relays(s, now);
}

/* ---- relay ---- */

static void bind_message(struct stock *s, const struct path_addr *to, enum disco_type type, const uint8_t *challenge)
{
	struct stock_out *o = push(s, STOCK_SEND_BIND, to, type);

	o->server = s->ep.server;
	o->msg.bind = (struct disco_bind){ .vni = s->ep.vni, .generation = s->bind_generation, .remote = s->peer };
	if (challenge)
		memcpy(o->msg.bind.challenge, challenge, DISCO_CHALLENGE_SIZE);
}

static void bind_ping(struct stock *s)
{
	struct stock_out *o;

	if (s->n_bind_tx == STOCK_BIND_PINGS)
		return;
	o = push(s, STOCK_SEND, &s->bound, DISCO_PING);
	env_fill(s->env, o->msg.ping.tx.b, DISCO_TX_SIZE);
	o->msg.ping.has_node_key = true;
	o->msg.ping.node = s->node;
	s->bind_tx[s->n_bind_tx++] = o->msg.ping.tx;
}

/* An endpoint by allocation or CallMeMaybeVia. One Bind, never repeated; the same endpoint again, or an older one,
 * is nothing until the handshake has ended. */
static void take_endpoint(struct stock *s, struct mono now, const struct disco_relay_ep *ep, bool is_allocator)
{
	const int64_t life_ns = ep->bind_lifetime_ns < BIND_S * NS_PER_S ? ep->bind_lifetime_ns : BIND_S * NS_PER_S;
	const bool in_use = s->best.kind == PATH_RELAY && s->best.vni == ep->vni && stock_is_trusted(s, now);

	if (is_set(s->bind_until) && disco_key_eq(&s->ep.server, &ep->server) && s->ep.lamport_id >= ep->lamport_id)
		return;
	if (is_allocator)
		push(s, STOCK_SEND, &s->derp, DISCO_CALL_ME_MAYBE_VIA)->msg.via = *ep;
	if (in_use)
		return;
	s->ep = *ep;
	s->bind_generation++;
	s->bind_until = mono_add_ns(now, life_ns);
	s->is_answered = false;
	s->n_bind_tx = 0;
	for (size_t i = 0; i < ep->addrs.n_eps; i++) {
		const struct path_addr to = path_relay(&ep->addrs.eps[i], ep->vni);

		bind_message(s, &to, DISCO_BIND, NULL);
	}
}

static void challenge(struct stock *s, const struct path_addr *from, const struct disco_bind *c)
{
	if (!is_set(s->bind_until) || s->is_answered || c->vni != s->ep.vni)
		return;
	s->is_answered = true;
	s->bound = *from;
	bind_message(s, from, DISCO_BIND_ANSWER, c->challenge);
	bind_ping(s);
}

static bool bind_pong(struct stock *s, struct mono now, const struct disco_tx *tx)
{
	for (size_t i = 0; i < s->n_bind_tx && is_set(s->bind_until); i++) {
		if (!disco_tx_eq(&s->bind_tx[i], tx))
			continue;
		s->bind_until = MONO_ZERO;
		if (s->best.kind != PATH_DIRECT || !stock_is_trusted(s, now)) {
			s->best = s->bound;
			s->trusted_until = mono_add_ms(now, TRUST_MS);
		}
		return true;
	}
	return false;
}

/* ---- messages ---- */

static void pong(struct stock *s, struct mono now, const struct path_addr *from, const struct disco_pong *m)
{
	if (bind_pong(s, now, &m->tx))
		return;
	for (size_t i = 0; i < STOCK_PINGS; i++) {
		const struct path_addr to = s->pings[i].to;

		if (to.kind == PATH_NONE || !disco_tx_eq(&s->pings[i].tx, &m->tx))
			continue;
		s->pings[i].to.kind = PATH_NONE;
		if (from->kind == PATH_DERP || (to.kind == PATH_DIRECT && !find(s, &to.ep)))
			return;
		if (s->best.kind == PATH_NONE || !stock_is_trusted(s, now) ||
		    (to.kind == PATH_DIRECT && s->best.kind == PATH_RELAY))
			s->best = to;
		if (path_eq(&s->best, &to))
			s->trusted_until = mono_add_ms(now, TRUST_MS);
		return;
	}
}

/* Deletes what the last one had and this one has not, and pings all at once, without a call of its own. */
static void call_me_maybe(struct stock *s, struct mono now, const struct disco_eps *eps)
{
	bool was_called[STOCK_CANDS] = { false };

	for (size_t i = 0; i < s->n_cands; i++) {
		was_called[i] = s->cands[i].is_called;
		s->cands[i].is_called = false;
	}
	for (size_t i = 0; i < eps->n_eps; i++) {
		struct stock_cand *c = find_or_add(s, &eps->eps[i]);

		if (c)
			c->is_called = true;
	}
	for (size_t i = 0; i < s->n_cands; i++) {
		s->cands[i].pinged = MONO_ZERO;
		if (was_called[i] && !s->cands[i].is_called)
			s->cands[i].in_map = s->cands[i].is_seen = false;
	}
	prune(s);
	round_of_pings(s, now, false);
	maybe_relays(s, now);
}

void stock_input(struct stock *s, struct mono now, const struct path_addr *from, const struct disco_msg *msg)
{
	struct stock_out *o;
	struct stock_cand *c;

	switch (msg->type) {
	case DISCO_PING:
		if (from->kind == PATH_DIRECT && (c = find_or_add(s, &from->ep)) && !c->in_map && !c->is_called)
			c->is_seen = true;
		o = push(s, STOCK_SEND, from, DISCO_PONG);
		o->msg.pong = (struct disco_pong){ .tx = msg->ping.tx, .src = disco_pong_src(from) };
		if (is_set(s->bind_until) && s->is_answered && path_eq(from, &s->bound))
			bind_ping(s);
		break;
	case DISCO_PONG:
		pong(s, now, from, &msg->pong);
		break;
	case DISCO_CALL_ME_MAYBE:
		call_me_maybe(s, now, &msg->call_me_maybe);
		break;
	case DISCO_CALL_ME_MAYBE_VIA:
		take_endpoint(s, now, &msg->via, false);
		break;
	case DISCO_ALLOC_RESPONSE:
		if (!is_set(s->alloc_until) || msg->alloc_response.generation != s->alloc_generation)
			break;
		s->alloc_until = MONO_ZERO;
		take_endpoint(s, now, &msg->alloc_response.ep, true);
		break;
	case DISCO_BIND_CHALLENGE:
		challenge(s, from, &msg->bind);
		break;
	case DISCO_BIND:
	case DISCO_BIND_ANSWER:
	case DISCO_ALLOC_REQUEST:
		break;
	}
}

/* ---- time ---- */

static struct mono at(struct mono m)
{
	return is_set(m) ? m : MONO_NEVER;
}

struct mono stock_deadline(const struct stock *s)
{
	struct mono first = mono_min(at(s->heartbeat_at), at(s->bind_until));

	return is_set(s->alloc_until) ? mono_min(first, mono_min(at(s->alloc_again), s->alloc_until)) : first;
}

void stock_tick(struct stock *s, struct mono now)
{
	if (is_set(s->bind_until) && mono_due(s->bind_until, now))
		s->bind_until = MONO_ZERO;
	if (is_set(s->alloc_until) && mono_due(s->alloc_until, now))
		s->alloc_until = MONO_ZERO;
	if (is_set(s->alloc_until) && is_set(s->alloc_again) && mono_due(s->alloc_again, now)) {
		s->alloc_again = MONO_ZERO;
		ask_relays(s);
	}
	if (is_set(s->heartbeat_at) && mono_due(s->heartbeat_at, now))
		heartbeat(s, now);
}
