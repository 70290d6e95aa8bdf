/* SPDX-License-Identifier: MIT */
/* One message of the bus (GET watch-ipn-bus). Spec: localapi 4. */
#ifndef NETSTACK_WIRE_NOTIFY_H
#define NETSTACK_WIRE_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "wire/prefs.h"
#include "wire/status.h"

/* Bits of 'mask'. */
enum notify_mask {
	NOTIFY_ENGINE = 1 << 0,
	NOTIFY_INITIAL_STATE = 1 << 1,
	NOTIFY_INITIAL_PREFS = 1 << 2,
	NOTIFY_INITIAL_NETMAP = 1 << 3,
	NOTIFY_INITIAL_HEALTH = 1 << 7,
	NOTIFY_RATE_LIMIT = 1 << 8,
	NOTIFY_PEER_CHANGES = 1 << 12,
	NOTIFY_NO_NETMAP = 1 << 13,
	NOTIFY_INITIAL_STATUS = 1 << 14,
	NOTIFY_PEER_PATCHES = 1 << 15,
	NOTIFY_IN_PROCESS = 1 << 16,
};

/* What one message says; everything absent is left out of the JSON. Nothing here is owned: the
 * sender's objects are borrowed for the call. */
struct notify {
	const char *session_id;
	const char *err_message;
	bool login_finished;
	bool has_state;
	enum status_state state;
	const struct prefs *prefs;
	const char *self_change;    /* JSON text of a node */
	const char *net_map;        /* JSON text */
	const char *browse_to_url;  /* null = absent */
	const char *health;         /* JSON text of {"Warnings":{…}} */
	const char *engine;         /* JSON text of the traffic */
	/* JSON texts of lists, and of an object by user id. Whoever takes patches gets 'peers_changed' and
	 * 'peer_patches'; the others get 'peers_changed_all', where patched nodes are whole. */
	const char *peers_changed, *peers_changed_all, *peer_patches, *peers_removed, *user_profiles;
	const struct status *initial_status;
	const char *version;
};

/* Leaves out what a subscriber with this mask did not ask for. Returns false if nothing is left. */
bool notify_reduce(struct notify *n, uint64_t mask);
/* Appends one line: compact JSON and a newline. Returns 0 or a negative errno. */
MESH_MUST_USE int notify_write(struct bytes *out, const struct notify *n);

/* What a code of status.health_codes means to tools; 'code' is the argument, listed or not. */
struct notify_warning {
	const char *code, *severity, *title;
	bool impacts_connectivity;
};
struct notify_warning notify_warning(const char *code);
/* Append the document of notify.health, and of notify.engine ('n_derps' connections to DERP servers are up). Return 0
 * or a negative errno. */
MESH_MUST_USE int notify_health_write(struct bytes *out, const struct status *s);
MESH_MUST_USE int notify_traffic_write(struct bytes *out, const struct status *s, int64_t n_derps);

/* What a reader of the bus needs. */
struct notify_event {
	bool has_state;
	enum status_state state;
	char *err_message;
	char *browse_to_url;
	bool login_finished;
	char *self_key;             /* Key of SelfChange; null = absent */
};

MESH_MUST_USE int notify_parse(struct notify_event *e, const char *text, size_t len);
void notify_event_wipe(struct notify_event *e);

#endif
