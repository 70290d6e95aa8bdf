/* SPDX-License-Identifier: MIT */
/* The policy file: HuJSON text -> checked policy -> compiled for one set of users and nodes.
 *
 *   policyfile_parse()   text to 'struct policyfile': every name defined, every form checked; each
 *                        error has its line and column
 *   policyfile_compile() policy and world to 'struct policyset': the tailnet-wide rules with, for
 *                        each, which nodes are in its sources and destinations
 *   policyset_*()        what one node receives: reduced filter, visible peers, attributes, SSH
 *   policyfile_test()    the file's own 'tests' and 'sshTests'
 *
 * Pure functions of their arguments; nothing here keeps state between calls. Any one thread.
 * Spec: coordinator 9 (file), 10 (compilation), 11 (SSH), 7.3 (autoApprovers). */
#ifndef NETSTACK_COORD_POLICYFILE_H
#define NETSTACK_COORD_POLICYFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "wire/mapdata.h"

enum {
	POLICY_TEXT_MAX = 1 << 20, /* bytes of policy text */
	POLICY_ERRS_MAX = 20,      /* errors reported by one parse */
	POLICY_MSG_MAX = 240,
};

/* One error or warning; 'line' and 'col' count from 1, columns in bytes. 0 = not about one place. */
struct policy_err {
	uint32_t line, col;
	char msg[POLICY_MSG_MAX];
};

struct policy_errs {
	struct policy_err list[POLICY_ERRS_MAX];
	size_t n;
	size_t n_dropped; /* more than fitted */
};

struct policy_user {
	int64_t id;
	const char *name;  /* "alice"; matched by "alice@" and, if it holds an '@', literally */
	const char *email; /* "" = none */
};

/* A node as the policy sees it. Everything is borrowed. */
struct policy_node {
	int64_t id;
	int64_t user; /* 0 = tagged */
	struct ip ip4, ip6;
	char *const *tags;
	size_t n_tags;
	const struct prefix *routes; /* announced and approved, exit routes included */
	size_t n_routes;
	bool peer_relay; /* Hostinfo.PeerRelay: counts as a relay for destination '*' */
};

/* Nodes are named by their index in 'nodes' below. */
struct policy_world {
	const struct policy_user *users;
	size_t n_users;
	const struct policy_node *nodes;
	size_t n_nodes;
};

struct policyfile; /* a checked policy */
struct policyset;  /* the same, compiled for one world; independent of both afterwards */

/* Parses and checks 'size' bytes of policy text. An empty text is "no policy": everything allowed.
 * On success '*out' is the caller's; free with policyfile_free().
 * Returns 0; -EBADMSG with at least one entry in '*errs'; -ENOMEM. */
MESH_MUST_USE int policyfile_parse(struct policyfile **out, const char *text, size_t size,
				   struct policy_errs *errs);
void policyfile_free(struct policyfile *p);

/* Is 'tag' ("tag:x") a key of tagOwners? */
bool policyfile_has_tag(const struct policyfile *p, const char *tag);
/* May a user own (request) 'tag': named in its tagOwners entry directly or through a group? */
bool policyfile_owns_tag(const struct policyfile *p, const struct policy_user *user, const char *tag);

/* Compiles for a world of at most 100,000 nodes. Returns 0 or -ENOMEM. */
MESH_MUST_USE int policyfile_compile(struct policyset **out, const struct policyfile *p,
				     const struct policy_world *w);
void policyset_free(struct policyset *s);

/* The tailnet-wide rules, unreduced and without those that are per node (self, via). Appends owned
 * rules to the empty '*out'. Returns 0 or -ENOMEM ('*out' is empty then). */
MESH_MUST_USE int policyset_global(const struct policyset *s, struct filter_rules *out);

/* What 'node' receives as PacketFilters["base"]. Returns 0 or -ENOMEM ('*out' is empty then). */
MESH_MUST_USE int policyset_filter(const struct policyset *s, size_t node, struct filter_rules *out);

/* Do two nodes see each other? A node does not see itself. */
bool policyset_visible(const struct policyset *s, size_t a, size_t b);

/* May 'viewer' use the subnet route 'route' that 'owner' serves, by any rule whose destination overlaps it?
 * Exit routes are usable by all who see the exit node. */
bool policyset_may_route(const struct policyset *s, size_t viewer, size_t owner, const struct prefix *route);

/* Attributes of the node from nodeAttrs and randomizeClientPort: sorted names, borrowed from 's'.
 * '*n' gets the count; null when there are none. */
const char *const *policyset_attrs(const struct policyset *s, size_t node, size_t *n);

/* Does the policy have an 'ssh' section at all? */
bool policyset_has_ssh(const struct policyset *s);
/* Appends the node's SSHPolicy as JSON text: {"rules":null} when no rule is for it. 'base_url' is
 * the coordinator's URL, for check rules. Returns 0 or -ENOMEM. */
MESH_MUST_USE int policyset_ssh(const struct policyset *s, size_t node, const char *base_url,
				struct bytes *out);

/* May node 'node' have 'route' approved without an administrator (autoApprovers)? Exit routes go by
 * exitNode, all others by routes; a longer prefix inside a listed one counts. */
bool policyset_auto_approves(const struct policyset *s, size_t node, const struct prefix *route);

/* Number of unordered pairs (of ids present in both) that see each other in 'before' but not in
 * 'after'. Both must be compiled for worlds with the same nodes in the same order. */
size_t policyset_lost_pairs(const struct policyset *before, const struct policyset *after);

/* Runs 'tests' and 'sshTests' against 'w'. Users and tags that have no node yet are given one for the
 * occasion, so that a fresh coordinator can take a policy with tests.
 * Returns 0; -EPROTO with the failures in '*errs'; -ENOMEM. */
MESH_MUST_USE int policyfile_test(const struct policyfile *p, const struct policy_world *w,
				  struct policy_errs *errs);

/* The policy of a fresh coordinator (revision 1): members may talk to each other, and every node that
 * offers itself may be used as a peer relay. */
extern const char policyfile_default[];

#endif
