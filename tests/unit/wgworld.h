/* SPDX-License-Identifier: MIT */
/* A few WireGuard devices in virtual time, joined by a wire that delays, loses, repeats and
 * reorders. Each node does with the device's outputs what engine and data plane do: it keeps the
 * key pairs, seals and opens, stages packets without a key, and tells the device about traffic when
 * the key pair says so. */
#ifndef TESTS_UNIT_WGWORLD_H
#define TESTS_UNIT_WGWORLD_H

#include "tests/unit/testing.h"

#include "base/mono.h"
#include "wg/device.h"

enum {
	WGWORLD_NODES = 4,
	WGWORLD_SLOTS = 64,
	WGWORLD_STAGED = 128,
	WGWORLD_SEQS = 20000,
	WGWORLD_LOG = 4096
};

struct wgnode {
	struct test_env env;
	struct device device;
	struct device_peer *peers[WGWORLD_NODES];
	struct keypair *current[WGWORLD_NODES];
	struct keypair *slots[WGWORLD_SLOTS]; /* by index_slot() */
	uint32_t staged[WGWORLD_NODES][WGWORLD_STAGED];
	unsigned n_staged[WGWORLD_NODES];
	uint16_t received[WGWORLD_SEQS];         /* how often each sequence number arrived */
	struct mono last_data[WGWORLD_NODES];    /* last data packet from that node */
	unsigned ups, downs, heards, keepalives; /* outputs seen */
	unsigned data_drops; /* data messages that did not open or were replays */
	int64_t floor_ns;    /* last DEVICE_PERSIST */
	bool is_quiet;       /* keepalives are not sent (a peer that fell silent) */
};

/* One datagram on the wire or in the log. */
struct wgdatagram {
	struct mono at;
	unsigned from, to;
	size_t size;
	uint8_t data[WGMSG_HANDSHAKE_MAX + 32];
};

struct wgworld {
	struct test_env env; /* of the wire */
	struct mono now;
	struct wgnode node[WGWORLD_NODES];
	unsigned n_nodes;
	struct wgdatagram *queue;
	size_t n_queue, cap_queue;
	struct wgdatagram log[WGWORLD_LOG]; /* everything sent, first WGWORLD_LOG */
	size_t n_log;
	/* The wire. */
	unsigned loss_permille, dup_permille;
	int64_t delay_ms, jitter_ms;
	bool cut[WGWORLD_NODES][WGWORLD_NODES]; /* from, to */
	/* Set to see or swallow each datagram before it is queued. */
	bool (*tap)(struct wgworld *w, const struct wgdatagram *d);
	uint64_t count[WGWORLD_NODES][5]; /* messages sent by type */
};

/* 'n' nodes, all knowing each other. Allocated, because it is large. */
struct wgworld *wgworld_new(unsigned n, uint64_t seed);
void wgworld_free(struct wgworld *w);
/* Restarts a node: new device, same key, stamp floor kept; all its keys are gone. */
void wgworld_restart(struct wgworld *w, unsigned node);
/* The path by which node 'to' sees node 'from'. */
struct path_addr wgworld_path(unsigned from);
/* A data packet with sequence number 'seq' from 'from' to 'to'; staged if there is no key. */
void wgworld_send(struct wgworld *w, unsigned from, unsigned to, uint32_t seq);
/* Puts a datagram on the wire as if 'from' had sent it. */
void wgworld_inject(struct wgworld *w, unsigned from, unsigned to, const uint8_t *data,
		    size_t size);
/* Runs for 'ms'; then every datagram and timer up to there was handled. */
void wgworld_run(struct wgworld *w, int64_t ms);
/* Carries out all outputs of a node's device. Needed after direct calls to it. */
void wgworld_pump(struct wgworld *w, unsigned node);

#endif
