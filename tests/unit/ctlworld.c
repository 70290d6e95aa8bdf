/* SPDX-License-Identifier: MIT */
/* The server of the control client's tests. */
#include "tests/unit/ctlworld.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ctljson.h"
#include "wire/zstdframe.h"

static struct link *link_of(struct world *w, uint32_t id)
{
	for (size_t i = 0; i < w->n_links; i++)
		if (w->links[i].id == id && w->links[i].open)
			return &w->links[i];
	return NULL;
}

static void to_client(struct world *w, struct link *l, const void *data, size_t size)
{
	const uint8_t *p = data;

	while (size > 0 && l->open) {
		const size_t n = w->step && w->step < size ? w->step : size;
		uint8_t *copy = malloc(n);

		memcpy(copy, p, n);
		ctlclient_input(w->c, w->now, l->id, copy, n);
		free(copy);
		p += n;
		size -= n;
	}
}

static void h2_flush(struct world *w, struct link *l)
{
	struct bytes plain = { 0 }, wire = { 0 };

	assert_int_equal(h2_output(l->h2, &plain, 1 << 24), 0);
	assert_int_equal(ctlnoise_send(&l->noise, bytes_data(&plain), bytes_size(&plain), &wire), 0);
	to_client(w, l, bytes_data(&wire), bytes_size(&wire));
	bytes_wipe(&plain);
	bytes_wipe(&wire);
}

void ctlworld_respond(struct world *w, struct link *l, int32_t stream, unsigned status, const char *body)
{
	assert_int_equal(h2_respond(l->h2, stream, status, NULL, body, strlen(body), true), 0);
	h2_flush(w, l);
}

void ctlworld_push(struct world *w, const char *text, bool zstd)
{
	struct bytes payload = { 0 };
	uint8_t len[4];
	struct wr wr = WR(len, 4);

	assert_non_null(w->conn);
	if (zstd)
		assert_int_equal(zstdframe_encode(&payload, (const uint8_t *)text, strlen(text)), 0);
	else
		assert_int_equal(bytes_append(&payload, text, strlen(text)), 0);
	wr_le32(&wr, (uint32_t)bytes_size(&payload));
	assert_int_equal(h2_send(w->conn->h2, w->conn->map_stream, len, 4, false), 0);
	assert_int_equal(h2_send(w->conn->h2, w->conn->map_stream, bytes_data(&payload), bytes_size(&payload), false), 0);
	h2_flush(w, w->conn);
	bytes_wipe(&payload);
}

static void on_register(struct world *w, struct link *l, const struct h2_event *ev)
{
	static const char ok[] = "{\"MachineAuthorized\":true,\"User\":{\"ID\":1,\"DisplayName\":\"alice\"},"
				 "\"Login\":{\"ID\":1,\"LoginName\":\"alice@example.net\"}}";

	w->n_registers++;
	w->reg_stream = ev->stream;
	ctl_register_request_wipe(&w->reg);
	assert_int_equal(ctl_register_request_parse(&w->reg, (const char *)ev->data, ev->size, NULL), 0);
	if (w->reg.has_expiry && w->hold_logout)
		return;
	if (w->reg.has_expiry) {
		ctlworld_respond(w, l, ev->stream, 200, "{\"NodeKeyExpired\":true}");
		return;
	}
	if (w->hold_register)
		return;
	switch (w->mode) {
	case REG_OK:
		ctlworld_respond(w, l, ev->stream, 200, ok);
		break;
	case REG_ERROR:
		ctlworld_respond(w, l, ev->stream, 200, "{\"Error\":\"authkey expired\"}");
		break;
	case REG_EXPIRED_ONCE:
		w->mode = REG_OK;
		ctlworld_respond(w, l, ev->stream, 200, "{\"NodeKeyExpired\":true}");
		break;
	case REG_URL:
		if (!*w->reg.followup)
			ctlworld_respond(w, l, ev->stream, 200, "{\"AuthURL\":\"https://control.example.net/register/abc\"}");
		break; /* a follow-up waits */
	case REG_429:
		w->mode = REG_OK;
		ctlworld_respond(w, l, ev->stream, 429, "slow down");
		break;
	case REG_500:
		w->mode = REG_OK;
		ctlworld_respond(w, l, ev->stream, 500, "database is locked");
		break;
	}
}

static void send_first_map(struct world *w, const struct ctl_map_request *q)
{
	char key[KEY_TEXT_MAX], disco[KEY_TEXT_MAX], text[8192], extra[256] = "";

	key_write(key, KEY_NODE, q->node.b);
	key_write(disco, KEY_DISCO, q->disco.b);
	if (w->echo_self)
		(void)snprintf(extra, sizeof(extra), ",\"DiscoKey\":\"%s\",\"HomeDERP\":%u", disco, q->host.preferred_derp);
	(void)snprintf(text, sizeof(text),
		       "{\"Node\":{\"ID\":1,\"Name\":\"one.t.example.net.\",\"User\":1,\"Key\":\"%s\",\"Addresses\":[\"100.64.0.1/32\"]"
		       "%s%s},%s\"Domain\":\"example.net\"}",
		       key, extra, w->first_map ? w->first_map : ",\"MachineAuthorized\":true",
		       "\"Peers\":[{\"ID\":2,\"Name\":\"two.t.example.net.\",\"User\":1,\"Key\":\"nodekey:"
		       "2222222222222222222222222222222222222222222222222222222222222222\",\"Addresses\":[\"100.64.0.2/32\"]}],");
	ctlworld_push(w, text, q->zstd);
}

static void on_map(struct world *w, struct link *l, const struct h2_event *ev)
{
	struct ctl_map_request q;

	assert_int_equal(ctl_map_request_parse(&q, (const char *)ev->data, ev->size, NULL), 0);
	if (!q.stream) {
		assert_true(q.omit_peers);
		w->n_lites++;
		(void)snprintf(w->lite, sizeof(w->lite), "%.*s", (int)ev->size, (const char *)ev->data);
		ctlworld_respond(w, l, ev->stream, 200, "");
	} else {
		w->n_polls++;
		(void)snprintf(w->poll, sizeof(w->poll), "%.*s", (int)ev->size, (const char *)ev->data);
		if (w->map_status) {
			ctlworld_respond(w, l, ev->stream, w->map_status, "node not found");
		} else {
			l->map_stream = ev->stream;
			assert_int_equal(h2_respond(l->h2, ev->stream, 200, NULL, NULL, 0, false), 0);
			send_first_map(w, &q);
		}
	}
	ctl_map_request_wipe(&q);
}

static void on_h2(struct world *w, struct link *l)
{
	struct h2_event ev;

	while (h2_poll(l->h2, &ev)) {
		if (ev.kind != H2_EV_REQUEST)
			continue;
		if (strcmp(ev.path, "/machine/register") == 0) {
			on_register(w, l, &ev);
		} else if (strcmp(ev.path, "/machine/map") == 0) {
			on_map(w, l, &ev);
		} else {
			w->n_pings++;
			(void)snprintf(w->echo, sizeof(w->echo), "%s %s %.*s", ev.method, ev.path, (int)ev.size,
				       (const char *)ev.data);
			ctlworld_respond(w, l, ev.stream, 200, "");
		}
	}
}

static void on_noise(struct world *w, struct link *l, const uint8_t *data, size_t size)
{
	assert_int_equal(ctlnoise_input(&l->noise, data, size, &l->plain), 0);
	assert_int_equal(h2_input(l->h2, w->now, bytes_data(&l->plain), bytes_size(&l->plain)), 0);
	bytes_consume(&l->plain, bytes_size(&l->plain));
	on_h2(w, l);
	h2_flush(w, l);
}

static void on_upgrade(struct world *w, struct link *l)
{
	static const char head[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\n"
				   "Connection: upgrade\r\n\r\n";
	uint8_t initiation[CTLFRAME_INITIATION_SIZE], response[CTLFRAME_RESPONSE_SIZE];
	struct bytes out = { 0 };

	w->n_upgrades++;
	assert_int_equal(ctlnoise_b64_parse(initiation, http1_get(&l->h1, "X-Tailscale-Handshake")), 0);
	assert_int_equal(bytes_append(&out, head, strlen(head)), 0);
	if (ctlnoise_server_init(&l->noise, &w->server, initiation, sizeof(initiation), &w->env.env, response) != 0) {
		to_client(w, l, bytes_data(&out), bytes_size(&out));
		bytes_wipe(&out);
		if (l->open) {
			l->open = false;
			ctlclient_closed(w->c, w->now, l->id, "closed by the server");
		}
		return;
	}
	l->h2 = h2_server_new();
	w->conn = l;
	/* One segment: head, response and early payload share it. */
	assert_int_equal(bytes_append(&out, response, sizeof(response)), 0);
	assert_int_equal(ctlnoise_send_early(&l->noise, "{\"nodeKeyChallenge\":\"chalpub:00\"}", 33, &out), 0);
	to_client(w, l, bytes_data(&out), bytes_size(&out));
	bytes_wipe(&out);
	h2_flush(w, l);
}

static void on_http(struct world *w, struct link *l)
{
	char text[512], key[KEY_TEXT_MAX], path[64];

	assert_true(http1_path(&l->h1, path, sizeof(path)));
	if (strcmp(path, "/key") == 0) {
		w->n_keys++;
		key_write(key, KEY_MACHINE, w->server_pub.b);
		(void)snprintf(text, sizeof(text),
			       w->no_key ? "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n%.0s" :
					   "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"publicKey\":\"%s\"}",
			       key);
		to_client(w, l, text, strlen(text));
		if (!w->no_key && l->open) {
			l->open = false;
			ctlclient_closed(w->c, w->now, l->id, "closed by the server");
		}
	} else if (strcmp(path, "/ts2021") == 0) {
		on_upgrade(w, l);
	} else {
		assert_string_equal(l->h1.method, "HEAD");
		w->n_heads++;
		to_client(w, l, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 38);
	}
}

static void on_bytes(struct world *w, struct link *l, const uint8_t *p, size_t size)
{
	if (l->h2) {
		on_noise(w, l, p, size);
		return;
	}
	while (size > 0) {
		enum http1_event ev;
		size_t used;

		assert_int_equal(http1_input(&l->h1, p, size, &used, &ev), 0);
		p += used;
		size -= used;
		if (ev == HTTP1_END || ev == HTTP1_UPGRADE) {
			on_http(w, l);
			assert_int_equal(size, 0);
		}
	}
}

static void on_open(struct world *w, const struct ctlclient_out *o)
{
	struct link *l = &w->links[w->n_links++];

	assert_true(w->n_links <= LINKS);
	*l = (struct link){ .id = o->id, .port = o->port, .tls = o->tls, .open = true };
	(void)snprintf(l->host, sizeof(l->host), "%s", o->host);
	http1_init(&l->h1, HTTP1_REQUESTS, 1 << 20);
	if (w->hold_connect)
		return;
	if (o->tls == CTLCLIENT_PLAIN ? w->refuse_plain : w->refuse_tls) {
		l->open = false;
		ctlclient_closed(w->c, w->now, o->id, "connection refused");
	} else {
		ctlclient_connected(w->c, w->now, o->id);
	}
}

void ctlworld_drive(struct world *w)
{
	struct ctlclient_out o;
	struct link *l;

	for (unsigned n = 0; ctlclient_poll(w->c, w->now, &o); n++) {
		assert_true(n < 10000); /* a machine that never comes to rest */
		switch (o.kind) {
		case CTLCLIENT_OUT_OPEN:
			on_open(w, &o);
			break;
		case CTLCLIENT_OUT_SEND: {
			uint8_t *copy = malloc(o.size);

			memcpy(copy, o.data, o.size);
			l = link_of(w, o.id);
			if (l)
				on_bytes(w, l, copy, o.size);
			free(copy);
			break;
		}
		case CTLCLIENT_OUT_CLOSE:
			l = link_of(w, o.id);
			assert_non_null(l);
			l->open = false;
			break;
		case CTLCLIENT_OUT_PERSIST:
			w->n_persists++;
			w->saved = *o.saved;
			if (!w->hold_persist)
				ctlclient_persisted(w->c, w->now);
			break;
		case CTLCLIENT_OUT_STATUS:
			w->status = o.status;
			(void)snprintf(w->auth_url, sizeof(w->auth_url), "%s", o.status.auth_url);
			(void)snprintf(w->error, sizeof(w->error), "%s", o.status.error);
			break;
		case CTLCLIENT_OUT_NETMAP:
			w->n_netmaps++;
			w->change_bits = o.change->bits;
			assert_non_null(netmap_self(o.map));
			break;
		case CTLCLIENT_OUT_LOGOUT:
			w->logged_out = true;
			break;
		}
	}
}

void ctlworld_pass(struct world *w, int64_t ms)
{
	const struct mono end = mono_add_ms(w->now, ms);
	unsigned ticks = 0;

	ctlworld_drive(w);
	for (;;) {
		const struct mono d = ctlclient_deadline(w->c);

		if (!mono_before(d, end))
			break;
		assert_true(++ticks < 5000); /* a deadline that nothing moves */
		if (mono_before(w->now, d)) {
			w->env.wall_ns += d.ns - w->now.ns;
			w->now = d;
		}
		ctlclient_tick(w->c, w->now);
		ctlworld_drive(w);
	}
	w->env.wall_ns += end.ns - w->now.ns;
	w->now = end;
}

void ctlworld_forget_links(struct world *w)
{
	for (size_t i = 0; i < w->n_links; i++) {
		h2_free(w->links[i].h2);
		bytes_wipe(&w->links[i].plain);
	}
	w->n_links = 0;
	w->conn = NULL;
}

void ctlworld_restart(struct world *w, const struct netmap *cached)
{
	ctlclient_free(w->c);
	for (size_t i = 0; i < w->n_links; i++)
		w->links[i].open = false;
	w->c = ctlclient_new(&w->saved, cached, &w->env.env);
	assert_non_null(w->c);
}

int ctlworld_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct hostinfo host = { .hostname = (char *)(uintptr_t)"alpha", .os = (char *)(uintptr_t)"linux" };
	struct disco_key disco = { .b = { 7 } };

	test_env_init(&w->env, 5);
	w->now = mono_add_s(MONO_ZERO, 100);
	env_fill(&w->env.env, w->server.b, 32);
	key_clamp(w->server.b);
	key_public(w->server_pub.b, w->server.b);
	w->echo_self = true;
	w->c = ctlclient_new(NULL, NULL, &w->env.env);
	assert_non_null(w->c);
	assert_int_equal(ctlclient_set_host(w->c, w->now, &host), 0);
	ctlclient_set_disco(w->c, w->now, &disco);
	*state = w;
	return 0;
}

int ctlworld_teardown(void **state)
{
	struct world *w = *state;

	ctlclient_free(w->c);
	ctlworld_forget_links(w);
	ctl_register_request_wipe(&w->reg);
	free(w);
	return 0;
}

void ctlworld_start(struct world *w, const char *url, const char *key)
{
	const struct ctlclient_prefs prefs = { .url = url, .auth_key = key };
	char why[CTLCLIENT_TEXT_MAX] = "";

	if (ctlclient_start(w->c, w->now, &prefs, why) != 0)
		fail_msg("%s", why);
	ctlworld_drive(w);
}
