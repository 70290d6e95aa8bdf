/* SPDX-License-Identifier: MIT */
/* The daemon's control thread: owns the engine and every edge, and turns between them.
 *
 *   main.c      options, exit code              act.c      engine outputs carried out, one function per kind
 *   meshd.c     start, stop, the turn           events.c   what edges report, into the engine
 *   backend.c   local API over the engine      bus.c       news for its subscribers
 *                    figures.c   metrics, relay counts, whois
 *
 * One turn: every edge's events go into the engine, its outputs are carried out, until all are quiet; then
 * the timers are set. Control thread only. */
#ifndef DAEMON_MESHD_H
#define DAEMON_MESHD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/env.h"
#include "base/log.h"
#include "base/map.h"
#include "daemon/api.h"
#include "daemon/conf.h"
#include "daemon/coordrole.h"
#include "daemon/coordurl.h"
#include "daemon/dp.h"
#include "daemon/loop.h"
#include "daemon/metrics.h"
#include "daemon/metricsd.h"
#include "daemon/nft.h"
#include "daemon/persist.h"
#include "daemon/portmap.h"
#include "daemon/rtnl.h"
#include "daemon/store.h"
#include "daemon/tlsconn.h"
#include "engine.h"
#include "wg/crypto.h"

enum {
	MESHD_PINGS_MAX = 64,
	MESHD_WAITERS_MAX = 16,
	MESHD_READY_MAX = 64,
	MESHD_RELAY_STATS_S = 5,
	MESHD_SETTLE_S = 2,    /* after the work that memory is given back for began */
	MESHD_FIREWALL_S = 2,  /* how old the knowledge about the firewall may be */
	MESHD_COUNTERS_MAX = 128,
	MESHD_WHOIS_CAPS_MAX = 64,
	MESHD_RELAYS_SHOWN = 64,
};

/* A ping somebody waits for. */
struct meshd_ping {
	struct api_token token; /* 0 = free */
	struct ip ip;
};

/* What the workers had counted for one relay session at the last look. */
struct meshd_relay_seen {
	uint32_t vni;
	uint64_t pkts[2], bytes[2];
};

struct meshd {
	struct conf *conf; /* borrowed from main */
	int argc;
	char **argv;       /* borrowed from main, for reloads */
	struct log log;
	struct env env;
	struct crypto crypto;
	struct loop *loop;
	struct store *store;
	struct dp *dp;
	struct rtnl *rtnl;
	struct portmap *portmap;
	struct tlsconn_set *tls;
	struct engine *engine;
	struct api *api;
	struct api_backend backend;
	struct metricsd *metricsd;
	struct coordrole *coord;
	char coord_url[COORDURL_MAX]; /* that the role served last; "" = none yet */

	struct loop_fd tls_watch;
	struct loop_timer engine_timer, tls_timer, relay_timer;
	struct loop_timer settle_timer;
	bool is_settling; /* the timer runs */
	bool is_relaying; /* the relay timer runs: there is a session, or was one just now */

	/* Streams with bytes to take and no room yet. */
	uint32_t ready[MESHD_READY_MAX];
	size_t n_ready;
	struct persist persist;

	bool login_due;          /* a login follows: the last one's error is over, though not yet gone */
	struct meshd_ping pings[MESHD_PINGS_MAX];
	struct api_token netchecks[MESHD_WAITERS_MAX];
	size_t n_netchecks;
	struct api_token logout;
	bool logout_local;       /* its caller does not mind that the server cannot be told */
	/* The last `start`, until the login-interactive of the same process that belongs to it, or a minute has passed. */
	bool has_start, start_was_logged_in;
	pid_t start_pid;
	struct loop_timer start_timer;
	char start_key[CTLCLIENT_AUTH_KEY_MAX]; /* its auth key, wiped with it; "" = none */
	/* The bus: what its subscribers were told last. */
	struct loop_timer bus_timer;
	const struct netmap *bus_map; /* a reference; null = none */
	bool bus_map_due;        /* it is newer than the last whole map that was told */
	struct bytes bus_health;
	struct map relay_seen; /* VNI -> struct meshd_relay_seen */
	struct prefs prefs_view; /* what the API shows: the engine's, with the login */
	uint64_t relay_bytes, relay_bytes_s; /* forwarded at the last look, and a second up to it */
	bool relay_ran;
	/* Helper thread writes 'firewall_found' while the job is queued; control takes it over afterwards. */
	struct loop_job firewall_job;
	struct nft_firewall firewall, firewall_found;
	struct mono firewall_at; /* ZERO = never looked */
	struct api_token relay_waiters[MESHD_WAITERS_MAX]; /* reports that wait for the look */
	size_t n_relay_waiters;
	bool dp_dirty;           /* dp reported events */
	char host_error[RTNL_ERR_MAX];
	struct map_cap whois_caps[MESHD_WHOIS_CAPS_MAX];
	struct metrics_counter counters[MESHD_COUNTERS_MAX];
	size_t n_counters;
	struct metrics_latency latencies[MESHD_RELAYS_SHOWN];
	struct relayinfo relayinfo; /* names that 'latencies' borrows */
	char unhealthy[256];
};

/* Opens everything by 'conf' and runs until it is told to stop. Returns the process's exit code. */
int meshd_run(struct meshd *m, struct conf *conf, int argc, char **argv);
/* Lets edges and engine talk until both are quiet. */
void meshd_turn(struct meshd *m, struct mono now);
/* Work began that is done once and long not again (start, join, a connection, a whole map): shortly afterwards what
 * it used of memory is given back. */
void meshd_settle(struct meshd *m, struct mono now);

/* SIGHUP: reads the configuration file again and applies what changed. */
void meshd_reload(struct meshd *m, struct mono now);

/* events.c */
void meshd_dp_events(struct meshd *m, struct mono now);
void meshd_tls_events(struct meshd *m, struct mono now);
/* Reads the host's addresses and ports and tells the engine. */
void meshd_link(struct meshd *m, struct mono now, bool is_major);
void meshd_coord_events(struct coordrole_events *ev, struct meshd *m);

/* act.c */
void act(struct meshd *m, struct mono now, const struct engine_out *o);
/* Gives waiting bytes to streams that have room again. */
void act_ready(struct meshd *m, struct mono now, uint32_t stream);

/* bus.c */
void bus_init(struct meshd *m);
void bus_wipe(struct meshd *m);
/* The outer state, the preferences or the health may be new. */
void bus_state(struct meshd *m);
/* Tells what is different in the map, if it is another one than that of the last call. */
void bus_map(struct meshd *m);
void bus_subscribed(void *ctx, uint64_t mask);
int bus_health(void *ctx, struct bytes *out);

/* backend.c */
void backend_init(struct meshd *m);
/* The engine's state is new. */
void backend_state(struct meshd *m);
/* Carries out new preferences and has them stored (persist_answer() tells when); 'err' has the reason when it
 * fails and nothing changed. */
MESH_MUST_USE int backend_change_prefs(struct meshd *m, const struct prefs *next, uint64_t changed,
				       char err[static API_ERR_MAX]);
/* backend_relay.c */
int backend_relay(void *ctx, struct relayinfo *r);
void backend_relay_report(void *ctx, struct api_token token);
/* Has the helper thread look which firewall is active, unless that is known well enough. */
void backend_look_at_firewall(struct meshd *m, struct mono now);
void backend_ping_result(struct meshd *m, const struct engine_out *o);
void backend_netcheck_done(struct meshd *m);
/* 'why': the control server could not be told; null or "" = it was. */
void backend_logged_out(struct meshd *m, const char *why);
/* What a caller waits for was tried on disk. */
void backend_stored(void *ctx, uint64_t token, enum persist_kind kind, int err);
int backend_metrics(void *ctx, struct metrics_input *in);
const char *backend_unhealthy(void *ctx);
/* The forwarding counts of the workers, into the relay machine. */
void relaystat_collect(struct meshd *m);
/* Works out the bytes a second since the last call, MESHD_RELAY_STATS_S ago. */
void relaystat_rate(struct meshd *m);
void relaystat_wipe(struct meshd *m);
/* There is a session to forward: its counts are looked at from now on, until there is none any more. A node that
 * relays for nobody is not woken. */
void relaystat_watch(struct meshd *m, struct mono now);
int whois_find(struct meshd *m, const struct ip *ip, const struct node_key *key, struct api_whois *who);

#endif
