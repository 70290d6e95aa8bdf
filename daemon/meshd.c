/* SPDX-License-Identifier: MIT */
/* Start, turn and stop of the daemon. */
#include "daemon/meshd.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "daemon/aeadpick.h"
#include "daemon/crew.h"
#include "daemon/filepages.h"
#include "daemon/api_coord.h"
#include "relay/relayserver.h"

enum { TURN_MAX = 1000, /* rounds of one turn: the next turn goes on */
       TURN_MS = 50,
       BYTES_PER_MBIT = 125000 };

/* ---- log ---- */

static void log_line(void *ctx, enum log_level level, const char *line)
{
	static const char *const names[] = { "error: ", "warning: ", "", "debug: " };

	(void)ctx;
	(void)fprintf(stderr, "meshd: %s%s\n", names[level], line);
}

/* ---- turn ---- */

void meshd_turn(struct meshd *m, struct mono now)
{
	struct engine_out o;
	bool busy = true;

	for (int i = 0; busy && i < TURN_MAX; i++) {
		meshd_tls_events(m, now);
		meshd_dp_events(m, now);
		busy = false;
		while (engine_poll(m->engine, now, &o)) {
			act(m, now, &o);
			busy = true;
		}
		dp_derp_flush(m->dp);
		busy |= coordrole_pump(m->coord, now);
	}
	bus_map(m);
	loop_timer_set(m->loop, &m->engine_timer, busy ? now : engine_deadline(m->engine));
	loop_timer_set(m->loop, &m->tls_timer, tlsconn_deadline(m->tls));
}

static void turn_end(void *ctx, struct mono now)
{
	meshd_turn(ctx, now);
}

static void engine_due(void *ctx, struct mono now)
{
	struct meshd *m = ctx;

	engine_tick(m->engine, now);
}

static void tls_due(void *ctx, struct mono now)
{
	struct meshd *m = ctx;

	tlsconn_run(m->tls, now);
}

static void tls_ready(void *ctx, uint32_t events, struct mono now)
{
	(void)events;
	tls_due(ctx, now);
}

static void relay_due(void *ctx, struct mono now)
{
	struct meshd *m = ctx;

	relaystat_collect(m);
	relaystat_rate(m);
	/* Once more after the last session: the rate falls to nothing. */
	m->is_relaying = relayserver_next(engine_relay(m->engine), 0) || m->relay_bytes_s;
	if (m->is_relaying)
		loop_timer_set(m->loop, &m->relay_timer, mono_add_s(now, MESHD_RELAY_STATS_S));
}

static void settle_due(void *ctx, struct mono now)
{
	struct meshd *m = ctx;

	(void)now;
	m->is_settling = false;
	(void)malloc_trim(0);
	filepages_release();
}

void meshd_settle(struct meshd *m, struct mono now)
{
	if (m->is_settling)
		return;
	m->is_settling = true;
	loop_timer_set(m->loop, &m->settle_timer, mono_add_s(now, MESHD_SETTLE_S));
}

static void keys_stored(void *ctx, struct mono now)
{
	struct meshd *m = ctx;

	engine_persisted(m->engine, now);
}

static char *map_text(void *ctx, const char **url, size_t *size)
{
	const struct meshd *m = ctx;

	return engine_save_map(m->engine, url, size);
}

void meshd_reload(struct meshd *m, struct mono now)
{
	extern char **environ;
	struct prefs next = { 0 };
	struct conf_error why;
	struct conf conf;
	char err[API_ERR_MAX];
	uint64_t changed;
	int rc;

	(void)now;
	if (conf_load(&conf, m->argc, m->argv, environ, &why) < 0) {
		log_error(&m->log, "reload: %s", why.text);
		return;
	}
	rc = prefs_apply(&next, engine_prefs(m->engine), &conf.edit, err);
	changed = rc ? 0 : prefs_diff(engine_prefs(m->engine), &next);
	if (!rc && changed)
		rc = backend_change_prefs(m, &next, changed, err);
	if (rc)
		log_error(&m->log, "reload: %s", err);
	else
		log_info(&m->log, "reload: %s", changed ? "new settings are in force" : "nothing changed");
	if (conf.relay_mbps != m->conf->relay_mbps || conf.relay_session_mbps != m->conf->relay_session_mbps ||
	    conf.relay_sessions != m->conf->relay_sessions)
		log_warn(&m->log, "reload: limits of the relay are in force after a restart");
	if (!rc) { /* what the file locks may be another set now */
		m->conf->locked = conf.locked;
		m->conf->locked_all = conf.locked_all;
	}
	prefs_wipe(&next);
	conf_wipe(&conf);
}

static void signalled(void *ctx, int signo, struct mono now)
{
	struct meshd *m = ctx;

	if (signo == SIGHUP) {
		meshd_reload(m, now);
		return;
	}
	log_info(&m->log, "stopping on signal %d", signo);
	loop_stop(m->loop);
}

static void link_changed(void *ctx, enum rtnl_change change, struct mono now)
{
	struct meshd *m = ctx;

	log_info(&m->log, "link: %s change", change == RTNL_MAJOR ? "major" : "minor");
	meshd_link(m, now, change == RTNL_MAJOR);
}

static void portmapped(void *ctx, const struct portmapper_result *r, struct mono now)
{
	struct meshd *m = ctx;

	engine_portmap_done(m->engine, now, r);
}

static void dp_events(void *ctx, struct mono now)
{
	(void)ctx;
	(void)now; /* the turn's end looks at them */
}

/* ---- start ---- */

static int fail(const char *what, const char *why)
{
	(void)fprintf(stderr, "meshd: %s: %s\n", what, why);
	return 1;
}

static int open_crypto(struct meshd *m)
{
	int err = aeadpick_init(&m->crypto, getenv("MESHD_AEAD"), &m->log);

	return err ? fail("aead", err == -ENOENT  ? "MESHD_AEAD names no backend of this build" :
				  err == -ENOTSUP ? "MESHD_AEAD names a backend that this CPU cannot run" :
						    strerror(-err)) :
		     0;
}

/* The UDP port that was chosen once is used again, so that firewall rules stay valid. */
static uint16_t remembered_port(struct meshd *m)
{
	struct bytes b = { 0 };
	uint16_t port = 0;

	if (m->conf->port == 0 && store_get_value(m->store, "udp_port", &b) == 0 && bytes_size(&b) == 2)
		port = (uint16_t)(bytes_data(&b)[0] << 8 | bytes_data(&b)[1]);
	bytes_wipe(&b);
	return m->conf->port ? m->conf->port : port;
}

static void remember_port(struct meshd *m)
{
	const uint16_t port = dp_port(m->dp, IP_V4);
	const uint8_t b[2] = { (uint8_t)(port >> 8), (uint8_t)port };

	if (m->conf->port == 0 && store_put_value(m->store, "udp_port", b, sizeof(b)) < 0)
		log_warn(&m->log, "store: port: not written");
}

static int open_dp(struct meshd *m)
{
	struct dp_cfg cfg = { .port = remembered_port(m),
			      .crypto = &m->crypto,
			      .log = &m->log,
			      .loop = m->loop,
			      .relay_bytes_per_s = (uint64_t)m->conf->relay_mbps * BYTES_PER_MBIT,
			      .relay_session_bytes_per_s = (uint64_t)m->conf->relay_session_mbps * BYTES_PER_MBIT,
			      .on_events = dp_events,
			      .ctx = m };
	char err[DP_ERR_MAX] = "no name for the TUN device";
	const char *forced = getenv("MESHD_FORCE"); /* for tests: the data plane's fallbacks */
	int rc = -EINVAL;

	cfg.n_helpers = crew_default(sysconf(_SC_NPROCESSORS_ONLN));
	if (forced && dp_cfg_force(&cfg, forced) < 0)
		return fail("MESHD_FORCE", "an unknown word");
	/* Before the first key pair. */
	m->crypto.n_seal_lanes = m->crypto.n_open_lanes = 1 + cfg.n_helpers;
	for (size_t i = 0; rc && i < m->conf->n_tun; i++) {
		cfg.tun_name = m->conf->tun[i];
		rc = dp_open(&m->dp, &cfg, err);
	}
	if (rc) {
		(void)fprintf(stderr, "meshd: %s%s\n", err,
			      rc == -EBUSY || rc == -EEXIST ? " (another name: --tun NAME)" : "");
		return 1;
	}
	if (m->conf->port && dp_port(m->dp, IP_V4) != m->conf->port)
		log_warn(&m->log, "udp: port %u is taken, using %u", m->conf->port, dp_port(m->dp, IP_V4));
	remember_port(m);
	return 0;
}

/* A node whose keys are lost or damaged does not run under new ones: the operator decides (RELIABILITY 7, rule 3). */
static int load_saved(struct meshd *m, struct ctlclient_saved *saved, bool *has)
{
	struct store_identity id = { 0 };
	struct bytes url = { 0 };
	static const char damaged[] = "keys in the state database are lost or damaged. Restore it from a backup, or "
				      "move it away to join as a new node";
	int err = store_get_identity(m->store, &id);

	*has = err == 0;
	if (err)
		return err == -ENOENT ? 0 : fail("state", damaged);
	saved->machine = id.machine;
	saved->node = id.node;
	saved->old_node = id.old_node;
	saved->registered = id.is_registered;
	store_identity_wipe(&id);
	if (store_get_value(m->store, "identity_url", &url) == 0 && bytes_size(&url) < sizeof(saved->url))
		memcpy(saved->url, bytes_data(&url), bytes_size(&url));
	bytes_wipe(&url);
	if (*saved->url)
		err = store_get_server_key(m->store, saved->url, &saved->server);
	if (err == -ENOENT)
		memset(&saved->server, 0, sizeof(saved->server));
	return err && err != -ENOENT ? fail("state", damaged) : 0;
}

static void log_id(struct meshd *m, char text[static 65])
{
	struct bytes b = { 0 };
	uint8_t raw[32];

	if (store_get_value(m->store, "log_id", &b) == 0 && bytes_size(&b) == 64) {
		memcpy(text, bytes_data(&b), 64);
		text[64] = 0;
		bytes_wipe(&b);
		return;
	}
	bytes_wipe(&b);
	env_fill(&m->env, raw, sizeof(raw));
	sodium_bin2hex(text, 65, raw, sizeof(raw));
	if (store_put_value(m->store, "log_id", text, 64) < 0)
		log_warn(&m->log, "store: log id: not written");
}

/* Stored preferences with what command line, environment and file say on top. */
static int load_prefs(struct meshd *m, struct prefs *out)
{
	struct prefs stored = { 0 };
	char err[PREFS_ERR_MAX];
	int rc = store_get_prefs(m->store, &stored);

	if (rc)
		return fail("preferences", strerror(-rc));
	rc = prefs_apply(out, &stored, &m->conf->edit, err);
	prefs_wipe(&stored);
	return rc ? fail("configuration", err) : 0;
}

static int open_engine(struct meshd *m)
{
	struct ctlclient_saved saved = { 0 };
	struct prefs prefs = { 0 };
	struct bytes map = { 0 };
	struct utsname u;
	char host[256] = "node", id[65];
	int64_t floor_s = 0;
	bool has_saved;
	struct engine_cfg cfg = { .env = &m->env,
				  .crypto = &m->crypto,
				  .prefs = &prefs,
				  .portmap_methods = m->conf->portmap,
				  .relay_sessions_max = m->conf->relay_sessions,
				  .relay_bytes_per_s = (uint64_t)m->conf->relay_mbps * BYTES_PER_MBIT,
				  .relay_session_bytes_per_s =
					  (uint64_t)m->conf->relay_session_mbps * BYTES_PER_MBIT };

	if (load_prefs(m, &prefs))
		return 1;
	if (load_saved(m, &saved, &has_saved)) {
		prefs_wipe(&prefs);
		return 1;
	}
	log_id(m, id);
	(void)gethostname(host, sizeof(host) - 1);
	host[strcspn(host, ".")] = 0;
	cfg.saved = has_saved ? &saved : NULL;
	if (has_saved && *saved.url && store_get_map(m->store, saved.url, &map) == 0) {
		cfg.cached_map = bytes_data(&map);
		cfg.cached_map_size = bytes_size(&map);
	}
	if (store_get_floor(m->store, &floor_s) == 0)
		cfg.stamp_floor_ns = floor_s * NS_PER_S;
	cfg.hostname = host;
	cfg.os_version = uname(&u) == 0 ? u.release : "";
	cfg.log_id = id;
	cfg.is_ephemeral = strcmp(m->conf->state, "mem:") == 0;
	m->engine = engine_new(&cfg, loop_now(m->loop));
	sodium_memzero(&saved, sizeof(saved));
	bytes_wipe(&map);
	prefs_wipe(&prefs);
	return m->engine ? 0 : fail("engine", "out of memory");
}

static int open_coord(struct meshd *m, struct mono now)
{
	char path[512], why[COORDROLE_ERR_MAX];
	struct coordrole_cfg cfg = {
		.loop = m->loop, .env = &m->env, .log = &m->log, .db_path = path, .mark = RTNL_MARK,
		.ifname = dp_ifname(m->dp)
	};

	(void)snprintf(path, sizeof(path), "%s/coord.db", m->conf->statedir);
	meshd_coord_events(&cfg.events, m);
	return coordrole_open(&m->coord, &cfg, now, why) < 0 ? fail("coordinator", why) : 0;
}

static int open_api(struct meshd *m)
{
	const struct metricsd_backend mb = { .metrics = backend_metrics,
					     .unhealthy = backend_unhealthy,
					     .ctx = m };
	const struct api_cfg cfg = { .loop = m->loop, .log = &m->log, .backend = &m->backend, .coord = m->coord };
	int err;

	backend_init(m);
	m->api = api_new(&cfg);
	if (!m->api || api_add_table(m->api, &api_coord_table) < 0)
		return fail("api", "out of memory");
	for (size_t i = 0; i < m->conf->n_sockets; i++) {
		err = api_listen(m->api, m->conf->sockets[i]);
		if (err)
			return fail(m->conf->sockets[i],
				    err == -EADDRINUSE ? "address already in use" : strerror(-err));
	}
	if (!m->conf->metrics_listen)
		return 0;
	err = metricsd_open(&m->metricsd, m->loop, &m->log, m->conf->metrics_listen, &mb);
	return err ? fail(m->conf->metrics_listen, strerror(-err)) : 0;
}

static int open_edges(struct meshd *m, struct mono now)
{
	const struct tlsconn_cfg tls = { .mark = RTNL_MARK, .log = &m->log };
	char why[STORE_ERR_MAX];
	int err = store_open(&m->store, m->conf->state, &m->log, why);

	if (err)
		return fail("state", why);
	if (open_crypto(m) || open_dp(m))
		return 1;
	m->tls = tlsconn_new(&tls);
	if (!m->tls)
		return fail("tls", "cannot be set up");
	if (open_engine(m) || open_coord(m, now))
		return 1;
	err = portmap_open(&m->portmap, m->loop, &m->log, RTNL_MARK, portmapped, m);
	if (err)
		return fail("portmap", strerror(-err));
	err = rtnl_open(&m->rtnl, m->loop, &m->log, dp_ifindex(m->dp), link_changed, m);
	if (err)
		return fail("rtnl", strerror(-err));
	err = loop_fd_add(m->loop, &m->tls_watch, tlsconn_fd(m->tls), EPOLLIN, tls_ready, m);
	return err ? fail("tls", strerror(-err)) : open_api(m);
}

/* Tells the service manager that the daemon serves. */
static void notify_ready(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd;

	if (!path || strlen(path) >= sizeof(a.sun_path))
		return;
	memcpy(a.sun_path, path, strlen(path));
	if (a.sun_path[0] == '@')
		a.sun_path[0] = 0;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void)sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&a,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
	(void)close(fd);
}

static void set_timers(struct meshd *m, struct mono now)
{
	m->engine_timer = (struct loop_timer){ .fn = engine_due, .ctx = m };
	m->tls_timer = (struct loop_timer){ .fn = tls_due, .ctx = m };
	m->relay_timer = (struct loop_timer){ .fn = relay_due, .ctx = m };
	m->settle_timer = (struct loop_timer){ .fn = settle_due, .ctx = m };
	bus_init(m);
	meshd_settle(m, now);
}

static void close_all(struct meshd *m)
{
	if (m->loop)
		loop_fd_del(m->loop, &m->tls_watch);
	/* Answers that wait for the disk go out while there is an API; it tells the others that there will be none. */
	api_stop(m->api);
	persist_close(&m->persist);
	metricsd_close(m->metricsd);
	coordrole_close(m->coord);
	api_free(m->api);
	if (m->rtnl) { /* the host is left as it was found */
		const struct rtnl_wanted none = { .ifindex = dp_ifindex(m->dp) };

		(void)!rtnl_apply(m->rtnl, &none, m->host_error);
		rtnl_close(m->rtnl);
		(void)!rtnl_cleanup(dp_ifname(m->dp), &m->log);
	}
	if (m->loop)
		loop_timer_stop(m->loop, &m->start_timer);
	sodium_memzero(m->start_key, sizeof(m->start_key));
	bus_wipe(m);
	portmap_close(m->portmap);
	engine_free(m->engine);
	tlsconn_free(m->tls);
	dp_close(m->dp);
	store_close(m->store);
	relaystat_wipe(m);
	map_wipe(&m->relay_seen);
	relayinfo_wipe(&m->relayinfo);
	for (size_t i = 0; i < MESHD_COUNTERS_MAX; i++)
		free((void *)(uintptr_t)m->counters[i].name);
	prefs_wipe(&m->prefs_view);
	if (m->loop)
		loop_free(m->loop);
	aeadpick_wipe(&m->crypto);
}

static void say_goodbye(struct meshd *m)
{
	struct engine_out o;
	struct mono now = loop_now(m->loop);

	engine_stop(m->engine, now);
	while (engine_poll(m->engine, now, &o))
		act(m, now, &o);
	/* Mappings are released one after the other. */
	for (int i = 0; i < PORTMAP_END_MS / TURN_MS && portmap_is_busy(m->portmap); i++)
		if (loop_turn(m->loop, TURN_MS) < 0)
			return;
}

static int run(struct meshd *m)
{
	const struct persist_events stored = {
		.keys_stored = keys_stored, .answer = backend_stored, .map_text = map_text, .ctx = m
	};
	sigset_t set;
	struct mono now = loop_now(m->loop);
	int err;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGHUP);
	err = loop_signals(m->loop, &set, signalled, m);
	if (err)
		return fail("signals", strerror(-err));
	if (open_edges(m, now))
		return 1;
	set_timers(m, now);
	persist_init(&m->persist, m->store, m->loop, &m->log, &stored);
	loop_set_turn_end(m->loop, turn_end, m);
	meshd_link(m, now, false);
	engine_start(m->engine, now, m->conf->auth_key);
	notify_ready();
	err = loop_run(m->loop);
	say_goodbye(m);
	return err ? fail("loop", strerror(-err)) : 0;
}

int meshd_run(struct meshd *m, struct conf *conf, int argc, char **argv)
{
	int rc;

	m->conf = conf;
	m->argc = argc;
	m->argv = argv;
	m->log = (struct log){ .write = log_line,
			       .ctx = m,
			       .level = conf->verbose > 0 ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO };
	m->env = loop_env(&m->log);
	map_init(&m->relay_seen, sizeof(uint32_t), RELAYSERVER_LIVE_MAX, &m->env);
	if (conf->warnings)
		log_warn(&m->log, "%s", conf->warnings);
	m->loop = loop_new(&m->log);
	if (!m->loop)
		return fail("loop", strerror(errno));
	rc = run(m);
	close_all(m);
	return rc;
}
