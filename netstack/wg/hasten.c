/* SPDX-License-Identifier: MIT */
/* Early initiations: when, and how many. */
#include "wg/hasten.h"

#include <string.h>

void hasten_init(struct hasten *h)
{
	memset(h, 0, sizeof(*h));
	h->at = MONO_NEVER;
}

void hasten_begin(struct hasten *h)
{
	h->at = MONO_NEVER;
	h->n_absent = 0;
	h->is_absent = false;
}

void hasten_regular(struct hasten *h, struct mono now)
{
	h->at = MONO_NEVER;
	h->last = now;
	h->n_early = 0;
}

/* When a place among the HASTEN_MAX is free. */
static struct mono free_at(const struct hasten *h)
{
	const struct mono oldest = h->taken[h->place];

	return mono_is_zero(oldest) ? MONO_ZERO : mono_add_s(oldest, HASTEN_WINDOW_S);
}

static void plan(struct hasten *h, struct mono now, int64_t wait_ms)
{
	struct mono t = mono_max(mono_add_ms(now, HASTEN_SETTLE_MS), mono_add_ms(h->last, wait_ms));

	h->at = mono_min(h->at, mono_max(t, free_at(h)));
}

static void plan_absent(struct hasten *h, struct mono now)
{
	if (h->n_absent < HASTEN_ABSENT_MAX)
		plan(h, now, (int64_t)HASTEN_ABSENT_MS << h->n_absent++);
}

void hasten_hint(struct hasten *h, struct mono now, enum hasten_why why)
{
	if (why == HASTEN_REACHED) {
		plan(h, now, (int64_t)HASTEN_REACHED_MS << h->n_early);
	} else if (!h->is_absent) {
		h->is_absent = true;
		plan_absent(h, now);
	}
}

bool hasten_take(struct hasten *h, struct mono now)
{
	if (mono_before(now, free_at(h)))
		return false;
	h->taken[h->place] = now;
	h->place = (uint8_t)((h->place + 1) % HASTEN_MAX);
	return true;
}

bool hasten_due(struct hasten *h, struct mono now)
{
	if (!mono_due(h->at, now))
		return false;
	h->at = MONO_NEVER;
	if (!hasten_take(h, now))
		return false;
	h->last = now;
	if (h->n_early < HASTEN_MAX)
		h->n_early++;
	if (h->is_absent)
		plan_absent(h, now);
	return true;
}

void hasten_stop(struct hasten *h)
{
	h->at = MONO_NEVER;
}
