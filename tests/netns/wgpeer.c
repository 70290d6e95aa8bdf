/* SPDX-License-Identifier: MIT */
/* One WireGuard peer from netstack/wg alone, without engine and data plane: a TUN device, a UDP
 * socket and a device with a single peer. wg_interop.py lets it talk to wireguard-go.
 *
 *   wgpeer AEAD TUN PORT PRIVATE-KEY PEER-KEY PEER-IPv4:PORT        (keys: 64 hex digits)
 *
 * Lines on stdin command it, lines on stdout tell what happened:
 *   rekey      bring the send counter to REKEY_AFTER_MESSAGES: a new handshake beside the running
 * session reset      forget all keys load on    count as under load until "load off" status print
 * the counters */
#include "tests/unit/testing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/wgtest.h"
#include "wg/device.h"
#include "wire/ip.h"

enum { MTU = 1280, BUF = 2048, STAGED = 64, SLOTS = 64 };

struct staged {
	uint8_t data[MTU];
	size_t size;
};

struct app {
	struct wgtest lib;
	struct env env;
	struct device device;
	struct device_peer *peer;
	struct keypair *slots[SLOTS];
	struct keypair *current;
	struct staged staged[STAGED];
	unsigned n_staged;
	int tun, udp;
	struct sockaddr_in to;
	struct path_addr path; /* of 'to' */
	bool is_loaded;
	unsigned long n_bad; /* data messages that did not open or were replays */
};

static void fill(void *ctx, void *dst, size_t size)
{
	(void)ctx;
	randombytes_buf(dst, size);
}

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static int64_t wall_ns(void *ctx)
{
	(void)ctx;
	return clock_ns(CLOCK_REALTIME);
}

static struct mono now_mono(void)
{
	return (struct mono){ clock_ns(CLOCK_BOOTTIME) };
}

static void die(const char *what)
{
	(void)fprintf(stderr, "wgpeer: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* --- sending --- */

static void send_udp(const struct app *a, const uint8_t *data, size_t size)
{
	(void)sendto(a->udp, data, size, 0, (const struct sockaddr *)&a->to, sizeof(a->to));
}

/* Seals the packet at 'buf' + 16, which has room around it. Returns false without a usable key. */
static bool seal_and_send(struct app *a, struct mono now, uint8_t *buf, size_t size)
{
	struct keypair_pkt pkt = { .data = buf + WGMSG_DATA_HDR_SIZE, .size = (uint32_t)size };
	uint64_t ctr;

	if (!a->current || keypair_reserve(a->current, now, 1, &ctr) != 0)
		return false;
	if (keypair_seal_n(a->current, 0, &a->lib.thread, MTU, ctr, &pkt, 1) != 1)
		return false;
	send_udp(a, buf, pkt.size);
	if (keypair_note_sent(a->current, now, 1, pkt.size, size > 0))
		device_activity(&a->device, now, a->peer);
	return true;
}

static void flush_staged(struct app *a, struct mono now)
{
	uint8_t buf[BUF];

	for (unsigned i = 0; i < a->n_staged; i++) {
		memcpy(buf + WGMSG_DATA_HDR_SIZE, a->staged[i].data, a->staged[i].size);
		(void)seal_and_send(a, now, buf, a->staged[i].size);
	}
	a->n_staged = 0;
}

static void from_tun(struct app *a, struct mono now)
{
	uint8_t buf[BUF];
	ssize_t n = read(a->tun, buf + WGMSG_DATA_HDR_SIZE, MTU);

	if (n <= 0 || seal_and_send(a, now, buf, (size_t)n))
		return;
	if (a->n_staged < STAGED) {
		struct staged *s = &a->staged[a->n_staged++];

		memcpy(s->data, buf + WGMSG_DATA_HDR_SIZE, (size_t)n);
		s->size = (size_t)n;
	}
	device_want(&a->device, now, a->peer);
}

/* --- receiving --- */

static void data_message(struct app *a, struct mono now, uint8_t *buf, size_t size)
{
	struct keypair_pkt pkt = { .data = buf, .size = (uint32_t)size };
	struct keypair *kp = NULL;
	struct wg_data hdr;
	struct ip_pkt ip;

	if (wgmsg_data_parse(&hdr, buf, size) == 0 && index_slot(hdr.receiver_index) < SLOTS)
		kp = a->slots[index_slot(hdr.receiver_index)];
	if (!kp || keypair_open_n(kp, 0, &a->lib.thread, now, &pkt, 1) != 1 ||
	    replay_accept(&kp->replay, pkt.counter) != 0) {
		a->n_bad++;
		return;
	}
	if (keypair_note_received(kp, now, 1, size, pkt.size > 0))
		device_activity(&a->device, now, a->peer);
	if (pkt.size > 0 && ip_pkt_parse(&ip, pkt.data, pkt.size) == 0)
		(void)!write(a->tun, pkt.data, ip.size);
}

static void from_udp(struct app *a, struct mono now)
{
	uint8_t buf[BUF];
	ssize_t n = recv(a->udp, buf, sizeof(buf), 0);

	if (n <= 0)
		return;
	if (a->is_loaded)
		device_queue_depth(&a->device, now, 1024, 1024);
	if (wgmsg_type(buf, (size_t)n) == WGMSG_DATA)
		data_message(a, now, buf, (size_t)n);
	else
		(void)!device_input(&a->device, now, buf, (size_t)n, &a->path, NULL);
}

/* --- the device's outputs --- */

static void output(struct app *a, struct mono now, const struct device_out *o)
{
	uint8_t buf[BUF];

	switch (o->kind) {
	case DEVICE_SEND:
		send_udp(a, o->msg, o->size);
		break;
	case DEVICE_KEYPAIR_INSTALL:
		a->slots[index_slot(o->kp->local_index)] = o->kp;
		break;
	case DEVICE_KEYPAIR_CURRENT:
		a->current = o->kp;
		break;
	case DEVICE_KEYPAIR_REMOVE:
		a->slots[index_slot(o->kp->local_index)] = NULL;
		keypair_put(o->kp);
		break;
	case DEVICE_UP:
		(void)printf("up %s\n", o->kp->is_initiator ? "initiator" : "responder");
		flush_staged(a, now);
		break;
	case DEVICE_KEEPALIVE:
		(void)seal_and_send(a, now, buf, 0);
		break;
	case DEVICE_DOWN:
		(void)printf("down\n");
		a->n_staged = 0;
		break;
	case DEVICE_HEARD:
	case DEVICE_PERSIST:
		break;
	}
}

static void command(struct app *a, struct mono now)
{
	const struct device_counters *c = &a->device.counters;
	char line[64];

	if (!fgets(line, sizeof(line), stdin))
		exit(0);
	if (strcmp(line, "rekey\n") == 0) {
		/* The message limit, which counts in both roles. */
		if (a->current)
			atomic_store(&a->current->next_counter, KEYPAIR_REKEY_AFTER_MESSAGES);
		device_activity(&a->device, now, a->peer);
	} else if (strcmp(line, "reset\n") == 0) {
		device_reset(&a->device, a->peer);
	} else if (strcmp(line, "load on\n") == 0) {
		a->is_loaded = true;
	} else if (strcmp(line, "load off\n") == 0) {
		a->is_loaded = false;
	} else if (strcmp(line, "status\n") == 0) {
		(void)printf(
			"status rx_init %llu rx_resp %llu tx_init %llu tx_resp %llu tx_cookie %llu "
			"bad %lu "
			"auth %llu\n",
			(unsigned long long)c->rx_initiations, (unsigned long long)c->rx_responses,
			(unsigned long long)c->tx_initiations, (unsigned long long)c->tx_responses,
			(unsigned long long)c->tx_cookie_replies, a->n_bad,
			(unsigned long long)(c->drop_auth + c->drop_mac1));
	}
}

/* --- start --- */

static int open_tun(const char *name)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		die("/dev/net/tun");
	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &ifr) != 0)
		die(name);
	return fd;
}

static int open_udp(uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), size = 4 << 20;

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0)
		die("UDP socket");
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return fd;
}

static void pick_aead(struct app *a, const char *name)
{
	struct wgtest all[WGTEST_BACKENDS_MAX];
	unsigned n = wgtest_init_all(all);

	for (unsigned i = 0; i < n; i++) {
		if (strcmp(all[i].crypto.aead->name, name) == 0)
			a->lib = all[i];
		else
			wgtest_wipe(&all[i]);
	}
	if (!a->lib.crypto.aead)
		exit(77); /* not in this build */
}

static void setup(struct app *a, char **argv)
{
	struct device_cfg cfg = { .crypto = &a->lib.crypto, .env = &a->env, .max_indices = SLOTS };
	struct device_peer_cfg pcfg = { .id = { 0, 1 } };
	struct ep ep;

	pick_aead(a, argv[1]);
	a->env = (struct env){ .fill = fill, .wall_ns = wall_ns };
	test_unhex(cfg.priv.b, KEY_SIZE, argv[4]);
	test_unhex(pcfg.key.b, KEY_SIZE, argv[5]);
	if (ep_parse(&ep, argv[6], strlen(argv[6])) != 0 || device_init(&a->device, &cfg) != 0 ||
	    device_add(&a->device, &pcfg, &a->peer) != 0)
		exit(2);
	a->path = path_direct(&ep);
	a->to = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(ep.port) };
	memcpy(&a->to.sin_addr, ep.ip.b, 4);
	a->tun = open_tun(argv[2]);
	a->udp = open_udp((uint16_t)strtoul(argv[3], NULL, 10));
}

static void loop(struct app *a)
{
	struct pollfd fds[3] = { { .fd = a->tun, .events = POLLIN },
				 { .fd = a->udp, .events = POLLIN },
				 { .fd = STDIN_FILENO, .events = POLLIN } };

	for (;;) {
		struct mono now = now_mono(), t = device_deadline(&a->device);
		struct device_out o;
		int wait_ms = -1;

		if (!mono_is_never(t))
			wait_ms = (int)(mono_before(t, now) ? 0 : mono_since_ms(t, now) + 1);
		if (poll(fds, 3, wait_ms) < 0)
			die("poll");
		now = now_mono();
		if (fds[0].revents)
			from_tun(a, now);
		if (fds[1].revents)
			from_udp(a, now);
		if (fds[2].revents)
			command(a, now);
		device_tick(&a->device, now);
		while (device_poll(&a->device, now, &o))
			output(a, now, &o);
	}
}

int main(int argc, char **argv)
{
	struct app *a = calloc(1, sizeof(*a));

	if (argc != 7 || !a || sodium_init() < 0)
		return 2;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	(void)setvbuf(stdin, NULL, _IONBF, 0);
	setup(a, argv);
	(void)printf("ready\n");
	loop(a);
}
