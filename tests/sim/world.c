/* SPDX-License-Identifier: MIT */
/* Flows, control and DERP of the virtual world, and its loop. */
#include "tests/sim/world.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/sim/wcoord.h"

enum { BUSY_ACTIONS = 1000, MAGIC = 0x666c6f77 };

struct world *world_new(uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));

	assert(w);
	w->net = net_new(seed);
	return w;
}

void world_free(struct world *w)
{
	for (size_t i = 0; i < w->n_nodes; i++) {
		w->nodes[i]->ops->free(w->nodes[i]);
		free(w->nodes[i]);
	}
	wcoord_free(w->coord);
	net_free(w->net);
	free(w);
}

static void host_recv(void *ctx, uint16_t port, const struct ep *from, uint8_t *buf, size_t size)
{
	struct node *n = ctx;

	if (!n->is_off)
		n->ops->recv(n, port, from, buf, size);
}

struct node *world_add(struct world *w, const char *name, const char *addr, struct nat *nat)
{
	struct node *n = calloc(1, sizeof(*n));

	assert(n && w->n_nodes < WORLD_NODES_MAX);
	n->w = w;
	n->index = (unsigned int)w->n_nodes;
	n->host = net_host(w->net, name, addr, nat);
	n->host->recv = host_recv;
	n->host->ctx = n;
	n->may_relay = true;
	w->nodes[w->n_nodes++] = n;
	return n;
}

struct node *world_node(struct world *w, const char *name, const char *addr, struct nat *nat)
{
	struct node *n = world_add(w, name, addr, nat);

	light_new(n);
	world_map_changed(w);
	return n;
}

/* ---- control -----------------------------------------------------------------------------------
 */

static void map_arrives(void *ctx, void *arg)
{
	struct world *w = ctx;

	free(arg);
	if (w->control_down)
		return;
	for (size_t i = 0; i < w->n_nodes; i++)
		if (!w->nodes[i]->is_off)
			w->nodes[i]->ops->map(w->nodes[i]);
}

void world_map_changed(struct world *w)
{
	if (!w->control_down)
		net_after(w->net, WORLD_CTL_MS * NS_PER_MS, map_arrives, w, NULL);
}

void world_relay(struct node *n, bool is_on)
{
	n->is_relay = is_on;
	n->ops->set_relay(n, is_on);
	world_map_changed(n->w);
}

void world_remove(struct node *n)
{
	n->is_removed = true;
	world_map_changed(n->w);
}

void world_link(struct node *n)
{
	n->ops->link(n);
}

void world_restart(struct node *n)
{
	n->ops->restart(n);
	if (n->is_relay)
		n->ops->set_relay(n, true);
	n->ops->map(n);
	world_map_changed(n->w);
}

/* ---- DERP --------------------------------------------------------------------------------------
 */

struct derp_packet {
	struct node *from, *to;
	world_derp_fn fn;
	size_t size;
	uint8_t data[];
};

static void derp_arrives(void *ctx, void *arg)
{
	struct derp_packet *p = arg;

	(void)ctx;
	if (!p->to->derp_down && !p->to->is_off && !p->to->w->derp_down && !p->to->host->is_down)
		p->fn(p->to, p->from, p->data, p->size);
	free(p);
}

void world_derp(struct node *from, struct node *to, const uint8_t *buf, size_t size,
		world_derp_fn fn)
{
	struct world *w = from->w;
	struct derp_packet *p;

	if (from->derp_down || w->derp_down || from->host->is_down)
		return;
	w->derp_packets++;
	p = malloc(sizeof(*p) + size);
	assert(p);
	*p = (struct derp_packet){ .from = from, .to = to, .fn = fn, .size = size };
	memcpy(p->data, buf, size);
	net_after(w->net,
		  (2 * WORLD_DERP_MS + from->host->delay_ms + to->host->delay_ms) * NS_PER_MS,
		  derp_arrives, NULL, p);
}

/* ---- flows -------------------------------------------------------------------------------------
 */

struct flow *world_one_way(struct world *w, struct node *a, struct node *b, int64_t interval_ms)
{
	struct flow *f = &w->flows[w->n_flows];

	assert(w->n_flows < WORLD_FLOWS_MAX);
	*f = (struct flow){ .a = a,
			    .b = b,
			    .interval_ms = interval_ms,
			    .next = w->net->now,
			    .started = w->net->now,
			    .last_delivered = w->net->now,
			    .first_ns = -1 };
	w->n_flows++;
	return f;
}

struct flow *world_flow(struct world *w, struct node *a, struct node *b, int64_t interval_ms)
{
	struct flow *f = world_one_way(w, a, b, interval_ms);

	(void)world_one_way(w, b, a, interval_ms);
	return f;
}

void flow_mark(struct world *w)
{
	for (size_t i = 0; i < w->n_flows; i++) {
		w->flows[i].gap_ns = 0;
		w->flows[i].last_delivered = w->net->now;
	}
}

int64_t flow_gap_ms(const struct world *w)
{
	int64_t gap = 0;

	for (size_t i = 0; i < w->n_flows; i++) {
		const struct flow *f = &w->flows[i];
		const int64_t open =
			f->is_stopped ? 0 : mono_since_ns(w->net->now, f->last_delivered);

		gap = gap > f->gap_ns ? gap : f->gap_ns;
		gap = gap > open ? gap : open;
	}
	return gap / NS_PER_MS;
}

static void flow_send(struct world *w, struct flow *f)
{
	uint8_t buf[WORLD_PAYLOAD];
	struct wr wr = WR(buf, sizeof(buf));

	f->next = mono_add_ms(f->next, f->interval_ms);
	if (f->a->is_off)
		return;
	f->sent++;
	wr_be32(&wr, MAGIC);
	wr_be32(&wr, (uint32_t)(f - w->flows));
	wr_be64(&wr, f->sent);
	wr_be64(&wr, (uint64_t)w->net->now.ns);
	f->a->ops->send(f->a, f->b, buf, sizeof(buf));
}

void world_watch(struct world *w, const uint8_t *data, size_t size)
{
	static const uint8_t begin[7] = { MAGIC >> 24, MAGIC >> 16 & 0xff, MAGIC >> 8 & 0xff,
					  MAGIC & 0xff };

	for (size_t i = 0; i + sizeof(begin) <= size; i++)
		if (data[i] == begin[0] && memcmp(data + i, begin, sizeof(begin)) == 0)
			w->leaks++;
}

void world_delivered(struct node *at, const uint8_t *payload, size_t size)
{
	struct world *w = at->w;
	struct rd r = RD(payload, size);
	const uint32_t magic = rd_be32(&r), id = rd_be32(&r);
	const uint64_t seq = rd_be64(&r);
	struct flow *f;
	int64_t gap;
	uint64_t bit;

	if (r.bad || magic != MAGIC || id >= w->n_flows || w->flows[id].b != at) {
		w->wrong++;
		return;
	}
	f = &w->flows[id];
	if (f->last_seq > seq + WORLD_WINDOW)
		return; /* older than what a replay window lets in */
	for (uint64_t s = f->last_seq + 1; s <= seq; s++)
		f->seen[s % WORLD_WINDOW / 8] &= (uint8_t) ~(1u << s % 8);
	bit = 1u << seq % 8;
	if (f->seen[seq % WORLD_WINDOW / 8] & bit) {
		f->twice++;
		return;
	}
	f->seen[seq % WORLD_WINDOW / 8] |= (uint8_t)bit;
	f->reordered += seq < f->last_seq;
	f->last_seq = seq > f->last_seq ? seq : f->last_seq;
	f->delivered++;
	if (f->first_ns < 0)
		f->first_ns = mono_since_ns(w->net->now, f->started);
	gap = mono_since_ns(w->net->now, f->last_delivered);
	f->gap_ns = gap > f->gap_ns ? gap : f->gap_ns;
	f->last_delivered = w->net->now;
}

/* ---- the loop ----------------------------------------------------------------------------------
 */

static struct mono next_time(const struct world *w)
{
	struct mono next = net_next(w->net);

	for (size_t i = 0; i < w->n_flows; i++)
		if (!w->flows[i].is_stopped)
			next = mono_min(next, w->flows[i].next);
	for (size_t i = 0; i < w->n_nodes; i++)
		if (!w->nodes[i]->is_off)
			next = mono_min(next, w->nodes[i]->ops->deadline(w->nodes[i]));
	if (w->coord)
		next = mono_min(next, wcoord_deadline(w->coord));
	return next;
}

static void note_paths(struct world *w)
{
	for (size_t i = 0; i < w->n_nodes; i++) {
		for (size_t k = 0; k < w->n_nodes; k++) {
			struct path_addr now;

			if (i == k || w->nodes[i]->is_off)
				continue;
			now = world_path(w->nodes[i], w->nodes[k]);
			if (path_eq(&now, &w->nodes[i]->last_path[k]))
				continue;
			w->nodes[i]->last_path[k] = now;
			w->nodes[i]->path_changes++;
		}
	}
}

static void run_once(struct world *w, struct mono to)
{
	struct mono next = mono_max(next_time(w), w->net->now);
	uint64_t before[WORLD_NODES_MAX];

	for (size_t i = 0; i < w->n_nodes; i++)
		before[i] = w->nodes[i]->actions;
	(void)net_step(w->net, mono_min(next, to));
	for (size_t i = 0; i < w->n_flows; i++)
		if (!w->flows[i].is_stopped && mono_due(w->flows[i].next, w->net->now))
			flow_send(w, &w->flows[i]);
	for (size_t i = 0; i < w->n_nodes; i++) {
		struct node *n = w->nodes[i];

		if (!n->is_off && mono_due(n->ops->deadline(n), w->net->now)) {
			n->ops->tick(n);
			/* A deadline that stays due would spin. */
			if (mono_due(n->ops->deadline(n), w->net->now))
				w->busy++;
		}
		if (n->actions - before[i] > BUSY_ACTIONS)
			w->busy++;
	}
	if (w->coord && mono_due(wcoord_deadline(w->coord), w->net->now)) {
		wcoord_tick(w->coord);
		if (mono_due(wcoord_deadline(w->coord), w->net->now))
			w->busy++;
	}
	note_paths(w);
}

void world_run(struct world *w, int64_t ms)
{
	const struct mono end = mono_add_ms(w->net->now, ms);

	while (mono_before(w->net->now, end) || mono_due(next_time(w), end))
		run_once(w, end);
}

struct path_addr world_path(struct node *a, struct node *b)
{
	struct path_addr second;
	bool is_trusted;

	return a->ops->path(a, b, &is_trusted, &second);
}

enum path_kind world_kind(struct node *a, struct node *b)
{
	return (enum path_kind)world_path(a, b).kind;
}

static bool is_settled(struct node *a, struct node *b, enum path_kind kind)
{
	struct path_addr second;
	bool is_trusted;
	const struct path_addr first = a->ops->path(a, b, &is_trusted, &second);

	return first.kind == kind && second.kind == PATH_NONE && (is_trusted || kind == PATH_DERP);
}

static int64_t until(struct world *w, struct node *a, struct node *b, enum path_kind kind,
		     int64_t limit_ms, bool both)
{
	const struct mono start = w->net->now, end = mono_add_ms(start, limit_ms);

	for (;;) {
		if (is_settled(a, b, kind) && (!both || is_settled(b, a, kind)))
			return mono_since_ms(w->net->now, start);
		if (!mono_before(w->net->now, end))
			return -1;
		run_once(w, end);
	}
}

int64_t world_until(struct world *w, struct node *a, struct node *b, enum path_kind kind,
		    int64_t limit_ms)
{
	return until(w, a, b, kind, limit_ms, false);
}

int64_t world_until_both(struct world *w, struct node *a, struct node *b, enum path_kind kind,
			 int64_t limit_ms)
{
	return until(w, a, b, kind, limit_ms, true);
}
