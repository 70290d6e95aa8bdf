/* SPDX-License-Identifier: MIT */
/* base/: cursors, byte queue, keys, addresses, map and heap against slow models. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/ep.h"
#include "base/heap.h"
#include "base/hkdf.h"
#include "base/key.h"
#include "base/map.h"

static void rd_is_sticky_past_the_end(void **state)
{
	static const uint8_t buf[] = { 1, 2, 3, 4, 5 };
	struct rd r = RD(buf, sizeof(buf));

	(void)state;
	assert_int_equal(rd_u8(&r), 1);
	assert_int_equal(rd_be16(&r), 0x0203);
	assert_int_equal(rd_le16(&r), 0x0504);
	assert_false(r.bad);
	assert_int_equal(rd_u8(&r), 0);
	assert_true(r.bad);
}

static void wr_writes_nothing_after_overflow(void **state)
{
	uint8_t buf[4] = { 0 };
	struct wr w = WR(buf, sizeof(buf));

	(void)state;
	wr_be16(&w, 0x1122);
	wr_be32(&w, 1);
	wr_u8(&w, 9);
	assert_true(w.bad);
	assert_int_equal(wr_used(&w, sizeof(buf)), 2);
	assert_int_equal(buf[2], 0);
}

static void bytes_match_a_plain_buffer(void **state)
{
	uint8_t model[4096], chunk[256];
	size_t n = 0;
	struct bytes b = { .max = 2000 };
	struct test_env t;

	(void)state;
	test_env_init(&t, 7);
	for (int i = 0; i < 20000; i++) {
		size_t k = test_random(&t) % sizeof(chunk);

		if (test_random(&t) % 2) {
			for (size_t j = 0; j < k; j++)
				chunk[j] = (uint8_t)test_random(&t);
			if (n + k > b.max) {
				assert_int_equal(bytes_append(&b, chunk, k), -ENOBUFS);
			} else {
				assert_int_equal(bytes_append(&b, chunk, k), 0);
				memcpy(model + n, chunk, k);
				n += k;
			}
		} else {
			bytes_consume(&b, k);
			k = k < n ? k : n;
			memmove(model, model + k, n - k);
			n -= k;
		}
		assert_int_equal(bytes_size(&b), n);
		if (n)
			assert_memory_equal(bytes_data(&b), model, n);
	}
	bytes_wipe(&b);
}

static void key_text_follows_the_vectors(void **state)
{
	cJSON *v = test_vectors("control.json");
	const cJSON *row;

	(void)state;
	cJSON_ArrayForEach(row, test_get(test_get(v, "keys"), "parse"))
	{
		const char *type = test_str(row, "as"), *text = test_str(row, "text");
		enum key_kind kind = strcmp(type, "node public") == 0    ? KEY_NODE :
				     strcmp(type, "machine public") == 0 ? KEY_MACHINE :
				     strcmp(type, "disco public") == 0   ? KEY_DISCO :
								    KEY_PRIVATE;
		uint8_t raw[KEY_SIZE];
		bool ok = cJSON_IsTrue(test_get(row, "ok"));

		assert_int_equal(key_parse(raw, kind, text, strlen(text)), ok ? 0 : -EBADMSG);
	}
	cJSON_Delete(v);
}

static void addresses_parse_and_print(void **state)
{
	static const struct {
		const char *in, *out;
	} eps[] = {
		{ "192.0.2.1:41641", "192.0.2.1:41641" },
		{ "[2001:DB8::1]:40000", "[2001:db8::1]:40000" },
		{ "[::ffff:192.0.2.1]:1", "192.0.2.1:1" },
		{ "192.0.2.1", NULL },
		{ "192.0.2.1:65536", NULL },
		{ "192.0.2.1:01", NULL },
		{ "192.0.2.1:", NULL },
		{ "192.0.2.01:1", NULL },
		{ "2001:db8::1:40000", NULL },
		{ "[192.0.2.1]:1", NULL },
		{ "[fe80::1%eth0]:1", NULL },
		{ ":1", NULL },
		{ "", NULL },
		{ "host:1", NULL },
	};
	char text[EP_TEXT_MAX];
	struct prefix p;
	struct ep ep;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(eps); i++) {
		int err = ep_parse(&ep, eps[i].in, strlen(eps[i].in));

		assert_int_equal(err, eps[i].out ? 0 : -EBADMSG);
		if (!err)
			assert_string_equal(ep_write(text, &ep), eps[i].out);
	}
	assert_int_equal(prefix_parse(&p, "10.1.2.3/8", 10, false), 0);
	assert_false(prefix_is_masked(&p));
	p = prefix_masked(&p);
	assert_string_equal(prefix_write(text, &p), "10.0.0.0/8");
	assert_int_equal(prefix_parse(&p, "10.0.0.0/33", 11, false), -EBADMSG);
	assert_int_equal(prefix_parse(&p, "10.0.0.0", 8, false), -EBADMSG);
	assert_int_equal(prefix_parse(&p, "10.0.0.0", 8, true), 0);
	assert_int_equal(p.bits, 32);
}

static void prefix_contains_agrees_with_bits(void **state)
{
	struct test_env t;

	(void)state;
	test_env_init(&t, 3);
	for (int i = 0; i < 20000; i++) {
		struct prefix p = { .ip = ip4(10, (uint8_t)(test_random(&t) % 4), 1, 0),
				    .bits = (uint8_t)(test_random(&t) % 33) };
		struct ip ip = ip4(10, (uint8_t)(test_random(&t) % 4), (uint8_t)test_random(&t), 7);
		uint32_t a = (uint32_t)p.ip.b[0] << 24 | (uint32_t)p.ip.b[1] << 16 | 1u << 8;
		uint32_t b = (uint32_t)ip.b[0] << 24 | (uint32_t)ip.b[1] << 16 |
			     (uint32_t)ip.b[2] << 8 | 7;
		uint32_t mask = p.bits ? ~UINT32_C(0) << (32 - p.bits) : 0;

		assert_int_equal(prefix_contains(&p, &ip), (a & mask) == (b & mask));
	}
}

static void map_matches_an_array(void **state)
{
	static int values[512];
	void *model[512] = { 0 };
	struct test_env t;
	struct map m;
	size_t n = 0;

	(void)state;
	test_env_init(&t, 11);
	map_init(&m, sizeof(uint32_t), 400, &t.env);
	for (int i = 0; i < 200000; i++) {
		uint32_t k = (uint32_t)(test_random(&t) % 512);

		if (test_random(&t) % 2) {
			int err = map_put(&m, &k, &values[k]);

			assert_int_equal(err, !model[k] && n == 400 ? -ENOBUFS : 0);
			n += !err && !model[k];
			if (!err)
				model[k] = &values[k];
		} else {
			assert_ptr_equal(map_del(&m, &k), model[k]);
			n -= model[k] != NULL;
			model[k] = NULL;
		}
		k = (uint32_t)(test_random(&t) % 512);
		assert_ptr_equal(map_get(&m, &k), model[k]);
		assert_int_equal(m.n, n);
	}
	map_wipe(&m);
}

static void heap_gives_the_earliest(void **state)
{
	struct heap_node nodes[64] = { 0 };
	struct test_env t;
	struct heap h = { 0 };

	(void)state;
	test_env_init(&t, 5);
	for (size_t i = 0; i < ARRAY_LEN(nodes); i++)
		nodes[i].deadline = MONO_NEVER;
	for (int i = 0; i < 50000; i++) {
		size_t k = test_random(&t) % ARRAY_LEN(nodes);
		struct mono first = MONO_NEVER, d = { (int64_t)(test_random(&t) % 1000) };

		assert_int_equal(heap_set(&h, &nodes[k], test_random(&t) % 3 ? d : MONO_NEVER), 0);
		for (size_t j = 0; j < ARRAY_LEN(nodes); j++)
			first = mono_min(first, nodes[j].deadline);
		assert_int_equal(heap_deadline(&h).ns, first.ns);
	}
	heap_wipe(&h);
}

/* RFC 7693 has no HMAC; this pair was computed with an independent implementation (Python hmac over
 * hashlib.blake2s). */
static void hmac_matches_python(void **state)
{
	uint8_t key[32], out[32], want[32];

	(void)state;
	for (uint8_t i = 0; i < 32; i++)
		key[i] = i;
	hmac2(out, key, "mesh", 4, "d", 1);
	test_unhex(want, 32, "5e1ac77a7a681132a4cbb0e0669256230199a2f5b4f7a01b90b0cafccfe423cc");
	assert_memory_equal(out, want, 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rd_is_sticky_past_the_end),
		cmocka_unit_test(wr_writes_nothing_after_overflow),
		cmocka_unit_test(bytes_match_a_plain_buffer),
		cmocka_unit_test(key_text_follows_the_vectors),
		cmocka_unit_test(addresses_parse_and_print),
		cmocka_unit_test(prefix_contains_agrees_with_bits),
		cmocka_unit_test(map_matches_an_array),
		cmocka_unit_test(heap_gives_the_earliest),
		cmocka_unit_test(hmac_matches_python),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
