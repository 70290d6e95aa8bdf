/* SPDX-License-Identifier: MIT */
/* Prometheus text: the upstream table and our own names, complete and sorted. Writing is pure; the
 * listener of --metrics-listen (metricsd) serves it. Spec: cli 8. */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"

enum metrics_path {
	METRICS_DIRECT_V4,
	METRICS_DIRECT_V6,
	METRICS_DERP,
	METRICS_PEER_RELAY_V4,
	METRICS_PEER_RELAY_V6,
	METRICS_PATHS,
};

/* Why a packet to a peer was not sent. */
enum metrics_out_drop {
	METRICS_OUT_ERROR,
	METRICS_OUT_MULTICAST,
	METRICS_OUT_LINK_LOCAL,
	METRICS_OUT_TOO_SHORT,
	METRICS_OUT_UNKNOWN_PROTOCOL,
	METRICS_OUT_DROPS,
};

/* Why the relay server dropped a packet. */
enum metrics_relay_drop {
	METRICS_RELAY_UNKNOWN_VNI,
	METRICS_RELAY_BAD_SOURCE,
	METRICS_RELAY_NOT_BOUND,
	METRICS_RELAY_RATE_LIMIT,
	METRICS_RELAY_SEND_ERROR,
	METRICS_RELAY_DROPS,
};

/* Where a peer is reached now, or was before (path changes). */
enum metrics_rung {
	METRICS_RUNG_NONE,
	METRICS_RUNG_DERP,
	METRICS_RUNG_PEER_RELAY,
	METRICS_RUNG_DIRECT,
	METRICS_RUNGS,
};

struct metrics_count {
	uint64_t packets, bytes;
};

struct metrics_latency {
	const char *relay; /* node name */
	double seconds;
};

/* An internal counter, shown by GET metrics only. */
struct metrics_counter {
	const char *name;
	uint64_t value;
	bool is_gauge;
};

/* Everything the daemon knows; borrowed lists. Zero is a valid value of all. */
struct metrics_input {
	uint64_t advertised_routes, approved_routes, health_warnings;
	uint64_t home_derp;
	struct metrics_count in[METRICS_PATHS], out[METRICS_PATHS];
	uint64_t in_dropped_acl, in_dropped_error;
	uint64_t out_dropped[METRICS_OUT_DROPS];
	bool relay_ran;                                /* the server was on since the start */
	struct metrics_count relay_forwarded[2][2];    /* [in][out], 0 = udp4, 1 = udp6 */
	uint64_t relay_connecting, relay_open;
	uint64_t relay_sessions_total;
	uint64_t relay_dropped[METRICS_RELAY_DROPS];
	/* meshd_ */
	uint64_t peers[METRICS_PATHS];                 /* active peers by path */
	uint64_t peers_idle, peers_offline;
	uint64_t path_changes[METRICS_RUNGS][METRICS_RUNGS]; /* [from][to] */
	const struct metrics_latency *relay_latency;
	size_t n_relay_latency;
	bool control_connected;
	int64_t netmap_age_s;                          /* -1 = no map */
	int64_t key_expiry_s;                          /* unix; 0 = never */
	const struct metrics_counter *counters;
	size_t n_counters;
};

/* Appends usermetrics: names sorted, labels sorted. */
MESH_MUST_USE int metrics_write(struct bytes *out, const struct metrics_input *in);
/* Appends the internal counters. */
MESH_MUST_USE int metrics_write_counters(struct bytes *out, const struct metrics_input *in);

#endif
