/* SPDX-License-Identifier: MIT */
/* Packet filter rules, the DERP map, DNS and user profiles. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ctljson_priv.h"

/* --- filter rules --- */

/* Last address of a prefix without host bits. */
static struct ip prefix_last(const struct prefix *p)
{
	struct ip last = p->ip;
	const size_t size = ip_bits(&last) / 8u;

	for (size_t i = 0; i < size; i++) {
		const size_t at = 8 * i;

		if (at >= p->bits)
			last.b[i] = 0xff;
		else if (at + 8 > p->bits)
			last.b[i] |= (uint8_t)(0xff >> (p->bits - at));
	}
	return last;
}

/* An address, a prefix without host bits, or "a-b". */
static bool parse_range(const char *text, struct ip_range *out)
{
	const char *dash = strchr(text, '-');
	struct prefix p;

	if (dash) {
		struct ip_range r;

		if (ip_parse(&r.first, text, (size_t)(dash - text)) != 0 ||
		    ip_parse(&r.last, dash + 1, strlen(dash + 1)) != 0 || r.first.family != r.last.family ||
		    ip_cmp(&r.first, &r.last) > 0)
			return false;
		*out = r;
		return true;
	}
	if (prefix_parse(&p, text, strlen(text), true) != 0 || !prefix_is_masked(&p))
		return false;
	*out = (struct ip_range){ .first = p.ip, .last = prefix_last(&p) };
	return true;
}

static void read_src(struct json_in *in, const char *text, struct ctljson_list *srcs, size_t *n_bad)
{
	struct filter_src s = { .kind = FILTER_SRC_RANGE }, *slot;

	if (strcmp(text, "*") == 0) {
		s.kind = FILTER_SRC_ANY;
	} else if (strncmp(text, "cap:", 4) == 0) {
		const size_t size = strlen(text + 4) + 1;

		s.kind = FILTER_SRC_CAP;
		s.cap = malloc(size);
		if (!s.cap) {
			json_fail(in, -ENOMEM, "SrcIPs", "out of memory");
			return;
		}
		memcpy(s.cap, text + 4, size);
	} else if (!parse_range(text, &s.range)) {
		++*n_bad;
		return;
	}
	slot = ctljson_push(in, srcs, sizeof(*slot));
	if (slot)
		*slot = s;
	else
		free(s.cap);
}

static void read_srcs(struct json_in *in, const cJSON *v, struct filter_rule *out, size_t *n_bad)
{
	struct ctljson_list l = { 0 };
	const cJSON *src;

	cJSON_ArrayForEach(src, json_arr(in, v, "SrcIPs"))
	{
		if (cJSON_IsString(src))
			read_src(in, src->valuestring, &l, n_bad);
		else
			json_fail(in, -EBADMSG, "SrcIPs", "has an element that is not a text");
	}
	out->srcs = l.p;
	out->n_srcs = l.n;
}

static void read_dsts(struct json_in *in, const cJSON *v, struct filter_rule *out, size_t *n_bad)
{
	struct ctljson_list l = { 0 };
	const cJSON *dst;

	cJSON_ArrayForEach(dst, json_arr(in, v, "DstPorts"))
	{
		const char *text = json_str(in, dst, "IP");
		const cJSON *ports = json_obj(in, dst, "Ports");
		struct filter_dst d = { .any = strcmp(text, "*") == 0 }, *slot;

		if (json_get(dst, "Bits"))
			json_fail(in, -EBADMSG, "Bits", "is an ancient form that is not understood");
		d.port_first = (uint16_t)json_i64(in, ports, "First", 0, UINT16_MAX);
		d.port_last = (uint16_t)json_i64(in, ports, "Last", 0, UINT16_MAX);
		if (!d.any && !parse_range(text, &d.range)) {
			++*n_bad;
			continue;
		}
		slot = ctljson_push(in, &l, sizeof(*slot));
		if (slot)
			*slot = d;
	}
	out->dsts = l.p;
	out->n_dsts = l.n;
}

/* Numbers outside 0..255 are ignored. False if the list names protocols but none that exists: the rule then
 * matches nothing, which our structs cannot say (no protocols means the usual ones). */
static bool read_protos(struct json_in *in, const cJSON *v, struct filter_rule *out)
{
	const cJSON *list = json_arr(in, v, "IPProto"), *p;
	const size_t n = json_len(list);

	if (n == 0)
		return true;
	out->protos = malloc(n);
	if (!out->protos) {
		json_fail(in, -ENOMEM, "IPProto", "out of memory");
		return true;
	}
	cJSON_ArrayForEach(p, list)
	{
		int64_t num;

		if (!json_value_i64(p, &num))
			json_fail(in, -EBADMSG, "IPProto", "has an element that is not an integer");
		else if (num >= 0 && num <= UINT8_MAX)
			out->protos[out->n_protos++] = (uint8_t)num;
	}
	return out->n_protos > 0;
}

static void read_grants(struct json_in *in, const cJSON *v, struct filter_rule *out)
{
	struct ctljson_list l = { 0 };
	const cJSON *g;

	cJSON_ArrayForEach(g, json_arr(in, v, "CapGrant"))
	{
		struct filter_grant *slot = ctljson_push(in, &l, sizeof(*slot));

		if (!slot)
			break;
		ctljson_prefixes(in, g, "Dsts", &slot->dsts, &slot->n_dsts);
		ctljson_caps(in, json_obj(in, g, "CapMap"), json_arr(in, g, "Caps"), &slot->caps, &slot->n_caps);
	}
	out->grants = l.p;
	out->n_grants = l.n;
}

void ctl_filter_rules_read(struct json_in *in, const cJSON *list, struct filter_rules *out, size_t *n_bad)
{
	struct ctljson_list l = { 0 };
	size_t bad = 0;
	const cJSON *v;

	*out = (struct filter_rules){ 0 };
	if (list && !cJSON_IsNull(list) && !cJSON_IsArray(list))
		json_fail(in, -EBADMSG, "PacketFilter", "is not a list");
	cJSON_ArrayForEach(v, list)
	{
		struct filter_rule *r = in->err ? NULL : ctljson_push(in, &l, sizeof(*r));

		if (!r)
			break;
		if (!cJSON_IsObject(v) || json_get(v, "SrcBits"))
			json_fail(in, -EBADMSG, "SrcBits", "is an ancient form that is not understood");
		read_srcs(in, v, r, &bad);
		read_dsts(in, v, r, &bad);
		read_grants(in, v, r);
		if (!read_protos(in, v, r)) {
			filter_rule_wipe(r);
			l.n--;
			bad++;
		}
	}
	out->rules = l.p;
	out->n_rules = l.n;
	if (in->err)
		filter_rules_wipe(out);
	if (out->n_rules == 0) { /* no list rather than an empty allocation */
		free(out->rules);
		out->rules = NULL;
	}
	if (n_bad)
		*n_bad = bad;
}

/* The shortest text of a range: one address, a prefix, or both ends. */
static void range_write(struct json_w *w, const char *key, const struct ip_range *r)
{
	char text[2 * IP_TEXT_MAX + 8], last[IP_TEXT_MAX];
	struct prefix p = prefix_host(&r->first);

	if (ip_eq(&r->first, &r->last)) {
		json_w_str(w, key, ip_write(text, &r->first));
		return;
	}
	for (; p.bits > 0; p.bits--) {
		const struct ip end = prefix_last(&(struct prefix){ .ip = r->first, .bits = (uint8_t)(p.bits - 1) });
		const struct prefix shorter = { .ip = r->first, .bits = (uint8_t)(p.bits - 1) };

		if (!prefix_is_masked(&shorter))
			break;
		if (ip_eq(&end, &r->last)) {
			json_w_str(w, key, prefix_write(text, &shorter));
			return;
		}
	}
	(void)ip_write(text, &r->first);
	(void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "-%s", ip_write(last, &r->last));
	json_w_str(w, key, text);
}

static void srcs_write(struct json_w *w, const struct filter_rule *r)
{
	char text[300];

	json_w_arr(w, "SrcIPs");
	for (size_t i = 0; i < r->n_srcs; i++) {
		const struct filter_src *s = &r->srcs[i];

		switch (s->kind) {
		case FILTER_SRC_ANY:
			json_w_str(w, NULL, "*");
			break;
		case FILTER_SRC_RANGE:
			range_write(w, NULL, &s->range);
			break;
		case FILTER_SRC_CAP:
			if (snprintf(text, sizeof(text), "cap:%s", s->cap) < (int)sizeof(text))
				json_w_str(w, NULL, text);
			break;
		}
	}
	json_w_end(w);
}

static void dsts_write(struct json_w *w, const struct filter_rule *r)
{
	json_w_arr(w, "DstPorts");
	for (size_t i = 0; i < r->n_dsts; i++) {
		json_w_obj(w, NULL);
		if (r->dsts[i].any)
			json_w_str(w, "IP", "*");
		else
			range_write(w, "IP", &r->dsts[i].range);
		json_w_obj(w, "Ports");
		json_w_i64(w, "First", r->dsts[i].port_first);
		json_w_i64(w, "Last", r->dsts[i].port_last);
		json_w_end(w);
		json_w_end(w);
	}
	json_w_end(w);
}

static void rule_write(struct json_w *w, const struct filter_rule *r)
{
	json_w_obj(w, NULL);
	srcs_write(w, r);
	if (r->n_dsts > 0)
		dsts_write(w, r);
	if (r->n_protos > 0) {
		json_w_arr(w, "IPProto");
		for (size_t i = 0; i < r->n_protos; i++)
			json_w_i64(w, NULL, r->protos[i]);
		json_w_end(w);
	}
	if (r->n_grants > 0) {
		json_w_arr(w, "CapGrant");
		for (size_t i = 0; i < r->n_grants; i++) {
			json_w_obj(w, NULL);
			ctljson_prefixes_write(w, "Dsts", r->grants[i].dsts, r->grants[i].n_dsts);
			ctljson_caps_write(w, "CapMap", r->grants[i].caps, r->grants[i].n_caps);
			json_w_end(w);
		}
		json_w_end(w);
	}
	json_w_end(w);
}

void ctl_filter_rules_write(struct json_w *w, const char *key, const struct filter_rules *r)
{
	json_w_arr(w, key);
	for (size_t i = 0; i < r->n_rules; i++)
		rule_write(w, &r->rules[i]);
	json_w_end(w);
}

/* --- DERP map --- */

/* The public map has 30 regions; the bound keeps the search for duplicates cheap. */
enum { STUN_PORT = 3478, DERP_PORT = 443, REGIONS_MAX = 1000 };

static void read_derp_node(struct json_in *in, const cJSON *v, struct derp_node *out)
{
	out->name = json_dup(in, v, "Name");
	out->host_name = json_dup(in, v, "HostName");
	out->cert_name = json_dup(in, v, "CertName");
	out->ipv4 = json_dup(in, v, "IPv4");
	out->ipv6 = json_dup(in, v, "IPv6");
	out->stun_test_ip = json_dup(in, v, "STUNTestIP");
	out->stun_port = (int32_t)json_i64(in, v, "STUNPort", -1, UINT16_MAX);
	out->derp_port = (int32_t)json_i64(in, v, "DERPPort", 0, UINT16_MAX);
	out->stun_port = out->stun_port ? out->stun_port : STUN_PORT;
	out->derp_port = out->derp_port ? out->derp_port : DERP_PORT;
	out->stun_only = json_bool(in, v, "STUNOnly");
	out->insecure_for_tests = json_bool(in, v, "InsecureForTests");
	out->can_port80 = json_bool(in, v, "CanPort80");
}

static void read_region(struct json_in *in, const cJSON *v, uint32_t id, struct derp_region *out)
{
	const cJSON *nodes = json_arr(in, v, "Nodes"), *node;
	const size_t n = json_len(nodes);

	out->id = id;
	out->score = 1.0;
	out->code = json_dup(in, v, "RegionCode");
	out->name = json_dup(in, v, "RegionName");
	out->avoid = json_bool(in, v, "Avoid");
	out->no_measure_no_home = json_bool(in, v, "NoMeasureNoHome");
	out->latitude = json_double(in, v, "Latitude");
	out->longitude = json_double(in, v, "Longitude");
	if (n == 0)
		return;
	out->nodes = calloc(n, sizeof(*out->nodes));
	if (!out->nodes) {
		json_fail(in, -ENOMEM, "Nodes", "out of memory");
		return;
	}
	cJSON_ArrayForEach(node, nodes)
	{
		if (cJSON_IsObject(node)) /* null entries are dropped */
			read_derp_node(in, node, &out->nodes[out->n_nodes++]);
	}
}

static int region_cmp(const void *a, const void *b)
{
	const struct derp_region *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

bool ctljson_scores_read(struct json_in *in, const cJSON *derp, struct ctl_region_score **out, size_t *n)
{
	const cJSON *map = json_obj(in, json_obj(in, derp, "HomeParams"), "RegionScore"), *v;
	struct ctljson_list l = { 0 };

	cJSON_ArrayForEach(v, map)
	{
		struct ctl_region_score *s;
		int64_t id;

		if (!cJSON_IsNumber(v) || !ctljson_id(v->string, &id) || id > UINT16_MAX || !(v->valuedouble > 0))
			continue;
		s = ctljson_push(in, &l, sizeof(*s));
		if (s)
			*s = (struct ctl_region_score){ .region = (uint32_t)id, .score = v->valuedouble };
	}
	*out = l.p;
	*n = l.n;
	return map != NULL;
}

void ctl_derp_map_read(struct json_in *in, const cJSON *v, struct derp_map *out)
{
	struct ctl_region_score *scores;
	struct ctljson_list l = { 0 };
	const cJSON *region;
	size_t n_scores;

	*out = (struct derp_map){ 0 };
	cJSON_ArrayForEach(region, json_obj(in, v, "Regions"))
	{
		int64_t id = json_i64(in, region, "RegionID", 0, UINT16_MAX);
		struct derp_region *r;

		if (!cJSON_IsObject(region)) /* null entries are dropped */
			continue;
		if (id == 0 && (!ctljson_id(region->string, &id) || id > UINT16_MAX)) {
			json_fail(in, -EBADMSG, "Regions", "has a region without a number");
			break;
		}
		if (l.n == REGIONS_MAX)
			json_fail(in, -EBADMSG, "Regions", "has too many regions");
		for (size_t i = 0; i < l.n; i++)
			if (((struct derp_region *)l.p)[i].id == (uint32_t)id)
				json_fail(in, -EBADMSG, "Regions", "has two regions with one number");
		r = in->err ? NULL : ctljson_push(in, &l, sizeof(*r));
		if (!r)
			break;
		read_region(in, region, (uint32_t)id, r);
	}
	out->regions = l.p;
	out->n_regions = l.n;
	if (l.n > 1)
		qsort(l.p, l.n, sizeof(struct derp_region), region_cmp);
	(void)ctljson_scores_read(in, v, &scores, &n_scores);
	for (size_t i = 0; i < n_scores; i++)
		for (size_t k = 0; k < out->n_regions; k++)
			if (out->regions[k].id == scores[i].region)
				out->regions[k].score = scores[i].score;
	free(scores);
	if (in->err)
		derp_map_wipe(out);
}

static void derp_node_write(struct json_w *w, uint32_t region, const struct derp_node *n)
{
	json_w_obj(w, NULL);
	json_w_str(w, "Name", n->name ? n->name : "");
	json_w_i64(w, "RegionID", region);
	json_w_str(w, "HostName", n->host_name ? n->host_name : "");
	ctljson_str_write(w, "CertName", n->cert_name);
	ctljson_str_write(w, "IPv4", n->ipv4);
	ctljson_str_write(w, "IPv6", n->ipv6);
	if (n->stun_port != STUN_PORT && n->stun_port != 0)
		json_w_i64(w, "STUNPort", n->stun_port);
	ctljson_flag_write(w, "STUNOnly", n->stun_only);
	if (n->derp_port != DERP_PORT && n->derp_port != 0)
		json_w_i64(w, "DERPPort", n->derp_port);
	ctljson_flag_write(w, "InsecureForTests", n->insecure_for_tests);
	ctljson_str_write(w, "STUNTestIP", n->stun_test_ip);
	ctljson_flag_write(w, "CanPort80", n->can_port80);
	json_w_end(w);
}

static void scores_write(struct json_w *w, const struct derp_map *m)
{
	char key[16];
	bool any = false;

	for (size_t i = 0; i < m->n_regions; i++)
		any = any || (m->regions[i].score > 0 && m->regions[i].score != 1.0);
	if (!any)
		return;
	json_w_obj(w, "HomeParams");
	json_w_obj(w, "RegionScore");
	for (size_t i = 0; i < m->n_regions; i++) {
		(void)snprintf(key, sizeof(key), "%u", m->regions[i].id);
		if (m->regions[i].score > 0 && m->regions[i].score != 1.0)
			json_w_double(w, key, m->regions[i].score);
	}
	json_w_end(w);
	json_w_end(w);
}

void ctl_derp_map_write(struct json_w *w, const char *key, const struct derp_map *m)
{
	char id[16];

	json_w_obj(w, key);
	scores_write(w, m);
	json_w_obj(w, "Regions");
	for (size_t i = 0; i < m->n_regions; i++) {
		const struct derp_region *r = &m->regions[i];

		(void)snprintf(id, sizeof(id), "%u", r->id);
		json_w_obj(w, id);
		json_w_i64(w, "RegionID", r->id);
		json_w_str(w, "RegionCode", r->code ? r->code : "");
		json_w_str(w, "RegionName", r->name ? r->name : "");
		if (r->latitude != 0)
			json_w_double(w, "Latitude", r->latitude);
		if (r->longitude != 0)
			json_w_double(w, "Longitude", r->longitude);
		ctljson_flag_write(w, "Avoid", r->avoid);
		ctljson_flag_write(w, "NoMeasureNoHome", r->no_measure_no_home);
		json_w_arr(w, "Nodes");
		for (size_t k = 0; k < r->n_nodes; k++)
			derp_node_write(w, r->id, &r->nodes[k]);
		json_w_end(w);
		json_w_end(w);
	}
	json_w_end(w);
	json_w_end(w);
}

/* --- DNS, users --- */

/* The "Addr" of each resolver. */
static void read_resolvers(struct json_in *in, const cJSON *list, char ***out, size_t *n)
{
	const size_t len = json_len(list);
	const cJSON *v;

	*out = NULL;
	*n = 0;
	if (len == 0)
		return;
	*out = calloc(len, sizeof(**out));
	if (!*out) {
		json_fail(in, -ENOMEM, "Resolvers", "out of memory");
		return;
	}
	cJSON_ArrayForEach(v, list)
		(*out)[(*n)++] = json_dup(in, v, "Addr");
}

void ctljson_dns_read(struct json_in *in, const cJSON *v, struct dns_config *out)
{
	const cJSON *routes, *r;
	size_t n;

	*out = (struct dns_config){ 0 };
	out->proxied = json_bool(in, v, "Proxied");
	out->domains = json_strs(in, v, "Domains", &out->n_domains);
	read_resolvers(in, json_arr(in, v, "Resolvers"), &out->resolvers, &out->n_resolvers);
	routes = json_obj(in, v, "Routes");
	n = json_len(routes);
	if (n > 0)
		out->routes = calloc(n, sizeof(*out->routes));
	if (n > 0 && !out->routes)
		json_fail(in, -ENOMEM, "Routes", "out of memory");
	if (!out->routes)
		routes = NULL;
	cJSON_ArrayForEach(r, routes)
	{
		struct dns_route *slot = &out->routes[out->n_routes++];
		const size_t size = strlen(r->string) + 1;

		slot->suffix = malloc(size);
		if (!slot->suffix) {
			json_fail(in, -ENOMEM, "Routes", "out of memory");
			break;
		}
		memcpy(slot->suffix, r->string, size);
		if (!cJSON_IsNull(r) && !cJSON_IsArray(r))
			json_fail(in, -EBADMSG, "Routes", "has a value that is not a list");
		read_resolvers(in, r, &slot->resolvers, &slot->n_resolvers);
	}
	if (in->err)
		dns_config_wipe(out);
}

static void resolvers_write(struct json_w *w, const char *key, char *const *addrs, size_t n)
{
	json_w_arr(w, key);
	for (size_t i = 0; i < n; i++) {
		json_w_obj(w, NULL);
		json_w_str(w, "Addr", addrs[i]);
		json_w_end(w);
	}
	json_w_end(w);
}

void ctl_dns_write(struct json_w *w, const char *key, const struct dns_config *d)
{
	json_w_obj(w, key);
	if (d->n_resolvers > 0)
		resolvers_write(w, "Resolvers", d->resolvers, d->n_resolvers);
	if (d->n_routes > 0) {
		json_w_obj(w, "Routes");
		for (size_t i = 0; i < d->n_routes; i++)
			resolvers_write(w, d->routes[i].suffix, d->routes[i].resolvers, d->routes[i].n_resolvers);
		json_w_end(w);
	}
	if (d->n_domains > 0)
		json_w_strs(w, "Domains", d->domains, d->n_domains);
	ctljson_flag_write(w, "Proxied", d->proxied);
	json_w_end(w);
}

void ctl_user_profile_write(struct json_w *w, const char *key, const struct user_profile *u)
{
	json_w_obj(w, key);
	json_w_i64(w, "ID", u->id);
	json_w_str(w, "LoginName", u->login_name ? u->login_name : "");
	json_w_str(w, "DisplayName", u->display_name ? u->display_name : "");
	ctljson_str_write(w, "ProfilePicURL", u->profile_pic_url);
	json_w_end(w);
}
