/* SPDX-License-Identifier: MIT */
/* What the stock command line asks for beside its commands' own requests, so that it neither warns nor
 * fails for want of an answer: features that are absent answer as an unused one does. Spec: localapi 3. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/api.h"
#include "wire/http1.h"

enum { NAME_MAX_SIZE = 256, PORT_MAX_SIZE = 8 };

static void send_text(struct api *api, const struct api_req *req, const char *text)
{
	struct bytes doc = { 0 };

	if (bytes_append(&doc, text, strlen(text)))
		api_reply_text(api, req->token, 500, "out of memory\n");
	else
		api_reply_json(api, req->token, &doc);
	bytes_wipe(&doc);
}

/* No Serve: `status` looks whether something is shared. */
static void get_serve_config(struct api *api, const struct api_req *req)
{
	send_text(api, req, "{}\n");
}

/* Using one is not in this build; which one it would be is known all the same. */
static void get_suggested_exit_node(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	const struct status_peer *p;
	struct json_w w = { 0 };
	struct bytes doc = { 0 };
	struct status s = { 0 };

	if (b->status(b->ctx, true, &s)) {
		api_reply_text(api, req->token, 500, "out of memory\n");
		return;
	}
	if (!s.self || !s.self->relay || !*s.self->relay) {
		api_reply_error(api, req->token, 500, "no preferred DERP, try again later", true);
		status_wipe(&s);
		return;
	}
	p = status_suggest_exit_node(&s);
	json_w_obj(&w, NULL);
	json_w_str(&w, "ID", p ? p->id : "");
	json_w_str(&w, "Name", p ? p->dns_name : "");
	json_w_end(&w);
	status_wipe(&s);
	if (jsonmap_finish(&w, &doc))
		api_reply_text(api, req->token, 500, "out of memory\n");
	else
		api_reply_json(api, req->token, &doc);
	bytes_wipe(&doc);
}

static void get_no_warning(struct api *api, const struct api_req *req)
{
	send_text(api, req, "{\"Warning\":\"\"}\n");
}

static void get_so_mark(struct api *api, const struct api_req *req)
{
	send_text(api, req, "{\"UseSOMark\":true}\n");
}

/* --- dial: the kernel reaches the mesh, so whoever asks dials itself, with its own rights --- */

/* The number, or 0. */
static uint16_t parse_port(const char *text)
{
	char *end;
	const unsigned long v = strtoul(text, &end, 10);

	return *text >= '0' && *text <= '9' && !*end && v <= UINT16_MAX ? (uint16_t)v : 0;
}

static int resolve(const struct api_backend *b, const char *host, struct ip *ip)
{
	const struct status_peer *p;
	struct status s = { 0 };
	int err = -ENOENT;

	if (ip_parse(ip, host, strlen(host)) == 0)
		return 0;
	if (b->status(b->ctx, true, &s))
		return -ENOMEM;
	p = status_find(&s, host, NULL);
	if (p && p->n_ips) {
		*ip = p->ips[0];
		err = 0;
	}
	status_wipe(&s);
	return err;
}

static void post_dial(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	const char *upgrade = http1_get(req->http, "Upgrade"), *host = http1_get(req->http, "Dial-Host"),
		   *port_text = http1_get(req->http, "Dial-Port");
	const uint16_t port = port_text ? parse_port(port_text) : 0;
	char text[IP_TEXT_MAX], addr[IP_TEXT_MAX + PORT_MAX_SIZE + 4], why[NAME_MAX_SIZE + 64];
	struct ip ip;

	if (!upgrade || strcasecmp(upgrade, "ts-dial") != 0) {
		api_reply_text(api, req->token, 400, "bad ts-dial upgrade\n");
		return;
	}
	if (!host || !*host || strlen(host) >= NAME_MAX_SIZE || !port) {
		api_reply_text(api, req->token, 400, "missing Dial-Host or Dial-Port header\n");
		return;
	}
	if (resolve(b, host, &ip)) {
		char quoted[PREFVAL_QUOTE_MAX];

		(void)snprintf(why, sizeof(why), "resolve failure: no such host: %.*s\n", NAME_MAX_SIZE,
			       prefval_quote(quoted, host, strlen(host)));
		api_reply_text(api, req->token, 502, why);
		return;
	}
	(void)snprintf(addr, sizeof(addr), ip.family == IP_V4 ? "%s:%u" : "[%s]:%u", ip_write(text, &ip), port);
	api_reply_dial_self(api, req->token, addr);
}

static const struct api_handler rows[] = {
	{ "GET", "serve-config", API_READ, get_serve_config },
	{ "GET", "suggest-exit-node", API_READ, get_suggested_exit_node },
	{ "GET", "check-udp-gro-forwarding", API_READ, get_no_warning },
	{ "GET", "check-so-mark-in-use", API_READ, get_so_mark },
	{ "POST", "dial", API_ANY, post_dial },
};

const struct api_table api_stock_table = { rows, ARRAY_LEN(rows) };
