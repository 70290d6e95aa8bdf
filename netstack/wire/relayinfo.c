/* SPDX-License-Identifier: MIT */
/* Two documents share the sessions: upstream's, with our additions under "Meshd" in each object, and our
 * own with everything. */
#include "wire/relayinfo.h"

#include <errno.h>

#include "wire/jsonmap.h"

#define CLIENT(kind, key, member, flags) JM_FIELD(struct relayinfo_client, kind, key, member, flags)

static const struct jsonmap_field client_fields[] = {
	CLIENT(JM_EP, "Endpoint", ep, 0),
	CLIENT(JM_STR, "ShortDisco", short_disco, 0),
	CLIENT(JM_U64, "PacketsTx", packets, 0),
	CLIENT(JM_U64, "BytesTx", bytes, 0),
	/* Ours; flat, because a client object is what upstream's readers skip unknown keys in. */
	CLIENT(JM_STR, "MeshdName", name, JM_OMIT),
	CLIENT(JM_NODE_KEY, "MeshdNodeKey", key, JM_OMIT),
	CLIENT(JM_IP, "MeshdIP", ip, JM_OMIT),
};

static const struct jsonmap client_map = JM_TABLE(struct relayinfo_client, client_fields);

static const struct jsonmap_field session_fields[] = {
	JM_FIELD(struct relayinfo_session, JM_U32, "VNI", vni, 0),
	JM_NESTED(struct relayinfo_session, JM_OBJ, "Client1", client1, 0, &client_map),
	JM_NESTED(struct relayinfo_session, JM_OBJ, "Client2", client2, 0, &client_map),
	JM_FIELD(struct relayinfo_session, JM_BOOL, "MeshdBound", bound, 0),
	JM_FIELD(struct relayinfo_session, JM_I64, "MeshdAgeMs", age_ms, 0),
	JM_FIELD(struct relayinfo_session, JM_I64, "MeshdIdleMs", idle_ms, 0),
};

static const struct jsonmap session_map = JM_TABLE(struct relayinfo_session, session_fields);

static const struct jsonmap_field endpoint_fields[] = {
	JM_FIELD(struct relayinfo_endpoint, JM_EP, "Endpoint", ep, 0),
	JM_FIELD(struct relayinfo_endpoint, JM_STR, "Origin", origin, 0),
};

static const struct jsonmap endpoint_map = JM_TABLE(struct relayinfo_endpoint, endpoint_fields);

static const struct jsonmap_field server_fields[] = {
	JM_FIELD(struct relayinfo_server, JM_STR, "Name", name, 0),
	JM_FIELD(struct relayinfo_server, JM_IP, "IP", ip, 0),
	JM_FIELD(struct relayinfo_server, JM_BOOL, "Online", online, 0),
	JM_FIELD(struct relayinfo_server, JM_F64, "LatencyMs", latency_ms, 0),
	JM_FIELD(struct relayinfo_server, JM_I64, "InUseBy", in_use_by, 0),
	JM_FIELD(struct relayinfo_server, JM_STR, "WhyNot", why_not, JM_OMIT),
};

static const struct jsonmap server_map = JM_TABLE(struct relayinfo_server, server_fields);

#define F(kind, key, member, flags) JM_FIELD(struct relayinfo, kind, key, member, flags)

static const struct jsonmap_field fields[] = {
	F(JM_BOOL, "On", on, 0),
	F(JM_U16, "Port", port, 0),
	F(JM_U16, "BoundPort", bound_port, 0),
	F(JM_BOOL, "IPv4", has_v4, 0),
	F(JM_BOOL, "IPv6", has_v6, 0),
	F(JM_STR, "Error", error, JM_OMIT),
	F(JM_STR, "FirewallHint", firewall_hint, JM_OMIT),
	F(JM_STR, "FirewallNote", firewall_note, JM_OMIT),
	F(JM_I64, "AllowedPeers", allowed_peers, 0),
	F(JM_U64, "Packets", packets, 0),
	F(JM_U64, "Bytes", bytes, 0),
	F(JM_U64, "BytesPerSecond", bytes_s, 0),
	F(JM_I64, "Open", open, 0),
	F(JM_I64, "Connecting", connecting, 0),
	JM_COUNTED(struct relayinfo, JM_LIST, "Endpoints", endpoints, n_endpoints, JM_EMPTY,
		   &endpoint_map),
	JM_COUNTED(struct relayinfo, JM_LIST, "Sessions", sessions, n_sessions, JM_EMPTY, &session_map),
	JM_COUNTED(struct relayinfo, JM_LIST, "Servers", servers, n_servers, JM_EMPTY, &server_map),
};

static const struct jsonmap map = JM_TABLE(struct relayinfo, fields);

/* The upstream document. */
static const struct jsonmap_field debug_fields[] = {
	JM_COUNTED(struct relayinfo, JM_OPT_U16, "UDPPort", port, on, 0, NULL),
	JM_COUNTED(struct relayinfo, JM_LIST, "Sessions", sessions, n_sessions, 0, &session_map),
};

static const struct jsonmap debug_map = JM_TABLE(struct relayinfo, debug_fields);

void relayinfo_wipe(struct relayinfo *r)
{
	jsonmap_wipe(&map, r);
}

int relayinfo_write(struct bytes *out, const struct relayinfo *r, const char *indent)
{
	struct json_w w = { .indent = indent };

	jsonmap_write(&w, NULL, &map, r);
	return jsonmap_finish(&w, out);
}

int relayinfo_parse(struct relayinfo *r, const char *text, size_t len)
{
	return jsonmap_parse(&map, r, text, len, NULL);
}

int relayinfo_write_sessions(struct bytes *out, const struct relayinfo *r, const char *indent)
{
	struct json_w w = { .indent = indent };

	jsonmap_write(&w, NULL, &debug_map, r);
	return jsonmap_finish(&w, out);
}

int relayinfo_parse_sessions(struct relayinfo *r, const char *text, size_t len)
{
	return jsonmap_parse(&debug_map, r, text, len, NULL);
}
