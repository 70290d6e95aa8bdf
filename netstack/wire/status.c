/* SPDX-License-Identifier: MIT */
/* Status as tables, in upstream's order of keys. */
#include "wire/status.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "wire/jsonmap.h"
#include "wire/mapdata.h"

const char *status_state_name(enum status_state state)
{
	switch (state) {
	case STATE_NO_STATE:
		return "NoState";
	case STATE_IN_USE_OTHER_USER:
		return "InUseOtherUser";
	case STATE_NEEDS_LOGIN:
		return "NeedsLogin";
	case STATE_NEEDS_MACHINE_AUTH:
		return "NeedsMachineAuth";
	case STATE_STOPPED:
		return "Stopped";
	case STATE_STARTING:
		return "Starting";
	case STATE_RUNNING:
		return "Running";
	}
	return "NoState";
}

#define PATH(kind, key, member, flags) JM_FIELD(struct status_path, kind, key, member, flags)

static const struct jsonmap_field path_fields[] = {
	PATH(JM_STR, "PathType", type, 0),
	PATH(JM_TIME, "PathSince", since_ns, 0),
	PATH(JM_F64, "LatencyMs", latency_ms, 0),
	PATH(JM_STR, "RelayNode", relay_name, JM_OMIT),
	PATH(JM_IP, "RelayIP", relay_ip, JM_OMIT),
	PATH(JM_STR, "WhyNotDirect", why_not_direct, JM_OMIT),
};

static const struct jsonmap path_map = JM_TABLE(struct status_path, path_fields);

#define PEER(kind, key, member, flags) JM_FIELD(struct status_peer, kind, key, member, flags)
#define PEERS(kind, key, member, flags) \
	JM_COUNTED(struct status_peer, kind, key, member, n_##member, flags, NULL)

static const struct jsonmap_field peer_fields[] = {
	/* The map's key comes first; it stands at its place in the object once more. */
	PEER(JM_NODE_KEY, "", key, JM_SKIP),
	PEER(JM_STR, "ID", id, 0),
	PEER(JM_I64, "NodeID", node_id, 0),
	PEER(JM_NODE_KEY, "PublicKey", key, 0),
	PEER(JM_STR, "HostName", host_name, 0),
	PEER(JM_STR, "DNSName", dns_name, 0),
	PEER(JM_STR, "OS", os, 0),
	PEER(JM_I64, "UserID", user_id, 0),
	PEER(JM_I64, "AltSharerUserID", alt_sharer_id, JM_OMIT),
	PEERS(JM_IPS, "TailscaleIPs", ips, 0),
	PEERS(JM_PREFIXES, "AllowedIPs", allowed_ips, JM_OMIT),
	PEERS(JM_STRS, "Tags", tags, JM_OMIT),
	PEERS(JM_PREFIXES, "PrimaryRoutes", primary_routes, JM_OMIT),
	PEERS(JM_STRS, "Addrs", addrs, 0),
	PEER(JM_STR, "CurAddr", cur_addr, 0),
	PEER(JM_STR, "Relay", relay, 0),
	PEER(JM_STR, "PeerRelay", peer_relay, 0),
	PEER(JM_U64, "RxBytes", rx_bytes, 0),
	PEER(JM_U64, "TxBytes", tx_bytes, 0),
	PEER(JM_TIME, "Created", created_ns, 0),
	PEER(JM_TIME, "LastWrite", last_write_ns, 0),
	PEER(JM_TIME, "LastSeen", last_seen_ns, 0),
	PEER(JM_TIME, "LastHandshake", last_handshake_ns, 0),
	PEER(JM_BOOL, "Online", online, 0),
	PEER(JM_BOOL, "ExitNode", exit_node, 0),
	PEER(JM_BOOL, "ExitNodeOption", exit_node_option, 0),
	PEER(JM_BOOL, "Active", active, 0),
	PEERS(JM_STRS, "PeerAPIURL", peerapi_urls, 0),
	PEER(JM_I32, "TaildropTarget", taildrop_target, 0),
	PEER(JM_STR, "NoFileSharingReason", no_file_sharing_reason, 0),
	PEERS(JM_STRS, "Capabilities", capabilities, JM_OMIT),
	PEER(JM_RAW, "CapMap", cap_map, JM_OMIT),
	PEERS(JM_STRS, "sshHostKeys", ssh_host_keys, JM_OMIT),
	PEER(JM_BOOL, "ShareeNode", sharee, JM_OMIT),
	PEER(JM_BOOL, "InNetworkMap", in_network_map, 0),
	PEER(JM_BOOL, "InMagicSock", in_magicsock, 0),
	PEER(JM_BOOL, "InEngine", in_engine, 0),
	PEER(JM_BOOL, "Expired", expired, JM_OMIT),
	PEER(JM_TIME, "KeyExpiry", key_expiry_ns, JM_OMIT),
	PEER(JM_RAW, "Location", location, JM_OMIT),
	JM_NESTED(struct status_peer, JM_OBJ, "Meshd", meshd, 0, &path_map),
};

static const struct jsonmap peer_map = JM_TABLE(struct status_peer, peer_fields);

static const struct jsonmap_field user_fields[] = {
	JM_FIELD(struct status_user, JM_I64, "ID", id, 0),
	JM_FIELD(struct status_user, JM_STR, "LoginName", login_name, 0),
	JM_FIELD(struct status_user, JM_STR, "DisplayName", display_name, 0),
	JM_FIELD(struct status_user, JM_STR, "ProfilePicURL", profile_pic_url, 0),
};

static const struct jsonmap user_map = JM_TABLE(struct status_user, user_fields);

static const struct jsonmap_field tailnet_fields[] = {
	JM_FIELD(struct status_tailnet, JM_STR, "Name", name, 0),
	JM_FIELD(struct status_tailnet, JM_STR, "MagicDNSSuffix", magic_dns_suffix, 0),
	JM_FIELD(struct status_tailnet, JM_BOOL, "MagicDNSEnabled", magic_dns_enabled, 0),
};

static const struct jsonmap tailnet_map = JM_TABLE(struct status_tailnet, tailnet_fields);

static const struct jsonmap_field exit_node_fields[] = {
	JM_FIELD(struct status_exit_node, JM_STR, "ID", id, 0),
	JM_FIELD(struct status_exit_node, JM_BOOL, "Online", online, 0),
	JM_COUNTED(struct status_exit_node, JM_PREFIXES, "TailscaleIPs", ips, n_ips, 0, NULL),
};

static const struct jsonmap exit_node_map = JM_TABLE(struct status_exit_node, exit_node_fields);

static const struct jsonmap_field counts_fields[] = {
	JM_FIELD(struct status_path_counts, JM_I64, "Direct", direct, 0),
	JM_FIELD(struct status_path_counts, JM_I64, "PeerRelay", peer_relay, 0),
	JM_FIELD(struct status_path_counts, JM_I64, "DERP", derp, 0),
	JM_FIELD(struct status_path_counts, JM_I64, "Idle", idle, 0),
	JM_FIELD(struct status_path_counts, JM_I64, "Offline", offline, 0),
};

static const struct jsonmap counts_map = JM_TABLE(struct status_path_counts, counts_fields);

static const struct jsonmap_field relay_fields[] = {
	JM_FIELD(struct status_relay_server, JM_BOOL, "On", on, 0),
	JM_FIELD(struct status_relay_server, JM_U16, "Port", port, 0),
	JM_FIELD(struct status_relay_server, JM_I64, "Sessions", sessions, 0),
	JM_FIELD(struct status_relay_server, JM_I64, "Connecting", connecting, 0),
	JM_FIELD(struct status_relay_server, JM_STR, "Error", error, JM_OMIT),
};

static const struct jsonmap relay_map = JM_TABLE(struct status_relay_server, relay_fields);

#define OWN(kind, key, member, flags) JM_FIELD(struct status_meshd, kind, key, member, flags)

static const struct jsonmap_field meshd_fields[] = {
	OWN(JM_I64, "SchemaVersion", schema_version, 0),
	OWN(JM_STR, "Version", meshd_version, 0),
	OWN(JM_STR, "Server", server, 0),
	JM_NESTED(struct status_meshd, JM_OBJ, "PathCounts", path_counts, 0, &counts_map),
	JM_NESTED(struct status_meshd, JM_OBJ, "RelayServer", relay_server, 0, &relay_map),
	OWN(JM_BOOL, "AcceptRoutes", accept_routes, 0),
	OWN(JM_BOOL, "ControlConnected", control_connected, 0),
	OWN(JM_BOOL, "NetMapCached", netmap_is_cached, 0),
	OWN(JM_U16, "UDPPort", udp_port, 0),
	OWN(JM_STR, "TUN", tun_name, 0),
};

static const struct jsonmap meshd_map = JM_TABLE(struct status_meshd, meshd_fields);

#define TOP(kind, key, member, flags) JM_FIELD(struct status, kind, key, member, flags)

static const struct jsonmap_field status_fields[] = {
	TOP(JM_STR, "Version", version, 0),
	TOP(JM_BOOL, "TUN", tun, 0),
	TOP(JM_STR, "BackendState", backend_state, 0),
	TOP(JM_BOOL, "HaveNodeKey", have_node_key, JM_OMIT),
	TOP(JM_STR, "AuthURL", auth_url, 0),
	JM_COUNTED(struct status, JM_IPS, "TailscaleIPs", ips, n_ips, 0, NULL),
	JM_NESTED(struct status, JM_OPT, "Self", self, 0, &peer_map),
	JM_NESTED(struct status, JM_OPT, "ExitNodeStatus", exit_node, JM_OMIT, &exit_node_map),
	JM_COUNTED(struct status, JM_STRS, "Health", health, n_health, JM_EMPTY, NULL),
	TOP(JM_STR, "MagicDNSSuffix", magic_dns_suffix, 0),
	JM_NESTED(struct status, JM_OPT, "CurrentTailnet", tailnet, 0, &tailnet_map),
	JM_COUNTED(struct status, JM_STRS, "CertDomains", cert_domains, n_cert_domains, 0, NULL),
};

/* What stands behind "ExtraRecords", which is always null. */
enum { TAIL_PEERS, TAIL_USERS };

static const struct jsonmap_field tail_fields[] = {
	[TAIL_PEERS] = JM_COUNTED(struct status, JM_MAP, "Peer", peers, n_peers, JM_EMPTY, &peer_map),
	[TAIL_USERS] = JM_COUNTED(struct status, JM_MAP, "User", users, n_users, JM_EMPTY, &user_map),
};

static const struct jsonmap_field own_fields[] = {
	JM_NESTED(struct status, JM_OBJ, "Meshd", meshd, 0, &meshd_map),
};

static const struct jsonmap head_map = JM_TABLE(struct status, status_fields);
static const struct jsonmap tail_map = JM_TABLE(struct status, tail_fields);
static const struct jsonmap own_map = JM_TABLE(struct status, own_fields);

void status_wipe(struct status *s)
{
	for (size_t i = 0; i < tail_map.n_fields; i++)
		jsonmap_wipe_field(&tail_fields[i], s);
	jsonmap_wipe_field(&own_fields[0], s);
	free((void *)s->health_codes);
	jsonmap_wipe(&head_map, s); /* clears all of 's' */
}

int status_add_health(struct status *s, const char *code, const char *text)
{
	char **list = realloc(s->health, (s->n_health + 1) * sizeof(char *));
	const char **codes;

	if (!list)
		return -ENOMEM;
	s->health = list;
	codes = realloc((void *)s->health_codes, (s->n_health + 1) * sizeof(char *));
	if (!codes)
		return -ENOMEM;
	s->health_codes = codes;
	codes[s->n_health] = code;
	list[s->n_health] = strdup(text);
	if (!list[s->n_health])
		return -ENOMEM;
	s->n_health++;
	return 0;
}

void status_peer_wipe(struct status_peer *p)
{
	jsonmap_wipe(&peer_map, p);
}

int status_write(struct bytes *out, const struct status *s, const char *indent)
{
	struct json_w w = { .indent = indent };

	json_w_obj(&w, NULL);
	jsonmap_write_members(&w, &head_map, s);
	json_w_null(&w, "ExtraRecords");
	jsonmap_write_members(&w, &tail_map, s);
	json_w_null(&w, "ClientVersion");
	jsonmap_write_members(&w, &own_map, s);
	json_w_end(&w);
	return jsonmap_finish(&w, out);
}

void status_w_begin(struct json_w *w, const struct status *s)
{
	json_w_obj(w, NULL);
	jsonmap_write_members(w, &head_map, s);
	json_w_null(w, "ExtraRecords");
	json_w_obj(w, tail_fields[TAIL_PEERS].key);
}

void status_w_peer(struct json_w *w, const struct status_peer *p)
{
	char key[KEY_TEXT_MAX];

	key_write(key, KEY_NODE, p->key.b);
	jsonmap_write(w, key, &peer_map, p);
}

void status_w_end(struct json_w *w, const struct status *s)
{
	json_w_end(w);
	jsonmap_write_field(w, &tail_fields[TAIL_USERS], s);
	json_w_null(w, "ClientVersion");
	jsonmap_write_members(w, &own_map, s);
	json_w_end(w);
}

int status_parse(struct status *s, const char *text, size_t len)
{
	struct json_err e;
	cJSON *json = json_parse(text, len, 0, &e);
	const struct jsonmap *const parts[] = { &head_map, &tail_map, &own_map };
	int err = !json ? json_err_code(&e) : cJSON_IsObject(json) ? 0 : -EBADMSG;

	for (size_t i = 0; !err && i < ARRAY_LEN(parts); i++) {
		for (size_t j = 0; !err && j < parts[i]->n_fields; j++) {
			const struct jsonmap_field *f = &parts[i]->fields[j];
			const cJSON *v = json_get(json, f->key);

			if (v)
				err = jsonmap_read_field(f, s, v);
		}
	}
	cJSON_Delete(json);
	if (err)
		status_wipe(s);
	return err;
}

void status_keep_active(struct status *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->n_peers; i++) {
		if (s->peers[i].active)
			s->peers[kept++] = s->peers[i];
		else
			status_peer_wipe(&s->peers[i]);
	}
	s->n_peers = kept;
	if (!kept) {
		free(s->peers);
		s->peers = NULL;
	}
}

/* --- finding a peer --- */

static bool name_is(const char *name, size_t len, const char *text)
{
	return len && strlen(text) == len && strncasecmp(name, text, len) == 0;
}

static bool matches(const struct status_peer *p, const char *text, const struct ip *ip)
{
	const char *dns = p->dns_name ? p->dns_name : "";
	size_t len = strlen(dns);

	for (size_t i = 0; ip_is_set(ip) && i < p->n_ips; i++)
		if (ip_eq(&p->ips[i], ip))
			return true;
	if (ip_is_set(ip))
		return false;
	return name_is(dns, len, text) || (len && name_is(dns, len - 1, text)) ||
	       name_is(dns, strcspn(dns, "."), text);
}

const struct status_peer *status_find(const struct status *s, const char *text, bool *is_self)
{
	struct ip ip = { 0 };
	bool unused;

	is_self = is_self ? is_self : &unused;
	*is_self = false;
	if (ip_parse(&ip, text, strlen(text)))
		ip = (struct ip){ 0 };
	if (s->self && matches(s->self, text, &ip)) {
		*is_self = true;
		return s->self;
	}
	for (size_t i = 0; i < s->n_peers; i++)
		if (matches(&s->peers[i], text, &ip))
			return &s->peers[i];
	for (size_t i = 0; i < s->n_peers && !ip_is_set(&ip); i++)
		if (s->peers[i].host_name && strcasecmp(s->peers[i].host_name, text) == 0)
			return &s->peers[i];
	return NULL;
}

/* --- an exit node --- */

static bool may_suggest(const struct status_peer *p)
{
	for (size_t i = 0; p->online && p->exit_node_option && p->id && p->dns_name && i < p->n_capabilities; i++)
		if (strcmp(p->capabilities[i], "suggest-exit-node") == 0)
			return true;
	return false;
}

const struct status_peer *status_suggest_exit_node(const struct status *s)
{
	const char *home = s->self && s->self->relay ? s->self->relay : "";
	const struct status_peer *best = NULL;
	bool best_is_near = false;

	for (size_t i = 0; i < s->n_peers; i++) {
		const struct status_peer *p = &s->peers[i];
		const bool is_near = *home && p->relay && strcmp(p->relay, home) == 0;

		if (!may_suggest(p) || (best && best_is_near > is_near))
			continue;
		if (best && best_is_near == is_near && strcmp(best->dns_name, p->dns_name) <= 0)
			continue;
		best = p;
		best_is_near = is_near;
	}
	return best;
}
