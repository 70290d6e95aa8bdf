/* SPDX-License-Identifier: MIT */
/* policy/hostroutes: which prefixes share a route, when the shared routes come and go, and that a run of changes
 * leaves the host with the routes that telling all of them would. */
#include "tests/unit/testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "policy/hostroutes.h"

enum { POOL = 14000, STEPS = 4000 };

static struct prefix prefix_of(const char *text)
{
	struct prefix p;

	assert_int_equal(prefix_parse(&p, text, strlen(text), false), 0);
	return p;
}

static bool has(const struct prefix *list, size_t n, const char *text)
{
	const struct prefix p = prefix_of(text);

	for (size_t i = 0; i < n; i++)
		if (prefix_eq(&list[i], &p))
			return true;
	return false;
}

static struct prefix peer4(uint32_t i)
{
	return (struct prefix){ .ip = ip4(100, (uint8_t)(64 + (i >> 16)), (uint8_t)(i >> 8), (uint8_t)i), .bits = 32 };
}

static struct prefix peer6(uint32_t i)
{
	const uint8_t b[16] = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [14] = (uint8_t)(i >> 8), [15] = (uint8_t)i };

	return (struct prefix){ .ip = ip6(b), .bits = 128 };
}

/* The routes for these prefixes, in 'list'; returns how many. */
static size_t all_of(struct hostroutes *h, struct prefix *list, const char *const *texts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		list[i] = prefix_of(texts[i]);
	return hostroutes_all(h, list, n);
}

static void peers_share_the_route_of_their_range(void **state)
{
	const char *const texts[] = { "100.64.0.1/32", "fd7a:115c:a1e0::1/128", "100.64.0.2/32", "fd7a:115c:a1e0::2/128" };
	struct prefix list[ARRAY_LEN(texts)];
	struct hostroutes h = { 0 };
	size_t n;

	(void)state;
	n = all_of(&h, list, texts, ARRAY_LEN(texts));
	assert_int_equal(n, 3);
	assert_true(has(list, n, "100.64.0.1/32"));
	assert_true(has(list, n, "100.64.0.2/32"));
	assert_true(has(list, n, "fd7a:115c:a1e0::/48"));
	assert_int_equal(hostroutes_all(&h, list, 0), 0);
}

/* Subnets, addresses of other ranges and default routes are the host's business one by one. */
static void other_prefixes_keep_their_own(void **state)
{
	const char *const texts[] = { "0.0.0.0/0",	  "::/0",		  "192.0.2.0/24",	 "192.0.2.7/32",
				      "2001:db8::/32",	  "2001:db8::1/128",	  "100.64.0.0/16",	 "100.128.0.1/32",
				      "100.63.255.255/32", "fd7a:115c:a1e0:b1a::/64", "fd7a:115c:a1e1::1/128" };
	struct prefix list[ARRAY_LEN(texts)];
	struct hostroutes h = { 0 };
	size_t n;

	(void)state;
	n = all_of(&h, list, texts, ARRAY_LEN(texts));
	assert_int_equal(n, ARRAY_LEN(texts));
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		assert_true(has(list, n, texts[i]));
}

static size_t tell(struct hostroutes *h, struct prefix *list, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		list[i] = peer4(i + 1);
	return hostroutes_all(h, list, n);
}

/* Above the line one route, and each its own again well below it only. */
static void very_many_share_one_and_do_not_flap(void **state)
{
	struct prefix *list = calloc(POOL, sizeof(*list));
	struct hostroutes h = { 0 };

	(void)state;
	assert_non_null(list);
	assert_int_equal(tell(&h, list, HOSTROUTES_EACH_MAX), HOSTROUTES_EACH_MAX);
	assert_int_equal(tell(&h, list, HOSTROUTES_EACH_MAX + 1), 1);
	assert_true(has(list, 1, "100.64.0.0/10"));
	assert_int_equal(tell(&h, list, HOSTROUTES_EACH_AGAIN + 1), 1);
	assert_int_equal(tell(&h, list, HOSTROUTES_EACH_AGAIN), HOSTROUTES_EACH_AGAIN);
	free(list);
}

/* A peer among many adds nothing to the host's table. */
static void a_change_within_shared_ranges_is_nothing(void **state)
{
	struct prefix *list = calloc(POOL, sizeof(*list)), in[2], out[2];
	struct hostroutes h = { 0 };
	size_t n = 0, n_in = 2, n_out = 2;

	(void)state;
	assert_non_null(list);
	for (uint32_t i = 0; i < POOL; i += 2) {
		list[n++] = peer4(i);
		list[n++] = peer6(i);
	}
	assert_int_equal(hostroutes_all(&h, list, n), POOL / 2 + 1);
	in[0] = peer4(POOL + 1);
	in[1] = peer6(POOL + 1);
	out[0] = peer4(2);
	out[1] = peer6(2);
	assert_true(hostroutes_change(&h, in, &n_in, out, &n_out));
	assert_int_equal(n_in, 1);
	assert_int_equal(n_out, 1);
	assert_true(prefix_eq(&in[0], &(struct prefix){ .ip = peer4(POOL + 1).ip, .bits = 32 }));
	free(list);
}

/* The first peer brings the range, the last takes it along. */
static void the_first_and_the_last_take_a_whole(void **state)
{
	struct prefix in[1] = { peer6(1) }, out[1] = { peer6(1) }, list[1] = { peer6(1) };
	struct hostroutes h = { 0 };
	size_t n_in = 1, n_out = 0;

	(void)state;
	assert_int_equal(hostroutes_all(&h, list, 0), 0);
	assert_false(hostroutes_change(&h, in, &n_in, out, &n_out));
	assert_int_equal(hostroutes_all(&h, list, 1), 1);
	assert_true(has(list, 1, "fd7a:115c:a1e0::/48"));
	n_in = 0;
	n_out = 1;
	out[0] = peer6(1);
	assert_false(hostroutes_change(&h, in, &n_in, out, &n_out));
	assert_int_equal(hostroutes_all(&h, list, 0), 0);
}

static void more_gone_than_told_takes_a_whole(void **state)
{
	struct prefix out[1] = { peer4(1) };
	struct hostroutes h = { 0 };
	size_t n_in = 0, n_out = 1;

	(void)state;
	assert_false(hostroutes_change(&h, NULL, &n_in, out, &n_out));
}

/* --- against the whole, over a random run --- */

static int order(const void *pa, const void *pb)
{
	return memcmp(pa, pb, sizeof(struct prefix));
}

/* The host's table. */
struct host {
	struct prefix routes[POOL];
	size_t n;
};

static void host_add(struct host *t, const struct prefix *p)
{
	for (size_t i = 0; i < t->n; i++)
		if (prefix_eq(&t->routes[i], p))
			return;
	assert_true(t->n < POOL);
	t->routes[t->n++] = *p;
}

static void host_del(struct host *t, const struct prefix *p)
{
	for (size_t i = 0; i < t->n; i++)
		if (prefix_eq(&t->routes[i], p)) {
			t->routes[i] = t->routes[--t->n];
			return;
		}
	fail_msg("a route is removed that is not there");
}

static void host_is(struct host *t, struct prefix *list, size_t n)
{
	assert_int_equal(t->n, n);
	qsort(t->routes, n, sizeof(*list), order);
	qsort(list, n, sizeof(*list), order);
	assert_memory_equal(t->routes, list, n * sizeof(*list));
}

/* The prefixes of all members, IPv4 and IPv6 in turn. */
static size_t members(const bool *is_in, struct prefix *list)
{
	size_t n = 0;

	for (uint32_t i = 0; i < POOL; i++)
		if (is_in[i])
			list[n++] = i % 16 ? peer4(i) : peer6(i);
	return n;
}

static void changes_add_up_to_the_whole(void **state)
{
	struct prefix *list = calloc(POOL, sizeof(*list)), *fresh = calloc(POOL, sizeof(*fresh));
	struct host *host = calloc(1, sizeof(*host));
	bool *is_in = calloc(POOL, sizeof(*is_in));
	struct hostroutes h = { 0 };
	size_t n_wholes = 0;
	uint32_t seed = 7;

	(void)state;
	assert_true(list && fresh && host && is_in);
	for (uint32_t i = 0; i < HOSTROUTES_EACH_MAX + 500; i++)
		is_in[i] = true;
	for (int step = 0; step < STEPS; step++) {
		struct prefix in[8], out[8];
		size_t n_in = 0, n_out = 0;

		/* Up and down across both lines. */
		for (int k = 0; k < 8; k++) {
			const uint32_t i = (seed = seed * 1664525 + 1013904223) >> 8, at = i % POOL;
			const bool wanted = (step / 500) % 2 ? i % 5 == 0 : i % 5 != 0;
			const struct prefix p = at % 16 ? peer4(at) : peer6(at);

			if (is_in[at] == wanted)
				continue;
			is_in[at] = wanted;
			if (wanted)
				in[n_in++] = p;
			else
				out[n_out++] = p;
		}
		if (step && hostroutes_change(&h, in, &n_in, out, &n_out)) {
			for (size_t k = 0; k < n_in; k++)
				host_add(host, &in[k]);
			for (size_t k = 0; k < n_out; k++)
				host_del(host, &out[k]);
		} else {
			host->n = hostroutes_all(&h, host->routes, members(is_in, host->routes));
			n_wholes++;
		}
		if (step % 100 == 99) {
			struct hostroutes same = { .is_coarse = h.is_coarse };

			host_is(host, fresh, hostroutes_all(&same, fresh, members(is_in, fresh)));
			assert_int_equal(same.is_coarse, h.is_coarse);
		}
	}
	assert_in_range(n_wholes, 3, 20); /* both lines were crossed, and seldom */
	free(list);
	free(fresh);
	free(host);
	free(is_in);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peers_share_the_route_of_their_range),
		cmocka_unit_test(other_prefixes_keep_their_own),
		cmocka_unit_test(very_many_share_one_and_do_not_flap),
		cmocka_unit_test(a_change_within_shared_ranges_is_nothing),
		cmocka_unit_test(the_first_and_the_last_take_a_whole),
		cmocka_unit_test(more_gone_than_told_takes_a_whole),
		cmocka_unit_test(changes_add_up_to_the_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
