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

#ifdef HAVE_IPSEC_MB
/* The library's choice, or the best below the forced limit. The library itself refuses what the CPU
 * does not have: then the manager's functions are not there to be called. */
static int init_mgr(IMB_MGR *mgr, enum crypto_cpu cpu)
{
	switch (cpu) {
	case CRYPTO_CPU_ANY:
		init_mb_mgr_auto(mgr, NULL);
		break;
	case CRYPTO_CPU_NONE:
		return -ENOTSUP;
	case CRYPTO_CPU_SSE:
		init_mb_mgr_sse(mgr);
		break;
	case CRYPTO_CPU_AVX:
		init_mb_mgr_avx(mgr);
		break;
	case CRYPTO_CPU_AVX2:
		init_mb_mgr_avx2(mgr);
		break;
	}
	return imb_get_errno(mgr) ? -ENOTSUP : 0;
}
#endif

int aeadpick_thread_init(struct aead_thread *t, const struct crypto *crypto)
{
	memset(t, 0, sizeof(*t));
#ifdef HAVE_IPSEC_MB
	if (crypto->aead == &aead_ipsecmb) {
		IMB_MGR *mgr = alloc_mb_mgr(0);
		int err;

		if (!mgr)
			return -ENOMEM;
		err = init_mgr(mgr, crypto->cpu);
		if (err) {
			free_mb_mgr(mgr);
			return err;
		}
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

/* Seals with 'ops' and opens with the reference, and the other way round. Returns 0, -EIO if they do
 * not agree, -ENOTSUP if this CPU cannot, or -ENOMEM. */
static int check(const struct crypto *base, const struct aead_ops *ops, struct trial *t)
{
	const uint8_t key[AEAD_KEY_SIZE] = { 1, 2, 3 };
	const struct aead_ops *order[2][2] = { { ops, &aead_sodium }, { &aead_sodium, ops } };
	struct crypto crypto = *base;
	struct aead_thread thread;
	bool ok = true;
	int err;

	crypto.aead = ops;
	err = aeadpick_thread_init(&thread, &crypto);
	if (err)
		return err;
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
	return ok ? 0 : -EIO;
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

/* "BACKEND/CPU": is the backend this one? Both parts may be missing. */
static bool is_wanted(const struct aead_ops *ops, const char *name)
{
	const size_t n = name ? strcspn(name, "/") : 0;

	return n == 0 || (strlen(ops->name) == n && memcmp(ops->name, name, n) == 0);
}

static int parse_cpu(enum crypto_cpu *cpu, const char *name)
{
	static const char *const names[] = {
		[CRYPTO_CPU_NONE] = "none",
		[CRYPTO_CPU_SSE] = "sse",
		[CRYPTO_CPU_AVX] = "avx",
		[CRYPTO_CPU_AVX2] = "avx2",
	};
	const char *text = name ? strchr(name, '/') : NULL;

	*cpu = CRYPTO_CPU_ANY;
	for (size_t i = CRYPTO_CPU_NONE; text && i < ARRAY_LEN(names); i++)
		if (strcmp(text + 1, names[i]) == 0)
			*cpu = (enum crypto_cpu)i;
	return text && *cpu == CRYPTO_CPU_ANY ? -ENOENT : 0;
}

static int pick(struct crypto *crypto, const char *name, const struct log *log, struct trial *t)
{
	int64_t best = INT64_MAX;
	int err = parse_cpu(&crypto->cpu, name), first_err = -ENOENT;

	for (size_t i = 0; i < ARRAY_LEN(backends) && !err; i++) {
		int64_t ns;
		int bad;

		if (!is_wanted(backends[i], name))
			continue;
		bad = check(crypto, backends[i], t);
		if (bad) {
			log_warn(log, "aead: %s: %s: not used", backends[i]->name,
				 bad == -ENOTSUP ? "nothing for this CPU"
				 : bad == -EIO	 ? "does not agree with libsodium"
						 : strerror(-bad));
			first_err = first_err == -ENOENT ? bad : first_err;
			continue;
		}
		ns = time_of(crypto, backends[i], t);
		log_debug(log, "aead: %s: %lld ns a packet", backends[i]->name,
			  (long long)ns / N_PKTS);
		if (ns < best) {
			best = ns;
			crypto->aead = backends[i];
		}
	}
	return err ? err : crypto->aead ? 0 : first_err;
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
