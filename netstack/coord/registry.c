/* SPDX-License-Identifier: MIT */
/* The registry: see registry.h. Registration itself is in regjoin.c, rows are in regrows.c. */
#include "coord/registry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "coord/ipset.h"
#include "coord/registryint.h"

enum { ROW_KEY_LEN = 2 }; /* table and id */

static const char KEY_TEXT[] = "hskey-auth-";

bool reg_push(void ***list, size_t *n, void *item)
{
	if ((*n & (*n - 1)) == 0) {
		void **p = realloc(*list, (*n ? *n * 2 : 1) * sizeof(*p));

		if (!p)
			return false;
		*list = p;
	}
	(*list)[(*n)++] = item;
	return true;
}

static void remove_at(void **list, size_t *n, size_t at)
{
	memmove(list + at, list + at + 1, (*n - at - 1) * sizeof(*list));
	(*n)--;
}

/* ---- life ---- */

struct registry *registry_new(const struct registry_cfg *cfg, const struct env *env)
{
	struct registry *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->cfg = *cfg;
	r->env = env;
	r->next_user = r->next_key = r->next_node = 1;
	r->version = 1;
	r->lazy_at = MONO_NEVER;
	map_init(&r->by_key, KEY_SIZE, REG_NODES_MAX, env);
	map_init(&r->by_ip, sizeof(struct ip), 2 * (size_t)REG_NODES_MAX, env);
	map_init(&r->by_name, sizeof(struct reg_name), REG_NODES_MAX, env);
	/* Not bounded by itself: a row that is not queued would be lost. */
	map_init(&r->row_at, ROW_KEY_LEN * sizeof(int64_t), SIZE_MAX, env);
	return r;
}

int64_t registry_wall_s(const struct registry *r)
{
	return reg_wall_s(r);
}

void registry_configure(struct registry *r, const struct registry_cfg *cfg)
{
	r->cfg = *cfg;
}

void reg_tags_free(char **tags, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(tags[i]);
	free(tags);
}

char **reg_tags_dup(char *const *tags, size_t n)
{
	char **d = n ? calloc(n, sizeof(*d)) : NULL;

	for (size_t i = 0; d && i < n; i++) {
		d[i] = strdup(tags[i]);
		if (!d[i]) {
			reg_tags_free(d, i);
			return NULL;
		}
	}
	return d;
}

void reg_user_free(struct reg_user *u)
{
	if (!u)
		return;
	free(u->name);
	free(u->display);
	free(u->email);
	free(u);
}

void reg_key_free(struct reg_key *k)
{
	if (!k)
		return;
	reg_tags_free(k->tags, k->n_tags);
	free(k);
}

void reg_node_free(struct reg_node *n)
{
	if (!n)
		return;
	reg_tags_free(n->tags, n->n_tags);
	free(n->name);
	hostinfo_wipe(&n->host);
	free(n->endpoints);
	free(n->endpoint_types);
	free(n->approved);
	free(n);
}

void reg_pending_free(struct reg_pending *p)
{
	if (!p)
		return;
	hostinfo_wipe(&p->host);
	free(p);
}

void reg_write_wipe(struct reg_write *w)
{
	if (w->data) /* settings hold private keys */
		sodium_memzero(w->data, strlen(w->data));
	free(w->data);
	w->data = NULL;
}

void reg_batch_wipe(struct reg_batch *b)
{
	for (size_t i = 0; i < b->n_rows; i++)
		reg_write_wipe(&b->rows[i]);
	free(b->rows);
	*b = (struct reg_batch){ 0 };
}

void registry_free(struct registry *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->n_users; i++)
		reg_user_free(r->users[i]);
	for (size_t i = 0; i < r->n_keys; i++)
		reg_key_free(r->keys[i]);
	for (size_t i = 0; i < r->n_nodes; i++)
		reg_node_free(r->nodes[i]);
	for (size_t i = 0; i < r->n_pending; i++)
		reg_pending_free(r->pending[i]);
	free(r->users);
	free(r->keys);
	free(r->nodes);
	free(r->pending);
	map_wipe(&r->by_key);
	map_wipe(&r->by_ip);
	map_wipe(&r->by_name);
	map_wipe(&r->row_at);
	reg_batch_wipe(&r->batch);
	free(r->events);
	free(r);
}

/* ---- persistence ---- */

uint64_t registry_ticket(const struct registry *r)
{
	return r->batch.n_rows || r->counters_dirty || r->unsaved ? r->ticket + 1 : r->ticket;
}

bool registry_is_durable(const struct registry *r, uint64_t ticket)
{
	return ticket <= r->durable;
}

uint64_t registry_n_writes(const struct registry *r)
{
	return r->n_writes;
}

/* Room for one more row of the batch, as in reg_push(). */
static bool room_for_row(struct reg_batch *b)
{
	struct reg_write *rows;

	if (b->n_rows & (b->n_rows - 1))
		return true;
	rows = realloc(b->rows, (b->n_rows ? 2 * b->n_rows : 1) * sizeof(*rows));
	if (!rows)
		return false;
	b->rows = rows;
	return true;
}

int registry_write(struct registry *r, enum reg_table table, int64_t id, const char *data)
{
	struct reg_write w = { .table = table, .id = id };
	const int64_t key[ROW_KEY_LEN] = { table, id };
	const uintptr_t at = (uintptr_t)map_get(&r->row_at, key); /* from 1 */

	r->n_writes++;
	if (data && !(w.data = strdup(data)))
		return -ENOMEM;
	if (at) { /* the last word on a row counts */
		reg_write_wipe(&r->batch.rows[at - 1]);
		r->batch.rows[at - 1].data = w.data;
		return 0;
	}
	if (!room_for_row(&r->batch) || map_put(&r->row_at, key, (void *)(r->batch.n_rows + 1)) != 0) {
		reg_write_wipe(&w);
		return -ENOMEM;
	}
	r->batch.rows[r->batch.n_rows++] = w;
	return 0;
}

static bool save(struct registry *r, enum reg_table table, int64_t id, char *row)
{
	bool ok = row && registry_write(r, table, id, row) == 0;

	free(row);
	return ok;
}

bool reg_save_node(struct registry *r, struct reg_node *n)
{
	r->n_writes++; /* also when there is no memory for the row */
	n->dirty = !save(r, REG_NODES, n->id, reg_node_row(n));
	r->unsaved |= n->dirty;
	return !n->dirty;
}

bool reg_save_key(struct registry *r, struct reg_key *k)
{
	r->n_writes++;
	k->dirty = !save(r, REG_KEYS, k->id, reg_key_row(k));
	r->unsaved |= k->dirty;
	return !k->dirty;
}

bool reg_save_user(struct registry *r, const struct reg_user *u)
{
	return save(r, REG_USERS, u->id, reg_user_row(u));
}

bool registry_has_batch(const struct registry *r, struct mono now)
{
	return r->batch.n_rows || r->counters_dirty || r->unsaved || mono_due(r->lazy_at, now);
}

/* Rows of what is dirty. False: there is no memory for one of them. */
static bool save_dirty(struct registry *r, struct mono now)
{
	r->unsaved = false;
	r->lazy_at = MONO_NEVER;
	for (size_t i = 0; i < r->n_nodes && !r->unsaved; i++)
		if (r->nodes[i]->dirty)
			(void)reg_save_node(r, r->nodes[i]);
	for (size_t i = 0; i < r->n_keys && !r->unsaved; i++)
		if (r->keys[i]->dirty)
			(void)reg_save_key(r, r->keys[i]);
	if (r->unsaved)
		r->lazy_at = mono_add_s(now, REG_AGAIN_S);
	return !r->unsaved;
}

bool registry_take_batch(struct registry *r, struct mono now, struct reg_batch *out)
{
	if ((r->unsaved || mono_due(r->lazy_at, now)) && !save_dirty(r, now))
		return false;
	if (r->counters_dirty) {
		char *row = reg_counters_row(r);

		if (!row || registry_write(r, REG_SETTINGS, REG_SET_COUNTERS, row) != 0) {
			free(row);
			return false; /* out of memory: next time */
		}
		free(row);
		r->counters_dirty = false;
	}
	if (!r->batch.n_rows)
		return false;
	*out = r->batch;
	r->batch = (struct reg_batch){ 0 };
	map_wipe(&r->row_at);
	out->ticket = ++r->ticket;
	return true;
}

void registry_persisted(struct registry *r, uint64_t ticket)
{
	if (ticket > r->durable)
		r->durable = ticket;
}

/* ---- users ---- */

static bool good_user_name(const char *s)
{
	size_t len = strlen(s);

	if (len < 1 || len > 64)
		return false;
	for (; *s; s++)
		if (!((*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
		      strchr("._@+-", *s)))
			return false;
	return true;
}

const struct reg_user *registry_user(const struct registry *r, const char *name)
{
	for (size_t i = 0; i < r->n_users; i++)
		if (strcmp(r->users[i]->name, name) == 0 || (*name && strcmp(r->users[i]->email, name) == 0))
			return r->users[i];
	return NULL;
}

const struct reg_user *registry_user_by_id(const struct registry *r, int64_t id)
{
	for (size_t i = 0; i < r->n_users; i++)
		if (r->users[i]->id == id)
			return r->users[i];
	return NULL;
}

int registry_add_user(struct registry *r, const char *name, const struct reg_user **out)
{
	struct reg_user *u;
	char plain[65];

	if (!good_user_name(name))
		return -EINVAL;
	/* "bob@" is how policies write a user without e-mail: the same user as "bob". */
	memcpy(plain, name, strlen(name) + 1);
	if (strlen(plain) > 1 && plain[strlen(plain) - 1] == '@')
		plain[strlen(plain) - 1] = '\0';
	*out = registry_user(r, plain);
	if (*out)
		return 0;
	if (r->n_users >= REG_USERS_MAX)
		return -ENOBUFS;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->id = r->next_user;
	u->created_s = reg_wall_s(r);
	u->name = strdup(plain);
	u->display = strdup(plain);
	u->email = strdup(strchr(plain, '@') ? plain : "");
	if (!u->name || !u->display || !u->email || !reg_save_user(r, u) || !REG_PUSH(r->users, r->n_users, u)) {
		reg_user_free(u);
		return -ENOMEM;
	}
	r->next_user++;
	r->counters_dirty = true;
	*out = u;
	return 0;
}

size_t registry_n_users(const struct registry *r)
{
	return r->n_users;
}

const struct reg_user *registry_user_at(const struct registry *r, size_t i)
{
	return r->users[i];
}

/* ---- auth keys ---- */

static bool prefix_taken(const struct registry *r, const char *prefix)
{
	for (size_t i = 0; i < r->n_keys; i++)
		if (strcmp(r->keys[i]->prefix, prefix) == 0)
			return true;
	return false;
}

int registry_add_key(struct registry *r, const struct reg_key_opts *opts, char text[static REG_KEY_TEXT_MAX],
		     const struct reg_key **out)
{
	uint8_t secret[32], public[REG_KEY_PREFIX / 2];
	char *at = text + sizeof(KEY_TEXT) - 1;
	struct reg_key *k;

	if (r->n_keys >= REG_KEYS_MAX)
		return -ENOBUFS;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	do {
		env_fill(r->env, public, sizeof(public));
		(void)sodium_bin2hex(k->prefix, sizeof(k->prefix), public, sizeof(public));
	} while (prefix_taken(r, k->prefix));
	env_fill(r->env, secret, sizeof(secret));
	(void)crypto_hash_sha256(k->hash, secret, sizeof(secret));
	k->id = r->next_key;
	k->user = opts->user;
	k->reusable = opts->reusable;
	k->ephemeral = opts->ephemeral;
	k->created_s = reg_wall_s(r);
	k->expires_s = opts->life_s ? k->created_s + opts->life_s : 0;
	k->tags = reg_tags_dup(opts->tags, opts->n_tags);
	k->n_tags = k->tags ? opts->n_tags : 0;
	if (k->n_tags != opts->n_tags || !reg_save_key(r, k) || !REG_PUSH(r->keys, r->n_keys, k)) {
		sodium_memzero(secret, sizeof(secret));
		reg_key_free(k);
		return -ENOMEM;
	}
	r->next_key++;
	r->counters_dirty = true;
	memcpy(text, KEY_TEXT, sizeof(KEY_TEXT));
	memcpy(at, k->prefix, REG_KEY_PREFIX);
	at += REG_KEY_PREFIX;
	*at++ = '-';
	(void)sodium_bin2hex(at, 65, secret, sizeof(secret));
	at += 64;
	*at++ = '-';
	(void)sodium_bin2hex(at, 33, r->cfg.fingerprint, sizeof(r->cfg.fingerprint));
	sodium_memzero(secret, sizeof(secret));
	*out = k;
	return 0;
}

bool registry_is_key_text(const char *text)
{
	return strncmp(text, KEY_TEXT, sizeof(KEY_TEXT) - 1) == 0;
}

int registry_revoke_key(struct registry *r, int64_t id)
{
	for (size_t i = 0; i < r->n_keys; i++) {
		if (r->keys[i]->id != id)
			continue;
		r->keys[i]->revoked = true;
		return reg_save_key(r, r->keys[i]) ? 0 : -ENOMEM;
	}
	return -ENOENT;
}

size_t registry_n_keys(const struct registry *r)
{
	return r->n_keys;
}

const struct reg_key *registry_key_at(const struct registry *r, size_t i)
{
	return r->keys[i];
}

/* ---- nodes ---- */

struct reg_node *registry_node(const struct registry *r, int64_t id)
{
	size_t lo = 0, hi = r->n_nodes;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (r->nodes[mid]->id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < r->n_nodes && r->nodes[lo]->id == id ? r->nodes[lo] : NULL;
}

struct reg_node *registry_node_by_key(const struct registry *r, const struct node_key *key)
{
	return map_get(&r->by_key, key->b);
}

struct reg_node *registry_node_by_name(const struct registry *r, const char *name)
{
	struct reg_node *n = reg_named(r, name);
	struct ip ip;

	return !n && ip_parse(&ip, name, strlen(name)) == 0 ? map_get(&r->by_ip, &ip) : n;
}

size_t registry_n_nodes(const struct registry *r)
{
	return r->n_nodes;
}

struct reg_node *registry_node_at(const struct registry *r, size_t i)
{
	return r->nodes[i];
}

uint64_t registry_version(const struct registry *r)
{
	return r->version;
}

bool reg_node_expired(const struct reg_node *n, int64_t wall_s)
{
	return n->expiry_s != 0 && n->expiry_s <= wall_s;
}

size_t reg_node_routes(const struct reg_node *n, struct prefix out[static REG_ROUTES_MAX])
{
	size_t k = 0;

	for (size_t i = 0; i < n->host.n_routable_ips && k < REG_ROUTES_MAX; i++) {
		for (size_t j = 0; j < n->n_approved; j++) {
			if (prefix_eq(&n->host.routable_ips[i], &n->approved[j])) {
				out[k++] = n->approved[j];
				break;
			}
		}
	}
	return k;
}

void reg_touch(struct registry *r, struct reg_node *n)
{
	n->version = ++r->version;
}

void reg_dirty(struct registry *r, struct mono now, struct reg_node *n)
{
	n->dirty = true;
	if (mono_is_never(r->lazy_at))
		r->lazy_at = mono_add_s(now, REG_LAZY_S);
}

/* Takes a node out of the indexes. */
static void forget(struct registry *r, const struct reg_node *n)
{
	(void)map_del(&r->by_key, n->key.b);
	(void)map_del(&r->by_ip, &n->ip4);
	(void)map_del(&r->by_ip, &n->ip6);
	reg_name_del(r, n);
}

int reg_insert_node(struct registry *r, struct reg_node *n)
{
	size_t at;

	if (r->n_nodes >= REG_NODES_MAX)
		return -ENOSPC;
	if (map_get(&r->by_key, n->key.b) || map_get(&r->by_ip, &n->ip4) ||
	    map_get(&r->by_ip, &n->ip6) || strlen(n->name) > REG_NAME_MAX || reg_named(r, n->name) ||
	    registry_node(r, n->id))
		return -EEXIST;
	if (!REG_PUSH(r->nodes, r->n_nodes, n))
		return -ENOMEM;
	if (map_put(&r->by_key, n->key.b, n) != 0 || (ip_is_set(&n->ip4) && map_put(&r->by_ip, &n->ip4, n) != 0) ||
	    (ip_is_set(&n->ip6) && map_put(&r->by_ip, &n->ip6, n) != 0) || !reg_name_put(r, n)) {
		forget(r, n);
		r->n_nodes--;
		return -ENOMEM;
	}
	for (at = r->n_nodes - 1; at > 0 && r->nodes[at - 1]->id > n->id; at--)
		r->nodes[at] = r->nodes[at - 1];
	r->nodes[at] = n;
	n->offline_at = n->ephemeral_at = MONO_NEVER;
	reg_event(r, &n->key, true);
	reg_touch(r, n);
	return 0;
}

bool reg_rekey(struct registry *r, struct reg_node *n, const struct node_key *key)
{
	if (node_key_eq(&n->key, key))
		return true;
	if (map_put(&r->by_key, key->b, n) != 0)
		return false;
	(void)map_del(&r->by_key, n->key.b);
	reg_event(r, &n->key, false);
	n->key = *key;
	return true;
}

/* Out of memory costs DERP an old guest or a node its relay until it registers again. */
void reg_event(struct registry *r, const struct node_key *key, bool member)
{
	struct reg_event *p = realloc(r->events, (r->n_events + 1) * sizeof(*p));

	if (!p)
		return;
	r->events = p;
	p[r->n_events++] = (struct reg_event){ *key, member };
}

bool registry_take_event(struct registry *r, struct node_key *key, bool *member)
{
	if (r->first_event == r->n_events) {
		free(r->events);
		r->events = NULL;
		r->n_events = r->first_event = 0;
		return false;
	}
	*key = r->events[r->first_event].key;
	*member = r->events[r->first_event++].member;
	return true;
}

bool registry_knows_machine(const struct registry *r, const struct machine_key *machine)
{
	for (size_t i = 0; i < r->n_nodes; i++)
		if (machine_key_eq(&r->nodes[i]->machine, machine))
			return true;
	return false;
}

/* ---- addresses ---- */

/* Network and broadcast address, the resolver's /24, and ChromeOS's range are never given (coordinator 5). */
static bool ip_is_reserved(const struct prefix *pool, const struct ip *ip)
{
	static const struct prefix resolver = { { .family = IP_V4, .b = { 100, 100, 100, 0 } }, 24 };
	static const struct prefix chromeos = { { .family = IP_V4, .b = { 100, 115, 92, 0 } }, 23 };
	static const struct ip resolver6 = { .family = IP_V6,
					     .b = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, [15] = 0x53 } };
	struct ipset_range r = ipset_range_of(pool);
	struct ip first = ipset_ip(r.family, r.first), last = ipset_ip(r.family, r.last);

	return ip_eq(ip, &first) || ip_eq(ip, &last) || prefix_contains(&resolver, ip) ||
	       prefix_contains(&chromeos, ip) || ip_eq(ip, &resolver6);
}

/* The next free address after '*last', round the pool once. */
static bool next_ip(const struct registry *r, const struct prefix *pool, const struct ip *last, struct ip *out)
{
	struct ipset_range range = ipset_range_of(pool);
	struct prefix from = prefix_host(last);
	ipset_num at = range.first;
	size_t tries = 2 * (size_t)REG_NODES_MAX + 2000;

	if (ip_is_set(last) && prefix_contains(pool, last))
		at = ipset_range_of(&from).first;
	for (size_t i = 0; i < tries; i++) {
		at = at == range.last ? range.first : at + 1;
		*out = ipset_ip(range.family, at);
		if (!ip_is_reserved(pool, out) && !map_get(&r->by_ip, out))
			return true;
		if (i > 0 && (ipset_num)i > range.last - range.first)
			break;
	}
	return false;
}

bool reg_alloc_ips(struct registry *r, struct ip *ip4, struct ip *ip6)
{
	if (!next_ip(r, &r->cfg.pool4, &r->last4, ip4) || !next_ip(r, &r->cfg.pool6, &r->last6, ip6))
		return false;
	r->last4 = *ip4;
	r->last6 = *ip6;
	return true;
}

/* ---- administration ---- */

static bool good_name(const char *s)
{
	char clean[REG_NAME_MAX + 1];

	if (!*s || strlen(s) > REG_NAME_MAX)
		return false;
	reg_sanitize(clean, s);
	return strcmp(clean, s) == 0;
}

int registry_rename(struct registry *r, struct reg_node *n, const char *name)
{
	const struct reg_node *have = reg_named(r, name);

	if (!good_name(name))
		return -EINVAL;
	if (have && have != n)
		return -EEXIST;
	if (!reg_name_set(r, n, strdup(name)))
		return -ENOMEM;
	n->named_by_admin = true;
	reg_touch(r, n);
	return reg_save_node(r, n) ? 0 : -ENOMEM;
}

int registry_set_tags(struct registry *r, struct reg_node *n, char *const *tags, size_t n_tags)
{
	char **copy = reg_tags_dup(tags, n_tags);

	if (n_tags && !copy)
		return -ENOMEM;
	if (!n_tags && n->user == 0)
		return -EINVAL; /* a node without tags needs a user: approve or re-register */
	reg_tags_free(n->tags, n->n_tags);
	n->tags = copy;
	n->n_tags = n_tags;
	if (n_tags) {
		n->user = 0;
		n->expiry_s = 0;
	}
	reg_touch(r, n);
	return reg_save_node(r, n) ? 0 : -ENOMEM;
}

int registry_set_routes(struct registry *r, struct reg_node *n, const struct prefix *routes, size_t n_routes)
{
	struct prefix *copy = n_routes ? malloc(n_routes * sizeof(*copy)) : NULL;

	if (n_routes && !copy)
		return -ENOMEM;
	if (n_routes)
		memcpy(copy, routes, n_routes * sizeof(*copy));
	free(n->approved);
	n->approved = copy;
	n->n_approved = n_routes;
	reg_touch(r, n);
	return reg_save_node(r, n) ? 0 : -ENOMEM;
}

int registry_approve_route(struct registry *r, struct reg_node *n, const struct prefix *route)
{
	struct prefix *p = realloc(n->approved, (n->n_approved + 1) * sizeof(*p));

	if (!p)
		return -ENOMEM;
	n->approved = p;
	p[n->n_approved++] = *route;
	reg_touch(r, n);
	return reg_save_node(r, n) ? 0 : -ENOMEM;
}

int registry_expire(struct registry *r, struct reg_node *n)
{
	if (n->own)
		return -EPERM;
	n->expiry_s = reg_wall_s(r);
	reg_event(r, &n->key, false);
	reg_touch(r, n);
	return reg_save_node(r, n) ? 0 : -ENOMEM;
}

int registry_delete(struct registry *r, struct reg_node *n)
{
	int err = registry_write(r, REG_NODES, n->id, NULL);

	if (err)
		return err;
	reg_event(r, &n->key, false);
	forget(r, n);
	for (size_t i = 0; i < r->n_nodes; i++) {
		if (r->nodes[i] == n) {
			remove_at((void **)r->nodes, &r->n_nodes, i);
			break;
		}
	}
	r->version++;
	reg_node_free(n);
	return 0;
}

/* ---- what a node says about itself ---- */

/* Addresses that can not be one of its real endpoints. */
static bool endpoint_ok(const struct ep *ep)
{
	return ep_is_set(ep) && ep->port != 0 && !ip_is_loopback(&ep->ip) && !ip_is_multicast(&ep->ip) &&
	       !ip_is_unspecified(&ep->ip) && !ip_is_link_local(&ep->ip) && !ip_is_tailnet(&ep->ip);
}

static bool update_endpoints(struct reg_node *n, const struct reg_update *u)
{
	struct ep *eps = calloc(u->n_endpoints ? u->n_endpoints : 1, sizeof(*eps));
	uint8_t *types = calloc(u->n_endpoints ? u->n_endpoints : 1, 1);
	size_t k = 0;
	bool same;

	if (!eps || !types) {
		free(eps);
		free(types);
		return false; /* out of memory: the old ones stay */
	}
	for (size_t i = 0; i < u->n_endpoints && k < REG_ENDPOINTS_MAX; i++) {
		if (!endpoint_ok(&u->endpoints[i]))
			continue;
		eps[k] = u->endpoints[i];
		types[k] = u->endpoint_types ? u->endpoint_types[i] : 0;
		k++;
	}
	same = k == n->n_endpoints;
	for (size_t i = 0; same && i < k; i++)
		same = ep_eq(&eps[i], &n->endpoints[i]);
	free(n->endpoints);
	free(n->endpoint_types);
	n->endpoints = eps;
	n->endpoint_types = types;
	n->n_endpoints = k;
	return !same;
}

/* The old NetInfo stays when the new Hostinfo has none. */
static void keep_netinfo(struct hostinfo *to, struct hostinfo *from)
{
	if (to->has_netinfo || !from->has_netinfo)
		return;
	to->has_netinfo = true;
	to->preferred_derp = from->preferred_derp;
	to->working_udp = from->working_udp;
	to->working_ipv6 = from->working_ipv6;
	to->os_has_ipv6 = from->os_has_ipv6;
	to->mapping_varies = from->mapping_varies;
	to->have_port_map = from->have_port_map;
	to->upnp = from->upnp;
	to->pmp = from->pmp;
	to->pcp = from->pcp;
	to->derp_latency = from->derp_latency;
	to->n_derp_latency = from->n_derp_latency;
	from->derp_latency = NULL;
	from->n_derp_latency = 0;
}

static bool update_host(struct registry *r, struct reg_node *n, const struct hostinfo *host)
{
	struct hostinfo copy = { 0 };
	bool renamed;

	if (hostinfo_eq(&n->host, host) || reg_copy_host(&copy, host) != 0)
		return false;
	renamed = !n->named_by_admin && strcmp(n->host.hostname ? n->host.hostname : "", host->hostname) != 0;
	keep_netinfo(&copy, &n->host);
	hostinfo_wipe(&n->host);
	n->host = copy;
	/* At once: another node may take the old name, and a database with both could not be. */
	if (renamed && reg_name_set(r, n, reg_unique_name(r, host->hostname, n)))
		(void)reg_save_node(r, n);
	return true;
}

bool registry_update(struct registry *r, struct mono now, struct reg_node *n, const struct reg_update *u)
{
	uint32_t home = u->home_derp;
	bool changed = false;

	if (u->host) {
		changed |= update_host(r, n, u->host);
		if (!home && u->host->has_netinfo)
			home = u->host->preferred_derp;
	}
	if (u->has_endpoints)
		changed |= update_endpoints(n, u);
	if (u->disco && !key_is_zero(u->disco->b) && !disco_key_eq(&n->disco, u->disco)) {
		n->disco = *u->disco;
		changed = true;
	}
	if (u->cap && n->cap != u->cap) {
		n->cap = u->cap;
		changed = true;
	}
	if (home && n->home_derp != home) {
		n->home_derp = home;
		changed = true;
	}
	if (changed) {
		reg_touch(r, n);
		reg_dirty(r, now, n);
	}
	return changed;
}

/* ---- presence and time ---- */

void registry_poll_begin(struct registry *r, struct mono now, struct reg_node *n)
{
	(void)now;
	n->n_polls++;
	n->offline_at = MONO_NEVER;
	n->ephemeral_at = MONO_NEVER;
	if (!n->online) {
		n->online = true;
		reg_touch(r, n);
	}
}

void registry_poll_end(struct registry *r, struct mono now, struct reg_node *n)
{
	(void)r;
	if (n->n_polls && --n->n_polls == 0) {
		n->offline_at = mono_add_s(now, REG_OFFLINE_S);
		if (n->ephemeral)
			n->ephemeral_at = mono_add_s(now, REG_EPHEMERAL_S);
	}
}

static bool tick_nodes(struct registry *r, struct mono now)
{
	bool changed = false;

	for (size_t i = 0; i < r->n_nodes;) {
		struct reg_node *n = r->nodes[i];

		if (mono_due(n->offline_at, now)) {
			n->offline_at = MONO_NEVER;
			n->online = false;
			n->last_seen_s = reg_wall_s(r);
			reg_touch(r, n);
			reg_dirty(r, now, n);
			changed = true;
		}
		if (mono_due(n->ephemeral_at, now) && registry_delete(r, n) == 0) {
			changed = true;
			continue; /* the next node is at 'i' now */
		}
		i++;
	}
	return changed;
}

bool registry_tick(struct registry *r, struct mono now)
{
	while (r->n_pending && mono_due(r->pending[0]->until, now)) {
		reg_pending_free(r->pending[0]);
		remove_at((void **)r->pending, &r->n_pending, 0);
	}
	return tick_nodes(r, now);
}

struct mono registry_deadline(const struct registry *r)
{
	struct mono at = r->lazy_at;

	if (r->n_pending)
		at = mono_min(at, r->pending[0]->until);
	for (size_t i = 0; i < r->n_nodes; i++) {
		at = mono_min(at, r->nodes[i]->offline_at);
		at = mono_min(at, r->nodes[i]->ephemeral_at);
	}
	return at;
}
