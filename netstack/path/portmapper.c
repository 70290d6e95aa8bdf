/* SPDX-License-Identifier: MIT */
/* The decisions of portmapper.h. */
#include "path/portmapper.h"

#include <errno.h>
#include <string.h>

#include "base/compiler.h"
#include "base/log.h"

enum { UPNP = 1 << PORTMAPPER_UPNP, QUICK = PORTMAPPER_ALL - UPNP, PORT_MIN = 1024, PORTS = 65534 - PORT_MIN + 1, UPNP_RENEW_S = 3600 };

const char *portmapper_method_name(enum portmapper_method method)
{
	static const char *const names[PORTMAPPER_METHODS] = {
		[PORTMAPPER_PMP] = "NAT-PMP", [PORTMAPPER_PCP] = "PCP", [PORTMAPPER_UPNP] = "UPnP"
	};

	return names[method];
}

/* Private networks, and TEST-NET-1 (RFC 5737), which is no more routed than they are: laboratories have it inside. */
static bool is_gateway(const struct ip *ip)
{
	static const uint8_t test_net[] = { 192, 0, 2 };

	return ip_is_set(ip) && ip->family == IP_V4 &&
	       (ip_is_private(ip) || memcmp(ip->b, test_net, sizeof(test_net)) == 0);
}

/* A second NAT outside would make the mapping worthless, and the other kinds are lies. */
static bool is_reachable(const struct portmapper *p, const struct ep *ep)
{
	const struct ip *ip = &ep->ip;

	return ep_is_set(ep) && ep->port != 0 && ip->family == IP_V4 && !ip_is_unspecified(ip) &&
	       !ip_is_loopback(ip) && !ip_is_multicast(ip) && !ip_is_link_local(ip) && !ip_is_private(ip) &&
	       !ip_is_cgnat(ip) && !ip_eq(ip, &p->gateway) && !ip_eq(ip, &p->self);
}

void portmapper_init(struct portmapper *p, const struct env *env)
{
	*p = (struct portmapper){ .env = env };
}

static bool is_on(const struct portmapper *p)
{
	return p->allowed && ip_is_set(&p->gateway) && ip_is_set(&p->self);
}

/* ---- giving up what is held ---- */

static void unhold(struct portmapper *p, struct portmapper_mapping *m)
{
	if (!m->is_held)
		return;
	m->is_held = false;
	m->external = (struct ep){ 0 };
	p->is_changed = true;
}

/* The gateway is told, once; the mapping would run out anyway. */
static void release(struct portmapper *p, struct portmapper_mapping *m)
{
	if (m->is_held && p->n_unmaps < PORTMAPPER_UNMAPS_MAX) {
		struct portmapper_job *job = &p->unmaps[p->n_unmaps++];

		*job = (struct portmapper_job){ .kind = PORTMAPPER_UNMAP,
						.gateway = p->gateway,
						.self = p->self,
						.method = m->method,
						.port = m->port,
						.external = m->external };
		memcpy(job->nonce, m->nonce, sizeof(job->nonce));
	}
	unhold(p, m);
	m->retry_at = MONO_ZERO;
}

static void forget_gateway(struct portmapper *p)
{
	for (unsigned s = 0; s < PORTMAPPER_SLOTS; s++) {
		release(p, &p->map[s]);
		p->map[s].former = (struct ep){ 0 };
	}
	for (unsigned k = 0; k < PORTMAPPER_METHODS; k++)
		p->seen[k] = p->tried[k] = MONO_ZERO;
	p->is_changed = p->is_changed || p->was_probed;
	p->was_probed = p->probe_due = p->upnp_due = false;
	p->has_epoch = false;
	p->is_stale = p->is_busy;
}

void portmapper_allow(struct portmapper *p, struct mono now, unsigned methods)
{
	if (methods == p->allowed)
		return;
	forget_gateway(p);
	p->allowed = methods;
	portmapper_want(p, now, true);
}

void portmapper_set_gateway(struct portmapper *p, struct mono now, const struct ip *gateway, const struct ip *self)
{
	const struct ip none = { 0 }, gw = is_gateway(gateway) ? *gateway : none,
			me = is_gateway(gateway) ? *self : none;

	if (ip_eq(&gw, &p->gateway) && ip_eq(&me, &p->self))
		return;
	forget_gateway(p);
	p->gateway = gw;
	p->self = me;
	p->probe_due = is_on(p);
	(void)now;
}

void portmapper_set_port(struct portmapper *p, struct mono now, enum portmapper_slot slot, uint16_t port)
{
	struct portmapper_mapping *m = &p->map[slot];

	if (port == m->port)
		return;
	release(p, m);
	if (p->is_busy && p->job.kind == PORTMAPPER_MAP && p->job_slot == slot)
		p->is_stale = true;
	m->former = (struct ep){ 0 };
	m->port = port;
	portmapper_want(p, now, false);
}

void portmapper_stop(struct portmapper *p, struct mono now)
{
	portmapper_allow(p, now, 0);
}

/* ---- looking ---- */

void portmapper_want(struct portmapper *p, struct mono now, bool is_urgent)
{
	bool any = false;
	int64_t least_s;

	for (unsigned k = 0; k < PORTMAPPER_METHODS; k++)
		any = any || !mono_is_zero(p->seen[k]);
	least_s = is_urgent ? PORTMAPPER_URGENT_S : any ? PORTMAPPER_CHECK_S : PORTMAPPER_SEEN_S;
	if (!is_on(p) || (p->was_probed && !mono_due(mono_add_s(p->probed_at, least_s), now)))
		return;
	p->probe_due = true;
	p->probe_all = p->probe_all || is_urgent;
}

/* What is worth a question: what was not asked lately, and one that tells the epoch. */
static unsigned to_probe(const struct portmapper *p, struct mono now)
{
	unsigned methods = 0;
	bool has_clock = false;

	for (unsigned k = 0; k < PORTMAPPER_METHODS; k++) {
		const bool is_seen = !mono_is_zero(p->seen[k]);
		const bool is_old = mono_is_zero(p->tried[k]) ||
				    mono_due(mono_add_s(p->tried[k], PORTMAPPER_SEEN_S), now);
		const bool is_clock = is_seen && k != PORTMAPPER_UPNP && !has_clock;

		if (is_old || is_clock || (p->probe_all && !is_seen))
			methods |= 1U << k;
		has_clock = has_clock || is_clock;
	}
	return methods & p->allowed;
}

/* A gateway younger than it was has lost what it had mapped. */
static void note_epoch(struct portmapper *p, const struct portmapper_result *r)
{
	if (!r->has_epoch)
		return;
	for (unsigned s = 0; p->has_epoch && r->epoch < p->epoch && s < PORTMAPPER_SLOTS; s++) {
		if (p->map[s].is_held)
			log_info(p->env->log, "portmap: the gateway has restarted");
		unhold(p, &p->map[s]);
		p->map[s].retry_at = MONO_ZERO;
	}
	p->has_epoch = true;
	p->epoch = r->epoch;
}

static bool is_method_held(const struct portmapper *p, unsigned method)
{
	for (unsigned s = 0; s < PORTMAPPER_SLOTS; s++)
		if (p->map[s].is_held && p->map[s].method == method)
			return true;
	return false;
}

static void probed(struct portmapper *p, struct mono now, const struct portmapper_result *r)
{
	note_epoch(p, r);
	for (unsigned k = 0; k < PORTMAPPER_METHODS; k++) {
		const enum tri was = portmapper_found(p, (enum portmapper_method)k);

		if (!(p->job.methods & 1U << k))
			continue;
		p->tried[k] = now;
		if (r->found & 1U << k)
			p->seen[k] = now;
		else if (!is_method_held(p, k)) /* one lost datagram does not end what works */
			p->seen[k] = MONO_ZERO;
		p->is_changed |= was != portmapper_found(p, (enum portmapper_method)k);
	}
	p->is_changed |= !p->was_probed;
	p->was_probed = true;
	p->probed_at = now;
}

/* ---- mapping ---- */

static void mapped(struct portmapper *p, struct mono now, const struct portmapper_result *r)
{
	struct portmapper_mapping *m = &p->map[p->job_slot];
	const uint32_t life_s = r->life_s < PORTMAPPER_LIFE_S ? r->life_s : PORTMAPPER_LIFE_S;
	char text[EP_TEXT_MAX];

	note_epoch(p, r);
	if (!ep_eq(&m->external, &r->external)) {
		p->is_changed = true;
		log_info(p->env->log, "portmap: udp port %u is %s by %s for %u s", m->port,
			 ep_write(text, &r->external), portmapper_method_name(p->job.method), life_s);
	}
	m->is_held = true;
	m->method = p->job.method;
	m->external = m->former = r->external;
	m->expires = mono_add_s(now, life_s);
	m->renew_at = mono_add_s(now, m->method == PORTMAPPER_UPNP && life_s > UPNP_RENEW_S ? UPNP_RENEW_S :
										      life_s / 2);
	m->retry_at = MONO_ZERO;
	m->n_conflicts = 0;
	p->seen[m->method] = p->tried[m->method] = now;
}

static void not_mapped(struct portmapper *p, struct mono now, int err)
{
	struct portmapper_mapping *m = &p->map[p->job_slot];

	log_debug(p->env->log, "portmap: udp port %u: %s: %s", m->port, portmapper_method_name(p->job.method),
		  strerror(-err));
	if (err == -EADDRINUSE && m->n_conflicts++ < PORTMAPPER_CONFLICTS_MAX) {
		m->former = (struct ep){ 0 }; /* start_map() picks another one */
		m->renew_at = m->retry_at = now;
		return;
	}
	m->n_conflicts = 0;
	if (m->is_held) { /* served until it expires */
		m->retry_at = mono_add_s(now, PORTMAPPER_AGAIN_S);
		return;
	}
	/* No answer: the next method is tried, of what is there. A refusal ends the attempt (netcheck 5.2). */
	if (err == -ETIMEDOUT && p->job.method != PORTMAPPER_UPNP) {
		p->seen[p->job.method] = MONO_ZERO;
		p->is_changed = true;
	} else {
		m->retry_at = mono_add_s(now, PORTMAPPER_RETRY_S);
	}
}

/* What was mapped but is of no use is given back. */
static void give_back(struct portmapper *p, const struct portmapper_result *r)
{
	struct portmapper_job *job;

	if (p->job.kind != PORTMAPPER_MAP || r->err || !r->external.port || p->n_unmaps == PORTMAPPER_UNMAPS_MAX)
		return;
	job = &p->unmaps[p->n_unmaps++];
	*job = p->job;
	job->kind = PORTMAPPER_UNMAP;
	job->external = r->external;
}

void portmapper_done(struct portmapper *p, struct mono now, const struct portmapper_result *r)
{
	int err = r->err;

	if (!p->is_busy || r->id != p->job_id)
		return;
	p->is_busy = false;
	if (p->is_stale) {
		give_back(p, r); /* for a port that is no longer wanted, on a gateway that is */
		return;
	}
	switch (p->job.kind) {
	case PORTMAPPER_PROBE:
		probed(p, now, r);
		break;
	case PORTMAPPER_MAP:
		if (!err && (!is_reachable(p, &r->external) || r->life_s == 0)) {
			p->refused++;
			if (r->life_s)
				give_back(p, r); /* behind another NAT: reachable by nobody */
			err = -EPROTO;
		}
		if (err)
			not_mapped(p, now, err);
		else
			mapped(p, now, r);
		break;
	case PORTMAPPER_UNMAP:
		break;
	}
}

/* ---- jobs ---- */

static bool start(struct portmapper *p, struct portmapper_out *out, const struct portmapper_job *job)
{
	p->job = *job;
	p->job.id = ++p->job_id;
	p->is_busy = true;
	p->is_stale = false;
	out->kind = PORTMAPPER_JOB;
	out->job = p->job;
	return true;
}

/* The method for a mapping: the one it has, else the best that is there. */
static bool pick_method(const struct portmapper *p, const struct portmapper_mapping *m, enum portmapper_method *method)
{
	if (m->is_held) {
		*method = m->method;
		return true;
	}
	for (unsigned k = 0; k < PORTMAPPER_METHODS; k++) {
		if (mono_is_zero(p->seen[k]) || !(p->allowed & 1U << k))
			continue;
		*method = (enum portmapper_method)k;
		return true;
	}
	return false;
}

/* When the mapping is to be asked for, or again; NEVER: not at all for now. */
static struct mono ask_at(const struct portmapper *p, const struct portmapper_mapping *m)
{
	enum portmapper_method method;

	if (m->port == 0 || !p->was_probed || !pick_method(p, m, &method))
		return MONO_NEVER;
	return m->is_held ? mono_max(m->renew_at, m->retry_at) : m->retry_at;
}

static bool start_map(struct portmapper *p, struct portmapper_out *out, enum portmapper_slot slot)
{
	struct portmapper_mapping *m = &p->map[slot];
	struct portmapper_job job = { .kind = PORTMAPPER_MAP,
				      .gateway = p->gateway,
				      .self = p->self,
				      .port = m->port,
				      .external = m->former,
				      .life_s = PORTMAPPER_LIFE_S };

	if (!pick_method(p, m, &job.method))
		return false;
	/* UPnP: 0 would open every port. */
	if (job.method == PORTMAPPER_UPNP && job.external.port == 0)
		job.external.port = (uint16_t)(PORT_MIN + env_below(p->env, PORTS));
	if (!m->is_held)
		env_fill(p->env, m->nonce, sizeof(m->nonce));
	memcpy(job.nonce, m->nonce, sizeof(job.nonce));
	p->job_slot = slot;
	return start(p, out, &job);
}

static bool start_probe(struct portmapper *p, struct portmapper_out *out, unsigned methods)
{
	const struct portmapper_job job = {
		.kind = PORTMAPPER_PROBE, .gateway = p->gateway, .self = p->self, .methods = methods
	};

	return start(p, out, &job);
}

bool portmapper_poll(struct portmapper *p, struct mono now, struct portmapper_out *out)
{
	if (p->is_changed) {
		p->is_changed = false;
		out->kind = PORTMAPPER_CHANGED;
		return true;
	}
	if (p->is_busy)
		return false;
	if (p->n_unmaps > 0) {
		const struct portmapper_job job = p->unmaps[0];

		memmove(&p->unmaps[0], &p->unmaps[1], --p->n_unmaps * sizeof(p->unmaps[0]));
		return start(p, out, &job);
	}
	if (!is_on(p))
		return false;
	if (p->probe_due) {
		const unsigned methods = to_probe(p, now);

		p->probe_due = p->probe_all = false;
		p->upnp_due = methods & UPNP;
		if (methods & QUICK)
			return start_probe(p, out, methods & QUICK);
	}
	for (unsigned s = 0; s < PORTMAPPER_SLOTS; s++)
		if (mono_due(ask_at(p, &p->map[s]), now))
			return start_map(p, out, (enum portmapper_slot)s);
	if (!p->upnp_due)
		return false;
	p->upnp_due = false;
	return start_probe(p, out, UPNP);
}

struct mono portmapper_deadline(const struct portmapper *p)
{
	struct mono first = MONO_NEVER;

	for (unsigned s = 0; s < PORTMAPPER_SLOTS; s++) {
		if (p->map[s].is_held)
			first = mono_min(first, p->map[s].expires);
		if (!p->is_busy && is_on(p))
			first = mono_min(first, ask_at(p, &p->map[s]));
	}
	return first;
}

void portmapper_tick(struct portmapper *p, struct mono now)
{
	for (unsigned s = 0; s < PORTMAPPER_SLOTS; s++)
		if (p->map[s].is_held && mono_due(p->map[s].expires, now))
			unhold(p, &p->map[s]);
}

/* ---- views ---- */

struct ep portmapper_external(const struct portmapper *p, enum portmapper_slot slot)
{
	const struct portmapper_mapping *main = &p->map[PORTMAPPER_MAIN], *m = &p->map[slot];

	/* A relay that shares the main port is reached by the main mapping. */
	return m->is_held ? m->external : slot == PORTMAPPER_RELAY && !m->port && main->is_held ? main->external :
													 (struct ep){ 0 };
}

enum tri portmapper_found(const struct portmapper *p, enum portmapper_method method)
{
	if (!p->was_probed)
		return TRI_UNSET;
	return mono_is_zero(p->seen[method]) ? TRI_FALSE : TRI_TRUE;
}
