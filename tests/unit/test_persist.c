/* SPDX-License-Identifier: MIT */
/* Writes behind the control thread's back: it goes on while the disk is slow, and nothing is acknowledged before it is
 * on disk. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control/ctlclient.h"
#include "coord/registry.h"
#include "daemon/coordsave.h"
#include "daemon/coordstore.h"
#include "daemon/loop.h"
#include "daemon/persist.h"
#include "daemon/store.h"
#include "tests/unit/slowdisk.h"

static const char url[] = "http://192.0.2.1:443";

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

/* Only the test's own thread runs out of memory. */
static _Thread_local bool no_memory;

void *__wrap_malloc(size_t size)
{
	return no_memory ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return no_memory ? NULL : __real_calloc(n, size);
}

enum { PATIENCE_MS = 20000 }; /* generous: only a broken build gets there */

struct fixture {
	char dir[64], db[96], coord_db[96];
	struct slowdisk *disk;
	struct loop *loop;
	struct store *store;
	struct persist persist;
	struct coordstore *rows;
	struct coordsave *save;
	struct loop_timer tick;
	unsigned n_ticks;   /* of a timer that runs all the time */
	unsigned n_stored;  /* sets of keys */
	unsigned n_answers;
	int answer;         /* the last one's error */
	uint64_t written;   /* ticket of the coordinator */
	int refused;        /* the last error of the coordinator's rows */
	unsigned n_refused;
	bool is_poor;       /* puts find no memory */
};

static void tick(void *ctx, struct mono now)
{
	struct fixture *f = ctx;

	f->n_ticks++;
	loop_timer_set(f->loop, &f->tick, mono_add_ms(now, 1));
}

static void keys_stored(void *ctx, struct mono now)
{
	struct fixture *f = ctx;

	(void)now;
	f->n_stored++;
}

static void answer(void *ctx, uint64_t token, enum persist_kind kind, int err)
{
	struct fixture *f = ctx;

	assert_int_equal(token, 7 + kind);
	f->n_answers++;
	f->answer = err;
}

static char *map_text(void *ctx, const char **map_url, size_t *size)
{
	(void)ctx;
	*map_url = url;
	*size = 9;
	return strdup("{\"new\":1}");
}

static void rows_written(void *ctx, uint64_t ticket, int err, struct mono now)
{
	struct fixture *f = ctx;

	(void)now;
	f->n_refused += err != 0;
	if (err)
		f->refused = err;
	else
		f->written = ticket;
}

static void open_store(struct fixture *f)
{
	const struct persist_events ev = {
		.keys_stored = keys_stored, .answer = answer, .map_text = map_text, .ctx = f
	};
	char err[STORE_ERR_MAX] = "";

	if (store_open(&f->store, f->db, NULL, err))
		fail_msg("%s", err);
	persist_init(&f->persist, f->store, f->loop, NULL, &ev);
}

static void close_store(struct fixture *f)
{
	persist_close(&f->persist);
	store_close(f->store);
	f->store = NULL;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/meshd-persist-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->db, sizeof(f->db), "%s/meshd.db", f->dir);
	(void)snprintf(f->coord_db, sizeof(f->coord_db), "%s/coord.db", f->dir);
	f->disk = slowdisk_new();
	f->loop = loop_new(NULL);
	assert_non_null(f->loop);
	f->tick = (struct loop_timer){ .fn = tick, .ctx = f };
	loop_timer_set(f->loop, &f->tick, loop_now(f->loop));
	open_store(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { "meshd.db", "meshd.db-wal", "meshd.db-shm", "meshd.db.lock",
					     "coord.db", "coord.db-wal", "coord.db-shm" };
	struct fixture *f = *state;

	slowdisk_go(f->disk); /* a failed test left it held */
	slowdisk_fail(f->disk, false);
	if (f->store)
		close_store(f);
	coordsave_free(f->save);
	coordstore_close(f->rows);
	loop_free(f->loop);
	slowdisk_free(f->disk);
	test_remove_dir(f->dir, names, ARRAY_LEN(names));
	free(f);
	return 0;
}

/* Turns the loop until '*n' has reached 'want'. */
static void turn_until(struct fixture *f, const unsigned *n, unsigned want)
{
	const struct mono end = mono_add_ms(loop_clock(), PATIENCE_MS);

	while (*n < want) {
		assert_int_equal(loop_turn(f->loop, 100), 0);
		if (mono_due(end, loop_clock()))
			fail_msg("%u of %u after %d ms", *n, want, PATIENCE_MS);
	}
}

static void turn_until_blocked(struct fixture *f)
{
	const struct mono end = mono_add_ms(loop_clock(), PATIENCE_MS);

	while (!slowdisk_is_waiting(f->disk)) {
		assert_int_equal(loop_turn(f->loop, 1), 0);
		assert_false(mono_due(end, loop_clock()));
	}
}

static void put_keys(struct fixture *f, uint8_t n)
{
	struct ctlclient_saved s = { .registered = true };

	memset(s.machine.b, 1, KEY_SIZE);
	memset(s.node.b, n, KEY_SIZE);
	memset(s.server.b, 9, KEY_SIZE);
	(void)snprintf(s.url, sizeof(s.url), "%s", url);
	no_memory = f->is_poor;
	persist_identity(&f->persist, loop_now(f->loop), &s);
	no_memory = false;
}

static uint8_t stored_key(struct fixture *f)
{
	struct store_identity id;
	uint8_t b;

	assert_int_equal(store_get_identity(f->store, &id), 0);
	b = id.node.b[0];
	store_identity_wipe(&id);
	return b;
}

static void put_prefs(struct fixture *f, const char *hostname)
{
	struct prefs p = { 0 };

	assert_int_equal(store_get_prefs(f->store, &p), 0);
	free(p.hostname);
	p.hostname = strdup(hostname);
	assert_int_equal(store_put_prefs(f->store, &p), 0);
	prefs_wipe(&p);
}

static void control_thread_goes_on_while_the_disk_is_slow(void **state)
{
	struct fixture *f = *state;

	slowdisk_hold(f->disk);
	put_keys(f, 2);
	put_prefs(f, "one");
	persist_answer(&f->persist, 7, PERSIST_PREFS);
	turn_until_blocked(f);
	/* The write is under way: the loop turns, values are read and put, nobody is told anything. */
	turn_until(f, &f->n_ticks, f->n_ticks + 50);
	assert_int_equal(stored_key(f), 2);
	put_prefs(f, "two");
	persist_answer(&f->persist, 8, PERSIST_DONE);
	turn_until(f, &f->n_ticks, f->n_ticks + 10);
	assert_true(slowdisk_is_waiting(f->disk));
	assert_int_equal(f->n_stored, 0);
	assert_int_equal(f->n_answers, 0);
	slowdisk_go(f->disk);
	turn_until(f, &f->n_answers, 2);
	assert_int_equal(f->n_stored, 1);
	assert_int_equal(f->answer, 0);
	assert_true(store_is_durable(f->store, store_ticket(f->store)));
}

static void every_set_of_keys_that_waited_is_acknowledged(void **state)
{
	struct fixture *f = *state;

	slowdisk_fail(f->disk, true);
	put_keys(f, 2);
	persist_answer(&f->persist, 7, PERSIST_PREFS);
	turn_until(f, &f->n_answers, 1);
	assert_int_equal(f->answer, -EIO);
	put_keys(f, 3);
	put_keys(f, 4);
	persist_answer(&f->persist, 8, PERSIST_DONE);
	turn_until(f, &f->n_answers, 2);
	assert_int_equal(f->answer, -EIO);
	assert_non_null(store_health(f->store));
	assert_int_equal(f->n_stored, 0);
	/* Memory is ahead of the disk, and the disk is tried again without being asked. */
	assert_int_equal(stored_key(f), 4);
	slowdisk_fail(f->disk, false);
	turn_until(f, &f->n_stored, 3);
	assert_int_equal(f->n_stored, 3);
	assert_null(store_health(f->store));
	/* What is there already is acknowledged at once. */
	put_keys(f, 4);
	assert_int_equal(f->n_stored, 4);
	close_store(f);
	open_store(f);
	assert_int_equal(stored_key(f), 4);
}

static void keys_without_memory_are_not_acknowledged(void **state)
{
	struct fixture *f = *state;

	put_keys(f, 2);
	turn_until(f, &f->n_stored, 1);
	f->is_poor = true;
	put_keys(f, 3);
	f->is_poor = false;
	assert_int_equal(stored_key(f), 2);
	assert_int_equal(f->n_stored, 1);
	/* Other values that reach the disk say nothing of the keys; those are put again by themselves. */
	put_prefs(f, "one");
	turn_until(f, &f->n_stored, 2);
	assert_int_equal(stored_key(f), 3);
	close_store(f);
	open_store(f);
	assert_int_equal(stored_key(f), 3);
}

static void a_failing_disk_is_not_tried_at_each_put(void **state)
{
	enum { N = 200 };
	struct fixture *f = *state;
	unsigned before;

	slowdisk_fail(f->disk, true);
	put_keys(f, 2);
	persist_answer(&f->persist, 7, PERSIST_PREFS);
	turn_until(f, &f->n_answers, 1);
	before = slowdisk_n_syncs(f->disk);
	for (int i = 0; i < N; i++) {
		put_prefs(f, i % 2 ? "one" : "two");
		turn_until(f, &f->n_ticks, f->n_ticks + 1);
	}
	/* Tried again after 1 s, 2 s, 4 s, ...: a handful, however slow this machine is. */
	assert_in_range(slowdisk_n_syncs(f->disk) - before, 0, N / 4);
	/* Who waits for an answer gets it soon all the same. */
	persist_answer(&f->persist, 8, PERSIST_DONE);
	turn_until(f, &f->n_answers, 2);
	assert_int_equal(f->answer, -EIO);
}

/* What the disk has is the map of a login that was ended: it must not come back. */
static void a_deleted_map_stays_deleted(void **state)
{
	struct fixture *f = *state;
	struct bytes map = { 0 };

	assert_int_equal(store_put_map(f->store, url, "a", 1), 0);
	persist_answer(&f->persist, 7, PERSIST_PREFS);
	turn_until(f, &f->n_answers, 1);
	assert_int_equal(f->answer, 0);
	slowdisk_fail(f->disk, true);
	assert_int_equal(store_del_map(f->store), 0);
	persist_answer(&f->persist, 8, PERSIST_DONE);
	turn_until(f, &f->n_answers, 2);
	assert_int_equal(f->answer, -EIO);
	/* A newer one takes the place of the deletion, and is refused like that. */
	assert_int_equal(store_put_map(f->store, url, "b", 1), 0);
	persist_answer(&f->persist, 8, PERSIST_DONE);
	turn_until(f, &f->n_answers, 3);
	assert_int_equal(f->answer, -EIO);
	assert_int_equal(store_get_map(f->store, url, &map), -ENOENT);
	slowdisk_fail(f->disk, false);
	persist_answer(&f->persist, 8, PERSIST_DONE);
	turn_until(f, &f->n_answers, 4);
	close_store(f);
	open_store(f);
	assert_int_equal(store_get_map(f->store, url, &map), -ENOENT);
	bytes_wipe(&map);
}

static void many_puts_share_a_transaction(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	put_keys(f, 2);
	turn_until(f, &f->n_stored, 1);
	before = slowdisk_n_syncs(f->disk);
	slowdisk_hold(f->disk);
	put_keys(f, 3);
	turn_until_blocked(f);
	for (uint8_t i = 4; i < 40; i++) {
		put_keys(f, i);
		turn_until(f, &f->n_ticks, f->n_ticks + 1);
	}
	slowdisk_go(f->disk);
	turn_until(f, &f->n_stored, 38);
	assert_int_equal(slowdisk_n_syncs(f->disk) - before, 2);
	assert_int_equal(stored_key(f), 39);
}

static void closing_writes_what_waits(void **state)
{
	struct fixture *f = *state;
	struct bytes map = { 0 };
	struct prefs p = { 0 };

	put_keys(f, 5);
	put_prefs(f, "last");
	persist_map(&f->persist, loop_now(f->loop), true);
	persist_map(&f->persist, loop_now(f->loop), true);
	persist_answer(&f->persist, 8, PERSIST_DONE);
	close_store(f);
	open_store(f);
	assert_int_equal(stored_key(f), 5);
	assert_int_equal(store_get_prefs(f->store, &p), 0);
	assert_string_equal(p.hostname, "last");
	prefs_wipe(&p);
	assert_int_equal(store_get_map(f->store, url, &map), 0);
	assert_memory_equal(bytes_data(&map), "{\"new\":1}", 9);
	bytes_wipe(&map);
}

static void a_map_is_read_wherever_it_is(void **state)
{
	struct fixture *f = *state;
	struct bytes map = { 0 };

	slowdisk_hold(f->disk);
	assert_int_equal(store_put_map(f->store, url, "a", 1), 0);
	assert_int_equal(store_get_map(f->store, url, &map), 0); /* put */
	turn_until_blocked(f);
	assert_int_equal(store_get_map(f->store, url, &map), 0); /* on its way */
	assert_int_equal(store_put_map(f->store, url, "b", 1), 0);
	assert_int_equal(store_get_map(f->store, url, &map), 0); /* a newer one behind it */
	assert_int_equal(store_del_map(f->store), 0);
	assert_int_equal(store_get_map(f->store, url, &map), -ENOENT);
	assert_int_equal(store_put_map(f->store, url, "c", 1), 0);
	slowdisk_go(f->disk);
	persist_answer(&f->persist, 8, PERSIST_DONE);
	turn_until(f, &f->n_answers, 1);
	assert_int_equal(store_get_map(f->store, url, &map), 0); /* on disk */
	assert_memory_equal(bytes_data(&map), "aabc", 4);
	bytes_wipe(&map);
}

/* ---- the coordinator's rows ---- */

static void open_rows(struct fixture *f)
{
	const struct coordsave_cfg cfg = { .loop = f->loop, .written = rows_written, .ctx = f };
	struct coordsave_cfg full = cfg;
	char why[256] = "";

	if (coordstore_open(&f->rows, f->coord_db, why, sizeof(why)) != 0)
		fail_msg("%s", why);
	full.store = f->rows;
	f->save = coordsave_new(&full);
	assert_non_null(f->save);
}

static int try_put_row(struct fixture *f, uint64_t ticket, enum reg_table table, int64_t id, const char *data)
{
	struct reg_batch b = { .ticket = ticket, .rows = calloc(1, sizeof(*b.rows)), .n_rows = 1 };
	int err;

	assert_non_null(b.rows);
	b.rows[0] = (struct reg_write){ table, id, data ? strdup(data) : NULL };
	no_memory = f->is_poor;
	err = coordsave_put(f->save, &b);
	no_memory = false;
	reg_batch_wipe(&b);
	return err;
}

static void put_row(struct fixture *f, uint64_t ticket, enum reg_table table, int64_t id, const char *data)
{
	assert_int_equal(try_put_row(f, ticket, table, id, data), 0);
}

static void turn_until_written(struct fixture *f, uint64_t ticket)
{
	const struct mono end = mono_add_ms(loop_clock(), PATIENCE_MS);

	while (f->written < ticket) {
		assert_int_equal(loop_turn(f->loop, 100), 0);
		assert_false(mono_due(end, loop_clock()));
	}
	assert_int_equal(f->written, ticket);
}

static int count_row(void *ctx, enum reg_table table, int64_t id, const char *data)
{
	(void)table;
	(void)id;
	(void)data;
	++*(unsigned *)ctx;
	return 0;
}

static unsigned n_rows(struct fixture *f)
{
	unsigned n = 0;

	assert_int_equal(coordstore_load(f->rows, count_row, &n), 0);
	return n;
}

static void batches_gather_behind_a_slow_disk(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	open_rows(f);
	before = slowdisk_n_syncs(f->disk);
	slowdisk_hold(f->disk);
	put_row(f, 1, REG_SETTINGS, 1, "1");
	turn_until_blocked(f);
	for (uint64_t i = 2; i <= 30; i++)
		put_row(f, i, REG_SETTINGS, (int64_t)i, "1");
	turn_until(f, &f->n_ticks, f->n_ticks + 50);
	assert_int_equal(f->written, 0);
	slowdisk_go(f->disk);
	turn_until_written(f, 30);
	assert_int_equal(slowdisk_n_syncs(f->disk) - before, 2);
	assert_int_equal(n_rows(f), 30);
}

static void a_refused_batch_stays_first_in_line(void **state)
{
	struct fixture *f = *state;

	open_rows(f);
	slowdisk_hold(f->disk);
	put_row(f, 1, REG_SETTINGS, 1, "1");
	turn_until_blocked(f);
	/* The second one names a user that is not there: what came before is stored, what comes after waits. */
	put_row(f, 2, REG_SETTINGS, 2, "1");
	put_row(f, 3, REG_NODES, 1, "{\"Key\":\"k\",\"IPv4\":\"1\",\"IPv6\":\"::1\",\"Name\":\"n\",\"User\":5}");
	put_row(f, 4, REG_SETTINGS, 3, "1");
	slowdisk_go(f->disk);
	while (!f->refused)
		assert_int_equal(loop_turn(f->loop, 100), 0);
	assert_int_equal(f->refused, -EEXIST);
	assert_int_equal(f->written, 2);
	assert_true(coordsave_is_busy(f->save));
	coordsave_free(f->save);
	f->save = NULL;
	assert_int_equal(n_rows(f), 2);
}

static void batches_of_a_failing_disk_are_merged(void **state)
{
	enum { ROUNDS = 300, ROWS = 10 };
	struct fixture *f = *state;
	uint64_t ticket = 0;
	unsigned before;

	open_rows(f);
	slowdisk_fail(f->disk, true);
	put_row(f, ++ticket, REG_SETTINGS, 99, "1");
	turn_until(f, &f->n_refused, 1);
	before = slowdisk_n_syncs(f->disk);
	for (int i = 0; i < ROUNDS; i++) {
		for (int64_t id = 1; id <= ROWS; id++)
			put_row(f, ++ticket, REG_SETTINGS, id, i % 2 ? "1" : "2");
		put_row(f, ++ticket, REG_SETTINGS, ROWS + 1, i == 0 ? "1" : NULL);
		turn_until(f, &f->n_ticks, f->n_ticks + 1);
		/* The first one, what waits behind it, and what came during a try. */
		assert_in_range(coordsave_n_rows(f->save), 1, 3 * (ROWS + 2));
	}
	assert_in_range(slowdisk_n_syncs(f->disk) - before, 0, ROUNDS / 4);
	slowdisk_fail(f->disk, false);
	coordsave_hurry(f->save);
	turn_until_written(f, ticket);
	assert_false(coordsave_is_busy(f->save));
	assert_int_equal(n_rows(f), ROWS + 1);
}

/* The disk neither answers nor fails: nothing of the sort is known for as long as one likes. */
static void batches_behind_a_hung_disk_are_merged(void **state)
{
	enum { N = 2000 };
	struct fixture *f = *state;

	open_rows(f);
	slowdisk_hold(f->disk);
	put_row(f, 1, REG_SETTINGS, 1, "1");
	turn_until_blocked(f);
	for (uint64_t i = 2; i <= N; i++)
		put_row(f, i, REG_SETTINGS, 2, "1");
	assert_in_range(coordsave_n_rows(f->save), 2, COORDSAVE_LINE_MAX + 2);
	slowdisk_go(f->disk);
	turn_until_written(f, N);
	assert_int_equal(n_rows(f), 2);
}

static void a_lost_batch_is_never_confirmed(void **state)
{
	struct fixture *f = *state;

	open_rows(f);
	put_row(f, 1, REG_SETTINGS, 1, "1");
	f->is_poor = true;
	assert_int_equal(try_put_row(f, 2, REG_SETTINGS, 2, "1"), -ENOMEM);
	f->is_poor = false;
	put_row(f, 3, REG_SETTINGS, 3, "1");
	turn_until(f, &f->n_refused, 1);
	assert_int_equal(f->refused, -ENOMEM);
	assert_int_equal(f->written, 1);
	put_row(f, 4, REG_SETTINGS, 4, "1");
	turn_until(f, &f->n_refused, 2);
	assert_int_equal(f->written, 1);
	assert_int_equal(n_rows(f), 3);
}

static void rows_that_wait_are_written_at_the_end(void **state)
{
	struct fixture *f = *state;

	open_rows(f);
	put_row(f, 1, REG_SETTINGS, 1, "1");
	put_row(f, 2, REG_SETTINGS, 2, "1");
	coordsave_free(f->save);
	f->save = NULL;
	assert_int_equal(f->written, 2);
	assert_int_equal(n_rows(f), 2);
}

/* A name server that does not answer must not hold back a commit. */
struct gate {
	struct loop_job job;
	int pipe[2];
};

static void gate_run(void *ctx)
{
	const struct gate *g = ctx;
	char c;

	(void)!read(g->pipe[0], &c, 1);
}

static void slow_lookups_do_not_hold_back_the_disk(void **state)
{
	struct fixture *f = *state;
	struct gate g = { .job = { .lane = LOOP_LANE_SLOW, .run = gate_run, .ctx = &g } };

	assert_int_equal(pipe(g.pipe), 0);
	loop_job_post(f->loop, &g.job);
	put_keys(f, 6);
	turn_until(f, &f->n_stored, 1);
	assert_true(g.job.is_queued);
	assert_int_equal(write(g.pipe[1], "x", 1), 1);
	loop_job_wait(f->loop, &g.job);
	assert_false(g.job.is_queued);
	(void)close(g.pipe[0]);
	(void)close(g.pipe[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(control_thread_goes_on_while_the_disk_is_slow),
		TEST(every_set_of_keys_that_waited_is_acknowledged),
		TEST(keys_without_memory_are_not_acknowledged),
		TEST(a_failing_disk_is_not_tried_at_each_put),
		TEST(a_deleted_map_stays_deleted),
		TEST(many_puts_share_a_transaction),
		TEST(closing_writes_what_waits),
		TEST(a_map_is_read_wherever_it_is),
		TEST(batches_gather_behind_a_slow_disk),
		TEST(a_refused_batch_stays_first_in_line),
		TEST(batches_of_a_failing_disk_are_merged),
		TEST(batches_behind_a_hung_disk_are_merged),
		TEST(a_lost_batch_is_never_confirmed),
		TEST(rows_that_wait_are_written_at_the_end),
		TEST(slow_lookups_do_not_hold_back_the_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
