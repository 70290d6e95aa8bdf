/* SPDX-License-Identifier: MIT */
/* Which path is best, and the watch over it while a flow is active.
 *
 *   silence  nothing authenticated came by best for max(300 ms, 4 x srtt) although packets leave, or
 *            behind a run of packets: who only receives must notice too
 *   probe    a Ping on best; a second one at least 300 ms later if the first stays unanswered
 *   suspect  both unanswered: packets go by best and by the next rung, everything else is pinged
 *   leave    a second later the next rung that answers becomes best; after 3 s DERP alone
 *   call off the peer is told by DERP to leave it too, since a stock one trusts it for 6.5 s
 *
 * Only a Pong on best ends suspicion: data from the peer proves one direction only. */
#include "base/log.h"
#include "path/ladderint.h"

static struct metric metric_of(const struct path_addr *path, int64_t latency_ns, uint32_t mtu)
{
	return (struct metric){ .path = *path,
				.latency_ns = latency_ns,
				.mtu = mtu ? mtu : METRIC_SAFE_MTU };
}

static bool is_better(const struct ladder_best *a, const struct ladder_best *b)
{
	const struct metric ma = metric_of(&a->path, a->latency_ns, a->mtu);
	const struct metric mb = metric_of(&b->path, b->latency_ns, b->mtu);

	return metric_is_better(&ma, &mb);
}

struct path_addr ladder_derp(const struct ladder *l)
{
	const uint32_t region = l->home_derp ? l->home_derp : l->heard_derp;

	return region && !l->is_wireguard_only ? path_derp(region)
					       : (struct path_addr){ .kind = PATH_NONE };
}

struct ladder_relay *ladder_find_relay(struct ladder *l, const struct path_addr *path)
{
	for (size_t i = 0; i < l->n_relays; i++)
		if (path_eq(&l->relays[i].rp.path, path))
			return &l->relays[i];
	return NULL;
}

void ladder_del_relay(struct ladder *l, size_t i)
{
	l->relays[i] = l->relays[--l->n_relays];
}

static int64_t silence_ms(const struct ladder *l)
{
	const int64_t rtts = SILENCE_RTTS * l->srtt_ns / NS_PER_MS;

	return rtts > SILENCE_MS ? rtts : SILENCE_MS;
}

/* How long the last of two Pings may take: two round trips, the first one waited longer already. */
static int64_t last_wait_ms(const struct ladder *l)
{
	const int64_t rtts = 2 * l->srtt_ns / NS_PER_MS;

	return rtts > 100 ? rtts : 100;
}

/* The round trip rises at once and falls slowly, so that a filling queue on the way is not taken
 * for a dead path. */
static void note_rtt(struct ladder *l, int64_t latency_ns)
{
	if (l->srtt_ns == 0)
		l->srtt_ns = latency_ns;
	else if (latency_ns > l->srtt_ns)
		l->srtt_ns = (l->srtt_ns + latency_ns) / 2;
	else
		l->srtt_ns = (7 * l->srtt_ns + latency_ns) / 8;
}

static void end_suspicion(struct ladder *l)
{
	l->suspect_since = MONO_NEVER;
	l->probes = 0;
	l->is_hinted = false;
	l->probe_at = MONO_NEVER;
	l->call_off = LADDER_OFF_NONE;
}

void ladder_set_best(struct ladder *l, struct mono now, const struct ladder_best *path)
{
	char text[PATH_TEXT_MAX], key[KEY_SHORT_MAX];
	const bool is_up = !ladder_has_best(l) || is_better(path, &l->best);

	key_short(key, KEY_NODE, l->node.b);
	log_debug(l->self->env->log, "path: %s: now using %s", key, path_write(text, &path->path));
	if (is_up)
		l->self->n.upgrade++;
	l->best = *path;
	l->best_at = now;
	l->srtt_ns = path->latency_ns;
	l->last_rx = now;
	l->unanswered_since = l->rx_since = MONO_NEVER;
	end_suspicion(l);
}

/* Direct candidates and relay paths other than best that answered at 'since' or later: the best of
 * them. False: none. */
static bool find_alternative(const struct ladder *l, struct mono since, struct ladder_best *out)
{
	bool found = false;

	for (size_t i = 0; i < (size_t)l->prober.n_cands + l->n_relays; i++) {
		const bool is_cand = i < l->prober.n_cands;
		const struct prober_cand *c = is_cand ? &l->prober.cands[i] : NULL;
		const struct ladder_relay *r = is_cand ? NULL : &l->relays[i - l->prober.n_cands];
		const struct ladder_best b = {
			.path = is_cand ? path_direct(&c->ep) : r->rp.path,
			.server = is_cand ? (struct disco_key){ { 0 } } : r->rp.server,
			.latency_ns = is_cand ? c->latency_ns : r->rp.latency_ns,
			.mtu = is_cand ? c->mtu : 0,
			.last_pong = is_cand ? c->last_pong : r->last_pong,
			.trusted_until =
				mono_add_ms(is_cand ? c->last_pong : r->last_pong, TRUST_MS),
		};

		if (mono_is_zero(b.last_pong) || mono_before(b.last_pong, since) ||
		    path_eq(&b.path, &l->best.path) || (found && !is_better(&b, out)))
			continue;
		*out = b;
		found = true;
	}
	return found;
}

static struct mono before_ms(struct mono now, int64_t ms)
{
	return (struct mono){ now.ns > ms * NS_PER_MS ? now.ns - ms * NS_PER_MS : 0 };
}

void ladder_drop_best(struct ladder *l, struct mono now, const char *why)
{
	char text[PATH_TEXT_MAX], key[KEY_SHORT_MAX];
	struct ladder_best next;

	if (!ladder_has_best(l))
		return;
	key_short(key, KEY_NODE, l->node.b);
	log_debug(l->self->env->log, "path: %s: left %s: %s", key, path_write(text, &l->best.path),
		  why);
	/* What did not answer while best was in doubt is dead too. */
	if (find_alternative(l, ladder_is_suspect(l) ? l->suspect_since : before_ms(now, TRUST_MS),
			     &next)) {
		ladder_set_best(l, now, &next);
		return;
	}
	l->best = (struct ladder_best){ .path = { .kind = PATH_NONE } };
	l->srtt_ns = 0;
	l->unanswered_since = MONO_NEVER;
	end_suspicion(l);
}

struct path_addr ladder_next_rung(const struct ladder *l, struct mono now)
{
	struct mono since = l->suspect_since;
	struct ladder_best next;

	/* At first a path that was fine lately is as good as one that answered since; once it had
	 * time to answer and did not, it died with the other (UDP blocked), and DERP remains. */
	if (mono_before(now, mono_add_ms(since, SILENCE_MS)))
		since = before_ms(since, TRUST_MS);
	return find_alternative(l, since, &next) ? next.path : ladder_derp(l);
}

static void proved_again(struct ladder *l, struct mono now, const struct ladder_best *path)
{
	l->best.latency_ns = path->latency_ns;
	l->best.seen_as = path->seen_as;
	l->best.last_pong = path->last_pong;
	l->best.trusted_until = path->trusted_until;
	if (path->mtu > l->best.mtu)
		l->best.mtu = path->mtu;
	note_rtt(l, path->latency_ns);
	l->last_rx = now;
	l->unanswered_since = l->rx_since = MONO_NEVER;
	end_suspicion(l);
}

void ladder_proved(struct ladder *l, struct mono now, const struct ladder_best *path)
{
	bool take = !ladder_in_trust(l, now) || is_better(path, &l->best);

	if (path_eq(&path->path, &l->best.path)) {
		proved_again(l, now, path);
		return;
	}
	/* A server takes packets only from the address bound last (peer-relay 10). */
	if (path->path.kind == PATH_RELAY && l->best.path.kind == PATH_RELAY &&
	    disco_key_eq(&path->server, &l->best.server))
		take = true;
	if (ladder_is_suspect(l) && mono_due(mono_add_ms(l->suspect_since, LEAVE_MS), now)) {
		l->self->n.failover++;
		take = true;
	}
	if (take)
		ladder_set_best(l, now, path);
}

void ladder_probe(struct ladder *l, struct mono now, enum prober_purpose purpose)
{
	/* A full table of Pings in flight only delays the verdict. */
	if (prober_ping(&l->prober, now, &l->best.path, purpose, 0, 0) == 0 &&
	    l->probes < UINT8_MAX)
		l->probes++;
}

void ladder_keep_warm(struct ladder *l, struct mono now)
{
	for (size_t i = l->n_relays; i-- > 0;) {
		struct ladder_relay *r = &l->relays[i];

		if (path_eq(&r->rp.path, &l->best.path))
			continue;
		if (r->missed >= 4 && mono_due(mono_add_ms(r->last_pong, TRUST_MS), now)) {
			ladder_del_relay(l, i);
			continue;
		}
		if (prober_ping(&l->prober, now, &r->rp.path, PROBER_EXTRA, 0, 0) == 0) {
			r->last_ping = now;
			r->missed++;
		}
	}
}

bool ladder_has_warm_relay(const struct ladder *l, struct mono now)
{
	for (size_t i = 0; i < l->n_relays; i++)
		if (!mono_due(mono_add_ms(l->relays[i].last_pong, WARM_MS), now))
			return true;
	return false;
}

/* Asks every other way at once. */
static void ping_others(struct ladder *l, struct mono now)
{
	const struct path_addr derp = ladder_derp(l);

	ladder_keep_warm(l, now);
	if (derp.kind == PATH_DERP && prober_ping(&l->prober, now, &derp, PROBER_EXTRA, 0, 0) == 0)
		l->derp_ping = now;
}

/* A stock peer sends by a direct path alone for up to 6.5 s after the last Pong, dead or not. It leaves the path
 * at once when a CallMeMaybe lacks an address that an earlier one had (disco 6), and asks all others. So the
 * first one names this node's address on the path, and the second one, when nothing came by it since, does not. */
static void call_off(struct ladder *l, struct mono now)
{
	if (l->call_off == LADDER_OFF_NONE && l->best.path.kind == PATH_DIRECT && ep_is_set(&l->best.seen_as)) {
		l->off_addr = l->best.seen_as;
		l->call_off = LADDER_OFF_NAME;
	} else if (l->call_off == LADDER_OFF_WAITS && mono_due(mono_add_ms(l->last_rx, OFF_QUIET_MS), now)) {
		l->call_off = LADDER_OFF_LEAVE;
	}
}

bool ladder_poll_call_off(struct ladder *l, struct mono now, struct disco_eps *out)
{
	const struct pathself *self = l->self;
	const bool with_addr = l->call_off == LADDER_OFF_NAME;

	if (!with_addr && l->call_off != LADDER_OFF_LEAVE)
		return false;
	l->call_off = with_addr ? LADDER_OFF_WAITS : LADDER_OFF_DONE;
	/* What it forgets it would not try again by itself. */
	if (!with_addr && mono_is_never(l->cmm_at))
		l->cmm_at = mono_add_ms(now, OFF_AGAIN_MS);
	out->n_eps = 0;
	if (with_addr)
		out->eps[out->n_eps++] = l->off_addr;
	for (size_t i = 0; i < self->n_eps && out->n_eps < DISCO_EPS_MAX; i++)
		if (!ep_eq(&self->eps[i], &l->off_addr))
			out->eps[out->n_eps++] = self->eps[i];
	out->n_total = out->n_eps;
	return true;
}

void ladder_suspect(struct ladder *l, struct mono now, const char *why)
{
	char text[PATH_TEXT_MAX], key[KEY_SHORT_MAX];

	if (!ladder_has_best(l) || ladder_is_suspect(l))
		return;
	key_short(key, KEY_NODE, l->node.b);
	log_debug(l->self->env->log, "path: %s: %s is suspect: %s", key,
		  path_write(text, &l->best.path), why);
	l->self->n.suspect++;
	l->suspect_since = now;
	l->is_hinted = false;
	l->n_cmm_unheard = 0;
	ladder_reset_limits(l);
	ping_others(l, now);
	/* The round includes best if it is direct; a relay path is asked by itself. */
	ladder_round(l, now, true);
	if (l->best.path.kind == PATH_RELAY)
		ladder_probe(l, now, PROBER_EXTRA);
	ladder_maybe_relays(l, now);
	call_off(l, now);
	l->probe_at = mono_add_ms(now, SILENCE_MS);
}

/* Looks at a suspect path every 300 ms. */
static void tick_suspect(struct ladder *l, struct mono now)
{
	struct ladder_best next;

	if (mono_due(mono_add_ms(l->suspect_since, LEAVE_MS), now) &&
	    find_alternative(l, l->suspect_since, &next)) {
		l->self->n.failover++;
		ladder_set_best(l, now, &next);
		return;
	}
	/* Without DERP the doubtful path is all there is: the stock rule (5 s) ends it. */
	if (mono_due(mono_add_ms(l->suspect_since, LADDER_DUP_MS), now) &&
	    (ladder_derp(l).kind == PATH_DERP || !ladder_in_trust(l, now))) {
		l->self->n.failover++;
		ladder_drop_best(l, now, "no answer");
		return;
	}
	call_off(l, now);
	ladder_probe(l, now, PROBER_EXTRA);
	ladder_keep_warm(l, now);
	l->probe_at = mono_add_ms(now, SILENCE_MS);
}

/* Did packets come long enough that their end needs a reason? */
static bool has_run(const struct ladder *l)
{
	return !mono_is_never(l->rx_since) && mono_due(mono_add_ms(l->rx_since, RX_RUN_MS), l->last_rx);
}

void ladder_watch_arm(struct ladder *l, struct mono now)
{
	struct mono since = l->last_rx;

	(void)now;
	if (!ladder_has_best(l) || l->is_silent || l->is_wireguard_only || ladder_is_suspect(l) ||
	    l->probes > 0 || (mono_is_never(l->unanswered_since) && !has_run(l)))
		return;
	if (!mono_is_never(l->unanswered_since))
		since = mono_max(since, l->unanswered_since);
	l->probe_at = mono_add_ms(since, silence_ms(l));
}

void ladder_watch_received(struct ladder *l, struct mono now)
{
	if (mono_is_never(l->rx_since) || mono_due(mono_add_ms(l->last_rx, RX_PAUSE_MS), now))
		l->rx_since = now;
	l->last_rx = now;
	l->unanswered_since = MONO_NEVER;
	/* The tick moves it on while packets come. */
	if (mono_is_never(l->probe_at))
		ladder_watch_arm(l, now);
}

void ladder_watch_tick(struct ladder *l, struct mono now)
{
	if (!mono_due(l->probe_at, now))
		return;
	l->probe_at = MONO_NEVER;
	if (!ladder_has_best(l))
		return;
	if (ladder_is_suspect(l)) {
		tick_suspect(l, now);
	} else if (l->probes == 0) {
		/* Data that came in meanwhile moved the silence. */
		ladder_watch_arm(l, now);
		if (!mono_due(l->probe_at, now))
			return;
		ladder_probe(l, now, PROBER_EXTRA);
		l->probe_at = mono_add_ms(now, silence_ms(l));
	} else if (l->probes == 1 && !l->is_hinted) {
		ladder_probe(l, now, PROBER_EXTRA);
		l->probe_at = mono_add_ms(now, last_wait_ms(l));
	} else {
		l->probes = 0;
		if (ladder_sent_within(l, now, ACTIVE_S * 1000))
			ladder_suspect(l, now, "no answer");
	}
}

void ladder_watch_hint(struct ladder *l, struct mono now)
{
	if (!ladder_is_trusted(l, now) || l->is_silent ||
	    !ladder_sent_within(l, now, ACTIVE_S * 1000) || l->is_hinted ||
	    mono_before(now, mono_add_ms(l->last_rx, HINT_QUIET_MS)) ||
	    mono_before(now, mono_add_ms(l->best.last_pong, HINT_PONG_MS)))
		return;
	/* The peer sends by another rung: it may have found ours dead before us. */
	l->is_hinted = true;
	ladder_probe(l, now, PROBER_EXTRA);
	l->probe_at = mono_add_ms(now, last_wait_ms(l));
}
