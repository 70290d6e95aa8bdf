/* SPDX-License-Identifier: MIT */
/* One node without I/O: introduces the machines to each other.
 *
 *   control/ctlclient ──map──► peers: wg/device + path/ladder ──path, keys──► data plane
 *   path/netcheck ──report──► home region, own endpoints ──► ctlclient, ladders
 *   relay/derpclient ◄──packets──► disco, handshakes, data without a better path
 *   relay/relayclient ──offer──► ladder        relay/relayserver ──entries──► data plane
 *
 * The engine carries the output of one machine to the input of another and holds no protocol rule of its own.
 * The daemon (act.c) and the simulator (tests/sim) feed it events and carry out what engine_poll() gives,
 * in order. Everything that is pointed at in an output lives until the next engine_poll().
 *
 * After each batch of inputs: engine_poll() until it returns false, then arm a timer for engine_deadline().
 * Control thread only. */
#ifndef NETSTACK_ENGINE_H
#define NETSTACK_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/env.h"
#include "base/ep.h"
#include "base/key.h"
#include "base/mono.h"
#include "control/ctlclient.h"
#include "path/netcheck.h"
#include "wire/apijson.h"
#include "wire/mapdata.h"
#include "wire/pathaddr.h"
#include "wire/peerid.h"
#include "wire/streamaddr.h"

struct crypto;
struct engine;
struct filter;
struct keypair;
struct portmapper_job;
struct portmapper_result;
struct relayserver;
struct routes;

enum {
	ENGINE_ADDRS_MAX = 64,   /* addresses of the host that are looked at */
	ENGINE_STAGED_MAX = 128, /* packets per peer that wait for a key */
	ENGINE_TARGETS_MAX = 2,
	ENGINE_ERR_MAX = 320,
};

/* Local sockets, as in daemon/dp.h: the main ones, or one of the relay's. */
enum { ENGINE_SOCK_MAIN = 0, ENGINE_SOCK_RELAY = 1 };

struct engine_cfg {
	const struct env *env;              /* borrowed for the engine's life */
	const struct crypto *crypto;        /* borrowed for the engine's life */
	const struct prefs *prefs;          /* copied */
	const struct ctlclient_saved *saved; /* identity of the last run; null = first start */
	const void *cached_map;             /* map of the last run, as engine_save_map() gave it; null = none */
	size_t cached_map_size;
	int64_t stamp_floor_ns;             /* as ENGINE_PERSIST_FLOOR gave it */
	const char *hostname;               /* of the system */
	const char *os_version;
	const char *log_id;                 /* BackendLogID: 64 hex digits, persistent */
	bool is_ephemeral;                  /* no state is kept: ask the server to forget this node */
	unsigned portmap_methods;           /* bits of enum portmapper_method that may be used; 0 = none */
	uint32_t relay_sessions_max;        /* of our relay server; 0 = RELAYSERVER_LIVE_MAX */
	/* What it forwards itself; the packet workers have limits of their own (daemon/dp.h). 0 = unlimited. */
	uint64_t relay_bytes_per_s, relay_session_bytes_per_s;
};

/* --- outputs ------------------------------------------------------------------------------------------ */

enum engine_out_kind {
	/* Datagram 'data' to 'to' (DIRECT or RELAY) from socket 'sock'. For RELAY the Geneve header with
	 * 'geneve_proto' and 'geneve_control' goes in front. Failures: engine_send_failed(). */
	ENGINE_SEND,
	/* Publish 'view'. Ownership of routes and filter moves to the taker, who keeps the routes until the next view
	 * is told (also if it can't publish them). */
	ENGINE_VIEW,
	/* Packets to 'peer' go to 'targets' (0..2, each gets a copy). */
	ENGINE_PATH,
	ENGINE_KEY_INSTALL, /* 'kp' of 'peer' opens from now on; ownership moves */
	ENGINE_KEY_USE,     /* 'peer' seals with 'local_index' */
	ENGINE_KEY_DROP,    /* forget 'local_index' */
	ENGINE_INJECT,      /* seal plaintext 'data' (size 0: keepalive) for 'peer' and send it */
	ENGINE_DERP_IN,     /* WireGuard data message 'data' came by DERP region 'region' */
	ENGINE_OPEN,        /* connect 'stream' to '*addr': engine_opened(), _stream_input(), _closed() */
	ENGINE_STREAM_SEND, /* all of 'data' on 'stream' */
	ENGINE_STREAM_READY, /* 'stream' has bytes: engine_take() until 0, or until it has no room */
	ENGINE_STREAM_CLOSE, /* after what was sent; no event follows */
	ENGINE_RESOLVE,     /* ask DNS for 'name': engine_resolved() */
	/* The relay's sockets on 'port' (0 = any) if 'is_on', else none; then engine_relay_bound() if on. */
	ENGINE_RELAY_SOCKETS,
	ENGINE_RELAY_SET,   /* forward 'vni' between side[0] and side[1] */
	ENGINE_RELAY_DEL,
	ENGINE_HOST,        /* wanted addresses, routes and state of our interface: 'host' */
	ENGINE_PERSIST,     /* store 'saved' durably, then engine_persisted() */
	ENGINE_PERSIST_FLOOR, /* store 'stamp_floor_ns' */
	ENGINE_PERSIST_MAP, /* the map changed if 'is_on': store engine_save_map() soon; else forget it */
	ENGINE_STATE,       /* outer state, health or login URL changed: engine_state() */
	ENGINE_PORTMAP,     /* ask the gateway 'portmap', then engine_portmap_done() */
	ENGINE_PING_RESULT, /* 'ping' with id 'ping_id' is finished */
	ENGINE_NETCHECK_DONE, /* engine_netreport() is new */
	ENGINE_LOGGED_OUT,  /* 'name': why the server could not be told; "" = it was */
};

struct engine_view_peer {
	struct peer_id id;
	bool is_wg_only;
	bool is_jailed;
};

struct engine_view {
	/* Not the whole view but what is different: 'peers' come, 'gone' go, 'routes' is the next version, the filter
	 * stays. */
	bool is_change;
	const struct engine_view_peer *peers;
	size_t n_peers;
	const struct peer_id *gone;
	size_t n_gone;
	struct routes *routes;
	struct filter *filter;
};

struct engine_relay_side {
	struct ep ep;
	uint32_t sock; /* where its packets come in */
};

struct engine_host {
	bool is_up;
	const struct prefix *addrs; /* own tailnet addresses */
	size_t n_addrs;
	const struct prefix *routes; /* into the tunnel */
	size_t n_routes;
	/* Not the whole state but what is different: 'routes' come, 'gone' go, all else stays. */
	bool is_change;
	const struct prefix *gone;
	size_t n_gone;
};

struct engine_out {
	enum engine_out_kind kind;
	struct peer_id peer;
	struct path_addr to;
	uint16_t geneve_proto;
	bool geneve_control;
	uint32_t sock;
	const uint8_t *data;
	size_t size;
	struct path_addr targets[ENGINE_TARGETS_MAX];
	size_t n_targets;
	struct keypair *kp;
	uint32_t local_index;
	uint32_t region;
	uint32_t stream;
	const struct stream_addr *addr;
	const char *name;           /* RESOLVE */
	bool is_on;                 /* RELAY_SOCKETS, PERSIST_MAP */
	uint16_t port;
	uint32_t vni;
	struct engine_relay_side side[2];
	struct engine_view view;
	struct engine_host host;
	const struct ctlclient_saved *saved;
	int64_t stamp_floor_ns;
	const struct portmapper_job *portmap;
	uint64_t ping_id;
	const struct pingresult *ping;
};

/* Returns null when out of memory. Nothing happens before engine_start(). */
struct engine *engine_new(const struct engine_cfg *cfg, struct mono now);
void engine_free(struct engine *e);

/* Begins: uses the cached map, connects to the control server if the preferences want that. 'auth_key' may be
 * null. */
void engine_start(struct engine *e, struct mono now, const char *auth_key);
/* The node is about to end: connections close, keys go. Poll once more, then free. */
void engine_stop(struct engine *e, struct mono now);
bool engine_poll(struct engine *e, struct mono now, struct engine_out *out);
struct mono engine_deadline(const struct engine *e);
void engine_tick(struct engine *e, struct mono now);

/* --- what the host is --------------------------------------------------------------------------------- */

/* Port of the main UDP socket per family (0 = none). */
void engine_set_ports(struct engine *e, struct mono now, uint16_t port4, uint16_t port6);
/* Usable addresses of the host (no loopback, none of ours), as they are now. 'is_major': the default route or
 * its addresses changed: paths must prove themselves anew, streams are checked. */
void engine_set_addrs(struct engine *e, struct mono now, const struct ip *addrs, size_t n, bool is_major);
/* Addresses by which the host is reached although no interface has them (coordinator's URL behind one-to-one
 * NAT). They are announced with the WireGuard and the relay port. */
void engine_set_public(struct engine *e, struct mono now, const struct ip *addrs, size_t n);
/* The IPv4 default gateway and our address on its network (unset = none): it may map ports for us. */
void engine_set_gateway(struct engine *e, struct mono now, const struct ip *gateway, const struct ip *self);
/* Other UDP ports this host listens on: the relay never forwards to them. */
void engine_set_own_ports(struct engine *e, const uint16_t *ports, size_t n);

/* --- packets ------------------------------------------------------------------------------------------ */

/* A WireGuard message of type 1..3, bare, from 'from'. */
void engine_input_handshake(struct engine *e, struct mono now, const struct path_addr *from,
			    const uint8_t *data, size_t size);
/* A disco packet, bare; 'control': behind a Geneve header with the control bit. */
void engine_input_disco(struct engine *e, struct mono now, const struct path_addr *from, bool control,
			const uint8_t *data, size_t size);
void engine_input_stun(struct engine *e, struct mono now, uint32_t sock, const struct ep *from,
		       const uint8_t *data, size_t size);
/* A whole datagram with its Geneve header, for our relay server. */
void engine_input_geneve(struct engine *e, struct mono now, uint32_t sock, const struct ep *from,
			 const uint8_t *data, size_t size);
/* Plaintext packet to 'peer' that found no usable key: is staged, a handshake starts. */
void engine_input_want(struct engine *e, struct mono now, struct peer_id peer, const uint8_t *data,
		       size_t size);
/* Sealed packet to 'peer', to go by DERP 'region'. */
void engine_input_derp_out(struct engine *e, struct mono now, struct peer_id peer, uint32_t region,
			   const uint8_t *data, size_t size);
/* Inner packet of protocol 99 from 'peer', or its answer to an ICMP echo of engine_ping(). */
void engine_input_tsmp(struct engine *e, struct mono now, struct peer_id peer, const struct path_addr *path,
		       const uint8_t *data, size_t size);
/* A key pair of 'peer' saw traffic: its counters are worth reading. */
void engine_input_key(struct engine *e, struct mono now, struct peer_id peer);
/* Authentic data of 'peer' now arrives by 'path'. */
void engine_input_rx_path(struct engine *e, struct mono now, struct peer_id peer, const struct path_addr *path);
/* Summary of a peer's traffic since the last one. */
struct engine_activity {
	uint64_t tx_bytes, rx_bytes;
	bool sent, sent_data;
	bool received[4]; /* by enum path_kind */
};
void engine_input_activity(struct engine *e, struct mono now, struct peer_id peer,
			   const struct engine_activity *a);
/* Peers one after the other: start with '*it' = 0; false at the end. */
bool engine_next_peer(const struct engine *e, size_t *it, struct peer_id *id);
/* The data plane's own totals of a peer, fresher than the last summary. */
void engine_set_totals(struct engine *e, struct peer_id peer, uint64_t rx_bytes, uint64_t tx_bytes);
/* A datagram to 'to' could not be sent: 'err' is the negative errno. */
void engine_send_failed(struct engine *e, struct mono now, const struct path_addr *to, int err);

/* --- streams ------------------------------------------------------------------------------------------ */

void engine_opened(struct engine *e, struct mono now, uint32_t stream, const struct stream_info *info);
void engine_stream_input(struct engine *e, struct mono now, uint32_t stream, const uint8_t *data, size_t size);
/* Failed or ended; the stream is gone. */
void engine_closed(struct engine *e, struct mono now, uint32_t stream, const char *reason);
size_t engine_take(struct engine *e, struct mono now, uint32_t stream, uint8_t *buf, size_t size);
void engine_resolved(struct engine *e, struct mono now, const char *name, const struct ip *ip4,
		     const struct ip *ip6);

/* The view of the last ENGINE_VIEW could not be published. After a change the whole view follows. */
void engine_view_failed(struct engine *e, bool is_change);

/* --- answers of the daemon ---------------------------------------------------------------------------- */

void engine_persisted(struct engine *e, struct mono now);
void engine_portmap_done(struct engine *e, struct mono now, const struct portmapper_result *r);
void engine_relay_bound(struct engine *e, struct mono now, int err, uint16_t port4, uint16_t port6);
/* Forwarded by the workers since the last report, from side 'from' of 'vni'. */
void engine_relay_used(struct engine *e, uint32_t vni, unsigned from, struct mono seen, uint64_t pkts,
		       uint64_t bytes);
/* The relay server, for reading (sessions, counters). */
const struct relayserver *engine_relay(const struct engine *e);

/* --- commands ----------------------------------------------------------------------------------------- */

/* Takes new preferences; 'changed' are the PREF_BITs that differ. The relay's port must have been tried
 * before: failures of binding show in status only. Returns 0; -EBADMSG: the control URL is unusable ('why');
 * -ENOMEM. On failure nothing changed. */
MESH_MUST_USE int engine_set_prefs(struct engine *e, struct mono now, const struct prefs *next,
				   uint64_t changed, char why[static ENGINE_ERR_MAX]);
/* Log in (again): with an auth key, or null for interactive. 'force_reauth': a new node key. */
MESH_MUST_USE int engine_login(struct engine *e, struct mono now, const char *auth_key, bool force_reauth,
			       char why[static ENGINE_ERR_MAX]);
void engine_logout(struct engine *e, struct mono now);
/* ENGINE_PING_RESULT with 'id' follows. Returns 0, or -EINVAL with the reason: nothing follows. */
MESH_MUST_USE int engine_ping(struct engine *e, struct mono now, uint64_t id, const struct ip *ip,
			      enum pingresult_type type, size_t size, char why[static ENGINE_ERR_MAX]);
/* A fresh report; ENGINE_NETCHECK_DONE follows. */
void engine_netcheck(struct engine *e, struct mono now);
/* Gathers endpoints anew; 'rebind' also takes the network for changed. */
void engine_restun(struct engine *e, struct mono now, bool rebind);

/* A new disco key: told to the control server and, inside the tunnel, to every peer with a session. */
void engine_rotate_disco(struct engine *e, struct mono now);
/* Ends all DERP connections (the control connection too) as a failing network would; they come back. */
void engine_break_streams(struct engine *e, struct mono now, bool with_control);
/* Another home region than now, until the next report. -ENOENT: there is no other. */
MESH_MUST_USE int engine_pick_derp(struct engine *e, struct mono now);
/* The complete map, anew. */
void engine_refetch_map(struct engine *e, struct mono now);

/* --- views -------------------------------------------------------------------------------------------- */

struct engine_state {
	enum status_state state;
	const char *auth_url; /* "" if none */
	const char *error;    /* "" or the sentence of the control client */
	bool is_fatal;
	bool is_live;         /* connected to the control server */
};
struct engine_state engine_state(const struct engine *e);
const struct prefs *engine_prefs(const struct engine *e);
const struct netmap *engine_netmap(const struct engine *e); /* null: none */
/* The map for engine_cfg.cached_map of the next start ('*size' bytes; the caller frees), and the server that it is of
 * ('*url', borrowed). Null: there is no map, or out of memory. Costs milliseconds for a large map. */
MESH_MUST_USE void *engine_save_map(const struct engine *e, const char **url, size_t *size);
struct node_key engine_node_key(const struct engine *e);
/* True: the preference cannot take effect because the server switched relaying off for this node. */
bool engine_relay_disabled(const struct engine *e);

/* Fill empty structs; the caller wipes. Return 0, -ENOMEM, -ENOENT (path: no such peer). */
MESH_MUST_USE int engine_status(const struct engine *e, struct mono now, bool peers, struct status *s);
/* For a status of many peers, one after the other: a fresh list of their node ids in the order of their keys. */
MESH_MUST_USE int engine_status_ids(const struct engine *e, int64_t **ids, size_t *n);
/* Fills an empty '*p' with that peer; counts its path and adds its user in 's', which engine_status() filled without
 * peers. Returns 0; -ENOENT: it has gone; -ENOMEM. */
MESH_MUST_USE int engine_status_peer(const struct engine *e, struct mono now, int64_t id, struct status *s,
				     struct status_peer *p);
MESH_MUST_USE int engine_relayinfo(const struct engine *e, struct mono now, struct relayinfo *r);
MESH_MUST_USE int engine_pathinfo(const struct engine *e, struct mono now, const struct ip *ip,
				  struct pathinfo *p);
MESH_MUST_USE int engine_netreport(const struct engine *e, struct netreport *r);

/* DERP connections that are up. */
int64_t engine_n_derps(const struct engine *e);

/* Figures for metrics. */
struct engine_figures {
	uint64_t peers_by[4];        /* active peers by enum path_kind of their path */
	uint64_t peers_idle, peers_offline;
	uint64_t path_changes[4][4]; /* [from][to] by enum path_kind */
	uint32_t home_derp;
	uint64_t advertised_routes, approved_routes;
	bool control_connected;
	int64_t netmap_age_s;        /* -1 = no map */
	int64_t key_expiry_s;
	uint64_t staged_dropped;
};
void engine_figures(const struct engine *e, struct mono now, struct engine_figures *f);
/* Named internal counters, for GET metrics: calls 'fn' for each. */
void engine_counters(const struct engine *e, void (*fn)(void *ctx, const char *name, uint64_t value), void *ctx);

#endif
