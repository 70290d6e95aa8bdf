/* SPDX-License-Identifier: MIT */
/* The policy compiler against tests/vectors/policy.json (25 accepted policies with what every node receives, 12
 * rejected ones), our deviations, the places of errors, and the file's own tests. */
#include "testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coord/policyfile.h"

enum { NODES_MAX = 16, USERS_MAX = 8 };

/* The users and nodes of the vectors. */
struct fixture {
	cJSON *root;
	struct policy_user users[USERS_MAX];
	struct policy_node nodes[NODES_MAX];
	char *tags[NODES_MAX][4];
	struct prefix routes[NODES_MAX][4];
	struct policy_world world;
};

static struct ip ip_of(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(&ip, text, strlen(text)), 0);
	return ip;
}

static int64_t user_by_email(const struct fixture *f, const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < f->world.n_users; i++)
		if (strcmp(f->users[i].email, text) == 0 ||
		    (text[len - 1] == '@' && strlen(f->users[i].name) == len - 1 &&
		     strncmp(f->users[i].name, text, len - 1) == 0))
			return f->users[i].id;
	fail_msg("no user %s", text);
	return 0;
}

/* Announced and approved. */
static void load_routes(struct fixture *f, const cJSON *v, size_t i)
{
	const cJSON *a, *b;

	cJSON_ArrayForEach(a, cJSON_GetObjectItem(v, "announced_routes"))
	{
		cJSON_ArrayForEach(b, cJSON_GetObjectItem(v, "approved_routes"))
		{
			if (strcmp(a->valuestring, b->valuestring) != 0)
				continue;
			assert_int_equal(prefix_parse(&f->routes[i][f->nodes[i].n_routes++], a->valuestring,
						      strlen(a->valuestring), false), 0);
		}
	}
	f->nodes[i].routes = f->routes[i];
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const cJSON *v, *t;

	assert_non_null(f);
	f->root = test_vectors("policy.json");
	cJSON_ArrayForEach(v, test_get(f->root, "users"))
	{
		const cJSON *email = cJSON_GetObjectItem(v, "email");
		struct policy_user *u = &f->users[f->world.n_users++];

		u->id = (int64_t)test_get(v, "id")->valuedouble;
		u->name = test_str(v, "name");
		u->email = email ? email->valuestring : "";
	}
	cJSON_ArrayForEach(v, test_get(f->root, "nodes"))
	{
		size_t i = f->world.n_nodes++;
		struct policy_node *n = &f->nodes[i];

		n->id = (int64_t)test_get(v, "id")->valuedouble;
		n->ip4 = ip_of(test_str(v, "ipv4"));
		n->ip6 = ip_of(test_str(v, "ipv6"));
		if (cJSON_GetObjectItem(v, "user"))
			n->user = user_by_email(f, test_str(v, "user"));
		cJSON_ArrayForEach(t, cJSON_GetObjectItem(v, "tags")) f->tags[i][n->n_tags++] = t->valuestring;
		n->tags = f->tags[i];
		load_routes(f, v, i);
	}
	f->world.users = f->users;
	f->world.nodes = f->nodes;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	cJSON_Delete(f->root);
	free(f);
	return 0;
}

/* ---- rules as JSON, as the control protocol writes them ---- */

static const char *range_text(const struct ip_range *r, char *buf, size_t size)
{
	char a[IP_TEXT_MAX], b[IP_TEXT_MAX];

	for (unsigned bits = 0; bits <= ip_bits(&r->first); bits++) {
		struct prefix p = { r->first, (uint8_t)bits };
		struct ip last = r->first;

		if (!prefix_is_masked(&p))
			continue;
		for (unsigned i = bits; i < ip_bits(&r->first); i++)
			last.b[i / 8] = (uint8_t)(last.b[i / 8] | 0x80u >> i % 8);
		if (!ip_eq(&last, &r->last))
			continue;
		if (bits == ip_bits(&r->first))
			(void)snprintf(buf, size, "%s", ip_write(a, &r->first));
		else
			(void)snprintf(buf, size, "%s/%u", ip_write(a, &r->first), bits);
		return buf;
	}
	(void)snprintf(buf, size, "%s-%s", ip_write(a, &r->first), ip_write(b, &r->last));
	return buf;
}

static cJSON *caps_json(const struct filter_grant *g)
{
	cJSON *map = cJSON_CreateObject();

	for (size_t i = 0; i < g->n_caps; i++) {
		cJSON *list = g->caps[i].values ? cJSON_CreateArray() : cJSON_CreateNull();

		for (size_t k = 0; k < g->caps[i].n_values; k++)
			cJSON_AddItemToArray(list, cJSON_Parse(g->caps[i].values[k]));
		cJSON_AddItemToObject(map, g->caps[i].name, list);
	}
	return map;
}

static cJSON *rule_json(const struct filter_rule *r)
{
	cJSON *o = cJSON_CreateObject(), *list = cJSON_AddArrayToObject(o, "SrcIPs"), *e;
	char buf[128];

	for (size_t i = 0; i < r->n_srcs; i++)
		cJSON_AddItemToArray(list, cJSON_CreateString(r->srcs[i].kind == FILTER_SRC_ANY
								      ? "*"
								      : range_text(&r->srcs[i].range, buf, sizeof(buf))));
	if (r->n_dsts)
		list = cJSON_AddArrayToObject(o, "DstPorts");
	for (size_t i = 0; i < r->n_dsts; i++) {
		const struct filter_dst *d = &r->dsts[i];

		e = cJSON_CreateObject();
		cJSON_AddStringToObject(e, "IP", d->any ? "*" : range_text(&d->range, buf, sizeof(buf)));
		cJSON_AddItemToArray(list, e);
		e = cJSON_AddObjectToObject(e, "Ports");
		cJSON_AddNumberToObject(e, "First", d->port_first);
		cJSON_AddNumberToObject(e, "Last", d->port_last);
	}
	if (r->n_protos)
		list = cJSON_AddArrayToObject(o, "IPProto");
	for (size_t i = 0; i < r->n_protos; i++)
		cJSON_AddItemToArray(list, cJSON_CreateNumber(r->protos[i]));
	if (r->n_grants)
		list = cJSON_AddArrayToObject(o, "CapGrant");
	for (size_t i = 0; i < r->n_grants; i++) {
		cJSON *dsts;

		e = cJSON_CreateObject();
		dsts = cJSON_AddArrayToObject(e, "Dsts");
		for (size_t k = 0; k < r->grants[i].n_dsts; k++)
			cJSON_AddItemToArray(dsts, cJSON_CreateString(prefix_write(buf, &r->grants[i].dsts[k])));
		cJSON_AddItemToObject(e, "CapMap", caps_json(&r->grants[i]));
		cJSON_AddItemToArray(list, e);
	}
	return o;
}

static void assert_rules(const char *name, int64_t node, const struct filter_rules *got, const cJSON *want)
{
	cJSON *list = cJSON_CreateArray();

	for (size_t i = 0; i < got->n_rules; i++)
		cJSON_AddItemToArray(list, rule_json(&got->rules[i]));
	if (!cJSON_Compare(list, want, true)) {
		char *a = cJSON_PrintUnformatted(list), *b = cJSON_PrintUnformatted(want);

		fail_msg("%s, node %lld:\ngot  %s\nwant %s", name, (long long)node, a, b);
	}
	cJSON_Delete(list);
}

static struct policyfile *parse(const char *text)
{
	struct policy_errs errs;
	struct policyfile *p = NULL;
	int err = policyfile_parse(&p, text, strlen(text), &errs);

	if (err)
		fail_msg("%s: %u:%u: %s", text, errs.list[0].line, errs.list[0].col, errs.list[0].msg);
	return p;
}

static void check_node(const struct fixture *f, const struct policyset *s, const char *name, size_t i, const cJSON *want)
{
	const cJSON *caps = cJSON_GetObjectItem(want, "node_cap_map"), *ssh = cJSON_GetObjectItem(want, "ssh_policy");
	struct filter_rules rules;
	cJSON *visible = cJSON_CreateArray();
	const char *const *attrs;
	struct bytes text = { 0 };
	size_t n;

	assert_int_equal(policyset_filter(s, i, &rules), 0);
	assert_rules(name, f->nodes[i].id, &rules, test_get(want, "packet_filter"));
	filter_rules_wipe(&rules);
	for (size_t k = 0; k < f->world.n_nodes; k++)
		if (policyset_visible(s, i, k))
			cJSON_AddItemToArray(visible, cJSON_CreateNumber((double)f->nodes[k].id));
	if (!cJSON_Compare(visible, test_get(want, "visible_peer_ids"), true))
		fail_msg("%s: node %zu sees %s", name, i + 1, cJSON_PrintUnformatted(visible));
	cJSON_Delete(visible);
	attrs = policyset_attrs(s, i, &n);
	assert_int_equal(n, caps ? cJSON_GetArraySize(caps) : 0);
	for (size_t k = 0; k < n; k++)
		assert_true(cJSON_HasObjectItem(caps, attrs[k]));
	assert_int_equal(policyset_has_ssh(s), ssh != NULL);
	if (ssh) {
		cJSON *got;

		assert_int_equal(policyset_ssh(s, i, "https://control.example.net", &text), 0);
		got = cJSON_ParseWithLength((const char *)bytes_data(&text), bytes_size(&text));
		if (!cJSON_Compare(got, ssh, true))
			fail_msg("%s: node %zu: ssh %s", name, i + 1, cJSON_PrintUnformatted(got));
		cJSON_Delete(got);
		bytes_wipe(&text);
	}
}

static void vectors_accepted(void **state)
{
	const struct fixture *f = *state;
	const cJSON *c;
	int n = 0;

	cJSON_ArrayForEach(c, test_get(f->root, "cases"))
	{
		const char *name = test_str(c, "name");
		struct filter_rules rules;
		struct policy_errs errs;
		struct policyset *s;
		struct policyfile *p;

		if (!cJSON_IsTrue(test_get(c, "accepted")))
			continue;
		n++;
		p = parse(test_str(c, "policy"));
		assert_int_equal(policyfile_test(p, &f->world, &errs), 0);
		assert_int_equal(policyfile_compile(&s, p, &f->world), 0);
		policyfile_free(p);
		assert_int_equal(policyset_global(s, &rules), 0);
		assert_rules(name, 0, &rules, test_get(c, "global_filter"));
		filter_rules_wipe(&rules);
		for (size_t i = 0; i < f->world.n_nodes; i++) {
			char id[24];

			(void)snprintf(id, sizeof(id), "%lld", (long long)f->nodes[i].id);
			check_node(f, s, name, i, test_get(test_get(c, "per_node"), id));
		}
		policyset_free(s);
	}
	assert_int_equal(n, 25);
}

static void vectors_rejected(void **state)
{
	const struct fixture *f = *state;
	const cJSON *c;
	int n = 0;

	cJSON_ArrayForEach(c, test_get(f->root, "cases"))
	{
		const char *text = test_str(c, "policy");
		struct policyfile *p = NULL;
		struct policy_errs errs;

		if (cJSON_IsTrue(test_get(c, "accepted")))
			continue;
		n++;
		assert_int_equal(policyfile_parse(&p, text, strlen(text), &errs), -EBADMSG);
		assert_null(p);
		assert_true(errs.n > 0);
		assert_true(errs.list[0].line > 0 && errs.list[0].col > 0);
		assert_true(strlen(errs.list[0].msg) > 10);
	}
	assert_int_equal(n, 12);
}

/* ---- errors ---- */

static const struct {
	const char *text;
	uint32_t line, col;
	const char *msg;
} bad[] = {
	{ "[]", 1, 1, "a policy must be an object" },
	{ "{\n  \"acls\": [],\n  \"aclz\": []\n}", 3, 3, "did you mean \"acls\"?" },
	{ "{\"acls\": [], // x\n \"acls\": []}", 2, 2, "\"acls\" is there twice: first in line 1" },
	{ "{\n\"hosts\": {\"a\": \"1.2.3.4\",\n\"b\":\"1.2.3.4\",\n\"a\": \"1.2.3.5\"}}", 4, 1,
	  "\"a\" is there twice: first in line 2" },
	{ "{\"acls\": [\n {\"action\": \"deny\", \"src\": [\"*\"], \"dst\": [\"*:*\"]}]}", 2, 13, "only one is \"accept\"" },
	{ "{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\", \"tag:x\"], \"dst\": [\"*:*\"]}]}", 1, 45,
	  "add to tagOwners: \"tag:x\": [" },
	{ "{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"*:0\"]}]}", 1, 54, "out of range" },
	{ "{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"*:65536\"]}]}", 1, 54, "out of range" },
	{ "{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"*:80-70\"]}]}", 1, 54, "out of range" },
	{ "{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"10.0.0.1/8:1\"]}]}", 1, 54,
	  "expected 10.0.0.0/8" },
	{ "{\"acls\": [{\"action\": \"accept\", \"src\": [\"*\"], \"dst\": [\"tag:web\"]}]}", 1, 54, "needs ports" },
	{ "{\"acls\": [{\"action\": \"accept\", \"proto\": \"256\", \"src\": [\"*\"], \"dst\": [\"*:*\"]}]}", 1, 41,
	  "protocol \"256\"" },
	{ "{\"acls\": [{\"action\": \"accept\", \"src\": [\"autogroup:x\"], \"dst\": [\"*:*\"]}]}", 1, 40,
	  "unknown autogroup" },
	{ "{\"groups\": {\"group:a\": [\"group:b\"]}}", 1, 25, "can not be nested" },
	{ "{\"grants\": [{\"src\": [\"*\"], \"dst\": [\"*\"], \"app\": {\"a.b/c\": {}}}]}", 1, 59, "must be a list" },
	{ "{\"grants\": [{\"src\": [\"*\"], \"dts\": [\"*\"], \"ip\": [\"*\"]}]}", 1, 28, "did you mean \"dst\"?" },
	{ "{\"ssh\": [{\"action\": \"accept\", \"src\": [\"autogroup:member\"], \"dst\": [\"*\"], \"users\": [\"root\"]}]}", 1,
	  68, "not allowed here" },
	{ "{\"tagOwners\": {\"tag:1x\": []}}", 1, 16, "must start with a letter" },
	{ "{\"nodeAttrs\": [{\"target\": [\"*\"], \"ipPool\": []}]}", 1, 34, "not supported" },
	{ "{\"acls\": [}", 1, 11, NULL },
	{ "{\"acls\": [] /* open", 1, 13, NULL },
};

static void errors_have_places(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct policyfile *p = NULL;
		struct policy_errs errs;

		assert_int_equal(policyfile_parse(&p, bad[i].text, strlen(bad[i].text), &errs), -EBADMSG);
		if (errs.list[0].line != bad[i].line || errs.list[0].col != bad[i].col ||
		    (bad[i].msg && !strstr(errs.list[0].msg, bad[i].msg)))
			fail_msg("%s: got %u:%u: %s", bad[i].text, errs.list[0].line, errs.list[0].col, errs.list[0].msg);
	}
}

static void several_errors_are_reported(void **state)
{
	static const char text[] = "{\"acls\": [\n{\"action\":\"accept\",\"src\":[\"tag:a\",\"tag:b\"],\"dst\":[\"*:0\"]}\n]}";
	struct policy_errs errs;
	struct policyfile *p;

	(void)state;
	assert_int_equal(policyfile_parse(&p, text, sizeof(text) - 1, &errs), -EBADMSG);
	assert_int_equal(errs.n, 3);
}

/* ---- ours ---- */

static bool has_cap(const struct policyset *s, const struct fixture *f, size_t at, size_t src, const char *cap)
{
	struct filter_rules r;
	bool has = false;

	assert_int_equal(policyset_filter(s, at, &r), 0);
	for (size_t i = 0; i < r.n_rules; i++) {
		for (size_t k = 0; k < r.rules[i].n_srcs; k++) {
			const struct ip_range *q = &r.rules[i].srcs[k].range;

			if (q->first.family != IP_V4 || ip_cmp(&q->first, &f->nodes[src].ip4) > 0 ||
			    ip_cmp(&f->nodes[src].ip4, &q->last) > 0)
				continue;
			for (size_t g = 0; g < r.rules[i].n_grants; g++)
				for (size_t c = 0; c < r.rules[i].grants[g].n_caps; c++)
					has |= strcmp(r.rules[i].grants[g].caps[c].name, cap) == 0;
		}
	}
	filter_rules_wipe(&r);
	return has;
}

static void default_policy_talks_and_relays(void **state)
{
	struct fixture *f = *state;
	struct policyfile *p = parse(policyfile_default);
	struct policyset *s;

	assert_int_equal(policyfile_compile(&s, p, &f->world), 0);
	assert_true(policyset_visible(s, 0, 2));  /* members of two users */
	assert_false(policyset_visible(s, 0, 4)); /* a tagged node */
	assert_false(has_cap(s, f, 0, 2, "tailscale.com/cap/relay-target"));
	policyset_free(s);

	f->nodes[2].peer_relay = true; /* bob's laptop offers itself */
	assert_int_equal(policyfile_compile(&s, p, &f->world), 0);
	assert_true(has_cap(s, f, 2, 0, "tailscale.com/cap/relay"));
	assert_true(has_cap(s, f, 0, 2, "tailscale.com/cap/relay-target"));
	assert_false(has_cap(s, f, 0, 1, "tailscale.com/cap/relay-target"));
	assert_true(policyset_visible(s, 4, 2)); /* a relay and its client see each other */
	f->nodes[2].peer_relay = false;
	policyset_free(s);
	policyfile_free(p);
}

static void companion_without_relay_is_dropped(void **state)
{
	const struct fixture *f = *state;
	struct policyfile *p = parse("{\"tagOwners\":{\"tag:none\":[]},\"grants\":[{\"src\":[\"*\"],\"dst\":[\"tag:none\"],"
				     "\"app\":{\"tailscale.com/cap/relay\":[]}}]}");
	struct filter_rules rules;
	struct policyset *s;

	assert_int_equal(policyfile_compile(&s, p, &f->world), 0);
	assert_int_equal(policyset_global(s, &rules), 0);
	assert_int_equal(rules.n_rules, 0);
	filter_rules_wipe(&rules);
	policyset_free(s);
	policyfile_free(p);
}

static void lost_pairs_are_counted(void **state)
{
	const struct fixture *f = *state;
	struct policyfile *a = parse(""), *b = parse("{\"acls\":[{\"action\":\"accept\",\"src\":[\"autogroup:member\"],"
						     "\"dst\":[\"autogroup:member:*\"]}]}");
	struct policyset *sa, *sb;

	assert_int_equal(policyfile_compile(&sa, a, &f->world), 0);
	assert_int_equal(policyfile_compile(&sb, b, &f->world), 0);
	assert_int_equal(policyset_lost_pairs(sa, sb), 36 - 6); /* 9 nodes, 4 of them members */
	assert_int_equal(policyset_lost_pairs(sb, sa), 0);
	policyset_free(sa);
	policyset_free(sb);
	policyfile_free(a);
	policyfile_free(b);
}

static void routes_and_approvers(void **state)
{
	const struct fixture *f = *state;
	struct policyfile *p =
		parse("{\"tagOwners\":{\"tag:router\":[],\"tag:exit\":[]},"
		      "\"acls\":[{\"action\":\"accept\",\"src\":[\"bob@example.com\"],\"dst\":[\"10.33.0.0/16:*\"]}],"
		      "\"autoApprovers\":{\"routes\":{\"10.0.0.0/8\":[\"tag:router\"]},\"exitNode\":[\"tag:exit\"]}}");
	struct prefix in = { ip4(10, 33, 0, 0), 16 }, out = { ip4(192, 0, 2, 0), 24 }, all = { ip4(0, 0, 0, 0), 0 };
	struct policyset *s;

	assert_int_equal(policyfile_compile(&s, p, &f->world), 0);
	assert_true(policyset_may_route(s, 2, 6, &in));
	assert_false(policyset_may_route(s, 0, 6, &in));
	assert_true(policyset_auto_approves(s, 6, &in));
	assert_false(policyset_auto_approves(s, 6, &out));
	assert_false(policyset_auto_approves(s, 6, &all));
	assert_true(policyset_auto_approves(s, 7, &all));
	assert_false(policyset_auto_approves(s, 7, &in));
	policyset_free(s);
	policyfile_free(p);
}

/* ---- the file's own tests ---- */

#define RULES                                                                                             \
	"\"tagOwners\":{\"tag:web\":[],\"tag:db\":[],\"tag:new\":[]},\"groups\":{\"group:dev\":[\"zoe@example.com\"]}," \
	"\"acls\":[{\"action\":\"accept\",\"src\":[\"bob@example.com\",\"group:dev\"],\"proto\":\"tcp\","     \
	"\"dst\":[\"tag:web:443\",\"tag:new:1-9\"]}],"                                                         \
	"\"ssh\":[{\"action\":\"accept\",\"src\":[\"group:dev\"],\"dst\":[\"tag:web\"],\"users\":[\"root\"]}],"

static const struct {
	const char *tests;
	int err;
} own_tests[] = {
	{ "\"tests\":[{\"src\":\"bob@example.com\",\"accept\":[\"tag:web:443\"],\"deny\":[\"tag:db:443\",\"tag:web:80\"]}]", 0 },
	{ "\"tests\":[{\"src\":\"bob@example.com\",\"accept\":[\"tag:db:443\"]}]", -EPROTO },
	{ "\"tests\":[{\"src\":\"bob@example.com\",\"deny\":[\"tag:web:443\"]}]", -EPROTO },
	{ "\"tests\":[{\"src\":\"bob@example.com\",\"proto\":\"udp\",\"deny\":[\"tag:web:443\"]}]", 0 },
	/* Nobody of these has a node yet. */
	{ "\"tests\":[{\"src\":\"zoe@example.com\",\"accept\":[\"tag:new:5\"],\"deny\":[\"tag:new:10\"]}]", 0 },
	{ "\"tests\":[{\"src\":\"tag:new\",\"deny\":[\"tag:web:443\"]}]", 0 },
	{ "\"sshTests\":[{\"src\":\"zoe@example.com\",\"dst\":[\"tag:web\"],\"accept\":[\"root\"],\"deny\":[\"bob\"]}]", 0 },
	{ "\"sshTests\":[{\"src\":\"zoe@example.com\",\"dst\":[\"tag:web\"],\"check\":[\"root\"]}]", -EPROTO },
	{ "\"sshTests\":[{\"src\":\"bob@example.com\",\"dst\":[\"tag:web\"],\"accept\":[\"root\"]}]", -EPROTO },
};

static void own_tests_are_run(void **state)
{
	const struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_LEN(own_tests); i++) {
		char text[1024];
		struct policy_errs errs;
		struct policyfile *p;

		(void)snprintf(text, sizeof(text), "{%s%s}", RULES, own_tests[i].tests);
		p = parse(text);
		if (policyfile_test(p, &f->world, &errs) != own_tests[i].err)
			fail_msg("%s: %s", own_tests[i].tests, errs.n ? errs.list[0].msg : "passed");
		if (own_tests[i].err)
			assert_int_equal(errs.list[0].line, 1);
		policyfile_free(p);
	}
}

static void tag_owners(void **state)
{
	const struct fixture *f = *state;
	struct policyfile *p = parse("{\"groups\":{\"group:ops\":[\"alice@example.com\"]},"
				     "\"tagOwners\":{\"tag:a\":[\"group:ops\"],\"tag:b\":[\"carol@\"]}}");

	assert_true(policyfile_has_tag(p, "tag:a"));
	assert_false(policyfile_has_tag(p, "tag:c"));
	assert_true(policyfile_owns_tag(p, &f->users[0], "tag:a"));
	assert_false(policyfile_owns_tag(p, &f->users[0], "tag:b"));
	assert_true(policyfile_owns_tag(p, &f->users[2], "tag:b"));
	policyfile_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_accepted),
		cmocka_unit_test(vectors_rejected),
		cmocka_unit_test(errors_have_places),
		cmocka_unit_test(several_errors_are_reported),
		cmocka_unit_test(default_policy_talks_and_relays),
		cmocka_unit_test(companion_without_relay_is_dropped),
		cmocka_unit_test(lost_pairs_are_counted),
		cmocka_unit_test(routes_and_approvers),
		cmocka_unit_test(own_tests_are_run),
		cmocka_unit_test(tag_owners),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
