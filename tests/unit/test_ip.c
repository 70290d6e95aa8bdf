/* SPDX-License-Identifier: MIT */
/* wire/ip: header parsing by table, extension headers and fragments, checksums against RFC 1071's
 * definition and known packets. */
#include "tests/unit/testing.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "wire/echo.h"
#include "wire/ip.h"

/* An echo request, 192.0.2.1 -> 198.51.100.2, id 0x1234, with right checksums. */
static const char icmp4[] = "4500001c0000400040014eaac0000201c6336402 0800e5ca12340001";

/* Hex with blanks. */
static size_t unhex(uint8_t *buf, const char *hex)
{
	char dense[512];
	size_t n = 0;

	for (; *hex; hex++) {
		if (*hex != ' ')
			dense[n++] = *hex;
	}
	dense[n] = 0;
	test_unhex(buf, n / 2, dense);
	return n / 2;
}

static void ip_parses_ipv4(void **state)
{
	uint8_t buf[256];
	struct ip_pkt p;
	size_t n = unhex(buf, icmp4);
	struct ip a;

	(void)state;
	assert_int_equal(n, 28);
	assert_int_equal(ip_pkt_parse(&p, buf, n + 8), 0); /* padding behind is ignored */
	assert_int_equal(p.family, IP_V4);
	assert_int_equal(p.size, 28);
	assert_int_equal(p.l4, 20);
	assert_int_equal(p.proto, IP_PKT_ICMP);
	assert_int_equal(p.icmp_type, 8);
	assert_int_equal(p.src_port, 0x1234);
	assert_true(p.has_l4);
	assert_false(p.is_frag);
	a = ip_pkt_src(&p);
	assert_true(ip_eq(&a, &(struct ip){ .family = IP_V4, .b = { 192, 0, 2, 1 } }));
	a = ip_pkt_dst(&p);
	assert_true(ip_eq(&a, &(struct ip){ .family = IP_V4, .b = { 198, 51, 100, 2 } }));
}

static void ip_refuses_malformed_ipv4(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		size_t size;
	} table[] = {
		{ 0, 0x45, 19 },                /* shorter than a header */
		{ 0, 0x45, 27 },                /* shorter than the total length */
		{ 0, 0x44, 28 },                /* header length 16 */
		{ 0, 0x48, 28 },                /* header length over the total length */
		{ 0, 0x55, 28 },                /* no such version */
		{ 0, 0x05, 28 }, { 3, 19, 28 }, /* total length below the header's */
		{ 2, 0x01, 28 },                /* total length over what is there */
	};
	uint8_t buf[64];
	struct ip_pkt p = { .size = 7 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		(void)unhex(buf, icmp4);
		buf[table[i].at] = table[i].value;
		if (ip_pkt_parse(&p, buf, table[i].size) != -EBADMSG)
			fail_msg("row %zu", i);
		assert_int_equal(p.size, 7);
	}
	assert_int_equal(ip_pkt_parse(&p, buf, 0), -EBADMSG);
}

static void ip_skips_ipv4_options(void **state)
{
	/* 24-byte header with a router alert, UDP 53 -> 5353 */
	static const char hex[] = "4600 0020 0000 0000 4011 0000 c0000201 c6336402 94040000"
				  "0035 14e9 0008 0000";
	uint8_t buf[64];
	struct ip_pkt p;

	(void)state;
	assert_int_equal(ip_pkt_parse(&p, buf, unhex(buf, hex)), 0);
	assert_int_equal(p.l4, 24);
	assert_int_equal(p.src_port, 53);
	assert_int_equal(p.dst_port, 5353);
}

static void ip_tells_ipv4_fragments_apart(void **state)
{
	static const char hex[] = "4500 0024 0001 2000 4006 0000 c0000201 c6336402"
				  "0016 0050 00000000 00000000 5002 0000";
	uint8_t buf[64];
	struct ip_pkt p;
	size_t n = unhex(buf, hex);

	(void)state;
	/* A first fragment whose TCP header is cut at 16 bytes. */
	assert_int_equal(ip_pkt_parse(&p, buf, n), 0);
	assert_true(p.is_frag);
	assert_true(p.more_frags);
	assert_int_equal(p.frag_off, 0);
	assert_false(p.has_l4);
	assert_int_equal(p.dst_port, 0);
	/* A later one: its payload is not a TCP header. */
	buf[6] = 0x00;
	buf[7] = 0x0a;
	assert_int_equal(ip_pkt_parse(&p, buf, n), 0);
	assert_int_equal(p.frag_off, 80);
	assert_true(p.is_frag);
	assert_false(p.has_l4);
	assert_int_equal(p.src_port, 0);
	/* One that would end past 65,535 bytes. */
	buf[6] = 0x1f;
	buf[7] = 0xff;
	assert_int_equal(ip_pkt_parse(&p, buf, n), -EBADMSG);
}

#define V6_HEAD(len, next)                 \
	"60000000" len next "40"           \
	"20010db8000000000000000000000001" \
	"20010db8000000000000000000000002"

static void ip_walks_ipv6_extension_headers(void **state)
{
	static const struct {
		const char *hex;
		int err;
		uint8_t proto;
		uint16_t l4, frag_off;
		bool is_frag, has_l4;
	} table[] = {
		/* UDP at once */
		{ V6_HEAD("0008", "11") "0035003500080000", 0, 17, 40, 0, false, true },
		/* hop-by-hop, destination options, routing, UDP */
		{ V6_HEAD("0020", "00") "3c00000000000000"
					"2b00000000000000"
					"1100000000000000"
					"0035003500080000",
		  0, 17, 64, 0, false, true },
		/* hop-by-hop not first */
		{ V6_HEAD("0018", "3c") "0000000000000000"
					"1100000000000000"
					"0035003500080000",
		  -EBADMSG, 0, 0, 0, false, false },
		/* first fragment */
		{ V6_HEAD("0010", "2c") "1100000100000001"
					"0035003500080000",
		  0, 17, 48, 0, true, true },
		/* later fragment, offset 1448 */
		{ V6_HEAD("0010", "2c") "110005a800000001"
					"0035003500080000",
		  0, 17, 48, 1448, true, false },
		/* atomic fragment is a whole packet */
		{ V6_HEAD("0010", "2c") "1100000000000001"
					"0035003500080000",
		  0, 17, 48, 0, false, true },
		/* two fragment headers */
		{ V6_HEAD("0018", "2c") "2c00000100000001"
					"1100000100000001"
					"0035003500080000",
		  -EBADMSG, 0, 0, 0, false, false },
		/* an extension header that passes the payload's end */
		{ V6_HEAD("0008", "3c") "1101000000000000", -EBADMSG, 0, 0, 0, false, false },
		/* AH counts in words of 4 */
		{ V6_HEAD("0014", "33") "110100000000000000000000"
					"0035003500080000",
		  0, 17, 52, 0, false, true },
		/* no next header */
		{ V6_HEAD("0000", "3b"), 0, 59, 40, 0, false, false },
		/* UDP cut short */
		{ V6_HEAD("0004", "11") "00350035", 0, 17, 40, 0, false, false },
		/* payload longer than what is there (a jumbogram's payload length is 0: no next
		   header) */
		{ V6_HEAD("0009", "11") "0035003500080000", -EBADMSG, 0, 0, 0, false, false },
		/* nine destination options */
		{ V6_HEAD("0048", "3c") "3c00000000000000"
					"3c00000000000000"
					"3c00000000000000"
					"3c00000000000000"
					"3c00000000000000"
					"3c00000000000000"
					"3c00000000000000"
					"3c00000000000000"
					"1100000000000000",
		  -EBADMSG, 0, 0, 0, false, false },
	};
	uint8_t buf[256];
	struct ip_pkt p;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		size_t n = unhex(buf, table[i].hex);

		if (ip_pkt_parse(&p, buf, n) != table[i].err)
			fail_msg("row %zu", i);
		if (table[i].err)
			continue;
		if (p.proto != table[i].proto || p.l4 != table[i].l4 ||
		    p.frag_off != table[i].frag_off || p.is_frag != table[i].is_frag ||
		    p.has_l4 != table[i].has_l4)
			fail_msg("row %zu: proto %u l4 %u off %u frag %d l4 %d", i, p.proto, p.l4,
				 p.frag_off, p.is_frag, p.has_l4);
		if (p.has_l4)
			assert_int_equal(p.dst_port, 53);
	}
}

static void ip_refuses_mapped_addresses(void **state)
{
	static const char hex[] = "60000000"
				  "0008"
				  "11"
				  "40"
				  "00000000000000000000ffffc0000201"
				  "20010db8000000000000000000000002"
				  "0035003500080000";
	uint8_t buf[64];
	struct ip_pkt p;

	(void)state;
	assert_int_equal(ip_pkt_parse(&p, buf, unhex(buf, hex)), -EBADMSG);
}

/* RFC 1071, as defined: 16-bit words, carries folded. */
static uint16_t slow_checksum(const uint8_t *buf, size_t size)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum += (uint32_t)buf[i] << (i % 2 ? 0 : 8);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void ip_csum_equals_the_definition(void **state)
{
	uint8_t *buf = malloc(70000);
	struct test_env t;

	(void)state;
	assert_non_null(buf);
	test_env_init(&t, 1071);
	for (int round = 0; round < 4000; round++) {
		size_t off = test_random(&t) % 16,
		       size = test_random(&t) % (round % 50 ? 300 : 65500);
		size_t cut = size ? test_random(&t) % size & ~(size_t)1 : 0;
		uint8_t two[2];
		uint16_t sum;

		for (size_t i = 0; i < size; i++)
			buf[off + i] = round % 3 ? (uint8_t)test_random(&t) : 0xff;
		sum = ip_csum_fold(ip_csum_add(0, buf + off, size));
		memcpy(two, &sum, 2);
		if ((two[0] << 8 | two[1]) != slow_checksum(buf + off, size))
			fail_msg("size %zu at %zu", size, off);
		/* In two pieces, the first of even size. */
		assert_int_equal(sum, ip_csum_fold(ip_csum_add(ip_csum_add(0, buf + off, cut),
							       buf + off + cut, size - cut)));
	}
	free(buf);
}

static void ip_csum_accepts_known_packets(void **state)
{
	/* made by a kernel: IPv4 header, ICMP above; UDP and TCP over IPv6 by hand below */
	uint8_t buf[256], was[2];
	struct ip_pkt p;
	size_t n = unhex(buf, icmp4);

	(void)state;
	memcpy(was, buf + 10, 2);
	ip_csum_ip4_set(buf, 20);
	assert_memory_equal(buf + 10, was, 2);
	assert_int_equal(ip_pkt_parse(&p, buf, n), 0);
	assert_true(ip_csum_l4_ok(&p));
	buf[27] ^= 1;
	assert_false(ip_csum_l4_ok(&p));
	assert_true(ip_csum_l4_set(buf, &p));
	assert_true(ip_csum_l4_ok(&p));
}

/* Every protocol with a checksum, both families: set, check, damage, check. */
static void ip_csum_finds_every_flipped_bit(void **state)
{
	static const char *const packets[] = {
		"4500 002c 0000 4000 4006 0000 64400001 64400002 0016 0050 00000001 00000002 5010 "
		"ffff 0000"
		" 0000 01020304",
		"4500 001f 0000 4000 4011 0000 64400001 64400002 0035 0036 000b 0000 616263",
		V6_HEAD("0018", "06") "0016005000000001000000025010ffff00000000 01020304",
		V6_HEAD("000b", "11") "00350036000b0000616263",
		V6_HEAD("0009", "3a") "800000001234000161",
	};
	uint8_t buf[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(packets); i++) {
		size_t n = unhex(buf, packets[i]);
		struct ip_pkt p;

		assert_int_equal(ip_pkt_parse(&p, buf, n), 0);
		assert_true(p.has_l4);
		assert_true(ip_csum_l4_set(buf, &p));
		assert_true(ip_csum_l4_ok(&p));
		for (size_t bit = (size_t)p.l4 * 8; bit < n * 8; bit++) {
			buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (ip_csum_l4_ok(&p))
				fail_msg("packet %zu bit %zu", i, bit);
			buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

static void ip_csum_knows_the_zero_of_udp(void **state)
{
	uint8_t buf[64];
	struct ip_pkt p;

	(void)state;
	(void)unhex(buf,
		    "4500 001f 0000 4000 4011 0000 64400001 64400002 0035 0036 000b 0000 616263");
	assert_int_equal(ip_pkt_parse(&p, buf, 31), 0);
	assert_true(ip_csum_l4_ok(&p)); /* not computed */
	(void)unhex(buf, V6_HEAD("000b", "11") "00350036000b0000616263");
	assert_int_equal(ip_pkt_parse(&p, buf, 51), 0);
	assert_false(ip_csum_l4_ok(&p)); /* not allowed over IPv6 */
	/* A payload whose sum is zero is sent as ffff. */
	(void)unhex(buf,
		    "4500 001e 0000 4000 4011 0000 64400001 64400002 0035 0036 000a 0000 0000");
	assert_int_equal(ip_pkt_parse(&p, buf, 30), 0);
	for (unsigned v = 0; v < 0x10000; v++) {
		buf[28] = (uint8_t)(v >> 8);
		buf[29] = (uint8_t)v;
		assert_true(ip_csum_l4_set(buf, &p));
		assert_false(buf[26] == 0 && buf[27] == 0);
		assert_true(ip_csum_l4_ok(&p));
	}
	/* Fragments have nothing to check. */
	buf[6] = 0x20;
	assert_int_equal(ip_pkt_parse(&p, buf, 30), 0);
	assert_false(ip_csum_l4_ok(&p));
	assert_false(ip_csum_l4_set(buf, &p));
}

/* A request becomes an answer by its type and checksum alone. */
static void echo_knows_its_own_answers(void **state)
{
	static const uint8_t id[ECHO_ID_SIZE] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	static const char *const ips[2][2] = { { "100.64.0.1", "100.64.0.2" }, { "fd7a:115c:a1e0::1", "fd7a:115c:a1e0::2" } };
	struct ip a[2][2];

	(void)state;
	for (int f = 0; f < 2; f++)
		for (int i = 0; i < 2; i++)
			assert_int_equal(ip_parse(&a[f][i], ips[f][i], strlen(ips[f][i])), 0);
	for (int f = 0; f < 2; f++) {
		const size_t l4 = f ? IP6_HDR_SIZE : IP4_HDR_SIZE;
		uint8_t buf[ECHO_SIZE_MAX], got[ECHO_ID_SIZE];
		struct ip_pkt p;
		int n = echo_write(buf, sizeof(buf), &a[f][0], &a[f][1], id);

		assert_int_equal(n, f ? 64 : 44);
		assert_int_equal(ip_pkt_parse(&p, buf, (size_t)n), 0);
		assert_int_equal(p.icmp_type, f ? 128 : 8);
		assert_true(ip_csum_l4_ok(&p));
		assert_false(echo_is_answer(&p, NULL)); /* the request is none */
		assert_int_equal(echo_write(buf, (size_t)n - 1, &a[f][0], &a[f][1], id), -ENOBUFS);
		assert_int_equal(echo_write(buf, sizeof(buf), &a[f][0], &a[!f][1], id), -EPROTO);
		assert_int_equal(echo_write(buf, sizeof(buf), &a[f][0], &a[f][1], id), n);
		buf[l4] = f ? 129 : 0;
		assert_int_equal(ip_pkt_parse(&p, buf, (size_t)n), 0);
		assert_true(echo_is_answer(&p, got));
		assert_memory_equal(got, id, sizeof(id));
		buf[l4 + 8] ^= 1; /* another program's */
		assert_false(echo_is_answer(&p, got));
		buf[l4 + 8] ^= 1;
		p.size--; /* cut */
		assert_false(echo_is_answer(&p, got));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ip_parses_ipv4),
		cmocka_unit_test(ip_refuses_malformed_ipv4),
		cmocka_unit_test(ip_skips_ipv4_options),
		cmocka_unit_test(ip_tells_ipv4_fragments_apart),
		cmocka_unit_test(ip_walks_ipv6_extension_headers),
		cmocka_unit_test(ip_refuses_mapped_addresses),
		cmocka_unit_test(ip_csum_equals_the_definition),
		cmocka_unit_test(ip_csum_accepts_known_packets),
		cmocka_unit_test(ip_csum_finds_every_flipped_bit),
		cmocka_unit_test(ip_csum_knows_the_zero_of_udp),
		cmocka_unit_test(echo_knows_its_own_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
