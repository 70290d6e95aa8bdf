/* SPDX-License-Identifier: MIT */
/* wg/aead_*: the same checks on every backend that this build and machine have: known answers of
 * RFC 8439, then every backend against libsodium on random batches. */
#include "tests/unit/testing.h"

#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "tests/unit/wgtest.h"

static struct {
	struct wgtest list[WGTEST_BACKENDS_MAX];
	unsigned n;
} backends;

static int setup(void **state)
{
	(void)state;
	backends.n = wgtest_init_all(backends.list);
	for (unsigned i = 0; i < backends.n; i++)
		(void)printf("backend: %s\n", backends.list[i].crypto.aead->name);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < backends.n; i++)
		wgtest_wipe(&backends.list[i]);
	return 0;
}

/* RFC 8439 A.1, test vectors 1 and 2: key and nonce zero. Block 0 begins with the Poly1305 key,
 * block 1 is the key stream of the first 64 bytes. */
static const char zero_poly_key[] =
	"76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7";
static const char zero_stream[] =
	"9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
	"29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f";
/* RFC 8439 A.4, test vector 2: key 0…01, nonce 0…02, which is counter 2 << 56. */
static const char one_poly_key[] =
	"ecfa254f845f647473d3cb140da9e87606cb33066c447b87bc2666dde3fbb739";

/* The tag of RFC 8439 2.8 without associated data, from a published one-time key. */
static void tag_of(uint8_t tag[static 16], const char *poly_key_hex, const uint8_t *sealed,
		   size_t size)
{
	static const uint8_t zeros[16];
	crypto_onetimeauth_state st;
	uint8_t key[32], lengths[16] = { 0 };

	test_unhex(key, sizeof(key), poly_key_hex);
	for (size_t i = 0; i < 8; i++)
		lengths[8 + i] = (uint8_t)(size >> 8 * i);
	crypto_onetimeauth_init(&st, key);
	crypto_onetimeauth_update(&st, sealed, size);
	crypto_onetimeauth_update(&st, zeros, (16 - size % 16) % 16);
	crypto_onetimeauth_update(&st, lengths, sizeof(lengths));
	crypto_onetimeauth_final(&st, tag);
}

static void aead_gives_the_known_answers_of_rfc_8439(void **state)
{
	uint8_t key[32], buf[64 + 16], want[64], tag[16];

	(void)state;
	test_unhex(want, sizeof(want), zero_stream);
	for (unsigned i = 0; i < backends.n; i++) {
		const struct wgtest *b = &backends.list[i];
		struct aead_pkt pkt = { .data = buf, .size = 64 };
		struct aead_ctx *ctx;

		memset(key, 0, sizeof(key));
		memset(buf, 0, sizeof(buf));
		ctx = b->crypto.aead->ctx_new(&b->crypto, key, true);
		assert_non_null(ctx);
		assert_int_equal(b->crypto.aead->seal_n(ctx, &b->thread, 0, &pkt, 1), 1);
		assert_memory_equal(buf, want, 64);
		tag_of(tag, zero_poly_key, want, sizeof(want));
		assert_memory_equal(buf + 64, tag, 16);
		b->crypto.aead->ctx_free(ctx);

		key[31] = 1;
		memset(buf, 0, sizeof(buf));
		ctx = b->crypto.aead->ctx_new(&b->crypto, key, true);
		assert_non_null(ctx);
		assert_int_equal(
			b->crypto.aead->seal_n(ctx, &b->thread, UINT64_C(2) << 56, &pkt, 1), 1);
		tag_of(tag, one_poly_key, buf, 64);
		assert_memory_equal(buf + 64, tag, 16);
		b->crypto.aead->ctx_free(ctx);
	}
}

enum { SLOT = 9216 };

/* A batch of random packets in exact-size buffers, so that ASan sees a write past the tag. */
struct batch {
	uint8_t *plain[AEAD_BATCH_MAX];
	struct aead_pkt pkts[AEAD_BATCH_MAX];
	size_t n;
};

static void batch_make(struct batch *b, struct test_env *t, size_t n)
{
	static const uint32_t sizes[] = { 0,  1,   15,  16,   17,   63,   64,
					  65, 255, 256, 1279, 1280, 1420, 9000 };
	bool equal = test_random(t) % 2; /* equal-length runs are what GSO gives */
	uint32_t one = sizes[test_random(t) % ARRAY_LEN(sizes)];

	b->n = n;
	for (size_t i = 0; i < n; i++) {
		uint32_t size = equal ? one : sizes[test_random(t) % ARRAY_LEN(sizes)];

		b->plain[i] = malloc(size + 1);
		b->pkts[i].data = malloc(size + AEAD_TAG_SIZE);
		b->pkts[i].size = size;
		assert_non_null(b->plain[i]);
		assert_non_null(b->pkts[i].data);
		for (uint32_t j = 0; j < size; j++)
			b->plain[i][j] = (uint8_t)(test_random(t) >> 8);
		memcpy(b->pkts[i].data, b->plain[i], size);
	}
}

static void batch_free(struct batch *b)
{
	for (size_t i = 0; i < b->n; i++) {
		free(b->plain[i]);
		free(b->pkts[i].data);
	}
}

static void reference_seal(uint8_t *out, const uint8_t *plain, uint32_t size, uint64_t counter,
			   const uint8_t key[static 32])
{
	uint8_t nonce[AEAD_NONCE_SIZE];

	aead_nonce(nonce, counter);
	assert_int_equal(crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain, size, NULL, 0,
								   NULL, nonce, key),
			 0);
}

static void check_batch(const struct wgtest *b, struct test_env *t, size_t n)
{
	static uint8_t want[SLOT];
	uint64_t counter0 = test_random(t) >> (test_random(t) % 60), bad = 0, ok;
	struct aead_ctx *seal, *open;
	struct batch batch;
	uint8_t key[32];

	env_fill(&t->env, key, sizeof(key));
	seal = b->crypto.aead->ctx_new(&b->crypto, key, true);
	open = b->crypto.aead->ctx_new(&b->crypto, key, false);
	assert_non_null(seal);
	assert_non_null(open);
	batch_make(&batch, t, n);
	assert_true(b->crypto.aead->seal_n(seal, &b->thread, counter0, batch.pkts, n) ==
		    aead_all(n));
	for (size_t i = 0; i < n; i++) {
		struct aead_pkt *p = &batch.pkts[i];

		reference_seal(want, batch.plain[i], p->size, counter0 + i, key);
		assert_memory_equal(p->data, want, p->size + AEAD_TAG_SIZE);
		p->counter = counter0 + i;
		/* Every third packet is damaged: a bit of it, of its tag, or its counter. */
		if (test_random(t) % 3 == 0) {
			bad |= UINT64_C(1) << i;
			if (test_random(t) % 4 == 0)
				p->counter++;
			else
				p->data[test_random(t) % (p->size + AEAD_TAG_SIZE)] ^=
					(uint8_t)(1u << test_random(t) % 8);
		}
	}
	ok = b->crypto.aead->open_n(open, &b->thread, batch.pkts, n);
	assert_true(ok == (aead_all(n) & ~bad));
	for (size_t i = 0; i < n; i++) {
		const struct aead_pkt *p = &batch.pkts[i];

		if (ok >> i & 1)
			assert_memory_equal(p->data, batch.plain[i], p->size);
		else if (p->size >= 16) /* nothing unverified may be read */
			assert_memory_not_equal(p->data, batch.plain[i], p->size);
	}
	batch_free(&batch);
	b->crypto.aead->ctx_free(seal);
	b->crypto.aead->ctx_free(open);
}

static void aead_backends_equal_libsodium(void **state)
{
	struct test_env t;

	(void)state;
	test_env_init(&t, 8439);
	for (unsigned i = 0; i < backends.n; i++) {
		for (int round = 0; round < 60; round++)
			check_batch(&backends.list[i], &t, 1 + test_random(&t) % AEAD_BATCH_MAX);
		check_batch(&backends.list[i], &t, AEAD_BATCH_MAX);
	}
}

/* One context seals many batches: no state may stay from one packet to the next. */
static void aead_context_is_reusable(void **state)
{
	uint8_t key[32] = { 7 }, buf[100 + 16], want[100 + 16], plain[100] = { 3 };

	(void)state;
	for (unsigned i = 0; i < backends.n; i++) {
		const struct wgtest *b = &backends.list[i];
		struct aead_ctx *open = b->crypto.aead->ctx_new(&b->crypto, key, false);

		assert_non_null(open);
		for (uint64_t c = 0; c < 50; c++) {
			struct aead_pkt pkt = { .data = buf, .size = sizeof(plain), .counter = c };

			reference_seal(want, plain, sizeof(plain), c, key);
			memcpy(buf, want, sizeof(buf));
			buf[c] ^= (uint8_t)(c % 2);
			assert_int_equal(b->crypto.aead->open_n(open, &b->thread, &pkt, 1),
					 !(c % 2));
		}
		b->crypto.aead->ctx_free(open);
		b->crypto.aead->ctx_free(NULL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aead_gives_the_known_answers_of_rfc_8439),
		cmocka_unit_test(aead_backends_equal_libsodium),
		cmocka_unit_test(aead_context_is_reusable),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, setup, teardown);
}
