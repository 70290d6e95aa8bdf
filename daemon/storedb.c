/* SPDX-License-Identifier: MIT */
/* One table of named values, each with a checksum over name and value. */
#include "config.h"

#include "daemon/storedb.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	SCHEMA_VERSION = 1,             /* PRAGMA user_version */
	APPLICATION_ID = 0x6d736864, /* "mshd" */
	BUSY_MS = 10000,           /* RELIABILITY 7, rule 7 */
	CHECK_SIZE = 16,           /* of a row: sqlite itself does not notice changed content */
	PATH_SIZE = 4096,
};

struct storedb {
	sqlite3 *db;
	int lock_fd; /* -1 = none ("mem:") */
};

/* --- opening --- */

static int say(char err[static STOREDB_ERR_MAX], int ret, const char *path, const char *what)
{
	(void)snprintf(err, STOREDB_ERR_MAX, "%.200s: %s", path, what);
	return ret;
}

static int to_errno(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
		return 0;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
	case SQLITE_PERM:
		return -EROFS;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	default:
		return -EIO;
	}
}

static int exec(sqlite3 *db, const char *sql)
{
	return to_errno(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

/* The single text or number of a one-row query. */
static int query_one(sqlite3 *db, const char *sql, char *text, size_t size, int64_t *number)
{
	sqlite3_stmt *st = NULL;
	int ret = -EBADMSG;

	if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW) {
		const unsigned char *v = sqlite3_column_text(st, 0);

		if (text)
			(void)snprintf(text, size, "%s", v ? (const char *)v : "");
		if (number)
			*number = sqlite3_column_int64(st, 0);
		ret = 0;
	}
	(void)sqlite3_finalize(st);
	return ret;
}

static int open_db(sqlite3 **db, const char *path, int flags)
{
	int rc = sqlite3_open_v2(path, db, flags | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);

	if (rc != SQLITE_OK) {
		(void)sqlite3_close(*db);
		*db = NULL;
		return rc == SQLITE_NOMEM ? -ENOMEM : -EIO;
	}
	(void)sqlite3_busy_timeout(*db, BUSY_MS);
	return exec(*db, "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA foreign_keys=ON;"
			 "PRAGMA secure_delete=ON; PRAGMA cache_size=-256;");
}

static int create_tables(sqlite3 *db)
{
	char sql[512];

	(void)snprintf(sql, sizeof(sql),
		       "BEGIN; CREATE TABLE state (name TEXT PRIMARY KEY, data BLOB NOT NULL) "
		       "WITHOUT ROWID; PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT;",
		       APPLICATION_ID, SCHEMA_VERSION);
	return exec(db, sql);
}

static int sync_dir(const char *path)
{
	char dir[PATH_SIZE];
	char *slash;
	int fd, err = 0;

	(void)snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash)
		*slash = 0;
	fd = open(slash ? (*dir ? dir : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		err = -errno;
	if (fd >= 0)
		(void)close(fd);
	return err;
}

/* A new database is made whole under another name, so that a file of that name is never half made: an
 * empty one is damage, not a new node. */
static int create(const char *path, char err[static STOREDB_ERR_MAX])
{
	char tmp[PATH_SIZE];
	sqlite3 *db = NULL;
	int fd, ret;

	(void)snprintf(tmp, sizeof(tmp), "%s-wal", path);
	if (access(tmp, F_OK) == 0)
		return say(err, -EBADMSG, path, "the state database is gone but its write-ahead log is there; "
						"restore it, or remove both to join as a new node");
	(void)snprintf(tmp, sizeof(tmp), "%s.new", path);
	(void)unlink(tmp);
	fd = open(tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return say(err, -errno, tmp, strerror(errno));
	(void)close(fd);
	ret = open_db(&db, tmp, SQLITE_OPEN_READWRITE);
	if (!ret)
		ret = exec(db, "PRAGMA synchronous=FULL;");
	if (!ret)
		ret = create_tables(db);
	(void)sqlite3_close(db);
	if (!ret && rename(tmp, path))
		ret = -errno;
	if (!ret)
		ret = sync_dir(path);
	if (ret) {
		(void)unlink(tmp);
		return say(err, ret, path, strerror(-ret));
	}
	return 0;
}

static int check_db(sqlite3 *db, const char *path, char err[static STOREDB_ERR_MAX])
{
	static const char corrupt[] = "the state database is damaged; nothing was changed. Restore it from a "
				      "backup, or move it away to join as a new node";
	char text[64];
	int64_t n;

	if (query_one(db, "PRAGMA application_id", NULL, 0, &n))
		return say(err, -EBADMSG, path, corrupt);
	if (n != APPLICATION_ID)
		return say(err, -EBADMSG, path, "not a meshd state database");
	if (query_one(db, "PRAGMA user_version", NULL, 0, &n))
		return say(err, -EBADMSG, path, corrupt);
	if (n > SCHEMA_VERSION)
		return say(err, -EPROTO, path, "written by a newer meshd; this one would lose state");
	if (query_one(db, "PRAGMA integrity_check(1)", text, sizeof(text), NULL) ||
	    strcmp(text, "ok") != 0)
		return say(err, -EBADMSG, path, corrupt);
	if (query_one(db, "SELECT count(*) FROM state", NULL, 0, &n))
		return say(err, -EBADMSG, path, corrupt);
	return 0;
}

static int open_file(struct storedb *s, const char *path, bool *is_new, char err[static STOREDB_ERR_MAX])
{
	struct stat st;
	int ret;

	if (lstat(path, &st) == 0) {
		if (!S_ISREG(st.st_mode))
			return say(err, -EINVAL, path, "not a regular file");
		if (st.st_size == 0)
			return say(err, -EBADMSG, path,
				   "the state database is empty. Restore it from a backup, or remove it "
				   "to join as a new node");
	} else if (errno != ENOENT) {
		return say(err, -errno, path, strerror(errno));
	} else {
		ret = create(path, err);
		if (ret)
			return ret;
		*is_new = true;
	}
	ret = open_db(&s->db, path, SQLITE_OPEN_READWRITE);
	if (ret)
		return say(err, ret == -ENOMEM ? ret : -EBADMSG, path, "not a readable state database");
	ret = check_db(s->db, path, err);
	if (ret)
		return ret;
	ret = exec(s->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
			  "PRAGMA journal_size_limit=16777216;");
	return ret ? say(err, ret, path, strerror(-ret)) : 0;
}

/* The lock is a file of its own: sqlite's locks must stay usable for backups. */
static int take_lock(struct storedb *s, const char *path, char err[static STOREDB_ERR_MAX])
{
	char name[PATH_SIZE];

	(void)snprintf(name, sizeof(name), "%s.lock", path);
	s->lock_fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (s->lock_fd < 0)
		return say(err, -errno, name, strerror(errno));
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return say(err, -EBUSY, path, "another meshd uses this state");
}

static int make_dir(const char *path, char err[static STOREDB_ERR_MAX])
{
	char dir[PATH_SIZE];
	char *slash;

	(void)snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = 0;
	if (mkdir(dir, 0700) && errno != EEXIST)
		return say(err, -errno, dir, strerror(errno));
	return 0;
}

static int open_any(struct storedb *s, const char *path, bool *is_new, char err[static STOREDB_ERR_MAX])
{
	int ret;

	if (strcmp(path, "mem:") == 0) {
		*is_new = true;
		ret = open_db(&s->db, ":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
		if (!ret)
			ret = create_tables(s->db);
		return ret ? say(err, ret, path, strerror(-ret)) : 0;
	}
	if (strlen(path) + 8 > PATH_SIZE)
		return say(err, -ENAMETOOLONG, path, "path too long");
	ret = make_dir(path, err);
	if (!ret)
		ret = take_lock(s, path, err);
	return ret ? ret : open_file(s, path, is_new, err);
}

int storedb_open(struct storedb **out, const char *path, bool *is_new, char err[static STOREDB_ERR_MAX])
{
	struct storedb *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return say(err, -ENOMEM, path, "out of memory");
	s->lock_fd = -1;
	*is_new = false;
	ret = open_any(s, path, is_new, err);
	if (ret) {
		storedb_close(s);
		return ret;
	}
	*out = s;
	return 0;
}

void storedb_close(struct storedb *s)
{
	if (!s)
		return;
	(void)sqlite3_close(s->db);
	if (s->lock_fd >= 0)
		(void)close(s->lock_fd);
	free(s);
}

/* --- rows --- */

/* Checksum over the name and the value. */
static void row_check(uint8_t sum[static CHECK_SIZE], const char *name, const void *data, size_t size)
{
	crypto_generichash_state st;

	(void)crypto_generichash_init(&st, NULL, 0, CHECK_SIZE);
	(void)crypto_generichash_update(&st, (const unsigned char *)name, strlen(name) + 1);
	(void)crypto_generichash_update(&st, data, size);
	(void)crypto_generichash_final(&st, sum, CHECK_SIZE);
	sodium_memzero(&st, sizeof(st));
}

/* A row as it is on disk has its checksum at the end. The size of its value, or -EIO. */
static int64_t value_size(const char *name, const uint8_t *row, size_t size)
{
	uint8_t sum[CHECK_SIZE];

	if (size < CHECK_SIZE)
		return -EIO;
	size -= CHECK_SIZE;
	row_check(sum, name, row, size);
	return memcmp(sum, row + size, CHECK_SIZE) == 0 ? (int64_t)size : -EIO;
}

int storedb_each(struct storedb *s, const char *except, storedb_fn fn, void *ctx)
{
	sqlite3_stmt *st = NULL;
	int ret = -EIO, rc = SQLITE_ERROR;

	if (sqlite3_prepare_v2(s->db, "SELECT name, data FROM state WHERE name<>?", -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(st, 1, except, -1, SQLITE_STATIC) == SQLITE_OK) {
		ret = 0;
		while (!ret && (rc = sqlite3_step(st)) == SQLITE_ROW) {
			const char *name = (const char *)sqlite3_column_text(st, 0);
			const uint8_t *row = sqlite3_column_blob(st, 1);
			const int64_t size =
				name ? value_size(name, row, (size_t)sqlite3_column_bytes(st, 1)) : -EIO;

			if (!name)
				ret = -EIO;
			else
				ret = fn(ctx, name, size < 0 ? NULL : row, size < 0 ? 0 : (size_t)size);
		}
	}
	(void)sqlite3_finalize(st);
	return ret ? ret : rc == SQLITE_DONE ? 0 : -EIO;
}

int storedb_get(struct storedb *s, const char *name, struct bytes *out)
{
	sqlite3_stmt *st = NULL;
	int rc, ret = -EIO;

	if (sqlite3_prepare_v2(s->db, "SELECT data FROM state WHERE name=?", -1, &st, NULL) == SQLITE_OK &&
	    sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC) == SQLITE_OK) {
		rc = sqlite3_step(st);
		if (rc == SQLITE_DONE) {
			ret = -ENOENT;
		} else if (rc == SQLITE_ROW) {
			const uint8_t *row = sqlite3_column_blob(st, 0);
			const int64_t size = value_size(name, row, (size_t)sqlite3_column_bytes(st, 0));

			ret = size < 0 ? (int)size : bytes_append(out, row, (size_t)size);
		}
	}
	(void)sqlite3_finalize(st);
	return ret;
}

/* Writes one row, or deletes it when its data is null. */
static int write_row(sqlite3 *db, const struct storedb_row *w)
{
	const char *sql = w->data ? "INSERT INTO state (name, data) VALUES (?1, ?2) "
				    "ON CONFLICT (name) DO UPDATE SET data=excluded.data" :
				    "DELETE FROM state WHERE name=?1";
	uint8_t sum[CHECK_SIZE];
	sqlite3_stmt *st = NULL;
	struct bytes row = { 0 };
	int rc, err = 0;

	if (w->data) {
		row_check(sum, w->name, w->data, w->size);
		err = bytes_append(&row, w->data, w->size);
		if (!err)
			err = bytes_append(&row, sum, sizeof(sum));
	}
	rc = err ? SQLITE_NOMEM : sqlite3_prepare_v2(db, sql, -1, &st, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(st, 1, w->name, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK && w->data)
		rc = sqlite3_bind_blob64(st, 2, bytes_data(&row), bytes_size(&row), SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	(void)sqlite3_finalize(st);
	bytes_wipe(&row);
	return rc == SQLITE_DONE ? 0 : to_errno(rc);
}

int storedb_write(struct storedb *s, const struct storedb_row *rows, size_t n, char why[static STOREDB_ERR_MAX])
{
	int err = exec(s->db, "BEGIN IMMEDIATE");

	for (size_t i = 0; i < n && !err; i++)
		err = write_row(s->db, &rows[i]);
	if (!err)
		err = exec(s->db, "COMMIT");
	if (err) {
		(void)snprintf(why, STOREDB_ERR_MAX, "%s (%.200s)", strerror(-err), sqlite3_errmsg(s->db));
		(void)exec(s->db, "ROLLBACK");
	}
	return err;
}
