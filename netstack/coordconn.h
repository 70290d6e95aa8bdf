/* SPDX-License-Identifier: MIT */
/* One accepted connection of the coordinator, bytes in and bytes out.
 *
 *   HTTP/1.1 ──┬─ GET /key, /generate_204, /health, /register/ID, POST /verify, HEAD /machine/ping-response
 *              ├─ POST /ts2021 (upgrade) ─► Noise ─► HTTP/2 ─► ctlserver
 *              └─ GET /derp (upgrade, or DERP's fast start), /derp/probe, /derp/latency-check ─► derpserver
 *
 * The TLS layer, where there is one, is the edge's business: this machine sees plain bytes.
 * Control thread only. Spec: coordinator 1, control-transport 4..7, derp 2..4. */
#ifndef NETSTACK_COORDCONN_H
#define NETSTACK_COORDCONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/env.h"
#include "base/ep.h"
#include "base/key.h"
#include "base/mono.h"

struct coordconn;
struct ctlserver;
struct ctlserver_out;

enum {
	COORDCONN_HANDSHAKE_S = 5,   /* first byte to Noise session or answered request (RELIABILITY 5) */
	COORDCONN_STREAMS_MAX = 100, /* HTTP/2 streams of one connection */
};

/* What the connections of one coordinator share. Borrowed; outlives them. */
struct coordconn_ctx {
	const struct env *env;
	struct ctlserver *ctl;
	struct machine_priv noise_priv;
	struct machine_key noise_pub;
};

enum coordconn_state {
	COORDCONN_HTTP,    /* waiting for, or answering, HTTP/1.1 requests */
	COORDCONN_CONTROL, /* Noise and HTTP/2 */
	COORDCONN_DERP,    /* handed to the DERP server: the owner passes bytes there */
	COORDCONN_DEAD,    /* close it once its output has gone */
};

/* 'id' names the connection; request ids given to ctlserver are (id << 32 | HTTP/2 stream).
 * 'own': our own node inside this process. Returns null when out of memory. */
struct coordconn *coordconn_new(const struct coordconn_ctx *ctx, uint32_t id, struct mono now,
				const struct ep *from, bool tls, bool own);
/* Tells ctlserver that the connection's requests are over. */
void coordconn_free(struct coordconn *c, struct mono now);
enum coordconn_state coordconn_state(const struct coordconn *c);
/* Is the peer past the stage where strangers are limited: the machine of a node? */
bool coordconn_is_established(const struct coordconn *c);

/* Bytes from the peer. Returns 0, or a negative error after which only what coordconn_output() still holds
 * is sent and the connection closed. In state DERP the call consumes nothing: '*used' tells how much of
 * 'data' was taken, the rest is DERP's. */
MESH_MUST_USE int coordconn_input(struct coordconn *c, struct mono now, const uint8_t *data, size_t size,
				  size_t *used);
/* An output of ctlserver for a request of this connection (RESPOND, CHUNK, END); 'stream' is the low half of
 * its id. */
void coordconn_response(struct coordconn *c, struct mono now, uint32_t stream,
			const struct ctlserver_out *out);
/* Bytes for the peer; the caller consumes from the head what it sent. */
struct bytes *coordconn_output(struct coordconn *c, struct mono now);
/* In state DERP: the client asked for fast start, so the server sends no HTTP answer. */
bool coordconn_derp_fast_start(const struct coordconn *c);

struct mono coordconn_deadline(const struct coordconn *c);
/* Past its deadline the connection becomes DEAD. */
void coordconn_tick(struct coordconn *c, struct mono now);

#endif
