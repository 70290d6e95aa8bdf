/* SPDX-License-Identifier: MIT */
/* WireGuard of one node: its static key, its peers, and the front door for handshake messages.
 *
 * The owner hands over every message of type 1, 2 and 3 with its source and the time; the device
 * checks mac1 first, answers with a cookie under load, limits the rate per source, finds the peer
 * by static key or receiver index and lets its session decide. Data messages (type 4) never come
 * here: workers open them with the key pairs that the device hands out.
 *
 *   device_input()      a handshake message                  ┐
 *   device_want()       a worker has a packet and no key     ├─► device_poll() until false
 *   device_activity()   a worker's note about a peer         │
 *   device_hint()       the peer can be reached, or cannot   │
 *   device_tick()       when device_deadline() is reached    ┘
 *
 * Control thread. Spec: WireGuard paper; path-selection 9 and 16; RELIABILITY 5. */
#ifndef NETSTACK_WG_DEVICE_H
#define NETSTACK_WG_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/heap.h"
#include "base/key.h"
#include "base/map.h"
#include "base/mono.h"
#include "wg/cookie.h"
#include "wg/crypto.h"
#include "wg/hasten.h"
#include "wg/index.h"
#include "wg/noise.h"
#include "wg/ratelimit.h"
#include "wg/session.h"
#include "wire/pathaddr.h"

struct env;

enum { DEVICE_PEERS_MAX = 100000, DEVICE_LOAD_HOLD_MS = 1000, DEVICE_REPLIES_MAX = 64 };

/* Load by rate: handshake messages with a right mac1 fill an imagined queue that is served one in a
 * millisecond, which is an eighth of a core; beyond DEVICE_LOAD_QUEUE of them the device is under
 * load, as the reference is at 1/8 of its queue of 1024 (RELIABILITY 5). */
enum { DEVICE_SERVICE_US = 1000, DEVICE_LOAD_QUEUE = 128 };

/* One peer of the device. Created by device_add(), addressed by this pointer until device_del(). */
struct device_peer {
	struct session session;
	void *owner; /* the caller's, from device_add() */
	struct heap_node timer;
	struct device_peer *dirty_next; /* has outputs to poll */
	bool is_dirty;
	bool heard; /* a handshake message from it proved authentic and HEARD is not yet polled */
	struct path_addr heard_from;
	size_t heard_size; /* bytes of them since the last HEARD */
};

/* Every drop has a reason. */
struct device_counters {
	uint64_t rx_initiations, rx_responses, rx_cookie_replies; /* accepted */
	uint64_t tx_initiations, tx_responses, tx_cookie_replies;
	uint64_t drop_malformed; /* no handshake message */
	uint64_t drop_mac1;
	uint64_t drop_mac2; /* under load, wrong or missing: a cookie reply went out instead */
	uint64_t drop_rate; /* under load, more than 20/s from one source */
	uint64_t drop_unknown_peer; /* an initiation by a static key that is not in the map */
	uint64_t drop_unknown_index;
	uint64_t drop_auth;   /* failed authentication behind mac1 */
	uint64_t drop_replay; /* initiation stamp not newer */
	uint64_t drop_flood;  /* known peer, more than 50/s */
	uint64_t drop_state;  /* nothing in flight that it answers */
	uint64_t drop_full;   /* out of indices, memory or queue */
};

struct device_cfg {
	struct node_priv priv;       /* copied; the caller wipes its own */
	const struct crypto *crypto; /* borrowed */
	const struct env *env;       /* borrowed */
	uint32_t max_indices; /* size of the data plane's receiver-index table; 0 = INDEX_SLOTS_MAX
			       */
	int64_t stamp_floor_ns; /* as last persisted (DEVICE_PERSIST); 0 = first start */
	/* Asked for a peer that is not in the table when an initiation names its key: may
	 * device_add() it and return it, or null. May be null: peers are all in the table. */
	struct device_peer *(*find)(void *ctx, struct mono now, const struct node_key *key);
	void *find_ctx;
};

struct device_reply {
	struct wg_cookie_reply msg;
	struct path_addr to;
	struct node_key derp_peer;
};

struct device {
	struct noise_self self;
	const struct crypto *crypto;
	const struct env *env;
	struct device_peer *(*find)(void *ctx, struct mono now, const struct node_key *key); /* as configured */
	void *find_ctx;
	struct map by_key;          /* node key -> struct device_peer */
	struct index_table indices; /* receiver index -> struct device_peer */
	struct cookie_checker checker;
	struct ratelimit limits;
	struct session_stamps stamps;
	struct heap timers;
	struct device_peer *dirty_first, *dirty_last;
	struct device_reply replies[DEVICE_REPLIES_MAX]; /* ring of cookie replies not yet polled */
	unsigned reply_first, n_replies;
	struct mono load_until; /* under load before this time */
	struct mono busy_until; /* when the imagined queue is empty */
	struct device_counters counters;
};

enum device_out_kind {
	/* Send 'msg': to 'peer' by its path ladder; or, when 'peer' is null (a cookie reply),
	 * exactly to 'to' (for a DERP path to node 'derp_peer'). For a peer, 'to' is where its last
	 * authentic handshake message came from, of use if the ladder has no path (PATH_NONE if
	 * never). */
	DEVICE_SEND,
	/* 'kp' opens packets from now on: enter it at index_slot(kp->local_index). One reference to
	 * it goes to the taker. */
	DEVICE_KEYPAIR_INSTALL,
	/* Seal with 'kp' from now on; null: nothing to seal with. */
	DEVICE_KEYPAIR_CURRENT,
	/* Unpublish 'kp' and, after a grace period, keypair_put() the reference from INSTALL,
	 * unless that was done before. 'kp' itself is valid until the next poll. */
	DEVICE_KEYPAIR_REMOVE,
	/* 'kp' became usable for sending, rekeys too: send staged packets and the TSMP disco
	 * advertisement. Repeated when a device_want() comes although a key is there. */
	DEVICE_UP,
	/* Seal an empty packet with 'kp' and send it by the ladder. */
	DEVICE_KEEPALIVE,
	/* No response for 90 s: drop staged packets. */
	DEVICE_DOWN,
	/* A handshake message of 'peer' from path 'to' proved authentic: tell the ladder. */
	DEVICE_HEARD,
	/* Store 'stamp_floor_ns' durably; give it back in device_cfg at the next start. */
	DEVICE_PERSIST,
};

struct device_out {
	enum device_out_kind kind;
	struct device_peer *peer; /* null for cookie replies and PERSIST */
	struct keypair *kp;
	struct path_addr to;
	struct node_key derp_peer;
	int64_t stamp_floor_ns;
	size_t size; /* SEND: bytes in 'msg'; HEARD: bytes heard */
	uint8_t msg[WGMSG_HANDSHAKE_MAX];
};

/* Returns 0 or -ENOMEM. '*cfg' is copied; wipe the key in it. */
MESH_MUST_USE int device_init(struct device *d, const struct device_cfg *cfg);

/* Adds a peer; 'owner' is the caller's handle, found again in out.peer->owner. 'psk' and
 * 'seen_stamp' may be null. Returns 0; -EEXIST if the key is there; -EPROTO for our own or a zero
 * key; -ENOBUFS; -ENOMEM. */
struct device_peer_cfg {
	struct node_key key;
	struct peer_id id; /* into key pairs, for the workers */
	void *owner;
	const uint8_t *psk;
	const uint8_t *seen_stamp;       /* WGMSG_TIMESTAMP_SIZE bytes of device_seen_stamp() */
	uint32_t persistent_keepalive_s; /* 0 = off */
};
MESH_MUST_USE int device_add(struct device *d, const struct device_peer_cfg *cfg,
			     struct device_peer **peer);

/* Removes a peer and wipes its keys. For the data plane to be told, call device_reset() and
 * device_poll() until false first. */
void device_del(struct device *d, struct device_peer *peer);

/* The peer with this static key, or null. */
struct device_peer *device_find(const struct device *d, const struct node_key *key);

/* A datagram that classify named WireGuard and that is not of type 4, from path 'from'. For a DERP
 * path 'derp_src' is the sending node's key, else null.
 *
 * Returns 0 if it was accepted; else the reason for the drop, already counted: -EBADMSG, -ESTALE,
 * -EPROTO, -ENOENT (unknown peer or index), -ENOBUFS, -ENOMEM. Nothing is ever sent in reply to a
 * message that fails mac1. */
MESH_MUST_USE int device_input(struct device *d, struct mono now, const uint8_t *msg, size_t size,
			       const struct path_addr *from, const struct node_key *derp_src);

/* Depth of a real queue in front of device_input(), where there is one: at 1/8 of 'capacity' and
 * above the device counts as under load for the next second, as it does by itself above a rate of
 * messages. */
void device_queue_depth(struct device *d, struct mono now, size_t depth, size_t capacity);

/* A worker has a packet for the peer and no key that may still send. */
void device_want(struct device *d, struct mono now, struct device_peer *peer);
/* A worker's note: traffic on a key pair of this peer. */
void device_activity(struct device *d, struct mono now, struct device_peer *peer);
/* An initiation may fare better now than the last one did. See session_hint(). */
void device_hint(struct device *d, struct mono now, struct device_peer *peer, enum hasten_why why);
/* Forget all keys of the peer. */
void device_reset(struct device *d, struct device_peer *peer);
/* The peer began anew: its disco key changed by control. See session_restarted(). */
void device_restarted(struct device *d, struct mono now, struct device_peer *peer);

bool device_poll(struct device *d, struct mono now, struct device_out *out);
struct mono device_deadline(const struct device *d);
void device_tick(struct device *d, struct mono now);
void device_wipe(struct device *d);

/* Greatest stamp used so far: stored at a clean stop instead of the last PERSIST, so that the next
 * run does not start ahead of the clock. */
int64_t device_stamp_floor(const struct device *d);

/* Greatest initiation stamp seen from the peer, to be stored across restarts if wanted. */
void device_seen_stamp(const struct device_peer *peer, uint8_t stamp[static WGMSG_TIMESTAMP_SIZE]);
/* Has it neither keys nor anything to do, so that nothing but the seen stamp is lost with it? */
bool device_is_idle(const struct device_peer *peer);
void device_status(const struct device_peer *peer, struct mono now, struct session_status *st);

#endif
