/* SPDX-License-Identifier: MIT */
/* Registration: who may become a member, in the order of coordinator 3. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "coord/registryint.h"

static void answer(struct reg_answer *out, enum reg_verdict verdict, const char *why)
{
	out->verdict = verdict;
	if (why)
		(void)snprintf(out->why, sizeof(out->why), "%s", why);
}

/* ---- auth keys ---- */

/* Where the parts of a key's text begin. */
enum { PREFIX_AT = 11, SECRET_AT = 24, SECRET_SIZE = 64, LEN_PLAIN = 88, LEN_FINGERPRINT = 121 };

/* Does the text name this server? A key that was cut off before its fingerprint passes: the secret counts. */
static bool names_us(const struct registry *r, const char *text, size_t len)
{
	char hex[2 * sizeof(r->cfg.fingerprint) + 1];

	if (len == LEN_PLAIN)
		return true;
	(void)sodium_bin2hex(hex, sizeof(hex), r->cfg.fingerprint, sizeof(r->cfg.fingerprint));
	return strcmp(text + LEN_PLAIN + 1, hex) == 0;
}

/* "hskey-auth-" + 12 hex + "-" + 64 hex [+ "-" + 32 hex] */
static struct reg_key *find_key(const struct registry *r, const char *text)
{
	size_t len = strlen(text);
	struct reg_key *found = NULL;
	uint8_t secret[32], hash[32];
	size_t bin = 0;

	if (!registry_is_key_text(text) || (len != LEN_PLAIN && len != LEN_FINGERPRINT) || text[23] != '-' ||
	    (len == LEN_FINGERPRINT && text[LEN_PLAIN] != '-') || !names_us(r, text, len))
		return NULL;
	if (sodium_hex2bin(secret, sizeof(secret), text + SECRET_AT, SECRET_SIZE, NULL, &bin, NULL) != 0 ||
	    bin != sizeof(secret)) {
		sodium_memzero(secret, sizeof(secret));
		return NULL;
	}
	(void)crypto_hash_sha256(hash, secret, sizeof(secret));
	for (size_t i = 0; i < r->n_keys; i++) {
		/* The prefix is public; only the secret is compared in constant time. */
		if (strncmp(r->keys[i]->prefix, text + PREFIX_AT, REG_KEY_PREFIX) == 0 &&
		    sodium_memcmp(r->keys[i]->hash, hash, sizeof(hash)) == 0)
			found = r->keys[i];
	}
	sodium_memzero(secret, sizeof(secret));
	sodium_memzero(hash, sizeof(hash));
	return found;
}

/* Null when the key may be used now. */
static const char *key_problem(const struct registry *r, const struct reg_key *k)
{
	if (!k)
		return "invalid auth key";
	if (k->revoked)
		return "auth key revoked";
	if (k->expires_s && k->expires_s <= reg_wall_s(r))
		return "auth key expired";
	if (k->used && !k->reusable)
		return "auth key already used";
	return NULL;
}

static bool has_tag(char *const *tags, size_t n, const char *tag)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(tags[i], tag) == 0)
			return true;
	return false;
}

/* ---- nodes ---- */

/* The machine's node of the same owner; 'user' 0 = tagged. */
static struct reg_node *machine_node(const struct registry *r, const struct machine_key *machine, int64_t user)
{
	for (size_t i = 0; i < r->n_nodes; i++)
		if (r->nodes[i]->user == user && machine_key_eq(&r->nodes[i]->machine, machine))
			return r->nodes[i];
	return NULL;
}

struct owner {
	int64_t user;      /* 0 = tagged */
	char *const *tags;
	size_t n_tags;
	bool ephemeral;
	const struct reg_key *key;
};

static int64_t expiry_for(const struct registry *r, const struct owner *o, const struct reg_request *req)
{
	int64_t at = r->cfg.node_expiry_s ? reg_wall_s(r) + r->cfg.node_expiry_s : 0;

	if (req->own || o->user == 0)
		return 0;
	if (req->expiry_s && (!at || req->expiry_s < at))
		at = req->expiry_s; /* a client may ask for less */
	return at;
}

static bool take_host(struct registry *r, struct mono now, struct reg_node *n, const struct reg_request *req)
{
	const struct reg_update u = { .host = req->host, .cap = req->cap };

	return registry_update(r, now, n, &u);
}

int reg_copy_host(struct hostinfo *to, const struct hostinfo *from)
{
	struct hostinfo cut = *from; /* borrows everything */

	if (cut.n_routable_ips > REG_ROUTES_MAX)
		cut.n_routable_ips = REG_ROUTES_MAX;
	if (cut.n_request_tags > REG_TAGS_MAX)
		cut.n_request_tags = REG_TAGS_MAX;
	return hostinfo_copy(to, &cut);
}

static struct reg_node *create_node(struct registry *r, const struct owner *o, const struct reg_request *req)
{
	struct reg_node *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->id = r->next_node;
	n->machine = req->machine;
	n->key = req->key;
	n->user = o->user;
	n->tags = reg_tags_dup(o->tags, o->n_tags);
	n->n_tags = o->n_tags;
	n->ephemeral = o->ephemeral;
	n->own = req->own;
	n->by_key = o->key != NULL;
	n->auth_key = o->key ? o->key->id : 0;
	n->cap = req->cap;
	n->created_s = reg_wall_s(r);
	n->last_seen_s = n->created_s;
	n->expiry_s = expiry_for(r, o, req);
	if (req->host)
		n->home_derp = req->host->preferred_derp;
	n->name = reg_unique_name(r, req->host && req->host->hostname ? req->host->hostname : "", NULL);
	if ((o->n_tags && !n->tags) || !n->name || (req->host && reg_copy_host(&n->host, req->host) != 0)) {
		if (!n->tags)
			n->n_tags = 0;
		reg_node_free(n);
		return NULL;
	}
	return n;
}

/* A new node with addresses, in all indexes, its row queued. */
static void admit_new(struct registry *r, struct mono now, const struct owner *o, const struct reg_request *req, struct reg_answer *out)
{
	struct reg_node *n;
	struct ip ip4, ip6;

	if (r->n_nodes >= REG_NODES_MAX) {
		answer(out, REG_FULL, "the mesh is full: too many nodes");
		return;
	}
	if (!reg_alloc_ips(r, &ip4, &ip6)) {
		answer(out, REG_FULL, "no address is left in the pool");
		return;
	}
	n = create_node(r, o, req);
	if (n) {
		n->ip4 = ip4;
		n->ip6 = ip6;
	}
	if (!n || reg_insert_node(r, n) != 0) {
		reg_node_free(n);
		answer(out, REG_NOMEM, NULL);
		return;
	}
	r->next_node++;
	r->counters_dirty = true;
	/* Deleted again unless it polls: a one-shot container that dies at once. */
	if (n->ephemeral)
		n->ephemeral_at = mono_add_s(now, REG_EPHEMERAL_S);
	n->joined = r->ticket + 1;
	if (!reg_save_node(r, n)) {
		if (registry_delete(r, n) == 0)
			n = NULL;
		answer(out, REG_NOMEM, NULL);
		return;
	}
	out->node = n;
	out->created = out->changed = true;
	out->verdict = REG_OK;
}

/* The same machine and owner again: a new node key, everything else stays. */
static void admit_again(struct registry *r, struct mono now, struct reg_node *n, const struct owner *o, const struct reg_request *req,
			struct reg_answer *out)
{
	if (!reg_rekey(r, n, &req->key)) {
		answer(out, REG_NOMEM, NULL);
		return;
	}
	reg_event(r, &n->key, true);
	n->expiry_s = expiry_for(r, o, req);
	n->own |= req->own;
	n->ephemeral = o->ephemeral;
	if (o->key) {
		n->by_key = true;
		n->auth_key = o->key->id;
	}
	(void)take_host(r, now, n, req);
	reg_touch(r, n);
	n->joined = r->ticket + 1;
	out->node = n;
	out->changed = true;
	answer(out, reg_save_node(r, n) ? REG_OK : REG_NOMEM, NULL);
}

static void admit(struct registry *r, struct mono now, const struct owner *o, const struct reg_request *req, struct reg_answer *out)
{
	struct reg_node *n = machine_node(r, &req->machine, o->user);

	if (n)
		admit_again(r, now, n, o, req, out);
	else
		admit_new(r, now, o, req, out);
}

/* ---- the ways in ---- */

static void log_out(struct registry *r, struct reg_node *n, const struct reg_request *req, struct reg_answer *out)
{
	answer(out, REG_KEY_EXPIRED, NULL);
	if (!n || !machine_key_eq(&n->machine, &req->machine))
		return; /* nothing to do, and nothing to tell */
	out->changed = true;
	if (n->ephemeral) {
		if (registry_delete(r, n) != 0)
			answer(out, REG_NOMEM, NULL);
		return;
	}
	n->expiry_s = reg_wall_s(r);
	reg_event(r, &n->key, false);
	reg_touch(r, n);
	out->node = n;
	if (!reg_save_node(r, n))
		answer(out, REG_NOMEM, NULL);
}

/* A node that is known by its node key comes again. */
static void known(struct registry *r, struct mono now, struct reg_node *n, const struct reg_request *req,
		  struct reg_answer *out)
{
	if (reg_node_expired(n, reg_wall_s(r))) {
		answer(out, REG_KEY_EXPIRED, NULL);
		out->node = n;
		return;
	}
	if (req->expiry_s > reg_wall_s(r) && req->expiry_s != n->expiry_s) {
		answer(out, REG_REFUSED, "extending key is not allowed");
		return;
	}
	out->changed = take_host(r, now, n, req);
	out->node = n;
	out->verdict = REG_OK;
}

static bool tags_within(const struct reg_key *k, const struct hostinfo *host)
{
	for (size_t i = 0; host && i < host->n_request_tags; i++)
		if (!has_tag(k->tags, k->n_tags, host->request_tags[i]))
			return false;
	return true;
}

static void by_auth_key(struct registry *r, struct mono now, struct reg_node *have, const struct reg_request *req,
			struct reg_answer *out)
{
	struct reg_key *k = find_key(r, req->auth_key);
	const char *problem = key_problem(r, k);
	struct owner o = { 0 };

	if (have && reg_node_expired(have, reg_wall_s(r))) {
		answer(out, REG_KEY_EXPIRED, NULL);
		out->node = have;
		return;
	}
	if (k) {
		o.user = k->n_tags ? 0 : k->user;
		o.tags = k->tags;
		o.n_tags = k->n_tags;
		o.ephemeral = k->ephemeral;
		o.key = k;
	}
	/* Containers repeat their first key at every start: a valid node needs none. */
	if (have && (!k || have->user == o.user)) {
		known(r, now, have, req, out);
		return;
	}
	if (problem) {
		answer(out, REG_REFUSED, problem);
		return;
	}
	if (!tags_within(k, req->host)) {
		answer(out, REG_REFUSED, "requested tags are not permitted: an auth key brings its own tags");
		return;
	}
	if (have) {
		answer(out, REG_REFUSED, "this node belongs to another user: log out first");
		return;
	}
	admit(r, now, &o, req, out);
	if (out->verdict != REG_OK)
		return;
	if (!k->used) {
		k->used = true;
		if (!reg_save_key(r, k))
			answer(out, REG_NOMEM, NULL);
	}
}

static void own_node(struct registry *r, struct mono now, const struct reg_request *req, struct reg_answer *out)
{
	const struct reg_user *u;
	struct owner o = { 0 };

	/* The coordinator's own node keeps its owner, whoever that became. */
	for (size_t i = 0; i < r->n_nodes; i++) {
		struct reg_node *n = r->nodes[i];

		if (!machine_key_eq(&n->machine, &req->machine))
			continue;
		o.user = n->user;
		admit_again(r, now, n, &o, req, out);
		return;
	}
	if (registry_add_user(r, "admin", &u) != 0) {
		answer(out, REG_NOMEM, NULL);
		return;
	}
	o.user = u->id;
	admit_new(r, now, &o, req, out);
}

static void remove_pending(struct registry *r, size_t i)
{
	reg_pending_free(r->pending[i]);
	memmove(r->pending + i, r->pending + i + 1, (r->n_pending - i - 1) * sizeof(*r->pending));
	r->n_pending--;
}

/* Room for one more login: a machine that asks again and again displaces its own, and all of them together the oldest. */
static void displace_pending(struct registry *r, const struct machine_key *machine)
{
	size_t n = 0, oldest = r->n_pending;

	for (size_t i = r->n_pending; i-- > 0;) {
		if (!machine_key_eq(&r->pending[i]->machine, machine))
			continue;
		n++;
		oldest = i;
	}
	if (n >= REG_PENDING_MACHINE_MAX)
		remove_pending(r, oldest);
	else if (r->n_pending >= REG_PENDING_MAX)
		remove_pending(r, 0);
}

static void start_pending(struct registry *r, struct mono now, const struct reg_request *req, struct reg_answer *out)
{
	struct reg_pending *p = NULL;
	uint8_t id[12];

	/* The same node asks again: the same page. */
	for (size_t i = 0; i < r->n_pending && !p; i++)
		if (node_key_eq(&r->pending[i]->key, &req->key) && machine_key_eq(&r->pending[i]->machine, &req->machine))
			p = r->pending[i];
	if (!p) {
		displace_pending(r, &req->machine);
		p = calloc(1, sizeof(*p));
		if (!p || (req->host && reg_copy_host(&p->host, req->host) != 0) ||
		    !REG_PUSH(r->pending, r->n_pending, p)) {
			reg_pending_free(p);
			answer(out, REG_NOMEM, NULL);
			return;
		}
		env_fill(r->env, id, sizeof(id));
		(void)sodium_bin2hex(p->id, sizeof(p->id), id, sizeof(id));
		p->machine = req->machine;
		p->key = req->key;
		p->expiry_s = req->expiry_s;
		p->cap = req->cap;
		p->until = mono_add_s(now, REG_PENDING_LIFE_S);
	}
	out->pending = p;
	out->verdict = REG_PENDING;
}

void registry_register(struct registry *r, struct mono now, const struct reg_request *req, struct reg_answer *out)
{
	struct reg_node *have = registry_node_by_key(r, &req->key);
	const struct reg_pending *p;

	memset(out, 0, sizeof(*out));
	if (key_is_zero(req->key.b)) {
		answer(out, REG_REFUSED, "node key is missing");
		return;
	}
	if (req->logout) {
		log_out(r, have, req, out);
		return;
	}
	if (have && !machine_key_eq(&have->machine, &req->machine)) {
		answer(out, REG_REFUSED, "node key already in use by another machine");
		return;
	}
	if (req->auth_key && *req->auth_key) {
		by_auth_key(r, now, have, req, out);
		return;
	}
	if (have && !(req->own && reg_node_expired(have, reg_wall_s(r)))) {
		known(r, now, have, req, out);
		return;
	}
	if (req->own && !have) {
		own_node(r, now, req, out);
		return;
	}
	if (have) { /* own and logged out: it must come with a new key */
		answer(out, REG_KEY_EXPIRED, NULL);
		out->node = have;
		return;
	}
	p = req->followup_id && *req->followup_id ? registry_pending(r, req->followup_id) : NULL;
	if (p && node_key_eq(&p->key, &req->key) && machine_key_eq(&p->machine, &req->machine)) {
		out->pending = p;
		out->verdict = REG_PENDING;
		return;
	}
	start_pending(r, now, req, out);
}

/* ---- approval ---- */

const struct reg_pending *registry_pending(const struct registry *r, const char *id)
{
	for (size_t i = 0; i < r->n_pending; i++)
		if (strcmp(r->pending[i]->id, id) == 0)
			return r->pending[i];
	return NULL;
}

size_t registry_n_pending(const struct registry *r)
{
	return r->n_pending;
}

const struct reg_pending *registry_pending_at(const struct registry *r, size_t i)
{
	return r->pending[i];
}

static void forget_pending(struct registry *r, const char *id)
{
	for (size_t i = 0; i < r->n_pending; i++) {
		if (strcmp(r->pending[i]->id, id) != 0)
			continue;
		remove_pending(r, i);
		return;
	}
}

int registry_approve(struct registry *r, struct mono now, const char *id, int64_t user, struct reg_node **out)
{
	const struct reg_pending *p = registry_pending(r, id);
	const struct owner o = { .user = user };
	struct reg_request req = { 0 };
	struct reg_answer a = { 0 };
	struct reg_node *have;

	if (!p)
		return -ENOENT;
	have = registry_node_by_key(r, &p->key);
	if (have && !machine_key_eq(&have->machine, &p->machine))
		return -EPROTO;
	req.machine = p->machine;
	req.key = p->key;
	req.host = &p->host;
	req.expiry_s = p->expiry_s;
	req.cap = p->cap;
	admit(r, now, &o, &req, &a);
	if (a.verdict == REG_FULL)
		return -ENOSPC;
	if (a.verdict != REG_OK)
		return -ENOMEM;
	forget_pending(r, id);
	*out = a.node;
	return 0;
}
