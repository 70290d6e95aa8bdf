/* SPDX-License-Identifier: MIT */
/* control/ctlnoise on the vectors of noise.json, and both sides against each other cut at every byte. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "control/ctlnoise.h"

/* Gives out one prepared ephemeral key. */
static void fill_fixed(void *ctx, void *dst, size_t size)
{
	assert_int_equal(size, 32);
	memcpy(dst, ctx, size);
}

struct fixture {
	cJSON *v;
	struct machine_priv client, server;
	struct machine_key client_pub, server_pub;
	uint8_t client_eph[32], server_eph[32];
	uint8_t initiation[CTLFRAME_INITIATION_SIZE], response[CTLFRAME_RESPONSE_SIZE];
	struct ctlnoise c, s; /* both OPEN */
};

static struct env fixed_env(uint8_t *key)
{
	return (struct env){ .fill = fill_fixed, .ctx = key };
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct bytes plain = { 0 };
	const cJSON *keys;
	struct env env;

	f->v = test_vectors("noise.json");
	keys = test_get(f->v, "keys");
	test_unhex(f->client.b, 32, test_str(keys, "client_static_private"));
	test_unhex(f->server.b, 32, test_str(keys, "server_static_private"));
	test_unhex(f->client_pub.b, 32, test_str(keys, "client_static_public"));
	test_unhex(f->server_pub.b, 32, test_str(keys, "server_static_public"));
	test_unhex(f->client_eph, 32, test_str(keys, "client_ephemeral_private"));
	test_unhex(f->server_eph, 32, test_str(keys, "server_ephemeral_private"));
	env = fixed_env(f->client_eph);
	assert_int_equal(ctlnoise_client_init(&f->c, &f->client, &f->server_pub, 120, &env, f->initiation), 0);
	env = fixed_env(f->server_eph);
	assert_int_equal(ctlnoise_server_init(&f->s, &f->server, f->initiation, sizeof(f->initiation), &env,
					      f->response),
			 0);
	assert_int_equal(ctlnoise_input(&f->c, f->response, sizeof(f->response), &plain), 0);
	assert_int_equal(bytes_size(&plain), 0);
	bytes_wipe(&plain);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	cJSON_Delete(f->v);
	ctlnoise_wipe(&f->c);
	ctlnoise_wipe(&f->s);
	free(f);
	return 0;
}

static void ctlnoise_handshake_is_that_of_the_vectors(void **state)
{
	struct fixture *f = *state;
	uint8_t want[CTLFRAME_INITIATION_SIZE], hash[32];
	char b64[CTLNOISE_INITIATION_B64_MAX];

	test_unhex(want, sizeof(f->initiation), test_str(f->v, "initiation"));
	assert_memory_equal(f->initiation, want, sizeof(f->initiation));
	test_unhex(want, sizeof(f->response), test_str(f->v, "response"));
	assert_memory_equal(f->response, want, sizeof(f->response));
	test_unhex(hash, 32, test_str(f->v, "handshake_hash"));
	assert_memory_equal(f->c.hash, hash, 32);
	assert_memory_equal(f->s.hash, hash, 32);
	test_unhex(hash, 32, test_str(f->v, "split_k1_client_to_server"));
	assert_memory_equal(f->c.tx_key, hash, 32);
	assert_memory_equal(f->s.rx_key, hash, 32);
	test_unhex(hash, 32, test_str(f->v, "split_k2_server_to_client"));
	assert_memory_equal(f->c.rx_key, hash, 32);
	assert_int_equal(f->s.version, 120);
	assert_memory_equal(f->s.remote.b, f->client_pub.b, 32);
	ctlnoise_b64_write(b64, f->initiation);
	assert_string_equal(b64, test_str(f->v, "x_tailscale_handshake_header"));
	assert_int_equal(ctlnoise_b64_parse(want, b64), 0);
	assert_memory_equal(want, f->initiation, sizeof(f->initiation));
	b64[10] = '!';
	assert_int_equal(ctlnoise_b64_parse(want, b64), -EBADMSG);
}

static void ctlnoise_opens_and_seals_every_frame(void **state)
{
	struct fixture *f = *state;
	const cJSON *row;

	f->c.early = CTLNOISE_EARLY_DONE; /* the raw plaintext is wanted here */
	cJSON_ArrayForEach(row, test_get(f->v, "frames"))
	{
		const bool down = strcmp(test_str(row, "dir"), "server->client") == 0;
		struct ctlnoise *tx = down ? &f->s : &f->c, *rx = down ? &f->c : &f->s;
		struct bytes plain = { 0 }, wire = { 0 };
		size_t n_wire, n_plain;
		uint8_t *want_wire = test_unhex_dup(test_str(row, "wire_hex"), &n_wire);
		uint8_t *want = test_unhex_dup(test_str(row, "plaintext_hex"), &n_plain);
		const uint64_t counter = (uint64_t)test_get(row, "counter")->valuedouble;

		tx->tx_counter = rx->rx_counter = counter;
		assert_int_equal(ctlnoise_input(rx, want_wire, n_wire, &plain), 0);
		assert_int_equal(bytes_size(&plain), n_plain);
		assert_memory_equal(bytes_data(&plain), want, n_plain);
		assert_int_equal(ctlnoise_send(tx, want, n_plain, &wire), 0);
		assert_int_equal(bytes_size(&wire), n_wire);
		assert_memory_equal(bytes_data(&wire), want_wire, n_wire);
		bytes_wipe(&plain);
		bytes_wipe(&wire);
		free(want);
		free(want_wire);
	}
}

static void ctlnoise_splits_large_writes(void **state)
{
	struct fixture *f = *state;
	struct bytes wire = { 0 }, plain = { 0 };
	uint8_t data[3 * CTLFRAME_PLAIN_MAX + 5];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	assert_int_equal(ctlnoise_send(&f->c, data, sizeof(data), &wire), 0);
	assert_int_equal(bytes_size(&wire), sizeof(data) + 4 * 19);
	assert_int_equal(f->c.tx_counter, 4);
	assert_int_equal(ctlnoise_input(&f->s, bytes_data(&wire), bytes_size(&wire), &plain), 0);
	assert_int_equal(bytes_size(&plain), sizeof(data));
	assert_memory_equal(bytes_data(&plain), data, sizeof(data));
	bytes_wipe(&wire);
	bytes_wipe(&plain);
}

/* The response and what follows, with or without early payload, in two pieces cut anywhere. */
static void server_stream_at_every_cut(struct fixture *f, bool early)
{
	static const char json[] = "{\"nodeKeyChallenge\":\"chalpub:00\"}";
	struct bytes wire = { 0 };
	struct env env = fixed_env(f->client_eph);
	size_t size;

	assert_int_equal(bytes_append(&wire, f->response, sizeof(f->response)), 0);
	f->s.tx_counter = 0;
	if (early)
		assert_int_equal(ctlnoise_send_early(&f->s, json, strlen(json), &wire), 0);
	assert_int_equal(ctlnoise_send(&f->s, (const uint8_t *)"\0\0\0\4\0", 5, &wire), 0);
	assert_int_equal(ctlnoise_send(&f->s, (const uint8_t *)"settings", 8, &wire), 0);
	size = bytes_size(&wire);
	for (size_t cut = 0; cut <= size; cut++) {
		struct bytes plain = { 0 };
		struct ctlnoise c;

		assert_int_equal(ctlnoise_client_init(&c, &f->client, &f->server_pub, 120, &env, f->initiation), 0);
		assert_int_equal(ctlnoise_input(&c, bytes_data(&wire), cut, &plain), 0);
		assert_int_equal(ctlnoise_input(&c, bytes_data(&wire) + cut, size - cut, &plain), 0);
		assert_int_equal(bytes_size(&plain), 13);
		assert_memory_equal(bytes_data(&plain), "\0\0\0\4\0settings", 13);
		bytes_wipe(&plain);
		ctlnoise_wipe(&c);
	}
	bytes_wipe(&wire);
}

static void ctlnoise_early_payload_is_optional(void **state)
{
	server_stream_at_every_cut(*state, false);
	server_stream_at_every_cut(*state, true);
}

static void ctlnoise_bad_records_are_fatal(void **state)
{
	static const struct {
		size_t at;
		uint8_t flip;
	} row[] = { { 0, 1 }, { 1, 0x80 }, { 3, 1 }, { 22, 0x80 } };
	struct fixture *f = *state;
	struct bytes wire = { 0 };

	assert_int_equal(ctlnoise_send(&f->c, (const uint8_t *)"hello", 5, &wire), 0);
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct ctlnoise s = f->s;
		struct bytes plain = { 0 };
		uint8_t bad[64];
		const size_t n = bytes_size(&wire);

		memcpy(bad, bytes_data(&wire), n);
		bad[row[i].at] ^= row[i].flip;
		assert_int_equal(ctlnoise_input(&s, bad, n, &plain), -EBADMSG);
		assert_int_equal(s.state, CTLNOISE_DEAD);
		assert_int_equal(ctlnoise_input(&s, bytes_data(&wire), n, &plain), -EPROTO);
		assert_int_equal(bytes_size(&plain), 0);
		bytes_wipe(&plain);
	}
	bytes_wipe(&wire);
}

static void ctlnoise_frames_have_a_maximum(void **state)
{
	struct fixture *f = *state;
	struct bytes plain = { 0 };
	uint8_t head[3] = { 4, (CTLFRAME_BODY_MAX + 1) >> 8, (CTLFRAME_BODY_MAX + 1) & 0xff };

	assert_int_equal(ctlnoise_input(&f->s, head, 3, &plain), -EBADMSG);
}

static void ctlnoise_empty_records_are_skipped(void **state)
{
	struct fixture *f = *state;
	struct bytes wire = { 0 }, plain = { 0 };
	uint8_t empty[19] = { 4, 0, 16 };

	/* An empty record cannot be sent, but peers may: take the tag of one from a seal of nothing. */
	assert_int_equal(ctlnoise_send(&f->c, (const uint8_t *)"", 0, &wire), 0);
	assert_int_equal(bytes_size(&wire), 0);
	{
		static const uint8_t nonce[12];

		(void)crypto_aead_chacha20poly1305_ietf_encrypt(empty + 3, NULL, NULL, 0, NULL, 0, NULL, nonce,
								f->c.tx_key);
	}
	assert_int_equal(ctlnoise_input(&f->s, empty, sizeof(empty), &plain), 0);
	assert_int_equal(bytes_size(&plain), 0);
	assert_int_equal(f->s.rx_counter, 1);
}

static void ctlnoise_error_frames_end_the_attempt(void **state)
{
	struct fixture *f = *state;
	const cJSON *row;

	cJSON_ArrayForEach(row, test_get(f->v, "error_frames"))
	{
		struct env env = fixed_env(f->client_eph);
		struct bytes plain = { 0 };
		struct ctlnoise c;
		size_t size;
		uint8_t *wire = test_unhex_dup(test_str(row, "wire_hex"), &size);

		assert_int_equal(ctlnoise_client_init(&c, &f->client, &f->server_pub, 120, &env, f->initiation), 0);
		assert_int_equal(ctlnoise_input(&c, wire, size, &plain), -EBADMSG);
		assert_string_equal(c.error_text, test_str(row, "text"));
		assert_int_equal(c.state, CTLNOISE_DEAD);
		free(wire);
	}
}

static void ctlnoise_server_refuses(void **state)
{
	struct fixture *f = *state;
	struct env env = fixed_env(f->server_eph);
	uint8_t bad[CTLFRAME_INITIATION_SIZE], response[CTLFRAME_RESPONSE_SIZE];
	struct ctlnoise s;

	for (size_t i = 0; i < sizeof(bad); i++) {
		memcpy(bad, f->initiation, sizeof(bad));
		bad[i] ^= 1;
		assert_int_equal(ctlnoise_server_init(&s, &f->server, bad, sizeof(bad), &env, response), -EBADMSG);
		assert_int_equal(s.state, CTLNOISE_DEAD);
		assert_int_equal(ctlnoise_server_init(&s, &f->server, f->initiation, i, &env, response), -EBADMSG);
	}
	/* A zero ephemeral key gives a zero secret. */
	memcpy(bad, f->initiation, sizeof(bad));
	memset(bad + 5, 0, 32);
	assert_int_equal(ctlnoise_server_init(&s, &f->server, bad, sizeof(bad), &env, response), -EBADMSG);
}

static void ctlnoise_client_refuses_a_wrong_response(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(f->response); i++) {
		struct env env = fixed_env(f->client_eph);
		uint8_t bad[CTLFRAME_RESPONSE_SIZE + 64] = { 0 };
		struct bytes plain = { 0 };
		struct ctlnoise c;

		assert_int_equal(ctlnoise_client_init(&c, &f->client, &f->server_pub, 120, &env, f->initiation), 0);
		memcpy(bad, f->response, sizeof(f->response));
		bad[i] ^= 1;
		/* A larger size in the header only waits for more. */
		if (ctlnoise_input(&c, bad, sizeof(bad), &plain) == 0)
			assert_int_equal(c.state, CTLNOISE_WAIT);
		else
			assert_int_equal(c.state, CTLNOISE_DEAD);
		bytes_wipe(&plain);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ctlnoise_handshake_is_that_of_the_vectors),
		TEST(ctlnoise_opens_and_seals_every_frame),
		TEST(ctlnoise_splits_large_writes),
		TEST(ctlnoise_early_payload_is_optional),
		TEST(ctlnoise_bad_records_are_fatal),
		TEST(ctlnoise_frames_have_a_maximum),
		TEST(ctlnoise_empty_records_are_skipped),
		TEST(ctlnoise_error_frames_end_the_attempt),
		TEST(ctlnoise_server_refuses),
		TEST(ctlnoise_client_refuses_a_wrong_response),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
