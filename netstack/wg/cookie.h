/* SPDX-License-Identifier: MIT */
/* mac1, mac2 and cookie replies, both sides.
 *
 * mac1 proves only that the sender knows our public key; it is checked before anything else and
 * costs one keyed hash. Under load a valid mac2 proves in addition that the sender can receive at
 * its address: it is keyed with a cookie that we derive from that address and a secret that rotates
 * every 120 s. Spec: WireGuard paper 5.4.4, 5.4.7; netstack/wire/wgmsg.md, "Macs and cookies". */
#ifndef NETSTACK_WG_COOKIE_H
#define NETSTACK_WG_COOKIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/hkdf.h"
#include "base/key.h"
#include "base/mono.h"
#include "wire/wgmsg.h"

struct env;

enum { COOKIE_SECRET_LIFE_S = 120, COOKIE_LIFE_S = 120, COOKIE_SRC_MAX = 80 };

/* Our side as the one who may be under load. Control thread. */
struct cookie_checker {
	uint8_t mac1_key[HASH_SIZE];
	uint8_t cookie_key[HASH_SIZE];
	uint8_t secret[HASH_SIZE];
	struct mono secret_born; /* zero: none made yet */
};

/* Our side towards one peer: macs of what we send to it. Control thread. */
struct cookie_maker {
	uint8_t mac1_key[HASH_SIZE];
	uint8_t cookie_key[HASH_SIZE];
	uint8_t cookie[WGMSG_COOKIE_SIZE];
	struct mono cookie_born; /* zero: no cookie */
	uint8_t last_mac1[WGMSG_MAC_SIZE];
	bool has_last_mac1; /* a message that a cookie reply may answer is out */
};

void cookie_checker_init(struct cookie_checker *c, const struct node_key *self);
void cookie_checker_wipe(struct cookie_checker *c);

/* Is the mac1 of an initiation or response right? 'msg' is the whole message; its last 32 bytes are
 * the macs. */
bool cookie_check_mac1(const struct cookie_checker *c, const uint8_t *msg, size_t size);

/* Is its mac2 right for a sender at 'src' ('src_size' bytes that identify address and port, at most
 * COOKIE_SRC_MAX)? An expired secret makes every mac2 wrong. */
bool cookie_check_mac2(const struct cookie_checker *c, struct mono now, const uint8_t *msg,
		       size_t size, const void *src, size_t src_size);

/* Writes the cookie reply to 'msg' (an initiation or response with a valid mac1) from 'src';
 * rotates the secret when it is due. */
void cookie_reply_write(struct cookie_checker *c, struct mono now, const struct env *env,
			const uint8_t *msg, size_t size, const void *src, size_t src_size,
			struct wg_cookie_reply *reply);

void cookie_maker_init(struct cookie_maker *m, const struct node_key *peer);

/* Fills both macs at the end of an initiation or response of 'size' bytes; mac2 is zero without a
 * fresh cookie. Remembers mac1, which a cookie reply must be bound to. */
void cookie_add_macs(struct cookie_maker *m, struct mono now, uint8_t *msg, size_t size);

/* Takes a cookie reply to the last message. Returns 0; -EPROTO if none is out; -EBADMSG if it is
 * not authentic. The cookie then lives COOKIE_LIFE_S less five seconds. */
MESH_MUST_USE int cookie_consume_reply(struct cookie_maker *m, struct mono now,
				       const struct wg_cookie_reply *reply);

#endif
