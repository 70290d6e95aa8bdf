/* SPDX-License-Identifier: MIT */
/* The disco envelope: magic, sender's key, nonce, XSalsa20-Poly1305 box. The messages inside are in
 * discomsg.c. */
#include "wire/disco.h"

#include <errno.h>
#include <sodium.h>

static const uint8_t MAGIC[DISCO_MAGIC_SIZE] = { 0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac };

static_assert(DISCO_TAG_SIZE == crypto_box_MACBYTES, "disco 2");
static_assert(DISCO_NONCE_SIZE == crypto_box_NONCEBYTES, "disco 2");
static_assert(KEY_SIZE == crypto_box_BEFORENMBYTES, "disco 1");

bool disco_is_packet(const uint8_t *pkt, size_t size)
{
	return size >= DISCO_LIKELY_SIZE && memcmp(pkt, MAGIC, sizeof(MAGIC)) == 0;
}

struct disco_key disco_sender(const uint8_t *pkt)
{
	struct disco_key key;

	memcpy(key.b, pkt + DISCO_MAGIC_SIZE, sizeof(key.b));
	return key;
}

int disco_box_init(struct disco_box *box, const struct disco_priv *priv,
		   const struct disco_key *self, const struct disco_key *peer)
{
	*box = (struct disco_box){ .self = *self, .peer = *peer };
	if (!key_is_zero(peer->b) && crypto_box_beforenm(box->shared, peer->b, priv->b) == 0)
		return 0;
	disco_box_wipe(box);
	return -EBADMSG;
}

void disco_box_wipe(struct disco_box *box)
{
	sodium_memzero(box, sizeof(*box));
}

int disco_open(const struct disco_box *box, uint8_t *pkt, size_t size, struct disco_msg *msg)
{
	uint8_t *body = pkt + DISCO_HDR_SIZE;

	if (size < DISCO_OVERHEAD)
		return -EBADMSG;
	if (crypto_box_open_easy_afternm(body, body, size - DISCO_HDR_SIZE,
					 pkt + DISCO_MAGIC_SIZE + KEY_SIZE, box->shared) != 0)
		return -EBADMSG;
	return disco_msg_parse(msg, body, size - DISCO_OVERHEAD) == 0 ? 0 : -EPROTO;
}

int disco_seal(const struct disco_box *box, const uint8_t nonce[static DISCO_NONCE_SIZE],
	       const struct disco_msg *msg, uint8_t *buf, size_t cap)
{
	struct wr w = WR(buf, cap);
	int size;

	wr_bytes(&w, MAGIC, sizeof(MAGIC));
	wr_bytes(&w, box->self.b, sizeof(box->self.b));
	wr_bytes(&w, nonce, DISCO_NONCE_SIZE);
	if (w.bad || w.left < DISCO_TAG_SIZE)
		return -ENOBUFS;
	size = disco_msg_write(msg, w.p, w.left - DISCO_TAG_SIZE);
	if (size < 0)
		return size;
	/* Sealing in place is allowed: the tag goes in front. It cannot fail below 2^38 bytes. */
	if (crypto_box_easy_afternm(w.p, w.p, (unsigned long long)size, nonce, box->shared) != 0)
		return -ENOBUFS;
	return DISCO_OVERHEAD + size;
}

void disco_sort_pair(struct disco_key out[static 2], const struct disco_key *a,
		     const struct disco_key *b)
{
	const bool swap = memcmp(a->b, b->b, KEY_SIZE) > 0;
	const struct disco_key first = swap ? *b : *a, second = swap ? *a : *b;

	out[0] = first;
	out[1] = second;
}

struct ep disco_pong_src(const struct path_addr *from)
{
	if (from->kind != PATH_DERP)
		return from->ep;
	return (struct ep){ .ip = ip4(127, 3, 3, 40), .port = (uint16_t)from->region };
}
