/* SPDX-License-Identifier: MIT */
/* ICMP echoes that the node itself sends through a tunnel (`ping --icmp`): the request as a whole inner
 * packet, and the recognition of its answer among a peer's packets. The answer never reaches the host,
 * which did not ask. Byte table: netstack/wire/ip.md, "Own echoes". Any thread. */
#ifndef NETSTACK_WIRE_ECHO_H
#define NETSTACK_WIRE_ECHO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "wire/ip.h"

enum {
	ECHO_ID_SIZE = 8,
	ECHO_SIZE_MAX = IP6_HDR_SIZE + 8 + 8 + ECHO_ID_SIZE,
};

/* Writes the request: 44 bytes over IPv4, 64 over IPv6. 'id' comes back in the answer.
 * Returns its size; -ENOBUFS if 'cap' is too small; -EPROTO if the addresses are not of one family. */
MESH_MUST_USE int echo_write(uint8_t *buf, size_t cap, const struct ip *src, const struct ip *dst,
			     const uint8_t id[static ECHO_ID_SIZE]);

/* Is the packet an answer to such a request? A cheap test for the packet path; 'id' (may be null) gets
 * ECHO_ID_SIZE bytes. */
bool echo_is_answer(const struct ip_pkt *pkt, uint8_t *id);

#endif
