/* SPDX-License-Identifier: MIT */
/* Command-line flags with the semantics and the messages of Go's flag package (cli 0.3):
 * -flag, --flag, --flag=v, --flag v; a boolean never eats the next word; a flag given twice is an
 * error; flags after positionals are accepted; "--" ends them. All flags are checked before anything
 * is done. */
#ifndef CLI_FLAGS_H
#define CLI_FLAGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum flag_kind {
	FLAG_BOOL,
	FLAG_STRING,
	FLAG_INT,
	FLAG_DURATION, /* Go syntax: 5s, 1m30s, 250ms, 0 */
};

struct flag {
	const char *name;
	enum flag_kind kind;
	const char *def;   /* default as shown in usage; null = the zero value, not shown */
	const char *usage; /* a word in `backquotes` names the value's type in usage */
	const char *alias; /* another accepted name; null */
	bool is_hidden;
};

enum { FLAGS_MAX = 64, FLAGS_ERR_MAX = 640 };

struct flag_value {
	bool is_set;       /* named on the command line */
	bool b;
	int64_t i;         /* FLAG_INT; FLAG_DURATION in nanoseconds */
	const char *s;     /* FLAG_STRING and the text of all others; borrowed from argv or the table */
};

/* Values of one command's flags, in the order of its table. */
struct flags {
	const struct flag *table;
	size_t n;
	struct flag_value v[FLAGS_MAX];
};

/* How the scan of a command line ended. */
enum flags_result {
	FLAGS_OK,
	FLAGS_HELP,  /* -h or --help was met */
	FLAGS_ERROR, /* 'err' has the message, secrets masked */
};

/* Scans 'argv[0..argc)'. 'stop_at_word' ends the scan at the first positional (the root command).
 * Positionals go to 'args' (room for 'argc'), their number to '*n_args'. '*used' = words consumed when
 * the scan stopped at a word. */
enum flags_result flags_parse(struct flags *f, const struct flag *table, size_t n, int argc,
			      char *const *argv, bool stop_at_word, char **args, int *n_args, int *used,
			      char err[static FLAGS_ERR_MAX]);

/* The closest flag name within edit distance 2, or null. */
const char *flags_suggest(const struct flag *table, size_t n, const char *name);

/* Values by name; asking for a flag that the table lacks is a bug (assert). */
const struct flag_value *flags_get(const struct flags *f, const char *name);
bool flags_is_set(const struct flags *f, const char *name);
bool flags_bool(const struct flags *f, const char *name);
const char *flags_str(const struct flags *f, const char *name);
int64_t flags_int(const struct flags *f, const char *name); /* durations: nanoseconds */
/* How many flags were named. */
size_t flags_n_set(const struct flags *f);

/* Go's time.ParseDuration. Returns 0 or -EINVAL. */
MESH_MUST_USE int flags_duration(int64_t *ns, const char *text);
/* Go's strconv.ParseBool. Returns 0 or -EINVAL. */
MESH_MUST_USE int flags_parse_bool(bool *b, const char *text);

#endif
