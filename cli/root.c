/* SPDX-License-Identifier: MIT */
/* The root command and the way from a command line to a function: find the command, check all its flags, run
 * it. Nothing here knows what a command does. */
#include <stdlib.h>
#include <string.h>

#include "cli/cmd.h"
#include "cli/other.h"
#include "cli/out.h"
#include "wire/apijson.h"

enum { ARGS_MAX = 1024, PATH_SIZE = 200 };

static const struct flag root_flags[] = {
	{ "socket", FLAG_STRING, NULL, "path to the daemon's socket", NULL, false },
	{ "version", FLAG_BOOL, "false", "print the version", "V", true },
	{ "json-docs", FLAG_BOOL, "false", "print the commands and flags as JSON", NULL, true },
};

static const struct cmd *const commands[] = {
	&cmd_up,      &cmd_down,    &cmd_set,	   &cmd_get,	&cmd_login,    &cmd_logout,  &cmd_switch,
	&cmd_status,  &cmd_ping,    &cmd_path,	   &cmd_ip,	&cmd_whois,    &cmd_whoami,  &cmd_netcheck,
	&cmd_relay,   &cmd_exit_node, &cmd_metrics, &cmd_wait,	&cmd_version,  &cmd_licenses, &cmd_completion,
	&cmd_debug,   &cmd_coordinator, &cmd_words,
};

const struct cmd cmd_root = {
	.name = "",
	.usage = "[flags] <subcommand> [command flags]",
	.short_help = "Control meshd: a mesh network with peer relays of its own.",
	.long_help = "For help on subcommands, add --help after: \"status --help\".",
	CMD_FLAGS(root_flags),
	.list = commands,
	.n_subs = ARRAY_LEN(commands),
};

/* --- --json-docs --- */

static void write_docs(struct json_w *w, const char *key, const struct cmd *cmd, int depth)
{
	json_w_obj(w, key);
	json_w_str(w, "Name", cmd->name);
	json_w_str(w, "Desc", cmd->short_help ? cmd->short_help : "");
	json_w_arr(w, "Subcommands");
	for (size_t i = 0; depth < 3 && i < cmd->n_subs; i++)
		if (!cmd_sub(cmd, i)->is_hidden)
			write_docs(w, NULL, cmd_sub(cmd, i), depth + 1); /* as deep as our own table */
	json_w_end(w);
	json_w_arr(w, "Flags");
	for (size_t i = 0; i < cmd->n_flags; i++) {
		if (cmd->flags[i].show)
			continue;
		json_w_obj(w, NULL);
		json_w_str(w, "Name", cmd->flags[i].name);
		json_w_str(w, "Desc", cmd->flags[i].usage);
		json_w_end(w);
	}
	json_w_end(w);
	json_w_end(w);
}

static int json_docs(struct cli *c)
{
	struct json_w w = { .indent = "  " };
	struct bytes doc = { 0 };

	write_docs(&w, NULL, &cmd_root, 0);
	if (jsonmap_finish(&w, &doc))
		return out_error(c, "out of memory");
	(void)fprintf(c->out, "%.*s\n", (int)bytes_size(&doc), (const char *)bytes_data(&doc));
	bytes_wipe(&doc);
	return EXIT_OK;
}

/* --- finding the command --- */

static const struct cmd *find_sub(const struct cmd *cmd, const char *name)
{
	for (size_t i = 0; i < cmd->n_subs; i++)
		if (strcmp(cmd_sub(cmd, i)->name, name) == 0)
			return cmd_sub(cmd, i);
	return NULL;
}

static int missing_sub(struct cli *c, const struct cmd *cmd, const char *path)
{
	char names[400] = "";

	for (size_t i = 0; i < cmd->n_subs; i++) {
		size_t len = strlen(names);

		if (!cmd_sub(cmd, i)->is_hidden)
			(void)snprintf(names + len, sizeof(names) - len, "%s%s", len ? ", " : "",
				       cmd_sub(cmd, i)->name);
	}
	return out_error(c, "%s %s: missing subcommand: %s", c->prog, path, names);
}

static int unknown_sub(struct cli *c, const char *path, const char *name)
{
	char safe[PREFVAL_QUOTE_MAX];

	return out_error(c, "%s%s%s: unknown subcommand: %s", c->prog, *path ? " " : "", path,
			 prefval_bare(safe, name, strlen(name)));
}

static int flag_error(struct cli *c, const struct cmd *cmd, const char *path, char *err)
{
	/* The suggestion is a line of ours: compat mode prints none. */
	if (c->compat)
		err[strcspn(err, "\n")] = 0;
	(void)fprintf(c->err, "%s\n", err);
	out_usage(c, cmd, path, c->err);
	return EXIT_USAGE;
}

static int help(struct cli *c, const struct cmd *cmd, const char *path)
{
	out_usage(c, cmd, path, c->compat ? c->err : c->out);
	return EXIT_OK;
}

/* help CMD SUB...: what is behind "help" is looked up. */
static int help_of(struct cli *c, int n, char *const *words)
{
	const struct cmd *cmd = &cmd_root;
	char path[PATH_SIZE] = "";

	for (int i = 0; i < n && words[i][0] != '-'; i++) {
		const struct cmd *sub = find_sub(cmd, words[i]);
		const size_t len = strlen(path);

		if (!sub)
			return unknown_sub(c, path, words[i]);
		(void)snprintf(path + len, sizeof(path) - len, "%s%s", len ? " " : "", sub->name);
		cmd = sub;
	}
	return help(c, cmd, path);
}

/* --socket is a root flag that is accepted anywhere before "--". */
static int take_socket(struct cli *c, const struct cmd *cmd, int argc, char **argv, char *err)
{
	int kept = 0;

	for (size_t i = 0; i < cmd->n_flags; i++)
		if (strcmp(cmd->flags[i].name, "socket") == 0)
			return argc;
	for (int i = 0; i < argc; i++) {
		const char *w = argv[i] + (strncmp(argv[i], "--", 2) == 0 ? 2 : 1);

		if (strcmp(argv[i], "--") == 0) {
			while (i < argc)
				argv[kept++] = argv[i++];
			break;
		}
		if (argv[i][0] != '-' || strncmp(w, "socket", 6) != 0 || (w[6] && w[6] != '=')) {
			argv[kept++] = argv[i];
			continue;
		}
		if (!w[6] && i + 1 == argc) {
			(void)snprintf(err, FLAGS_ERR_MAX, "flag needs an argument: -socket");
			return -1;
		}
		if (c->socket) {
			(void)snprintf(err, FLAGS_ERR_MAX,
				       "invalid value \"%.100s\" for flag -socket: flag provided multiple times",
				       w[6] ? w + 7 : argv[i + 1]);
			return -1;
		}
		c->socket = w[6] ? w + 7 : argv[++i];
	}
	return kept;
}

/* Runs 'cmd' with the words behind its name. */
static int run_cmd(struct cli *c, const struct cmd *cmd, const char *path, int argc, char **argv)
{
	char err[FLAGS_ERR_MAX], deeper[PATH_SIZE];
	bool is_group = cmd->n_subs > 0;
	const struct cmd *sub;
	struct flags f;
	char *args[ARGS_MAX];
	int n_args = 0, used = 0;

	switch (flags_parse(&f, cmd->flags, cmd->n_flags, argc, argv, is_group, args, &n_args, &used, err)) {
	case FLAGS_HELP:
		return help(c, cmd, path);
	case FLAGS_ERROR:
		return flag_error(c, cmd, path, err);
	case FLAGS_OK:
		break;
	}
	if (flags_absent(&f))
		return out_unsupported(c, "not in this build: --%s", flags_absent(&f));
	if (!is_group)
		return cmd->run(c, &f, n_args, args);
	if (used == argc)
		return cmd->run ? cmd->run(c, &f, 0, args) : missing_sub(c, cmd, path);
	if (strcmp(argv[used], "help") == 0)
		return help(c, cmd, path);
	sub = find_sub(cmd, argv[used]);
	if (!sub)
		return unknown_sub(c, path, argv[used]);
	(void)snprintf(deeper, sizeof(deeper), "%s%s%s", path, *path ? " " : "", sub->name);
	return run_cmd(c, sub, deeper, argc - used - 1, argv + used + 1); /* as deep as our own table */
}

static int run_root(struct cli *c, int argc, char **argv)
{
	char err[FLAGS_ERR_MAX];
	const struct cmd *sub;
	int n_args = 0, used = 0, code;
	struct flags f;
	char *args[ARGS_MAX];

	switch (flags_parse(&f, root_flags, ARRAY_LEN(root_flags), argc, argv, true, args, &n_args, &used,
			    err)) {
	case FLAGS_HELP:
		return help(c, &cmd_root, "");
	case FLAGS_ERROR:
		return flag_error(c, &cmd_root, "", err);
	case FLAGS_OK:
		break;
	}
	if (flags_is_set(&f, "socket"))
		c->socket = flags_str(&f, "socket");
	if (flags_bool(&f, "json-docs"))
		return json_docs(c);
	if (flags_bool(&f, "version"))
		return run_cmd(c, &cmd_version, "version", 0, argv);
	if (used == argc)
		return help(c, &cmd_root, "");
	if (strcmp(argv[used], "help") == 0)
		return help_of(c, argc - used - 1, argv + used + 1);
	sub = find_sub(&cmd_root, argv[used]);
	if (!sub) {
		code = other_run(c, argv[used]);
		return code >= 0 ? code : unknown_sub(c, "", argv[used]);
	}
	argc = take_socket(c, sub, argc - used - 1, argv + used + 1, err);
	if (argc < 0)
		return flag_error(c, sub, sub->name, err);
	return run_cmd(c, sub, sub->name, argc, argv + used + 1);
}

int cmd_main(struct cli *c, int argc, char *const *argv)
{
	char *words[ARGS_MAX];
	int code, n = argc - 1;

	if (argc < 1 || n >= ARGS_MAX) {
		(void)out_error(c, "too many arguments");
		return EXIT_USAGE;
	}
	for (int i = 0; i < n; i++)
		words[i] = argv[i + 1];
	c->argc = argc;
	c->argv = argv;
	code = run_root(c, n, words);
	/* The stock program knows 0, 1 and 2 (cli 0.5). */
	if (c->compat && code > EXIT_USAGE)
		code = EXIT_FAILED;
	if (out_is_broken(c) && code == EXIT_OK)
		code = out_error(c, "cannot write the output");
	return code;
}
