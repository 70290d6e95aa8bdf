/* SPDX-License-Identifier: MIT */
/* Where an outgoing byte stream goes and how its TLS is verified.
 *
 * A machine that needs a connection (relay/derpclient, control/ctlclient, path/netcheck) fills one of
 * these into its OPEN output; the edge (daemon/tlsconn) carries it out and reports connected, bytes,
 * closed. Plain data without pointers, so it may be copied and compared whole after a memset.
 * Spec: derp 2.2, 3.4; control-transport 4.4. */
#ifndef NETSTACK_WIRE_STREAMADDR_H
#define NETSTACK_WIRE_STREAMADDR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/ep.h"

enum stream_tls {
	STREAM_PLAIN,        /* TCP alone */
	STREAM_TLS_VERIFY,   /* chain to the system's roots, and the name 'verify_name' (or 'host') */
	STREAM_TLS_PIN,      /* SHA-256 of the whole certificate equals 'pin'; dates are checked; no chain */
	STREAM_TLS_NOVERIFY, /* any certificate: the inside authenticates itself (control's Noise) */
};

enum { STREAM_HOST_MAX = 254 };

struct stream_addr {
	char host[STREAM_HOST_MAX];        /* DNS name or address literal: SNI unless a literal, HTTP Host */
	char verify_name[STREAM_HOST_MAX]; /* STREAM_TLS_VERIFY: name in the certificate; "" = 'host' */
	struct ip ip4, ip6;                /* addresses to use instead of DNS; unset = ask DNS */
	uint16_t port;
	uint8_t tls;                       /* enum stream_tls */
	bool no_ip4, no_ip6;               /* never use this family */
	uint8_t pin[32];                   /* STREAM_TLS_PIN */
};

/* What the edge knows about a stream that has just been connected. */
struct stream_info {
	struct ep peer;         /* the address reached */
	struct ip local;        /* our address of this connection; unset = unknown */
	bool is_tls13;          /* TLS 1.3: certificates were encrypted */
	bool has_derp_key;      /* one of the certificates was a DERP meta certificate (derp 3.2) ... */
	uint8_t derp_version;   /* ... of this protocol version ... */
	uint8_t derp_key[32];   /* ... naming this server key */
};

#endif
