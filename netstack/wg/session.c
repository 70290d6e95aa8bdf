/* SPDX-License-Identifier: MIT */
/* The per-peer machine: attempts, key slots, timers. Sections in that order; outputs are a queue of
 * small events, and the messages they carry lie in the session. */
#include "wg/session.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/env.h"
#include "wg/index.h"

/* Outputs before they are polled: as in the header, but the two messages told apart. */
enum session_event_kind {
	EVENT_INITIATION,
	EVENT_RESPONSE,
	EVENT_INSTALL,
	EVENT_CURRENT,
	EVENT_REMOVE,
	EVENT_UP,
	EVENT_KEEPALIVE,
	EVENT_DOWN,
};

/* The most that one input or tick can queue: a promotion, a timer and a new attempt together. */
enum { EVENTS_PER_INPUT = 14 };

/* A cookie that came back is used after this, not at the next regular attempt (RELIABILITY 5: a new
 * peer completes within 3 s under load). */
enum { COOKIE_RETRY_MS = 100 };

/* The answer to an initiation as young as this may be on its way: what goes out early is then the same message once
 * more, which the peer ignores if it got the first. A new one would make that answer void. */
enum { REPEAT_MS = 1000 };

/* Least time between two UPs that only answer wishes. */
enum { REPEAT_UP_MS = 100 };

/* --- outputs --- */

static bool has_room(const struct session *s)
{
	return s->q_len + EVENTS_PER_INPUT <= SESSION_QUEUE;
}

static void push(struct session *s, enum session_event_kind kind, struct keypair *kp)
{
	assert(s->q_len < SESSION_QUEUE);
	s->queue[(s->q_first + s->q_len) % SESSION_QUEUE] =
		(struct session_event){ (uint8_t)kind, kp };
	s->q_len++;
}

/* A message queued twice before a poll goes out once, with its newest content. */
static void push_once(struct session *s, enum session_event_kind kind)
{
	for (unsigned i = 0; i < s->q_len; i++) {
		if (s->queue[(s->q_first + i) % SESSION_QUEUE].kind == kind)
			return;
	}
	push(s, kind, NULL);
}

static void out_msg(struct session_out *out, const void *msg, size_t size)
{
	out->kind = SESSION_SEND;
	out->size = size;
	memcpy(out->msg, msg, size);
}

bool session_poll(struct session *s, struct mono now, struct session_out *out)
{
	struct session_event ev;

	(void)now;
	keypair_put(s->released);
	s->released = NULL;
	do {
		if (s->q_len == 0)
			return false;
		ev = s->queue[s->q_first];
		s->q_first = (uint8_t)((s->q_first + 1) % SESSION_QUEUE);
		s->q_len--;
	} while (ev.kind == EVENT_INITIATION && !s->hs); /* its handshake ended meanwhile */
	out->kp = ev.kp;
	out->size = 0;
	switch ((enum session_event_kind)ev.kind) {
	case EVENT_INITIATION:
		out_msg(out, &s->hs->msg, sizeof(s->hs->msg));
		break;
	case EVENT_RESPONSE:
		out_msg(out, s->response, sizeof(*s->response));
		free(s->response);
		s->response = NULL;
		break;
	case EVENT_INSTALL:
		out->kind = SESSION_KEYPAIR_INSTALL;
		break;
	case EVENT_CURRENT:
		out->kind = SESSION_KEYPAIR_CURRENT;
		break;
	case EVENT_REMOVE:
		out->kind = SESSION_KEYPAIR_REMOVE;
		s->released = ev.kp;
		break;
	case EVENT_UP:
		out->kind = SESSION_UP;
		break;
	case EVENT_KEEPALIVE:
		out->kind = SESSION_KEEPALIVE;
		break;
	case EVENT_DOWN:
		out->kind = SESSION_DOWN;
		break;
	}
	return true;
}

/* --- life --- */

void session_init(struct session *s, const struct session_cfg *cfg)
{
	memset(s, 0, sizeof(*s));
	s->cfg = *cfg;
	noise_peer_init(&s->noise, &cfg->peer, cfg->psk);
	cookie_maker_init(&s->cookie, &cfg->peer);
	if (cfg->seen_stamp)
		memcpy(s->seen_stamp, cfg->seen_stamp, sizeof(s->seen_stamp));
	s->cfg.psk = NULL;
	s->cfg.seen_stamp = NULL;
	s->next_attempt = MONO_NEVER;
	hasten_init(&s->hasten);
	s->recheck_at = MONO_NEVER;
	s->repeat_up_at = MONO_NEVER;
	/* A persistent peer is called as soon as there is someone to poll. */
	s->persistent_at = cfg->persistent_keepalive_s > 0 ? (struct mono){ 1 } : MONO_NEVER;
}

static void drop_hs(struct session *s)
{
	if (!s->hs)
		return;
	index_put(s->cfg.indices, s->hs->noise.local_index);
	noise_hs_wipe(&s->hs->noise);
	free(s->hs);
	s->hs = NULL;
}

static void stop_attempts(struct session *s)
{
	drop_hs(s);
	s->next_attempt = MONO_NEVER;
	hasten_stop(&s->hasten);
}

/* Empties a slot: the index is free at once, the slot's reference goes with the event. */
static void drop_keypair(struct session *s, struct keypair **slot)
{
	struct keypair_activity a;
	struct keypair *kp = *slot;

	if (!kp)
		return;
	keypair_activity(kp, &a);
	s->tx_bytes += a.tx_bytes;
	s->rx_bytes += a.rx_bytes;
	index_put(s->cfg.indices, kp->local_index);
	push(s, EVENT_REMOVE, kp);
	*slot = NULL;
}

/* Drops every pair of which 'stays' is not true at 'at', and sets the time when the next one
 * expires. */
static void drop_unless(struct session *s, bool (*stays)(const struct keypair *kp, struct mono at),
			struct mono at)
{
	struct keypair **slots[2 + SESSION_OLD] = { &s->current, &s->next };

	for (unsigned i = 0; i < SESSION_OLD; i++)
		slots[2 + i] = &s->old[i];
	s->expire_at = MONO_NEVER;
	for (unsigned i = 0; i < ARRAY_LEN(slots); i++) {
		struct keypair *kp = *slots[i];

		if (!kp)
			continue;
		if (stays(kp, at)) {
			s->expire_at = mono_min(
				s->expire_at, mono_add_s(kp->created, KEYPAIR_REJECT_AFTER_TIME_S));
			continue;
		}
		if (kp == s->current)
			push(s, EVENT_CURRENT, NULL);
		drop_keypair(s, slots[i]);
	}
	if (!s->current) {
		s->unanswered_since = MONO_ZERO;
		s->unacknowledged_since = MONO_ZERO;
	}
}

/* Those that are past their time at 'now' (MONO_NEVER: all of them). */
static void drop_expired(struct session *s, struct mono now)
{
	drop_unless(s, keypair_is_alive, now);
}

static bool is_made_since(const struct keypair *kp, struct mono at)
{
	return !mono_before(kp->created, at);
}

void session_reset(struct session *s)
{
	if (!has_room(s))
		return;
	stop_attempts(s);
	s->persistent_at = MONO_NEVER;
	s->recheck_at = MONO_NEVER;
	s->trim_at = MONO_NEVER;
	drop_expired(s, MONO_NEVER);
}

static void wipe_slot(struct session *s, struct keypair *kp)
{
	if (kp)
		index_put(s->cfg.indices, kp->local_index);
	keypair_put(kp);
}

void session_wipe(struct session *s)
{
	/* Events that were never polled hold references; so do the slots and the last REMOVE. */
	for (unsigned i = 0; i < s->q_len; i++) {
		struct session_event *ev = &s->queue[(s->q_first + i) % SESSION_QUEUE];

		if (ev->kind == EVENT_INSTALL || ev->kind == EVENT_REMOVE)
			keypair_put(ev->kp);
	}
	keypair_put(s->released);
	wipe_slot(s, s->current);
	wipe_slot(s, s->next);
	for (unsigned i = 0; i < SESSION_OLD; i++)
		wipe_slot(s, s->old[i]);
	drop_hs(s);
	free(s->response);
	sodium_memzero(s, sizeof(*s));
}

/* --- attempts as initiator --- */

/* A stamp later than every one this peer has seen from us. */
static void make_stamp(struct session *s, uint8_t stamp[static WGMSG_TIMESTAMP_SIZE])
{
	const int64_t reserve = SESSION_STAMP_RESERVE_S * NS_PER_S;
	struct session_stamps *st = s->cfg.stamps;
	int64_t ns = env_wall_ns(s->cfg.env);

	if (ns < st->base_ns + NOISE_STAMP_STEP_NS)
		ns = st->base_ns + NOISE_STAMP_STEP_NS;
	if (ns < s->stamp_ns + NOISE_STAMP_STEP_NS)
		ns = s->stamp_ns + NOISE_STAMP_STEP_NS;
	s->stamp_ns = ns;
	if (ns > st->last_ns)
		st->last_ns = ns;
	if (ns > st->reserved_ns - reserve / 2) {
		st->reserved_ns = ns + reserve;
		st->persist = true;
	}
	noise_tai64n(stamp, ns);
}

static void send_initiation(struct session *s, struct mono now)
{
	cookie_add_macs(&s->cookie, now, (uint8_t *)&s->hs->msg, sizeof(s->hs->msg));
	s->hs_sent = now;
	s->tx_bytes += sizeof(s->hs->msg);
	push_once(s, EVENT_INITIATION);
}

/* Begins a handshake in place of the one in flight. */
static void begin_hs(struct session *s, struct mono now)
{
	uint8_t stamp[WGMSG_TIMESTAMP_SIZE];
	uint32_t index = 0;
	int err;

	drop_hs(s);
	/* Out of memory or indices: the next attempt may have better luck. */
	if (index_alloc(s->cfg.indices, s->cfg.index_owner, &index) != 0)
		return;
	s->hs = calloc(1, sizeof(*s->hs));
	if (!s->hs) {
		index_put(s->cfg.indices, index);
		return;
	}
	make_stamp(s, stamp);
	err = noise_create_initiation(&s->hs->noise, s->cfg.self, &s->noise, s->cfg.env, stamp,
				      index, &s->hs->msg);
	s->hs->noise.local_index = index;
	s->hs->made = now;
	if (err) {
		drop_hs(s); /* a key of low order: there is no such peer */
		return;
	}
	send_initiation(s, now);
}

/* Sends one initiation and sets the time of the next. */
static void attempt(struct session *s, struct mono now)
{
	int64_t jitter = (int64_t)env_below(s->cfg.env, SESSION_JITTER_MS);

	s->not_before = mono_add_s(now, SESSION_REKEY_TIMEOUT_S);
	s->next_attempt = mono_add_ms(s->not_before, jitter);
	hasten_regular(&s->hasten, now);
	begin_hs(s, now);
}

/* Begins a series of attempts; during one it only counts the 90 seconds anew. */
static void initiate(struct session *s, struct mono now)
{
	s->first_attempt = now;
	if (!mono_is_never(s->next_attempt))
		return;
	s->cookie_retried = false;
	hasten_begin(&s->hasten);
	/* Never two initiations within 5 s, also when the last one was answered in between. */
	if (mono_before(now, s->not_before))
		s->next_attempt = s->not_before;
	else
		attempt(s, now);
}

bool session_hint(struct session *s, struct mono now, enum hasten_why why)
{
	if (s->hs)
		hasten_hint(&s->hasten, now, why);
	return s->hs != NULL;
}

void session_restarted(struct session *s, struct mono now)
{
	const bool is_calling = !mono_is_never(s->next_attempt);

	if (!has_room(s))
		return;
	drop_unless(s, is_made_since, mono_add_s(now, -SESSION_YOUNG_S));
	/* What went to the old life does not hold up the new one. */
	if (mono_before(now, s->not_before) && hasten_take(&s->hasten, now))
		s->not_before = mono_add_ms(s->hasten.last, SESSION_INITIATION_MIN_MS);
	if (!s->current && !s->next)
		session_reset(s);
	if (s->current || (is_calling && !s->next)) {
		stop_attempts(s);
		initiate(s, now);
	}
}

/* May 'kp' still seal, and is it not yet due for its successor? */
static bool is_fresh(const struct keypair *kp, struct mono now)
{
	struct keypair_activity a;

	if (!kp || !keypair_is_alive(kp, now))
		return false;
	keypair_activity(kp, &a);
	if (a.next_counter >= KEYPAIR_REKEY_AFTER_MESSAGES)
		return false;
	return !kp->is_initiator ||
	       mono_before(now, mono_add_s(kp->created, KEYPAIR_REKEY_AFTER_TIME_S));
}

static void repeat_up(struct session *s, struct mono now)
{
	if (!mono_due(s->repeat_up_at, now))
		return;
	s->repeat_up_at = MONO_NEVER;
	s->last_up = now;
	if (s->current)
		push(s, EVENT_UP, s->current);
}

void session_want(struct session *s, struct mono now)
{
	if (!has_room(s))
		return;
	if (!is_fresh(s->current, now)) {
		initiate(s, now);
		return;
	}
	/* The wish crossed the handshake that fulfils it: say so again, but not in a tight loop
	 * with a data plane that cannot use the key. */
	if (mono_is_never(s->repeat_up_at))
		s->repeat_up_at = mono_max(now, mono_add_ms(s->last_up, REPEAT_UP_MS));
	repeat_up(s, now);
}

/* --- key slots --- */

static struct keypair *make_keypair(const struct session *s, struct mono now,
				    const struct noise_keys *keys, uint32_t local_index,
				    uint32_t remote_index, bool is_initiator)
{
	struct keypair_cfg cfg = {
		.crypto = s->cfg.crypto,
		.local_index = local_index,
		.remote_index = remote_index,
		.peer = s->cfg.id,
		.is_initiator = is_initiator,
		.created = now,
	};
	struct keypair *kp;

	memcpy(cfg.send_key, keys->send, sizeof(cfg.send_key));
	memcpy(cfg.recv_key, keys->recv, sizeof(cfg.recv_key));
	kp = keypair_new(&cfg);
	sodium_memzero(&cfg, sizeof(cfg));
	return kp;
}

/* Makes 'kp' the one to send with. The displaced pairs move back one slot each; what leaves the
 * last slot is removed only after the new pair is in use. */
static void make_current(struct session *s, struct mono now, struct keypair *kp)
{
	push(s, EVENT_CURRENT, kp);
	if (s->current) {
		drop_keypair(s, &s->old[SESSION_OLD - 1]);
		memmove(&s->old[1], &s->old[0], sizeof(s->old) - sizeof(s->old[0]));
		s->old[0] = s->current;
		s->trim_at = mono_add_s(now, SESSION_OLD_S);
	}
	s->current = kp;
	s->lastminute_done = false;
	s->last_handshake = now;
	push(s, EVENT_UP, kp);
}

static void trim_old(struct session *s, struct mono now)
{
	if (!mono_due(s->trim_at, now))
		return;
	s->trim_at = MONO_NEVER;
	for (unsigned i = 1; i < SESSION_OLD; i++)
		drop_keypair(s, &s->old[i]);
}

/* Timers that begin with new keys, whichever side made them. */
static void keys_made(struct session *s, struct mono now)
{
	s->expire_at = mono_min(s->expire_at, mono_add_s(now, KEYPAIR_REJECT_AFTER_TIME_S));
	s->hs_received = now;
	if (s->cfg.persistent_keepalive_s > 0)
		s->persistent_at = mono_add_s(now, s->cfg.persistent_keepalive_s);
}

int session_input_response(struct session *s, struct mono now, const struct wg_response *msg)
{
	struct noise_keys keys;
	struct keypair *kp = NULL;
	int err;

	if (!has_room(s))
		return -ENOBUFS;
	if (!s->hs || s->hs->noise.local_index != wgmsg_le32(msg->receiver_index_le32))
		return -EPROTO;
	err = noise_consume_response(&s->hs->noise, s->cfg.self, &s->noise, msg, &keys);
	if (err)
		return err;
	kp = make_keypair(s, now, &keys, s->hs->noise.local_index,
			  wgmsg_le32(msg->sender_index_le32), true);
	noise_keys_wipe(&keys);
	if (!kp)
		return -ENOMEM;

	/* The handshake's index lives on in the key pair. */
	noise_hs_wipe(&s->hs->noise);
	free(s->hs);
	s->hs = NULL;
	stop_attempts(s);
	s->rx_bytes += sizeof(*msg);
	keys_made(s, now);
	push(s, EVENT_INSTALL, keypair_get(kp));
	make_current(s, now, kp);
	/* The responder may use its keys only once it hears something under them. */
	push(s, EVENT_KEEPALIVE, kp);
	return 0;
}

int session_input_initiation(struct session *s, struct mono now, const struct wg_initiation *msg,
			     struct noise_rx *rx)
{
	struct noise_keys keys;
	struct wg_response response, *place;
	struct keypair *kp = NULL;
	uint32_t index = 0;
	int err;

	if (!has_room(s))
		return -ENOBUFS;
	err = noise_accept_initiation(rx, s->cfg.self, &s->noise, msg);
	if (err)
		return err;
	/* Stamps are not secret. */
	if (memcmp(rx->timestamp, s->seen_stamp, sizeof(rx->timestamp)) <= 0)
		return -ESTALE;
	if (!mono_is_zero(s->last_accepted) &&
	    mono_before(now, mono_add_ms(s->last_accepted, SESSION_INITIATION_MIN_MS)))
		return -EPROTO;
	err = index_alloc(s->cfg.indices, s->cfg.index_owner, &index);
	if (err)
		return err;
	/* A response that was not polled yet is replaced. */
	place = s->response ? s->response : malloc(sizeof(*place));
	err = noise_create_response(rx, &s->noise, s->cfg.env, index, &response, &keys);
	if (!err) {
		kp = place ? make_keypair(s, now, &keys, index, rx->remote_index, false) : NULL;
		noise_keys_wipe(&keys);
		if (!kp)
			err = -ENOMEM;
	}
	if (err) {
		if (place != s->response)
			free(place);
		index_put(s->cfg.indices, index);
		return err;
	}

	memcpy(s->seen_stamp, rx->timestamp, sizeof(s->seen_stamp));
	s->last_accepted = now;
	cookie_add_macs(&s->cookie, now, (uint8_t *)&response, sizeof(response));
	*place = response;
	s->response = place;
	s->rx_bytes += sizeof(*msg);
	s->tx_bytes += sizeof(response);
	s->hs_sent = now;
	keys_made(s, now);
	/* An older 'next' that was never confirmed cannot be: the peer has begun again. */
	drop_keypair(s, &s->next);
	s->next = kp;
	push(s, EVENT_INSTALL, keypair_get(kp));
	push_once(s, EVENT_RESPONSE);
	return 0;
}

int session_input_cookie_reply(struct session *s, struct mono now,
			       const struct wg_cookie_reply *msg)
{
	int err = cookie_consume_reply(&s->cookie, now, msg);

	if (err)
		return err;
	s->rx_bytes += sizeof(*msg);
	/* Once only: whoever sees our messages can make cookie replies to them. */
	if (s->hs && !s->cookie_retried) {
		s->cookie_retried = true;
		s->next_attempt = mono_min(
			s->next_attempt,
			mono_add_ms(now, COOKIE_RETRY_MS +
						 (int64_t)env_below(s->cfg.env, COOKIE_RETRY_MS)));
	}
	return 0;
}

/* --- traffic --- */

/* The latest times over all pairs. */
struct traffic {
	struct mono sent, sent_data, received, received_data;
	uint64_t n_pkts, tx_bytes, rx_bytes;
};

static void add_traffic(struct traffic *t, const struct keypair *kp)
{
	struct keypair_activity a;

	if (!kp)
		return;
	keypair_activity(kp, &a);
	t->sent = mono_max(t->sent, a.sent);
	t->sent_data = mono_max(t->sent_data, a.sent_data);
	t->received = mono_max(t->received, a.received);
	t->received_data = mono_max(t->received_data, a.received_data);
	t->n_pkts += a.tx_pkts + a.rx_pkts;
	t->tx_bytes += a.tx_bytes;
	t->rx_bytes += a.rx_bytes;
}

static struct traffic sum_traffic(const struct session *s)
{
	struct traffic t = { .sent = s->hs_sent, .received = s->hs_received };

	add_traffic(&t, s->current);
	add_traffic(&t, s->next);
	for (unsigned i = 0; i < SESSION_OLD; i++)
		add_traffic(&t, s->old[i]);
	return t;
}

/* The peer's first packet on 'next' proves that it has the keys: they may be used now. */
static void promote_next(struct session *s, struct mono now)
{
	struct keypair_activity a;
	struct keypair *kp = s->next;

	if (!kp)
		return;
	keypair_activity(kp, &a);
	if (mono_is_zero(a.received))
		return;
	s->next = NULL;
	make_current(s, now, kp);
	stop_attempts(s); /* ours would only make another pair */
}

/* Is a new handshake due because of this traffic (WireGuard paper 6.2)? */
static bool is_rekey_due(struct session *s)
{
	const struct keypair *kp = s->current;
	struct keypair_activity a;

	if (!kp)
		return false;
	keypair_activity(kp, &a);
	if (a.next_counter >= KEYPAIR_REKEY_AFTER_MESSAGES)
		return true;
	if (!kp->is_initiator)
		return false;
	if (!mono_before(a.sent, mono_add_s(kp->created, KEYPAIR_REKEY_AFTER_TIME_S)))
		return true;
	/* One who only receives must renew too, early enough for a keepalive and one retry. */
	if (!s->lastminute_done &&
	    !mono_before(a.received, mono_add_s(kp->created, KEYPAIR_REJECT_AFTER_TIME_S -
								     SESSION_KEEPALIVE_TIMEOUT_S -
								     SESSION_REKEY_TIMEOUT_S))) {
		s->lastminute_done = true;
		return true;
	}
	return false;
}

/* Sets the two waits from the latest times. The order of packets within one note interval is
 * unknown; a wait then begins at the latest packet, so it ends late by at most that interval, never
 * early. */
static void set_waits(struct session *s, const struct traffic *t)
{
	if (t->sent_data.ns <= t->received.ns)
		s->unanswered_since = MONO_ZERO;
	else if (s->unanswered_since.ns <= t->received.ns)
		s->unanswered_since = t->sent_data;

	if (t->received_data.ns <= t->sent.ns)
		s->unacknowledged_since = MONO_ZERO;
	else if (s->unacknowledged_since.ns <= t->sent.ns)
		s->unacknowledged_since = t->received_data;
}

void session_activity(struct session *s, struct mono now)
{
	struct traffic t = sum_traffic(s);

	if (!has_room(s))
		return;
	/* Workers keep quiet for a while after each note: look again when that is over. */
	s->recheck_at =
		t.n_pkts == s->seen_pkts ? MONO_NEVER : mono_add_ms(now, KEYPAIR_NOTE_INTERVAL_MS);
	s->seen_pkts = t.n_pkts;
	promote_next(s, now);
	set_waits(s, &t);
	if (s->cfg.persistent_keepalive_s > 0 && !mono_is_never(s->persistent_at))
		s->persistent_at =
			mono_add_s(mono_max(t.sent, t.received), s->cfg.persistent_keepalive_s);
	/* While a series runs, traffic alone does not prolong it: only a packet without keys does.
	 */
	if (is_rekey_due(s) && mono_is_never(s->next_attempt))
		initiate(s, now);
}

/* --- timers --- */

static struct mono keepalive_at(const struct session *s)
{
	if (mono_is_zero(s->unacknowledged_since))
		return MONO_NEVER;
	return mono_add_s(s->unacknowledged_since, SESSION_KEEPALIVE_TIMEOUT_S);
}

static struct mono new_handshake_at(const struct session *s)
{
	if (mono_is_zero(s->unanswered_since))
		return MONO_NEVER;
	return mono_add_s(s->unanswered_since,
			  SESSION_KEEPALIVE_TIMEOUT_S + SESSION_REKEY_TIMEOUT_S);
}

struct mono session_deadline(const struct session *s)
{
	struct mono t = mono_min(s->next_attempt, s->recheck_at);

	t = mono_min(t, s->hasten.at);
	t = mono_min(t, mono_min(s->expire_at, s->persistent_at));
	t = mono_min(t, mono_min(s->repeat_up_at, s->trim_at));
	return mono_min(t, mono_min(keepalive_at(s), new_handshake_at(s)));
}

static void send_keepalive(struct session *s, struct mono now)
{
	s->unacknowledged_since = MONO_ZERO;
	if (!s->current || !keypair_is_alive(s->current, now))
		return;
	s->hs_sent = now; /* counts as sent from here on: the worker's note comes later */
	push(s, EVENT_KEEPALIVE, s->current);
}

/* One more, early: the regular ones keep their times. */
static void attempt_early(struct session *s, struct mono now)
{
	if (s->hs && mono_before(now, mono_add_ms(s->hs->made, REPEAT_MS)))
		send_initiation(s, now);
	else
		begin_hs(s, now);
}

static void tick_attempts(struct session *s, struct mono now)
{
	if (!mono_due(s->next_attempt, now)) {
		if (hasten_due(&s->hasten, now))
			attempt_early(s, now);
		return;
	}
	if (!mono_before(now, mono_add_s(s->first_attempt, SESSION_GIVE_UP_S))) {
		stop_attempts(s);
		push(s, EVENT_DOWN, NULL);
		return;
	}
	attempt(s, now);
}

void session_tick(struct session *s, struct mono now)
{
	if (!has_room(s))
		return;
	if (mono_due(s->recheck_at, now) || mono_due(keepalive_at(s), now) ||
	    mono_due(new_handshake_at(s), now) || mono_due(s->persistent_at, now))
		session_activity(s, now); /* the counters may know better */
	if (mono_due(keepalive_at(s), now))
		send_keepalive(s, now);
	if (mono_due(s->persistent_at, now)) {
		s->persistent_at = mono_add_s(now, s->cfg.persistent_keepalive_s);
		if (is_fresh(s->current, now))
			send_keepalive(s, now);
		else
			initiate(s, now);
	}
	if (mono_due(new_handshake_at(s), now)) {
		s->unanswered_since = MONO_ZERO;
		initiate(s, now);
	}
	trim_old(s, now);
	if (mono_due(s->expire_at, now))
		drop_expired(s, now);
	repeat_up(s, now);
	tick_attempts(s, now);
}

/* --- status --- */

void session_status(const struct session *s, struct mono now, struct session_status *st)
{
	struct traffic t = sum_traffic(s);

	*st = (struct session_status){
		.last_handshake = s->last_handshake,
		.heard = t.received,
		.is_up = s->current && keypair_is_alive(s->current, now),
		.is_initiating = !mono_is_never(s->next_attempt),
		.tx_bytes = s->tx_bytes + t.tx_bytes,
		.rx_bytes = s->rx_bytes + t.rx_bytes,
	};
}
