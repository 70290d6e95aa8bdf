/* SPDX-License-Identifier: MIT */
/* Straight from host-network 8 and control-messages 13. */
#include "tests/unit/filterref.h"

#include <stdlib.h>
#include <string.h>

static bool in_range(const struct ip_range *r, const struct ip *ip)
{
	return r->first.family == ip->family && ip_cmp(&r->first, ip) <= 0 &&
	       ip_cmp(ip, &r->last) <= 0;
}

static bool src_matches(const struct filter_cfg *cfg, const struct filter_src *s,
			const struct ip *ip)
{
	if (s->kind == FILTER_SRC_ANY)
		return true;
	if (s->kind == FILTER_SRC_RANGE)
		return in_range(&s->range, ip);
	for (size_t i = 0; i < cfg->n_peers; i++) {
		if (!map_node_has_cap(cfg->peers[i], s->cap))
			continue;
		for (size_t j = 0; j < cfg->peers[i]->n_addrs; j++) {
			if (prefix_contains(&cfg->peers[i]->addrs[j], ip))
				return true;
		}
	}
	return false;
}

static bool proto_listed(const struct filter_rule *r, uint8_t proto)
{
	for (size_t i = 0; i < r->n_protos; i++) {
		if (r->protos[i] == proto)
			return true;
	}
	return r->n_protos == 0 && (proto == 6 || proto == 17 || proto == 1 || proto == 58);
}

/* Is there a rule for the packet? 'addrs_only': protocol and port do not matter. 'port' < 0: all
 * are needed. */
static bool any_rule(const struct filter_cfg *cfg, const struct ip_pkt *pkt, bool addrs_only,
		     int port)
{
	struct ip src = ip_pkt_src(pkt), dst = ip_pkt_dst(pkt);

	for (size_t i = 0; cfg->rules && i < cfg->rules->n_rules; i++) {
		const struct filter_rule *r = &cfg->rules->rules[i];
		bool from = false;

		if (!addrs_only && !proto_listed(r, pkt->proto))
			continue;
		for (size_t j = 0; j < r->n_srcs; j++)
			from |= src_matches(cfg, &r->srcs[j], &src);
		for (size_t j = 0; from && j < r->n_dsts; j++) {
			const struct filter_dst *d = &r->dsts[j];

			if (!d->any && !in_range(&d->range, &dst))
				continue;
			if (addrs_only ||
			    (port < 0 ? d->port_first == 0 && d->port_last == 65535
				      : d->port_first <= port && port <= d->port_last))
				return true;
		}
	}
	return false;
}

static bool is_local(const struct filter_cfg *cfg, const struct ip *dst)
{
	for (size_t i = 0; i < cfg->n_local; i++) {
		if (prefix_contains(&cfg->local[i], dst))
			return true;
	}
	return false;
}

enum filter_verdict filterref_check(const struct filter_cfg *cfg, const struct ip_pkt *pkt,
				    bool jailed)
{
	struct ip dst = ip_pkt_dst(pkt), metadata = ip4(169, 254, 169, 254);
	bool no_rules = jailed || cfg->shields_up, icmp;
	uint8_t t = pkt->icmp_type;

	if (ip_is_multicast(&dst) || (pkt->family == IP_V4 && pkt->dst[0] >= 224))
		return FILTER_DROP_MULTICAST;
	if (ip_is_link_local(&dst) && !ip_eq(&dst, &metadata))
		return FILTER_DROP_LINK_LOCAL;
	if (!is_local(cfg, &dst))
		return FILTER_DROP_NOT_LOCAL;
	if (pkt->frag_off > 0)
		return pkt->frag_off < 80 ? FILTER_DROP_SHORT : FILTER_ACCEPT;
	icmp = pkt->family == IP_V4 ? pkt->proto == 1 : pkt->proto == 58;
	if (!pkt->has_l4 && (icmp || pkt->proto == 6 || pkt->proto == 17 || pkt->proto == 132))
		return FILTER_DROP_SHORT;
	if (pkt->proto == 99)
		return FILTER_ACCEPT;
	if (icmp) {
		if (pkt->family == IP_V4 ? t == 0 || t == 3 || t == 11 || t == 12
					 : t == 129 || t == 1 || t == 2 || t == 3 || t == 4)
			return FILTER_ACCEPT;
		return !no_rules && any_rule(cfg, pkt, true, 0) ? FILTER_ACCEPT : FILTER_DROP_ACL;
	}
	if (pkt->proto == 6 && !cfg->strict_tcp && (pkt->tcp_flags & 0x12) != 0x02)
		return FILTER_ACCEPT;
	if (!no_rules && any_rule(cfg, pkt, false, pkt->has_l4 ? pkt->dst_port : -1))
		return FILTER_ACCEPT;
	if (pkt->proto == 17 || pkt->proto == 132 || (pkt->proto == 6 && cfg->strict_tcp))
		return FILTER_NEEDS_FLOW;
	return FILTER_DROP_ACL;
}

/* --- random worlds --- */

static struct ip make_ip(uint8_t (*next)(void *ctx), void *ctx)
{
	uint8_t k = next(ctx);

	switch (k % 16) {
	case 0:
		return ip4(169, 254, 169, k & 0x20 ? 254 : 1);
	case 1:
		return ip4(k & 0x20 ? 224 : 255, 0, 0, 1);
	case 2:
		return (struct ip){ .family = IP_V6,
				    .b = { k & 0x20 ? 0xff : 0xfe, 0x80, [15] = 1 } };
	case 3:
		return k & 0x20 ? ip4(0, 0, 0, 0) : ip4(255, 255, 255, 255);
	case 4:
		return (struct ip){ .family = IP_V6 };
	default:
		break;
	}
	if (k & 0x80)
		return ip4(100, 64, (uint8_t)(k >> 4 & 1), (uint8_t)(next(ctx) % 12));
	return (struct ip){ .family = IP_V6,
			    .b = { 0xfd, 0x7a, [14] = (uint8_t)(k >> 4 & 1),
				   (uint8_t)(next(ctx) % 12) } };
}

static struct ip_range make_range(uint8_t (*next)(void *ctx), void *ctx)
{
	struct ip_range r = { .first = make_ip(next, ctx), .last = make_ip(next, ctx) };
	struct ip t = r.first;

	if (r.first.family != r.last.family) {
		r.last = r.first;
	} else if (ip_cmp(&r.first, &r.last) > 0) {
		r.first = r.last;
		r.last = t;
	}
	return r;
}

static const uint16_t port_space[] = { 0, 1, 22, 80, 81, 443, 65534, 65535 };

static void *make_array(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		abort();
	return p;
}

static void make_rule(struct filter_rule *r, uint8_t (*next)(void *ctx), void *ctx)
{
	static const uint8_t protos[] = { 1, 6, 17, 58, 132, 50, 99, 0 };

	r->n_srcs = next(ctx) % 4;
	r->srcs = make_array(r->n_srcs, sizeof(*r->srcs));
	for (size_t i = 0; i < r->n_srcs; i++) {
		uint8_t k = next(ctx) % 8;

		r->srcs[i].kind = k == 0   ? FILTER_SRC_ANY
				  : k == 1 ? FILTER_SRC_CAP
					   : FILTER_SRC_RANGE;
		if (r->srcs[i].kind == FILTER_SRC_CAP) {
			r->srcs[i].cap = make_array(2, 1);
			r->srcs[i].cap[0] = (char)('a' + next(ctx) % 3);
		} else if (r->srcs[i].kind == FILTER_SRC_RANGE) {
			r->srcs[i].range = make_range(next, ctx);
		}
	}
	r->n_dsts = next(ctx) % 4;
	r->dsts = make_array(r->n_dsts, sizeof(*r->dsts));
	for (size_t i = 0; i < r->n_dsts; i++) {
		uint16_t a = port_space[next(ctx) % 8], b = port_space[next(ctx) % 8];

		r->dsts[i].any = next(ctx) % 4 == 0;
		if (!r->dsts[i].any)
			r->dsts[i].range = make_range(next, ctx);
		r->dsts[i].port_first = a < b ? a : b;
		r->dsts[i].port_last = a < b ? b : a;
	}
	r->n_protos = next(ctx) % 4;
	r->protos = make_array(r->n_protos, 1);
	for (size_t i = 0; i < r->n_protos; i++)
		r->protos[i] = protos[next(ctx) % 8];
}

static void make_peer(struct map_node *n, uint8_t (*next)(void *ctx), void *ctx)
{
	n->n_addrs = next(ctx) % 3;
	n->addrs = make_array(n->n_addrs, sizeof(*n->addrs));
	for (size_t i = 0; i < n->n_addrs; i++) {
		struct ip ip = make_ip(next, ctx);

		n->addrs[i] = prefix_host(&ip);
	}
	n->n_caps = next(ctx) % 2;
	n->caps = make_array(n->n_caps, sizeof(*n->caps));
	if (n->n_caps) {
		n->caps[0].name = make_array(2, 1);
		n->caps[0].name[0] = (char)('a' + next(ctx) % 3);
	}
}

void filterref_make(struct filterref_world *w, uint8_t (*next)(void *ctx), void *ctx)
{
	uint8_t flags = next(ctx);

	memset(w, 0, sizeof(*w));
	w->rules.n_rules = next(ctx) % 5;
	w->rules.rules = make_array(w->rules.n_rules, sizeof(*w->rules.rules));
	for (size_t i = 0; i < w->rules.n_rules; i++)
		make_rule(&w->rules.rules[i], next, ctx);
	for (size_t i = 0; i < 4; i++) {
		struct ip ip = make_ip(next, ctx);

		w->local[i] = prefix_host(&ip);
		if (i > 1)
			w->local[i].bits = (uint8_t)(next(ctx) % (ip_bits(&ip) + 1));
		w->local[i] = prefix_masked(&w->local[i]);
	}
	for (size_t i = 0; i < 3; i++) {
		make_peer(&w->peers[i], next, ctx);
		w->peer_list[i] = &w->peers[i];
	}
	w->cfg = (struct filter_cfg){
		.rules = flags % 16 == 0 ? NULL : &w->rules,
		.local = w->local,
		.n_local = 4,
		.peers = w->peer_list,
		.n_peers = 3,
		.shields_up = flags % 16 == 1,
		.strict_tcp = flags & 0x80,
	};
}

void filterref_wipe(struct filterref_world *w)
{
	for (size_t i = 0; i < w->rules.n_rules; i++) {
		struct filter_rule *r = &w->rules.rules[i];

		for (size_t j = 0; j < r->n_srcs; j++)
			free(r->srcs[j].cap);
		free(r->srcs);
		free(r->dsts);
		free(r->protos);
	}
	free(w->rules.rules);
	for (size_t i = 0; i < 3; i++) {
		free(w->peers[i].addrs);
		if (w->peers[i].n_caps)
			free(w->peers[i].caps[0].name);
		free(w->peers[i].caps);
	}
}

size_t filterref_packet(uint8_t buf[static 128], uint8_t (*next)(void *ctx), void *ctx)
{
	static const uint8_t protos[] = { 6, 6, 6, 17, 17, 1, 58, 132, 99, 50, 0 };
	static const uint8_t icmp_types[] = { 0, 3, 8, 11, 12, 1, 2, 4, 128, 129, 13, 135 };
	struct ip src = make_ip(next, ctx), dst = make_ip(next, ctx);
	uint8_t proto = protos[next(ctx) % sizeof(protos)];
	size_t l4_size = next(ctx) % 16 == 0 ? next(ctx) % 24 : 24, hdr;
	uint16_t port = port_space[next(ctx) % 8], frag;
	uint8_t *l4;

	memset(buf, 0, 128);
	if (src.family != dst.family)
		src = dst;
	hdr = dst.family == IP_V4 ? 20 : 40;
	frag = next(ctx) % 8 == 0 ? (uint16_t)(next(ctx) % 16) : 0;
	if (dst.family == IP_V4) {
		buf[0] = 0x45;
		buf[3] = (uint8_t)(hdr + l4_size);
		buf[7] = (uint8_t)frag;
		buf[9] = proto;
		memcpy(buf + 12, src.b, 4);
		memcpy(buf + 16, dst.b, 4);
	} else {
		buf[0] = 0x60;
		buf[5] = (uint8_t)l4_size;
		buf[6] = proto;
		memcpy(buf + 8, src.b, 16);
		memcpy(buf + 24, dst.b, 16);
		if (frag) {
			buf[5] = (uint8_t)(l4_size + 8);
			buf[6] = 44;
			buf[40] = proto;
			buf[43] = (uint8_t)(frag << 3);
			hdr += 8;
		}
	}
	l4 = buf + hdr;
	l4[0] = proto == 1 || proto == 58 ? icmp_types[next(ctx) % sizeof(icmp_types)] : 0x30;
	l4[2] = (uint8_t)(port >> 8);
	l4[3] = (uint8_t)port;
	if (proto == 6)
		l4[13] = next(ctx);
	return hdr + l4_size;
}
