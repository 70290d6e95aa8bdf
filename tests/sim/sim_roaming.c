/* SPDX-License-Identifier: MIT */
/* Nodes whose addresses and NATs change under an active flow (RELIABILITY 8: F16..F24, F51). */
#include "tests/unit/testing.h"

#include "path/ladder.h"
#include "tests/sim/light.h"
#include "tests/sim/topo.h"

static void a_node_that_roams_is_direct_again_in_1500_ms(void **state)
{
	struct topo t = topo_flowing_pair(1, TOPO_E, TOPO_E, 1, PATH_DIRECT);
	struct nat *lte = net_nat(t.w->net, "203.0.113.77", NAT_ENDPOINT_INDEPENDENT,
				  NAT_ADDRESS_AND_PORT_DEPENDENT);

	(void)state;
	net_move(t.a->host, "10.99.0.2", lte);
	world_link(t.a);
	world_run(t.w, 3000);
	assert_in_range(flow_gap_ms(t.w), 0, 1500); /* F18 */
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DIRECT, 3000), 0, 3000);
	topo_end(&t);
}

static void roaming_on_a_relay_path_binds_anew(void **state)
{
	struct topo t = topo_flowing_pair(2, TOPO_H, TOPO_H, 1, PATH_RELAY);
	struct nat *lte = net_nat(t.w->net, "203.0.113.77", NAT_ADDRESS_AND_PORT_DEPENDENT,
				  NAT_ADDRESS_AND_PORT_DEPENDENT);

	(void)state;
	net_move(t.a->host, "10.99.0.2", lte);
	world_link(t.a);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_RELAY, 5000), 0, 4000);
	assert_in_range(flow_gap_ms(t.w), 0, 1500);
	topo_end(&t);
}

static void both_sides_roam_at_the_same_moment(void **state)
{
	struct topo t = topo_flowing_pair(3, TOPO_E, TOPO_E, 1, PATH_DIRECT);
	struct nat *n1 = net_nat(t.w->net, "203.0.113.77", NAT_ENDPOINT_INDEPENDENT,
				 NAT_ADDRESS_AND_PORT_DEPENDENT);
	struct nat *n2 = net_nat(t.w->net, "203.0.113.78", NAT_ENDPOINT_INDEPENDENT,
				 NAT_ADDRESS_AND_PORT_DEPENDENT);

	(void)state;
	net_move(t.a->host, "10.99.0.2", n1);
	net_move(t.b->host, "10.98.0.2", n2);
	world_link(t.a);
	world_link(t.b);
	world_run(t.w, 5000);
	assert_in_range(flow_gap_ms(t.w), 0, 2000);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DIRECT, 3000), 0, 3000); /* F24 */
	topo_end(&t);
}

static void a_nat_that_forgets_its_mappings_is_followed(void **state)
{
	struct topo t = topo_flowing_pair(4, TOPO_O, TOPO_E, 1, PATH_DIRECT);

	(void)state;
	net_nat_flush(t.b->host->nat); /* reboot: the port may change */
	world_run(t.w, 8000);
	assert_in_range(flow_gap_ms(t.w), 0, 1500); /* F21 */
	assert_int_equal(world_kind(t.a, t.b), PATH_DIRECT);
	assert_int_equal(world_kind(t.b, t.a), PATH_DIRECT);
	topo_end(&t);
}

static void a_nat_reboot_on_both_sides_recovers_in_3_s(void **state)
{
	struct topo t = topo_flowing_pair(5, TOPO_E, TOPO_E, 0, PATH_DIRECT);

	(void)state;
	net_nat_flush(t.a->host->nat);
	net_nat_flush(t.b->host->nat);
	t.a->host->nat->pub = (struct ip){ IP_V4, { 203, 0, 113, 61 } };
	t.b->host->nat->pub = (struct ip){ IP_V4, { 203, 0, 113, 62 } };
	world_run(t.w, 10000);
	assert_in_range(flow_gap_ms(t.w), 0, 2000); /* F23, F24: DERP meanwhile */
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DIRECT, 10000), 0, 10000);
	topo_end(&t);
}

static void a_nat_rebinding_keeps_the_relay_path(void **state)
{
	struct topo t = topo_flowing_pair(6, TOPO_H, TOPO_H, 1, PATH_RELAY);

	(void)state;
	net_nat_flush(t.a->host->nat); /* the server sees another source port */
	assert_in_range(flow_gap_ms(t.w), 0, 2000);
	world_run(t.w, 8000);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_RELAY, 5000), 0, 5000);
	assert_in_range(flow_gap_ms(t.w), 0, 2000);
	topo_end(&t);
}

static void a_short_nat_timeout_does_not_delay_a_flow_that_wakes_up(void **state)
{
	struct topo t = topo_flowing_pair(7, TOPO_E, TOPO_E, 0, PATH_DIRECT);

	(void)state;
	t.a->host->nat->timeout_ms = t.b->host->nat->timeout_ms = 20000;
	t.w->flows[0].is_stopped = t.w->flows[1].is_stopped = true;
	world_run(t.w, 60000);
	t.w->flows[1].next = t.w->net->now;
	t.w->flows[1].is_stopped = false; /* the far side sends */
	t.w->flows[1].delivered = 0;
	world_run(t.w, 1000);
	assert_true(t.w->flows[1].delivered > 80); /* F22 */
	topo_end(&t);
}

static void a_link_that_comes_back_after_10_s_resumes_by_itself(void **state)
{
	struct topo t = topo_flowing_pair(8, TOPO_E, TOPO_E, 0, PATH_DIRECT);

	(void)state;
	t.a->host->is_down = true;
	world_link(t.a);
	world_run(t.w, 10000);
	t.a->host->is_down = false;
	world_link(t.a);
	flow_mark(t.w);
	world_run(t.w, 3000);
	assert_in_range(flow_gap_ms(t.w), 0, 1000); /* F16 */
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DIRECT, 5000), 0, 5000);
	topo_end(&t);
}

static void a_flapping_link_causes_no_storm(void **state)
{
	struct topo t = topo_flowing_pair(9, TOPO_E, TOPO_E, 1, PATH_DIRECT);
	uint64_t before = t.a->host->sent;

	(void)state;
	t.w->flows[0].interval_ms = t.w->flows[1].interval_ms = 100;
	for (int i = 0; i < 60; i++) {
		t.a->host->is_down = true;
		world_link(t.a);
		world_run(t.w, 500);
		t.a->host->is_down = false;
		world_link(t.a);
		world_run(t.w, 500);
	}
	/* Data, and a bounded number of Pings per flap. */
	assert_in_range(t.a->host->sent - before, 300, 300 * 3 + 60 * 40);
	flow_mark(t.w);
	world_run(t.w, 3000);
	assert_in_range(flow_gap_ms(t.w), 0, 1500); /* F17 */
	topo_end(&t);
}

static void a_peer_that_restarts_with_a_new_disco_key_is_reached_at_once(void **state)
{
	struct topo t = topo_flowing_pair(10, TOPO_E, TOPO_E, 1, PATH_DIRECT);

	(void)state;
	world_restart(t.b);
	world_run(t.w, 5000);
	assert_in_range(flow_gap_ms(t.w), 0, 2500);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DIRECT, 5000), 0, 5000);
	topo_end(&t);
}

static void a_node_that_gains_udp_upgrades_from_derp(void **state)
{
	struct topo t = topo_pair(11, TOPO_U, TOPO_E, 1);

	(void)state;
	world_flow(t.w, t.a, t.b, 10);
	world_run(t.w, 20000);
	assert_int_equal(world_kind(t.a, t.b), PATH_DERP);
	t.a->host->udp_blocked = false;
	flow_mark(t.w);
	/* The next gathering of own endpoints tells how it looks from outside. */
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DIRECT, 20000), 0, 16000);
	assert_in_range(flow_gap_ms(t.w), 0, 150);
	topo_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_that_roams_is_direct_again_in_1500_ms),
		cmocka_unit_test(roaming_on_a_relay_path_binds_anew),
		cmocka_unit_test(both_sides_roam_at_the_same_moment),
		cmocka_unit_test(a_nat_that_forgets_its_mappings_is_followed),
		cmocka_unit_test(a_nat_reboot_on_both_sides_recovers_in_3_s),
		cmocka_unit_test(a_nat_rebinding_keeps_the_relay_path),
		cmocka_unit_test(a_short_nat_timeout_does_not_delay_a_flow_that_wakes_up),
		cmocka_unit_test(a_link_that_comes_back_after_10_s_resumes_by_itself),
		cmocka_unit_test(a_flapping_link_causes_no_storm),
		cmocka_unit_test(a_peer_that_restarts_with_a_new_disco_key_is_reached_at_once),
		cmocka_unit_test(a_node_that_gains_udp_upgrades_from_derp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
