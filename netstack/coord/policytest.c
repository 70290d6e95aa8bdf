/* SPDX-License-Identifier: MIT */
/* A policy's own tests and sshTests. Users, groups and tags that have no node yet get a stand-in, so that a test
 * means the same on a fresh coordinator as later. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coord/policyint.h"

/* The world plus stand-ins. Stand-ins take addresses from the end of the ranges: they never leave this file. */
struct test_world {
	struct policy_world w;
	struct policy_user *users;
	struct policy_node *nodes;
	size_t n_users, n_nodes;
	bool nomem;
};

static void add_node(struct test_world *t, int64_t user)
{
	struct policy_node *n = POL_GROW(t->nodes, t->n_nodes);
	uint32_t k = (uint32_t)t->n_nodes;

	if (!n) {
		t->nomem = true;
		return;
	}
	n->id = -(int64_t)t->n_nodes;
	n->user = user;
	n->ip4 = ip4(100, 127, (uint8_t)(255 - (k >> 8 & 0x3f)), (uint8_t)(255 - (k & 0xff)));
	n->ip6 = (struct ip){ .family = IP_V6, .b = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, 0xff, 0xff } };
	n->ip6.b[14] = (uint8_t)(k >> 8);
	n->ip6.b[15] = (uint8_t)k;
	/* As a stand-in it offers everything a policy can ask of a node. */
	n->peer_relay = true;
}

static int64_t user_id(struct test_world *t, const char *name)
{
	struct policy_user *u;

	for (size_t i = 0; i < t->n_users; i++)
		if (pol_user_is(&t->users[i], name))
			return t->users[i].id;
	u = POL_GROW(t->users, t->n_users);
	if (!u) {
		t->nomem = true;
		return -1;
	}
	u->id = -(int64_t)t->n_users;
	u->email = name;
	u->name = "";
	return u->id;
}

/* A user with at least one untagged node. */
static void need_user(struct test_world *t, const char *name)
{
	int64_t id = user_id(t, name);

	for (size_t i = 0; i < t->n_nodes; i++)
		if (t->nodes[i].user == id)
			return;
	add_node(t, id);
}

static void need_tag(struct test_world *t, char *const *tag)
{
	for (size_t i = 0; i < t->n_nodes; i++)
		if (pol_node_has_tag(&t->nodes[i], *tag))
			return;
	add_node(t, 0);
	if (!t->nomem) {
		t->nodes[t->n_nodes - 1].tags = tag;
		t->nodes[t->n_nodes - 1].n_tags = 1;
	}
}

static void need_alias(struct test_world *t, const struct policyfile *p, struct pol_alias *a)
{
	bool have = false;

	switch (a->kind) {
	case POL_USER:
		need_user(t, a->name);
		return;
	case POL_TAG:
		need_tag(t, &a->name);
		return;
	case POL_GROUP:
		for (size_t i = 0; i < p->n_groups; i++)
			for (size_t k = 0; strcmp(p->groups[i].name, a->name) == 0 && k < p->groups[i].n_members; k++)
				need_user(t, p->groups[i].members[k]);
		return;
	case POL_MEMBER:
	case POL_TAGGED:
		for (size_t i = 0; i < t->n_nodes; i++)
			have |= (t->nodes[i].user != 0) == (a->kind == POL_MEMBER);
		if (!have)
			add_node(t, a->kind == POL_MEMBER ? user_id(t, "somebody@") : 0);
		return;
	case POL_ANY:
	case POL_PREFIX:
	case POL_SELF:
	case POL_INTERNET:
	case POL_DANGER_ALL:
		return;
	}
}

static bool world_init(struct test_world *t, const struct policyfile *p, const struct policy_world *w)
{
	for (size_t i = 0; i < w->n_users && !t->nomem; i++) {
		struct policy_user *u = POL_GROW(t->users, t->n_users);

		t->nomem |= !u;
		if (u)
			*u = w->users[i];
	}
	for (size_t i = 0; i < w->n_nodes && !t->nomem; i++) {
		struct policy_node *n = POL_GROW(t->nodes, t->n_nodes);

		t->nomem |= !n;
		if (n)
			*n = w->nodes[i];
	}
	for (size_t i = 0; i < p->n_tests && !t->nomem; i++) {
		need_alias(t, p, &p->tests[i].src);
		for (size_t k = 0; k < p->tests[i].n_accept; k++)
			need_alias(t, p, &p->tests[i].accept[k].dst);
		for (size_t k = 0; k < p->tests[i].n_deny; k++)
			need_alias(t, p, &p->tests[i].deny[k].dst);
	}
	for (size_t i = 0; i < p->n_ssh_tests && !t->nomem; i++) {
		need_alias(t, p, &p->ssh_tests[i].src);
		for (size_t k = 0; k < p->ssh_tests[i].dst.n; k++)
			need_alias(t, p, &p->ssh_tests[i].dst.a[k]);
	}
	t->w = (struct policy_world){ t->users, t->n_users, t->nodes, t->n_nodes };
	return !t->nomem;
}

/* ---- evaluation ---- */

static bool range_has(const struct ip_range *r, const struct ip *ip)
{
	return r->first.family == ip->family && ip_cmp(&r->first, ip) <= 0 && ip_cmp(ip, &r->last) <= 0;
}

static bool proto_ok(const struct filter_rule *r, uint8_t proto)
{
	for (size_t i = 0; i < r->n_protos; i++)
		if (r->protos[i] == proto)
			return true;
	/* Without a list: TCP, UDP and both ICMPs. */
	return r->n_protos == 0 && (proto == 6 || proto == 17 || proto == 1 || proto == 58);
}

static bool rule_allows(const struct filter_rule *r, const struct ip *src, const struct ip *dst, uint8_t proto,
			uint16_t port)
{
	bool from = false;

	if (!proto_ok(r, proto))
		return false;
	for (size_t i = 0; i < r->n_srcs; i++)
		from |= r->srcs[i].kind == FILTER_SRC_ANY ||
			(r->srcs[i].kind == FILTER_SRC_RANGE && range_has(&r->srcs[i].range, src));
	for (size_t i = 0; from && i < r->n_dsts; i++)
		if ((r->dsts[i].any || range_has(&r->dsts[i].range, dst)) && r->dsts[i].port_first <= port &&
		    port <= r->dsts[i].port_last)
			return true;
	return false;
}

/* Per-node rules count only where they are installed: at the node that has 'dst', or for via at any. */
static bool allows(const struct policyset *s, const struct ip *src, const struct ip *dst, uint8_t proto, uint16_t port)
{
	for (size_t i = 0; i < s->n_rules; i++) {
		const struct pol_rule *r = &s->rules[i];
		bool here = r->is_global;

		for (size_t k = 0; !here && k < s->n_nodes; k++) {
			bool own = ip_eq(&s->nodes[k].ip4, dst) || ip_eq(&s->nodes[k].ip6, dst);

			for (size_t j = 0; !own && j < s->nodes[k].n_routes; j++)
				own = prefix_contains(&s->nodes[k].routes[j], dst);
			here = own && pol_bit(r->only, k);
		}
		if (here && rule_allows(&r->rule, src, dst, proto, port))
			return true;
	}
	return false;
}

/* The first address of each range stands for it: a range is either one alias's CIDR or single nodes. */
static void addresses(const struct policyfile *p, const struct policy_world *w, const struct pol_alias *a,
		      struct ipset *out)
{
	if (a->kind == POL_USER || a->kind == POL_GROUP || a->kind == POL_TAG || a->kind == POL_MEMBER ||
	    a->kind == POL_TAGGED || a->kind == POL_PREFIX)
		pol_resolve(p, w, a, out);
	else
		for (size_t i = 0; i < w->n_nodes; i++) {
			ipset_add_ip(out, &w->nodes[i].ip4);
			ipset_add_ip(out, &w->nodes[i].ip6);
		}
	/* Not normalized: single addresses stay single. */
}

/* How many of the pairs of one family are allowed. */
static void count(const struct policyset *s, const struct ipset *src, const struct ipset *dst, uint8_t proto,
		  uint16_t port, size_t *allowed, size_t *total)
{
	for (size_t i = 0; i < src->n; i++) {
		for (size_t k = 0; k < dst->n; k++) {
			struct ip a = ipset_ip(src->r[i].family, src->r[i].first);
			struct ip b = ipset_ip(dst->r[k].family, dst->r[k].first);

			if (a.family != b.family)
				continue;
			(*total)++;
			*allowed += allows(s, &a, &b, proto, port);
		}
	}
}

static void run_dst(const struct policyfile *p, const struct test_world *t, const struct policyset *s,
		    const struct pol_test *test, const struct pol_test_dst *d, bool accept, struct policy_errs *errs)
{
	static const uint8_t defaults[] = { 6, 17 };
	struct ipset src = { 0 }, dst = { 0 };
	size_t allowed = 0, total = 0;

	addresses(p, &t->w, &test->src, &src);
	addresses(p, &t->w, &d->dst, &dst);
	if (test->proto)
		count(s, &src, &dst, test->proto, d->port, &allowed, &total);
	else
		for (size_t i = 0; i < ARRAY_LEN(defaults) && (accept ? i == 0 || allowed < total : true); i++) {
			size_t one = 0, all = 0;

			/* Without a protocol: accepted if TCP or UDP is, denied if neither is. */
			count(s, &src, &dst, defaults[i], d->port, &one, &all);
			total = all;
			if (one > allowed)
				allowed = one;
		}
	if (accept && (total == 0 || allowed < total))
		pol_err(errs, test->line, test->col, "test failed: %.60s may not reach %.60s, but the test accepts it",
			test->src_text, d->text);
	if (!accept && allowed > 0)
		pol_err(errs, test->line, test->col, "test failed: %.60s may reach %.60s, but the test denies it",
			test->src_text, d->text);
	ipset_wipe(&src);
	ipset_wipe(&dst);
}

static void run_ssh_users(const struct test_world *t, const struct policyset *s, const struct policyfile *p,
			  const struct pol_ssh_test *test, char **users, size_t n, enum pol_ssh_verdict want,
			  struct policy_errs *errs)
{
	static const char *const names[] = { "denied", "checked", "accepted" };

	for (size_t u = 0; u < n; u++) {
		for (size_t i = 0; i < t->n_nodes; i++) {
			for (size_t k = 0; k < t->n_nodes; k++) {
				enum pol_ssh_verdict got;
				bool dst = false;

				for (size_t j = 0; j < test->dst.n; j++)
					dst |= test->dst.a[j].kind == POL_SELF
						       ? t->nodes[i].user && t->nodes[i].user == t->nodes[k].user
						       : pol_node_is(p, &t->w, &t->nodes[k], &test->dst.a[j]);
				if (!dst || !pol_node_is(p, &t->w, &t->nodes[i], &test->src))
					continue;
				got = pol_ssh_decide(s, k, &t->nodes[i].ip4, users[u]);
				if (got == want)
					continue;
				pol_err(errs, test->line, test->col, "ssh test failed: %.60s as \"%.40s\" is %s, not %s",
					test->src_text, users[u], names[got], names[want]);
				return;
			}
		}
	}
}

static void run_all(const struct policyfile *p, const struct test_world *t, const struct policyset *s,
		    struct policy_errs *errs)
{
	for (size_t i = 0; i < p->n_tests; i++) {
		const struct pol_test *test = &p->tests[i];

		for (size_t k = 0; k < test->n_accept; k++)
			run_dst(p, t, s, test, &test->accept[k], true, errs);
		for (size_t k = 0; k < test->n_deny; k++)
			run_dst(p, t, s, test, &test->deny[k], false, errs);
	}
	for (size_t i = 0; i < p->n_ssh_tests; i++) {
		const struct pol_ssh_test *test = &p->ssh_tests[i];

		run_ssh_users(t, s, p, test, test->accept, test->n_accept, POL_SSH_ACCEPT, errs);
		run_ssh_users(t, s, p, test, test->deny, test->n_deny, POL_SSH_DENY, errs);
		run_ssh_users(t, s, p, test, test->check, test->n_check, POL_SSH_CHECK, errs);
	}
}

int policyfile_test(const struct policyfile *p, const struct policy_world *w, struct policy_errs *errs)
{
	struct test_world t = { 0 };
	struct policyset *s = NULL;
	int err = -ENOMEM;

	memset(errs, 0, sizeof(*errs));
	if (!p->n_tests && !p->n_ssh_tests)
		return 0;
	if (world_init(&t, p, w) && policyfile_compile(&s, p, &t.w) == 0) {
		run_all(p, &t, s, errs);
		err = errs->n ? -EPROTO : 0;
	}
	policyset_free(s);
	free(t.users);
	free(t.nodes);
	return err;
}
