/* SPDX-License-Identifier: MIT */
/* HMAC and HKDF over libb2's BLAKE2s. */
#include "base/hkdf.h"

#include <blake2.h>
#include <sodium.h>
#include <string.h>

enum { BLOCK = 64 };

void hash2(uint8_t out[static HASH_SIZE], const void *a, size_t a_size, const void *b, size_t b_size)
{
	blake2s_state s;

	(void)blake2s_init(&s, HASH_SIZE);
	(void)blake2s_update(&s, a, a_size);
	(void)blake2s_update(&s, b, b_size);
	(void)blake2s_final(&s, out, HASH_SIZE);
	sodium_memzero(&s, sizeof(s));
}

void hash_keyed(uint8_t *out, size_t out_size, const void *key, size_t key_size, const void *in,
		size_t in_size)
{
	(void)blake2s(out, in, key, out_size, in_size, key_size);
}

void hmac2(uint8_t out[static HASH_SIZE], const uint8_t key[static HASH_SIZE], const void *a,
	   size_t a_size, const void *b, size_t b_size)
{
	uint8_t pad[BLOCK], inner[HASH_SIZE];
	blake2s_state s;

	memset(pad, 0x36, sizeof(pad));
	for (size_t i = 0; i < HASH_SIZE; i++)
		pad[i] ^= key[i];
	(void)blake2s_init(&s, HASH_SIZE);
	(void)blake2s_update(&s, pad, sizeof(pad));
	(void)blake2s_update(&s, a, a_size);
	(void)blake2s_update(&s, b, b_size);
	(void)blake2s_final(&s, inner, sizeof(inner));
	for (size_t i = 0; i < BLOCK; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	hash2(out, pad, sizeof(pad), inner, sizeof(inner));
	sodium_memzero(pad, sizeof(pad));
	sodium_memzero(inner, sizeof(inner));
	sodium_memzero(&s, sizeof(s));
}

void hkdf(uint8_t *out1, uint8_t *out2, uint8_t *out3, const uint8_t ck[static HASH_SIZE],
	  const void *ikm, size_t ikm_size)
{
	uint8_t prk[HASH_SIZE], t[3][HASH_SIZE];
	uint8_t *const outs[3] = { out1, out2, out3 };

	hmac2(prk, ck, ikm, ikm_size, NULL, 0);
	for (uint8_t i = 0; i < 3 && (outs[0] || outs[1] || outs[2]); i++) {
		const uint8_t n = (uint8_t)(i + 1);

		hmac2(t[i], prk, i ? t[i - 1] : NULL, i ? HASH_SIZE : 0, &n, 1);
	}
	for (size_t i = 0; i < 3; i++)
		if (outs[i])
			memcpy(outs[i], t[i], HASH_SIZE);
	sodium_memzero(prk, sizeof(prk));
	sodium_memzero(t, sizeof(t));
}
