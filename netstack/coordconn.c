/* SPDX-License-Identifier: MIT */
/* One accepted connection of the coordinator: see coordconn.h. */
#include "coordconn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "control/ctlnoise.h"
#include "control/h2.h"
#include "coord/ctlserver.h"
#include "relay/derpserver.h"
#include "wire/ctljson.h"
#include "wire/http1.h"
#include "wire/json.h"

enum {
	BODY_MAX = 4096,           /* of an HTTP/1.1 request (POST /verify) */
	HTTP_IDLE_S = 5,           /* between requests of one connection: it counts as a stranger all that time */
	STRANGER_IDLE_S = 60,      /* Noise session of an unknown machine without any request */
	MEMBER_IDLE_S = 300,       /* the same of a node: stock clients redial when they need to */
	BLOCKED_S = 120,           /* nothing of the output was taken for so long */
	OUT_LOW = 64 << 10,        /* HTTP/2 is asked for more below this */
	HTTP_OUT_MAX = 64 << 10,   /* answers that wait for a client which goes on asking: more ends the connection */
};

struct coordconn {
	const struct coordconn_ctx *ctx;
	uint32_t id;
	enum coordconn_state state;
	struct ep from;
	bool tls, own;
	struct mono deadline;
	struct bytes out;
	size_t out_seen;           /* bytes waiting when progress was last looked at */
	struct mono out_at;        /* ... and when that was */
	/* HTTP. */
	struct http1 *http;        /* null after an upgrade */
	char body[BODY_MAX];
	size_t body_size;
	enum { WANT_NOTHING, WANT_CONTROL, WANT_DERP } upgrade;
	uint8_t initiation[CTLFRAME_INITIATION_SIZE];
	bool derp_fast;
	bool close_after;
	bool is_verify;            /* POST /verify: answered with its body */
	/* Control. */
	struct ctlnoise *noise;
	struct h2 *h2;
	uint32_t in_flight[COORDCONN_STREAMS_MAX]; /* streams with an undelivered message */
	size_t n_in_flight;
};

static uint64_t request_id(const struct coordconn *c, uint32_t stream)
{
	return (uint64_t)c->id << 32 | stream;
}

struct coordconn *coordconn_new(const struct coordconn_ctx *ctx, uint32_t id, struct mono now, const struct ep *from,
				bool tls, bool own)
{
	struct coordconn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->http = malloc(sizeof(*c->http));
	if (!c->http) {
		free(c);
		return NULL;
	}
	http1_init(c->http, HTTP1_REQUESTS, BODY_MAX);
	c->ctx = ctx;
	c->id = id;
	c->from = *from;
	c->tls = tls;
	c->own = own;
	c->out_at = now;
	c->deadline = mono_add_s(now, COORDCONN_HANDSHAKE_S);
	return c;
}

static void end_requests(struct coordconn *c, struct mono now)
{
	ctlserver_connection_closed(c->ctx->ctl, now, c->id);
	c->n_in_flight = 0;
}

void coordconn_free(struct coordconn *c, struct mono now)
{
	if (!c)
		return;
	if (c->h2)
		end_requests(c, now);
	h2_free(c->h2);
	if (c->noise)
		ctlnoise_wipe(c->noise);
	free(c->noise);
	free(c->http);
	bytes_wipe(&c->out);
	free(c);
}

enum coordconn_state coordconn_state(const struct coordconn *c)
{
	return c->state;
}

bool coordconn_is_established(const struct coordconn *c)
{
	return c->state == COORDCONN_CONTROL && registry_knows_machine(ctlserver_registry(c->ctx->ctl), &c->noise->remote);
}

bool coordconn_derp_fast_start(const struct coordconn *c)
{
	return c->derp_fast;
}

static void die(struct coordconn *c, struct mono now)
{
	if (c->h2)
		end_requests(c, now);
	c->state = COORDCONN_DEAD;
	c->deadline = MONO_NEVER;
}

/* ---- HTTP/1.1 answers ---- */

static void answer(struct coordconn *c, unsigned status, const char *type, const char *body, size_t size)
{
	bool head = strcmp(c->http->method, "HEAD") == 0, close = !c->http->keep_alive || c->http->is_upgrade;
	uint8_t buf[4096];
	struct wr w = WR(buf, sizeof(buf));

	if (head) {
		http1_write_status(&w, status);
		http1_write_header_u64(&w, "Content-Length", size);
		if (close)
			http1_write_header(&w, "Connection", "close");
		http1_write_end(&w);
	} else {
		http1_write_answer(&w, status, type, body, size, close);
	}
	if (w.bad || bytes_append(&c->out, buf, wr_used(&w, sizeof(buf))) != 0)
		c->close_after = true;
	c->close_after |= close;
}

static void answer_text(struct coordconn *c, unsigned status, const char *text)
{
	answer(c, status, "text/plain; charset=utf-8", text, strlen(text));
}

static void answer_key(struct coordconn *c)
{
	const struct ctl_key_response r = { .key = c->ctx->noise_pub };
	struct json_w w = { 0 };
	size_t size;
	char *text;

	ctl_key_response_write(&w, &r);
	text = json_w_take(&w, &size);
	if (text)
		answer(c, 200, "application/json", text, size);
	else
		answer_text(c, 500, "out of memory\n");
	free(text);
}

/* A login that waits: what its user, or the administrator, has to do. */
static void answer_register_page(struct coordconn *c, const char *id)
{
	char text[1024];

	if (!registry_pending(ctlserver_registry(c->ctx->ctl), id)) {
		answer_text(c, 404, "This login is unknown, was approved already, or waited longer than 15 minutes.\n");
		return;
	}
	(void)snprintf(text, sizeof(text),
		       "This machine waits to be let into the mesh.\n\n"
		       "The administrator approves it on the coordinator with\n\n"
		       "    meshctl coordinator nodes approve %s\n",
		       id); /* 'id' equals a stored one: hex digits */
	answer_text(c, 200, text);
}

/* {"NodePublic":"nodekey:...","Source":"..."} -> {"Allow":true} */
static void answer_verify(struct coordconn *c)
{
	struct json_err why;
	cJSON *v = json_parse(c->body, c->body_size, 0, &why);
	struct json_in in = { 0 };
	struct node_key key;
	bool allow;

	if (!v && json_err_code(&why) == -ENOMEM) {
		answer_text(c, 500, "out of memory\n");
		return;
	}
	json_key(&in, v, "NodePublic", KEY_NODE, key.b);
	cJSON_Delete(v);
	if (!v || in.err || key_is_zero(key.b)) {
		answer_text(c, 400, "bad request\n");
		return;
	}
	allow = ctlserver_is_member(c->ctx->ctl, &key);
	answer(c, 200, "application/json", allow ? "{\"Allow\":true}" : "{\"Allow\":false}", allow ? 14 : 15);
}

/* ---- HTTP/1.1 requests ---- */

static const char *header(const struct coordconn *c, const char *name)
{
	const char *v = http1_get(c->http, name);

	return v ? v : "";
}

/* True if the DERP server has answered or takes the connection. */
static bool ask_derp(struct coordconn *c, const char *path)
{
	const struct derpserver_http req = { .method = c->http->method, .path = path, .upgrade = header(c, "Upgrade"),
					     .ws_protocol = header(c, "Sec-WebSocket-Protocol"),
					     .challenge = header(c, "X-Tailscale-Challenge"),
					     .fast_start = strcmp(header(c, "Derp-Fast-Start"), "1") == 0 };
	char text[2048];

	switch (derpserver_http(&req, text, sizeof(text))) {
	case DERPSERVER_NOT_OURS:
		return false;
	case DERPSERVER_ANSWER:
		if (bytes_append(&c->out, text, strlen(text)) != 0)
			c->close_after = true;
		c->close_after |= !c->http->keep_alive || c->http->is_upgrade;
		return true;
	case DERPSERVER_UPGRADE:
		if (!c->http->is_upgrade)
			return false;
		c->upgrade = WANT_DERP;
		c->derp_fast = req.fast_start;
		return true;
	}
	return false;
}

static void ask_control(struct coordconn *c)
{
	const char *b64 = http1_get(c->http, "X-Tailscale-Handshake");

	if (strcmp(c->http->method, "POST") != 0)
		answer_text(c, 405, "POST required\n");
	else if (!c->http->is_upgrade || strcmp(header(c, "Upgrade"), "tailscale-control-protocol") != 0)
		answer_text(c, 400, "missing upgrade to tailscale-control-protocol: does a proxy drop it?\n");
	else if (!b64 || ctlnoise_b64_parse(c->initiation, b64) != 0)
		answer_text(c, 400, "missing or malformed X-Tailscale-Handshake\n");
	else
		c->upgrade = WANT_CONTROL;
}

/* A head is complete. Bodies are only taken for /verify; what follows an upgrade is not one. */
static void take_head(struct coordconn *c)
{
	bool get = strcmp(c->http->method, "GET") == 0 || strcmp(c->http->method, "HEAD") == 0;
	char path[256];

	c->body_size = 0;
	c->is_verify = false;
	c->upgrade = WANT_NOTHING;
	if (!http1_path(c->http, path, sizeof(path))) {
		answer_text(c, 414, "path is too long\n");
		return;
	}
	c->is_verify = strcmp(path, "/verify") == 0 && strcmp(c->http->method, "POST") == 0 && !c->http->is_upgrade;
	if (c->is_verify)
		return; /* answered when its body is there */
	if (strcmp(path, "/ts2021") == 0)
		ask_control(c);
	else if (ask_derp(c, path))
		return;
	else if (!get)
		answer_text(c, 404, "404 page not found\n");
	else if (strcmp(path, "/key") == 0)
		answer_key(c);
	else if (strcmp(path, "/health") == 0)
		answer(c, 200, "application/json", "{\"status\":\"pass\"}", 17);
	else if (strncmp(path, "/register/", 10) == 0)
		answer_register_page(c, path + 10);
	else
		answer_text(c, 404, "404 page not found\n");
}

/* ---- control ---- */

/* The version is checked with the first request, so that a client too old for us can show why. */
static int start_control(struct coordconn *c, struct mono now)
{
	uint8_t response[CTLFRAME_RESPONSE_SIZE], buf[256];
	struct wr w = WR(buf, sizeof(buf));
	char from[EP_TEXT_MAX];

	c->noise = calloc(1, sizeof(*c->noise));
	c->h2 = h2_server_new();
	if (!c->noise || !c->h2)
		return -ENOMEM;
	if (ctlnoise_server_init(c->noise, &c->ctx->noise_priv, c->initiation, sizeof(c->initiation), c->ctx->env,
				 response) != 0) {
		log_debug(c->ctx->env->log, "coord: connection from %s: Noise handshake failed", ep_write(from, &c->from));
		answer_text(c, 400, "Noise handshake failed: another server key?\n");
		return -EBADMSG;
	}
	http1_write_status(&w, 101);
	http1_write_header(&w, "Upgrade", "tailscale-control-protocol");
	http1_write_header(&w, "Connection", "upgrade");
	http1_write_end(&w);
	wr_bytes(&w, response, sizeof(response));
	if (w.bad || bytes_append(&c->out, buf, wr_used(&w, sizeof(buf))) != 0)
		return -ENOMEM;
	log_debug(c->ctx->env->log, "coord: connection from %s: session over %s, version %u", ep_write(from, &c->from),
		  c->own ? "a pipe" : c->tls ? "TLS" : "plain TCP", c->noise->version);
	free(c->http);
	c->http = NULL;
	c->state = COORDCONN_CONTROL;
	c->deadline = mono_add_s(now, STRANGER_IDLE_S);
	return 0;
}

static void take_request(struct coordconn *c, struct mono now, const struct h2_event *ev)
{
	const struct ctlserver_req req = { .id = request_id(c, (uint32_t)ev->stream), .method = ev->method,
					   .path = ev->path, .body = ev->data, .body_size = ev->size,
					   .machine = c->noise->remote, .version = c->noise->version,
					   .from = c->from, .own = c->own };

	ctlserver_request(c->ctx->ctl, now, &req);
}

static void forget_stream(struct coordconn *c, uint32_t stream)
{
	for (size_t i = 0; i < c->n_in_flight; i++) {
		if (c->in_flight[i] == stream) {
			c->in_flight[i] = c->in_flight[--c->n_in_flight];
			return;
		}
	}
}

static int control_input(struct coordconn *c, struct mono now, const uint8_t *data, size_t size)
{
	struct bytes plain = { 0 };
	struct h2_event ev;
	int err = ctlnoise_input(c->noise, data, size, &plain);

	if (!err && bytes_size(&plain))
		err = h2_input(c->h2, now, bytes_data(&plain), bytes_size(&plain));
	while (h2_poll(c->h2, &ev)) {
		switch (ev.kind) {
		case H2_EV_REQUEST:
			take_request(c, now, &ev);
			break;
		case H2_EV_CLOSED:
			forget_stream(c, (uint32_t)ev.stream);
			ctlserver_request_closed(c->ctx->ctl, now, request_id(c, (uint32_t)ev.stream));
			break;
		case H2_EV_RESPONSE:
		case H2_EV_DATA:
		case H2_EV_END:
		case H2_EV_GOAWAY:
			break; /* running streams may finish */
		}
	}
	bytes_wipe(&plain);
	c->deadline = mono_add_s(now, coordconn_is_established(c) ? MEMBER_IDLE_S : STRANGER_IDLE_S);
	return err;
}

void coordconn_response(struct coordconn *c, struct mono now, uint32_t stream, const struct ctlserver_out *out)
{
	int err = 0;

	if (c->state != COORDCONN_CONTROL)
		return;
	switch (out->kind) {
	case CTLSERVER_RESPOND:
		err = h2_respond(c->h2, (int32_t)stream, out->status, out->type, out->data, out->size, true);
		break;
	case CTLSERVER_CHUNK:
		if (out->is_first)
			err = h2_respond(c->h2, (int32_t)stream, 200, NULL, out->data, out->size, false);
		else
			err = h2_send(c->h2, (int32_t)stream, out->data, out->size, false);
		if (!err && c->n_in_flight < COORDCONN_STREAMS_MAX)
			c->in_flight[c->n_in_flight++] = stream;
		break;
	case CTLSERVER_END:
		err = h2_send(c->h2, (int32_t)stream, NULL, 0, true);
		if (err == -ENOENT) /* no message was sent yet */
			err = h2_respond(c->h2, (int32_t)stream, 200, NULL, NULL, 0, true);
		forget_stream(c, stream);
		break;
	case CTLSERVER_BATCH:
	case CTLSERVER_ADMIT:
	case CTLSERVER_KICK:
		return;
	}
	if (!err)
		return;
	/* The stream went away meanwhile, or memory did. */
	h2_reset(c->h2, (int32_t)stream, H2_CANCEL);
	forget_stream(c, stream);
	if (out->kind != CTLSERVER_END)
		ctlserver_request_closed(c->ctx->ctl, now, request_id(c, stream));
}

/* ---- bytes ---- */

static int http_event(struct coordconn *c, struct mono now, enum http1_event ev)
{
	size_t room = sizeof(c->body) - c->body_size;

	switch (ev) {
	case HTTP1_MORE:
		break;
	case HTTP1_HEAD:
		c->deadline = mono_add_s(now, HTTP_IDLE_S);
		take_head(c);
		break;
	case HTTP1_BODY:
		if (c->http->body_size > room)
			return -ENOBUFS;
		memcpy(c->body + c->body_size, c->http->body, c->http->body_size);
		c->body_size += c->http->body_size;
		break;
	case HTTP1_END:
		if (c->is_verify)
			answer_verify(c);
		if (c->close_after)
			return -EPROTO;
		if (bytes_size(&c->out) > HTTP_OUT_MAX)
			return -ENOBUFS;
		break;
	case HTTP1_UPGRADE:
		if (c->upgrade == WANT_CONTROL)
			return start_control(c, now);
		if (c->upgrade != WANT_DERP)
			return -EPROTO; /* answered with an error */
		free(c->http);
		c->http = NULL;
		c->state = COORDCONN_DERP;
		c->deadline = MONO_NEVER; /* DERP has limits of its own */
		break;
	}
	return 0;
}

static int http_input(struct coordconn *c, struct mono now, const uint8_t *data, size_t size, size_t *used)
{
	int err = 0;

	*used = 0;
	/* Some events come without input: go on until the parser wants more. */
	while (!err && c->state == COORDCONN_HTTP) {
		enum http1_event ev = HTTP1_MORE;
		size_t n = 0;

		err = http1_input(c->http, data + *used, size - *used, &n, &ev);
		*used += n;
		if (err) {
			answer_text(c, err == -ENOBUFS ? 431 : 400, "bad request\n");
			break;
		}
		if (ev == HTTP1_MORE)
			break;
		err = http_event(c, now, ev);
	}
	return err;
}

int coordconn_input(struct coordconn *c, struct mono now, const uint8_t *data, size_t size, size_t *used)
{
	int err = 0;

	*used = 0;
	if (c->state == COORDCONN_HTTP)
		err = http_input(c, now, data, size, used);
	if (!err && c->state == COORDCONN_CONTROL && *used < size) {
		err = control_input(c, now, data + *used, size - *used);
		*used = size;
	}
	if (c->state == COORDCONN_DEAD)
		*used = size;
	if (err) {
		(void)coordconn_output(c, now); /* a GOAWAY with the reason */
		die(c, now);
		*used = size;
	}
	return err;
}

/* A message counts as delivered when HTTP/2 and the transport took it. */
static void note_delivered(struct coordconn *c, struct mono now)
{
	for (size_t i = 0; i < c->n_in_flight;) {
		uint32_t stream = c->in_flight[i];

		if (h2_pending(c->h2, (int32_t)stream) || bytes_size(&c->out) >= OUT_LOW) {
			i++;
			continue;
		}
		c->in_flight[i] = c->in_flight[--c->n_in_flight];
		ctlserver_drained(c->ctx->ctl, now, request_id(c, stream));
	}
}

static void note_progress(struct coordconn *c, struct mono now)
{
	size_t waiting = bytes_size(&c->out);

	if (!waiting || waiting < c->out_seen)
		c->out_at = now;
	c->out_seen = waiting;
}

struct bytes *coordconn_output(struct coordconn *c, struct mono now)
{
	struct bytes plain = { 0 };

	note_progress(c, now);
	while (c->state == COORDCONN_CONTROL && bytes_size(&c->out) < OUT_LOW && h2_has_output(c->h2)) {
		if (h2_output(c->h2, &plain, OUT_LOW) != 0 ||
		    (bytes_size(&plain) &&
		     ctlnoise_send(c->noise, bytes_data(&plain), bytes_size(&plain), &c->out) != 0)) {
			die(c, now);
			break;
		}
		if (!bytes_size(&plain))
			break;
		bytes_consume(&plain, bytes_size(&plain));
	}
	bytes_wipe(&plain);
	if (c->state == COORDCONN_CONTROL)
		note_delivered(c, now);
	c->out_seen = bytes_size(&c->out);
	return &c->out;
}

/* ---- time ---- */

struct mono coordconn_deadline(const struct coordconn *c)
{
	struct mono at = c->deadline;

	if (c->state == COORDCONN_CONTROL && h2_streams(c->h2))
		at = MONO_NEVER; /* an open poll or follow-up: its own limits hold */
	if (bytes_size(&c->out))
		at = mono_min(at, mono_add_s(c->out_at, BLOCKED_S));
	return at;
}

void coordconn_tick(struct coordconn *c, struct mono now)
{
	if (c->state != COORDCONN_DEAD && mono_due(coordconn_deadline(c), now)) {
		if (bytes_size(&c->out))
			bytes_consume(&c->out, bytes_size(&c->out)); /* nobody reads it */
		die(c, now);
	}
}
