/* SPDX-License-Identifier: MIT */
/* The control server: life, outputs, registration. Polls are in ctlstream.c, the policy in ctlpolicy.c. */
#include "coord/ctlserver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/log.h"
#include "coord/ctlint.h"
#include "wire/ctljson.h"

/* ---- outputs ---- */

static struct ctl_queued *push(struct ctlserver *s)
{
	struct ctl_queued *q = calloc(1, sizeof(*q));

	if (!q) {
		log_error(s->env->log, "coord: answer: out of memory");
		return NULL;
	}
	if (s->last)
		s->last->next = q;
	else
		s->first = q;
	s->last = q;
	return q;
}

/* Outputs that belong to no request. */
static bool is_own_kind(enum ctlserver_out_kind kind)
{
	return kind == CTLSERVER_BATCH || kind == CTLSERVER_ADMIT || kind == CTLSERVER_KICK;
}

struct ctl_queued *ctl_push(struct ctlserver *s, enum ctlserver_out_kind kind, uint64_t id, unsigned status, const char *type,
	      const void *data, size_t size)
{
	uint8_t *copy = size ? malloc(size) : NULL;
	struct ctl_queued *q = size && !copy ? NULL : push(s);

	if (!q) {
		free(copy);
		return NULL;
	}
	if (size)
		memcpy(copy, data, size);
	q->data = copy;
	q->out = (struct ctlserver_out){ .kind = kind, .id = id, .status = status, .type = type, .data = copy,
					 .size = size };
	if (is_own_kind(kind) && size == sizeof(q->out.key))
		memcpy(&q->out.key, data, size);
	return q;
}

void ctl_respond(struct ctlserver *s, uint64_t id, unsigned status, const char *text)
{
	(void)ctl_push(s, CTLSERVER_RESPOND, id, status, "text/plain; charset=utf-8", text, strlen(text));
}

static void queued_free(struct ctl_queued *q)
{
	if (!q)
		return;
	reg_batch_wipe(&q->batch);
	free(q->data);
	free(q);
}

static void waiter_free(struct ctl_waiter *w)
{
	free(w->body);
	if (w->request) /* may hold an auth key */
		sodium_memzero(w->request, w->request_size);
	free(w->request);
	free(w);
}

/* ---- life ---- */

static int set_text(char **to, const char *from)
{
	char *copy = strdup(from);

	if (!copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

struct ctlserver *ctlserver_new(const struct ctlserver_cfg *cfg, const struct env *env)
{
	struct ctlserver *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->env = env;
	s->streams_due = s->expiry_at = MONO_NEVER;
	s->reg_cfg = (struct registry_cfg){ .pool4 = cfg->pool4, .pool6 = cfg->pool6,
					    .node_expiry_s = cfg->node_expiry_s };
	memcpy(s->reg_cfg.fingerprint, cfg->fingerprint, sizeof(cfg->fingerprint));
	s->reg = registry_new(&s->reg_cfg, env);
	if (!s->reg || ctlserver_configure(s, MONO_ZERO, cfg) != 0) {
		ctlserver_free(s);
		return NULL;
	}
	return s;
}

int ctlserver_configure(struct ctlserver *s, struct mono now, const struct ctlserver_cfg *cfg)
{
	struct derp_map derp = { 0 };

	(void)now;
	if (derp_map_copy(&derp, cfg->derp) != 0)
		return -ENOMEM;
	if (set_text(&s->url, cfg->url) != 0 || set_text(&s->domain, cfg->domain) != 0) {
		derp_map_wipe(&derp);
		return -ENOMEM;
	}
	derp_map_wipe(&s->derp);
	s->derp = derp;
	s->reg_cfg.pool4 = cfg->pool4;
	s->reg_cfg.pool6 = cfg->pool6;
	s->reg_cfg.node_expiry_s = cfg->node_expiry_s;
	memcpy(s->reg_cfg.fingerprint, cfg->fingerprint, sizeof(cfg->fingerprint));
	registry_configure(s->reg, &s->reg_cfg);
	s->view_stale = true;
	return 0;
}

void ctlserver_free(struct ctlserver *s)
{
	if (!s)
		return;
	while (s->streams)
		ctl_end_streams(s, MONO_ZERO, 0, s->streams->id, false);
	while (s->waiters) {
		struct ctl_waiter *w = s->waiters;

		s->waiters = w->next;
		waiter_free(w);
	}
	while (s->first) {
		struct ctl_queued *q = s->first;

		s->first = q->next;
		queued_free(q);
	}
	queued_free(s->given);
	mapview_free(s->view);
	registry_free(s->reg);
	policyfile_free(s->policy);
	free(s->policy_text);
	derp_map_wipe(&s->derp);
	free(s->url);
	free(s->domain);
	free(s);
}

/* ---- waiting answers ---- */

static struct ctl_waiter *add_waiter(struct ctlserver *s, uint64_t id, struct mono until)
{
	struct ctl_waiter *w = s->n_waiters < CTL_WAITERS_MAX ? calloc(1, sizeof(*w)) : NULL;

	if (!w)
		return NULL;
	w->id = id;
	w->until = until;
	w->next = s->waiters;
	s->waiters = w;
	s->n_waiters++;
	return w;
}

/* Unlinks the waiter at '*at'. */
static struct ctl_waiter *take_waiter(struct ctlserver *s, struct ctl_waiter **at)
{
	struct ctl_waiter *w = *at;

	*at = w->next;
	s->n_waiters--;
	return w;
}

/* Answers with JSON, once everything written so far is on disk. */
static void answer_durably(struct ctlserver *s, struct mono now, uint64_t id, struct json_w *json)
{
	uint64_t ticket = registry_ticket(s->reg);
	struct ctl_waiter *w;
	size_t size;
	char *text = json_w_take(json, &size);

	if (!text) {
		ctl_respond(s, id, 500, "out of memory\n");
		return;
	}
	if (registry_is_durable(s->reg, ticket)) {
		ctl_push(s, CTLSERVER_RESPOND, id, 200, "application/json", text, size);
		free(text);
		return;
	}
	w = add_waiter(s, id, mono_add_s(now, CTL_DURABLE_S));
	if (!w) {
		free(text);
		ctl_respond(s, id, 503, "too many requests are waiting\n");
		return;
	}
	w->ticket = ticket;
	w->status = 200;
	w->body = text;
}

void ctlserver_persisted(struct ctlserver *s, struct mono now, uint64_t ticket)
{
	struct ctl_waiter **at = &s->waiters;

	(void)now;
	registry_persisted(s->reg, ticket);
	while (*at) {
		struct ctl_waiter *w = *at;

		if (w->pending[0] || !registry_is_durable(s->reg, w->ticket)) {
			at = &w->next;
			continue;
		}
		w = take_waiter(s, at);
		ctl_push(s, CTLSERVER_RESPOND, w->id, w->status, "application/json", w->body, strlen(w->body));
		waiter_free(w);
	}
}

/* ---- registration ---- */

static void write_member(const struct ctlserver *s, const struct reg_node *n, struct json_w *w)
{
	const struct reg_user *u = registry_user_by_id(s->reg, n->user);
	char login[] = "tagged-devices", display[] = "Tagged Devices";
	struct ctl_register_response r = { .machine_authorized = true };

	r.user_id = n->user ? n->user : REG_TAGGED_USER;
	r.user_name = u ? u->display : display;
	r.login_name = u ? (*u->email ? u->email : u->name) : login;
	ctl_register_response_write(w, &r);
}

static void answer_register(struct ctlserver *s, struct mono now, uint64_t id, const struct reg_answer *a)
{
	struct ctl_register_response r = { 0 };
	struct json_w w = { 0 };
	char url[600];

	switch (a->verdict) {
	case REG_OK:
		write_member(s, a->node, &w);
		break;
	case REG_KEY_EXPIRED:
		r.node_key_expired = true;
		ctl_register_response_write(&w, &r);
		break;
	case REG_REFUSED:
	case REG_FULL:
		r.error = (char *)(uintptr_t)a->why;
		ctl_register_response_write(&w, &r);
		break;
	case REG_PENDING:
		(void)snprintf(url, sizeof(url), "%s/register/%s", s->url, a->pending->id);
		r.auth_url = url;
		ctl_register_response_write(&w, &r);
		break;
	case REG_NOMEM:
		ctl_respond(s, id, 500, "out of memory\n");
		return;
	}
	answer_durably(s, now, id, &w);
}

static void log_register(const struct ctlserver *s, const struct ctlserver_req *req, const struct reg_answer *a)
{
	char key[KEY_SHORT_MAX], from[EP_TEXT_MAX];

	key_short(key, KEY_MACHINE, req->machine.b);
	(void)ep_write(from, &req->from);
	if (a->verdict == REG_REFUSED || a->verdict == REG_FULL)
		log_info(s->env->log, "coord: register: machine %s at %s: %s", key, from, a->why);
	else if (a->created)
		log_info(s->env->log, "coord: register: node %s (%lld) joined from %s", a->node->name,
			 (long long)a->node->id, from);
	else if (a->verdict == REG_PENDING)
		log_info(s->env->log, "coord: register: machine %s at %s waits for approval: %s", key, from,
			 a->pending->id);
}

/* A login has one follow-up at a time: a later one (of a connection that came after a lost one) replaces it. */
static void end_followup(struct ctlserver *s, struct mono now, const struct reg_answer *a)
{
	struct ctl_waiter **at = &s->waiters;

	while (*at && strcmp((*at)->pending, a->pending->id) != 0)
		at = &(*at)->next;
	if (*at) {
		struct ctl_waiter *w = take_waiter(s, at);

		answer_register(s, now, w->id, a);
		waiter_free(w);
	}
}

/* The follow-up request waits until its login is decided; see rerun_followups(). */
static void wait_followup(struct ctlserver *s, struct mono now, const struct ctlserver_req *req,
			  const struct reg_answer *a)
{
	struct ctl_waiter *w;

	end_followup(s, now, a);
	w = add_waiter(s, req->id, mono_add_s(now, CTLSERVER_FOLLOWUP_S));
	if (!w || !(w->request = malloc(req->body_size ? req->body_size : 1))) {
		if (w)
			waiter_free(take_waiter(s, &s->waiters));
		ctl_respond(s, req->id, 503, "too many logins are waiting\n");
		return;
	}
	memcpy(w->request, req->body, req->body_size);
	w->request_size = req->body_size;
	w->machine = req->machine;
	w->version = req->version;
	memcpy(w->pending, a->pending->id, sizeof(w->pending));
}

static const char *followup_id(const char *url)
{
	const char *slash = strrchr(url, '/');

	return slash ? slash + 1 : "";
}

static void fill_request(const struct ctlserver *s, const struct ctlserver_req *req,
			 const struct ctl_register_request *m, struct reg_request *out)
{
	int64_t wall = env_wall_ns(s->env) / INT64_C(1000000000);

	*out = (struct reg_request){ .machine = req->machine, .key = m->node, .auth_key = m->auth_key,
				     .host = m->has_host ? &m->host : NULL, .cap = m->version,
				     .followup_id = followup_id(m->followup), .own = req->own };
	if (m->has_expiry && m->expiry_s <= wall)
		out->logout = true;
	else if (m->has_expiry)
		out->expiry_s = m->expiry_s;
}

static void do_register(struct ctlserver *s, struct mono now, const struct ctlserver_req *req)
{
	struct ctl_register_request m;
	struct ctl_why why = { { 0 } };
	struct reg_request q;
	struct reg_answer a;
	struct reg_node *n;
	int err = ctl_register_request_parse(&m, (const char *)req->body, req->body_size, &why);

	if (err) {
		ctl_respond(s, req->id, err == -ENOMEM ? 500 : 400, why.text[0] ? why.text : "bad register request\n");
		return;
	}
	if (m.version < CTLSERVER_VERSION_MIN || req->version < CTLSERVER_VERSION_MIN) {
		/* Before any state changes: a single-use key is not spent on a client that can't go on. */
		ctl_respond(s, req->id, 400, "unsupported client version: update the client\n");
		ctl_register_request_wipe(&m);
		return;
	}
	fill_request(s, req, &m, &q);
	n = q.logout ? registry_node_by_key(s->reg, &m.node) : NULL;
	if (n && machine_key_eq(&n->machine, &req->machine))
		ctl_end_streams(s, now, n->id, 0, true);
	registry_register(s->reg, now, &q, &a);
	log_register(s, req, &a);
	if (a.verdict == REG_PENDING && *q.followup_id && strcmp(q.followup_id, a.pending->id) == 0)
		wait_followup(s, now, req, &a);
	else
		answer_register(s, now, req->id, &a);
	ctl_register_request_wipe(&m);
}

/* Runs follow-ups again whose login was approved or forgotten. */
static void rerun_followups(struct ctlserver *s, struct mono now)
{
	struct ctl_waiter **at = &s->waiters;

	while (*at) {
		struct ctl_waiter *w = *at;
		struct ctlserver_req req = { 0 };

		if (!w->pending[0] || registry_pending(s->reg, w->pending)) {
			at = &w->next;
			continue;
		}
		w = take_waiter(s, at);
		req.id = w->id;
		req.body = (const uint8_t *)w->request;
		req.body_size = w->request_size;
		req.machine = w->machine;
		req.version = w->version;
		do_register(s, now, &req);
		waiter_free(w);
		at = &s->waiters; /* the list may have changed */
	}
}

/* ---- requests ---- */

static bool path_is(const char *path, const char *want)
{
	size_t n = strlen(want);

	return strncmp(path, want, n) == 0 && (path[n] == '\0' || path[n] == '?');
}

void ctlserver_request(struct ctlserver *s, struct mono now, const struct ctlserver_req *req)
{
	static const char *const later[] = { "/machine/set-dns", "/machine/audit-log", "/machine/id-token",
					     "/machine/feature/query", "/machine/update-health",
					     "/machine/set-device-attr" };
	static const char no_check[] = "{\"reject\":true,\"message\":\"This coordinator has no SSH check mode.\\n\"}";
	bool post = strcmp(req->method, "POST") == 0;

	if (req->body_size > CTLSERVER_BODY_MAX) {
		ctl_respond(s, req->id, 413, "request is too large\n");
		return;
	}
	if (post && path_is(req->path, "/machine/register")) {
		do_register(s, now, req);
		return;
	}
	if (post && path_is(req->path, "/machine/map")) {
		ctl_map(s, now, req);
		return;
	}
	if (strncmp(req->path, "/machine/ssh/action/", 20) == 0) {
		ctl_push(s, CTLSERVER_RESPOND, req->id, 200, "application/json", no_check, sizeof(no_check) - 1);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(later); i++) {
		if (path_is(req->path, later[i])) {
			ctl_respond(s, req->id, 501, "not implemented\n");
			return;
		}
	}
	if (path_is(req->path, "/machine/register") || path_is(req->path, "/machine/map"))
		ctl_respond(s, req->id, 405, "POST required\n");
	else
		ctl_respond(s, req->id, 404, "404 page not found\n");
}

/* Forgets the requests whose id is 'id' under 'mask'. */
static void forget(struct ctlserver *s, struct mono now, uint64_t id, uint64_t mask)
{
	struct ctl_waiter **at = &s->waiters;

	for (struct ctl_stream *st = s->streams, *next; st; st = next) {
		next = st->next;
		if ((st->id & mask) == id)
			ctl_end_streams(s, now, 0, st->id, false);
	}
	while (*at) {
		if (((*at)->id & mask) == id)
			waiter_free(take_waiter(s, at));
		else
			at = &(*at)->next;
	}
	for (struct ctl_queued *q = s->first; q; q = q->next)
		if (!is_own_kind(q->out.kind) && (q->out.id & mask) == id)
			q->out.id = 0; /* nobody wants it: skipped by poll */
}

void ctlserver_request_closed(struct ctlserver *s, struct mono now, uint64_t id)
{
	forget(s, now, id, UINT64_MAX);
}

void ctlserver_connection_closed(struct ctlserver *s, struct mono now, uint32_t conn)
{
	forget(s, now, (uint64_t)conn << 32, (uint64_t)UINT32_MAX << 32);
}

/* ---- the machine ---- */

/* Without memory for it the batch stays where it is, and what waits for its ticket waits on. */
static void take_batch(struct ctlserver *s, struct mono now)
{
	struct ctl_queued *q = registry_has_batch(s->reg, now) ? push(s) : NULL;

	if (!q)
		return;
	q->out = (struct ctlserver_out){ .kind = CTLSERVER_BATCH, .batch = &q->batch };
	if (!registry_take_batch(s->reg, now, &q->batch))
		q->out = (struct ctlserver_out){ .kind = CTLSERVER_RESPOND }; /* for nobody: skipped by poll */
}

bool ctlserver_poll(struct ctlserver *s, struct mono now, struct ctlserver_out *out)
{
	struct node_key key;
	bool member;

	queued_free(s->given);
	s->given = NULL;
	/* Before the streams, which find out who has expired: a row that was loaded may be of such a node. */
	while (registry_take_event(s->reg, &key, &member))
		ctl_push(s, member ? CTLSERVER_ADMIT : CTLSERVER_KICK, 0, 0, NULL, &key, sizeof(key));
	ctl_run_streams(s, now);
	take_batch(s, now);
	while (s->first) {
		struct ctl_queued *q = s->first;

		s->first = q->next;
		if (!s->first)
			s->last = NULL;
		if (q->out.id == 0 && !is_own_kind(q->out.kind)) {
			queued_free(q);
			continue;
		}
		s->given = q;
		*out = q->out;
		return true;
	}
	return false;
}

struct mono ctlserver_deadline(const struct ctlserver *s)
{
	struct mono at = mono_min(registry_deadline(s->reg), ctl_streams_deadline(s));

	if (s->first)
		return MONO_ZERO;
	for (const struct ctl_waiter *w = s->waiters; w; w = w->next)
		at = mono_min(at, w->until);
	return at;
}

/* Waited long enough: the disk does not answer, or nobody approved. */
static void tick_waiters(struct ctlserver *s, struct mono now)
{
	struct ctl_waiter **at = &s->waiters;

	while (*at) {
		struct ctl_waiter *w = *at;

		if (!mono_due(w->until, now)) {
			at = &w->next;
			continue;
		}
		w = take_waiter(s, at);
		if (w->pending[0]) {
			const struct reg_pending *p = registry_pending(s->reg, w->pending);
			struct reg_answer a = { .verdict = REG_PENDING, .pending = p };

			if (p)
				answer_register(s, now, w->id, &a);
		} else {
			ctl_respond(s, w->id, 503, "the coordinator can not write its database\n");
		}
		waiter_free(w);
		at = &s->waiters;
	}
}

void ctlserver_tick(struct ctlserver *s, struct mono now)
{
	(void)registry_tick(s->reg, now);
	rerun_followups(s, now);
	tick_waiters(s, now);
	ctl_tick_streams(s, now);
}

/* ---- others ---- */

void ctlserver_preferred(struct ctlserver *s, struct mono now, const struct node_key *key, uint32_t region)
{
	const struct reg_update u = { .home_derp = region };
	struct reg_node *n = registry_node_by_key(s->reg, key);

	if (n)
		(void)registry_update(s->reg, now, n, &u);
}

bool ctlserver_is_member(const struct ctlserver *s, const struct node_key *key)
{
	const struct reg_node *n = registry_node_by_key(s->reg, key);

	return n && !reg_node_expired(n, env_wall_ns(s->env) / INT64_C(1000000000));
}

struct registry *ctlserver_registry(struct ctlserver *s)
{
	return s->reg;
}

void ctlserver_changed(struct ctlserver *s, struct mono now)
{
	rerun_followups(s, now);
}

void ctlserver_drop_node(struct ctlserver *s, struct mono now, int64_t node)
{
	ctl_end_streams(s, now, node, 0, true);
}

size_t ctlserver_n_streams(const struct ctlserver *s)
{
	return s->n_streams;
}

const struct log *ctlserver_log(const struct ctlserver *s)
{
	return s->env->log;
}
