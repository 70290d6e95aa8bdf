/* SPDX-License-Identifier: MIT */
/* The out worker: TUN → route → filter note → seal → UDP.
 *
 * A batch reads super-packets from TUN (and packets that control injects), writes their segments
 * directly at their final place in one arena, seals them in groups of one key, and sends runs of
 * equal segments with one call each. With three cores or more, helpers seal shares of the batch at the
 * same time (daemon/crew.h). Packets of one key are sent in the order in which they were read; mixed ones
 * of several keys are brought together by key first.
 *
 *   arena:  [geneve 8][header 16][plaintext, padded][tag 16] [geneve 8][header 16] …
 *            only if a target of the path is a relay
 *
 * Runs to completion: nothing is carried over to the next batch. */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/group.h"
#include "daemon/dpstate.h"
#include "path/ladder.h"
#include "wire/ip.h"
#include "wire/offload.h"

enum {
	ARENA_SIZE = 448 << 10, /* about six super-packets */
	DUP_BURST = 256 << 10,  /* bytes sent twice at once, before the limit per second counts */
	PKTS_MAX = 512,         /* per flush */
	READS_MAX = 64,         /* TUN reads a batch, so that orders and stopping get their turn */
	RUN_LOOKBACK = 8,       /* runs that a packet may still join */
	SEG_OVERHEAD = GENEVE_SIZE + WGMSG_DATA_OVERHEAD + WGMSG_PADDING,
	SEGS_LIMIT = USOCK_RUN_SEGS_MAX,
	PART_MAX = 32, /* packets that a helper seals at once: full lanes of the vector units */
};

/* What belongs to packet 'i' beside its bytes. */
struct out_pkt {
	struct dp_key *key;
	const struct dp_targets *targets;
	uint64_t counter;
	bool is_data;
};

/* Packets that are sealed with one call: of one key, with consecutive counters. */
struct out_part {
	uint16_t first, n;
	uint64_t ok; /* bitmap */
};

/* A run that is being filled, and what it is for. */
struct out_run {
	const struct dp_target *target;
	struct dp_peer *peer;
	bool is_closed;
};

/* A path that refused GSO with segments of this size: larger ones go one by one, and the kernel makes
 * fragments of them where it must. */
struct narrow {
	struct ep ep;
	uint32_t seg_size;
	struct mono until;
};

static_assert((int)PKTS_MAX <= (int)GROUP_ITEMS_MAX, "a batch is grouped as a whole");

struct out {
	struct worker w;
	uint8_t *arena; /* mmap: ARENA_SIZE, then TUN_READ_MAX for reading */
	uint8_t *read_buf;
	size_t used; /* of the arena */
	struct mono now;
	const struct dp_table *table;
	uint32_t n_pkts;
	struct keypair_pkt kpkts[PKTS_MAX];
	struct out_pkt pkts[PKTS_MAX];
	uint32_t n_parts;
	struct out_part parts[PKTS_MAX];
	uint32_t n_shares;
	uint16_t shares[PKTS_MAX + 1]; /* the first part of each, and the end */
	struct usock_run runs[2][USOCK_RUNS_MAX];
	struct out_run run_infos[2][USOCK_RUNS_MAX];
	struct iovec iov[2][USOCK_RUNS_MAX][SEGS_LIMIT]; /* each run's pieces */
	uint32_t n_runs[2];
	struct flow_cache cache;
	/* Paths that refused GSO. */
	struct narrow narrow[DP_NARROW_MAX];
	uint32_t n_narrow;
};

static void drop(struct out *o, enum dp_out_drop reason, uint64_t n)
{
	counter_add(&o->w.tally.out_dropped[reason], n);
}

/* --- paths that are too narrow for GSO --- */

static struct narrow *find_narrow(struct out *o, const struct ep *ep)
{
	for (uint32_t i = 0; i < o->n_narrow; i++) {
		if (!ep_eq(&o->narrow[i].ep, ep))
			continue;
		if (mono_before(o->now, o->narrow[i].until))
			return &o->narrow[i];
		o->narrow[i] = o->narrow[--o->n_narrow];
		return NULL;
	}
	return NULL;
}

static bool is_narrow(struct out *o, const struct ep *ep, uint32_t seg_size)
{
	const struct narrow *n = o->n_narrow ? find_narrow(o, ep) : NULL;

	return n && seg_size >= n->seg_size;
}

static void note_narrow(struct out *o, const struct out_run *info, uint32_t seg_size)
{
	const struct dp_note note = { .kind = DP_EV_PATH_MTU,
				      .peer = info->peer->id,
				      .path = info->target->addr,
				      .when = o->now };
	struct narrow *n = find_narrow(o, &info->target->addr.ep);

	if (!n)
		n = &o->narrow[o->n_narrow < DP_NARROW_MAX
				       ? o->n_narrow++
				       : (uint32_t)(o->now.ns >> 10) % DP_NARROW_MAX];
	*n = (struct narrow){ info->target->addr.ep, seg_size, mono_add_s(o->now, DP_NARROW_S) };
	(void)worker_note(&o->w, &note, NULL, 0);
}

/* --- runs --- */

static void count_run(struct out *o, const struct usock_run *run, const struct out_run *info)
{
	const uint32_t head = info->target->addr.kind == PATH_RELAY ? GENEVE_SIZE : 0;

	counter_add(&o->w.tally.out_pkts[info->target->path], run->n_segs);
	counter_add(&o->w.tally.out_bytes[info->target->path], run->bytes - head * run->n_segs);
}

static void send_runs(struct out *o, unsigned fam)
{
	struct usock *sock = snapshot_load(&o->w.dp->sock[fam]);
	const uint32_t n = o->n_runs[fam];

	o->n_runs[fam] = 0;
	if (!n)
		return;
	if (sock)
		counter_add(&o->w.tally.udp_sends, usock_send(sock, o->runs[fam], n));
	for (uint32_t i = 0; i < n; i++) {
		const struct usock_run *run = &o->runs[fam][i];
		const struct out_run *info = &o->run_infos[fam][i];

		if (sock && run->was_resent)
			counter_add(&o->w.tally.gso_fallbacks, 1);
		if (sock && run->was_too_big)
			note_narrow(o, info, run->seg_size);
		if (!sock || run->error)
			drop(o, DP_OUT_SEND, run->n_segs);
		else
			count_run(o, run, info);
	}
}

/* The newest run to this target, if it can take a segment of 'size' bytes. */
static struct usock_run *open_run(struct out *o, unsigned fam, const struct dp_target *t,
				  uint32_t size)
{
	const uint32_t n = o->n_runs[fam];

	for (uint32_t i = n; i > 0 && i + RUN_LOOKBACK > n; i--) {
		struct usock_run *run = &o->runs[fam][i - 1];
		struct out_run *info = &o->run_infos[fam][i - 1];

		if (info->target != t)
			continue;
		if (info->is_closed || run->n_segs == SEGS_LIMIT || size > run->seg_size ||
		    run->bytes + size > USOCK_RUN_BYTES_MAX)
			return NULL;
		info->is_closed = size < run->seg_size;
		return run;
	}
	return NULL;
}

static void add_to_run(struct out *o, struct dp_peer *peer, const struct dp_target *t, uint8_t *p,
		       uint32_t size)
{
	const unsigned fam = dp_fam(t->addr.ep.ip.family);
	struct usock_run *run = open_run(o, fam, t, size);
	uint32_t at;

	if (!run) {
		if (o->n_runs[fam] == USOCK_RUNS_MAX)
			send_runs(o, fam);
		at = o->n_runs[fam]++;
		run = &o->runs[fam][at];
		o->run_infos[fam][at] = (struct out_run){ .target = t, .peer = peer };
		*run = (struct usock_run){ .to = t->to,
					   .iov = o->iov[fam][at],
					   .seg_size = size,
					   .is_single = is_narrow(o, &t->addr.ep, size) };
	}
	run->n_segs++;
	run->bytes += size;
	if (run->n_iov) {
		struct iovec *last = &run->iov[run->n_iov - 1];

		if ((uint8_t *)last->iov_base + last->iov_len == p) {
			last->iov_len += size;
			return;
		}
	}
	run->iov[run->n_iov++] = (struct iovec){ p, size };
}

static void send_derp(struct out *o, struct dp_peer *peer, const struct dp_target *t,
		      const uint8_t *p, uint32_t size)
{
	const struct dp_note note = {
		.kind = DP_EV_DERP_OUT, .peer = peer->id, .path = t->addr, .when = o->now
	};

	if (!worker_note(&o->w, &note, p, size)) {
		drop(o, DP_OUT_RING, 1);
		return;
	}
	counter_add(&o->w.tally.out_pkts[DP_DERP], 1);
	counter_add(&o->w.tally.out_bytes[DP_DERP], size);
}

/* A path in doubt must not double a bulk flow: the copies for a peer are limited (RELIABILITY 8). */
static bool may_copy(struct out *o, struct dp_peer *peer, uint32_t size)
{
	if (bucket_take(&peer->dups, o->now, LADDER_DUP_BYTES_PER_S, DUP_BURST, size))
		return true;
	counter_add(&o->w.tally.dups_limited, 1);
	return false;
}

/* One sealed message on every target of its path. */
static void send_pkt(struct out *o, uint32_t i)
{
	const struct dp_targets *ts = o->pkts[i].targets;
	uint8_t *msg = o->kpkts[i].data - WGMSG_DATA_HDR_SIZE;
	const uint32_t size = o->kpkts[i].size;

	for (uint32_t k = 0; k < ts->n; k++) {
		const struct dp_target *t = &ts->t[k];

		if (k > 0 && !may_copy(o, o->pkts[i].key->peer, size))
			break;
		switch ((enum path_kind)t->addr.kind) {
		case PATH_NONE:
			break;
		case PATH_DIRECT:
			add_to_run(o, o->pkts[i].key->peer, t, msg, size);
			break;
		case PATH_RELAY:
			memcpy(msg - GENEVE_SIZE, t->geneve, GENEVE_SIZE);
			add_to_run(o, o->pkts[i].key->peer, t, msg - GENEVE_SIZE,
				   size + GENEVE_SIZE);
			break;
		case PATH_DERP:
			send_derp(o, o->pkts[i].key->peer, t, msg, size);
			break;
		}
	}
}

/* --- sealing --- */

static void count_sealed(struct out *o, struct dp_key *key, uint32_t n, uint64_t bytes,
			 uint64_t n_data)
{
	struct dp_peer *peer = key->peer;

	if (keypair_note_sent(key->kp, o->now, n, bytes, n_data > 0)) {
		const struct dp_note note = { .kind = DP_EV_KEY_ACTIVITY,
					      .peer = peer->id,
					      .local_index = key->slot.key,
					      .when = o->now };

		(void)worker_note(&o->w, &note, NULL, 0);
	}
	counter_set(&peer->last_tx, (uint64_t)o->now.ns);
	if (n_data) {
		counter_set(&peer->last_tx_data, (uint64_t)o->now.ns);
		counter_add(&peer->tx_data_pkts, n_data);
	}
	worker_mark_active(&o->w, peer);
}

/* Several peers' packets come mixed: each key's together make longer parts, and longer runs to send. */
static void group(struct out *o)
{
	uint64_t keys[PKTS_MAX];
	struct group g;

	for (uint32_t i = 0; i < o->n_pkts; i++)
		keys[i] = (uintptr_t)o->pkts[i].key;
	if (!group_by_key(&g, keys, o->n_pkts))
		return;
	group_apply(&g, o->kpkts, o->n_pkts, sizeof(o->kpkts[0]));
	group_apply(&g, o->pkts, o->n_pkts, sizeof(o->pkts[0]));
}

/* Cuts the batch into parts: as long as they may be, or shorter if there is somebody to share with; and the parts into
 * shares, so that handing one over is paid once for many packets. */
static void cut(struct out *o)
{
	const uint32_t max = o->w.crew ? PART_MAX : AEAD_BATCH_MAX;
	uint32_t n_share = 0;

	o->n_parts = o->n_shares = 0;
	for (uint32_t first = 0, n; first < o->n_pkts; first += n) {
		const struct out_pkt *p = &o->pkts[first];

		for (n = 1; n < max && first + n < o->n_pkts && p[n].key == p->key &&
			    p[n].counter == p->counter + n;)
			n++;
		if (n_share == 0)
			o->shares[o->n_shares++] = (uint16_t)o->n_parts;
		n_share = n_share + n < PART_MAX ? n_share + n : 0;
		o->parts[o->n_parts++] =
			(struct out_part){ .first = (uint16_t)first, .n = (uint16_t)n };
	}
	o->shares[o->n_shares] = (uint16_t)o->n_parts;
}

/* On the worker's thread or a helper's. */
static void seal_share(void *ctx, uint32_t i, unsigned lane)
{
	struct out *o = ctx;

	for (uint32_t k = o->shares[i]; k < o->shares[i + 1]; k++) {
		struct out_part *part = &o->parts[k];
		const struct out_pkt *p = &o->pkts[part->first];

		part->ok = keypair_seal_n(p->key->kp, lane, &o->w.aead[lane], o->w.dp->mtu, p->counter,
					  &o->kpkts[part->first], part->n);
	}
}

/* What failed to seal is dropped and counts as nothing else. */
static void finish_part(struct out *o, const struct out_part *part)
{
	struct dp_key *key = o->pkts[part->first].key;
	uint64_t bytes = 0, n_data = 0;
	uint32_t n = 0;

	for (uint32_t i = 0; i < part->n; i++) {
		struct keypair_pkt *k = &o->kpkts[part->first + i];
		const struct out_pkt *p = &o->pkts[part->first + i];

		if (!(part->ok >> i & 1)) {
			k->size = 0;
			drop(o, DP_OUT_SEND, 1);
			continue;
		}
		n++;
		bytes += k->size;
		n_data += p->is_data;
		counter_add(&key->peer->tx_pkts[p->targets->t[0].via], 1);
		counter_add(&key->peer->tx_bytes[p->targets->t[0].via], k->size);
	}
	if (n)
		count_sealed(o, key, n, bytes, n_data);
}

static void flush(struct out *o)
{
	group(o);
	cut(o);
	crew_run(o->w.crew, seal_share, o, o->n_shares);
	for (uint32_t i = 0; i < o->n_parts; i++)
		finish_part(o, &o->parts[i]);
	for (uint32_t i = 0; i < o->n_pkts; i++)
		if (o->kpkts[i].size)
			send_pkt(o, i);
	send_runs(o, 0);
	send_runs(o, 1);
	o->n_pkts = 0;
	o->used = 0;
}

/* --- packets --- */

/* May control be bothered with another packet to a peer that has no session? A local program that
 * floods such a peer must not keep control busy. */
static bool may_want(struct out *o, struct dp_peer *peer)
{
	if (mono_since_ms(o->now, peer->want_since) >= DP_WANT_MS) {
		peer->want_since = o->now;
		peer->n_wants = 0;
	}
	return peer->n_wants++ < DP_WANT_MAX;
}

/* No key that may send: every segment goes to control, which stages it. */
static void want_session(struct out *o, struct dp_peer *peer, struct offload_split *split)
{
	const struct dp_note note = { .kind = DP_EV_WANT_SESSION,
				      .peer = peer->id,
				      .when = o->now };
	const uint32_t size = offload_split_size(split);

	if (ARENA_SIZE - o->used < size)
		flush(o);
	for (uint32_t n; (n = offload_split_next(split, o->arena + o->used));)
		if (!may_want(o, peer) || !worker_note(&o->w, &note, o->arena + o->used, n))
			drop(o, DP_OUT_RING, 1);
}

/* Writes the segments of a packet into the arena, to be sealed with counters from 'counter0'. */
static void place(struct out *o, struct dp_key *key, const struct dp_targets *ts,
		  struct offload_split *split, uint64_t counter0)
{
	const uint32_t size = offload_split_size(split);
	const uint32_t head = WGMSG_DATA_HDR_SIZE + (ts->has_relay ? GENEVE_SIZE : 0);

	for (uint32_t i = 0; i < split->n_segs; i++) {
		uint8_t *p;
		uint32_t n;

		if (o->n_pkts == PKTS_MAX || ARENA_SIZE - o->used < size + SEG_OVERHEAD)
			flush(o);
		p = o->arena + o->used + head;
		n = offload_split_next(split, p);
		o->kpkts[o->n_pkts] = (struct keypair_pkt){ .data = p, .size = n };
		o->pkts[o->n_pkts++] = (struct out_pkt){ key, ts, counter0 + i, true };
		o->used += head + n + keypair_room(n);
	}
}

static void send_to_peer(struct out *o, struct dp_peer *peer, struct offload_split *split)
{
	struct dp_key *key = snapshot_load(&peer->key);
	const struct dp_targets *ts = snapshot_load(&peer->targets);
	uint64_t counter0;

	if (!key || keypair_reserve(key->kp, o->now, split->n_segs, &counter0) < 0) {
		want_session(o, peer, split);
		return;
	}
	if (!ts || !ts->n) {
		drop(o, DP_OUT_NO_PATH, split->n_segs);
		return;
	}
	place(o, key, ts, split, counter0);
}

static struct dp_peer *peer_at(const struct dp_table *t, uint32_t index)
{
	const struct dp_table_entry *e = dp_table_at(t, index);

	return e ? e->peer : NULL;
}

/* Replies to what we send are let in. */
static void note_flow(struct out *o, const struct ip_pkt *ip)
{
	struct dp *dp = o->w.dp;
	struct flow_key key;
	uint64_t hash;

	if (!filter_flow_key(o->table->filter, ip, false, &key))
		return;
	hash = flow_key_hash(&key, dp->flows_seed);
	if (!flow_cache_wants(&o->cache, o->now, &key, hash))
		return;
	(void)pthread_mutex_lock(&dp->flows_lock);
	flows_note(dp->flows, o->now, &key, hash);
	(void)pthread_mutex_unlock(&dp->flows_lock);
}

static bool is_for_nobody(struct out *o, const struct ip_pkt *ip)
{
	const struct ip dst = ip_pkt_dst(ip);

	if (ip_is_multicast(&dst)) {
		drop(o, DP_OUT_MULTICAST, 1);
		return true;
	}
	if (ip_is_link_local(&dst)) {
		drop(o, DP_OUT_LINK_LOCAL, 1);
		return true;
	}
	/* The node itself speaks TSMP; a local program must not speak in its name. */
	if (ip->proto == IP_PKT_TSMP) {
		drop(o, DP_OUT_PROTOCOL, 1);
		return true;
	}
	return false;
}

static void handle_tun(struct out *o, const struct offload_hdr *hdr, uint8_t *data, size_t size)
{
	struct offload_split split;
	struct dp_peer *peer;
	struct ip_pkt ip;

	if (size < IP4_HDR_SIZE) {
		drop(o, DP_OUT_TOO_SHORT, 1);
		return;
	}
	if (ip_pkt_parse(&ip, data, size) < 0) {
		drop(o, DP_OUT_PROTOCOL, 1);
		return;
	}
	if (is_for_nobody(o, &ip))
		return;
	peer = o->table ? peer_at(o->table, routes_lookup(o->table->routes, ip.family, ip.dst))
			: NULL;
	if (!peer) {
		drop(o, DP_OUT_NO_ROUTE, 1);
		return;
	}
	if (offload_split_init(&split, hdr, data, ip.size) < 0) {
		drop(o, DP_OUT_MALFORMED, 1);
		return;
	}
	if (o->table->filter)
		note_flow(o, &ip);
	send_to_peer(o, peer, &split);
}

/* An empty order is a keepalive. */
static void handle_order(struct out *o, const struct dp_order *order, uint8_t *data)
{
	struct dp_peer *peer = peer_at(o->table, order->peer.index);
	const struct offload_hdr hdr = { 0 };
	struct offload_split split;
	struct ip_pkt ip;

	if (!peer || !peer_id_eq(peer->id, order->peer))
		return;
	if (order->size) {
		if (ip_pkt_parse(&ip, data, order->size) < 0 ||
		    offload_split_init(&split, &hdr, data, ip.size) < 0) {
			drop(o, DP_OUT_MALFORMED, 1);
			return;
		}
		send_to_peer(o, peer, &split);
	} else {
		struct dp_key *key = snapshot_load(&peer->key);
		const struct dp_targets *ts = snapshot_load(&peer->targets);
		uint64_t counter0;

		if (!key || !ts || !ts->n || keypair_reserve(key->kp, o->now, 1, &counter0) < 0)
			return;
		split = (struct offload_split){ .pkt = data, .n_segs = 1 };
		place(o, key, ts, &split, counter0);
		o->pkts[o->n_pkts - 1].is_data = false;
	}
}

static void take_orders(struct out *o)
{
	struct dp_order order;
	uint8_t *p;
	size_t n;

	while ((p = ring_peek(&o->w.orders, &n))) {
		memcpy(&order, p, sizeof(order));
		handle_order(o, &order, p + sizeof(order));
		ring_pop(&o->w.orders);
	}
}

/* Reads until TUN is empty or the batch is long enough. Returns 0, or the negative errno that ended
 * it. */
static int take_tun(struct out *o)
{
	const struct tun *tun = &o->w.dp->tun;
	const size_t skip = tun->has_vnet_hdr ? TUN_HDR_SIZE : 0;

	for (int i = 0; i < READS_MAX; i++) {
		struct offload_hdr hdr = { 0 };
		ssize_t n;

		/* A read may not fit any more: send first what is there, while the rest waits in
		 * the kernel. */
		if (o->used > ARENA_SIZE / 2)
			return 0;
		n = tun_read(tun, o->read_buf, TUN_READ_MAX);
		if (n < 0)
			return (int)n;
		counter_add(&o->w.tally.tun_reads, 1);
		if ((size_t)n < skip) {
			drop(o, DP_OUT_TOO_SHORT, 1);
			continue;
		}
		memcpy(&hdr, o->read_buf, skip);
		handle_tun(o, &hdr, o->read_buf + skip, (size_t)n - skip);
	}
	return 0;
}

/* --- thread --- */

static void trim(struct out *o)
{
	(void)madvise(o->arena, ARENA_SIZE + TUN_READ_MAX, MADV_DONTNEED);
	ring_trim(&o->w.notes);
}

/* Waits for packets or orders. Returns true if nothing came for DP_IDLE_MS. */
static bool sleep_until_ready(struct out *o, bool has_tun, bool is_trimmed)
{
	struct pollfd fds[2] = { { .fd = o->w.bell.fd, .events = POLLIN },
				 { .fd = has_tun ? o->w.dp->tun.fd : -1, .events = POLLIN } };
	int n;

	snapshot_offline();
	n = poll(fds, 2, is_trimmed ? -1 : DP_IDLE_MS);
	if (fds[0].revents)
		bell_clear(&o->w.bell);
	snapshot_online();
	return n == 0;
}

static void tell_tun_gone(struct out *o, int err)
{
	const struct dp_note note = { .kind = DP_EV_TUN_GONE, .error = err, .when = o->now };

	(void)worker_note(&o->w, &note, NULL, 0);
}

/* The link is down: TUN reports an error at every poll. Looks again ten times a second. */
static void sleep_while_down(struct out *o)
{
	struct pollfd fd = { .fd = o->w.bell.fd, .events = POLLIN };

	snapshot_offline();
	if (poll(&fd, 1, 100) > 0)
		bell_clear(&o->w.bell);
	snapshot_online();
}

static void *out_main(void *arg)
{
	struct out *o = arg;
	bool is_trimmed = true, has_tun = true;

	snapshot_thread_enter();
	while (!counter_mark_get(&o->w.stop)) {
		int err;

		snapshot_quiescent();
		o->now = loop_clock();
		o->table = snapshot_load(&o->w.dp->table);
		if (counter_mark_get(&o->w.dp->gso_is_fresh)) {
			counter_mark_clear(&o->w.dp->gso_is_fresh);
			o->n_narrow = 0;
		}
		take_orders(o);
		err = has_tun ? take_tun(o) : -EAGAIN;
		flush(o);
		if (err == -EAGAIN) {
			if (sleep_until_ready(o, has_tun, is_trimmed)) {
				trim(o);
				is_trimmed = true;
			} else {
				is_trimmed = false;
			}
		} else if (err == -EIO) {
			sleep_while_down(o);
		} else if (err) {
			has_tun = false;
			tell_tun_gone(o, err);
		}
	}
	snapshot_thread_leave();
	return NULL;
}

int out_open(struct dp *dp)
{
	struct out *o = calloc(1, sizeof(*o));
	void *p;
	int err;

	if (!o)
		return -ENOMEM;
	dp->out = o;
	err = worker_init(&o->w, dp);
	if (!err)
		err = worker_recruit(&o->w, "meshd-seal");
	if (err)
		return err;
	p = mmap(NULL, ARENA_SIZE + TUN_READ_MAX, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	o->arena = p;
	o->read_buf = o->arena + ARENA_SIZE;
	return worker_start(&o->w, "meshd-out", out_main, o);
}

void out_stop(struct dp *dp)
{
	if (dp->out)
		worker_stop(&dp->out->w);
}

void out_free(struct out *o)
{
	if (!o)
		return;
	worker_wipe(&o->w);
	if (o->arena)
		(void)munmap(o->arena, ARENA_SIZE + TUN_READ_MAX);
	free(o);
}

struct worker *out_worker(struct out *o)
{
	return &o->w;
}
