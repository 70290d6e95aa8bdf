/* SPDX-License-Identifier: MIT */
/* What the engine and the local API want kept, on its way into the store.
 *
 *   ENGINE_PERSIST ──► identity ──┐                    ┌──► keys_stored: once for each set of keys
 *   ENGINE_PERSIST_MAP ─► (1 s) ──┼──► store ──► disk ─┤
 *   an edit of the preferences ───┘                    └──► answered: the caller of the local API
 *
 * Durable before visible: keys that wait are acknowledged when they are on disk, however often the disk refuses them
 * before; an answer goes out after the first try, with its outcome. Control thread only.
 * Spec: RELIABILITY 7, rule 4. */
#ifndef DAEMON_PERSIST_H
#define DAEMON_PERSIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/mono.h"
#include "control/ctlclient.h"
#include "daemon/loop.h"

struct log;
struct store;

enum {
	PERSIST_ANSWERS_MAX = 64,
	PERSIST_MAP_DELAY_MS = 1000, /* a burst of deltas is stored once */
	PERSIST_AGAIN_S = 1,         /* after there was no memory for keys */
	PERSIST_MAP_INTERVAL_S = 30, /* and never more often than this: a large map is megabytes */
};

/* How a caller is answered. */
enum persist_kind { PERSIST_PREFS, PERSIST_DONE };

struct persist_events {
	void (*keys_stored)(void *ctx, struct mono now);
	/* 'err': 0, or the negative errno of the disk; what was put is in force in memory then. */
	void (*answer)(void *ctx, uint64_t token, enum persist_kind kind, int err);
	/* The map as text (malloc'ed) and its server's URL (borrowed); null when out of memory. */
	char *(*map_text)(void *ctx, const char **url, size_t *size);
	void *ctx;
};

struct persist_answer {
	uint64_t token, ticket;
	enum persist_kind kind;
};

struct persist {
	struct store *store;    /* borrowed */
	struct loop *loop;      /* borrowed */
	const struct log *log;  /* borrowed */
	struct persist_events events;
	unsigned n_keys;        /* sets of keys that wait for 'keys_ticket' */
	uint64_t keys_ticket;
	bool is_lost;                /* there was no memory to put the newest set ... */
	struct ctlclient_saved lost; /* ... which is this; secret */
	struct loop_timer lost_timer;
	struct persist_answer answers[PERSIST_ANSWERS_MAX];
	size_t n_answers;
	bool map_is_due;         /* the map changed since it was stored ... */
	struct mono map_stored;  /* ... at this time; ZERO = never */
	struct loop_timer map_timer;
};

/* Attaches the store to the loop. */
void persist_init(struct persist *p, struct store *store, struct loop *loop, const struct log *log,
		  const struct persist_events *events);
/* Stores the map that waits, and everything else, before it returns. Harmless on a zeroed struct. */
void persist_close(struct persist *p);

/* 'keys_stored' follows once these are on disk, perhaps before this returns. A set that there is no memory for is put
 * again every second; no set is acknowledged before the newest one is on disk. */
void persist_identity(struct persist *p, struct mono now, const struct ctlclient_saved *saved);
/* No answer: the reservation is raised well before stamps reach it (wg/session.h). */
void persist_floor(struct persist *p, int64_t stamp_floor_ns);
/* There is a new map ('map_text' is asked for it when it is time), or none any more. */
void persist_map(struct persist *p, struct mono now, bool has_map);
/* 'answer' follows when everything put up to now was tried, perhaps before this returns. */
void persist_answer(struct persist *p, uint64_t token, enum persist_kind kind);

#endif
