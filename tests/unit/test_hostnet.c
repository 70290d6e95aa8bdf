/* SPDX-License-Identifier: MIT */
/* Is a range in use on this host: what the lines of /proc/net/route say. */
#include "tests/unit/testing.h"

#include <string.h>

#include "base/compiler.h"
#include "daemon/hostnet.h"

#define HEADING "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
#define REST	"\t0\t0\t0\n"

/* As the kernel prints on a little-endian host; the bytes of a number turn around elsewhere. */
static void put_route(char *line, size_t size, const char *name, uint32_t dest_be, uint32_t mask_be)
{
	(void)snprintf(line, size, "%s\t%08X\t00000000\t0001\t0\t0\t0\t%08X" REST, name, dest_be, mask_be);
}

static uint32_t be(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
	const uint8_t bytes[4] = { a, b, c, d };
	uint32_t v;

	memcpy(&v, bytes, sizeof(v));
	return v;
}

static void routes_are_held_against_the_range(void **state)
{
	static const struct {
		const char *name;
		uint8_t dest[4], bits;
		const char *range, *want; /* null = no overlap */
	} rows[] = {
		{ "eth0", { 0, 0, 0, 0 }, 0, "100.64.0.0/10", NULL }, /* a default route */
		{ "eth0", { 192, 0, 2, 0 }, 24, "100.64.0.0/10", NULL },
		{ "eth1", { 100, 100, 0, 0 }, 16, "100.64.0.0/10", "the route 100.100.0.0/16 on eth1" },
		{ "eth1", { 100, 64, 0, 0 }, 10, "100.65.0.0/16", "the route 100.64.0.0/10 on eth1" },
		{ "eth1", { 100, 64, 7, 7 }, 32, "100.64.0.0/10", "the route 100.64.7.7/32 on eth1" },
		{ "mesh0", { 100, 64, 7, 7 }, 32, "100.64.0.0/10", NULL }, /* ours */
		{ "mesh01", { 100, 64, 7, 7 }, 32, "100.64.0.0/10", "the route 100.64.7.7/32 on mesh01" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const uint8_t *d = rows[i].dest;
		const uint32_t mask = rows[i].bits ? UINT32_MAX << (32 - rows[i].bits) : 0;
		char text[600] = HEADING "broken\n\n", line[200], what[HOSTNET_TEXT_MAX] = "";
		struct prefix range;
		FILE *f;

		put_route(line, sizeof(line), rows[i].name, be(d[0], d[1], d[2], d[3]),
			  be((uint8_t)(mask >> 24), (uint8_t)(mask >> 16), (uint8_t)(mask >> 8), (uint8_t)mask));
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s", line);
		assert_int_equal(prefix_parse(&range, rows[i].range, strlen(rows[i].range), false), 0);
		f = fmemopen(text, strlen(text), "r");
		assert_non_null(f);
		assert_int_equal(hostnet_route_overlaps(f, &range, "mesh0", what), rows[i].want != NULL);
		assert_string_equal(what, rows[i].want ? rows[i].want : "");
		(void)fclose(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes_are_held_against_the_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
