/* SPDX-License-Identifier: MIT */
/* The peer relay machine of relayserver.h: table, allocation and forwarding. The bind handshake is in
 * relaybind.c, which sees this file's table through relaytable.h. */
#include "relay/relayserver.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "relay/relaybind.h"
#include "wire/disco.h"
#include "wire/geneve.h"

/* Requesting nodes remembered; those without sessions are forgotten at each sweep. */
enum { NODES_MAX = 8192 };

struct pair_key {
	struct disco_key client[2];
};

static_assert(sizeof(struct pair_key) == 2 * KEY_SIZE, "hashed whole");

static void drop(struct relayserver *s, enum relayserver_drop why)
{
	s->n.drops[why]++;
}

static unsigned family_of(const struct ep *ep)
{
	return ep->ip.family == IP_V6 ? 1 : 0;
}

int relayserver_init(struct relayserver *s, const struct relayserver_cfg *cfg, const struct env *env)
{
	memset(s, 0, sizeof(*s));
	s->env = env;
	s->cfg = *cfg;
	if (s->cfg.live_max == 0)
		s->cfg.live_max = RELAYSERVER_LIVE_MAX;
	if (s->cfg.live_per_node == 0)
		s->cfg.live_per_node = RELAYSERVER_LIVE_PER_NODE;
	s->sweep_at = MONO_NEVER;
	map_init(&s->by_vni, sizeof(uint32_t), s->cfg.live_max, env);
	map_init(&s->by_pair, sizeof(struct pair_key), s->cfg.live_max, env);
	map_init(&s->nodes, KEY_SIZE, NODES_MAX, env);
	env_fill(env, s->guard_seed, sizeof(s->guard_seed));
	if (cfg->bytes_per_s == 0 && cfg->session_bytes_per_s == 0)
		return 0;
	s->fair = malloc(sizeof(*s->fair));
	if (!s->fair)
		return -ENOMEM;
	relayfair_init(s->fair, MONO_ZERO, cfg->bytes_per_s, cfg->session_bytes_per_s);
	return 0;
}

/* --- lists and slots --- */

static uint32_t index_of(const struct relayserver *s, const struct relayserver_session *e)
{
	return (uint32_t)(e - s->sessions);
}

static void unbound_unlink(struct relayserver *s, struct relayserver_session *e)
{
	if (e->prev)
		s->sessions[e->prev - 1].next = e->next;
	else
		s->unbound_first = e->next;
	if (e->next)
		s->sessions[e->next - 1].prev = e->prev;
	else
		s->unbound_last = e->prev;
	e->prev = e->next = 0;
}

static void unbound_append(struct relayserver *s, struct relayserver_session *e)
{
	uint32_t at = index_of(s, e) + 1;

	e->prev = s->unbound_last;
	e->next = 0;
	if (s->unbound_last)
		s->sessions[s->unbound_last - 1].next = at;
	else
		s->unbound_first = at;
	s->unbound_last = at;
}

/* Queues the session for poll. A session is in the ring at most once, so the ring cannot overflow. */
static void make_due(struct relayserver *s, struct relayserver_session *e)
{
	if (e->is_due)
		return;
	e->is_due = true;
	s->due[(s->due_first + s->n_due++) % s->cfg.live_max] = index_of(s, e);
}

static void slot_free(struct relayserver *s, struct relayserver_session *e)
{
	uint32_t at = index_of(s, e) + 1;

	sodium_memzero(e, sizeof(*e));
	e->next = s->free_first;
	s->free_first = at;
}

static struct relayserver_session *slot_take(struct relayserver *s)
{
	struct relayserver_session *e;

	if (s->free_first) {
		e = &s->sessions[s->free_first - 1];
		s->free_first = e->next;
		e->next = 0;
		return e;
	}
	return s->n_used < s->cfg.live_max ? &s->sessions[s->n_used++] : NULL;
}

static void pair_key(struct pair_key *key, const struct relayserver_session *e)
{
	memcpy(key->client, e->clients, sizeof(key->client));
}

/* Forgets the session. Its slot is free once poll has told the workers. */
static void session_close(struct relayserver *s, struct relayserver_session *e)
{
	struct pair_key key;

	pair_key(&key, e);
	(void)map_del(&s->by_vni, &e->vni);
	(void)map_del(&s->by_pair, &key);
	if (relayserver_is_bound(e))
		s->n_bound--;
	else
		unbound_unlink(s, e);
	s->n_live--;
	e->node->live--;
	e->node = NULL;
	e->is_live = false;
	log_debug(s->env->log, "relayserver: vni %u: closed", e->vni);
	if (e->is_published || e->is_due)
		make_due(s, e);
	else
		slot_free(s, e);
}

/* --- nodes --- */

static void nodes_sweep(struct relayserver *s, struct mono now)
{
	struct relayserver_node *node;
	size_t it = 0;

	while ((node = map_next(&s->nodes, &it, NULL))) {
		if (node->live > 0 || !bucket_has(&node->bucket, now, RELAYSERVER_ALLOC_PER_S,
						  RELAYSERVER_ALLOC_BURST, RELAYSERVER_ALLOC_BURST))
			continue;
		(void)map_del(&s->nodes, node->key.b);
		free(node);
		it = 0;
	}
}

static struct relayserver_node *node_get(struct relayserver *s, struct mono now, const struct node_key *key)
{
	struct relayserver_node *node = map_get(&s->nodes, key->b);

	if (node)
		return node;
	if (s->nodes.n >= s->nodes.max)
		nodes_sweep(s, now);
	node = calloc(1, sizeof(*node));
	if (!node)
		return NULL;
	node->key = *key;
	bucket_fill(&node->bucket, now, RELAYSERVER_ALLOC_PER_S, RELAYSERVER_ALLOC_BURST);
	if (map_put(&s->nodes, node->key.b, node) != 0) {
		free(node);
		return NULL;
	}
	return node;
}

/* --- on and off --- */

static void forget_all(struct relayserver *s)
{
	for (uint32_t i = 0; i < s->n_used; i++) {
		if (s->sessions[i].is_live)
			session_close(s, &s->sessions[i]);
	}
	s->out.size = 0;
	s->port[0] = s->port[1] = 0;
	s->sweep_at = MONO_NEVER;
	key_wipe(s->priv.b);
	memset(&s->pub, 0, sizeof(s->pub));
	sodium_memzero(s->secret, sizeof(s->secret));
	s->has_secret[0] = s->has_secret[1] = false;
}

void relayserver_set(struct relayserver *s, struct mono now, bool is_on, uint16_t port)
{
	(void)now;
	if (s->want_on == is_on && s->want_port == port && s->state != RELAYSERVER_FAILED)
		return;
	if (!is_on && s->state == RELAYSERVER_OFF) {
		s->want_port = port;
		return;
	}
	forget_all(s);
	s->want_on = is_on;
	s->want_port = port;
	s->err = 0;
	s->state = is_on ? RELAYSERVER_BINDING : RELAYSERVER_OFF;
	s->sockets_due = true;
}

int relayserver_bound(struct relayserver *s, struct mono now, int err, uint16_t port4, uint16_t port6)
{
	if (!s->want_on)
		return 0;
	if (err == 0 && !s->sessions) {
		s->sessions = calloc(s->cfg.live_max, sizeof(*s->sessions));
		s->due = calloc(s->cfg.live_max, sizeof(*s->due));
		if (!s->sessions || !s->due) {
			free(s->sessions);
			free(s->due);
			s->sessions = NULL;
			s->due = NULL;
			err = -ENOMEM;
		}
	}
	s->err = err;
	if (err) {
		s->state = RELAYSERVER_FAILED;
		return err == -ENOMEM ? err : 0;
	}
	/* A fresh key with every start: Lamport ids begin anew (peer-relay, trap 11). */
	env_fill(s->env, s->priv.b, sizeof(s->priv.b));
	key_clamp(s->priv.b);
	key_public(s->pub.b, s->priv.b);
	s->state = RELAYSERVER_ON;
	s->port[0] = port4;
	s->port[1] = port6;
	s->next_vni = 1;
	s->next_lamport = 1;
	s->sweep_at = mono_add_s(now, RELAYSERVER_SWEEP_S);
	bucket_fill(&s->opens, now, RELAYBIND_OPENS_PER_S, RELAYBIND_OPENS_PER_S);
	log_info(s->env->log, "relayserver: on: udp4 port %u, udp6 port %u", port4, port6);
	return 0;
}

void relayserver_socket_failed(struct relayserver *s, struct mono now, int err)
{
	(void)now;
	if (s->state != RELAYSERVER_ON)
		return;
	forget_all(s);
	s->state = RELAYSERVER_FAILED;
	s->err = err;
	log_warn(s->env->log, "relayserver: socket failed: %s", strerror(-err));
}

/* --- addresses --- */

static bool may_announce(const struct ip *ip, enum relayserver_origin origin)
{
	if (!ip_is_set(ip) || ip_is_unspecified(ip) || ip_is_multicast(ip))
		return false;
	if (origin == RELAYSERVER_STATIC)
		return true;
	return !ip_is_loopback(ip) && !ip_is_link_local(ip) && !ip_is_tailnet(ip);
}

void relayserver_set_addrs(struct relayserver *s, enum relayserver_origin origin, const struct ep *eps, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n && kept < RELAYSERVER_ADDRS_MAX; i++) {
		if (may_announce(&eps[i].ip, origin))
			s->addrs[origin][kept++] = eps[i];
	}
	s->n_addrs[origin] = kept;
}

void relayserver_set_own(struct relayserver *s, const struct ip *ips, size_t n_ips, const uint16_t *ports,
			 size_t n_ports)
{
	s->n_own_ips = n_ips < RELAYSERVER_OWN_IPS ? n_ips : RELAYSERVER_OWN_IPS;
	s->n_own_ports = n_ports < RELAYSERVER_OWN_PORTS ? n_ports : RELAYSERVER_OWN_PORTS;
	if (s->n_own_ips)
		memcpy(s->own_ips, ips, s->n_own_ips * sizeof(*ips));
	if (s->n_own_ports)
		memcpy(s->own_ports, ports, s->n_own_ports * sizeof(*ports));
}

size_t relayserver_addrs(const struct relayserver *s, struct ep *eps, enum relayserver_origin *origins)
{
	struct ep list[RELAYSERVER_ADDRS_MAX];
	size_t n = 0;

	if (s->state != RELAYSERVER_ON)
		return 0;
	for (unsigned o = 0; o < RELAYSERVER_ORIGINS; o++) {
		for (size_t i = 0; i < s->n_addrs[o] && n < RELAYSERVER_ADDRS_MAX; i++) {
			struct ep ep = s->addrs[o][i];
			bool is_known = false;

			if (ep.port == 0)
				ep.port = s->port[family_of(&ep)];
			for (size_t k = 0; k < n && !is_known; k++)
				is_known = ep_eq(&list[k], &ep);
			if (ep.port == 0 || is_known)
				continue;
			list[n] = ep;
			if (eps)
				eps[n] = ep;
			if (origins)
				origins[n] = (enum relayserver_origin)o;
			n++;
		}
	}
	return n;
}

/* --- allocation --- */

static int refuse(struct relayserver *s, enum relayserver_refusal why, int err)
{
	s->n.refusals[why]++;
	log_debug(s->env->log, "relayserver: allocation refused: %s", relayserver_refusal_name(why));
	return err;
}

/* The next free VNI, or 0. */
static uint32_t vni_take(struct relayserver *s)
{
	for (uint32_t tries = 0; tries <= s->cfg.live_max; tries++) {
		uint32_t vni = s->next_vni;

		s->next_vni = vni >= RELAYSERVER_VNI_MAX ? 1 : vni + 1;
		if (!map_get(&s->by_vni, &vni))
			return vni;
	}
	return 0;
}

static struct relayserver_session *session_new(struct relayserver *s, struct mono now,
					       struct relayserver_node *node, const struct pair_key *pair)
{
	struct relayserver_session *e = slot_take(s);
	uint32_t vni;

	/* Full: the least recently used session that carries no traffic makes room. */
	if (!e && s->unbound_first) {
		session_close(s, &s->sessions[s->unbound_first - 1]);
		s->n.evicted++;
		e = slot_take(s);
	}
	if (!e)
		return NULL;
	vni = vni_take(s);
	if (vni == 0 || map_put(&s->by_vni, &vni, e) != 0) {
		slot_free(s, e);
		return NULL;
	}
	if (map_put(&s->by_pair, pair, e) != 0) {
		(void)map_del(&s->by_vni, &vni);
		slot_free(s, e);
		return NULL;
	}
	memcpy(e->clients, pair->client, sizeof(e->clients));
	e->vni = vni;
	e->lamport_id = s->next_lamport++;
	e->node = node;
	e->created = now;
	e->is_live = true;
	unbound_append(s, e);
	node->live++;
	s->n_live++;
	s->n.allocated++;
	return e;
}

static void endpoint_fill(const struct relayserver *s, const struct relayserver_session *e,
			  struct relayserver_endpoint *out)
{
	memset(out, 0, sizeof(*out));
	out->server = s->pub;
	memcpy(out->clients, e->clients, sizeof(out->clients));
	out->lamport_id = e->lamport_id;
	out->vni = e->vni;
	out->bind_life_s = RELAYSERVER_BIND_LIFE_S;
	out->steady_life_s = RELAYSERVER_STEADY_LIFE_S;
	out->n_addrs = relayserver_addrs(s, out->addrs, NULL);
}

/* Is an allocation for this pair possible at all now? */
static int allocate_check(struct relayserver *s, const struct disco_key *a, const struct disco_key *b)
{
	if (s->state == RELAYSERVER_FAILED && s->want_on) {
		/* The port may be free by now. */
		s->state = RELAYSERVER_BINDING;
		s->sockets_due = true;
	}
	if (s->state != RELAYSERVER_ON)
		return refuse(s, RELAYSERVER_REFUSED_OFF, -EAGAIN);
	if (relayserver_addrs(s, NULL, NULL) == 0)
		return refuse(s, RELAYSERVER_REFUSED_NO_ADDR, -EAGAIN);
	if (key_is_zero(a->b) || key_is_zero(b->b) || disco_key_eq(a, b) || disco_key_eq(a, &s->pub) ||
	    disco_key_eq(b, &s->pub))
		return refuse(s, RELAYSERVER_REFUSED_KEY, -EPROTO);
	return 0;
}

int relayserver_allocate(struct relayserver *s, struct mono now, const struct node_key *requester,
			 const struct disco_key *a, const struct disco_key *b, struct relayserver_endpoint *out)
{
	struct relayserver_session *e;
	struct relayserver_node *node;
	struct pair_key pair;
	int err = allocate_check(s, a, b);

	if (err)
		return err;
	node = node_get(s, now, requester);
	if (!node || !bucket_take(&node->bucket, now, RELAYSERVER_ALLOC_PER_S, RELAYSERVER_ALLOC_BURST, 1))
		return refuse(s, RELAYSERVER_REFUSED_RATE, -ENOBUFS);
	disco_sort_pair(pair.client, a, b);
	e = map_get(&s->by_pair, &pair);
	if (e && !relayserver_is_bound(e)) {
		/* The answer promises the full lifetime again. */
		e->created = now;
		unbound_unlink(s, e);
		unbound_append(s, e);
	}
	if (!e) {
		if (node->live >= s->cfg.live_per_node)
			return refuse(s, RELAYSERVER_REFUSED_NODE_LIMIT, -ENOBUFS);
		e = session_new(s, now, node, &pair);
		if (!e)
			return refuse(s, RELAYSERVER_REFUSED_FULL, -ENOBUFS);
		log_debug(s->env->log, "relayserver: vni %u: allocated", e->vni);
	}
	endpoint_fill(s, e, out);
	return 0;
}

/* --- datagrams --- */

bool relayserver_may_send_to(const struct relayserver *s, const struct ep *to)
{
	bool is_own_ip = false, is_own_port = to->port == s->port[family_of(to)];

	if (to->port == 0 || ip_is_unspecified(&to->ip) || ip_is_loopback(&to->ip) ||
	    ip_is_link_local(&to->ip) || ip_is_multicast(&to->ip))
		return false;
	for (size_t i = 0; i < s->n_own_ips && !is_own_ip; i++)
		is_own_ip = ip_eq(&s->own_ips[i], &to->ip);
	for (size_t i = 0; i < s->n_own_ports && !is_own_port; i++)
		is_own_port = s->own_ports[i] == to->port;
	return !(is_own_ip && is_own_port);
}

void relayserver_bind_side(struct relayserver *s, struct mono now, struct relayserver_session *e, unsigned side,
			   const struct ep *from)
{
	bool was_bound = relayserver_is_bound(e);

	e->side[side].bound = *from;
	e->side[side].seen = now;
	e->side[side].generation = 0;
	s->n.binds++;
	if (!relayserver_is_bound(e))
		return;
	if (!was_bound) {
		unbound_unlink(s, e);
		s->n_bound++;
		/* The side that bound first has waited: its silence counts from here. */
		e->side[1 - side].seen = mono_max(e->side[1 - side].seen, now);
	}
	make_due(s, e);
}

static void forward(struct relayserver *s, struct mono now, struct relayserver_session *e, const struct ep *from,
		    const uint8_t *buf, size_t size)
{
	unsigned side = ep_eq(from, &e->side[0].bound) ? 0 : 1, in = family_of(from), out;
	const struct ep *to = &e->side[1 - side].bound;

	if (!relayserver_is_bound(e)) {
		drop(s, RELAYSERVER_DROP_NOT_BOUND);
		return;
	}
	if (!ep_eq(from, &e->side[side].bound)) {
		drop(s, RELAYSERVER_DROP_STRANGER);
		return;
	}
	if (s->fair && !relayfair_take(s->fair, now, e->vni, size)) {
		drop(s, RELAYSERVER_DROP_BANDWIDTH);
		return;
	}
	out = family_of(to);
	e->side[side].seen = now;
	e->side[side].rx_pkts++;
	e->side[side].rx_bytes += size;
	s->n.fwd_pkts[in][out]++;
	s->n.fwd_bytes[in][out] += size;
	s->n.own_pkts[in][out]++;
	s->n.own_bytes[in][out] += size;
	s->out = (struct relayserver_out){
		.kind = RELAYSERVER_SEND, .to = *to, .data = buf, .size = size, .vni = e->vni
	};
}

void relayserver_input(struct relayserver *s, struct mono now, const struct ep *from, const uint8_t *buf,
		       size_t size)
{
	struct relayserver_session *e;
	struct geneve_hdr hdr;

	s->out.size = 0;
	if (s->state != RELAYSERVER_ON) {
		drop(s, RELAYSERVER_DROP_OFF);
		return;
	}
	if (geneve_parse(&hdr, buf, size) != 0) {
		drop(s, RELAYSERVER_DROP_SHORT);
		return;
	}
	e = map_get(&s->by_vni, &hdr.vni);
	if (!e) {
		drop(s, RELAYSERVER_DROP_UNKNOWN_VNI);
		return;
	}
	if (!hdr.control)
		forward(s, now, e, from, buf, size);
	else if (hdr.protocol != GENEVE_PROTO_DISCO)
		drop(s, RELAYSERVER_DROP_NOT_DISCO);
	else
		relaybind_input(s, now, e, from, buf + GENEVE_SIZE, size - GENEVE_SIZE);
}

void relayserver_used(struct relayserver *s, uint32_t vni, unsigned from, struct mono seen, uint64_t pkts,
		      uint64_t bytes)
{
	struct relayserver_session *e = map_get(&s->by_vni, &vni);
	unsigned in, out;

	if (!e || from > 1 || !relayserver_is_bound(e))
		return;
	in = family_of(&e->side[from].bound);
	out = family_of(&e->side[1 - from].bound);
	e->side[from].seen = mono_max(e->side[from].seen, seen);
	e->side[from].rx_pkts += pkts;
	e->side[from].rx_bytes += bytes;
	s->n.fwd_pkts[in][out] += pkts;
	s->n.fwd_bytes[in][out] += bytes;
}

/* --- output and time --- */

/* Reports one session of the ring. False: nothing to tell after all. */
static bool poll_session(struct relayserver *s, struct relayserver_out *out)
{
	struct relayserver_session *e = &s->sessions[s->due[s->due_first]];

	s->due_first = (s->due_first + 1) % s->cfg.live_max;
	s->n_due--;
	e->is_due = false;
	if (e->is_live) {
		e->is_published = true;
		*out = (struct relayserver_out){ .kind = RELAYSERVER_ENTRY_SET,
						 .vni = e->vni,
						 .a = e->side[0].bound,
						 .b = e->side[1].bound };
		return true;
	}
	*out = (struct relayserver_out){ .kind = RELAYSERVER_ENTRY_DEL, .vni = e->vni };
	if (!e->is_published) {
		slot_free(s, e);
		return false;
	}
	slot_free(s, e);
	return true;
}

bool relayserver_poll(struct relayserver *s, struct mono now, struct relayserver_out *out)
{
	(void)now;
	if (s->out.size > 0) {
		*out = s->out;
		s->out.size = 0;
		return true;
	}
	while (s->n_due > 0) {
		if (poll_session(s, out))
			return true;
	}
	if (s->sockets_due) {
		s->sockets_due = false;
		*out = (struct relayserver_out){ .kind = RELAYSERVER_SOCKETS,
						 .is_on = s->want_on,
						 .port = s->want_port };
		return true;
	}
	return false;
}

struct mono relayserver_deadline(const struct relayserver *s)
{
	return s->sweep_at;
}

static bool is_expired(const struct relayserver_session *e, struct mono now)
{
	if (!relayserver_is_bound(e))
		return mono_since_ns(now, e->created) > RELAYSERVER_BIND_LIFE_S * NS_PER_S;
	return mono_since_ns(now, e->side[0].seen) > RELAYSERVER_STEADY_LIFE_S * NS_PER_S ||
	       mono_since_ns(now, e->side[1].seen) > RELAYSERVER_STEADY_LIFE_S * NS_PER_S;
}

void relayserver_tick(struct relayserver *s, struct mono now)
{
	if (!mono_due(s->sweep_at, now))
		return;
	s->sweep_at = mono_add_s(now, RELAYSERVER_SWEEP_S);
	for (uint32_t i = 0; i < s->n_used; i++) {
		if (s->sessions[i].is_live && is_expired(&s->sessions[i], now))
			session_close(s, &s->sessions[i]);
	}
	nodes_sweep(s, now);
}

void relayserver_wipe(struct relayserver *s)
{
	struct relayserver_node *node;
	size_t it = 0;

	while ((node = map_next(&s->nodes, &it, NULL)))
		free(node);
	map_wipe(&s->nodes);
	map_wipe(&s->by_pair);
	map_wipe(&s->by_vni);
	if (s->sessions)
		sodium_memzero(s->sessions, s->n_used * sizeof(*s->sessions));
	free(s->sessions);
	free(s->due);
	free(s->fair);
	sodium_memzero(s, sizeof(*s));
}

const struct relayserver_session *relayserver_next(const struct relayserver *s, uint32_t after)
{
	const struct relayserver_session *best = NULL;

	for (uint32_t i = 0; i < s->n_used; i++) {
		const struct relayserver_session *e = &s->sessions[i];

		if (e->is_live && e->vni > after && (!best || e->vni < best->vni))
			best = e;
	}
	return best;
}

const char *relayserver_drop_name(enum relayserver_drop why)
{
	static const char *const names[RELAYSERVER_DROPS] = {
		[RELAYSERVER_DROP_OFF] = "off",
		[RELAYSERVER_DROP_SHORT] = "short",
		[RELAYSERVER_DROP_UNKNOWN_VNI] = "unknown_vni",
		[RELAYSERVER_DROP_NOT_DISCO] = "not_disco",
		[RELAYSERVER_DROP_MALFORMED] = "malformed",
		[RELAYSERVER_DROP_UNKNOWN_KEY] = "unknown_key",
		[RELAYSERVER_DROP_FORGED] = "forged",
		[RELAYSERVER_DROP_RATE] = "rate",
		[RELAYSERVER_DROP_WRONG_BODY] = "wrong_body",
		[RELAYSERVER_DROP_GENERATION] = "generation",
		[RELAYSERVER_DROP_MAC] = "mac",
		[RELAYSERVER_DROP_BAD_ADDR] = "bad_addr",
		[RELAYSERVER_DROP_NOT_BOUND] = "not_bound",
		[RELAYSERVER_DROP_STRANGER] = "stranger",
		[RELAYSERVER_DROP_BANDWIDTH] = "bandwidth",
	};

	return why < RELAYSERVER_DROPS ? names[why] : "unknown";
}

const char *relayserver_refusal_name(enum relayserver_refusal why)
{
	static const char *const names[RELAYSERVER_REFUSALS] = {
		[RELAYSERVER_REFUSED_OFF] = "off",
		[RELAYSERVER_REFUSED_NO_ADDR] = "no_addr",
		[RELAYSERVER_REFUSED_KEY] = "key",
		[RELAYSERVER_REFUSED_RATE] = "rate",
		[RELAYSERVER_REFUSED_NODE_LIMIT] = "node_limit",
		[RELAYSERVER_REFUSED_FULL] = "full",
	};

	return why < RELAYSERVER_REFUSALS ? names[why] : "unknown";
}
