/* SPDX-License-Identifier: MIT */
/* Work of the packet path in pieces whose instructions tests/check-insn counts: one step function for each
 * piece, on fixed input, with one AEAD backend (OpenSSL), so that a count depends on compiler and libraries
 * alone and not on the machine.
 *
 * Every step runs twice: the first time warms caches, the second is counted (the tool keeps the last dump of
 * each). Run by hand or by make check without the tool, it is a test that each piece does its work:
 * "NAME PACKETS" a line, exit status 1 if one failed. "insn key" tells what was built with and runs on. */
#include "config.h"

#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/bytes.h"
#include "daemon/dpstate.h"
#include "wg/crypto.h"
#include "wg/keypair.h"
#include "wg/routes.h"
#include "wire/classify.h"
#include "wire/geneve.h"
#include "wire/offload.h"

enum {
	SEGS = 48,
	SEG_HDR_MAX = 60,
	SEG_PAYLOAD = 1228, /* with 52 bytes of headers: the MTU */
	SLOT = 1408,        /* room of one packet, a multiple of the cache line */
	PEERS = 10000,
	SUBNETS = 500,
	LOOKUPS = 64,
	VNIS = 8, /* the smallest table holds them: nothing grows */
	RELAY_SIZE = GENEVE_SIZE + 1312,
};

struct bench {
	MESH_ALIGNED(64) uint8_t super[65536];
	MESH_ALIGNED(64) uint8_t pkts[AEAD_BATCH_MAX][SLOT];
	MESH_ALIGNED(64) uint8_t relay[AEAD_BATCH_MAX * RELAY_SIZE];
	const char *ran; /* the last step: tells apart functions that the compiler would merge */
	uint32_t sizes[AEAD_BATCH_MAX];
	size_t super_size;
	struct offload_hdr hdr;
	struct offload_gro gro;
	struct crypto crypto;
	struct keypair *kp, *peer_kp;
	uint64_t counter; /* the next to be sent with */
	struct keypair_pkt kpkts[AEAD_BATCH_MAX];
	struct routes *routes;
	uint8_t addrs[LOOKUPS][16];
	struct replay replay;
	uint64_t counters[AEAD_BATCH_MAX];
	struct dp dp;
	struct worker worker;
	struct usock sock;
	struct usock_addr from;
	struct dp_vni vnis[VNIS];
	struct dp_bound bound;
	struct forward_batch batch;
};

static const struct mono t0 = { 1000 * NS_PER_S };

/* --- packets --- */

static void write_ip(uint8_t *p, uint8_t family, uint8_t proto, size_t l4_size)
{
	struct wr w = WR(p, 40);

	if (family == IP_V4) {
		wr_be32(&w, 0x45000000 | (uint32_t)(20 + l4_size));
		wr_be32(&w, 0x12344000); /* id, DF */
		wr_be32(&w, 0x40000000 | (uint32_t)proto << 16);
		wr_be32(&w, 0x64400001);
		wr_be32(&w, 0x64400002);
		ip_csum_ip4_set(p, IP4_HDR_SIZE);
		return;
	}
	wr_be32(&w, 0x60000000);
	wr_be32(&w, (uint32_t)(l4_size & 0xffff) << 16 | (uint32_t)proto << 8 | 64);
	wr_be32(&w, 0xfd7a0000);
	wr_zero(&w, 8);
	wr_be32(&w, 1);
	wr_be32(&w, 0xfd7a0000);
	wr_zero(&w, 8);
	wr_be32(&w, 2);
}

/* A super-packet as TUN hands it over: 32 bytes of TCP header with a timestamp option, or 8 of UDP. */
static void make_super(struct bench *b, uint8_t family, uint8_t proto)
{
	const size_t ip_size = family == IP_V4 ? 20 : 40, l4_hdr = proto == IP_PKT_TCP ? 32 : 8;
	const size_t l4_size = l4_hdr + (size_t)SEGS * SEG_PAYLOAD;
	uint8_t *l4 = b->super + ip_size;
	struct wr w = WR(l4, 32);
	uint16_t csum;

	write_ip(b->super, family, proto, l4_size);
	wr_be32(&w, 0x13891f90); /* ports */
	if (proto == IP_PKT_TCP) {
		wr_be32(&w, 1000000);
		wr_be32(&w, 2000000);
		wr_be32(&w, 0x80101000); /* 32 bytes, ACK */
		wr_be32(&w, 0);
		wr_be32(&w, 0x0101080a);
		wr_be64(&w, 0x0000100000002000);
	} else {
		wr_be32(&w, (uint32_t)(l4_size & 0xffff) << 16);
	}
	for (size_t i = 0; i < (size_t)SEGS * SEG_PAYLOAD; i++)
		l4[l4_hdr + i] = (uint8_t)(i * 7);
	csum = (uint16_t)~ip_csum_fold(ip_csum_pseudo(
		family, b->super + (family == IP_V4 ? 12 : 8), b->super + (family == IP_V4 ? 16 : 24),
		proto, (uint32_t)l4_size));
	memcpy(l4 + (proto == IP_PKT_TCP ? 16 : 6), &csum, 2);
	b->super_size = ip_size + l4_size;
	b->hdr = (struct offload_hdr){ .flags = OFFLOAD_NEEDS_CSUM,
				       .gso_type = proto == IP_PKT_UDP ? OFFLOAD_GSO_UDP
						   : family == IP_V4   ? OFFLOAD_GSO_TCP4
								       : OFFLOAD_GSO_TCP6,
				       .hdr_size = (uint16_t)(ip_size + l4_hdr),
				       .gso_size = SEG_PAYLOAD,
				       .csum_start = (uint16_t)ip_size,
				       .csum_offset = proto == IP_PKT_TCP ? 16 : 6 };
}

static bool split(struct bench *b)
{
	struct offload_split s;
	uint32_t n = 0;

	if (offload_split_init(&s, &b->hdr, b->super, b->super_size) < 0)
		return false;
	while (n < SEGS && (b->sizes[n] = offload_split_next(&s, b->pkts[n])) != 0)
		n++;
	return n == SEGS;
}

static bool coalesce(struct bench *b)
{
	struct offload_hdr hdr;

	offload_gro_begin(&b->gro, true, true);
	for (uint32_t i = 0; i < SEGS; i++) {
		struct ip_pkt ip;

		if (ip_pkt_parse(&ip, b->pkts[i], b->sizes[i]) < 0)
			return false;
		offload_gro_add(&b->gro, b->pkts[i], &ip);
	}
	for (uint32_t i = 0; i < b->gro.n_groups; i++)
		offload_gro_finish(&b->gro, i, &hdr);
	return b->gro.n_groups == 1 && hdr.gso_size == SEG_PAYLOAD;
}

static bool prepare_tcp4(struct bench *b)
{
	make_super(b, IP_V4, IP_PKT_TCP);
	return true;
}

static bool prepare_tcp6(struct bench *b)
{
	make_super(b, IP_V6, IP_PKT_TCP);
	return true;
}

static bool prepare_udp4(struct bench *b)
{
	make_super(b, IP_V4, IP_PKT_UDP);
	return true;
}

/* Gathering changes headers, so that its packets are made anew before each round. */
static bool prepare_segs_tcp4(struct bench *b)
{
	return prepare_tcp4(b) && split(b);
}

static bool prepare_segs_udp4(struct bench *b)
{
	return prepare_udp4(b) && split(b);
}

/* The tool counts by function name: each step is one, never inlined, with nothing of the preparation in it. */
#define STEP(name) __attribute__((noinline)) static bool step_##name(struct bench *b)

STEP(split_tcp4)
{
	b->ran = "split_tcp4";
	return split(b);
}

STEP(split_tcp6)
{
	b->ran = "split_tcp6";
	return split(b);
}

STEP(split_udp4)
{
	b->ran = "split_udp4";
	return split(b);
}

STEP(coalesce_tcp4)
{
	b->ran = "coalesce_tcp4";
	return coalesce(b);
}

STEP(coalesce_udp4)
{
	b->ran = "coalesce_udp4";
	return coalesce(b);
}

/* --- sealing --- */

static bool prepare_keys(struct bench *b)
{
	struct keypair_cfg cfg = {
		.crypto = &b->crypto, .local_index = 1, .remote_index = 2, .created = t0
	};

	if (b->kp)
		return true;
	b->crypto = (struct crypto){ .aead = &aead_openssl,
				     .chacha20_poly1305 =
					     EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL) };
	memset(cfg.send_key, 1, sizeof(cfg.send_key));
	memset(cfg.recv_key, 2, sizeof(cfg.recv_key));
	b->kp = keypair_new(&cfg);
	memset(cfg.send_key, 2, sizeof(cfg.send_key));
	memset(cfg.recv_key, 1, sizeof(cfg.recv_key));
	cfg.local_index = 2;
	cfg.remote_index = 1;
	b->peer_kp = keypair_new(&cfg);
	return b->kp && b->peer_kp;
}

static bool prepare_plain(struct bench *b, uint32_t size)
{
	for (uint32_t i = 0; i < AEAD_BATCH_MAX; i++)
		b->kpkts[i] = (struct keypair_pkt){ .data = b->pkts[i] + 16, .size = size };
	return prepare_keys(b);
}

static bool prepare_plain_1280(struct bench *b)
{
	return prepare_plain(b, 1280);
}

static bool prepare_plain_64(struct bench *b)
{
	return prepare_plain(b, 64);
}

static bool seal(struct bench *b)
{
	const struct aead_thread thread = { 0 };

	return keypair_reserve(b->kp, t0, AEAD_BATCH_MAX, &b->counter) == 0 &&
	       keypair_seal_n(b->kp, 0, &thread, 1280, b->counter, b->kpkts, AEAD_BATCH_MAX) ==
		       aead_all(AEAD_BATCH_MAX);
}

static bool prepare_sealed(struct bench *b)
{
	if (!prepare_plain_1280(b) || !seal(b))
		return false;
	for (uint32_t i = 0; i < AEAD_BATCH_MAX; i++)
		b->kpkts[i].data -= 16;
	return true;
}

STEP(seal_1280)
{
	b->ran = "seal_1280";
	return seal(b);
}

STEP(seal_64)
{
	b->ran = "seal_64";
	return seal(b);
}

STEP(open_1280)
{
	const struct aead_thread thread = { 0 };
	const uint64_t all = aead_all(AEAD_BATCH_MAX);

	b->ran = "open_1280";
	return keypair_open_n(b->peer_kp, 0, &thread, t0, b->kpkts, AEAD_BATCH_MAX) == all;
}

/* --- looking up --- */

static void put_addr4(uint8_t dst[static 4], uint32_t addr)
{
	struct wr w = WR(dst, 4);

	wr_be32(&w, addr);
}

static struct ip addr4(uint32_t addr)
{
	uint8_t b[4];

	put_addr4(b, addr);
	return ip4_be(b);
}

static bool prepare_routes(struct bench *b)
{
	struct routes_entry *entries;
	uint32_t n = 0;

	if (b->routes)
		return true;
	entries = calloc(2 * PEERS + SUBNETS, sizeof(*entries));
	if (!entries)
		return false;
	for (uint32_t i = 0; i < PEERS; i++) {
		uint8_t a6[16] = { 0xfd, 0x7a, 0x11, [13] = 1 };

		a6[14] = (uint8_t)(i >> 8);
		a6[15] = (uint8_t)i;
		entries[n++] = (struct routes_entry){ { addr4(0x64400000 + i), 32 }, i };
		entries[n++] = (struct routes_entry){ { ip6(a6), 128 }, i };
	}
	for (uint32_t i = 0; i < SUBNETS; i++)
		entries[n++] = (struct routes_entry){ { addr4(0x0a000000 + (i << 16)), 16 }, i };
	b->routes = routes_new(entries, n, 7);
	free(entries);
	return b->routes != NULL;
}

static bool prepare_lookup4(struct bench *b)
{
	for (uint32_t i = 0; i < LOOKUPS; i++)
		put_addr4(b->addrs[i], 0x64400000 + i * 151);
	return prepare_routes(b);
}

static bool prepare_lookup6(struct bench *b)
{
	for (uint32_t i = 0; i < LOOKUPS; i++) {
		struct wr w = WR(b->addrs[i], 16);

		wr_be32(&w, 0xfd7a1100);
		wr_zero(&w, 8);
		wr_be32(&w, 0x10000 + i * 151);
	}
	return prepare_routes(b);
}

static bool prepare_lookup_subnet(struct bench *b)
{
	for (uint32_t i = 0; i < LOOKUPS; i++)
		put_addr4(b->addrs[i], 0x0a000001 + (i * 7 << 16));
	return prepare_routes(b);
}

static bool lookup(struct bench *b, uint8_t family)
{
	bool ok = true;

	for (uint32_t i = 0; i < LOOKUPS; i++)
		ok &= routes_lookup(b->routes, family, b->addrs[i]) != ROUTES_NONE;
	return ok;
}

STEP(lookup4)
{
	b->ran = "lookup4";
	return lookup(b, IP_V4);
}

STEP(lookup6)
{
	b->ran = "lookup6";
	return lookup(b, IP_V6);
}

STEP(lookup_subnet)
{
	b->ran = "lookup_subnet";
	return lookup(b, IP_V4);
}

/* --- replay window --- */

/* Every fourth packet comes late by ten. */
static bool prepare_replay(struct bench *b)
{
	const uint64_t base = b->counters[0] + 2 * AEAD_BATCH_MAX;

	for (uint32_t i = 0; i < AEAD_BATCH_MAX; i++)
		b->counters[i] = base + 2 * i - (i % 4 == 3 ? 21 : 0);
	return true;
}

STEP(replay)
{
	uint64_t mask = 0;

	b->ran = "replay";
	for (uint32_t i = 0; i < AEAD_BATCH_MAX; i++)
		mask |= (uint64_t)replay_check(&b->replay, b->counters[i]) << i;
	return replay_accept_n(&b->replay, b->counters, AEAD_BATCH_MAX, mask) ==
	       aead_all(AEAD_BATCH_MAX);
}

/* --- relay --- */

static bool prepare_relay(struct bench *b, uint32_t n_vnis)
{
	const struct usock_cfg cfg = { .family = IP_V4 };
	struct ep to = { .ip = ip4(127, 0, 0, 1) }, from = { .ip = ip4(127, 0, 0, 2), .port = 4000 };

	if (!b->batch.w) {
		if (usock_open(&b->sock, &cfg) < 0)
			return false;
		/* What is sent comes back to the socket, which nobody reads. */
		to.port = b->sock.port;
		b->from = usock_addr(&from);
		b->bound = (struct dp_bound){ .to = { b->from, usock_addr(&to) }, .ep = { from, to } };
		slots_init(&b->dp.vnis, NULL);
		for (uint32_t i = 0; i < VNIS; i++) {
			b->vnis[i].slot.key = i + 1;
			snapshot_store(&b->vnis[i].bound, &b->bound);
			if (slots_put(&b->dp.vnis, &b->vnis[i].slot) < 0)
				return false;
		}
		b->worker.dp = &b->dp;
		b->batch.w = &b->worker;
		b->batch.sock[0] = &b->sock;
	}
	for (uint32_t i = 0; i < SEGS; i++) {
		uint8_t *p = b->relay + (size_t)i * RELAY_SIZE;

		geneve_write(p, GENEVE_PROTO_WIREGUARD, 1 + i % n_vnis, false);
		memset(p + GENEVE_SIZE, 0, 16);
		p[GENEVE_SIZE] = WGMSG_DATA;
	}
	return true;
}

static bool prepare_relay_bulk(struct bench *b)
{
	return prepare_relay(b, 1);
}

static bool prepare_relay_mixed(struct bench *b)
{
	return prepare_relay(b, VNIS);
}

/* As forward.c handles what one receive gave. */
static bool relay(struct bench *b)
{
	const uint64_t before = counter_get(&b->worker.tally.relay_pkts[0][0]);

	for (uint32_t i = 0; i < SEGS; i++) {
		uint8_t *p = b->relay + (size_t)i * RELAY_SIZE;
		struct geneve_hdr hdr;

		if (classify(p, RELAY_SIZE).kind == CLASSIFY_STUN ||
		    geneve_parse(&hdr, p, RELAY_SIZE) < 0 || hdr.control ||
		    !forward_add(&b->batch, t0, hdr.vni, &b->from, p, RELAY_SIZE))
			return false;
	}
	forward_flush(&b->batch);
	return counter_get(&b->worker.tally.relay_pkts[0][0]) == before + SEGS;
}

STEP(relay_bulk)
{
	b->ran = "relay_bulk";
	return relay(b);
}

STEP(relay_mixed)
{
	b->ran = "relay_mixed";
	return relay(b);
}

/* --- all of them --- */

static const struct {
	const char *name;
	bool (*prepare)(struct bench *b);
	bool (*step)(struct bench *b);
	unsigned n_pkts;
} list[] = {
	{ "split_tcp4", prepare_tcp4, step_split_tcp4, SEGS },
	{ "split_tcp6", prepare_tcp6, step_split_tcp6, SEGS },
	{ "split_udp4", prepare_udp4, step_split_udp4, SEGS },
	{ "coalesce_tcp4", prepare_segs_tcp4, step_coalesce_tcp4, SEGS },
	{ "coalesce_udp4", prepare_segs_udp4, step_coalesce_udp4, SEGS },
	{ "seal_1280", prepare_plain_1280, step_seal_1280, AEAD_BATCH_MAX },
	{ "seal_64", prepare_plain_64, step_seal_64, AEAD_BATCH_MAX },
	{ "open_1280", prepare_sealed, step_open_1280, AEAD_BATCH_MAX },
	{ "lookup4", prepare_lookup4, step_lookup4, LOOKUPS },
	{ "lookup6", prepare_lookup6, step_lookup6, LOOKUPS },
	{ "lookup_subnet", prepare_lookup_subnet, step_lookup_subnet, LOOKUPS },
	{ "replay", prepare_replay, step_replay, AEAD_BATCH_MAX },
	{ "relay_bulk", prepare_relay_bulk, step_relay_bulk, SEGS },
	{ "relay_mixed", prepare_relay_mixed, step_relay_mixed, SEGS },
};

static void wipe(struct bench *b)
{
	keypair_put(b->kp);
	keypair_put(b->peer_kp);
	EVP_CIPHER_free(b->crypto.chacha20_poly1305);
	routes_free(b->routes);
	slots_wipe(&b->dp.vnis);
	if (b->batch.w)
		usock_close(&b->sock);
	free(b);
}

/* What the counts depend on beside the flags of the compiler. */
static void print_key(void)
{
#ifdef __clang__
	printf("clang-%d", __clang_major__);
#else
	printf("gcc-%d", __GNUC__);
#endif
	printf(" glibc-%s openssl-%u.%u\n", gnu_get_libc_version(), OPENSSL_version_major(),
	       OPENSSL_version_minor());
}

int main(int argc, char **argv)
{
	struct bench *b = aligned_alloc(64, (sizeof(*b) + 63) / 64 * 64);
	bool ok = b != NULL;

	if (argc == 2 && !strcmp(argv[1], "key")) {
		print_key();
		free(b);
		return 0;
	}
	if (b)
		memset(b, 0, sizeof(*b));
	for (size_t i = 0; ok && i < ARRAY_LEN(list); i++) {
		for (int round = 0; ok && round < 2; round++)
			ok = list[i].prepare(b) && list[i].step(b) && !strcmp(b->ran, list[i].name);
		printf("%s %u%s\n", list[i].name, list[i].n_pkts, ok ? "" : " failed");
	}
	if (b)
		wipe(b);
	return !ok;
}
