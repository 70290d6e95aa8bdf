/* SPDX-License-Identifier: MIT */
/* The wire and the nodes' hands. */
#include "tests/unit/wgworld.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static const struct crypto reference = { .aead = &aead_sodium };
static const struct aead_thread no_thread = { 0 };

struct path_addr wgworld_path(unsigned from)
{
	const struct ep ep = { .ip = ip4(192, 0, 2, (uint8_t)(from + 1)), .port = 41641 };

	return path_direct(&ep);
}

static void make_device(struct wgworld *w, unsigned i, int64_t floor_ns)
{
	struct device_cfg cfg = { .crypto = &reference,
				  .env = &w->node[i].env.env,
				  .max_indices = WGWORLD_SLOTS,
				  .stamp_floor_ns = floor_ns };

	memset(cfg.priv.b, (int)i + 1, sizeof(cfg.priv.b));
	assert_int_equal(device_init(&w->node[i].device, &cfg), 0);
}

static struct node_key key_of(unsigned i)
{
	struct noise_self self;
	struct node_priv priv;

	memset(priv.b, (int)i + 1, sizeof(priv.b));
	noise_self_init(&self, &priv);
	return self.pub;
}

static void add_peers(struct wgworld *w, unsigned i)
{
	for (unsigned j = 0; j < w->n_nodes; j++) {
		struct device_peer_cfg cfg = { .key = key_of(j),
					       .id = { j, 1 },
					       .owner = &w->node[j] };

		if (i != j)
			assert_int_equal(device_add(&w->node[i].device, &cfg, &w->node[i].peers[j]),
					 0);
	}
}

struct wgworld *wgworld_new(unsigned n, uint64_t seed)
{
	struct wgworld *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	test_env_init(&w->env, seed);
	w->now = (struct mono){ 1000 * NS_PER_S };
	w->n_nodes = n;
	w->delay_ms = 10;
	for (unsigned i = 0; i < n; i++) {
		test_env_init(&w->node[i].env, seed * 31 + i);
		make_device(w, i, 0);
	}
	for (unsigned i = 0; i < n; i++)
		add_peers(w, i);
	return w;
}

/* All pairs are unpublished first, as the engine does. */
static void end_node(struct wgworld *w, unsigned i)
{
	struct wgnode *n = &w->node[i];

	for (unsigned j = 0; j < w->n_nodes; j++) {
		if (!n->peers[j])
			continue;
		device_reset(&n->device, n->peers[j]);
		wgworld_pump(w, i);
		device_del(&n->device, n->peers[j]);
		n->peers[j] = NULL;
	}
	for (unsigned k = 0; k < WGWORLD_SLOTS; k++)
		assert_null(n->slots[k]);
	assert_int_equal(n->device.indices.n, 0);
	device_wipe(&n->device);
}

void wgworld_free(struct wgworld *w)
{
	for (unsigned i = 0; i < w->n_nodes; i++)
		end_node(w, i);
	free(w->queue);
	free(w);
}

void wgworld_restart(struct wgworld *w, unsigned node)
{
	int64_t floor_ns = w->node[node].floor_ns;

	end_node(w, node);
	memset(w->node[node].n_staged, 0, sizeof(w->node[node].n_staged));
	make_device(w, node, floor_ns);
	add_peers(w, node);
}

/* --- wire --- */

static void enqueue(struct wgworld *w, const struct wgdatagram *d)
{
	if (w->n_queue == w->cap_queue) {
		w->cap_queue = w->cap_queue ? w->cap_queue * 2 : 64;
		w->queue = realloc(w->queue, w->cap_queue * sizeof(*w->queue));
		assert_non_null(w->queue);
	}
	w->queue[w->n_queue++] = *d;
}

void wgworld_inject(struct wgworld *w, unsigned from, unsigned to, const uint8_t *data, size_t size)
{
	struct wgdatagram d = { .from = from, .to = to, .size = size };
	unsigned copies = 1;

	assert_true(size <= sizeof(d.data));
	memcpy(d.data, data, size);
	d.at = w->now;
	if (size > 0 && data[0] < 5)
		w->count[from][data[0]]++;
	if (w->n_log < WGWORLD_LOG)
		w->log[w->n_log++] = d;
	if (w->cut[from][to] || (w->tap && !w->tap(w, &d)))
		return;
	if (test_random(&w->env) % 1000 < w->loss_permille)
		return;
	if (test_random(&w->env) % 1000 < w->dup_permille)
		copies = 2;
	for (unsigned i = 0; i < copies; i++) {
		int64_t jitter =
			w->jitter_ms ? (int64_t)(test_random(&w->env) % (uint64_t)w->jitter_ms) : 0;

		d.at = mono_add_ms(w->now, w->delay_ms + jitter);
		enqueue(w, &d);
	}
}

/* --- the data plane's part --- */

static void seal_and_send(struct wgworld *w, unsigned from, unsigned to, struct keypair *kp,
			  const uint8_t *plain, size_t size)
{
	uint8_t buf[16 + 64 + 32];
	struct keypair_pkt pkt = { .data = buf + 16, .size = (uint32_t)size };
	uint64_t ctr;

	if (keypair_reserve(kp, w->now, 1, &ctr) != 0)
		return;
	if (size > 0)
		memcpy(pkt.data, plain, size);
	assert_int_equal(keypair_seal_n(kp, 0, &no_thread, 1280, ctr, &pkt, 1), 1);
	wgworld_inject(w, from, to, buf, pkt.size);
	if (keypair_note_sent(kp, w->now, 1, pkt.size, size > 0))
		device_activity(&w->node[from].device, w->now, w->node[from].peers[to]);
}

void wgworld_send(struct wgworld *w, unsigned from, unsigned to, uint32_t seq)
{
	struct wgnode *n = &w->node[from];
	struct keypair *kp = n->current[to];
	uint8_t plain[32] = { 0x45 };
	uint64_t next = kp ? atomic_load(&kp->next_counter) : 0;

	assert_true(seq < WGWORLD_SEQS);
	if (kp && keypair_is_alive(kp, w->now) && next < KEYPAIR_REJECT_AFTER_MESSAGES) {
		memcpy(plain + 4, &seq, sizeof(seq));
		seal_and_send(w, from, to, kp, plain, sizeof(plain));
	} else {
		if (n->n_staged[to] < WGWORLD_STAGED)
			n->staged[to][n->n_staged[to]++] = seq;
		device_want(&n->device, w->now, n->peers[to]);
	}
	wgworld_pump(w, from);
}

static void flush_staged(struct wgworld *w, unsigned from, unsigned to)
{
	struct wgnode *n = &w->node[from];
	unsigned count = n->n_staged[to];
	uint32_t seqs[WGWORLD_STAGED];

	memcpy(seqs, n->staged[to], sizeof(seqs));
	n->n_staged[to] = 0;
	for (unsigned i = 0; i < count; i++) {
		uint8_t plain[32] = { 0x45 };

		memcpy(plain + 4, &seqs[i], sizeof(seqs[i]));
		seal_and_send(w, from, to, n->current[to], plain, sizeof(plain));
	}
}

static void output(struct wgworld *w, unsigned i, const struct device_out *o)
{
	struct wgnode *n = &w->node[i], *peer = o->peer ? o->peer->owner : NULL;
	unsigned to = peer ? (unsigned)(peer - w->node) : 0;
	uint32_t slot = o->kp ? index_slot(o->kp->local_index) : 0;

	switch (o->kind) {
	case DEVICE_SEND:
		if (!peer)
			to = (unsigned)o->to.ep.ip.b[3] - 1u;
		wgworld_inject(w, i, to, o->msg, o->size);
		break;
	case DEVICE_KEYPAIR_INSTALL:
		assert_null(n->slots[slot]);
		n->slots[slot] = o->kp;
		break;
	case DEVICE_KEYPAIR_CURRENT:
		assert_true(!o->kp || n->slots[slot] == o->kp);
		n->current[to] = o->kp;
		break;
	case DEVICE_KEYPAIR_REMOVE:
		assert_ptr_equal(n->slots[slot], o->kp);
		assert_ptr_not_equal(n->current[to], o->kp);
		n->slots[slot] = NULL;
		keypair_put(o->kp);
		break;
	case DEVICE_UP:
		n->ups++;
		assert_ptr_equal(n->current[to], o->kp);
		flush_staged(w, i, to);
		break;
	case DEVICE_KEEPALIVE:
		n->keepalives++;
		if (!n->is_quiet)
			seal_and_send(w, i, to, o->kp, NULL, 0);
		break;
	case DEVICE_DOWN:
		n->downs++;
		n->n_staged[to] = 0;
		break;
	case DEVICE_HEARD:
		n->heards++;
		break;
	case DEVICE_PERSIST:
		n->floor_ns = o->stamp_floor_ns;
		break;
	}
}

void wgworld_pump(struct wgworld *w, unsigned node)
{
	struct device_out o;

	while (device_poll(&w->node[node].device, w->now, &o))
		output(w, node, &o);
}

static void deliver_data(struct wgworld *w, struct wgdatagram *d)
{
	struct wgnode *n = &w->node[d->to];
	struct keypair_pkt pkt = { .data = d->data, .size = (uint32_t)d->size };
	struct keypair *kp = NULL;
	struct wg_data hdr;
	uint32_t seq;

	if (wgmsg_data_parse(&hdr, d->data, d->size) == 0 &&
	    index_slot(hdr.receiver_index) < WGWORLD_SLOTS)
		kp = n->slots[index_slot(hdr.receiver_index)];
	if (!kp || keypair_open_n(kp, 0, &no_thread, w->now, &pkt, 1) != 1 ||
	    replay_accept(&kp->replay, pkt.counter) != 0) {
		n->data_drops++;
		return;
	}
	if (pkt.size >= 8) {
		memcpy(&seq, pkt.data + 4, sizeof(seq));
		assert_true(seq < WGWORLD_SEQS);
		n->received[seq]++;
		n->last_data[kp->peer.index] = w->now;
	}
	if (keypair_note_received(kp, w->now, 1, d->size, pkt.size > 0))
		device_activity(&n->device, w->now, n->peers[kp->peer.index]);
}

static void deliver(struct wgworld *w, struct wgdatagram *d)
{
	struct path_addr from = wgworld_path(d->from);

	if (d->size > 0 && d->data[0] == WGMSG_DATA)
		deliver_data(w, d);
	else
		(void)!device_input(&w->node[d->to].device, w->now, d->data, d->size, &from, NULL);
	wgworld_pump(w, d->to);
}

/* --- time --- */

static void advance(struct wgworld *w, struct mono to)
{
	for (unsigned i = 0; i < w->n_nodes; i++)
		w->node[i].env.wall_ns += mono_since_ns(to, w->now);
	w->now = to;
}

/* The earliest datagram; of equal ones the first sent. */
static size_t first_datagram(const struct wgworld *w)
{
	size_t first = 0;

	for (size_t i = 1; i < w->n_queue; i++) {
		if (mono_before(w->queue[i].at, w->queue[first].at))
			first = i;
	}
	return first;
}

void wgworld_run(struct wgworld *w, int64_t ms)
{
	struct mono end = mono_add_ms(w->now, ms);

	for (;;) {
		size_t at = first_datagram(w);
		struct mono next = w->n_queue ? w->queue[at].at : MONO_NEVER;
		int timer = -1;

		for (unsigned i = 0; i < w->n_nodes; i++) {
			struct mono t = device_deadline(&w->node[i].device);

			if (mono_before(t, next)) {
				next = t;
				timer = (int)i;
			}
		}
		if (mono_before(end, next))
			break;
		if (mono_before(w->now, next))
			advance(w, next);
		if (timer >= 0) {
			device_tick(&w->node[timer].device, w->now);
			wgworld_pump(w, (unsigned)timer);
		} else {
			struct wgdatagram d = w->queue[at];

			w->n_queue--;
			memmove(&w->queue[at], &w->queue[at + 1], (w->n_queue - at) * sizeof(d));
			deliver(w, &d);
		}
	}
	advance(w, end);
}
