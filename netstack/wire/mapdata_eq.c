/* SPDX-License-Identifier: MIT */
/* Comparisons of and questions to the network map's structs. Nothing here is secret: memcmp is fine. */
#include <string.h>

#include "wire/mapdata.h"

static bool str_eq(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool strs_eq(char *const *a, size_t n_a, char *const *b, size_t n_b)
{
	if (n_a != n_b)
		return false;
	for (size_t i = 0; i < n_a; i++)
		if (!str_eq(a[i], b[i]))
			return false;
	return true;
}

static bool prefixes_eq(const struct prefix *a, size_t n_a, const struct prefix *b, size_t n_b)
{
	if (n_a != n_b)
		return false;
	for (size_t i = 0; i < n_a; i++)
		if (!prefix_eq(&a[i], &b[i]))
			return false;
	return true;
}

bool map_caps_eq(const struct map_cap *a, size_t n_a, const struct map_cap *b, size_t n_b)
{
	if (n_a != n_b)
		return false;
	for (size_t i = 0; i < n_a; i++)
		if (!str_eq(a[i].name, b[i].name) ||
		    !strs_eq(a[i].values, a[i].n_values, b[i].values, b[i].n_values))
			return false;
	return true;
}

/* Latencies aside. */
static bool netinfo_says_same(const struct hostinfo *a, const struct hostinfo *b)
{
	if (a->has_netinfo != b->has_netinfo)
		return false;
	if (!a->has_netinfo)
		return true;
	return a->preferred_derp == b->preferred_derp && a->working_udp == b->working_udp &&
	       a->working_ipv6 == b->working_ipv6 && a->os_has_ipv6 == b->os_has_ipv6 &&
	       a->mapping_varies == b->mapping_varies && a->have_port_map == b->have_port_map && a->upnp == b->upnp &&
	       a->pmp == b->pmp && a->pcp == b->pcp;
}

static bool latencies_eq(const struct hostinfo *a, const struct hostinfo *b)
{
	if (!a->has_netinfo)
		return true;
	if (a->n_derp_latency != b->n_derp_latency)
		return false;
	for (size_t i = 0; i < a->n_derp_latency; i++)
		if (strcmp(a->derp_latency[i].key, b->derp_latency[i].key) != 0 ||
		    a->derp_latency[i].seconds != b->derp_latency[i].seconds)
			return false;
	return true;
}

bool hostinfo_says_same(const struct hostinfo *a, const struct hostinfo *b)
{
	return str_eq(a->hostname, b->hostname) && str_eq(a->os, b->os) && str_eq(a->os_version, b->os_version) &&
	       str_eq(a->version, b->version) && str_eq(a->backend_log_id, b->backend_log_id) &&
	       prefixes_eq(a->routable_ips, a->n_routable_ips, b->routable_ips, b->n_routable_ips) &&
	       strs_eq(a->request_tags, a->n_request_tags, b->request_tags, b->n_request_tags) &&
	       a->peerapi4 == b->peerapi4 && a->peerapi6 == b->peerapi6 && a->peer_relay == b->peer_relay &&
	       a->shields_up == b->shields_up && a->no_logs == b->no_logs && netinfo_says_same(a, b);
}

bool hostinfo_eq(const struct hostinfo *a, const struct hostinfo *b)
{
	return hostinfo_says_same(a, b) && latencies_eq(a, b);
}

static bool endpoints_eq(const struct map_node *a, const struct map_node *b)
{
	if (a->n_endpoints != b->n_endpoints)
		return false;
	for (size_t i = 0; i < a->n_endpoints; i++)
		if (!ep_eq(&a->endpoints[i], &b->endpoints[i]))
			return false;
	return true;
}

bool map_node_eq(const struct map_node *a, const struct map_node *b)
{
	return a->id == b->id && str_eq(a->stable_id, b->stable_id) && str_eq(a->name, b->name) &&
	       a->user == b->user && a->sharer == b->sharer && node_key_eq(&a->key, &b->key) &&
	       disco_key_eq(&a->disco, &b->disco) && machine_key_eq(&a->machine, &b->machine) &&
	       prefixes_eq(a->addrs, a->n_addrs, b->addrs, b->n_addrs) &&
	       prefixes_eq(a->allowed_ips, a->n_allowed_ips, b->allowed_ips, b->n_allowed_ips) &&
	       prefixes_eq(a->primary_routes, a->n_primary_routes, b->primary_routes, b->n_primary_routes) &&
	       endpoints_eq(a, b) && a->home_derp == b->home_derp && a->cap == b->cap &&
	       map_caps_eq(a->caps, a->n_caps, b->caps, b->n_caps) &&
	       strs_eq(a->tags, a->n_tags, b->tags, b->n_tags) && hostinfo_eq(&a->host, &b->host) &&
	       a->created_s == b->created_s && a->key_expiry_s == b->key_expiry_s &&
	       a->last_seen_s == b->last_seen_s && a->online == b->online && a->expired == b->expired &&
	       a->machine_authorized == b->machine_authorized &&
	       a->unsigned_peerapi_only == b->unsigned_peerapi_only && a->wireguard_only == b->wireguard_only &&
	       a->jailed == b->jailed;
}

static bool derp_node_eq(const struct derp_node *a, const struct derp_node *b)
{
	return str_eq(a->name, b->name) && str_eq(a->host_name, b->host_name) &&
	       str_eq(a->cert_name, b->cert_name) && str_eq(a->ipv4, b->ipv4) && str_eq(a->ipv6, b->ipv6) &&
	       str_eq(a->stun_test_ip, b->stun_test_ip) && a->stun_port == b->stun_port &&
	       a->derp_port == b->derp_port && a->stun_only == b->stun_only &&
	       a->insecure_for_tests == b->insecure_for_tests && a->can_port80 == b->can_port80;
}

static bool derp_region_eq(const struct derp_region *a, const struct derp_region *b)
{
	if (a->id != b->id || !str_eq(a->code, b->code) || !str_eq(a->name, b->name) || a->avoid != b->avoid ||
	    a->no_measure_no_home != b->no_measure_no_home || a->score != b->score || a->latitude != b->latitude ||
	    a->longitude != b->longitude || a->n_nodes != b->n_nodes)
		return false;
	for (size_t i = 0; i < a->n_nodes; i++)
		if (!derp_node_eq(&a->nodes[i], &b->nodes[i]))
			return false;
	return true;
}

bool derp_map_eq(const struct derp_map *a, const struct derp_map *b)
{
	if (a->n_regions != b->n_regions)
		return false;
	for (size_t i = 0; i < a->n_regions; i++)
		if (!derp_region_eq(&a->regions[i], &b->regions[i]))
			return false;
	return true;
}

static bool range_eq(const struct ip_range *a, const struct ip_range *b)
{
	return ip_eq(&a->first, &b->first) && ip_eq(&a->last, &b->last);
}

static bool filter_rule_eq(const struct filter_rule *a, const struct filter_rule *b)
{
	if (a->n_srcs != b->n_srcs || a->n_dsts != b->n_dsts || a->n_protos != b->n_protos ||
	    a->n_grants != b->n_grants)
		return false;
	for (size_t i = 0; i < a->n_srcs; i++)
		if (a->srcs[i].kind != b->srcs[i].kind || !range_eq(&a->srcs[i].range, &b->srcs[i].range) ||
		    !str_eq(a->srcs[i].cap, b->srcs[i].cap))
			return false;
	for (size_t i = 0; i < a->n_dsts; i++)
		if (a->dsts[i].any != b->dsts[i].any || !range_eq(&a->dsts[i].range, &b->dsts[i].range) ||
		    a->dsts[i].port_first != b->dsts[i].port_first || a->dsts[i].port_last != b->dsts[i].port_last)
			return false;
	if (a->n_protos > 0 && memcmp(a->protos, b->protos, a->n_protos) != 0)
		return false;
	for (size_t i = 0; i < a->n_grants; i++) {
		const struct filter_grant *g = &a->grants[i], *h = &b->grants[i];

		if (!prefixes_eq(g->dsts, g->n_dsts, h->dsts, h->n_dsts) ||
		    !map_caps_eq(g->caps, g->n_caps, h->caps, h->n_caps))
			return false;
	}
	return true;
}

bool filter_rules_eq(const struct filter_rules *a, const struct filter_rules *b)
{
	if (a->n_rules != b->n_rules)
		return false;
	for (size_t i = 0; i < a->n_rules; i++)
		if (!filter_rule_eq(&a->rules[i], &b->rules[i]))
			return false;
	return true;
}

bool dns_config_eq(const struct dns_config *a, const struct dns_config *b)
{
	if (a->proxied != b->proxied || !strs_eq(a->domains, a->n_domains, b->domains, b->n_domains) ||
	    !strs_eq(a->resolvers, a->n_resolvers, b->resolvers, b->n_resolvers) || a->n_routes != b->n_routes)
		return false;
	for (size_t i = 0; i < a->n_routes; i++) {
		const struct dns_route *r = &a->routes[i], *s = &b->routes[i];

		if (!str_eq(r->suffix, s->suffix) ||
		    !strs_eq(r->resolvers, r->n_resolvers, s->resolvers, s->n_resolvers))
			return false;
	}
	return true;
}

bool user_profile_eq(const struct user_profile *a, const struct user_profile *b)
{
	return a->id == b->id && str_eq(a->login_name, b->login_name) &&
	       str_eq(a->display_name, b->display_name) && str_eq(a->profile_pic_url, b->profile_pic_url);
}

/* --- questions --- */

static const struct map_cap *find_cap(const struct map_cap *caps, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (caps[i].name && strcmp(caps[i].name, name) == 0)
			return &caps[i];
	return NULL;
}

bool map_node_has_cap(const struct map_node *n, const char *name)
{
	return find_cap(n->caps, n->n_caps, name) != NULL;
}

const struct derp_region *derp_map_region(const struct derp_map *m, uint32_t id)
{
	size_t lo = 0, hi = m->n_regions;

	while (lo < hi) {
		const size_t mid = lo + (hi - lo) / 2;

		if (m->regions[mid].id == id)
			return &m->regions[mid];
		if (m->regions[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static bool src_matches(const struct filter_src *s, const struct ip *src, const struct map_node *node)
{
	switch (s->kind) {
	case FILTER_SRC_ANY:
		return true;
	case FILTER_SRC_RANGE:
		return s->range.first.family == src->family && ip_cmp(&s->range.first, src) <= 0 &&
		       ip_cmp(src, &s->range.last) <= 0;
	case FILTER_SRC_CAP:
		return node && s->cap && map_node_has_cap(node, s->cap);
	}
	return false;
}

static bool grant_has(const struct filter_grant *g, const struct ip *dst, const char *name)
{
	if (!find_cap(g->caps, g->n_caps, name))
		return false;
	for (size_t i = 0; i < g->n_dsts; i++)
		if (prefix_contains(&g->dsts[i], dst))
			return true;
	return false;
}

static bool rule_grants(const struct filter_rule *r, const struct ip *dst, const char *name)
{
	for (size_t i = 0; i < r->n_grants; i++)
		if (grant_has(&r->grants[i], dst, name))
			return true;
	return false;
}

bool filter_rules_have_cap(const struct filter_rules *rules, const struct ip *src, const struct map_node *src_node,
			   const struct ip *dst, const char *name)
{
	if (src_node && src_node->unsigned_peerapi_only)
		return false;
	for (size_t i = 0; i < rules->n_rules; i++) {
		const struct filter_rule *r = &rules->rules[i];

		if (!rule_grants(r, dst, name))
			continue;
		for (size_t k = 0; k < r->n_srcs; k++)
			if (src_matches(&r->srcs[k], src, src_node))
				return true;
	}
	return false;
}
