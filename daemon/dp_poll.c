/* SPDX-License-Identifier: MIT */
/* Events from the workers to control, summaries of activity, and figures. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "daemon/dp.h"
#include "daemon/dpstate.h"

void dp_poll_ready(void *ctx, uint32_t events, struct mono now)
{
	struct dp *dp = ctx;

	(void)events;
	bell_clear(&dp->bell);
	dp->n_polled = 0;
	dp->on_events(dp->ctx, now);
}

/* --- activity --- */

static void list_peer(struct dp *dp, struct dp_peer *p, struct mono now)
{
	if (p->is_listed)
		return;
	p->is_listed = true;
	p->is_quiet = false;
	p->active_next = dp->active;
	dp->active = p;
	if (!dp->timer.node.at)
		loop_timer_set(dp->loop, &dp->timer, mono_add_ms(now, DP_ACTIVITY_MS));
}

void dp_poll_forget(struct dp *dp, struct dp_peer *p)
{
	struct dp_peer **link = &dp->active;

	while (*link && *link != p)
		link = &(*link)->active_next;
	if (*link)
		*link = p->active_next;
	if (dp->report == p)
		dp->report = p->active_next;
	p->is_listed = false;
}

void dp_poll_timer(void *ctx, struct mono now)
{
	struct dp *dp = ctx;

	dp->report = dp->active;
	if (!dp->report)
		return;
	loop_timer_set(dp->loop, &dp->timer, mono_add_ms(now, DP_ACTIVITY_MS));
	dp->n_polled = 0;
	dp->on_events(dp->ctx, now);
}

static void read_totals(const struct dp_peer *p, struct dp_activity *a)
{
	for (int i = 0; i < DP_VIA_N; i++) {
		a->tx_pkts[i] = counter_get(&p->tx_pkts[i]);
		a->tx_bytes[i] = counter_get(&p->tx_bytes[i]);
		a->rx_pkts[i] = counter_get(&p->rx_pkts[i]);
		a->rx_bytes[i] = counter_get(&p->rx_bytes[i]);
		a->last_rx_via[i].ns = (int64_t)counter_get(&p->last_rx_via[i]);
	}
	a->tx_data_pkts = counter_get(&p->tx_data_pkts);
	a->rx_data_pkts = counter_get(&p->rx_data_pkts);
	a->last_tx.ns = (int64_t)counter_get(&p->last_tx);
	a->last_rx.ns = (int64_t)counter_get(&p->last_rx);
	a->last_tx_data.ns = (int64_t)counter_get(&p->last_tx_data);
	a->last_rx_data.ns = (int64_t)counter_get(&p->last_rx_data);
}

/* '*a' becomes what changed since 'p->told', which becomes '*a'. True if anything did. */
static bool take_delta(struct dp_peer *p, struct dp_activity *a)
{
	const struct dp_activity t = p->told;
	uint64_t any = 0;

	p->told = *a;
	for (int i = 0; i < DP_VIA_N; i++) {
		a->tx_pkts[i] -= t.tx_pkts[i];
		a->tx_bytes[i] -= t.tx_bytes[i];
		a->rx_pkts[i] -= t.rx_pkts[i];
		a->rx_bytes[i] -= t.rx_bytes[i];
		any |= a->tx_pkts[i] | a->rx_pkts[i];
	}
	a->tx_data_pkts -= t.tx_data_pkts;
	a->rx_data_pkts -= t.rx_data_pkts;
	return any != 0;
}

/* The next summary that is due. */
static bool poll_activity(struct dp *dp, struct mono now, struct dp_event *ev)
{
	while (dp->report) {
		struct dp_peer *p = dp->report;

		dp->report = p->active_next;
		read_totals(p, &ev->activity);
		if (take_delta(p, &ev->activity)) {
			ev->kind = DP_EV_ACTIVITY;
			ev->peer = p->id;
			ev->when = now;
			p->is_quiet = false;
			return true;
		}
		/* Silent for a whole interval: the mark goes, and one interval later the peer. A
		 * packet that was counted just before the mark went is seen then; a later one sets
		 * the mark again. */
		if (p->is_quiet)
			dp_poll_forget(dp, p);
		else
			counter_mark_clear(&p->active);
		p->is_quiet = true;
	}
	return false;
}

/* --- notes --- */

static struct worker *worker_at(const struct dp *dp, uint32_t i)
{
	return i == 0   ? in_worker(dp->in)
	       : i == 1 ? out_worker(dp->out)
			: forward_worker(dp->forwarders[i - 2]);
}

static void take_note(struct dp_event *ev, const struct dp_note *n, const uint8_t *data)
{
	ev->kind = (enum dp_event_kind)n->kind;
	ev->peer = n->peer;
	ev->path = n->path;
	ev->geneve_control = n->geneve_control;
	ev->sock = n->sock;
	ev->local_index = n->local_index;
	ev->error = n->error;
	ev->when = n->when;
	ev->data = n->size ? data : NULL;
	ev->size = n->size;
}

/* What was handed out carried plaintext perhaps (a packet without a session): wiped before its
 * place is free. */
static void release_held(struct dp *dp)
{
	struct dp_note n;
	uint8_t *p;
	size_t size;

	if (!dp->held)
		return;
	p = ring_peek(dp->held, &size);
	if (p) {
		memcpy(&n, p, sizeof(n));
		if (n.kind == DP_EV_WANT_SESSION)
			sodium_memzero(p + sizeof(n), n.size);
		ring_pop(dp->held);
	}
	dp->held = NULL;
}

/* The oldest note of a worker; false if there is none. Notes that only concern this file are taken
 * silently. */
static bool poll_worker(struct dp *dp, struct worker *w, struct mono now, struct dp_event *ev)
{
	struct dp_note n;
	uint8_t *p;
	size_t size;

	while ((p = ring_peek(&w->notes, &size))) {
		struct dp_peer *peer;

		memcpy(&n, p, sizeof(n));
		peer = peer_id_is_set(n.peer) ? dp_find_peer(dp, n.peer) : NULL;
		if (n.kind == DP_NOTE_ACTIVE && peer)
			list_peer(dp, peer, now);
		/* Notes about a peer that has gone concern nobody. */
		if (n.kind == DP_NOTE_ACTIVE || (peer_id_is_set(n.peer) && !peer)) {
			ring_pop(&w->notes);
			continue;
		}
		take_note(ev, &n, p + sizeof(n));
		dp->held = &w->notes;
		return true;
	}
	return false;
}

bool dp_poll(struct dp *dp, struct mono now, struct dp_event *ev)
{
	const uint32_t n = 2 + dp->n_forwarders;

	release_held(dp);
	memset(ev, 0, sizeof(*ev));
	if (dp->n_polled++ >= DP_POLL_MAX) {
		bell_ring(&dp->bell); /* the rest in the next turn */
		return false;
	}
	if (poll_activity(dp, now, ev))
		return true;
	/* One note each in turn, so that a flood on one worker's ring holds up no other. */
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t at = (dp->poll_at + i) % n;

		if (poll_worker(dp, worker_at(dp, at), now, ev)) {
			dp->poll_at = at + 1;
			return true;
		}
	}
	return false;
}

/* --- figures --- */

int dp_peer_totals(const struct dp *dp, struct peer_id peer, struct dp_peer_totals *t)
{
	const struct dp_peer *p = dp_find_peer(dp, peer);
	struct dp_activity a = { 0 };

	if (!p)
		return -ENOENT;
	read_totals(p, &a);
	*t = (struct dp_peer_totals){ .last_rx = a.last_rx, .last_tx = a.last_tx };
	for (int i = 0; i < DP_VIA_N; i++) {
		t->rx_bytes += a.rx_bytes[i];
		t->tx_bytes += a.tx_bytes[i];
	}
	return 0;
}

static void add_all(uint64_t *sum, const struct counter *c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum[i] += counter_get(&c[i]);
}

static void add_tally(struct dp_counters *c, const struct dp_tally *t)
{
	add_all(c->in_pkts, t->in_pkts, DP_PATH_N);
	add_all(c->in_bytes, t->in_bytes, DP_PATH_N);
	add_all(c->out_pkts, t->out_pkts, DP_PATH_N);
	add_all(c->out_bytes, t->out_bytes, DP_PATH_N);
	add_all(c->in_dropped, t->in_dropped, DP_IN_N);
	add_all(c->out_dropped, t->out_dropped, DP_OUT_N);
	for (int i = 0; i < 2; i++) {
		add_all(c->relay_pkts[i], t->relay_pkts[i], 2);
		add_all(c->relay_bytes[i], t->relay_bytes[i], 2);
	}
	add_all(c->relay_dropped, t->relay_dropped, DP_RELAY_DROP_N);
	c->rxq_overflow += counter_get(&t->rxq_overflow);
	c->relay_rxq_overflow += counter_get(&t->relay_rxq_overflow);
	c->gso_fallbacks += counter_get(&t->gso_fallbacks);
	c->dups_limited += counter_get(&t->dups_limited);
	c->tun_fallbacks += counter_get(&t->tun_fallbacks);
	c->bad_csums += counter_get(&t->bad_csums);
	c->tun_reads += counter_get(&t->tun_reads);
	c->tun_writes += counter_get(&t->tun_writes);
	c->udp_recvs += counter_get(&t->udp_recvs);
	c->udp_sends += counter_get(&t->udp_sends);
}

void dp_counters(const struct dp *dp, struct dp_counters *c)
{
	memset(c, 0, sizeof(*c));
	for (uint32_t i = 0; i < 2 + dp->n_forwarders; i++)
		add_tally(c, &worker_at(dp, i)->tally);
	add_all(&c->in_dropped[DP_IN_RING], &dp->control_dropped_orders, 1);
	if (dp->past)
		add_tally(c, dp->past);
}
