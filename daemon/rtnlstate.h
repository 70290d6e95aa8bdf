/* SPDX-License-Identifier: MIT */
/* Inside of rtnl: request socket, dumps and batches, shared by rtnl.c (monitor, queries) and
 * rtnl_apply.c. */
#ifndef DAEMON_RTNLSTATE_H
#define DAEMON_RTNLSTATE_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/rtnl.h"

struct mnl_socket;

enum { RTNL_BUF_SIZE = 32 << 10, RTNL_BATCH_MAX = 256, RTNL_TIMEOUT_S = 5 };

/* A socket for requests; answers come at once from the kernel. */
struct rtnl_req {
	struct mnl_socket *nl;
	uint32_t seq;
	uint32_t portid;
	/* Requests not sent yet. */
	uint8_t *buf; /* RTNL_BUF_SIZE */
	size_t used;
	size_t last; /* where the last of them begins */
	unsigned n;
	uint64_t total; /* requests ever made */
	uint32_t first_seq;
	int tolerate[RTNL_BATCH_MAX]; /* positive errno that is no failure; 0 = none */
	/* First failure since the last rtnl_flush(), with what was asked. */
	int error;
	int error_type; /* message type that failed */
};

MESH_MUST_USE int rtnl_req_open(struct rtnl_req *q);
void rtnl_req_close(struct rtnl_req *q);

/* Begins a request in the batch (which is sent first if it is full) and returns its head.
 * 'tolerate': EEXIST for additions, ESRCH or ENOENT for removals, or 0. Ends with rtnl_end(). */
struct nlmsghdr *rtnl_begin(struct rtnl_req *q, uint16_t type, uint16_t flags, int tolerate);
void rtnl_end(struct rtnl_req *q, struct nlmsghdr *nlh);
/* Sends the batch and collects the answers. Returns 0 or the first failure since the last call. */
int rtnl_flush(struct rtnl_req *q);

/* Asks for everything of a kind and calls 'fn' for each message. 'family' is AF_INET, AF_INET6 or
 * AF_UNSPEC. Returns 0 or a negative errno; -EINTR: what it tells of changed meanwhile, the caller begins anew
 * (RTNL_DUMP_TRIES times in all). Whatever happens, the next question is answered. */
enum { RTNL_DUMP_TRIES = 4 };
typedef int (*rtnl_dump_fn)(const struct nlmsghdr *nlh, void *data);
MESH_MUST_USE int rtnl_dump(struct rtnl_req *q, uint16_t type, uint8_t family, rtnl_dump_fn fn,
			    void *data);

/* Attributes of a message behind 'head' bytes of fixed part, by type; absent ones are null. */
void rtnl_attrs(const struct nlmsghdr *nlh, size_t head, const struct nlattr **tb, uint16_t max);
/* An address attribute as struct ip; unset if it is null or odd. */
struct ip rtnl_ip(uint8_t family, const struct nlattr *a);

static inline uint8_t rtnl_af(uint8_t ip_family)
{
	return ip_family == IP_V6 ? 10 : 2; /* AF_INET6, AF_INET */
}

/* --- rtnl_apply.c --- */

/* Sorts a list of routes and takes doubles out; returns how many are left. */
size_t rtnl_sort(struct prefix *list, size_t n);
/* Is the prefix in a sorted list? '*at' is its place, or where it would be. */
bool rtnl_find(const struct prefix *sorted, size_t n, const struct prefix *p, size_t *at);
/* Adds and removes routes; those of 'gone' that 'w' (the state after the change, routes sorted) wants stay. */
MESH_MUST_USE int rtnl_change_routes(struct rtnl_req *q, const struct rtnl_wanted *w, const struct prefix *add,
				     size_t n_add, const struct prefix *gone, size_t n_gone,
				     char err[static RTNL_ERR_MAX]);
MESH_MUST_USE int rtnl_make_so(struct rtnl_req *q, const struct rtnl_wanted *w,
			       char err[static RTNL_ERR_MAX]);
/* Removes our rules, and the routes of our table that lead to 'ifindex' (0 = any). */
int rtnl_remove_ours(struct rtnl_req *q, uint32_t ifindex);

#endif
