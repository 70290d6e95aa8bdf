/* SPDX-License-Identifier: MIT */
/* The coordinator's side of the control connection, above HTTP: register, map, logout, follow-up, presence.
 *
 * Requests come in as (id, method, path, body, machine key); what happens comes out of ctlserver_poll().
 * It holds the registry, the policy and every open map stream. Who carries the requests (HTTP/2 in Noise, the
 * simulator, our own node in the same process) is not its business.
 *
 *   request ──► RESPOND once                     register, lite update, errors
 *           └─► STREAM, CHUNK ..., END           the poll: END comes from us or, as request_closed, from them
 *
 * A register that changes something is answered when its rows are on disk: BATCH goes out, the owner stores it
 * and calls ctlserver_persisted(). Order for the owner at start: new, load rows (users, keys, nodes, policies,
 * settings), start, then requests.
 *
 * Control thread only. Spec: coordinator 2, 3, 7, 12; RELIABILITY 5, 7. */
#ifndef NETSTACK_COORD_CTLSERVER_H
#define NETSTACK_COORD_CTLSERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/env.h"
#include "base/key.h"
#include "base/mono.h"
#include "coord/policyfile.h"
#include "coord/registry.h"
#include "wire/mapdata.h"

enum {
	/* Request body. What a node tells of itself goes to all its peers and, before it is one, waits for approval: a
	 * thousand routes are 46 KiB. */
	CTLSERVER_BODY_MAX = 128 << 10,
	CTLSERVER_VERSION_MIN = 113,   /* oldest capability version served (stock 1.80) */
	CTLSERVER_FOLLOWUP_S = 300,    /* a follow-up is answered with its own URL after this long */
	CTLSERVER_STREAMS_MAX = 20000,
};

struct ctlserver_cfg {
	const char *url;           /* as nodes know it: "http://192.0.2.1:443", no final slash */
	const char *domain;        /* MagicDNS base */
	struct prefix pool4, pool6;
	int64_t node_expiry_s;     /* 0 = never */
	uint8_t fingerprint[16];   /* first half of SHA-256 over the Noise public key */
	const struct derp_map *derp; /* copied */
};

struct ctlserver_req {
	uint64_t id;               /* the caller's; unique while the request lives */
	const char *method, *path; /* borrowed for the call */
	const uint8_t *body;
	size_t body_size;
	struct machine_key machine; /* proven by Noise */
	uint16_t version;           /* of the Noise handshake */
	struct ep from;             /* for the log */
	bool own;                   /* our own node, reached without a network: needs no key */
};

enum ctlserver_out_kind {
	CTLSERVER_RESPOND, /* status and whole body; the request is over */
	CTLSERVER_CHUNK,   /* bytes of the response body; the first one implies status 200 */
	CTLSERVER_END,     /* the response body is complete */
	CTLSERVER_BATCH,   /* rows to store, then ctlserver_persisted(batch.ticket) */
	CTLSERVER_ADMIT,   /* node key 'key' is a member's: DERP takes it */
	CTLSERVER_KICK,    /* node key 'key' is no member's any more: DERP drops it */
};

/* One output; what it points to lives until the next call of ctlserver_poll(). */
struct ctlserver_out {
	enum ctlserver_out_kind kind;
	uint64_t id;               /* RESPOND, CHUNK, END */
	unsigned status;
	bool is_first;             /* CHUNK: the response begins here */
	const char *type;          /* RESPOND: content type */
	const uint8_t *data;
	size_t size;
	struct reg_batch *batch;   /* its rows may be taken */
	struct node_key key;
};

struct ctlserver;

/* Returns null when out of memory. Strings and the DERP map are copied. */
struct ctlserver *ctlserver_new(const struct ctlserver_cfg *cfg, const struct env *env);
void ctlserver_free(struct ctlserver *s);
/* New settings (URL, DERP map, expiry ...) for a running server; nodes get what changed. */
MESH_MUST_USE int ctlserver_configure(struct ctlserver *s, struct mono now, const struct ctlserver_cfg *cfg);

/* One stored row. Policies are kept as revisions; the newest is in force. Returns as registry_load(). */
MESH_MUST_USE int ctlserver_load(struct ctlserver *s, struct mono now, enum reg_table table, int64_t id,
				 const char *data);
/* After the rows: writes the default policy as revision 1 when there is none. A stored policy that no longer
 * parses leaves everything denied and an error in the log. Returns 0 or -ENOMEM. */
MESH_MUST_USE int ctlserver_start(struct ctlserver *s, struct mono now);

void ctlserver_request(struct ctlserver *s, struct mono now, const struct ctlserver_req *req);
/* The peer gave the request up (stream reset, connection lost), or CHUNKs can't be delivered. */
void ctlserver_request_closed(struct ctlserver *s, struct mono now, uint64_t id);
/* The same for all requests whose id has 'conn' in its upper half. */
void ctlserver_connection_closed(struct ctlserver *s, struct mono now, uint32_t conn);
/* The last CHUNK of a stream has left; only now does it get another (one message is in flight per stream, so a
 * slow reader costs no memory and gets merged deltas). */
void ctlserver_drained(struct ctlserver *s, struct mono now, uint64_t id);
void ctlserver_persisted(struct ctlserver *s, struct mono now, uint64_t ticket);
/* DERP's note-preferred of a member: its home region, pushed at once. */
void ctlserver_preferred(struct ctlserver *s, struct mono now, const struct node_key *key, uint32_t region);
/* May this node key use DERP: registered and not expired? */
bool ctlserver_is_member(const struct ctlserver *s, const struct node_key *key);

bool ctlserver_poll(struct ctlserver *s, struct mono now, struct ctlserver_out *out);
struct mono ctlserver_deadline(const struct ctlserver *s);
void ctlserver_tick(struct ctlserver *s, struct mono now);

/* ---- what administration (coord/admin) uses ---- */

struct registry *ctlserver_registry(struct ctlserver *s);
const struct policyfile *ctlserver_policy(const struct ctlserver *s);
/* Text and revision of the policy in force. */
const char *ctlserver_policy_text(const struct ctlserver *s, int64_t *revision);
/* Checks, tests and takes a new policy. Returns 0 ('*lost' = node pairs that can no longer talk); -EBADMSG or
 * -EPROTO with '*errs' (parse, tests); -ENOMEM. With 'dry' nothing changes. */
MESH_MUST_USE int ctlserver_set_policy(struct ctlserver *s, struct mono now, const char *text, size_t size,
				       bool dry, struct policy_errs *errs, size_t *lost);
/* Something in the registry was changed by hand: logins that wait for it are answered. (Streams notice by
 * themselves.) */
void ctlserver_changed(struct ctlserver *s, struct mono now);
/* Ends the streams of a node that is about to be deleted. */
void ctlserver_drop_node(struct ctlserver *s, struct mono now, int64_t node);
size_t ctlserver_n_streams(const struct ctlserver *s);
const struct log *ctlserver_log(const struct ctlserver *s);

#endif
