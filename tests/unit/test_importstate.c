/* SPDX-License-Identifier: MIT */
/* A tailscaled state becomes ours: what is taken, what is refused, and that a refusal changes nothing. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/conf.h"
#include "daemon/importstate.h"
#include "daemon/store.h"
#include "wire/json.h"
#include "wire/tsstate.h"

#define MACHINE "privkey:1111111111111111111111111111111111111111111111111111111111111111"
#define NODE	"privkey:2222222222222222222222222222222222222222222222222222222222222222"
#define OTHER	"privkey:3333333333333333333333333333333333333333333333333333333333333333"
#define ZERO	"privkey:0000000000000000000000000000000000000000000000000000000000000000"
#define PROFILES                                                                                            \
	"{\"1f3c\":{\"ID\":\"1f3c\",\"Name\":\"ann@example.com\",\"Key\":\"profile-1f3c\",\"NodeID\":\"n1\","  \
	"\"NetworkProfile\":{\"MagicDNSName\":\"mesh.example\"},\"ControlURL\":\"http://192.0.2.1:443\"}}"
#define LOGIN(key)                                                                                             \
	"\"Config\":{\"PrivateNodeKey\":\"" key "\",\"OldPrivateNodeKey\":\"" ZERO "\","                         \
	"\"NetworkLockKey\":\"nlpriv:4444444444444444444444444444444444444444444444444444444444444444\","          \
	"\"UserProfile\":{\"ID\":3,\"LoginName\":\"ann@example.com\",\"DisplayName\":\"Ann\"},\"NodeID\":\"n1\"}"
#define PREFS(more)                                                                                      \
	"{\"ControlURL\":\"http://192.0.2.1:443/\",\"WantRunning\":true,\"CorpDNS\":false,\"Hostname\":\"ann\"," \
	"\"NetfilterMode\":2,\"RelayServerPort\":40000,\"DriveShares\":null," more LOGIN(NODE) "}"

/* Names and plain values of a state; a null name ends it. */
struct entry {
	const char *name, *value;
};

static const struct entry plain[] = {
	{ "_machinekey", MACHINE },
	{ "_current-profile", "profile-1f3c" },
	{ "_profiles", PROFILES },
	{ "profile-1f3c", PREFS("") },
	{ "_taildrop-received", "1" },
	{ NULL, NULL },
};

/* The file's text: 'base' with one value changed (null: left out) or added. */
static char *make_state(const struct entry *base, const char *name, const char *value)
{
	struct json_w w = { .indent = "  " };
	char b64[8192];
	bool done = false;

	json_w_obj(&w, NULL);
	for (size_t i = 0; base[i].name || (name && !done); i++) {
		const struct entry added = { name, value };
		const struct entry *e = base[i].name ? &base[i] : &added;
		const char *v = name && strcmp(e->name, name) == 0 ? value : e->value;

		done |= name && strcmp(e->name, name) == 0;
		if (v)
			json_w_str(&w, e->name,
				   sodium_bin2base64(b64, sizeof(b64), (const uint8_t *)v, strlen(v),
						     sodium_base64_VARIANT_ORIGINAL));
		if (!base[i].name)
			break;
	}
	json_w_end(&w);
	return json_w_take(&w, NULL);
}

/* --- the parser --- */

static void expect_refused(const char *text, size_t size, const char *want)
{
	char err[TSSTATE_ERR_MAX] = "";
	struct tsstate t;

	assert_int_equal(tsstate_parse(&t, text, size, err), -EBADMSG);
	if (!strstr(err, want))
		fail_msg("'%s' does not say '%s'", err, want);
	assert_null(strstr(err, "22222222"));
	assert_true(key_is_zero(t.machine.b));
	assert_null(t.profile);
}

static void takes_keys_and_preferences_of_the_current_profile(void **state)
{
	char *text = make_state(plain, NULL, NULL), err[TSSTATE_ERR_MAX] = "";
	struct tsstate t;

	(void)state;
	if (tsstate_parse(&t, text, strlen(text), err))
		fail_msg("%s", err);
	assert_int_equal(t.machine.b[0], 0x11);
	assert_int_equal(t.node.b[31], 0x22);
	assert_string_equal(t.profile, "ann@example.com");
	assert_int_equal(t.n_others, 0);
	assert_false(t.has_serve);
	assert_string_equal(t.prefs.hostname, "ann");
	assert_true(t.prefs.want_running);
	assert_false(t.prefs.corp_dns);
	assert_int_equal(t.prefs.relay_port, 40000);
	assert_int_equal(t.prefs.login.user_id, 3);
	assert_string_equal(t.prefs.login.node_id, "n1");
	tsstate_wipe(&t);
	free(text);
}

static void old_states_without_profiles_are_taken(void **state)
{
	const struct entry old[] = { { "_machinekey", MACHINE }, { "_daemon", PREFS("") }, { NULL, NULL } };
	char *text = make_state(old, NULL, NULL), err[TSSTATE_ERR_MAX] = "";
	struct tsstate t;

	(void)state;
	if (tsstate_parse(&t, text, strlen(text), err))
		fail_msg("%s", err);
	assert_string_equal(t.profile, "");
	assert_int_equal(t.node.b[0], 0x22);
	tsstate_wipe(&t);
	free(text);
}

static void each_wrong_value_is_named(void **state)
{
	static const struct {
		const char *name, *value, *want;
	} rows[] = {
		{ "_machinekey", NULL, "no machine key" },
		{ "_machinekey", "", "\"_machinekey\": not a private key" },
		{ "_machinekey", ZERO, "\"_machinekey\": not a private key" },
		{ "_machinekey", "mkey:11", "\"_machinekey\": not a private key" },
		{ "_machinekey", MACHINE "\n", "\"_machinekey\": not a private key" },
		{ "_current-profile", NULL, "no profile is logged in" },
		{ "_current-profile", "", "no profile is logged in" },
		{ "_current-profile", "profile-9999", "it is not there" },
		{ "_current-profile", NODE NODE NODE, "not the name of a profile" },
		{ "_current-profile", NODE, "privkey:X" },
		{ "_profiles", "", "\"_profiles\": not a JSON object" },
		{ "_profiles", "[]", "\"_profiles\": not a JSON object" },
		{ "_profiles", "{\"1\":{\"Key\":7}}", "not a list of profiles" },
		{ "_profiles", "{\"1\":{\"Key\":\"profile-1f3c\",\"Name\":[]}}", "not a list of profiles" },
		{ "profile-1f3c", NULL, "it is not there" },
		{ "profile-1f3c", "{", "\"profile-1f3c\": not a JSON object" },
		{ "profile-1f3c", "{}", "logged out" },
		{ "profile-1f3c", "{\"Config\":null}", "logged out" },
		{ "profile-1f3c", "{\"Config\":{\"NodeID\":\"\"}}", "logged out" },
		{ "profile-1f3c", "{" LOGIN(ZERO) "}", "logged out" },
		{ "profile-1f3c", PREFS("\"LoggedOut\":true,"), "logged out" },
		{ "profile-1f3c", "{\"Config\":{\"PrivateNodeKey\":1}}", "node key is not a private key" },
		{ "profile-1f3c", "{\"Config\":{\"PrivateNodeKey\":\"privkey:22\"}}", "node key is not a private key" },
		{ "profile-1f3c", PREFS("\"RouteAll\":\"yes\","), "invalid value for RouteAll" },
		{ "profile-1f3c", PREFS("\"AdvertiseRoutes\":[\"10.0.0.0/99\"],"), "invalid value for AdvertiseRoutes" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char *text = make_state(plain, rows[i].name, rows[i].value);

		expect_refused(text, strlen(text), rows[i].want);
		free(text);
	}
}

static void other_files_are_refused(void **state)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "not a tailscaled state" },
		{ "x", "not a tailscaled state" },
		{ "[]", "not a JSON object" },
		{ "\"_machinekey\"", "not a JSON object" },
		{ "{}", "no machine key" },
		{ "{\"_machinekey\":1}", "not a text" },
		{ "{\"_machinekey\":\"%\"}", "not base64" },
		{ "{\"_machinekey\":\"YQ\"}", "not base64" },
		{ "{\"_machinekey\":\"YQ==\",\"_machinekey\":\"YQ==\"}", "not a tailscaled state" },
		{ "{\"key\":{\"Private\":\"YQ==\",\"Public\":\"YQ==\"},\"nonce\":\"YQ==\",\"data\":\"YQ==\"}",
		  "state is sealed by the TPM; turn state encryption off in tailscaled first" },
	};
	char *big = calloc(1, TSSTATE_SIZE_MAX + 1);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		expect_refused(rows[i].text, strlen(rows[i].text), rows[i].want);
	assert_non_null(big);
	memset(big, ' ', TSSTATE_SIZE_MAX + 1);
	memcpy(big, "{}", 2);
	expect_refused(big, TSSTATE_SIZE_MAX, "no machine key");
	expect_refused(big, TSSTATE_SIZE_MAX + 1, "larger than 4 MiB");
	free(big);
}

static void every_cut_is_refused(void **state)
{
	char *text = make_state(plain, NULL, NULL);

	(void)state;
	for (size_t i = 0; i + 1 < strlen(text); i += 5)
		expect_refused(text, i, "");
	free(text);
}

/* --- the import --- */

struct dir {
	char path[64], db[96], file[96];
};

static int setup(void **state)
{
	struct dir *d = calloc(1, sizeof(*d));

	assert_non_null(d);
	(void)snprintf(d->path, sizeof(d->path), "/tmp/meshd-import-XXXXXX");
	assert_non_null(mkdtemp(d->path));
	(void)snprintf(d->db, sizeof(d->db), "%s/meshd.db", d->path);
	(void)snprintf(d->file, sizeof(d->file), "%s/tailscaled.state", d->path);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { "meshd.db", "meshd.db-wal", "meshd.db-shm", "meshd.db.lock",
					     "tailscaled.state" };
	struct dir *d = *state;

	test_remove_dir(d->path, names, ARRAY_LEN(names));
	free(d);
	return 0;
}

static void write_file(const struct dir *d, char *text)
{
	FILE *f = fopen(d->file, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	assert_int_equal(fclose(f), 0);
	free(text);
}

static int import(struct dir *d, bool partial)
{
	const struct conf conf = { .state = d->db, .import_state = d->file, .import_partial = partial };

	return importstate_run(&conf);
}

static struct store *open_store(const struct dir *d)
{
	char err[STORE_ERR_MAX] = "";
	struct store *s = NULL;

	if (store_open(&s, d->db, NULL, err))
		fail_msg("%s", err);
	return s;
}

/* The node key in the database begins with this byte; -1: there is none. */
static int stored_node(const struct dir *d)
{
	struct store *s = open_store(d);
	struct store_identity id = { 0 };
	int ret = store_get_identity(s, &id);

	store_close(s);
	assert_true(!ret || ret == -ENOENT);
	return ret ? -1 : id.node.b[0];
}

static void imports_into_a_new_database(void **state)
{
	struct dir *d = *state;
	struct store_identity id;
	struct bytes url = { 0 };
	struct prefs p = { 0 };
	struct store *s;

	write_file(d, make_state(plain, NULL, NULL));
	assert_int_equal(import(d, false), 0);
	s = open_store(d);
	assert_int_equal(store_get_identity(s, &id), 0);
	assert_int_equal(id.machine.b[0], 0x11);
	assert_int_equal(id.node.b[0], 0x22);
	assert_true(id.is_registered);
	assert_true(key_is_zero(id.old_node.b));
	assert_int_equal(store_get_value(s, "identity_url", &url), 0);
	assert_int_equal(bytes_size(&url), strlen("http://192.0.2.1:443"));
	assert_memory_equal(bytes_data(&url), "http://192.0.2.1:443", bytes_size(&url));
	assert_int_equal(store_get_prefs(s, &p), 0);
	assert_string_equal(p.control_url, "http://192.0.2.1:443"); /* the same text: else the login were void */
	assert_true(p.has_relay_port && p.has_stored_relay_port);
	assert_int_equal(p.stored_relay_port, 40000);
	assert_string_equal(p.hostname, "ann");
	bytes_wipe(&url);
	prefs_wipe(&p);
	store_close(s);
}

static void hosted_service_is_named(void **state)
{
	struct dir *d = *state;
	struct prefs p = { 0 };
	struct store *s;

	write_file(d, make_state(plain, "profile-1f3c", "{\"ControlURL\":\"\",\"NetfilterMode\":2," LOGIN(NODE) "}"));
	assert_int_equal(import(d, false), 0);
	s = open_store(d);
	assert_int_equal(store_get_prefs(s, &p), 0);
	assert_string_equal(p.control_url, "https://controlplane.tailscale.com");
	assert_false(p.want_running);
	prefs_wipe(&p);
	store_close(s);
}

static void a_login_is_never_replaced(void **state)
{
	struct dir *d = *state;

	write_file(d, make_state(plain, NULL, NULL));
	assert_int_equal(import(d, false), 0);
	write_file(d, make_state(plain, "profile-1f3c", "{\"NetfilterMode\":2," LOGIN(OTHER) "}"));
	assert_int_equal(import(d, false), 1);
	assert_int_equal(stored_node(d), 0x22);
}

/* A daemon that ran before anybody logged in has made a machine key; no server knows it. */
static void a_machine_key_alone_is_no_login(void **state)
{
	struct dir *d = *state;
	struct store_identity id = { .machine = { { 9 } } };
	struct store *s = open_store(d);

	assert_int_equal(store_put_identity(s, &id), 0);
	assert_int_equal(store_put_value(s, "udp_port", "\1\2", 2), 0);
	store_close(s);
	write_file(d, make_state(plain, NULL, NULL));
	assert_int_equal(import(d, false), 0);
	assert_int_equal(stored_node(d), 0x22);
}

static void a_running_daemon_is_left_alone(void **state)
{
	struct dir *d = *state;
	struct store *s = open_store(d);

	write_file(d, make_state(plain, NULL, NULL));
	assert_int_equal(import(d, false), 1);
	store_close(s);
	assert_int_equal(stored_node(d), -1);
}

static void what_this_build_lacks_is_refused_or_left_out(void **state)
{
	struct dir *d = *state;
	struct prefs p = { 0 };
	struct store *s;

	write_file(d, make_state(plain, "profile-1f3c", PREFS("\"RunSSH\":true,\"ExitNodeID\":\"n7\",\"ShieldsUp\":true,")));
	assert_int_equal(import(d, false), 77);
	assert_int_equal(access(d->db, F_OK), -1);
	assert_int_equal(import(d, true), 0);
	s = open_store(d);
	assert_int_equal(store_get_prefs(s, &p), 0);
	assert_false(p.run_ssh);
	assert_true(!p.exit_node_id || !*p.exit_node_id);
	assert_true(p.shields_up);
	prefs_wipe(&p);
	store_close(s);
}

static void serve_is_not_dropped_silently(void **state)
{
	struct dir *d = *state;

	write_file(d, make_state(plain, "_serve/1f3c", "{\"TCP\":{\"443\":{\"HTTPS\":true}}}"));
	assert_int_equal(import(d, false), 77);
	write_file(d, make_state(plain, "_serve/1f3c", "{}"));
	assert_int_equal(import(d, false), 0);
}

static void bad_files_make_no_database(void **state)
{
	struct dir *d = *state;
	const struct conf missing = { .state = d->db, .import_state = d->path };
	char mem[] = "mem:";
	const struct conf memory = { .state = mem, .import_state = d->file };

	assert_int_equal(importstate_run(&memory), 2);
	assert_int_equal(importstate_run(&missing), 1); /* a directory */
	assert_int_equal(import(d, false), 1);		/* no file */
	write_file(d, make_state(plain, "profile-1f3c", PREFS("\"Hostname\":\"-bad-\",")));
	assert_int_equal(import(d, false), 1);
	write_file(d, make_state(plain, "profile-1f3c", PREFS("\"ControlURL\":\"ftp://x\",")));
	assert_int_equal(import(d, false), 1);
	write_file(d, strdup(""));
	assert_int_equal(import(d, false), 1);
	assert_int_equal(access(d->db, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_keys_and_preferences_of_the_current_profile),
		cmocka_unit_test(old_states_without_profiles_are_taken),
		cmocka_unit_test(each_wrong_value_is_named),
		cmocka_unit_test(other_files_are_refused),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test_setup_teardown(imports_into_a_new_database, setup, teardown),
		cmocka_unit_test_setup_teardown(hosted_service_is_named, setup, teardown),
		cmocka_unit_test_setup_teardown(a_login_is_never_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(a_machine_key_alone_is_no_login, setup, teardown),
		cmocka_unit_test_setup_teardown(a_running_daemon_is_left_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(what_this_build_lacks_is_refused_or_left_out, setup, teardown),
		cmocka_unit_test_setup_teardown(serve_is_not_dropped_silently, setup, teardown),
		cmocka_unit_test_setup_teardown(bad_files_make_no_database, setup, teardown),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
