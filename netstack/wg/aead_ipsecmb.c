/* SPDX-License-Identifier: MIT */
/* Intel's multi-buffer library by its job interface: a batch is submitted whole, then flushed. The
 * manager belongs to the thread, is created in daemon/ and lent to every call; the library is
 * reached through the manager's own function table alone.
 *
 * The library decrypts and computes the tag but compares nothing: that is done here. */
#include <intel-ipsec-mb.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "wg/aead.h"

struct aead_ctx {
	uint8_t key[AEAD_KEY_SIZE];
};

/* What lives as long as a batch is in flight. */
struct batch {
	uint8_t nonce[AEAD_BATCH_MAX][AEAD_NONCE_SIZE];
	uint8_t tag[AEAD_BATCH_MAX][AEAD_TAG_SIZE]; /* computed; opening only */
	uint64_t done;                              /* bitmap of completed jobs */
};

static struct aead_ctx *ipsecmb_ctx_new(const struct crypto *crypto,
					const uint8_t key[static AEAD_KEY_SIZE], bool seal)
{
	struct aead_ctx *ctx = malloc(sizeof(*ctx));

	(void)crypto;
	(void)seal;
	if (ctx)
		memcpy(ctx->key, key, sizeof(ctx->key));
	return ctx;
}

static void ipsecmb_ctx_free(struct aead_ctx *ctx)
{
	if (!ctx)
		return;
	sodium_memzero(ctx, sizeof(*ctx));
	free(ctx);
}

static void note_done(struct batch *b, const IMB_JOB *job)
{
	if (job->status == IMB_STATUS_COMPLETED)
		b->done |= UINT64_C(1) << (uintptr_t)job->user_data;
}

/* Queues packet 'i'; jobs that the library finishes on the way are noted. */
static void submit(IMB_MGR *mgr, const struct aead_ctx *ctx, struct batch *b, size_t i,
		   struct aead_pkt *pkt, bool seal)
{
	IMB_JOB *job = IMB_GET_NEXT_JOB(mgr);

	job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
	job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
	job->cipher_direction = seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	job->chain_order = seal ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->enc_keys = ctx->key;
	job->dec_keys = ctx->key;
	job->key_len_in_bytes = sizeof(ctx->key);
	job->src = pkt->data;
	job->dst = pkt->data;
	job->cipher_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = pkt->size;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = pkt->size;
	job->iv = b->nonce[i];
	job->iv_len_in_bytes = sizeof(b->nonce[i]);
	job->u.CHACHA20_POLY1305.aad = NULL;
	job->u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
	job->auth_tag_output = seal ? pkt->data + pkt->size : b->tag[i];
	job->auth_tag_output_len_in_bytes = AEAD_TAG_SIZE;
	job->user_data = (void *)(uintptr_t)i;
	for (job = IMB_SUBMIT_JOB(mgr); job; job = IMB_GET_COMPLETED_JOB(mgr))
		note_done(b, job);
}

static void flush(IMB_MGR *mgr, struct batch *b)
{
	for (IMB_JOB *job = IMB_FLUSH_JOB(mgr); job; job = IMB_FLUSH_JOB(mgr))
		note_done(b, job);
}

static uint64_t ipsecmb_seal_n(struct aead_ctx *ctx, const struct aead_thread *thread,
			       uint64_t counter0, struct aead_pkt *pkts, size_t n)
{
	struct batch b;

	b.done = 0;
	for (size_t i = 0; i < n; i++) {
		aead_nonce(b.nonce[i], counter0 + i);
		submit(thread->imb_mgr, ctx, &b, i, &pkts[i], true);
	}
	flush(thread->imb_mgr, &b);
	return b.done;
}

static uint64_t ipsecmb_open_n(struct aead_ctx *ctx, const struct aead_thread *thread,
			       struct aead_pkt *pkts, size_t n)
{
	struct batch b;
	uint64_t ok = 0;

	b.done = 0;
	for (size_t i = 0; i < n; i++) {
		aead_nonce(b.nonce[i], pkts[i].counter);
		submit(thread->imb_mgr, ctx, &b, i, &pkts[i], false);
	}
	flush(thread->imb_mgr, &b);
	for (size_t i = 0; i < n; i++) {
		uint64_t bit = UINT64_C(1) << i;

		if ((b.done & bit) &&
		    sodium_memcmp(b.tag[i], pkts[i].data + pkts[i].size, AEAD_TAG_SIZE) == 0)
			ok |= bit;
		else
			memset(pkts[i].data, 0, pkts[i].size); /* unverified plaintext */
	}
	return ok;
}

const struct aead_ops aead_ipsecmb = {
	.name = "ipsec-mb",
	.ctx_new = ipsecmb_ctx_new,
	.ctx_free = ipsecmb_ctx_free,
	.seal_n = ipsecmb_seal_n,
	.open_n = ipsecmb_open_n,
};
