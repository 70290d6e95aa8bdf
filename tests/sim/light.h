/* SPDX-License-Identifier: MIT */
/* What scenarios read of a light node. */
#ifndef TESTS_SIM_LIGHT_H
#define TESTS_SIM_LIGHT_H

struct ladder;
struct node;
struct pathself_counters;
struct relayclient;
struct relayserver;

/* From now on it treats the peers that it knows as the reference client would (stock.h); for before the first
 * packet. */
void light_be_stock(struct node *n);
const struct ladder *light_ladder(const struct node *n, const struct node *peer);
const struct pathself_counters *light_counters(const struct node *n);
const struct relayclient *light_relayclient(const struct node *n);
const struct relayserver *light_relayserver(const struct node *n);

#endif
