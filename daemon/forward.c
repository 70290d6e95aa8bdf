/* SPDX-License-Identifier: MIT */
/* The relay's workers: one socket per family and core on one port, and the forwarding itself, which
 * the in worker shares when the relay uses the main sockets.
 *
 * A receive buffer from one source holds equal segments but not necessarily of one VNI: runs of one
 * VNI are forwarded with one send, byte for byte and without a copy. What is not bound data goes to
 * control in arrival order (peer-relay 7; ARCHITECTURE 6). How workers keep their wake-ups few is in
 * relay/relaypace.h, how much may wait for them in relay/relayqueue.h. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/dpstate.h"
#include "relay/relayfair.h"
#include "relay/relaypace.h"
#include "relay/relayqueue.h"
#include "wire/classify.h"

/* What a worker waits for: its sockets by family, and its bell. */
enum { FORWARD_BELL = 2, FORWARD_WATCHED };

static_assert((int)RELAYQUEUE_MAX == (int)USOCK_BUF_BYTES, "a socket begins with a whole buffer");

struct forward {
	struct worker w;
	struct usock socks[2]; /* IPv4, IPv6; fd -1 = none */
	unsigned families;     /* bits: which of them are open */
	int epoll_fd;
	uint32_t number;       /* of this worker: its events' socket is DP_SOCK_RELAY + number */
	struct usock_rx rx;
	bool is_trimmed; /* 'rx' holds no pages */
	uint32_t overflows[2];
	struct mono now;
	uint32_t n_recvs, n_bulk; /* of this turn, as relaypace_add() wants them */
	struct relaypace pace;
	struct relayqueue queue;
	struct mono rest_from; /* when the last turn ended, if the worker waited since */
	bool has_rested;
	struct forward_batch batch;

	/* The first worker's, which is started last and stopped first. */
	struct relayspread spread;
	struct forward *all[DP_RELAY_SOCKS_MAX]; /* borrowed */
	uint32_t n_all; /* 0 = the others always get their share, or there are none */
};

/* --- forwarding --- */

static void send_family(struct forward_batch *b, unsigned fam)
{
	struct dp_tally *t = &b->w->tally;
	const uint32_t n = b->n_runs[fam];

	b->n_runs[fam] = 0;
	if (!n)
		return;
	if (b->sock[fam])
		counter_add(&t->udp_sends, usock_send(b->sock[fam], b->runs[fam], n));
	for (uint32_t i = 0; i < n; i++) {
		const struct usock_run *run = &b->runs[fam][i];
		const struct forward_owner *o = &b->owners[fam][i];

		if (!b->sock[fam] || run->error) {
			counter_add(&t->relay_dropped[DP_RELAY_SEND_ERROR], run->n_segs);
			continue;
		}
		if (run->was_resent)
			counter_add(&t->gso_fallbacks, 1);
		if (run->was_too_big) {
			counter_set(&o->vni->narrow_until[o->side],
				    (uint64_t)mono_add_s(b->now, DP_NARROW_S).ns);
			counter_set(&o->vni->narrow_size[o->side], run->seg_size);
		}
		counter_add(&t->relay_pkts[o->family_in][fam], run->n_segs);
		counter_add(&t->relay_bytes[o->family_in][fam], run->bytes);
		counter_add_shared(&o->vni->pkts[o->side], run->n_segs);
		counter_add_shared(&o->vni->bytes[o->side], run->bytes);
	}
}

void forward_flush(struct forward_batch *b)
{
	send_family(b, 0);
	send_family(b, 1);
	b->n_iov = 0;
}

static bool is_addr(const struct usock_addr *a, const struct usock_addr *b)
{
	if (a->u.sa.sa_family != b->u.sa.sa_family)
		return false;
	if (a->u.sa.sa_family == AF_INET)
		return a->u.in.sin_port == b->u.in.sin_port &&
		       a->u.in.sin_addr.s_addr == b->u.in.sin_addr.s_addr;
	return a->u.in6.sin6_port == b->u.in6.sin6_port &&
	       memcmp(&a->u.in6.sin6_addr, &b->u.in6.sin6_addr, 16) == 0;
}

/* The newest run of the family, if the segment continues it: same session and direction, right
 * behind it in the buffer, not longer. */
static struct usock_run *newest_run(struct forward_batch *b, unsigned fam, const struct dp_vni *vni,
				    uint8_t side, const uint8_t *data, uint32_t size)
{
	struct usock_run *run;
	const struct forward_owner *o;

	if (!b->n_runs[fam])
		return NULL;
	run = &b->runs[fam][b->n_runs[fam] - 1];
	o = &b->owners[fam][b->n_runs[fam] - 1];
	/* A shorter segment was the last: then its run's bytes are no multiple of the segment size.
	 */
	if (o->vni != vni || o->side != side || size > run->seg_size ||
	    run->bytes % run->seg_size || run->n_segs == USOCK_RUN_SEGS_MAX ||
	    run->bytes + size > USOCK_RUN_BYTES_MAX ||
	    (uint8_t *)run->iov->iov_base + run->iov->iov_len != data)
		return NULL;
	return run;
}

/* Has the way out of this side refused GSO with segments of this size? They go one by one then: a
 * refusal a batch would cost more than that. */
static bool is_narrow(const struct forward_batch *b, const struct dp_vni *v, uint8_t side,
		      uint32_t size)
{
	const uint64_t narrow = counter_get(&v->narrow_size[side]);

	return narrow && size >= narrow &&
	       b->now.ns < (int64_t)counter_get(&v->narrow_until[side]);
}

static void add_segment(struct forward_batch *b, struct dp_vni *vni, const struct dp_bound *bound,
			uint8_t side, uint8_t *data, uint32_t size)
{
	const struct usock_addr *to = &bound->to[!side];
	const unsigned fam = to->u.sa.sa_family == AF_INET6;
	struct usock_run *run = newest_run(b, fam, vni, side, data, size);

	if (!run) {
		uint32_t at;

		if (b->n_runs[fam] == USOCK_RUNS_MAX)
			send_family(b, fam);
		if (b->n_iov == FORWARD_IOV_MAX)
			forward_flush(b);
		at = b->n_runs[fam]++;
		run = &b->runs[fam][at];
		b->owners[fam][at] =
			(struct forward_owner){ .vni = vni,
						.side = side,
						.family_in = (uint8_t)dp_fam(bound->ep[side].ip.family) };
		*run = (struct usock_run){ .to = *to,
					   .iov = &b->iov[b->n_iov++],
					   .n_iov = 1,
					   .seg_size = size,
					   .is_single = is_narrow(b, vni, side, size) };
		*run->iov = (struct iovec){ data, 0 };
	}
	run->iov->iov_len += size;
	run->bytes += size;
	run->n_segs++;
}

int forward_batch_limit(struct forward_batch *b, const struct dp *dp, struct mono now)
{
	if (!dp->relay_bytes_per_s && !dp->relay_session_bytes_per_s)
		return 0;
	b->fair = malloc(sizeof(*b->fair));
	if (!b->fair)
		return -ENOMEM;
	relayfair_init(b->fair, now, dp->relay_bytes_per_s, dp->relay_session_bytes_per_s);
	return 0;
}

bool forward_add(struct forward_batch *b, struct mono now, uint32_t vni,
		 const struct usock_addr *from, uint8_t *data, uint32_t size)
{
	struct slots_entry *e = slots_get(&b->w->dp->vnis, vni);
	const struct dp_bound *bound;
	struct dp_vni *v;

	if (!e)
		return false;
	b->now = now;
	v = CONTAINER_OF(e, struct dp_vni, slot);
	bound = snapshot_load(&v->bound);
	for (uint8_t side = 0; side < 2; side++) {
		if (!is_addr(from, &bound->to[side]))
			continue;
		counter_set(&v->last[side], (uint64_t)now.ns);
		if (b->fair && !relayfair_take(b->fair, now, vni, size))
			counter_add(&b->w->tally.relay_dropped[DP_RELAY_RATE_LIMIT], 1);
		else
			add_segment(b, v, bound, side, data, size);
		return true;
	}
	return false;
}

/* --- the workers --- */

static void to_control(struct forward *f, enum dp_event_kind kind, const struct usock_msg *m,
		       const uint8_t *data, uint32_t size)
{
	const struct ep from = usock_ep(&m->from);
	const struct dp_note note = { .kind = (uint8_t)kind,
				      .path = path_direct(&from),
				      .sock = DP_SOCK_RELAY + f->number,
				      .when = f->now };

	if (!worker_note_stranger(&f->w, &note, data, size))
		counter_add(&f->w.tally.relay_dropped[DP_RELAY_RATE_LIMIT], 1);
}

static void handle_segment(struct forward *f, const struct usock_msg *m, uint8_t *data,
			   uint32_t size)
{
	struct geneve_hdr hdr;

	if (classify(data, size).kind == CLASSIFY_STUN && data[0] >> 6 == 0 && data[1] == 1) {
		to_control(f, DP_EV_STUN, m, data, size);
		return;
	}
	if (geneve_parse(&hdr, data, size) < 0)
		return; /* a stray byte behind a batch, or garbage: silently (peer-relay 7) */
	if (!hdr.control && forward_add(&f->batch, f->now, hdr.vni, &m->from, data, size))
		return;
	/* Not bound on both sides, a bind message, or another source: control knows. */
	to_control(f, DP_EV_GENEVE, m, data, size);
}

/* Forwards what one receive from the family's socket gives. True: there may be more. */
static bool take_udp(struct forward *f, unsigned fam)
{
	const int n = usock_recv(&f->socks[fam], &f->rx);

	if (n <= 0)
		return false;
	counter_add(&f->w.tally.udp_recvs, 1);
	for (int k = 0; k < n; k++) {
		const struct usock_msg *m = &f->rx.msgs[k];

		f->n_bulk += m->size > m->seg_size;
		for (uint32_t at = 0; at < m->size; at += m->seg_size)
			handle_segment(f, m, m->data + at,
				       m->size - at < m->seg_size ? m->size - at : m->seg_size);
	}
	forward_flush(&f->batch);
	worker_count_overflow(&f->w, &f->rx, &f->overflows[fam]);
	f->n_recvs += (uint32_t)n;
	return n == USOCK_RECV_MAX;
}

static void begin_rest(struct forward *f, struct mono now)
{
	f->has_rested = true;
	f->rest_from = now;
}

/* Under overload less may wait in the kernel. Called at the begin of a turn or in a long silence. */
static void limit_queue(struct forward *f)
{
	const int64_t rest_ns = f->has_rested ? mono_since_ns(f->now, f->rest_from) : 0;

	f->has_rested = false;
	if (!relayqueue_add(&f->queue, f->now, rest_ns,
			    counter_get(&f->w.tally.relay_rxq_overflow)))
		return;
	for (unsigned fam = 0; fam < 2; fam++)
		if (f->families & 1U << fam)
			usock_set_queue(&f->socks[fam], f->queue.bytes);
}

/* One receive from each of these families (bits). Returns those that may have more: the caller looks at
 * other things in between, as under overload no socket is ever empty. */
static unsigned take_some(struct forward *f, unsigned families)
{
	unsigned more = 0;

	snapshot_quiescent();
	f->now = loop_clock();
	limit_queue(f);
	f->n_recvs = f->n_bulk = 0;
	for (unsigned fam = 0; fam < 2; fam++)
		if (families & 1U << fam && take_udp(f, fam))
			more |= 1U << fam;
	relaypace_add(&f->pace, f->now, f->n_recvs, f->n_bulk);
	return more;
}

/* The first worker's: does the work need all of them, or may the others sleep? */
static void spread(struct forward *f)
{
	uint64_t cpu_ns = 0, n_lost = 0;

	if (!f->n_all || !relayspread_is_due(&f->spread, f->now))
		return;
	for (uint32_t i = 0; i < f->n_all; i++) {
		struct timespec ts;
		clockid_t clock;

		if (pthread_getcpuclockid(f->all[i]->w.thread, &clock) == 0 &&
		    clock_gettime(clock, &ts) == 0)
			cpu_ns += (uint64_t)(ts.tv_sec * NS_PER_S + ts.tv_nsec);
		n_lost += counter_get(&f->all[i]->w.tally.relay_rxq_overflow);
	}
	if (!relayspread_add(&f->spread, f->now, cpu_ns, n_lost))
		return;
	for (unsigned fam = 0; fam < 2; fam++)
		if (f->socks[fam].fd >= 0 &&
		    usock_gather(&f->socks[fam], !f->spread.is_spread) < 0)
			f->n_all = 0; /* it had worked at the start: leave it as it is now */
}

/* Waits for the sockets; returns the families (bits) that may have something, all bits clear after
 * a long silence. */
static unsigned sleep_until_ready(struct forward *f)
{
	struct epoll_event events[FORWARD_WATCHED];
	unsigned ready = 0;
	int n;

	snapshot_offline();
	n = epoll_wait(f->epoll_fd, events, FORWARD_WATCHED, f->is_trimmed ? -1 : DP_IDLE_MS);
	if (n == 0) {
		f->now = loop_clock();
		limit_queue(f);
		begin_rest(f, f->now);
		usock_rx_trim(&f->rx);
		ring_trim(&f->w.notes);
		f->is_trimmed = true;
	}
	for (int i = 0; i < n; i++) {
		if (events[i].data.u32 == FORWARD_BELL)
			bell_clear(&f->w.bell);
		else
			ready |= 1U << events[i].data.u32;
	}
	snapshot_online();
	return ready;
}

static void *forward_main(void *arg)
{
	struct forward *f = arg;
	unsigned ready = 0;

	/* The kernel would add 50 us to a pause. */
	(void)prctl(PR_SET_TIMERSLACK, 1000UL);
	snapshot_thread_enter();
	relayqueue_init(&f->queue, loop_clock());
	begin_rest(f, loop_clock());
	while (!counter_mark_get(&f->w.stop)) {
		if (!ready)
			ready = sleep_until_ready(f);
		if (!ready)
			continue;
		f->is_trimmed = false;
		ready = take_some(f, ready);
		spread(f);
		if (!ready)
			begin_rest(f, loop_clock());
		if (!ready && f->n_recvs && f->pace.pause_ns) {
			const struct timespec pause = { .tv_nsec = f->pace.pause_ns };

			(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
			/* Neither family waits for the other's pauses to end. */
			ready = f->families;
		}
	}
	snapshot_thread_leave();
	return NULL;
}

void forward_close(struct forward *f)
{
	if (!f)
		return;
	worker_stop(&f->w);
	worker_wipe(&f->w);
	usock_close(&f->socks[0]);
	usock_close(&f->socks[1]);
	if (f->epoll_fd >= 0)
		(void)close(f->epoll_fd);
	usock_rx_wipe(&f->rx);
	free(f->batch.fair);
	free(f);
}

struct worker *forward_worker(struct forward *f)
{
	return &f->w;
}

struct usock *forward_sock(struct forward *f, enum ip_family family)
{
	struct usock *s = &f->socks[dp_fam((uint8_t)family)];

	return s->fd >= 0 ? s : NULL;
}

/* --- opening --- */

static int open_sock(const struct dp *dp, struct usock *s, enum ip_family family, uint16_t port,
		     bool share)
{
	const struct usock_cfg cfg = { .family = family,
				       .port = port,
				       .mark = dp->fwmark,
				       .can_share_port = share,
				       .use_no_gso = dp->use_no_gso,
				       .use_no_gro = dp->use_no_gro };

	return usock_open(s, &cfg);
}

/* The first socket of a family tells whether the port is free: without SO_REUSEPORT a port that
 * somebody else shares is refused too. It is opened again with sharing at once. */
static int open_first(const struct dp *dp, struct usock *s, enum ip_family family, uint16_t port,
		      bool share)
{
	int err = open_sock(dp, s, family, port, false);

	if (!err && share) {
		const uint16_t got = s->port;

		usock_close(s);
		err = open_sock(dp, s, family, got, true);
	}
	return err;
}

static int open_socks(struct dp *dp, struct forward *f, uint16_t port, const struct forward *first,
		      bool share, char err[static DP_ERR_MAX])
{
	int ret;

	if (first) {
		ret = open_sock(dp, &f->socks[0], IP_V4, first->socks[0].port, true);
		if (!ret && first->socks[1].fd >= 0)
			ret = open_sock(dp, &f->socks[1], IP_V6, first->socks[1].port, true);
		if (ret)
			(void)snprintf(err, DP_ERR_MAX, "relay: port %u: %s", first->socks[0].port,
				       strerror(-ret));
		return ret;
	}
	ret = open_first(dp, &f->socks[0], IP_V4, port, share);
	if (ret) {
		(void)snprintf(err, DP_ERR_MAX, "relay: udp4 port %u: %s", port, strerror(-ret));
		return ret;
	}
	ret = open_first(dp, &f->socks[1], IP_V6, port ? port : f->socks[0].port, share);
	if (ret == -EADDRINUSE && !port)
		ret = open_first(dp, &f->socks[1], IP_V6, 0, share);
	if (ret)
		log_info(dp->log, "relay: ignoring IPv6 bind failure: %s", strerror(-ret));
	return 0;
}

static int watch(struct forward *f)
{
	f->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (f->epoll_fd < 0)
		return -errno;
	for (uint32_t i = 0; i < FORWARD_WATCHED; i++) {
		struct epoll_event ev = { .events = EPOLLIN, .data.u32 = i };
		const int fd = i == FORWARD_BELL ? f->w.bell.fd : f->socks[i].fd;

		if (fd < 0)
			continue;
		if (epoll_ctl(f->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
			return -errno;
		if (i != FORWARD_BELL)
			f->families |= 1U << i;
	}
	return 0;
}

static int open_one(struct dp *dp, struct forward **out, uint32_t number, uint16_t port,
		    const struct forward *first, bool share, char err[static DP_ERR_MAX])
{
	struct forward *f = calloc(1, sizeof(*f));
	int ret;

	if (!f)
		return -ENOMEM;
	*out = f;
	f->socks[0].fd = f->socks[1].fd = f->epoll_fd = -1;
	f->number = number;
	f->is_trimmed = true;
	f->w.is_forwarder = true;
	ret = worker_init(&f->w, dp);
	if (!ret)
		ret = usock_rx_init(&f->rx);
	if (!ret)
		ret = forward_batch_limit(&f->batch, dp, loop_clock());
	if (!ret)
		ret = open_socks(dp, f, port, first, share, err);
	if (!ret)
		ret = watch(f);
	f->batch.w = &f->w;
	f->batch.sock[0] = f->socks[0].fd >= 0 ? &f->socks[0] : NULL;
	f->batch.sock[1] = f->socks[1].fd >= 0 ? &f->socks[1] : NULL;
	return ret;
}

/* Lets the first of 'n' workers have all the work until it is too much for one. */
static void gather(struct forward *const *set, uint32_t n)
{
	struct forward *first = set[0];

	for (unsigned fam = 0; fam < 2; fam++) {
		if (first->socks[fam].fd < 0 || usock_gather(&first->socks[fam], true) == 0)
			continue;
		/* An old kernel, or no memory: it spreads always, both families. */
		if (fam && usock_gather(&first->socks[0], false) < 0)
			log_warn(first->w.dp->log, "relay: IPv4 stays with one worker");
		return;
	}
	memcpy(first->all, set, n * sizeof(set[0]));
	first->n_all = n;
}

int forward_open(struct dp *dp, uint16_t port, struct forward *set[static DP_RELAY_SOCKS_MAX],
		 uint32_t *n, char err[static DP_ERR_MAX])
{
	const long cores = sysconf(_SC_NPROCESSORS_ONLN);
	const bool is_limited = dp->relay_bytes_per_s || dp->relay_session_bytes_per_s;
	const uint32_t want = cores < 1 || is_limited      ? 1
			      : cores > DP_RELAY_SOCKS_MAX ? DP_RELAY_SOCKS_MAX
							   : (uint32_t)cores;
	int ret = 0;

	(void)snprintf(err, DP_ERR_MAX, "relay: out of memory");
	*n = 0;
	for (uint32_t i = 0; i < want && !ret; i++) {
		set[i] = NULL;
		ret = open_one(dp, &set[i], i, port, i ? set[0] : NULL, want > 1, err);
		if (set[i])
			*n = i + 1;
	}
	if (!ret && *n > 1)
		gather(set, *n);
	for (uint32_t i = *n; i-- > 0 && !ret;) {
		ret = worker_start(&set[i]->w, "meshd-relay", forward_main, set[i]);
		if (ret)
			(void)snprintf(err, DP_ERR_MAX, "relay: thread: %s", strerror(-ret));
	}
	if (ret) {
		for (uint32_t i = 0; i < *n; i++)
			forward_close(set[i]);
		*n = 0;
		return ret;
	}
	log_info(dp->log, "relay: listening on udp4:%u sockets=%u", set[0]->socks[0].port, *n);
	if (set[0]->socks[1].fd >= 0)
		log_info(dp->log, "relay: listening on udp6:%u sockets=%u", set[0]->socks[1].port,
			 *n);
	return 0;
}
