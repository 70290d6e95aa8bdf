/* SPDX-License-Identifier: MIT */
/* The monitor and the queries: what the host's network is, and when it became another. */
#include "config.h"

#include "daemon/rtnl.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>

#include "base/log.h"
#include "daemon/loop.h"
#include "daemon/rtnlstate.h"

enum {
	COALESCE_MS = 250,
	RESTORE_MS = 250,
	RESTORE_BURST = 10, /* then one every RESTORE_EVERY_S */
	RESTORE_EVERY_S = 5,
	RESTORE_COST_MS = RESTORE_EVERY_S * 1000,
	ADDRS_MAX = 4096,
};

/* What the monitor compares. */
struct picture {
	struct rtnl_addr *addrs; /* owned */
	size_t n_addrs;
	uint32_t default_if[2];
	struct ip default_src[2];
};

struct rtnl {
	struct rtnl_req req;
	struct mnl_socket *mon;
	struct loop *loop;
	const struct log *log;
	uint32_t ifindex;
	rtnl_change_fn fn;
	void *ctx;
	struct loop_fd watch;
	struct loop_timer coalesce, restore;
	bool is_dirty;
	struct picture last;
	/* The last wanted state, to be restored when somebody removes parts of it. */
	struct rtnl_wanted wanted; /* its lists are owned */
	bool has_wanted;
	int64_t credit_ms; /* of restoring: one costs RESTORE_COST_MS */
	struct mono credit_at;
};

/* --- requests --- */

int rtnl_req_open(struct rtnl_req *q)
{
	const struct timeval tv = { .tv_sec = RTNL_TIMEOUT_S };

	memset(q, 0, sizeof(*q));
	q->buf = malloc(RTNL_BUF_SIZE);
	q->nl = q->buf ? mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC) : NULL;
	if (!q->nl || mnl_socket_bind(q->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		const int err = q->buf ? -errno : -ENOMEM;

		rtnl_req_close(q);
		return err;
	}
	(void)setsockopt(mnl_socket_get_fd(q->nl), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	q->portid = mnl_socket_get_portid(q->nl);
	return 0;
}

void rtnl_req_close(struct rtnl_req *q)
{
	if (q->nl)
		(void)mnl_socket_close(q->nl);
	q->nl = NULL;
	free(q->buf);
	q->buf = NULL;
}

struct nlmsghdr *rtnl_begin(struct rtnl_req *q, uint16_t type, uint16_t flags, int tolerate)
{
	struct nlmsghdr *nlh;

	/* No request of ours is longer than 512 bytes. */
	if (q->n == RTNL_BATCH_MAX || q->used + 512 > RTNL_BUF_SIZE) {
		const int err = rtnl_flush(q), what = q->error_type;

		if (err) {
			q->error = err;
			q->error_type = what;
		}
	}
	nlh = mnl_nlmsg_put_header(q->buf + q->used);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = ++q->seq;
	if (!q->n)
		q->first_seq = q->seq;
	q->tolerate[q->n] = tolerate;
	return nlh;
}

void rtnl_end(struct rtnl_req *q, struct nlmsghdr *nlh)
{
	q->last = q->used;
	q->used += ((size_t)nlh->nlmsg_len + 3) & ~(size_t)3; /* NLMSG_ALIGN is signed */
	q->n++;
	q->total++;
}

static void take_answer(struct rtnl_req *q, const struct nlmsghdr *nlh, bool *is_done)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
	const uint32_t i = nlh->nlmsg_seq - q->first_seq;

	if (nlh->nlmsg_type != NLMSG_ERROR || i >= q->n)
		return;
	*is_done = i == q->n - 1;
	if (e->error && -e->error != q->tolerate[i] && !q->error) {
		q->error = e->error;
		q->error_type = e->msg.nlmsg_type;
	}
}

int rtnl_flush(struct rtnl_req *q)
{
	uint8_t answer[8192] MESH_ALIGNED(8);
	bool is_done = q->n == 0;
	int err;

	/* The kernel carries them out in order and tells every failure; success only of the last is asked for, which
	 * is also the end: with a thousand routes the answers cost more than the work. */
	if (q->n)
		((struct nlmsghdr *)(void *)(q->buf + q->last))->nlmsg_flags |= NLM_F_ACK;
	if (q->n && mnl_socket_sendto(q->nl, q->buf, q->used) < 0) {
		q->error = -errno;
		is_done = true;
	}
	while (!is_done) {
		ssize_t got = mnl_socket_recvfrom(q->nl, answer, sizeof(answer));
		int n = (int)got;

		if (got < 0) {
			if (errno == EINTR)
				continue;
			q->error = q->error ? q->error : -errno;
			break;
		}
		for (const struct nlmsghdr *nlh = (const void *)answer;
		     !is_done && mnl_nlmsg_ok(nlh, n); nlh = mnl_nlmsg_next(nlh, &n))
			take_answer(q, nlh, &is_done);
	}
	q->used = q->n = 0;
	err = q->error;
	q->error = 0;
	return err;
}

struct dump {
	uint32_t seq, portid;
	rtnl_dump_fn fn; /* null: it wants no more, the rest is only read */
	void *data;
	bool is_over, is_torn;
	int err;
};

/* One message of an answer. What is left of an earlier question, given up for its time, is passed over. */
static void take_part(struct dump *d, const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_seq != d->seq || nlh->nlmsg_pid != d->portid)
		return;
	d->is_torn |= (nlh->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
	if (nlh->nlmsg_type == NLMSG_ERROR && mnl_nlmsg_get_payload_len(nlh) >= sizeof(*e))
		d->err = e->error;
	d->is_over |= nlh->nlmsg_type == NLMSG_DONE || nlh->nlmsg_type == NLMSG_ERROR;
	if (nlh->nlmsg_type >= NLMSG_MIN_TYPE && d->fn && d->fn(nlh, d->data) <= MNL_CB_STOP)
		d->fn = NULL;
}

static int dump_once(struct rtnl_req *q, uint16_t type, uint8_t family, rtnl_dump_fn fn, void *data)
{
	struct dump d = { .seq = ++q->seq, .portid = q->portid, .fn = fn, .data = data };
	uint8_t buf[RTNL_BUF_SIZE] MESH_ALIGNED(8);
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtgenmsg *head = mnl_nlmsg_put_extra_header(nlh, sizeof(*head));

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = d.seq;
	head->rtgen_family = family;
	if (mnl_socket_sendto(q->nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	while (!d.is_over) {
		const ssize_t got = mnl_socket_recvfrom(q->nl, buf, sizeof(buf));
		int n = (int)got;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		for (const struct nlmsghdr *m = (const void *)buf; mnl_nlmsg_ok(m, n); m = mnl_nlmsg_next(m, &n))
			take_part(&d, m);
	}
	return d.err ? d.err : d.is_torn ? -EINTR : 0;
}

int rtnl_dump(struct rtnl_req *q, uint16_t type, uint8_t family, rtnl_dump_fn fn, void *data)
{
	int err = -EBUSY;

	/* Busy: the kernel still answers a question that was given up. Reading on lets it come to an end. */
	for (int i = 0; i < RTNL_DUMP_TRIES && err == -EBUSY; i++)
		err = dump_once(q, type, family, fn, data);
	return err;
}

struct attr_table {
	const struct nlattr **tb;
	uint16_t max;
};

static int take_attr(const struct nlattr *a, void *data)
{
	const struct attr_table *t = data;

	if (mnl_attr_get_type(a) <= t->max)
		t->tb[mnl_attr_get_type(a)] = a;
	return MNL_CB_OK;
}

void rtnl_attrs(const struct nlmsghdr *nlh, size_t head, const struct nlattr **tb, uint16_t max)
{
	struct attr_table t = { tb, max };

	for (uint16_t i = 0; i <= max; i++)
		tb[i] = NULL;
	(void)mnl_attr_parse(nlh, (unsigned)head, take_attr, &t);
}

struct ip rtnl_ip(uint8_t family, const struct nlattr *a)
{
	struct ip ip = { 0 };

	if (a && family == AF_INET && mnl_attr_get_payload_len(a) == 4)
		ip = ip4_be(mnl_attr_get_payload(a));
	else if (a && family == AF_INET6 && mnl_attr_get_payload_len(a) == 16)
		ip = ip6(mnl_attr_get_payload(a));
	return ip;
}

/* --- queries --- */

struct addr_list {
	uint32_t except; /* our own interface */
	struct rtnl_addr *v;
	size_t n, cap;
	int err;
};

static int take_addr(const struct nlmsghdr *nlh, void *data)
{
	const struct ifaddrmsg *m = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[IFA_MAX + 1], *addr;
	struct addr_list *l = data;
	struct rtnl_addr *a;
	uint32_t flags;

	rtnl_attrs(nlh, sizeof(*m), tb, IFA_MAX);
	flags = tb[IFA_FLAGS] ? mnl_attr_get_u32(tb[IFA_FLAGS]) : m->ifa_flags;
	/* On point-to-point links IFA_ADDRESS is the other end. */
	addr = tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS];
	if (m->ifa_index == l->except || (flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)) || !addr ||
	    l->n == ADDRS_MAX)
		return MNL_CB_OK;
	if (l->n == l->cap) {
		const size_t cap = l->cap ? l->cap * 2 : 16;
		struct rtnl_addr *v = realloc(l->v, cap * sizeof(*v));

		if (!v) {
			l->err = -ENOMEM;
			return MNL_CB_STOP;
		}
		l->v = v;
		l->cap = cap;
	}
	a = &l->v[l->n];
	memset(a, 0, sizeof(*a));
	a->prefix.ip = rtnl_ip(m->ifa_family, addr);
	a->prefix.bits = m->ifa_prefixlen;
	a->ifindex = m->ifa_index;
	a->is_temporary = m->ifa_family == AF_INET6 && (flags & IFA_F_TEMPORARY);
	a->is_deprecated = (flags & IFA_F_DEPRECATED) != 0;
	l->n += ip_is_set(&a->prefix.ip);
	return MNL_CB_OK;
}

static int take_link(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[IFLA_IFNAME + 1];
	struct addr_list *l = data;

	rtnl_attrs(nlh, sizeof(*m), tb, IFLA_IFNAME);
	for (size_t i = 0; i < l->n; i++) {
		struct rtnl_addr *a = &l->v[i];

		if (a->ifindex != (uint32_t)m->ifi_index)
			continue;
		a->is_up = (m->ifi_flags & IFF_UP) && (m->ifi_flags & IFF_RUNNING);
		a->is_loopback = (m->ifi_flags & IFF_LOOPBACK) != 0;
		if (tb[IFLA_IFNAME])
			(void)snprintf(a->ifname, sizeof(a->ifname), "%s",
				       mnl_attr_get_str(tb[IFLA_IFNAME]));
	}
	return MNL_CB_OK;
}

static int addrs_once(struct rtnl *r, struct rtnl_addr **addrs, size_t *n)
{
	struct addr_list l = { .except = r->ifindex };
	int err = rtnl_dump(&r->req, RTM_GETADDR, AF_UNSPEC, take_addr, &l);

	if (!err && !l.err)
		err = rtnl_dump(&r->req, RTM_GETLINK, AF_UNSPEC, take_link, &l);
	err = err ? err : l.err;
	if (err) {
		free(l.v);
		return err;
	}
	*addrs = l.v;
	*n = l.n;
	return 0;
}

int rtnl_addrs(struct rtnl *r, struct rtnl_addr **addrs, size_t *n)
{
	int err = -EINTR;

	for (int i = 0; i < RTNL_DUMP_TRIES && err == -EINTR; i++)
		err = addrs_once(r, addrs, n);
	return err;
}

struct default_route {
	uint32_t except, ifindex, metric;
	struct ip src, gateway;
	bool is_found;
};

static uint32_t route_oif(const struct nlattr *const *tb)
{
	if (tb[RTA_OIF])
		return mnl_attr_get_u32(tb[RTA_OIF]);
	if (tb[RTA_MULTIPATH] &&
	    mnl_attr_get_payload_len(tb[RTA_MULTIPATH]) >= sizeof(struct rtnexthop)) {
		const struct rtnexthop *nh = mnl_attr_get_payload(tb[RTA_MULTIPATH]);

		return (uint32_t)nh->rtnh_ifindex;
	}
	return 0;
}

static int take_default(const struct nlmsghdr *nlh, void *data)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *tb[RTA_MAX + 1];
	struct default_route *d = data;
	uint32_t metric, oif;

	rtnl_attrs(nlh, sizeof(*m), tb, RTA_MAX);
	oif = route_oif(tb);
	metric = tb[RTA_PRIORITY] ? mnl_attr_get_u32(tb[RTA_PRIORITY]) : 0;
	if (m->rtm_dst_len || m->rtm_type != RTN_UNICAST || m->rtm_table != RT_TABLE_MAIN || !oif ||
	    oif == d->except || (d->is_found && metric >= d->metric))
		return MNL_CB_OK;
	d->is_found = true;
	d->metric = metric;
	d->ifindex = oif;
	d->src = rtnl_ip(m->rtm_family, tb[RTA_PREFSRC]);
	d->gateway = rtnl_ip(m->rtm_family, tb[RTA_GATEWAY]);
	return MNL_CB_OK;
}

/* An address of the interface, for a route that names none: not link-local, not temporary if there
 * is another. */
static struct ip addr_of(struct rtnl *r, uint32_t ifindex, enum ip_family family)
{
	struct ip best = { 0 };
	struct rtnl_addr *v;
	size_t n;

	if (rtnl_addrs(r, &v, &n) < 0)
		return best;
	for (size_t i = 0; i < n; i++) {
		const struct rtnl_addr *a = &v[i];

		if (a->ifindex != ifindex || a->prefix.ip.family != family ||
		    ip_is_link_local(&a->prefix.ip) || a->is_deprecated ||
		    (ip_is_set(&best) && a->is_temporary))
			continue;
		if (!ip_is_set(&best))
			best = a->prefix.ip;
	}
	free(v);
	return best;
}

int rtnl_default(struct rtnl *r, enum ip_family family, uint32_t *ifindex, struct ip *src)
{
	struct default_route d = { .except = r->ifindex };
	const int err =
		rtnl_dump(&r->req, RTM_GETROUTE, rtnl_af((uint8_t)family), take_default, &d);

	if (err)
		return err;
	if (!d.is_found)
		return -ENOENT;
	*ifindex = d.ifindex;
	if (src)
		*src = ip_is_set(&d.src) ? d.src : addr_of(r, d.ifindex, family);
	return 0;
}

int rtnl_gateway(struct rtnl *r, struct ip *gateway, struct ip *self)
{
	struct default_route d = { .except = r->ifindex };
	const int err = rtnl_dump(&r->req, RTM_GETROUTE, rtnl_af(IP_V4), take_default, &d);

	if (err)
		return err;
	if (!d.is_found || !ip_is_set(&d.gateway))
		return -ENOENT;
	*gateway = d.gateway;
	*self = ip_is_set(&d.src) ? d.src : addr_of(r, d.ifindex, IP_V4);
	return ip_is_set(self) ? 0 : -ENOENT;
}

bool rtnl_has_ipv6(uint32_t ifindex)
{
	char name[IF_NAMESIZE] = "all", path[128], value = '1';
	FILE *f;

	if (ifindex && !if_indextoname(ifindex, name))
		return false;
	/* Linux keeps IPv6 off for an interface made while 'all' is off, so its own switch says it
	 * all. */
	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/disable_ipv6", name);
	f = fopen(path, "re");
	if (!f)
		return false;
	value = (char)fgetc(f);
	(void)fclose(f);
	return value == '0';
}

/* --- monitor --- */

static void take_picture(struct rtnl *r, struct picture *p)
{
	*p = (struct picture){ 0 };
	if (rtnl_addrs(r, &p->addrs, &p->n_addrs) < 0)
		p->n_addrs = 0;
	for (int i = 0; i < 2; i++)
		if (rtnl_default(r, i ? IP_V6 : IP_V4, &p->default_if[i], &p->default_src[i]) < 0)
			p->default_if[i] = 0;
}

/* Addresses in use, whatever their order. */
static bool has_addr(const struct picture *p, const struct rtnl_addr *a)
{
	for (size_t i = 0; i < p->n_addrs; i++)
		if (memcmp(&p->addrs[i], a, sizeof(*a)) == 0)
			return true;
	return false;
}

static int compare(const struct picture *a, const struct picture *b)
{
	if (memcmp(a->default_if, b->default_if, sizeof(a->default_if)) != 0 ||
	    !ip_eq(&a->default_src[0], &b->default_src[0]) ||
	    !ip_eq(&a->default_src[1], &b->default_src[1]))
		return RTNL_MAJOR;
	if (a->n_addrs != b->n_addrs)
		return RTNL_MINOR;
	for (size_t i = 0; i < a->n_addrs; i++)
		if (!has_addr(b, &a->addrs[i]))
			return RTNL_MINOR;
	return 0;
}

/* Looks at the whole and reports what differs: notices alone repeat themselves and come in any
 * order. */
static void look(struct rtnl *r, struct mono now)
{
	struct picture p;
	int change;

	r->is_dirty = false;
	take_picture(r, &p);
	change = compare(&r->last, &p);
	free(r->last.addrs);
	r->last = p;
	if (change)
		r->fn(r->ctx, (enum rtnl_change)change, now);
}

static void coalesce_due(void *ctx, struct mono now)
{
	struct rtnl *r = ctx;

	if (!r->is_dirty)
		return;
	loop_timer_set(r->loop, &r->coalesce, mono_add_ms(now, COALESCE_MS));
	look(r, now);
}

static void restore_due(void *ctx, struct mono now)
{
	struct rtnl *r = ctx;
	const uint64_t before = r->req.total;
	char err[RTNL_ERR_MAX];

	r->credit_ms += mono_since_ms(now, r->credit_at);
	r->credit_at = now;
	if (r->credit_ms > RESTORE_BURST * RESTORE_COST_MS)
		r->credit_ms = RESTORE_BURST * RESTORE_COST_MS;
	if (r->credit_ms < RESTORE_COST_MS) {
		loop_timer_set(r->loop, &r->restore, mono_add_s(now, RESTORE_EVERY_S));
		return;
	}
	r->credit_ms -= RESTORE_COST_MS;
	if (rtnl_make_so(&r->req, &r->wanted, err) < 0)
		log_warn(r->log, "rtnl: %s", err);
	else if (r->req.total != before)
		log_info(r->log,
			 "rtnl: restored addresses, routes or rules that somebody had removed");
}

/* What a notice asks for. */
struct notice {
	struct rtnl *r;
	bool is_ours;   /* something we had set is gone */
	bool is_others; /* the host's own network changed */
};

static bool is_our_rule(const struct nlmsghdr *nlh)
{
	const struct nlattr *tb[FRA_MAX + 1];
	uint32_t prio;

	rtnl_attrs(nlh, sizeof(struct fib_rule_hdr), tb, FRA_MAX);
	prio = tb[FRA_PRIORITY] ? mnl_attr_get_u32(tb[FRA_PRIORITY]) : 0;
	return prio == RTNL_RULE_BASE + 10 || prio == RTNL_RULE_BASE + 30 ||
	       prio == RTNL_RULE_BASE + 50 || prio == RTNL_RULE_BASE + 70;
}

static void judge_route(struct notice *n, const struct nlmsghdr *nlh)
{
	const struct rtmsg *m = mnl_nlmsg_get_payload(nlh);

	if (m->rtm_table == RTNL_TABLE)
		n->is_ours |= nlh->nlmsg_type == RTM_DELROUTE;
	else if (m->rtm_table == RT_TABLE_MAIN)
		n->is_others = true;
}

static int judge(const struct nlmsghdr *nlh, void *data)
{
	struct notice *n = data;
	const struct ifaddrmsg *a = mnl_nlmsg_get_payload(nlh);
	const struct ifinfomsg *l = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_pid == n->r->req.portid)
		return MNL_CB_OK; /* we did that ourselves */
	switch (nlh->nlmsg_type) {
	case RTM_NEWADDR:
	case RTM_DELADDR:
		if (a->ifa_index == n->r->ifindex)
			n->is_ours |= nlh->nlmsg_type == RTM_DELADDR;
		else
			n->is_others = true;
		break;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		n->is_others |= (uint32_t)l->ifi_index != n->r->ifindex;
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		judge_route(n, nlh);
		break;
	case RTM_DELRULE:
		n->is_ours |= is_our_rule(nlh);
		break;
	default:
		break;
	}
	return MNL_CB_OK;
}

static void mon_ready(void *ctx, uint32_t events, struct mono now)
{
	struct rtnl *r = ctx;
	struct notice n = { .r = r };
	uint8_t buf[RTNL_BUF_SIZE] MESH_ALIGNED(8);

	(void)events;
	for (;;) {
		const ssize_t got = recv(mnl_socket_get_fd(r->mon), buf, sizeof(buf), MSG_DONTWAIT);

		if (got < 0 && errno == ENOBUFS) {
			n.is_others = n.is_ours = true; /* notices were lost */
			continue;
		}
		if (got <= 0)
			break;
		(void)mnl_cb_run(buf, (size_t)got, 0, 0, judge, &n);
	}
	if (n.is_ours && r->has_wanted && r->wanted.is_up && !r->restore.node.at)
		loop_timer_set(r->loop, &r->restore, mono_add_ms(now, RESTORE_MS));
	if (!n.is_others)
		return;
	r->is_dirty = true;
	if (r->coalesce.node.at)
		return; /* looked a moment ago: the timer looks again */
	loop_timer_set(r->loop, &r->coalesce, mono_add_ms(now, COALESCE_MS));
	look(r, now);
}

static int open_monitor(struct rtnl *r)
{
	static const int groups[] = { RTNLGRP_LINK,       RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
				      RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,  RTNLGRP_IPV4_RULE,
				      RTNLGRP_IPV6_RULE };

	r->mon = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!r->mon || mnl_socket_bind(r->mon, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_LEN(groups); i++)
		(void)mnl_socket_setsockopt(r->mon, NETLINK_ADD_MEMBERSHIP,
					    (void *)(uintptr_t)&groups[i], sizeof(groups[i]));
	return loop_fd_add(r->loop, &r->watch, mnl_socket_get_fd(r->mon), EPOLLIN, mon_ready, r);
}

int rtnl_open(struct rtnl **out, struct loop *loop, const struct log *log, uint32_t ifindex,
	      rtnl_change_fn fn, void *ctx)
{
	struct rtnl *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	r->loop = loop;
	r->log = log;
	r->ifindex = ifindex;
	r->fn = fn;
	r->ctx = ctx;
	r->coalesce = (struct loop_timer){ .fn = coalesce_due, .ctx = r };
	r->restore = (struct loop_timer){ .fn = restore_due, .ctx = r };
	r->credit_ms = RESTORE_BURST * RESTORE_COST_MS;
	r->credit_at = loop_now(loop);
	err = rtnl_req_open(&r->req);
	if (!err)
		err = open_monitor(r);
	if (err) {
		rtnl_close(r);
		return err;
	}
	take_picture(r, &r->last);
	*out = r;
	return 0;
}

static void forget_wanted(struct rtnl *r)
{
	free((void *)(uintptr_t)r->wanted.addrs);
	free((void *)(uintptr_t)r->wanted.routes);
	r->wanted = (struct rtnl_wanted){ 0 };
	r->has_wanted = false;
}

void rtnl_close(struct rtnl *r)
{
	if (!r)
		return;
	loop_fd_del(r->loop, &r->watch);
	loop_timer_stop(r->loop, &r->coalesce);
	loop_timer_stop(r->loop, &r->restore);
	if (r->mon)
		(void)mnl_socket_close(r->mon);
	rtnl_req_close(&r->req);
	free(r->last.addrs);
	forget_wanted(r);
	free(r);
}

/* --- wanted state --- */

static struct prefix *copy_list(const struct prefix *list, size_t n)
{
	struct prefix *p = malloc((n ? n : 1) * sizeof(*p));

	if (p && n)
		memcpy(p, list, n * sizeof(*p));
	return p;
}

int rtnl_apply(struct rtnl *r, const struct rtnl_wanted *w, char err[static RTNL_ERR_MAX])
{
	struct prefix *addrs = copy_list(w->addrs, w->n_addrs),
		      *routes = copy_list(w->routes, w->n_routes);

	if (!addrs || !routes) {
		free(addrs);
		free(routes);
		(void)snprintf(err, RTNL_ERR_MAX, "network: out of memory");
		return -ENOMEM;
	}
	forget_wanted(r);
	r->wanted = *w;
	r->wanted.addrs = addrs;
	r->wanted.n_routes = rtnl_sort(routes, w->n_routes);
	r->wanted.routes = routes;
	r->has_wanted = true;
	loop_timer_stop(r->loop, &r->restore);
	return rtnl_make_so(&r->req, &r->wanted, err);
}

/* The lists of 'wanted' are ours. */
static struct prefix *own_routes(struct rtnl *r)
{
	return (struct prefix *)(uintptr_t)r->wanted.routes;
}

static int want(struct rtnl *r, const struct prefix *p)
{
	struct prefix *list;
	size_t at;

	if (rtnl_find(r->wanted.routes, r->wanted.n_routes, p, &at))
		return 0;
	list = realloc(own_routes(r), (r->wanted.n_routes + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	memmove(list + at + 1, list + at, (r->wanted.n_routes - at) * sizeof(*list));
	list[at] = *p;
	r->wanted.routes = list;
	r->wanted.n_routes++;
	return 0;
}

static void unwant(struct rtnl *r, const struct prefix *p)
{
	size_t at;

	if (!rtnl_find(r->wanted.routes, r->wanted.n_routes, p, &at))
		return;
	r->wanted.n_routes--;
	memmove(own_routes(r) + at, own_routes(r) + at + 1, (r->wanted.n_routes - at) * sizeof(*r->wanted.routes));
}

int rtnl_change(struct rtnl *r, const struct prefix *add, size_t n_add, const struct prefix *gone, size_t n_gone,
		char err[static RTNL_ERR_MAX])
{
	int e = 0;

	err[0] = 0;
	/* A route that goes from one peer to another is in both lists. */
	for (size_t i = 0; i < n_gone; i++)
		unwant(r, &gone[i]);
	for (size_t i = 0; !e && i < n_add; i++)
		e = want(r, &add[i]);
	if (e) {
		(void)snprintf(err, RTNL_ERR_MAX, "network: out of memory");
		return e;
	}
	if (!r->has_wanted || !r->wanted.is_up)
		return 0;
	return rtnl_change_routes(&r->req, &r->wanted, add, n_add, gone, n_gone, err);
}
