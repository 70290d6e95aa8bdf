/* SPDX-License-Identifier: MIT */
/* The virtual network. */
#include "tests/sim/net.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NAT_TIMEOUT_MS = 30000, HOP_MS = 10, PORT_MIN = 20000, PORTS = 40000 };

struct dgram {
	struct net *net;
	const struct host *src; /* for blocks and counters only */
	struct ep from, to;
	size_t size;
	uint8_t data[];
};

/* ---- clock, random, events ---------------------------------------------------------------------
 */

uint64_t net_random(struct net *n)
{
	uint64_t z = (n->rng += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static void fill(void *ctx, void *dst, size_t size)
{
	uint8_t *p = dst;

	while (size > 0) {
		const uint64_t v = net_random(ctx);
		const size_t n = size < sizeof(v) ? size : sizeof(v);

		memcpy(p, &v, n);
		p += n;
		size -= n;
	}
}

static int64_t wall(void *ctx)
{
	const struct net *n = ctx;

	return n->wall0_ns + n->now.ns;
}

struct net *net_new(uint64_t seed)
{
	struct net *n = calloc(1, sizeof(*n));

	assert(n);
	n->rng = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
	n->now = mono_add_s(MONO_ZERO, 1000);
	n->wall0_ns = INT64_C(1767323045) * NS_PER_S; /* 2026-01-02 */
	n->env = (struct env){ .fill = fill, .wall_ns = wall, .ctx = n };
	return n;
}

void net_free(struct net *n)
{
	for (size_t i = 0; i < n->n_events; i++)
		free(n->events[i].arg);
	for (size_t i = 0; i < n->n_hosts; i++)
		free(n->hosts[i]);
	for (size_t i = 0; i < n->n_nats; i++) {
		free(n->nats[i]->maps);
		free(n->nats[i]);
	}
	free(n->events);
	free(n);
}

static bool event_before(const struct net_event *a, const struct net_event *b)
{
	return a->at.ns != b->at.ns ? a->at.ns < b->at.ns : a->seq < b->seq;
}

void net_after(struct net *n, int64_t delay_ns, void (*fn)(void *ctx, void *arg), void *ctx,
	       void *arg)
{
	size_t i;

	if (n->n_events == n->cap_events) {
		n->cap_events = n->cap_events ? n->cap_events * 2 : 64;
		n->events = realloc(n->events, n->cap_events * sizeof(*n->events));
		assert(n->events);
	}
	i = n->n_events++;
	n->events[i] = (struct net_event){ .at = mono_add_ns(n->now, delay_ns),
					   .seq = n->next_seq++,
					   .fn = fn,
					   .ctx = ctx,
					   .arg = arg };
	while (i > 0 && event_before(&n->events[i], &n->events[(i - 1) / 2])) {
		const struct net_event e = n->events[i];

		n->events[i] = n->events[(i - 1) / 2];
		n->events[(i - 1) / 2] = e;
		i = (i - 1) / 2;
	}
}

static struct net_event pop(struct net *n)
{
	const struct net_event first = n->events[0];
	size_t i = 0;

	n->events[0] = n->events[--n->n_events];
	for (;;) {
		size_t least = i;
		struct net_event e;

		for (size_t c = 2 * i + 1; c <= 2 * i + 2 && c < n->n_events; c++)
			if (event_before(&n->events[c], &n->events[least]))
				least = c;
		if (least == i)
			return first;
		e = n->events[i];
		n->events[i] = n->events[least];
		n->events[least] = e;
		i = least;
	}
}

struct mono net_next(const struct net *n)
{
	return n->n_events ? n->events[0].at : MONO_NEVER;
}

bool net_step(struct net *n, struct mono to)
{
	struct net_event e;

	if (!mono_due(net_next(n), to)) {
		n->now = mono_max(n->now, to);
		return false;
	}
	e = pop(n);
	n->now = mono_max(n->now, e.at);
	e.fn(e.ctx, e.arg);
	return true;
}

/* ---- topology ----------------------------------------------------------------------------------
 */

static struct ip parse_ip(const char *text)
{
	struct ip ip;
	const int err = ip_parse(&ip, text, strlen(text));

	assert(err == 0);
	(void)err;
	return ip;
}

struct nat *net_nat(struct net *n, const char *pub, enum nat_rule mapping, enum nat_rule filtering)
{
	struct nat *nat = calloc(1, sizeof(*nat));

	assert(nat && n->n_nats < NET_NATS_MAX);
	*nat = (struct nat){ .pub = parse_ip(pub),
			     .mapping = mapping,
			     .filtering = filtering,
			     .timeout_ms = NAT_TIMEOUT_MS };
	n->nats[n->n_nats++] = nat;
	return nat;
}

struct host *net_host(struct net *n, const char *name, const char *addr, struct nat *nat)
{
	struct host *h = calloc(1, sizeof(*h));

	assert(h && n->n_hosts < NET_HOSTS_MAX);
	*h = (struct host){ .net = n, .name = name, .nat = nat, .delay_ms = HOP_MS };
	n->hosts[n->n_hosts++] = h;
	net_add_addr(h, addr);
	return h;
}

void net_add_addr(struct host *h, const char *addr)
{
	assert(h->n_addrs < NET_ADDRS_MAX);
	h->addrs[h->n_addrs++] = parse_ip(addr);
}

void net_move(struct host *h, const char *addr, struct nat *nat)
{
	for (size_t i = 0; i < h->n_addrs; i++)
		if (h->addrs[i].family == IP_V4)
			h->addrs[i] = parse_ip(addr);
	h->nat = nat;
	h->n_seen = 0;
}

void net_nat_flush(struct nat *nat)
{
	nat->n_maps = 0;
}

void net_block(struct net *n, const struct host *from, const struct host *to)
{
	assert(n->n_blocks < NET_BLOCKS_MAX);
	n->blocks[n->n_blocks].from = from;
	n->blocks[n->n_blocks++].to = to;
}

void net_block_both(struct net *n, const struct host *a, const struct host *b)
{
	net_block(n, a, b);
	net_block(n, b, a);
}

void net_unblock(struct net *n, const struct host *a, const struct host *b)
{
	for (size_t i = n->n_blocks; i-- > 0;)
		if ((n->blocks[i].from == a && n->blocks[i].to == b) ||
		    (n->blocks[i].from == b && n->blocks[i].to == a))
			n->blocks[i] = n->blocks[--n->n_blocks];
}

static bool is_blocked(const struct net *n, const struct host *from, const struct host *to)
{
	for (size_t i = 0; i < n->n_blocks; i++)
		if (n->blocks[i].from == from && n->blocks[i].to == to)
			return true;
	return false;
}

static struct host *find_host(const struct net *n, const struct ip *ip, const struct nat *nat)
{
	for (size_t i = 0; i < n->n_hosts; i++) {
		struct host *h = n->hosts[i];

		for (size_t k = 0; k < h->n_addrs; k++)
			if (ip_eq(&h->addrs[k], ip) && (ip->family == IP_V6 || h->nat == nat))
				return h;
	}
	return NULL;
}

static const struct ip *addr_of(const struct host *h, uint8_t family)
{
	for (size_t i = 0; i < h->n_addrs; i++)
		if (h->addrs[i].family == family)
			return &h->addrs[i];
	return NULL;
}

/* ---- NAT ---------------------------------------------------------------------------------------
 */

static bool is_expired(const struct nat *nat, const struct nat_map *m, struct mono now)
{
	return mono_due(mono_add_ms(m->used, nat->timeout_ms), now);
}

/* What a rule compares of an endpoint. */
static struct ep part(enum nat_rule rule, const struct ep *ep)
{
	switch (rule) {
	case NAT_ENDPOINT_INDEPENDENT:
		return (struct ep){ .port = 0 };
	case NAT_ADDRESS_DEPENDENT:
		return (struct ep){ .ip = ep->ip };
	case NAT_ADDRESS_AND_PORT_DEPENDENT:
		break;
	}
	return *ep;
}

static bool port_is_free(const struct nat *nat, uint16_t port)
{
	for (size_t i = 0; i < nat->n_maps; i++)
		if (nat->maps[i].port == port)
			return false;
	return true;
}

static uint16_t pick_port(struct net *n, const struct nat *nat, uint16_t wish)
{
	/* Only the easy kind preserves ports (Linux does). */
	if (nat->mapping == NAT_ENDPOINT_INDEPENDENT && nat->n_maps > 0 && port_is_free(nat, wish))
		return wish;
	for (;;) {
		const uint16_t port = (uint16_t)(PORT_MIN + net_random(n) % PORTS);

		if (port_is_free(nat, port))
			return port;
	}
}

static void note_peer(struct nat_map *m, const struct ep *to, struct mono now)
{
	size_t oldest = 0;

	for (size_t i = 0; i < m->n_peers; i++) {
		if (ep_eq(&m->peers[i], to)) {
			m->peers_at[i] = now;
			return;
		}
		if (mono_before(m->peers_at[i], m->peers_at[oldest]))
			oldest = i;
	}
	if (m->n_peers < sizeof(m->peers) / sizeof(m->peers[0]))
		oldest = m->n_peers++;
	m->peers[oldest] = *to;
	m->peers_at[oldest] = now;
}

/* Translates the source of an outgoing packet; makes or refreshes the mapping. */
static struct ep nat_out(struct net *n, struct nat *nat, const struct ep *from, const struct ep *to)
{
	const struct ep key = part(nat->mapping, to);
	struct nat_map *m = NULL;

	for (size_t i = 0; i < nat->n_maps; i++) {
		if (is_expired(nat, &nat->maps[i], n->now)) {
			nat->maps[i--] = nat->maps[--nat->n_maps];
			continue;
		}
		if (ep_eq(&nat->maps[i].inner, from) && ep_eq(&nat->maps[i].dst, &key))
			m = &nat->maps[i];
	}
	if (!m) {
		if (nat->n_maps == nat->cap_maps) {
			nat->cap_maps = nat->cap_maps ? nat->cap_maps * 2 : 8;
			nat->maps = realloc(nat->maps, nat->cap_maps * sizeof(*nat->maps));
			assert(nat->maps);
		}
		m = &nat->maps[nat->n_maps];
		*m = (struct nat_map){ .inner = *from,
				       .dst = key,
				       .port = pick_port(n, nat, from->port) };
		nat->n_maps++;
	}
	m->used = n->now;
	note_peer(m, to, n->now);
	return (struct ep){ .ip = nat->pub, .port = m->port };
}

/* The inside destination of an incoming packet; unset if the NAT drops it. */
static struct ep nat_in(const struct net *n, const struct nat *nat, const struct ep *from,
			uint16_t port)
{
	for (size_t i = 0; i < nat->n_maps; i++) {
		const struct nat_map *m = &nat->maps[i];
		const struct ep want = part(nat->filtering, from);

		if (m->port != port || is_expired(nat, m, n->now))
			continue;
		for (size_t k = 0; k < m->n_peers; k++) {
			const struct ep have = part(nat->filtering, &m->peers[k]);

			if (ep_eq(&have, &want) &&
			    !mono_due(mono_add_ms(m->peers_at[k], nat->timeout_ms), n->now))
				return m->inner;
		}
	}
	return (struct ep){ .port = 0 };
}

static struct nat *find_nat(const struct net *n, const struct ip *pub, const struct nat *inside_of)
{
	for (size_t i = 0; i < n->n_nats; i++)
		if (ip_eq(&n->nats[i]->pub, pub) && n->nats[i]->parent == inside_of)
			return n->nats[i];
	return NULL;
}

/* ---- datagrams ---------------------------------------------------------------------------------
 */

static bool firewall_lets_in(const struct host *h, const struct ep *from)
{
	for (size_t i = 0; i < h->n_seen; i++)
		if (ep_eq(&h->seen[i], from))
			return true;
	return false;
}

static void firewall_note(struct host *h, const struct ep *to)
{
	if (firewall_lets_in(h, to))
		return;
	if (h->n_seen < sizeof(h->seen) / sizeof(h->seen[0]))
		h->seen[h->n_seen++] = *to;
	else
		h->seen[h->sent % (sizeof(h->seen) / sizeof(h->seen[0]))] = *to;
}

/* Walks inwards from 'nat' (null = internet) to the host that has the address. */
static struct host *walk_in(const struct net *n, struct nat *nat, const struct ep *from,
			    struct ep *to)
{
	for (;;) {
		struct nat *inner = to->ip.family == IP_V4 ? find_nat(n, &to->ip, nat) : NULL;

		if (!inner)
			return find_host(n, &to->ip, nat);
		*to = nat_in(n, inner, from, to->port);
		if (!ep_is_set(to))
			return NULL;
		nat = inner;
	}
}

/* Where a packet surfaces: translated outwards until its destination is inside the same realm. */
static struct nat *walk_out(struct host *h, struct ep *from, const struct ep *to, bool *dropped)
{
	struct net *n = h->net;
	struct nat *nat = to->ip.family == IP_V4 ? h->nat : NULL;

	while (nat) {
		if (find_host(n, &to->ip, nat) || find_nat(n, &to->ip, nat))
			return nat; /* same LAN, or behind the same carrier */
		if (ip_eq(&to->ip, &nat->pub) && !nat->has_hairpin) {
			*dropped = true;
			return NULL;
		}
		*from = nat_out(n, nat, from, to);
		nat = nat->parent;
	}
	return NULL;
}

static void deliver(void *ctx, void *arg)
{
	struct nat *realm = ctx;
	struct dgram *d = arg;
	struct net *n = d->net;
	struct ep to = d->to;
	struct host *h = walk_in(n, realm, &d->from, &to);

	if (h && !h->is_down && !h->udp_blocked && !is_blocked(n, d->src, h) &&
	    !(to.ip.family == IP_V6 && h->v6_blackholed) &&
	    !(h->has_firewall && !firewall_lets_in(h, &d->from)) &&
	    net_random(n) % 1000 >= h->loss_permille) {
		h->received++;
		if (h->recv)
			h->recv(h->ctx, to.port, &d->from, d->data, d->size);
	}
	free(d);
}

static int64_t link_delay_ns(struct net *n, const struct host *h)
{
	const uint64_t jitter =
		h->jitter_ms > 0 ? net_random(n) % (uint64_t)(h->jitter_ms * NS_PER_MS) : 0;

	return h->delay_ms * NS_PER_MS + (int64_t)jitter;
}

int net_send(struct host *h, uint16_t port, const struct ep *to, const uint8_t *buf, size_t size)
{
	struct net *n = h->net;
	const struct ip *own = addr_of(h, to->ip.family);
	struct ep from = { .port = port };
	struct ep peek = *to;
	const struct host *dst;
	struct nat *realm;
	bool dropped = false;
	unsigned int copies;

	if (!own || h->is_down)
		return -EHOSTUNREACH;
	from.ip = *own;
	h->sent++;
	if (h->udp_blocked || (to->ip.family == IP_V6 && h->v6_blackholed) ||
	    (n->drop && n->drop(n->drop_ctx, h, port, to, size)))
		return 0;
	if (h->has_firewall)
		firewall_note(h, to);
	realm = walk_out(h, &from, to, &dropped);
	if (dropped || net_random(n) % 1000 < h->loss_permille)
		return 0;
	dst = walk_in(n, realm, &from, &peek); /* for the delay only; decided anew on arrival */
	copies = net_random(n) % 1000 < h->dup_permille ? 2 : 1;
	for (; copies > 0; copies--) {
		struct dgram *d = malloc(sizeof(*d) + size);

		assert(d);
		*d = (struct dgram){ .net = n, .src = h, .from = from, .to = *to, .size = size };
		memcpy(d->data, buf, size);
		net_after(n,
			  dst == h ? NS_PER_US
				   : link_delay_ns(n, h) + (dst ? link_delay_ns(n, dst) : 0),
			  deliver, realm, d);
	}
	return 0;
}

struct ep net_reflexive(struct host *h, uint16_t port, const struct ep *server)
{
	const struct ip *own = addr_of(h, server->ip.family);
	struct ep from = { .port = port };
	bool dropped = false;

	if (!own || h->is_down || h->udp_blocked)
		return (struct ep){ .port = 0 };
	from.ip = *own;
	(void)walk_out(h, &from, server, &dropped);
	return dropped ? (struct ep){ .port = 0 } : from;
}
