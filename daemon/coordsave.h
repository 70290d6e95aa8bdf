/* SPDX-License-Identifier: MIT */
/* The coordinator's batches of rows on their way into coord.db: in order, on the disk's helper thread, so that a slow
 * disk delays the answers that wait for it and nothing else.
 *
 * While one transaction is under way the next batches gather; they then share one. A batch that the disk refuses
 * stays first in line and is tried again after 1 s, up to 60 s; what is put meanwhile does not bring that forward, and
 * only the last word on each row is kept, so that a broken disk costs no more memory than the rows there are.
 * Control thread only. Spec: RELIABILITY 7, rules 4, 5. */
#ifndef DAEMON_COORDSAVE_H
#define DAEMON_COORDSAVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/mono.h"

struct coordsave;
struct coordstore;
struct log;
struct loop;
struct reg_batch;

enum {
	COORDSAVE_LINE_MAX = 64,        /* batches that wait one by one; those behind them are merged */
	COORDSAVE_ROWS_MAX = 1 << 18,   /* rows of a merged batch */
};

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
/* Writes what waits before it returns, or what of it the disk takes. Null is allowed. */
void coordsave_flush(struct coordsave *s);
/* Flushes, too. Null is allowed. */
void coordsave_free(struct coordsave *s);
/* Takes the rows of 'b', and leaves it empty. Returns 0; -ENOMEM or -ENOBUFS: the batch is lost, and from now on
 * nothing from its ticket on is ever reported as stored. */
MESH_MUST_USE int coordsave_put(struct coordsave *s, struct reg_batch *b);
/* Somebody waits for what was put: a batch that was refused is tried again now, but not within a second of the last
 * try. */
void coordsave_hurry(struct coordsave *s);
/* Is anything not on disk yet? */
bool coordsave_is_busy(const struct coordsave *s);
/* Rows that wait, for tests. */
size_t coordsave_n_rows(const struct coordsave *s);

#endif
