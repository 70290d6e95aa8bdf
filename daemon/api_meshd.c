/* SPDX-License-Identifier: MIT */
/* Metrics, our own endpoints, and the small answers that the stock command line asks for. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/api.h"
#include "daemon/metrics.h"

enum { PARAM_MAX = 64, SYSCTL_MAX = 8 };

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

static void send_metrics(struct api *api, const struct api_req *req,
			 int (*write)(struct bytes *, const struct metrics_input *))
{
	const struct api_backend *b = api_backend(api);
	struct metrics_input in = { .netmap_age_s = -1 };
	struct bytes doc = { 0 };
	int err = b->metrics(b->ctx, &in);

	if (!err)
		err = write(&doc, &in);
	if (!err)
		err = bytes_append(&doc, "", 1); /* text for the reply */
	if (err)
		api_reply_text(api, req->token, 500, "internal error\n");
	else
		api_reply_text(api, req->token, 200, (const char *)bytes_data(&doc));
	bytes_wipe(&doc);
}

static void get_user_metrics(struct api *api, const struct api_req *req)
{
	send_metrics(api, req, metrics_write);
}

static void get_metrics(struct api *api, const struct api_req *req)
{
	send_metrics(api, req, metrics_write_counters);
}

static void get_relay(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);

	b->relay_report(b->ctx, req->token);
}

static void get_path(struct api *api, const struct api_req *req)
{
	const struct api_backend *b = api_backend(api);
	struct pathinfo p = { 0 };
	struct bytes doc = { 0 };
	char peer[PARAM_MAX];
	struct ip ip;
	int err;

	if (!api_query(req, "peer", peer, sizeof(peer)) || ip_parse(&ip, peer, strlen(peer))) {
		api_reply_text(api, req->token, 400, "invalid 'peer' parameter\n");
		return;
	}
	err = b->path(b->ctx, &ip, &p);
	if (err == -ENOENT) {
		api_reply_text(api, req->token, 404, "no such peer\n");
		return;
	}
	if (!err)
		err = pathinfo_write(&doc, &p, "\t");
	pathinfo_wipe(&p);
	send_doc(api, req, &doc, err);
}

static void get_version(struct api *api, const struct api_req *req)
{
	struct bytes doc = { 0 };
	struct json_w w = { 0 };

	json_w_obj(&w, NULL);
	json_w_str(&w, "Version", API_VERSION_SHORT);
	json_w_str(&w, "Meshd", API_MESHD_VERSION);
	json_w_i64(&w, "Cap", API_CAP_VERSION);
	json_w_end(&w);
	send_doc(api, req, &doc, jsonmap_finish(&w, &doc));
}

static void get_features(struct api *api, const struct api_req *req)
{
	static const char text[] = "{\"Features\":{\"relayserver\":true,\"coordinator\":true}}\n";
	struct bytes doc = { 0 };

	send_doc(api, req, &doc, bytes_append(&doc, text, sizeof(text) - 1));
}

static void get_update(struct api *api, const struct api_req *req)
{
	static const char text[] = "{\"RunningLatest\":true}\n";
	struct bytes doc = { 0 };

	send_doc(api, req, &doc, bytes_append(&doc, text, sizeof(text) - 1));
}

/* Does the kernel forward for a family? Unknown counts as yes: a warning needs proof. */
static bool forwards(const char *sysctl)
{
	char text[SYSCTL_MAX] = "";
	FILE *f = fopen(sysctl, "re");
	bool ok;

	if (!f)
		return true;
	ok = !fgets(text, sizeof(text), f) || text[0] != '0';
	(void)fclose(f);
	return ok;
}

static void get_forwarding(struct api *api, const struct api_req *req)
{
	bool v4 = forwards("/proc/sys/net/ipv4/ip_forward");
	bool v6 = forwards("/proc/sys/net/ipv6/conf/all/forwarding");
	const char *text = "";
	struct bytes doc = { 0 };
	struct json_w w = { 0 };

	if (!v4 && !v6)
		text = "IP forwarding is disabled, subnet routing/exit nodes will not work.\n"
		       "Run: sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
	else if (!v4)
		text = "IPv4 forwarding is disabled, IPv4 subnet routes will not work.\n"
		       "Run: sysctl -w net.ipv4.ip_forward=1";
	else if (!v6)
		text = "IPv6 forwarding is disabled, IPv6 subnet routes will not work.\n"
		       "Run: sysctl -w net.ipv6.conf.all.forwarding=1";
	json_w_obj(&w, NULL);
	json_w_str(&w, "Warning", text);
	json_w_end(&w);
	send_doc(api, req, &doc, jsonmap_finish(&w, &doc));
}

static const struct api_handler rows[] = {
	{ "GET", "usermetrics", API_ANY, get_user_metrics },
	{ "GET", "metrics", API_WRITE, get_metrics },
	{ "GET", "meshd/relay", API_READ, get_relay },
	{ "GET", "meshd/path", API_READ, get_path },
	{ "GET", "meshd/version", API_ANY, get_version },
	{ "GET", "debug-optional-features", API_READ, get_features },
	{ "GET", "update/check", API_ANY, get_update },
	{ "GET", "check-ip-forwarding", API_READ, get_forwarding },
};

const struct api_table api_meshd_table = { rows, ARRAY_LEN(rows) };
