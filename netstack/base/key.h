/* SPDX-License-Identifier: MIT */
/* The 32-byte Curve25519 keys, each kind a type of its own, and their text forms.
 *
 * Text: prefix + 64 hex digits. Writers emit lower case; readers accept upper-case digits, but the
 * prefix is case-sensitive, the length exact and no white space is allowed.
 * Spec: control-transport, "Keys and their text forms". */
#ifndef NETSTACK_BASE_KEY_H
#define NETSTACK_BASE_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

enum { KEY_SIZE = 32, KEY_TEXT_MAX = 10 + 64 + 1 };

/* Public keys. They may be compared with memcmp: they are not secret. */
struct node_key {
	uint8_t b[KEY_SIZE]; /* nodekey: (WireGuard) */
};

struct machine_key {
	uint8_t b[KEY_SIZE]; /* mkey: (control connection; also the server's) */
};

struct disco_key {
	uint8_t b[KEY_SIZE]; /* discokey: */
};

/* Private keys: compare with sodium_memcmp, wipe with key_wipe(), never log. */
struct node_priv {
	uint8_t b[KEY_SIZE];
};

struct machine_priv {
	uint8_t b[KEY_SIZE];
};

struct disco_priv {
	uint8_t b[KEY_SIZE];
};

enum key_kind {
	KEY_NODE,      /* "nodekey:" */
	KEY_MACHINE,   /* "mkey:" */
	KEY_DISCO,     /* "discokey:" */
	KEY_CHALLENGE, /* "chalpub:" */
	KEY_PRIVATE,   /* "privkey:", node and machine alike */
};

/* Writes the text form with its final NUL. 'raw' is KEY_SIZE bytes. */
void key_write(char text[static KEY_TEXT_MAX], enum key_kind kind, const uint8_t raw[static KEY_SIZE]);

/* Reads a text form of 'len' characters. Returns 0, or -EBADMSG and leaves 'raw' untouched. The zero
 * key parses; ask key_is_zero(). */
MESH_MUST_USE int key_parse(uint8_t raw[static KEY_SIZE], enum key_kind kind, const char *text,
			    size_t len);

bool key_is_zero(const uint8_t raw[static KEY_SIZE]);

/* Public half of a private key (X25519 with the base point). */
void key_public(uint8_t pub[static KEY_SIZE], const uint8_t priv[static KEY_SIZE]);

/* Clamps 32 random bytes into a private key, in place. */
void key_clamp(uint8_t priv[static KEY_SIZE]);

void key_wipe(uint8_t priv[static KEY_SIZE]);

enum { KEY_SHORT_MAX = 20 };
/* Log forms: "[" + five base64 characters + "]" (node, machine), "d:" + 16 hex digits (disco; empty for
 * the zero key). */
void key_short(char text[static KEY_SHORT_MAX], enum key_kind kind, const uint8_t raw[static KEY_SIZE]);

static inline bool node_key_eq(const struct node_key *a, const struct node_key *b)
{
	return memcmp(a->b, b->b, KEY_SIZE) == 0;
}

static inline bool disco_key_eq(const struct disco_key *a, const struct disco_key *b)
{
	return memcmp(a->b, b->b, KEY_SIZE) == 0;
}

static inline bool machine_key_eq(const struct machine_key *a, const struct machine_key *b)
{
	return memcmp(a->b, b->b, KEY_SIZE) == 0;
}

#endif
