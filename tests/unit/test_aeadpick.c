/* SPDX-License-Identifier: MIT */
/* daemon/aeadpick: what is picked works; a CPU without an instruction set gets something that it can
 * run, or a clear refusal. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "daemon/aeadpick.h"

#ifdef HAVE_IPSEC_MB
static const bool has_ipsec_mb = true;
#else
static const bool has_ipsec_mb = false;
#endif

/* Seals and opens one packet as a worker does. */
static void try_out(const struct crypto *c)
{
	const uint8_t key[AEAD_KEY_SIZE] = { 9 };
	uint8_t bytes[100 + AEAD_TAG_SIZE] = { 5 };
	struct aead_pkt pkt = { .data = bytes, .size = 100, .counter = 3 };
	struct aead_thread thread;
	struct aead_ctx *seal, *open;

	assert_int_equal(aeadpick_thread_init(&thread, c), 0);
	seal = c->aead->ctx_new(c, key, true);
	open = c->aead->ctx_new(c, key, false);
	assert_int_equal(c->aead->seal_n(seal, &thread, 3, &pkt, 1), 1);
	assert_int_equal(c->aead->open_n(open, &thread, &pkt, 1), 1);
	assert_int_equal(bytes[0], 5);
	c->aead->ctx_free(seal);
	c->aead->ctx_free(open);
	aeadpick_thread_wipe(&thread);
}

static void aeadpick_forces_a_backend(void **state)
{
	static const char *const names[] = { "openssl", "libsodium", "openssl/none" };
	struct crypto c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(aeadpick_init(&c, names[i], NULL), 0);
		assert_memory_equal(c.aead->name, names[i], strlen(c.aead->name));
		try_out(&c);
		aeadpick_wipe(&c);
	}
	assert_int_equal(aeadpick_init(&c, NULL, NULL), 0);
	try_out(&c);
	aeadpick_wipe(&c);
}

static void aeadpick_refuses_unknown_names(void **state)
{
	static const char *const names[] = { "open", "opensslx", "rot13", "openssl/", "/avx1024",
					     "openssl/sse/" };
	struct crypto c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_int_equal(aeadpick_init(&c, names[i], NULL), -ENOENT);
}

/* Every mask of the CPU: with any backend it works; the masked one says if there is nothing for it. */
static void aeadpick_survives_a_lesser_cpu(void **state)
{
	static const char *const masks[] = { "/none", "/sse", "/avx", "/avx2" };
	struct crypto c;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(masks); i++) {
		char name[32];
		int err;

		assert_int_equal(aeadpick_init(&c, masks[i], NULL), 0);
		if (i == 0)
			assert_string_not_equal(c.aead->name, "ipsec-mb");
		try_out(&c);
		aeadpick_wipe(&c);

		(void)snprintf(name, sizeof(name), "ipsec-mb%s", masks[i]);
		err = aeadpick_init(&c, name, NULL);
		if (!has_ipsec_mb)
			assert_int_equal(err, -ENOENT);
		else if (i == 0)
			assert_int_equal(err, -ENOTSUP);
		else
			assert_true(err == 0 || err == -ENOTSUP); /* of the machine that tests */
		if (!err) {
			try_out(&c);
			aeadpick_wipe(&c);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(aeadpick_forces_a_backend),
		cmocka_unit_test(aeadpick_refuses_unknown_names),
		cmocka_unit_test(aeadpick_survives_a_lesser_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
