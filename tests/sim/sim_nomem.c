/* SPDX-License-Identifier: MIT */
/* Memory that runs out when a change of the map is published: it is published a little later, and nothing is lost
 * on the way (a leak shows with sanitizers). */
#include "tests/unit/testing.h"

#include "engine_int.h"
#include "tests/sim/topo.h"
#include "tests/sim/wcoord.h"
#include "tests/sim/whole.h"

enum { FEW = 2 };

/* Outputs of this kind that one engine gets no memory for. */
static struct {
	const struct engine *e;
	enum engine_out_kind kind;
	unsigned n_left;
} refuse;

struct engine_item *__real_eq_new(struct engine *e, enum engine_out_kind kind, const void *data, size_t size);
struct engine_item *__wrap_eq_new(struct engine *e, enum engine_out_kind kind, const void *data, size_t size);
struct engine_out *__real_eq_push(struct engine *e, enum engine_out_kind kind, const void *data, size_t size);
struct engine_out *__wrap_eq_push(struct engine *e, enum engine_out_kind kind, const void *data, size_t size);

static bool is_refused(const struct engine *e, enum engine_out_kind kind)
{
	if (e != refuse.e || kind != refuse.kind || !refuse.n_left)
		return false;
	refuse.n_left--;
	return true;
}

struct engine_item *__wrap_eq_new(struct engine *e, enum engine_out_kind kind, const void *data, size_t size)
{
	return is_refused(e, kind) ? NULL : __real_eq_new(e, kind, data, size);
}

struct engine_out *__wrap_eq_push(struct engine *e, enum engine_out_kind kind, const void *data, size_t size)
{
	return is_refused(e, kind) ? NULL : __real_eq_push(e, kind, data, size);
}

/* A third node joins; the first one has no memory for the first 'n' outputs that tell it. */
static void join_without(enum engine_out_kind kind, unsigned n)
{
	struct topo t = topo_mesh(40 + n, TOPO_O, TOPO_O, 0);
	char key[WCOORD_KEY_MAX];
	struct node *c;

	world_run(t.w, 1000);
	refuse.e = whole_engine(t.a);
	refuse.kind = kind;
	refuse.n_left = n;
	wcoord_key(t.w->coord, NULL, key);
	c = topo_whole(t.w, "c", TOPO_O, 3, key);
	world_run(t.w, 3000);
	assert_int_equal(refuse.n_left, 0);
	world_flow(t.w, t.a, c, 20);
	assert_in_range(world_until_both(t.w, t.a, c, PATH_DIRECT, 5000), 0, 5000);
	refuse.e = NULL;
	topo_end(&t);
}

static void a_peer_that_there_is_no_memory_to_tell_of_is_told_later(void **state)
{
	(void)state;
	/* First the change itself, then the whole view or host that is told instead of it. */
	for (unsigned n = 1; n <= FEW; n++) {
		join_without(ENGINE_VIEW, n);
		join_without(ENGINE_HOST, n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_peer_that_there_is_no_memory_to_tell_of_is_told_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
