/* SPDX-License-Identifier: MIT */
/* Preferences of a node and edits of them, in memory and in JSON (local API, state database).
 *
 * All keys are upstream's; our own additions are in the object "Meshd". One edit is atomic:
 * prefs_apply() makes the new preferences from the old ones and leaves both untouched on failure.
 * Spec: localapi 3.1, cli 2.1. */
#ifndef NETSTACK_WIRE_PREFS_H
#define NETSTACK_WIRE_PREFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/ep.h"
#include "wire/mapdata.h"

enum prefs_netfilter { PREFS_NETFILTER_OFF = 0, PREFS_NETFILTER_NODIVERT = 1, PREFS_NETFILTER_ON = 2 };

/* Who is logged in: part of the JSON ("Config"), never of an edit, and without private keys. */
struct prefs_login {
	int64_t user_id;
	char *login_name;   /* null = nobody */
	char *display_name;
	char *node_id;      /* stable id */
};

/* Strings may be null, which is "". */
struct prefs {
	char *control_url;
	bool route_all;             /* accept routes */
	char *exit_node_id;         /* stable id of a peer */
	struct ip exit_node_ip;
	char *auto_exit_node;       /* "any" */
	char *internal_exit_node_prior;
	bool exit_node_allow_lan;
	bool corp_dns;              /* accept DNS */
	bool run_ssh;
	bool run_web_client;
	bool want_running;
	bool logged_out;
	bool shields_up;
	char **advertise_tags;
	size_t n_advertise_tags;
	char *hostname;
	bool notepad_urls;
	bool force_daemon;
	bool egg;
	struct prefix *advertise_routes; /* sorted by length, then address */
	size_t n_advertise_routes;
	char **advertise_services;
	size_t n_advertise_services;
	enum tri sync;
	bool no_snat;
	enum tri no_stateful_filtering;
	int32_t netfilter_mode;     /* enum prefs_netfilter */
	char *operator_user;
	char *profile_name;
	bool auto_update_check;
	enum tri auto_update_apply;
	bool app_connector;
	bool posture_checking;
	char *netfilter_kind;
	bool remote_config;
	bool has_relay_port;        /* the relay server is on */
	uint16_t relay_port;        /* 0 = any free port */
	struct ep *relay_endpoints; /* advertised beside the discovered ones; sorted */
	size_t n_relay_endpoints;

	/* "Meshd" */
	struct ep *static_endpoints; /* fixed WireGuard endpoints of this node; sorted */
	size_t n_static_endpoints;
	bool has_stored_relay_port;
	uint16_t stored_relay_port;  /* what --advertise-relay-server switches on again */
	uint16_t bound_relay_port;   /* the port chosen when 'relay_port' is 0; tried again; set by the daemon */

	struct prefs_login login;
};

/* The edited fields of an edit, one bit each. The order is that of the JSON. */
enum prefs_field {
	PREF_CONTROL_URL, PREF_ROUTE_ALL, PREF_EXIT_NODE_ID, PREF_EXIT_NODE_IP, PREF_AUTO_EXIT_NODE,
	PREF_INTERNAL_EXIT_NODE_PRIOR, PREF_EXIT_NODE_ALLOW_LAN, PREF_CORP_DNS, PREF_RUN_SSH,
	PREF_RUN_WEB_CLIENT, PREF_WANT_RUNNING, PREF_LOGGED_OUT, PREF_SHIELDS_UP, PREF_ADVERTISE_TAGS,
	PREF_HOSTNAME, PREF_NOTEPAD_URLS, PREF_FORCE_DAEMON, PREF_EGG, PREF_ADVERTISE_ROUTES,
	PREF_ADVERTISE_SERVICES, PREF_SYNC, PREF_NO_SNAT, PREF_NO_STATEFUL_FILTERING,
	PREF_NETFILTER_MODE, PREF_OPERATOR_USER, PREF_PROFILE_NAME, PREF_AUTO_UPDATE_CHECK,
	PREF_AUTO_UPDATE_APPLY, PREF_APP_CONNECTOR, PREF_POSTURE_CHECKING, PREF_NETFILTER_KIND,
	PREF_REMOTE_CONFIG, PREF_RELAY_PORT, PREF_RELAY_ENDPOINTS,
	PREF_STATIC_ENDPOINTS, /* Meshd */
	PREF_N,
};

#define PREF_BIT(field) (UINT64_C(1) << (field))

struct prefs_edit {
	struct prefs prefs;   /* values of the fields in 'mask' */
	uint64_t mask;        /* PREF_BIT()s */
	enum tri relay_on;    /* --advertise-relay-server: on with the stored port, or off (Meshd.RelayOn) */
};

/* Longest error sentence, with its final NUL. */
enum { PREFS_ERR_MAX = 400 };

/* A new profile's values: DNS on, netfilter on, no stateful filtering, update check on. */
void prefs_defaults(struct prefs *p);
void prefs_wipe(struct prefs *p);
MESH_MUST_USE int prefs_copy(struct prefs *to, const struct prefs *from);
void prefs_edit_wipe(struct prefs_edit *e);
/* Bits of the fields in which the two differ. */
uint64_t prefs_diff(const struct prefs *a, const struct prefs *b);
/* JSON name of a field, e.g. "RouteAll". */
const char *prefs_field_name(enum prefs_field field);

/* A flag whose feature this build lacks and whose value asks for something ("--ssh"), or null. Only
 * fields in 'mask' count. Callers answer "not in this build: FLAG" (cli 0.3). */
const char *prefs_unbuilt(const struct prefs *p, uint64_t mask);
/* The same for fields that somebody named one by one. It also refuses the values of a new profile that ask for
 * something: firewall rules and the translation of sources. Stock clients send those with every edit that names
 * all preferences, so prefs_unbuilt() lets them pass; engine_status() tells when they matter. */
const char *prefs_unbuilt_typed(const struct prefs *p, uint64_t mask);

/* Makes '*next' (empty) = '*old' with the edit applied and checked: relay_on resolved (cli 1), lists
 * sorted and freed of doubles, stored relay port kept. Returns 0; -EINVAL with a sentence in 'err';
 * -ENOMEM. On failure '*next' is empty. */
MESH_MUST_USE int prefs_apply(struct prefs *next, const struct prefs *old, const struct prefs_edit *edit,
			      char err[static PREFS_ERR_MAX]);
/* Checks complete preferences (POST check-prefs). Returns 0, or -EINVAL with a sentence in 'err'. */
MESH_MUST_USE int prefs_check(const struct prefs *p, char err[static PREFS_ERR_MAX]);

/* JSON of all keys in upstream's order. 'indent' as in json_w.indent. Return 0 or a negative errno. */
MESH_MUST_USE int prefs_write(struct bytes *out, const struct prefs *p, const char *indent);
MESH_MUST_USE int prefs_edit_write(struct bytes *out, const struct prefs_edit *e);
/* Read into an empty target; on failure it is empty and 'err' has a sentence. Missing keys have the
 * zero value. An edit of internal fields is refused.
 * Return 0; -EBADMSG; -ENOMEM. */
MESH_MUST_USE int prefs_parse(struct prefs *p, const char *text, size_t len, char err[static PREFS_ERR_MAX]);
MESH_MUST_USE int prefs_edit_parse(struct prefs_edit *e, const char *text, size_t len,
				   char err[static PREFS_ERR_MAX]);

#endif
