/* SPDX-License-Identifier: MIT */
/* What one node gets out of a compiled policy: the reduced filter, its peers, attributes, routes.
 * Spec: coordinator 10, steps B, F and G. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coord/policyrule.h"

/* ---- copies ---- */

static bool copy_head(struct filter_rule *to, const struct filter_rule *from)
{
	to->srcs = malloc((from->n_srcs ? from->n_srcs : 1) * sizeof(*to->srcs));
	if (!to->srcs)
		return false;
	memcpy(to->srcs, from->srcs, from->n_srcs * sizeof(*to->srcs)); /* no 'cap' texts here */
	to->n_srcs = from->n_srcs;
	if (from->n_protos) {
		to->protos = malloc(from->n_protos);
		if (!to->protos)
			return false;
		memcpy(to->protos, from->protos, from->n_protos);
		to->n_protos = from->n_protos;
	}
	return true;
}

static bool copy_caps(struct filter_grant *to, const struct filter_grant *from)
{
	for (size_t i = 0; i < from->n_caps; i++) {
		struct map_cap *c = POL_GROW(to->caps, to->n_caps);
		const struct map_cap *f = &from->caps[i];

		if (!c || !(c->name = strdup(f->name)))
			return false;
		if (!f->values)
			continue;
		c->values = calloc(f->n_values ? f->n_values : 1, sizeof(*c->values));
		if (!c->values)
			return false;
		for (size_t k = 0; k < f->n_values; k++) {
			c->values[k] = strdup(f->values[k]);
			if (!c->values[k])
				return false;
			c->n_values++;
		}
	}
	return true;
}

/* ---- what is kept of a rule for one node ---- */

static bool range_has(const struct ip_range *r, const struct ip *ip)
{
	return ip_is_set(ip) && r->first.family == ip->family && ip_cmp(&r->first, ip) <= 0 && ip_cmp(ip, &r->last) <= 0;
}

/* Keeps: any, an own address, an effective subnet route, or (exit node) something of the internet. */
static bool keeps_dst(const struct policy_node *n, const struct filter_dst *d, const struct ipset *internet)
{
	struct ipset one = { 0 };
	struct ipset_range r;

	if (d->any || range_has(&d->range, &n->ip4) || range_has(&d->range, &n->ip6))
		return true;
	r = ipset_from_ip_range(&d->range);
	one.r = &r;
	one.n = 1;
	for (size_t i = 0; i < n->n_routes; i++) {
		if (n->routes[i].bits != 0 ? ipset_overlaps(&one, &n->routes[i]) : ipset_contains(internet, r))
			return true;
	}
	return false;
}

static bool reduce_ports(const struct policyset *s, const struct pol_rule *from, size_t node,
			 const struct ipset *internet, struct filter_rule *to)
{
	for (size_t i = 0; i < from->rule.n_dsts; i++) {
		struct filter_dst *d;

		if (node != SIZE_MAX && !keeps_dst(&s->nodes[node], &from->rule.dsts[i], internet))
			continue;
		d = POL_GROW(to->dsts, to->n_dsts);
		if (!d)
			return false;
		*d = from->rule.dsts[i];
	}
	return true;
}

static int prefix_order(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;
	int d = ip_cmp(&x->ip, &y->ip);

	return d ? d : (int)x->bits - (int)y->bits;
}

static bool put_prefix(struct filter_grant *g, struct prefix p)
{
	struct prefix *slot;

	for (size_t i = 0; i < g->n_dsts; i++)
		if (prefix_eq(&g->dsts[i], &p))
			return true;
	slot = POL_GROW(g->dsts, g->n_dsts);
	if (slot)
		*slot = p;
	return slot != NULL;
}

/* Own addresses out of each destination, and whole destinations that overlap an own subnet route. */
static bool reduce_grant(const struct policy_node *n, const struct filter_grant *from, struct filter_grant *to)
{
	for (size_t i = 0; i < from->n_dsts; i++) {
		const struct prefix *d = &from->dsts[i];
		bool ok = true;

		if (ip_is_set(&n->ip4) && prefix_contains(d, &n->ip4))
			ok = put_prefix(to, prefix_host(&n->ip4));
		if (ip_is_set(&n->ip6) && prefix_contains(d, &n->ip6))
			ok = ok && put_prefix(to, prefix_host(&n->ip6));
		for (size_t k = 0; ok && k < n->n_routes; k++)
			if (n->routes[k].bits != 0 && prefix_overlaps(d, &n->routes[k]))
				ok = put_prefix(to, *d);
		if (!ok)
			return false;
	}
	if (to->n_dsts > 1)
		qsort(to->dsts, to->n_dsts, sizeof(*to->dsts), prefix_order);
	return true;
}

static bool reduce_grants(const struct policyset *s, const struct pol_rule *from, size_t node, struct filter_rule *to)
{
	for (size_t i = 0; i < from->rule.n_grants; i++) {
		const struct filter_grant *g = &from->rule.grants[i];
		struct filter_grant *e = POL_GROW(to->grants, to->n_grants);
		bool ok = e != NULL;

		if (!ok)
			return false;
		if (node == SIZE_MAX)
			for (size_t k = 0; ok && k < g->n_dsts; k++)
				ok = put_prefix(e, g->dsts[k]);
		else
			ok = reduce_grant(&s->nodes[node], g, e);
		if (!ok)
			return false;
		if (e->n_dsts == 0)
			to->n_grants--;
		else if (!copy_caps(e, g))
			return false;
	}
	return true;
}

/* The rule in 'out' that began with merge number 'merge', or null. */
static struct filter_rule *merged(const size_t *numbers, struct filter_rules *out, size_t merge)
{
	for (size_t i = 0; i < out->n_rules; i++)
		if (numbers[i] == merge)
			return &out->rules[i];
	return NULL;
}

/* 'node' SIZE_MAX: the global rules, unreduced. Rules that come out empty are dropped at the end, so that the
 * first of several equal heads gives the place. */
static int collect(const struct policyset *s, size_t node, struct filter_rules *out)
{
	struct ipset internet = { 0 };
	size_t *numbers = calloc(s->n_rules ? s->n_rules : 1, sizeof(*numbers)), kept = 0;
	bool ok = numbers != NULL;

	*out = (struct filter_rules){ 0 };
	ipset_add_internet(&internet);
	ok = ok && !internet.nomem;
	for (size_t i = 0; ok && i < s->n_rules; i++) {
		const struct pol_rule *r = &s->rules[i];
		struct filter_rule *to;

		if (!r->is_global && (node == SIZE_MAX || !pol_bit(r->only, node)))
			continue;
		to = merged(numbers, out, r->merge);
		if (!to) {
			to = POL_GROW(out->rules, out->n_rules);
			ok = to && copy_head(to, &r->rule);
			if (ok)
				numbers[out->n_rules - 1] = r->merge;
		}
		ok = ok && reduce_ports(s, r, node, &internet, to) && reduce_grants(s, r, node, to);
	}
	for (size_t i = 0; ok && i < out->n_rules; i++) {
		if (out->rules[i].n_dsts || out->rules[i].n_grants) {
			struct filter_rule tmp = out->rules[i];

			out->rules[i] = (struct filter_rule){ 0 };
			out->rules[kept++] = tmp;
		} else {
			filter_rule_wipe(&out->rules[i]);
			out->rules[i] = (struct filter_rule){ 0 };
		}
	}
	if (ok)
		out->n_rules = kept;
	ipset_wipe(&internet);
	free(numbers);
	if (ok)
		return 0;
	filter_rules_wipe(out);
	*out = (struct filter_rules){ 0 };
	return -ENOMEM;
}

int policyset_global(const struct policyset *s, struct filter_rules *out)
{
	return collect(s, SIZE_MAX, out);
}

int policyset_filter(const struct policyset *s, size_t node, struct filter_rules *out)
{
	return collect(s, node, out);
}

/* ---- questions ---- */

bool policyset_visible(const struct policyset *s, size_t a, size_t b)
{
	if (a == b)
		return false;
	for (size_t i = 0; i < s->n_rules; i++) {
		const struct pol_rule *r = &s->rules[i];

		if ((pol_bit(r->src, a) && pol_bit(r->dst, b)) || (pol_bit(r->src, b) && pol_bit(r->dst, a)))
			return true;
	}
	return false;
}

bool policyset_may_route(const struct policyset *s, size_t viewer, size_t owner, const struct prefix *route)
{
	for (size_t i = 0; i < s->n_rules; i++) {
		const struct pol_rule *r = &s->rules[i];

		if (r->rule.n_dsts && pol_bit(r->src, viewer) && (r->is_global || pol_bit(r->only, owner)) &&
		    ipset_overlaps(&r->dsts, route))
			return true;
	}
	return false;
}

const char *const *policyset_attrs(const struct policyset *s, size_t node, size_t *n)
{
	*n = s->n_attrs[node];
	return (const char *const *)s->attrs[node];
}

bool policyset_has_ssh(const struct policyset *s)
{
	return s->has_ssh;
}

bool policyset_auto_approves(const struct policyset *s, size_t node, const struct prefix *route)
{
	for (size_t i = 0; i < s->n_approvers; i++) {
		const struct approver_set *a = &s->approvers[i];
		bool exit_set = !ip_is_set(&a->route.ip);

		if (!pol_bit(a->who, node))
			continue;
		if (route->bits == 0 ? exit_set
				     : !exit_set && a->route.bits <= route->bits &&
					       prefix_contains(&a->route, &route->ip))
			return true;
	}
	return false;
}

size_t policyset_lost_pairs(const struct policyset *before, const struct policyset *after)
{
	size_t n = before->n_nodes < after->n_nodes ? before->n_nodes : after->n_nodes, lost = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t k = i + 1; k < n; k++)
			lost += policyset_visible(before, i, k) && !policyset_visible(after, i, k);
	return lost;
}

/* ---- freeing ---- */

void pol_rule_wipe(struct pol_rule *r)
{
	filter_rule_wipe(&r->rule);
	free(r->only);
	free(r->src);
	free(r->dst);
	ipset_wipe(&r->dsts);
	*r = (struct pol_rule){ 0 };
}

void policyset_free(struct policyset *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_rules; i++)
		pol_rule_wipe(&s->rules[i]);
	free(s->rules);
	for (size_t i = 0; s->nodes && i < s->n_nodes; i++)
		free((void *)(uintptr_t)s->nodes[i].routes);
	for (size_t i = 0; s->attrs && s->n_attrs && i < s->n_nodes; i++)
		pol_strs_free(s->attrs[i], s->n_attrs[i]);
	free(s->nodes);
	free(s->attrs);
	free(s->n_attrs);
	for (size_t i = 0; i < s->n_approvers; i++)
		free(s->approvers[i].who);
	free(s->approvers);
	pol_ssh_wipe(s);
	free(s);
}
