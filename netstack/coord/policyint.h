/* SPDX-License-Identifier: MIT */
/* Inside of a checked policy and of a compiled one: shared by policyparse, policyset, policyssh and
 * policytest, and by nothing else. */
#ifndef NETSTACK_COORD_POLICYINT_H
#define NETSTACK_COORD_POLICYINT_H

#include <cjson/cJSON.h>

#include "coord/ipset.h"
#include "coord/policyfile.h"

enum pol_kind {
	POL_ANY,        /* "*" */
	POL_USER,       /* "alice@example.com", "bob@" */
	POL_GROUP,
	POL_TAG,
	POL_PREFIX,     /* address, CIDR, or a name from hosts */
	POL_MEMBER,     /* autogroups */
	POL_TAGGED,
	POL_SELF,
	POL_INTERNET,
	POL_DANGER_ALL,
};

struct pol_alias {
	enum pol_kind kind;
	char *name;           /* USER, GROUP, TAG: as written */
	struct prefix prefix; /* PREFIX */
};

struct pol_list {
	struct pol_alias *a;
	size_t n;
};

struct pol_port {
	uint16_t first, last;
};

/* One network capability: protocol and ports. */
struct pol_ip {
	uint8_t proto; /* 0 = not given */
	struct pol_port *ports;
	size_t n_ports;
};

struct pol_grant {
	struct pol_list src, dst;
	struct pol_ip *ip;
	size_t n_ip;
	struct map_cap *app; /* 'values' null = null, not null with n_values 0 = [] */
	size_t n_app;
	char **via;
	size_t n_via;
};

struct pol_group {
	char *name;
	char **members; /* users */
	size_t n_members;
};

struct pol_owner {
	char *tag;
	struct pol_list who;
};

struct pol_host {
	char *name;
	struct prefix prefix;
};

struct pol_attr {
	struct pol_list target;
	char **attrs;
	size_t n_attrs;
};

struct pol_approver {
	struct prefix route;
	struct pol_list who;
};

struct pol_ssh {
	bool check;
	int64_t check_s;
	struct pol_list src, dst;
	char **users;
	size_t n_users;
	char **env;
	size_t n_env;
};

struct pol_test {
	uint32_t line, col;
	struct pol_alias src;
	uint8_t proto;
	struct pol_test_dst {
		struct pol_alias dst;
		uint16_t port;
		char *text;
	} *accept, *deny;
	size_t n_accept, n_deny;
	char *src_text;
};

struct pol_ssh_test {
	uint32_t line, col;
	struct pol_alias src;
	char *src_text;
	struct pol_list dst;
	char **accept, **deny, **check;
	size_t n_accept, n_deny, n_check;
};

struct policyfile {
	bool allow_all; /* no file, or neither acls nor grants */
	struct pol_group *groups;
	size_t n_groups;
	struct pol_owner *owners;
	size_t n_owners;
	struct pol_host *hosts;
	size_t n_hosts;
	struct pol_grant *grants; /* 'grants', then each destination of each ACL */
	size_t n_grants;
	struct pol_attr *attrs;
	size_t n_attrs;
	struct pol_approver *approvers;
	size_t n_approvers;
	struct pol_list exit_approvers;
	bool has_ssh;
	struct pol_ssh *ssh;
	size_t n_ssh;
	struct pol_test *tests;
	size_t n_tests;
	struct pol_ssh_test *ssh_tests;
	size_t n_ssh_tests;
	bool randomize_port;
};

/* A bit per node. */
typedef uint64_t pol_word;

/* One compiled rule and whom it concerns. */
struct pol_rule {
	struct filter_rule rule;
	size_t merge;      /* rules with equal sources and protocols share this number; CapGrants have their own */
	bool is_global;
	pol_word *only;    /* not global: the nodes that may receive it */
	pol_word *src, *dst; /* who is in its sources, who in its destinations */
	struct ipset dsts; /* destinations as a set, for routes */
};

struct pol_ssh_rule {
	bool check;
	struct ipset src;
	bool self;           /* destinations are the viewer's own user's devices */
	pol_word *dst;       /* nodes it is installed on */
	const char **users;  /* into 'texts' */
	size_t n_users;
	const char **env;
	size_t n_env;
};

struct policyset {
	size_t n_nodes, n_words;
	struct policy_node *nodes; /* copies; tags unused, routes owned */
	struct pol_rule *rules;
	size_t n_rules;
	char ***attrs;             /* per node: sorted names */
	size_t *n_attrs;
	bool has_ssh;
	struct pol_ssh_rule *ssh;
	size_t n_ssh;
	char **texts;              /* owned texts of ssh rules */
	size_t n_texts;
	struct approver_set {
		struct prefix route; /* unset: exit routes */
		pol_word *who;
	} *approvers;
	size_t n_approvers;
};

/* --- growing arrays --- */

/* 'arr' of 'n' elements with room for one more, which is zeroed; null: out of memory ('arr' stays). */
void *pol_grow(void *arr, size_t n, size_t size);
/* Appends a zeroed element to the array variable 'arr' with the count variable 'n': its address, or null. */
#define POL_GROW(arr, n)                                                   \
	({                                                                 \
		__typeof__(arr) grown_ = pol_grow((arr), (n), sizeof(*(arr))); \
		if (grown_)                                                \
			(arr) = grown_;                                    \
		grown_ ? &(arr)[(n)++] : NULL;                             \
	})

void pol_list_wipe(struct pol_list *l);
void pol_strs_free(char **s, size_t n);

/* --- resolving (policyset.c) --- */

bool pol_user_is(const struct policy_user *u, const char *name);
bool pol_node_has_tag(const struct policy_node *n, const char *tag);
/* Does the node match the alias by what it is (user, group, tag, member, tagged, any)? */
bool pol_node_is(const struct policyfile *p, const struct policy_world *w, const struct policy_node *n,
		 const struct pol_alias *a);
/* Adds the addresses of an alias; SELF gives nothing, DANGER_ALL everything. Not normalized. */
void pol_resolve(const struct policyfile *p, const struct policy_world *w, const struct pol_alias *a,
		 struct ipset *out);

static inline bool pol_bit(const pol_word *b, size_t i)
{
	return b[i / 64] >> i % 64 & 1;
}

static inline void pol_bit_set(pol_word *b, size_t i)
{
	b[i / 64] |= (pol_word)1 << i % 64;
}

/* --- SSH (policyssh.c) --- */

int pol_ssh_compile(struct policyset *s, const struct policyfile *p, const struct policy_world *w);
void pol_ssh_wipe(struct policyset *s);
enum pol_ssh_verdict { POL_SSH_DENY, POL_SSH_CHECK, POL_SSH_ACCEPT };
/* What a login as 'user' from 'src' on node 'node' gets. */
enum pol_ssh_verdict pol_ssh_decide(const struct policyset *s, size_t node, const struct ip *src,
				    const char *user);

void pol_err(struct policy_errs *errs, uint32_t line, uint32_t col, const char *fmt, ...) MESH_PRINTF(4, 5);

#endif
