/* SPDX-License-Identifier: MIT */
/* DERP frames: length-prefixed frames over a byte stream, both directions.
 *
 * Parsers take one frame's payload (behind the 5-byte header); views in their results are borrowed from
 * it. Writers append header and payload to a cursor. Spec: netstack/wire/derp.md. Any thread; no state. */
#ifndef NETSTACK_WIRE_DERP_H
#define NETSTACK_WIRE_DERP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/ep.h"
#include "base/key.h"

enum {
	DERP_VERSION = 2,
	DERP_HEADER_SIZE = 5,
	DERP_MAGIC_SIZE = 8,
	DERP_NONCE_SIZE = 24,
	DERP_TAG_SIZE = 16,
	DERP_PACKET_MAX = 65536,                     /* relayed payload */
	DERP_FRAME_MAX = 1 << 20,                    /* largest payload a client accepts */
	DERP_SERVER_KEY_MIN = DERP_MAGIC_SIZE + KEY_SIZE,
	DERP_SERVER_KEY_MAX = 1024,
	DERP_INFO_MIN = KEY_SIZE + DERP_NONCE_SIZE,
	DERP_INFO_MAX = 16 * 1024,                   /* client info and server info: our cap, RELIABILITY 5 */
	DERP_PING_SIZE = 8,
	DERP_CONTROL_MAX = 1024,                     /* every other frame: our cap, RELIABILITY 5 */
	/* Room for a send or receive frame around the largest packet. */
	DERP_PACKET_FRAME_MAX = DERP_HEADER_SIZE + KEY_SIZE + DERP_PACKET_MAX,
};

enum derp_type {
	DERP_SERVER_KEY = 0x01,
	DERP_CLIENT_INFO = 0x02,
	DERP_SERVER_INFO = 0x03,
	DERP_SEND_PACKET = 0x04,
	DERP_RECV_PACKET = 0x05,
	DERP_KEEP_ALIVE = 0x06,
	DERP_NOTE_PREFERRED = 0x07,
	DERP_PEER_GONE = 0x08,
	DERP_PEER_PRESENT = 0x09,
	DERP_FORWARD_PACKET = 0x0a,
	DERP_WATCH_CONNS = 0x10,
	DERP_CLOSE_PEER = 0x11,
	DERP_PING = 0x12,
	DERP_PONG = 0x13,
	DERP_HEALTH = 0x14,
	DERP_RESTARTING = 0x15,
};

enum derp_gone_reason { DERP_GONE_DISCONNECTED = 0, DERP_GONE_NOT_HERE = 1 };

struct derp_hdr {
	uint8_t type;  /* enum derp_type, or unknown: skip the payload */
	uint32_t size; /* bytes of payload that follow the header */
};

/* The JSON inside client info and server info. */
struct derp_client_info {
	uint32_t version;
	bool can_ack_pings;
	bool is_prober;
};

struct derp_server_info {
	uint32_t version;
	uint64_t bucket_bytes_per_s; /* 0 = no limit asked for */
	uint64_t bucket_burst_bytes;
};

/* A packet frame: RECV has the source, SEND the destination. */
struct derp_packet {
	struct node_key peer;
	const uint8_t *data; /* borrowed */
	size_t size;
};

struct derp_peer_gone {
	struct node_key peer;
	uint8_t reason; /* enum derp_gone_reason; others mean "gone" too */
};

struct derp_restarting {
	uint32_t reconnect_in_ms;
	uint32_t try_for_ms;
};

/* Parses one frame header. Returns 0; -EAGAIN if fewer than 5 bytes are there; -EBADMSG if the payload
 * would be larger than 'max'. On failure '*hdr' is untouched. */
MESH_MUST_USE int derp_hdr_parse(struct derp_hdr *hdr, const uint8_t *buf, size_t size, size_t max);

/* Payload parsers: 0, or -EBADMSG with the target untouched. */
MESH_MUST_USE int derp_server_key_parse(struct node_key *server, const uint8_t *p, size_t size);
MESH_MUST_USE int derp_packet_parse(struct derp_packet *pkt, const uint8_t *p, size_t size);
MESH_MUST_USE int derp_peer_gone_parse(struct derp_peer_gone *gone, const uint8_t *p, size_t size);
MESH_MUST_USE int derp_restarting_parse(struct derp_restarting *r, const uint8_t *p, size_t size);

/* Opens the client info frame: checks the client's key (not zero, not of small order), opens the box with
 * the server's private key, reads the JSON. Returns 0 or -EBADMSG. */
MESH_MUST_USE int derp_client_info_open(struct derp_client_info *info, struct node_key *client,
					const uint8_t *p, size_t size, const struct node_priv *server);
/* Opens the server info frame with the client's private key. Returns 0 or -EBADMSG. */
MESH_MUST_USE int derp_server_info_open(struct derp_server_info *info, const uint8_t *p, size_t size,
					const struct node_key *server, const struct node_priv *client);

/* Frame writers: append header and payload to 'w' ('w->bad' tells that it did not fit). */
void derp_server_key_write(struct wr *w, const struct node_key *server);
/* Seal {"version":2,"CanAckPings":true} or {"version":2}. Return 0; -EBADMSG if the other key is unusable;
 * -ENOBUFS. */
MESH_MUST_USE int derp_client_info_write(struct wr *w, const struct node_priv *client,
					 const struct node_key *server,
					 const uint8_t nonce[static DERP_NONCE_SIZE]);
MESH_MUST_USE int derp_server_info_write(struct wr *w, const struct node_priv *server,
					 const struct node_key *client,
					 const uint8_t nonce[static DERP_NONCE_SIZE]);
/* SEND_PACKET with the destination or RECV_PACKET with the source. */
void derp_packet_write(struct wr *w, enum derp_type type, const struct node_key *peer, const void *data,
		       size_t size);
void derp_keep_alive_write(struct wr *w);
void derp_note_preferred_write(struct wr *w, bool is_home);
void derp_peer_gone_write(struct wr *w, const struct node_key *peer, enum derp_gone_reason reason);
void derp_ping_write(struct wr *w, enum derp_type ping_or_pong, const uint8_t data[static DERP_PING_SIZE]);
/* 'text' is UTF-8; "" says that the problem is over. */
void derp_health_write(struct wr *w, const char *text);
void derp_restarting_write(struct wr *w, const struct derp_restarting *r);

/* Does a relayed payload look like disco (62 bytes or more, disco magic)? derp 6.4 */
bool derp_looks_like_disco(const uint8_t *data, size_t size);

#endif
