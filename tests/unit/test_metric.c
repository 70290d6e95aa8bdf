/* SPDX-License-Identifier: MIT */
/* Comparison of paths and MTU probes against vectors/path-selection.json. */
#include "tests/unit/testing.h"

#include <string.h>

#include "path/metric.h"

#include "wire/disco.h"

static struct metric metric_of(const cJSON *o)
{
	struct metric m = { .path = { .kind = PATH_NONE } };
	struct ep ep;
	const char *addr;

	if (cJSON_IsNull(o))
		return m;
	addr = test_str(o, "addr");
	assert_int_equal(ep_parse(&ep, addr, strlen(addr)), 0);
	m.path = path_direct(&ep);
	if (cJSON_HasObjectItem(o, "vni"))
		m.path = path_relay(&ep, (uint32_t)test_get(o, "vni")->valueint);
	m.latency_ns = (int64_t)test_get(o, "latency_ns")->valuedouble;
	m.mtu = (uint32_t)test_get(o, "wire_mtu")->valueint;
	return m;
}

static void the_29_pairs_compare_as_in_the_reference(void **state)
{
	cJSON *doc = test_vectors("path-selection.json");
	const cJSON *row;
	int n = 0;

	(void)state;
	cJSON_ArrayForEach(row, test_get(doc, "better_addr"))
	{
		const struct metric a = metric_of(test_get(row, "a")),
				    b = metric_of(test_get(row, "b"));

		if (metric_is_better(&a, &b) != cJSON_IsTrue(test_get(row, "a_better")) ||
		    metric_is_better(&b, &a) != cJSON_IsTrue(test_get(row, "b_better")))
			fail_msg("%s", test_str(row, "description"));
		n++;
	}
	assert_int_equal(n, 29);
	cJSON_Delete(doc);
}

static void mtu_probes_have_the_padding_of_the_reference(void **state)
{
	cJSON *doc = test_vectors("path-selection.json");
	const cJSON *row;

	(void)state;
	assert_int_equal(test_get(doc, "disco_ping_size_without_padding")->valueint,
			 DISCO_PING_SIZE);
	assert_int_equal(test_get(doc, "max_disco_ping_size")->valueint, DISCO_PING_SIZE_MAX);
	assert_int_equal(test_get(doc, "safe_wire_mtu")->valueint, METRIC_SAFE_MTU);
	cJSON_ArrayForEach(row, test_get(doc, "mtu_probe"))
	{
		size_t size;
		const size_t pad = metric_mtu_padding((uint32_t)test_get(row, "wire_mtu")->valueint,
						      cJSON_IsTrue(test_get(row, "ipv6")), &size);

		assert_int_equal(pad, test_get(row, "padding")->valueint);
		assert_int_equal(size, test_get(row, "disco_packet_size")->valueint);
	}
	cJSON_Delete(doc);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_29_pairs_compare_as_in_the_reference),
		cmocka_unit_test(mtu_probes_have_the_padding_of_the_reference),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
