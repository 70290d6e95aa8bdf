/* SPDX-License-Identifier: MIT */
/* Life of the engine, and the order in which its machines are asked. */
#include "engine.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_int.h"
#include "wire/echo.h"
#include "wire/tsmp.h"

static int init_machines(struct engine *e, struct mono now, const struct engine_cfg *cfg)
{
	const struct relayserver_cfg relay = { .live_max = cfg->relay_sessions_max,
					       .bytes_per_s = cfg->relay_bytes_per_s,
					       .session_bytes_per_s = cfg->relay_session_bytes_per_s };
	int err;

	env_fill(e->env, e->disco_priv.b, sizeof(e->disco_priv.b));
	key_clamp(e->disco_priv.b);
	key_public(e->disco.b, e->disco_priv.b);
	map_init(&e->by_id, sizeof(int64_t), MAP_PEERS_MAX, e->env);
	map_init(&e->by_key, KEY_SIZE, MAP_PEERS_MAX, e->env);
	map_init(&e->by_disco, KEY_SIZE, MAP_PEERS_MAX, e->env);
	pathself_init(&e->self, now, &e->node_key, e->env);
	discogate_init(&e->gate, now, e->env);
	relayclient_init(&e->relayc, &e->node_key, &e->disco_priv, e->env);
	portmapper_init(&e->pm, e->env);
	e->portmap_methods = cfg->portmap_methods;
	e->expiry_at = e->cool_at = e->home_due = e->relay_again_at = MONO_NEVER;
	err = derpclient_init(&e->derp, e->env);
	if (!err)
		err = relayserver_init(&e->relays, &relay, e->env);
	if (err)
		return err;
	e->net = netcheck_new(e->env);
	e->relay_net = netcheck_new(e->env);
	if (!e->net || !e->relay_net)
		return -ENOMEM;
	return em_new_client(e, cfg);
}

struct engine *engine_new(const struct engine_cfg *cfg, struct mono now)
{
	struct engine *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->env = cfg->env;
	e->crypto = cfg->crypto;
	e->stamp_floor_ns = cfg->stamp_floor_ns;
	e->is_ephemeral = cfg->is_ephemeral;
	e->hostname = strdup(cfg->hostname);
	e->os_version = strdup(cfg->os_version ? cfg->os_version : "");
	e->log_id = strdup(cfg->log_id ? cfg->log_id : "");
	if (!e->hostname || !e->os_version || !e->log_id || prefs_copy(&e->prefs, cfg->prefs) < 0 ||
	    init_machines(e, now, cfg) < 0) {
		engine_free(e);
		return NULL;
	}
	return e;
}

static void free_peers(struct engine *e)
{
	for (size_t i = 0; i < e->n_slots; i++)
		if (e->slots[i])
			ep_del(e, MONO_ZERO, e->slots[i]);
	free((void *)e->slots);
	map_wipe(&e->by_id);
	map_wipe(&e->by_key);
	map_wipe(&e->by_disco);
	heap_wipe(&e->timers);
}

void engine_free(struct engine *e)
{
	if (!e)
		return;
	if (e->relay_net) /* init went far enough for peers to exist */
		free_peers(e);
	if (e->has_device)
		device_wipe(&e->device);
	ctlclient_free(e->ctl);
	netcheck_free(e->net);
	netcheck_free(e->relay_net);
	if (e->derp.env)
		derpclient_wipe(&e->derp);
	if (e->relayc.env)
		relayclient_wipe(&e->relayc);
	if (e->relays.env)
		relayserver_wipe(&e->relays);
	netmap_put(e->map);
	prefs_wipe(&e->prefs);
	eq_wipe(e);
	free(e->hostname);
	free(e->os_version);
	free(e->log_id);
	sodium_memzero(e, sizeof(*e));
	free(e);
}

void engine_stop(struct engine *e, struct mono now)
{
	struct engine_out *o = e->has_device ? eq_push(e, ENGINE_PERSIST_FLOOR, NULL, 0) : NULL;

	if (o)
		o->stamp_floor_ns = device_stamp_floor(&e->device);
	ctlclient_stop(e->ctl, now);
	for (size_t i = 0; i < e->n_slots; i++)
		if (e->slots[i] && e->slots[i]->dev)
			device_reset(&e->device, e->slots[i]->dev);
	relayserver_set(&e->relays, now, false, 0);
	e->portmap_methods = 0;
	portmapper_stop(&e->pm, now);
	derpclient_set_key(&e->derp, now, NULL);
}

/* Each machine's outputs may feed another: until all are quiet. */
static void pump(struct engine *e, struct mono now)
{
	em_pump(e, now);
	ep_pump_device(e, now);
	en_pump(e, now);
	ed_pump_relay_client(e, now);
	er_pump(e, now);
	epm_pump(e, now);
	ep_pump(e, now);
	em_publish(e, now);
}

bool engine_poll(struct engine *e, struct mono now, struct engine_out *out)
{
	if (eq_pop(e, out))
		return true;
	pump(e, now);
	if (eq_pop(e, out))
		return true;
	if (edp_poll(e, now, out))
		return true;
	pump(e, now); /* what came by DERP */
	if (e->state_due && !e->first) {
		e->state_due = false;
		(void)eq_push(e, ENGINE_STATE, NULL, 0);
	}
	return eq_pop(e, out);
}

struct mono engine_deadline(const struct engine *e)
{
	struct mono d = mono_min(ctlclient_deadline(e->ctl), mono_min(e->expiry_at, e->cool_at));

	if (e->has_device)
		d = mono_min(d, device_deadline(&e->device));
	d = mono_min(d, heap_deadline(&e->timers));
	d = mono_min(d, derpclient_deadline(&e->derp));
	d = mono_min(d, relayclient_deadline(&e->relayc));
	d = mono_min(d, mono_min(relayserver_deadline(&e->relays), e->relay_again_at));
	d = mono_min(d, portmapper_deadline(&e->pm));
	for (size_t i = 0; i < ENGINE_PINGS_MAX; i++)
		if (e->pings[i].id)
			d = mono_min(d, mono_add_s(e->pings[i].at, ENGINE_PING_S));
	return mono_min(d, en_deadline(e));
}

static void ping_failed(struct engine *e, uint64_t id, const char *why)
{
	struct engine_out *o = eq_push(e, ENGINE_PING_RESULT, NULL, 0);
	struct pingresult *r;

	if (!o)
		return;
	r = &CONTAINER_OF(o, struct engine_item, out)->ping;
	r->err = strdup(why);
	o->ping = r;
	o->ping_id = id;
}

void engine_tick(struct engine *e, struct mono now)
{
	em_tick(e, now);
	if (e->has_device)
		device_tick(&e->device, now);
	ep_tick(e, now);
	ep_cool(e, now);
	derpclient_tick(&e->derp, now);
	relayclient_tick(&e->relayc, now);
	er_tick(e, now);
	portmapper_tick(&e->pm, now);
	en_tick(e, now);
	for (size_t i = 0; i < ENGINE_PINGS_MAX; i++) {
		struct engine_ping *g = &e->pings[i];

		if (!g->id || !mono_due(mono_add_s(g->at, ENGINE_PING_S), now))
			continue;
		ping_failed(e, g->id, "no reply");
		g->id = 0;
	}
}

/* ---- user pings ---- */

static_assert((int)ECHO_SIZE_MAX <= (int)TSMP_SIZE_MAX, "one buffer for both");
static_assert((int)ECHO_ID_SIZE == (int)TSMP_ID_SIZE, "one id for both");

/* Our address of that family. */
static bool own_ip(const struct engine *e, uint8_t family, struct ip *ip)
{
	const struct map_node *self = netmap_self(e->map);

	for (size_t i = 0; i < self->n_addrs; i++) {
		if (self->addrs[i].ip.family != family)
			continue;
		*ip = self->addrs[i].ip;
		return true;
	}
	return false;
}

/* A ping through the tunnel: TSMP, which the peer's program answers, or ICMP, which its host does. */
static int inner_ping(struct engine *e, struct mono now, uint64_t id, enum pingresult_type type,
		      const struct epeer *p, const struct ip *ip)
{
	struct tsmp_msg m = { .kind = TSMP_PING };
	uint8_t buf[TSMP_SIZE_MAX];
	struct engine_out *o;
	size_t i = 0;
	int n;

	while (i < ENGINE_PINGS_MAX && e->pings[i].id)
		i++;
	if (i == ENGINE_PINGS_MAX)
		return -ENOBUFS;
	env_fill(e->env, m.id, sizeof(m.id));
	m.dst = *ip;
	if (!own_ip(e, ip->family, &m.src))
		return -ENOENT;
	if (type == PING_TSMP)
		n = tsmp_write(buf, sizeof(buf), &m);
	else
		n = echo_write(buf, sizeof(buf), &m.src, &m.dst, m.id);
	o = n > 0 ? eq_push(e, ENGINE_INJECT, buf, (size_t)n) : NULL;
	if (!o)
		return -ENOMEM;
	o->peer = p->id;
	e->pings[i] = (struct engine_ping){ .id = id, .type = type, .at = now, .node_id = p->node_id, .ip = *ip };
	memcpy(e->pings[i].token, m.id, sizeof(m.id));
	return 0;
}

int engine_ping(struct engine *e, struct mono now, uint64_t id, const struct ip *ip,
		enum pingresult_type type, size_t size, char why[static ENGINE_ERR_MAX])
{
	struct epeer *p = ep_by_ip(e, ip);
	int err = 0;

	if (!p) {
		(void)snprintf(why, ENGINE_ERR_MAX, "no matching peer");
		return -EINVAL;
	}
	if (!p->is_usable) {
		(void)snprintf(why, ENGINE_ERR_MAX, "peer's node key has expired");
		return -EINVAL;
	}
	en_sent(e, now, p);
	switch (type) {
	case PING_DISCO:
		err = ep_ladder(e, now, p) ? ladder_user_ping(p->ladder, now, id, size) : -ENOMEM;
		ep_touch(e, p);
		break;
	case PING_TSMP:
	case PING_ICMP:
		err = inner_ping(e, now, id, type, p, ip);
		break;
	case PING_PEERAPI:
		err = -ENOSYS;
		break;
	}
	if (!err)
		return 0;
	(void)snprintf(why, ENGINE_ERR_MAX, "%s",
		       err == -EBADMSG ? "ping size too big" :
		       err == -ENOBUFS ? "too many pings at once" :
		       err == -ENOENT  ? "no path to the peer is known yet" :
		       err == -EPROTO  ? "peer does not speak disco" :
		       err == -ENOSYS  ? "this kind of ping is not supported" :
					 "out of memory");
	return -EINVAL;
}

/* ---- small views ---- */

/* A map that was given to another key of ours (a login with a new key is under way) does not make us run. */
static bool has_own_map(const struct engine *e)
{
	const struct map_node *self = e->map ? netmap_self(e->map) : NULL;

	return self && node_key_eq(&self->key, &e->node_key);
}

struct engine_state engine_state(const struct engine *e)
{
	const struct ctlclient_status c = ctlclient_status(e->ctl);
	struct engine_state s = { .auth_url = c.auth_url ? c.auth_url : "",
				  .error = c.error ? c.error : "",
				  .is_fatal = c.is_fatal,
				  .is_live = c.is_live };

	if (!e->is_started)
		s.state = STATE_NO_STATE;
	else if (e->prefs.logged_out || (key_is_zero(e->node_key.b) && !e->prefs.want_running))
		s.state = STATE_NEEDS_LOGIN;
	else if (!e->prefs.want_running)
		s.state = STATE_STOPPED;
	else if (c.state == CTLCLIENT_NEEDS_LOGIN)
		s.state = STATE_NEEDS_LOGIN;
	else if (c.state == CTLCLIENT_NEEDS_AUTH)
		s.state = STATE_NEEDS_MACHINE_AUTH;
	else if (has_own_map(e) && (c.state == CTLCLIENT_RUNNING || c.state == CTLCLIENT_STARTING))
		s.state = STATE_RUNNING;
	else if (c.state == CTLCLIENT_STOPPED && key_is_zero(e->node_key.b))
		s.state = STATE_NEEDS_LOGIN;
	else
		s.state = STATE_STARTING;
	return s;
}

const struct prefs *engine_prefs(const struct engine *e)
{
	return &e->prefs;
}

const struct netmap *engine_netmap(const struct engine *e)
{
	return e->map;
}

struct node_key engine_node_key(const struct engine *e)
{
	return e->node_key;
}
