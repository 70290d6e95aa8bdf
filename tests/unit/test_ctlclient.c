/* SPDX-License-Identifier: MIT */
/* control/ctlclient: joining, rejoining, refusals, races, maps, pings, expiry and logout. */

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "tests/unit/ctlworld.h"

#define URL "http://192.0.2.1:8080"

static void ctlclient_joins_with_a_key(void **state)
{
	struct world *w = *state;

	ctlworld_start(w, URL, "some-key");
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	assert_true(w->status.is_live);
	assert_string_equal(w->error, "");
	assert_int_equal(w->n_keys, 1);
	assert_int_equal(w->n_registers, 1);
	assert_string_equal(w->reg.auth_key, "some-key");
	assert_int_equal(w->n_polls, 1);
	assert_int_equal(w->n_lites, 0);
	assert_int_equal(w->n_netmaps, 1);
	assert_int_equal(netmap_n_peers(ctlclient_netmap(w->c)), 1);
	assert_true(w->saved.registered);
	assert_memory_equal(w->saved.server.b, w->server_pub.b, 32);
	assert_memory_equal(w->reg.node.b, ctlclient_node_key(w->c).b, 32);
	assert_string_equal(w->links[0].host, "192.0.2.1");
	assert_int_equal(w->links[0].port, 8080);
	/* Nothing happens while nothing happens, but the watchdog. */
	ctlworld_pass(w, 100000);
	assert_int_equal(w->n_links, 2);
}

static void ctlclient_takes_any_cut(void **state)
{
	struct world *w = *state;

	for (size_t step = 1; step < 60; step += step < 8 ? 1 : 7) {
		void *inner = NULL;
		struct world *v;

		assert_int_equal(ctlworld_setup(&inner), 0);
		v = inner;
		v->step = step;
		ctlworld_start(v, URL, "k");
		assert_int_equal(v->status.state, CTLCLIENT_RUNNING);
		ctlworld_push(v, "{\"OnlineChange\":{\"2\":true}}", true);
		ctlworld_drive(v);
		assert_int_equal(v->n_netmaps, 2);
		(void)ctlworld_teardown(&inner);
	}
	(void)w;
}

static void ctlclient_later_start_needs_one_request(void **state)
{
	struct world *w = *state;
	struct netmap *cached;

	ctlworld_start(w, URL, "some-key");
	cached = netmap_get(ctlclient_netmap(w->c));
	ctlworld_restart(w, cached);
	w->n_keys = w->n_registers = w->n_polls = w->n_netmaps = 0;
	ctlworld_start(w, URL, NULL);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	assert_int_equal(w->n_keys, 0);
	assert_int_equal(w->n_registers, 0);
	assert_int_equal(w->n_polls, 1);
	assert_int_equal(w->n_netmaps, 1);
	/* Only what this start did not tell is different: disco key and home of the own node. */
	assert_int_equal(w->change_bits & ~(unsigned)NETMAP_SELF, 0);
	netmap_put(cached);
}

static void ctlclient_keys_are_durable_first(void **state)
{
	struct world *w = *state;

	w->hold_persist = true;
	ctlworld_start(w, URL, "k");
	ctlworld_pass(w, 1000);
	assert_int_equal(w->n_registers, 0);
	w->hold_persist = false;
	for (unsigned n = w->n_persists; n > 0; n--)
		ctlclient_persisted(w->c, w->now);
	ctlworld_drive(w);
	assert_int_equal(w->n_registers, 1);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
}

static void ctlclient_fingerprint_decides_first_contact(void **state)
{
	struct world *w = *state;
	uint8_t hash[32];
	char key[128], hex[33];

	(void)crypto_hash_sha256(hash, w->server_pub.b, 32);
	(void)sodium_bin2hex(hex, sizeof(hex), hash, 16);
	(void)snprintf(key, sizeof(key), "hskey-auth-abc-%s", hex);
	key[strlen(key) - 1] = key[strlen(key) - 1] == '0' ? '1' : '0';
	ctlworld_start(w, "https://control.example.net:8443", key);
	assert_true(w->status.is_fatal);
	assert_non_null(strstr(w->error, "not the server that issued the auth key"));
	assert_int_equal(w->n_upgrades, 0);
	/* The right one; the certificate then needs no check. */
	(void)snprintf(key, sizeof(key), "hskey-auth-abc-%s", hex);
	ctlworld_forget_links(w);
	ctlworld_start(w, "https://control.example.net:8443", key);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	assert_int_equal(w->links[0].tls, CTLCLIENT_TLS_NO_VERIFY);
	assert_int_equal(w->links[1].tls, CTLCLIENT_TLS_NO_VERIFY);
	assert_int_equal(w->links[1].port, 8443); /* no probe of port 80 */
}

static void ctlclient_https_checks_the_certificate_at_first(void **state)
{
	struct world *w = *state;

	ctlworld_start(w, "https://control.example.net", "plain-key");
	assert_int_equal(w->links[0].tls, CTLCLIENT_TLS_VERIFY);
	assert_int_equal(w->links[0].port, 443);
	assert_int_equal(w->links[1].tls, CTLCLIENT_PLAIN);
	assert_int_equal(w->links[1].port, 80);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
}

static void ctlclient_refuses_a_changed_server_key(void **state)
{
	struct world *w = *state;
	const struct ctlclient_prefs force = { .url = URL, .auth_key = "k2", .force_reauth = true };

	ctlworld_start(w, URL, "k");
	ctlworld_restart(w, NULL);
	w->server.b[5] ^= 1;
	key_public(w->server_pub.b, w->server.b);
	ctlworld_start(w, URL, NULL);
	ctlworld_pass(w, 5000);
	assert_true(w->status.is_fatal);
	assert_non_null(strstr(w->error, "the server's key changed from mkey:"));
	assert_non_null(strstr(w->error, "--force-reauth"));
	assert_int_equal(w->n_registers, 1);
	assert_int_equal(ctlclient_start(w->c, w->now, &force, NULL), 0);
	ctlworld_drive(w);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	assert_int_equal(w->n_registers, 2);
	assert_memory_equal(w->saved.server.b, w->server_pub.b, 32);
}

/* It is what it was before a login that came to nothing. */
static void is_member_as_before(struct world *w, const struct node_key *before)
{
	assert_memory_equal(ctlclient_node_key(w->c).b, before->b, KEY_SIZE);
	assert_true(w->saved.registered);
	assert_true(key_is_zero(w->saved.old_node.b));
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
}

static void ctlclient_refused_reauth_leaves_the_member(void **state)
{
	struct world *w = *state;
	const struct ctlclient_prefs force = { .url = URL, .auth_key = "expired", .force_reauth = true };
	struct node_key before;

	ctlworld_start(w, URL, "k");
	before = ctlclient_node_key(w->c);
	w->mode = REG_ERROR;
	assert_int_equal(ctlclient_start(w->c, w->now, &force, NULL), 0);
	ctlworld_drive(w);
	assert_int_equal(w->n_registers, 2);
	ctlworld_pass(w, 5000);
	is_member_as_before(w, &before);
	assert_int_equal(w->n_registers, 2);
}

/* The server's own answers are withheld: the login has no verdict yet. */
static struct node_key undecided_reauth(struct world *w, const struct ctlclient_prefs *force)
{
	struct node_key before;

	ctlworld_start(w, URL, "k");
	before = ctlclient_node_key(w->c);
	w->hold_register = true;
	assert_int_equal(ctlclient_start(w->c, w->now, force, NULL), 0);
	ctlworld_drive(w);
	assert_false(w->saved.registered);
	assert_memory_not_equal(ctlclient_node_key(w->c).b, before.b, KEY_SIZE);
	return before;
}

static void ctlclient_second_reauth_keeps_the_member(void **state)
{
	struct world *w = *state;
	const struct ctlclient_prefs force = { .url = URL, .auth_key = "expired", .force_reauth = true };
	const struct node_key before = undecided_reauth(w, &force);
	const struct node_key fresh = ctlclient_node_key(w->c);

	assert_int_equal(ctlclient_start(w->c, w->now, &force, NULL), 0);
	ctlworld_drive(w);
	assert_memory_equal(ctlclient_node_key(w->c).b, fresh.b, KEY_SIZE); /* the same login */
	assert_int_equal(w->n_registers, 3);
	ctlworld_respond(w, w->conn, w->reg_stream, 200, "{\"Error\":\"authkey expired\"}");
	w->hold_register = false;
	ctlworld_pass(w, 5000);
	is_member_as_before(w, &before);
	assert_int_equal(w->n_registers, 3);
}

/* The same by a start that asks for nothing new: preferences were changed, the network came back. */
static void ctlclient_restart_of_a_reauth_keeps_the_member(void **state)
{
	struct world *w = *state;
	const struct ctlclient_prefs force = { .url = URL, .auth_key = "expired", .force_reauth = true };
	const struct ctlclient_prefs plain = { .url = URL };
	const struct node_key before = undecided_reauth(w, &force);

	ctlclient_stop(w->c, w->now);
	ctlworld_drive(w);
	w->hold_register = false;
	w->mode = REG_ERROR;
	assert_int_equal(ctlclient_start(w->c, w->now, &plain, NULL), 0);
	ctlworld_pass(w, 5000);
	is_member_as_before(w, &before);
}

/* The daemon was killed in the middle of it. */
static void ctlclient_cut_off_reauth_leaves_the_member(void **state)
{
	struct world *w = *state;
	const struct ctlclient_prefs force = { .url = URL, .auth_key = "k2", .force_reauth = true };
	const struct node_key before = undecided_reauth(w, &force);
	const struct node_key fresh = ctlclient_node_key(w->c);

	w->hold_register = false;
	w->mode = REG_URL; /* the server has not heard of the new key */
	ctlworld_restart(w, NULL);
	assert_memory_equal(ctlclient_node_key(w->c).b, fresh.b, KEY_SIZE);
	ctlworld_start(w, URL, NULL);
	ctlworld_pass(w, 5000);
	is_member_as_before(w, &before);
	assert_string_equal(w->auth_url, "");
	assert_string_equal(w->error, "");
	/* One that is asked for is another matter: it is given its URL. */
	assert_int_equal(ctlclient_start(w->c, w->now, &(struct ctlclient_prefs){ .url = URL, .force_reauth = true }, NULL), 0);
	ctlworld_pass(w, 5000);
	assert_string_not_equal(w->auth_url, "");
}

static void ctlclient_cut_off_reauth_may_have_been_accepted(void **state)
{
	struct world *w = *state;
	const struct ctlclient_prefs force = { .url = URL, .auth_key = "k2", .force_reauth = true };
	struct node_key fresh;

	(void)undecided_reauth(w, &force);
	fresh = ctlclient_node_key(w->c);
	w->hold_register = false;
	ctlworld_restart(w, NULL);
	ctlworld_start(w, URL, NULL);
	ctlworld_pass(w, 5000);
	assert_memory_equal(ctlclient_node_key(w->c).b, fresh.b, KEY_SIZE);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	assert_true(key_is_zero(w->saved.old_node.b));
}

static void ctlclient_foreign_key_leaves_the_member(void **state)
{
	struct world *w = *state;
	const struct ctlclient_prefs force = { .url = URL,
					       .auth_key = "hskey-auth-abc-00112233445566778899aabbccddeeff",
					       .force_reauth = true };
	struct node_key before;

	ctlworld_start(w, URL, "k");
	before = ctlclient_node_key(w->c);
	assert_int_equal(ctlclient_start(w->c, w->now, &force, NULL), 0);
	ctlworld_drive(w);
	assert_true(w->status.is_fatal);
	assert_non_null(strstr(w->error, "not the server that issued the auth key"));
	assert_non_null(strstr(w->error, "stays a member"));
	ctlworld_pass(w, 5000);
	assert_int_equal(w->n_registers, 1); /* the foreign key was told to nobody */
	is_member_as_before(w, &before);
}

/* That another server key was welcome ends with the login that said so. */
static void ctlclient_refused_reauth_pins_the_server_again(void **state)
{
	struct world *w = *state;
	const struct ctlclient_prefs force = { .url = URL, .auth_key = "expired", .force_reauth = true };

	ctlworld_start(w, URL, "k");
	w->mode = REG_ERROR;
	assert_int_equal(ctlclient_start(w->c, w->now, &force, NULL), 0);
	ctlworld_pass(w, 5000);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	w->server.b[5] ^= 1;
	key_public(w->server_pub.b, w->server.b);
	ctlclient_relink(w->c, w->now);
	ctlworld_pass(w, 5000);
	assert_non_null(strstr(w->error, "the server's key changed"));
}

static void ctlclient_race_falls_back_to_tls(void **state)
{
	struct world *w = *state;

	w->refuse_plain = true;
	ctlworld_start(w, "https://control.example.net", "k");
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	assert_int_equal(w->n_links, 3);
	assert_int_equal(w->links[2].tls, CTLCLIENT_TLS_NO_VERIFY);
	assert_int_equal(w->links[2].port, 443);
}

static void ctlclient_race_starts_tls_after_half_a_second(void **state)
{
	struct world *w = *state;

	ctlworld_start(w, URL, "k");
	ctlworld_restart(w, NULL);
	ctlworld_forget_links(w);
	w->hold_connect = true;
	ctlworld_start(w, URL, NULL);
	assert_int_equal(w->n_links, 1);
	ctlworld_pass(w, 499);
	assert_int_equal(w->n_links, 1);
	ctlworld_pass(w, 2);
	assert_int_equal(w->n_links, 2);
	assert_int_equal(w->links[1].port, 443);
	w->hold_connect = false;
	ctlclient_connected(w->c, w->now, w->links[1].id);
	ctlworld_drive(w);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	assert_false(w->links[0].open); /* the loser is closed */
}

static void ctlclient_private_address_means_plain_only(void **state)
{
	struct world *w = *state;

	ctlworld_start(w, "http://10.0.0.1:8080", "k");
	ctlworld_restart(w, NULL);
	ctlworld_forget_links(w);
	w->refuse_plain = true;
	ctlworld_start(w, "http://10.0.0.1:8080", NULL);
	ctlworld_pass(w, 3000);
	assert_true(w->n_links > 3);
	for (size_t i = 0; i < w->n_links; i++)
		assert_int_equal(w->links[i].tls, CTLCLIENT_PLAIN);
	assert_string_equal(w->error, "cannot connect to http://10.0.0.1:8080: connection refused");
	assert_false(w->status.is_fatal);
	w->refuse_plain = false;
	ctlworld_pass(w, 60000);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	assert_string_equal(w->error, "");
}

static void ctlclient_backs_off(void **state)
{
	struct world *w = *state;

	w->refuse_plain = w->refuse_tls = true;
	ctlworld_start(w, "http://10.0.0.1", "k");
	ctlworld_pass(w, 10000);
	/* n^2 * 10 ms: the sum reaches 10 s after about 14 attempts. */
	assert_in_range(w->n_links, 10, 20);
	ctlworld_pass(w, 600000);
	assert_in_range(w->n_links, 30, 63);
}

static void ctlclient_non_mesh_url(void **state)
{
	struct world *w = *state;

	w->no_key = true;
	ctlworld_start(w, URL, "k");
	assert_non_null(strstr(w->error, "is no control server: /key was answered with status 404"));
	assert_int_equal(w->status.state, CTLCLIENT_STARTING);
}

static void ctlclient_server_says_no(void **state)
{
	struct world *w = *state;

	w->mode = REG_ERROR;
	ctlworld_start(w, URL, "k");
	assert_int_equal(w->status.state, CTLCLIENT_NEEDS_LOGIN);
	assert_true(w->status.is_fatal);
	assert_string_equal(w->error, "the server refused: authkey expired");
	ctlworld_pass(w, 300000);
	assert_int_equal(w->n_registers, 1);
	assert_false(w->saved.registered);
	w->mode = REG_OK;
	ctlworld_start(w, URL, "better");
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
}

static void ctlclient_interactive_login(void **state)
{
	struct world *w = *state;

	w->mode = REG_URL;
	ctlworld_start(w, URL, NULL);
	assert_int_equal(w->status.state, CTLCLIENT_NEEDS_LOGIN);
	assert_string_equal(w->auth_url, "https://control.example.net/register/abc");
	assert_int_equal(w->n_registers, 2);
	assert_string_equal(w->reg.followup, "https://control.example.net/register/abc");
	ctlworld_pass(w, 600000);
	assert_int_equal(w->n_registers, 2); /* held open */
	ctlworld_respond(w, w->conn, w->reg_stream, 200, "{\"MachineAuthorized\":true}");
	ctlworld_drive(w);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	assert_string_equal(w->auth_url, "");
}

static void ctlclient_rotates_an_expired_key_once(void **state)
{
	struct world *w = *state;
	struct node_key old;

	ctlworld_start(w, URL, "k");
	old = ctlclient_node_key(w->c);
	w->saved.registered = false; /* as after a logout at the server */
	ctlworld_restart(w, NULL);
	w->mode = REG_EXPIRED_ONCE;
	w->n_registers = 0;
	ctlworld_start(w, URL, "k2");
	assert_int_equal(w->n_registers, 2);
	assert_memory_equal(w->reg.old_node.b, old.b, 32);
	assert_memory_not_equal(w->reg.node.b, old.b, 32);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	assert_true(key_is_zero(w->saved.old_node.b));
}

static void ctlclient_waits_when_told(void **state)
{
	struct world *w = *state;

	w->mode = REG_429;
	ctlworld_start(w, URL, "k");
	assert_int_equal(w->n_registers, 1);
	ctlworld_pass(w, 4900);
	assert_int_equal(w->n_registers, 1);
	ctlworld_pass(w, 6000);
	assert_int_equal(w->n_registers, 2);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
}

static void ctlclient_tells_changes_only(void **state)
{
	struct world *w = *state;
	const struct ep ep = { .ip = ip4(192, 0, 2, 7), .port = 41641 };
	const uint8_t type = EP_TYPE_STUN;

	ctlworld_start(w, URL, "k");
	ctlclient_set_endpoints(w->c, w->now, &ep, &type, 1);
	ctlclient_set_home(w->c, w->now, 901);
	ctlworld_drive(w);
	assert_int_equal(w->n_lites, 1);
	assert_non_null(strstr(w->lite, "\"Endpoints\":[\"192.0.2.7:41641\"]"));
	assert_non_null(strstr(w->lite, "\"PreferredDERP\":901"));
	assert_non_null(strstr(w->lite, "\"Hostname\":\"alpha\""));
	ctlclient_set_endpoints(w->c, w->now, &ep, &type, 1);
	ctlclient_set_home(w->c, w->now, 902);
	ctlclient_set_home(w->c, w->now, 901);
	ctlworld_pass(w, 1000);
	assert_int_equal(w->n_lites, 1);
	ctlclient_set_endpoints(w->c, w->now, NULL, NULL, 0);
	ctlworld_pass(w, 1000);
	assert_int_equal(w->n_lites, 2);
}

static void ctlclient_takes_latencies_for_no_news(void **state)
{
	struct world *w = *state;
	char name[] = "alpha";
	struct derp_latency latency = { .key = "901-v4", .seconds = 0.020 };
	struct hostinfo host = { .hostname = name, .has_netinfo = true, .preferred_derp = 901,
				 .derp_latency = &latency, .n_derp_latency = 1 };

	ctlworld_start(w, URL, "k");
	assert_int_equal(ctlclient_set_host(w->c, w->now, &host), 0);
	ctlworld_pass(w, 1000);
	assert_int_equal(w->n_lites, 1);
	latency.seconds = 0.021;
	assert_int_equal(ctlclient_set_host(w->c, w->now, &host), 0);
	host.n_derp_latency = 0;
	assert_int_equal(ctlclient_set_host(w->c, w->now, &host), 0);
	ctlworld_pass(w, 1000);
	assert_int_equal(w->n_lites, 1);
	/* They go along with what is news. */
	host.n_derp_latency = 1;
	assert_int_equal(ctlclient_set_host(w->c, w->now, &host), 0);
	ctlclient_set_home(w->c, w->now, 902);
	ctlworld_pass(w, 1000);
	assert_int_equal(w->n_lites, 2);
	assert_non_null(strstr(w->lite, "\"901-v4\":0.021"));
}

static void ctlclient_repeats_what_a_poll_did_not_tell(void **state)
{
	struct world *w = *state;

	w->echo_self = false;
	ctlworld_start(w, URL, "k");
	ctlworld_pass(w, 1000);
	assert_int_equal(w->n_lites, 1);
	ctlworld_pass(w, 50000);
	assert_int_equal(w->n_lites, 1);
}

/* A server that takes a poll as a request to read shows the endpoints of before, or none. */
static void ctlclient_repeats_endpoints_that_a_poll_did_not_tell(void **state)
{
	struct world *w = *state;
	const struct ep ep = { .ip = ip4(192, 0, 2, 7), .port = 41641 };
	const uint8_t type = EP_TYPE_STUN;

	ctlclient_set_endpoints(w->c, w->now, &ep, &type, 1);
	ctlworld_start(w, URL, "k");
	ctlworld_pass(w, 1000);
	assert_int_equal(w->n_lites, 1);
	assert_non_null(strstr(w->lite, "\"Endpoints\":[\"192.0.2.7:41641\"]"));
	ctlworld_pass(w, 50000);
	assert_int_equal(w->n_lites, 1);
}

static void ctlclient_applies_deltas(void **state)
{
	struct world *w = *state;

	ctlworld_start(w, URL, "k");
	ctlworld_push(w, "{\"KeepAlive\":true}", true);
	ctlworld_drive(w);
	assert_int_equal(w->n_netmaps, 1);
	ctlworld_push(w, "{\"OnlineChange\":{\"2\":true}}", false);
	ctlworld_drive(w);
	assert_int_equal(w->n_netmaps, 2);
	assert_int_equal(w->change_bits, NETMAP_PEERS);
	ctlworld_push(w, "{\"OnlineChange\":{\"2\":true}}", true);
	ctlworld_drive(w);
	assert_int_equal(w->n_netmaps, 2);
}

static void ctlclient_bad_map_keeps_the_old_one(void **state)
{
	struct world *w = *state;

	ctlworld_start(w, URL, "k");
	ctlworld_push(w, "{\"PeersRemoved\":[2],\"PeersChanged\":[{\"ID\":3,\"Key\":\"bad\"}]}", true);
	ctlworld_drive(w);
	assert_non_null(strstr(w->error, "a map was refused, the one before stays in force: PeersChanged: Key"));
	assert_int_equal(netmap_n_peers(ctlclient_netmap(w->c)), 1);
	assert_false(w->status.is_live);
	ctlworld_pass(w, 1000);
	assert_true(w->status.is_live);
	assert_string_equal(w->error, "");
	assert_int_equal(w->n_polls, 2);
	assert_int_equal(w->n_upgrades, 1); /* on the same connection */
}

static void ctlclient_watchdog(void **state)
{
	struct world *w = *state;

	ctlworld_start(w, URL, "k");
	ctlworld_pass(w, 60000);
	ctlworld_push(w, "{\"KeepAlive\":true}", true);
	ctlworld_pass(w, 119000);
	assert_int_equal(w->n_upgrades, 1);
	assert_true(w->status.is_live);
	ctlworld_pass(w, 3000);
	assert_int_equal(w->n_upgrades, 2);
	assert_true(w->status.is_live);
}

static void ctlclient_says_where_the_server_hung_up(void **state)
{
	struct world *w = *state;
	struct link *l;

	ctlworld_start(w, URL, "k");
	l = w->conn;
	l->open = false;
	w->server.b[5] ^= 1; /* it takes no initiation that is for its old key */
	ctlclient_closed(w->c, w->now, l->id, "closed by the server");
	ctlworld_pass(w, 1000);
	assert_false(w->status.is_live);
	assert_non_null(strstr(w->error, "closed by the server during the handshake (it may not accept this version)"));
}

static void ctlclient_reconnects(void **state)
{
	struct world *w = *state;
	struct link *l;

	ctlworld_start(w, URL, "k");
	l = w->conn;
	l->open = false;
	ctlclient_closed(w->c, w->now, l->id, "closed by the server");
	ctlworld_drive(w);
	assert_false(w->status.is_live);
	assert_string_equal(w->error, "the connection to the server was lost: closed by the server");
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING); /* the map stays in use */
	ctlworld_pass(w, 1000);
	assert_true(w->status.is_live);
	assert_int_equal(w->n_registers, 1);
	assert_int_equal(w->n_keys, 1);
	ctlclient_relink(w->c, w->now);
	ctlworld_drive(w);
	assert_true(w->status.is_live);
	assert_int_equal(w->n_upgrades, 3);
}

static void ctlclient_registers_again_after_404(void **state)
{
	struct world *w = *state;
	struct node_key key;

	ctlworld_start(w, URL, "k");
	key = ctlclient_node_key(w->c);
	ctlworld_restart(w, NULL);
	w->map_status = 404;
	w->n_registers = w->n_polls = 0;
	ctlworld_start(w, URL, NULL);
	ctlworld_pass(w, 2000);
	assert_true(w->n_registers >= 1);
	assert_true(w->n_polls >= 2);
	assert_memory_equal(w->reg.node.b, key.b, 32);
	w->map_status = 0;
	ctlworld_pass(w, 60000);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
}

static void ctlclient_waits_for_approval(void **state)
{
	struct world *w = *state;
	char text[512], key[KEY_TEXT_MAX];

	w->first_map = ",\"MachineAuthorized\":false";
	ctlworld_start(w, URL, "k");
	assert_int_equal(w->status.state, CTLCLIENT_NEEDS_AUTH);
	key_write(key, KEY_NODE, ctlclient_node_key(w->c).b);
	(void)snprintf(text, sizeof(text), "{\"Node\":{\"ID\":1,\"Key\":\"%s\",\"MachineAuthorized\":true}}", key);
	ctlworld_push(w, text, true);
	ctlworld_drive(w);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
}

static void ctlclient_own_expiry(void **state)
{
	struct world *w = *state;

	w->first_map = ",\"MachineAuthorized\":true,\"KeyExpiry\":\"2026-01-02T03:05:05Z\"";
	ctlworld_start(w, URL, "k");
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	ctlworld_pass(w, 59000);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	ctlworld_pass(w, 2500);
	assert_int_equal(w->status.state, CTLCLIENT_NEEDS_LOGIN);
	assert_true(w->status.is_fatal);
	w->first_map = NULL;
	w->mode = REG_EXPIRED_ONCE;
	ctlworld_start(w, URL, "new-key");
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	assert_int_equal(w->n_registers, 3);
}

static void ctlclient_logs_out(void **state)
{
	struct world *w = *state;

	ctlworld_start(w, URL, "k");
	ctlclient_logout(w->c, w->now);
	ctlworld_drive(w);
	assert_true(w->logged_out);
	assert_true(w->reg.has_expiry);
	assert_int_equal(w->reg.expiry_s, 123);
	assert_int_equal(w->status.state, CTLCLIENT_STOPPED);
	assert_true(key_is_zero(w->saved.node.b));
	assert_null(ctlclient_netmap(w->c));
	/* A server that cannot be reached does not hold it up for ever. */
	w->logged_out = false;
	ctlworld_start(w, URL, "k");
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	ctlclient_stop(w->c, w->now);
	ctlworld_drive(w);
	w->refuse_plain = w->refuse_tls = true;
	ctlclient_logout(w->c, w->now);
	ctlworld_pass(w, 9000);
	assert_false(w->logged_out);
	ctlworld_pass(w, 2000);
	assert_true(w->logged_out);
}

static void ctlclient_refused_logout_is_not_told(void **state)
{
	static const struct {
		unsigned status;
		const char *body, *why;
	} rows[] = {
		{ 200, "{\"NodeKeyExpired\":true}", "" },
		{ 200, "{\"MachineAuthorized\":true}", "" },
		{ 200, "{\"Error\":\"no such node\"}", "it refused: no such node" },
		{ 200, "<html>", "its answer is malformed" },
		{ 500, "{}", "it answered with HTTP status 500" },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const char *why;

		w->hold_logout = false;
		ctlworld_start(w, URL, "k");
		assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
		w->logged_out = false;
		w->hold_logout = true;
		ctlclient_logout(w->c, w->now);
		ctlworld_drive(w);
		assert_false(w->logged_out);
		ctlworld_respond(w, w->conn, w->reg_stream, rows[i].status, rows[i].body);
		ctlworld_drive(w);
		assert_true(w->logged_out);
		why = ctlclient_logout_why(w->c);
		if (*rows[i].why)
			assert_non_null(strstr(why, rows[i].why));
		else
			assert_string_equal(why, "");
	}
}

/* What the server knows of then is the key before. */
static void ctlclient_logout_ends_an_undecided_reauth(void **state)
{
	struct world *w = *state;
	const struct ctlclient_prefs force = { .url = URL, .auth_key = "expired", .force_reauth = true };
	const struct node_key before = undecided_reauth(w, &force);

	ctlclient_logout(w->c, w->now);
	ctlworld_pass(w, 1000);
	assert_true(w->logged_out);
	assert_true(w->reg.has_expiry);
	assert_memory_equal(w->reg.node.b, before.b, KEY_SIZE);
	assert_string_equal(ctlclient_logout_why(w->c), "");
	assert_true(key_is_zero(w->saved.node.b));
	assert_true(key_is_zero(w->saved.old_node.b));
}

static void ctlclient_answers_pings(void **state)
{
	struct world *w = *state;

	ctlworld_start(w, URL, "k");
	ctlworld_push(w, "{\"PingRequest\":{\"URL\":\"https://unused/machine/ping-response?id=1\",\"URLIsNoise\":true}}", true);
	ctlworld_drive(w);
	assert_int_equal(w->n_pings, 1);
	assert_string_equal(w->echo, "HEAD /machine/ping-response?id=1 ");
	ctlworld_push(w, "{\"PingRequest\":{\"URL\":\"https://unused/machine/ping-response?id=1\",\"URLIsNoise\":true}}", true);
	ctlworld_drive(w);
	assert_int_equal(w->n_pings, 1); /* a repetition */
	ctlworld_push(w, "{\"KeepAlive\":true,\"PingRequest\":{\"URL\":\"http://192.0.2.1:8080/machine/ping-response?id=2\"}}", true);
	ctlworld_drive(w);
	assert_int_equal(w->n_heads, 1);
	ctlworld_push(w, "{\"PingRequest\":{\"URL\":\"http://192.0.2.99/x\"}}", true);
	ctlworld_drive(w);
	assert_int_equal(w->n_heads, 1); /* not our server */
	ctlworld_push(w,
	     "{\"PingRequest\":{\"URL\":\"https://unused/c2n/abc\",\"Types\":\"c2n\",\"Payload\":"
	     "\"UE9TVCAvZWNobyBIVFRQLzEuMQ0KSG9zdDogeA0KQ29udGVudC1MZW5ndGg6IDUNCg0KaGVsbG8=\"}}",
	     true);
	ctlworld_drive(w);
	assert_non_null(strstr(w->echo, "POST /c2n/abc HTTP/1.1 200 OK"));
	assert_non_null(strstr(w->echo, "hello"));
	ctlworld_push(w, "{\"PingRequest\":{\"URL\":\"https://unused/p\",\"Types\":\"disco\",\"IP\":\"100.64.0.2\"}}", true);
	ctlworld_drive(w);
	assert_non_null(strstr(w->echo, "\"Type\":\"disco\",\"IP\":\"100.64.0.2\",\"Err\":"));
}

static void ctlclient_refuses_tailnet_lock(void **state)
{
	struct world *w = *state;

	w->first_map = ",\"MachineAuthorized\":true},\"TKAInfo\":{\"Head\":\"x\"";
	ctlworld_start(w, URL, "k");
	assert_non_null(strstr(w->error, "tailnet lock"));
	assert_int_equal(w->n_netmaps, 0);
}

static void ctlclient_checks_prefs(void **state)
{
	static const char *const bad[] = { "", "example.net", "ftp://a", "http://", "http://a:0", "http://a:65536",
					   "http://a:x", "http://a/path", "http://a b", "http://[::1", "http://[1.2.3.4]:80",
					   "https://a:", "http://user@a" };
	static const char *const good[] = { "https://a", "http://192.0.2.1:443", "http://[2001:db8::1]:8080/",
					    "HTTPS://control.example.net/" };
	struct world *w = *state;
	char why[CTLCLIENT_TEXT_MAX];

	ctlworld_start(w, URL, "k");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		const struct ctlclient_prefs p = { .url = bad[i] };

		why[0] = 0;
		if (ctlclient_start(w->c, w->now, &p, why) != -EBADMSG || !why[0])
			fail_msg("accepted %s", bad[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		const struct ctlclient_prefs p = { .url = good[i] };

		if (ctlclient_check(&p, why) != 0)
			fail_msg("refused %s: %s", good[i], why);
	}
	assert_int_equal(ctlclient_check(&(struct ctlclient_prefs){ .url = URL, .auth_key = "a b" }, why), -EBADMSG);
	ctlworld_drive(w);
	assert_int_equal(w->status.state, CTLCLIENT_RUNNING); /* nothing happened */
}

static void ctlclient_garbage_ends_attempts(void **state)
{
	static const char bad_noise[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\n"
					"Connection: upgrade\r\n\r\n\x04\x10\x10 0123456789abcdef";
	static const char *const garbage[] = { "\x16\x03\x01", "SSH-2.0-x\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
					       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n",
					       bad_noise };
	struct world *w = *state;

	ctlworld_start(w, "http://10.0.0.1", "k");
	for (size_t i = 0; i < ARRAY_LEN(garbage); i++) {
		struct link *l;

		ctlworld_restart(w, NULL);
		ctlworld_forget_links(w);
		w->hold_connect = true;
		ctlworld_start(w, "http://10.0.0.1", NULL);
		l = &w->links[0];
		ctlclient_connected(w->c, w->now, l->id);
		ctlclient_input(w->c, w->now, l->id, (const uint8_t *)garbage[i], strlen(garbage[i]));
		ctlworld_drive(w);
		assert_false(l->open);
		assert_true(w->error[0]);
		w->hold_connect = false;
		ctlworld_pass(w, 2000);
		assert_int_equal(w->status.state, CTLCLIENT_RUNNING);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, ctlworld_setup, ctlworld_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(ctlclient_joins_with_a_key),
		TEST(ctlclient_takes_any_cut),
		TEST(ctlclient_later_start_needs_one_request),
		TEST(ctlclient_keys_are_durable_first),
		TEST(ctlclient_fingerprint_decides_first_contact),
		TEST(ctlclient_https_checks_the_certificate_at_first),
		TEST(ctlclient_refuses_a_changed_server_key),
		TEST(ctlclient_refused_reauth_leaves_the_member),
		TEST(ctlclient_second_reauth_keeps_the_member),
		TEST(ctlclient_restart_of_a_reauth_keeps_the_member),
		TEST(ctlclient_cut_off_reauth_leaves_the_member),
		TEST(ctlclient_cut_off_reauth_may_have_been_accepted),
		TEST(ctlclient_foreign_key_leaves_the_member),
		TEST(ctlclient_refused_reauth_pins_the_server_again),
		TEST(ctlclient_race_falls_back_to_tls),
		TEST(ctlclient_race_starts_tls_after_half_a_second),
		TEST(ctlclient_private_address_means_plain_only),
		TEST(ctlclient_backs_off),
		TEST(ctlclient_non_mesh_url),
		TEST(ctlclient_server_says_no),
		TEST(ctlclient_interactive_login),
		TEST(ctlclient_rotates_an_expired_key_once),
		TEST(ctlclient_waits_when_told),
		TEST(ctlclient_tells_changes_only),
		TEST(ctlclient_takes_latencies_for_no_news),
		TEST(ctlclient_repeats_what_a_poll_did_not_tell),
		TEST(ctlclient_repeats_endpoints_that_a_poll_did_not_tell),
		TEST(ctlclient_applies_deltas),
		TEST(ctlclient_bad_map_keeps_the_old_one),
		TEST(ctlclient_watchdog),
		TEST(ctlclient_reconnects),
		TEST(ctlclient_says_where_the_server_hung_up),
		TEST(ctlclient_registers_again_after_404),
		TEST(ctlclient_waits_for_approval),
		TEST(ctlclient_own_expiry),
		TEST(ctlclient_logs_out),
		TEST(ctlclient_refused_logout_is_not_told),
		TEST(ctlclient_logout_ends_an_undecided_reauth),
		TEST(ctlclient_answers_pings),
		TEST(ctlclient_refuses_tailnet_lock),
		TEST(ctlclient_checks_prefs),
		TEST(ctlclient_garbage_ends_attempts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
