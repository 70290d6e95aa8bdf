/* SPDX-License-Identifier: MIT */
/* The bind handshake of the peer relay: Bind -> Challenge -> Answer. Part of relay/relayserver, in a file of
 * its own because it is all the cryptography there is.
 *
 * Nothing is remembered of a Bind but its generation; who may be bound is proved by the MAC that the Answer
 * brings back from the address the Challenge was sent to. Spec: peer-relay 8. */
#ifndef NETSTACK_RELAY_RELAYBIND_H
#define NETSTACK_RELAY_RELAYBIND_H

#include <stddef.h>
#include <stdint.h>

#include "base/ep.h"
#include "base/mono.h"
#include "relay/relayserver.h"
#include "wire/disco.h"

enum {
	RELAYBIND_OPENS_PER_S = 20000, /* boxes opened in all; RELIABILITY 5 */
	RELAYBIND_FORGED_PER_S = 8,    /* failures that a source may have for one key, per second */
};

/* A disco packet behind a Geneve header with the control bit, for session 'e'. */
void relaybind_input(struct relayserver *s, struct mono now, struct relayserver_session *e, const struct ep *from,
		     const uint8_t *pkt, size_t size);

/* The challenge: keyed BLAKE2s over VNI, generation, remote key, source address and port. */
void relaybind_mac(uint8_t mac[static DISCO_CHALLENGE_SIZE], const uint8_t secret[static 32],
		   const struct disco_bind *bind, const struct ep *from);

#endif
