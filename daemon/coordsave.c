/* SPDX-License-Identifier: MIT */
/* The line of batches before coord.db. */
#include "daemon/coordsave.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "coord/registry.h"
#include "daemon/coordstore.h"
#include "daemon/loop.h"

enum {
	GROUP_MAX = 2 * COORDSAVE_LINE_MAX, /* batches of one transaction: all that can wait */
	BACKOFF_MAX_S = 60, /* RELIABILITY 7, rule 5 */
	HURRY_S = 1,        /* between two tries when somebody waits */
};

/* A batch that is not on disk yet. */
struct waiting {
	struct waiting *next;
	struct reg_batch batch;
};

struct coordsave {
	struct coordsave_cfg cfg;
	struct waiting *first, *last;
	size_t n_waiting;
	uint64_t lost;      /* ticket of the first batch that was lost; 0 = none */
	unsigned backoff_s; /* 0 = the last write worked */
	bool is_hurried;    /* coordsave_hurry() while a try is under way */
	struct mono tried;  /* when the last one ended */
	struct loop_timer timer;
	/* While 'job' is queued: the first batches of the line, read by the helper thread, which writes the results. */
	struct loop_job job;
	const struct reg_batch *group[GROUP_MAX];
	size_t n_group;
	size_t n_stored;
	int err;
};

/* Helper thread. When a whole group is refused, the batches go one by one: one that can't be stored must not hold
 * up those before it. */
static void run(void *ctx)
{
	struct coordsave *s = ctx;

	s->n_stored = 0;
	s->err = coordstore_write_group(s->cfg.store, s->group, s->n_group);
	if (!s->err)
		s->n_stored = s->n_group;
	if (!s->err || s->n_group == 1)
		return;
	do
		s->err = coordstore_write(s->cfg.store, s->group[s->n_stored]);
	while (!s->err && ++s->n_stored < s->n_group);
}

static bool collect(struct coordsave *s)
{
	s->n_group = 0;
	for (struct waiting *w = s->first; w && s->n_group < GROUP_MAX; w = w->next)
		s->group[s->n_group++] = &w->batch;
	return s->n_group > 0;
}

static void drop_first(struct coordsave *s)
{
	struct waiting *w = s->first;

	s->first = w->next;
	if (!s->first)
		s->last = NULL;
	s->n_waiting--;
	reg_batch_wipe(&w->batch);
	free(w);
}

static int row_cmp(const void *a, const void *b)
{
	const struct reg_write *x = a, *y = b;

	if (x->table != y->table)
		return x->table < y->table ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Adds the rows of 'b' to 'to': the last word on a row counts. The order of rows in a batch means nothing
 * (coordstore.h), so both are sorted. */
static int merge(struct reg_batch *to, struct reg_batch *b)
{
	struct reg_write *rows;
	size_t n = 0, i = 0, k = 0;

	if (to->n_rows + b->n_rows > COORDSAVE_ROWS_MAX)
		return -ENOBUFS;
	rows = malloc((to->n_rows + b->n_rows) * sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	qsort(to->rows, to->n_rows, sizeof(*rows), row_cmp);
	qsort(b->rows, b->n_rows, sizeof(*rows), row_cmp);
	while (i < to->n_rows || k < b->n_rows) {
		const int c = i == to->n_rows ? 1 : k == b->n_rows ? -1 : row_cmp(&to->rows[i], &b->rows[k]);

		if (c == 0)
			reg_write_wipe(&to->rows[i++]);
		else if (c < 0)
			rows[n++] = to->rows[i++];
		if (c >= 0)
			rows[n++] = b->rows[k++];
	}
	free(to->rows);
	to->rows = rows;
	to->n_rows = n;
	to->ticket = b->ticket;
	free(b->rows);
	*b = (struct reg_batch){ 0 };
	return 0;
}

/* The disk refuses: all that waits behind the first batch becomes one. Out of memory leaves it as it is. */
static void squeeze(struct coordsave *s)
{
	struct waiting *to = s->first ? s->first->next : NULL;

	while (to && to->next) {
		struct waiting *w = to->next;

		if (merge(&to->batch, &w->batch) < 0)
			return;
		to->next = w->next;
		if (!w->next)
			s->last = to;
		s->n_waiting--;
		free(w);
	}
}

/* What was lost is not on disk, and neither is a state that later batches build on it. */
static void tell_stored(struct coordsave *s, uint64_t ticket, struct mono now)
{
	const bool is_whole = !s->lost || ticket < s->lost;

	s->cfg.written(s->cfg.ctx, is_whole ? ticket : s->lost - 1, 0, now);
	if (!is_whole)
		s->cfg.written(s->cfg.ctx, ticket, -ENOMEM, now);
}

static void settle(struct coordsave *s, struct mono now)
{
	const uint64_t tried = s->group[s->n_group - 1]->ticket;
	const uint64_t stored = s->n_stored ? s->group[s->n_stored - 1]->ticket : 0;

	s->tried = now;
	for (size_t i = 0; i < s->n_stored; i++)
		drop_first(s);
	if (s->err) {
		log_error(s->cfg.log, "coordinator: database: %s", strerror(-s->err));
		s->backoff_s = !s->backoff_s ? 1 : s->backoff_s < BACKOFF_MAX_S / 2 ? 2 * s->backoff_s : BACKOFF_MAX_S;
		squeeze(s);
	} else {
		if (s->backoff_s)
			log_info(s->cfg.log, "coordinator: the database is written again");
		s->backoff_s = 0;
	}
	if (stored)
		tell_stored(s, stored, now);
	if (s->err)
		s->cfg.written(s->cfg.ctx, tried, s->err, now);
}

static void done(void *ctx, bool did_run, struct mono now)
{
	struct coordsave *s = ctx;

	if (!did_run)
		return; /* the loop ends: coordsave_free() writes */
	settle(s, now);
	if (s->first)
		loop_timer_set(s->cfg.loop, &s->timer,
			       mono_add_s(now, s->is_hurried && s->backoff_s ? HURRY_S : s->backoff_s));
	s->is_hurried = false;
}

static void timer_due(void *ctx, struct mono now)
{
	struct coordsave *s = ctx;

	(void)now;
	if (!s->job.is_queued && collect(s))
		loop_job_post(s->cfg.loop, &s->job);
}

struct coordsave *coordsave_new(const struct coordsave_cfg *cfg)
{
	struct coordsave *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->cfg = *cfg;
	s->timer = (struct loop_timer){ .fn = timer_due, .ctx = s };
	s->job = (struct loop_job){ .lane = LOOP_LANE_DISK, .run = run, .done = done, .ctx = s };
	return s;
}

void coordsave_flush(struct coordsave *s)
{
	if (!s)
		return;
	loop_job_wait(s->cfg.loop, &s->job);
	loop_timer_stop(s->cfg.loop, &s->timer);
	s->err = 0;
	while (!s->err && collect(s)) {
		run(s);
		settle(s, loop_now(s->cfg.loop));
	}
	if (s->first)
		loop_timer_set(s->cfg.loop, &s->timer, mono_add_s(s->tried, s->backoff_s));
}

void coordsave_free(struct coordsave *s)
{
	if (!s)
		return;
	coordsave_flush(s);
	loop_timer_stop(s->cfg.loop, &s->timer);
	while (s->first)
		drop_first(s);
	free(s);
}

static int append(struct coordsave *s, struct reg_batch *b)
{
	struct waiting *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->batch = *b;
	*b = (struct reg_batch){ 0 };
	if (s->last)
		s->last->next = w;
	else
		s->first = w;
	s->last = w;
	s->n_waiting++;
	return 0;
}

int coordsave_put(struct coordsave *s, struct reg_batch *b)
{
	const size_t n_free = s->n_waiting - (s->job.is_queued ? s->n_group : 0); /* not in the helper thread's hands */
	const uint64_t ticket = b->ticket;
	int err = -ENOMEM;

	if (!n_free || (!s->backoff_s && n_free < COORDSAVE_LINE_MAX))
		err = append(s, b);
	if (err && n_free)
		err = merge(&s->last->batch, b);
	if (err && !s->lost) {
		log_error(s->cfg.log, "coordinator: a change is lost (%s): nothing is confirmed any more until meshd is "
				      "started anew", strerror(-err));
		s->lost = ticket;
	}
	/* From the next turn of the loop on: what one turn changes shares a transaction. */
	if (!err && !s->job.is_queued && !s->backoff_s)
		loop_timer_set(s->cfg.loop, &s->timer, loop_now(s->cfg.loop));
	return err;
}

void coordsave_hurry(struct coordsave *s)
{
	if (!s || !s->backoff_s)
		return;
	if (s->job.is_queued)
		s->is_hurried = true;
	else
		loop_timer_set(s->cfg.loop, &s->timer, mono_max(loop_now(s->cfg.loop), mono_add_s(s->tried, HURRY_S)));
}

bool coordsave_is_busy(const struct coordsave *s)
{
	return s && s->first;
}

size_t coordsave_n_rows(const struct coordsave *s)
{
	size_t n = 0;

	for (const struct waiting *w = s->first; w; w = w->next)
		n += w->batch.n_rows;
	return n;
}
