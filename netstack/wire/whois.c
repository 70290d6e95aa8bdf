/* SPDX-License-Identifier: MIT */
/* Nodes are shown in the control protocol's form, which wire/ctljson writes. */
#include "wire/whois.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/ctljson.h"
#include "wire/jsonmap.h"

static void write_caps(struct json_w *w, const struct map_cap *caps, size_t n_caps)
{
	json_w_obj(w, "CapMap");
	for (size_t i = 0; i < n_caps; i++) {
		json_w_arr(w, caps[i].name);
		for (size_t j = 0; j < caps[i].n_values; j++) {
			const char *text = caps[i].values[j];
			struct json_err why = { .reason = "" };
			cJSON *v = json_parse(text, strlen(text), 0, &why);

			if (!v && json_err_code(&why) == -ENOMEM && !w->err)
				w->err = -ENOMEM;
			json_w_tree(w, NULL, v);
			cJSON_Delete(v);
		}
		json_w_end(w);
	}
	json_w_end(w);
}

int whois_write(struct bytes *out, const struct map_node *node, const struct user_profile *user,
		const struct map_cap *caps, size_t n_caps, const char *indent)
{
	struct json_w w = { .indent = indent };

	json_w_obj(&w, NULL);
	ctl_node_write(&w, "Node", node);
	json_w_obj(&w, "UserProfile");
	json_w_i64(&w, "ID", user ? user->id : node->user);
	json_w_str(&w, "LoginName", user ? user->login_name : "");
	json_w_str(&w, "DisplayName", user ? user->display_name : "");
	if (user && user->profile_pic_url && *user->profile_pic_url)
		json_w_str(&w, "ProfilePicURL", user->profile_pic_url);
	json_w_end(&w);
	write_caps(&w, caps, n_caps);
	json_w_end(&w);
	return jsonmap_finish(&w, out);
}

int whois_write_derp_map(struct bytes *out, const struct derp_map *map, const char *indent)
{
	struct json_w w = { .indent = indent };

	ctl_derp_map_write(&w, NULL, map);
	return jsonmap_finish(&w, out);
}

static const struct jsonmap_field cap_fields[] = {
	JM_FIELD(struct whois_cap, JM_STR, "", name, JM_SKIP),
	JM_FIELD(struct whois_cap, JM_RAW, "", values, JM_VALUE),
};

static const struct jsonmap cap_map = JM_TABLE(struct whois_cap, cap_fields);

#define F(kind, key, member) JM_FIELD(struct whois, kind, key, member, 0)
#define L(kind, key, member) JM_COUNTED(struct whois, kind, key, member, n_##member, 0, NULL)

static const struct jsonmap_field node_fields[] = {
	F(JM_STR, "Name", name),
	F(JM_STR, "StableID", stable_id),
	L(JM_PREFIXES, "Addresses", addrs),
	L(JM_PREFIXES, "AllowedIPs", allowed_ips),
	L(JM_STRS, "Tags", tags),
};

static const struct jsonmap_field user_fields[] = {
	F(JM_STR, "LoginName", login_name),
	F(JM_I64, "ID", user_id),
};

static const struct jsonmap_field cap_list =
	JM_COUNTED(struct whois, JM_MAP, "CapMap", caps, n_caps, 0, &cap_map);

static int read_part(struct whois *w, const cJSON *obj, const struct jsonmap_field *fields, size_t n)
{
	int err = 0;

	for (size_t i = 0; !err && i < n; i++) {
		const cJSON *v = json_get(obj, fields[i].key);

		if (v)
			err = jsonmap_read_field(&fields[i], w, v);
	}
	return err;
}

static int cap_cmp(const void *a, const void *b)
{
	return strcmp(((const struct whois_cap *)a)->name, ((const struct whois_cap *)b)->name);
}

int whois_parse(struct whois *w, const char *text, size_t len)
{
	struct json_err why;
	cJSON *json = json_parse(text, len, 0, &why);
	int err = !json ? json_err_code(&why) : cJSON_IsObject(json) ? 0 : -EBADMSG;

	if (!err)
		err = read_part(w, json_get(json, "Node"), node_fields, ARRAY_LEN(node_fields));
	if (!err)
		err = read_part(w, json_get(json, "UserProfile"), user_fields, ARRAY_LEN(user_fields));
	if (!err)
		err = read_part(w, json, &cap_list, 1);
	cJSON_Delete(json);
	if (err)
		whois_wipe(w);
	else if (w->n_caps)
		qsort(w->caps, w->n_caps, sizeof(*w->caps), cap_cmp);
	return err;
}

void whois_wipe(struct whois *w)
{
	for (size_t i = 0; i < ARRAY_LEN(node_fields); i++)
		jsonmap_wipe_field(&node_fields[i], w);
	jsonmap_wipe_field(&user_fields[0], w);
	jsonmap_wipe_field(&cap_list, w);
	memset(w, 0, sizeof(*w));
}
