/* SPDX-License-Identifier: MIT */
/* The coordinator role over a disk that fails: whoever waits for it is answered, also when the daemon stops. */
#include "tests/unit/testing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/coordrole.h"
#include "daemon/loop.h"
#include "tests/unit/slowdisk.h"

enum { PATIENCE_MS = 20000, CALLS_MAX = 8 };

struct fixture {
	char dir[64], db[96];
	struct slowdisk *disk;
	struct loop *loop;
	struct env env;
	struct coordrole *role;
	unsigned status[CALLS_MAX]; /* of each call; 0 = no answer */
	char text[CALLS_MAX][2048];
	unsigned n_replies;
};

static void changed(void *ctx, struct mono now)
{
	(void)ctx;
	(void)now;
}

static void reply(void *ctx, uint64_t call, unsigned status, const char *json, size_t size)
{
	struct fixture *f = ctx;

	assert_true(call < CALLS_MAX);
	assert_int_equal(f->status[call], 0); /* once */
	f->status[call] = status;
	(void)snprintf(f->text[call], sizeof(f->text[call]), "%.*s", (int)size, json);
	f->n_replies++;
}

static void turn_end(void *ctx, struct mono now)
{
	struct fixture *f = ctx;

	while (coordrole_pump(f->role, now))
		;
}

static void open_role(struct fixture *f)
{
	const struct coordrole_cfg cfg = { .loop = f->loop, .env = &f->env, .db_path = f->db,
					   .events = { .changed = changed, .reply = reply, .ctx = f } };
	char why[COORDROLE_ERR_MAX] = "";

	if (coordrole_open(&f->role, &cfg, loop_now(f->loop), why) != 0)
		fail_msg("%s", why);
}

static uint16_t free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	(void)close(fd);
	return ntohs(a.sin_port);
}

/* Another program may take the port that was free: then another one. */
static int try_enable(struct fixture *f, char why[static COORDROLE_ERR_MAX])
{
	char url[64], warn[COORDROLE_WARN_MAX];
	const struct coordrole_settings s = { .url = url, .listen = "127.0.0.1", .stun_port = -1 };
	int err = -EADDRINUSE;

	for (int i = 0; i < 20 && err == -EADDRINUSE; i++) {
		struct coordrole_settings full = s;
		char listen[32];
		const uint16_t port = free_port();

		(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
		(void)snprintf(listen, sizeof(listen), "127.0.0.1:%u", port);
		full.listen = listen;
		err = coordrole_enable(f->role, loop_now(f->loop), &full, why, warn);
	}
	return err;
}

static void enable(struct fixture *f)
{
	char why[COORDROLE_ERR_MAX] = "";
	const int err = try_enable(f, why);

	if (err)
		fail_msg("%s: %s", strerror(-err), why);
}

static void turn_until_replies(struct fixture *f, unsigned want)
{
	const struct mono end = mono_add_ms(loop_clock(), PATIENCE_MS);

	while (f->n_replies < want) {
		assert_int_equal(loop_turn(f->loop, 100), 0);
		assert_false(mono_due(end, loop_clock()));
	}
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/meshd-role-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->db, sizeof(f->db), "%s/coord.db", f->dir);
	f->disk = slowdisk_new();
	f->loop = loop_new(NULL);
	assert_non_null(f->loop);
	f->env = loop_env(NULL);
	open_role(f);
	loop_set_turn_end(f->loop, turn_end, f);
	enable(f);
	coordrole_answer(f->role, 0, "{\"on\":true}");
	turn_until_replies(f, 1);
	assert_int_equal(f->status[0], 200);
	assert_string_equal(f->text[0], "{\"on\":true}");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { "coord.db", "coord.db-wal", "coord.db-shm" };
	struct fixture *f = *state;

	slowdisk_go(f->disk);
	slowdisk_fail(f->disk, false);
	coordrole_close(f->role);
	loop_free(f->loop);
	slowdisk_free(f->disk);
	test_remove_dir(f->dir, names, ARRAY_LEN(names));
	free(f);
	return 0;
}

static void close_role(struct fixture *f)
{
	coordrole_close(f->role);
	f->role = NULL;
}

static void disable(struct fixture *f, uint64_t call)
{
	char why[COORDROLE_ERR_MAX] = "";

	assert_int_equal(coordrole_disable(f->role, loop_now(f->loop), why), 0);
	coordrole_answer(f->role, call, "{}");
}

static void admin(struct fixture *f, uint64_t call, const char *verb, const char *body)
{
	coordrole_admin(f->role, loop_now(f->loop), call, verb, body, strlen(body));
}

/* Two calls wait for the disk when the daemon stops. */
static void close_over_two_calls(struct fixture *f)
{
	admin(f, 1, "keys.create", "{}");
	disable(f, 2);
	assert_int_equal(f->n_replies, 1);
	close_role(f);
}

static void closing_answers_when_it_is_on_disk(void **state)
{
	struct fixture *f = *state;

	close_over_two_calls(f);
	assert_int_equal(f->status[1], 200);
	assert_non_null(strstr(f->text[1], "hskey-auth-"));
	assert_int_equal(f->status[2], 200);
	assert_string_equal(f->text[2], "{}");
	open_role(f); /* and it is */
	assert_int_equal(loop_turn(f->loop, 0), 0);
	assert_false(coordrole_is_on(f->role));
}

static void closing_tells_that_the_disk_refused(void **state)
{
	struct fixture *f = *state;

	slowdisk_fail(f->disk, true);
	close_over_two_calls(f);
	assert_int_equal(f->status[1], 500);
	assert_non_null(strstr(f->text[1], "{\"Error\":\"in force, but not stored: "));
	assert_null(strstr(f->text[1], "hskey-auth-"));
	assert_int_equal(f->status[2], 500);
	assert_non_null(strstr(f->text[2], "in force, but not stored: "));
}

/* The disk is broken for longer than anybody waits. */
static void callers_do_not_wait_for_a_broken_disk(void **state)
{
	struct fixture *f = *state;

	slowdisk_fail(f->disk, true);
	admin(f, 1, "keys.create", "{}");
	turn_until_replies(f, 2);
	assert_int_equal(f->status[1], 500);
	/* What changes nothing is answered as ever, and what waits is tried again before the back-off is over. */
	admin(f, 2, "keys.list", "");
	admin(f, 3, "nodes.list", "");
	turn_until_replies(f, 4);
	assert_int_equal(f->status[2], 200);
	assert_int_equal(f->status[3], 200);
	slowdisk_fail(f->disk, false);
	admin(f, 4, "keys.create", "{}");
	turn_until_replies(f, 5);
	assert_int_equal(f->status[4], 200);
}

static void run_sql(const struct fixture *f, const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(f->db, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* What was read before the damaged row must not be served, however often it is tried. */
static void a_damaged_database_is_never_served(void **state)
{
	char why[COORDROLE_ERR_MAX] = "";
	struct fixture *f = *state;

	close_role(f);
	run_sql(f, "INSERT INTO users VALUES (99, '[]', 'x')");
	open_role(f);
	assert_int_equal(loop_turn(f->loop, 0), 0);
	assert_false(coordrole_is_on(f->role));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(try_enable(f, why), -EBADMSG);
		assert_non_null(strstr(why, "the database cannot be used"));
		assert_false(coordrole_is_on(f->role));
	}
	/* Repaired, it is. */
	close_role(f);
	run_sql(f, "DELETE FROM users WHERE id = 99");
	open_role(f);
	assert_int_equal(loop_turn(f->loop, 0), 0);
	assert_true(coordrole_is_on(f->role));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(closing_answers_when_it_is_on_disk),
		TEST(closing_tells_that_the_disk_refused),
		TEST(callers_do_not_wait_for_a_broken_disk),
		TEST(a_damaged_database_is_never_served),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
