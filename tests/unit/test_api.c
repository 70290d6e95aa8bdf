/* SPDX-License-Identifier: MIT */
/* The local API over socket pairs: rights, limits, requests in flight, edits in turn, the bus. */
#include "config.h"

#include "tests/unit/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/apifake.h"
#include "wire/http1.h"

enum { STRANGER = 12345, ANSWER_MAX = 1 << 20 };

static char *read_all(int fd, char *buf)
{
	size_t used = 0;
	ssize_t n;

	while (used < ANSWER_MAX - 1 && (n = recv(fd, buf + used, ANSWER_MAX - 1 - used, MSG_DONTWAIT)) > 0)
		used += (size_t)n;
	buf[used] = 0;
	return buf;
}

static void send_text(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* One request on a connection; the whole answer, borrowed until the next call. */
static char *exchange(struct apifake *f, int fd, const char *method, const char *path, const char *body)
{
	static char buf[ANSWER_MAX];
	char head[1024];

	(void)snprintf(head, sizeof(head),
		       "%s /localapi/v0/%s HTTP/1.1\r\nHost: local-tailscaled.sock\r\nContent-Length: %zu\r\n\r\n",
		       method, path, strlen(body));
	send_text(fd, head);
	send_text(fd, body);
	apifake_run(f);
	return read_all(fd, buf);
}

static int status_of(const char *answer)
{
	return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? (int)strtol(answer + 9, NULL, 10) : -1;
}

static const char *body_of(const char *answer)
{
	const char *p = strstr(answer, "\r\n\r\n");

	return p ? p + 4 : "";
}

static void headers_are_as_documented(void **state)
{
	struct apifake f;
	char *a;
	int fd;

	(void)state;
	apifake_init(&f);
	fd = apifake_connect(&f, 0);
	a = exchange(&f, fd, "GET", "meshd/version", "");
	assert_int_equal(status_of(a), 200);
	assert_non_null(strstr(a, "\r\nTailscale-Cap: 145\r\n"));
	assert_non_null(strstr(a, "\r\nMeshd-Version: 0.1.0\r\n"));
	assert_non_null(strstr(a, "\r\nX-Frame-Options: DENY\r\n"));
	assert_non_null(strstr(a, "\r\nX-Content-Type-Options: nosniff\r\n"));
	assert_non_null(strstr(a, "\r\nContent-Security-Policy: default-src 'none';"));
	assert_null(strstr(a, "Tailscale-Version"));
	/* The same connection serves again. */
	a = exchange(&f, fd, "GET", "status?peers=false", "");
	assert_int_equal(status_of(a), 200);
	assert_non_null(strstr(a, "\t\"BackendState\": \"Running\""));
	(void)close(fd);
	apifake_wipe(&f);
}

/* Strangers read everything and change nothing; the rows are the whole table of the API. */
static void strangers_read_but_do_not_write(void **state)
{
	static const struct {
		const char *method, *path, *body;
		int root, stranger;
	} rows[] = {
		{ "GET", "status", "", 200, 200 },
		{ "GET", "prefs", "", 200, 200 },
		{ "HEAD", "prefs", "", 200, 200 },
		{ "PATCH", "prefs", "{\"CorpDNSSet\":true}", 200, 403 },
		{ "POST", "check-prefs", "{}", 200, 403 },
		{ "POST", "start", "{}", 204, 403 },
		{ "POST", "login-interactive", "", 204, 403 },
		{ "POST", "logout", "", 204, 403 },
		{ "GET", "profiles/", "", 200, 403 },
		{ "POST", "ping?ip=100.64.0.3&type=disco", "", 200, 200 },
		{ "GET", "whois?addr=100.64.0.3", "", 200, 200 },
		{ "GET", "derpmap", "", 200, 200 },
		{ "GET", "netcheck", "", 200, 200 },
		{ "GET", "debug-peer-relay-sessions", "", 200, 200 },
		{ "POST", "debug?action=restun", "", 200, 403 },
		{ "GET", "usermetrics", "", 200, 200 },
		{ "GET", "metrics", "", 200, 403 },
		{ "GET", "meshd/relay", "", 200, 200 },
		{ "GET", "meshd/path?peer=100.64.0.3", "", 200, 200 },
		{ "GET", "update/check", "", 200, 200 },
		{ "GET", "serve-config", "", 200, 200 },
		{ "GET", "suggest-exit-node", "", 200, 200 },
		{ "GET", "check-so-mark-in-use", "", 200, 200 },
		{ "GET", "check-udp-gro-forwarding", "", 200, 200 },
		{ "PUT", "profiles/", "", 501, 403 },
		{ "GET", "check-ip-forwarding", "", 200, 200 },
		{ "POST", "shutdown", "", 204, 403 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (int who = 0; who < 2; who++) {
			struct apifake f;
			int fd, got, want = who ? rows[i].stranger : rows[i].root;

			apifake_init(&f);
			fd = apifake_connect(&f, who ? STRANGER : 0);
			got = status_of(exchange(&f, fd, rows[i].method, rows[i].path, rows[i].body));
			if (got != want)
				fail_msg("%s %s as %d: %d, want %d", rows[i].method, rows[i].path, who, got, want);
			if (who)
				assert_int_equal(f.writes, 0);
			(void)close(fd);
			apifake_wipe(&f);
		}
	}
}

static void requests_are_checked(void **state)
{
	static const struct {
		const char *text;
		int status;
		const char *body;
	} rows[] = {
		{ "GET /localapi/v0/nope HTTP/1.1\r\n\r\n", 404, "404 page not found\n" },
		{ "GET /other HTTP/1.1\r\n\r\n", 404, "404 page not found\n" },
		{ "GET / HTTP/1.1\r\n\r\n", 200, "meshd local API\n" },
		{ "POST /localapi/v0/debug-peer-relay-sessions HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405,
		  "GET required\n" },
		{ "GET /localapi/v0/status HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403,
		  "invalid localapi request\n" },
		{ "GET /localapi/v0/status HTTP/1.1\r\nOrigin: http://x\r\n\r\n", 403,
		  "invalid localapi request\n" },
		{ "GET /localapi/v0/status HTTP/1.1\r\nReferer: http://x\r\n\r\n", 403,
		  "invalid localapi request\n" },
		{ "garbage\r\n\r\n", 400, "400 Bad Request\n" },
		{ "PATCH /localapi/v0/prefs HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n", 413,
		  "request body too large\n" },
		{ "POST /localapi/v0/ping HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400,
		  "missing 'ip' parameter\n" },
		{ "POST /localapi/v0/ping?ip=x HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400, "invalid IP\n" },
		{ "POST /localapi/v0/ping?ip=100.64.0.3 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400,
		  "missing 'type' parameter\n" },
		{ "POST /localapi/v0/ping?ip=100.64.0.3&type=TSMP&size=9 HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
		  400, "'size' parameter is only supported with disco pings\n" },
		{ "POST /localapi/v0/debug HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400,
		  "missing parameter 'action'\n" },
		{ "POST /localapi/v0/debug?action=x%22y HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400,
		  "unknown action \"x\\\"y\"\n" },
		{ "GET /localapi/v0/whois?addr=100.64.0.9:1 HTTP/1.1\r\n\r\n", 404,
		  "no match for 100.64.0.9:1\n" },
		{ "GET /localapi/v0/whois?addr=x HTTP/1.1\r\n\r\n", 400, "invalid 'addr' parameter\n" },
		{ "GET /localapi/v0/watch-ipn-bus?mask=x HTTP/1.1\r\n\r\n", 400, "bad mask\n" },
		{ "GET /localapi/v0/watch-ipn-bus?mask=65536 HTTP/1.1\r\n\r\n", 400, "bad mask\n" },
		{ "GET /localapi/v0/watch-ipn-bus?mask=4352 HTTP/1.1\r\n\r\n", 400, "bad mask\n" },
		{ "PATCH /localapi/v0/prefs HTTP/1.1\r\nContent-Length: 3\r\n\r\n{x}", 400, NULL },
	};
	static char buf[ANSWER_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct apifake f;
		char *a;
		int fd;

		apifake_init(&f);
		fd = apifake_connect(&f, 0);
		send_text(fd, rows[i].text);
		apifake_run(&f);
		a = read_all(fd, buf);
		if (status_of(a) != rows[i].status)
			fail_msg("row %zu: %s", i, a);
		if (rows[i].body)
			assert_string_equal(body_of(a), rows[i].body);
		assert_int_equal(f.writes, 0);
		(void)close(fd);
		apifake_wipe(&f);
	}
}

/* A request may arrive byte by byte, chunked, and with the next one behind it. */
static void requests_come_in_any_pieces(void **state)
{
	static const char text[] = "PATCH /localapi/v0/prefs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
				   "a\r\n{\"Hostname\r\n1b\r\n\":\"nas\",\"HostnameSet\":true}\r\n0\r\n\r\n"
				   "GET /localapi/v0/meshd/version HTTP/1.1\r\nConnection: close\r\n\r\n";
	static char buf[ANSWER_MAX];
	struct apifake f;
	char *a;
	int fd;

	(void)state;
	apifake_init(&f);
	fd = apifake_connect(&f, 0);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		assert_int_equal(send(fd, text + i, 1, MSG_NOSIGNAL), 1);
		apifake_run(&f);
	}
	a = read_all(fd, buf);
	assert_int_equal(status_of(a), 200);
	assert_string_equal(f.prefs.hostname, "nas");
	assert_non_null(strstr(a, "\"Meshd\":\"0.1.0\""));
	assert_int_equal(api_n_conns(f.api), 0); /* it asked to close */
	(void)close(fd);
	apifake_wipe(&f);
}

static void edits_are_checked_before_the_backend(void **state)
{
	static const struct {
		const char *body, *error;
	} rows[] = {
		{ "{\"RunSSH\":true,\"RunSSHSet\":true}", "not in this build: --ssh" },
		{ "{\"ExitNodeIP\":\"100.64.0.5\",\"ExitNodeIPSet\":true}", "not in this build: --exit-node" },
		{ "{\"NetfilterMode\":1,\"NetfilterModeSet\":true}", "not in this build: --netfilter-mode" },
		{ "{\"ProfileName\":\"x\",\"ProfileNameSet\":true}", "locked" },
		{ "{\"OperatorUser\":\"nobody-of-that-name\",\"OperatorUserSet\":true}",
		  "unknown user \\\"nobody-of-that-name\\\" for --operator" },
		{ "{\"Hostname\":\"-\",\"HostnameSet\":true}", "is not a valid DNS label" },
		{ "{\"RelayServerStaticEndpoints\":[\"127.0.0.1:1\"],\"RelayServerStaticEndpointsSet\":true}",
		  "loopback address" },
		{ "{\"AdvertiseRoutes\":[\"10.0.0.1/8\"],\"AdvertiseRoutesSet\":true}", "non-address bits" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct apifake f;
		char *a;
		int fd;

		apifake_init(&f);
		fd = apifake_connect(&f, 0);
		a = exchange(&f, fd, "PATCH", "prefs", rows[i].body);
		assert_int_equal(status_of(a), 400);
		assert_int_equal(strncmp(body_of(a), "{\"Error\":\"", 10), 0);
		if (!strstr(a, rows[i].error))
			fail_msg("%s", a);
		assert_int_equal(f.set_calls, 0);
		/* An edit that asks for nothing succeeds. */
		a = exchange(&f, fd, "PATCH", "prefs", "{\"RunSSH\":false,\"RunSSHSet\":true}");
		assert_int_equal(status_of(a), 200);
		(void)close(fd);
		apifake_wipe(&f);
	}
}

static void refused_edits_answer_with_the_reason(void **state)
{
	struct apifake f;
	char *a;
	int fd;

	(void)state;
	apifake_init(&f);
	f.refuse = "failed to start relay server on UDP port 40000: Address already in use";
	fd = apifake_connect(&f, 0);
	a = exchange(&f, fd, "PATCH", "prefs", "{\"RelayServerPort\":40000,\"RelayServerPortSet\":true}");
	assert_int_equal(status_of(a), 400);
	assert_string_equal(body_of(a), "{\"Error\":\"failed to start relay server on UDP port 40000: Address "
					"already in use\"}");
	assert_false(f.prefs.has_relay_port);
	(void)close(fd);
	apifake_wipe(&f);
}

/* Two edits at once: the backend has the first, the second waits. */
static void edit_twice(struct apifake *f, int *a, int *b)
{
	f->hold = true;
	*a = apifake_connect(f, 0);
	*b = apifake_connect(f, 0);
	assert_string_equal(exchange(f, *a, "PATCH", "prefs", "{\"ShieldsUp\":true,\"ShieldsUpSet\":true}"), "");
	assert_string_equal(exchange(f, *b, "PATCH", "prefs", "{\"Hostname\":\"x\",\"HostnameSet\":true}"), "");
	assert_int_equal(f->set_calls, 1);
}

/* The second is computed from what the first left. */
static void edits_run_one_after_the_other(void **state)
{
	static char buf[ANSWER_MAX];
	struct api_token first;
	struct apifake f;
	int a, b;

	(void)state;
	apifake_init(&f);
	edit_twice(&f, &a, &b);
	first = f.held;
	api_reply_prefs(f.api, first, NULL);
	assert_int_equal(f.set_calls, 2);
	api_reply_prefs(f.api, f.held, NULL);
	apifake_run(&f);
	assert_int_equal(status_of(read_all(a, buf)), 200);
	assert_int_equal(status_of(read_all(b, buf)), 200);
	assert_true(f.prefs.shields_up);
	assert_string_equal(f.prefs.hostname, "x");
	/* An answer given twice, or too late, does nothing. */
	api_reply_prefs(f.api, first, NULL);
	apifake_run(&f);
	assert_string_equal(read_all(a, buf), "");
	(void)close(a);
	(void)close(b);
	apifake_wipe(&f);
}

/* The one whose edit is under way, and the one behind it. */
static void whoever_waits_at_the_end_is_told(void **state)
{
	static char buf[ANSWER_MAX];
	struct apifake f;
	int a, b, idle;

	(void)state;
	apifake_init(&f);
	idle = apifake_connect(&f, 0);
	edit_twice(&f, &a, &b);
	apifake_wipe(&f);
	assert_int_equal(f.set_calls, 1);
	assert_int_equal(status_of(read_all(a, buf)), 503);
	assert_string_equal(body_of(buf), "meshd is stopping\n");
	assert_int_equal(status_of(read_all(b, buf)), 503);
	assert_string_equal(body_of(buf), "meshd is stopping\n");
	assert_string_equal(read_all(idle, buf), "");
	(void)close(a);
	(void)close(b);
	(void)close(idle);
}

/* What handlers need may be gone already. */
static void a_stopped_server_takes_no_request(void **state)
{
	static char buf[ANSWER_MAX];
	struct apifake f;
	int a, b;

	(void)state;
	apifake_init(&f);
	edit_twice(&f, &a, &b);
	send_text(a, "GET /localapi/v0/prefs HTTP/1.1\r\nHost: local-tailscaled.sock\r\n\r\n");
	api_stop(f.api);
	api_reply_prefs(f.api, f.held, NULL);
	assert_int_equal(f.set_calls, 1); /* the edit that waits is not begun ... */
	assert_int_equal(status_of(read_all(a, buf)), 200);
	assert_null(strstr(buf + 9, "HTTP/1.1 ")); /* ... nor the request behind the answer */
	assert_non_null(strstr(buf, "\r\nConnection: close\r\n"));
	apifake_wipe(&f);
	assert_int_equal(status_of(read_all(b, buf)), 503);
	(void)close(a);
	(void)close(b);
}

static void callers_that_leave_do_not_block_others(void **state)
{
	struct apifake f;
	int a, b;

	(void)state;
	apifake_init(&f);
	f.hold = true;
	a = apifake_connect(&f, 0);
	(void)exchange(&f, a, "PATCH", "prefs", "{\"ShieldsUp\":true,\"ShieldsUpSet\":true}");
	(void)close(a);
	apifake_run(&f);
	assert_int_equal(api_n_conns(f.api), 0);
	f.hold = false;
	b = apifake_connect(&f, 0);
	(void)exchange(&f, b, "PATCH", "prefs", "{\"Hostname\":\"x\",\"HostnameSet\":true}");
	assert_int_equal(f.set_calls, 1);
	api_reply_prefs(f.api, f.held, NULL); /* nobody hears it, but the turn passes on */
	assert_int_equal(f.set_calls, 2);
	(void)close(b);
	apifake_wipe(&f);
}

/* The stock client's `up` sends complete preferences and knows nothing of ours. */
static void start_keeps_what_the_caller_cannot_know(void **state)
{
	struct apifake f;
	char err[PREFS_ERR_MAX], *a;
	int fd;

	(void)state;
	apifake_init(&f);
	assert_int_equal(prefval_relay_port(&f.prefs, "40000", err), 0);
	assert_int_equal(prefval_static_endpoints(&f.prefs, "203.0.113.10:41641", err), 0);
	fd = apifake_connect(&f, 0);
	a = exchange(&f, fd, "POST", "start",
		     "{\"AuthKey\":\"hskey-auth-1\",\"UpdatePrefs\":{\"CorpDNS\":true,\"NetfilterMode\":2,"
		     "\"WantRunning\":true,\"ControlURL\":\"http://192.0.2.1:443\"}}");
	assert_int_equal(status_of(a), 204);
	assert_string_equal(f.auth_key, "hskey-auth-1");
	assert_int_equal(f.start_calls, 1);
	assert_int_equal(f.prefs.relay_port, 40000);
	/* The stock command line's second request belongs to the first: both name their process. */
	assert_int_equal(status_of(exchange(&f, fd, "POST", "login-interactive", "")), 204);
	assert_int_equal(f.start_pid, 1);
	assert_int_equal(f.login_pid, 1);
	(void)close(fd);
	apifake_wipe(&f);
}

static void bus_tells_state_and_changes(void **state)
{
	const struct notify n = { .version = "1", .has_state = true, .state = STATE_NEEDS_LOGIN,
				  .browse_to_url = "http://192.0.2.1/a", .net_map = "{}" };
	struct apifake f;
	char buf[ANSWER_MAX / 64], *a;
	int fd;

	(void)state;
	apifake_init(&f);
	fd = apifake_connect(&f, STRANGER);
	a = exchange(&f, fd, "GET", "watch-ipn-bus?mask=8194", "");
	assert_int_equal(status_of(a), 200);
	assert_non_null(strstr(a, "Transfer-Encoding: chunked"));
	assert_non_null(strstr(a, "\"State\":6"));
	api_notify(f.api, &n);
	apifake_run(&f);
	buf[recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT)] = 0;
	assert_non_null(strstr(buf, "\"State\":2"));
	assert_non_null(strstr(buf, "\"BrowseToURL\":\"http://192.0.2.1/a\""));
	assert_null(strstr(buf, "NetMap")); /* the mask asks for none */
	(void)close(fd);
	apifake_run(&f);
	assert_int_equal(api_n_conns(f.api), 0);
	apifake_wipe(&f);
}

/* What one message becomes for subscribers who asked for different things. */
static void bus_gives_each_what_it_asked_for(void **state)
{
	static const struct {
		unsigned mask;
		const char *want; /* keys, in order; "" = no message */
	} rows[] = {
		{ 0, "" },
		{ NOTIFY_ENGINE, "Engine" },
		{ NOTIFY_INITIAL_NETMAP, "NetMap" },
		{ NOTIFY_INITIAL_NETMAP | NOTIFY_NO_NETMAP, "" },
		{ NOTIFY_PEER_CHANGES, "PeersChanged:whole PeersRemoved UserProfiles" },
		{ NOTIFY_PEER_CHANGES | NOTIFY_PEER_PATCHES, "PeersChanged:new PeersRemoved PeerChangedPatch UserProfiles" },
		{ NOTIFY_INITIAL_NETMAP | NOTIFY_PEER_CHANGES | NOTIFY_ENGINE,
		  "Engine PeersChanged:whole PeersRemoved UserProfiles" },
	};
	const struct notify n = { .version = "1", .net_map = "{}", .engine = "{}", .peers_changed = "[\"new\"]",
				  .peers_changed_all = "[\"whole\"]", .peer_patches = "[]", .peers_removed = "[]",
				  .user_profiles = "{}" };
	static const char *const keys[] = { "NetMap", "Engine", "PeersChanged", "PeersRemoved", "PeerChangedPatch",
					    "UserProfiles" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct notify mine = n;
		struct bytes line = { 0 };
		char got[200] = "";

		assert_int_equal(notify_reduce(&mine, rows[i].mask), *rows[i].want != 0);
		assert_int_equal(notify_write(&line, &mine), 0);
		assert_int_equal(bytes_append(&line, "", 1), 0);
		for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
			char quoted[40];

			(void)snprintf(quoted, sizeof(quoted), "\"%s\":", keys[k]);
			if (!strstr((const char *)bytes_data(&line), quoted))
				continue;
			(void)snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s%s", *got ? " " : "", keys[k],
				       strcmp(keys[k], "PeersChanged") != 0	     ? "" :
				       strstr((const char *)bytes_data(&line), "new") ? ":new" :
										       ":whole");
		}
		assert_string_equal(got, rows[i].want);
		bytes_wipe(&line);
	}
}

static void bus_tells_the_daemon_who_listens(void **state)
{
	struct apifake f;
	bool any;
	char *a;
	int fd;

	(void)state;
	apifake_init(&f);
	assert_int_equal(api_bus_masks(f.api, &any), 0);
	assert_false(any);
	fd = apifake_connect(&f, STRANGER);
	a = exchange(&f, fd, "GET", "watch-ipn-bus?mask=129", "");
	assert_non_null(strstr(a, "\"Health\":{\"Warnings\":{\"login-state\""));
	assert_int_equal(f.bus_mask, 129);
	assert_int_equal(api_bus_masks(f.api, &any), 129);
	assert_true(any);
	(void)close(fd);
	apifake_wipe(&f);
}

/* The caller is told the address and dials itself; a request that upgrades ends its connection. */
static void dial_names_the_address(void **state)
{
	static const struct {
		const char *head;
		int status;
		const char *words;
	} rows[] = {
		{ "Connection: upgrade\r\nUpgrade: ts-dial\r\nDial-Host: 100.64.0.3\r\nDial-Port: 22\r\n", 200,
		  "\r\nDial-Self: true\r\nDial-Addr: 100.64.0.3:22\r\n" },
		{ "Connection: upgrade\r\nUpgrade: ts-dial\r\nDial-Host: fd7a:115c:a1e0::3\r\nDial-Port: 22\r\n", 200,
		  "\r\nDial-Addr: [fd7a:115c:a1e0::3]:22\r\n" },
		/* The port is a number, however it is written. */
		{ "Connection: upgrade\r\nUpgrade: ts-dial\r\nDial-Host: 100.64.0.3\r\nDial-Port: 00000000022\r\n", 200,
		  "\r\nDial-Addr: 100.64.0.3:22\r\n" },
		{ "Connection: upgrade\r\nUpgrade: ts-dial\r\nDial-Host: 100.64.0.3\r\nDial-Port: 0\r\n", 400,
		  "missing Dial-Host or Dial-Port header" },
		{ "Connection: upgrade\r\nUpgrade: ts-dial\r\nDial-Host: nobody\r\nDial-Port: 22\r\n", 502,
		  "resolve failure: " },
		{ "Connection: upgrade\r\nUpgrade: ts-dial\r\nDial-Host: 100.64.0.3\r\nDial-Port: 70000\r\n", 400,
		  "missing Dial-Host or Dial-Port header" },
		{ "Connection: upgrade\r\nUpgrade: ts-dial\r\nDial-Host: 100.64.0.3\r\nDial-Port: 22x\r\n", 400,
		  "missing Dial-Host or Dial-Port header" },
		{ "Connection: upgrade\r\nUpgrade: other\r\n", 400, "bad ts-dial upgrade" },
		{ "", 400, "bad ts-dial upgrade" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		static char buf[ANSWER_MAX];
		struct apifake f;
		char text[600], *a;
		int fd;

		apifake_init(&f);
		fd = apifake_connect(&f, STRANGER);
		(void)snprintf(text, sizeof(text),
			       "POST /localapi/v0/dial HTTP/1.1\r\nHost: local-tailscaled.sock\r\n%s"
			       "Content-Length: 0\r\n\r\n",
			       rows[i].head);
		send_text(fd, text);
		apifake_run(&f);
		a = read_all(fd, buf);
		if (status_of(a) != rows[i].status || !strstr(a, rows[i].words))
			fail_msg("row %zu: %s", i, a);
		(void)close(fd);
		apifake_wipe(&f);
	}
}

static void slow_readers_of_the_bus_are_cut_off(void **state)
{
	struct apifake f;
	char *big = malloc((64 << 10) + 1);
	struct notify n = { .version = "1", .err_message = big };
	int fd;

	(void)state;
	assert_non_null(big);
	memset(big, 'x', 64 << 10);
	big[64 << 10] = 0;
	apifake_init(&f);
	fd = apifake_connect(&f, STRANGER);
	(void)exchange(&f, fd, "GET", "watch-ipn-bus?mask=0", "");
	for (int i = 0; i < 64 && api_n_conns(f.api); i++) {
		api_notify(f.api, &n);
		apifake_run(&f);
	}
	assert_int_equal(api_n_conns(f.api), 0);
	(void)close(fd);
	free(big);
	apifake_wipe(&f);
}

/* Sends requests and lets the daemon work until it has nothing more to say; 'buf' gets all of it. */
static size_t talk(struct apifake *f, int fd, char *buf)
{
	size_t used = 0;
	ssize_t n;

	do {
		apifake_run(f);
		n = recv(fd, buf + used, ANSWER_MAX - used, MSG_DONTWAIT);
		used += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	return used;
}

/* Takes one answer off the front: its body is appended to 'body'. Returns what is left, or null if it is cut off. */
static char *one_answer(char *p, const char *end, struct bytes *body)
{
	struct http1 *h = malloc(sizeof(*h));
	enum http1_event ev = HTTP1_MORE;

	assert_non_null(h);
	http1_init(h, HTTP1_RESPONSES, UINT64_MAX);
	while (p && ev != HTTP1_END) {
		size_t used = 0;

		assert_int_equal(http1_input(h, (const uint8_t *)p, (size_t)(end - p), &used, &ev), 0);
		if (ev == HTTP1_BODY)
			assert_int_equal(bytes_append(body, h->body, h->body_size), 0);
		p = ev == HTTP1_MORE ? NULL : p + used;
	}
	free(h);
	return p;
}

#define ASK(method, path) method " /localapi/v0/" path " HTTP/1.1\r\nHost: local-tailscaled.sock\r\n\r\n"

static void many_peers_are_told_while_they_are_read(void **state)
{
	enum { MANY = 600 };
	static char buf[ANSWER_MAX];
	struct status s = { 0 };
	struct bytes body = { 0 }, version = { 0 };
	struct apifake f;
	char *end, *p;
	int fd;

	(void)state;
	apifake_init(&f);
	f.n_peers = MANY;
	f.gone_peer = 300;
	fd = apifake_connect(&f, STRANGER);
	send_text(fd, ASK("GET", "status") ASK("GET", "meshd/version"));
	apifake_run(&f);
	assert_true(f.peers_told < MANY); /* what the caller does not take is not made */
	end = buf + talk(&f, fd, buf);
	assert_int_equal(f.peers_told, MANY);
	p = one_answer(buf, end, &body);
	assert_non_null(p);
	assert_int_equal(status_parse(&s, (const char *)bytes_data(&body), bytes_size(&body)), 0);
	assert_int_equal(s.n_peers, MANY - 1);
	for (size_t i = 1; i < s.n_peers; i++)
		assert_true(memcmp(s.peers[i - 1].key.b, s.peers[i].key.b, KEY_SIZE) < 0);
	assert_int_equal(s.meshd.path_counts.idle, MANY - 1); /* counted on the way */
	/* The request that came meanwhile is next. */
	p = one_answer(p, end, &version);
	assert_ptr_equal(p, end);
	assert_non_null(memmem(bytes_data(&version), bytes_size(&version), "0.1.0", 5));
	/* Without a body it is not made either. */
	f.peers_told = 0;
	send_text(fd, ASK("HEAD", "status"));
	*(buf + talk(&f, fd, buf)) = 0;
	assert_non_null(strstr(buf, "\r\nTransfer-Encoding: chunked\r\n"));
	assert_string_equal(body_of(buf), "");
	assert_true(f.peers_told < MANY);
	assert_int_equal(status_of(exchange(&f, fd, "GET", "meshd/version", "")), 200);
	status_wipe(&s);
	bytes_wipe(&body);
	bytes_wipe(&version);
	(void)close(fd);
	apifake_wipe(&f);
}

static void an_answer_that_fails_on_the_way_is_cut_off(void **state)
{
	enum { MANY = 600 };
	static char buf[ANSWER_MAX];
	struct bytes body = { 0 };
	struct apifake f;
	char *end;
	int fd;

	(void)state;
	apifake_init(&f);
	f.n_peers = MANY;
	f.broken_peer = 300;
	fd = apifake_connect(&f, STRANGER);
	send_text(fd, ASK("GET", "status"));
	end = buf + talk(&f, fd, buf);
	assert_null(one_answer(buf, end, &body));
	assert_int_equal(api_n_conns(f.api), 0);
	(void)close(fd);
	/* In the first piece there is still time for a status code. */
	f.broken_peer = 1;
	fd = apifake_connect(&f, STRANGER);
	assert_int_equal(status_of(exchange(&f, fd, "GET", "status", "")), 500);
	/* A caller that leaves in the middle. */
	f.broken_peer = 0;
	send_text(fd, ASK("GET", "status"));
	apifake_run(&f);
	(void)close(fd);
	apifake_run(&f);
	assert_int_equal(api_n_conns(f.api), 0);
	bytes_wipe(&body);
	apifake_wipe(&f);
}

/* An answer is a thousand times its request: who never reads must not fill the memory with them. */
static void who_asks_and_never_reads_gets_no_more(void **state)
{
	enum { PEERS = 30, ASKED = 20000 };
	static char buf[ANSWER_MAX];
	size_t n_told, n_sent = 0, n_answers = 0;
	struct apifake f;
	int fd;

	(void)state;
	apifake_init(&f);
	f.n_peers = PEERS;
	fd = apifake_connect(&f, STRANGER);
	for (bool more = true; more && n_sent < ASKED; n_sent += more) {
		more = send(fd, ASK("GET", "status"), strlen(ASK("GET", "status")), MSG_NOSIGNAL | MSG_DONTWAIT) > 0;
		apifake_run(&f);
	}
	assert_true(n_sent < ASKED); /* the daemon does not read either */
	n_told = f.peers_told / PEERS;
	assert_in_range(n_told, 1, n_sent - 1);
	/* Nothing is lost: it goes on as its answers are read. */
	for (size_t used = 1; used > 0;) {
		char *p = buf, *next;

		used = talk(&f, fd, buf);
		while ((next = memmem(p, (size_t)(buf + used - p), "HTTP/1.1 200", 12))) {
			n_answers++;
			p = next + 12;
		}
	}
	assert_int_equal(n_answers, n_sent);
	assert_int_equal(f.peers_told, n_sent * PEERS);
	(void)close(fd);
	apifake_wipe(&f);
}

static void connections_are_limited_by_uid_and_in_all(void **state)
{
	struct apifake f;
	int fds[API_CONNS_MAX + 1], n = 0;

	(void)state;
	apifake_init(&f);
	for (int i = 0; i < API_CONNS_PER_UID_MAX; i++)
		fds[n++] = apifake_connect(&f, STRANGER);
	assert_int_equal(apifake_connect(&f, STRANGER), -1);
	for (uid_t uid = 1; n < API_CONNS_MAX; n++)
		fds[n] = apifake_connect(&f, uid + (uid_t)n);
	assert_int_equal(apifake_connect(&f, 0), -1);
	(void)close(fds[0]);
	apifake_run(&f);
	fds[0] = apifake_connect(&f, STRANGER);
	assert_true(fds[0] >= 0);
	for (int i = 0; i < n; i++)
		(void)close(fds[i]);
	apifake_run(&f);
	assert_int_equal(api_n_conns(f.api), 0);
	apifake_wipe(&f);
}

/* A live socket is not taken over, a dead one is replaced, another file is left alone. */
enum { BACKLOG = 900 }; /* more than any listener has */

/* Connects until nobody is let in. */
static int fill_backlog(const char *path, int fds[static BACKLOG])
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int n = 0;

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	for (; n < BACKLOG; n++) {
		fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		assert_true(fds[n] >= 0);
		if (connect(fds[n], (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
			assert_int_equal(errno, EAGAIN);
			(void)close(fds[n]);
			return n;
		}
	}
	return n;
}

static void listening_takes_over_dead_sockets_only(void **state)
{
	char dir[] = "/tmp/meshd-api-XXXXXX", path[64];
	static int fds[BACKLOG];
	struct apifake f, g;
	int n;
	FILE *file;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/sub/s", dir);
	apifake_init(&f);
	apifake_init(&g);
	assert_int_equal(api_listen(f.api, path), 0);
	assert_int_equal(api_listen(g.api, path), -EADDRINUSE);
	/* One that is busy, or stopped, does not hold up who asks, and is not replaced. */
	n = fill_backlog(path, fds);
	assert_int_equal(api_listen(g.api, path), -EADDRINUSE);
	while (n > 0)
		(void)close(fds[--n]);
	apifake_wipe(&f);
	assert_int_equal(access(path, F_OK), -1); /* removed at the end */
	assert_int_equal(api_listen(g.api, path), 0);
	apifake_wipe(&g);

	file = fopen(path, "w");
	assert_non_null(file);
	(void)fclose(file);
	apifake_init(&f);
	assert_int_equal(api_listen(f.api, path), -EINVAL);
	assert_int_equal(access(path, F_OK), 0);
	apifake_wipe(&f);
	assert_int_equal(unlink(path), 0);
	*strrchr(path, '/') = 0;
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_as_documented),
		cmocka_unit_test(strangers_read_but_do_not_write),
		cmocka_unit_test(requests_are_checked),
		cmocka_unit_test(requests_come_in_any_pieces),
		cmocka_unit_test(edits_are_checked_before_the_backend),
		cmocka_unit_test(refused_edits_answer_with_the_reason),
		cmocka_unit_test(edits_run_one_after_the_other),
		cmocka_unit_test(whoever_waits_at_the_end_is_told),
		cmocka_unit_test(a_stopped_server_takes_no_request),
		cmocka_unit_test(callers_that_leave_do_not_block_others),
		cmocka_unit_test(start_keeps_what_the_caller_cannot_know),
		cmocka_unit_test(bus_tells_state_and_changes),
		cmocka_unit_test(bus_gives_each_what_it_asked_for),
		cmocka_unit_test(bus_tells_the_daemon_who_listens),
		cmocka_unit_test(dial_names_the_address),
		cmocka_unit_test(slow_readers_of_the_bus_are_cut_off),
		cmocka_unit_test(many_peers_are_told_while_they_are_read),
		cmocka_unit_test(an_answer_that_fails_on_the_way_is_cut_off),
		cmocka_unit_test(who_asks_and_never_reads_gets_no_more),
		cmocka_unit_test(connections_are_limited_by_uid_and_in_all),
		cmocka_unit_test(listening_takes_over_dead_sockets_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
