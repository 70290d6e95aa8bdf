/* SPDX-License-Identifier: MIT */
/* The node's database file: opening, checking, and named values in one sqlite3 table. What the values mean and
 * when they are written is daemon/store's.
 *
 * Calls block for the disk. Any thread; the database has a lock of its own. Spec: RELIABILITY 7. */
#ifndef DAEMON_STOREDB_H
#define DAEMON_STOREDB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"

struct storedb;

enum { STOREDB_ERR_MAX = 320 };

/* Opens or creates the database; see store_open() for paths and errors. '*is_new': it was created. */
MESH_MUST_USE int storedb_open(struct storedb **s, const char *path, bool *is_new,
			       char err[static STOREDB_ERR_MAX]);
/* Null is allowed. */
void storedb_close(struct storedb *s);

/* 'data' is borrowed for the call; null = the row is damaged. A negative return ends the reading. */
typedef int (*storedb_fn)(void *ctx, const char *name, const void *data, size_t size);
/* Calls 'fn' for every row but 'except'. Returns 0, what 'fn' returned, or -EIO. */
MESH_MUST_USE int storedb_each(struct storedb *s, const char *except, storedb_fn fn, void *ctx);
/* Appends one value to '*out'. -ENOENT; -EIO (damaged); -ENOMEM. */
MESH_MUST_USE int storedb_get(struct storedb *s, const char *name, struct bytes *out);

struct storedb_row {
	char *name;
	void *data; /* null = delete the row */
	size_t size;
};

/* Writes all rows in one transaction, synced when it returns 0. On failure nothing was written and 'why' has the
 * reason. */
MESH_MUST_USE int storedb_write(struct storedb *s, const struct storedb_row *rows, size_t n,
				char why[static STOREDB_ERR_MAX]);

#endif
