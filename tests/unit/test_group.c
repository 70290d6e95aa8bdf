/* SPDX-License-Identifier: MIT */
/* base/group against a naive stable grouping. */
#include "tests/unit/testing.h"

#include <string.h>

#include "base/group.h"

struct item {
	uint64_t key;
	uint32_t seq;
	uint8_t rest[20];
};

/* For each key in the order of its first item, all its items; without the limit of keys. */
static void naive(const struct item *in, uint32_t n, struct item *out)
{
	uint32_t k = 0;

	for (uint32_t i = 0; i < n; i++) {
		bool is_new = true;

		for (uint32_t j = 0; j < i; j++)
			is_new = is_new && in[j].key != in[i].key;
		for (uint32_t j = i; is_new && j < n; j++)
			if (in[j].key == in[i].key)
				out[k++] = in[j];
	}
	assert_int_equal(k, n);
}

static void fill(struct test_env *env, struct item *items, uint64_t *keys, uint32_t n, uint64_t n_keys)
{
	const bool in_runs = test_random(env) % 2;

	for (uint32_t i = 0; i < n; i++) {
		items[i] = (struct item){ .key = 0x7f0000001000 + test_random(env) % n_keys * 192, .seq = i };
		if (in_runs && i && test_random(env) % 8)
			items[i].key = items[i - 1].key;
		memset(items[i].rest, (int)i, sizeof(items[i].rest));
		keys[i] = items[i].key;
	}
}

static void items_of_a_key_come_together_in_their_order(void **state)
{
	struct item items[GROUP_ITEMS_MAX], want[GROUP_ITEMS_MAX];
	uint64_t keys[GROUP_ITEMS_MAX];
	struct test_env env;
	struct group g;

	(void)state;
	test_env_init(&env, 11);
	for (int round = 0; round < 3000; round++) {
		const uint32_t n = (uint32_t)(test_random(&env) % (GROUP_ITEMS_MAX + 1));
		bool is_same;

		fill(&env, items, keys, n, 1 + test_random(&env) % GROUP_KEYS_MAX);
		naive(items, n, want);
		is_same = memcmp(items, want, n * sizeof(*items)) == 0;
		assert_int_equal(group_by_key(&g, keys, n), !is_same);
		if (!is_same)
			group_apply(&g, items, n, sizeof(*items));
		assert_memory_equal(items, want, n * sizeof(*items));
	}
}

static void with_too_many_keys_every_key_keeps_its_order(void **state)
{
	struct item items[GROUP_ITEMS_MAX];
	uint64_t keys[GROUP_ITEMS_MAX];
	struct test_env env;
	struct group g;

	(void)state;
	test_env_init(&env, 12);
	for (int round = 0; round < 300; round++) {
		bool is_seen[GROUP_ITEMS_MAX] = { false };

		fill(&env, items, keys, GROUP_ITEMS_MAX, 400);
		if (!group_by_key(&g, keys, GROUP_ITEMS_MAX))
			continue;
		group_apply(&g, items, GROUP_ITEMS_MAX, sizeof(*items));
		for (uint32_t i = 0; i < GROUP_ITEMS_MAX; i++) {
			assert_false(is_seen[items[i].seq]);
			is_seen[items[i].seq] = true;
			for (uint32_t j = 0; j < i; j++)
				assert_true(items[j].key != items[i].key || items[j].seq < items[i].seq);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(items_of_a_key_come_together_in_their_order),
		cmocka_unit_test(with_too_many_keys_every_key_keeps_its_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
