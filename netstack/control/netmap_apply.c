/* SPDX-License-Identifier: MIT */
/* Making the next map. The new map begins as a copy of references; what a message touches is replaced, blocks and
 * nodes that are shared with the old map are copied first. Any failure throws the new map away. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/netmap_priv.h"

/* --- peers --- */

/* A block of 'm' that may be changed: its own, not shared. */
static struct netmap_block *own_block(struct netmap *m, size_t at)
{
	struct netmap_block *b = m->blocks[at], *copy;

	if (b->refs == 1)
		return b;
	copy = malloc(sizeof(*copy));
	if (!copy)
		return NULL;
	*copy = *b;
	copy->refs = 1;
	for (unsigned i = 0; i < copy->n; i++)
		copy->v[i]->refs++;
	netmap_block_put(b);
	m->blocks[at] = copy;
	return copy;
}

/* Makes room for one more block at 'at'. */
static int insert_block(struct netmap *m, size_t at, struct netmap_block *b)
{
	struct netmap_block **list = realloc(m->blocks, (m->n_blocks + 1) * sizeof(*list));

	if (!list)
		return -ENOMEM;
	m->blocks = list;
	memmove(list + at + 1, list + at, (m->n_blocks - at) * sizeof(*list));
	list[at] = b;
	m->n_blocks++;
	return 0;
}

/* Halves a full block that is owned. */
static int split_block(struct netmap *m, size_t at)
{
	struct netmap_block *b = m->blocks[at], *right = malloc(sizeof(*right));
	const unsigned half = NETMAP_BLOCK / 2;

	if (!right)
		return -ENOMEM;
	right->refs = 1;
	right->n = b->n - half;
	memcpy(right->v, b->v + half, right->n * sizeof(*right->v));
	memcpy(right->tags, b->tags + half, right->n * sizeof(*right->tags));
	if (insert_block(m, at + 1, right) != 0) {
		free(right);
		return -ENOMEM;
	}
	b->n = half;
	return 0;
}

/* A new last block with one peer in it. */
static int append_block(struct netmap *m, struct netmap_node *p)
{
	struct netmap_block *b = calloc(1, sizeof(*b));

	if (!b || insert_block(m, m->n_blocks, b) != 0) {
		free(b);
		return -ENOMEM;
	}
	b->refs = 1;
	b->n = 1;
	b->v[0] = p;
	b->tags[0] = netmap_tag(&p->n.key);
	m->n_peers++;
	return 0;
}

/* Adds a peer that is not there; takes over the reference on success. */
static int insert_peer(struct netmap *m, struct netmap_node *p)
{
	struct netmap_block *b;
	size_t block;
	unsigned at;

	if (m->n_peers >= MAP_PEERS_MAX)
		return -EBADMSG;
	(void)netmap_find(m, p->n.id, &block, &at);
	/* Lists come in order: full blocks behind each other, not halves. */
	if (m->n_blocks == 0 || (block + 1 == m->n_blocks && at == NETMAP_BLOCK))
		return append_block(m, p);
	b = own_block(m, block);
	if (!b)
		return -ENOMEM;
	if (b->n == NETMAP_BLOCK) {
		if (split_block(m, block) != 0)
			return -ENOMEM;
		(void)netmap_find(m, p->n.id, &block, &at);
		b = m->blocks[block]; /* both halves are owned */
	}
	memmove(b->v + at + 1, b->v + at, (b->n - at) * sizeof(*b->v));
	memmove(b->tags + at + 1, b->tags + at, (b->n - at) * sizeof(*b->tags));
	b->v[at] = p;
	b->tags[at] = netmap_tag(&p->n.key);
	b->n++;
	m->n_peers++;
	return 0;
}

static int remove_peer(struct netmap *m, int64_t id)
{
	struct netmap_block *b;
	size_t block;
	unsigned at;

	if (!netmap_find(m, id, &block, &at))
		return 0;
	b = own_block(m, block);
	if (!b)
		return -ENOMEM;
	netmap_node_put(b->v[at]);
	b->n--;
	memmove(b->v + at, b->v + at + 1, (b->n - at) * sizeof(*b->v));
	memmove(b->tags + at, b->tags + at + 1, (b->n - at) * sizeof(*b->tags));
	m->n_peers--;
	if (b->n == 0) {
		free(b);
		m->n_blocks--;
		memmove(m->blocks + block, m->blocks + block + 1, (m->n_blocks - block) * sizeof(*m->blocks));
	}
	return 0;
}

/* Puts another version of a peer in place; takes over the reference on success. */
static int replace_peer(struct netmap *m, size_t block, unsigned at, struct netmap_node *p)
{
	struct netmap_block *b = own_block(m, block);

	if (!b)
		return -ENOMEM;
	netmap_node_put(b->v[at]);
	b->v[at] = p;
	b->tags[at] = netmap_tag(&p->n.key);
	return 0;
}

/* A node that takes the inside of '*from'. */
static struct netmap_node *take_node(struct map_node *from)
{
	struct netmap_node *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->refs = 1;
	p->n = *from;
	*from = (struct map_node){ 0 };
	map_node_pack(&p->n);
	return p;
}

/* Adds or replaces by id. An equal node stays the one it was. 'was' (may be null) is the map whose nodes are
 * preferred when 'm' has none. */
static int put_peer(struct netmap *m, const struct netmap *was, struct map_node *from)
{
	struct netmap_node *p;
	size_t block, was_block;
	unsigned at, was_at;
	const bool there = netmap_find(m, from->id, &block, &at);
	int err;

	if (there && map_node_eq(&m->blocks[block]->v[at]->n, from))
		return 0;
	if (!there && was && netmap_find(was, from->id, &was_block, &was_at) &&
	    map_node_eq(&was->blocks[was_block]->v[was_at]->n, from)) {
		p = was->blocks[was_block]->v[was_at];
		p->refs++;
	} else {
		p = take_node(from);
	}
	if (!p)
		return -ENOMEM;
	err = there ? replace_peer(m, block, at, p) : insert_peer(m, p);
	if (err)
		netmap_node_put(p);
	return err;
}

static int node_order(const void *a, const void *b)
{
	const struct map_node *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static void drop_peers(struct netmap *m)
{
	for (size_t i = 0; i < m->n_blocks; i++)
		netmap_block_put(m->blocks[i]);
	m->n_blocks = 0;
	m->n_peers = 0;
}

/* As a rule the server tells them in order. */
static void sort_nodes(struct map_node *list, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (list[i].id < list[i - 1].id) {
			qsort(list, n, sizeof(*list), node_order);
			return;
		}
}

/* Peers: the whole list. Nodes of the old map that come out the same are shared. */
static int set_peers(struct netmap *m, const struct netmap *was, struct map_node *list, size_t n)
{
	int err = 0;

	drop_peers(m);
	sort_nodes(list, n);
	for (size_t i = 1; i < n; i++)
		if (list[i].id == list[i - 1].id)
			return -EBADMSG;
	for (size_t i = 0; !err && i < n; i++)
		err = put_peer(m, was, &list[i]);
	return err;
}

/* A copy of a peer to be changed, or null: not there ('*err' 0) or out of memory. */
static struct netmap_node *edit(const struct netmap *m, int64_t id, size_t *block, unsigned *at, int *err)
{
	struct netmap_node *p;

	*err = 0;
	if (!netmap_find(m, id, block, at))
		return NULL;
	p = calloc(1, sizeof(*p));
	if (!p || map_node_copy(&p->n, &m->blocks[*block]->v[*at]->n) != 0) {
		free(p);
		*err = -ENOMEM;
		return NULL;
	}
	p->refs = 1;
	return p;
}

static int edit_done(struct netmap *m, struct netmap_node *p, size_t block, unsigned at)
{
	int err = 0;

	if (!map_node_eq(&m->blocks[block]->v[at]->n, &p->n))
		err = replace_peer(m, block, at, p);
	else
		netmap_node_put(p);
	if (err)
		netmap_node_put(p);
	return err;
}

static int set_seen(struct netmap *m, const struct ctl_id_flag *f, int64_t now_s)
{
	size_t block;
	unsigned at;
	int err;
	struct netmap_node *p = edit(m, f->id, &block, &at, &err);

	if (!p)
		return err;
	p->n.last_seen_s = f->value ? now_s : 0;
	return edit_done(m, p, block, at);
}

static int set_online(struct netmap *m, const struct ctl_id_flag *f)
{
	size_t block;
	unsigned at;
	int err;
	struct netmap_node *p = edit(m, f->id, &block, &at, &err);

	if (!p)
		return err;
	p->n.online = f->value ? TRI_TRUE : TRI_FALSE;
	return edit_done(m, p, block, at);
}

static void patch_lists(struct map_node *n, struct ctl_patch *c)
{
	if (c->bits & CTL_PATCH_CAPS) {
		map_caps_free(n->caps, n->n_caps);
		n->caps = c->caps;
		n->n_caps = c->n_caps;
		c->caps = NULL;
		c->n_caps = 0;
	}
	if (c->bits & CTL_PATCH_ENDPOINTS) {
		free(n->endpoints);
		n->endpoints = c->endpoints;
		n->n_endpoints = c->n_endpoints;
		c->endpoints = NULL;
		c->n_endpoints = 0;
	}
}

static int patch_peer(struct netmap *m, struct ctl_patch *c)
{
	size_t block;
	unsigned at;
	int err;
	struct netmap_node *p = edit(m, c->id, &block, &at, &err);

	if (!p)
		return err; /* unknown ids are ignored */
	patch_lists(&p->n, c);
	if (c->bits & CTL_PATCH_HOME_DERP)
		p->n.home_derp = c->home_derp;
	if (c->bits & CTL_PATCH_CAP)
		p->n.cap = c->cap;
	if (c->bits & CTL_PATCH_KEY)
		p->n.key = c->key;
	if (c->bits & CTL_PATCH_DISCO)
		p->n.disco = c->disco;
	if (c->bits & CTL_PATCH_ONLINE)
		p->n.online = c->online ? TRI_TRUE : TRI_FALSE;
	if (c->bits & CTL_PATCH_LAST_SEEN)
		p->n.last_seen_s = c->last_seen_s;
	if (c->bits & CTL_PATCH_KEY_EXPIRY)
		p->n.key_expiry_s = c->key_expiry_s;
	return edit_done(m, p, block, at);
}

static int apply_peers(struct netmap *m, const struct netmap *was, struct ctl_map_response *msg, int64_t now_s)
{
	int err = 0;

	if (msg->n_peers > 0) /* everything else about peers in this message is then ignored */
		return set_peers(m, was, msg->peers, msg->n_peers);
	for (size_t i = 0; !err && i < msg->n_removed; i++)
		err = remove_peer(m, msg->removed[i]);
	for (size_t i = 0; !err && i < msg->n_changed; i++)
		err = put_peer(m, was, &msg->changed[i]);
	for (size_t i = 0; !err && i < msg->n_seen; i++)
		err = set_seen(m, &msg->seen[i], now_s);
	for (size_t i = 0; !err && i < msg->n_online; i++)
		err = set_online(m, &msg->online[i]);
	for (size_t i = 0; !err && i < msg->n_patches; i++)
		err = patch_peer(m, &msg->patches[i]);
	return err;
}

/* --- parts --- */

static void apply_scores(struct netmap_derp *d)
{
	for (size_t i = 0; i < d->map.n_regions; i++) {
		d->map.regions[i].score = 1.0;
		for (size_t k = 0; k < d->n_scores; k++)
			if (d->scores[k].region == d->map.regions[i].id)
				d->map.regions[i].score = d->scores[k].score;
	}
}

static int apply_derp(struct netmap *m, struct ctl_map_response *msg)
{
	struct netmap_derp *d;
	const struct ctl_region_score *scores = msg->scores;
	size_t n = msg->n_scores;

	if (!msg->has_regions && !msg->has_scores)
		return 0;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->refs = 1;
	if (!msg->has_scores && m->derp) {
		scores = m->derp->scores;
		n = m->derp->n_scores;
	}
	if (msg->has_regions) {
		d->map = msg->derp;
		msg->derp = (struct derp_map){ 0 };
	} else if (m->derp && derp_map_copy(&d->map, &m->derp->map) != 0) {
		goto nomem;
	}
	if (n > 0) {
		d->scores = malloc(n * sizeof(*d->scores));
		if (!d->scores)
			goto nomem;
		memcpy(d->scores, scores, n * sizeof(*d->scores));
		d->n_scores = n;
	}
	apply_scores(d);
	netmap_derp_put(m->derp);
	m->derp = d;
	return 0;
nomem:
	netmap_derp_put(d);
	return -ENOMEM;
}

static int apply_dns(struct netmap *m, struct ctl_map_response *msg)
{
	struct netmap_dns *d;

	if (!msg->dns)
		return 0;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->refs = 1;
	d->dns = *msg->dns;
	*msg->dns = (struct dns_config){ 0 };
	netmap_dns_put(m->dns);
	m->dns = d;
	return 0;
}

/* Place of a chunk in the sorted list; true if it is there. */
static bool find_chunk(const struct netmap_filter *f, const char *name, size_t *at)
{
	for (*at = 0; *at < f->n_chunks; ++*at) {
		const int cmp = strcmp(f->chunks[*at]->name, name);

		if (cmp >= 0)
			return cmp == 0;
	}
	return false;
}

static void drop_chunk(struct netmap_filter *f, size_t at)
{
	netmap_chunk_put(f->chunks[at]);
	f->n_chunks--;
	memmove(f->chunks + at, f->chunks + at + 1, (f->n_chunks - at) * sizeof(*f->chunks));
}

/* 'f->chunks' has room for one more. */
static int set_chunk(struct netmap_filter *f, struct ctl_filter_chunk *from)
{
	struct netmap_chunk *c;
	size_t at;
	const bool there = find_chunk(f, from->name, &at);

	if (there)
		drop_chunk(f, at);
	if (from->remove)
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->refs = 1;
	c->name = from->name;
	c->rules = from->rules;
	from->name = NULL;
	from->rules = (struct filter_rules){ 0 };
	memmove(f->chunks + at + 1, f->chunks + at, (f->n_chunks - at) * sizeof(*f->chunks));
	f->chunks[at] = c;
	f->n_chunks++;
	return 0;
}

static int join_chunks(struct netmap_filter *f)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n_chunks; i++)
		n += f->chunks[i]->rules.n_rules;
	if (n == 0)
		return 0;
	f->all.rules = malloc(n * sizeof(*f->all.rules));
	if (!f->all.rules)
		return -ENOMEM;
	for (size_t i = 0; i < f->n_chunks; i++) {
		const struct filter_rules *r = &f->chunks[i]->rules;

		if (r->n_rules)
			memcpy(f->all.rules + f->all.n_rules, r->rules, r->n_rules * sizeof(*r->rules));
		f->all.n_rules += r->n_rules;
	}
	return 0;
}

static int apply_filter(struct netmap *m, struct ctl_map_response *msg)
{
	const size_t n_old = m->filter && !msg->clear_filters ? m->filter->n_chunks : 0;
	struct netmap_filter *f;
	int err = 0;

	if (!msg->clear_filters && msg->n_filters == 0)
		return 0;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->refs = 1;
	f->chunks = calloc(n_old + msg->n_filters + 1, sizeof(struct netmap_chunk *));
	err = f->chunks ? 0 : -ENOMEM;
	for (size_t i = 0; !err && i < n_old; i++) {
		f->chunks[f->n_chunks++] = m->filter->chunks[i];
		m->filter->chunks[i]->refs++;
	}
	for (size_t i = 0; !err && i < msg->n_filters; i++)
		err = set_chunk(f, &msg->filters[i]);
	if (!err)
		err = join_chunks(f);
	if (err) {
		netmap_filter_put(f);
		return err;
	}
	netmap_filter_put(m->filter);
	m->filter = f;
	return 0;
}

/* 'u->v' has room for one more. */
static int set_user(struct netmap_users *u, struct user_profile *from)
{
	struct netmap_user *p = calloc(1, sizeof(*p));
	size_t at = 0;

	if (!p)
		return -ENOMEM;
	p->refs = 1;
	p->u = *from;
	*from = (struct user_profile){ 0 };
	while (at < u->n && u->v[at]->u.id < p->u.id)
		at++;
	if (at < u->n && u->v[at]->u.id == p->u.id) {
		netmap_user_put(u->v[at]);
	} else {
		memmove(u->v + at + 1, u->v + at, (u->n - at) * sizeof(*u->v));
		u->n++;
	}
	u->v[at] = p;
	return 0;
}

static int apply_users(struct netmap *m, struct ctl_map_response *msg)
{
	const size_t n_old = m->users ? m->users->n : 0;
	struct netmap_users *u;
	int err;

	if (msg->n_users == 0)
		return 0;
	if (n_old + msg->n_users > MAP_PEERS_MAX)
		return -EBADMSG;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	u->refs = 1;
	u->v = calloc(n_old + msg->n_users, sizeof(struct netmap_user *));
	err = u->v ? 0 : -ENOMEM;
	for (size_t i = 0; !err && i < n_old; i++) {
		u->v[u->n++] = m->users->v[i];
		m->users->v[i]->refs++;
	}
	for (size_t i = 0; !err && i < msg->n_users; i++)
		err = set_user(u, &msg->users[i]);
	if (err) {
		netmap_users_put(u);
		return err;
	}
	netmap_users_put(m->users);
	m->users = u;
	return 0;
}

static char *dup_text(const char *text)
{
	const size_t size = strlen(text) + 1;
	char *p = malloc(size);

	if (p)
		memcpy(p, text, size);
	return p;
}

static int apply_text(struct netmap *m, struct ctl_map_response *msg)
{
	const bool has_domain = msg->domain && *msg->domain;
	struct netmap_text *t;
	char *const *health;
	size_t n;

	if (!has_domain && !msg->has_health && !msg->has_tka)
		return 0;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->refs = 1;
	t->domain = dup_text(has_domain ? msg->domain : netmap_domain(m));
	t->is_locked = msg->has_tka ? msg->tka_on : netmap_is_locked(m);
	n = netmap_health(m, &health);
	if (msg->has_health) {
		t->health = msg->health;
		t->n_health = msg->n_health;
		msg->health = NULL;
		msg->n_health = 0;
	} else if (n > 0) {
		t->health = calloc(n, sizeof(*t->health));
		for (size_t i = 0; t->health && i < n; i++)
			t->health[t->n_health++] = dup_text(health[i]);
	}
	for (size_t i = 0; i < t->n_health; i++)
		if (!t->health[i])
			n = SIZE_MAX;
	if (!t->domain || n == SIZE_MAX || (!msg->has_health && t->n_health != n)) {
		netmap_text_put(t);
		return -ENOMEM;
	}
	netmap_text_put(m->text);
	m->text = t;
	return 0;
}

static int apply_self(struct netmap *m, struct ctl_map_response *msg)
{
	struct netmap_node *p;

	if (!msg->self || (m->self && map_node_eq(&m->self->n, msg->self)))
		return 0;
	p = take_node(msg->self);
	if (!p)
		return -ENOMEM;
	netmap_node_put(m->self);
	m->self = p;
	return 0;
}

/* --- checks --- */

static int key_order(const void *a, const void *b)
{
	const struct map_node *const *x = a, *const *y = b;

	return memcmp((*x)->key.b, (*y)->key.b, KEY_SIZE);
}

/* Two peers with one key cannot both be reached. */
static int check_keys_all(const struct netmap *m)
{
	const struct map_node **list = calloc(m->n_peers + 1, sizeof(struct map_node *));
	const struct map_node *n;
	size_t it = 0, count = 0;
	int err = 0;

	if (!list)
		return -ENOMEM;
	while ((n = netmap_next(m, &it)))
		if (!key_is_zero(n->key.b))
			list[count++] = n;
	qsort(list, count, sizeof(struct map_node *), key_order);
	for (size_t i = 1; i < count; i++)
		if (node_key_eq(&list[i - 1]->key, &list[i]->key))
			err = -EBADMSG;
	free(list);
	return err;
}

static bool has_key_twice(const struct netmap *m, const struct map_node *p)
{
	const uint32_t tag = netmap_tag(&p->key);

	for (size_t i = 0; i < m->n_blocks; i++) {
		const struct netmap_block *b = m->blocks[i];

		for (unsigned k = 0; k < b->n; k++)
			if (b->tags[k] == tag && &b->v[k]->n != p && node_key_eq(&b->v[k]->n.key, &p->key))
				return true;
	}
	return false;
}

static int check_keys(const struct netmap *m, const struct netmap_change *c)
{
	enum { FEW = 8 };
	size_t n_new = 0;

	for (size_t i = 0; i < c->n_peers; i++)
		n_new += (c->peers[i].bits & (NETMAP_NODE_ADDED | NETMAP_NODE_KEY)) != 0;
	if (n_new > FEW)
		return check_keys_all(m);
	for (size_t i = 0; n_new > 0 && i < c->n_peers; i++) {
		const struct map_node *p = c->peers[i].node;

		if (!(c->peers[i].bits & (NETMAP_NODE_ADDED | NETMAP_NODE_KEY)) || key_is_zero(p->key.b))
			continue;
		if (has_key_twice(m, p))
			return -EBADMSG;
	}
	return 0;
}

/* --- the whole --- */

/* References to everything in 'old', or an empty map. */
static struct netmap *branch(const struct netmap *old, enum netmap_mode mode)
{
	struct netmap *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->refs = 1;
	if (!old)
		return m;
	/* A full message may leave the regions out; without them nobody can be reached, so they stay. */
	m->derp = old->derp;
	m->self = old->self;
	if (mode == NETMAP_DELTA) {
		m->blocks = malloc((old->n_blocks + 1) * sizeof(struct netmap_block *));
		if (!m->blocks) {
			free(m);
			return NULL;
		}
		if (old->n_blocks)
			memcpy(m->blocks, old->blocks, old->n_blocks * sizeof(struct netmap_block *));
		m->n_blocks = old->n_blocks;
		m->n_peers = old->n_peers;
		m->dns = old->dns;
		m->filter = old->filter;
		m->users = old->users;
		m->text = old->text;
	}
	for (size_t i = 0; i < m->n_blocks; i++)
		m->blocks[i]->refs++;
	if (m->self)
		m->self->refs++;
	if (m->derp)
		m->derp->refs++;
	if (m->dns)
		m->dns->refs++;
	if (m->filter)
		m->filter->refs++;
	if (m->users)
		m->users->refs++;
	if (m->text)
		m->text->refs++;
	return m;
}

static int apply_parts(struct netmap *m, struct ctl_map_response *msg)
{
	int err = apply_self(m, msg);

	if (!err)
		err = apply_derp(m, msg);
	if (!err)
		err = apply_dns(m, msg);
	if (!err)
		err = apply_filter(m, msg);
	if (!err)
		err = apply_users(m, msg);
	if (!err)
		err = apply_text(m, msg);
	return err;
}

int netmap_apply(const struct netmap *old, struct ctl_map_response *msg, enum netmap_mode mode, int64_t now_s,
		 struct netmap **out, struct netmap_change *change)
{
	struct netmap *m;
	int err;

	*out = NULL;
	*change = (struct netmap_change){ 0 };
	if (mode == NETMAP_FULL ? !msg->self : !old)
		return -EPROTO;
	if (msg->keep_alive) {
		if (mode == NETMAP_FULL)
			return -EPROTO;
		*out = netmap_get(old);
		return 0;
	}
	m = branch(old, mode);
	if (!m)
		return -ENOMEM;
	err = apply_peers(m, old, msg, now_s);
	if (!err)
		err = apply_parts(m, msg);
	if (!err)
		err = netmap_diff(old, m, change);
	if (!err)
		err = check_keys(m, change);
	if (err) {
		netmap_change_wipe(change);
		netmap_put(m);
		return err;
	}
	if (old && change->bits == 0) { /* nothing changed: keep the identity, too */
		netmap_put(m);
		m = netmap_get(old);
	}
	*out = m;
	return 0;
}
