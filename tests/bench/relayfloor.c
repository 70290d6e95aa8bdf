/* SPDX-License-Identifier: MIT */
/* The least that a relay on sockets can cost: receives in batches and sends on, and does nothing else. No session is
 * looked up, no source is checked, nothing is counted.
 *
 * usage: relayfloor PORT DESTINATION BASE_PORT VNI
 *
 * A datagram with VNI + i goes to port BASE_PORT + i of the destination; what was gathered (UDP GRO) leaves in one send
 * (UDP GSO). Says "ready" when it listens, and runs until it is ended. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/compiler.h"
#include "wire/geneve.h"

enum { BATCH = 64, BUF = 65536, SOCK_BUF = 8 << 20 };

struct batch {
	uint8_t bufs[BATCH][BUF];
	MESH_ALIGNED(8) uint8_t rx_control[BATCH][CMSG_SPACE(sizeof(int))];
	MESH_ALIGNED(8) uint8_t tx_control[BATCH][CMSG_SPACE(sizeof(uint16_t))];
	struct iovec rx_iov[BATCH], tx_iov[BATCH];
	struct mmsghdr rx[BATCH], tx[BATCH];
	struct sockaddr_in to[BATCH];
};

static void die(const char *what)
{
	(void)fprintf(stderr, "relayfloor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int open_socket(uint16_t port)
{
	const struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = SOCK_BUF, one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0 ||
	    setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)) < 0 ||
	    bind(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		die("socket");
	return fd;
}

/* Blocks for the first datagram, takes what else is there. */
static int receive(int fd, struct batch *b)
{
	for (int i = 0; i < BATCH; i++) {
		b->rx_iov[i] = (struct iovec){ b->bufs[i], BUF };
		b->rx[i].msg_hdr = (struct msghdr){ .msg_iov = &b->rx_iov[i],
						    .msg_iovlen = 1,
						    .msg_control = b->rx_control[i],
						    .msg_controllen = sizeof(b->rx_control[i]) };
	}
	return recvmmsg(fd, b->rx, BATCH, MSG_WAITFORONE, NULL);
}

static void prepare(struct batch *b, int i, const struct sockaddr_in *to, uint32_t vni)
{
	const struct cmsghdr *got = CMSG_FIRSTHDR(&b->rx[i].msg_hdr);
	struct geneve_hdr hdr;
	int segment = 0;

	b->to[i] = *to;
	if (geneve_parse(&hdr, b->bufs[i], b->rx[i].msg_len) == 0)
		b->to[i].sin_port = htons((uint16_t)(ntohs(to->sin_port) + hdr.vni - vni));
	b->tx_iov[i] = (struct iovec){ b->bufs[i], b->rx[i].msg_len };
	b->tx[i].msg_hdr = (struct msghdr){ .msg_name = &b->to[i],
					    .msg_namelen = sizeof(b->to[i]),
					    .msg_iov = &b->tx_iov[i],
					    .msg_iovlen = 1 };
	if (got && got->cmsg_level == IPPROTO_UDP && got->cmsg_type == UDP_GRO)
		memcpy(&segment, CMSG_DATA(got), sizeof(segment));
	if (segment > 0 && (unsigned)segment < b->rx[i].msg_len) {
		const uint16_t size = (uint16_t)segment;
		struct cmsghdr *c;

		b->tx[i].msg_hdr.msg_control = b->tx_control[i];
		b->tx[i].msg_hdr.msg_controllen = sizeof(b->tx_control[i]);
		c = CMSG_FIRSTHDR(&b->tx[i].msg_hdr);
		c->cmsg_level = IPPROTO_UDP;
		c->cmsg_type = UDP_SEGMENT;
		c->cmsg_len = CMSG_LEN(sizeof(size));
		memcpy(CMSG_DATA(c), &size, sizeof(size));
	}
}

int main(int argc, char **argv)
{
	static struct batch b;
	struct sockaddr_in to = { .sin_family = AF_INET };
	uint32_t vni;
	int fd, n;

	if (argc != 5 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) {
		(void)fprintf(stderr, "usage: relayfloor PORT DESTINATION BASE_PORT VNI\n");
		return 2;
	}
	to.sin_port = htons((uint16_t)strtoul(argv[3], NULL, 10));
	vni = (uint32_t)strtoul(argv[4], NULL, 10);
	fd = open_socket((uint16_t)strtoul(argv[1], NULL, 10));
	(void)printf("ready\n");
	(void)fflush(stdout);
	while ((n = receive(fd, &b)) >= 0 || errno == EINTR) {
		for (int i = 0; i < n; i++)
			prepare(&b, i, &to, vni);
		if (n > 0)
			(void)sendmmsg(fd, b.tx, (unsigned)n, 0); /* what does not fit is lost, as anywhere */
	}
	die("receive");
}
