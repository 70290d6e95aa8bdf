/* SPDX-License-Identifier: MIT */
/* TSMP: small IP packets (protocol 99) that two nodes exchange inside the WireGuard tunnel: the
 * advertisement of the own disco key, ping and pong. Byte tables: netstack/wire/disco.md, "TSMP".
 *
 * They never reach the host nor the packet filter, but count as received data for WireGuard's
 * timers (disco 9). Any thread. */
#ifndef NETSTACK_WIRE_TSMP_H
#define NETSTACK_WIRE_TSMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "base/key.h"

enum {
	TSMP_PROTO = 99,
	TSMP_ID_SIZE = 8,
	TSMP_SIZE_MAX = 40 + 33, /* an advertisement over IPv6 */
};

enum tsmp_kind {
	TSMP_REJECT = '!',    /* the other side refused a connection; the body is not parsed */
	TSMP_DISCO_KEY = 'a', /* 'disco' */
	TSMP_PONG = 'o',      /* 'id', 'peerapi_port' */
	TSMP_PING = 'p',      /* 'id' */
};

struct tsmp_msg {
	enum tsmp_kind kind;
	struct ip src, dst;       /* inner addresses, one family */
	struct disco_key disco;   /* DISCO_KEY: never zero */
	uint8_t id[TSMP_ID_SIZE]; /* PING, PONG */
	uint16_t peerapi_port;    /* PONG: 0 = none */
};

/* Is this inner packet TSMP (IP protocol 99)? A cheap test for the packet path. */
bool tsmp_is_packet(const uint8_t *pkt, size_t size);

/* Parses an inner IP packet. Bytes behind the known body are ignored.
 * Returns 0; -EBADMSG: not TSMP, too short, unknown kind, or a zero disco key. */
MESH_MUST_USE int tsmp_parse(struct tsmp_msg *msg, const uint8_t *pkt, size_t size);

/* Writes the whole inner IP packet: IPv4 53, 29 and 31 bytes for DISCO_KEY, PING and PONG, IPv6 20
 * more. Returns its size; -ENOBUFS if 'cap' is too small; -EPROTO if the two addresses are not of
 * one family or the kind is REJECT. */
MESH_MUST_USE int tsmp_write(uint8_t *buf, size_t cap, const struct tsmp_msg *msg);

#endif
