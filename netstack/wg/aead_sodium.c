/* SPDX-License-Identifier: MIT */
/* The reference backend: libsodium, one packet after the other. Slower than the others at packet
 * size (PERFORMANCE 3); every other backend is cross-checked against it. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "wg/aead.h"

struct aead_ctx {
	uint8_t key[AEAD_KEY_SIZE];
};

static struct aead_ctx *sodium_ctx_new(const struct crypto *crypto,
				       const uint8_t key[static AEAD_KEY_SIZE], bool seal)
{
	struct aead_ctx *ctx = malloc(sizeof(*ctx));

	(void)crypto;
	(void)seal;
	if (ctx)
		memcpy(ctx->key, key, sizeof(ctx->key));
	return ctx;
}

static void sodium_ctx_free(struct aead_ctx *ctx)
{
	if (!ctx)
		return;
	sodium_memzero(ctx, sizeof(*ctx));
	free(ctx);
}

static uint64_t sodium_seal_n(struct aead_ctx *ctx, const struct aead_thread *thread,
			      uint64_t counter0, struct aead_pkt *pkts, size_t n)
{
	uint8_t nonce[AEAD_NONCE_SIZE];

	(void)thread;
	for (size_t i = 0; i < n; i++) {
		aead_nonce(nonce, counter0 + i);
		(void)crypto_aead_chacha20poly1305_ietf_encrypt_detached(
			pkts[i].data, pkts[i].data + pkts[i].size, NULL, pkts[i].data, pkts[i].size,
			NULL, 0, NULL, nonce, ctx->key);
	}
	return aead_all(n);
}

static uint64_t sodium_open_n(struct aead_ctx *ctx, const struct aead_thread *thread,
			      struct aead_pkt *pkts, size_t n)
{
	uint8_t nonce[AEAD_NONCE_SIZE];
	uint64_t ok = 0;

	(void)thread;
	for (size_t i = 0; i < n; i++) {
		aead_nonce(nonce, pkts[i].counter);
		if (crypto_aead_chacha20poly1305_ietf_decrypt_detached(
			    pkts[i].data, NULL, pkts[i].data, pkts[i].size,
			    pkts[i].data + pkts[i].size, NULL, 0, nonce, ctx->key) == 0)
			ok |= UINT64_C(1) << i;
	}
	return ok;
}

const struct aead_ops aead_sodium = {
	.name = "libsodium",
	.ctx_new = sodium_ctx_new,
	.ctx_free = sodium_ctx_free,
	.seal_n = sodium_seal_n,
	.open_n = sodium_open_n,
};
