/* SPDX-License-Identifier: MIT */
/* The interpreter of struct descriptions: texts. One switch a direction; every kind appears in each of them,
 * and the compiler says when one is missing. Memory is in jsonmap_mem.c. */
#include "wire/jsonmap.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ep.h"
#include "base/key.h"
#include "wire/jsonmappriv.h"
#include "wire/mapdata.h"
#include "wire/rfc3339.h"

enum { LIST_MAX = 1 << 20 }; /* elements of one list: far above any answer of ours */

/* --- writing --- */

static bool all_zero(const void *p, size_t size)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < size; i++)
		if (b[i])
			return false;
	return true;
}

static bool is_empty(const struct jsonmap_field *f, const void *obj)
{
	if (jsonmap_is_list(f))
		return *jsonmap_count_of(f, obj) == 0;
	if (f->kind == JM_OPT_U16)
		return !*(const bool *)jsonmap_member(obj, f->off_n);
	if (f->kind == JM_STR) {
		const char *s = jsonmap_get_ptr(jsonmap_member(obj, f->off));

		return !s || !*s;
	}
	if (f->kind == JM_OPT)
		return !jsonmap_list_of(f, obj);
	return all_zero(jsonmap_member(obj, f->off), jsonmap_kind_size(f));
}

static void write_time(struct json_w *w, const char *key, int64_t unix_ns)
{
	char text[RFC3339_TEXT_MAX];
	int64_t s = unix_ns / 1000000000, ns = unix_ns % 1000000000;

	if (ns < 0) {
		ns += 1000000000;
		s--;
	}
	if (unix_ns == 0)
		s = RFC3339_ZERO_S;
	json_w_str(w, key, rfc3339_write(text, s, (int32_t)ns));
}

static void write_u64(struct json_w *w, const char *key, uint64_t v)
{
	char text[24];
	int n;

	if (v <= INT64_MAX) {
		json_w_i64(w, key, (int64_t)v);
		return;
	}
	n = snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	json_w_raw(w, key, text, (size_t)n);
}

static void write_tri(struct json_w *w, const char *key, enum tri v)
{
	switch (v) {
	case TRI_UNSET:
		json_w_null(w, key);
		return;
	case TRI_FALSE:
	case TRI_TRUE:
		json_w_bool(w, key, v == TRI_TRUE);
		return;
	}
}

static const char *ip_text(char text[static IP_TEXT_MAX], const struct ip *ip)
{
	return ip_is_set(ip) ? ip_write(text, ip) : "";
}

static const char *ep_text(char text[static EP_TEXT_MAX], const struct ep *ep)
{
	return ep_is_set(ep) ? ep_write(text, ep) : "";
}

/* JSON text inside a document: laid out in the document's style. */
static void write_raw(struct json_w *w, const char *key, const char *text)
{
	struct json_err e = { .reason = "" };
	cJSON *json = text ? json_parse(text, strlen(text), 0, &e) : NULL;

	if (!json && json_err_code(&e) == -ENOMEM)
		w->err = w->err ? w->err : -ENOMEM;
	if (json)
		json_w_tree(w, key, json);
	else
		json_w_null(w, key);
	cJSON_Delete(json);
}

static_assert((int)KEY_TEXT_MAX >= (int)EP_TEXT_MAX && (int)KEY_TEXT_MAX >= (int)PREFIX_TEXT_MAX,
	      "one buffer for all texts");

/* One value that is not a list: 'p' is its place. */
static void write_one(struct json_w *w, const char *key, const struct jsonmap_field *f, const void *p)
{
	char text[KEY_TEXT_MAX];
	const char *s;

	switch ((enum jsonmap_kind)f->kind) {
	case JM_STR:
	case JM_STRS:
		s = jsonmap_get_ptr(p);
		json_w_str(w, key, s ? s : "");
		break;
	case JM_BOOL:
		json_w_bool(w, key, *(const bool *)p);
		break;
	case JM_I64:
		json_w_i64(w, key, *(const int64_t *)p);
		break;
	case JM_U64:
		write_u64(w, key, *(const uint64_t *)p);
		break;
	case JM_I32:
		json_w_i64(w, key, *(const int32_t *)p);
		break;
	case JM_U32:
		json_w_i64(w, key, *(const uint32_t *)p);
		break;
	case JM_U16:
	case JM_OPT_U16:
		json_w_i64(w, key, *(const uint16_t *)p);
		break;
	case JM_F64:
		json_w_double(w, key, *(const double *)p);
		break;
	case JM_TRI:
		write_tri(w, key, *(const enum tri *)p);
		break;
	case JM_TIME:
		write_time(w, key, *(const int64_t *)p);
		break;
	case JM_IP:
	case JM_IPS:
		json_w_str(w, key, ip_text(text, p));
		break;
	case JM_EP:
	case JM_EPS:
		json_w_str(w, key, ep_text(text, p));
		break;
	case JM_PREFIXES:
		json_w_str(w, key, prefix_write(text, p));
		break;
	case JM_NODE_KEY:
		json_w_key(w, key, KEY_NODE, ((const struct node_key *)p)->b);
		break;
	case JM_RAW:
		write_raw(w, key, jsonmap_get_ptr(p));
		break;
	case JM_OBJ:
	case JM_LIST:
	case JM_MAP:
		jsonmap_write(w, key, f->sub, p);
		break;
	case JM_OPT:
		if (jsonmap_get_ptr(p))
			jsonmap_write(w, key, f->sub, jsonmap_get_ptr(p));
		else
			json_w_null(w, key);
		break;
	}
}

/* One entry of a JM_MAP, to be sorted by the text of its key as Go does. */
struct map_entry {
	char key[KEY_TEXT_MAX];
	const void *p;
};

static int entry_cmp(const void *a, const void *b)
{
	return strcmp(((const struct map_entry *)a)->key, ((const struct map_entry *)b)->key);
}

static void map_key_text(char text[static KEY_TEXT_MAX], const struct jsonmap_field *f, const void *obj)
{
	const void *p = jsonmap_member(obj, f->off);
	const char *s;

	switch ((enum jsonmap_kind)f->kind) {
	case JM_I64:
		(void)snprintf(text, KEY_TEXT_MAX, "%lld", (long long)*(const int64_t *)p);
		break;
	case JM_NODE_KEY:
		key_write(text, KEY_NODE, ((const struct node_key *)p)->b);
		break;
	case JM_STR:
		s = jsonmap_get_ptr(p);
		(void)snprintf(text, KEY_TEXT_MAX, "%s", s ? s : "");
		break;
	case JM_BOOL:
	case JM_U64:
	case JM_I32:
	case JM_U32:
	case JM_U16:
	case JM_F64:
	case JM_TRI:
	case JM_TIME:
	case JM_IP:
	case JM_EP:
	case JM_RAW:
	case JM_STRS:
	case JM_IPS:
	case JM_PREFIXES:
	case JM_EPS:
	case JM_OBJ:
	case JM_OPT:
	case JM_LIST:
	case JM_MAP:
	case JM_OPT_U16:
		assert(false && "a map is keyed by a number, a node key or a text");
		break;
	}
}

static void write_map(struct json_w *w, const struct jsonmap_field *f, const void *list, size_t n)
{
	const struct jsonmap_field *value = NULL;
	struct map_entry *entries = calloc(n ? n : 1, sizeof(*entries));

	if (!entries) {
		w->err = w->err ? w->err : -ENOMEM;
		return;
	}
	for (size_t i = 0; i < n; i++) {
		entries[i].p = (const char *)list + i * f->sub->size;
		map_key_text(entries[i].key, &f->sub->fields[0], entries[i].p);
	}
	qsort(entries, n, sizeof(*entries), entry_cmp);
	for (size_t i = 0; i < f->sub->n_fields; i++)
		if (f->sub->fields[i].flags & JM_VALUE)
			value = &f->sub->fields[i];
	json_w_obj(w, f->key);
	for (size_t i = 0; i < n; i++) {
		if (value)
			write_one(w, entries[i].key, value, jsonmap_member(entries[i].p, value->off));
		else
			jsonmap_write(w, entries[i].key, f->sub, entries[i].p);
	}
	json_w_end(w);
	free(entries);
}

static void write_list(struct json_w *w, const struct jsonmap_field *f, const void *obj)
{
	const char *list = jsonmap_list_of(f, obj);
	size_t n = *jsonmap_count_of(f, obj), size = jsonmap_kind_size(f);

	if (n == 0 && !(f->flags & JM_EMPTY)) {
		json_w_null(w, f->key);
		return;
	}
	if (f->kind == JM_MAP) {
		write_map(w, f, list, n);
		return;
	}
	json_w_arr(w, f->key);
	for (size_t i = 0; i < n; i++)
		write_one(w, NULL, f, list + i * size);
	json_w_end(w);
}

void jsonmap_write_field(struct json_w *w, const struct jsonmap_field *f, const void *obj)
{
	if (f->flags & JM_SKIP)
		return;
	if (is_empty(f, obj) && f->flags & JM_OMIT)
		return;
	if (jsonmap_is_list(f))
		write_list(w, f, obj);
	else if (f->kind == JM_OPT_U16 && is_empty(f, obj))
		json_w_null(w, f->key);
	else
		write_one(w, f->key, f, jsonmap_member(obj, f->off));
}

void jsonmap_write_members(struct json_w *w, const struct jsonmap *m, const void *obj)
{
	for (size_t i = 0; i < m->n_fields; i++)
		jsonmap_write_field(w, &m->fields[i], obj);
}

void jsonmap_write(struct json_w *w, const char *key, const struct jsonmap *m, const void *obj)
{
	json_w_obj(w, key);
	jsonmap_write_members(w, m, obj);
	json_w_end(w);
}

/* --- reading --- */

static int read_str(void *to, const cJSON *v)
{
	char *s;

	if (!cJSON_IsString(v))
		return -EBADMSG;
	s = strdup(v->valuestring);
	if (!s)
		return -ENOMEM;
	jsonmap_set_ptr(to, s);
	return 0;
}

static int read_range(const cJSON *v, int64_t lo, int64_t hi, int64_t *out)
{
	int64_t n;

	if (!json_value_i64(v, &n) || n < lo || n > hi)
		return -EBADMSG;
	*out = n;
	return 0;
}

/* Byte counters above 2^63 do not occur; numbers of more than 15 digits may come quoted. */
static int read_int(const struct jsonmap_field *f, void *p, const cJSON *v)
{
	int64_t n = 0;
	int err;

	if (f->kind == JM_I64)
		err = read_range(v, INT64_MIN, INT64_MAX, &n);
	else if (f->kind == JM_U64)
		err = read_range(v, 0, INT64_MAX, &n);
	else if (f->kind == JM_I32)
		err = read_range(v, INT32_MIN, INT32_MAX, &n);
	else if (f->kind == JM_U32)
		err = read_range(v, 0, UINT32_MAX, &n);
	else
		err = read_range(v, 0, UINT16_MAX, &n);
	if (err)
		return err;
	if (f->kind == JM_I64)
		*(int64_t *)p = n;
	else if (f->kind == JM_U64)
		*(uint64_t *)p = (uint64_t)n;
	else if (f->kind == JM_I32)
		*(int32_t *)p = (int32_t)n;
	else if (f->kind == JM_U32)
		*(uint32_t *)p = (uint32_t)n;
	else
		*(uint16_t *)p = (uint16_t)n;
	return 0;
}

static int read_tri(enum tri *to, const cJSON *v)
{
	if (cJSON_IsBool(v))
		*to = cJSON_IsTrue(v) ? TRI_TRUE : TRI_FALSE;
	else if (cJSON_IsString(v) && (!*v->valuestring || strcmp(v->valuestring, "unset") == 0))
		*to = TRI_UNSET;
	else if (cJSON_IsString(v) && strcmp(v->valuestring, "true") == 0)
		*to = TRI_TRUE;
	else if (cJSON_IsString(v) && strcmp(v->valuestring, "false") == 0)
		*to = TRI_FALSE;
	else
		return -EBADMSG;
	return 0;
}

static int read_time(int64_t *to, const cJSON *v)
{
	int64_t s, ns;
	int32_t frac;

	if (!cJSON_IsString(v) || rfc3339_parse(&s, &frac, v->valuestring, strlen(v->valuestring)))
		return -EBADMSG;
	if (s == RFC3339_ZERO_S)
		ns = 0;
	else if (__builtin_mul_overflow(s, INT64_C(1000000000), &ns) ||
		 __builtin_add_overflow(ns, (int64_t)frac, &ns))
		ns = s < 0 ? INT64_MIN : INT64_MAX;
	*to = ns;
	return 0;
}

/* Texts of addresses: "" is the unset value. */
static int read_addr(const struct jsonmap_field *f, void *p, const cJSON *v)
{
	const char *s;
	size_t len;

	if (!cJSON_IsString(v))
		return -EBADMSG;
	s = v->valuestring;
	len = strlen(s);
	if (f->kind == JM_PREFIXES)
		return prefix_parse(p, s, len, true);
	if (len == 0) {
		memset(p, 0, jsonmap_kind_size(f));
		return 0;
	}
	if (f->kind == JM_IP || f->kind == JM_IPS)
		return ip_parse(p, s, len);
	if (f->kind == JM_EP || f->kind == JM_EPS)
		return ep_parse(p, s, len);
	return key_parse(((struct node_key *)p)->b, KEY_NODE, s, len);
}

static int read_raw(void *to, const cJSON *v)
{
	struct json_w w = { 0 };
	size_t size;
	char *s;

	json_w_tree(&w, NULL, v);
	s = json_w_take(&w, &size);
	if (!s)
		return -ENOMEM;
	jsonmap_set_ptr(to, s);
	return 0;
}

/* One value into an empty place. */
static int read_one(const struct jsonmap_field *f, void *p, const cJSON *v)
{
	switch ((enum jsonmap_kind)f->kind) {
	case JM_STR:
	case JM_STRS:
		return read_str(p, v);
	case JM_BOOL:
		if (!cJSON_IsBool(v))
			return -EBADMSG;
		*(bool *)p = cJSON_IsTrue(v);
		return 0;
	case JM_I64:
	case JM_U64:
	case JM_I32:
	case JM_U32:
	case JM_U16:
	case JM_OPT_U16:
		return read_int(f, p, v);
	case JM_F64:
		if (!cJSON_IsNumber(v))
			return -EBADMSG;
		*(double *)p = v->valuedouble;
		return 0;
	case JM_TRI:
		return read_tri(p, v);
	case JM_TIME:
		return read_time(p, v);
	case JM_IP:
	case JM_EP:
	case JM_NODE_KEY:
	case JM_IPS:
	case JM_PREFIXES:
	case JM_EPS:
		return read_addr(f, p, v);
	case JM_RAW:
		return read_raw(p, v);
	case JM_OBJ:
	case JM_LIST:
	case JM_MAP:
		return jsonmap_read(f->sub, p, v, NULL);
	case JM_OPT:
		jsonmap_set_ptr(p, calloc(1, f->sub->size));
		return jsonmap_get_ptr(p) ? jsonmap_read(f->sub, jsonmap_get_ptr(p), v, NULL) : -ENOMEM;
	}
	return -EBADMSG;
}

/* The name of a member as the key of a map: a number, a node key or a text. */
static int read_map_key(const struct jsonmap_field *f, void *elem, const char *name)
{
	cJSON text = { .type = cJSON_String, .valuestring = (char *)(uintptr_t)name };
	char *end;
	long long n;

	if (f->kind != JM_I64)
		return jsonmap_read_field(f, elem, &text);
	errno = 0;
	n = strtoll(name, &end, 10);
	if (errno || end == name || *end)
		return -EBADMSG;
	*(int64_t *)jsonmap_member(elem, f->off) = n;
	return 0;
}

/* Key and value of one member of a JM_MAP into '*elem'. */
static int read_map_elem(const struct jsonmap *sub, void *elem, const cJSON *v)
{
	const struct jsonmap_field *key = &sub->fields[0], *value = NULL;
	int err;

	for (size_t i = 0; i < sub->n_fields; i++)
		if (sub->fields[i].flags & JM_VALUE)
			value = &sub->fields[i];
	if (!value)
		return jsonmap_read(sub, elem, v, NULL);
	err = read_map_key(key, elem, v->string);
	return err ? err : jsonmap_read_field(value, elem, v);
}

static int read_list(const struct jsonmap_field *f, void *obj, const cJSON *v)
{
	bool is_map = f->kind == JM_MAP;
	size_t size = jsonmap_kind_size(f), len = json_len(v);
	size_t *n = jsonmap_count_of(f, obj);
	const cJSON *it;
	int err = 0;
	char *list;

	if (is_map ? !cJSON_IsObject(v) : !cJSON_IsArray(v))
		return -EBADMSG;
	if (len > LIST_MAX)
		return -EBADMSG;
	if (len == 0)
		return 0;
	list = calloc(len, size);
	if (!list)
		return -ENOMEM;
	jsonmap_set_ptr(jsonmap_member(obj, f->off), list);
	cJSON_ArrayForEach(it, v) {
		if (is_map)
			err = read_map_elem(f->sub, list + *n * size, it);
		else
			err = read_one(f, list + *n * size, it);
		if (err) {
			if (f->sub)
				jsonmap_wipe(f->sub, list + *n * size);
			return err;
		}
		(*n)++;
	}
	return 0;
}

int jsonmap_read_field(const struct jsonmap_field *f, void *obj, const cJSON *value)
{
	int err = 0;

	jsonmap_wipe_field(f, obj);
	if (cJSON_IsNull(value))
		return 0;
	if (jsonmap_is_list(f))
		err = read_list(f, obj, value);
	else
		err = read_one(f, jsonmap_member(obj, f->off), value);
	if (!err && f->kind == JM_OPT_U16)
		*(bool *)jsonmap_member(obj, f->off_n) = true;
	if (err)
		jsonmap_wipe_field(f, obj);
	return err;
}

int jsonmap_read(const struct jsonmap *m, void *obj, const cJSON *json, const char **bad_key)
{
	const cJSON *v;
	int err = 0;

	if (bad_key)
		*bad_key = NULL;
	if (!cJSON_IsObject(json))
		return -EBADMSG;
	cJSON_ArrayForEach(v, json) {
		for (size_t i = 0; i < m->n_fields; i++) {
			const struct jsonmap_field *f = &m->fields[i];

			if (f->flags & JM_SKIP || strcmp(f->key, v->string) != 0)
				continue;
			err = jsonmap_read_field(f, obj, v);
			if (err && bad_key)
				*bad_key = f->key;
			break;
		}
		if (err) {
			jsonmap_wipe(m, obj);
			return err;
		}
	}
	return 0;
}

int jsonmap_parse(const struct jsonmap *m, void *obj, const char *text, size_t len, const char **bad_key)
{
	struct json_err e;
	cJSON *json = json_parse(text, len, 0, &e);
	int err;

	if (bad_key)
		*bad_key = NULL;
	if (!json)
		return json_err_code(&e);
	err = jsonmap_read(m, obj, json, bad_key);
	cJSON_Delete(json);
	return err;
}

/* --- whole texts --- */

int jsonmap_finish(struct json_w *w, struct bytes *out)
{
	size_t size;
	char *text = json_w_take(w, &size);
	int err;

	if (!text)
		return -ENOMEM;
	err = bytes_append(out, text, size);
	free(text);
	return err;
}

int jsonmap_relayout(struct bytes *out, const char *text, size_t len, const char *indent)
{
	struct json_w w = { .indent = indent };
	struct json_err e;
	cJSON *json = json_parse(text, len, 0, &e);

	if (!json)
		return json_err_code(&e);
	json_w_tree(&w, NULL, json);
	cJSON_Delete(json);
	return jsonmap_finish(&w, out);
}
