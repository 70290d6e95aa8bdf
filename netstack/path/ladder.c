/* SPDX-License-Identifier: MIT */
/* Inputs, discovery rounds, heartbeat and outputs of a ladder. What makes a path the best one, and
 * when it is left, is in ladderwatch.c. */
#include "path/ladder.h"

#include <errno.h>
#include <string.h>

#include "path/ladderint.h"

/* ---- set-up ------------------------------------------------------------------------------------
 */

void ladder_init(struct ladder *l, struct mono now, struct pathself *self)
{
	*l = (struct ladder){ .self = self,
			      .unanswered_since = MONO_NEVER,
			      .rx_since = MONO_NEVER,
			      .suspect_since = MONO_NEVER,
			      .probe_at = MONO_NEVER,
			      .heartbeat_at = MONO_NEVER,
			      .cmm_at = MONO_NEVER };
	prober_init(&l->prober, self);
	bucket_fill(&l->pong_limit, now, LADDER_PONGS_PER_S, LADDER_PONG_BURST);
	bucket_fill(&l->cmm_limit, now, LADDER_CMM_PER_S, LADDER_CMM_BURST);
}

void ladder_wipe(struct ladder *l)
{
	prober_wipe(&l->prober);
	memset(l, 0, sizeof(*l));
	l->unanswered_since = l->rx_since = l->suspect_since = l->probe_at = l->heartbeat_at = l->cmm_at =
		MONO_NEVER;
	l->prober.retry_at = MONO_NEVER;
}

/* The best path may only be a candidate that still exists. */
static void check_best(struct ladder *l, struct mono now, const char *why)
{
	if (l->best.path.kind == PATH_DIRECT && !prober_find(&l->prober, &l->best.path.ep))
		ladder_drop_best(l, now, why);
}

static bool speaks_disco(const struct ladder *l)
{
	return !l->is_wireguard_only && !key_is_zero(l->disco.b);
}

int ladder_set_peer(struct ladder *l, struct mono now, const struct ladder_peer *peer)
{
	const bool is_rekeyed = !disco_key_eq(&l->disco, &peer->disco) && !key_is_zero(l->disco.b);
	int err;

	/* A path of the other kind was never proved by this kind's rules. */
	if (peer->is_wireguard_only != l->is_wireguard_only)
		ladder_drop_best(l, now, "another kind of peer");

	l->node = peer->node;
	l->disco = peer->disco;
	l->home_derp = peer->home_derp;
	l->cap = peer->cap;
	l->is_wireguard_only = peer->is_wireguard_only;
	l->is_silent = peer->is_silent;
	err = prober_set_netmap(&l->prober, peer->endpoints, peer->n_endpoints);
	check_best(l, now, "not in the map any more");
	if (is_rekeyed && speaks_disco(l)) {
		/* Another run of the peer, perhaps on another port: Pings in flight can't be answered, and until a
		 * new one is, DERP goes along. Else the handshake that follows is lost for 5 s (path-selection 15). */
		l->best.trusted_until = mono_min(l->best.trusted_until, now);
		ladder_reset_limits(l);
		if (ladder_has_best(l) && ladder_sent_within(l, now, SESSION_S * 1000))
			ladder_probe(l, now, PROBER_HEARTBEAT);
	}
	return err;
}

/* ---- rounds ------------------------------------------------------------------------------------
 */

void ladder_reset_limits(struct ladder *l)
{
	prober_reset_limits(&l->prober);
	l->last_round = MONO_ZERO;
	l->last_relay_discovery = MONO_ZERO;
}

/* A flow that is not direct is on the way there all the time: nothing tells when a path opens. */
static bool wants_direct_soon(const struct ladder *l, struct mono now)
{
	return ladder_is_active(l, now) && !ladder_is_trusted_direct(l, now);
}

/* How old own endpoints may be in a CallMeMaybe. Our NAT may be what keeps a flow off the direct
 * path, or what just changed: ask again what we look like from outside. */
static int64_t fresh_ms(const struct ladder *l, struct mono now)
{
	if (ladder_is_suspect(l))
		return SUSPECT_FRESH_MS;
	if (!wants_direct_soon(l, now))
		return PATHSELF_FRESH_S * 1000;
	return pathself_stun_is_hopeless(l->self, now) ? BLOCKED_FRESH_MS : ACTIVE_FRESH_MS;
}

static int64_t interval_ms(const struct ladder *l, struct mono now)
{
	return wants_direct_soon(l, now) ? ACTIVE_PING_MS : PROBER_INTERVAL_S * 1000;
}

/* A stock peer sends a CallMeMaybe only with Pings of its own round, 5 s apart for each address. Ours make it
 * send them outside of that: if they came every 2 s it would stay mute, and where it has moved to would not be
 * known here before control tells (30 to 75 s were measured). So a peer that is not heard gets the time to
 * speak, unless there is something new to tell it. */
static bool must_listen(const struct ladder *l, struct mono now)
{
	return l->n_cmm_unheard >= CMM_RUN && l->cmm_sent_eps == l->self->n_eps_changes &&
	       mono_before(now, mono_add_ms(l->cmm_sent, CMM_LISTEN_MS));
}

/* A CallMeMaybe follows the Pings that were queued, or waits for fresh own endpoints. */
static void want_cmm(struct ladder *l, struct mono now)
{
	if (ladder_derp(l).kind != PATH_DERP || l->cmm_waits || !mono_is_never(l->cmm_at))
		return;
	l->last_cmm = now;
	if (pathself_eps_are_fresh(l->self, now, fresh_ms(l, now))) {
		if (!must_listen(l, now))
			l->cmm_at = mono_add_ms(now, CMM_DELAY_MS);
	} else {
		l->cmm_waits = true;
		l->want_endpoints = true;
	}
}

/* A CallMeMaybe goes with Pings. The peer's makes us send them too, without one of ours; two that look for
 * each other in step would leave one of them mute, whose new address the other never learns. */
static bool owes_cmm(const struct ladder *l, struct mono now)
{
	return l->prober.n_cands > 0 && wants_direct_soon(l, now) &&
	       mono_due(mono_add_ms(l->last_cmm, ACTIVE_PING_MS), now);
}

void ladder_round(struct ladder *l, struct mono now, bool with_cmm)
{
	if (!speaks_disco(l))
		return;
	l->last_round = now;
	prober_prune(&l->prober, now);
	check_best(l, now, "forgotten");
	if ((prober_ping_all(&l->prober, now, interval_ms(l, now)) > 0 || owes_cmm(l, now)) && with_cmm)
		want_cmm(l, now);
}

/* path-selection 5, "Wanted". */
static bool wants_round(const struct ladder *l, struct mono now)
{
	if (l->best.path.kind != PATH_DIRECT || mono_is_zero(l->last_round) ||
	    !ladder_is_trusted(l, now))
		return true;
	return l->best.latency_ns > GOOD_ENOUGH_NS &&
	       mono_due(mono_add_s(l->last_round, UPGRADE_S), now);
}

bool ladder_is_active(const struct ladder *l, struct mono now)
{
	return ladder_sent_within(l, now, ACTIVE_S * 1000);
}

/* path-selection 6, and for active flows 18 and RELIABILITY 8: a relay path is kept warm beside a
 * direct one, and a flow on DERP asks every 5 s. */
static bool wants_relays(const struct ladder *l, struct mono now)
{
	const bool is_active = ladder_is_active(l, now);
	const bool on_derp = !ladder_has_best(l);
	/* The peer has lost the relay path that we are on. A stock one looks for it every 30 s; it takes our
	 * word for it at once. */
	const bool is_behind = l->best.path.kind == PATH_RELAY && !mono_is_zero(l->behind_at) &&
			       !mono_due(mono_add_ms(l->behind_at, BEHIND_MS), now);
	int64_t interval_s = is_active && (on_derp || is_behind) ? RELAY_ACTIVE_S : RELAY_INTERVAL_S;

	if (l->n_relay_servers == 0 || l->cap < DISCO_CAP_RELAY || !l->self->has_udp ||
	    !speaks_disco(l))
		return false;
	/* It came back for us since we asked last. */
	if (is_active && is_behind && mono_before(l->last_relay_discovery, l->best_at) &&
	    mono_due(mono_add_ms(l->best_at, BEHIND_FIRST_MS), now))
		return true;
	if (!mono_is_zero(l->last_relay_discovery) &&
	    !mono_due(mono_add_s(l->last_relay_discovery, interval_s), now))
		return false;
	if (ladder_is_trusted_direct(l, now))
		return is_active && mono_due(mono_add_ms(l->flow_since, WARM_AFTER_MS), now) &&
		       !ladder_has_warm_relay(l, now);
	if (!ladder_is_trusted(l, now) || mono_is_zero(l->last_relay_discovery))
		return true;
	if (is_active && is_behind)
		return true;
	return mono_due(mono_add_s(l->last_relay_discovery, UPGRADE_S), now);
}

void ladder_maybe_relays(struct ladder *l, struct mono now)
{
	if (!wants_relays(l, now))
		return;
	l->last_relay_discovery = now;
	l->want_relays = true;
}

/* An active flow that has settled on a relay path, and should be direct. */
static bool is_relayed(const struct ladder *l, struct mono now)
{
	return l->best.path.kind == PATH_RELAY && ladder_is_trusted(l, now) &&
	       ladder_is_active(l, now);
}

static void heartbeat(struct ladder *l, struct mono now)
{
	const bool is_active = ladder_is_active(l, now);

	l->heartbeat_at = MONO_NEVER;
	if (l->is_silent || !speaks_disco(l) || !ladder_sent_within(l, now, SESSION_S * 1000))
		return;
	l->heartbeat_at = mono_add_ms(now, is_relayed(l, now) ? RELAYED_HEARTBEAT_MS
					   : is_active        ? ACTIVE_HEARTBEAT_MS
							      : HEARTBEAT_MS);
	if (ladder_has_best(l) && !ladder_is_suspect(l) && l->probes == 0) {
		ladder_probe(l, now, PROBER_HEARTBEAT);
		if (!is_active)
			l->probes = 0; /* nobody waits: the trust window decides */
		else
			l->probe_at =
				mono_add_ms(now, l->srtt_ns * SILENCE_RTTS > SILENCE_MS * NS_PER_MS
							 ? l->srtt_ns * SILENCE_RTTS / NS_PER_MS
							 : SILENCE_MS);
	}
	if (wants_round(l, now))
		ladder_round(l, now, true);
	if (is_relayed(l, now))
		(void)prober_ping_all(&l->prober, now, RELAYED_PING_MS);
	ladder_maybe_relays(l, now);
	if (is_active && !ladder_is_suspect(l))
		ladder_keep_warm(l, now);
}

/* ---- disco messages ----------------------------------------------------------------------------
 */

static void queue_pong(struct ladder *l, struct mono now, const struct path_addr *to,
		       const struct disco_tx *tx)
{
	struct ladder_pong *p;

	if (l->n_pongs == LADDER_PONGS_MAX ||
	    !bucket_take(&l->pong_limit, now, LADDER_PONGS_PER_S, LADDER_PONG_BURST, 1)) {
		l->self->n.drop_pong_limit++;
		return;
	}
	if (!pathself_may_pong(l->self, now))
		return;
	p = &l->pongs[l->n_pongs++];
	p->to = *to;
	p->pong.tx = *tx;
	p->pong.src = disco_pong_src(to);
}

void ladder_input_ping(struct ladder *l, struct mono now, const struct path_addr *from,
		       const struct disco_ping *ping)
{
	struct prober_cand *c;
	int known = 0;

	l->self->n.recv_ping++;
	if (!speaks_disco(l))
		return;
	if (from->kind == PATH_DERP)
		l->heard_derp = from->region;
	if (from->kind == PATH_DIRECT) {
		if (!l->self->has_direct)
			return;
		known = prober_note_ping(&l->prober, now, &from->ep, &ping->tx);
		if (known == -ESTALE || known == -EPROTO)
			return;
	}
	queue_pong(l, now, from, &ping->tx);
	if (from->kind != PATH_DIRECT || known < 0)
		return;
	/* A new address while ours is fine: the peer may have moved. */
	if (known == 1)
		ladder_watch_hint(l, now);
	else if (ladder_is_trusted_direct(l, now))
		return;
	/* Our own Ping opens our NAT towards it, and tells whether the way back works. */
	c = prober_find(&l->prober, &from->ep);
	if (c && prober_may_ping_back(c, now) &&
	    prober_ping(&l->prober, now, from, PROBER_DISCOVERY, 0, 0) != 0)
		l->self->n.drop_ping_limit++;
}

/* The first Pong to one of a person's Pings answers it. */
static void answer_user(struct ladder *l, struct mono now, const struct prober_ping *ping)
{
	for (size_t i = 0; i < l->n_user; i++) {
		struct ladder_user_ping *u = &l->user[i];

		if (u->id != ping->user_id || u->is_done)
			continue;
		u->is_done = true;
		u->result =
			(struct ladder_ping_result){ .id = u->id,
						     .is_answered = true,
						     .path = ping->to,
						     .latency_ns = mono_since_ns(now, ping->at) };
		return;
	}
}

static void note_relay_pong(struct ladder *l, struct mono now, struct ladder_best *path)
{
	struct ladder_relay *r = ladder_find_relay(l, &path->path);

	if (!r)
		return;
	r->last_pong = now;
	r->missed = 0;
	r->rp.latency_ns = path->latency_ns;
	path->server = r->rp.server;
}

bool ladder_input_pong(struct ladder *l, struct mono now, const struct path_addr *from,
		       const struct disco_pong *pong)
{
	struct prober_ping ping;
	struct ladder_best path;

	if (!prober_take(&l->prober, &pong->tx, &ping))
		return false;
	l->self->n.recv_pong++;
	if (from->kind == PATH_DERP)
		l->heard_derp = from->region;
	else
		l->self->udp_pong = now;
	/* By another transport it closes the transaction but proves nothing (disco, trap 2). */
	if (from->kind != ping.to.kind)
		return true;
	path = (struct ladder_best){ .path = ping.to,
				     .latency_ns = mono_since_ns(now, ping.at),
				     .last_pong = now,
				     .trusted_until = mono_add_ms(now, TRUST_MS) };
	if (ping.to.kind == PATH_DIRECT) {
		const struct prober_cand *c = prober_note_pong(&l->prober, now, &ping, &from->ep);

		if (!c)
			return true;
		path.mtu = c->mtu;
		path.seen_as = l->seen_as = pong->src;
	} else if (ping.to.kind == PATH_RELAY) {
		note_relay_pong(l, now, &path);
		/* A server that was lost meanwhile is not taken back by a late Pong. */
		if (!ladder_find_relay(l, &path.path))
			return true;
	}
	if (ping.purpose == PROBER_USER)
		answer_user(l, now, &ping);
	if (ping.to.kind != PATH_DERP)
		ladder_proved(l, now, &path);
	return true;
}

void ladder_input_call_me_maybe(struct ladder *l, struct mono now, const struct disco_eps *eps)
{
	if (!speaks_disco(l))
		return;
	l->self->n.recv_call_me_maybe++;
	l->n_cmm_unheard = 0;
	if (!bucket_take(&l->cmm_limit, now, LADDER_CMM_PER_S, LADDER_CMM_BURST, 1)) {
		l->self->n.drop_call_me_maybe++;
		return;
	}
	if (prober_set_cmm(&l->prober, now, eps) != 0)
		l->self->n.drop_endpoint++;
	check_best(l, now, "not in the peer's list any more");
	ladder_round(l, now, false);
	ladder_maybe_relays(l, now);
}

/* ---- activity ----------------------------------------------------------------------------------
 */

/* WireGuard-only peers: an endpoint is tried for a second; what answers is kept (path-selection
 * 14). */
static void choose_wireguard_only(struct ladder *l, struct mono now)
{
	size_t i;

	if (l->prober.n_cands == 0 || ladder_in_trust(l, now))
		return;
	i = (size_t)env_below(l->self->env, l->prober.n_cands);
	l->best = (struct ladder_best){ .path = path_direct(&l->prober.cands[i].ep),
					.trusted_until = mono_add_ms(now, WG_CHOICE_MS) };
}

void ladder_input_sent(struct ladder *l, struct mono now)
{
	if (!ladder_sent_within(l, now, ACTIVE_S * 1000))
		l->flow_since = now;
	l->last_sent = now;
	if (mono_is_never(l->unanswered_since))
		l->unanswered_since = now;
	if (l->is_wireguard_only) {
		choose_wireguard_only(l, now);
		return;
	}
	if (!speaks_disco(l))
		return;
	if (mono_is_never(l->heartbeat_at) && !l->is_silent)
		l->heartbeat_at = mono_add_ms(now, HEARTBEAT_MS);
	/* A flow on a path whose trust ran out while idle asks at once. */
	if (ladder_has_best(l) && !ladder_in_trust(l, now))
		ladder_suspect(l, now, "not proved lately");
	if (!ladder_is_trusted_direct(l, now))
		ladder_round(l, now, true);
	ladder_maybe_relays(l, now);
	ladder_watch_arm(l, now);
}

void ladder_input_received(struct ladder *l, struct mono now, const struct path_addr *from)
{
	if (from->kind == PATH_DERP)
		l->heard_derp = from->region;
	if (l->is_wireguard_only) {
		if (from->kind == PATH_DIRECT && !ip_is_tailnet(&from->ep.ip))
			l->best = (struct ladder_best){ .path = *from,
							.last_pong = now,
							.trusted_until =
								mono_add_ms(now, WG_RECEIVED_MS) };
		return;
	}
	if (!speaks_disco(l) || !ladder_has_best(l))
		return;
	if (path_eq(from, &l->best.path)) {
		ladder_watch_received(l, now);
		if (l->is_silent)
			l->best.trusted_until = mono_add_ms(now, TRUST_MS);
	} else {
		if (from->kind == PATH_DERP && l->best.path.kind == PATH_RELAY && ladder_is_trusted(l, now))
			l->behind_at = now;
		ladder_watch_hint(l, now);
	}
}

/* ---- relays, links, errors ---------------------------------------------------------------------
 */

/* The slot for a path of this server: its old one, a free one, or that of the worst path. */
static struct ladder_relay *relay_slot(struct ladder *l, const struct disco_key *server)
{
	size_t worst = 0;

	for (size_t i = 0; i < l->n_relays; i++)
		if (disco_key_eq(&l->relays[i].rp.server, server))
			return &l->relays[i];
	if (l->n_relays < LADDER_RELAYS_MAX)
		return &l->relays[l->n_relays++];
	for (size_t i = 1; i < l->n_relays; i++)
		if (mono_before(l->relays[i].last_pong, l->relays[worst].last_pong) &&
		    !path_eq(&l->relays[i].rp.path, &l->best.path))
			worst = i;
	return &l->relays[worst];
}

void ladder_input_offer(struct ladder *l, struct mono now, const struct relay_path *offer)
{
	const struct ladder_best path = { .path = offer->path,
					  .server = offer->server,
					  .latency_ns = offer->latency_ns,
					  .mtu = METRIC_SAFE_MTU,
					  .last_pong = now,
					  .trusted_until = mono_add_ms(now, TRUST_MS) };

	if (!speaks_disco(l) || offer->path.kind != PATH_RELAY)
		return;
	*relay_slot(l, &offer->server) = (struct ladder_relay){ .rp = *offer, .last_pong = now };
	ladder_proved(l, now, &path);
}

void ladder_input_relay_lost(struct ladder *l, struct mono now, const struct disco_key *server)
{
	for (size_t i = l->n_relays; i-- > 0;)
		if (disco_key_eq(&l->relays[i].rp.server, server))
			ladder_del_relay(l, i);
	if (l->best.path.kind == PATH_RELAY && disco_key_eq(&l->best.server, server)) {
		ladder_drop_best(l, now, "relay is gone");
		ladder_reset_limits(l);
		if (ladder_is_active(l, now))
			ladder_maybe_relays(l, now);
	}
}

void ladder_input_relays(struct ladder *l, struct mono now, size_t n, bool is_event)
{
	l->n_relay_servers = n;
	if (!is_event)
		return;
	l->last_relay_discovery = MONO_ZERO;
	if (ladder_sent_within(l, now, SESSION_S * 1000) && !ladder_is_trusted(l, now))
		ladder_maybe_relays(l, now);
}

void ladder_input_link(struct ladder *l, struct mono now, bool is_major)
{
	const bool in_use = ladder_sent_within(l, now, SESSION_S * 1000);

	ladder_reset_limits(l);
	if (is_major) {
		prober_reset_history(&l->prober);
		/* Relay servers know our old address only: a new handshake is needed. */
		l->n_relays = 0;
		if (l->best.path.kind == PATH_RELAY)
			ladder_drop_best(l, now, "link changed");
		l->best.trusted_until = MONO_ZERO;
		l->cmm_waits = false;
		l->cmm_at = MONO_NEVER;
		l->n_cmm_unheard = 0;
	}
	if (!in_use || !speaks_disco(l))
		return;
	/* Once the new endpoints are gathered the peer is told, so that it leaves the old ones even if
	 * they still work, as those of a network that is no longer the preferred one do. */
	if (is_major)
		l->cmm_waits = ladder_derp(l).kind == PATH_DERP;
	/* The peer still is where it was: data to it arrives from the new address too. */
	if (is_major && ladder_has_best(l))
		ladder_suspect(l, now, "link changed");
	else if (!ladder_is_trusted_direct(l, now))
		ladder_round(l, now, true);
	ladder_maybe_relays(l, now);
}

void ladder_input_own_endpoints(struct ladder *l, struct mono now)
{
	if (!l->cmm_waits)
		return;
	l->cmm_waits = false;
	if (!must_listen(l, now))
		l->cmm_at = now;
}

void ladder_input_derp_up(struct ladder *l, struct mono now)
{
	if (ladder_sent_within(l, now, SESSION_S * 1000) && speaks_disco(l) &&
	    ladder_derp(l).kind == PATH_DERP && !l->cmm_waits)
		l->cmm_at = now;
}

void ladder_input_send_failed(struct ladder *l, struct mono now, const struct path_addr *path)
{
	struct prober_cand *c =
		path->kind == PATH_DIRECT ? prober_find(&l->prober, &path->ep) : NULL;
	struct ladder_relay *r = path->kind == PATH_RELAY ? ladder_find_relay(l, path) : NULL;

	if (c) {
		c->is_unreachable = true;
		c->last_pong = MONO_ZERO;
	}
	if (r)
		ladder_del_relay(l, (size_t)(r - l->relays));
	if (!path_eq(path, &l->best.path))
		return;
	ladder_drop_best(l, now, "unreachable");
	ladder_reset_limits(l);
	if (ladder_is_active(l, now))
		ladder_maybe_relays(l, now);
}

/* ---- user pings --------------------------------------------------------------------------------
 */

/* Queues the Pings of path-selection 13. Returns how many. */
static size_t ping_for_user(struct ladder *l, struct mono now, uint64_t id, size_t size)
{
	const struct path_addr derp = ladder_derp(l);
	const bool is_trusted = ladder_is_trusted(l, now);
	size_t n = 0;

	if (is_trusted)
		n += prober_ping(&l->prober, now, &l->best.path, PROBER_USER, id, size) == 0;
	else if (derp.kind == PATH_DERP)
		n += prober_ping(&l->prober, now, &derp, PROBER_USER, id, size) == 0;
	if (is_trusted && l->best.path.kind == PATH_DIRECT)
		return n;
	return n + prober_ping_all_user(&l->prober, now, id, size);
}

int ladder_user_ping(struct ladder *l, struct mono now, uint64_t id, size_t size)
{
	if (!speaks_disco(l))
		return -EPROTO;
	if (size > DISCO_PING_SIZE_MAX)
		return -EBADMSG;
	if (l->n_user == LADDER_USER_PINGS_MAX)
		return -ENOBUFS;
	if (ping_for_user(l, now, id, size) == 0)
		return -ENOENT;
	l->user[l->n_user++] =
		(struct ladder_user_ping){ .id = id, .until = mono_add_s(now, PROBER_TIMEOUT_S) };
	/* Counts as a packet sent: heartbeats start. Its Pings count as a round, so the CallMeMaybe
	 * that goes with a round goes now instead of with the first heartbeat (trap 17). */
	if (!ladder_is_trusted_direct(l, now)) {
		l->last_round = now;
		if (l->prober.n_cands > 0)
			want_cmm(l, now);
	}
	ladder_input_sent(l, now);
	return 0;
}

/* ---- time --------------------------------------------------------------------------------------
 */

struct mono ladder_deadline(const struct ladder *l)
{
	struct mono first =
		mono_min(prober_deadline(&l->prober), mono_min(l->heartbeat_at, l->probe_at));

	first = mono_min(first, l->cmm_at);
	if (l->is_published && l->published.is_trusted && !l->is_wireguard_only)
		first = mono_min(first, l->best.trusted_until);
	for (size_t i = 0; i < l->n_user; i++)
		first = mono_min(first, l->user[i].until);
	return first;
}

void ladder_tick(struct ladder *l, struct mono now)
{
	struct prober_ping ping;

	while (prober_expire(&l->prober, now, &ping))
		if (path_eq(&ping.to, &l->best.path) && !ladder_in_trust(l, now))
			ladder_drop_best(l, now, "no answer for 5 s");
	for (size_t i = 0; i < l->n_user; i++) {
		struct ladder_user_ping *u = &l->user[i];

		if (u->is_done || !mono_due(u->until, now))
			continue;
		u->is_done = true;
		u->result = (struct ladder_ping_result){ .id = u->id };
	}
	if (mono_due(l->heartbeat_at, now))
		heartbeat(l, now);
	ladder_watch_tick(l, now);
}

/* ---- outputs -----------------------------------------------------------------------------------
 */

struct ladder_targets ladder_targets(const struct ladder *l, struct mono now)
{
	struct ladder_targets t = { .first = ladder_derp(l) };

	if (!ladder_has_best(l) || !l->self->has_udp)
		return t;
	t.first = l->best.path;
	t.server = l->best.server;
	t.latency_ns = l->best.latency_ns;
	t.is_suspect = ladder_is_suspect(l);
	t.is_trusted = ladder_is_trusted(l, now);
	if (t.is_suspect)
		t.second = ladder_next_rung(l, now);
	else if (!t.is_trusted)
		t.second = ladder_derp(l);
	return t;
}

unsigned int ladder_handshake_paths(const struct ladder *l, struct mono now,
				    struct path_addr out[static 2])
{
	const struct ladder_targets t = ladder_targets(l, now);
	const struct path_addr derp = ladder_derp(l);
	unsigned int n = 0;

	if (t.first.kind != PATH_NONE)
		out[n++] = t.first;
	if (t.second.kind != PATH_NONE)
		out[n++] = t.second;
	else if (n == 1 && derp.kind == PATH_DERP && t.first.kind != PATH_DERP &&
		 mono_due(mono_add_ms(l->best.last_pong, HEARTBEAT_MS), now))
		out[n++] = derp;
	return n;
}

size_t ladder_known_relays(const struct ladder *l, struct mono now,
			   struct relay_path out[static LADDER_RELAYS_MAX])
{
	size_t n = 0;

	/* While best is in doubt, or gone, nothing counts that has not answered since: our NAT may
	 * have given us another address, which the servers do not know. */
	for (size_t i = 0; i < l->n_relays && ladder_has_best(l); i++) {
		const struct ladder_relay *r = &l->relays[i];
		const bool is_warm =
			r->missed <= 1 && !mono_due(mono_add_ms(r->last_pong, WARM_MS), now);
		const bool is_best = path_eq(&r->rp.path, &l->best.path);

		if (ladder_is_suspect(l) ? !mono_before(r->last_pong, l->suspect_since)
					 : (is_best ? ladder_in_trust(l, now) : is_warm))
			out[n++] = r->rp;
	}
	return n;
}

size_t ladder_candidates(const struct ladder *l, struct mono now, struct prober_view *out,
			 size_t max)
{
	const struct prober *p = &l->prober;

	for (size_t i = 0; i < p->n_cands && i < max; i++) {
		const struct prober_cand *c = &p->cands[i];
		const struct path_addr path = path_direct(&c->ep);

		out[i] = (struct prober_view){ .ep = c->ep,
					       .verdict = prober_verdict(p, c, now),
					       .from = c->from,
					       .n_sent = c->n_sent,
					       .n_pongs = c->n_pongs,
					       .latency_ns = c->latency_ns,
					       .last_pong = c->last_pong };
		if (path_eq(&path, &l->best.path)) {
			out[i].verdict = PROBER_IN_USE;
			if (i > 0) {
				const struct prober_view v = out[0];

				out[0] = out[i];
				out[i] = v;
			}
		}
	}
	return p->n_cands;
}

static bool poll_ping(struct ladder *l, struct mono now, struct ladder_out *out)
{
	const struct prober_ping *ping = prober_next(&l->prober, now);

	if (!ping)
		return false;
	out->kind = LADDER_SEND;
	out->path = ping->to;
	out->msg = (struct disco_msg){ .type = DISCO_PING,
				       .ping = { .tx = ping->tx,
						 .has_node_key = true,
						 .node = l->self->node,
						 .padding = ping->padding } };
	return true;
}

static bool poll_pong(struct ladder *l, struct ladder_out *out)
{
	if (l->n_pongs == 0)
		return false;
	out->kind = LADDER_SEND;
	out->path = l->pongs[0].to;
	out->msg = (struct disco_msg){ .type = DISCO_PONG, .pong = l->pongs[0].pong };
	l->n_pongs--;
	memmove(&l->pongs[0], &l->pongs[1], l->n_pongs * sizeof(l->pongs[0]));
	return true;
}

static void note_cmm(struct ladder *l, struct mono now)
{
	l->cmm_sent = now;
	l->cmm_sent_eps = l->self->n_eps_changes;
	if (l->n_cmm_unheard < UINT8_MAX)
		l->n_cmm_unheard++;
}

static bool poll_cmm(struct ladder *l, struct mono now, struct ladder_out *out)
{
	const struct path_addr derp = ladder_derp(l);
	const bool is_due = mono_due(l->cmm_at, now);
	struct disco_eps *eps = &out->msg.call_me_maybe;

	if (derp.kind != PATH_DERP) {
		if (is_due)
			l->cmm_at = MONO_NEVER;
		return false;
	}
	out->kind = LADDER_SEND;
	out->path = derp;
	out->msg = (struct disco_msg){ .type = DISCO_CALL_ME_MAYBE };
	if (ladder_poll_call_off(l, now, eps)) {
		note_cmm(l, now);
		return true;
	}
	if (is_due)
		l->cmm_at = MONO_NEVER;
	/* An empty list would delete what the peer knows (trap 8). */
	if (!is_due || l->self->n_eps == 0)
		return false;
	eps->n_eps = eps->n_total = (uint16_t)l->self->n_eps;
	memcpy(eps->eps, l->self->eps, l->self->n_eps * sizeof(l->self->eps[0]));
	note_cmm(l, now);
	return true;
}

static bool poll_user(struct ladder *l, struct ladder_out *out)
{
	for (size_t i = 0; i < l->n_user; i++) {
		if (!l->user[i].is_done)
			continue;
		out->kind = LADDER_PING_RESULT;
		out->result = l->user[i].result;
		l->user[i] = l->user[--l->n_user];
		return true;
	}
	return false;
}

static bool poll_path(struct ladder *l, struct mono now, struct ladder_out *out)
{
	const struct ladder_targets t = ladder_targets(l, now);

	if (l->is_published && path_eq(&t.first, &l->published.first) &&
	    path_eq(&t.second, &l->published.second) && t.is_trusted == l->published.is_trusted &&
	    t.is_suspect == l->published.is_suspect)
		return false;
	l->published = t;
	l->is_published = true;
	out->kind = LADDER_PATH;
	out->targets = t;
	return true;
}

static bool poll_wants(struct ladder *l, struct mono now, struct ladder_out *out)
{
	if (l->want_relays) {
		l->want_relays = false;
		out->kind = LADDER_WANT_RELAYS;
		out->n_known = ladder_known_relays(l, now, out->known);
		return true;
	}
	if (l->want_endpoints) {
		l->want_endpoints = false;
		out->kind = LADDER_WANT_ENDPOINTS;
		return true;
	}
	if (!ep_eq(&l->seen_as, &l->told_seen_as)) {
		l->told_seen_as = l->seen_as;
		out->kind = LADDER_SEEN_AS;
		out->seen_as = l->seen_as;
		return true;
	}
	return false;
}

bool ladder_poll(struct ladder *l, struct mono now, struct ladder_out *out)
{
	if (!l->self)
		return false; /* wiped */
	return poll_path(l, now, out) || poll_pong(l, out) || poll_ping(l, now, out) ||
	       poll_cmm(l, now, out) || poll_wants(l, now, out) || poll_user(l, out);
}
