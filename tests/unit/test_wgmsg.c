/* SPDX-License-Identifier: MIT */
/* wire/wgmsg: which bytes are which message. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <string.h>

#include "base/compiler.h"
#include "wire/wgmsg.h"

static void wgmsg_type_wants_exact_sizes(void **state)
{
	static const struct {
		uint8_t type;
		size_t size;
		int want;
	} table[] = {
		{ 1, 148, WGMSG_INITIATION },
		{ 1, 147, -EBADMSG },
		{ 1, 149, -EBADMSG },
		{ 2, 92, WGMSG_RESPONSE },
		{ 2, 91, -EBADMSG },
		{ 2, 93, -EBADMSG },
		{ 3, 64, WGMSG_COOKIE_REPLY },
		{ 3, 63, -EBADMSG },
		{ 3, 65, -EBADMSG },
		{ 4, 32, WGMSG_DATA },
		{ 4, 31, -EBADMSG },
		{ 4, 2000, WGMSG_DATA },
		{ 4, 33, WGMSG_DATA },
		{ 0, 148, -EBADMSG },
		{ 5, 148, -EBADMSG },
		{ 1, 3, -EBADMSG },
		{ 1, 0, -EBADMSG },
	};
	uint8_t buf[2048] = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		buf[0] = table[i].type;
		if (wgmsg_type(buf, table[i].size) != table[i].want)
			fail_msg("row %zu", i);
	}
}

static void wgmsg_type_refuses_reserved_bits(void **state)
{
	static const size_t sizes[] = { 0, 148, 92, 64, 32 };
	uint8_t buf[148] = { 0 };

	(void)state;
	for (uint8_t type = 1; type <= 4; type++) {
		for (unsigned bit = 0; bit < 24; bit++) {
			memset(buf, 0, sizeof(buf));
			buf[0] = type;
			buf[1 + bit / 8] = (uint8_t)(1u << bit % 8);
			assert_int_equal(wgmsg_type(buf, sizes[type]), -EBADMSG);
		}
	}
}

static void wgmsg_structs_lie_where_the_paper_says(void **state)
{
	uint8_t buf[148];
	struct wg_initiation init;
	struct wg_response resp;
	struct wg_cookie_reply cookie;

	(void)state;
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)i;
	memcpy(buf, (const uint8_t[]){ 1, 0, 0, 0 }, 4);
	assert_int_equal(wgmsg_initiation_parse(&init, buf, 148), 0);
	assert_int_equal(wgmsg_le32(init.sender_index_le32), 0x07060504);
	assert_int_equal(init.ephemeral[0], 8);
	assert_int_equal(init.static_sealed[0], 40);
	assert_int_equal(init.timestamp_sealed[0], 88);
	assert_int_equal(init.macs.mac1[0], 116);
	assert_int_equal(init.macs.mac2[15], 147);
	assert_int_equal(wgmsg_response_parse(&resp, buf, 148), -EBADMSG);

	buf[0] = 2;
	assert_int_equal(wgmsg_response_parse(&resp, buf, 92), 0);
	assert_int_equal(resp.receiver_index_le32[0], 8);
	assert_int_equal(resp.ephemeral[0], 12);
	assert_int_equal(resp.empty_sealed[0], 44);
	assert_int_equal(resp.macs.mac1[0], 60);
	assert_int_equal(wgmsg_initiation_parse(&init, buf, 92), -EBADMSG);

	buf[0] = 3;
	assert_int_equal(wgmsg_cookie_reply_parse(&cookie, buf, 64), 0);
	assert_int_equal(cookie.receiver_index_le32[0], 4);
	assert_int_equal(cookie.nonce[0], 8);
	assert_int_equal(cookie.cookie_sealed[0], 32);
	assert_int_equal(wgmsg_cookie_reply_parse(&cookie, buf, 65), -EBADMSG);
}

static void wgmsg_data_header_survives_a_round_trip(void **state)
{
	static const uint8_t want[16] = {
		4, 0, 0, 0, 0xef, 0xbe, 0xad, 0xde, 8, 7, 6, 5, 4, 3, 2, 1
	};
	const struct wg_data in = { .receiver_index = 0xdeadbeef,
				    .counter = UINT64_C(0x0102030405060708) };
	uint8_t buf[32] = { 0 };
	struct wg_data out;

	(void)state;
	wgmsg_data_hdr_write(buf, &in);
	assert_memory_equal(buf, want, sizeof(want));
	assert_int_equal(wgmsg_data_parse(&out, buf, sizeof(buf)), 0);
	assert_int_equal(out.receiver_index, in.receiver_index);
	assert_true(out.counter == in.counter);
	out.counter = 77;
	assert_int_equal(wgmsg_data_parse(&out, buf, 31), -EBADMSG);
	assert_true(out.counter == 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wgmsg_type_wants_exact_sizes),
		cmocka_unit_test(wgmsg_type_refuses_reserved_bits),
		cmocka_unit_test(wgmsg_structs_lie_where_the_paper_says),
		cmocka_unit_test(wgmsg_data_header_survives_a_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
