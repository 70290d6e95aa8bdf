/* SPDX-License-Identifier: MIT */
/* The default backend: one EVP context per key, direction and lane, given only a new nonce per
 * packet (a new context for each would cost 0.4 us, PERFORMANCE 3). The cipher object is fetched in
 * daemon/. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "wg/aead.h"
#include "wg/crypto.h"

struct aead_ctx {
	EVP_CIPHER_CTX *evp;
};

static void openssl_ctx_free(struct aead_ctx *ctx)
{
	if (!ctx)
		return;
	EVP_CIPHER_CTX_free(ctx->evp); /* cleanses the key schedule */
	free(ctx);
}

static struct aead_ctx *openssl_ctx_new(const struct crypto *crypto,
					const uint8_t key[static AEAD_KEY_SIZE], bool seal)
{
	struct aead_ctx *ctx = calloc(1, sizeof(*ctx));

	if (!ctx)
		return NULL;
	ctx->evp = EVP_CIPHER_CTX_new();
	if (!ctx->evp ||
	    EVP_CipherInit_ex2(ctx->evp, crypto->chacha20_poly1305, key, NULL, seal, NULL) != 1) {
		openssl_ctx_free(ctx);
		return NULL;
	}
	return ctx;
}

static bool seal_one(EVP_CIPHER_CTX *evp, const uint8_t nonce[static AEAD_NONCE_SIZE],
		     struct aead_pkt *pkt)
{
	int out = 0, rest = 0;

	return EVP_EncryptInit_ex2(evp, NULL, NULL, nonce, NULL) == 1 &&
	       EVP_EncryptUpdate(evp, pkt->data, &out, pkt->data, (int)pkt->size) == 1 &&
	       EVP_EncryptFinal_ex(evp, pkt->data + pkt->size, &rest) == 1 &&
	       EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_SIZE,
				   pkt->data + pkt->size) == 1;
}

static uint64_t openssl_seal_n(struct aead_ctx *ctx, const struct aead_thread *thread,
			       uint64_t counter0, struct aead_pkt *pkts, size_t n)
{
	uint8_t nonce[AEAD_NONCE_SIZE];
	uint64_t ok = 0;

	(void)thread;
	for (size_t i = 0; i < n; i++) {
		aead_nonce(nonce, counter0 + i);
		if (seal_one(ctx->evp, nonce, &pkts[i]))
			ok |= UINT64_C(1) << i;
	}
	return ok;
}

static bool open_one(EVP_CIPHER_CTX *evp, const uint8_t nonce[static AEAD_NONCE_SIZE],
		     struct aead_pkt *pkt)
{
	int out = 0, rest = 0;

	if (EVP_DecryptInit_ex2(evp, NULL, NULL, nonce, NULL) == 1 &&
	    EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_SIZE, pkt->data + pkt->size) ==
		    1 &&
	    EVP_DecryptUpdate(evp, pkt->data, &out, pkt->data, (int)pkt->size) == 1 &&
	    EVP_DecryptFinal_ex(evp, pkt->data + pkt->size, &rest) == 1)
		return true;
	/* EVP decrypts before it verifies: nothing unverified may stay behind. */
	memset(pkt->data, 0, pkt->size);
	return false;
}

static uint64_t openssl_open_n(struct aead_ctx *ctx, const struct aead_thread *thread,
			       struct aead_pkt *pkts, size_t n)
{
	uint8_t nonce[AEAD_NONCE_SIZE];
	uint64_t ok = 0;

	(void)thread;
	for (size_t i = 0; i < n; i++) {
		aead_nonce(nonce, pkts[i].counter);
		if (open_one(ctx->evp, nonce, &pkts[i]))
			ok |= UINT64_C(1) << i;
	}
	return ok;
}

const struct aead_ops aead_openssl = {
	.name = "openssl",
	.ctx_new = openssl_ctx_new,
	.ctx_free = openssl_ctx_free,
	.seal_n = openssl_seal_n,
	.open_n = openssl_open_n,
};
