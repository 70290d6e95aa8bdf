/* SPDX-License-Identifier: MIT */
/* Inside of the control server: shared by ctlserver.c (requests), ctlstream.c (map streams) and ctlpolicy.c. */
#ifndef NETSTACK_COORD_CTLINT_H
#define NETSTACK_COORD_CTLINT_H

#include "coord/ctlserver.h"
#include "coord/mapbuild.h"

enum {
	CTL_KEEP_ALIVE_S = 50,   /* plus 0..9 s (control-messages 7.2) */
	CTL_STUCK_S = 120,       /* a message in flight for so long: the reader is dead */
	CTL_DURABLE_S = 10,      /* an answer waits so long for the disk, then 503 */
	CTL_WAITERS_MAX = 2000,
	CTL_MERGE_MAX_MS = 800,  /* longest merge window of a large mesh */
	CTL_POLICIES_KEPT = 100,
	CTL_POLL_READS_VERSION = 68, /* clients that tell everything by updates (control-messages 2) */
	CTL_OVERTAKEN_S = 30,        /* a poll so soon behind an update may have been written before it */
};

/* An open poll. */
struct ctl_stream {
	uint64_t id;             /* of the request */
	int64_t node;
	struct mapstream *map;
	bool zstd;
	bool once;               /* one-shot fetch: ends after its first message */
	bool in_flight;
	bool started;            /* its first message was sent */
	bool dirty;              /* the picture changed since it was last looked at */
	struct mono sent_at;     /* last message */
	struct mono keep_alive_at;
	struct ctl_stream *next;
};

/* A register request that can't be answered yet. */
struct ctl_waiter {
	uint64_t id;
	struct mono until;
	/* Waits for the disk: the answer is ready. */
	uint64_t ticket;
	unsigned status;
	char *body;
	/* Waits for approval: the request is run again. */
	char pending[25];        /* "" = waits for the disk */
	char *request;
	size_t request_size;
	struct machine_key machine;
	uint16_t version;
	struct ctl_waiter *next;
};

struct ctl_queued {
	struct ctlserver_out out;
	uint8_t *data;           /* owned */
	struct reg_batch batch;  /* owned */
	struct ctl_queued *next;
};

struct ctlserver {
	const struct env *env;
	struct registry *reg;
	/* Settings. */
	char *url, *domain;
	struct derp_map derp;
	struct registry_cfg reg_cfg;
	/* Policy in force. */
	struct policyfile *policy;   /* null: damaged, everything denied */
	char *policy_text;
	int64_t policy_revision;     /* 0: none yet */
	/* The picture and what it was made from. */
	struct mapview *view;
	uint64_t view_version;       /* registry_version() of it */
	bool view_stale;             /* policy, settings or expiry changed */
	struct mono view_at;         /* when it was built */
	struct mono expiry_at;       /* the next node key expires */
	struct ctl_stream *streams;
	size_t n_streams;
	struct mono streams_due;     /* not later than the earliest deadline of any stream */
	struct ctl_waiter *waiters;
	size_t n_waiters;
	struct ctl_queued *first, *last, *given; /* 'given': lent to the caller by the last poll */
};

/* Queues an output; 'data' is copied. Null: out of memory, dropped
 * and logged. */
struct ctl_queued *ctl_push(struct ctlserver *s, enum ctlserver_out_kind kind, uint64_t id, unsigned status, const char *type,
	      const void *data, size_t size);
void ctl_respond(struct ctlserver *s, uint64_t id, unsigned status, const char *text);

/* Streams (ctlstream.c). */
void ctl_map(struct ctlserver *s, struct mono now, const struct ctlserver_req *req);
/* Ends all streams of a node, or the one request 'id' (node 0). 'tell': with an END for the peer. */
void ctl_end_streams(struct ctlserver *s, struct mono now, int64_t node, uint64_t id, bool tell);
/* Brings the picture up to date if that is due, and queues what streams get. */
void ctl_run_streams(struct ctlserver *s, struct mono now);
struct mono ctl_streams_deadline(const struct ctlserver *s);
void ctl_tick_streams(struct ctlserver *s, struct mono now);
bool ctl_view_is_old(const struct ctlserver *s);

#endif
