/* SPDX-License-Identifier: MIT */
/* The control client: from a URL to a network map that stays current.
 *
 *   /key  ->  trust check  ->  upgrade + Noise  ->  HTTP/2  ->  register (if needed)  ->  map stream
 *
 * It needs several byte streams at the same time (key fetch, plain and TLS attempt of the upgrade, ping answers)
 * and knows no socket: it emits CTLCLIENT_OPEN and is told connected, failed, bytes, closed.
 *
 *   state            meaning                                              leaves by
 *   STOPPED          no URL, or stopped                                   ctlclient_start()
 *   STARTING         connecting or registering, no map of this run yet    map, refusal
 *   NEEDS_LOGIN      'auth_url' is to be visited, or a key is needed      approval, ctlclient_start()
 *   NEEDS_AUTH       registered, an administrator must approve            new own node in the map
 *   RUNNING          a map is in force ('is_live': its stream is up)      expiry, logout, stop
 *
 * Trust: over https the key fetch checks the certificate. An auth key that ends in '-' and 32 hex digits names
 * the server's key (first 16 bytes of its SHA-256): it must match at first contact, and the certificate is then
 * not needed. The first accepted key is stored with its URL; a changed one is refused until 'force_reauth'.
 *
 * Fast start: with a stored server key and a registered node key there is no key fetch and no register request,
 * and one map request carries host information, disco key and endpoints. Lite updates go out only when
 * something differs from what the server was told last.
 *
 * Keys are durable before they are used: after each CTLCLIENT_OUT_PERSIST no request goes to the server until
 * ctlclient_persisted() was called for it.
 *
 * Owner: control thread. Spec: control-transport 3, 4, 8; control-messages 2..12. */
#ifndef NETSTACK_CONTROL_CTLCLIENT_H
#define NETSTACK_CONTROL_CTLCLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "base/key.h"
#include "base/mono.h"
#include "control/netmap.h"
#include "wire/mapdata.h"

struct env;
struct ctlclient;

/* What our client announces in all four places (control-messages 3). */
#define CTLCLIENT_VERSION 131

enum {
	CTLCLIENT_URL_MAX = 512,
	CTLCLIENT_HOST_MAX = 256,
	CTLCLIENT_AUTH_KEY_MAX = 512,
	CTLCLIENT_TEXT_MAX = 320,
};

/* What must survive a restart. Secret: wipe it. */
struct ctlclient_saved {
	struct machine_priv machine;  /* zero: made by ctlclient_new() */
	struct node_priv node;        /* zero: none yet */
	struct node_priv old_node;    /* zero: none; the key before a rotation that is not confirmed yet */
	bool registered;              /* the server knows 'node' */
	struct machine_key server;    /* zero: never met */
	char url[CTLCLIENT_URL_MAX];  /* the server that 'server' and 'registered' belong to */
};

struct ctlclient_prefs {
	const char *url;      /* "https://host[:port]" or "http://host[:port]" */
	const char *auth_key; /* "" or null: none. Copied, and wiped when it was used or on stop */
	bool force_reauth;    /* register anew with a new node key, accept a changed server key */
	bool tls_only;        /* never try plain HTTP */
	bool ephemeral;       /* ask the server to forget this node when it leaves */
};

enum ctlclient_state {
	CTLCLIENT_STOPPED,
	CTLCLIENT_STARTING,
	CTLCLIENT_NEEDS_LOGIN,
	CTLCLIENT_NEEDS_AUTH,
	CTLCLIENT_RUNNING,
};

enum ctlclient_tls {
	CTLCLIENT_PLAIN,
	CTLCLIENT_TLS_VERIFY,    /* certificate and name must be valid */
	CTLCLIENT_TLS_NO_VERIFY, /* something inside authenticates the server */
};

struct ctlclient_status {
	enum ctlclient_state state;
	bool is_live;         /* the map stream is up and gave a map */
	const char *auth_url; /* NEEDS_LOGIN: "" if a key must be given instead */
	const char *error;    /* "" or one sentence: why it does not go on, last refusal of the server */
	bool is_fatal;        /* 'error' does not go away by waiting: the operator must act */
	const char *login;    /* the user's login name, as the server told */
};

enum ctlclient_out_kind {
	CTLCLIENT_OUT_OPEN,    /* open a stream: id, host, port, tls */
	CTLCLIENT_OUT_SEND,    /* send all of data on a stream */
	CTLCLIENT_OUT_CLOSE,   /* close a stream, after what was sent before; no event follows */
	CTLCLIENT_OUT_PERSIST, /* store 'saved', then call ctlclient_persisted() */
	CTLCLIENT_OUT_STATUS,  /* 'status' is new */
	CTLCLIENT_OUT_NETMAP,  /* 'map' is in force, 'change' says what is different */
	CTLCLIENT_OUT_LOGOUT,  /* the logout is done, or given up after 10 s: the node key is gone either way */
};

/* Everything that is pointed at is borrowed until the next call on this client. */
struct ctlclient_out {
	enum ctlclient_out_kind kind;
	uint32_t id;               /* stream; never reused */
	const char *host;          /* name or address literal (IPv6 without brackets) */
	uint16_t port;
	enum ctlclient_tls tls;
	const uint8_t *data;
	size_t size;
	const struct ctlclient_saved *saved;
	struct ctlclient_status status;
	const struct netmap *map;  /* take a reference to keep it */
	const struct netmap_change *change;
};

/* 'saved' (null: first start ever) is copied; 'cached' (may be null) is the map of the last run, of which a
 * reference is taken: the first map of this run is compared with it. Nothing happens before
 * ctlclient_start(). Null: out of memory. */
MESH_MUST_USE struct ctlclient *ctlclient_new(const struct ctlclient_saved *saved, const struct netmap *cached,
					      const struct env *env);
void ctlclient_free(struct ctlclient *c);

/* Connects, or reconnects with other preferences. Returns 0; -EBADMSG: the URL or the auth key is not usable
 * ('why', may be null, gets CTLCLIENT_TEXT_MAX bytes of reason); the client goes on as before then. */
MESH_MUST_USE int ctlclient_start(struct ctlclient *c, struct mono now, const struct ctlclient_prefs *prefs,
				  char *why);
/* Checks preferences without using them. */
MESH_MUST_USE int ctlclient_check(const struct ctlclient_prefs *prefs, char *why);
/* Closes all streams. The map stays as the base of the next start. */
void ctlclient_stop(struct ctlclient *c, struct mono now);
/* Tells the server to expire this node, then forgets node key and map and stops. */
void ctlclient_logout(struct ctlclient *c, struct mono now);
/* After CTLCLIENT_OUT_LOGOUT: why the server could not be told; "" = it was, or there was nothing to tell. */
const char *ctlclient_logout_why(const struct ctlclient *c);
/* The keys of one CTLCLIENT_OUT_PERSIST are durable; called once for each, in order. */
void ctlclient_persisted(struct ctlclient *c, struct mono now);
/* The network changed: connects anew at once, without waiting for a back-off. */
void ctlclient_relink(struct ctlclient *c, struct mono now);

/* What the server is told about this node. Each compares with what it had; a real change goes out with the
 * next ctlclient_poll(). All copy. Endpoints beyond MAP_ENDPOINTS_MAX are left out. */
MESH_MUST_USE int ctlclient_set_host(struct ctlclient *c, struct mono now, const struct hostinfo *host);
void ctlclient_set_home(struct ctlclient *c, struct mono now, uint32_t derp_region);
void ctlclient_set_disco(struct ctlclient *c, struct mono now, const struct disco_key *disco);
void ctlclient_set_endpoints(struct ctlclient *c, struct mono now, const struct ep *eps, const uint8_t *types,
			     size_t n);

/* Stream events. Unknown ids are ignored (the stream was closed meanwhile). After closed, which also
 * tells that a stream could not be opened, it is gone without a CTLCLIENT_OUT_CLOSE. 'reason' is a short text for
 * messages. */
void ctlclient_connected(struct ctlclient *c, struct mono now, uint32_t id);
void ctlclient_input(struct ctlclient *c, struct mono now, uint32_t id, const uint8_t *buf, size_t size);
void ctlclient_closed(struct ctlclient *c, struct mono now, uint32_t id, const char *reason);

bool ctlclient_poll(struct ctlclient *c, struct mono now, struct ctlclient_out *out);
struct mono ctlclient_deadline(const struct ctlclient *c);
void ctlclient_tick(struct ctlclient *c, struct mono now);

/* Views, borrowed. */
struct ctlclient_status ctlclient_status(const struct ctlclient *c);
const struct ctlclient_saved *ctlclient_saved(const struct ctlclient *c);
const struct netmap *ctlclient_netmap(const struct ctlclient *c); /* null: none */
struct node_key ctlclient_node_key(const struct ctlclient *c); /* zero: none yet */
const struct node_priv *ctlclient_node_priv(const struct ctlclient *c);

/* Server fingerprint at the end of an auth key: true and 16 bytes if it has one (coordinator 4). */
bool ctlclient_key_fingerprint(const char *auth_key, uint8_t fp[static 16]);

#endif
