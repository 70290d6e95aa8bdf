/* SPDX-License-Identifier: MIT */
#include "wire/pathinfo.h"

#include "wire/jsonmap.h"

static const struct jsonmap_field candidate_fields[] = {
	JM_FIELD(struct pathinfo_candidate, JM_EP, "Endpoint", ep, 0),
	JM_FIELD(struct pathinfo_candidate, JM_STR, "Source", source, 0),
	JM_FIELD(struct pathinfo_candidate, JM_I64, "Pings", pings, 0),
	JM_FIELD(struct pathinfo_candidate, JM_I64, "Pongs", pongs, 0),
	JM_FIELD(struct pathinfo_candidate, JM_F64, "LatencyMs", latency_ms, 0),
};

static const struct jsonmap candidate_map = JM_TABLE(struct pathinfo_candidate, candidate_fields);

static const struct jsonmap_field relay_fields[] = {
	JM_FIELD(struct pathinfo_relay, JM_STR, "Name", name, 0),
	JM_FIELD(struct pathinfo_relay, JM_IP, "IP", ip, 0),
	JM_FIELD(struct pathinfo_relay, JM_STR, "Text", text, 0),
	JM_FIELD(struct pathinfo_relay, JM_BOOL, "Usable", usable, 0),
};

static const struct jsonmap relay_map = JM_TABLE(struct pathinfo_relay, relay_fields);

#define F(kind, key, member) JM_FIELD(struct pathinfo, kind, key, member, 0)

static const struct jsonmap_field fields[] = {
	F(JM_STR, "Name", name),
	F(JM_IP, "IP", ip),
	F(JM_STR, "InUse", in_use),
	F(JM_STR, "Addr", addr),
	F(JM_F64, "LatencyMs", latency_ms),
	F(JM_I64, "SinceMs", since_ms),
	F(JM_STR, "DirectReason", direct_reason),
	JM_COUNTED(struct pathinfo, JM_LIST, "Candidates", candidates, n_candidates, JM_EMPTY,
		   &candidate_map),
	F(JM_STR, "RelayReason", relay_reason),
	JM_COUNTED(struct pathinfo, JM_LIST, "Relays", relays, n_relays, JM_EMPTY, &relay_map),
	F(JM_STR, "DERPReason", derp_reason),
};

static const struct jsonmap map = JM_TABLE(struct pathinfo, fields);

void pathinfo_wipe(struct pathinfo *p)
{
	jsonmap_wipe(&map, p);
}

int pathinfo_write(struct bytes *out, const struct pathinfo *p, const char *indent)
{
	struct json_w w = { .indent = indent };

	jsonmap_write(&w, NULL, &map, p);
	return jsonmap_finish(&w, out);
}

int pathinfo_parse(struct pathinfo *p, const char *text, size_t len)
{
	return jsonmap_parse(&map, p, text, len, NULL);
}
