/* SPDX-License-Identifier: MIT */
/* The jobs of portmap.h, on their thread. */
#include "config.h"

#include "daemon/portmap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <miniupnpc/miniupnpc.h>
#include <miniupnpc/upnpcommands.h>
#include <natpmp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/loop.h"
#include "wire/pcp.h"

enum {
	PROBE_MS = 250,   /* netcheck 5.1 */
	MAP_MS = 1000,    /* libnatpmp repeats the question after 250 ms and 750 ms; PCP is asked twice */
	STACK_BYTES = 256 * 1024,
	PORT_TEXT_MAX = 8,
	UPNP_BAD_ARGS = 402, /* some gateways want mappings without an end */
	UPNP_CONFLICT = 718,
	UPNP_ONLY_PERMANENT = 725,
};

#define UPNP_WHAT "meshd-portmap"

/* One job and its result. The thread's until it has written to 'done_fd'. */
struct run {
	struct portmapper_job job;
	struct portmapper_result res;
	uint32_t mark;
	int done_fd;       /* a duplicate: outlives the edge if the thread does */
	char *igd_url;     /* of the UPnP device found last, of 'igd_gateway'; owned; null = none */
	struct ip igd_gateway;
	char gateway[INET_ADDRSTRLEN], self[INET_ADDRSTRLEN];
};

struct portmap {
	struct loop *loop;
	const struct log *log;
	uint32_t mark;
	int fd; /* eventfd: a job is done */
	struct loop_fd watch;
	portmap_fn done;
	void *ctx;
	struct run *run; /* null = idle */
	pthread_t thread;
	char *igd_url;   /* kept between jobs */
	struct ip igd_gateway;
};

static int64_t clock_ms(void)
{
	return loop_clock().ns / NS_PER_MS;
}

static in_addr_t in_addr_of(const struct ip *ip)
{
	in_addr_t a;

	memcpy(&a, ip->b, sizeof(a));
	return a;
}

static void set_mark(int fd, uint32_t mark)
{
	/* Not permitted: the packet takes the ordinary routes, which lead to the gateway too. */
	if (mark)
		(void)setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
}

/* ---- NAT-PMP ---- */

static int pmp_error(int err)
{
	switch (err) {
	case NATPMP_ERR_NOTAUTHORIZED:
	case NATPMP_ERR_NETWORKFAILURE:
	case NATPMP_ERR_OUTOFRESOURCES:
	case NATPMP_ERR_UNSUPPORTEDOPCODE:
	case NATPMP_ERR_UNDEFINEDERROR:
		return -EACCES;
	default: /* another version, a closed port, nobody: it is not there */
		return -ETIMEDOUT;
	}
}

/* Waits for the answer to what was sent: one of 'type', and for mappings of our port. Another one answers an earlier
 * question again, as each is repeated; the library would end its wait with it. */
static int pmp_wait(const struct run *r, natpmp_t *n, uint16_t type, natpmpresp_t *resp, int64_t until_ms)
{
	for (;;) {
		struct pollfd fd = { .fd = n->s, .events = POLLIN };
		struct timeval tv = { 0, 0 };
		int64_t left = until_ms - clock_ms(), retry;
		int err = readnatpmpresponseorretry(n, resp);

		if (err == 0 && resp->type == type &&
		    (type == NATPMP_RESPTYPE_PUBLICADDRESS || resp->pnu.newportmapping.privateport == r->job.port))
			return 0;
		if (err == 0)
			n->has_pending_request = 1;
		else if (err != NATPMP_TRYAGAIN && err != NATPMP_ERR_WRONGPACKETSOURCE)
			return pmp_error(err);
		if (left <= 0 || getnatpmprequesttimeout(n, &tv) < 0)
			return -ETIMEDOUT;
		retry = tv.tv_sec * 1000 + tv.tv_usec / 1000 + 1;
		(void)poll(&fd, 1, (int)(left < retry ? left : retry));
	}
}

static int pmp_open(const struct run *r, natpmp_t *n)
{
	if (initnatpmp(n, 1, in_addr_of(&r->job.gateway)) < 0)
		return -EIO;
	set_mark(n->s, r->mark);
	return 0;
}

/* The gateway's outside address; also tells that NAT-PMP is there. */
static int pmp_address(struct run *r, natpmp_t *n, int64_t until_ms)
{
	natpmpresp_t resp;
	int err = sendpublicaddressrequest(n) < 0 ? -EIO :
						    pmp_wait(r, n, NATPMP_RESPTYPE_PUBLICADDRESS, &resp, until_ms);

	if (err)
		return err;
	r->res.external.ip = ip4_be((const uint8_t *)&resp.pnu.publicaddress.addr);
	r->res.has_epoch = true;
	r->res.epoch = resp.epoch;
	return 0;
}

static bool pmp_probe(struct run *r)
{
	natpmp_t n;
	bool found;

	if (pmp_open(r, &n) < 0)
		return false;
	found = pmp_address(r, &n, clock_ms() + PROBE_MS) == 0;
	(void)closenatpmp(&n);
	return found;
}

static int pmp_map(struct run *r)
{
	const int64_t until_ms = clock_ms() + MAP_MS;
	natpmpresp_t resp;
	natpmp_t n;
	int err = pmp_open(r, &n);

	if (err)
		return err;
	err = pmp_address(r, &n, until_ms);
	if (!err && sendnewportmappingrequest(&n, NATPMP_PROTOCOL_UDP, r->job.port, r->job.external.port,
					      r->job.life_s) < 0)
		err = -EIO;
	if (!err)
		err = pmp_wait(r, &n, NATPMP_RESPTYPE_UDPPORTMAPPING, &resp, until_ms);
	if (!err) {
		r->res.external.port = resp.pnu.newportmapping.mappedpublicport;
		r->res.life_s = resp.pnu.newportmapping.lifetime;
	}
	(void)closenatpmp(&n);
	return err;
}

/* Fire and forget. */
static int pmp_unmap(struct run *r)
{
	natpmp_t n;
	int err = pmp_open(r, &n);

	if (err)
		return err;
	err = sendnewportmappingrequest(&n, NATPMP_PROTOCOL_UDP, r->job.port, r->job.external.port, 0) < 0 ? -EIO : 0;
	(void)closenatpmp(&n);
	return err;
}

/* ---- PCP ---- */

/* A socket that hears the gateway alone. */
static int pcp_open(const struct run *r)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(PCP_PORT) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	set_mark(fd, r->mark);
	to.sin_addr.s_addr = in_addr_of(&r->job.gateway);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	err = -errno;
	(void)close(fd);
	return err;
}

/* Asks up to twice; '*a' is the first answer to operation 'op' and, for MAP, with our nonce. */
static int pcp_ask(int fd, const uint8_t *req, size_t size, uint8_t op, int64_t limit_ms, struct pcp_answer *a)
{
	const int64_t begin = clock_ms();

	for (int64_t t = 0; t < 2; t++) {
		const int64_t until = begin + limit_ms * (t + 1) / 2;

		if (send(fd, req, size, MSG_NOSIGNAL) < 0)
			return errno == ECONNREFUSED ? -ETIMEDOUT : -errno;
		for (int64_t left = until - clock_ms(); left > 0; left = until - clock_ms()) {
			struct pollfd p = { .fd = fd, .events = POLLIN };
			uint8_t buf[PCP_SIZE_MAX + 1];
			ssize_t n = poll(&p, 1, (int)left) > 0 ? recv(fd, buf, sizeof(buf), MSG_DONTWAIT) : 0;

			if (n < 0 && errno == ECONNREFUSED)
				return -ETIMEDOUT;
			if (n <= 0 || pcp_answer_parse(a, buf, (size_t)n) < 0 || a->op != op)
				continue;
			if (op == PCP_OP_MAP && a->result == PCP_SUCCESS &&
			    memcmp(a->nonce, req + PCP_HEADER_SIZE, sizeof(a->nonce)) != 0)
				continue;
			return a->result == PCP_SUCCESS ? 0 : -EACCES;
		}
	}
	return -ETIMEDOUT;
}

static void pcp_note(struct run *r, const struct pcp_answer *a)
{
	r->res.has_epoch = true;
	r->res.epoch = a->epoch;
}

static bool pcp_probe(struct run *r)
{
	uint8_t req[PCP_HEADER_SIZE];
	struct pcp_answer a;
	int fd = pcp_open(r), err;

	if (fd < 0)
		return false;
	pcp_announce_write(req, &r->job.self);
	err = pcp_ask(fd, req, sizeof(req), PCP_OP_ANNOUNCE, PROBE_MS, &a);
	(void)close(fd);
	if (err)
		return false;
	if (!r->res.has_epoch)
		pcp_note(r, &a);
	return true;
}

static int pcp_map(struct run *r, uint32_t life_s)
{
	struct pcp_map map = { .client = r->job.self,
			       .port = r->job.port,
			       .external = r->job.external,
			       .life_s = life_s };
	uint8_t req[PCP_MAP_SIZE];
	struct pcp_answer a;
	int fd = pcp_open(r), err = 0;

	if (fd < 0)
		return fd;
	memcpy(map.nonce, r->job.nonce, sizeof(map.nonce));
	pcp_map_write(req, &map);
	if (life_s)
		err = pcp_ask(fd, req, sizeof(req), PCP_OP_MAP, MAP_MS, &a);
	else
		(void)send(fd, req, sizeof(req), MSG_NOSIGNAL); /* fire and forget */
	(void)close(fd);
	if (err || !life_s)
		return err;
	if (a.port != r->job.port)
		return -EPROTO;
	pcp_note(r, &a);
	r->res.external = a.external;
	r->res.life_s = a.life_s;
	return 0;
}

/* ---- UPnP ---- */

/* Is the URL's host the gateway, literally? */
static bool is_of_gateway(const struct run *r, const char *url)
{
	const size_t len = strlen(r->gateway);
	const char *host = url && strncmp(url, "http://", 7) == 0 ? url + 7 : NULL;

	return host && strncmp(host, r->gateway, len) == 0 && (host[len] == ':' || host[len] == '/');
}

/* Finds the gateway's device description. What anybody else on the network announces is passed over. */
static bool upnp_probe(struct run *r)
{
	static const char *const types[] = { "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
					     "urn:schemas-upnp-org:device:InternetGatewayDevice:2", NULL };
	struct UPNPDev *list;
	int err = 0;

	free(r->igd_url);
	r->igd_url = NULL;
	list = upnpDiscoverDevices(types, PROBE_MS, r->self, NULL, UPNP_LOCAL_PORT_ANY, 0, 2, &err, 1);
	for (const struct UPNPDev *d = list; d && !r->igd_url; d = d->pNext)
		if (strstr(d->st, ":InternetGatewayDevice:") && is_of_gateway(r, d->descURL))
			r->igd_url = strdup(d->descURL);
	freeUPNPDevlist(list);
	r->igd_gateway = r->job.gateway;
	return r->igd_url != NULL;
}

struct igd {
	struct UPNPUrls urls;
	struct IGDdatas data;
};

/* A gateway with two connections lists both (IP and PPP), and the first may be down: then the other one is used, if it
 * is up. UPNP_GetValidIGD() chooses in the same way, but asks control addresses of any host on the way. */
static void prefer_connected(const struct run *r, struct igd *g)
{
	struct igd other = { .data = g->data };

	if (!*g->data.second.servicetype || UPNPIGD_IsConnected(&g->urls, &g->data))
		return;
	other.data.first = g->data.second;
	GetUPNPUrls(&other.urls, &other.data, r->igd_url, 0);
	if (is_of_gateway(r, other.urls.controlURL) && UPNPIGD_IsConnected(&other.urls, &other.data)) {
		FreeUPNPUrls(&g->urls);
		*g = other;
	} else {
		FreeUPNPUrls(&other.urls);
	}
}

/* Reads the description. Nothing is sent to a control address that is not the gateway's. */
static int igd_open(struct run *r, struct igd *g)
{
	char lan[64];

	if ((!r->igd_url || !ip_eq(&r->igd_gateway, &r->job.gateway)) && !upnp_probe(r))
		return -ETIMEDOUT;
	memset(g, 0, sizeof(*g));
	if (UPNP_GetIGDFromUrl(r->igd_url, &g->urls, &g->data, lan, sizeof(lan)) != 1) {
		free(r->igd_url);
		r->igd_url = NULL;
		return -ETIMEDOUT;
	}
	if (!is_of_gateway(r, g->urls.controlURL)) {
		FreeUPNPUrls(&g->urls);
		return -EPROTO;
	}
	prefer_connected(r, g);
	return 0;
}

static int upnp_add(const struct run *r, const struct igd *g, uint32_t life_s, uint16_t *got)
{
	const char *type = g->data.first.servicetype;
	char in[PORT_TEXT_MAX], out[PORT_TEXT_MAX], life[16], reserved[PORT_TEXT_MAX] = "";
	int err;

	(void)snprintf(in, sizeof(in), "%u", r->job.port);
	(void)snprintf(out, sizeof(out), "%u", r->job.external.port);
	(void)snprintf(life, sizeof(life), "%u", life_s);
	*got = r->job.external.port;
	if (!strstr(type, "WANIPConnection:2"))
		return UPNP_AddPortMapping(g->urls.controlURL, type, out, in, r->self, UPNP_WHAT, "UDP", NULL, life);
	err = UPNP_AddAnyPortMapping(g->urls.controlURL, type, out, in, r->self, UPNP_WHAT, "UDP", NULL, life,
				     reserved);
	if (!err && *reserved)
		*got = (uint16_t)strtoul(reserved, NULL, 10);
	return err;
}

static int upnp_map(struct run *r)
{
	char text[40] = "";
	struct igd g;
	int err = igd_open(r, &g), code = 0;

	if (err)
		return err;
	/* The address first: a mapping without one would be left behind. */
	if (UPNP_GetExternalIPAddress(g.urls.controlURL, g.data.first.servicetype, text) != UPNPCOMMAND_SUCCESS ||
	    ip_parse(&r->res.external.ip, text, strlen(text)) < 0)
		code = -1;
	if (code >= 0)
		code = upnp_add(r, &g, r->job.life_s, &r->res.external.port);
	if (code == UPNP_BAD_ARGS || code == UPNP_ONLY_PERMANENT)
		code = upnp_add(r, &g, 0, &r->res.external.port);
	if (code != UPNPCOMMAND_SUCCESS)
		err = code == UPNP_CONFLICT ? -EADDRINUSE : -EACCES;
	r->res.life_s = r->job.life_s; /* without an end: renewed all the same */
	FreeUPNPUrls(&g.urls);
	return err;
}

static int upnp_unmap(struct run *r)
{
	char out[PORT_TEXT_MAX];
	struct igd g;
	int err = igd_open(r, &g);

	if (err)
		return err;
	(void)snprintf(out, sizeof(out), "%u", r->job.external.port);
	if (UPNP_DeletePortMapping(g.urls.controlURL, g.data.first.servicetype, out, "UDP", NULL) !=
	    UPNPCOMMAND_SUCCESS)
		err = -EACCES;
	FreeUPNPUrls(&g.urls);
	return err;
}

/* ---- the thread ---- */

static void probe(struct run *r)
{
	const unsigned want = r->job.methods;

	if (want & 1 << PORTMAPPER_PMP && pmp_probe(r))
		r->res.found |= 1 << PORTMAPPER_PMP;
	if (want & 1 << PORTMAPPER_PCP && pcp_probe(r))
		r->res.found |= 1 << PORTMAPPER_PCP;
	if (want & 1 << PORTMAPPER_UPNP && upnp_probe(r))
		r->res.found |= 1 << PORTMAPPER_UPNP;
}

static int map(struct run *r)
{
	switch (r->job.method) {
	case PORTMAPPER_PMP:
		return pmp_map(r);
	case PORTMAPPER_PCP:
		return pcp_map(r, r->job.life_s);
	case PORTMAPPER_UPNP:
		return upnp_map(r);
	case PORTMAPPER_METHODS:
		break;
	}
	return -EINVAL;
}

static int unmap(struct run *r)
{
	switch (r->job.method) {
	case PORTMAPPER_PMP:
		return pmp_unmap(r);
	case PORTMAPPER_PCP:
		return pcp_map(r, 0);
	case PORTMAPPER_UPNP:
		return upnp_unmap(r);
	case PORTMAPPER_METHODS:
		break;
	}
	return -EINVAL;
}

static void run_free(struct run *r)
{
	if (!r)
		return;
	if (r->done_fd >= 0)
		(void)close(r->done_fd);
	free(r->igd_url);
	free(r);
}

static void *work(void *arg)
{
	struct run *r = arg;
	const uint64_t one = 1;

	switch (r->job.kind) {
	case PORTMAPPER_PROBE:
		probe(r);
		break;
	case PORTMAPPER_MAP:
		r->res.err = map(r);
		break;
	case PORTMAPPER_UNMAP:
		r->res.err = unmap(r);
		break;
	}
	if (write(r->done_fd, &one, sizeof(one)) != sizeof(one))
		return NULL; /* the edge is gone; the process ends */
	return NULL;
}

/* ---- control thread ---- */

static void job_done(void *ctx, uint32_t events, struct mono now)
{
	struct portmap *p = ctx;
	struct portmapper_result res;
	uint64_t n;

	(void)events;
	if (read(p->fd, &n, sizeof(n)) != sizeof(n) || !p->run)
		return;
	(void)pthread_join(p->thread, NULL);
	res = p->run->res;
	free(p->igd_url);
	p->igd_url = p->run->igd_url;
	p->igd_gateway = p->run->igd_gateway;
	p->run->igd_url = NULL;
	run_free(p->run);
	p->run = NULL;
	p->done(p->ctx, &res, now);
}

int portmap_open(struct portmap **out, struct loop *loop, const struct log *log, uint32_t mark, portmap_fn done,
		 void *ctx)
{
	struct portmap *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	*p = (struct portmap){ .loop = loop, .log = log, .mark = mark, .done = done, .ctx = ctx };
	p->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	err = p->fd < 0 ? -errno : loop_fd_add(loop, &p->watch, p->fd, EPOLLIN, job_done, p);
	if (err) {
		portmap_close(p);
		return err;
	}
	*out = p;
	return 0;
}

/* A small stack and no signals: they are the loop's. */
static int start(struct portmap *p)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int err = pthread_attr_init(&attr);

	if (err)
		return -err;
	(void)sigfillset(&all);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	(void)pthread_sigmask(SIG_BLOCK, &all, &old);
	err = pthread_create(&p->thread, &attr, work, p->run);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)pthread_attr_destroy(&attr);
	return -err;
}

int portmap_post(struct portmap *p, const struct portmapper_job *job)
{
	struct run *r;
	int err;

	if (p->run)
		return -EBUSY;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	*r = (struct run){ .job = *job, .mark = p->mark, .done_fd = dup(p->fd), .igd_gateway = p->igd_gateway };
	r->res.id = job->id;
	r->igd_url = p->igd_url ? strdup(p->igd_url) : NULL;
	(void)inet_ntop(AF_INET, job->gateway.b, r->gateway, sizeof(r->gateway));
	(void)inet_ntop(AF_INET, job->self.b, r->self, sizeof(r->self));
	p->run = r;
	err = r->done_fd < 0 ? -errno : start(p);
	if (err) {
		p->run = NULL;
		run_free(r);
	}
	return err;
}

bool portmap_is_busy(const struct portmap *p)
{
	return p->run != NULL;
}

void portmap_close(struct portmap *p)
{
	struct timespec until;

	if (!p)
		return;
	loop_fd_del(p->loop, &p->watch);
	if (p->run) {
		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += PORTMAP_END_MS / 1000;
		until.tv_nsec += PORTMAP_END_MS % 1000 * (long)NS_PER_MS;
		if (until.tv_nsec >= NS_PER_S) {
			until.tv_sec++;
			until.tv_nsec -= NS_PER_S;
		}
		if (pthread_timedjoin_np(p->thread, NULL, &until) == 0)
			run_free(p->run);
		else
			(void)pthread_detach(p->thread); /* the process ends; what it holds is its own */
	}
	if (p->fd >= 0)
		(void)close(p->fd);
	free(p->igd_url);
	free(p);
}
