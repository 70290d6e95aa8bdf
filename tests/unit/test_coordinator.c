/* SPDX-License-Identifier: MIT */
/* The coordinator role over its byte streams: HTTP pages, Noise and HTTP/2 with a real client side, DERP, limits. */
#include "config.h"

#include "testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/ctlnoise.h"
#include "control/h2.h"
#include "coord/admin.h"
#include "coordinator.h"
#include "wire/ctljson.h"
#include "wire/derp.h"

enum { CONNS = 64 };

struct stream {
	struct bytes in; /* what the server sent */
	bool is_open, is_closed;
	size_t window;   /* bytes that the transport still takes; SIZE_MAX = any */
};

struct world {
	struct test_env env;
	struct mono now;
	struct coordinator *c;
	struct stream s[CONNS];
	uint64_t n_stored;
	bool disk_fails;
	unsigned reply_status;
	char reply[4096];
};

static void pump(struct world *w)
{
	struct coordinator_out o;

	while (coordinator_poll(w->c, w->now, &o)) {
		struct stream *s = &w->s[o.conn % CONNS];
		size_t n = o.size;

		switch (o.kind) {
		case COORDINATOR_SEND:
			if (n > s->window)
				n = s->window;
			if (s->window != SIZE_MAX)
				s->window -= n;
			assert_int_equal(bytes_append(&s->in, o.data, n), 0);
			coordinator_sent(w->c, w->now, o.conn, n);
			break;
		case COORDINATOR_CLOSE:
			assert_true(s->is_open);
			s->is_open = false;
			s->is_closed = true;
			break;
		case COORDINATOR_STORE:
			if (w->disk_fails)
				break;
			w->n_stored++;
			coordinator_stored(w->c, w->now, o.batch->ticket);
			break;
		case COORDINATOR_REPLY:
			w->reply_status = o.status;
			(void)snprintf(w->reply, sizeof(w->reply), "%.*s", (int)o.size, (const char *)o.data);
			break;
		}
	}
}

static void run(struct world *w, int64_t ms)
{
	struct mono end = mono_add_ms(w->now, ms);

	while (mono_before(w->now, end)) {
		struct mono next = mono_min(mono_max(coordinator_deadline(w->c), mono_add_ms(w->now, 1)), end);

		w->env.wall_ns += mono_since_ns(next, w->now);
		w->now = next;
		coordinator_tick(w->c, w->now);
		pump(w);
	}
}

static struct world *start(void)
{
	struct coordinator_cfg cfg = { .url = "http://192.0.2.1:443", .domain = "mesh.internal",
				       .derp_host = "192.0.2.1", .derp_port = 443, .derp_pin = "", .stun_port = 3478 };
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	test_env_init(&w->env, 5);
	w->now = mono_add_s(MONO_ZERO, 100);
	assert_int_equal(prefix_parse(&cfg.pool4, "100.64.0.0/10", 13, false), 0);
	assert_int_equal(prefix_parse(&cfg.pool6, "fd7a:115c:a1e0::/48", 19, false), 0);
	w->c = coordinator_new(&cfg, &w->env.env);
	assert_non_null(w->c);
	assert_int_equal(coordinator_start(w->c, w->now), 0);
	return w;
}

static void stop(struct world *w)
{
	coordinator_free(w->c);
	for (size_t i = 0; i < CONNS; i++)
		bytes_wipe(&w->s[i].in);
	free(w);
}

static int accept_from(struct world *w, uint32_t conn, uint8_t host, bool own)
{
	const struct ep from = { .ip = ip4(198, 51, 100, host), .port = 4000 };
	int err = coordinator_accept(w->c, w->now, conn, &from, false, own);

	if (!err)
		w->s[conn % CONNS] = (struct stream){ .is_open = true, .window = SIZE_MAX };
	return err;
}

static void send_text(struct world *w, uint32_t conn, const char *text)
{
	coordinator_bytes(w->c, w->now, conn, (const uint8_t *)text, strlen(text));
	pump(w);
}

/* Everything that came on 'conn' since the last call. */
static const char *received(struct world *w, uint32_t conn)
{
	static char text[16384];
	struct bytes *b = &w->s[conn % CONNS].in;

	(void)snprintf(text, sizeof(text), "%.*s", (int)bytes_size(b), bytes_data(b) ? (const char *)bytes_data(b) : "");
	bytes_consume(b, bytes_size(b));
	return text;
}

/* ---- a control client ---- */

struct client {
	struct world *w;
	uint32_t conn;
	struct machine_priv priv;
	struct node_key node;
	struct ctlnoise noise;
	struct h2 *h2;
	struct bytes body; /* of the stream last looked at */
	uint16_t status;
	bool ended, is_reset;
};

static void client_flush(struct client *c)
{
	struct bytes plain = { 0 }, wire = { 0 };

	while (h2_has_output(c->h2)) {
		assert_int_equal(h2_output(c->h2, &plain, 1 << 20), 0);
		if (!bytes_size(&plain))
			break;
		assert_int_equal(ctlnoise_send(&c->noise, bytes_data(&plain), bytes_size(&plain), &wire), 0);
		bytes_consume(&plain, bytes_size(&plain));
	}
	if (bytes_size(&wire))
		coordinator_bytes(c->w->c, c->w->now, c->conn, bytes_data(&wire), bytes_size(&wire));
	bytes_wipe(&plain);
	bytes_wipe(&wire);
	pump(c->w);
}

static void client_read(struct client *c)
{
	struct bytes *in = &c->w->s[c->conn % CONNS].in, plain = { 0 };
	struct h2_event ev;

	if (bytes_size(in)) {
		assert_int_equal(ctlnoise_input(&c->noise, bytes_data(in), bytes_size(in), &plain), 0);
		bytes_consume(in, bytes_size(in));
	}
	if (bytes_size(&plain))
		assert_int_equal(h2_input(c->h2, c->w->now, bytes_data(&plain), bytes_size(&plain)), 0);
	bytes_wipe(&plain);
	while (h2_poll(c->h2, &ev)) {
		if (ev.kind == H2_EV_RESPONSE)
			c->status = ev.status;
		else if (ev.kind == H2_EV_DATA)
			assert_int_equal(bytes_append(&c->body, ev.data, ev.size), 0);
		else if (ev.kind == H2_EV_END)
			c->ended = true;
		else if (ev.kind == H2_EV_CLOSED)
			c->is_reset = true;
	}
}

/* Flushes and reads until nothing moves. */
static void client_run(struct client *c)
{
	for (int i = 0; i < 20; i++) {
		client_flush(c);
		client_read(c);
		if (!bytes_size(&c->w->s[c->conn % CONNS].in) && !h2_has_output(c->h2))
			break;
	}
}

static void client_open(struct client *c, struct world *w, uint32_t conn, bool own)
{
	uint8_t initiation[CTLFRAME_INITIATION_SIZE];
	char b64[CTLNOISE_INITIATION_B64_MAX], head[600];
	const char *at;
	struct bytes *in = &w->s[conn % CONNS].in, plain = { 0 };

	*c = (struct client){ .w = w, .conn = conn };
	env_fill(&w->env.env, c->priv.b, KEY_SIZE);
	env_fill(&w->env.env, c->node.b, KEY_SIZE);
	key_clamp(c->priv.b);
	assert_int_equal(accept_from(w, conn, (uint8_t)conn, own), 0);
	assert_int_equal(ctlnoise_client_init(&c->noise, &c->priv, coordinator_noise_key(w->c), 131, &w->env.env,
					      initiation), 0);
	ctlnoise_b64_write(b64, initiation);
	(void)snprintf(head, sizeof(head),
		       "POST /ts2021 HTTP/1.1\r\nHost: x\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n"
		       "X-Tailscale-Handshake: %s\r\nContent-Length: 0\r\n\r\n", b64);
	send_text(w, conn, head);
	at = memmem(bytes_data(in), bytes_size(in), "\r\n\r\n", 4);
	assert_non_null(at);
	assert_int_equal(strncmp((const char *)bytes_data(in), "HTTP/1.1 101 ", 13), 0);
	bytes_consume(in, (size_t)(at + 4 - (const char *)bytes_data(in)));
	assert_int_equal(ctlnoise_input(&c->noise, bytes_data(in), bytes_size(in), &plain), 0);
	bytes_consume(in, bytes_size(in));
	assert_int_equal(c->noise.state, CTLNOISE_OPEN);
	c->h2 = h2_client_new("x");
	assert_non_null(c->h2);
	if (bytes_size(&plain)) /* the server's SETTINGS come unasked */
		assert_int_equal(h2_input(c->h2, w->now, bytes_data(&plain), bytes_size(&plain)), 0);
	bytes_wipe(&plain);
	client_run(c);
}

static int32_t client_post(struct client *c, const char *path, const char *body)
{
	int32_t stream = h2_request(c->h2, "POST", path, NULL, 0, body, strlen(body));

	assert_true(stream > 0);
	bytes_consume(&c->body, bytes_size(&c->body));
	c->ended = c->is_reset = false;
	c->status = 0;
	client_run(c);
	return stream;
}

static void client_close(struct client *c)
{
	h2_free(c->h2);
	bytes_wipe(&c->body);
	ctlnoise_wipe(&c->noise);
}

static void client_register(struct client *c, const char *auth_key)
{
	char key[KEY_TEXT_MAX], body[600];

	key_write(key, KEY_NODE, c->node.b);
	(void)snprintf(body, sizeof(body), "{\"Version\":131,\"NodeKey\":\"%s\",\"Auth\":{\"AuthKey\":\"%s\"},"
					   "\"Hostinfo\":{\"Hostname\":\"h%u\"}}", key, auth_key, c->conn);
	(void)client_post(c, "/machine/register", body);
}

static int32_t client_map(struct client *c)
{
	char key[KEY_TEXT_MAX], body[600];

	key_write(key, KEY_NODE, c->node.b);
	(void)snprintf(body, sizeof(body), "{\"Version\":131,\"NodeKey\":\"%s\",\"Stream\":true}", key);
	return client_post(c, "/machine/map", body);
}

static const char *text_of(struct client *c)
{
	static char text[16384];

	(void)snprintf(text, sizeof(text), "%.*s", (int)bytes_size(&c->body),
		       bytes_data(&c->body) ? (const char *)bytes_data(&c->body) : "");
	return text;
}

/* Map messages have binary heads: no string functions. */
static bool has(const struct client *c, const char *text)
{
	return memmem(bytes_data(&c->body), bytes_size(&c->body), text, strlen(text)) != NULL;
}

static void create_key(struct world *w, char *text, size_t size)
{
	cJSON *v;

	assert_int_equal(coordinator_admin(w->c, w->now, 1, "keys.create", "{}", 2), 0);
	pump(w);
	assert_int_equal(w->reply_status, 200);
	v = cJSON_Parse(w->reply);
	(void)snprintf(text, size, "%s", test_str(v, "Key"));
	cJSON_Delete(v);
}

/* ---- tests ---- */

static void pages(void **state)
{
	static const struct {
		const char *request, *answer;
	} table[] = {
		{ "GET /key?v=131 HTTP/1.1\r\nHost: x\r\n\r\n", "\"publicKey\":\"mkey:" },
		{ "GET /health HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 " },
		{ "GET /generate_204 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 204 " },
		{ "GET /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200 " },
		{ "GET /nope HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 " },
		{ "HEAD /machine/ping-response?id=1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 " },
		{ "GET /register/0123 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 " },
		{ "POST /ts2021 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 400 " },
		{ "GET /ts2021 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 " },
		{ "POST /ts2021 HTTP/1.1\r\nHost: x\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n"
		  "X-Tailscale-Handshake: AAAA\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 400 " },
		{ "POST /verify HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", "HTTP/1.1 400 " },
		{ "\x16\x03\x01 garbage\r\n\r\n", "HTTP/1.1 400 " },
	};
	struct world *w = start();

	(void)state;
	assert_int_equal(accept_from(w, 60, 1, false), -EAGAIN); /* the keys are not stored yet */
	pump(w);
	for (uint32_t i = 0; i < ARRAY_LEN(table); i++) {
		const char *got;

		assert_int_equal(accept_from(w, i + 1, (uint8_t)(i + 1), false), 0);
		send_text(w, i + 1, table[i].request);
		got = received(w, i + 1);
		if (!strstr(got, table[i].answer))
			fail_msg("%s: %s", table[i].request, got);
	}
	assert_true(w->s[12].is_closed); /* garbage */
	stop(w);
}

static void each_request_has_one_answer(void **state)
{
	struct world *w = start();
	const char *got;

	(void)state;
	pump(w);
	assert_int_equal(accept_from(w, 1, 1, false), 0);
	send_text(w, 1, "POST /verifyX HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
	got = received(w, 1);
	assert_memory_equal(got, "HTTP/1.1 404 ", 13);
	assert_null(strstr(got + 1, "HTTP/1.1 "));
	stop(w);
}

/* It asks and asks, and reads nothing. */
static void answers_do_not_pile_up(void **state)
{
	static const char ask[] = "GET /key?v=1 HTTP/1.1\r\nHost: x\r\n\r\n";
	struct world *w = start();

	(void)state;
	pump(w);
	assert_int_equal(accept_from(w, 1, 1, false), 0);
	for (int i = 0; i < 20; i++)
		coordinator_bytes(w->c, w->now, 1, (const uint8_t *)ask, sizeof(ask) - 1);
	pump(w);
	assert_true(w->s[1].is_open);
	for (int i = 0; i < 2000; i++)
		coordinator_bytes(w->c, w->now, 1, (const uint8_t *)ask, sizeof(ask) - 1);
	pump(w);
	assert_true(w->s[1].is_closed);
	stop(w);
}

static void requests_share_a_connection(void **state)
{
	struct world *w = start();
	const char *two = "GET /key?v=1 HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n";

	(void)state;
	pump(w);
	assert_int_equal(accept_from(w, 1, 1, false), 0);
	for (const char *p = two; *p; p++) /* byte by byte */
		coordinator_bytes(w->c, w->now, 1, (const uint8_t *)p, 1);
	pump(w);
	assert_non_null(strstr(received(w, 1), "\"status\":\"pass\""));
	assert_true(w->s[1].is_open);
	send_text(w, 1, "GET /key?v=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	assert_non_null(strstr(received(w, 1), "mkey:"));
	assert_true(w->s[1].is_closed);
	stop(w);
}

static void node_joins_and_hears_of_another(void **state)
{
	struct world *w = start();
	struct client a, b;
	char key[200];

	(void)state;
	pump(w);
	client_open(&a, w, 1, false);
	create_key(w, key, sizeof(key));
	client_register(&a, key);
	assert_int_equal(a.status, 200);
	assert_non_null(strstr(text_of(&a), "\"MachineAuthorized\":true"));
	(void)client_map(&a);
	assert_int_equal(a.status, 200);
	assert_true(bytes_size(&a.body) > 100);
	assert_true(has(&a, "\"DERPMap\""));
	bytes_consume(&a.body, bytes_size(&a.body));

	/* The coordinator's own node comes without a key and without limits. */
	client_open(&b, w, 2, true);
	client_register(&b, "");
	assert_non_null(strstr(text_of(&b), "admin"));
	(void)client_map(&b);
	client_run(&a);
	assert_true(has(&a, "\"PeersChanged\""));
	client_close(&a);
	client_close(&b);
	stop(w);
}

static void slow_reader_is_not_buffered(void **state)
{
	struct world *w = start();
	struct client a, b;
	char key[200], node[KEY_TEXT_MAX], body[300];

	(void)state;
	pump(w);
	client_open(&a, w, 1, false);
	create_key(w, key, sizeof(key));
	client_register(&a, key);
	(void)client_map(&a);
	client_open(&b, w, 2, true);
	client_register(&b, "");
	(void)client_map(&b);
	client_run(&a);
	w->s[1].window = 0; /* a stops reading */
	key_write(node, KEY_NODE, b.node.b);
	for (unsigned i = 1; i < 500; i++) {
		(void)snprintf(body, sizeof(body), "{\"Version\":131,\"NodeKey\":\"%s\",\"OmitPeers\":true,"
						   "\"Endpoints\":[\"192.0.2.7:%u\"]}", node, i);
		(void)client_post(&b, "/machine/map", body);
		assert_int_equal(b.status, 200);
	}
	bytes_consume(&a.body, bytes_size(&a.body));
	w->s[1].window = SIZE_MAX;
	coordinator_writable(w->c, w->now, 1);
	pump(w);
	client_run(&a);
	assert_true(has(&a, "192.0.2.7:499"));
	assert_true(bytes_size(&a.body) < 100000);
	client_close(&a);
	client_close(&b);
	stop(w);
}

static void limits_hold(void **state)
{
	struct world *w = start();
	struct coordinator_stats st;
	uint32_t n = 0;

	(void)state;
	pump(w);
	/* One source: a burst of 20 a second, and 20 without a session. */
	while (n < 50 && accept_from(w, n + 1, 9, false) == 0)
		n++;
	assert_int_equal(n, COORDINATOR_HALF_OPEN_SOURCE);
	/* Another one is not affected. */
	assert_int_equal(accept_from(w, 60, 10, false), 0);
	send_text(w, 60, "GET /hea");
	run(w, 6000); /* nothing complete within 5 s */
	assert_true(w->s[60].is_closed);
	assert_true(w->s[1].is_closed);
	coordinator_stats(w->c, &st);
	assert_int_equal(st.n_conns, 0);
	assert_int_equal(st.timeouts, 21);
	assert_int_equal(accept_from(w, 1, 9, false), 0);
	stop(w);
}

static void idle_strangers_go(void **state)
{
	struct world *w = start();
	struct client a;

	(void)state;
	pump(w);
	client_open(&a, w, 1, false);
	run(w, 59000);
	assert_true(w->s[1].is_open);
	run(w, 5000);
	assert_true(w->s[1].is_closed);
	client_close(&a);
	stop(w);
}

static void garbage_after_the_handshake_closes(void **state)
{
	struct world *w = start();
	struct client a;

	(void)state;
	pump(w);
	client_open(&a, w, 1, false);
	send_text(w, 1, "this is no Noise record");
	assert_true(w->s[1].is_closed);
	client_close(&a);
	stop(w);
}

/* ---- DERP ---- */

static void derp_open(struct world *w, uint32_t conn, const struct node_priv *priv)
{
	uint8_t buf[1024], nonce[DERP_NONCE_SIZE];
	struct bytes *in = &w->s[conn % CONNS].in;
	struct wr wr = WR(buf, sizeof(buf));
	struct node_key server;
	struct derp_hdr hdr;
	const char *at;

	assert_int_equal(accept_from(w, conn, (uint8_t)conn, false), 0);
	send_text(w, conn, "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n");
	at = memmem(bytes_data(in), bytes_size(in), "\r\n\r\n", 4);
	assert_non_null(at);
	bytes_consume(in, (size_t)(at + 4 - (const char *)bytes_data(in)));
	assert_int_equal(derp_hdr_parse(&hdr, bytes_data(in), bytes_size(in), DERP_FRAME_MAX), 0);
	assert_int_equal(hdr.type, DERP_SERVER_KEY);
	assert_int_equal(derp_server_key_parse(&server, bytes_data(in) + DERP_HEADER_SIZE, hdr.size), 0);
	bytes_consume(in, DERP_HEADER_SIZE + hdr.size);
	env_fill(&w->env.env, nonce, sizeof(nonce));
	assert_int_equal(derp_client_info_write(&wr, priv, &server, nonce), 0);
	derp_note_preferred_write(&wr, true);
	coordinator_bytes(w->c, w->now, conn, buf, wr_used(&wr, sizeof(buf)));
	pump(w);
}

static void derp_admits_members_and_tells_home(void **state)
{
	struct world *w = start();
	struct node_priv priv;
	struct client a;
	char key[200];

	(void)state;
	pump(w);
	env_fill(&w->env.env, priv.b, KEY_SIZE);
	key_clamp(priv.b);
	derp_open(w, 1, &priv); /* nobody knows this key */
	assert_true(w->s[1].is_closed);

	client_open(&a, w, 2, false);
	key_public(a.node.b, priv.b);
	create_key(w, key, sizeof(key));
	client_register(&a, key);
	(void)client_map(&a);
	derp_open(w, 3, &priv);
	assert_true(w->s[3].is_open);
	assert_int_equal(coordinator_admin(w->c, w->now, 2, "nodes.list", "", 0), 0);
	pump(w);
	assert_non_null(strstr(w->reply, "\"HomeDERP\":999"));
	/* Deletion disconnects it. */
	assert_int_equal(coordinator_admin(w->c, w->now, 3, "nodes.delete", "{\"Node\":\"1\"}", 12), 0);
	pump(w);
	assert_int_equal(w->reply_status, 200);
	assert_true(w->s[3].is_closed);
	client_run(&a);
	assert_true(a.ended);
	client_close(&a);
	stop(w);
}

static void derp_map_is_administered(void **state)
{
	static const char add[] = "{\"Hostname\":\"derp.example.net\",\"Port\":8443}";
	struct world *w = start();

	(void)state;
	pump(w);
	assert_int_equal(coordinator_admin(w->c, w->now, 1, "derp.add", add, sizeof(add) - 1), 0);
	pump(w);
	assert_string_equal(w->reply, "{\"Region\":900}");
	assert_int_equal(coordinator_admin(w->c, w->now, 1, "derp.list", "", 0), 0);
	pump(w);
	assert_non_null(strstr(w->reply, "derp.example.net"));
	assert_non_null(strstr(w->reply, "\"999\""));
	assert_int_equal(coordinator_admin(w->c, w->now, 1, "derp.remove", "{\"Region\":999}", 14), 0);
	pump(w);
	assert_int_equal(w->reply_status, 409);
	assert_int_equal(coordinator_admin(w->c, w->now, 1, "derp.remove", "{\"Region\":900}", 14), 0);
	pump(w);
	assert_int_equal(w->reply_status, 200);
	assert_int_equal(coordinator_admin(w->c, w->now, 1, "derp.add", "{\"Hostname\":\"a b\"}", 18), 0);
	pump(w);
	assert_int_equal(w->reply_status, 400);
	stop(w);
}

static void admin_waits_for_the_disk(void **state)
{
	struct world *w = start();

	(void)state;
	pump(w);
	w->disk_fails = true;
	w->reply_status = 0;
	assert_int_equal(coordinator_admin(w->c, w->now, 1, "keys.create", "{}", 2), 0);
	pump(w);
	assert_int_equal(w->reply_status, 0);
	coordinator_stored(w->c, w->now, UINT64_MAX);
	pump(w);
	assert_int_equal(w->reply_status, 200);
	stop(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages),
		cmocka_unit_test(each_request_has_one_answer),
		cmocka_unit_test(answers_do_not_pile_up),
		cmocka_unit_test(requests_share_a_connection),
		cmocka_unit_test(node_joins_and_hears_of_another),
		cmocka_unit_test(slow_reader_is_not_buffered),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(idle_strangers_go),
		cmocka_unit_test(garbage_after_the_handshake_closes),
		cmocka_unit_test(derp_admits_members_and_tells_home),
		cmocka_unit_test(derp_map_is_administered),
		cmocka_unit_test(admin_waits_for_the_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
