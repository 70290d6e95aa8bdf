/* SPDX-License-Identifier: MIT */
#include "wire/pingresult.h"

#include <errno.h>
#include <string.h>

#include "wire/jsonmap.h"

#define F(kind, key, member, flags) JM_FIELD(struct pingresult, kind, key, member, flags)

static const struct jsonmap_field fields[] = {
	F(JM_STR, "IP", ip, 0),
	F(JM_STR, "NodeIP", node_ip, 0),
	F(JM_STR, "NodeName", node_name, 0),
	F(JM_STR, "Err", err, 0),
	F(JM_F64, "LatencySeconds", latency_s, 0),
	F(JM_STR, "Endpoint", endpoint, 0),
	F(JM_STR, "PeerRelay", peer_relay, 0),
	F(JM_I64, "DERPRegionID", derp_region_id, 0),
	F(JM_STR, "DERPRegionCode", derp_region_code, 0),
	F(JM_U16, "PeerAPIPort", peerapi_port, JM_OMIT),
	F(JM_STR, "PeerAPIURL", peerapi_url, JM_OMIT),
	F(JM_BOOL, "IsLocalIP", is_local_ip, JM_OMIT),
};

static const struct jsonmap_field own_fields[] = {
	F(JM_STR, "RelayNode", relay_node, 0),
	F(JM_I64, "PathMTU", path_mtu, 0),
};

static const struct jsonmap map = JM_TABLE(struct pingresult, fields);
static const struct jsonmap own_map = JM_TABLE(struct pingresult, own_fields);

const char *pingresult_type_name(enum pingresult_type type)
{
	switch (type) {
	case PING_DISCO:
		return "disco";
	case PING_TSMP:
		return "TSMP";
	case PING_ICMP:
		return "ICMP";
	case PING_PEERAPI:
		return "peerapi";
	}
	return "";
}

int pingresult_type_parse(enum pingresult_type *type, const char *text)
{
	for (int i = PING_DISCO; i <= PING_PEERAPI; i++) {
		if (strcmp(text, pingresult_type_name((enum pingresult_type)i)) == 0) {
			*type = (enum pingresult_type)i;
			return 0;
		}
	}
	return -EBADMSG;
}

void pingresult_wipe(struct pingresult *p)
{
	jsonmap_wipe_field(&own_fields[0], p);
	jsonmap_wipe(&map, p);
}

int pingresult_write(struct bytes *out, const struct pingresult *p, const char *indent)
{
	struct json_w w = { .indent = indent };

	json_w_obj(&w, NULL);
	jsonmap_write_members(&w, &map, p);
	jsonmap_write(&w, "Meshd", &own_map, p);
	json_w_end(&w);
	return jsonmap_finish(&w, out);
}

int pingresult_parse(struct pingresult *p, const char *text, size_t len)
{
	struct json_err why;
	cJSON *json = json_parse(text, len, 0, &why);
	const cJSON *own, *v;
	int err = json ? jsonmap_read(&map, p, json, NULL) : json_err_code(&why);

	own = json_get(json, "Meshd");
	for (size_t i = 0; !err && i < own_map.n_fields; i++) {
		v = json_get(own, own_fields[i].key);
		if (v)
			err = jsonmap_read_field(&own_fields[i], p, v);
	}
	cJSON_Delete(json);
	if (err)
		pingresult_wipe(p);
	return err;
}
