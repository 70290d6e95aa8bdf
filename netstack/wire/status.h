/* SPDX-License-Identifier: MIT */
/* Status of a node and its peers: GET status, and what `meshctl status`, `ip`, `ping` read.
 * Spec: cli 3.2 (key names and order), localapi 3.1. Times are unix nanoseconds, 0 = never. */
#ifndef NETSTACK_WIRE_STATUS_H
#define NETSTACK_WIRE_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/ep.h"
#include "base/key.h"
#include "wire/json.h"

/* Outer states (localapi 4); the numbers are those of the bus. */
enum status_state {
	STATE_NO_STATE = 0,
	STATE_IN_USE_OTHER_USER = 1,
	STATE_NEEDS_LOGIN = 2,
	STATE_NEEDS_MACHINE_AUTH = 3,
	STATE_STOPPED = 4,
	STATE_STARTING = 5,
	STATE_RUNNING = 6,
};

/* "Running" and so on; "NoState" for unknown numbers. */
const char *status_state_name(enum status_state state);

/* Our own part of a peer ("Meshd"). */
struct status_path {
	char *type;             /* "direct", "peer-relay", "derp", "" = none yet */
	int64_t since_ns;
	double latency_ms;      /* of the path in use; 0 = unknown */
	char *relay_name;       /* node name of the peer relay in use; null = none */
	struct ip relay_ip;
	char *why_not_direct;   /* a sentence; null = it is direct */
};

struct status_peer {
	char *id;               /* stable id */
	int64_t node_id;
	struct node_key key;
	char *host_name;
	char *dns_name;         /* with final dot; "" = none */
	char *os;
	int64_t user_id;
	int64_t alt_sharer_id;
	struct ip *ips;
	size_t n_ips;
	struct prefix *allowed_ips;
	size_t n_allowed_ips;
	char **tags;
	size_t n_tags;
	struct prefix *primary_routes;
	size_t n_primary_routes;
	char **addrs;           /* known endpoints as text */
	size_t n_addrs;
	char *cur_addr;         /* "ip:port" of the direct path, trusted only */
	char *relay;            /* code of the peer's home region */
	char *peer_relay;       /* "ip:port:vni:N", trusted only */
	uint64_t rx_bytes;
	uint64_t tx_bytes;
	int64_t created_ns;
	int64_t last_write_ns;
	int64_t last_seen_ns;
	int64_t last_handshake_ns;
	bool online;
	bool exit_node;         /* we use it as such */
	bool exit_node_option;  /* it offers */
	bool active;            /* we sent something in the last 45 s */
	char **peerapi_urls;
	size_t n_peerapi_urls;
	int32_t taildrop_target;
	char *no_file_sharing_reason;
	char **capabilities;
	size_t n_capabilities;
	char *cap_map;          /* JSON text of an object; null = none */
	char **ssh_host_keys;
	size_t n_ssh_host_keys;
	bool sharee;
	bool in_network_map;
	bool in_magicsock;
	bool in_engine;
	bool expired;
	int64_t key_expiry_ns;
	char *location;         /* JSON text; null = none */
	struct status_path meshd;
};

struct status_user {
	int64_t id;
	char *login_name;
	char *display_name;
	char *profile_pic_url;
};

struct status_tailnet {
	char *name;
	char *magic_dns_suffix;
	bool magic_dns_enabled;
};

struct status_exit_node {
	char *id;
	bool online;
	struct prefix *ips;
	size_t n_ips;
};

struct status_path_counts {
	int64_t direct, peer_relay, derp, idle, offline;
};

struct status_relay_server {
	bool on;
	uint16_t port;          /* bound; 0 = not */
	int64_t sessions;       /* bound on both sides */
	int64_t connecting;
	char *error;            /* why it does not run; null = it does or is off */
};

struct status_meshd {
	int64_t schema_version; /* 1 */
	char *meshd_version;
	char *server;           /* control URL in use */
	struct status_path_counts path_counts;
	struct status_relay_server relay_server;
	bool accept_routes;
	bool control_connected;
	bool netmap_is_cached;  /* from disk: the server was not reached yet */
	uint16_t udp_port;      /* WireGuard and discovery */
	char *tun_name;
};

struct status {
	char *version;
	bool tun;
	char *backend_state;
	bool have_node_key;
	char *auth_url;
	struct ip *ips;
	size_t n_ips;
	struct status_peer *self;           /* null before login */
	struct status_exit_node *exit_node; /* null = unused */
	char **health;
	size_t n_health;
	const char **health_codes;          /* beside 'health', static texts; null when it was parsed */
	char *magic_dns_suffix;
	struct status_tailnet *tailnet;     /* null before login */
	char **cert_domains;
	size_t n_cert_domains;
	struct status_peer *peers;          /* any order; written sorted by key */
	size_t n_peers;
	struct status_user *users;
	size_t n_users;
	struct status_meshd meshd;
};

void status_wipe(struct status *s);
void status_peer_wipe(struct status_peer *p);

/* The peer (or Self) that 'text' names: an address of it, its base name, its full name with or without the final
 * dot, or (after those of all) its host name; names in any case. Null if there is none; 'is_self' may be null. */
const struct status_peer *status_find(const struct status *s, const char *text, bool *is_self);
/* The exit node to suggest (cli 5.6): of the peers that are online, offer to be one and are marked for it by the
 * control server (suggest-exit-node), one with our home DERP region before others, then the first by name. Null: there
 * is none. */
const struct status_peer *status_suggest_exit_node(const struct status *s);
/* Adds one line to the health; 'code' is static. Returns 0 or -ENOMEM. */
MESH_MUST_USE int status_add_health(struct status *s, const char *code, const char *text);
/* JSON with the keys in upstream's order; 'indent' "  " for `status --json`, "\t" for the API. */
MESH_MUST_USE int status_write(struct bytes *out, const struct status *s, const char *indent);
/* The same text in pieces, for when 's' holds no peers because they are many: what stands before them, each of them
 * (in the order of their keys), the rest with 's' as it is by then. Errors are the writer's. */
void status_w_begin(struct json_w *w, const struct status *s);
void status_w_peer(struct json_w *w, const struct status_peer *p);
void status_w_end(struct json_w *w, const struct status *s);
/* Reads into an empty '*s'. Returns 0; -EBADMSG; -ENOMEM. */
MESH_MUST_USE int status_parse(struct status *s, const char *text, size_t len);
/* Drops peers that are not 'active'. */
void status_keep_active(struct status *s);

#endif
