/* SPDX-License-Identifier: MIT */
/* The peer relay as seen from outside: this node's server with its sessions, and the relays this node
 * may use. GET meshd/relay and GET debug-peer-relay-sessions. Spec: cli 6, peer-relay 12. */
#ifndef NETSTACK_WIRE_RELAYINFO_H
#define NETSTACK_WIRE_RELAYINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/ep.h"
#include "base/key.h"

/* One end of a session. Counts are packets and bytes received from it on the data path. */
struct relayinfo_client {
	struct ep ep;        /* unset = no handshake yet */
	char *short_disco;   /* "d:" + 16 hex */
	uint64_t packets;
	uint64_t bytes;
	/* "Meshd" */
	char *name;          /* node name; null = not in the map */
	struct node_key key;
	struct ip ip;        /* tailnet address */
};

struct relayinfo_session {
	uint32_t vni;
	struct relayinfo_client client1, client2; /* in sorted key order */
	/* "Meshd" */
	bool bound;          /* on both sides */
	int64_t age_ms;
	int64_t idle_ms;     /* since the last packet; -1 = none yet */
};

/* One advertised address of the server. */
struct relayinfo_endpoint {
	struct ep ep;
	char *origin;        /* "local", "stun", "portmap", "static" */
};

/* One relay this node may use. */
struct relayinfo_server {
	char *name;
	struct ip ip;
	bool online;
	double latency_ms;   /* 0 = not in use */
	int64_t in_use_by;   /* peers reached through it now */
	char *why_not;       /* why it is not usable; null = usable as far as known */
};

struct relayinfo {
	bool on;                 /* the preference */
	uint16_t port;           /* the preference: 0 = any */
	uint16_t bound_port;     /* 0 = not running */
	bool has_v4, has_v6;
	char *error;             /* why it does not run; null */
	char *firewall_note;     /* what is wrong with the firewall's rule for the port; null */
	char *firewall_hint;     /* the line to type when a firewall is active; null */
	int64_t allowed_peers;   /* peers holding the capability */
	uint64_t packets, bytes; /* forwarded */
	uint64_t bytes_s;        /* bytes a second, over the last seconds */
	int64_t open, connecting;
	struct relayinfo_endpoint *endpoints;
	size_t n_endpoints;
	struct relayinfo_session *sessions; /* sorted by VNI */
	size_t n_sessions;
	struct relayinfo_server *servers;   /* sorted by address */
	size_t n_servers;
};

void relayinfo_wipe(struct relayinfo *r);
/* meshd/relay: everything. */
MESH_MUST_USE int relayinfo_write(struct bytes *out, const struct relayinfo *r, const char *indent);
MESH_MUST_USE int relayinfo_parse(struct relayinfo *r, const char *text, size_t len);
/* debug-peer-relay-sessions: {"UDPPort","Sessions"}. */
MESH_MUST_USE int relayinfo_write_sessions(struct bytes *out, const struct relayinfo *r,
					   const char *indent);
/* Fills 'on', 'port' and the sessions of an empty '*r'. */
MESH_MUST_USE int relayinfo_parse_sessions(struct relayinfo *r, const char *text, size_t len);

#endif
