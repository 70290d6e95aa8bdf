/* SPDX-License-Identifier: MIT */
/* Compiling the map's rules, and judging packets by them. The flow memory is in flow.c.
 *
 * Per family: a sorted list of our destinations, and the rules that can match at all, each with a
 * bitmap of protocols, its destinations and a sorted list of disjoint source ranges. Destinations
 * are few in a filter that is made for one node, so they are tried before the binary search over
 * sources. The common rule "everyone may do everything" is found at compile time and costs one
 * test. */
#include "policy/filter.h"

#include <stdlib.h>
#include <string.h>

#include "base/addr.h"

struct range {
	struct addr first, last;
};

struct dst {
	struct range range;
	uint16_t port_first, port_last;
};

struct ranges {
	struct range *list; /* sorted and disjoint */
	size_t n;
};

struct rule {
	uint8_t protos[32]; /* bitmap */
	struct ranges srcs;
	struct dst *dsts;
	size_t n_dsts;
};

struct family {
	struct ranges local;
	struct rule *rules;
	size_t n_rules;
	bool allows_all; /* TCP, UDP and ICMP from everyone to every destination and port of ours */
};

struct filter {
	struct family v4, v6;
	bool strict_tcp;
};

/* A later fragment that begins before this could still reach into the longest transport header that
 * its first fragment was judged by: IPv4 options and TCP options (RFC 1858, RFC 3128). */
enum { FRAG_OFF_MIN = 80 };

/* --- ranges --- */

static int range_cmp(const void *pa, const void *pb)
{
	const struct range *a = pa, *b = pb;

	return addr_cmp(a->first, b->first);
}

/* Sorts and joins what overlaps or touches. */
static void ranges_normalise(struct ranges *r)
{
	size_t kept = 0;

	if (r->n == 0)
		return;
	qsort(r->list, r->n, sizeof(*r->list), range_cmp);
	for (size_t i = 1; i < r->n; i++) {
		struct range *last = &r->list[kept];
		struct addr next = addr_next(last->last);
		/* A last address that is the greatest of all has no next one. */
		bool touches =
			addr_cmp(r->list[i].first, last->last) <= 0 ||
			(addr_cmp(next, last->last) > 0 && addr_cmp(r->list[i].first, next) == 0);

		if (!touches)
			r->list[++kept] = r->list[i];
		else if (addr_cmp(r->list[i].last, last->last) > 0)
			last->last = r->list[i].last;
	}
	r->n = kept + 1;
}

static bool ranges_have(const struct ranges *r, struct addr a)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (addr_cmp(r->list[mid].last, a) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low < r->n && addr_cmp(r->list[low].first, a) <= 0;
}

static struct range range_all(uint8_t family)
{
	return (struct range){ { 0, 0 }, addr_top(family) };
}

static bool range_contains(const struct range *r, struct addr a)
{
	return addr_cmp(r->first, a) <= 0 && addr_cmp(a, r->last) <= 0;
}

static struct range range_of_prefix(const struct prefix *p)
{
	struct prefix m = prefix_masked(p);
	struct range r;

	r.first = addr_from(m.ip.family, m.ip.b);
	r.last = addr_last(r.first, (unsigned)ip_bits(&m.ip) - m.bits);
	return r;
}

static struct range range_of_ips(const struct ip_range *ips)
{
	return (struct range){ addr_from(ips->first.family, ips->first.b),
			       addr_from(ips->last.family, ips->last.b) };
}

/* --- compiling --- */

/* Appends the addresses of peers that carry the attribute 'cap'. */
static size_t add_cap_srcs(struct range *list, size_t n, const struct filter_cfg *cfg,
			   uint8_t family, const char *cap)
{
	for (size_t i = 0; i < cfg->n_peers; i++) {
		const struct map_node *peer = cfg->peers[i];

		if (!map_node_has_cap(peer, cap))
			continue;
		for (size_t j = 0; j < peer->n_addrs; j++) {
			if (peer->addrs[j].ip.family != family)
				continue;
			if (list)
				list[n] = range_of_prefix(&peer->addrs[j]);
			n++;
		}
	}
	return n;
}

/* Lists the source ranges of one family; with a null 'list' only counts them. */
static size_t list_srcs(struct range *list, const struct filter_cfg *cfg, uint8_t family,
			const struct filter_rule *rule)
{
	size_t n = 0;

	for (size_t i = 0; i < rule->n_srcs; i++) {
		const struct filter_src *src = &rule->srcs[i];

		switch (src->kind) {
		case FILTER_SRC_ANY:
			if (list)
				list[n] = range_all(family);
			n++;
			break;
		case FILTER_SRC_RANGE:
			if (src->range.first.family != family)
				break;
			if (list)
				list[n] = range_of_ips(&src->range);
			n++;
			break;
		case FILTER_SRC_CAP:
			n = add_cap_srcs(list, n, cfg, family, src->cap);
			break;
		}
	}
	return n;
}

static size_t list_dsts(struct dst *list, uint8_t family, const struct filter_rule *rule)
{
	size_t n = 0;

	for (size_t i = 0; i < rule->n_dsts; i++) {
		const struct filter_dst *d = &rule->dsts[i];

		if (!d->any && d->range.first.family != family)
			continue;
		if (list) {
			list[n].range = d->any ? range_all(family) : range_of_ips(&d->range);
			list[n].port_first = d->port_first;
			list[n].port_last = d->port_last;
		}
		n++;
	}
	return n;
}

static void set_proto(struct rule *r, uint8_t proto)
{
	r->protos[proto / 8] |= (uint8_t)(1u << proto % 8);
}

static bool has_proto(const struct rule *r, uint8_t proto)
{
	return r->protos[proto / 8] >> proto % 8 & 1;
}

static void set_protos(struct rule *r, const struct filter_rule *rule)
{
	static const uint8_t defaults[] = { IP_PKT_TCP, IP_PKT_UDP, IP_PKT_ICMP, IP_PKT_ICMP6 };
	const uint8_t *protos = rule->n_protos ? rule->protos : defaults;
	size_t n = rule->n_protos ? rule->n_protos : sizeof(defaults);

	for (size_t i = 0; i < n; i++)
		set_proto(r, protos[i]);
}

/* Does the rule let TCP and UDP of all ports go from everyone to all our addresses? ICMP then
 * follows. */
static bool rule_allows_all(const struct rule *r, const struct family *f, uint8_t family)
{
	if (!has_proto(r, IP_PKT_TCP) || !has_proto(r, IP_PKT_UDP) || r->srcs.n != 1 ||
	    addr_cmp(r->srcs.list[0].first, range_all(family).first) != 0 ||
	    addr_cmp(r->srcs.list[0].last, addr_top(family)) != 0)
		return false;
	for (size_t i = 0; i < f->local.n; i++) {
		bool covered = false;

		for (size_t j = 0; j < r->n_dsts; j++)
			covered |= r->dsts[j].port_first == 0 && r->dsts[j].port_last == 65535 &&
				   range_contains(&r->dsts[j].range, f->local.list[i].first) &&
				   range_contains(&r->dsts[j].range, f->local.list[i].last);
		if (!covered)
			return false;
	}
	return true;
}

/* Compiles one rule for one family into '*r'. Returns false if out of memory; a rule that can match
 * nothing has no destinations. */
static bool compile_rule(struct rule *r, const struct filter_cfg *cfg, uint8_t family,
			 const struct filter_rule *rule)
{
	size_t n_srcs = list_srcs(NULL, cfg, family, rule), n_dsts = list_dsts(NULL, family, rule);

	memset(r, 0, sizeof(*r));
	if (n_srcs == 0 || n_dsts == 0)
		return true;
	r->srcs.list = calloc(n_srcs, sizeof(*r->srcs.list));
	r->dsts = calloc(n_dsts, sizeof(*r->dsts));
	if (!r->srcs.list || !r->dsts) {
		free(r->srcs.list);
		free(r->dsts);
		return false;
	}
	r->srcs.n = list_srcs(r->srcs.list, cfg, family, rule);
	ranges_normalise(&r->srcs);
	r->n_dsts = list_dsts(r->dsts, family, rule);
	set_protos(r, rule);
	return true;
}

static bool compile_local(struct family *f, const struct filter_cfg *cfg, uint8_t family)
{
	f->local.list = calloc(cfg->n_local + 1, sizeof(*f->local.list));
	if (!f->local.list)
		return false;
	for (size_t i = 0; i < cfg->n_local; i++) {
		if (cfg->local[i].ip.family == family)
			f->local.list[f->local.n++] = range_of_prefix(&cfg->local[i]);
	}
	ranges_normalise(&f->local);
	return true;
}

static bool compile_family(struct family *f, const struct filter_cfg *cfg, uint8_t family)
{
	size_t n = cfg->rules && !cfg->shields_up ? cfg->rules->n_rules : 0;

	if (!compile_local(f, cfg, family))
		return false;
	f->rules = calloc(n + 1, sizeof(*f->rules));
	if (!f->rules)
		return false;
	for (size_t i = 0; i < n; i++) {
		struct rule *r = &f->rules[f->n_rules];

		if (!compile_rule(r, cfg, family, &cfg->rules->rules[i]))
			return false;
		if (r->n_dsts == 0)
			continue;
		f->n_rules++;
		f->allows_all |= rule_allows_all(r, f, family);
	}
	return true;
}

static void family_wipe(struct family *f)
{
	for (size_t i = 0; i < f->n_rules; i++) {
		free(f->rules[i].srcs.list);
		free(f->rules[i].dsts);
	}
	free(f->rules);
	free(f->local.list);
}

struct filter *filter_new(const struct filter_cfg *cfg)
{
	struct filter *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->strict_tcp = cfg->strict_tcp;
	if (!compile_family(&f->v4, cfg, IP_V4) || !compile_family(&f->v6, cfg, IP_V6)) {
		filter_free(f);
		return NULL;
	}
	return f;
}

void filter_free(struct filter *f)
{
	if (!f)
		return;
	family_wipe(&f->v4);
	family_wipe(&f->v6);
	free(f);
}

/* --- judging --- */

/* What a rule must have besides the address pair. */
enum match_kind {
	MATCH_ADDRS,     /* nothing: ICMP */
	MATCH_PORT,      /* protocol and destination port */
	MATCH_ALL_PORTS, /* protocol, and no limit of ports */
};

static bool dst_matches(const struct dst *d, struct addr a, uint16_t port, enum match_kind kind)
{
	if (!range_contains(&d->range, a))
		return false;
	switch (kind) {
	case MATCH_ADDRS:
		return true;
	case MATCH_PORT:
		return d->port_first <= port && port <= d->port_last;
	case MATCH_ALL_PORTS:
		return d->port_first == 0 && d->port_last == 65535;
	}
	return false;
}

static bool rules_match(const struct family *f, const struct ip_pkt *pkt, struct addr dst,
			enum match_kind kind)
{
	struct addr src = addr_from(pkt->family, pkt->src);

	for (size_t i = 0; i < f->n_rules; i++) {
		const struct rule *r = &f->rules[i];

		if (kind != MATCH_ADDRS && !has_proto(r, pkt->proto))
			continue;
		for (size_t j = 0; j < r->n_dsts; j++) {
			if (!dst_matches(&r->dsts[j], dst, pkt->dst_port, kind))
				continue;
			if (ranges_have(&r->srcs, src))
				return true;
			break; /* the sources are the same for every destination */
		}
	}
	return false;
}

static bool is_multicast(const struct ip_pkt *pkt)
{
	/* The broadcast address goes with it. */
	return pkt->family == IP_V4 ? pkt->dst[0] >= 224 : pkt->dst[0] == 0xff;
}

static bool is_link_local(const struct ip_pkt *pkt)
{
	static const uint8_t metadata[4] = { 169, 254, 169, 254 };

	if (pkt->family == IP_V6)
		return pkt->dst[0] == 0xfe && (pkt->dst[1] & 0xc0) == 0x80;
	return pkt->dst[0] == 169 && pkt->dst[1] == 254 && memcmp(pkt->dst, metadata, 4) != 0;
}

/* Answers that nobody sends unasked: an echo reply, or an error about a packet of ours. */
static bool is_icmp_answer(const struct ip_pkt *pkt)
{
	if (pkt->family == IP_V4)
		return pkt->icmp_type == 0 || pkt->icmp_type == 3 || pkt->icmp_type == 11 ||
		       pkt->icmp_type == 12;
	return pkt->icmp_type == 129 || (pkt->icmp_type >= 1 && pkt->icmp_type <= 4);
}

static bool is_icmp(const struct ip_pkt *pkt)
{
	return pkt->proto == (pkt->family == IP_V4 ? IP_PKT_ICMP : IP_PKT_ICMP6);
}

/* A destination of ours, no later fragment: by protocol. 'f' is null for a jailed peer: there are
 * no rules. */
static enum filter_verdict check_proto(const struct family *f, const struct ip_pkt *pkt,
				       struct addr dst, bool strict_tcp)
{
	enum filter_verdict unmatched = FILTER_DROP_ACL;

	switch (pkt->proto) {
	case IP_PKT_TSMP:
		return FILTER_ACCEPT;
	case IP_PKT_TCP:
		if (!pkt->has_l4)
			return FILTER_DROP_SHORT;
		if (!strict_tcp && !ip_pkt_is_syn(pkt))
			return FILTER_ACCEPT;
		if (strict_tcp)
			unmatched = FILTER_NEEDS_FLOW;
		break;
	case IP_PKT_UDP:
	case IP_PKT_SCTP:
		if (!pkt->has_l4)
			return FILTER_DROP_SHORT;
		unmatched = FILTER_NEEDS_FLOW;
		break;
	default:
		break;
	}
	if (is_icmp(pkt)) {
		if (!pkt->has_l4)
			return FILTER_DROP_SHORT;
		if (is_icmp_answer(pkt))
			return FILTER_ACCEPT;
		return f && rules_match(f, pkt, dst, MATCH_ADDRS) ? FILTER_ACCEPT : unmatched;
	}
	if (!f)
		return unmatched;
	return rules_match(f, pkt, dst, pkt->has_l4 ? MATCH_PORT : MATCH_ALL_PORTS) ? FILTER_ACCEPT
										    : unmatched;
}

enum filter_verdict filter_check(const struct filter *f, const struct ip_pkt *pkt, bool jailed)
{
	const struct family *fam;
	struct addr dst;

	if (!f)
		return FILTER_DROP_ACL;
	if (is_multicast(pkt))
		return FILTER_DROP_MULTICAST;
	if (is_link_local(pkt))
		return FILTER_DROP_LINK_LOCAL;
	fam = pkt->family == IP_V4 ? &f->v4 : &f->v6;
	dst = addr_from(pkt->family, pkt->dst);
	if (!ranges_have(&fam->local, dst))
		return FILTER_DROP_NOT_LOCAL;
	if (pkt->frag_off > 0)
		return pkt->frag_off < FRAG_OFF_MIN ? FILTER_DROP_SHORT : FILTER_ACCEPT;
	if (fam->allows_all && !jailed && pkt->has_l4 &&
	    (pkt->proto == IP_PKT_TCP || pkt->proto == IP_PKT_UDP || is_icmp(pkt)))
		return FILTER_ACCEPT;
	return check_proto(jailed ? NULL : fam, pkt, dst, f->strict_tcp);
}

const char *filter_verdict_name(enum filter_verdict v)
{
	switch (v) {
	case FILTER_ACCEPT:
		return "accept";
	case FILTER_NEEDS_FLOW:
		return "needs_flow";
	case FILTER_DROP_MULTICAST:
		return "multicast";
	case FILTER_DROP_LINK_LOCAL:
		return "link_local";
	case FILTER_DROP_NOT_LOCAL:
		return "not_local";
	case FILTER_DROP_SHORT:
		return "short";
	case FILTER_DROP_ACL:
		return "acl";
	case FILTER_N_VERDICTS:
		break;
	}
	return "unknown";
}

bool filter_flow_key(const struct filter *f, const struct ip_pkt *pkt, bool inbound,
		     struct flow_key *key)
{
	size_t size = pkt->family == IP_V4 ? 4 : 16;
	bool is_kept = pkt->proto == IP_PKT_UDP || pkt->proto == IP_PKT_SCTP ||
		       (pkt->proto == IP_PKT_TCP && f && f->strict_tcp);

	if (!is_kept || !pkt->has_l4)
		return false;
	memset(key, 0, sizeof(*key));
	memcpy(key->src, inbound ? pkt->dst : pkt->src, size);
	memcpy(key->dst, inbound ? pkt->src : pkt->dst, size);
	key->src_port = inbound ? pkt->dst_port : pkt->src_port;
	key->dst_port = inbound ? pkt->src_port : pkt->dst_port;
	key->proto = pkt->proto;
	key->family = pkt->family;
	return true;
}
