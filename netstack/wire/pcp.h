/* SPDX-License-Identifier: MIT */
/* PCP (RFC 6887): the two requests by which a host asks its gateway for a UDP port mapping, ANNOUNCE and MAP,
 * and their answers. NAT-PMP, its predecessor, is a library's (daemon/portmap).
 * Spec: netstack/wire/pcp.md. Any thread; no state. */
#ifndef NETSTACK_WIRE_PCP_H
#define NETSTACK_WIRE_PCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"

enum {
	PCP_PORT = 5351,
	PCP_HEADER_SIZE = 24,
	PCP_MAP_SIZE = 60,
	PCP_NONCE_SIZE = 12,
	PCP_OP_ANNOUNCE = 0,
	PCP_OP_MAP = 1,
	PCP_SUCCESS = 0,
	PCP_SIZE_MAX = 1100, /* RFC 6887 7 */
};

struct pcp_map {
	uint8_t nonce[PCP_NONCE_SIZE]; /* the same for one mapping all its life */
	struct ip client;              /* who asks: our address on the gateway's network */
	uint16_t port;                 /* ours */
	struct ep external;            /* wished or former; unset or port 0 = any */
	uint32_t life_s;               /* 0 = delete */
};

struct pcp_answer {
	uint8_t op;
	uint8_t result; /* PCP_SUCCESS, or the error of RFC 6887 7.4 */
	uint32_t life_s;
	uint32_t epoch;
	/* MAP with success only. */
	uint8_t nonce[PCP_NONCE_SIZE];
	uint16_t port;
	struct ep external;
};

void pcp_announce_write(uint8_t out[static PCP_HEADER_SIZE], const struct ip *client);
void pcp_map_write(uint8_t out[static PCP_MAP_SIZE], const struct pcp_map *map);

/* Parses an answer to one of the two. Returns 0, or -EBADMSG: no answer, another version or operation, a MAP
 * answer that is short or of another protocol than UDP. '*a' is then untouched. */
MESH_MUST_USE int pcp_answer_parse(struct pcp_answer *a, const uint8_t *buf, size_t size);

#endif
