/* SPDX-License-Identifier: MIT */
/* Bookkeeping of the direct candidates and of all Pings in flight to one peer.
 *
 * The prober remembers; path/ladder decides. Where candidates come from, how many are kept and
 * which addresses are refused is settled here (RELIABILITY 5, rows on CallMeMaybe and control
 * endpoints), so no caller can ping an address that was refused. Control thread only. */
#ifndef NETSTACK_PATH_PROBER_H
#define NETSTACK_PATH_PROBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "base/mono.h"
#include "path/pathself.h"
#include "wire/disco.h"
#include "wire/pathaddr.h"

enum {
	PROBER_NETMAP_MAX = 64, /* endpoints of one peer from control */
	PROBER_CMM_MAX = 32,    /* from its CallMeMaybe */
	PROBER_PING_MAX = 16,   /* learned from received Pings */
	PROBER_CANDS_MAX = PROBER_NETMAP_MAX + PROBER_CMM_MAX + PROBER_PING_MAX,
	PROBER_INFLIGHT_MAX = 256, /* Pings waiting for their Pong; more are not sent */
	PROBER_ROUND_MAX = 64,     /* Pings that one round, or one CallMeMaybe, may cause */
	PROBER_TIMEOUT_S = 5,
	PROBER_INTERVAL_S = 5,   /* least time between discovery Pings to one address */
	PROBER_PING_LIFE_S = 45, /* candidates learned from Pings are forgotten after this */
};

/* Where a candidate was learned; several may hold. */
enum {
	PROBER_FROM_NETMAP = 1,
	PROBER_FROM_CMM = 2,
	PROBER_FROM_PING = 4,
};

enum prober_purpose {
	PROBER_DISCOVERY,
	PROBER_HEARTBEAT,
	PROBER_EXTRA, /* an active flow asks its path */
	PROBER_USER,
};

/* Why an address is, or is not, a path. */
enum prober_verdict {
	PROBER_UNTRIED,   /* no Ping was sent yet */
	PROBER_WAITING,   /* a Ping is on its way */
	PROBER_NO_ANSWER, /* Pings were sent, none was answered */
	PROBER_LOST,      /* answered earlier, not any more */
	PROBER_ANSWERS,   /* usable, but another path is preferred */
	PROBER_IN_USE,
	PROBER_UNREACHABLE, /* the system refused to send there */
};

struct prober_cand {
	struct ep ep;
	uint8_t from;        /* PROBER_FROM_* */
	bool is_unreachable; /* the last send failed */
	bool has_last_tx;
	struct disco_tx last_tx; /* of the last Ping received from here */
	struct mono last_sent;   /* last Ping queued; ZERO = never, or the limit was reset */
	struct mono last_ping;   /* last Ping received */
	struct mono last_back;   /* last Ping sent because one was received */
	struct mono last_cmm;    /* last CallMeMaybe that named it */
	struct mono last_pong;   /* ZERO = never */
	struct mono last_home;   /* last Pong that came from this very address; ZERO = never */
	int64_t latency_ns;      /* by the last Pong */
	uint32_t mtu;            /* largest wire MTU proven; 0 = none beyond the default */
	uint32_t n_sent;         /* Pings since the last Pong */
	uint32_t n_pongs;        /* ever */
};

struct prober_ping {
	struct disco_tx tx;
	struct path_addr to;
	struct mono at;   /* when it was sent; queued ones: when it was wanted */
	uint64_t user_id; /* PROBER_USER */
	uint32_t padding;
	uint8_t purpose; /* enum prober_purpose */
	bool is_sent;
};

/* One candidate as status shows it. */
struct prober_view {
	struct ep ep;
	enum prober_verdict verdict;
	uint8_t from;
	uint32_t n_sent, n_pongs; /* Pings since the last Pong; Pongs ever */
	int64_t latency_ns;       /* 0 = never answered */
	struct mono last_pong;
};

struct prober {
	struct pathself *self;     /* borrowed */
	struct prober_cand *cands; /* owned */
	uint16_t n_cands, cap_cands;
	struct prober_ping *pings; /* owned; queued and in flight, oldest first */
	uint16_t n_pings, cap_pings;
	struct mono retry_at; /* node-wide limit reached: try to send again; NEVER = no need */
};

/* May a hint (netmap, CallMeMaybe) make us send to this address? Refuses unset, port 0, loopback,
 * unspecified, multicast, broadcast, tailnet, IPv6 link-local and this host's own addresses. */
bool prober_may_try(const struct pathself *self, const struct ep *ep);

void prober_init(struct prober *p, struct pathself *self);
void prober_wipe(struct prober *p);

struct prober_cand *prober_find(const struct prober *p, const struct ep *ep);

/* Replaces the set of netmap endpoints: new ones become candidates, those no longer listed go
 * unless a CallMeMaybe named them. Refused and surplus addresses are counted. Returns 0 or -ENOMEM.
 */
MESH_MUST_USE int prober_set_netmap(struct prober *p, const struct ep *eps, size_t n);
/* As a CallMeMaybe demands: see disco 6. Deletes those of the previous CallMeMaybe that are missing
 * now, even if the netmap lists them. Resets the limit of every candidate. Returns 0 or -ENOMEM. */
MESH_MUST_USE int prober_set_cmm(struct prober *p, struct mono now, const struct disco_eps *eps);
/* A Ping came from 'ep'. Returns 1 if the address is new, 0 if known, -EPROTO if it is not allowed,
 * -ESTALE if the Ping is a duplicate (no Pong), -ENOMEM, -ENOBUFS. */
MESH_MUST_USE int prober_note_ping(struct prober *p, struct mono now, const struct ep *ep,
				   const struct disco_tx *tx);
/* Should a Ping received from this candidate be answered by one of ours too? The sender's NAT is
 * open for us now, which our last unanswered Ping may have been too early for. At most once a
 * second per address; true counts as done. */
bool prober_may_ping_back(struct prober_cand *c, struct mono now);
/* Forgets candidates learned from Pings that went quiet. */
void prober_prune(struct prober *p, struct mono now);
/* Forgets when candidates were pinged, so that the 5 s limit does not hold back the next round. */
void prober_reset_limits(struct prober *p);
/* Forgets Pongs and Pings too (link change); the candidates stay. */
void prober_reset_history(struct prober *p);

/* Queues one Ping with a fresh id. Returns 0; -ENOBUFS when too many wait; -ENOMEM. */
MESH_MUST_USE int prober_ping(struct prober *p, struct mono now, const struct path_addr *to,
			      enum prober_purpose purpose, uint64_t user_id, size_t size);
/* Queues a discovery Ping to each candidate not pinged in the last 'interval_ms' (PROBER_INTERVAL_S, or less for an
 * active flow). Returns how many were queued, at most PROBER_ROUND_MAX. */
size_t prober_ping_all(struct prober *p, struct mono now, int64_t interval_ms);
/* The same for a person, whose Pings ignore the interval. */
size_t prober_ping_all_user(struct prober *p, struct mono now, uint64_t user_id, size_t size);
/* Takes the next queued Ping for sending and stamps it; null: none is waiting. Borrowed until the
 * next call. */
const struct prober_ping *prober_next(struct prober *p, struct mono now);
/* Removes the Ping with this id and copies it to '*ping'; false if it is not ours. */
bool prober_take(struct prober *p, const struct disco_tx *tx, struct prober_ping *ping);
/* Records a Pong to 'ping' that came from 'from'. Null if the Ping's address is no
 * candidate any more: the Pong then proves nothing (path-selection 5). A Pong from elsewhere proves
 * the address, but does not keep one that was only learned from Pings: the peer has moved. */
struct prober_cand *prober_note_pong(struct prober *p, struct mono now,
				     const struct prober_ping *ping, const struct ep *from);
/* Removes one Ping that has waited 5 s; false: none. */
bool prober_expire(struct prober *p, struct mono now, struct prober_ping *ping);
struct mono prober_deadline(const struct prober *p);

enum prober_verdict prober_verdict(const struct prober *p, const struct prober_cand *c,
				   struct mono now);

#endif
