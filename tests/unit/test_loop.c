/* SPDX-License-Identifier: MIT */
/* daemon/loop: timers in order, deletion inside callbacks, jobs of the helper thread. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/loop.h"

struct fixture {
	struct loop *loop;
	int order[8];
	int n;
	struct loop_timer timers[3];
	struct loop_fd watches[2];
	int pipes[2][2];
};

static void note_first(void *ctx, struct mono now)
{
	struct fixture *f = ctx;

	(void)now;
	f->order[f->n++] = 1;
}

static void note_second(void *ctx, struct mono now)
{
	struct fixture *f = ctx;

	(void)now;
	f->order[f->n++] = 2;
	loop_timer_stop(f->loop, &f->timers[2]);
	loop_stop(f->loop);
}

static void must_not_fire(void *ctx, struct mono now)
{
	(void)ctx;
	(void)now;
	fail_msg("a stopped timer fired");
}

static void loop_timers_fire_in_order_and_stop(void **state)
{
	struct fixture f = { .loop = loop_new(NULL) };
	const struct mono t0 = loop_clock();

	(void)state;
	assert_non_null(f.loop);
	f.timers[0] = (struct loop_timer){ .fn = note_second, .ctx = &f };
	f.timers[1] = (struct loop_timer){ .fn = note_first, .ctx = &f };
	f.timers[2] = (struct loop_timer){ .fn = must_not_fire, .ctx = &f };
	loop_timer_set(f.loop, &f.timers[0], mono_add_ms(t0, 20));
	loop_timer_set(f.loop, &f.timers[1], mono_add_ms(t0, 10));
	loop_timer_set(f.loop, &f.timers[2], mono_add_ms(t0, 20));
	/* Moved later than the second one, which stops it. */
	loop_timer_set(f.loop, &f.timers[2], mono_add_ms(t0, 30));
	assert_int_equal(loop_run(f.loop), 0);
	assert_int_equal(f.n, 2);
	assert_int_equal(f.order[0], 1);
	assert_int_equal(f.order[1], 2);
	assert_true(mono_since_ms(loop_clock(), t0) >= 20);
	assert_int_equal(loop_turn(f.loop, 20), 0);
	loop_free(f.loop);
}

static void delete_both(void *ctx, uint32_t events, struct mono now)
{
	struct fixture *f = ctx;

	(void)now;
	assert_true((events & EPOLLIN) != 0);
	f->n++;
	loop_fd_del(f->loop, &f->watches[0]);
	loop_fd_del(f->loop, &f->watches[1]);
	loop_fd_del(f->loop, &f->watches[1]);
}

static void loop_deleted_watch_is_not_called_in_the_same_turn(void **state)
{
	struct fixture f = { .loop = loop_new(NULL) };

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pipe(f.pipes[i]), 0);
		assert_int_equal(write(f.pipes[i][1], "x", 1), 1);
		assert_int_equal(
			loop_fd_add(f.loop, &f.watches[i], f.pipes[i][0], EPOLLIN, delete_both, &f),
			0);
	}
	assert_int_equal(loop_turn(f.loop, 1000), 0);
	assert_int_equal(f.n, 1);
	assert_int_equal(loop_turn(f.loop, 0), 0);
	assert_int_equal(f.n, 1);
	for (int i = 0; i < 2; i++) {
		(void)close(f.pipes[i][0]);
		(void)close(f.pipes[i][1]);
	}
	loop_free(f.loop);
}

struct sum_job {
	struct loop_job job;
	struct loop *loop;
	int sum, n_done;
	bool did_run;
};

static void sum_run(void *ctx)
{
	struct sum_job *j = ctx;

	for (int i = 1; i <= 10; i++)
		j->sum += i;
}

static void sum_done(void *ctx, bool did_run, struct mono now)
{
	struct sum_job *j = ctx;

	(void)now;
	j->did_run = did_run;
	/* Posting again from 'done' is allowed. */
	if (++j->n_done < 3 && did_run)
		loop_job_post(j->loop, &j->job);
	else
		loop_stop(j->loop);
}

static void loop_jobs_run_and_report_back(void **state)
{
	struct sum_job j = { .job = { .run = sum_run, .done = sum_done }, .loop = loop_new(NULL) };

	(void)state;
	j.job.ctx = &j;
	loop_job_post(j.loop, &j.job);
	assert_true(j.job.is_queued);
	assert_int_equal(loop_run(j.loop), 0);
	assert_int_equal(j.n_done, 3);
	assert_int_equal(j.sum, 3 * 55);
	assert_true(j.did_run);
	assert_false(j.job.is_queued);
	loop_free(j.loop);
}

static void sleepy(void *ctx)
{
	(void)ctx;
	(void)usleep(20000);
}

static void count_done(void *ctx, bool did_run, struct mono now)
{
	int *counts = ctx;

	(void)now;
	counts[did_run ? 1 : 0]++;
}

static void loop_free_finishes_every_job(void **state)
{
	struct loop *l = loop_new(NULL);
	struct loop_job jobs[5] = { 0 };
	int counts[2] = { 0, 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
		jobs[i] = (struct loop_job){ .run = sleepy, .done = count_done, .ctx = counts };
		loop_job_post(l, &jobs[i]);
	}
	(void)usleep(5000); /* the first one is in the helper's hands: freeing must wait for it */
	loop_free(l);
	assert_int_equal(counts[0] + counts[1], 5);
}

static void loop_env_gives_randomness_and_the_calendar(void **state)
{
	const struct env env = loop_env(NULL);
	uint8_t a[32], b[32];

	(void)state;
	env_fill(&env, a, sizeof(a));
	env_fill(&env, b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_true(env_wall_ns(&env) > INT64_C(1700000000) * NS_PER_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(loop_timers_fire_in_order_and_stop),
		cmocka_unit_test(loop_deleted_watch_is_not_called_in_the_same_turn),
		cmocka_unit_test(loop_jobs_run_and_report_back),
		cmocka_unit_test(loop_free_finishes_every_job),
		cmocka_unit_test(loop_env_gives_randomness_and_the_calendar),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
