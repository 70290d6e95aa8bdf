/* SPDX-License-Identifier: MIT */
/* One ladder against a scripted peer: rounds, limits, trust, suspicion. Whole networks are in
 * tests/sim. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "path/ladder.h"

enum { OUTS_MAX = 512 };

/* A ladder, its outputs since the last forget(), and which paths answer Pings by themselves. */
struct rig {
	struct test_env te;
	struct pathself self;
	struct ladder l;
	struct mono now;
	struct ladder_out outs[OUTS_MAX];
	size_t n_outs;
	struct path_addr answers[8];
	int64_t rtt_ms[8];
	size_t n_answers;
	struct {
		struct mono at;
		struct path_addr path;
		struct disco_tx tx;
	} pongs[64];
	size_t n_pongs;
};

static const struct ep E1 = { .ip = { IP_V4, { 198, 51, 100, 1 } }, .port = 41641 };
static const struct ep E2 = { .ip = { IP_V4, { 203, 0, 113, 2 } }, .port = 41641 };
static const struct ep OWN = { .ip = { IP_V4, { 192, 0, 2, 9 } }, .port = 41641 };

static void drain(struct rig *r)
{
	struct ladder_out out;

	for (int i = 0; ladder_poll(&r->l, r->now, &out); i++) {
		assert_true(i < 200);
		assert_true(r->n_outs < OUTS_MAX);
		r->outs[r->n_outs++] = out;
		if (out.kind != LADDER_SEND || out.msg.type != DISCO_PING)
			continue;
		for (size_t k = 0; k < r->n_answers; k++) {
			if (!path_eq(&r->answers[k], &out.path))
				continue;
			assert_true(r->n_pongs < 64);
			r->pongs[r->n_pongs].at = mono_add_ms(r->now, r->rtt_ms[k]);
			r->pongs[r->n_pongs].path = out.path;
			r->pongs[r->n_pongs++].tx = out.msg.ping.tx;
		}
	}
}

/* Runs for 'ms', sending a note every 100 ms if 'flow'. */
static void run(struct rig *r, int64_t ms, bool flow)
{
	const struct mono end = mono_add_ms(r->now, ms);

	while (mono_before(r->now, end)) {
		struct mono next =
			mono_min(ladder_deadline(&r->l), mono_min(end, mono_add_ms(r->now, 100)));

		assert_false(mono_before(next, r->now) &&
			     mono_before(next, mono_add_ms(r->now, -1)));
		for (size_t i = 0; i < r->n_pongs; i++)
			next = mono_min(next, r->pongs[i].at);
		r->now = mono_max(next, r->now);
		for (size_t i = 0; i < r->n_pongs;) {
			const struct path_addr path = r->pongs[i].path;
			const struct disco_pong pong = { .tx = r->pongs[i].tx, .src = OWN };

			if (mono_before(r->now, r->pongs[i].at)) {
				i++;
				continue;
			}
			r->pongs[i] = r->pongs[--r->n_pongs];
			(void)ladder_input_pong(&r->l, r->now, &path, &pong);
			drain(r);
		}
		if (flow)
			ladder_input_sent(&r->l, r->now);
		ladder_tick(&r->l, r->now);
		drain(r);
		if (mono_before(r->now, end))
			r->now = mono_add_ns(r->now, 1);
	}
}

static void forget(struct rig *r)
{
	r->n_outs = 0;
}

static size_t n_sent(const struct rig *r, enum disco_type type, const struct path_addr *path)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_outs; i++)
		n += r->outs[i].kind == LADDER_SEND && r->outs[i].msg.type == type &&
		     (!path || path_eq(&r->outs[i].path, path));
	return n;
}

static size_t n_kind(const struct rig *r, enum ladder_out_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_outs; i++)
		n += r->outs[i].kind == kind;
	return n;
}

static void answer(struct rig *r, const struct path_addr *path, int64_t rtt_ms)
{
	r->answers[r->n_answers] = *path;
	r->rtt_ms[r->n_answers++] = rtt_ms;
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	const struct ep eps[] = { E1, E2 };
	struct ladder_peer peer = {
		.endpoints = eps, .n_endpoints = 2, .home_derp = 1, .cap = DISCO_CAP_RELAY
	};
	struct node_key own;

	assert_non_null(r);
	test_env_init(&r->te, 7);
	r->now = mono_add_s(MONO_ZERO, 1000);
	memset(own.b, 1, sizeof(own.b));
	memset(peer.node.b, 2, sizeof(peer.node.b));
	memset(peer.disco.b, 3, sizeof(peer.disco.b));
	pathself_init(&r->self, r->now, &own, &r->te.env);
	pathself_set_endpoints(&r->self, r->now, &OWN, 1);
	pathself_set_ifaddrs(&r->self, &OWN.ip, 1);
	ladder_init(&r->l, r->now, &r->self);
	assert_int_equal(ladder_set_peer(&r->l, r->now, &peer), 0);
	drain(r);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	ladder_wipe(&r->l);
	free(r);
	return 0;
}

static void an_unused_peer_is_left_alone(void **state)
{
	struct rig *r = *state;

	assert_int_equal(r->n_outs, 1); /* the first publication: DERP */
	assert_int_equal(r->outs[0].targets.first.kind, PATH_DERP);
	assert_true(mono_is_never(ladder_deadline(&r->l)));
}

static void the_first_packet_pings_all_then_says_call_me_maybe(void **state)
{
	struct rig *r = *state;
	const struct path_addr derp = path_derp(1), p1 = path_direct(&E1), p2 = path_direct(&E2);

	forget(r);
	ladder_input_relays(&r->l, r->now, 1, true);
	ladder_input_sent(&r->l, r->now);
	drain(r);
	assert_int_equal(n_sent(r, DISCO_PING, &p1), 1);
	assert_int_equal(n_sent(r, DISCO_PING, &p2), 1);
	assert_int_equal(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 0);
	assert_int_equal(n_kind(r, LADDER_WANT_RELAYS), 1);
	run(r, 10, false);
	assert_int_equal(n_sent(r, DISCO_CALL_ME_MAYBE, &derp), 1);
}

static void stale_own_endpoints_are_gathered_before_call_me_maybe(void **state)
{
	struct rig *r = *state;

	r->now = mono_add_s(r->now, PATHSELF_FRESH_S);
	forget(r);
	ladder_input_sent(&r->l, r->now);
	run(r, 50, false);
	assert_int_equal(n_kind(r, LADDER_WANT_ENDPOINTS), 1);
	assert_int_equal(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 0);
	pathself_set_endpoints(&r->self, r->now, &OWN, 1);
	ladder_input_own_endpoints(&r->l, r->now);
	drain(r);
	assert_int_equal(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 1);
}

static void an_active_flow_on_derp_pings_an_address_every_2_s(void **state)
{
	struct rig *r = *state;
	const struct path_addr p1 = path_direct(&E1);

	forget(r);
	run(r, 19900, true);
	assert_int_equal(n_sent(r, DISCO_PING, &p1), 10);
}

static void an_idle_peer_on_derp_is_pinged_with_every_second_heartbeat(void **state)
{
	struct rig *r = *state;
	const struct path_addr p1 = path_direct(&E1);

	ladder_input_sent(&r->l, r->now);
	run(r, 11500, false); /* not active any more */
	forget(r);
	run(r, 30000, false); /* 5 s for an address, heartbeats 3 s apart */
	assert_int_equal(n_sent(r, DISCO_PING, &p1), 5);
}

static void a_peer_that_calls_in_step_does_not_silence_us(void **state)
{
	struct rig *r = *state;
	const struct disco_eps eps = { .n_eps = 1, .n_total = 1, .eps = { E2 } };

	run(r, 1900, true);
	forget(r);
	/* Its CallMeMaybe always comes first and has us ping all. */
	for (int i = 0; i < 10; i++) {
		ladder_input_call_me_maybe(&r->l, r->now, &eps);
		pathself_set_endpoints(&r->self, r->now, &OWN, 1);
		ladder_input_own_endpoints(&r->l, r->now);
		drain(r);
		run(r, 1950, true);
	}
	assert_in_range(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 8, 11);
}

/* A flow for so long, with own endpoints gathered when they are asked for. Returns how often that was. */
static size_t run_gathering(struct rig *r, int64_t ms)
{
	const struct mono end = mono_add_ms(r->now, ms);
	size_t n = 0;

	forget(r);
	while (mono_before(r->now, end)) {
		run(r, 100, true);
		if (n_kind(r, LADDER_WANT_ENDPOINTS) == n)
			continue;
		n++;
		pathself_set_endpoints(&r->self, r->now, &OWN, 1);
		ladder_input_own_endpoints(&r->l, r->now);
		drain(r);
	}
	return n;
}

/* A stock peer sends a CallMeMaybe with Pings of its own only, 5 s after the last to an address, or a heartbeat
 * later; each of ours has it send some. */
static void a_peer_that_is_not_heard_gets_the_time_to_call(void **state)
{
	struct rig *r = *state;
	const struct disco_eps eps = { .n_eps = 1, .n_total = 1, .eps = { E2 } };
	struct mono sent;

	run_gathering(r, 3900);
	assert_int_equal(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 2);
	sent = r->l.cmm_sent;
	do
		run_gathering(r, 100);
	while (n_sent(r, DISCO_CALL_ME_MAYBE, NULL) == 0);
	assert_in_range(mono_since_ms(r->now, sent), 8500, 11000);
	/* What is new is told at once. */
	run_gathering(r, 1000);
	assert_int_equal(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 0);
	pathself_set_endpoints(&r->self, r->now, &E1, 1);
	run(r, 2000, true);
	assert_int_equal(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 1);
	/* And who is heard is called every 2 s. */
	forget(r);
	for (int i = 0; i < 10; i++) {
		ladder_input_call_me_maybe(&r->l, r->now, &eps);
		pathself_set_endpoints(&r->self, r->now, &E1, 1);
		ladder_input_own_endpoints(&r->l, r->now);
		drain(r);
		run(r, 1950, true);
	}
	assert_in_range(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 8, 11);
}

/* Two CallMeMaybes that the peer did not answer, and a third that waits for it to speak. */
static void fall_silent(struct rig *r)
{
	run_gathering(r, 3900);
	assert_int_equal(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 2);
	run_gathering(r, 2000);
	assert_int_equal(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 0);
}

/* It must hear at once where we are now, even if the addresses look the same. */
static void a_changed_link_ends_the_wait_for_a_peer_s_call(void **state)
{
	struct rig *r = *state;

	fall_silent(r);
	forget(r);
	ladder_input_link(&r->l, r->now, true);
	pathself_set_endpoints(&r->self, r->now, &OWN, 1);
	ladder_input_own_endpoints(&r->l, r->now);
	run(r, 100, true);
	assert_int_equal(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 1);
}

/* So must one whose path died. */
static void a_suspect_path_ends_the_wait_for_a_peer_s_call(void **state)
{
	struct rig *r = *state;
	const struct path_addr p1 = path_direct(&E1);

	fall_silent(r);
	answer(r, &p1, 20);
	run_gathering(r, 3000);
	assert_true(path_eq(&r->l.published.first, &p1) && r->l.published.is_trusted);
	r->n_answers = 0;
	run_gathering(r, 4000);
	assert_true(r->self.n.suspect >= 1);
	/* Two call it off the dead path and would count as unheard, too; two more tell where to. */
	assert_int_equal(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 4);
}

static void an_active_flow_on_derp_looks_up_its_endpoints_every_4_s(void **state)
{
	struct rig *r = *state;

	pathself_set_endpoints(&r->self, r->now, &OWN, 1);
	assert_int_equal(run_gathering(r, 20000), 4);
	/* Where nothing answers they cost more than they give. */
	pathself_set_stun(&r->self, r->now, false);
	assert_int_equal(run_gathering(r, 20000), 2);
	/* But if peers answer by UDP, the report came too early: at once again. */
	forget(r);
	r->self.udp_pong = r->now;
	pathself_set_stun(&r->self, r->now, false);
	run(r, 2100, true);
	assert_int_equal(n_kind(r, LADDER_WANT_ENDPOINTS), 1);
	/* Unless that went on. */
	pathself_set_endpoints(&r->self, r->now, &OWN, 1);
	ladder_input_own_endpoints(&r->l, r->now);
	r->self.udp_pong = r->now;
	pathself_set_stun(&r->self, r->now, false);
	assert_true(pathself_stun_is_hopeless(&r->self, r->now));
	pathself_set_stun(&r->self, r->now, true);
	assert_false(pathself_stun_is_hopeless(&r->self, r->now));
}

static void heartbeats_end_45_s_after_the_last_packet(void **state)
{
	struct rig *r = *state;
	const struct path_addr p1 = path_direct(&E1);

	answer(r, &p1, 20);
	run(r, 1000, true);
	assert_true(r->l.published.is_trusted);
	run(r, 50000, false);
	assert_false(r->l.published.is_trusted);
	assert_int_equal(r->l.published.second.kind, PATH_DERP);
	forget(r);
	run(r, 60000, false);
	assert_int_equal(n_sent(r, DISCO_PING, NULL), 0);
	assert_true(mono_is_never(ladder_deadline(&r->l)));
}

/* Another key is another run of the peer, perhaps on another port: until it answers there, DERP goes along. */
static void a_new_disco_key_ends_trust_until_the_next_pong(void **state)
{
	struct rig *r = *state;
	const struct path_addr p1 = path_direct(&E1);
	const struct ep eps[] = { E1, E2 };
	struct ladder_peer peer = { .node = r->l.node, .disco = r->l.disco, .endpoints = eps, .n_endpoints = 2,
				    .home_derp = 1, .cap = DISCO_CAP_RELAY };
	struct ladder_targets t;

	answer(r, &p1, 20);
	ladder_input_sent(&r->l, r->now);
	run(r, 100, true);
	assert_int_equal(ladder_set_peer(&r->l, r->now, &peer), 0);
	t = ladder_targets(&r->l, r->now);
	assert_true(path_eq(&t.first, &p1) && t.is_trusted); /* the same key changes nothing */
	memset(peer.disco.b, 4, sizeof(peer.disco.b));
	assert_int_equal(ladder_set_peer(&r->l, r->now, &peer), 0);
	t = ladder_targets(&r->l, r->now);
	assert_true(path_eq(&t.first, &p1) && !t.is_trusted && t.second.kind == PATH_DERP);
	run(r, 100, true);
	t = ladder_targets(&r->l, r->now);
	assert_true(path_eq(&t.first, &p1) && t.is_trusted && t.second.kind == PATH_NONE);
}

static void a_pong_makes_a_path_trusted_for_6500_ms(void **state)
{
	struct rig *r = *state;
	const struct path_addr p1 = path_direct(&E1);
	struct ladder_targets t;

	answer(r, &p1, 20);
	ladder_input_sent(&r->l, r->now);
	drain(r);
	run(r, 25, false);
	t = ladder_targets(&r->l, r->now);
	assert_true(path_eq(&t.first, &p1) && t.is_trusted && t.second.kind == PATH_NONE);
	assert_int_equal(t.latency_ns, 20 * NS_PER_MS);
	t = ladder_targets(&r->l, mono_add_ms(r->now, 6494));
	assert_true(t.is_trusted);
	t = ladder_targets(&r->l, mono_add_ms(r->now, 6500));
	assert_false(t.is_trusted);
	assert_int_equal(t.second.kind, PATH_DERP);
	assert_int_equal(n_kind(r, LADDER_SEEN_AS), 1);
}

static void silence_makes_an_active_path_suspect_within_a_second(void **state)
{
	struct rig *r = *state;
	const struct path_addr p1 = path_direct(&E1);
	struct mono dead;

	answer(r, &p1, 20);
	run(r, 3000, true);
	assert_true(r->l.published.is_trusted);
	r->n_answers = 0;
	dead = r->now;
	while (!r->l.published.is_suspect && mono_before(r->now, mono_add_s(dead, 5)))
		run(r, 10, true);
	assert_in_range(mono_since_ms(r->now, dead), 300, 1000);
	assert_int_equal(r->l.published.second.kind, PATH_DERP);
	/* Duplicate sending ends after 3 s: DERP alone. */
	run(r, 3300, true);
	assert_int_equal(r->l.published.first.kind, PATH_DERP);
	assert_int_equal(r->l.published.second.kind, PATH_NONE);
	assert_int_equal(r->self.n.failover, 1);
}

/* Who echoes sends nothing more when nothing comes: the end of a run of packets alone must make it look. */
static void a_run_that_breaks_off_is_looked_into(void **state)
{
	struct rig *r = *state;
	const struct path_addr p1 = path_direct(&E1);
	struct mono dead;

	answer(r, &p1, 20);
	run(r, 3000, true);
	for (int i = 0; i < 20; i++) {
		run(r, 100, true);
		ladder_input_received(&r->l, r->now, &p1);
	}
	forget(r);
	/* A flow that just ended costs one Ping. */
	run(r, 700, false);
	assert_in_range(n_sent(r, DISCO_PING, &p1), 1, 2);
	assert_false(r->l.published.is_suspect);
	for (int i = 0; i < 20; i++) {
		run(r, 100, true);
		ladder_input_received(&r->l, r->now, &p1);
	}
	r->n_answers = 0;
	dead = r->now;
	while (!r->l.published.is_suspect && mono_before(r->now, mono_add_s(dead, 5)))
		run(r, 10, false);
	assert_in_range(mono_since_ms(r->now, dead), 300, 1000);
}

/* How many CallMeMaybes since forget() name the address, and how many do not. */
static void count_calls(const struct rig *r, const struct ep *addr, size_t *n_with, size_t *n_without)
{
	*n_with = *n_without = 0;
	for (size_t i = 0; i < r->n_outs; i++) {
		const struct disco_eps *eps = &r->outs[i].msg.call_me_maybe;
		bool is_named = false;

		if (r->outs[i].kind != LADDER_SEND || r->outs[i].msg.type != DISCO_CALL_ME_MAYBE)
			continue;
		assert_int_equal(r->outs[i].path.kind, PATH_DERP);
		for (size_t k = 0; k < eps->n_eps; k++)
			is_named = is_named || ep_eq(&eps->eps[k], addr);
		if (is_named && *n_without == 0)
			++*n_with;
		else if (!is_named)
			++*n_without;
	}
}

/* A stock peer trusts a direct path for 6.5 s, unless a CallMeMaybe lacks what an earlier one named. */
static void the_peer_is_called_off_a_dead_direct_path(void **state)
{
	struct rig *r = *state;
	const struct path_addr p1 = path_direct(&E1);
	size_t n_with, n_without;

	answer(r, &p1, 20);
	run(r, 3000, true);
	assert_true(ep_eq(&r->l.best.seen_as, &OWN));
	r->n_answers = 0;
	forget(r);
	while (!r->l.published.is_suspect)
		run(r, 10, true);
	run(r, 250, true);
	count_calls(r, &OWN, &n_with, &n_without);
	assert_in_range(n_with, 1, 2);
	assert_int_equal(n_without, 0);
	run(r, 100, true);
	count_calls(r, &OWN, &n_with, &n_without);
	assert_int_equal(n_without, 1);
	/* Once, and a second later the address is named again although nothing is sent any more: the path may
	 * come back. */
	forget(r);
	run(r, 1100, false);
	count_calls(r, &OWN, &n_with, &n_without);
	assert_in_range(n_with, 1, 2);
	run(r, 10000, true);
	count_calls(r, &OWN, &n_with, &n_without);
	assert_int_equal(n_without, 0);
}

/* Lost Pongs alone, while data still comes by the path, are no reason for the peer to leave it. */
static void the_peer_stays_on_a_path_that_brings_its_data(void **state)
{
	struct rig *r = *state;
	const struct path_addr p1 = path_direct(&E1);
	size_t n_with, n_without;

	answer(r, &p1, 20);
	run(r, 3000, true);
	r->n_answers = 0;
	forget(r);
	for (int i = 0; i < 60; i++) {
		run(r, 50, true);
		ladder_input_received(&r->l, r->now, &p1);
	}
	assert_true(r->self.n.suspect > 0);
	count_calls(r, &OWN, &n_with, &n_without);
	assert_int_equal(n_without, 0);
}

static void two_lost_pings_far_apart_leave_an_idle_path_alone(void **state)
{
	struct rig *r = *state;
	const struct path_addr p1 = path_direct(&E1);

	answer(r, &p1, 20);
	ladder_input_sent(&r->l, r->now);
	run(r, 1500, false);
	r->n_answers = 0;
	run(r, 3000, false); /* one heartbeat is lost */
	r->n_answers = 1;
	run(r, 10000, false);
	assert_int_equal(r->self.n.failover, 0);
	assert_true(path_eq(&r->l.best.path, &p1));
}

/* A relay path, offered so long after it was asked for; it answers. */
static struct path_addr offered_relay(struct rig *r, int64_t ms)
{
	const struct path_addr relay = path_relay(&E2, 7);
	struct relay_path offer = { .path = relay, .latency_ns = 30 * NS_PER_MS };

	memset(offer.server.b, 9, sizeof(offer.server.b));
	ladder_input_relays(&r->l, r->now, 1, true);
	run(r, ms, true);
	answer(r, &relay, 30);
	ladder_input_offer(&r->l, r->now, &offer);
	return relay;
}

static void a_warm_relay_takes_over_from_a_dead_direct_path(void **state)
{
	struct rig *r = *state;
	const struct path_addr p1 = path_direct(&E1);
	struct path_addr relay;
	struct mono dead;

	answer(r, &p1, 20);
	relay = offered_relay(r, 5000);
	assert_true(n_kind(r, LADDER_WANT_RELAYS) >= 1);
	run(r, 3000, true);
	assert_true(path_eq(&r->l.published.first, &p1)); /* direct stays best */
	assert_true(n_sent(r, DISCO_PING, &relay) >= 1);  /* and the relay warm */
	r->answers[0] = (struct path_addr){ .kind = PATH_NONE };
	dead = r->now;
	while (!path_eq(&r->l.published.second, &relay) && mono_before(r->now, mono_add_s(dead, 5)))
		run(r, 10, true);
	assert_in_range(mono_since_ms(r->now, dead), 300, 1000);
	run(r, 1500, true);
	assert_true(path_eq(&r->l.published.first, &relay));
	assert_true(r->l.published.is_trusted);
	/* The direct path returns: taken again at once after its next Ping (5 s per address). */
	r->answers[0] = p1;
	run(r, 5500, true);
	assert_true(path_eq(&r->l.published.first, &p1));
}

/* A peer that fell off the relay we are on is helped back every 5 s; once it is there, nothing is asked. */
static void a_peer_behind_on_derp_is_told_of_the_relay_again(void **state)
{
	struct rig *r = *state;
	const struct path_addr relay = offered_relay(r, 1000), derp = path_derp(1);

	run(r, 10000, true);
	assert_true(path_eq(&r->l.published.first, &relay) && r->l.published.is_trusted);
	forget(r);
	for (int i = 0; i < 200; i++) {
		run(r, 100, true);
		ladder_input_received(&r->l, r->now, &derp);
	}
	assert_in_range(n_kind(r, LADDER_WANT_RELAYS), 3, 4);
	forget(r);
	for (int i = 0; i < 200; i++) {
		run(r, 100, true);
		ladder_input_received(&r->l, r->now, &relay);
	}
	assert_in_range(n_kind(r, LADDER_WANT_RELAYS), 0, 1);
}

/* Nothing tells a flow on a relay path that the direct one opens: it asks every second, and is there after one. */
static void a_flow_on_a_relay_asks_for_the_direct_path_every_second(void **state)
{
	struct rig *r = *state;
	const struct path_addr relay = offered_relay(r, 1000), p1 = path_direct(&E1), p2 = path_direct(&E2);

	run(r, 5000, true);
	assert_true(path_eq(&r->l.published.first, &relay) && r->l.published.is_trusted);
	forget(r);
	run(r, 10000, true);
	assert_in_range(n_sent(r, DISCO_PING, &p1), 9, 11);
	/* The other side is not called more often for that. */
	assert_in_range(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 0, 5);
	answer(r, &p1, 20);
	run(r, 1050, true);
	assert_true(path_eq(&r->l.published.first, &p1));
	/* Direct: the other addresses are asked no more. */
	forget(r);
	run(r, 10000, true);
	assert_int_equal(n_sent(r, DISCO_PING, &p2), 0);
}

/* An idle peer's relay path is asked no more than before. */
static void an_idle_relay_path_is_left_in_peace(void **state)
{
	struct rig *r = *state;
	const struct path_addr relay = offered_relay(r, 1000), p1 = path_direct(&E1);

	run(r, 12000, false);
	forget(r);
	run(r, 30000, false);
	assert_in_range(n_sent(r, DISCO_PING, &p1), 0, 6);
	assert_in_range(n_sent(r, DISCO_PING, &relay), 0, 11);
}

/* Both lost it, and it came back for us: the peer is told as soon as it shows that it did not notice. */
static void a_relay_that_comes_back_for_us_alone_is_told_within_a_second(void **state)
{
	struct rig *r = *state;
	const struct path_addr derp = path_derp(1);

	(void)offered_relay(r, 200); /* it was asked for a moment ago */
	assert_int_equal(n_kind(r, LADDER_WANT_RELAYS), 1);
	forget(r);
	for (int i = 0; i < 6; i++) {
		ladder_input_received(&r->l, r->now, &derp);
		run(r, 100, true);
	}
	assert_int_equal(n_kind(r, LADDER_WANT_RELAYS), 0); /* it may be on its way */
	for (int i = 0; i < 30; i++) {
		ladder_input_received(&r->l, r->now, &derp);
		run(r, 100, true);
	}
	assert_int_equal(n_kind(r, LADDER_WANT_RELAYS), 1);
}

static void pings_are_answered_and_their_source_is_tried(void **state)
{
	struct rig *r = *state;
	const struct ep e = { .ip = ip4(198, 51, 100, 77), .port = 5 };
	const struct path_addr from = path_direct(&e);
	struct disco_ping ping = { .tx = { { 1 } } };

	forget(r);
	ladder_input_ping(&r->l, r->now, &from, &ping);
	drain(r);
	assert_int_equal(n_sent(r, DISCO_PONG, &from), 1);
	assert_int_equal(n_sent(r, DISCO_PING, &from), 1);
	/* The same id again is a duplicate of the network: no second Pong. */
	ladder_input_ping(&r->l, r->now, &from, &ping);
	drain(r);
	assert_int_equal(n_sent(r, DISCO_PONG, &from), 1);
	assert_int_equal(r->self.n.dup_ping, 1);
}

static void a_flood_of_pings_gets_50_pongs_a_second(void **state)
{
	struct rig *r = *state;
	const struct path_addr from = path_direct(&E1);
	size_t pongs = 0;

	for (unsigned int i = 0; i < 3000; i++) {
		struct disco_ping ping = { .tx = { { 0 } } };

		memcpy(ping.tx.b, &i, sizeof(i));
		forget(r);
		ladder_input_ping(&r->l, r->now, &from, &ping);
		drain(r);
		pongs += n_sent(r, DISCO_PONG, NULL);
		r->now = mono_add_ms(r->now, 1);
	}
	assert_in_range(pongs, 100 + 2 * 50, 100 + 3 * 50);
}

static void one_call_me_maybe_causes_at_most_64_pings(void **state)
{
	struct rig *r = *state;
	struct disco_eps eps = { .n_eps = DISCO_EPS_MAX, .n_total = 3600 };

	for (unsigned int i = 0; i < DISCO_EPS_MAX; i++)
		eps.eps[i] = (struct ep){ .ip = ip4(203, 0, 113, (uint8_t)(100 + i)), .port = 9 };
	forget(r);
	ladder_input_call_me_maybe(&r->l, r->now, &eps);
	drain(r);
	assert_in_range(n_sent(r, DISCO_PING, NULL), PROBER_CMM_MAX, PROBER_ROUND_MAX);
	assert_int_equal(n_sent(r, DISCO_CALL_ME_MAYBE, NULL), 0);
	assert_int_equal(r->l.prober.n_cands, 2 + PROBER_CMM_MAX);
	/* Burst 3, then one a second. */
	for (int i = 0; i < 10; i++)
		ladder_input_call_me_maybe(&r->l, r->now, &eps);
	assert_int_equal(r->self.n.drop_call_me_maybe, 8);
}

static void hints_to_forbidden_addresses_are_refused(void **state)
{
	struct rig *r = *state;
	struct disco_eps eps = { .n_eps = 9, .n_total = 9 };
	static const char *const bad[] = { "127.0.0.1:1",   "0.0.0.0:1",
					   "224.0.0.1:1",   "255.255.255.255:1",
					   "100.64.0.9:1",  "[fd7a:115c:a1e0::5]:1",
					   "[fe80::1]:1",   "192.0.2.9:80",
					   "198.51.100.3:0" };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(ep_parse(&eps.eps[i], bad[i], strlen(bad[i])), 0);
	ladder_input_call_me_maybe(&r->l, r->now, &eps);
	assert_int_equal(r->l.prober.n_cands, 2);
	assert_int_equal(r->self.n.drop_endpoint, 9);
}

static void of_the_endpoints_from_control_64_are_kept(void **state)
{
	struct rig *r = *state;
	struct ep eps[200];
	struct ladder_peer peer = { .node = r->l.node, .disco = r->l.disco, .endpoints = eps, .n_endpoints = 200 };
	const uint64_t dropped = r->self.n.drop_endpoint;

	for (size_t i = 0; i < 200; i++)
		eps[i] = (struct ep){ .ip = ip4(203, 0, 113, (uint8_t)i), .port = 41641 };
	assert_int_equal(ladder_set_peer(&r->l, r->now, &peer), 0);
	assert_int_equal(r->l.prober.n_cands, PROBER_NETMAP_MAX);
	assert_int_equal(r->self.n.drop_endpoint - dropped, 200 - PROBER_NETMAP_MAX);
}

static void call_me_maybe_deletes_what_the_previous_one_named(void **state)
{
	struct rig *r = *state;
	struct disco_eps eps = { .n_eps = 1, .n_total = 1, .eps = { E1 } };
	const struct path_addr p1 = path_direct(&E1);

	answer(r, &p1, 20);
	ladder_input_call_me_maybe(&r->l, r->now, &eps);
	drain(r);
	run(r, 50, false);
	assert_true(path_eq(&r->l.best.path, &p1));
	eps.n_eps = eps.n_total = 0;
	ladder_input_call_me_maybe(&r->l, r->now, &eps);
	/* Even though the map lists it, and it was the best. */
	assert_null(prober_find(&r->l.prober, &E1));
	assert_int_equal(r->l.best.path.kind, PATH_NONE);
	assert_non_null(prober_find(&r->l.prober, &E2));
}

static void a_user_ping_reports_the_first_pong_or_nothing(void **state)
{
	struct rig *r = *state;
	const struct path_addr derp = path_derp(1), p1 = path_direct(&E1);
	size_t i;

	answer(r, &derp, 90);
	answer(r, &p1, 20);
	forget(r);
	assert_int_equal(ladder_user_ping(&r->l, r->now, 42, 0), 0);
	drain(r);
	run(r, 200, false);
	assert_int_equal(n_kind(r, LADDER_PING_RESULT), 1);
	for (i = 0; r->outs[i].kind != LADDER_PING_RESULT; i++)
		;
	assert_int_equal(r->outs[i].result.id, 42);
	assert_true(path_eq(&r->outs[i].result.path, &p1));
	assert_int_equal(r->outs[i].result.latency_ns, 20 * NS_PER_MS);
	r->n_answers = 0;
	forget(r);
	assert_int_equal(ladder_user_ping(&r->l, r->now, 43, 0), 0);
	run(r, 5100, false);
	for (i = 0; i < r->n_outs && r->outs[i].kind != LADDER_PING_RESULT; i++)
		;
	assert_true(i < r->n_outs);
	assert_false(r->outs[i].result.is_answered);
	assert_int_equal(ladder_user_ping(&r->l, r->now, 44, 70000), -EBADMSG);
}

static void a_handshake_also_takes_derp_when_the_last_pong_is_old(void **state)
{
	struct rig *r = *state;
	const struct path_addr p1 = path_direct(&E1);
	struct path_addr paths[2];

	answer(r, &p1, 20);
	assert_int_equal(ladder_handshake_paths(&r->l, r->now, paths), 1);
	assert_int_equal(paths[0].kind, PATH_DERP);
	ladder_input_sent(&r->l, r->now);
	drain(r);
	run(r, 25, false);
	assert_int_equal(ladder_handshake_paths(&r->l, r->now, paths), 1);
	assert_true(path_eq(&paths[0], &p1));
	assert_int_equal(ladder_handshake_paths(&r->l, mono_add_ms(r->now, 3001), paths), 2);
	assert_int_equal(paths[1].kind, PATH_DERP);
}

static void a_wireguard_only_peer_follows_what_it_sends(void **state)
{
	struct rig *r = *state;
	const struct path_addr p2 = path_direct(&E2);
	struct ladder_peer peer = { .endpoints = &E1, .n_endpoints = 1, .is_wireguard_only = true };
	struct ladder_targets t;

	memset(peer.node.b, 2, sizeof(peer.node.b));
	assert_int_equal(ladder_set_peer(&r->l, r->now, &peer), 0);
	forget(r);
	ladder_input_sent(&r->l, r->now);
	drain(r);
	t = ladder_targets(&r->l, r->now);
	assert_true(ep_eq(&t.first.ep, &E1));
	ladder_input_received(&r->l, r->now, &p2);
	t = ladder_targets(&r->l, r->now);
	assert_true(path_eq(&t.first, &p2));
	assert_int_equal(t.second.kind, PATH_NONE);
	assert_int_equal(n_sent(r, DISCO_PING, NULL), 0);
	assert_int_equal(ladder_user_ping(&r->l, r->now, 1, 0), -EPROTO);
}

static void candidates_say_why_they_are_not_used(void **state)
{
	struct rig *r = *state;
	const struct path_addr p2 = path_direct(&E2);
	struct prober_view v[4];

	assert_int_equal(ladder_candidates(&r->l, r->now, v, 4), 2);
	assert_int_equal(v[0].verdict, PROBER_UNTRIED);
	answer(r, &p2, 20);
	run(r, 12000, true);
	assert_int_equal(ladder_candidates(&r->l, r->now, v, 4), 2);
	assert_int_equal(v[0].verdict, PROBER_IN_USE);
	assert_true(ep_eq(&v[0].ep, &E2));
	assert_int_equal(v[1].verdict, PROBER_NO_ANSWER);
	ladder_input_send_failed(&r->l, r->now, &p2);
	assert_int_equal(ladder_candidates(&r->l, r->now, v, 4), 2);
	assert_int_equal(v[1].verdict, PROBER_UNREACHABLE);
	assert_int_equal(r->l.best.path.kind, PATH_NONE);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(an_unused_peer_is_left_alone),
		T(the_first_packet_pings_all_then_says_call_me_maybe),
		T(stale_own_endpoints_are_gathered_before_call_me_maybe),
		T(an_active_flow_on_derp_pings_an_address_every_2_s),
		T(an_idle_peer_on_derp_is_pinged_with_every_second_heartbeat),
		T(a_peer_that_calls_in_step_does_not_silence_us),
		T(a_peer_that_is_not_heard_gets_the_time_to_call),
		T(a_changed_link_ends_the_wait_for_a_peer_s_call),
		T(a_suspect_path_ends_the_wait_for_a_peer_s_call),
		T(an_active_flow_on_derp_looks_up_its_endpoints_every_4_s),
		T(heartbeats_end_45_s_after_the_last_packet),
		T(a_new_disco_key_ends_trust_until_the_next_pong),
		T(a_pong_makes_a_path_trusted_for_6500_ms),
		T(silence_makes_an_active_path_suspect_within_a_second),
		T(a_run_that_breaks_off_is_looked_into),
		T(the_peer_is_called_off_a_dead_direct_path),
		T(the_peer_stays_on_a_path_that_brings_its_data),
		T(two_lost_pings_far_apart_leave_an_idle_path_alone),
		T(a_warm_relay_takes_over_from_a_dead_direct_path),
		T(a_peer_behind_on_derp_is_told_of_the_relay_again),
		T(a_flow_on_a_relay_asks_for_the_direct_path_every_second),
		T(an_idle_relay_path_is_left_in_peace),
		T(a_relay_that_comes_back_for_us_alone_is_told_within_a_second),
		T(pings_are_answered_and_their_source_is_tried),
		T(a_flood_of_pings_gets_50_pongs_a_second),
		T(one_call_me_maybe_causes_at_most_64_pings),
		T(hints_to_forbidden_addresses_are_refused),
		T(of_the_endpoints_from_control_64_are_kept),
		T(call_me_maybe_deletes_what_the_previous_one_named),
		T(a_user_ping_reports_the_first_pong_or_nothing),
		T(a_handshake_also_takes_derp_when_the_last_pong_is_old),
		T(a_wireguard_only_peer_follows_what_it_sends),
		T(candidates_say_why_they_are_not_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
