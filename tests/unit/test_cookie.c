/* SPDX-License-Identifier: MIT */
/* wg/cookie: macs of both sides, and property P8: a cookie is worth something for 120 s and from
 * one place. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "wg/cookie.h"

static const struct mono t0 = { 1000 * NS_PER_S };
static const uint8_t here[20] = { 1 }, there[20] = { 2 };

struct world {
	struct test_env env;
	struct cookie_checker checker;
	struct cookie_maker maker;
	uint8_t msg[WGMSG_INITIATION_SIZE];
};

static void world_make(struct world *w)
{
	struct node_key key;

	test_env_init(&w->env, 1);
	env_fill(&w->env.env, key.b, sizeof(key.b));
	cookie_checker_init(&w->checker, &key);
	cookie_maker_init(&w->maker, &key);
	env_fill(&w->env.env, w->msg, sizeof(w->msg));
}

/* One exchange: message, reply from 'src' at 't', consumed. */
static void get_cookie(struct world *w, struct mono t, const uint8_t *src)
{
	struct wg_cookie_reply reply;

	cookie_add_macs(&w->maker, t, w->msg, sizeof(w->msg));
	cookie_reply_write(&w->checker, t, &w->env.env, w->msg, sizeof(w->msg), src, 20, &reply);
	assert_int_equal(wgmsg_type((uint8_t *)&reply, sizeof(reply)), WGMSG_COOKIE_REPLY);
	assert_memory_equal(reply.receiver_index_le32, w->msg + 4, 4);
	assert_int_equal(cookie_consume_reply(&w->maker, t, &reply), 0);
}

static bool mac2_ok(struct world *w, struct mono sent, struct mono checked, const uint8_t *src)
{
	cookie_add_macs(&w->maker, sent, w->msg, sizeof(w->msg));
	assert_true(cookie_check_mac1(&w->checker, w->msg, sizeof(w->msg)));
	return cookie_check_mac2(&w->checker, checked, w->msg, sizeof(w->msg), src, 20);
}

static void mac1_covers_every_bit_before_it(void **state)
{
	struct world w;

	(void)state;
	world_make(&w);
	cookie_add_macs(&w.maker, t0, w.msg, sizeof(w.msg));
	assert_true(cookie_check_mac1(&w.checker, w.msg, sizeof(w.msg)));
	for (size_t bit = 0; bit < 8 * (sizeof(w.msg) - 16); bit++) {
		w.msg[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(cookie_check_mac1(&w.checker, w.msg, sizeof(w.msg)));
		w.msg[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_true(sodium_is_zero(w.msg + sizeof(w.msg) - 16, 16)); /* no cookie, no mac2 */
	assert_false(cookie_check_mac1(&w.checker, w.msg, 31));
	assert_false(cookie_check_mac2(&w.checker, t0, w.msg, 31, here, 20));
}

static void mac2_is_bound_to_the_source(void **state)
{
	struct world w;

	(void)state;
	world_make(&w);
	assert_false(mac2_ok(&w, t0, t0, here)); /* no secret was made yet */
	get_cookie(&w, t0, here);
	assert_true(mac2_ok(&w, t0, t0, here));
	assert_false(mac2_ok(&w, t0, t0, there));
	w.msg[0] ^= 1;
	assert_false(cookie_check_mac2(&w.checker, t0, w.msg, sizeof(w.msg), here, 20));
}

static void secret_lives_120_seconds(void **state)
{
	struct world w;

	(void)state;
	world_make(&w);
	get_cookie(&w, t0, here);
	assert_true(mac2_ok(&w, mono_add_s(t0, 114), mono_add_s(t0, 119), here));
	/* the sender stops 5 s early, the checker at 120 s */
	assert_false(mac2_ok(&w, mono_add_s(t0, 115), mono_add_s(t0, 115), here));
	assert_false(mac2_ok(&w, mono_add_s(t0, 114), mono_add_s(t0, 120), here));
	/* a new secret makes the old cookie worthless, though the sender's is fresh */
	get_cookie(&w, mono_add_s(t0, 100), here);
	assert_true(mac2_ok(&w, mono_add_s(t0, 101), mono_add_s(t0, 101), here));
	{
		struct wg_cookie_reply reply;

		cookie_reply_write(&w.checker, mono_add_s(t0, 121), &w.env.env, w.msg,
				   sizeof(w.msg), here, 20, &reply);
	}
	assert_false(mac2_ok(&w, mono_add_s(t0, 121), mono_add_s(t0, 121), here));
}

static void reply_answers_the_last_message_once(void **state)
{
	struct wg_cookie_reply reply;
	struct world w;

	(void)state;
	world_make(&w);
	memset(&reply, 0, sizeof(reply));
	assert_int_equal(cookie_consume_reply(&w.maker, t0, &reply), -EPROTO);
	cookie_add_macs(&w.maker, t0, w.msg, sizeof(w.msg));
	cookie_reply_write(&w.checker, t0, &w.env.env, w.msg, sizeof(w.msg), here, 20, &reply);
	/* every byte behind the index is authenticated */
	for (size_t i = 8; i < sizeof(reply); i++) {
		((uint8_t *)&reply)[i] ^= 1;
		assert_int_equal(cookie_consume_reply(&w.maker, t0, &reply), -EBADMSG);
		((uint8_t *)&reply)[i] ^= 1;
	}
	assert_int_equal(cookie_consume_reply(&w.maker, t0, &reply), 0);
	assert_int_equal(cookie_consume_reply(&w.maker, t0, &reply), -EPROTO);
	/* a reply to an older message is bound to another mac1 */
	cookie_add_macs(&w.maker, t0, w.msg, sizeof(w.msg));
	cookie_reply_write(&w.checker, t0, &w.env.env, w.msg, sizeof(w.msg), here, 20, &reply);
	w.msg[50] ^= 1;
	cookie_add_macs(&w.maker, t0, w.msg, sizeof(w.msg));
	assert_int_equal(cookie_consume_reply(&w.maker, t0, &reply), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mac1_covers_every_bit_before_it),
		cmocka_unit_test(mac2_is_bound_to_the_source),
		cmocka_unit_test(secret_lives_120_seconds),
		cmocka_unit_test(reply_answers_the_last_message_once),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
