/* SPDX-License-Identifier: MIT */
/* wire/offload: splitting and gathering undo each other; checksums are right; damage is not
 * laundered. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire/offload.h"

enum { SUPER_MAX = 65535, SEGS_MAX = 1200 };

/* What one test works on. */
struct bench {
	struct test_env env;
	uint8_t super[SUPER_MAX];
	size_t size;
	struct offload_hdr hdr;
	uint8_t segs[SEGS_MAX][2048];
	uint32_t seg_size[SEGS_MAX];
	uint32_t n_segs;
	struct offload_gro gro;
};

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct bench));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static uint8_t byte(struct bench *b)
{
	return (uint8_t)test_random(&b->env);
}

struct shape {
	uint8_t family, proto;
	size_t options; /* TCP options */
	size_t gso_size, payload;
	uint8_t flags;
	uint16_t port;
	uint32_t seq;
	uint16_t id;
};

/* A header from node 1 to node 2 of the test; DF is set in IPv4. */
static size_t ip_header(uint8_t *p, const struct shape *s, size_t l4_size)
{
	const size_t total = l4_size + (s->family == IP_V4 ? IP4_HDR_SIZE : 0);

	memset(p, 0, IP6_HDR_SIZE);
	if (s->family == IP_V4) {
		const uint8_t addrs[8] = { 100, 64, 0, 1, 100, 64, 0, 2 };

		p[0] = 0x45;
		p[2] = (uint8_t)(total >> 8);
		p[3] = (uint8_t)total;
		p[4] = (uint8_t)(s->id >> 8);
		p[5] = (uint8_t)s->id;
		p[6] = 0x40;
		p[8] = 64;
		p[9] = s->proto;
		memcpy(p + 12, addrs, sizeof(addrs));
		ip_csum_ip4_set(p, IP4_HDR_SIZE);
		return IP4_HDR_SIZE;
	}
	p[0] = 0x60;
	p[4] = (uint8_t)(total >> 8);
	p[5] = (uint8_t)total;
	p[6] = s->proto;
	p[7] = 64;
	p[8] = p[24] = 0xfd;
	p[23] = 1;
	p[39] = 2;
	return IP6_HDR_SIZE;
}

/* A super-packet as the kernel hands it over: the checksum field holds the folded pseudo-header
 * sum. */
static void make_super(struct bench *b, const struct shape *s)
{
	const size_t l4_hdr = s->proto == IP_PKT_TCP ? 20 + s->options : 8;
	const size_t ip_size = ip_header(b->super, s, l4_hdr + s->payload);
	const size_t csum_at = ip_size + (s->proto == IP_PKT_TCP ? 16 : 6);
	uint8_t *l4 = b->super + ip_size;
	struct ip_pkt ip;
	uint16_t csum;

	for (size_t i = 0; i < l4_hdr + s->payload; i++)
		l4[i] = byte(b);
	l4[0] = (uint8_t)(s->port >> 8);
	l4[1] = (uint8_t)s->port;
	if (s->proto == IP_PKT_TCP) {
		for (int i = 0; i < 4; i++)
			l4[4 + i] = (uint8_t)(s->seq >> (24 - 8 * i));
		l4[12] = (uint8_t)((20 + s->options) / 4 << 4);
		l4[13] = s->flags;
	} else {
		l4[4] = (uint8_t)((l4_hdr + s->payload) >> 8);
		l4[5] = (uint8_t)(l4_hdr + s->payload);
	}
	b->size = ip_size + l4_hdr + s->payload;
	assert_int_equal(ip_pkt_parse(&ip, b->super, b->size), 0);
	csum = (uint16_t)~ip_csum_fold(ip_csum_pseudo(s->family, ip.src, ip.dst, s->proto,
						      (uint32_t)(l4_hdr + s->payload)));
	memcpy(b->super + csum_at, &csum, 2);
	b->hdr = (struct offload_hdr){
		.flags = OFFLOAD_NEEDS_CSUM,
		.gso_type = s->proto == IP_PKT_UDP ? OFFLOAD_GSO_UDP
			    : s->family == IP_V4   ? OFFLOAD_GSO_TCP4
						   : OFFLOAD_GSO_TCP6,
		.hdr_size = (uint16_t)(ip_size + l4_hdr),
		.gso_size = (uint16_t)s->gso_size,
		.csum_start = (uint16_t)ip_size,
		.csum_offset = s->proto == IP_PKT_TCP ? 16 : 6,
	};
}

/* Appends the segments of b->super to b->segs, checking each. */
static void split(struct bench *b)
{
	struct offload_split s;
	uint32_t first = b->n_segs;

	assert_int_equal(offload_split_init(&s, &b->hdr, b->super, b->size), 0);
	for (;;) {
		uint8_t *dst = b->segs[b->n_segs];
		struct ip_pkt ip;
		uint32_t n;

		assert_true(b->n_segs < SEGS_MAX - 1 &&
			    offload_split_size(&s) <= sizeof(b->segs[0]));
		n = offload_split_next(&s, dst);
		if (!n)
			break;
		b->seg_size[b->n_segs++] = n;
		assert_int_equal(ip_pkt_parse(&ip, dst, n), 0);
		assert_int_equal(ip.size, n);
		assert_true(ip_csum_l4_ok(&ip));
		if (ip.family == IP_V4)
			assert_int_equal(ip_csum_fold(ip_csum_add(0, dst, 20)), 0);
	}
	assert_int_equal(b->n_segs - first, s.n_segs);
}

static void gather(struct bench *b)
{
	offload_gro_begin(&b->gro, true, true);
	for (uint32_t i = 0; i < b->n_segs; i++) {
		struct ip_pkt ip;

		assert_int_equal(ip_pkt_parse(&ip, b->segs[i], b->seg_size[i]), 0);
		offload_gro_add(&b->gro, b->segs[i], &ip);
	}
}

/* The bytes of group 'i', as a write to TUN would gather them. */
static size_t flatten(struct bench *b, uint32_t i, uint8_t *out, struct offload_hdr *hdr)
{
	const struct offload_group *grp = &b->gro.groups[i];
	size_t n = 0;

	offload_gro_finish(&b->gro, i, hdr);
	for (uint16_t p = grp->first; p != OFFLOAD_NONE; p = b->gro.pkts[p].next) {
		const struct offload_pkt *pkt = &b->gro.pkts[p];
		const size_t skip = p == grp->first ? 0 : grp->hdr_size;

		memcpy(out + n, pkt->data + skip, pkt->size - skip);
		n += pkt->size - skip;
	}
	assert_int_equal(n, grp->size);
	return n;
}

static struct shape random_shape(struct bench *b)
{
	static const uint8_t flags[] = { IP_PKT_ACK, IP_PKT_ACK, IP_PKT_ACK | IP_PKT_PSH };
	struct shape s = {
		.family = byte(b) % 2 ? IP_V4 : IP_V6,
		.proto = byte(b) % 3 ? IP_PKT_TCP : IP_PKT_UDP,
		.options = (size_t)(byte(b) % 4) * 4,
		.gso_size = 1 + (size_t)(test_random(&b->env) % 1400),
		.flags = flags[byte(b) % 3],
		.port = (uint16_t)(1000 + byte(b)),
		.seq = (uint32_t)test_random(&b->env),
		.id = (uint16_t)test_random(&b->env),
	};

	s.payload = 1 + (size_t)(test_random(&b->env) % (s.gso_size * 46));
	if (s.payload > 65000)
		s.payload = 65000;
	return s;
}

static void offload_gather_undoes_split(void **state)
{
	struct bench *b = *state;
	static uint8_t out[SUPER_MAX + 1];

	test_env_init(&b->env, 11);
	for (int round = 0; round < 400; round++) {
		const struct shape s = random_shape(b);
		struct offload_hdr hdr;

		b->n_segs = 0;
		make_super(b, &s);
		split(b);
		gather(b);
		assert_int_equal(b->gro.n_groups, 1);
		assert_int_equal(flatten(b, 0, out, &hdr), b->size);
		if (b->n_segs > 1) {
			assert_memory_equal(out, b->super, b->size);
			assert_memory_equal(&hdr, &b->hdr, sizeof(hdr));
		} else {
			assert_int_equal(hdr.gso_type, OFFLOAD_GSO_NONE);
			assert_int_equal(hdr.flags, 0);
		}
	}
}

/* Interleaved flows: each flow's packets, split again, come out in the order they went in. */
static void offload_interleaved_flows_keep_their_order(void **state)
{
	struct bench *b = *state;
	static uint8_t in[4][64][1500];
	uint32_t len[4][64], n[4] = { 0 }, out_n[4] = { 0 };

	test_env_init(&b->env, 12);
	for (uint32_t f = 0; f < 4; f++) {
		const struct shape s = { .family = f % 2 ? IP_V4 : IP_V6,
					 .proto = f < 2 ? IP_PKT_TCP : IP_PKT_UDP,
					 .gso_size = 1000,
					 .payload = 40 * 1000 + 17,
					 .flags = IP_PKT_ACK,
					 .port = (uint16_t)(2000 + f) };
		b->n_segs = 0;
		make_super(b, &s);
		split(b);
		n[f] = b->n_segs;
		for (uint32_t i = 0; i < b->n_segs; i++) {
			memcpy(in[f][i], b->segs[i], b->seg_size[i]);
			len[f][i] = b->seg_size[i];
		}
	}
	b->n_segs = 0;
	for (uint32_t left[4] = { 0 }, done = 0; done < n[0] + n[1] + n[2] + n[3];) {
		const uint32_t f = byte(b) % 4;

		if (left[f] == n[f])
			continue;
		memcpy(b->segs[b->n_segs], in[f][left[f]], len[f][left[f]]);
		b->seg_size[b->n_segs++] = len[f][left[f]++];
		done++;
	}
	gather(b);
	assert_int_equal(b->gro.n_groups, 4);
	for (uint32_t i = 0; i < 4; i++) {
		static uint8_t seg[1500];
		struct offload_split s;
		uint32_t size;

		b->size = flatten(b, i, b->super, &b->hdr);
		assert_int_equal(offload_split_init(&s, &b->hdr, b->super, b->size), 0);
		while ((size = offload_split_next(&s, seg))) {
			struct ip_pkt ip;
			uint32_t f;

			assert_int_equal(ip_pkt_parse(&ip, seg, size), 0);
			f = ip.src_port - 2000u;
			assert_int_equal(size, len[f][out_n[f]]);
			assert_memory_equal(seg, in[f][out_n[f]], size);
			out_n[f]++;
		}
	}
	for (int f = 0; f < 4; f++)
		assert_int_equal(out_n[f], n[f]);
}

/* Flips a bit of packet 'bad' and returns the number of groups. Every other IPv4 packet is damaged in
 * its header alone, where only the header's checksum tells. */
static uint32_t gather_with_damage(struct bench *b, uint32_t bad, uint8_t *copy)
{
	const bool in_header = b->segs[bad][0] >> 4 == 4 && bad % 4 > 1;

	b->segs[bad][in_header ? 10 : b->seg_size[bad] - 3] ^= 0x10;
	memcpy(copy, b->segs[bad], b->seg_size[bad]);
	gather(b);
	return b->gro.n_groups;
}

static void offload_damaged_packet_goes_alone_unmodified(void **state)
{
	struct bench *b = *state;
	static uint8_t copy[2048], out[SUPER_MAX + 1];

	test_env_init(&b->env, 13);
	for (uint32_t round = 0; round < 20; round++) {
		const uint32_t bad = round % 10;
		const struct shape s = { .family = round / 10 ? IP_V4 : IP_V6,
					 .proto = bad % 3 ? IP_PKT_TCP : IP_PKT_UDP,
					 .gso_size = 1200,
					 .payload = 12000,
					 .flags = IP_PKT_ACK,
					 .port = 99 };
		struct offload_hdr hdr;
		uint32_t alone = 0, n_groups;

		b->n_segs = 0;
		make_super(b, &s);
		split(b);
		assert_int_equal(b->n_segs, 10);
		n_groups = gather_with_damage(b, bad, copy);
		assert_int_equal(n_groups, bad == 0 || bad == 9 ? 2 : 3);
		assert_int_equal(b->gro.n_bad_csums, 1);
		for (uint32_t i = 0; i < n_groups; i++) {
			const size_t size = flatten(b, i, out, &hdr);

			if (b->gro.groups[i].first == bad) {
				alone++;
				assert_int_equal(b->gro.groups[i].n_pkts, 1);
				assert_int_equal(hdr.flags | hdr.gso_type, 0);
				assert_int_equal(size, b->seg_size[bad]);
				assert_memory_equal(out, copy, size);
			}
		}
		assert_int_equal(alone, 1);
	}
}

/* Datagrams too large for one packet go as fragments, and those around them must not overtake them. */
static void offload_fragments_are_not_overtaken(void **state)
{
	struct bench *b = *state;
	const struct shape s = { .family = IP_V4,
				 .proto = IP_PKT_UDP,
				 .gso_size = 500,
				 .payload = 3000,
				 .port = 7 };

	const uint16_t firsts[] = { 0, 3, 4 };

	test_env_init(&b->env, 20);
	for (unsigned with_fragment = 0; with_fragment < 2; with_fragment++) {
		b->n_segs = 0;
		make_super(b, &s);
		split(b);
		assert_int_equal(b->n_segs, 6);
		if (with_fragment) {
			b->segs[3][6] = 0;
			b->segs[3][7] = 100; /* a later fragment: no ports */
			ip_csum_ip4_set(b->segs[3], IP4_HDR_SIZE);
		}
		gather(b);
		assert_int_equal(b->gro.n_groups, with_fragment ? 3 : 1);
		for (uint32_t i = 0; with_fragment && i < 3; i++)
			assert_int_equal(b->gro.groups[i].first, firsts[i]);
	}
}

/* A peer chooses how small its segments are: what becomes one write has a limit of pieces. */
static void check_bound(struct bench *b, uint8_t proto, uint32_t max)
{
	const struct shape s = { .family = IP_V4,
				 .proto = proto,
				 .gso_size = 1,
				 .payload = OFFLOAD_PKTS_MAX,
				 .flags = IP_PKT_ACK,
				 .port = 7 };
	uint32_t n = 0;

	test_env_init(&b->env, 18);
	b->n_segs = 0;
	make_super(b, &s);
	split(b);
	assert_int_equal(b->n_segs, OFFLOAD_PKTS_MAX);
	gather(b);
	for (uint32_t i = 0; i < b->gro.n_groups; i++) {
		assert_in_range(b->gro.groups[i].n_pkts, 1, max);
		n += b->gro.groups[i].n_pkts;
	}
	assert_int_equal(n, OFFLOAD_PKTS_MAX);
	assert_int_equal(b->gro.n_groups, OFFLOAD_PKTS_MAX / max);
}

static void offload_groups_are_bounded(void **state)
{
	check_bound(*state, IP_PKT_TCP, OFFLOAD_GROUP_PKTS_MAX);
	check_bound(*state, IP_PKT_UDP, OFFLOAD_UDP_PKTS_MAX);
}

/* A device that refuses the whole gets the packets as they came. */
static void offload_undone_groups_are_what_they_were(void **state)
{
	struct bench *b = *state;
	static uint8_t copies[SEGS_MAX][2048], out[SUPER_MAX + 1];

	test_env_init(&b->env, 21);
	for (int round = 0; round < 200; round++) {
		const struct shape s = random_shape(b);
		struct offload_hdr hdr;

		b->n_segs = 0;
		make_super(b, &s);
		split(b);
		memcpy(copies, b->segs, sizeof(copies[0]) * b->n_segs);
		gather(b);
		(void)flatten(b, 0, out, &hdr);
		offload_gro_undo(&b->gro, 0);
		for (uint32_t i = 0; i < b->n_segs; i++)
			assert_memory_equal(b->segs[i], copies[i], b->seg_size[i]);
	}
}

static void offload_unlike_packets_are_not_gathered(void **state)
{
	/* Offsets in an IPv4 TCP packet with 12 bytes of options, and what the difference is. */
	static const struct {
		size_t at;
		uint8_t flip;
		const char *what;
	} cases[] = {
		{ 1, 4, "type of service" },
		{ 4, 1, "identification" },
		{ 8, 1, "TTL" },
		{ 15, 1, "source" },
		{ 19, 1, "destination" },
		{ 20, 1, "source port" },
		{ 23, 1, "destination port" },
		{ 27, 1, "sequence" },
		{ 31, 1, "acknowledgement" },
		{ 33, 0x01, "FIN" },
		{ 33, 0x02, "SYN" },
		{ 33, 0x04, "RST" },
		{ 33, 0x20, "URG" },
		{ 33, 0x40, "ECE" },
		{ 33, 0x80, "CWR" },
		{ 33, 0x10, "no ACK" },
		{ 35, 1, "window" },
		{ 39, 1, "urgent pointer" },
		{ 47, 1, "options" },
	};
	struct bench *b = *state;

	test_env_init(&b->env, 14);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct shape s = { .family = IP_V4,
					 .proto = IP_PKT_TCP,
					 .options = 12,
					 .gso_size = 500,
					 .payload = 1000,
					 .flags = IP_PKT_ACK };
		struct ip_pkt ip;

		b->n_segs = 0;
		make_super(b, &s);
		/* Without DF the identification counts. */
		b->super[6] = 0;
		ip_csum_ip4_set(b->super, IP4_HDR_SIZE);
		split(b);
		b->segs[1][cases[i].at] ^= cases[i].flip;
		ip_csum_ip4_set(b->segs[1], IP4_HDR_SIZE);
		assert_int_equal(ip_pkt_parse(&ip, b->segs[1], b->seg_size[1]), 0);
		assert_true(ip_csum_l4_set(b->segs[1], &ip));
		gather(b);
		if (b->gro.n_groups != 2)
			fail_msg("gathered in spite of another %s", cases[i].what);
	}
}

static void offload_flags_follow_the_rules(void **state)
{
	struct bench *b = *state;
	const struct shape s = { .family = IP_V6,
				 .proto = IP_PKT_TCP,
				 .gso_size = 100,
				 .payload = 250,
				 .flags = IP_PKT_ACK | IP_PKT_PSH | IP_PKT_FIN | IP_PKT_CWR };
	const uint8_t want[] = { IP_PKT_ACK | IP_PKT_CWR, IP_PKT_ACK,
				 IP_PKT_ACK | IP_PKT_PSH | IP_PKT_FIN };

	test_env_init(&b->env, 15);
	b->n_segs = 0;
	make_super(b, &s);
	b->hdr.gso_type |= OFFLOAD_GSO_ECN;
	split(b);
	assert_int_equal(b->n_segs, 3);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(b->segs[i][40 + 13], want[i]);
}

static void offload_completes_a_plain_packets_checksum(void **state)
{
	struct bench *b = *state;
	const struct shape s = {
		.family = IP_V4, .proto = IP_PKT_UDP, .gso_size = 100, .payload = 99
	};

	test_env_init(&b->env, 16);
	b->n_segs = 0;
	make_super(b, &s);
	b->hdr.gso_type = OFFLOAD_GSO_NONE;
	b->hdr.gso_size = 0;
	split(b); /* asserts that the checksum is right */
	assert_int_equal(b->n_segs, 1);
}

static void offload_refuses_headers_that_do_not_fit(void **state)
{
	struct bench *b = *state;
	const struct shape s = { .family = IP_V4,
				 .proto = IP_PKT_TCP,
				 .gso_size = 100,
				 .payload = 250,
				 .flags = IP_PKT_ACK };
	struct offload_hdr h;
	struct offload_split sp;

	test_env_init(&b->env, 17);
	make_super(b, &s);
	h = b->hdr;
	h.gso_size = 0;
	assert_int_equal(offload_split_init(&sp, &h, b->super, b->size), -EBADMSG);
	h = b->hdr;
	h.gso_type = OFFLOAD_GSO_TCP6;
	assert_int_equal(offload_split_init(&sp, &h, b->super, b->size), -EBADMSG);
	h.gso_type = 3; /* UFO */
	assert_int_equal(offload_split_init(&sp, &h, b->super, b->size), -EBADMSG);
	assert_int_equal(offload_split_init(&sp, &b->hdr, b->super, 39), -EBADMSG);
	assert_int_equal(offload_split_init(&sp, &b->hdr, b->super, 40), -EBADMSG);
	h = (struct offload_hdr){ .flags = OFFLOAD_NEEDS_CSUM,
				  .csum_start = 280,
				  .csum_offset = 16 };
	assert_int_equal(offload_split_init(&sp, &h, b->super, b->size), -EBADMSG);
	assert_int_equal(offload_split_init(&sp, &h, b->super, 0), -EBADMSG);
}

/* Headers that lie about a packet which is well formed in itself. */
static void offload_refuses_headers_that_lie(void **state)
{
	struct bench *b = *state;
	const struct shape s = { .family = IP_V6,
				 .proto = IP_PKT_TCP,
				 .gso_size = 100,
				 .payload = 250,
				 .flags = IP_PKT_ACK };
	struct offload_hdr h;
	struct offload_split sp;
	struct ip_pkt ip;

	test_env_init(&b->env, 19);
	make_super(b, &s);
	h = b->hdr;
	h.gso_type = OFFLOAD_GSO_UDP; /* it is TCP */
	assert_int_equal(offload_split_init(&sp, &h, b->super, b->size), -EBADMSG);
	h = b->hdr;
	h.csum_start = 44; /* inside the transport header */
	assert_int_equal(offload_split_init(&sp, &h, b->super, b->size), -EBADMSG);
	h.csum_start = UINT16_MAX;
	assert_int_equal(offload_split_init(&sp, &h, b->super, b->size), -EBADMSG);
	/* Bytes that belong to no packet. */
	assert_int_equal(offload_split_init(&sp, &b->hdr, b->super, b->size + 1), -EBADMSG);

	/* A super-packet with a checksum of its own: wrong, then right. */
	h = b->hdr;
	h.flags = 0;
	assert_int_equal(offload_split_init(&sp, &h, b->super, b->size), -EBADMSG);
	assert_int_equal(ip_pkt_parse(&ip, b->super, b->size), 0);
	assert_true(ip_csum_l4_set(b->super, &ip));
	assert_int_equal(offload_split_init(&sp, &h, b->super, b->size), 0);
	assert_int_equal(sp.n_segs, 3);

	/* Segments far larger than the packet: one, and all of it. */
	b->hdr.gso_size = UINT16_MAX;
	b->n_segs = 0;
	split(b);
	assert_int_equal(b->n_segs, 1);
	assert_int_equal(b->seg_size[0], b->size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(offload_gather_undoes_split, setup, teardown),
		cmocka_unit_test_setup_teardown(offload_interleaved_flows_keep_their_order, setup,
						teardown),
		cmocka_unit_test_setup_teardown(offload_damaged_packet_goes_alone_unmodified, setup,
						teardown),
		cmocka_unit_test_setup_teardown(offload_unlike_packets_are_not_gathered, setup,
						teardown),
		cmocka_unit_test_setup_teardown(offload_flags_follow_the_rules, setup, teardown),
		cmocka_unit_test_setup_teardown(offload_completes_a_plain_packets_checksum, setup,
						teardown),
		cmocka_unit_test_setup_teardown(offload_refuses_headers_that_do_not_fit, setup,
						teardown),
		cmocka_unit_test_setup_teardown(offload_refuses_headers_that_lie, setup, teardown),
		cmocka_unit_test_setup_teardown(offload_groups_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(offload_undone_groups_are_what_they_were, setup,
						teardown),
		cmocka_unit_test_setup_teardown(offload_fragments_are_not_overtaken, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
