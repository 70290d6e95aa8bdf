/* SPDX-License-Identifier: MIT */
/* Tells from the first bytes of a UDP payload what it is: STUN, disco or WireGuard, plain or behind
 * a Geneve header. Runs once per received datagram, before any look-up. Any thread.
 *
 * Everything unknown counts as plain WireGuard, whose parser then rejects it (path-selection 9). */
#ifndef NETSTACK_WIRE_CLASSIFY_H
#define NETSTACK_WIRE_CLASSIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum classify_kind {
	CLASSIFY_WIREGUARD, /* or anything unknown */
	CLASSIFY_DISCO,
	CLASSIFY_STUN,
};

struct classify {
	enum classify_kind kind;
	uint32_t vni;   /* Geneve: 0..2^24-1; else 0 */
	uint8_t offset; /* where the payload begins: 8 behind Geneve, else 0 */
	bool is_geneve;
	bool is_control; /* Geneve control bit: a bind message of a relay server */
};

/* Classifies 'size' bytes. Never fails. For a DERP payload, use only the plain disco test
 * disco_is_packet(): Geneve does not exist there (disco 4.2). */
struct classify classify(const uint8_t *pkt, size_t size);

#endif
