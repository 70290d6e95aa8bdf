/* SPDX-License-Identifier: MIT */
/* A data plane in miniature. */
#include "tests/sim/wdp.h"

#include <assert.h>
#include <string.h>

#include "policy/filter.h"
#include "wg/routes.h"
#include "wire/ip.h"
#include "wire/wgmsg.h"

void wdp_init(struct wdp *d)
{
	*d = (struct wdp){ .crypto = { .aead = &aead_sodium } };
	d->flows = flows_new(256);
	assert(d->flows);
}

void wdp_wipe(struct wdp *d)
{
	for (size_t i = 0; i < d->n_keys; i++)
		keypair_put(d->keys[i]);
	routes_free(d->routes);
	filter_free(d->filter);
	flows_free(d->flows);
	memset(d, 0, sizeof(*d));
}

struct wdp_peer *wdp_peer(struct wdp *d, struct peer_id id)
{
	struct wdp_peer *p = id.index < WDP_PEERS_MAX ? &d->peers[id.index] : NULL;

	return p && peer_id_eq(p->id, id) ? p : NULL;
}

void wdp_view(struct wdp *d, const struct engine_view *v)
{
	struct wdp_peer old[WDP_PEERS_MAX];

	memcpy(old, d->peers, sizeof(old));
	if (!v->is_change)
		memset(d->peers, 0, sizeof(d->peers));
	for (size_t i = 0; i < v->n_gone; i++) {
		assert(v->gone[i].index < WDP_PEERS_MAX &&
		       peer_id_eq(d->peers[v->gone[i].index].id, v->gone[i]));
		memset(&d->peers[v->gone[i].index], 0, sizeof(d->peers[0]));
	}
	for (size_t i = 0; i < v->n_peers; i++) {
		const struct engine_view_peer *vp = &v->peers[i];

		assert(vp->id.index < WDP_PEERS_MAX);
		if (peer_id_eq(old[vp->id.index].id, vp->id))
			d->peers[vp->id.index] = old[vp->id.index];
		d->peers[vp->id.index].id = vp->id;
		d->peers[vp->id.index].is_jailed = vp->is_jailed;
	}
	routes_free(d->routes);
	d->routes = v->routes;
	if (v->is_change)
		return;
	filter_free(d->filter);
	d->filter = v->filter;
}

void wdp_path(struct wdp *d, struct peer_id id, const struct path_addr *targets, size_t n)
{
	struct wdp_peer *p = id.index < WDP_PEERS_MAX ? &d->peers[id.index] : NULL;

	if (!p)
		return;
	if (!peer_id_eq(p->id, id)) /* the path may come before the view */
		*p = (struct wdp_peer){ .id = id };
	memcpy(p->targets, targets, n * sizeof(*targets));
	p->n_targets = n;
}

static struct keypair *find_key(const struct wdp *d, uint32_t local_index)
{
	for (size_t i = 0; i < d->n_keys; i++)
		if (d->keys[i]->local_index == local_index)
			return d->keys[i];
	return NULL;
}

void wdp_key_install(struct wdp *d, struct keypair *kp)
{
	assert(d->n_keys < WDP_KEYS_MAX && !find_key(d, kp->local_index));
	d->keys[d->n_keys++] = kp;
}

void wdp_key_drop(struct wdp *d, uint32_t local_index)
{
	for (size_t i = 0; i < WDP_PEERS_MAX; i++)
		if (d->peers[i].use == local_index)
			d->peers[i].use = 0;
	for (size_t i = 0; i < d->n_keys; i++) {
		if (d->keys[i]->local_index != local_index)
			continue;
		keypair_put(d->keys[i]);
		d->keys[i] = d->keys[--d->n_keys];
		return;
	}
}

void wdp_key_use(struct wdp *d, struct peer_id id, uint32_t local_index)
{
	struct wdp_peer *p = wdp_peer(d, id);

	if (p)
		p->use = local_index;
}

struct wdp_peer *wdp_route(struct wdp *d, const struct ip *ip)
{
	const uint32_t i = d->routes ? routes_lookup(d->routes, ip->family, ip->b) : ROUTES_NONE;

	return i < WDP_PEERS_MAX && peer_id_is_set(d->peers[i].id) ? &d->peers[i] : NULL;
}

static void note_flow(struct wdp *d, struct mono now, const uint8_t *plain, size_t size)
{
	struct ip_pkt pkt;
	struct flow_key key;

	if (d->filter && ip_pkt_parse(&pkt, plain, size) == 0 &&
	    filter_flow_key(d->filter, &pkt, false, &key))
		flows_note(d->flows, now, &key, flow_key_hash(&key, d->flow_seed));
}

struct wdp_result wdp_seal(struct wdp *d, struct mono now, struct wdp_peer *p, const uint8_t *plain,
			   size_t size, uint8_t buf[static WDP_PACKET_MAX])
{
	struct wdp_result r = { .verdict = WDP_WANT, .peer = p };
	struct keypair *kp = p->use ? find_key(d, p->use) : NULL;
	struct keypair_pkt pkt = { .data = buf + WGMSG_DATA_HDR_SIZE, .size = (uint32_t)size };
	uint64_t counter;

	assert(size + WGMSG_DATA_OVERHEAD + WGMSG_PADDING <= WDP_PACKET_MAX);
	if (size)
		note_flow(d, now, plain, size);
	if (!kp || keypair_reserve(kp, now, 1, &counter) != 0)
		return r;
	if (size)
		memcpy(pkt.data, plain, size);
	if (keypair_seal_n(kp, 0, &d->thread, 0, counter, &pkt, 1) != 1) {
		r.verdict = WDP_DROP;
		return r;
	}
	r.verdict = WDP_SEND;
	r.data = buf;
	r.size = pkt.size;
	r.tell_key = keypair_note_sent(kp, now, 1, pkt.size, size > 0);
	p->activity.sent = true;
	p->activity.sent_data |= size > 0;
	p->activity.tx_bytes += pkt.size;
	return r;
}

/* Inner source, then filter: the order is fixed (ARCHITECTURE 6). */
static enum wdp_verdict judge(struct wdp *d, struct mono now, const struct wdp_peer *p,
			      const uint8_t *data, size_t *size)
{
	struct ip_pkt pkt;
	struct flow_key key;
	struct ip src;

	if (ip_pkt_parse(&pkt, data, *size) != 0)
		return WDP_DROP;
	*size = pkt.size;
	src = ip_pkt_src(&pkt);
	if (wdp_route(d, &src) != p) {
		d->drop_source++;
		return WDP_DROP;
	}
	if (pkt.proto == IP_PKT_TSMP)
		return WDP_TSMP;
	switch (filter_check(d->filter, &pkt, p->is_jailed)) {
	case FILTER_ACCEPT:
		return WDP_DELIVER;
	case FILTER_NEEDS_FLOW:
		if (filter_flow_key(d->filter, &pkt, true, &key) &&
		    flows_allow(d->flows, now, &key, flow_key_hash(&key, d->flow_seed)))
			return WDP_DELIVER;
		break;
	case FILTER_DROP_MULTICAST:
	case FILTER_DROP_LINK_LOCAL:
	case FILTER_DROP_NOT_LOCAL:
	case FILTER_DROP_SHORT:
	case FILTER_DROP_ACL:
	case FILTER_N_VERDICTS:
		break;
	}
	d->drop_acl++;
	return WDP_DROP;
}

struct wdp_result wdp_open(struct wdp *d, struct mono now, const struct path_addr *from,
			   uint8_t *msg, size_t size)
{
	struct wdp_result r = { .verdict = WDP_DROP };
	struct keypair *kp = size >= WGMSG_DATA_MIN ? find_key(d, wgmsg_le32(msg + 4)) : NULL;
	struct keypair_pkt pkt = { .data = msg, .size = (uint32_t)size };

	if (!kp || keypair_open_n(kp, 0, &d->thread, now, &pkt, 1) != 1) {
		d->drop_auth++;
		return r;
	}
	if (replay_accept(&kp->replay, pkt.counter) != 0) {
		d->drop_replay++;
		return r;
	}
	r.peer = wdp_peer(d, kp->peer);
	if (!r.peer)
		return r;
	r.tell_key = keypair_note_received(kp, now, 1, size, pkt.size > 0);
	r.tell_path = !path_eq(&r.peer->rx_path, from);
	r.peer->rx_path = *from;
	r.peer->activity.received[from->kind] = true;
	r.peer->activity.rx_bytes += size;
	r.data = pkt.data;
	r.size = pkt.size;
	r.verdict = pkt.size == 0 ? WDP_KEEPALIVE : judge(d, now, r.peer, r.data, &r.size);
	return r;
}

bool wdp_activity(struct wdp_peer *p, struct mono now, struct engine_activity *a)
{
	if (!p->activity.tx_bytes && !p->activity.rx_bytes)
		return false;
	if (!mono_is_zero(p->noted) && mono_before(now, mono_add_ms(p->noted, WDP_NOTE_MS)))
		return false;
	*a = p->activity;
	p->activity = (struct engine_activity){ .sent = false };
	p->noted = now;
	return true;
}
