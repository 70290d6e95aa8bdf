/* SPDX-License-Identifier: MIT */
/* One of ours against the reference client's timers (stock.h): what each holds back in the other. */
#include "tests/unit/testing.h"

#include "tests/sim/light.h"
#include "tests/sim/topo.h"

/* 'a' is stock; both on the rung, the gap measured from here. */
static struct topo flowing(uint64_t seed, enum topo_kind nat, int n_relays, enum path_kind kind)
{
	struct topo t = topo_pair(seed, nat, nat, n_relays);

	light_be_stock(t.a);
	world_flow(t.w, t.a, t.b, 20);
	assert_in_range(world_until_both(t.w, t.a, t.b, kind, 40000), 0, 40000);
	world_run(t.w, 10000);
	flow_mark(t.w);
	return t;
}

/* Its first call after roaming still names where it was. The next one comes only if ours leave it the time, and
 * control does not help. */
static void a_stock_peer_that_roams_gets_to_call(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct topo t = flowing(seed, TOPO_E, 1, PATH_DIRECT);
		struct nat *lte = net_nat(t.w->net, "203.0.113.77", NAT_ENDPOINT_INDEPENDENT,
					  NAT_ADDRESS_AND_PORT_DEPENDENT);

		world_run(t.w, (int64_t)(seed * 150)); /* at any phase of its heartbeat */
		t.w->control_down = true;
		net_move(t.a->host, "10.99.0.2", lte);
		world_link(t.a);
		world_run(t.w, 1000);
		assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DIRECT, 60000), 0, 15000);
		topo_end(&t);
	}
}

/* It asks a relay while its UDP is blocked, and is deaf to invitations for the 30 s of that handshake. */
static void a_stock_peer_whose_udp_comes_back_is_called_to_the_relay(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct topo t = flowing(seed, TOPO_H, 1, PATH_RELAY);

		world_run(t.w, (int64_t)(seed * 1500)); /* at any phase of its 30 s */
		t.a->host->udp_blocked = true;
		assert_in_range(world_until_both(t.w, t.a, t.b, PATH_DERP, 20000), 0, 15000);
		world_run(t.w, 4000);
		t.a->host->udp_blocked = false;
		assert_in_range(world_until_both(t.w, t.a, t.b, PATH_RELAY, 60000), 0, 5000);
		topo_end(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stock_peer_that_roams_gets_to_call),
		cmocka_unit_test(a_stock_peer_whose_udp_comes_back_is_called_to_the_relay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
