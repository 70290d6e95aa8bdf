/* SPDX-License-Identifier: MIT */
/* Creation of the TUN device and its fallbacks; one read or write a packet. */
#include "config.h"

#include "daemon/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

/* Debian 12's kernel headers are older than these (Linux 6.2). */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

static int try_open(struct tun *t, const char *name, bool want_vnet_hdr)
{
	/* Exclusive: an interface of that name, even a persistent one of the same kind, is somebody
	 * else's. */
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI | (short)IFF_TUN_EXCL };
	int err;

	if (want_vnet_hdr)
		ifr.ifr_flags |= IFF_VNET_HDR;
	t->fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (t->fd < 0)
		return -errno;
	memcpy(ifr.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
	if (ioctl(t->fd, TUNSETIFF, &ifr) < 0) {
		err = -errno;
		tun_close(t);
		return err;
	}
	memcpy(t->name, ifr.ifr_name, sizeof(t->name));
	t->name[sizeof(t->name) - 1] = 0;
	t->has_vnet_hdr = want_vnet_hdr;
	return 0;
}

/* Switches offloads on as far as this kernel goes. Without any, the header still says which
 * checksums are to be completed, so it stays. */
static void set_offloads(struct tun *t, const struct tun_cfg *cfg)
{
	const unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;

	if (!t->has_vnet_hdr)
		return;
	if (!cfg->use_no_uso && ioctl(t->fd, TUNSETOFFLOAD, tcp | TUN_F_USO4 | TUN_F_USO6) == 0) {
		t->has_uso = true;
		return;
	}
	if (!cfg->use_no_uso)
		log_info(cfg->log, "tun: %s: the kernel has no UDP segmentation offload for TUN",
			 t->name);
	if (ioctl(t->fd, TUNSETOFFLOAD, tcp) < 0)
		log_warn(cfg->log, "tun: %s: offloads refused: %s", t->name, strerror(errno));
}

static int set_link(struct tun *t, uint32_t mtu)
{
	struct ifreq ifr = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;

	if (fd < 0)
		return -errno;
	memcpy(ifr.ifr_name, t->name, sizeof(t->name));
	ifr.ifr_mtu = (int)mtu;
	if (ioctl(fd, SIOCSIFMTU, &ifr) < 0)
		err = -errno;
	ifr.ifr_qlen = TUN_TXQUEUELEN;
	if (!err && ioctl(fd, SIOCSIFTXQLEN, &ifr) < 0)
		err = -errno;
	(void)close(fd);
	return err;
}

int tun_open(struct tun *t, const struct tun_cfg *cfg, char err[static TUN_ERR_MAX])
{
	int ret = -EINVAL;

	*t = (struct tun){ .fd = -1 };
	if (!cfg->name[0] || strlen(cfg->name) >= IFNAMSIZ) {
		(void)snprintf(err, TUN_ERR_MAX, "tun: %.40s: not an interface name", cfg->name);
		return -EINVAL;
	}
	if (if_nametoindex(cfg->name)) {
		(void)snprintf(err, TUN_ERR_MAX, "tun: %s: already in use", cfg->name);
		return -EBUSY;
	}
	if (!cfg->use_no_vnet_hdr)
		ret = try_open(t, cfg->name, true);
	if (ret == -EINVAL) {
		ret = try_open(t, cfg->name, false);
		if (!ret)
			log_warn(cfg->log,
				 "tun: %s: no offloads: every packet is handled alone, "
				 "expect a tenth of the throughput",
				 t->name);
	}
	if (ret) {
		(void)snprintf(err, TUN_ERR_MAX, "tun: %s: %s", cfg->name,
			       ret == -EBUSY    ? "already in use"
			       : ret == -ENOENT ? "/dev/net/tun is missing"
						: strerror(-ret));
		return ret;
	}
	set_offloads(t, cfg);
	t->ifindex = if_nametoindex(t->name);
	ret = set_link(t, cfg->mtu);
	if (ret) {
		(void)snprintf(err, TUN_ERR_MAX, "tun: %s: mtu %u: %s", t->name, cfg->mtu,
			       strerror(-ret));
		tun_close(t);
	}
	return ret;
}

void tun_close(struct tun *t)
{
	if (t->fd >= 0)
		(void)close(t->fd);
	t->fd = -1;
}

ssize_t tun_read(const struct tun *t, void *buf, size_t size)
{
	ssize_t n;

	do
		n = read(t->fd, buf, size);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int tun_write(const struct tun *t, const struct iovec *iov, size_t n)
{
	ssize_t ret;

	do
		ret = writev(t->fd, iov, (int)n);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

const char *tun_mode(const struct tun *t)
{
	return t->has_uso ? "vnet_hdr+uso" : t->has_vnet_hdr ? "vnet_hdr" : "single";
}
