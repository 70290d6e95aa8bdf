/* SPDX-License-Identifier: MIT */
/* Datagrams through a relay over many flows: Geneve sessions of a peer relay, or channels of a TURN
 * server (RFC 8656).
 *
 * usage: relayload geneve ADDRESS PORT FLOWS SIZE SECONDS RATE VNI
 *        relayload turn   ADDRESS PORT FLOWS SIZE SECONDS RATE PEER
 *
 * Flow i sends from port BASE_PORT + i to the relay, and is meant for port BASE_PORT + i of the
 * other side, whose packet filter counts what comes. One flow sends in bulk (UDP GSO); more take
 * turns with single datagrams, which no offload can gather, RATE a second or (0) as fast as they
 * leave. Says "ready" when every flow is set up, waits for a line on stdin, sends for SECONDS and
 * prints {"sent": N}. For TURN the server must run without authentication. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "wire/geneve.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { BASE_PORT = 20000, FLOWS_MAX = 20000, SIZE_MAX_BYTES = 1500, BULK_SEGMENTS = 40 };
enum { TURN_COOKIE = 0x2112a442, TURN_CHANNEL = 0x4000, TURN_TRIES = 5, TURN_WAIT_MS = 500 };
enum { TURN_ALLOCATE = 0x0003, TURN_CREATE_PERMISSION = 0x0008, TURN_CHANNEL_BIND = 0x0009 };
enum {
	ATTR_CHANNEL_NUMBER = 0x000c,
	ATTR_XOR_PEER_ADDRESS = 0x0012,
	ATTR_REQUESTED_TRANSPORT = 0x0019
};

struct load {
	bool is_turn;
	struct sockaddr_in relay;
	uint32_t peer, vni; /* host order */
	size_t n_flows, size;
	double seconds, rate;
	int *fds;
	uint8_t bulk[BULK_SEGMENTS * SIZE_MAX_BYTES];
};

static void die(const char *what)
{
	(void)fprintf(stderr, "relayload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static uint32_t parse_ip(const char *text)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) != 1) {
		errno = EINVAL;
		die(text);
	}
	return ntohl(a.s_addr);
}

static int open_flow(const struct load *l, size_t i)
{
	const struct sockaddr_in from = { .sin_family = AF_INET,
					  .sin_port = htons((uint16_t)(BASE_PORT + i)) };
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&from, sizeof(from)) < 0 ||
	    connect(fd, (const struct sockaddr *)&l->relay, sizeof(l->relay)) < 0)
		die("flow");
	return fd;
}

/* --- TURN --- */

static void put_peer(struct wr *w, uint32_t ip, uint16_t port)
{
	wr_be16(w, ATTR_XOR_PEER_ADDRESS);
	wr_be16(w, 8);
	wr_u8(w, 0);
	wr_u8(w, 1);
	wr_be16(w, port ^ (TURN_COOKIE >> 16));
	wr_be32(w, ip ^ TURN_COOKIE);
}

static size_t write_request(uint8_t *buf, size_t cap, uint16_t method, const struct load *l,
			    size_t i)
{
	struct wr w = WR(buf, cap);
	size_t size;

	wr_be16(&w, method);
	wr_be16(&w, 0); /* length: below */
	wr_be32(&w, TURN_COOKIE);
	wr_be32(&w, method);
	wr_be64(&w, i);
	if (method == TURN_ALLOCATE) {
		wr_be16(&w, ATTR_REQUESTED_TRANSPORT);
		wr_be16(&w, 4);
		wr_be32(&w, (uint32_t)IPPROTO_UDP << 24);
	} else {
		if (method == TURN_CHANNEL_BIND) {
			wr_be16(&w, ATTR_CHANNEL_NUMBER);
			wr_be16(&w, 4);
			wr_be32(&w, (uint32_t)TURN_CHANNEL << 16);
		}
		put_peer(&w, l->peer, (uint16_t)(BASE_PORT + i));
	}
	size = (size_t)(w.p - buf);
	w = WR(buf + 2, 2);
	wr_be16(&w, (uint16_t)(size - 20));
	return size;
}

/* Sends a request until its success response comes. */
static void request(const struct load *l, size_t i, uint16_t method)
{
	uint8_t out[128], in[1500];
	const size_t size = write_request(out, sizeof(out), method, l, i);

	for (int t = 0; t < TURN_TRIES; t++) {
		struct pollfd p = { .fd = l->fds[i], .events = POLLIN };

		if (send(p.fd, out, size, 0) < 0)
			die("send");
		while (poll(&p, 1, TURN_WAIT_MS) > 0) {
			const ssize_t n = recv(p.fd, in, sizeof(in), 0);

			if (n < 20 || memcmp(in + 4, out + 4, 16) != 0)
				continue;
			if (in[0] == 0x01 && in[1] == method)
				return;
			(void)fprintf(stderr, "relayload: flow %zu: method %u: refused\n", i,
				      method);
			exit(1);
		}
	}
	errno = ETIMEDOUT;
	die("TURN");
}

/* --- data --- */

/* Puts the relay's header in front of a datagram of flow 'i'; returns the whole size. */
static size_t frame(const struct load *l, uint8_t *buf, size_t i)
{
	if (l->is_turn) {
		struct wr w = WR(buf, 4);

		wr_be16(&w, TURN_CHANNEL);
		wr_be16(&w, (uint16_t)l->size);
		return 4 + l->size;
	}
	geneve_write(buf, GENEVE_PROTO_WIREGUARD, l->vni + (uint32_t)i, false);
	buf[GENEVE_SIZE] = 4; /* looks like transport data */
	return GENEVE_SIZE + l->size;
}

static int64_t send_bulk(struct load *l)
{
	const size_t whole = frame(l, l->bulk, 0);
	const int segment = (int)whole;
	const int64_t until = now_ns() + (int64_t)(l->seconds * 1e9);
	int64_t n = 0;

	for (size_t i = 1; i < BULK_SEGMENTS; i++)
		memcpy(l->bulk + i * whole, l->bulk, whole);
	if (setsockopt(l->fds[0], IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)) < 0)
		die("UDP_SEGMENT");
	while (now_ns() < until) {
		const ssize_t sent = send(l->fds[0], l->bulk, whole * BULK_SEGMENTS, 0);

		n += sent > 0 ? BULK_SEGMENTS : 0;
	}
	return n;
}

/* One at a time, evenly: what a relay with little to do wakes up for. */
static void wait_turn(const struct load *l, int64_t begin, int64_t n)
{
	const int64_t due = begin + (int64_t)((double)n * 1e9 / l->rate);
	const struct timespec at = { .tv_sec = due / 1000000000, .tv_nsec = due % 1000000000 };

	if (due > now_ns())
		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static int64_t send_turns(struct load *l)
{
	const int64_t begin = now_ns(), until = begin + (int64_t)(l->seconds * 1e9);
	int64_t n = 0;

	while (now_ns() < until)
		for (size_t i = 0; i < l->n_flows; i++) {
			const size_t whole = frame(l, l->bulk, i);

			if (l->rate > 0)
				wait_turn(l, begin, n);
			n += send(l->fds[i], l->bulk, whole, 0) == (ssize_t)whole;
		}
	return n;
}

static void parse(struct load *l, int argc, char **argv)
{
	if (argc != 9) {
		(void)fprintf(stderr, "usage: relayload geneve|turn ADDRESS PORT FLOWS SIZE "
				      "SECONDS RATE VNI|PEER\n");
		exit(2);
	}
	l->is_turn = strcmp(argv[1], "turn") == 0;
	l->relay = (struct sockaddr_in){ .sin_family = AF_INET,
					 .sin_port = htons((uint16_t)strtoul(argv[3], NULL, 10)),
					 .sin_addr.s_addr = htonl(parse_ip(argv[2])) };
	l->n_flows = strtoul(argv[4], NULL, 10);
	l->size = strtoul(argv[5], NULL, 10);
	l->seconds = strtod(argv[6], NULL);
	l->rate = strtod(argv[7], NULL);
	if (l->is_turn)
		l->peer = parse_ip(argv[8]);
	else
		l->vni = (uint32_t)strtoul(argv[8], NULL, 10);
	if (l->n_flows < 1 || l->n_flows > FLOWS_MAX || l->size < 32 ||
	    l->size > SIZE_MAX_BYTES - 28 - GENEVE_SIZE) {
		errno = ERANGE;
		die("flows or size");
	}
}

int main(int argc, char **argv)
{
	struct rlimit files;
	static struct load l;
	char line[16];

	parse(&l, argc, argv);
	l.fds = calloc(l.n_flows, sizeof(*l.fds));
	if (!l.fds || getrlimit(RLIMIT_NOFILE, &files) < 0)
		die("files");
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		die("files");
	for (size_t i = 0; i < l.n_flows; i++) {
		l.fds[i] = open_flow(&l, i);
		if (!l.is_turn)
			continue;
		request(&l, i, TURN_ALLOCATE);
		request(&l, i, TURN_CREATE_PERMISSION);
		request(&l, i, TURN_CHANNEL_BIND);
	}
	(void)printf("ready\n");
	(void)fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 1;
	(void)printf("{\"sent\": %lld}\n",
		     (long long)(l.n_flows == 1 ? send_bulk(&l) : send_turns(&l)));
	return 0;
}
