/* SPDX-License-Identifier: MIT */
/* Prometheus text: complete, sorted, TYPE before HELP. */
#include "tests/unit/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "daemon/metrics.h"

static char *write_all(const struct metrics_input *in)
{
	struct bytes b = { 0 };

	assert_int_equal(metrics_write(&b, in), 0);
	assert_int_equal(bytes_append(&b, "", 1), 0);
	return (char *)b.buf;
}

static void relay_series_are_upstreams(void **state)
{
	struct metrics_input in = { .relay_ran = true };
	char *text;

	(void)state;
	in.relay_forwarded[0][0] = (struct metrics_count){ 33, 4316 };
	text = write_all(&in);
	assert_non_null(strstr(text,
			       "# TYPE tailscaled_peer_relay_forwarded_bytes_total counter\n"
			       "# HELP tailscaled_peer_relay_forwarded_bytes_total Number of bytes forwarded via "
			       "Peer Relay\n"
			       "tailscaled_peer_relay_forwarded_bytes_total{transport_in=\"udp4\",transport_out="
			       "\"udp4\"} 4316\n"
			       "tailscaled_peer_relay_forwarded_bytes_total{transport_in=\"udp4\",transport_out="
			       "\"udp6\"} 0\n"));
	free(text);
}

static void all_names_of_the_table_are_there(void **state)
{
	static const char *const names[] = {
		"tailscaled_advertised_routes 0\n",
		"tailscaled_approved_routes 0\n",
		"tailscaled_health_messages{type=\"warning\"} 0\n",
		"tailscaled_home_derp_region_id 0\n",
		"tailscaled_inbound_packets_total{path=\"peer_relay_ipv6\"} 0\n",
		"tailscaled_inbound_bytes_total{path=\"derp\"} 0\n",
		"tailscaled_outbound_packets_total{path=\"direct_ipv4\"} 0\n",
		"tailscaled_outbound_bytes_total{path=\"direct_ipv6\"} 0\n",
		"tailscaled_inbound_dropped_packets_total{reason=\"acl\"} 0\n",
		"tailscaled_outbound_dropped_packets_total{reason=\"link_local_unicast\"} 0\n",
		"tailscaled_peer_relay_forwarded_packets_total{transport_in=\"udp6\",transport_out=\"udp6\"} 0\n",
		"tailscaled_peer_relay_endpoints{state=\"open\"} 0\n",
		"meshd_peers{path=\"idle\"} 0\n",
		"meshd_peer_relay_latency_seconds{relay=\"a\\\"b\"} 0.0125\n",
		"meshd_peer_path_changes_total{from=\"derp\",to=\"direct\"} 2\n",
		"meshd_peer_relay_sessions_total 0\n",
		"meshd_peer_relay_dropped_packets_total{reason=\"not_bound\"} 0\n",
		"meshd_control_connected 1\n",
		"meshd_netmap_age_seconds 5\n",
		"meshd_key_expiry_timestamp_seconds 0\n",
		"meshd_build_info{version=",
		"meshd_process_resident_memory_bytes ",
	};
	const struct metrics_latency latency = { "a\"b", 0.0125 };
	struct metrics_input in = { .relay_ran = true, .control_connected = true, .netmap_age_s = 5,
				    .relay_latency = &latency, .n_relay_latency = 1 };
	char *text;

	(void)state;
	in.path_changes[METRICS_RUNG_DERP][METRICS_RUNG_DIRECT] = 2;
	text = write_all(&in);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strstr(text, names[i]))
			fail_msg("missing: %s", names[i]);
	free(text);
}

/* Lines of samples grow strictly by name and labels; each name has its two comments, in order. */
static void samples_are_sorted(void **state)
{
	struct metrics_input in = { .relay_ran = true };
	char *text = write_all(&in), *line, *save = text, last[256] = "";

	(void)state;
	while ((line = strsep(&save, "\n")) && *line) {
		char name[256];

		if (strncmp(line, "# TYPE ", 7) == 0) {
			char *help = strsep(&save, "\n");

			assert_int_equal(strncmp(help, "# HELP ", 7), 0);
			assert_int_equal(strncmp(help + 7, line + 7, strcspn(line + 7, " ") + 1), 0);
			continue;
		}
		(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(line, " "), line);
		if (strncmp(last, name, strcspn(name, "{")) == 0 && strcmp(last, name) >= 0)
			fail_msg("%s after %s", name, last);
		memcpy(last, name, sizeof(last));
	}
	free(text);
}

static void relay_series_are_absent_before_it_ran(void **state)
{
	struct metrics_input in = { 0 };
	char *text = write_all(&in);

	(void)state;
	assert_null(strstr(text, "peer_relay_forwarded"));
	assert_null(strstr(text, "peer_relay_endpoints"));
	free(text);
}

static void internal_counters_are_sorted(void **state)
{
	const struct metrics_counter list[] = { { "b", 2, false }, { "a", 1, true } };
	struct metrics_input in = { .counters = list, .n_counters = 2 };
	struct bytes b = { 0 };

	(void)state;
	assert_int_equal(metrics_write_counters(&b, &in), 0);
	assert_int_equal(bytes_append(&b, "", 1), 0);
	assert_string_equal((const char *)b.buf, "# TYPE a gauge\na 1\n# TYPE b counter\nb 2\n");
	bytes_wipe(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(relay_series_are_upstreams),
		cmocka_unit_test(all_names_of_the_table_are_there),
		cmocka_unit_test(samples_are_sorted),
		cmocka_unit_test(relay_series_are_absent_before_it_ran),
		cmocka_unit_test(internal_counters_are_sorted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
