/* SPDX-License-Identifier: MIT */
/* wire/offload: a virtio-net header and a packet of any content is split; the segments, and the
 * input itself cut into packets, are gathered; every super-packet must split into what went in. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/offload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEGS_MAX = 256, SEG_MAX = 2048 };

struct work {
	uint8_t segs[SEGS_MAX][SEG_MAX];
	uint32_t sizes[SEGS_MAX];
	uint32_t n;
	uint8_t copies[SEGS_MAX][SEG_MAX];
	uint8_t whole[65536];
	struct offload_gro gro;
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void add(struct work *w, const uint8_t *p, size_t size)
{
	if (w->n < SEGS_MAX && size <= SEG_MAX) {
		memcpy(w->segs[w->n], p, size);
		w->sizes[w->n++] = (uint32_t)size;
	}
}

static void split(struct work *w, const uint8_t *data, size_t size)
{
	struct offload_hdr hdr;
	struct offload_split s;
	static uint8_t seg[65536];
	struct ip_pkt ip;
	uint8_t *pkt;
	uint32_t n, total = 0;

	if (size < sizeof(hdr))
		return;
	memcpy(&hdr, data, sizeof(hdr));
	pkt = malloc(size - sizeof(hdr) + 1);
	must(pkt != NULL);
	memcpy(pkt, data + sizeof(hdr), size - sizeof(hdr));
	if (offload_split_init(&s, &hdr, pkt, size - sizeof(hdr)) == 0) {
		while ((n = offload_split_next(&s, seg))) {
			must(n <= offload_split_size(&s));
			total += n - s.hdr_size;
			add(w, seg, n);
		}
		must(total == s.size - s.hdr_size);
		/* A checksum that splitting replaces was the kernel's to compute, or right. */
		if (s.n_segs > 1 && !(hdr.flags & OFFLOAD_NEEDS_CSUM))
			must(ip_pkt_parse(&ip, pkt, size - sizeof(hdr)) == 0 && ip_csum_l4_ok(&ip));
	}
	free(pkt);
}

/* Only packets whose checksums are right may lose them, and one that goes alone keeps every byte. */
static void check_copies(const struct work *w, const struct offload_group *grp)
{
	const uint32_t first =
		(uint32_t)((w->gro.pkts[grp->first].data - w->segs[0]) / SEG_MAX);

	if (grp->n_pkts == 1) {
		must(memcmp(w->segs[first], w->copies[first], w->gro.pkts[grp->first].size) == 0);
		return;
	}
	must(grp->n_pkts <= OFFLOAD_GROUP_PKTS_MAX);
	for (uint16_t p = grp->first; p != OFFLOAD_NONE; p = w->gro.pkts[p].next) {
		const uint32_t k = (uint32_t)((w->gro.pkts[p].data - w->segs[0]) / SEG_MAX);
		struct ip_pkt ip;

		must(ip_pkt_parse(&ip, w->copies[k], w->gro.pkts[p].size) == 0);
		must(ip_csum_l4_ok(&ip));
		if (ip.family == IP_V4)
			must(ip_csum_fold(ip_csum_add(0, w->copies[k], IP4_HDR_SIZE)) == 0);
	}
}

/* The packets of group 'i' in order against what its super-packet splits into. */
static void check_group(struct work *w, uint32_t i)
{
	const struct offload_group *grp = &w->gro.groups[i];
	struct offload_hdr hdr;
	struct offload_split s;
	static uint8_t seg[65536];
	size_t n = 0;

	offload_gro_finish(&w->gro, i, &hdr);
	for (uint16_t p = grp->first; p != OFFLOAD_NONE; p = w->gro.pkts[p].next) {
		const struct offload_pkt *pkt = &w->gro.pkts[p];
		const size_t skip = p == grp->first ? 0 : grp->hdr_size;

		must(n + pkt->size - skip <= sizeof(w->whole));
		memcpy(w->whole + n, pkt->data + skip, pkt->size - skip);
		n += pkt->size - skip;
	}
	must(n == grp->size && n <= IP_PKT_SIZE_MAX);
	check_copies(w, grp);
	must(offload_split_init(&s, &hdr, w->whole, n) == 0);
	must(s.n_segs == grp->n_pkts);
	for (uint16_t p = grp->first; p != OFFLOAD_NONE; p = w->gro.pkts[p].next) {
		const uint32_t k = (uint32_t)((w->gro.pkts[p].data - w->segs[0]) / SEG_MAX);

		must(offload_split_next(&s, seg) == w->gro.pkts[p].size);
		/* With DF the identification may have been constant, which splitting makes count.
		 */
		if (grp->family == IP_V4 && grp->n_pkts > 1 && (seg[6] & 0x40)) {
			memcpy(seg + 4, w->copies[k] + 4, 2);
			memcpy(seg + 10, w->copies[k] + 10, 2);
		}
		/* 0 and 0xffff are the same checksum. */
		if (memcmp(seg, w->copies[k], w->gro.pkts[p].size) != 0) {
			const size_t at = grp->l4 + (grp->proto == IP_PKT_TCP ? 16u : 6u);

			memcpy(seg + at, w->copies[k] + at, 2);
			/* So it is in the IPv4 header. */
			if (grp->family == IP_V4 &&
			    w->copies[k][10] == 0xff && w->copies[k][11] == 0xff)
				memcpy(seg + 10, w->copies[k] + 10, 2);
			must(memcmp(seg, w->copies[k], w->gro.pkts[p].size) == 0);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct work w;
	struct ip_pkt ip;

	w.n = 0;
	split(&w, data, size);
	for (size_t at = 0; at + 2 < size;) {
		const size_t n = ((size_t)data[at] << 8 | data[at + 1]) % SEG_MAX;

		at += 2;
		add(&w, data + at, n < size - at ? n : size - at);
		at += n;
	}
	memcpy(w.copies, w.segs, w.n * sizeof(w.segs[0]));
	offload_gro_begin(&w.gro, true, true);
	for (uint32_t i = 0; i < w.n; i++)
		if (ip_pkt_parse(&ip, w.segs[i], w.sizes[i]) == 0)
			offload_gro_add(&w.gro, w.segs[i], &ip);
	for (uint32_t i = 0; i < w.gro.n_groups; i++)
		check_group(&w, i);
	return 0;
}
