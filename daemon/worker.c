/* SPDX-License-Identifier: MIT */
/* What all packet threads share: start and end, notes to control. */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/aeadpick.h"
#include "daemon/dpstate.h"

int worker_init(struct worker *w, struct dp *dp)
{
	int err;

	w->dp = dp;
	w->bell.fd = -1;
	err = bell_open(&w->bell);
	if (!err)
		err = ring_init(&w->notes, DP_RING_SIZE);
	if (!err)
		err = ring_init(&w->orders, DP_RING_SIZE);
	if (!err)
		err = aeadpick_thread_init(&w->aead[0], dp->crypto);
	return err;
}

int worker_recruit(struct worker *w, const char *name)
{
	int err = 0;

	for (unsigned i = 1; i <= w->dp->n_helpers && !err; i++)
		err = aeadpick_thread_init(&w->aead[i], w->dp->crypto);
	return err ? err : crew_new(&w->crew, w->dp->n_helpers, name);
}

void worker_wipe(struct worker *w)
{
	crew_free(w->crew);
	for (size_t i = 0; i < ARRAY_LEN(w->aead); i++)
		aeadpick_thread_wipe(&w->aead[i]);
	ring_wipe(&w->notes);
	ring_wipe(&w->orders);
	bell_close(&w->bell);
}

int worker_start(struct worker *w, const char *name, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, DP_STACK_SIZE);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&w->thread, &attr, fn, arg);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	w->is_started = err == 0;
	if (!err)
		(void)pthread_setname_np(w->thread, name);
	return -err;
}

void worker_stop(struct worker *w)
{
	if (!w->is_started)
		return;
	(void)counter_mark_set(&w->stop);
	bell_ring(&w->bell);
	(void)pthread_join(w->thread, NULL);
	w->is_started = false;
}

bool worker_note(struct worker *w, const struct dp_note *note, const void *data, size_t size)
{
	uint8_t *p = ring_reserve(&w->notes, sizeof(*note) + size);
	struct dp_note n = *note;

	if (!p)
		return false;
	n.size = (uint32_t)size;
	memcpy(p, &n, sizeof(n));
	if (size)
		memcpy(p + sizeof(n), data, size);
	ring_commit(&w->notes);
	bell_ring(&w->dp->bell);
	return true;
}

bool worker_note_stranger(struct worker *w, const struct dp_note *note, const void *data,
			  size_t size)
{
	return ring_used(&w->notes) < DP_RING_SIZE / 4 * 3 && worker_note(w, note, data, size);
}

void worker_mark_active(struct worker *w, struct dp_peer *peer)
{
	const struct dp_note note = { .kind = DP_NOTE_ACTIVE, .peer = peer->id };

	/* With a full ring the mark goes away again, and the next packet tries anew. */
	if (counter_mark_set(&peer->active) && !worker_note(w, &note, NULL, 0))
		counter_mark_clear(&peer->active);
}

void worker_count_overflow(struct worker *w, const struct usock_rx *rx, uint32_t *last)
{
	struct counter *c = w->is_forwarder ? &w->tally.relay_rxq_overflow : &w->tally.rxq_overflow;

	if (rx->has_overflows && rx->overflows != *last) {
		counter_add(c, rx->overflows - *last); /* the total wraps */
		*last = rx->overflows;
	}
}
