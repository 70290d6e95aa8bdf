/* SPDX-License-Identifier: MIT */
/* Inner packets: IPv4 and IPv6 headers with options, extension headers and fragments, the first
 * words of TCP, UDP, SCTP and ICMP, and Internet checksums.
 *
 * Addresses are borrowed pointers into the packet (4 or 16 bytes, network order), so that parsing
 * copies nothing on the packet path. An IPv6 packet with a v4-mapped address is malformed: it could
 * otherwise pass a filter as one family and act as the other (RELIABILITY 3, rule 6). Spec:
 * netstack/wire/ip.md; RFC 791, 8200, 1071. */
#ifndef NETSTACK_WIRE_IP_H
#define NETSTACK_WIRE_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"

/* IP protocol numbers that something here looks at. */
enum ip_pkt_proto {
	IP_PKT_HOPOPTS = 0,
	IP_PKT_ICMP = 1,
	IP_PKT_TCP = 6,
	IP_PKT_UDP = 17,
	IP_PKT_ROUTING = 43,
	IP_PKT_FRAGMENT = 44,
	IP_PKT_ESP = 50,
	IP_PKT_AH = 51,
	IP_PKT_ICMP6 = 58,
	IP_PKT_NONE = 59,
	IP_PKT_DSTOPTS = 60,
	IP_PKT_TSMP = 99,
	IP_PKT_SCTP = 132,
};

enum ip_pkt_tcp_flags {
	IP_PKT_FIN = 0x01,
	IP_PKT_SYN = 0x02,
	IP_PKT_RST = 0x04,
	IP_PKT_PSH = 0x08,
	IP_PKT_ACK = 0x10,
	IP_PKT_URG = 0x20,
	IP_PKT_ECE = 0x40,
	IP_PKT_CWR = 0x80,
};

enum { IP4_HDR_SIZE = 20, IP6_HDR_SIZE = 40, IP_PKT_SIZE_MAX = 65535, IP_PKT_EXT_MAX = 8 };

struct ip_pkt {
	const uint8_t *data; /* first byte of the IP header; borrowed */
	const uint8_t *src;  /* 4 or 16 bytes inside 'data' */
	const uint8_t *dst;
	uint16_t size;     /* of the packet by its header; never more than was there */
	uint16_t l4;       /* offset of the transport header, or of a later fragment's payload */
	uint16_t frag_off; /* in bytes; 0 for a whole packet and a first fragment */
	uint16_t src_port; /* TCP, UDP, SCTP; the identifier of an ICMP echo in both; else 0 */
	uint16_t dst_port;
	uint8_t family;    /* enum ip_family */
	uint8_t proto;     /* transport protocol, behind all extension headers */
	uint8_t tcp_flags; /* enum ip_pkt_tcp_flags */
	uint8_t icmp_type; /* ICMP and ICMPv6 */
	uint8_t icmp_code;
	bool is_frag; /* first or later fragment */
	bool more_frags;
	bool has_l4; /* ports, flags and type above were there to be read */
};

/* Parses the IP packet at 'buf'. Bytes behind the length that the header states are padding and
 * ignored.
 *
 * '*pkt' borrows 'buf'. A transport header that is cut short (possible in a first fragment) leaves
 * 'has_l4' false.
 * Returns 0; -EBADMSG if the packet is malformed, longer than 'size', a jumbogram, a fragment that
 * would pass 65,535 bytes, has more than IP_PKT_EXT_MAX extension headers, or mapped addresses;
 * '*pkt' is then untouched. Any thread. Spec: netstack/wire/ip.md, "Parsing". */
MESH_MUST_USE int ip_pkt_parse(struct ip_pkt *pkt, const uint8_t *buf, size_t size);

static inline struct ip ip_pkt_src(const struct ip_pkt *pkt)
{
	return pkt->family == IP_V4 ? ip4_be(pkt->src) : ip6(pkt->src);
}

static inline struct ip ip_pkt_dst(const struct ip_pkt *pkt)
{
	return pkt->family == IP_V4 ? ip4_be(pkt->dst) : ip6(pkt->dst);
}

/* The first SYN of a TCP connection: SYN without ACK. */
static inline bool ip_pkt_is_syn(const struct ip_pkt *pkt)
{
	return (pkt->tcp_flags & (IP_PKT_SYN | IP_PKT_ACK)) == IP_PKT_SYN;
}

/* --- Internet checksum (RFC 1071) ---
 * Sums are 64-bit accumulators over the bytes in memory order and may be chained: ip_csum_add() of
 * two adjacent pieces equals that of the whole if the first has an even size. ip_csum_fold() gives
 * the 16 bits ready to be stored with memcpy (network order in memory). */

/* Adds 'size' bytes to 'sum'. Any alignment; about 16 bytes a cycle. */
uint64_t ip_csum_add(uint64_t sum, const void *buf, size_t size);

/* Folds to 16 bits and complements; a stored checksum included in the sum gives 0 when it is right.
 */
static inline uint16_t ip_csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Sum of the pseudo-header for 'l4_size' bytes of transport header and payload. 'src' and 'dst' are
 * 4 or 16 bytes by 'family'. */
uint64_t ip_csum_pseudo(uint8_t family, const uint8_t *src, const uint8_t *dst, uint8_t proto,
			uint32_t l4_size);

/* Writes the header checksum of the IPv4 header of 'hdr_size' bytes. */
void ip_csum_ip4_set(uint8_t *hdr, size_t hdr_size);

/* Is the transport checksum right (TCP, UDP, ICMP, ICMPv6; whole packets only)? A UDP checksum of
 * zero is right over IPv4. False for fragments, other protocols and a cut header. Any thread. */
bool ip_csum_l4_ok(const struct ip_pkt *pkt);

/* Writes the transport checksum of the packet at 'buf' that '*pkt' describes; 'buf' is pkt->data
 * without const. Returns false (nothing written) where ip_csum_l4_ok() has no checksum to look at.
 */
bool ip_csum_l4_set(uint8_t *buf, const struct ip_pkt *pkt);

#endif
