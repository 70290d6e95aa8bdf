/* SPDX-License-Identifier: MIT */
/* wire/json and wire/rfc3339: what is refused and where, exact integers, walking, writing. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "wire/json.h"
#include "wire/rfc3339.h"

static int check(const char *text, unsigned flags, struct json_err *err)
{
	return json_check(text, strlen(text), flags, err);
}

static void json_check_accepts_exactly_json(void **state)
{
	static const char *const good[] = { "0", "-0.5e+3", "\"\"", "null", " [ ] ", "{\"a\":{\"b\":[1,true,false]}}",
					    "\"\\u00e9\\n\\/\"", "[[],{},\"\"]" };
	static const char *const bad[] = { "", " ", "01", "+1", "1.", ".5", "1e", "nul", "tru", "[1,]", "{,}", "[,]",
					   "{\"a\"}", "{\"a\":}", "{a:1}", "{\"a\":1,}", "[1 2]", "1 2", "[", "]", "{]",
					   "\"", "\"\\x\"", "\"\\u12g4\"", "\"a\nb\"", "// c\n1", "[1]//", "-", "\x01",
					   "[1}", "{\"a\":1]", "{\"a\" 1}", "{1:2}", "'a'" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		if (check(good[i], JSON_UNIQUE, NULL) != 0)
			fail_msg("refused: %s", good[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct json_err err = { 0 };

		if (check(bad[i], 0, &err) != -EBADMSG || !err.reason || err.offset > strlen(bad[i]))
			fail_msg("accepted: %s", bad[i]);
	}
}

static void json_depth_is_bounded(void **state)
{
	char text[2 * JSON_DEPTH_MAX + 4];

	(void)state;
	memset(text, '[', JSON_DEPTH_MAX);
	memset(text + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
	assert_int_equal(json_check(text, 2 * JSON_DEPTH_MAX, 0, NULL), 0);
	memset(text, '[', JSON_DEPTH_MAX + 1);
	memset(text + JSON_DEPTH_MAX + 1, ']', JSON_DEPTH_MAX + 1);
	assert_int_equal(json_check(text, 2 * JSON_DEPTH_MAX + 2, 0, NULL), -EBADMSG);
}

static void json_error_names_line_and_column(void **state)
{
	static const char text[] = "{\n  // who\n  \"a\": [1, 2],\n  \"b\" 3\n}";
	struct json_err err;

	(void)state;
	assert_int_equal(check(text, JSON_HUJSON, &err), -EBADMSG);
	assert_int_equal(err.line, 4);
	assert_int_equal(err.col, 7);
	assert_string_equal(err.reason, "expected ':' after a name");
}

static void json_unique_finds_duplicates_however_spelled(void **state)
{
	static const char *const twice[] = { "{\"a\":1,\"b\":2,\"a\":3}", "{\"a\":1,\"\\u0061\":2}",
					     "{\"x\":[{\"k\":1,\"k\":1}]}", "{\"\xc3\xa9\":1,\"\\u00e9\":1}",
					     "{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":1}" };
	struct json_err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(twice); i++) {
		assert_int_equal(check(twice[i], 0, NULL), 0);
		assert_int_equal(check(twice[i], JSON_UNIQUE, NULL), -EBADMSG);
	}
	assert_int_equal(check("{\"a\":{\"a\":1},\"b\":{\"a\":1}}", JSON_UNIQUE, NULL), 0);
	assert_int_equal(check("{\"ab\":1,\n\"ab\":2}", JSON_UNIQUE, &err), -EBADMSG);
	assert_int_equal(err.line, 2);
	assert_int_equal(err.col, 1);
}

static void json_unique_agrees_with_a_slow_model(void **state)
{
	enum { MANY = 80 };
	struct test_env env;

	(void)state;
	test_env_init(&env, 7);
	for (int round = 0; round < 1000; round++) {
		/* Few names and many, which are looked at in two ways; some rounds have names with escapes. */
		size_t n = test_random(&env) % (round % 2 ? MANY : 12), at = 0;
		const unsigned range = round % 2 ? MANY * MANY : 40;
		const bool may_escape = test_random(&env) % 4 == 0;
		unsigned names[MANY];
		char text[MANY * 24];
		bool dup = false;

		text[at++] = '{';
		for (size_t i = 0; i < n; i++) {
			const char *spelled = may_escape && test_random(&env) % 8 == 0 ? "\\u006e" : "n";

			names[i] = (unsigned)(test_random(&env) % range);
			for (size_t k = 0; k < i; k++)
				dup = dup || names[k] == names[i];
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s\"%s%u\":0", i ? "," : "", spelled,
					       names[i]);
		}
		text[at++] = '}';
		assert_int_equal(json_check(text, at, JSON_UNIQUE, NULL), dup ? -EBADMSG : 0);
	}
}

static void json_integers_are_exact(void **state)
{
	static const struct {
		const char *text;
		int64_t v;
		bool ok;
	} row[] = {
		{ "9223372036854775807", INT64_MAX, true },
		{ "-9223372036854775808", INT64_MIN, true },
		{ "9223372036854775808", 0, false },
		{ "-9223372036854775809", 0, false },
		{ "9007199254740993", INT64_C(9007199254740993), true },
		{ "999999999999999", INT64_C(999999999999999), true },
		{ "1e3", 1000, true },
		{ "1.5", 0, false },
		{ "1e300", 0, false },
		{ "99999999999999999999999999", 0, false },
		{ "\"9007199254740993\"", 0, false },
		{ "\"\\u00019007199254740993\"", 0, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct json_in in = { 0 };
		char text[64];
		cJSON *v;
		int64_t got;

		(void)snprintf(text, sizeof(text), "{\"n\":%s}", row[i].text);
		v = json_parse(text, strlen(text), 0, NULL);
		assert_non_null(v);
		got = json_i64(&in, v, "n", INT64_MIN, INT64_MAX);
		if ((in.err == 0) != row[i].ok || got != row[i].v)
			fail_msg("%s: %lld, error %d", row[i].text, (long long)got, in.err);
		cJSON_Delete(v);
	}
}

static void json_hujson_gives_the_plain_tree(void **state)
{
	static const char text[] = "// head\n{ /* a */ \"a\" /**/ : [1, 2, /* x */ ], \"b\": \"// no comment\", // end\n}";
	cJSON *v;
	char *plain;

	(void)state;
	assert_null(json_parse(text, strlen(text), 0, NULL));
	v = json_parse(text, strlen(text), JSON_HUJSON, NULL);
	assert_non_null(v);
	plain = cJSON_PrintUnformatted(v);
	assert_string_equal(plain, "{\"a\":[1,2],\"b\":\"// no comment\"}");
	free(plain);
	cJSON_Delete(v);
}

static void json_strings_are_whole_utf8(void **state)
{
	static const char text[] = "[\"a\\u0000b\",\"\\ud800\",\"\xff\xc3\xa9\",\"\\ud83d\\ude00\"]";
	cJSON *v = json_parse(text, strlen(text), 0, NULL);

	(void)state;
	assert_non_null(v);
	assert_string_equal(cJSON_GetArrayItem(v, 0)->valuestring, "a\xef\xbf\xbd" "b");
	assert_string_equal(cJSON_GetArrayItem(v, 1)->valuestring, "\xef\xbf\xbd");
	assert_string_equal(cJSON_GetArrayItem(v, 2)->valuestring, "?\xc3\xa9");
	assert_string_equal(cJSON_GetArrayItem(v, 3)->valuestring, "\xf0\x9f\x98\x80");
	cJSON_Delete(v);
}

static void json_iter_walks_members_and_elements(void **state)
{
	static const char text[] = "{\"a\": [1,{\"x\":[2]} ,\"]\"], /* c */ \"b\":-1.5,\"c\":null,}";
	const struct json_span all = { .p = text, .size = strlen(text) };
	struct json_span name, v;
	struct json_iter it, in;

	(void)state;
	assert_int_equal(json_check(text, all.size, JSON_HUJSON, NULL), 0);
	assert_true(json_iter_init(&it, all));
	assert_true(json_iter_next(&it, &name, &v));
	assert_true(json_span_is(name, "a"));
	assert_true(json_iter_init(&in, v));
	assert_true(json_iter_next(&in, NULL, &v) && json_span_is(v, "1"));
	assert_true(json_iter_next(&in, NULL, &v) && json_span_is(v, "{\"x\":[2]}"));
	assert_true(json_iter_next(&in, NULL, &v) && json_span_is(v, "\"]\""));
	assert_false(json_iter_next(&in, NULL, &v));
	assert_true(json_iter_next(&it, &name, &v) && json_span_is(name, "b") && json_span_is(v, "-1.5"));
	assert_int_equal(json_span_kind(v), '0');
	assert_true(json_iter_next(&it, &name, &v) && json_span_is(v, "null"));
	assert_false(json_iter_next(&it, &name, &v));
	assert_false(json_iter_init(&it, v));
}

static void json_locate_finds_places(void **state)
{
	static const char text[] = "{\n\"a\": 1,\n\"b\": [10,\n 20]}";
	static const size_t to_20[] = { 1, 1 }, to_b[] = { 1 };
	uint32_t line, col;

	(void)state;
	json_position(text, strlen(text), json_locate(text, strlen(text), to_20, 2, false), &line, &col);
	assert_int_equal(line, 4);
	assert_int_equal(col, 2);
	json_position(text, strlen(text), json_locate(text, strlen(text), to_b, 1, true), &line, &col);
	assert_int_equal(line, 3);
	assert_int_equal(col, 1);
}

static void json_getters_check_types(void **state)
{
	static const char text[] = "{\"s\":1,\"i\":\"x\",\"b\":0,\"o\":[],\"a\":{},\"l\":[\"x\",1],\"k\":\"mkey:00\",\"n\":null}";
	cJSON *v = json_parse(text, strlen(text), 0, NULL);
	uint8_t key[KEY_SIZE];
	size_t n;

	(void)state;
	assert_non_null(v);
#define REFUSES(expr, name)                                \
	do {                                               \
		struct json_in in = { 0 };                 \
		(void)(expr);                              \
		assert_int_equal(in.err, -EBADMSG);        \
		assert_string_equal(in.field, name);       \
	} while (0)
	REFUSES(json_str(&in, v, "s"), "s");
	REFUSES(json_i64(&in, v, "i", 0, 9), "i");
	REFUSES(json_bool(&in, v, "b"), "b");
	REFUSES(json_obj(&in, v, "o"), "o");
	REFUSES(json_arr(&in, v, "a"), "a");
	REFUSES(json_strs(&in, v, "l", &n), "l");
	REFUSES((json_key(&in, v, "k", KEY_NODE, key), 0), "k");
	{
		struct json_in in = { 0 };

		assert_string_equal(json_str(&in, v, "n"), "");
		assert_int_equal(json_i64(&in, v, "none", 1, 2), 0);
		assert_int_equal(in.err, 0);
	}
	cJSON_Delete(v);
}

static void json_w_writes_what_parses_back(void **state)
{
	static const char text[] = "{\"a\":[1,-2.5,\"x\\\"<\\n\",true,null,[],{}],\"n\":9007199254740993,\"z\":{\"y\":[[1]]}}";
	struct json_w w = { 0 };
	cJSON *v = json_parse(text, strlen(text), 0, NULL);
	size_t size;
	char *out;

	(void)state;
	assert_non_null(v);
	json_w_tree(&w, NULL, v);
	out = json_w_take(&w, &size);
	assert_non_null(out);
	assert_string_equal(out, "{\"a\":[1,-2.5,\"x\\\"\\u003c\\n\",true,null,[],{}],\"n\":9007199254740993,\"z\":{\"y\":[[1]]}}");
	assert_int_equal(size, strlen(out));
	free(out);
	cJSON_Delete(v);
}

static void json_w_indents(void **state)
{
	struct json_w w = { .indent = "\t" };
	size_t size;
	char *out;

	(void)state;
	json_w_obj(&w, NULL);
	json_w_i64(&w, "a", 1);
	json_w_arr(&w, "b");
	json_w_end(&w);
	json_w_arr(&w, "c");
	json_w_str(&w, NULL, "x");
	json_w_bool(&w, NULL, false);
	json_w_end(&w);
	json_w_end(&w);
	out = json_w_take(&w, &size);
	assert_string_equal(out, "{\n\t\"a\": 1,\n\t\"b\": [],\n\t\"c\": [\n\t\t\"x\",\n\t\tfalse\n\t]\n}");
	free(out);
}

static void rfc3339_known_times(void **state)
{
	static const struct {
		const char *text;
		int64_t s;
		int32_t ns;
	} row[] = {
		{ "1970-01-01T00:00:00Z", 0, 0 },
		{ "0001-01-01T00:00:00Z", RFC3339_ZERO_S, 0 },
		{ "2026-01-02T03:04:05Z", 1767323045, 0 },
		{ "2000-02-29T23:59:59.000000001Z", 951868799, 1 },
		{ "1969-12-31T23:59:59.5Z", -1, 500000000 },
		{ "9999-12-31T23:59:59Z", INT64_C(253402300799), 0 },
	};
	static const char *const bad[] = { "", "2026-01-02", "2026-13-01T00:00:00Z", "2025-02-29T00:00:00Z",
					   "2026-01-02T24:00:00Z", "2026-01-02T03:04:05", "2026-01-02T03:04:05z",
					   "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05.1234567890Z",
					   "0000-01-01T00:00:00Z", "2026-01-02T03:04:05+1:00", "2026-01-02T03:04:05ZZ" };
	char text[RFC3339_TEXT_MAX];
	int64_t s;
	int32_t ns;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		assert_int_equal(rfc3339_parse(&s, &ns, row[i].text, strlen(row[i].text)), 0);
		assert_int_equal(s, row[i].s);
		assert_int_equal(ns, row[i].ns);
		assert_string_equal(rfc3339_write(text, s, ns), row[i].text);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (rfc3339_parse(&s, &ns, bad[i], strlen(bad[i])) != -EBADMSG)
			fail_msg("accepted: %s", bad[i]);
	assert_int_equal(rfc3339_parse(&s, NULL, "2026-01-02T05:04:05+02:00", 25), 0);
	assert_int_equal(s, 1767323045);
}

/* What the copy would change must never go to cJSON as it is. */
static void only_texts_that_the_copy_leaves_alone_are_prepared(void **state)
{
	static const struct {
		const char *text;
		unsigned flags;
		bool is_prepared;
	} t[] = {
		{ "{\"a\":[1,-2.5e3,true,null,\"x <y> & z\"]}", 0, true },
		{ "[123456789012345]", 0, true },
		{ " [ ] ", 0, true },
		{ "[1234567890123456]", 0, false },
		{ "[-9223372036854775808]", 0, false },
		{ "[\"a\\u0000b\"]", 0, false },
		{ "[\"a\\nb\"]", 0, false },
		{ "{\"a\\u0001\":1}", 0, false },
		{ "[\"\xc3\xa9\"]", 0, false },
		{ "[\"\xff\"]", 0, false },
		{ "{\"\xff\":1}", JSON_UNIQUE, false },
		{ "[1,2]", JSON_HUJSON, true },
		{ "[1,2,]", JSON_HUJSON, false },
		{ "{\"a\":1,}", JSON_HUJSON, false },
		{ "[1] // one", JSON_HUJSON, false },
		{ "[1 /* one */]", JSON_HUJSON, false },
		{ "[1", 0, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		bool is_prepared = !t[i].is_prepared;
		const int err =
			json_check_prepared(t[i].text, strlen(t[i].text), t[i].flags, NULL, &is_prepared);

		if (is_prepared != t[i].is_prepared)
			fail_msg("%s", t[i].text);
		if (!err && is_prepared) {
			const struct json_span all = { .p = t[i].text, .size = strlen(t[i].text) };
			cJSON *as_is = json_tree_prepared(all), *copied = json_tree(all);

			assert_true(cJSON_Compare(as_is, copied, true));
			cJSON_Delete(as_is);
			cJSON_Delete(copied);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_check_accepts_exactly_json),
		cmocka_unit_test(only_texts_that_the_copy_leaves_alone_are_prepared),
		cmocka_unit_test(json_depth_is_bounded),
		cmocka_unit_test(json_error_names_line_and_column),
		cmocka_unit_test(json_unique_finds_duplicates_however_spelled),
		cmocka_unit_test(json_unique_agrees_with_a_slow_model),
		cmocka_unit_test(json_integers_are_exact),
		cmocka_unit_test(json_hujson_gives_the_plain_tree),
		cmocka_unit_test(json_strings_are_whole_utf8),
		cmocka_unit_test(json_iter_walks_members_and_elements),
		cmocka_unit_test(json_locate_finds_places),
		cmocka_unit_test(json_getters_check_types),
		cmocka_unit_test(json_w_writes_what_parses_back),
		cmocka_unit_test(json_w_indents),
		cmocka_unit_test(rfc3339_known_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
