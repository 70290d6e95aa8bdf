/* SPDX-License-Identifier: MIT */
/* mac1, mac2 and the sealed cookie. */
#include "wg/cookie.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/env.h"

static const char label_mac1[] = "mac1----";
static const char label_cookie[] = "cookie--";

/* mac2 is sent a little less long than the other side takes it: it is then never wrong in flight.
 */
enum { COOKIE_LATENCY_S = 5 };

static void derive(uint8_t key[static HASH_SIZE], const char label[static 8],
		   const struct node_key *pub)
{
	hash2(key, label, 8, pub->b, sizeof(pub->b));
}

/* Where the macs begin; 'size' is that of an initiation or response. */
static size_t macs_at(size_t size)
{
	return size - sizeof(struct wg_macs);
}

static void mac1_of(uint8_t mac[static WGMSG_MAC_SIZE], const uint8_t key[static HASH_SIZE],
		    const uint8_t *msg, size_t size)
{
	hash_keyed(mac, WGMSG_MAC_SIZE, key, HASH_SIZE, msg, macs_at(size));
}

static void mac2_of(uint8_t mac[static WGMSG_MAC_SIZE],
		    const uint8_t cookie[static WGMSG_COOKIE_SIZE], const uint8_t *msg, size_t size)
{
	hash_keyed(mac, WGMSG_MAC_SIZE, cookie, WGMSG_COOKIE_SIZE, msg,
		   macs_at(size) + WGMSG_MAC_SIZE);
}

static void cookie_of(uint8_t cookie[static WGMSG_COOKIE_SIZE], const struct cookie_checker *c,
		      const void *src, size_t src_size)
{
	hash_keyed(cookie, WGMSG_COOKIE_SIZE, c->secret, sizeof(c->secret), src, src_size);
}

static bool secret_is_fresh(const struct cookie_checker *c, struct mono now)
{
	return !mono_is_zero(c->secret_born) &&
	       mono_before(now, mono_add_s(c->secret_born, COOKIE_SECRET_LIFE_S));
}

void cookie_checker_init(struct cookie_checker *c, const struct node_key *self)
{
	memset(c, 0, sizeof(*c));
	derive(c->mac1_key, label_mac1, self);
	derive(c->cookie_key, label_cookie, self);
}

void cookie_checker_wipe(struct cookie_checker *c)
{
	sodium_memzero(c, sizeof(*c));
}

bool cookie_check_mac1(const struct cookie_checker *c, const uint8_t *msg, size_t size)
{
	uint8_t mac[WGMSG_MAC_SIZE];

	if (size < sizeof(struct wg_macs))
		return false;
	mac1_of(mac, c->mac1_key, msg, size);
	return sodium_memcmp(mac, msg + macs_at(size), sizeof(mac)) == 0;
}

bool cookie_check_mac2(const struct cookie_checker *c, struct mono now, const uint8_t *msg,
		       size_t size, const void *src, size_t src_size)
{
	uint8_t cookie[WGMSG_COOKIE_SIZE], mac[WGMSG_MAC_SIZE];

	if (size < sizeof(struct wg_macs) || !secret_is_fresh(c, now))
		return false;
	cookie_of(cookie, c, src, src_size);
	mac2_of(mac, cookie, msg, size);
	return sodium_memcmp(mac, msg + macs_at(size) + WGMSG_MAC_SIZE, sizeof(mac)) == 0;
}

void cookie_reply_write(struct cookie_checker *c, struct mono now, const struct env *env,
			const uint8_t *msg, size_t size, const void *src, size_t src_size,
			struct wg_cookie_reply *reply)
{
	uint8_t cookie[WGMSG_COOKIE_SIZE];

	if (!secret_is_fresh(c, now)) {
		env_fill(env, c->secret, sizeof(c->secret));
		c->secret_born = now;
	}
	memset(reply, 0, sizeof(*reply));
	reply->type_le32[0] = WGMSG_COOKIE_REPLY;
	/* Both messages carry the sender's index behind their type. */
	memcpy(reply->receiver_index_le32, msg + 4, sizeof(reply->receiver_index_le32));
	env_fill(env, reply->nonce, sizeof(reply->nonce));
	cookie_of(cookie, c, src, src_size);
	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(
		reply->cookie_sealed, NULL, cookie, sizeof(cookie), msg + macs_at(size),
		WGMSG_MAC_SIZE, NULL, reply->nonce, c->cookie_key);
	sodium_memzero(cookie, sizeof(cookie));
}

void cookie_maker_init(struct cookie_maker *m, const struct node_key *peer)
{
	memset(m, 0, sizeof(*m));
	derive(m->mac1_key, label_mac1, peer);
	derive(m->cookie_key, label_cookie, peer);
}

void cookie_add_macs(struct cookie_maker *m, struct mono now, uint8_t *msg, size_t size)
{
	uint8_t *mac1 = msg + macs_at(size), *mac2 = mac1 + WGMSG_MAC_SIZE;
	bool fresh = !mono_is_zero(m->cookie_born) &&
		     mono_before(now, mono_add_s(m->cookie_born, COOKIE_LIFE_S - COOKIE_LATENCY_S));

	mac1_of(mac1, m->mac1_key, msg, size);
	memcpy(m->last_mac1, mac1, sizeof(m->last_mac1));
	m->has_last_mac1 = true;
	if (fresh)
		mac2_of(mac2, m->cookie, msg, size);
	else
		memset(mac2, 0, WGMSG_MAC_SIZE);
}

int cookie_consume_reply(struct cookie_maker *m, struct mono now,
			 const struct wg_cookie_reply *reply)
{
	uint8_t cookie[WGMSG_COOKIE_SIZE];

	if (!m->has_last_mac1)
		return -EPROTO;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(
		    cookie, NULL, NULL, reply->cookie_sealed, sizeof(reply->cookie_sealed),
		    m->last_mac1, sizeof(m->last_mac1), reply->nonce, m->cookie_key) != 0)
		return -EBADMSG;
	memcpy(m->cookie, cookie, sizeof(m->cookie));
	m->cookie_born = now;
	m->has_last_mac1 = false; /* one reply for each message */
	sodium_memzero(cookie, sizeof(cookie));
	return 0;
}
