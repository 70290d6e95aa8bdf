/* SPDX-License-Identifier: MIT */
/* Waiting for the disk on behalf of the engine and of local callers. */
#include "daemon/persist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/log.h"
#include "daemon/store.h"

/* One acknowledgement for each set of keys: the control client counts them. A later set's ticket covers the
 * earlier ones, and the client goes on when all are there. */
static void acknowledge(struct persist *p, struct mono now)
{
	if (!store_is_durable(p->store, p->keys_ticket))
		return;
	while (p->n_keys) {
		p->n_keys--;
		p->events.keys_stored(p->events.ctx, now);
	}
}

static void written(void *ctx, uint64_t ticket, int err, struct mono now)
{
	struct persist *p = ctx;
	size_t kept = 0;

	acknowledge(p, now);
	for (size_t i = 0; i < p->n_answers; i++) {
		const struct persist_answer a = p->answers[i];

		if (a.ticket > ticket)
			p->answers[kept++] = a;
		else
			p->events.answer(p->events.ctx, a.token, a.kind, err);
	}
	p->n_answers = kept;
}

static int put_keys(struct persist *p, const struct ctlclient_saved *saved)
{
	struct store_identity id = { .machine = saved->machine,
				     .node = saved->node,
				     .old_node = saved->old_node,
				     .is_registered = saved->registered };
	int err = store_put_identity(p->store, &id);

	store_identity_wipe(&id);
	if (!err && *saved->url)
		err = store_put_value(p->store, "identity_url", saved->url, strlen(saved->url));
	if (!err && *saved->url && !key_is_zero(saved->server.b))
		err = store_put_server_key(p->store, saved->url, &saved->server);
	return err;
}

/* Each set is a whole identity: the newest one on disk makes up for those before. Without memory for it nothing that
 * depends on these keys is sent. */
static void try_keys(struct persist *p, struct mono now, const struct ctlclient_saved *saved)
{
	int err = put_keys(p, saved);

	p->is_lost = err != 0;
	if (err) {
		log_error(p->log, "store: identity: %s", strerror(-err));
		memmove(&p->lost, saved, sizeof(p->lost));
		p->keys_ticket = UINT64_MAX;
		loop_timer_set(p->loop, &p->lost_timer, mono_add_s(now, PERSIST_AGAIN_S));
		return;
	}
	sodium_memzero(&p->lost, sizeof(p->lost));
	p->keys_ticket = store_ticket(p->store);
	acknowledge(p, now);
}

static void lost_due(void *ctx, struct mono now)
{
	struct persist *p = ctx;

	if (p->is_lost)
		try_keys(p, now, &p->lost);
}

static void store_map(struct persist *p)
{
	const char *url = NULL;
	size_t size = 0;
	char *text;

	if (!p->map_is_due)
		return;
	text = p->events.map_text(p->events.ctx, &url, &size);
	if (!text || store_put_map(p->store, url, text, size) < 0)
		log_warn(p->log, "store: map: not written");
	free(text);
	p->map_stored = loop_now(p->loop);
	p->map_is_due = false;
}

static void map_due(void *ctx, struct mono now)
{
	struct persist *p = ctx;

	(void)now;
	p->map_timer.node.deadline = MONO_NEVER;
	store_map(p);
}

void persist_init(struct persist *p, struct store *store, struct loop *loop, const struct log *log,
		  const struct persist_events *events)
{
	*p = (struct persist){ .store = store, .loop = loop, .log = log, .events = *events };
	p->map_timer = (struct loop_timer){ .fn = map_due, .ctx = p };
	p->map_timer.node.deadline = MONO_NEVER;
	p->lost_timer = (struct loop_timer){ .fn = lost_due, .ctx = p };
	store_attach(store, loop, written, p);
}

void persist_close(struct persist *p)
{
	if (!p->store)
		return;
	loop_timer_stop(p->loop, &p->map_timer);
	lost_due(p, loop_now(p->loop));
	loop_timer_stop(p->loop, &p->lost_timer);
	sodium_memzero(&p->lost, sizeof(p->lost));
	store_map(p);
	store_detach(p->store);
	p->store = NULL;
}

void persist_identity(struct persist *p, struct mono now, const struct ctlclient_saved *saved)
{
	p->n_keys++;
	try_keys(p, now, saved);
}

void persist_floor(struct persist *p, int64_t stamp_floor_ns)
{
	if (store_put_floor(p->store, stamp_floor_ns / NS_PER_S + 1) < 0)
		log_warn(p->log, "store: handshake floor: not written");
}

void persist_map(struct persist *p, struct mono now, bool has_map)
{
	const struct mono soon = mono_add_ms(now, PERSIST_MAP_DELAY_MS);

	p->map_is_due = has_map;
	if (!has_map && store_del_map(p->store) < 0)
		log_warn(p->log, "store: map: not removed");
	if (has_map && mono_is_never(p->map_timer.node.deadline))
		loop_timer_set(p->loop, &p->map_timer,
			       mono_is_zero(p->map_stored)
				       ? soon
				       : mono_max(soon, mono_add_s(p->map_stored, PERSIST_MAP_INTERVAL_S)));
}

void persist_answer(struct persist *p, uint64_t token, enum persist_kind kind)
{
	const uint64_t ticket = store_ticket(p->store);

	if (store_is_durable(p->store, ticket))
		p->events.answer(p->events.ctx, token, kind, 0);
	else if (p->n_answers == PERSIST_ANSWERS_MAX)
		p->events.answer(p->events.ctx, token, kind, -EBUSY);
	else
		p->answers[p->n_answers++] =
			(struct persist_answer){ .token = token, .ticket = ticket, .kind = kind };
	store_hurry(p->store);
}
