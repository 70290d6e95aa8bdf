/* SPDX-License-Identifier: MIT */
/* Which rung of the ladder two nodes reach, and how fast (RELIABILITY 9). */
#include "tests/unit/testing.h"

#include <stdio.h>

#include "tests/sim/topo.h"

/* Expected rung: D direct, R peer relay, P DERP only. RELIABILITY 9. */
static const char MATRIX[TOPO_KINDS][TOPO_KINDS + 1] = {
	/*        O    FC   EA   E    CG   H    CH   U */
	[TOPO_O] = "DDDDDDDP",  [TOPO_FC] = "DDDDDDDP", [TOPO_EA] = "DDDDDDDP",
	[TOPO_E] = "DDDDDRRP",  [TOPO_CG] = "DDDDDRRP", [TOPO_H] = "DDDRRRRP",
	[TOPO_CH] = "DDDRRRRP", [TOPO_U] = "PPPPPPPP",
};

static void every_cell_of_the_nat_matrix_reaches_its_rung(void **state)
{
	(void)state;
	for (int a = 0; a < TOPO_KINDS; a++) {
		for (int b = a; b < TOPO_KINDS; b++) {
			const char want = MATRIX[a][b];
			const enum path_kind kind = want == 'D'   ? PATH_DIRECT
						    : want == 'R' ? PATH_RELAY
								  : PATH_DERP;
			struct topo t = topo_pair((uint64_t)(100 + a * 10 + b), (enum topo_kind)a,
						  (enum topo_kind)b, 1);
			int64_t ms;

			world_flow(t.w, t.a, t.b, 20);
			if (kind == PATH_DERP)
				world_run(t.w, 5000);
			ms = world_until_both(t.w, t.a, t.b, kind, 5000);
			if (ms < 0)
				fail_msg("%s to %s: not on rung %c after 5 s but on %d, %d",
					 topo_names[a], topo_names[b], want, world_kind(t.a, t.b),
					 world_kind(t.b, t.a));
			world_run(t.w, 1000);
			/* First packet by any rung within 0.5 s + 2 RTT. */
			for (size_t i = 0; i < t.w->n_flows; i++)
				assert_in_range(t.w->flows[i].first_ns, 1, 580 * NS_PER_MS);
			/* And it stays there without loss. */
			flow_mark(t.w);
			world_run(t.w, 20000);
			assert_int_equal(world_kind(t.a, t.b), kind);
			assert_in_range(flow_gap_ms(t.w), 0, 100);
			topo_end(&t);
		}
	}
}

static void easy_nats_are_direct_within_3_s(void **state)
{
	struct topo t = topo_pair(1, TOPO_E, TOPO_E, 1);

	(void)state;
	topo_reach(&t, PATH_DIRECT, 1000);
	topo_end(&t);
}

static void hard_nats_use_the_relay_within_5_s(void **state)
{
	struct topo t = topo_pair(2, TOPO_H, TOPO_H, 1);

	(void)state;
	topo_reach(&t, PATH_RELAY, 1500);
	topo_end(&t);
}

static void the_first_packet_goes_by_derp_before_any_path_is_known(void **state)
{
	struct topo t = topo_pair(3, TOPO_H, TOPO_H, 0);

	(void)state;
	world_flow(t.w, t.a, t.b, 20);
	world_run(t.w, 300);
	assert_int_equal(world_kind(t.a, t.b), PATH_DERP);
	assert_in_range(t.w->flows[0].first_ns, 1, 100 * NS_PER_MS);
	assert_true(t.w->derp_data > 0);
	topo_end(&t);
}

static void an_idle_pair_sends_nothing(void **state)
{
	struct topo t = topo_pair(4, TOPO_E, TOPO_E, 1);
	uint64_t before;

	(void)state;
	world_run(t.w, 2000);
	before = t.a->host->sent + t.b->host->sent + t.w->derp_packets;
	world_run(t.w, 600000);
	assert_int_equal(t.a->host->sent + t.b->host->sent + t.w->derp_packets, before);
	topo_end(&t);
}

static void traffic_after_ten_idle_minutes_finds_its_rung_again(void **state)
{
	struct topo t = topo_pair(5, TOPO_E, TOPO_E, 1);

	(void)state;
	topo_reach(&t, PATH_DIRECT, 1000);
	t.w->flows[0].is_stopped = t.w->flows[1].is_stopped = true;
	world_run(t.w, 600000);
	t.w->flows[0].next = t.w->flows[1].next = t.w->net->now;
	t.w->flows[0].is_stopped = t.w->flows[1].is_stopped = false;
	flow_mark(t.w);
	world_run(t.w, 50);
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DIRECT, 3000), 0, 1000);
	world_run(t.w, 1000);
	assert_in_range(flow_gap_ms(t.w), 0, 300); /* DERP carried the first ones */
	topo_end(&t);
}

static void two_nodes_on_one_lan_use_their_local_addresses(void **state)
{
	struct topo t = { .w = world_new(6) };
	struct nat *nat = net_nat(t.w->net, "198.51.100.1", NAT_ADDRESS_AND_PORT_DEPENDENT,
				  NAT_ADDRESS_AND_PORT_DEPENDENT);
	struct path_addr path;

	(void)state;
	t.a = world_node(t.w, "a", "192.168.1.2", nat);
	t.b = world_node(t.w, "b", "192.168.1.3", nat);
	world_run(t.w, 500);
	t.w->derp_down = true; /* also without DERP */
	topo_reach(&t, PATH_DIRECT, 500);
	path = world_path(t.a, t.b);
	assert_true(ip_is_private(&path.ep.ip));
	topo_end(&t);
}

static void ipv6_is_preferred_when_both_families_work(void **state)
{
	struct topo t = topo_pair(7, TOPO_E, TOPO_E, 0);

	(void)state;
	net_add_addr(t.a->host, "2001:db8::a");
	net_add_addr(t.b->host, "2001:db8::b");
	t.a->host->has_firewall = t.b->host->has_firewall = true;
	world_link(t.a);
	world_link(t.b);
	world_run(t.w, 500);
	topo_reach(&t, PATH_DIRECT, 1000);
	world_run(t.w, 500);
	assert_int_equal(world_path(t.a, t.b).ep.ip.family, IP_V6);
	assert_int_equal(world_path(t.b, t.a).ep.ip.family, IP_V6);
	topo_end(&t);
}

static void a_blackholed_ipv6_does_not_delay_ipv4(void **state)
{
	struct topo t = topo_pair(8, TOPO_E, TOPO_E, 0);

	(void)state;
	net_add_addr(t.a->host, "2001:db8::a");
	net_add_addr(t.b->host, "2001:db8::b");
	t.b->host->v6_blackholed = true;
	world_link(t.a);
	world_link(t.b);
	world_run(t.w, 500);
	topo_reach(&t, PATH_DIRECT, 1000);
	assert_int_equal(world_path(t.a, t.b).ep.ip.family, IP_V4);
	topo_end(&t);
}

static void a_node_with_ipv6_only_meets_one_with_ipv4_only_on_the_relay(void **state)
{
	struct topo t = { .w = world_new(9) };

	(void)state;
	t.a = world_node(t.w, "a", "2001:db8::a", NULL);
	t.b = topo_node(t.w, "b", TOPO_E, 2);
	t.relay[0] = world_node(t.w, "r", "203.0.113.201", NULL);
	net_add_addr(t.relay[0]->host, "2001:db8::201");
	world_relay(t.relay[0], true);
	world_run(t.w, 500);
	topo_reach(&t, PATH_RELAY, 2000);
	assert_int_equal(world_path(t.a, t.b).ep.ip.family, IP_V6);
	assert_int_equal(world_path(t.b, t.a).ep.ip.family, IP_V4);
	topo_end(&t);
}

static void a_node_relays_through_its_own_server(void **state)
{
	/* Behind one-to-one NAT without hairpin: reachable from outside by its public address. */
	struct topo t = { .w = world_new(10) };
	struct nat *one = net_nat(t.w->net, "198.51.100.9", NAT_ENDPOINT_INDEPENDENT,
				  NAT_ENDPOINT_INDEPENDENT);

	(void)state;
	t.a = world_node(t.w, "a", "10.0.0.9", one);
	t.b = topo_node(t.w, "b", TOPO_H, 2);
	t.relay[0] = topo_node(t.w, "c", TOPO_H, 3);
	world_relay(t.a, true);
	world_run(t.w, 500);
	/* Between the two hard ones it is the relay. */
	world_flow(t.w, t.b, t.relay[0], 20);
	assert_in_range(world_until_both(t.w, t.b, t.relay[0], PATH_RELAY, 5000), 0, 2000);
	/* Itself it is reached directly. */
	topo_reach(&t, PATH_DIRECT, 2000);
	topo_end(&t);
}

/* Drops what does not go through the relay's socket of the first node. */
static bool drop_main_port(void *ctx, const struct host *from, uint16_t port, const struct ep *to,
			   size_t size)
{
	const struct node *relay = ctx;

	(void)size;
	return from == relay->host ? port != WORLD_RELAY_PORT && to->port != WORLD_RELAY_PORT
				   : to->port != WORLD_RELAY_PORT;
}

static void a_node_reaches_its_own_peer_through_its_own_relay_server(void **state)
{
	struct topo t = { .w = world_new(14) };

	(void)state;
	t.a = world_node(t.w, "a", "198.51.100.9", NULL);
	t.b = topo_node(t.w, "b", TOPO_H, 2);
	world_relay(t.a, true);
	/* Its main port is shut by a firewall, the relay's is open. */
	t.w->net->drop = drop_main_port;
	t.w->net->drop_ctx = t.a;
	world_run(t.w, 500);
	topo_reach(&t, PATH_RELAY, 2000);
	topo_end(&t);
}

static void the_nearer_of_two_relays_is_chosen(void **state)
{
	struct topo t = topo_pair(11, TOPO_H, TOPO_H, 2);
	struct path_addr to_a, to_b;

	(void)state;
	t.relay[0]->host->delay_ms = 80;
	topo_reach(&t, PATH_RELAY, 2000);
	world_run(t.w, 1000);
	to_b = world_path(t.a, t.b);
	to_a = world_path(t.b, t.a);
	assert_true(ip_eq(&to_b.ep.ip, &t.relay[1]->host->addrs[0]));
	assert_true(ip_eq(&to_a.ep.ip, &t.relay[1]->host->addrs[0]));
	topo_end(&t);
}

static void discovery_started_by_both_sides_at_once_uses_one_vni(void **state)
{
	struct topo t = topo_pair(12, TOPO_H, TOPO_H, 1);

	(void)state;
	world_flow(t.w, t.a, t.b, 20); /* both send in the same instant */
	assert_in_range(world_until_both(t.w, t.a, t.b, PATH_RELAY, 5000), 0, 2000);
	assert_int_equal(world_path(t.a, t.b).vni, world_path(t.b, t.a).vni);
	topo_end(&t);
}

static void a_one_way_flow_is_direct_on_both_sides(void **state)
{
	struct topo t = topo_pair(13, TOPO_E, TOPO_E, 0);

	(void)state;
	world_one_way(t.w, t.a, t.b, 20);
	assert_in_range(world_until(t.w, t.a, t.b, PATH_DIRECT, 3000), 0, 1000);
	flow_mark(t.w);
	world_run(t.w, 60000);
	assert_in_range(flow_gap_ms(t.w), 0, 60);
	topo_end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cell_of_the_nat_matrix_reaches_its_rung),
		cmocka_unit_test(easy_nats_are_direct_within_3_s),
		cmocka_unit_test(hard_nats_use_the_relay_within_5_s),
		cmocka_unit_test(the_first_packet_goes_by_derp_before_any_path_is_known),
		cmocka_unit_test(an_idle_pair_sends_nothing),
		cmocka_unit_test(traffic_after_ten_idle_minutes_finds_its_rung_again),
		cmocka_unit_test(two_nodes_on_one_lan_use_their_local_addresses),
		cmocka_unit_test(ipv6_is_preferred_when_both_families_work),
		cmocka_unit_test(a_blackholed_ipv6_does_not_delay_ipv4),
		cmocka_unit_test(a_node_with_ipv6_only_meets_one_with_ipv4_only_on_the_relay),
		cmocka_unit_test(a_node_relays_through_its_own_server),
		cmocka_unit_test(a_node_reaches_its_own_peer_through_its_own_relay_server),
		cmocka_unit_test(the_nearer_of_two_relays_is_chosen),
		cmocka_unit_test(discovery_started_by_both_sides_at_once_uses_one_vni),
		cmocka_unit_test(a_one_way_flow_is_direct_on_both_sides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
