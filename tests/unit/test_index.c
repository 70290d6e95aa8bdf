/* SPDX-License-Identifier: MIT */
/* wg/index: indices are unique, found again, and a late one finds nobody. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "wg/index.h"

static void index_finds_its_owner_until_it_is_put(void **state)
{
	enum { MAX = 100, SPACE = 300 };
	struct {
		uint32_t index;
		bool used;
	} owner[SPACE] = { 0 };
	struct index_table t;
	struct test_env env;
	unsigned n = 0;

	(void)state;
	test_env_init(&env, 5);
	index_init(&t, MAX, &env.env);
	for (int step = 0; step < 100000; step++) {
		size_t k = test_random(&env) % SPACE;

		if (owner[k].used) {
			assert_ptr_equal(index_get(&t, owner[k].index), &owner[k]);
			index_put(&t, owner[k].index);
			assert_null(index_get(&t, owner[k].index));
			index_put(&t, owner[k].index); /* ignored */
			owner[k].used = false;
			n--;
		} else if (n == MAX) {
			assert_int_equal(index_alloc(&t, &owner[k], &owner[k].index), -ENOBUFS);
		} else {
			uint32_t last = owner[k].index;

			assert_int_equal(index_alloc(&t, &owner[k], &owner[k].index), 0);
			assert_in_range(index_slot(owner[k].index), 0, MAX - 1);
			assert_true(step == 0 || owner[k].index != last || last == 0);
			owner[k].used = true;
			n++;
		}
		assert_int_equal(t.n, n);
	}
	index_wipe(&t);
	assert_null(index_get(&t, 0));
}

static void index_tag_changes_with_each_use_of_a_slot(void **state)
{
	struct index_table t;
	struct test_env env;
	uint32_t seen[50], index;
	int self;

	(void)state;
	test_env_init(&env, 6);
	index_init(&t, 1, &env.env);
	for (size_t i = 0; i < 50; i++) {
		assert_int_equal(index_alloc(&t, &self, &index), 0);
		assert_int_equal(index_slot(index), 0);
		for (size_t j = 0; j < i; j++) {
			assert_int_not_equal(seen[j], index);
			assert_null(index_get(&t, seen[j]));
		}
		seen[i] = index;
		index_put(&t, index);
	}
	assert_null(index_get(&t, UINT32_MAX));
	index_wipe(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(index_finds_its_owner_until_it_is_put),
		cmocka_unit_test(index_tag_changes_with_each_use_of_a_slot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
