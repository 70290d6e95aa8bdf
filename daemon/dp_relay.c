/* SPDX-License-Identifier: MIT */
/* The relay's side of the data plane as control drives it: sockets and workers, bound sessions,
 * their figures. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/dp.h"
#include "daemon/dpstate.h"

/* Keeps the counts of a worker that is about to end. */
static void keep_tally(struct dp *dp, const struct dp_tally *t)
{
	if (!dp->past)
		dp->past = calloc(1, sizeof(*dp->past));
	if (!dp->past)
		return; /* totals begin anew: the lesser evil */
	for (int i = 0; i < 2; i++) {
		for (int k = 0; k < 2; k++) {
			counter_add(&dp->past->relay_pkts[i][k], counter_get(&t->relay_pkts[i][k]));
			counter_add(&dp->past->relay_bytes[i][k],
				    counter_get(&t->relay_bytes[i][k]));
		}
	}
	for (int i = 0; i < DP_RELAY_DROP_N; i++)
		counter_add(&dp->past->relay_dropped[i], counter_get(&t->relay_dropped[i]));
	counter_add(&dp->past->relay_rxq_overflow, counter_get(&t->relay_rxq_overflow));
	counter_add(&dp->past->gso_fallbacks, counter_get(&t->gso_fallbacks));
	counter_add(&dp->past->udp_recvs, counter_get(&t->udp_recvs));
	counter_add(&dp->past->udp_sends, counter_get(&t->udp_sends));
}

static void close_forwarders(struct dp *dp)
{
	for (uint32_t i = 0; i < dp->n_forwarders; i++) {
		struct worker *w = forward_worker(dp->forwarders[i]);

		worker_stop(w);
		/* What dp_poll() handed out last is in a ring that goes away. */
		if (dp->held == &w->notes)
			dp->held = NULL;
		keep_tally(dp, &w->tally);
		forward_close(dp->forwarders[i]);
		dp->forwarders[i] = NULL;
	}
	dp->n_forwarders = 0;
	dp->poll_at = 0;
}

int dp_relay_open(struct dp *dp, uint16_t port, char err[static DP_ERR_MAX])
{
	struct forward *set[DP_RELAY_SOCKS_MAX];
	uint32_t n;
	int ret;

	if (port && (port == dp_port(dp, IP_V4) || port == dp_port(dp, IP_V6))) {
		close_forwarders(dp);
		(void)counter_mark_set(&dp->relay_is_shared);
		dp->relay_is_open = true;
		log_info(dp->log, "relay: sharing udp port %u", port);
		return 0;
	}
	if (port && dp->relay_is_open && dp_relay_port(dp, IP_V4) == port)
		return 0;
	ret = forward_open(dp, port, set, &n, err);
	if (ret)
		return ret;
	close_forwarders(dp);
	counter_mark_clear(&dp->relay_is_shared);
	memcpy(dp->forwarders, set, n * sizeof(set[0]));
	dp->n_forwarders = n;
	dp->relay_is_open = true;
	return 0;
}

static void vni_free(struct snapshot_item *item)
{
	struct dp_vni *v = CONTAINER_OF(item, struct dp_vni, item);

	free(snapshot_own(&v->bound));
	free(v);
}

static void bound_free(struct snapshot_item *item)
{
	free(CONTAINER_OF(item, struct dp_bound, item));
}

void dp_relay_close(struct dp *dp)
{
	struct slots_entry *e;
	uint32_t it = 0;

	counter_mark_clear(&dp->relay_is_shared);
	close_forwarders(dp);
	while (dp->snapshot && (e = slots_next(&dp->vnis, &it)))
		dp_relay_del(dp, e->key);
	dp->relay_is_open = false;
}

uint16_t dp_relay_port(const struct dp *dp, enum ip_family family)
{
	const struct usock *s;

	if (!dp->relay_is_open)
		return 0;
	if (!dp->n_forwarders)
		return dp_port(dp, family);
	s = forward_sock(dp->forwarders[0], family);
	return s ? s->port : 0;
}

int dp_relay_set(struct dp *dp, uint32_t vni, const struct dp_relay_side sides[static 2])
{
	struct slots_entry *e = slots_get(&dp->vnis, vni);
	struct dp_bound *bound, *old = NULL;
	struct dp_vni *v;
	int err;

	if (!vni || vni > GENEVE_VNI_MAX || !ep_is_set(&sides[0].ep) || !ep_is_set(&sides[1].ep))
		return -EINVAL;
	bound = calloc(1, sizeof(*bound));
	if (!bound)
		return -ENOMEM;
	for (int i = 0; i < 2; i++) {
		bound->ep[i] = sides[i].ep;
		bound->to[i] = usock_addr(&sides[i].ep);
	}
	if (e) {
		v = CONTAINER_OF(e, struct dp_vni, slot);
		old = snapshot_own(&v->bound);
		snapshot_store(&v->bound, bound);
		counter_set(&v->narrow_size[0], 0);
		counter_set(&v->narrow_size[1], 0);
		snapshot_retire(dp->snapshot, &old->item, bound_free);
		return 0;
	}
	v = calloc(1, sizeof(*v));
	if (!v) {
		free(bound);
		return -ENOMEM;
	}
	v->slot.key = vni;
	snapshot_store(&v->bound, bound);
	err = slots_put(&dp->vnis, &v->slot);
	if (err)
		vni_free(&v->item);
	return err;
}

void dp_relay_del(struct dp *dp, uint32_t vni)
{
	struct slots_entry *e = slots_del(&dp->vnis, vni);

	if (e)
		snapshot_retire(dp->snapshot, &CONTAINER_OF(e, struct dp_vni, slot)->item,
				vni_free);
}

int dp_relay_stats(const struct dp *dp, uint32_t vni, struct dp_relay_stats *st)
{
	const struct slots_entry *e = slots_get(&dp->vnis, vni);
	const struct dp_vni *v;

	if (!e)
		return -ENOENT;
	v = CONTAINER_OF(e, const struct dp_vni, slot);
	for (int i = 0; i < 2; i++) {
		st->pkts[i] = counter_get(&v->pkts[i]);
		st->bytes[i] = counter_get(&v->bytes[i]);
		st->last[i].ns = (int64_t)counter_get(&v->last[i]);
	}
	return 0;
}
