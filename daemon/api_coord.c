/* SPDX-License-Identifier: MIT */
/* Handlers of the coordinator role: see api_coord.h. */
#include "daemon/api_coord.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/coordrole.h"
#include "daemon/loop.h"
#include "wire/json.h"

#define BASE "meshd/coordinator/"

static void reply_json(struct api *api, struct api_token token, const char *json, size_t size)
{
	struct bytes doc = { 0 };

	if (bytes_append(&doc, json, size) != 0)
		api_reply_error(api, token, 500, "out of memory", false);
	else
		api_reply_json(api, token, &doc);
	bytes_wipe(&doc); /* may hold an auth key */
}

/* The role, or null after the request was answered. */
static struct coordrole *role(struct api *api, const struct api_req *req)
{
	struct coordrole *r = api_coord(api);

	if (!r)
		api_reply_error(api, req->token, 501, "this daemon keeps no state, so it can not be a coordinator", false);
	return r;
}

static void get_status(struct api *api, const struct api_req *req)
{
	struct coordrole *r = role(api, req);
	char *json = NULL;

	if (!r)
		return;
	if (coordrole_status(r, &json) != 0)
		api_reply_error(api, req->token, 500, "out of memory", false);
	else
		reply_json(api, req->token, json, strlen(json));
	free(json);
}

static void read_settings(struct json_in *in, const cJSON *v, struct coordrole_settings *s)
{
	s->url = json_str(in, v, "URL");
	s->listen = json_str(in, v, "Listen");
	s->domain = json_str(in, v, "Domain");
	s->stun_port = (int32_t)json_i64(in, v, "STUNPort", -1, 65535);
	s->cert = json_str(in, v, "Cert");
	s->key = json_str(in, v, "Key");
	s->behind_proxy = json_bool(in, v, "BehindProxy");
	s->pool4 = json_str(in, v, "Pool4");
	s->node_expiry_s = json_i64(in, v, "NodeExpiryS", 0, INT64_C(1) << 33);
}

static void reply_enabled(struct api *api, const struct api_req *req, struct coordrole *r, const char *warn)
{
	struct json_w w = { 0 };
	char *text;

	json_w_obj(&w, NULL);
	json_w_str(&w, "URL", coordrole_url(r));
	json_w_arr(&w, "Warnings");
	while (*warn) {
		size_t len = strcspn(warn, "\n");

		if (len)
			json_w_strn(&w, NULL, warn, len);
		warn += len + (warn[len] != '\0');
	}
	json_w_end(&w);
	json_w_end(&w);
	text = json_w_take(&w, NULL);
	if (text)
		coordrole_answer(r, req->token.id, text);
	else
		api_reply_error(api, req->token, 500, "out of memory", false);
	free(text);
}

static void post_enable(struct api *api, const struct api_req *req)
{
	struct coordrole *r = role(api, req);
	char why[COORDROLE_ERR_MAX] = "", warn[COORDROLE_WARN_MAX] = "";
	struct coordrole_settings s = { 0 };
	struct json_in in = { 0 };
	struct json_err wrong;
	cJSON *v;
	int err;

	if (!r)
		return;
	v = json_parse((const char *)req->body, req->body_size, 0, &wrong);
	read_settings(&in, v, &s);
	if (!cJSON_IsObject(v) || in.err) {
		if (in.err == -ENOMEM || (!v && json_err_code(&wrong) == -ENOMEM))
			api_reply_error(api, req->token, 500, "out of memory", false);
		else
			api_reply_error(api, req->token, 400, "bad request", false);
		cJSON_Delete(v);
		return;
	}
	err = coordrole_enable(r, loop_clock(), &s, why, warn);
	cJSON_Delete(v); /* the settings pointed into it */
	if (err)
		api_reply_error(api, req->token, err == -EINVAL ? 400 : 409, *why ? why : strerror(-err), false);
	else
		reply_enabled(api, req, r, warn);
}

static void post_disable(struct api *api, const struct api_req *req)
{
	struct coordrole *r = role(api, req);
	char why[COORDROLE_ERR_MAX] = "";
	int err;

	if (!r)
		return;
	err = coordrole_disable(r, loop_clock(), why);
	if (err)
		api_reply_error(api, req->token, 500, *why ? why : strerror(-err), false);
	else
		coordrole_answer(r, req->token.id, "{}");
}

static void post_admin(struct api *api, const struct api_req *req)
{
	struct coordrole *r = role(api, req);
	const char *verb = strstr(req->path, BASE "admin/");

	if (!r)
		return;
	verb = verb ? verb + strlen(BASE "admin/") : "";
	coordrole_admin(r, loop_clock(), req->token.id, verb, (const char *)req->body, req->body_size);
}

void api_coord_reply(struct api *api, uint64_t call, unsigned status, const char *json, size_t size)
{
	const struct api_token token = { call };
	char *text;

	if (status == 200) {
		reply_json(api, token, json, size);
		return;
	}
	text = strndup(json, size);
	if (text)
		api_reply_text(api, token, (int)status, text);
	else
		api_reply_error(api, token, 500, "out of memory", false);
	free(text);
}

static const struct api_handler rows[] = {
	{ "GET", BASE "status", API_ANY, get_status },
	{ "POST", BASE "enable", API_ROOT, post_enable },
	{ "POST", BASE "disable", API_ROOT, post_disable },
	{ "POST", BASE "admin/", API_ROOT, post_admin },
};

const struct api_table api_coord_table = { rows, ARRAY_LEN(rows) };
