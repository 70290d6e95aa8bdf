/* SPDX-License-Identifier: MIT */
/* The coordinator role of the daemon: listeners, certificate, database and STUN around netstack/coordinator.
 *
 *   httpd (TCP, plain or TLS) ──┐
 *   stund (UDP)                 ├──► coordinator ──► coord.db
 *   pipes (our own node)  ──────┘
 *
 * Our own node reaches its coordinator through pipes inside the process, so it works behind one-to-one NAT
 * without hairpin and needs no auth key. The settings are a row of the database; enable and disable are kept
 * over restarts. Control thread only. Spec: cli 7b, coordinator 8. */
#ifndef DAEMON_COORDROLE_H
#define DAEMON_COORDROLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "base/mono.h"
#include "wire/streamaddr.h"

struct coordrole;
struct env;
struct log;
struct loop;

enum { COORDROLE_ERR_MAX = 400, COORDROLE_WARN_MAX = 1000 };

/* What `coordinator enable` sets. Strings: "" or null = default. */
struct coordrole_settings {
	const char *url;       /* http(s)://HOST[:PORT] */
	const char *listen;    /* ADDR:PORT; default all addresses and the URL's port */
	const char *domain;    /* default "mesh.internal" */
	int32_t stun_port;     /* 0 = 3478; -1 = none */
	const char *cert, *key; /* files */
	bool behind_proxy;     /* plain listener behind a TLS proxy */
	const char *pool4;     /* default 100.64.0.0/10 */
	int64_t node_expiry_s; /* 0 = never */
};

/* A byte stream of our own node to its coordinator, or an answer of an administration call. */
struct coordrole_events {
	void (*opened)(void *ctx, uint32_t stream, struct mono now);
	void (*bytes)(void *ctx, uint32_t stream, struct mono now, const uint8_t *data, size_t size);
	void (*closed)(void *ctx, uint32_t stream, struct mono now);
	/* Answer of coordrole_admin() or coordrole_answer(): status and JSON or text. */
	void (*reply)(void *ctx, uint64_t call, unsigned status, const char *json, size_t size);
	/* The role was switched on, off or changed: URL and addresses may be new. */
	void (*changed)(void *ctx, struct mono now);
	void *ctx;
};

struct coordrole_cfg {
	struct loop *loop;      /* borrowed */
	const struct env *env;  /* borrowed */
	const struct log *log;  /* borrowed */
	const char *db_path;    /* coord.db */
	uint32_t mark;          /* SO_MARK of the STUN socket */
	const char *ifname;     /* of our own TUN device: its addresses are the mesh's; borrowed */
	struct coordrole_events events;
};

/* Opens nothing yet if coord.db does not exist. With a database whose settings say "on", starts the role; a port
 * in use then is an error in the log and in coordrole_status(), and is tried again every 5 s.
 * Returns 0; a negative errno with a sentence in 'why' if the database is damaged. */
MESH_MUST_USE int coordrole_open(struct coordrole **out, const struct coordrole_cfg *cfg, struct mono now,
				 char why[static COORDROLE_ERR_MAX]);
/* Writes what waits; callers that still wait are answered before it returns. Null is allowed. */
void coordrole_close(struct coordrole *r);

/* Checks and applies settings: all or nothing. 'warn' gets lines ('\n' between them) for the operator. Returns
 * 0; -EINVAL, -EADDRINUSE, ... with a sentence in 'why'. */
MESH_MUST_USE int coordrole_enable(struct coordrole *r, struct mono now, const struct coordrole_settings *s,
				   char why[static COORDROLE_ERR_MAX], char warn[static COORDROLE_WARN_MAX]);
/* Switches the role off; its state is kept. Returns 0 or a negative errno of the database. */
MESH_MUST_USE int coordrole_disable(struct coordrole *r, struct mono now, char why[static COORDROLE_ERR_MAX]);

/* Answers 'call' by events.reply with 200 and 'json' once everything that enable or disable changed is on disk, perhaps
 * before this returns; with 500 and a sentence when the disk refuses it. */
void coordrole_answer(struct coordrole *r, uint64_t call, const char *json);

bool coordrole_is_on(const struct coordrole *r);
/* As stored and printed, with its port; "" if the role was never on. */
const char *coordrole_url(const struct coordrole *r);
/* Address literal in the URL, unset for a name: our own node announces it when no interface has it. */
struct ip coordrole_public_ip(const struct coordrole *r);
uint16_t coordrole_stun_port(const struct coordrole *r); /* 0 = off */

/* JSON object for `coordinator status`: URL, listeners, DERP region, nodes, policy revision, database size,
 * error. Appends to 'json' (a malloc'ed string in '*out'). Returns 0 or -ENOMEM. */
MESH_MUST_USE int coordrole_status(const struct coordrole *r, char **out);

/* Administration (verbs of netstack/coord/admin.h). events.reply follows, perhaps before this returns. */
void coordrole_admin(struct coordrole *r, struct mono now, uint64_t call, const char *verb, const char *body,
		     size_t size);

/* Does this address lead to our own listener? Then use a pipe. */
bool coordrole_is_own(const struct coordrole *r, const struct stream_addr *addr);
/* Opens pipe 'stream': events.opened follows. Returns 0 or a negative errno. */
MESH_MUST_USE int coordrole_pipe_open(struct coordrole *r, struct mono now, uint32_t stream);
/* Returns 0; -ENOENT if there is no such pipe. */
MESH_MUST_USE int coordrole_pipe_send(struct coordrole *r, struct mono now, uint32_t stream,
				      const uint8_t *data, size_t size);
void coordrole_pipe_close(struct coordrole *r, struct mono now, uint32_t stream);

/* Carries out what is due; the owner calls it at the end of each loop turn until it returns false. */
bool coordrole_pump(struct coordrole *r, struct mono now);

#endif
