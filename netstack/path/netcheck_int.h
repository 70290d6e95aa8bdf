/* SPDX-License-Identifier: MIT */
/* Inside of path/netcheck, shared by its two files: netcheck.c runs the probes of a report, netcheckreport.c makes the
 * report and chooses the home region. */
#ifndef NETSTACK_PATH_NETCHECK_INT_H
#define NETSTACK_PATH_NETCHECK_INT_H

#include "path/netcheck.h"
#include "wire/http1.h"

enum {
	NETCHECK_TRIES_MAX = 4,
	NETCHECK_QUEUE_MAX = 256,
	NETCHECK_HISTORY_MAX = 96, /* 305 s of reports 4 s apart, while a flow looks for a direct path */
	NETCHECK_NAMES_MAX = 128,
	NETCHECK_HEARD_MAX = 256,
};

/* One region and family: probes until one is answered. */
struct netcheck_set {
	size_t region;    /* index in the map */
	uint8_t family;   /* IP_V4, IP_V6 */
	uint8_t n_tries, next;
	bool done;
	bool waits;       /* for a name */
	bool has_sent;
	int64_t at_ms[NETCHECK_TRIES_MAX]; /* since the report began */
};

/* A request that is out. */
struct netcheck_probe {
	struct stun_txid txid;
	struct mono sent;
	size_t region, set;
	bool used;
};

struct netcheck_name {
	char name[STREAM_HOST_MAX];
	struct ip ip4, ip6;
	struct mono at;      /* when it was resolved */
	bool pending, known;
};

/* HTTPS latency of one region. */
struct netcheck_https {
	uint32_t stream;     /* 0 = not started or over */
	struct stream_addr addr;
	struct mono sent;
	bool is_sent;
	enum ip_family family;
	struct http1 *http;  /* owned */
};

struct netcheck_region {
	struct netcheck_latency lat;
	struct netcheck_https https;
};

/* A finished report as far as the choice of home needs it. */
struct netcheck_past {
	struct mono at;
	struct netcheck_latency *lat; /* owned */
	size_t n;
};

struct netcheck_heard_row {
	uint32_t region;
	struct mono at;
};

struct netcheck_item {
	enum netcheck_out_kind kind;
	struct ep to;
	struct stun_txid txid;
	size_t region; /* OPEN, WRITE */
	uint32_t stream;
	size_t name;
};

enum netcheck_phase { NETCHECK_IDLE, NETCHECK_STUN, NETCHECK_HTTPS };

struct netcheck {
	const struct env *env;
	struct derp_map map, next_map;
	bool has_next_map;
	struct netcheck_host host;
	enum netcheck_phase phase;
	bool is_full;
	struct mono began, stun_end;
	bool is_pending, pending_full;   /* another report follows */
	struct netcheck_set *sets;
	size_t n_sets;
	struct netcheck_region *regions; /* one per region of the map */
	struct netcheck_probe probes[NETCHECK_PROBES_MAX];
	struct netcheck_name names[NETCHECK_NAMES_MAX];
	size_t n_names;
	uint32_t sent4, failed4, sent6, failed6;
	uint32_t next_stream;
	struct netcheck_item queue[NETCHECK_QUEUE_MAX];
	size_t q_first, q_n;
	uint8_t buf[512];
	struct stream_addr addr;

	struct netcheck_report now_report; /* under way */
	struct netcheck_report report;     /* last finished */
	bool has_report;
	struct mono last_full;             /* MONO_ZERO: none */
	struct netcheck_past past[NETCHECK_HISTORY_MAX];
	size_t n_past;
	struct netcheck_heard_row heard[NETCHECK_HEARD_MAX];
	size_t n_heard;
	uint32_t home;
	enum tri upnp, pmp, pcp;
};

/* netcheckreport.c: completes the report under way and makes it the last one. */
void netcheckreport_finish(struct netcheck *n, struct mono now);
/* Latency of a region in the last report, -1 = none. */
int64_t netcheckreport_last_ns(const struct netcheck *n, uint32_t region);

#endif
