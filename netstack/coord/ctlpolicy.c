/* SPDX-License-Identifier: MIT */
/* The control server's policy: loading, the first one, replacing it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "coord/ctlint.h"
#include "wire/json.h"

/* Takes 'text' (owned from here) as revision 'id'; 'p' may be null. */
static void adopt(struct ctlserver *s, struct policyfile *p, char *text, int64_t id)
{
	policyfile_free(s->policy);
	free(s->policy_text);
	s->policy = p;
	s->policy_text = text;
	s->policy_revision = id;
	s->view_stale = true;
}

static int save_policy(struct ctlserver *s, int64_t id, const char *text)
{
	struct json_w w = { 0 };
	size_t size;
	char *row;
	int err;

	json_w_obj(&w, NULL);
	json_w_str(&w, "Text", text);
	json_w_i64(&w, "Created", env_wall_ns(s->env) / INT64_C(1000000000));
	json_w_end(&w);
	row = json_w_take(&w, &size);
	if (!row)
		return -ENOMEM;
	err = registry_write(s->reg, REG_POLICIES, id, row);
	free(row);
	if (!err && id > CTL_POLICIES_KEPT)
		err = registry_write(s->reg, REG_POLICIES, id - CTL_POLICIES_KEPT, NULL);
	return err;
}

/* A row of the table of policies: the highest revision wins. */
static int load_policy(struct ctlserver *s, int64_t id, const char *data)
{
	struct json_err why;
	cJSON *v = json_parse(data, strlen(data), 0, &why);
	struct json_in in = { 0 };
	char *text;

	if (!v)
		return json_err_code(&why);
	text = json_dup(&in, v, "Text");
	cJSON_Delete(v);
	if (in.err || id < 1) {
		free(text);
		return in.err == -ENOMEM ? -ENOMEM : -EBADMSG;
	}
	if (id < s->policy_revision) {
		free(text);
		return 0;
	}
	adopt(s, NULL, text, id); /* parsed by ctlserver_start(), once */
	return 0;
}

int ctlserver_load(struct ctlserver *s, struct mono now, enum reg_table table, int64_t id, const char *data)
{
	switch (table) {
	case REG_USERS:
	case REG_NODES:
	case REG_KEYS:
		return registry_load(s->reg, table, id, data, now);
	case REG_POLICIES:
		return load_policy(s, id, data);
	case REG_SETTINGS:
		return id == REG_SET_COUNTERS ? registry_load(s->reg, table, id, data, now) : 0;
	}
	return -EBADMSG;
}

int ctlserver_start(struct ctlserver *s, struct mono now)
{
	struct policy_errs errs;
	struct policyfile *p = NULL;
	int err;

	(void)now;
	if (!s->policy_revision) {
		char *text = strdup(policyfile_default);

		if (!text)
			return -ENOMEM;
		adopt(s, NULL, text, 1);
		err = save_policy(s, 1, text);
		if (err)
			return err;
	}
	err = policyfile_parse(&p, s->policy_text, strlen(s->policy_text), &errs);
	if (err == -ENOMEM)
		return err;
	if (err)
		log_error(s->env->log, "coord: policy revision %lld: %u:%u: %s: everything is denied until "
				       "`meshctl coordinator policy set`",
			  (long long)s->policy_revision, errs.list[0].line, errs.list[0].col, errs.list[0].msg);
	s->policy = p;
	return 0;
}

const struct policyfile *ctlserver_policy(const struct ctlserver *s)
{
	return s->policy;
}

const char *ctlserver_policy_text(const struct ctlserver *s, int64_t *revision)
{
	*revision = s->policy_revision;
	return s->policy_text ? s->policy_text : "";
}

/* Users and nodes as the policy sees them, only for checking: routes as approved. */
struct scratch {
	struct policy_world w;
	struct policy_user *users;
	struct policy_node *nodes;
	struct prefix *routes;
};

static void scratch_free(struct scratch *t)
{
	free(t->users);
	free(t->nodes);
	free(t->routes);
}

static bool scratch_init(struct scratch *t, const struct registry *r)
{
	size_t n = registry_n_nodes(r), n_users = registry_n_users(r), n_routes = 0, at = 0;

	for (size_t i = 0; i < n; i++)
		n_routes += registry_node_at(r, i)->n_approved;
	t->users = calloc(n_users + 1, sizeof(*t->users));
	t->nodes = calloc(n + 1, sizeof(*t->nodes));
	t->routes = calloc(n_routes + REG_ROUTES_MAX, sizeof(*t->routes));
	if (!t->users || !t->nodes || !t->routes)
		return false;
	for (size_t i = 0; i < n_users; i++) {
		const struct reg_user *u = registry_user_at(r, i);

		t->users[i] = (struct policy_user){ u->id, u->name, u->email };
	}
	for (size_t i = 0; i < n; i++) {
		const struct reg_node *m = registry_node_at(r, i);
		struct policy_node *p = &t->nodes[i];

		*p = (struct policy_node){ .id = m->id, .user = m->user, .ip4 = m->ip4, .ip6 = m->ip6, .tags = m->tags,
					   .n_tags = m->n_tags, .peer_relay = m->host.peer_relay };
		p->routes = t->routes + at;
		p->n_routes = reg_node_routes(m, t->routes + at);
		at += p->n_routes;
	}
	t->w = (struct policy_world){ t->users, n_users, t->nodes, n };
	return true;
}

static int count_lost(const struct ctlserver *s, const struct policyfile *next, const struct policy_world *w,
		      size_t *lost)
{
	struct policyset *before = NULL, *after = NULL;
	int err = 0;

	*lost = 0;
	if (s->policy)
		err = policyfile_compile(&before, s->policy, w);
	if (!err)
		err = policyfile_compile(&after, next, w);
	if (!err && before)
		*lost = policyset_lost_pairs(before, after);
	policyset_free(before);
	policyset_free(after);
	return err;
}

int ctlserver_set_policy(struct ctlserver *s, struct mono now, const char *text, size_t size, bool dry,
			 struct policy_errs *errs, size_t *lost)
{
	struct policyfile *p = NULL;
	struct scratch t = { 0 };
	char *copy = NULL;
	int err = policyfile_parse(&p, text, size, errs);

	(void)now;
	if (err)
		return err;
	err = scratch_init(&t, s->reg) ? policyfile_test(p, &t.w, errs) : -ENOMEM;
	if (!err)
		err = count_lost(s, p, &t.w, lost);
	scratch_free(&t);
	if (!err && !dry) {
		copy = malloc(size + 1);
		err = copy ? 0 : -ENOMEM;
	}
	if (copy) {
		memcpy(copy, text, size);
		copy[size] = '\0';
		err = save_policy(s, s->policy_revision + 1, copy);
	}
	if (err || dry) {
		policyfile_free(p);
		free(copy);
		return err;
	}
	adopt(s, p, copy, s->policy_revision + 1);
	return 0;
}
