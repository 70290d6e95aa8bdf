/* SPDX-License-Identifier: MIT */
/* Batched UDP: recvmmsg with GRO, sendmmsg with GSO and its fallbacks. */
#include "config.h"

#include "daemon/usock.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/udp.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef SO_DETACH_REUSEPORT_BPF
#define SO_DETACH_REUSEPORT_BPF 68
#endif

struct usock_addr usock_addr(const struct ep *ep)
{
	struct usock_addr a = { 0 };

	if (ep->ip.family == IP_V4) {
		a.u.in.sin_family = AF_INET;
		a.u.in.sin_port = htons(ep->port);
		memcpy(&a.u.in.sin_addr, ep->ip.b, 4);
		a.size = sizeof(a.u.in);
	} else if (ep->ip.family == IP_V6) {
		a.u.in6.sin6_family = AF_INET6;
		a.u.in6.sin6_port = htons(ep->port);
		memcpy(&a.u.in6.sin6_addr, ep->ip.b, 16);
		a.size = sizeof(a.u.in6);
	}
	return a;
}

struct ep usock_ep(const struct usock_addr *addr)
{
	struct ep ep = { 0 };
	uint8_t b[16];

	if (addr->u.sa.sa_family == AF_INET) {
		memcpy(b, &addr->u.in.sin_addr, 4);
		ep.ip = ip4_be(b);
		ep.port = ntohs(addr->u.in.sin_port);
	} else if (addr->u.sa.sa_family == AF_INET6) {
		memcpy(b, &addr->u.in6.sin6_addr, 16);
		ep.ip = ip6(b);
		ep.port = ntohs(addr->u.in6.sin6_port);
	}
	return ep;
}

static void set_int(int fd, int level, int name, int value)
{
	(void)setsockopt(fd, level, name, &value, sizeof(value));
}

/* Forced where permitted, else up to the system's limit. */
void usock_set_queue(const struct usock *s, uint32_t bytes)
{
	const int size = (int)bytes;

	if (setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		set_int(s->fd, SOL_SOCKET, SO_RCVBUF, size);
}

static void set_buffers(const struct usock *s)
{
	const int size = USOCK_BUF_BYTES;

	usock_set_queue(s, USOCK_BUF_BYTES);
	if (setsockopt(s->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		set_int(s->fd, SOL_SOCKET, SO_SNDBUF, size);
}

static int bind_any(int fd, const struct usock_cfg *cfg, uint16_t *port)
{
	struct ep ep = { .ip.family = (uint8_t)cfg->family, .port = cfg->port };
	struct usock_addr a = usock_addr(&ep);

	if (bind(fd, &a.u.sa, a.size) < 0)
		return -errno;
	if (getsockname(fd, &a.u.sa, &a.size) < 0)
		return -errno;
	*port = usock_ep(&a).port;
	return 0;
}

static void set_options(struct usock *s, const struct usock_cfg *cfg)
{
	const int one = 1, zero = 0;

	set_buffers(s);
	if (cfg->mark)
		set_int(s->fd, SOL_SOCKET, SO_MARK, (int)cfg->mark);
	set_int(s->fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
	s->has_gro =
		!cfg->use_no_gro && setsockopt(s->fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)) == 0;
	/* Zero changes nothing: asks only whether the kernel knows the option. */
	if (cfg->use_no_gso || setsockopt(s->fd, IPPROTO_UDP, UDP_SEGMENT, &zero, sizeof(zero)) < 0)
		(void)counter_mark_set(&s->gso_off);
}

int usock_open(struct usock *s, const struct usock_cfg *cfg)
{
	const int domain = cfg->family == IP_V6 ? AF_INET6 : AF_INET, one = 1;
	int err = 0;

	memset(s, 0, sizeof(*s));
	s->family = (uint8_t)cfg->family;
	s->fd = socket(domain, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		return -errno;
	if (cfg->family == IP_V6 &&
	    setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0)
		err = -errno;
	if (!err && cfg->can_share_port &&
	    setsockopt(s->fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0)
		err = -errno;
	if (!err)
		err = bind_any(s->fd, cfg, &s->port);
	if (err) {
		usock_close(s);
		return err;
	}
	set_options(s, cfg);
	return 0;
}

void usock_close(struct usock *s)
{
	if (s->fd >= 0)
		(void)close(s->fd);
	s->fd = -1;
}

int usock_gather(const struct usock *s, bool is_gathered)
{
	struct sock_filter first[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	const struct sock_fprog prog = { ARRAY_LEN(first), first };
	const int one = 1;

	/* Detaching comes first in both cases: it tells whether the kernel can. */
	if (setsockopt(s->fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &one, sizeof(one)) < 0 &&
	    errno != ENOENT)
		return -errno;
	if (is_gathered &&
	    setsockopt(s->fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &prog, sizeof(prog)) < 0)
		return -errno;
	return 0;
}

/* --- receive --- */

enum { CONTROL_SIZE = CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint32_t)) };

int usock_rx_init(struct usock_rx *rx)
{
	void *p = mmap(NULL, (size_t)USOCK_RECV_MAX * USOCK_RECV_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(rx, 0, sizeof(*rx));
	if (p == MAP_FAILED)
		return -ENOMEM;
	rx->buf = p;
	return 0;
}

void usock_rx_wipe(struct usock_rx *rx)
{
	if (rx->buf)
		(void)munmap(rx->buf, (size_t)USOCK_RECV_MAX * USOCK_RECV_SIZE);
	rx->buf = NULL;
}

void usock_rx_trim(struct usock_rx *rx)
{
	(void)madvise(rx->buf, (size_t)USOCK_RECV_MAX * USOCK_RECV_SIZE, MADV_DONTNEED);
}

static void read_control(struct usock_rx *rx, struct usock_msg *m, struct msghdr *hdr)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
			int size;

			memcpy(&size, CMSG_DATA(c), sizeof(size));
			if (size > 0)
				m->seg_size = (uint32_t)size;
		} else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
			memcpy(&rx->overflows, CMSG_DATA(c), sizeof(rx->overflows));
			rx->has_overflows = true;
		}
	}
}

int usock_recv(const struct usock *s, struct usock_rx *rx)
{
	MESH_ALIGNED(8) uint8_t control[USOCK_RECV_MAX][CONTROL_SIZE];
	struct mmsghdr hdrs[USOCK_RECV_MAX];
	struct iovec iov[USOCK_RECV_MAX];
	int n;

	for (size_t i = 0; i < USOCK_RECV_MAX; i++) {
		iov[i] = (struct iovec){ rx->buf + i * USOCK_RECV_SIZE, USOCK_RECV_SIZE };
		hdrs[i].msg_hdr = (struct msghdr){ .msg_name = &rx->msgs[i].from.u,
						   .msg_namelen = sizeof(rx->msgs[i].from.u),
						   .msg_iov = &iov[i],
						   .msg_iovlen = 1,
						   .msg_control = control[i],
						   .msg_controllen = CONTROL_SIZE };
	}
	n = recvmmsg(s->fd, hdrs, USOCK_RECV_MAX, MSG_DONTWAIT, NULL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (int i = 0; i < n; i++) {
		struct usock_msg *m = &rx->msgs[i];

		m->data = iov[i].iov_base;
		m->size = hdrs[i].msg_len;
		m->seg_size = m->size;
		m->from.size = hdrs[i].msg_hdr.msg_namelen;
		read_control(rx, m, &hdrs[i].msg_hdr);
		if (m->seg_size > m->size)
			m->seg_size = m->size;
	}
	return n;
}

/* --- send --- */

int usock_send_one(const struct usock *s, const struct usock_addr *to, const struct iovec *iov,
		   size_t n)
{
	struct msghdr hdr = { .msg_iovlen = n, .msg_namelen = to->size };
	struct usock_addr name = *to;
	struct iovec pieces[4];
	ssize_t ret;

	if (n > ARRAY_LEN(pieces))
		return -EINVAL;
	memcpy(pieces, iov, n * sizeof(*iov));
	hdr.msg_iov = pieces;
	hdr.msg_name = &name.u;
	do
		ret = sendmsg(s->fd, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

/* Sends the segments of a run one by one, in batches. Keeps the last error. */
static unsigned send_singly(const struct usock *s, struct usock_run *run)
{
	struct mmsghdr hdrs[USOCK_RUN_SEGS_MAX];
	struct iovec segs[USOCK_RUN_SEGS_MAX];
	unsigned n = 0, done = 0, calls = 0;

	run->error = 0;
	for (uint32_t i = 0; i < run->n_iov; i++) {
		uint8_t *p = run->iov[i].iov_base;
		size_t left = run->iov[i].iov_len;

		for (; left && n < USOCK_RUN_SEGS_MAX; n++) {
			const size_t size = left < run->seg_size ? left : run->seg_size;

			segs[n] = (struct iovec){ p, size };
			hdrs[n].msg_hdr = (struct msghdr){ .msg_name = &run->to.u,
							   .msg_namelen = run->to.size,
							   .msg_iov = &segs[n],
							   .msg_iovlen = 1 };
			p += size;
			left -= size;
		}
	}
	while (done < n) {
		const int ret = sendmmsg(s->fd, hdrs + done, n - done, MSG_DONTWAIT | MSG_NOSIGNAL);

		calls++;
		if (ret > 0) {
			done += (unsigned)ret;
			continue;
		}
		if (ret < 0 && errno == EINTR)
			continue;
		run->error = -errno;
		if (errno == EAGAIN)
			break;
		done++; /* this datagram's own fault: the next may pass */
	}
	return calls;
}

static void fill_hdr(struct mmsghdr *h, struct usock_run *run, uint8_t *control)
{
	h->msg_hdr = (struct msghdr){ .msg_name = &run->to.u,
				      .msg_namelen = run->to.size,
				      .msg_iov = run->iov,
				      .msg_iovlen = run->n_iov };
	if (run->n_segs > 1) {
		const uint16_t seg_size = (uint16_t)run->seg_size;
		struct cmsghdr *c;

		h->msg_hdr.msg_control = control;
		h->msg_hdr.msg_controllen = CMSG_SPACE(sizeof(uint16_t));
		c = CMSG_FIRSTHDR(&h->msg_hdr);
		c->cmsg_level = IPPROTO_UDP;
		c->cmsg_type = UDP_SEGMENT;
		c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
		memcpy(CMSG_DATA(c), &seg_size, sizeof(seg_size));
	}
}

/* May these errors of a GSO send mean that single datagrams would pass? */
static bool is_gso_refusal(int err)
{
	/* EIO: the device cannot checksum; EINVAL and EMSGSIZE: a segment is larger than the path's
	 * MTU; ENOPROTOOPT and EOPNOTSUPP: unusual devices and old kernels. */
	return err == EIO || err == EINVAL || err == EMSGSIZE || err == ENOPROTOOPT ||
	       err == EOPNOTSUPP;
}

static bool wants_single(const struct usock *s, const struct usock_run *run)
{
	return run->n_segs > 1 && (run->is_single || counter_mark_get(&s->gso_off));
}

/* The first run of a batch failed with 'err'. */
static unsigned handle_error(struct usock *s, struct usock_run *run, int err)
{
	run->error = -err;
	if (run->n_segs < 2 || !is_gso_refusal(err))
		return 0;
	run->was_resent = true;
	if (err == EINVAL || err == EMSGSIZE)
		run->was_too_big = true;
	else
		(void)counter_mark_set(&s->gso_off);
	return send_singly(s, run);
}

unsigned usock_send(struct usock *s, struct usock_run *runs, size_t n)
{
	MESH_ALIGNED(8) uint8_t control[USOCK_RUNS_MAX][CMSG_SPACE(sizeof(uint16_t))];
	struct mmsghdr hdrs[USOCK_RUNS_MAX];
	unsigned calls = 0;
	size_t done = 0;

	memset(control, 0, sizeof(control));
	while (done < n) {
		unsigned k = 0;
		int ret;

		runs[done].error = 0;
		if (wants_single(s, &runs[done])) {
			calls += send_singly(s, &runs[done++]);
			continue;
		}
		while (k < USOCK_RUNS_MAX && done + k < n && !wants_single(s, &runs[done + k])) {
			runs[done + k].error = 0;
			fill_hdr(&hdrs[k], &runs[done + k], control[k]);
			k++;
		}
		ret = sendmmsg(s->fd, hdrs, k, MSG_DONTWAIT | MSG_NOSIGNAL);
		calls++;
		if (ret > 0)
			done += (size_t)ret;
		else if (ret == 0 || errno != EINTR)
			calls += handle_error(s, &runs[done++], ret == 0 ? EIO : errno);
	}
	return calls;
}
