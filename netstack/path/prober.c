/* SPDX-License-Identifier: MIT */
/* Candidates and Pings in flight of one peer. */
#include "path/prober.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	RETRY_MS = 20, /* when the node-wide limit holds Pings back */
	BACK_MS = 1000,
	LOST_AFTER_S = 10, /* an answer this old no longer counts as "answers" */
	UDP_IP4 = 28,
	UDP_IP6 = 48,
};

bool prober_may_try(const struct pathself *self, const struct ep *ep)
{
	const struct ip *ip = &ep->ip;

	if (!ep_is_set(ep) || ep->port == 0 || ip_is_unspecified(ip) || ip_is_loopback(ip) ||
	    ip_is_multicast(ip) || ip_is_tailnet(ip))
		return false;
	if (ip->family == IP_V6 && ip_is_link_local(ip))
		return false; /* needs a scope that the address does not carry */
	for (size_t i = 0; i < self->n_ifaddrs; i++)
		if (ip_eq(&self->ifaddrs[i], ip))
			return false;
	return true;
}

void prober_init(struct prober *p, struct pathself *self)
{
	*p = (struct prober){ .self = self, .retry_at = MONO_NEVER };
}

void prober_wipe(struct prober *p)
{
	free(p->cands);
	free(p->pings);
	*p = (struct prober){ .self = p->self, .retry_at = MONO_NEVER };
}

struct prober_cand *prober_find(const struct prober *p, const struct ep *ep)
{
	for (uint16_t i = 0; i < p->n_cands; i++)
		if (ep_eq(&p->cands[i].ep, ep))
			return &p->cands[i];
	return NULL;
}

static size_t count_from(const struct prober *p, uint8_t from)
{
	size_t n = 0;

	for (uint16_t i = 0; i < p->n_cands; i++)
		n += (p->cands[i].from & from) != 0;
	return n;
}

/* Appends a candidate; the arrays grow by doubling and never shrink while the peer exists. */
static struct prober_cand *add(struct prober *p, const struct ep *ep)
{
	if (p->n_cands == p->cap_cands) {
		const uint16_t cap = p->cap_cands ? (uint16_t)(p->cap_cands * 2) : 4;
		struct prober_cand *cands = realloc(p->cands, cap * sizeof(*cands));

		if (!cands)
			return NULL;
		p->cands = cands;
		p->cap_cands = cap;
	}
	p->cands[p->n_cands] = (struct prober_cand){ .ep = *ep };
	return &p->cands[p->n_cands++];
}

static void del(struct prober *p, size_t i)
{
	assert(i < p->n_cands);
	p->n_cands--;
	memmove(&p->cands[i], &p->cands[i + 1], (p->n_cands - i) * sizeof(*p->cands));
}

/* Names 'ep' as coming from 'from', of which at most 'max' are kept. */
static int name(struct prober *p, struct mono now, const struct ep *ep, uint8_t from, size_t max)
{
	struct prober_cand *c = prober_find(p, ep);

	if (!prober_may_try(p->self, ep) ||
	    (!(c && c->from & from) && count_from(p, from) >= max)) {
		p->self->n.drop_endpoint++;
		return 0;
	}
	if (!c)
		c = add(p, ep);
	if (!c)
		return -ENOMEM;
	c->from |= from;
	if (from == PROBER_FROM_CMM)
		c->last_cmm = now;
	return 0;
}

static bool is_listed(const struct ep *ep, const struct ep *eps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ep_eq(ep, &eps[i]))
			return true;
	return false;
}

int prober_set_netmap(struct prober *p, const struct ep *eps, size_t n)
{
	for (size_t i = p->n_cands; i-- > 0;) {
		struct prober_cand *c = &p->cands[i];

		if (!(c->from & PROBER_FROM_NETMAP) || is_listed(&c->ep, eps, n))
			continue;
		c->from &= (uint8_t)~PROBER_FROM_NETMAP;
		/* Unless a CallMeMaybe named it, also if Pings came from there. */
		if (!(c->from & PROBER_FROM_CMM))
			del(p, i);
	}
	for (size_t i = 0; i < n; i++) {
		const int err = name(p, MONO_ZERO, &eps[i], PROBER_FROM_NETMAP, PROBER_NETMAP_MAX);

		if (err)
			return err;
	}
	return 0;
}

int prober_set_cmm(struct prober *p, struct mono now, const struct disco_eps *eps)
{
	for (size_t i = p->n_cands; i-- > 0;)
		if (p->cands[i].from & PROBER_FROM_CMM &&
		    !is_listed(&p->cands[i].ep, eps->eps, eps->n_eps))
			del(p, i);
	p->self->n.drop_endpoint += (uint64_t)(eps->n_total - eps->n_eps);
	for (size_t i = 0; i < eps->n_eps; i++) {
		const int err = name(p, now, &eps->eps[i], PROBER_FROM_CMM, PROBER_CMM_MAX);

		if (err)
			return err;
	}
	prober_reset_limits(p);
	return 0;
}

/* The purely learned candidate heard longest ago makes room. */
static void evict_learned(struct prober *p)
{
	size_t oldest = SIZE_MAX;

	for (size_t i = 0; i < p->n_cands; i++)
		if (p->cands[i].from == PROBER_FROM_PING &&
		    (oldest == SIZE_MAX ||
		     mono_before(p->cands[i].last_ping, p->cands[oldest].last_ping)))
			oldest = i;
	if (oldest != SIZE_MAX)
		del(p, oldest);
}

int prober_note_ping(struct prober *p, struct mono now, const struct ep *ep,
		     const struct disco_tx *tx)
{
	struct prober_cand *c = prober_find(p, ep);
	const bool is_new = !c;

	/* A Ping proved that somebody with the key is there: own and local addresses are fine (a
	 * container on this host), but a path through the tunnel itself would loop. */
	if (!ep_is_set(ep) || ip_is_unspecified(&ep->ip) || ip_is_multicast(&ep->ip) ||
	    ip_is_tailnet(&ep->ip))
		return -EPROTO;
	if (c && c->has_last_tx && disco_tx_eq(&c->last_tx, tx)) {
		p->self->n.dup_ping++;
		return -ESTALE;
	}
	if (!c) {
		if (count_from(p, PROBER_FROM_PING) >= PROBER_PING_MAX)
			evict_learned(p);
		if (p->n_cands >= PROBER_CANDS_MAX)
			return -ENOBUFS;
		c = add(p, ep);
	}
	if (!c)
		return -ENOMEM;
	c->from |= PROBER_FROM_PING;
	c->last_ping = now;
	c->last_tx = *tx;
	c->has_last_tx = true;
	return is_new ? 1 : 0;
}

bool prober_may_ping_back(struct prober_cand *c, struct mono now)
{
	if ((!mono_is_zero(c->last_pong) &&
	     !mono_due(mono_add_s(c->last_pong, PROBER_INTERVAL_S), now)) ||
	    (!mono_is_zero(c->last_back) && !mono_due(mono_add_ms(c->last_back, BACK_MS), now)))
		return false;
	c->last_back = now;
	return true;
}

void prober_prune(struct prober *p, struct mono now)
{
	for (size_t i = p->n_cands; i-- > 0;) {
		struct prober_cand *c = &p->cands[i];
		const struct mono heard = mono_max(c->last_ping, c->last_home);

		if (!(c->from & PROBER_FROM_PING) ||
		    !mono_due(mono_add_s(heard, PROBER_PING_LIFE_S), now))
			continue;
		c->from &= (uint8_t)~PROBER_FROM_PING;
		if (c->from == 0)
			del(p, i);
	}
}

void prober_reset_limits(struct prober *p)
{
	for (size_t i = 0; i < p->n_cands; i++)
		p->cands[i].last_sent = MONO_ZERO;
}

void prober_reset_history(struct prober *p)
{
	for (size_t i = 0; i < p->n_cands; i++) {
		struct prober_cand *c = &p->cands[i];

		*c = (struct prober_cand){ .ep = c->ep,
					   .from = c->from,
					   .last_ping = c->last_ping,
					   .last_cmm = c->last_cmm };
	}
}

int prober_ping(struct prober *p, struct mono now, const struct path_addr *to,
		enum prober_purpose purpose, uint64_t user_id, size_t size)
{
	struct prober_ping *ping;

	if (p->n_pings == PROBER_INFLIGHT_MAX)
		return -ENOBUFS;
	if (p->n_pings == p->cap_pings) {
		const uint16_t cap = p->cap_pings ? (uint16_t)(p->cap_pings * 2) : 4;
		struct prober_ping *pings = realloc(p->pings, cap * sizeof(*pings));

		if (!pings)
			return -ENOMEM;
		p->pings = pings;
		p->cap_pings = cap;
	}
	ping = &p->pings[p->n_pings++];
	*ping = (struct prober_ping){
		.to = *to, .at = now, .user_id = user_id, .purpose = (uint8_t)purpose
	};
	if (size > DISCO_PING_SIZE)
		ping->padding = (uint32_t)(size - DISCO_PING_SIZE);
	env_fill(p->self->env, ping->tx.b, sizeof(ping->tx.b));
	if (to->kind == PATH_DIRECT) {
		struct prober_cand *c = prober_find(p, &to->ep);

		if (c)
			c->last_sent = now;
	}
	return 0;
}

static bool may_ping_direct(const struct prober *p)
{
	return p->self->has_udp && p->self->has_direct;
}

size_t prober_ping_all(struct prober *p, struct mono now, int64_t interval_ms)
{
	size_t n = 0;

	for (size_t i = 0; may_ping_direct(p) && i < p->n_cands && n < PROBER_ROUND_MAX; i++) {
		const struct prober_cand *c = &p->cands[i];
		const struct path_addr to = path_direct(&c->ep);

		if (!mono_is_zero(c->last_sent) && !mono_due(mono_add_ms(c->last_sent, interval_ms), now))
			continue;
		n += prober_ping(p, now, &to, PROBER_DISCOVERY, 0, 0) == 0;
	}
	return n;
}

size_t prober_ping_all_user(struct prober *p, struct mono now, uint64_t user_id, size_t size)
{
	size_t n = 0;

	for (size_t i = 0; may_ping_direct(p) && i < p->n_cands && n < PROBER_ROUND_MAX; i++) {
		const struct path_addr to = path_direct(&p->cands[i].ep);

		n += prober_ping(p, now, &to, PROBER_USER, user_id, size) == 0;
	}
	return n;
}

const struct prober_ping *prober_next(struct prober *p, struct mono now)
{
	p->retry_at = MONO_NEVER;
	for (uint16_t i = 0; i < p->n_pings; i++) {
		struct prober_ping *ping = &p->pings[i];
		struct prober_cand *c;

		if (ping->is_sent)
			continue;
		if (ping->purpose == PROBER_DISCOVERY && !pathself_may_ping(p->self, now)) {
			p->retry_at = mono_add_ms(now, RETRY_MS);
			continue;
		}
		ping->is_sent = true;
		ping->at = now;
		c = ping->to.kind == PATH_DIRECT ? prober_find(p, &ping->to.ep) : NULL;
		if (c) {
			c->n_sent++;
			c->is_unreachable = false;
		}
		return ping;
	}
	return NULL;
}

static void remove_ping(struct prober *p, size_t i, struct prober_ping *out)
{
	*out = p->pings[i];
	p->n_pings--;
	memmove(&p->pings[i], &p->pings[i + 1], (p->n_pings - i) * sizeof(*p->pings));
}

bool prober_take(struct prober *p, const struct disco_tx *tx, struct prober_ping *ping)
{
	for (uint16_t i = 0; i < p->n_pings; i++) {
		if (!p->pings[i].is_sent || !disco_tx_eq(&p->pings[i].tx, tx))
			continue;
		remove_ping(p, i, ping);
		return true;
	}
	return false;
}

struct prober_cand *prober_note_pong(struct prober *p, struct mono now,
				     const struct prober_ping *ping, const struct ep *from)
{
	struct prober_cand *c = prober_find(p, &ping->to.ep);
	const uint32_t header = ping->to.ep.ip.family == IP_V6 ? UDP_IP6 : UDP_IP4;
	const uint32_t mtu = ping->padding ? DISCO_PING_SIZE + ping->padding + header : 0;

	if (!c)
		return NULL;
	c->last_pong = now;
	if (ep_eq(from, &c->ep))
		c->last_home = now;
	c->latency_ns = mono_since_ns(now, ping->at);
	c->n_pongs++;
	c->n_sent = 0;
	c->is_unreachable = false;
	if (mtu > c->mtu)
		c->mtu = mtu;
	return c;
}

bool prober_expire(struct prober *p, struct mono now, struct prober_ping *ping)
{
	for (uint16_t i = 0; i < p->n_pings; i++) {
		if (!mono_due(mono_add_s(p->pings[i].at, PROBER_TIMEOUT_S), now))
			continue;
		remove_ping(p, i, ping);
		return true;
	}
	return false;
}

struct mono prober_deadline(const struct prober *p)
{
	struct mono first = p->retry_at;

	for (uint16_t i = 0; i < p->n_pings; i++)
		first = mono_min(first, mono_add_s(p->pings[i].at, PROBER_TIMEOUT_S));
	return first;
}

enum prober_verdict prober_verdict(const struct prober *p, const struct prober_cand *c,
				   struct mono now)
{
	if (c->is_unreachable)
		return PROBER_UNREACHABLE;
	if (!mono_is_zero(c->last_pong))
		return c->n_sent > 0 && mono_due(mono_add_s(c->last_pong, LOST_AFTER_S), now)
			       ? PROBER_LOST
			       : PROBER_ANSWERS;
	for (uint16_t i = 0; i < p->n_pings; i++)
		if (p->pings[i].to.kind == PATH_DIRECT && ep_eq(&p->pings[i].to.ep, &c->ep) &&
		    c->n_sent <= 1)
			return PROBER_WAITING;
	return c->n_sent > 0 ? PROBER_NO_ANSWER : PROBER_UNTRIED;
}
