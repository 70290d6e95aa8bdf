/* SPDX-License-Identifier: MIT */
/* Addresses, links, routes and rules of this host through rtnetlink (libmnl).
 *
 * Two halves: a monitor, which turns kernel notices into coarse events on the loop, and a
 * configurator, which makes a wanted state so: it reads what is there, adds what is missing, then
 * removes what is ours and no longer wanted. Everything ours is recognisable: addresses on our
 * interface, routes of our table, rules at our priorities; nothing else is touched. Control thread
 * only. Spec: host-network 1, 3, 7. */
#ifndef DAEMON_RTNL_H
#define DAEMON_RTNL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ep.h"
#include "base/mono.h"

struct log;
struct loop;
struct rtnl;

enum { RTNL_TABLE = 52, RTNL_RULE_BASE = 5200, RTNL_MARK = 0x80000, RTNL_MARK_MASK = 0xff0000 };
enum { RTNL_ERR_MAX = 200, RTNL_IFNAME_MAX = 16 };

/* One usable address of this host. */
struct rtnl_addr {
	struct prefix prefix; /* address with the prefix length of its link */
	uint32_t ifindex;
	char ifname[RTNL_IFNAME_MAX];
	bool is_up; /* the link is up and running */
	bool is_loopback;
	bool is_temporary; /* IPv6 privacy address */
	bool is_deprecated;
};

enum rtnl_change {
	RTNL_MINOR = 1, /* addresses or links changed somewhere: gather endpoints again */
	RTNL_MAJOR = 2, /* the default route's interface or its addresses changed: the network is
			   another */
};

/* 'change' is the larger of what happened. Called on the first notice at once, then at most every
 * 250 ms. */
typedef void (*rtnl_change_fn)(void *ctx, enum rtnl_change change, struct mono now);

/* Opens the netlink sockets and starts monitoring; 'ifindex' is our own interface (0 = none), whose
 * changes are not reported. '*out' is the caller's. Returns 0 or a negative errno. */
MESH_MUST_USE int rtnl_open(struct rtnl **out, struct loop *loop, const struct log *log,
			    uint32_t ifindex, rtnl_change_fn fn, void *ctx);
void rtnl_close(struct rtnl *r);

/* The addresses of all interfaces but our own. '*addrs' is freed by the caller. Returns 0 or a
 * negative errno. */
MESH_MUST_USE int rtnl_addrs(struct rtnl *r, struct rtnl_addr **addrs, size_t *n);
/* The interface of the default route with the smallest metric in table main. Returns 0, -ENOENT if
 * there is none, or a negative errno. '*src' (optional) is an address of that interface, unset if
 * it has none. */
MESH_MUST_USE int rtnl_default(struct rtnl *r, enum ip_family family, uint32_t *ifindex,
			       struct ip *src);
/* The next hop of the IPv4 default route, and the address of ours that it sees. Returns 0, -ENOENT if there is
 * none (a route without a next hop is none either), or a negative errno. */
MESH_MUST_USE int rtnl_gateway(struct rtnl *r, struct ip *gateway, struct ip *self);
/* Does the kernel have IPv6 switched on for our interface? Without, run IPv4 only. */
bool rtnl_has_ipv6(uint32_t ifindex);

/* What our interface should look like. */
struct rtnl_wanted {
	uint32_t ifindex;
	uint32_t mtu; /* 0 = leave */
	bool is_up;
	const struct prefix *addrs; /* on the interface, as /32 and /128 */
	size_t n_addrs;
	const struct prefix *routes; /* in table 52 with dev our interface */
	size_t n_routes;
};

/* Some routes come and some go, all else stays as it was last wanted; in time that does not depend on how many
 * there are. Returns 0 or the first failure with one line in 'err'; the rest is still tried. */
MESH_MUST_USE int rtnl_change(struct rtnl *r, const struct prefix *add, size_t n_add, const struct prefix *gone,
			      size_t n_gone, char err[static RTNL_ERR_MAX]);

/* Makes it so: MTU, addresses, link up, routes, rules, in this order; then what is ours and not
 * wanted goes. Link up again with the rules at their place restores what somebody removed. IPv6
 * parts are skipped where the kernel has none. Returns 0 or the first failure with one line in
 * 'err'; the rest is still tried. */
MESH_MUST_USE int rtnl_apply(struct rtnl *r, const struct rtnl_wanted *w,
			     char err[static RTNL_ERR_MAX]);
/* Removes our rules and routes of table 52, and addresses of our ranges from the interface 'ifname'
 * if it exists. For a clean exit and for 'meshd --cleanup' after a kill. Needs no rtnl_open().
 * Returns 0 or the first failure. */
MESH_MUST_USE int rtnl_cleanup(const char *ifname, const struct log *log);

#endif
