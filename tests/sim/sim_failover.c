/* SPDX-License-Identifier: MIT */
/* Paths that die and come back under an active flow (RELIABILITY 8: F1..F5, F26, F27, F33). */
#include "tests/unit/testing.h"

#include "path/ladder.h"
#include "relay/relayserver.h"
#include "tests/sim/light.h"
#include "tests/sim/topo.h"

static void a_blackholed_direct_path_falls_to_the_relay_and_returns(void **state)
{
	struct topo t = topo_flowing_pair(1, TOPO_E, TOPO_E, 1, PATH_DIRECT);

	(void)state;
	net_block_both(t.w->net, t.a->host, t.b->host);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_RELAY, 5000), 0, 3000);
	world_run(t.w, 2000);
	assert_in_range(flow_gap_ms(t.w), 300, 1100); /* F1: 1.0 s and a hop */
	net_unblock(t.w->net, t.a->host, t.b->host);
	flow_mark(t.w);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DIRECT, 10000), 0, 10000);
	world_run(t.w, 1000);
	assert_in_range(flow_gap_ms(t.w), 0, 100); /* F3: nothing lost */
	assert_in_range(t.w->flows[0].reordered + t.w->flows[1].reordered, 0, 10);
	topo_end(&t);
}

static void without_a_relay_a_blackholed_path_falls_to_derp(void **state)
{
	struct topo t = topo_flowing_pair(2, TOPO_E, TOPO_E, 0, PATH_DIRECT);

	(void)state;
	net_block_both(t.w->net, t.a->host, t.b->host);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DERP, 6000), 0, 5000);
	assert_in_range(flow_gap_ms(t.w), 300, 1100);
	net_unblock(t.w->net, t.a->host, t.b->host);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DIRECT, 10000), 0, 10000);
	topo_end(&t);
}

static void a_path_blocked_one_way_counts_as_dead(void **state)
{
	struct topo t = topo_flowing_pair(3, TOPO_E, TOPO_E, 1, PATH_DIRECT);

	(void)state;
	net_block(t.w->net, t.a->host, t.b->host);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_RELAY, 8000), 0, 6000);
	assert_in_range(flow_gap_ms(t.w), 0, 3000); /* F26 */
	topo_end(&t);
}

static void a_one_way_flow_fails_over_too(void **state)
{
	struct topo t = topo_pair(4, TOPO_E, TOPO_E, 1);

	(void)state;
	world_one_way(t.w, t.a, t.b, 10);
	assert_true(world_until(t.w, t.a, t.b, PATH_DIRECT, 5000) >= 0);
	world_run(t.w, 10000);
	flow_mark(t.w);
	net_block_both(t.w->net, t.a->host, t.b->host);
	world_run(t.w, 5000);
	assert_in_range(flow_gap_ms(t.w), 300, 1300);
	assert_int_equal(world_kind(t.a, t.b), PATH_RELAY);
	topo_end(&t);
}

static void blocked_udp_falls_past_the_relay_to_derp_and_back(void **state)
{
	struct topo t = topo_flowing_pair(5, TOPO_E, TOPO_E, 1, PATH_DIRECT);

	(void)state;
	t.a->host->udp_blocked = true;
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DERP, 6000), 0, 5000);
	assert_in_range(flow_gap_ms(t.w), 300, 2000); /* F27 */
	world_run(t.w, 20000);
	t.a->host->udp_blocked = false;
	flow_mark(t.w);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DIRECT, 10000), 0, 10000);
	assert_in_range(flow_gap_ms(t.w), 0, 150);
	topo_end(&t);
}

static void a_relay_switched_off_falls_to_derp_and_on_is_used_within_5_s(void **state)
{
	struct topo t = topo_flowing_pair(6, TOPO_H, TOPO_H, 1, PATH_RELAY);

	(void)state;
	world_relay(t.relay[0], false);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DERP, 8000), 0, 5000);
	assert_in_range(flow_gap_ms(t.w), 300, 2000);
	world_run(t.w, 30000);
	flow_mark(t.w);
	world_relay(t.relay[0], true);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_RELAY, 5000), 0, 5000);
	assert_in_range(flow_gap_ms(t.w), 0, 150);
	topo_end(&t);
}

static void a_relay_that_restarts_gets_a_new_binding_despite_the_same_vni(void **state)
{
	struct topo t = topo_flowing_pair(7, TOPO_H, TOPO_H, 1, PATH_RELAY);
	const struct disco_key old = light_relayserver(t.relay[0])->pub;
	const uint32_t vni = world_path(t.a, t.b).vni;

	(void)state;
	world_restart(t.relay[0]); /* state gone, new server key, VNIs from 1 again */
	assert_false(disco_key_eq(&light_relayserver(t.relay[0])->pub, &old));
	world_run(t.w, 4000);
	assert_in_range(flow_gap_ms(t.w), 300, 2000); /* F5 */
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_RELAY, 3000), 0, 3000);
	assert_int_equal(world_path(t.a, t.b).vni, vni);
	world_run(t.w, 20000);
	assert_int_equal(world_kind(t.a, t.b), PATH_RELAY);
	topo_end(&t);
}

static void a_dead_relay_hands_over_to_the_second_one(void **state)
{
	struct topo t = topo_flowing_pair(8, TOPO_H, TOPO_H, 2, PATH_RELAY);
	const struct path_addr before = world_path(t.a, t.b);
	const int dead = ip_eq(&before.ep.ip, &t.relay[0]->host->addrs[0]) ? 0 : 1;
	struct path_addr after;

	(void)state;
	t.relay[dead]->host->is_down = true; /* kill -9, or power */
	world_run(t.w, 3000);
	assert_in_range(flow_gap_ms(t.w), 300, 2000); /* F4 */
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_RELAY, 3000), 0, 3000);
	after = world_path(t.a, t.b);
	assert_true(ip_eq(&after.ep.ip, &t.relay[1 - dead]->host->addrs[0]));
	topo_end(&t);
}

static void an_opening_nat_upgrades_from_relay_to_direct_and_back(void **state)
{
	struct topo t = topo_flowing_pair(9, TOPO_H, TOPO_E, 1, PATH_RELAY);

	(void)state;
	t.a->host->nat->mapping = NAT_ENDPOINT_INDEPENDENT;
	net_nat_flush(t.a->host->nat);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DIRECT, 20000), 0, 5000); /* F3 */
	world_run(t.w, 10000); /* the relay is kept warm meanwhile */
	flow_mark(t.w);
	t.a->host->nat->mapping = NAT_ADDRESS_AND_PORT_DEPENDENT;
	net_nat_flush(t.a->host->nat);
	net_block_both(t.w->net, t.a->host, t.b->host);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_RELAY, 5000), 0, 4000);
	assert_in_range(flow_gap_ms(t.w), 0, 2000);
	topo_end(&t);
}

static void loss_of_20_percent_does_not_flap(void **state)
{
	struct topo t = topo_flowing_pair(10, TOPO_E, TOPO_E, 1, PATH_DIRECT);
	uint64_t changes;

	(void)state;
	changes = t.a->path_changes + t.b->path_changes;
	t.a->host->loss_permille = 200;
	world_run(t.w, 300000);
	/* F33: at most two changes of rung a minute. */
	assert_in_range(t.a->path_changes + t.b->path_changes - changes, 0, 10);
	assert_int_equal(world_kind(t.a, t.b), PATH_DIRECT);
	assert_in_range(flow_gap_ms(t.w), 0, 1000);
	topo_end(&t);
}

static void a_delay_spike_of_2_s_changes_the_path_once_at_most(void **state)
{
	struct topo t = topo_flowing_pair(11, TOPO_E, TOPO_E, 1, PATH_DIRECT);
	uint64_t changes;

	(void)state;
	t.a->host->delay_ms = 150;
	t.a->host->jitter_ms = 50;
	world_run(t.w, 30000);
	changes = t.a->path_changes;
	t.a->host->delay_ms = 1000;
	world_run(t.w, 3000);
	t.a->host->delay_ms = 150;
	world_run(t.w, 30000);
	assert_in_range(t.a->path_changes - changes, 0, 2); /* there and back */
	assert_int_equal(world_kind(t.a, t.b), PATH_DIRECT);
	topo_end(&t);
}

static void dead_derp_and_control_leave_direct_and_relay_flows_alone(void **state)
{
	struct topo t = topo_flowing_pair(12, TOPO_E, TOPO_E, 1, PATH_DIRECT);

	(void)state;
	t.w->derp_down = t.w->control_down = true;
	world_run(t.w, 3600000 / 6);
	assert_in_range(flow_gap_ms(t.w), 0, 100); /* F10, F11 */
	assert_int_equal(world_kind(t.a, t.b), PATH_DIRECT);
	assert_int_equal(light_counters(t.a)->failover, 0);
	topo_end(&t);
}

static void duplicate_sending_ends_within_3_s(void **state)
{
	struct topo t = topo_flowing_pair(13, TOPO_E, TOPO_E, 0, PATH_DIRECT);
	uint64_t before;

	(void)state;
	net_block_both(t.w->net, t.a->host, t.b->host);
	world_run(t.w, 5000);
	before = t.a->host->sent;
	world_run(t.w, 1000);
	/* 100 packets a second leave by DERP alone: only Pings use UDP. */
	assert_in_range(t.a->host->sent - before, 0, 10);
	topo_end(&t);
}

static void an_active_flow_pings_a_healthy_path_every_2_s_only(void **state)
{
	struct topo t = topo_flowing_pair(14, TOPO_O, TOPO_O, 0, PATH_DIRECT);
	uint64_t before = t.a->host->sent;

	(void)state;
	world_run(t.w, 60000);
	/* 6,000 data packets; 30 Pings and 30 Pongs. */
	assert_in_range(t.a->host->sent - before, 6000 + 55, 6000 + 70);
	topo_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_blackholed_direct_path_falls_to_the_relay_and_returns),
		cmocka_unit_test(without_a_relay_a_blackholed_path_falls_to_derp),
		cmocka_unit_test(a_path_blocked_one_way_counts_as_dead),
		cmocka_unit_test(a_one_way_flow_fails_over_too),
		cmocka_unit_test(blocked_udp_falls_past_the_relay_to_derp_and_back),
		cmocka_unit_test(a_relay_switched_off_falls_to_derp_and_on_is_used_within_5_s),
		cmocka_unit_test(a_relay_that_restarts_gets_a_new_binding_despite_the_same_vni),
		cmocka_unit_test(a_dead_relay_hands_over_to_the_second_one),
		cmocka_unit_test(an_opening_nat_upgrades_from_relay_to_direct_and_back),
		cmocka_unit_test(loss_of_20_percent_does_not_flap),
		cmocka_unit_test(a_delay_spike_of_2_s_changes_the_path_once_at_most),
		cmocka_unit_test(dead_derp_and_control_leave_direct_and_relay_flows_alone),
		cmocka_unit_test(duplicate_sending_ends_within_3_s),
		cmocka_unit_test(an_active_flow_pings_a_healthy_path_every_2_s_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
