/* SPDX-License-Identifier: MIT */
/* daemon/ring: order, limits, wrap-around, memory given back; two threads (run under TSan too). */
#include "tests/unit/testing.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "daemon/ring.h"

enum { RING_SIZE = 8192 };

static bool put(struct ring *r, uint32_t seed, size_t size)
{
	uint8_t *p = ring_reserve(r, size);

	if (!p)
		return false;
	for (size_t i = 0; i < size; i++)
		p[i] = (uint8_t)(seed + i);
	ring_commit(r);
	return true;
}

static void take(struct ring *r, uint32_t seed, size_t size)
{
	size_t n = 0;
	const uint8_t *p = ring_peek(r, &n);

	assert_non_null(p);
	assert_int_equal(n, size);
	assert_int_equal((uintptr_t)p % 8, 0);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(p[i], (uint8_t)(seed + i));
	ring_pop(r);
}

static void ring_keeps_order_across_the_wrap(void **state)
{
	struct test_env env;
	struct ring r;
	size_t sizes[64];
	uint32_t in = 0, out = 0;

	(void)state;
	test_env_init(&env, 7);
	assert_int_equal(ring_init(&r, RING_SIZE), 0);
	for (int i = 0; i < 20000; i++) {
		const size_t size = test_random(&env) % 700;

		if (in - out < 64 && test_random(&env) % 2 && put(&r, in, size))
			sizes[in++ % 64] = size;
		else if (out < in) {
			take(&r, out, sizes[out % 64]);
			out++;
		}
	}
	while (out < in) {
		take(&r, out, sizes[out % 64]);
		out++;
	}
	assert_true(in > 1000);
	assert_null(ring_peek(&r, &sizes[0]));
	ring_wipe(&r);
}

static void ring_full_refuses_and_recovers(void **state)
{
	struct ring r;
	int n = 0;

	(void)state;
	assert_int_equal(ring_init(&r, RING_SIZE), 0);
	assert_null(ring_reserve(&r, RING_SIZE / 4 + 1));
	while (put(&r, (uint32_t)n, 1000))
		n++;
	assert_int_equal(n, RING_SIZE / 1008);
	assert_int_equal(ring_used(&r), n * 1008);
	take(&r, 0, 1000);
	assert_true(put(&r, (uint32_t)n, 900));
	for (int i = 1; i < n; i++)
		take(&r, (uint32_t)i, 1000);
	take(&r, (uint32_t)n, 900);
	ring_wipe(&r);
}

static void ring_trim_spares_records(void **state)
{
	struct ring r;

	(void)state;
	assert_int_equal(ring_init(&r, RING_SIZE), 0);
	assert_true(put(&r, 1, 100));
	ring_trim(&r);
	take(&r, 1, 100);
	ring_trim(&r);
	assert_int_equal(r.buf[8], 0); /* the page is fresh */
	assert_true(put(&r, 2, 100));
	take(&r, 2, 100);
	ring_wipe(&r);
}

struct duo {
	struct ring ring;
	struct bell bell;
	uint32_t total;
};

static void *produce(void *arg)
{
	struct duo *d = arg;

	for (uint32_t i = 0; i < d->total;) {
		uint32_t *p = ring_reserve(&d->ring, sizeof(*p) + i % 300);

		if (!p) {
			(void)sched_yield();
			continue;
		}
		*p = i++;
		ring_commit(&d->ring);
		bell_ring(&d->bell);
	}
	return NULL;
}

/* Every record arrives once and in order, and no wake-up is lost: a lost one would time out. */
static void ring_two_threads_lose_nothing(void **state)
{
	struct duo d = { .total = 100000 };
	pthread_t t;
	uint32_t next = 0;

	(void)state;
	assert_int_equal(ring_init(&d.ring, RING_SIZE), 0);
	assert_int_equal(bell_open(&d.bell), 0);
	assert_int_equal(pthread_create(&t, NULL, produce, &d), 0);
	while (next < d.total) {
		struct pollfd pfd = { .fd = d.bell.fd, .events = POLLIN };
		const uint32_t *p;
		size_t n;

		assert_int_equal(poll(&pfd, 1, 10000), 1);
		bell_clear(&d.bell);
		while ((p = ring_peek(&d.ring, &n))) {
			assert_int_equal(*p, next);
			assert_int_equal(n, sizeof(*p) + next % 300);
			next++;
			ring_pop(&d.ring);
		}
	}
	(void)pthread_join(t, NULL);
	bell_close(&d.bell);
	ring_wipe(&d.ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ring_keeps_order_across_the_wrap),
		cmocka_unit_test(ring_full_refuses_and_recovers),
		cmocka_unit_test(ring_trim_spares_records),
		cmocka_unit_test(ring_two_threads_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
