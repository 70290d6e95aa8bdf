/* SPDX-License-Identifier: MIT */
/* Front door and peer table. Order of judgement of a handshake message: shape, mac1, load (mac2,
 * rate), then the X25519 that names the sender, then the session. */
#include "wg/device.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"

/* What a cookie is bound to: where a message came from, down to port, VNI or sending node. */
struct source {
	struct path_addr path;
	struct node_key derp_peer;
};

static_assert(sizeof(struct source) <= COOKIE_SRC_MAX, "hashed whole");
static_assert(sizeof(struct source) == sizeof(struct path_addr) + KEY_SIZE, "no hidden padding");

static struct source source_of(const struct path_addr *from, const struct node_key *derp_src)
{
	struct source src;

	memset(&src, 0, sizeof(src));
	src.path = *from;
	if (derp_src)
		src.derp_peer = *derp_src;
	return src;
}

int device_init(struct device *d, const struct device_cfg *cfg)
{
	memset(d, 0, sizeof(*d));
	d->crypto = cfg->crypto;
	d->env = cfg->env;
	d->find = cfg->find;
	d->find_ctx = cfg->find_ctx;
	noise_self_init(&d->self, &cfg->priv);
	cookie_checker_init(&d->checker, &d->self.pub);
	map_init(&d->by_key, KEY_SIZE, DEVICE_PEERS_MAX, cfg->env);
	index_init(&d->indices, cfg->max_indices, cfg->env);
	ratelimit_init(&d->limits, 0, cfg->env);
	d->stamps.base_ns = cfg->stamp_floor_ns;
	d->stamps.last_ns = cfg->stamp_floor_ns;
	d->stamps.reserved_ns = cfg->stamp_floor_ns;
	return 0;
}

void device_wipe(struct device *d)
{
	struct device_peer *peer;
	size_t it = 0;

	while ((peer = map_next(&d->by_key, &it, NULL))) {
		session_wipe(&peer->session);
		free(peer);
	}
	map_wipe(&d->by_key);
	index_wipe(&d->indices);
	ratelimit_wipe(&d->limits);
	heap_wipe(&d->timers);
	noise_self_wipe(&d->self);
	cookie_checker_wipe(&d->checker);
	sodium_memzero(d, sizeof(*d));
}

/* Idle peers stay in the heap with a time that never comes: a timer can then always be set, without
 * memory, once the peer was added. */
#define TIMER_IDLE ((struct mono){ INT64_MAX - 1 })

static struct mono timer_of(const struct device_peer *peer)
{
	return mono_min(session_deadline(&peer->session), TIMER_IDLE);
}

/* After every call into a session: queues the peer for polling and sets its timer. */
static void touch(struct device *d, struct device_peer *peer)
{
	if (!peer->is_dirty && (peer->session.q_len > 0 || peer->heard)) {
		peer->is_dirty = true;
		peer->dirty_next = NULL;
		if (d->dirty_last)
			d->dirty_last->dirty_next = peer;
		else
			d->dirty_first = peer;
		d->dirty_last = peer;
	}
	/* In the heap already, so this moves it and needs no memory. */
	(void)!heap_set(&d->timers, &peer->timer, timer_of(peer));
}

static void unlink_dirty(struct device *d, struct device_peer *peer)
{
	struct device_peer **link = &d->dirty_first, *before = NULL;

	if (!peer->is_dirty)
		return;
	while (*link != peer) {
		before = *link;
		link = &before->dirty_next;
	}
	*link = peer->dirty_next;
	if (d->dirty_last == peer)
		d->dirty_last = before;
	peer->is_dirty = false;
}

/* --- peers --- */

int device_add(struct device *d, const struct device_peer_cfg *cfg, struct device_peer **out)
{
	const struct session_cfg scfg = {
		.peer = cfg->key,
		.psk = cfg->psk,
		.id = cfg->id,
		.persistent_keepalive_s = cfg->persistent_keepalive_s,
		.crypto = d->crypto,
		.self = &d->self,
		.indices = &d->indices,
		.stamps = &d->stamps,
		.env = d->env,
		.seen_stamp = cfg->seen_stamp,
	};
	struct device_peer *peer;
	int err;

	if (key_is_zero(cfg->key.b) || node_key_eq(&cfg->key, &d->self.pub))
		return -EPROTO;
	if (device_find(d, &cfg->key))
		return -EEXIST;
	peer = calloc(1, sizeof(*peer));
	if (!peer)
		return -ENOMEM;
	peer->owner = cfg->owner;
	session_init(&peer->session, &scfg);
	peer->session.cfg.index_owner = peer;
	peer->timer.deadline = MONO_NEVER;
	err = heap_set(&d->timers, &peer->timer, TIMER_IDLE);
	if (!err)
		err = map_put(&d->by_key, cfg->key.b, peer);
	if (err) {
		heap_del(&d->timers, &peer->timer);
		session_wipe(&peer->session);
		free(peer);
		return err;
	}
	touch(d, peer);
	*out = peer;
	return 0;
}

void device_del(struct device *d, struct device_peer *peer)
{
	if (!peer)
		return;
	unlink_dirty(d, peer);
	heap_del(&d->timers, &peer->timer);
	(void)map_del(&d->by_key, peer->session.cfg.peer.b);
	session_wipe(&peer->session);
	free(peer);
}

struct device_peer *device_find(const struct device *d, const struct node_key *key)
{
	return map_get(&d->by_key, key->b);
}

/* --- messages --- */

static int drop(uint64_t *counter, int err)
{
	(*counter)++;
	return err;
}

/* Why a session refused, as a counter. */
static int count_refusal(struct device *d, int err, uint64_t *proto)
{
	switch (err) {
	case 0:
		return 0;
	case -EBADMSG:
		return drop(&d->counters.drop_auth, err);
	case -ESTALE:
		return drop(&d->counters.drop_replay, err);
	case -EPROTO:
		return drop(proto, err);
	default:
		return drop(&d->counters.drop_full, err);
	}
}

static bool is_loaded(const struct device *d, struct mono now)
{
	return mono_before(now, d->load_until);
}

static void queue_cookie(struct device *d, struct mono now, const uint8_t *msg, size_t size,
			 const struct source *src)
{
	struct device_reply *r;

	if (d->n_replies == DEVICE_REPLIES_MAX) {
		d->counters.drop_full++;
		return;
	}
	r = &d->replies[(d->reply_first + d->n_replies) % DEVICE_REPLIES_MAX];
	cookie_reply_write(&d->checker, now, d->env, msg, size, src, sizeof(*src), &r->msg);
	r->to = src->path;
	r->derp_peer = src->derp_peer;
	d->n_replies++;
}

static bool is_within_rate(struct device *d, struct mono now, const struct source *src)
{
	uint8_t id[16];

	if (src->path.kind == PATH_DIRECT)
		return ratelimit_allow(&d->limits, now, &src->path.ep.ip);
	/* Behind a relay many peers share an address: the whole source names one of them. */
	hash_keyed(id, sizeof(id), NULL, 0, src, sizeof(*src));
	return ratelimit_allow_id(&d->limits, now, id);
}

/* One more message that costs an X25519 if it is let through. */
static void note_work(struct device *d, struct mono now)
{
	d->busy_until = mono_add_ns(mono_max(d->busy_until, now), DEVICE_SERVICE_US * NS_PER_US);
	/* What is answered by a cookie costs little: the queue does not grow beyond the trigger, so
	 * that load ends a second after the flood does. */
	if (mono_since_ns(d->busy_until, now) > DEVICE_LOAD_QUEUE * DEVICE_SERVICE_US * NS_PER_US) {
		d->busy_until = mono_add_ns(now, DEVICE_LOAD_QUEUE * DEVICE_SERVICE_US * NS_PER_US);
		d->load_until = mono_add_ms(now, DEVICE_LOAD_HOLD_MS);
	}
}

/* Under load: proof of address, then a place in the bucket. */
static int admit(struct device *d, struct mono now, const uint8_t *msg, size_t size,
		 const struct source *src)
{
	note_work(d, now);
	if (!is_loaded(d, now))
		return 0;
	if (!cookie_check_mac2(&d->checker, now, msg, size, src, sizeof(*src))) {
		queue_cookie(d, now, msg, size, src);
		return drop(&d->counters.drop_mac2, -EPROTO);
	}
	if (!is_within_rate(d, now, src))
		return drop(&d->counters.drop_rate, -EPROTO);
	return 0;
}

static void note_heard(struct device_peer *peer, const struct path_addr *from, size_t size)
{
	peer->heard = true;
	peer->heard_from = *from;
	peer->heard_size += size;
}

static int input_initiation(struct device *d, struct mono now, const uint8_t *buf, size_t size,
			    const struct source *src)
{
	struct wg_initiation msg;
	struct noise_rx rx;
	struct device_peer *peer;
	int err;

	if (wgmsg_initiation_parse(&msg, buf, size) != 0)
		return drop(&d->counters.drop_malformed, -EBADMSG);
	err = admit(d, now, buf, size, src);
	if (err)
		return err;
	err = noise_open_initiation(&rx, &d->self, &msg);
	if (err)
		return drop(&d->counters.drop_auth, err);
	peer = device_find(d, &rx.remote);
	if (!peer && d->find)
		peer = d->find(d->find_ctx, now, &rx.remote);
	if (peer)
		err = count_refusal(d, session_input_initiation(&peer->session, now, &msg, &rx),
				    &d->counters.drop_flood);
	else
		err = drop(&d->counters.drop_unknown_peer, -ENOENT);
	noise_rx_wipe(&rx);
	if (err)
		return err;
	d->counters.rx_initiations++;
	note_heard(peer, &src->path, size);
	touch(d, peer);
	return 0;
}

static int input_response(struct device *d, struct mono now, const uint8_t *buf, size_t size,
			  const struct source *src)
{
	struct wg_response msg;
	struct device_peer *peer;
	int err;

	if (wgmsg_response_parse(&msg, buf, size) != 0)
		return drop(&d->counters.drop_malformed, -EBADMSG);
	/* Cheaper than anything behind it, and an unknown index deserves no cookie. */
	peer = index_get(&d->indices, wgmsg_le32(msg.receiver_index_le32));
	if (!peer)
		return drop(&d->counters.drop_unknown_index, -ENOENT);
	err = admit(d, now, buf, size, src);
	if (err)
		return err;
	err = count_refusal(d, session_input_response(&peer->session, now, &msg),
			    &d->counters.drop_state);
	if (err)
		return err;
	d->counters.rx_responses++;
	note_heard(peer, &src->path, size);
	touch(d, peer);
	return 0;
}

static int input_cookie_reply(struct device *d, struct mono now, const uint8_t *buf, size_t size)
{
	struct wg_cookie_reply msg;
	struct device_peer *peer;
	int err;

	if (wgmsg_cookie_reply_parse(&msg, buf, size) != 0)
		return drop(&d->counters.drop_malformed, -EBADMSG);
	peer = index_get(&d->indices, wgmsg_le32(msg.receiver_index_le32));
	if (!peer)
		return drop(&d->counters.drop_unknown_index, -ENOENT);
	err = count_refusal(d, session_input_cookie_reply(&peer->session, now, &msg),
			    &d->counters.drop_state);
	if (err)
		return err;
	d->counters.rx_cookie_replies++;
	touch(d, peer);
	return 0;
}

int device_input(struct device *d, struct mono now, const uint8_t *msg, size_t size,
		 const struct path_addr *from, const struct node_key *derp_src)
{
	struct source src = source_of(from, derp_src);
	int type = wgmsg_type(msg, size);

	if (type == WGMSG_COOKIE_REPLY)
		return input_cookie_reply(d, now, msg, size);
	if (type != WGMSG_INITIATION && type != WGMSG_RESPONSE)
		return drop(&d->counters.drop_malformed, -EBADMSG);
	if (!cookie_check_mac1(&d->checker, msg, size))
		return drop(&d->counters.drop_mac1, -EBADMSG);
	if (type == WGMSG_INITIATION)
		return input_initiation(d, now, msg, size, &src);
	return input_response(d, now, msg, size, &src);
}

void device_queue_depth(struct device *d, struct mono now, size_t depth, size_t capacity)
{
	if (depth > 0 && depth >= capacity / 8)
		d->load_until = mono_add_ms(now, DEVICE_LOAD_HOLD_MS);
}

/* --- the other inputs --- */

void device_want(struct device *d, struct mono now, struct device_peer *peer)
{
	session_want(&peer->session, now);
	touch(d, peer);
}

void device_activity(struct device *d, struct mono now, struct device_peer *peer)
{
	session_activity(&peer->session, now);
	touch(d, peer);
}

void device_hint(struct device *d, struct mono now, struct device_peer *peer, enum hasten_why why)
{
	if (session_hint(&peer->session, now, why))
		touch(d, peer);
}

void device_reset(struct device *d, struct device_peer *peer)
{
	session_reset(&peer->session);
	touch(d, peer);
}

void device_restarted(struct device *d, struct mono now, struct device_peer *peer)
{
	session_restarted(&peer->session, now);
	touch(d, peer);
}

struct mono device_deadline(const struct device *d)
{
	struct mono first = heap_deadline(&d->timers);

	return first.ns == TIMER_IDLE.ns ? MONO_NEVER : first;
}

void device_tick(struct device *d, struct mono now)
{
	/* Each peer at most once in a call: one whose outputs wait to be polled stays due. */
	size_t left = d->timers.n;

	for (; left > 0 && mono_due(heap_deadline(&d->timers), now); left--) {
		struct device_peer *peer =
			CONTAINER_OF(heap_first(&d->timers), struct device_peer, timer);

		session_tick(&peer->session, now);
		touch(d, peer);
	}
}

/* --- outputs --- */

static bool poll_device(struct device *d, struct device_out *out)
{
	const struct device_reply *r = &d->replies[d->reply_first];

	if (d->stamps.persist) {
		d->stamps.persist = false;
		out->kind = DEVICE_PERSIST;
		out->stamp_floor_ns = d->stamps.reserved_ns;
		return true;
	}
	if (d->n_replies == 0)
		return false;
	out->kind = DEVICE_SEND;
	out->to = r->to;
	out->derp_peer = r->derp_peer;
	out->size = sizeof(r->msg);
	memcpy(out->msg, &r->msg, sizeof(r->msg));
	d->reply_first = (d->reply_first + 1) % DEVICE_REPLIES_MAX;
	d->n_replies--;
	d->counters.tx_cookie_replies++;
	return true;
}

static enum device_out_kind out_kind(enum session_out_kind kind)
{
	switch (kind) {
	case SESSION_SEND:
		return DEVICE_SEND;
	case SESSION_KEYPAIR_INSTALL:
		return DEVICE_KEYPAIR_INSTALL;
	case SESSION_KEYPAIR_CURRENT:
		return DEVICE_KEYPAIR_CURRENT;
	case SESSION_KEYPAIR_REMOVE:
		return DEVICE_KEYPAIR_REMOVE;
	case SESSION_UP:
		return DEVICE_UP;
	case SESSION_KEEPALIVE:
		return DEVICE_KEEPALIVE;
	case SESSION_DOWN:
		return DEVICE_DOWN;
	}
	return DEVICE_DOWN; /* not reached: every kind is above */
}

static bool poll_peer(struct device *d, struct mono now, struct device_peer *peer,
		      struct device_out *out)
{
	struct session_out so;

	out->peer = peer;
	out->to = peer->heard_from;
	if (peer->heard) {
		out->kind = DEVICE_HEARD;
		out->size = peer->heard_size;
		peer->heard = false;
		peer->heard_size = 0;
		return true;
	}
	if (!session_poll(&peer->session, now, &so))
		return false;
	out->kind = out_kind(so.kind);
	out->kp = so.kp;
	out->size = so.size;
	memcpy(out->msg, so.msg, so.size);
	if (so.kind == SESSION_SEND && so.size == sizeof(struct wg_initiation))
		d->counters.tx_initiations++;
	else if (so.kind == SESSION_SEND)
		d->counters.tx_responses++;
	return true;
}

bool device_poll(struct device *d, struct mono now, struct device_out *out)
{
	*out = (struct device_out){ 0 };
	if (poll_device(d, out))
		return true;
	while (d->dirty_first) {
		struct device_peer *peer = d->dirty_first;

		if (poll_peer(d, now, peer, out))
			return true;
		unlink_dirty(d, peer);
		touch(d, peer);
	}
	*out = (struct device_out){ 0 };
	return false;
}

/* --- reading --- */

int64_t device_stamp_floor(const struct device *d)
{
	return d->stamps.last_ns;
}

void device_seen_stamp(const struct device_peer *peer, uint8_t stamp[static WGMSG_TIMESTAMP_SIZE])
{
	memcpy(stamp, peer->session.seen_stamp, WGMSG_TIMESTAMP_SIZE);
}

bool device_is_idle(const struct device_peer *peer)
{
	const struct session *s = &peer->session;

	return !peer->is_dirty && !s->hs && !s->current && !s->next && !s->old[0] &&
	       mono_is_never(session_deadline(s));
}

void device_status(const struct device_peer *peer, struct mono now, struct session_status *st)
{
	session_status(&peer->session, now, st);
}
