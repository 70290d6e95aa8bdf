/* SPDX-License-Identifier: MIT */
/* The coordinator role: opens what it needs, carries bytes and rows between edges and machine. The settings
 * and their row are coordconf.c's. */
#include "daemon/coordrole.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "base/env.h"
#include "base/log.h"
#include "base/map.h"
#include "coordinator.h"
#include "daemon/cert.h"
#include "daemon/coordconf.h"
#include "daemon/coordsave.h"
#include "daemon/coordstore.h"
#include "daemon/coordurl.h"
#include "daemon/hostnet.h"
#include "daemon/httpd.h"
#include "daemon/loop.h"
#include "daemon/stund.h"

enum {
	PIPES_MAX = 64,
	PIPE_CONN = 1 << 30, /* connection numbers of pipes; those of httpd are below */
	RETRY_S = 5,
	LISTENER_TAG = 1,
};

struct pipe_slot {
	uint32_t stream; /* 0 = free */
	uint32_t conn;
	bool is_new;     /* 'opened' has to be told */
	bool is_dead;    /* 'closed' has to be told */
};

/* What the caller of enable or disable gets once it is on disk. */
struct answer {
	struct answer *next;
	uint64_t call, ticket;
	char *json;
};

struct coordrole {
	struct coordrole_cfg cfg;
	char *db_path;
	struct coordconf conf;
	struct coordurl url;
	bool is_on;      /* serving */
	bool want_on;    /* by the settings */
	char error[COORDROLE_ERR_MAX];
	struct coordstore *store;
	struct coordinator *co;
	struct httpd *httpd;
	struct cert_tls *tls;
	struct stund stund;
	struct loop_fd httpd_watch, stun4_watch, stun6_watch;
	struct loop_timer httpd_timer, co_timer, retry_timer;
	struct map conns; /* httpd connections the coordinator knows: conn -> itself */
	struct pipe_slot pipes[PIPES_MAX];
	uint32_t next_pipe;
	struct coordsave *save;
	struct answer *answers;
};

/* ---- rows ---- */

static void reply(struct coordrole *r, const struct coordinator_out *o)
{
	r->cfg.events.reply(r->cfg.events.ctx, o->call, o->status, (const char *)o->data, o->size);
}

/* Answers of enable and disable up to 'ticket'; 'why' null: they are stored. */
static void answer_waiting(struct coordrole *r, uint64_t ticket, unsigned status, const char *why)
{
	struct answer **at = &r->answers;

	while (*at) {
		struct answer *a = *at;
		const char *text = why ? why : a->json;

		if (a->ticket > ticket) {
			at = &a->next;
			continue;
		}
		*at = a->next;
		if (r->cfg.events.reply)
			r->cfg.events.reply(r->cfg.events.ctx, a->call, status, text, strlen(text));
		free(a->json);
		free(a);
	}
}

/* Everybody who waits for a ticket up to this one hears that it can't be kept for now. */
static void refuse_waiting(struct coordrole *r, uint64_t ticket, unsigned status, const char *why)
{
	answer_waiting(r, ticket, status, why);
	coordinator_refused(r->co, ticket, status, why);
}

static void written(void *ctx, uint64_t ticket, int err, struct mono now)
{
	struct coordrole *r = ctx;

	char why[COORDROLE_ERR_MAX];

	if (!err) {
		coordinator_stored(r->co, now, ticket);
		answer_waiting(r, ticket, 200, NULL);
		return;
	}
	(void)snprintf(why, sizeof(why), "in force, but not stored: %s", strerror(-err));
	refuse_waiting(r, ticket, 500, why);
}

static void store_batch(struct coordrole *r, struct reg_batch *b)
{
	const uint64_t ticket = b->ticket;
	int err = coordsave_put(r->save, b);

	if (err) /* it said so in the log */
		written(r, ticket, err, loop_now(r->cfg.loop));
}

/* ---- connections ---- */

static struct pipe_slot *pipe_of(struct coordrole *r, uint32_t stream, uint32_t conn)
{
	for (size_t i = 0; i < PIPES_MAX; i++)
		if (r->pipes[i].stream && ((stream && r->pipes[i].stream == stream) ||
					   (conn && r->pipes[i].conn == conn)))
			return &r->pipes[i];
	return NULL;
}

static void send_pipe(struct coordrole *r, struct mono now, const struct coordinator_out *o)
{
	const struct pipe_slot *p = pipe_of(r, 0, o->conn);
	const uint32_t conn = o->conn;
	const size_t size = o->size;

	if (p && !p->is_dead)
		r->cfg.events.bytes(r->cfg.events.ctx, p->stream, now, o->data, size);
	coordinator_sent(r->co, now, conn, size);
}

static void send_conn(struct coordrole *r, struct mono now, const struct coordinator_out *o)
{
	size_t room = httpd_room(r->httpd, o->conn);
	const size_t size = o->size, n = size < room ? size : room;
	const uint32_t conn = o->conn;

	httpd_established(r->httpd, conn); /* the coordinator answers it, and limits what strangers may do */
	if (n && httpd_send(r->httpd, conn, o->data, n) < 0)
		return;
	coordinator_sent(r->co, now, conn, n);
	/* What did not fit goes on when there is room. httpd tells of room only after it was asked when there
	 * was none; the part that it took may already have left. */
	if (n < size && httpd_room(r->httpd, conn) > 0)
		coordinator_writable(r->co, now, conn);
}

static void close_conn(struct coordrole *r, const struct coordinator_out *o)
{
	struct pipe_slot *p = o->conn & PIPE_CONN ? pipe_of(r, 0, o->conn) : NULL;

	if (p) {
		p->is_dead = true;
	} else {
		map_del(&r->conns, &o->conn);
		httpd_close(r->httpd, o->conn, true);
	}
}

static bool pump_machine(struct coordrole *r, struct mono now)
{
	struct coordinator_out o;
	bool any = false;

	while (r->co && coordinator_poll(r->co, now, &o)) {
		any = true;
		switch (o.kind) {
		case COORDINATOR_SEND:
			if (o.conn & PIPE_CONN)
				send_pipe(r, now, &o);
			else
				send_conn(r, now, &o);
			break;
		case COORDINATOR_CLOSE:
			close_conn(r, &o);
			break;
		case COORDINATOR_STORE:
			store_batch(r, o.batch);
			break;
		case COORDINATOR_REPLY:
			reply(r, &o);
			break;
		}
	}
	return any;
}

static bool pump_pipes(struct coordrole *r, struct mono now)
{
	bool any = false;

	for (size_t i = 0; i < PIPES_MAX; i++) {
		struct pipe_slot *p = &r->pipes[i];
		const uint32_t stream = p->stream;

		if (!stream)
			continue;
		if (p->is_new) {
			p->is_new = false;
			any = true;
			r->cfg.events.opened(r->cfg.events.ctx, stream, now);
		} else if (p->is_dead) {
			p->stream = 0;
			any = true;
			r->cfg.events.closed(r->cfg.events.ctx, stream, now);
		}
	}
	return any;
}

static void httpd_event(struct coordrole *r, struct mono now, const struct httpd_event *ev)
{
	const uint32_t conn = ev->conn;

	switch (ev->kind) {
	case HTTPD_OPENED:
		if (map_put(&r->conns, &conn, r) < 0 ||
		    coordinator_accept(r->co, now, conn, &ev->remote, ev->is_tls, false) < 0) {
			map_del(&r->conns, &conn);
			httpd_close(r->httpd, conn, false);
		}
		break;
	case HTTPD_DATA:
		coordinator_bytes(r->co, now, conn, ev->data, ev->size);
		break;
	case HTTPD_WRITABLE:
		coordinator_writable(r->co, now, conn);
		break;
	case HTTPD_CLOSED:
		map_del(&r->conns, &conn);
		coordinator_closed(r->co, now, conn);
		break;
	}
}

bool coordrole_pump(struct coordrole *r, struct mono now)
{
	struct httpd_event ev;
	bool any = false;

	if (!r || !r->co)
		return false;
	while (r->httpd && httpd_poll(r->httpd, &ev)) {
		httpd_event(r, now, &ev);
		(void)pump_machine(r, now);
		any = true;
	}
	any |= pump_machine(r, now);
	any |= pump_pipes(r, now);
	loop_timer_set(r->cfg.loop, &r->co_timer, coordinator_deadline(r->co));
	if (r->httpd)
		loop_timer_set(r->cfg.loop, &r->httpd_timer, httpd_deadline(r->httpd));
	return any;
}

/* ---- loop ---- */

static void httpd_due(void *ctx, struct mono now)
{
	struct coordrole *r = ctx;

	if (r->httpd)
		httpd_run(r->httpd, now);
}

static void httpd_ready(void *ctx, uint32_t events, struct mono now)
{
	(void)events;
	httpd_due(ctx, now);
}

static void co_due(void *ctx, struct mono now)
{
	struct coordrole *r = ctx;

	if (r->co)
		coordinator_tick(r->co, now);
}

static void stun4_ready(void *ctx, uint32_t events, struct mono now)
{
	struct coordrole *r = ctx;

	(void)events;
	stund_run(&r->stund, r->stund.fd4, now);
}

static void stun6_ready(void *ctx, uint32_t events, struct mono now)
{
	struct coordrole *r = ctx;

	(void)events;
	stund_run(&r->stund, r->stund.fd6, now);
}

/* ---- start and stop ---- */

static int open_stun(struct coordrole *r, char *why)
{
	int err;

	if (r->conf.stun_port < 0)
		return 0;
	err = stund_open(&r->stund, (uint16_t)r->conf.stun_port, r->cfg.mark);
	if (!err)
		err = loop_fd_add(r->cfg.loop, &r->stun4_watch, r->stund.fd4, EPOLLIN, stun4_ready, r);
	if (!err && r->stund.fd6 >= 0)
		err = loop_fd_add(r->cfg.loop, &r->stun6_watch, r->stund.fd6, EPOLLIN, stun6_ready, r);
	if (err)
		(void)snprintf(why, COORDROLE_ERR_MAX, "STUN on UDP port %d: %s", r->conf.stun_port,
			       strerror(-err));
	return err;
}

static void close_stun(struct coordrole *r)
{
	loop_fd_del(r->cfg.loop, &r->stun4_watch);
	loop_fd_del(r->cfg.loop, &r->stun6_watch);
	stund_close(&r->stund);
}

static int listen_on(struct httpd *h, struct ep ep, struct cert_tls *tls, char *why)
{
	int rc = httpd_listen(h, &ep, LISTENER_TAG, tls);

	if (rc == -EAFNOSUPPORT) { /* no IPv6 in this kernel */
		ep.ip = ip4(0, 0, 0, 0);
		rc = httpd_listen(h, &ep, LISTENER_TAG, tls);
	}
	if (rc < 0)
		(void)snprintf(why, COORDROLE_ERR_MAX, "TCP port %u: %s", ep.port, strerror(-rc));
	return rc < 0 ? rc : 0;
}

static int open_listener(struct coordrole *r, char *why)
{
	struct ep ep;
	int rc = coordurl_listen(&ep, r->conf.listen, r->url.port, why, COORDROLE_ERR_MAX);

	if (rc)
		return rc;
	r->httpd = httpd_new(r->cfg.log);
	if (!r->httpd)
		return -ENOMEM;
	rc = listen_on(r->httpd, ep, r->tls, why);
	return rc ? rc : loop_fd_add(r->cfg.loop, &r->httpd_watch, httpd_fd(r->httpd), EPOLLIN, httpd_ready, r);
}

static void close_listener(struct coordrole *r, struct mono now)
{
	const void *key;
	size_t it = 0;

	loop_fd_del(r->cfg.loop, &r->httpd_watch);
	while (r->co && map_next(&r->conns, &it, &key)) {
		uint32_t conn;

		memcpy(&conn, key, sizeof(conn));
		coordinator_closed(r->co, now, conn);
	}
	map_wipe(&r->conns);
	httpd_free(r->httpd);
	r->httpd = NULL;
}

/* The operator's certificate, or one of our own that the DERP map pins. Behind a proxy TLS is the proxy's. */
static int open_tls(struct coordrole *r, char *why)
{
	const char *reason = "out of memory";
	int64_t wall_s = env_wall_ns(r->cfg.env) / NS_PER_S;
	int err;

	cert_tls_free(r->tls);
	r->tls = NULL;
	if (r->conf.behind_proxy)
		return 0;
	if (*r->conf.cert) {
		r->tls = cert_tls_load(r->conf.cert, r->conf.key, NULL, wall_s, &reason);
	} else {
		err = coordconf_own_cert(&r->conf, r->url.host, wall_s);
		if (!err)
			r->tls = cert_tls_new(r->conf.cert_pem, r->conf.key_pem, NULL, wall_s, &reason);
	}
	if (r->tls)
		return 0;
	(void)snprintf(why, COORDROLE_ERR_MAX, "certificate: %s", reason);
	return -EINVAL;
}

static void machine_cfg(const struct coordrole *r, struct coordinator_cfg *cfg, char pin[static CERT_PIN_TEXT_MAX])
{
	pin[0] = 0;
	if (r->tls && (!r->url.is_https || cert_tls_is_self_signed(r->tls)))
		cert_tls_pin(r->tls, pin);
	*cfg = (struct coordinator_cfg){ .url = r->url.text,
					 .domain = r->conf.domain,
					 .pool4 = r->conf.pool4,
					 .node_expiry_s = r->conf.node_expiry_s,
					 .derp_host = r->url.host,
					 .derp_port = r->url.port,
					 .derp_pin = pin,
					 .stun_port = r->conf.stun_port };
	(void)!prefix_parse(&cfg->pool6, "fd7a:115c:a1e0::/48", 19, false); /* a constant parses */
}

struct loader {
	struct coordrole *r;
	struct mono now;
};

static int load_row(void *ctx, enum reg_table table, int64_t id, const char *data)
{
	const struct loader *l = ctx;

	return coordinator_load(l->r->co, l->now, table, id, data);
}

static int load_conf(void *ctx, enum reg_table table, int64_t id, const char *data)
{
	struct coordrole *r = ctx;

	return table == REG_SETTINGS && id == REG_SET_CONFIG ? coordconf_parse(&r->conf, data) : 0;
}

static int open_machine(struct coordrole *r, struct mono now, char *why)
{
	struct loader l = { .r = r, .now = now };
	char pin[CERT_PIN_TEXT_MAX];
	struct coordinator_cfg cfg;
	int err;

	machine_cfg(r, &cfg, pin);
	if (r->co) {
		err = coordinator_configure(r->co, now, &cfg);
	} else {
		r->co = coordinator_new(&cfg, r->cfg.env);
		err = r->co ? coordstore_load(r->store, load_row, &l) : -ENOMEM;
		if (!err)
			err = coordinator_start(r->co, now);
		if (err) { /* a part of the rows is worse than none: the next try begins anew */
			coordinator_free(r->co);
			r->co = NULL;
		}
	}
	if (err)
		(void)snprintf(why, COORDROLE_ERR_MAX, "the database cannot be used: %s", strerror(-err));
	return err;
}

static void stop(struct coordrole *r, struct mono now)
{
	for (size_t i = 0; i < PIPES_MAX; i++)
		if (r->pipes[i].stream)
			r->pipes[i].is_dead = true;
	close_listener(r, now);
	close_stun(r);
	if (r->is_on)
		log_info(r->cfg.log, "coordinator: off");
	r->is_on = false;
}

static int start(struct coordrole *r, struct mono now, char *why)
{
	int err = coordurl_parse(&r->url, r->conf.url, why, COORDROLE_ERR_MAX);

	if (!err)
		err = open_tls(r, why);
	if (!err)
		err = open_listener(r, why);
	if (!err)
		err = open_stun(r, why);
	if (!err)
		err = open_machine(r, now, why);
	/* The DERP server's key is the machine's; nothing was accepted on the listener yet. */
	if (!err && r->tls &&
	    cert_tls_add_derp(r->tls, coordinator_derp_key(r->co), env_wall_ns(r->cfg.env) / NS_PER_S) < 0)
		log_warn(r->cfg.log, "coordinator: DERP clients log in without fast start: no meta certificate");
	if (err) {
		stop(r, now);
		return err;
	}
	r->is_on = true;
	r->error[0] = 0;
	log_info(r->cfg.log, "coordinator: serving %s", r->url.text);
	r->cfg.events.changed(r->cfg.events.ctx, now);
	return 0;
}

static void retry_due(void *ctx, struct mono now)
{
	struct coordrole *r = ctx;

	if (!r->want_on || r->is_on)
		return;
	if (start(r, now, r->error))
		loop_timer_set(r->cfg.loop, &r->retry_timer, mono_add_s(now, RETRY_S));
}

static int open_store(struct coordrole *r, char *why)
{
	struct coordsave_cfg cfg = { .loop = r->cfg.loop, .log = r->cfg.log, .written = written, .ctx = r };
	int err = r->store ? 0 : coordstore_open(&r->store, r->db_path, why, COORDROLE_ERR_MAX);

	cfg.store = r->store;
	if (!err && !r->save)
		r->save = coordsave_new(&cfg);
	return err || r->save ? err : -ENOMEM;
}

int coordrole_open(struct coordrole **out, const struct coordrole_cfg *cfg, struct mono now,
		   char why[static COORDROLE_ERR_MAX])
{
	struct coordrole *r = calloc(1, sizeof(*r));
	int err = 0;

	(void)snprintf(why, COORDROLE_ERR_MAX, "out of memory");
	if (!r)
		return -ENOMEM;
	r->cfg = *cfg;
	r->db_path = strdup(cfg->db_path);
	stund_init(&r->stund, cfg->env);
	map_init(&r->conns, sizeof(uint32_t), HTTPD_CONNS_MAX, cfg->env);
	r->httpd_timer = (struct loop_timer){ .fn = httpd_due, .ctx = r };
	r->co_timer = (struct loop_timer){ .fn = co_due, .ctx = r };
	r->retry_timer = (struct loop_timer){ .fn = retry_due, .ctx = r };
	if (!r->db_path || coordconf_defaults(&r->conf) < 0)
		err = -ENOMEM;
	if (!err && access(r->db_path, F_OK) == 0) {
		err = open_store(r, why);
		if (!err)
			err = coordstore_load(r->store, load_conf, r);
	}
	if (err) {
		coordrole_close(r);
		return err;
	}
	*out = r;
	r->want_on = r->conf.is_on;
	if (r->want_on)
		loop_timer_set(cfg->loop, &r->retry_timer, now); /* in the first turn: everybody is ready then */
	return 0;
}

/* Whoever waits for the disk is told how it ended; the loop does not turn any more. */
static void finish_askers(struct coordrole *r, struct mono now)
{
	(void)pump_machine(r, now);
	coordsave_flush(r->save);
	(void)pump_machine(r, now);
	refuse_waiting(r, UINT64_MAX, 503, "meshd is stopping");
	(void)pump_machine(r, now);
}

void coordrole_close(struct coordrole *r)
{
	if (!r)
		return;
	stop(r, loop_now(r->cfg.loop));
	if (r->co)
		finish_askers(r, loop_now(r->cfg.loop));
	loop_timer_stop(r->cfg.loop, &r->httpd_timer);
	loop_timer_stop(r->cfg.loop, &r->co_timer);
	loop_timer_stop(r->cfg.loop, &r->retry_timer);
	coordsave_free(r->save);
	coordinator_free(r->co);
	coordstore_close(r->store);
	cert_tls_free(r->tls);
	coordconf_wipe(&r->conf);
	free(r->db_path);
	free(r);
}

/* ---- commands ---- */

static void warn_line(char *warn, const char *line)
{
	size_t n = strlen(warn);

	(void)snprintf(warn + n, COORDROLE_WARN_MAX - n, "%s%s", n ? "\n" : "", line);
}

/* In the pool, and not of a network that this host has anyway (a provider's, behind carrier-grade NAT). */
static bool is_mesh_address(const struct coordrole *r, const struct coordconf *c, const struct coordurl *u)
{
	const struct prefix host = { .ip = u->ip, .bits = 32 };
	char what[HOSTNET_TEXT_MAX];

	return prefix_contains(&c->pool4, &u->ip) &&
	       !hostnet_uses(&host, r->cfg.ifname ? r->cfg.ifname : "", what);
}

static void add_warnings(const struct coordrole *r, const struct coordconf *c, const struct coordurl *u, char *warn)
{
	char what[HOSTNET_TEXT_MAX], line[HOSTNET_TEXT_MAX + 120];
	struct coordinator_stats st = { 0 };

	warn[0] = 0;
	if (r->co)
		coordinator_stats(r->co, &st);
	/* Our own node follows by itself. */
	if (*r->conf.url && strcmp(r->conf.url, c->url) != 0 && st.n_nodes > 1)
		warn_line(warn, "Warning: nodes that joined under the old URL go on asking there; to move one: "
				"meshctl up --login-server URL --force-reauth --auth-key KEY");
	if (ip_is_loopback(&u->ip))
		warn_line(warn, "Warning: only this machine can reach a loopback address");
	if (!u->is_https && u->port != 443 && coordurl_is_public(u))
		warn_line(warn, "Warning: stock clients reconnect to a public http URL only on port 443; "
				"only meshd nodes will come back on this port");
	if (!hostnet_uses(&c->pool4, r->cfg.ifname ? r->cfg.ifname : "", what))
		return;
	(void)snprintf(line, sizeof(line), "Warning: %s of this host overlaps the pool (choose another range with --pool4)",
		       what);
	warn_line(warn, line);
}

static int try_listener(struct coordrole *r, const struct ep *ep, char *why)
{
	struct httpd *h = httpd_new(r->cfg.log);
	int err = h ? listen_on(h, *ep, NULL, why) : -ENOMEM;

	httpd_free(h);
	return err;
}

static int try_stun(struct coordrole *r, int32_t port, char *why)
{
	struct stund s;
	int err;

	stund_init(&s, r->cfg.env);
	err = stund_open(&s, (uint16_t)port, r->cfg.mark);
	if (err)
		(void)snprintf(why, COORDROLE_ERR_MAX, "STUN on UDP port %d: %s", port, strerror(-err));
	stund_close(&s);
	return err;
}

/* What can be known to fail is found out before the running role is touched: its nodes notice nothing. */
static int rehearse(struct coordrole *r, const struct coordconf *next, const struct coordurl *url, char *why)
{
	const char *reason = "out of memory";
	struct ep ep, now;
	int err;

	if (*next->cert) {
		struct cert_tls *t =
			cert_tls_load(next->cert, next->key, NULL, env_wall_ns(r->cfg.env) / NS_PER_S, &reason);

		cert_tls_free(t);
		if (!t) {
			(void)snprintf(why, COORDROLE_ERR_MAX, "certificate: %s", reason);
			return -EINVAL;
		}
	}
	err = coordurl_listen(&ep, next->listen, url->port, why, COORDROLE_ERR_MAX);
	if (!err)
		err = coordurl_listen(&now, r->conf.listen, r->url.port, why, COORDROLE_ERR_MAX);
	if (!err && ep.port != now.port)
		err = try_listener(r, &ep, why);
	if (!err && next->stun_port > 0 && next->stun_port != r->conf.stun_port)
		err = try_stun(r, next->stun_port, why);
	return err;
}

static int save(struct coordrole *r, char *why)
{
	char *row = coordconf_write(&r->conf);
	int err = row ? coordinator_put_setting(r->co, REG_SET_CONFIG, row) : -ENOMEM;

	if (row) /* holds the certificate's private key */
		sodium_memzero(row, strlen(row));
	free(row);
	if (err)
		(void)snprintf(why, COORDROLE_ERR_MAX, "the settings cannot be stored: %s", strerror(-err));
	return err;
}

int coordrole_enable(struct coordrole *r, struct mono now, const struct coordrole_settings *s,
		     char why[static COORDROLE_ERR_MAX], char warn[static COORDROLE_WARN_MAX])
{
	struct coordconf next = { 0 }, old = r->conf;
	const bool was_on = r->is_on;
	struct coordurl url;
	int err = coordconf_from(&next, &r->conf, s, &url, why);

	if (err)
		return err;
	if (is_mesh_address(r, &next, &url)) {
		(void)snprintf(why, COORDROLE_ERR_MAX, "--url is an address that the mesh gives out itself: nodes reach it "
						       "only after they have joined (another range for them: --pool4)");
		coordconf_wipe(&next);
		return -EINVAL;
	}
	add_warnings(r, &next, &url, warn);
	err = open_store(r, why);
	if (err) {
		coordconf_wipe(&next);
		return err;
	}
	if (was_on && coordconf_eq(&next, &old)) { /* a repetition disturbs nobody */
		coordconf_wipe(&next);
		return 0;
	}
	if (was_on && (err = rehearse(r, &next, &url, why)) != 0) {
		coordconf_wipe(&next);
		return err;
	}
	stop(r, now);
	r->conf = next;
	err = start(r, now, why);
	if (!err)
		err = save(r, why);
	if (!err) {
		r->want_on = true;
		coordconf_wipe(&old);
		return 0;
	}
	stop(r, now);
	coordconf_wipe(&r->conf);
	r->conf = old;
	if (was_on && start(r, now, r->error))
		loop_timer_set(r->cfg.loop, &r->retry_timer, mono_add_s(now, RETRY_S));
	return err;
}

int coordrole_disable(struct coordrole *r, struct mono now, char why[static COORDROLE_ERR_MAX])
{
	int err = 0;

	if (!r->want_on)
		return 0;
	r->want_on = r->conf.is_on = false;
	if (r->co)
		err = save(r, why);
	(void)pump_machine(r, now);
	stop(r, now);
	r->cfg.events.changed(r->cfg.events.ctx, now);
	return err;
}

bool coordrole_is_on(const struct coordrole *r)
{
	return r && r->is_on;
}

const char *coordrole_url(const struct coordrole *r)
{
	return r->conf.url ? r->conf.url : "";
}

struct ip coordrole_public_ip(const struct coordrole *r)
{
	return r->url.ip;
}

uint16_t coordrole_stun_port(const struct coordrole *r)
{
	return r->is_on && r->conf.stun_port > 0 ? r->stund.port : 0;
}

int coordrole_status(const struct coordrole *r, char **out)
{
	struct coordinator_stats st = { 0 };

	if (r->co)
		coordinator_stats(r->co, &st);
	*out = coordconf_status(&r->conf, r->is_on, r->error, &st,
				r->store ? coordstore_size(r->store) : 0, COORDINATOR_REGION);
	return *out ? 0 : -ENOMEM;
}

void coordrole_answer(struct coordrole *r, uint64_t call, const char *json)
{
	const uint64_t ticket = r->co ? coordinator_ticket(r->co) : 0;
	struct answer *a;

	if (!r->co || coordinator_is_durable(r->co, ticket)) {
		r->cfg.events.reply(r->cfg.events.ctx, call, 200, json, strlen(json));
		return;
	}
	a = calloc(1, sizeof(*a));
	if (a)
		a->json = strdup(json);
	if (!a || !a->json) {
		free(a);
		r->cfg.events.reply(r->cfg.events.ctx, call, 500, "out of memory", 13);
		return;
	}
	a->call = call;
	a->ticket = ticket;
	a->next = r->answers;
	r->answers = a;
	coordsave_hurry(r->save);
}

void coordrole_admin(struct coordrole *r, struct mono now, uint64_t call, const char *verb, const char *body,
		     size_t size)
{
	static const char off[] = "{\"Error\":\"the coordinator is off (meshctl coordinator enable --url URL)\"}";
	static const char nomem[] = "{\"Error\":\"out of memory\"}";

	if (!r->co || !r->is_on) {
		r->cfg.events.reply(r->cfg.events.ctx, call, 409, off, sizeof(off) - 1);
		return;
	}
	if (coordinator_admin(r->co, now, call, verb, body, size) < 0) {
		r->cfg.events.reply(r->cfg.events.ctx, call, 500, nomem, sizeof(nomem) - 1);
		return;
	}
	(void)coordrole_pump(r, now);
	coordsave_hurry(r->save);
}

/* ---- pipes ---- */

bool coordrole_is_own(const struct coordrole *r, const struct stream_addr *addr)
{
	return r->is_on && addr->port == r->url.port && strcasecmp(addr->host, r->url.host) == 0;
}

int coordrole_pipe_open(struct coordrole *r, struct mono now, uint32_t stream)
{
	const struct ep from = { .ip = ip4(127, 0, 0, 1) };
	size_t i = 0;
	int err;

	while (i < PIPES_MAX && r->pipes[i].stream)
		i++;
	if (i == PIPES_MAX)
		return -ENOBUFS;
	r->next_pipe = (r->next_pipe + 1) & (PIPE_CONN - 1);
	r->pipes[i] = (struct pipe_slot){
		.stream = stream, .conn = PIPE_CONN | r->next_pipe, .is_new = true
	};
	err = coordinator_accept(r->co, now, r->pipes[i].conn, &from, false, true);
	if (err)
		r->pipes[i].stream = 0;
	return err;
}

int coordrole_pipe_send(struct coordrole *r, struct mono now, uint32_t stream, const uint8_t *data, size_t size)
{
	const struct pipe_slot *p = pipe_of(r, stream, 0);

	if (!p)
		return -ENOENT;
	if (!p->is_dead && size)
		coordinator_bytes(r->co, now, p->conn, data, size);
	return 0;
}

void coordrole_pipe_close(struct coordrole *r, struct mono now, uint32_t stream)
{
	struct pipe_slot *p = pipe_of(r, stream, 0);

	if (!p)
		return;
	if (!p->is_dead)
		coordinator_closed(r->co, now, p->conn);
	p->stream = 0;
}
