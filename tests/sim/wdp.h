/* SPDX-License-Identifier: MIT */
/* A data plane in miniature for whole nodes: keys, routes, filter and paths as the engine published
 * them; what daemon/dp does with threads, one packet at a time. Real WireGuard (libsodium's AEAD).
 */
#ifndef TESTS_SIM_WDP_H
#define TESTS_SIM_WDP_H

#include "engine.h"
#include "wg/aead.h"
#include "wg/crypto.h"
#include "wg/keypair.h"

enum { WDP_PEERS_MAX = 32, WDP_KEYS_MAX = 64, WDP_PACKET_MAX = 2048, WDP_NOTE_MS = 100 };

struct wdp_peer {
	struct peer_id id; /* unset: no such peer */
	bool is_jailed;
	struct path_addr targets[ENGINE_TARGETS_MAX];
	size_t n_targets;
	uint32_t use;                    /* local index of the key pair that seals; 0 = none */
	struct path_addr rx_path;        /* by which data came last */
	struct engine_activity activity; /* since the last note */
	struct mono noted;
};

struct wdp {
	struct crypto crypto;
	struct aead_thread thread;
	struct wdp_peer peers[WDP_PEERS_MAX]; /* by peer_id.index */
	struct keypair *keys[WDP_KEYS_MAX];
	size_t n_keys;
	struct routes *routes;
	struct filter *filter;
	struct flows *flows;
	uint8_t flow_seed[16];
	uint64_t drop_no_route, drop_acl, drop_replay, drop_source, drop_auth;
};

/* What happened to a packet, for the caller to carry out. */
enum wdp_verdict {
	WDP_DROP,
	WDP_WANT,    /* no key: engine_input_want() with the plaintext */
	WDP_SEND,    /* 'data' goes to each of 'peer's targets */
	WDP_DELIVER, /* 'data' is an inner packet for this host */
	WDP_TSMP,    /* 'data' is one for the engine */
	WDP_KEEPALIVE,
};

struct wdp_result {
	enum wdp_verdict verdict;
	struct wdp_peer *peer;
	const uint8_t *data; /* inside the caller's buffer */
	size_t size;
	bool tell_key;  /* engine_input_key() */
	bool tell_path; /* engine_input_rx_path() with peer->rx_path */
};

void wdp_init(struct wdp *d);
void wdp_wipe(struct wdp *d);

void wdp_view(struct wdp *d, const struct engine_view *v);
void wdp_path(struct wdp *d, struct peer_id id, const struct path_addr *targets, size_t n);
void wdp_key_install(struct wdp *d, struct keypair *kp);
void wdp_key_drop(struct wdp *d, uint32_t local_index);
void wdp_key_use(struct wdp *d, struct peer_id id, uint32_t local_index);
struct wdp_peer *wdp_peer(struct wdp *d, struct peer_id id);
/* The peer that owns an inner address, or null. */
struct wdp_peer *wdp_route(struct wdp *d, const struct ip *ip);

/* Seals a plaintext for 'p' into 'buf' (WDP_PACKET_MAX bytes); size 0 = keepalive. */
struct wdp_result wdp_seal(struct wdp *d, struct mono now, struct wdp_peer *p, const uint8_t *plain,
			   size_t size, uint8_t buf[static WDP_PACKET_MAX]);
/* Opens a data message that came by 'from', in place, and judges it. */
struct wdp_result wdp_open(struct wdp *d, struct mono now, const struct path_addr *from,
			   uint8_t *msg, size_t size);
/* Is a summary of the peer's traffic due? Then it is moved to '*a'. */
bool wdp_activity(struct wdp_peer *p, struct mono now, struct engine_activity *a);

#endif
