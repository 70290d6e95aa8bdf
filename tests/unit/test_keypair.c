/* SPDX-License-Identifier: MIT */
/* wg/keypair: batches through every backend, the message and time limits, counters that never
 * repeat, and when control is told. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "tests/unit/wgtest.h"
#include "wg/keypair.h"

static const struct mono t0 = { 1000 * NS_PER_S };

static struct mono at_s(int64_t s)
{
	return mono_add_s(t0, s);
}

/* Two ends of one session. */
struct ends {
	struct keypair *a, *b;
};

static struct ends ends_make(const struct crypto *crypto)
{
	struct keypair_cfg cfg = { .crypto = crypto,
				   .local_index = 0x11,
				   .remote_index = 0x22,
				   .peer = { 1, 1 },
				   .is_initiator = true,
				   .created = t0 };
	struct ends e;

	memset(cfg.send_key, 1, sizeof(cfg.send_key));
	memset(cfg.recv_key, 2, sizeof(cfg.recv_key));
	e.a = keypair_new(&cfg);
	memset(cfg.send_key, 2, sizeof(cfg.send_key));
	memset(cfg.recv_key, 1, sizeof(cfg.recv_key));
	cfg.local_index = 0x22;
	cfg.remote_index = 0x11;
	cfg.is_initiator = false;
	e.b = keypair_new(&cfg);
	assert_non_null(e.a);
	assert_non_null(e.b);
	return e;
}

static void ends_free(struct ends *e)
{
	keypair_put(e->a);
	keypair_put(e->b);
}

enum { BUF = 16 + 1500 + 32 };

static void keypair_carries_batches_both_ways(void **state)
{
	struct wgtest list[WGTEST_BACKENDS_MAX];
	unsigned n_backends = wgtest_init_all(list);
	static uint8_t buf[AEAD_BATCH_MAX][BUF];

	(void)state;
	for (unsigned k = 0; k < n_backends; k++) {
		struct ends e = ends_make(&list[k].crypto);
		struct keypair_pkt pkts[AEAD_BATCH_MAX];
		uint64_t ctr;

		for (int round = 0; round < 3; round++) {
			size_t n = round == 0 ? 1 : round == 1 ? 17 : AEAD_BATCH_MAX;

			assert_int_equal(keypair_reserve(e.a, t0, n, &ctr), 0);
			for (size_t i = 0; i < n; i++) {
				memset(buf[i], 0xee, BUF);
				pkts[i] = (struct keypair_pkt){ .data = buf[i] + 16,
								.size = (uint32_t)(i * 20) };
				memset(pkts[i].data, (int)i + 1, pkts[i].size);
			}
			assert_true(keypair_seal_n(e.a, 0, &list[k].thread, 1420, ctr, pkts, n) ==
				    aead_all(n));
			for (size_t i = 0; i < n; i++) {
				size_t padded = (i * 20 + 15) / 16 * 16;

				assert_int_equal(pkts[i].size, padded + 32);
				assert_int_equal(buf[i][padded + 32],
						 0xee); /* nothing behind the tag */
				assert_int_equal(keypair_room(i * 20), padded - i * 20 + 16);
				pkts[i].data = buf[i];
			}
			if (n > 5)
				buf[5][20] ^= 1; /* one is damaged on the way */
			assert_true(keypair_open_n(e.b, 0, &list[k].thread, t0, pkts, n) ==
				    (aead_all(n) & ~(n > 5 ? UINT64_C(1) << 5 : 0)));
			for (size_t i = 0; i < n; i++) {
				if (n > 5 && i == 5)
					continue;
				assert_int_equal(pkts[i].size, (i * 20 + 15) / 16 * 16);
				assert_true(pkts[i].counter == ctr + i);
				for (size_t j = 0; j < pkts[i].size; j++)
					assert_int_equal(pkts[i].data[j], j < i * 20 ? i + 1 : 0);
			}
		}
		ends_free(&e);
		wgtest_wipe(&list[k]);
	}
}

static const struct crypto reference = { .aead = &aead_sodium };
static const struct aead_thread no_thread = { 0 };

static void keypair_padding_stops_at_the_mtu(void **state)
{
	static const struct {
		uint32_t mtu, size, padded;
	} table[] = {
		{ 1420, 1420, 1420 }, { 1420, 1410, 1420 }, { 1420, 1408, 1408 }, { 1420, 1, 16 },
		{ 1280, 1279, 1280 }, { 0, 1419, 1424 },    { 1400, 1420, 1424 }, { 1420, 0, 0 },
	};
	struct ends e = ends_make(&reference);
	uint8_t buf[BUF];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct keypair_pkt pkt = { .data = buf + 16, .size = table[i].size };
		uint64_t ctr;

		assert_int_equal(keypair_reserve(e.a, t0, 1, &ctr), 0);
		assert_int_equal(keypair_seal_n(e.a, 0, &no_thread, table[i].mtu, ctr, &pkt, 1), 1);
		assert_int_equal(pkt.size, table[i].padded + 32);
	}
	ends_free(&e);
}

/* P3: the counter is forced to its limits; nothing is handed out at or beyond
 * REJECT_AFTER_MESSAGES. */
static void keypair_stops_at_reject_after_messages(void **state)
{
	struct ends e = ends_make(&reference);
	uint64_t ctr = 7;

	(void)state;
	atomic_store(&e.a->next_counter, KEYPAIR_REJECT_AFTER_MESSAGES - 3);
	assert_int_equal(keypair_reserve(e.a, t0, 4, &ctr), -ESTALE);
	assert_true(ctr == 7);
	assert_int_equal(keypair_reserve(e.a, t0, 2, &ctr), 0);
	assert_true(ctr == KEYPAIR_REJECT_AFTER_MESSAGES - 3);
	assert_int_equal(keypair_reserve(e.a, t0, 1, &ctr), 0);
	assert_true(ctr == KEYPAIR_REJECT_AFTER_MESSAGES - 1);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(keypair_reserve(e.a, t0, 64, &ctr), -ESTALE);
	assert_true(atomic_load(&e.a->next_counter) == KEYPAIR_REJECT_AFTER_MESSAGES);
	/* 2^64 - 2^13 - 1, as the paper has it */
	assert_true(KEYPAIR_REJECT_AFTER_MESSAGES == UINT64_MAX - 8192);
	ends_free(&e);
}

static void keypair_refuses_counters_past_the_limit(void **state)
{
	struct ends e = ends_make(&reference);
	uint8_t buf[BUF];
	struct keypair_pkt pkt = { .data = buf + 16, .size = 16 };

	(void)state;
	memset(buf, 1, sizeof(buf));
	assert_int_equal(
		keypair_seal_n(e.a, 0, &no_thread, 0, KEYPAIR_REJECT_AFTER_MESSAGES - 1, &pkt, 1),
		1);
	pkt.data = buf;
	assert_int_equal(keypair_open_n(e.b, 0, &no_thread, t0, &pkt, 1), 1);
	pkt = (struct keypair_pkt){ .data = buf + 16, .size = 16 };
	assert_int_equal(
		keypair_seal_n(e.a, 0, &no_thread, 0, KEYPAIR_REJECT_AFTER_MESSAGES, &pkt, 1), 1);
	pkt.data = buf;
	assert_int_equal(keypair_open_n(e.b, 0, &no_thread, t0, &pkt, 1), 0);
	ends_free(&e);
}

static void keypair_dies_after_180_seconds(void **state)
{
	struct ends e = ends_make(&reference);
	uint8_t buf[BUF];
	struct keypair_pkt pkt = { .data = buf + 16, .size = 16 };
	uint64_t ctr;

	(void)state;
	memset(buf, 1, sizeof(buf));
	assert_int_equal(keypair_reserve(e.a, mono_add_ns(at_s(180), -1), 1, &ctr), 0);
	assert_int_equal(keypair_seal_n(e.a, 0, &no_thread, 0, ctr, &pkt, 1), 1);
	assert_int_equal(keypair_reserve(e.a, at_s(180), 1, &ctr), -ESTALE);
	pkt.data = buf;
	assert_int_equal(keypair_open_n(e.b, 0, &no_thread, at_s(180), &pkt, 1), 0);
	assert_int_equal(keypair_open_n(e.b, 0, &no_thread, mono_add_ns(at_s(180), -1), &pkt, 1),
			 1);
	ends_free(&e);
}

static void keypair_ignores_what_is_not_its_own(void **state)
{
	struct ends e = ends_make(&reference);
	uint8_t good[48], buf[4][48];
	struct keypair_pkt pkts[4];
	struct keypair_pkt pkt = { .data = good + 16, .size = 16 };

	(void)state;
	memset(good, 5, sizeof(good));
	assert_int_equal(keypair_seal_n(e.a, 0, &no_thread, 0, 9, &pkt, 1), 1);
	for (int i = 0; i < 4; i++) {
		memcpy(buf[i], good, sizeof(good));
		pkts[i] = (struct keypair_pkt){ .data = buf[i], .size = 48 };
	}
	buf[0][4] ^= 1;    /* another index */
	buf[1][3] = 1;     /* reserved byte */
	pkts[2].size = 31; /* too short */
	assert_int_equal(keypair_open_n(e.b, 0, &no_thread, t0, pkts, 4), 8);
	assert_ptr_equal(pkts[0].data, buf[0]);
	assert_ptr_equal(pkts[3].data, buf[3] + 16);
	ends_free(&e);
}

/* P3 across threads: counters handed to four threads at once are all different. */
enum { TAKERS = 4, TAKES = 20000 };

struct taker {
	struct keypair *kp;
	uint64_t *got;
};

static void *take(void *arg)
{
	struct taker *t = arg;

	for (int i = 0; i < TAKES; i++) {
		if (keypair_reserve(t->kp, t0, 3, &t->got[i]) != 0)
			abort();
	}
	return NULL;
}

static void keypair_never_gives_a_counter_twice(void **state)
{
	struct ends e = ends_make(&reference);
	uint64_t *got = calloc((size_t)TAKERS * TAKES, sizeof(*got));
	uint8_t *seen = calloc((size_t)TAKERS * TAKES, 1);
	struct taker takers[TAKERS];
	pthread_t threads[TAKERS];

	(void)state;
	assert_non_null(got);
	assert_non_null(seen);
	for (size_t i = 0; i < TAKERS; i++) {
		takers[i] = (struct taker){ e.a, got + i * TAKES };
		assert_int_equal(pthread_create(&threads[i], NULL, take, &takers[i]), 0);
	}
	for (size_t i = 0; i < TAKERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i < (size_t)TAKERS * TAKES; i++) {
		assert_true(got[i] % 3 == 0 && got[i] / 3 < (uint64_t)TAKERS * TAKES);
		assert_int_equal(seen[got[i] / 3]++, 0);
	}
	free(got);
	free(seen);
	ends_free(&e);
}

static void keypair_tells_control_at_most_twice_a_second(void **state)
{
	struct ends e = ends_make(&reference);
	struct keypair_activity a;
	int told = 0;

	(void)state;
	keypair_activity(e.a, &a);
	assert_true(mono_is_zero(a.sent));
	assert_true(keypair_note_received(e.a, t0, 1, 32, false)); /* the first at once */
	for (int ms = 0; ms < 10000; ms++)
		told += keypair_note_sent(e.a, mono_add_ms(t0, ms), 2, 200, ms % 2);
	assert_int_equal(told, 20);
	keypair_activity(e.a, &a);
	assert_true(a.sent.ns == mono_add_ms(t0, 9999).ns);
	assert_true(a.sent_data.ns == mono_add_ms(t0, 9999).ns);
	assert_true(a.received.ns == t0.ns);
	assert_true(mono_is_zero(a.received_data));
	assert_true(a.tx_pkts == 20000 && a.tx_bytes == 2000000 && a.rx_pkts == 1 &&
		    a.rx_bytes == 32);
	ends_free(&e);
}

static void keypair_has_a_context_per_lane(void **state)
{
	const struct crypto crypto = { .aead = &aead_sodium,
				       .n_seal_lanes = 3,
				       .n_open_lanes = 99 };
	struct ends e = ends_make(&crypto);
	uint8_t buf[BUF];

	(void)state;
	assert_int_equal(e.a->n_seal_lanes, 3);
	assert_int_equal(e.a->n_open_lanes, CRYPTO_LANES_MAX);
	for (unsigned lane = 0; lane < 3; lane++) {
		struct keypair_pkt pkt = { .data = buf + 16, .size = 100 };

		assert_int_equal(keypair_seal_n(e.a, lane, &no_thread, 0, lane, &pkt, 1), 1);
		pkt.data = buf;
		assert_int_equal(
			keypair_open_n(e.b, CRYPTO_LANES_MAX - 1 - lane, &no_thread, t0, &pkt, 1),
			1);
	}
	ends_free(&e);
	keypair_put(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keypair_carries_batches_both_ways),
		cmocka_unit_test(keypair_padding_stops_at_the_mtu),
		cmocka_unit_test(keypair_stops_at_reject_after_messages),
		cmocka_unit_test(keypair_refuses_counters_past_the_limit),
		cmocka_unit_test(keypair_dies_after_180_seconds),
		cmocka_unit_test(keypair_ignores_what_is_not_its_own),
		cmocka_unit_test(keypair_never_gives_a_counter_twice),
		cmocka_unit_test(keypair_tells_control_at_most_twice_a_second),
		cmocka_unit_test(keypair_has_a_context_per_lane),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
