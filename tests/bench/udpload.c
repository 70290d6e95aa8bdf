/* SPDX-License-Identifier: MIT */
/* The highest rate of UDP that arrives with less than 1 % lost, and what arrives at 2.5 times it.
 *
 * usage: udpload recv ADDRESS PORT                      (until it is killed)
 *        udpload search ADDRESS PORT SIZE STEP-MS       (prints one JSON object)
 *
 * The sender offers a rate for STEP-MS in bursts a half millisecond apart, waits for the queues to
 * drain, and asks the receiver how many datagrams of that step came. It goes up by half until a
 * rate loses 1 % three times over, halves the gap three times, and then overloads for twice as
 * long. A datagram counts for the step that it names, however late it comes before the question. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, SIZE_MAX_BYTES = 9000, STEPS_MAX = 256, TICK_NS = 500000, SOCK_BUF = 8 << 20 };
enum { KIND_DATA = 1, KIND_ASK = 2, KIND_ANSWER = 3 };
enum {
	DRAIN_MS = 60,
	ASK_TRIES = 50,
	ASK_MS = 40,
	BISECTIONS = 3,
	TRIES = 3,
	CATCH_UP = 8 * BATCH
};

static const double clean_loss = 0.01, growth = 1.5, overload = 2.5, start_bps_of_byte = 100e3,
		    limit_bps = 40e9, offered_enough = 0.9;

/* Header of every datagram, in host order: both ends are one machine. */
struct head {
	uint32_t kind;
	uint32_t step;
	uint64_t count; /* ANSWER: datagrams that came */
};

struct flow {
	int fd;
	size_t size;
	int64_t step_ns;
	uint32_t step;
	uint8_t bytes[SIZE_MAX_BYTES];
};

struct outcome {
	double offered_bps, arrived_bps, loss;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "udpload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void sleep_until(int64_t ns)
{
	const struct timespec ts = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static struct sockaddr_in parse_addr(const char *addr, const char *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons((uint16_t)strtoul(port, NULL, 10)) };

	if (inet_pton(AF_INET, addr, &a.sin_addr) != 1) {
		errno = EINVAL;
		die(addr);
	}
	return a;
}

static int open_socket(void)
{
	const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = SOCK_BUF;

	if (fd < 0)
		die("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		die("socket buffer");
	return fd;
}

/* --- receiver --- */

static void receive(const struct sockaddr_in *addr)
{
	static uint64_t counts[STEPS_MAX];
	static struct head heads[BATCH];
	static struct sockaddr_in from[BATCH];
	struct iovec iov[BATCH];
	struct mmsghdr msgs[BATCH];
	const int fd = open_socket();

	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		die("bind");
	for (;;) {
		int n;

		for (int i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){ &heads[i], sizeof(heads[i]) };
			msgs[i].msg_hdr = (struct msghdr){ .msg_name = &from[i],
							   .msg_namelen = sizeof(from[i]),
							   .msg_iov = &iov[i],
							   .msg_iovlen = 1 };
		}
		n = recvmmsg(fd, msgs, BATCH, MSG_WAITFORONE, NULL);
		if (n < 0 && errno != EINTR)
			die("recvmmsg");
		for (int i = 0; i < n; i++) {
			if (heads[i].step >= STEPS_MAX)
				continue;
			if (heads[i].kind == KIND_DATA)
				counts[heads[i].step]++;
			if (heads[i].kind != KIND_ASK)
				continue;
			heads[i].kind = KIND_ANSWER;
			heads[i].count = counts[heads[i].step];
			if (sendto(fd, &heads[i], sizeof(heads[i]), 0,
				   (const struct sockaddr *)&from[i], sizeof(from[i])) < 0)
				(void)fprintf(stderr, "udpload: answer: %s\n", strerror(errno));
		}
	}
}

/* --- sender --- */

/* Sends 'n' datagrams as they are; returns how many the kernel took. */
static int64_t send_burst(const struct flow *f, int64_t n)
{
	struct iovec iov = { (void *)(uintptr_t)f->bytes, f->size };
	struct mmsghdr msgs[BATCH];
	int64_t sent = 0;

	for (int i = 0; i < BATCH; i++)
		msgs[i].msg_hdr = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 };
	while (sent < n) {
		const int64_t want = n - sent < BATCH ? n - sent : BATCH;
		const int got = sendmmsg(f->fd, msgs, (unsigned)want, 0);

		if (got < 0 && errno != ENOBUFS && errno != EINTR && errno != ECONNREFUSED)
			die("sendmmsg");
		if (got <= 0)
			break;
		sent += got;
	}
	return sent;
}

/* Asks until the receiver answers how many datagrams of this step came. */
static uint64_t ask(const struct flow *f)
{
	const struct head question = { .kind = KIND_ASK, .step = f->step };

	for (int i = 0; i < ASK_TRIES; i++) {
		struct pollfd p = { .fd = f->fd, .events = POLLIN };
		struct head answer;

		(void)send(f->fd, &question, sizeof(question), 0); /* lost: asked again */
		if (poll(&p, 1, ASK_MS) <= 0)
			continue;
		if (recv(f->fd, &answer, sizeof(answer), MSG_DONTWAIT) == (ssize_t)sizeof(answer) &&
		    answer.kind == KIND_ANSWER && answer.step == f->step)
			return answer.count;
	}
	errno = ETIMEDOUT;
	die("no answer");
	return 0;
}

static struct outcome offer(struct flow *f, double bps, int64_t length_ns)
{
	const double pkts_per_ns = bps / 8e9 / (double)f->size;
	const struct head head = { .kind = KIND_DATA, .step = ++f->step };
	const int64_t begin = now_ns();
	struct outcome o;
	int64_t sent = 0, now = begin;
	uint64_t came;

	if (f->step >= STEPS_MAX) {
		errno = ERANGE;
		die("too many steps");
	}
	memcpy(f->bytes, &head, sizeof(head));
	for (int64_t tick = begin; now - begin < length_ns; now = now_ns()) {
		const int64_t due = (int64_t)((double)(now - begin) * pkts_per_ns);

		/* A sender that falls behind does not catch up in one blast. */
		sent += send_burst(f, due - sent < CATCH_UP ? due - sent : CATCH_UP);
		tick += TICK_NS;
		if (tick > now_ns())
			sleep_until(tick);
	}
	sleep_until(now_ns() + DRAIN_MS * INT64_C(1000000));
	came = ask(f);
	o.offered_bps = (double)sent * (double)f->size * 8e9 / (double)(now - begin);
	o.arrived_bps = (double)came * (double)f->size * 8e9 / (double)(now - begin);
	o.loss = sent ? 1 - (double)came / (double)sent : 1;
	return o;
}

static void print_step(const struct outcome *o, bool first)
{
	(void)printf("%s[%.4g, %.4g]", first ? "" : ", ", o->offered_bps, o->loss);
}

/* Offers a rate up to three times: on a busy machine a step may lose to a neighbour, or the sender
 * may be kept from its turn. Returns the rate that was offered and arrived, or 0. */
static double try_rate(struct flow *f, double bps, bool *first)
{
	for (int i = 0; i < TRIES; i++) {
		const struct outcome o = offer(f, bps, f->step_ns);

		print_step(&o, *first);
		*first = false;
		if (o.loss < clean_loss && o.offered_bps > offered_enough * bps)
			return o.offered_bps;
	}
	return 0;
}

/* Goes up until it loses, or the application cannot offer more, then halves the gap. */
static double search(struct flow *f)
{
	double good = 0, bad = 0;
	bool first = true;

	for (double bps = start_bps_of_byte * (double)f->size; bps < limit_bps && bad <= 0;
	     bps *= growth) {
		const double got = try_rate(f, bps, &first);

		if (got > 0)
			good = got;
		else
			bad = bps;
	}
	for (int i = 0; i < BISECTIONS && good > 0; i++) {
		const double bps = (good + bad) / 2, got = try_rate(f, bps, &first);

		if (got > good)
			good = got;
		else
			bad = bps;
	}
	return good;
}

int main(int argc, char **argv)
{
	static struct flow f;
	struct sockaddr_in addr;
	struct outcome o;
	double clean;

	if (argc == 4 && strcmp(argv[1], "recv") == 0) {
		addr = parse_addr(argv[2], argv[3]);
		receive(&addr);
	}
	if (argc != 6 || strcmp(argv[1], "search") != 0) {
		(void)fprintf(
			stderr,
			"usage: udpload recv ADDRESS PORT | search ADDRESS PORT SIZE STEP-MS\n");
		return 2;
	}
	addr = parse_addr(argv[2], argv[3]);
	f.size = strtoul(argv[4], NULL, 10);
	f.step_ns = strtol(argv[5], NULL, 10) * 1000000;
	if (f.size < sizeof(struct head) || f.size > sizeof(f.bytes) || f.step_ns <= 0) {
		errno = EINVAL;
		die("size or step");
	}
	f.fd = open_socket();
	if (connect(f.fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		die("connect");
	(void)ask(&f); /* the receiver and the way to it are there */
	(void)printf("{\"steps\": [");
	clean = search(&f);
	o = offer(&f, clean * overload, 2 * f.step_ns);
	(void)printf("], \"clean_bps\": %.6g, \"overload_offered_bps\": %.6g, "
		     "\"overload_goodput_bps\": %.6g}\n",
		     clean, o.offered_bps, o.arrived_bps);
	(void)close(f.fd);
	return 0;
}
