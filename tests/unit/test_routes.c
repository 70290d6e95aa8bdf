/* SPDX-License-Identifier: MIT */
/* wg/routes: tables by hand, then random tables against a linear search for the longest prefix. */
#include "tests/unit/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "wg/routes.h"

static struct routes_entry entry(const char *prefix, uint32_t peer_id)
{
	struct routes_entry e = { .peer_id = peer_id };

	assert_int_equal(prefix_parse(&e.prefix, prefix, strlen(prefix), true), 0);
	return e;
}

static uint32_t lookup(const struct routes *r, const char *addr)
{
	struct ip ip;

	assert_int_equal(ip_parse(&ip, addr, strlen(addr)), 0);
	return routes_lookup(r, ip.family, ip.b);
}

static void routes_prefer_the_longest_prefix(void **state)
{
	const struct routes_entry entries[] = {
		entry("0.0.0.0/0", 1),
		entry("10.0.0.0/8", 2),
		entry("10.1.0.0/16", 3),
		entry("10.1.2.0/24", 4),
		entry("10.1.2.3/32", 5),
		entry("10.1.2.255/32", 6),
		entry("10.1.3.0/24", 7),
		entry("255.255.255.0/24", 8),
		entry("100.64.0.9", 9),
		entry("2001:db8::/32", 10),
		entry("2001:db8::/64", 11),
		entry("2001:db8::1", 12),
		entry("fd7a:115c:a1e0::/48", 13),
		entry("ffff::/16", 14),
	};
	struct routes *r = routes_new(entries, ARRAY_LEN(entries), 1);

	(void)state;
	assert_non_null(r);
	assert_int_equal(lookup(r, "192.0.2.1"), 1);
	assert_int_equal(lookup(r, "0.0.0.0"), 1);
	assert_int_equal(lookup(r, "10.0.0.0"), 2);
	assert_int_equal(lookup(r, "10.255.255.255"), 2);
	assert_int_equal(lookup(r, "11.0.0.0"), 1);
	assert_int_equal(lookup(r, "10.1.0.1"), 3);
	assert_int_equal(lookup(r, "10.1.255.255"), 3);
	assert_int_equal(lookup(r, "10.2.0.0"), 2);
	assert_int_equal(lookup(r, "10.1.2.0"), 4);
	assert_int_equal(lookup(r, "10.1.2.3"), 5);
	assert_int_equal(lookup(r, "10.1.2.4"), 4);
	assert_int_equal(lookup(r, "10.1.2.255"), 6);
	assert_int_equal(lookup(r, "10.1.3.0"), 7);
	assert_int_equal(lookup(r, "10.1.4.0"), 3);
	assert_int_equal(lookup(r, "255.255.255.255"), 8);
	assert_int_equal(lookup(r, "255.255.254.255"), 1);
	assert_int_equal(lookup(r, "100.64.0.9"), 9);
	assert_int_equal(lookup(r, "2001:db8::"), 11);
	assert_int_equal(lookup(r, "2001:db8::1"), 12);
	assert_int_equal(lookup(r, "2001:db8::2"), 11);
	assert_int_equal(lookup(r, "2001:db8:0:1::"), 10);
	assert_int_equal(lookup(r, "2001:db9::"), ROUTES_NONE);
	assert_int_equal(lookup(r, "::"), ROUTES_NONE);
	assert_int_equal(lookup(r, "fd7a:115c:a1e0::1"), 13);
	assert_int_equal(lookup(r, "fd7a:115c:a1e0:ffff:ffff:ffff:ffff:ffff"), 13);
	assert_int_equal(lookup(r, "fd7a:115c:a1e1::"), ROUTES_NONE);
	assert_int_equal(lookup(r, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 14);
	routes_free(r);
}

/* A route that moves to another peer: the later entry wins, whatever the order of lengths. */
static void routes_take_the_later_of_equal_prefixes(void **state)
{
	const struct routes_entry entries[] = {
		entry("10.0.0.0/8", 1), entry("100.64.0.1", 1),  entry("10.0.0.0/8", 2),
		entry("100.64.0.1", 3), entry("10.99.1.1/8", 4), entry("::/0", 5),
		entry("::/0", 6),
	};
	struct routes *r = routes_new(entries, ARRAY_LEN(entries), 1);

	(void)state;
	assert_non_null(r);
	assert_int_equal(lookup(r, "10.0.0.1"), 4);
	assert_int_equal(lookup(r, "100.64.0.1"), 3);
	assert_int_equal(lookup(r, "2001:db8::1"), 6);
	routes_free(r);
}

/* P6: the inner source must be the sender's, by the longest prefix; a more specific one that moves
 * to another peer takes its addresses along. */
static void routes_decide_whose_an_inner_source_is(void **state)
{
	static const struct {
		const char *src;
		uint32_t before, after;
	} table[] = {
		{ "100.64.0.1", 1, 1 },
		{ "100.64.0.2", 2, 2 },
		{ "10.1.0.1", 1, 1 },
		{ "10.1.2.3", 1, 2 },
		{ "10.2.0.1", 2, 2 },
		{ "10.1.2.200", 1, 2 },
		{ "192.0.2.7", ROUTES_NONE, ROUTES_NONE },
		{ "fd7a:115c:a1e0::1", 1, 1 },
		{ "2001:db8:1::1", 1, 2 },
		{ "2001:db8:2::1", 1, 1 },
		{ "::ffff:100.64.0.1", 1,
		  1 }, /* normalised when it was read: ip.c refuses it in a packet */
	};
	struct routes_entry entries[] = {
		entry("100.64.0.1/32", 1), entry("100.64.0.2/32", 2),
		entry("10.0.0.0/8", 2),    entry("10.1.0.0/16", 1),
		entry("10.1.2.0/24", 1),   entry("fd7a:115c:a1e0::1", 1),
		entry("2001:db8::/32", 1), entry("2001:db8:1::/48", 1),
	};
	struct routes *before = routes_new(entries, ARRAY_LEN(entries), 1), *after;

	(void)state;
	entries[4].peer_id = 2; /* 10.1.2.0/24 */
	entries[7].peer_id = 2; /* 2001:db8:1::/48 */
	after = routes_new(entries, ARRAY_LEN(entries), 1);
	assert_non_null(before);
	assert_non_null(after);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		assert_int_equal(lookup(before, table[i].src), table[i].before);
		assert_int_equal(lookup(after, table[i].src), table[i].after);
	}
	routes_free(before);
	routes_free(after);
}

static void routes_may_be_empty(void **state)
{
	struct routes *r = routes_new(NULL, 0, 1);

	(void)state;
	assert_non_null(r);
	assert_int_equal(lookup(r, "10.0.0.1"), ROUTES_NONE);
	assert_int_equal(lookup(r, "::1"), ROUTES_NONE);
	assert_int_equal(lookup(NULL, "10.0.0.1"), ROUTES_NONE);
	assert_int_equal(lookup(NULL, "::1"), ROUTES_NONE);
	routes_free(r);
	routes_free(NULL);
}

static uint32_t slow_lookup(const struct routes_entry *entries, size_t n, const struct ip *ip)
{
	uint32_t best = ROUTES_NONE;
	int bits = -1;

	for (size_t i = 0; i < n; i++) {
		struct prefix p = prefix_masked(&entries[i].prefix);

		if (prefix_contains(&p, ip) && p.bits >= bits) {
			best = entries[i].peer_id;
			bits = p.bits;
		}
	}
	return best;
}

/* Addresses from a small space, so that prefixes nest, touch and repeat. */
static struct ip random_ip(struct test_env *t)
{
	static const uint8_t bytes[] = { 0, 1, 127, 128, 254, 255 };
	struct ip ip = { .family = test_random(t) % 2 ? IP_V4 : IP_V6 };

	for (size_t i = 0; i < (ip.family == IP_V4 ? 4 : 16); i++)
		ip.b[i] = bytes[test_random(t) % ARRAY_LEN(bytes)];
	return ip;
}

static void routes_agree_with_a_linear_search(void **state)
{
	struct routes_entry entries[200];
	struct test_env t;

	(void)state;
	test_env_init(&t, 4242);
	for (int round = 0; round < 300; round++) {
		size_t n = test_random(&t) % ARRAY_LEN(entries);
		struct routes *r;

		for (size_t i = 0; i < n; i++) {
			struct ip ip = random_ip(&t);

			entries[i].prefix = prefix_host(&ip);
			if (test_random(&t) % 3)
				entries[i].prefix.bits =
					(uint8_t)(test_random(&t) % (entries[i].prefix.bits + 1u));
			entries[i].peer_id = (uint32_t)(test_random(&t) % 50);
		}
		r = routes_new(entries, n, test_random(&t));
		assert_non_null(r);
		for (int i = 0; i < 400; i++) {
			struct ip ip = i % 4 || n == 0 ? random_ip(&t)
						       : entries[test_random(&t) % n].prefix.ip;
			char text[IP_TEXT_MAX];

			if (routes_lookup(r, ip.family, ip.b) != slow_lookup(entries, n, &ip))
				fail_msg("round %d: %s", round, ip_write(text, &ip));
		}
		routes_free(r);
	}
}

static void routes_of_10000_peers_fit_in_1_mb(void **state)
{
	enum { PEERS = 10000 };
	struct routes_entry *entries = calloc(2 * PEERS, sizeof(*entries));
	struct routes *r;

	(void)state;
	assert_non_null(entries);
	for (uint32_t i = 0; i < PEERS; i++) {
		struct ip v4 = ip4(100, 64, (uint8_t)(i >> 8), (uint8_t)i);
		struct ip v6 = { .family = IP_V6,
				 .b = { 0xfd, 0x7a, 0x11, 0x5c, [14] = (uint8_t)(i >> 8),
					(uint8_t)i } };

		entries[2 * i] = (struct routes_entry){ prefix_host(&v4), i };
		entries[2 * i + 1] = (struct routes_entry){ prefix_host(&v6), i };
	}
	r = routes_new(entries, 2 * PEERS, 99);
	assert_non_null(r);
	for (size_t i = 0; i < 2 * PEERS; i++)
		assert_int_equal(
			routes_lookup(r, entries[i].prefix.ip.family, entries[i].prefix.ip.b),
			entries[i].peer_id);
	assert_in_range(routes_bytes(r), 1, 1 << 20);
	routes_free(r);
	free(entries);
}

/* Peers come and go one at a time; each version is compared with a linear search, the one before too. */
static void routes_patched_agree_with_a_linear_search(void **state)
{
	enum { PEERS = 400, ROUNDS = 3000 };
	static struct routes_entry entries[PEERS + 1];
	struct routes_entry moved, was[PEERS + 1];
	size_t n = 1, n_patched = 0;
	struct routes *r, *next;
	struct test_env t;

	(void)state;
	test_env_init(&t, 77);
	entries[0] = entry("10.0.0.0/8", 4000);
	r = routes_new(entries, n, 5);
	for (int round = 0; round < ROUNDS; round++) {
		const uint32_t x = (uint32_t)(test_random(&t) % PEERS);
		struct ip ip = ip4(10, 64, (uint8_t)(x >> 8), (uint8_t)x);
		size_t at = 1, n_was = n;

		if (x % 2)
			ip = (struct ip){ .family = IP_V6, .b = { 0xfd, [14] = (uint8_t)(x >> 8), (uint8_t)x } };
		memcpy(was, entries, sizeof(was));
		while (at < n && !ip_eq(&entries[at].prefix.ip, &ip))
			at++;
		moved = (struct routes_entry){ prefix_host(&ip), x };
		if (at < n) {
			/* Neither an address that is there nor that of another peer. */
			assert_null(routes_patch(r, NULL, 0, &moved, 1));
			moved.peer_id++;
			assert_null(routes_patch(r, &moved, 1, NULL, 0));
			moved.peer_id--;
			next = routes_patch(r, &moved, 1, NULL, 0);
			entries[at] = entries[--n];
		} else {
			assert_null(routes_patch(r, &moved, 1, NULL, 0));
			next = routes_patch(r, NULL, 0, &moved, 1);
			entries[n++] = moved;
		}
		n_patched += next != NULL;
		if (next)
			assert_null(routes_patch(r, NULL, 0, &moved, 1)); /* it was superseded */
		else
			next = routes_new(entries, n, (uint64_t)round);
		assert_non_null(next);
		for (int i = 0; i < 20; i++) {
			const struct ip q = i ? entries[test_random(&t) % n].prefix.ip : ip;

			assert_int_equal(routes_lookup(next, q.family, q.b), slow_lookup(entries, n, &q));
			assert_int_equal(routes_lookup(r, q.family, q.b), slow_lookup(was, n_was, &q));
		}
		routes_free(r);
		r = next;
	}
	assert_in_range(n_patched, ROUNDS * 9 / 10, ROUNDS);
	moved = entry("10.1.0.0/16", 1);
	assert_null(routes_patch(r, NULL, 0, &moved, 1)); /* not a single address */
	routes_free(r);
}

static void routes_with_doubles_are_not_patched(void **state)
{
	const struct routes_entry entries[] = { entry("100.64.0.1", 1), entry("100.64.0.1", 2) };
	struct routes *r = routes_new(entries, ARRAY_LEN(entries), 1);

	(void)state;
	assert_non_null(r);
	assert_null(routes_patch(r, &entries[1], 1, NULL, 0)); /* peer 1 would have to come back */
	routes_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes_prefer_the_longest_prefix),
		cmocka_unit_test(routes_take_the_later_of_equal_prefixes),
		cmocka_unit_test(routes_decide_whose_an_inner_source_is),
		cmocka_unit_test(routes_may_be_empty),
		cmocka_unit_test(routes_agree_with_a_linear_search),
		cmocka_unit_test(routes_of_10000_peers_fit_in_1_mb),
		cmocka_unit_test(routes_patched_agree_with_a_linear_search),
		cmocka_unit_test(routes_with_doubles_are_not_patched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
