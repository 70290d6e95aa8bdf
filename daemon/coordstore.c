/* SPDX-License-Identifier: MIT */
/* coord.db: see coordstore.h. */
#include "daemon/coordstore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

enum { FORMAT = 1, WAL_PAGES = 4096 /* of 4 KiB: 16 MiB */ };

struct coordstore {
	sqlite3 *db;
	char *path;
};

/* Table names by enum reg_table. */
static const char *const tables[] = { "users", "nodes", "keys", "policies", "settings" };

/* The columns beside the data hold what must never break, whoever writes: no two nodes with one key, address or
 * name, no node whose user is gone. They are ordinary ones: generated columns could not use JSON functions with
 * an untrusted schema. */
static const char schema[] =
	"CREATE TABLE users (id INTEGER PRIMARY KEY, data TEXT NOT NULL, name TEXT NOT NULL UNIQUE);"
	"CREATE TABLE keys (id INTEGER PRIMARY KEY, data TEXT NOT NULL, prefix TEXT NOT NULL UNIQUE);"
	"CREATE TABLE nodes (id INTEGER PRIMARY KEY, data TEXT NOT NULL, name TEXT NOT NULL UNIQUE,"
	" node_key TEXT NOT NULL UNIQUE, ipv4 TEXT NOT NULL UNIQUE, ipv6 TEXT NOT NULL UNIQUE,"
	" user_id INTEGER REFERENCES users (id));"
	"CREATE INDEX nodes_user ON nodes (user_id);"
	"CREATE TABLE policies (id INTEGER PRIMARY KEY, data TEXT NOT NULL);"
	"CREATE TABLE settings (id INTEGER PRIMARY KEY, data TEXT NOT NULL);"
	"PRAGMA user_version = 1;";

/* How a row is put into each table: ?1 is its id, ?2 its JSON text. */
static const char *const puts_sql[] = {
	"INSERT INTO users (id, data, name) VALUES (?1, ?2, json_extract(?2, '$.Name'))"
	" ON CONFLICT (id) DO UPDATE SET data = excluded.data, name = excluded.name",
	"INSERT INTO nodes (id, data, name, node_key, ipv4, ipv6, user_id) VALUES (?1, ?2, json_extract(?2, '$.Name'),"
	" json_extract(?2, '$.Key'), json_extract(?2, '$.IPv4'), json_extract(?2, '$.IPv6'), json_extract(?2, '$.User'))"
	" ON CONFLICT (id) DO UPDATE SET data = excluded.data, name = excluded.name, node_key = excluded.node_key,"
	" ipv4 = excluded.ipv4, ipv6 = excluded.ipv6, user_id = excluded.user_id",
	"INSERT INTO keys (id, data, prefix) VALUES (?1, ?2, json_extract(?2, '$.Prefix'))"
	" ON CONFLICT (id) DO UPDATE SET data = excluded.data, prefix = excluded.prefix",
	"INSERT INTO policies (id, data) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET data = excluded.data",
	"INSERT INTO settings (id, data) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET data = excluded.data",
};

static int to_errno(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return 0;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_PERM:
	case SQLITE_CANTOPEN:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	default:
		return -EIO;
	}
}

static int run(sqlite3 *db, const char *sql)
{
	return to_errno(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

/* One value of a one-row query, as text in 'buf'. */
static int query_text(sqlite3 *db, const char *sql, char *buf, size_t size)
{
	sqlite3_stmt *st = NULL;
	const char *text;
	int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
	if (text)
		(void)snprintf(buf, size, "%s", text);
	else if (rc == SQLITE_ROW)
		rc = SQLITE_NOMEM;
	(void)sqlite3_finalize(st);
	return rc == SQLITE_ROW ? 0 : rc == SQLITE_DONE ? -ENOENT : to_errno(rc);
}

/* The file is made by us with its mode, before sqlite3 opens it. */
static int make_file(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600), err = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) != 0)
		err = -errno;
	else if (!S_ISREG(st.st_mode))
		err = -EINVAL;
	else if ((st.st_mode & 077) != 0 && fchmod(fd, 0600) != 0)
		err = -errno;
	(void)close(fd);
	return err;
}

static int settle(sqlite3 *db)
{
	char sql[64];
	int err = run(db, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA foreign_keys = ON;");

	(void)sqlite3_extended_result_codes(db, 1);
	(void)sqlite3_busy_timeout(db, 10000);
	if (!err)
		err = run(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
	(void)snprintf(sql, sizeof(sql), "PRAGMA wal_autocheckpoint = %d;", WAL_PAGES);
	return err ? err : run(db, sql);
}

static int check_format(sqlite3 *db, const char *path, char *why, size_t why_size)
{
	char text[200] = "";
	int err = query_text(db, "PRAGMA integrity_check(1)", text, sizeof(text)), version;

	if (!err && strcmp(text, "ok") != 0)
		err = -EBADMSG;
	if (!err)
		err = query_text(db, "PRAGMA user_version", text, sizeof(text));
	if (err) {
		(void)snprintf(why, why_size, "%s is damaged (%s): restore a backup or move it away", path,
			       *text ? text : sqlite3_errmsg(db));
		return err;
	}
	version = (int)strtol(text, NULL, 10);
	if (version > FORMAT) {
		(void)snprintf(why, why_size, "%s was written by a newer version (format %d, this one knows %d)", path,
			       version, FORMAT);
		return -EPROTO;
	}
	if (version == 0) {
		err = run(db, "BEGIN IMMEDIATE;");
		if (!err)
			err = run(db, schema);
		if (!err)
			err = run(db, "COMMIT;");
		if (err)
			(void)snprintf(why, why_size, "%s: can not create the tables: %s", path, sqlite3_errmsg(db));
	}
	return err;
}

int coordstore_open(struct coordstore **out, const char *path, char *why, size_t why_size)
{
	struct coordstore *s = calloc(1, sizeof(*s));
	int err = s ? make_file(path) : -ENOMEM, rc;

	if (s && !(s->path = strdup(path)))
		err = -ENOMEM;
	if (err) {
		(void)snprintf(why, why_size, "can not open %s: %s", path, strerror(-err));
		coordstore_close(s);
		return err;
	}
	rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	err = to_errno(rc);
	if (!err)
		err = settle(s->db);
	if (err)
		(void)snprintf(why, why_size, "can not open %s: %s", path, s->db ? sqlite3_errmsg(s->db) : "out of memory");
	else
		err = check_format(s->db, path, why, why_size);
	if (err) {
		coordstore_close(s);
		return err;
	}
	*out = s;
	return 0;
}

void coordstore_close(struct coordstore *s)
{
	if (!s)
		return;
	(void)sqlite3_close(s->db);
	free(s->path);
	free(s);
}

static int load_table(struct coordstore *s, enum reg_table table,
		      int (*row)(void *ctx, enum reg_table table, int64_t id, const char *data), void *ctx)
{
	sqlite3_stmt *st = NULL;
	char sql[64];
	int rc, err = 0;

	(void)snprintf(sql, sizeof(sql), "SELECT id, data FROM %s ORDER BY id", tables[table]);
	rc = sqlite3_prepare_v2(s->db, sql, -1, &st, NULL);
	while (rc == SQLITE_OK || rc == SQLITE_ROW) {
		const char *text;

		rc = sqlite3_step(st);
		if (rc != SQLITE_ROW)
			break;
		text = (const char *)sqlite3_column_text(st, 1);
		if (text)
			err = row(ctx, table, sqlite3_column_int64(st, 0), text);
		else /* out of memory, or NULL in a damaged row */
			err = sqlite3_errcode(s->db) == SQLITE_NOMEM ? -ENOMEM : -EBADMSG;
		if (err < 0)
			break;
	}
	(void)sqlite3_finalize(st);
	return err < 0 ? err : to_errno(rc);
}

int coordstore_load(struct coordstore *s, int (*row)(void *ctx, enum reg_table table, int64_t id, const char *data),
		    void *ctx)
{
	static const enum reg_table order[] = { REG_USERS, REG_KEYS, REG_NODES, REG_POLICIES, REG_SETTINGS };

	for (size_t i = 0; i < ARRAY_LEN(order); i++) {
		int err = load_table(s, order[i], row, ctx);

		if (err < 0)
			return err;
	}
	return 0;
}

static int delete_row(sqlite3 *db, const struct reg_write *w)
{
	sqlite3_stmt *st = NULL;
	char sql[64];
	int rc;

	(void)snprintf(sql, sizeof(sql), "DELETE FROM %s WHERE id = ?1", tables[w->table]);
	rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(st, 1, w->id);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	(void)sqlite3_finalize(st);
	return to_errno(rc);
}

static int put_row(sqlite3 *db, const struct reg_write *w)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db, puts_sql[w->table], -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int64(st, 1, w->id);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(st, 2, w->data, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	(void)sqlite3_finalize(st);
	return to_errno(rc);
}

/* Rows of nodes leave before any comes back, so that names, keys and addresses may be given on, and even swapped, in
 * one batch; users leave after the nodes that name them, and come before them. So the order of the rows means nothing. */
static int write_rows(sqlite3 *db, const struct reg_batch *b)
{
	enum { NODES_LEAVE, OTHERS_LEAVE, USERS_COME, OTHERS_COME, N_PASSES };
	int err = 0;

	for (int pass = 0; pass < N_PASSES && !err; pass++) {
		for (size_t i = 0; i < b->n_rows && !err; i++) {
			const struct reg_write *w = &b->rows[i];
			const int leaves = w->table == REG_NODES ? NODES_LEAVE : OTHERS_LEAVE;
			const int comes = w->table == REG_USERS ? USERS_COME : OTHERS_COME;

			if (pass == leaves && (!w->data || w->table == REG_NODES))
				err = delete_row(db, w);
			else if (pass == comes && w->data)
				err = put_row(db, w);
		}
	}
	return err;
}

int coordstore_write_group(struct coordstore *s, const struct reg_batch *const *b, size_t n)
{
	int err = run(s->db, "BEGIN IMMEDIATE;");

	if (err)
		return err;
	for (size_t i = 0; i < n && !err; i++)
		err = write_rows(s->db, b[i]);
	if (!err)
		err = run(s->db, "COMMIT;");
	if (err)
		(void)run(s->db, "ROLLBACK;");
	return err;
}

int coordstore_write(struct coordstore *s, const struct reg_batch *b)
{
	return coordstore_write_group(s, &b, 1);
}

int64_t coordstore_size(const struct coordstore *s)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	int64_t total = 0;
	char path[4096];
	struct stat st;

	for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
		int len = snprintf(path, sizeof(path), "%s%s", s->path, suffixes[i]);

		if (len > 0 && (size_t)len < sizeof(path) && stat(path, &st) == 0)
			total += st.st_size;
	}
	return total;
}

int coordstore_backup(struct coordstore *s, const char *path)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(s->db, "VACUUM INTO ?1", -1, &st, NULL);

	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text(st, 1, path, -1, SQLITE_STATIC);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	(void)sqlite3_finalize(st);
	/* It holds the server's keys. */
	if (rc == SQLITE_DONE && chmod(path, 0600) != 0)
		return -errno;
	return to_errno(rc);
}
