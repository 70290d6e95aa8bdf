/* SPDX-License-Identifier: MIT */
/* wire/stun on the vectors of the upstream client and server, and the limits of relay/stunserver. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "relay/stunserver.h"
#include "tests/unit/testing.h"
#include "wire/stun.h"

static const cJSON *vector(const cJSON *all, const char *name)
{
	const cJSON *v;

	cJSON_ArrayForEach(v, test_get(all, "vectors"))
		if (strcmp(test_str(v, "name"), name) == 0)
			return v;
	fail_msg("no vector %s", name);
	return NULL;
}

static void stun_requests_are_judged_as_upstream(void **state)
{
	cJSON *all = test_vectors("stun.json");
	const cJSON *v;
	int seen = 0;

	(void)state;
	cJSON_ArrayForEach(v, test_get(all, "vectors")) {
		const cJSON *verdict = cJSON_GetObjectItem(v, "upstream_server_parse");
		struct stun_txid txid, want;
		uint8_t *buf;
		size_t size;
		bool ok;

		if (!verdict)
			continue;
		seen++;
		buf = test_unhex_dup(test_str(v, "hex"), &size);
		ok = strncmp(verdict->valuestring, "ok ", 3) == 0;
		assert_int_equal(stun_request_parse(&txid, buf, size), ok ? 0 : -EBADMSG);
		if (ok) {
			test_unhex(want.b, sizeof(want.b), verdict->valuestring + strlen("ok txid="));
			assert_memory_equal(txid.b, want.b, sizeof(want.b));
		}
		free(buf);
	}
	assert_int_equal(seen, 8);
	cJSON_Delete(all);
}

static void stun_responses_are_judged_as_upstream(void **state)
{
	cJSON *all = test_vectors("stun.json");
	const cJSON *v;
	int seen = 0;

	(void)state;
	cJSON_ArrayForEach(v, test_get(all, "vectors")) {
		const cJSON *verdict = cJSON_GetObjectItem(v, "upstream_client_parse");
		struct ep got = { 0 };
		struct stun_txid txid;
		char text[EP_TEXT_MAX];
		const char *addr;
		uint8_t *buf;
		size_t size;
		int err;

		if (!verdict)
			continue;
		seen++;
		buf = test_unhex_dup(test_str(v, "hex"), &size);
		err = stun_response_parse(&txid, &got, buf, size);
		addr = strstr(verdict->valuestring, "addr=");
		assert_int_equal(err, addr ? 0 : -EBADMSG);
		if (addr && strncmp(test_str(v, "name"), "live_", 5) == 0)
			assert_non_null(ip_write(text, &got.ip));
		else if (addr)
			assert_non_null(ep_write(text, &got));
		if (addr)
			assert_string_equal(text, addr + strlen("addr="));
		assert_true(addr || !ep_is_set(&got));
		free(buf);
	}
	assert_int_equal(seen, 13);
	cJSON_Delete(all);
}

/* Both vector files hold packets as upstream writes them. */
static void check_written(const char *hex, const char *txid_hex, const char *addr)
{
	uint8_t out[STUN_RESPONSE_MAX], *want;
	struct stun_txid txid;
	struct ep ep;
	size_t size;

	want = test_unhex_dup(hex, &size);
	test_unhex(txid.b, sizeof(txid.b), txid_hex);
	if (addr) {
		assert_int_equal(ep_parse(&ep, addr, strlen(addr)), 0);
		assert_int_equal(stun_response_write(out, &txid, &ep), size);
	} else {
		assert_int_equal(size, STUN_REQUEST_SIZE);
		stun_request_write(out, &txid);
	}
	assert_memory_equal(out, want, size);
	free(want);
}

static void stun_packets_are_written_as_upstream(void **state)
{
	cJSON *all = test_vectors("stun.json"), *disco = test_vectors("disco.json");
	const cJSON *list = test_get(disco, "stun");
	const char *names[] = { "response_ipv4", "response_ipv6" };

	(void)state;
	check_written(test_str(vector(all, "request"), "hex"), "0102030405060708090a0b0c", NULL);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const cJSON *v = vector(all, names[i]);

		check_written(test_str(v, "hex"), test_str(v, "txid_hex"), test_str(v, "addr"));
	}
	check_written(test_str(cJSON_GetArrayItem(list, 0), "packet"), "112233445566778899aabbcc", NULL);
	for (int i = 1; i < 3; i++)
		check_written(test_str(cJSON_GetArrayItem(list, i), "packet"), "112233445566778899aabbcc",
			      test_str(cJSON_GetArrayItem(list, i), "addr"));
	cJSON_Delete(all);
	cJSON_Delete(disco);
}

static void stun_response_is_told_from_request(void **state)
{
	uint8_t req[STUN_REQUEST_SIZE], resp[STUN_RESPONSE_MAX];
	struct stun_txid txid = { { 1 } };
	struct ep ep = { .ip = ip4(192, 0, 2, 1), .port = 1 };
	size_t size = stun_response_write(resp, &txid, &ep);

	(void)state;
	stun_request_write(req, &txid);
	assert_true(stun_is_stun(req, sizeof(req)));
	assert_false(stun_is_response(req, sizeof(req)));
	assert_true(stun_is_response(resp, size));
	assert_false(stun_is_stun(resp, STUN_HEADER_SIZE - 1));
	resp[0] |= 0x40;
	assert_false(stun_is_stun(resp, size));
}

static void stunserver_answers_at_most_1_1_times_the_request(void **state)
{
	static struct stunserver s;
	uint8_t req[STUN_REQUEST_SIZE], out[STUN_RESPONSE_MAX];
	struct ep from4 = { .ip = ip4(192, 0, 2, 7), .port = 5000 }, from6 = from4, got;
	struct stun_txid txid = { { 7 } }, back;
	struct test_env env;
	size_t size;

	(void)state;
	test_env_init(&env, 1);
	from6.ip = (struct ip){ .family = IP_V6, .b = { 0x20, 0x01, 0x0d, 0xb8, 1 } };
	stunserver_init(&s, &env.env);
	stun_request_write(req, &txid);
	size = stunserver_answer(&s, (struct mono){ NS_PER_S }, &from4, req, sizeof(req), out);
	assert_int_equal(size, 32);
	assert_int_equal(stun_response_parse(&back, &got, out, size), 0);
	assert_true(ep_eq(&got, &from4));
	size = stunserver_answer(&s, (struct mono){ NS_PER_S }, &from6, req, sizeof(req), out);
	assert_true(size * 10 <= sizeof(req) * 11);
	assert_int_equal(stunserver_answer(&s, (struct mono){ NS_PER_S }, &from4, req, 39, out), 0);
	assert_int_equal(s.n.answered4, 1);
	assert_int_equal(s.n.answered6, 1);
	assert_int_equal(s.n.drop_malformed, 1);
}

static void stunserver_limits_each_source(void **state)
{
	static struct stunserver s;
	uint8_t req[STUN_REQUEST_SIZE], out[STUN_RESPONSE_MAX];
	struct ep loud = { .ip = ip4(192, 0, 2, 7), .port = 5000 }, calm = { .ip = ip4(192, 0, 2, 8), .port = 1 };
	struct stun_txid txid = { { 7 } };
	struct mono now = { 10 * NS_PER_S };
	struct test_env env;
	int answers = 0;

	(void)state;
	test_env_init(&env, 2);
	stunserver_init(&s, &env.env);
	stun_request_write(req, &txid);
	/* 10,000 requests in one second: the burst and one second's worth. */
	for (int i = 0; i < 10000; i++) {
		loud.port = (uint16_t)i; /* another port is the same source */
		answers += stunserver_answer(&s, now, &loud, req, sizeof(req), out) > 0;
		now = mono_add_ns(now, NS_PER_S / 10000);
	}
	assert_in_range(answers, STUNSERVER_PER_SOURCE, 2 * STUNSERVER_PER_SOURCE);
	assert_true(stunserver_answer(&s, now, &calm, req, sizeof(req), out) > 0);
	assert_int_equal(s.n.drop_rate, 10000 - answers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stun_requests_are_judged_as_upstream),
		cmocka_unit_test(stun_responses_are_judged_as_upstream),
		cmocka_unit_test(stun_packets_are_written_as_upstream),
		cmocka_unit_test(stun_response_is_told_from_request),
		cmocka_unit_test(stunserver_answers_at_most_1_1_times_the_request),
		cmocka_unit_test(stunserver_limits_each_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
