/* SPDX-License-Identifier: MIT */
/* The slow reference of policy/filter: reads the rules as the specification states them, packet by
 * packet, with nothing compiled. Shared by the unit test and the fuzz target. */
#ifndef TESTS_UNIT_FILTERREF_H
#define TESTS_UNIT_FILTERREF_H

#include <stdbool.h>

#include "policy/filter.h"

enum filter_verdict filterref_check(const struct filter_cfg *cfg, const struct ip_pkt *pkt,
				    bool jailed);

/* Rules, peers, own addresses and a packet made from a stream of bytes; every choice from a small
 * space, so that ranges touch and packets hit. 'next' gives the next byte. */
struct filterref_world {
	struct filter_cfg cfg;
	struct filter_rules rules;
	struct prefix local[4];
	struct map_node peers[3];
	const struct map_node *peer_list[3];
};

void filterref_make(struct filterref_world *w, uint8_t (*next)(void *ctx), void *ctx);
void filterref_wipe(struct filterref_world *w);
/* Writes one packet; returns its size. */
size_t filterref_packet(uint8_t buf[static 128], uint8_t (*next)(void *ctx), void *ctx);

#endif
