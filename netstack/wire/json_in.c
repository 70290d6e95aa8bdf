/* SPDX-License-Identifier: MIT */
/* Typed getters on a cJSON tree that json_parse() or json_tree() made. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"
#include "wire/rfc3339.h"

void json_fail(struct json_in *in, int err, const char *field, const char *reason)
{
	if (in->err)
		return;
	in->err = err;
	in->field = field;
	in->reason = reason;
}

const cJSON *json_get(const cJSON *obj, const char *key)
{
	const cJSON *v = obj ? cJSON_GetObjectItemCaseSensitive(obj, key) : NULL;

	return v && !cJSON_IsNull(v) ? v : NULL;
}

const cJSON *json_obj(struct json_in *in, const cJSON *obj, const char *key)
{
	const cJSON *v = json_get(obj, key);

	if (v && !cJSON_IsObject(v)) {
		json_fail(in, -EBADMSG, key, "is not an object");
		return NULL;
	}
	return v;
}

const cJSON *json_arr(struct json_in *in, const cJSON *obj, const char *key)
{
	const cJSON *v = json_get(obj, key);

	if (v && !cJSON_IsArray(v)) {
		json_fail(in, -EBADMSG, key, "is not a list");
		return NULL;
	}
	return v;
}

/* Text of a string value; null for anything else, also for an integer that was quoted on the way in. */
static const char *text_of(const cJSON *v)
{
	return cJSON_IsString(v) && v->valuestring[0] != JSON_BIG_MARK[0] ? v->valuestring : NULL;
}

const char *json_str(struct json_in *in, const cJSON *obj, const char *key)
{
	const cJSON *v = json_get(obj, key);
	const char *text;

	if (!v)
		return "";
	text = text_of(v);
	if (!text)
		json_fail(in, -EBADMSG, key, "is not a text");
	return text ? text : "";
}

static char *dup_text(const char *text)
{
	const size_t size = strlen(text) + 1;
	char *p = malloc(size);

	if (p)
		memcpy(p, text, size);
	return p;
}

char *json_dup(struct json_in *in, const cJSON *obj, const char *key)
{
	char *p = dup_text(json_str(in, obj, key));

	if (!p)
		json_fail(in, -ENOMEM, key, "out of memory");
	return p;
}

bool json_value_i64(const cJSON *v, int64_t *out)
{
	const char *p;
	bool neg;
	uint64_t u = 0;

	if (cJSON_IsNumber(v)) {
		/* At most 15 digits, or a fraction or exponent: a double is exact or no integer. */
		if (!(v->valuedouble >= -9223372036854775808.0 && v->valuedouble < 9223372036854775808.0))
			return false;
		*out = (int64_t)v->valuedouble;
		return (double)*out == v->valuedouble;
	}
	if (!cJSON_IsString(v) || v->valuestring[0] != JSON_BIG_MARK[0])
		return false;
	p = v->valuestring + 1;
	neg = *p == '-';
	p += neg;
	if (!*p)
		return false;
	for (; *p; p++) {
		if (*p < '0' || *p > '9' || __builtin_mul_overflow(u, 10, &u) ||
		    __builtin_add_overflow(u, (uint64_t)(*p - '0'), &u))
			return false;
	}
	if (u > (uint64_t)INT64_MAX + neg)
		return false;
	*out = neg ? (int64_t)(0 - u) : (int64_t)u;
	return true;
}

int64_t json_i64(struct json_in *in, const cJSON *obj, const char *key, int64_t lo, int64_t hi)
{
	const cJSON *v = json_get(obj, key);
	int64_t n;

	if (!v)
		return 0;
	if (!json_value_i64(v, &n)) {
		json_fail(in, -EBADMSG, key, "is not an integer");
		return 0;
	}
	if (n < lo || n > hi) {
		json_fail(in, -EBADMSG, key, "is out of range");
		return 0;
	}
	return n;
}

double json_double(struct json_in *in, const cJSON *obj, const char *key)
{
	const cJSON *v = json_get(obj, key);
	int64_t n;

	if (!v)
		return 0;
	if (cJSON_IsNumber(v))
		return v->valuedouble;
	if (json_value_i64(v, &n))
		return (double)n;
	json_fail(in, -EBADMSG, key, "is not a number");
	return 0;
}

bool json_bool(struct json_in *in, const cJSON *obj, const char *key)
{
	const cJSON *v = json_get(obj, key);

	if (v && !cJSON_IsBool(v))
		json_fail(in, -EBADMSG, key, "is neither true nor false");
	return cJSON_IsTrue(v);
}

void json_text(struct json_in *in, const cJSON *obj, const char *key, char *dst, size_t cap)
{
	const char *text = json_str(in, obj, key);
	const size_t len = strlen(text);

	if (len >= cap) {
		json_fail(in, -EBADMSG, key, "is too long");
		dst[0] = 0;
		return;
	}
	memcpy(dst, text, len + 1);
}

size_t json_len(const cJSON *v)
{
	const int n = cJSON_IsArray(v) || cJSON_IsObject(v) ? cJSON_GetArraySize(v) : 0;

	return n > 0 ? (size_t)n : 0;
}

char **json_strs(struct json_in *in, const cJSON *obj, const char *key, size_t *n)
{
	const cJSON *list = json_arr(in, obj, key), *v;
	const size_t len = json_len(list);
	char **texts;

	*n = 0;
	if (len == 0)
		return NULL;
	texts = calloc(len, sizeof(*texts));
	if (!texts) {
		json_fail(in, -ENOMEM, key, "out of memory");
		return NULL;
	}
	cJSON_ArrayForEach(v, list)
	{
		const char *text = text_of(v);

		texts[*n] = text ? dup_text(text) : NULL;
		if (!texts[*n]) {
			json_fail(in, text ? -ENOMEM : -EBADMSG, key,
				  text ? "out of memory" : "has an element that is not a text");
			break;
		}
		++*n;
	}
	if (*n < len) { /* all or nothing */
		while (*n > 0)
			free(texts[--*n]);
		free(texts);
		return NULL;
	}
	return texts;
}

void json_key(struct json_in *in, const cJSON *obj, const char *name, enum key_kind kind,
	      uint8_t raw[static KEY_SIZE])
{
	const char *text = json_str(in, obj, name);

	memset(raw, 0, KEY_SIZE);
	if (*text && key_parse(raw, kind, text, strlen(text)) != 0)
		json_fail(in, -EBADMSG, name, "is not a key of this kind");
}

int64_t json_time(struct json_in *in, const cJSON *obj, const char *key)
{
	const char *text = json_str(in, obj, key);
	int64_t s = 0;

	if (!*text)
		return 0;
	if (rfc3339_parse(&s, NULL, text, strlen(text)) != 0) {
		json_fail(in, -EBADMSG, key, "is not a time");
		return 0;
	}
	return s == RFC3339_ZERO_S ? 0 : s;
}
