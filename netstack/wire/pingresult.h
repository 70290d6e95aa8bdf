/* SPDX-License-Identifier: MIT */
/* Answer of POST ping. Spec: localapi 3.1. */
#ifndef NETSTACK_WIRE_PINGRESULT_H
#define NETSTACK_WIRE_PINGRESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/ep.h"

/* Strings may be null, which is "". At most one of 'endpoint' and 'peer_relay' is not empty. */
struct pingresult {
	char *ip;               /* as asked */
	char *node_ip;          /* first address of the node */
	char *node_name;        /* base DNS name or host name */
	char *err;              /* a sentence; "" = pong */
	double latency_s;
	char *endpoint;         /* "ip:port" */
	char *peer_relay;       /* "ip:port:vni:N" */
	int64_t derp_region_id; /* 0 = not by DERP */
	char *derp_region_code;
	uint16_t peerapi_port;
	char *peerapi_url;
	bool is_local_ip;       /* the address is our own: 'err' is a friendly line */
	/* "Meshd" */
	char *relay_node;       /* name of the peer relay */
	int64_t path_mtu;       /* 0 = unknown */
};

enum pingresult_type { PING_DISCO, PING_TSMP, PING_ICMP, PING_PEERAPI };

/* "disco", "TSMP", "ICMP", "peerapi"; parse returns -EBADMSG for others. */
const char *pingresult_type_name(enum pingresult_type type);
MESH_MUST_USE int pingresult_type_parse(enum pingresult_type *type, const char *text);

void pingresult_wipe(struct pingresult *p);
MESH_MUST_USE int pingresult_write(struct bytes *out, const struct pingresult *p, const char *indent);
MESH_MUST_USE int pingresult_parse(struct pingresult *p, const char *text, size_t len);

#endif
