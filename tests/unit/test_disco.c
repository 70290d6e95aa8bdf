/* SPDX-License-Identifier: MIT */
/* Disco codec, TSMP, Geneve and the classifier against vectors/disco.json and vectors/geneve.json.
 */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/classify.h"
#include "wire/disco.h"
#include "wire/geneve.h"
#include "wire/tsmp.h"

struct fixture {
	cJSON *doc;
	struct disco_priv priv[3];
	struct disco_key pub[3]; /* alice, bob, relay */
};

static const char *const NAMES[3] = { "alice", "bob", "relay" };

static unsigned int who(const char *name)
{
	for (unsigned int i = 0; i < 3; i++)
		if (strcmp(name, NAMES[i]) == 0)
			return i;
	fail_msg("unknown party %s", name);
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const cJSON *keys;

	assert_non_null(f);
	f->doc = test_vectors("disco.json");
	keys = test_get(f->doc, "keys");
	for (unsigned int i = 0; i < 3; i++) {
		const cJSON *k = test_get(keys, NAMES[i]);

		test_unhex(f->priv[i].b, KEY_SIZE, test_str(k, "disco_private"));
		test_unhex(f->pub[i].b, KEY_SIZE, test_str(k, "disco_public"));
	}
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	cJSON_Delete(f->doc);
	free(f);
	return 0;
}

static struct disco_box box_of(const struct fixture *f, unsigned int self, unsigned int peer)
{
	struct disco_box box;

	assert_int_equal(disco_box_init(&box, &f->priv[self], &f->pub[self], &f->pub[peer]), 0);
	return box;
}

static void shared_keys_match_the_vectors(void **state)
{
	struct fixture *f = *state;
	const cJSON *shared = test_get(test_get(f->doc, "keys"), "shared");
	const cJSON *pair = test_get(test_get(f->doc, "keys"), "sorted_pair_alice_bob");
	static const struct {
		const char *name;
		unsigned int self, peer;
	} rows[] = { { "alice_bob", 0, 1 },
		     { "bob_alice", 1, 0 },
		     { "alice_relay", 0, 2 },
		     { "bob_relay", 1, 2 } };
	struct disco_key sorted[2];
	uint8_t want[KEY_SIZE];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct disco_box box = box_of(f, rows[i].self, rows[i].peer);

		test_unhex(want, sizeof(want), test_str(shared, rows[i].name));
		assert_memory_equal(box.shared, want, sizeof(want));
		disco_box_wipe(&box);
		assert_true(key_is_zero(box.shared));
	}
	disco_sort_pair(sorted, &f->pub[1], &f->pub[0]);
	for (int i = 0; i < 2; i++) {
		test_unhex(want, sizeof(want), cJSON_GetArrayItem(pair, i)->valuestring);
		assert_memory_equal(sorted[i].b, want, sizeof(want));
	}
}

static void a_zero_or_low_order_key_has_no_box(void **state)
{
	struct fixture *f = *state;
	struct disco_key bad = { { 0 } };
	struct disco_box box;

	assert_int_equal(disco_box_init(&box, &f->priv[0], &f->pub[0], &bad), -EBADMSG);
	bad.b[0] = 1; /* a point of order 1 */
	assert_int_equal(disco_box_init(&box, &f->priv[0], &f->pub[0], &bad), -EBADMSG);
}

static void assert_key(const cJSON *obj, const char *name, const struct disco_key *key)
{
	uint8_t want[KEY_SIZE];

	test_unhex(want, sizeof(want), test_str(obj, name));
	assert_memory_equal(key->b, want, sizeof(want));
}

static void assert_eps(const cJSON *list, const struct disco_eps *eps)
{
	char text[EP_TEXT_MAX];

	assert_int_equal(eps->n_eps, cJSON_GetArraySize(list));
	for (int i = 0; i < eps->n_eps; i++)
		assert_string_equal(ep_write(text, &eps->eps[i]),
				    cJSON_GetArrayItem(list, i)->valuestring);
}

static void assert_tx(const cJSON *fields, const struct disco_tx *tx)
{
	struct disco_tx want;

	test_unhex(want.b, sizeof(want.b), test_str(fields, "txid"));
	assert_true(disco_tx_eq(&want, tx));
}

static void assert_relay_ep(const cJSON *fields, const struct disco_relay_ep *ep)
{
	assert_key(fields, "server_disco", &ep->server);
	assert_eps(test_get(fields, "addr_ports"), &ep->addrs);
	assert_int_equal(ep->lamport_id, test_get(fields, "lamport_id")->valueint);
	assert_int_equal(ep->vni, test_get(fields, "vni")->valueint);
	assert_int_equal(ep->bind_lifetime_ns, 30 * INT64_C(1000000000));
	assert_int_equal(ep->steady_lifetime_ns, 300 * INT64_C(1000000000));
}

static void assert_bind(const cJSON *fields, const struct disco_bind *bind)
{
	uint8_t challenge[DISCO_CHALLENGE_SIZE] = { 0 };

	assert_int_equal(bind->vni, test_get(fields, "vni")->valueint);
	assert_int_equal(bind->generation, test_get(fields, "generation")->valueint);
	assert_key(fields, "remote_key", &bind->remote);
	if (cJSON_HasObjectItem(fields, "challenge"))
		test_unhex(challenge, sizeof(challenge), test_str(fields, "challenge"));
	assert_memory_equal(bind->challenge, challenge, sizeof(challenge));
}

static void assert_fields(const cJSON *fields, const struct disco_msg *msg)
{
	char text[EP_TEXT_MAX];
	struct node_key node;
	const cJSON *pad;

	switch (msg->type) {
	case DISCO_PING:
		assert_tx(fields, &msg->ping.tx);
		assert_int_equal(msg->ping.has_node_key, cJSON_HasObjectItem(fields, "node_key"));
		if (msg->ping.has_node_key) {
			test_unhex(node.b, sizeof(node.b), test_str(fields, "node_key"));
			assert_true(node_key_eq(&node, &msg->ping.node));
		}
		pad = cJSON_GetObjectItem(fields, "padding");
		assert_int_equal(msg->ping.padding, pad ? pad->valueint : 0);
		break;
	case DISCO_PONG:
		assert_tx(fields, &msg->pong.tx);
		assert_string_equal(ep_write(text, &msg->pong.src), test_str(fields, "src"));
		break;
	case DISCO_CALL_ME_MAYBE:
		assert_eps(test_get(fields, "endpoints"), &msg->call_me_maybe);
		break;
	case DISCO_BIND:
	case DISCO_BIND_CHALLENGE:
	case DISCO_BIND_ANSWER:
		assert_bind(fields, &msg->bind);
		break;
	case DISCO_CALL_ME_MAYBE_VIA:
		assert_relay_ep(fields, &msg->via);
		break;
	case DISCO_ALLOC_REQUEST:
		assert_int_equal(msg->alloc_request.generation,
				 test_get(fields, "generation")->valueint);
		break;
	case DISCO_ALLOC_RESPONSE:
		assert_int_equal(msg->alloc_response.generation,
				 test_get(fields, "generation")->valueint);
		assert_relay_ep(fields, &msg->alloc_response.ep);
		break;
	}
}

static void check_message(const struct fixture *f, const cJSON *m)
{
	const unsigned int from = who(test_str(m, "from")), to = who(test_str(m, "to"));
	const struct disco_box in = box_of(f, to, from), out = box_of(f, from, to);
	uint8_t nonce[DISCO_NONCE_SIZE], buf[DISCO_PACKET_MAX];
	size_t size, clear_size;
	uint8_t *packet = test_unhex_dup(test_str(m, "packet"), &size);
	uint8_t *clear = test_unhex_dup(test_str(m, "cleartext"), &clear_size);
	struct disco_msg msg;
	struct disco_key sender;

	test_unhex(nonce, sizeof(nonce), test_str(m, "nonce"));
	assert_int_equal(size, test_get(m, "packet_len")->valueint);
	assert_true(disco_is_packet(packet, size));
	sender = disco_sender(packet);
	assert_true(disco_key_eq(&sender, &f->pub[from]));
	assert_int_equal(disco_msg_parse(&msg, clear, clear_size), 0);
	assert_fields(test_get(m, "fields"), &msg);
	assert_memory_equal(disco_type_text(msg.type), test_str(m, "summary"),
			    strlen(disco_type_text(msg.type)));
	assert_int_equal(disco_seal(&out, nonce, &msg, buf, sizeof(buf)), size);
	assert_memory_equal(buf, packet, size);
	assert_int_equal(disco_seal(&out, nonce, &msg, buf, size - 1), -ENOBUFS);
	assert_int_equal(disco_open(&in, packet, size, &msg), 0);
	assert_fields(test_get(m, "fields"), &msg);
	free(packet);
	free(clear);
}

static void every_message_seals_and_opens_as_in_the_vectors(void **state)
{
	struct fixture *f = *state;
	const cJSON *m;

	cJSON_ArrayForEach(m, test_get(f->doc, "messages")) check_message(f, m);
}

/* Checks what parse says about one cleartext, and the bytes it writes back. */
static void check_parse(const cJSON *p)
{
	size_t size;
	uint8_t *clear = test_unhex_dup(test_str(p, "cleartext"), &size), buf[4096];
	struct disco_msg msg;
	const int err = disco_msg_parse(&msg, clear, size);

	if (!cJSON_IsNull(test_get(p, "error"))) {
		assert_int_equal(err, -EBADMSG);
	} else {
		size_t want_size;
		uint8_t *want = test_unhex_dup(test_str(p, "remarshal"), &want_size);

		assert_int_equal(err, 0);
		assert_int_equal(disco_msg_write(&msg, buf, sizeof(buf)), want_size);
		assert_memory_equal(buf, want, want_size);
		if (cJSON_HasObjectItem(p, "padding"))
			assert_int_equal(msg.ping.padding, test_get(p, "padding")->valueint);
		if (cJSON_HasObjectItem(p, "node_key_present"))
			assert_int_equal(msg.ping.has_node_key,
					 cJSON_IsTrue(test_get(p, "node_key_present")));
		free(want);
	}
	free(clear);
}

static void odd_cleartexts_parse_exactly_as_the_reference(void **state)
{
	struct fixture *f = *state;
	const cJSON *p;

	cJSON_ArrayForEach(p, test_get(f->doc, "parse")) check_parse(p);
}

static void damaged_envelopes_do_not_open(void **state)
{
	struct fixture *f = *state;
	const struct disco_box box = box_of(f, 1, 0);
	const cJSON *e;

	cJSON_ArrayForEach(e, test_get(f->doc, "envelope"))
	{
		size_t size;
		uint8_t *pkt = test_unhex_dup(test_str(e, "packet"), &size);
		const bool opens = cJSON_IsTrue(test_get(e, "opens"));
		struct disco_msg msg;

		/* The receive path takes anything from 38 bytes; LooksLikeDiscoWrapper wants 62. */
		assert_int_equal(disco_is_packet(pkt, size) && size >= DISCO_HDR_SIZE,
				 cJSON_IsTrue(test_get(e, "looks_like_disco")));
		if (disco_is_packet(pkt, size))
			assert_int_equal(disco_open(&box, pkt, size, &msg), opens ? 0 : -EBADMSG);
		free(pkt);
	}
}

static void a_failed_open_leaves_the_packet_alone(void **state)
{
	struct fixture *f = *state;
	const struct disco_box box = box_of(f, 1, 2);
	const cJSON *m = cJSON_GetArrayItem(test_get(f->doc, "messages"), 1);
	size_t size;
	uint8_t *pkt = test_unhex_dup(test_str(m, "packet"), &size);
	uint8_t *copy = test_unhex_dup(test_str(m, "packet"), &size);
	struct disco_msg msg;

	assert_int_equal(disco_open(&box, pkt, size, &msg), -EBADMSG);
	assert_memory_equal(pkt, copy, size);
	free(pkt);
	free(copy);
}

static void a_long_address_list_keeps_the_first_64(void **state)
{
	static uint8_t clear[2 + 18 * 3600];
	struct disco_msg msg;

	(void)state;
	clear[0] = DISCO_CALL_ME_MAYBE;
	for (size_t i = 0; i < 3600; i++) {
		struct wr w = WR(clear + 2 + 18 * i, 18);
		struct ep ep = { .ip = ip4(192, 0, 2, 1), .port = (uint16_t)(i + 1) };

		wr_ep(&w, &ep);
	}
	assert_int_equal(disco_msg_parse(&msg, clear, sizeof(clear)), 0);
	assert_int_equal(msg.call_me_maybe.n_eps, DISCO_EPS_MAX);
	assert_int_equal(msg.call_me_maybe.n_total, 3600);
	assert_int_equal(msg.call_me_maybe.eps[63].port, 64);
}

static void a_pong_names_a_derp_path_by_its_region(void **state)
{
	struct path_addr derp = path_derp(5);
	struct ep src = disco_pong_src(&derp);
	char text[EP_TEXT_MAX];

	(void)state;
	assert_string_equal(ep_write(text, &src), "127.3.3.40:5");
}

static void tsmp_advertisements_match_the_vectors(void **state)
{
	struct fixture *f = *state;
	const cJSON *t;

	cJSON_ArrayForEach(t, test_get(f->doc, "tsmp"))
	{
		size_t size;
		uint8_t *pkt = test_unhex_dup(test_str(t, "inner_packet"), &size),
			buf[TSMP_SIZE_MAX];
		struct tsmp_msg msg;
		char text[IP_TEXT_MAX];

		assert_true(tsmp_is_packet(pkt, size));
		assert_int_equal(tsmp_parse(&msg, pkt, size), 0);
		assert_int_equal(msg.kind, TSMP_DISCO_KEY);
		assert_string_equal(ip_write(text, &msg.src), test_str(t, "src"));
		assert_string_equal(ip_write(text, &msg.dst), test_str(t, "dst"));
		assert_key(t, "disco_key", &msg.disco);
		assert_int_equal(tsmp_write(buf, sizeof(buf), &msg),
				 test_get(t, "length")->valueint);
		assert_memory_equal(buf, pkt, size);
		assert_int_equal(tsmp_write(buf, size - 1, &msg), -ENOBUFS);
		for (size_t cut = 0; cut < size; cut++)
			assert_int_equal(tsmp_parse(&msg, pkt, cut), -EBADMSG);
		free(pkt);
	}
}

static void tsmp_ping_and_pong_have_29_and_31_bytes(void **state)
{
	struct tsmp_msg ping = { .kind = TSMP_PING,
				 .src = ip4(100, 64, 0, 1),
				 .dst = ip4(100, 64, 0, 2),
				 .id = { 1, 2, 3, 4, 5, 6, 7, 8 } };
	struct tsmp_msg pong = ping, got;
	uint8_t buf[TSMP_SIZE_MAX];

	(void)state;
	pong.kind = TSMP_PONG;
	pong.peerapi_port = 0x1234;
	assert_int_equal(tsmp_write(buf, sizeof(buf), &ping), 29);
	assert_int_equal(tsmp_parse(&got, buf, 29), 0);
	assert_int_equal(got.kind, TSMP_PING);
	assert_memory_equal(got.id, ping.id, sizeof(got.id));
	assert_int_equal(tsmp_write(buf, sizeof(buf), &pong), 31);
	assert_int_equal(buf[20], 'o');
	assert_int_equal(tsmp_parse(&got, buf, 31), 0);
	assert_int_equal(got.peerapi_port, 0x1234);
	pong.dst = (struct ip){ .family = IP_V6 };
	assert_int_equal(tsmp_write(buf, sizeof(buf), &pong), -EPROTO);
}

static void geneve_headers_match_the_vectors(void **state)
{
	cJSON *doc = test_vectors("geneve.json");
	struct geneve_hdr hdr;
	const cJSON *h;

	(void)state;
	cJSON_ArrayForEach(h, test_get(doc, "headers"))
	{
		uint8_t want[GENEVE_SIZE], got[GENEVE_SIZE];
		const uint16_t proto = (uint16_t)strtoul(test_str(h, "protocol"), NULL, 16);
		const uint32_t vni = (uint32_t)test_get(h, "vni")->valuedouble;
		const bool control = cJSON_IsTrue(test_get(h, "control"));

		test_unhex(want, sizeof(want), test_str(h, "header"));
		geneve_write(got, proto, vni, control);
		assert_memory_equal(got, want, sizeof(want));
		assert_int_equal(geneve_parse(&hdr, want, sizeof(want)), 0);
		assert_int_equal(hdr.vni, vni);
		assert_int_equal(hdr.protocol, proto);
		assert_int_equal(hdr.control, control);
	}
	cJSON_ArrayForEach(h, test_get(doc, "decode"))
	{
		size_t size;
		uint8_t *bytes = test_unhex_dup(test_str(h, "bytes"), &size);

		if (!cJSON_IsNull(test_get(h, "error"))) {
			assert_int_equal(geneve_parse(&hdr, bytes, size), -EBADMSG);
		} else {
			assert_int_equal(geneve_parse(&hdr, bytes, size), 0);
			assert_int_equal(hdr.vni, (uint32_t)test_get(h, "vni")->valuedouble);
			assert_int_equal(hdr.version, test_get(h, "version")->valueint);
		}
		free(bytes);
	}
	cJSON_Delete(doc);
}

static void datagrams_are_classified_as_in_the_vectors(void **state)
{
	cJSON *doc = test_vectors("geneve.json");
	const cJSON *c;

	(void)state;
	cJSON_ArrayForEach(c, test_get(doc, "classify"))
	{
		size_t size;
		uint8_t *pkt = test_unhex_dup(test_str(c, "packet"), &size);
		const struct classify got = classify(pkt, size);
		const char *type = test_str(c, "type");
		const enum classify_kind want = strcmp(type, "disco") == 0 ? CLASSIFY_DISCO
						: strcmp(type, "stun-binding") == 0
							? CLASSIFY_STUN
							: CLASSIFY_WIREGUARD;

		if (got.kind != want || got.is_geneve != cJSON_IsTrue(test_get(c, "geneve")))
			fail_msg("%s", test_str(c, "description"));
		assert_int_equal(got.offset, got.is_geneve ? 8 : 0);
		free(pkt);
	}
	cJSON_Delete(doc);
}

static void relayed_packets_open_behind_their_header(void **state)
{
	struct fixture *f = *state;
	cJSON *doc = test_vectors("geneve.json");
	const cJSON *r;

	cJSON_ArrayForEach(r, test_get(doc, "relayed"))
	{
		size_t size;
		uint8_t *pkt = test_unhex_dup(test_str(r, "packet"), &size);
		const struct classify c = classify(pkt, size);
		const bool is_ping = strcmp(test_str(r, "name"), "relayed-ping") == 0;
		const struct disco_box box = box_of(f, is_ping ? 1 : 0, is_ping ? 0 : 1);
		struct disco_msg msg;

		assert_int_equal(c.kind, CLASSIFY_DISCO);
		assert_int_equal(c.vni, 7);
		assert_false(c.is_control);
		assert_int_equal(disco_open(&box, pkt + c.offset, size - c.offset, &msg), 0);
		assert_int_equal(msg.type, is_ping ? DISCO_PING : DISCO_PONG);
		free(pkt);
	}
	cJSON_Delete(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shared_keys_match_the_vectors),
		cmocka_unit_test(a_zero_or_low_order_key_has_no_box),
		cmocka_unit_test(every_message_seals_and_opens_as_in_the_vectors),
		cmocka_unit_test(odd_cleartexts_parse_exactly_as_the_reference),
		cmocka_unit_test(damaged_envelopes_do_not_open),
		cmocka_unit_test(a_failed_open_leaves_the_packet_alone),
		cmocka_unit_test(a_long_address_list_keeps_the_first_64),
		cmocka_unit_test(a_pong_names_a_derp_path_by_its_region),
		cmocka_unit_test(tsmp_advertisements_match_the_vectors),
		cmocka_unit_test(tsmp_ping_and_pong_have_29_and_31_bytes),
		cmocka_unit_test(geneve_headers_match_the_vectors),
		cmocka_unit_test(datagrams_are_classified_as_in_the_vectors),
		cmocka_unit_test(relayed_packets_open_behind_their_header),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
