/* SPDX-License-Identifier: MIT */
/* Limits on opening disco boxes. */
#include "tests/unit/testing.h"

#include <string.h>

#include "path/discogate.h"

static const struct ep E1 = { .ip = { IP_V4, { 198, 51, 100, 1 } }, .port = 1 };
static const struct ep E2 = { .ip = { IP_V4, { 198, 51, 100, 2 } }, .port = 1 };

static void eight_failures_in_a_second_make_a_source_wait(void **state)
{
	struct test_env te;
	struct discogate g;
	struct mono now = mono_add_s(MONO_ZERO, 9);
	const struct disco_key key = { { 1 } }, other = { { 2 } };
	struct path_addr bad = path_direct(&E1), good = path_direct(&E2);

	(void)state;
	test_env_init(&te, 1);
	discogate_init(&g, now, &te.env);
	for (int i = 0; i < 8; i++) {
		assert_true(discogate_may_open(&g, now, &key, &bad));
		discogate_failed(&g, now, &key, &bad);
		bad.ep.port++; /* another port is no other source */
	}
	assert_false(discogate_may_open(&g, now, &key, &bad));
	assert_int_equal(g.drop_source, 1);
	/* The peer itself, elsewhere, and other keys from there are not hurt. */
	assert_true(discogate_may_open(&g, now, &key, &good));
	assert_true(discogate_may_open(&g, now, &other, &bad));
	now = mono_add_ms(now, 125);
	assert_true(discogate_may_open(&g, now, &key, &bad));
}

static void authentic_packets_are_limited_in_total_only(void **state)
{
	struct test_env te;
	struct discogate g;
	const struct mono now = mono_add_s(MONO_ZERO, 9);
	const struct disco_key key = { { 1 } };
	const struct path_addr from = path_direct(&E1);
	int n = 0;

	(void)state;
	test_env_init(&te, 1);
	discogate_init(&g, now, &te.env);
	for (int i = 0; i < 5000; i++)
		n += discogate_may_open(&g, mono_add_ns(now, i * INT64_C(10000)), &key, &from);
	assert_in_range(n, DISCOGATE_OPENS_BURST + 990,
			DISCOGATE_OPENS_BURST + 1010); /* 50 ms at 20,000/s */
	assert_int_equal(g.drop_total, 5000 - n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(eight_failures_in_a_second_make_a_source_wait),
		cmocka_unit_test(authentic_packets_are_limited_in_total_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
