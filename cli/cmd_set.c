/* SPDX-License-Identifier: MIT */
/* set and get: settings one by one. Spec: cli 2.1, 2.5. */
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/settings.h"

static const struct flag set_flags[] = {
	SETTINGS_FLAGS,
	{ "dry-run", FLAG_BOOL, "false", "print what would change, change nothing", NULL, false },
};

/* "name: old -> new" for each setting that differs. */
static void print_changes(struct cli *c, const struct prefs *old, const struct prefs *next)
{
	for (size_t i = 0; settings_name(i); i++) {
		struct bytes a = { 0 }, b = { 0 };

		settings_value(i, old, &a);
		settings_value(i, next, &b);
		if (strcmp((const char *)bytes_data(&a), (const char *)bytes_data(&b)) != 0)
			(void)fprintf(c->out, "%s: %s -> %s\n", settings_name(i),
				      (const char *)bytes_data(&a), (const char *)bytes_data(&b));
		bytes_wipe(&a);
		bytes_wipe(&b);
	}
}

static int dry_run(struct cli *c, const struct prefs_edit *e, const struct prefs *old)
{
	char err[PREFS_ERR_MAX] = "out of memory";
	struct prefs next = { 0 };

	if (prefs_apply(&next, old, e, err))
		return out_error(c, "%s", err);
	print_changes(c, old, &next);
	prefs_wipe(&next);
	return EXIT_OK;
}

/* `up` shows it among the health warnings. */
static void warn_snat(struct cli *c, const struct flags *f, const struct prefs *now)
{
	if (now->n_advertise_routes && !now->no_snat &&
	    (flags_is_set(f, "advertise-routes") || flags_is_set(f, "advertise-exit-node")))
		(void)fprintf(c->err, "Warning: sources are not translated in this build: hosts behind the advertised "
				      "routes need a route back (--snat-subnet-routes=false says that they have one)\n");
}

static int apply(struct cli *c, const struct flags *f, struct prefs_edit *e, bool needs_old)
{
	bool dry = flags_bool(f, "dry-run");
	struct prefs old = { 0 }, now = { 0 };
	int err = EXIT_OK;

	if (needs_old || dry)
		err = settings_fetch(c, &old);
	if (!err && needs_old)
		err = settings_finish(c, f, e, &old);
	if (!err && dry)
		err = dry_run(c, e, &old);
	else if (!err)
		err = settings_send(c, e, &now);
	if (!err && !dry) {
		settings_warn(c, f, &now);
		warn_snat(c, f, &now);
		if (flags_is_set(f, "relay-server-port") || flags_bool(f, "advertise-relay-server"))
			settings_warn_relay(c, &now);
	}
	prefs_wipe(&old);
	prefs_wipe(&now);
	return err;
}

static int run_set(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct prefs_edit e = { 0 };
	char quoted[PREFVAL_QUOTE_MAX];
	bool needs_old;
	int err;

	if (n_args > 0)
		return out_error(c, "unexpected argument %s",
				 prefval_quote(quoted, args[0], strlen(args[0])));
	err = settings_edit(c, f, &e, &needs_old);
	if (err)
		return err;
	if (!e.mask && e.relay_on == TRI_UNSET && !needs_old) {
		out_usage(c, &cmd_set, "set", c->compat ? c->err : c->out);
		return EXIT_OK;
	}
	err = apply(c, f, &e, needs_old);
	prefs_edit_wipe(&e);
	return err;
}

const struct cmd cmd_set = {
	.name = "set",
	.usage = "set [flags]",
	.short_help = "Change specified preferences",
	.long_help = "\"set\" changes only the settings that are named; all others keep their values.",
	CMD_FLAGS(set_flags),
	.run = run_set,
};

/* --- get --- */

static const struct flag get_flags[] = {
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
	{ "set-flags", FLAG_BOOL, "false", "print the settings as flags of \"set\"", NULL, false },
};

static void print_flag(struct cli *c, size_t i, const char *value)
{
	char *word;

	if (settings_is_bool(i)) {
		(void)fprintf(c->out, strcmp(value, "true") == 0 ? "--%s" : "--%s=false", settings_name(i));
		return;
	}
	(void)fprintf(c->out, "--%s=", settings_name(i));
	word = *value ? malloc(OUT_SHELL_WORD_SIZE(strlen(value))) : NULL;
	if (word)
		(void)fputs(out_shell_word(word, OUT_SHELL_WORD_SIZE(strlen(value)), value), c->out);
	free(word);
}

static int print_get_json(struct cli *c, const struct prefs *p, const char *name)
{
	struct json_w w = { .indent = "  " };
	struct bytes doc = { 0 };

	json_w_obj(&w, NULL);
	for (size_t i = 0; settings_name(i); i++) {
		struct bytes v = { 0 };

		if (name && strcmp(name, settings_name(i)) != 0)
			continue;
		settings_value(i, p, &v);
		if (settings_is_bool(i))
			json_w_bool(&w, settings_name(i), strcmp((const char *)bytes_data(&v), "true") == 0);
		else
			json_w_str(&w, settings_name(i), (const char *)bytes_data(&v));
		bytes_wipe(&v);
	}
	json_w_end(&w);
	if (jsonmap_finish(&w, &doc))
		return out_error(c, "out of memory");
	(void)fwrite(bytes_data(&doc), 1, bytes_size(&doc), c->out);
	(void)fputc('\n', c->out);
	bytes_wipe(&doc);
	return EXIT_OK;
}

static int print_get(struct cli *c, const struct flags *f, const struct prefs *p, const char *name)
{
	bool as_flags = flags_bool(f, "set-flags");
	struct out_table t;
	size_t shown = 0;

	if (flags_bool(f, "json"))
		return print_get_json(c, p, name);
	out_table_init(&t, 0, 2);
	if (!name && !as_flags)
		out_table_add(&t, "NAME\tVALUE\n");
	for (size_t i = 0; settings_name(i); i++) {
		struct bytes v = { 0 };

		if (name && strcmp(name, settings_name(i)) != 0)
			continue;
		/* The line is for "set", which must take it. */
		if (as_flags && !c->compat && settings_is_refused(i, p))
			continue;
		settings_value(i, p, &v);
		if (as_flags) {
			(void)fputs(shown++ ? " " : "", c->out);
			print_flag(c, i, (const char *)bytes_data(&v));
		} else if (name) {
			(void)fprintf(c->out, "%s\n", (const char *)bytes_data(&v));
		} else {
			out_table_add(&t, "%s\t%s\n", settings_name(i), (const char *)bytes_data(&v));
		}
		bytes_wipe(&v);
	}
	if (as_flags)
		(void)fputc('\n', c->out);
	out_table_flush(&t, c->out);
	return EXIT_OK;
}

static int run_get(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	const char *name = n_args > 0 && strcmp(args[0], "all") != 0 ? args[0] : NULL;
	char quoted[PREFVAL_QUOTE_MAX];
	struct prefs p = { 0 };
	size_t i = 0;
	int err;

	if (n_args > 1)
		return out_error(c, "too many arguments, expected at most one setting");
	while (name && settings_name(i) && strcmp(settings_name(i), name) != 0)
		i++;
	if (name && !settings_name(i))
		return out_error(c, "unknown setting %s; see \"%s set --help\" for valid settings",
				 prefval_quote(quoted, name, strlen(name)), c->prog);
	err = settings_fetch(c, &p);
	if (!err)
		err = print_get(c, f, &p, name);
	prefs_wipe(&p);
	return err;
}

const struct cmd cmd_get = {
	.name = "get",
	.usage = "get [--json] [--set-flags] [setting|all]",
	.short_help = "Print the settings of this node",
	CMD_FLAGS(get_flags),
	.run = run_get,
};
