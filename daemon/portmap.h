/* SPDX-License-Identifier: MIT */
/* Asks the gateway for port mappings: NAT-PMP by libnatpmp, UPnP by miniupnpc, PCP with the codec of wire/pcp. What to
 * ask and when is decided by path/portmapper; this carries one job at a time out.
 *
 * Each job has a thread of its own and not the helper thread's time: miniupnpc's HTTP has limits for each read but
 * none for all of them, so a gateway that answers byte by byte could hold up whatever else waits there. A thread that
 * does not come back costs the port mapping and nothing else.
 *
 * Only the gateway that was named is talked to and believed: sockets are connected to it, and a UPnP device whose
 * description or control address is another host's is passed over. Control thread. Spec: netcheck 5. */
#ifndef DAEMON_PORTMAP_H
#define DAEMON_PORTMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/mono.h"
#include "path/portmapper.h"

struct log;
struct loop;
struct portmap;

enum { PORTMAP_END_MS = 1500 }; /* portmap_close() waits this long for a release that is under way */

typedef void (*portmap_fn)(void *ctx, const struct portmapper_result *r, struct mono now);

/* 'mark' is the mark of our own sockets. 'done' is called on the loop. Returns 0 or a negative errno. */
MESH_MUST_USE int portmap_open(struct portmap **out, struct loop *loop, const struct log *log, uint32_t mark,
			       portmap_fn done, void *ctx);
/* Starts the job; 'done' follows unless this fails: -EBUSY: another one runs; -EAGAIN, -ENOMEM: no thread. */
MESH_MUST_USE int portmap_post(struct portmap *p, const struct portmapper_job *job);
bool portmap_is_busy(const struct portmap *p);
/* Waits a little for the job that runs, then forgets it. Null is accepted. */
void portmap_close(struct portmap *p);

#endif
