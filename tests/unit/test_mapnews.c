/* SPDX-License-Identifier: MIT */
/* control/mapnews: which document says what, for each kind of change. */
#include "tests/unit/testing.h"

#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "control/mapnews.h"
#include "control/netmap.h"

#define NOW_S INT64_C(1767323045)
#define KEY(d) "nodekey:00000000000000000000000000000000000000000000000000000000000000" d
#define NODE(id, user, more) \
	"{\"ID\":" #id ",\"StableID\":\"s" #id "\",\"Name\":\"n" #id ".m.\",\"User\":" #user ",\"Key\":\"" KEY(#id) \
	"\",\"Addresses\":[\"100.64.0." #id "/32\"],\"AllowedIPs\":[\"100.64.0." #id "/32\"]" more "}"
#define BASE \
	"{\"Node\":" NODE(10, 1, "") ",\"Domain\":\"m\",\"Peers\":[" NODE(12, 1, "") "," NODE(13, 1, "") "]," \
	"\"UserProfiles\":[{\"ID\":1,\"LoginName\":\"u@m\"},{\"ID\":2,\"LoginName\":\"v@m\",\"DisplayName\":\"V\"}]}"

static struct netmap *apply(struct netmap *old, const char *text, enum netmap_mode mode)
{
	struct ctl_map_response msg;
	struct ctl_why why = { "" };
	struct netmap_change c;
	struct netmap *next;

	if (ctl_map_response_parse(&msg, text, strlen(text), &why))
		fail_msg("%s: %s", why.text, text);
	assert_int_equal(netmap_apply(old, &msg, mode, NOW_S, &next, &c), 0);
	ctl_map_response_wipe(&msg);
	netmap_change_wipe(&c);
	return next;
}

/* Null wants null; else each of the "|"-separated pieces is in the text. */
static void says(const char *what, const char *text, const char *want)
{
	char piece[100];

	if (!text != !want)
		fail_msg("%s: %s", what, text ? text : "null");
	for (const char *p = want; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL) {
		(void)snprintf(piece, sizeof(piece), "%.*s", (int)strcspn(p, "|"), p);
		if (!strstr(text, piece))
			fail_msg("%s: no %s in %s", what, piece, text);
	}
}

static void each_change_is_told_in_its_document(void **state)
{
	static const struct {
		const char *change, *self, *changed, *all, *patches, *removed, *users;
	} rows[] = {
		{ .change = "{\"OnlineChange\":{\"12\":true}}",
		  .all = "\"ID\":12",
		  .patches = "[{\"NodeID\":12,\"Online\":true}]" },
		{ .change = "{\"PeersChangedPatch\":[{\"NodeID\":13,\"DERPRegion\":7,\"Endpoints\":[\"192.0.2.1:1\"]}]}",
		  .all = "\"ID\":13|192.0.2.1:1",
		  .patches = "\"NodeID\":13|\"DERPRegion\":7|\"Endpoints\":[\"192.0.2.1:1\"]" },
		/* A key is more than a patch can say, whatever else changed. */
		{ .change = "{\"PeersChangedPatch\":[{\"NodeID\":12,\"Online\":true,\"Key\":\"" KEY("77") "\"}]}",
		  .changed = "\"ID\":12|" KEY("77"),
		  .all = "\"ID\":12|" KEY("77") },
		{ .change = "{\"PeersRemoved\":[12]}", .removed = "[12]" },
		{ .change = "{\"PeersChanged\":[" NODE(14, 2, "") "]}",
		  .changed = "\"ID\":14",
		  .all = "\"ID\":14",
		  .users = "{\"2\":{\"ID\":2,\"LoginName\":\"v@m\",\"DisplayName\":\"V\"}}" },
		/* Its user was told with it. */
		{ .change = "{\"PeersChanged\":[" NODE(12, 1, ",\"Tags\":[\"tag:a\"]") "]}",
		  .changed = "\"ID\":12|tag:a",
		  .all = "\"ID\":12" },
		{ .change = "{\"Node\":" NODE(10, 1, ",\"MachineAuthorized\":true,\"Tags\":[\"tag:b\"]") "}", .self = "\"ID\":10|tag:b" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct netmap *old = apply(NULL, BASE, NETMAP_FULL), *now = apply(old, rows[i].change, NETMAP_DELTA);
		struct mapnews n = { 0 };

		assert_int_equal(mapnews_make(&n, old, now, true), 0);
		says("self", n.self, rows[i].self);
		says("changed", n.changed, rows[i].changed);
		says("all", n.all, rows[i].all);
		says("patches", n.patches, rows[i].patches);
		says("removed", n.removed, rows[i].removed);
		says("users", n.users, rows[i].users);
		mapnews_wipe(&n);
		netmap_put(old);
		netmap_put(now);
	}
}

static void without_an_old_map_everything_is_new(void **state)
{
	struct netmap *now = apply(NULL, BASE, NETMAP_FULL);
	struct mapnews n = { 0 };

	(void)state;
	assert_int_equal(mapnews_make(&n, NULL, now, true), 0);
	says("self", n.self, "\"ID\":10");
	says("changed", n.changed, "\"ID\":12|\"ID\":13");
	says("patches", n.patches, NULL);
	says("users", n.users, "u@m");
	mapnews_wipe(&n);
	assert_int_equal(mapnews_make(&n, NULL, now, false), 0);
	says("self", n.self, "\"ID\":10");
	says("changed", n.changed, NULL);
	mapnews_wipe(&n);
	assert_int_equal(mapnews_make(&n, now, now, true), 0);
	says("self", n.self, NULL);
	says("all", n.all, NULL);
	mapnews_wipe(&n);
	netmap_put(now);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_change_is_told_in_its_document),
		cmocka_unit_test(without_an_old_map_everything_is_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
