/* SPDX-License-Identifier: MIT */
/* Library objects that only daemon/ may create, handed to the pure code (ARCHITECTURE, rule 1).
 *
 * One 'struct crypto' per process, filled once at start, read-only afterwards; borrowed by every
 * device and key pair until the process ends. Tests may leave everything but 'aead' null when they
 * use aead_sodium. */
#ifndef NETSTACK_WG_CRYPTO_H
#define NETSTACK_WG_CRYPTO_H

struct aead_ops;
struct evp_cipher_st; /* OpenSSL's EVP_CIPHER */

enum { CRYPTO_LANES_MAX = 8 };

/* The most that a backend with code for several instruction sets may use of this CPU. */
enum crypto_cpu { CRYPTO_CPU_ANY, CRYPTO_CPU_NONE, CRYPTO_CPU_SSE, CRYPTO_CPU_AVX, CRYPTO_CPU_AVX2 };

struct crypto {
	/* The backend for transport data: &aead_sodium, &aead_openssl or &aead_ipsecmb. */
	const struct aead_ops *aead;
	/* EVP_CIPHER_fetch(ctx, "ChaCha20-Poly1305", NULL); needed by aead_openssl alone. */
	struct evp_cipher_st *chacha20_poly1305;
	/* How many threads seal and how many open at the same time with one key: each gets a
	 * context of its own per key pair, addressed by its lane number. 0 counts as 1. */
	unsigned n_seal_lanes;
	unsigned n_open_lanes;
	/* For tests: aead_ipsecmb as if the CPU had no more than this. */
	enum crypto_cpu cpu;
};

#endif
