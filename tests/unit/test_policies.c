/* SPDX-License-Identifier: MIT */
/* The policies of contrib/policies: they parse, their own tests pass on a fresh coordinator, and exactly the right
 * nodes may use each relay. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "coord/policyfile.h"

static struct ip v6(uint8_t last)
{
	struct ip ip = { .family = IP_V6, .b = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = last } };

	return ip;
}

/* A policy compiled for a few nodes: "user name" or "tag:x" each. */
struct scene {
	struct policy_user users[4];
	struct policy_node nodes[8];
	char *tags[8][1];
	struct policy_world w;
	struct policyset *set;
};

static void add(struct scene *s, const char *who)
{
	struct policy_node *n = &s->nodes[s->w.n_nodes++];
	uint8_t id = (uint8_t)s->w.n_nodes;

	n->id = id;
	n->ip4 = ip4(100, 64, 0, id);
	n->ip6 = v6(id);
	n->peer_relay = true;
	if (strncmp(who, "tag:", 4) == 0) {
		s->tags[id - 1][0] = (char *)(uintptr_t)who;
		n->tags = s->tags[id - 1];
		n->n_tags = 1;
		return;
	}
	for (size_t i = 0; i < s->w.n_users; i++)
		if (strcmp(s->users[i].name, who) == 0)
			n->user = s->users[i].id;
	if (!n->user) {
		s->users[s->w.n_users] = (struct policy_user){ (int64_t)s->w.n_users + 1, who,
							       strchr(who, '@') ? who : "" };
		n->user = s->users[s->w.n_users++].id;
	}
}

static void compile(struct scene *s, const char *path)
{
	struct policy_world none = { 0 };
	struct policy_errs errs;
	struct policyfile *p;
	size_t size;
	char *text = test_file(path, &size);

	s->w.users = s->users;
	s->w.nodes = s->nodes;
	if (policyfile_parse(&p, text, size, &errs) != 0)
		fail_msg("%s:%u:%u: %s", path, errs.list[0].line, errs.list[0].col, errs.list[0].msg);
	if (policyfile_test(p, &none, &errs) != 0 || policyfile_test(p, &s->w, &errs) != 0)
		fail_msg("%s:%u:%u: %s", path, errs.list[0].line, errs.list[0].col, errs.list[0].msg);
	assert_int_equal(policyfile_compile(&s->set, p, &s->w), 0);
	policyfile_free(p);
	free(text);
}

static bool holds(const struct scene *s, size_t at, size_t src, const char *cap)
{
	struct filter_rules r;
	bool has;

	assert_int_equal(policyset_filter(s->set, at, &r), 0);
	has = filter_rules_have_cap(&r, &s->nodes[src].ip4, NULL, &s->nodes[at].ip4, cap);
	filter_rules_wipe(&r);
	return has;
}

/* May 'client' allocate on 'relay', and does it know the relay as one? Both must agree. */
static bool may_relay(const struct scene *s, size_t client, size_t relay)
{
	bool grant = holds(s, relay, client, "tailscale.com/cap/relay");

	assert_int_equal(grant, holds(s, client, relay, "tailscale.com/cap/relay-target"));
	if (grant && client != relay)
		assert_true(policyset_visible(s->set, client, relay));
	return grant;
}

static void one_relay_by_tag(void **state)
{
	enum { ADMIN, ALICE, SERVER, RELAY, OTHER };
	struct scene s = { 0 };

	(void)state;
	add(&s, "admin");
	add(&s, "alice@example.com");
	add(&s, "tag:server");
	add(&s, "tag:relay");
	add(&s, "tag:other");
	compile(&s, "contrib/policies/relay-by-tag.hujson");
	assert_true(may_relay(&s, ADMIN, RELAY));
	assert_true(may_relay(&s, ALICE, RELAY));
	assert_true(may_relay(&s, SERVER, RELAY));
	assert_false(may_relay(&s, OTHER, RELAY));
	assert_false(may_relay(&s, ADMIN, ALICE));
	assert_false(may_relay(&s, ADMIN, SERVER));
	assert_true(policyset_visible(s.set, ADMIN, ALICE));
	assert_false(policyset_visible(s.set, OTHER, RELAY));
	policyset_free(s.set);
}

static void relay_per_region(void **state)
{
	enum { EU, US, RELAY_EU, RELAY_US, ADMIN };
	struct scene s = { 0 };

	(void)state;
	add(&s, "tag:eu");
	add(&s, "tag:us");
	add(&s, "tag:relay-eu");
	add(&s, "tag:relay-us");
	add(&s, "admin");
	compile(&s, "contrib/policies/relay-per-region.hujson");
	assert_true(may_relay(&s, EU, RELAY_EU));
	assert_true(may_relay(&s, US, RELAY_US));
	assert_false(may_relay(&s, EU, RELAY_US));
	assert_false(may_relay(&s, US, RELAY_EU));
	assert_false(may_relay(&s, ADMIN, RELAY_EU));
	assert_true(policyset_visible(s.set, EU, US));
	assert_false(policyset_visible(s.set, EU, RELAY_US));
	policyset_free(s.set);
}

static void everybody_relays_for_themselves(void **state)
{
	enum { ALICE1, ALICE2, BOB, SERVER };
	struct scene s = { 0 };

	(void)state;
	add(&s, "alice@example.com");
	add(&s, "alice@example.com");
	add(&s, "bob@example.com");
	add(&s, "tag:server");
	compile(&s, "contrib/policies/self-relay.hujson");
	assert_true(may_relay(&s, ALICE1, ALICE2));
	assert_true(may_relay(&s, ALICE2, ALICE1));
	assert_false(may_relay(&s, BOB, ALICE1));
	assert_false(may_relay(&s, ALICE1, BOB));
	assert_false(may_relay(&s, SERVER, ALICE1));
	assert_false(policyset_visible(s.set, ALICE1, BOB));
	policyset_free(s.set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_relay_by_tag),
		cmocka_unit_test(relay_per_region),
		cmocka_unit_test(everybody_relays_for_themselves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
