/* SPDX-License-Identifier: MIT */
/* The two handshake messages, token by token. Each function works on a copy of the symmetric state
 * and writes its caller's state after the last check. */
#include "wg/noise.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/bytes.h"
#include "base/env.h"

static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";

/* Noise's symmetric state. */
struct sym {
	uint8_t chain[HASH_SIZE];
	uint8_t hash[HASH_SIZE];
	uint8_t key[32]; /* of the next seal or open */
};

/* Both sides begin with the responder's static key in the hash. */
static void sym_init(struct sym *s, const struct node_key *responder)
{
	hash2(s->chain, construction, sizeof(construction) - 1, NULL, 0);
	hash2(s->hash, s->chain, sizeof(s->chain), identifier, sizeof(identifier) - 1);
	hash2(s->hash, s->hash, sizeof(s->hash), responder->b, sizeof(responder->b));
}

static void mix_hash(struct sym *s, const void *data, size_t size)
{
	hash2(s->hash, s->hash, sizeof(s->hash), data, size);
}

/* An ephemeral public key goes into both. */
static void mix_eph(struct sym *s, const uint8_t eph[static KEY_SIZE])
{
	mix_hash(s, eph, KEY_SIZE);
	hkdf(s->chain, NULL, NULL, s->chain, eph, KEY_SIZE);
}

static void mix_key(struct sym *s, const uint8_t ikm[static 32])
{
	hkdf(s->chain, s->key, NULL, s->chain, ikm, 32);
}

/* False for a public key of low order: the result would be known to everyone. */
static bool mix_dh(struct sym *s, const uint8_t priv[static KEY_SIZE],
		   const uint8_t pub[static KEY_SIZE])
{
	uint8_t shared[32];
	bool ok = crypto_scalarmult(shared, priv, pub) == 0;

	if (ok)
		mix_key(s, shared);
	sodium_memzero(shared, sizeof(shared));
	return ok;
}

static void mix_psk(struct sym *s, const uint8_t psk[static 32])
{
	uint8_t t[HASH_SIZE];

	hkdf(s->chain, t, s->key, s->chain, psk, 32);
	mix_hash(s, t, sizeof(t));
	sodium_memzero(t, sizeof(t));
}

/* Handshake keys seal one message each: the nonce is zero. */
static const uint8_t zero_nonce[12];

static void seal_and_hash(struct sym *s, uint8_t *dst, const uint8_t *src, size_t size)
{
	(void)crypto_aead_chacha20poly1305_ietf_encrypt(dst, NULL, src, size, s->hash,
							sizeof(s->hash), NULL, zero_nonce, s->key);
	mix_hash(s, dst, size + WGMSG_TAG_SIZE);
}

static bool open_and_hash(struct sym *s, uint8_t *dst, const uint8_t *src, size_t sealed_size)
{
	if (crypto_aead_chacha20poly1305_ietf_decrypt(dst, NULL, NULL, src, sealed_size, s->hash,
						      sizeof(s->hash), zero_nonce, s->key) != 0)
		return false;
	mix_hash(s, src, sealed_size);
	return true;
}

static bool mix_ss(struct sym *s, const struct noise_self *self, struct noise_peer *peer)
{
	if (!peer->has_ss) {
		if (crypto_scalarmult(peer->ss, self->priv.b, peer->pub.b) != 0)
			return false;
		peer->has_ss = true;
	}
	mix_key(s, peer->ss);
	return true;
}

static void make_ephemeral(const struct env *env, uint8_t priv[static KEY_SIZE],
			   uint8_t pub[static KEY_SIZE])
{
	env_fill(env, priv, KEY_SIZE);
	key_clamp(priv);
	key_public(pub, priv);
}

/* The initiator's sending key comes first. */
static void split(const struct sym *s, uint8_t initiator[static 32], uint8_t responder[static 32])
{
	hkdf(initiator, responder, NULL, s->chain, NULL, 0);
}

void noise_self_init(struct noise_self *self, const struct node_priv *priv)
{
	self->priv = *priv;
	key_clamp(self->priv.b);
	key_public(self->pub.b, self->priv.b);
}

void noise_self_wipe(struct noise_self *self)
{
	sodium_memzero(self, sizeof(*self));
}

void noise_peer_init(struct noise_peer *peer, const struct node_key *pub, const uint8_t *psk)
{
	memset(peer, 0, sizeof(*peer));
	peer->pub = *pub;
	if (psk)
		memcpy(peer->psk, psk, sizeof(peer->psk));
}

void noise_hs_wipe(struct noise_hs *hs)
{
	sodium_memzero(hs, sizeof(*hs));
}

void noise_rx_wipe(struct noise_rx *rx)
{
	sodium_memzero(rx, sizeof(*rx));
}

void noise_keys_wipe(struct noise_keys *keys)
{
	sodium_memzero(keys, sizeof(*keys));
}

int noise_create_initiation(struct noise_hs *hs, const struct noise_self *self,
			    struct noise_peer *peer, const struct env *env,
			    const uint8_t timestamp[static WGMSG_TIMESTAMP_SIZE],
			    uint32_t local_index, struct wg_initiation *msg)
{
	struct wg_initiation out = { .type_le32 = { WGMSG_INITIATION } };
	uint8_t eph[KEY_SIZE];
	struct sym s;
	int err = -EPROTO;

	sym_init(&s, &peer->pub);
	make_ephemeral(env, eph, out.ephemeral); /* e */
	mix_eph(&s, out.ephemeral);
	if (!mix_dh(&s, eph, peer->pub.b)) /* es */
		goto out;
	seal_and_hash(&s, out.static_sealed, self->pub.b, sizeof(self->pub.b)); /* s */
	if (!mix_ss(&s, self, peer))                                            /* ss */
		goto out;
	seal_and_hash(&s, out.timestamp_sealed, timestamp, WGMSG_TIMESTAMP_SIZE);
	wgmsg_put_le32(out.sender_index_le32, local_index);

	memcpy(hs->chain, s.chain, sizeof(hs->chain));
	memcpy(hs->hash, s.hash, sizeof(hs->hash));
	memcpy(hs->eph_priv, eph, sizeof(hs->eph_priv));
	hs->local_index = local_index;
	*msg = out;
	err = 0;
out:
	sodium_memzero(&s, sizeof(s));
	sodium_memzero(eph, sizeof(eph));
	return err;
}

int noise_open_initiation(struct noise_rx *rx, const struct noise_self *self,
			  const struct wg_initiation *msg)
{
	struct node_key remote;
	struct sym s;
	int err = -EBADMSG;

	sym_init(&s, &self->pub);
	mix_eph(&s, msg->ephemeral);                   /* e */
	if (!mix_dh(&s, self->priv.b, msg->ephemeral)) /* es */
		goto out;
	if (!open_and_hash(&s, remote.b, msg->static_sealed, sizeof(msg->static_sealed))) /* s */
		goto out;

	memcpy(rx->chain, s.chain, sizeof(rx->chain));
	memcpy(rx->hash, s.hash, sizeof(rx->hash));
	memcpy(rx->remote_eph, msg->ephemeral, sizeof(rx->remote_eph));
	rx->remote = remote;
	rx->remote_index = wgmsg_le32(msg->sender_index_le32);
	err = 0;
out:
	sodium_memzero(&s, sizeof(s));
	return err;
}

int noise_accept_initiation(struct noise_rx *rx, const struct noise_self *self,
			    struct noise_peer *peer, const struct wg_initiation *msg)
{
	uint8_t timestamp[WGMSG_TIMESTAMP_SIZE];
	struct sym s;
	int err = -EBADMSG;

	memcpy(s.chain, rx->chain, sizeof(s.chain));
	memcpy(s.hash, rx->hash, sizeof(s.hash));
	if (!mix_ss(&s, self, peer)) /* ss */
		goto out;
	if (!open_and_hash(&s, timestamp, msg->timestamp_sealed, sizeof(msg->timestamp_sealed)))
		goto out;

	memcpy(rx->chain, s.chain, sizeof(rx->chain));
	memcpy(rx->hash, s.hash, sizeof(rx->hash));
	memcpy(rx->timestamp, timestamp, sizeof(rx->timestamp));
	err = 0;
out:
	sodium_memzero(&s, sizeof(s));
	return err;
}

int noise_create_response(const struct noise_rx *rx, const struct noise_peer *peer,
			  const struct env *env, uint32_t local_index, struct wg_response *msg,
			  struct noise_keys *keys)
{
	struct wg_response out = { .type_le32 = { WGMSG_RESPONSE } };
	uint8_t eph[KEY_SIZE];
	struct sym s;
	int err = -EBADMSG;

	memcpy(s.chain, rx->chain, sizeof(s.chain));
	memcpy(s.hash, rx->hash, sizeof(s.hash));
	make_ephemeral(env, eph, out.ephemeral); /* e */
	mix_eph(&s, out.ephemeral);
	if (!mix_dh(&s, eph, rx->remote_eph)) /* ee */
		goto out;
	if (!mix_dh(&s, eph, peer->pub.b)) /* se */
		goto out;
	mix_psk(&s, peer->psk); /* psk */
	seal_and_hash(&s, out.empty_sealed, NULL, 0);
	wgmsg_put_le32(out.sender_index_le32, local_index);
	wgmsg_put_le32(out.receiver_index_le32, rx->remote_index);

	split(&s, keys->recv, keys->send);
	*msg = out;
	err = 0;
out:
	sodium_memzero(&s, sizeof(s));
	sodium_memzero(eph, sizeof(eph));
	return err;
}

int noise_consume_response(const struct noise_hs *hs, const struct noise_self *self,
			   const struct noise_peer *peer, const struct wg_response *msg,
			   struct noise_keys *keys)
{
	uint8_t empty[1];
	struct sym s;
	int err = -EBADMSG;

	memcpy(s.chain, hs->chain, sizeof(s.chain));
	memcpy(s.hash, hs->hash, sizeof(s.hash));
	mix_eph(&s, msg->ephemeral);                   /* e */
	if (!mix_dh(&s, hs->eph_priv, msg->ephemeral)) /* ee */
		goto out;
	if (!mix_dh(&s, self->priv.b, msg->ephemeral)) /* se */
		goto out;
	mix_psk(&s, peer->psk); /* psk */
	if (!open_and_hash(&s, empty, msg->empty_sealed, sizeof(msg->empty_sealed)))
		goto out;

	split(&s, keys->send, keys->recv);
	err = 0;
out:
	sodium_memzero(&s, sizeof(s));
	return err;
}

void noise_tai64n(uint8_t stamp[static WGMSG_TIMESTAMP_SIZE], int64_t wall_ns)
{
	/* A clock before 1970 is a clock that was never set. */
	const uint64_t second = 1000000000;
	uint64_t ns = wall_ns > 0 ? (uint64_t)wall_ns : 0;
	struct wr w = WR(stamp, WGMSG_TIMESTAMP_SIZE);

	wr_be64(&w, (UINT64_C(1) << 62) + 10 + ns / second);
	wr_be32(&w, (uint32_t)(ns % second) & ~(uint32_t)(NOISE_STAMP_STEP_NS - 1));
}
