/* SPDX-License-Identifier: MIT */
/* relay/relayqueue: when a relay worker's receive buffer shrinks, how far, and when it is whole again. */
#include "config.h"

#include "tests/unit/testing.h"

#include "relay/relayqueue.h"

enum { TURN_US = 500, TURNS = RELAYQUEUE_WINDOW_MS * 1000 / TURN_US };

static const int64_t window_ns = RELAYQUEUE_WINDOW_MS * NS_PER_MS;

/* One window of turns, of which the last has lost 'lost' more, with 'rest_ns' of rest in all. Returns how often the
 * buffer changed. */
static int window(struct relayqueue *q, struct mono *now, int64_t rest_ns, uint64_t *n_lost, uint64_t lost)
{
	int n = 0;

	for (int i = 0; i < TURNS; i++) {
		*now = mono_add_ns(*now, TURN_US * NS_PER_US);
		if (i == TURNS - 1)
			*n_lost += lost;
		n += relayqueue_add(q, *now, i == 0 ? rest_ns : 0, *n_lost);
	}
	return n;
}

/* Makes it as small as it gets; returns after how many windows. */
static int overload(struct relayqueue *q, struct mono *now, uint64_t *n_lost)
{
	int n = 0;

	while (window(q, now, 0, n_lost, 1))
		n++;
	return n;
}

static void test_overload(void **state)
{
	struct mono now = { 100 * NS_PER_S };
	struct relayqueue q;
	uint64_t n_lost = 7;
	uint32_t last = RELAYQUEUE_MAX;

	(void)state;
	relayqueue_init(&q, now);
	assert_int_equal(q.bytes, RELAYQUEUE_MAX);
	while (window(&q, &now, 0, &n_lost, 1)) {
		/* Never more than a quarter at once: that much is lost on the way. */
		assert_in_range(q.bytes, last / 4 * 3, last - 1);
		last = q.bytes;
	}
	assert_int_equal(q.bytes, RELAYQUEUE_MIN);
	relayqueue_init(&q, now);
	assert_in_range(overload(&q, &now, &n_lost), 5, 12);
	assert_int_equal(q.bytes, RELAYQUEUE_MIN);
}

/* Busy without loss, and loss without being busy, change nothing. */
static void test_no_overload(void **state)
{
	struct mono now = { 100 * NS_PER_S };
	struct relayqueue q;
	uint64_t n_lost = 0;

	(void)state;
	relayqueue_init(&q, now);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(window(&q, &now, 0, &n_lost, 0), 0);
		assert_int_equal(window(&q, &now, window_ns / RELAYQUEUE_REST_SHARE, &n_lost, 1000), 0);
	}
	assert_int_equal(q.bytes, RELAYQUEUE_MAX);
	/* A little less rest is none. */
	assert_int_equal(window(&q, &now, window_ns / RELAYQUEUE_REST_SHARE - 1, &n_lost, 1), 1);
	assert_true(q.bytes < RELAYQUEUE_MAX);
}

static void test_end_of_overload(void **state)
{
	struct mono now = { 100 * NS_PER_S };
	struct relayqueue q;
	uint64_t n_lost = 0;

	(void)state;
	relayqueue_init(&q, now);
	assert_true(overload(&q, &now, &n_lost) > 0);
	/* Loss has ended, but the worker is as busy as before: it stays. */
	for (int i = 0; i < 50; i++)
		assert_int_equal(window(&q, &now, 0, &n_lost, 0), 0);
	assert_int_equal(q.bytes, RELAYQUEUE_MIN);
	/* A little rest, whatever was lost in that window; and so on until it is whole. */
	assert_int_equal(window(&q, &now, window_ns / RELAYQUEUE_REST_SHARE, &n_lost, 1), 1);
	assert_int_equal(q.bytes, 2 * RELAYQUEUE_MIN);
	for (int i = 0; i < 10; i++)
		(void)window(&q, &now, window_ns / RELAYQUEUE_REST_SHARE, &n_lost, 1);
	assert_int_equal(q.bytes, RELAYQUEUE_MAX);
	/* Half a window, at once. */
	assert_true(overload(&q, &now, &n_lost) > 0);
	assert_int_equal(window(&q, &now, window_ns / RELAYQUEUE_CALM_SHARE, &n_lost, 1), 1);
	assert_int_equal(q.bytes, RELAYQUEUE_MAX);
	/* Or one long silence, as seen by the turn behind it. */
	assert_true(overload(&q, &now, &n_lost) > 0);
	now = mono_add_s(now, 60);
	assert_true(relayqueue_add(&q, now, 60 * NS_PER_S, n_lost + 5));
	assert_int_equal(q.bytes, RELAYQUEUE_MAX);
}

/* A worker that others keep from its core needs the whole buffer, however busy it is otherwise. */
static void test_gap(void **state)
{
	struct mono now = { 100 * NS_PER_S };
	struct relayqueue q;
	uint64_t n_lost = 0;

	(void)state;
	relayqueue_init(&q, now);
	for (int i = 0; i < 50; i++) {
		now = mono_add_ns(now, RELAYQUEUE_GAP_US * NS_PER_US);
		assert_false(relayqueue_add(&q, now, 0, ++n_lost));
	}
	assert_int_equal(q.bytes, RELAYQUEUE_MAX);
	(void)window(&q, &now, 0, &n_lost, 1); /* what was begun ends */
	/* Rest is no gap. */
	assert_true(overload(&q, &now, &n_lost) > 0);
	assert_int_equal(q.bytes, RELAYQUEUE_MIN);
	assert_int_equal(window(&q, &now, 0, &n_lost, 1), 0);
	now = mono_add_ns(now, RELAYQUEUE_GAP_US * NS_PER_US);
	assert_false(relayqueue_add(&q, now, RELAYQUEUE_GAP_US * NS_PER_US / 20, n_lost));
	assert_int_equal(window(&q, &now, 0, &n_lost, 1), 0);
	assert_int_equal(q.bytes, RELAYQUEUE_MIN);
	now = mono_add_ns(now, RELAYQUEUE_GAP_US * NS_PER_US);
	assert_false(relayqueue_add(&q, now, 0, n_lost));
	assert_int_equal(window(&q, &now, 0, &n_lost, 1), 1);
	assert_int_equal(q.bytes, RELAYQUEUE_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overload),
		cmocka_unit_test(test_no_overload),
		cmocka_unit_test(test_end_of_overload),
		cmocka_unit_test(test_gap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
