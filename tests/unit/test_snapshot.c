/* SPDX-License-Identifier: MIT */
/* daemon/snapshot: nothing is freed while a worker may read it; everything is freed in the end; a
 * sleeping worker holds nothing up (run under TSan and ASan too). */
#include "tests/unit/testing.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/counters.h"
#include "daemon/loop.h"
#include "daemon/snapshot.h"

enum { ALIVE = 0x600d, DEAD = 0xdead, N_VIEWS = 300 };

struct view {
	struct snapshot_item item;
	uint32_t canary;
	uint32_t number;
	uint32_t *n_freed;
};

struct fixture {
	struct snapshot_ptr view;
	struct counter_mark stop;
	struct counter batches;
	struct counter bad;
	bool is_sleepy;
};

static void view_free(struct snapshot_item *item)
{
	struct view *v = CONTAINER_OF(item, struct view, item);

	v->canary = DEAD;
	++*v->n_freed;
	free(v);
}

static void *work(void *arg)
{
	struct fixture *f = arg;
	uint32_t last = 0;

	snapshot_thread_enter();
	while (!counter_mark_get(&f->stop)) {
		const struct view *v;

		snapshot_quiescent();
		v = snapshot_load(&f->view);
		for (int i = 0; i < 50; i++)
			if (v->canary != ALIVE || v->number < last)
				counter_add_shared(&f->bad, 1);
		last = v->number;
		counter_add_shared(&f->batches, 1);
		if (f->is_sleepy) {
			snapshot_offline();
			(void)usleep(200000);
			snapshot_online();
		}
	}
	snapshot_thread_leave();
	return NULL;
}

static struct view *view_new(uint32_t number, uint32_t *n_freed)
{
	struct view *v = malloc(sizeof(*v));

	assert_non_null(v);
	v->canary = ALIVE;
	v->number = number;
	v->n_freed = n_freed;
	return v;
}

static void run(bool is_sleepy)
{
	struct fixture f = { .is_sleepy = is_sleepy };
	struct loop *loop = loop_new(NULL);
	struct snapshot *s = snapshot_new(loop);
	uint32_t n_freed = 0;
	pthread_t t[2];
	int turns = 0;

	snapshot_store(&f.view, view_new(0, &n_freed));
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, work, &f), 0);
	for (uint32_t i = 1; i <= N_VIEWS; i++) {
		struct view *old = snapshot_own(&f.view);

		snapshot_store(&f.view, view_new(i, &n_freed));
		snapshot_retire(s, &old->item, view_free);
		assert_int_equal(loop_turn(loop, 1), 0);
	}
	/* With the workers still running (or asleep), all but the current one are freed soon. */
	while (n_freed < N_VIEWS && turns++ < 2000)
		assert_int_equal(loop_turn(loop, 5), 0);
	assert_int_equal(n_freed, N_VIEWS);
	while (!counter_get(&f.batches))
		(void)usleep(1000);
	(void)counter_mark_set(&f.stop);
	for (int i = 0; i < 2; i++)
		(void)pthread_join(t[i], NULL);
	assert_int_equal(counter_get(&f.bad), 0);
	/* Retired at the end: freed by the loop, whether the grace period was waited for or not. */
	snapshot_retire(s, &((struct view *)snapshot_own(&f.view))->item, view_free);
	snapshot_free(s);
	loop_free(loop);
	assert_int_equal(n_freed, N_VIEWS + 1);
}

static void snapshot_frees_nothing_that_is_read(void **state)
{
	(void)state;
	run(false);
}

static void snapshot_sleeping_workers_hold_nothing_up(void **state)
{
	(void)state;
	run(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(snapshot_frees_nothing_that_is_read),
		cmocka_unit_test(snapshot_sleeping_workers_hold_nothing_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
