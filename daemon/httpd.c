/* SPDX-License-Identifier: MIT */
/* Listening streams, see httpd.h. The process ignores SIGPIPE.
 *
 *   SNIFF --0x16--> HANDSHAKE --done--> OPEN --close(flush)--> FLUSHING
 *     +----else------------------------->
 *
 * One epoll instance holds all descriptors. Reading happens in httpd_poll(), straight into the buffer that the
 * event lends, so a connection that is not asked for costs no memory but its state. */
#include "config.h"

#include "daemon/httpd.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bucket.h"
#include "base/bytes.h"
#include "base/heap.h"
#include "daemon/cert_ssl.h"

enum {
	READ_SIZE = 32 * 1024, /* what it gives stays in buffers that are kept (BYTES_KEEP) */
	READS_PER_RUN = 8,      /* buffers read from one connection before the others get their turn */
	ACCEPTS_PER_RUN = 64,
	EVENTS_MAX = 128,
	BACKLOG = 1024,
	FLUSH_MS = 2000,
	KEEPALIVE_S = 600,      /* as the standalone relay's: derp 9 */
	USER_TIMEOUT_MS = 15000,
	TLS_FIRST_BYTE = 0x16,  /* handshake record */
};

enum state { SNIFF, HANDSHAKE, OPEN, FLUSHING, DEAD };

struct listener {
	int fd;
	uint32_t tag;
	const struct cert_tls *tls;
	bool used;
};

struct conn {
	struct httpd *h;
	uint32_t id;                 /* slot + 1 in the low 16 bits, a count above */
	uint32_t tag;
	enum state state;
	int fd;
	SSL *ssl;
	const struct cert_tls *tls;  /* of the listener */
	struct ep remote, local;
	uint32_t events;             /* asked of epoll */
	struct heap_node deadline;   /* set-up or flush */
	bool established;            /* the owner vouched for it */
	bool reading;                /* the owner wants data */
	bool ready;                  /* there may be something to read */
	bool tls_wants_write;
	bool was_full;
	bool opened_due, writable_due, closed_due;
	bool is_due, is_shown;       /* in the due list; the owner knows it */
	unsigned reads;
	const char *reason;
	struct conn *due_next;
	struct bytes out;
};

/* Unfinished connections per source: a small table, linear in what is unfinished at most. */
struct source {
	uint8_t who[9];
	uint16_t n;
};

struct httpd {
	const struct log *log;
	int epfd;
	struct mono now;
	struct listener listeners[HTTPD_LISTENERS_MAX];
	struct conn **conns;         /* HTTPD_CONNS_MAX slots */
	uint32_t *free_slots;
	size_t n_free, n;
	uint32_t generation;
	struct conn *due, *due_last;
	struct heap deadlines;
	struct source sources[HTTPD_SETUP_MAX];
	size_t n_sources, n_setup;
	struct bucket accepts;
	struct mono accept_at;       /* listeners are deaf until then; MONO_ZERO: they are not */
	struct httpd_counters counters;
	uint8_t buf[READ_SIZE];
};

static const uint64_t TAG_LISTENER = UINT64_C(1) << 63;

/* --- small things --- */

static void make_due(struct conn *c)
{
	struct httpd *h = c->h;

	if (c->is_due)
		return;
	c->is_due = true;
	c->due_next = NULL;
	if (h->due_last)
		h->due_last->due_next = c;
	else
		h->due = c;
	h->due_last = c;
}

static struct conn *conn_find(const struct httpd *h, uint32_t id)
{
	uint32_t slot = (id & 0xffff) - 1;
	struct conn *c = slot < HTTPD_CONNS_MAX ? h->conns[slot] : NULL;

	return c && c->id == id && c->state == OPEN ? c : NULL;
}

static struct ep ep_of(const struct sockaddr_storage *sa)
{
	struct ep ep = { 0 };
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;

	if (sa->ss_family == AF_INET) {
		memcpy(&in4, sa, sizeof(in4));
		ep.ip = ip4_be((const uint8_t *)&in4.sin_addr);
		ep.port = ntohs(in4.sin_port);
	} else if (sa->ss_family == AF_INET6) {
		memcpy(&in6, sa, sizeof(in6));
		ep.ip = ip6(in6.sin6_addr.s6_addr);
		ep.port = ntohs(in6.sin6_port);
	}
	return ep;
}

static struct source *source_find(struct httpd *h, const struct ep *remote, uint8_t who[static 9])
{
	memset(who, 0, 9);
	who[0] = remote->ip.family;
	memcpy(who + 1, remote->ip.b, remote->ip.family == IP_V4 ? 4 : 8);
	for (size_t i = 0; i < h->n_sources; i++) {
		if (memcmp(h->sources[i].who, who, 9) == 0)
			return &h->sources[i];
	}
	return NULL;
}

/* One more unfinished connection of this source; false: too many. */
static bool setup_begins(struct httpd *h, const struct ep *remote)
{
	uint8_t who[9];
	struct source *s = source_find(h, remote, who);

	if (h->n_setup >= HTTPD_SETUP_MAX || (s && s->n >= HTTPD_SETUP_PER_SOURCE))
		return false;
	if (!s) {
		if (h->n_sources >= HTTPD_SETUP_MAX)
			return false;
		s = &h->sources[h->n_sources++];
		memcpy(s->who, who, sizeof(s->who));
		s->n = 0;
	}
	s->n++;
	h->n_setup++;
	return true;
}

static void setup_ends(struct httpd *h, const struct ep *remote)
{
	uint8_t who[9];
	struct source *s = source_find(h, remote, who);

	h->n_setup--;
	if (s && --s->n == 0)
		*s = h->sources[--h->n_sources];
}

static void conn_watch(struct conn *c)
{
	struct epoll_event ev = { .data.u64 = c->id };

	if (c->state < OPEN || (c->state == OPEN && c->reading))
		ev.events |= EPOLLIN;
	if (bytes_size(&c->out) > 0 || c->tls_wants_write)
		ev.events |= EPOLLOUT;
	if (ev.events == c->events)
		return;
	c->events = ev.events;
	(void)epoll_ctl(c->h->epfd, EPOLL_CTL_MOD, c->fd, &ev);
}

/* --- life of a connection --- */

static void conn_free(struct conn *c)
{
	struct httpd *h = c->h;
	uint32_t slot = (c->id & 0xffff) - 1;

	if (!c->established)
		setup_ends(h, &c->remote);
	heap_del(&h->deadlines, &c->deadline);
	if (c->ssl) {
		(void)SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
		ERR_clear_error();
	}
	(void)close(c->fd);
	bytes_wipe(&c->out);
	h->conns[slot] = NULL;
	h->free_slots[h->n_free++] = slot;
	h->n--;
	h->counters.closed++;
	free(c);
}

/* Ends the connection; the owner is told if it knew it. Freed from httpd_poll(), which may hold a pointer. */
static void conn_fail(struct conn *c, const char *reason)
{
	if (c->state == DEAD)
		return;
	c->closed_due = c->is_shown && c->state == OPEN;
	c->state = DEAD;
	c->ready = false;
	c->reason = reason;
	(void)epoll_ctl(c->h->epfd, EPOLL_CTL_DEL, c->fd, NULL);
	make_due(c);
}

static void conn_opened(struct conn *c)
{
	c->state = OPEN;
	c->reading = true;
	c->ready = true;
	c->opened_due = true;
	conn_watch(c);
	make_due(c);
}

static void conn_handshake(struct conn *c)
{
	int n, err;

	ERR_clear_error();
	n = SSL_accept(c->ssl);
	if (n == 1) {
		c->tls_wants_write = false;
		conn_opened(c);
		return;
	}
	err = SSL_get_error(c->ssl, n);
	if (err != SSL_ERROR_WANT_READ && err != SSL_ERROR_WANT_WRITE) {
		c->h->counters.tls_failures++;
		conn_fail(c, "TLS handshake failed");
		return;
	}
	c->tls_wants_write = err == SSL_ERROR_WANT_WRITE;
	conn_watch(c);
}

/* The first byte tells TLS from plain text. It is looked at, not taken. */
static void conn_sniff(struct conn *c)
{
	uint8_t first;
	ssize_t n = recv(c->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_fail(c, "closed before the first byte");
		return;
	}
	if (first != TLS_FIRST_BYTE) {
		conn_opened(c);
		return;
	}
	c->ssl = c->tls ? cert_ssl_new(c->tls) : NULL;
	if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1) {
		conn_fail(c, c->tls ? "out of memory" : "TLS is not served here");
		return;
	}
	c->state = HANDSHAKE;
	conn_handshake(c);
}

/* Writes once. Returns bytes written, 0 if the socket is full, -1 on failure. */
static ssize_t conn_write(struct conn *c, const uint8_t *buf, size_t size)
{
	size_t done = 0;
	ssize_t n;
	int err;

	if (!c->ssl) {
		n = send(c->fd, buf, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
	}
	ERR_clear_error();
	if (SSL_write_ex(c->ssl, buf, size, &done) == 1)
		return (ssize_t)done;
	err = SSL_get_error(c->ssl, 0);
	return err == SSL_ERROR_WANT_WRITE || err == SSL_ERROR_WANT_READ ? 0 : -1;
}

static void conn_flush(struct conn *c)
{
	ssize_t n;

	while (bytes_size(&c->out) > 0) {
		n = conn_write(c, bytes_data(&c->out), bytes_size(&c->out));
		if (n < 0) {
			conn_fail(c, "connection lost while sending");
			return;
		}
		if (n == 0)
			break;
		bytes_consume(&c->out, (size_t)n);
	}
	if (c->was_full && bytes_size(&c->out) < HTTPD_OUT_MAX / 2) {
		c->was_full = false;
		c->writable_due = true;
		make_due(c);
	}
	if (c->state == FLUSHING && bytes_size(&c->out) == 0)
		conn_fail(c, "closed");
	else
		conn_watch(c);
}

/* --- accepting --- */

static void set_options(int fd)
{
	int on = 1, keep_s = KEEPALIVE_S, user_ms = USER_TIMEOUT_MS;

	/* Best effort: the machines have their own timeouts. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &keep_s, sizeof(keep_s));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof(user_ms));
}

/* A new connection in a free slot; null: none free or out of memory. 'fd' stays the caller's then. */
static struct conn *conn_new(struct httpd *h, const struct listener *l, int fd, const struct ep *remote)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct conn *c = h->n_free > 0 ? calloc(1, sizeof(*c)) : NULL;
	uint32_t slot;

	if (!c)
		return NULL;
	slot = h->free_slots[h->n_free - 1];
	c->h = h;
	c->id = (slot + 1) | (++h->generation & 0xffff) << 16;
	c->tag = l->tag;
	c->tls = l->tls;
	c->fd = fd;
	c->remote = *remote;
	c->out.max = HTTPD_OUT_MAX;
	c->events = EPOLLIN;
	ev.data.u64 = c->id;
	if (heap_set(&h->deadlines, &c->deadline, mono_add_ms(h->now, HTTPD_SETUP_MS)) != 0 ||
	    epoll_ctl(h->epfd, EPOLL_CTL_ADD, fd, &ev) != 0) {
		heap_del(&h->deadlines, &c->deadline);
		free(c);
		return NULL;
	}
	h->n_free--;
	h->n++;
	h->conns[slot] = c;
	return c;
}

static void accept_one(struct httpd *h, const struct listener *l, int fd, const struct sockaddr_storage *sa)
{
	struct sockaddr_storage local = { 0 };
	socklen_t size = sizeof(local);
	struct ep remote = ep_of(sa);
	struct conn *c;

	/* A source over its limit is turned away before it takes from the rate that is for everybody. */
	if (!setup_begins(h, &remote)) {
		h->counters.refused_limit++;
		(void)close(fd);
		return;
	}
	if (!bucket_take(&h->accepts, h->now, HTTPD_ACCEPT_PER_S, HTTPD_ACCEPT_BURST, 1)) {
		h->counters.refused_rate++;
		setup_ends(h, &remote);
		(void)close(fd);
		return;
	}
	c = conn_new(h, l, fd, &remote);
	if (!c) {
		h->counters.refused_limit++;
		setup_ends(h, &remote);
		(void)close(fd);
		return;
	}
	set_options(fd);
	if (getsockname(fd, (struct sockaddr *)&local, &size) == 0)
		c->local = ep_of(&local);
	h->counters.accepted++;
	conn_sniff(c);
}

static void listeners_watch(struct httpd *h, bool on)
{
	for (size_t i = 0; i < HTTPD_LISTENERS_MAX; i++) {
		struct epoll_event ev = { .events = on ? EPOLLIN : 0, .data.u64 = TAG_LISTENER | i };

		if (h->listeners[i].used)
			(void)epoll_ctl(h->epfd, EPOLL_CTL_MOD, h->listeners[i].fd, &ev);
	}
}

static void listener_ready(struct httpd *h, struct listener *l)
{
	for (int i = 0; i < ACCEPTS_PER_RUN; i++) {
		struct sockaddr_storage sa;
		socklen_t size = sizeof(sa);
		int fd;

		fd = accept4(l->fd, (struct sockaddr *)&sa, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			/* Without descriptors or memory the kernel's queue holds new connections for a moment. */
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
				log_warn(h->log, "httpd: accept: %s", strerror(errno));
				h->accept_at = mono_add_ms(h->now, 1000);
				listeners_watch(h, false);
			}
			return;
		}
		accept_one(h, l, fd, &sa);
	}
}

/* --- the object --- */

struct httpd *httpd_new(const struct log *log)
{
	struct httpd *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->log = log;
	h->epfd = epoll_create1(EPOLL_CLOEXEC);
	h->conns = calloc(HTTPD_CONNS_MAX, sizeof(struct conn *));
	h->free_slots = calloc(HTTPD_CONNS_MAX, sizeof(*h->free_slots));
	if (h->epfd < 0 || !h->conns || !h->free_slots) {
		httpd_free(h);
		return NULL;
	}
	for (uint32_t i = HTTPD_CONNS_MAX; i-- > 0;)
		h->free_slots[h->n_free++] = i;
	bucket_fill(&h->accepts, MONO_ZERO, HTTPD_ACCEPT_PER_S, HTTPD_ACCEPT_BURST);
	return h;
}

/* Frees connections of a tag, or all. */
static void drop_conns(struct httpd *h, bool all, uint32_t tag)
{
	struct conn **at = &h->due;

	h->due_last = NULL;
	while (*at) {
		struct conn *c = *at;

		if (all || c->tag == tag) {
			*at = c->due_next;
			c->is_due = false;
		} else {
			h->due_last = c;
			at = &c->due_next;
		}
	}
	for (size_t i = 0; h->conns && i < HTTPD_CONNS_MAX; i++) {
		if (h->conns[i] && (all || h->conns[i]->tag == tag))
			conn_free(h->conns[i]);
	}
}

static void drop_listeners(struct httpd *h, bool all, uint32_t tag)
{
	for (size_t i = 0; i < HTTPD_LISTENERS_MAX; i++) {
		if (h->listeners[i].used && (all || h->listeners[i].tag == tag)) {
			(void)close(h->listeners[i].fd);
			h->listeners[i].used = false;
		}
	}
}

void httpd_free(struct httpd *h)
{
	if (!h)
		return;
	drop_listeners(h, true, 0);
	drop_conns(h, true, 0);
	heap_wipe(&h->deadlines);
	if (h->epfd >= 0)
		(void)close(h->epfd);
	free(h->conns);
	free(h->free_slots);
	free(h);
}

static socklen_t sockaddr_of(struct sockaddr_storage *sa, const struct ep *ep)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET, .sin_port = htons(ep->port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(ep->port) };

	if (ep->ip.family == IP_V4) {
		memcpy(&in4.sin_addr, ep->ip.b, 4);
		memcpy(sa, &in4, sizeof(in4));
		return sizeof(in4);
	}
	memcpy(&in6.sin6_addr, ep->ip.b, 16);
	memcpy(sa, &in6, sizeof(in6));
	return sizeof(in6);
}

/* A listening socket, or a negative errno. */
static int listen_fd(const struct ep *ep)
{
	int family = ep->ip.family == IP_V4 ? AF_INET : AF_INET6, on = 1, off = 0, err;
	struct sockaddr_storage sa = { 0 };
	socklen_t size = sockaddr_of(&sa, ep);
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	    (family == AF_INET || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0) &&
	    bind(fd, (struct sockaddr *)&sa, size) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	err = -errno;
	(void)close(fd);
	return err;
}

int httpd_listen(struct httpd *h, const struct ep *ep, uint32_t tag, const struct cert_tls *tls)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t size = sizeof(sa);
	struct epoll_event ev = { .events = EPOLLIN };
	size_t i = 0;
	int fd, err;

	while (i < HTTPD_LISTENERS_MAX && h->listeners[i].used)
		i++;
	if (i == HTTPD_LISTENERS_MAX)
		return -ENOBUFS;
	fd = listen_fd(ep);
	if (fd < 0)
		return fd;
	ev.data.u64 = TAG_LISTENER | i;
	if (epoll_ctl(h->epfd, EPOLL_CTL_ADD, fd, &ev) != 0 || getsockname(fd, (struct sockaddr *)&sa, &size) != 0) {
		err = -errno;
		(void)close(fd);
		return err;
	}
	h->listeners[i] = (struct listener){ .fd = fd, .tag = tag, .tls = tls, .used = true };
	return ep_of(&sa).port;
}

void httpd_unlisten(struct httpd *h, uint32_t tag)
{
	drop_listeners(h, false, tag);
	drop_conns(h, false, tag);
}

int httpd_fd(const struct httpd *h)
{
	return h->epfd;
}

/* --- events --- */

struct mono httpd_deadline(const struct httpd *h)
{
	struct mono at = heap_deadline(&h->deadlines);

	if (!mono_is_zero(h->accept_at))
		at = mono_min(at, h->accept_at);
	return h->due ? h->now : at;
}

static void conn_event(struct conn *c, uint32_t events)
{
	switch (c->state) {
	case SNIFF:
		conn_sniff(c);
		break;
	case HANDSHAKE:
		conn_handshake(c);
		break;
	case OPEN:
	case FLUSHING:
		if (c->state == OPEN && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
			c->ready = true;
			make_due(c);
		}
		if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
			conn_flush(c);
		break;
	case DEAD:
		break;
	}
}

static void expire(struct httpd *h)
{
	struct heap_node *node;

	while ((node = heap_first(&h->deadlines)) && mono_due(node->deadline, h->now)) {
		struct conn *c = CONTAINER_OF(node, struct conn, deadline);

		heap_del(&h->deadlines, node);
		if (c->state != FLUSHING)
			h->counters.setup_timeouts++;
		conn_fail(c, "not set up in time");
	}
}

void httpd_run(struct httpd *h, struct mono now)
{
	struct epoll_event evs[EVENTS_MAX];
	int n;

	h->now = mono_max(h->now, now);
	if (!mono_is_zero(h->accept_at) && mono_due(h->accept_at, h->now)) {
		h->accept_at = MONO_ZERO;
		listeners_watch(h, true);
	}
	n = epoll_wait(h->epfd, evs, EVENTS_MAX, 0);
	for (int i = 0; i < n; i++) {
		uint64_t tag = evs[i].data.u64;
		uint32_t slot = ((uint32_t)tag & 0xffff) - 1;
		struct conn *c;

		if (tag & TAG_LISTENER) {
			listener_ready(h, &h->listeners[tag & ~TAG_LISTENER]);
			continue;
		}
		c = slot < HTTPD_CONNS_MAX ? h->conns[slot] : NULL;
		if (c && c->id == (uint32_t)tag)
			conn_event(c, evs[i].events);
	}
	expire(h);
	for (struct conn *c = h->due; c; c = c->due_next)
		c->reads = 0;
}

/* Reads once into the shared buffer. Returns the size; 0: nothing now. */
static size_t conn_read(struct conn *c)
{
	struct httpd *h = c->h;
	size_t done = 0;
	ssize_t n;
	int err;

	if (!c->ssl) {
		n = recv(c->fd, h->buf, sizeof(h->buf), MSG_DONTWAIT);
		if (n > 0)
			return (size_t)n;
		if (n == 0)
			conn_fail(c, "closed by the other side");
		else if (errno != EAGAIN && errno != EINTR)
			conn_fail(c, "connection lost");
		c->ready = false;
		return 0;
	}
	ERR_clear_error();
	if (SSL_read_ex(c->ssl, h->buf, sizeof(h->buf), &done) == 1)
		return done;
	err = SSL_get_error(c->ssl, 0);
	c->ready = false;
	if (err == SSL_ERROR_ZERO_RETURN)
		conn_fail(c, "closed by the other side");
	else if (err != SSL_ERROR_WANT_READ && err != SSL_ERROR_WANT_WRITE)
		conn_fail(c, "connection lost");
	return 0;
}

/* The next event of one connection; false: none. */
static bool conn_report(struct conn *c, struct httpd_event *ev)
{
	*ev = (struct httpd_event){ .conn = c->id, .tag = c->tag };
	if (c->opened_due && c->state == OPEN) {
		c->opened_due = false;
		c->is_shown = true;
		ev->kind = HTTPD_OPENED;
		ev->is_tls = c->ssl != NULL;
		ev->remote = c->remote;
		ev->local = c->local;
		return true;
	}
	if (c->writable_due && c->state == OPEN) {
		c->writable_due = false;
		ev->kind = HTTPD_WRITABLE;
		return true;
	}
	if (c->state == OPEN && c->reading && c->ready && c->reads++ < READS_PER_RUN) {
		ev->size = conn_read(c);
		ev->data = c->h->buf;
		ev->kind = HTTPD_DATA;
		if (ev->size > 0)
			return true;
	}
	if (c->closed_due) {
		c->closed_due = false;
		ev->kind = HTTPD_CLOSED;
		ev->reason = c->reason;
		return true;
	}
	return false;
}

bool httpd_poll(struct httpd *h, struct httpd_event *ev)
{
	struct conn *c, *again = NULL;

	while ((c = h->due) && c != again) {
		if (conn_report(c, ev))
			return true;
		h->due = c->due_next;
		if (!h->due)
			h->due_last = NULL;
		c->is_due = false;
		if (c->state == DEAD) {
			conn_free(c);
		} else if (c->reading && c->ready) {
			/* It has had its share of this run: the next one goes on. */
			make_due(c);
			again = again ? again : c;
		}
	}
	return false;
}

/* --- the owner's commands --- */

void httpd_established(struct httpd *h, uint32_t conn)
{
	struct conn *c = conn_find(h, conn);

	if (!c || c->established)
		return;
	c->established = true;
	setup_ends(h, &c->remote);
	heap_del(&h->deadlines, &c->deadline);
}

size_t httpd_room(const struct httpd *h, uint32_t conn)
{
	struct conn *c = conn_find(h, conn);
	size_t room = c ? HTTPD_OUT_MAX - bytes_size(&c->out) : 0;

	if (c && room == 0)
		c->was_full = true;
	return room;
}

int httpd_send(struct httpd *h, uint32_t conn, const uint8_t *buf, size_t size)
{
	struct conn *c = conn_find(h, conn);
	int err;

	if (!c)
		return -ENOENT;
	if (size > HTTPD_OUT_MAX - bytes_size(&c->out)) {
		c->was_full = true;
		return -ENOBUFS;
	}
	err = bytes_append(&c->out, buf, size);
	if (err)
		return err;
	conn_flush(c);
	return 0;
}

void httpd_read(struct httpd *h, uint32_t conn, bool on)
{
	struct conn *c = conn_find(h, conn);

	if (!c || c->reading == on)
		return;
	c->reading = on;
	if (on) {
		c->ready = true; /* TLS may have read ahead */
		make_due(c);
	}
	conn_watch(c);
}

void httpd_close(struct httpd *h, uint32_t conn, bool flush)
{
	struct conn *c = conn_find(h, conn);

	if (!c)
		return;
	c->is_shown = false; /* no event */
	if (!flush || bytes_size(&c->out) == 0) {
		conn_fail(c, "closed");
		return;
	}
	c->state = FLUSHING;
	if (heap_set(&h->deadlines, &c->deadline, mono_add_ms(h->now, FLUSH_MS)) != 0)
		conn_fail(c, "out of memory");
	else
		conn_watch(c);
}

const struct httpd_counters *httpd_counters(const struct httpd *h)
{
	return &h->counters;
}

size_t httpd_conns(const struct httpd *h)
{
	return h->n;
}
