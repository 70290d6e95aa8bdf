/* SPDX-License-Identifier: MIT */
/* Text forms and small operations of the keys in key.h. */
#include "base/key.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

static const char *const prefixes[] = {
	[KEY_NODE] = "nodekey:",      [KEY_MACHINE] = "mkey:",    [KEY_DISCO] = "discokey:",
	[KEY_CHALLENGE] = "chalpub:", [KEY_PRIVATE] = "privkey:",
};

void key_write(char text[static KEY_TEXT_MAX], enum key_kind kind, const uint8_t raw[static KEY_SIZE])
{
	size_t n = strlen(prefixes[kind]);

	memcpy(text, prefixes[kind], n);
	sodium_bin2hex(text + n, KEY_TEXT_MAX - n, raw, KEY_SIZE);
}

int key_parse(uint8_t raw[static KEY_SIZE], enum key_kind kind, const char *text, size_t len)
{
	size_t n = strlen(prefixes[kind]), got = 0;
	uint8_t tmp[KEY_SIZE];
	int err = -EBADMSG;

	if (len == n + 64 && memcmp(text, prefixes[kind], n) == 0 &&
	    sodium_hex2bin(tmp, sizeof(tmp), text + n, 64, NULL, &got, NULL) == 0 && got == KEY_SIZE) {
		memcpy(raw, tmp, KEY_SIZE);
		err = 0;
	}
	sodium_memzero(tmp, sizeof(tmp));
	return err;
}

bool key_is_zero(const uint8_t raw[static KEY_SIZE])
{
	return sodium_is_zero(raw, KEY_SIZE) == 1;
}

void key_public(uint8_t pub[static KEY_SIZE], const uint8_t priv[static KEY_SIZE])
{
	(void)crypto_scalarmult_base(pub, priv); /* cannot fail for the base point */
}

void key_clamp(uint8_t priv[static KEY_SIZE])
{
	priv[0] &= 0xf8;
	priv[31] = (uint8_t)((priv[31] & 0x7f) | 0x40);
}

void key_wipe(uint8_t priv[static KEY_SIZE])
{
	sodium_memzero(priv, KEY_SIZE);
}

void key_short(char text[static KEY_SHORT_MAX], enum key_kind kind, const uint8_t raw[static KEY_SIZE])
{
	char b64[48], hex[17];

	if (kind == KEY_DISCO) {
		sodium_bin2hex(hex, sizeof(hex), raw, 8);
		text[0] = '\0'; /* the form of the zero key */
		if (!key_is_zero(raw))
			(void)snprintf(text, KEY_SHORT_MAX, "d:%s", hex);
		return;
	}
	sodium_bin2base64(b64, sizeof(b64), raw, KEY_SIZE, sodium_base64_VARIANT_ORIGINAL);
	(void)snprintf(text, KEY_SHORT_MAX, "[%.5s]", b64);
}
