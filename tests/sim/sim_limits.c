/* SPDX-License-Identifier: MIT */
/* Lost messages, hostile messages, grants and removal: what must stay bounded or end. */
#include "tests/unit/testing.h"

#include "path/ladder.h"
#include "relay/relayclient.h"
#include "relay/relayserver.h"
#include "tests/sim/light.h"
#include "tests/sim/topo.h"

/* Loses the datagrams of one host to the relay port whose turn is a set bit of 'mask'. */
struct lose {
	const struct host *from;
	uint32_t mask;
	unsigned int n;
	bool to_relay; /* or, from the relay's port */
};

static bool lose_some(void *ctx, const struct host *from, uint16_t port, const struct ep *to,
		      size_t size)
{
	struct lose *l = ctx;

	(void)size;
	if (from != l->from ||
	    (l->to_relay ? to->port != WORLD_RELAY_PORT : port != WORLD_RELAY_PORT) || l->n >= 32)
		return false;
	return l->mask >> l->n++ & 1;
}

static void lost_first_packets_to_the_relay_cost_under_4_s(void **state)
{
	/* Bind, Answer and Ping of one side: each of the first three, in every combination. */
	(void)state;
	for (uint32_t mask = 1; mask < 8; mask++) {
		struct topo t = topo_pair(mask, TOPO_H, TOPO_H, 1);
		struct lose lose = { .from = t.a->host, .mask = mask, .to_relay = true };

		t.w->net->drop = lose_some;
		t.w->net->drop_ctx = &lose;
		topo_reach(&t, PATH_RELAY, 4000);
		topo_end(&t);
	}
}

static void a_handshake_whose_repetitions_were_all_lost_begins_anew(void **state)
{
	struct topo t = topo_pair(20, TOPO_H, TOPO_H, 1);
	struct lose lose = { .from = t.a->host, .mask = 0xff, .to_relay = true };

	(void)state;
	t.w->net->drop = lose_some;
	t.w->net->drop_ctx = &lose;
	world_flow(t.w, t.a, t.b, 20);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_RELAY, 15000), 4000, 12000);
	topo_end(&t);
}

static void lost_challenges_are_asked_for_again(void **state)
{
	struct topo t = topo_pair(21, TOPO_H, TOPO_H, 1);
	struct lose lose = { .from = t.relay[0]->host, .mask = 3 };

	(void)state;
	t.w->net->drop = lose_some;
	t.w->net->drop_ctx = &lose;
	topo_reach(&t, PATH_RELAY, 3000);
	assert_true(light_relayclient(t.a)->n.bind_repeats +
			    light_relayclient(t.b)->n.bind_repeats >
		    0);
	topo_end(&t);
}

static void a_lost_allocation_request_is_repeated(void **state)
{
	struct topo t = topo_pair(22, TOPO_H, TOPO_H, 1);

	(void)state;
	t.relay[0]->derp_down = true; /* its connection is being re-made */
	world_flow(t.w, t.a, t.b, 20);
	world_run(t.w, 400);
	t.relay[0]->derp_down = false;
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_RELAY, 5000), 0, 2000);
	assert_true(light_relayclient(t.a)->n.alloc_repeats > 0);
	topo_end(&t);
}

static void a_relay_that_never_answers_is_asked_every_5_s(void **state)
{
	struct topo t = topo_pair(23, TOPO_H, TOPO_H, 1);
	uint64_t allocs;

	(void)state;
	t.relay[0]->derp_down = true;
	world_flow(t.w, t.a, t.b, 20);
	world_run(t.w, 60000);
	allocs = light_relayclient(t.a)->n.allocs;
	/* One piece of work lasts 10 s: every second question meets one that is running. */
	assert_in_range(allocs, 5, 13);
	assert_true(light_relayclient(t.a)->n_work <= 1);
	topo_end(&t);
}

static void a_node_without_the_grant_gets_no_allocation(void **state)
{
	struct topo t = topo_pair(24, TOPO_H, TOPO_H, 1);

	(void)state;
	t.relay[0]->may_relay = false;
	world_map_changed(t.w);
	world_run(t.w, 500);
	world_flow(t.w, t.a, t.b, 20);
	world_run(t.w, 20000);
	assert_int_equal(world_kind(t.a, t.b), PATH_DERP);
	assert_int_equal(light_relayserver(t.relay[0])->n.allocated, 0);
	topo_end(&t);
}

static void a_grant_given_later_is_used_within_5_s(void **state)
{
	struct topo t = topo_pair(25, TOPO_H, TOPO_H, 1);

	(void)state;
	t.relay[0]->may_relay = false;
	world_map_changed(t.w);
	world_run(t.w, 500);
	world_flow(t.w, t.a, t.b, 20);
	world_run(t.w, 20000);
	t.relay[0]->may_relay = true;
	world_map_changed(t.w);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_RELAY, 5000), 0, 2000);
	topo_end(&t);
}

static void a_grant_taken_away_stops_new_allocations_only(void **state)
{
	struct topo t = topo_pair(26, TOPO_H, TOPO_H, 1);
	uint64_t allocated;

	(void)state;
	world_flow(t.w, t.a, t.b, 20);
	assert_true(world_until_both(t.w, t.a, t.b, PATH_RELAY, 5000) >= 0);
	allocated = light_relayserver(t.relay[0])->n.allocated;
	t.relay[0]->may_relay = false;
	world_map_changed(t.w);
	world_run(t.w, 120000);
	assert_int_equal(light_relayserver(t.relay[0])->n.allocated, allocated);
	assert_int_equal(world_kind(t.a, t.b), PATH_RELAY); /* the path in use is not torn down */
	topo_end(&t);
}

static void a_removed_peer_leaves_no_work_behind(void **state)
{
	struct topo t = topo_pair(27, TOPO_H, TOPO_H, 1);

	(void)state;
	t.relay[0]->derp_down = true;
	world_flow(t.w, t.a, t.b, 20);
	world_run(t.w, 1000);
	assert_true(light_relayclient(t.a)->n_work > 0);
	world_remove(t.b);
	world_run(t.w, 500);
	assert_int_equal(light_relayclient(t.a)->n_work, 0);
	t.w->flows[0].is_stopped = t.w->flows[1].is_stopped = true;
	topo_end(&t);
}

static void an_unused_relay_path_expires_on_the_server(void **state)
{
	struct topo t = topo_pair(28, TOPO_H, TOPO_H, 1);

	(void)state;
	world_flow(t.w, t.a, t.b, 20);
	assert_true(world_until_both(t.w, t.a, t.b, PATH_RELAY, 5000) >= 0);
	assert_true(light_relayserver(t.relay[0])->n_bound > 0);
	t.w->flows[0].is_stopped = t.w->flows[1].is_stopped = true;
	world_run(t.w, 400000);
	assert_int_equal(light_relayserver(t.relay[0])->n_live, 0);
	topo_end(&t);
}

static void a_relay_serves_ten_pairs_at_once(void **state)
{
	struct topo t = { .w = world_new(29) };
	static const char *const names[5] = { "n0", "n1", "n2", "n3", "n4" };
	struct node *n[5];

	(void)state;
	for (int i = 0; i < 5; i++)
		n[i] = topo_node(t.w, names[i], TOPO_H, i + 1);
	t.relay[0] = world_node(t.w, "r", "203.0.113.201", NULL);
	world_relay(t.relay[0], true);
	world_run(t.w, 500);
	for (int i = 0; i < 5; i++)
		for (int k = i + 1; k < 5 && t.w->n_flows + 2 <= WORLD_FLOWS_MAX; k++)
			world_flow(t.w, n[i], n[k], 50);
	world_run(t.w, 5000);
	for (size_t i = 0; i < t.w->n_flows; i++)
		assert_int_equal(world_kind(t.w->flows[i].a, t.w->flows[i].b), PATH_RELAY);
	topo_end(&t);
}

static void heavy_loss_during_discovery_still_ends_on_the_relay(void **state)
{
	(void)state;
	for (uint64_t seed = 30; seed < 40; seed++) {
		struct topo t = topo_pair(seed, TOPO_H, TOPO_H, 1);

		t.a->host->loss_permille = 200;
		t.b->host->dup_permille = 100;
		t.b->host->jitter_ms = 30;
		world_flow(t.w, t.a, t.b, 20);
		assert_in_range(world_until(t.w, t.a, t.b, PATH_RELAY, 10000), 0, 8000);
		topo_end(&t);
	}
}

static void one_node_with_the_others_old_address_causes_no_cross_talk(void **state)
{
	struct topo t = topo_pair(41, TOPO_E, TOPO_E, 0);
	struct node *c;

	(void)state;
	world_flow(t.w, t.a, t.b, 20);
	assert_true(world_until_both(t.w, t.a, t.b, PATH_DIRECT, 5000) >= 0);
	/* b goes; c now sits behind its NAT on the same inner address and port. */
	t.b->is_off = true;
	net_move(t.b->host, "10.66.0.2",
		 net_nat(t.w->net, "203.0.113.66", NAT_ENDPOINT_INDEPENDENT,
			 NAT_ADDRESS_AND_PORT_DEPENDENT));
	c = world_node(t.w, "c", "192.168.2.2", t.w->net->nats[1]);
	world_run(t.w, 500);
	world_flow(t.w, t.a, c, 20);
	assert_in_range(world_until_both(t.w, t.a, c, PATH_DIRECT, 5000), 0, 5000);
	world_run(t.w, 10000);
	assert_int_not_equal(world_kind(t.a, t.b), PATH_DIRECT);
	topo_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lost_first_packets_to_the_relay_cost_under_4_s),
		cmocka_unit_test(a_handshake_whose_repetitions_were_all_lost_begins_anew),
		cmocka_unit_test(lost_challenges_are_asked_for_again),
		cmocka_unit_test(a_lost_allocation_request_is_repeated),
		cmocka_unit_test(a_relay_that_never_answers_is_asked_every_5_s),
		cmocka_unit_test(a_node_without_the_grant_gets_no_allocation),
		cmocka_unit_test(a_grant_given_later_is_used_within_5_s),
		cmocka_unit_test(a_grant_taken_away_stops_new_allocations_only),
		cmocka_unit_test(a_removed_peer_leaves_no_work_behind),
		cmocka_unit_test(an_unused_relay_path_expires_on_the_server),
		cmocka_unit_test(a_relay_serves_ten_pairs_at_once),
		cmocka_unit_test(heavy_loss_during_discovery_still_ends_on_the_relay),
		cmocka_unit_test(one_node_with_the_others_old_address_causes_no_cross_talk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
