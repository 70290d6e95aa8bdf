/* SPDX-License-Identifier: MIT */
/* Inside of the ladder: shared by ladder.c (inputs, rounds, outputs) and ladderwatch.c (which path
 * is best, and what happens when an active flow gets no answer). Nobody else includes it. */
#ifndef NETSTACK_PATH_LADDERINT_H
#define NETSTACK_PATH_LADDERINT_H

#include "path/ladder.h"
#include "path/metric.h"

enum {
	HEARTBEAT_MS = 3000, /* path-selection 2 */
	TRUST_MS = 6500,
	SESSION_S = 45,           /* heartbeats end this long after the last send */
	UPGRADE_S = 60,           /* a round although all is well; also relay upgrades */
	GOOD_ENOUGH_NS = 5000000, /* no rounds below this latency */
	RELAY_INTERVAL_S = 30,
	RELAY_ACTIVE_S = 5,         /* an active flow is on DERP (path-selection 18) */
	BEHIND_MS = 1000,           /* the peer was heard there so lately: it still is */
	BEHIND_FIRST_MS = 700,      /* a peer that finds the path together with us has it by then */
	ACTIVE_S = 10,              /* a flow counts as active this long after its last packet */
	ACTIVE_HEARTBEAT_MS = 2000, /* F26 (one direction blocked) must be noticed within 3 s */
	WARM_AFTER_MS = 2000,       /* a flow this old is worth a warm relay path */
	WARM_MS = 12000,            /* a relay path that answered within this is warm */
	SILENCE_MS = 300,           /* RELIABILITY 8 */
	SILENCE_RTTS = 4,
	HINT_QUIET_MS = 250, /* notes are 100 ms apart: less says nothing */
	HINT_PONG_MS = 500,
	RX_PAUSE_MS = 250,   /* packets further apart are not one run */
	RX_RUN_MS = 500,     /* a run so long that breaks off is worth a Ping, though nothing of ours waits */
	LEAVE_MS = 1000,         /* suspect this long: take a rung that answers */
	OFF_QUIET_MS = 500,      /* nothing came by a suspect path for so long: the peer should leave it too */
	OFF_AGAIN_MS = 1000,     /* after that all addresses are named again */
	SUSPECT_FRESH_MS = 500,  /* own endpoints from before the silence are gathered anew when a path fails, */
	ACTIVE_FRESH_MS = 3500,  /* ... for a flow that is not direct yet, */
	BLOCKED_FRESH_MS = 9000, /* ... and where no STUN answer comes, which costs TLS connections */
	/* An active flow that is not direct asks each address so often: a path that opens (F3: a firewall, a
	 * NAT) is in use after 1 s on average; at 5 s, the rule of idle peers, it would be 3 s. */
	ACTIVE_PING_MS = 2000,
	/* On a relay path that is trusted nothing else makes it ask, as packets do on DERP: heartbeats do, so
	 * often, and by no more than Pings. */
	RELAYED_HEARTBEAT_MS = 1000,
	RELAYED_PING_MS = 900, /* no address misses a heartbeat because it was asked a little late */
	CMM_DELAY_MS = 5,        /* behind the Pings, so that our NAT is open (trap 9) */
	CMM_RUN = 2,             /* CallMeMaybes before the peer gets the time for one of its own: */
	CMM_LISTEN_MS = 8500,    /* 5 s of a stock peer's limit per address, 3 s of its heartbeat */
	WG_CHOICE_MS = 1000,     /* WireGuard-only peers (path-selection 14) */
	WG_RECEIVED_MS = 5000,
};

static inline bool ladder_has_best(const struct ladder *l)
{
	return l->best.path.kind != PATH_NONE;
}

static inline bool ladder_is_suspect(const struct ladder *l)
{
	return !mono_is_never(l->suspect_since);
}

/* Within the stock trust window, whatever the extra Pings say. */
static inline bool ladder_in_trust(const struct ladder *l, struct mono now)
{
	return ladder_has_best(l) && mono_before(now, l->best.trusted_until);
}

static inline bool ladder_is_trusted(const struct ladder *l, struct mono now)
{
	return ladder_in_trust(l, now) && !ladder_is_suspect(l);
}

static inline bool ladder_is_trusted_direct(const struct ladder *l, struct mono now)
{
	return ladder_is_trusted(l, now) && l->best.path.kind == PATH_DIRECT;
}

/* Did something leave within the last 'ms'? */
static inline bool ladder_sent_within(const struct ladder *l, struct mono now, int64_t ms)
{
	return !mono_is_zero(l->last_sent) && mono_before(now, mono_add_ms(l->last_sent, ms));
}

struct path_addr ladder_derp(const struct ladder *l);

/* ladder.c */
void ladder_round(struct ladder *l, struct mono now, bool with_cmm);
void ladder_maybe_relays(struct ladder *l, struct mono now);
void ladder_reset_limits(struct ladder *l);

/* ladderwatch.c */
/* A Pong, or an offer, proved a path. */
void ladder_proved(struct ladder *l, struct mono now, const struct ladder_best *path);
void ladder_set_best(struct ladder *l, struct mono now, const struct ladder_best *path);
/* best is gone: the next rung that answered lately takes over, else DERP alone. */
void ladder_drop_best(struct ladder *l, struct mono now, const char *why);
struct ladder_relay *ladder_find_relay(struct ladder *l, const struct path_addr *path);
void ladder_del_relay(struct ladder *l, size_t i);
/* Where the second copy goes while best is suspect; PATH_NONE if there is nowhere else. */
struct path_addr ladder_next_rung(const struct ladder *l, struct mono now);
/* Pings best; counts as unanswered until its Pong. */
void ladder_probe(struct ladder *l, struct mono now, enum prober_purpose purpose);
void ladder_suspect(struct ladder *l, struct mono now, const char *why);
/* Notes a packet of the peer that came by best. */
void ladder_watch_received(struct ladder *l, struct mono now);
/* Sets the time of the next look at best. */
void ladder_watch_arm(struct ladder *l, struct mono now);
void ladder_watch_tick(struct ladder *l, struct mono now);
/* Authenticated data came by another path than best. */
void ladder_watch_hint(struct ladder *l, struct mono now);
/* The CallMeMaybe that is due to call the peer off a dead path, as addresses. False: none. */
bool ladder_poll_call_off(struct ladder *l, struct mono now, struct disco_eps *out);
/* Pings the relay paths other than best, and forgets those that are dead. */
void ladder_keep_warm(struct ladder *l, struct mono now);
bool ladder_has_warm_relay(const struct ladder *l, struct mono now);

#endif
