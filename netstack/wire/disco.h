/* SPDX-License-Identifier: MIT */
/* Disco: the sealed envelope and its nine messages. Stateless; byte tables in
 * netstack/wire/disco.md.
 *
 * A packet is opened in two steps: disco_sender() names the key in clear text, the owner finds the
 * 'struct disco_box' it keeps for that key (peer, or relay server in a handshake), disco_open()
 * opens and parses. An unknown sender therefore costs one look-up and no cryptography (RELIABILITY
 * 5).
 *
 * Any thread, but boxes belong to the control thread. */
#ifndef NETSTACK_WIRE_DISCO_H
#define NETSTACK_WIRE_DISCO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/ep.h"
#include "base/key.h"
#include "wire/pathaddr.h"

enum {
	DISCO_MAGIC_SIZE = 6,
	DISCO_NONCE_SIZE = 24,
	DISCO_TAG_SIZE = 16,
	DISCO_HDR_SIZE = DISCO_MAGIC_SIZE + KEY_SIZE + DISCO_NONCE_SIZE, /* before the box: 62 */
	DISCO_OVERHEAD = DISCO_HDR_SIZE + DISCO_TAG_SIZE,                /* 78 */
	DISCO_LIKELY_SIZE = DISCO_MAGIC_SIZE + KEY_SIZE, /* shorter is never taken as disco: 38 */
	DISCO_TX_SIZE = 12,
	DISCO_CHALLENGE_SIZE = 32,
	DISCO_PING_SIZE = 124,       /* with node key, without padding */
	DISCO_PING_SIZE_MAX = 65467, /* largest ping with padding (path-selection 13) */
	DISCO_CAP_RELAY = 121,       /* capability version from which a node speaks 7, 8 and 9 */
	/* Addresses kept of one message; a sender puts the newest first, the rest is counted only.
	 */
	DISCO_EPS_MAX = 64,
	/* Largest packet that disco_seal() makes, pings with padding aside. */
	DISCO_PACKET_MAX = DISCO_OVERHEAD + 2 + 4 + 124 + EP_WIRE_SIZE * DISCO_EPS_MAX,
};

enum disco_type {
	DISCO_PING = 1,
	DISCO_PONG = 2,
	DISCO_CALL_ME_MAYBE = 3,
	DISCO_BIND = 4,           /* BindUDPRelayEndpoint */
	DISCO_BIND_CHALLENGE = 5, /* BindUDPRelayEndpointChallenge */
	DISCO_BIND_ANSWER = 6,    /* BindUDPRelayEndpointAnswer */
	DISCO_CALL_ME_MAYBE_VIA = 7,
	DISCO_ALLOC_REQUEST = 8,  /* AllocateUDPRelayEndpointRequest */
	DISCO_ALLOC_RESPONSE = 9, /* AllocateUDPRelayEndpointResponse */
};

/* Transaction id of a Ping and its Pong. Never reused, also not for a repetition (disco, trap 1).
 */
struct disco_tx {
	uint8_t b[DISCO_TX_SIZE];
};

struct disco_ping {
	struct disco_tx tx;
	bool has_node_key;
	struct node_key node; /* sender's node key: a hint that the map must confirm */
	size_t padding;       /* zero bytes behind it */
};

struct disco_pong {
	struct disco_tx tx;
	struct ep src; /* where the Ping came from; 127.3.3.40:REGION for DERP (disco_pong_src()) */
};

/* CallMeMaybe. */
struct disco_eps {
	uint16_t n_eps;   /* entries of 'eps' */
	uint16_t n_total; /* addresses in the message as received, at least 'n_eps' */
	struct ep eps[DISCO_EPS_MAX];
};

/* Bind, Challenge and Answer have one form. */
struct disco_bind {
	uint32_t vni;
	uint32_t generation;     /* never 0 from a client */
	struct disco_key remote; /* the OTHER client's key, in all three messages */
	uint8_t challenge[DISCO_CHALLENGE_SIZE];
};

struct disco_alloc_request {
	struct disco_key client[2]; /* disco_sort_pair() */
	uint32_t generation;
};

/* A relay endpoint: CallMeMaybeVia and the second part of an allocation response. All zero when the
 * message had an unknown version: refuse a zero server key. */
struct disco_relay_ep {
	struct disco_key server;    /* the relay server's own key */
	struct disco_key client[2]; /* smaller key first */
	uint64_t lamport_id;
	uint32_t vni;
	int64_t bind_lifetime_ns;
	int64_t steady_lifetime_ns;
	struct disco_eps addrs; /* n_eps >= 1 unless the version was unknown */
};

struct disco_alloc_response {
	uint32_t generation;
	struct disco_relay_ep ep;
};

struct disco_msg {
	enum disco_type type;
	union {
		struct disco_ping ping;
		struct disco_pong pong;
		struct disco_eps call_me_maybe;
		struct disco_bind bind; /* BIND, BIND_CHALLENGE, BIND_ANSWER */
		struct disco_relay_ep via;
		struct disco_alloc_request alloc_request;
		struct disco_alloc_response alloc_response;
	};
};

/* The precomputed secret between one of our keys and one other key, with both public halves. */
struct disco_box {
	uint8_t shared[KEY_SIZE]; /* secret: wipe */
	struct disco_key self;    /* written into every packet */
	struct disco_key peer;
};

/* Does a datagram look like plain disco: the magic and at least DISCO_LIKELY_SIZE bytes? */
bool disco_is_packet(const uint8_t *pkt, size_t size);

/* The sender's key in clear text. Call only if disco_is_packet(). */
struct disco_key disco_sender(const uint8_t *pkt);

/* Computes the shared key. Returns 0; -EBADMSG if 'peer' is zero or not a valid point (the box is
 * then zero). disco_box_wipe() when done. */
MESH_MUST_USE int disco_box_init(struct disco_box *box, const struct disco_priv *priv,
				 const struct disco_key *self, const struct disco_key *peer);
void disco_box_wipe(struct disco_box *box);

/* Opens 'pkt' in place and parses it into '*msg'. On failure '*msg' is untouched, and the packet
 * too unless the box had opened. Returns 0; -EBADMSG if it is too short or the box does not open
 * (count recv_bad_key: normal after a restart of the peer); -EPROTO if it is authentic but its
 * cleartext malformed (recv_bad_parse). */
MESH_MUST_USE int disco_open(const struct disco_box *box, uint8_t *pkt, size_t size,
			     struct disco_msg *msg);

/* Seals 'msg' with a fresh random nonce of the caller. 'cap': DISCO_PACKET_MAX is enough for all
 * but padded pings. Returns the packet's size; -ENOBUFS if it does not fit. */
MESH_MUST_USE int disco_seal(const struct disco_box *box,
			     const uint8_t nonce[static DISCO_NONCE_SIZE],
			     const struct disco_msg *msg, uint8_t *buf, size_t cap);

/* Cleartext <-> struct; disco_open() and disco_seal() call them. -EBADMSG: too short, unknown type,
 * an address list of the wrong size. disco_msg_write() returns the size or -ENOBUFS. */
MESH_MUST_USE int disco_msg_parse(struct disco_msg *msg, const uint8_t *buf, size_t size);
MESH_MUST_USE int disco_msg_write(const struct disco_msg *msg, uint8_t *buf, size_t cap);

/* What a Pong names as the source of a Ping that arrived by 'from'. */
struct ep disco_pong_src(const struct path_addr *from);

/* The two keys in wire order: the smaller first. */
void disco_sort_pair(struct disco_key out[static 2], const struct disco_key *a,
		     const struct disco_key *b);

/* "ping", "pong", "call-me-maybe", ... (disco 12); "unknown" otherwise. */
const char *disco_type_text(enum disco_type type);

static inline bool disco_tx_eq(const struct disco_tx *a, const struct disco_tx *b)
{
	return memcmp(a->b, b->b, DISCO_TX_SIZE) == 0;
}

#endif
