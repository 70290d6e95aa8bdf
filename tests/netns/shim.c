/* SPDX-License-Identifier: MIT */
/* A bad line between two UDP endpoints: what comes from one goes to the other, but for what is lost,
 * delayed past its successors, doubled or damaged on the way. Driven by tests/netns/.
 *
 * usage: shim --port N --a ADDRESS:PORT --b ADDRESS:PORT [--seed N] [--loss P] [--reorder P]
 *             [--delay-ms N] [--duplicate P] [--corrupt P]
 *
 * P is in parts of a thousand. A reordered datagram waits up to --delay-ms (at most 60). Damage is one
 * bit behind the first 16 bytes, the header of a WireGuard data message. What passes unharmed leaves in
 * the runs in which it came, so that batches stay batches. Prints "ready", and its counts as JSON when
 * it ends (SIGTERM). */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "daemon/usock.h"

enum { HELD_MAX = 8192, HELD_SIZE = 2048, SLOTS = 64, HEADER = 16 };

/* A datagram that waits. */
struct held {
	struct held *next;
	const struct usock_addr *to;
	uint32_t size;
	uint8_t bytes[HELD_SIZE];
};

struct shim {
	struct usock sock;
	struct usock_rx rx;
	struct usock_addr ends[2];
	uint64_t random;
	unsigned loss, reorder, duplicate, corrupt, delay_ms;
	struct held *free, *slots[SLOTS], *last[SLOTS]; /* by the millisecond when they are due */
	uint64_t ms;                                    /* up to which they were sent */
	/* The run that is being gathered. */
	struct usock_run run;
	struct iovec iov;
	uint64_t n_in, n_lost, n_reordered, n_duplicated, n_corrupted, n_strange, n_failed;
};

static void must(const char *what, int err)
{
	if (!err)
		return;
	(void)fprintf(stderr, "shim: %s: %s\n", what, strerror(-err));
	exit(1);
}

/* xorshift64*: the same seed gives the same faults for the same traffic. */
static uint64_t draw(struct shim *s)
{
	s->random ^= s->random >> 12;
	s->random ^= s->random << 25;
	s->random ^= s->random >> 27;
	return (s->random * UINT64_C(2685821657736338717)) >> 33;
}

static bool happens(struct shim *s, unsigned per_mille)
{
	return per_mille && draw(s) % 1000 < per_mille;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void send_run(struct shim *s)
{
	struct pollfd fd = { .fd = s->sock.fd, .events = POLLOUT };

	if (!s->run.n_segs)
		return;
	s->run.iov = &s->iov;
	s->run.n_iov = 1;
	(void)usock_send(&s->sock, &s->run, 1);
	if (s->run.error == -EAGAIN && poll(&fd, 1, 1000) == 1)
		(void)usock_send(&s->sock, &s->run, 1);
	s->n_failed += s->run.error != 0;
	s->run.n_segs = 0;
}

static void send_one(struct shim *s, const struct usock_addr *to, uint8_t *data, uint32_t size)
{
	send_run(s);
	s->iov = (struct iovec){ data, size };
	s->run = (struct usock_run){ .to = *to, .n_segs = 1, .seg_size = size, .bytes = size };
	send_run(s);
}

/* Behind what is gathered, if it fits there. */
static void pass(struct shim *s, const struct usock_addr *to, uint8_t *data, uint32_t size,
		 uint32_t seg_size)
{
	struct usock_run *run = &s->run;

	if (run->n_segs && run->seg_size == seg_size && size <= seg_size &&
	    run->n_segs < USOCK_RUN_SEGS_MAX && run->bytes % seg_size == 0 &&
	    run->bytes + size <= USOCK_RUN_BYTES_MAX &&
	    (uint8_t *)s->iov.iov_base + s->iov.iov_len == data) {
		run->n_segs++;
		run->bytes += size;
		s->iov.iov_len += size;
		return;
	}
	send_run(s);
	s->iov = (struct iovec){ data, size };
	*run = (struct usock_run){ .to = *to, .n_segs = 1, .seg_size = size, .bytes = size };
}

static bool hold(struct shim *s, const struct usock_addr *to, const uint8_t *data, uint32_t size)
{
	const uint64_t at = (s->ms + 1 + draw(s) % s->delay_ms) % SLOTS;
	struct held *h = s->free;

	if (!h || size > HELD_SIZE)
		return false;
	s->free = h->next;
	h->to = to;
	h->size = size;
	h->next = NULL;
	memcpy(h->bytes, data, size);
	if (s->slots[at])
		s->last[at]->next = h;
	else
		s->slots[at] = h;
	s->last[at] = h;
	return true;
}

static void release(struct shim *s)
{
	const uint64_t now = now_ms();

	/* One turn of the wheel has them all. */
	if (now > s->ms + SLOTS)
		s->ms = now - SLOTS;
	while (s->ms < now) {
		const uint64_t at = ++s->ms % SLOTS;

		for (struct held *h = s->slots[at], *next; h; h = next) {
			next = h->next;
			send_one(s, h->to, h->bytes, h->size);
			h->next = s->free;
			s->free = h;
		}
		s->slots[at] = s->last[at] = NULL;
	}
}

static void segment(struct shim *s, const struct usock_addr *to, uint8_t *data, uint32_t size,
		    uint32_t seg_size)
{
	s->n_in++;
	if (happens(s, s->loss)) {
		s->n_lost++;
		return;
	}
	if (happens(s, s->duplicate)) {
		s->n_duplicated++;
		send_one(s, to, data, size);
	}
	if (size > HEADER && happens(s, s->corrupt)) {
		s->n_corrupted++;
		data[HEADER + draw(s) % (size - HEADER)] ^= (uint8_t)(1u << draw(s) % 8);
	}
	if (s->delay_ms && happens(s, s->reorder) && hold(s, to, data, size)) {
		s->n_reordered++;
		return;
	}
	pass(s, to, data, size, seg_size);
}

static bool is_from(const struct usock_addr *from, const struct usock_addr *end)
{
	const struct ep a = usock_ep(from), b = usock_ep(end);

	return ep_eq(&a, &b);
}

static void take(struct shim *s)
{
	const int n = usock_recv(&s->sock, &s->rx);

	for (int i = 0; i < n; i++) {
		const struct usock_msg *m = &s->rx.msgs[i];
		const int from = is_from(&m->from, &s->ends[0])   ? 0
				 : is_from(&m->from, &s->ends[1]) ? 1
								  : -1;

		if (from < 0)
			s->n_strange++;
		for (uint32_t at = 0; from >= 0 && at < m->size; at += m->seg_size) {
			const uint32_t left = m->size - at;

			segment(s, &s->ends[!from], m->data + at,
				left < m->seg_size ? left : m->seg_size, m->seg_size);
		}
		send_run(s);
	}
}

static void parse(struct shim *s, struct usock_cfg *cfg, int argc, char **argv)
{
	static const struct option options[] = {
		{ "port", 1, NULL, 'p' },    { "a", 1, NULL, 'a' },       { "b", 1, NULL, 'b' },
		{ "seed", 1, NULL, 's' },    { "loss", 1, NULL, 'l' },    { "reorder", 1, NULL, 'r' },
		{ "delay-ms", 1, NULL, 'm' }, { "duplicate", 1, NULL, 'd' }, { "corrupt", 1, NULL, 'c' },
		{ NULL, 0, NULL, 0 },
	};

	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		const unsigned n = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;
		struct ep ep;

		switch (o) {
		case 'p':
			cfg->port = (uint16_t)n;
			break;
		case 'a':
		case 'b':
			must(optarg, ep_parse(&ep, optarg, strlen(optarg)));
			s->ends[o - 'a'] = usock_addr(&ep);
			cfg->family = (enum ip_family)ep.ip.family;
			break;
		case 's':
			s->random = n;
			break;
		case 'l':
			s->loss = n;
			break;
		case 'r':
			s->reorder = n;
			break;
		case 'm':
			s->delay_ms = n < SLOTS - 4 ? n : SLOTS - 4;
			break;
		case 'd':
			s->duplicate = n;
			break;
		case 'c':
			s->corrupt = n;
			break;
		default:
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	struct pollfd fds[2] = { { .events = POLLIN }, { .events = POLLIN } };
	struct shim *s = calloc(1, sizeof(*s));
	struct held *held = calloc(HELD_MAX, sizeof(*held));
	struct usock_cfg cfg = { .family = IP_V4 };
	struct signalfd_siginfo got;
	bool is_over = false;
	sigset_t signals;

	if (!s || !held)
		return 1;
	s->random = 1;
	parse(s, &cfg, argc, argv);
	s->random = (s->random + 1) * UINT64_C(0x9e3779b97f4a7c15);
	for (size_t i = 0; i < HELD_MAX; i++)
		held[i].next = i + 1 < HELD_MAX ? &held[i + 1] : NULL;
	s->free = held;
	must("socket", usock_open(&s->sock, &cfg));
	must("buffers", usock_rx_init(&s->rx));
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	fds[0].fd = s->sock.fd;
	fds[1].fd = signalfd(-1, &signals, SFD_CLOEXEC);
	must("signalfd", fds[1].fd < 0 ? -errno : 0);
	s->ms = now_ms();
	(void)puts("ready");
	(void)fflush(stdout);
	while (!is_over) {
		(void)poll(fds, 2, 1);
		take(s);
		release(s);
		if (!fds[1].revents)
			continue;
		if (read(fds[1].fd, &got, sizeof(got)) != sizeof(got) || got.ssi_signo == SIGTERM)
			is_over = true;
		else
			s->loss = s->reorder = s->duplicate = s->corrupt = 0; /* from now on a good line */
	}
	(void)printf("{\"in\": %llu, \"lost\": %llu, \"reordered\": %llu, \"duplicated\": %llu, "
		     "\"corrupted\": %llu, \"strange\": %llu, \"failed\": %llu}\n",
		     (unsigned long long)s->n_in, (unsigned long long)s->n_lost,
		     (unsigned long long)s->n_reordered, (unsigned long long)s->n_duplicated,
		     (unsigned long long)s->n_corrupted, (unsigned long long)s->n_strange,
		     (unsigned long long)s->n_failed);
	(void)close(fds[1].fd);
	usock_close(&s->sock);
	usock_rx_wipe(&s->rx);
	free(held);
	free(s);
	return 0;
}
