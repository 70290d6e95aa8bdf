/* SPDX-License-Identifier: MIT */
/* wg/ratelimit: rate and burst, what counts as one source, and the bound of the table. */
#include "tests/unit/testing.h"

#include <stdlib.h>
#include <string.h>

#include "wg/ratelimit.h"

static const struct mono t0 = { 1000 * NS_PER_S };

static unsigned allowed(struct ratelimit *r, struct mono t, const struct ip *ip, int tries)
{
	unsigned n = 0;

	for (int i = 0; i < tries; i++)
		n += ratelimit_allow(r, t, ip);
	return n;
}

static void ratelimit_allows_bursts_of_5_and_20_a_second(void **state)
{
	struct ip ip = ip4(192, 0, 2, 1);
	struct test_env t;
	struct ratelimit r;
	unsigned n = 0;

	(void)state;
	test_env_init(&t, 1);
	ratelimit_init(&r, 0, &t.env);
	assert_int_equal(allowed(&r, t0, &ip, 10), 5);
	assert_int_equal(allowed(&r, mono_add_ms(t0, 49), &ip, 10), 0);
	assert_int_equal(allowed(&r, mono_add_ms(t0, 50), &ip, 10), 1);
	assert_int_equal(allowed(&r, mono_add_s(t0, 3600), &ip, 10), 5);
	/* a try every millisecond for ten seconds */
	for (int ms = 0; ms < 10000; ms++)
		n += ratelimit_allow(&r, mono_add_ms(mono_add_s(t0, 7200), ms), &ip);
	assert_in_range(n, 5 + 199, 5 + 200);
	ratelimit_wipe(&r);
}

static void ratelimit_takes_a_64_for_one_source(void **state)
{
	struct ip a = { .family = IP_V6, .b = { 0x20, 1, 0xd, 0xb8, [15] = 1 } }, b = a, c = a;
	uint8_t id[16] = { 0x20, 1, 0xd, 0xb8 };
	struct test_env t;
	struct ratelimit r;

	(void)state;
	test_env_init(&t, 1);
	ratelimit_init(&r, 0, &t.env);
	b.b[8] = 0xff; /* same /64 */
	c.b[7] = 1;    /* another */
	assert_int_equal(allowed(&r, t0, &a, 5), 5);
	assert_int_equal(allowed(&r, t0, &b, 5), 0);
	assert_int_equal(allowed(&r, t0, &c, 6), 5);
	/* A name is no address, whatever its bytes. */
	for (int i = 0; i < 5; i++)
		assert_true(ratelimit_allow_id(&r, t0, id));
	assert_false(ratelimit_allow_id(&r, t0, id));
	ratelimit_wipe(&r);
}

/* A flood of a million sources neither grows the table nor frees those that keep coming. */
static void ratelimit_table_is_bounded(void **state)
{
	struct ip steady = ip4(203, 0, 113, 1);
	struct test_env t;
	struct ratelimit r;
	unsigned n = 0;

	(void)state;
	test_env_init(&t, 1);
	ratelimit_init(&r, 0, &t.env);
	for (uint32_t i = 0; i < 1000000; i++) {
		struct ip ip = ip4(10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i);

		assert_true(ratelimit_allow(&r, t0, &ip));
		if (i % 1000 == 0)
			n += ratelimit_allow(&r, t0, &steady);
	}
	assert_int_equal(n, 5); /* never forgotten in between */
	assert_int_equal(r.n, RATELIMIT_SOURCES_MAX);
	assert_int_equal(r.cap, RATELIMIT_SOURCES_MAX + 1);
	ratelimit_wipe(&r);
}

/* A model of a tiny table: the last 7 different sources, each with its bucket. */
static void ratelimit_forgets_the_quietest_source(void **state)
{
	enum { MAX = 7, SPACE = 12 };
	struct ratelimit r;
	struct test_env t;
	struct {
		unsigned id;
		int left;
	} lru[SPACE];
	unsigned n = 0;

	(void)state;
	test_env_init(&t, 2);
	ratelimit_init(&r, MAX, &t.env);
	for (int step = 0; step < 20000; step++) {
		unsigned id = (unsigned)(test_random(&t) % SPACE), at = 0;
		struct ip ip = ip4(192, 0, 2, (uint8_t)id);
		int left;

		while (at < n && lru[at].id != id)
			at++;
		left = at < n ? lru[at].left : RATELIMIT_BURST;
		if (at == n && n < MAX)
			n++;
		else if (at == n)
			at = n - 1;
		memmove(lru + 1, lru, at * sizeof(lru[0]));
		lru[0].id = id;
		lru[0].left = left > 0 ? left - 1 : 0;
		assert_int_equal(ratelimit_allow(&r, t0, &ip), left > 0);
	}
	ratelimit_wipe(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ratelimit_allows_bursts_of_5_and_20_a_second),
		cmocka_unit_test(ratelimit_takes_a_64_for_one_source),
		cmocka_unit_test(ratelimit_table_is_bounded),
		cmocka_unit_test(ratelimit_forgets_the_quietest_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
