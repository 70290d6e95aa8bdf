/* SPDX-License-Identifier: MIT */
/* Carries out the engine's outputs, one function per kind that needs more than a call. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/meshd.h"
#include "daemon/resolve.h"
#include "policy/filter.h"
#include "relay/relayserver.h"
#include "wg/keypair.h"
#include "wg/routes.h"

static_assert((int)ENGINE_SOCK_MAIN == (int)DP_SOCK_MAIN && (int)ENGINE_SOCK_RELAY == (int)DP_SOCK_RELAY,
	      "one numbering of sockets");

static void act_send(struct meshd *m, struct mono now, const struct engine_out *o)
{
	const struct dp_send s = { .to = o->to,
				   .geneve_proto = o->geneve_proto,
				   .geneve_control = o->geneve_control,
				   .sock = o->sock,
				   .data = o->data,
				   .size = o->size };
	int err = dp_send(m->dp, &s);

	if (err)
		engine_send_failed(m->engine, now, &o->to, err);
}

static void act_view(struct meshd *m, const struct engine_out *o)
{
	struct dp_view_peer *peers = calloc(o->view.n_peers + 1, sizeof(*peers));
	struct dp_view v = { .peers = peers, .routes = o->view.routes, .filter = o->view.filter };
	int err = peers ? 0 : -ENOMEM;

	for (size_t i = 0; peers && i < o->view.n_peers; i++)
		peers[v.n_peers++] = (struct dp_view_peer){ .id = o->view.peers[i].id,
							    .is_wg_only = o->view.peers[i].is_wg_only,
							    .is_jailed = o->view.peers[i].is_jailed };
	if (err && o->view.is_change)
		dp_keep_routes(m->dp, o->view.routes);
	else if (!err && o->view.is_change)
		err = dp_change_view(m->dp, &v, o->view.gone, o->view.n_gone);
	else if (!err)
		err = dp_publish_view(m->dp, &v);
	if (err) {
		log_error(&m->log, "dp: view: %s", strerror(-err));
		if (!o->view.is_change) {
			routes_free(o->view.routes);
			filter_free(o->view.filter);
		}
		engine_view_failed(m->engine, o->view.is_change);
	}
	free(peers);
}

static void act_key_install(struct meshd *m, const struct engine_out *o)
{
	int err = dp_key_install(m->dp, o->peer, o->kp);

	if (!err)
		return;
	/* The session, which has a reference of its own, will find that nothing arrives and shake hands again. */
	log_debug(&m->log, "dp: key: %s", strerror(-err));
	keypair_put(o->kp);
}

static void act_open(struct meshd *m, struct mono now, const struct engine_out *o)
{
	bool own = m->coord && coordrole_is_own(m->coord, o->addr);
	int err = own ? coordrole_pipe_open(m->coord, now, o->stream) :
			tlsconn_open(m->tls, now, o->stream, o->addr);

	if (err)
		engine_closed(m->engine, now, o->stream, strerror(-err));
}

static void act_stream_send(struct meshd *m, struct mono now, const struct engine_out *o)
{
	int err = m->coord ? coordrole_pipe_send(m->coord, now, o->stream, o->data, o->size) : -ENOENT;

	if (err == -ENOENT)
		err = tlsconn_send(m->tls, o->stream, o->data, o->size);
	if (err != -ENOBUFS)
		return; /* a closed stream has told so by an event */
	tlsconn_close(m->tls, o->stream, false);
	engine_closed(m->engine, now, o->stream, "the other side does not read");
}

void act_ready(struct meshd *m, struct mono now, uint32_t stream)
{
	uint8_t buf[64 << 10]; /* a write for all that a super-packet gives */
	size_t n, room;

	for (;;) {
		bool pipe = m->coord && coordrole_pipe_send(m->coord, now, stream, NULL, 0) == 0;

		room = pipe ? sizeof(buf) : tlsconn_room(m->tls, stream);
		if (room == 0)
			break;
		n = engine_take(m->engine, now, stream, buf, room < sizeof(buf) ? room : sizeof(buf));
		if (n == 0)
			return;
		if (pipe)
			(void)!coordrole_pipe_send(m->coord, now, stream, buf, n);
		else
			(void)!tlsconn_send(m->tls, stream, buf, n); /* there was room */
	}
	for (size_t i = 0; i < m->n_ready; i++)
		if (m->ready[i] == stream)
			return;
	if (m->n_ready < MESHD_READY_MAX)
		m->ready[m->n_ready++] = stream;
}

static void resolved(void *ctx, const char *name, const struct ip *ip4, const struct ip *ip6, struct mono now)
{
	struct meshd *m = ctx;

	engine_resolved(m->engine, now, name, ip4, ip6);
}

static void act_relay_sockets(struct meshd *m, struct mono now, const struct engine_out *o)
{
	char err[DP_ERR_MAX];
	int rc;

	if (!o->is_on) {
		dp_relay_close(m->dp);
		relaystat_wipe(m);
		return;
	}
	rc = dp_relay_open(m->dp, o->port, err);
	if (rc)
		log_error(&m->log, "%s", err);
	else
		m->relay_ran = true;
	backend_look_at_firewall(m, now);
	relaystat_wipe(m);
	engine_relay_bound(m->engine, now, rc, rc ? 0 : dp_relay_port(m->dp, IP_V4),
			   rc ? 0 : dp_relay_port(m->dp, IP_V6));
	/* A port chosen by the system is tried again after a restart, so that firewall rules stay valid. */
	if (!rc && store_put_prefs(m->store, engine_prefs(m->engine)) < 0)
		log_warn(&m->log, "store: preferences: not written");
}

static void act_relay_set(struct meshd *m, struct mono now, const struct engine_out *o)
{
	const struct dp_relay_side sides[2] = { { .ep = o->side[0].ep, .sock = o->side[0].sock },
						{ .ep = o->side[1].ep, .sock = o->side[1].sock } };
	int err = dp_relay_set(m->dp, o->vni, sides);

	if (err) /* control forwards it itself then */
		log_warn(&m->log, "relay: vni %u: %s", o->vni, strerror(-err));
	relaystat_watch(m, now);
}

static void act_portmap(struct meshd *m, struct mono now, const struct portmapper_job *job)
{
	int err = portmap_post(m->portmap, job);
	const struct portmapper_result res = { .id = job->id, .err = err };

	if (err)
		engine_portmap_done(m->engine, now, &res);
}

static void act_host(struct meshd *m, const struct engine_out *o)
{
	const struct rtnl_wanted w = { .ifindex = dp_ifindex(m->dp),
				       .is_up = o->host.is_up,
				       .addrs = o->host.addrs,
				       .n_addrs = o->host.n_addrs,
				       .routes = o->host.routes,
				       .n_routes = o->host.n_routes };
	const int err = o->host.is_change ? rtnl_change(m->rtnl, o->host.routes, o->host.n_routes, o->host.gone,
							o->host.n_gone, m->host_error)
					  : rtnl_apply(m->rtnl, &w, m->host_error);

	if (err)
		log_error(&m->log, "%s", m->host_error);
	else
		m->host_error[0] = 0;
}

static void act_data(struct meshd *m, struct mono now, const struct engine_out *o)
{
	int err = 0;

	if (o->kind == ENGINE_SEND)
		act_send(m, now, o);
	else if (o->kind == ENGINE_PATH)
		err = dp_set_peer_path(m->dp, o->peer, o->targets, o->n_targets);
	else if (o->kind == ENGINE_KEY_USE)
		err = dp_key_use(m->dp, o->peer, o->local_index);
	else if (o->kind == ENGINE_INJECT)
		err = dp_inject(m->dp, o->peer, o->data, o->size);
	else
		err = dp_derp_in(m->dp, o->region, o->data, o->size);
	if (err) /* full rings and peers that have just gone: counted by the data plane */
		log_debug(&m->log, "dp: output %d: %s", (int)o->kind, strerror(-err));
}

static void act_stream_close(struct meshd *m, struct mono now, uint32_t stream)
{
	if (m->coord)
		coordrole_pipe_close(m->coord, now, stream);
	tlsconn_close(m->tls, stream, true);
}

void act(struct meshd *m, struct mono now, const struct engine_out *o)
{
	switch (o->kind) {
	case ENGINE_SEND:
	case ENGINE_PATH:
	case ENGINE_KEY_USE:
	case ENGINE_INJECT:
	case ENGINE_DERP_IN:
		act_data(m, now, o);
		break;
	case ENGINE_VIEW:
		act_view(m, o);
		if (!o->view.is_change)
			meshd_settle(m, now);
		break;
	case ENGINE_KEY_INSTALL:
		act_key_install(m, o);
		break;
	case ENGINE_KEY_DROP:
		dp_key_drop(m->dp, o->local_index);
		break;
	case ENGINE_OPEN:
		act_open(m, now, o);
		meshd_settle(m, now);
		break;
	case ENGINE_STREAM_SEND:
		act_stream_send(m, now, o);
		break;
	case ENGINE_STREAM_READY:
		act_ready(m, now, o->stream);
		break;
	case ENGINE_STREAM_CLOSE:
		act_stream_close(m, now, o->stream);
		break;
	case ENGINE_RESOLVE:
		if (resolve_post(m->loop, o->name, resolved, m) < 0)
			log_debug(&m->log, "dns: %s: cannot be asked for", o->name);
		break;
	case ENGINE_RELAY_SOCKETS:
		act_relay_sockets(m, now, o);
		break;
	case ENGINE_RELAY_SET:
		act_relay_set(m, now, o);
		break;
	case ENGINE_RELAY_DEL:
		dp_relay_del(m->dp, o->vni);
		break;
	case ENGINE_HOST:
		act_host(m, o);
		break;
	case ENGINE_PERSIST:
		persist_identity(&m->persist, now, o->saved);
		break;
	case ENGINE_PERSIST_FLOOR:
		persist_floor(&m->persist, o->stamp_floor_ns);
		break;
	case ENGINE_PERSIST_MAP:
		persist_map(&m->persist, now, o->is_on);
		break;
	case ENGINE_STATE:
		backend_state(m);
		bus_state(m);
		meshd_settle(m, now);
		break;
	case ENGINE_PORTMAP:
		act_portmap(m, now, o->portmap);
		break;
	case ENGINE_PING_RESULT:
		backend_ping_result(m, o);
		break;
	case ENGINE_NETCHECK_DONE:
		backend_netcheck_done(m);
		break;
	case ENGINE_LOGGED_OUT:
		backend_logged_out(m, o->name);
		break;
	}
}
