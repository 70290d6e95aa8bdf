/* SPDX-License-Identifier: MIT */
/* State as named values in one table of one sqlite3 database. A write that the disk refuses stays in memory
 * as pending: reads see it, and store_retry() writes it later. */
#include "config.h"

#include "daemon/store.h"

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

#include "base/log.h"

#define FORGET_SERVERS "DELETE FROM state WHERE name='map' OR name LIKE 'server:%'"

enum {
	SCHEMA_VERSION = 1,             /* PRAGMA user_version */
	APPLICATION_ID = 0x6d736864, /* "mshd" */
	BUSY_MS = 10000,           /* RELIABILITY 7, rule 7 */
	IDENTITY_SIZE = 2 + 3 * KEY_SIZE,
	IDENTITY_VERSION = 1,
	CHECK_SIZE = 16,           /* of a row: sqlite itself does not notice changed content */
	NAME_MAX_LEN = 1100,       /* "server:" and a URL */
	PATH_SIZE = 4096,
};

/* A value that is not on disk yet; null data = the row is to be deleted. */
struct pending {
	struct pending *next;
	char *name;
	void *data;
	size_t size;
};

struct store {
	sqlite3 *db;
	const struct log *log;
	int lock_fd;               /* -1 = none ("mem:") */
	bool is_new;
	struct pending *pending;
	char health[STORE_ERR_MAX];
};

/* --- opening --- */

static int say(char err[static STORE_ERR_MAX], int ret, const char *path, const char *what)
{
	(void)snprintf(err, STORE_ERR_MAX, "%.200s: %s", path, what);
	return ret;
}

static int exec(sqlite3 *db, const char *sql)
{
	int rc = sqlite3_exec(db, sql, NULL, NULL, NULL);

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
static int create(const char *path, char err[static STORE_ERR_MAX])
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

static int check_db(sqlite3 *db, const char *path, char err[static STORE_ERR_MAX])
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

static int open_file(struct store *s, const char *path, char err[static STORE_ERR_MAX])
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
		s->is_new = true;
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
static int take_lock(struct store *s, const char *path, char err[static STORE_ERR_MAX])
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

static int make_dir(const char *path, char err[static STORE_ERR_MAX])
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

static int open_any(struct store *s, const char *path, char err[static STORE_ERR_MAX])
{
	int ret;

	if (strcmp(path, "mem:") == 0) {
		s->is_new = true;
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
	return ret ? ret : open_file(s, path, err);
}

int store_open(struct store **out, const char *path, const struct log *log, char err[static STORE_ERR_MAX])
{
	struct store *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return say(err, -ENOMEM, path, "out of memory");
	s->lock_fd = -1;
	s->log = log;
	ret = open_any(s, path, err);
	if (ret) {
		store_close(s);
		return ret;
	}
	*out = s;
	return 0;
}

static void pending_free(struct pending *p)
{
	if (p->data)
		sodium_memzero(p->data, p->size);
	free(p->data);
	free(p->name);
	free(p);
}

void store_close(struct store *s)
{
	if (!s)
		return;
	while (s->pending) {
		struct pending *p = s->pending;

		s->pending = p->next;
		pending_free(p);
	}
	(void)sqlite3_close(s->db);
	if (s->lock_fd >= 0)
		(void)close(s->lock_fd);
	free(s);
}

bool store_is_new(const struct store *s)
{
	return s->is_new;
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

/* A row as it is on disk, its checksum at the end. */
static int row_append(struct bytes *out, const char *name, const uint8_t *row, size_t size)
{
	uint8_t sum[CHECK_SIZE];

	if (size < CHECK_SIZE)
		return -EIO;
	size -= CHECK_SIZE;
	row_check(sum, name, row, size);
	return memcmp(sum, row + size, CHECK_SIZE) == 0 ? bytes_append(out, row, size) : -EIO;
}

static int row_get(struct store *s, const char *name, struct bytes *out)
{
	sqlite3_stmt *st = NULL;
	int rc, ret = -EIO;

	for (const struct pending *p = s->pending; p; p = p->next)
		if (strcmp(p->name, name) == 0)
			return p->data ? bytes_append(out, p->data, p->size) : -ENOENT;
	if (sqlite3_prepare_v2(s->db, "SELECT data FROM state WHERE name=?", -1, &st, NULL) != SQLITE_OK)
		return -EIO;
	if (sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC) == SQLITE_OK) {
		rc = sqlite3_step(st);
		if (rc == SQLITE_DONE)
			ret = -ENOENT;
		else if (rc == SQLITE_ROW)
			ret = row_append(out, name, sqlite3_column_blob(st, 0),
					 (size_t)sqlite3_column_bytes(st, 0));
	}
	(void)sqlite3_finalize(st);
	if (ret == -EIO)
		log_error(s->log, "store: %s: damaged", name);
	return ret;
}

/* Writes one row, or deletes it when 'data' is null. On disk when it returns 0. */
static int row_write(struct store *s, const char *name, const void *data, size_t size)
{
	const char *sql = data ? "INSERT INTO state (name, data) VALUES (?1, ?2) "
				 "ON CONFLICT (name) DO UPDATE SET data=excluded.data" :
				 "DELETE FROM state WHERE name=?1";
	uint8_t sum[CHECK_SIZE];
	sqlite3_stmt *st = NULL;
	struct bytes row = { 0 };
	int rc, err;

	if (data) {
		row_check(sum, name, data, size);
		err = bytes_append(&row, data, size);
		if (!err)
			err = bytes_append(&row, sum, sizeof(sum));
		if (err) {
			bytes_wipe(&row);
			return err;
		}
	}
	rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK && data)
		rc = sqlite3_bind_blob64(st, 2, bytes_data(&row), bytes_size(&row), SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	(void)sqlite3_finalize(st);
	bytes_wipe(&row);
	if (rc == SQLITE_DONE)
		return 0;
	return (rc & 0xff) == SQLITE_FULL ? -ENOSPC : (rc & 0xff) == SQLITE_READONLY ? -EROFS : -EIO;
}

static struct pending *take_pending(struct store *s, const char *name)
{
	for (struct pending **at = &s->pending; *at; at = &(*at)->next) {
		struct pending *p = *at;

		if (strcmp(p->name, name) == 0) {
			*at = p->next;
			return p;
		}
	}
	return NULL;
}

/* Remembers a row that the disk refused. Out of memory here loses it: then the caller's error says so. */
static void keep(struct store *s, const char *name, const void *data, size_t size)
{
	struct pending *p = calloc(1, sizeof(*p));

	if (!p)
		return;
	p->name = strdup(name);
	p->size = size;
	if (data) {
		p->data = malloc(size ? size : 1);
		if (p->data)
			memcpy(p->data, data, size);
	}
	if (!p->name || (data && !p->data)) {
		pending_free(p);
		return;
	}
	p->next = s->pending;
	s->pending = p;
}

static int row_put(struct store *s, const char *name, const void *data, size_t size)
{
	struct pending *old = take_pending(s, name);
	int ret = row_write(s, name, data, size);

	if (old)
		pending_free(old);
	if (!ret) {
		if (!s->pending)
			s->health[0] = 0;
		return 0;
	}
	keep(s, name, data, size);
	(void)snprintf(s->health, sizeof(s->health), "state cannot be written: %s (%s)", strerror(-ret),
		       sqlite3_errmsg(s->db));
	log_error(s->log, "store: %s: %s", name, s->health);
	return ret;
}

const char *store_health(const struct store *s)
{
	return s->health[0] ? s->health : NULL;
}

void store_retry(struct store *s)
{
	while (s->pending) {
		struct pending *p = s->pending;

		if (row_write(s, p->name, p->data, p->size))
			return;
		s->pending = p->next;
		pending_free(p);
	}
	if (s->health[0])
		log_info(s->log, "store: state is on disk again");
	s->health[0] = 0;
}

/* --- identity --- */

int store_get_identity(struct store *s, struct store_identity *id)
{
	struct bytes row = { 0 };
	int ret = row_get(s, "identity", &row);
	struct rd r = RD(bytes_data(&row), bytes_size(&row));
	int64_t n = 1;

	/* Other rows without an identity: it was lost, and must not be made anew. */
	if (ret == -ENOENT && !s->pending &&
	    (query_one(s->db, "SELECT count(*) FROM state", NULL, 0, &n) || n > 0))
		ret = -EIO;
	if (!ret && (bytes_size(&row) != IDENTITY_SIZE || rd_u8(&r) != IDENTITY_VERSION))
		ret = -EIO;
	if (!ret) {
		id->is_registered = rd_u8(&r) != 0;
		rd_bytes(&r, id->machine.b, KEY_SIZE);
		rd_bytes(&r, id->node.b, KEY_SIZE);
		rd_bytes(&r, id->old_node.b, KEY_SIZE);
	}
	bytes_wipe(&row);
	if (ret)
		store_identity_wipe(id);
	return ret;
}

static void write_identity(uint8_t row[static IDENTITY_SIZE], const struct store_identity *id)
{
	struct wr w = WR(row, IDENTITY_SIZE);

	wr_u8(&w, IDENTITY_VERSION);
	wr_u8(&w, id->is_registered);
	wr_bytes(&w, id->machine.b, KEY_SIZE);
	wr_bytes(&w, id->node.b, KEY_SIZE);
	wr_bytes(&w, id->old_node.b, KEY_SIZE);
}

int store_put_identity(struct store *s, const struct store_identity *id)
{
	uint8_t row[IDENTITY_SIZE];
	int ret;

	write_identity(row, id);
	ret = row_put(s, "identity", row, sizeof(row));
	sodium_memzero(row, sizeof(row));
	return ret;
}

void store_identity_wipe(struct store_identity *id)
{
	sodium_memzero(id, sizeof(*id));
}

/* --- preferences --- */

int store_get_prefs(struct store *s, struct prefs *p)
{
	char err[PREFS_ERR_MAX];
	struct bytes row = { 0 };
	int ret = row_get(s, "prefs", &row);

	if (ret == -ENOENT) {
		prefs_defaults(p);
		ret = 0;
	} else if (!ret) {
		ret = prefs_parse(p, (const char *)bytes_data(&row), bytes_size(&row), err);
		if (ret)
			log_error(s->log, "store: preferences: %s", err);
	}
	bytes_wipe(&row);
	return ret;
}

int store_put_prefs(struct store *s, const struct prefs *p)
{
	struct bytes row = { 0 };
	int ret = prefs_write(&row, p, NULL);

	if (!ret)
		ret = row_put(s, "prefs", bytes_data(&row), bytes_size(&row));
	bytes_wipe(&row);
	return ret;
}

/* --- server keys, map, floor, values --- */

static int prefixed(char name[static NAME_MAX_LEN], const char *prefix, const char *rest)
{
	int n = snprintf(name, NAME_MAX_LEN, "%s%s", prefix, rest);

	return n > 0 && n < NAME_MAX_LEN ? 0 : -ENAMETOOLONG;
}

int store_get_server_key(struct store *s, const char *url, struct machine_key *key)
{
	char name[NAME_MAX_LEN];
	struct bytes row = { 0 };
	int ret = prefixed(name, "server:", url);

	if (!ret)
		ret = row_get(s, name, &row);
	if (!ret && bytes_size(&row) != KEY_SIZE)
		ret = -EIO;
	if (!ret)
		memcpy(key->b, bytes_data(&row), KEY_SIZE);
	bytes_wipe(&row);
	return ret;
}

int store_put_server_key(struct store *s, const char *url, const struct machine_key *key)
{
	char name[NAME_MAX_LEN];
	int ret = prefixed(name, "server:", url);

	return ret ? ret : row_put(s, name, key->b, KEY_SIZE);
}

/* The row is the URL, a NUL, and the map. */
int store_get_map(struct store *s, const char *url, struct bytes *map)
{
	size_t len = strlen(url) + 1;
	struct bytes row = { 0 };
	int ret = row_get(s, "map", &row);

	if (!ret && (bytes_size(&row) <= len || memcmp(bytes_data(&row), url, len) != 0))
		ret = -ENOENT;
	if (!ret)
		ret = bytes_append(map, bytes_data(&row) + len, bytes_size(&row) - len);
	bytes_wipe(&row);
	return ret == -EIO ? -ENOENT : ret;
}

int store_put_map(struct store *s, const char *url, const void *map, size_t size)
{
	struct bytes row = { 0 };
	int ret = bytes_append(&row, url, strlen(url) + 1);

	if (!ret)
		ret = bytes_append(&row, map, size);
	/* A cache: what the disk refuses is not kept for later. */
	if (!ret)
		ret = row_write(s, "map", bytes_data(&row), bytes_size(&row));
	bytes_wipe(&row);
	return ret;
}

int store_del_map(struct store *s)
{
	return row_write(s, "map", NULL, 0);
}

int store_get_floor(struct store *s, int64_t *unix_s)
{
	struct bytes row = { 0 };
	int ret = row_get(s, "floor", &row);
	struct rd r = RD(bytes_data(&row), bytes_size(&row));

	*unix_s = 0;
	if (ret == -ENOENT)
		ret = 0;
	else if (!ret && bytes_size(&row) != sizeof(*unix_s))
		ret = -EIO;
	else if (!ret)
		*unix_s = (int64_t)rd_be64(&r);
	bytes_wipe(&row);
	return ret;
}

int store_put_floor(struct store *s, int64_t unix_s)
{
	uint8_t row[sizeof(unix_s)];
	struct wr w = WR(row, sizeof(row));

	wr_be64(&w, (uint64_t)unix_s);
	return row_put(s, "floor", row, sizeof(row));
}

int store_get_value(struct store *s, const char *name, struct bytes *value)
{
	char full[NAME_MAX_LEN];
	int ret = prefixed(full, "value:", name);

	return ret ? ret : row_get(s, full, value);
}

int store_put_value(struct store *s, const char *name, const void *value, size_t size)
{
	char full[NAME_MAX_LEN];
	int ret = prefixed(full, "value:", name);

	return ret ? ret : row_put(s, full, value, size);
}

int store_take_over(struct store *s, const struct store_identity *id, const char *url, const struct prefs *p)
{
	uint8_t identity[IDENTITY_SIZE];
	struct bytes prefs = { 0 };
	int ret = exec(s->db, "BEGIN IMMEDIATE");

	if (ret)
		return ret;
	write_identity(identity, id);
	ret = row_write(s, "identity", identity, sizeof(identity));
	sodium_memzero(identity, sizeof(identity));
	if (!ret)
		ret = row_write(s, "value:identity_url", url, strlen(url));
	if (!ret)
		ret = prefs_write(&prefs, p, NULL);
	if (!ret)
		ret = row_write(s, "prefs", bytes_data(&prefs), bytes_size(&prefs));
	bytes_wipe(&prefs);
	if (!ret)
		ret = exec(s->db, FORGET_SERVERS);
	if (!ret)
		ret = exec(s->db, "COMMIT");
	if (ret)
		(void)!exec(s->db, "ROLLBACK"); /* its error is that of what failed before */
	return ret;
}

int store_forget_login(struct store *s)
{
	struct store_identity id = { 0 };
	int ret = store_get_identity(s, &id);

	if (ret == -ENOENT)
		ret = 0;
	else if (!ret) {
		/* The key of an ended login must never be sent again: the next one rotates. */
		sodium_memzero(&id.node, sizeof(id.node));
		sodium_memzero(&id.old_node, sizeof(id.old_node));
		id.is_registered = false;
		ret = store_put_identity(s, &id);
	}
	store_identity_wipe(&id);
	if (!ret)
		ret = exec(s->db, FORGET_SERVERS);
	return ret;
}
