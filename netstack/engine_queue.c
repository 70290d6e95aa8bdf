/* SPDX-License-Identifier: MIT */
/* Outputs that wait for engine_poll(), in order. Control messages only: bulk data does not pass here. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "engine_int.h"

struct engine_item *eq_new(struct engine *e, enum engine_out_kind kind, const void *data, size_t size)
{
	struct engine_item *i = calloc(1, sizeof(*i) + size);

	if (!i) {
		e->out_dropped++;
		return NULL;
	}
	i->out.kind = kind;
	if (size)
		memcpy(i->data, data, size);
	i->out.data = i->data;
	i->out.size = size;
	return i;
}

void eq_add(struct engine *e, struct engine_item *i)
{
	if (e->last)
		e->last->next = i;
	else
		e->first = i;
	e->last = i;
}

struct engine_out *eq_push(struct engine *e, enum engine_out_kind kind, const void *data, size_t size)
{
	struct engine_item *i = eq_new(e, kind, data, size);

	if (i)
		eq_add(e, i);
	return i ? &i->out : NULL;
}

void eq_drop(struct engine_item *i)
{
	if (!i)
		return;
	pingresult_wipe(&i->ping);
	free(i->owned[0]);
	free(i->owned[1]);
	sodium_memzero(i->data, i->out.size);
	free(i);
}

bool eq_pop(struct engine *e, struct engine_out *out)
{
	struct engine_item *i = e->first;

	eq_drop(e->shown);
	e->shown = NULL;
	if (!i)
		return false;
	e->first = i->next;
	if (!e->first)
		e->last = NULL;
	e->shown = i;
	*out = i->out;
	return true;
}

void eq_wipe(struct engine *e)
{
	struct engine_out out;

	while (eq_pop(e, &out))
		;
}
