/* SPDX-License-Identifier: MIT */
/* Gathering a relay's work, see relaypace.h. */
#include "relay/relaypace.h"

void relaypace_add(struct relaypace *p, struct mono now, uint32_t n_recvs, uint32_t n_bulk)
{
	const int64_t passed_ns = mono_since_ns(now, p->since);
	int64_t want_ns;

	p->n_recvs += n_recvs;
	p->n_bulk += n_bulk;
	if (passed_ns < RELAYPACE_WINDOW_MS * NS_PER_MS)
		return;
	want_ns = p->n_recvs ? passed_ns * RELAYPACE_WANT / p->n_recvs : INT64_MAX;
	if (want_ns > RELAYPACE_MAX_US * NS_PER_US)
		want_ns = RELAYPACE_MAX_US * NS_PER_US;
	p->pause_ns = (uint32_t)want_ns;
	if (want_ns < RELAYPACE_MIN_US * NS_PER_US || p->n_bulk * RELAYPACE_BULK_SHARE >= p->n_recvs ||
	    want_ns * p->n_recvs < passed_ns * RELAYPACE_MIN)
		p->pause_ns = 0;
	p->since = now;
	p->n_recvs = p->n_bulk = 0;
}

bool relayspread_add(struct relayspread *s, struct mono now, uint64_t cpu_ns, uint64_t n_lost)
{
	const int64_t passed_ns = mono_since_ns(now, s->since);
	const uint64_t used_pct = passed_ns > 0 ? (cpu_ns - s->cpu_ns) * 100 / (uint64_t)passed_ns : 0;
	const bool has_lost = n_lost != s->n_lost, was_spread = s->is_spread;

	s->since = now;
	s->cpu_ns = cpu_ns;
	s->n_lost = n_lost;
	if (used_pct >= RELAYSPREAD_DOWN_PCT || has_lost)
		s->calm_since = now;
	if (used_pct >= RELAYSPREAD_UP_PCT || has_lost)
		s->is_spread = true;
	else if (mono_since_ns(now, s->calm_since) >= RELAYSPREAD_HOLD_MS * NS_PER_MS)
		s->is_spread = false;
	return s->is_spread != was_spread;
}
