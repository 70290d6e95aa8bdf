/* SPDX-License-Identifier: MIT */
/* What policyparse.c (names and forms) and policyrules.c (rule sections) share while a policy is parsed. */
#ifndef NETSTACK_COORD_POLICYPARSE_H
#define NETSTACK_COORD_POLICYPARSE_H

#include <cjson/cJSON.h>
#include <errno.h>

#include "coord/policyint.h"

enum { POL_PATH_MAX = 12 };

/* One parse: where we are in the text, and what was wrong so far. */
struct pol_ctx {
	const char *text;
	size_t size;
	struct policyfile *p;
	struct policy_errs *errs;
	size_t path[POL_PATH_MAX]; /* positions from the outside in, for json_locate() */
	size_t depth;
	bool nomem;
};

/* Reports at the current place: the value, or with 'at_name' the member's name. */
void pol_ctx_err(struct pol_ctx *c, bool at_name, const char *fmt, ...) MESH_PRINTF(3, 4);
void pol_ctx_place(const struct pol_ctx *c, uint32_t *line, uint32_t *col);
/* "unknown WHAT "name", did you mean ...?" */
void pol_unknown_name(struct pol_ctx *c, const char *what, const char *name, const char *const *known, size_t n);

/* Each reports its own error and returns false. */
const char *pol_text(struct pol_ctx *c, const cJSON *v);
bool pol_strs(struct pol_ctx *c, const cJSON *v, char ***out, size_t *n);
bool pol_parse_alias(struct pol_ctx *c, const char *s, struct pol_alias *out);
/* 'allow': bits 1 << enum pol_kind. */
bool pol_aliases(struct pol_ctx *c, const cJSON *v, unsigned allow, struct pol_list *out);
bool pol_parse_ports(struct pol_ctx *c, const char *s, struct pol_port **ports, size_t *n);
bool pol_parse_proto(struct pol_ctx *c, const char *s, uint8_t *proto);
bool pol_check_ports(struct pol_ctx *c, uint8_t proto, const struct pol_port *ports, size_t n);

/* Calls 'fn' for each element of a list, or each member of an object, with the place set to it; ends early when out of
 * memory. */
void pol_each(struct pol_ctx *c, const cJSON *list, void (*fn)(struct pol_ctx *c, const cJSON *v));

/* Sections (policyrules.c). */
void pol_parse_grants(struct pol_ctx *c, const cJSON *v);
void pol_parse_acls(struct pol_ctx *c, const cJSON *v);
void pol_parse_attrs(struct pol_ctx *c, const cJSON *v);
void pol_parse_approvers(struct pol_ctx *c, const cJSON *v);
void pol_parse_ssh(struct pol_ctx *c, const cJSON *v);
void pol_parse_tests(struct pol_ctx *c, const cJSON *v);
void pol_parse_ssh_tests(struct pol_ctx *c, const cJSON *v);

#endif
