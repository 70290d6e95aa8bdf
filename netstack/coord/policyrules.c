/* SPDX-License-Identifier: MIT */
/* The rule sections of a policy: grants, acls, nodeAttrs, autoApprovers, ssh, tests, sshTests. */
#include <stdlib.h>
#include <string.h>

#include "coord/policyparse.h"
#include "wire/json.h"

enum {
	ALLOW_NODES = 1u << POL_ANY | 1u << POL_USER | 1u << POL_GROUP | 1u << POL_TAG | 1u << POL_PREFIX |
		      1u << POL_MEMBER | 1u << POL_TAGGED,
	ALLOW_SRC = ALLOW_NODES | 1u << POL_DANGER_ALL,
	ALLOW_DST = ALLOW_NODES | 1u << POL_SELF | 1u << POL_INTERNET,
	ALLOW_WHO = 1u << POL_USER | 1u << POL_GROUP | 1u << POL_TAG | 1u << POL_MEMBER | 1u << POL_TAGGED,
	ALLOW_SSH_DST = 1u << POL_USER | 1u << POL_TAG | 1u << POL_MEMBER | 1u << POL_TAGGED | 1u << POL_SELF,
};

/* One member that an object may have. */
struct field {
	const char *name;
	const cJSON *v; /* null: absent */
	size_t at;      /* position in the object */
};

/* Finds the members of 'obj'; an unknown one is an error. False if 'obj' is no object. */
static bool fields(struct pol_ctx *c, const cJSON *obj, struct field *f, size_t n)
{
	const char *names[16];
	const cJSON *m;
	size_t at = 0;

	for (size_t i = 0; i < n; i++)
		names[i] = f[i].name;
	if (!cJSON_IsObject(obj)) {
		pol_ctx_err(c, false, "expected an object");
		return false;
	}
	c->depth++;
	cJSON_ArrayForEach(m, obj)
	{
		size_t i = 0;

		while (i < n && strcmp(f[i].name, m->string) != 0)
			i++;
		c->path[c->depth - 1] = at;
		if (i < n) {
			f[i].v = cJSON_IsNull(m) ? NULL : m;
			f[i].at = at;
		} else {
			pol_unknown_name(c, "field", m->string, names, n);
		}
		at++;
	}
	c->depth--;
	return true;
}

/* The current place becomes the field's; false if it is absent. */
static bool enter(struct pol_ctx *c, const struct field *f)
{
	if (!f->v)
		return false;
	c->path[c->depth++] = f->at;
	return true;
}

static void leave(struct pol_ctx *c)
{
	c->depth--;
}

static void required(struct pol_ctx *c, const struct field *f)
{
	if (!f->v)
		pol_ctx_err(c, false, "\"%s\" is missing", f->name);
}

static void alias_field(struct pol_ctx *c, const struct field *f, unsigned allow, struct pol_list *out)
{
	if (enter(c, f)) {
		(void)pol_aliases(c, f->v, allow, out);
		leave(c);
	}
}

static bool alias_copy(struct pol_ctx *c, struct pol_alias *to, const struct pol_alias *from)
{
	*to = *from;
	if (from->name && !(to->name = strdup(from->name)))
		c->nomem = true;
	return !c->nomem;
}

/* autogroup:self means "my own devices", so its sources must be people. */
static void check_self(struct pol_ctx *c, const struct pol_grant *g, bool any_allowed)
{
	bool self = false, people = true;

	for (size_t i = 0; i < g->dst.n; i++)
		self |= g->dst.a[i].kind == POL_SELF;
	for (size_t i = 0; i < g->src.n; i++) {
		enum pol_kind k = g->src.a[i].kind;

		people &= k == POL_USER || k == POL_GROUP || k == POL_MEMBER || (any_allowed && k == POL_ANY);
	}
	if (self && !people)
		pol_ctx_err(c, false, "autogroup:self can only be used with users, groups or autogroup:member as src");
}

/* ---- grants ---- */

/* "*", "443", "tcp:80,443", "udp:1-99", "icmp:*". */
static void parse_ip_cap(struct pol_ctx *c, const char *s, struct pol_grant *g)
{
	struct pol_ip *ip = POL_GROW(g->ip, g->n_ip);
	const char *colon = strrchr(s, ':');
	char proto[40];

	if (!ip) {
		c->nomem = true;
		return;
	}
	if (colon && (size_t)(colon - s) < sizeof(proto)) {
		memcpy(proto, s, (size_t)(colon - s));
		proto[colon - s] = '\0';
		if (!pol_parse_proto(c, proto, &ip->proto))
			return;
	}
	if (pol_parse_ports(c, colon ? colon + 1 : s, &ip->ports, &ip->n_ports))
		(void)pol_check_ports(c, ip->proto, ip->ports, ip->n_ports);
}

static void parse_ip_caps(struct pol_ctx *c, const cJSON *v, struct pol_grant *g)
{
	const cJSON *e;
	size_t i = 0;

	if (!cJSON_IsArray(v)) {
		pol_ctx_err(c, false, "expected a list");
		return;
	}
	c->depth++;
	cJSON_ArrayForEach(e, v)
	{
		const char *s;

		c->path[c->depth - 1] = i++;
		s = pol_text(c, e);
		if (s)
			parse_ip_cap(c, s, g);
	}
	c->depth--;
}

/* "domain/path"; of tailscale.com only what users may grant. */
static bool check_cap_name(struct pol_ctx *c, const char *name)
{
	static const char *const ours[] = { "cap/drive", "cap/relay",  "cap/webui",
					    "cap/kubernetes", "cap/tsidp", "cap/secrets" };
	const char *slash = strchr(name, '/');

	if (!slash || slash == name || !slash[1] || strstr(name, "://") || strchr(name, ' ') ||
	    !memchr(name, '.', (size_t)(slash - name))) {
		pol_ctx_err(c, true, "capability name \"%.80s\" must have the form {domain}/{path}", name);
		return false;
	}
	if (strncmp(name, "tailscale.com/", 14) != 0)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(ours); i++)
		if (strcmp(name + 14, ours[i]) == 0)
			return true;
	if (strcmp(name, "tailscale.com/cap/relay-target") == 0)
		pol_ctx_err(c, true, "\"%s\" is made by the coordinator; grant tailscale.com/cap/relay instead", name);
	else if (strcmp(name, "tailscale.com/cap/drive-sharer") == 0)
		pol_ctx_err(c, true, "\"%s\" is made by the coordinator; grant tailscale.com/cap/drive instead", name);
	else
		pol_ctx_err(c, true, "capability \"%.80s\" of tailscale.com is not known", name);
	return false;
}

static void parse_cap_values(struct pol_ctx *c, const cJSON *v, struct map_cap *cap)
{
	const cJSON *e;

	cap->values = malloc(sizeof(*cap->values)); /* not null: an empty list is not null */
	c->nomem |= !cap->values;
	cJSON_ArrayForEach(e, v)
	{
		struct json_w w = { 0 };
		size_t size;
		char **slot;

		if (c->nomem)
			break;
		slot = realloc(cap->values, (cap->n_values + 1) * sizeof(*slot));
		if (!slot) {
			c->nomem = true;
			break;
		}
		cap->values = slot;
		json_w_tree(&w, NULL, e);
		slot[cap->n_values] = json_w_take(&w, &size);
		c->nomem |= !slot[cap->n_values];
		cap->n_values++;
	}
}

static void parse_app(struct pol_ctx *c, const cJSON *v, struct pol_grant *g)
{
	const cJSON *m;
	size_t i = 0;

	if (!cJSON_IsObject(v)) {
		pol_ctx_err(c, false, "expected an object: {\"domain/path\": [values]}");
		return;
	}
	c->depth++;
	cJSON_ArrayForEach(m, v)
	{
		struct map_cap *cap;

		c->path[c->depth - 1] = i++;
		if (!check_cap_name(c, m->string))
			continue;
		if (!cJSON_IsArray(m)) {
			pol_ctx_err(c, false, "the value of a capability must be a list");
			continue;
		}
		cap = POL_GROW(g->app, g->n_app);
		if (!cap || !(cap->name = strdup(m->string))) {
			c->nomem = true;
			break;
		}
		parse_cap_values(c, m, cap);
	}
	c->depth--;
}

static void check_via(struct pol_ctx *c, const struct pol_grant *g)
{
	c->depth++;
	for (size_t i = 0; i < g->n_via; i++) {
		struct pol_alias a;

		c->path[c->depth - 1] = i;
		if (!g->via[i])
			continue;
		if (strncmp(g->via[i], "tag:", 4) != 0)
			pol_ctx_err(c, false, "via \"%.60s\" must be a tag", g->via[i]);
		else if (pol_parse_alias(c, g->via[i], &a))
			free(a.name);
	}
	c->depth--;
}

static void parse_grant(struct pol_ctx *c, const cJSON *v)
{
	struct field f[] = { { "src", NULL, 0 }, { "dst", NULL, 0 }, { "ip", NULL, 0 }, { "app", NULL, 0 },
			     { "via", NULL, 0 } };
	struct pol_grant *g;

	if (!fields(c, v, f, ARRAY_LEN(f)))
		return;
	g = POL_GROW(c->p->grants, c->p->n_grants);
	if (!g) {
		c->nomem = true;
		return;
	}
	required(c, &f[0]);
	required(c, &f[1]);
	alias_field(c, &f[0], ALLOW_SRC, &g->src);
	alias_field(c, &f[1], ALLOW_DST, &g->dst);
	if (enter(c, &f[2])) {
		parse_ip_caps(c, f[2].v, g);
		leave(c);
	}
	if (enter(c, &f[3])) {
		parse_app(c, f[3].v, g);
		leave(c);
	}
	if (enter(c, &f[4])) {
		if (pol_strs(c, f[4].v, &g->via, &g->n_via))
			check_via(c, g);
		leave(c);
	}
	if (!json_len(f[2].v) && !json_len(f[3].v))
		pol_ctx_err(c, false, "a grant needs \"ip\" or \"app\"");
	check_self(c, g, false);
}

void pol_parse_grants(struct pol_ctx *c, const cJSON *v)
{
	pol_each(c, v, parse_grant);
}

/* ---- acls: each destination becomes one grant ---- */

/* "alias:ports", split at the last colon; "[v6]:port" too. False with an error. */
static bool split_dst(struct pol_ctx *c, const char *s, struct pol_alias *alias, const char **ports)
{
	const char *colon = strrchr(s, ':');
	char name[256];
	size_t len;

	if (!colon || !colon[1]) {
		pol_ctx_err(c, false, "destination \"%.60s\" needs ports, as in \"%.60s:*\" or \"%.60s:22\"", s, s, s);
		return false;
	}
	len = (size_t)(colon - s);
	if (len >= sizeof(name)) {
		pol_ctx_err(c, false, "destination \"%.60s...\" is too long", s);
		return false;
	}
	memcpy(name, s, len);
	name[len] = '\0';
	if (len > 2 && name[0] == '[' && name[len - 1] == ']') {
		memmove(name, name + 1, len - 2);
		name[len - 2] = '\0';
	}
	*ports = colon + 1;
	/* "tag:web" without ports splits into "tag" and "web". */
	if (strcmp(name, "tag") == 0 || strcmp(name, "group") == 0 || strcmp(name, "autogroup") == 0) {
		pol_ctx_err(c, false, "destination \"%.60s\" needs ports, as in \"%.60s:*\"", s, s);
		return false;
	}
	return pol_parse_alias(c, name, alias);
}

static void parse_acl_dst(struct pol_ctx *c, const char *s, const struct pol_list *src, uint8_t proto)
{
	struct pol_alias alias;
	struct pol_grant *g;
	struct pol_alias *d;
	struct pol_ip *ip;
	const char *ports;

	if (!split_dst(c, s, &alias, &ports))
		return;
	if (!(ALLOW_DST & 1u << alias.kind)) {
		pol_ctx_err(c, false, "\"%.60s\" is not valid as a destination", s);
		free(alias.name);
		return;
	}
	g = POL_GROW(c->p->grants, c->p->n_grants);
	d = g ? POL_GROW(g->dst.a, g->dst.n) : NULL;
	ip = g ? POL_GROW(g->ip, g->n_ip) : NULL;
	if (!d || !ip) {
		c->nomem = true;
		free(alias.name);
		return;
	}
	*d = alias;
	ip->proto = proto;
	for (size_t i = 0; i < src->n; i++) {
		struct pol_alias *a = POL_GROW(g->src.a, g->src.n);

		if (!a || !alias_copy(c, a, &src->a[i])) {
			c->nomem = true;
			return;
		}
	}
	if (pol_parse_ports(c, ports, &ip->ports, &ip->n_ports))
		(void)pol_check_ports(c, proto, ip->ports, ip->n_ports);
	check_self(c, g, true);
}

static void parse_acl(struct pol_ctx *c, const cJSON *v)
{
	struct field f[] = { { "action", NULL, 0 }, { "proto", NULL, 0 }, { "src", NULL, 0 }, { "dst", NULL, 0 } };
	struct pol_list src = { 0 };
	const cJSON *e;
	uint8_t proto = 0;
	size_t i = 0;

	if (!fields(c, v, f, ARRAY_LEN(f)))
		return;
	for (size_t k = 0; k < ARRAY_LEN(f); k++)
		if (k != 1)
			required(c, &f[k]);
	if (enter(c, &f[0])) {
		const char *s = pol_text(c, f[0].v);

		if (s && strcmp(s, "accept") != 0)
			pol_ctx_err(c, false, "action \"%.40s\" is not supported: the only one is \"accept\"", s);
		leave(c);
	}
	if (enter(c, &f[1])) {
		const char *s = pol_text(c, f[1].v);

		if (s && *s)
			(void)pol_parse_proto(c, s, &proto);
		leave(c);
	}
	alias_field(c, &f[2], ALLOW_SRC, &src);
	if (enter(c, &f[3])) {
		if (!cJSON_IsArray(f[3].v))
			pol_ctx_err(c, false, "expected a list");
		c->depth++;
		cJSON_ArrayForEach(e, f[3].v)
		{
			const char *s;

			c->path[c->depth - 1] = i++;
			s = cJSON_IsArray(f[3].v) ? pol_text(c, e) : NULL;
			if (s)
				parse_acl_dst(c, s, &src, proto);
		}
		c->depth--;
		leave(c);
	}
	pol_list_wipe(&src);
}

void pol_parse_acls(struct pol_ctx *c, const cJSON *v)
{
	pol_each(c, v, parse_acl);
}

/* ---- nodeAttrs, autoApprovers ---- */

static void parse_attr(struct pol_ctx *c, const cJSON *v)
{
	struct field f[] = { { "target", NULL, 0 }, { "attr", NULL, 0 }, { "ipPool", NULL, 0 } };
	struct pol_attr *a;

	if (!fields(c, v, f, ARRAY_LEN(f)))
		return;
	a = POL_GROW(c->p->attrs, c->p->n_attrs);
	if (!a) {
		c->nomem = true;
		return;
	}
	required(c, &f[0]);
	alias_field(c, &f[0], ALLOW_NODES, &a->target);
	if (enter(c, &f[1])) {
		(void)pol_strs(c, f[1].v, &a->attrs, &a->n_attrs);
		leave(c);
	}
	if (enter(c, &f[2])) {
		pol_ctx_err(c, true, "\"ipPool\" is not supported");
		leave(c);
	}
}

void pol_parse_attrs(struct pol_ctx *c, const cJSON *v)
{
	pol_each(c, v, parse_attr);
}

static void parse_route_approver(struct pol_ctx *c, const cJSON *v)
{
	struct pol_approver *a;
	struct prefix p;

	if (prefix_parse(&p, v->string, strlen(v->string), false) != 0 || !prefix_is_masked(&p)) {
		pol_ctx_err(c, true, "\"%.60s\" is not a CIDR without host bits", v->string);
		return;
	}
	a = POL_GROW(c->p->approvers, c->p->n_approvers);
	c->nomem |= !a;
	if (!a)
		return;
	a->route = p;
	(void)pol_aliases(c, v, ALLOW_WHO, &a->who);
}

void pol_parse_approvers(struct pol_ctx *c, const cJSON *v)
{
	struct field f[] = { { "routes", NULL, 0 }, { "exitNode", NULL, 0 } };

	if (!fields(c, v, f, ARRAY_LEN(f)))
		return;
	if (enter(c, &f[0])) {
		if (cJSON_IsObject(f[0].v))
			pol_each(c, f[0].v, parse_route_approver);
		else
			pol_ctx_err(c, false, "expected an object: {\"CIDR\": [who]}");
		leave(c);
	}
	alias_field(c, &f[1], ALLOW_WHO, &c->p->exit_approvers);
}

/* ---- ssh ---- */

/* "12h", "90m", "30s", "1h30m"; -1 if it is none. */
static int64_t go_duration_s(const char *s)
{
	int64_t total = 0;

	if (!*s)
		return -1;
	while (*s) {
		int64_t v = 0;
		size_t digits = 0;

		for (; *s >= '0' && *s <= '9' && digits < 9; s++, digits++)
			v = v * 10 + (*s - '0');
		if (!digits || (*s != 'h' && *s != 'm' && *s != 's'))
			return -1;
		total += v * (*s == 'h' ? 3600 : *s == 'm' ? 60 : 1);
		s++;
	}
	return total;
}

static void parse_check_period(struct pol_ctx *c, const cJSON *v, struct pol_ssh *r)
{
	const char *s = pol_text(c, v);

	if (!s)
		return;
	r->check_s = strcmp(s, "always") == 0 ? 0 : go_duration_s(s);
	if (!r->check)
		pol_ctx_err(c, true, "\"checkPeriod\" is only for action \"check\"");
	else if (r->check_s < 0 || r->check_s > 168 * 3600)
		pol_ctx_err(c, false, "checkPeriod \"%.40s\" must be a duration up to 168h or \"always\"", s);
}

static void check_ssh_self(struct pol_ctx *c, const struct pol_ssh *r)
{
	for (size_t i = 0; i < r->dst.n; i++) {
		for (size_t k = 0; k < r->src.n && r->dst.a[i].kind == POL_SELF; k++) {
			enum pol_kind kind = r->src.a[k].kind;

			if (kind != POL_USER && kind != POL_GROUP && kind != POL_MEMBER) {
				pol_ctx_err(c, false, "autogroup:self can only be used with users, groups or "
						      "autogroup:member as src");
				return;
			}
		}
	}
}

static void parse_ssh_rule(struct pol_ctx *c, const cJSON *v)
{
	struct field f[] = { { "action", NULL, 0 }, { "src", NULL, 0 },         { "dst", NULL, 0 },
			     { "users", NULL, 0 },  { "checkPeriod", NULL, 0 }, { "acceptEnv", NULL, 0 } };
	struct pol_ssh *r;

	if (!fields(c, v, f, ARRAY_LEN(f)))
		return;
	r = POL_GROW(c->p->ssh, c->p->n_ssh);
	if (!r) {
		c->nomem = true;
		return;
	}
	for (size_t i = 0; i < 4; i++)
		required(c, &f[i]);
	if (enter(c, &f[0])) {
		const char *s = pol_text(c, f[0].v);

		r->check = s && strcmp(s, "check") == 0;
		r->check_s = 12 * 3600;
		if (s && !r->check && strcmp(s, "accept") != 0)
			pol_ctx_err(c, false, "action \"%.40s\" is not \"accept\" or \"check\"", s);
		leave(c);
	}
	alias_field(c, &f[1], ALLOW_WHO, &r->src);
	alias_field(c, &f[2], ALLOW_SSH_DST, &r->dst);
	if (enter(c, &f[3])) {
		if (pol_strs(c, f[3].v, &r->users, &r->n_users) && !r->n_users)
			pol_ctx_err(c, false, "\"users\" is empty");
		leave(c);
	}
	if (enter(c, &f[4])) {
		parse_check_period(c, f[4].v, r);
		leave(c);
	}
	if (enter(c, &f[5])) {
		(void)pol_strs(c, f[5].v, &r->env, &r->n_env);
		leave(c);
	}
	check_ssh_self(c, r);
}

void pol_parse_ssh(struct pol_ctx *c, const cJSON *v)
{
	c->p->has_ssh = true;
	pol_each(c, v, parse_ssh_rule);
}

/* ---- tests ---- */

static void parse_test_dsts(struct pol_ctx *c, const cJSON *v, struct pol_test_dst **out, size_t *n)
{
	const cJSON *e;
	size_t i = 0;

	if (!cJSON_IsArray(v)) {
		pol_ctx_err(c, false, "expected a list");
		return;
	}
	c->depth++;
	cJSON_ArrayForEach(e, v)
	{
		struct pol_test_dst *d, tmp = { 0 };
		struct pol_port *ports = NULL;
		size_t n_ports = 0;
		const char *s, *p;

		c->path[c->depth - 1] = i++;
		s = pol_text(c, e);
		if (!s || !split_dst(c, s, &tmp.dst, &p))
			continue;
		if (pol_parse_ports(c, p, &ports, &n_ports) && (n_ports != 1 || ports[0].first != ports[0].last))
			pol_ctx_err(c, false, "a test needs one port, not \"%.40s\"", p);
		else if (n_ports)
			tmp.port = ports[0].first;
		free(ports);
		d = POL_GROW(*out, *n);
		if (!d) {
			c->nomem = true;
			free(tmp.dst.name);
			break;
		}
		*d = tmp;
		d->text = strdup(s);
		c->nomem |= !d->text;
	}
	c->depth--;
}

static char *parse_test_src(struct pol_ctx *c, const struct field *f, struct pol_alias *src)
{
	const char *s;
	char *copy = NULL;

	required(c, f);
	if (!enter(c, f))
		return NULL;
	s = pol_text(c, f->v);
	if (s && pol_parse_alias(c, s, src)) {
		copy = strdup(s);
		c->nomem |= !copy;
		if (!(ALLOW_SRC & 1u << src->kind))
			pol_ctx_err(c, false, "\"%.60s\" is not valid as a source", s);
	}
	leave(c);
	return copy;
}

static void parse_test(struct pol_ctx *c, const cJSON *v)
{
	struct field f[] = { { "src", NULL, 0 }, { "proto", NULL, 0 }, { "accept", NULL, 0 }, { "deny", NULL, 0 } };
	struct pol_test *t;

	if (!fields(c, v, f, ARRAY_LEN(f)))
		return;
	t = POL_GROW(c->p->tests, c->p->n_tests);
	if (!t) {
		c->nomem = true;
		return;
	}
	pol_ctx_place(c, &t->line, &t->col);
	t->src_text = parse_test_src(c, &f[0], &t->src);
	if (enter(c, &f[1])) {
		const char *s = pol_text(c, f[1].v);

		if (s && *s)
			(void)pol_parse_proto(c, s, &t->proto);
		leave(c);
	}
	if (enter(c, &f[2])) {
		parse_test_dsts(c, f[2].v, &t->accept, &t->n_accept);
		leave(c);
	}
	if (enter(c, &f[3])) {
		parse_test_dsts(c, f[3].v, &t->deny, &t->n_deny);
		leave(c);
	}
	if (!t->n_accept && !t->n_deny)
		pol_ctx_err(c, false, "a test needs \"accept\" or \"deny\"");
}

void pol_parse_tests(struct pol_ctx *c, const cJSON *v)
{
	pol_each(c, v, parse_test);
}

static void parse_ssh_test(struct pol_ctx *c, const cJSON *v)
{
	struct field f[] = { { "src", NULL, 0 },  { "dst", NULL, 0 },   { "accept", NULL, 0 },
			     { "deny", NULL, 0 }, { "check", NULL, 0 } };
	struct pol_ssh_test *t;

	if (!fields(c, v, f, ARRAY_LEN(f)))
		return;
	t = POL_GROW(c->p->ssh_tests, c->p->n_ssh_tests);
	if (!t) {
		c->nomem = true;
		return;
	}
	pol_ctx_place(c, &t->line, &t->col);
	t->src_text = parse_test_src(c, &f[0], &t->src);
	required(c, &f[1]);
	alias_field(c, &f[1], ALLOW_SSH_DST, &t->dst);
	for (size_t i = 2; i < 5; i++) {
		char ***out = i == 2 ? &t->accept : i == 3 ? &t->deny : &t->check;
		size_t *n = i == 2 ? &t->n_accept : i == 3 ? &t->n_deny : &t->n_check;

		if (enter(c, &f[i])) {
			(void)pol_strs(c, f[i].v, out, n);
			leave(c);
		}
	}
}

void pol_parse_ssh_tests(struct pol_ctx *c, const cJSON *v)
{
	pol_each(c, v, parse_ssh_test);
}

/* ---- freeing ---- */

static void grant_wipe(struct pol_grant *g)
{
	pol_list_wipe(&g->src);
	pol_list_wipe(&g->dst);
	for (size_t i = 0; i < g->n_ip; i++)
		free(g->ip[i].ports);
	free(g->ip);
	for (size_t i = 0; i < g->n_app; i++)
		map_cap_wipe(&g->app[i]);
	free(g->app);
	pol_strs_free(g->via, g->n_via);
}

static void tests_free(struct policyfile *p)
{
	for (size_t i = 0; i < p->n_tests; i++) {
		struct pol_test *t = &p->tests[i];

		free(t->src.name);
		free(t->src_text);
		for (size_t k = 0; k < t->n_accept; k++) {
			free(t->accept[k].dst.name);
			free(t->accept[k].text);
		}
		for (size_t k = 0; k < t->n_deny; k++) {
			free(t->deny[k].dst.name);
			free(t->deny[k].text);
		}
		free(t->accept);
		free(t->deny);
	}
	free(p->tests);
	for (size_t i = 0; i < p->n_ssh_tests; i++) {
		struct pol_ssh_test *t = &p->ssh_tests[i];

		free(t->src.name);
		free(t->src_text);
		pol_list_wipe(&t->dst);
		pol_strs_free(t->accept, t->n_accept);
		pol_strs_free(t->deny, t->n_deny);
		pol_strs_free(t->check, t->n_check);
	}
	free(p->ssh_tests);
}

void policyfile_free(struct policyfile *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n_groups; i++) {
		free(p->groups[i].name);
		pol_strs_free(p->groups[i].members, p->groups[i].n_members);
	}
	free(p->groups);
	for (size_t i = 0; i < p->n_owners; i++) {
		free(p->owners[i].tag);
		pol_list_wipe(&p->owners[i].who);
	}
	free(p->owners);
	for (size_t i = 0; i < p->n_hosts; i++)
		free(p->hosts[i].name);
	free(p->hosts);
	for (size_t i = 0; i < p->n_grants; i++)
		grant_wipe(&p->grants[i]);
	free(p->grants);
	for (size_t i = 0; i < p->n_attrs; i++) {
		pol_list_wipe(&p->attrs[i].target);
		pol_strs_free(p->attrs[i].attrs, p->attrs[i].n_attrs);
	}
	free(p->attrs);
	for (size_t i = 0; i < p->n_approvers; i++)
		pol_list_wipe(&p->approvers[i].who);
	free(p->approvers);
	pol_list_wipe(&p->exit_approvers);
	for (size_t i = 0; i < p->n_ssh; i++) {
		pol_list_wipe(&p->ssh[i].src);
		pol_list_wipe(&p->ssh[i].dst);
		pol_strs_free(p->ssh[i].users, p->ssh[i].n_users);
		pol_strs_free(p->ssh[i].env, p->ssh[i].n_env);
	}
	free(p->ssh);
	tests_free(p);
	free(p);
}
