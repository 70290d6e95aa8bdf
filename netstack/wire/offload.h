/* SPDX-License-Identifier: MIT */
/* Super-packets: splitting what TUN hands over into packets of the wire's size, and gathering
 * decrypted packets of one flow into one write to TUN.
 *
 * Both directions keep every byte that the receiving application can see. Splitting recomputes what
 * differs per segment (lengths, IPv4 identification, TCP sequence and flags, checksums). Gathering
 * verifies each transport checksum first, because it replaces them: a packet with a wrong one goes
 * through alone and unmodified, so that damage is never laundered.
 *
 * Any thread; no allocation. Spec: netstack/wire/offload.md; virtio 1.2, 5.1.6. */
#ifndef NETSTACK_WIRE_OFFLOAD_H
#define NETSTACK_WIRE_OFFLOAD_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "wire/ip.h"

/* struct virtio_net_hdr, in host byte order as TUN uses it. */
struct offload_hdr {
	uint8_t flags;    /* OFFLOAD_NEEDS_CSUM */
	uint8_t gso_type; /* enum offload_gso */
	uint16_t hdr_size;
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
};

static_assert(sizeof(struct offload_hdr) == 10, "virtio 1.2, 5.1.6, without num_buffers");

enum offload_gso {
	OFFLOAD_GSO_NONE = 0,
	OFFLOAD_GSO_TCP4 = 1,
	OFFLOAD_GSO_TCP6 = 4,
	OFFLOAD_GSO_UDP = 5, /* VIRTIO_NET_HDR_GSO_UDP_L4 */
	OFFLOAD_GSO_ECN = 0x80,
};

enum { OFFLOAD_NEEDS_CSUM = 1 };

/* --- splitting --- */

struct offload_split {
	const uint8_t *pkt; /* the super-packet; borrowed */
	uint32_t size;
	uint32_t l4;       /* offset of the transport header */
	uint32_t hdr_size; /* all headers; = size of a packet that is not split */
	uint32_t seg_size; /* payload bytes of each segment but the last */
	uint32_t n_segs;   /* 1 or more */
	uint32_t next;     /* the next segment's number */
	uint8_t family;    /* enum ip_family */
	uint8_t proto;     /* IP_PKT_TCP or IP_PKT_UDP if n_segs > 1 */
};

/* Checks a packet read from TUN with its header and prepares splitting it. A packet without
 * segmentation gives one segment; its checksum is completed in place first if the header asks for
 * it. A super-packet whose header does not ask for it has a checksum of its own, which splitting
 * would replace: a wrong one is refused.
 *
 * 'pkt' is borrowed until the last offload_split_next(). Returns 0; -EBADMSG if header and packet
 * do not fit together ('*s' is then unset). */
MESH_MUST_USE int offload_split_init(struct offload_split *s, const struct offload_hdr *hdr,
				     uint8_t *pkt, size_t size);

/* Size of every segment but the last, headers included. */
static inline uint32_t offload_split_size(const struct offload_split *s)
{
	return s->n_segs > 1 ? s->hdr_size + s->seg_size : s->size;
}

/* Writes the next segment at 'dst', which has room for offload_split_size() bytes, and returns its
 * size; 0 when there are no more. */
uint32_t offload_split_next(struct offload_split *s, uint8_t *dst);

/* --- gathering --- */

enum {
	OFFLOAD_PKTS_MAX = 1024,      /* packets of one batch */
	OFFLOAD_GROUP_PKTS_MAX = 512, /* and of one group: each is a piece of a writev */
	OFFLOAD_UDP_PKTS_MAX = 64,    /* the same for UDP: kernels refuse more (128 since 6.9) */
	OFFLOAD_BUCKETS = 128,
	OFFLOAD_NONE = 0xffff,
};

/* One packet of the batch. */
struct offload_pkt {
	uint8_t *data; /* whole packet; borrowed and, if others follow in its group, its headers
			  rewritten */
	uint16_t size;
	uint16_t next; /* the next packet of the group, or OFFLOAD_NONE */
};

/* Packets that leave as one, in the order in which their groups began. */
struct offload_group {
	uint16_t first, last; /* indices of packets */
	uint16_t n_pkts;
	uint16_t hdr_size; /* bytes that packets after the first leave out; 0 = never gathered */
	uint16_t l4;       /* offset of the transport header */
	uint16_t seg_size; /* payload of the first packet */
	uint32_t size;     /* bytes of the whole */
	uint32_t next_seq; /* TCP */
	uint16_t next_id;  /* IPv4 */
	uint8_t family, proto;
	bool is_open;     /* may grow */
	bool is_verified; /* the first packet's checksum was found right */
	uint16_t chain;   /* older group of the same bucket */
};

struct offload_gro {
	bool use_tcp, use_udp; /* what the device takes as super-packets */
	bool has_barriers;
	uint32_t n_pkts, n_groups;
	uint32_t n_bad_csums; /* packets that go alone because a checksum in them is wrong */
	struct offload_pkt pkts[OFFLOAD_PKTS_MAX];
	struct offload_group groups[OFFLOAD_PKTS_MAX];
	uint16_t buckets[OFFLOAD_BUCKETS];
	uint16_t barriers[OFFLOAD_BUCKETS]; /* by addresses: groups before it have ended */
};

/* Starts an empty batch. 'use_tcp' false: nothing is gathered at all. */
void offload_gro_begin(struct offload_gro *g, bool use_tcp, bool use_udp);

/* Adds the packet that '*ip' describes (parsed from 'data'; its size counts). At most
 * OFFLOAD_PKTS_MAX a batch. Packets of one flow stay in order. */
void offload_gro_add(struct offload_gro *g, uint8_t *data, const struct ip_pkt *ip);

/* Finishes group 'i' (0..n_groups-1): rewrites the headers of its first packet for the whole and
 * fills
 * '*hdr'. The super-packet is the first packet followed by the payloads (behind hdr_size bytes) of
 * the others. Once per group, after the last offload_gro_add(). */
void offload_gro_finish(struct offload_gro *g, uint32_t i, struct offload_hdr *hdr);

/* After offload_gro_finish(): makes the first packet of group 'i' what it was, for a device that refuses
 * the whole. Its packets may then be written one by one, with headers of zeros. */
void offload_gro_undo(struct offload_gro *g, uint32_t i);

#endif
