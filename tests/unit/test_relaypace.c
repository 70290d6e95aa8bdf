/* SPDX-License-Identifier: MIT */
/* relay/relaypace: when a relay worker pauses, for how long, and when all workers get work. */
#include "config.h"

#include "tests/unit/testing.h"

#include "base/compiler.h"
#include "relay/relaypace.h"

/* Feeds one second of wake-ups, each with 'n' receives of which 'bulk' are gathered, 'per_s' a second. Returns the
 * pause in microseconds at the end. */
static uint32_t pause_us(struct relaypace *p, struct mono *now, uint32_t per_s, uint32_t n, uint32_t bulk)
{
	for (uint32_t i = 0; i < per_s; i++) {
		*now = mono_add_ns(*now, NS_PER_S / per_s);
		relaypace_add(p, *now, n, bulk);
	}
	return p->pause_ns / 1000;
}

static void test_pause(void **state)
{
	static const struct {
		uint32_t wakes_per_s, recvs, bulk, min_us, max_us;
	} cases[] = {
		{ 1, 1, 0, 0, 0 },          /* idle */
		{ 1000, 1, 0, 0, 0 },       /* a pause would gather nothing */
		{ 10000, 1, 0, 0, 0 },      /* 1.5 datagrams: not worth it */
		{ 20000, 1, 0, 150, 150 },  /* 3 */
		{ 50000, 1, 0, 79, 81 },    /* 4, which is enough */
		{ 12500, 4, 0, 79, 81 },    /* the same rate, gathered already */
		{ 100000, 8, 0, 0, 0 },     /* busy all the time */
		{ 20000, 1, 1, 0, 0 },      /* bulk */
		{ 10000, 8, 1, 0, 0 },      /* one flow in bulk among others: it is not held up */
		{ 10000, 9, 1, 43, 45 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct relaypace p = { 0 };
		struct mono now = { 5 * NS_PER_S };
		const uint32_t us = pause_us(&p, &now, cases[i].wakes_per_s, cases[i].recvs, cases[i].bulk);

		if (us < cases[i].min_us || us > cases[i].max_us)
			fail_msg("case %zu: %u us", i, us);
		assert_true(us <= RELAYPACE_MAX_US);
	}
}

/* After silence the first datagram ends the pauses. */
static void test_pause_ends(void **state)
{
	struct relaypace p = { 0 };
	struct mono now = { NS_PER_S };

	(void)state;
	assert_int_equal(pause_us(&p, &now, 20000, 1, 0), 150);
	now = mono_add_s(now, 1);
	relaypace_add(&p, now, 1, 0);
	assert_int_equal(p.pause_ns, 0);
	assert_int_equal(pause_us(&p, &now, 20000, 1, 0), 150);
	/* It takes a whole window to begin again, and wake-ups without a datagram count as time. */
	assert_int_equal(pause_us(&p, &now, 1000, 0, 0), 0);
}

static struct mono window(struct mono now)
{
	return mono_add_ns(now, RELAYSPREAD_WINDOW_MS * NS_PER_MS);
}

static void test_spread(void **state)
{
	const uint64_t whole = RELAYSPREAD_WINDOW_MS * (uint64_t)NS_PER_MS;
	struct relayspread s = { 0 };
	struct mono now = { 100 * NS_PER_S }, begin;
	uint64_t cpu = 0;

	(void)state;
	assert_true(relayspread_is_due(&s, now));
	assert_false(relayspread_add(&s, now, cpu, 0));
	assert_false(relayspread_is_due(&s, mono_add_ns(now, 1)));
	/* 49 % is one worker's, 50 % is not. */
	now = window(now);
	assert_true(relayspread_is_due(&s, now));
	assert_false(relayspread_add(&s, now, cpu += whole * 49 / 100, 0));
	now = window(now);
	assert_true(relayspread_add(&s, now, cpu += whole / 2, 0));
	assert_true(s.is_spread);
	/* Little use for a while is not enough, and more begins it anew. */
	for (int i = 0; i < 40; i++)
		assert_false(relayspread_add(&s, now = window(now), cpu += whole * 24 / 100, 0));
	begin = now = window(now);
	assert_false(relayspread_add(&s, now, cpu += whole * 25 / 100, 0));
	do
		now = window(now);
	while (!relayspread_add(&s, now, cpu += whole * 24 / 100, 0));
	assert_false(s.is_spread);
	assert_int_equal(mono_since_ms(now, begin), RELAYSPREAD_HOLD_MS);
}

/* What the kernel drops says that one is not enough, whatever the clock says. */
static void test_spread_by_loss(void **state)
{
	struct relayspread s = { 0 };
	struct mono now = { 100 * NS_PER_S };

	(void)state;
	assert_false(relayspread_add(&s, now, 0, 0));
	assert_true(relayspread_add(&s, window(now), 0, 1));
	assert_true(s.is_spread);
	assert_false(relayspread_add(&s, window(window(now)), 0, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_pause_ends),
		cmocka_unit_test(test_spread),
		cmocka_unit_test(test_spread_by_loss),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
