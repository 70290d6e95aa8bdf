/* SPDX-License-Identifier: MIT */
/* relay/relayserver: the run of the upstream server byte for byte, then its life, then one test per row of
 * the relay's budgets (RELIABILITY 5). */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "relay/relaybind.h"
#include "relay/relayserver.h"
#include "tests/unit/testing.h"
#include "wire/disco.h"
#include "wire/geneve.h"

/* An environment that hands out scripted bytes while there are any. */
struct script {
	struct test_env seeded;
	struct env env;
	uint8_t bytes[256];
	size_t at, n;
};

static void script_fill(void *ctx, void *dst, size_t size)
{
	struct script *s = ctx;
	uint8_t *p = dst;

	for (size_t i = 0; i < size; i++)
		p[i] = s->at < s->n ? s->bytes[s->at++] : (uint8_t)test_random(&s->seeded);
}

static int64_t script_wall(void *ctx)
{
	return ((struct script *)ctx)->seeded.wall_ns;
}

static void script_init(struct script *s, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	test_env_init(&s->seeded, seed);
	s->env = (struct env){ .fill = script_fill, .wall_ns = script_wall, .ctx = s };
}

static void script_push_hex(struct script *s, const char *hex)
{
	size_t size = strlen(hex) / 2;

	assert_true(s->n + size <= sizeof(s->bytes));
	test_unhex(s->bytes + s->n, size, hex);
	s->n += size;
}

static struct ep ep_of(const char *text)
{
	struct ep ep = { 0 };

	if (ep_parse(&ep, text, strlen(text)) != 0)
		fail_msg("bad endpoint %s", text);
	return ep;
}

static struct mono at_ms(int64_t ms)
{
	return (struct mono){ (1000000 + ms) * NS_PER_MS };
}

/* Takes what is due: at most one datagram (into '*sent', to.port 0 if none) and any table entries. */
static void drain(struct relayserver *s, struct mono now, struct relayserver_out *sent)
{
	struct relayserver_out out;
	int n = 0;

	memset(sent, 0, sizeof(*sent));
	while (relayserver_poll(s, now, &out)) {
		if (out.kind != RELAYSERVER_SEND)
			continue;
		*sent = out;
		n++;
	}
	assert_true(n <= 1);
}

static void start(struct relayserver *s, const struct env *env, const struct relayserver_cfg *cfg, struct mono now)
{
	struct ep addrs[] = { ep_of("198.51.100.10:40000"), ep_of("[2001:db8:ffff::10]:40000") };
	struct relayserver_out out;

	assert_int_equal(relayserver_init(s, cfg, env), 0);
	relayserver_set(s, now, true, 40000);
	assert_true(relayserver_poll(s, now, &out));
	assert_int_equal(out.kind, RELAYSERVER_SOCKETS);
	assert_true(out.is_on);
	assert_int_equal(out.port, 40000);
	assert_int_equal(relayserver_bound(s, now, 0, 40000, 40000), 0);
	relayserver_set_addrs(s, RELAYSERVER_STATIC, addrs, ARRAY_LEN(addrs));
	assert_false(relayserver_poll(s, now, &out));
}

/* --- the upstream run --- */

static void relayserver_computes_upstream_macs(void **state)
{
	cJSON *all = test_vectors("geneve.json");
	const cJSON *v;
	int seen = 0;

	(void)state;
	cJSON_ArrayForEach(v, test_get(test_get(all, "relay_server"), "vectors")) {
		struct disco_bind bind = { 0 };
		uint8_t secret[32], mac[32], want[32];
		struct ep from;

		if (strcmp(test_str(v, "kind"), "bind-challenge-mac") != 0)
			continue;
		seen++;
		bind.vni = (uint32_t)test_get(v, "vni")->valuedouble;
		bind.generation = (uint32_t)test_get(v, "generation")->valuedouble;
		test_unhex(bind.remote.b, KEY_SIZE, test_str(v, "remote_key"));
		test_unhex(secret, 32, test_str(v, "mac_secret"));
		test_unhex(want, 32, test_str(v, "mac"));
		from = ep_of(test_str(v, "src"));
		relaybind_mac(mac, secret, &bind, &from);
		assert_memory_equal(mac, want, 32);
	}
	assert_int_equal(seen, 3);
	cJSON_Delete(all);
}

static void step(struct relayserver *s, struct script *env, const cJSON *v)
{
	const cJSON *nonce = cJSON_GetObjectItem(v, "server_nonce_start");
	const cJSON *previous = cJSON_GetObjectItem(v, "previous_mac_secret");
	const cJSON *want = cJSON_GetObjectItem(v, "packet_out");
	struct ep from = ep_of(test_str(v, "from"));
	struct relayserver_out sent;
	uint8_t *in, *out;
	size_t in_size, out_size;
	unsigned first;

	if (previous) {
		test_unhex(s->secret[1], 32, previous->valuestring);
		s->has_secret[1] = true;
	}
	if (nonce) {
		first = (unsigned)strtoul(nonce->valuestring, NULL, 16);
		for (unsigned i = 0; i < DISCO_NONCE_SIZE; i++)
			env->bytes[env->n++] = (uint8_t)(first + i);
	}
	in = test_unhex_dup(test_str(v, "packet_in"), &in_size);
	relayserver_input(s, at_ms(1000), &from, in, in_size);
	drain(s, at_ms(1000), &sent);
	if (cJSON_IsString(want)) {
		struct ep to = ep_of(test_str(v, "to"));

		out = test_unhex_dup(want->valuestring, &out_size);
		assert_int_equal(sent.size, out_size);
		assert_memory_equal(sent.data, out, out_size);
		assert_true(ep_eq(&sent.to, &to));
		free(out);
	} else {
		assert_int_equal(sent.size, 0);
	}
	assert_int_equal(env->at, env->n);
	env->at = env->n = 0;
	free(in);
}

static void check_side(const struct relayserver_side *side, const cJSON *v)
{
	char text[EP_TEXT_MAX];

	assert_string_equal(ep_write(text, &side->bound), test_str(v, "Endpoint"));
	assert_int_equal(side->rx_pkts, test_get(v, "PacketsTx")->valuedouble);
	assert_int_equal(side->rx_bytes, test_get(v, "BytesTx")->valuedouble);
}

static void relayserver_repeats_the_upstream_run(void **state)
{
	cJSON *all = test_vectors("geneve.json"), *keys = test_vectors("disco.json");
	const cJSON *run = test_get(all, "relay_server"), *v;
	const struct relayserver_session *e;
	struct relayserver_endpoint ep, again;
	struct node_key node = { { 1 } };
	struct disco_key alice, bob;
	struct relayserver s;
	struct script env;
	int steps = 0;

	(void)state;
	script_init(&env, 1);
	assert_int_equal(relayserver_init(&s, &(struct relayserver_cfg){ 0 }, &env.env), 0);
	relayserver_set(&s, at_ms(0), true, 40000);
	script_push_hex(&env, test_str(test_get(test_get(keys, "keys"), "relay"), "disco_private"));
	assert_int_equal(relayserver_bound(&s, at_ms(0), 0, 40000, 40000), 0);
	test_unhex(alice.b, KEY_SIZE, test_str(run, "alice_public"));
	test_unhex(bob.b, KEY_SIZE, test_str(run, "bob_public"));

	/* alloc-not-ready, alloc-server-disco-as-client, alloc-ok, alloc-idempotent */
	assert_int_equal(relayserver_allocate(&s, at_ms(0), &node, &bob, &alice, &ep), -EAGAIN);
	relayserver_set_addrs(&s, RELAYSERVER_STATIC,
			      (struct ep[]){ ep_of("198.51.100.10:40000"),
					     ep_of("[2001:db8:ffff::10]:40000") }, 2);
	assert_int_equal(relayserver_allocate(&s, at_ms(0), &node, &s.pub, &alice, &ep), -EPROTO);
	assert_int_equal(relayserver_allocate(&s, at_ms(0), &node, &bob, &alice, &ep), 0);
	assert_memory_equal(ep.clients[0].b, alice.b, KEY_SIZE);
	assert_memory_equal(ep.clients[1].b, bob.b, KEY_SIZE);
	assert_int_equal(ep.vni, 1);
	assert_int_equal(ep.lamport_id, 1);
	assert_int_equal(ep.bind_life_s, 30);
	assert_int_equal(ep.steady_life_s, 300);
	assert_int_equal(ep.n_addrs, 2);
	assert_int_equal(relayserver_allocate(&s, at_ms(0), &node, &alice, &bob, &again), 0);
	assert_int_equal(again.vni, 1);
	assert_int_equal(again.lamport_id, 1);

	test_unhex(s.secret[0], 32, test_str(run, "mac_secret_current"));
	s.has_secret[0] = true;
	s.secret_at = at_ms(0);
	env.at = env.n = 0;
	cJSON_ArrayForEach(v, test_get(run, "vectors")) {
		if (strcmp(test_str(v, "kind"), "relay-server-step") == 0) {
			steps++;
			step(&s, &env, v);
		} else if (strcmp(test_str(v, "kind"), "status") == 0) {
			const cJSON *want = cJSON_GetArrayItem(test_get(v, "sessions"), 0);

			e = relayserver_next(&s, 0);
			assert_non_null(e);
			assert_int_equal(e->vni, test_get(want, "VNI")->valuedouble);
			check_side(&e->side[0], test_get(want, "Client1"));
			check_side(&e->side[1], test_get(want, "Client2"));
			assert_null(relayserver_next(&s, e->vni));
		}
	}
	assert_int_equal(steps, 24);
	relayserver_wipe(&s);
	cJSON_Delete(all);
	cJSON_Delete(keys);
}

/* --- clients for the other tests --- */

struct client {
	struct disco_priv priv;
	struct disco_key pub;
	struct ep ep;
};

static void client_init(struct client *c, struct test_env *env, const char *ep)
{
	env_fill(&env->env, c->priv.b, KEY_SIZE);
	key_clamp(c->priv.b);
	key_public(c->pub.b, c->priv.b);
	c->ep = ep_of(ep);
}

static size_t bind_packet(uint8_t out[static 256], const struct client *c, const struct relayserver *s,
			  enum disco_type type, const struct disco_bind *bind)
{
	struct disco_msg msg = { .type = type, .bind = *bind };
	static const uint8_t nonce[DISCO_NONCE_SIZE] = { 9 };
	struct disco_box box;
	int size;

	assert_int_equal(disco_box_init(&box, &c->priv, &c->pub, &s->pub), 0);
	geneve_write(out, GENEVE_PROTO_DISCO, bind->vni, true);
	size = disco_seal(&box, nonce, &msg, out + GENEVE_SIZE, 256 - GENEVE_SIZE);
	assert_true(size > 0);
	return (size_t)size + GENEVE_SIZE;
}

/* Sends a Bind; fills '*answer' from the Challenge. Returns the Challenge's size, 0 if there was none. */
static size_t send_bind(struct relayserver *s, struct mono now, const struct client *c,
			const struct client *other, uint32_t vni, uint32_t generation, struct disco_bind *answer)
{
	struct disco_bind bind = { .vni = vni, .generation = generation, .remote = other->pub };
	struct relayserver_out sent;
	uint8_t pkt[256], copy[256];
	size_t size = bind_packet(pkt, c, s, DISCO_BIND, &bind);
	struct disco_box box;
	struct disco_msg msg;

	relayserver_input(s, now, &c->ep, pkt, size);
	drain(s, now, &sent);
	if (sent.size == 0)
		return 0;
	assert_true(ep_eq(&sent.to, &c->ep));
	assert_true(sent.size <= size);
	memcpy(copy, sent.data, sent.size);
	assert_int_equal(disco_box_init(&box, &c->priv, &c->pub, &s->pub), 0);
	assert_int_equal(disco_open(&box, copy + GENEVE_SIZE, sent.size - GENEVE_SIZE, &msg), 0);
	assert_int_equal(msg.type, DISCO_BIND_CHALLENGE);
	*answer = msg.bind;
	return sent.size;
}

static void send_answer(struct relayserver *s, struct mono now, const struct client *c,
			const struct disco_bind *answer)
{
	uint8_t pkt[256];
	size_t size = bind_packet(pkt, c, s, DISCO_BIND_ANSWER, answer);

	relayserver_input(s, now, &c->ep, pkt, size);
}

static void bind_client(struct relayserver *s, struct mono now, const struct client *c, const struct client *other,
			uint32_t vni)
{
	struct disco_bind answer;

	assert_true(send_bind(s, now, c, other, vni, 1, &answer) > 0);
	send_answer(s, now, c, &answer);
}

static uint32_t allocate(struct relayserver *s, struct mono now, const struct client *a, const struct client *b)
{
	struct node_key node = { { 0xaa } };
	struct relayserver_endpoint ep;

	memcpy(node.b, a->pub.b, KEY_SIZE);
	assert_int_equal(relayserver_allocate(s, now, &node, &a->pub, &b->pub, &ep), 0);
	return ep.vni;
}

/* Sends data and tells where it came out; unset = dropped. */
static struct ep data(struct relayserver *s, struct mono now, const struct ep *from, uint32_t vni)
{
	uint8_t pkt[GENEVE_SIZE + 32] = { 0 };
	struct relayserver_out sent;

	geneve_write(pkt, GENEVE_PROTO_WIREGUARD, vni, false);
	relayserver_input(s, now, from, pkt, sizeof(pkt));
	drain(s, now, &sent);
	if (sent.size)
		assert_memory_equal(sent.data, pkt, sizeof(pkt));
	return sent.to;
}

/* --- life --- */

static void relayserver_publishes_entry_when_both_are_bound(void **state)
{
	struct relayserver_out out;
	struct relayserver s;
	struct client a, b;
	struct test_env env;
	uint32_t vni;
	bool a_first;

	(void)state;
	test_env_init(&env, 3);
	start(&s, &env.env, &(struct relayserver_cfg){ 0 }, at_ms(0));
	client_init(&a, &env, "203.0.113.7:41641");
	client_init(&b, &env, "[2001:db8::b]:41641");
	vni = allocate(&s, at_ms(0), &a, &b);
	bind_client(&s, at_ms(1), &a, &b, vni);
	assert_false(relayserver_poll(&s, at_ms(1), &out));
	bind_client(&s, at_ms(2), &b, &a, vni);
	assert_true(relayserver_poll(&s, at_ms(2), &out));
	assert_int_equal(out.kind, RELAYSERVER_ENTRY_SET);
	assert_int_equal(out.vni, vni);
	a_first = memcmp(a.pub.b, b.pub.b, KEY_SIZE) < 0;
	assert_true(ep_eq(&out.a, a_first ? &a.ep : &b.ep));
	assert_true(ep_eq(&out.b, a_first ? &b.ep : &a.ep));
	assert_false(relayserver_poll(&s, at_ms(2), &out));

	/* A rebind from another port publishes the entry again. */
	a.ep.port = 50000;
	bind_client(&s, at_ms(3), &a, &b, vni);
	assert_true(relayserver_poll(&s, at_ms(3), &out));
	assert_int_equal(out.kind, RELAYSERVER_ENTRY_SET);
	assert_int_equal((a_first ? out.a : out.b).port, 50000);

	/* Switching off takes the entry back, then the sockets. */
	relayserver_set(&s, at_ms(4), false, 40000);
	assert_true(relayserver_poll(&s, at_ms(4), &out));
	assert_int_equal(out.kind, RELAYSERVER_ENTRY_DEL);
	assert_int_equal(out.vni, vni);
	assert_true(relayserver_poll(&s, at_ms(4), &out));
	assert_int_equal(out.kind, RELAYSERVER_SOCKETS);
	assert_false(out.is_on);
	assert_false(relayserver_poll(&s, at_ms(4), &out));
	assert_int_equal(s.n_live, 0);
	relayserver_wipe(&s);
}

static void relayserver_restart_makes_a_new_key(void **state)
{
	struct disco_key before;
	struct relayserver s;
	struct client a, b;
	struct test_env env;
	struct relayserver_out out;

	(void)state;
	test_env_init(&env, 4);
	start(&s, &env.env, &(struct relayserver_cfg){ 0 }, at_ms(0));
	client_init(&a, &env, "203.0.113.7:41641");
	client_init(&b, &env, "203.0.113.8:41641");
	assert_int_equal(allocate(&s, at_ms(0), &a, &b), 1);
	before = s.pub;
	relayserver_set(&s, at_ms(1), true, 40001);
	assert_int_equal(s.state, RELAYSERVER_BINDING);
	assert_true(relayserver_poll(&s, at_ms(1), &out));
	assert_int_equal(out.port, 40001);
	assert_int_equal(relayserver_bound(&s, at_ms(1), 0, 40001, 0), 0);
	assert_false(disco_key_eq(&before, &s.pub));
	assert_int_equal(allocate(&s, at_ms(1), &a, &b), 1);
	relayserver_wipe(&s);
}

static void relayserver_retries_a_failed_port_on_allocation(void **state)
{
	struct node_key node = { { 1 } };
	struct relayserver_endpoint ep;
	struct relayserver_out out;
	struct relayserver s;
	struct client a, b;
	struct test_env env;

	(void)state;
	test_env_init(&env, 5);
	client_init(&a, &env, "203.0.113.7:41641");
	client_init(&b, &env, "203.0.113.8:41641");
	assert_int_equal(relayserver_init(&s, &(struct relayserver_cfg){ 0 }, &env.env), 0);
	relayserver_set(&s, at_ms(0), true, 80);
	assert_true(relayserver_poll(&s, at_ms(0), &out));
	assert_int_equal(relayserver_bound(&s, at_ms(0), -EADDRINUSE, 0, 0), 0);
	assert_int_equal(s.state, RELAYSERVER_FAILED);
	assert_int_equal(s.err, -EADDRINUSE);
	assert_int_equal(relayserver_allocate(&s, at_ms(1), &node, &a.pub, &b.pub, &ep), -EAGAIN);
	assert_true(relayserver_poll(&s, at_ms(1), &out));
	assert_int_equal(out.kind, RELAYSERVER_SOCKETS);
	assert_true(out.is_on);
	relayserver_wipe(&s);
}

static void relayserver_lists_endpoints_with_origins(void **state)
{
	struct ep local[] = { ep_of("192.0.2.5:0"), ep_of("127.0.0.1:0"), ep_of("[fe80::1]:0"),
			      ep_of("100.64.0.1:0"), ep_of("[2001:db8::5]:0") };
	struct ep stun[] = { ep_of("203.0.113.9:55555"), ep_of("192.0.2.5:40000") };
	enum relayserver_origin origins[RELAYSERVER_ADDRS_MAX];
	struct ep eps[RELAYSERVER_ADDRS_MAX];
	struct relayserver_out out;
	struct relayserver s;
	struct test_env env;

	(void)state;
	test_env_init(&env, 6);
	assert_int_equal(relayserver_init(&s, &(struct relayserver_cfg){ 0 }, &env.env), 0);
	relayserver_set_addrs(&s, RELAYSERVER_LOCAL, local, ARRAY_LEN(local));
	relayserver_set_addrs(&s, RELAYSERVER_STUN, stun, ARRAY_LEN(stun));
	assert_int_equal(relayserver_addrs(&s, eps, origins), 0); /* off */
	relayserver_set(&s, at_ms(0), true, 0);
	assert_true(relayserver_poll(&s, at_ms(0), &out));
	assert_int_equal(relayserver_bound(&s, at_ms(0), 0, 40000, 0), 0);
	/* No IPv6 socket: no IPv6 endpoint. What STUN saw and is known already counts once. */
	assert_int_equal(relayserver_addrs(&s, eps, origins), 2);
	assert_true(ep_eq(&eps[0], &stun[1]));
	assert_int_equal(origins[0], RELAYSERVER_LOCAL);
	assert_true(ep_eq(&eps[1], &stun[0]));
	assert_int_equal(origins[1], RELAYSERVER_STUN);
	relayserver_wipe(&s);
}

static void relayserver_expires_sessions(void **state)
{
	struct relayserver_out out;
	struct relayserver s;
	struct client a, b, c;
	struct test_env env;
	uint32_t bound, unbound;

	(void)state;
	test_env_init(&env, 7);
	start(&s, &env.env, &(struct relayserver_cfg){ 0 }, at_ms(0));
	client_init(&a, &env, "203.0.113.7:41641");
	client_init(&b, &env, "203.0.113.8:41641");
	client_init(&c, &env, "203.0.113.9:41641");
	bound = allocate(&s, at_ms(0), &a, &b);
	unbound = allocate(&s, at_ms(0), &a, &c);
	bind_client(&s, at_ms(10), &a, &b, bound);
	bind_client(&s, at_ms(10), &b, &a, bound);
	assert_true(relayserver_poll(&s, at_ms(10), &out));

	relayserver_tick(&s, at_ms(60001)); /* unbound: gone after 30 to 60 s */
	assert_int_equal(s.n_live, 1);
	assert_null(map_get(&s.by_vni, &unbound));
	assert_false(relayserver_poll(&s, at_ms(60001), &out)); /* no worker knew it */

	/* One side alone does not keep the session; the workers' report counts as much as our own. */
	for (int64_t ms = 60000; ms < 300000; ms += 30000) {
		relayserver_used(&s, bound, 0, at_ms(ms), 1, 100);
		relayserver_tick(&s, at_ms(ms + 5000));
	}
	assert_int_equal(s.n_live, 1);
	relayserver_used(&s, bound, 1, at_ms(299000), 1, 100);
	relayserver_tick(&s, at_ms(331000));
	relayserver_used(&s, bound, 0, at_ms(590000), 1, 100);
	relayserver_tick(&s, at_ms(598000));
	assert_int_equal(s.n_live, 1);
	relayserver_tick(&s, at_ms(630000));
	assert_int_equal(s.n_live, 0);
	assert_true(relayserver_poll(&s, at_ms(630000), &out));
	assert_int_equal(out.kind, RELAYSERVER_ENTRY_DEL);
	assert_int_equal(out.vni, bound);
	relayserver_wipe(&s);
}

/* --- RELIABILITY 5, "Relay allocation flood" --- */

static void relay_budget_flood_leaves_other_nodes_alone(void **state)
{
	struct node_key hostile = { { 0xbb } }, calm = { { 0xcc } };
	struct relayserver_endpoint ep;
	struct disco_key k[2] = { 0 };
	struct relayserver s;
	struct test_env env;
	int hostile_ok = 0, calm_ok = 0;

	(void)state;
	test_env_init(&env, 10);
	start(&s, &env.env, &(struct relayserver_cfg){ 0 }, at_ms(0));
	/* 10 s: 1000 requests a second from one node, 5 a second from another, all for new pairs. */
	for (int ms = 0; ms < 10000; ms++) {
		env_fill(&env.env, k, sizeof(k));
		hostile_ok += relayserver_allocate(&s, at_ms(ms), &hostile, &k[0], &k[1], &ep) == 0;
		if (ms % 200 != 0)
			continue;
		env_fill(&env.env, k, sizeof(k));
		calm_ok += relayserver_allocate(&s, at_ms(ms), &calm, &k[0], &k[1], &ep) == 0;
	}
	assert_int_equal(calm_ok, 50);
	assert_in_range(hostile_ok, RELAYSERVER_ALLOC_BURST, RELAYSERVER_LIVE_PER_NODE);
	assert_true(s.n.refusals[RELAYSERVER_REFUSED_RATE] > 9000);
	relayserver_wipe(&s);
}

static void relay_budget_memory_stays_below_8_mib(void **state)
{
	size_t table = RELAYSERVER_LIVE_MAX * (sizeof(struct relayserver_session) + sizeof(uint32_t));
	/* Both maps: power of two above 4/3 of the entries at most, pointer and key per slot. */
	size_t maps = 2 * RELAYSERVER_LIVE_MAX * (2 * sizeof(void *) + 8 + 64);

	(void)state;
	assert_true(table + maps < 8u << 20);
}

static void relay_budget_per_node_rate_and_live(void **state)
{
	struct node_key node = { { 1 } };
	struct relayserver_endpoint ep;
	struct disco_key k[2] = { 0 };
	struct relayserver s;
	struct test_env env;
	int ok = 0, ms;

	(void)state;
	test_env_init(&env, 11);
	start(&s, &env.env, &(struct relayserver_cfg){ 0 }, at_ms(0));
	for (int i = 0; i < 100; i++) {
		env_fill(&env.env, k, sizeof(k));
		ok += relayserver_allocate(&s, at_ms(0), &node, &k[0], &k[1], &ep) == 0;
	}
	assert_int_equal(ok, RELAYSERVER_ALLOC_BURST);
	for (ms = 100; ok < RELAYSERVER_LIVE_PER_NODE; ms += 100, ok++) {
		env_fill(&env.env, k, sizeof(k));
		assert_int_equal(relayserver_allocate(&s, at_ms(ms), &node, &k[0], &k[1], &ep), 0);
	}
	env_fill(&env.env, &k[1], sizeof(k[1]));
	assert_int_equal(relayserver_allocate(&s, at_ms(ms + 1000), &node, &k[0], &k[1], &ep), -ENOBUFS);
	assert_int_equal(s.n.refusals[RELAYSERVER_REFUSED_NODE_LIMIT], 1);
	assert_int_equal(s.n_live, RELAYSERVER_LIVE_PER_NODE);
	/* A live pair is answered even then. */
	assert_int_equal(relayserver_allocate(&s, at_ms(ms + 2000), &node, &ep.clients[0], &ep.clients[1], &ep),
			 0);
	relayserver_wipe(&s);
}

static void relay_budget_full_table_evicts_unbound_only(void **state)
{
	struct relayserver s;
	struct client a, b, c[8];
	struct test_env env;
	uint32_t bound, oldest;
	struct relayserver_out sent;
	struct relayserver_endpoint ep;

	(void)state;
	test_env_init(&env, 12);
	start(&s, &env.env, &(struct relayserver_cfg){ .live_max = 4 }, at_ms(0));
	client_init(&a, &env, "203.0.113.7:41641");
	client_init(&b, &env, "203.0.113.8:41641");
	for (size_t i = 0; i < ARRAY_LEN(c); i++)
		client_init(&c[i], &env, "203.0.113.9:41641");
	bound = allocate(&s, at_ms(0), &a, &b);
	bind_client(&s, at_ms(0), &a, &b, bound);
	bind_client(&s, at_ms(0), &b, &a, bound);
	drain(&s, at_ms(0), &sent);
	oldest = allocate(&s, at_ms(1), &c[0], &a);
	(void)allocate(&s, at_ms(2), &c[1], &a);
	(void)allocate(&s, at_ms(3), &c[2], &a);
	assert_int_equal(allocate(&s, at_ms(4), &c[0], &a), oldest); /* used again: no longer the oldest */
	(void)allocate(&s, at_ms(5), &c[3], &a);
	assert_int_equal(s.n_live, 4);
	assert_int_equal(s.n.evicted, 1);
	assert_non_null(map_get(&s.by_vni, &oldest));
	assert_non_null(map_get(&s.by_vni, &bound));
	/* All bound: refused politely, nobody is thrown out. */
	relayserver_wipe(&s);
	start(&s, &env.env, &(struct relayserver_cfg){ .live_max = 1 }, at_ms(0));
	bound = allocate(&s, at_ms(0), &a, &b);
	bind_client(&s, at_ms(0), &a, &b, bound);
	bind_client(&s, at_ms(0), &b, &a, bound);
	assert_int_equal(relayserver_allocate(&s, at_ms(1), &(struct node_key){ { 1 } }, &c[0].pub, &c[1].pub, &ep),
			 -ENOBUFS);
	assert_int_equal(s.n.refusals[RELAYSERVER_REFUSED_FULL], 1);
	assert_true(ep_is_set(&(struct ep[]){ data(&s, at_ms(2), &a.ep, bound) }[0]));
	relayserver_wipe(&s);
}

/* --- RELIABILITY 5, "Relay reflection" --- */

static void relay_budget_spoofed_bind_gives_one_challenge_at_most(void **state)
{
	struct disco_bind bind, answer;
	struct relayserver_out sent;
	struct relayserver s;
	struct client a, b;
	struct test_env env;
	size_t in = 0, out = 0;
	uint8_t pkt[256];
	uint32_t vni;

	(void)state;
	test_env_init(&env, 13);
	start(&s, &env.env, &(struct relayserver_cfg){ 0 }, at_ms(0));
	client_init(&a, &env, "203.0.113.7:41641"); /* knows its key, lies about its address */
	client_init(&b, &env, "203.0.113.8:41641");
	vni = allocate(&s, at_ms(0), &a, &b);
	for (uint32_t i = 1; i <= 100; i++) {
		bind = (struct disco_bind){ .vni = vni, .generation = i, .remote = b.pub };
		in += bind_packet(pkt, &a, &s, DISCO_BIND, &bind);
		out += send_bind(&s, at_ms(i), &a, &b, vni, i, &answer);
	}
	assert_true(out <= in);
	assert_int_equal(s.n.challenges, 100);
	/* Without the Challenge there is no binding, and so no data to the victim. */
	memset(answer.challenge, 0x55, sizeof(answer.challenge));
	send_answer(&s, at_ms(200), &a, &answer);
	drain(&s, at_ms(200), &sent);
	assert_int_equal(sent.size, 0);
	assert_int_equal(s.n.drops[RELAYSERVER_DROP_MAC], 1);
	assert_int_equal(s.n.binds, 0);
	relayserver_wipe(&s);
}

static void relay_budget_challenge_secret_rotates(void **state)
{
	struct disco_bind early, mid, late;
	struct relayserver s;
	struct client a, b;
	struct test_env env;
	uint8_t first[32];
	uint32_t vni;

	(void)state;
	test_env_init(&env, 14);
	start(&s, &env.env, &(struct relayserver_cfg){ 0 }, at_ms(0));
	client_init(&a, &env, "203.0.113.7:41641");
	client_init(&b, &env, "203.0.113.8:41641");
	vni = allocate(&s, at_ms(0), &a, &b);
	assert_true(send_bind(&s, at_ms(0), &a, &b, vni, 5, &early) > 0);
	memcpy(first, s.secret[0], sizeof(first));
	assert_true(send_bind(&s, at_ms(119000), &a, &b, vni, 5, &mid) > 0);
	assert_memory_equal(s.secret[0], first, sizeof(first));
	/* At 2 minutes the first secret becomes the previous one and still counts. */
	assert_true(send_bind(&s, at_ms(120000), &a, &b, vni, 5, &late) > 0);
	assert_memory_equal(s.secret[1], first, sizeof(first));
	send_answer(&s, at_ms(120001), &a, &early);
	assert_int_equal(s.n.binds, 1);
	/* Two rotations later it does not. */
	assert_true(send_bind(&s, at_ms(240000), &a, &b, vni, 5, &late) > 0);
	send_answer(&s, at_ms(240001), &a, &early);
	assert_int_equal(s.n.binds, 1);
	assert_int_equal(s.n.drops[RELAYSERVER_DROP_MAC], 1);
	send_answer(&s, at_ms(240002), &a, &late);
	assert_int_equal(s.n.binds, 2);
	relayserver_wipe(&s);
}

static void relay_budget_data_only_between_bound_addresses(void **state)
{
	struct relayserver s;
	struct client a, b;
	struct test_env env;
	struct ep to, stranger = ep_of("192.0.2.99:9"), near;
	uint32_t vni;

	(void)state;
	test_env_init(&env, 15);
	start(&s, &env.env, &(struct relayserver_cfg){ 0 }, at_ms(0));
	client_init(&a, &env, "203.0.113.7:41641");
	client_init(&b, &env, "203.0.113.8:41641");
	vni = allocate(&s, at_ms(0), &a, &b);
	bind_client(&s, at_ms(1), &a, &b, vni);
	to = data(&s, at_ms(2), &a.ep, vni);
	assert_false(ep_is_set(&to)); /* the other side is not bound */
	bind_client(&s, at_ms(3), &b, &a, vni);
	to = data(&s, at_ms(4), &a.ep, vni);
	assert_true(ep_eq(&to, &b.ep));
	to = data(&s, at_ms(4), &b.ep, vni);
	assert_true(ep_eq(&to, &a.ep));
	to = data(&s, at_ms(4), &stranger, vni);
	assert_false(ep_is_set(&to));
	near = a.ep;
	near.port++;
	to = data(&s, at_ms(4), &near, vni);
	assert_false(ep_is_set(&to));
	to = data(&s, at_ms(4), &a.ep, vni + 1);
	assert_false(ep_is_set(&to));
	assert_int_equal(s.n.drops[RELAYSERVER_DROP_NOT_BOUND], 1);
	assert_int_equal(s.n.drops[RELAYSERVER_DROP_STRANGER], 2);
	assert_int_equal(s.n.drops[RELAYSERVER_DROP_UNKNOWN_VNI], 1);
	/* What is forwarded here and what workers forward, for totals. */
	assert_int_equal(s.n.own_pkts[0][0], 2);
	relayserver_used(&s, vni, 0, at_ms(5), 10, 1000);
	assert_int_equal(s.n.own_pkts[0][0], 2);
	assert_int_equal(s.n.fwd_pkts[0][0], 12);
	assert_int_equal(s.n.fwd_bytes[0][0], s.n.own_bytes[0][0] + 1000);
	relayserver_wipe(&s);
}

static void relay_budget_forgeries_are_slowed(void **state)
{
	struct client a, b, evil;
	struct disco_bind answer;
	struct relayserver s;
	struct test_env env;
	uint8_t pkt[256];
	uint32_t vni;
	size_t size;

	(void)state;
	test_env_init(&env, 16);
	start(&s, &env.env, &(struct relayserver_cfg){ 0 }, at_ms(0));
	client_init(&a, &env, "203.0.113.7:41641");
	client_init(&b, &env, "203.0.113.8:41641");
	client_init(&evil, &env, "192.0.2.66:6");
	vni = allocate(&s, at_ms(0), &a, &b);
	/* The key of 'a' is visible on the wire; the box is not right. */
	size = bind_packet(pkt, &evil, &s, DISCO_BIND, &(struct disco_bind){ .vni = vni, .generation = 1 });
	memcpy(pkt + GENEVE_SIZE + DISCO_MAGIC_SIZE, a.pub.b, KEY_SIZE);
	for (int i = 0; i < 1000; i++)
		relayserver_input(&s, at_ms(i), &evil.ep, pkt, size);
	assert_in_range(s.n.drops[RELAYSERVER_DROP_FORGED], 8, 16);
	assert_int_equal(s.n.drops[RELAYSERVER_DROP_FORGED] + s.n.drops[RELAYSERVER_DROP_RATE], 1000);
	/* The real owner of the key, at another address, is not held up. */
	assert_true(send_bind(&s, at_ms(1000), &a, &b, vni, 1, &answer) > 0);
	relayserver_wipe(&s);
}

/* --- RELIABILITY 5, "Relay bandwidth" --- */

/* Two sessions offer so many bytes a second for 10 s; what gets through, in bytes a second. */
static void offer(const struct relayserver_cfg *cfg, const uint64_t rate[2], uint64_t got[2])
{
	static uint8_t pkt[1240];
	struct relayserver_out sent;
	struct client a, b[2];
	struct relayserver s;
	struct test_env env;
	uint64_t due[2] = { 0 };
	uint32_t vni[2];

	test_env_init(&env, 18);
	start(&s, &env.env, cfg, at_ms(0));
	client_init(&a, &env, "203.0.113.7:41641");
	for (unsigned i = 0; i < 2; i++) {
		client_init(&b[i], &env, i ? "203.0.113.9:41641" : "203.0.113.8:41641");
		vni[i] = allocate(&s, at_ms(0), &a, &b[i]);
		bind_client(&s, at_ms(0), &a, &b[i], vni[i]);
		bind_client(&s, at_ms(0), &b[i], &a, vni[i]);
		got[i] = 0;
	}
	for (int64_t us = 0; us < 10 * 1000 * 1000; us += 50) {
		struct mono now = mono_add_ns(at_ms(100), us * NS_PER_US);

		for (unsigned i = 0; i < 2; i++) {
			for (due[i] += rate[i] / 20000; due[i] >= sizeof(pkt); due[i] -= sizeof(pkt)) {
				geneve_write(pkt, GENEVE_PROTO_WIREGUARD, vni[i], false);
				relayserver_input(&s, now, &b[i].ep, pkt, sizeof(pkt));
				drain(&s, now, &sent);
				got[i] += sent.size / 10;
			}
		}
	}
	relayserver_wipe(&s);
}

static void relay_budget_flooding_session_leaves_the_other_its_share(void **state)
{
	const uint64_t link = 4000000;
	struct relayserver_cfg cfg = { .bytes_per_s = link };
	uint64_t got[2];

	(void)state;
	offer(&cfg, (uint64_t[]){ 5 * link, link / 2 }, got);
	assert_true(got[1] >= link * 45 / 100);
	assert_true(got[0] + got[1] >= link * 95 / 100); /* nothing of the link is wasted ... */
	assert_true(got[0] + got[1] <= link * 102 / 100); /* ... and nothing made up */
	/* Alone, one has all of it. */
	offer(&cfg, (uint64_t[]){ 5 * link, 0 }, got);
	assert_true(got[0] >= link * 95 / 100);
	/* What one leaves, the other may take. */
	offer(&cfg, (uint64_t[]){ 5 * link, link / 10 }, got);
	assert_true(got[1] >= link / 10 * 95 / 100);
	assert_true(got[0] >= link * 85 / 100);
}

static void relay_budget_session_limit_holds_for_each(void **state)
{
	struct relayserver_cfg cfg = { .session_bytes_per_s = 1000000 };
	uint64_t got[2];

	(void)state;
	offer(&cfg, (uint64_t[]){ 3000000, 500000 }, got);
	assert_in_range(got[0], 950000, 1050000);
	assert_in_range(got[1], 490000, 510000);
	/* Off by default. */
	offer(&(struct relayserver_cfg){ 0 }, (uint64_t[]){ 3000000, 500000 }, got);
	assert_true(got[0] > 2900000);
}

/* --- RELIABILITY 5, "Relay as scanner" --- */

static void relay_budget_never_forwards_to_forbidden_addresses(void **state)
{
	/* Among them the addresses by which coturn's loopback check was passed in 2020 and 2026. */
	static const char *const targets[] = { "0.0.0.0:80",         "[::]:80",          "[::1]:80",
					       "127.0.0.1:80",       "127.1.2.3:80",     "[::ffff:127.0.0.1]:80",
					       "[::ffff:0.0.0.0]:80", "169.254.169.254:80", "[fe80::1]:80",
					       "224.0.0.1:80",       "255.255.255.255:80", "[ff02::1]:80",
					       "198.51.100.10:3478", "198.51.100.10:40000",
					       "[2001:db8:ffff::10]:40000", "203.0.113.7:0" };
	struct ip own[] = { ip4(198, 51, 100, 10), { .family = IP_V6, .b = { 0x20, 0x01, 0x0d, 0xb8, 0xff, 0xff,
									      [15] = 0x10 } } };
	uint16_t ports[] = { 3478 };
	struct relayserver s;
	struct client a, b;
	struct test_env env;
	uint32_t vni;

	(void)state;
	test_env_init(&env, 17);
	start(&s, &env.env, &(struct relayserver_cfg){ 0 }, at_ms(0));
	relayserver_set_own(&s, own, ARRAY_LEN(own), ports, ARRAY_LEN(ports));
	client_init(&a, &env, "203.0.113.7:41641");
	client_init(&b, &env, "203.0.113.8:41641");
	vni = allocate(&s, at_ms(0), &a, &b);
	for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
		struct disco_bind answer;

		a.ep = ep_of(targets[i]);
		assert_int_equal(send_bind(&s, at_ms(1), &a, &b, vni, 1, &answer), 0);
		assert_int_equal(s.n.drops[RELAYSERVER_DROP_BAD_ADDR], i + 1);
		/* Nor with an Answer that would be right. */
		answer = (struct disco_bind){ .vni = vni, .generation = 1, .remote = b.pub };
		relaybind_mac(answer.challenge, s.secret[0], &answer, &a.ep);
		s.n.drops[RELAYSERVER_DROP_BAD_ADDR]--;
		send_answer(&s, at_ms(1), &a, &answer);
		assert_int_equal(s.n.drops[RELAYSERVER_DROP_BAD_ADDR], i + 1);
	}
	assert_int_equal(s.n.binds, 0);
	/* The node's own WireGuard socket is no forbidden listener: self-relay needs it. */
	a.ep = ep_of("198.51.100.10:41641");
	bind_client(&s, at_ms(2), &a, &b, vni);
	assert_int_equal(s.n.binds, 1);
	relayserver_wipe(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(relayserver_computes_upstream_macs),
		cmocka_unit_test(relayserver_repeats_the_upstream_run),
		cmocka_unit_test(relayserver_publishes_entry_when_both_are_bound),
		cmocka_unit_test(relayserver_restart_makes_a_new_key),
		cmocka_unit_test(relayserver_retries_a_failed_port_on_allocation),
		cmocka_unit_test(relayserver_lists_endpoints_with_origins),
		cmocka_unit_test(relayserver_expires_sessions),
		cmocka_unit_test(relay_budget_flood_leaves_other_nodes_alone),
		cmocka_unit_test(relay_budget_memory_stays_below_8_mib),
		cmocka_unit_test(relay_budget_per_node_rate_and_live),
		cmocka_unit_test(relay_budget_full_table_evicts_unbound_only),
		cmocka_unit_test(relay_budget_spoofed_bind_gives_one_challenge_at_most),
		cmocka_unit_test(relay_budget_challenge_secret_rotates),
		cmocka_unit_test(relay_budget_data_only_between_bound_addresses),
		cmocka_unit_test(relay_budget_forgeries_are_slowed),
		cmocka_unit_test(relay_budget_flooding_session_leaves_the_other_its_share),
		cmocka_unit_test(relay_budget_session_limit_holds_for_each),
		cmocka_unit_test(relay_budget_never_forwards_to_forbidden_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
