/* SPDX-License-Identifier: MIT */
/* debug: what support guides ask for. Spec: cli 6, 7. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/out.h"
#include "cli/relay.h"
#include "wire/apijson.h"

enum { BODY_MAX = 1 << 20 };

static const struct flag prefs_flags[] = {
	{ "pretty", FLAG_BOOL, "false", "if true, pretty-print output", NULL, false },
};

static const struct flag localapi_flags[] = {
	{ "v", FLAG_BOOL, "false", "verbose; dump the status of the answer", NULL, false },
};

static const struct flag watch_flags[] = {
	{ "initial", FLAG_BOOL, "false", "include initial status", NULL, false },
	{ "count", FLAG_INT, "0", "exit after printing this many statuses, or 0 to keep going forever", NULL, false },
	{ "mask", FLAG_INT, "0", "notification mask", NULL, true },
};

/* Prints the answer of a GET, laid out anew. */
static int print_doc(struct cli *c, const char *path, const char *indent)
{
	struct client_reply r;
	int err = client_get(c, path, &r);

	if (err)
		return err;
	err = out_json(c, (const char *)bytes_data(&r.body), bytes_size(&r.body), indent, true);
	client_reply_wipe(&r);
	return err;
}

/* POST debug?action=…; success prints nothing. */
static int action(struct cli *c, const char *name, bool print)
{
	struct client_reply r;
	char path[80];
	int err;

	(void)snprintf(path, sizeof(path), "debug?action=%s", name);
	err = client_call(c, "POST", path, NULL, 0, &r);
	if (err)
		return err;
	if (print)
		err = out_json(c, (const char *)bytes_data(&r.body), bytes_size(&r.body), "  ", true);
	client_reply_wipe(&r);
	return err;
}

#define ACTION(fn, name, print) \
	static int fn(struct cli *c, const struct flags *f, int n_args, char *const *args) \
	{ \
		(void)f; \
		(void)args; \
		return n_args > 0 ? out_error(c, "unexpected arguments") : action(c, name, print); \
	}

ACTION(run_restun, "restun", false)
ACTION(run_rebind, "rebind", false)
ACTION(run_rotate, "rotate-disco-key", false)
ACTION(run_break_derp, "break-derp-conns", false)
ACTION(run_break_tcp, "break-tcp-conns", false)
ACTION(run_pick_derp, "pick-new-derp", false)
ACTION(run_force_netmap, "force-netmap-update", false)
ACTION(run_servers, "peer-relay-servers", true)
ACTION(run_netmap, "current-netmap", true)

static int run_sessions(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	(void)f;
	(void)args;
	return n_args > 0 ? out_error(c, "unexpected arguments") : relay_debug_sessions(c);
}

static int run_prefs(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	(void)args;
	if (n_args > 0)
		return out_error(c, "unexpected arguments");
	return print_doc(c, "prefs", flags_bool(f, "pretty") ? "\t" : NULL);
}

static int run_derp_map(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	(void)f;
	(void)args;
	return n_args > 0 ? out_error(c, "unexpected arguments") : print_doc(c, "derpmap", " ");
}

static int run_metrics(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	struct client_reply r;
	int err;

	(void)f;
	(void)args;
	if (n_args > 0)
		return out_error(c, "unexpected arguments");
	err = client_get(c, "metrics", &r);
	if (err)
		return err;
	(void)fwrite(bytes_data(&r.body), 1, bytes_size(&r.body), c->out);
	client_reply_wipe(&r);
	return EXIT_OK;
}

static int run_local_creds(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	(void)f;
	(void)args;
	if (n_args > 0)
		return out_error(c, "unexpected arguments");
	(void)fprintf(c->out, "curl --unix-socket %s http://local-tailscaled.sock/localapi/v0/status\n",
		      c->socket ? c->socket : "/run/meshd/meshd.sock");
	return EXIT_OK;
}

/* --- watch-ipn --- */

static int run_watch(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	int64_t count = flags_int(f, "count"), mask = flags_int(f, "mask");
	struct client_stream *s = NULL;
	const char *line;
	char path[64];
	size_t len;
	int err;

	(void)args;
	if (n_args > 0)
		return out_error(c, "unexpected arguments");
	if (count < 0 || mask < 0)
		return out_error(c, "invalid value for --count or --mask; want 0 or more");
	if (flags_bool(f, "initial"))
		mask |= NOTIFY_INITIAL_STATE | NOTIFY_INITIAL_PREFS | NOTIFY_INITIAL_NETMAP;
	(void)snprintf(path, sizeof(path), "watch-ipn-bus?mask=%lld", (long long)mask);
	err = client_stream_open(c, path, &s);
	if (err)
		return err;
	for (int64_t i = 0; count == 0 || i < count; i++) {
		err = client_stream_line(s, -1, &line, &len);
		if (err)
			break;
		if (out_json(c, line, len, "\t", true) || out_is_broken(c))
			break;
	}
	client_stream_close(s);
	return err == 0 ? EXIT_OK : out_error(c, "the daemon closed the connection");
}

/* --- localapi --- */

static int read_stdin(struct cli *c, struct bytes *body)
{
	for (;;) {
		uint8_t buf[4096];
		ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return out_error(c, "cannot read standard input: %s", strerror(errno));
		if (n == 0)
			return EXIT_OK;
		if (bytes_size(body) + (size_t)n > BODY_MAX || bytes_append(body, buf, (size_t)n))
			return out_error(c, "the request body is larger than 1 MiB");
	}
}

static int run_localapi(struct cli *c, const struct flags *f, int n_args, char *const *args)
{
	static const char prefix[] = "/localapi/v0/";
	const char *method = n_args > 1 ? args[0] : "GET", *path = n_args > 1 ? args[1] : args[0];
	struct bytes body = { 0 };
	char safe_method[40], safe_path[400];
	struct client_reply r;
	int err = EXIT_OK;

	if (n_args < 1 || n_args > 3)
		return out_error(c, "usage: %s debug localapi [<method>] <path> [<body| \"-\">]", c->prog);
	if (strncmp(path, prefix, sizeof(prefix) - 1) == 0)
		path += sizeof(prefix) - 1;
	else if (*path == '/')
		return out_error(c, "the path does not begin with %s", prefix);
	if (n_args == 3 && strcmp(args[2], "-") == 0)
		err = read_stdin(c, &body);
	else if (n_args == 3 && bytes_append(&body, args[2], strlen(args[2])))
		err = out_error(c, "out of memory");
	if (!err) {
		(void)fprintf(c->err, "# doing request %s %s%s\n",
			      out_safe(safe_method, sizeof(safe_method), method), prefix,
			      out_safe(safe_path, sizeof(safe_path), path));
		err = client_request(c, method, path, bytes_data(&body), bytes_size(&body), 0, &r);
	}
	bytes_wipe(&body);
	if (err)
		return err;
	if (flags_bool(f, "v"))
		(void)fprintf(c->err, "# HTTP status %d\n", r.status);
	(void)fwrite(bytes_data(&r.body), 1, bytes_size(&r.body), c->out);
	err = r.status >= 200 && r.status < 300 ? EXIT_OK : EXIT_FAILED;
	client_reply_wipe(&r);
	return err;
}

static const struct cmd subs[] = {
	{ .name = "break-derp-conns", .short_help = "Break any open DERP connections from the daemon",
	  .run = run_break_derp },
	{ .name = "break-tcp-conns", .short_help = "Break any open TCP connections from the daemon",
	  .run = run_break_tcp },
	{ .name = "derp-map", .short_help = "Print DERP map", .run = run_derp_map },
	{ .name = "force-netmap-update", .short_help = "Fetch the complete network map anew", .run = run_force_netmap },
	{ .name = "local-creds", .short_help = "Print how to access the local API", .run = run_local_creds },
	{ .name = "localapi", .usage = "debug localapi [<method>] <path> [<body| \"-\">]",
	  .short_help = "Call a local API method directly", CMD_FLAGS(localapi_flags), .run = run_localapi },
	{ .name = "metrics", .short_help = "Print the daemon's internal counters", .run = run_metrics },
	{ .name = "netmap", .short_help = "Print the current network map", .run = run_netmap },
	{ .name = "peer-relay-servers", .short_help = "Print the current set of candidate peer relay servers",
	  .run = run_servers },
	{ .name = "peer-relay-sessions", .short_help = "Print the current set of active peer relay sessions",
	  .run = run_sessions },
	{ .name = "pick-new-derp", .short_help = "Switch to some other random DERP home region for a short time",
	  .run = run_pick_derp },
	{ .name = "prefs", .short_help = "Print prefs", CMD_FLAGS(prefs_flags), .run = run_prefs },
	{ .name = "rebind", .short_help = "Force a rebind of the daemon's sockets", .run = run_rebind },
	{ .name = "restun", .short_help = "Force a STUN of the daemon's sockets", .run = run_restun },
	{ .name = "rotate-disco-key", .short_help = "Rotate the discovery key", .run = run_rotate },
	{ .name = "watch-ipn", .short_help = "Subscribe to the daemon's notifications", CMD_FLAGS(watch_flags),
	  .run = run_watch },
};

const struct cmd cmd_debug = {
	.name = "debug",
	.usage = "debug <subcommand>",
	.short_help = "Debug commands",
	CMD_SUBS(subs),
	.is_hidden = true,
};
