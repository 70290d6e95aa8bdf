/* SPDX-License-Identifier: MIT */
/* daemon/nft: what rule sets say about incoming packets, and the line to type. */
#include "tests/unit/testing.h"

#include <string.h>

#include "base/compiler.h"
#include "daemon/nft.h"

#define CHAIN(family, table, name, hook, policy)                                               \
	"{\"chain\": {\"family\": \"" family "\", \"table\": \"" table "\", \"name\": \"" name \
	"\", "                                                                                 \
	"\"handle\": 1, \"type\": \"filter\", \"hook\": \"" hook                               \
	"\", \"prio\": 0, \"policy\": \"" policy "\"}}"
#define RULE(family, table, chain, expr)                                                        \
	"{\"rule\": {\"family\": \"" family "\", \"table\": \"" table "\", \"chain\": \"" chain \
	"\", "                                                                                  \
	"\"handle\": 2, \"expr\": [" expr "]}}"
#define SET(body)  "{\"nftables\": [{\"metainfo\": {\"version\": \"1.0.6\"}}, " body "]}"
#define ACCEPT_SSH "{\"match\": {\"op\": \"==\", \"left\": {}, \"right\": 22}}, {\"accept\": null}"
#define DROP_ALL   "{\"counter\": {\"packets\": 1, \"bytes\": 2}}, {\"drop\": null}"
#define DROP_ONE   "{\"match\": {\"op\": \"==\", \"left\": {}, \"right\": 80}}, {\"drop\": null}"

static void nft_finds_the_chain_that_drops(void **state)
{
	static const struct {
		const char *json;
		enum nft_kind kind;
		const char *line; /* for UDP port 40000 */
	} cases[] = {
		{ SET(CHAIN("inet", "filter", "input", "input", "drop")), NFT_NFTABLES,
		  "sudo nft insert rule inet filter input udp dport 40000 accept" },
		{ SET(CHAIN("inet", "my", "in", "input", "accept") ", " RULE(
			  "inet", "my", "in", ACCEPT_SSH) ", " RULE("inet", "my", "in", DROP_ALL)),
		  NFT_NFTABLES, "sudo nft insert rule inet my in udp dport 40000 accept" },
		{ SET(CHAIN("ip", "filter", "INPUT", "input", "drop")), NFT_IPTABLES,
		  "sudo iptables -I INPUT -p udp --dport 40000 -j ACCEPT && "
		  "sudo ip6tables -I INPUT -p udp --dport 40000 -j ACCEPT" },
		{ SET(CHAIN("ip", "filter", "INPUT", "input", "accept")), NFT_NONE, "" },
		{ SET(CHAIN("inet", "my", "in", "input", "accept") ", " RULE("inet", "my", "in",
									     DROP_ONE)),
		  NFT_NONE, "" },
		{ SET(CHAIN("inet", "my", "in", "input", "accept") ", " RULE("inet", "other", "in",
									     DROP_ALL)),
		  NFT_NONE, "" },
		{ SET(CHAIN("inet", "filter", "forward", "forward", "drop")), NFT_NONE, "" },
		{ SET(CHAIN("bridge", "filter", "input", "input", "drop")), NFT_NONE, "" },
		{ "{\"nftables\": []}", NFT_NONE, "" },
		{ "not JSON", NFT_NONE, "" },
		{ "{\"nftables\": [1, {\"chain\": 5}, {\"chain\": {\"hook\": 3}}]}", NFT_NONE, "" },
	};
	char text[NFT_HINT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct nft_firewall fw =
			nft_parse_ruleset(cases[i].json, strlen(cases[i].json));

		assert_int_equal(fw.kind, cases[i].kind);
		assert_string_equal(nft_hint(text, fw, 40000), cases[i].line);
	}
}

static void nft_reads_legacy_iptables(void **state)
{
	(void)state;
	assert_int_equal(nft_parse_iptables("-P INPUT DROP\n").kind, NFT_IPTABLES);
	assert_int_equal(
		nft_parse_iptables("-P INPUT ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n"
				   "-A INPUT -j REJECT --reject-with icmp-host-prohibited\n")
			.kind,
		NFT_IPTABLES);
	assert_int_equal(nft_parse_iptables("-P INPUT ACCEPT\n").kind, NFT_NONE);
	assert_int_equal(
		nft_parse_iptables("-P INPUT ACCEPT\n-A INPUT -j DROP\n-A INPUT -i lo -j ACCEPT\n")
			.kind,
		NFT_NONE);
	assert_int_equal(nft_parse_iptables("").kind, NFT_NONE);
}

static void nft_knows_the_other_tools(void **state)
{
	char text[NFT_HINT_MAX];

	(void)state;
	assert_string_equal(nft_hint(text, (struct nft_firewall){ .kind = NFT_UFW }, 41641),
			    "sudo ufw allow 41641/udp");
	assert_string_equal(
		nft_hint_tcp(text, (struct nft_firewall){ .kind = NFT_FIREWALLD }, 443),
		"sudo firewall-cmd --permanent --add-port=443/tcp && sudo firewall-cmd --reload");
	assert_string_equal(nft_name(NFT_IPTABLES), "iptables");
}

/* A rule that lets the mesh's own addresses in and nobody else is no use to a relay. */
static void rules_for_the_tailnet_alone_are_noted(void **state)
{
#define NARROW(addr, verdict) \
	"{\"nftables\":[{\"rule\":{\"family\":\"inet\",\"table\":\"t\",\"chain\":\"c\",\"expr\":[" \
	"{\"match\":{\"op\":\"==\",\"left\":{\"payload\":{\"protocol\":\"ip\",\"field\":\"saddr\"}}," \
	"\"right\":{\"prefix\":{\"addr\":\"" addr "\",\"len\":10}}}}," \
	"{\"match\":{\"op\":\"==\",\"left\":{\"payload\":{\"protocol\":\"udp\",\"field\":\"dport\"}}," \
	"\"right\":40000}},{\"" verdict "\":null}]}}]}"
	static const struct {
		const char *json;
		bool want;
	} rules[] = {
		{ NARROW("100.64.0.0", "accept"), true },
		{ NARROW("192.0.2.0", "accept"), false },
		{ NARROW("100.64.0.0", "drop"), false },
	};
	struct nft_firewall fw = { .kind = NFT_UFW };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		fw = nft_parse_ruleset(rules[i].json, strlen(rules[i].json));
		assert_int_equal(nft_is_tailnet_only(&fw, 40000), rules[i].want);
		assert_false(nft_is_tailnet_only(&fw, 40001));
		assert_false(nft_is_tailnet_only(&fw, 0));
	}
	fw = nft_parse_iptables("-P INPUT DROP\n-A INPUT -s 100.64.0.0/10 -p udp -m udp --dport 40000 -j ACCEPT\n"
				"-A INPUT -s 100.64.0.0/10 -p udp -m udp --dport 40001 -j DROP\n"
				"-A INPUT -s 192.0.2.0/24 -p udp -m udp --dport 40002 -j ACCEPT\n");
	assert_true(nft_is_tailnet_only(&fw, 40000));
	assert_false(nft_is_tailnet_only(&fw, 40001));
	assert_false(nft_is_tailnet_only(&fw, 40002));
	assert_int_equal(fw.kind, NFT_IPTABLES);
	memset(&fw, 0, sizeof(fw));
	nft_parse_ufw(&fw, "### tuple ### allow udp 40000 0.0.0.0/0 any 100.64.0.0/10 in\n"
			   "### tuple ### allow udp 40001 0.0.0.0/0 any 0.0.0.0/0 in\n"
			   "### tuple ### deny udp 40002 0.0.0.0/0 any 100.64.0.0/10 in\n");
	assert_true(nft_is_tailnet_only(&fw, 40000));
	assert_false(nft_is_tailnet_only(&fw, 40001));
	assert_false(nft_is_tailnet_only(&fw, 40002));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nft_finds_the_chain_that_drops),
		cmocka_unit_test(nft_reads_legacy_iptables),
		cmocka_unit_test(nft_knows_the_other_tools),
		cmocka_unit_test(rules_for_the_tailnet_alone_are_noted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
