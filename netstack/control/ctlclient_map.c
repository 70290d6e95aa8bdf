/* SPDX-License-Identifier: MIT */
/* The map stream and the lite updates (control-messages 7, 8). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/hkdf.h"
#include "base/log.h"
#include "control/ctlclient_int.h"
#include "wire/zstdframe.h"

enum { LENGTH_SIZE = 4, NOT_FOUND_MAX = 2 };

/* The body of a map request; also hashes what it tells, which is the same for both kinds. */
static char *map_body(const struct ctlclient *c, bool stream, size_t *size, uint8_t telling[static 32])
{
	struct ctl_map_request m = {
		.version = CTLCLIENT_VERSION,
		.node = c->node_pub,
		.disco = c->disco,
		.omit_peers = true,
		.keep_alive = true,
		.has_host = true,
		.host = c->host, /* everything here is borrowed */
		.has_endpoints = true,
		.endpoints = (struct ep *)(uintptr_t)c->endpoints,
		.endpoint_types = (uint8_t *)(uintptr_t)c->endpoint_types,
		.n_endpoints = c->n_endpoints,
	};
	struct json_w w = { 0 };
	char *body;

	ctl_map_request_write(&w, &m);
	body = json_w_take(&w, size);
	if (!body)
		return NULL;
	hash2(telling, body, *size, NULL, 0);
	if (!stream)
		return body;
	free(body);
	m.stream = m.zstd = true;
	m.omit_peers = false;
	ctl_map_request_write(&w, &m);
	return json_w_take(&w, size);
}

static void send_poll(struct ctlclient *c, struct mono now)
{
	size_t size = 0;
	char *body = map_body(c, true, &size, c->told);

	c->poll.stream = body ? ctlclient_ask(c, "POST", "/machine/map", body, size) : 0;
	free(body);
	if (!c->poll.stream) {
		ctlclient_redial(c, now);
		return;
	}
	c->poll.body.max = LENGTH_SIZE + CTLJSON_MAP_MAX;
	/* A server may ignore what a poll tells (from capability version 68 on); its first map shows. */
	c->told_valid = true;
	c->tell_dirty = false;
	c->watchdog = mono_add_ms(now, CTL_WATCHDOG_MS);
}

static void send_lite(struct ctlclient *c, struct mono now)
{
	size_t size = 0;
	char *body = map_body(c, false, &size, c->telling);

	if (body && c->told_valid && memcmp(c->telling, c->told, sizeof(c->told)) == 0) {
		c->tell_dirty = false; /* back to what the server knows */
		free(body);
		return;
	}
	c->lite.stream = body ? ctlclient_ask(c, "POST", "/machine/map", body, size) : 0;
	free(body);
	if (!c->lite.stream) {
		ctlclient_redial(c, now);
		return;
	}
	c->tell_dirty = false;
	c->lite.deadline = mono_add_ms(now, CTL_REQUEST_MS);
}

void ctlclient_map_work(struct ctlclient *c, struct mono now)
{
	if (c->phase != CTL_UP || c->persist_wait || c->need_register || c->logout)
		return;
	if (!c->poll.stream && now.ns >= c->map_at.ns)
		send_poll(c, now);
	/* Before the first map there is nobody to tell anything about us. */
	if (c->phase == CTL_UP && c->is_live && !c->lite.stream && c->tell_dirty && now.ns >= c->lite_at.ns)
		send_lite(c, now);
}

void ctlclient_lite_end(struct ctlclient *c, struct mono now)
{
	const uint16_t status = c->lite.status;

	ctlclient_request_wipe(&c->lite);
	if (status == 200) {
		memcpy(c->told, c->telling, sizeof(c->told));
		c->told_valid = true;
		c->lite_fails = 0;
		return;
	}
	log_debug(c->env->log, "control: %s: update was answered with status %u", c->url.host, status);
	c->told_valid = false;
	c->tell_dirty = true;
	c->lite_at = ctlclient_backoff(c, now, ++c->lite_fails);
}

/* --- the stream ends --- */

static void poll_stop(struct ctlclient *c)
{
	if (c->poll.stream && c->h2)
		h2_reset(c->h2, c->poll.stream, H2_CANCEL);
	ctlclient_request_wipe(&c->poll);
	c->watchdog = MONO_NEVER;
	if (c->is_live)
		c->status_dirty = true;
	c->is_live = false;
}

static void poll_again(struct ctlclient *c, struct mono now)
{
	poll_stop(c);
	c->map_at = ctlclient_backoff(c, now, ++c->map_fails);
}

void ctlclient_map_end(struct ctlclient *c, struct mono now)
{
	const uint16_t status = c->poll.status;
	char text[CTLCLIENT_TEXT_MAX];

	if (status == 404) {
		/* Deleted, or the key was rotated elsewhere: ask for admission again with the same key. */
		if (++c->not_found >= NOT_FOUND_MAX) {
			c->not_found = 0;
			c->need_register = true;
			c->login_at = ctlclient_backoff(c, now, c->map_fails + 1);
		}
		ctlclient_error(c, false, "the server does not know this node");
	} else if (status != 200 && status != 0) {
		ctlclient_error(c, false, "map was answered with status %u: %s", status,
				ctlclient_text(&c->poll.body, text));
	}
	poll_again(c, now);
}

/* --- messages --- */

void ctlclient_check_expiry(struct ctlclient *c)
{
	const bool expired = c->map && netmap_node_expired(netmap_self(c->map), ctlclient_now_s(c));

	if (expired == c->self_expired)
		return;
	c->self_expired = expired;
	if (!expired || c->phase == CTL_OFF)
		return;
	ctlclient_error(c, true, "this node's key has expired; log in again");
	ctlclient_set_state(c, CTLCLIENT_NEEDS_LOGIN);
}

static void new_state(struct ctlclient *c)
{
	c->self_expired = false;
	ctlclient_check_expiry(c);
	if (c->self_expired)
		return;
	ctlclient_no_error(c);
	ctlclient_set_state(c, netmap_self(c->map)->machine_authorized ? CTLCLIENT_RUNNING : CTLCLIENT_NEEDS_AUTH);
}

static bool has_our_endpoints(const struct ctlclient *c, const struct map_node *self)
{
	size_t n_found = 0;

	for (size_t i = 0; i < self->n_endpoints; i++)
		for (size_t k = 0; k < c->n_endpoints; k++)
			n_found += ep_eq(&self->endpoints[i], &c->endpoints[k]);
	return n_found == c->n_endpoints && self->n_endpoints == c->n_endpoints;
}

/* The own node as the server has it shows whether it took what the poll told. */
static void check_told(struct ctlclient *c)
{
	const struct map_node *self = netmap_self(c->map);

	if (disco_key_eq(&self->disco, &c->disco) && self->home_derp == c->host.preferred_derp &&
	    has_our_endpoints(c, self))
		return;
	c->told_valid = false;
	c->tell_dirty = true;
}

static void publish(struct ctlclient *c, struct netmap *next, struct netmap_change *change)
{
	struct ctl_out *o = change->bits || !c->map || !c->is_fresh ? ctlclient_queue(c, CTLCLIENT_OUT_NETMAP) : NULL;

	if (o) {
		o->map = netmap_get(next);
		o->old = netmap_get(c->map);
		o->change = *change;
		*change = (struct netmap_change){ 0 };
	}
	netmap_change_wipe(change);
	netmap_put(c->map);
	c->map = next;
}

static int apply(struct ctlclient *c, struct ctl_map_response *m, const char **reason)
{
	const bool first = !c->is_live;
	struct netmap_change change;
	struct netmap *next;
	int err;

	err = netmap_apply(c->map, m, first ? NETMAP_FULL : NETMAP_DELTA, ctlclient_now_s(c), &next, &change);
	if (err) {
		*reason = err == -EPROTO ? "the first map has no own node" :
			  err == -ENOMEM ? "out of memory" :
					   "the map names a peer twice, or too many";
		return err;
	}
	if (netmap_is_locked(next)) {
		netmap_change_wipe(&change);
		netmap_put(next);
		*reason = "tailnet lock is on, which this program does not support";
		return -EPROTO;
	}
	publish(c, next, &change);
	if (first) {
		c->is_live = true;
		c->is_fresh = true;
		c->status_dirty = true;
		check_told(c);
	}
	c->map_fails = c->dial_fails = c->not_found = 0;
	new_state(c);
	return 0;
}

/* One message, decoded unless 'err' and 'why' tell the reason. */
static void message(struct ctlclient *c, struct mono now, struct ctl_map_response msg, int err,
		    const struct ctl_why *why)
{
	struct ctl_map_response m = msg;
	const char *reason = why->text;

	if (!err) {
		if (m.control_time_s) {
			const int64_t delta = m.control_time_s - env_wall_ns(c->env) / NS_PER_S;

			c->clock_delta_s = delta > 60 || delta < -60 ? delta : 0;
		}
		/* Many messages say nothing but the time, also before the first map. */
		if (!m.keep_alive && (c->is_live || m.self))
			err = apply(c, &m, &reason);
		else if (!m.keep_alive && !m.ping && !m.control_time_s)
			err = apply(c, &m, &reason);
	}
	if (err) {
		ctlclient_error(c, false, "a map was refused, the one before stays in force: %s", reason);
		ctl_map_response_wipe(&m);
		poll_again(c, now);
		return;
	}
	c->watchdog = mono_add_ms(now, CTL_WATCHDOG_MS);
	if (m.ping)
		ctlclient_ping(c, now, m.ping);
	if (m.debug_sleep_s && c->poll.stream) {
		poll_stop(c);
		c->map_at = mono_add_s(now, m.debug_sleep_s);
	}
	ctl_map_response_wipe(&m);
}

/* What is wrong with the text is told at the end. */
static int read_piece(void *ctx, const uint8_t *p, size_t size)
{
	(void)ctl_map_reader_push(ctx, (const char *)p, size);
	return 0;
}

static void frame(struct ctlclient *c, struct mono now, const uint8_t *p, size_t size)
{
	struct ctl_map_response m = { 0 };
	struct ctl_why why = { "out of memory" };
	struct ctl_map_reader *r;
	int err;

	if (!zstdframe_is(p, size)) {
		err = ctl_map_response_parse(&m, (const char *)p, size, &why);
		message(c, now, m, err, &why);
		return;
	}
	/* A large map is megabytes of text, of which only a piece is here at a time. */
	r = ctl_map_reader_new();
	err = r ? zstdframe_pieces(p, size, CTLJSON_MAP_MAX, read_piece, r) : -ENOMEM;
	if (err == -ENOBUFS)
		(void)snprintf(why.text, sizeof(why.text), "it is too large");
	else if (err && err != -ENOMEM)
		(void)snprintf(why.text, sizeof(why.text), "its compression is damaged");
	if (err)
		ctl_map_reader_free(r);
	else
		err = ctl_map_reader_finish(r, &m, &why);
	message(c, now, m, err, &why);
}

void ctlclient_map_data(struct ctlclient *c, struct mono now, const uint8_t *data, size_t size)
{
	const int32_t stream = c->poll.stream;
	struct bytes in;

	if (bytes_append(&c->poll.body, data, size) != 0) {
		ctlclient_error(c, false, "a map is too large");
		poll_again(c, now);
		return;
	}
	/* Whatever a message does, the stream may be gone afterwards. */
	while (c->poll.stream == stream && bytes_size(&c->poll.body) >= LENGTH_SIZE) {
		struct rd r = RD(bytes_data(&c->poll.body), bytes_size(&c->poll.body));
		const uint32_t len = rd_le32(&r);

		if (len > CTLJSON_MAP_MAX) {
			ctlclient_error(c, false, "a map is too large");
			poll_again(c, now);
			return;
		}
		if (r.left < len)
			return;
		in = c->poll.body; /* taken out: message() may wipe the request */
		c->poll.body = (struct bytes){ .max = in.max };
		frame(c, now, bytes_data(&in) + LENGTH_SIZE, len);
		bytes_consume(&in, LENGTH_SIZE + len);
		if (c->poll.stream == stream)
			c->poll.body = in;
		else
			bytes_wipe(&in);
	}
}
