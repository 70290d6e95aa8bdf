/* SPDX-License-Identifier: MIT */
/* A disk under sqlite3 that the test holds up or lets fail: the system's own file system layer, with each sync passing
 * by us. */
#ifndef TESTS_UNIT_SLOWDISK_H
#define TESTS_UNIT_SLOWDISK_H

#include <stdbool.h>

struct slowdisk;

/* From now on databases are opened on it. Fails the test if that is impossible. */
struct slowdisk *slowdisk_new(void);
/* Only when every database is closed. */
void slowdisk_free(struct slowdisk *d);

/* Syncs block until slowdisk_go(). */
void slowdisk_hold(struct slowdisk *d);
void slowdisk_go(struct slowdisk *d);
/* Syncs fail, with an I/O error, or no more. */
void slowdisk_fail(struct slowdisk *d, bool fails);
/* Is a sync blocked at this moment? */
bool slowdisk_is_waiting(struct slowdisk *d);
/* Syncs that were asked for up to now. */
unsigned slowdisk_n_syncs(struct slowdisk *d);

#endif
