/* SPDX-License-Identifier: MIT */
/* MapResponse. The elements of Peers and PeersChanged become trees one at a time; everything else is small
 * enough to be one tree. */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ctljson_priv.h"

/* --- the two long lists --- */

const char *const ctljson_lists[CTLJSON_LISTS] = { "Peers", "PeersChanged" };

/* The nodes were read before: each has left a zero. */
static void take_nodes(struct json_in *in, struct json_span list, struct ctljson_list *nodes,
		       struct map_node **out, size_t *n)
{
	struct json_iter it;
	struct json_span v;
	size_t zeros = 0;

	(void)json_iter_init(&it, list);
	while (json_iter_next(&it, NULL, &v)) {
		if (v.size != 1 || *v.p != '0')
			json_fail(in, -EBADMSG, NULL, "has an element that is not an object");
		zeros++;
	}
	if (zeros != nodes->n)
		json_fail(in, -EBADMSG, NULL, "has an element that is not an object");
	*out = nodes->p;
	*n = nodes->n;
	*nodes = (struct ctljson_list){ 0 };
}

static void read_nodes(struct json_in *in, struct json_span list, struct ctljson_list *nodes,
		       struct map_node **out, size_t *n)
{
	struct ctljson_list l = { 0 };
	struct json_iter it;
	struct json_span v;

	if (json_span_kind(list) == 'n')
		return;
	if (json_span_kind(list) != '[') {
		json_fail(in, -EBADMSG, NULL, "is not a list");
		return;
	}
	if (nodes) {
		take_nodes(in, list, nodes, out, n);
		return;
	}
	(void)json_iter_init(&it, list);
	while (!in->err && json_iter_next(&it, NULL, &v)) {
		cJSON *tree = json_tree(v);
		struct map_node *slot = tree ? ctljson_push(in, &l, sizeof(*slot)) : NULL;

		if (l.n > MAP_PEERS_MAX)
			json_fail(in, -EBADMSG, NULL, "has too many elements");
		if (slot)
			ctl_node_read(in, tree, slot);
		else
			json_fail(in, -ENOMEM, NULL, "out of memory");
		cJSON_Delete(tree);
	}
	*out = l.p;
	*n = l.n;
}

/* --- small lists --- */

static void read_removed(struct json_in *in, const cJSON *v, struct ctl_map_response *out)
{
	struct ctljson_list l = { 0 };
	const cJSON *id;

	cJSON_ArrayForEach(id, json_arr(in, v, "PeersRemoved"))
	{
		int64_t *slot = ctljson_push(in, &l, sizeof(*slot));

		if (slot && !json_value_i64(id, slot))
			json_fail(in, -EBADMSG, "PeersRemoved", "has an element that is not an integer");
	}
	out->removed = l.p;
	out->n_removed = l.n;
}

static void read_flags(struct json_in *in, const cJSON *v, const char *key, struct ctl_id_flag **out, size_t *n)
{
	struct ctljson_list l = { 0 };
	const cJSON *f;

	cJSON_ArrayForEach(f, json_obj(in, v, key))
	{
		struct ctl_id_flag *slot = ctljson_push(in, &l, sizeof(*slot));
		const bool is_neg = f->string[0] == '-';

		if (!slot)
			break;
		if (!ctljson_id(f->string + is_neg, &slot->id) || !cJSON_IsBool(f))
			json_fail(in, -EBADMSG, key, "is not a map of numbers to truth values");
		slot->id = is_neg ? -slot->id : slot->id;
		slot->value = cJSON_IsTrue(f);
	}
	*out = l.p;
	*n = l.n;
}

static void read_patches(struct json_in *in, const cJSON *v, struct ctl_map_response *out)
{
	struct ctljson_list l = { 0 };
	const cJSON *p;

	cJSON_ArrayForEach(p, json_arr(in, v, "PeersChangedPatch"))
	{
		struct ctl_patch *slot;

		if (cJSON_IsNull(p))
			continue;
		slot = ctljson_push(in, &l, sizeof(*slot));
		if (slot)
			ctljson_patch_read(in, p, slot);
	}
	out->patches = l.p;
	out->n_patches = l.n;
}

static void read_users(struct json_in *in, const cJSON *v, struct ctl_map_response *out)
{
	struct ctljson_list l = { 0 };
	const cJSON *u;

	cJSON_ArrayForEach(u, json_arr(in, v, "UserProfiles"))
	{
		struct user_profile *slot = ctljson_push(in, &l, sizeof(*slot));

		if (!slot)
			break;
		slot->id = json_i64(in, u, "ID", INT64_MIN, INT64_MAX);
		slot->login_name = json_dup(in, u, "LoginName");
		slot->display_name = json_dup(in, u, "DisplayName");
		slot->profile_pic_url = json_dup(in, u, "ProfilePicURL");
	}
	out->users = l.p;
	out->n_users = l.n;
}

/* --- filter chunks --- */

static void add_chunk(struct json_in *in, struct ctljson_list *l, const char *name, const cJSON *rules)
{
	struct ctl_filter_chunk *slot = ctljson_push(in, l, sizeof(*slot));
	const size_t size = strlen(name) + 1;

	if (!slot)
		return;
	slot->name = malloc(size);
	if (!slot->name) {
		json_fail(in, -ENOMEM, "PacketFilters", "out of memory");
		return;
	}
	memcpy(slot->name, name, size);
	slot->remove = !rules || cJSON_IsNull(rules);
	ctl_filter_rules_read(in, rules, &slot->rules, NULL);
}

static void read_filters(struct json_in *in, const cJSON *v, struct ctl_map_response *out)
{
	const cJSON *base = json_arr(in, v, "PacketFilter"), *chunks = json_obj(in, v, "PacketFilters"), *c;
	struct ctljson_list l = { 0 };

	c = cJSON_GetObjectItemCaseSensitive(chunks, "*");
	out->clear_filters = c && cJSON_IsNull(c);
	/* PacketFilter is applied first, so "*": null clears it too. */
	if (base && !out->clear_filters)
		add_chunk(in, &l, "base", base);
	cJSON_ArrayForEach(c, chunks)
	{
		if (strcmp(c->string, "*") != 0 || !cJSON_IsNull(c))
			add_chunk(in, &l, c->string, c);
	}
	out->filters = l.p;
	out->n_filters = l.n;
}

/* --- the rest --- */

static void read_derp(struct json_in *in, const cJSON *v, struct ctl_map_response *out)
{
	const cJSON *derp = json_obj(in, v, "DERPMap");

	if (!derp)
		return;
	out->has_regions = json_get(derp, "Regions") != NULL;
	ctl_derp_map_read(in, derp, &out->derp);
	out->has_scores = ctljson_scores_read(in, derp, &out->scores, &out->n_scores);
}

static void read_ping(struct json_in *in, const cJSON *v, struct ctl_map_response *out)
{
	const cJSON *p = json_obj(in, v, "PingRequest");
	struct ctl_ping_request *ping;
	const char *payload, *ip;
	size_t len;

	if (!p)
		return;
	out->ping = ping = calloc(1, sizeof(*ping));
	payload = json_str(in, p, "Payload");
	len = strlen(payload);
	if (ping)
		ping->payload = malloc(len / 4 * 3 + 4);
	if (!ping || !ping->payload) {
		json_fail(in, -ENOMEM, "PingRequest", "out of memory");
		return;
	}
	if (sodium_base642bin((uint8_t *)ping->payload, len / 4 * 3 + 3, payload, len, NULL, &ping->payload_size, NULL,
			      sodium_base64_VARIANT_ORIGINAL) != 0)
		json_fail(in, -EBADMSG, "Payload", "is not base64");
	ping->payload[in->err ? 0 : ping->payload_size] = 0;
	ping->url = json_dup(in, p, "URL");
	ping->types = json_dup(in, p, "Types");
	ping->url_is_noise = json_bool(in, p, "URLIsNoise");
	ping->log = json_bool(in, p, "Log");
	ip = json_str(in, p, "IP");
	if (*ip && ip_parse(&ping->ip, ip, strlen(ip)) != 0)
		json_fail(in, -EBADMSG, "IP", "is not an address");
}

static void read_debug(struct json_in *in, const cJSON *v, struct ctl_map_response *out)
{
	const double sleep = json_double(in, json_obj(in, v, "Debug"), "SleepSeconds");

	out->debug_sleep_s = sleep >= 300 ? 300 : sleep > 0 ? (uint32_t)sleep : 0;
}

static void read_tka(struct json_in *in, const cJSON *v, struct ctl_map_response *out)
{
	const cJSON *tka = json_obj(in, v, "TKAInfo");

	out->has_tka = tka != NULL;
	out->tka_on = *json_str(in, tka, "Head") && !json_bool(in, tka, "Disabled");
}

static void read_self(struct json_in *in, const cJSON *v, struct ctl_map_response *out)
{
	const cJSON *node = json_obj(in, v, "Node");

	if (!node)
		return;
	out->self = calloc(1, sizeof(*out->self));
	if (out->self)
		ctl_node_read(in, node, out->self);
	else
		json_fail(in, -ENOMEM, "Node", "out of memory");
}

static void read_dns(struct json_in *in, const cJSON *v, struct ctl_map_response *out)
{
	const cJSON *dns = json_obj(in, v, "DNSConfig");

	if (!dns)
		return;
	out->dns = calloc(1, sizeof(*out->dns));
	if (out->dns)
		ctljson_dns_read(in, dns, out->dns);
	else
		json_fail(in, -ENOMEM, "DNSConfig", "out of memory");
}

static void read_rest(struct json_in *in, const cJSON *v, struct ctl_map_response *out)
{
	out->keep_alive = json_bool(in, v, "KeepAlive");
	out->control_time_s = json_time(in, v, "ControlTime");
	read_self(in, v, out);
	read_removed(in, v, out);
	read_flags(in, v, "PeerSeenChange", &out->seen, &out->n_seen);
	read_flags(in, v, "OnlineChange", &out->online, &out->n_online);
	read_patches(in, v, out);
	read_derp(in, v, out);
	read_dns(in, v, out);
	out->domain = json_dup(in, v, "Domain");
	read_filters(in, v, out);
	read_users(in, v, out);
	out->has_health = json_get(v, "Health") != NULL;
	out->health = json_strs(in, v, "Health", &out->n_health);
	read_ping(in, v, out);
	out->pop_browser_url = json_dup(in, v, "PopBrowserURL");
	read_debug(in, v, out);
	read_tka(in, v, out);
}

/* Members that are not one of the long lists, as one tree. */
static cJSON *collect(struct json_in *in, struct json_span all, struct ctljson_list lists[CTLJSON_LISTS],
		      struct ctl_map_response *out, const char **where)
{
	cJSON *rest = cJSON_CreateObject();
	struct json_span name, v;
	struct json_iter it;

	if (!rest) {
		json_fail(in, -ENOMEM, NULL, "out of memory");
		return NULL;
	}
	(void)json_iter_init(&it, all);
	while (!in->err && json_iter_next(&it, &name, &v)) {
		char key[64];
		cJSON *tree;

		if (json_span_is(name, "Peers")) {
			*where = "Peers";
			read_nodes(in, v, lists ? &lists[CTLJSON_PEERS] : NULL, &out->peers, &out->n_peers);
		} else if (json_span_is(name, "PeersChanged")) {
			*where = "PeersChanged";
			read_nodes(in, v, lists ? &lists[CTLJSON_CHANGED] : NULL, &out->changed, &out->n_changed);
		} else if (name.size < sizeof(key)) {
			memcpy(key, name.p, name.size);
			key[name.size] = 0;
			tree = json_tree(v);
			if (!tree || !cJSON_AddItemToObject(rest, key, tree)) {
				cJSON_Delete(tree);
				json_fail(in, -ENOMEM, NULL, "out of memory");
			}
		}
	}
	return rest;
}

int ctl_map_response_parse(struct ctl_map_response *out, const char *text, size_t size, struct ctl_why *why)
{
	return ctljson_map_parse(out, text, size, NULL, why);
}

int ctljson_map_parse(struct ctl_map_response *out, const char *text, size_t size,
		      struct ctljson_list lists[CTLJSON_LISTS], struct ctl_why *why)
{
	struct json_span all = { .p = text, .size = size };
	struct json_err e = { .reason = "too long" };
	const char *where = NULL;
	struct json_in in = { 0 };
	struct json_iter it;
	cJSON *rest;

	*out = (struct ctl_map_response){ 0 };
	if (size > CTLJSON_MAP_MAX || json_check(text, size, JSON_UNIQUE, &e) != 0)
		return ctljson_json_err(&e, why);
	if (!json_iter_init(&it, all) || !it.is_object) {
		json_fail(&in, -EBADMSG, NULL, "not an object");
		return ctljson_result(&in, NULL, why);
	}
	rest = collect(&in, all, lists, out, &where);
	if (!in.err) {
		where = NULL;
		read_rest(&in, rest, out);
	}
	cJSON_Delete(rest);
	if (in.err)
		ctl_map_response_wipe(out);
	return ctljson_result(&in, where, why);
}

void ctljson_nodes_wipe(struct map_node *nodes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		map_node_wipe(&nodes[i]);
	free(nodes);
}

static void wipe_ping(struct ctl_ping_request *p)
{
	if (!p)
		return;
	free(p->url);
	free(p->types);
	free(p->payload);
	free(p);
}

void ctl_map_response_wipe(struct ctl_map_response *m)
{
	ctljson_nodes_wipe(m->self, m->self ? 1 : 0);
	ctljson_nodes_wipe(m->peers, m->n_peers);
	ctljson_nodes_wipe(m->changed, m->n_changed);
	free(m->removed);
	free(m->seen);
	free(m->online);
	for (size_t i = 0; i < m->n_patches; i++)
		ctl_patch_wipe(&m->patches[i]);
	free(m->patches);
	derp_map_wipe(&m->derp);
	free(m->scores);
	if (m->dns)
		dns_config_wipe(m->dns);
	free(m->dns);
	free(m->domain);
	for (size_t i = 0; i < m->n_filters; i++) {
		free(m->filters[i].name);
		filter_rules_wipe(&m->filters[i].rules);
	}
	free(m->filters);
	for (size_t i = 0; i < m->n_users; i++)
		user_profile_wipe(&m->users[i]);
	free(m->users);
	map_strs_free(m->health, m->n_health);
	wipe_ping(m->ping);
	free(m->pop_browser_url);
	*m = (struct ctl_map_response){ 0 };
}
