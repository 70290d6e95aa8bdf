/* SPDX-License-Identifier: MIT */
/* The first packet: handshake initiations that are lost while a way to the peer comes up, and how many a peer that is
 * not there gets. */
#include "tests/unit/testing.h"

#include <string.h>

#include "base/compiler.h"
#include "engine.h"
#include "tests/sim/topo.h"
#include "tests/sim/wcoord.h"
#include "tests/sim/whole.h"
#include "wg/hasten.h"
#include "wire/wgmsg.h"

struct wanted {
	const char *name;
	uint64_t value;
};

static void take(void *ctx, const char *name, uint64_t value)
{
	struct wanted *w = ctx;

	if (!strcmp(name, w->name))
		w->value = value;
}

static uint64_t initiations(const struct node *n)
{
	struct wanted w = { "meshd_wg_initiations_sent", UINT64_MAX };

	engine_counters(whole_engine(n), take, &w);
	assert_true(w.value != UINT64_MAX);
	return w.value;
}

/* Until both are at home at DERP, and what they did to get there is over. */
static struct topo settled(uint64_t seed, enum topo_kind a, enum topo_kind b)
{
	struct topo t = topo_mesh(seed, a, b, 0);

	world_run(t.w, 5000);
	assert_int_equal(wcoord_n_derp(t.w->coord), 2);
	return t;
}

/* 'n' loses its connection to DERP and gets no other. */
static void leave_derp(struct node *n, int64_t ms)
{
	n->derp_down = true;
	wcoord_reset(n->w->coord, true); /* of the others too: they are back at once */
	world_run(n->w, ms);
	assert_int_equal(wcoord_n_derp(n->w->coord), 1);
}

static void a_first_packet_waits_for_the_peer_at_derp_no_longer_than_it_must(void **state)
{
	(void)state;
	for (uint64_t seed = 400; seed < 410; seed++) {
		struct topo t = settled(seed, TOPO_E, TOPO_U); /* no way but DERP */
		int64_t up;

		leave_derp(t.b, 300);
		world_one_way(t.w, t.a, t.b, 60000); /* one packet alone */
		world_run(t.w, 100);
		t.b->derp_down = false; /* it tries all the time, in growing intervals */
		for (up = 100; wcoord_n_derp(t.w->coord) < 2 && up < 1000; up += 10)
			world_run(t.w, 10);
		assert_in_range(up, 110, 500);
		assert_int_equal(t.w->flows[0].delivered, 0);
		world_run(t.w, 2000);
		assert_in_range(t.w->flows[0].first_ns, 1, 1000 * NS_PER_MS);
		topo_end(&t);
	}
}

static void a_first_packet_takes_the_direct_path_that_comes_up(void **state)
{
	(void)state;
	for (uint64_t seed = 420; seed < 430; seed++) {
		struct topo t = settled(seed, TOPO_E, TOPO_O);

		leave_derp(t.b, 3000);
		world_one_way(t.w, t.a, t.b, 60000);
		assert_in_range(world_until(t.w, t.a, t.b, PATH_DIRECT, 1000), 0, 200);
		world_run(t.w, 2000);
		assert_in_range(t.w->flows[0].first_ns, 1, 1000 * NS_PER_MS);
		topo_end(&t);
	}
}

/* Most initiations within any 5 s of 'ms'; '*all' is how many there were. */
static uint64_t most_in_5_s(struct world *w, const struct node *n, int64_t ms, uint64_t *all)
{
	enum { STEP_MS = 50, STEPS = 5000 / STEP_MS };
	uint64_t seen[STEPS], most = 0, before = initiations(n), last = before;

	for (size_t i = 0; i < STEPS; i++)
		seen[i] = before;
	for (size_t i = 0; (int64_t)i * STEP_MS < ms; i++) {
		world_run(w, STEP_MS);
		last = initiations(n);
		if (last - seen[i % STEPS] > most)
			most = last - seen[i % STEPS];
		seen[i % STEPS] = last;
	}
	*all = last - before;
	return most;
}

static void a_peer_that_is_not_there_gets_few_initiations(void **state)
{
	struct topo t = settled(440, TOPO_E, TOPO_E);
	uint64_t all, most;

	(void)state;
	t.b->host->udp_blocked = true;
	leave_derp(t.b, 3000);
	world_one_way(t.w, t.a, t.b, 20);
	most = most_in_5_s(t.w, t.a, 80000, &all);
	/* Those of WireGuard, and three at the beginning: the DERP server says all the time that there is no such peer.
	 */
	assert_in_range(most, 2, 2 + HASTEN_ABSENT_MAX);
	assert_in_range(all, 80 / 6, 80 / 5 + 1 + HASTEN_ABSENT_MAX);
	assert_int_equal(t.w->flows[0].delivered, 0);
	topo_end(&t);
}

static bool is_initiation(void *ctx, const struct host *from, uint16_t port, const struct ep *to, size_t size)
{
	(void)ctx;
	(void)from;
	(void)port;
	(void)to;
	return size == WGMSG_INITIATION_SIZE;
}

/* It answers disco but no handshake: it is heard without end. */
static void a_peer_that_is_heard_and_never_answers_gets_few_initiations(void **state)
{
	struct topo t = settled(441, TOPO_E, TOPO_O);
	uint64_t all, most;

	(void)state;
	leave_derp(t.b, 3000);
	t.w->net->drop = is_initiation;
	world_one_way(t.w, t.a, t.b, 20);
	most = most_in_5_s(t.w, t.a, 80000, &all);
	assert_int_equal(world_kind(t.a, t.b), PATH_DIRECT);
	assert_in_range(most, 2, 2 + HASTEN_MAX);
	assert_in_range(all, 80 / 6, (80 / 5 + 1) * (1 + HASTEN_MAX));
	assert_int_equal(t.w->flows[0].delivered, 0);
	topo_end(&t);
}

static void an_answered_handshake_is_not_repeated(void **state)
{
	static const enum topo_kind kinds[] = { TOPO_O, TOPO_E, TOPO_H, TOPO_U };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct topo t = settled(450 + i, TOPO_E, kinds[i]);
		uint64_t before = initiations(t.a) + initiations(t.b);

		world_one_way(t.w, t.a, t.b, 20);
		world_run(t.w, 4000);
		assert_int_equal(initiations(t.a) + initiations(t.b) - before, 1);
		topo_end(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_first_packet_waits_for_the_peer_at_derp_no_longer_than_it_must),
		cmocka_unit_test(a_first_packet_takes_the_direct_path_that_comes_up),
		cmocka_unit_test(a_peer_that_is_not_there_gets_few_initiations),
		cmocka_unit_test(a_peer_that_is_heard_and_never_answers_gets_few_initiations),
		cmocka_unit_test(an_answered_handshake_is_not_repeated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
