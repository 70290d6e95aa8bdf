/* SPDX-License-Identifier: MIT */
/* Local API bodies, structs and JSON both ways: everything that meshd and meshctl say to each other.
 * One header a topic; this one is what cli/ includes. */
#ifndef NETSTACK_WIRE_APIJSON_H
#define NETSTACK_WIRE_APIJSON_H

#include "wire/jsonmap.h"
#include "wire/json.h"
#include "wire/netreport.h"
#include "wire/notify.h"
#include "wire/pathinfo.h"
#include "wire/pingresult.h"
#include "wire/prefs.h"
#include "wire/prefval.h"
#include "wire/relayinfo.h"
#include "wire/status.h"
#include "wire/whois.h"

/* What this build calls itself. API_VERSION_SHORT is what `version` prints and status carries: the
 * upstream release whose behaviour we follow, then ours. */
#define API_MESHD_VERSION "0.1.0"
#define API_VERSION_SHORT "1.103.0-meshd0.1"
/* Capability version in control messages and the Tailscale-Cap header. */
enum { API_CAP_VERSION = 145 };

/* Limits of the local API (localapi 1, RELIABILITY 6.5). */
enum {
	API_HEAD_MAX = 16 << 10,
	API_BODY_MAX = 1 << 20,
	API_CONNS_MAX = 128,
	API_CONNS_PER_UID_MAX = 16,
};

#endif
