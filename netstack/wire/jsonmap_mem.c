/* SPDX-License-Identifier: MIT */
/* Memory of described structs: sizes, freeing, copying, comparing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/ep.h"
#include "base/key.h"
#include "wire/jsonmappriv.h"
#include "wire/mapdata.h"

size_t jsonmap_kind_size(const struct jsonmap_field *f)
{
	switch ((enum jsonmap_kind)f->kind) {
	case JM_BOOL:
		return sizeof(bool);
	case JM_I64:
	case JM_U64:
	case JM_TIME:
		return sizeof(int64_t);
	case JM_I32:
	case JM_U32:
		return sizeof(int32_t);
	case JM_U16:
	case JM_OPT_U16:
		return sizeof(uint16_t);
	case JM_F64:
		return sizeof(double);
	case JM_TRI:
		return sizeof(enum tri);
	case JM_IP:
	case JM_IPS:
		return sizeof(struct ip);
	case JM_EP:
	case JM_EPS:
		return sizeof(struct ep);
	case JM_PREFIXES:
		return sizeof(struct prefix);
	case JM_NODE_KEY:
		return sizeof(struct node_key);
	case JM_STR:
	case JM_RAW:
	case JM_STRS:
		return sizeof(char *);
	case JM_OBJ:
	case JM_OPT:
	case JM_LIST:
	case JM_MAP:
		return f->sub->size;
	}
	return 0;
}

bool jsonmap_is_list(const struct jsonmap_field *f)
{
	switch ((enum jsonmap_kind)f->kind) {
	case JM_STRS:
	case JM_IPS:
	case JM_PREFIXES:
	case JM_EPS:
	case JM_LIST:
	case JM_MAP:
		return true;
	case JM_STR:
	case JM_BOOL:
	case JM_I64:
	case JM_U64:
	case JM_I32:
	case JM_U32:
	case JM_U16:
	case JM_F64:
	case JM_TRI:
	case JM_TIME:
	case JM_IP:
	case JM_EP:
	case JM_NODE_KEY:
	case JM_RAW:
	case JM_OBJ:
	case JM_OPT:
	case JM_OPT_U16:
		return false;
	}
	return false;
}

void jsonmap_wipe_field(const struct jsonmap_field *f, void *obj)
{
	void *p = jsonmap_member(obj, f->off);

	if (jsonmap_is_list(f)) {
		size_t n = *jsonmap_count_of(f, obj), size = jsonmap_kind_size(f);
		char *list = jsonmap_list_of(f, obj);

		for (size_t i = 0; i < n && f->kind == JM_STRS; i++)
			free(jsonmap_get_ptr(list + i * size));
		for (size_t i = 0; i < n && f->sub; i++)
			jsonmap_wipe(f->sub, list + i * size);
		free(list);
		jsonmap_set_ptr(p, NULL);
		*jsonmap_count_of(f, obj) = 0;
		return;
	}
	if (f->kind == JM_STR || f->kind == JM_RAW) {
		free(jsonmap_get_ptr(p));
		jsonmap_set_ptr(p, NULL);
	} else if (f->kind == JM_OBJ) {
		jsonmap_wipe(f->sub, p);
	} else if (f->kind == JM_OPT) {
		if (jsonmap_get_ptr(p))
			jsonmap_wipe(f->sub, jsonmap_get_ptr(p));
		free(jsonmap_get_ptr(p));
		jsonmap_set_ptr(p, NULL);
	} else {
		memset(p, 0, jsonmap_kind_size(f));
		if (f->kind == JM_OPT_U16)
			*(bool *)jsonmap_member(obj, f->off_n) = false;
	}
}

void jsonmap_wipe(const struct jsonmap *m, void *obj)
{
	for (size_t i = 0; i < m->n_fields; i++)
		jsonmap_wipe_field(&m->fields[i], obj);
	memset(obj, 0, m->size);
}

static int copy_str(void *to, const char *from)
{
	char *s = from ? strdup(from) : NULL;

	jsonmap_set_ptr(to, s);
	return from && !s ? -ENOMEM : 0;
}

static int copy_list(const struct jsonmap_field *f, void *to, const void *from)
{
	size_t n = *jsonmap_count_of(f, from), size = jsonmap_kind_size(f), *done = jsonmap_count_of(f, to);
	const char *src = jsonmap_list_of(f, from);
	char *dst;
	int err;

	if (n == 0)
		return 0;
	dst = calloc(n, size);
	if (!dst)
		return -ENOMEM;
	jsonmap_set_ptr(jsonmap_member(to, f->off), dst);
	for (; *done < n; (*done)++) {
		size_t at = *done * size;

		if (f->sub)
			err = jsonmap_copy(f->sub, dst + at, src + at);
		else if (f->kind == JM_STRS)
			err = copy_str(dst + at, jsonmap_get_ptr(src + at));
		else
			err = (memcpy(dst + at, src + at, size), 0);
		if (err)
			return err;
	}
	return 0;
}

int jsonmap_copy_field(const struct jsonmap_field *f, void *to, const void *from)
{
	void *p = jsonmap_member(to, f->off);
	const void *q = jsonmap_member(from, f->off);
	int err = 0;

	jsonmap_wipe_field(f, to);
	if (jsonmap_is_list(f)) {
		err = copy_list(f, to, from);
	} else if (f->kind == JM_STR || f->kind == JM_RAW) {
		err = copy_str(p, jsonmap_get_ptr(q));
	} else if (f->kind == JM_OBJ) {
		err = jsonmap_copy(f->sub, p, q);
	} else if (f->kind == JM_OPT) {
		if (!jsonmap_get_ptr(q))
			return 0;
		jsonmap_set_ptr(p, calloc(1, f->sub->size));
		err = jsonmap_get_ptr(p) ? jsonmap_copy(f->sub, jsonmap_get_ptr(p), jsonmap_get_ptr(q)) : -ENOMEM;
	} else {
		memcpy(p, q, jsonmap_kind_size(f));
		if (f->kind == JM_OPT_U16)
			*(bool *)jsonmap_member(to, f->off_n) = *(const bool *)jsonmap_member(from, f->off_n);
	}
	if (err)
		jsonmap_wipe_field(f, to);
	return err;
}

int jsonmap_copy(const struct jsonmap *m, void *to, const void *from)
{
	for (size_t i = 0; i < m->n_fields; i++) {
		int err = jsonmap_copy_field(&m->fields[i], to, from);

		if (err) {
			jsonmap_wipe(m, to);
			return err;
		}
	}
	return 0;
}

static bool eq_str(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool eq_all(const struct jsonmap *m, const void *a, const void *b)
{
	for (size_t i = 0; i < m->n_fields; i++)
		if (!jsonmap_eq_field(&m->fields[i], a, b))
			return false;
	return true;
}

static bool eq_list(const struct jsonmap_field *f, const void *a, const void *b)
{
	size_t n = *jsonmap_count_of(f, a), size = jsonmap_kind_size(f);
	const char *x = jsonmap_list_of(f, a), *y = jsonmap_list_of(f, b);

	if (n != *jsonmap_count_of(f, b))
		return false;
	for (size_t i = 0; i < n; i++) {
		bool same;

		if (f->sub)
			same = eq_all(f->sub, x + i * size, y + i * size);
		else if (f->kind == JM_STRS)
			same = eq_str(jsonmap_get_ptr(x + i * size), jsonmap_get_ptr(y + i * size));
		else
			same = memcmp(x + i * size, y + i * size, size) == 0;
		if (!same)
			return false;
	}
	return true;
}

bool jsonmap_eq_field(const struct jsonmap_field *f, const void *a, const void *b)
{
	const void *p = jsonmap_member(a, f->off), *q = jsonmap_member(b, f->off);

	if (jsonmap_is_list(f))
		return eq_list(f, a, b);
	if (f->kind == JM_STR || f->kind == JM_RAW)
		return eq_str(jsonmap_get_ptr(p), jsonmap_get_ptr(q));
	if (f->kind == JM_OBJ)
		return eq_all(f->sub, p, q);
	if (f->kind == JM_OPT) {
		const void *x = jsonmap_get_ptr(p), *y = jsonmap_get_ptr(q);

		return x && y ? eq_all(f->sub, x, y) : x == y;
	}
	if (f->kind == JM_OPT_U16 &&
	    *(const bool *)jsonmap_member(a, f->off_n) != *(const bool *)jsonmap_member(b, f->off_n))
		return false;
	return memcmp(p, q, jsonmap_kind_size(f)) == 0;
}
