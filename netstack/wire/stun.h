/* SPDX-License-Identifier: MIT */
/* STUN binding requests and responses, in the strict subset of RFC 5389 that the mesh uses: requests carry
 * SOFTWARE "tailnode" and end in FINGERPRINT, responses carry one XOR-MAPPED-ADDRESS.
 * Spec: netstack/wire/stun.md. Any thread; no state. */
#ifndef NETSTACK_WIRE_STUN_H
#define NETSTACK_WIRE_STUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"

enum {
	STUN_PORT = 3478,
	STUN_HEADER_SIZE = 20,
	STUN_TXID_SIZE = 12,
	STUN_REQUEST_SIZE = 40,
	STUN_RESPONSE_MAX = 44,
};

struct stun_txid {
	uint8_t b[STUN_TXID_SIZE];
};

/* Does the datagram look like STUN (request or response)? At least 20 bytes, two zero bits, the cookie. */
bool stun_is_stun(const uint8_t *buf, size_t size);
/* Does it look like a STUN success response, that is: is it for our own netcheck (netcheck 1.5)? */
bool stun_is_response(const uint8_t *buf, size_t size);

/* Writes the 40-byte binding request. */
void stun_request_write(uint8_t out[static STUN_REQUEST_SIZE], const struct stun_txid *txid);

/* Checks a request by the server's rules and takes its transaction id.
 * Returns 0, or -EBADMSG: not a binding request, foreign software, no or wrong fingerprint. */
MESH_MUST_USE int stun_request_parse(struct stun_txid *txid, const uint8_t *buf, size_t size);

/* Writes the response that tells 'mapped'; returns its size, 32 (IPv4) or 44 (IPv6). */
size_t stun_response_write(uint8_t out[static STUN_RESPONSE_MAX], const struct stun_txid *txid,
			   const struct ep *mapped);

/* Parses a success response; a v4-mapped address comes out as IPv4.
 * Returns 0, or -EBADMSG: other class, bad attributes, no address. The targets are then untouched. */
MESH_MUST_USE int stun_response_parse(struct stun_txid *txid, struct ep *mapped, const uint8_t *buf,
				      size_t size);

#endif
