/* SPDX-License-Identifier: MIT */
/* The network report: which relay regions are near, does UDP work, what does the NAT do; and from it the home
 * region. One report at a time.
 *
 *   IDLE -start-> STUN --enough, all sets done or 3 s--> (no answer at all: HTTPS) --5 s or done--> report
 *
 * Probes leave through the sockets whose mapping matters (the WireGuard socket; for the relay server its own,
 * with a second instance of this machine). Names are resolved by the owner on request.
 *
 * Owner: control thread. Spec: netcheck 2, 3. */
#ifndef NETSTACK_PATH_NETCHECK_H
#define NETSTACK_PATH_NETCHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/env.h"
#include "base/ep.h"
#include "base/mono.h"
#include "wire/mapdata.h"
#include "wire/streamaddr.h"
#include "wire/stun.h"

enum {
	NETCHECK_REPORT_MS = 5000,  /* whole report */
	NETCHECK_STUN_MS = 3000,    /* before falling back to HTTPS */
	NETCHECK_FULL_S = 300,      /* a full report at least so often */
	NETCHECK_HISTORY_S = 305,
	NETCHECK_ENOUGH_REGIONS = 3,
	NETCHECK_PROBES_MAX = 64,   /* outstanding transaction ids; RELIABILITY 5 */
	NETCHECK_TXID_LIFE_S = 5,
	NETCHECK_GLOBALS_MAX = 32,  /* different mapped addresses remembered per family */
	NETCHECK_NAME_LIFE_S = 600, /* a resolved name is asked again after that */
};

/* One region's result. */
struct netcheck_latency {
	uint32_t region;
	int64_t ns;    /* smallest over everything; -1 = none */
	int64_t v4_ns; /* STUN only; -1 = none */
	int64_t v6_ns;
};

struct netcheck_global {
	struct ep ep;
	uint32_t count;
};

/* Everything `meshctl netcheck` prints and Hostinfo.NetInfo carries. Lists are owned by the machine. */
struct netcheck_report {
	int64_t wall_ns; /* when finished */
	bool udp, ipv4, ipv6, ipv4_can_send, ipv6_can_send, os_has_ipv6;
	enum tri mapping_varies;
	enum tri upnp, pmp, pcp; /* filled by netcheck_set_portmap() */
	uint32_t preferred;      /* home region by the rules of netcheck 3; 0 = unknown */
	struct netcheck_latency *latency; /* sorted by region */
	size_t n_latency;
	struct netcheck_global v4[NETCHECK_GLOBALS_MAX], v6[NETCHECK_GLOBALS_MAX];
	size_t n_v4, n_v6;
	struct ep global4, global6; /* unset if none */
};

enum netcheck_out_kind {
	NETCHECK_SEND,    /* send 'data' to 'to'; report a failure with netcheck_send_failed() */
	NETCHECK_RESOLVE, /* ask DNS for 'name': netcheck_resolved() */
	NETCHECK_OPEN,    /* connect 'stream' to '*addr' (HTTPS latency): netcheck_opened() */
	NETCHECK_WRITE,   /* send 'data' on 'stream' */
	NETCHECK_CLOSE,   /* close 'stream' */
	NETCHECK_DONE,    /* a report is ready: netcheck_report() */
};

struct netcheck_out {
	enum netcheck_out_kind kind;
	struct ep to;                   /* SEND */
	uint32_t stream;                /* OPEN, WRITE, CLOSE */
	const struct stream_addr *addr; /* OPEN; borrowed until the next call */
	const char *name;               /* RESOLVE; borrowed until the next call */
	const uint8_t *data;            /* SEND, WRITE; borrowed until the next call */
	size_t size;
};

/* What the host can do at the moment; copied at netcheck_start(). */
struct netcheck_host {
	bool has_ip4, has_ip6; /* a usable global-scope address of the family on some interface */
	bool os_has_ipv6;
	bool only_stun;        /* no HTTPS fallback (relay server's instance) */
};

struct netcheck;

/* Heap object: the state is private. Null when out of memory. 'env' is borrowed. */
MESH_MUST_USE struct netcheck *netcheck_new(const struct env *env);
void netcheck_free(struct netcheck *n);

/* The map is copied; a report under way goes on with the old one. Returns 0 or -ENOMEM. */
MESH_MUST_USE int netcheck_set_map(struct netcheck *n, const struct derp_map *map);
/* Regions' last frames from DERP, for the choice of home: call before each tick that may finish a report. */
void netcheck_heard(struct netcheck *n, uint32_t region, struct mono at);
void netcheck_set_portmap(struct netcheck *n, enum tri upnp, enum tri pmp, enum tri pcp);

/* Starts a report; 'full' forces the full plan. If one runs already, another follows it (at most one is
 * pending). Without a map or regions the report is empty and immediate. */
void netcheck_start(struct netcheck *n, struct mono now, const struct netcheck_host *host, bool full);
bool netcheck_is_running(const struct netcheck *n);
/* The network changed: history and the previous report count no more; home is kept. */
void netcheck_forget(struct netcheck *n);

/* A datagram that stun_is_response() accepted. Returns 0; -ENOENT: not our transaction; -EBADMSG. */
MESH_MUST_USE int netcheck_input(struct netcheck *n, struct mono now, const uint8_t *buf, size_t size);
/* The datagram to 'to' could not be sent. */
void netcheck_send_failed(struct netcheck *n, const struct ep *to);
/* Answer to NETCHECK_RESOLVE: up to one address per family (unset = none). */
void netcheck_resolved(struct netcheck *n, struct mono now, const char *name, const struct ip *ip4,
		       const struct ip *ip6);
/* Stream events of the HTTPS phase. */
void netcheck_opened(struct netcheck *n, struct mono now, uint32_t stream, const struct stream_info *info);
void netcheck_stream_input(struct netcheck *n, struct mono now, uint32_t stream, const uint8_t *buf,
			   size_t size);
void netcheck_stream_closed(struct netcheck *n, struct mono now, uint32_t stream);

bool netcheck_poll(struct netcheck *n, struct mono now, struct netcheck_out *out);
struct mono netcheck_deadline(const struct netcheck *n);
void netcheck_tick(struct netcheck *n, struct mono now);

/* The last finished report, or null; borrowed until the next one is done. */
const struct netcheck_report *netcheck_report(const struct netcheck *n);
/* The nearest region by the answers that the report under way has got so far; 0 = none yet. */
uint32_t netcheck_best_so_far(const struct netcheck *n);
/* Home region of the last report that had one; set it to what is really in use (fallback choice, restart). */
void netcheck_set_home(struct netcheck *n, uint32_t region);

/* The fallback when no region answered: a region of the map picked by the node's key, stable for it; 0 = the
 * map has none. derp 10. */
uint32_t netcheck_fallback(const struct derp_map *map, const uint8_t node_key[static 32]);

/* Own endpoints derived from the report: GlobalV4 and GlobalV6, then other addresses seen more than once, then
 * (if the mapping varies and 'local_port' is not 0) GlobalV4's address with the local port. Types: EP_TYPE_STUN,
 * EP_TYPE_STUN4_LOCAL_PORT. Returns how many were written, at most 'max'. */
size_t netcheck_endpoints(const struct netcheck_report *r, uint16_t local_port, struct ep *eps,
			  uint8_t *types, size_t max);

/* Fills the NetInfo part of 'h' (control-messages 6). Returns 0 or -ENOMEM. */
MESH_MUST_USE int netcheck_netinfo(const struct netcheck_report *r, struct hostinfo *h);

#endif
