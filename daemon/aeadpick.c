/* SPDX-License-Identifier: MIT */
/* Library objects of the AEAD backends, a cross-check against the reference, and the timing that
 * picks one. */
#include "config.h"

#include "daemon/aeadpick.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <sodium.h>
#ifdef HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>
#endif

#include "base/log.h"
#include "base/mono.h"
#include "daemon/loop.h"

enum {
	PKT_SIZE = 1280, /* a full packet */
	N_PKTS = 49,     /* a full GSO send of them */
	TEST_US = 2000,  /* per backend, and */
	BATCHES_MIN = 8, /* at least so many: one alone may have been preempted */
};

static const struct aead_ops *const backends[] = {
#ifdef HAVE_IPSEC_MB
	&aead_ipsecmb,
#endif
	&aead_openssl,
	&aead_sodium,
};

int aeadpick_thread_init(struct aead_thread *t, const struct crypto *crypto)
{
	memset(t, 0, sizeof(*t));
#ifdef HAVE_IPSEC_MB
	if (crypto->aead == &aead_ipsecmb) {
		IMB_MGR *mgr = alloc_mb_mgr(0);

		if (!mgr)
			return -ENOMEM;
		init_mb_mgr_auto(mgr, NULL);
		t->imb_mgr = mgr;
	}
#else
	(void)crypto;
#endif
	return 0;
}

void aeadpick_thread_wipe(struct aead_thread *t)
{
#ifdef HAVE_IPSEC_MB
	if (t->imb_mgr)
		free_mb_mgr(t->imb_mgr);
#endif
	t->imb_mgr = NULL;
}

/* Working space of the test. */
struct trial {
	uint8_t bytes[N_PKTS][PKT_SIZE + AEAD_TAG_SIZE];
	struct aead_pkt pkts[N_PKTS];
};

static void fill(struct trial *t)
{
	for (size_t i = 0; i < N_PKTS; i++) {
		memset(t->bytes[i], (int)i, sizeof(t->bytes[i]));
		/* All lengths that matter: the last block full, partial, absent. */
		t->pkts[i] = (struct aead_pkt){ .data = t->bytes[i],
						.size = i < 40 ? PKT_SIZE : (uint32_t)(i * 13) % 97,
						.counter = i };
	}
}

/* Seals with 'ops' and opens with the reference, and the other way round. */
static bool is_right(const struct crypto *base, const struct aead_ops *ops, struct trial *t)
{
	const uint8_t key[AEAD_KEY_SIZE] = { 1, 2, 3 };
	const struct aead_ops *order[2][2] = { { ops, &aead_sodium }, { &aead_sodium, ops } };
	struct crypto crypto = *base;
	struct aead_thread thread;
	bool ok = true;

	crypto.aead = ops;
	if (aeadpick_thread_init(&thread, &crypto) < 0)
		return false;
	for (size_t i = 0; i < 2 && ok; i++) {
		struct aead_ctx *seal = order[i][0]->ctx_new(&crypto, key, true);
		struct aead_ctx *open = order[i][1]->ctx_new(&crypto, key, false);

		fill(t);
		ok = seal && open &&
		     order[i][0]->seal_n(seal, &thread, 0, t->pkts, N_PKTS) == aead_all(N_PKTS) &&
		     order[i][1]->open_n(open, &thread, t->pkts, N_PKTS) == aead_all(N_PKTS);
		for (size_t k = 0; k < N_PKTS && ok; k++)
			for (size_t j = 0; j < t->pkts[k].size && ok; j++)
				ok = t->bytes[k][j] == k;
		order[i][0]->ctx_free(seal);
		order[i][1]->ctx_free(open);
	}
	aeadpick_thread_wipe(&thread);
	return ok;
}

/* Best time of one batch in nanoseconds. */
static int64_t time_of(const struct crypto *base, const struct aead_ops *ops, struct trial *t)
{
	const uint8_t key[AEAD_KEY_SIZE] = { 4, 5, 6 };
	const struct mono start = loop_clock();
	struct crypto crypto = *base;
	struct aead_thread thread;
	struct aead_ctx *ctx;
	int64_t best = INT64_MAX;
	int n = 0;

	crypto.aead = ops;
	if (aeadpick_thread_init(&thread, &crypto) < 0)
		return best;
	ctx = ops->ctx_new(&crypto, key, true);
	fill(t);
	for (struct mono now = start;
	     ctx && (n < BATCHES_MIN || mono_since_ns(now, start) < TEST_US * NS_PER_US); n++) {
		const struct mono before = now;

		(void)ops->seal_n(ctx, &thread, 1, t->pkts, N_PKTS);
		now = loop_clock();
		if (mono_since_ns(now, before) < best)
			best = mono_since_ns(now, before);
	}
	ops->ctx_free(ctx);
	aeadpick_thread_wipe(&thread);
	return best;
}

static int pick(struct crypto *crypto, const char *name, const struct log *log, struct trial *t)
{
	int64_t best = INT64_MAX;
	int err = -ENOENT;

	for (size_t i = 0; i < ARRAY_LEN(backends); i++) {
		int64_t ns;

		if (name && strcmp(name, backends[i]->name) != 0)
			continue;
		if (!is_right(crypto, backends[i], t)) {
			log_warn(log, "aead: %s: does not agree with libsodium: not used",
				 backends[i]->name);
			err = crypto->aead ? 0 : -EIO;
			continue;
		}
		ns = time_of(crypto, backends[i], t);
		log_debug(log, "aead: %s: %lld ns a packet", backends[i]->name,
			  (long long)ns / N_PKTS);
		if (ns < best) {
			best = ns;
			crypto->aead = backends[i];
			err = 0;
		}
	}
	return err;
}

int aeadpick_init(struct crypto *crypto, const char *name, const struct log *log)
{
	struct trial *t = malloc(sizeof(*t));
	int err;

	*crypto = (struct crypto){ .n_seal_lanes = 1, .n_open_lanes = 1 };
	if (!t || sodium_init() < 0) {
		free(t);
		return -ENOMEM;
	}
	crypto->chacha20_poly1305 = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	err = crypto->chacha20_poly1305 ? pick(crypto, name, log, t) : -ENOMEM;
	free(t);
	if (err)
		aeadpick_wipe(crypto);
	else
		log_info(log, "aead: %s", crypto->aead->name);
	return err;
}

void aeadpick_wipe(struct crypto *crypto)
{
	EVP_CIPHER_free(crypto->chacha20_poly1305);
	*crypto = (struct crypto){ 0 };
}
