/* SPDX-License-Identifier: MIT */
/* BLAKE2s, HMAC-BLAKE2s and the HKDF of Noise, over libb2. Shared by the WireGuard handshake and the
 * control connection. Spec: Noise 4.3, WireGuard paper 5.4. */
#ifndef NETSTACK_BASE_HKDF_H
#define NETSTACK_BASE_HKDF_H

#include <stddef.h>
#include <stdint.h>

enum { HASH_SIZE = 32 };

/* BLAKE2s-256 of 'a' followed by 'b' (either may be empty). */
void hash2(uint8_t out[static HASH_SIZE], const void *a, size_t a_size, const void *b, size_t b_size);
/* Keyed BLAKE2s with 'out_size' bytes of output (1..32) and 'key_size' bytes of key (0..32). */
void hash_keyed(uint8_t *out, size_t out_size, const void *key, size_t key_size, const void *in,
		size_t in_size);
/* HMAC-BLAKE2s-256; 'key' is 32 bytes, the input is 'a' followed by 'b'. */
void hmac2(uint8_t out[static HASH_SIZE], const uint8_t key[static HASH_SIZE], const void *a,
	   size_t a_size, const void *b, size_t b_size);
/* HKDF with salt 'ck' and input 'ikm': one to three outputs; pass null for those not wanted.
 * Outputs may be 'ck' itself. */
void hkdf(uint8_t *out1, uint8_t *out2, uint8_t *out3, const uint8_t ck[static HASH_SIZE],
	  const void *ikm, size_t ikm_size);

#endif
