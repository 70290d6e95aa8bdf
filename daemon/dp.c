/* SPDX-License-Identifier: MIT */
/* The data plane's control side: opening and closing, publication of what the workers look up,
 * packets from control. Events and figures are in dp_poll.c, the relay in dp_relay.c. */
#include "config.h"

#include "daemon/dp.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/log.h"
#include "daemon/dpstate.h"
#include "daemon/rtnl.h"
#include "wire/wgmsg.h"

/* --- what is retired --- */

static void targets_free(struct snapshot_item *item)
{
	free(CONTAINER_OF(item, struct dp_targets, item));
}

static void key_free(struct snapshot_item *item)
{
	struct dp_key *k = CONTAINER_OF(item, struct dp_key, item);

	keypair_put(k->kp);
	free(k);
}

static void peer_free(struct snapshot_item *item)
{
	struct dp_peer *p = CONTAINER_OF(item, struct dp_peer, item);

	free(snapshot_own(&p->targets));
	free(p);
}

static void table_free(struct snapshot_item *item)
{
	struct dp_table *t = CONTAINER_OF(item, struct dp_table, item);

	routes_free(t->routes);
	routes_free(t->next_routes);
	for (uint32_t i = 0; i < t->n_garbage; i++)
		free(t->garbage[i]);
	free(t->garbage);
	for (uint32_t b = 0; !t->is_superseded && b < t->n_blocks; b++)
		free(t->blocks[b]);
	if (!t->is_superseded)
		filter_free(t->filter);
	free(t);
}

/* --- opening and closing --- */

int dp_cfg_force(struct dp_cfg *cfg, const char *words)
{
	const struct {
		const char *word;
		bool *flag;
	} known[] = { { "no-vnet-hdr", &cfg->use_no_vnet_hdr },
		      { "no-uso", &cfg->use_no_uso },
		      { "no-gso", &cfg->use_no_gso },
		      { "no-gro", &cfg->use_no_gro } };

	for (size_t n; *words; words += n + (words[n] == ',')) {
		bool found = false;

		n = strcspn(words, ",");
		if (n == 9 && memcmp(words, "helpers-", 8) == 0 && words[8] >= '0' &&
		    words[8] <= '0' + CREW_HELPERS_MAX) {
			cfg->n_helpers = (unsigned)(words[8] - '0');
			found = true;
		}
		for (size_t i = 0; i < ARRAY_LEN(known); i++) {
			if (strlen(known[i].word) != n || memcmp(known[i].word, words, n) != 0)
				continue;
			found = *known[i].flag = true;
		}
		if (!found)
			return -EINVAL;
	}
	return 0;
}

static int open_sock(struct dp *dp, unsigned fam, uint16_t port)
{
	const struct usock_cfg cfg = { .family = fam ? IP_V6 : IP_V4,
				       .port = port,
				       .mark = dp->fwmark,
				       .use_no_gso = dp->use_no_gso,
				       .use_no_gro = dp->use_no_gro };
	const int err = usock_open(&dp->main[fam], &cfg);

	if (!err)
		snapshot_store(&dp->sock[fam], &dp->main[fam]);
	return err;
}

/* Both families on one port: the wanted one, else one that is free for both. A host without IPv6
 * does with IPv4. */
static int open_socks(struct dp *dp, uint16_t port, char err[static DP_ERR_MAX])
{
	int ret = open_sock(dp, 0, port);

	if (ret == -EADDRINUSE && port) {
		log_warn(dp->log, "udp: port %u: %s: using another", port, strerror(-ret));
		ret = open_sock(dp, 0, 0);
	}
	for (int i = 0; !ret && i < 16; i++) {
		const int ret6 = open_sock(dp, 1, dp->main[0].port);

		if (ret6 != -EADDRINUSE) {
			if (ret6)
				log_info(dp->log, "udp: no IPv6: %s", strerror(-ret6));
			return 0;
		}
		/* No worker runs yet, so the socket may be closed and opened again. */
		usock_close(&dp->main[0]);
		ret = open_sock(dp, 0, 0);
	}
	if (ret)
		(void)snprintf(err, DP_ERR_MAX, "udp: port %u: %s", port, strerror(-ret));
	return ret;
}

static int open_parts(struct dp *dp, const struct dp_cfg *cfg, char err[static DP_ERR_MAX])
{
	const struct tun_cfg tun = { .name = cfg->tun_name,
				     .mtu = dp->mtu,
				     .log = cfg->log,
				     .use_no_vnet_hdr = cfg->use_no_vnet_hdr,
				     .use_no_uso = cfg->use_no_uso };
	int ret;

	(void)snprintf(err, DP_ERR_MAX, "out of memory");
	dp->snapshot = snapshot_new(cfg->loop);
	dp->flows = flows_new(FLOWS_DEFAULT);
	if (!dp->snapshot || !dp->flows)
		return -ENOMEM;
	slots_init(&dp->keys, dp->snapshot);
	slots_init(&dp->vnis, dp->snapshot);
	ret = bell_open(&dp->bell);
	if (ret)
		return ret;
	ret = tun_open(&dp->tun, &tun, err);
	if (ret)
		return ret;
	return open_socks(dp, cfg->port, err);
}

static int start_workers(struct dp *dp, char err[static DP_ERR_MAX])
{
	int ret = loop_fd_add(dp->loop, &dp->watch, dp->bell.fd, EPOLLIN, dp_poll_ready, dp);

	if (!ret)
		ret = in_open(dp);
	if (!ret)
		ret = out_open(dp);
	if (ret)
		(void)snprintf(err, DP_ERR_MAX, "packet threads: %s", strerror(-ret));
	return ret;
}

int dp_open(struct dp **out, const struct dp_cfg *cfg, char err[static DP_ERR_MAX])
{
	struct dp *dp = calloc(1, sizeof(*dp));
	int ret;

	if (!dp) {
		(void)snprintf(err, DP_ERR_MAX, "out of memory");
		return -ENOMEM;
	}
	dp->loop = cfg->loop;
	dp->log = cfg->log;
	dp->crypto = cfg->crypto;
	dp->mtu = cfg->mtu ? cfg->mtu : DP_MTU;
	dp->fwmark = cfg->fwmark ? cfg->fwmark : (uint32_t)RTNL_MARK;
	dp->use_no_gso = cfg->use_no_gso;
	dp->n_helpers = cfg->n_helpers;
	dp->relay_bytes_per_s = cfg->relay_bytes_per_s;
	dp->relay_session_bytes_per_s = cfg->relay_session_bytes_per_s;
	dp->use_no_gro = cfg->use_no_gro;
	dp->on_events = cfg->on_events;
	dp->ctx = cfg->ctx;
	dp->tun.fd = dp->main[0].fd = dp->main[1].fd = dp->bell.fd = -1;
	dp->timer = (struct loop_timer){ .fn = dp_poll_timer, .ctx = dp };
	(void)pthread_mutex_init(&dp->flows_lock, NULL);
	randombytes_buf(dp->flows_seed, sizeof(dp->flows_seed));
	ret = open_parts(dp, cfg, err);
	if (!ret)
		ret = start_workers(dp, err);
	if (ret) {
		dp_close(dp);
		return ret;
	}
	log_info(dp->log, "dp: %s: %s, udp port %u, helpers %u", dp->tun.name, tun_mode(&dp->tun),
		 dp->main[0].port, dp->n_helpers);
	*out = dp;
	return 0;
}

static void free_peer_now(struct dp_peer *p)
{
	if (p)
		peer_free(&p->item);
}

/* Everything that is published; the workers have ended. */
static void free_published(struct dp *dp)
{
	struct dp_table *t = snapshot_own(&dp->table);
	struct slots_entry *e;
	uint32_t it = 0;

	while ((e = slots_next(&dp->keys, &it)))
		key_free(&CONTAINER_OF(e, struct dp_key, slot)->item);
	slots_wipe(&dp->keys);
	for (uint32_t i = 0; t && i < t->n_blocks * DP_BLOCK; i++)
		free_peer_now(dp_table_at(t, i)->peer);
	if (t)
		table_free(&t->item);
	slots_wipe(&dp->vnis);
}

void dp_close(struct dp *dp)
{
	if (!dp)
		return;
	dp_relay_close(dp);
	out_stop(dp);
	in_stop(dp);
	loop_fd_del(dp->loop, &dp->watch);
	loop_timer_stop(dp->loop, &dp->timer);
	out_free(dp->out);
	in_free(dp->in);
	if (dp->snapshot)
		free_published(dp);
	snapshot_free(dp->snapshot);
	tun_close(&dp->tun);
	usock_close(&dp->main[0]);
	usock_close(&dp->main[1]);
	bell_close(&dp->bell);
	flows_free(dp->flows);
	(void)pthread_mutex_destroy(&dp->flows_lock);
	sodium_memzero(dp->flows_seed, sizeof(dp->flows_seed));
	free(dp->past);
	free(dp);
}

uint16_t dp_port(const struct dp *dp, enum ip_family family)
{
	const unsigned fam = dp_fam((uint8_t)family);

	return snapshot_own(&dp->sock[fam]) ? dp->main[fam].port : 0;
}

const char *dp_ifname(const struct dp *dp)
{
	return dp->tun.name;
}

uint32_t dp_ifindex(const struct dp *dp)
{
	return dp->tun.ifindex;
}

const char *dp_aead_name(const struct dp *dp)
{
	return dp->crypto->aead->name;
}

const char *dp_tun_mode(const struct dp *dp)
{
	return tun_mode(&dp->tun);
}

void dp_rebind(struct dp *dp)
{
	for (unsigned fam = 0; fam < 2; fam++) {
		if (snapshot_own(&dp->sock[fam])) {
			/* The next device may segment what this one could not. */
			if (!dp->use_no_gso)
				counter_mark_clear(&dp->main[fam].gso_off);
		} else if (open_sock(dp, fam, dp->main[!fam].port) == 0) {
			bell_ring(&in_worker(dp->in)->bell);
		}
	}
	(void)counter_mark_set(&dp->gso_is_fresh);
}

/* --- views --- */

static struct dp_peer *find_peer(const struct dp *dp, struct peer_id id)
{
	const struct dp_table_entry *e = dp_table_at(snapshot_own(&dp->table), id.index);

	return e && e->peer && peer_id_eq(e->peer->id, id) ? e->peer : NULL;
}

struct dp_peer *dp_find_peer(const struct dp *dp, struct peer_id id)
{
	return find_peer(dp, id);
}

static struct dp_table *table_new(const struct dp_view *view, uint32_t n_blocks)
{
	struct dp_table *t;

	for (size_t i = 0; i < view->n_peers; i++)
		if (view->peers[i].id.index / DP_BLOCK >= n_blocks)
			n_blocks = view->peers[i].id.index / DP_BLOCK + 1;
	t = calloc(1, sizeof(*t) + n_blocks * sizeof(struct dp_block *));
	if (t)
		t->n_blocks = n_blocks;
	return t;
}

/* Undoes what was done for a table that is not published: peers and blocks that 'old' has not. */
static void drop_new(const struct dp *dp, const struct dp_table *old, struct dp_table *t)
{
	for (uint32_t b = 0; b < t->n_blocks; b++) {
		struct dp_block *block = t->blocks[b];

		if (!block || (old && b < old->n_blocks && old->blocks[b] == block))
			continue;
		for (uint32_t i = 0; i < DP_BLOCK; i++)
			if (block->e[i].peer && !find_peer(dp, block->e[i].peer->id))
				free_peer_now(block->e[i].peer);
		free(block);
	}
	free(t);
}

/* A block of 't' that may be written: not shared with 'old'. */
static struct dp_block *own_block(const struct dp_table *old, struct dp_table *t, uint32_t index)
{
	const uint32_t b = index / DP_BLOCK;
	struct dp_block *was = old && b < old->n_blocks ? old->blocks[b] : NULL, *copy;

	if (t->blocks[b] && t->blocks[b] != was)
		return t->blocks[b];
	copy = calloc(1, sizeof(*copy));
	if (copy && was && t->blocks[b])
		*copy = *was;
	if (copy)
		t->blocks[b] = copy;
	return copy;
}

static int fill_table(const struct dp *dp, const struct dp_table *shared, struct dp_table *t,
		      const struct dp_view *view)
{
	for (size_t i = 0; i < view->n_peers; i++) {
		const struct dp_view_peer *v = &view->peers[i];
		struct dp_block *block = own_block(shared, t, v->id.index);
		struct dp_table_entry *e = block ? &block->e[v->id.index % DP_BLOCK] : NULL;

		if (!e)
			return -ENOMEM;
		if (e->peer)
			return -EINVAL;
		e->peer = find_peer(dp, v->id);
		if (!e->peer) {
			e->peer = calloc(1, sizeof(*e->peer));
			if (!e->peer)
				return -ENOMEM;
			e->peer->id = v->id;
		}
		e->flags = (uint8_t)((v->is_jailed ? DP_PEER_JAILED : 0) |
				     (v->is_wg_only ? DP_PEER_WG_ONLY : 0));
	}
	/* Blocks between those that have peers. */
	for (uint32_t b = 0; b < t->n_blocks; b++)
		if (!t->blocks[b] && !own_block(NULL, t, b * DP_BLOCK))
			return -ENOMEM;
	return 0;
}

/* Takes the keys of all peers that are gone out; they are wiped after the grace period. */
static void drop_gone_keys(struct dp *dp)
{
	struct slots_entry *e;
	uint32_t it = 0;

	while ((e = slots_next(&dp->keys, &it))) {
		struct dp_key *k = CONTAINER_OF(e, struct dp_key, slot);

		if (!k->peer->is_gone)
			continue;
		(void)slots_del(&dp->keys, e->key);
		snapshot_retire(dp->snapshot, &k->item, key_free);
	}
}

static void mark_gone(struct dp *dp, struct dp_peer *p)
{
	p->is_gone = true;
	snapshot_store(&p->key, NULL);
	dp_poll_forget(dp, p);
}

/* Peers of the old table that are not in the new one. */
static void retire_gone(struct dp *dp, struct dp_table *old)
{
	const uint32_t n = old->n_blocks * DP_BLOCK;
	bool any = false;

	for (uint32_t i = 0; i < n; i++) {
		struct dp_peer *p = dp_table_at(old, i)->peer;

		if (!p || find_peer(dp, p->id))
			continue;
		any = true;
		mark_gone(dp, p);
	}
	/* The keys first: they point to their peers. */
	if (any)
		drop_gone_keys(dp);
	for (uint32_t i = 0; any && i < n; i++) {
		struct dp_peer *p = dp_table_at(old, i)->peer;

		if (p && p->is_gone)
			snapshot_retire(dp->snapshot, &p->item, peer_free);
	}
	snapshot_retire(dp->snapshot, &old->item, table_free);
}

int dp_publish_view(struct dp *dp, const struct dp_view *view)
{
	struct dp_table *t = table_new(view, 0);
	struct dp_table *old = snapshot_own(&dp->table);
	int err;

	if (!t)
		return -ENOMEM;
	err = fill_table(dp, NULL, t, view);
	if (err) {
		drop_new(dp, NULL, t);
		return err;
	}
	t->routes = view->routes;
	t->filter = view->filter;
	snapshot_store(&dp->table, t);
	if (old)
		retire_gone(dp, old);
	return 0;
}

/* Takes the peers of 'gone' out of 't', which shares blocks with 'old'. */
static int take_out(const struct dp *dp, const struct dp_table *old, struct dp_table *t,
		    const struct peer_id *gone, size_t n_gone)
{
	for (size_t i = 0; i < n_gone; i++) {
		struct dp_block *block;

		if (!find_peer(dp, gone[i]))
			return -ENOENT;
		block = own_block(old, t, gone[i].index);
		if (!block)
			return -ENOMEM;
		block->e[gone[i].index % DP_BLOCK] = (struct dp_table_entry){ 0 };
	}
	return 0;
}

/* 't' takes over what it shares with 'old'; 'old' keeps a list of the rest. */
static void supersede(struct dp_table *old, struct dp_table *t, struct dp_block **garbage)
{
	for (uint32_t b = 0; b < old->n_blocks; b++)
		if (old->blocks[b] != t->blocks[b])
			garbage[old->n_garbage++] = old->blocks[b];
	old->garbage = garbage;
	old->is_superseded = true;
}

void dp_keep_routes(struct dp *dp, struct routes *routes)
{
	struct dp_table *old = snapshot_own(&dp->table);

	assert(!old || !old->next_routes); /* the engine makes no other version before a whole view */
	if (old)
		old->next_routes = routes;
	else
		routes_free(routes);
}

int dp_change_view(struct dp *dp, const struct dp_view *view, const struct peer_id *gone, size_t n_gone)
{
	struct dp_table *old = snapshot_own(&dp->table);
	struct dp_table *t = old ? table_new(view, old->n_blocks) : NULL;
	struct dp_block **garbage = calloc(view->n_peers + n_gone + 1, sizeof(*garbage));
	struct dp_peer **leaving = calloc(n_gone + 1, sizeof(*leaving));
	int err = !old ? -ENOENT : t && garbage && leaving ? 0 : -ENOMEM;

	if (t && old->n_blocks)
		memcpy(t->blocks, old->blocks, old->n_blocks * sizeof(struct dp_block *));
	if (!err)
		err = take_out(dp, old, t, gone, n_gone);
	if (!err)
		err = fill_table(dp, old, t, view);
	if (err) {
		if (t)
			drop_new(dp, old, t);
		free(garbage);
		free((void *)leaving);
		dp_keep_routes(dp, view->routes);
		return err;
	}
	for (size_t i = 0; i < n_gone; i++)
		leaving[i] = find_peer(dp, gone[i]);
	supersede(old, t, garbage);
	t->routes = view->routes;
	t->filter = old->filter;
	snapshot_store(&dp->table, t);
	for (size_t i = 0; i < n_gone; i++)
		mark_gone(dp, leaving[i]);
	if (n_gone)
		drop_gone_keys(dp);
	for (size_t i = 0; i < n_gone; i++)
		snapshot_retire(dp->snapshot, &leaving[i]->item, peer_free);
	free((void *)leaving);
	snapshot_retire(dp->snapshot, &old->item, table_free);
	return 0;
}

/* --- paths and keys --- */

static void fill_target(struct dp_target *t, const struct path_addr *addr)
{
	const bool v6 = addr->ep.ip.family == IP_V6;

	t->addr = *addr;
	switch ((enum path_kind)addr->kind) {
	case PATH_NONE:
	case PATH_DIRECT:
		t->via = DP_VIA_DIRECT;
		t->path = v6 ? DP_DIRECT6 : DP_DIRECT4;
		break;
	case PATH_RELAY:
		t->via = DP_VIA_RELAY;
		t->path = v6 ? DP_RELAY6 : DP_RELAY4;
		geneve_write(t->geneve, GENEVE_PROTO_WIREGUARD, addr->vni, false);
		break;
	case PATH_DERP:
		t->via = DP_VIA_DERP;
		t->path = DP_DERP;
		return;
	}
	t->to = usock_addr(&addr->ep);
}

int dp_set_peer_path(struct dp *dp, struct peer_id peer, const struct path_addr *targets, size_t n)
{
	struct dp_peer *p = find_peer(dp, peer);
	struct dp_targets *ts = NULL, *old;

	if (!p)
		return -ENOENT;
	if (n) {
		ts = calloc(1, sizeof(*ts));
		if (!ts)
			return -ENOMEM;
	}
	for (size_t i = 0; i < n && i < DP_TARGETS_MAX; i++) {
		if (targets[i].kind == PATH_NONE)
			continue;
		fill_target(&ts->t[ts->n++], &targets[i]);
		ts->has_relay |= targets[i].kind == PATH_RELAY;
	}
	old = snapshot_own(&p->targets);
	snapshot_store(&p->targets, ts);
	if (old)
		snapshot_retire(dp->snapshot, &old->item, targets_free);
	return 0;
}

int dp_key_install(struct dp *dp, struct peer_id peer, struct keypair *kp)
{
	struct dp_peer *p = find_peer(dp, peer);
	struct dp_key *k;
	int err;

	if (!p)
		return -ENOENT;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->slot.key = kp->local_index;
	k->kp = kp;
	k->peer = p;
	err = slots_put(&dp->keys, &k->slot);
	if (err)
		free(k);
	return err;
}

int dp_key_use(struct dp *dp, struct peer_id peer, uint32_t local_index)
{
	struct dp_peer *p = find_peer(dp, peer);
	struct slots_entry *e = slots_get(&dp->keys, local_index);

	if (!p || !e || CONTAINER_OF(e, struct dp_key, slot)->peer != p)
		return -ENOENT;
	snapshot_store(&p->key, CONTAINER_OF(e, struct dp_key, slot));
	return 0;
}

void dp_key_drop(struct dp *dp, uint32_t local_index)
{
	struct slots_entry *e = slots_del(&dp->keys, local_index);
	struct dp_key *k;

	if (!e)
		return;
	k = CONTAINER_OF(e, struct dp_key, slot);
	if (snapshot_own(&k->peer->key) == k)
		snapshot_store(&k->peer->key, NULL);
	snapshot_retire(dp->snapshot, &k->item, key_free);
}

/* --- packets from control --- */

static const struct usock *sock_of(const struct dp *dp, uint32_t number, enum ip_family family)
{
	const uint32_t i = number - DP_SOCK_RELAY;

	if (number == DP_SOCK_MAIN)
		return snapshot_own(&dp->sock[dp_fam((uint8_t)family)]);
	return i < dp->n_forwarders ? forward_sock(dp->forwarders[i], family) : NULL;
}

int dp_send(struct dp *dp, const struct dp_send *s)
{
	const struct usock *sock = sock_of(dp, s->sock, s->to.ep.ip.family);
	const struct usock_addr to = usock_addr(&s->to.ep);
	uint8_t geneve[GENEVE_SIZE];
	struct iovec iov[2];
	size_t n = 0;

	if (s->to.kind != PATH_DIRECT && s->to.kind != PATH_RELAY)
		return -EINVAL;
	if (!sock)
		return -EAFNOSUPPORT;
	if (s->to.kind == PATH_RELAY) {
		geneve_write(geneve, s->geneve_proto, s->to.vni, s->geneve_control);
		iov[n++] = (struct iovec){ geneve, sizeof(geneve) };
	}
	/* sendmsg() only reads, but struct iovec has no const. */
	iov[n++] = (struct iovec){ (void *)(uintptr_t)s->data, s->size };
	return usock_send_one(sock, &to, iov, n);
}

static int order(struct dp *dp, struct worker *w, const struct dp_order *o, const void *data)
{
	uint8_t *p = ring_reserve(&w->orders, sizeof(*o) + o->size);

	if (!p) {
		counter_add(&dp->control_dropped_orders, 1);
		return -ENOBUFS;
	}
	memcpy(p, o, sizeof(*o));
	if (o->size)
		memcpy(p + sizeof(*o), data, o->size);
	ring_commit(&w->orders);
	return 0;
}

int dp_inject(struct dp *dp, struct peer_id peer, const void *packet, size_t size)
{
	const struct dp_order o = { .peer = peer, .size = (uint32_t)size };

	int err;

	if (!find_peer(dp, peer))
		return -ENOENT;
	err = size > IP_PKT_SIZE_MAX ? -ENOBUFS : order(dp, out_worker(dp->out), &o, packet);
	bell_ring(&out_worker(dp->out)->bell);
	return err;
}

bool dp_has_derp_room(const struct dp *dp)
{
	return ring_used(&in_worker(dp->in)->orders) < DP_RING_SIZE / 2;
}

int dp_derp_in(struct dp *dp, uint32_t region, const void *data, size_t size)
{
	const struct dp_order o = { .region = region, .size = (uint32_t)size };
	struct wg_data hdr;

	if (size > IP_PKT_SIZE_MAX || wgmsg_data_parse(&hdr, data, size) < 0)
		return -EBADMSG;
	dp->derp_is_due = true;
	return order(dp, in_worker(dp->in), &o, data);
}

void dp_derp_flush(struct dp *dp)
{
	if (dp->derp_is_due)
		bell_ring(&in_worker(dp->in)->bell);
	dp->derp_is_due = false;
}
