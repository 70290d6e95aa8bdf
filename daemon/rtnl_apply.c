/* SPDX-License-Identifier: MIT */
/* Makes addresses, link, routes and rules so: adds what is missing first, then removes what is ours
 * and not wanted. Running it twice changes nothing the second time. */
#include "config.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>

#include "base/log.h"
#include "daemon/rtnlstate.h"

enum { RULES_N = 4, ADDR_GEN_NONE = 1 /* IN6_ADDR_GEN_MODE_NONE */ };

/* host-network 3.1: our own sockets' packets go by the host's tables and never into the tunnel. */
struct rule {
	uint32_t priority;
	uint32_t table; /* 0: unreachable */
	bool has_mark;
};

static const struct rule rules[RULES_N] = {
	{ RTNL_RULE_BASE + 10, RT_TABLE_MAIN, true },
	{ RTNL_RULE_BASE + 30, RT_TABLE_DEFAULT, true },
	{ RTNL_RULE_BASE + 50, 0, true },
	{ RTNL_RULE_BASE + 70, RTNL_TABLE, false },
};

/* --- what is there --- */

struct there {
	const struct rtnl_wanted *w;
	bool *addr_is_there;  /* per wanted address */
	bool *route_is_there; /* per wanted route */
	struct prefix *extra; /* ours, not wanted: of the kind being read */
	size_t n_extra, cap_extra;
	uint32_t mtu;
	bool is_up;
	bool rule_is_there[RULES_N];
	bool is_any_if; /* routes of our table, whatever their interface */
};

static void note_extra(struct there *t, const struct prefix *p)
{
	if (t->n_extra == t->cap_extra) {
		const size_t cap = t->cap_extra ? t->cap_extra * 2 : 16;
		struct prefix *v = realloc(t->extra, cap * sizeof(*v));

		if (!v)
			return; /* it stays; the next time finds it again */
		t->extra = v;
		t->cap_extra = cap;
	}
	t->extra[t->n_extra++] = *p;
}

/* Index of 'p' in a list, or -1. */
static long find_prefix(const struct prefix *list, size_t n, const struct prefix *p)
{
	for (size_t i = 0; i < n; i++)
		if (prefix_eq(&list[i], p))
			return (long)i;
	return -1;
}

static int prefix_order(const void *pa, const void *pb)
{
	const struct prefix *a = pa, *b = pb;

	if (a->ip.family != b->ip.family)
		return a->ip.family < b->ip.family ? -1 : 1;
	if (a->bits != b->bits)
		return a->bits < b->bits ? -1 : 1;
	return memcmp(a->ip.b, b->ip.b, a->ip.family == IP_V4 ? 4 : 16);
}

size_t rtnl_sort(struct prefix *list, size_t n)
{
	size_t kept = 0;

	if (n)
		qsort(list, n, sizeof(*list), prefix_order);
	for (size_t i = 0; i < n; i++)
		if (!kept || prefix_order(&list[kept - 1], &list[i]) != 0)
			list[kept++] = list[i];
	return kept;
}

bool rtnl_find(const struct prefix *sorted, size_t n, const struct prefix *p, size_t *at)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		const size_t mid = lo + (hi - lo) / 2;

		if (prefix_order(&sorted[mid], p) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*at = lo;
	return lo < n && prefix_order(&sorted[lo], p) == 0;
}

static int take_addr(const struct nlmsghdr *nlh, void *data)
{
	const struct ifaddrmsg *m = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[IFA_MAX + 1];
	struct there *t = data;
	struct prefix p;
	long i;

	if (m->ifa_index != t->w->ifindex)
		return MNL_CB_OK;
	rtnl_attrs(nlh, sizeof(*m), tb, IFA_MAX);
	p = (struct prefix){ rtnl_ip(m->ifa_family,
				     tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS]),
			     m->ifa_prefixlen };
	i = find_prefix(t->w->addrs, t->w->n_addrs, &p);
	if (i >= 0)
		t->addr_is_there[i] = true;
	else if (ip_is_tailnet(&p.ip))
		note_extra(t, &p);
	return MNL_CB_OK;
}

/* Table numbers above 255 are in the attribute; ours is below. */
static int take_route(const struct nlmsghdr *nlh, void *data)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[RTA_MAX + 1];
	struct there *t = data;
	struct prefix p;
	size_t i;

	if (m->rtm_table != RTNL_TABLE)
		return MNL_CB_OK;
	rtnl_attrs(nlh, sizeof(*m), tb, RTA_MAX);
	if (!t->is_any_if && (!tb[RTA_OIF] || mnl_attr_get_u32(tb[RTA_OIF]) != t->w->ifindex))
		return MNL_CB_OK;
	p = (struct prefix){ rtnl_ip(m->rtm_family, tb[RTA_DST]), m->rtm_dst_len };
	if (!tb[RTA_DST]) /* a default route has no destination */
		p.ip.family = m->rtm_family == AF_INET6 ? IP_V6 : IP_V4;
	if (rtnl_find(t->w->routes, t->w->n_routes, &p, &i))
		t->route_is_there[i] = true;
	else
		note_extra(t, &p);
	return MNL_CB_OK;
}

static int take_rule(const struct nlmsghdr *nlh, void *data)
{
	const struct fib_rule_hdr *m = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[FRA_MAX + 1];
	struct there *t = data;
	uint32_t prio, table, mark;

	rtnl_attrs(nlh, sizeof(*m), tb, FRA_MAX);
	prio = tb[FRA_PRIORITY] ? mnl_attr_get_u32(tb[FRA_PRIORITY]) : 0;
	table = tb[FRA_TABLE] ? mnl_attr_get_u32(tb[FRA_TABLE]) : m->table;
	mark = tb[FRA_FWMARK] ? mnl_attr_get_u32(tb[FRA_FWMARK]) : 0;
	for (int i = 0; i < RULES_N; i++) {
		const struct rule *r = &rules[i];

		if (prio == r->priority && mark == (r->has_mark ? (uint32_t)RTNL_MARK : 0) &&
		    (r->table ? m->action == FR_ACT_TO_TBL && table == r->table
			      : m->action == FR_ACT_UNREACHABLE))
			t->rule_is_there[i] = true;
	}
	return MNL_CB_OK;
}

static int take_link(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[IFLA_MTU + 1];
	struct there *t = data;

	if ((uint32_t)m->ifi_index != t->w->ifindex)
		return MNL_CB_OK;
	rtnl_attrs(nlh, sizeof(*m), tb, IFLA_MTU);
	t->is_up = (m->ifi_flags & IFF_UP) != 0;
	t->mtu = tb[IFLA_MTU] ? mnl_attr_get_u32(tb[IFLA_MTU]) : 0;
	return MNL_CB_OK;
}

/* --- requests --- */

static void put_ip(struct nlmsghdr *nlh, uint16_t type, const struct ip *ip)
{
	mnl_attr_put(nlh, type, ip->family == IP_V6 ? 16 : 4, ip->b);
}

static void change_addr(struct rtnl_req *q, uint32_t ifindex, const struct prefix *p, bool add)
{
	struct nlmsghdr *nlh =
		rtnl_begin(q, add ? RTM_NEWADDR : RTM_DELADDR,
			   add ? NLM_F_CREATE | NLM_F_REPLACE : 0, add ? EEXIST : EADDRNOTAVAIL);
	struct ifaddrmsg *m = mnl_nlmsg_put_extra_header(nlh, sizeof(*m));

	m->ifa_family = rtnl_af(p->ip.family);
	m->ifa_prefixlen = p->bits;
	m->ifa_index = ifindex;
	/* Nobody else has the address, so there is nothing to detect and no second of waiting. */
	if (p->ip.family == IP_V6 && add)
		m->ifa_flags = IFA_F_NODAD;
	put_ip(nlh, IFA_LOCAL, &p->ip);
	put_ip(nlh, IFA_ADDRESS, &p->ip);
	rtnl_end(q, nlh);
}

static void change_route(struct rtnl_req *q, uint32_t ifindex, const struct prefix *p, bool add)
{
	struct nlmsghdr *nlh =
		rtnl_begin(q, add ? RTM_NEWROUTE : RTM_DELROUTE,
			   add ? NLM_F_CREATE | NLM_F_REPLACE : 0, add ? EEXIST : ESRCH);
	struct rtmsg *m = mnl_nlmsg_put_extra_header(nlh, sizeof(*m));

	m->rtm_family = rtnl_af(p->ip.family);
	m->rtm_dst_len = p->bits;
	m->rtm_table = RTNL_TABLE;
	m->rtm_protocol = add ? RTPROT_STATIC : RTPROT_UNSPEC;
	m->rtm_scope = add && p->ip.family == IP_V4 ? RT_SCOPE_LINK
		       : add                        ? RT_SCOPE_UNIVERSE
						    : RT_SCOPE_NOWHERE;
	m->rtm_type = add ? RTN_UNICAST : RTN_UNSPEC;
	if (p->bits)
		put_ip(nlh, RTA_DST, &p->ip);
	if (ifindex)
		mnl_attr_put_u32(nlh, RTA_OIF, ifindex);
	rtnl_end(q, nlh);
}

static void change_rule(struct rtnl_req *q, uint8_t family, const struct rule *r, bool add)
{
	struct nlmsghdr *nlh =
		rtnl_begin(q, add ? RTM_NEWRULE : RTM_DELRULE, add ? NLM_F_CREATE | NLM_F_EXCL : 0,
			   add ? EEXIST : ENOENT);
	struct fib_rule_hdr *m = mnl_nlmsg_put_extra_header(nlh, sizeof(*m));

	m->family = family;
	m->table = (uint8_t)r->table;
	m->action = r->table ? FR_ACT_TO_TBL : FR_ACT_UNREACHABLE;
	mnl_attr_put_u32(nlh, FRA_PRIORITY, r->priority);
	if (r->has_mark) {
		mnl_attr_put_u32(nlh, FRA_FWMARK, RTNL_MARK);
		mnl_attr_put_u32(nlh, FRA_FWMASK, RTNL_MARK_MASK);
	}
	rtnl_end(q, nlh);
}

static void change_link(struct rtnl_req *q, uint32_t ifindex, uint32_t mtu, bool up)
{
	struct nlmsghdr *nlh = rtnl_begin(q, RTM_NEWLINK, 0, 0);
	struct ifinfomsg *m = mnl_nlmsg_put_extra_header(nlh, sizeof(*m));

	m->ifi_family = AF_UNSPEC;
	m->ifi_index = (int)ifindex;
	m->ifi_change = IFF_UP;
	m->ifi_flags = up ? IFF_UP : 0;
	if (mtu)
		mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
	rtnl_end(q, nlh);
}

/* No link-local address of the kernel's making: nothing in a mesh answers its router solicitations.
 */
static void no_link_local(struct rtnl_req *q, uint32_t ifindex)
{
	struct nlmsghdr *nlh = rtnl_begin(q, RTM_NEWLINK, 0, 0);
	struct ifinfomsg *m = mnl_nlmsg_put_extra_header(nlh, sizeof(*m));
	struct nlattr *spec, *inet6;

	m->ifi_family = AF_UNSPEC;
	m->ifi_index = (int)ifindex;
	spec = mnl_attr_nest_start(nlh, IFLA_AF_SPEC);
	inet6 = mnl_attr_nest_start(nlh, AF_INET6);
	mnl_attr_put_u8(nlh, IFLA_INET6_ADDR_GEN_MODE, ADDR_GEN_NONE);
	mnl_attr_nest_end(nlh, inet6);
	mnl_attr_nest_end(nlh, spec);
	rtnl_end(q, nlh);
}

/* --- one step each; the first failure wins the line, the rest is still tried --- */

struct steps {
	struct rtnl_req *q;
	struct there t;
	bool has_v6;
	int err;
	char *text; /* RTNL_ERR_MAX */
};

static void check(struct steps *s, const char *what, int err)
{
	if (err && !s->err) {
		s->err = err;
		(void)snprintf(s->text, RTNL_ERR_MAX, "network: %s: %s", what, strerror(-err));
	}
}

static bool is_possible(const struct steps *s, const struct ip *ip)
{
	return ip->family == IP_V4 || s->has_v6;
}

static void step_addrs(struct steps *s)
{
	const struct rtnl_wanted *w = s->t.w;

	s->t.n_extra = 0;
	check(s, "reading addresses", rtnl_dump(s->q, RTM_GETADDR, AF_UNSPEC, take_addr, &s->t));
	for (size_t i = 0; i < w->n_addrs; i++)
		if (!s->t.addr_is_there[i] && is_possible(s, &w->addrs[i].ip))
			change_addr(s->q, w->ifindex, &w->addrs[i], true);
	for (size_t i = 0; i < s->t.n_extra; i++)
		change_addr(s->q, w->ifindex, &s->t.extra[i], false);
	check(s, "addresses", rtnl_flush(s->q));
}

static void step_link(struct steps *s, bool before)
{
	const struct rtnl_wanted *w = s->t.w;

	if (before) {
		check(s, "reading links",
		      rtnl_dump(s->q, RTM_GETLINK, AF_UNSPEC, take_link, &s->t));
		if (s->has_v6 && !s->t.is_up) {
			no_link_local(s->q, w->ifindex);
			(void)rtnl_flush(s->q); /* old kernels do not know it: only noise is left */
		}
		if (w->mtu && w->mtu != s->t.mtu)
			change_link(s->q, w->ifindex, w->mtu, s->t.is_up);
	} else if (s->t.is_up != w->is_up) {
		change_link(s->q, w->ifindex, 0, w->is_up);
	}
	check(s, "link", rtnl_flush(s->q));
}

static void step_routes(struct steps *s)
{
	const struct rtnl_wanted *w = s->t.w;

	s->t.n_extra = 0;
	check(s, "reading routes", rtnl_dump(s->q, RTM_GETROUTE, AF_INET, take_route, &s->t));
	if (s->has_v6)
		check(s, "reading routes",
		      rtnl_dump(s->q, RTM_GETROUTE, AF_INET6, take_route, &s->t));
	for (size_t i = 0; i < w->n_routes && w->is_up; i++)
		if (!s->t.route_is_there[i] && is_possible(s, &w->routes[i].ip))
			change_route(s->q, w->ifindex, &w->routes[i], true);
	for (size_t i = 0; i < s->t.n_extra; i++)
		change_route(s->q, w->ifindex, &s->t.extra[i], false);
	check(s, "routes", rtnl_flush(s->q));
}

int rtnl_change_routes(struct rtnl_req *q, const struct rtnl_wanted *w, const struct prefix *add, size_t n_add,
		       const struct prefix *gone, size_t n_gone, char err[static RTNL_ERR_MAX])
{
	struct steps s = { .q = q, .text = err, .has_v6 = rtnl_has_ipv6(w->ifindex) };
	size_t at;

	for (size_t i = 0; i < n_add; i++)
		if (is_possible(&s, &add[i].ip))
			change_route(q, w->ifindex, &add[i], true);
	for (size_t i = 0; i < n_gone; i++)
		if (is_possible(&s, &gone[i].ip) && !rtnl_find(w->routes, w->n_routes, &gone[i], &at))
			change_route(q, w->ifindex, &gone[i], false);
	check(&s, "routes", rtnl_flush(q));
	return s.err;
}

static void step_rules(struct steps *s)
{
	static const uint8_t families[2] = { AF_INET, AF_INET6 };

	for (int f = 0; f < (s->has_v6 ? 2 : 1); f++) {
		memset(s->t.rule_is_there, 0, sizeof(s->t.rule_is_there));
		check(s, "reading rules",
		      rtnl_dump(s->q, RTM_GETRULE, families[f], take_rule, &s->t));
		for (int i = 0; i < RULES_N; i++)
			if (s->t.rule_is_there[i] != s->t.w->is_up)
				change_rule(s->q, families[f], &rules[i], s->t.w->is_up);
		check(s, "rules", rtnl_flush(s->q));
	}
}

static int make_so(struct rtnl_req *q, const struct rtnl_wanted *w, char err[static RTNL_ERR_MAX])
{
	static const struct rtnl_wanted nothing = { 0 };
	struct rtnl_wanted down = nothing;
	struct steps s = { .q = q, .text = err, .has_v6 = rtnl_has_ipv6(w->ifindex) };

	/* Down means: as if we were not there. */
	down.ifindex = w->ifindex;
	s.t.w = w->is_up ? w : &down;
	s.t.addr_is_there = calloc(w->n_addrs + 1, sizeof(bool));
	s.t.route_is_there = calloc(w->n_routes + 1, sizeof(bool));
	err[0] = 0;
	if (!s.t.addr_is_there || !s.t.route_is_there) {
		check(&s, "memory", -ENOMEM);
	} else if (w->is_up) {
		step_link(&s, true);
		step_addrs(&s);
		step_link(&s, false);
		step_routes(&s);
		step_rules(&s);
	} else {
		step_rules(&s);
		step_routes(&s);
		step_link(&s, true);
		step_link(&s, false);
		step_addrs(&s);
	}
	free(s.t.addr_is_there);
	free(s.t.route_is_there);
	free(s.t.extra);
	return s.err;
}

int rtnl_make_so(struct rtnl_req *q, const struct rtnl_wanted *w, char err[static RTNL_ERR_MAX])
{
	int ret = -EINTR;

	/* Others change routes while they are read. */
	for (int i = 0; i < RTNL_DUMP_TRIES && ret == -EINTR; i++)
		ret = make_so(q, w, err);
	return ret;
}

/* --- cleanup --- */

int rtnl_remove_ours(struct rtnl_req *q, uint32_t ifindex)
{
	const struct rtnl_wanted nothing = { .ifindex = ifindex };
	char text[RTNL_ERR_MAX] = "";
	struct steps s = { .q = q, .text = text, .has_v6 = rtnl_has_ipv6(0) };

	s.t.w = &nothing;
	s.t.is_any_if = true;
	step_rules(&s);
	/* The interface may be gone: routes are removed by destination alone. */
	s.t.n_extra = 0;
	check(&s, "routes", rtnl_dump(q, RTM_GETROUTE, AF_INET, take_route, &s.t));
	if (s.has_v6)
		check(&s, "routes", rtnl_dump(q, RTM_GETROUTE, AF_INET6, take_route, &s.t));
	for (size_t i = 0; i < s.t.n_extra; i++)
		change_route(q, 0, &s.t.extra[i], false);
	check(&s, "routes", rtnl_flush(q));
	if (ifindex)
		step_addrs(&s);
	free(s.t.extra);
	return s.err;
}

int rtnl_cleanup(const char *ifname, const struct log *log)
{
	struct rtnl_req q;
	int err = rtnl_req_open(&q);

	if (err)
		return err;
	err = rtnl_remove_ours(&q, if_nametoindex(ifname));
	rtnl_req_close(&q);
	if (err)
		log_warn(log, "rtnl: cleanup: %s", strerror(-err));
	return err;
}
