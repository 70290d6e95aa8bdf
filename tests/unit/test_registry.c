/* SPDX-License-Identifier: MIT */
/* The registry's index of names against an obvious model, and the batch of rows. */
#include "testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coord/registry.h"

enum { NODES = 40, STEPS = 4000 };

static const char *const hosts[] = { "box", "Box", "box-1", "box-2", "laptop", "localhost", "",
				     "a-label-of-exactly-sixty-three-characters-012345678901234567890" };

/* Those of them that may be names as they are. */
static const char labels[] = "box box-1 box-2 laptop "
			     "a-label-of-exactly-sixty-three-characters-012345678901234567890";

static struct registry *start(struct test_env *te)
{
	static const char pool4[] = "100.64.0.0/10", pool6[] = "fd7a:115c:a1e0::/48";
	struct registry_cfg cfg = { .node_expiry_s = 0 };
	struct registry *r;

	test_env_init(te, 7);
	assert_int_equal(prefix_parse(&cfg.pool4, pool4, strlen(pool4), false), 0);
	assert_int_equal(prefix_parse(&cfg.pool6, pool6, strlen(pool6), false), 0);
	r = registry_new(&cfg, &te->env);
	assert_non_null(r);
	assert_int_equal(registry_load(r, REG_USERS, 1, "{\"Name\":\"u\",\"Display\":\"\",\"Email\":\"\"}", MONO_ZERO), 0);
	return r;
}

static int load(struct registry *r, int64_t id, const char *name)
{
	char row[800];

	(void)snprintf(row, sizeof(row),
		       "{\"Machine\":\"mkey:%064llx\",\"Key\":\"nodekey:%064llx\",\"Disco\":\"discokey:%064llx\","
		       "\"User\":1,\"IPv4\":\"100.64.1.%lld\",\"IPv6\":\"fd7a:115c:a1e0::%lld\",\"Name\":\"%s\","
		       "\"Host\":{\"Hostname\":\"%s\"}}",
		       (long long)id, (long long)id, (long long)id, (long long)id, (long long)id, name, name);
	return registry_load(r, REG_NODES, id, row, MONO_ZERO);
}

static bool is_used(const struct registry *r, const char *name)
{
	for (size_t i = 0; i < registry_n_nodes(r); i++)
		if (strcmp(registry_node_at(r, i)->name, name) == 0)
			return true;
	return false;
}

/* Each node is found by its name, which nobody else has. */
static void check_names(const struct registry *r)
{
	for (size_t i = 0; i < registry_n_nodes(r); i++)
		assert_ptr_equal(registry_node_by_name(r, registry_node_at(r, i)->name), registry_node_at(r, i));
}

static void say_host(struct registry *r, struct mono now, struct reg_node *n, const char *host)
{
	struct hostinfo h = { 0 };
	struct reg_update u = { .host = &h };

	assert_int_equal(hostinfo_copy(&h, &n->host), 0);
	free(h.hostname);
	h.hostname = strdup(host);
	assert_non_null(h.hostname);
	(void)registry_update(r, now, n, &u);
	hostinfo_wipe(&h);
}

static void names_stay_unique_and_are_found(void **state)
{
	struct test_env te;
	struct registry *r = start(&te);
	int64_t next = 1;

	(void)state;
	for (unsigned step = 0; step < STEPS; step++) {
		const size_t n = registry_n_nodes(r);
		struct reg_node *node = n ? registry_node_at(r, env_below(&te.env, n)) : NULL;
		const char *host = hosts[env_below(&te.env, ARRAY_LEN(hosts))];
		char old[REG_NAME_MAX + 1] = "", name[32];

		if (node)
			(void)snprintf(old, sizeof(old), "%s", node->name);
		switch (env_below(&te.env, 4)) {
		case 0:
			if (n == NODES || next == 250)
				break;
			(void)snprintf(name, sizeof(name), "fresh-%lld", (long long)next);
			assert_int_equal(load(r, next++, name), 0);
			break;
		case 1:
			if (node && n > NODES / 2)
				assert_int_equal(registry_delete(r, node), 0);
			break;
		case 2:
			if (node) {
				const bool is_label = strstr(labels, host) && *host;
				const bool is_taken = strcmp(host, old) != 0 && is_used(r, host);

				assert_int_equal(registry_rename(r, node, host), !is_label ? -EINVAL :
										 is_taken  ? -EEXIST :
											     0);
			}
			break;
		case 3:
			if (node)
				say_host(r, MONO_ZERO, node, host);
			break;
		}
		check_names(r);
		if (*old && !is_used(r, old))
			assert_null(registry_node_by_name(r, old)); /* and nobody is found by a name that was given up */
	}
	registry_free(r);
}

static void a_row_with_a_name_that_is_taken_is_refused(void **state)
{
	static const char long_name[] = "a-label-of-sixty-four-characters-is-one-too-long-012345678901234";
	struct test_env te;
	struct registry *r = start(&te);

	(void)state;
	assert_int_equal(load(r, 1, "box"), 0);
	assert_int_equal(load(r, 2, "box"), -EBADMSG);
	assert_int_equal(load(r, 3, long_name), -EBADMSG);
	assert_int_equal(registry_n_nodes(r), 1);
	registry_free(r);
}

static void the_last_word_on_a_row_counts(void **state)
{
	struct test_env te;
	struct registry *r = start(&te);
	struct reg_batch b;
	char text[24];

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		for (int64_t id = 1; id <= 100; id++) {
			(void)snprintf(text, sizeof(text), "%u/%lld", round, (long long)id);
			assert_int_equal(registry_write(r, id % 2 ? REG_NODES : REG_KEYS, (id + 1) / 2,
							round == 1 && id == 7 ? NULL : text), 0);
		}
		if (round == 0)
			continue;
		assert_true(registry_take_batch(r, MONO_ZERO, &b));
		assert_int_equal(b.n_rows, 100);
		for (size_t i = 0; i < b.n_rows; i++) {
			const struct reg_write *w = &b.rows[i];

			(void)snprintf(text, sizeof(text), "%u/%lld", round,
				       (long long)(w->table == REG_NODES ? 2 * w->id - 1 : 2 * w->id));
			if (round == 1 && w->table == REG_NODES && w->id == 4)
				assert_null(w->data);
			else
				assert_string_equal(w->data, text);
		}
		reg_batch_wipe(&b);
		assert_false(registry_take_batch(r, MONO_ZERO, &b));
	}
	registry_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_stay_unique_and_are_found),
		cmocka_unit_test(a_row_with_a_name_that_is_taken_is_refused),
		cmocka_unit_test(the_last_word_on_a_row_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
