/* SPDX-License-Identifier: MIT */
/* Splitting and gathering of super-packets: virtio-net segmentation semantics in plain C. */
#include "wire/offload.h"

#include <errno.h>
#include <string.h>

enum {
	TCP_SEQ = 4,
	TCP_OFF = 12,
	TCP_FLAGS = 13,
	TCP_CSUM = 16,
	TCP_MIN = 20,
	UDP_LEN = 4,
	UDP_CSUM = 6,
	UDP_SIZE = 8,
	IP4_LEN = 2,
	IP4_ID = 4,
	IP4_FRAG = 6,
	IP4_DF = 0x40,
	IP6_LEN = 4,
	CHAIN_MAX = 8, /* groups of one bucket that are looked at */
};

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

/* Source and destination lie behind each other in both families. */
static const uint8_t *addrs_of(const uint8_t *pkt, uint8_t family)
{
	return pkt + (family == IP_V4 ? 12 : 8);
}

static size_t addr_size(uint8_t family)
{
	return family == IP_V4 ? 4 : 16;
}

static uint64_t pseudo_of(const uint8_t *pkt, uint8_t family, uint8_t proto, uint32_t l4_size)
{
	const uint8_t *src = addrs_of(pkt, family);

	return ip_csum_pseudo(family, src, src + addr_size(family), proto, l4_size);
}

/* Lengths in the IP header of a packet of 'size' bytes, and the IPv4 header checksum. */
static void set_ip_size(uint8_t *pkt, uint8_t family, uint32_t size)
{
	if (family == IP_V4) {
		put16(pkt + IP4_LEN, size);
		ip_csum_ip4_set(pkt, (size_t)(pkt[0] & 15) * 4);
	} else {
		put16(pkt + IP6_LEN, size - IP6_HDR_SIZE);
	}
}

/* --- splitting --- */

/* NEEDS_CSUM: the field holds the folded sum of the pseudo-header; the rest is to be added. */
static int complete_csum(const struct offload_hdr *hdr, uint8_t *pkt, size_t size)
{
	const size_t start = hdr->csum_start, field = start + hdr->csum_offset;
	uint16_t csum;

	if (field + 2 > size || start < IP4_HDR_SIZE)
		return -EBADMSG;
	csum = ip_csum_fold(ip_csum_add(0, pkt + start, size - start));
	/* In UDP zero means "none" and its complement is the same number; TCP does not mind. */
	if (!csum)
		csum = 0xffff;
	memcpy(pkt + field, &csum, sizeof(csum));
	return 0;
}

/* Where the headers end, by transport protocol; 0 if they do not fit. */
static uint32_t header_end(const uint8_t *pkt, size_t size, uint32_t l4, uint8_t proto)
{
	uint32_t n;

	if (proto == IP_PKT_UDP)
		return l4 + UDP_SIZE <= size ? l4 + UDP_SIZE : 0;
	if (l4 + TCP_MIN > size)
		return 0;
	n = (uint32_t)(pkt[l4 + TCP_OFF] >> 4) * 4;
	return n >= TCP_MIN && l4 + n <= size ? l4 + n : 0;
}

/* Is the super-packet what the header says it is: that protocol in that family, whole, with the
 * transport header where it says? */
static bool is_told_right(const struct offload_split *t, const struct offload_hdr *hdr,
			  const uint8_t *pkt)
{
	struct ip_pkt ip;

	if (ip_pkt_parse(&ip, pkt, t->size) < 0 || ip.is_frag || ip.size != t->size ||
	    ip.proto != t->proto || ip.l4 != t->l4)
		return false;
	return (hdr->flags & OFFLOAD_NEEDS_CSUM) != 0 || ip_csum_l4_ok(&ip);
}

int offload_split_init(struct offload_split *s, const struct offload_hdr *hdr, uint8_t *pkt,
		       size_t size)
{
	const unsigned type = hdr->gso_type & ~(unsigned)OFFLOAD_GSO_ECN;
	struct offload_split t = { .pkt = pkt, .size = (uint32_t)size, .n_segs = 1 };
	uint32_t payload;

	if (size < IP4_HDR_SIZE || size > IP_PKT_SIZE_MAX)
		return -EBADMSG;
	t.family = pkt[0] >> 4 == 4 ? IP_V4 : pkt[0] >> 4 == 6 ? IP_V6 : IP_NONE;
	t.hdr_size = t.size;
	if (type == OFFLOAD_GSO_NONE) {
		const int err = hdr->flags & OFFLOAD_NEEDS_CSUM ? complete_csum(hdr, pkt, size) : 0;

		if (!err)
			*s = t;
		return err;
	}
	if (t.family == IP_NONE || (type == OFFLOAD_GSO_TCP4 && t.family != IP_V4) ||
	    (type == OFFLOAD_GSO_TCP6 && t.family != IP_V6) ||
	    (type != OFFLOAD_GSO_TCP4 && type != OFFLOAD_GSO_TCP6 && type != OFFLOAD_GSO_UDP))
		return -EBADMSG;
	t.proto = type == OFFLOAD_GSO_UDP ? IP_PKT_UDP : IP_PKT_TCP;
	/* IPv4 tells where its header ends; behind IPv6 there may be extension headers, which only
	 * the sender of this header has walked. */
	t.l4 = t.family == IP_V4 ? (uint32_t)(pkt[0] & 15) * 4 : hdr->csum_start;
	if (t.l4 < (t.family == IP_V4 ? IP4_HDR_SIZE : IP6_HDR_SIZE) || !hdr->gso_size)
		return -EBADMSG;
	t.hdr_size = header_end(pkt, size, t.l4, t.proto);
	if (!t.hdr_size || t.hdr_size >= size || !is_told_right(&t, hdr, pkt))
		return -EBADMSG;
	payload = t.size - t.hdr_size;
	t.seg_size = hdr->gso_size;
	t.n_segs = (payload + t.seg_size - 1) / t.seg_size;
	if (t.n_segs == 1)
		t.seg_size = payload;
	*s = t;
	return 0;
}

static void fix_tcp(const struct offload_split *s, uint8_t *tcp, uint32_t i)
{
	put32(tcp + TCP_SEQ, get32(s->pkt + s->l4 + TCP_SEQ) + i * s->seg_size);
	if (i + 1 < s->n_segs)
		tcp[TCP_FLAGS] &= (uint8_t) ~(IP_PKT_FIN | IP_PKT_PSH);
	/* CWR answers one ECN echo once (RFC 3168 6.1.2). */
	if (i > 0)
		tcp[TCP_FLAGS] &= (uint8_t)~IP_PKT_CWR;
}

static void fix_headers(const struct offload_split *s, uint8_t *dst, uint32_t i, uint32_t size)
{
	const uint32_t l4_size = size - s->l4;
	uint8_t *l4 = dst + s->l4, *field;
	uint16_t csum = 0;

	if (s->family == IP_V4)
		put16(dst + IP4_ID, get16(s->pkt + IP4_ID) + i);
	set_ip_size(dst, s->family, size);
	if (s->proto == IP_PKT_TCP) {
		fix_tcp(s, l4, i);
		field = l4 + TCP_CSUM;
	} else {
		put16(l4 + UDP_LEN, l4_size);
		field = l4 + UDP_CSUM;
	}
	memcpy(field, &csum, sizeof(csum));
	csum = ip_csum_fold(ip_csum_add(pseudo_of(dst, s->family, s->proto, l4_size), l4, l4_size));
	if (!csum)
		csum = 0xffff;
	memcpy(field, &csum, sizeof(csum));
}

uint32_t offload_split_next(struct offload_split *s, uint8_t *dst)
{
	const uint32_t i = s->next, at = s->hdr_size + i * s->seg_size;
	uint32_t n;

	if (i >= s->n_segs)
		return 0;
	s->next++;
	if (!s->proto) {
		memcpy(dst, s->pkt, s->size);
		return s->size;
	}
	n = s->size - at < s->seg_size ? s->size - at : s->seg_size;
	memcpy(dst, s->pkt, s->hdr_size);
	memcpy(dst + s->hdr_size, s->pkt + at, n);
	fix_headers(s, dst, i, s->hdr_size + n);
	return s->hdr_size + n;
}

/* --- gathering --- */

void offload_gro_begin(struct offload_gro *g, bool use_tcp, bool use_udp)
{
	g->use_tcp = use_tcp;
	g->use_udp = use_udp;
	g->n_pkts = g->n_groups = g->n_bad_csums = 0;
	memset(g->buckets, 0xff, sizeof(g->buckets));
	g->has_barriers = false;
}

static uint32_t fold_hash(uint32_t h)
{
	h ^= h >> 15;
	return (h ^ h >> 7) % OFFLOAD_BUCKETS;
}

/* Flows of one peer differ in the last bytes of addresses and in ports. A peer that makes them collide
 * only loses its own gathering. */
static uint32_t hash_addrs(const uint8_t *pkt, uint8_t family)
{
	const uint8_t *a = addrs_of(pkt, family);

	return get32(a + addr_size(family) - 4) + get32(a + 2 * addr_size(family) - 4) * 31;
}

static uint32_t bucket_of(const uint8_t *pkt, const struct ip_pkt *ip)
{
	const uint32_t ports = get32(pkt + ip->l4) * UINT32_C(0x9e3779b1);

	return fold_hash(ports ^ hash_addrs(pkt, ip->family));
}

static bool is_same_flow(const struct offload_gro *g, const struct offload_group *grp,
			 const uint8_t *pkt, const struct ip_pkt *ip)
{
	const uint8_t *first = g->pkts[grp->first].data;

	return grp->family == ip->family && grp->proto == ip->proto && grp->l4 == ip->l4 &&
	       memcmp(addrs_of(first, ip->family), addrs_of(pkt, ip->family),
		      2 * addr_size(ip->family)) == 0 &&
	       memcmp(first + ip->l4, pkt + ip->l4, 4) == 0;
}

/* Type of service, flow label, hop limit and fragment flags must be equal; options and extension
 * headers are never gathered, so the lengths of these headers are fixed. */
static bool is_same_ip(const uint8_t *a, const uint8_t *b, const struct offload_group *grp)
{
	if (grp->family == IP_V6)
		return memcmp(a, b, 4) == 0 && memcmp(a + 6, b + 6, 2) == 0;
	if (memcmp(a, b, 2) != 0 || memcmp(a + 6, b + 6, 3) != 0)
		return false;
	/* Identifications count up, as splitting makes them; without fragmentation a constant one
	 * will do (RFC 6864 4.1). */
	return get16(b + IP4_ID) == grp->next_id ||
	       ((a[IP4_FRAG] & IP4_DF) && get16(b + IP4_ID) == get16(a + IP4_ID));
}

static bool is_same_tcp(const uint8_t *a, const uint8_t *b, size_t hdr_size)
{
	/* Acknowledgement number, data offset, window, urgent pointer, options; flags but for PSH.
	 */
	return memcmp(a + 8, b + 8, 5) == 0 && memcmp(a + 14, b + 14, 2) == 0 &&
	       memcmp(a + 18, b + 18, hdr_size - 18) == 0;
}

/* Payload that may be gathered and the headers' size; false for packets that always go alone. */
static bool is_candidate(const struct offload_gro *g, const uint8_t *pkt, const struct ip_pkt *ip,
			 uint16_t *hdr_size)
{
	const uint16_t plain = ip->family == IP_V4 ? IP4_HDR_SIZE : IP6_HDR_SIZE;
	uint32_t end;

	if (ip->is_frag || !ip->has_l4 || ip->l4 != plain ||
	    (ip->family == IP_V4 && (pkt[IP4_FRAG] & 0x80)))
		return false;
	if (ip->proto == IP_PKT_TCP) {
		if (!g->use_tcp || (ip->tcp_flags & ~IP_PKT_PSH) != IP_PKT_ACK)
			return false;
	} else if (!g->use_udp || !g->use_tcp || ip->proto != IP_PKT_UDP ||
		   ip->l4 + UDP_SIZE > ip->size ||
		   get16(pkt + ip->l4 + UDP_LEN) != ip->size - ip->l4 ||
		   !get16(pkt + ip->l4 + UDP_CSUM)) {
		return false;
	}
	end = header_end(pkt, ip->size, ip->l4, ip->proto);
	if (!end || end >= ip->size)
		return false;
	*hdr_size = (uint16_t)end;
	return true;
}

static uint32_t max_pkts(uint8_t proto)
{
	return proto == IP_PKT_UDP ? OFFLOAD_UDP_PKTS_MAX : OFFLOAD_GROUP_PKTS_MAX;
}

/* Does the packet continue the group? Only looks at headers. */
static bool continues(const struct offload_gro *g, const struct offload_group *grp,
		      const uint8_t *pkt, const struct ip_pkt *ip, uint16_t hdr_size)
{
	const uint8_t *first = g->pkts[grp->first].data;
	const uint32_t payload = (uint32_t)ip->size - hdr_size;

	if (!grp->is_open || grp->n_pkts == max_pkts(grp->proto) ||
	    (g->has_barriers &&
	     grp - g->groups < g->barriers[fold_hash(hash_addrs(pkt, ip->family))]) ||
	    grp->hdr_size != hdr_size || payload > grp->seg_size ||
	    grp->size + payload > IP_PKT_SIZE_MAX || !is_same_ip(first, pkt, grp))
		return false;
	return ip->proto == IP_PKT_UDP ||
	       (get32(pkt + ip->l4 + TCP_SEQ) == grp->next_seq &&
		is_same_tcp(first + ip->l4, pkt + ip->l4, (size_t)(hdr_size - ip->l4)));
}

static bool is_ip4_hdr_right(const uint8_t *pkt)
{
	uint32_t w[IP4_HDR_SIZE / 4];

	memcpy(w, pkt, sizeof(w));
	return ip_csum_fold((uint64_t)w[0] + w[1] + w[2] + w[3] + w[4]) == 0;
}

/* Are all the checksums right that gathering replaces: IPv4 header and transport? */
static bool is_right(struct offload_gro *g, const uint8_t *pkt, const struct ip_pkt *ip)
{
	const bool ok = (ip->family != IP_V4 || is_ip4_hdr_right(pkt)) && ip_csum_l4_ok(ip);

	g->n_bad_csums += !ok;
	return ok;
}

/* The first packet's are looked at when a second one comes. */
static bool is_first_right(struct offload_gro *g, struct offload_group *grp)
{
	const struct offload_pkt *p = &g->pkts[grp->first];
	struct ip_pkt ip;

	if (!grp->is_verified)
		grp->is_verified = ip_pkt_parse(&ip, p->data, p->size) == 0 &&
				   is_right(g, p->data, &ip);
	return grp->is_verified;
}

static void append(struct offload_gro *g, struct offload_group *grp, const struct ip_pkt *ip)
{
	const uint32_t payload = (uint32_t)ip->size - grp->hdr_size;
	const uint16_t i = (uint16_t)(g->n_pkts - 1);

	g->pkts[grp->last].next = i;
	grp->last = i;
	grp->n_pkts++;
	grp->size += payload;
	grp->next_seq += payload;
	grp->next_id++;
	/* A short segment ends the run, and so does PSH: splitting puts it on the last one only. */
	if (payload < grp->seg_size || (ip->proto == IP_PKT_TCP && (ip->tcp_flags & IP_PKT_PSH)))
		grp->is_open = false;
}

/* Begins a group with the packet added last. */
static struct offload_group *begin_group(struct offload_gro *g, const struct ip_pkt *ip,
					 uint16_t hdr_size)
{
	struct offload_group *grp = &g->groups[g->n_groups++];
	const uint16_t i = (uint16_t)(g->n_pkts - 1);
	const uint8_t *pkt = g->pkts[i].data;

	*grp = (struct offload_group){ .first = i,
				       .last = i,
				       .n_pkts = 1,
				       .l4 = ip->l4,
				       .hdr_size = hdr_size,
				       .size = ip->size,
				       .family = ip->family,
				       .proto = ip->proto,
				       .chain = OFFLOAD_NONE };
	if (hdr_size) {
		grp->seg_size = (uint16_t)(ip->size - hdr_size);
		grp->is_open = !(ip->proto == IP_PKT_TCP && (ip->tcp_flags & IP_PKT_PSH));
		if (ip->proto == IP_PKT_TCP)
			grp->next_seq = get32(pkt + ip->l4 + TCP_SEQ) + grp->seg_size;
		if (ip->family == IP_V4)
			grp->next_id = (uint16_t)(get16(pkt + IP4_ID) + 1);
	}
	return grp;
}

/* The newest group of the packet's flow, or null. Looks at a few groups only, newest first, so that
 * flows that collide cost little; one that is not found just begins a new group. */
static struct offload_group *find_flow(struct offload_gro *g, uint32_t bucket, const uint8_t *pkt,
				       const struct ip_pkt *ip)
{
	uint16_t i = g->buckets[bucket];

	for (unsigned n = 0; n < CHAIN_MAX && i != OFFLOAD_NONE; n++, i = g->groups[i].chain)
		if (is_same_flow(g, &g->groups[i], pkt, ip))
			return &g->groups[i];
	return NULL;
}

static void add_barrier(struct offload_gro *g, const uint8_t *pkt, uint8_t family)
{
	if (!g->has_barriers)
		memset(g->barriers, 0, sizeof(g->barriers));
	g->has_barriers = true;
	g->barriers[fold_hash(hash_addrs(pkt, family))] = (uint16_t)g->n_groups;
}

void offload_gro_add(struct offload_gro *g, uint8_t *data, const struct ip_pkt *ip)
{
	struct offload_group *old, *grp;
	uint16_t hdr_size = 0;
	uint32_t bucket;
	bool can, verified = false;

	g->pkts[g->n_pkts++] = (struct offload_pkt){ data, ip->size, OFFLOAD_NONE };
	can = is_candidate(g, data, ip, &hdr_size);
	/* Fragments and packets without ports belong to no flow that is gathered. */
	if (!can &&
	    (ip->is_frag || !ip->has_l4 || (ip->proto != IP_PKT_TCP && ip->proto != IP_PKT_UDP))) {
		(void)begin_group(g, ip, 0);
		/* Whose fragment it is only the first one tells: none of these hosts' flows goes on in
		 * front of it. */
		if (ip->is_frag)
			add_barrier(g, data, ip->family);
		return;
	}
	bucket = bucket_of(data, ip);
	old = find_flow(g, bucket, data, ip);
	if (can && old && continues(g, old, data, ip, hdr_size)) {
		verified = is_right(g, data, ip);
		if (verified && is_first_right(g, old)) {
			append(g, old, ip);
			return;
		}
		/* Damaged: it goes alone. */
		if (!verified)
			hdr_size = 0;
	}
	/* What comes later must not join a group in front of this packet. */
	if (old)
		old->is_open = false;
	grp = begin_group(g, ip, hdr_size);
	grp->is_verified = verified;
	grp->chain = g->buckets[bucket];
	g->buckets[bucket] = (uint16_t)(g->n_groups - 1);
}

void offload_gro_finish(struct offload_gro *g, uint32_t i, struct offload_hdr *hdr)
{
	const struct offload_group *grp = &g->groups[i];
	uint8_t *pkt = g->pkts[grp->first].data, *field;
	const uint32_t l4_size = grp->size - grp->l4;
	uint16_t csum;

	memset(hdr, 0, sizeof(*hdr));
	if (grp->n_pkts == 1)
		return;
	set_ip_size(pkt, grp->family, grp->size);
	if (grp->proto == IP_PKT_TCP) {
		/* The last one's PSH is the whole's. */
		pkt[grp->l4 + TCP_FLAGS] |=
			g->pkts[grp->last].data[grp->l4 + TCP_FLAGS] & IP_PKT_PSH;
		field = pkt + grp->l4 + TCP_CSUM;
		hdr->csum_offset = TCP_CSUM;
		hdr->gso_type = grp->family == IP_V4 ? OFFLOAD_GSO_TCP4 : OFFLOAD_GSO_TCP6;
	} else {
		put16(pkt + grp->l4 + UDP_LEN, l4_size);
		field = pkt + grp->l4 + UDP_CSUM;
		hdr->csum_offset = UDP_CSUM;
		hdr->gso_type = OFFLOAD_GSO_UDP;
	}
	/* The folded sum itself, not its complement: the kernel goes on from there. */
	csum = (uint16_t)~ip_csum_fold(pseudo_of(pkt, grp->family, grp->proto, l4_size));
	memcpy(field, &csum, sizeof(csum));
	hdr->flags = OFFLOAD_NEEDS_CSUM;
	hdr->hdr_size = grp->hdr_size;
	hdr->gso_size = grp->seg_size;
	hdr->csum_start = grp->l4;
}

void offload_gro_undo(struct offload_gro *g, uint32_t i)
{
	const struct offload_group *grp = &g->groups[i];
	const struct offload_pkt *first = &g->pkts[grp->first];
	struct ip_pkt ip;

	if (grp->n_pkts == 1)
		return;
	set_ip_size(first->data, grp->family, first->size);
	if (grp->proto == IP_PKT_TCP)
		/* It is never the first one's: that would have ended the group. */
		first->data[grp->l4 + TCP_FLAGS] &= (uint8_t)~IP_PKT_PSH;
	else
		put16(first->data + grp->l4 + UDP_LEN, (uint32_t)first->size - grp->l4);
	/* Its checksum was found right before it was replaced. */
	if (ip_pkt_parse(&ip, first->data, first->size) == 0)
		(void)ip_csum_l4_set(first->data, &ip);
}
