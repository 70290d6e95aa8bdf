/* SPDX-License-Identifier: MIT */
/* coord.db: the coordinator's rows in sqlite3 (WAL, synchronous=FULL), one table per kind of record.
 *
 * A row is an id and the JSON text that coord/registry wrote; a few columns taken out of it let the database itself
 * hold what must never break: node keys, addresses and names are unique, an owner exists. A batch is part of one
 * transaction. The line of batches before the disk is daemon/coordsave's.
 *
 * One thread at a time: the control thread, or the disk's helper thread while a write is under way. Writing blocks for
 * one sync of the disk.
 * Spec: RELIABILITY 7, rules 3, 4, 5 and 7. */
#ifndef DAEMON_COORDSTORE_H
#define DAEMON_COORDSTORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "coord/registry.h"

struct coordstore;

/* Opens or creates 'path' (mode 0600) and checks its integrity.
 * Returns 0; -EBADMSG if it is damaged, -EPROTO if a newer version wrote it, another negative errno if it can't be
 * opened. 'why' gets one sentence for the log. */
MESH_MUST_USE int coordstore_open(struct coordstore **out, const char *path, char *why, size_t why_size);
void coordstore_close(struct coordstore *s);

/* Calls 'row' for every row in the order users, keys, nodes, policies, settings, ids ascending; stops at the first
 * negative return and returns it. */
MESH_MUST_USE int coordstore_load(struct coordstore *s,
				  int (*row)(void *ctx, enum reg_table table, int64_t id, const char *data),
				  void *ctx);
/* Stores a batch in one transaction; a row is in it once, and their order means nothing. Returns 0 or a negative errno
 * (nothing was stored). */
MESH_MUST_USE int coordstore_write(struct coordstore *s, const struct reg_batch *b);
/* The same with 'n' batches, in order, in one transaction. */
MESH_MUST_USE int coordstore_write_group(struct coordstore *s, const struct reg_batch *const *b, size_t n);
/* Bytes on disk, write-ahead log included. */
int64_t coordstore_size(const struct coordstore *s);
/* A consistent copy into a new file. Returns 0 or a negative errno. */
MESH_MUST_USE int coordstore_backup(struct coordstore *s, const char *path);

#endif
