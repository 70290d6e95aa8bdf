/* SPDX-License-Identifier: MIT */
/* Tables, durations, JSON and usage texts. */
#include "cli/out.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "wire/apijson.h"

enum { ROWS_MAX = 1 << 20, COLS_MAX = 32, LINE_SIZE = 4096 };

/* --- tables --- */

void out_table_init(struct out_table *t, size_t min_width, size_t padding)
{
	*t = (struct out_table){ .min_width = min_width, .padding = padding };
}

void out_table_add(struct out_table *t, const char *fmt, ...)
{
	char line[LINE_SIZE];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if ((size_t)n >= sizeof(line))
		n = (int)sizeof(line) - 1;
	/* Out of memory leaves rows out; the flush then reports a short table by its write error only. */
	if (bytes_append(&t->text, line, (size_t)n))
		abort();
}

/* Code points of UTF-8 text: bytes that do not continue one. */
static size_t width(const char *p, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += ((unsigned char)p[i] & 0xc0) != 0x80;
	return n;
}

struct cell {
	const char *p;
	size_t len;
	bool is_tab; /* ended by a tab: belongs to a column */
};

struct row {
	struct cell cells[COLS_MAX];
	size_t n;
	size_t widths[COLS_MAX];
};

static size_t split(const char *text, size_t size, struct row *rows)
{
	const char *p = text, *end = text + size, *start = text;
	size_t n = 0;

	for (; p < end; p++) {
		struct row *r = &rows[n];

		if (*p != '\t' && *p != '\n')
			continue;
		if (r->n < COLS_MAX)
			r->cells[r->n++] = (struct cell){ start, (size_t)(p - start), *p == '\t' };
		if (*p == '\n')
			n++;
		start = p + 1;
	}
	return n;
}

/* A column is a run of neighbouring lines that have a tab-ended cell at that place. */
static void measure(struct row *rows, size_t n_rows, const struct out_table *t)
{
	for (size_t col = 0; col < COLS_MAX; col++) {
		for (size_t i = 0; i < n_rows;) {
			size_t w = 0, from = i;

			while (i < n_rows && col < rows[i].n && rows[i].cells[col].is_tab) {
				size_t cell = width(rows[i].cells[col].p, rows[i].cells[col].len);

				if (cell > w)
					w = cell;
				i++;
			}
			w += t->padding;
			if (w < t->min_width)
				w = t->min_width;
			for (size_t k = from; k < i; k++)
				rows[k].widths[col] = w;
			if (from == i)
				i++;
		}
	}
}

void out_table_flush(struct out_table *t, FILE *to)
{
	const char *text = (const char *)bytes_data(&t->text);
	size_t size = bytes_size(&t->text), lines = 1;
	struct row *rows;

	if (!size)
		return;
	for (size_t i = 0; i < size; i++)
		lines += text[i] == '\n';
	rows = calloc(lines, sizeof(*rows));
	if (!rows)
		abort();
	lines = split(text, size, rows);
	measure(rows, lines, t);
	for (size_t i = 0; i < lines; i++) {
		for (size_t k = 0; k < rows[i].n; k++) {
			const struct cell *c = &rows[i].cells[k];
			size_t pad = c->is_tab ? rows[i].widths[k] - width(c->p, c->len) : 0;

			(void)fprintf(to, "%.*s%*s", (int)c->len, c->p, (int)pad, "");
		}
		(void)fputc('\n', to);
	}
	free(rows);
	bytes_wipe(&t->text);
}

/* --- durations --- */

int64_t out_round(int64_t ns, int64_t unit)
{
	int64_t rest = ns % unit;

	if (ns < 0)
		return ns - rest - (rest * 2 <= -unit ? unit : 0);
	return ns - rest + (rest * 2 >= unit ? unit : 0);
}

/* 'v' nanoseconds in units of 'unit' with the fraction's trailing zeros cut. */
static size_t put_fraction(char *text, size_t size, uint64_t v, uint64_t unit, const char *name)
{
	uint64_t frac = v % unit;
	char digits[24] = "";
	int n = 0;

	if (frac) {
		for (uint64_t place = unit / 10; place && frac; place /= 10) {
			digits[n++] = (char)('0' + frac / place % 10);
			frac %= place;
		}
		digits[n] = 0;
	}
	n = snprintf(text, size, "%llu%s%s%s", (unsigned long long)(v / unit), n ? "." : "", digits, name);
	return n > 0 ? (size_t)n : 0;
}

char *out_duration(char text[static OUT_DURATION_MAX], int64_t ns)
{
	uint64_t v = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
	uint64_t minutes = v / 60000000000u;
	size_t n = 0;

	if (ns < 0)
		text[n++] = '-';
	if (v == 0) {
		(void)snprintf(text, OUT_DURATION_MAX, "0s");
	} else if (v < 1000) {
		(void)snprintf(text + n, OUT_DURATION_MAX - n, "%lluns", (unsigned long long)v);
	} else if (v < 1000000) {
		(void)put_fraction(text + n, OUT_DURATION_MAX - n, v, 1000, "\xc2\xb5s");
	} else if (v < 1000000000) {
		(void)put_fraction(text + n, OUT_DURATION_MAX - n, v, 1000000, "ms");
	} else {
		if (minutes >= 60)
			n += (size_t)snprintf(text + n, OUT_DURATION_MAX - n, "%lluh",
					      (unsigned long long)(minutes / 60));
		if (minutes)
			n += (size_t)snprintf(text + n, OUT_DURATION_MAX - n, "%llum",
					      (unsigned long long)(minutes % 60));
		(void)put_fraction(text + n, OUT_DURATION_MAX - n, v % 60000000000u, 1000000000, "s");
	}
	return text;
}

/* --- text --- */

/* Control characters, bidirectional marks and what is not UTF-8 become '?'. */
static char *make_safe(char *buf, size_t size, const char *text, bool keep_lines)
{
	const char *p = text ? text : "", *const end = p + strlen(p);
	size_t used = 0;

	while (p < end && used + 4 < size) {
		uint32_t cp = 0;
		size_t n = json_utf8(p, end, &cp);
		bool line = keep_lines && (cp == '\n' || cp == '\t');
		bool bad = n == 0 || (cp < 0x20 && !line) || (cp >= 0x7f && cp < 0xa0) ||
			   (cp >= 0x200b && cp <= 0x200f) || (cp >= 0x2028 && cp <= 0x202e) ||
			   (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff;

		if (bad) {
			buf[used++] = '?';
		} else {
			memcpy(buf + used, p, n);
			used += n;
		}
		p += n ? n : 1;
	}
	buf[used] = 0;
	return buf;
}

char *out_safe(char *buf, size_t size, const char *text)
{
	return make_safe(buf, size, text, false);
}

int out_json(struct cli *c, const char *text, size_t len, const char *indent, bool final_newline)
{
	struct bytes doc = { 0 };
	int err = jsonmap_relayout(&doc, text, len, indent);

	if (!err) {
		(void)fwrite(bytes_data(&doc), 1, bytes_size(&doc), c->out);
		if (final_newline)
			(void)fputc('\n', c->out);
	}
	bytes_wipe(&doc);
	return err ? out_error(c, "the daemon's answer is not JSON") : EXIT_OK;
}

/* --- errors and usage --- */

MESH_PRINTF(2, 0)
static void put_line(struct cli *c, const char *fmt, va_list ap)
{
	char line[LINE_SIZE], safe[LINE_SIZE];

	(void)vsnprintf(line, sizeof(line), fmt, ap);
	prefval_mask_secrets(line);
	(void)fprintf(c->err, "%s\n", make_safe(safe, sizeof(safe), line, true));
}

int out_error(struct cli *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_line(c, fmt, ap);
	va_end(ap);
	return EXIT_FAILED;
}

int out_unsupported(struct cli *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_line(c, fmt, ap);
	va_end(ap);
	return EXIT_UNSUPPORTED;
}

int out_usage_error(struct cli *c, const struct cmd *cmd, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_line(c, fmt, ap);
	va_end(ap);
	out_usage(c, cmd, cmd->name, c->err);
	return EXIT_USAGE;
}

/* The flag's usage text without its backquotes; the quoted word names the value. */
static void unquote(const struct flag *f, char *name, size_t name_size, char *text, size_t size)
{
	static const char *const kinds[] = { [FLAG_BOOL] = "", [FLAG_STRING] = "string",
					     [FLAG_INT] = "int", [FLAG_DURATION] = "duration" };
	const char *open = strchr(f->usage, '`'), *close = open ? strchr(open + 1, '`') : NULL;

	if (!close) {
		(void)snprintf(name, name_size, "%s", kinds[f->kind]);
		(void)snprintf(text, size, "%s", f->usage);
		return;
	}
	(void)snprintf(name, name_size, "%.*s", (int)(close - open - 1), open + 1);
	(void)snprintf(text, size, "%.*s%.*s%s", (int)(open - f->usage), f->usage, (int)(close - open - 1),
		       open + 1, close + 1);
}

bool out_is_broken(struct cli *c)
{
	/* A write that failed earlier left nothing to flush. */
	return fflush(c->out) != 0 || ferror(c->out);
}

/* Puts 'text' with 'indent' in front of each line, which ends before 'width' (0 = only where the text says). The first
 * 'indent' is the caller's; 'at' is the column behind it. */
static void put_wrapped(FILE *to, const char *text, const char *indent, size_t at, size_t width)
{
	size_t column = at;

	while (*text) {
		const size_t n = strcspn(text, " \n");

		if (width && column > at && column + n + 1 > width) {
			(void)fprintf(to, "\n%s", indent);
			column = at;
		} else if (column > at) {
			(void)fputc(' ', to);
			column++;
		}
		(void)fwrite(text, 1, n, to);
		column += n;
		text += n;
		if (*text == '\n') {
			(void)fprintf(to, "\n%s", indent);
			column = at;
		}
		text += *text != 0;
	}
}

static void put_flag(const struct flag *f, bool with_default, FILE *to, size_t width)
{
	char name[64], text[1024];
	size_t len;

	unquote(f, name, sizeof(name), text, sizeof(text));
	if (f->kind == FLAG_BOOL)
		(void)fprintf(to, "  --%s, --%s=false\n", f->name, f->name);
	else
		(void)fprintf(to, "  --%s %s\n", f->name, name);
	len = strlen(text);
	if (with_default && f->def && *f->def)
		(void)snprintf(text + len, sizeof(text) - len, " (default %s)", f->def);
	(void)fputs("    \t", to);
	put_wrapped(to, text, "    \t", 8, width);
	(void)fputc('\n', to);
}

static void put_subcommands(const struct cmd *cmd, FILE *to, size_t width)
{
	char indent[64];
	size_t at = 0;

	(void)fprintf(to, "\nSUBCOMMANDS\n");
	for (size_t i = 0; i < cmd->n_subs; i++) {
		const struct cmd *sub = cmd_sub(cmd, i);

		if (!sub->is_hidden && strlen(sub->name) + 4 > at)
			at = strlen(sub->name) + 4;
	}
	(void)snprintf(indent, sizeof(indent), "%*s", (int)at, "");
	for (size_t i = 0; i < cmd->n_subs; i++) {
		const struct cmd *sub = cmd_sub(cmd, i);

		if (sub->is_hidden)
			continue;
		(void)fprintf(to, "  %-*s", (int)at - 2, sub->name);
		put_wrapped(to, sub->short_help, indent, at, width);
		(void)fputc('\n', to);
	}
}

void out_usage(struct cli *c, const struct cmd *cmd, const char *path, FILE *to)
{
	bool with_default = strcmp(cmd->name, "set") != 0; /* there, unnamed means unchanged */
	size_t shown = 0;

	if (cmd->short_help)
		(void)fprintf(to, "%s\n\n", cmd->short_help);
	(void)fprintf(to, "USAGE\n  %s %s\n", c->prog, cmd->usage ? cmd->usage : path);
	if (cmd->long_help) {
		(void)fputc('\n', to);
		put_wrapped(to, cmd->long_help, "", 0, c->columns);
		(void)fputc('\n', to);
	}
	if (cmd->n_subs)
		put_subcommands(cmd, to, c->columns);
	for (size_t i = 0; i < cmd->n_flags; i++) {
		if (cmd->flags[i].show)
			continue;
		if (!shown++)
			(void)fprintf(to, "\nFLAGS\n");
		put_flag(&cmd->flags[i], with_default, to, c->columns);
	}
}

char *out_shell_word(char *buf, size_t size, const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+=[]";
	size_t used = 0;

	if (*text && !text[strspn(text, plain)]) {
		(void)snprintf(buf, size, "%s", text);
		return buf;
	}
	used += (size_t)snprintf(buf, size, "'");
	for (; *text && used < size; text++)
		used += (size_t)snprintf(buf + used, size - used, *text == '\'' ? "'\\''" : "%.1s", text);
	if (used < size)
		(void)snprintf(buf + used, size - used, "'");
	return buf;
}
