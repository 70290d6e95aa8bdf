/* SPDX-License-Identifier: MIT */
/* Allocations and bind handshakes of one node. Each piece of work is a list entry with its own
 * timers; what it has to send is a set of flags that relayclient_poll() turns into messages one by
 * one. */
#include "relay/relayclient.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum state { ALLOCATING, BINDING, ANSWERED, DONE };

/* What poll has to send for a piece of work. */
enum {
	DUE_ALLOC = 1,
	DUE_VIA = 2,
	DUE_BIND = 4, /* to every address, 'next_addr' onwards */
	DUE_ANSWER = 8,
	DUE_PING = 16,
	DUE_OFFER = 32,
};

/* Invitations of one handshake that name the endpoint's own Lamport id; see out_via(). */
enum { PLAIN_VIAS = 2 };

/* Repetitions of whatever stays unanswered (path-selection 18). */
static const int64_t REPEAT_MS[] = { 500, 1000, 2000 };

struct relayclient_work {
	struct relayclient_work *next;
	enum state state;
	unsigned int due;
	struct relayclient_peer peer;
	struct mono until;     /* given up then */
	struct mono repeat_at; /* NEVER = no more repetitions */
	uint8_t repeats;
	uint32_t generation;
	/* Relay paths in use when the work began. */
	struct relay_path known[RELAYCLIENT_KNOWN_MAX];
	size_t n_known;
	bool has_asked; /* 'asked' is known: not for a CallMeMaybeVia alone */
	struct relayclient_server asked;
	/* BINDING, ANSWERED */
	bool is_allocator; /* we asked for it: the peer is told by CallMeMaybeVia */
	uint8_t n_vias;    /* how often it was */
	struct disco_relay_ep ep;
	size_t next_addr;
	struct disco_box box; /* own key and the server's */
	struct ep bound;      /* where the first Challenge came from */
	uint8_t challenge[DISCO_CHALLENGE_SIZE];
	struct {
		struct disco_tx tx;
		struct mono at;
	} pings[RELAYCLIENT_PINGS_MAX];
	uint8_t n_pings;
	/* DONE */
	struct relay_path offer;
};

void relayclient_init(struct relayclient *rc, const struct node_key *node,
		      const struct disco_priv *priv, const struct env *env)
{
	*rc = (struct relayclient){ .env = env, .node = *node, .is_enabled = true };
	relayclient_set_key(rc, priv);
}

static void work_free(struct relayclient *rc, struct relayclient_work *w)
{
	struct relayclient_work **at = &rc->work;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	rc->n_work--;
	disco_box_wipe(&w->box);
	free(w);
}

static void drop_all(struct relayclient *rc)
{
	while (rc->work)
		work_free(rc, rc->work);
}

void relayclient_wipe(struct relayclient *rc)
{
	drop_all(rc);
	sodium_memzero(rc, sizeof(*rc));
}

void relayclient_set_key(struct relayclient *rc, const struct disco_priv *priv)
{
	drop_all(rc);
	rc->priv = *priv;
	key_public(rc->disco.b, priv->b);
}

void relayclient_set_enabled(struct relayclient *rc, bool is_enabled)
{
	rc->is_enabled = is_enabled;
}

static bool has_server(const struct relayclient_server *servers, size_t n,
		       const struct node_key *node)
{
	for (size_t i = 0; i < n; i++)
		if (node_key_eq(&servers[i].node, node))
			return true;
	return false;
}

bool relayclient_set_servers(struct relayclient *rc, const struct relayclient_server *servers,
			     size_t n)
{
	bool added = false;

	if (n > RELAYCLIENT_SERVERS_MAX) {
		rc->n.drop_limit += n - RELAYCLIENT_SERVERS_MAX;
		n = RELAYCLIENT_SERVERS_MAX;
	}
	for (size_t i = 0; i < n; i++)
		added |= !has_server(rc->servers, rc->n_servers, &servers[i].node);
	if (n)
		memcpy(rc->servers, servers, n * sizeof(*servers));
	rc->n_servers = n;
	return added;
}

size_t relayclient_n_servers(const struct relayclient *rc, const struct node_key *peer)
{
	size_t n = 0;

	for (size_t i = 0; rc->is_enabled && i < rc->n_servers; i++)
		n += !node_key_eq(&rc->servers[i].node, peer);
	return n;
}

static struct relayclient_work *work_new(struct relayclient *rc,
					 const struct relayclient_peer *peer,
					 const struct relay_path *known, size_t n_known)
{
	struct relayclient_work *w;

	if (rc->n_work >= RELAYCLIENT_WORK_MAX) {
		rc->n.drop_limit++;
		return NULL;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->peer = *peer;
	w->n_known = n_known < RELAYCLIENT_KNOWN_MAX ? n_known : RELAYCLIENT_KNOWN_MAX;
	if (w->n_known)
		memcpy(w->known, known, w->n_known * sizeof(*known));
	w->repeat_at = MONO_NEVER;
	w->next = rc->work;
	rc->work = w;
	rc->n_work++;
	return w;
}

static void arm_repeat(struct relayclient_work *w, struct mono now)
{
	w->repeat_at = w->repeats < ARRAY_LEN(REPEAT_MS) ? mono_add_ms(now, REPEAT_MS[w->repeats])
							 : MONO_NEVER;
}

/* Is this server being asked for this peer, or for the same pair of disco keys (two peers that
 * share one)? */
static bool is_asking(const struct relayclient *rc, const struct relayclient_peer *peer,
		      const struct node_key *server)
{
	for (const struct relayclient_work *w = rc->work; w; w = w->next)
		if (w->state == ALLOCATING && node_key_eq(&w->asked.node, server) &&
		    disco_key_eq(&w->peer.disco, &peer->disco))
			return true;
	return false;
}

void relayclient_discover(struct relayclient *rc, struct mono now,
			  const struct relayclient_peer *peer, const struct relay_path *known,
			  size_t n_known)
{
	if (!rc->is_enabled || key_is_zero(peer->disco.b))
		return;
	for (size_t i = 0; i < rc->n_servers; i++) {
		const struct relayclient_server *s = &rc->servers[i];
		struct relayclient_work *w;

		/* The peer as relay to itself gains nothing over a direct path. */
		if (node_key_eq(&s->node, &peer->node) || key_is_zero(s->disco.b))
			continue;
		if (is_asking(rc, peer, &s->node)) {
			rc->n.duplicates++;
			continue;
		}
		w = work_new(rc, peer, known, n_known);
		if (!w)
			return;
		rc->n.allocs++;
		w->state = ALLOCATING;
		w->asked = *s;
		w->has_asked = true;
		w->generation = ++rc->alloc_generation;
		w->until = mono_add_s(now, RELAYCLIENT_ALLOC_S);
		w->due = DUE_ALLOC;
		arm_repeat(w, now);
	}
}

static struct relayclient_outcome outcome_of(const struct relayclient_work *w, bool is_over)
{
	struct relayclient_outcome o = { .peer = w->peer.node,
					 .server = w->asked.node,
					 .vni = w->ep.vni };

	switch (w->state) {
	case ALLOCATING:
		o.step = is_over ? RELAYCLIENT_NO_RESPONSE : RELAYCLIENT_ASKING;
		break;
	case BINDING:
		o.step = is_over ? RELAYCLIENT_NO_CHALLENGE : RELAYCLIENT_BINDING;
		break;
	case ANSWERED:
		o.step = is_over ? RELAYCLIENT_NO_PONG : RELAYCLIENT_BOUND;
		o.bound = w->bound;
		break;
	case DONE:
		o.step = RELAYCLIENT_WORKED;
		o.bound = w->offer.path.ep;
		o.latency_ns = w->offer.latency_ns;
		break;
	}
	return o;
}

/* Remembers how the work ended. */
static void record(struct relayclient *rc, const struct relayclient_work *w)
{
	if (w->has_asked)
		rc->past[rc->n_past++ % RELAYCLIENT_PAST_MAX] = outcome_of(w, true);
}

bool relayclient_outcome(const struct relayclient *rc, const struct node_key *peer,
			 const struct node_key *server, struct relayclient_outcome *out)
{
	for (const struct relayclient_work *w = rc->work; w; w = w->next) {
		if (!w->has_asked || !node_key_eq(&w->peer.node, peer) ||
		    !node_key_eq(&w->asked.node, server))
			continue;
		*out = outcome_of(w, false);
		return true;
	}
	for (size_t i = rc->n_past; i > 0 && i + RELAYCLIENT_PAST_MAX > rc->n_past; i--) {
		const struct relayclient_outcome *o = &rc->past[(i - 1) % RELAYCLIENT_PAST_MAX];

		if (!node_key_eq(&o->peer, peer) || !node_key_eq(&o->server, server))
			continue;
		*out = *o;
		return true;
	}
	return false;
}

static bool is_handshake(const struct relayclient_work *w)
{
	return w->state == BINDING || w->state == ANSWERED;
}

/* The handshake that a new endpoint collides with (peer-relay 9, steps 1 and 2), or null. */
static struct relayclient_work *find_rival(const struct relayclient *rc,
					   const struct node_key *peer,
					   const struct disco_relay_ep *ep)
{
	for (struct relayclient_work *w = rc->work; w; w = w->next)
		if (is_handshake(w) && disco_key_eq(&w->ep.server, &ep->server) &&
		    (w->ep.vni == ep->vni || node_key_eq(&w->peer.node, peer)))
			return w;
	return NULL;
}

static bool is_known(const struct relayclient_work *w, const struct disco_relay_ep *ep)
{
	for (size_t i = 0; i < w->n_known; i++)
		if (disco_key_eq(&w->known[i].server, &ep->server) &&
		    w->known[i].path.vni == ep->vni)
			return true;
	return false;
}

/* Keeps the addresses that a Bind may go to: a peer chose them, so they must not turn us into a
 * tool. */
static void keep_addrs(struct disco_eps *to, const struct disco_eps *from, bool is_self)
{
	to->n_eps = 0;
	for (size_t i = 0; i < from->n_eps && to->n_eps < RELAYCLIENT_ADDRS_MAX; i++) {
		const struct ep *ep = &from->eps[i];

		if (!ep_is_set(ep) || ep->port == 0 || ip_is_unspecified(&ep->ip) ||
		    ip_is_multicast(&ep->ip) || ip_is_tailnet(&ep->ip) ||
		    (ip_is_loopback(&ep->ip) && !is_self))
			continue;
		to->eps[to->n_eps++] = *ep;
	}
}

static void start_bind(struct relayclient *rc, struct mono now, struct relayclient_work *w)
{
	w->state = BINDING;
	/* Counter, never 0: a server takes 0 for "none" and drops it silently. */
	if (++rc->bind_generation == 0)
		rc->bind_generation = 1;
	w->generation = rc->bind_generation;
	w->next_addr = 0;
	w->n_pings = 0;
	w->repeats = 0;
	w->due = (w->due & DUE_VIA) | DUE_BIND;
	arm_repeat(w, now);
}

/* An endpoint is there: the rest of peer-relay 9. 'w' becomes its handshake, or is freed. */
static void take_endpoint(struct relayclient *rc, struct mono now, struct relayclient_work *w,
			  const struct disco_relay_ep *ep)
{
	struct relayclient_work *rival = find_rival(rc, &w->peer.node, ep);
	int64_t life_ns = (int64_t)RELAYCLIENT_BIND_S * NS_PER_S;

	if (rival && rival->ep.lamport_id >= ep->lamport_id) {
		rc->n.duplicates++;
		if (w->has_asked && node_key_eq(&w->peer.node, &rival->peer.node)) {
			rival->asked = w->asked; /* now we know whose server it is */
			rival->has_asked = true;
		}
		/* Asked for again after the last repetition: everything was lost, begin anew. The peer is told at
		 * once: should it be there now, this handshake is over before it would be told again. */
		if (rival->ep.vni == ep->vni && mono_is_never(rival->repeat_at)) {
			if (rival->is_allocator)
				rival->due |= DUE_VIA;
			start_bind(rc, now, rival);
		}
		work_free(rc, w);
		return;
	}
	if (rival) {
		if (!w->has_asked && node_key_eq(&w->peer.node, &rival->peer.node)) {
			w->asked = rival->asked;
			w->has_asked = rival->has_asked;
		}
		work_free(rc, rival);
	}
	if (ep->bind_lifetime_ns > 0 && ep->bind_lifetime_ns < life_ns)
		life_ns = ep->bind_lifetime_ns;
	w->until = mono_add_ns(now, life_ns);
	w->ep = *ep;
	keep_addrs(&w->ep.addrs, &ep->addrs, w->is_allocator && w->asked.is_self);
	w->due = w->is_allocator ? DUE_VIA : 0;
	w->ep.addrs.n_total = w->ep.addrs.n_eps;
	if (disco_box_init(&w->box, &rc->priv, &rc->disco, &ep->server) != 0 ||
	    w->ep.addrs.n_eps == 0) {
		rc->n.bad_responses++;
		work_free(rc, w);
		return;
	}
	if (is_known(w, ep)) {
		/* A new handshake could move the binding and lose packets; the peer is told all the
		 * same. */
		rc->n.duplicates++;
		w->state = DONE;
		w->repeat_at = MONO_NEVER;
		if (!w->due)
			work_free(rc, w);
		return;
	}
	rc->n.binds++;
	start_bind(rc, now, w);
}

static bool is_our_pair(const struct relayclient *rc, const struct disco_key *peer,
			const struct disco_relay_ep *ep)
{
	struct disco_key pair[2];

	disco_sort_pair(pair, &rc->disco, peer);
	return disco_key_eq(&pair[0], &ep->client[0]) && disco_key_eq(&pair[1], &ep->client[1]);
}

void relayclient_input_response(struct relayclient *rc, struct mono now,
				const struct node_key *from,
				const struct disco_alloc_response *resp)
{
	struct relayclient_work *w = rc->work;

	while (w && !(w->state == ALLOCATING && w->generation == resp->generation &&
		      node_key_eq(&w->asked.node, from)))
		w = w->next;
	if (!w || key_is_zero(resp->ep.server.b) || resp->ep.vni == 0 ||
	    !is_our_pair(rc, &w->peer.disco, &resp->ep)) {
		rc->n.bad_responses++;
		return;
	}
	w->is_allocator = true;
	take_endpoint(rc, now, w, &resp->ep);
}

void relayclient_input_via(struct relayclient *rc, struct mono now,
			   const struct relayclient_peer *peer, const struct disco_relay_ep *via,
			   const struct relay_path *known, size_t n_known)
{
	struct relayclient_work *w;
	size_t n = 0;

	if (!rc->is_enabled)
		return;
	if (key_is_zero(via->server.b) || via->vni == 0 || !is_our_pair(rc, &peer->disco, via)) {
		rc->n.bad_responses++;
		return;
	}
	for (w = rc->work; w; w = w->next)
		n += is_handshake(w) && !w->is_allocator && node_key_eq(&w->peer.node, &peer->node);
	if (n >= RELAYCLIENT_PEER_VIAS_MAX && !find_rival(rc, &peer->node, via)) {
		rc->n.drop_limit++;
		return;
	}
	w = work_new(rc, peer, known, n_known);
	if (!w)
		return;
	w->state = DONE; /* neither allocation nor handshake yet */
	take_endpoint(rc, now, w, via);
}

const struct disco_box *relayclient_box(const struct relayclient *rc,
					const struct disco_key *sender)
{
	for (const struct relayclient_work *w = rc->work; w; w = w->next)
		if (is_handshake(w) && disco_key_eq(&w->ep.server, sender))
			return &w->box;
	return NULL;
}

void relayclient_input_challenge(struct relayclient *rc, struct mono now, const struct ep *from,
				 uint32_t vni, const struct disco_key *sender,
				 const struct disco_bind *challenge)
{
	struct relayclient_work *w = rc->work;

	while (w && !(is_handshake(w) && disco_key_eq(&w->ep.server, sender) && w->ep.vni == vni))
		w = w->next;
	if (!w || challenge->vni != vni || !disco_key_eq(&challenge->remote, &w->peer.disco)) {
		rc->n.bad_challenges++;
		return;
	}
	/* The first one wins: it came by the fastest address. */
	if (w->state == ANSWERED)
		return;
	w->state = ANSWERED;
	w->bound = *from;
	memcpy(w->challenge, challenge->challenge, sizeof(w->challenge));
	w->due = (w->due & DUE_VIA) | DUE_ANSWER | DUE_PING;
	w->repeats = 0;
	arm_repeat(w, now);
}

static bool is_bound_to(const struct relayclient_work *w, const struct path_addr *path)
{
	return w->state == ANSWERED && path->kind == PATH_RELAY && w->ep.vni == path->vni &&
	       ep_eq(&w->bound, &path->ep);
}

void relayclient_input_ping(struct relayclient *rc, struct mono now, const struct path_addr *path,
			    const struct disco_key *sender)
{
	(void)now;
	/* Our own first Ping was lost if the peer bound later: now it is there. */
	for (struct relayclient_work *w = rc->work; w; w = w->next)
		if (is_bound_to(w, path) && disco_key_eq(&w->peer.disco, sender))
			w->due |= DUE_PING;
}

bool relayclient_input_pong(struct relayclient *rc, struct mono now, const struct path_addr *path,
			    const struct disco_key *sender, const struct disco_pong *pong)
{
	for (struct relayclient_work *w = rc->work; w; w = w->next) {
		if (!is_bound_to(w, path) || !disco_key_eq(&w->peer.disco, sender))
			continue;
		for (size_t i = 0; i < w->n_pings; i++) {
			if (!disco_tx_eq(&w->pings[i].tx, &pong->tx))
				continue;
			w->state = DONE;
			w->due = DUE_OFFER;
			w->repeat_at = MONO_NEVER;
			w->offer = (struct relay_path){ .path = *path,
							.server = w->ep.server,
							.latency_ns = mono_since_ns(
								now, w->pings[i].at) };
			record(rc, w);
			return true;
		}
	}
	return false;
}

void relayclient_cancel(struct relayclient *rc, const struct node_key *peer)
{
	struct relayclient_work *next;

	for (struct relayclient_work *w = rc->work; w; w = next) {
		next = w->next;
		if (node_key_eq(&w->peer.node, peer))
			work_free(rc, w);
	}
}

void relayclient_input_link(struct relayclient *rc, struct mono now)
{
	for (struct relayclient_work *w = rc->work; w; w = w->next)
		if (is_handshake(w))
			start_bind(rc, now, w);
}

/* ---- outputs -----------------------------------------------------------------------------------
 */

static void out_alloc(struct relayclient *rc, struct relayclient_work *w,
		      struct relayclient_out *out)
{
	w->due &= ~(unsigned int)DUE_ALLOC;
	out->kind = w->asked.is_self ? RELAYCLIENT_LOCAL_ALLOC : RELAYCLIENT_SEND_ALLOC;
	out->to = w->asked.node;
	out->to_disco = w->asked.disco;
	out->msg = (struct disco_msg){ .type = DISCO_ALLOC_REQUEST };
	disco_sort_pair(out->msg.alloc_request.client, &rc->disco, &w->peer.disco);
	out->msg.alloc_request.generation = w->generation;
}

/* A stock peer sends one Bind for an endpoint and is then deaf to invitations to it until the bind lifetime is
 * over: 30 s where it had asked the server itself, and where its UDP was blocked just then it stays off the relay
 * for so long. Only a newer endpoint makes it begin anew, and what tells newer from older is the Lamport id; no
 * server looks at it. So invitations that were in vain come again with higher ones. */
static void out_via(struct relayclient *rc, struct relayclient_work *w, struct relayclient_out *out)
{
	w->due &= ~(unsigned int)DUE_VIA;
	out->kind = RELAYCLIENT_SEND_VIA;
	out->to = w->peer.node;
	out->to_disco = w->peer.disco;
	out->msg = (struct disco_msg){ .type = DISCO_CALL_ME_MAYBE_VIA, .via = w->ep };
	if (w->ep.bind_lifetime_ns > (int64_t)RELAYCLIENT_VIA_BIND_S * NS_PER_S)
		out->msg.via.bind_lifetime_ns = (int64_t)RELAYCLIENT_VIA_BIND_S * NS_PER_S;
	/* DONE: the path works for us, but the peer was heard elsewhere. */
	if (w->n_vias >= PLAIN_VIAS || w->state == DONE)
		out->msg.via.lamport_id += ++rc->n_again;
	else
		w->n_vias++;
}

static void out_bind(struct relayclient_work *w, bool is_answer, struct relayclient_out *out)
{
	struct disco_bind *bind = &out->msg.bind;

	out->kind = RELAYCLIENT_SEND_BIND;
	out->box = &w->box;
	out->msg = (struct disco_msg){ .type = is_answer ? DISCO_BIND_ANSWER : DISCO_BIND };
	bind->vni = w->ep.vni;
	bind->generation = w->generation;
	bind->remote = w->peer.disco;
	if (is_answer) {
		memcpy(bind->challenge, w->challenge, sizeof(bind->challenge));
		out->path = path_relay(&w->bound, w->ep.vni);
		w->due &= ~(unsigned int)DUE_ANSWER;
		return;
	}
	out->path = path_relay(&w->ep.addrs.eps[w->next_addr++], w->ep.vni);
	if (w->next_addr == w->ep.addrs.n_eps) {
		w->next_addr = 0;
		w->due &= ~(unsigned int)DUE_BIND;
	}
}

static bool out_ping(struct relayclient *rc, struct mono now, struct relayclient_work *w,
		     struct relayclient_out *out)
{
	w->due &= ~(unsigned int)DUE_PING;
	if (w->n_pings == RELAYCLIENT_PINGS_MAX)
		return false;
	out->kind = RELAYCLIENT_SEND_PING;
	out->to = w->peer.node;
	out->to_disco = w->peer.disco;
	out->path = path_relay(&w->bound, w->ep.vni);
	out->msg = (struct disco_msg){ .type = DISCO_PING,
				       .ping = { .has_node_key = true, .node = rc->node } };
	env_fill(rc->env, out->msg.ping.tx.b, DISCO_TX_SIZE);
	w->pings[w->n_pings].tx = out->msg.ping.tx;
	w->pings[w->n_pings++].at = now;
	return true;
}

static void out_offer(struct relayclient *rc, struct relayclient_work *w,
		      struct relayclient_out *out)
{
	w->due &= ~(unsigned int)DUE_OFFER;
	rc->n.offers++;
	out->kind = RELAYCLIENT_OFFER;
	out->to = w->peer.node;
	out->to_disco = w->peer.disco;
	out->offer = w->offer;
}

/* The next message of one piece of work, in the order in which they must leave: the Answer before
 * the Ping that relies on it. */
static bool out_work(struct relayclient *rc, struct mono now, struct relayclient_work *w,
		     struct relayclient_out *out)
{
	if (w->due & DUE_ALLOC)
		out_alloc(rc, w, out);
	else if (w->due & DUE_VIA)
		out_via(rc, w, out);
	else if (w->due & DUE_BIND)
		out_bind(w, false, out);
	else if (w->due & DUE_ANSWER)
		out_bind(w, true, out);
	else if (w->due & DUE_PING)
		return out_ping(rc, now, w, out);
	else if (w->due & DUE_OFFER)
		out_offer(rc, w, out);
	else
		return false;
	return true;
}

bool relayclient_poll(struct relayclient *rc, struct mono now, struct relayclient_out *out)
{
	struct relayclient_work *next;

	for (struct relayclient_work *w = rc->work; w; w = next) {
		next = w->next;
		if (out_work(rc, now, w, out))
			return true;
		if (w->state == DONE)
			work_free(rc, w);
	}
	return false;
}

struct mono relayclient_deadline(const struct relayclient *rc)
{
	struct mono first = MONO_NEVER;

	for (const struct relayclient_work *w = rc->work; w; w = w->next)
		first = mono_min(first, mono_min(w->until, w->repeat_at));
	return first;
}

static void give_up(struct relayclient *rc, struct relayclient_work *w)
{
	char key[KEY_SHORT_MAX];

	if (w->state == ALLOCATING)
		rc->n.alloc_timeouts++;
	else
		rc->n.bind_timeouts++;
	record(rc, w);
	key_short(key, KEY_NODE, w->peer.node.b);
	log_debug(rc->env->log, "relay: path to %s: no answer to %s", key,
		  w->state == ALLOCATING ? "the allocation request" : "the handshake");
	work_free(rc, w);
}

static void repeat(struct relayclient *rc, struct mono now, struct relayclient_work *w)
{
	w->repeats++;
	arm_repeat(w, now);
	switch (w->state) {
	case ALLOCATING:
		rc->n.alloc_repeats++;
		w->due |= DUE_ALLOC;
		break;
	case BINDING:
		rc->n.bind_repeats++;
		w->due |= DUE_BIND;
		break;
	case ANSWERED:
		/* Repeating a lost Answer binds; after an accepted one the server drops it. The
		 * peer may have missed the CallMeMaybeVia, or could not bind when it came. */
		rc->n.bind_repeats++;
		w->due |= DUE_ANSWER | DUE_PING;
		if (w->is_allocator)
			w->due |= DUE_VIA;
		break;
	case DONE:
		break;
	}
}

void relayclient_tick(struct relayclient *rc, struct mono now)
{
	struct relayclient_work *next;

	for (struct relayclient_work *w = rc->work; w; w = next) {
		next = w->next;
		if (mono_due(w->until, now) && w->state != DONE)
			give_up(rc, w);
		else if (mono_due(w->repeat_at, now))
			repeat(rc, now, w);
	}
}
