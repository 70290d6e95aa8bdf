/* SPDX-License-Identifier: MIT */
/* Random events on whole nodes, with the invariants of RELIABILITY 11.3: nothing twice, nothing to
 * a stranger, nothing in the clear, no machine spins; after a quiet time every pair talks on the
 * best rung it can have. SIM_SEED=<seed> replays one seed, SIM_SEEDS=<n> runs more. */
#include "tests/unit/testing.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/topo.h"
#include "tests/sim/wcoord.h"
#include "tests/sim/whole.h"

enum { NODES = 3, SEEDS = 24, EVENTS = 15, EVENT_MS = 3000, INTERVAL_MS = 100 };

static unsigned int pick(struct world *w, unsigned int n)
{
	return (unsigned int)(net_random(w->net) % n);
}

struct soak {
	struct topo t;
	struct node *nodes[NODES];
	bool is_hard[WORLD_NODES_MAX]; /* by node index */
};

static void roam(struct soak *s, unsigned int i)
{
	struct world *w = s->t.w;
	const unsigned int index = s->nodes[i]->index;
	char pub[32], inner[32];
	enum nat_rule mapping;

	if (w->net->n_nats == NET_NATS_MAX)
		return;
	s->is_hard[index] = pick(w, 2) == 0;
	mapping = s->is_hard[index] ? NAT_ADDRESS_AND_PORT_DEPENDENT : NAT_ENDPOINT_INDEPENDENT;

	(void)snprintf(pub, sizeof(pub), "203.0.113.%u", 1 + (unsigned int)w->net->n_nats);
	(void)snprintf(inner, sizeof(inner), "10.%u.0.2", 100 + (unsigned int)w->net->n_nats);
	net_move(s->nodes[i]->host, inner,
		 net_nat(w->net, pub, mapping, NAT_ADDRESS_AND_PORT_DEPENDENT));
	world_link(s->nodes[i]);
}

static void event(struct soak *s)
{
	struct world *w = s->t.w;
	const unsigned int i = pick(w, NODES), k = (i + 1) % NODES;
	struct node *n = s->nodes[i];

	switch (pick(w, 10)) {
	case 0:
		roam(s, i);
		break;
	case 1:
		if (n->host->nat)
			net_nat_flush(n->host->nat);
		break;
	case 2:
		if (w->net->n_blocks + 2 <= NET_BLOCKS_MAX)
			net_block_both(w->net, n->host, s->nodes[k]->host);
		break;
	case 3:
		w->net->n_blocks = 0;
		break;
	case 4:
		n->host->loss_permille = pick(w, 300);
		n->host->dup_permille = pick(w, 200);
		n->host->jitter_ms = pick(w, 60);
		break;
	case 5:
		world_relay(s->t.relay[0], !s->t.relay[0]->is_relay);
		break;
	case 6:
		world_restart(pick(w, 2) ? n : s->t.relay[0]);
		break;
	case 7:
		w->derp_down = !w->derp_down;
		wcoord_reset(w->coord, true);
		break;
	case 8:
		w->control_down = !w->control_down;
		wcoord_reset(w->coord, false);
		break;
	case 9:
		n->host->udp_blocked = !n->host->udp_blocked;
		break;
	}
}

static void heal(struct soak *s)
{
	struct world *w = s->t.w;

	w->net->n_blocks = 0;
	w->derp_down = w->control_down = false;
	for (int i = 0; i < NODES; i++) {
		s->nodes[i]->host->loss_permille = s->nodes[i]->host->dup_permille = 0;
		s->nodes[i]->host->jitter_ms = 0;
		s->nodes[i]->host->udp_blocked = false;
	}
	if (!s->t.relay[0]->is_relay)
		world_relay(s->t.relay[0], true);
}

static void check(const struct soak *s, uint64_t seed)
{
	for (size_t f = 0; f < s->t.w->n_flows; f++) {
		const struct flow *fl = &s->t.w->flows[f];
		const bool hard = s->is_hard[fl->a->index] || s->is_hard[fl->b->index];
		const enum path_kind want = hard ? PATH_RELAY : PATH_DIRECT;

		if (world_kind(fl->a, fl->b) != want)
			fail_msg("SIM_SEED=%llu: %s to %s is on rung %d instead of %d",
				 (unsigned long long)seed, fl->a->host->name, fl->b->host->name,
				 world_kind(fl->a, fl->b), want);
		if (fl->gap_ns > 4 * INTERVAL_MS * NS_PER_MS)
			fail_msg("SIM_SEED=%llu: %s to %s: silent for %lld ms on a healthy path",
				 (unsigned long long)seed, fl->a->host->name, fl->b->host->name,
				 (long long)(fl->gap_ns / NS_PER_MS));
	}
}

static void run_seed(uint64_t seed)
{
	struct soak s = { .t = topo_mesh(seed, TOPO_E, TOPO_E, 1) };
	char key[WCOORD_KEY_MAX];

	wcoord_key(s.t.w->coord, NULL, key);
	s.nodes[0] = s.t.a;
	s.nodes[1] = s.t.b;
	s.nodes[2] = topo_whole(s.t.w, "c", TOPO_E, 3, key);
	world_run(s.t.w, 2000);
	for (int i = 0; i < NODES; i++)
		world_flow(s.t.w, s.nodes[i], s.nodes[(i + 1) % NODES], INTERVAL_MS);
	for (int i = 0; i < EVENTS; i++) {
		event(&s);
		world_run(s.t.w, 1 + pick(s.t.w, EVENT_MS));
	}
	heal(&s);
	world_run(s.t.w, 40000); /* control's longest back-off is 30 s */
	flow_mark(s.t.w);
	world_run(s.t.w, 40000);
	check(&s, seed);
	topo_end(&s.t);
}

static void random_meshes_keep_the_invariants(void **state)
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
		cmocka_unit_test(random_meshes_keep_the_invariants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
