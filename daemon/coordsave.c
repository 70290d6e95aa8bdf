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
	GROUP_MAX = 256,    /* batches of one transaction */
	BACKOFF_MAX_S = 60, /* RELIABILITY 7, rule 5 */
};

/* A batch that is not on disk yet. */
struct waiting {
	struct waiting *next;
	struct reg_batch batch;
};

struct coordsave {
	struct coordsave_cfg cfg;
	struct waiting *first, **last;
	unsigned backoff_s; /* 0 = the last write worked */
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
		s->last = &s->first;
	reg_batch_wipe(&w->batch);
	free(w);
}

static void settle(struct coordsave *s, struct mono now)
{
	const uint64_t tried = s->group[s->n_group - 1]->ticket;
	const uint64_t stored = s->n_stored ? s->group[s->n_stored - 1]->ticket : 0;

	for (size_t i = 0; i < s->n_stored; i++)
		drop_first(s);
	if (s->err) {
		log_error(s->cfg.log, "coordinator: database: %s", strerror(-s->err));
		s->backoff_s = !s->backoff_s ? 1 : s->backoff_s < BACKOFF_MAX_S / 2 ? 2 * s->backoff_s : BACKOFF_MAX_S;
	} else {
		if (s->backoff_s)
			log_info(s->cfg.log, "coordinator: the database is written again");
		s->backoff_s = 0;
	}
	if (stored)
		s->cfg.written(s->cfg.ctx, stored, 0, now);
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
		loop_timer_set(s->cfg.loop, &s->timer, mono_add_s(now, s->backoff_s));
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
	s->last = &s->first;
	s->timer = (struct loop_timer){ .fn = timer_due, .ctx = s };
	s->job = (struct loop_job){ .lane = LOOP_LANE_DISK, .run = run, .done = done, .ctx = s };
	return s;
}

void coordsave_free(struct coordsave *s)
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
	while (s->first)
		drop_first(s);
	free(s);
}

static int copy_batch(struct reg_batch *to, const struct reg_batch *from)
{
	*to = (struct reg_batch){ .ticket = from->ticket };
	to->rows = calloc(from->n_rows + 1, sizeof(*to->rows));
	for (size_t i = 0; to->rows && i < from->n_rows; i++) {
		to->rows[i] = from->rows[i];
		to->rows[i].data = from->rows[i].data ? strdup(from->rows[i].data) : NULL;
		to->n_rows++;
		if (from->rows[i].data && !to->rows[i].data) {
			reg_batch_wipe(to);
			return -ENOMEM;
		}
	}
	return to->rows ? 0 : -ENOMEM;
}

int coordsave_put(struct coordsave *s, const struct reg_batch *b)
{
	struct waiting *w = calloc(1, sizeof(*w));

	if (!w || copy_batch(&w->batch, b) < 0) {
		free(w);
		return -ENOMEM;
	}
	*s->last = w;
	s->last = &w->next;
	/* From the next turn of the loop on: what one turn changes shares a transaction. */
	if (!s->job.is_queued)
		loop_timer_set(s->cfg.loop, &s->timer, loop_now(s->cfg.loop));
	return 0;
}

bool coordsave_is_busy(const struct coordsave *s)
{
	return s && s->first;
}
