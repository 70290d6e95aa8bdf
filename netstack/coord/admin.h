/* SPDX-License-Identifier: MIT */
/* Administration of the coordinator: what `meshctl coordinator keys|nodes|policy|derp` ask for, as
 * (verb, JSON body) -> (status, JSON body). The local API and the simulator call the same function.
 *
 * Verbs and bodies (all names as in cli.md 7b):
 *   status                                  -> {"Nodes":n,"Online":n,"Streams":n,"Users":n,"Keys":n,"PolicyRevision":n}
 *   keys.create {Reusable,Ephemeral,ExpirationS,User,Tags:[...]} -> {"ID":n,"Key":"hskey-auth-..."}
 *   keys.list                               -> {"Keys":[{ID,User,Tags,Reusable,Ephemeral,Used,Revoked,Created,Expires}]}
 *   keys.revoke {ID}                        -> {}
 *   nodes.list                              -> {"Nodes":[...],"Pending":[{ID,Hostname,Machine,Since}]}
 *   nodes.approve {ID,User}  nodes.expire {Node}  nodes.delete {Node}  nodes.rename {Node,Name}
 *   nodes.tag {Node,Tags:[...]}  nodes.routes {Node,Routes:[...]}      -> {"Node":{...}}
 *   policy.get                              -> {"Revision":n,"Policy":"text"}
 *   policy.check {Policy}  policy.set {Policy} -> {"Revision":n,"LostPairs":n,"Warnings":[...]}
 * 'Node' is an id, a name or an address. Errors: status 400, 404 or 409 and
 * {"Error":"sentence","Errors":[{"Line","Col","Message"}],"Closest":["..."]}.
 *
 * Control thread only. Spec: cli 7b. */
#ifndef NETSTACK_COORD_ADMIN_H
#define NETSTACK_COORD_ADMIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/mono.h"
#include "coord/ctlserver.h"

/* Carries out one verb. Appends the JSON answer to 'out' and returns its HTTP status. '*ticket' is what the
 * answer has to wait for (registry_is_durable()). The answer of keys.create is secret: wipe it. */
unsigned admin_call(struct ctlserver *s, struct mono now, const char *verb, const char *body, size_t body_size,
		    struct bytes *out, uint64_t *ticket);

#endif
