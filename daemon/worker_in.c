/* SPDX-License-Identifier: MIT */
/* The in worker: UDP (and DERP, by ring) → open → replay → inner source → filter → TUN.
 *
 * A batch receives coalesced datagrams, opens the segments in place in groups of one key, and
 * writes what passed to TUN, gathered again into super-packets: nothing is copied in between. The
 * order authenticate → replay → inner source → filter is fixed, and each step has its own drop
 * counter.
 *
 * Everything that is not WireGuard data goes to control with its source and arrival time. */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/group.h"
#include "daemon/dpstate.h"
#include "wire/classify.h"
#include "wire/echo.h"
#include "wire/ip.h"
#include "wire/offload.h"
#include "wire/wgmsg.h"

enum {
	PKTS_MAX = OFFLOAD_PKTS_MAX, /* a flush */
	PART_MAX = 32,               /* packets that a helper opens at once */
	SRCS_MAX = 256,
	SRCS_LOOKBACK = 8,           /* how many of the newest are compared */
	PIECES_MAX = 1 + OFFLOAD_GROUP_PKTS_MAX, /* of a writev: header and packets */
	BATCHES_MAX = 4,     /* receives per socket before the other one's turn */
	QUIET_RECVS = 32,    /* in DP_IDLE_MS: no more than this is no traffic */
};

static_assert(PIECES_MAX <= 1024, "UIO_MAXIOV");
static_assert((int)PKTS_MAX <= (int)GROUP_ITEMS_MAX, "a batch is grouped as a whole");

/* Where packets of the batch came from. */
struct in_src {
	struct path_addr path;
	uint8_t via;  /* enum dp_via */
	uint8_t kind; /* enum dp_path */
};

struct in_pkt {
	struct dp_key *key;
	uint32_t size; /* of the message */
	uint16_t src;
};

/* Packets that are opened with one call: of one key and one source. */
struct in_part {
	uint16_t first, n;
	uint64_t ok; /* bitmap of the authentic ones */
};

struct in {
	struct worker w;
	struct usock_rx rx;
	uint32_t overflows[2];
	struct mono now;
	struct mono window; /* since when 'n_recvs' counts */
	uint32_t n_recvs;
	const struct dp_table *table;
	uint32_t n_pkts, n_srcs;
	struct keypair_pkt kpkts[PKTS_MAX];
	struct in_pkt pkts[PKTS_MAX];
	uint32_t n_parts;
	struct in_part parts[PKTS_MAX];
	uint32_t n_shares;
	uint16_t shares[PKTS_MAX + 1]; /* the first part of each, and the end */
	struct in_src srcs[SRCS_MAX];
	/* The last flow found in the flow memory this batch: its other packets need no lock. */
	struct flow_key allowed;
	bool has_allowed;
	struct offload_gro gro;
	struct iovec iov[PIECES_MAX];
	struct forward_batch *forward; /* while the relay shares the main sockets */
};

static void drop(struct in *in, enum dp_in_drop reason, uint64_t n)
{
	counter_add(&in->w.tally.in_dropped[reason], n);
}

/* --- TUN --- */

static void write_alone(struct in *in, const struct offload_pkt *p)
{
	const size_t n_hdr = in->w.dp->tun.has_vnet_hdr;
	struct offload_hdr none = { 0 };
	struct iovec iov[2] = { { &none, sizeof(none) }, { p->data, p->size } };

	counter_add(&in->w.tally.tun_writes, 1);
	if (tun_write(&in->w.dp->tun, iov + 1 - n_hdr, 1 + n_hdr) < 0)
		drop(in, DP_IN_TUN, 1);
}

/* The device refused the super-packet as such, and not because it is down: its packets go one by one. */
static void write_singly(struct in *in, uint32_t i)
{
	offload_gro_undo(&in->gro, i);
	counter_add(&in->w.tally.tun_fallbacks, 1);
	for (uint16_t k = in->gro.groups[i].first; k != OFFLOAD_NONE; k = in->gro.pkts[k].next)
		write_alone(in, &in->gro.pkts[k]);
}

static void write_group(struct in *in, uint32_t i)
{
	const struct offload_group *grp = &in->gro.groups[i];
	struct offload_hdr hdr;
	size_t n = 0;
	int err;

	if (!in->w.dp->tun.has_vnet_hdr) {
		write_alone(in, &in->gro.pkts[grp->first]);
		return;
	}
	offload_gro_finish(&in->gro, i, &hdr);
	in->iov[n++] = (struct iovec){ &hdr, sizeof(hdr) };
	for (uint16_t k = grp->first; k != OFFLOAD_NONE; k = in->gro.pkts[k].next) {
		const struct offload_pkt *p = &in->gro.pkts[k];
		const size_t skip = k == grp->first ? 0 : grp->hdr_size;

		in->iov[n++] = (struct iovec){ p->data + skip, p->size - skip };
	}
	counter_add(&in->w.tally.tun_writes, 1);
	err = tun_write(&in->w.dp->tun, in->iov, n);
	if (err == -EINVAL && grp->n_pkts > 1)
		write_singly(in, i);
	else if (err)
		drop(in, DP_IN_TUN, grp->n_pkts);
}

/* --- after opening --- */

static bool is_reply(struct in *in, const struct ip_pkt *ip)
{
	struct dp *dp = in->w.dp;
	struct flow_key key;
	bool ok;

	if (!filter_flow_key(in->table->filter, ip, true, &key))
		return false;
	if (in->has_allowed && memcmp(&key, &in->allowed, sizeof(key)) == 0)
		return true;
	(void)pthread_mutex_lock(&dp->flows_lock);
	ok = flows_allow(dp->flows, in->now, &key, flow_key_hash(&key, dp->flows_seed));
	(void)pthread_mutex_unlock(&dp->flows_lock);
	if (ok) {
		in->allowed = key;
		in->has_allowed = true;
	}
	return ok;
}

static bool is_let_in(struct in *in, const struct dp_table_entry *e, const struct ip_pkt *ip)
{
	switch (filter_check(in->table->filter, ip, (e->flags & DP_PEER_JAILED) != 0)) {
	case FILTER_ACCEPT:
		return true;
	case FILTER_NEEDS_FLOW:
		return is_reply(in, ip);
	case FILTER_DROP_MULTICAST:
	case FILTER_DROP_LINK_LOCAL:
	case FILTER_DROP_NOT_LOCAL:
	case FILTER_DROP_SHORT:
	case FILTER_DROP_ACL:
	case FILTER_N_VERDICTS:
		break;
	}
	return false;
}

/* One authentic, fresh packet that is not empty. */
static void deliver(struct in *in, const struct dp_peer *peer, const struct in_src *src,
		    uint8_t *data, size_t size)
{
	const uint32_t index = peer->id.index;
	const struct dp_table_entry *entry = dp_table_at(in->table, index);
	struct ip_pkt ip;

	if (ip_pkt_parse(&ip, data, size) < 0) {
		drop(in, DP_IN_MALFORMED, 1);
		return;
	}
	if (!entry || entry->peer != peer ||
	    routes_lookup(in->table->routes, ip.family, ip.src) != index) {
		drop(in, DP_IN_SOURCE, 1);
		return;
	}
	if (!is_let_in(in, entry, &ip)) {
		drop(in, DP_IN_ACL, 1);
		return;
	}
	if (ip.proto == IP_PKT_TSMP || echo_is_answer(&ip, NULL)) {
		const struct dp_note note = {
			.kind = DP_EV_TSMP, .peer = peer->id, .path = src->path, .when = in->now
		};

		if (!worker_note(&in->w, &note, data, ip.size))
			drop(in, DP_IN_RING, 1);
		return;
	}
	offload_gro_add(&in->gro, data, &ip);
}

/* Data of a peer that comes by another path than before is told to control, but not for every
 * packet of two paths that alternate. */
static void note_rx_path(struct in *in, struct dp_peer *peer, const struct in_src *src)
{
	const struct dp_note note = {
		.kind = DP_EV_RX_PATH, .peer = peer->id, .path = src->path, .when = in->now
	};

	if (path_eq(&peer->rx_path, &src->path) ||
	    (!mono_is_zero(peer->rx_path_noted) &&
	     mono_since_ms(in->now, peer->rx_path_noted) < DP_RX_PATH_MS))
		return;
	peer->rx_path = src->path;
	peer->rx_path_noted = in->now;
	(void)worker_note(&in->w, &note, NULL, 0);
}

/* What a group of fresh packets from one source adds up to. */
struct in_sum {
	uint64_t n, n_data, bytes;
};

static void count_fresh(struct in *in, struct dp_key *key, const struct in_src *src,
			const struct in_sum *sum)
{
	struct dp_peer *peer = key->peer;
	const uint64_t head = src->path.kind == PATH_RELAY ? GENEVE_SIZE : 0;

	counter_add(&in->w.tally.in_pkts[src->kind], sum->n);
	counter_add(&in->w.tally.in_bytes[src->kind], sum->bytes + head * sum->n);
	counter_add(&peer->rx_pkts[src->via], sum->n);
	counter_add(&peer->rx_bytes[src->via], sum->bytes);
	counter_set(&peer->last_rx, (uint64_t)in->now.ns);
	counter_set(&peer->last_rx_via[src->via], (uint64_t)in->now.ns);
	if (sum->n_data) {
		counter_add(&peer->rx_data_pkts, sum->n_data);
		counter_set(&peer->last_rx_data, (uint64_t)in->now.ns);
	}
	if (keypair_note_received(key->kp, in->now, sum->n, sum->bytes, sum->n_data > 0)) {
		const struct dp_note note = { .kind = DP_EV_KEY_ACTIVITY,
					      .peer = peer->id,
					      .path = src->path,
					      .local_index = key->slot.key,
					      .when = in->now };

		(void)worker_note(&in->w, &note, NULL, 0);
	}
	note_rx_path(in, peer, src);
	worker_mark_active(&in->w, peer);
}

/* Several peers' packets come mixed: each key's together make longer parts, and super-packets. */
static void group(struct in *in)
{
	uint64_t keys[PKTS_MAX];
	struct group g;

	for (uint32_t i = 0; i < in->n_pkts; i++)
		keys[i] = (uintptr_t)in->pkts[i].key;
	if (!group_by_key(&g, keys, in->n_pkts))
		return;
	group_apply(&g, in->kpkts, in->n_pkts, sizeof(in->kpkts[0]));
	group_apply(&g, in->pkts, in->n_pkts, sizeof(in->pkts[0]));
}

/* Cuts the batch into parts: as long as they may be, or shorter if there is somebody to share with; and the parts into
 * shares, so that handing one over is paid once for many packets. */
static void cut(struct in *in)
{
	const uint32_t max = in->w.crew ? PART_MAX : AEAD_BATCH_MAX;
	uint32_t n_share = 0;

	in->n_parts = in->n_shares = 0;
	for (uint32_t first = 0, n; first < in->n_pkts; first += n) {
		const struct in_pkt *p = &in->pkts[first];

		for (n = 1; n < max && first + n < in->n_pkts && p[n].key == p->key &&
			    p[n].src == p->src;)
			n++;
		if (n_share == 0)
			in->shares[in->n_shares++] = (uint16_t)in->n_parts;
		n_share = n_share + n < PART_MAX ? n_share + n : 0;
		in->parts[in->n_parts++] =
			(struct in_part){ .first = (uint16_t)first, .n = (uint16_t)n };
	}
	in->shares[in->n_shares] = (uint16_t)in->n_parts;
}

/* On the worker's thread or a helper's. */
static void open_share(void *ctx, uint32_t i, unsigned lane)
{
	struct in *in = ctx;

	for (uint32_t k = in->shares[i]; k < in->shares[i + 1]; k++) {
		struct in_part *part = &in->parts[k];

		part->ok = keypair_open_n(in->pkts[part->first].key->kp, lane, &in->w.aead[lane], in->now,
					  &in->kpkts[part->first], part->n);
	}
}

/* What comes after authentication, in the order of arrival of this key's packets. */
static void finish_part(struct in *in, const struct in_part *part)
{
	const uint32_t first = part->first, n = part->n;
	struct dp_key *key = in->pkts[first].key;
	const struct in_src *src = &in->srcs[in->pkts[first].src];
	uint64_t counters[AEAD_BATCH_MAX], fresh;
	struct in_sum sum = { 0 };

	if (!keypair_is_alive(key->kp, in->now)) {
		drop(in, DP_IN_KEY_EXPIRED, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		counters[i] = in->kpkts[first + i].counter;
	/* The in worker alone accepts, so the replay window needs no lock. */
	fresh = replay_accept_n(&key->kp->replay, counters, n, part->ok);
	drop(in, DP_IN_AUTH, n - (uint32_t)__builtin_popcountll(part->ok));
	drop(in, DP_IN_REPLAY, (uint64_t)__builtin_popcountll(part->ok & ~fresh));
	for (uint32_t i = 0; i < n; i++) {
		const struct keypair_pkt *p = &in->kpkts[first + i];

		if (!(fresh >> i & 1))
			continue;
		sum.n++;
		sum.bytes += in->pkts[first + i].size;
		if (p->size) {
			sum.n_data++;
			deliver(in, key->peer, src, p->data, p->size);
		}
	}
	if (sum.n)
		count_fresh(in, key, src, &sum);
}

static void flush(struct in *in)
{
	const struct tun *tun = &in->w.dp->tun;

	if (in->n_pkts) {
		offload_gro_begin(&in->gro, tun->has_vnet_hdr, tun->has_uso);
		group(in);
		cut(in);
		crew_run(in->w.crew, open_share, in, in->n_shares);
		for (uint32_t i = 0; i < in->n_parts; i++)
			finish_part(in, &in->parts[i]);
		for (uint32_t i = 0; i < in->gro.n_groups; i++)
			write_group(in, i);
		counter_add(&in->w.tally.bad_csums, in->gro.n_bad_csums);
	}
	in->n_pkts = in->n_srcs = 0;
	in->has_allowed = false;
	if (in->forward)
		forward_flush(in->forward);
}

/* --- before opening --- */

static uint16_t src_index(struct in *in, const struct path_addr *path)
{
	struct in_src *s;
	const bool v6 = path->ep.ip.family == IP_V6;

	for (uint32_t i = in->n_srcs; i > 0 && i + SRCS_LOOKBACK > in->n_srcs; i--)
		if (path_eq(&in->srcs[i - 1].path, path))
			return (uint16_t)(i - 1);
	if (in->n_srcs == SRCS_MAX)
		flush(in);
	s = &in->srcs[in->n_srcs];
	s->path = *path;
	switch ((enum path_kind)path->kind) {
	case PATH_NONE:
	case PATH_DIRECT:
		s->via = DP_VIA_DIRECT;
		s->kind = v6 ? DP_DIRECT6 : DP_DIRECT4;
		break;
	case PATH_RELAY:
		s->via = DP_VIA_RELAY;
		s->kind = v6 ? DP_RELAY6 : DP_RELAY4;
		break;
	case PATH_DERP:
		s->via = DP_VIA_DERP;
		s->kind = DP_DERP;
		break;
	}
	return (uint16_t)in->n_srcs++;
}

/* A WireGuard data message (type 4) at 'data'. False if no key pair has its index. */
static bool add_data(struct in *in, uint8_t *data, uint32_t size, const struct path_addr *path)
{
	struct slots_entry *e;
	struct wg_data hdr;
	uint16_t src;

	if (wgmsg_data_parse(&hdr, data, size) < 0) {
		drop(in, DP_IN_MALFORMED, 1);
		return true;
	}
	e = slots_get(&in->w.dp->keys, hdr.receiver_index);
	if (!e)
		return false;
	src = src_index(in, path);
	if (in->n_pkts == PKTS_MAX) {
		flush(in);
		src = src_index(in, path);
	}
	in->kpkts[in->n_pkts] = (struct keypair_pkt){ .data = data, .size = size };
	in->pkts[in->n_pkts++] = (struct in_pkt){
		CONTAINER_OF(e, struct dp_key, slot), size, src
	};
	return true;
}

static void to_control(struct in *in, enum dp_event_kind kind, const struct path_addr *path,
		       bool control, const uint8_t *data, uint32_t size)
{
	const struct dp_note note = { .kind = (uint8_t)kind,
				      .geneve_control = control,
				      .path = *path,
				      .sock = DP_SOCK_MAIN,
				      .when = in->now };

	if (!worker_note_stranger(&in->w, &note, data, size))
		drop(in, DP_IN_RING, 1);
}

/* The relay shares this socket: bound sessions are forwarded here; what else carries a Geneve
 * header may be for the relay or for us as a client of another one, and control tells. True if it
 * is dealt with. */
static bool relay_takes(struct in *in, const struct classify *c, const struct usock_msg *m,
			uint8_t *data, uint32_t size, const struct path_addr *path)
{
	const struct path_addr outer = path_direct(&path->ep);

	if (!counter_mark_get(&in->w.dp->relay_is_shared))
		return false;
	if (!in->forward) {
		in->forward = calloc(1, sizeof(*in->forward)); /* once, when the relay comes on */
		if (!in->forward)
			return false;
		in->forward->w = &in->w;
		if (forward_batch_limit(in->forward, in->w.dp, in->now) < 0) {
			free(in->forward);
			in->forward = NULL;
			return false;
		}
	}
	in->forward->sock[0] = snapshot_load(&in->w.dp->sock[0]);
	in->forward->sock[1] = snapshot_load(&in->w.dp->sock[1]);
	if (!c->is_control && forward_add(in->forward, in->now, c->vni, &m->from, data, size))
		return true;
	to_control(in, DP_EV_GENEVE, &outer, false, data, size);
	return false;
}

static void handle_other(struct in *in, const struct usock_msg *m, uint8_t *data, uint32_t size,
			 const struct ep *from)
{
	const struct classify c = classify(data, size);
	const struct path_addr path = c.is_geneve ? path_relay(from, c.vni) : path_direct(from);
	uint8_t *body = data + c.offset;
	const uint32_t left = size - c.offset;

	if (c.is_geneve && relay_takes(in, &c, m, data, size, &path))
		return;
	switch (c.kind) {
	case CLASSIFY_STUN:
		to_control(in, DP_EV_STUN, &path, false, body, left);
		return;
	case CLASSIFY_DISCO:
		to_control(in, DP_EV_DISCO, &path, c.is_control, body, left);
		return;
	case CLASSIFY_WIREGUARD:
		break;
	}
	switch (wgmsg_type(body, left)) {
	case WGMSG_DATA:
		if (!add_data(in, body, left, &path))
			drop(in, DP_IN_NO_KEY, 1);
		return;
	case WGMSG_INITIATION:
	case WGMSG_RESPONSE:
	case WGMSG_COOKIE_REPLY:
		to_control(in, DP_EV_HANDSHAKE, &path, false, body, left);
		return;
	default:
		/* A stray byte that some senders put behind a batch is no error (peer-relay, trap
		 * 13). */
		if (size > 1)
			drop(in, DP_IN_UNKNOWN, 1);
	}
}

static void handle_msg(struct in *in, const struct usock_msg *m)
{
	const struct ep from = usock_ep(&m->from);
	const struct path_addr direct = path_direct(&from);

	for (uint32_t at = 0; at < m->size;) {
		uint8_t *p = m->data + at;
		const uint32_t n = m->size - at < m->seg_size ? m->size - at : m->seg_size;

		at += n;
		/* Type 4 and three zero bytes: nothing else begins like that. */
		if (n >= WGMSG_DATA_MIN && p[0] == WGMSG_DATA && !(p[1] | p[2] | p[3])) {
			if (!add_data(in, p, n, &direct))
				drop(in, DP_IN_NO_KEY, 1);
		} else {
			handle_other(in, m, p, n, &from);
		}
	}
}

/* --- thread --- */

/* Data messages that came by DERP: copied into the receive buffers, which are free now. */
static void take_orders(struct in *in)
{
	struct dp_order order;
	size_t used = 0, n;
	uint8_t *p;

	while ((p = ring_peek(&in->w.orders, &n))) {
		struct path_addr path;

		memcpy(&order, p, sizeof(order));
		if (used + order.size > (size_t)USOCK_RECV_MAX * USOCK_RECV_SIZE) {
			flush(in);
			used = 0;
		}
		memcpy(in->rx.buf + used, p + sizeof(order), order.size);
		ring_pop(&in->w.orders);
		path = path_derp(order.region);
		if (!add_data(in, in->rx.buf + used, order.size, &path))
			drop(in, DP_IN_NO_KEY, 1);
		used += order.size;
	}
	flush(in);
}

/* True if something was received. */
static bool take_udp(struct in *in, unsigned fam)
{
	const struct usock *sock = snapshot_load(&in->w.dp->sock[fam]);
	bool any = false;

	if (!sock)
		return false;
	for (int i = 0; i < BATCHES_MAX; i++) {
		const int n = usock_recv(sock, &in->rx);

		if (n <= 0)
			break;
		any = true;
		in->n_recvs++;
		counter_add(&in->w.tally.udp_recvs, 1);
		for (int k = 0; k < n; k++)
			handle_msg(in, &in->rx.msgs[k]);
		flush(in);
		worker_count_overflow(&in->w, &in->rx, &in->overflows[fam]);
		if (n < USOCK_RECV_MAX)
			break;
	}
	return any;
}

/* Was there so little in the last DP_IDLE_MS that the buffers can go back? A session that ends sends pings and
 * keep-alives for most of a minute, which need a page or two. */
static bool is_quiet(struct in *in)
{
	const bool quiet = in->n_recvs <= QUIET_RECVS;

	if (mono_since_ms(in->now, in->window) < DP_IDLE_MS)
		return false;
	in->window = in->now;
	in->n_recvs = 0;
	return quiet;
}

static void trim(struct in *in)
{
	usock_rx_trim(&in->rx);
	ring_trim(&in->w.notes);
}

static bool sleep_until_ready(struct in *in, bool is_trimmed)
{
	const struct usock *s4 = snapshot_load(&in->w.dp->sock[0]),
			   *s6 = snapshot_load(&in->w.dp->sock[1]);
	struct pollfd fds[3] = { { .fd = in->w.bell.fd, .events = POLLIN },
				 { .fd = s4 ? s4->fd : -1, .events = POLLIN },
				 { .fd = s6 ? s6->fd : -1, .events = POLLIN } };
	int n;

	snapshot_offline();
	n = poll(fds, 3, is_trimmed ? -1 : DP_IDLE_MS);
	if (fds[0].revents)
		bell_clear(&in->w.bell);
	snapshot_online();
	return n == 0;
}

static void *in_main(void *arg)
{
	struct in *in = arg;
	bool is_trimmed = true;

	snapshot_thread_enter();
	while (!counter_mark_get(&in->w.stop)) {
		bool any;

		snapshot_quiescent();
		in->now = loop_clock();
		in->table = snapshot_load(&in->w.dp->table);
		take_orders(in);
		any = take_udp(in, 0);
		if (take_udp(in, 1) || any)
			continue;
		if (is_quiet(in))
			trim(in);
		if (sleep_until_ready(in, is_trimmed)) {
			trim(in);
			is_trimmed = true;
		} else {
			is_trimmed = false;
		}
	}
	snapshot_thread_leave();
	return NULL;
}

int in_open(struct dp *dp)
{
	struct in *in = calloc(1, sizeof(*in));
	int err;

	if (!in)
		return -ENOMEM;
	dp->in = in;
	err = worker_init(&in->w, dp);
	if (!err)
		err = worker_recruit(&in->w, "meshd-open");
	if (!err)
		err = usock_rx_init(&in->rx);
	return err ? err : worker_start(&in->w, "meshd-in", in_main, in);
}

void in_stop(struct dp *dp)
{
	if (dp->in)
		worker_stop(&dp->in->w);
}

void in_free(struct in *in)
{
	if (!in)
		return;
	worker_wipe(&in->w);
	usock_rx_wipe(&in->rx);
	if (in->forward)
		free(in->forward->fair);
	free(in->forward);
	free(in);
}

struct worker *in_worker(struct in *in)
{
	return &in->w;
}
