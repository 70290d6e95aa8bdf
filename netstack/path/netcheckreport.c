/* SPDX-License-Identifier: MIT */
/* Second half of path/netcheck: the finished report, the choice of home, and what is told to others. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "path/netcheck.h"
#include "path/netcheck_int.h"

enum {
	MOVE_MIN_MS = 10,  /* a move of home gains at least so much ... */
	HEARD_FRESH_S = 8, /* a DERP frame so recent counts as a sign of life */
	HEARD_KEEP_S = 120,
};

int64_t netcheckreport_last_ns(const struct netcheck *n, uint32_t region)
{
	for (size_t i = 0; n->has_report && i < n->report.n_latency; i++) {
		if (n->report.latency[i].region == region)
			return n->report.latency[i].ns;
	}
	return -1;
}

static double score_of(const struct netcheck *n, uint32_t region)
{
	const struct derp_region *r = derp_map_region(&n->map, region);

	return r && r->score > 0 ? r->score : 1;
}

static int64_t find_ns(const struct netcheck_latency *list, size_t len, uint32_t region)
{
	for (size_t i = 0; i < len; i++) {
		if (list[i].region == region)
			return list[i].ns;
	}
	return -1;
}

/* Lowest latency of a region over the history and this report, scaled by its score. */
static double best_of(const struct netcheck *n, const struct netcheck_report *now, uint32_t region)
{
	int64_t best = find_ns(now->latency, now->n_latency, region);

	for (size_t i = 0; i < n->n_past; i++) {
		int64_t ns = find_ns(n->past[i].lat, n->past[i].n, region);

		if (ns >= 0 && (best < 0 || ns < best))
			best = ns;
	}
	return (double)best * score_of(n, region);
}

static struct mono heard_at(const struct netcheck *n, uint32_t region)
{
	for (size_t i = 0; i < n->n_heard; i++) {
		if (n->heard[i].region == region)
			return n->heard[i].at;
	}
	return MONO_ZERO;
}

/* netcheck 3. */
static uint32_t choose_home(const struct netcheck *n, const struct netcheck_report *now, struct mono at)
{
	struct mono heard = heard_at(n, n->home);
	bool is_known = !mono_is_zero(heard), is_alive;
	int64_t home_ns = find_ns(now->latency, now->n_latency, n->home);
	double best = 0, home;
	uint32_t chosen = 0;

	for (size_t i = 0; i < now->n_latency; i++) {
		double ns = best_of(n, now, now->latency[i].region);

		if (chosen == 0 || ns < best) {
			chosen = now->latency[i].region;
			best = ns;
		}
	}
	is_alive = is_known && (!mono_before(heard, n->began) || mono_since_ns(at, heard) <= HEARD_FRESH_S * NS_PER_S);
	if (n->home && chosen && chosen != n->home && (home_ns >= 0 || is_alive)) {
		home = home_ns >= 0 ? (double)home_ns * score_of(n, n->home) : 0;
		if (home - best < (double)(MOVE_MIN_MS * NS_PER_MS) || best > home / 3 * 2)
			return n->home;
	}
	if (!chosen && n->home && is_known && mono_since_ns(at, heard) <= HEARD_KEEP_S * NS_PER_S)
		return n->home;
	return chosen;
}

/* Adds the finished report to the history and drops what is too old. */
static void remember(struct netcheck *n, struct mono now)
{
	struct netcheck_past *p;
	size_t kept = 0;

	for (size_t i = 0; i < n->n_past; i++) {
		bool is_old = mono_since_ns(now, n->past[i].at) > NETCHECK_HISTORY_S * NS_PER_S;

		if (is_old || (i == 0 && n->n_past == NETCHECK_HISTORY_MAX))
			free(n->past[i].lat);
		else
			n->past[kept++] = n->past[i];
	}
	n->n_past = kept;
	p = &n->past[n->n_past];
	p->at = now;
	p->n = n->report.n_latency;
	p->lat = calloc(p->n + 1, sizeof(*p->lat));
	if (!p->lat)
		return; /* a shorter memory */
	if (p->n)
		memcpy(p->lat, n->report.latency, p->n * sizeof(*p->lat));
	n->n_past++;
}

void netcheckreport_finish(struct netcheck *n, struct mono now)
{
	struct netcheck_report *r = &n->now_report;
	struct netcheck_latency *list;
	char text[EP_TEXT_MAX];

	r->wall_ns = env_wall_ns(n->env);
	r->os_has_ipv6 = n->host.os_has_ipv6;
	r->upnp = n->upnp;
	r->pmp = n->pmp;
	r->pcp = n->pcp;
	r->latency = calloc(n->map.n_regions + 1, sizeof(*r->latency));
	/* The map's regions are sorted by id, and so is this. */
	for (size_t i = 0; r->latency && n->regions && i < n->map.n_regions; i++) {
		if (n->regions[i].lat.ns >= 0)
			r->latency[r->n_latency++] = n->regions[i].lat;
	}
	r->preferred = choose_home(n, r, now);
	list = r->latency;
	r->latency = NULL;
	free(n->report.latency);
	n->report = *r;
	n->report.latency = list;
	memset(r, 0, sizeof(*r));
	n->has_report = true;
	remember(n, now);
	if (n->report.preferred)
		n->home = n->report.preferred;
	log_debug(n->env->log, "netcheck: report: udp=%d v4=%d v6=%d mapvarydest=%d v4a=%s derp=%u", n->report.udp,
		  n->report.ipv4, n->report.ipv6, n->report.mapping_varies,
		  ep_is_set(&n->report.global4) ? ep_write(text, &n->report.global4) : "", n->report.preferred);
}

uint32_t netcheck_fallback(const struct derp_map *map, const uint8_t node_key[static 32])
{
	bool any = false;
	size_t n = 0, at;

	for (size_t i = 0; i < map->n_regions; i++)
		any = any || (!map->regions[i].avoid && !map->regions[i].no_measure_no_home);
	for (size_t i = 0; i < map->n_regions; i++)
		n += !any || (!map->regions[i].avoid && !map->regions[i].no_measure_no_home);
	if (n == 0)
		return 0;
	at = ((size_t)node_key[0] << 8 | node_key[1]) % n;
	for (size_t i = 0; i < map->n_regions; i++) {
		if (any && (map->regions[i].avoid || map->regions[i].no_measure_no_home))
			continue;
		if (at-- == 0)
			return map->regions[i].id;
	}
	return 0;
}

struct endpoints {
	struct ep *eps;
	uint8_t *types;
	size_t n, max;
};

static void endpoint_add(struct endpoints *e, const struct ep *ep, enum ep_type type)
{
	if (!ep_is_set(ep) || e->n == e->max)
		return;
	for (size_t i = 0; i < e->n; i++) {
		if (ep_eq(&e->eps[i], ep))
			return;
	}
	e->eps[e->n] = *ep;
	e->types[e->n++] = (uint8_t)type;
}

size_t netcheck_endpoints(const struct netcheck_report *r, uint16_t local_port, struct ep *eps, uint8_t *types,
			  size_t max)
{
	struct endpoints e = { .eps = eps, .types = types, .max = max };
	struct ep guess = r->global4;

	endpoint_add(&e, &r->global4, EP_TYPE_STUN);
	endpoint_add(&e, &r->global6, EP_TYPE_STUN);
	for (size_t i = 0; i < r->n_v4; i++) {
		if (r->v4[i].count > 1)
			endpoint_add(&e, &r->v4[i].ep, EP_TYPE_STUN);
	}
	for (size_t i = 0; i < r->n_v6; i++) {
		if (r->v6[i].count > 1)
			endpoint_add(&e, &r->v6[i].ep, EP_TYPE_STUN);
	}
	guess.port = local_port;
	if (r->mapping_varies == TRI_TRUE && local_port)
		endpoint_add(&e, &guess, EP_TYPE_STUN4_LOCAL_PORT);
	return e.n;
}

static void latency_add(struct hostinfo *h, uint32_t region, unsigned family, int64_t ns)
{
	struct derp_latency *d = &h->derp_latency[h->n_derp_latency];

	if (ns < 0)
		return;
	(void)snprintf(d->key, sizeof(d->key), "%u-v%u", region, family);
	d->seconds = (double)ns / (double)NS_PER_S;
	h->n_derp_latency++;
}

int netcheck_netinfo(const struct netcheck_report *r, struct hostinfo *h)
{
	struct derp_latency *list = calloc(2 * r->n_latency + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	free(h->derp_latency);
	h->derp_latency = list;
	h->n_derp_latency = 0;
	for (size_t i = 0; i < r->n_latency; i++) {
		latency_add(h, r->latency[i].region, 4, r->latency[i].v4_ns);
		latency_add(h, r->latency[i].region, 6, r->latency[i].v6_ns);
	}
	h->has_netinfo = true;
	h->preferred_derp = r->preferred;
	h->working_udp = r->udp ? TRI_TRUE : TRI_FALSE;
	h->working_ipv6 = r->ipv6 ? TRI_TRUE : TRI_FALSE;
	h->os_has_ipv6 = r->os_has_ipv6 ? TRI_TRUE : TRI_FALSE;
	h->mapping_varies = r->mapping_varies;
	h->upnp = r->upnp;
	h->pmp = r->pmp;
	h->pcp = r->pcp;
	return 0;
}
