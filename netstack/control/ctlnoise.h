/* SPDX-License-Identifier: MIT */
/* The control connection's Noise IK transport, client and server side, as a filter between byte streams.
 *
 *                     client                                     server
 *   ctlnoise_client_init() -> initiation, sent           ctlnoise_server_init(initiation) -> response
 *   in the header of the HTTP upgrade                    and perhaps early payload, sent after the 101
 *   ctlnoise_input(wire bytes) -> plain bytes            the same
 *   ctlnoise_send(plain bytes) -> wire bytes             the same
 *
 *   state      event                          new state
 *   WAIT       response verified              OPEN          (client only)
 *   WAIT       error frame                    DEAD          text kept for the log, never acted upon
 *   OPEN       record                         OPEN          plain bytes
 *   any        bad type, size, tag, counter   DEAD          the stream must be closed
 *
 * The nonce is a big-endian 64-bit counter, unlike the Noise specification's. Records carry at most
 * CTLFRAME_PLAIN_MAX bytes; their borders mean nothing. The optional early payload is taken out of the
 * client's plain bytes here.
 * Owner: one thread. Page: netstack/wire/ctlframe.md. Spec: control-transport 5, 6. */
#ifndef NETSTACK_CONTROL_CTLNOISE_H
#define NETSTACK_CONTROL_CTLNOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/key.h"
#include "wire/ctlframe.h"

struct env;

enum ctlnoise_state {
	CTLNOISE_WAIT, /* client: initiation is out, no response yet */
	CTLNOISE_OPEN,
	CTLNOISE_DEAD,
};

enum {
	CTLNOISE_ERROR_TEXT_MAX = 128,
	CTLNOISE_EARLY_MAX = 64 << 10, /* longest early payload that we take (ours is 100 bytes) */
	CTLNOISE_INITIATION_B64_MAX = 136 + 1,
};

struct ctlnoise {
	enum ctlnoise_state state;
	bool is_client;
	uint16_t version;            /* protocol version of the initiation */
	struct machine_key remote;   /* peer's static key */
	uint8_t hash[32];            /* handshake hash; channel binding once OPEN */
	/* Handshake secrets; wiped when OPEN. */
	uint8_t chain[32];
	uint8_t static_priv[32];
	uint8_t ephemeral_priv[32];
	/* Transport. */
	uint8_t tx_key[32], rx_key[32];
	uint64_t tx_counter, rx_counter;
	/* Frame being collected. */
	uint8_t frame[CTLFRAME_MAX];
	size_t frame_size;
	/* Client: the early payload. */
	enum { CTLNOISE_EARLY_UNKNOWN, CTLNOISE_EARLY_BODY, CTLNOISE_EARLY_DONE } early;
	uint8_t early_head[9];
	size_t early_head_size;
	size_t early_left;           /* bytes of its body still to be skipped */
	char error_text[CTLNOISE_ERROR_TEXT_MAX]; /* of an error frame; printable ASCII */
};

/* Client: takes a fresh ephemeral key from 'env' and writes the 101 bytes of the initiation. 'server' is the
 * server's static key. Returns 0, or -EBADMSG if that key gives a zero shared secret. */
MESH_MUST_USE int ctlnoise_client_init(struct ctlnoise *n, const struct machine_priv *priv,
				       const struct machine_key *server, uint16_t version, const struct env *env,
				       uint8_t initiation[static CTLFRAME_INITIATION_SIZE]);

/* Server: checks the initiation; on success 'n' is OPEN, n->remote is the client's machine key (any key gets
 * this far: it proves nothing about membership) and the response is written. -EBADMSG on failure; '*n' is
 * then DEAD. */
MESH_MUST_USE int ctlnoise_server_init(struct ctlnoise *n, const struct machine_priv *priv,
				       const uint8_t *initiation, size_t size, const struct env *env,
				       uint8_t response[static CTLFRAME_RESPONSE_SIZE]);

/* Takes bytes off the wire; appends plain bytes to 'plain'. Returns 0; -EBADMSG: DEAD, close the stream;
 * -EPROTO: it was DEAD already; -ENOMEM/-ENOBUFS from 'plain': DEAD too. */
MESH_MUST_USE int ctlnoise_input(struct ctlnoise *n, const uint8_t *buf, size_t size, struct bytes *plain);

/* Seals 'size' plain bytes into as many records as needed and appends them to 'wire'. Returns 0; -EPROTO unless
 * OPEN; -ENOBUFS/-ENOMEM from 'wire' (nothing was sent and no counter used). */
MESH_MUST_USE int ctlnoise_send(struct ctlnoise *n, const uint8_t *buf, size_t size, struct bytes *wire);

/* Server: the optional early payload, before anything else: magic, length, JSON. */
MESH_MUST_USE int ctlnoise_send_early(struct ctlnoise *n, const char *json, size_t size, struct bytes *wire);

void ctlnoise_wipe(struct ctlnoise *n);

/* Header form of the initiation (X-Tailscale-Handshake): standard base64 with padding. */
void ctlnoise_b64_write(char text[static CTLNOISE_INITIATION_B64_MAX],
			const uint8_t initiation[static CTLFRAME_INITIATION_SIZE]);
/* -EBADMSG unless it is base64 of exactly 101 bytes. */
MESH_MUST_USE int ctlnoise_b64_parse(uint8_t initiation[static CTLFRAME_INITIATION_SIZE], const char *text);

#endif
