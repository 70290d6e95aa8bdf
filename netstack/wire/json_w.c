/* SPDX-License-Identifier: MIT */
/* The JSON text writer. Escapes as the reference implementation does ('<', '>', '&' too), so that texts of both
 * can be compared. */
#include <errno.h>
#include <math.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"
#include "wire/rfc3339.h"

static void put(struct json_w *w, const char *text, size_t size)
{
	if (!w->err)
		w->err = bytes_append(&w->out, text, size);
}

static void puts_(struct json_w *w, const char *text)
{
	put(w, text, strlen(text));
}

static void newline(struct json_w *w)
{
	if (!w->indent)
		return;
	put(w, "\n", 1);
	for (uint32_t i = 0; i < w->depth; i++)
		puts_(w, w->indent);
}

/* Escape sequence of the character at 'p' of 'n' bytes (0: a byte that is not UTF-8), or null if it goes out
 * as it is. */
static const char *escape(char buf[static 8], unsigned char c, uint32_t cp, size_t n)
{
	if (n == 0)
		return "\\ufffd";
	if (cp == 0x2028 || cp == 0x2029 || c == '<' || c == '>' || c == '&') {
		(void)snprintf(buf, 8, "\\u%04x", cp);
		return buf;
	}
	if (c >= 0x20)
		return c == '"' ? "\\\"" : c == '\\' ? "\\\\" : NULL;
	switch (c) {
	case '\n':
		return "\\n";
	case '\r':
		return "\\r";
	case '\t':
		return "\\t";
	default:
		(void)snprintf(buf, 8, "\\u%04x", c);
		return buf;
	}
}

/* Text inside quotes. Runs of harmless bytes go out in one piece. */
static void put_text(struct json_w *w, const char *text, size_t len)
{
	const char *p = text, *from = text, *const end = text + len;

	put(w, "\"", 1);
	while ((p += json_plain(p, end)) < end) {
		uint32_t cp = 0;
		const size_t n = json_utf8(p, end, &cp);
		char buf[8];
		const char *esc = escape(buf, (unsigned char)*p, cp, n);

		p += n ? n : 1;
		if (!esc)
			continue;
		put(w, from, (size_t)(p - from) - (n ? n : 1));
		puts_(w, esc);
		from = p;
	}
	put(w, from, (size_t)(end - from));
	put(w, "\"", 1);
}

/* Everything that stands before a value. */
static void begin(struct json_w *w, const char *key)
{
	if (w->has_item)
		put(w, ",", 1);
	if (w->depth > 0)
		newline(w);
	w->has_item = true;
	if (!key)
		return;
	put_text(w, key, strlen(key));
	puts_(w, w->indent ? ": " : ":");
}

static void open_level(struct json_w *w, const char *key, bool is_array)
{
	begin(w, key);
	put(w, is_array ? "[" : "{", 1);
	if (w->depth >= JSON_DEPTH_MAX && !w->err)
		w->err = -ENOBUFS; /* nobody could read it back */
	w->is_array = w->is_array << 1 | is_array;
	w->depth++;
	w->has_item = false;
}

void json_w_obj(struct json_w *w, const char *key)
{
	open_level(w, key, false);
}

void json_w_arr(struct json_w *w, const char *key)
{
	open_level(w, key, true);
}

void json_w_end(struct json_w *w)
{
	const bool is_array = w->is_array & 1;

	if (w->depth == 0)
		return;
	w->depth--;
	if (w->has_item)
		newline(w);
	put(w, is_array ? "]" : "}", 1);
	w->is_array >>= 1;
	w->has_item = true;
}

void json_w_strn(struct json_w *w, const char *key, const char *text, size_t len)
{
	begin(w, key);
	put_text(w, text, len);
}

void json_w_str(struct json_w *w, const char *key, const char *text)
{
	if (text)
		json_w_strn(w, key, text, strlen(text));
	else
		json_w_null(w, key);
}

void json_w_raw(struct json_w *w, const char *key, const char *json, size_t size)
{
	begin(w, key);
	put(w, json, size);
}

void json_w_i64(struct json_w *w, const char *key, int64_t v)
{
	char text[24], *p = text + sizeof(text);
	uint64_t left = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

	do
		*--p = (char)('0' + left % 10);
	while (left /= 10);
	if (v < 0)
		*--p = '-';
	json_w_raw(w, key, p, (size_t)(text + sizeof(text) - p));
}

void json_w_double(struct json_w *w, const char *key, double v)
{
	char text[40];

	if (!isfinite(v)) {
		json_w_null(w, key);
		return;
	}
	/* The shortest of the two forms that reads back the same. */
	(void)snprintf(text, sizeof(text), "%.15g", v);
	if (strtod(text, NULL) != v)
		(void)snprintf(text, sizeof(text), "%.17g", v);
	json_w_raw(w, key, text, strlen(text));
}

void json_w_bool(struct json_w *w, const char *key, bool v)
{
	json_w_raw(w, key, v ? "true" : "false", v ? 4 : 5);
}

void json_w_null(struct json_w *w, const char *key)
{
	json_w_raw(w, key, "null", 4);
}

void json_w_strs(struct json_w *w, const char *key, char *const *texts, size_t n)
{
	json_w_arr(w, key);
	for (size_t i = 0; i < n; i++)
		json_w_str(w, NULL, texts[i]);
	json_w_end(w);
}

void json_w_key(struct json_w *w, const char *key, enum key_kind kind, const uint8_t raw[static KEY_SIZE])
{
	char text[KEY_TEXT_MAX];

	key_write(text, kind, raw);
	json_w_str(w, key, text);
	if (kind == KEY_PRIVATE)
		sodium_memzero(text, sizeof(text));
}

void json_w_time(struct json_w *w, const char *key, int64_t unix_s)
{
	char text[RFC3339_TEXT_MAX];

	json_w_str(w, key, rfc3339_write(text, unix_s ? unix_s : RFC3339_ZERO_S, 0));
}

/* A value that is no container. */
static void put_leaf(struct json_w *w, const char *key, const cJSON *v)
{
	int64_t n;

	if (json_value_i64(v, &n)) {
		json_w_i64(w, key, n);
	} else if (cJSON_IsString(v) && v->valuestring[0] == JSON_BIG_MARK[0]) {
		/* An integer beyond 64 bits: as it came. */
		json_w_raw(w, key, v->valuestring + 1, strlen(v->valuestring + 1));
	} else if (cJSON_IsString(v)) {
		json_w_str(w, key, v->valuestring);
	} else if (cJSON_IsNumber(v)) {
		json_w_double(w, key, v->valuedouble);
	} else if (cJSON_IsBool(v)) {
		json_w_bool(w, key, cJSON_IsTrue(v));
	} else if (cJSON_IsRaw(v)) {
		json_w_raw(w, key, v->valuestring, strlen(v->valuestring));
	} else {
		json_w_null(w, key);
	}
}

void json_w_tree(struct json_w *w, const char *key, const cJSON *v)
{
	const cJSON *up[JSON_DEPTH_MAX];
	size_t depth = 0;

	while (v && !w->err) {
		const bool is_array = cJSON_IsArray(v);

		if (is_array || cJSON_IsObject(v)) {
			if (depth == JSON_DEPTH_MAX) {
				w->err = -ENOBUFS;
				return;
			}
			open_level(w, key, is_array);
			up[depth++] = v;
			v = v->child;
		} else {
			put_leaf(w, key, v);
			v = depth ? v->next : NULL;
		}
		while (!v && depth > 0) { /* the end of a container */
			json_w_end(w);
			v = --depth > 0 ? up[depth]->next : NULL;
			if (depth == 0)
				return;
		}
		key = v ? v->string : NULL;
		if (depth > 0 && cJSON_IsArray(up[depth - 1]))
			key = NULL;
	}
}

char *json_w_take(struct json_w *w, size_t *size)
{
	char *text = NULL;

	if (!w->err)
		w->err = bytes_append(&w->out, "", 1);
	if (!w->err) {
		/* The head is 0: nothing was ever consumed. */
		text = (char *)w->out.buf;
		if (size)
			*size = w->out.tail - 1;
		w->out = (struct bytes){ 0 };
	}
	json_w_wipe(w);
	return text;
}

void json_w_wipe(struct json_w *w)
{
	const char *indent = w->indent;

	bytes_wipe(&w->out);
	*w = (struct json_w){ .indent = indent };
}
