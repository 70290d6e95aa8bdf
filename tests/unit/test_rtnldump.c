/* SPDX-License-Identifier: MIT */
/* Questions to the kernel about its network: whatever became of one, the next is answered. */
#include "config.h"

#include "tests/unit/testing.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include "daemon/rtnlstate.h"

/* Is the loopback interface, which every host has, among the answers? */
static int take_link(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(nlh);
	unsigned *n_lo = data;

	*n_lo += nlh->nlmsg_type == RTM_NEWLINK && m->ifi_flags & IFF_LOOPBACK;
	return MNL_CB_OK;
}

static int take_none(const struct nlmsghdr *nlh, void *data)
{
	(void)nlh;
	++*(unsigned *)data;
	return MNL_CB_STOP;
}

static void expect_links(struct rtnl_req *q)
{
	unsigned n = 0;

	assert_int_equal(rtnl_dump(q, RTM_GETLINK, AF_UNSPEC, take_link, &n), 0);
	assert_int_equal(n, 1);
}

/* Sends a question and reads nothing of what is answered, as after a timeout. */
static void ask_in_vain(struct rtnl_req *q, uint16_t type)
{
	uint8_t buf[256] MESH_ALIGNED(8);
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtgenmsg *head = mnl_nlmsg_put_extra_header(nlh, sizeof(*head));

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = ++q->seq;
	head->rtgen_family = AF_UNSPEC;
	assert_true(mnl_socket_sendto(q->nl, nlh, nlh->nlmsg_len) > 0);
}

static void an_answer_that_nobody_read_is_in_nobodys_way(void **state)
{
	struct rtnl_req q;

	(void)state;
	assert_int_equal(rtnl_req_open(&q), 0);
	expect_links(&q);
	for (int i = 0; i < 3; i++) {
		ask_in_vain(&q, RTM_GETADDR);
		expect_links(&q);
		ask_in_vain(&q, RTM_GETLINK);
		expect_links(&q);
		expect_links(&q);
	}
	rtnl_req_close(&q);
}

static void who_wants_no_more_leaves_nothing_behind(void **state)
{
	struct rtnl_req q;
	unsigned n = 0;

	(void)state;
	assert_int_equal(rtnl_req_open(&q), 0);
	assert_int_equal(rtnl_dump(&q, RTM_GETLINK, AF_UNSPEC, take_none, &n), 0);
	assert_int_equal(n, 1);
	expect_links(&q);
	rtnl_req_close(&q);
}

static void a_question_that_the_kernel_refuses_is_an_error(void **state)
{
	struct rtnl_req q;
	unsigned n = 0;

	(void)state;
	assert_int_equal(rtnl_req_open(&q), 0);
	assert_int_equal(rtnl_dump(&q, RTM_MAX + 3, AF_UNSPEC, take_none, &n), -EOPNOTSUPP);
	assert_int_equal(n, 0);
	expect_links(&q);
	rtnl_req_close(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_that_nobody_read_is_in_nobodys_way),
		cmocka_unit_test(who_wants_no_more_leaves_nothing_behind),
		cmocka_unit_test(a_question_that_the_kernel_refuses_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
