/* SPDX-License-Identifier: MIT */
/* Inside of the engine, shared by its files alone:
 *
 *   engine.c        life, poll, deadlines           engine_peer.c   one peer: keys, path, staged packets
 *   engine_queue.c  outputs that wait for poll      engine_disco.c  disco in and out
 *   engine_map.c    control client, map, view       engine_derp.c   DERP, streams of all machines
 *   engine_net.c    own endpoints, netcheck, home   engine_relay.c  relay server and client
 *   engine_portmap.c  port mappings at the gateway
 *   engine_debug.c  disturbances on request
 *   engine_warm.c   session and ladder: of peers in use
 *   engine_status.c, engine_info.c  answers for the local API
 */
#ifndef NETSTACK_ENGINE_INT_H
#define NETSTACK_ENGINE_INT_H

#include "base/heap.h"
#include "base/log.h"
#include "base/map.h"
#include "control/netmap.h"
#include "engine.h"
#include "path/discogate.h"
#include "path/ladder.h"
#include "path/pathself.h"
#include "path/portmapper.h"
#include "policy/hostroutes.h"
#include "relay/derpclient.h"
#include "relay/relayclient.h"
#include "relay/relayserver.h"
#include "wg/device.h"
#include "wg/routes.h"

enum {
	ENGINE_SCRATCH = 9216,     /* largest disco packet handled; larger ones are dropped */
	ENGINE_STREAMS_MAX = 256,
	ENGINE_PINGS_MAX = 64,     /* TSMP and ICMP pings of users in flight */
	ENGINE_PING_S = 5,
	ENGINE_SOCKS_CACHE = 64,
	ENGINE_RELAY_NAMES = 64,
	ENGINE_HEARD_S = 180,      /* an authentic handshake vouches for its address this long */
	ENGINE_HAILS_MAX = 6,      /* endpoints that an initiation goes to when there is no DERP */
	ENGINE_DERP_QUIET_S = 10,  /* a missing home is told after this long: restarts do not flap */
	ENGINE_ACTIVE_S = 45,      /* session activity (path-selection 2) */
	ENGINE_HOME_MS = 500,      /* how long the first choice of a home waits for answers of STUN */
	ENGINE_STUN_MIN_S = 20,    /* periodic report: 20..26 s */
	ENGINE_STUN_SPREAD_S = 6,
	ENGINE_EP_CACHE_S = 310,   /* learned endpoints are announced this long (path-selection 2) */
	ENGINE_EP_CACHE_MAX = 12,
	ENGINE_CHANGE_MAX = 16,    /* peers that come or go before the whole view is told instead */
	ENGINE_CHANGE_ROUTES = 64,
	ENGINE_COOL_S = 300,       /* session and ladder of an idle peer are kept this long */
};

/* Which machine a stream belongs to. */
enum engine_owner { ENGINE_OWNER_CTL, ENGINE_OWNER_DERP, ENGINE_OWNER_NETCHECK };

struct engine_stream {
	uint32_t id;    /* ours; 0 = slot is free */
	uint32_t inner; /* the machine's */
	enum engine_owner owner;
};

struct engine_staged {
	struct engine_staged *next;
	size_t size;
	uint8_t data[];
};

struct epeer {
	int64_t node_id;
	struct peer_id id;
	struct node_key key;
	struct disco_key disco;
	const struct map_node *node; /* borrowed from engine.map */
	/* Made when there is something to do with the peer (ep_session(), ep_ladder(), ep_box()), gone after
	 * ENGINE_COOL_S without: most peers of a large mesh are never spoken to. */
	struct device_peer *dev;
	struct ladder *ladder;
	struct disco_box *box;
	struct mono used;            /* when one of them was last asked for */
	uint8_t seen_stamp[WGMSG_TIMESTAMP_SIZE]; /* of the sessions before; zero = none */
	struct epeer *same_disco;    /* next peer with this disco key */
	struct heap_node timer;      /* of the ladder */
	struct epeer *dirty_next;
	bool is_dirty;
	bool is_usable;              /* not expired: is part of the view */
	bool is_relay;               /* may relay for this node, as of the last look */
	uint32_t advertised;         /* local index of the key pair that our disco key was told on */
	struct engine_staged *staged, *staged_last;
	size_t n_staged;
	struct path_addr rx_path[4]; /* last path of each kind that data came by */
	struct path_addr heard;      /* direct address of its last authentic handshake message ... */
	struct mono heard_at;        /* ... and when; ZERO = never */
	struct ladder_targets targets; /* as published */
	bool has_targets;
	bool in_view;                /* the data plane knows it: paths may be told */
	struct mono path_since;
	struct mono last_sent;       /* data or a user ping */
	uint64_t rx_bytes, tx_bytes;       /* data messages, as the data plane counts them ... */
	uint64_t hs_rx_bytes, hs_tx_bytes; /* ... and handshake messages */
};

/* An output in line; 'data' is a copy. */
struct engine_item {
	struct engine_item *next;
	struct engine_out out;
	void *owned[2]; /* lists of a view or a host; freed with the item */
	struct stream_addr addr;
	struct pingresult ping;
	struct portmapper_job portmap;
	uint8_t data[];
};

struct engine_ping {
	uint64_t id;       /* 0 = free */
	enum pingresult_type type;
	struct ip ip;      /* as asked for */
	uint8_t token[8];  /* comes back in the answer */
	struct mono at;
	int64_t node_id;
};

struct engine_cached_ep {
	struct ep ep;
	uint8_t type;
	struct mono seen;
};

struct engine {
	const struct env *env;
	const struct crypto *crypto;
	struct prefs prefs;
	char *hostname, *os_version, *log_id;
	bool is_ephemeral;
	bool is_started;
	int64_t stamp_floor_ns;

	/* Identity. */
	struct node_key node_key;   /* zero = none yet */
	struct disco_priv disco_priv;
	struct disco_key disco;

	/* Machines. */
	struct ctlclient *ctl;
	struct device device;
	bool has_device;
	struct pathself self;
	struct discogate gate;
	struct derpclient derp;
	struct relayclient relayc;
	struct relayserver relays;
	unsigned n_relay_failures;  /* to bind them, in a row */
	struct mono relay_again_at; /* when its sockets are tried again; NEVER = they stand, or none are wanted */
	struct netcheck *net;       /* from the main sockets */
	struct netcheck *relay_net; /* from the relay's sockets */
	struct portmapper pm;
	unsigned portmap_methods;   /* that the administrator allows */
	struct ep portmap_told;     /* the mapped address that is announced; unset = none */

	/* The map in force. */
	struct netmap *map;         /* null: none */
	struct mono map_at;
	char map_url[CTLCLIENT_URL_MAX];
	bool map_is_cached;
	int64_t expiry_s;           /* next key expiry, wall seconds; 0 = none */
	struct mono expiry_at;

	/* Peers. */
	struct map by_id;           /* node id (int64_t) -> epeer */
	struct map by_key;          /* node key -> epeer */
	struct map by_disco;        /* disco key -> first epeer */
	struct epeer **slots;       /* by peer_id.index; owned */
	size_t n_slots, cap_slots;
	size_t free_slot;           /* no slot before this one is free */
	uint32_t next_gen;
	struct heap timers;
	struct mono cool_at;        /* when to look for idle peers; NEVER = all are cold */
	struct epeer *dirty;
	struct epeer *dirty_last;
	bool view_due;              /* the whole view has to be told, and ... */
	bool host_due;              /* ... all routes of the host; else: */
	struct hostroutes hostroutes; /* what those told last stand for */
	struct engine_change {      /* what came and went since they were told */
		struct peer_id added[ENGINE_CHANGE_MAX], gone[ENGINE_CHANGE_MAX];
		struct routes_entry gone_routes[ENGINE_CHANGE_ROUTES];
		size_t n_added, n_gone, n_gone_routes;
	} change;
	struct routes *routes;      /* of the newest view; the data plane's: read and patched only */
	bool filter_has_caps;       /* its filter depends on which peers there are */
	bool relays_due;            /* a peer that may relay, or may from now on, changed */

	/* The host. */
	uint16_t port4, port6;
	struct ip addrs[ENGINE_ADDRS_MAX];
	size_t n_addrs;
	struct ip public_ips[8];
	size_t n_public;
	uint16_t own_ports[8];
	size_t n_own_ports;
	struct engine_cached_ep cached_eps[ENGINE_EP_CACHE_MAX];
	size_t n_cached_eps;
	uint32_t home;
	struct mono home_lost;      /* since when its connection is missing; NEVER = it is up */
	struct mono home_due;       /* a home is named by then, measured or not; NEVER = there is one */
	struct mono next_stun;
	struct mono next_relay_stun;
	bool netcheck_asked;        /* a user waits */
	bool relay_users_warned;

	/* Streams and outputs. */
	struct engine_stream streams[ENGINE_STREAMS_MAX];
	uint32_t next_stream;
	struct engine_item *first, *last;
	struct engine_item *shown;  /* the item that the last poll gave out */
	bool state_due;
	bool is_locked;             /* tailnet lock is on: stay offline */

	struct engine_ping pings[ENGINE_PINGS_MAX];
	struct {
		struct ep ep;
		uint32_t sock;
	} socks[ENGINE_SOCKS_CACHE]; /* relay socket by which a client was last heard */

	struct {
		struct disco_key server; /* of a relay server ... */
		int64_t node_id;         /* ... that this node told in an allocation */
	} relay_names[ENGINE_RELAY_NAMES];
	unsigned next_relay_name;

	uint64_t path_changes[4][4];
	uint64_t staged_dropped;
	uint64_t recv_bad_peer, recv_bad_key, recv_bad_parse, recv_bad_disco, recv_disco;
	uint64_t sent_disco_udp, sent_disco_derp;
	uint64_t tsmp_disco_sent, tsmp_disco_received, tsmp_disco_applied, tsmp_disco_unchanged;
	uint64_t out_dropped;       /* outputs lost for want of memory */
	uint8_t scratch[ENGINE_SCRATCH];
};

/* engine_queue.c: an empty output in line with room for a copy of 'data' ('size' bytes); null: no memory,
 * counted. Fill it at once. */
struct engine_out *eq_push(struct engine *e, enum engine_out_kind kind, const void *data, size_t size);
/* The same in two steps, for outputs that come together or not at all: eq_add() cannot fail, eq_drop() is for what is
 * not in line (null is allowed). */
struct engine_item *eq_new(struct engine *e, enum engine_out_kind kind, const void *data, size_t size);
void eq_add(struct engine *e, struct engine_item *i);
void eq_drop(struct engine_item *i);
bool eq_pop(struct engine *e, struct engine_out *out);
void eq_wipe(struct engine *e);

/* engine_peer.c */
struct epeer *ep_get(const struct engine *e, struct peer_id id);
struct epeer *ep_by_node(const struct engine *e, int64_t node_id);
struct epeer *ep_by_key(const struct engine *e, const struct node_key *key);
struct epeer *ep_by_disco(const struct engine *e, const struct disco_key *disco);
/* The peer that has the address as its own. */
struct epeer *ep_by_ip(const struct engine *e, const struct ip *ip);
MESH_MUST_USE int ep_add(struct engine *e, struct mono now, const struct map_node *node);
void ep_del(struct engine *e, struct mono now, struct epeer *p);
/* The map's description changed ('bits' of enum netmap_node_bits). */
void ep_update(struct engine *e, struct mono now, struct epeer *p, const struct map_node *node, unsigned bits);
/* A disco key that was proven inside the tunnel; the session stays. */
void ep_set_disco(struct engine *e, struct mono now, struct epeer *p, const struct disco_key *disco);
/* Our own disco key is another one: seals with it, and tells the peer inside the tunnel. */
void ep_own_disco(struct engine *e, struct epeer *p);
/* The ladder was given something: poll it before the engine's next output. */
void ep_touch(struct engine *e, struct epeer *p);
void ep_pump(struct engine *e, struct mono now);
/* The view now has this peer: tells its path, which may be older. */
void ep_in_view(struct engine *e, struct mono now, struct epeer *p);
/* A handshake that the peer has not answered may fare better now: it was heard, or another path is there; or it will
 * soon (HASTEN_ABSENT). */
void ep_hint(struct engine *e, struct mono now, const struct epeer *p, enum hasten_why why);
/* DERP came up or went down: who depends on it? */
void ep_derp_changed(struct engine *e, struct mono now, bool is_up);
void ep_tick(struct engine *e, struct mono now);
/* (Re)creates the device for the own node key and gives every peer a session. */
MESH_MUST_USE int ep_rekey(struct engine *e, struct mono now);
void ep_pump_device(struct engine *e, struct mono now);
/* First address of a node in the family of ours that both have: for capability look-ups. */
bool ep_cap_pair(const struct map_node *src, const struct map_node *dst, struct ip *src_ip, struct ip *dst_ip);

/* engine_warm.c */
/* The peer's session, ladder and sealed box, made if it has none; null: out of memory, or without a key of our own
 * (session), or the peer has told no disco key (box). */
struct device_peer *ep_session(struct engine *e, struct mono now, struct epeer *p);
struct ladder *ep_ladder(struct engine *e, struct mono now, struct epeer *p);
const struct disco_box *ep_box(struct engine *e, struct mono now, struct epeer *p);
void ep_drop_ladder(struct engine *e, struct epeer *p);
void ep_drop_box(struct epeer *p);
/* Tells the ladder, if there is one, what the map says. */
void ep_set_ladder(struct engine *e, struct mono now, struct epeer *p);
/* Takes the session away, and its keys from the data plane. */
void ep_end_session(struct engine *e, struct mono now, struct epeer *p);
/* For the device ('ctx' is the engine): an initiation names this key. */
struct device_peer *ep_find_session(void *ctx, struct mono now, const struct node_key *key);
/* For status: the paths in use and the known addresses, whether there is a ladder or not. */
struct ladder_targets ep_targets(const struct epeer *p, struct mono now);
size_t ep_candidates(const struct engine *e, const struct epeer *p, struct mono now,
		     struct prober_view views[static PROBER_CANDS_MAX]);
/* Takes session and ladder of idle peers away. */
void ep_cool(struct engine *e, struct mono now);

/* engine_disco.c */
void ed_send(struct engine *e, struct mono now, struct epeer *p, const struct path_addr *path,
	     const struct disco_msg *msg);
/* Seals with 'box'; DERP paths go to node 'to'. */
void ed_send_box(struct engine *e, struct mono now, const struct disco_box *box, const struct node_key *to,
		 const struct path_addr *path, bool control, const struct disco_msg *msg);
void ed_input(struct engine *e, struct mono now, const struct path_addr *from, bool control,
	      const struct node_key *derp_src, const uint8_t *data, size_t size);
/* Carries out what the relay client wants to send and offer. */
void ed_pump_relay_client(struct engine *e, struct mono now);

/* engine_derp.c */
/* One output straight from the DERP client (data packets are not copied). */
bool edp_poll(struct engine *e, struct mono now, struct engine_out *out);
uint32_t edp_stream(struct engine *e, enum engine_owner owner, uint32_t inner);
struct engine_stream *edp_find(struct engine *e, uint32_t id);
uint32_t edp_id(const struct engine *e, enum engine_owner owner, uint32_t inner);
void edp_forget(struct engine *e, uint32_t id);

/* engine_map.c */
MESH_MUST_USE int em_new_client(struct engine *e, const struct engine_cfg *cfg);
void em_start(struct engine *e, struct mono now, const char *auth_key, bool force);
void em_pump(struct engine *e, struct mono now);
void em_tick(struct engine *e, struct mono now);
/* For the next view: a peer came; a peer goes (call it before the peer is changed). */
void em_added(struct engine *e, const struct epeer *p);
void em_gone(struct engine *e, const struct epeer *p);
/* Builds and queues the view and the host's wanted state if they are due. */
void em_publish(struct engine *e, struct mono now);
void em_hostinfo(struct engine *e, struct mono now);
/* The control client has a new map; what is different to the old one is in 'change'. */
void em_take_map(struct engine *e, struct mono now, const struct netmap *map,
		 const struct netmap_change *change);

/* engine_net.c */
void en_pump(struct engine *e, struct mono now);
void en_tick(struct engine *e, struct mono now);
void en_start(struct engine *e, struct mono now, bool full);
/* Something was sent to a peer: it is in use, and reports run again. */
void en_sent(struct engine *e, struct mono now, struct epeer *p);
/* Asks STUN servers through the sockets of the relay, which stand. */
void en_start_relay(struct engine *e, struct mono now);
void en_derp_map(struct engine *e, struct mono now, const struct derp_map *map);
/* Works out the own endpoints and tells everybody who needs them. */
void en_endpoints(struct engine *e, struct mono now);
void en_seen_as(struct engine *e, struct mono now, const struct ep *ep);
size_t en_local_eps(const struct engine *e, uint16_t port4, uint16_t port6, struct ep *eps, size_t max);
struct mono en_deadline(const struct engine *e);

/* engine_portmap.c */
void epm_pump(struct engine *e, struct mono now);
/* Ports, preferences or the map changed. */
void epm_update(struct engine *e, struct mono now);
void epm_relay_addrs(struct engine *e);

/* engine_relay.c */
void er_pump(struct engine *e, struct mono now);
void er_tick(struct engine *e, struct mono now);
/* Filter, peers or preferences changed: who may relay for us, and do we relay. */
void er_candidates(struct engine *e, struct mono now, bool is_event);
void er_set(struct engine *e, struct mono now);
void er_addrs(struct engine *e, struct mono now);
void er_alloc_request(struct engine *e, struct mono now, struct epeer *p, const struct disco_msg *msg);
/* Remembers whose relay server has this key, for status. */
void er_learn_server(struct engine *e, const struct disco_key *server, int64_t node_id);
bool er_may_allocate(const struct engine *e, const struct map_node *node);
void er_discover(struct engine *e, struct mono now, struct epeer *p, const struct relay_path *known, size_t n);
bool er_is_target(const struct engine *e, const struct map_node *node);
uint32_t er_sock(const struct engine *e, const struct ep *ep);
void er_learn_sock(struct engine *e, const struct ep *ep, uint32_t sock);


/* engine_status.c, engine_info.c: texts for the local API; what cannot be allocated sets '*bad'. */
const char *es_region_code(const struct engine *e, uint32_t region);
char *es_base_name(const struct map_node *n, bool *bad);
char *es_why_not_direct(const struct engine *e, struct mono now, const struct epeer *p, bool *bad);
/* The node whose relay server a relay path goes through: by its answer to an allocation, else by its
 * endpoints; null: unknown. */
const struct map_node *es_relay_node(const struct engine *e, const struct ladder_targets *t);

#endif
