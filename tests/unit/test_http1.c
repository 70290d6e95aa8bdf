/* SPDX-License-Identifier: MIT */
/* wire/http1: whole exchanges cut at every byte position, upgrades with bytes behind them, bounds. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "wire/http1.h"

/* Feeds 'text' in two pieces and notes what happened as one line. */
struct trace {
	char text[4096];
	size_t n;
	int err;
};

static void note(struct trace *t, const char *before, const char *a, size_t a_len, const char *after)
{
	const size_t left = sizeof(t->text) - t->n;
	const int n = snprintf(t->text + t->n, left, "%s%.*s%s", before, (int)a_len, a, after);

	assert_true(n >= 0 && (size_t)n < left);
	t->n += (size_t)n;
}

/* Consecutive body pieces count as one: where they are cut means nothing. */
static void note_body(struct trace *t, const struct http1 *h)
{
	if (t->n == 0 || t->text[t->n - 1] != ']')
		note(t, "[", (const char *)h->body, h->body_size, "]");
	else {
		t->text[--t->n] = 0;
		note(t, "", (const char *)h->body, h->body_size, "]");
	}
}

static void feed(struct http1 *h, struct trace *t, const char *text, size_t size)
{
	uint8_t *copy = malloc(size + 1), *p = copy;

	memcpy(copy, text, size);
	while (size > 0 && !t->err) {
		enum http1_event ev;
		size_t used;

		t->err = http1_input(h, p, size, &used, &ev);
		if (t->err)
			break;
		assert_true(used <= size);
		p += used;
		size -= used;
		switch (ev) {
		case HTTP1_MORE:
			assert_int_equal(size, 0);
			break;
		case HTTP1_HEAD:
			if (h->status)
				t->n += (size_t)snprintf(t->text + t->n, 16, "%u", h->status);
			else
				note(t, "", h->method, strlen(h->method), "");
			note(t, " ", h->target, strlen(h->target), " ");
			break;
		case HTTP1_BODY:
			note_body(t, h);
			break;
		case HTTP1_END:
			note(t, "", "", 0, ";");
			break;
		case HTTP1_UPGRADE:
			note(t, "UP<", (const char *)p, size, ">");
			size = 0;
			break;
		}
	}
	free(copy);
}

static void run_cut(enum http1_role role, const char *text, const char *want)
{
	const size_t size = strlen(text);
	static struct http1 h;

	for (size_t cut = 0; cut <= size; cut++) {
		struct trace t = { 0 };

		http1_init(&h, role, 1 << 16);
		feed(&h, &t, text, cut);
		if (!strstr(t.text, "UP<"))
			feed(&h, &t, text + cut, size - cut);
		else
			note(&t, "+", text + cut, size - cut, "");
		if (t.err || (strcmp(t.text, want) != 0 && !strstr(want, "UP<")))
			fail_msg("cut at %zu: '%s', error %d (%s)", cut, t.text, t.err, http1_reason(&h));
		if (strstr(want, "UP<")) {
			char flat[4096], *q = flat; /* without the marks of where it was cut */

			for (const char *s = t.text; *s; s++)
				if (*s != '+' && *s != '>' && *s != '<')
					*q++ = *s;
			*q = 0;
			if (strcmp(flat, "POST /x UPbytes behind") != 0 && strcmp(flat, "101  UPbytes behind") != 0)
				fail_msg("cut at %zu: '%s'", cut, t.text);
		}
	}
}

static void http1_requests_at_every_cut(void **state)
{
	(void)state;
	run_cut(HTTP1_REQUESTS, "GET /key?v=131 HTTP/1.1\r\nHost: a\r\nEmpty:\r\n\r\n", "GET /key?v=131 ;");
	run_cut(HTTP1_REQUESTS,
		"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloPUT /b HTTP/1.1\r\nHost: a\r\n"
		"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nHEAD / HTTP/1.0\r\n\r\n",
		"POST /a [hello];PUT /b [abcde];HEAD / ;");
}

static void http1_responses_at_every_cut(void **state)
{
	(void)state;
	run_cut(HTTP1_RESPONSES,
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 204 No\r\n\r\n"
		"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
		"200  [ok];204  ;404  [x];");
}

static void http1_upgrade_keeps_what_follows(void **state)
{
	(void)state;
	run_cut(HTTP1_REQUESTS,
		"POST /x HTTP/1.1\r\nHost: a\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n"
		"Content-Length: 0\r\n\r\nbytes behind",
		"UP<");
	run_cut(HTTP1_RESPONSES,
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n"
		"\r\nbytes behind",
		"UP<");
}

static void http1_takes_no_input_after_upgrade(void **state)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n";
	static struct http1 h;
	struct trace t = { 0 };
	enum http1_event ev;
	size_t used;

	(void)state;
	http1_init(&h, HTTP1_REQUESTS, 0);
	feed(&h, &t, text, strlen(text));
	assert_string_equal(t.text, "GET / UP<>");
	assert_string_equal(http1_get(&h, "UPGRADE"), "DERP");
	assert_int_equal(http1_input(&h, (const uint8_t *)"x", 1, &used, &ev), -EPROTO);
}

static void http1_refuses(void **state)
{
	static const struct {
		enum http1_role role;
		int err;
		const char *text;
	} row[] = {
		{ HTTP1_REQUESTS, -EBADMSG, "\x16\x03\x01" },
		{ HTTP1_REQUESTS, -EBADMSG, "garbage\r\n\r\n" },
		{ HTTP1_REQUESTS, -EBADMSG, "GET / HTTP/2.0\r\n\r\n" },
		{ HTTP1_REQUESTS, -EBADMSG, "GET / HTTP/1.2\r\n\r\n" },
		{ HTTP1_REQUESTS, -EBADMSG, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n" },
		{ HTTP1_REQUESTS, -EBADMSG, "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n" },
		{ HTTP1_REQUESTS, -EBADMSG, "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n" },
		{ HTTP1_REQUESTS, -EBADMSG, "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" },
		{ HTTP1_REQUESTS, -EBADMSG, "GET / HTTP/1.1\r\nNo colon\r\n\r\n" },
		{ HTTP1_REQUESTS, -EBADMSG, "GET / HTTP/1.1\r\nA\x01: b\r\n\r\n" },
		{ HTTP1_REQUESTS, -EBADMSG, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" },
		{ HTTP1_REQUESTS, -ENOBUFS, "POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n" },
		{ HTTP1_REQUESTS, -ENOBUFS, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n"
					    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
					    "aaaaaaaaaaaaaaaaaaaaa\r\n" },
		{ HTTP1_RESPONSES, -EBADMSG, "SSH-2.0-OpenSSH_9.2\r\n" },
		{ HTTP1_RESPONSES, -EBADMSG, "HTTP/1.1 abc\r\n\r\n" },
		{ HTTP1_RESPONSES, -EBADMSG, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n" },
	};
	static struct http1 h;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct trace t = { 0 };

		http1_init(&h, row[i].role, 100);
		feed(&h, &t, row[i].text, strlen(row[i].text));
		if (t.err != row[i].err)
			fail_msg("row %zu: error %d (%s), '%s'", i, t.err, http1_reason(&h), t.text);
	}
}

static void http1_bounds_the_head(void **state)
{
	static struct http1 h;
	struct trace t = { 0 };
	char *text = malloc(HTTP1_HEAD_MAX + 100);
	size_t n;

	(void)state;
	n = (size_t)snprintf(text, 64, "GET / HTTP/1.1\r\nA: ");
	memset(text + n, 'x', HTTP1_HEAD_MAX);
	http1_init(&h, HTTP1_REQUESTS, 0);
	feed(&h, &t, text, n + HTTP1_HEAD_MAX);
	assert_int_equal(t.err, -ENOBUFS);

	n = (size_t)snprintf(text, 64, "GET / HTTP/1.1\r\n");
	for (int i = 0; i <= HTTP1_HEADERS_MAX; i++)
		n += (size_t)snprintf(text + n, 16, "A: b\r\n");
	t = (struct trace){ 0 };
	http1_init(&h, HTTP1_REQUESTS, 0);
	feed(&h, &t, text, n);
	assert_int_equal(t.err, -ENOBUFS);
	free(text);
}

static void http1_head_response_has_no_body(void **state)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n";
	static struct http1 h;
	struct trace t = { 0 };

	(void)state;
	http1_init(&h, HTTP1_RESPONSES, 10);
	http1_expect_head(&h);
	feed(&h, &t, text, strlen(text));
	assert_int_equal(t.err, 0);
	assert_string_equal(t.text, "200  ;");
}

static void http1_eof_ends_a_body_without_length(void **state)
{
	static const char text[] = "HTTP/1.0 200 OK\r\n\r\nbody", cut[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbo";
	static struct http1 h;
	struct trace t = { 0 };
	enum http1_event ev;

	(void)state;
	http1_init(&h, HTTP1_RESPONSES, 100);
	assert_int_equal(http1_eof(&h, &ev), 0);
	assert_int_equal(ev, HTTP1_MORE);
	feed(&h, &t, text, strlen(text));
	assert_string_equal(t.text, "200  [body]");
	assert_int_equal(http1_eof(&h, &ev), 0);
	assert_int_equal(ev, HTTP1_END);

	t = (struct trace){ 0 };
	http1_init(&h, HTTP1_RESPONSES, 100);
	feed(&h, &t, cut, strlen(cut));
	assert_int_equal(http1_eof(&h, &ev), -EBADMSG);
}

static void http1_queries(void **state)
{
	static const char text[] = "GET /ts2021/x?v=131&name=a%2Fb+c&flag&bad=%2 HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\n\r\n";
	static struct http1 h;
	struct trace t = { 0 };
	char buf[16];

	(void)state;
	http1_init(&h, HTTP1_REQUESTS, 0);
	feed(&h, &t, text, strlen(text));
	assert_true(http1_path(&h, buf, sizeof(buf)));
	assert_string_equal(buf, "/ts2021/x");
	assert_false(http1_path(&h, buf, 5));
	assert_true(http1_query(&h, "v", buf, sizeof(buf)));
	assert_string_equal(buf, "131");
	assert_true(http1_query(&h, "name", buf, sizeof(buf)));
	assert_string_equal(buf, "a/b c");
	assert_true(http1_query(&h, "flag", buf, sizeof(buf)));
	assert_string_equal(buf, "");
	assert_false(http1_query(&h, "bad", buf, sizeof(buf)));
	assert_false(http1_query(&h, "none", buf, sizeof(buf)));
	assert_true(http1_has_token(&h, "connection", "upgrade"));
	assert_false(http1_has_token(&h, "connection", "keep"));
}

static void http1_writers_are_read_back(void **state)
{
	static struct http1 h;
	struct trace t = { 0 };
	uint8_t buf[512];
	struct wr w = WR(buf, sizeof(buf));

	(void)state;
	http1_write_answer(&w, 404, "text/plain", "gone", 4, false);
	http1_write_status(&w, 200);
	http1_write_header(&w, "Transfer-Encoding", "chunked");
	http1_write_end(&w);
	http1_write_chunk(&w, 3);
	wr_bytes(&w, "abc", 3);
	http1_write_chunk_end(&w);
	http1_write_last_chunk(&w);
	assert_false(w.bad);
	http1_init(&h, HTTP1_RESPONSES, 100);
	feed(&h, &t, (const char *)buf, wr_used(&w, sizeof(buf)));
	assert_string_equal(t.text, "404  [gone];200  [abc];");

	w = (struct wr)WR(buf, sizeof(buf));
	http1_write_request(&w, "GET", "/a?b", "host:1");
	http1_write_header_u64(&w, "N", 18446744073709551615u);
	http1_write_end(&w);
	t = (struct trace){ 0 };
	http1_init(&h, HTTP1_REQUESTS, 100);
	feed(&h, &t, (const char *)buf, wr_used(&w, sizeof(buf)));
	assert_string_equal(t.text, "GET /a?b ;");
	assert_string_equal(http1_get(&h, "n"), "18446744073709551615");
}

static void http1_writers_refuse_injection(void **state)
{
	uint8_t buf[512];
	struct wr w = WR(buf, sizeof(buf));

	(void)state;
	http1_write_header(&w, "A", "b\r\nC: d");
	assert_true(w.bad);
	w = (struct wr)WR(buf, sizeof(buf));
	http1_write_request(&w, "GET", "/ HTTP/1.1\r\nX: y\r\n\r\n", "h");
	assert_true(w.bad);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(http1_requests_at_every_cut),
		cmocka_unit_test(http1_responses_at_every_cut),
		cmocka_unit_test(http1_upgrade_keeps_what_follows),
		cmocka_unit_test(http1_takes_no_input_after_upgrade),
		cmocka_unit_test(http1_refuses),
		cmocka_unit_test(http1_bounds_the_head),
		cmocka_unit_test(http1_head_response_has_no_body),
		cmocka_unit_test(http1_eof_ends_a_body_without_length),
		cmocka_unit_test(http1_queries),
		cmocka_unit_test(http1_writers_are_read_back),
		cmocka_unit_test(http1_writers_refuse_injection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
