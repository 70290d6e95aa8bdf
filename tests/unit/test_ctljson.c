/* SPDX-License-Identifier: MIT */
/* wire/ctljson on the vectors of control.json: every message parses, and what is written parses to the same;
 * filter rules and capabilities as the reference sees them; framing with and without zstd. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "wire/ctljson.h"
#include "wire/zstdframe.h"

static char *print(const cJSON *v)
{
	char *text = cJSON_PrintUnformatted(v);

	assert_non_null(text);
	return text;
}

static char *take(struct json_w *w)
{
	size_t size;
	char *text = json_w_take(w, &size);

	assert_non_null(text);
	return text;
}

/* The value with everything removed that says nothing, so that both spellings of "absent" compare equal. */
static void prune(cJSON *v)
{
	cJSON *c = v->child, *next;

	for (; c; c = next) {
		const char *s = c->valuestring;

		next = c->next;
		prune(c);
		if (cJSON_IsObject(v) &&
		    (cJSON_IsNull(c) || cJSON_IsFalse(c) || (cJSON_IsNumber(c) && c->valuedouble == 0) ||
		     (cJSON_IsString(c) && (*s == 0 || strcmp(s, "0001-01-01T00:00:00Z") == 0 ||
					    strstr(s, ":0000000000000000000000000000000000000000000000000000000000000000"))) ||
		     ((cJSON_IsObject(c) || cJSON_IsArray(c)) && !c->child && strcmp(v->string ? v->string : "", "PacketFilters") != 0)))
			cJSON_Delete(cJSON_DetachItemViaPointer(v, c));
	}
}

static void same(const char *written, const cJSON *want, const char *const *drop)
{
	cJSON *a = cJSON_Parse(written), *b = cJSON_Duplicate(want, true);

	assert_non_null(a);
	for (; drop && *drop; drop++) {
		cJSON_DeleteItemFromObjectCaseSensitive(a, *drop);
		cJSON_DeleteItemFromObjectCaseSensitive(b, *drop);
	}
	prune(a);
	prune(b);
	if (!cJSON_Compare(a, b, true))
		fail_msg("written: %s\nwanted: %s", print(a), print(b));
	cJSON_Delete(a);
	cJSON_Delete(b);
}

static void ctljson_registers_round_trip(void **state)
{
	static const char *const requests[] = { "register_request_authkey", "register_request_followup",
						"register_request_interactive", "register_request_logout" };
	static const char *const responses[] = { "register_response_ok", "register_response_error",
						 "register_response_expired", "register_response_auth_url" };
	static const char *const drop[] = { "NLKey", "User", "Login", NULL };
	cJSON *all = test_vectors("control.json");
	const cJSON *messages = test_get(all, "messages");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		char *text = print(test_get(messages, requests[i])), *out;
		struct ctl_register_request m;
		struct json_w w = { 0 };

		assert_int_equal(ctl_register_request_parse(&m, text, strlen(text), NULL), 0);
		assert_int_equal(m.version, 145);
		assert_true(m.has_host);
		assert_string_equal(m.host.hostname, "alpha");
		ctl_register_request_write(&w, &m);
		out = take(&w);
		same(out, test_get(messages, requests[i]), drop);
		ctl_register_request_wipe(&m);
		free(out);
		free(text);
	}
	for (size_t i = 0; i < ARRAY_LEN(responses); i++) {
		char *text = print(test_get(messages, responses[i])), *out;
		struct ctl_register_response m;
		struct json_w w = { 0 };

		assert_int_equal(ctl_register_response_parse(&m, text, strlen(text), NULL), 0);
		ctl_register_response_write(&w, &m);
		out = take(&w);
		same(out, test_get(messages, responses[i]), drop);
		ctl_register_response_wipe(&m);
		free(out);
		free(text);
	}
	cJSON_Delete(all);
}

static void ctljson_register_fields(void **state)
{
	cJSON *all = test_vectors("control.json");
	const cJSON *messages = test_get(all, "messages");
	struct ctl_register_response r;
	struct ctl_register_request q;
	char *text;

	(void)state;
	text = print(test_get(messages, "register_request_logout"));
	assert_int_equal(ctl_register_request_parse(&q, text, strlen(text), NULL), 0);
	assert_true(q.has_expiry);
	assert_int_equal(q.expiry_s, 123);
	ctl_register_request_wipe(&q);
	free(text);
	text = print(test_get(messages, "register_response_ok"));
	assert_int_equal(ctl_register_response_parse(&r, text, strlen(text), NULL), 0);
	assert_string_equal(r.login_name, "alice@example.com");
	assert_string_equal(r.user_name, "alice");
	assert_int_equal(r.user_id, 1);
	assert_true(r.machine_authorized);
	ctl_register_response_wipe(&r);
	free(text);
	cJSON_Delete(all);
}

static void ctljson_map_requests_round_trip(void **state)
{
	static const char *const names[] = { "map_request_lite", "map_request_stream", "map_request_stream_zstd" };
	cJSON *all = test_vectors("control.json");
	const cJSON *messages = test_get(all, "messages");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char *text = print(test_get(messages, names[i])), *out;
		struct ctl_map_request m;
		struct json_w w = { 0 };

		assert_int_equal(ctl_map_request_parse(&m, text, strlen(text), NULL), 0);
		assert_int_equal(m.stream, i != 0);
		assert_int_equal(m.omit_peers, i == 0);
		assert_int_equal(m.zstd, i == 2);
		assert_int_equal(m.n_endpoints, 2);
		assert_int_equal(m.endpoint_types[1], EP_TYPE_STUN);
		assert_int_equal(m.host.preferred_derp, 901);
		ctl_map_request_write(&w, &m);
		out = take(&w);
		same(out, test_get(messages, names[i]), NULL);
		ctl_map_request_wipe(&m);
		free(out);
		free(text);
	}
	cJSON_Delete(all);
}

/* The message in pieces of every small size; its text as we write it, or the reason of the refusal. */
static void in_pieces(const char *text, int want_err, const char *want)
{
	for (size_t step = 1; step < 40; step = step < 8 ? step + 1 : step * 2) {
		struct ctl_map_reader *r = ctl_map_reader_new();
		const size_t size = strlen(text);
		struct ctl_map_response m;
		struct ctl_why why = { "" };
		struct json_w w = { 0 };
		char *got;
		int err;

		assert_non_null(r);
		for (size_t at = 0; at < size; at += step)
			(void)ctl_map_reader_push(r, text + at, size - at < step ? size - at : step);
		err = ctl_map_reader_finish(r, &m, &why);
		if (err != want_err || (err && !why.text[0]))
			fail_msg("%s: %d '%s'", text, err, why.text);
		if (err)
			continue;
		ctl_map_response_write(&w, &m);
		got = take(&w);
		assert_string_equal(got, want);
		free(got);
		ctl_map_response_wipe(&m);
	}
}

static void round_trip_map(const cJSON *message)
{
	static const char *const drop[] = { "CollectServices", NULL };
	char *text = print(message), *out, *again;
	struct ctl_map_response m;
	struct ctl_why why = { "" };
	struct json_w w = { 0 };

	if (ctl_map_response_parse(&m, text, strlen(text), &why) != 0)
		fail_msg("%s: %s", why.text, text);
	ctl_map_response_write(&w, &m);
	out = take(&w);
	in_pieces(text, 0, out);
	ctl_map_response_wipe(&m);
	assert_int_equal(ctl_map_response_parse(&m, out, strlen(out), &why), 0);
	ctl_map_response_write(&w, &m);
	again = take(&w);
	assert_string_equal(out, again);
	if (cJSON_HasObjectItem(message, "Debug")) {
		cJSON *want = cJSON_Duplicate(message, true);
		cJSON *a = cJSON_Parse(out);

		/* Defaults that we do not write, and fields that are absent on the wire but written by us. */
		for (int i = 0; i < 2; i++) {
			cJSON *v = i ? a : want, *n;
			cJSON *derp = cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetObjectItem(v, "DERPMap"), "Regions"), "901");
			cJSON *node = cJSON_GetArrayItem(cJSON_GetObjectItem(derp, "Nodes"), 0);

			cJSON_DeleteItemFromObject(node, "STUNPort");
			cJSON_DeleteItemFromObject(node, "DERPPort");
			cJSON_DeleteItemFromObject(cJSON_GetObjectItem(v, "Node"), "AllowedIPs");
			cJSON_ArrayForEach(n, cJSON_GetObjectItem(v, "Peers"))
				cJSON_DeleteItemFromObject(n, "AllowedIPs");
		}
		free(out);
		out = print(a);
		same(out, want, drop);
		cJSON_Delete(want);
		cJSON_Delete(a);
	}
	ctl_map_response_wipe(&m);
	free(out);
	free(again);
	free(text);
}

static void ctljson_map_responses_round_trip(void **state)
{
	cJSON *all = test_vectors("control.json");
	const cJSON *messages = test_get(all, "messages"), *seq, *m;

	(void)state;
	round_trip_map(test_get(messages, "map_response_initial"));
	round_trip_map(test_get(messages, "ping_request"));
	round_trip_map(test_get(messages, "c2n_request"));
	cJSON_ArrayForEach(seq, test_get(all, "delta_sequences"))
		cJSON_ArrayForEach(m, test_get(seq, "messages"))
			round_trip_map(m);
	cJSON_Delete(all);
}

static void ctljson_initial_map_fields(void **state)
{
	cJSON *all = test_vectors("control.json");
	char *text = print(test_get(test_get(all, "messages"), "map_response_initial"));
	struct ctl_map_response m;

	(void)state;
	assert_int_equal(ctl_map_response_parse(&m, text, strlen(text), NULL), 0);
	assert_non_null(m.self);
	assert_string_equal(m.self->name, "alpha.t.example.net.");
	assert_int_equal(m.self->n_addrs, 2);
	assert_int_equal(m.self->n_allowed_ips, 2);
	assert_true(map_node_has_cap(m.self, "https://tailscale.com/cap/ssh"));
	assert_int_equal(m.self->created_s, 1767323045);
	assert_int_equal(m.n_peers, 1);
	assert_int_equal(m.peers[0].user, 2147455555);
	assert_int_equal(m.peers[0].online, TRI_TRUE);
	assert_true(m.peers[0].host.peer_relay);
	assert_string_equal(m.peers[0].tags[0], "tag:relay");
	assert_true(m.has_regions);
	assert_int_equal(m.derp.regions[0].nodes[0].stun_port, 3478);
	assert_true(m.dns->proxied);
	assert_int_equal(m.n_filters, 1);
	assert_string_equal(m.filters[0].name, "base");
	assert_int_equal(m.filters[0].rules.n_rules, 2);
	assert_int_equal(m.n_users, 2);
	assert_int_equal(m.control_time_s, 1767323045);
	ctl_map_response_wipe(&m);
	free(text);
	cJSON_Delete(all);
}

static void ctljson_pings(void **state)
{
	cJSON *all = test_vectors("control.json");
	const cJSON *messages = test_get(all, "messages");
	char *text = print(test_get(messages, "c2n_request"));
	struct ctl_map_response m;

	(void)state;
	assert_int_equal(ctl_map_response_parse(&m, text, strlen(text), NULL), 0);
	assert_string_equal(m.ping->types, "c2n");
	assert_string_equal(m.ping->payload, "GET /echo HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_int_equal(m.ping->payload_size, strlen(m.ping->payload));
	ctl_map_response_wipe(&m);
	free(text);
	text = print(test_get(messages, "ping_request"));
	assert_int_equal(ctl_map_response_parse(&m, text, strlen(text), NULL), 0);
	assert_true(m.ping->url_is_noise);
	assert_string_equal(m.ping->types, "");
	ctl_map_response_wipe(&m);
	free(text);
	cJSON_Delete(all);
}

static void ctljson_key_response(void **state)
{
	cJSON *all = test_vectors("control.json");
	char *text = print(test_get(test_get(all, "messages"), "key_response"));
	struct ctl_key_response m;

	(void)state;
	assert_int_equal(ctl_key_response_parse(&m, text, strlen(text), NULL), 0);
	assert_true(key_is_zero(m.legacy.b));
	assert_int_equal(m.key.b[31], 0xbf);
	assert_int_equal(ctl_key_response_parse(&m, "{}", 2, NULL), -EBADMSG);
	free(text);
	cJSON_Delete(all);
}

static void ctljson_map_framing(void **state)
{
	cJSON *all = test_vectors("control.json");
	const cJSON *row;

	(void)state;
	cJSON_ArrayForEach(row, test_get(all, "map_framing"))
	{
		size_t size, want_size = 0;
		uint8_t *wire = test_unhex_dup(test_str(row, "wire_hex"), &size), *want;
		struct rd r = RD(wire, size);
		struct bytes out = { 0 };
		const uint32_t len = rd_le32(&r);
		struct ctl_map_response m;

		want = cJSON_HasObjectItem(row, "payload_text") ?
			       (uint8_t *)strdup(test_str(row, "payload_text")) :
			       test_unhex_dup(test_str(row, "payload_hex"), &want_size);
		want_size = want_size ? want_size : strlen((char *)want);
		assert_int_equal(len, r.left);
		if (zstdframe_is(r.p, r.left))
			assert_int_equal(zstdframe_decode(&out, r.p, r.left, CTLJSON_MAP_MAX), 0);
		else
			assert_int_equal(bytes_append(&out, r.p, r.left), 0);
		assert_int_equal(bytes_size(&out), want_size);
		assert_memory_equal(bytes_data(&out), want, want_size);
		assert_int_equal(ctl_map_response_parse(&m, (const char *)bytes_data(&out), want_size, NULL), 0);
		ctl_map_response_wipe(&m);
		bytes_wipe(&out);
		free(want);
		free(wire);
	}
	cJSON_Delete(all);
}

static void zstdframe_is_bounded(void **state)
{
	struct bytes frame = { 0 }, out = { 0 };
	uint8_t *zeros = calloc(1, 1 << 20);

	(void)state;
	assert_int_equal(zstdframe_encode(&frame, zeros, 1 << 20), 0);
	assert_true(bytes_size(&frame) < 1000);
	assert_int_equal(zstdframe_decode(&out, bytes_data(&frame), bytes_size(&frame), (1 << 20) - 1), -ENOBUFS);
	assert_int_equal(bytes_size(&out), 0);
	assert_int_equal(zstdframe_decode(&out, bytes_data(&frame), bytes_size(&frame), 1 << 20), 0);
	assert_int_equal(bytes_size(&out), 1 << 20);
	for (size_t cut = 0; cut < bytes_size(&frame); cut++)
		assert_true(zstdframe_decode(&out, bytes_data(&frame), cut, 1 << 20) != 0);
	assert_int_equal(bytes_append(&frame, "x", 1), 0);
	assert_int_equal(zstdframe_decode(&out, bytes_data(&frame), bytes_size(&frame), 1 << 20), -EBADMSG);
	assert_int_equal(bytes_size(&out), 1 << 20);
	bytes_wipe(&out);
	bytes_wipe(&frame);
	free(zeros);
}

/* A range as the prefixes that make it up, the way the reference lists them. */
static void range_texts(const struct ip_range *r, cJSON *list, const char *suffix)
{
	struct ip at = r->first;

	for (;;) {
		struct prefix best = prefix_host(&at), p = best;
		char text[128], prefix[PREFIX_TEXT_MAX];
		struct ip last = at;

		while (p.bits > 0) {
			p.bits--;
			if (!prefix_is_masked(&p))
				break;
			last = at;
			for (unsigned i = p.bits; i < ip_bits(&at); i++)
				last.b[i / 8] |= (uint8_t)(0x80 >> i % 8);
			if (ip_cmp(&last, &r->last) > 0)
				break;
			best = p;
		}
		last = at;
		for (unsigned i = best.bits; i < ip_bits(&at); i++)
			last.b[i / 8] |= (uint8_t)(0x80 >> i % 8);
		(void)snprintf(text, sizeof(text), "%s%s", prefix_write(prefix, &best), suffix);
		cJSON_AddItemToArray(list, cJSON_CreateString(text));
		if (ip_cmp(&last, &r->last) >= 0)
			return;
		for (int i = ip_bits(&last) / 8 - 1; i >= 0 && ++last.b[i] == 0; i--)
			;
		at = last;
	}
}

static void any_texts(cJSON *list, const char *suffix)
{
	char text[64];

	(void)snprintf(text, sizeof(text), "0.0.0.0/0%s", suffix);
	cJSON_AddItemToArray(list, cJSON_CreateString(text));
	(void)snprintf(text, sizeof(text), "::/0%s", suffix);
	cJSON_AddItemToArray(list, cJSON_CreateString(text));
}

static cJSON *rule_match(const struct filter_rule *r)
{
	static const uint8_t usual[] = { 6, 17, 1, 58 };
	cJSON *m = cJSON_CreateObject(), *srcs = cJSON_AddArrayToObject(m, "srcs"), *caps = cJSON_CreateArray();
	cJSON *dsts = cJSON_AddArrayToObject(m, "dsts"), *protos = cJSON_AddArrayToObject(m, "protos");
	cJSON *src_caps = cJSON_CreateArray();
	char text[200], p[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < r->n_srcs; i++) {
		if (r->srcs[i].kind == FILTER_SRC_ANY)
			any_texts(srcs, "");
		else if (r->srcs[i].kind == FILTER_SRC_RANGE)
			range_texts(&r->srcs[i].range, srcs, "");
		else
			cJSON_AddItemToArray(src_caps, cJSON_CreateString(r->srcs[i].cap));
	}
	for (size_t i = 0; i < r->n_dsts; i++) {
		(void)snprintf(text, sizeof(text), " ports %u-%u", r->dsts[i].port_first, r->dsts[i].port_last);
		if (r->dsts[i].any)
			any_texts(dsts, text);
		else
			range_texts(&r->dsts[i].range, dsts, text);
	}
	for (size_t i = 0; i < (r->n_protos ? r->n_protos : 4); i++)
		cJSON_AddItemToArray(protos, cJSON_CreateNumber(r->n_protos ? r->protos[i] : usual[i]));
	for (size_t i = 0; i < r->n_grants; i++)
		for (size_t k = 0; k < r->grants[i].n_caps; k++)
			for (size_t d = 0; d < r->grants[i].n_dsts; d++) {
				(void)snprintf(text, sizeof(text), "%s on %s", r->grants[i].caps[k].name,
					       prefix_write(p, &r->grants[i].dsts[d]));
				cJSON_AddItemToArray(caps, cJSON_CreateString(text));
			}
	cJSON_AddItemToObject(m, "caps", caps);
	cJSON_AddItemToObject(m, "src_caps", src_caps);
	if (!caps->child)
		cJSON_DeleteItemFromObject(m, "caps");
	if (!src_caps->child)
		cJSON_DeleteItemFromObject(m, "src_caps");
	return m;
}

static void ctljson_filter_rules_as_the_reference(void **state)
{
	cJSON *all = test_vectors("control.json");
	const cJSON *row;

	(void)state;
	cJSON_ArrayForEach(row, test_get(all, "filter_rule_parsing"))
	{
		const cJSON *want = test_get(row, "matches");
		struct json_in in = { 0 };
		struct filter_rules rules, copy;
		cJSON *got = cJSON_CreateArray();
		size_t n_bad;

		ctl_filter_rules_read(&in, test_get(row, "rules"), &rules, &n_bad);
		if (in.err) {
			assert_true(cJSON_IsNull(want));
			assert_int_equal(rules.n_rules, 0);
		} else {
			char *out;
			struct json_w w = { 0 };
			cJSON *again;

			assert_int_equal(n_bad > 0, cJSON_IsTrue(test_get(row, "error")));
			for (size_t i = 0; i < rules.n_rules; i++)
				cJSON_AddItemToArray(got, rule_match(&rules.rules[i]));
			if (!cJSON_Compare(got, want, true))
				fail_msg("%s: %s", test_str(row, "description"), print(got));
			/* Writing and copying keep the rules. */
			ctl_filter_rules_write(&w, NULL, &rules);
			out = take(&w);
			again = cJSON_Parse(out);
			ctl_filter_rules_read(&in, again, &copy, NULL);
			assert_true(filter_rules_eq(&rules, &copy));
			filter_rules_wipe(&copy);
			assert_int_equal(filter_rules_copy(&copy, &rules), 0);
			assert_true(filter_rules_eq(&rules, &copy));
			filter_rules_wipe(&copy);
			cJSON_Delete(again);
			free(out);
		}
		filter_rules_wipe(&rules);
		cJSON_Delete(got);
	}
	cJSON_Delete(all);
}

static void ctljson_capability_lookup(void **state)
{
	static const char *const names[] = { "example.org/cap/x", "tailscale.com/cap/relay",
					     "tailscale.com/cap/relay-target", "none" };
	cJSON *all = test_vectors("control.json");
	const cJSON *lookup = test_get(all, "capability_lookup"), *q;
	struct json_in in = { 0 };
	struct filter_rules rules;

	(void)state;
	ctl_filter_rules_read(&in, test_get(lookup, "rules"), &rules, NULL);
	assert_int_equal(in.err, 0);
	cJSON_ArrayForEach(q, test_get(lookup, "queries"))
	{
		struct map_node unsigned_node = { .unsigned_peerapi_only = true };
		struct ip src, dst;

		assert_int_equal(ip_parse(&src, test_str(q, "src"), strlen(test_str(q, "src"))), 0);
		assert_int_equal(ip_parse(&dst, test_str(q, "dst"), strlen(test_str(q, "dst"))), 0);
		for (size_t i = 0; i < ARRAY_LEN(names); i++) {
			const bool want = cJSON_HasObjectItem(test_get(q, "caps"), names[i]);

			assert_int_equal(filter_rules_have_cap(&rules, &src, NULL, &dst, names[i]), want);
			assert_false(filter_rules_have_cap(&rules, &src, &unsigned_node, &dst, names[i]));
		}
	}
	filter_rules_wipe(&rules);
	cJSON_Delete(all);
}

static void ctljson_key_texts(void **state)
{
	cJSON *all = test_vectors("control.json");
	const cJSON *row;

	(void)state;
	cJSON_ArrayForEach(row, test_get(test_get(all, "keys"), "parse"))
	{
		char text[256];
		struct ctl_map_request m;

		(void)snprintf(text, sizeof(text), "{\"NodeKey\":\"%s\"}", test_str(row, "text"));
		assert_int_equal(ctl_map_request_parse(&m, text, strlen(text), NULL),
				 cJSON_IsTrue(test_get(row, "ok")) ? 0 : -EBADMSG);
		ctl_map_request_wipe(&m);
	}
	cJSON_Delete(all);
}

static void ctljson_refuses_wrong_types(void **state)
{
	static const char *const bad[] = {
		"[]", "null", "1", "{\"Node\":1}", "{\"Node\":{}}", "{\"Node\":{\"ID\":0}}", "{\"Node\":{\"ID\":\"x\"}}",
		"{\"Node\":{\"ID\":1.5}}", "{\"Node\":{\"ID\":9223372036854775808}}", "{\"Node\":{\"ID\":\"1\"}}",
		"{\"Peers\":[0]}", "{\"Peers\":[{\"ID\":1},0]}", "{\"Peers\":[{\"ID\":1}{\"ID\":2}]}",
		"{\"Peers\":[{\"ID\":1},]}", "{\"Peers\":[{\"ID\":1}", "{\"Peers\":[{\"ID\":1]}",
		"{\"Peers\":[{\"ID\":1}],\"Peers\":[]}", "{\"Peers\":[[{\"ID\":1}]]}",
		"{\"PeersChanged\":[{\"ID\":1,\"Name\":\"a\\\"]}\"}", "{\"Peers\":{}}", "{\"Peers\":[1]}", "{\"Peers\":[null]}", "{\"PeersChanged\":[{\"ID\":1,\"Key\":\"x\"}]}",
		"{\"PeersChanged\":[{\"ID\":1,\"AllowedIPs\":[\"x\"]}]}", "{\"PeersRemoved\":[\"x\"]}",
		"{\"OnlineChange\":{\"x\":true}}", "{\"OnlineChange\":{\"1\":1}}", "{\"DERPMap\":{\"Regions\":{\"0\":{}}}}",
		"{\"DERPMap\":{\"Regions\":{\"1\":{\"RegionID\":2},\"2\":{}}}}", "{\"PacketFilter\":{}}",
		"{\"PacketFilters\":{\"a\":1}}", "{\"PacketFilter\":[{\"SrcBits\":[1]}]}", "{\"KeepAlive\":1}",
		"{\"KeepAlive\":true,\"KeepAlive\":true}", "{\"ControlTime\":\"yesterday\"}",
		"{\"PingRequest\":{\"Payload\":\"!\"}}", "{\"Health\":[1]}", "{\"UserProfiles\":[{\"ID\":\"x\"}]}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct ctl_map_response m;
		struct ctl_why why = { "" };

		if (ctl_map_response_parse(&m, bad[i], strlen(bad[i]), &why) != -EBADMSG || !why.text[0])
			fail_msg("%s: '%s'", bad[i], why.text);
		in_pieces(bad[i], -EBADMSG, NULL);
		ctl_map_response_wipe(&m);
	}
}

static void ctljson_ids_of_64_bits(void **state)
{
	static const char text[] = "{\"Node\":{\"ID\":9223372036854775807,\"User\":9007199254740993},"
				   "\"PeersRemoved\":[9007199254740995],\"OnlineChange\":{\"9007199254740997\":true},"
				   "\"PeersChangedPatch\":[{\"NodeID\":9007199254740999,\"Cap\":1}]}";
	static const char negative[] = "{\"Node\":{\"ID\":-5},\"PeersRemoved\":[-9007199254740995],"
				       "\"OnlineChange\":{\"-6\":true},"
				       "\"PeersChangedPatch\":[{\"NodeID\":-9007199254740999}]}";
	static const char none[] = "{\"Node\":{\"ID\":0}}";
	struct ctl_map_response m;
	struct json_w w = { 0 };
	char *out;

	(void)state;
	assert_int_equal(ctl_map_response_parse(&m, text, strlen(text), NULL), 0);
	assert_true(m.self->id == INT64_MAX && m.self->user == INT64_C(9007199254740993));
	assert_true(m.removed[0] == INT64_C(9007199254740995) && m.online[0].id == INT64_C(9007199254740997));
	assert_true(m.patches[0].id == INT64_C(9007199254740999));
	ctl_map_response_write(&w, &m);
	out = take(&w);
	assert_non_null(strstr(out, "\"ID\":9223372036854775807"));
	assert_non_null(strstr(out, "\"9007199254740997\":true"));
	free(out);
	ctl_map_response_wipe(&m);
	/* The reference test control server makes nodes up with any number. */
	assert_int_equal(ctl_map_response_parse(&m, negative, strlen(negative), NULL), 0);
	assert_true(m.self->id == -5 && m.removed[0] == INT64_C(-9007199254740995));
	assert_true(m.patches[0].id == INT64_C(-9007199254740999) && m.online[0].id == -6);
	ctl_map_response_wipe(&m);
	assert_int_equal(ctl_map_response_parse(&m, none, strlen(none), NULL), -EBADMSG);
}

static void ctljson_copies_are_equal(void **state)
{
	cJSON *all = test_vectors("control.json");
	char *text = print(test_get(test_get(all, "messages"), "map_response_initial"));
	struct ctl_map_response m;
	struct map_node node;
	struct derp_map derp;
	struct dns_config dns;

	(void)state;
	assert_int_equal(ctl_map_response_parse(&m, text, strlen(text), NULL), 0);
	assert_int_equal(map_node_copy(&node, m.self), 0);
	assert_true(map_node_eq(&node, m.self));
	node.endpoints = NULL;
	node.online = TRI_FALSE;
	assert_false(map_node_eq(&node, m.self));
	map_node_wipe(&node);
	assert_int_equal(derp_map_copy(&derp, &m.derp), 0);
	assert_true(derp_map_eq(&derp, &m.derp));
	derp.regions[0].nodes[0].stun_port = -1;
	assert_false(derp_map_eq(&derp, &m.derp));
	derp_map_wipe(&derp);
	assert_int_equal(dns_config_copy(&dns, m.dns), 0);
	assert_true(dns_config_eq(&dns, m.dns));
	dns_config_wipe(&dns);
	ctl_map_response_wipe(&m);
	free(text);
	cJSON_Delete(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ctljson_registers_round_trip),
		cmocka_unit_test(ctljson_register_fields),
		cmocka_unit_test(ctljson_map_requests_round_trip),
		cmocka_unit_test(ctljson_map_responses_round_trip),
		cmocka_unit_test(ctljson_initial_map_fields),
		cmocka_unit_test(ctljson_pings),
		cmocka_unit_test(ctljson_key_response),
		cmocka_unit_test(ctljson_map_framing),
		cmocka_unit_test(zstdframe_is_bounded),
		cmocka_unit_test(ctljson_filter_rules_as_the_reference),
		cmocka_unit_test(ctljson_capability_lookup),
		cmocka_unit_test(ctljson_key_texts),
		cmocka_unit_test(ctljson_refuses_wrong_types),
		cmocka_unit_test(ctljson_ids_of_64_bits),
		cmocka_unit_test(ctljson_copies_are_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
