/* SPDX-License-Identifier: MIT */
/* meshd's settings: command line, environment, file, and what is refused. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/conf.h"
#include "path/portmapper.h"
#include "wire/apijson.h"

static char *const no_env[] = { NULL };

static void defaults_are_as_documented(void **state)
{
	char *argv[] = { (char *)"meshd", (char *)"--config=optional:/nonexistent", NULL };
	struct conf_error err;
	struct conf c;

	(void)state;
	assert_int_equal(conf_load(&c, 2, argv, no_env, &err), 0);
	assert_int_equal(c.n_tun, 1);
	assert_string_equal(c.tun[0], "tailscale0");
	assert_int_equal(c.port, 0);
	assert_string_equal(c.state, "/var/lib/meshd/meshd.db");
	assert_string_equal(c.statedir, "/var/lib/meshd");
	assert_string_equal(c.sockets[0], "/run/meshd/meshd.sock");
	assert_null(c.metrics_listen);
	assert_true(c.edit.mask == 0);
	conf_wipe(&c);
}

static void flags_and_environment_are_read(void **state)
{
	char *argv[] = { (char *)"meshd", (char *)"-tun",	(char *)"mesh0,mesh1",
			 (char *)"--port=203.0.113.1:41641",	(char *)"--socket",
			 (char *)"/a",	  (char *)"--socket=/b", (char *)"--state=mem:",
			 (char *)"--metrics-listen=127.0.0.1:9101", (char *)"--config=optional:/nonexistent" };
	char *const env[] = { (char *)"TS_HOSTNAME=ts", (char *)"MESHD_HOSTNAME=mesh",
			      (char *)"TS_RELAY_SERVER_PORT=40000", (char *)"TS_AUTHKEY=",
			      (char *)"MESHD_AUTHKEY=hskey-auth-x", (char *)"PORT=1", NULL };
	struct conf_error err;
	struct conf c;

	(void)state;
	assert_int_equal(conf_load(&c, (int)ARRAY_LEN(argv), argv, env, &err), 0);
	assert_int_equal(c.n_tun, 2);
	assert_string_equal(c.tun[1], "mesh1");
	assert_int_equal(c.port, 41641);
	assert_int_equal(c.bind.family, IP_V4);
	assert_int_equal(c.n_sockets, 2);
	assert_string_equal(c.edit.prefs.hostname, "mesh");
	assert_string_equal(c.auth_key, "hskey-auth-x");
	assert_int_equal(c.edit.prefs.relay_port, 40000);
	assert_true(c.edit.mask == (PREF_BIT(PREF_HOSTNAME) | PREF_BIT(PREF_RELAY_PORT)));
	conf_wipe(&c);
}

static void bad_command_lines_are_refused(void **state)
{
	static const struct {
		const char *arg;
		int exit_code;
		const char *text;
	} rows[] = {
		{ "up", 1, "meshd does not take non-flag arguments: [\"up\"]" },
		{ "--nope", 2, "flag provided but not defined: -nope" },
		{ "--port", 2, "flag needs an argument: -port" },
		{ "--port=65536", 2,
		  "invalid value \"65536\" for flag -port: want a port from 0 to 65535, or IP:port" },
		{ "--port=", 2, "invalid value \"\" for flag -port: want a port from 0 to 65535, or IP:port" },
		{ "--tun=", 2,
		  "invalid value \"\" for flag -tun: want interface names of 1 to 15 characters" },
		{ "--tun=a-name-that-is-too-long", 2,
		  "invalid value \"a-name-that-is-too-long\" for flag -tun: want interface names of 1 to 15 "
		  "characters" },
		{ "--tun=userspace-networking", 77, "not in this build: --tun=userspace-networking" },
		{ "--verbose=x", 2, "invalid value \"x\" for flag -verbose: parse error" },
		{ "--metrics-listen=9101", 2,
		  "invalid value \"9101\" for flag -metrics-listen: want IP:port or an absolute path" },
		{ "--import-state=", 2, "invalid value \"\" for flag -import-state: empty path" },
		{ "--import-partial", 2, "--import-partial needs --import-state" },
		{ "--portmap=yes", 2,
		  "invalid value \"yes\" for flag -portmap: want auto, off, upnp, pmp or pcp" },
		{ "--socks5-server=:1080", 77, "not in this build: --socks5-server" },
		{ "--config=/nonexistent/x", 1, "/nonexistent/x: No such file or directory" },
		{ "--config=/tmp", 1, "/tmp: not a regular file" },
		{ "--config=/dev/zero", 1, "/dev/zero: not a regular file" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *argv[] = { (char *)"meshd", (char *)(uintptr_t)rows[i].arg, NULL };
		struct conf_error err;
		struct conf c;

		assert_int_not_equal(conf_load(&c, 2, argv, no_env, &err), 0);
		assert_string_equal(err.text, rows[i].text);
		assert_int_equal(err.exit_code, rows[i].exit_code);
	}
}

/* A file of 'size' spaces, that are no settings, with these permissions: what is said of it, behind its name. */
static void expect_file(size_t size, mode_t mode, const char *want)
{
	char path[] = "/tmp/meshd-conf-XXXXXX", arg[64], text[CONF_ERR_MAX];
	char *argv[] = { (char *)"meshd", arg, NULL };
	struct conf_error err;
	struct conf c;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	for (size_t i = 0; i < size; i += 1024) {
		static char spaces[1024];
		const size_t n = size - i < sizeof(spaces) ? size - i : sizeof(spaces);

		memset(spaces, ' ', sizeof(spaces));
		assert_int_equal(write(fd, spaces, n), (ssize_t)n);
	}
	(void)close(fd);
	(void)snprintf(arg, sizeof(arg), "--config=%s", path);
	(void)snprintf(text, sizeof(text), "%s:%s", path, want);
	assert_int_not_equal(conf_load(&c, 2, argv, no_env, &err), 0);
	(void)unlink(path);
	if (strncmp(err.text, text, strlen(text)) != 0)
		fail_msg("%s", err.text);
	assert_int_equal(err.exit_code, CONF_REFUSED);
}

static void bad_files_are_refused(void **state)
{
	(void)state;
	expect_file(0, 0600, "1:1: the text ends too early");
	expect_file(1 << 20, 0600, "1:");
	expect_file((1 << 20) + 1, 0600, " larger than 1 MiB");
	expect_file(100, 0602, " everybody may write it; run: chmod o-w");
}

static void file_sets_and_locks(void **state)
{
	static const char text[] = "{ // partial\n\"version\": \"alpha0\", \"Hostname\": \"nas\",\n"
				   "\"relayServerPort\": 40000, \"advertiseExitNode\": true,\n"
				   "\"relayServerMbps\": 100, \"relayserversessionmbps\": 20, \"relayServerSessions\": 64,\n"
				   "\"relayServerStaticEndpoints\": [\"203.0.113.10:40000\"], \"acceptDNS\": false,\n}";
	char locked[PREFS_ERR_MAX];
	struct conf c = { 0 };
	struct conf_error err;

	(void)state;
	c.config_path = strdup("/etc/meshd/meshd.conf");
	assert_int_equal(conf_parse_file(&c, "x", text, strlen(text), &err), 0);
	assert_string_equal(c.edit.prefs.hostname, "nas");
	assert_true(prefval_is_exit_node(&c.edit.prefs));
	assert_int_equal(c.relay_mbps, 100);
	assert_int_equal(c.relay_session_mbps, 20);
	assert_int_equal(c.relay_sessions, 64);
	assert_true(c.locked == c.edit.mask);
	assert_true(c.locked & PREF_BIT(PREF_CORP_DNS));
	assert_false(c.locked & PREF_BIT(PREF_SHIELDS_UP));
	conf_locked_text(&c, PREF_BIT(PREF_HOSTNAME), locked);
	assert_string_equal(locked, "Hostname is set by /etc/meshd/meshd.conf; edit it and restart meshd");
	conf_wipe(&c);
}

static void port_mapping_goes_by_flag_then_environment_then_file(void **state)
{
	static char *const off[] = { (char *)"TS_DISABLE_PORTMAPPER=1", NULL };
	static char *const no_upnp[] = { (char *)"MESHD_DISABLE_UPNP=true", (char *)"TS_DISABLE_PORTMAPPER=0", NULL };
	static const struct {
		const char *flag;
		char *const *env;
		unsigned want;
	} rows[] = {
		{ "--verbose=0", no_env, PORTMAPPER_ALL },
		{ "--verbose=0", off, 0 },
		{ "--verbose=0", no_upnp, 1 << PORTMAPPER_PMP | 1 << PORTMAPPER_PCP },
		{ "--portmap=upnp", off, 1 << PORTMAPPER_UPNP },
		{ "--portmap=off", no_env, 0 },
	};
	struct conf c = { .portmap = PORTMAPPER_ALL };
	struct conf_error err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *argv[] = { (char *)"meshd", (char *)(uintptr_t)rows[i].flag, NULL };
		struct conf got;

		assert_int_equal(conf_load(&got, 2, argv, rows[i].env, &err), 0);
		assert_int_equal(got.portmap, rows[i].want);
		conf_wipe(&got);
	}
	assert_int_equal(conf_parse_file(&c, "f", "{\"portMapping\":\"pcp\"}", 21, &err), 0);
	assert_int_equal(c.portmap, 1 << PORTMAPPER_PCP);
	conf_wipe(&c);
}

static void bad_files_name_the_place(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "f:1:1: " },
		{ "[]", "f: want a JSON object" },
		{ "{\"version\":\"beta\"}", "f: version: want \"alpha0\"" },
		{ "{\"hostnam\":\"x\"}", "f: unknown key \"hostnam\"" },
		{ "{\"hostname\":3}", "f: hostname: want a text" },
		{ "{\"hostname\":\"-x\"}", "f: hostname: \"-x\" is not a valid DNS label" },
		{ "{\"relayServerPort\":70000}",
		  "f: relayServerPort: failed to set relay server port: \"70000\" is out of range" },
		{ "{\"portMapping\":true}", "f: portMapping: want auto, off, upnp, pmp or pcp" },
		{ "{\"relayServerMbps\":-1}", "f: relayServerMbps: want a whole number from 0 to 1000000" },
		{ "{\"relayServerMbps\":\"1\"}", "f: relayServerMbps: want a whole number from 0 to 1000000" },
		{ "{\"relayServerSessions\":0}", "f: relayServerSessions: want a whole number from 1 to 65536" },
		{ "{\"relayServerSessionMbps\":1.5}", "f: relayServerSessionMbps: want a whole number" },
		{ "{\"advertiseRoutes\":[1]}", "f: advertiseRoutes: want a list of texts" },
		{ "{\"acceptDNS\":\"yes\"}", "f: acceptDNS: want true or false" },
		{ "{\"runSSHServer\":true}", "f: not in this build: --ssh" },
		{ "{\"disableSNAT\":false}", "f: not in this build: --snat-subnet-routes" },
		{ "{\"netfilterMode\":\"on\"}", "f: not in this build: --netfilter-mode" },
		{ "{\"hostname\":\"a\",\"hostname\":\"b\"}", "f:1:" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct conf c = { 0 };
		struct conf_error err = { 0 };

		assert_int_equal(conf_parse_file(&c, "f", rows[i].text, strlen(rows[i].text), &err), -EINVAL);
		if (strncmp(err.text, rows[i].want, strlen(rows[i].want)) != 0)
			fail_msg("row %zu: %s", i, err.text);
		conf_wipe(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_as_documented),
		cmocka_unit_test(flags_and_environment_are_read),
		cmocka_unit_test(bad_command_lines_are_refused),
		cmocka_unit_test(bad_files_are_refused),
		cmocka_unit_test(file_sets_and_locks),
		cmocka_unit_test(port_mapping_goes_by_flag_then_environment_then_file),
		cmocka_unit_test(bad_files_name_the_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
