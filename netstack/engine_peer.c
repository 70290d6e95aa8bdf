/* SPDX-License-Identifier: MIT */
/* One peer: its WireGuard session, its path ladder, and the packets that wait for keys. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine_int.h"
#include "wire/echo.h"
#include "wire/geneve.h"
#include "wire/tsmp.h"

struct epeer *ep_get(const struct engine *e, struct peer_id id)
{
	struct epeer *p = id.index < e->n_slots ? e->slots[id.index] : NULL;

	return p && p->id.gen == id.gen ? p : NULL;
}

struct epeer *ep_by_node(const struct engine *e, int64_t node_id)
{
	return map_get(&e->by_id, &node_id);
}

struct epeer *ep_by_key(const struct engine *e, const struct node_key *key)
{
	return map_get(&e->by_key, key);
}

struct epeer *ep_by_disco(const struct engine *e, const struct disco_key *disco)
{
	return map_get(&e->by_disco, disco);
}

struct epeer *ep_by_ip(const struct engine *e, const struct ip *ip)
{
	for (size_t i = 0; i < e->n_slots; i++) {
		const struct map_node *n = e->slots[i] ? e->slots[i]->node : NULL;

		for (size_t j = 0; n && j < n->n_addrs; j++)
			if (ip_eq(&n->addrs[j].ip, ip))
				return e->slots[i];
	}
	return NULL;
}

bool ep_cap_pair(const struct map_node *src, const struct map_node *dst, struct ip *src_ip, struct ip *dst_ip)
{
	for (size_t i = 0; i < src->n_addrs; i++) {
		const struct prefix *a = &src->addrs[i];

		if (a->bits != ip_bits(&a->ip))
			continue;
		for (size_t j = 0; j < dst->n_addrs; j++) {
			const struct prefix *b = &dst->addrs[j];

			if (b->ip.family != a->ip.family || b->bits != ip_bits(&b->ip))
				continue;
			*src_ip = a->ip;
			*dst_ip = b->ip;
			return true;
		}
	}
	return false;
}

void ep_touch(struct engine *e, struct epeer *p)
{
	if (p->is_dirty)
		return;
	p->is_dirty = true;
	p->dirty_next = NULL;
	if (e->dirty_last)
		e->dirty_last->dirty_next = p;
	else
		e->dirty = p;
	e->dirty_last = p;
}

/* ---- disco key ---- */

static void disco_unlink(struct engine *e, struct epeer *p)
{
	struct epeer *head = key_is_zero(p->disco.b) ? NULL : ep_by_disco(e, &p->disco);

	if (head == p) {
		if (p->same_disco)
			/* Replacing a value needs no memory. */
			(void)!map_put(&e->by_disco, &p->disco, p->same_disco);
		else
			map_del(&e->by_disco, &p->disco);
	} else {
		while (head && head->same_disco != p)
			head = head->same_disco;
		if (head)
			head->same_disco = p->same_disco;
	}
	p->same_disco = NULL;
	ep_drop_box(p);
}

static void disco_link(struct engine *e, struct epeer *p, const struct disco_key *disco)
{
	struct epeer *head;

	p->disco = *disco;
	if (key_is_zero(disco->b))
		return;
	head = ep_by_disco(e, disco);
	if (head) {
		p->same_disco = head->same_disco;
		head->same_disco = p;
	} else if (map_put(&e->by_disco, disco, p) < 0) {
		e->out_dropped++; /* deaf to this peer's disco until the next map */
	}
}

void ep_set_disco(struct engine *e, struct mono now, struct epeer *p, const struct disco_key *disco)
{
	if (disco_key_eq(&p->disco, disco))
		return;
	disco_unlink(e, p);
	disco_link(e, p, disco);
	ep_set_ladder(e, now, p);
}

/* ---- life ---- */

static void drop_staged(struct engine *e, struct epeer *p, bool count)
{
	while (p->staged) {
		struct engine_staged *s = p->staged;

		p->staged = s->next;
		free(s);
		if (count)
			e->staged_dropped++;
	}
	p->staged_last = NULL;
	p->n_staged = 0;
}

static int take_slot(struct engine *e, struct epeer *p)
{
	size_t i = e->free_slot;

	while (i < e->n_slots && e->slots[i])
		i++;
	if (i == e->cap_slots) {
		size_t cap = e->cap_slots ? e->cap_slots * 2 : 16;
		struct epeer **s = realloc((void *)e->slots, cap * sizeof(struct epeer *));

		if (!s)
			return -ENOMEM;
		e->slots = s;
		e->cap_slots = cap;
	}
	if (i == e->n_slots)
		e->n_slots++;
	e->slots[i] = p;
	e->free_slot = i + 1;
	p->id = (struct peer_id){ .index = (uint32_t)i, .gen = ++e->next_gen };
	return 0;
}

/* The list of relays is made anew if this peer was in it, or is to be. */
static void note_relay(struct engine *e, struct epeer *p)
{
	const bool was = p->is_relay;

	p->is_relay = er_is_target(e, p->node);
	e->relays_due |= was || p->is_relay;
}

int ep_add(struct engine *e, struct mono now, const struct map_node *node)
{
	struct epeer *p;
	int err;

	if (key_is_zero(node->key.b) || node_key_eq(&node->key, &e->node_key))
		return -EPROTO;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->node_id = node->id;
	p->key = node->key;
	p->node = node;
	p->is_usable = true;
	p->timer.deadline = MONO_NEVER;
	p->path_since = now;
	err = take_slot(e, p);
	if (err) {
		free(p);
		return err;
	}
	err = map_put(&e->by_id, &p->node_id, p);
	if (!err)
		err = map_put(&e->by_key, &p->key, p);
	if (err) {
		ep_del(e, now, p);
		return err;
	}
	disco_link(e, p, &node->disco);
	note_relay(e, p);
	em_added(e, p);
	return 0;
}

void ep_del(struct engine *e, struct mono now, struct epeer *p)
{
	struct epeer **link = &e->dirty;

	ep_pump(e, now); /* nothing of it may stay queued in the machines */
	em_gone(e, p);
	relayclient_cancel(&e->relayc, &p->key);
	ep_end_session(e, now, p);
	disco_unlink(e, p);
	if (ep_by_node(e, p->node_id) == p)
		map_del(&e->by_id, &p->node_id);
	if (ep_by_key(e, &p->key) == p)
		map_del(&e->by_key, &p->key);
	e->slots[p->id.index] = NULL;
	if (p->id.index < e->free_slot)
		e->free_slot = p->id.index;
	e->relays_due |= p->is_relay;
	e->dirty_last = NULL;
	while (*link) {
		if (*link == p) {
			*link = p->dirty_next;
		} else {
			e->dirty_last = *link;
			link = &(*link)->dirty_next;
		}
	}
	drop_staged(e, p, false);
	ep_drop_ladder(e, p);
	free(p);
}

void ep_update(struct engine *e, struct mono now, struct epeer *p, const struct map_node *node, unsigned bits)
{
	/* What the peer said in the tunnel already is no news: its session is of that key (disco 9). */
	if (disco_key_eq(&p->disco, &node->disco))
		bits &= ~(unsigned)(NETMAP_NODE_DISCO | NETMAP_NODE_DISCO_NEW);
	p->node = node;
	note_relay(e, p);
	if (bits & (NETMAP_NODE_DISCO | NETMAP_NODE_DISCO_NEW)) {
		disco_unlink(e, p);
		disco_link(e, p, &node->disco);
	}
	/* The peer restarted: its session is gone, a new handshake finds it at once (disco 9). */
	if ((bits & NETMAP_NODE_DISCO) && p->dev)
		device_restarted(&e->device, now, p->dev);
	ep_set_ladder(e, now, p);
	if (bits & (NETMAP_NODE_ALLOWED | NETMAP_NODE_FLAGS | NETMAP_NODE_CAPS | NETMAP_NODE_EXPIRY))
		e->view_due = e->host_due = true;
}

int ep_rekey(struct engine *e, struct mono now)
{
	struct device_cfg cfg = {
		.crypto = e->crypto,
		.env = e->env,
		.stamp_floor_ns = e->stamp_floor_ns,
		.find = ep_find_session,
		.find_ctx = e,
	};
	int err = 0;

	for (size_t i = 0; i < e->n_slots; i++)
		if (e->slots[i])
			ep_end_session(e, now, e->slots[i]);
	if (e->has_device)
		device_wipe(&e->device);
	e->has_device = false;
	e->node_key = ctlclient_node_key(e->ctl);
	e->self.node = e->node_key;
	derpclient_set_key(&e->derp, now, key_is_zero(e->node_key.b) ? NULL : ctlclient_node_priv(e->ctl));
	relayclient_wipe(&e->relayc);
	relayclient_init(&e->relayc, &e->node_key, &e->disco_priv, e->env);
	if (key_is_zero(e->node_key.b))
		return 0;
	cfg.priv = *ctlclient_node_priv(e->ctl);
	err = device_init(&e->device, &cfg);
	key_wipe(cfg.priv.b);
	e->has_device = err == 0;
	er_candidates(e, now, false);
	return err;
}

/* ---- ladder ---- */

/* Is there no DERP that could carry packets to the peer? Then disco keys cannot be learned from the control
 * server either, and WireGuard alone must find it: by the endpoints of the map, and by where its own
 * handshakes come from. */
static bool is_cut_off(const struct engine *e, const struct epeer *p)
{
	const uint32_t region = derpclient_route(&e->derp, &p->key, p->node->home_derp);

	return derpclient_state(&e->derp, region) != DERPCLIENT_UP;
}

static bool may_use_heard(const struct engine *e, struct mono now, const struct epeer *p)
{
	return p->targets.first.kind != PATH_DIRECT && p->targets.first.kind != PATH_RELAY &&
	       !mono_is_zero(p->heard_at) && mono_before(now, mono_add_s(p->heard_at, ENGINE_HEARD_S)) &&
	       is_cut_off(e, p);
}

static void push_path(struct engine *e, struct mono now, const struct epeer *p)
{
	struct engine_out *o = eq_push(e, ENGINE_PATH, NULL, 0);

	if (!o)
		return;
	o->peer = p->id;
	if (p->targets.first.kind != PATH_NONE)
		o->targets[o->n_targets++] = p->targets.first;
	if (p->targets.second.kind != PATH_NONE)
		o->targets[o->n_targets++] = p->targets.second;
	if (o->n_targets < ENGINE_TARGETS_MAX && may_use_heard(e, now, p))
		o->targets[o->n_targets++] = p->heard;
}

void ep_derp_changed(struct engine *e, struct mono now, bool is_up)
{
	for (size_t i = 0; i < e->n_slots; i++) {
		struct epeer *p = e->slots[i];

		if (!p)
			continue;
		if (p->in_view && !mono_is_zero(p->heard_at) && p->targets.first.kind == PATH_DERP)
			push_path(e, now, p);
		if (!is_up || !p->ladder)
			continue;
		ladder_input_derp_up(p->ladder, now);
		ep_touch(e, p);
	}
}

static void heard(struct engine *e, struct mono now, struct epeer *p, const struct path_addr *from)
{
	struct ladder *l = ep_ladder(e, now, p);

	if (!l)
		return;
	ladder_input_received(l, now, from);
	ep_touch(e, p);
	if (from->kind != PATH_DIRECT)
		return;
	p->heard = *from;
	p->heard_at = now;
	if (p->in_view && may_use_heard(e, now, p))
		push_path(e, now, p);
}

void ep_in_view(struct engine *e, struct mono now, struct epeer *p)
{
	if (!p->in_view && p->has_targets)
		push_path(e, now, p);
	p->in_view = true;
}

void ep_hint(struct engine *e, struct mono now, const struct epeer *p, enum hasten_why why)
{
	if (p->dev)
		device_hint(&e->device, now, p->dev, why);
}

static void publish_path(struct engine *e, struct mono now, struct epeer *p, const struct ladder_targets *t)
{
	if (p->targets.first.kind != t->first.kind)
		e->path_changes[p->targets.first.kind][t->first.kind]++;
	if (!path_eq(&p->targets.first, &t->first)) {
		char text[PATH_TEXT_MAX];

		/* The first one of all is that which an initiation takes anyway. */
		if (p->has_targets)
			ep_hint(e, now, p, HASTEN_REACHED);
		p->path_since = now;
		log_debug(e->env->log, "path: %s: now %s%s", p->node->name, path_write(text, &t->first),
			  t->is_trusted ? "" : " (not trusted)");
	}
	p->targets = *t;
	p->has_targets = true;
	if (p->in_view)
		push_path(e, now, p);
}

/* An answer in line, with who was pinged. */
static struct pingresult *push_ping(struct engine *e, const struct epeer *p, uint64_t id)
{
	struct engine_out *o = eq_push(e, ENGINE_PING_RESULT, NULL, 0);
	char text[IP_TEXT_MAX];
	struct pingresult *res;
	bool bad = false;

	if (!o)
		return NULL;
	res = &CONTAINER_OF(o, struct engine_item, out)->ping;
	o->ping = res;
	o->ping_id = id;
	o->peer = p->id;
	res->node_name = es_base_name(p->node, &bad);
	if (p->node->n_addrs)
		res->node_ip = strdup(ip_write(text, &p->node->addrs[0].ip));
	return res;
}

static void ping_result(struct engine *e, struct epeer *p, const struct ladder_ping_result *r)
{
	struct pingresult *res = push_ping(e, p, r->id);
	char text[PATH_TEXT_MAX];

	if (!res)
		return;
	if (!r->is_answered) {
		res->err = strdup("no reply");
		return;
	}
	res->latency_s = (double)r->latency_ns / 1e9;
	path_write(text, &r->path);
	if (r->path.kind == PATH_DIRECT)
		res->endpoint = strdup(text);
	else if (r->path.kind == PATH_RELAY)
		res->peer_relay = strdup(text);
	else
		res->derp_region_id = r->path.region;
	if (r->path.kind == PATH_DERP)
		res->derp_region_code = strdup(es_region_code(e, r->path.region));
}

static void ladder_output(struct engine *e, struct mono now, struct epeer *p, struct ladder_out *o)
{
	switch (o->kind) {
	case LADDER_SEND:
		ed_send(e, now, p, &o->path, &o->msg);
		break;
	case LADDER_PATH:
		publish_path(e, now, p, &o->targets);
		break;
	case LADDER_WANT_RELAYS:
		er_discover(e, now, p, o->known, o->n_known);
		break;
	case LADDER_WANT_ENDPOINTS:
		en_start(e, now, false);
		break;
	case LADDER_PING_RESULT:
		ping_result(e, p, &o->result);
		break;
	case LADDER_SEEN_AS:
		en_seen_as(e, now, &o->seen_as);
		break;
	}
}

void ep_pump(struct engine *e, struct mono now)
{
	struct ladder_out o;

	while (e->dirty) {
		struct epeer *p = e->dirty;

		e->dirty = p->dirty_next;
		if (!e->dirty)
			e->dirty_last = NULL;
		p->is_dirty = false;
		if (!p->ladder)
			continue;
		while (ladder_poll(p->ladder, now, &o))
			ladder_output(e, now, p, &o);
		if (heap_set(&e->timers, &p->timer, ladder_deadline(p->ladder)) < 0)
			e->out_dropped++;
	}
}

void ep_tick(struct engine *e, struct mono now)
{
	while (mono_due(heap_deadline(&e->timers), now)) {
		struct epeer *p = CONTAINER_OF(heap_first(&e->timers), struct epeer, timer);

		heap_del(&e->timers, &p->timer);
		ladder_tick(p->ladder, now);
		ep_touch(e, p);
	}
}

/* ---- session ---- */

static void send_handshake(struct engine *e, struct mono now, const struct path_addr *to,
			   const struct node_key *derp_peer, const uint8_t *msg, size_t size)
{
	struct engine_out *o;

	if (to->kind == PATH_DERP) {
		if (derpclient_send(&e->derp, now, to->region, derp_peer, msg, size) < 0)
			log_debug(e->env->log, "wg: handshake lost: no DERP region %u", to->region);
		return;
	}
	if (to->kind == PATH_NONE)
		return;
	o = eq_push(e, ENGINE_SEND, msg, size);
	if (!o)
		return;
	o->to = *to;
	o->geneve_proto = GENEVE_PROTO_WIREGUARD;
}

/* Without a proven path and without DERP: to the endpoints that the map names. */
static void hail(struct engine *e, struct mono now, const struct epeer *p, const struct device_out *o)
{
	unsigned n = 0;

	for (size_t i = 0; i < p->node->n_endpoints && n < ENGINE_HAILS_MAX; i++) {
		const struct path_addr to = path_direct(&p->node->endpoints[i]);

		if (!prober_may_try(&e->self, &to.ep))
			continue;
		send_handshake(e, now, &to, &p->key, o->msg, o->size);
		n++;
	}
}

static void device_send(struct engine *e, struct mono now, const struct device_out *o)
{
	struct epeer *p = o->peer ? o->peer->owner : NULL;
	struct ladder *l = p ? ep_ladder(e, now, p) : NULL;
	struct path_addr paths[2];
	unsigned n;

	if (!p) {
		send_handshake(e, now, &o->to, &o->derp_peer, o->msg, o->size);
		return;
	}
	n = l ? ladder_handshake_paths(l, now, paths) : 0;
	if (n == 0 && o->to.kind != PATH_NONE)
		paths[n++] = o->to;
	for (unsigned i = 0; i < n; i++)
		send_handshake(e, now, &paths[i], &p->key, o->msg, o->size);
	p->hs_tx_bytes += o->size; /* one message, by however many paths */
	if (!p->targets.is_trusted && is_cut_off(e, p))
		hail(e, now, p, o);
	if (l)
		ladder_input_sent(l, now);
	ep_touch(e, p);
}

static void inject(struct engine *e, const struct epeer *p, const void *data, size_t size)
{
	struct engine_out *o = eq_push(e, ENGINE_INJECT, data, size);

	if (o)
		o->peer = p->id;
}

/* Tells the peer our disco key inside the tunnel (disco 9). */
static void advertise_disco(struct engine *e, const struct epeer *p)
{
	struct tsmp_msg m = { .kind = TSMP_DISCO_KEY, .disco = e->disco };
	uint8_t buf[TSMP_SIZE_MAX];
	int n;

	if (!e->map || p->node->wireguard_only ||
	    !ep_cap_pair(netmap_self(e->map), p->node, &m.src, &m.dst))
		return;
	n = tsmp_write(buf, sizeof(buf), &m);
	if (n <= 0)
		return;
	inject(e, p, buf, (size_t)n);
	e->tsmp_disco_sent++;
}

void ep_own_disco(struct engine *e, struct epeer *p)
{
	ep_drop_box(p); /* the next one is made with the new key */
	if (p->advertised)
		advertise_disco(e, p);
}

static void session_up(struct engine *e, struct epeer *p, const struct keypair *kp)
{
	if (p->advertised != kp->local_index)
		advertise_disco(e, p);
	p->advertised = kp->local_index;
	for (struct engine_staged *s = p->staged; s; s = s->next)
		inject(e, p, s->data, s->size);
	drop_staged(e, p, false);
}

static void device_output(struct engine *e, struct mono now, struct device_out *d)
{
	struct epeer *p = d->peer ? d->peer->owner : NULL;
	struct engine_out *o;

	switch (d->kind) {
	case DEVICE_SEND:
		device_send(e, now, d);
		break;
	case DEVICE_KEYPAIR_INSTALL:
		o = eq_push(e, ENGINE_KEY_INSTALL, NULL, 0);
		if (!o) {
			keypair_put(d->kp); /* the reference that would have gone to the data plane */
			break;
		}
		o->peer = p->id;
		o->kp = d->kp;
		break;
	case DEVICE_KEYPAIR_CURRENT:
		o = d->kp ? eq_push(e, ENGINE_KEY_USE, NULL, 0) : NULL;
		if (!o)
			break;
		o->peer = p->id;
		o->local_index = d->kp->local_index;
		break;
	case DEVICE_KEYPAIR_REMOVE:
		o = eq_push(e, ENGINE_KEY_DROP, NULL, 0);
		if (o)
			o->local_index = d->kp->local_index;
		break;
	case DEVICE_UP:
		session_up(e, p, d->kp);
		break;
	case DEVICE_KEEPALIVE:
		inject(e, p, NULL, 0);
		break;
	case DEVICE_DOWN:
		drop_staged(e, p, true);
		break;
	case DEVICE_HEARD:
		p->hs_rx_bytes += d->size;
		heard(e, now, p, &d->to);
		break;
	case DEVICE_PERSIST:
		e->stamp_floor_ns = d->stamp_floor_ns;
		o = eq_push(e, ENGINE_PERSIST_FLOOR, NULL, 0);
		if (o)
			o->stamp_floor_ns = d->stamp_floor_ns;
		break;
	}
}

void ep_pump_device(struct engine *e, struct mono now)
{
	struct device_out d;

	while (e->has_device && device_poll(&e->device, now, &d))
		device_output(e, now, &d);
}

/* ---- inputs from the data plane ---- */

void engine_input_handshake(struct engine *e, struct mono now, const struct path_addr *from,
			    const uint8_t *data, size_t size)
{
	if (e->has_device)
		(void)!device_input(&e->device, now, data, size, from, NULL); /* counted there */
}

void engine_input_want(struct engine *e, struct mono now, struct peer_id peer, const uint8_t *data,
		       size_t size)
{
	struct epeer *p = ep_get(e, peer);
	struct device_peer *dev = p ? ep_session(e, now, p) : NULL;
	struct ladder *l = dev ? ep_ladder(e, now, p) : NULL;
	struct engine_staged *s;

	if (!l)
		return;
	if (p->n_staged == ENGINE_STAGED_MAX) { /* the oldest is the least useful */
		s = p->staged;
		p->staged = s->next;
		p->n_staged--;
		free(s);
		e->staged_dropped++;
	}
	s = malloc(sizeof(*s) + size);
	if (s) {
		s->next = NULL;
		s->size = size;
		memcpy(s->data, data, size);
		if (p->staged && p->n_staged)
			p->staged_last->next = s;
		else
			p->staged = s;
		p->staged_last = s;
		p->n_staged++;
	}
	en_sent(e, now, p);
	ladder_input_sent(l, now);
	device_want(&e->device, now, dev);
	ep_touch(e, p);
}

void engine_input_key(struct engine *e, struct mono now, struct peer_id peer)
{
	struct epeer *p = ep_get(e, peer);

	if (p && p->dev)
		device_activity(&e->device, now, p->dev);
}

void engine_input_rx_path(struct engine *e, struct mono now, struct peer_id peer, const struct path_addr *path)
{
	struct epeer *p = ep_get(e, peer);
	struct ladder *l = p ? ep_ladder(e, now, p) : NULL;

	if (!l)
		return;
	p->rx_path[path->kind] = *path;
	ladder_input_received(l, now, path);
	ep_touch(e, p);
}

void engine_input_activity(struct engine *e, struct mono now, struct peer_id peer,
			   const struct engine_activity *a)
{
	struct epeer *p = ep_get(e, peer);
	struct ladder *l = p ? ep_ladder(e, now, p) : NULL;

	if (!l)
		return;
	p->tx_bytes += a->tx_bytes;
	p->rx_bytes += a->rx_bytes;
	if (a->sent_data)
		en_sent(e, now, p);
	if (a->sent_data)
		ladder_input_sent(l, now);
	for (unsigned k = PATH_DIRECT; k <= PATH_DERP; k++)
		if (a->received[k] && p->rx_path[k].kind != PATH_NONE)
			ladder_input_received(l, now, &p->rx_path[k]);
	ep_touch(e, p);
}

bool engine_next_peer(const struct engine *e, size_t *it, struct peer_id *id)
{
	while (*it < e->n_slots) {
		const struct epeer *p = e->slots[(*it)++];

		if (!p)
			continue;
		*id = p->id;
		return true;
	}
	return false;
}

void engine_set_totals(struct engine *e, struct peer_id peer, uint64_t rx_bytes, uint64_t tx_bytes)
{
	struct epeer *p = ep_get(e, peer);

	if (!p)
		return;
	p->rx_bytes = rx_bytes;
	p->tx_bytes = tx_bytes;
}

/* The answer to a ping that went through the tunnel. */
static void inner_pong(struct engine *e, struct mono now, const struct epeer *p, enum pingresult_type type,
		       const uint8_t token[static 8], uint16_t peerapi_port)
{
	for (size_t i = 0; i < ENGINE_PINGS_MAX; i++) {
		struct engine_ping *g = &e->pings[i];
		char text[IP_TEXT_MAX];
		struct pingresult *r;

		if (!g->id || g->node_id != p->node_id || g->type != type ||
		    memcmp(g->token, token, sizeof(g->token)) != 0)
			continue;
		r = push_ping(e, p, g->id);
		if (r) {
			r->latency_s = (double)mono_since_ns(now, g->at) / 1e9;
			r->peerapi_port = peerapi_port;
			free(r->node_ip);
			r->node_ip = strdup(ip_write(text, &g->ip));
		}
		g->id = 0;
	}
}

void engine_input_tsmp(struct engine *e, struct mono now, struct peer_id peer, const struct path_addr *path,
		       const uint8_t *data, size_t size)
{
	struct epeer *p = ep_get(e, peer);
	uint8_t buf[TSMP_SIZE_MAX], id[ECHO_ID_SIZE];
	struct tsmp_msg m, r;
	struct ip_pkt ip;
	int n;

	(void)path;
	if (p && ip_pkt_parse(&ip, data, size) == 0 && echo_is_answer(&ip, id))
		inner_pong(e, now, p, PING_ICMP, id, 0);
	if (!p || tsmp_parse(&m, data, size) < 0)
		return;
	switch (m.kind) {
	case TSMP_DISCO_KEY:
		e->tsmp_disco_received++;
		if (disco_key_eq(&p->disco, &m.disco))
			e->tsmp_disco_unchanged++;
		else
			e->tsmp_disco_applied++;
		ep_set_disco(e, now, p, &m.disco);
		break;
	case TSMP_PING:
		r = (struct tsmp_msg){ .kind = TSMP_PONG, .src = m.dst, .dst = m.src };
		memcpy(r.id, m.id, sizeof(r.id));
		n = tsmp_write(buf, sizeof(buf), &r);
		if (n > 0)
			inject(e, p, buf, (size_t)n);
		break;
	case TSMP_PONG:
		inner_pong(e, now, p, PING_TSMP, m.id, m.peerapi_port);
		break;
	case TSMP_REJECT:
		break;
	}
}
