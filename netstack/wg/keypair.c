/* SPDX-License-Identifier: MIT */
/* Session keys at work. The only file of the library with atomics: each counts for itself, so all
 * of them are relaxed; the pointer to the key pair is published by daemon/snapshot with release and
 * acquire. */
#include "wg/keypair.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

static unsigned lanes(unsigned n)
{
	if (n == 0)
		return 1;
	return n < CRYPTO_LANES_MAX ? n : CRYPTO_LANES_MAX;
}

struct keypair *keypair_new(const struct keypair_cfg *cfg)
{
	const struct aead_ops *aead = cfg->crypto->aead;
	struct keypair *kp = aligned_alloc(_Alignof(struct keypair), sizeof(*kp));
	bool failed = false;

	if (!kp)
		return NULL;
	memset(kp, 0, sizeof(*kp));
	kp->local_index = cfg->local_index;
	kp->remote_index = cfg->remote_index;
	kp->peer = cfg->peer;
	kp->is_initiator = cfg->is_initiator;
	kp->created = cfg->created;
	kp->crypto = cfg->crypto;
	kp->n_seal_lanes = lanes(cfg->crypto->n_seal_lanes);
	kp->n_open_lanes = lanes(cfg->crypto->n_open_lanes);
	for (unsigned i = 0; i < kp->n_seal_lanes; i++) {
		kp->seal[i] = aead->ctx_new(cfg->crypto, cfg->send_key, true);
		failed |= !kp->seal[i];
	}
	for (unsigned i = 0; i < kp->n_open_lanes; i++) {
		kp->open[i] = aead->ctx_new(cfg->crypto, cfg->recv_key, false);
		failed |= !kp->open[i];
	}
	atomic_store_explicit(&kp->refs, 1, memory_order_relaxed);
	if (failed) {
		keypair_put(kp);
		return NULL;
	}
	return kp;
}

struct keypair *keypair_get(struct keypair *kp)
{
	(void)atomic_fetch_add_explicit(&kp->refs, 1, memory_order_relaxed);
	return kp;
}

void keypair_put(struct keypair *kp)
{
	/* Release and acquire: what other holders did with the pair happened before it is wiped. */
	if (!kp || atomic_fetch_sub_explicit(&kp->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (unsigned i = 0; i < CRYPTO_LANES_MAX; i++) {
		kp->crypto->aead->ctx_free(kp->seal[i]);
		kp->crypto->aead->ctx_free(kp->open[i]);
	}
	sodium_memzero(kp, sizeof(*kp));
	free(kp);
}

int keypair_reserve(struct keypair *kp, struct mono now, size_t n, uint64_t *counter0)
{
	uint64_t next = atomic_load_explicit(&kp->next_counter, memory_order_relaxed);

	if (!keypair_is_alive(kp, now))
		return -ESTALE;
	/* Compare and swap, although one worker alone should be here: two threads that both thought
	 * themselves the owner would otherwise use a nonce twice, which gives the key away. A
	 * failed reservation takes nothing, so that the counter cannot creep to its wrap. */
	do {
		if (next >= KEYPAIR_REJECT_AFTER_MESSAGES ||
		    n > KEYPAIR_REJECT_AFTER_MESSAGES - next)
			return -ESTALE;
	} while (!atomic_compare_exchange_weak_explicit(
		&kp->next_counter, &next, next + n, memory_order_relaxed, memory_order_relaxed));
	*counter0 = next;
	return 0;
}

/* 'size' rounded up to a multiple of 16, but not beyond 'mtu' if the packet is within it. */
static uint32_t padded_size(uint32_t size, uint32_t mtu)
{
	uint32_t padded = (size + WGMSG_PADDING - 1) & ~(uint32_t)(WGMSG_PADDING - 1);

	if (mtu > 0 && size <= mtu && padded > mtu)
		return mtu;
	return padded;
}

uint64_t keypair_seal_n(struct keypair *kp, unsigned lane, const struct aead_thread *thread,
			uint32_t mtu, uint64_t counter0, struct keypair_pkt *pkts, size_t n)
{
	struct aead_pkt batch[AEAD_BATCH_MAX];

	assert(n > 0 && n <= AEAD_BATCH_MAX && lane < kp->n_seal_lanes);
	for (size_t i = 0; i < n; i++) {
		struct wg_data hdr = { .receiver_index = kp->remote_index,
				       .counter = counter0 + i };
		uint32_t size = padded_size(pkts[i].size, mtu);

		wgmsg_data_hdr_write(pkts[i].data - WGMSG_DATA_HDR_SIZE, &hdr);
		memset(pkts[i].data + pkts[i].size, 0, size - pkts[i].size);
		batch[i] = (struct aead_pkt){ .data = pkts[i].data, .size = size };
		pkts[i].size = size + WGMSG_DATA_OVERHEAD;
	}
	return kp->crypto->aead->seal_n(kp->seal[lane], thread, counter0, batch, n);
}

uint64_t keypair_open_n(struct keypair *kp, unsigned lane, const struct aead_thread *thread,
			struct mono now, struct keypair_pkt *pkts, size_t n)
{
	struct aead_pkt batch[AEAD_BATCH_MAX];
	uint8_t from[AEAD_BATCH_MAX]; /* which packet the n-th entry of the batch is */
	size_t n_batch = 0;
	uint64_t opened, ok = 0;

	assert(n > 0 && n <= AEAD_BATCH_MAX && lane < kp->n_open_lanes);
	if (!keypair_is_alive(kp, now))
		return 0;
	for (size_t i = 0; i < n; i++) {
		struct wg_data hdr;

		if (wgmsg_data_parse(&hdr, pkts[i].data, pkts[i].size) != 0 ||
		    hdr.receiver_index != kp->local_index ||
		    hdr.counter >= KEYPAIR_REJECT_AFTER_MESSAGES)
			continue;
		batch[n_batch] = (struct aead_pkt){
			.data = pkts[i].data + WGMSG_DATA_HDR_SIZE,
			.size = pkts[i].size - WGMSG_DATA_OVERHEAD,
			.counter = hdr.counter,
		};
		from[n_batch++] = (uint8_t)i;
	}
	if (n_batch == 0)
		return 0;
	opened = kp->crypto->aead->open_n(kp->open[lane], thread, batch, n_batch);
	for (size_t j = 0; j < n_batch; j++) {
		struct keypair_pkt *pkt = &pkts[from[j]];

		if (!(opened >> j & 1))
			continue;
		pkt->data = batch[j].data;
		pkt->size = batch[j].size;
		pkt->counter = batch[j].counter;
		ok |= UINT64_C(1) << from[j];
	}
	return ok;
}

/* --- traffic notes --- */

static void add(_Atomic uint64_t *v, uint64_t n)
{
	(void)atomic_fetch_add_explicit(v, n, memory_order_relaxed);
}

/* Is it time to tell control about traffic again? */
static bool note_due(_Atomic int64_t *noted, struct mono now)
{
	int64_t last = atomic_load_explicit(noted, memory_order_relaxed);

	if (last != 0 && now.ns - last < KEYPAIR_NOTE_INTERVAL_MS * NS_PER_MS)
		return false;
	atomic_store_explicit(noted, now.ns, memory_order_relaxed);
	return true;
}

bool keypair_note_sent(struct keypair *kp, struct mono now, size_t n_pkts, size_t bytes,
		       bool has_data)
{
	add(&kp->tx_pkts, n_pkts);
	add(&kp->tx_bytes, bytes);
	atomic_store_explicit(&kp->sent_ns, now.ns, memory_order_relaxed);
	if (has_data)
		atomic_store_explicit(&kp->sent_data_ns, now.ns, memory_order_relaxed);
	return note_due(&kp->sent_noted_ns, now);
}

bool keypair_note_received(struct keypair *kp, struct mono now, size_t n_pkts, size_t bytes,
			   bool has_data)
{
	add(&kp->rx_pkts, n_pkts);
	add(&kp->rx_bytes, bytes);
	atomic_store_explicit(&kp->received_ns, now.ns, memory_order_relaxed);
	if (has_data)
		atomic_store_explicit(&kp->received_data_ns, now.ns, memory_order_relaxed);
	return note_due(&kp->received_noted_ns, now);
}

static struct mono load_time(const _Atomic int64_t *v)
{
	return (struct mono){ atomic_load_explicit(v, memory_order_relaxed) };
}

static uint64_t load_count(const _Atomic uint64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

void keypair_activity(const struct keypair *kp, struct keypair_activity *a)
{
	*a = (struct keypair_activity){
		.sent = load_time(&kp->sent_ns),
		.sent_data = load_time(&kp->sent_data_ns),
		.received = load_time(&kp->received_ns),
		.received_data = load_time(&kp->received_data_ns),
		.next_counter = load_count(&kp->next_counter),
		.tx_bytes = load_count(&kp->tx_bytes),
		.rx_bytes = load_count(&kp->rx_bytes),
		.tx_pkts = load_count(&kp->tx_pkts),
		.rx_pkts = load_count(&kp->rx_pkts),
	};
}
