/* SPDX-License-Identifier: MIT */
/* daemon/slots: a table against a plain array under random changes, while another thread looks
 * things up (run under TSan too). */
#include "tests/unit/testing.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "daemon/counters.h"
#include "daemon/loop.h"
#include "daemon/slots.h"
#include "daemon/snapshot.h"

enum { KEYS = 512, ROUNDS = 20000 };

struct object {
	struct slots_entry slot;
	struct snapshot_item item;
	uint32_t twice; /* the key times two: what a reader checks */
};

struct fixture {
	struct slots slots;
	struct counter_mark stop;
	struct counter found, bad;
};

static void object_free(struct snapshot_item *item)
{
	struct object *o = CONTAINER_OF(item, struct object, item);

	o->twice = 0xdead;
	free(o);
}

static uint32_t key_of(uint32_t i)
{
	return i * 2654435761u + 7; /* spread, as receiver indices are */
}

static void *reader(void *arg)
{
	struct fixture *f = arg;

	snapshot_thread_enter();
	while (!counter_mark_get(&f->stop)) {
		snapshot_quiescent();
		for (uint32_t i = 0; i < KEYS; i++) {
			const struct slots_entry *e = slots_get(&f->slots, key_of(i));

			if (!e)
				continue;
			counter_add(&f->found, 1);
			if (e->key != key_of(i) ||
			    CONTAINER_OF(e, const struct object, slot)->twice != key_of(i) * 2)
				counter_add(&f->bad, 1);
		}
	}
	snapshot_thread_leave();
	return NULL;
}

static void slots_agree_with_a_plain_array(void **state)
{
	struct fixture f = {};
	struct object *model[KEYS] = { 0 };
	struct loop *loop = loop_new(NULL);
	struct snapshot *snap = snapshot_new(loop);
	struct slots_entry *e;
	struct test_env env;
	uint32_t n = 0, it = 0;
	pthread_t t;

	(void)state;
	test_env_init(&env, 21);
	slots_init(&f.slots, snap);
	assert_null(slots_get(&f.slots, 1));
	assert_null(slots_del(&f.slots, 1));
	assert_int_equal(pthread_create(&t, NULL, reader, &f), 0);
	for (int round = 0; round < ROUNDS; round++) {
		const uint32_t i = (uint32_t)test_random(&env) % KEYS;

		if (model[i]) {
			assert_ptr_equal(slots_get(&f.slots, key_of(i)), &model[i]->slot);
			assert_int_equal(slots_put(&f.slots, &model[i]->slot), -EEXIST);
			assert_ptr_equal(slots_del(&f.slots, key_of(i)), &model[i]->slot);
			snapshot_retire(snap, &model[i]->item, object_free);
			model[i] = NULL;
			n--;
		} else {
			model[i] = calloc(1, sizeof(*model[i]));
			model[i]->slot.key = key_of(i);
			model[i]->twice = key_of(i) * 2;
			assert_int_equal(slots_put(&f.slots, &model[i]->slot), 0);
			n++;
		}
		assert_int_equal(f.slots.n, n);
		if (round % 50 == 0)
			assert_int_equal(loop_turn(loop, 0), 0);
	}
	(void)counter_mark_set(&f.stop);
	(void)pthread_join(t, NULL);
	assert_int_equal(counter_get(&f.bad), 0);
	while ((e = slots_next(&f.slots, &it))) {
		n--;
		(void)slots_del(&f.slots, e->key);
		object_free(&CONTAINER_OF(e, struct object, slot)->item);
	}
	assert_int_equal(n, 0);
	slots_wipe(&f.slots);
	snapshot_free(snap);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_agree_with_a_plain_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
