/* SPDX-License-Identifier: MIT */
/* What the kernel takes for a datagram, by each way to send and to receive it.
 *
 * usage: udpio send  ADDRESS PORT SIZE SECONDS plain|mmsg|gso
 *        udpio recv  ADDRESS PORT SECONDS plain|mmsg|gro
 *
 * Prints {"pkts": N, "cpu_ns": C}: processor time of this thread. The receiver starts its clock at
 * the first datagram and ends when none came for a while. */
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
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { BATCH = 64, BUF = 65536, SEGMENTS = 50, QUIET_MS = 400, SOCK_BUF = 8 << 20 };

static void die(const char *what)
{
	(void)fprintf(stderr, "udpio: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	(void)clock_gettime(clock, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static int open_socket(const char *addr, const char *port, struct sockaddr_in *a)
{
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = SOCK_BUF;

	*a = (struct sockaddr_in){ .sin_family = AF_INET,
				   .sin_port = htons((uint16_t)strtoul(port, NULL, 10)) };
	if (inet_pton(AF_INET, addr, &a->sin_addr) != 1)
		errno = EINVAL, die(addr);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		die("socket");
	return fd;
}

/* --- sender --- */

/* Each sends once and returns how many datagrams left. */

static int64_t send_plain(int fd, uint8_t *buf, size_t size)
{
	return send(fd, buf, size, 0) == (ssize_t)size;
}

static int64_t send_many(int fd, uint8_t *buf, size_t size)
{
	struct iovec iov = { buf, size };
	struct mmsghdr msgs[BATCH];
	int n;

	for (int i = 0; i < BATCH; i++)
		msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 };
	n = sendmmsg(fd, msgs, BATCH, 0);
	return n < 0 ? 0 : n;
}

static int64_t send_gso(int fd, uint8_t *buf, size_t size)
{
	const size_t segments = BUF / size < SEGMENTS ? 65000 / size : SEGMENTS;

	return send(fd, buf, segments * size, 0) < 0 ? 0 : (int64_t)segments;
}

static void run_sender(int fd, size_t size, double seconds, const char *how)
{
	static uint8_t buf[BUF];
	int64_t (*const way)(int, uint8_t *, size_t) = strcmp(how, "gso") == 0    ? send_gso
						       : strcmp(how, "mmsg") == 0 ? send_many
										  : send_plain;
	const int segment = (int)size;
	const int64_t until = clock_ns(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);
	const int64_t before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	int64_t n = 0;

	if (way == send_gso &&
	    setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)) < 0)
		die("UDP_SEGMENT");
	while (clock_ns(CLOCK_MONOTONIC) < until)
		for (int i = 0; i < 16; i++)
			n += way(fd, buf, size);
	(void)printf("{\"pkts\": %lld, \"cpu_ns\": %lld}\n", (long long)n,
		     (long long)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - before));
}

/* --- receiver --- */

static int64_t segments_of(const struct msghdr *m, size_t size)
{
	int segment = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c;
	     c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)m, c))
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
			memcpy(&segment, CMSG_DATA(c), sizeof(segment));
	return segment > 0 ? (int64_t)(size + (size_t)segment - 1) / segment : 1;
}

static int64_t recv_many(int fd, unsigned batch)
{
	static uint8_t bufs[BATCH][BUF];
	static char control[BATCH][64];
	struct iovec iov[BATCH];
	struct mmsghdr msgs[BATCH];
	int64_t sum = 0;
	int n;

	for (unsigned i = 0; i < batch; i++) {
		iov[i] = (struct iovec){ bufs[i], BUF };
		msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &iov[i],
						   .msg_iovlen = 1,
						   .msg_control = control[i],
						   .msg_controllen = sizeof(control[i]) };
	}
	n = recvmmsg(fd, msgs, batch, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++)
		sum += segments_of(&msgs[i].msg_hdr, msgs[i].msg_len);
	return n < 0 ? 0 : sum;
}

static int64_t recv_plain(int fd)
{
	uint8_t buf[9216];

	return recv(fd, buf, sizeof(buf), MSG_DONTWAIT) >= 0;
}

static void run_receiver(int fd, double seconds, const char *how)
{
	const int on = 1;
	const bool is_plain = strcmp(how, "plain") == 0, is_gro = strcmp(how, "gro") == 0;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int64_t n = 0, before;

	if (is_gro && setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) < 0)
		die("UDP_GRO");
	(void)printf("ready\n");
	(void)fflush(stdout);
	if (poll(&p, 1, (int)(seconds * 1000) + 5000) <= 0)
		errno = ETIMEDOUT, die("nothing came");
	before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	while (poll(&p, 1, QUIET_MS) > 0) {
		int64_t got;

		do {
			got = is_plain ? recv_plain(fd) : recv_many(fd, is_gro ? 8 : BATCH);
			n += got;
		} while (got);
	}
	(void)printf("{\"pkts\": %lld, \"cpu_ns\": %lld}\n", (long long)n,
		     (long long)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - before));
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr;
	int fd;

	if (argc == 7 && strcmp(argv[1], "send") == 0) {
		fd = open_socket(argv[2], argv[3], &addr);
		if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
			die("connect");
		run_sender(fd, strtoul(argv[4], NULL, 10), strtod(argv[5], NULL), argv[6]);
	} else if (argc == 6 && strcmp(argv[1], "recv") == 0) {
		fd = open_socket(argv[2], argv[3], &addr);
		if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
			die("bind");
		run_receiver(fd, strtod(argv[4], NULL), argv[5]);
	} else {
		(void)fprintf(stderr, "usage: udpio send ADDRESS PORT SIZE SECONDS plain|mmsg|gso\n"
				      "       udpio recv ADDRESS PORT SECONDS plain|mmsg|gro\n");
		return 2;
	}
	(void)close(fd);
	return 0;
}
