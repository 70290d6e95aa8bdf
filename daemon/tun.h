/* SPDX-License-Identifier: MIT */
/* The TUN device: one queue, super-packets with a virtio-net header where the kernel has them.
 *
 * One thread reads, one writes; the struct is immutable after tun_open(). Reads and writes never
 * block. Spec: host-network 2, PERFORMANCE 2. */
#ifndef DAEMON_TUN_H
#define DAEMON_TUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/compiler.h"

struct log;

enum { TUN_IFNAME_MAX = 16, TUN_ERR_MAX = 200 };
/* Packets that wait while the thread that reads them has no core. The kernel's 500 drop under bursts;
 * 1,000 last 10 ms at 1 Gbit/s of 1,200-byte datagrams, and lost 2 % of them where other programs
 * wanted the cores too, while 4,000 lost none. A packet may be a super-packet of 64 KiB. */
enum { TUN_TXQUEUELEN = 2500 };
/* The largest read: a virtio-net header and an IP packet. */
enum { TUN_HDR_SIZE = 10, TUN_READ_MAX = TUN_HDR_SIZE + 65535 };

struct tun_cfg {
	const char *name; /* wanted name; must not exist yet */
	uint32_t mtu;
	bool use_no_vnet_hdr; /* tests: as if the kernel had no IFF_VNET_HDR */
	bool use_no_uso;      /* tests: as if it had no USO */
	const struct log *log;
};

struct tun {
	int fd; /* -1 = closed */
	char name[TUN_IFNAME_MAX];
	uint32_t ifindex;
	bool has_vnet_hdr; /* each read and write begins with TUN_HDR_SIZE bytes of virtio-net
			      header */
	bool has_uso;      /* UDP super-packets too */
};

/* Creates the device (not persistent: it goes with the descriptor), sets MTU and queue length.
 * Falls back to no USO, then to single packets (one loud line). Returns 0, or a negative errno with
 * one line in 'err'
 * ("tun: tailscale0: already in use"). */
MESH_MUST_USE int tun_open(struct tun *t, const struct tun_cfg *cfg, char err[static TUN_ERR_MAX]);
void tun_close(struct tun *t);

/* One packet, with its header if 'has_vnet_hdr'. Returns its size, or a negative errno: -EAGAIN
 * when there is none, -EIO while the link is down, -EBADFD when the device is gone. */
MESH_MUST_USE ssize_t tun_read(const struct tun *t, void *buf, size_t size);
/* Writes one packet gathered from 'n' pieces. Returns 0 or a negative errno. */
MESH_MUST_USE int tun_write(const struct tun *t, const struct iovec *iov, size_t n);

/* "vnet_hdr+uso", "vnet_hdr", "single". */
const char *tun_mode(const struct tun *t);

#endif
