/* SPDX-License-Identifier: MIT */
/* Network report: what netcheck found. GET netcheck. Spec: netcheck 7 (JSON keys and order). */
#ifndef NETSTACK_WIRE_NETREPORT_H
#define NETSTACK_WIRE_NETREPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "wire/mapdata.h"

struct netreport_latency {
	int64_t region;
	int64_t ns;
};

/* "Meshd": the regions of the map, so that a reader needs no second request. */
struct netreport_region {
	int64_t id;
	char *code;
	char *name;
};

/* "Meshd": one usable peer relay. */
struct netreport_relay {
	char *name;
	struct ip ip;
	bool online;
	double latency_ms; /* 0 = not measured */
};

struct netreport {
	int64_t now_ns;
	bool udp, ipv6, ipv4, ipv6_can_send, ipv4_can_send, os_has_ipv6, icmpv4;
	enum tri mapping_varies, upnp, pmp, pcp;
	int64_t preferred_derp; /* 0 = none */
	struct netreport_latency *latency, *latency_v4, *latency_v6;
	size_t n_latency, n_latency_v4, n_latency_v6;
	char *counters_v4, *counters_v6; /* JSON text; null */
	char *global_v4, *global_v6;     /* "ip:port" or "" */
	enum tri captive_portal;
	/* "Meshd" */
	struct netreport_region *regions;
	size_t n_regions;
	struct netreport_relay *relays;
	size_t n_relays;
};

void netreport_wipe(struct netreport *r);
/* 'with_meshd' false leaves our own key out (compat output). */
MESH_MUST_USE int netreport_write(struct bytes *out, const struct netreport *r, const char *indent,
				  bool with_meshd);
MESH_MUST_USE int netreport_parse(struct netreport *r, const char *text, size_t len);

#endif
