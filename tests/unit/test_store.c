/* SPDX-License-Identifier: MIT */
/* State on disk: what is kept, what is refused, and that damage never becomes a new identity. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/store.h"
#include "wire/prefval.h"

struct dir {
	char path[64];
	char db[96];
};

static int setup(void **state)
{
	struct dir *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	(void)snprintf(d->path, sizeof(d->path), "/tmp/meshd-store-XXXXXX");
	assert_non_null(mkdtemp(d->path));
	(void)snprintf(d->db, sizeof(d->db), "%s/meshd.db", d->path);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { "meshd.db", "meshd.db-wal", "meshd.db-shm", "meshd.db.lock", "meshd.db.new",
					     "meshd.db.copy" };
	struct dir *d = *state;

	test_remove_dir(d->path, names, ARRAY_LEN(names));
	free(d);
	return 0;
}

static struct store *open_ok(const char *path)
{
	char err[STORE_ERR_MAX] = "";
	struct store *s = NULL;

	if (store_open(&s, path, NULL, err))
		fail_msg("%s", err);
	return s;
}

static int open_fails(const char *path, const char *want)
{
	char err[STORE_ERR_MAX] = "";
	struct store *s = NULL;
	int ret = store_open(&s, path, NULL, err);

	assert_null(s);
	if (!strstr(err, want))
		fail_msg("'%s' does not say '%s'", err, want);
	return ret;
}

static void fill_identity(struct store *s)
{
	struct store_identity id = { .is_registered = true };

	memset(id.machine.b, 1, KEY_SIZE);
	memset(id.node.b, 2, KEY_SIZE);
	assert_int_equal(store_put_identity(s, &id), 0);
}

static void values_are_there_after_reopening(void **state)
{
	const struct dir *d = *state;
	struct store *s = open_ok(d->db);
	struct store_identity id = { 0 };
	struct machine_key key = { { 7 } }, got;
	char err[PREFS_ERR_MAX];
	struct bytes b = { 0 };
	struct prefs p = { 0 };
	struct stat st;
	int64_t floor;

	assert_true(store_is_new(s));
	assert_int_equal(store_get_identity(s, &id), -ENOENT);
	assert_int_equal(store_get_prefs(s, &p), 0);
	assert_true(p.corp_dns);
	fill_identity(s);
	assert_int_equal(prefval_relay_port(&p, "40000", err), 0);
	assert_int_equal(store_put_prefs(s, &p), 0);
	assert_int_equal(store_put_server_key(s, "http://192.0.2.1:443", &key), 0);
	assert_int_equal(store_put_map(s, "http://192.0.2.1:443", "map", 3), 0);
	assert_int_equal(store_put_floor(s, 1234567890123), 0);
	store_close(s);
	assert_int_equal(stat(d->db, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	prefs_wipe(&p);

	s = open_ok(d->db);
	assert_false(store_is_new(s));
	assert_int_equal(store_get_identity(s, &id), 0);
	assert_int_equal(id.node.b[31], 2);
	assert_true(id.is_registered);
	assert_int_equal(store_get_prefs(s, &p), 0);
	assert_int_equal(p.relay_port, 40000);
	assert_int_equal(store_get_server_key(s, "http://192.0.2.1:443", &got), 0);
	assert_int_equal(got.b[0], 7);
	assert_int_equal(store_get_server_key(s, "http://192.0.2.2:443", &got), -ENOENT);
	assert_int_equal(store_get_map(s, "http://192.0.2.1:443", &b), 0);
	assert_int_equal(bytes_size(&b), 3);
	assert_int_equal(store_get_map(s, "http://192.0.2.2:443", &b), -ENOENT);
	assert_int_equal(store_get_floor(s, &floor), 0);
	assert_int_equal(floor, 1234567890123);
	assert_null(store_health(s));
	bytes_wipe(&b);
	prefs_wipe(&p);
	store_close(s);
}

static void logout_forgets_the_node_key_and_keeps_the_machine(void **state)
{
	const struct dir *d = *state;
	struct store *s = open_ok(d->db);
	struct store_identity id = { 0 };

	fill_identity(s);
	assert_int_equal(store_forget_login(s), 0);
	assert_int_equal(store_get_identity(s, &id), 0);
	assert_int_equal(id.machine.b[0], 1);
	assert_int_equal(id.node.b[0], 0);
	assert_false(id.is_registered);
	store_close(s);
}

static void keys_that_are_gone_are_not_made_anew(void **state)
{
	const struct dir *d = *state;
	struct store *s = open_ok(d->db);
	struct store_identity id = { 0 };
	struct machine_key key = { { 7 } };

	/* A daemon that never logged in keeps a few values: still a new node. */
	assert_int_equal(store_put_value(s, "udp_port", "xx", 2), 0);
	store_close(s);
	s = open_ok(d->db);
	assert_int_equal(store_get_identity(s, &id), -ENOENT);
	assert_int_equal(store_put_server_key(s, "http://192.0.2.1:443", &key), 0);
	store_close(s);
	s = open_ok(d->db);
	assert_int_equal(store_get_identity(s, &id), -EIO);
	store_close(s);
}

static void second_daemon_is_refused(void **state)
{
	const struct dir *d = *state;
	struct store *s = open_ok(d->db);

	assert_int_equal(open_fails(d->db, "another meshd uses this state"), -EBUSY);
	store_close(s);
	store_close(open_ok(d->db));
}

static void write_file(const char *path, const void *data, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), (ssize_t)size);
	(void)close(fd);
}

static void damage_is_refused_and_left_alone(void **state)
{
	const struct dir *d = *state;
	char wal[120];
	struct stat st;

	write_file(d->db, "", 0);
	assert_int_equal(open_fails(d->db, "is empty"), -EBADMSG);
	write_file(d->db, "this is not a database, but long enough to look at it twice", 58);
	assert_int_equal(open_fails(d->db, "state database"), -EBADMSG);
	assert_int_equal(stat(d->db, &st), 0);
	assert_int_equal(st.st_size, 58);
	assert_int_equal(unlink(d->db), 0);
	(void)snprintf(wal, sizeof(wal), "%s-wal", d->db);
	write_file(wal, "x", 1);
	assert_int_equal(open_fails(d->db, "is gone but its write-ahead log is there"), -EBADMSG);
	assert_int_equal(unlink(wal), 0);
	assert_int_equal(symlink("/etc/passwd", d->db), 0);
	assert_int_equal(open_fails(d->db, "not a regular file"), -EINVAL);
	assert_int_equal(open_fails(d->path, "not a regular file"), -EINVAL);
}

static size_t read_file(const char *path, uint8_t *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, buf, size);
	(void)close(fd);
	assert_true(n > 0);
	return (size_t)n;
}

/* Old state or a refusal, never another identity: truncations, and bit flips all over the file. */
static void every_kind_of_damage_gives_the_old_state_or_a_refusal(void **state)
{
	static uint8_t good[1 << 16], bad[1 << 16];
	const struct dir *d = *state;
	char copy[120], aux[128];
	size_t size, tried = 0;
	struct store *s = open_ok(d->db);

	fill_identity(s);
	store_close(s);
	size = read_file(d->db, good, sizeof(good));
	(void)snprintf(copy, sizeof(copy), "%s.copy", d->db);
	for (size_t i = 0; i < size; i += i < 200 ? 13 : 397, tried++) {
		struct store_identity id = { 0 };
		char err[STORE_ERR_MAX];

		memcpy(bad, good, size);
		bad[i] ^= (uint8_t)(1u << (i % 8));
		write_file(copy, bad, tried % 3 ? size : i);
		s = NULL;
		if (store_open(&s, copy, NULL, err) == 0) {
			int ret = store_get_identity(s, &id);

			/* What still opens must hold the keys that were stored. */
			if (ret == 0 && (id.machine.b[0] | id.node.b[31]) != 3 )
				fail_msg("another identity after damage at %zu", i);
			assert_int_not_equal(ret, -ENOENT);
			store_close(s);
		}
		(void)snprintf(aux, sizeof(aux), "%s-wal", copy);
		(void)unlink(aux);
		(void)snprintf(aux, sizeof(aux), "%s-shm", copy);
		(void)unlink(aux);
	}
	(void)snprintf(aux, sizeof(aux), "%s.lock", copy);
	(void)unlink(aux);
}

static void memory_state_needs_no_file(void **state)
{
	struct store *s = open_ok("mem:");

	(void)state;
	fill_identity(s);
	store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(values_are_there_after_reopening, setup, teardown),
		cmocka_unit_test_setup_teardown(logout_forgets_the_node_key_and_keeps_the_machine, setup,
						teardown),
		cmocka_unit_test_setup_teardown(keys_that_are_gone_are_not_made_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(second_daemon_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(damage_is_refused_and_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(every_kind_of_damage_gives_the_old_state_or_a_refusal, setup,
						teardown),
		cmocka_unit_test(memory_state_needs_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
