/* SPDX-License-Identifier: MIT */
/* References, views and differences of network maps. */
#include "control/netmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control/netmap_priv.h"
#include "wire/zstdframe.h"

/* --- references --- */

void netmap_node_put(struct netmap_node *p)
{
	if (!p || --p->refs > 0)
		return;
	map_node_wipe(&p->n);
	free(p);
}

void netmap_block_put(struct netmap_block *p)
{
	if (!p || --p->refs > 0)
		return;
	for (unsigned i = 0; i < p->n; i++)
		netmap_node_put(p->v[i]);
	free(p);
}

void netmap_derp_put(struct netmap_derp *p)
{
	if (!p || --p->refs > 0)
		return;
	derp_map_wipe(&p->map);
	free(p->scores);
	free(p);
}

void netmap_dns_put(struct netmap_dns *p)
{
	if (!p || --p->refs > 0)
		return;
	dns_config_wipe(&p->dns);
	free(p);
}

void netmap_chunk_put(struct netmap_chunk *p)
{
	if (!p || --p->refs > 0)
		return;
	free(p->name);
	filter_rules_wipe(&p->rules);
	free(p);
}

void netmap_filter_put(struct netmap_filter *p)
{
	if (!p || --p->refs > 0)
		return;
	for (size_t i = 0; i < p->n_chunks; i++)
		netmap_chunk_put(p->chunks[i]);
	free(p->chunks);
	free(p->all.rules);
	free(p);
}

void netmap_user_put(struct netmap_user *p)
{
	if (!p || --p->refs > 0)
		return;
	user_profile_wipe(&p->u);
	free(p);
}

void netmap_users_put(struct netmap_users *p)
{
	if (!p || --p->refs > 0)
		return;
	for (size_t i = 0; i < p->n; i++)
		netmap_user_put(p->v[i]);
	free(p->v);
	free(p);
}

void netmap_text_put(struct netmap_text *p)
{
	if (!p || --p->refs > 0)
		return;
	free(p->domain);
	map_strs_free(p->health, p->n_health);
	free(p);
}

struct netmap *netmap_get(const struct netmap *m)
{
	/* A map is immutable but for its count. */
	struct netmap *p = (struct netmap *)(uintptr_t)m;

	if (p)
		p->refs++;
	return p;
}

void netmap_put(const struct netmap *m)
{
	struct netmap *p = (struct netmap *)(uintptr_t)m;

	if (!p || --p->refs > 0)
		return;
	netmap_node_put(p->self);
	for (size_t i = 0; i < p->n_blocks; i++)
		netmap_block_put(p->blocks[i]);
	free(p->blocks);
	netmap_derp_put(p->derp);
	netmap_dns_put(p->dns);
	netmap_filter_put(p->filter);
	netmap_users_put(p->users);
	netmap_text_put(p->text);
	free(p);
}

/* --- views --- */

const struct map_node *netmap_self(const struct netmap *m)
{
	return &m->self->n;
}

size_t netmap_n_peers(const struct netmap *m)
{
	return m->n_peers;
}

const struct map_node *netmap_next(const struct netmap *m, size_t *it)
{
	size_t block = *it / NETMAP_BLOCK, at = *it % NETMAP_BLOCK;

	if (block < m->n_blocks && at >= m->blocks[block]->n) {
		block++;
		at = 0;
	}
	if (block >= m->n_blocks)
		return NULL;
	*it = block * NETMAP_BLOCK + at + 1;
	/* The place behind a full block is the first of the next one: both are written the same. */
	return &m->blocks[block]->v[at]->n;
}

bool netmap_find(const struct netmap *m, int64_t id, size_t *block, unsigned *at)
{
	size_t lo = 0, hi = m->n_blocks;
	unsigned a = 0, b;

	/* The last block that begins at or before 'id'. */
	while (lo < hi) {
		const size_t mid = lo + (hi - lo) / 2;

		if (m->blocks[mid]->v[0]->n.id <= id)
			lo = mid + 1;
		else
			hi = mid;
	}
	*block = lo ? lo - 1 : 0;
	*at = 0;
	if (m->n_blocks == 0)
		return false;
	b = m->blocks[*block]->n;
	while (a < b) {
		const unsigned mid = a + (b - a) / 2;

		if (m->blocks[*block]->v[mid]->n.id < id)
			a = mid + 1;
		else
			b = mid;
	}
	*at = a;
	return a < m->blocks[*block]->n && m->blocks[*block]->v[a]->n.id == id;
}

const struct map_node *netmap_peer(const struct netmap *m, int64_t id)
{
	size_t block;
	unsigned at;

	return netmap_find(m, id, &block, &at) ? &m->blocks[block]->v[at]->n : NULL;
}

const struct map_node *netmap_peer_by_key(const struct netmap *m, const struct node_key *key)
{
	const struct map_node *n;
	size_t it = 0;

	while ((n = netmap_next(m, &it)))
		if (node_key_eq(&n->key, key))
			return n;
	return NULL;
}

static bool owns(const struct map_node *n, const struct ip *ip)
{
	for (size_t i = 0; i < n->n_addrs; i++)
		if (ip_eq(&n->addrs[i].ip, ip))
			return true;
	return false;
}

const struct map_node *netmap_by_ip(const struct netmap *m, const struct ip *ip)
{
	const struct map_node *n;
	size_t it = 0;

	if (owns(netmap_self(m), ip))
		return netmap_self(m);
	while ((n = netmap_next(m, &it)))
		if (owns(n, ip))
			return n;
	return NULL;
}

const struct derp_map *netmap_derp(const struct netmap *m)
{
	static const struct derp_map none;

	return m->derp ? &m->derp->map : &none;
}

const struct dns_config *netmap_dns(const struct netmap *m)
{
	static const struct dns_config none;

	return m->dns ? &m->dns->dns : &none;
}

const struct filter_rules *netmap_filter(const struct netmap *m)
{
	static const struct filter_rules none;

	return m->filter ? &m->filter->all : &none;
}

const struct user_profile *netmap_user(const struct netmap *m, int64_t id)
{
	size_t lo = 0, hi = m->users ? m->users->n : 0;

	while (lo < hi) {
		const size_t mid = lo + (hi - lo) / 2;
		const struct user_profile *u = &m->users->v[mid]->u;

		if (u->id == id)
			return u;
		if (u->id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

const char *netmap_domain(const struct netmap *m)
{
	return m->text && m->text->domain ? m->text->domain : "";
}

size_t netmap_health(const struct netmap *m, char *const **texts)
{
	*texts = m->text ? m->text->health : NULL;
	return m->text ? m->text->n_health : 0;
}

bool netmap_is_locked(const struct netmap *m)
{
	return m->text && m->text->is_locked;
}

const char *netmap_suffix(const struct netmap *m, char *buf, size_t cap)
{
	const char *name = netmap_self(m)->name, *dot = name ? strchr(name, '.') : NULL;
	size_t len = dot ? strlen(dot + 1) : 0;

	if (len > 0 && dot[len] == '.')
		len--;
	if (cap == 0)
		return "";
	len = len < cap ? len : 0;
	if (len)
		memcpy(buf, dot + 1, len);
	buf[len] = 0;
	return buf;
}

bool netmap_node_expired(const struct map_node *n, int64_t now_s)
{
	return n->expired || (n->key_expiry_s != 0 && n->key_expiry_s <= now_s);
}

int64_t netmap_next_expiry(const struct netmap *m, int64_t now_s)
{
	int64_t next = netmap_self(m)->key_expiry_s > now_s ? netmap_self(m)->key_expiry_s : 0;
	const struct map_node *n;
	size_t it = 0;

	while ((n = netmap_next(m, &it)))
		if (n->key_expiry_s > now_s && (next == 0 || n->key_expiry_s < next))
			next = n->key_expiry_s;
	return next;
}

/* --- differences --- */

static bool prefixes_differ(const struct prefix *a, size_t n_a, const struct prefix *b, size_t n_b)
{
	if (n_a != n_b)
		return true;
	for (size_t i = 0; i < n_a; i++)
		if (!prefix_eq(&a[i], &b[i]))
			return true;
	return false;
}

static bool endpoints_differ(const struct map_node *a, const struct map_node *b)
{
	if (a->n_endpoints != b->n_endpoints)
		return true;
	for (size_t i = 0; i < a->n_endpoints; i++)
		if (!ep_eq(&a->endpoints[i], &b->endpoints[i]))
			return true;
	return false;
}

static bool tags_differ(const struct map_node *a, const struct map_node *b)
{
	if (a->n_tags != b->n_tags)
		return true;
	for (size_t i = 0; i < a->n_tags; i++)
		if (strcmp(a->tags[i], b->tags[i]) != 0)
			return true;
	return false;
}

unsigned netmap_node_diff(const struct map_node *a, const struct map_node *b)
{
	unsigned bits = 0;

	if (a == b || map_node_eq(a, b))
		return 0;
	if (!node_key_eq(&a->key, &b->key))
		bits |= NETMAP_NODE_KEY;
	if (!disco_key_eq(&a->disco, &b->disco))
		bits |= key_is_zero(a->disco.b) ? NETMAP_NODE_DISCO_NEW : NETMAP_NODE_DISCO;
	if (prefixes_differ(a->addrs, a->n_addrs, b->addrs, b->n_addrs) ||
	    prefixes_differ(a->allowed_ips, a->n_allowed_ips, b->allowed_ips, b->n_allowed_ips))
		bits |= NETMAP_NODE_ALLOWED;
	if (endpoints_differ(a, b))
		bits |= NETMAP_NODE_ENDPOINTS;
	if (a->home_derp != b->home_derp)
		bits |= NETMAP_NODE_HOME;
	if (a->online != b->online)
		bits |= NETMAP_NODE_ONLINE;
	if (!map_caps_eq(a->caps, a->n_caps, b->caps, b->n_caps) || tags_differ(a, b))
		bits |= NETMAP_NODE_CAPS;
	if (a->key_expiry_s != b->key_expiry_s || a->expired != b->expired)
		bits |= NETMAP_NODE_EXPIRY;
	if (a->machine_authorized != b->machine_authorized || a->jailed != b->jailed ||
	    a->wireguard_only != b->wireguard_only || a->unsigned_peerapi_only != b->unsigned_peerapi_only)
		bits |= NETMAP_NODE_FLAGS;
	/* Something is different: if it is none of the above, it is one of the rest; if it is, the rest may
	 * differ too, which costs a needless update of what is displayed. */
	if (!bits || a->last_seen_s != b->last_seen_s || a->cap != b->cap || !hostinfo_eq(&a->host, &b->host) ||
	    strcmp(a->name ? a->name : "", b->name ? b->name : "") != 0 || a->user != b->user)
		bits |= NETMAP_NODE_OTHER;
	return bits;
}

static int add_change(struct netmap_change *c, int64_t id, unsigned bits, const struct map_node *old,
		      const struct map_node *node)
{
	if (c->n_peers == c->peers_cap) {
		const size_t cap = c->peers_cap ? 2 * c->peers_cap : 8;
		struct netmap_node_change *p = realloc(c->peers, cap * sizeof(*p));

		if (!p)
			return -ENOMEM;
		c->peers = p;
		c->peers_cap = cap;
	}
	c->peers[c->n_peers++] = (struct netmap_node_change){ .id = id, .bits = bits, .old = old, .node = node };
	c->bits |= NETMAP_PEERS;
	return 0;
}

/* A place in the peers of a map. */
struct cursor {
	const struct netmap *m; /* may be null: no peers */
	size_t block;
	unsigned at;
};

static const struct netmap_node *cursor_node(const struct cursor *c)
{
	return c->m && c->block < c->m->n_blocks ? c->m->blocks[c->block]->v[c->at] : NULL;
}

static void cursor_next(struct cursor *c)
{
	if (++c->at >= c->m->blocks[c->block]->n) {
		c->at = 0;
		c->block++;
	}
}

/* Both stand at the beginning of one shared block: nothing in it can differ. */
static bool skip_shared(struct cursor *a, struct cursor *b)
{
	if (a->at || b->at || !cursor_node(a) || !cursor_node(b) || a->m->blocks[a->block] != b->m->blocks[b->block])
		return false;
	a->block++;
	b->block++;
	return true;
}

static int diff_peers(const struct netmap *old, const struct netmap *now, struct netmap_change *c)
{
	struct cursor a = { .m = old }, b = { .m = now };

	for (;;) {
		const struct netmap_node *x, *y;
		unsigned bits;
		int err = 0;

		if (skip_shared(&a, &b))
			continue;
		x = cursor_node(&a);
		y = cursor_node(&b);
		if (!x && !y)
			return 0;
		if (!y || (x && x->n.id < y->n.id)) {
			err = add_change(c, x->n.id, NETMAP_NODE_REMOVED, &x->n, NULL);
			cursor_next(&a);
		} else if (!x || y->n.id < x->n.id) {
			err = add_change(c, y->n.id, NETMAP_NODE_ADDED, NULL, &y->n);
			cursor_next(&b);
		} else {
			bits = netmap_node_diff(&x->n, &y->n);
			if (bits)
				err = add_change(c, y->n.id, bits, &x->n, &y->n);
			else if (x != y)
				c->has_moved = true;
			cursor_next(&a);
			cursor_next(&b);
		}
		if (err)
			return err;
	}
}

static bool users_eq(const struct netmap_users *a, const struct netmap_users *b)
{
	if (a == b)
		return true;
	if (!a || !b || a->n != b->n)
		return (a ? a->n : 0) == 0 && (b ? b->n : 0) == 0;
	for (size_t i = 0; i < a->n; i++)
		if (!user_profile_eq(&a->v[i]->u, &b->v[i]->u))
			return false;
	return true;
}

static bool health_eq(const struct netmap *a, const struct netmap *b)
{
	char *const *x, *const *y;
	const size_t n = netmap_health(a, &x);

	if (n != netmap_health(b, &y))
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(x[i], y[i]) != 0)
			return false;
	return true;
}

int netmap_diff(const struct netmap *old, const struct netmap *now, struct netmap_change *change)
{
	int err;

	*change = (struct netmap_change){ 0 };
	if (!old)
		change->bits = NETMAP_SELF | NETMAP_DERP | NETMAP_DNS | NETMAP_FILTER | NETMAP_USERS | NETMAP_DOMAIN |
			       NETMAP_HEALTH | NETMAP_LOCK;
	change->self_bits = old ? netmap_node_diff(&old->self->n, &now->self->n) : NETMAP_NODE_ADDED;
	if (change->self_bits)
		change->bits |= NETMAP_SELF;
	if (old) {
		if (old->derp != now->derp && !derp_map_eq(netmap_derp(old), netmap_derp(now)))
			change->bits |= NETMAP_DERP;
		if (old->dns != now->dns && !dns_config_eq(netmap_dns(old), netmap_dns(now)))
			change->bits |= NETMAP_DNS;
		if (old->filter != now->filter && !filter_rules_eq(netmap_filter(old), netmap_filter(now)))
			change->bits |= NETMAP_FILTER;
		if (!users_eq(old->users, now->users))
			change->bits |= NETMAP_USERS;
		if (strcmp(netmap_domain(old), netmap_domain(now)) != 0)
			change->bits |= NETMAP_DOMAIN;
		if (!health_eq(old, now))
			change->bits |= NETMAP_HEALTH;
		if (netmap_is_locked(old) != netmap_is_locked(now))
			change->bits |= NETMAP_LOCK;
	}
	err = diff_peers(old, now, change);
	if (err)
		netmap_change_wipe(change);
	return err;
}

void netmap_change_wipe(struct netmap_change *c)
{
	free(c->peers);
	*c = (struct netmap_change){ 0 };
}

/* --- cache --- */

enum { SAVE_STEP = 64 << 10, SAVED_PEER = 160 /* bytes, compressed, with room */ };

/* Where the text goes while it is written. */
struct saver {
	struct json_w w;
	struct zstdframe_w *z;
	struct bytes *out;
	int err;
};

/* Compresses what was written so far; without a compressor all of it stays text. */
static void save_step(struct saver *s, bool is_last)
{
	if (s->z && !s->err && (is_last || bytes_size(&s->w.out) >= SAVE_STEP)) {
		s->err = zstdframe_w_push(s->z, s->out, bytes_data(&s->w.out), bytes_size(&s->w.out), is_last);
		bytes_consume(&s->w.out, bytes_size(&s->w.out));
	}
}

static void write_peers(struct saver *s, const struct netmap *m)
{
	const struct map_node *n;
	size_t it = 0;

	if (!m->n_peers)
		return;
	json_w_arr(&s->w, "Peers");
	while ((n = netmap_next(m, &it))) {
		ctl_node_write(&s->w, NULL, n);
		save_step(s, false);
	}
	json_w_end(&s->w);
}

static void write_rest(struct json_w *w, const struct netmap *m)
{
	char *const *health;
	const size_t n_health = netmap_health(m, &health);

	if (m->dns)
		ctl_dns_write(w, "DNSConfig", &m->dns->dns);
	if (*netmap_domain(m))
		json_w_str(w, "Domain", netmap_domain(m));
	if (m->filter) {
		json_w_obj(w, "PacketFilters");
		for (size_t i = 0; i < m->filter->n_chunks; i++)
			ctl_filter_rules_write(w, m->filter->chunks[i]->name, &m->filter->chunks[i]->rules);
		json_w_end(w);
	}
	if (m->users && m->users->n > 0) {
		json_w_arr(w, "UserProfiles");
		for (size_t i = 0; i < m->users->n; i++)
			ctl_user_profile_write(w, NULL, &m->users->v[i]->u);
		json_w_end(w);
	}
	if (n_health > 0)
		json_w_strs(w, "Health", health, n_health);
	if (netmap_is_locked(m)) {
		json_w_obj(w, "TKAInfo");
		json_w_str(w, "Head", "unknown");
		json_w_end(w);
	}
}

static void write_all(struct saver *s, const struct netmap *m)
{
	json_w_obj(&s->w, NULL);
	ctl_node_write(&s->w, "Node", netmap_self(m));
	if (m->derp)
		ctl_derp_map_write(&s->w, "DERPMap", &m->derp->map);
	write_peers(s, m);
	write_rest(&s->w, m);
	json_w_end(&s->w);
}

void netmap_write(struct json_w *w, const struct netmap *m)
{
	struct saver s = { .w = *w };

	write_all(&s, m);
	*w = s.w;
}

int netmap_save(const struct netmap *m, struct bytes *out)
{
	struct saver s = { .z = zstdframe_w_new(), .out = out };

	if (!s.z)
		return -ENOMEM;
	/* At once: growing by doubling has old and new in memory together. What is not used is never touched. */
	(void)bytes_room(out, m->n_peers * SAVED_PEER);
	write_all(&s, m);
	save_step(&s, true);
	if (!s.err)
		s.err = s.w.err;
	zstdframe_w_free(s.z);
	json_w_wipe(&s.w);
	return s.err;
}

static int load_piece(void *ctx, const uint8_t *p, size_t size)
{
	return ctl_map_reader_push(ctx, (const char *)p, size);
}

int netmap_load(const uint8_t *buf, size_t size, struct ctl_map_response *msg)
{
	struct ctl_map_reader *r = ctl_map_reader_new();
	int err = !r			      ? -ENOMEM :
		  !zstdframe_is(buf, size) ? ctl_map_reader_push(r, (const char *)buf, size) :
					     zstdframe_pieces(buf, size, CTLJSON_MAP_MAX, load_piece, r);

	if (!err)
		return ctl_map_reader_finish(r, msg, NULL);
	ctl_map_reader_free(r);
	return err;
}
