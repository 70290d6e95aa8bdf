/* SPDX-License-Identifier: MIT */
/* WireGuard with one peer: when to shake hands, which keys to use, when to forget them. The device
 * (wg/device.h) owns the sessions, finds the one that a message is for, and carries the outputs on.
 *
 *                 want, rekey due, 15 s unanswered
 *      IDLE ───────────────────────────────────► INITIATING ──┐ every 5 s + jitter: SEND again
 *       ▲  ▲       90 s without response: DOWN     │   │   ▲   │ cookie reply: once, sooner
 *       │  │                                       │   │   │   │ hint (hasten.h): a few, early
 *       │  └──────────────────────────────────────┘   │   └───┘
 *       └──────────────────────────────────────────────┘
 *                 response: INSTALL, CURRENT, UP, KEEPALIVE
 *
 *      in either state: initiation accepted: INSTALL (next slot), SEND response;
 *                       first packet received on the next slot: CURRENT, UP, then IDLE
 *
 * Key slots: 'current' sends; 'next' was made by us as responder and waits for the peer's first
 * packet; 'old' ones still open what is on its way. When handshakes cross, each side may go on
 * sending with a pair that the other already moved back: so several old ones are kept for 10 s,
 * then one. A pair that leaves its slot is REMOVEd.
 *
 * Timers (WireGuard paper 6): rekey by the initiator when something is sent 120 s after the key was
 * made, or received 165 s after; 15 s after data went out and nothing came back: a new handshake;
 * 10 s after data came and nothing was sent: a keepalive. A pair is removed 180 s after it was
 * made: it may neither seal nor open any more, so its keys need not wait in memory for the 540 s of
 * the paper, and an idle peer costs no memory for keys.
 *
 * Traffic is not reported per packet: workers count in the key pair (keypair_note_*) and post the
 * peer to control when that returns true; session_activity() then reads the counters, and once more
 * by itself when the interval in which workers keep quiet is over.
 *
 * The owner polls until false after every input. Control thread. Times never go backwards. */
#ifndef NETSTACK_WG_SESSION_H
#define NETSTACK_WG_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/mono.h"
#include "wg/cookie.h"
#include "wg/hasten.h"
#include "wg/keypair.h"
#include "wg/noise.h"
#include "wire/wgmsg.h"

struct env;
struct index_table;
struct session_stamps;

/* WireGuard paper 6.1, seconds. */
enum {
	SESSION_REKEY_TIMEOUT_S = 5,
	SESSION_GIVE_UP_S = 90,
	SESSION_KEEPALIVE_TIMEOUT_S = 10,
	SESSION_JITTER_MS = 333,
	SESSION_INITIATION_MIN_MS = 20, /* 50 initiations a second from one peer */
	SESSION_YOUNG_S = 10,           /* by so much control's word of a restart may be late */
};

/* Initiation stamps must increase for every peer, over restarts and clock jumps too. Each session
 * keeps its own last one; the node keeps 'reserved_ns', which is stored (DEVICE_PERSIST) before
 * stamps reach it, and starts above what was stored. */
struct session_stamps {
	int64_t base_ns;     /* as stored by the last run; stamps are greater */
	int64_t last_ns;     /* greatest stamp used by this run */
	int64_t reserved_ns; /* stamps up to here may be used */
	bool persist;        /* 'reserved_ns' was raised and not yet polled */
};

/* How far ahead stamps are reserved: a run that is killed at once moves them by no more than this.
 */
enum { SESSION_STAMP_RESERVE_S = 60 };

struct session_cfg {
	struct node_key peer;
	const uint8_t *psk;              /* 32 bytes, read during init; null = zeros */
	struct peer_id id;               /* goes into the key pairs */
	uint32_t persistent_keepalive_s; /* 0 = off */
	const struct crypto *crypto;     /* these five are borrowed for the session's life */
	const struct noise_self *self;
	struct index_table *indices;
	struct session_stamps *stamps;
	const struct env *env;
	void *index_owner; /* what index_get() gives for our indices; borrowed */
	/* Greatest initiation stamp seen from the peer before a restart; null = none. Read during
	 * init. */
	const uint8_t *seen_stamp;
};

enum session_out_kind {
	/* 'msg': hand it to the path ladder. */
	SESSION_SEND,
	/* 'kp' can open from now on; one reference goes to the taker. */
	SESSION_KEYPAIR_INSTALL,
	/* Seal with 'kp' from now on; null: there is nothing to seal with. */
	SESSION_KEYPAIR_CURRENT,
	/* Unpublish 'kp' and put the taker's reference; borrowed until the next poll. */
	SESSION_KEYPAIR_REMOVE,
	/* 'kp' just became usable for sending (rekeys too): send staged packets, TSMP. */
	SESSION_UP,
	/* Seal and send an empty packet with 'kp', unless data goes out right now. */
	SESSION_KEEPALIVE,
	/* No response for 90 s: drop staged packets. */
	SESSION_DOWN,
};

struct session_out {
	enum session_out_kind kind;
	struct keypair *kp;
	size_t size; /* SEND: of 'msg' */
	uint8_t msg[WGMSG_HANDSHAKE_MAX];
};

/* Most outputs of one input, with room to spare. */
enum { SESSION_QUEUE = 16 };

/* Pairs kept behind the current one, and for how long all but the first of them. */
enum { SESSION_OLD = 4, SESSION_OLD_S = 10 };

/* Our handshake in flight and its message. */
struct session_attempt {
	struct noise_hs noise;
	struct wg_initiation msg;
	struct mono made;
};

struct session_event {
	uint8_t kind; /* enum session_event_kind of session.c */
	struct keypair *kp;
};

struct session {
	struct session_cfg cfg; /* its 'psk' and 'seen_stamp' are null: they were copied */
	struct noise_peer noise;
	struct cookie_maker cookie;

	/* Handshake as initiator. */
	struct session_attempt *hs;  /* owned; null unless one is in flight */
	struct mono first_attempt;   /* when this series began */
	struct mono next_attempt;    /* the next regular one; MONO_NEVER: idle */
	struct mono not_before;      /* of a regular attempt: 5 s after the last */
	struct hasten hasten;        /* when to send another one before that */
	int64_t stamp_ns;            /* of the last initiation */
	bool cookie_retried;         /* this series was hastened by a cookie reply */

	/* Handshake as responder. */
	uint8_t seen_stamp[WGMSG_TIMESTAMP_SIZE];
	struct mono last_accepted; /* initiation accepted; zero: never */

	/* Key slots; each holds a reference. */
	struct keypair *current, *next;
	struct keypair *old[SESSION_OLD]; /* newest first */
	bool lastminute_done;             /* the 165 s rekey of the current pair was begun */

	/* Timers. Zero or MONO_NEVER: off. */
	struct mono unanswered_since; /* first data sent that nothing came back for; zero: none */
	struct mono unacknowledged_since; /* first data received that nothing was sent after; zero:
					     none */
	struct mono recheck_at;           /* read the counters again */
	struct mono expire_at;            /* the first pair reaches its 180 s */
	struct mono trim_at;              /* old pairs but the first go */
	struct mono persistent_at;
	struct mono repeat_up_at, last_up; /* UPs that answer a wish which came late */

	/* Handshake messages count as traffic too. */
	struct mono hs_sent, hs_received;
	struct mono last_handshake; /* completed; zero: never */

	uint64_t tx_bytes, rx_bytes; /* of pairs that are gone, and handshake messages */
	uint64_t seen_pkts;          /* sum of packets at the last look at the counters */

	struct keypair *released; /* of the last REMOVE polled: lives until the next poll */

	/* Outputs not yet polled. */
	struct session_event queue[SESSION_QUEUE];
	uint8_t q_first, q_len;
	struct wg_response *response; /* owned; null unless its SEND is queued */
};

/* Prepares a session; nothing happens until something is wanted or received. '*cfg' is copied.
 * Cannot fail. */
void session_init(struct session *s, const struct session_cfg *cfg);

/* A packet wants to be sent and the worker has no usable key. Starts a handshake unless one is in
 * flight; the 90 seconds count anew. If there is a key by now, UP comes (once more). */
void session_want(struct session *s, struct mono now);

/* Reads the counters of the key pairs; called when a worker's note about this peer arrives. */
void session_activity(struct session *s, struct mono now);

/* An initiation that noise_open_initiation() assigned to this peer. Answers it and makes the next
 * keys. Returns 0; -EBADMSG not authentic; -ESTALE replayed stamp; -EPROTO more than 50 a second;
 * -ENOBUFS no index; -ENOMEM. After an error nothing has changed. */
MESH_MUST_USE int session_input_initiation(struct session *s, struct mono now,
					   const struct wg_initiation *msg, struct noise_rx *rx);

/* A response to the index of our handshake in flight. Returns 0; -EBADMSG; -EPROTO if none is in
 * flight; -ENOMEM. After an error nothing has changed. */
MESH_MUST_USE int session_input_response(struct session *s, struct mono now,
					 const struct wg_response *msg);

/* A cookie reply to our last handshake message; the next one carries mac2.
 * Returns 0; -EBADMSG; -EPROTO if nothing is out. A series of attempts is hastened once. */
MESH_MUST_USE int session_input_cookie_reply(struct session *s, struct mono now,
					     const struct wg_cookie_reply *msg);

/* Something tells that an initiation may fare better now than the last one did. If that is not answered yet, another
 * one goes out soon, within the bounds of hasten.h; else nothing happens, and it returns false. */
bool session_hint(struct session *s, struct mono now, enum hasten_why why);

/* Forgets handshake and keys: CURRENT null, REMOVE for every pair. The peer stays. Used when the
 * peer may no longer be spoken to, and before session_wipe(). */
void session_reset(struct session *s);

/* The peer began anew some time ago (its disco key changed by control). Its old keys are gone with
 * its old life: they are forgotten, as by session_reset(), so that what is to be sent begins a
 * handshake. But the peer may have made new ones with us before control told: those of the last
 * SESSION_YOUNG_S stay. Forgotten, they would leave it without an answer until it gives them up,
 * 15 s later. If we may send with them already they could be of the old life as well: then a
 * handshake begins at once, and replaces them. So does one in place of a handshake that the old
 * life did not answer; neither waits for the 5 s after the last, as long as hasten.h allows. */
void session_restarted(struct session *s, struct mono now);

/* Next output, or false. */
bool session_poll(struct session *s, struct mono now, struct session_out *out);
struct mono session_deadline(const struct session *s);
void session_tick(struct session *s, struct mono now);

/* Frees and wipes. References that were handed out by INSTALL stay with their taker, who learns
 * nothing any more: call session_reset() and poll first. */
void session_wipe(struct session *s);

/* --- for status --- */
struct session_status {
	struct mono last_handshake; /* zero: never */
	struct mono heard;          /* last authentic packet; zero: never */
	bool is_up;                 /* there is a key to send with that is not too old */
	bool is_initiating;
	uint64_t tx_bytes, rx_bytes;
};

void session_status(const struct session *s, struct mono now, struct session_status *st);

#endif
