/* SPDX-License-Identifier: MIT */
/* Local API server: HTTP/1.1 on Unix sockets, for meshctl, the stock command line and monitors.
 *
 * This file holds connections, limits, credentials and requests in flight; a handler in
 * api_<group>.c turns one request into a call of the backend; the backend (daemon/meshd.c, over the
 * engine) does it. Handlers and backend never block: what takes time is started with a token, and
 * api_reply_*() answers later. A token outlives its connection harmlessly: answering one whose caller
 * has gone does nothing.
 *
 *   socket ── request ──► api.c: limits, Host/Origin, right ──► handler ──► backend->ping(ctx, token, …)
 *                                                                               ⋮   later, same thread
 *   socket ◄── response ── api_reply_ping(api, token, &result) ◄────────────────┘
 *
 * Control thread only. Spec: localapi, RELIABILITY 6.5. */
#ifndef DAEMON_API_H
#define DAEMON_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/ep.h"
#include "wire/apijson.h"

struct api;
struct loop;
struct log;
struct metrics_input;
struct http1;

/* One request in flight: slot and generation. 0 is never valid. */
struct api_token {
	uint64_t id;
};

/* POST start. Strings are borrowed for the call. */
struct api_start {
	const char *auth_key;         /* null = none; never log it */
	const struct prefs *prefs;    /* complete new preferences, checked; null = keep the old ones */
	bool force;                   /* log in again with 'auth_key' and a new node key ("Meshd.ForceReauth") */
	pid_t pid;                    /* of the caller; -1 = unknown */
};

/* POST ping. */
struct api_ping {
	struct ip ip;
	enum pingresult_type type;
	size_t size;                  /* of the disco message; 0 = smallest */
};

/* What POST debug asks for. */
enum api_debug {
	API_DEBUG_RESTUN,
	API_DEBUG_REBIND,
	API_DEBUG_ROTATE_DISCO_KEY,
	API_DEBUG_BREAK_DERP_CONNS,
	API_DEBUG_BREAK_TCP_CONNS,
	API_DEBUG_PICK_NEW_DERP,
	API_DEBUG_FORCE_NETMAP_UPDATE,
	API_DEBUG_CLEAR_NETMAP_CACHE,
};

/* Who has an address. All borrowed until the handler returns. */
struct api_whois {
	const struct map_node *node;
	const struct user_profile *user; /* null = unknown */
	const struct map_cap *caps;      /* what the node holds on us, by the packet filter */
	size_t n_caps;
};

enum { API_ERR_MAX = PREFS_ERR_MAX };

/* What the daemon offers to the handlers. Functions that return int fill their result and return 0 or
 * a negative errno; -ENOSYS means "not in this build" and is answered 501. Reads must work in every
 * state and never wait. Functions with a token return nothing and answer exactly once through the
 * named api_reply function, at once or later. */
struct api_backend {
	/* Fills an empty '*s'; the caller wipes. Without 'peers' the peer list stays empty. */
	int (*status)(void *ctx, bool peers, struct status *s);
	/* The peers for a status made without them, one after the other: a fresh list of ids in the order in which
	 * they are written, and an empty '*p' filled for one of them (the caller wipes) and counted in 's'; -ENOENT:
	 * it has gone meanwhile. */
	int (*status_ids)(void *ctx, int64_t **ids, size_t *n);
	int (*status_peer)(void *ctx, int64_t id, struct status *s, struct status_peer *p);
	/* The preferences in force, with 'login' filled; borrowed until the handler returns. */
	const struct prefs *(*prefs)(void *ctx);
	/* A checked edit as a whole: 'next' are the preferences to come (borrowed), 'changed' the PREF_BITs
	 * that differ. Carries it out, persists, then api_reply_prefs(); if a part cannot be applied
	 * (relay port busy), everything stays as it was and the reply has the reason. */
	void (*set_prefs)(void *ctx, struct api_token token, const struct prefs *next, uint64_t changed);
	/* Those of 'fields' that the configuration file locks; if there are any, 'err' gets the sentence. */
	uint64_t (*locked_prefs)(void *ctx, uint64_t fields, char err[static API_ERR_MAX]);
	/* api_reply_done() once accepted; progress is told on the bus. */
	void (*start)(void *ctx, struct api_token token, const struct api_start *start);
	/* 'pid' as in struct api_start: a `start` of the same process says what it means. */
	void (*login_interactive)(void *ctx, struct api_token token, pid_t pid);
	/* Without 'local' it is an error (500) when the control server could not be told. */
	void (*logout)(void *ctx, struct api_token token, bool local);
	/* api_reply_ping() */
	void (*ping)(void *ctx, struct api_token token, const struct api_ping *ping);
	/* api_reply_netcheck() */
	void (*netcheck)(void *ctx, struct api_token token);
	/* The DERP map in force, borrowed; null before the first map. */
	const struct derp_map *(*derp_map)(void *ctx);
	/* By tailnet address (also inside a peer's routes) or node key (then 'ip' is unset). -ENOENT. */
	int (*whois)(void *ctx, const struct ip *ip, const struct node_key *key, struct api_whois *who);
	/* Fills '*in' (zeroed); lists are borrowed until the handler returns. */
	int (*metrics)(void *ctx, struct metrics_input *in);
	/* Fills an empty '*r'; the caller wipes. */
	int (*relay)(void *ctx, struct relayinfo *r);
	/* The same as JSON by api_reply_json(), once the firewall was looked at. */
	void (*relay_report)(void *ctx, struct api_token token);
	/* Fills an empty '*p' for the peer that has 'ip'; -ENOENT. */
	int (*path)(void *ctx, const struct ip *ip, struct pathinfo *p);
	/* The network map as JSON for the bus and `debug netmap`; appended to '*out'. */
	int (*net_map)(void *ctx, struct bytes *out);
	int (*debug)(void *ctx, enum api_debug action);
	/* Somebody subscribed to the bus with 'mask'. */
	void (*subscribed)(void *ctx, uint64_t mask);
	/* The health as the bus tells it: JSON appended to an empty '*out'. */
	int (*health)(void *ctx, struct bytes *out);
	/* Ends the daemon after the answer was sent. */
	void (*shutdown)(void *ctx);
	void *ctx;
};

struct api_cfg {
	struct loop *loop;              /* borrowed */
	const struct log *log;          /* borrowed */
	const struct api_backend *backend; /* borrowed */
	void *coord;                    /* context of the coordinator's handlers (api_coord.c); may be null */
};

/* Allocates the server; it serves nothing until api_listen(). Null = out of memory. */
struct api *api_new(const struct api_cfg *cfg);
/* Takes no request any more: an answer ends its connection. To be called before what the handlers need goes. Null is
 * allowed. */
void api_stop(struct api *api);
/* Closes listeners and connections and removes the sockets; whoever still waits for an answer is told that the daemon
 * stops (503). Null is allowed. */
void api_free(struct api *api);
/* Serves 'path' (mode 0666, directory 0755 made when missing). A socket that somebody answers on is
 * refused; a dead one is replaced without a gap. May be called for several paths.
 * Returns 0; -EADDRINUSE; -EINVAL (path too long, or not a socket); another negative errno. */
MESH_MUST_USE int api_listen(struct api *api, const char *path);

/* Answers. Each sends one response for 'token'; nothing happens when its caller has gone. */
void api_reply_done(struct api *api, struct api_token token);                      /* 204 */
void api_reply_json(struct api *api, struct api_token token, const struct bytes *body); /* 200 */
void api_reply_text(struct api *api, struct api_token token, int status, const char *text);
/* {"Error":text} or, with 'lower', {"error":text}. */
void api_reply_error(struct api *api, struct api_token token, int status, const char *text, bool lower);
/* The new preferences, or 'err' (then 400 {"Error":…}). */
void api_reply_prefs(struct api *api, struct api_token token, const char *err);
void api_reply_ping(struct api *api, struct api_token token, const struct pingresult *result);
/* POST dial: the caller is to connect to 'addr' ("ip:port") itself. The connection ends. */
void api_reply_dial_self(struct api *api, struct api_token token, const char *addr);
/* 'err' null: 200 with the report. */
void api_reply_netcheck(struct api *api, struct api_token token, const struct netreport *report,
			const char *err);

/* Tells all subscribers of the bus; fields that a subscriber did not ask for are left out. */
void api_notify(struct api *api, const struct notify *n);
/* What the subscribers of the bus ask for, all together; '*any' = there is one. */
uint64_t api_bus_masks(const struct api *api, bool *any);
/* Number of open connections, for counters and tests. */
size_t api_n_conns(const struct api *api);
/* Takes over a connected socket with known credentials (accept does this; tests use a pair). Closes it
 * and returns a negative errno when a limit is reached. */
MESH_MUST_USE int api_accept_fd(struct api *api, int fd, uid_t uid, pid_t pid);

/* ---- For handlers (api_<group>.c) only ---- */

enum api_right {
	API_ANY,   /* everybody */
	API_READ,  /* everybody, as upstream */
	API_WRITE, /* root, the daemon's uid, the operator */
	API_ROOT,  /* root and the daemon's uid */
};

/* One request, borrowed for the handler's call. Exactly one reply must follow, now or later. */
struct api_req {
	struct api_token token;
	const char *method;
	const char *path;  /* without query */
	const uint8_t *body;
	size_t body_size;
	const struct http1 *http; /* the head: headers, query */
	uid_t uid;         /* -1 = unknown */
	pid_t pid;
	bool may_write;
	bool is_root;      /* uid 0 or the daemon's */
};

struct api_handler {
	const char *method; /* null = the function tells */
	const char *path;   /* a final '/' makes it a prefix */
	enum api_right right;
	void (*fn)(struct api *api, const struct api_req *req);
};

struct api_table {
	const struct api_handler *rows;
	size_t n_rows;
};

/* The tables that api.c looks through, one a group. */
extern const struct api_table api_core_table;   /* api_core.c: status, prefs, login, bus */
extern const struct api_table api_net_table;    /* api_net.c: ping, whois, derpmap, netcheck, debug */
extern const struct api_table api_meshd_table;  /* api_meshd.c: metrics, relay, path, version */
extern const struct api_table api_stock_table;  /* api_stock.c: what the stock command line asks beside */

/* A body that is made while its caller reads it, so that it is never held whole. */
struct api_source {
	/* Appends a piece, not too large, to '*out'. Returns 1; 0: it was the last one; or a negative errno, which
	 * ends the connection: the caller sees an answer that was cut off. */
	int (*next)(void *ctx, struct bytes *out);
	void (*free)(void *ctx);
	void *ctx;
};

/* 200 with that body, as JSON; the source is taken over. One piece goes out as any answer, more as chunks. */
void api_reply_source(struct api *api, struct api_token token, const struct api_source *source);

/* Adds a group at run time (the coordinator's, when the daemon has that role). At most 4 groups; the
 * table is borrowed. Returns 0 or -ENOBUFS. */
MESH_MUST_USE int api_add_table(struct api *api, const struct api_table *table);

const struct api_backend *api_backend(const struct api *api);
void *api_coord(const struct api *api);

/* The decoded value of a query parameter in 'buf', or null if it is absent, too long, or not UTF-8. */
const char *api_query(const struct api_req *req, const char *name, char *buf, size_t size);
/* Edits run one after the other, each on what the one before left. True: the caller may go on, and the
 * next one waits until its token is answered. False: another is under way; the request is kept and its
 * handler is called again later. */
MESH_MUST_USE bool api_begin_edit(struct api *api, const struct api_req *req);
/* Turns the request into a subscription of the bus with this mask: answers the head now, messages
 * follow until the caller leaves. */
void api_subscribe(struct api *api, struct api_token token, uint64_t mask);
/* Sends a message to one subscriber only (its initial state). */
void api_notify_one(struct api *api, struct api_token token, const struct notify *n);

#endif
