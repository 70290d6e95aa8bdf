/* SPDX-License-Identifier: MIT */
#include "tests/unit/apifake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/metrics.h"

static int fake_status(void *ctx, bool peers, struct status *s)
{
	(void)ctx;
	s->version = strdup(API_VERSION_SHORT);
	s->backend_state = strdup("Running");
	s->self = calloc(1, sizeof(*s->self));
	if (s->self)
		s->self->relay = strdup("fra");
	if (peers) {
		s->peers = calloc(1, sizeof(*s->peers));
		s->n_peers = s->peers ? 1 : 0;
	}
	return s->version && s->backend_state ? 0 : -ENOMEM;
}

static int fake_status_ids(void *ctx, int64_t **ids, size_t *n)
{
	const struct apifake *f = ctx;

	*n = f->n_peers ? f->n_peers : 1;
	*ids = calloc(*n, sizeof(**ids));
	for (size_t i = 0; *ids && i < *n; i++)
		(*ids)[i] = (int64_t)i;
	return *ids ? 0 : -ENOMEM;
}

/* A peer with its number in the key; 'gone' is not there any more, 'broken' cannot be told. */
static int fake_status_peer(void *ctx, int64_t id, struct status *s, struct status_peer *p)
{
	struct apifake *f = ctx;

	f->peers_told++;
	if (f->gone_peer && id == f->gone_peer)
		return -ENOENT;
	if (f->broken_peer && id == f->broken_peer)
		return -ENOMEM;
	p->node_id = id;
	p->key.b[0] = (uint8_t)(id >> 8);
	p->key.b[1] = (uint8_t)id;
	s->meshd.path_counts.idle++;
	return 0;
}

static void fake_subscribed(void *ctx, uint64_t mask)
{
	((struct apifake *)ctx)->bus_mask |= mask;
}

static int fake_health(void *ctx, struct bytes *out)
{
	static const char text[] = "{\"Warnings\":{\"login-state\":{\"WarnableCode\":\"login-state\"}}}";

	(void)ctx;
	return bytes_append(out, text, sizeof(text) - 1);
}

static const struct prefs *fake_prefs(void *ctx)
{
	return &((struct apifake *)ctx)->prefs;
}

static void fake_set_prefs(void *ctx, struct api_token token, const struct prefs *next, uint64_t changed)
{
	struct apifake *f = ctx;

	(void)changed;
	f->set_calls++;
	f->writes++;
	if (f->refuse) {
		api_reply_prefs(f->api, token, f->refuse);
		return;
	}
	prefs_wipe(&f->prefs);
	if (prefs_copy(&f->prefs, next))
		abort();
	if (f->hold)
		f->held = token;
	else
		api_reply_prefs(f->api, token, NULL);
}

static uint64_t fake_locked(void *ctx, uint64_t fields, char err[static API_ERR_MAX])
{
	(void)ctx;
	fields &= PREF_BIT(PREF_PROFILE_NAME);
	if (fields)
		(void)snprintf(err, API_ERR_MAX, "locked");
	return fields;
}

static void fake_start(void *ctx, struct api_token token, const struct api_start *start)
{
	struct apifake *f = ctx;

	f->start_calls++;
	f->start_pid = start->pid;
	f->writes++;
	(void)snprintf(f->auth_key, sizeof(f->auth_key), "%s", start->auth_key ? start->auth_key : "");
	api_reply_done(f->api, token);
}

static void fake_login(void *ctx, struct api_token token, pid_t pid)
{
	struct apifake *f = ctx;

	f->login_pid = pid;
	f->login_calls++;
	f->writes++;
	api_reply_done(f->api, token);
}

static void fake_logout(void *ctx, struct api_token token, bool local)
{
	struct apifake *f = ctx;

	f->logout_calls++;
	f->logout_local = local;
	f->writes++;
	api_reply_done(f->api, token);
}

static void fake_ping(void *ctx, struct api_token token, const struct api_ping *ping)
{
	struct apifake *f = ctx;
	char ip[IP_TEXT_MAX];
	const struct pingresult r = { .ip = ip_write(ip, &ping->ip), .latency_s = 0.001 };

	if (f->hold)
		f->held = token;
	else
		api_reply_ping(f->api, token, &r);
}

static void fake_netcheck(void *ctx, struct api_token token)
{
	const struct netreport r = { .udp = true };

	api_reply_netcheck(((struct apifake *)ctx)->api, token, &r, NULL);
}

static const struct derp_map *fake_derp_map(void *ctx)
{
	(void)ctx;
	return NULL;
}

static int fake_whois(void *ctx, const struct ip *ip, const struct node_key *key, struct api_whois *who)
{
	static const struct map_node node = { .id = 3, .stable_id = (char *)(uintptr_t) "n3",
					      .name = (char *)(uintptr_t) "nas.example.ts.net." };

	(void)ctx;
	(void)key;
	who->node = &node;
	return ip->b[3] == 3 ? 0 : -ENOENT;
}

static int fake_metrics(void *ctx, struct metrics_input *in)
{
	(void)ctx;
	in->relay_ran = true;
	return 0;
}

static int fake_relay(void *ctx, struct relayinfo *r)
{
	(void)ctx;
	r->on = true;
	r->port = 40000;
	return 0;
}

static void fake_relay_report(void *ctx, struct api_token token)
{
	struct apifake *f = ctx;
	struct relayinfo r = { 0 };
	struct bytes doc = { 0 };

	if (fake_relay(ctx, &r) || relayinfo_write(&doc, &r, NULL))
		abort();
	api_reply_json(f->api, token, &doc);
	relayinfo_wipe(&r);
	bytes_wipe(&doc);
}

static int fake_path(void *ctx, const struct ip *ip, struct pathinfo *p)
{
	(void)ctx;
	p->ip = *ip;
	return 0;
}

static int fake_net_map(void *ctx, struct bytes *out)
{
	(void)ctx;
	return bytes_append(out, "{}", 2);
}

static int fake_debug(void *ctx, enum api_debug action)
{
	((struct apifake *)ctx)->writes++;
	return action == API_DEBUG_RESTUN ? 0 : -ENOSYS;
}

static void fake_shutdown(void *ctx)
{
	struct apifake *f = ctx;

	f->shutdown_calls++;
	f->writes++;
}

void apifake_init(struct apifake *f)
{
	struct api_cfg cfg = { 0 };

	memset(f, 0, sizeof(*f));
	prefs_defaults(&f->prefs);
	f->backend = (struct api_backend){
		.status = fake_status,	   .status_ids = fake_status_ids, .status_peer = fake_status_peer,
		.prefs = fake_prefs,	    .set_prefs = fake_set_prefs,
		.locked_prefs = fake_locked, .start = fake_start,   .login_interactive = fake_login,
		.logout = fake_logout,	   .ping = fake_ping,	    .netcheck = fake_netcheck,
		.derp_map = fake_derp_map, .whois = fake_whois,	    .metrics = fake_metrics,
		.relay = fake_relay,	   .relay_report = fake_relay_report,	   .path = fake_path,	    .subscribed = fake_subscribed,
		.health = fake_health,
		.net_map = fake_net_map,
		.debug = fake_debug,	   .shutdown = fake_shutdown, .ctx = f,
	};
	f->loop = loop_new(NULL);
	cfg.loop = f->loop;
	cfg.backend = &f->backend;
	f->api = f->loop ? api_new(&cfg) : NULL;
	if (!f->api)
		abort();
}

void apifake_wipe(struct apifake *f)
{
	api_free(f->api);
	loop_free(f->loop);
	prefs_wipe(&f->prefs);
}

int apifake_connect(struct apifake *f, uid_t uid)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		abort();
	if (api_accept_fd(f->api, pair[0], uid, 1)) {
		(void)close(pair[1]);
		return -1;
	}
	return pair[1];
}

void apifake_run(struct apifake *f)
{
	for (int i = 0; i < 8; i++)
		if (loop_turn(f->loop, 0))
			abort();
}
