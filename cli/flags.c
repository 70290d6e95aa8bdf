/* SPDX-License-Identifier: MIT */
/* Go's flag package, with two differences: flags after positionals are accepted, and every flag is checked
 * before anything happens. */
#include "cli/flags.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/near.h"
#include "wire/apijson.h"

enum { SUGGEST_DISTANCE = 2, NAME_MAX_LEN = 64 };

/* --- values --- */

int flags_parse_bool(bool *b, const char *text)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE", "True" };
	static const char *const no[] = { "0", "f", "F", "false", "FALSE", "False" };

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*b = strcmp(text, yes[i]) == 0;
			return 0;
		}
	}
	return -EINVAL;
}

static int64_t unit_ns(const char *unit, size_t len)
{
	static const struct {
		const char *name;
		int64_t ns;
	} units[] = {
		{ "ns", 1 },	       { "us", 1000 },	      { "\xc2\xb5s", 1000 },
		{ "\xce\xbcs", 1000 }, { "ms", 1000000 },     { "s", 1000000000 },
		{ "m", 60000000000 },  { "h", 3600000000000 },
	};

	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (strlen(units[i].name) == len && memcmp(units[i].name, unit, len) == 0)
			return units[i].ns;
	return 0;
}

/* Digits of 'p' as a number scaled by 'unit', with the fraction; false on overflow. */
static bool scale(const char *whole, size_t n_whole, const char *frac, size_t n_frac, int64_t unit,
		  int64_t *out)
{
	int64_t v = 0;
	double f = 0, place = 0.1;

	for (size_t i = 0; i < n_whole; i++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, whole[i] - '0', &v))
			return false;
	if (__builtin_mul_overflow(v, unit, &v))
		return false;
	for (size_t i = 0; i < n_frac; i++, place /= 10)
		f += (frac[i] - '0') * place;
	return !__builtin_add_overflow(v, (int64_t)(f * (double)unit + 0.5), out);
}

int flags_duration(int64_t *ns, const char *text)
{
	static const char *const digits = "0123456789";
	const char *p = text;
	bool negative = *p == '-';
	int64_t sum = 0;

	if (*p == '-' || *p == '+')
		p++;
	if (strcmp(p, "0") == 0) {
		*ns = 0;
		return 0;
	}
	if (!*p)
		return -EINVAL;
	while (*p) {
		size_t n_whole = strspn(p, digits), n_frac = 0, n_unit;
		const char *whole = p, *frac = NULL;
		int64_t part, unit;

		p += n_whole;
		if (*p == '.') {
			frac = ++p;
			n_frac = strspn(p, digits);
			p += n_frac;
		}
		n_unit = strcspn(p, ".0123456789");
		unit = unit_ns(p, n_unit);
		if (n_whole + n_frac == 0 || !unit || !scale(whole, n_whole, frac, n_frac, unit, &part) ||
		    __builtin_add_overflow(sum, part, &sum))
			return -EINVAL;
		p += n_unit;
	}
	*ns = negative ? -sum : sum;
	return 0;
}

static int parse_int(int64_t *i, const char *text)
{
	char *end;

	errno = 0;
	*i = strtoll(text, &end, 10);
	if (errno || end == text || *end || *text == ' ')
		return -EINVAL;
	return 0;
}

static int parse_value(struct flag_value *v, const struct flag *f, const char *text)
{
	v->s = text;
	switch (f->kind) {
	case FLAG_BOOL:
		return flags_parse_bool(&v->b, text);
	case FLAG_STRING:
		return 0;
	case FLAG_INT:
		return parse_int(&v->i, text);
	case FLAG_DURATION:
		return flags_duration(&v->i, text);
	}
	return -EINVAL;
}

/* --- errors --- */

MESH_PRINTF(2, 3)
static enum flags_result fail(char err[static FLAGS_ERR_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(err, FLAGS_ERR_MAX, fmt, ap);
	va_end(ap);
	prefval_mask_secrets(err);
	return FLAGS_ERROR;
}

static enum flags_result fail_value(char err[static FLAGS_ERR_MAX], const struct flag *f,
				    const char *value, const char *why)
{
	char quoted[PREFVAL_QUOTE_MAX];

	prefval_quote(quoted, value, strlen(value));
	if (f->kind == FLAG_BOOL && strcmp(why, "parse error") == 0)
		return fail(err, "invalid boolean value %s for -%s: %s", quoted, f->name, why);
	if (f->kind == FLAG_BOOL)
		return fail(err, "invalid boolean flag %s: %s", f->name, why);
	return fail(err, "invalid value %s for flag -%s: %s", quoted, f->name, why);
}

/* --- suggestions --- */

const char *flags_suggest(const struct flag *table, size_t n, const char *name)
{
	size_t best = SUGGEST_DISTANCE + 1;
	const char *found = NULL;

	for (size_t i = 0; i < n; i++) {
		size_t d = table[i].show ? SUGGEST_DISTANCE + 1 :
						near_distance(name, table[i].name, SUGGEST_DISTANCE);

		if (d < best) {
			best = d;
			found = table[i].name;
		}
	}
	return found;
}

/* --- the scan --- */

static const struct flag *lookup(const struct flags *f, const char *name, size_t len, size_t *at)
{
	for (size_t i = 0; i < f->n; i++) {
		const char *const names[] = { f->table[i].name, f->table[i].alias };

		for (size_t k = 0; k < ARRAY_LEN(names); k++) {
			if (names[k] && strlen(names[k]) == len && memcmp(names[k], name, len) == 0) {
				*at = i;
				return &f->table[i];
			}
		}
	}
	return NULL;
}

static void set_defaults(struct flags *f)
{
	for (size_t i = 0; i < f->n; i++) {
		const char *def = f->table[i].def;
		int err;

		f->v[i] = (struct flag_value){ .s = "" };
		if (!def)
			continue;
		err = parse_value(&f->v[i], &f->table[i], def);
		assert(!err || f->table[i].kind == FLAG_STRING); /* tables are ours */
		(void)err;
	}
}

static enum flags_result unknown(const struct flags *f, const char *name, size_t len,
				 char err[static FLAGS_ERR_MAX])
{
	char safe[PREFVAL_QUOTE_MAX], text[NAME_MAX_LEN + 1];
	const char *suggestion;

	if (len == 4 && memcmp(name, "help", 4) == 0)
		return FLAGS_HELP;
	if (len == 1 && *name == 'h')
		return FLAGS_HELP;
	(void)snprintf(text, sizeof(text), "%.*s", (int)(len > NAME_MAX_LEN ? NAME_MAX_LEN : len), name);
	suggestion = len <= NAME_MAX_LEN ? flags_suggest(f->table, f->n, text) : NULL;
	return fail(err, "flag provided but not defined: -%s%s%s%s", prefval_bare(safe, name, len),
		    suggestion ? "\n# did you mean --" : "", suggestion ? suggestion : "",
		    suggestion ? " ?" : "");
}

/* One word that begins with a dash. '*i' moves over its value. */
static enum flags_result scan_flag(struct flags *f, int argc, char *const *argv, int *i,
				   char err[static FLAGS_ERR_MAX])
{
	const char *word = argv[*i] + (argv[*i][1] == '-' ? 2 : 1), *eq = strchr(word, '=');
	size_t len = eq ? (size_t)(eq - word) : strlen(word), at = 0;
	const char *value = eq ? eq + 1 : NULL;
	const struct flag *flag;

	if (len == 0 || *word == '-') {
		char quoted[PREFVAL_QUOTE_MAX];

		prefval_quote(quoted, argv[*i], strlen(argv[*i]));
		return fail(err, "bad flag syntax: %s", quoted);
	}
	flag = lookup(f, word, len, &at);
	if (!flag)
		return unknown(f, word, len, err);
	if (!value && flag->kind == FLAG_BOOL)
		value = "true";
	if (!value) {
		if (*i + 1 >= argc)
			return fail(err, "flag needs an argument: -%s", flag->name);
		value = argv[++*i];
	}
	if (f->v[at].is_set)
		return fail_value(err, flag, value, "flag provided multiple times");
	if (parse_value(&f->v[at], flag, value))
		return fail_value(err, flag, value, "parse error");
	f->v[at].is_set = true;
	return FLAGS_OK;
}

enum flags_result flags_parse(struct flags *f, const struct flag *table, size_t n, int argc,
			      char *const *argv, bool stop_at_word, char **args, int *n_args, int *used,
			      char err[static FLAGS_ERR_MAX])
{
	bool flags_ended = false;
	int i;

	assert(n <= FLAGS_MAX);
	f->table = table;
	f->n = n;
	set_defaults(f);
	*n_args = 0;
	for (i = 0; i < argc; i++) {
		enum flags_result r;

		if (!flags_ended && strcmp(argv[i], "--") == 0) {
			flags_ended = true;
			continue;
		}
		if (flags_ended || argv[i][0] != '-' || !argv[i][1]) {
			if (stop_at_word)
				break;
			args[(*n_args)++] = argv[i];
			continue;
		}
		r = scan_flag(f, argc, argv, &i, err);
		if (r != FLAGS_OK)
			return r;
	}
	*used = i;
	return FLAGS_OK;
}

/* --- reading --- */

const struct flag_value *flags_get(const struct flags *f, const char *name)
{
	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->table[i].name, name) == 0)
			return &f->v[i];
	assert(false && "a flag of this command");
	return &f->v[0];
}

bool flags_is_set(const struct flags *f, const char *name)
{
	return flags_get(f, name)->is_set;
}

bool flags_bool(const struct flags *f, const char *name)
{
	return flags_get(f, name)->b;
}

const char *flags_str(const struct flags *f, const char *name)
{
	return flags_get(f, name)->s;
}

int64_t flags_int(const struct flags *f, const char *name)
{
	return flags_get(f, name)->i;
}

const char *flags_absent(const struct flags *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->table[i].show == FLAG_ABSENT && (f->table[i].kind == FLAG_BOOL ? f->v[i].b : *f->v[i].s != 0))
			return f->table[i].name;
	return NULL;
}

size_t flags_n_set(const struct flags *f)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n; i++)
		n += f->v[i].is_set;
	return n;
}
