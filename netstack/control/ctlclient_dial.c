/* SPDX-License-Identifier: MIT */
/* Byte streams of the control client: the key fetch, the race between the plain and the TLS attempt, and the
 * connection that won. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/env.h"
#include "control/ctlclient_int.h"

static const char protocol[] = "tailscale-control-protocol";

/* --- streams --- */

static struct ctl_stream *find(struct ctlclient *c, uint32_t id)
{
	for (size_t i = 0; i < CTL_STREAMS; i++)
		if (c->streams[i].kind != CTL_STREAM_NONE && c->streams[i].id == id)
			return &c->streams[i];
	return NULL;
}

static struct ctl_stream *find_kind(struct ctlclient *c, enum ctl_kind kind)
{
	for (size_t i = 0; i < CTL_STREAMS; i++)
		if (c->streams[i].kind == kind)
			return &c->streams[i];
	return NULL;
}

static void slot_free(struct ctl_stream *s)
{
	free(s->h1);
	bytes_wipe(&s->body);
	bytes_wipe(&s->plain);
	ctlnoise_wipe(&s->noise);
	sodium_memzero(s, sizeof(*s));
}

static void stream_close(struct ctlclient *c, struct ctl_stream *s)
{
	struct ctl_out *o;

	if (!s || s->kind == CTL_STREAM_NONE)
		return;
	o = s->is_gone ? NULL : ctlclient_queue(c, CTLCLIENT_OUT_CLOSE);
	if (o)
		o->out.id = s->id;
	slot_free(s);
}

struct ctl_stream *ctlclient_open(struct ctlclient *c, struct mono now, enum ctl_kind kind, uint16_t port,
				  enum ctlclient_tls tls, int64_t limit_ms)
{
	struct ctl_stream *s = find_kind(c, CTL_STREAM_NONE);
	struct ctl_out *o;

	if (!s)
		return NULL;
	s->h1 = malloc(sizeof(*s->h1));
	o = s->h1 ? ctlclient_queue(c, CTLCLIENT_OUT_OPEN) : NULL;
	if (!o) {
		free(s->h1);
		s->h1 = NULL;
		return NULL;
	}
	http1_init(s->h1, HTTP1_RESPONSES, CTL_KEY_BODY_MAX);
	s->kind = kind;
	s->id = ++c->next_id;
	s->deadline = mono_add_ms(now, limit_ms);
	s->body.max = CTL_KEY_BODY_MAX;
	o->out.id = s->id;
	o->out.port = port;
	o->out.tls = tls;
	memcpy(o->host, c->url.host, sizeof(o->host));
	return s;
}

void ctlclient_send(struct ctlclient *c, const struct ctl_stream *s, const void *data, size_t size)
{
	struct ctl_out *o = size ? ctlclient_queue(c, CTLCLIENT_OUT_SEND) : NULL;

	if (!o)
		return;
	o->out.id = s->id;
	if (bytes_append(&o->data, data, size) != 0)
		ctlclient_error(c, false, "out of memory");
}

void ctlclient_drop(struct ctlclient *c)
{
	for (size_t i = 0; i < CTL_STREAMS; i++)
		stream_close(c, &c->streams[i]);
	h2_free(c->h2);
	c->h2 = NULL;
	ctlclient_request_wipe(&c->reg);
	ctlclient_request_wipe(&c->poll);
	ctlclient_request_wipe(&c->lite);
	c->watchdog = c->tls_at = c->dial_deadline = c->retry_at = MONO_NEVER;
	c->told_valid = false; /* what was on its way may be lost */
	c->tell_dirty = true;
	if (c->is_live)
		c->status_dirty = true;
	c->is_live = false;
	if (c->phase != CTL_OFF)
		c->phase = CTL_WAIT;
}

void ctlclient_redial(struct ctlclient *c, struct mono now)
{
	ctlclient_drop(c);
	/* After a refusal there is nothing to connect for until the operator acts. */
	c->retry_at = c->refused ? MONO_NEVER : ctlclient_backoff(c, now, ++c->dial_fails);
}

/* --- /key --- */

static void key_fetch(struct ctlclient *c, struct mono now)
{
	/* Where something else proves the server's identity, its certificate does not matter. */
	const bool proven = c->has_fingerprint || !key_is_zero(c->saved.server.b);
	const enum ctlclient_tls tls = !c->url.is_https ? CTLCLIENT_PLAIN :
				       proven		? CTLCLIENT_TLS_NO_VERIFY :
							  CTLCLIENT_TLS_VERIFY;

	c->phase = CTL_KEY;
	if (!ctlclient_open(c, now, CTL_STREAM_KEY, c->url.port, tls, CTL_KEY_MS))
		ctlclient_redial(c, now);
}

static void key_request(struct ctlclient *c, const struct ctl_stream *s)
{
	uint8_t buf[CTLCLIENT_HOST_MAX + 256];
	struct wr w = WR(buf, sizeof(buf));
	char target[32];

	(void)snprintf(target, sizeof(target), "/key?v=%d", CTLCLIENT_VERSION);
	http1_write_request(&w, "GET", target, c->url.authority);
	http1_write_header(&w, "Connection", "close");
	http1_write_end(&w);
	ctlclient_send(c, s, buf, wr_used(&w, sizeof(buf)));
}

static bool fingerprint_matches(const struct ctlclient *c, const struct machine_key *key)
{
	uint8_t hash[crypto_hash_sha256_BYTES];

	(void)crypto_hash_sha256(hash, key->b, KEY_SIZE);
	return memcmp(hash, c->fingerprint, sizeof(c->fingerprint)) == 0; /* public values */
}

/* Is this the server that we mean? Stores a key that is accepted. */
static bool trust(struct ctlclient *c, const struct machine_key *key)
{
	char had[KEY_TEXT_MAX], got[KEY_TEXT_MAX];
	const bool is_known = !key_is_zero(c->saved.server.b);

	key_write(got, KEY_MACHINE, key->b);
	if (c->has_fingerprint && !fingerprint_matches(c, key)) {
		const bool stays = ctlclient_restore(c);

		ctlclient_error(c, true, "this is not the server that issued the auth key (its key is %s)%s", got,
				stays ? "; the node stays a member as before" : "");
		if (!c->saved.registered) { /* trying again with this key cannot help */
			c->refused = true;
			ctlclient_set_state(c, CTLCLIENT_NEEDS_LOGIN);
		}
		return false;
	}
	if (is_known && machine_key_eq(&c->saved.server, key))
		return true;
	if (is_known && !c->accept_new_key) {
		key_write(had, KEY_MACHINE, c->saved.server.b);
		ctlclient_error(c, true, "the server's key changed from %s to %s; if that is intended, use --force-reauth",
				had, got);
		return false;
	}
	c->saved.server = *key;
	(void)snprintf(c->saved.url, sizeof(c->saved.url), "%s", c->url_text);
	ctlclient_save(c);
	return true;
}

static void race_start(struct ctlclient *c, struct mono now);
static void give_up(struct ctlclient *c, struct mono now, struct ctl_stream *s, const char *reason);

static void key_answer(struct ctlclient *c, struct mono now, struct ctl_stream *s)
{
	struct ctl_key_response m;
	struct ctl_why why = { "" };
	const uint16_t status = s->h1->status;
	int err;

	if (status != 200) {
		ctlclient_error(c, false, "%s is no control server: /key was answered with status %u", c->url_text,
				status);
		goto again;
	}
	if (bytes_size(&s->body) == 0) {
		ctlclient_error(c, true, "the server does not accept this version of meshd");
		goto again;
	}
	err = ctl_key_response_parse(&m, (const char *)bytes_data(&s->body), bytes_size(&s->body), &why);
	if (err) {
		ctlclient_error(c, false, "%s is no control server, or one too old: the answer to /key is %s",
				c->url_text, why.text);
		goto again;
	}
	stream_close(c, s);
	if (!trust(c, &m.key)) {
		ctlclient_redial(c, now);
		return;
	}
	c->check_key = false;
	race_start(c, now);
	return;
again:
	ctlclient_redial(c, now);
}

/* --- the race --- */

static bool wants_plain(const struct ctlclient *c)
{
	/* An operator who names an https port means TLS; probing port 80 then only costs time. */
	return !c->tls_only && (!c->url.is_https || !c->url.has_port);
}

static bool wants_tls(const struct ctlclient *c)
{
	return c->url.is_https || c->tls_only || !ctlclient_url_is_private(&c->url);
}

static void attempt(struct ctlclient *c, struct mono now, bool tls)
{
	const uint16_t port = tls ? (c->url.is_https ? c->url.port : 443) : (c->url.is_https ? 80 : c->url.port);
	struct ctl_stream *s = ctlclient_open(c, now, tls ? CTL_STREAM_TLS : CTL_STREAM_PLAIN, port,
					      tls ? CTLCLIENT_TLS_NO_VERIFY : CTLCLIENT_PLAIN, CTL_DIAL_MS);

	if (tls)
		c->tls_at = MONO_NEVER;
	if (!s)
		ctlclient_error(c, false, "out of memory");
}

static void race_start(struct ctlclient *c, struct mono now)
{
	c->phase = CTL_DIAL;
	c->dial_deadline = mono_add_ms(now, CTL_DIAL_MS);
	c->tls_at = MONO_NEVER;
	if (wants_plain(c)) {
		attempt(c, now, false);
		if (wants_tls(c))
			c->tls_at = mono_add_ms(now, CTL_RACE_MS);
	} else {
		attempt(c, now, true);
	}
}

void ctlclient_connect(struct ctlclient *c, struct mono now)
{
	if (key_is_zero(c->saved.server.b) || c->check_key)
		key_fetch(c, now);
	else
		race_start(c, now);
}

static void upgrade_request(struct ctlclient *c, struct ctl_stream *s)
{
	uint8_t initiation[CTLFRAME_INITIATION_SIZE], buf[CTLCLIENT_HOST_MAX + 512];
	char b64[CTLNOISE_INITIATION_B64_MAX];
	struct wr w = WR(buf, sizeof(buf));

	if (ctlnoise_client_init(&s->noise, &c->saved.machine, &c->saved.server, CTLCLIENT_VERSION, c->env,
				 initiation) != 0) {
		ctlclient_error(c, true, "the server's key is unusable");
		return;
	}
	ctlnoise_b64_write(b64, initiation);
	http1_write_request(&w, "POST", "/ts2021", c->url.authority);
	http1_write_header(&w, "Upgrade", protocol);
	http1_write_header(&w, "Connection", "upgrade");
	http1_write_header(&w, "X-Tailscale-Handshake", b64);
	http1_write_header_u64(&w, "Content-Length", 0);
	http1_write_end(&w);
	ctlclient_send(c, s, buf, wr_used(&w, sizeof(buf)));
}

/* One attempt failed. The other one may still win; the last one to fail ends the dial. */
static void attempt_failed(struct ctlclient *c, struct mono now, struct ctl_stream *s, const char *reason)
{
	const bool was_plain = s->kind == CTL_STREAM_PLAIN;
	const bool is_only = was_plain ? !wants_tls(c) : !wants_plain(c);

	/* Of two attempts the one that the URL names tells the operator more; and a text that does not
	 * alternate is logged once. */
	if (is_only || was_plain != c->url.is_https)
		ctlclient_error(c, false, "cannot connect to %s: %s", c->url_text, reason);
	/* The server spoke but not as expected: perhaps its key is another one now. */
	if (s->upgraded)
		c->check_key = true;
	slot_free(s);
	if (was_plain && !mono_is_never(c->tls_at))
		attempt(c, now, true);
	if (!find_kind(c, CTL_STREAM_PLAIN) && !find_kind(c, CTL_STREAM_TLS))
		ctlclient_redial(c, now);
}

static void attempt_won(struct ctlclient *c, struct mono now, struct ctl_stream *s)
{
	s->kind = CTL_STREAM_CONN;
	s->deadline = MONO_NEVER;
	free(s->h1);
	s->h1 = NULL;
	stream_close(c, find_kind(c, CTL_STREAM_PLAIN));
	stream_close(c, find_kind(c, CTL_STREAM_TLS));
	c->tls_at = c->dial_deadline = MONO_NEVER;
	c->h2 = h2_client_new(c->url.authority);
	if (!c->h2) {
		ctlclient_redial(c, now);
		return;
	}
	c->phase = CTL_UP;
	log_debug(c->env->log, "control: %s: connected", c->url.host);
}

/* --- bytes --- */

static void request_end(struct ctlclient *c, struct mono now, const struct ctl_request *r)
{
	if (r == &c->poll)
		ctlclient_map_end(c, now);
	else if (r == &c->reg)
		ctlclient_login_answer(c, now);
	else
		ctlclient_lite_end(c, now);
}

static void h2_events(struct ctlclient *c, struct mono now)
{
	struct h2_event ev;

	/* Handling an event may drop the whole connection. */
	while (c->h2 && h2_poll(c->h2, &ev)) {
		struct ctl_request *r = ev.stream && ev.stream == c->reg.stream  ? &c->reg :
					ev.stream && ev.stream == c->poll.stream ? &c->poll :
					ev.stream && ev.stream == c->lite.stream ? &c->lite :
										   NULL;
		const bool is_map = r == &c->poll;

		if (ev.kind == H2_EV_GOAWAY && c->h2 && h2_streams(c->h2) == 0) {
			ctlclient_redial(c, now);
			return;
		}
		if (!r)
			continue; /* answers to our ping answers */
		switch (ev.kind) {
		case H2_EV_RESPONSE:
			r->status = ev.status;
			r->retry_after_s = ev.retry_after_s;
			break;
		case H2_EV_DATA:
			if (is_map && r->status == 200)
				ctlclient_map_data(c, now, ev.data, ev.size);
			else if (bytes_size(&r->body) + ev.size <= CTLJSON_BODY_MAX)
				(void)!bytes_append(&r->body, ev.data, ev.size);
			break;
		case H2_EV_CLOSED:
			r->status = 0;
			request_end(c, now, r);
			break;
		case H2_EV_END:
			request_end(c, now, r);
			break;
		case H2_EV_REQUEST:
		case H2_EV_GOAWAY:
			break;
		}
	}
}

/* The connection that carried everything is gone. */
static void conn_lost(struct ctlclient *c, struct mono now, const char *reason)
{
	if (c->is_live || !c->error[0])
		ctlclient_error(c, false, "the connection to the server was lost: %s", reason);
	ctlclient_login_lost(c, now);
	ctlclient_redial(c, now);
}

static void noise_in(struct ctlclient *c, struct mono now, struct ctl_stream *s, const uint8_t *buf, size_t size)
{
	const bool was_open = s->noise.state == CTLNOISE_OPEN;
	int err = ctlnoise_input(&s->noise, buf, size, &s->plain);

	if (err && s->kind != CTL_STREAM_CONN) {
		char text[CTLNOISE_ERROR_TEXT_MAX];

		(void)snprintf(text, sizeof(text), "%s",
			       s->noise.error_text[0] ? s->noise.error_text : "the Noise handshake failed");
		give_up(c, now, s, text);
		return;
	}
	if (!was_open && s->noise.state != CTLNOISE_WAIT)
		attempt_won(c, now, s);
	if (c->phase != CTL_UP || s->kind != CTL_STREAM_CONN)
		return;
	if (!err && bytes_size(&s->plain) > 0) {
		err = h2_input(c->h2, now, bytes_data(&s->plain), bytes_size(&s->plain));
		bytes_consume(&s->plain, bytes_size(&s->plain));
	}
	h2_events(c, now);
	if (err && c->phase == CTL_UP)
		conn_lost(c, now, c->h2 && h2_failed(c->h2) ? h2_reason(c->h2) : "a record could not be opened");
}

static void http_done(struct ctlclient *c, struct mono now, struct ctl_stream *s, bool upgraded)
{
	const char *upgrade = http1_get(s->h1, "Upgrade");
	char reason[64];

	if (s->kind == CTL_STREAM_KEY) {
		key_answer(c, now, s);
	} else if (s->kind == CTL_STREAM_PING) {
		stream_close(c, s);
	} else if (upgraded && upgrade && strcmp(upgrade, protocol) == 0) {
		s->upgraded = true;
	} else {
		(void)snprintf(reason, sizeof(reason), "the upgrade was answered with status %u", s->h1->status);
		give_up(c, now, s, reason);
	}
}

/* HTTP/1 on a stream: /key, the upgrade, or a ping's HEAD. */
static void http_in(struct ctlclient *c, struct mono now, struct ctl_stream *s, const uint8_t *buf, size_t size)
{
	const uint32_t id = s->id;

	while (size > 0 && s->kind != CTL_STREAM_NONE && s->id == id && s->h1 && !s->upgraded) {
		enum http1_event ev;
		size_t used;

		if (http1_input(s->h1, buf, size, &used, &ev) != 0) {
			char reason[128];

			(void)snprintf(reason, sizeof(reason), "not HTTP: %s", http1_reason(s->h1));
			give_up(c, now, s, reason);
			return;
		}
		buf += used;
		size -= used;
		switch (ev) {
		case HTTP1_MORE:
			return;
		case HTTP1_HEAD:
			break;
		case HTTP1_BODY:
			if (bytes_append(&s->body, s->h1->body, s->h1->body_size) != 0)
				give_up(c, now, s, "the answer is too long");
			break;
		case HTTP1_UPGRADE:
		case HTTP1_END:
			http_done(c, now, s, ev == HTTP1_UPGRADE);
			break;
		}
	}
	if (size > 0 && s->kind != CTL_STREAM_NONE && s->id == id && s->upgraded)
		noise_in(c, now, s, buf, size);
}

/* --- stream events --- */

void ctlclient_connected(struct ctlclient *c, struct mono now, uint32_t id)
{
	struct ctl_stream *s = find(c, id);

	(void)now;
	if (!s)
		return;
	switch (s->kind) {
	case CTL_STREAM_KEY:
		key_request(c, s);
		break;
	case CTL_STREAM_PLAIN:
	case CTL_STREAM_TLS:
		upgrade_request(c, s);
		break;
	case CTL_STREAM_PING: {
		uint8_t buf[CTLCLIENT_HOST_MAX + CTL_PATH_MAX + 128];
		struct wr w = WR(buf, sizeof(buf));

		http1_expect_head(s->h1);
		http1_write_request(&w, "HEAD", s->path, c->url.authority);
		http1_write_header(&w, "Connection", "close");
		http1_write_end(&w);
		ctlclient_send(c, s, buf, wr_used(&w, sizeof(buf)));
		break;
	}
	case CTL_STREAM_CONN:
	case CTL_STREAM_NONE:
		break;
	}
}

/* The stream is gone, whoever ended it. '*s' is a free slot afterwards. */
static void stream_gone(struct ctlclient *c, struct mono now, struct ctl_stream *s, const char *reason)
{
	switch (s->kind) {
	case CTL_STREAM_KEY:
		slot_free(s);
		ctlclient_error(c, false, "cannot reach %s: %s", c->url_text, reason);
		ctlclient_redial(c, now);
		break;
	case CTL_STREAM_PLAIN:
	case CTL_STREAM_TLS:
		attempt_failed(c, now, s, reason);
		break;
	case CTL_STREAM_CONN:
		slot_free(s);
		conn_lost(c, now, reason);
		break;
	case CTL_STREAM_PING:
		slot_free(s);
		break;
	case CTL_STREAM_NONE:
		break;
	}
}

/* We end it. */
static void give_up(struct ctlclient *c, struct mono now, struct ctl_stream *s, const char *reason)
{
	struct ctl_out *o = ctlclient_queue(c, CTLCLIENT_OUT_CLOSE);

	if (o)
		o->out.id = s->id;
	stream_gone(c, now, s, reason);
}

void ctlclient_closed(struct ctlclient *c, struct mono now, uint32_t id, const char *reason)
{
	struct ctl_stream *s = find(c, id);
	enum http1_event ev;
	char text[160];

	if (!s)
		return;
	s->is_gone = true;
	/* A /key answer without a length ends with its stream. */
	if (s->kind == CTL_STREAM_KEY && http1_eof(s->h1, &ev) == 0 && ev == HTTP1_END) {
		key_answer(c, now, s);
		return;
	}
	(void)snprintf(text, sizeof(text), "%s%s", reason,
		       s->upgraded && s->kind != CTL_STREAM_CONN ?
			       " during the handshake (it may not accept this version)" :
			       "");
	stream_gone(c, now, s, text);
}

void ctlclient_input(struct ctlclient *c, struct mono now, uint32_t id, const uint8_t *buf, size_t size)
{
	struct ctl_stream *s = find(c, id);

	if (!s)
		return;
	if (s->kind == CTL_STREAM_CONN || s->upgraded)
		noise_in(c, now, s, buf, size);
	else
		http_in(c, now, s, buf, size);
}

/* --- requests and output --- */

int32_t ctlclient_ask(struct ctlclient *c, const char *method, const char *path, const char *body, size_t size)
{
	char lb[KEY_TEXT_MAX];
	struct h2_header hdr = { .name = "ts-lb", .value = lb };
	int32_t id;

	if (!c->h2 || h2_failed(c->h2))
		return 0;
	key_write(lb, KEY_NODE, c->node_pub.b);
	id = h2_request(c->h2, method, path, &hdr, 1, body, size);
	return id > 0 ? id : 0;
}

void ctlclient_flush(struct ctlclient *c, struct mono now)
{
	struct ctl_stream *s = find_kind(c, CTL_STREAM_CONN);
	struct bytes plain = { 0 };
	struct ctl_out *o;
	int err;

	if (!s || !c->h2 || !h2_has_output(c->h2))
		return;
	err = h2_output(c->h2, &plain, 64 << 10);
	if (!err && bytes_size(&plain) > 0) {
		o = ctlclient_queue(c, CTLCLIENT_OUT_SEND);
		err = o ? ctlnoise_send(&s->noise, bytes_data(&plain), bytes_size(&plain), &o->data) : -ENOMEM;
		if (o)
			o->out.id = s->id;
	}
	bytes_wipe(&plain);
	if (err || h2_failed(c->h2))
		conn_lost(c, now, err ? "out of memory" : h2_reason(c->h2));
}

/* --- timers --- */

struct mono ctlclient_dial_deadline(const struct ctlclient *c)
{
	struct mono d = mono_min(c->tls_at, c->dial_deadline);

	if (c->phase == CTL_WAIT)
		d = mono_min(d, c->retry_at);
	for (size_t i = 0; i < CTL_STREAMS; i++)
		if (c->streams[i].kind != CTL_STREAM_NONE)
			d = mono_min(d, c->streams[i].deadline);
	return d;
}

void ctlclient_dial_tick(struct ctlclient *c, struct mono now)
{
	if (c->phase == CTL_WAIT && mono_due(c->retry_at, now)) {
		c->retry_at = MONO_NEVER;
		ctlclient_connect(c, now);
	}
	if (mono_due(c->tls_at, now))
		attempt(c, now, true);
	for (size_t i = 0; i < CTL_STREAMS; i++) {
		struct ctl_stream *s = &c->streams[i];

		if (s->kind != CTL_STREAM_NONE && mono_due(s->deadline, now))
			give_up(c, now, s, "no answer in time");
	}
	if (mono_due(c->dial_deadline, now)) {
		ctlclient_error(c, false, "cannot connect to %s in time", c->url_text);
		ctlclient_redial(c, now);
	}
}
