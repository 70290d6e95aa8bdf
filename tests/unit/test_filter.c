/* SPDX-License-Identifier: MIT */
/* policy/filter: tables for each rule of the specification, the vectors of control.json, the flow
 * memory, and the compiled filter against a slow reference on random worlds. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "tests/unit/filterref.h"
#include "wire/ctljson.h"
#include "wire/json.h"

/* --- making rules and packets --- */

/* Rules from their JSON text. */
static struct filter_rules rules_of(const char *json)
{
	struct filter_rules rules = { 0 };
	struct json_in in = { 0 };
	cJSON *tree = cJSON_Parse(json);

	assert_non_null(tree);
	ctl_filter_rules_read(&in, tree, &rules, NULL);
	cJSON_Delete(tree);
	return rules;
}

static struct ip ip_of(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(&ip, text, strlen(text)), 0);
	return ip;
}

/* A packet of 'proto' with 24 bytes behind the IP header. */
struct packet {
	uint8_t buf[64];
	struct ip_pkt pkt;
};

static void packet_make(struct packet *p, const char *src, const char *dst, uint8_t proto,
			uint16_t port)
{
	struct ip a = ip_of(src), b = ip_of(dst);
	size_t hdr = a.family == IP_V4 ? 20 : 40;

	memset(p, 0, sizeof(*p));
	if (a.family == IP_V4) {
		p->buf[0] = 0x45;
		p->buf[3] = 44;
		p->buf[9] = proto;
		memcpy(p->buf + 12, a.b, 4);
		memcpy(p->buf + 16, b.b, 4);
	} else {
		p->buf[0] = 0x60;
		p->buf[5] = 24;
		p->buf[6] = proto;
		memcpy(p->buf + 8, a.b, 16);
		memcpy(p->buf + 24, b.b, 16);
	}
	p->buf[hdr] = proto == 1 ? 8 : proto == 58 ? 128 : 0x9c;
	p->buf[hdr + 2] = (uint8_t)(port >> 8);
	p->buf[hdr + 3] = (uint8_t)port;
	if (proto == 6)
		p->buf[hdr + 13] = IP_PKT_SYN;
	assert_int_equal(ip_pkt_parse(&p->pkt, p->buf, hdr + 24), 0);
}

static const char *const own[] = { "100.64.0.1", "fd7a:115c:a1e0::1", "192.168.7.0/24",
				   "169.254.169.254" };

/* A filter for a node with the addresses above. */
static struct filter *filter_of(const char *json, const struct map_node *peer, bool shields_up,
				bool strict_tcp)
{
	struct filter_rules rules = rules_of(json);
	struct prefix local[ARRAY_LEN(own)];
	struct filter_cfg cfg = { .rules = &rules,
				  .local = local,
				  .n_local = ARRAY_LEN(own),
				  .peers = &peer,
				  .n_peers = peer ? 1 : 0,
				  .shields_up = shields_up,
				  .strict_tcp = strict_tcp };
	struct filter *f;

	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		assert_int_equal(prefix_parse(&local[i], own[i], strlen(own[i]), true), 0);
	f = filter_new(&cfg);
	assert_non_null(f);
	filter_rules_wipe(&rules); /* nothing of it is needed any more */
	return f;
}

static enum filter_verdict check(const struct filter *f, const char *src, const char *dst,
				 uint8_t proto, uint16_t port)
{
	struct packet p;

	packet_make(&p, src, dst, proto, port);
	return filter_check(f, &p.pkt, false);
}

static const char allow_all[] = "[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{"
				"\"First\":0,\"Last\":65535}}]}]";
static const char ssh_only[] =
	"[{\"SrcIPs\":[\"100.64.0.2\",\"fd7a:115c:a1e0::2\"],\"IPProto\":[6],"
	"\"DstPorts\":[{\"IP\":\"100.64.0.1\",\"Ports\":{\"First\":22,\"Last\":22}},"
	"{\"IP\":\"fd7a:115c:a1e0::1\",\"Ports\":{\"First\":22,\"Last\":23}}]}]";

/* --- tests --- */

static void filter_follows_the_rules(void **state)
{
	static const struct {
		const char *src, *dst;
		uint8_t proto;
		uint16_t port;
		enum filter_verdict want;
	} table[] = {
		{ "100.64.0.2", "100.64.0.1", 6, 22, FILTER_ACCEPT },
		{ "100.64.0.2", "100.64.0.1", 6, 23, FILTER_DROP_ACL },
		{ "100.64.0.2", "100.64.0.1", 6, 21, FILTER_DROP_ACL },
		{ "100.64.0.3", "100.64.0.1", 6, 22, FILTER_DROP_ACL },
		{ "100.64.0.2", "100.64.0.1", 17, 22, FILTER_NEEDS_FLOW },
		{ "fd7a:115c:a1e0::2", "fd7a:115c:a1e0::1", 6, 23, FILTER_ACCEPT },
		{ "fd7a:115c:a1e0::2", "fd7a:115c:a1e0::1", 6, 24, FILTER_DROP_ACL },
		{ "fd7a:115c:a1e0::3", "fd7a:115c:a1e0::1", 6, 22, FILTER_DROP_ACL },
		/* ICMP wants the address pair alone (measured: control-messages 13) */
		{ "100.64.0.2", "100.64.0.1", 1, 0, FILTER_ACCEPT },
		{ "100.64.0.3", "100.64.0.1", 1, 0, FILTER_DROP_ACL },
		{ "fd7a:115c:a1e0::2", "fd7a:115c:a1e0::1", 58, 0, FILTER_ACCEPT },
		{ "100.64.0.2", "192.168.7.9", 1, 0, FILTER_DROP_ACL },
		/* no rule lists these protocols */
		{ "100.64.0.2", "100.64.0.1", 132, 22, FILTER_NEEDS_FLOW },
		{ "100.64.0.2", "100.64.0.1", 47, 22, FILTER_DROP_ACL },
		/* not for us */
		{ "100.64.0.2", "100.64.0.9", 6, 22, FILTER_DROP_NOT_LOCAL },
		{ "100.64.0.2", "224.0.0.251", 17, 5353, FILTER_DROP_MULTICAST },
		{ "100.64.0.2", "255.255.255.255", 17, 67, FILTER_DROP_MULTICAST },
		{ "fd7a:115c:a1e0::2", "ff02::fb", 17, 5353, FILTER_DROP_MULTICAST },
		{ "100.64.0.2", "169.254.1.1", 6, 22, FILTER_DROP_LINK_LOCAL },
		{ "100.64.0.2", "169.254.169.254", 6, 80, FILTER_DROP_ACL },
		{ "fd7a:115c:a1e0::2", "fe80::1", 6, 22, FILTER_DROP_LINK_LOCAL },
		/* TSMP is the node's own */
		{ "100.64.0.3", "100.64.0.1", 99, 0, FILTER_ACCEPT },
	};
	struct filter *f = filter_of(ssh_only, NULL, false, false);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		enum filter_verdict v =
			check(f, table[i].src, table[i].dst, table[i].proto, table[i].port);

		if (v != table[i].want)
			fail_msg("row %zu: %s", i, filter_verdict_name(v));
	}
	filter_free(f);
}

static void filter_allow_all_allows_the_default_protocols(void **state)
{
	struct filter *f = filter_of(allow_all, NULL, false, false);

	(void)state;
	assert_int_equal(check(f, "1.2.3.4", "100.64.0.1", 6, 1), FILTER_ACCEPT);
	assert_int_equal(check(f, "1.2.3.4", "192.168.7.200", 17, 65535), FILTER_ACCEPT);
	assert_int_equal(check(f, "1.2.3.4", "100.64.0.1", 1, 0), FILTER_ACCEPT);
	assert_int_equal(check(f, "2001:db8::1", "fd7a:115c:a1e0::1", 6, 1), FILTER_ACCEPT);
	assert_int_equal(check(f, "1.2.3.4", "100.64.0.1", 132, 1), FILTER_NEEDS_FLOW);
	assert_int_equal(check(f, "1.2.3.4", "100.64.0.1", 47, 1), FILTER_DROP_ACL);
	assert_int_equal(check(f, "1.2.3.4", "192.168.8.1", 6, 1), FILTER_DROP_NOT_LOCAL);
	assert_int_equal(check(f, "1.2.3.4", "224.0.0.1", 17, 1), FILTER_DROP_MULTICAST);
	filter_free(f);
}

static void filter_lets_answers_in(void **state)
{
	struct filter *f = filter_of("[]", NULL, false, false);
	static const uint8_t errors4[] = { 0, 3, 11, 12 }, errors6[] = { 129, 1, 2, 3, 4 };
	struct packet p;

	(void)state;
	/* TCP: only a first SYN begins something */
	packet_make(&p, "100.64.0.2", "100.64.0.1", 6, 40000);
	assert_int_equal(filter_check(f, &p.pkt, false), FILTER_DROP_ACL);
	p.pkt.tcp_flags = IP_PKT_SYN | IP_PKT_ACK;
	assert_int_equal(filter_check(f, &p.pkt, false), FILTER_ACCEPT);
	p.pkt.tcp_flags = IP_PKT_SYN | IP_PKT_ECE | IP_PKT_CWR;
	assert_int_equal(filter_check(f, &p.pkt, false), FILTER_DROP_ACL);
	p.pkt.tcp_flags = IP_PKT_RST;
	assert_int_equal(filter_check(f, &p.pkt, false), FILTER_ACCEPT);
	for (unsigned type = 0; type < 256; type++) {
		packet_make(&p, "100.64.0.2", "100.64.0.1", 1, 0);
		p.pkt.icmp_type = (uint8_t)type;
		assert_int_equal(filter_check(f, &p.pkt, false),
				 memchr(errors4, (int)type, sizeof(errors4)) ? FILTER_ACCEPT
									     : FILTER_DROP_ACL);
		packet_make(&p, "fd7a:115c:a1e0::2", "fd7a:115c:a1e0::1", 58, 0);
		p.pkt.icmp_type = (uint8_t)type;
		assert_int_equal(filter_check(f, &p.pkt, false),
				 memchr(errors6, (int)type, sizeof(errors6)) ? FILTER_ACCEPT
									     : FILTER_DROP_ACL);
	}
	filter_free(f);
}

static void filter_strict_tcp_wants_rule_or_flow(void **state)
{
	struct filter *f = filter_of(ssh_only, NULL, false, true);
	struct packet p;

	(void)state;
	packet_make(&p, "100.64.0.2", "100.64.0.1", 6, 22);
	p.pkt.tcp_flags = IP_PKT_ACK;
	assert_int_equal(filter_check(f, &p.pkt, false), FILTER_ACCEPT);
	packet_make(&p, "100.64.0.2", "100.64.0.1", 6, 40000);
	p.pkt.tcp_flags = IP_PKT_ACK;
	assert_int_equal(filter_check(f, &p.pkt, false), FILTER_NEEDS_FLOW);
	filter_free(f);
}

static void filter_judges_fragments_by_the_first(void **state)
{
	struct filter *f = filter_of(ssh_only, NULL, false, false);
	struct packet p;

	(void)state;
	packet_make(&p, "100.64.0.2", "100.64.0.1", 6, 80);
	p.buf[6] = 0x20; /* the first one: more to come */
	assert_int_equal(ip_pkt_parse(&p.pkt, p.buf, 44), 0);
	assert_int_equal(filter_check(f, &p.pkt, false), FILTER_DROP_ACL);
	p.buf[3] = 36; /* cut inside the TCP header */
	assert_int_equal(ip_pkt_parse(&p.pkt, p.buf, 36), 0);
	assert_int_equal(filter_check(f, &p.pkt, false), FILTER_DROP_SHORT);
	p.buf[3] = 44;
	for (unsigned off = 1; off < 200; off++) {
		p.buf[6] = 0;
		p.buf[7] = (uint8_t)off;
		assert_int_equal(ip_pkt_parse(&p.pkt, p.buf, 44), 0);
		/* one that could overwrite what was judged drops */
		assert_int_equal(filter_check(f, &p.pkt, false),
				 off < 10 ? FILTER_DROP_SHORT : FILTER_ACCEPT);
	}
	packet_make(&p, "100.64.0.2", "100.64.0.9", 6, 80);
	p.buf[7] = 100;
	assert_int_equal(ip_pkt_parse(&p.pkt, p.buf, 44), 0);
	assert_int_equal(filter_check(f, &p.pkt, false), FILTER_DROP_NOT_LOCAL);
	filter_free(f);
}

static void filter_gives_jailed_peers_no_rules(void **state)
{
	struct filter *f = filter_of(allow_all, NULL, false, false),
		      *up = filter_of(allow_all, NULL, true, false);
	static const uint8_t protos[] = { 6, 17, 1 };
	static const enum filter_verdict want[] = { FILTER_DROP_ACL, FILTER_NEEDS_FLOW,
						    FILTER_DROP_ACL };
	struct packet p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(protos); i++) {
		packet_make(&p, "100.64.0.2", "100.64.0.1", protos[i], 80);
		assert_int_equal(filter_check(f, &p.pkt, false), FILTER_ACCEPT);
		assert_int_equal(filter_check(f, &p.pkt, true), want[i]);
		assert_int_equal(filter_check(up, &p.pkt, false),
				 want[i]); /* shields up: the same for all */
		assert_int_equal(filter_check(NULL, &p.pkt, false), FILTER_DROP_ACL);
	}
	filter_free(f);
	filter_free(up);
	filter_free(NULL);
}

static void filter_resolves_cap_sources_by_peer(void **state)
{
	static const char json[] =
		"[{\"SrcIPs\":[\"cap:example-node-cap\"],\"DstPorts\":[{\"IP\":\"100.64.0.1\","
		"\"Ports\":{\"First\":22,\"Last\":22}}]}]";
	struct map_cap cap = { .name = (char[]){ "example-node-cap" } };
	struct prefix addr = { .ip = ip4(100, 64, 0, 5), .bits = 32 };
	struct map_node peer = { .addrs = &addr, .n_addrs = 1, .caps = &cap, .n_caps = 1 };
	struct filter *f = filter_of(json, &peer, false, false);

	(void)state;
	assert_int_equal(check(f, "100.64.0.5", "100.64.0.1", 6, 22), FILTER_ACCEPT);
	assert_int_equal(check(f, "100.64.0.6", "100.64.0.1", 6, 22), FILTER_DROP_ACL);
	filter_free(f);
	peer.n_caps = 0;
	f = filter_of(json, &peer, false, false);
	assert_int_equal(check(f, "100.64.0.5", "100.64.0.1", 6, 22), FILTER_DROP_ACL);
	filter_free(f);
}

/* control.json: whatever the vectors say a rule matches is let in, and what lies just outside is
 * not. */
static bool prefix_in_list(const cJSON *list, const struct ip *ip)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, list)
	{
		struct prefix p;
		size_t len = strcspn(item->valuestring, " ");

		assert_int_equal(prefix_parse(&p, item->valuestring, len, true), 0);
		if (prefix_contains(&p, ip))
			return true;
	}
	return false;
}

static bool vector_matches(const cJSON *matches, const struct ip *src, const struct ip *dst,
			   uint8_t proto, unsigned port)
{
	const cJSON *m, *d, *item;

	cJSON_ArrayForEach(m, matches)
	{
		bool has_proto = false;

		cJSON_ArrayForEach(item, test_get(m, "protos")) has_proto |=
			item->valueint == proto;
		if (!has_proto || !prefix_in_list(test_get(m, "srcs"), src))
			continue;
		cJSON_ArrayForEach(d, test_get(m, "dsts"))
		{
			const char *ports = strstr(d->valuestring, "ports ") + 6;
			char *end;
			unsigned long first = strtoul(ports, &end, 10),
				      last = strtoul(end + 1, NULL, 10);
			struct prefix p;

			assert_int_equal(prefix_parse(&p, d->valuestring,
						      strcspn(d->valuestring, " "), true),
					 0);
			if (prefix_contains(&p, dst) && first <= port && port <= last)
				return true;
		}
	}
	return false;
}

static void filter_matches_as_the_vectors_say(void **state)
{
	static const char *const ips[] = { "100.64.0.1", "100.64.0.2",  "100.64.0.3", "100.64.0.4",
					   "100.64.0.9", "100.64.0.10", "10.0.0.1",   "1.2.3.4" };
	static const uint16_t ports[] = { 0, 21, 22, 23, 80, 443, 65535 };
	static const uint8_t protos[] = { 6, 17 };
	const struct prefix everything[] = { { .ip = { .family = IP_V4 } },
					     { .ip = { .family = IP_V6 } } };
	cJSON *all = test_vectors("control.json");
	const cJSON *row;
	size_t checked = 0;

	(void)state;
	cJSON_ArrayForEach(row, test_get(all, "filter_rule_parsing"))
	{
		char *text = cJSON_PrintUnformatted(test_get(row, "rules"));
		struct filter_rules rules = rules_of(text);
		struct filter_cfg cfg = { .rules = &rules, .local = everything, .n_local = 2 };
		struct filter *f = filter_new(&cfg);
		struct packet p;

		assert_non_null(f);
		for (size_t n = 0; n < 8 * 8 * 7 * 2; n++) {
			const char *src = ips[n % 8], *dst = ips[n / 8 % 8];
			struct ip s = ip_of(src), d = ip_of(dst);
			uint8_t proto = protos[n / 448];
			uint16_t port = ports[n / 64 % 7];
			bool want = vector_matches(test_get(row, "matches"), &s, &d, proto, port);

			packet_make(&p, src, dst, proto, port);
			if ((filter_check(f, &p.pkt, false) == FILTER_ACCEPT) != want)
				fail_msg("%s: %s -> %s:%u proto %u", test_str(row, "description"),
					 src, dst, port, proto);
			checked += want;
		}
		filter_free(f);
		filter_rules_wipe(&rules);
		free(text);
	}
	assert_true(checked > 100);
	cJSON_Delete(all);
}

/* --- against the reference --- */

static uint8_t next_byte(void *ctx)
{
	return (uint8_t)(test_random(ctx) >> 13);
}

static void filter_agrees_with_the_reference(void **state)
{
	size_t verdicts[FILTER_N_VERDICTS] = { 0 };
	struct test_env t;

	(void)state;
	test_env_init(&t, 777);
	for (int round = 0; round < 4000; round++) {
		struct filterref_world w;
		struct filter *f;

		filterref_make(&w, next_byte, &t);
		f = filter_new(&w.cfg);
		assert_non_null(f);
		for (int i = 0; i < 100; i++) {
			uint8_t buf[128];
			size_t size = filterref_packet(buf, next_byte, &t);
			bool jailed = test_random(&t) % 8 == 0;
			struct ip_pkt pkt;
			enum filter_verdict got, want;

			if (ip_pkt_parse(&pkt, buf, size) != 0)
				continue;
			got = filter_check(f, &pkt, jailed);
			want = filterref_check(&w.cfg, &pkt, jailed);
			verdicts[got]++;
			if (got != want)
				fail_msg("round %d packet %d: %s, not %s", round, i,
					 filter_verdict_name(got), filter_verdict_name(want));
		}
		filter_free(f);
		filterref_wipe(&w);
	}
	for (size_t v = 0; v < FILTER_N_VERDICTS; v++) {
		if (verdicts[v] < 500)
			fail_msg("verdict %s was seen %zu times",
				 filter_verdict_name((enum filter_verdict)v), verdicts[v]);
	}
}

/* --- flow memory --- */

static const struct mono t0 = { 50 * NS_PER_S };
static const uint8_t seed[16] = { 9 };

/* The key of a UDP packet between these, seen outbound or inbound. */
static struct flow_key key_of(const char *src, const char *dst, uint16_t port, bool inbound)
{
	struct filter *f = filter_of("[]", NULL, false, false);
	struct flow_key key;
	struct packet p;

	packet_make(&p, src, dst, 17, port);
	p.pkt.src_port = inbound ? port : 40000;
	p.pkt.dst_port = inbound ? 40000 : port;
	assert_true(filter_flow_key(f, &p.pkt, inbound, &key));
	filter_free(f);
	return key;
}

static void flows_let_replies_in_and_nothing_else(void **state)
{
	struct flows *f = flows_new(100);
	struct flow_key out = key_of("100.64.0.1", "100.64.0.2", 53, false);
	struct flow_key in = key_of("100.64.0.2", "100.64.0.1", 53, true);
	struct flow_key other = key_of("100.64.0.3", "100.64.0.1", 53, true);
	struct flow_key port = key_of("100.64.0.2", "100.64.0.1", 54, true);
	uint64_t h = flow_key_hash(&out, seed);

	(void)state;
	assert_non_null(f);
	assert_memory_equal(&in, &out, sizeof(in));
	assert_false(flows_allow(f, t0, &in, h));
	flows_note(f, t0, &out, h);
	assert_true(flows_allow(f, t0, &in, flow_key_hash(&in, seed)));
	assert_false(flows_allow(f, t0, &other, flow_key_hash(&other, seed)));
	assert_false(flows_allow(f, t0, &port, flow_key_hash(&port, seed)));
	assert_int_equal(flows_count(f), 1);
	flows_free(f);
	flows_free(NULL);
}

static void flows_live_30_seconds_or_120_after_a_reply(void **state)
{
	struct flows *f = flows_new(100);
	struct flow_key k = key_of("100.64.0.1", "100.64.0.2", 53, false);
	uint64_t h = flow_key_hash(&k, seed);

	(void)state;
	flows_note(f, t0, &k, h);
	assert_false(flows_allow(f, mono_add_s(t0, 30), &k, h));
	flows_note(f, mono_add_s(t0, 40), &k, h);
	assert_true(flows_allow(f, mono_add_s(t0, 69), &k, h));
	assert_true(flows_allow(f, mono_add_s(t0, 188), &k, h)); /* 119 s later */
	assert_false(flows_allow(f, mono_add_s(t0, 308), &k, h));
	flows_note(f, mono_add_s(t0, 400), &k, h); /* begun anew: 30 s again */
	assert_false(flows_allow(f, mono_add_s(t0, 431), &k, h));
	assert_int_equal(flows_count(f), 1);
	flows_free(f);
}

/* A model: the last 'MAX' different flows noted or allowed, newest first. */
static void flows_forget_the_one_unused_longest(void **state)
{
	enum { MAX = 50, SPACE = 120 };
	struct flows *f = flows_new(MAX);
	unsigned order[SPACE], n = 0;
	struct test_env t;

	(void)state;
	test_env_init(&t, 51);
	for (int step = 0; step < 20000; step++) {
		unsigned id = (unsigned)(test_random(&t) % SPACE), at = 0;
		struct flow_key k = { .src_port = (uint16_t)id, .proto = 17, .family = IP_V4 };
		/* Few buckets, so that chains are long. */
		uint64_t h = flow_key_hash(&k, seed) & 3;
		bool note = test_random(&t) % 2, known;

		while (at < n && order[at] != id)
			at++;
		known = at < n;
		if (note)
			flows_note(f, t0, &k, h);
		else
			assert_int_equal(flows_allow(f, t0, &k, h), known);
		if (!note && !known)
			continue;
		if (!known && n < MAX)
			n++;
		if (!known)
			at = n - 1;
		memmove(order + 1, order, at * sizeof(*order));
		order[0] = id;
		assert_int_equal(flows_count(f), n);
	}
	flows_free(f);
}

static void flow_cache_spares_a_second(void **state)
{
	struct flow_cache c = { 0 };
	struct flow_key k = key_of("100.64.0.1", "100.64.0.2", 53, false);
	struct flow_key k2 = key_of("100.64.0.1", "100.64.0.2", 54, false);
	uint64_t h = flow_key_hash(&k, seed);

	(void)state;
	assert_true(flow_cache_wants(&c, t0, &k, h));
	assert_false(flow_cache_wants(&c, mono_add_ms(t0, 999), &k, h));
	assert_true(flow_cache_wants(&c, mono_add_ms(t0, 1000), &k, h));
	assert_true(flow_cache_wants(&c, mono_add_ms(t0, 1000), &k2, h)); /* same slot */
	assert_true(flow_cache_wants(&c, mono_add_ms(t0, 1000), &k, h));
}

static void filter_remembers_only_what_needs_it(void **state)
{
	struct filter *f = filter_of("[]", NULL, false, false),
		      *strict = filter_of("[]", NULL, false, true);
	struct flow_key key;
	struct packet p;

	(void)state;
	packet_make(&p, "100.64.0.1", "100.64.0.2", 6, 80);
	assert_false(filter_flow_key(f, &p.pkt, false, &key));
	assert_true(filter_flow_key(strict, &p.pkt, false, &key));
	packet_make(&p, "100.64.0.1", "100.64.0.2", 1, 0);
	assert_false(filter_flow_key(strict, &p.pkt, false, &key));
	packet_make(&p, "100.64.0.1", "100.64.0.2", 132, 80);
	assert_true(filter_flow_key(f, &p.pkt, false, &key));
	packet_make(&p, "100.64.0.1", "100.64.0.2", 17, 80);
	assert_true(filter_flow_key(NULL, &p.pkt, false, &key));
	p.pkt.has_l4 = false;
	assert_false(filter_flow_key(f, &p.pkt, false, &key));
	filter_free(f);
	filter_free(strict);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filter_follows_the_rules),
		cmocka_unit_test(filter_allow_all_allows_the_default_protocols),
		cmocka_unit_test(filter_lets_answers_in),
		cmocka_unit_test(filter_strict_tcp_wants_rule_or_flow),
		cmocka_unit_test(filter_judges_fragments_by_the_first),
		cmocka_unit_test(filter_gives_jailed_peers_no_rules),
		cmocka_unit_test(filter_resolves_cap_sources_by_peer),
		cmocka_unit_test(filter_matches_as_the_vectors_say),
		cmocka_unit_test(filter_agrees_with_the_reference),
		cmocka_unit_test(flows_let_replies_in_and_nothing_else),
		cmocka_unit_test(flows_live_30_seconds_or_120_after_a_reply),
		cmocka_unit_test(flows_forget_the_one_unused_longest),
		cmocka_unit_test(flow_cache_spares_a_second),
		cmocka_unit_test(filter_remembers_only_what_needs_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
