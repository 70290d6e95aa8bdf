/* SPDX-License-Identifier: MIT */
/* DERP: the codec on the frames of the upstream client and server; our client against our server in memory,
 * with the stream cut at every byte; the server's rules and limits. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "relay/derpclient.h"
#include "relay/derpserver.h"
#include "tests/unit/testing.h"
#include "wire/derp.h"
#include "wire/http1.h"

static cJSON *all;

static int load(void **state)
{
	(void)state;
	all = test_vectors("derp.json");
	return 0;
}

static int unload(void **state)
{
	(void)state;
	cJSON_Delete(all);
	return 0;
}

static const cJSON *vector(const char *name)
{
	const cJSON *v;

	cJSON_ArrayForEach(v, test_get(all, "vectors"))
		if (strcmp(test_str(v, "name"), name) == 0)
			return v;
	fail_msg("no vector %s", name);
	return NULL;
}

static void key_of(uint8_t *raw, const char *who, const char *half)
{
	test_unhex(raw, KEY_SIZE, test_str(test_get(test_get(all, "keys"), who), half));
}

static void expect_frame(const struct wr *w, const uint8_t *buf, size_t cap, const char *name)
{
	size_t size;
	uint8_t *want = test_unhex_dup(test_str(vector(name), "hex"), &size);

	assert_false(w->bad);
	assert_int_equal(wr_used(w, cap), size);
	assert_memory_equal(buf, want, size);
	free(want);
}

/* --- codec --- */

static void derp_writes_upstream_frames(void **state)
{
	struct node_priv a_priv, s_priv;
	struct node_key a, b, u, srv;
	uint8_t buf[512], nonce[DERP_NONCE_SIZE], *payload;
	size_t size;
	struct wr w;

	(void)state;
	key_of(a_priv.b, "a", "private_hex");
	key_of(s_priv.b, "server", "private_hex");
	key_of(a.b, "a", "public_hex");
	key_of(b.b, "b", "public_hex");
	key_of(u.b, "u", "public_hex");
	key_of(srv.b, "server", "public_hex");

	w = WR(buf, sizeof(buf));
	derp_server_key_write(&w, &srv);
	expect_frame(&w, buf, sizeof(buf), "server_key_frame");

	test_unhex(nonce, sizeof(nonce), test_str(vector("client_info_frame_regular"), "nonce_hex"));
	w = WR(buf, sizeof(buf));
	assert_int_equal(derp_client_info_write(&w, &a_priv, &srv, nonce), 0);
	expect_frame(&w, buf, sizeof(buf), "client_info_frame_regular");

	test_unhex(nonce, sizeof(nonce), test_str(vector("server_info_frame"), "nonce_hex"));
	w = WR(buf, sizeof(buf));
	assert_int_equal(derp_server_info_write(&w, &s_priv, &a, nonce), 0);
	expect_frame(&w, buf, sizeof(buf), "server_info_frame");

	payload = test_unhex_dup(test_str(vector("send_packet_a_to_b"), "payload_hex"), &size);
	w = WR(buf, sizeof(buf));
	derp_packet_write(&w, DERP_SEND_PACKET, &b, payload, size);
	expect_frame(&w, buf, sizeof(buf), "send_packet_a_to_b");
	w = WR(buf, sizeof(buf));
	derp_packet_write(&w, DERP_RECV_PACKET, &a, payload, size);
	expect_frame(&w, buf, sizeof(buf), "recv_packet_at_b");
	free(payload);

	w = WR(buf, sizeof(buf));
	derp_note_preferred_write(&w, true);
	expect_frame(&w, buf, sizeof(buf), "note_preferred_true");
	w = WR(buf, sizeof(buf));
	derp_note_preferred_write(&w, false);
	expect_frame(&w, buf, sizeof(buf), "note_preferred_false");
	w = WR(buf, sizeof(buf));
	derp_keep_alive_write(&w);
	expect_frame(&w, buf, sizeof(buf), "keep_alive");
	w = WR(buf, sizeof(buf));
	derp_peer_gone_write(&w, &u, DERP_GONE_NOT_HERE);
	expect_frame(&w, buf, sizeof(buf), "peer_gone_not_here");
	w = WR(buf, sizeof(buf));
	derp_ping_write(&w, DERP_PONG, (const uint8_t *)"01234567");
	expect_frame(&w, buf, sizeof(buf), "pong_for_ping_12_bytes");
	w = WR(buf, sizeof(buf));
	derp_health_write(&w, "duplicate connection detected");
	expect_frame(&w, buf, sizeof(buf), "health_problem");
	w = WR(buf, sizeof(buf));
	derp_restarting_write(&w, &(struct derp_restarting){ 1500, 10000 });
	expect_frame(&w, buf, sizeof(buf), "restarting");
}

static void derp_client_info_is_judged_as_upstream(void **state)
{
	static const struct {
		const char *name;
		bool ok, can_ack;
	} rows[] = {
		{ "client_info_frame_regular", true, true },
		{ "client_info_frame_minimal", true, false },
		{ "client_info_frame_mesh", true, false },
		{ "client_info_frame_prober_app", true, true },
		{ "server_accepts_wrong_mesh_key", true, false },
		{ "server_accepts_empty_object", true, false },
		{ "server_accepts_lowercase_fields", true, true },
		{ "server_rejects_empty_mesh_key", false, false },
		{ "server_rejects_null_mesh_key", false, false },
		{ "server_rejects_bad_box", false, false },
	};
	struct node_priv priv;

	(void)state;
	key_of(priv.b, "server", "private_hex");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct derp_client_info info = { 0 };
		struct node_key key;
		size_t size;
		uint8_t *p = test_unhex_dup(test_str(vector(rows[i].name), "hex"), &size);
		int err = derp_client_info_open(&info, &key, p + DERP_HEADER_SIZE, size - DERP_HEADER_SIZE, &priv);

		assert_int_equal(err, rows[i].ok ? 0 : -EBADMSG);
		if (rows[i].ok) {
			assert_memory_equal(key.b, p + DERP_HEADER_SIZE, KEY_SIZE);
			assert_int_equal(info.can_ack_pings, rows[i].can_ack);
		}
		free(p);
	}
}

static void derp_server_info_limits_are_read(void **state)
{
	struct derp_server_info info = { 0 };
	struct node_priv priv;
	struct node_key srv;
	size_t size;
	uint8_t *p = test_unhex_dup(test_str(vector("server_info_with_limits"), "hex"), &size);

	(void)state;
	key_of(priv.b, "a", "private_hex");
	key_of(srv.b, "server", "public_hex");
	assert_int_equal(derp_server_info_open(&info, p + 5, size - 5, &srv, &priv), 0);
	assert_int_equal(info.version, 2);
	assert_int_equal(info.bucket_bytes_per_s, 1000000);
	assert_int_equal(info.bucket_burst_bytes, 131072);
	p[size - 1] ^= 1;
	assert_int_equal(derp_server_info_open(&info, p + 5, size - 5, &srv, &priv), -EBADMSG);
	free(p);
}

/* --- a client and a server in memory --- */

static const int64_t T0 = 1000 * NS_PER_S;

struct lab {
	struct test_env env;
	struct mono now;
	struct derpserver srv;
	struct node_priv srv_priv;
	bool fast_start;     /* the edge reports a meta certificate */
	struct ip local;     /* address that connections are made from */
	size_t chunk;        /* bytes a pipe carries at once; 0 = all */
	struct derp_map map;
};

struct peer {
	struct lab *lab;
	struct derpclient c;
	struct node_priv priv;
	struct node_key pub;
	uint32_t stream;     /* 0 = none */
	uint32_t conn;       /* its number at the server; 0 = HTTP head not read yet */
	struct http1 head;
	bool to_client, to_server; /* bytes wait */
	/* what came out */
	unsigned opens, ups, downs, gones, rcvd, news;
	struct node_key last_from;
	uint8_t last[2048];
	size_t last_size;
	uint8_t last_reason;
	char health[64];
};

static void lab_init(struct lab *lab, uint64_t seed, bool admit_all)
{
	static struct derp_node node;
	static struct derp_region region;

	memset(lab, 0, sizeof(*lab));
	test_env_init(&lab->env, seed);
	lab->now.ns = T0;
	key_of(lab->srv_priv.b, "server", "private_hex");
	assert_int_equal(derpserver_init(&lab->srv, &(struct derpserver_cfg){ .admit_all = admit_all },
					 &lab->srv_priv, &lab->env.env), 0);
	node = (struct derp_node){ .name = (char *)"900a", .host_name = (char *)"derp.example", .cert_name = (char *)"",
				   .ipv4 = (char *)"192.0.2.1", .ipv6 = (char *)"none", .stun_test_ip = (char *)"",
				   .stun_port = 3478, .derp_port = 443 };
	region = (struct derp_region){ .id = 900, .code = (char *)"t", .name = (char *)"Test", .score = 1,
				       .nodes = &node, .n_nodes = 1 };
	lab->map = (struct derp_map){ .regions = &region, .n_regions = 1 };
}

static void peer_init(struct peer *p, struct lab *lab, const char *key)
{
	memset(p, 0, sizeof(*p));
	p->lab = lab;
	key_of(p->priv.b, key, "private_hex");
	key_public(p->pub.b, p->priv.b);
	assert_int_equal(derpclient_init(&p->c, &lab->env.env), 0);
	derpclient_set_key(&p->c, lab->now, &p->priv);
	assert_int_equal(derpclient_set_map(&p->c, lab->now, &lab->map), 0);
}

static void peer_out(struct peer *p, const struct derpclient_out *out)
{
	struct stream_info info = { .is_tls13 = true, .has_derp_key = p->lab->fast_start, .derp_version = 2,
				    .local = p->lab->local };

	switch (out->kind) {
	case DERPCLIENT_OPEN:
		assert_string_equal(out->addr->host, "derp.example");
		assert_true(out->addr->no_ip6);
		assert_int_equal(out->addr->tls, STREAM_TLS_VERIFY);
		p->opens++;
		p->stream = out->stream;
		p->conn = 0;
		http1_init(&p->head, HTTP1_REQUESTS, 0);
		memcpy(info.derp_key, p->lab->srv.pub.b, KEY_SIZE);
		derpclient_opened(&p->c, p->lab->now, p->stream, &info);
		break;
	case DERPCLIENT_CLOSE:
		if (p->conn && out->stream == p->stream)
			derpserver_closed(&p->lab->srv, p->lab->now, p->conn);
		if (out->stream == p->stream)
			p->stream = p->conn = 0;
		break;
	case DERPCLIENT_WRITE:
		p->to_server = true;
		break;
	case DERPCLIENT_RECV:
		p->rcvd++;
		p->news += out->is_new;
		p->last_from = out->peer;
		p->last_size = out->size;
		assert_true(out->size <= sizeof(p->last));
		memcpy(p->last, out->data, out->size);
		break;
	case DERPCLIENT_GONE:
		p->gones++;
		p->last_from = out->peer;
		p->last_reason = out->reason;
		break;
	case DERPCLIENT_STATE:
		p->ups += out->is_up;
		p->downs += !out->is_up;
		break;
	case DERPCLIENT_HEALTH:
		(void)snprintf(p->health, sizeof(p->health), "%s", out->text);
		break;
	}
}

/* The server's owner: reads the HTTP head, then passes bytes on. */
static void server_bytes(struct peer *p, const uint8_t *buf, size_t size)
{
	static uint32_t next_conn = 1;
	struct derpserver_http req = { .ws_protocol = "", .challenge = "" };
	struct ep remote = { .ip = ip4(192, 0, 2, 9), .port = 1000 };
	enum http1_event ev = HTTP1_MORE;
	char text[512];
	size_t used;

	while (!p->conn && size > 0) {
		assert_int_equal(http1_input(&p->head, buf, size, &used, &ev), 0);
		buf += used;
		size -= used;
		if (ev != HTTP1_UPGRADE)
			continue;
		req.method = p->head.method;
		req.path = p->head.target;
		req.upgrade = http1_get(&p->head, "Upgrade");
		req.fast_start = http1_get(&p->head, "Derp-Fast-Start") != NULL;
		assert_int_equal(req.fast_start, p->lab->fast_start);
		assert_int_equal(derpserver_http(&req, text, sizeof(text)), DERPSERVER_UPGRADE);
		p->conn = next_conn++;
		assert_int_equal(derpserver_open(&p->lab->srv, p->lab->now, p->conn, &remote, req.fast_start), 0);
	}
	if (size > 0)
		derpserver_input(&p->lab->srv, p->lab->now, p->conn, buf, size);
}

static bool server_outputs(struct lab *lab, struct peer *peers, size_t n)
{
	struct derpserver_out out;
	bool any = false;

	while (derpserver_poll(&lab->srv, lab->now, &out)) {
		any = true;
		for (size_t i = 0; i < n; i++) {
			if (peers[i].conn != out.conn)
				continue;
			if (out.kind == DERPSERVER_WRITE)
				peers[i].to_client = true;
			if (out.kind == DERPSERVER_CLOSE) {
				peers[i].conn = 0;
				derpclient_closed(&peers[i].c, lab->now, peers[i].stream, "closed by server");
				peers[i].stream = 0;
			}
		}
	}
	return any;
}

static bool pump_one(struct peer *p)
{
	size_t cap = p->lab->chunk ? p->lab->chunk : 4096, n;
	struct derpclient_out out;
	uint8_t buf[4096];
	bool any = false;

	while (derpclient_poll(&p->c, p->lab->now, &out)) {
		any = true;
		peer_out(p, &out);
	}
	if (p->to_server && p->stream) {
		n = derpclient_take(&p->c, p->lab->now, p->stream, buf, cap);
		p->to_server = n > 0;
		any |= n > 0;
		server_bytes(p, buf, n);
	}
	if (p->to_client && p->conn) {
		n = derpserver_take(&p->lab->srv, p->lab->now, p->conn, buf, cap);
		p->to_client = n > 0;
		any |= n > 0;
		derpclient_input(&p->c, p->lab->now, p->stream, buf, n);
	}
	return any;
}

/* Carries bytes until nothing moves any more. */
static void pump(struct lab *lab, struct peer *peers, size_t n)
{
	bool any = true;

	while (any) {
		any = server_outputs(lab, peers, n);
		for (size_t i = 0; i < n; i++)
			any |= pump_one(&peers[i]);
	}
}

static void lab_time(struct lab *lab, struct peer *peers, size_t n, int64_t ms)
{
	struct mono end = mono_add_ms(lab->now, ms);

	for (;;) {
		struct mono at = derpserver_deadline(&lab->srv);

		for (size_t i = 0; i < n; i++)
			at = mono_min(at, derpclient_deadline(&peers[i].c));
		pump(lab, peers, n);
		if (mono_before(end, at))
			break;
		lab->now = mono_max(lab->now, at);
		derpserver_tick(&lab->srv, lab->now);
		for (size_t i = 0; i < n; i++)
			derpclient_tick(&peers[i].c, lab->now);
		pump(lab, peers, n);
	}
	lab->now = end;
}

static void lab_wipe(struct lab *lab, struct peer *peers, size_t n)
{
	for (size_t i = 0; i < n; i++)
		derpclient_wipe(&peers[i].c);
	derpserver_wipe(&lab->srv);
}

/* Login and one packet each way, with pipes that carry 'chunk' bytes at once. */
static void exchange(bool fast_start, size_t chunk)
{
	static const uint8_t ping[] = "ping through the relay", pong[] = "and back";
	static struct lab lab;
	static struct peer p[2];

	lab_init(&lab, 100 + chunk, true);
	lab.fast_start = fast_start;
	lab.chunk = chunk;
	peer_init(&p[0], &lab, "a");
	peer_init(&p[1], &lab, "b");
	derpclient_set_home(&p[1].c, lab.now, 900);
	pump(&lab, p, 2);
	assert_int_equal(p[1].ups, 1);
	/* The first packet opens the connection of the other. */
	assert_int_equal(derpclient_send(&p[0].c, lab.now, 900, &p[1].pub, ping, sizeof(ping)), 0);
	pump(&lab, p, 2);
	assert_int_equal(p[0].ups, 1);
	assert_int_equal(p[1].rcvd, 1);
	assert_memory_equal(p[1].last, ping, sizeof(ping));
	assert_true(node_key_eq(&p[1].last_from, &p[0].pub));
	assert_int_equal(derpclient_send(&p[1].c, lab.now, derpclient_route(&p[1].c, &p[0].pub, 0), &p[0].pub, pong,
					 sizeof(pong)), 0);
	pump(&lab, p, 2);
	assert_int_equal(p[0].rcvd, 1);
	assert_memory_equal(p[0].last, pong, sizeof(pong));
	assert_int_equal(derpserver_clients(&lab.srv), 2);
	lab_wipe(&lab, p, 2);
}

static void derp_client_and_server_talk_with_streams_cut_anywhere(void **state)
{
	(void)state;
	for (size_t chunk = 0; chunk <= 160; chunk++) {
		exchange(false, chunk);
		exchange(true, chunk);
	}
}

static void derpserver_removing_a_key_disconnects_it_at_once(void **state)
{
	static struct lab lab;
	static struct peer p[1];

	(void)state;
	lab_init(&lab, 7, false);
	peer_init(&p[0], &lab, "a");
	derpclient_set_home(&p[0].c, lab.now, 900);
	pump(&lab, p, 1);
	assert_int_equal(p[0].ups, 0); /* not registered */
	assert_int_equal(lab.srv.n.rejected_key, 1);
	assert_int_equal(derpserver_admit(&lab.srv, &p[0].pub), 0);
	lab_time(&lab, p, 1, 2000);
	assert_int_equal(p[0].ups, 1);
	assert_true(derpserver_has(&lab.srv, &p[0].pub));
	derpserver_remove(&lab.srv, lab.now, &p[0].pub);
	pump(&lab, p, 1);
	assert_false(derpserver_has(&lab.srv, &p[0].pub));
	assert_int_equal(p[0].conn, 0);
	lab_time(&lab, p, 1, 30000);
	assert_int_equal(p[0].ups, 1);
	assert_in_range(p[0].opens, 5, 40); /* keeps trying, at most every 5 s or so in the end */
	lab_wipe(&lab, p, 1);
}

static void derp_keep_alives_hold_an_idle_home(void **state)
{
	static struct lab lab;
	static struct peer p[1];

	(void)state;
	lab_init(&lab, 8, true);
	peer_init(&p[0], &lab, "a");
	derpclient_set_home(&p[0].c, lab.now, 900);
	lab_time(&lab, p, 1, 3600 * 1000);
	assert_int_equal(p[0].ups, 1);
	assert_int_equal(p[0].downs, 0);
	assert_in_range(lab.srv.n.keep_alives, 58, 60);
	/* A server that says nothing for 120 s is left. */
	p[0].conn = 0x7fffffff;
	lab_time(&lab, p, 1, 50000);
	assert_int_equal(p[0].downs, 0);
	lab_time(&lab, p, 1, 75000);
	assert_int_equal(p[0].downs, 1);
	assert_int_equal(p[0].ups, 2);
	lab_wipe(&lab, p, 1);
}

static void derpclient_leaves_a_region_that_is_not_home(void **state)
{
	static const uint8_t data[] = "x";
	static struct lab lab;
	static struct peer p[1];
	struct node_key nobody = { { 9 } };

	(void)state;
	lab_init(&lab, 9, true);
	peer_init(&p[0], &lab, "a");
	assert_int_equal(derpclient_send(&p[0].c, lab.now, 901, &nobody, data, 1), -ENOENT);
	assert_int_equal(derpclient_send(&p[0].c, lab.now, 900, &nobody, data, 1), 0);
	lab_time(&lab, p, 1, 50000);
	assert_int_equal(derpclient_state(&p[0].c, 900), DERPCLIENT_UP);
	assert_int_equal(derpclient_send(&p[0].c, lab.now, 900, &nobody, data, 1), 0);
	lab_time(&lab, p, 1, 59000);
	assert_int_equal(derpclient_state(&p[0].c, 900), DERPCLIENT_UP);
	lab_time(&lab, p, 1, 2000);
	assert_int_equal(derpclient_state(&p[0].c, 900), DERPCLIENT_IDLE);
	assert_int_equal(derpserver_clients(&lab.srv), 0);
	lab_wipe(&lab, p, 1);
}

static void derp_tells_who_has_gone(void **state)
{
	static uint8_t disco[80] = { 0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac };
	static struct lab lab;
	static struct peer p[2];
	struct node_key nobody = { { 9 } };

	(void)state;
	lab_init(&lab, 10, true);
	peer_init(&p[0], &lab, "a");
	peer_init(&p[1], &lab, "b");
	derpclient_set_home(&p[0].c, lab.now, 900);
	derpclient_set_home(&p[1].c, lab.now, 900);
	pump(&lab, p, 2);
	/* Not here: for disco only, a burst of 3 and then one a second. */
	for (int i = 0; i < 10; i++) {
		assert_int_equal(derpclient_send(&p[0].c, lab.now, 900, &nobody, disco, sizeof(disco)), 0);
		assert_int_equal(derpclient_send(&p[0].c, lab.now, 900, &nobody, disco + 1, 70), 0);
	}
	pump(&lab, p, 2);
	assert_int_equal(p[0].gones, 3);
	assert_int_equal(p[0].last_reason, DERP_GONE_NOT_HERE);
	assert_int_equal(lab.srv.n.drop_unknown, 20);
	/* Disconnected: whoever got a packet from the peer is told. */
	assert_int_equal(derpclient_send(&p[1].c, lab.now, 900, &p[0].pub, disco, 1), 0);
	pump(&lab, p, 2);
	assert_int_equal(derpclient_route(&p[0].c, &p[1].pub, 0), 900);
	assert_int_equal(derpclient_send(&p[1].c, lab.now, 900, &p[0].pub, disco, 1), 0);
	pump(&lab, p, 2);
	assert_int_equal(p[0].rcvd, 2);
	assert_int_equal(p[0].news, 1);
	derpclient_set_key(&p[1].c, lab.now, NULL);
	pump(&lab, p, 2);
	assert_int_equal(p[0].gones, 4);
	assert_int_equal(p[0].last_reason, DERP_GONE_DISCONNECTED);
	assert_true(node_key_eq(&p[0].last_from, &p[1].pub));
	assert_int_equal(derpclient_route(&p[0].c, &p[1].pub, 0), 0);
	/* It comes back: its first packet is news. */
	derpclient_set_key(&p[1].c, lab.now, &p[1].priv);
	derpclient_set_home(&p[1].c, lab.now, 900);
	assert_int_equal(derpclient_send(&p[1].c, lab.now, 900, &p[0].pub, disco, 1), 0);
	pump(&lab, p, 2);
	assert_int_equal(p[0].rcvd, 3);
	assert_int_equal(p[0].news, 2);
	lab_wipe(&lab, p, 2);
}

static void derp_newest_connection_of_a_key_receives_then_the_last_sender(void **state)
{
	static struct lab lab;
	static struct peer p[3]; /* two connections of "a", one of "b" */

	(void)state;
	lab_init(&lab, 11, true);
	peer_init(&p[0], &lab, "a");
	derpclient_set_home(&p[0].c, lab.now, 900);
	peer_init(&p[1], &lab, "a");
	peer_init(&p[2], &lab, "b");
	pump(&lab, p, 1);
	derpclient_set_home(&p[1].c, lab.now, 900);
	pump(&lab, p, 2);
	assert_int_equal(derpserver_clients(&lab.srv), 1);
	assert_int_equal(derpclient_send(&p[2].c, lab.now, 900, &p[0].pub, (const uint8_t *)"1", 1), 0);
	pump(&lab, p, 3);
	assert_int_equal(p[0].rcvd, 0);
	assert_int_equal(p[1].rcvd, 1);
	derpclient_net_changed(&p[0].c, lab.now); /* pings: any frame makes it the active one */
	pump(&lab, p, 3);
	assert_int_equal(derpclient_send(&p[2].c, lab.now, 900, &p[0].pub, (const uint8_t *)"2", 1), 0);
	pump(&lab, p, 3);
	assert_int_equal(p[0].rcvd, 1);
	/* It ends: the other one receives, and nobody is told that the key has gone. */
	derpclient_set_key(&p[0].c, lab.now, NULL);
	pump(&lab, p, 3);
	assert_int_equal(derpclient_send(&p[2].c, lab.now, 900, &p[1].pub, (const uint8_t *)"3", 1), 0);
	pump(&lab, p, 3);
	assert_int_equal(p[1].rcvd, 2);
	assert_int_equal(p[2].gones, 0);
	lab_wipe(&lab, p, 3);
}

/* One member cannot take the places of all: its silent connections go, the one that works stays. */
static void derpserver_limits_the_connections_of_a_key(void **state)
{
	enum { N = DERPSERVER_CONNS_PER_KEY };
	static struct lab lab;
	static struct peer p[N + 1];

	(void)state;
	lab_init(&lab, 21, true);
	for (size_t i = 0; i < N; i++) {
		peer_init(&p[i], &lab, "a");
		derpclient_set_home(&p[i].c, lab.now, 900);
		pump(&lab, p, i + 1);
	}
	assert_int_equal(lab.srv.n.crowded, 0);
	derpclient_net_changed(&p[0].c, lab.now); /* pings: the oldest is the one that sent last */
	pump(&lab, p, N);
	peer_init(&p[N], &lab, "a");
	derpclient_set_home(&p[N].c, lab.now, 900);
	pump(&lab, p, N + 1);
	assert_int_equal(lab.srv.n.crowded, 1);
	for (size_t i = 0; i <= N; i++)
		assert_int_equal(p[i].downs, i == 1);
	assert_int_equal(lab.srv.conns.n, N);
	assert_int_equal(derpserver_clients(&lab.srv), 1);
	for (uint32_t i = 0; i <= N; i++)
		assert_int_equal(p[i].ups, 1);
	lab_wipe(&lab, p, N + 1);
}

/* One read from a sender, and one super-packet, are more packets than a queue holds: none of them is lost. */
static void derp_loses_nothing_of_a_burst(void **state)
{
	static uint8_t data[1344];
	static struct lab lab;
	static struct peer p[2];
	enum { BURST = 40 };

	(void)state;
	lab_init(&lab, 14, true);
	peer_init(&p[0], &lab, "a");
	peer_init(&p[1], &lab, "b");
	derpclient_set_home(&p[0].c, lab.now, 900);
	derpclient_set_home(&p[1].c, lab.now, 900);
	pump(&lab, p, 2);
	for (int round = 1; round <= 5; round++) {
		for (int i = 0; i < BURST; i++)
			assert_int_equal(derpclient_send(&p[0].c, lab.now, 900, &p[1].pub, data, sizeof(data)), 0);
		pump(&lab, p, 2);
		assert_int_equal(p[1].rcvd, round * BURST);
	}
	assert_int_equal(lab.srv.n.drop_queue, 0);
	lab_wipe(&lab, p, 2);
}

/* RELIABILITY 5, "DERP slow reader": bounded, oldest dropped, disco not behind data, cut after 2 s. */
static void derpserver_bounds_a_slow_reader(void **state)
{
	static uint8_t disco[80] = { 0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac }, data[1400];
	static struct lab lab;
	static struct peer p[2];
	uint8_t buf[4096];
	struct derp_hdr hdr;
	size_t n;

	(void)state;
	lab_init(&lab, 12, true);
	peer_init(&p[0], &lab, "a");
	peer_init(&p[1], &lab, "b");
	derpclient_set_home(&p[0].c, lab.now, 900);
	derpclient_set_home(&p[1].c, lab.now, 900);
	pump(&lab, p, 2);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(derpclient_send(&p[0].c, lab.now, 900, &p[1].pub, data, sizeof(data)), 0);
		assert_int_equal(derpclient_send(&p[0].c, lab.now, 900, &p[1].pub, disco, sizeof(disco)), 0);
		while ((void)server_outputs(&lab, NULL, 0), pump_one(&p[0]))
			;
	}
	assert_int_equal(lab.srv.n.in_pkts, 2000);
	/* Two full queues, and what was made ready to be written. */
	assert_in_range(2000 - lab.srv.n.drop_queue, 2 * 32, 2 * 32 + 2 * (DERP_SPILL / sizeof(data) + 8));
	/* The first packets out are disco, and the data is not shut out. */
	n = derpserver_take(&lab.srv, lab.now, p[1].conn, buf, 4096);
	assert_true(n > 0);
	assert_int_equal(derp_hdr_parse(&hdr, buf, n, DERP_FRAME_MAX), 0);
	assert_int_equal(hdr.type, DERP_RECV_PACKET);
	assert_int_equal(hdr.size, KEY_SIZE + sizeof(disco));
	for (size_t at = 0, i = 0; i < 9; i++, at += DERP_HEADER_SIZE + hdr.size)
		assert_int_equal(derp_hdr_parse(&hdr, buf + at, n - at, DERP_FRAME_MAX), 0);
	assert_int_equal(hdr.size, KEY_SIZE + sizeof(data));
	/* Nothing taken for 2 s: closed. */
	lab.now = mono_add_ms(lab.now, 1999);
	derpserver_tick(&lab.srv, lab.now);
	assert_int_equal(lab.srv.n.slow_closed, 0);
	lab.now = mono_add_ms(lab.now, 1);
	derpserver_tick(&lab.srv, lab.now);
	assert_int_equal(lab.srv.n.slow_closed, 1);
	lab_wipe(&lab, p, 2);
}

static void derpserver_limits_unfinished_logins(void **state)
{
	static struct lab lab;
	struct derpserver_out out;
	struct ep remote = { .ip = ip4(192, 0, 2, 9), .port = 1 };
	uint32_t conn = 1;
	int closed = 0;

	(void)state;
	lab_init(&lab, 13, true);
	for (int i = 0; i < DERPSERVER_LOGINS_PER_SOURCE; i++)
		assert_int_equal(derpserver_open(&lab.srv, lab.now, conn++, &remote, true), 0);
	assert_int_equal(derpserver_open(&lab.srv, lab.now, conn++, &remote, true), -ENOBUFS);
	for (uint32_t i = DERPSERVER_LOGINS_PER_SOURCE; i < DERPSERVER_LOGINS_MAX; i++) {
		remote.ip = ip4(198, 51, (uint8_t)(i >> 8), (uint8_t)i);
		assert_int_equal(derpserver_open(&lab.srv, lab.now, conn++, &remote, true), 0);
	}
	remote.ip = ip4(203, 0, 113, 1);
	assert_int_equal(derpserver_open(&lab.srv, lab.now, conn++, &remote, true), -ENOBUFS);
	/* Those that take the server key but say nothing are cut after 10 s. */
	for (uint32_t i = 1; i < conn; i++) {
		uint8_t buf[64];

		(void)derpserver_take(&lab.srv, lab.now, i, buf, sizeof(buf));
	}
	lab.now = mono_add_s(lab.now, DERPSERVER_LOGIN_S);
	derpserver_tick(&lab.srv, lab.now);
	while (derpserver_poll(&lab.srv, lab.now, &out))
		closed += out.kind == DERPSERVER_CLOSE;
	assert_int_equal(closed, DERPSERVER_LOGINS_MAX);
	assert_int_equal(lab.srv.n_logins, 0);
	assert_int_equal(derpserver_open(&lab.srv, lab.now, conn++, &remote, true), 0);
	lab_wipe(&lab, NULL, 0);
}

/* RELIABILITY 8, F8: a server that vanishes without a word is left within 6 s by whoever sends. */
static void derpclient_leaves_a_silent_server_within_6_s(void **state)
{
	static struct lab lab;
	static struct peer p[1];
	struct node_key nobody = { { 9 } };

	(void)state;
	lab_init(&lab, 14, true);
	peer_init(&p[0], &lab, "a");
	derpclient_set_home(&p[0].c, lab.now, 900);
	lab_time(&lab, p, 1, 10000);
	assert_int_equal(p[0].ups, 1);
	/* A server that answers pings is kept, however one-sided the traffic. */
	for (int i = 0; i < 300; i++) {
		assert_int_equal(derpclient_send(&p[0].c, lab.now, 900, &nobody, (const uint8_t *)"x", 1), 0);
		lab_time(&lab, p, 1, 100);
	}
	assert_int_equal(p[0].downs, 0);
	assert_in_range(lab.srv.n.pings, 8, 14);
	p[0].conn = 0x7fffffff; /* its bytes go nowhere */
	for (int i = 0; i < 59; i++) {
		assert_int_equal(derpclient_send(&p[0].c, lab.now, 900, &nobody, (const uint8_t *)"x", 1), 0);
		lab_time(&lab, p, 1, 100);
	}
	assert_int_equal(p[0].downs, 1);
	assert_int_equal(p[0].ups, 2);
	lab_wipe(&lab, p, 1);
}

static void derpclient_reconnects_at_once_when_its_address_is_gone(void **state)
{
	struct ip here = ip4(192, 0, 2, 50), there = ip4(192, 0, 2, 51);
	static struct lab lab;
	static struct peer p[1];

	(void)state;
	lab_init(&lab, 15, true);
	peer_init(&p[0], &lab, "a");
	lab.local = here;
	derpclient_set_home(&p[0].c, lab.now, 900);
	pump(&lab, p, 1);
	assert_int_equal(p[0].ups, 1);
	derpclient_set_addrs(&p[0].c, lab.now, (struct ip[]){ there, here }, 2);
	pump(&lab, p, 1);
	assert_int_equal(p[0].opens, 1);
	lab.local = there;
	derpclient_set_addrs(&p[0].c, lab.now, &there, 1);
	lab_time(&lab, p, 1, 1);
	assert_int_equal(p[0].opens, 2);
	assert_int_equal(p[0].ups, 2);
	lab_wipe(&lab, p, 1);
}

static void frameq_is_bounded_in_packets_and_bytes(void **state)
{
	static uint8_t big[DERP_PACKET_MAX];
	struct node_key key = { { 1 } };
	struct frameq q = { 0 };
	size_t caps = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		big[0] = (uint8_t)i;
		assert_int_equal(frameq_push(&q, MONO_ZERO, &key, big, sizeof(big)), 0);
		assert_true(q.bytes <= FRAMEQ_BYTES);
	}
	assert_int_equal(q.n, FRAMEQ_BYTES / DERP_PACKET_MAX);
	assert_int_equal(q.dropped, 100 - q.n);
	assert_int_equal(frameq_first(&q)->buf[0], 100 - q.n); /* the newest ones are there */
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(frameq_push(&q, MONO_ZERO, &key, big, 100), 0);
	assert_int_equal(q.n, FRAMEQ_PACKETS);
	/* What the large packets needed has been given back. */
	for (size_t i = 0; i < FRAMEQ_PACKETS; i++)
		caps += q.slots[i].cap;
	assert_true(caps <= FRAMEQ_PACKETS * 4096);
	frameq_clear(&q);
	frameq_trim(&q);
	assert_null(q.slots);
	frameq_wipe(&q);
}

static void derpserver_paces_a_client_over_its_rate(void **state)
{
	static uint8_t buf[65536];
	static struct lab lab;
	static struct peer p[1];
	struct derpserver_out out;
	uint64_t sent = 0;
	unsigned resumes = 0;

	(void)state;
	lab_init(&lab, 16, true);
	derpserver_wipe(&lab.srv);
	assert_int_equal(derpserver_init(&lab.srv, &(struct derpserver_cfg){ .admit_all = true,
									     .rate_bytes_per_s = 100000 },
					 &lab.srv_priv, &lab.env.env), 0);
	peer_init(&p[0], &lab, "a");
	derpclient_set_home(&p[0].c, lab.now, 900);
	pump(&lab, p, 1);
	assert_true(derpserver_may_read(&lab.srv, p[0].conn));
	/* Unknown frames of 1000 bytes for 20 s, whenever the server reads. */
	for (int ms = 0; ms < 20000; ms += 10) {
		lab.now = mono_add_ms(lab.now, 10);
		derpserver_tick(&lab.srv, lab.now);
		while (derpserver_poll(&lab.srv, lab.now, &out)) {
			assert_int_not_equal(out.kind, DERPSERVER_CLOSE);
			resumes += out.kind == DERPSERVER_RESUME;
		}
		for (int i = 0; i < 100 && derpserver_may_read(&lab.srv, p[0].conn); i++) {
			struct wr w = WR(buf, sizeof(buf));

			wr_u8(&w, 0x7f);
			wr_be32(&w, 995);
			wr_zero(&w, 995);
			derpserver_input(&lab.srv, lab.now, p[0].conn, buf, 1000);
			sent += 1000;
		}
	}
	assert_true(resumes > 0);
	/* 20 s at 100 kB/s, and the burst of one largest frame and a read at the beginning. */
	assert_in_range(sent, 1950000, 2000000 + 140000);
	lab_wipe(&lab, p, 1);
}

static void derpserver_judges_frames_as_upstream(void **state)
{
	static const struct {
		const char *name;
		bool stays;
	} rows[] = {
		{ "server_accepts_hello_only", true },
		{ "server_rejects_empty_mesh_key", false },
		{ "server_rejects_null_mesh_key", false },
		{ "server_accepts_wrong_mesh_key", true },
		{ "server_accepts_empty_object", true },
		{ "server_accepts_lowercase_fields", true },
		{ "server_rejects_bad_box", false },
		{ "server_rejects_first_frame_not_client_info", false },
		{ "server_rejects_watch_without_mesh", false },
		{ "server_rejects_note_preferred_len2", false },
		{ "server_rejects_short_send", false },
		{ "server_rejects_short_ping", false },
		{ "server_skips_unknown", true },
		{ "server_rejects_oversize_send", false },
	};
	struct ep remote = { .ip = ip4(192, 0, 2, 9), .port = 1 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		static struct lab lab;
		struct derpserver_out out;
		bool closed = false;
		size_t size;
		uint8_t *p = test_unhex_dup(test_str(vector(rows[i].name), "hex"), &size);

		lab_init(&lab, 20 + i, true);
		assert_int_equal(derpserver_open(&lab.srv, lab.now, 1, &remote, true), 0);
		derpserver_input(&lab.srv, lab.now, 1, p, size);
		while (derpserver_poll(&lab.srv, lab.now, &out))
			closed |= out.kind == DERPSERVER_CLOSE;
		assert_int_equal(closed, !rows[i].stays);
		free(p);
		lab_wipe(&lab, NULL, 0);
	}
}

static void derpserver_answers_http_as_upstream(void **state)
{
	static const struct {
		const char *name;
		struct derpserver_http req;
	} rows[] = {
		{ "http_no_upgrade", { "GET", "/derp", "", "", "", false } },
		{ "endpoint_probe_get", { "GET", "/derp/probe", "", "", "", false } },
		{ "endpoint_probe_post", { "POST", "/derp/probe", "", "", "", false } },
		{ "endpoint_generate_204_challenge", { "GET", "/generate_204", "", "", "ts_192.0.2.1", false } },
		{ "endpoint_generate_204_bad_challenge", { "GET", "/generate_204", "", "", "bad/char", false } },
	};
	static const char *const same[] = { "HTTP/1.1 ", "Content-Length: ", "Access-Control-Allow-Origin: ",
					    "X-Tailscale-Response: ", "Cache-Control: " };
	char text[512], line[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *want = test_str(vector(rows[i].name), "response_text");

		assert_int_equal(derpserver_http(&rows[i].req, text, sizeof(text)), DERPSERVER_ANSWER);
		for (size_t k = 0; k < ARRAY_LEN(same); k++) {
			const char *at = strstr(want, same[k]), *end = at ? strstr(at, "\r\n") : NULL;

			if (!at) {
				assert_null(strstr(text, same[k]));
				continue;
			}
			(void)snprintf(line, sizeof(line), "%.*s\r\n", (int)(end - at), at);
			assert_non_null(strstr(text, line));
		}
		assert_string_equal(strstr(text, "\r\n\r\n"), strstr(want, "\r\n\r\n"));
	}
	assert_int_equal(derpserver_http(&(struct derpserver_http){ "POST", "/derp", "derp", "", "", false }, text, 512),
			 DERPSERVER_UPGRADE);
	assert_int_equal(derpserver_http(&(struct derpserver_http){ "GET", "/key", "", "", "", false }, text, 512),
			 DERPSERVER_NOT_OURS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(derp_writes_upstream_frames),
		cmocka_unit_test(derp_client_info_is_judged_as_upstream),
		cmocka_unit_test(derp_server_info_limits_are_read),
		cmocka_unit_test(derp_client_and_server_talk_with_streams_cut_anywhere),
		cmocka_unit_test(derpserver_removing_a_key_disconnects_it_at_once),
		cmocka_unit_test(derp_keep_alives_hold_an_idle_home),
		cmocka_unit_test(derpclient_leaves_a_region_that_is_not_home),
		cmocka_unit_test(derp_tells_who_has_gone),
		cmocka_unit_test(derp_newest_connection_of_a_key_receives_then_the_last_sender),
		cmocka_unit_test(derp_loses_nothing_of_a_burst),
		cmocka_unit_test(derpserver_bounds_a_slow_reader),
		cmocka_unit_test(derpserver_limits_the_connections_of_a_key),
		cmocka_unit_test(derpserver_limits_unfinished_logins),
		cmocka_unit_test(derpclient_leaves_a_silent_server_within_6_s),
		cmocka_unit_test(derpclient_reconnects_at_once_when_its_address_is_gone),
		cmocka_unit_test(frameq_is_bounded_in_packets_and_bytes),
		cmocka_unit_test(derpserver_paces_a_client_over_its_rate),
		cmocka_unit_test(derpserver_judges_frames_as_upstream),
		cmocka_unit_test(derpserver_answers_http_as_upstream),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
