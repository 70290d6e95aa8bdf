/* SPDX-License-Identifier: MIT */
/* control/h2: client against server in memory, in pieces of every size; flow control; floods. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "control/h2.h"

struct pair {
	struct h2 *c, *s;
	struct mono now;
	size_t step; /* bytes per h2_input() */
	int c_err, s_err;
};

static void pair_init(struct pair *p, size_t step)
{
	*p = (struct pair){ .c = h2_client_new("control.example.net"), .s = h2_server_new(), .step = step };
	assert_non_null(p->c);
	assert_non_null(p->s);
}

static void pair_free(struct pair *p)
{
	h2_free(p->c);
	h2_free(p->s);
}

static bool carry(struct pair *p, struct h2 *from, struct h2 *to, int *err)
{
	struct bytes b = { 0 };
	bool any;

	assert_int_equal(h2_output(from, &b, 1 << 16), 0);
	any = bytes_size(&b) > 0;
	while (bytes_size(&b) > 0) {
		const size_t n = bytes_size(&b) < p->step ? bytes_size(&b) : p->step;

		if (!*err)
			*err = h2_input(to, p->now, bytes_data(&b), n);
		bytes_consume(&b, n);
	}
	bytes_wipe(&b);
	return any;
}

static void run(struct pair *p)
{
	for (;;) {
		const bool a = carry(p, p->c, p->s, &p->s_err), b = carry(p, p->s, p->c, &p->c_err);

		if (!a && !b)
			return;
	}
}

static void expect(struct h2 *h, struct h2_event *ev, enum h2_event_kind kind, int32_t stream)
{
	assert_true(h2_poll(h, ev));
	assert_int_equal(ev->kind, kind);
	assert_int_equal(ev->stream, stream);
}

static void h2_exchange_in_pieces_of_any_size(void **state)
{
	(void)state;
	for (size_t step = 1; step < 40; step++) {
		static const struct h2_header hdr = { "ts-lb", "nodekey:00" };
		struct h2_event ev;
		struct pair p;
		int32_t id;

		pair_init(&p, step);
		id = h2_request(p.c, "POST", "/machine/register", &hdr, 1, "{\"a\":1}", 7);
		assert_true(id > 0);
		run(&p);
		expect(p.s, &ev, H2_EV_REQUEST, id);
		assert_string_equal(ev.method, "POST");
		assert_string_equal(ev.path, "/machine/register");
		assert_int_equal(ev.size, 7);
		assert_memory_equal(ev.data, "{\"a\":1}", 7);
		assert_false(h2_poll(p.s, &ev));
		assert_int_equal(h2_respond(p.s, id, 200, "application/json", "{}", 2, true), 0);
		assert_int_equal(h2_respond(p.s, id, 200, NULL, "{}", 2, true), -EPROTO);
		run(&p);
		expect(p.c, &ev, H2_EV_RESPONSE, id);
		assert_int_equal(ev.status, 200);
		assert_int_equal(ev.retry_after_s, -1);
		expect(p.c, &ev, H2_EV_DATA, id);
		assert_int_equal(ev.size, 2);
		expect(p.c, &ev, H2_EV_END, id);
		assert_false(h2_poll(p.c, &ev));
		assert_false(h2_poll(p.s, &ev));
		assert_int_equal(h2_streams(p.c), 0);
		assert_int_equal(h2_streams(p.s), 0);
		assert_int_equal(p.c_err | p.s_err, 0);
		pair_free(&p);
	}
}

static void h2_streams_run_side_by_side(void **state)
{
	struct h2_event ev;
	struct pair p;
	int32_t map, lite, ping;

	(void)state;
	pair_init(&p, 100);
	map = h2_request(p.c, "POST", "/machine/map", NULL, 0, "{}", 2);
	lite = h2_request(p.c, "POST", "/machine/map", NULL, 0, "[]", 2);
	ping = h2_request(p.c, "HEAD", "/ping", NULL, 0, NULL, 0);
	run(&p);
	expect(p.s, &ev, H2_EV_REQUEST, ping); /* has no body, so it is complete first */
	assert_string_equal(ev.method, "HEAD");
	expect(p.s, &ev, H2_EV_REQUEST, map);
	expect(p.s, &ev, H2_EV_REQUEST, lite);
	assert_int_equal(h2_respond(p.s, map, 200, NULL, NULL, 0, false), 0);
	assert_int_equal(h2_respond(p.s, ping, 200, NULL, "none for HEAD", 13, true), 0);
	run(&p);
	expect(p.c, &ev, H2_EV_RESPONSE, map);
	expect(p.c, &ev, H2_EV_RESPONSE, ping);
	expect(p.c, &ev, H2_EV_END, ping);
	assert_false(h2_poll(p.c, &ev));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(h2_send(p.s, map, "chunk", 5, false), 0);
		assert_int_equal(h2_pending(p.s, map), 5);
		run(&p);
		assert_int_equal(h2_pending(p.s, map), 0);
		expect(p.c, &ev, H2_EV_DATA, map);
		assert_memory_equal(ev.data, "chunk", 5);
	}
	assert_int_equal(h2_respond(p.s, lite, 429, NULL, NULL, 0, true), 0);
	assert_int_equal(h2_send(p.s, map, NULL, 0, true), 0);
	run(&p);
	expect(p.c, &ev, H2_EV_RESPONSE, lite);
	assert_int_equal(ev.status, 429);
	expect(p.c, &ev, H2_EV_END, lite);
	expect(p.c, &ev, H2_EV_END, map);
	assert_int_equal(h2_send(p.s, map, "x", 1, false), -ENOENT);
	pair_free(&p);
}

static void h2_flow_control_lets_large_streams_through(void **state)
{
	enum { CHUNK = 1 << 20, CHUNKS = 24 };
	uint8_t *data = malloc(CHUNK);
	struct h2_event ev;
	struct pair p;
	size_t got = 0;
	int32_t id;

	(void)state;
	memset(data, 'x', CHUNK);
	pair_init(&p, 16 << 10);
	id = h2_request(p.c, "POST", "/machine/map", NULL, 0, data, CHUNK); /* as large as a body may be */
	run(&p);
	expect(p.s, &ev, H2_EV_REQUEST, id);
	assert_int_equal(ev.size, CHUNK);
	assert_int_equal(h2_respond(p.s, id, 200, NULL, NULL, 0, false), 0);
	for (int i = 0; i < CHUNKS; i++) {
		assert_int_equal(h2_send(p.s, id, data, CHUNK, i == CHUNKS - 1), 0);
		run(&p);
		while (h2_poll(p.c, &ev))
			got += ev.kind == H2_EV_DATA ? ev.size : 0;
		run(&p);
	}
	for (int i = 0; i < 10; i++) {
		while (h2_poll(p.c, &ev))
			got += ev.kind == H2_EV_DATA ? ev.size : 0;
		run(&p);
	}
	assert_int_equal(got, (size_t)CHUNK * CHUNKS);
	pair_free(&p);
	free(data);
}

/* A reader that takes nothing stops the sender after a window, and the sender's queue is bounded. */
static void h2_slow_reader_costs_bounded_memory(void **state)
{
	uint8_t data[64 << 10] = { 0 };
	size_t sent = 0;
	struct h2_event ev;
	struct pair p;
	int32_t id;
	int err = 0;

	(void)state;
	pair_init(&p, 16 << 10);
	id = h2_request(p.c, "POST", "/machine/map", NULL, 0, "{}", 2);
	run(&p);
	expect(p.s, &ev, H2_EV_REQUEST, id);
	assert_int_equal(h2_respond(p.s, id, 200, NULL, NULL, 0, false), 0);
	while (!err && sent < (64u << 20)) {
		err = h2_send(p.s, id, data, sizeof(data), false);
		sent += sizeof(data);
		run(&p);
	}
	assert_int_equal(err, -ENOBUFS);
	assert_true(sent < 2u * H2_MEMORY_MAX);
	pair_free(&p);
}

static void h2_bodies_are_bounded(void **state)
{
	uint8_t *data = calloc(1, H2_BODY_MAX + 1);
	struct h2_event ev;
	struct pair p;
	int32_t id;

	(void)state;
	pair_init(&p, 16 << 10);
	id = h2_request(p.c, "POST", "/machine/map", NULL, 0, data, H2_BODY_MAX + 1);
	assert_true(id > 0);
	run(&p);
	assert_false(h2_poll(p.s, &ev));
	expect(p.c, &ev, H2_EV_CLOSED, id);
	assert_int_equal(ev.code, H2_ENHANCE_YOUR_CALM);
	pair_free(&p);
	free(data);
}

static void h2_resets_reach_the_other_side(void **state)
{
	struct h2_event ev;
	struct pair p;
	int32_t a, b;

	(void)state;
	pair_init(&p, 100);
	a = h2_request(p.c, "POST", "/a", NULL, 0, "{}", 2);
	b = h2_request(p.c, "POST", "/b", NULL, 0, "{}", 2);
	run(&p);
	expect(p.s, &ev, H2_EV_REQUEST, a);
	expect(p.s, &ev, H2_EV_REQUEST, b);
	h2_reset(p.c, a, H2_CANCEL);
	h2_reset(p.s, b, H2_INTERNAL_ERROR);
	run(&p);
	expect(p.s, &ev, H2_EV_CLOSED, a);
	assert_int_equal(ev.code, H2_CANCEL);
	assert_int_equal(h2_respond(p.s, a, 200, NULL, NULL, 0, true), -ENOENT);
	expect(p.c, &ev, H2_EV_CLOSED, b);
	assert_int_equal(ev.code, H2_INTERNAL_ERROR);
	assert_false(h2_poll(p.c, &ev));
	assert_false(h2_poll(p.s, &ev));
	h2_reset(p.c, 99, H2_CANCEL);
	pair_free(&p);
}

static void h2_goaway_stops_new_requests(void **state)
{
	struct h2_event ev;
	struct pair p;
	int32_t id;

	(void)state;
	pair_init(&p, 100);
	id = h2_request(p.c, "POST", "/a", NULL, 0, "{}", 2);
	run(&p);
	expect(p.s, &ev, H2_EV_REQUEST, id);
	h2_goaway(p.s, H2_NO_ERROR);
	run(&p);
	expect(p.c, &ev, H2_EV_GOAWAY, 0);
	assert_int_equal(h2_request(p.c, "POST", "/b", NULL, 0, "{}", 2), -ENOBUFS);
	assert_int_equal(h2_respond(p.s, id, 200, NULL, "ok", 2, true), 0);
	run(&p);
	expect(p.c, &ev, H2_EV_RESPONSE, id);
	pair_free(&p);
}

static void h2_long_paths_are_answered_414(void **state)
{
	char path[H2_PATH_MAX + 2];
	struct h2_event ev;
	struct pair p;
	int32_t id;

	(void)state;
	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = 0;
	pair_init(&p, 1000);
	id = h2_request(p.c, "GET", path, NULL, 0, NULL, 0);
	run(&p);
	assert_false(h2_poll(p.s, &ev));
	expect(p.c, &ev, H2_EV_RESPONSE, id);
	assert_int_equal(ev.status, 414);
	pair_free(&p);
}

static void h2_too_many_headers_are_refused(void **state)
{
	char *big = malloc(9000);
	const struct h2_header hdrs[] = { { "a", big }, { "b", big } };
	struct h2_event ev;
	struct pair p;
	int32_t id;

	(void)state;
	memset(big, 'x', 8999);
	big[8999] = 0;
	pair_init(&p, 16 << 10);
	id = h2_request(p.c, "GET", "/", hdrs, 2, NULL, 0);
	assert_true(id > 0);
	run(&p);
	assert_false(h2_poll(p.s, &ev));
	expect(p.c, &ev, H2_EV_CLOSED, id);
	pair_free(&p);
	free(big);
}

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/* A server that got the preface and SETTINGS, then 'frame' again and again: after how many does it refuse? */
static unsigned flood(const uint8_t *frame, size_t size, unsigned most)
{
	static const uint8_t settings[9] = { 0, 0, 0, 4 };
	struct h2 *s = h2_server_new();
	unsigned n = 0;

	assert_int_equal(h2_input(s, MONO_ZERO, (const uint8_t *)preface, 24), 0);
	assert_int_equal(h2_input(s, MONO_ZERO, settings, 9), 0);
	while (n < most && h2_input(s, MONO_ZERO, frame, size) == 0) {
		struct bytes out = { 0 };

		assert_int_equal(h2_output(s, &out, 1 << 16), 0);
		bytes_wipe(&out);
		n++;
	}
	h2_free(s);
	return n;
}

static void h2_floods_are_cut(void **state)
{
	static const uint8_t ping[17] = { 0, 0, 8, 6 }, settings[9] = { 0, 0, 0, 4 };

	(void)state;
	assert_true(flood(ping, 17, 10000) <= H2_RESETS_MAX);
	assert_true(flood(settings, 9, 10000) <= H2_RESETS_MAX);
}

static void h2_rapid_reset_is_cut(void **state)
{
	struct pair p;
	unsigned n = 0;

	(void)state;
	pair_init(&p, 1 << 16);
	run(&p);
	for (; n < 1000 && !p.s_err; n++) {
		const int32_t id = h2_request(p.c, "GET", "/", NULL, 0, NULL, 0);
		struct h2_event ev;

		if (id < 0)
			break;
		run(&p);
		while (h2_poll(p.s, &ev))
			;
		h2_reset(p.c, id, H2_CANCEL);
		run(&p);
	}
	assert_int_equal(p.s_err, -EBADMSG);
	assert_in_range(n, H2_RESETS_MAX - 1, H2_RESETS_MAX + 2);
	pair_free(&p);
}

static void h2_continuation_flood_is_cut(void **state)
{
	/* HEADERS without END_HEADERS on stream 1 (":method: GET"), then CONTINUATION for ever. */
	static const uint8_t headers[10] = { 0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82 }, more[10] = { 0, 0, 1, 9, 0, 0, 0, 0, 1, 0x84 };
	static const uint8_t settings[9] = { 0, 0, 0, 4 };
	struct h2 *s = h2_server_new();
	unsigned n = 0;

	(void)state;
	assert_int_equal(h2_input(s, MONO_ZERO, (const uint8_t *)preface, 24), 0);
	assert_int_equal(h2_input(s, MONO_ZERO, settings, 9), 0);
	assert_int_equal(h2_input(s, MONO_ZERO, headers, sizeof(headers)), 0);
	while (n < 1000 && h2_input(s, MONO_ZERO, more, sizeof(more)) == 0)
		n++;
	assert_true(n <= H2_CONTINUATION_MAX);
	h2_free(s);
}

static void h2_garbage_is_refused(void **state)
{
	struct h2 *s = h2_server_new(), *c = h2_client_new("a");
	struct bytes out = { 0 };
	int err;

	(void)state;
	assert_int_equal(h2_input(s, MONO_ZERO, (const uint8_t *)"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27), -EBADMSG);
	/* Known at the latest when the GOAWAY is out. */
	err = h2_input(c, MONO_ZERO, (const uint8_t *)"HTTP/1.1 400 Bad Request\r\n\r\n", 28);
	assert_int_equal(h2_output(c, &out, 1 << 16), 0);
	assert_true(h2_failed(c) && (err == 0 || err == -EBADMSG));
	bytes_wipe(&out);
	assert_int_equal(h2_input(c, MONO_ZERO, (const uint8_t *)"x", 1), -EBADMSG);
	h2_free(s);
	h2_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(h2_exchange_in_pieces_of_any_size),
		cmocka_unit_test(h2_streams_run_side_by_side),
		cmocka_unit_test(h2_flow_control_lets_large_streams_through),
		cmocka_unit_test(h2_slow_reader_costs_bounded_memory),
		cmocka_unit_test(h2_bodies_are_bounded),
		cmocka_unit_test(h2_resets_reach_the_other_side),
		cmocka_unit_test(h2_goaway_stops_new_requests),
		cmocka_unit_test(h2_long_paths_are_answered_414),
		cmocka_unit_test(h2_too_many_headers_are_refused),
		cmocka_unit_test(h2_floods_are_cut),
		cmocka_unit_test(h2_rapid_reset_is_cut),
		cmocka_unit_test(h2_continuation_flood_is_cut),
		cmocka_unit_test(h2_garbage_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
