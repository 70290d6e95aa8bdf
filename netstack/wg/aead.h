/* SPDX-License-Identifier: MIT */
/* Batched ChaCha20-Poly1305 for transport data, in place, one interface over three libraries:
 *
 *   aead_sodium    the reference; every other backend is cross-checked against it
 *   aead_openssl   one long-lived EVP context per key and lane; the default
 *   aead_ipsecmb   Intel's multi-buffer jobs (HAVE_IPSEC_MB); wants a manager per thread
 *
 * A context belongs to one key and one thread at a time; it is created when a key pair is made and
 * never per packet. The nonce is 4 zero bytes and the 64-bit counter, little endian; there is no
 * associated data (WireGuard paper 5.4.6). */
#ifndef NETSTACK_WG_AEAD_H
#define NETSTACK_WG_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"

struct crypto;
struct aead_ctx; /* opaque, made by ctx_new */

enum { AEAD_BATCH_MAX = 64, AEAD_TAG_SIZE = 16, AEAD_NONCE_SIZE = 12, AEAD_KEY_SIZE = 32 };

/* One packet of a batch. */
struct aead_pkt {
	uint8_t *data; /* 'size' bytes, sealed or opened in place; the 16-byte tag is at data + size
			*/
	uint32_t size; /* without the tag; may be 0 */
	uint64_t counter; /* open_n: the nonce; seal_n ignores it */
};

/* What a thread owns and lends to every call. Zero is fine for all but aead_ipsecmb. */
struct aead_thread {
	void *imb_mgr; /* IMB_MGR *, from alloc_mb_mgr() and init_mb_mgr_auto() in daemon/ */
};

struct aead_ops {
	const char *name; /* "openssl", "ipsec-mb", "libsodium": shown in status */
	/* A context for 'key', to seal or to open. Null if out of memory or refused by the library.
	 */
	struct aead_ctx *(*ctx_new)(const struct crypto *crypto,
				    const uint8_t key[static AEAD_KEY_SIZE], bool seal);
	/* Wipes and frees; null is fine. */
	void (*ctx_free)(struct aead_ctx *ctx);
	/* Seals 'n' (1..AEAD_BATCH_MAX) packets with counters counter0, counter0 + 1, … and writes
	 * their tags. Returns a bitmap of the packets that were sealed: all, unless the library
	 * failed. A packet whose bit is clear must be dropped; its counter is spent. */
	uint64_t (*seal_n)(struct aead_ctx *ctx, const struct aead_thread *thread,
			   uint64_t counter0, struct aead_pkt *pkts, size_t n);
	/* Verifies and opens 'n' (1..AEAD_BATCH_MAX) packets. Returns a bitmap of the authentic
	 * ones; the bytes of the others are zeroed or still sealed, never unverified plaintext. */
	uint64_t (*open_n)(struct aead_ctx *ctx, const struct aead_thread *thread,
			   struct aead_pkt *pkts, size_t n);
};

extern const struct aead_ops aead_sodium;
extern const struct aead_ops aead_openssl;
/* Declared always, defined where configure found ipsec-mb (HAVE_IPSEC_MB). */
extern const struct aead_ops aead_ipsecmb;

/* WireGuard paper 5.4.6: 32 zero bits, then the counter, little endian. */
static inline void aead_nonce(uint8_t nonce[static AEAD_NONCE_SIZE], uint64_t counter)
{
	struct wr w = WR(nonce, AEAD_NONCE_SIZE);

	wr_zero(&w, 4);
	wr_le64(&w, counter);
}

/* The bits of the first 'n' packets. */
static inline uint64_t aead_all(size_t n)
{
	return n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

#endif
