/* SPDX-License-Identifier: MIT */
/* The network side of the local API: ping, whois, DERP map, netcheck, the relay's sessions, debug actions.
 * Spec: localapi 3.1, 3.2. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/api.h"

enum {
	PARAM_MAX = 160,
	PING_SIZE_MAX = 65467, /* as upstream; what the largest packet of the path holds is less */
};

static void send_doc(struct api *api, const struct api_req *req, struct bytes *doc, int err)
{
	if (err == -ENOSYS)
		api_reply_text(api, req->token, 501, "feature not included in this build\n");
	else if (err)
		api_reply_text(api, req->token, 500, "internal error\n");
	else
		api_reply_json(api, req->token, doc);
	bytes_wipe(doc);
}

/* --- ping --- */

static void bad_request(struct api *api, const struct api_req *req, const char *text)
{
	api_reply_text(api, req->token, 400, text);
}

static void post_ping(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	char param[PARAM_MAX], text[80];
	struct api_ping ping = { 0 };
	const char *v;

	v = api_query(req, "ip", param, sizeof(param));
	if (!v || !*v) {
		bad_request(api, req, "missing 'ip' parameter\n");
		return;
	}
	if (ip_parse(&ping.ip, v, strlen(v))) {
		bad_request(api, req, "invalid IP\n");
		return;
	}
	v = api_query(req, "type", param, sizeof(param));
	if (!v || !*v) {
		bad_request(api, req, "missing 'type' parameter\n");
		return;
	}
	if (pingresult_type_parse(&ping.type, v)) {
		bad_request(api, req, "invalid 'type' parameter\n");
		return;
	}
	v = api_query(req, "size", param, sizeof(param));
	if (v && *v) {
		char *end;
		unsigned long size = strtoul(v, &end, 10);

		if (*end || *v == '-') {
			bad_request(api, req, "invalid 'size' parameter\n");
			return;
		}
		if (size && ping.type != PING_DISCO) {
			bad_request(api, req, "'size' parameter is only supported with disco pings\n");
			return;
		}
		if (size > PING_SIZE_MAX) {
			(void)snprintf(text, sizeof(text), "maximum value for 'size' is %d\n",
				       PING_SIZE_MAX);
			bad_request(api, req, text);
			return;
		}
		ping.size = size;
	}
	b->ping(b->ctx, req->token, &ping);
}

/* --- whois --- */

static void no_match(struct api *api, const struct api_req *req, const char *addr)
{
	char quoted[PREFVAL_QUOTE_MAX], text[PREFVAL_QUOTE_MAX + 32];
	size_t len;

	/* Quoted for safety, shown without the quotes as upstream does. */
	prefval_quote(quoted, addr, strlen(addr));
	len = strlen(quoted);
	(void)snprintf(text, sizeof(text), "no match for %.*s\n", (int)(len - 2), quoted + 1);
	api_reply_text(api, req->token, 404, text);
}

static void get_whois(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	struct api_whois who = { 0 };
	struct node_key key;
	struct ep ep = { 0 };
	struct bytes doc = { 0 };
	char addr[PARAM_MAX];
	bool is_key = false;
	int err;

	if (!api_query(req, "addr", addr, sizeof(addr)) || !addr[0]) {
		bad_request(api, req, "missing 'addr' parameter\n");
		return;
	}
	if (strncmp(addr, "nodekey:", 8) == 0)
		is_key = key_parse(key.b, KEY_NODE, addr, strlen(addr)) == 0;
	if (!is_key && ip_parse(&ep.ip, addr, strlen(addr)) && ep_parse(&ep, addr, strlen(addr))) {
		bad_request(api, req, "invalid 'addr' parameter\n");
		return;
	}
	err = b->whois(b->ctx, &ep.ip, is_key ? &key : NULL, &who);
	if (err == -ENOENT) {
		no_match(api, req, addr);
		return;
	}
	if (!err)
		err = whois_write(&doc, who.node, who.user, who.caps, who.n_caps, "\t");
	send_doc(api, req, &doc, err);
}

/* --- maps and reports --- */

static void get_derp_map(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	const struct derp_map *map = b->derp_map(b->ctx);
	static const struct derp_map empty;
	struct bytes doc = { 0 };

	send_doc(api, req, &doc, whois_write_derp_map(&doc, map ? map : &empty, "\t"));
}

static void get_netcheck(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);

	b->netcheck(b->ctx, req->token);
}

static void get_sessions(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	struct relayinfo r = { 0 };
	struct bytes doc = { 0 };
	int err = b->relay(b->ctx, &r);

	if (!err)
		err = relayinfo_write_sessions(&doc, &r, NULL);
	relayinfo_wipe(&r);
	send_doc(api, req, &doc, err);
}

/* --- debug --- */

static void debug_relay_servers(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	char text[IP_TEXT_MAX];
	struct json_w w = { 0 };
	struct relayinfo r = { 0 };
	struct bytes doc = { 0 };
	int err = b->relay(b->ctx, &r);

	json_w_arr(&w, NULL);
	for (size_t i = 0; !err && i < r.n_servers; i++)
		json_w_str(&w, NULL, ip_write(text, &r.servers[i].ip));
	json_w_end(&w);
	relayinfo_wipe(&r);
	if (err)
		json_w_wipe(&w);
	else
		err = jsonmap_finish(&w, &doc);
	send_doc(api, req, &doc, err);
}

static void debug_net_map(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	struct bytes doc = { 0 };

	send_doc(api, req, &doc, b->net_map(b->ctx, &doc));
}

static const struct {
	const char *name;
	enum api_debug action;
} actions[] = {
	{ "restun", API_DEBUG_RESTUN },
	{ "rebind", API_DEBUG_REBIND },
	{ "rotate-disco-key", API_DEBUG_ROTATE_DISCO_KEY },
	{ "break-derp-conns", API_DEBUG_BREAK_DERP_CONNS },
	{ "break-tcp-conns", API_DEBUG_BREAK_TCP_CONNS },
	{ "pick-new-derp", API_DEBUG_PICK_NEW_DERP },
	{ "force-netmap-update", API_DEBUG_FORCE_NETMAP_UPDATE },
	{ "clear-netmap-cache", API_DEBUG_CLEAR_NETMAP_CACHE },
};

static void post_debug(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	char name[PARAM_MAX], quoted[PREFVAL_QUOTE_MAX], text[PREFVAL_QUOTE_MAX + 32];

	if (!api_query(req, "action", name, sizeof(name)) || !name[0]) {
		bad_request(api, req, "missing parameter 'action'\n");
		return;
	}
	if (strcmp(name, "peer-relay-servers") == 0) {
		debug_relay_servers(api, req);
		return;
	}
	if (strcmp(name, "current-netmap") == 0) {
		debug_net_map(api, req);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		int err;

		if (strcmp(name, actions[i].name) != 0)
			continue;
		err = b->debug(b->ctx, actions[i].action);
		if (err == -ENOENT)
			api_reply_text(api, req->token, 500, "too few regions\n");
		else if (err)
			api_reply_text(api, req->token, 500, strerror(-err));
		else
			api_reply_text(api, req->token, 200, "done\n");
		return;
	}
	(void)snprintf(text, sizeof(text), "unknown action %s\n",
		       prefval_quote(quoted, name, strlen(name)));
	bad_request(api, req, text);
}

static const struct api_handler rows[] = {
	{ "POST", "ping", API_ANY, post_ping },
	{ "GET", "whois", API_READ, get_whois },
	{ "GET", "derpmap", API_ANY, get_derp_map },
	{ "GET", "netcheck", API_READ, get_netcheck },
	{ "GET", "debug-peer-relay-sessions", API_ANY, get_sessions },
	{ "POST", "debug", API_WRITE, post_debug },
};

const struct api_table api_net_table = { rows, ARRAY_LEN(rows) };
