/* SPDX-License-Identifier: MIT */
/* Noise_IK_25519_ChaChaPoly_BLAKE2s as the control protocol uses it. Tokens of the pattern are the one-word
 * comments. */
#include "control/ctlnoise.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/env.h"
#include "base/hkdf.h"

static const char protocol_name[] = "Noise_IK_25519_ChaChaPoly_BLAKE2s";
static const uint8_t early_magic[5] = { 0xff, 0xff, 0xff, 'T', 'S' };

enum { KEY = 32, TAG = CTLFRAME_TAG_SIZE };

static int die(struct ctlnoise *n, int err)
{
	n->state = CTLNOISE_DEAD;
	return err;
}

/* --- handshake --- */

static void mix_hash(struct ctlnoise *n, const void *data, size_t size)
{
	hash2(n->hash, n->hash, sizeof(n->hash), data, size);
}

/* X25519 into the chaining key; '*key' (may be null) is good for one seal. False for a zero secret. */
static bool mix_dh(struct ctlnoise *n, uint8_t *key, const uint8_t priv[static KEY], const uint8_t pub[static KEY])
{
	uint8_t dh[KEY], unused[KEY];
	const bool ok = crypto_scalarmult(dh, priv, pub) == 0;

	if (ok)
		hkdf(n->chain, key ? key : unused, NULL, n->chain, dh, sizeof(dh));
	sodium_memzero(dh, sizeof(dh));
	sodium_memzero(unused, sizeof(unused));
	return ok;
}

/* Seals with a key that is used once: nonce 0, the hash as additional data; the result goes into the hash. */
static void seal_once(struct ctlnoise *n, uint8_t *out, const uint8_t key[static KEY], const void *plain, size_t size)
{
	static const uint8_t nonce[12];

	(void)crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, plain, size, n->hash, sizeof(n->hash), NULL, nonce,
							key);
	mix_hash(n, out, size + TAG);
}

static bool open_once(struct ctlnoise *n, void *plain, const uint8_t key[static KEY], const uint8_t *sealed,
		      size_t size)
{
	static const uint8_t nonce[12];

	if (crypto_aead_chacha20poly1305_ietf_decrypt(plain, NULL, NULL, sealed, size, n->hash, sizeof(n->hash), nonce,
						      key) != 0)
		return false;
	mix_hash(n, sealed, size);
	return true;
}

static void hs_begin(struct ctlnoise *n, uint16_t version, const uint8_t server[static KEY])
{
	char prologue[48];
	const int len = snprintf(prologue, sizeof(prologue), "Tailscale Control Protocol v%u", version);

	n->version = version;
	hash2(n->hash, protocol_name, sizeof(protocol_name) - 1, NULL, 0);
	memcpy(n->chain, n->hash, sizeof(n->chain));
	mix_hash(n, prologue, (size_t)len);
	mix_hash(n, server, KEY);
}

/* Both directions' keys; the handshake secrets are gone afterwards. */
static void hs_finish(struct ctlnoise *n)
{
	uint8_t to_server[KEY], to_client[KEY];

	hkdf(to_server, to_client, NULL, n->chain, NULL, 0);
	memcpy(n->tx_key, n->is_client ? to_server : to_client, KEY);
	memcpy(n->rx_key, n->is_client ? to_client : to_server, KEY);
	sodium_memzero(to_server, KEY);
	sodium_memzero(to_client, KEY);
	sodium_memzero(n->chain, sizeof(n->chain));
	sodium_memzero(n->static_priv, KEY);
	sodium_memzero(n->ephemeral_priv, KEY);
	n->state = CTLNOISE_OPEN;
}

static void ephemeral_make(struct ctlnoise *n, const struct env *env, uint8_t pub[static KEY])
{
	env_fill(env, n->ephemeral_priv, KEY);
	key_clamp(n->ephemeral_priv);
	key_public(pub, n->ephemeral_priv);
}

int ctlnoise_client_init(struct ctlnoise *n, const struct machine_priv *priv, const struct machine_key *server,
			 uint16_t version, const struct env *env,
			 uint8_t initiation[static CTLFRAME_INITIATION_SIZE])
{
	struct wr w = WR(initiation, CTLFRAME_INITIATION_SIZE);
	struct ctlframe_initiation m = { .version = version };
	uint8_t key[KEY], pub[KEY];
	int err = -EBADMSG;

	memset(n, 0, sizeof(*n));
	n->is_client = true;
	n->remote = *server;
	memcpy(n->static_priv, priv->b, KEY);
	key_public(pub, priv->b);
	hs_begin(n, version, server->b);
	ephemeral_make(n, env, m.ephemeral); /* e */
	mix_hash(n, m.ephemeral, KEY);
	if (!mix_dh(n, key, n->ephemeral_priv, server->b)) /* es */
		goto out;
	seal_once(n, m.sealed_static, key, pub, KEY); /* s */
	if (!mix_dh(n, key, n->static_priv, server->b)) /* ss */
		goto out;
	seal_once(n, m.tag, key, NULL, 0);
	ctlframe_initiation_write(&w, &m);
	n->state = CTLNOISE_WAIT;
	err = 0;
out:
	sodium_memzero(key, sizeof(key));
	if (err) {
		ctlnoise_wipe(n);
		n->state = CTLNOISE_DEAD;
	}
	return err;
}

/* The response, which alone can follow an initiation. */
static int client_finish(struct ctlnoise *n, const uint8_t *body, size_t size)
{
	struct ctlframe_response m;
	uint8_t key[KEY], nothing[1];
	int err = ctlframe_response_parse(&m, body, size);

	if (err)
		return err;
	err = -EBADMSG;
	mix_hash(n, m.ephemeral, KEY); /* e */
	if (!mix_dh(n, NULL, n->ephemeral_priv, m.ephemeral)) /* ee */
		goto out;
	if (!mix_dh(n, key, n->static_priv, m.ephemeral)) /* se */
		goto out;
	if (!open_once(n, nothing, key, m.tag, sizeof(m.tag)))
		goto out;
	hs_finish(n);
	err = 0;
out:
	sodium_memzero(key, sizeof(key));
	return err;
}

/* Reads the initiation: fills n->remote. */
static bool server_read(struct ctlnoise *n, const struct ctlframe_initiation *m, const struct machine_priv *priv)
{
	uint8_t key[KEY], nothing[1];
	bool ok = false;

	mix_hash(n, m->ephemeral, KEY); /* e */
	if (!mix_dh(n, key, priv->b, m->ephemeral)) /* es */
		goto out;
	if (!open_once(n, n->remote.b, key, m->sealed_static, sizeof(m->sealed_static))) /* s */
		goto out;
	if (!mix_dh(n, key, priv->b, n->remote.b)) /* ss */
		goto out;
	ok = open_once(n, nothing, key, m->tag, sizeof(m->tag));
out:
	sodium_memzero(key, sizeof(key));
	return ok;
}

static bool server_answer(struct ctlnoise *n, const struct ctlframe_initiation *m, struct ctlframe_response *out)
{
	uint8_t key[KEY];
	bool ok = false;

	mix_hash(n, out->ephemeral, KEY); /* e */
	if (!mix_dh(n, NULL, n->ephemeral_priv, m->ephemeral)) /* ee */
		goto out;
	if (!mix_dh(n, key, n->ephemeral_priv, n->remote.b)) /* se */
		goto out;
	seal_once(n, out->tag, key, NULL, 0);
	ok = true;
out:
	sodium_memzero(key, sizeof(key));
	return ok;
}

int ctlnoise_server_init(struct ctlnoise *n, const struct machine_priv *priv, const uint8_t *initiation, size_t size,
			 const struct env *env, uint8_t response[static CTLFRAME_RESPONSE_SIZE])
{
	struct wr w = WR(response, CTLFRAME_RESPONSE_SIZE);
	struct ctlframe_initiation m;
	struct ctlframe_response r;
	uint8_t pub[KEY];

	memset(n, 0, sizeof(*n));
	n->state = CTLNOISE_DEAD;
	n->early = CTLNOISE_EARLY_DONE;
	if (ctlframe_initiation_parse(&m, initiation, size) != 0)
		return -EBADMSG;
	key_public(pub, priv->b);
	hs_begin(n, m.version, pub);
	if (!server_read(n, &m, priv))
		goto bad;
	ephemeral_make(n, env, r.ephemeral);
	if (!server_answer(n, &m, &r))
		goto bad;
	hs_finish(n);
	ctlframe_response_write(&w, &r);
	return 0;
bad:
	ctlnoise_wipe(n);
	n->state = CTLNOISE_DEAD;
	return -EBADMSG;
}

/* --- records --- */

/* Four zero bytes, then the counter, big-endian (unlike the Noise specification). */
static void nonce_write(uint8_t nonce[static 12], uint64_t counter)
{
	struct wr w = WR(nonce, 12);

	wr_zero(&w, 4);
	wr_be64(&w, counter);
}

static void keep_error_text(struct ctlnoise *n, const uint8_t *text, size_t size)
{
	size_t len = 0;

	for (size_t i = 0; i < size && len + 1 < sizeof(n->error_text); i++)
		n->error_text[len++] = text[i] >= 0x20 && text[i] < 0x7f ? (char)text[i] : '?';
	n->error_text[len] = 0;
}

/* Takes the early payload out of the first plain bytes. */
static int plain_out(struct ctlnoise *n, const uint8_t *p, size_t size, struct bytes *plain)
{
	if (n->early == CTLNOISE_EARLY_UNKNOWN) {
		struct rd r;
		size_t take = sizeof(n->early_head) - n->early_head_size;

		take = take < size ? take : size;
		memcpy(n->early_head + n->early_head_size, p, take);
		n->early_head_size += take;
		p += take;
		size -= take;
		/* As soon as a byte differs it is HTTP/2. */
		if (memcmp(n->early_head, early_magic,
			   n->early_head_size < sizeof(early_magic) ? n->early_head_size : sizeof(early_magic)) != 0) {
			n->early = CTLNOISE_EARLY_DONE;
			if (bytes_append(plain, n->early_head, n->early_head_size) != 0)
				return -ENOMEM;
		} else if (n->early_head_size == sizeof(n->early_head)) {
			r = RD(n->early_head, sizeof(n->early_head));
			rd_skip(&r, sizeof(early_magic));
			n->early_left = rd_be32(&r);
			if (n->early_left > CTLNOISE_EARLY_MAX)
				return -EBADMSG;
			n->early = CTLNOISE_EARLY_BODY;
		}
	}
	if (n->early == CTLNOISE_EARLY_BODY) {
		const size_t skip = n->early_left < size ? n->early_left : size;

		n->early_left -= skip;
		p += skip;
		size -= skip;
		if (n->early_left == 0)
			n->early = CTLNOISE_EARLY_DONE;
	}
	return size > 0 ? bytes_append(plain, p, size) : 0;
}

static int open_record(struct ctlnoise *n, const uint8_t *body, size_t size, struct bytes *plain)
{
	uint8_t out[CTLFRAME_PLAIN_MAX], nonce[12];
	int err;

	if (size < TAG || n->rx_counter == UINT64_MAX)
		return -EBADMSG;
	nonce_write(nonce, n->rx_counter);
	if (crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, body, size, NULL, 0, nonce, n->rx_key) != 0)
		return -EBADMSG;
	n->rx_counter++;
	err = plain_out(n, out, size - TAG, plain);
	sodium_memzero(out, size - TAG);
	return err;
}

static int frame_in(struct ctlnoise *n, const struct ctlframe_hdr *hdr, const uint8_t *body, struct bytes *plain)
{
	if (n->state == CTLNOISE_WAIT && hdr->type == CTLFRAME_RESPONSE)
		return client_finish(n, body, hdr->size);
	if (n->state == CTLNOISE_WAIT && hdr->type == CTLFRAME_ERROR)
		keep_error_text(n, body, hdr->size);
	if (n->state == CTLNOISE_OPEN && hdr->type == CTLFRAME_RECORD)
		return open_record(n, body, hdr->size, plain);
	return -EBADMSG;
}

int ctlnoise_input(struct ctlnoise *n, const uint8_t *buf, size_t size, struct bytes *plain)
{
	if (n->state == CTLNOISE_DEAD)
		return -EPROTO;
	while (size > 0) {
		struct ctlframe_hdr hdr;
		size_t want = CTLFRAME_HDR_SIZE, take;
		int err = ctlframe_hdr_parse(&hdr, n->frame, n->frame_size);

		if (err == 0)
			want += hdr.size;
		take = want - n->frame_size;
		take = take < size ? take : size;
		memcpy(n->frame + n->frame_size, buf, take);
		n->frame_size += take;
		buf += take;
		size -= take;
		err = ctlframe_hdr_parse(&hdr, n->frame, n->frame_size);
		if (err == -EBADMSG)
			return die(n, err);
		if (err == -EAGAIN || n->frame_size < (size_t)CTLFRAME_HDR_SIZE + hdr.size)
			continue;
		n->frame_size = 0;
		err = frame_in(n, &hdr, n->frame + CTLFRAME_HDR_SIZE, plain);
		if (err)
			return die(n, err);
	}
	return 0;
}

int ctlnoise_send(struct ctlnoise *n, const uint8_t *buf, size_t size, struct bytes *wire)
{
	const size_t frames = (size + CTLFRAME_PLAIN_MAX - 1) / CTLFRAME_PLAIN_MAX;
	const size_t total = size + frames * (CTLFRAME_HDR_SIZE + TAG);
	struct wr w;

	if (n->state != CTLNOISE_OPEN || n->tx_counter > UINT64_MAX - frames - 1)
		return -EPROTO;
	if (size == 0)
		return 0;
	w.p = bytes_room(wire, total);
	if (!w.p)
		return -ENOBUFS;
	w = (struct wr)WR(w.p, total);
	while (size > 0) {
		const size_t part = size < CTLFRAME_PLAIN_MAX ? size : CTLFRAME_PLAIN_MAX;
		uint8_t nonce[12], *out;

		ctlframe_hdr_write(&w, CTLFRAME_RECORD, (uint16_t)(part + TAG));
		out = wr_room(&w, part + TAG);
		nonce_write(nonce, n->tx_counter++);
		(void)crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, buf, part, NULL, 0, NULL, nonce, n->tx_key);
		buf += part;
		size -= part;
	}
	bytes_commit(wire, total);
	return 0;
}

int ctlnoise_send_early(struct ctlnoise *n, const char *json, size_t size, struct bytes *wire)
{
	uint8_t head[9];
	struct wr w = WR(head, sizeof(head));
	int err;

	if (n->is_client || n->tx_counter != 0 || size > CTLNOISE_EARLY_MAX)
		return -EPROTO;
	wr_bytes(&w, early_magic, sizeof(early_magic));
	wr_be32(&w, (uint32_t)size);
	err = ctlnoise_send(n, head, sizeof(head), wire);
	return err ? err : ctlnoise_send(n, (const uint8_t *)json, size, wire);
}

void ctlnoise_wipe(struct ctlnoise *n)
{
	sodium_memzero(n, sizeof(*n));
	n->state = CTLNOISE_DEAD;
}

/* --- header form --- */

void ctlnoise_b64_write(char text[static CTLNOISE_INITIATION_B64_MAX],
			const uint8_t initiation[static CTLFRAME_INITIATION_SIZE])
{
	(void)sodium_bin2base64(text, CTLNOISE_INITIATION_B64_MAX, initiation, CTLFRAME_INITIATION_SIZE,
				sodium_base64_VARIANT_ORIGINAL);
}

int ctlnoise_b64_parse(uint8_t initiation[static CTLFRAME_INITIATION_SIZE], const char *text)
{
	uint8_t out[CTLFRAME_INITIATION_SIZE];
	size_t size = 0;

	if (sodium_base642bin(out, sizeof(out), text, strlen(text), NULL, &size, NULL,
			      sodium_base64_VARIANT_ORIGINAL) != 0 ||
	    size != sizeof(out))
		return -EBADMSG;
	memcpy(initiation, out, sizeof(out));
	return 0;
}
