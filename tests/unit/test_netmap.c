/* SPDX-License-Identifier: MIT */
/* control/netmap: the delta sequences of the vectors, change sets, sharing, and full maps against deltas. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "control/netmap.h"
#include "wire/rfc3339.h"

#define NOW_S INT64_C(1767323045)

/* Applies a text to '*m' (which is replaced). */
static int apply(struct netmap **m, const char *text, enum netmap_mode mode, struct netmap_change *change)
{
	struct ctl_map_response msg;
	struct ctl_why why = { "" };
	struct netmap *next;
	int err = ctl_map_response_parse(&msg, text, strlen(text), &why);

	if (err)
		fail_msg("%s: %s", why.text, text);
	err = netmap_apply(*m, &msg, mode, NOW_S, &next, change);
	ctl_map_response_wipe(&msg);
	if (!err) {
		netmap_put(*m);
		*m = next;
	}
	return err;
}

static void apply_ok(struct netmap **m, const char *text, enum netmap_mode mode)
{
	struct netmap_change c;
	struct netmap *old = netmap_get(*m);

	assert_int_equal(apply(m, text, mode, &c), 0);
	netmap_change_wipe(&c);
	netmap_put(old);
}

/* A view of the map as the vectors describe it. */
static cJSON *describe(const struct netmap *m)
{
	cJSON *v = cJSON_CreateObject(), *list;
	const struct map_node *n;
	struct json_w w = { 0 };
	size_t it = 0, size;
	char *text;

	cJSON_AddStringToObject(v, "self_name", netmap_self(m)->name);
	cJSON_AddStringToObject(v, "domain", netmap_domain(m));
	cJSON_AddBoolToObject(v, "magic_dns", netmap_dns(m)->proxied);
	if (netmap_dns(m)->n_domains) {
		list = cJSON_AddArrayToObject(v, "dns_search");
		for (size_t i = 0; i < netmap_dns(m)->n_domains; i++)
			cJSON_AddItemToArray(list, cJSON_CreateString(netmap_dns(m)->domains[i]));
	}
	if (netmap_derp(m)->n_regions) {
		list = cJSON_AddArrayToObject(v, "derp_regions");
		for (size_t i = 0; i < netmap_derp(m)->n_regions; i++)
			cJSON_AddItemToArray(list, cJSON_CreateNumber(netmap_derp(m)->regions[i].id));
	}
	if (netmap_filter(m)->n_rules) {
		ctl_filter_rules_write(&w, NULL, netmap_filter(m));
		text = json_w_take(&w, &size);
		cJSON_AddItemToObject(v, "packet_filter_rules", cJSON_Parse(text));
		free(text);
	}
	if (netmap_n_peers(m)) {
		list = cJSON_AddArrayToObject(v, "peers");
		while ((n = netmap_next(m, &it))) {
			cJSON *p = cJSON_CreateObject(), *l = cJSON_AddArrayToObject(p, "AllowedIPs");
			char buf[KEY_TEXT_MAX], time[RFC3339_TEXT_MAX];

			for (size_t i = 0; i < n->n_allowed_ips; i++)
				cJSON_AddItemToArray(l, cJSON_CreateString(prefix_write(buf, &n->allowed_ips[i])));
			cJSON_AddNumberToObject(p, "Cap", n->cap);
			key_write(buf, KEY_DISCO, n->disco.b);
			cJSON_AddStringToObject(p, "DiscoKey", buf);
			l = n->n_endpoints ? cJSON_AddArrayToObject(p, "Endpoints") : NULL;
			for (size_t i = 0; i < n->n_endpoints; i++)
				cJSON_AddItemToArray(l, cJSON_CreateString(ep_write(buf, &n->endpoints[i])));
			cJSON_AddNumberToObject(p, "HomeDERP", n->home_derp);
			cJSON_AddNumberToObject(p, "ID", (double)n->id);
			rfc3339_write(time, n->key_expiry_s ? n->key_expiry_s : RFC3339_ZERO_S, 0);
			cJSON_AddStringToObject(p, "KeyExpiry", time);
			cJSON_AddStringToObject(p, "Name", n->name);
			if (n->online != TRI_UNSET)
				cJSON_AddBoolToObject(p, "Online", n->online == TRI_TRUE);
			if (n->last_seen_s)
				cJSON_AddStringToObject(p, "LastSeen",
							n->last_seen_s == NOW_S ? "now" :
										  rfc3339_write(time, n->last_seen_s, 0));
			cJSON_AddItemToArray(list, p);
		}
	}
	return v;
}

/* Members that are null are absent in ours; null sources of a rule are no sources. */
static void normalize(cJSON *v)
{
	cJSON *c = v->child, *next;

	for (; c; c = next) {
		next = c->next;
		if (cJSON_IsNull(c) && c->string && strcmp(c->string, "SrcIPs") == 0)
			(void)cJSON_ReplaceItemInObjectCaseSensitive(v, "SrcIPs", cJSON_CreateArray());
		else if (cJSON_IsNull(c) && c->string)
			cJSON_Delete(cJSON_DetachItemViaPointer(v, c));
		else if (!c->string || strcmp(c->string, "CapGrant") != 0)
			normalize(c);
	}
}

static void netmap_delta_sequences_of_the_vectors(void **state)
{
	cJSON *all = test_vectors("control.json");
	const cJSON *seq;

	(void)state;
	cJSON_ArrayForEach(seq, test_get(all, "delta_sequences"))
	{
		const cJSON *msg, *want = test_get(seq, "state_after_each")->child;
		struct netmap *m = NULL;
		unsigned step = 0;

		cJSON_ArrayForEach(msg, test_get(seq, "messages"))
		{
			char *text = cJSON_PrintUnformatted(msg);
			cJSON *got, *expected = cJSON_Duplicate(want, true);

			apply_ok(&m, text, step ? NETMAP_DELTA : NETMAP_FULL);
			got = describe(m);
			normalize(expected);
			if (!cJSON_Compare(got, expected, true))
				fail_msg("%s step %u:\n%s\nwanted\n%s", test_str(seq, "name"), step,
					 cJSON_PrintUnformatted(got), cJSON_PrintUnformatted(expected));
			cJSON_Delete(got);
			cJSON_Delete(expected);
			free(text);
			want = want->next;
			step++;
		}
		netmap_put(m);
	}
	cJSON_Delete(all);
}

#define NODE(id, extra)                                                                                          \
	"{\"ID\":" #id ",\"Name\":\"n" #id ".t.example.net.\",\"User\":1,\"Key\":\"nodekey:"                      \
	"00000000000000000000000000000000000000000000000000000000000000" #id "\",\"Addresses\":[\"100.64.0." #id  \
	"/32\"]" extra "}"

static struct netmap *three(void)
{
	struct netmap *m = NULL;

	apply_ok(&m,
		 "{\"Node\":" NODE(10, ",\"MachineAuthorized\":true") ",\"Peers\":[" NODE(11, "") "," NODE(12, "") "," NODE(
			 13, "") "],\"PacketFilters\":{\"base\":[]},\"UserProfiles\":[{\"ID\":1,\"LoginName\":\"u\"}]}",
		 NETMAP_FULL);
	return m;
}

static void netmap_changes_say_what_differs(void **state)
{
	static const struct {
		const char *text;
		unsigned bits, node_bits;
	} row[] = {
		{ "{\"KeepAlive\":true}", 0, 0 },
		{ "{\"ControlTime\":\"2026-01-01T00:00:00Z\"}", 0, 0 },
		{ "{\"PeersChanged\":[" NODE(12, "") "]}", 0, 0 },
		{ "{\"PeersChanged\":[" NODE(12, ",\"Online\":true") "]}", NETMAP_PEERS, NETMAP_NODE_ONLINE },
		{ "{\"OnlineChange\":{\"12\":false}}", NETMAP_PEERS, NETMAP_NODE_ONLINE },
		{ "{\"PeersChanged\":[" NODE(
			  12, ",\"DiscoKey\":\"discokey:1111111111111111111111111111111111111111111111111111111111111111\"") "]}",
		  NETMAP_PEERS, NETMAP_NODE_DISCO_NEW },
		{ "{\"PeersChangedPatch\":[{\"NodeID\":12,\"DERPRegion\":7,\"Endpoints\":[\"192.0.2.1:1\"]}]}", NETMAP_PEERS,
		  NETMAP_NODE_HOME | NETMAP_NODE_ENDPOINTS },
		{ "{\"PeersChangedPatch\":[{\"NodeID\":12,\"KeyExpiry\":\"2026-01-01T00:00:00Z\"}]}", NETMAP_PEERS,
		  NETMAP_NODE_EXPIRY },
		{ "{\"PeersRemoved\":[12,99]}", NETMAP_PEERS, NETMAP_NODE_REMOVED },
		{ "{\"PeersChanged\":[" NODE(14, "") "]}", NETMAP_PEERS, NETMAP_NODE_ADDED },
		{ "{\"PacketFilters\":{\"base\":[]}}", 0, 0 },
		{ "{\"PacketFilters\":{\"x\":[{\"SrcIPs\":[\"*\"]}]}}", NETMAP_FILTER, 0 },
		{ "{\"UserProfiles\":[{\"ID\":1,\"LoginName\":\"u\"}]}", 0, 0 },
		{ "{\"UserProfiles\":[{\"ID\":2,\"LoginName\":\"v\"}]}", NETMAP_USERS, 0 },
		{ "{\"Health\":[\"x\"]}", NETMAP_HEALTH, 0 },
		{ "{\"Health\":[]}", 0, 0 },
		{ "{\"Domain\":\"d\"}", NETMAP_DOMAIN, 0 },
		{ "{\"TKAInfo\":{\"Head\":\"x\"}}", NETMAP_LOCK, 0 },
		{ "{\"DERPMap\":{\"Regions\":{\"1\":{\"RegionID\":1}}}}", NETMAP_DERP, 0 },
		{ "{\"Node\":" NODE(10, ",\"MachineAuthorized\":true") "}", 0, 0 },
		{ "{\"Node\":" NODE(10, "") "}", NETMAP_SELF, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct netmap *m = three(), *old = netmap_get(m);
		struct netmap_change c;

		assert_int_equal(apply(&m, row[i].text, NETMAP_DELTA, &c), 0);
		if (c.bits != row[i].bits || c.n_peers != (row[i].node_bits != 0) ||
		    (c.n_peers && c.peers[0].bits != row[i].node_bits))
			fail_msg("%s: bits %x, peers %zu, %x", row[i].text, c.bits, c.n_peers,
				 c.n_peers ? c.peers[0].bits : 0);
		if (row[i].bits == 0)
			assert_ptr_equal(m, old);
		netmap_change_wipe(&c);
		netmap_put(m);
		netmap_put(old);
	}
}

static void netmap_refuses_whole_messages(void **state)
{
	static const struct {
		const char *text;
		enum netmap_mode mode;
		int err;
	} row[] = {
		{ "{\"Peers\":[" NODE(11, "") "]}", NETMAP_FULL, -EPROTO },
		{ "{\"KeepAlive\":true}", NETMAP_FULL, -EPROTO },
		{ "{\"Peers\":[" NODE(11, "") "," NODE(11, "") "]}", NETMAP_DELTA, -EBADMSG },
		/* Another peer with the key of 11. */
		{ "{\"PeersChanged\":[{\"ID\":50,\"Key\":\"nodekey:"
		  "0000000000000000000000000000000000000000000000000000000000000011\"}],\"Domain\":\"x\"}",
		  NETMAP_DELTA, -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		struct netmap *m = three();
		struct netmap_change c;

		assert_int_equal(apply(&m, row[i].text, row[i].mode, &c), row[i].err);
		assert_int_equal(netmap_n_peers(m), 3);
		assert_string_equal(netmap_domain(m), "");
		netmap_put(m);
	}
}

static char *big_message(size_t n, unsigned skip_every)
{
	struct json_w w = { 0 };
	size_t size;
	char name[64];

	json_w_obj(&w, NULL);
	json_w_obj(&w, "Node");
	json_w_i64(&w, "ID", 1);
	json_w_end(&w);
	json_w_arr(&w, "Peers");
	for (size_t i = 0; i < n; i++) {
		uint8_t key[32] = { 1, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i };

		if (skip_every && i % skip_every == 0)
			continue;
		json_w_obj(&w, NULL);
		json_w_i64(&w, "ID", (int64_t)(2 + 3 * i));
		(void)snprintf(name, sizeof(name), "peer-%zu.t.example.net.", i);
		json_w_str(&w, "Name", name);
		json_w_key(&w, "Key", KEY_NODE, key);
		json_w_end(&w);
	}
	json_w_end(&w);
	json_w_end(&w);
	return json_w_take(&w, &size);
}

static void netmap_shares_what_did_not_change(void **state)
{
	char *text = big_message(5000, 0);
	struct netmap *m = NULL, *old;
	const struct map_node *a, *b;
	size_t it = 0, it2 = 0, same = 0;
	struct netmap_change c;

	(void)state;
	apply_ok(&m, text, NETMAP_FULL);
	assert_int_equal(netmap_n_peers(m), 5000);
	old = netmap_get(m);
	assert_int_equal(apply(&m, "{\"OnlineChange\":{\"3002\":true}}", NETMAP_DELTA, &c), 0);
	assert_int_equal(c.n_peers, 1);
	assert_int_equal(c.peers[0].id, 3002);
	assert_int_equal(c.peers[0].old->online, TRI_UNSET);
	assert_int_equal(c.peers[0].node->online, TRI_TRUE);
	while ((a = netmap_next(old, &it)) && (b = netmap_next(m, &it2)))
		same += a == b;
	assert_int_equal(same, 4999);
	netmap_change_wipe(&c);
	netmap_put(old);
	/* A reconnect: the full map again gives only the difference. */
	old = netmap_get(m);
	assert_int_equal(apply(&m, text, NETMAP_FULL, &c), 0);
	assert_int_equal(c.n_peers, 1);
	assert_int_equal(c.bits, NETMAP_PEERS);
	netmap_change_wipe(&c);
	netmap_put(old);
	netmap_put(m);
	free(text);
}

static void same_maps(const struct netmap *a, const struct netmap *b)
{
	struct netmap_change c;

	assert_int_equal(netmap_diff(a, b, &c), 0);
	assert_int_equal(c.bits, 0);
	netmap_change_wipe(&c);
}

/* Random additions, removals and changes one by one lead to the same map as everything at once. */
static void netmap_deltas_equal_full_maps(void **state)
{
	enum { IDS = 300, ROUNDS = 40 };
	struct test_env env;
	bool there[IDS] = { false };
	unsigned home[IDS] = { 0 };
	struct netmap *m = NULL;

	(void)state;
	test_env_init(&env, 11);
	apply_ok(&m, "{\"Node\":{\"ID\":1000}}", NETMAP_FULL);
	for (int round = 0; round < ROUNDS; round++) {
		struct json_w d = { 0 }, full = { 0 };
		struct netmap *whole = NULL;
		size_t size;
		char *text;

		/* Removals. */
		json_w_obj(&d, NULL);
		json_w_arr(&d, "PeersRemoved");
		for (unsigned i = 0; i < IDS; i++)
			if (there[i] && test_random(&env) % 5 == 0) {
				json_w_i64(&d, NULL, i + 1);
				there[i] = false;
			}
		json_w_end(&d);
		json_w_arr(&d, "PeersChanged");
		for (unsigned i = 0; i < IDS; i++)
			if (test_random(&env) % 4 == 0) {
				uint8_t key[32] = { 1, (uint8_t)(i >> 8), (uint8_t)i };

				there[i] = true;
				home[i] = (unsigned)(test_random(&env) % 3);
				json_w_obj(&d, NULL);
				json_w_i64(&d, "ID", i + 1);
				json_w_key(&d, "Key", KEY_NODE, key);
				json_w_i64(&d, "HomeDERP", home[i]);
				json_w_end(&d);
			}
		json_w_end(&d);
		json_w_arr(&d, "PeersChangedPatch");
		for (unsigned i = 0; i < IDS; i++)
			if (test_random(&env) % 8 == 0) {
				if (there[i])
					home[i] = 9;
				json_w_obj(&d, NULL);
				json_w_i64(&d, "NodeID", i + 1);
				json_w_i64(&d, "DERPRegion", 9);
				json_w_end(&d);
			}
		json_w_end(&d);
		json_w_end(&d);
		text = json_w_take(&d, &size);
		apply_ok(&m, text, NETMAP_DELTA);
		free(text);

		json_w_obj(&full, NULL);
		json_w_obj(&full, "Node");
		json_w_i64(&full, "ID", 1000);
		json_w_end(&full);
		json_w_arr(&full, "Peers");
		for (unsigned i = IDS; i-- > 0;) /* order must not matter */
			if (there[i]) {
				uint8_t key[32] = { 1, (uint8_t)(i >> 8), (uint8_t)i };

				json_w_obj(&full, NULL);
				json_w_i64(&full, "ID", i + 1);
				json_w_key(&full, "Key", KEY_NODE, key);
				json_w_i64(&full, "HomeDERP", home[i]);
				json_w_end(&full);
			}
		json_w_end(&full);
		json_w_end(&full);
		text = json_w_take(&full, &size);
		apply_ok(&whole, text, NETMAP_FULL);
		free(text);
		same_maps(m, whole);
		for (unsigned i = 0; i < IDS; i++)
			assert_int_equal(netmap_peer(m, i + 1) != NULL, there[i]);
		netmap_put(whole);
	}
	netmap_put(m);
}

/* The map comes back as it was saved. */
static struct netmap *save_and_load(const struct netmap *m, struct bytes *saved)
{
	struct ctl_map_response msg;
	struct netmap_change change;
	struct netmap *again;

	assert_int_equal(netmap_save(m, saved), 0);
	assert_int_equal(netmap_load(bytes_data(saved), bytes_size(saved), &msg), 0);
	assert_int_equal(netmap_apply(NULL, &msg, NETMAP_FULL, NOW_S, &again, &change), 0);
	netmap_change_wipe(&change);
	ctl_map_response_wipe(&msg);
	same_maps(m, again);
	return again;
}

static void netmap_cache_reads_back(void **state)
{
	cJSON *all = test_vectors("control.json");
	char *text = cJSON_PrintUnformatted(test_get(test_get(all, "messages"), "map_response_initial"));
	struct bytes saved = { .max = CTLJSON_MAP_MAX };
	struct netmap *m = NULL, *again = NULL;
	struct ctl_map_response msg;
	struct json_w w = { 0 };
	char suffix[64];
	size_t size;

	(void)state;
	apply_ok(&m, text, NETMAP_FULL);
	free(text);
	netmap_write(&w, m);
	text = json_w_take(&w, &size);
	apply_ok(&again, text, NETMAP_FULL);
	same_maps(m, again);
	same_maps(again, m);
	netmap_put(again);
	again = save_and_load(m, &saved);
	/* Damage is noticed; the plain text of older versions is still read. */
	assert_int_equal(netmap_load(bytes_data(&saved), bytes_size(&saved) - 1, &msg), -EBADMSG);
	assert_int_equal(netmap_load((const uint8_t *)text, size, &msg), 0);
	ctl_map_response_wipe(&msg);
	bytes_wipe(&saved);
	assert_string_equal(netmap_suffix(m, suffix, sizeof(suffix)), "t.example.net");
	assert_string_equal(netmap_user(m, 2147455555)->login_name, "tagged-devices");
	assert_null(netmap_user(m, 3));
	assert_int_equal(netmap_by_ip(m, &(struct ip){ .family = IP_V4, .b = { 100, 64, 0, 2 } })->id, 2);
	assert_int_equal(netmap_peer_by_key(m, &netmap_peer(m, 2)->key)->id, 2);
	netmap_put(m);
	netmap_put(again);
	free(text);
	cJSON_Delete(all);
}

/* A map of so many peers goes through the compressor in many pieces, and comes back in as many. */
static void netmap_cache_of_many_peers_reads_back(void **state)
{
	enum { MANY = 4000, STEP = 1 << 17 };
	char *text = big_message(MANY, 0);
	struct bytes saved = { .max = CTLJSON_MAP_MAX };
	struct netmap *m = NULL, *again = NULL;
	struct ctl_map_response msg;
	struct json_w w = { 0 };
	size_t size;

	(void)state;
	apply_ok(&m, text, NETMAP_FULL);
	free(text);
	netmap_write(&w, m);
	text = json_w_take(&w, &size);
	assert_non_null(text);
	assert_true(size > 4 * STEP); /* several of the compressor's own blocks, too */
	again = save_and_load(m, &saved);
	assert_true(bytes_size(&saved) < size / 2);
	assert_int_equal(netmap_n_peers(again), MANY);
	/* Cut anywhere, also between two pieces, it is refused. */
	for (size_t cut = 0; cut < bytes_size(&saved); cut += 1 + bytes_size(&saved) / 37)
		assert_int_equal(netmap_load(bytes_data(&saved), cut, &msg), -EBADMSG);
	/* What is saved twice is the same. */
	size = bytes_size(&saved);
	assert_int_equal(netmap_save(again, &saved), 0);
	assert_int_equal(bytes_size(&saved), 2 * size);
	assert_memory_equal(bytes_data(&saved), bytes_data(&saved) + size, size);
	bytes_wipe(&saved);
	netmap_put(m);
	netmap_put(again);
	free(text);
}

static void netmap_expiry(void **state)
{
	struct netmap *m = three();

	(void)state;
	assert_int_equal(netmap_next_expiry(m, NOW_S), 0);
	apply_ok(&m, "{\"PeersChangedPatch\":[{\"NodeID\":12,\"KeyExpiry\":\"2026-01-02T03:05:05Z\"},"
		     "{\"NodeID\":13,\"KeyExpiry\":\"2026-01-02T03:04:15Z\"}]}",
		 NETMAP_DELTA);
	assert_int_equal(netmap_next_expiry(m, NOW_S), NOW_S + 10);
	assert_int_equal(netmap_next_expiry(m, NOW_S + 10), NOW_S + 60);
	assert_true(netmap_node_expired(netmap_peer(m, 13), NOW_S + 10));
	assert_false(netmap_node_expired(netmap_peer(m, 13), NOW_S + 9));
	assert_false(netmap_node_expired(netmap_peer(m, 11), INT64_MAX));
	netmap_put(m);
}

static void netmap_full_message_keeps_regions(void **state)
{
	struct netmap *m = three();

	(void)state;
	apply_ok(&m, "{\"DERPMap\":{\"Regions\":{\"1\":{\"RegionID\":1}},\"HomeParams\":{\"RegionScore\":{\"1\":0.5}}}}",
		 NETMAP_DELTA);
	apply_ok(&m, "{\"Node\":" NODE(10, "") "}", NETMAP_FULL);
	assert_int_equal(netmap_n_peers(m), 0);
	assert_int_equal(netmap_derp(m)->n_regions, 1);
	assert_true(netmap_derp(m)->regions[0].score == 0.5);
	apply_ok(&m, "{\"DERPMap\":{\"Regions\":{\"1\":{\"RegionID\":1},\"2\":{\"RegionID\":2}}}}", NETMAP_DELTA);
	assert_true(netmap_derp(m)->regions[0].score == 0.5);
	assert_true(netmap_derp(m)->regions[1].score == 1.0);
	netmap_put(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(netmap_delta_sequences_of_the_vectors),
		cmocka_unit_test(netmap_changes_say_what_differs),
		cmocka_unit_test(netmap_refuses_whole_messages),
		cmocka_unit_test(netmap_shares_what_did_not_change),
		cmocka_unit_test(netmap_deltas_equal_full_maps),
		cmocka_unit_test(netmap_cache_reads_back),
		cmocka_unit_test(netmap_cache_of_many_peers_reads_back),
		cmocka_unit_test(netmap_expiry),
		cmocka_unit_test(netmap_full_message_keeps_regions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
