/* SPDX-License-Identifier: MIT */
/* Node, PeerChange, Hostinfo and CapMap. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ctljson_priv.h"

/* --- CapMap --- */

static int cap_cmp(const void *a, const void *b)
{
	const struct map_cap *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* The JSON text of each element of 'list'. */
static void cap_values(struct json_in *in, const cJSON *list, struct map_cap *cap)
{
	const size_t n = json_len(list);
	const cJSON *v;

	if (n == 0)
		return;
	cap->values = calloc(n, sizeof(*cap->values));
	if (!cap->values) {
		json_fail(in, -ENOMEM, "CapMap", "out of memory");
		return;
	}
	cJSON_ArrayForEach(v, list)
	{
		struct json_w w = { 0 };
		size_t size;

		json_w_tree(&w, NULL, v);
		cap->values[cap->n_values] = json_w_take(&w, &size);
		if (!cap->values[cap->n_values]) {
			json_fail(in, -ENOMEM, NULL, "out of memory");
			return;
		}
		cap->n_values++;
	}
}

static bool cap_known(const struct ctljson_list *l, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(((const struct map_cap *)l->p)[i].name, name) == 0)
			return true;
	return false;
}

static struct map_cap *cap_add(struct json_in *in, struct ctljson_list *l, const char *name)
{
	struct map_cap *cap;
	const size_t size = strlen(name) + 1;

	cap = ctljson_push(in, l, sizeof(*cap));
	if (!cap)
		return NULL;
	cap->name = malloc(size);
	if (!cap->name) {
		l->n--;
		json_fail(in, -ENOMEM, NULL, "out of memory");
		return NULL;
	}
	memcpy(cap->name, name, size);
	return cap;
}

void ctljson_caps(struct json_in *in, const cJSON *map, const cJSON *names, struct map_cap **out, size_t *n)
{
	struct ctljson_list l = { 0 };
	size_t n_map;
	const cJSON *v;

	cJSON_ArrayForEach(v, map)
	{
		struct map_cap *cap;

		if (!cJSON_IsNull(v) && !cJSON_IsArray(v)) {
			json_fail(in, -EBADMSG, "CapMap", "has a value that is not a list");
			break;
		}
		cap = cap_add(in, &l, v->string);
		if (cap)
			cap_values(in, v, cap);
	}
	n_map = l.n; /* the check of the text saw to it that these are distinct */
	cJSON_ArrayForEach(v, names)
	{
		if (cJSON_IsString(v) && !cap_known(&l, n_map, v->valuestring))
			(void)cap_add(in, &l, v->valuestring);
		else if (!cJSON_IsString(v))
			json_fail(in, -EBADMSG, "Capabilities", "has an element that is not a text");
	}
	*out = l.p;
	*n = l.n;
	if (l.n > 1)
		qsort(l.p, l.n, sizeof(struct map_cap), cap_cmp);
}

void ctljson_caps_write(struct json_w *w, const char *key, const struct map_cap *caps, size_t n)
{
	json_w_obj(w, key);
	for (size_t i = 0; i < n; i++) {
		if (caps[i].n_values == 0) {
			json_w_null(w, caps[i].name);
			continue;
		}
		json_w_arr(w, caps[i].name);
		for (size_t k = 0; k < caps[i].n_values; k++)
			json_w_raw(w, NULL, caps[i].values[k], strlen(caps[i].values[k]));
		json_w_end(w);
	}
	json_w_end(w);
}

/* --- Hostinfo --- */

static void read_services(struct json_in *in, const cJSON *list, struct hostinfo *out)
{
	const cJSON *v;

	cJSON_ArrayForEach(v, list)
	{
		const char *proto = json_str(in, v, "Proto");
		const uint16_t port = (uint16_t)json_i64(in, v, "Port", 0, UINT16_MAX);

		if (strcmp(proto, "peerapi4") == 0)
			out->peerapi4 = port;
		else if (strcmp(proto, "peerapi6") == 0)
			out->peerapi6 = port;
	}
}

static void read_latencies(struct json_in *in, const cJSON *map, struct hostinfo *out)
{
	const size_t n = json_len(map);
	const cJSON *v;

	if (n == 0)
		return;
	out->derp_latency = calloc(n, sizeof(*out->derp_latency));
	if (!out->derp_latency) {
		json_fail(in, -ENOMEM, "DERPLatency", "out of memory");
		return;
	}
	cJSON_ArrayForEach(v, map)
	{
		struct derp_latency *l = &out->derp_latency[out->n_derp_latency];
		const size_t len = strlen(v->string);

		if (!cJSON_IsNumber(v) || len >= sizeof(l->key))
			continue; /* for display only */
		memcpy(l->key, v->string, len + 1);
		l->seconds = v->valuedouble;
		out->n_derp_latency++;
	}
}

static void read_netinfo(struct json_in *in, const cJSON *v, struct hostinfo *out)
{
	if (!v)
		return;
	out->has_netinfo = true;
	out->preferred_derp = (uint32_t)json_i64(in, v, "PreferredDERP", 0, UINT16_MAX);
	out->working_udp = ctljson_tri(in, v, "WorkingUDP");
	out->working_ipv6 = ctljson_tri(in, v, "WorkingIPv6");
	out->os_has_ipv6 = ctljson_tri(in, v, "OSHasIPv6");
	out->mapping_varies = ctljson_tri(in, v, "MappingVariesByDestIP");
	out->have_port_map = json_bool(in, v, "HavePortMap");
	out->upnp = ctljson_tri(in, v, "UPnP");
	out->pmp = ctljson_tri(in, v, "PMP");
	out->pcp = ctljson_tri(in, v, "PCP");
	read_latencies(in, json_obj(in, v, "DERPLatency"), out);
}

void ctl_hostinfo_read(struct json_in *in, const cJSON *v, struct hostinfo *out)
{
	*out = (struct hostinfo){ 0 };
	out->hostname = json_dup(in, v, "Hostname");
	out->os = json_dup(in, v, "OS");
	out->os_version = json_dup(in, v, "OSVersion");
	out->version = json_dup(in, v, "IPNVersion");
	out->backend_log_id = json_dup(in, v, "BackendLogID");
	ctljson_prefixes(in, v, "RoutableIPs", &out->routable_ips, &out->n_routable_ips);
	out->request_tags = json_strs(in, v, "RequestTags", &out->n_request_tags);
	read_services(in, json_arr(in, v, "Services"), out);
	out->peer_relay = json_bool(in, v, "PeerRelay");
	out->shields_up = json_bool(in, v, "ShieldsUp");
	out->no_logs = json_bool(in, v, "NoLogsNoSupport");
	read_netinfo(in, json_obj(in, v, "NetInfo"), out);
	if (in->err)
		hostinfo_wipe(out);
}

static void service_write(struct json_w *w, const char *proto, uint16_t port)
{
	if (port == 0)
		return;
	json_w_obj(w, NULL);
	json_w_str(w, "Proto", proto);
	json_w_i64(w, "Port", port);
	json_w_end(w);
}

static void netinfo_write(struct json_w *w, const char *key, const struct hostinfo *h)
{
	json_w_obj(w, key);
	ctljson_tri_write(w, "MappingVariesByDestIP", h->mapping_varies);
	ctljson_tri_write(w, "WorkingIPv6", h->working_ipv6);
	ctljson_tri_write(w, "OSHasIPv6", h->os_has_ipv6);
	ctljson_tri_write(w, "WorkingUDP", h->working_udp);
	if (h->have_port_map)
		json_w_bool(w, "HavePortMap", true);
	ctljson_tri_write(w, "UPnP", h->upnp);
	ctljson_tri_write(w, "PMP", h->pmp);
	ctljson_tri_write(w, "PCP", h->pcp);
	if (h->preferred_derp)
		json_w_i64(w, "PreferredDERP", h->preferred_derp);
	if (h->n_derp_latency > 0) {
		json_w_obj(w, "DERPLatency");
		for (size_t i = 0; i < h->n_derp_latency; i++)
			json_w_double(w, h->derp_latency[i].key, h->derp_latency[i].seconds);
		json_w_end(w);
	}
	json_w_end(w);
}

void ctl_hostinfo_write(struct json_w *w, const char *key, const struct hostinfo *h)
{
	json_w_obj(w, key);
	ctljson_str_write(w, "IPNVersion", h->version);
	ctljson_str_write(w, "BackendLogID", h->backend_log_id);
	ctljson_str_write(w, "OS", h->os);
	ctljson_str_write(w, "OSVersion", h->os_version);
	ctljson_str_write(w, "Hostname", h->hostname);
	ctljson_flag_write(w, "ShieldsUp", h->shields_up);
	ctljson_flag_write(w, "NoLogsNoSupport", h->no_logs);
	if (h->n_routable_ips > 0)
		ctljson_prefixes_write(w, "RoutableIPs", h->routable_ips, h->n_routable_ips);
	if (h->n_request_tags > 0)
		json_w_strs(w, "RequestTags", h->request_tags, h->n_request_tags);
	if (h->peerapi4 || h->peerapi6) {
		json_w_arr(w, "Services");
		service_write(w, "peerapi4", h->peerapi4);
		service_write(w, "peerapi6", h->peerapi6);
		json_w_end(w);
	}
	if (h->has_netinfo)
		netinfo_write(w, "NetInfo", h);
	ctljson_flag_write(w, "PeerRelay", h->peer_relay);
	json_w_end(w);
}

/* --- Node --- */

/* Old servers say "DERP":"127.3.3.40:<region>" (before capability version 111). */
static uint32_t read_home(struct json_in *in, const cJSON *v)
{
	static const char magic[] = "127.3.3.40:";
	const uint32_t home = (uint32_t)json_i64(in, v, "HomeDERP", 0, UINT16_MAX);
	const char *text = json_str(in, v, "DERP");
	int64_t old;

	if (home || strncmp(text, magic, sizeof(magic) - 1) != 0)
		return home;
	return ctljson_id(text + sizeof(magic) - 1, &old) && old <= UINT16_MAX ? (uint32_t)old : 0;
}

static void read_addresses(struct json_in *in, const cJSON *v, struct map_node *out)
{
	ctljson_prefixes(in, v, "Addresses", &out->addrs, &out->n_addrs);
	/* Absent or null: the addresses; an empty list: none at all. */
	ctljson_prefixes(in, v, json_get(v, "AllowedIPs") ? "AllowedIPs" : "Addresses", &out->allowed_ips,
			 &out->n_allowed_ips);
	ctljson_prefixes(in, v, "PrimaryRoutes", &out->primary_routes, &out->n_primary_routes);
}

void ctl_node_read(struct json_in *in, const cJSON *v, struct map_node *out)
{
	*out = (struct map_node){ 0 };
	if (!cJSON_IsObject(v)) {
		json_fail(in, -EBADMSG, "Node", "is not an object");
		return;
	}
	out->id = json_i64(in, v, "ID", INT64_MIN, INT64_MAX);
	if (out->id == 0)
		json_fail(in, -EBADMSG, "ID", "is missing");
	out->stable_id = json_dup(in, v, "StableID");
	out->name = json_dup(in, v, "Name");
	out->user = json_i64(in, v, "User", INT64_MIN, INT64_MAX);
	out->sharer = json_i64(in, v, "Sharer", INT64_MIN, INT64_MAX);
	json_key(in, v, "Key", KEY_NODE, out->key.b);
	json_key(in, v, "DiscoKey", KEY_DISCO, out->disco.b);
	json_key(in, v, "Machine", KEY_MACHINE, out->machine.b);
	read_addresses(in, v, out);
	ctljson_endpoints(in, v, "Endpoints", NULL, &out->endpoints, NULL, &out->n_endpoints);
	out->home_derp = read_home(in, v);
	out->cap = (int32_t)json_i64(in, v, "Cap", INT32_MIN, INT32_MAX);
	ctljson_caps(in, json_obj(in, v, "CapMap"), json_arr(in, v, "Capabilities"), &out->caps, &out->n_caps);
	out->tags = json_strs(in, v, "Tags", &out->n_tags);
	ctl_hostinfo_read(in, json_obj(in, v, "Hostinfo"), &out->host);
	out->created_s = json_time(in, v, "Created");
	out->key_expiry_s = json_time(in, v, "KeyExpiry");
	out->last_seen_s = json_time(in, v, "LastSeen");
	out->online = ctljson_tri(in, v, "Online");
	out->expired = json_bool(in, v, "Expired");
	out->machine_authorized = json_bool(in, v, "MachineAuthorized");
	out->unsigned_peerapi_only = json_bool(in, v, "UnsignedPeerAPIOnly");
	out->wireguard_only = json_bool(in, v, "IsWireGuardOnly");
	out->jailed = json_bool(in, v, "IsJailed");
	if (in->err)
		map_node_wipe(out);
}

static void node_flags_write(struct json_w *w, const struct map_node *n)
{
	ctljson_tri_write(w, "Online", n->online);
	ctljson_flag_write(w, "MachineAuthorized", n->machine_authorized);
	if (n->n_caps > 0)
		ctljson_caps_write(w, "CapMap", n->caps, n->n_caps);
	ctljson_flag_write(w, "UnsignedPeerAPIOnly", n->unsigned_peerapi_only);
	ctljson_flag_write(w, "Expired", n->expired);
	ctljson_flag_write(w, "IsWireGuardOnly", n->wireguard_only);
	ctljson_flag_write(w, "IsJailed", n->jailed);
}

void ctl_node_write(struct json_w *w, const char *key, const struct map_node *n)
{
	json_w_obj(w, key);
	json_w_i64(w, "ID", n->id);
	json_w_str(w, "StableID", n->stable_id ? n->stable_id : "");
	json_w_str(w, "Name", n->name ? n->name : "");
	json_w_i64(w, "User", n->user);
	if (n->sharer)
		json_w_i64(w, "Sharer", n->sharer);
	json_w_key(w, "Key", KEY_NODE, n->key.b);
	if (n->key_expiry_s)
		json_w_time(w, "KeyExpiry", n->key_expiry_s);
	if (!key_is_zero(n->machine.b))
		json_w_key(w, "Machine", KEY_MACHINE, n->machine.b);
	if (!key_is_zero(n->disco.b))
		json_w_key(w, "DiscoKey", KEY_DISCO, n->disco.b);
	ctljson_prefixes_write(w, "Addresses", n->addrs, n->n_addrs);
	ctljson_prefixes_write(w, "AllowedIPs", n->allowed_ips, n->n_allowed_ips);
	if (n->n_endpoints > 0)
		ctljson_eps_write(w, "Endpoints", n->endpoints, n->n_endpoints);
	if (n->home_derp)
		json_w_i64(w, "HomeDERP", n->home_derp);
	ctl_hostinfo_write(w, "Hostinfo", &n->host);
	if (n->created_s)
		json_w_time(w, "Created", n->created_s);
	if (n->cap)
		json_w_i64(w, "Cap", n->cap);
	if (n->n_tags > 0)
		json_w_strs(w, "Tags", n->tags, n->n_tags);
	if (n->n_primary_routes > 0)
		ctljson_prefixes_write(w, "PrimaryRoutes", n->primary_routes, n->n_primary_routes);
	if (n->last_seen_s)
		json_w_time(w, "LastSeen", n->last_seen_s);
	node_flags_write(w, n);
	json_w_end(w);
}

/* --- PeerChange --- */

void ctl_patch_wipe(struct ctl_patch *p)
{
	map_caps_free(p->caps, p->n_caps);
	free(p->endpoints);
	*p = (struct ctl_patch){ 0 };
}

static unsigned bit_if(const cJSON *v, const char *key, unsigned bit)
{
	return json_get(v, key) ? bit : 0;
}

void ctljson_patch_read(struct json_in *in, const cJSON *v, struct ctl_patch *out)
{
	*out = (struct ctl_patch){ 0 };
	out->id = json_i64(in, v, "NodeID", INT64_MIN, INT64_MAX);
	if (out->id == 0)
		json_fail(in, -EBADMSG, "NodeID", "is missing");
	out->home_derp = (uint32_t)json_i64(in, v, "DERPRegion", 0, UINT16_MAX);
	out->cap = (int32_t)json_i64(in, v, "Cap", INT32_MIN, INT32_MAX);
	ctljson_caps(in, json_obj(in, v, "CapMap"), NULL, &out->caps, &out->n_caps);
	ctljson_endpoints(in, v, "Endpoints", NULL, &out->endpoints, NULL, &out->n_endpoints);
	json_key(in, v, "Key", KEY_NODE, out->key.b);
	json_key(in, v, "DiscoKey", KEY_DISCO, out->disco.b);
	out->online = json_bool(in, v, "Online");
	out->last_seen_s = json_time(in, v, "LastSeen");
	out->key_expiry_s = json_time(in, v, "KeyExpiry");
	/* A patch cannot clear endpoints, nor set a region or version to 0. */
	out->bits = (out->home_derp ? CTL_PATCH_HOME_DERP : 0u) | (out->cap ? CTL_PATCH_CAP : 0u) |
		    bit_if(v, "CapMap", CTL_PATCH_CAPS) |
		    (json_len(json_get(v, "Endpoints")) ? CTL_PATCH_ENDPOINTS : 0u) |
		    (key_is_zero(out->key.b) ? 0u : CTL_PATCH_KEY) |
		    (key_is_zero(out->disco.b) ? 0u : CTL_PATCH_DISCO) | bit_if(v, "Online", CTL_PATCH_ONLINE) |
		    bit_if(v, "LastSeen", CTL_PATCH_LAST_SEEN) | bit_if(v, "KeyExpiry", CTL_PATCH_KEY_EXPIRY);
	if (in->err)
		ctl_patch_wipe(out);
}

void ctl_patch_write(struct json_w *w, const char *key, const struct ctl_patch *p)
{
	json_w_obj(w, key);
	json_w_i64(w, "NodeID", p->id);
	if (p->bits & CTL_PATCH_HOME_DERP)
		json_w_i64(w, "DERPRegion", p->home_derp);
	if (p->bits & CTL_PATCH_CAP)
		json_w_i64(w, "Cap", p->cap);
	if (p->bits & CTL_PATCH_CAPS)
		ctljson_caps_write(w, "CapMap", p->caps, p->n_caps);
	if (p->bits & CTL_PATCH_ENDPOINTS)
		ctljson_eps_write(w, "Endpoints", p->endpoints, p->n_endpoints);
	if (p->bits & CTL_PATCH_KEY)
		json_w_key(w, "Key", KEY_NODE, p->key.b);
	if (p->bits & CTL_PATCH_DISCO)
		json_w_key(w, "DiscoKey", KEY_DISCO, p->disco.b);
	if (p->bits & CTL_PATCH_ONLINE)
		json_w_bool(w, "Online", p->online);
	if (p->bits & CTL_PATCH_LAST_SEEN)
		json_w_time(w, "LastSeen", p->last_seen_s);
	if (p->bits & CTL_PATCH_KEY_EXPIRY)
		json_w_time(w, "KeyExpiry", p->key_expiry_s);
	json_w_end(w);
}
