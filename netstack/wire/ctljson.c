/* SPDX-License-Identifier: MIT */
/* Pieces that all bodies share, and the small bodies: key response, register, map request. Nodes are in
 * ctljson_node.c, filter and DERP map in ctljson_parts.c, the map response in ctljson_map.c. */
#include "wire/ctljson.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ctljson_priv.h"
#include "wire/rfc3339.h"

/* --- shared pieces --- */

void *ctljson_push(struct json_in *in, struct ctljson_list *l, size_t size)
{
	if (l->n == l->cap) {
		const size_t cap = l->cap ? 2 * l->cap : 4;
		void *p = realloc(l->p, cap * size);

		if (!p) {
			json_fail(in, -ENOMEM, NULL, "out of memory");
			return NULL;
		}
		l->p = p;
		l->cap = cap;
	}
	return memset((char *)l->p + l->n++ * size, 0, size);
}

int ctljson_result(const struct json_in *in, const char *where, struct ctl_why *why)
{
	if (in->err && why)
		(void)snprintf(why->text, sizeof(why->text), "%s%s%s%s%s", where ? where : "", where ? ": " : "",
			       in->field ? in->field : "", in->field ? " " : "", in->reason ? in->reason : "");
	return in->err;
}

int ctljson_json_err(const struct json_err *e, struct ctl_why *why)
{
	const int err = json_err_code(e);

	if (why && err == -ENOMEM)
		(void)snprintf(why->text, sizeof(why->text), "%s", e->reason);
	else if (why)
		(void)snprintf(why->text, sizeof(why->text), "not JSON at line %u, column %u: %s", e->line, e->col,
			       e->reason);
	return err;
}

cJSON *ctljson_body(const char *text, size_t size, size_t max, int *err, struct ctl_why *why)
{
	struct json_err e = { .reason = "too long" };
	cJSON *v = NULL;

	if (size <= max)
		v = json_parse(text, size, JSON_UNIQUE, &e);
	if (!v) {
		*err = ctljson_json_err(&e, why);
		return NULL;
	}
	if (!cJSON_IsObject(v)) {
		if (why)
			(void)snprintf(why->text, sizeof(why->text), "not an object");
		cJSON_Delete(v);
		*err = -EBADMSG;
		return NULL;
	}
	*err = 0;
	return v;
}

void ctljson_prefixes(struct json_in *in, const cJSON *obj, const char *key, struct prefix **out, size_t *n)
{
	const cJSON *list = json_arr(in, obj, key), *v;
	const size_t len = json_len(list);

	*out = NULL;
	*n = 0;
	if (len == 0)
		return;
	*out = calloc(len, sizeof(**out));
	if (!*out) {
		json_fail(in, -ENOMEM, key, "out of memory");
		return;
	}
	cJSON_ArrayForEach(v, list)
	{
		if (!cJSON_IsString(v) ||
		    prefix_parse(&(*out)[*n], v->valuestring, strlen(v->valuestring), false) != 0) {
			json_fail(in, -EBADMSG, key, "has an element that is not an address prefix");
			break;
		}
		++*n;
	}
}

void ctljson_endpoints(struct json_in *in, const cJSON *obj, const char *key, const cJSON *types_in,
		       struct ep **out, uint8_t **types, size_t *n)
{
	const cJSON *list = json_arr(in, obj, key), *v, *type = types_in ? types_in->child : NULL;
	size_t len = json_len(list);

	*out = NULL;
	*n = 0;
	if (types)
		*types = NULL;
	if (len == 0)
		return;
	len = len > MAP_ENDPOINTS_MAX ? MAP_ENDPOINTS_MAX : len;
	*out = calloc(len, sizeof(**out));
	if (types)
		*types = calloc(len, 1);
	if (!*out || (types && !*types)) {
		json_fail(in, -ENOMEM, key, "out of memory");
		return;
	}
	cJSON_ArrayForEach(v, list)
	{
		int64_t t = 0;

		if (*n == len)
			break;
		if (!cJSON_IsString(v)) {
			json_fail(in, -EBADMSG, key, "has an element that is not a text");
			break;
		}
		if (ep_parse(&(*out)[*n], v->valuestring, strlen(v->valuestring)) == 0) {
			if (types && type && json_value_i64(type, &t) && t >= 0 && t <= EP_TYPE_EXPLICIT)
				(*types)[*n] = (uint8_t)t;
			++*n;
		}
		type = type ? type->next : NULL;
	}
}

void ctljson_prefixes_write(struct json_w *w, const char *key, const struct prefix *p, size_t n)
{
	char text[PREFIX_TEXT_MAX];

	json_w_arr(w, key);
	for (size_t i = 0; i < n; i++)
		json_w_str(w, NULL, prefix_write(text, &p[i]));
	json_w_end(w);
}

void ctljson_eps_write(struct json_w *w, const char *key, const struct ep *eps, size_t n)
{
	char text[EP_TEXT_MAX];

	json_w_arr(w, key);
	for (size_t i = 0; i < n; i++)
		json_w_str(w, NULL, ep_write(text, &eps[i]));
	json_w_end(w);
}

enum tri ctljson_tri(struct json_in *in, const cJSON *obj, const char *key)
{
	if (!json_get(obj, key))
		return TRI_UNSET;
	return json_bool(in, obj, key) ? TRI_TRUE : TRI_FALSE;
}

void ctljson_tri_write(struct json_w *w, const char *key, enum tri v)
{
	if (v != TRI_UNSET)
		json_w_bool(w, key, v == TRI_TRUE);
}

void ctljson_str_write(struct json_w *w, const char *key, const char *text)
{
	if (text && *text)
		json_w_str(w, key, text);
}

void ctljson_flag_write(struct json_w *w, const char *key, bool v)
{
	if (v)
		json_w_bool(w, key, v);
}

bool ctljson_id(const char *text, int64_t *id)
{
	int64_t v = 0;

	if (!*text)
		return false;
	for (; *text; text++)
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, *text - '0', &v))
			return false;
	*id = v;
	return v > 0;
}

/* --- GET /key --- */

int ctl_key_response_parse(struct ctl_key_response *out, const char *text, size_t size, struct ctl_why *why)
{
	struct json_in in = { 0 };
	int err;
	cJSON *v = ctljson_body(text, size, CTLJSON_BODY_MAX, &err, why);

	*out = (struct ctl_key_response){ 0 };
	if (!v)
		return err;
	json_key(&in, v, "legacyPublicKey", KEY_MACHINE, out->legacy.b);
	json_key(&in, v, "publicKey", KEY_MACHINE, out->key.b);
	if (key_is_zero(out->key.b))
		json_fail(&in, -EBADMSG, "publicKey", "is missing");
	cJSON_Delete(v);
	if (in.err)
		*out = (struct ctl_key_response){ 0 };
	return ctljson_result(&in, NULL, why);
}

void ctl_key_response_write(struct json_w *w, const struct ctl_key_response *m)
{
	json_w_obj(w, NULL);
	json_w_key(w, "legacyPublicKey", KEY_MACHINE, m->legacy.b);
	json_w_key(w, "publicKey", KEY_MACHINE, m->key.b);
	json_w_end(w);
}

void ctl_early_write(struct json_w *w, const uint8_t challenge[static KEY_SIZE])
{
	json_w_obj(w, NULL);
	json_w_key(w, "nodeKeyChallenge", KEY_CHALLENGE, challenge);
	json_w_end(w);
}

/* --- POST /machine/register --- */

int ctl_register_request_parse(struct ctl_register_request *out, const char *text, size_t size, struct ctl_why *why)
{
	struct json_in in = { 0 };
	const cJSON *host;
	int err;
	cJSON *v = ctljson_body(text, size, CTLJSON_BODY_MAX, &err, why);

	*out = (struct ctl_register_request){ 0 };
	if (!v)
		return err;
	out->version = (int32_t)json_i64(&in, v, "Version", INT32_MIN, INT32_MAX);
	json_key(&in, v, "NodeKey", KEY_NODE, out->node.b);
	json_key(&in, v, "OldNodeKey", KEY_NODE, out->old_node.b);
	out->auth_key = json_dup(&in, json_obj(&in, v, "Auth"), "AuthKey");
	out->expiry_s = json_time(&in, v, "Expiry");
	out->has_expiry = out->expiry_s != 0;
	out->followup = json_dup(&in, v, "Followup");
	out->ephemeral = json_bool(&in, v, "Ephemeral");
	host = json_obj(&in, v, "Hostinfo");
	out->has_host = host != NULL;
	ctl_hostinfo_read(&in, host, &out->host);
	cJSON_Delete(v);
	if (in.err)
		ctl_register_request_wipe(out);
	return ctljson_result(&in, NULL, why);
}

void ctl_register_request_write(struct json_w *w, const struct ctl_register_request *m)
{
	json_w_obj(w, NULL);
	json_w_i64(w, "Version", m->version);
	json_w_key(w, "NodeKey", KEY_NODE, m->node.b);
	json_w_key(w, "OldNodeKey", KEY_NODE, m->old_node.b);
	if (m->auth_key && *m->auth_key) {
		json_w_obj(w, "Auth");
		json_w_str(w, "AuthKey", m->auth_key);
		json_w_end(w);
	}
	json_w_time(w, "Expiry", m->has_expiry ? m->expiry_s : 0);
	json_w_str(w, "Followup", m->followup ? m->followup : "");
	if (m->has_host)
		ctl_hostinfo_write(w, "Hostinfo", &m->host);
	ctljson_flag_write(w, "Ephemeral", m->ephemeral);
	json_w_null(w, "NodeKeySignature");
	json_w_end(w);
}

void ctl_register_request_wipe(struct ctl_register_request *m)
{
	if (m->auth_key)
		sodium_memzero(m->auth_key, strlen(m->auth_key));
	free(m->auth_key);
	free(m->followup);
	hostinfo_wipe(&m->host);
	*m = (struct ctl_register_request){ 0 };
}

int ctl_register_response_parse(struct ctl_register_response *out, const char *text, size_t size,
				struct ctl_why *why)
{
	struct json_in in = { 0 };
	const cJSON *user, *login;
	int err;
	cJSON *v = ctljson_body(text, size, CTLJSON_BODY_MAX, &err, why);

	*out = (struct ctl_register_response){ 0 };
	if (!v)
		return err;
	out->error = json_dup(&in, v, "Error");
	out->auth_url = json_dup(&in, v, "AuthURL");
	out->needs_resign = *json_str(&in, v, "NodeKeySignature") != 0;
	out->node_key_expired = json_bool(&in, v, "NodeKeyExpired");
	out->machine_authorized = json_bool(&in, v, "MachineAuthorized");
	user = json_obj(&in, v, "User");
	out->user_id = json_i64(&in, user, "ID", INT64_MIN, INT64_MAX);
	out->user_name = json_dup(&in, user, "DisplayName");
	login = json_obj(&in, v, "Login");
	out->login_name = json_dup(&in, login, "LoginName");
	cJSON_Delete(v);
	if (in.err)
		ctl_register_response_wipe(out);
	return ctljson_result(&in, NULL, why);
}

void ctl_register_response_write(struct json_w *w, const struct ctl_register_response *m)
{
	json_w_obj(w, NULL);
	json_w_obj(w, "User");
	json_w_i64(w, "ID", m->user_id);
	json_w_str(w, "DisplayName", m->user_name ? m->user_name : "");
	json_w_end(w);
	json_w_obj(w, "Login");
	json_w_i64(w, "ID", m->user_id);
	json_w_str(w, "Provider", "");
	json_w_str(w, "LoginName", m->login_name ? m->login_name : "");
	json_w_str(w, "DisplayName", m->user_name ? m->user_name : "");
	json_w_end(w);
	json_w_bool(w, "NodeKeyExpired", m->node_key_expired);
	json_w_bool(w, "MachineAuthorized", m->machine_authorized);
	json_w_str(w, "AuthURL", m->auth_url ? m->auth_url : "");
	json_w_str(w, "Error", m->error ? m->error : "");
	json_w_end(w);
}

void ctl_register_response_wipe(struct ctl_register_response *m)
{
	free(m->error);
	free(m->auth_url);
	free(m->user_name);
	free(m->login_name);
	*m = (struct ctl_register_response){ 0 };
}

/* --- POST /machine/map --- */

int ctl_map_request_parse(struct ctl_map_request *out, const char *text, size_t size, struct ctl_why *why)
{
	struct json_in in = { 0 };
	const cJSON *host;
	int err;
	cJSON *v = ctljson_body(text, size, CTLJSON_BODY_MAX, &err, why);

	*out = (struct ctl_map_request){ 0 };
	if (!v)
		return err;
	out->version = (int32_t)json_i64(&in, v, "Version", INT32_MIN, INT32_MAX);
	json_key(&in, v, "NodeKey", KEY_NODE, out->node.b);
	json_key(&in, v, "DiscoKey", KEY_DISCO, out->disco.b);
	out->stream = json_bool(&in, v, "Stream");
	out->omit_peers = json_bool(&in, v, "OmitPeers");
	out->keep_alive = json_bool(&in, v, "KeepAlive");
	out->zstd = strcmp(json_str(&in, v, "Compress"), "zstd") == 0;
	host = json_obj(&in, v, "Hostinfo");
	out->has_host = host != NULL;
	ctl_hostinfo_read(&in, host, &out->host);
	out->has_endpoints = json_get(v, "Endpoints") != NULL;
	ctljson_endpoints(&in, v, "Endpoints", json_arr(&in, v, "EndpointTypes"), &out->endpoints,
			  &out->endpoint_types, &out->n_endpoints);
	cJSON_Delete(v);
	if (in.err)
		ctl_map_request_wipe(out);
	return ctljson_result(&in, NULL, why);
}

void ctl_map_request_write(struct json_w *w, const struct ctl_map_request *m)
{
	json_w_obj(w, NULL);
	json_w_i64(w, "Version", m->version);
	ctljson_str_write(w, "Compress", m->zstd ? "zstd" : "");
	ctljson_flag_write(w, "KeepAlive", m->keep_alive);
	json_w_key(w, "NodeKey", KEY_NODE, m->node.b);
	if (!key_is_zero(m->disco.b))
		json_w_key(w, "DiscoKey", KEY_DISCO, m->disco.b);
	ctljson_flag_write(w, "Stream", m->stream);
	if (m->has_host)
		ctl_hostinfo_write(w, "Hostinfo", &m->host);
	if (m->has_endpoints) {
		ctljson_eps_write(w, "Endpoints", m->endpoints, m->n_endpoints);
		json_w_arr(w, "EndpointTypes");
		for (size_t i = 0; i < m->n_endpoints; i++)
			json_w_i64(w, NULL, m->endpoint_types ? m->endpoint_types[i] : EP_TYPE_UNKNOWN);
		json_w_end(w);
	}
	ctljson_flag_write(w, "OmitPeers", m->omit_peers);
	json_w_end(w);
}

void ctl_map_request_wipe(struct ctl_map_request *m)
{
	hostinfo_wipe(&m->host);
	free(m->endpoints);
	free(m->endpoint_types);
	*m = (struct ctl_map_request){ 0 };
}
