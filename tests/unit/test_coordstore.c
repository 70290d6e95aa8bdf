/* SPDX-License-Identifier: MIT */
/* coord.db in a temporary directory: rows, constraints, damage, newer formats. */
#include "testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#include "daemon/coordstore.h"

struct fixture {
	char dir[64], path[96];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/test_coordstore.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/coord.db", f->dir);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { "coord.db", "coord.db-wal", "coord.db-shm", "copy.db" };
	struct fixture *f = *state;

	test_remove_dir(f->dir, names, ARRAY_LEN(names));
	free(f);
	return 0;
}

static struct coordstore *reopen(const struct fixture *f)
{
	struct coordstore *s = NULL;
	char why[256] = "";

	if (coordstore_open(&s, f->path, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	return s;
}

static int put(struct coordstore *s, enum reg_table table, int64_t id, const char *data)
{
	struct reg_write w = { table, id, (char *)(uintptr_t)data };
	const struct reg_batch b = { .rows = &w, .n_rows = 1 };

	return coordstore_write(s, &b);
}

struct seen {
	char text[1024];
};

static int see(void *ctx, enum reg_table table, int64_t id, const char *data)
{
	struct seen *s = ctx;
	size_t at = strlen(s->text);

	(void)snprintf(s->text + at, sizeof(s->text) - at, "%d:%lld:%s;", table, (long long)id, data);
	return 0;
}

#define NODE(key, ip, name, user)                                                                                 \
	"{\"Key\":\"" key "\",\"IPv4\":\"" ip "\",\"IPv6\":\"::" ip "\",\"Name\":\"" name "\",\"User\":" user "}"

static void rows_survive_in_order(void **state)
{
	const struct fixture *f = *state;
	struct coordstore *s = reopen(f);
	struct seen seen = { "" };
	struct stat st;

	assert_int_equal(put(s, REG_SETTINGS, 1, "1"), 0);
	assert_int_equal(put(s, REG_POLICIES, 1, "2"), 0);
	assert_int_equal(put(s, REG_USERS, 1, "{\"Name\":\"a\"}"), 0);
	assert_int_equal(put(s, REG_NODES, 2, NODE("k2", "2", "two", "1")), 0);
	assert_int_equal(put(s, REG_NODES, 1, NODE("k1", "1", "one", "1")), 0);
	assert_int_equal(put(s, REG_NODES, 2, NULL), 0);
	assert_int_equal(put(s, REG_SETTINGS, 1, "3"), 0);
	assert_true(coordstore_size(s) > 0);
	coordstore_close(s);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	s = reopen(f);
	assert_int_equal(coordstore_load(s, see, &seen), 0);
	assert_string_equal(seen.text, "0:1:{\"Name\":\"a\"};1:1:" NODE("k1", "1", "one", "1") ";3:1:2;4:1:3;");
	coordstore_close(s);
}

static void constraints_hold(void **state)
{
	struct coordstore *s = reopen(*state);
	struct reg_write w[] = { { REG_NODES, 1, NULL },
				 { REG_NODES, 2, (char *)(uintptr_t)NODE("k9", "9", "one", "1") } };
	struct reg_write x[] = { { REG_NODES, 1, (char *)(uintptr_t)NODE("k1", "1", "one", "1") },
				 { REG_NODES, 2, (char *)(uintptr_t)NODE("k9", "9", "two", "1") } };
	const struct reg_batch b = { .rows = w, .n_rows = 2 }, swap = { .rows = x, .n_rows = 2 };

	assert_int_equal(put(s, REG_NODES, 1, NODE("k1", "1", "one", "7")), -EEXIST); /* no user 7 */
	assert_int_equal(put(s, REG_USERS, 1, "{\"Name\":\"a\"}"), 0);
	assert_int_equal(put(s, REG_NODES, 1, NODE("k1", "1", "one", "1")), 0);
	assert_int_equal(put(s, REG_NODES, 2, NODE("k1", "2", "two", "1")), -EEXIST);
	assert_int_equal(put(s, REG_NODES, 2, NODE("k2", "1", "two", "1")), -EEXIST);
	assert_int_equal(put(s, REG_NODES, 2, NODE("k2", "2", "one", "1")), -EEXIST);
	assert_int_equal(put(s, REG_NODES, 2, NODE("k2", "2", "two", "null")), 0); /* tagged */
	/* A name that is freed may be given on in the same batch; two nodes may swap theirs. */
	assert_int_equal(coordstore_write(s, &b), 0);
	assert_int_equal(put(s, REG_NODES, 1, NODE("k1", "1", "two", "1")), 0);
	assert_int_equal(coordstore_write(s, &swap), 0);
	coordstore_close(s);
}

static void the_order_in_a_batch_means_nothing(void **state)
{
	struct coordstore *s = reopen(*state);
	struct reg_write in[] = { { REG_NODES, 1, (char *)(uintptr_t)NODE("k1", "1", "one", "1") },
				  { REG_USERS, 1, (char *)(uintptr_t) "{\"Name\":\"a\"}" } };
	/* The node changes hands and its old user goes. */
	struct reg_write move[] = { { REG_USERS, 1, NULL },
				    { REG_NODES, 1, (char *)(uintptr_t)NODE("k1", "1", "one", "2") },
				    { REG_USERS, 2, (char *)(uintptr_t) "{\"Name\":\"a\"}" } };
	struct reg_write out[] = { { REG_USERS, 2, NULL }, { REG_NODES, 1, NULL } };
	const struct reg_batch b[] = { { .rows = in, .n_rows = 2 }, { .rows = move, .n_rows = 3 }, { .rows = out, .n_rows = 2 } };
	struct seen seen = { "" };

	for (size_t i = 0; i < ARRAY_LEN(b); i++)
		assert_int_equal(coordstore_write(s, &b[i]), 0);
	assert_int_equal(coordstore_load(s, see, &seen), 0);
	assert_string_equal(seen.text, "");
	coordstore_close(s);
}

static void a_batch_is_all_or_nothing(void **state)
{
	struct coordstore *s = reopen(*state);
	struct reg_write w[] = { { REG_SETTINGS, 1, (char *)(uintptr_t) "x" },
				 { REG_NODES, 1, (char *)(uintptr_t)NODE("k1", "1", "one", "7") } };
	const struct reg_batch b = { .rows = w, .n_rows = 2 };
	struct seen seen = { "" };

	assert_int_equal(coordstore_write(s, &b), -EEXIST);
	assert_int_equal(coordstore_load(s, see, &seen), 0);
	assert_string_equal(seen.text, "");
	coordstore_close(s);
}

static void damage_is_refused(void **state)
{
	const struct fixture *f = *state;
	struct coordstore *s = reopen(f);
	char why[256] = "";
	FILE *file;

	coordstore_close(s);
	file = fopen(f->path, "r+b");
	assert_non_null(file);
	assert_int_equal(fseek(file, 10, SEEK_SET), 0);
	for (int i = 0; i < 3000; i++)
		(void)fputc(0x5a, file);
	(void)fclose(file);
	assert_true(coordstore_open(&s, f->path, why, sizeof(why)) < 0);
	assert_non_null(strstr(why, "coord.db"));
	file = fopen(f->path, "wb");
	(void)fputs("this is not a database, but it is long enough to look at. this is not a database.", file);
	(void)fclose(file);
	assert_true(coordstore_open(&s, f->path, why, sizeof(why)) < 0);
}

static void newer_format_is_refused(void **state)
{
	const struct fixture *f = *state;
	struct coordstore *s = reopen(f);
	char why[256] = "";
	sqlite3 *db;

	coordstore_close(s);
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 9", NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(db);
	assert_int_equal(coordstore_open(&s, f->path, why, sizeof(why)), -EPROTO);
	assert_non_null(strstr(why, "newer version"));
}

static void backup_is_complete(void **state)
{
	struct fixture *f = *state;
	struct coordstore *s = reopen(f);
	struct seen seen = { "" };
	char copy[128];

	(void)snprintf(copy, sizeof(copy), "%s/copy.db", f->dir);
	assert_int_equal(put(s, REG_SETTINGS, 3, "x"), 0);
	assert_int_equal(coordstore_backup(s, copy), 0);
	coordstore_close(s);
	assert_int_equal(rename(copy, f->path), 0);
	s = reopen(f);
	assert_int_equal(coordstore_load(s, see, &seen), 0);
	assert_string_equal(seen.text, "4:3:x;");
	coordstore_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rows_survive_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(constraints_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(the_order_in_a_batch_means_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_batch_is_all_or_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(damage_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(newer_format_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(backup_is_complete, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
