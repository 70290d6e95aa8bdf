/* SPDX-License-Identifier: MIT */
/* Command line and environment of meshd; the file is in conf_file.c. */
#include "config.h"

#include "daemon/conf.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/confpriv.h"
#include "daemon/wholefile.h"
#include "path/portmapper.h"

#define DEFAULT_TUN	"tailscale0"
#define DEFAULT_STATE	"/var/lib/meshd/meshd.db"
#define DEFAULT_SOCKET	"/run/meshd/meshd.sock"
#define DEFAULT_CONFIG	"/etc/meshd/meshd.conf"

enum { FILE_SIZE_MAX = 1 << 20, TUN_NAME_MAX = 15 };

enum opt {
	OPT_TUN, OPT_PORT, OPT_STATE, OPT_STATEDIR, OPT_SOCKET, OPT_CONFIG, OPT_VERBOSE, OPT_PORTMAP,
	OPT_NO_LOGS, OPT_DEBUG, OPT_METRICS, OPT_CLEANUP, OPT_VERSION, OPT_HELP, OPT_H,
	OPT_SOCKS5, OPT_HTTP_PROXY, OPT_IMPORT, OPT_PARTIAL,
	OPT_BIRD, OPT_ENCRYPT, OPT_ATTEST, OPT_SYSPOLICY,
};

static const struct {
	const char *name;
	enum opt opt;
	bool is_bool;
} options[] = {
	{ "tun", OPT_TUN, false },
	{ "port", OPT_PORT, false },
	{ "state", OPT_STATE, false },
	{ "statedir", OPT_STATEDIR, false },
	{ "socket", OPT_SOCKET, false },
	{ "config", OPT_CONFIG, false },
	{ "portmap", OPT_PORTMAP, false },
	{ "verbose", OPT_VERBOSE, false },
	{ "no-logs-no-support", OPT_NO_LOGS, true },
	{ "debug", OPT_DEBUG, false },
	{ "metrics-listen", OPT_METRICS, false },
	{ "cleanup", OPT_CLEANUP, true },
	{ "version", OPT_VERSION, true },
	{ "help", OPT_HELP, true },
	{ "h", OPT_H, true },
	{ "socks5-server", OPT_SOCKS5, false },
	{ "outbound-http-proxy-listen", OPT_HTTP_PROXY, false },
	{ "import-state", OPT_IMPORT, false },
	{ "import-partial", OPT_PARTIAL, true },
	{ "bird-socket", OPT_BIRD, false },
	{ "encrypt-state", OPT_ENCRYPT, true },
	{ "hardware-attestation", OPT_ATTEST, true },
	{ "syspolicy-file", OPT_SYSPOLICY, false },
};

const char *conf_usage(void)
{
	return "Usage: meshd [flags]\n"
	       "  --tun NAME             TUN interface; a comma list is tried in order (default " DEFAULT_TUN
	       ")\n"
	       "  --port [IP:]N          UDP port of WireGuard and discovery; 0 = any, remembered (default $PORT or 0)\n"
	       "  --state PATH           state database, or mem: for none (default " DEFAULT_STATE ")\n"
	       "  --statedir DIR         directory of other state (default: that of the database)\n"
	       "  --socket PATH          local API; may be given up to 4 times (default " DEFAULT_SOCKET ")\n"
	       "  --config FILE          configuration (default " DEFAULT_CONFIG " when it exists);\n"
	       "                         optional:FILE may be missing\n"
	       "  --metrics-listen WHERE IP:port or path for /metrics and /healthz (default off)\n"
	       "  --portmap WHAT         ask the gateway for port mappings: auto, off, upnp, pmp, pcp (default auto)\n"
	       "  --verbose N            log more (default 0)\n"
	       "  --import-state FILE    take over the node of a tailscaled.state, then exit\n"
	       "  --import-partial       with it: leave out settings that this build has not\n"
	       "  --cleanup              remove rules, routes and addresses of an earlier run, then exit\n"
	       "  --version              print the version\n";
}

/* --- errors --- */

int conf_fail(struct conf_error *err, int exit_code, const char *fmt, ...)
{
	va_list ap;

	err->exit_code = exit_code;
	va_start(ap, fmt);
	(void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	prefval_mask_secrets(err->text);
	return -EINVAL;
}

static int bad_value(struct conf_error *err, const char *name, const char *value, const char *why)
{
	char quoted[PREFVAL_QUOTE_MAX];

	return conf_fail(err, CONF_BAD_USAGE, "invalid value %.250s for flag -%s: %s",
			 prefval_quote(quoted, value, strlen(value)), name, why);
}

int conf_set_str(char **to, const char *value)
{
	char *s = strdup(value);

	if (!s)
		return -ENOMEM;
	free(*to);
	*to = s;
	return 0;
}

static int warn(struct conf *c, const char *fmt, ...) MESH_PRINTF(2, 3);

static int warn(struct conf *c, const char *fmt, ...)
{
	char *line = NULL, *all = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&line, fmt, ap);
	va_end(ap);
	if (n < 0)
		return -ENOMEM;
	n = asprintf(&all, "%s%s\n", c->warnings ? c->warnings : "", line);
	free(line);
	if (n < 0)
		return -ENOMEM;
	free(c->warnings);
	c->warnings = all;
	return 0;
}

/* --- values --- */

int conf_portmap(unsigned *methods, const char *text)
{
	static const struct {
		const char *text;
		unsigned methods;
	} words[] = { { "auto", PORTMAPPER_ALL },
		      { "off", 0 },
		      { "upnp", 1 << PORTMAPPER_UPNP },
		      { "pmp", 1 << PORTMAPPER_PMP },
		      { "pcp", 1 << PORTMAPPER_PCP } };

	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(text, words[i].text) != 0)
			continue;
		*methods = words[i].methods;
		return 0;
	}
	return -EINVAL;
}

static int parse_number(const char *text, unsigned long max, unsigned long *out)
{
	char *end;
	unsigned long n;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoul(text, &end, 10);
	if (errno || *end || n > max)
		return -EINVAL;
	*out = n;
	return 0;
}

static int set_tun(struct conf *c, const char *value, struct conf_error *err)
{
	const char *p = value;

	for (size_t i = 0; i < c->n_tun; i++)
		free(c->tun[i]);
	c->n_tun = 0;
	while (*p || p == value) {
		size_t len = strcspn(p, ",");

		if (len == 20 && memcmp(p, "userspace-networking", len) == 0)
			return conf_fail(err, CONF_NOT_BUILT, "not in this build: --tun=userspace-networking");
		if (len == 0 || len > TUN_NAME_MAX || memchr(p, '/', len) || memchr(p, ' ', len))
			return bad_value(err, "tun", value, "want interface names of 1 to 15 characters");
		if (c->n_tun == CONF_TUNS_MAX)
			return bad_value(err, "tun", value, "too many names");
		c->tun[c->n_tun] = strndup(p, len);
		if (!c->tun[c->n_tun])
			return -ENOMEM;
		c->n_tun++;
		p += len + (p[len] == ',' ? 1 : 0);
	}
	return 0;
}

/* "N" or "IP:N". */
static int set_port(struct conf *c, const char *name, const char *value, struct conf_error *err)
{
	unsigned long n;
	struct ep ep;

	if (ep_parse(&ep, value, strlen(value)) == 0) {
		c->bind = ep.ip;
		c->port = ep.port;
		return 0;
	}
	if (parse_number(value, UINT16_MAX, &n))
		return bad_value(err, name, value, "want a port from 0 to 65535, or IP:port");
	c->port = (uint16_t)n;
	return 0;
}

static int set_listen(struct conf *c, const char *name, const char *value, struct conf_error *err)
{
	struct ep ep;

	if (value[0] != '/' && ep_parse(&ep, value, strlen(value)))
		return bad_value(err, name, value, "want IP:port or an absolute path");
	return conf_set_str(&c->metrics_listen, value);
}

static int set_option(struct conf *c, enum opt opt, const char *name, const char *value,
		      struct conf_error *err)
{
	unsigned long n;

	switch (opt) {
	case OPT_TUN:
		return set_tun(c, value, err);
	case OPT_PORT:
		return set_port(c, name, value, err);
	case OPT_STATE:
		return *value ? conf_set_str(&c->state, value) : bad_value(err, name, value, "empty path");
	case OPT_STATEDIR:
		return conf_set_str(&c->statedir, value);
	case OPT_SOCKET:
		if (!*value || c->n_sockets == CONF_SOCKETS_MAX)
			return bad_value(err, name, value, *value ? "too many sockets" : "empty path");
		return conf_set_str(&c->sockets[c->n_sockets++], value);
	case OPT_CONFIG:
		return conf_set_str(&c->config_path, value);
	case OPT_PORTMAP:
		c->is_portmap_named = true;
		return conf_portmap(&c->portmap, value) == 0 ?
			       0 :
			       bad_value(err, name, value, "want " CONF_PORTMAP_WORDS);
	case OPT_VERBOSE:
		if (parse_number(value, 9, &n))
			return bad_value(err, name, value, "parse error");
		c->verbose = (int)n;
		return 0;
	case OPT_DEBUG:
	case OPT_METRICS:
		return set_listen(c, name, value, err);
	case OPT_CLEANUP:
		c->cleanup = true;
		return 0;
	case OPT_VERSION:
		c->version = true;
		return 0;
	case OPT_HELP:
	case OPT_H:
		c->help = true;
		return 0;
	case OPT_NO_LOGS:
		return 0; /* we never upload logs */
	case OPT_IMPORT:
		return *value ? conf_set_str(&c->import_state, value) : bad_value(err, name, value, "empty path");
	case OPT_PARTIAL:
		c->import_partial = true;
		return 0;
	case OPT_SOCKS5:
	case OPT_HTTP_PROXY:
		return *value ? conf_fail(err, CONF_NOT_BUILT, "not in this build: --%s", name) : 0;
	case OPT_BIRD:
	case OPT_ENCRYPT:
	case OPT_ATTEST:
	case OPT_SYSPOLICY:
		return warn(c, "--%s is not supported and has no effect", name);
	}
	return -EINVAL;
}

static bool parse_bool(const char *text, bool *out)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE", "True" };
	static const char *const no[] = { "0", "f", "F", "false", "FALSE", "False" };

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*out = strcmp(text, yes[i]) == 0;
			return true;
		}
	}
	return false;
}

/* One word that begins with a dash; '*i' moves over its value. */
static int read_flag(struct conf *c, int argc, char *const argv[], int *i, struct conf_error *err)
{
	const char *word = argv[*i] + (argv[*i][1] == '-' ? 2 : 1), *eq = strchr(word, '=');
	size_t len = eq ? (size_t)(eq - word) : strlen(word);
	const char *value = eq ? eq + 1 : NULL;
	bool on = true;

	for (size_t k = 0; k < ARRAY_LEN(options); k++) {
		const char *name = options[k].name;

		if (strlen(name) != len || memcmp(name, word, len) != 0)
			continue;
		if (options[k].is_bool) {
			if (value && !parse_bool(value, &on))
				return bad_value(err, name, value, "parse error");
			return on ? set_option(c, options[k].opt, name, "true", err) : 0;
		}
		if (!value && *i + 1 >= argc)
			return conf_fail(err, CONF_BAD_USAGE, "flag needs an argument: -%s", name);
		if (!value)
			value = argv[++*i];
		return set_option(c, options[k].opt, name, value, err);
	}
	return conf_fail(err, CONF_BAD_USAGE, "flag provided but not defined: -%.*s",
			 (int)(len > 60 ? 60 : len), word);
}

static int read_args(struct conf *c, int argc, char *const argv[], struct conf_error *err)
{
	char quoted[PREFVAL_QUOTE_MAX];
	int ret = 0;

	for (int i = 1; !ret && i < argc; i++) {
		if (argv[i][0] != '-' || !argv[i][1])
			return conf_fail(err, CONF_REFUSED,
					 "meshd does not take non-flag arguments: [%.300s]",
					 prefval_quote(quoted, argv[i], strlen(argv[i])));
		ret = read_flag(c, argc, argv, &i, err);
	}
	return ret;
}

/* --- environment --- */

/* MESHD_name wins over TS_name; an empty value counts as unset. */
static const char *lookup(char *const env[], const char *name)
{
	static const char *const prefixes[] = { "MESHD_", "TS_" };
	size_t len = strlen(name);

	for (size_t p = 0; p < ARRAY_LEN(prefixes); p++) {
		size_t plen = strlen(prefixes[p]);

		for (size_t i = 0; env[i]; i++)
			if (strncmp(env[i], prefixes[p], plen) == 0 &&
			    strncmp(env[i] + plen, name, len) == 0 && env[i][plen + len] == '=' &&
			    env[i][plen + len + 1])
				return env[i] + plen + len + 1;
	}
	return NULL;
}

static int env_pref(struct conf *c, char *const env[], const char *name, enum prefs_field field,
		    int (*parse)(struct prefs *, const char *, char *), struct conf_error *err)
{
	const char *value = lookup(env, name);
	char text[PREFS_ERR_MAX];
	int ret;

	if (!value)
		return 0;
	ret = parse(&c->edit.prefs, value, text);
	if (ret == -EINVAL)
		return conf_fail(err, CONF_REFUSED, "environment %s: %s", name, text);
	c->edit.mask |= PREF_BIT(field);
	return ret;
}

static int parse_routes(struct prefs *p, const char *text, char *err)
{
	return prefval_routes(p, text, false, err);
}

static int parse_dns(struct prefs *p, const char *text, char *err)
{
	if (parse_bool(text, &p->corp_dns))
		return 0;
	(void)snprintf(err, PREFS_ERR_MAX, "want true or false");
	return -EINVAL;
}

static int read_env(struct conf *c, char *const env[], struct conf_error *err)
{
	const char *v = lookup(env, "AUTHKEY");
	int ret = v ? conf_set_str(&c->auth_key, v) : 0;

	if (!ret)
		ret = env_pref(c, env, "HOSTNAME", PREF_HOSTNAME, prefval_hostname, err);
	if (!ret)
		ret = env_pref(c, env, "ROUTES", PREF_ADVERTISE_ROUTES, parse_routes, err);
	if (!ret)
		ret = env_pref(c, env, "ACCEPT_DNS", PREF_CORP_DNS, parse_dns, err);
	if (!ret)
		ret = env_pref(c, env, "RELAY_SERVER_PORT", PREF_RELAY_PORT, prefval_relay_port, err);
	if (!ret)
		ret = env_pref(c, env, "RELAY_SERVER_STATIC_ENDPOINTS", PREF_RELAY_ENDPOINTS,
			       prefval_relay_endpoints, err);
	v = lookup(env, "SOCKS5_SERVER");
	if (!ret && v)
		ret = conf_fail(err, CONF_NOT_BUILT, "not in this build: environment SOCKS5_SERVER");
	v = lookup(env, "USERSPACE");
	if (!ret && v && strcmp(v, "false") != 0 && strcmp(v, "0") != 0)
		ret = conf_fail(err, CONF_NOT_BUILT, "not in this build: environment USERSPACE");
	return ret;
}

/* A switch of the environment; what is no truth value counts as unset. */
static bool is_env_on(char *const env[], const char *name)
{
	const char *value = lookup(env, name);
	bool on = false;

	return value && parse_bool(value, &on) && on;
}

static void read_env_portmap(struct conf *c, char *const env[])
{
	if (c->is_portmap_named)
		return;
	if (is_env_on(env, "DISABLE_PORTMAPPER"))
		c->portmap = 0;
	if (is_env_on(env, "DISABLE_UPNP"))
		c->portmap &= ~(1U << PORTMAPPER_UPNP);
}

/* Settings of the daemon itself that the command line did not name. */
static int read_env_paths(struct conf *c, char *const env[], bool port_named, struct conf_error *err)
{
	const char *dir = lookup(env, "STATE_DIR");
	int n;

	for (size_t i = 0; !port_named && env[i]; i++)
		if (strncmp(env[i], "PORT=", 5) == 0 && env[i][5])
			return set_port(c, "port", env[i] + 5, err);
	if (!dir || c->state)
		return 0;
	n = asprintf(&c->state, "%s/meshd.db", dir);
	if (n < 0)
		c->state = NULL;
	return n < 0 ? -ENOMEM : 0;
}

/* --- defaults, file, life --- */

static int set_defaults(struct conf *c, struct conf_error *err)
{
	int ret = 0;
	char *slash;

	if (!c->n_tun)
		ret = set_tun(c, DEFAULT_TUN, err);
	if (!ret && !c->state)
		ret = conf_set_str(&c->state, DEFAULT_STATE);
	if (!ret && !c->n_sockets)
		ret = conf_set_str(&c->sockets[c->n_sockets++], DEFAULT_SOCKET);
	if (ret || c->statedir)
		return ret;
	ret = conf_set_str(&c->statedir, strcmp(c->state, "mem:") == 0 ? DEFAULT_STATE : c->state);
	slash = ret ? NULL : strrchr(c->statedir, '/');
	if (slash)
		*slash = 0;
	else if (!ret)
		ret = conf_set_str(&c->statedir, ".");
	return ret;
}

static int read_file(const char *path, char **text, size_t *len, struct conf_error *err)
{
	mode_t mode = 0;
	int ret = wholefile_read(path, FILE_SIZE_MAX, text, len, &mode);

	if (ret == -EINVAL)
		return conf_fail(err, CONF_REFUSED, "%s: not a regular file", path);
	if (ret == -EFBIG)
		return conf_fail(err, CONF_REFUSED, "%s: larger than 1 MiB", path);
	if (ret == -ESTALE)
		return conf_fail(err, CONF_REFUSED, "%s: it changes while it is read", path);
	if (!ret && mode & S_IWOTH)
		return conf_fail(err, CONF_REFUSED, "%s: everybody may write it; run: chmod o-w", path);
	return ret;
}

static int read_config(struct conf *c, struct conf_error *err)
{
	const char *path = c->config_path ? c->config_path : DEFAULT_CONFIG;
	bool may_miss = !c->config_path;
	char *text = NULL, *name;
	size_t len = 0;
	int ret;

	if (strncmp(path, "optional:", 9) == 0) {
		path += 9;
		may_miss = true;
	}
	name = strdup(path);
	if (!name)
		return -ENOMEM;
	free(c->config_path);
	c->config_path = NULL;
	ret = read_file(name, &text, &len, err);
	if (ret == -ENOENT && may_miss) {
		free(name);
		return 0;
	}
	if (ret && ret != -EINVAL)
		(void)conf_fail(err, CONF_REFUSED, "%s: %s", name, strerror(-ret));
	if (!ret)
		ret = conf_parse_file(c, name, text, len, err);
	if (text)
		sodium_memzero(text, len); /* it may hold an auth key */
	free(text);
	c->config_path = name;
	return ret;
}

int conf_load(struct conf *c, int argc, char *const argv[], char *const env[], struct conf_error *err)
{
	int ret;

	memset(c, 0, sizeof(*c));
	c->portmap = PORTMAPPER_ALL;
	*err = (struct conf_error){ .exit_code = CONF_REFUSED };
	ret = read_args(c, argc, argv, err);
	if (!ret && c->import_partial && !c->import_state)
		ret = conf_fail(err, CONF_BAD_USAGE, "--import-partial needs --import-state");
	if (!ret && !c->help && !c->version) {
		ret = read_env_paths(c, env, c->port || ip_is_set(&c->bind), err);
		if (!ret)
			ret = set_defaults(c, err);
		if (!ret)
			ret = read_config(c, err);
		if (!ret)
			ret = read_env(c, env, err);
		if (!ret)
			read_env_portmap(c, env);
	}
	if (ret) {
		if (!err->text[0])
			(void)conf_fail(err, CONF_REFUSED, "%s", strerror(-ret));
		conf_wipe(c);
	}
	return ret;
}

void conf_wipe(struct conf *c)
{
	for (size_t i = 0; i < c->n_tun; i++)
		free(c->tun[i]);
	for (size_t i = 0; i < c->n_sockets; i++)
		free(c->sockets[i]);
	free(c->state);
	free(c->statedir);
	free(c->import_state);
	free(c->config_path);
	free(c->metrics_listen);
	free(c->warnings);
	if (c->auth_key)
		sodium_memzero(c->auth_key, strlen(c->auth_key));
	free(c->auth_key);
	prefs_edit_wipe(&c->edit);
	memset(c, 0, sizeof(*c));
}
