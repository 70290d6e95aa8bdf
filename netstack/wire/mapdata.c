/* SPDX-License-Identifier: MIT */
/* Memory of the network map's structs: wipe and deep copy. Questions and comparisons are in mapdata_eq.c. */
#include "wire/mapdata.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- wiping --- */

void map_strs_free(char **texts, size_t n)
{
	for (size_t i = 0; texts && i < n; i++)
		free(texts[i]);
	free(texts);
}

void map_cap_wipe(struct map_cap *c)
{
	free(c->name);
	map_strs_free(c->values, c->n_values);
	*c = (struct map_cap){ 0 };
}

void map_caps_free(struct map_cap *caps, size_t n)
{
	for (size_t i = 0; caps && i < n; i++)
		map_cap_wipe(&caps[i]);
	free(caps);
}

void hostinfo_wipe(struct hostinfo *h)
{
	free(h->hostname);
	free(h->os);
	free(h->os_version);
	free(h->version);
	free(h->backend_log_id);
	free(h->routable_ips);
	map_strs_free(h->request_tags, h->n_request_tags);
	free(h->derp_latency);
	*h = (struct hostinfo){ 0 };
}

/* Members that map_node_pack() moves. */
static void forget_packed(struct map_node *n)
{
	n->stable_id = n->name = NULL;
	n->addrs = n->allowed_ips = n->primary_routes = NULL;
	n->endpoints = NULL;
	n->host.hostname = n->host.os = n->host.os_version = n->host.version = n->host.backend_log_id = NULL;
}

void map_node_wipe(struct map_node *n)
{
	if (n->packed)
		forget_packed(n);
	free(n->packed);
	free(n->stable_id);
	free(n->name);
	free(n->addrs);
	free(n->allowed_ips);
	free(n->primary_routes);
	free(n->endpoints);
	map_caps_free(n->caps, n->n_caps);
	map_strs_free(n->tags, n->n_tags);
	hostinfo_wipe(&n->host);
	*n = (struct map_node){ 0 };
}

enum { PACK_TEXTS = 7 };

static void list_texts(struct map_node *n, char **list[PACK_TEXTS])
{
	char **all[PACK_TEXTS] = { &n->stable_id,	&n->name,	  &n->host.hostname,	  &n->host.os,
				   &n->host.os_version, &n->host.version, &n->host.backend_log_id };

	memcpy(list, all, sizeof(all));
}

/* Copies 'size' bytes to '*to', which moves on, frees the original, and returns the copy (null for nothing). */
static void *move_in(char **to, void *from, size_t size)
{
	char *p = *to;

	if (from && size)
		memcpy(p, from, size);
	free(from);
	*to += size;
	return size ? p : NULL;
}

void map_node_pack(struct map_node *n)
{
	const bool same = n->n_addrs == n->n_allowed_ips && n->n_addrs &&
			  memcmp(n->addrs, n->allowed_ips, n->n_addrs * sizeof(*n->addrs)) == 0;
	size_t size = n->n_endpoints * sizeof(*n->endpoints) + n->n_addrs * sizeof(*n->addrs) +
		      n->n_primary_routes * sizeof(*n->primary_routes) +
		      (same ? 0 : n->n_allowed_ips * sizeof(*n->allowed_ips));
	char **texts[PACK_TEXTS], *to;

	list_texts(n, texts);
	for (size_t i = 0; i < PACK_TEXTS; i++)
		size += *texts[i] ? strlen(*texts[i]) + 1 : 0;
	to = n->packed || !size ? NULL : malloc(size);
	if (!to)
		return;
	n->packed = to;
	/* What is aligned comes first. */
	n->endpoints = move_in(&to, n->endpoints, n->n_endpoints * sizeof(*n->endpoints));
	n->addrs = move_in(&to, n->addrs, n->n_addrs * sizeof(*n->addrs));
	if (same) {
		free(n->allowed_ips);
		n->allowed_ips = n->addrs;
	} else {
		n->allowed_ips = move_in(&to, n->allowed_ips, n->n_allowed_ips * sizeof(*n->allowed_ips));
	}
	n->primary_routes = move_in(&to, n->primary_routes, n->n_primary_routes * sizeof(*n->primary_routes));
	for (size_t i = 0; i < PACK_TEXTS; i++)
		if (*texts[i])
			*texts[i] = move_in(&to, *texts[i], strlen(*texts[i]) + 1);
}

static void derp_node_wipe(struct derp_node *n)
{
	free(n->name);
	free(n->host_name);
	free(n->cert_name);
	free(n->ipv4);
	free(n->ipv6);
	free(n->stun_test_ip);
	*n = (struct derp_node){ 0 };
}

void derp_region_wipe(struct derp_region *r)
{
	free(r->code);
	free(r->name);
	for (size_t i = 0; i < r->n_nodes; i++)
		derp_node_wipe(&r->nodes[i]);
	free(r->nodes);
	*r = (struct derp_region){ 0 };
}

void derp_map_wipe(struct derp_map *m)
{
	for (size_t i = 0; i < m->n_regions; i++)
		derp_region_wipe(&m->regions[i]);
	free(m->regions);
	*m = (struct derp_map){ 0 };
}

void filter_rule_wipe(struct filter_rule *r)
{
	for (size_t i = 0; i < r->n_srcs; i++)
		free(r->srcs[i].cap);
	free(r->srcs);
	free(r->dsts);
	free(r->protos);
	for (size_t i = 0; i < r->n_grants; i++) {
		free(r->grants[i].dsts);
		map_caps_free(r->grants[i].caps, r->grants[i].n_caps);
	}
	free(r->grants);
	*r = (struct filter_rule){ 0 };
}

void filter_rules_wipe(struct filter_rules *r)
{
	for (size_t i = 0; i < r->n_rules; i++)
		filter_rule_wipe(&r->rules[i]);
	free(r->rules);
	*r = (struct filter_rules){ 0 };
}

void user_profile_wipe(struct user_profile *u)
{
	free(u->login_name);
	free(u->display_name);
	free(u->profile_pic_url);
	*u = (struct user_profile){ 0 };
}

void dns_config_wipe(struct dns_config *d)
{
	map_strs_free(d->domains, d->n_domains);
	map_strs_free(d->resolvers, d->n_resolvers);
	for (size_t i = 0; i < d->n_routes; i++) {
		free(d->routes[i].suffix);
		map_strs_free(d->routes[i].resolvers, d->routes[i].n_resolvers);
	}
	free(d->routes);
	*d = (struct dns_config){ 0 };
}

/* --- copying: each helper returns false when memory runs out and leaves what it made to the caller's wipe --- */

static bool copy_str(char **to, const char *from)
{
	const size_t size = from ? strlen(from) + 1 : 0;

	*to = NULL;
	if (!from)
		return true;
	*to = malloc(size);
	if (*to)
		memcpy(*to, from, size);
	return *to != NULL;
}

/* A fresh array with the bytes of 'n' elements; null for none. */
static bool copy_array(void **to, size_t *n_to, const void *from, size_t n, size_t size)
{
	*to = NULL;
	*n_to = 0;
	if (n == 0)
		return true;
	*to = calloc(n, size);
	if (!*to)
		return false;
	if (from)
		memcpy(*to, from, n * size);
	*n_to = n;
	return true;
}

static bool copy_strs(char ***to, size_t *n_to, char *const *from, size_t n)
{
	void *list;

	if (!copy_array(&list, n_to, NULL, n, sizeof(**to)))
		return false;
	*to = list;
	for (size_t i = 0; i < n; i++)
		if (!copy_str(&(*to)[i], from[i]))
			return false;
	return true;
}

static bool copy_prefixes(struct prefix **to, size_t *n_to, const struct prefix *from, size_t n)
{
	void *list;
	const bool ok = copy_array(&list, n_to, from, n, sizeof(**to));

	*to = list;
	return ok;
}

static bool copy_caps(struct map_cap **to, size_t *n_to, const struct map_cap *from, size_t n)
{
	void *list;

	if (!copy_array(&list, n_to, NULL, n, sizeof(**to))) {
		*to = NULL;
		return false;
	}
	*to = list;
	for (size_t i = 0; i < n; i++)
		if (!copy_str(&(*to)[i].name, from[i].name) ||
		    !copy_strs(&(*to)[i].values, &(*to)[i].n_values, from[i].values, from[i].n_values))
			return false;
	return true;
}

static bool hostinfo_fill(struct hostinfo *t, const struct hostinfo *from)
{
	void *latency;

	*t = *from; /* the plain members; every pointer is replaced below before anything can fail */
	t->hostname = t->os = t->os_version = t->version = t->backend_log_id = NULL;
	t->routable_ips = NULL;
	t->n_routable_ips = 0;
	t->request_tags = NULL;
	t->n_request_tags = 0;
	t->derp_latency = NULL;
	t->n_derp_latency = 0;
	if (!copy_str(&t->hostname, from->hostname) || !copy_str(&t->os, from->os) ||
	    !copy_str(&t->os_version, from->os_version) || !copy_str(&t->version, from->version) ||
	    !copy_str(&t->backend_log_id, from->backend_log_id) ||
	    !copy_prefixes(&t->routable_ips, &t->n_routable_ips, from->routable_ips, from->n_routable_ips) ||
	    !copy_strs(&t->request_tags, &t->n_request_tags, from->request_tags, from->n_request_tags))
		return false;
	if (!copy_array(&latency, &t->n_derp_latency, from->derp_latency, from->n_derp_latency,
			sizeof(*t->derp_latency)))
		return false;
	t->derp_latency = latency;
	return true;
}

int hostinfo_copy(struct hostinfo *to, const struct hostinfo *from)
{
	if (hostinfo_fill(to, from))
		return 0;
	hostinfo_wipe(to);
	return -ENOMEM;
}

static bool map_node_fill(struct map_node *t, const struct map_node *from)
{
	void *eps;

	*t = *from; /* as in hostinfo_fill() */
	t->packed = NULL;
	t->stable_id = t->name = NULL;
	t->addrs = t->allowed_ips = t->primary_routes = NULL;
	t->n_addrs = t->n_allowed_ips = t->n_primary_routes = 0;
	t->endpoints = NULL;
	t->n_endpoints = 0;
	t->caps = NULL;
	t->n_caps = 0;
	t->tags = NULL;
	t->n_tags = 0;
	t->host = (struct hostinfo){ 0 };
	if (!copy_str(&t->stable_id, from->stable_id) || !copy_str(&t->name, from->name) ||
	    !copy_prefixes(&t->addrs, &t->n_addrs, from->addrs, from->n_addrs) ||
	    !copy_prefixes(&t->allowed_ips, &t->n_allowed_ips, from->allowed_ips, from->n_allowed_ips) ||
	    !copy_prefixes(&t->primary_routes, &t->n_primary_routes, from->primary_routes,
			   from->n_primary_routes) ||
	    !copy_caps(&t->caps, &t->n_caps, from->caps, from->n_caps) ||
	    !copy_strs(&t->tags, &t->n_tags, from->tags, from->n_tags) || !hostinfo_fill(&t->host, &from->host))
		return false;
	if (!copy_array(&eps, &t->n_endpoints, from->endpoints, from->n_endpoints, sizeof(*t->endpoints)))
		return false;
	t->endpoints = eps;
	return true;
}

int map_node_copy(struct map_node *to, const struct map_node *from)
{
	if (map_node_fill(to, from))
		return 0;
	map_node_wipe(to);
	return -ENOMEM;
}

static bool derp_node_fill(struct derp_node *t, const struct derp_node *from)
{
	*t = *from;
	t->name = t->host_name = t->cert_name = t->ipv4 = t->ipv6 = t->stun_test_ip = NULL;
	return copy_str(&t->name, from->name) && copy_str(&t->host_name, from->host_name) &&
	       copy_str(&t->cert_name, from->cert_name) && copy_str(&t->ipv4, from->ipv4) &&
	       copy_str(&t->ipv6, from->ipv6) && copy_str(&t->stun_test_ip, from->stun_test_ip);
}

static bool derp_region_fill(struct derp_region *t, const struct derp_region *from)
{
	void *nodes;

	*t = *from;
	t->code = t->name = NULL;
	t->nodes = NULL;
	t->n_nodes = 0;
	if (!copy_str(&t->code, from->code) || !copy_str(&t->name, from->name) ||
	    !copy_array(&nodes, &t->n_nodes, NULL, from->n_nodes, sizeof(*t->nodes)))
		return false;
	t->nodes = nodes;
	for (size_t i = 0; i < from->n_nodes; i++)
		if (!derp_node_fill(&t->nodes[i], &from->nodes[i]))
			return false;
	return true;
}

int derp_map_copy(struct derp_map *to, const struct derp_map *from)
{
	void *regions;
	bool ok;

	*to = (struct derp_map){ 0 };
	ok = copy_array(&regions, &to->n_regions, NULL, from->n_regions, sizeof(*to->regions));
	to->regions = regions;
	for (size_t i = 0; ok && i < from->n_regions; i++)
		ok = derp_region_fill(&to->regions[i], &from->regions[i]);
	if (ok)
		return 0;
	derp_map_wipe(to);
	return -ENOMEM;
}

static bool filter_srcs_fill(struct filter_rule *t, const struct filter_rule *from)
{
	void *srcs;

	if (!copy_array(&srcs, &t->n_srcs, from->srcs, from->n_srcs, sizeof(*t->srcs)))
		return false;
	t->srcs = srcs;
	for (size_t i = 0; i < t->n_srcs; i++)
		t->srcs[i].cap = NULL;
	for (size_t i = 0; i < t->n_srcs; i++)
		if (!copy_str(&t->srcs[i].cap, from->srcs[i].cap))
			return false;
	return true;
}

static bool filter_rule_fill(struct filter_rule *t, const struct filter_rule *from)
{
	void *list;

	*t = (struct filter_rule){ 0 };
	if (!filter_srcs_fill(t, from))
		return false;
	if (!copy_array(&list, &t->n_dsts, from->dsts, from->n_dsts, sizeof(*t->dsts)))
		return false;
	t->dsts = list;
	if (!copy_array(&list, &t->n_protos, from->protos, from->n_protos, sizeof(*t->protos)))
		return false;
	t->protos = list;
	if (!copy_array(&list, &t->n_grants, NULL, from->n_grants, sizeof(*t->grants)))
		return false;
	t->grants = list;
	for (size_t i = 0; i < from->n_grants; i++) {
		const struct filter_grant *g = &from->grants[i];

		if (!copy_prefixes(&t->grants[i].dsts, &t->grants[i].n_dsts, g->dsts, g->n_dsts) ||
		    !copy_caps(&t->grants[i].caps, &t->grants[i].n_caps, g->caps, g->n_caps))
			return false;
	}
	return true;
}

int filter_rules_copy(struct filter_rules *to, const struct filter_rules *from)
{
	void *rules;
	bool ok;

	*to = (struct filter_rules){ 0 };
	ok = copy_array(&rules, &to->n_rules, NULL, from->n_rules, sizeof(*to->rules));
	to->rules = rules;
	for (size_t i = 0; ok && i < from->n_rules; i++)
		ok = filter_rule_fill(&to->rules[i], &from->rules[i]);
	if (ok)
		return 0;
	filter_rules_wipe(to);
	return -ENOMEM;
}

static bool dns_config_fill(struct dns_config *t, const struct dns_config *from)
{
	void *routes;

	*t = (struct dns_config){ .proxied = from->proxied };
	if (!copy_strs(&t->domains, &t->n_domains, from->domains, from->n_domains) ||
	    !copy_strs(&t->resolvers, &t->n_resolvers, from->resolvers, from->n_resolvers) ||
	    !copy_array(&routes, &t->n_routes, NULL, from->n_routes, sizeof(*t->routes)))
		return false;
	t->routes = routes;
	for (size_t i = 0; i < from->n_routes; i++) {
		const struct dns_route *r = &from->routes[i];

		if (!copy_str(&t->routes[i].suffix, r->suffix) ||
		    !copy_strs(&t->routes[i].resolvers, &t->routes[i].n_resolvers, r->resolvers, r->n_resolvers))
			return false;
	}
	return true;
}

int dns_config_copy(struct dns_config *to, const struct dns_config *from)
{
	if (dns_config_fill(to, from))
		return 0;
	dns_config_wipe(to);
	return -ENOMEM;
}
