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

/* Tables say false and true for the first two. */
enum flag_show {
	FLAG_SHOWN = 0,
	FLAG_HIDDEN = 1, /* not listed in usage */
	FLAG_ABSENT = 2, /* nor in this build: only values that ask for nothing pass */
};

struct flag {
	const char *name;
	enum flag_kind kind;
	const char *def;   /* default as shown in usage; null = the zero value, not shown */
	const char *usage; /* a word in `backquotes` names the value's type in usage */
	const char *alias; /* another accepted name; null */
	enum flag_show show;
};

/* A flag of the stock program or of a later version, for a command's table. */
#define FLAG_NOT_BUILT(name, kind) \
	{ (name), (kind), (kind) == FLAG_BOOL ? "false" : NULL, "not in this build", NULL, FLAG_ABSENT }

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
/* The name of a flag that asks for something this build lacks, or null. */
const char *flags_absent(const struct flags *f);
/* How many flags were named. */
size_t flags_n_set(const struct flags *f);

/* Go's time.ParseDuration. Returns 0 or -EINVAL. */
MESH_MUST_USE int flags_duration(int64_t *ns, const char *text);
/* Go's strconv.ParseBool. Returns 0 or -EINVAL. */
MESH_MUST_USE int flags_parse_bool(bool *b, const char *text);

#endif
