/* SPDX-License-Identifier: MIT */
/* Checked policy + world -> compiled rules with, for each, a bit per node for "is in its sources" and "is in
 * its destinations". Visibility of a pair is then a few bit tests, and a node's filter is a pass over the
 * rules. Spec: coordinator 10, steps A to G. */
#include "coord/policyfile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "coord/policyint.h"
#include "coord/policyrule.h"

static const char CAP_RELAY[] = "tailscale.com/cap/relay";

/* ---- who matches an alias ---- */

bool pol_user_is(const struct policy_user *u, const char *name)
{
	size_t len = strlen(name);

	if ((*u->email && strcmp(u->email, name) == 0) || strcmp(u->name, name) == 0)
		return true;
	return len > 1 && name[len - 1] == '@' && strlen(u->name) == len - 1 && strncmp(u->name, name, len - 1) == 0;
}

bool pol_node_has_tag(const struct policy_node *n, const char *tag)
{
	for (size_t i = 0; i < n->n_tags; i++)
		if (strcmp(n->tags[i], tag) == 0)
			return true;
	return false;
}

static bool owned_by(const struct policy_world *w, const struct policy_node *n, const char *user)
{
	for (size_t i = 0; i < w->n_users; i++)
		if (w->users[i].id == n->user)
			return pol_user_is(&w->users[i], user);
	return false;
}

bool pol_node_is(const struct policyfile *p, const struct policy_world *w, const struct policy_node *n,
		 const struct pol_alias *a)
{
	switch (a->kind) {
	case POL_ANY:
	case POL_DANGER_ALL:
		return true;
	case POL_MEMBER:
		return n->user != 0;
	case POL_TAGGED:
		return n->user == 0;
	case POL_TAG:
		return pol_node_has_tag(n, a->name);
	case POL_USER:
		return n->user != 0 && owned_by(w, n, a->name);
	case POL_GROUP:
		for (size_t i = 0; n->user != 0 && i < p->n_groups; i++) {
			const struct pol_group *g = &p->groups[i];

			for (size_t k = 0; strcmp(g->name, a->name) == 0 && k < g->n_members; k++)
				if (owned_by(w, n, g->members[k]))
					return true;
		}
		return false;
	case POL_PREFIX:
		return prefix_contains(&a->prefix, &n->ip4) || prefix_contains(&a->prefix, &n->ip6);
	case POL_SELF:
	case POL_INTERNET:
		return false;
	}
	return false;
}

void pol_resolve(const struct policyfile *p, const struct policy_world *w, const struct pol_alias *a,
		 struct ipset *out)
{
	switch (a->kind) {
	case POL_ANY:
		ipset_add_tailnet(out);
		return;
	case POL_DANGER_ALL:
		ipset_add_all(out);
		return;
	case POL_INTERNET:
		ipset_add_internet(out);
		return;
	case POL_PREFIX:
		ipset_add_prefix(out, &a->prefix);
		return;
	case POL_SELF:
		return;
	case POL_USER:
	case POL_GROUP:
	case POL_TAG:
	case POL_MEMBER:
	case POL_TAGGED:
		break;
	}
	for (size_t i = 0; i < w->n_nodes; i++) {
		if (pol_node_is(p, w, &w->nodes[i], a)) {
			ipset_add_ip(out, &w->nodes[i].ip4);
			ipset_add_ip(out, &w->nodes[i].ip6);
		}
	}
}

bool policyfile_owns_tag(const struct policyfile *p, const struct policy_user *user, const char *tag)
{
	const struct policy_world w = { .users = user, .n_users = 1 };
	const struct policy_node n = { .user = user->id };

	for (size_t i = 0; i < p->n_owners; i++)
		for (size_t k = 0; strcmp(p->owners[i].tag, tag) == 0 && k < p->owners[i].who.n; k++)
			if (pol_node_is(p, &w, &n, &p->owners[i].who.a[k]))
				return true;
	return false;
}

/* ---- the sources of a grant ---- */

/* Approved subnet routes without exit routes, each once. */
static void subnet_routes(const struct policy_world *w, struct prefix **out, size_t *n, bool *nomem)
{
	for (size_t i = 0; i < w->n_nodes; i++) {
		for (size_t k = 0; k < w->nodes[i].n_routes; k++) {
			const struct prefix *r = &w->nodes[i].routes[k];
			struct prefix *slot;
			bool have = r->bits == 0;

			for (size_t j = 0; j < *n; j++)
				have |= prefix_eq(&(*out)[j], r);
			if (have)
				continue;
			slot = POL_GROW(*out, *n);
			if (!slot)
				*nomem = true;
			else
				*slot = *r;
		}
	}
}

/* SrcIPs and the set they stand for. */
static void resolve_sources(struct pol_build *b, const struct pol_list *src, struct pol_sources *out)
{
	struct ipset star = { 0 };
	struct prefix *routes = NULL;
	size_t n_routes = 0;

	for (size_t i = 0; i < src->n; i++) {
		out->all |= src->a[i].kind == POL_DANGER_ALL;
		out->star |= src->a[i].kind == POL_ANY;
	}
	for (size_t i = 0; i < src->n; i++)
		pol_resolve(b->p, b->w, &src->a[i], &out->set);
	ipset_normalize(&out->set);
	if (out->star && !out->all) {
		ipset_add_tailnet(&star);
		ipset_normalize(&star);
		ipset_add_set(&out->entries, &star);
		subnet_routes(b->w, &routes, &n_routes, &b->nomem);
		for (size_t i = 0; i < n_routes; i++) {
			ipset_add_prefix(&out->entries, &routes[i]);
			ipset_add_prefix(&out->set, &routes[i]);
		}
		/* What was named beside "*" and is not part of the tailnet. */
		for (size_t i = 0; i < src->n; i++)
			if (src->a[i].kind == POL_PREFIX &&
			    !ipset_contains(&star, ipset_range_of(&src->a[i].prefix)))
				ipset_add_prefix(&out->entries, &src->a[i].prefix);
		ipset_normalize(&out->set);
	} else if (!out->all) {
		ipset_add_set(&out->entries, &out->set);
	}
	b->nomem |= out->set.nomem || out->entries.nomem || star.nomem;
	ipset_wipe(&star);
	free(routes);
}

static void sources_wipe(struct pol_sources *s)
{
	ipset_wipe(&s->set);
	ipset_wipe(&s->entries);
}

static bool sources_empty(const struct pol_sources *s)
{
	return !s->all && s->set.n == 0;
}

/* ---- one rule ---- */

static bool fill_sources(struct filter_rule *r, const struct pol_sources *s)
{
	size_t n = s->all ? 1 : s->entries.n;

	r->srcs = calloc(n ? n : 1, sizeof(*r->srcs));
	if (!r->srcs)
		return false;
	r->n_srcs = n;
	for (size_t i = 0; i < n; i++) {
		r->srcs[i].kind = s->all ? FILTER_SRC_ANY : FILTER_SRC_RANGE;
		if (!s->all)
			r->srcs[i].range = ipset_ip_range(s->entries.r[i]);
	}
	return true;
}

static bool add_dst(struct filter_rule *r, const struct ip_range *range, const struct pol_port *port)
{
	struct filter_dst *d = POL_GROW(r->dsts, r->n_dsts);

	if (!d)
		return false;
	*d = (struct filter_dst){ .any = !range, .port_first = port->first, .port_last = port->last };
	if (range)
		d->range = *range;
	return true;
}

/* DstPorts of one alias: each block as a CIDR, each port range. */
static bool add_dsts(struct pol_build *b, struct pol_rule *r, const struct pol_alias *a, const struct pol_ip *ip)
{
	struct ipset set = { 0 };
	bool ok = true;

	if (a->kind == POL_ANY) {
		ipset_add_all(&r->dsts);
		for (size_t k = 0; k < ip->n_ports; k++)
			ok = ok && add_dst(&r->rule, NULL, &ip->ports[k]);
		return ok;
	}
	pol_resolve(b->p, b->w, a, &set);
	ipset_normalize(&set);
	ipset_add_set(&r->dsts, &set);
	for (size_t i = 0; i < set.n; i++) {
		struct ipset_range left = set.r[i];
		struct prefix p;

		while (ok && ipset_next_prefix(&left, &p)) {
			struct ip_range range = ipset_ip_range(ipset_range_of(&p));

			for (size_t k = 0; k < ip->n_ports; k++)
				ok = ok && add_dst(&r->rule, &range, &ip->ports[k]);
		}
	}
	ok = ok && !set.nomem;
	ipset_wipe(&set);
	return ok;
}

static struct pol_rule *new_rule(struct pol_build *b, const struct pol_sources *src)
{
	struct pol_rule *r = POL_GROW(b->s->rules, b->s->n_rules);

	if (!r)
		return NULL;
	r->is_global = true;
	r->src = calloc(b->s->n_words, sizeof(*r->src));
	r->dst = calloc(b->s->n_words, sizeof(*r->dst));
	return r->src && r->dst && fill_sources(&r->rule, src) ? r : NULL;
}

static void drop_last_rule(struct pol_build *b)
{
	pol_rule_wipe(&b->s->rules[--b->s->n_rules]);
}

static bool set_protos(struct filter_rule *r, uint8_t proto)
{
	if (proto == 0)
		return true;
	r->protos = malloc(1);
	if (!r->protos)
		return false;
	r->protos[0] = proto;
	r->n_protos = 1;
	return true;
}

/* ---- who is in a rule ---- */

static bool node_in(const struct policy_node *n, const struct ipset *set)
{
	if (ipset_has(set, &n->ip4) || ipset_has(set, &n->ip6))
		return true;
	for (size_t i = 0; i < n->n_routes; i++)
		if (n->routes[i].bits != 0 && ipset_overlaps(set, &n->routes[i]))
			return true;
	return false;
}

static bool is_exit(const struct policy_node *n)
{
	for (size_t i = 0; i < n->n_routes; i++)
		if (n->routes[i].bits == 0)
			return true;
	return false;
}

/* Is any destination of the rule inside the internet set? */
static bool dst_in_internet(const struct pol_build *b, const struct ipset *dsts)
{
	for (size_t i = 0; i < dsts->n; i++)
		if (ipset_contains(&b->internet, dsts->r[i]))
			return true;
	return false;
}

static void mark_nodes(struct pol_build *b, struct pol_rule *r, const struct pol_sources *src)
{
	bool internet;

	internet = dst_in_internet(b, &r->dsts); /* before ranges of several aliases flow together */
	ipset_normalize(&r->dsts);
	for (size_t i = 0; i < b->w->n_nodes; i++) {
		const struct policy_node *n = &b->w->nodes[i];

		if (src->all || node_in(n, &src->set))
			pol_bit_set(r->src, i);
		if (node_in(n, &r->dsts) || (internet && is_exit(n)))
			pol_bit_set(r->dst, i);
	}
	b->nomem |= r->dsts.nomem;
}

/* A rule for some nodes only: it neither reaches nor shows any other. */
static bool restrict_to(struct pol_build *b, struct pol_rule *r, const pol_word *only)
{
	r->is_global = false;
	r->only = calloc(b->s->n_words, sizeof(*r->only));
	if (!r->only)
		return false;
	for (size_t i = 0; i < b->s->n_words; i++) {
		r->only[i] = only[i];
		r->dst[i] &= only[i];
	}
	return true;
}

static void emit_ports(struct pol_build *b, const struct pol_sources *src, const struct pol_alias *dsts, size_t n,
		       const struct pol_ip *ip, const pol_word *only)
{
	struct pol_rule *r;

	if (sources_empty(src) || n == 0)
		return;
	r = new_rule(b, src);
	if (!r) {
		b->nomem = true;
		return;
	}
	if (!set_protos(&r->rule, ip->proto))
		b->nomem = true;
	for (size_t i = 0; i < n && !b->nomem; i++)
		if (dsts[i].kind != POL_SELF && !add_dsts(b, r, &dsts[i], ip))
			b->nomem = true;
	if (r->rule.n_dsts == 0) {
		drop_last_rule(b);
		return;
	}
	mark_nodes(b, r, src);
	if (only && !restrict_to(b, r, only))
		b->nomem = true;
}

/* ---- capability grants ---- */

static bool add_prefixes(struct filter_grant *g, const struct ipset *set)
{
	for (size_t i = 0; i < set->n; i++) {
		struct ipset_range left = set->r[i];
		struct prefix p;

		while (ipset_next_prefix(&left, &p)) {
			struct prefix *slot = POL_GROW(g->dsts, g->n_dsts);

			if (!slot)
				return false;
			*slot = p;
		}
	}
	return true;
}

static bool copy_cap(struct map_cap *to, const struct map_cap *from)
{
	to->name = strdup(from->name);
	to->values = calloc(from->n_values ? from->n_values : 1, sizeof(*to->values));
	if (!to->name || !to->values)
		return false;
	for (size_t i = 0; i < from->n_values; i++) {
		to->values[i] = strdup(from->values[i]);
		if (!to->values[i])
			return false;
		to->n_values++;
	}
	return true;
}

/* One CapGrant entry for a set of destinations; which of the grant's capabilities it carries says 'which':
 * 0 all, 1 all but relay, 2 relay alone. */
static bool add_cap_entry(struct pol_build *b, struct pol_rule *r, const struct pol_grant *g,
			  const struct ipset *dsts, int which)
{
	struct filter_grant *e;

	if (dsts->n == 0)
		return true;
	e = POL_GROW(r->rule.grants, r->rule.n_grants);
	if (!e || !add_prefixes(e, dsts))
		return false;
	for (size_t i = 0; i < g->n_app; i++) {
		bool relay = strcmp(g->app[i].name, CAP_RELAY) == 0;
		struct map_cap *c;

		if ((which == 1 && relay) || (which == 2 && !relay))
			continue;
		c = POL_GROW(e->caps, e->n_caps);
		if (!c || !copy_cap(c, &g->app[i]))
			return false;
	}
	ipset_add_set(&r->dsts, dsts);
	b->nomem |= r->dsts.nomem;
	return true;
}

static const struct map_cap *find_app(const struct pol_grant *g, const char *name)
{
	for (size_t i = 0; i < g->n_app; i++)
		if (strcmp(g->app[i].name, name) == 0)
			return &g->app[i];
	return NULL;
}

/* For cap/relay, destination "*" means the nodes that offer themselves (coordinator 9, Ours). */
static void offering_relays(const struct pol_build *b, struct ipset *out)
{
	for (size_t i = 0; i < b->w->n_nodes; i++) {
		if (b->w->nodes[i].peer_relay) {
			ipset_add_ip(out, &b->w->nodes[i].ip4);
			ipset_add_ip(out, &b->w->nodes[i].ip6);
		}
	}
	ipset_normalize(out);
}

/* Destinations of one alias for capabilities; 'user' restricts SELF. */
static void cap_dst(const struct pol_build *b, const struct pol_alias *a, const struct ipset *self, struct ipset *out)
{
	if (a->kind == POL_SELF)
		ipset_add_set(out, self);
	else
		pol_resolve(b->p, b->w, a, out);
	ipset_normalize(out);
}

static void emit_app(struct pol_build *b, const struct pol_sources *src, const struct pol_grant *g,
		     const struct ipset *self, const pol_word *only)
{
	bool has_relay = find_app(g, CAP_RELAY) != NULL;
	struct pol_rule *r;

	if (sources_empty(src))
		return;
	r = new_rule(b, src);
	if (!r) {
		b->nomem = true;
		return;
	}
	for (size_t i = 0; i < g->dst.n && !b->nomem; i++) {
		const struct pol_alias *a = &g->dst.a[i];
		bool star_relay = a->kind == POL_ANY && has_relay;
		struct ipset set = { 0 }, relays = { 0 };

		if ((a->kind == POL_SELF) != (self != NULL))
			continue;
		cap_dst(b, a, self, &set);
		if (star_relay)
			offering_relays(b, &relays);
		b->nomem |= set.nomem || relays.nomem;
		if (!star_relay || g->n_app > 1)
			b->nomem |= !add_cap_entry(b, r, g, &set, star_relay ? 1 : 0);
		if (star_relay)
			b->nomem |= !add_cap_entry(b, r, g, &relays, 2);
		ipset_wipe(&set);
		ipset_wipe(&relays);
	}
	if (r->rule.n_grants == 0) {
		drop_last_rule(b);
		return;
	}
	mark_nodes(b, r, src);
	if (only && !restrict_to(b, r, only))
		b->nomem = true;
}

/* Appends ranges that are not yet there, without merging. */
static void add_unmerged(struct ipset *to, const struct ipset *from)
{
	for (size_t i = 0; i < from->n; i++) {
		bool have = false;

		for (size_t k = 0; k < to->n; k++)
			have |= to->r[k].family == from->r[i].family && to->r[k].first == from->r[i].first &&
				to->r[k].last == from->r[i].last;
		if (!have)
			ipset_add_range(to, from->r[i]);
	}
	to->nomem |= from->nomem;
}

/* The sources of a companion: the destinations of the grant, alias by alias. */
static void companion_sources(struct pol_build *b, const struct pol_grant *g, bool relay, const struct ipset *self,
			      struct pol_sources *out)
{
	for (size_t i = 0; i < g->dst.n; i++) {
		const struct pol_alias *a = &g->dst.a[i];
		struct ipset set = { 0 };

		if ((a->kind == POL_SELF) != (self != NULL))
			continue;
		if (relay && a->kind == POL_ANY) {
			offering_relays(b, &set);
		} else {
			cap_dst(b, a, self, &set);
			if (a->kind == POL_ANY) {
				struct prefix *routes = NULL;
				size_t n = 0;

				subnet_routes(b->w, &routes, &n, &b->nomem);
				for (size_t k = 0; k < n; k++)
					ipset_add_prefix(&set, &routes[k]);
				free(routes);
			}
		}
		add_unmerged(&out->entries, &set);
		ipset_wipe(&set);
	}
	ipset_add_set(&out->set, &out->entries);
	ipset_normalize(&out->set);
	b->nomem |= out->set.nomem || out->entries.nomem;
}

/* The destinations of a companion: the sources of the grant, alias by alias. */
static bool companion_dsts(struct pol_build *b, struct pol_rule *r, const struct pol_list *src,
			   const struct ipset *within, const char *name)
{
	struct filter_grant *e = POL_GROW(r->rule.grants, r->rule.n_grants);
	struct ipset seen = { 0 };
	struct map_cap *c;
	bool ok = e != NULL;

	for (size_t i = 0; ok && i < src->n; i++) {
		struct ipset set = { 0 }, fresh = { 0 };

		pol_resolve(b->p, b->w, &src->a[i], &set);
		ipset_normalize(&set);
		if (within)
			ipset_intersect(&set, within);
		for (size_t k = 0; k < set.n; k++)
			if (!ipset_contains(&seen, set.r[k]))
				ipset_add_range(&fresh, set.r[k]);
		ok = add_prefixes(e, &fresh) && !set.nomem && !fresh.nomem;
		add_unmerged(&seen, &fresh);
		ipset_wipe(&set);
		ipset_wipe(&fresh);
	}
	ipset_add_set(&r->dsts, &seen);
	ok = ok && !seen.nomem && !r->dsts.nomem;
	ipset_wipe(&seen);
	c = ok ? POL_GROW(e->caps, e->n_caps) : NULL;
	return c && (c->name = strdup(name));
}

static void emit_companions(struct pol_build *b, const struct pol_grant *g, const struct ipset *self,
			    const pol_word *only)
{
	static const struct {
		const char *cap, *companion;
	} pairs[] = {
		{ "tailscale.com/cap/drive", "tailscale.com/cap/drive-sharer" },
		{ CAP_RELAY, "tailscale.com/cap/relay-target" },
	};

	for (size_t i = 0; i < ARRAY_LEN(pairs) && !b->nomem; i++) {
		struct pol_sources src = { 0 };
		struct pol_rule *r;

		if (!find_app(g, pairs[i].cap))
			continue;
		companion_sources(b, g, i == 1, self, &src);
		if (!sources_empty(&src) && !b->nomem) {
			r = new_rule(b, &src);
			if (!r || !companion_dsts(b, r, &g->src, self, pairs[i].companion)) {
				b->nomem = true;
			} else if (r->rule.grants[0].n_dsts == 0) {
				drop_last_rule(b);
			} else {
				mark_nodes(b, r, &src);
				if (only && !restrict_to(b, r, only))
					b->nomem = true;
			}
		}
		sources_wipe(&src);
	}
}

/* ---- grants ---- */

/* autogroup:self: once per user that has untagged nodes, for those nodes alone. */
static void emit_self_user(struct pol_build *b, const struct pol_grant *g, const struct pol_sources *src,
			   const struct policy_user *u)
{
	pol_word *only = calloc(b->s->n_words, sizeof(*only));
	struct pol_sources mine = { 0 };
	struct ipset devices = { 0 };

	for (size_t i = 0; only && i < b->w->n_nodes; i++) {
		const struct policy_node *n = &b->w->nodes[i];

		if (n->user != u->id)
			continue;
		pol_bit_set(only, i);
		ipset_add_ip(&devices, &n->ip4);
		ipset_add_ip(&devices, &n->ip6);
	}
	ipset_normalize(&devices);
	ipset_add_set(&mine.set, &devices);
	if (!src->all)
		ipset_intersect(&mine.set, &src->set);
	ipset_normalize(&mine.set);
	ipset_add_set(&mine.entries, &mine.set);
	b->nomem |= !only || mine.set.nomem || mine.entries.nomem;
	for (size_t i = 0; i < g->n_ip && mine.set.n && !b->nomem; i++) {
		struct pol_rule *r = new_rule(b, &mine);

		if (!r || !set_protos(&r->rule, g->ip[i].proto)) {
			b->nomem = true;
			break;
		}
		for (size_t k = 0; k < devices.n; k++) {
			struct ipset_range left = devices.r[k];
			struct prefix p;

			while (ipset_next_prefix(&left, &p)) {
				/* Address by address: each device keeps only its own. */
				struct ipset_range one = ipset_range_of(&p);

				for (ipset_num at = one.first;; at++) {
					struct ip_range range = ipset_ip_range((struct ipset_range){ one.family, at, at });

					for (size_t j = 0; j < g->ip[i].n_ports; j++)
						b->nomem |= !add_dst(&r->rule, &range, &g->ip[i].ports[j]);
					if (at == one.last)
						break;
				}
			}
		}
		ipset_add_set(&r->dsts, &devices);
		mark_nodes(b, r, &mine);
		b->nomem |= !restrict_to(b, r, only);
	}
	if (g->n_app && mine.set.n && !b->nomem) {
		emit_app(b, &mine, g, &devices, only);
		emit_companions(b, g, &devices, only);
	}
	free(only);
	sources_wipe(&mine);
	ipset_wipe(&devices);
}

/* via: on each node with one of the tags, for what it really serves. */
static void emit_via_node(struct pol_build *b, const struct pol_grant *g, const struct pol_sources *src, size_t at)
{
	const struct policy_node *n = &b->w->nodes[at];
	pol_word *only = calloc(b->s->n_words, sizeof(*only));
	struct pol_alias *dsts = NULL;
	size_t n_dsts = 0;

	for (size_t i = 0; i < g->dst.n && only; i++) {
		const struct pol_alias *a = &g->dst.a[i];
		bool serves = a->kind == POL_INTERNET && is_exit(n);
		struct pol_alias *slot;

		for (size_t k = 0; a->kind == POL_PREFIX && k < n->n_routes; k++)
			serves |= n->routes[k].bits != 0 && prefix_overlaps(&a->prefix, &n->routes[k]);
		if (!serves)
			continue;
		slot = POL_GROW(dsts, n_dsts);
		if (slot)
			*slot = *a; /* borrows the name */
		else
			b->nomem = true;
	}
	if (only)
		pol_bit_set(only, at);
	b->nomem |= !only;
	for (size_t i = 0; i < g->n_ip && !b->nomem; i++)
		emit_ports(b, src, dsts, n_dsts, &g->ip[i], only);
	free(dsts);
	free(only);
}

static void emit_via(struct pol_build *b, const struct pol_grant *g, const struct pol_sources *src)
{
	for (size_t i = 0; i < b->w->n_nodes && !b->nomem; i++) {
		for (size_t k = 0; k < g->n_via; k++) {
			if (pol_node_has_tag(&b->w->nodes[i], g->via[k])) {
				emit_via_node(b, g, src, i);
				break;
			}
		}
	}
}

static void compile_grant(struct pol_build *b, const struct pol_grant *g)
{
	struct pol_sources src = { 0 };
	bool self = false, other = false;

	resolve_sources(b, &g->src, &src);
	for (size_t i = 0; i < g->dst.n; i++) {
		self |= g->dst.a[i].kind == POL_SELF;
		other |= g->dst.a[i].kind != POL_SELF;
	}
	if (g->n_via) {
		emit_via(b, g, &src);
	} else {
		for (size_t i = 0; other && i < g->n_ip && !b->nomem; i++)
			emit_ports(b, &src, g->dst.a, g->dst.n, &g->ip[i], NULL);
		if (other && g->n_app && !b->nomem) {
			emit_app(b, &src, g, NULL, NULL);
			emit_companions(b, g, NULL, NULL);
		}
		for (size_t i = 0; self && i < b->w->n_users && !b->nomem; i++)
			emit_self_user(b, g, &src, &b->w->users[i]);
	}
	sources_wipe(&src);
}

static void compile_allow_all(struct pol_build *b)
{
	const struct pol_sources src = { .all = true };
	const struct pol_alias any = { .kind = POL_ANY };
	struct pol_port ports = { 0, 65535 };
	const struct pol_ip ip = { .ports = &ports, .n_ports = 1 };

	emit_ports(b, &src, &any, 1, &ip, NULL);
}

static bool same_range(const struct ip_range *a, const struct ip_range *b)
{
	return ip_eq(&a->first, &b->first) && ip_eq(&a->last, &b->last);
}

static bool same_head(const struct filter_rule *a, const struct filter_rule *b)
{
	if (a->n_srcs != b->n_srcs || a->n_protos != b->n_protos || a->n_grants || b->n_grants)
		return false;
	for (size_t i = 0; i < a->n_srcs; i++)
		if (a->srcs[i].kind != b->srcs[i].kind || !same_range(&a->srcs[i].range, &b->srcs[i].range))
			return false;
	return a->n_protos == 0 || memcmp(a->protos, b->protos, a->n_protos) == 0;
}

static void number_merges(struct policyset *s)
{
	for (size_t i = 0; i < s->n_rules; i++) {
		s->rules[i].merge = i;
		for (size_t k = 0; k < i; k++) {
			if (same_head(&s->rules[i].rule, &s->rules[k].rule)) {
				s->rules[i].merge = s->rules[k].merge;
				break;
			}
		}
	}
}

/* ---- nodes, attributes, approvers ---- */

static bool copy_nodes(struct policyset *s, const struct policy_world *w)
{
	s->nodes = calloc(w->n_nodes ? w->n_nodes : 1, sizeof(*s->nodes));
	if (!s->nodes)
		return false;
	for (size_t i = 0; i < w->n_nodes; i++) {
		struct policy_node *n = &s->nodes[i];
		struct prefix *routes;

		*n = w->nodes[i];
		n->tags = NULL;
		n->n_tags = 0;
		n->routes = NULL;
		if (n->n_routes) {
			routes = malloc(n->n_routes * sizeof(*routes));
			if (!routes)
				return false;
			memcpy(routes, w->nodes[i].routes, n->n_routes * sizeof(*routes));
			n->routes = routes;
		}
		s->n_nodes++;
	}
	return true;
}

static bool add_attr(struct policyset *s, size_t node, const char *name)
{
	char **list = s->attrs[node], **slot;
	size_t n = s->n_attrs[node], at = 0;

	while (at < n && strcmp(list[at], name) < 0)
		at++;
	if (at < n && strcmp(list[at], name) == 0)
		return true;
	slot = POL_GROW(s->attrs[node], s->n_attrs[node]);
	if (!slot)
		return false;
	list = s->attrs[node];
	memmove(list + at + 1, list + at, (n - at) * sizeof(*list));
	list[at] = strdup(name);
	return list[at] != NULL;
}

static bool compile_attrs(struct pol_build *b)
{
	struct policyset *s = b->s;

	s->attrs = calloc(s->n_nodes ? s->n_nodes : 1, sizeof(*s->attrs));
	s->n_attrs = calloc(s->n_nodes ? s->n_nodes : 1, sizeof(*s->n_attrs));
	if (!s->attrs || !s->n_attrs)
		return false;
	for (size_t i = 0; i < s->n_nodes; i++) {
		if (b->p->randomize_port && !add_attr(s, i, "randomize-client-port"))
			return false;
		for (size_t k = 0; k < b->p->n_attrs; k++) {
			const struct pol_attr *a = &b->p->attrs[k];
			bool hit = false;

			for (size_t t = 0; t < a->target.n; t++)
				hit |= pol_node_is(b->p, b->w, &b->w->nodes[i], &a->target.a[t]);
			for (size_t t = 0; hit && t < a->n_attrs; t++)
				if (!add_attr(s, i, a->attrs[t]))
					return false;
		}
	}
	return true;
}

static bool add_approver(struct pol_build *b, const struct prefix *route, const struct pol_list *who)
{
	struct approver_set *a = POL_GROW(b->s->approvers, b->s->n_approvers);

	if (!a || !(a->who = calloc(b->s->n_words, sizeof(*a->who))))
		return false;
	if (route)
		a->route = *route;
	for (size_t i = 0; i < b->w->n_nodes; i++)
		for (size_t k = 0; k < who->n; k++)
			if (pol_node_is(b->p, b->w, &b->w->nodes[i], &who->a[k]))
				pol_bit_set(a->who, i);
	return true;
}

static bool compile_approvers(struct pol_build *b)
{
	for (size_t i = 0; i < b->p->n_approvers; i++)
		if (!add_approver(b, &b->p->approvers[i].route, &b->p->approvers[i].who))
			return false;
	return b->p->exit_approvers.n == 0 || add_approver(b, NULL, &b->p->exit_approvers);
}

int policyfile_compile(struct policyset **out, const struct policyfile *p, const struct policy_world *w)
{
	struct policyset *s = calloc(1, sizeof(*s));
	struct pol_build b = { .p = p, .w = w, .s = s };

	if (!s)
		return -ENOMEM;
	s->n_words = w->n_nodes / 64 + 1;
	ipset_add_internet(&b.internet);
	ipset_normalize(&b.internet);
	b.nomem = b.internet.nomem || !copy_nodes(s, w);
	if (p->allow_all && !b.nomem)
		compile_allow_all(&b);
	for (size_t i = 0; i < p->n_grants && !b.nomem; i++)
		compile_grant(&b, &p->grants[i]);
	if (!b.nomem) {
		number_merges(s);
		b.nomem = !compile_attrs(&b) || !compile_approvers(&b) || pol_ssh_compile(s, p, w) != 0;
	}
	ipset_wipe(&b.internet);
	if (b.nomem) {
		policyset_free(s);
		return -ENOMEM;
	}
	*out = s;
	return 0;
}
