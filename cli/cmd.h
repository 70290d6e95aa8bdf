/* SPDX-License-Identifier: MIT */
/* A subcommand of meshctl: what main.c dispatches, and what every command function gets.
 *
 * Grammar is tables: a command names its flags and its subcommands; main.c parses, checks and prints
 * usage; a function only runs when everything on the command line was understood. A new command is a
 * row in main.c's table and one file cmd_<verb>.c. */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/compiler.h"
#include "cli/flags.h"

/* Exit codes (cli 0.5). cli_exit() maps them for compat mode. */
enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_NO_REPLY = 2,      /* ping, normal mode */
	EXIT_NO_DAEMON = 3,
	EXIT_TIMEOUT = 4,
	EXIT_DENIED = 5,
	EXIT_UNSUPPORTED = 77,
};

/* One run of the program. */
struct cli {
	const char *prog;   /* "meshctl" or "tailscale": what usage and hints say */
	bool compat;        /* behave as the stock program (cli 0.1) */
	const char *socket; /* of --socket; null = look for it (client.c) */
	FILE *out, *err;
	bool out_is_tty, in_is_tty;
	size_t columns;     /* width of help texts; 0 = lines as long as they are */
	const char *reason; /* told with what changes something, for the daemon's log; null = none */
	bool quiet_timeout; /* client_request() does not print a timeout */
	bool warned_version; /* the daemon is another version: said so */
	int argc;           /* the whole command line, for hints */
	char *const *argv;
};

struct cmd {
	const char *name;
	const char *usage;      /* after the program's name: "status [flags]"; null = name alone */
	const char *short_help;
	const char *long_help;  /* null = none */
	const struct flag *flags;
	size_t n_flags;
	const struct cmd *subs;         /* a group's subcommands, */
	const struct cmd *const *list;  /* or the same as pointers (the root) */
	size_t n_subs;
	bool is_hidden;         /* not listed in usage */
	/* Returns an exit code. 'args' are the positional arguments. Null: a subcommand is needed. */
	int (*run)(struct cli *c, const struct flags *f, int n_args, char *const *args);
};

#define CMD_FLAGS(table) .flags = (table), .n_flags = ARRAY_LEN(table)
#define CMD_SUBS(table)  .subs = (table), .n_subs = ARRAY_LEN(table)

/* Commands, each in its file. Tables of groups carry their subcommands. */
extern const struct cmd cmd_up, cmd_down, cmd_set, cmd_get, cmd_login, cmd_logout, cmd_switch;
extern const struct cmd cmd_status, cmd_ping, cmd_ip, cmd_netcheck, cmd_whois, cmd_whoami;
extern const struct cmd cmd_version, cmd_metrics, cmd_wait, cmd_licenses, cmd_completion, cmd_words;
extern const struct cmd cmd_relay, cmd_path, cmd_debug, cmd_exit_node;
extern const struct cmd cmd_coordinator;

static inline const struct cmd *cmd_sub(const struct cmd *c, size_t i)
{
	return c->list ? c->list[i] : &c->subs[i];
}

/* Runs one command line (argv[0] is the program). Returns the process's exit code. main() calls it, and
 * so does the fuzz target, whose streams go nowhere. */
int cmd_main(struct cli *c, int argc, char *const *argv);

/* The root command, with all subcommands (main.c); completion and --json-docs read it. */
extern const struct cmd cmd_root;

#endif
