/* SPDX-License-Identifier: MIT */
/* Helpers of one packet worker: they seal or open parts of its batch while it does others.
 *
 *   worker                                   helpers (none on one or two cores)
 *   … fill the parts of a batch …
 *   crew_run(c, fn, ctx, n)  ──────────────► claim part i, fn(ctx, i, lane), claim the next …
 *       claims parts too, lane 0             lanes 1..n_helpers
 *       waits for those still under way
 *   … the batch in its order …               spin for a moment, then sleep
 *
 * The unit is a whole batch, cut into parts of dozens of packets (of one peer or of many: the workers' shares):
 * handing over single packets costs more than their crypto (PERFORMANCE 4). The worker goes on only when every
 * part is done, so each peer's packets stay in the order in which they were read, whoever sealed them, and nothing
 * that a helper touches can be retired meanwhile: the worker's own batch holds it.
 *
 * All parts are described by one 64-bit ticket (generation, how many, next), so that a helper that
 * wakes late can never claim a part of a later run by an older count. */
#ifndef DAEMON_CREW_H
#define DAEMON_CREW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

struct crew;

enum { CREW_HELPERS_MAX = 3, CREW_PARTS_MAX = 4096 };

/* Does part 'i' on the thread of 'lane' (0 = the worker). */
typedef void (*crew_fn)(void *ctx, uint32_t i, unsigned lane);

/* Starts 'n' (0..CREW_HELPERS_MAX) helpers. 'name' is the threads' name. Returns 0, -ENOMEM or -EAGAIN
 * (no thread). Null stands for no helpers everywhere below. */
MESH_MUST_USE int crew_new(struct crew **out, unsigned n, const char *name);
/* Ends and joins them; no run may be under way. */
void crew_free(struct crew *c);

/* Does parts 0..n-1 (n <= CREW_PARTS_MAX) and returns when all are done. What the worker wrote before is
 * seen by the helpers, what they wrote is seen after. One thread at a time. */
void crew_run(struct crew *c, crew_fn fn, void *ctx, uint32_t n);

/* How many helpers each worker should have on a machine of 'cores': none on one or two. */
unsigned crew_default(long cores);

#endif
