/* SPDX-License-Identifier: MIT */
/* The report in upstream's order of keys; latencies are objects keyed by region id. */
#include "wire/netreport.h"

#include <errno.h>

#include "wire/jsonmap.h"

static const struct jsonmap_field latency_fields[] = {
	JM_FIELD(struct netreport_latency, JM_I64, "", region, JM_SKIP),
	JM_FIELD(struct netreport_latency, JM_I64, "", ns, JM_VALUE),
};

static const struct jsonmap latency_map = JM_TABLE(struct netreport_latency, latency_fields);

static const struct jsonmap_field region_fields[] = {
	JM_FIELD(struct netreport_region, JM_I64, "ID", id, 0),
	JM_FIELD(struct netreport_region, JM_STR, "Code", code, 0),
	JM_FIELD(struct netreport_region, JM_STR, "Name", name, 0),
};

static const struct jsonmap region_map = JM_TABLE(struct netreport_region, region_fields);

static const struct jsonmap_field relay_fields[] = {
	JM_FIELD(struct netreport_relay, JM_STR, "Name", name, 0),
	JM_FIELD(struct netreport_relay, JM_IP, "IP", ip, 0),
	JM_FIELD(struct netreport_relay, JM_BOOL, "Online", online, 0),
	JM_FIELD(struct netreport_relay, JM_F64, "LatencyMs", latency_ms, 0),
};

static const struct jsonmap relay_map = JM_TABLE(struct netreport_relay, relay_fields);

#define F(kind, key, member) JM_FIELD(struct netreport, kind, key, member, 0)
#define M(key, member) \
	JM_COUNTED(struct netreport, JM_MAP, key, member, n_##member, JM_EMPTY, &latency_map)

static const struct jsonmap_field fields[] = {
	F(JM_TIME, "Now", now_ns),
	F(JM_BOOL, "UDP", udp),
	F(JM_BOOL, "IPv6", ipv6),
	F(JM_BOOL, "IPv4", ipv4),
	F(JM_BOOL, "IPv6CanSend", ipv6_can_send),
	F(JM_BOOL, "IPv4CanSend", ipv4_can_send),
	F(JM_BOOL, "OSHasIPv6", os_has_ipv6),
	F(JM_BOOL, "ICMPv4", icmpv4),
	F(JM_TRI, "MappingVariesByDestIP", mapping_varies),
	F(JM_TRI, "UPnP", upnp),
	F(JM_TRI, "PMP", pmp),
	F(JM_TRI, "PCP", pcp),
	F(JM_I64, "PreferredDERP", preferred_derp),
	M("RegionLatency", latency),
	M("RegionV4Latency", latency_v4),
	M("RegionV6Latency", latency_v6),
	F(JM_RAW, "GlobalV4Counters", counters_v4),
	F(JM_RAW, "GlobalV6Counters", counters_v6),
	F(JM_STR, "GlobalV4", global_v4),
	F(JM_STR, "GlobalV6", global_v6),
	F(JM_TRI, "CaptivePortal", captive_portal),
};

static const struct jsonmap_field own_fields[] = {
	JM_COUNTED(struct netreport, JM_LIST, "Regions", regions, n_regions, JM_EMPTY, &region_map),
	JM_COUNTED(struct netreport, JM_LIST, "PeerRelays", relays, n_relays, JM_EMPTY, &relay_map),
};

static const struct jsonmap map = JM_TABLE(struct netreport, fields);
static const struct jsonmap own_map = JM_TABLE(struct netreport, own_fields);

void netreport_wipe(struct netreport *r)
{
	for (size_t i = 0; i < own_map.n_fields; i++)
		jsonmap_wipe_field(&own_fields[i], r);
	jsonmap_wipe(&map, r);
}

int netreport_write(struct bytes *out, const struct netreport *r, const char *indent, bool with_meshd)
{
	struct json_w w = { .indent = indent };

	json_w_obj(&w, NULL);
	jsonmap_write_members(&w, &map, r);
	if (with_meshd)
		jsonmap_write(&w, "Meshd", &own_map, r);
	json_w_end(&w);
	return jsonmap_finish(&w, out);
}

int netreport_parse(struct netreport *r, const char *text, size_t len)
{
	struct json_err why;
	cJSON *json = json_parse(text, len, 0, &why);
	const cJSON *own, *v;
	int err = json ? jsonmap_read(&map, r, json, NULL) : json_err_code(&why);

	own = json_get(json, "Meshd");
	for (size_t i = 0; !err && i < own_map.n_fields; i++) {
		v = json_get(own, own_fields[i].key);
		if (v)
			err = jsonmap_read_field(&own_fields[i], r, v);
	}
	cJSON_Delete(json);
	if (err)
		netreport_wipe(r);
	return err;
}
