/* SPDX-License-Identifier: MIT */
/* The DERP server: registry of connected keys, forwarding, fair bounded queues. Bytes in and bytes out.
 *
 * The HTTP head of a connection is parsed by its owner (netstack/coordconn), who asks derpserver_http() what
 * to do with a request and, for an upgrade, calls derpserver_open() and from then on passes bytes through.
 * Connections have numbers of the owner's choice.
 *
 *   open -> LOGIN (server key sent; 10 s for client info) -> UP -> closed
 *
 * Output stays in the machine until the socket takes it (derpserver_take), so that the queues here bound a
 * slow reader: 32 packets and 512 KiB each for disco and for the rest, drop oldest; disco goes first but not
 * exclusively. A reader that takes nothing for 2 s is cut. Only registered keys are admitted; removing a key
 * closes its connections at once. A key that opens too many loses the one that has been silent longest.
 *
 * Owner: control thread. Spec: derp 3.3, 4, 5, 6; limits: RELIABILITY 5. */
#ifndef NETSTACK_RELAY_DERPSERVER_H
#define NETSTACK_RELAY_DERPSERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bucket.h"
#include "base/compiler.h"
#include "base/env.h"
#include "base/ep.h"
#include "base/heap.h"
#include "base/key.h"
#include "base/map.h"
#include "base/mono.h"

enum {
	DERPSERVER_CONNS_MAX = 16384,
	/* Of one key, which needs one. Those that it lost on the way from network to network are noticed after 80 s at
	 * most (keep-alive and TCP's patience): room for a change every 5 s. */
	DERPSERVER_CONNS_PER_KEY = 16,
	DERPSERVER_LOGINS_MAX = 1024,     /* connections that have not logged in */
	DERPSERVER_LOGINS_PER_SOURCE = 20,
	DERPSERVER_LOGIN_S = 10,
	DERPSERVER_WRITE_S = 2,           /* nothing taken for so long: closed */
	DERPSERVER_KEEP_ALIVE_S = 60,     /* plus up to 5 s of jitter */
};

struct derpserver_cfg {
	bool admit_all;             /* no admission: any key may connect (tests) */
	uint64_t rate_bytes_per_s;  /* per client, receive side; 0 = unlimited */
	uint64_t rate_burst_bytes;  /* raised to one largest frame */
};

/* What the owner read in the HTTP head; header values as sent, "" when absent. */
struct derpserver_http {
	const char *method;
	const char *path;        /* without the query */
	const char *upgrade;
	const char *ws_protocol; /* Sec-WebSocket-Protocol */
	const char *challenge;   /* X-Tailscale-Challenge */
	bool fast_start;         /* Derp-Fast-Start: 1 */
};

enum derpserver_verdict {
	DERPSERVER_NOT_OURS, /* another path: the owner answers */
	DERPSERVER_ANSWER,   /* send the answer text (a whole response), then close or go on */
	DERPSERVER_UPGRADE,  /* call derpserver_open() */
};

enum derpserver_out_kind {
	DERPSERVER_WRITE,     /* 'conn' has bytes: derpserver_take() until it returns 0 */
	DERPSERVER_CLOSE,     /* close 'conn' (flush is not needed); the machine has forgotten it */
	DERPSERVER_RESUME,    /* 'conn' may be read again, see derpserver_may_read() */
	DERPSERVER_PREFERRED, /* 'key' says that this is ('is_home') or is not its home */
	DERPSERVER_ONLINE,    /* first connection of 'key' */
	DERPSERVER_OFFLINE,   /* last connection of 'key' ended */
};

struct derpserver_out {
	enum derpserver_out_kind kind;
	uint32_t conn;
	struct node_key key;
	bool is_home;
	const char *reason; /* CLOSE: static text for the log */
};

struct derpserver_counters {
	uint64_t accepts, closes;
	uint64_t rejected_key;     /* not registered */
	uint64_t rejected_limit;
	uint64_t crowded;          /* closed because their key opened too many */
	uint64_t login_failed;     /* malformed, forged, too late */
	uint64_t in_pkts, in_bytes, out_pkts, out_bytes;
	uint64_t drop_unknown;     /* destination not here */
	uint64_t drop_queue;       /* destination reads too slowly */
	uint64_t slow_closed;
	uint64_t bad_frames;       /* connection closed for it */
	uint64_t keep_alives, pings;
};

struct derpserver_conn;
struct derpserver_client;

struct derpserver {
	const struct env *env;       /* borrowed */
	struct derpserver_cfg cfg;
	struct node_priv priv;
	struct node_key pub;
	struct map conns;            /* conn number -> struct derpserver_conn */
	struct map clients;          /* node key -> struct derpserver_client: keys with connections */
	struct map admitted;         /* node key -> any non-null pointer */
	struct map sources;          /* address of unfinished logins -> how many */
	struct heap deadlines;       /* of the connections */
	struct derpserver_conn *due, *due_last; /* connections with something to report, see poll */
	uint64_t activity;           /* counts frames: which connection of a key sent last */
	uint32_t n_logins;
	struct derpserver_counters n;
};

MESH_MUST_USE int derpserver_init(struct derpserver *s, const struct derpserver_cfg *cfg,
				  const struct node_priv *priv, const struct env *env);

/* Admission: registered keys may connect. Returns 0, -ENOBUFS or -ENOMEM. */
MESH_MUST_USE int derpserver_admit(struct derpserver *s, const struct node_key *key);
/* Takes the key back and closes its connections (drain poll). */
void derpserver_remove(struct derpserver *s, struct mono now, const struct node_key *key);

/* What to do with an HTTP request. For DERPSERVER_ANSWER fills 'text' (512 bytes are enough, final NUL included).
 * Spec: derp 3.3, 8. */
enum derpserver_verdict derpserver_http(const struct derpserver_http *req, char *text, size_t size);

/* Begins a connection: queues the 101 response unless 'fast_start', then the server key. What the owner has
 * read past the head goes into derpserver_input(). Returns 0; -ENOBUFS: too many unfinished logins in all or
 * from this source, or connections (the owner closes); -ENOMEM. */
MESH_MUST_USE int derpserver_open(struct derpserver *s, struct mono now, uint32_t conn, const struct ep *remote,
				  bool fast_start);
/* Bytes from the connection; at most 64 KiB a call. Unknown numbers are ignored. */
void derpserver_input(struct derpserver *s, struct mono now, uint32_t conn, const uint8_t *buf, size_t size);
/* The other side closed. */
void derpserver_closed(struct derpserver *s, struct mono now, uint32_t conn);
/* May the owner read more from it? False while the client's rate is used up; DERPSERVER_RESUME follows. */
bool derpserver_may_read(const struct derpserver *s, uint32_t conn);
/* Takes up to 'size' bytes of output. Returns how many; 0 = nothing waits. */
size_t derpserver_take(struct derpserver *s, struct mono now, uint32_t conn, uint8_t *buf, size_t size);

bool derpserver_poll(struct derpserver *s, struct mono now, struct derpserver_out *out);
struct mono derpserver_deadline(const struct derpserver *s);
void derpserver_tick(struct derpserver *s, struct mono now);
void derpserver_wipe(struct derpserver *s);

/* Is the key connected? How many keys are? */
bool derpserver_has(const struct derpserver *s, const struct node_key *key);
size_t derpserver_clients(const struct derpserver *s);

#endif
