/* SPDX-License-Identifier: MIT */
/* wg/hasten alone, and as sessions use it: initiations before WireGuard's 5 s are over, and their bounds. */
#include "tests/unit/wgworld.h"

#include <sodium.h>
#include <string.h>

#include "base/compiler.h"

static struct mono at_ms(int64_t ms)
{
	return mono_add_ms((struct mono){ 1000 * NS_PER_S }, ms);
}

static int64_t planned_ms(const struct hasten *h)
{
	return mono_is_never(h->at) ? -1 : mono_since_ms(h->at, at_ms(0));
}

static void nothing_is_planned_without_a_hint(void **state)
{
	struct hasten h;

	(void)state;
	hasten_init(&h);
	hasten_begin(&h);
	hasten_regular(&h, at_ms(0));
	assert_int_equal(planned_ms(&h), -1);
	assert_false(hasten_due(&h, at_ms(4000)));
}

static void the_peer_itself_brings_the_next_one_forward(void **state)
{
	static const struct {
		int64_t hint_ms, at_ms;
	} rows[] = { { 10, 100 }, { 110, 300 }, { 250, 300 }, { 320, 700 }, { 2000, 2010 } };
	struct hasten h;

	(void)state;
	hasten_init(&h);
	hasten_begin(&h);
	hasten_regular(&h, at_ms(0));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		hasten_hint(&h, at_ms(rows[i].hint_ms), HASTEN_REACHED);
		assert_int_equal(planned_ms(&h), rows[i].at_ms);
		assert_false(hasten_due(&h, at_ms(rows[i].at_ms - 1)));
		if (i == 1)
			continue; /* the third comes before this one is due */
		assert_true(hasten_due(&h, at_ms(rows[i].at_ms)));
		assert_int_equal(planned_ms(&h), -1);
	}
	/* Four it were: the next one waits until the first is 5 s old. */
	hasten_hint(&h, at_ms(4500), HASTEN_REACHED);
	assert_int_equal(planned_ms(&h), 5100);
}

static void a_server_s_word_doubles_the_wait_three_times_in_a_series(void **state)
{
	static const int64_t sent_ms[] = { 290, 790, 1790 };
	struct hasten h;

	(void)state;
	hasten_init(&h);
	hasten_begin(&h);
	hasten_regular(&h, at_ms(0));
	h.last = at_ms(40);
	for (size_t i = 0; i < ARRAY_LEN(sent_ms); i++) {
		hasten_hint(&h, at_ms(sent_ms[i] - 200), HASTEN_ABSENT); /* said again and again */
		assert_int_equal(planned_ms(&h), sent_ms[i]);
		assert_true(hasten_due(&h, at_ms(sent_ms[i])));
	}
	for (int64_t ms = 2000; ms < 90000; ms += 100) {
		if (ms % 5000 == 0)
			hasten_regular(&h, at_ms(ms));
		hasten_hint(&h, at_ms(ms), HASTEN_ABSENT);
		assert_false(hasten_due(&h, at_ms(ms)));
	}
	/* One is left for the peer itself ... */
	hasten_regular(&h, at_ms(90000));
	hasten_hint(&h, at_ms(90010), HASTEN_REACHED);
	assert_int_equal(planned_ms(&h), 90100);
	/* ... and the next series has its own. */
	hasten_stop(&h);
	assert_int_equal(planned_ms(&h), -1);
	hasten_begin(&h);
	hasten_regular(&h, at_ms(100000));
	hasten_hint(&h, at_ms(100010), HASTEN_ABSENT);
	assert_int_equal(planned_ms(&h), 100250);
}

/* Whatever is said and whenever: never more than the bound in any window, never closer than a responder allows. */
static void no_sequence_of_hints_exceeds_the_bound(void **state)
{
	struct test_env env;

	(void)state;
	test_env_init(&env, 77);
	for (int round = 0; round < 300; round++) {
		struct hasten h;
		int64_t sent[4096];
		size_t n = 0;
		int64_t last = -1000;

		hasten_init(&h);
		for (int64_t ms = 0; ms < 60000; ms += 5) {
			const uint64_t k = test_random(&env);

			if (ms % 5000 == 0) {
				if (k % 7 == 0)
					hasten_begin(&h);
				hasten_regular(&h, at_ms(ms));
				last = ms;
			}
			if (k % 3 == 0)
				hasten_hint(&h, at_ms(ms), k / 3 % 2 ? HASTEN_REACHED : HASTEN_ABSENT);
			if (k % 1009 == 0 && hasten_take(&h, at_ms(ms)))
				sent[n++] = ms;
			if (!hasten_due(&h, at_ms(ms)))
				continue;
			assert_true(ms - last >= HASTEN_REACHED_MS);
			last = sent[n++] = ms;
		}
		assert_true(n > HASTEN_MAX);
		for (size_t i = HASTEN_MAX; i < n; i++)
			assert_true(sent[i] - sent[i - HASTEN_MAX] >= 1000 * HASTEN_WINDOW_S);
	}
}

/* ---- sessions ---- */

static void hint(struct wgworld *w, unsigned node, unsigned peer, enum hasten_why why)
{
	device_hint(&w->node[node].device, w->now, w->node[node].peers[peer], why);
	wgworld_pump(w, node);
}

static void a_lost_initiation_is_repeated_when_the_peer_is_heard(void **state)
{
	struct wgworld *w = wgworld_new(2, 1);

	(void)state;
	w->cut[0][1] = true;
	wgworld_send(w, 0, 1, 7);
	wgworld_run(w, 60);
	w->cut[0][1] = false;
	hint(w, 0, 1, HASTEN_REACHED);
	wgworld_run(w, 40 + 31);
	assert_int_equal(w->node[1].received[7], 1);
	assert_int_equal(w->count[0][WGMSG_INITIATION], 2);
	/* The same one: whichever of them arrives is answered. */
	assert_memory_equal(w->log[0].data, w->log[1].data, WGMSG_INITIATION_SIZE);
	/* Answered: nothing is left to be done. */
	wgworld_run(w, 20000);
	assert_int_equal(w->count[0][WGMSG_INITIATION], 2);
	wgworld_free(w);
}

static void an_answer_on_its_way_stays_good(void **state)
{
	struct wgworld *w = wgworld_new(2, 2);

	(void)state;
	w->delay_ms = 400;
	wgworld_send(w, 0, 1, 7);
	for (int i = 0; i < 40; i++) {
		hint(w, 0, 1, HASTEN_REACHED);
		wgworld_run(w, 20);
	}
	wgworld_run(w, 401);
	assert_int_equal(w->node[1].received[7], 1);
	assert_int_equal(w->count[1][WGMSG_RESPONSE], 1); /* the repetitions were replays to it */
	assert_int_equal(w->count[0][WGMSG_INITIATION], 4);
	wgworld_run(w, 20000);
	assert_int_equal(w->count[0][WGMSG_INITIATION], 4);
	wgworld_free(w);
}

/* An answer that is lost is not asked for again by the same initiation. */
static void an_old_handshake_is_replaced_by_a_new_one(void **state)
{
	struct wgworld *w = wgworld_new(2, 3);

	(void)state;
	w->cut[1][0] = true;
	wgworld_send(w, 0, 1, 7);
	wgworld_run(w, 1500);
	w->cut[1][0] = false;
	hint(w, 0, 1, HASTEN_REACHED);
	wgworld_run(w, HASTEN_SETTLE_MS + 31);
	assert_int_equal(w->node[1].received[7], 1);
	assert_int_equal(w->count[0][WGMSG_INITIATION], 2);
	wgworld_free(w);
}

static void a_peer_that_connects_to_derp_late_is_tried_soon(void **state)
{
	static const int64_t ups_ms[] = { 0, 100, 300, 700, 1000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ups_ms); i++) {
		struct wgworld *w = wgworld_new(2, 10 + i);

		w->cut[0][1] = true;
		wgworld_send(w, 0, 1, 7);
		wgworld_run(w, 20);
		hint(w, 0, 1, HASTEN_ABSENT);
		wgworld_run(w, ups_ms[i]);
		w->cut[0][1] = false;
		/* Later by no more than it already was, or than the first wait. */
		wgworld_run(w, (ups_ms[i] > 250 ? 20 + ups_ms[i] + 250 : 250) + 31);
		assert_int_equal(w->node[1].received[7], 1);
		wgworld_free(w);
	}
}

static void hints_without_an_unanswered_initiation_do_nothing(void **state)
{
	struct wgworld *w = wgworld_new(2, 20);

	(void)state;
	wgworld_run(w, 1);
	hint(w, 0, 1, HASTEN_REACHED);
	hint(w, 0, 1, HASTEN_ABSENT);
	assert_true(mono_is_never(device_deadline(&w->node[0].device)));
	wgworld_send(w, 0, 1, 1);
	wgworld_run(w, 20000);
	for (int i = 0; i < 1000; i++) {
		hint(w, 0, 1, i % 2 ? HASTEN_REACHED : HASTEN_ABSENT);
		wgworld_run(w, 10);
	}
	assert_int_equal(w->count[0][WGMSG_INITIATION], 1);
	wgworld_free(w);
}

/* A peer that never answers, and a server that lies all the time. */
static void a_silent_peer_gets_no_more_than_the_bound(void **state)
{
	(void)state;
	for (unsigned why = HASTEN_REACHED; why <= HASTEN_ABSENT; why++) {
		struct wgworld *w = wgworld_new(2, 30 + why);
		const size_t most = why == HASTEN_REACHED ? 1 + HASTEN_MAX : 1;
		unsigned n = 0;

		w->cut[0][1] = true;
		wgworld_send(w, 0, 1, 1);
		for (int i = 0; i < 10000; i++) {
			hint(w, 0, 1, (enum hasten_why)why);
			wgworld_run(w, 10);
		}
		for (size_t i = 0; i < w->n_log; i++) {
			size_t k = i;

			assert_int_equal(w->log[i].data[0], WGMSG_INITIATION);
			while (k < w->n_log && mono_since_ms(w->log[k].at, w->log[i].at) < 5000)
				k++;
			assert_in_range(k - i, 1, i < 4 ? 1 + HASTEN_MAX : most);
			n++;
		}
		if (why == HASTEN_ABSENT)
			assert_in_range(n, 17 + HASTEN_ABSENT_MAX, 18 + HASTEN_ABSENT_MAX);
		assert_int_equal(w->node[0].downs, 1); /* after 90 s, as ever */
		assert_int_equal(w->node[1].device.counters.drop_flood, 0);
		wgworld_free(w);
	}
}

/* Control's word of a restart, as often as told. */
static void told_of_restart(struct wgworld *w)
{
	device_restarted(&w->node[0].device, w->now, w->node[0].peers[1]);
	wgworld_pump(w, 0);
}

static void a_peer_that_restarts_is_called_without_waiting(void **state)
{
	struct wgworld *w = wgworld_new(2, 40);

	(void)state;
	/* We called less than 5 s before. */
	wgworld_send(w, 0, 1, 1);
	wgworld_run(w, 1000);
	wgworld_restart(w, 1);
	told_of_restart(w);
	wgworld_run(w, 100);
	wgworld_send(w, 0, 1, 2);
	wgworld_run(w, 100);
	assert_int_equal(w->node[1].received[2], 1);
	/* And before that: the old life never answered. */
	wgworld_run(w, 200000);
	w->cut[0][1] = true;
	wgworld_send(w, 0, 1, 3);
	wgworld_run(w, 1000);
	wgworld_restart(w, 1);
	w->cut[0][1] = false;
	told_of_restart(w);
	wgworld_run(w, 100);
	assert_int_equal(w->node[1].received[3], 1);
	wgworld_free(w);
}

static void restarts_without_end_cause_no_flood(void **state)
{
	struct wgworld *w = wgworld_new(2, 41);

	(void)state;
	w->cut[0][1] = true;
	wgworld_send(w, 0, 1, 1);
	for (int i = 0; i < 6000; i++) {
		told_of_restart(w);
		wgworld_run(w, 5);
	}
	/* 30 s: six regular ones, and four in each 5 s. */
	assert_in_range(w->count[0][WGMSG_INITIATION], 6, 1 + 6 * (1 + HASTEN_MAX));
	for (size_t i = 1; i < w->n_log; i++)
		assert_true(mono_since_ms(w->log[i].at, w->log[i - 1].at) >= SESSION_INITIATION_MIN_MS);
	wgworld_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_planned_without_a_hint),
		cmocka_unit_test(the_peer_itself_brings_the_next_one_forward),
		cmocka_unit_test(a_server_s_word_doubles_the_wait_three_times_in_a_series),
		cmocka_unit_test(no_sequence_of_hints_exceeds_the_bound),
		cmocka_unit_test(a_lost_initiation_is_repeated_when_the_peer_is_heard),
		cmocka_unit_test(an_answer_on_its_way_stays_good),
		cmocka_unit_test(an_old_handshake_is_replaced_by_a_new_one),
		cmocka_unit_test(a_peer_that_connects_to_derp_late_is_tried_soon),
		cmocka_unit_test(hints_without_an_unanswered_initiation_do_nothing),
		cmocka_unit_test(a_silent_peer_gets_no_more_than_the_bound),
		cmocka_unit_test(a_peer_that_restarts_is_called_without_waiting),
		cmocka_unit_test(restarts_without_end_cause_no_flood),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
