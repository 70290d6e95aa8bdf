/* SPDX-License-Identifier: MIT */
/* HuJSON text -> checked policy. Every name that is used must be defined and every form is checked here, so
 * that compilation cannot fail but for memory. Errors carry the place of the value they are about. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/near.h"
#include "coord/policyint.h"
#include "coord/policyparse.h"
#include "wire/json.h"

const char policyfile_default[] =
	"{\n"
	"  // Every member may talk to every other member.\n"
	"  \"grants\": [\n"
	"    {\"src\": [\"autogroup:member\"], \"dst\": [\"autogroup:member\"], \"ip\": [\"*\"]},\n"
	"    // Every node that runs `meshctl set --relay-server-port=PORT` serves all others as a relay.\n"
	"    {\"src\": [\"*\"], \"dst\": [\"*\"], \"app\": {\"tailscale.com/cap/relay\": []}},\n"
	"  ],\n"
	"}\n";

void pol_err(struct policy_errs *errs, uint32_t line, uint32_t col, const char *fmt, ...)
{
	struct policy_err *e;
	va_list ap;

	if (errs->n == POLICY_ERRS_MAX) {
		errs->n_dropped++;
		return;
	}
	e = &errs->list[errs->n++];
	e->line = line;
	e->col = col;
	va_start(ap, fmt);
	(void)vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	va_end(ap);
}

void *pol_grow(void *arr, size_t n, size_t size)
{
	void *p = arr;

	if ((n & (n - 1)) == 0) /* 0 or a power of two: the room is used up */
		p = realloc(arr, (n ? n * 2 : 1) * size);
	if (p)
		memset((char *)p + n * size, 0, size);
	return p;
}

void pol_strs_free(char **s, size_t n)
{
	for (size_t i = 0; s && i < n; i++)
		free(s[i]);
	free(s);
}

void pol_list_wipe(struct pol_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->a[i].name);
	free(l->a);
	*l = (struct pol_list){ 0 };
}

/* ---- errors with a place ---- */

void pol_ctx_err(struct pol_ctx *c, bool at_name, const char *fmt, ...)
{
	char msg[POLICY_MSG_MAX];
	uint32_t line = 0, col = 0;
	size_t at;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	at = json_locate(c->text, c->size, c->path, c->depth, at_name);
	json_position(c->text, c->size, at, &line, &col);
	pol_err(c->errs, line, col, "%s", msg);
}

void pol_ctx_place(const struct pol_ctx *c, uint32_t *line, uint32_t *col)
{
	json_position(c->text, c->size, json_locate(c->text, c->size, c->path, c->depth, false), line, col);
}

static char *pol_dup(struct pol_ctx *c, const char *s)
{
	char *d = strdup(s);

	c->nomem |= !d;
	return d;
}

void pol_unknown_name(struct pol_ctx *c, const char *what, const char *name, const char *const *known, size_t n)
{
	const char *best = NULL;
	size_t best_d = 3;

	for (size_t i = 0; i < n; i++) {
		size_t d = near_distance(name, known[i], 2);

		if (d < best_d) {
			best_d = d;
			best = known[i];
		}
	}
	if (best)
		pol_ctx_err(c, true, "unknown %s \"%.60s\", did you mean \"%s\"?", what, name, best);
	else
		pol_ctx_err(c, true, "unknown %s \"%.60s\"", what, name);
}

/* ---- small forms ---- */

/* Letters, digits, '-', and for tags a letter first. */
static bool good_label(const char *s, bool letter_first)
{
	if (!*s || (letter_first && !((*s | 32) >= 'a' && (*s | 32) <= 'z')))
		return false;
	for (; *s; s++)
		if (!((*s >= '0' && *s <= '9') || ((*s | 32) >= 'a' && (*s | 32) <= 'z') || *s == '-' ||
		      *s == '_' || *s == '.'))
			return false;
	return true;
}

static const struct pol_owner *find_owner(const struct policyfile *p, const char *tag)
{
	for (size_t i = 0; i < p->n_owners; i++)
		if (strcmp(p->owners[i].tag, tag) == 0)
			return &p->owners[i];
	return NULL;
}

static const struct pol_group *find_group(const struct policyfile *p, const char *name)
{
	for (size_t i = 0; i < p->n_groups; i++)
		if (strcmp(p->groups[i].name, name) == 0)
			return &p->groups[i];
	return NULL;
}

bool policyfile_has_tag(const struct policyfile *p, const char *tag)
{
	return find_owner(p, tag) != NULL;
}

static bool autogroup(const char *s, enum pol_kind *kind)
{
	static const struct {
		const char *name;
		enum pol_kind kind;
	} table[] = {
		{ "autogroup:member", POL_MEMBER },     { "autogroup:tagged", POL_TAGGED },
		{ "autogroup:self", POL_SELF },         { "autogroup:internet", POL_INTERNET },
		{ "autogroup:danger-all", POL_DANGER_ALL },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (strcmp(s, table[i].name) == 0) {
			*kind = table[i].kind;
			return true;
		}
	}
	return false;
}

static bool tag_alias(struct pol_ctx *c, const char *s)
{
	if (!good_label(s + 4, true)) {
		pol_ctx_err(c, false, "tag \"%.60s\": tag names must start with a letter, after 'tag:'", s);
		return false;
	}
	if (c->p->n_owners == 0 || !find_owner(c->p, s)) {
		pol_ctx_err(c, false, "tag \"%.60s\" is not defined; add to tagOwners: \"%.60s\": [\"admin@\"]", s,
			    s);
		return false;
	}
	return true;
}

/* An address, a CIDR or a name from 'hosts'. */
static bool host_alias(struct pol_ctx *c, const char *s, struct pol_alias *out)
{
	struct prefix p;

	out->kind = POL_PREFIX;
	if (prefix_parse(&p, s, strlen(s), true) == 0) {
		if (!prefix_is_masked(&p)) {
			char text[PREFIX_TEXT_MAX];
			struct prefix m = prefix_masked(&p);

			pol_ctx_err(c, false, "\"%.60s\" has non-address bits set; expected %s", s,
				    prefix_write(text, &m));
			return false;
		}
		out->prefix = p;
		return true;
	}
	for (size_t i = 0; i < c->p->n_hosts; i++) {
		if (strcmp(c->p->hosts[i].name, s) == 0) {
			out->prefix = c->p->hosts[i].prefix;
			return true;
		}
	}
	pol_ctx_err(c, false,
		    "\"%.60s\" is no user (needs an '@'), group:, tag:, autogroup:, address or name from hosts", s);
	return false;
}

bool pol_parse_alias(struct pol_ctx *c, const char *s, struct pol_alias *out)
{
	*out = (struct pol_alias){ 0 };
	if (strcmp(s, "*") == 0) {
		out->kind = POL_ANY;
		return true;
	}
	if (strncmp(s, "autogroup:", 10) == 0) {
		if (autogroup(s, &out->kind))
			return true;
		pol_ctx_err(c, false,
			    "unknown autogroup \"%.60s\"; known: member, tagged, self, internet, danger-all", s);
		return false;
	}
	if (strncmp(s, "group:", 6) == 0) {
		out->kind = POL_GROUP;
		if (!find_group(c->p, s)) {
			pol_ctx_err(c, false, "group \"%.60s\" is not defined in groups", s);
			return false;
		}
	} else if (strncmp(s, "tag:", 4) == 0) {
		out->kind = POL_TAG;
		if (!tag_alias(c, s))
			return false;
	} else if (strchr(s, '@')) {
		out->kind = POL_USER;
	} else {
		return host_alias(c, s, out);
	}
	out->name = pol_dup(c, s);
	return out->name != NULL;
}

bool pol_parse_ports(struct pol_ctx *c, const char *s, struct pol_port **ports, size_t *n)
{
	if (strcmp(s, "*") == 0) {
		struct pol_port *p = POL_GROW(*ports, *n);

		c->nomem |= !p;
		if (p)
			*p = (struct pol_port){ 0, 65535 };
		return p != NULL;
	}
	for (const char *at = s;; at++) {
		unsigned long v[2] = { 0, 0 };
		struct pol_port *p;
		int k = 0;

		for (size_t digits = 0;; at++) {
			if (*at >= '0' && *at <= '9' && digits < 6) {
				v[k] = v[k] * 10 + (unsigned long)(*at - '0');
				digits++;
			} else if (digits && *at == '-' && k == 0) {
				k = 1;
				digits = 0;
			} else if (digits && (*at == ',' || !*at)) {
				break;
			} else {
				pol_ctx_err(c, false, "\"%.60s\" is not a port, a range \"a-b\" or \"*\"", s);
				return false;
			}
		}
		if (k == 0)
			v[1] = v[0];
		if (v[1] > 65535 || v[0] > v[1] || v[1] == 0) {
			pol_ctx_err(c, false, "port \"%.60s\" is out of range: ports are 1 to 65535, first <= last", s);
			return false;
		}
		p = POL_GROW(*ports, *n);
		if (!p) {
			c->nomem = true;
			return false;
		}
		*p = (struct pol_port){ (uint16_t)v[0], (uint16_t)v[1] };
		if (!*at)
			return true;
	}
}

bool pol_parse_proto(struct pol_ctx *c, const char *s, uint8_t *proto)
{
	static const struct {
		const char *name;
		uint8_t number;
	} table[] = {
		{ "icmp", 1 },  { "igmp", 2 }, { "ipv4", 4 },       { "ip-in-ip", 4 }, { "tcp", 6 },
		{ "egp", 8 },   { "igp", 9 },  { "udp", 17 },       { "gre", 47 },     { "esp", 50 },
		{ "ah", 51 },   { "sctp", 132 }, { "ipv6-icmp", 58 }, { "fc", 133 },
	};
	unsigned v = 0;

	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		if (strcmp(s, table[i].name) == 0) {
			*proto = table[i].number;
			return true;
		}
	}
	for (size_t i = 0; s[i] >= '0' && s[i] <= '9' && i < 4; i++)
		v = v * 10 + (unsigned)(s[i] - '0');
	if (*s < '1' || *s > '9' || v > 255 || strspn(s, "0123456789") != strlen(s)) {
		pol_ctx_err(c, false, "protocol \"%.40s\" is unknown; use a name like tcp or a number 1 to 255", s);
		return false;
	}
	*proto = (uint8_t)v;
	return true;
}

/* Only TCP, UDP and SCTP have ports. */
bool pol_check_ports(struct pol_ctx *c, uint8_t proto, const struct pol_port *ports, size_t n)
{
	if (proto == 0 || proto == 6 || proto == 17 || proto == 132)
		return true;
	for (size_t i = 0; i < n; i++) {
		if (ports[i].first != 0 || ports[i].last != 65535) {
			pol_ctx_err(c, false, "protocol %u has no ports: only \"*\" is allowed", proto);
			return false;
		}
	}
	return true;
}

const char *pol_text(struct pol_ctx *c, const cJSON *v)
{
	if (cJSON_IsString(v) && v->valuestring)
		return v->valuestring;
	pol_ctx_err(c, false, "expected a string");
	return NULL;
}

/* The list's elements as texts; false (with an error) if it is no list of strings. */
bool pol_strs(struct pol_ctx *c, const cJSON *v, char ***out, size_t *n)
{
	const cJSON *e;
	size_t i = 0;

	if (!cJSON_IsArray(v)) {
		pol_ctx_err(c, false, "expected a list");
		return false;
	}
	c->depth++;
	cJSON_ArrayForEach(e, v)
	{
		const char *s;
		char **slot;

		c->path[c->depth - 1] = i++;
		s = pol_text(c, e);
		if (!s)
			continue;
		slot = POL_GROW(*out, *n);
		if (!slot) {
			c->nomem = true;
			break;
		}
		*slot = pol_dup(c, s);
	}
	c->depth--;
	return true;
}

bool pol_aliases(struct pol_ctx *c, const cJSON *v, unsigned allow, struct pol_list *out)
{
	static const char *const names[] = { "*", "a user", "a group", "a tag", "an address", "autogroup:member",
					     "autogroup:tagged", "autogroup:self", "autogroup:internet",
					     "autogroup:danger-all" };
	const cJSON *e;
	size_t i = 0;

	if (!cJSON_IsArray(v)) {
		pol_ctx_err(c, false, "expected a list");
		return false;
	}
	c->depth++;
	cJSON_ArrayForEach(e, v)
	{
		struct pol_alias a, *slot;
		const char *s;

		c->path[c->depth - 1] = i++;
		s = pol_text(c, e);
		if (!s || !pol_parse_alias(c, s, &a))
			continue;
		if (!(allow & 1u << a.kind)) {
			pol_ctx_err(c, false, "\"%.60s\": %s is not allowed here", s, names[a.kind]);
			free(a.name);
			continue;
		}
		slot = POL_GROW(out->a, out->n);
		if (!slot) {
			c->nomem = true;
			free(a.name);
			break;
		}
		*slot = a;
	}
	c->depth--;
	return true;
}

/* ---- sections with definitions ---- */

void pol_each(struct pol_ctx *c, const cJSON *list, void (*fn)(struct pol_ctx *c, const cJSON *v))
{
	const cJSON *e;
	size_t i = 0;

	c->depth++;
	cJSON_ArrayForEach(e, list)
	{
		c->path[c->depth - 1] = i++;
		fn(c, e);
		if (c->nomem)
			break;
	}
	c->depth--;
}

static void parse_group(struct pol_ctx *c, const cJSON *v)
{
	struct pol_group *g;

	if (strncmp(v->string, "group:", 6) != 0 || !good_label(v->string + 6, false)) {
		pol_ctx_err(c, true, "group name \"%.60s\" must have the form group:NAME", v->string);
		return;
	}
	g = POL_GROW(c->p->groups, c->p->n_groups);
	c->nomem |= !g;
	if (!g || !(g->name = pol_dup(c, v->string)) || !pol_strs(c, v, &g->members, &g->n_members))
		return;
	c->depth++;
	for (size_t k = 0; k < g->n_members; k++) {
		c->path[c->depth - 1] = k;
		if (g->members[k] && strncmp(g->members[k], "group:", 6) == 0)
			pol_ctx_err(c, false, "\"%.60s\": groups can not be nested", g->members[k]);
		else if (g->members[k] && !strchr(g->members[k], '@'))
			pol_ctx_err(c, false, "user \"%.60s\" must contain '@' (a user without e-mail: \"%.60s@\")",
				    g->members[k], g->members[k]);
	}
	c->depth--;
}

static void parse_groups(struct pol_ctx *c, const cJSON *v)
{
	pol_each(c, v, parse_group);
}

static void parse_tag(struct pol_ctx *c, const cJSON *v)
{
	struct pol_owner *o;

	if (strncmp(v->string, "tag:", 4) != 0 || !good_label(v->string + 4, true)) {
		pol_ctx_err(c, true, "\"%.60s\": tag names must start with a letter, after 'tag:'", v->string);
		return;
	}
	o = POL_GROW(c->p->owners, c->p->n_owners);
	c->nomem |= !o;
	if (o)
		o->tag = pol_dup(c, v->string);
}

static void parse_owner(struct pol_ctx *c, const cJSON *v)
{
	for (size_t k = 0; k < c->p->n_owners; k++)
		if (strcmp(c->p->owners[k].tag, v->string) == 0)
			(void)pol_aliases(c, v, 1u << POL_USER | 1u << POL_GROUP | 1u << POL_TAG | 1u << POL_MEMBER,
					  &c->p->owners[k].who);
}

/* Two passes: names first, so that owners may name tags that come later. */
static void parse_owners(struct pol_ctx *c, const cJSON *v)
{
	pol_each(c, v, parse_tag);
	if (!c->nomem)
		pol_each(c, v, parse_owner);
}

static void parse_host(struct pol_ctx *c, const cJSON *v)
{
	const char *s = pol_text(c, v);
	struct pol_host *h;
	struct prefix p;

	if (!s)
		return;
	if (strchr(v->string, '@') || strchr(v->string, ':') || !*v->string) {
		pol_ctx_err(c, true, "host name \"%.60s\" may not contain '@' or ':'", v->string);
		return;
	}
	if (prefix_parse(&p, s, strlen(s), true) != 0 || !prefix_is_masked(&p)) {
		pol_ctx_err(c, false, "\"%.60s\" is not an address or a CIDR without host bits", s);
		return;
	}
	h = POL_GROW(c->p->hosts, c->p->n_hosts);
	c->nomem |= !h;
	if (!h)
		return;
	h->name = pol_dup(c, v->string);
	h->prefix = p;
}

static void parse_hosts(struct pol_ctx *c, const cJSON *v)
{
	pol_each(c, v, parse_host);
}

static const char *const sections[] = { "groups", "tagOwners", "hosts", "acls", "grants", "nodeAttrs",
					"autoApprovers", "ssh", "tests", "sshTests", "randomizeClientPort" };

/* ASCII only: section names are. */
static bool same_name(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if ((*a >= 'A' && *a <= 'Z' ? *a | 32 : *a) != (*b >= 'A' && *b <= 'Z' ? *b | 32 : *b))
			return false;
	return *a == *b;
}

/* The section's value and its position in 'c->path'; null if absent. */
static const cJSON *section(struct pol_ctx *c, const cJSON *root, const char *name, bool object)
{
	const cJSON *m, *found = NULL;
	size_t i = 0;

	cJSON_ArrayForEach(m, root)
	{
		size_t at = i++;

		if (!same_name(m->string, name))
			continue;
		c->depth = 1;
		c->path[0] = at;
		if (found) { /* JSON_UNIQUE compares exactly; this is "acls" beside "ACLs" */
			pol_ctx_err(c, true, "section \"%s\" is there twice", name);
			return NULL;
		}
		found = m;
	}
	if (!found || cJSON_IsNull(found))
		return NULL;
	if (object ? !cJSON_IsObject(found) : !cJSON_IsArray(found)) {
		pol_ctx_err(c, false, "section \"%s\" must be %s", name, object ? "an object" : "a list");
		return NULL;
	}
	return found;
}

static void unknown_sections(struct pol_ctx *c, const cJSON *root)
{
	const cJSON *m;
	size_t i = 0;

	c->depth = 1;
	cJSON_ArrayForEach(m, root)
	{
		bool known = false;

		c->path[0] = i++;
		for (size_t k = 0; k < ARRAY_LEN(sections); k++)
			known |= same_name(m->string, sections[k]);
		if (!known)
			pol_unknown_name(c, "section", m->string, sections, ARRAY_LEN(sections));
	}
}

static void parse_root(struct pol_ctx *c, const cJSON *root)
{
	static const struct {
		const char *name;
		bool object;
		void (*parse)(struct pol_ctx *c, const cJSON *v);
	} table[] = {
		{ "groups", true, parse_groups },
		{ "tagOwners", true, parse_owners },
		{ "hosts", true, parse_hosts },
		{ "grants", false, pol_parse_grants },
		{ "acls", false, pol_parse_acls },
		{ "nodeAttrs", false, pol_parse_attrs },
		{ "autoApprovers", true, pol_parse_approvers },
		{ "ssh", false, pol_parse_ssh },
		{ "tests", false, pol_parse_tests },
		{ "sshTests", false, pol_parse_ssh_tests },
	};
	bool rules = false;
	const cJSON *m;

	unknown_sections(c, root);
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		const cJSON *v = section(c, root, table[i].name, table[i].object);

		if (v) {
			if (table[i].parse == pol_parse_grants || table[i].parse == pol_parse_acls)
				rules = true;
			table[i].parse(c, v);
		}
		c->depth = 0;
	}
	c->p->allow_all = !rules;
	cJSON_ArrayForEach(m, root)
	{
		if (!same_name(m->string, "randomizeClientPort"))
			continue;
		if (!cJSON_IsBool(m))
			pol_ctx_err(c, false, "randomizeClientPort must be true or false");
		c->p->randomize_port = cJSON_IsTrue(m);
	}
}

static bool only_blank(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (!strchr(" \t\r\n", text[i]) || !text[i])
			return false;
	return true;
}

/* The object whose member's name begins behind the quote at 'offset'; empty if there is none. */
static struct json_span object_at(struct json_span root, size_t offset)
{
	const char *at = root.p + offset;
	struct json_span in = root, name, value;

	for (size_t depth = 0; depth < JSON_DEPTH_MAX; depth++) {
		struct json_span next = { 0 };
		struct json_iter it;

		if (!json_iter_init(&it, in))
			break;
		while (json_iter_next(&it, &name, &value)) {
			if (it.is_object && at >= name.p - 1 && at < name.p + name.size)
				return in;
			if (at >= value.p && at < value.p + value.size)
				next = value;
		}
		in = next;
	}
	return (struct json_span){ 0 };
}

/* A name that is there twice: says which, and where the first one is. */
static bool report_duplicate(struct pol_ctx *c, const struct json_err *je)
{
	struct json_span root = { c->text, c->size }, in, name, value, twice = { 0 };
	struct json_iter it;
	uint32_t line, col;

	if (json_check(c->text, c->size, JSON_HUJSON, NULL) != 0)
		return false; /* wrong without the duplicate, too */
	in = object_at(root, je->offset);
	if (!in.p || !json_iter_init(&it, in))
		return false;
	while (json_iter_next(&it, &name, &value))
		if (c->text + je->offset >= name.p - 1 && c->text + je->offset < name.p + name.size)
			twice = name;
	(void)json_iter_init(&it, in);
	while (twice.p && json_iter_next(&it, &name, &value)) {
		if (name.p == twice.p || name.size != twice.size || memcmp(name.p, twice.p, name.size) != 0)
			continue;
		json_position(c->text, c->size, (size_t)(name.p - c->text), &line, &col);
		pol_err(c->errs, je->line, je->col, "\"%.*s\" is there twice: first in line %u",
			(int)(twice.size < 60 ? twice.size : 60), twice.p, line);
		return true;
	}
	return false;
}

static int parse_text(struct pol_ctx *c)
{
	struct json_err je = { 0 };
	cJSON *root;

	if (only_blank(c->text, c->size)) {
		c->p->allow_all = true;
		return 0;
	}
	if (c->size > POLICY_TEXT_MAX) {
		pol_err(c->errs, 0, 0, "the policy is longer than %d bytes", POLICY_TEXT_MAX);
		return -EBADMSG;
	}
	root = json_parse(c->text, c->size, JSON_HUJSON | JSON_UNIQUE, &je);
	if (!root) {
		if (!report_duplicate(c, &je))
			pol_err(c->errs, je.line, je.col, "%s", je.reason ? je.reason : "not JSON");
		return -EBADMSG;
	}
	if (cJSON_IsObject(root))
		parse_root(c, root);
	else
		pol_err(c->errs, 1, 1, "a policy must be an object: { ... }");
	cJSON_Delete(root);
	if (c->nomem)
		return -ENOMEM;
	return c->errs->n ? -EBADMSG : 0;
}

int policyfile_parse(struct policyfile **out, const char *text, size_t size, struct policy_errs *errs)
{
	struct policyfile *p = calloc(1, sizeof(*p));
	struct pol_ctx c = { .text = text, .size = size, .errs = errs, .p = p };
	int err;

	memset(errs, 0, sizeof(*errs));
	if (!p)
		return -ENOMEM;
	err = parse_text(&c);
	if (err) {
		policyfile_free(p);
		return err;
	}
	*out = p;
	return 0;
}
