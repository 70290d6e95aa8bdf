/* SPDX-License-Identifier: MIT */
/* Map requests and open polls of the control server. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "coord/ctlint.h"
#include "wire/ctljson.h"
#include "wire/zstdframe.h"

static int64_t wall_s(const struct ctlserver *s)
{
	return env_wall_ns(s->env) / INT64_C(1000000000);
}

/* ---- messages ---- */

/* One framed message: little-endian size, then the text, compressed if the client asked for it. */
static int send_message(struct ctlserver *s, struct mono now, struct ctl_stream *st, const void *text, size_t size)
{
	struct bytes out = { 0 };
	uint8_t head[4] = { 0 };
	size_t body;
	int err = bytes_append(&out, head, sizeof(head));

	if (!err)
		err = st->zstd ? zstdframe_encode(&out, text, size) : bytes_append(&out, text, size);
	if (!err) {
		body = bytes_size(&out) - sizeof(head);
		for (size_t i = 0; i < sizeof(head); i++)
			out.buf[out.head + i] = (uint8_t)(body >> 8 * i);
		struct ctl_queued *q = ctl_push(s, CTLSERVER_CHUNK, st->id, 200, NULL, bytes_data(&out),
						bytes_size(&out));

		if (q)
			q->out.is_first = !st->started;
		err = q ? 0 : -ENOMEM;
		st->started = true;
		st->in_flight = true;
		st->sent_at = now;
		st->keep_alive_at = mono_add_ms(mono_add_s(now, CTL_KEEP_ALIVE_S), (int64_t)env_below(s->env, 9000));
		s->streams_due = mono_min(s->streams_due, st->keep_alive_at);
	}
	bytes_wipe(&out);
	return err;
}

static void stream_free(struct ctl_stream *st)
{
	mapstream_free(st->map);
	free(st);
}

void ctl_end_streams(struct ctlserver *s, struct mono now, int64_t node, uint64_t id, bool tell)
{
	struct ctl_stream **at = &s->streams;

	while (*at) {
		struct ctl_stream *st = *at;
		struct reg_node *n;

		if (node ? st->node != node : st->id != id) {
			at = &st->next;
			continue;
		}
		*at = st->next;
		s->n_streams--;
		if (tell)
			ctl_push(s, CTLSERVER_END, st->id, 0, NULL, NULL, 0);
		n = registry_node(s->reg, st->node);
		if (n && !st->once)
			registry_poll_end(s->reg, now, n);
		stream_free(st);
	}
}

/* ---- the picture ---- */

bool ctl_view_is_old(const struct ctlserver *s)
{
	return !s->view || s->view_stale || s->view_version != registry_version(s->reg);
}

/* A large mesh merges changes, so that the cost of comparing stays bounded: 500 ms at 1,000 nodes. */
static struct mono refresh_due(const struct ctlserver *s)
{
	uint64_t work = (uint64_t)s->n_streams * registry_n_nodes(s->reg);
	int64_t ms = (int64_t)(work / 2000);

	if (!s->view || mono_is_zero(s->view_at))
		return MONO_ZERO;
	return mono_add_ms(s->view_at, ms > CTL_MERGE_MAX_MS ? CTL_MERGE_MAX_MS : ms);
}

static struct mapview *build_view(struct ctlserver *s)
{
	const struct mapview_cfg cfg = { .domain = s->domain, .url = s->url, .derp = &s->derp,
					 .policy_revision = s->policy_revision };

	return mapview_new(s->reg, s->policy, &cfg, s->view, wall_s(s));
}

/* Approves what autoApprovers allow. Returns whether something was approved. */
static bool auto_approve(struct ctlserver *s, const struct mapview *v)
{
	const struct policyset *set = mapview_policy(v);
	bool any = false;

	for (size_t i = 0; i < registry_n_nodes(s->reg); i++) {
		struct reg_node *n = registry_node_at(s->reg, i);

		for (size_t k = 0; k < n->host.n_routable_ips; k++) {
			const struct prefix *route = &n->host.routable_ips[k];
			bool have = false;

			for (size_t j = 0; j < n->n_approved; j++)
				have |= prefix_eq(&n->approved[j], route);
			if (!have && policyset_auto_approves(set, i, route) &&
			    registry_approve_route(s->reg, n, route) == 0)
				any = true;
		}
	}
	return any;
}

/* Wall-clock expiry becomes a deadline; nodes that have just expired lose DERP. */
static void watch_expiry(struct ctlserver *s, struct mono now)
{
	int64_t at = wall_s(s), next = 0;

	for (size_t i = 0; i < registry_n_nodes(s->reg); i++) {
		const struct reg_node *n = registry_node_at(s->reg, i);

		if (n->expiry_s > at && (!next || n->expiry_s < next))
			next = n->expiry_s;
		if (reg_node_expired(n, at) && (!s->view || !mapview_is_expired(s->view, n->id)))
			(void)ctl_push(s, CTLSERVER_KICK, 0, 0, NULL, &n->key, sizeof(n->key));
	}
	/* Wall clocks jump: look again at least once a minute. */
	s->expiry_at = !next ? MONO_NEVER : mono_add_s(now, next - at > 60 ? 60 : next - at);
}

static bool refresh(struct ctlserver *s, struct mono now)
{
	struct mapview *v = build_view(s);

	if (v && auto_approve(s, v)) {
		mapview_free(v);
		v = build_view(s);
	}
	if (!v) {
		log_error(s->env->log, "coord: map: out of memory");
		s->view_at = now; /* try again after the merge window */
		return false;
	}
	watch_expiry(s, now);
	mapview_free(s->view);
	s->view = v;
	s->view_version = registry_version(s->reg);
	s->view_stale = false;
	s->view_at = now;
	for (struct ctl_stream *st = s->streams; st; st = st->next)
		st->dirty = true;
	return true;
}

/* The next message of one stream. False: the stream has ended. */
static bool run_stream(struct ctlserver *s, struct mono now, struct ctl_stream *st)
{
	struct bytes text = { 0 };
	int n = mapstream_next(st->map, s->view, wall_s(s), &text);
	bool ok = n >= 0;

	st->dirty = false;
	if (n > 0)
		ok = send_message(s, now, st, bytes_data(&text), bytes_size(&text)) == 0;
	bytes_wipe(&text);
	return ok && !(st->once && n >= 0);
}

void ctl_run_streams(struct ctlserver *s, struct mono now)
{
	if (ctl_view_is_old(s) && (!mono_before(now, refresh_due(s)))) {
		if (!refresh(s, now))
			return;
	}
	if (!s->view)
		return;
	for (struct ctl_stream *st = s->streams, *next; st; st = next) {
		next = st->next;
		if (st->dirty && !st->in_flight && !run_stream(s, now, st))
			ctl_end_streams(s, now, 0, st->id, true);
	}
}

void ctlserver_drained(struct ctlserver *s, struct mono now, uint64_t id)
{
	(void)now;
	for (struct ctl_stream *st = s->streams; st; st = st->next)
		if (st->id == id)
			st->in_flight = false;
}

/* ---- time ---- */

struct mono ctl_streams_deadline(const struct ctlserver *s)
{
	struct mono at = mono_min(s->streams_due, s->expiry_at);

	if (ctl_view_is_old(s) && s->n_streams)
		at = mono_min(at, refresh_due(s));
	return at;
}

void ctl_tick_streams(struct ctlserver *s, struct mono now)
{
	static const char keep_alive[] = "{\"KeepAlive\":true}";

	if (mono_due(s->expiry_at, now)) {
		s->expiry_at = MONO_NEVER;
		s->view_stale = true;
	}
	if (!mono_due(s->streams_due, now))
		return;
	s->streams_due = MONO_NEVER;
	for (struct ctl_stream *st = s->streams, *next; st; st = next) {
		struct mono stuck = mono_add_s(st->sent_at, CTL_STUCK_S);

		next = st->next;
		if (st->in_flight && mono_due(stuck, now)) {
			ctl_end_streams(s, now, 0, st->id, true);
			continue;
		}
		if (!st->in_flight && mono_due(st->keep_alive_at, now) &&
		    send_message(s, now, st, keep_alive, sizeof(keep_alive) - 1) != 0) {
			ctl_end_streams(s, now, 0, st->id, true);
			continue;
		}
		s->streams_due = mono_min(s->streams_due, st->in_flight ? stuck : st->keep_alive_at);
	}
}

/* ---- requests ---- */

/* From version 68 on a poll only reads (control-messages 8). A client that has roamed writes its poll first, with
 * where it was, and an update with where it is; they may arrive in either order, and where it was would stay.
 * What a poll says otherwise is believed: for some clients it saves the update. They see in the first map which
 * endpoints are known, but not all of the rest. */
static bool has_old_endpoints(const struct reg_node *n, struct mono now, const struct ctl_map_request *m)
{
	return m->stream && m->version >= CTL_POLL_READS_VERSION && !mono_is_zero(n->told_at) &&
	       mono_before(now, mono_add_s(n->told_at, CTL_OVERTAKEN_S)) &&
	       (key_is_zero(m->disco.b) || disco_key_eq(&m->disco, &n->disco));
}

static void take_update(struct ctlserver *s, struct mono now, struct reg_node *n, const struct ctl_map_request *m)
{
	const struct reg_update u = { .host = m->has_host ? &m->host : NULL, .endpoints = m->endpoints,
				      .endpoint_types = m->endpoint_types, .n_endpoints = m->n_endpoints,
				      .has_endpoints = m->has_endpoints && !has_old_endpoints(n, now, m),
				      .disco = &m->disco, .cap = m->version };

	if (!m->stream)
		n->told_at = now;
	(void)registry_update(s->reg, now, n, &u);
}

static void start_stream(struct ctlserver *s, struct mono now, struct reg_node *n, const struct ctlserver_req *req,
			 const struct ctl_map_request *m)
{
	struct ctl_stream *st;

	if (s->n_streams >= CTLSERVER_STREAMS_MAX) {
		ctl_respond(s, req->id, 503, "too many open polls\n");
		return;
	}
	st = calloc(1, sizeof(*st));
	if (!st || !(st->map = mapstream_new(n->id))) {
		free(st);
		ctl_respond(s, req->id, 500, "out of memory\n");
		return;
	}
	if (m->stream)
		ctl_end_streams(s, now, n->id, 0, true); /* the new poll replaces the old one */
	st->id = req->id;
	st->node = n->id;
	st->zstd = m->zstd;
	st->once = !m->stream;
	st->dirty = true;
	st->sent_at = now;
	st->keep_alive_at = mono_add_s(now, CTL_KEEP_ALIVE_S);
	s->streams_due = mono_min(s->streams_due, st->keep_alive_at);
	st->next = s->streams;
	s->streams = st;
	s->n_streams++;
	if (m->stream)
		registry_poll_begin(s->reg, now, n);
}

void ctl_map(struct ctlserver *s, struct mono now, const struct ctlserver_req *req)
{
	struct ctl_map_request m;
	struct ctl_why why = { { 0 } };
	struct reg_node *n;
	int err = ctl_map_request_parse(&m, (const char *)req->body, req->body_size, &why);

	if (err) {
		ctl_respond(s, req->id, err == -ENOMEM ? 500 : 400, why.text[0] ? why.text : "bad map request\n");
		return;
	}
	n = registry_node_by_key(s->reg, &m.node);
	if (m.version < CTLSERVER_VERSION_MIN)
		ctl_respond(s, req->id, 400, "unsupported client version: update the client\n");
	else if (!n || !machine_key_eq(&n->machine, &req->machine))
		ctl_respond(s, req->id, 404, "node not found\n");
	else if (!registry_is_durable(s->reg, n->joined)) /* it did not wait for the answer to its registration */
		ctl_respond(s, req->id, 503, "this registration is not stored yet\n");
	else {
		take_update(s, now, n, &m);
		if (m.stream || !m.omit_peers)
			start_stream(s, now, n, req, &m);
		else
			ctl_respond(s, req->id, 200, "");
	}
	ctl_map_request_wipe(&m);
}
