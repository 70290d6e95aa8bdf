/* SPDX-License-Identifier: MIT */
/* The STUN server's sockets, see stund.h. */
#include "config.h"

#include "daemon/stund.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/compiler.h"

enum { BATCH_MAX = 256, DATAGRAM_MAX = 1500 };

void stund_init(struct stund *s, const struct env *env)
{
	memset(s, 0, sizeof(*s));
	s->fd4 = s->fd6 = -1;
	stunserver_init(&s->server, env);
}

/* A bound socket of one family that tells the address each datagram was sent to. */
static int open_one(int family, uint16_t port, uint32_t mark)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, err;

	if (fd < 0)
		return -errno;
	if (family == AF_INET)
		err = setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	else
		err = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) ||
		      setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
	/* Without the privilege the answers follow the main table, as without a tunnel. */
	if (!err && mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) != 0 && errno != EPERM)
		err = -1;
	if (!err)
		err = family == AF_INET ? bind(fd, (struct sockaddr *)&in4, sizeof(in4)) :
					  bind(fd, (struct sockaddr *)&in6, sizeof(in6));
	if (!err)
		return fd;
	err = -errno;
	(void)close(fd);
	return err;
}

int stund_open(struct stund *s, uint16_t port, uint32_t mark)
{
	struct sockaddr_in bound = { 0 };
	socklen_t size = sizeof(bound);

	stund_close(s);
	s->fd4 = open_one(AF_INET, port, mark);
	if (s->fd4 < 0)
		return s->fd4;
	if (getsockname(s->fd4, (struct sockaddr *)&bound, &size) != 0) {
		stund_close(s);
		return -EIO;
	}
	s->port = ntohs(bound.sin_port);
	s->fd6 = open_one(AF_INET6, s->port, mark);
	return 0;
}

static struct ep ep_of(const struct sockaddr_storage *from)
{
	struct ep ep = { 0 };
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;

	if (from->ss_family == AF_INET) {
		memcpy(&in4, from, sizeof(in4));
		ep.ip = ip4_be((const uint8_t *)&in4.sin_addr);
		ep.port = ntohs(in4.sin_port);
	} else if (from->ss_family == AF_INET6) {
		memcpy(&in6, from, sizeof(in6));
		ep.ip = ip6(in6.sin6_addr.s6_addr);
		ep.port = ntohs(in6.sin6_port);
	}
	return ep;
}

void stund_run(struct stund *s, int fd, struct mono now)
{
	uint8_t in[DATAGRAM_MAX], out[STUN_RESPONSE_MAX];
	/* The control message that told the address asked goes back with the answer and becomes its source. */
	union {
		struct cmsghdr align;
		uint8_t buf[CMSG_SPACE(sizeof(struct in6_pktinfo))];
	} control;
	struct sockaddr_storage from;
	struct iovec iov;
	struct msghdr msg;
	struct cmsghdr *cmsg;
	struct ep ep;
	ssize_t n;

	for (int i = 0; i < BATCH_MAX; i++) {
		iov = (struct iovec){ .iov_base = in, .iov_len = sizeof(in) };
		msg = (struct msghdr){ .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1,
				       .msg_control = &control, .msg_controllen = sizeof(control) };
		n = recvmsg(fd, &msg, MSG_DONTWAIT);
		if (n < 0)
			return;
		ep = ep_of(&from);
		iov.iov_base = out;
		iov.iov_len = stunserver_answer(&s->server, now, &ep, in, (size_t)n, out);
		if (iov.iov_len == 0)
			continue;
		cmsg = CMSG_FIRSTHDR(&msg);
		if (cmsg && cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			/* The address asked, by whatever interface the route says. */
			memcpy(&info, CMSG_DATA(cmsg), sizeof(info));
			info.ipi_ifindex = 0;
			memcpy(CMSG_DATA(cmsg), &info, sizeof(info));
		}
		/* An answer that cannot be sent is one that was lost: the client asks again. */
		(void)!sendmsg(fd, &msg, MSG_DONTWAIT);
	}
}

void stund_close(struct stund *s)
{
	if (s->fd4 >= 0)
		(void)close(s->fd4);
	if (s->fd6 >= 0)
		(void)close(s->fd6);
	s->fd4 = s->fd6 = -1;
	s->port = 0;
}
