/* SPDX-License-Identifier: MIT */
/* The UDP socket of the STUN server: answers from the address that was asked (IP_PKTINFO), in batches.
 * Owner: control thread. Spec: netcheck 1, 8. */
#ifndef DAEMON_STUND_H
#define DAEMON_STUND_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/env.h"
#include "base/mono.h"
#include "relay/stunserver.h"

struct stund {
	int fd4, fd6;      /* -1 = closed */
	uint16_t port;
	struct stunserver server;
};

/* Zero state: closed. */
void stund_init(struct stund *s, const struct env *env);
/* Binds UDP 'port' (0 = any, the same for both families) for both families; IPv6 is optional. 'mark' is SO_MARK
 * (0 = none). Returns 0 or a negative errno of the IPv4 socket. */
MESH_MUST_USE int stund_open(struct stund *s, uint16_t port, uint32_t mark);
/* Reads and answers what is there (at most 256 datagrams); call when fd4 or fd6 is readable. */
void stund_run(struct stund *s, int fd, struct mono now);
void stund_close(struct stund *s);

#endif
