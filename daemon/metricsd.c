/* SPDX-License-Identifier: MIT */
/* A small HTTP/1.1 server for two paths: one request a connection, one answer, close. */
#include "config.h"

#include "daemon/metricsd.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/ep.h"
#include "base/log.h"
#include "daemon/loop.h"
#include "daemon/metrics.h"
#include "wire/http1.h"

enum { CONNS_MAX = 16, REQUEST_S = 10, READ_SIZE = 2048, HEAD_SIZE = 512 };

struct conn {
	struct metricsd *m;
	struct loop_fd watch;
	struct loop_timer timer;
	struct http1 http;
	struct bytes out;
	int fd;
	bool is_answered;
};

struct metricsd {
	struct loop *loop;
	const struct log *log;
	struct metricsd_backend backend;
	struct loop_fd watch;
	struct loop_timer pause; /* out of descriptors: accept again later */
	int fd;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* "" = IP */
	struct conn *conns[CONNS_MAX];
};

static void conn_close(struct conn *c)
{
	for (size_t i = 0; i < CONNS_MAX; i++)
		if (c->m->conns[i] == c)
			c->m->conns[i] = NULL;
	loop_fd_del(c->m->loop, &c->watch);
	loop_timer_stop(c->m->loop, &c->timer);
	(void)close(c->fd);
	bytes_wipe(&c->out);
	free(c);
}

static void conn_timeout(void *ctx, struct mono now)
{
	(void)now;
	conn_close(ctx);
}

static int put_answer(struct conn *c, unsigned status, const char *type, const struct bytes *body)
{
	uint8_t head[HEAD_SIZE];
	struct wr w = WR(head, sizeof(head));
	int err;

	http1_write_status(&w, status);
	http1_write_header(&w, "Content-Type", type);
	http1_write_header_u64(&w, "Content-Length", bytes_size(body));
	http1_write_header(&w, "Connection", "close");
	http1_write_end(&w);
	err = bytes_append(&c->out, head, wr_used(&w, sizeof(head)));
	if (!err && strcmp(c->http.method, "HEAD") != 0)
		err = bytes_append(&c->out, bytes_data(body), bytes_size(body));
	c->is_answered = true;
	return err;
}

static int put_text(struct conn *c, unsigned status, const char *text)
{
	struct bytes body = { 0 };
	int err = bytes_append(&body, text, strlen(text));

	if (!err)
		err = bytes_append(&body, "\n", 1);
	if (!err)
		err = put_answer(c, status, "text/plain; charset=utf-8", &body);
	bytes_wipe(&body);
	return err;
}

static int put_metrics(struct conn *c)
{
	const struct metricsd_backend *b = &c->m->backend;
	struct metrics_input in = { .netmap_age_s = -1 };
	struct bytes body = { 0 };
	int err = b->metrics(b->ctx, &in);

	if (!err)
		err = metrics_write(&body, &in);
	if (!err)
		err = put_answer(c, 200, "text/plain; version=0.0.4; charset=utf-8", &body);
	bytes_wipe(&body);
	return err;
}

static int answer(struct conn *c)
{
	const struct metricsd_backend *b = &c->m->backend;
	const char *why;
	char path[64];

	if (strcmp(c->http.method, "GET") != 0 && strcmp(c->http.method, "HEAD") != 0)
		return put_text(c, 405, "GET required");
	if (!http1_path(&c->http, path, sizeof(path)))
		return put_text(c, 404, "404 page not found");
	if (strcmp(path, "/metrics") == 0)
		return put_metrics(c);
	if (strcmp(path, "/healthz") != 0)
		return put_text(c, 404, "404 page not found");
	why = b->unhealthy(b->ctx);
	return why ? put_text(c, 503, why) : put_text(c, 200, "ok");
}

/* False: the connection is to be closed. */
static bool conn_input(struct conn *c)
{
	uint8_t buf[READ_SIZE];
	ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
	const uint8_t *p = buf;
	size_t left = n > 0 ? (size_t)n : 0;

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	while (!c->is_answered) {
		enum http1_event ev;
		size_t used;

		if (http1_input(&c->http, p, left, &used, &ev))
			return put_text(c, 400, "bad request") == 0;
		p += used;
		left -= used;
		if (ev == HTTP1_HEAD && answer(c))
			return false;
		if (ev == HTTP1_MORE)
			break;
	}
	return true;
}

static void conn_ready(void *ctx, uint32_t events, struct mono now)
{
	struct conn *c = ctx;

	(void)now;
	if (events & EPOLLIN && !c->is_answered && !conn_input(c)) {
		conn_close(c);
		return;
	}
	while (bytes_size(&c->out)) {
		ssize_t n = send(c->fd, bytes_data(&c->out), bytes_size(&c->out),
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			conn_close(c);
			return;
		}
		bytes_consume(&c->out, (size_t)n);
	}
	if (c->is_answered && !bytes_size(&c->out)) {
		/* The end of the answer must not overtake it: no reset because of unread input. */
		(void)shutdown(c->fd, SHUT_WR);
		conn_close(c);
		return;
	}
	if (events & (EPOLLHUP | EPOLLERR) ||
	    loop_fd_mod(c->m->loop, &c->watch, c->is_answered ? EPOLLOUT : EPOLLIN))
		conn_close(c);
}

static void accept_again(void *ctx, struct mono now)
{
	struct metricsd *m = ctx;

	if (loop_fd_mod(m->loop, &m->watch, EPOLLIN))
		loop_timer_set(m->loop, &m->pause, mono_add_s(now, 1));
}

static void accept_one(void *ctx, uint32_t events, struct mono now)
{
	struct metricsd *m = ctx;
	struct conn *c;
	size_t slot = 0;
	int fd = accept4(m->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM) &&
	    loop_fd_mod(m->loop, &m->watch, 0) == 0)
		loop_timer_set(m->loop, &m->pause, mono_add_s(now, 1));
	if (fd < 0)
		return;
	while (slot < CONNS_MAX && m->conns[slot])
		slot++;
	c = slot < CONNS_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (!c || loop_fd_add(m->loop, &c->watch, fd, EPOLLIN, conn_ready, c)) {
		free(c);
		(void)close(fd);
		return;
	}
	c->m = m;
	c->fd = fd;
	c->timer.fn = conn_timeout;
	c->timer.ctx = c;
	http1_init(&c->http, HTTP1_REQUESTS, 0);
	m->conns[slot] = c;
	loop_timer_set(m->loop, &c->timer, mono_add_s(now, REQUEST_S));
}

static int listen_ip(const struct ep *ep)
{
	struct sockaddr_in6 sa6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in sa4 = { .sin_family = AF_INET };
	bool v4 = ep->ip.family == IP_V4;
	const struct sockaddr *sa = v4 ? (const struct sockaddr *)&sa4 : (const struct sockaddr *)&sa6;
	int one = 1, err, fd = socket(v4 ? AF_INET : AF_INET6,
				      SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	memcpy(&sa4.sin_addr, ep->ip.b, 4);
	memcpy(&sa6.sin6_addr, ep->ip.b, 16);
	sa4.sin_port = sa6.sin6_port = htons(ep->port);
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(fd, sa, v4 ? sizeof(sa4) : sizeof(sa6)) || listen(fd, CONNS_MAX)) {
		err = -errno;
		(void)close(fd);
		return err;
	}
	return fd;
}

static int listen_unix(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct stat st;
	int err, fd;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	(void)unlink(path);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, CONNS_MAX)) {
		err = -errno;
		(void)close(fd);
		return err;
	}
	return fd;
}

int metricsd_open(struct metricsd **out, struct loop *loop, const struct log *log, const char *where,
		  const struct metricsd_backend *backend)
{
	struct metricsd *m = calloc(1, sizeof(*m));
	struct ep ep;
	int err;

	if (!m)
		return -ENOMEM;
	m->loop = loop;
	m->log = log;
	m->backend = *backend;
	m->pause.fn = accept_again;
	m->pause.ctx = m;
	if (where[0] == '/') {
		m->fd = listen_unix(where);
		(void)snprintf(m->path, sizeof(m->path), "%s", where);
	} else {
		m->fd = ep_parse(&ep, where, strlen(where)) ? -EINVAL : listen_ip(&ep);
	}
	err = m->fd < 0 ? m->fd : loop_fd_add(loop, &m->watch, m->fd, EPOLLIN, accept_one, m);
	if (err) {
		if (m->fd >= 0)
			(void)close(m->fd);
		free(m);
		return err;
	}
	log_info(log, "metrics: listening on %s", where);
	*out = m;
	return 0;
}

void metricsd_close(struct metricsd *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < CONNS_MAX; i++)
		if (m->conns[i])
			conn_close(m->conns[i]);
	loop_fd_del(m->loop, &m->watch);
	loop_timer_stop(m->loop, &m->pause);
	(void)close(m->fd);
	if (m->path[0])
		(void)unlink(m->path);
	free(m);
}
