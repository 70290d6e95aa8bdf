/* SPDX-License-Identifier: MIT */
/* A VFS named "slow": opens as the default one does and exchanges the sync of each file. */
#include "tests/unit/slowdisk.h"

#include <pthread.h>
#include <stdlib.h>

#include <sqlite3.h>

#include "tests/unit/testing.h"

enum { KINDS_MAX = 4 };

/* sqlite3 has a table of functions for each kind of file: with locks, without, ... */
struct kind {
	const sqlite3_io_methods *real;
	sqlite3_io_methods methods; /* the same with our sync */
};

struct slowdisk {
	sqlite3_vfs vfs;
	sqlite3_vfs *real;
	pthread_mutex_t lock;
	pthread_cond_t go;
	/* Under 'lock'. */
	struct kind kinds[KINDS_MAX];
	size_t n_kinds;
	bool is_held, fails;
	unsigned n_waiting, n_syncs;
};

static int slow_sync(sqlite3_file *file, int flags)
{
	struct slowdisk *d = sqlite3_vfs_find("slow")->pAppData;
	const sqlite3_io_methods *real = NULL;
	bool fails;

	(void)pthread_mutex_lock(&d->lock);
	d->n_syncs++;
	d->n_waiting++;
	while (d->is_held)
		(void)pthread_cond_wait(&d->go, &d->lock);
	d->n_waiting--;
	fails = d->fails;
	for (size_t i = 0; i < d->n_kinds; i++)
		if (file->pMethods == &d->kinds[i].methods)
			real = d->kinds[i].real;
	(void)pthread_mutex_unlock(&d->lock);
	return fails ? SQLITE_IOERR_FSYNC : real->xSync(file, flags);
}

static int slow_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
	struct slowdisk *d = vfs->pAppData;
	int rc = d->real->xOpen(d->real, name, file, flags, out_flags);
	size_t i = 0;

	if (rc != SQLITE_OK || !file->pMethods)
		return rc;
	(void)pthread_mutex_lock(&d->lock);
	while (i < d->n_kinds && d->kinds[i].real != file->pMethods)
		i++;
	assert_true(i < KINDS_MAX);
	if (i == d->n_kinds) {
		d->kinds[i].real = file->pMethods;
		d->kinds[i].methods = *file->pMethods;
		d->kinds[i].methods.xSync = slow_sync;
		d->n_kinds++;
	}
	file->pMethods = &d->kinds[i].methods;
	(void)pthread_mutex_unlock(&d->lock);
	return rc;
}

struct slowdisk *slowdisk_new(void)
{
	struct slowdisk *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	d->real = sqlite3_vfs_find(NULL);
	assert_non_null(d->real);
	d->vfs = *d->real;
	d->vfs.pNext = NULL;
	d->vfs.zName = "slow";
	d->vfs.pAppData = d;
	d->vfs.xOpen = slow_open;
	(void)pthread_mutex_init(&d->lock, NULL);
	(void)pthread_cond_init(&d->go, NULL);
	assert_int_equal(sqlite3_vfs_register(&d->vfs, 1), SQLITE_OK);
	return d;
}

void slowdisk_free(struct slowdisk *d)
{
	if (!d)
		return;
	(void)sqlite3_vfs_unregister(&d->vfs);
	(void)sqlite3_vfs_register(d->real, 1);
	(void)pthread_cond_destroy(&d->go);
	(void)pthread_mutex_destroy(&d->lock);
	free(d);
}

static void set(struct slowdisk *d, bool *flag, bool value)
{
	(void)pthread_mutex_lock(&d->lock);
	*flag = value;
	(void)pthread_cond_broadcast(&d->go);
	(void)pthread_mutex_unlock(&d->lock);
}

void slowdisk_hold(struct slowdisk *d)
{
	set(d, &d->is_held, true);
}

void slowdisk_go(struct slowdisk *d)
{
	set(d, &d->is_held, false);
}

void slowdisk_fail(struct slowdisk *d, bool fails)
{
	set(d, &d->fails, fails);
}

bool slowdisk_is_waiting(struct slowdisk *d)
{
	bool is;

	(void)pthread_mutex_lock(&d->lock);
	is = d->n_waiting > 0;
	(void)pthread_mutex_unlock(&d->lock);
	return is;
}

unsigned slowdisk_n_syncs(struct slowdisk *d)
{
	unsigned n;

	(void)pthread_mutex_lock(&d->lock);
	n = d->n_syncs;
	(void)pthread_mutex_unlock(&d->lock);
	return n;
}
