/* SPDX-License-Identifier: MIT */
/* wg/replay: the reference's counter self-test with its window at 8192, and a model that remembers
 * every counter. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "wg/replay.h"

#define LIM ((uint64_t)REPLAY_WINDOW + 1)
#define END REPLAY_COUNTER_END

static bool accept(struct replay *r, uint64_t counter)
{
	bool fresh = replay_check(r, counter);
	int err = replay_accept(r, counter);

	assert_int_equal(err, fresh ? 0 : -ESTALE);
	return fresh;
}

/* WireGuard's selftest/counter.c, first table. */
static void replay_passes_the_reference_table(void **state)
{
	static const struct {
		uint64_t counter;
		bool fresh;
	} table[] = {
		{ 0, true },
		{ 1, true },
		{ 1, false },
		{ 9, true },
		{ 8, true },
		{ 7, true },
		{ 7, false },
		{ LIM, true },
		{ LIM - 1, true },
		{ LIM - 1, false },
		{ LIM - 2, true },
		{ 2, true },
		{ 2, false },
		{ LIM + 16, true },
		{ 3, false },
		{ LIM + 16, false },
		{ LIM * 4, true },
		{ LIM * 4 - (LIM - 1), true },
		{ 10, false },
		{ LIM * 4 - LIM, false },
		{ LIM * 4 - (LIM + 1), false },
		{ LIM * 4 - (LIM - 2), true },
		{ LIM * 4 + 1 - LIM, false },
		{ 0, false },
		{ END, false },
		{ END - 1, true },
		{ END, false },
		{ END - 1, false },
		{ END - 2, true },
		{ END + 1, false },
		{ END + 2, false },
		{ END - 2, false },
		{ END - 3, true },
		{ 0, false },
	};
	struct replay r;

	(void)state;
	replay_init(&r);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (accept(&r, table[i].counter) != table[i].fresh)
			fail_msg("row %zu", i + 1);
	}
}

/* Its bulk tests: whole windows upwards and downwards, then the edges. */
static void replay_passes_the_reference_bulk_tests(void **state)
{
	struct replay r;
	uint64_t i;

	(void)state;
	replay_init(&r);
	for (i = 1; i <= REPLAY_WINDOW; i++)
		assert_true(accept(&r, i));
	assert_true(accept(&r, 0));
	assert_false(accept(&r, 0));

	replay_init(&r);
	for (i = 2; i <= REPLAY_WINDOW + 1; i++)
		assert_true(accept(&r, i));
	assert_true(accept(&r, 1));
	assert_false(accept(&r, 0));

	replay_init(&r);
	for (i = REPLAY_WINDOW + 1; i-- > 0;)
		assert_true(accept(&r, i));

	replay_init(&r);
	for (i = REPLAY_WINDOW + 2; i-- > 1;)
		assert_true(accept(&r, i));
	assert_false(accept(&r, 0));

	replay_init(&r);
	for (i = REPLAY_WINDOW + 1; i-- > 1;)
		assert_true(accept(&r, i));
	assert_true(accept(&r, REPLAY_WINDOW + 1));
	assert_false(accept(&r, 0));

	replay_init(&r);
	for (i = REPLAY_WINDOW + 1; i-- > 1;)
		assert_true(accept(&r, i));
	assert_true(accept(&r, 0));
	assert_true(accept(&r, REPLAY_WINDOW + 1));
}

/* A flag per counter, without any window arithmetic. */
enum { MODEL_SPAN = 1 << 20 };

struct model {
	bool seen[MODEL_SPAN];
	uint64_t greatest;
	bool any;
};

static bool model_accept(struct model *m, uint64_t counter)
{
	if (m->any && counter + REPLAY_WINDOW < m->greatest)
		return false;
	if (m->seen[counter])
		return false;
	m->seen[counter] = true;
	if (!m->any || counter > m->greatest)
		m->greatest = counter;
	m->any = true;
	return true;
}

/* The next counter: mostly near the head, some in the window, some at its edge, some jumps. */
static uint64_t next_counter(struct test_env *t, const struct model *m)
{
	uint64_t g = m->greatest, k = test_random(t);

	switch (k >> 60) {
	case 0:
		return g + k % (2 * REPLAY_WINDOW);
	case 1:
		return g + 64 * (k % 130);
	case 2:
	case 3:
		return g > REPLAY_WINDOW + 2 ? g - REPLAY_WINDOW + k % 5 - 2 : k % 3;
	case 4:
	case 5:
	case 6:
		return g - k % ((g < REPLAY_WINDOW ? g : REPLAY_WINDOW) + 1);
	default:
		return g + k % 4;
	}
}

static void replay_agrees_with_a_model(void **state)
{
	struct model *m = calloc(1, sizeof(*m));
	uint64_t steps = 0;
	struct test_env t;
	struct replay r;

	(void)state;
	assert_non_null(m);
	test_env_init(&t, 20260102);
	/* Rounds restart the window; two million steps in all. */
	while (steps < 2000000) {
		replay_init(&r);
		memset(m, 0, sizeof(*m));
		for (;;) {
			uint64_t c = next_counter(&t, m);

			if (c >= MODEL_SPAN)
				break;
			if (accept(&r, c) != model_accept(m, c))
				fail_msg("step %llu: counter %llu", (unsigned long long)steps,
					 (unsigned long long)c);
			steps++;
		}
	}
	free(m);
}

static void replay_accepts_a_batch_in_order(void **state)
{
	static const uint64_t counters[] = { 5, 5, 6, 40000, 6, 7 };
	struct replay r;

	(void)state;
	replay_init(&r);
	/* The third is not authentic and must leave no trace. */
	assert_int_equal(replay_accept_n(&r, counters, 6, 0x3b), 0x09);
	assert_false(replay_check(&r, 6));
	assert_true(replay_check(&r, 40000 - REPLAY_WINDOW));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replay_passes_the_reference_table),
		cmocka_unit_test(replay_passes_the_reference_bulk_tests),
		cmocka_unit_test(replay_agrees_with_a_model),
		cmocka_unit_test(replay_accepts_a_batch_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
