/* SPDX-License-Identifier: MIT */
/* Maps, texts and stored rows when memory runs out: whichever allocation fails, the answer is -ENOMEM and never that the input
 * was wrong, and nothing is left behind. And what held a secret is wiped before it is freed. Linked with --wrap for
 * malloc, calloc, realloc and free. */
#include "config.h"

#include "tests/unit/testing.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "control/netmap.h"
#include "coord/ctlserver.h"
#include "wire/json.h"
#include "wire/jsonmap.h"
#include "wire/notify.h"
#include "wire/prefs.h"
#include "wire/status.h"
#include "wire/zstdframe.h"

enum { NEVER = 1 << 30 };

/* Allocations that still succeed; read by the wrapped allocator, which has no argument for it. */
static int *left(void)
{
	static int n = NEVER;

	return &n;
}

static bool fails(void)
{
	if (*left() == NEVER)
		return false;
	return (*left())-- <= 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

/* What no freed memory may hold, and how much did. */
struct watch {
	const char *secret; /* null: nothing is looked for */
	unsigned n_found;
};

static struct watch *watch(void)
{
	static struct watch w;

	return &w;
}

void __real_free(void *p);
void __wrap_free(void *p);

void __wrap_free(void *p)
{
	struct watch *w = watch();

	if (p && w->secret && memmem(p, malloc_usable_size(p), w->secret, strlen(w->secret)))
		w->n_found++;
	__real_free(p);
}

/* --- what is tried --- */

#define PEER(id, hex) \
	"{\"ID\":" #id ",\"StableID\":\"n" #id "\",\"Name\":\"p" #id ".example.\",\"Key\":\"nodekey:" hex KEY "\"," \
	"\"Addresses\":[\"100.64.0." #id "/32\"],\"Endpoints\":[\"192.0.2." #id ":41641\"]," \
	"\"Hostinfo\":{\"OS\":\"linux\",\"Hostname\":\"p" #id "\"},\"CapMap\":{\"x\":[{\"a\":1}]},\"Tags\":[\"tag:a\"]}"
#define KEY "01010101010101010101010101010101010101010101010101010101010101"

static const char map[] =
	"{\"Node\":{\"ID\":1,\"Name\":\"self.example.\"},\"Domain\":\"example\",\"Peers\":[" PEER(2, "02") "," PEER(3, "03")
	"],\"DERPMap\":{\"Regions\":{\"900\":{\"RegionID\":900,\"RegionCode\":\"a\",\"Nodes\":[{\"Name\":\"900a\","
	"\"HostName\":\"192.0.2.9\"}]}}},\"UserProfiles\":[{\"ID\":1,\"LoginName\":\"u@example\"}],\"Health\":[\"ill\"],"
	"\"PacketFilters\":{\"base\":[{\"SrcIPs\":[\"*\"],\"DstPorts\":[{\"IP\":\"*\",\"Ports\":{\"First\":0,"
	"\"Last\":65535}}]}]},\"DNSConfig\":{\"Domains\":[\"example\"],\"Proxied\":true}}";

static int read_in_pieces(struct ctl_map_response *msg, char why[static 256])
{
	struct ctl_map_reader *r = ctl_map_reader_new();
	struct ctl_why w = { "" };
	int err;

	if (!r)
		return -ENOMEM;
	for (size_t at = 0; at < strlen(map); at += 100)
		(void)ctl_map_reader_push(r, map + at, strlen(map) - at < 100 ? strlen(map) - at : 100);
	err = ctl_map_reader_finish(r, msg, &w);
	(void)snprintf(why, 256, "%s", w.text);
	return err;
}

static int try_reader(void)
{
	struct ctl_map_response msg;
	char why[256] = "out of memory";
	const int err = read_in_pieces(&msg, why);

	if (err && !strstr(why, "out of memory"))
		fail_msg("%d: %s", err, why);
	if (!err)
		ctl_map_response_wipe(&msg);
	return err;
}

static int try_whole(void)
{
	struct ctl_map_response msg;
	struct ctl_why why = { "" };
	const int err = ctl_map_response_parse(&msg, map, strlen(map), &why);

	if (err && !strstr(why.text, "out of memory"))
		fail_msg("%d: %s", err, why.text);
	if (!err)
		ctl_map_response_wipe(&msg);
	return err;
}

static int try_save_and_load(void)
{
	struct bytes saved = { .max = CTLJSON_MAP_MAX };
	struct ctl_map_response msg;
	struct netmap_change change;
	struct netmap *m;
	char why[256];
	int err = read_in_pieces(&msg, why);

	if (err)
		return err;
	err = netmap_apply(NULL, &msg, NETMAP_FULL, 1, &m, &change);
	ctl_map_response_wipe(&msg);
	if (err)
		return err;
	netmap_change_wipe(&change);
	err = netmap_save(m, &saved);
	if (!err)
		err = netmap_load(bytes_data(&saved), bytes_size(&saved), &msg);
	if (!err)
		ctl_map_response_wipe(&msg);
	bytes_wipe(&saved);
	netmap_put(m);
	return err;
}

static int try_status(void)
{
	static const char text[] = "{\"Version\":\"1\",\"Self\":{\"ID\":\"a\",\"CapMap\":{\"x\":null}},\"Peer\":{}}";
	struct bytes out = { 0 };
	struct status s = { 0 };
	int err = status_parse(&s, text, strlen(text));

	if (!err)
		err = status_write(&out, &s, NULL);
	bytes_wipe(&out);
	status_wipe(&s);
	return err;
}

static int try_notify(void)
{
	struct notify_event e = { 0 };
	const int err = notify_parse(&e, "{\"State\":6,\"ErrMessage\":\"x\"}", 28);

	notify_event_wipe(&e);
	return err;
}

static int try_relayout(void)
{
	struct bytes out = { 0 };
	const int err = jsonmap_relayout(&out, map, strlen(map), " ");

	bytes_wipe(&out);
	return err;
}

static int load_rows(struct ctlserver *s)
{
	static const struct {
		enum reg_table table;
		const char *row;
	} rows[] = {
		{ REG_USERS, "{\"Name\":\"u\",\"Display\":\"U\",\"Email\":\"u@example\"}" },
		{ REG_KEYS, "{\"Prefix\":\"0123456789ab\",\"Hash\":\"01" KEY "\",\"User\":1,\"Tags\":[\"tag:a\"]}" },
		{ REG_NODES, "{\"Machine\":\"mkey:01" KEY "\",\"Key\":\"nodekey:01" KEY "\",\"User\":1,"
			     "\"IPv4\":\"100.64.0.1\",\"IPv6\":\"fd7a:115c:a1e0::1\",\"Name\":\"n\",\"Host\":{},"
			     "\"Approved\":[\"192.0.2.0/24\"],\"Endpoints\":[\"192.0.2.1:1\"]}" },
		{ REG_SETTINGS, "{\"User\":2,\"Key\":2,\"Node\":2}" },
		{ REG_POLICIES, "{\"Text\":\"{}\"}" },
	};
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_LEN(rows); i++)
		err = ctlserver_load(s, MONO_ZERO, rows[i].table, rows[i].table == REG_SETTINGS ? REG_SET_COUNTERS : 1,
				     rows[i].row);
	return err;
}

static int try_rows(void)
{
	const struct derp_map none = { 0 };
	const struct ctlserver_cfg cfg = { .url = "http://192.0.2.1", .domain = "example", .derp = &none };
	struct test_env te;
	struct ctlserver *s;
	int err;

	test_env_init(&te, 1);
	s = ctlserver_new(&cfg, &te.env);
	err = s ? load_rows(s) : -ENOMEM;
	ctlserver_free(s);
	return err;
}

/* --- */

static void out_of_memory_is_told_as_such(void **state)
{
	static const struct {
		const char *name;
		int (*fn)(void);
	} rows[] = {
		{ "reader", try_reader }, { "whole", try_whole }, { "save and load", try_save_and_load },
		{ "status", try_status }, { "notify", try_notify }, { "relayout", try_relayout },
		{ "rows", try_rows },
	};
	cJSON_Hooks hooks = { .malloc_fn = __wrap_malloc, .free_fn = free };

	(void)state;
	cJSON_InitHooks(&hooks); /* the library's own as well */
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int err = -ENOMEM, n = 0, total;

		*left() = NEVER - 1;
		assert_int_equal(rows[i].fn(), 0);
		total = NEVER - 1 - *left();
		*left() = NEVER;
		for (; err; n++) {
			*left() = n;
			err = rows[i].fn();
			*left() = NEVER;
			if (err && err != -ENOMEM)
				fail_msg("%s: %d when allocation %d fails", rows[i].name, err, n);
			assert_true(n <= total);
		}
		/* None was passed over: each of those that it makes has failed once, and was told. */
		assert_true(total > 1);
		assert_int_equal(n - 1, total);
	}
	cJSON_InitHooks(NULL);
}

/* A request that cJSON would not read as it is, for its large number, is prepared in a copy; the tree itself is its
 * owner's to wipe. */
static void the_copy_of_a_request_is_wiped(void **state)
{
	static const char text[] = "{\"AuthKey\":\"hskey-auth-very-secret\",\"ID\":1234567890123456789}";
	char *plain = strdup(text);
	cJSON *tree;

	(void)state;
	assert_non_null(plain);
	watch()->secret = "very-secret";
	free(plain);
	assert_int_equal(watch()->n_found, 1); /* it is seen */
	tree = json_parse(text, sizeof(text) - 1, JSON_UNIQUE, NULL);
	watch()->secret = NULL;
	assert_int_equal(watch()->n_found, 1);
	assert_string_equal(test_str(tree, "AuthKey"), "hskey-auth-very-secret");
	cJSON_Delete(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(out_of_memory_is_told_as_such),
		cmocka_unit_test(the_copy_of_a_request_is_wiped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
