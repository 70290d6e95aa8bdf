/* SPDX-License-Identifier: MIT */
/* The file is read and checked whole before the database is opened; the database changes in one transaction. */
#include "daemon/importstate.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/conf.h"
#include "daemon/store.h"
#include "daemon/wholefile.h"
#include "wire/prefval.h"
#include "wire/tsstate.h"

enum { FLAGS_MAX = 400 };

static int refuse(int exit_code, const char *name, const char *why)
{
	(void)fprintf(stderr, "meshd: %s: %s\n", name, why);
	return exit_code;
}

/* The whole file, or null and a sentence. */
static char *read_file(const char *path, size_t *size, char err[static TSSTATE_ERR_MAX])
{
	char *text = NULL;
	mode_t mode;
	int ret = wholefile_read(path, TSSTATE_SIZE_MAX, &text, size, &mode);

	if (!ret && *size)
		return text;
	free(text);
	(void)snprintf(err, TSSTATE_ERR_MAX, "%s",
		       !ret ? "not a tailscaled state: the file is empty" :
		       ret == -EINVAL ? "not a regular file" :
		       ret == -EFBIG ? "not a tailscaled state: larger than 4 MiB" :
		       ret == -ESTALE ? "it changes while it is read; stop tailscaled first" :
		       ret == -ENOMEM ? "out of memory" :
					strerror(-ret));
	return NULL;
}

/* Marks preferences that ask for what this build lacks in '*bits' and lists their flags. */
static void list_unbuilt(const struct tsstate *t, uint64_t *bits, char flags[static FLAGS_MAX])
{
	size_t len = 0;

	*bits = 0;
	flags[0] = 0;
	for (unsigned i = 0; i < PREF_N; i++) {
		const char *flag = prefs_unbuilt(&t->prefs, PREF_BIT(i));

		if (!flag)
			continue;
		*bits |= PREF_BIT(i);
		/* Two settings of one flag stand behind each other or apart; the names are those of one table. */
		for (unsigned k = 0; k < i && flag; k++)
			if (prefs_unbuilt(&t->prefs, PREF_BIT(k)) == flag)
				flag = NULL;
		if (flag && len + strlen(flag) + 3 < FLAGS_MAX)
			len += (size_t)snprintf(flags + len, FLAGS_MAX - len, "%s%s", len ? ", " : "", flag);
	}
	if (t->has_serve && len + 16 < FLAGS_MAX)
		(void)snprintf(flags + len, FLAGS_MAX - len, "%sserve", len ? ", " : "");
}

/* What is stored: the file's preferences with 'unbuilt' at their defaults and a whole control URL. */
static int make_prefs(struct prefs *next, const struct tsstate *t, uint64_t unbuilt, char err[static PREFS_ERR_MAX])
{
	struct prefs_edit edit = { .mask = unbuilt | PREF_BIT(PREF_CONTROL_URL) };
	const char *url = t->prefs.control_url && *t->prefs.control_url ? t->prefs.control_url : PREFVAL_HOSTED_URL;
	int ret;

	prefs_defaults(&edit.prefs);
	ret = prefval_control_url(&edit.prefs, url, err);
	if (!ret)
		ret = prefs_apply(next, &t->prefs, &edit, err);
	prefs_edit_wipe(&edit);
	return ret;
}

/* Nobody is logged in here: a machine key without a node key is known to no server. */
static int check_vacant(struct store *s, const char *path)
{
	struct store_identity id = { 0 };
	int ret = store_get_identity(s, &id);
	const bool has_login = !ret && (id.is_registered || !key_is_zero(id.node.b));

	store_identity_wipe(&id);
	if (has_login)
		return refuse(CONF_REFUSED, path,
			      "this host has a login already; run `meshctl logout` first, or name another --state");
	if (ret && ret != -ENOENT)
		return refuse(CONF_REFUSED, path, "the state database is damaged; nothing was changed");
	return 0;
}

static int store_all(const struct conf *conf, const struct tsstate *t, const struct prefs *prefs)
{
	struct store_identity id = { .machine = t->machine, .node = t->node, .is_registered = true };
	char err[STORE_ERR_MAX] = "";
	struct store *s = NULL;
	int ret;

	if (store_open(&s, conf->state, NULL, err)) {
		store_identity_wipe(&id);
		(void)fprintf(stderr, "meshd: %s\n", err); /* it begins with the path */
		return CONF_REFUSED;
	}
	ret = check_vacant(s, conf->state);
	if (!ret && store_take_over(s, &id, prefs->control_url, prefs))
		ret = refuse(CONF_REFUSED, conf->state, "the state cannot be written; nothing was changed");
	store_identity_wipe(&id);
	store_close(s);
	return ret;
}

static void report(const struct conf *conf, const struct tsstate *t, const struct prefs *prefs, const char *left_out)
{
	char quoted[PREFVAL_QUOTE_MAX], brief[KEY_SHORT_MAX];
	struct node_key node;

	key_public(node.b, t->node.b);
	key_short(brief, KEY_NODE, node.b);
	(void)printf("Took over node %s with profile %s of %s from %s.\n", brief,
		     prefval_quote(quoted, t->profile, strlen(t->profile)), prefs->control_url, conf->import_state);
	if (t->n_others)
		(void)printf("It is the current profile; %zu more stay%s behind.\n", t->n_others,
			     t->n_others == 1 ? "s" : "");
	if (*left_out)
		(void)printf("Not in this build, and left out: %s.\n", left_out);
	if (t->has_attestation)
		(void)printf("The hardware key of this node stays behind; a server that demands it will want a "
			     "new login.\n");
	if (!prefs->want_running)
		(void)printf("The node is down, as it was; `meshctl up` starts it.\n");
	(void)printf("Keep tailscaled stopped for good: two daemons with one key cut each other off.\n");
}

int importstate_run(const struct conf *conf)
{
	char err[TSSTATE_ERR_MAX] = "", why[PREFS_ERR_MAX] = "", flags[FLAGS_MAX], text[FLAGS_MAX + 200];
	struct prefs prefs = { 0 };
	struct tsstate t;
	uint64_t unbuilt;
	size_t size = 0;
	char *file;
	int ret;

	if (strcmp(conf->state, "mem:") == 0)
		return refuse(CONF_BAD_USAGE, "--import-state", "needs a state that is kept, not mem:");
	file = read_file(conf->import_state, &size, err);
	if (!file)
		return refuse(CONF_REFUSED, conf->import_state, err);
	ret = tsstate_parse(&t, file, size, err);
	sodium_memzero(file, size);
	free(file);
	if (ret)
		return refuse(CONF_REFUSED, conf->import_state, err);
	list_unbuilt(&t, &unbuilt, flags);
	if (*flags && !conf->import_partial) {
		(void)snprintf(text, sizeof(text),
			       "not in this build: %s (switch it off in tailscale, or leave it out with "
			       "--import-partial); nothing was changed",
			       flags);
		ret = refuse(CONF_NOT_BUILT, conf->import_state, text);
	} else if (make_prefs(&prefs, &t, unbuilt, why)) {
		ret = refuse(CONF_REFUSED, conf->import_state, *why ? why : "out of memory");
	} else {
		ret = store_all(conf, &t, &prefs);
	}
	if (!ret)
		report(conf, &t, &prefs, flags);
	prefs_wipe(&prefs);
	tsstate_wipe(&t);
	return ret;
}
