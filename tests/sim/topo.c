/* SPDX-License-Identifier: MIT */
/* Topologies that many scenarios share. */
#include "tests/unit/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/topo.h"
#include "tests/sim/wcoord.h"
#include "tests/sim/whole.h"

const char *const topo_names[TOPO_KINDS] = { "O", "FC", "EA", "E", "CG", "H", "CH", "U" };

enum { ADDR_MAX = 32, JOIN_MS = 8000, WARM_UP_MS = 8000, WARM_MS = 10000,
       PAIR_FLOW_MS = 10, MESH_FLOW_MS = 20 };

/* Makes the NATs of a place and writes the host's own address there. */
static struct nat *place(struct world *w, enum topo_kind kind, int i, char addr[static ADDR_MAX])
{
	static const struct {
		enum nat_rule mapping, filtering;
	} rules[TOPO_KINDS] = {
		[TOPO_FC] = { NAT_ENDPOINT_INDEPENDENT, NAT_ENDPOINT_INDEPENDENT },
		[TOPO_EA] = { NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_DEPENDENT },
		[TOPO_E] = { NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT },
		[TOPO_CG] = { NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT },
		[TOPO_H] = { NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT },
		[TOPO_CH] = { NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT },
		[TOPO_U] = { NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT },
	};
	const bool is_carrier = kind == TOPO_CG || kind == TOPO_CH;
	char pub[ADDR_MAX], mid[ADDR_MAX];
	struct nat *nat;

	(void)snprintf(pub, sizeof(pub), "198.51.100.%d", i);
	(void)snprintf(mid, sizeof(mid), "10.77.0.%d", i);
	if (kind == TOPO_O) {
		memcpy(addr, pub, sizeof(pub));
		return NULL;
	}
	(void)snprintf(addr, ADDR_MAX, "192.168.%d.2", i);
	nat = net_nat(w->net, is_carrier ? mid : pub, rules[kind].mapping, rules[kind].filtering);
	if (is_carrier)
		nat->parent = net_nat(w->net, pub,
				      kind == TOPO_CH ? NAT_ADDRESS_AND_PORT_DEPENDENT
						      : NAT_ENDPOINT_INDEPENDENT,
				      NAT_ADDRESS_AND_PORT_DEPENDENT);
	return nat;
}

struct node *topo_node(struct world *w, const char *name, enum topo_kind kind, int i)
{
	char addr[ADDR_MAX];
	struct nat *nat = place(w, kind, i, addr);
	struct node *n = world_node(w, name, addr, nat);

	n->host->udp_blocked = kind == TOPO_U;
	return n;
}

struct node *topo_whole(struct world *w, const char *name, enum topo_kind kind, int i,
			const char *key)
{
	char addr[ADDR_MAX];
	struct nat *nat = place(w, kind, i, addr);
	struct node *n = whole_node(w, name, addr, nat, key);

	n->host->udp_blocked = kind == TOPO_U;
	return n;
}

struct topo topo_pair(uint64_t seed, enum topo_kind a, enum topo_kind b, int n_relays)
{
	static const char *const names[3] = { "r0", "r1", "r2" };
	struct topo t = { .w = world_new(seed) };
	char addr[32];

	t.a = topo_node(t.w, "a", a, 1);
	t.b = topo_node(t.w, "b", b, 2);
	for (int i = 0; i < n_relays; i++) {
		(void)snprintf(addr, sizeof(addr), "203.0.113.%d", 201 + i);
		t.relay[i] = world_node(t.w, names[i], addr, NULL);
		world_relay(t.relay[i], true);
	}
	world_run(t.w, 500);
	return t;
}

/* Does every node route to every other one? */
static bool all_joined(struct world *w)
{
	for (size_t i = 0; i < w->n_nodes; i++)
		for (size_t k = 0; k < w->n_nodes; k++)
			if (i != k && world_kind(w->nodes[i], w->nodes[k]) == PATH_NONE)
				return false;
	return true;
}

struct topo topo_mesh(uint64_t seed, enum topo_kind a, enum topo_kind b, int n_relays)
{
	static const char *const names[3] = { "r0", "r1", "r2" };
	struct topo t = { .w = world_new(seed) };
	char key[WCOORD_KEY_MAX], addr[ADDR_MAX];
	int ms;

	wcoord_key(wcoord_new(t.w, "192.0.2.1"), NULL, key);
	t.a = topo_whole(t.w, "a", a, 1, key);
	t.b = topo_whole(t.w, "b", b, 2, key);
	for (int i = 0; i < n_relays; i++) {
		(void)snprintf(addr, sizeof(addr), "203.0.113.%d", 201 + i);
		t.relay[i] = whole_node(t.w, names[i], addr, NULL, key);
		world_relay(t.relay[i], true);
	}
	for (ms = 0; ms < JOIN_MS && !all_joined(t.w); ms += 50)
		world_run(t.w, 50);
	assert_true(all_joined(t.w));
	return t;
}

void topo_reach(struct topo *t, enum path_kind kind, int64_t within_ms)
{
	world_flow(t->w, t->a, t->b, MESH_FLOW_MS);
	assert_in_range(world_until_both(t->w, t->a, t->b, kind, within_ms), 0, within_ms);
}

static void flow(struct topo *t, enum path_kind kind, int64_t interval_ms)
{
	world_flow(t->w, t->a, t->b, interval_ms);
	assert_true(world_until_both(t->w, t->a, t->b, kind, WARM_UP_MS) >= 0);
	world_run(t->w, WARM_MS);
	assert_int_equal(world_kind(t->a, t->b), kind);
	flow_mark(t->w);
}

struct topo topo_flowing_pair(uint64_t seed, enum topo_kind a, enum topo_kind b, int n_relays,
			      enum path_kind kind)
{
	struct topo t = topo_pair(seed, a, b, n_relays);

	flow(&t, kind, PAIR_FLOW_MS);
	return t;
}

struct topo topo_flowing_mesh(uint64_t seed, enum topo_kind a, enum topo_kind b, int n_relays,
			      enum path_kind kind)
{
	struct topo t = topo_mesh(seed, a, b, n_relays);

	flow(&t, kind, MESH_FLOW_MS);
	return t;
}

void topo_end(struct topo *t)
{
	if (getenv("SIM_VERBOSE"))
		print_message("  longest gap %lld ms, %llu changes of path\n",
			      (long long)flow_gap_ms(t->w),
			      (unsigned long long)(t->a ? t->a->path_changes : 0));
	for (size_t i = 0; i < t->w->n_flows; i++)
		assert_int_equal(t->w->flows[i].twice, 0);
	assert_int_equal(t->w->wrong, 0);
	assert_int_equal(t->w->leaks, 0);
	assert_int_equal(t->w->busy, 0);
	world_free(t->w);
}
