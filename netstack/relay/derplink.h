/* SPDX-License-Identifier: MIT */
/* One connection of the DERP client: dialling a region's nodes in order, HTTP upgrade, login, frames, queues.
 * Part of relay/derpclient, which holds the set of regions and knows why a connection is wanted.
 *
 * Owner: control thread. Spec: derp 2.2, 3.3, 4, 5. */
#ifndef NETSTACK_RELAY_DERPLINK_H
#define NETSTACK_RELAY_DERPLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bucket.h"
#include "base/bytes.h"
#include "relay/derpclient.h"
#include "relay/frameq.h"
#include "wire/http1.h"

enum {
	DERPLINK_ATTEMPT_MS = 10000,  /* dial, TLS, HTTP and login of one attempt */
	DERPLINK_NODE_MS = 3000,      /* of which a node has so much to connect while others are left; covers DNS
				       * and TLS too, which is why it is more than the 1.5 s of derp 2.2 */
	DERPLINK_READ_S = 120,        /* silence after which the server counts as dead */
	DERPLINK_IDLE_S = 60,         /* a connection that is not home, after the last packet sent */
	DERPLINK_SILENT_MS = 2500,    /* packets sent and nothing heard for so long: ping */
	DERPLINK_PING_MS = 2500,      /* and so long for the answer; together a dead server is left within 6 s
				       * (RELIABILITY, F8) */
	DERPLINK_BACKOFF_MAX_MS = 5000,
	DERPLINK_TEXT_MAX = 160,
};

struct derplink_due {
	bool open, close, write, state, health;
	uint32_t close_stream;
};

struct derpclient_link {
	const struct env *env;
	struct derpclient_counters *n;    /* the client's */
	const struct derp_region *region; /* in the client's map; null: not there any more */
	uint32_t id;                      /* region id */
	enum derpclient_state state;
	bool is_home;
	struct derplink_due due;
	char text[DERPLINK_TEXT_MAX];     /* why it went down */
	char health[DERPLINK_TEXT_MAX];   /* what the server complains of */

	/* The attempt under way. */
	uint16_t generation;              /* of the stream: part of its number */
	size_t node;                      /* index of the node that is dialled */
	struct stream_addr addr;
	struct mono attempt_by, node_by;
	unsigned failures;                /* in a row */
	struct mono retry_at;             /* WAIT */
	uint32_t restart_in_ms;           /* the server announced a restart */

	/* The connection. */
	bool is_open;                     /* the stream is connected */
	bool has_server;                  /* server key known: client info is out, packets may follow */
	bool is_gone;                     /* the edge has closed the stream */
	bool announced;                   /* WRITE is out and the output not empty since */
	struct node_key server;
	struct http1 *http;               /* owned; UPGRADING only */
	struct bytes in, ctl, out;
	size_t in_done;                   /* bytes of 'in' whose frame poll has returned */
	struct frameq disco, data;
	unsigned disco_run;
	struct ip local;                  /* our address; unset = unknown */
	struct mono heard, sent, ping_by;
	struct mono silent_since;         /* first packet sent after the last frame heard; MONO_NEVER = none */
	struct bucket bucket;
	uint64_t bucket_rate, bucket_burst; /* 0 = no limit */
};

void derplink_init(struct derpclient_link *l, uint32_t id, struct derpclient_counters *n, const struct env *env);
void derplink_wipe(struct derpclient_link *l);

/* Starts connecting unless it is connected or under way. */
void derplink_want(struct derpclient_link *l, struct mono now);
/* Home or not any more; tells the server. */
void derplink_set_home(struct derpclient_link *l, struct mono now, bool is_home);
/* Ends the connection. With 'retry' it is a failure and back-off begins if the region is still wanted. */
void derplink_drop(struct derpclient_link *l, struct mono now, const char *why, bool retry);
/* The network changed: tests a connection, begins an attempt or a pause anew. */
void derplink_ping(struct derpclient_link *l, struct mono now);
/* Connects anew at once, without a pause. */
void derplink_again(struct derpclient_link *l, struct mono now, const char *why);

MESH_MUST_USE int derplink_send(struct derpclient_link *l, struct mono now, const struct node_key *peer,
				const uint8_t *data, size_t size);
void derplink_opened(struct derpclient_link *l, struct mono now, const struct stream_info *info,
		     const struct node_priv *priv);
void derplink_input(struct derpclient_link *l, struct mono now, const uint8_t *buf, size_t size);
void derplink_closed(struct derpclient_link *l, struct mono now, const char *reason);
size_t derplink_take(struct derpclient_link *l, struct mono now, uint8_t *buf, size_t size);

/* Next output of this link. */
bool derplink_poll(struct derpclient_link *l, struct mono now, const struct node_priv *priv,
		   struct derpclient_out *out);
struct mono derplink_deadline(const struct derpclient_link *l);
void derplink_tick(struct derpclient_link *l, struct mono now);

/* Number of the present (or last) stream. */
static inline uint32_t derplink_stream(const struct derpclient_link *l)
{
	return l->id << 16 | l->generation;
}

#endif
