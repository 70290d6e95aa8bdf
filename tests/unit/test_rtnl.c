/* SPDX-License-Identifier: MIT */
/* Batches of requests to the kernel: every failure is told, whichever request it is of and although only the last one is
 * asked to be acknowledged. Needs no rights: what it may not do, or what there is not, is the failure. */
#include "tests/unit/testing.h"

#include <linux/if_addr.h>
#include <string.h>
#include <sys/socket.h>

#include <libmnl/libmnl.h>

#include "daemon/rtnlstate.h"

enum { LOOPBACK = 1, NO_SUCH_LINK = 1 << 30 };

/* Succeeds for everybody: the link is looked at. */
static void put_good(struct rtnl_req *q)
{
	struct nlmsghdr *nlh = rtnl_begin(q, RTM_GETLINK, 0, 0);
	struct ifinfomsg *m = mnl_nlmsg_put_extra_header(nlh, sizeof(*m));

	m->ifi_index = LOOPBACK;
	rtnl_end(q, nlh);
}

/* Fails for everybody: without rights as such, with them because there is no such link. */
static void put_bad(struct rtnl_req *q, int tolerate)
{
	struct nlmsghdr *nlh = rtnl_begin(q, RTM_DELADDR, 0, tolerate);
	struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(nlh, sizeof(*m));
	const uint8_t addr[4] = { 192, 0, 2, 1 };

	m->ifa_family = AF_INET;
	m->ifa_prefixlen = 32;
	m->ifa_index = NO_SUCH_LINK;
	mnl_attr_put(nlh, IFA_LOCAL, sizeof(addr), addr);
	rtnl_end(q, nlh);
}

static int setup(void **state)
{
	static struct rtnl_req q;

	assert_int_equal(rtnl_req_open(&q), 0);
	*state = &q;
	return 0;
}

static int teardown(void **state)
{
	rtnl_req_close(*state);
	return 0;
}

static void a_failure_is_told_wherever_it_is(void **state)
{
	enum { N = 5 };
	struct rtnl_req *q = *state;
	int err;

	put_bad(q, 0);
	err = rtnl_flush(q);
	assert_true(err < 0);
	for (int at = 0; at < N; at++) {
		for (int i = 0; i < N; i++) {
			if (i == at)
				put_bad(q, 0);
			else
				put_good(q);
		}
		assert_int_equal(rtnl_flush(q), err);
		assert_int_equal(q->error_type, RTM_DELADDR);
		/* It is not told again. */
		put_good(q);
		assert_int_equal(rtnl_flush(q), 0);
	}
	assert_int_equal(rtnl_flush(q), 0); /* nothing was asked */
}

static void what_is_tolerated_is_no_failure(void **state)
{
	struct rtnl_req *q = *state;
	int err;

	put_bad(q, 0);
	err = rtnl_flush(q);
	put_bad(q, -err);
	put_good(q);
	put_bad(q, -err);
	assert_int_equal(rtnl_flush(q), 0);
	put_bad(q, -err);
	put_good(q); /* the end is told when it succeeds, too */
	assert_int_equal(rtnl_flush(q), 0);
	/* Another error, of one among them, is. */
	put_bad(q, -err);
	put_bad(q, -err + 1);
	put_bad(q, -err);
	assert_int_equal(rtnl_flush(q), err);
}

/* More than a batch takes: the first ones are sent on the way, and what failed of them is not forgotten. */
static void a_failure_outlives_its_batch(void **state)
{
	enum { N = RTNL_BATCH_MAX + 10 };
	struct rtnl_req *q = *state;
	const uint64_t before = q->total;
	int err;

	put_bad(q, 0);
	err = rtnl_flush(q);
	put_bad(q, 0);
	for (int i = 0; i < N; i++)
		put_bad(q, -err);
	assert_true(q->n < N); /* it was full */
	put_good(q);
	assert_int_equal(rtnl_flush(q), err);
	assert_int_equal(q->total - before, N + 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_failure_is_told_wherever_it_is),
		TEST(what_is_tolerated_is_no_failure),
		TEST(a_failure_outlives_its_batch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
