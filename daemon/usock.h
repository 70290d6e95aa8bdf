/* SPDX-License-Identifier: MIT */
/* UDP sockets with batches: receive coalesced datagrams (UDP_GRO), send runs of equal segments in
 * one call (UDP_SEGMENT). One socket per address family; the struct is immutable after usock_open()
 * but for 'gso_off'.
 *
 * Sockets are bound to the wildcard address and carry a mark, so that their packets never enter the
 * tunnel (host-network 3.1). Nothing here blocks. Spec: PERFORMANCE 2, peer-relay 4. */
#ifndef DAEMON_USOCK_H
#define DAEMON_USOCK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "daemon/counters.h"

enum {
	USOCK_BUF_BYTES = 7 << 20,
	USOCK_RECV_MAX = 16,         /* datagrams or coalesced runs a recvmmsg */
	USOCK_RECV_SIZE = 65536,     /* bytes of each */
	USOCK_RUN_SEGS_MAX = 64,     /* the kernel's UDP_MAX_SEGMENTS before 6.9 */
	USOCK_RUN_BYTES_MAX = 65507, /* largest UDP payload over IPv4 */
	USOCK_RUNS_MAX = 64,         /* runs a sendmmsg */
};

struct usock_cfg {
	enum ip_family family;
	uint16_t port;               /* 0 = any */
	uint32_t mark;               /* SO_MARK; 0 = none */
	bool can_share_port;         /* SO_REUSEPORT: several sockets of ours on one port */
	bool use_no_gso, use_no_gro; /* tests: as if the kernel lacked them */
};

struct usock {
	int fd;         /* -1 = closed */
	uint8_t family; /* enum ip_family */
	uint16_t port;  /* the real one */
	bool has_gro;
	struct counter_mark gso_off; /* refused by kernel or device (EIO), or switched off */
};

/* A socket address ready for the kernel, and its size. */
struct usock_addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} u;
	socklen_t size;
};

struct usock_addr usock_addr(const struct ep *ep);
/* IPv4-mapped addresses become IPv4; scope ids are not kept. */
struct ep usock_ep(const struct usock_addr *addr);

/* Opens and binds. A mark that is not permitted is skipped (host-network 3.1 has no better answer
 * without CAP_NET_ADMIN). Returns 0 or a negative errno: -EADDRINUSE, -EACCES, -EAFNOSUPPORT, … */
MESH_MUST_USE int usock_open(struct usock *s, const struct usock_cfg *cfg);
void usock_close(struct usock *s);

/* Of sockets of ours that share a port: gives all datagrams to the first that was opened, or lets the
 * kernel spread them by address, as it does from the start. Any thread. Returns 0 or a negative errno:
 * nothing has changed (kernels before 5.3 cannot go back, so they are not asked to begin). */
MESH_MUST_USE int usock_gather(const struct usock *s, bool is_gathered);

/* --- receive --- */

/* One datagram, or several of 'seg_size' bytes behind each other (the last may be shorter). */
struct usock_msg {
	uint8_t *data;
	uint32_t size;
	uint32_t seg_size; /* = size if it is one datagram */
	struct usock_addr from;
};

/* A thread's receive buffers: USOCK_RECV_MAX times USOCK_RECV_SIZE bytes, taken page by page as
 * used. */
struct usock_rx {
	uint8_t *buf; /* mmap */
	struct usock_msg msgs[USOCK_RECV_MAX];
	uint32_t overflows; /* SO_RXQ_OVFL: the socket's total of the last receive; wraps */
	bool has_overflows;
};

MESH_MUST_USE int usock_rx_init(struct usock_rx *rx);
void usock_rx_wipe(struct usock_rx *rx);
/* Gives the pages back; what was received is gone. */
void usock_rx_trim(struct usock_rx *rx);
/* What may wait to be received, in bytes as SO_RCVBUF takes them; USOCK_BUF_BYTES at the start. As large as the system
 * lets us. */
void usock_set_queue(const struct usock *s, uint32_t bytes);

/* Fills rx->msgs. Returns how many, 0 if there is nothing, or a negative errno. Empty datagrams
 * have size 0. */
MESH_MUST_USE int usock_recv(const struct usock *s, struct usock_rx *rx);

/* --- send --- */

/* Segments for one address, all of 'seg_size' bytes but the last, which may be shorter. They are
 * gathered: contiguous segments may share a piece; each piece must hold whole segments. */
struct usock_run {
	struct usock_addr to;
	struct iovec *iov;
	uint32_t n_iov;
	uint32_t n_segs; /* 1..USOCK_RUN_SEGS_MAX */
	uint32_t seg_size;
	uint32_t bytes;   /* 1..USOCK_RUN_BYTES_MAX */
	bool is_single;   /* in: do not use GSO (the path refused it before) */
	int error;        /* out: 0, or a negative errno; some segments may have gone out */
	bool was_resent;  /* out: refused with GSO and sent again one by one */
	bool was_too_big; /* out: for EMSGSIZE or EINVAL: 'seg_size' is more than the path takes */
};

/* Sends the runs in order. A run refused with GSO (EIO, EINVAL, EMSGSIZE) is sent again datagram by
 * datagram, never dropped for that. EAGAIN and per-destination errors are left in 'error'. Returns
 * the number of system calls. */
unsigned usock_send(struct usock *s, struct usock_run *runs, size_t n);

/* One datagram. Returns 0 or a negative errno. */
MESH_MUST_USE int usock_send_one(const struct usock *s, const struct usock_addr *to,
				 const struct iovec *iov, size_t n);

#endif
