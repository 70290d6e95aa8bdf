/* SPDX-License-Identifier: MIT */
/* What the ladders of one node share. */
#include "path/pathself.h"

#include <string.h>

enum {
	PINGS_BURST = PATHSELF_PINGS_PER_S / 2,
	PONGS_BURST = PATHSELF_PONGS_PER_S / 4,
	UDP_PONG_MS = 6500, /* the trust window */
	SILENT_MAX = 2,
};

void pathself_init(struct pathself *s, struct mono now, const struct node_key *node,
		   const struct env *env)
{
	*s = (struct pathself){ .env = env, .node = *node, .has_udp = true, .has_direct = true };
	bucket_fill(&s->pings, now, PATHSELF_PINGS_PER_S, PINGS_BURST);
	bucket_fill(&s->pongs, now, PATHSELF_PONGS_PER_S, PONGS_BURST);
}

static bool is_same(const struct pathself *s, const struct ep *eps, size_t n)
{
	bool same = n == s->n_eps;

	for (size_t i = 0; same && i < n; i++)
		same = ep_eq(&s->eps[i], &eps[i]);
	return same;
}

void pathself_set_endpoints(struct pathself *s, struct mono now, const struct ep *eps, size_t n)
{
	if (n > PATHSELF_EPS_MAX)
		n = PATHSELF_EPS_MAX;
	if (!is_same(s, eps, n))
		s->n_eps_changes++;
	if (n)
		memcpy(s->eps, eps, n * sizeof(*eps));
	s->n_eps = n;
	s->eps_at = now;
}

static bool has_udp_pong(const struct pathself *s, struct mono now)
{
	return !mono_is_zero(s->udp_pong) && mono_before(now, mono_add_ms(s->udp_pong, UDP_PONG_MS));
}

void pathself_set_stun(struct pathself *s, struct mono now, bool has_answer)
{
	if (has_answer)
		s->n_stun_silent = 0;
	else if (s->n_stun_silent <= SILENT_MAX)
		s->n_stun_silent++;
	if (!has_answer && !pathself_stun_is_hopeless(s, now))
		s->eps_at = MONO_ZERO;
}

bool pathself_stun_is_hopeless(const struct pathself *s, struct mono now)
{
	/* With UDP to peers but never to a STUN server, that one is what is blocked. */
	return s->n_stun_silent > SILENT_MAX || (s->n_stun_silent > 0 && !has_udp_pong(s, now));
}

void pathself_set_ifaddrs(struct pathself *s, const struct ip *addrs, size_t n)
{
	if (n > PATHSELF_IFADDRS_MAX)
		n = PATHSELF_IFADDRS_MAX;
	if (n)
		memcpy(s->ifaddrs, addrs, n * sizeof(*addrs));
	s->n_ifaddrs = n;
}

bool pathself_eps_are_fresh(const struct pathself *s, struct mono now, int64_t ms)
{
	return !mono_is_zero(s->eps_at) && mono_before(now, mono_add_ms(s->eps_at, ms));
}

bool pathself_may_ping(struct pathself *s, struct mono now)
{
	if (bucket_take(&s->pings, now, PATHSELF_PINGS_PER_S, PINGS_BURST, 1))
		return true;
	s->n.drop_ping_limit++;
	return false;
}

bool pathself_may_pong(struct pathself *s, struct mono now)
{
	if (bucket_take(&s->pongs, now, PATHSELF_PONGS_PER_S, PONGS_BURST, 1))
		return true;
	s->n.drop_pong_limit++;
	return false;
}
