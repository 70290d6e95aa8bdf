/* SPDX-License-Identifier: MIT */
/* A pair of session keys: seals with one, opens with the other, in batches and in place.
 *
 * Life: a reference count. session.c makes a pair and keeps a reference while it is in a slot of
 * the session; DEVICE_KEYPAIR_INSTALL hands another one to the data plane, which publishes the pair
 * to the workers and puts it after DEVICE_KEYPAIR_REMOVE and a grace period, or whenever it must.
 * The last keypair_put() wipes the keys. So control may read the counters of a pair that the data
 * plane refused or lost.
 *
 * Threads: all key contexts are per lane (struct crypto). The send counter is handed out by the out
 * worker; the replay window belongs to the worker that holds its leaf lock in daemon/. The members
 * under "Shared" are relaxed atomics: nothing else is published through them, each is a number of
 * its own.
 *
 *   out worker                            in worker
 *   keypair_reserve(kp, …, &ctr)          replay_check(&kp->replay, counter): saves work
 *   keypair_seal_n(kp, lane, …, ctr)      keypair_open_n(kp, lane, …): which are authentic
 *   send                                  replay_accept_n(&kp->replay, …): which are fresh
 *   keypair_note_sent(): tell control?    keypair_note_received(): tell control?
 *
 * Limits: WireGuard paper 6.1. */
#ifndef NETSTACK_WG_KEYPAIR_H
#define NETSTACK_WG_KEYPAIR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/mono.h"
#include "wg/aead.h"
#include "wg/crypto.h"
#include "wg/replay.h"
#include "wire/peerid.h"
#include "wire/wgmsg.h"

/* WireGuard paper 6.1; the message limits leave room for the replay window. */
#define KEYPAIR_REKEY_AFTER_MESSAGES  (UINT64_C(1) << 60)
#define KEYPAIR_REJECT_AFTER_MESSAGES REPLAY_COUNTER_END
enum {
	KEYPAIR_REKEY_AFTER_TIME_S = 120,
	KEYPAIR_REJECT_AFTER_TIME_S = 180,
	/* Workers tell control about a key pair's traffic at most this often. */
	KEYPAIR_NOTE_INTERVAL_MS = 500,
};

struct keypair {
	/* Immutable after keypair_new(). */
	uint32_t local_index;  /* names this pair in what we receive */
	uint32_t remote_index; /* names it for the peer */
	struct peer_id peer;   /* as the session's configuration names it */
	bool is_initiator;     /* we sent the initiation */
	struct mono created;
	const struct crypto *crypto; /* borrowed */
	unsigned n_seal_lanes, n_open_lanes;
	struct aead_ctx *seal[CRYPTO_LANES_MAX]; /* each used by one thread */
	struct aead_ctx *open[CRYPTO_LANES_MAX];

	_Atomic unsigned refs;

	/* Shared, relaxed: times in ns of struct mono, 0 = never. */
	MESH_ALIGNED(64) _Atomic uint64_t next_counter; /* the next one to be sent with */
	_Atomic int64_t sent_ns;                        /* last packet sealed, keepalives too */
	_Atomic int64_t sent_data_ns;                   /* last one that carried data */
	_Atomic int64_t sent_noted_ns;                  /* when control was last told */
	_Atomic uint64_t tx_bytes; /* sealed messages, WireGuard overhead included */
	_Atomic uint64_t tx_pkts;
	MESH_ALIGNED(64)
	_Atomic int64_t received_ns; /* last authentic fresh packet, keepalives too */
	_Atomic int64_t received_data_ns;
	_Atomic int64_t received_noted_ns;
	_Atomic uint64_t rx_bytes;
	_Atomic uint64_t rx_pkts;

	/* The worker that holds the key pair's leaf lock. */
	MESH_ALIGNED(64) struct replay replay;
};

struct keypair_cfg {
	const struct crypto *crypto; /* borrowed for the key pair's life */
	uint8_t send_key[AEAD_KEY_SIZE];
	uint8_t recv_key[AEAD_KEY_SIZE];
	uint32_t local_index, remote_index;
	struct peer_id peer;
	bool is_initiator;
	struct mono created;
};

/* Makes a key pair and its contexts for every lane, with one reference. The caller still owns and
 * wipes
 * '*cfg'. Returns null if out of memory. Control thread. */
struct keypair *keypair_new(const struct keypair_cfg *cfg);
/* Takes another reference and returns 'kp'. Control thread. */
struct keypair *keypair_get(struct keypair *kp);
/* Gives a reference back; the last one wipes and frees. Null is fine. Any thread that is done with
 * it. */
void keypair_put(struct keypair *kp);

/* --- out worker --- */

/* Takes 'n' consecutive counters, the first in '*counter0'. Never gives a counter twice, whichever
 * threads call. Returns 0; -ESTALE if the pair is past its time or message limit and must not send:
 * ask control for a session. */
MESH_MUST_USE int keypair_reserve(struct keypair *kp, struct mono now, size_t n,
				  uint64_t *counter0);

/* One packet of a batch to be sealed or opened. */
struct keypair_pkt {
	/* Seal: the plaintext, with 16 writable bytes in front and keypair_room() behind it.
	 * Open: the message, header first; afterwards the plaintext. */
	uint8_t *data;
	/* Seal: of the plaintext, 0 = keepalive; afterwards of the message, which starts at data
	 * - 16. Open: of the message; afterwards of the padded plaintext. */
	uint32_t size;
	uint64_t counter; /* set by open */
};

/* Bytes needed behind a plaintext of 'size': padding and tag. */
static inline size_t keypair_room(size_t size)
{
	return (WGMSG_PADDING - size % WGMSG_PADDING) % WGMSG_PADDING + WGMSG_TAG_SIZE;
}

/* Pads, seals and heads 'n' (1..AEAD_BATCH_MAX) packets in place with the counters counter0,
 * counter0 + 1, … from keypair_reserve(). 'mtu' limits the padding: a plaintext is never padded
 * beyond it (0 = no limit).
 *
 * Afterwards each message is data - 16 .. data - 16 + size. Returns the bitmap of the sealed ones:
 * all, unless the library failed. The out worker of 'lane'. */
uint64_t keypair_seal_n(struct keypair *kp, unsigned lane, const struct aead_thread *thread,
			uint32_t mtu, uint64_t counter0, struct keypair_pkt *pkts, size_t n);

/* Counts 'n_pkts' messages of 'bytes' in total that were sealed at 'now'; 'has_data' unless all
 * were keepalives. Returns true if control should be told (at the first packet, then at most every
 * KEYPAIR_NOTE_INTERVAL_MS): post the peer to the ring and control calls device_activity(), which
 * also looks again by itself when the interval is over. */
bool keypair_note_sent(struct keypair *kp, struct mono now, size_t n_pkts, size_t bytes,
		       bool has_data);

/* --- in worker --- */

/* May this pair still open packets at 'now'? */
static inline bool keypair_is_alive(const struct keypair *kp, struct mono now)
{
	return mono_before(now, mono_add_s(kp->created, KEYPAIR_REJECT_AFTER_TIME_S));
}

/* Opens 'n' (1..AEAD_BATCH_MAX) data messages in place. Messages with a malformed header, another
 * receiver index or a counter past the limit, and all messages when the pair is too old, count as
 * not authentic.
 *
 * Returns the bitmap of the authentic packets; in those 'data' and 'size' are the plaintext (size
 * 0: keepalive) and 'counter' is set. Replay is still to be checked (replay_accept_n). The in
 * worker of 'lane'. */
uint64_t keypair_open_n(struct keypair *kp, unsigned lane, const struct aead_thread *thread,
			struct mono now, struct keypair_pkt *pkts, size_t n);

/* Counts 'n_pkts' authentic fresh messages of 'bytes' in total; 'has_data' unless all were
 * keepalives. Packets that the node swallows itself (protocol 99) are data. Returns true if control
 * should be told (the first packet at once: a responder may use the pair only from then on). */
bool keypair_note_received(struct keypair *kp, struct mono now, size_t n_pkts, size_t bytes,
			   bool has_data);

/* --- control --- */

/* Traffic on a key pair as control sees it; times are zero if there was none. */
struct keypair_activity {
	struct mono sent, sent_data, received, received_data;
	uint64_t next_counter, tx_bytes, rx_bytes, tx_pkts, rx_pkts;
};

void keypair_activity(const struct keypair *kp, struct keypair_activity *a);

#endif
