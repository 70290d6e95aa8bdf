/* SPDX-License-Identifier: MIT */
/* Topologies that many scenarios share. */
#include "tests/unit/testing.h"

#include <stdio.h>

#include "tests/sim/topo.h"

const char *const topo_names[TOPO_KINDS] = { "O", "FC", "EA", "E", "CG", "H", "CH", "U" };

struct node *topo_node(struct world *w, const char *name, enum topo_kind kind, int i)
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
	char pub[32], mid[32], inner[32];
	struct nat *nat;
	struct node *n;

	(void)snprintf(pub, sizeof(pub), "198.51.100.%d", i);
	(void)snprintf(mid, sizeof(mid), "10.77.0.%d", i);
	(void)snprintf(inner, sizeof(inner), "192.168.%d.2", i);
	if (kind == TOPO_O)
		return world_node(w, name, pub, NULL);
	nat = net_nat(w->net, is_carrier ? mid : pub, rules[kind].mapping, rules[kind].filtering);
	if (is_carrier)
		nat->parent = net_nat(w->net, pub,
				      kind == TOPO_CH ? NAT_ADDRESS_AND_PORT_DEPENDENT :
							NAT_ENDPOINT_INDEPENDENT,
				      NAT_ADDRESS_AND_PORT_DEPENDENT);
	n = world_node(w, name, inner, nat);
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

void topo_end(struct topo *t)
{
	for (size_t i = 0; i < t->w->n_flows; i++)
		assert_int_equal(t->w->flows[i].twice, 0);
	assert_int_equal(t->w->wrong, 0);
	assert_int_equal(t->w->busy, 0);
	world_free(t->w);
}
