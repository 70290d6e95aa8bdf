/* SPDX-License-Identifier: MIT */
/* The relay client against scripted servers and peers. With a real relay server it runs in
 * tests/sim. */
#include "tests/unit/testing.h"

#include <stdlib.h>
#include <string.h>

#include "relay/relayclient.h"

static const struct ep SERVER_A = { .ip = { IP_V4, { 203, 0, 113, 10 } }, .port = 40000 };
static const struct ep SERVER_B = { .ip = { IP_V4, { 198, 51, 100, 10 } }, .port = 40000 };

struct rig {
	struct test_env te;
	struct relayclient rc;
	struct mono now;
	struct relayclient_peer peer;
	struct relayclient_server server;
	struct disco_key relay_key; /* of the relay server, not of its node */
	struct relayclient_out outs[64];
	size_t n_outs;
};

static struct disco_key public_of(uint8_t seed)
{
	struct disco_key pub;
	uint8_t priv[KEY_SIZE];

	memset(priv, seed, sizeof(priv));
	key_clamp(priv);
	key_public(pub.b, priv);
	return pub;
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct disco_priv priv;
	struct node_key own;

	assert_non_null(r);
	test_env_init(&r->te, 3);
	r->now = mono_add_s(MONO_ZERO, 50);
	memset(own.b, 1, sizeof(own.b));
	memset(priv.b, 0x44, sizeof(priv.b));
	memset(r->peer.node.b, 2, sizeof(r->peer.node.b));
	memset(r->server.node.b, 3, sizeof(r->server.node.b));
	r->peer.disco = public_of(5);
	r->server.disco = public_of(6);
	r->relay_key = public_of(7);
	relayclient_init(&r->rc, &own, &priv, &r->te.env);
	assert_true(relayclient_set_servers(&r->rc, &r->server, 1));
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	relayclient_wipe(&r->rc);
	free(r);
	return 0;
}

/* Collects everything that is due, starting anew. Returns how many outputs there were. */
static size_t drain(struct rig *r)
{
	r->n_outs = 0;
	while (relayclient_poll(&r->rc, r->now, &r->outs[r->n_outs]))
		assert_true(++r->n_outs < 64);
	return r->n_outs;
}

/* Lets 'ms' pass without anything arriving; returns how many messages of 'kind' were sent. */
static size_t wait_ms(struct rig *r, int64_t ms, enum relayclient_out_kind kind)
{
	const struct mono end = mono_add_ms(r->now, ms);
	size_t n = 0;

	while (mono_due(relayclient_deadline(&r->rc), end)) {
		r->now = mono_max(r->now, relayclient_deadline(&r->rc));
		relayclient_tick(&r->rc, r->now);
		(void)drain(r);
		for (size_t i = 0; i < r->n_outs; i++)
			n += r->outs[i].kind == kind;
	}
	r->now = end;
	return n;
}

static struct disco_relay_ep endpoint(const struct rig *r, uint64_t lamport, uint32_t vni)
{
	struct disco_relay_ep ep = {
		.server = r->relay_key,
		.lamport_id = lamport,
		.vni = vni,
		.bind_lifetime_ns = 30 * NS_PER_S,
		.addrs = { .n_eps = 2, .n_total = 2, .eps = { SERVER_A, SERVER_B } }
	};

	disco_sort_pair(ep.client, &r->rc.disco, &r->peer.disco);
	return ep;
}

static void respond(struct rig *r, uint32_t generation, uint64_t lamport, uint32_t vni)
{
	const struct disco_alloc_response resp = { .generation = generation,
						   .ep = endpoint(r, lamport, vni) };

	relayclient_input_response(&r->rc, r->now, &r->server.node, &resp);
}

static void challenge(struct rig *r, const struct ep *from, uint32_t vni)
{
	const struct disco_bind bind = { .vni = vni,
					 .remote = r->peer.disco,
					 .challenge = { 0xaa } };

	relayclient_input_challenge(&r->rc, r->now, from, vni, &r->relay_key, &bind);
}

/* Up to the point where the Answer and the first Ping have been sent to SERVER_B. */
static void reach_answered(struct rig *r)
{
	relayclient_discover(&r->rc, r->now, &r->peer, NULL, 0);
	assert_int_equal(drain(r), 1);
	respond(r, r->outs[0].msg.alloc_request.generation, 5, 7);
	(void)drain(r);
	challenge(r, &SERVER_B, 7);
	(void)drain(r);
}

static void a_discovery_ends_in_an_offer(void **state)
{
	struct rig *r = *state;
	const struct path_addr path = path_relay(&SERVER_B, 7);
	struct disco_pong pong;

	relayclient_discover(&r->rc, r->now, &r->peer, NULL, 0);
	assert_int_equal(drain(r), 1);
	assert_int_equal(r->outs[0].kind, RELAYCLIENT_SEND_ALLOC);
	assert_true(node_key_eq(&r->outs[0].to, &r->server.node));
	assert_int_equal(r->outs[0].msg.alloc_request.generation, 1);
	assert_true(memcmp(r->outs[0].msg.alloc_request.client[0].b,
			   r->outs[0].msg.alloc_request.client[1].b, KEY_SIZE) < 0);
	respond(r, 1, 5, 7);
	/* The peer is told, then a Bind goes to each address, sealed to the relay server's own key.
	 */
	assert_int_equal(drain(r), 3);
	assert_int_equal(r->outs[0].kind, RELAYCLIENT_SEND_VIA);
	assert_true(node_key_eq(&r->outs[0].to, &r->peer.node));
	/* A stock peer is deaf for so long when its Bind is lost. */
	assert_int_equal(r->outs[0].msg.via.bind_lifetime_ns, RELAYCLIENT_VIA_BIND_S * NS_PER_S);
	assert_int_equal(r->outs[1].kind, RELAYCLIENT_SEND_BIND);
	assert_true(ep_eq(&r->outs[1].path.ep, &SERVER_A));
	assert_true(ep_eq(&r->outs[2].path.ep, &SERVER_B));
	assert_true(disco_key_eq(&r->outs[2].box->peer, &r->relay_key));
	assert_int_not_equal(r->outs[1].msg.bind.generation, 0);
	assert_true(disco_key_eq(&r->outs[1].msg.bind.remote, &r->peer.disco));
	/* The first Challenge decides the address; Answer before Ping. */
	assert_non_null(relayclient_box(&r->rc, &r->relay_key));
	challenge(r, &SERVER_B, 7);
	challenge(r, &SERVER_A, 7);
	assert_int_equal(drain(r), 2);
	assert_int_equal(r->outs[0].msg.type, DISCO_BIND_ANSWER);
	assert_int_equal(r->outs[0].msg.bind.challenge[0], 0xaa);
	assert_true(path_eq(&r->outs[0].path, &path));
	assert_int_equal(r->outs[1].kind, RELAYCLIENT_SEND_PING);
	assert_true(path_eq(&r->outs[1].path, &path));
	pong = (struct disco_pong){ .tx = r->outs[1].msg.ping.tx };
	r->now = mono_add_ms(r->now, 33);
	assert_true(relayclient_input_pong(&r->rc, r->now, &path, &r->peer.disco, &pong));
	assert_int_equal(drain(r), 1);
	assert_int_equal(r->outs[0].kind, RELAYCLIENT_OFFER);
	assert_true(path_eq(&r->outs[0].offer.path, &path));
	assert_int_equal(r->outs[0].offer.latency_ns, 33 * NS_PER_MS);
	assert_true(disco_key_eq(&r->outs[0].offer.server, &r->relay_key));
	assert_int_equal(r->rc.n_work, 0);
	assert_true(mono_is_never(relayclient_deadline(&r->rc)));
}

static void an_unanswered_request_is_repeated_after_500_1000_2000_ms(void **state)
{
	struct rig *r = *state;

	relayclient_discover(&r->rc, r->now, &r->peer, NULL, 0);
	(void)drain(r);
	assert_int_equal(wait_ms(r, 499, RELAYCLIENT_SEND_ALLOC), 0);
	assert_int_equal(wait_ms(r, 1, RELAYCLIENT_SEND_ALLOC), 1);
	assert_int_equal(wait_ms(r, 1000, RELAYCLIENT_SEND_ALLOC), 1);
	assert_int_equal(wait_ms(r, 2000, RELAYCLIENT_SEND_ALLOC), 1);
	assert_int_equal(wait_ms(r, 6499, RELAYCLIENT_SEND_ALLOC), 0);
	assert_int_equal(r->rc.n_work, 1);
	(void)wait_ms(r, 1, RELAYCLIENT_SEND_ALLOC);
	assert_int_equal(r->rc.n_work, 0); /* given up after 10 s */
	assert_int_equal(r->rc.n.alloc_timeouts, 1);
}

static void a_lost_answer_and_ping_are_repeated(void **state)
{
	struct rig *r = *state;

	reach_answered(r);
	assert_int_equal(wait_ms(r, 500, RELAYCLIENT_SEND_PING), 1);
	assert_int_equal(r->outs[0].kind, RELAYCLIENT_SEND_VIA); /* the peer may have missed it */
	assert_int_equal(wait_ms(r, 3000, RELAYCLIENT_SEND_BIND), 2);
	(void)wait_ms(r, 30000, RELAYCLIENT_SEND_PING);
	assert_int_equal(r->rc.n_work, 0);
	assert_int_equal(r->rc.n.bind_timeouts, 1);
}

static void a_ping_of_the_peer_is_answered_by_one_of_ours_up_to_10(void **state)
{
	struct rig *r = *state;
	const struct path_addr path = path_relay(&SERVER_B, 7), other = path_relay(&SERVER_B, 8);
	size_t pings = 1;

	reach_answered(r);
	relayclient_input_ping(&r->rc, r->now, &other, &r->peer.disco);
	assert_int_equal(drain(r), 0);
	for (int i = 0; i < 20; i++) {
		relayclient_input_ping(&r->rc, r->now, &path, &r->peer.disco);
		pings += drain(r);
	}
	assert_int_equal(pings, RELAYCLIENT_PINGS_MAX);
}

static void a_path_in_use_gets_no_second_handshake_but_the_peer_is_told(void **state)
{
	struct rig *r = *state;
	const struct relay_path known = { .path = path_relay(&SERVER_A, 7),
					  .server = r->relay_key };

	relayclient_discover(&r->rc, r->now, &r->peer, &known, 1);
	(void)drain(r);
	respond(r, 1, 5, 7);
	assert_int_equal(drain(r), 1);
	assert_int_equal(r->outs[0].kind, RELAYCLIENT_SEND_VIA);
	assert_int_equal(r->rc.n_work, 0);
}

/* A stock peer whose Bind was lost hears an invitation only if its Lamport id is higher than the last one's. */
static void invitations_in_vain_come_again_as_newer_ones(void **state)
{
	struct rig *r = *state;
	const struct relay_path known = { .path = path_relay(&SERVER_A, 7), .server = r->relay_key };
	uint64_t last = 5;

	reach_answered(r);
	assert_int_equal(wait_ms(r, 500, RELAYCLIENT_SEND_VIA), 1);
	assert_int_equal(r->outs[0].msg.via.lamport_id, 5); /* for the one that was lost on the way */
	for (int i = 0; i < 2; i++) {
		assert_int_equal(wait_ms(r, i ? 2000 : 1000, RELAYCLIENT_SEND_VIA), 1);
		assert_true(r->outs[0].msg.via.lamport_id > last);
		assert_int_equal(r->outs[0].msg.via.vni, 7);
		last = r->outs[0].msg.via.lamport_id;
	}
	/* The endpoint is asked for again: the next round goes on from there. */
	relayclient_discover(&r->rc, r->now, &r->peer, NULL, 0);
	(void)drain(r);
	respond(r, 2, 5, 7);
	assert_int_equal(drain(r), 3);
	assert_int_equal(r->outs[0].kind, RELAYCLIENT_SEND_VIA);
	assert_true(r->outs[0].msg.via.lamport_id > last);
	last = r->outs[0].msg.via.lamport_id;
	relayclient_cancel(&r->rc, &r->peer.node);
	/* So does one for a path that works for us alone. */
	relayclient_discover(&r->rc, r->now, &r->peer, &known, 1);
	(void)drain(r);
	respond(r, 3, 5, 7);
	assert_int_equal(drain(r), 1);
	assert_true(r->outs[0].msg.via.lamport_id > last);
}

/* The other end of that: it is another try for the same endpoint. */
static void a_newer_invitation_to_the_same_endpoint_binds_anew(void **state)
{
	struct rig *r = *state;
	struct relayclient_outcome o;
	const struct disco_relay_ep again = endpoint(r, 8, 7);

	reach_answered(r);
	relayclient_input_via(&r->rc, r->now, &r->peer, &again, NULL, 0);
	assert_int_equal(drain(r), 2);
	assert_int_equal(r->outs[0].kind, RELAYCLIENT_SEND_BIND);
	assert_int_equal(r->outs[0].path.vni, 7);
	assert_int_equal(r->rc.n_work, 1);
	assert_true(relayclient_outcome(&r->rc, &r->peer.node, &r->server.node, &o));
	assert_int_equal(o.step, RELAYCLIENT_BINDING);
	/* What the server itself says of it is not news. */
	relayclient_discover(&r->rc, r->now, &r->peer, NULL, 0);
	(void)drain(r);
	respond(r, 2, 5, 7);
	assert_int_equal(drain(r), 0);
	assert_int_equal(r->rc.n_work, 1);
}

static void the_same_endpoint_by_call_me_maybe_via_is_dropped(void **state)
{
	struct rig *r = *state;
	const struct disco_relay_ep same = endpoint(r, 5, 7), newer = endpoint(r, 6, 9);

	reach_answered(r);
	relayclient_input_via(&r->rc, r->now, &r->peer, &same, NULL, 0);
	assert_int_equal(drain(r), 0);
	assert_int_equal(r->rc.n_work, 1);
	/* A higher Lamport id replaces the running one, and the peer is not told back. */
	relayclient_input_via(&r->rc, r->now, &r->peer, &newer, NULL, 0);
	assert_int_equal(drain(r), 2);
	assert_int_equal(r->outs[0].kind, RELAYCLIENT_SEND_BIND);
	assert_int_equal(r->outs[0].path.vni, 9);
	assert_int_equal(r->rc.n_work, 1);
}

static void bad_responses_are_counted_and_ignored(void **state)
{
	struct rig *r = *state;
	struct disco_alloc_response resp;
	const struct node_key stranger = { { 9 } };

	relayclient_discover(&r->rc, r->now, &r->peer, NULL, 0);
	(void)drain(r);
	respond(r, 2, 5, 7); /* another generation */
	resp = (struct disco_alloc_response){ .generation = 1, .ep = endpoint(r, 5, 7) };
	relayclient_input_response(&r->rc, r->now, &stranger, &resp);
	memset(resp.ep.server.b, 0, KEY_SIZE);
	relayclient_input_response(&r->rc, r->now, &r->server.node, &resp);
	resp.ep = endpoint(r, 5, 7);
	resp.ep.client[0] = r->server.disco; /* not our pair */
	relayclient_input_response(&r->rc, r->now, &r->server.node, &resp);
	resp.ep = endpoint(r, 5, 0); /* no VNI */
	relayclient_input_response(&r->rc, r->now, &r->server.node, &resp);
	assert_int_equal(r->rc.n.bad_responses, 5);
	assert_int_equal(drain(r), 0);
	assert_int_equal(r->rc.n_work, 1); /* still waits for the real one */
}

static void bad_challenges_are_counted_and_ignored(void **state)
{
	struct rig *r = *state;
	struct disco_bind bind = { .vni = 8, .remote = r->peer.disco };

	relayclient_discover(&r->rc, r->now, &r->peer, NULL, 0);
	(void)drain(r);
	assert_null(relayclient_box(&r->rc, &r->relay_key)); /* no handshake yet */
	respond(r, 1, 5, 7);
	(void)drain(r);
	relayclient_input_challenge(&r->rc, r->now, &SERVER_A, 7, &r->relay_key, &bind);
	bind.vni = 7;
	bind.remote = r->rc.disco;
	relayclient_input_challenge(&r->rc, r->now, &SERVER_A, 7, &r->relay_key, &bind);
	relayclient_input_challenge(&r->rc, r->now, &SERVER_A, 6, &r->relay_key, &bind);
	assert_int_equal(r->rc.n.bad_challenges, 3);
	assert_int_equal(drain(r), 0);
}

static void a_bind_never_goes_to_a_forbidden_address(void **state)
{
	struct rig *r = *state;
	struct disco_relay_ep ep = endpoint(r, 5, 7);
	static const char *const bad[] = { "127.0.0.1:1", "0.0.0.0:9", "224.0.0.1:9",
					   "100.64.0.1:9", "198.51.100.1:0" };

	ep.addrs.n_eps = ep.addrs.n_total = 6;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(ep_parse(&ep.addrs.eps[i], bad[i], strlen(bad[i])), 0);
	ep.addrs.eps[5] = SERVER_A;
	relayclient_input_via(&r->rc, r->now, &r->peer, &ep, NULL, 0);
	assert_int_equal(drain(r), 1);
	assert_true(ep_eq(&r->outs[0].path.ep, &SERVER_A));
}

static void one_peer_causes_at_most_8_handshakes(void **state)
{
	struct rig *r = *state;

	for (uint8_t i = 0; i < 30; i++) {
		struct disco_relay_ep ep = endpoint(r, 1, 100u + i);

		ep.server = public_of((uint8_t)(100 + i));
		relayclient_input_via(&r->rc, r->now, &r->peer, &ep, NULL, 0);
	}
	assert_int_equal(r->rc.n_work, RELAYCLIENT_PEER_VIAS_MAX);
	assert_int_equal(r->rc.n.drop_limit, 30 - RELAYCLIENT_PEER_VIAS_MAX);
}

static void each_step_is_told_for_why_not_by_relay(void **state)
{
	struct rig *r = *state;
	struct relayclient_outcome o;

	assert_false(relayclient_outcome(&r->rc, &r->peer.node, &r->server.node, &o));
	relayclient_discover(&r->rc, r->now, &r->peer, NULL, 0);
	(void)drain(r);
	assert_true(relayclient_outcome(&r->rc, &r->peer.node, &r->server.node, &o));
	assert_int_equal(o.step, RELAYCLIENT_ASKING);
	(void)wait_ms(r, 11000, RELAYCLIENT_SEND_ALLOC);
	assert_true(relayclient_outcome(&r->rc, &r->peer.node, &r->server.node, &o));
	assert_int_equal(o.step, RELAYCLIENT_NO_RESPONSE);
	reach_answered(r);
	assert_true(relayclient_outcome(&r->rc, &r->peer.node, &r->server.node, &o));
	assert_int_equal(o.step, RELAYCLIENT_BOUND);
	assert_int_equal(o.vni, 7);
	assert_true(ep_eq(&o.bound, &SERVER_B));
	(void)wait_ms(r, 31000, RELAYCLIENT_SEND_PING);
	assert_true(relayclient_outcome(&r->rc, &r->peer.node, &r->server.node, &o));
	assert_int_equal(o.step, RELAYCLIENT_NO_PONG);
}

static void the_own_server_is_asked_inside_the_process(void **state)
{
	struct rig *r = *state;
	const struct relayclient_server self = { .node = r->rc.node,
						 .disco = r->rc.disco,
						 .is_self = true };

	(void)relayclient_set_servers(&r->rc, &self, 1);
	relayclient_discover(&r->rc, r->now, &r->peer, NULL, 0);
	assert_int_equal(drain(r), 1);
	assert_int_equal(r->outs[0].kind, RELAYCLIENT_LOCAL_ALLOC);
}

static void the_peer_is_not_asked_to_relay_to_itself(void **state)
{
	struct rig *r = *state;
	const struct relayclient_server peer = { .node = r->peer.node, .disco = r->peer.disco };

	(void)relayclient_set_servers(&r->rc, &peer, 1);
	assert_int_equal(relayclient_n_servers(&r->rc, &r->peer.node), 0);
	relayclient_discover(&r->rc, r->now, &r->peer, NULL, 0);
	assert_int_equal(drain(r), 0);
}

static void the_kill_switch_refuses_new_work(void **state)
{
	struct rig *r = *state;
	const struct disco_relay_ep ep = endpoint(r, 5, 7);

	relayclient_set_enabled(&r->rc, false);
	relayclient_discover(&r->rc, r->now, &r->peer, NULL, 0);
	relayclient_input_via(&r->rc, r->now, &r->peer, &ep, NULL, 0);
	assert_int_equal(r->rc.n_work, 0);
	assert_int_equal(relayclient_n_servers(&r->rc, &r->peer.node), 0);
}

static void a_removed_peer_takes_its_work_along(void **state)
{
	struct rig *r = *state;

	reach_answered(r);
	relayclient_discover(&r->rc, r->now, &r->peer, NULL, 0);
	assert_int_equal(r->rc.n_work, 2);
	relayclient_cancel(&r->rc, &r->peer.node);
	assert_int_equal(r->rc.n_work, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_discovery_ends_in_an_offer),
		T(an_unanswered_request_is_repeated_after_500_1000_2000_ms),
		T(a_lost_answer_and_ping_are_repeated),
		T(a_ping_of_the_peer_is_answered_by_one_of_ours_up_to_10),
		T(a_path_in_use_gets_no_second_handshake_but_the_peer_is_told),
		T(invitations_in_vain_come_again_as_newer_ones),
		T(a_newer_invitation_to_the_same_endpoint_binds_anew),
		T(the_same_endpoint_by_call_me_maybe_via_is_dropped),
		T(bad_responses_are_counted_and_ignored),
		T(bad_challenges_are_counted_and_ignored),
		T(a_bind_never_goes_to_a_forbidden_address),
		T(one_peer_causes_at_most_8_handshakes),
		T(each_step_is_told_for_why_not_by_relay),
		T(the_own_server_is_asked_inside_the_process),
		T(the_peer_is_not_asked_to_relay_to_itself),
		T(the_kill_switch_refuses_new_work),
		T(a_removed_peer_takes_its_work_along),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
