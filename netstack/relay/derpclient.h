/* SPDX-License-Identifier: MIT */
/* The node's DERP side: one connection per region in use, bytes in and bytes out, no sockets.
 *
 * The home region stays connected; others are opened by the first packet and closed 60 s after the last one
 * sent. A connection goes through
 *
 *   IDLE -> OPENING -> UPGRADING -> LOGIN -> UP          each attempt has 10 s in all and 1.5 s per node
 *    ^         |           |          |       |          (several nodes of a region are tried in order)
 *    +--WAIT<--+-----------+----------+-------+          back-off n*n*10 ms, at most 5 s, +-50 %
 *
 * With fast start (TLS 1.3 and a meta certificate) LOGIN sends at once and nothing is awaited; packets may
 * follow directly. A region counts as connected only when the server info frame was read.
 *
 * Streams: the machine names them; numbers are never reused within 2^16 connections of a region. The owner
 * opens them on DERPCLIENT_OPEN, reports derpclient_opened(), _input(), _closed(), fetches output with
 * derpclient_take() after DERPCLIENT_WRITE and whenever the socket has room again, and drops whatever still
 * comes for a stream after DERPCLIENT_CLOSE.
 *
 * Owner: control thread. Spec: derp 2.2, 3.3, 4, 5, 10. */
#ifndef NETSTACK_RELAY_DERPCLIENT_H
#define NETSTACK_RELAY_DERPCLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/bucket.h"
#include "base/compiler.h"
#include "base/env.h"
#include "base/key.h"
#include "base/map.h"
#include "base/mono.h"
#include "relay/frameq.h"
#include "wire/derp.h"
#include "wire/mapdata.h"
#include "wire/streamaddr.h"

enum derpclient_state {
	DERPCLIENT_IDLE,      /* not needed */
	DERPCLIENT_WAIT,      /* back-off before the next attempt */
	DERPCLIENT_OPENING,   /* TCP and TLS */
	DERPCLIENT_UPGRADING, /* HTTP request sent, waiting for 101 */
	DERPCLIENT_LOGIN,     /* waiting for server key or server info */
	DERPCLIENT_UP,
};

enum derpclient_out_kind {
	DERPCLIENT_OPEN,  /* connect 'stream' to '*addr' */
	DERPCLIENT_WRITE, /* 'stream' has bytes: derpclient_take() until it returns 0 */
	DERPCLIENT_CLOSE, /* close 'stream' */
	DERPCLIENT_RECV,  /* packet 'data' from 'peer' through 'region' */
	DERPCLIENT_GONE,  /* 'peer' is no longer at 'region', for 'reason' (enum derp_gone_reason) */
	DERPCLIENT_STATE, /* 'region' came up ('is_up'), went down or cannot be reached for a new reason ('text') */
	DERPCLIENT_HEALTH, /* 'region' reports the problem 'text'; "" = over */
};

struct derpclient_out {
	enum derpclient_out_kind kind;
	uint32_t region;
	uint32_t stream;                /* OPEN, WRITE, CLOSE */
	const struct stream_addr *addr; /* OPEN; borrowed until the next call */
	struct node_key peer;           /* RECV, GONE */
	const uint8_t *data;            /* RECV; borrowed until the next call */
	size_t size;                    /* RECV */
	bool is_new;                    /* RECV: the first from 'peer' since it was GONE, or the region came up */
	uint8_t reason;                 /* GONE */
	bool is_up;                     /* STATE */
	const char *text;               /* STATE, HEALTH; borrowed until the next call */
};

struct derpclient_counters {
	uint64_t sent_pkts, sent_bytes;   /* packets handed to the stream */
	uint64_t rcvd_pkts, rcvd_bytes;
	uint64_t drop_queue;              /* a newer packet took the place, or the region went away */
	uint64_t drop_bucket;             /* the server's token bucket */
	uint64_t bad_frames;              /* skipped */
	uint64_t connects, failures;
};

struct derpclient_link;

struct derpclient {
	const struct env *env;          /* borrowed */
	struct node_priv priv;
	struct node_key pub;
	bool has_key;
	struct derp_map map;            /* own copy */
	uint32_t home;                  /* 0 = none */
	struct derpclient_link **links; /* owned; one per region that was ever needed */
	size_t n_links;
	size_t turn;                    /* link where poll goes on, so that none starves */
	struct map routes;              /* node key -> link: where a peer was last heard; bounded */
	struct derpclient_counters n;
};

enum { DERPCLIENT_ROUTES_MAX = 16384, DERPCLIENT_LINKS_MAX = 256 };

MESH_MUST_USE int derpclient_init(struct derpclient *c, const struct env *env);

/* The node's key; a change closes every connection. Null = none: everything closes. */
void derpclient_set_key(struct derpclient *c, struct mono now, const struct node_priv *priv);

/* A new DERP map (copied). A connection whose region changed in any field is closed; a home that is gone is
 * forgotten. Returns 0 or -ENOMEM (old map in force). */
MESH_MUST_USE int derpclient_set_map(struct derpclient *c, struct mono now, const struct derp_map *map);

/* The home region (0 = none): kept connected, told "preferred"; the others are told that they are not. */
void derpclient_set_home(struct derpclient *c, struct mono now, uint32_t region);

/* The network changed: every connection is pinged and closed unless a pong (or any frame) comes in time
 * (DERPLINK_PING_MS); attempts and waiting times begin anew. */
void derpclient_net_changed(struct derpclient *c, struct mono now);

/* The host's addresses now: a connection from an address that is gone is made anew at once. */
void derpclient_set_addrs(struct derpclient *c, struct mono now, const struct ip *ips, size_t n);

/* Which region to use for a packet to 'peer', whose home is 'peer_home' (0 = unknown): an open connection to
 * its home, else one on which it was heard, else its home, else 0. derp 10. */
uint32_t derpclient_route(const struct derpclient *c, const struct node_key *peer, uint32_t peer_home);

/* Queues a packet (copied), connecting if need be. Returns 0; -ENOENT: no such region, or no key;
 * -ENOBUFS: larger than DERP_PACKET_MAX; -ENOMEM. Overflow drops the oldest and is counted. */
MESH_MUST_USE int derpclient_send(struct derpclient *c, struct mono now, uint32_t region,
				  const struct node_key *peer, const uint8_t *data, size_t size);

/* Stream events. Unknown (closed) streams are ignored. 'reason' is borrowed text for the log. */
void derpclient_opened(struct derpclient *c, struct mono now, uint32_t stream, const struct stream_info *info);
void derpclient_input(struct derpclient *c, struct mono now, uint32_t stream, const uint8_t *buf, size_t size);
void derpclient_closed(struct derpclient *c, struct mono now, uint32_t stream, const char *reason);

/* Takes up to 'size' bytes of output. Returns how many; 0 = nothing waits. */
size_t derpclient_take(struct derpclient *c, struct mono now, uint32_t stream, uint8_t *buf, size_t size);

/* Drain after every call above. */
bool derpclient_poll(struct derpclient *c, struct mono now, struct derpclient_out *out);
struct mono derpclient_deadline(const struct derpclient *c);
void derpclient_tick(struct derpclient *c, struct mono now);
void derpclient_wipe(struct derpclient *c);

enum derpclient_state derpclient_state(const struct derpclient *c, uint32_t region);
/* When the region's server was last heard (MONO_ZERO: never): netcheck keeps a home that still talks, and the
 * daemon warns when home is silent for 2 min 5 s. */
struct mono derpclient_heard(const struct derpclient *c, uint32_t region);

#endif
