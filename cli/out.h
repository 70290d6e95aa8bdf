/* SPDX-License-Identifier: MIT */
/* Printing: tables as Go's tabwriter aligns them, durations as Go writes them, safe text. */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "cli/cmd.h"

/* A table: cells are text ended by '\t' or '\n' as in Go's text/tabwriter with spaces for padding. A
 * column is as wide as its widest tab-terminated cell (in code points) plus the padding; the last cell
 * of a line is not padded unless it ends with a tab. A column ends at a line without that cell. */
struct out_table {
	struct bytes text;
	size_t min_width;
	size_t padding;
};

void out_table_init(struct out_table *t, size_t min_width, size_t padding);
MESH_PRINTF(2, 3) void out_table_add(struct out_table *t, const char *fmt, ...);
/* Aligns, prints and frees. */
void out_table_flush(struct out_table *t, FILE *to);

/* A duration as Go's String(): "0s", "9ms", "1.204s", "300µs", "1m30s". */
enum { OUT_DURATION_MAX = 32 };
char *out_duration(char text[static OUT_DURATION_MAX], int64_t ns);
/* Rounded half away from zero to a multiple of 'unit' nanoseconds. */
int64_t out_round(int64_t ns, int64_t unit);

/* 'text' with control characters, escape sequences and bidirectional overrides made harmless. What
 * peers chose (names, owners) goes through this before a terminal. Returns 'buf'. */
char *out_safe(char *buf, size_t size, const char *text);

/* Prints a JSON document that the daemon sent, laid out anew; 'indent' as json_w.indent. */
int out_json(struct cli *c, const char *text, size_t len, const char *indent, bool final_newline);
/* One error line on stderr. Returns EXIT_FAILED. */
MESH_PRINTF(2, 3) int out_error(struct cli *c, const char *fmt, ...);
/* Writes out what is buffered. True if that or anything before failed: then nobody reads, and a command that goes on
 * printing should end. */
bool out_is_broken(struct cli *c);
/* "not in this build" and friends. Returns EXIT_UNSUPPORTED. */
MESH_PRINTF(2, 3) int out_unsupported(struct cli *c, const char *fmt, ...);
/* Wrong usage: message, then the usage of 'cmd', on stderr. Returns EXIT_USAGE. */
MESH_PRINTF(3, 4) int out_usage_error(struct cli *c, const struct cmd *cmd, const char *fmt, ...);
/* Usage text of a command; 'path' is its full name after the program's ("coordinator keys"). */
void out_usage(struct cli *c, const struct cmd *cmd, const char *path, FILE *to);

/* 'text' as one word for a shell: as it is if it is plain, else in single quotes. Cut where 'size' ends. Returns
 * 'buf'. */
char *out_shell_word(char *buf, size_t size, const char *text);
#define OUT_SHELL_WORD_SIZE(len) ((len) * 4 + 3) /* is enough */

#endif
