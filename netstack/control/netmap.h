/* SPDX-License-Identifier: MIT */
/* The network map: immutable, reference-counted, made from map messages.
 *
 * netmap_apply(old, message) gives a new map and what changed, or fails and leaves the old one as it was. Maps
 * share everything that did not change: nodes, blocks of 64 peers, the parts (regions, DNS, filter, users), so a
 * change of one peer among 10,000 copies one block and the list of blocks.
 *
 * A first message of a stream is complete: it is applied to the old map with NETMAP_FULL, which takes over from
 * the old map what is equal (so unchanged nodes keep their identity) and nothing else. The change set compares by
 * value, so an identical resend changes nothing.
 *
 * Owner: one thread (counts are not atomic). Pointers into a map live as long as a reference to it.
 * Spec: control-messages 8, 9, 11, 13. */
#ifndef NETSTACK_CONTROL_NETMAP_H
#define NETSTACK_CONTROL_NETMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/key.h"
#include "wire/ctljson.h"
#include "wire/mapdata.h"

struct netmap;

/* What is different in one node. */
enum netmap_node_bits {
	NETMAP_NODE_ADDED = 1 << 0,
	NETMAP_NODE_REMOVED = 1 << 1,
	NETMAP_NODE_KEY = 1 << 2,       /* WireGuard key: drop sessions */
	NETMAP_NODE_DISCO = 1 << 3,     /* another disco key than the one known before */
	NETMAP_NODE_DISCO_NEW = 1 << 4, /* there was none before: no session is affected */
	NETMAP_NODE_ALLOWED = 1 << 5,   /* addresses or allowed IPs: routes */
	NETMAP_NODE_ENDPOINTS = 1 << 6,
	NETMAP_NODE_HOME = 1 << 7,
	NETMAP_NODE_ONLINE = 1 << 8,
	NETMAP_NODE_CAPS = 1 << 9,      /* capability map, tags (cap: sources of the filter) */
	NETMAP_NODE_EXPIRY = 1 << 10,   /* key expiry or the expired mark */
	NETMAP_NODE_OTHER = 1 << 11,    /* name, host information, last seen, ... */
	NETMAP_NODE_FLAGS = 1 << 12,    /* authorized, jailed, WireGuard only, unsigned */
};

struct netmap_node_change {
	int64_t id;
	unsigned bits;               /* enum netmap_node_bits */
	const struct map_node *old;  /* null when ADDED; borrowed from the old map */
	const struct map_node *node; /* null when REMOVED; borrowed from the new map */
};

enum netmap_bits {
	NETMAP_SELF = 1 << 0,
	NETMAP_PEERS = 1 << 1,
	NETMAP_DERP = 1 << 2,
	NETMAP_DNS = 1 << 3,
	NETMAP_FILTER = 1 << 4,
	NETMAP_USERS = 1 << 5,
	NETMAP_DOMAIN = 1 << 6,
	NETMAP_HEALTH = 1 << 7,
	NETMAP_LOCK = 1 << 8, /* tailnet lock was switched */
};

struct netmap_change {
	unsigned bits;      /* enum netmap_bits; 0: nothing */
	unsigned self_bits; /* enum netmap_node_bits of the own node */
	struct netmap_node_change *peers; /* ordered by id */
	size_t n_peers;
	size_t peers_cap;   /* room in 'peers' */
	bool has_moved;     /* a peer that is equal is another object in the new map */
};

enum netmap_mode {
	NETMAP_FULL,  /* first message of a stream: complete, must name the own node */
	NETMAP_DELTA, /* a later one */
};

/* Applies one message to 'old' (null only with NETMAP_FULL). 'now_s' is the wall clock, for LastSeen. Takes the
 * insides of 'msg' that it needs (peers, lists); wipe 'msg' afterwards as always.
 *
 * Returns 0 with '*out' a new reference (the same map, if nothing changed) and '*change' filled (free it with
 * netmap_change_wipe() before the old map is put); -EPROTO: the first message names no own node; -EBADMSG:
 * over MAP_PEERS_MAX peers, or two peers with one key; -ENOMEM. */
MESH_MUST_USE int netmap_apply(const struct netmap *old, struct ctl_map_response *msg, enum netmap_mode mode,
			       int64_t now_s, struct netmap **out, struct netmap_change *change);
void netmap_change_wipe(struct netmap_change *c);
/* What one would have to change in 'old' (null: nothing there) to get 'now'. */
MESH_MUST_USE int netmap_diff(const struct netmap *old, const struct netmap *now, struct netmap_change *change);

struct netmap *netmap_get(const struct netmap *m); /* another reference */
void netmap_put(const struct netmap *m);

/* Never null. */
const struct map_node *netmap_self(const struct netmap *m);
size_t netmap_n_peers(const struct netmap *m);
/* Peers in order of id: start with '*it' = 0; null at the end. */
const struct map_node *netmap_next(const struct netmap *m, size_t *it);
const struct map_node *netmap_peer(const struct netmap *m, int64_t id);
/* By node key; walks all peers. */
const struct map_node *netmap_peer_by_key(const struct netmap *m, const struct node_key *key);
/* The peer or self that has this address as its own; walks all peers. */
const struct map_node *netmap_by_ip(const struct netmap *m, const struct ip *ip);
const struct derp_map *netmap_derp(const struct netmap *m);
const struct dns_config *netmap_dns(const struct netmap *m);
/* The concatenation of all chunks; empty: everything inbound is blocked. */
const struct filter_rules *netmap_filter(const struct netmap *m);
const struct user_profile *netmap_user(const struct netmap *m, int64_t id); /* null: not told */
const char *netmap_domain(const struct netmap *m);
/* Health lines of the server. */
size_t netmap_health(const struct netmap *m, char *const **texts);
/* Is tailnet lock on? We cannot verify it, so the node must then stay offline. */
bool netmap_is_locked(const struct netmap *m);
/* MagicDNS suffix: the own name without its first label and without the final dot; "" if there is none. */
const char *netmap_suffix(const struct netmap *m, char *buf, size_t cap);

/* Is the node past its expiry at 'now_s'? */
bool netmap_node_expired(const struct map_node *n, int64_t now_s);
/* Earliest key expiry after 'now_s' among self and peers, in unix seconds; 0: none. */
int64_t netmap_next_expiry(const struct netmap *m, int64_t now_s);

/* The map as one complete map message, for people; indentation and errors are the writer's. */
void netmap_write(struct json_w *w, const struct netmap *m);
/* The map as one complete map message, for the cache that lets a node start without its server, compressed (a tenth
 * of the text, which is never held whole). Appends to 'out'; returns 0 or -ENOMEM. */
MESH_MUST_USE int netmap_save(const struct netmap *m, struct bytes *out);
/* Reads what netmap_save() wrote, or the plain text. The result is for netmap_apply(NETMAP_FULL). Returns as
 * ctl_map_response_parse(). */
MESH_MUST_USE int netmap_load(const uint8_t *buf, size_t size, struct ctl_map_response *msg);

#endif
