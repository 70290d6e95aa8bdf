/* SPDX-License-Identifier: MIT */
/* daemon/crew: each part of each run is done once, by one thread, before the run is over. */
#include "tests/unit/testing.h"

#include <string.h>
#include <unistd.h>

#include "daemon/crew.h"

enum { PARTS = 100, RUNS = 20000 };

struct work {
	uint32_t in[PARTS], out[PARTS], n_done[PARTS];
	bool used[CREW_HELPERS_MAX + 1];
	unsigned slow; /* every so many parts, one takes long */
};

/* Plain memory on purpose: under TSan, a part that two threads do at once is a report. */
static void square(void *ctx, uint32_t i, unsigned lane)
{
	struct work *w = ctx;

	w->out[i] = w->in[i] * w->in[i];
	w->n_done[i]++;
	if (w->slow && w->in[i] % w->slow == 0)
		(void)usleep(100);
	if (lane && !__atomic_load_n(&w->used[lane], __ATOMIC_RELAXED))
		__atomic_store_n(&w->used[lane], true, __ATOMIC_RELAXED);
}

static void run_many(unsigned n_helpers, unsigned slow, uint32_t n_runs)
{
	struct work w = { .slow = slow };
	struct test_env env;
	struct crew *c;

	test_env_init(&env, 3 + n_helpers);
	assert_int_equal(crew_new(&c, n_helpers, "test-crew"), 0);
	for (uint32_t r = 0; r < n_runs; r++) {
		const uint32_t n = (uint32_t)(test_random(&env) % (PARTS + 1));

		for (uint32_t i = 0; i < n; i++) {
			w.in[i] = r * PARTS + i;
			w.n_done[i] = 0;
		}
		crew_run(c, square, &w, n);
		for (uint32_t i = 0; i < n; i++) {
			assert_int_equal(w.out[i], w.in[i] * w.in[i]);
			assert_int_equal(w.n_done[i], 1);
		}
		/* Time enough to fall asleep. */
		if (r % 512 == 511)
			(void)usleep(2000);
	}
	crew_free(c);
	/* With parts that take long the helpers must have had their share. */
	for (unsigned i = 1; slow && i <= n_helpers; i++)
		assert_true(w.used[i]);
}

static void crew_does_every_part_once(void **state)
{
	(void)state;
	for (unsigned n = 0; n <= CREW_HELPERS_MAX; n++)
		run_many(n, 0, RUNS);
}

static void crew_shares_the_work(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= CREW_HELPERS_MAX; n++)
		run_many(n, 10, 200);
}

static void crew_ends_at_once_without_work(void **state)
{
	struct crew *c;

	(void)state;
	for (int i = 0; i < 50; i++) {
		assert_int_equal(crew_new(&c, CREW_HELPERS_MAX, "test-crew"), 0);
		if (i % 2)
			(void)usleep(500);
		crew_free(c);
	}
	assert_int_equal(crew_new(&c, 0, "test-crew"), 0);
	assert_null(c);
	crew_free(c);
	assert_int_equal(crew_default(1) + crew_default(2), 0);
	assert_int_equal(crew_default(3), 1);
	assert_in_range(crew_default(1000), 1, CREW_HELPERS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crew_does_every_part_once),
		cmocka_unit_test(crew_shares_the_work),
		cmocka_unit_test(crew_ends_at_once_without_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
