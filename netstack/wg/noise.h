/* SPDX-License-Identifier: MIT */
/* The WireGuard handshake, Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, both sides. Knows keys and
 * messages; no timers, no retries (session.c), no mac1/mac2 (cookie.c).
 *
 *   initiator                                   responder
 *   noise_create_initiation(hs) ── msg 1 ──►    noise_open_initiation(rx)      whose is it?
 *                                               noise_accept_initiation(rx)    its timestamp
 *   noise_consume_response(hs)  ◄── msg 2 ──    noise_create_response(rx) ──► keys
 *          │ keys
 *
 * The two roles share no state, so that crossing handshakes both complete. All functions compute in
 * locals and commit at the end; a rejected message leaves no trace. Spec: WireGuard paper 5.4;
 * netstack/wire/wgmsg.md. */
#ifndef NETSTACK_WG_NOISE_H
#define NETSTACK_WG_NOISE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/hkdf.h"
#include "base/key.h"
#include "wire/wgmsg.h"

struct env;

/* Our static key. Secret; wipe with noise_self_wipe(). */
struct noise_self {
	struct node_priv priv;
	struct node_key pub;
};

/* What a handshake needs to know of the peer. Secret, because of 'ss' and 'psk'. */
struct noise_peer {
	struct node_key pub;
	uint8_t psk[32]; /* preshared key; all zero in a mesh */
	uint8_t ss[32];  /* X25519(our static, its static), once 'has_ss' */
	bool has_ss;     /* computed at the first handshake: 30 us that idle peers do not cost */
};

/* The initiator between message 1 and message 2. */
struct noise_hs {
	uint8_t chain[HASH_SIZE];
	uint8_t hash[HASH_SIZE];
	uint8_t eph_priv[KEY_SIZE];
	uint32_t local_index;
};

/* The responder between message 1 and message 2. */
struct noise_rx {
	uint8_t chain[HASH_SIZE];
	uint8_t hash[HASH_SIZE];
	uint8_t remote_eph[KEY_SIZE];
	struct node_key remote;                  /* set by noise_open_initiation() */
	uint8_t timestamp[WGMSG_TIMESTAMP_SIZE]; /* set by noise_accept_initiation() */
	uint32_t remote_index;
};

struct noise_keys {
	uint8_t send[32];
	uint8_t recv[32];
};

void noise_self_init(struct noise_self *self, const struct node_priv *priv);
void noise_self_wipe(struct noise_self *self);

/* 'psk' may be null: zeros. Computes nothing yet. */
void noise_peer_init(struct noise_peer *peer, const struct node_key *pub, const uint8_t *psk);

void noise_hs_wipe(struct noise_hs *hs);
void noise_rx_wipe(struct noise_rx *rx);
void noise_keys_wipe(struct noise_keys *keys);

/* Writes message 1 but for its macs and fills '*hs'. Random bytes come from 'env'.
 * Returns 0; -EPROTO if the peer's key is of low order ('*hs' and '*msg' are then untouched). */
MESH_MUST_USE int noise_create_initiation(struct noise_hs *hs, const struct noise_self *self,
					  struct noise_peer *peer, const struct env *env,
					  const uint8_t timestamp[static WGMSG_TIMESTAMP_SIZE],
					  uint32_t local_index, struct wg_initiation *msg);

/* First half of message 1, which anyone can send: one X25519 and one open tell who claims to have
 * sent it (rx->remote). Returns 0, or -EBADMSG and leaves '*rx' untouched. */
MESH_MUST_USE int noise_open_initiation(struct noise_rx *rx, const struct noise_self *self,
					const struct wg_initiation *msg);

/* Second half, after the caller found the peer whose key is rx->remote: proves that the sender
 * holds it and gives rx->timestamp, which the caller checks for replay. Returns 0, or -EBADMSG. */
MESH_MUST_USE int noise_accept_initiation(struct noise_rx *rx, const struct noise_self *self,
					  struct noise_peer *peer, const struct wg_initiation *msg);

/* Writes message 2 but for its macs and derives the session keys. '*rx' may be wiped afterwards.
 * Returns 0; -EBADMSG if the peer's ephemeral key is of low order. */
MESH_MUST_USE int noise_create_response(const struct noise_rx *rx, const struct noise_peer *peer,
					const struct env *env, uint32_t local_index,
					struct wg_response *msg, struct noise_keys *keys);

/* Checks message 2 against '*hs' (unchanged, so a forged response does not end the handshake) and
 * derives the session keys. Returns 0, or -EBADMSG and leaves '*keys' untouched. */
MESH_MUST_USE int noise_consume_response(const struct noise_hs *hs, const struct noise_self *self,
					 const struct noise_peer *peer,
					 const struct wg_response *msg, struct noise_keys *keys);

/* Granularity of a stamp, so that it tells little about the clock; a power of two. Two stamps at
 * least this far apart differ. */
enum { NOISE_STAMP_STEP_NS = 1 << 24 };

/* TAI64N stamp of wall time: 8 bytes of seconds + 2^62 + 10, 4 of nanoseconds rounded down to
 * NOISE_STAMP_STEP_NS, big endian; stamps compare with memcmp. */
void noise_tai64n(uint8_t stamp[static WGMSG_TIMESTAMP_SIZE], int64_t wall_ns);

#endif
