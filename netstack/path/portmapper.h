/* SPDX-License-Identifier: MIT */
/* Port mappings at the gateway: which service is asked, when, for how long a mapping holds. A pure machine; the
 * questions themselves are jobs for daemon/portmap, one at a time, because libraries block.
 *
 *   no gateway, or off --> PROBE (what is there?) --> MAP by NAT-PMP, else PCP, else UPnP --> held
 *                            ^                          |failed: again after RETRY             |
 *                            '------ want(), epoch ran backwards (gateway restarted) ------ renew at half life
 *
 * UPnP is looked for last: its search takes a second or two, which a mapping by another service does not wait for.
 *
 * A mapping makes the port reachable from everywhere, whatever NAT stands there: RELIABILITY 9, "+pm". It is an
 * endpoint of this node until it expires, also while it is being renewed. Everything learnt is forgotten, and what was
 * mapped is released, when the gateway or our address on its network changes.
 *
 * The gateway is believed only so far: answers count when they come from it, and an external address that the
 * internet could not reach is refused.
 *
 * Owner: control thread. Spec: netcheck 5. */
#ifndef NETSTACK_PATH_PORTMAPPER_H
#define NETSTACK_PATH_PORTMAPPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "base/ep.h"
#include "base/mono.h"
#include "wire/mapdata.h"
#include "wire/pcp.h"

enum portmapper_method { PORTMAPPER_PMP, PORTMAPPER_PCP, PORTMAPPER_UPNP, PORTMAPPER_METHODS };
/* What is mapped. */
enum portmapper_slot { PORTMAPPER_MAIN, PORTMAPPER_RELAY, PORTMAPPER_SLOTS };

enum {
	PORTMAPPER_ALL = (1 << PORTMAPPER_METHODS) - 1, /* sets of methods have one bit each */
	PORTMAPPER_LIFE_S = 7200,
	PORTMAPPER_SEEN_S = 600,    /* a service is not looked for again while it was seen so lately; also how long
				     * a gateway without any is left alone */
	PORTMAPPER_CHECK_S = 5,     /* a gateway that has one is asked for its epoch at most so often ... */
	PORTMAPPER_URGENT_S = 5,    /* ... but a path that fails, and a person, do not wait longer than this */
	PORTMAPPER_RETRY_S = 600,   /* after a refusal */
	PORTMAPPER_AGAIN_S = 30,    /* after no answer to a renewal */
	PORTMAPPER_CONFLICTS_MAX = 2, /* times in a row that another external port is tried, where one is taken */
	PORTMAPPER_UNMAPS_MAX = 4,
};

enum portmapper_job_kind {
	PORTMAPPER_PROBE, /* which of 'methods' does the gateway offer? */
	PORTMAPPER_MAP,   /* map 'port' by 'method' */
	PORTMAPPER_UNMAP, /* release it; nobody waits for success */
};

struct portmapper_job {
	uint32_t id;
	enum portmapper_job_kind kind;
	struct ip gateway, self;
	unsigned methods;              /* PROBE */
	enum portmapper_method method; /* MAP, UNMAP */
	uint16_t port;
	struct ep external;            /* MAP: wished; UNMAP: the one to release. Port 0 = any */
	uint32_t life_s;               /* MAP */
	uint8_t nonce[PCP_NONCE_SIZE];
};

struct portmapper_result {
	uint32_t id;
	int err;           /* 0; -ETIMEDOUT: no answer; -EACCES: refused; -EADDRINUSE: the wished external port is
			    * another's (UPnP); others: it could not be asked */
	unsigned found;    /* PROBE: set of methods */
	bool has_epoch;    /* NAT-PMP and PCP tell the gateway's age */
	uint32_t epoch;
	struct ep external; /* MAP */
	uint32_t life_s;    /* MAP */
};

enum portmapper_out_kind {
	PORTMAPPER_JOB,     /* carry 'job' out, then portmapper_done() */
	PORTMAPPER_CHANGED, /* portmapper_external() or portmapper_found() is another */
};

struct portmapper_out {
	enum portmapper_out_kind kind;
	struct portmapper_job job;
};

struct portmapper_mapping {
	uint16_t port;     /* of ours; 0 = nothing to map */
	bool is_held;
	enum portmapper_method method;
	struct ep external;
	struct ep former;  /* asked for again */
	unsigned n_conflicts; /* in a row */
	struct mono renew_at, expires;
	struct mono retry_at; /* ZERO: at once */
	uint8_t nonce[PCP_NONCE_SIZE];
};

struct portmapper {
	const struct env *env;
	unsigned allowed; /* methods; 0 = off */
	struct ip gateway, self; /* unset: nothing is done */
	struct portmapper_mapping map[PORTMAPPER_SLOTS];
	struct mono seen[PORTMAPPER_METHODS]; /* ZERO: not there */
	struct mono tried[PORTMAPPER_METHODS]; /* last look; ZERO: never */
	bool was_probed, probe_due, upnp_due;
	bool probe_all;  /* also for what was not there a moment ago */
	struct mono probed_at;
	bool has_epoch;
	uint32_t epoch;
	/* The job that is out. */
	bool is_busy;
	uint32_t job_id;
	bool is_stale;    /* the gateway changed meanwhile: its result counts no more */
	struct portmapper_job job;
	enum portmapper_slot job_slot;
	struct portmapper_job unmaps[PORTMAPPER_UNMAPS_MAX];
	size_t n_unmaps;
	bool is_changed;
	uint64_t refused; /* answers that made no sense, external addresses of no use */
};

/* Off. 'env' is borrowed. */
void portmapper_init(struct portmapper *p, const struct env *env);
/* Which methods may be used; 0 = none: what is held is released. */
void portmapper_allow(struct portmapper *p, struct mono now, unsigned methods);
/* The default gateway and our address on its network; unset = none. One that is not of a private network is taken
 * for none: nothing on the internet maps ports for us. */
void portmapper_set_gateway(struct portmapper *p, struct mono now, const struct ip *gateway, const struct ip *self);
/* The UDP port to map; 0 = none. */
void portmapper_set_port(struct portmapper *p, struct mono now, enum portmapper_slot slot, uint16_t port);
/* Own endpoints are wanted: look for services, or whether the gateway restarted, unless that was done lately.
 * 'is_urgent': a path failed, or a person asks. */
void portmapper_want(struct portmapper *p, struct mono now, bool is_urgent);
/* The node stops: everything is released and nothing is asked any more. */
void portmapper_stop(struct portmapper *p, struct mono now);

void portmapper_done(struct portmapper *p, struct mono now, const struct portmapper_result *r);
bool portmapper_poll(struct portmapper *p, struct mono now, struct portmapper_out *out);
struct mono portmapper_deadline(const struct portmapper *p);
void portmapper_tick(struct portmapper *p, struct mono now);

/* The address at which the port is reached; unset = not mapped. */
struct ep portmapper_external(const struct portmapper *p, enum portmapper_slot slot);
/* Does the gateway offer this? Unset before the first look. */
enum tri portmapper_found(const struct portmapper *p, enum portmapper_method method);
/* "NAT-PMP", "PCP", "UPnP". */
const char *portmapper_method_name(enum portmapper_method method);

#endif
