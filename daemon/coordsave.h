/* SPDX-License-Identifier: MIT */
/* The coordinator's batches of rows on their way into coord.db: in order, on the disk's helper thread, so that a slow
 * disk delays the answers that wait for it and nothing else.
 *
 * While one transaction is under way the next batches gather; they then share one. A batch that the disk refuses
 * stays first in line and is tried again after 1 s, up to 60 s. Control thread only. Spec: RELIABILITY 7, rules 4, 5. */
#ifndef DAEMON_COORDSAVE_H
#define DAEMON_COORDSAVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/mono.h"

struct coordsave;
struct coordstore;
struct log;
struct loop;
struct reg_batch;

struct coordsave_cfg {
	struct loop *loop;        /* borrowed */
	const struct log *log;    /* borrowed */
	struct coordstore *store; /* borrowed; nobody else writes while batches wait */
	/* Batches up to 'ticket' are on disk; or, with a negative errno in 'err', were refused for now. */
	void (*written)(void *ctx, uint64_t ticket, int err, struct mono now);
	void *ctx;
};

/* Null when out of memory. */
struct coordsave *coordsave_new(const struct coordsave_cfg *cfg);
/* Writes what waits before it returns. Null is allowed. */
void coordsave_free(struct coordsave *s);
/* 'b' is copied. Returns 0 or -ENOMEM (the batch is lost). */
MESH_MUST_USE int coordsave_put(struct coordsave *s, const struct reg_batch *b);
/* Is anything not on disk yet? */
bool coordsave_is_busy(const struct coordsave *s);

#endif
