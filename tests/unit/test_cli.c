/* SPDX-License-Identifier: MIT */
/* meshctl's flags, tables and durations against what Go prints. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/flags.h"
#include "cli/out.h"

static void durations_are_read_as_go_does(void **state)
{
	static const struct {
		const char *text;
		int64_t ns; /* -1: refused */
	} rows[] = {
		{ "0", 0 },	     { "5s", 5000000000 },	 { "1m30s", 90000000000 }, { "250ms", 250000000 },
		{ "1.5h", 5400000000000 }, { "300us", 300000 }, { "300\xc2\xb5s", 300000 }, { "1h1h", 7200000000000 },
		{ ".5s", 500000000 }, { "+1s", 1000000000 },	 { "", -1 },		    { "5", -1 },
		{ "5x", -1 },	     { "s", -1 },		 { "1s ", -1 },		    { "99999999h", -1 },
		{ "1e3s", -1 },	     { "-", -1 },		 { ".s", -1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t ns = -2;
		int ret = flags_duration(&ns, rows[i].text);

		if (rows[i].ns < 0 ? ret != -EINVAL : ret != 0 || ns != rows[i].ns)
			fail_msg("%s: %d, %lld", rows[i].text, ret, (long long)ns);
	}
}

static void durations_are_written_as_go_does(void **state)
{
	static const struct {
		int64_t ns;
		const char *text;
	} rows[] = {
		{ 0, "0s" },
		{ 1, "1ns" },
		{ 1100, "1.1\xc2\xb5s" },
		{ 300000, "300\xc2\xb5s" },
		{ 2200000, "2.2ms" },
		{ 9000000, "9ms" },
		{ 1204000000, "1.204s" },
		{ 3300000000, "3.3s" },
		{ 245000000000, "4m5s" },
		{ 3723004000000, "1h2m3.004s" },
		{ -1500000000, "-1.5s" },
	};
	char text[OUT_DURATION_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(out_duration(text, rows[i].ns), rows[i].text);
	assert_int_equal(out_round(12499999, 1000000), 12000000);
	assert_int_equal(out_round(12500000, 1000000), 13000000);
	assert_int_equal(out_round(-12500000, 1000000), -13000000);
}

static void tables_align_by_code_points(void **state)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);
	struct out_table t;

	(void)state;
	assert_non_null(f);
	out_table_init(&t, 0, 2);
	out_table_add(&t, "a\tm\xc3\xbcnchen\tx\t\n");
	out_table_add(&t, "bbbb\tc\ty\t\n");
	out_table_add(&t, "no table\n");
	out_table_add(&t, "z\tw\n");
	out_table_flush(&t, f);
	(void)fclose(f);
	assert_string_equal(text, "a     m\xc3\xbcnchen  x  \nbbbb  c        y  \nno table\nz  w\n");
	free(text);
}

static void texts_of_others_are_made_harmless(void **state)
{
	char buf[64];

	(void)state;
	assert_string_equal(out_safe(buf, sizeof(buf), "a\x1b[31mb\nc\xff\xe2\x80\xae" "d\xc3\xbc"), "a?[31mb?c??d\xc3\xbc");
	assert_string_equal(out_safe(buf, sizeof(buf), NULL), "");
	assert_string_equal(out_safe(buf, 8, "abcdefghij"), "abcd");
}

static const struct flag table[] = {
	{ "on", FLAG_BOOL, "true", "a switch", NULL, false },
	{ "name", FLAG_STRING, NULL, "a `name`", "nm", false },
	{ "n", FLAG_INT, "10", "a number", NULL, false },
	{ "wait", FLAG_DURATION, "5s", "a time", NULL, false },
};

static void words_for_a_shell_are_one_word(void **state)
{
	static const struct {
		const char *text, *word;
	} rows[] = {
		{ "--a=b", "--a=b" }, { "", "''" }, { "a b", "'a b'" }, { "it's", "'it'\\''s'" }, { "$(x)", "'$(x)'" },
		{ "\xc3\xa9", "'\xc3\xa9'" },
	};
	char buf[40], small[6];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_true(OUT_SHELL_WORD_SIZE(strlen(rows[i].text)) <= sizeof(buf));
		assert_string_equal(out_shell_word(buf, sizeof(buf), rows[i].text), rows[i].word);
	}
	assert_string_equal(out_shell_word(small, sizeof(small), "a b c d e"), "'a b ");
}

static void flags_follow_gos_rules(void **state)
{
	static const struct {
		const char *words[6];
		enum flags_result want;
		bool on;
		const char *name;
		int n_args;
		const char *err;
	} rows[] = {
		{ { NULL }, FLAGS_OK, true, "", 0, NULL },
		{ { "-on=false", "--name", "x" }, FLAGS_OK, false, "x", 0, NULL },
		{ { "--on", "false" }, FLAGS_OK, true, "", 1, NULL }, /* a boolean never eats the next word */
		{ { "a", "--nm=y", "b" }, FLAGS_OK, true, "y", 2, NULL },
		{ { "--name=", "--", "--on" }, FLAGS_OK, true, "", 1, NULL },
		{ { "-", "--name=a=b" }, FLAGS_OK, true, "a=b", 1, NULL },
		{ { "-h" }, FLAGS_HELP, true, "", 0, NULL },
		{ { "--help" }, FLAGS_HELP, true, "", 0, NULL },
		{ { "--on=maybe" }, FLAGS_ERROR, true, "", 0,
		  "invalid boolean value \"maybe\" for -on: parse error" },
		{ { "--wait", "5" }, FLAGS_ERROR, true, "", 0, "invalid value \"5\" for flag -wait: parse error" },
		{ { "-n", "0x10" }, FLAGS_ERROR, true, "", 0, "invalid value \"0x10\" for flag -n: parse error" },
		{ { "--on", "--on" }, FLAGS_ERROR, true, "", 0,
		  "invalid boolean flag on: flag provided multiple times" },
		{ { "--name=a", "--nm=b" }, FLAGS_ERROR, true, "", 0,
		  "invalid value \"b\" for flag -name: flag provided multiple times" },
		{ { "--name" }, FLAGS_ERROR, true, "", 0, "flag needs an argument: -name" },
		{ { "--nme=1" }, FLAGS_ERROR, true, "", 0,
		  "flag provided but not defined: -nme\n# did you mean --name ?" },
		{ { "--xyzzy\x1b" }, FLAGS_ERROR, true, "", 0, "flag provided but not defined: -xyzzy\\x1b" },
		{ { "---a" }, FLAGS_ERROR, true, "", 0, "bad flag syntax: \"---a\"" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char err[FLAGS_ERR_MAX] = "", *args[8];
		int argc = 0, n_args = 0, used = 0;
		struct flags f;
		enum flags_result got;

		while (argc < 6 && rows[i].words[argc])
			argc++;
		got = flags_parse(&f, table, ARRAY_LEN(table), argc, (char *const *)(uintptr_t)rows[i].words,
				  false, args, &n_args, &used, err);
		if (got != rows[i].want)
			fail_msg("row %zu: %d %s", i, got, err);
		if (got == FLAGS_ERROR)
			assert_string_equal(err, rows[i].err);
		if (got != FLAGS_OK)
			continue;
		assert_int_equal(flags_bool(&f, "on"), rows[i].on);
		assert_string_equal(flags_str(&f, "name"), rows[i].name);
		assert_int_equal(n_args, rows[i].n_args);
		assert_int_equal(flags_int(&f, "n"), 10);
		assert_int_equal(flags_int(&f, "wait"), 5000000000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_are_read_as_go_does),
		cmocka_unit_test(durations_are_written_as_go_does),
		cmocka_unit_test(tables_align_by_code_points),
		cmocka_unit_test(texts_of_others_are_made_harmless),
		cmocka_unit_test(words_for_a_shell_are_one_word),
		cmocka_unit_test(flags_follow_gos_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
