/* SPDX-License-Identifier: MIT */
/* A control client and a small server made of the server sides of http1, ctlnoise and h2, in memory and in virtual
 * time. What the server does and what it saw are plain fields. */
#ifndef TESTS_UNIT_CTLWORLD_H
#define TESTS_UNIT_CTLWORLD_H

#include "tests/unit/testing.h"

#include "base/mono.h"
#include "control/ctlclient.h"
#include "control/ctlnoise.h"
#include "control/h2.h"
#include "wire/http1.h"

enum { LINKS = 64 };

enum register_mode { REG_OK, REG_ERROR, REG_EXPIRED_ONCE, REG_URL, REG_429, REG_500 };

/* The server's end of one byte stream. */
struct link {
	uint32_t id;
	char host[64];
	uint16_t port;
	enum ctlclient_tls tls;
	bool open;
	struct http1 h1;
	struct ctlnoise noise;
	struct h2 *h2;
	struct bytes plain;
	int32_t map_stream;
};

struct world {
	struct test_env env;
	struct mono now;
	struct ctlclient *c;
	struct machine_priv server;
	struct machine_key server_pub;
	struct link links[LINKS];
	size_t n_links;
	size_t step; /* bytes per input to the client; 0: all */
	/* What the server does. */
	bool refuse_plain, refuse_tls, hold_connect;
	bool no_key;
	enum register_mode mode;
	bool hold_register, hold_logout;
	unsigned map_status; /* 0: 200 */
	bool echo_self;      /* the own node in the map shows what the poll told */
	const char *first_map; /* "%s" gets the node's key */
	/* What was seen. */
	unsigned n_keys, n_upgrades, n_registers, n_polls, n_lites, n_heads, n_pings, n_persists, n_netmaps;
	int32_t reg_stream;
	struct link *conn; /* the newest that speaks HTTP/2 */
	struct ctl_register_request reg; /* the last one */
	char lite[4096], poll[4096], echo[512];
	struct ctlclient_saved saved;
	struct ctlclient_status status;
	char auth_url[256], error[512];
	unsigned change_bits;
	bool logged_out;
	bool hold_persist;
};

/* Setup and teardown of one test; the client has been told a host name and a disco key. */
int ctlworld_setup(void **state);
int ctlworld_teardown(void **state);
/* A new client with what the last one stored; its streams are gone. */
void ctlworld_restart(struct world *w, const struct netmap *cached);
/* The streams opened so far do not count any more. */
void ctlworld_forget_links(struct world *w);
/* Starts the client and carries out what it wants. */
void ctlworld_start(struct world *w, const char *url, const char *key);
/* One framed message on the map stream. */
void ctlworld_push(struct world *w, const char *text, bool zstd);
/* Answers a request of the connection. */
void ctlworld_respond(struct world *w, struct link *l, int32_t stream, unsigned status, const char *body);
/* Carries out what the client wants until it wants nothing. */
void ctlworld_drive(struct world *w);
/* Lets time pass, tick by tick. */
void ctlworld_pass(struct world *w, int64_t ms);

#endif
