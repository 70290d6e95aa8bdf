/* SPDX-License-Identifier: MIT */
/* path/netcheck against simulated STUN servers: plans, NAT behaviour, the choice of home, the HTTPS fallback. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "path/netcheck.h"
#include "tests/unit/testing.h"

enum { REGIONS = 5 };

static const int64_t T0 = 1000 * NS_PER_S;

/* What waits to arrive. */
struct flight {
	struct mono at;
	uint8_t buf[STUN_RESPONSE_MAX];
	size_t size;
};

struct lab {
	struct test_env env;
	struct netcheck *n;
	struct mono now;
	struct derp_map map;
	struct derp_region regions[REGIONS];
	struct derp_node nodes[REGIONS];
	char text[REGIONS][3][32];
	struct netcheck_host host;
	int64_t rtt_ms[REGIONS]; /* -1 = does not answer */
	struct ep mapped4[REGIONS];
	bool udp_blocked;
	bool https_ok;
	struct flight flights[256];
	size_t n_flights;
	unsigned sent4[REGIONS], sent6[REGIONS], resolves, opens, done;
	uint32_t stream;
	struct mono https_at;
};

static char *fmt(char *text, const char *f, unsigned i)
{
	(void)snprintf(text, 32, "%s%u", f, i);
	return text;
}

static void lab_init(struct lab *l)
{
	memset(l, 0, sizeof(*l));
	test_env_init(&l->env, 5);
	l->now.ns = T0;
	l->host = (struct netcheck_host){ .has_ip4 = true };
	for (unsigned i = 0; i < REGIONS; i++) {
		l->nodes[i] = (struct derp_node){ .name = fmt(l->text[i][0], "n", i), .host_name = fmt(l->text[i][1], "derp", i),
						  .cert_name = (char *)"", .ipv4 = fmt(l->text[i][2], "192.0.2.", i + 1),
						  .ipv6 = (char *)"none", .stun_test_ip = (char *)"", .stun_port = 3478,
						  .derp_port = 443 };
		l->regions[i] = (struct derp_region){ .id = 900 + i, .code = (char *)"c", .name = (char *)"r", .score = 1,
						      .nodes = &l->nodes[i], .n_nodes = 1 };
		l->rtt_ms[i] = 10 * (int)(i + 1);
		l->mapped4[i] = (struct ep){ .ip = ip4(203, 0, 113, 7), .port = 41641 };
	}
	l->map = (struct derp_map){ .regions = l->regions, .n_regions = REGIONS };
	l->n = netcheck_new(&l->env.env);
	assert_non_null(l->n);
}

static void lab_map(struct lab *l)
{
	assert_int_equal(netcheck_set_map(l->n, &l->map), 0);
}

static void on_send(struct lab *l, const struct netcheck_out *out)
{
	unsigned region = out->to.ip.b[out->to.ip.family == IP_V4 ? 3 : 15] - 1u;
	struct stun_txid txid;
	struct flight *f = &l->flights[l->n_flights];

	assert_true(region < REGIONS);
	assert_int_equal(out->to.port, 3478);
	assert_int_equal(stun_request_parse(&txid, out->data, out->size), 0);
	if (out->to.ip.family == IP_V4)
		l->sent4[region]++;
	else
		l->sent6[region]++;
	if (l->udp_blocked || l->rtt_ms[region] < 0)
		return;
	assert_true(l->n_flights < ARRAY_LEN(l->flights));
	f->at = mono_add_ms(l->now, l->rtt_ms[region]);
	f->size = stun_response_write(f->buf, &txid, out->to.ip.family == IP_V4 ? &l->mapped4[region] : &out->to);
	l->n_flights++;
}

static void drain(struct lab *l)
{
	struct netcheck_out out;
	struct ip ip = ip4(192, 0, 2, 1), none = { 0 };

	while (netcheck_poll(l->n, l->now, &out)) {
		switch (out.kind) {
		case NETCHECK_SEND:
			on_send(l, &out);
			break;
		case NETCHECK_RESOLVE:
			l->resolves++;
			netcheck_resolved(l->n, l->now, out.name, &ip, &none);
			break;
		case NETCHECK_OPEN:
			l->opens++;
			assert_int_equal(out.addr->port, 443);
			if (l->https_ok && strcmp(out.addr->host, "derp1") == 0)
				netcheck_opened(l->n, l->now, l->stream = out.stream,
						&(struct stream_info){ .peer.ip = ip });
			else if (!l->https_ok)
				netcheck_stream_closed(l->n, l->now, out.stream);
			break;
		case NETCHECK_WRITE:
			assert_non_null(strstr((const char *)out.data, "GET /derp/latency-check HTTP/1.1\r\nHost: derp1\r\n"));
			l->https_at = mono_add_ms(l->now, 33);
			break;
		case NETCHECK_CLOSE:
			break;
		case NETCHECK_DONE:
			l->done++;
			break;
		}
	}
}

/* Runs until the report is done; returns how long it took in ms. */
static int64_t run(struct lab *l, bool full)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	struct mono began = l->now;
	unsigned done = l->done;

	memset(l->sent4, 0, sizeof(l->sent4));
	memset(l->sent6, 0, sizeof(l->sent6));
	l->n_flights = 0;
	netcheck_start(l->n, l->now, &l->host, full);
	drain(l);
	for (int i = 0; i < 10000 && l->done == done; i++) {
		struct mono at = netcheck_deadline(l->n);
		size_t first = SIZE_MAX;

		for (size_t k = 0; k < l->n_flights; k++) {
			if (l->flights[k].size && (first == SIZE_MAX || mono_before(l->flights[k].at, l->flights[first].at)))
				first = k;
		}
		if (l->https_at.ns && mono_before(l->https_at, at) && first == SIZE_MAX) {
			l->now = l->https_at;
			l->https_at = MONO_ZERO;
			netcheck_stream_input(l->n, l->now, l->stream, (const uint8_t *)answer, sizeof(answer) - 1);
		} else if (first != SIZE_MAX && !mono_before(at, l->flights[first].at)) {
			l->now = mono_max(l->now, l->flights[first].at);
			assert_int_equal(netcheck_input(l->n, l->now, l->flights[first].buf, l->flights[first].size), 0);
			assert_int_equal(netcheck_input(l->n, l->now, l->flights[first].buf, l->flights[first].size), -ENOENT);
			l->flights[first].size = 0;
		} else {
			assert_false(mono_is_never(at));
			l->now = mono_max(l->now, at);
			netcheck_tick(l->n, l->now);
		}
		drain(l);
	}
	assert_int_equal(l->done, done + 1);
	return mono_since_ms(l->now, began);
}

static void netcheck_full_report_stops_after_three_regions(void **state)
{
	const struct netcheck_report *r;
	struct lab l;
	int64_t ms;

	(void)state;
	lab_init(&l);
	lab_map(&l);
	assert_null(netcheck_report(l.n));
	ms = run(&l, false);
	/* Third answer at 30 ms, then twice the slowest; all five are there at 50. */
	assert_in_range(ms, 50, 90);
	r = netcheck_report(l.n);
	assert_non_null(r);
	assert_true(r->udp && r->ipv4 && !r->ipv6 && r->ipv4_can_send && !r->ipv6_can_send);
	assert_int_equal(r->preferred, 900);
	assert_int_equal(r->n_latency, 5);
	assert_int_equal(r->latency[1].region, 901);
	assert_int_equal(r->latency[1].ns, 20 * NS_PER_MS);
	assert_int_equal(r->latency[1].v4_ns, 20 * NS_PER_MS);
	assert_int_equal(r->latency[1].v6_ns, -1);
	assert_int_equal(r->mapping_varies, TRI_FALSE);
	assert_int_equal(r->wall_ns, TEST_WALL_NS);
	for (int i = 0; i < REGIONS; i++)
		assert_int_equal(l.sent4[i], 1);
	netcheck_free(l.n);
}

static void netcheck_unanswered_probes_are_repeated_until_3_s(void **state)
{
	struct lab l;
	int64_t ms;

	(void)state;
	lab_init(&l);
	for (int i = 1; i < REGIONS; i++)
		l.rtt_ms[i] = -1;
	lab_map(&l);
	ms = run(&l, true);
	assert_int_equal(ms, NETCHECK_STUN_MS);
	assert_int_equal(l.sent4[0], 1);
	assert_int_equal(l.sent4[1], 3);
	assert_int_equal(netcheck_report(l.n)->n_latency, 1);
	assert_int_equal(netcheck_report(l.n)->mapping_varies, TRI_UNSET); /* one answer tells nothing */
	netcheck_free(l.n);
}

static void netcheck_incremental_report_probes_the_fastest_and_home(void **state)
{
	struct lab l;

	(void)state;
	lab_init(&l);
	lab_map(&l);
	(void)run(&l, true);
	netcheck_set_home(l.n, 904); /* the slowest */
	l.now = mono_add_s(l.now, 20);
	(void)run(&l, false);
	for (int i = 0; i < REGIONS; i++)
		assert_int_equal(l.sent4[i], i == 3 ? 0 : 1);
	/* Full again after 5 minutes. */
	l.now = mono_add_s(l.now, NETCHECK_FULL_S);
	(void)run(&l, false);
	assert_int_equal(l.sent4[3], 1);
	netcheck_free(l.n);
}

static void netcheck_sees_a_mapping_that_varies(void **state)
{
	struct ep eps[8];
	uint8_t types[8];
	struct lab l;
	size_t n;

	(void)state;
	lab_init(&l);
	l.mapped4[1].port = 50001;
	lab_map(&l);
	(void)run(&l, true);
	assert_int_equal(netcheck_report(l.n)->mapping_varies, TRI_TRUE);
	n = netcheck_endpoints(netcheck_report(l.n), 41640, eps, types, ARRAY_LEN(eps));
	/* The first answer's address, and its guess with our own port; 50001 was seen once only. */
	assert_int_equal(n, 2);
	assert_int_equal(eps[0].port, 41641);
	assert_int_equal(types[0], EP_TYPE_STUN);
	assert_int_equal(eps[1].port, 41640);
	assert_int_equal(types[1], EP_TYPE_STUN4_LOCAL_PORT);
	netcheck_free(l.n);
}

static void netcheck_home_moves_only_for_10_ms_and_a_third(void **state)
{
	static const struct {
		int64_t home_ms, other_ms;
		bool moves;
	} rows[] = {
		{ 20, 11, false }, /* 9 ms */
		{ 100, 80, false }, /* a fifth */
		{ 100, 67, false }, /* less than a third */
		{ 100, 66, true },
		{ 25, 12, true },
		{ 29, 20, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct lab l;

		lab_init(&l);
		l.map.n_regions = 2;
		l.rtt_ms[0] = rows[i].home_ms;
		l.rtt_ms[1] = rows[i].other_ms;
		lab_map(&l);
		netcheck_set_home(l.n, 900);
		(void)run(&l, true);
		assert_int_equal(netcheck_report(l.n)->preferred, rows[i].moves ? 901 : 900);
		netcheck_free(l.n);
	}
}

static void netcheck_home_that_talks_is_kept_when_it_does_not_answer(void **state)
{
	struct lab l;

	(void)state;
	lab_init(&l);
	l.map.n_regions = 2;
	l.rtt_ms[0] = -1;
	lab_map(&l);
	netcheck_set_home(l.n, 900);
	netcheck_heard(l.n, 900, l.now); /* a DERP frame in this report's time */
	(void)run(&l, true);
	assert_int_equal(netcheck_report(l.n)->preferred, 900);
	l.now = mono_add_s(l.now, 60);
	(void)run(&l, true);
	assert_int_equal(netcheck_report(l.n)->preferred, 901);
	/* Nothing answers at all, home spoke within two minutes. */
	netcheck_heard(l.n, 901, l.now);
	l.udp_blocked = true;
	l.now = mono_add_s(l.now, 100);
	(void)run(&l, true);
	assert_int_equal(netcheck_report(l.n)->preferred, 901);
	l.now = mono_add_s(l.now, 60);
	(void)run(&l, true);
	assert_int_equal(netcheck_report(l.n)->preferred, 0);
	assert_int_equal(netcheck_fallback(&l.map, (const uint8_t[32]){ 0, 1 }), 901);
	netcheck_free(l.n);
}

static void netcheck_measures_https_when_udp_is_blocked(void **state)
{
	struct lab l;
	int64_t ms;

	(void)state;
	lab_init(&l);
	l.udp_blocked = l.https_ok = true;
	lab_map(&l);
	ms = run(&l, true);
	assert_int_equal(ms, NETCHECK_REPORT_MS); /* the other regions do not answer */
	assert_int_equal(l.opens, REGIONS);
	assert_false(netcheck_report(l.n)->udp);
	assert_true(netcheck_report(l.n)->ipv4);
	assert_int_equal(netcheck_report(l.n)->preferred, 901);
	assert_int_equal(netcheck_report(l.n)->latency[0].ns, 33 * NS_PER_MS);
	assert_int_equal(netcheck_report(l.n)->latency[0].v4_ns, -1);
	/* The relay server's own report asks STUN only. */
	l.host.only_stun = true;
	l.opens = 0;
	assert_int_equal(run(&l, true), NETCHECK_STUN_MS);
	assert_int_equal(l.opens, 0);
	netcheck_free(l.n);
}

static void netcheck_resolves_names_once(void **state)
{
	struct lab l;

	(void)state;
	lab_init(&l);
	l.map.n_regions = 1;
	l.nodes[0].ipv4 = (char *)"";
	lab_map(&l);
	(void)run(&l, true);
	(void)run(&l, true);
	assert_int_equal(l.resolves, 1);
	assert_int_equal(l.sent4[0], 1);
	l.now = mono_add_s(l.now, NETCHECK_NAME_LIFE_S);
	(void)run(&l, true);
	assert_int_equal(l.resolves, 2);
	netcheck_free(l.n);
}

static void netcheck_obeys_the_map(void **state)
{
	struct lab l;

	(void)state;
	lab_init(&l);
	l.nodes[0].stun_port = -1;
	l.regions[1].no_measure_no_home = true;
	l.nodes[2].ipv4 = (char *)"none";
	l.nodes[3].ipv6 = (char *)"2001:db8::4";
	l.host.has_ip6 = true;
	lab_map(&l);
	(void)run(&l, true);
	for (int i = 0; i < REGIONS; i++) {
		assert_int_equal(l.sent4[i] > 0, i >= 3);
		assert_int_equal(l.sent6[i] > 0, i == 3);
	}
	assert_true(netcheck_report(l.n)->ipv6);
	netcheck_free(l.n);
}

static void netcheck_trigger_during_a_report_gives_one_more(void **state)
{
	struct lab l;

	(void)state;
	lab_init(&l);
	l.map.n_regions = 1;
	lab_map(&l);
	netcheck_start(l.n, l.now, &l.host, true);
	netcheck_start(l.n, l.now, &l.host, true);
	netcheck_start(l.n, l.now, &l.host, true);
	for (int i = 0; i < 100 && netcheck_is_running(l.n); i++) {
		drain(&l);
		l.now = mono_max(l.now, netcheck_deadline(l.n));
		netcheck_tick(l.n, l.now);
	}
	drain(&l);
	assert_int_equal(l.done, 2);
	netcheck_free(l.n);
}

static void netcheck_fills_netinfo(void **state)
{
	struct hostinfo h = { 0 };
	struct lab l;

	(void)state;
	lab_init(&l);
	lab_map(&l);
	netcheck_set_portmap(l.n, TRI_FALSE, TRI_TRUE, TRI_UNSET);
	(void)run(&l, true);
	assert_int_equal(netcheck_netinfo(netcheck_report(l.n), &h), 0);
	assert_int_equal(h.preferred_derp, 900);
	assert_int_equal(h.working_udp, TRI_TRUE);
	assert_int_equal(h.working_ipv6, TRI_FALSE);
	assert_int_equal(h.pmp, TRI_TRUE);
	assert_int_equal(h.n_derp_latency, 5);
	assert_string_equal(h.derp_latency[0].key, "900-v4");
	assert_true(h.derp_latency[0].seconds > 0.0099 && h.derp_latency[0].seconds < 0.0101);
	free(h.derp_latency);
	netcheck_free(l.n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(netcheck_full_report_stops_after_three_regions),
		cmocka_unit_test(netcheck_unanswered_probes_are_repeated_until_3_s),
		cmocka_unit_test(netcheck_incremental_report_probes_the_fastest_and_home),
		cmocka_unit_test(netcheck_sees_a_mapping_that_varies),
		cmocka_unit_test(netcheck_home_moves_only_for_10_ms_and_a_third),
		cmocka_unit_test(netcheck_home_that_talks_is_kept_when_it_does_not_answer),
		cmocka_unit_test(netcheck_measures_https_when_udp_is_blocked),
		cmocka_unit_test(netcheck_resolves_names_once),
		cmocka_unit_test(netcheck_obeys_the_map),
		cmocka_unit_test(netcheck_trigger_during_a_report_gives_one_more),
		cmocka_unit_test(netcheck_fills_netinfo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
