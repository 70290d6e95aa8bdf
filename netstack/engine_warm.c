/* SPDX-License-Identifier: MIT */
/* What only peers have that are spoken to: a WireGuard session, a path ladder, a box for disco. A large mesh has
 * thousands of peers and a node speaks with few of them; the others are a cold record of a few hundred bytes.
 *
 *            a packet for it, a ping, its handshake or disco message
 *   cold ──────────────────────────────────────────────────────────────► warm
 *        ◄──────────────────────────────────────────────────────────────
 *            ENGINE_COOL_S unused, no keys, nothing staged
 *
 * The greatest handshake stamp outlives the session: an old initiation stays a replay. */
#include <stdlib.h>
#include <string.h>

#include "engine_int.h"

static void note_used(struct engine *e, struct mono now, struct epeer *p)
{
	p->used = now;
	e->cool_at = mono_min(e->cool_at, mono_add_s(now, ENGINE_COOL_S));
}

struct device_peer *ep_session(struct engine *e, struct mono now, struct epeer *p)
{
	const struct device_peer_cfg cfg = { .key = p->key,
					     .id = p->id,
					     .owner = p,
					     .seen_stamp = p->seen_stamp };

	note_used(e, now, p);
	if (!p->dev && e->has_device && device_add(&e->device, &cfg, &p->dev) < 0) {
		e->out_dropped++;
		p->dev = NULL;
	}
	return p->dev;
}

struct device_peer *ep_find_session(void *ctx, struct mono now, const struct node_key *key)
{
	struct engine *e = ctx;
	struct epeer *p = ep_by_key(e, key);

	return p ? ep_session(e, now, p) : NULL;
}

void ep_end_session(struct engine *e, struct mono now, struct epeer *p)
{
	if (!p->dev)
		return;
	device_reset(&e->device, p->dev);
	ep_pump_device(e, now); /* its KEY_DROPs */
	device_seen_stamp(p->dev, p->seen_stamp);
	device_del(&e->device, p->dev);
	p->dev = NULL;
	p->advertised = 0; /* it has no session that the disco key could be told in */
}

void ep_set_ladder(struct engine *e, struct mono now, struct epeer *p)
{
	const struct map_node *n = p->node;
	const struct ladder_peer lp = {
		.node = p->key,
		.disco = p->disco,
		.endpoints = n->endpoints,
		.n_endpoints = n->n_endpoints,
		.home_derp = n->home_derp,
		.cap = n->cap,
		.is_wireguard_only = n->wireguard_only,
		.is_silent = e->map && map_node_has_cap(netmap_self(e->map), "silent-disco"),
	};

	if (!p->ladder)
		return; /* it learns all that when it is made */
	if (ladder_set_peer(p->ladder, now, &lp) < 0)
		e->out_dropped++;
	ep_touch(e, p);
}

struct ladder *ep_ladder(struct engine *e, struct mono now, struct epeer *p)
{
	note_used(e, now, p);
	if (p->ladder)
		return p->ladder;
	p->ladder = malloc(sizeof(*p->ladder));
	if (!p->ladder) {
		e->out_dropped++;
		return NULL;
	}
	ladder_init(p->ladder, now, &e->self);
	ep_set_ladder(e, now, p);
	ladder_input_relays(p->ladder, now, relayclient_n_servers(&e->relayc, &p->key), false);
	return p->ladder;
}

void ep_drop_ladder(struct engine *e, struct epeer *p)
{
	heap_del(&e->timers, &p->timer);
	if (p->ladder)
		ladder_wipe(p->ladder);
	free(p->ladder);
	p->ladder = NULL;
}

const struct disco_box *ep_box(struct engine *e, struct mono now, struct epeer *p)
{
	note_used(e, now, p);
	if (p->box || key_is_zero(p->disco.b))
		return p->box;
	p->box = malloc(sizeof(*p->box));
	if (p->box && disco_box_init(p->box, &e->disco_priv, &e->disco, &p->disco) < 0) {
		free(p->box);
		p->box = NULL;
	}
	return p->box;
}

void ep_drop_box(struct epeer *p)
{
	if (p->box)
		disco_box_wipe(p->box);
	free(p->box);
	p->box = NULL;
}

/* --- for status --- */

struct ladder_targets ep_targets(const struct epeer *p, struct mono now)
{
	struct ladder_targets t = { 0 };

	if (p->ladder)
		return ladder_targets(p->ladder, now);
	if (p->node->home_derp)
		t.first = path_derp(p->node->home_derp);
	return t;
}

size_t ep_candidates(const struct engine *e, const struct epeer *p, struct mono now,
		     struct prober_view views[static PROBER_CANDS_MAX])
{
	size_t n = 0;

	if (p->ladder) {
		n = ladder_candidates(p->ladder, now, views, PROBER_CANDS_MAX);
		return n < PROBER_CANDS_MAX ? n : PROBER_CANDS_MAX;
	}
	for (size_t i = 0; i < p->node->n_endpoints && n < PROBER_NETMAP_MAX; i++)
		if (prober_may_try(&e->self, &p->node->endpoints[i]))
			views[n++] = (struct prober_view){ .ep = p->node->endpoints[i],
							   .verdict = PROBER_UNTRIED,
							   .from = PROBER_FROM_NETMAP };
	return n;
}

/* --- going cold --- */

static bool may_cool(const struct epeer *p, struct mono now)
{
	return !mono_before(now, mono_add_s(p->used, ENGINE_COOL_S)) && !p->is_dirty && !p->staged &&
	       (!p->dev || device_is_idle(p->dev));
}

static void cool(struct engine *e, struct mono now, struct epeer *p)
{
	struct engine_out *o;

	ep_end_session(e, now, p);
	ep_drop_ladder(e, p);
	ep_drop_box(p);
	p->targets = (struct ladder_targets){ 0 };
	if (!p->has_targets)
		return;
	p->has_targets = false;
	o = p->in_view ? eq_push(e, ENGINE_PATH, NULL, 0) : NULL; /* to nowhere */
	if (o)
		o->peer = p->id;
}

void ep_cool(struct engine *e, struct mono now)
{
	if (!mono_due(e->cool_at, now))
		return;
	e->cool_at = MONO_NEVER;
	for (size_t i = 0; i < e->n_slots; i++) {
		struct epeer *p = e->slots[i];

		if (!p || (!p->ladder && !p->dev && !p->box))
			continue;
		if (may_cool(p, now))
			cool(e, now, p);
		else /* still in use: looked at again, with the others, in one go */
			e->cool_at = mono_add_s(now, ENGINE_COOL_S);
	}
}
