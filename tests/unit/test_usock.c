/* SPDX-License-Identifier: MIT */
/* daemon/usock on loopback: runs arrive as the datagrams they stand for, with and without GSO and
 * GRO; errors stay with their run. */
#include "config.h"

#include "tests/unit/testing.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/usock.h"

/* What the kernel answers to GSO sends: the first 'n_good' pass, then 'err'. */
static struct refusal {
	int n_good, err;
} refusal;

/* Instead of libc's: refuses what some device or path would refuse. */
int sendmmsg(int fd, struct mmsghdr *hdrs, unsigned n, int flags)
{
	unsigned k = 0;

	for (; refusal.err && k < n; k++)
		if (hdrs[k].msg_hdr.msg_controllen && refusal.n_good-- <= 0)
			break;
	if (refusal.err && k == 0) {
		errno = refusal.err;
		return -1;
	}
	return (int)syscall(SYS_sendmmsg, fd, hdrs, refusal.err ? k : n, flags);
}

struct pair {
	struct usock a, b;
	struct usock_addr to_b;
	struct usock_rx rx;
	uint8_t bytes[70000];
};

static void open_pair(struct pair *p, bool use_no_gso, bool use_no_gro)
{
	const struct usock_cfg cfg = { .family = IP_V4,
				       .use_no_gso = use_no_gso,
				       .use_no_gro = use_no_gro };
	struct ep ep = { .ip = ip4(127, 0, 0, 1) };

	assert_int_equal(usock_open(&p->a, &cfg), 0);
	assert_int_equal(usock_open(&p->b, &cfg), 0);
	assert_int_not_equal(p->b.port, 0);
	ep.port = p->b.port;
	p->to_b = usock_addr(&ep);
	assert_int_equal(usock_rx_init(&p->rx), 0);
	for (size_t i = 0; i < sizeof(p->bytes); i++)
		p->bytes[i] = (uint8_t)(i / 100);
}

static void close_pair(struct pair *p)
{
	usock_close(&p->a);
	usock_close(&p->b);
	usock_rx_wipe(&p->rx);
}

/* Receives until 'want' bytes are there; checks that datagram i begins at byte i * size of what was
 * sent. Returns the number of datagrams. */
static uint32_t receive(struct pair *p, uint32_t size, uint32_t want)
{
	uint32_t got = 0, n_segs = 0;

	while (got < want) {
		struct pollfd pfd = { .fd = p->b.fd, .events = POLLIN };
		int n;

		assert_int_equal(poll(&pfd, 1, 2000), 1);
		n = usock_recv(&p->b, &p->rx);
		assert_true(n > 0);
		for (int i = 0; i < n; i++) {
			const struct usock_msg *m = &p->rx.msgs[i];

			assert_int_equal(usock_ep(&m->from).port, p->a.port);
			assert_true(m->seg_size == m->size || m->seg_size == size);
			assert_memory_equal(m->data, p->bytes + got, m->size);
			got += m->size;
			n_segs += (m->size + m->seg_size - 1) / m->seg_size;
		}
	}
	assert_int_equal(got, want);
	assert_int_equal(usock_recv(&p->b, &p->rx), 0);
	return n_segs;
}

/* 20 segments of 1000 bytes in two pieces, and one of 350. */
static void send_and_receive(bool use_no_gso, bool use_no_gro, bool is_single)
{
	static struct pair p;
	struct iovec iov[2];
	struct usock_run run;

	open_pair(&p, use_no_gso, use_no_gro);
	iov[0] = (struct iovec){ p.bytes, 7000 };
	iov[1] = (struct iovec){ p.bytes + 7000, 13350 };
	run = (struct usock_run){ .to = p.to_b,
				  .iov = iov,
				  .n_iov = 2,
				  .n_segs = 21,
				  .seg_size = 1000,
				  .bytes = 20350,
				  .is_single = is_single };
	assert_true(usock_send(&p.a, &run, 1) >= 1);
	assert_int_equal(run.error, 0);
	assert_false(run.was_too_big);
	assert_int_equal(receive(&p, 1000, 20350), 21);
	close_pair(&p);
}

static void usock_runs_arrive_as_datagrams(void **state)
{
	(void)state;
	send_and_receive(false, false, false);
	send_and_receive(false, true, false);
	send_and_receive(true, false, false);
	send_and_receive(true, true, false);
	send_and_receive(false, false, true);
}

static int queue_of(const struct usock *s)
{
	int size = 0;
	socklen_t len = sizeof(size);

	assert_int_equal(getsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &size, &len), 0);
	return size / 2; /* the kernel doubles it */
}

static void usock_queue_can_change(void **state)
{
	struct pair p;

	(void)state;
	open_pair(&p, false, false);
	usock_set_queue(&p.b, 64 << 10);
	assert_int_equal(queue_of(&p.b), 64 << 10);
	usock_set_queue(&p.b, 32 << 10);
	assert_int_equal(queue_of(&p.b), 32 << 10);
	close_pair(&p);
}

static void usock_errors_stay_with_their_run(void **state)
{
	static struct pair p;
	struct iovec iov[3] = { { p.bytes, 2000 }, { p.bytes, 2000 }, { p.bytes + 2000, 100 } };
	struct usock_run runs[3];
	const struct ep nowhere = { .ip = { .family = IP_V6, .b = { 0x20, 1, 0xd, 0xb8 } },
				    .port = 9 };

	(void)state;
	open_pair(&p, false, false);
	for (int i = 0; i < 3; i++)
		runs[i] = (struct usock_run){ .to = p.to_b,
					      .iov = &iov[i],
					      .n_iov = 1,
					      .n_segs = 2,
					      .seg_size = 1000,
					      .bytes = 2000 };
	runs[1].to = usock_addr(&nowhere); /* the wrong family for this socket */
	runs[2].n_segs = 1;
	runs[2].seg_size = runs[2].bytes = 100;
	(void)usock_send(&p.a, runs, 3);
	assert_int_equal(runs[0].error, 0);
	assert_int_not_equal(runs[1].error, 0);
	assert_int_equal(runs[2].error, 0);
	assert_int_equal(receive(&p, 1000, 2100), 3);
	close_pair(&p);
}

/* The device or the path refuses GSO in the middle of a batch: all datagrams arrive, in order, and the
 * runs say why. */
static void refused_in_mid_flow(int err, bool is_path, bool is_device)
{
	static struct pair p;
	struct iovec iov[5];
	struct usock_run runs[5];

	open_pair(&p, false, false);
	for (int i = 0; i < 5; i++) {
		iov[i] = (struct iovec){ p.bytes + 4000 * i, 4000 };
		runs[i] = (struct usock_run){ .to = p.to_b,
					      .iov = &iov[i],
					      .n_iov = 1,
					      .n_segs = 4,
					      .seg_size = 1000,
					      .bytes = 4000 };
	}
	refusal = (struct refusal){ 2, err };
	(void)usock_send(&p.a, runs, 5);
	refusal.err = 0;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(runs[i].error, 0);
		/* Of the device it is known after the first one. */
		assert_int_equal(runs[i].was_resent, i == 2 || (i > 2 && is_path));
		assert_int_equal(runs[i].was_too_big, i >= 2 && is_path);
	}
	assert_int_equal(counter_mark_get(&p.a.gso_off), is_device);
	assert_int_equal(receive(&p, 1000, 20000), 20);
	close_pair(&p);
}

static void usock_resends_what_was_refused_with_gso(void **state)
{
	(void)state;
	refused_in_mid_flow(EIO, false, true);
	refused_in_mid_flow(EOPNOTSUPP, false, true);
	refused_in_mid_flow(EINVAL, true, false);
	refused_in_mid_flow(EMSGSIZE, true, false);
}

/* What says nothing about GSO is not sent twice. */
static void usock_keeps_other_errors(void **state)
{
	static const int errors[] = { ECONNREFUSED, ENOBUFS, EPERM, ENETUNREACH, EAGAIN };
	static struct pair p;

	(void)state;
	open_pair(&p, false, false);
	for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
		struct iovec iov = { p.bytes, 4000 };
		struct usock_run run = { .to = p.to_b,
					 .iov = &iov,
					 .n_iov = 1,
					 .n_segs = 4,
					 .seg_size = 1000,
					 .bytes = 4000 };

		refusal = (struct refusal){ 0, errors[i] };
		(void)usock_send(&p.a, &run, 1);
		refusal.err = 0;
		assert_int_equal(run.error, -errors[i]);
		assert_false(run.was_resent || run.was_too_big);
		assert_false(counter_mark_get(&p.a.gso_off));
	}
	assert_int_equal(usock_recv(&p.b, &p.rx), 0);
	close_pair(&p);
}

static void usock_port_in_use_is_refused(void **state)
{
	struct usock_cfg cfg = { .family = IP_V4 };
	struct usock a, b;

	(void)state;
	assert_int_equal(usock_open(&a, &cfg), 0);
	cfg.port = a.port;
	assert_int_equal(usock_open(&b, &cfg), -EADDRINUSE);
	cfg.can_share_port = true; /* sharing takes both sides */
	assert_int_equal(usock_open(&b, &cfg), -EADDRINUSE);
	usock_close(&a);
	assert_int_equal(usock_open(&a, &cfg), 0);
	assert_int_equal(usock_open(&b, &cfg), 0);
	usock_close(&a);
	usock_close(&b);
}

enum { SHARING = 3, SENDERS = 64 };

/* Sends a datagram from each of many sockets; returns how many of the sharing sockets got some. */
static unsigned n_reached(const struct usock *socks, const struct usock_addr *to, struct usock_rx *rx)
{
	const struct usock_cfg cfg = { .family = IP_V4 };
	struct iovec iov = { (void *)(uintptr_t)"x", 1 };
	struct pollfd fds[SHARING];
	int n_got[SHARING] = { 0 }, sum = 0;
	unsigned n = 0;

	for (int i = 0; i < SENDERS; i++) {
		struct usock s;

		assert_int_equal(usock_open(&s, &cfg), 0);
		assert_int_equal(usock_send_one(&s, to, &iov, 1), 0);
		usock_close(&s);
	}
	for (int i = 0; i < SHARING; i++)
		fds[i] = (struct pollfd){ .fd = socks[i].fd, .events = POLLIN };
	while (sum < SENDERS) {
		assert_true(poll(fds, SHARING, 10000) > 0);
		for (int i = 0; i < SHARING; i++) {
			const int got = usock_recv(&socks[i], rx);

			assert_true(got >= 0);
			n_got[i] += got;
			sum += got;
		}
	}
	assert_int_equal(sum, SENDERS);
	assert_int_not_equal(n_got[0], 0); /* the first is always among them */
	for (int i = 0; i < SHARING; i++)
		n += n_got[i] > 0;
	return n;
}

static void usock_sharers_are_gathered_and_spread(void **state)
{
	struct usock_cfg cfg = { .family = IP_V4, .can_share_port = true };
	struct ep ep = { .ip = ip4(127, 0, 0, 1) };
	struct usock socks[SHARING];
	struct usock_addr to;
	struct usock_rx rx;

	(void)state;
	assert_int_equal(usock_rx_init(&rx), 0);
	for (int i = 0; i < SHARING; i++) {
		assert_int_equal(usock_open(&socks[i], &cfg), 0);
		cfg.port = socks[0].port;
	}
	ep.port = socks[0].port;
	to = usock_addr(&ep);
	/* 64 senders that all meet one of three sockets by chance: 1 in 10^30. */
	assert_true(n_reached(socks, &to, &rx) > 1);
	for (int i = 0; i < 2; i++) {
		const int err = usock_gather(&socks[0], true);

		if (i == 0 && err == -ENOPROTOOPT) {
			print_message("this kernel cannot go back: nothing is gathered\n");
			break;
		}
		assert_int_equal(err, 0);
		assert_int_equal(n_reached(socks, &to, &rx), 1);
		assert_int_equal(usock_gather(&socks[0], true), 0); /* again is no error */
		assert_int_equal(n_reached(socks, &to, &rx), 1);
		assert_int_equal(usock_gather(&socks[0], false), 0);
		assert_true(n_reached(socks, &to, &rx) > 1);
		assert_int_equal(usock_gather(&socks[0], false), 0);
	}
	assert_true(n_reached(socks, &to, &rx) > 1);
	for (int i = 0; i < SHARING; i++)
		usock_close(&socks[i]);
	usock_rx_wipe(&rx);
}

static void usock_addresses_come_back(void **state)
{
	static const char *const texts[] = { "192.0.2.1:1", "255.255.255.255:65535",
					     "[2001:db8::1]:41641" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct usock_addr a;
		struct ep ep, back;

		assert_int_equal(ep_parse(&ep, texts[i], strlen(texts[i])), 0);
		a = usock_addr(&ep);
		back = usock_ep(&a);
		assert_true(ep_eq(&ep, &back));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(usock_runs_arrive_as_datagrams),
		cmocka_unit_test(usock_queue_can_change),
		cmocka_unit_test(usock_errors_stay_with_their_run),
		cmocka_unit_test(usock_resends_what_was_refused_with_gso),
		cmocka_unit_test(usock_keeps_other_errors),
		cmocka_unit_test(usock_port_in_use_is_refused),
		cmocka_unit_test(usock_sharers_are_gathered_and_spread),
		cmocka_unit_test(usock_addresses_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
