/* SPDX-License-Identifier: MIT */
/* The whole coordinator role as one machine: control server and DERP server behind one port.
 *
 * The daemon, and the simulator in the same way, feed it accepted connections and carry out its outputs:
 *
 *   accept, bytes, sent, closed ─┐                      ┌─► SEND (connection), CLOSE (connection)
 *   admin call ──────────────────┼─► coordinator ───────┼─► STORE (rows, then coordinator_stored())
 *   tick, stored ────────────────┘                      └─► REPLY (admin call)
 *
 * It holds ctlserver (registry, policy, map streams), derpserver (region 900 and up) and the connections. TLS, sockets,
 * the database file and STUN's UDP socket are the owner's. Our own node takes the same road: a connection
 * accepted with 'own' (loopback inside the process), whose registration needs no auth key.
 *
 * Order at start: coordinator_new, coordinator_load for every stored row (users, keys, nodes, policies, settings), coordinator_start.
 * Control thread only. Spec: coordinator, derp 6, RELIABILITY 5. */
#ifndef NETSTACK_COORDINATOR_H
#define NETSTACK_COORDINATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/env.h"
#include "base/ep.h"
#include "base/key.h"
#include "base/mono.h"
#include "coord/registry.h"
#include "wire/mapdata.h"

enum {
	COORDINATOR_CONNS_MAX = 20000,
	COORDINATOR_HALF_OPEN_MAX = 1024,  /* connections without a Noise or DERP session */
	COORDINATOR_HALF_OPEN_SOURCE = 20, /* of one source address (IPv6: /64) */
	COORDINATOR_RATE_TOTAL = 200,      /* accepted connections a second ... */
	COORDINATOR_RATE_SOURCE = 10,      /* ... and of one source; bursts of twice as many */
	COORDINATOR_REGION = 999,          /* of the embedded DERP server */
};

struct coordinator_cfg {
	const char *url;         /* "http://192.0.2.1:443", no final slash */
	const char *domain;      /* MagicDNS base */
	struct prefix pool4, pool6;
	int64_t node_expiry_s;   /* 0 = never */
	/* The embedded DERP region as nodes shall see it. */
	const char *derp_host;   /* host name or address literal of the URL */
	uint16_t derp_port;
	const char *derp_pin;    /* "sha256-raw:..." of a self-signed certificate; "" = ordinary verification */
	int32_t stun_port;       /* -1 = none */
	const struct derp_map *derp_extra; /* further regions; may be null */
};

enum coordinator_out_kind {
	COORDINATOR_SEND,  /* send 'data' on 'conn', then coordinator_sent() with what was accepted */
	COORDINATOR_CLOSE, /* close 'conn'; it is forgotten here (no coordinator_closed()) */
	COORDINATOR_STORE, /* one transaction, then coordinator_stored(batch->ticket) */
	COORDINATOR_REPLY, /* answer of admin call 'call': status and JSON */
};

/* What an output points to lives until the next call of any function of this file. */
struct coordinator_out {
	enum coordinator_out_kind kind;
	uint32_t conn;
	const uint8_t *data;
	size_t size;
	struct reg_batch *batch; /* its rows may be taken */
	uint64_t call;
	unsigned status;
};

struct coordinator;

/* Returns null when out of memory. 'cfg' is copied; 'env' is borrowed. */
struct coordinator *coordinator_new(const struct coordinator_cfg *cfg, const struct env *env);
void coordinator_free(struct coordinator *c);

/* One stored row. Returns 0, -EBADMSG (damaged: refuse to start), -ENOMEM. */
MESH_MUST_USE int coordinator_load(struct coordinator *c, struct mono now, enum reg_table table, int64_t id,
				   const char *data);
/* Makes the server keys and the first policy where they are missing (as rows to store). Nothing is answered
 * before those are stored. Returns 0 or -ENOMEM. */
MESH_MUST_USE int coordinator_start(struct coordinator *c, struct mono now);
/* New settings while running; nodes get what changed. Returns 0 or -ENOMEM. */
MESH_MUST_USE int coordinator_configure(struct coordinator *c, struct mono now, const struct coordinator_cfg *cfg);

/* The server's public key (GET /key), for our own node. */
const struct machine_key *coordinator_noise_key(const struct coordinator *c);

/* The DERP server's public key, for the meta certificate. */
const struct node_key *coordinator_derp_key(const struct coordinator *c);

/* A new connection named 'conn' by the owner (unique while it lives). 'own': our own node inside this process.
 * Returns 0; -EAGAIN if a limit refuses it (close it; nothing was kept); -ENOMEM. */
MESH_MUST_USE int coordinator_accept(struct coordinator *c, struct mono now, uint32_t conn,
				     const struct ep *from, bool tls, bool own);
void coordinator_bytes(struct coordinator *c, struct mono now, uint32_t conn, const uint8_t *data,
		       size_t size);
/* 'size' bytes of the last SEND of 'conn' were taken by the transport; the rest is offered again after
 * coordinator_writable(). */
void coordinator_sent(struct coordinator *c, struct mono now, uint32_t conn, size_t size);
void coordinator_writable(struct coordinator *c, struct mono now, uint32_t conn);
void coordinator_closed(struct coordinator *c, struct mono now, uint32_t conn);
void coordinator_stored(struct coordinator *c, struct mono now, uint64_t ticket);
/* Batches up to 'ticket' can't be stored for now. Administration calls that wait for them are answered: with 'status'
 * and 'why' if they have changed something, else with what they ask for. */
void coordinator_refused(struct coordinator *c, uint64_t ticket, unsigned status, const char *why);

/* Covers everything written up to now; durable when coordinator_stored() has told so. */
uint64_t coordinator_ticket(const struct coordinator *c);
bool coordinator_is_durable(const struct coordinator *c, uint64_t ticket);

/* An administration call (verbs in coord/admin.h); answered by REPLY with the same 'call'. Returns 0; -ENOMEM: nothing
 * was done, and no answer follows. */
MESH_MUST_USE int coordinator_admin(struct coordinator *c, struct mono now, uint64_t call, const char *verb,
				    const char *body, size_t size);

/* Owner's own row among the settings (REG_SET_CONFIG), stored with the next batch. */
MESH_MUST_USE int coordinator_put_setting(struct coordinator *c, enum reg_setting id, const char *data);

bool coordinator_poll(struct coordinator *c, struct mono now, struct coordinator_out *out);
struct mono coordinator_deadline(const struct coordinator *c);
void coordinator_tick(struct coordinator *c, struct mono now);

struct coordinator_stats {
	size_t n_conns, n_control, n_derp, n_nodes, n_online;
	uint64_t refused_rate, refused_half_open, timeouts, bad_input;
	int64_t policy_revision;
};
void coordinator_stats(const struct coordinator *c, struct coordinator_stats *out);

#endif
