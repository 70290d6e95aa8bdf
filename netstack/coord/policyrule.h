/* SPDX-License-Identifier: MIT */
/* What policyset.c (compile) and policyview.c (reduce for one node) share. */
#ifndef NETSTACK_COORD_POLICYRULE_H
#define NETSTACK_COORD_POLICYRULE_H

#include "coord/policyint.h"

/* One compilation under way. */
struct pol_build {
	const struct policyfile *p;
	const struct policy_world *w;
	struct policyset *s;
	struct ipset internet;
	bool nomem; /* sticky */
};

/* Resolved sources of a grant. */
struct pol_sources {
	bool all;             /* "*" in the filter: not only the tailnet */
	bool star;            /* "*" in the policy */
	struct ipset set;     /* everything they cover, normalized */
	struct ipset entries; /* as they are written into SrcIPs, in order */
};

void pol_rule_wipe(struct pol_rule *r);

#endif
