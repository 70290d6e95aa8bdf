/* SPDX-License-Identifier: MIT */
/* daemon/cert, daemon/httpd and daemon/tlsconn against each other over the loopback interface: plain and TLS on one
 * port, pins, the meta certificate, back-pressure, limits; and daemon/stund. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"
#include "daemon/cert.h"
#include "daemon/httpd.h"
#include "daemon/stund.h"
#include "daemon/tlsconn.h"
#include "tests/unit/testing.h"
#include "wire/stun.h"

static struct mono clock_now(void)
{
	struct timespec ts;

	assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &ts), 0);
	return (struct mono){ ts.tv_sec * NS_PER_S + ts.tv_nsec };
}

static int64_t wall_s(void)
{
	return (int64_t)time(NULL);
}

struct lab {
	struct httpd *srv;
	struct tlsconn_set *cli;
	struct cert_tls *tls;
	uint16_t port;
	/* what the server saw */
	uint32_t conn;
	bool srv_tls, srv_open, srv_closed;
	size_t srv_bytes;
	bool echo;
	/* what the client saw */
	bool cli_open, cli_closed;
	size_t cli_bytes;
	struct stream_info info;
	char reason[256];
};

static void server_event(struct lab *lab, const struct httpd_event *ev)
{
	switch (ev->kind) {
	case HTTPD_OPENED:
		lab->conn = ev->conn;
		lab->srv_open = true;
		lab->srv_tls = ev->is_tls;
		assert_int_equal(ev->tag, 7);
		assert_true(ip_is_loopback(&ev->remote.ip));
		assert_int_equal(ev->local.port, lab->port);
		httpd_established(lab->srv, ev->conn);
		break;
	case HTTPD_DATA:
		lab->srv_bytes += ev->size;
		if (lab->echo)
			assert_int_equal(httpd_send(lab->srv, ev->conn, ev->data, ev->size), 0);
		break;
	case HTTPD_WRITABLE:
		break;
	case HTTPD_CLOSED:
		lab->srv_closed = true;
		break;
	}
}

static void client_event(struct lab *lab, const struct tlsconn_event *ev)
{
	switch (ev->kind) {
	case TLSCONN_OPENED:
		lab->cli_open = true;
		lab->info = ev->info;
		break;
	case TLSCONN_DATA:
		lab->cli_bytes += ev->size;
		break;
	case TLSCONN_WRITABLE:
		break;
	case TLSCONN_CLOSED:
		lab->cli_closed = true;
		(void)snprintf(lab->reason, sizeof(lab->reason), "%s", ev->reason);
		break;
	}
}

/* One turn of the event loop, at most 50 ms. */
static void turn(struct lab *lab)
{
	struct pollfd fds[] = { { .fd = httpd_fd(lab->srv), .events = POLLIN },
				{ .fd = tlsconn_fd(lab->cli), .events = POLLIN } };
	struct mono at = mono_min(httpd_deadline(lab->srv), tlsconn_deadline(lab->cli)), now = clock_now();
	int64_t ms = mono_is_never(at) ? 50 : mono_since_ns(at, now) / NS_PER_MS + 1;
	struct tlsconn_event cev;
	struct httpd_event sev;

	ms = ms < 0 ? 0 : ms > 50 ? 50 : ms;
	assert_true(poll(fds, 2, (int)ms) >= 0);
	now = clock_now();
	httpd_run(lab->srv, now);
	while (httpd_poll(lab->srv, &sev))
		server_event(lab, &sev);
	tlsconn_run(lab->cli, now);
	while (tlsconn_poll(lab->cli, &cev))
		client_event(lab, &cev);
}

static void until(struct lab *lab, const bool *flag)
{
	for (int i = 0; i < 200 && !*flag; i++)
		turn(lab);
	assert_true(*flag);
}

static void lab_init_at(struct lab *lab, const char *host, bool with_derp, int64_t made_s)
{
	struct ep any = { .ip = ip4(127, 0, 0, 1) };
	struct node_key derp = { { 1, 2, 3 } };
	char *cert, *key;
	int port;

	memset(lab, 0, sizeof(*lab));
	assert_int_equal(cert_self_signed(host, made_s, &cert, &key), 0);
	lab->tls = cert_tls_new(cert, key, with_derp ? &derp : NULL, wall_s(), NULL);
	assert_non_null(lab->tls);
	free(cert);
	cert_key_free(key);
	lab->srv = httpd_new(NULL);
	lab->cli = tlsconn_new(&(struct tlsconn_cfg){ 0 });
	assert_non_null(lab->srv);
	assert_non_null(lab->cli);
	port = httpd_listen(lab->srv, &any, 7, lab->tls);
	assert_true(port > 0);
	lab->port = (uint16_t)port;
}

static void lab_init(struct lab *lab, const char *host, bool with_derp)
{
	lab_init_at(lab, host, with_derp, wall_s());
}

static void lab_free(struct lab *lab)
{
	tlsconn_free(lab->cli);
	httpd_free(lab->srv);
	cert_tls_free(lab->tls);
}

static struct stream_addr addr_of(const struct lab *lab, const char *host, enum stream_tls tls)
{
	struct stream_addr a = { .tls = (uint8_t)tls, .port = lab->port, .ip4 = ip4(127, 0, 0, 1), .no_ip6 = true };
	char pin[CERT_PIN_TEXT_MAX];

	(void)snprintf(a.host, sizeof(a.host), "%s", host);
	cert_tls_pin(lab->tls, pin);
	assert_memory_equal(pin, "sha256-raw:", 11);
	test_unhex(a.pin, sizeof(a.pin), pin + 11);
	return a;
}

/* Opens a stream, sends, gets it back, closes. */
static void echo(struct lab *lab, const struct stream_addr *a)
{
	static uint8_t data[20000];

	lab->echo = true;
	lab->cli_open = lab->srv_open = lab->srv_closed = lab->cli_closed = false;
	lab->cli_bytes = 0;
	assert_int_equal(tlsconn_open(lab->cli, clock_now(), 5, a), 0);
	assert_int_equal(tlsconn_open(lab->cli, clock_now(), 5, a), -EEXIST);
	assert_int_equal(tlsconn_room(lab->cli, 5), 0);
	until(lab, &lab->cli_open);
	assert_int_equal(tlsconn_send(lab->cli, 5, data, sizeof(data)), 0);
	for (int i = 0; i < 200 && lab->cli_bytes < sizeof(data); i++)
		turn(lab);
	assert_int_equal(lab->cli_bytes, sizeof(data));
	tlsconn_close(lab->cli, 5, false);
	until(lab, &lab->srv_closed);
	assert_false(lab->cli_closed);
}

static void streams_plain_and_tls_share_a_port(void **state)
{
	struct stream_addr a;
	struct lab lab;

	(void)state;
	lab_init(&lab, "127.0.0.1", true);
	a = addr_of(&lab, "127.0.0.1", STREAM_PLAIN);
	echo(&lab, &a);
	assert_false(lab.srv_tls);
	assert_false(lab.info.is_tls13);
	assert_true(ip_is_loopback(&lab.info.peer.ip));
	assert_int_equal(lab.info.peer.port, lab.port);
	assert_true(ip_is_loopback(&lab.info.local));
	a.tls = STREAM_TLS_PIN;
	echo(&lab, &a);
	assert_true(lab.srv_tls);
	a.tls = STREAM_TLS_NOVERIFY;
	echo(&lab, &a);
	lab_free(&lab);
}

static void streams_meta_certificate_names_the_derp_key(void **state)
{
	static const uint8_t want[32] = { 1, 2, 3 };
	struct stream_addr a;
	struct lab lab;

	(void)state;
	lab_init(&lab, "derp.example", true);
	a = addr_of(&lab, "derp.example", STREAM_TLS_PIN);
	echo(&lab, &a);
	assert_true(lab.info.is_tls13);
	assert_true(lab.info.has_derp_key);
	assert_int_equal(lab.info.derp_version, 2);
	assert_memory_equal(lab.info.derp_key, want, sizeof(want));
	lab_free(&lab);
	lab_init(&lab, "derp.example", false);
	a = addr_of(&lab, "derp.example", STREAM_TLS_PIN);
	echo(&lab, &a);
	assert_false(lab.info.has_derp_key);
	lab_free(&lab);
}

static void refused(struct lab *lab, const struct stream_addr *a, const char *why)
{
	lab->cli_open = lab->cli_closed = false;
	assert_int_equal(tlsconn_open(lab->cli, clock_now(), 6, a), 0);
	until(lab, &lab->cli_closed);
	assert_false(lab->cli_open);
	if (!strstr(lab->reason, why))
		fail_msg("\"%s\" does not contain \"%s\"", lab->reason, why);
}

static void streams_wrong_certificates_are_refused(void **state)
{
	struct stream_addr a;
	struct lab lab;

	(void)state;
	lab_init(&lab, "derp.example", true);
	a = addr_of(&lab, "derp.example", STREAM_TLS_PIN);
	a.pin[0] ^= 1;
	refused(&lab, &a, "certificate is not the pinned one");
	a = addr_of(&lab, "other.example", STREAM_TLS_PIN);
	refused(&lab, &a, "for another name");
	lab_free(&lab);
	/* A pin does not make an expired certificate good: this one ended yesterday. */
	lab_init_at(&lab, "derp.example", true, wall_s() - (3650 + 1) * 86400L);
	a = addr_of(&lab, "derp.example", STREAM_TLS_PIN);
	refused(&lab, &a, "outside its validity dates");
	a = addr_of(&lab, "derp.example", STREAM_TLS_VERIFY);
	refused(&lab, &a, "");
	assert_true(httpd_counters(lab.srv)->tls_failures >= 1);
	lab_free(&lab);
}

static void streams_public_verification_checks_chain_and_name(void **state)
{
	struct ep any = { .ip = ip4(127, 0, 0, 1) };
	char *cert, *key, path[] = "/tmp/meshd-test-ca-XXXXXX";
	struct lab lab = { 0 };
	struct stream_addr a;
	int fd = mkstemp(path), port;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(cert_self_signed("derp.example", wall_s(), &cert, &key), 0);
	assert_int_equal(write(fd, cert, strlen(cert)), (ssize_t)strlen(cert));
	(void)close(fd);
	lab.tls = cert_tls_new(cert, key, &(struct node_key){ { 9 } }, wall_s(), NULL);
	assert_non_null(lab.tls);
	assert_true(cert_tls_is_self_signed(lab.tls));
	assert_in_range(cert_tls_not_after(lab.tls), wall_s() + 3649 * 86400L, wall_s() + 3651 * 86400L);
	free(cert);
	cert_key_free(key);
	lab.srv = httpd_new(NULL);
	lab.cli = tlsconn_new(&(struct tlsconn_cfg){ .ca_file = path });
	port = httpd_listen(lab.srv, &any, 7, lab.tls);
	assert_true(port > 0);
	lab.port = (uint16_t)port;
	/* The over-long name of the meta certificate does not disturb OpenSSL's own verification. */
	a = addr_of(&lab, "derp.example", STREAM_TLS_VERIFY);
	echo(&lab, &a);
	assert_true(lab.info.has_derp_key);
	a = addr_of(&lab, "other.example", STREAM_TLS_VERIFY);
	refused(&lab, &a, "");
	/* Another name than the host's may be asked for ("domain fronting"). */
	(void)snprintf(a.verify_name, sizeof(a.verify_name), "derp.example");
	echo(&lab, &a);
	(void)snprintf(a.verify_name, sizeof(a.verify_name), "third.example");
	refused(&lab, &a, "");
	lab_free(&lab);
	(void)unlink(path);
}

static void streams_refused_port_is_reported(void **state)
{
	struct stream_addr a;
	struct lab lab;

	(void)state;
	lab_init(&lab, "127.0.0.1", false);
	a = addr_of(&lab, "127.0.0.1", STREAM_PLAIN);
	httpd_unlisten(lab.srv, 7);
	refused(&lab, &a, "onnect");
	lab_free(&lab);
}

static void streams_a_reader_that_does_not_read_fills_a_bounded_queue(void **state)
{
	static uint8_t block[HTTPD_OUT_MAX];
	struct stream_addr a;
	struct lab lab;
	size_t sent = 0;

	(void)state;
	lab_init(&lab, "127.0.0.1", false);
	a = addr_of(&lab, "127.0.0.1", STREAM_TLS_PIN);
	assert_int_equal(tlsconn_open(lab.cli, clock_now(), 5, &a), 0);
	until(&lab, &lab.cli_open);
	until(&lab, &lab.srv_open);
	/* Nobody reads: the kernel's buffers fill, then ours, and then it says so. */
	for (int i = 0; i < 10000 && httpd_room(lab.srv, lab.conn) > 0; i++) {
		size_t room = httpd_room(lab.srv, lab.conn);

		assert_int_equal(httpd_send(lab.srv, lab.conn, block, room), 0);
		sent += room;
	}
	assert_int_equal(httpd_room(lab.srv, lab.conn), 0);
	assert_int_equal(httpd_send(lab.srv, lab.conn, block, 1), -ENOBUFS);
	for (int i = 0; i < 2000 && lab.cli_bytes < sent; i++)
		turn(&lab);
	assert_int_equal(lab.cli_bytes, sent);
	assert_true(httpd_room(lab.srv, lab.conn) > 0);
	/* What was sent before a flushing close still arrives. */
	assert_int_equal(httpd_send(lab.srv, lab.conn, block, 1000), 0);
	httpd_close(lab.srv, lab.conn, true);
	until(&lab, &lab.cli_closed);
	assert_int_equal(lab.cli_bytes, sent + 1000);
	lab_free(&lab);
}

static int raw_connect(uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	return fd;
}

static void streams_unfinished_connections_are_limited_per_source(void **state)
{
	int fds[HTTPD_SETUP_PER_SOURCE + 5];
	struct httpd_event ev;
	struct lab lab;

	(void)state;
	lab_init(&lab, "127.0.0.1", false);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = raw_connect(lab.port);
	for (int i = 0; i < 50 && httpd_counters(lab.srv)->refused_limit < 5; i++)
		turn(&lab);
	assert_int_equal(httpd_counters(lab.srv)->refused_limit, 5);
	assert_int_equal(httpd_conns(lab.srv), HTTPD_SETUP_PER_SOURCE);
	/* Saying nothing for 10 s ends them. */
	httpd_run(lab.srv, mono_add_ms(clock_now(), HTTPD_SETUP_MS));
	while (httpd_poll(lab.srv, &ev))
		;
	assert_int_equal(httpd_conns(lab.srv), 0);
	assert_int_equal(httpd_counters(lab.srv)->setup_timeouts, HTTPD_SETUP_PER_SOURCE);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		(void)close(fds[i]);
	lab_free(&lab);
}

static int raw_connect_from(const char *source, uint16_t port)
{
	struct sockaddr_in from = { .sin_family = AF_INET }, to = { .sin_family = AF_INET, .sin_port = htons(port),
								     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(inet_pton(AF_INET, source, &from.sin_addr), 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* RELIABILITY 5, "DERP connection flood": who floods is refused, others get in. */
static void streams_a_flooding_source_does_not_shut_out_others(void **state)
{
	struct stream_addr a;
	struct lab lab;
	int fds[700];

	(void)state;
	lab_init(&lab, "127.0.0.1", false);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = raw_connect_from("127.0.0.66", lab.port);
		if (i % 50 == 0)
			turn(&lab);
	}
	for (int i = 0; i < 50 && httpd_counters(lab.srv)->refused_limit < ARRAY_LEN(fds) - HTTPD_SETUP_PER_SOURCE; i++)
		turn(&lab);
	assert_int_equal(httpd_counters(lab.srv)->refused_limit, ARRAY_LEN(fds) - HTTPD_SETUP_PER_SOURCE);
	assert_int_equal(httpd_counters(lab.srv)->refused_rate, 0);
	a = addr_of(&lab, "127.0.0.1", STREAM_TLS_PIN);
	echo(&lab, &a);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		(void)close(fds[i]);
	lab_free(&lab);
}

static void cert_errors_are_told(void **state)
{
	const char *why = NULL;
	char *cert, *key, *cert2, *key2;
	struct cert_tls *t;

	(void)state;
	assert_int_equal(cert_self_signed("", wall_s(), &cert, &key), -EINVAL);
	assert_int_equal(cert_self_signed("a,DNS:b", wall_s(), &cert, &key), -EINVAL);
	assert_int_equal(cert_self_signed("a.example", wall_s(), &cert, &key), 0);
	assert_int_equal(cert_self_signed("2001:db8::1", wall_s(), &cert2, &key2), 0);
	assert_null(cert_tls_new("nonsense", key, NULL, wall_s(), &why));
	assert_string_equal(why, "no certificate in the file");
	assert_null(cert_tls_new(cert, "nonsense", NULL, wall_s(), &why));
	assert_string_equal(why, "no private key in the file");
	assert_null(cert_tls_new(cert, key2, NULL, wall_s(), &why));
	assert_string_equal(why, "private key and certificate do not belong together");
	t = cert_tls_new(cert, key, NULL, wall_s(), &why);
	assert_non_null(t);
	assert_true(cert_tls_is_for(t, "a.example"));
	assert_false(cert_tls_is_for(t, "b.example"));
	assert_false(cert_tls_is_for(t, "2001:db8::1"));
	cert_tls_free(t);
	t = cert_tls_new(cert2, key2, NULL, wall_s(), &why);
	assert_non_null(t);
	assert_true(cert_tls_is_for(t, "2001:db8::1"));
	assert_false(cert_tls_is_for(t, "2001:db8::2"));
	cert_tls_free(t);
	assert_null(cert_tls_load("/nonexistent", "/nonexistent", NULL, wall_s(), &why));
	assert_string_equal(why, "cannot read the certificate file");
	free(cert);
	free(cert2);
	cert_key_free(key);
	cert_key_free(key2);
}

static void cert_meta_is_read_as_upstream_writes_it(void **state)
{
	cJSON *all = test_vectors("derp.json");
	uint8_t key[KEY_SIZE], want[KEY_SIZE], version = 0, *der;
	const cJSON *v;
	size_t size;

	(void)state;
	cJSON_ArrayForEach(v, test_get(all, "vectors")) {
		if (strcmp(test_str(v, "name"), "meta_cert") != 0)
			continue;
		der = test_unhex_dup(test_str(v, "der_hex"), &size);
		assert_int_equal(cert_meta_parse(der, size, key, &version), 0);
		assert_int_equal(version, 2);
		test_unhex(want, sizeof(want), test_str(v, "subject_cn") + strlen("derpkey"));
		assert_memory_equal(key, want, sizeof(want));
		assert_int_equal(cert_meta_parse(der, size - 1, key, &version), -ENOENT);
		free(der);
	}
	assert_int_equal(version, 2);
	cJSON_Delete(all);
}

static void stund_answers_from_the_address_asked(void **state)
{
	struct sockaddr_in to = { .sin_family = AF_INET }, from;
	uint8_t req[STUN_REQUEST_SIZE], resp[STUN_RESPONSE_MAX];
	struct stun_txid txid = { { 1, 2, 3 } }, got;
	socklen_t size = sizeof(from);
	struct pollfd pfd;
	struct test_env env;
	struct stund s;
	struct ep ep;
	ssize_t n;
	int fd;

	(void)state;
	test_env_init(&env, 1);
	stund_init(&s, &env.env);
	assert_int_equal(stund_open(&s, 0, 0), 0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	to.sin_port = htons(s.port);
	/* Not the address that the kernel would choose as source by itself. */
	assert_int_equal(inet_pton(AF_INET, "127.0.0.3", &to.sin_addr), 1);
	stun_request_write(req, &txid);
	assert_int_equal(sendto(fd, req, sizeof(req), 0, (struct sockaddr *)&to, sizeof(to)), (ssize_t)sizeof(req));
	pfd = (struct pollfd){ .fd = s.fd4, .events = POLLIN };
	assert_int_equal(poll(&pfd, 1, 2000), 1);
	stund_run(&s, s.fd4, clock_now());
	n = recvfrom(fd, resp, sizeof(resp), 0, (struct sockaddr *)&from, &size);
	assert_int_equal(n, 32);
	assert_int_equal(from.sin_addr.s_addr, to.sin_addr.s_addr);
	assert_int_equal(from.sin_port, to.sin_port);
	assert_int_equal(stun_response_parse(&got, &ep, resp, (size_t)n), 0);
	assert_memory_equal(&got, &txid, sizeof(txid));
	assert_true(ip_is_loopback(&ep.ip));
	(void)close(fd);
	stund_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_plain_and_tls_share_a_port),
		cmocka_unit_test(streams_meta_certificate_names_the_derp_key),
		cmocka_unit_test(streams_wrong_certificates_are_refused),
		cmocka_unit_test(streams_public_verification_checks_chain_and_name),
		cmocka_unit_test(streams_refused_port_is_reported),
		cmocka_unit_test(streams_a_reader_that_does_not_read_fills_a_bounded_queue),
		cmocka_unit_test(streams_unfinished_connections_are_limited_per_source),
		cmocka_unit_test(streams_a_flooding_source_does_not_shut_out_others),
		cmocka_unit_test(cert_errors_are_told),
		cmocka_unit_test(cert_meta_is_read_as_upstream_writes_it),
		cmocka_unit_test(stund_answers_from_the_address_asked),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
