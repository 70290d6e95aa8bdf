/* SPDX-License-Identifier: MIT */
/* Random worlds under random events, with the invariants of RELIABILITY 11.3. A failing seed is
 * replayed by SIM_SEED=<seed> tests/sim/sim_soak; SIM_SEEDS=<n> runs more of them. */
#include "tests/unit/testing.h"

#include <stdio.h>
#include <stdlib.h>

#include "path/ladder.h"
#include "relay/relayclient.h"
#include "tests/sim/light.h"
#include "tests/sim/topo.h"

enum { NODES = 3, RELAYS = 2, SEEDS = 300, EVENTS = 25, EVENT_MS = 2000, INTERVAL_MS = 100 };

static unsigned int pick(struct world *w, unsigned int n)
{
	return (unsigned int)(net_random(w->net) % n);
}

static void move_somewhere(struct world *w, struct node *n, enum topo_kind *kind)
{
	static const enum nat_rule rules[3] = { NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_DEPENDENT,
						NAT_ADDRESS_AND_PORT_DEPENDENT };
	static const enum topo_kind kinds[3] = { TOPO_FC, TOPO_EA, TOPO_E };
	const unsigned int filtering = pick(w, 3);
	const bool is_hard = pick(w, 3) == 0;
	char pub[32], inner[32];

	if (w->net->n_nats == NET_NATS_MAX)
		return;
	(void)snprintf(pub, sizeof(pub), "203.0.113.%u", 1 + (unsigned int)w->net->n_nats);
	(void)snprintf(inner, sizeof(inner), "10.%u.0.2", 100 + (unsigned int)w->net->n_nats);
	net_move(n->host, inner,
		 net_nat(w->net, pub,
			 is_hard ? NAT_ADDRESS_AND_PORT_DEPENDENT : NAT_ENDPOINT_INDEPENDENT,
			 is_hard ? NAT_ADDRESS_AND_PORT_DEPENDENT : rules[filtering]));
	*kind = is_hard ? TOPO_H : kinds[filtering];
	world_link(n);
}

static void toggle_block(struct world *w, struct node *a, struct node *b)
{
	if (w->net->n_blocks > 0 && pick(w, 2) == 0) {
		w->net->n_blocks = 0;
		return;
	}
	if (w->net->n_blocks + 2 <= NET_BLOCKS_MAX)
		net_block_both(w->net, a->host, b->host);
}

/* One random event on a random node. */
static void event(struct topo *t, struct node **nodes, enum topo_kind *kinds)
{
	struct world *w = t->w;
	const unsigned int i = pick(w, NODES), k = (i + 1 + pick(w, NODES - 1)) % NODES;
	struct node *n = nodes[i], *r = t->relay[pick(w, RELAYS)];

	switch (pick(w, 14)) {
	case 0:
		move_somewhere(w, n, &kinds[i]);
		break;
	case 1:
		if (n->host->nat)
			net_nat_flush(n->host->nat);
		break;
	case 2:
	case 3:
		toggle_block(w, n, nodes[k]);
		break;
	case 4:
		n->host->loss_permille = pick(w, 2) ? pick(w, 400) : 0;
		break;
	case 5:
		n->host->dup_permille = pick(w, 200);
		n->host->jitter_ms = pick(w, 80);
		break;
	case 6:
		world_relay(r, !r->is_relay);
		break;
	case 7:
		world_restart(r);
		break;
	case 8:
		r->host->is_down = !r->host->is_down;
		break;
	case 9:
		w->derp_down = !w->derp_down;
		break;
	case 10:
		w->control_down = !w->control_down;
		world_map_changed(w);
		break;
	case 11:
		world_restart(n);
		break;
	case 12:
		n->host->udp_blocked = !n->host->udp_blocked;
		break;
	case 13: /* a pause: everybody idles */
		for (size_t f = 0; f < w->n_flows; f++)
			w->flows[f].is_stopped = true;
		world_run(w, 1000 + pick(w, 60000));
		for (size_t f = 0; f < w->n_flows; f++) {
			w->flows[f].is_stopped = false;
			w->flows[f].next = w->net->now;
		}
		break;
	}
}

static void heal(struct topo *t, struct node **nodes)
{
	struct world *w = t->w;

	w->net->n_blocks = 0;
	w->derp_down = w->control_down = false;
	for (int i = 0; i < NODES; i++) {
		struct host *h = nodes[i]->host;

		h->loss_permille = h->dup_permille = 0;
		h->jitter_ms = 0;
		h->udp_blocked = false;
	}
	for (int i = 0; i < RELAYS; i++) {
		t->relay[i]->host->is_down = false;
		world_relay(t->relay[i], true);
	}
	world_map_changed(w);
}

static bool both_hard_enough(enum topo_kind a, enum topo_kind b)
{
	const bool hard_a = a == TOPO_H || a == TOPO_CH, hard_b = b == TOPO_H || b == TOPO_CH;
	const bool ports_a = hard_a || a == TOPO_E || a == TOPO_CG;
	const bool ports_b = hard_b || b == TOPO_E || b == TOPO_CG;

	return (hard_a && ports_b) || (hard_b && ports_a);
}

static void check_pairs(struct topo *t, struct node **nodes, const enum topo_kind *kinds,
			uint64_t seed)
{
	for (size_t f = 0; f < t->w->n_flows; f++) {
		const struct flow *fl = &t->w->flows[f];
		const enum topo_kind ka = kinds[fl->a->index], kb = kinds[fl->b->index];
		const enum path_kind want = both_hard_enough(ka, kb) ? PATH_RELAY : PATH_DIRECT;

		(void)nodes;
		if (world_kind(fl->a, fl->b) != want)
			fail_msg("SIM_SEED=%llu: %s to %s (%s, %s) is on rung %d instead of %d",
				 (unsigned long long)seed, fl->a->host->name, fl->b->host->name,
				 topo_names[ka], topo_names[kb], world_kind(fl->a, fl->b), want);
		if (fl->gap_ns > 2 * INTERVAL_MS * NS_PER_MS)
			fail_msg("SIM_SEED=%llu: %s to %s: silent for %lld ms on a healthy path",
				 (unsigned long long)seed, fl->a->host->name, fl->b->host->name,
				 (long long)(fl->gap_ns / NS_PER_MS));
	}
}

static void check_invariants(const struct topo *t, uint64_t seed)
{
	for (size_t f = 0; f < t->w->n_flows; f++)
		if (t->w->flows[f].twice)
			fail_msg("SIM_SEED=%llu: a packet was delivered twice",
				 (unsigned long long)seed);
	if (t->w->wrong)
		fail_msg("SIM_SEED=%llu: a packet reached a stranger", (unsigned long long)seed);
	if (t->w->busy)
		fail_msg("SIM_SEED=%llu: a machine spins", (unsigned long long)seed);
}

static void run_seed(uint64_t seed)
{
	static const char *const names[NODES] = { "a", "b", "c" };
	static const enum topo_kind some[7] = { TOPO_O,  TOPO_FC, TOPO_EA, TOPO_E,
						TOPO_CG, TOPO_H,  TOPO_CH };
	struct topo t = { .w = world_new(seed) };
	struct node *nodes[NODES];
	enum topo_kind kinds[NODES];

	for (int i = 0; i < NODES; i++) {
		kinds[i] = some[pick(t.w, 7)];
		nodes[i] = topo_node(t.w, names[i], kinds[i], i + 1);
		nodes[i]->host->delay_ms = 1 + pick(t.w, 60);
	}
	t.relay[0] = world_node(t.w, "r0", "203.0.113.201", NULL);
	t.relay[1] = world_node(t.w, "r1", "203.0.113.202", NULL);
	world_relay(t.relay[0], true);
	world_run(t.w, pick(t.w, 1000));
	for (int i = 0; i < NODES; i++)
		world_flow(t.w, nodes[i], nodes[(i + 1) % NODES], INTERVAL_MS);
	for (int i = 0; i < EVENTS; i++) {
		event(&t, nodes, kinds);
		world_run(t.w, 1 + pick(t.w, EVENT_MS));
		check_invariants(&t, seed);
	}
	heal(&t, nodes);
	world_run(t.w, 10000);
	flow_mark(t.w);
	world_run(t.w, 60000);
	check_pairs(&t, nodes, kinds, seed);
	/* A removed peer leaves nothing behind. */
	world_remove(nodes[2]);
	world_run(t.w, 1000);
	check_invariants(&t, seed);
	topo_end(&t);
}

static void random_worlds_keep_the_invariants(void **state)
{
	const char *one = getenv("SIM_SEED"), *many = getenv("SIM_SEEDS");
	const uint64_t n = many ? strtoull(many, NULL, 10) : SEEDS;

	(void)state;
	if (one) {
		run_seed(strtoull(one, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= n; seed++)
		run_seed(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_worlds_keep_the_invariants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
