/* SPDX-License-Identifier: MIT */
/* version and licenses. Spec: cli 5.9. */
#include <stdlib.h>
#include <string.h>

#include "cli/client.h"
#include "cli/out.h"
#include "wire/apijson.h"

static const struct flag version_flags[] = {
	{ "daemon", FLAG_BOOL, "false", "also print local node's daemon version", NULL, false },
	{ "json", FLAG_BOOL, "false", "output in JSON format", NULL, false },
	{ "upstream", FLAG_BOOL, "false", "not in this build", NULL, true },
	{ "track", FLAG_STRING, NULL, "not in this build", NULL, true },
};

static int daemon_version(struct cli *c, char *text, size_t size)
{
	struct client_reply r;
	struct status s = { 0 };
	int err = client_get(c, "status?peers=false", &r);

	if (err)
		return err;
	if (status_parse(&s, (const char *)bytes_data(&r.body), bytes_size(&r.body)))
		err = out_error(c, "unexpected answer of the daemon to status");
	else
		(void)out_safe(text, size, s.version);
	status_wipe(&s);
	client_reply_wipe(&r);
	return err;
}

static int print_json(struct cli *c, const char *daemon)
{
	struct json_w w = { .indent = "  " };
	struct bytes doc = { 0 };
	char numbers[32];

	(void)snprintf(numbers, sizeof(numbers), "%.*s", (int)strcspn(API_VERSION_SHORT, "-"),
		       API_VERSION_SHORT);
	json_w_obj(&w, NULL);
	json_w_str(&w, "majorMinorPatch", numbers);
	json_w_str(&w, "short", API_VERSION_SHORT);
	json_w_str(&w, "long", API_VERSION_SHORT);
	json_w_str(&w, "gitCommit", "");
	json_w_i64(&w, "cap", API_CAP_VERSION);
	if (*daemon)
		json_w_str(&w, "daemonLong", daemon);
	json_w_end(&w);
	if (jsonmap_finish(&w, &doc))
		return out_error(c, "out of memory");
	(void)fprintf(c->out, "%.*s\n", (int)bytes_size(&doc), (const char *)bytes_data(&doc));
	bytes_wipe(&doc);
	return EXIT_OK;
}

static int run_version(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	char daemon[200] = "";
	int err = EXIT_OK;

	(void)args;
	if (n_args > 0)
		return out_error(c, "too many non-flag arguments");
	if (flags_bool(f, "upstream") || *flags_str(f, "track"))
		return out_unsupported(c, "not in this build: --upstream; ask the package manager");
	if (flags_bool(f, "daemon"))
		err = daemon_version(c, daemon, sizeof(daemon));
	if (err)
		return err;
	if (flags_bool(f, "json"))
		return print_json(c, daemon);
	if (*daemon)
		(void)fprintf(c->out, "Client: %s\nDaemon: %s\n", API_VERSION_SHORT, daemon);
	else
		(void)fprintf(c->out, "%s\n", API_VERSION_SHORT);
	return EXIT_OK;
}

const struct cmd cmd_version = {
	.name = "version",
	.usage = "version [flags]",
	.short_help = "Print version",
	CMD_FLAGS(version_flags),
	.run = run_version,
};

static int run_licenses(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	(void)f;
	(void)args;
	if (n_args > 0)
		return out_error(c, "too many non-flag arguments");
	(void)fputs("meshd and meshctl are free software under the MIT licence.\n"
		    "They use: cJSON (MIT), http-parser or llhttp (MIT), libb2 (CC0), libcurl (curl licence),\n"
		    "libmnl (LGPL-2.1+), libnatpmp (BSD), libsodium (ISC), liburcu (LGPL-2.1+), miniupnpc (BSD),\n"
		    "nghttp2 (MIT), OpenSSL (Apache-2.0), sqlite3 (public domain), zstd (BSD); where it is built\n"
		    "in, Intel IPsec MB (BSD).\n",
		    c->out);
	return EXIT_OK;
}

const struct cmd cmd_licenses = {
	.name = "licenses",
	.short_help = "Get open source license information",
	.run = run_licenses,
};
