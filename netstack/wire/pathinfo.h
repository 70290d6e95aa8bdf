/* SPDX-License-Identifier: MIT */
/* Why a peer is reached the way it is: GET meshd/path. Spec: cli 3.3. */
#ifndef NETSTACK_WIRE_PATHINFO_H
#define NETSTACK_WIRE_PATHINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/ep.h"

/* One direct endpoint of the peer. */
struct pathinfo_candidate {
	struct ep ep;
	char *source;      /* "map", "call-me-maybe", "ping", "static" */
	int64_t pings;     /* sent since the last pong, or at all */
	int64_t pongs;
	double latency_ms; /* of the last pong; 0 = none */
};

/* One relay between us and the peer. */
struct pathinfo_relay {
	char *name;
	struct ip ip;      /* of the relay node */
	char *text;        /* what happened, one line: "allocated vni 7; bound 203.0.113.10:40000 12ms" */
	bool usable;
};

struct pathinfo {
	char *name;
	struct ip ip;
	char *in_use;        /* "direct", "peer-relay", "derp", "" = none */
	char *addr;          /* path text: "ip:port", "ip:port:vni:N", region code */
	double latency_ms;   /* 0 = unknown */
	int64_t since_ms;    /* how long it has been in use; -1 = unknown */
	char *direct_reason; /* why not direct, or how; one line */
	struct pathinfo_candidate *candidates;
	size_t n_candidates;
	char *relay_reason;  /* why no relay, when there is no line per relay; null */
	struct pathinfo_relay *relays;
	size_t n_relays;
	char *derp_reason;   /* "home 1 (nyc), theirs 4 (fra), 88ms" */
};

void pathinfo_wipe(struct pathinfo *p);
MESH_MUST_USE int pathinfo_write(struct bytes *out, const struct pathinfo *p, const char *indent);
MESH_MUST_USE int pathinfo_parse(struct pathinfo *p, const char *text, size_t len);

#endif
