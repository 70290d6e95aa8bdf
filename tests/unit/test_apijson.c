/* SPDX-License-Identifier: MIT */
/* Local API bodies: exact texts, both directions, edits, and values as people type them. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/apijson.h"

static const char *text_of(struct bytes *b)
{
	assert_int_equal(bytes_append(b, "", 1), 0);
	return (const char *)bytes_data(b);
}

static void prefs_have_all_keys_in_upstreams_order(void **state)
{
	static const char want[] =
		"{\"ControlURL\":\"\",\"RouteAll\":false,\"ExitNodeID\":\"\",\"ExitNodeIP\":\"\","
		"\"InternalExitNodePrior\":\"\",\"ExitNodeAllowLANAccess\":false,\"CorpDNS\":true,"
		"\"RunSSH\":false,\"RunWebClient\":false,\"WantRunning\":false,\"LoggedOut\":false,"
		"\"ShieldsUp\":false,\"AdvertiseTags\":null,\"Hostname\":\"\",\"NotepadURLs\":false,"
		"\"AdvertiseRoutes\":null,\"AdvertiseServices\":null,\"Sync\":null,\"NoSNAT\":false,"
		"\"NoStatefulFiltering\":true,\"NetfilterMode\":2,\"AutoUpdate\":{\"Check\":true,"
		"\"Apply\":null},\"AppConnector\":{\"Advertise\":false},\"PostureChecking\":false,"
		"\"NetfilterKind\":\"\",\"RemoteConfig\":false,\"DriveShares\":null,"
		"\"RelayServerPort\":40000,\"RelayServerStaticEndpoints\":[\"203.0.113.10:40000\","
		"\"[2001:db8::1]:40000\"],\"Config\":{\"UserProfile\":{\"ID\":1,\"LoginName\":\"alice@\","
		"\"DisplayName\":\"\"},\"NodeID\":\"n1\"},\"Meshd\":{\"StaticEndpoints\":null,"
		"\"StoredRelayPort\":40000}}";
	char err[PREFS_ERR_MAX];
	struct bytes b = { 0 };
	struct prefs p, q = { 0 };

	(void)state;
	prefs_defaults(&p);
	assert_int_equal(prefval_relay_port(&p, "40000", err), 0);
	p.has_stored_relay_port = true;
	p.stored_relay_port = 40000;
	assert_int_equal(
		prefval_relay_endpoints(&p, "[2001:db8::1]:40000, 203.0.113.10:40000", err), 0);
	p.login.user_id = 1;
	p.login.login_name = strdup("alice@");
	p.login.node_id = strdup("n1");
	assert_int_equal(prefs_write(&b, &p, NULL), 0);
	assert_string_equal(text_of(&b), want);

	assert_int_equal(prefs_parse(&q, want, strlen(want), err), 0);
	assert_true(prefs_diff(&p, &q) == 0);
	assert_string_equal(q.login.login_name, "alice@");
	assert_int_equal(q.stored_relay_port, 40000);
	prefs_wipe(&p);
	prefs_wipe(&q);
	bytes_wipe(&b);
}

/* What the stock command line sends for `set --relay-server-port=""` and friends. */
static void edit_of_the_stock_client_is_understood(void **state)
{
	static const char text[] = "{\"ControlURL\":\"\",\"CorpDNS\":false,\"CorpDNSSet\":true,"
				   "\"RelayServerPortSet\":true,\"AutoUpdate\":{\"Check\":true,\"Apply\":null},"
				   "\"AutoUpdateSet\":{\"CheckSet\":true},\"HostnameSet\":false}";
	char err[PREFS_ERR_MAX];
	struct prefs_edit e = { 0 };
	struct prefs old, next = { 0 };

	(void)state;
	prefs_defaults(&old);
	assert_int_equal(prefval_relay_port(&old, "40000", err), 0);
	assert_int_equal(prefs_edit_parse(&e, text, strlen(text), err), 0);
	assert_true(e.mask == (PREF_BIT(PREF_CORP_DNS) | PREF_BIT(PREF_RELAY_PORT) |
			       PREF_BIT(PREF_AUTO_UPDATE_CHECK)));
	assert_int_equal(prefs_apply(&next, &old, &e, err), 0);
	assert_false(next.corp_dns);
	assert_false(next.has_relay_port);
	assert_true(prefs_diff(&old, &next) == (PREF_BIT(PREF_CORP_DNS) | PREF_BIT(PREF_RELAY_PORT)));
	prefs_edit_wipe(&e);
	prefs_wipe(&next);
	prefs_wipe(&old);
}

static void edit_survives_writing_and_reading(void **state)
{
	char err[PREFS_ERR_MAX];
	struct prefs_edit e = { .mask = PREF_BIT(PREF_N) - 1, .relay_on = TRI_TRUE }, f = { 0 };
	struct bytes b = { 0 };
	size_t len;

	(void)state;
	e.mask &= ~PREF_BIT(PREF_INTERNAL_EXIT_NODE_PRIOR);
	prefs_defaults(&e.prefs);
	assert_int_equal(prefval_relay_port(&e.prefs, "0", err), 0);
	assert_int_equal(prefval_routes(&e.prefs, "10.0.0.0/8,192.0.2.0/24", true, err), 0);
	assert_int_equal(prefval_tags(&e.prefs, "a,tag:b", err), 0);
	assert_int_equal(prefval_static_endpoints(&e.prefs, "198.51.100.1:41641", err), 0);
	assert_int_equal(prefs_edit_write(&b, &e), 0);
	len = bytes_size(&b);
	assert_int_equal(prefs_edit_parse(&f, (const char *)bytes_data(&b), len, err), 0);
	assert_true(f.mask == e.mask);
	assert_int_equal(f.relay_on, TRI_TRUE);
	assert_true(prefs_diff(&e.prefs, &f.prefs) == 0);
	assert_true(prefval_is_exit_node(&f.prefs));
	bytes_wipe(&b);
	prefs_edit_wipe(&e);
	prefs_edit_wipe(&f);
}

static void internal_fields_and_wrong_types_are_refused(void **state)
{
	static const char *const texts[] = {
		"{\"InternalExitNodePriorSet\":true}", "{\"CorpDNS\":1}",     "[]",
		"{\"RelayServerPort\":65536}",	       "{\"CorpDNSSet\":2}",  "",
		"{\"AdvertiseRoutes\":[\"x\"]}",       "{\"AutoUpdate\":3}", "{\"Hostname\":[]}",
	};
	char err[PREFS_ERR_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct prefs_edit e = { 0 };

		if (prefs_edit_parse(&e, texts[i], strlen(texts[i]), err) == 0)
			fail_msg("accepted: %s", texts[i]);
		assert_true(err[0] != 0);
	}
}

/* --advertise-relay-server (cli 1): stored port, else the one all static endpoints share, else 40000. */
static void relay_on_finds_its_port(void **state)
{
	const struct {
		const char *stored, *endpoints;
		uint16_t want;
	} rows[] = {
		{ NULL, "", 40000 },
		{ NULL, "203.0.113.10:41641", 41641 },
		{ NULL, "203.0.113.10:41641,203.0.113.11:41642", 40000 },
		{ "40123", "203.0.113.10:41641", 40123 },
	};
	char err[PREFS_ERR_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct prefs_edit e = { .relay_on = TRI_TRUE, .mask = PREF_BIT(PREF_RELAY_ENDPOINTS) };
		struct prefs old, next = { 0 };

		prefs_defaults(&old);
		if (rows[i].stored) {
			old.has_stored_relay_port = true;
			old.stored_relay_port = (uint16_t)strtoul(rows[i].stored, NULL, 10);
		}
		assert_int_equal(prefval_relay_endpoints(&e.prefs, rows[i].endpoints, err), 0);
		assert_int_equal(prefs_apply(&next, &old, &e, err), 0);
		assert_true(next.has_relay_port);
		assert_int_equal(next.relay_port, rows[i].want);
		prefs_edit_wipe(&e);
		prefs_wipe(&next);
	}
}

static void relay_on_contradicting_a_port_changes_nothing(void **state)
{
	struct prefs_edit e = { .relay_on = TRI_FALSE, .mask = PREF_BIT(PREF_RELAY_PORT) };
	char err[PREFS_ERR_MAX];
	struct prefs old, next = { 0 };

	(void)state;
	prefs_defaults(&old);
	assert_int_equal(prefval_relay_port(&e.prefs, "40000", err), 0);
	assert_int_equal(prefs_apply(&next, &old, &e, err), -EINVAL);
	assert_string_equal(err, "--advertise-relay-server=false contradicts --relay-server-port=40000");
	assert_null(next.advertise_routes);
}

struct bad_row {
	int (*fn)(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX]);
	const char *text;
	const char *err; /* null: accepted */
};

static int routes_fn(struct prefs *p, const char *text, char err[static PREFS_ERR_MAX])
{
	return prefval_routes(p, text, false, err);
}

#define PORT_ERR "failed to set relay server port: "
#define EPS_ERR  "failed to set relay server static endpoints: "

static const struct bad_row bad_rows[] = {
	{ prefval_relay_port, "", NULL },
	{ prefval_relay_port, "0", NULL },
	{ prefval_relay_port, "00", NULL },
	{ prefval_relay_port, "65535", NULL },
	{ prefval_relay_port, "70000",
	  PORT_ERR "\"70000\" is out of range (want 0-65535, or empty to turn the relay off)" },
	{ prefval_relay_port, "-1",
	  PORT_ERR "\"-1\" is out of range (want 0-65535, or empty to turn the relay off)" },
	{ prefval_relay_port, "18446744073709591616",
	  PORT_ERR "\"18446744073709591616\" is out of range (want 0-65535, or empty to turn the relay off)" },
	{ prefval_relay_port, "abc", PORT_ERR "\"abc\" is not a number" },
	{ prefval_relay_port, "+1", PORT_ERR "\"+1\" is not a number" },
	{ prefval_relay_port, "0x10", PORT_ERR "\"0x10\" is not a number" },
	{ prefval_relay_port, " 1", PORT_ERR "\" 1\" is not a number" },
	{ prefval_relay_port, "1\n\x1b[2J", PORT_ERR "\"1\\n\\x1b[2J\" is not a number" },
	{ prefval_relay_endpoints, "", NULL },
	{ prefval_relay_endpoints, " 203.0.113.10:40000 , [2001:db8::1]:40000", NULL },
	{ prefval_relay_endpoints, "203.0.113.10",
	  EPS_ERR "\"203.0.113.10\" is not a valid IP:port (missing port)" },
	{ prefval_relay_endpoints, "2001:db8::1:40000",
	  EPS_ERR "\"2001:db8::1:40000\" is not a valid IP:port (IPv6 needs brackets: [2001:db8::1]:40000)" },
	{ prefval_relay_endpoints, "[2001:db8::1]",
	  EPS_ERR "\"[2001:db8::1]\" is not a valid IP:port (missing port)" },
	{ prefval_relay_endpoints, "relay.example.com:40000",
	  EPS_ERR "\"relay.example.com:40000\" is not a valid IP:port (host names are not allowed here)" },
	{ prefval_relay_endpoints, "203.0.113.10:70000",
	  EPS_ERR "\"203.0.113.10:70000\" is not a valid IP:port (port out of range)" },
	{ prefval_relay_endpoints, "203.0.113.10:x",
	  EPS_ERR "\"203.0.113.10:x\" is not a valid IP:port (the port is not a number)" },
	{ prefval_relay_endpoints, "203.0.113.10:40000,",
	  EPS_ERR "\"\" is not a valid IP:port (empty item)" },
	{ prefval_relay_endpoints, "256.1.1.1:1", EPS_ERR "\"256.1.1.1:1\" is not a valid IP:port" },
	{ prefval_relay_endpoints, "[fe80::1%eth0]:1",
	  EPS_ERR "\"[fe80::1%eth0]:1\" is not a valid IP:port (addresses with a zone are not allowed here)" },
	{ prefval_relay_endpoints, "203.0.113.10:0",
	  EPS_ERR "\"203.0.113.10:0\" cannot be used: port 0" },
	{ prefval_relay_endpoints, "0.0.0.0:1", EPS_ERR "\"0.0.0.0:1\" cannot be used: unspecified address" },
	{ prefval_relay_endpoints, "224.0.0.1:1",
	  EPS_ERR "\"224.0.0.1:1\" cannot be used: multicast or broadcast address" },
	{ prefval_relay_endpoints, "[::1]:1", EPS_ERR "\"[::1]:1\" cannot be used: loopback address" },
	{ prefval_relay_endpoints, "169.254.1.1:1",
	  EPS_ERR "\"169.254.1.1:1\" cannot be used: link-local address" },
	{ prefval_relay_endpoints, "100.64.0.1:1",
	  EPS_ERR "\"100.64.0.1:1\" cannot be used: tailnet address" },
	{ prefval_relay_endpoints, "[fd7a:115c:a1e0::1]:1",
	  EPS_ERR "\"[fd7a:115c:a1e0::1]:1\" cannot be used: tailnet address" },
	{ prefval_static_endpoints, "x",
	  "failed to set static endpoints: \"x\" is not a valid IP:port (missing port)" },
	{ routes_fn, "", NULL },
	{ routes_fn, "10.0.0.0/8,192.0.2.1", NULL },
	{ routes_fn, "x", "\"x\" is not a valid IP address or CIDR prefix" },
	{ routes_fn, "1.2.3.4/33", "\"1.2.3.4/33\" is not a valid IP address or CIDR prefix" },
	{ routes_fn, "10.0.0.1/8", "10.0.0.1/8 has non-address bits set; expected 10.0.0.0/8" },
	{ routes_fn, "0.0.0.0/0",
	  "0.0.0.0/0 advertised without its IPv6 counterpart, please also advertise ::/0" },
	{ routes_fn, "::/0", "::/0 advertised without its IPv4 counterpart, please also advertise 0.0.0.0/0" },
	{ prefval_tags, "", NULL },
	{ prefval_tags, "tag:web,db", NULL },
	{ prefval_tags, "tag:1x", "tag: \"tag:1x\": tag names must start with a letter, after 'tag:'" },
	{ prefval_tags, "tag:", "tag: \"tag:\": tag names must not be empty" },
	{ prefval_tags, "a_b",
	  "tag: \"tag:a_b\": tag names can only contain numbers, letters, or dashes" },
	{ prefval_hostname, "", NULL },
	{ prefval_hostname, "nas", NULL },
	{ prefval_hostname, "-x",
	  "\"-x\" is not a valid DNS label: must start with a letter or number" },
	{ prefval_hostname, "x-", "\"x-\" is not a valid DNS label: must end with a letter or number" },
	{ prefval_hostname, "a_b", "\"a_b\" is not a valid DNS label: contains an invalid character" },
	{ prefval_hostname, "a..b", "empty DNS label" },
	{ prefval_hostname, ".", "empty DNS label" },
	{ prefval_netfilter, "off", NULL },
	{ prefval_netfilter, "x", "invalid value --netfilter-mode=\"x\"" },
	{ prefval_control_url, "http://192.0.2.1:443", NULL },
	{ prefval_control_url, "https://[2001:db8::1]:8443/", NULL },
	{ prefval_control_url, "",
	  "invalid server URL \"\": want http://HOST[:PORT] or https://HOST[:PORT]" },
	{ prefval_control_url, "file:///etc/shadow",
	  "invalid server URL \"file:///etc/shadow\": want http://HOST[:PORT] or https://HOST[:PORT]" },
	{ prefval_control_url, "https://u:p@x",
	  "invalid server URL \"https://u:p@x\": a user name or password does not belong there" },
	{ prefval_control_url, "https://x/y", "invalid server URL \"https://x/y\": a path does not belong there" },
	{ prefval_control_url, "https://x:0", "invalid server URL \"https://x:0\": the port is out of range" },
	{ prefval_control_url, "https://[::1", "invalid server URL \"https://[::1\": malformed IPv6 address" },
	{ prefval_control_url, "https://", "invalid server URL \"https://\": no host" },
	{ prefval_control_url, "http://tskey-auth-abcDEF",  NULL },
};

static void values_are_checked_and_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad_rows); i++) {
		const struct bad_row *r = &bad_rows[i];
		struct prefs p = { 0 }, empty = { 0 };
		char err[PREFS_ERR_MAX] = "";
		int ret = r->fn(&p, r->text, err);

		if (r->err) {
			assert_string_equal(err, r->err);
			assert_int_equal(ret, -EINVAL);
			assert_true(prefs_diff(&p, &empty) == 0);
		} else if (ret) {
			fail_msg("row %zu: %s", i, err);
		}
		prefs_wipe(&p);
	}
}

static void huge_values_are_refused_without_harm(void **state)
{
	static const size_t size = 64 << 10;
	char err[PREFS_ERR_MAX];
	struct prefs p = { 0 };
	char *text = malloc(size + 1);

	(void)state;
	assert_non_null(text);
	memset(text, 'a', size);
	text[size] = 0;
	assert_int_equal(prefval_relay_port(&p, text, err), -EINVAL);
	assert_true(strlen(err) < 200);
	assert_int_equal(prefval_relay_endpoints(&p, text, err), -EINVAL);
	assert_int_equal(routes_fn(&p, text, err), -EINVAL);
	assert_int_equal(prefval_tags(&p, text, err), -EINVAL);
	assert_int_equal(prefval_hostname(&p, text, err), -EINVAL);
	assert_int_equal(prefval_netfilter(&p, text, err), -EINVAL);
	assert_int_equal(prefval_control_url(&p, text, err), -EINVAL);
	memset(text, ',', size);
	assert_int_equal(prefval_relay_endpoints(&p, text, err), -EINVAL);
	free(text);
}

static void secrets_are_masked(void **state)
{
	char text[] = "bad key \"tskey-auth-k1-Abc\" and hskey-auth-0123 and privkey:00ff";

	(void)state;
	prefval_mask_secrets(text);
	assert_string_equal(text, "bad key \"tskey-XXXXXXXXXXX\" and hskey-XXXXXXXXX and privkey:XXXX");
}

static int peer_order(const void *a, const void *b)
{
	const struct status_peer *x = a, *y = b;

	return memcmp(x->key.b, y->key.b, KEY_SIZE);
}

static int status_copy_in_pieces(struct bytes *out, struct status *s)
{
	struct status head = *s;
	struct json_w w = { .indent = "  " };
	int err;

	qsort(s->peers, s->n_peers, sizeof(*s->peers), peer_order);
	head.peers = NULL;
	head.n_peers = 0;
	status_w_begin(&w, &head);
	for (size_t i = 0; i < s->n_peers; i++)
		status_w_peer(&w, &s->peers[i]);
	status_w_end(&w, &head);
	err = w.err ? w.err : bytes_append(out, bytes_data(&w.out), bytes_size(&w.out));
	json_w_wipe(&w);
	return err ? err : bytes_append(out, "", 1);
}

static void status_survives_reading_and_writing(void **state)
{
	size_t size;
	char *text = test_file("tests/vectors/cli/status.json", &size);
	struct status s = { 0 };
	struct bytes b = { 0 };

	(void)state;
	assert_int_equal(status_parse(&s, text, size), 0);
	assert_int_equal(s.n_peers, 7);
	assert_int_equal(status_write(&b, &s, "  "), 0);
	assert_int_equal(bytes_append(&b, "", 1), 0);
	assert_string_equal((const char *)bytes_data(&b), text);
	bytes_wipe(&b);
	/* The same in pieces, without the list of peers in hand. */
	assert_int_equal(status_copy_in_pieces(&b, &s), 0);
	assert_string_equal((const char *)bytes_data(&b), text);
	bytes_wipe(&b);
	status_wipe(&s);
	free(text);
}

static void sessions_are_upstreams_document(void **state)
{
	static const char want[] =
		"{\"UDPPort\":40000,\"Sessions\":[{\"VNI\":7,\"Client1\":{\"Endpoint\":\"198.51.100.7:41641\","
		"\"ShortDisco\":\"d:0123456789abcdef\",\"PacketsTx\":33,\"BytesTx\":4316},\"Client2\":"
		"{\"Endpoint\":\"\",\"ShortDisco\":\"d:fedcba9876543210\",\"PacketsTx\":0,\"BytesTx\":0},"
		"\"MeshdBound\":false,\"MeshdAgeMs\":0,\"MeshdIdleMs\":-1}]}";
	struct relayinfo r = { 0 };
	struct bytes b = { 0 };

	(void)state;
	assert_int_equal(relayinfo_parse_sessions(&r, want, strlen(want)), 0);
	assert_true(r.on);
	assert_int_equal(r.port, 40000);
	assert_int_equal(r.n_sessions, 1);
	assert_int_equal(relayinfo_write_sessions(&b, &r, NULL), 0);
	assert_string_equal(text_of(&b), want);
	bytes_wipe(&b);
	relayinfo_wipe(&r);
	assert_int_equal(relayinfo_write_sessions(&b, &r, NULL), 0);
	assert_string_equal(text_of(&b), "{\"UDPPort\":null,\"Sessions\":null}");
	bytes_wipe(&b);
}

static void netreport_is_upstreams_document(void **state)
{
	static const char want[] =
		"{\"Now\":\"2026-11-21T09:18:50.380013115Z\",\"UDP\":true,\"IPv6\":false,\"IPv4\":true,"
		"\"IPv6CanSend\":false,\"IPv4CanSend\":true,\"OSHasIPv6\":true,\"ICMPv4\":false,"
		"\"MappingVariesByDestIP\":null,\"UPnP\":false,\"PMP\":false,\"PCP\":false,"
		"\"PreferredDERP\":900,\"RegionLatency\":{\"900\":110980},\"RegionV4Latency\":{\"900\":110980},"
		"\"RegionV6Latency\":{},\"GlobalV4Counters\":{\"127.0.0.1:50946\":1},\"GlobalV6Counters\":null,"
		"\"GlobalV4\":\"127.0.0.1:50946\",\"GlobalV6\":\"\",\"CaptivePortal\":false}";
	struct netreport r = { 0 };
	struct bytes b = { 0 };

	(void)state;
	assert_int_equal(netreport_parse(&r, want, strlen(want)), 0);
	assert_int_equal(netreport_write(&b, &r, NULL, false), 0);
	assert_string_equal(text_of(&b), want);
	bytes_wipe(&b);
	netreport_wipe(&r);
}

/* Every code that the programs raise has a row of its own, and one that has none still shows. */
static void health_names_how_bad_it_is(void **state)
{
	static const struct {
		const char *code, *severity;
		bool impacts;
	} rows[] = {
		{ "login-state", "high", true },	 { "wantrunning-false", "low", true },
		{ "not-in-map-poll", "medium", false },	 { "no-derp-connection", "medium", true },
		{ "relay-port-bind-failed", "medium", false }, { "relay-disabled-by-admin", "low", false },
		{ "accept-routes-off", "low", false },	 { "snat-not-built", "low", false },
		{ "magicdns-not-built", "low", false },	 { "router-health", "high", true },
		{ "state-store-health", "high", false }, { "tailnet-lock-unverified", "high", true },
		{ "control-health", "medium", false },	 { "something-new", "medium", false },
	};
	struct status s = { 0 };
	struct bytes b = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct notify_warning w = notify_warning(rows[i].code);

		assert_string_equal(w.code, rows[i].code);
		assert_string_equal(w.severity, rows[i].severity);
		assert_int_equal(w.impacts_connectivity, rows[i].impacts);
		assert_int_equal(strcmp(w.title, "Warning") == 0, i + 1 == ARRAY_LEN(rows));
	}
	assert_int_equal(status_add_health(&s, "control-health", "one"), 0);
	assert_int_equal(status_add_health(&s, "wantrunning-false", "off"), 0);
	assert_int_equal(status_add_health(&s, "control-health", "two \""), 0);
	assert_int_equal(notify_health_write(&b, &s), 0);
	assert_int_equal(bytes_append(&b, "", 1), 0);
	assert_string_equal((const char *)bytes_data(&b),
		"{\"Warnings\":{\"control-health\":{\"WarnableCode\":\"control-health\",\"Severity\":\"medium\","
		"\"Title\":\"Message of the control server\",\"Text\":\"one\"},"
		"\"wantrunning-false\":{\"WarnableCode\":\"wantrunning-false\",\"Severity\":\"low\","
		"\"Title\":\"Stopped\",\"Text\":\"off\",\"ImpactsConnectivity\":true},"
		"\"control-health-1\":{\"WarnableCode\":\"control-health-1\",\"Severity\":\"medium\","
		"\"Title\":\"Message of the control server\",\"Text\":\"two \\\"\"}}}");
	bytes_wipe(&b);
	status_wipe(&s);
}

static void traffic_sums_peers_and_shows_the_live_ones(void **state)
{
	struct status_peer peers[2] = { { .rx_bytes = 1, .tx_bytes = 20, .in_engine = true,
					  .last_handshake_ns = INT64_C(1767323045500000000) },
					{ .rx_bytes = 300, .tx_bytes = 4000 } };
	const struct status s = { .peers = peers, .n_peers = 2 };
	struct bytes b = { 0 };

	(void)state;
	assert_int_equal(notify_traffic_write(&b, &s, 3), 0);
	assert_int_equal(bytes_append(&b, "", 1), 0);
	assert_string_equal((const char *)bytes_data(&b),
		"{\"RBytes\":301,\"WBytes\":4020,\"NumLive\":1,\"LiveDERPs\":3,\"LivePeers\":{"
		"\"nodekey:0000000000000000000000000000000000000000000000000000000000000000\":{\"RxBytes\":1,\"TxBytes\":20,"
		"\"LastHandshake\":\"2026-01-02T03:04:05.5Z\","
		"\"NodeKey\":\"nodekey:0000000000000000000000000000000000000000000000000000000000000000\"}}}");
	bytes_wipe(&b);
}

static void the_nearest_marked_exit_node_is_suggested(void **state)
{
	char *cap[] = { (char *)(uintptr_t)"suggest-exit-node" }, *other[] = { (char *)(uintptr_t)"funnel" };
	struct status_peer self = { .relay = (char *)(uintptr_t)"fra" }, p[4];
	const struct status s = { .self = &self, .peers = p, .n_peers = 4 };

	(void)state;
	for (size_t i = 0; i < 4; i++)
		p[i] = (struct status_peer){ .id = (char *)(uintptr_t)"n", .online = true, .exit_node_option = true,
					     .capabilities = cap, .n_capabilities = 1,
					     .relay = (char *)(uintptr_t)"nyc" };
	p[0].dns_name = (char *)(uintptr_t)"d.";
	p[1].dns_name = (char *)(uintptr_t)"c.";
	p[2].dns_name = (char *)(uintptr_t)"b.";
	p[3].dns_name = (char *)(uintptr_t)"a.";
	p[0].relay = p[1].relay = p[3].relay = (char *)(uintptr_t)"fra";
	p[3].online = false;
	assert_ptr_equal(status_suggest_exit_node(&s), &p[1]);
	p[1].capabilities = other;
	assert_ptr_equal(status_suggest_exit_node(&s), &p[0]);
	p[0].exit_node_option = false;
	assert_ptr_equal(status_suggest_exit_node(&s), &p[2]);
	p[2].n_capabilities = 0;
	assert_null(status_suggest_exit_node(&s));
}

static void peers_are_found_by_address_and_every_name(void **state)
{
	struct ip ips[] = { { IP_V4, { 100, 64, 0, 3 } }, { IP_V4, { 100, 64, 0, 4 } } };
	struct status_peer self = { .dns_name = (char *)(uintptr_t)"me.m.example." };
	struct status_peer p[] = { { .dns_name = (char *)(uintptr_t)"nas.m.example.", .ips = ips, .n_ips = 1,
				     .host_name = (char *)(uintptr_t)"desk" },
				   { .dns_name = (char *)(uintptr_t)"desk.m.example.", .ips = ips + 1, .n_ips = 1,
				     .host_name = (char *)(uintptr_t)"Box" } };
	const struct status s = { .self = &self, .peers = p, .n_peers = 2 };
	static const struct {
		const char *text;
		int want; /* index; -1: self; -2: none */
	} rows[] = {
		{ "100.64.0.3", 0 }, { "100.64.0.9", -2 }, { "nas", 0 },	 { "NAS.m.example", 0 },
		{ "nas.m.example.", 0 }, { "nas.m", -2 }, { "box", 1 }, { "me", -1 }, { "", -2 },
		{ "desk", 1 }, /* a DNS name comes before another one's host name */
	};
	bool is_self;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct status_peer *want = rows[i].want >= 0 ? &p[rows[i].want] :
						 rows[i].want == -1 ? &self : NULL;

		if (status_find(&s, rows[i].text, &is_self) != want || is_self != (rows[i].want == -1))
			fail_msg("%s", rows[i].text);
	}
	assert_ptr_equal(status_find(&s, "me", NULL), &self);
}

static void notify_is_one_line(void **state)
{
	const struct notify n = { .version = "1", .has_state = true, .state = STATE_RUNNING,
				  .browse_to_url = "http://x/<a>", .self_change = "{\n\"Key\": \"nodekey:1\"\n}" };
	struct notify_event e = { 0 };
	struct bytes b = { 0 };

	(void)state;
	assert_int_equal(notify_write(&b, &n), 0);
	assert_int_equal(notify_parse(&e, (const char *)bytes_data(&b), bytes_size(&b)), 0);
	assert_string_equal(text_of(&b), "{\"Version\":\"1\",\"State\":6,\"SelfChange\":{\"Key\":\"nodekey:1\"},"
					 "\"BrowseToURL\":\"http://x/\\u003ca\\u003e\"}\n");
	assert_int_equal(e.state, STATE_RUNNING);
	assert_string_equal(e.browse_to_url, "http://x/<a>");
	assert_string_equal(e.self_key, "nodekey:1");
	notify_event_wipe(&e);
	bytes_wipe(&b);
}

static void ping_result_survives(void **state)
{
	struct pingresult p = { 0 }, q = { 0 };
	struct bytes b = { 0 };

	(void)state;
	p.ip = strdup("100.64.0.3");
	p.peer_relay = strdup("203.0.113.10:40000:vni:7");
	p.latency_s = 0.01241;
	assert_int_equal(pingresult_write(&b, &p, NULL), 0);
	assert_int_equal(pingresult_parse(&q, (const char *)bytes_data(&b), bytes_size(&b)), 0);
	assert_string_equal(q.peer_relay, p.peer_relay);
	assert_true(q.latency_s == p.latency_s);
	bytes_wipe(&b);
	pingresult_wipe(&p);
	pingresult_wipe(&q);
}

/* What leaks here leaked with every status of a node that is not quite well; the sanitizers' build tells. */
static void status_takes_its_health_along(void **state)
{
	struct status s = { 0 };

	(void)state;
	assert_int_equal(status_add_health(&s, "a", "one"), 0);
	assert_int_equal(status_add_health(&s, "b", "two"), 0);
	assert_int_equal(s.n_health, 2);
	assert_string_equal(s.health_codes[1], "b");
	status_wipe(&s);
	assert_null(s.health);
	assert_null(s.health_codes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_takes_its_health_along),
		cmocka_unit_test(prefs_have_all_keys_in_upstreams_order),
		cmocka_unit_test(edit_of_the_stock_client_is_understood),
		cmocka_unit_test(edit_survives_writing_and_reading),
		cmocka_unit_test(internal_fields_and_wrong_types_are_refused),
		cmocka_unit_test(relay_on_finds_its_port),
		cmocka_unit_test(relay_on_contradicting_a_port_changes_nothing),
		cmocka_unit_test(values_are_checked_and_named),
		cmocka_unit_test(huge_values_are_refused_without_harm),
		cmocka_unit_test(secrets_are_masked),
		cmocka_unit_test(status_survives_reading_and_writing),
		cmocka_unit_test(sessions_are_upstreams_document),
		cmocka_unit_test(netreport_is_upstreams_document),
		cmocka_unit_test(health_names_how_bad_it_is),
		cmocka_unit_test(traffic_sums_peers_and_shows_the_live_ones),
		cmocka_unit_test(the_nearest_marked_exit_node_is_suggested),
		cmocka_unit_test(peers_are_found_by_address_and_every_name),
		cmocka_unit_test(notify_is_one_line),
		cmocka_unit_test(ping_result_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
