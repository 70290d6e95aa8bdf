/* SPDX-License-Identifier: MIT */
/* The policy compiler on hostile text: what parses must compile and give consistent answers; what does not must say
 * where. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "coord/policyfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* A tagged node, a member, a router and an exit node that offers to relay. */
static void make_world(struct policy_world *w, struct policy_user *users, struct policy_node *nodes,
		       struct prefix *routes, char **tags)
{
	users[0] = (struct policy_user){ 1, "alice", "alice@example.com" };
	users[1] = (struct policy_user){ 2, "bob", "" };
	for (uint8_t i = 0; i < 4; i++) {
		nodes[i].id = i + 1;
		nodes[i].ip4 = ip4(100, 64, 0, (uint8_t)(i + 1));
		nodes[i].ip6 = (struct ip){ .family = IP_V6, .b = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = (uint8_t)(i + 1) } };
	}
	nodes[0].user = nodes[1].user = 1;
	nodes[2].user = 2;
	nodes[2].routes = &routes[0];
	nodes[2].n_routes = 1;
	nodes[3].tags = tags;
	nodes[3].n_tags = 1;
	nodes[3].routes = &routes[1];
	nodes[3].n_routes = 2;
	nodes[3].peer_relay = true;
	*w = (struct policy_world){ users, 2, nodes, 4 };
}

static void check_errs(const struct policy_errs *errs, const uint8_t *data, size_t size)
{
	uint32_t lines = 1;

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	check(errs->n > 0 && errs->n <= POLICY_ERRS_MAX);
	for (size_t i = 0; i < errs->n; i++)
		check(errs->list[i].line <= lines && memchr(errs->list[i].msg, 0, POLICY_MSG_MAX) && errs->list[i].msg[0]);
}

static void check_set(const struct policyset *s, const struct policy_world *w)
{
	struct filter_rules global, own;

	check(policyset_global(s, &global) == 0);
	filter_rules_wipe(&global);
	check(policyset_lost_pairs(s, s) == 0);
	for (size_t i = 0; i < w->n_nodes; i++) {
		struct bytes ssh = { 0 };
		size_t n;

		check(policyset_filter(s, i, &own) == 0);
		for (size_t k = 0; k < own.n_rules; k++) /* destinations or grants, never both, never none */
			check((own.rules[k].n_dsts > 0) != (own.rules[k].n_grants > 0) && own.rules[k].n_srcs > 0);
		filter_rules_wipe(&own);
		check(!policyset_visible(s, i, i));
		for (size_t k = 0; k < w->n_nodes; k++)
			check(policyset_visible(s, i, k) == policyset_visible(s, k, i));
		(void)policyset_attrs(s, i, &n);
		check(policyset_ssh(s, i, "https://c.example.net", &ssh) == 0);
		bytes_wipe(&ssh);
		(void)policyset_may_route(s, i, 2, &w->nodes[2].routes[0]);
		(void)policyset_auto_approves(s, i, &w->nodes[2].routes[0]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct prefix routes[3] = { { ip4(10, 33, 0, 0), 16 }, { ip4(0, 0, 0, 0), 0 }, { { .family = IP_V6 }, 0 } };
	char tag[] = "tag:web", *tags[] = { tag };
	struct policy_user users[2];
	struct policy_node nodes[4] = { 0 };
	struct policy_world w;
	struct policy_errs errs;
	struct policyfile *p = NULL;
	struct policyset *s = NULL;
	int err = policyfile_parse(&p, (const char *)data, size, &errs);

	if (err) {
		check(err == -EBADMSG && !p);
		check_errs(&errs, data, size);
		return 0;
	}
	make_world(&w, users, nodes, routes, tags);
	err = policyfile_test(p, &w, &errs);
	check(err == 0 || err == -EPROTO);
	check(policyfile_compile(&s, p, &w) == 0);
	policyfile_free(p);
	check_set(s, &w);
	policyset_free(s);
	return 0;
}
