/* SPDX-License-Identifier: MIT */
/* Inside of the data plane: what control publishes, what workers own, and how they talk. Included
 * by dp*.c, worker*.c and forward.c only.
 *
 *   struct dp            control thread; what workers read in it is published or immutable
 *   struct dp_table      the view: peers by index, routes, filter; immutable; a version that differs in
 *                        few peers shares the blocks of the others
 *   struct dp_peer       lives from the first view that has it to the last; its path and key are
 *                        pointers of their own; each counter is written by one worker
 *   struct dp_key        one key pair in the table of receiver indices
 *   struct worker        one thread with its rings, bell and counters */
#ifndef DAEMON_DPSTATE_H
#define DAEMON_DPSTATE_H

#include <pthread.h>

#include "base/bucket.h"
#include "daemon/counters.h"
#include "daemon/crew.h"
#include "daemon/dp.h"
#include "daemon/loop.h"
#include "daemon/ring.h"
#include "daemon/slots.h"
#include "daemon/snapshot.h"
#include "daemon/tun.h"
#include "daemon/usock.h"
#include "policy/filter.h"
#include "wg/aead.h"
#include "wg/keypair.h"
#include "wg/routes.h"
#include "wire/geneve.h"

enum {
	DP_MTU = 1280,
	DP_RING_SIZE = 256 << 10, /* each; taken as used */
	DP_STACK_SIZE = 256 << 10,
	DP_IDLE_MS = 10000, /* then buffers go back */
	DP_ACTIVITY_MS = 100,
	DP_RX_PATH_MS = 100, /* at most one RX_PATH event a peer in this time */
	DP_NARROW_MAX = 16,  /* paths remembered as too narrow for GSO */
	DP_NARROW_S = 600,
	DP_WANT_MS = 100,  /* in which a peer's packets without a session are handed to */
	DP_WANT_MAX = 128, /* control, so many: no more of them are staged anyway */
	DP_POLL_MAX = 256, /* events a turn of the loop: others get their turn too */
};

/* One target of a peer's path, ready to be sent to. Immutable. */
struct dp_target {
	struct path_addr addr;
	struct usock_addr to;
	uint8_t geneve[GENEVE_SIZE]; /* RELAY */
	uint8_t via;                 /* enum dp_via */
	uint8_t path;                /* enum dp_path */
};

struct dp_targets {
	struct snapshot_item item;
	uint32_t n;
	bool has_relay; /* packets need room for a Geneve header */
	struct dp_target t[DP_TARGETS_MAX];
};

struct dp_peer {
	struct snapshot_item item;
	struct peer_id id;
	struct snapshot_ptr targets; /* struct dp_targets; null = no path */
	struct snapshot_ptr key;     /* struct dp_key to seal with; null = none */
	struct counter_mark
		active; /* set by workers at traffic, taken away by control after silence */

	/* Out worker. */
	struct counter tx_pkts[DP_VIA_N], tx_bytes[DP_VIA_N], tx_data_pkts;
	struct counter last_tx, last_tx_data;
	struct mono want_since; /* packets without a session since then: */
	uint32_t n_wants;
	struct bucket dups; /* bytes that may still be sent twice */

	/* In worker. */
	struct counter rx_pkts[DP_VIA_N], rx_bytes[DP_VIA_N], rx_data_pkts;
	struct counter last_rx, last_rx_data, last_rx_via[DP_VIA_N];
	struct path_addr rx_path;  /* where its data last came from */
	struct mono rx_path_noted; /* when control was told so */

	/* Control. */
	struct dp_activity told; /* totals at the last ACTIVITY event */
	struct dp_peer *active_next;
	bool is_listed; /* in dp->active */
	bool is_quiet;  /* it was silent in the last interval */
	bool is_gone;   /* not in the new view */
};

struct dp_key {
	struct slots_entry slot; /* first: key = local index */
	struct snapshot_item item;
	struct keypair *kp;   /* owned */
	struct dp_peer *peer; /* lives at least as long */
};

enum { DP_PEER_JAILED = 1, DP_PEER_WG_ONLY = 2 };

struct dp_table_entry {
	struct dp_peer *peer; /* null: nobody has this index */
	uint8_t flags;
};

enum { DP_BLOCK = 128 };

struct dp_block {
	struct dp_table_entry e[DP_BLOCK];
};

/* What two versions share is owned by the newer one; the older one keeps what it alone still needs. */
struct dp_table {
	struct snapshot_item item;
	struct routes *routes; /* owned; versions of them share by themselves */
	struct filter *filter; /* owned, or by the next version */
	struct routes *next_routes; /* owned: a version of 'routes' that could not be published */
	bool is_superseded;    /* there is a next version */
	struct dp_block **garbage; /* then: the blocks it does not share; control thread */
	uint32_t n_garbage;
	uint32_t n_blocks;
	struct dp_block *blocks[];
};

/* The entry of an index, or null. */
static inline const struct dp_table_entry *dp_table_at(const struct dp_table *t, uint32_t index)
{
	return t && index / DP_BLOCK < t->n_blocks ? &t->blocks[index / DP_BLOCK]->e[index % DP_BLOCK] :
						     NULL;
}

/* The two bound sides of one relay session. Immutable. */
struct dp_bound {
	struct snapshot_item item;
	struct usock_addr to[2];
	struct ep ep[2];
};

struct dp_vni {
	struct slots_entry slot; /* first: key = VNI */
	struct snapshot_item item;
	struct snapshot_ptr bound; /* struct dp_bound */
	/* Any forwarding worker; by the side that the packets come from. */
	struct counter pkts[2], bytes[2], last[2];
	/* The way out refused GSO with segments of this size. */
	struct counter narrow_size[2], narrow_until[2];
};

/* All counters of one worker; control sums them. */
struct dp_tally {
	struct counter in_pkts[DP_PATH_N], in_bytes[DP_PATH_N];
	struct counter out_pkts[DP_PATH_N], out_bytes[DP_PATH_N];
	struct counter in_dropped[DP_IN_N], out_dropped[DP_OUT_N];
	struct counter relay_pkts[2][2], relay_bytes[2][2], relay_dropped[DP_RELAY_DROP_N];
	struct counter rxq_overflow, relay_rxq_overflow, gso_fallbacks, dups_limited;
	struct counter bad_csums, tun_fallbacks;
	struct counter tun_reads, tun_writes, udp_recvs, udp_sends;
};

/* A record on a worker's ring to control; 'size' bytes of data follow. */
struct dp_note {
	uint8_t kind; /* enum dp_event_kind, or DP_NOTE_ACTIVE */
	bool geneve_control;
	struct peer_id peer;
	struct path_addr path;
	uint32_t sock;
	uint32_t local_index;
	int32_t error;
	uint32_t size;
	struct mono when;
};

/* The peer's mark was set: control looks at its counters from now on. */
enum { DP_NOTE_ACTIVE = 255 };

/* A record on a worker's ring from control. */
struct dp_order {
	struct peer_id peer; /* out: packet for this peer */
	uint32_t region;     /* in: it came by this DERP region */
	uint32_t size;
};

struct worker {
	struct dp *dp;
	pthread_t thread;
	bool is_started;   /* control */
	bool is_forwarder; /* counts kernel losses as the relay's */
	struct counter_mark stop;
	struct bell bell;   /* wakes this worker */
	struct ring notes;  /* to control */
	struct ring orders; /* from control */
	struct crew *crew; /* helps with crypto; null = nobody */
	struct aead_thread aead[CREW_HELPERS_MAX + 1]; /* by lane, 0 = this worker's */
	struct dp_tally tally;
};

struct out;     /* worker_out.c */
struct in;      /* worker_in.c */
struct forward; /* forward.c */

struct dp {
	struct loop *loop;
	const struct log *log;
	const struct crypto *crypto;
	struct snapshot *snapshot;
	struct tun tun;
	uint32_t mtu, fwmark;
	unsigned n_helpers; /* of each direction */
	bool use_no_gso, use_no_gro;
	uint64_t relay_bytes_per_s, relay_session_bytes_per_s; /* immutable; 0 = unlimited */

	/* Published. */
	struct snapshot_ptr table;   /* struct dp_table; null before the first view */
	struct snapshot_ptr sock[2]; /* main sockets by family, struct usock; null = not open; never
					taken back */
	struct slots keys;           /* receiver index -> struct dp_key */
	struct slots vnis;           /* VNI -> struct dp_vni */
	struct counter_mark relay_is_shared; /* the relay uses the main sockets */
	struct counter_mark
		gso_is_fresh; /* set by control: the out worker forgets what it knows of paths */

	struct usock main[2];

	/* Workers. */
	struct bell bell; /* wakes control */
	struct out *out;
	struct in *in;
	struct forward *forwarders[DP_RELAY_SOCKS_MAX];
	uint32_t n_forwarders;

	/* Under 'flows_lock', by both workers. */
	pthread_mutex_t flows_lock; /* leaf lock of the flow memory */
	struct flows *flows;
	uint8_t flows_seed[16]; /* immutable */

	/* Control. */
	struct loop_fd watch;
	struct loop_timer timer; /* activity summaries */
	void (*on_events)(void *ctx, struct mono now);
	void *ctx;
	struct dp_peer *active; /* peers with recent traffic */
	struct dp_peer *report; /* the next of them to be reported; null = none due */
	uint32_t n_polled;      /* events handed out since the bell was heard */
	uint32_t poll_at;       /* which worker's ring is polled next */
	struct ring *held;      /* its oldest record was handed out by dp_poll() */
	bool derp_is_due;       /* the in worker has orders that its bell was not rung for */
	bool relay_is_open;
	struct counter control_dropped_orders;
	struct dp_tally *past; /* sums of forwarders that have ended; null = none yet */
};

/* --- dp.c, dp_poll.c --- */

/* The peer of the newest view, or null. Control thread. */
struct dp_peer *dp_find_peer(const struct dp *dp, struct peer_id id);
/* Takes a peer that goes away off the list of active ones. */
void dp_poll_forget(struct dp *dp, struct dp_peer *p);
/* For the loop: the bell rang; summaries are due. */
void dp_poll_ready(void *ctx, uint32_t events, struct mono now);
void dp_poll_timer(void *ctx, struct mono now);

/* --- worker.c: what all workers share --- */

/* Prepares rings, bell and AEAD manager. Returns 0 or a negative errno; worker_wipe() in either
 * case. */
MESH_MUST_USE int worker_init(struct worker *w, struct dp *dp);
void worker_wipe(struct worker *w);
/* Gives the worker its helpers, dp->n_helpers. Returns 0 or a negative errno. */
MESH_MUST_USE int worker_recruit(struct worker *w, const char *name);
/* Starts 'fn' on a thread with a small stack and all signals blocked; joins it. */
MESH_MUST_USE int worker_start(struct worker *w, const char *name, void *(*fn)(void *), void *arg);
void worker_stop(struct worker *w);
/* Puts a note on the ring to control and rings its bell. False if the ring is full. */
bool worker_note(struct worker *w, const struct dp_note *note, const void *data, size_t size);
/* The same for a datagram that anybody may have sent: it never takes the last quarter of the ring,
 * so that a flood of them does not push out notes about keys and peers. */
bool worker_note_stranger(struct worker *w, const struct dp_note *note, const void *data,
			  size_t size);
/* Tells control, once, that the peer has traffic. */
void worker_mark_active(struct worker *w, struct dp_peer *peer);
/* A read of SO_RXQ_OVFL: '*last' is the socket's former total. */
void worker_count_overflow(struct worker *w, const struct usock_rx *rx, uint32_t *last);

/* --- the workers --- */

MESH_MUST_USE int out_open(struct dp *dp);
void out_stop(struct dp *dp);
void out_free(struct out *o);
struct worker *out_worker(struct out *o);

MESH_MUST_USE int in_open(struct dp *dp);
void in_stop(struct dp *dp);
void in_free(struct in *in);
struct worker *in_worker(struct in *in);

/* Opens the relay's sockets and workers ('err' as dp_relay_open()); ends them. */
MESH_MUST_USE int forward_open(struct dp *dp, uint16_t port,
			       struct forward *set[static DP_RELAY_SOCKS_MAX], uint32_t *n,
			       char err[static DP_ERR_MAX]);
void forward_close(struct forward *f);
struct worker *forward_worker(struct forward *f);
struct usock *forward_sock(struct forward *f, enum ip_family family);

/* Forwarding of one datagram that carries a Geneve header, used by the relay's workers and, if the
 * relay shares the main sockets, by the in worker. */
enum { FORWARD_IOV_MAX = 1024 };

struct forward_batch {
	struct worker *w;
	struct usock *sock[2];  /* by family: where it leaves; may be null */
	struct relayfair *fair; /* owned; null = unlimited */
	struct mono now;
	uint32_t n_runs[2], n_iov;
	struct usock_run runs[2][USOCK_RUNS_MAX];
	struct forward_owner {
		struct dp_vni *vni;
		uint8_t side, family_in;
	} owners[2][USOCK_RUNS_MAX];
	struct iovec iov[FORWARD_IOV_MAX];
};

/* Sets the limits that 'dp' has on an empty batch. Returns 0 or -ENOMEM. */
MESH_MUST_USE int forward_batch_limit(struct forward_batch *b, const struct dp *dp, struct mono now);
/* Takes the datagram if its VNI is bound and it comes from one of the sides; its bytes stay
 * borrowed until forward_flush(). False: it is not ours to forward. */
bool forward_add(struct forward_batch *b, struct mono now, uint32_t vni,
		 const struct usock_addr *from, uint8_t *data, uint32_t size);
void forward_flush(struct forward_batch *b);

/* Family as an index of arrays. */
static inline unsigned dp_fam(uint8_t family)
{
	return family == IP_V6 ? 1 : 0;
}

#endif
