/* SPDX-License-Identifier: MIT */
/* Inside of the control client, shared by its files and nobody else:
 *
 *   ctlclient.c       life, preferences, what the node tells, outputs, timers
 *   ctlclient_dial.c  streams: key fetch, race of the upgrade, the connection
 *   ctlclient_login.c register, logout
 *   ctlclient_map.c   map stream, lite updates
 *   ctlclient_ping.c  the server's pings
 *   ctlclient_url.c   URLs and fingerprints, without state
 *
 * One connection at most carries HTTP/2 ('conn'); what runs on it are streams of HTTP/2 named by number. */
#ifndef NETSTACK_CONTROL_CTLCLIENT_INT_H
#define NETSTACK_CONTROL_CTLCLIENT_INT_H

#include "base/bytes.h"
#include "control/ctlclient.h"
#include "control/ctlnoise.h"
#include "control/h2.h"
#include "wire/http1.h"

enum {
	CTL_STREAMS = 8,            /* byte streams at one time */
	CTL_KEY_BODY_MAX = 64 << 10, /* control-transport 3 */
	CTL_PATH_MAX = 400,
};

/* All in milliseconds. */
enum {
	CTL_RACE_MS = 500,          /* the TLS attempt starts after this (control-transport 4.4) */
	CTL_DIAL_MS = 10000,        /* a whole dial */
	CTL_KEY_MS = 15000,
	CTL_REQUEST_MS = 60000,     /* register, lite update */
	CTL_WATCHDOG_MS = 120000,   /* without a complete map message (control-messages 7.2) */
	CTL_PING_MS = 15000,
	CTL_LOGOUT_MS = 10000,
	CTL_BACKOFF_UNIT_MS = 10,   /* times n squared ... */
	CTL_BACKOFF_MAX_MS = 30000, /* ... up to this, times 0.5 .. 1.5 */
};

struct ctl_url {
	bool is_https;
	bool has_port;
	uint16_t port;
	char host[CTLCLIENT_HOST_MAX]; /* without brackets */
	char authority[CTLCLIENT_HOST_MAX + 8]; /* as it stood in the URL */
};

enum ctl_kind { CTL_STREAM_NONE, CTL_STREAM_KEY, CTL_STREAM_PLAIN, CTL_STREAM_TLS, CTL_STREAM_CONN, CTL_STREAM_PING };

struct ctl_stream {
	enum ctl_kind kind; /* NONE: free slot */
	uint32_t id;
	struct mono deadline;
	struct http1 *h1;   /* until the upgrade; owned */
	struct bytes body;  /* KEY: of the answer */
	struct ctlnoise noise; /* PLAIN, TLS, CONN */
	struct bytes plain; /* CONN: opened bytes on their way to HTTP/2 */
	bool is_gone;       /* closed by the other side: nothing to close */
	bool upgraded;      /* the 101 was there */
	char path[CTL_PATH_MAX]; /* PING: what to ask for */
};

enum ctl_phase {
	CTL_OFF,  /* stopped */
	CTL_WAIT, /* until 'retry_at' */
	CTL_KEY,  /* asking for the server's key */
	CTL_DIAL, /* racing */
	CTL_UP,   /* HTTP/2 runs */
};

/* One request on the connection whose answer is collected. */
struct ctl_request {
	int32_t stream; /* 0: none */
	uint16_t status;
	int64_t retry_after_s;
	struct mono deadline;
	struct bytes body;
};

struct ctl_out {
	struct ctl_out *next;
	struct ctlclient_out out;
	struct bytes data;
	char host[CTLCLIENT_HOST_MAX];
	struct ctlclient_saved *saved;
	struct netmap *map, *old;
	struct netmap_change change;
};

struct ctlclient {
	const struct env *env;
	struct ctlclient_saved saved;
	struct machine_key machine_pub;
	struct node_key node_pub;

	/* Preferences. */
	struct ctl_url url;
	char url_text[CTLCLIENT_URL_MAX];
	char auth_key[CTLCLIENT_AUTH_KEY_MAX]; /* "" = none; secret */
	bool has_fingerprint;
	uint8_t fingerprint[16];
	bool tls_only, ephemeral;
	bool accept_new_key; /* force_reauth: a changed server key is taken */

	/* Connection. */
	enum ctl_phase phase;
	struct mono retry_at;
	unsigned dial_fails;
	bool check_key;          /* fetch /key although the server's key is stored */
	struct mono tls_at;      /* the TLS attempt starts then; NEVER: none, or it has started */
	struct mono dial_deadline;
	uint32_t next_id;
	struct ctl_stream streams[CTL_STREAMS];
	struct h2 *h2;

	/* Login. */
	bool need_register;
	bool was_member;         /* force_reauth, no verdict yet: the server knew 'old_node', which stays ours if it refuses */
	bool is_resumed;         /* ... and that login was cut off by the end of the last run */
	bool rotated;            /* the node key is new in this login: do not rotate twice */
	bool refused;            /* the server said no: wait for the operator */
	unsigned persist_wait;   /* stores that are under way: keys are not durable yet */
	char auth_url[CTLCLIENT_URL_MAX];
	char followup[CTLCLIENT_URL_MAX];
	char login[CTLCLIENT_TEXT_MAX];
	struct ctl_request reg;
	unsigned login_fails;
	struct mono login_at;    /* not before */
	bool logout;
	struct mono logout_deadline;
	char logout_why[CTLCLIENT_TEXT_MAX]; /* why the server does not know of the last logout; "" = it does */

	/* Map. */
	struct netmap *map;      /* null: none */
	bool is_fresh;           /* 'map' is of this run, not of the cache */
	bool is_live;            /* the running stream gave a map */
	struct ctl_request poll;
	struct mono watchdog;
	unsigned map_fails, not_found;
	struct mono map_at;      /* not before */
	int64_t clock_delta_s;   /* server's clock minus ours */
	bool self_expired;
	struct mono expiry_base; /* time of the last look at the own expiry */

	/* What the server is told. */
	struct hostinfo host;
	struct disco_key disco;
	struct ep endpoints[MAP_ENDPOINTS_MAX];
	uint8_t endpoint_types[MAP_ENDPOINTS_MAX];
	size_t n_endpoints;
	bool tell_dirty;         /* something was set since 'told' was computed */
	bool told_valid;
	uint8_t told[32];        /* hash of what it was told last */
	uint8_t telling[32];     /* hash of what the running lite update tells */
	struct ctl_request lite;
	unsigned lite_fails;
	struct mono lite_at;
	uint8_t last_ping[32];   /* hash of the URL of the last ping */

	/* Status and outputs. */
	enum ctlclient_state state;
	char error[CTLCLIENT_TEXT_MAX];
	bool is_fatal;
	bool status_dirty;
	struct ctl_out *first, **last, *current;
};

/* ctlclient.c */
int64_t ctlclient_now_s(const struct ctlclient *c); /* the server's clock */
struct mono ctlclient_backoff(struct ctlclient *c, struct mono now, unsigned fails);
MESH_PRINTF(3, 4) void ctlclient_error(struct ctlclient *c, bool fatal, const char *fmt, ...);
void ctlclient_no_error(struct ctlclient *c);
void ctlclient_set_state(struct ctlclient *c, enum ctlclient_state state);
/* Queues PERSIST; nothing goes to the server before it is done. */
void ctlclient_save(struct ctlclient *c);
struct ctl_out *ctlclient_queue(struct ctlclient *c, enum ctlclient_out_kind kind);
void ctlclient_unrotate(struct ctlclient *c); /* back to 'old_node', which the server still knows */
void ctlclient_rotate(struct ctlclient *c); /* a new node key; the old one becomes 'old_node' */
void ctlclient_request_wipe(struct ctl_request *r);
/* Text of an error body: printable, one line. */
const char *ctlclient_text(const struct bytes *b, char buf[static CTLCLIENT_TEXT_MAX]);

/* ctlclient_dial.c */
void ctlclient_connect(struct ctlclient *c, struct mono now); /* begins at /key or the race */
void ctlclient_drop(struct ctlclient *c); /* closes every stream, ends what ran on them */
void ctlclient_redial(struct ctlclient *c, struct mono now); /* drop, back off, connect */
struct ctl_stream *ctlclient_open(struct ctlclient *c, struct mono now, enum ctl_kind kind, uint16_t port,
				  enum ctlclient_tls tls, int64_t limit_ms);
void ctlclient_send(struct ctlclient *c, const struct ctl_stream *s, const void *data, size_t size);
void ctlclient_flush(struct ctlclient *c, struct mono now); /* HTTP/2's output onto the wire */
void ctlclient_dial_tick(struct ctlclient *c, struct mono now);
struct mono ctlclient_dial_deadline(const struct ctlclient *c);
/* A request on the connection: stream number, or 0 if it cannot be sent now. */
int32_t ctlclient_ask(struct ctlclient *c, const char *method, const char *path, const char *body, size_t size);

/* ctlclient_login.c */
void ctlclient_login_work(struct ctlclient *c, struct mono now);
void ctlclient_login_answer(struct ctlclient *c, struct mono now);
void ctlclient_login_lost(struct ctlclient *c, struct mono now);
void ctlclient_logout_done(struct ctlclient *c);
/* A new login of a member has failed: it goes on as the member it was. False: there was none. */
bool ctlclient_restore(struct ctlclient *c);

/* ctlclient_map.c */
void ctlclient_map_work(struct ctlclient *c, struct mono now);
void ctlclient_map_data(struct ctlclient *c, struct mono now, const uint8_t *data, size_t size);
void ctlclient_map_end(struct ctlclient *c, struct mono now);
void ctlclient_lite_end(struct ctlclient *c, struct mono now);
void ctlclient_check_expiry(struct ctlclient *c);

/* ctlclient_ping.c */
void ctlclient_ping(struct ctlclient *c, struct mono now, const struct ctl_ping_request *p);

/* ctlclient_url.c: 0, or -EBADMSG with a reason in 'why' (CTLCLIENT_TEXT_MAX bytes; may be null). */
MESH_MUST_USE int ctlclient_url_parse(struct ctl_url *u, const char *text, char *why);
bool ctlclient_url_is_private(const struct ctl_url *u);
/* Path and query of an absolute URL, or null. */
const char *ctlclient_url_path(const char *url);
bool ctlclient_url_same_host(const struct ctl_url *u, const char *url);

#endif
