/* SPDX-License-Identifier: MIT */
/* The receive buffer of a relay's worker, see relayqueue.h. */
#include "relay/relayqueue.h"

void relayqueue_init(struct relayqueue *q, struct mono now)
{
	*q = (struct relayqueue){ .since = now, .turn = now, .bytes = RELAYQUEUE_MAX };
}

bool relayqueue_add(struct relayqueue *q, struct mono now, int64_t rest_ns, uint64_t n_lost)
{
	const int64_t passed_ns = mono_since_ns(now, q->since);
	const uint32_t was = q->bytes;

	if (mono_since_ns(now, q->turn) - rest_ns >= RELAYQUEUE_GAP_US * NS_PER_US)
		q->has_gap = true;
	q->turn = now;
	q->rest_ns += rest_ns;
	if (passed_ns < RELAYQUEUE_WINDOW_MS * NS_PER_MS)
		return false;
	if (q->has_gap || q->rest_ns >= passed_ns / RELAYQUEUE_CALM_SHARE)
		q->bytes = RELAYQUEUE_MAX;
	else if (q->rest_ns >= passed_ns / RELAYQUEUE_REST_SHARE)
		q->bytes = was < RELAYQUEUE_MAX / 2 ? 2 * was : RELAYQUEUE_MAX;
	else if (n_lost != q->n_lost)
		q->bytes = was / 4 * 3 > RELAYQUEUE_MIN ? was / 4 * 3 : RELAYQUEUE_MIN;
	q->since = now;
	q->has_gap = false;
	q->rest_ns = 0;
	q->n_lost = n_lost;
	return q->bytes != was;
}
