/* SPDX-License-Identifier: MIT */
/* Inside of the coordinator role: shared by coordinator.c (connections, outputs) and coordsettings.c (keys,
 * DERP map, administration). */
#ifndef NETSTACK_COORDINT_H
#define NETSTACK_COORDINT_H

#include "base/bucket.h"
#include "base/map.h"
#include "coordconn.h"
#include "coordinator.h"
#include "coord/ctlserver.h"
#include "relay/derpserver.h"

/* A source address (IPv6: /64) with connections or a recent one. */
struct coord_source {
	struct ip key;
	uint32_t n_conns;
	uint32_t n_strangers; /* those of them without a session */
	struct bucket rate;
};

struct coord_conn {
	uint32_t id;
	struct coordconn *http;     /* null once it is DERP's */
	struct bytes derp_out;      /* taken from the DERP server for SEND */
	struct coord_source *source; /* null: own */
	struct ep from;
	bool is_stranger;           /* counted in 'source' and in the total */
	bool is_derp;
	bool is_blocked;            /* the transport took less than was offered */
	bool is_due;                /* in the due list */
	bool is_closing;            /* CLOSE follows its output */
	struct mono close_at;       /* closing: not later than this */
	struct coord_conn *prev, *next;
	struct coord_conn *next_due;
};

/* An administration call whose answer waits for the disk. */
struct coord_call {
	uint64_t call, ticket;
	unsigned status;
	bool changes;      /* it is done, but only in memory so far */
	struct bytes body;
	struct coord_call *next;
};

struct coordinator {
	const struct env *env;
	/* Settings. */
	char *url, *domain, *derp_host, *derp_pin;
	struct coordinator_cfg cfg; /* its texts are the four above */
	struct derp_map extra;      /* `derp add` */
	struct derp_map map;        /* embedded region and 'extra', as nodes get it */
	/* Keys. */
	struct machine_priv noise_priv;
	struct machine_key noise_pub;
	struct node_priv derp_priv;
	bool has_noise_key, has_derp_key, is_started;
	uint64_t start_ticket;      /* nothing is accepted before this is stored */
	/* Machines. */
	struct ctlserver *ctl;
	struct derpserver derp;
	bool has_derp;
	struct coordconn_ctx ctx;
	/* Connections. */
	struct map conns;           /* id -> struct coord_conn */
	struct map sources;         /* struct ip -> struct coord_source */
	struct coord_conn *first;
	struct coord_conn *due, *due_last;
	size_t n_strangers;
	struct bucket rate;
	struct mono conns_due;      /* not later than any connection's deadline */
	struct mono sweep_at;       /* sources without connections are forgotten */
	/* Calls. */
	struct coord_call *calls;   /* waiting, oldest first */
	struct coord_call *given;   /* lent to the caller by the last poll */
	struct coordinator_stats n;
};

/* Settings (coordsettings.c). */
int coord_set_cfg(struct coordinator *c, const struct coordinator_cfg *cfg);
int coord_load_setting(struct coordinator *c, int64_t id, const char *data);
/* Makes missing keys and queues their rows. */
int coord_make_keys(struct coordinator *c);
/* Builds c->map and hands everything to the control server. */
int coord_configure(struct coordinator *c, struct mono now);
/* derp.list, derp.add, derp.remove; returns the HTTP status, or 0 for other verbs. */
unsigned coord_derp_call(struct coordinator *c, struct mono now, const char *verb, const char *body, size_t size,
			 struct bytes *out);

#endif
