/* SPDX-License-Identifier: MIT */
/* Nanoseconds a packet of every AEAD backend that this build and this machine have, best of TRIES,
 * each in place.
 *
 * usage: aead           (pin it to a core; prints one JSON object a line) */
#include "config.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "daemon/aeadpick.h"
#include "wg/aead.h"
#include "wg/crypto.h"

enum { TRIES = 15, TRY_NS = 3000000, SIZE_MAX_BYTES = 8192 };

static const uint32_t sizes[] = { 64, 256, 1280, 1350, 1420, 8192 };
static const size_t batches[] = { 1, 8, 64 };

struct bench {
	struct crypto crypto;
	struct aead_thread thread;
	struct aead_ctx *seal, *open;
	struct aead_pkt pkts[AEAD_BATCH_MAX];
	uint8_t bytes[AEAD_BATCH_MAX][SIZE_MAX_BYTES + AEAD_TAG_SIZE];
	uint8_t sealed[AEAD_BATCH_MAX][SIZE_MAX_BYTES + AEAD_TAG_SIZE];
};

static int64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void fill(struct bench *b, uint32_t size, size_t n)
{
	for (size_t i = 0; i < n; i++)
		b->pkts[i] = (struct aead_pkt){ .data = b->bytes[i], .size = size, .counter = i };
}

/* One batch, and what it took. */
static int64_t one(struct bench *b, bool seal, uint32_t size, size_t n)
{
	const struct aead_ops *ops = b->crypto.aead;
	const uint64_t all = aead_all(n);
	int64_t before;
	uint64_t done;

	if (!seal)
		for (size_t i = 0; i < n; i++)
			memcpy(b->bytes[i], b->sealed[i], size + AEAD_TAG_SIZE);
	before = now_ns();
	done = seal ? ops->seal_n(b->seal, &b->thread, 0, b->pkts, n)
		    : ops->open_n(b->open, &b->thread, b->pkts, n);
	if (done != all) {
		(void)fprintf(stderr, "aead: %s refuses its own packets\n", ops->name);
		exit(1);
	}
	return now_ns() - before;
}

/* Best over the tries of the mean of a try. */
static double best_ns(struct bench *b, bool seal, uint32_t size, size_t n)
{
	double best = 1e18;

	fill(b, size, n);
	if (!seal) {
		(void)one(b, true, size, n);
		memcpy(b->sealed, b->bytes, sizeof(b->sealed));
	}
	for (int t = 0; t < TRIES; t++) {
		int64_t used = 0, rounds = 0;
		double mean;

		while (used < TRY_NS) {
			used += one(b, seal, size, n);
			rounds++;
		}
		mean = (double)used / (double)(rounds * (int64_t)n);
		if (mean < best)
			best = mean;
	}
	return best;
}

static void measure(struct bench *b)
{
	for (size_t s = 0; s < ARRAY_LEN(sizes); s++)
		for (size_t n = 0; n < ARRAY_LEN(batches); n++)
			for (int seal = 1; seal >= 0; seal--)
				(void)printf("{\"backend\": \"%s\", \"what\": \"%s\", \"size\": "
					     "%u, \"batch\": %zu, "
					     "\"ns\": %.1f}\n",
					     b->crypto.aead->name, seal ? "seal" : "open", sizes[s],
					     batches[n], best_ns(b, seal, sizes[s], batches[n]));
}

static void one_backend(struct bench *b, const char *name)
{
	static const uint8_t key[AEAD_KEY_SIZE] = { 1, 2, 3 };
	const struct log log = { 0 };

	memset(b, 0, sizeof(*b));
	if (aeadpick_init(&b->crypto, name, &log) < 0)
		return; /* not built, or not for this processor */
	if (aeadpick_thread_init(&b->thread, &b->crypto) < 0)
		exit(1);
	b->seal = b->crypto.aead->ctx_new(&b->crypto, key, true);
	b->open = b->crypto.aead->ctx_new(&b->crypto, key, false);
	if (!b->seal || !b->open)
		exit(1);
	measure(b);
	b->crypto.aead->ctx_free(b->seal);
	b->crypto.aead->ctx_free(b->open);
	aeadpick_thread_wipe(&b->thread);
	aeadpick_wipe(&b->crypto);
}

int main(void)
{
	static const char *const names[] = { "ipsec-mb", "openssl", "libsodium" };
	const struct log log = { 0 };
	struct bench *b = calloc(1, sizeof(*b));
	struct crypto picked;

	if (!b)
		return 1;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		one_backend(b, names[i]);
	if (aeadpick_init(&picked, NULL, &log) == 0) {
		(void)printf("{\"picked\": \"%s\"}\n", picked.aead->name);
		aeadpick_wipe(&picked);
	}
	free(b);
	return 0;
}
