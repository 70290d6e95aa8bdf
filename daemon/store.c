/* SPDX-License-Identifier: MIT */
/* The values in memory, and their way to the disk.
 *
 *   put ──► row (dirty) ──► batch ──► storedb_write() on the disk's helper thread ──► rows clean, durable
 *                 ▲                                                  │
 *                 └──────────── again after 1..60 s ◄── refused ─────┘
 *
 * One batch is under way at a time; what is put meanwhile goes into the next one, so that any number of
 * puts cost two syncs. */
#include "config.h"

#include "daemon/store.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/loop.h"
#include "daemon/storedb.h"

enum {
	IDENTITY_SIZE = 2 + 3 * KEY_SIZE,
	IDENTITY_VERSION = 1,
	NAME_MAX_LEN = 1100,       /* "server:" and a URL */
	BACKOFF_MAX_S = 60,        /* RELIABILITY 7, rule 5 */
	HURRY_S = 1,               /* between two tries when somebody waits */
};

static_assert((int)STORE_ERR_MAX == (int)STOREDB_ERR_MAX, "one kind of sentence");

static const char map_name[] = "map";

struct row {
	struct row *next;
	char *name;
	void *data;       /* null = there is none: being deleted, or damaged on disk */
	size_t size;
	uint64_t changed; /* ticket of the last change */
	bool is_dirty;    /* differs from the disk */
	bool is_bad;      /* the disk's is damaged */
};

/* Rows on their way to the disk: own copies. The helper thread reads them and writes 'err', 'map_err' and 'why' while
 * 'job' is queued. */
struct batch {
	struct loop_job job;
	struct store *store; /* its owner, for the control thread */
	struct storedb *db;
	struct storedb_row *rows;
	size_t n_rows;
	struct storedb_row map; /* apart: what a cache needs must not hold up keys; null name = none */
	bool deletes_map;       /* among 'rows' */
	uint64_t ticket;
	int err, map_err;
	char why[STORE_ERR_MAX];
};

struct store {
	struct storedb *db;
	const struct log *log;
	bool is_new;
	struct row *rows;       /* everything but the map, which is here only until it is written */
	uint64_t ticket;        /* of the last put */
	uint64_t durable;
	struct batch batch;
	unsigned backoff_s;     /* 0 = the last write worked */
	bool is_hurried;        /* store_hurry() while a try is under way */
	uint64_t map_deleted;   /* ticket of a deletion of the map that is not on disk yet; 0 = none */
	struct mono tried;      /* when the last try ended */
	char health[STORE_ERR_MAX];
	/* store_attach() */
	struct loop *loop;
	struct loop_timer timer;
	store_written_fn written;
	void *ctx;
};

/* --- rows --- */

static struct row *row_find(const struct store *s, const char *name)
{
	for (struct row *r = s->rows; r; r = r->next)
		if (strcmp(r->name, name) == 0)
			return r;
	return NULL;
}

static struct row *row_add(struct store *s, const char *name)
{
	struct row *r = calloc(1, sizeof(*r));

	if (r)
		r->name = strdup(name);
	if (!r || !r->name) {
		free(r);
		return NULL;
	}
	r->next = s->rows;
	s->rows = r;
	return r;
}

static void wipe_free(void *data, size_t size)
{
	if (data)
		sodium_memzero(data, size);
	free(data);
}

static void row_free(struct row *r)
{
	wipe_free(r->data, r->size);
	free(r->name);
	free(r);
}

static void *copy_of(const void *data, size_t size)
{
	void *copy = malloc(size ? size : 1);

	if (copy && size)
		memcpy(copy, data, size);
	return copy;
}

static int row_get(const struct store *s, const char *name, struct bytes *out)
{
	const struct row *r = row_find(s, name);

	if (!r)
		return -ENOENT;
	if (r->is_bad) {
		log_error(s->log, "store: %s: damaged", name);
		return -EIO;
	}
	return r->data ? bytes_append(out, r->data, r->size) : -ENOENT;
}

/* The new value of a row, in memory, which takes 'data' over; null deletes. What is there already costs no write. */
static int row_take(struct store *s, const char *name, void *data, size_t size)
{
	struct row *r = row_find(s, name);

	if (r && !r->is_bad && data && r->data && r->size == size && memcmp(r->data, data, size) == 0) {
		wipe_free(data, size);
		return 0;
	}
	if (!r)
		r = row_add(s, name);
	if (!r) {
		wipe_free(data, size);
		return -ENOMEM;
	}
	wipe_free(r->data, r->size);
	r->data = data;
	r->size = size;
	r->is_bad = false;
	r->is_dirty = true;
	r->changed = ++s->ticket;
	if (!data && strcmp(name, map_name) == 0)
		s->map_deleted = r->changed;
	return 0;
}

static int row_set(struct store *s, const char *name, const void *data, size_t size)
{
	void *copy = data ? copy_of(data, size) : NULL;

	return data && !copy ? -ENOMEM : row_take(s, name, copy, size);
}

/* --- to the disk --- */

static void batch_wipe(struct batch *b)
{
	for (size_t i = 0; i < b->n_rows; i++) {
		wipe_free(b->rows[i].data, b->rows[i].size);
		free(b->rows[i].name);
	}
	free(b->rows);
	free(b->map.name);
	free(b->map.data);
	b->rows = NULL;
	b->n_rows = 0;
	b->map = (struct storedb_row){ 0 };
}

/* The map's memory goes with the batch: a copy would be one of megabytes. Its deletion is a row like others. */
static bool take_map(struct store *s, struct batch *b)
{
	struct row **at = &s->rows, *r;

	while (*at && strcmp((*at)->name, map_name) != 0)
		at = &(*at)->next;
	r = *at;
	if (!r || !r->data)
		return false;
	b->map = (struct storedb_row){ .name = r->name, .data = r->data, .size = r->size };
	*at = r->next;
	free(r);
	return true;
}

/* Everything that is dirty. False: nothing is. */
static bool collect(struct store *s)
{
	struct batch *b = &s->batch;
	bool any = take_map(s, b);
	size_t n = 0;

	b->ticket = s->ticket;
	b->err = b->map_err = 0;
	b->why[0] = 0;
	b->deletes_map = false;
	for (const struct row *r = s->rows; r; r = r->next)
		n += r->is_dirty;
	if (!n)
		return any;
	b->rows = calloc(n, sizeof(*b->rows));
	if (!b->rows)
		b->err = -ENOMEM;
	for (const struct row *r = s->rows; r && !b->err; r = r->next) {
		struct storedb_row *w = &b->rows[b->n_rows];

		if (!r->is_dirty)
			continue;
		b->n_rows++;
		w->name = strdup(r->name);
		w->data = r->data ? copy_of(r->data, r->size) : NULL;
		w->size = r->size;
		b->deletes_map |= strcmp(r->name, map_name) == 0;
		if (!w->name || (r->data && !w->data))
			b->err = -ENOMEM;
	}
	return true;
}

/* Helper thread, or the caller's when no loop is attached. */
static void batch_run(void *ctx)
{
	struct batch *b = ctx;

	if (b->err)
		(void)snprintf(b->why, sizeof(b->why), "out of memory");
	else if (b->n_rows)
		b->err = storedb_write(b->db, b->rows, b->n_rows, b->why);
	if (b->map.name) {
		char why[STORE_ERR_MAX];

		b->map_err = storedb_write(b->db, &b->map, 1, b->err ? why : b->why);
	}
}

static void rows_clean(struct store *s, uint64_t ticket)
{
	struct row **at = &s->rows;

	while (*at) {
		struct row *r = *at;

		if (r->is_dirty && r->changed <= ticket)
			r->is_dirty = false;
		if (!r->is_dirty && !r->data && !r->is_bad) {
			*at = r->next;
			row_free(r);
			continue;
		}
		at = &r->next;
	}
}

static bool is_dirty(const struct store *s)
{
	for (const struct row *r = s->rows; r; r = r->next)
		if (r->is_dirty)
			return true;
	return false;
}

/* A map is a cache: one that the disk refuses is not kept for later. But if it was to replace a deleted one, that one
 * is there still, and its deletion is due again. Returns 0 or a negative errno of that. */
static int settle_map(struct store *s)
{
	struct batch *b = &s->batch;

	if (b->map_err)
		log_warn(s->log, "store: map: not written: %s", strerror(-b->map_err));
	if (s->map_deleted <= b->ticket && ((b->deletes_map && !b->err) || (b->map.name && !b->map_err)))
		s->map_deleted = 0;
	if (!b->map_err || !s->map_deleted)
		return 0;
	/* A newer word on it may wait already. */
	if (!row_find(s, map_name) && row_set(s, map_name, NULL, 0) < 0)
		log_error(s->log, "store: map: out of memory"); /* 'map_deleted' hides the one on disk */
	return b->map_err;
}

/* What became of the batch. */
static int settle(struct store *s)
{
	struct batch *b = &s->batch;
	const int map_err = settle_map(s), err = b->err ? b->err : map_err;

	if (!b->err)
		rows_clean(s, b->ticket);
	if (err) {
		(void)snprintf(s->health, sizeof(s->health), "state cannot be written: %.280s", b->why);
		log_error(s->log, "store: %s", s->health);
		s->backoff_s = !s->backoff_s ? 1 : s->backoff_s < BACKOFF_MAX_S / 2 ? 2 * s->backoff_s : BACKOFF_MAX_S;
	} else {
		if (s->health[0])
			log_info(s->log, "store: state is on disk again");
		s->health[0] = 0;
		s->backoff_s = 0;
		s->durable = b->ticket;
	}
	batch_wipe(b);
	return err;
}

static void batch_done(void *ctx, bool did_run, struct mono now)
{
	struct store *s = ((struct batch *)ctx)->store;
	const uint64_t ticket = s->batch.ticket;
	int err;

	if (!did_run) { /* the loop ends: store_detach() writes it */
		batch_wipe(&s->batch);
		return;
	}
	err = settle(s);
	s->tried = now;
	if (err || is_dirty(s))
		loop_timer_set(s->loop, &s->timer,
			       mono_add_s(now, s->is_hurried && s->backoff_s ? HURRY_S : s->backoff_s));
	s->is_hurried = false;
	s->written(s->ctx, ticket, err, now);
}

static void timer_due(void *ctx, struct mono now)
{
	struct store *s = ctx;

	(void)now;
	if (s->batch.job.is_queued || !collect(s))
		return;
	loop_job_post(s->loop, &s->batch.job);
}

static int write_now(struct store *s)
{
	if (!collect(s))
		return 0;
	batch_run(&s->batch);
	return settle(s);
}

/* What was put goes to the disk: at once, or by the helper thread from the next turn of the loop on, so that what
 * belongs together is one transaction. */
static int commit(struct store *s)
{
	if (!s->loop)
		return write_now(s);
	if (!s->backoff_s) /* else it waits for its turn */
		loop_timer_set(s->loop, &s->timer, loop_now(s->loop));
	return 0;
}

void store_hurry(struct store *s)
{
	if (!s->loop || !s->backoff_s)
		return;
	if (s->batch.job.is_queued)
		s->is_hurried = true;
	else
		loop_timer_set(s->loop, &s->timer, mono_max(loop_now(s->loop), mono_add_s(s->tried, HURRY_S)));
}

static int row_put(struct store *s, const char *name, const void *data, size_t size)
{
	int ret = row_set(s, name, data, size);

	return ret || s->ticket == s->durable ? ret : commit(s);
}

/* --- opening --- */

static int load_row(void *ctx, const char *name, const void *data, size_t size)
{
	struct store *s = ctx;
	struct row *r = row_add(s, name);

	if (!r)
		return -ENOMEM;
	r->is_bad = !data;
	r->data = data ? copy_of(data, size) : NULL;
	r->size = size;
	return data && !r->data ? -ENOMEM : 0;
}

int store_open(struct store **out, const char *path, const struct log *log, char err[static STORE_ERR_MAX])
{
	struct store *s = calloc(1, sizeof(*s));
	int ret;

	if (!s) {
		(void)snprintf(err, STORE_ERR_MAX, "out of memory");
		return -ENOMEM;
	}
	s->log = log;
	ret = storedb_open(&s->db, path, &s->is_new, err);
	if (!ret) {
		ret = storedb_each(s->db, map_name, load_row, s);
		if (ret)
			(void)snprintf(err, STORE_ERR_MAX, "%.200s: cannot be read: %s", path, strerror(-ret));
	}
	if (ret) {
		store_close(s);
		return ret;
	}
	s->batch.store = s;
	s->batch.db = s->db;
	s->batch.job = (struct loop_job){
		.lane = LOOP_LANE_DISK, .run = batch_run, .done = batch_done, .ctx = &s->batch
	};
	*out = s;
	return 0;
}

void store_attach(struct store *s, struct loop *loop, store_written_fn written, void *ctx)
{
	s->loop = loop;
	s->timer = (struct loop_timer){ .fn = timer_due, .ctx = s };
	s->written = written;
	s->ctx = ctx;
}

void store_detach(struct store *s)
{
	struct mono now;
	int err;

	if (!s || !s->loop)
		return;
	loop_job_wait(s->loop, &s->batch.job);
	loop_timer_stop(s->loop, &s->timer);
	now = loop_now(s->loop);
	s->loop = NULL;
	err = write_now(s);
	s->written(s->ctx, s->ticket, err, now); /* callers still wait for what was put in the last turn */
}

void store_close(struct store *s)
{
	if (!s)
		return;
	store_detach(s);
	batch_wipe(&s->batch);
	while (s->rows) {
		struct row *r = s->rows;

		s->rows = r->next;
		row_free(r);
	}
	storedb_close(s->db);
	free(s);
}

bool store_is_new(const struct store *s)
{
	return s->is_new;
}

uint64_t store_ticket(const struct store *s)
{
	return s->ticket;
}

bool store_is_durable(const struct store *s, uint64_t ticket)
{
	return ticket <= s->durable;
}

const char *store_health(const struct store *s)
{
	return s->health[0] ? s->health : NULL;
}

/* --- identity --- */

static bool had_identity(const struct store *s)
{
	for (const struct row *r = s->rows; r; r = r->next)
		if (strcmp(r->name, "value:identity_url") == 0 || strncmp(r->name, "server:", 7) == 0)
			return true;
	return false;
}

int store_get_identity(struct store *s, struct store_identity *id)
{
	struct bytes row = { 0 };
	int ret = row_get(s, "identity", &row);
	struct rd r = RD(bytes_data(&row), bytes_size(&row));

	/* What only a node that had one leaves behind: it was lost, and must not be made anew. */
	if (ret == -ENOENT && had_identity(s))
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

static int set_identity(struct store *s, const struct store_identity *id)
{
	uint8_t row[IDENTITY_SIZE];
	struct wr w = WR(row, sizeof(row));
	int ret;

	wr_u8(&w, IDENTITY_VERSION);
	wr_u8(&w, id->is_registered);
	wr_bytes(&w, id->machine.b, KEY_SIZE);
	wr_bytes(&w, id->node.b, KEY_SIZE);
	wr_bytes(&w, id->old_node.b, KEY_SIZE);
	ret = row_set(s, "identity", row, sizeof(row));
	sodium_memzero(row, sizeof(row));
	return ret;
}

int store_put_identity(struct store *s, const struct store_identity *id)
{
	int ret = set_identity(s, id);

	return ret || s->ticket == s->durable ? ret : commit(s);
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

/* The row is the URL, a NUL, and the map. It is newest in memory, then on its way, then on disk. */
int store_get_map(struct store *s, const char *url, struct bytes *map)
{
	const size_t len = strlen(url) + 1;
	const struct row *r = row_find(s, map_name);
	const struct storedb_row *w = &s->batch.map;
	struct bytes row = { 0 };
	int ret = -ENOENT;

	if (r && r->data)
		ret = bytes_append(&row, r->data, r->size);
	else if (!r && w->data)
		ret = bytes_append(&row, w->data, w->size);
	else if (!r && !w->name && !s->map_deleted)
		ret = storedb_get(s->db, map_name, &row);
	if (!ret && (bytes_size(&row) <= len || memcmp(bytes_data(&row), url, len) != 0))
		ret = -ENOENT;
	if (!ret)
		ret = bytes_append(map, bytes_data(&row) + len, bytes_size(&row) - len);
	bytes_wipe(&row);
	return ret == -EIO ? -ENOENT : ret;
}

int store_put_map(struct store *s, const char *url, const void *map, size_t size)
{
	const size_t len = strlen(url) + 1;
	char *row = malloc(len + size);
	int ret;

	if (!row)
		return -ENOMEM;
	memcpy(row, url, len);
	memcpy(row + len, map, size);
	ret = row_take(s, map_name, row, len + size);
	return ret || s->ticket == s->durable ? ret : commit(s);
}

int store_del_map(struct store *s)
{
	return row_put(s, map_name, NULL, 0);
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

/* The map and the keys of servers go. */
static int forget_servers(struct store *s)
{
	int ret = row_set(s, map_name, NULL, 0);

	for (struct row *r = s->rows; r && !ret; r = r->next)
		if (strncmp(r->name, "server:", 7) == 0 && (r->data || r->is_bad))
			ret = row_set(s, r->name, NULL, 0);
	return ret;
}

int store_take_over(struct store *s, const struct store_identity *id, const char *url, const struct prefs *p)
{
	struct bytes prefs = { 0 };
	int ret = prefs_write(&prefs, p, NULL);

	if (!ret)
		ret = set_identity(s, id);
	if (!ret)
		ret = row_set(s, "value:identity_url", url, strlen(url));
	if (!ret)
		ret = row_set(s, "prefs", bytes_data(&prefs), bytes_size(&prefs));
	bytes_wipe(&prefs);
	if (!ret)
		ret = forget_servers(s);
	return ret ? ret : write_now(s);
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
		ret = set_identity(s, &id);
	}
	store_identity_wipe(&id);
	if (!ret)
		ret = forget_servers(s);
	return ret ? ret : commit(s); /* one transaction */
}
