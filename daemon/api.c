/* SPDX-License-Identifier: MIT */
/* Connections of the local API: accept, limits, HTTP, rights, responses, the bus. */
#include "daemon/api.h"

#include <assert.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "base/log.h"
#include "daemon/loop.h"
#include "daemon/unixlisten.h"
#include "wire/http1.h"

enum {
	LISTENERS_MAX = 4,
	TABLES_MAX = 8,
	REQUEST_S = 10,            /* to send a complete request, and to take an answer */
	IDLE_S = 60,               /* between requests of one connection */
	PIECES_MAX = 8,            /* of a body made on the way, before others get their turn */
	UNREAD_MAX = 64 << 10,     /* of answers: the next request waits for its reader; two pieces of a body */
	STREAM_MAX = 1 << 20,      /* unread messages of the bus: a slower reader is cut off */
	RESPONSE_HEAD_MAX = 1024,
	READ_SIZE = 16 << 10,
	OPERATOR_BUF = 4096,
	REASON_MAX = 300,          /* bytes of a caller's reason that are logged; a longer one is not */
};

#define PREFIX "/localapi/v0/"

enum conn_state {
	CONN_READING, /* a request, or the time between two */
	CONN_WAITING, /* a handler has the request */
	CONN_BODY,    /* an answer whose body is made while it is read */
	CONN_STREAM,  /* subscribed to the bus */
};

struct conn {
	struct api *api;
	struct loop_fd watch;
	struct loop_timer timer;
	int fd;
	uint32_t slot, gen;        /* the token of the request */
	uid_t uid;
	pid_t pid;
	enum conn_state state;
	struct http1 http;
	struct bytes body;         /* of the request */
	struct bytes in;           /* read, not yet parsed: behind the request that is being handled */
	struct bytes out;
	struct api_source source;  /* CONN_BODY */
	char path[256];
	const struct api_handler *deferred; /* an edit that waits for its turn */
	uint64_t bus_mask;
	char dial_self[64];        /* "Dial-Addr" of the answer; "" = none */
	bool in_event;             /* inside our own callback: freeing waits */
	bool is_head;              /* no body in the answer */
	bool close_after;          /* once 'out' is empty */
	bool is_dead;
};

struct api {
	struct api_cfg cfg;
	struct conn *conns[API_CONNS_MAX];
	uint32_t gen;              /* last one given out */
	size_t n_conns;
	struct unixlisten listeners[LISTENERS_MAX];
	size_t n_listeners;
	const struct api_table *tables[TABLES_MAX];
	size_t n_tables;
	struct api_token edit;     /* the edit under way; 0 = none */
	bool is_stopping;
};

static void conn_event(void *ctx, uint32_t events, struct mono now);
static void conn_feed(struct conn *c);
static bool conn_pull(struct conn *c);
static void conn_work(struct conn *c);
static void run_deferred(struct api *api);

/* --- connections --- */

static struct conn *find(struct api *api, struct api_token token)
{
	uint32_t slot = (uint32_t)(token.id & UINT32_MAX), gen = (uint32_t)(token.id >> 32);
	struct conn *c = slot && slot <= API_CONNS_MAX ? api->conns[slot - 1] : NULL;

	return c && c->gen == gen && !c->is_dead ? c : NULL;
}

static struct api_token token_of(const struct conn *c)
{
	return (struct api_token){ (uint64_t)c->gen << 32 | (c->slot + 1) };
}

static void conn_free(struct conn *c)
{
	struct api *api = c->api;

	loop_fd_del(api->cfg.loop, &c->watch);
	loop_timer_stop(api->cfg.loop, &c->timer);
	(void)close(c->fd);
	bytes_wipe(&c->body);
	bytes_wipe(&c->in);
	bytes_wipe(&c->out);
	if (c->source.free)
		c->source.free(c->source.ctx);
	api->conns[c->slot] = NULL;
	api->n_conns--;
	free(c);
}

/* Ends the connection now, or at the end of its own callback. */
static void conn_kill(struct conn *c)
{
	c->is_dead = true;
	if (!c->in_event)
		conn_free(c);
}

static void set_deadline(struct conn *c, int seconds)
{
	struct loop *loop = c->api->cfg.loop;

	if (seconds)
		loop_timer_set(loop, &c->timer, mono_add_s(loop_now(loop), seconds));
	else
		loop_timer_stop(loop, &c->timer);
}

static void conn_timeout(void *ctx, struct mono now)
{
	struct conn *c = ctx;

	(void)now;
	conn_kill(c);
}

/* May a request be read and handled? Not for who only asks and never reads: each answer would cost memory. */
static bool takes_requests(const struct conn *c)
{
	return c->state == CONN_READING && !c->close_after && !c->is_dead && bytes_size(&c->out) < UNREAD_MAX;
}

static void watch_for(struct conn *c)
{
	uint32_t events = 0;

	if (takes_requests(c))
		events |= EPOLLIN;
	if (bytes_size(&c->out) || c->state == CONN_BODY)
		events |= EPOLLOUT;
	if (loop_fd_mod(c->api->cfg.loop, &c->watch, events))
		conn_kill(c);
}

/* Sends what it can. The connection may be gone afterwards: the caller returns at once. */
static void conn_flush(struct conn *c)
{
	unsigned pieces = 0;

	while (bytes_size(&c->out) || (c->state == CONN_BODY && pieces++ < PIECES_MAX)) {
		ssize_t n;

		if (!bytes_size(&c->out) && !conn_pull(c)) {
			conn_kill(c);
			return;
		}
		n = send(c->fd, bytes_data(&c->out), bytes_size(&c->out), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n < 0) {
			conn_kill(c);
			return;
		}
		bytes_consume(&c->out, (size_t)n);
	}
	if (!bytes_size(&c->out) && c->close_after) {
		conn_kill(c);
		return;
	}
	watch_for(c);
}

static size_t conns_of(const struct api *api, uid_t uid)
{
	size_t n = 0;

	for (size_t i = 0; i < API_CONNS_MAX; i++)
		n += api->conns[i] && api->conns[i]->uid == uid;
	return n;
}

int api_accept_fd(struct api *api, int fd, uid_t uid, pid_t pid)
{
	struct conn *c;
	uint32_t slot = 0;
	int err = -ENOBUFS;

	while (slot < API_CONNS_MAX && api->conns[slot])
		slot++;
	if (slot == API_CONNS_MAX || conns_of(api, uid) >= API_CONNS_PER_UID_MAX)
		goto refuse;
	c = calloc(1, sizeof(*c));
	if (!c) {
		err = -ENOMEM;
		goto refuse;
	}
	c->api = api;
	c->fd = fd;
	c->slot = slot;
	c->gen = ++api->gen;
	c->uid = uid;
	c->pid = pid;
	c->body.max = API_BODY_MAX;
	c->timer.fn = conn_timeout;
	c->timer.ctx = c;
	http1_init(&c->http, HTTP1_REQUESTS, API_BODY_MAX);
	err = loop_fd_add(api->cfg.loop, &c->watch, fd, EPOLLIN, conn_event, c);
	if (err) {
		free(c);
		goto refuse;
	}
	api->conns[slot] = c;
	api->n_conns++;
	set_deadline(c, REQUEST_S);
	return 0;
refuse:
	(void)close(fd);
	return err;
}

static void accepted(void *ctx, int fd, uid_t uid, pid_t pid)
{
	struct api *api = ctx;
	int err = api_accept_fd(api, fd, uid, pid);

	if (err)
		log_debug(api->cfg.log, "api: uid %d: connection refused: %s", (int)uid, strerror(-err));
}

int api_listen(struct api *api, const char *path)
{
	int err;

	if (api->n_listeners == LISTENERS_MAX)
		return -ENOBUFS;
	err = unixlisten_open(&api->listeners[api->n_listeners], api->cfg.loop, path, accepted, api);
	if (!err)
		api->n_listeners++;
	return err;
}

/* --- rights --- */

static bool is_operator(const struct api *api, uid_t uid)
{
	const struct api_backend *b = api->cfg.backend;
	const char *name = b->prefs(b->ctx)->operator_user;
	char buf[OPERATOR_BUF];
	struct passwd pw, *found = NULL;

	if (!name || !*name)
		return false;
	return getpwnam_r(name, &pw, buf, sizeof(buf), &found) == 0 && found && pw.pw_uid == uid;
}

static bool is_root(uid_t uid)
{
	return uid == 0 || (uid != (uid_t)-1 && uid == geteuid());
}

static bool may_write(const struct api *api, uid_t uid)
{
	return is_root(uid) || (uid != (uid_t)-1 && is_operator(api, uid));
}

/* --- responses --- */

/* Head of every answer (localapi 1). 'size' < 0: a stream of chunks. */
static int put_head(struct conn *c, unsigned status, const char *type, int64_t size)
{
	uint8_t buf[RESPONSE_HEAD_MAX];
	struct wr w = WR(buf, sizeof(buf));

	http1_write_status(&w, status);
	if (type)
		http1_write_header(&w, "Content-Type", type);
	if (size >= 0 && status != 204)
		http1_write_header_u64(&w, "Content-Length", (uint64_t)size);
	if (size < 0)
		http1_write_header(&w, "Transfer-Encoding", "chunked");
	http1_write_header_u64(&w, "Tailscale-Cap", API_CAP_VERSION);
	http1_write_header(&w, "Meshd-Version", API_MESHD_VERSION);
	http1_write_header(&w, "Content-Security-Policy",
			   "default-src 'none'; frame-ancestors 'none'; script-src 'none'; "
			   "script-src-elem 'none'; script-src-attr 'none'");
	http1_write_header(&w, "X-Frame-Options", "DENY");
	http1_write_header(&w, "X-Content-Type-Options", "nosniff");
	if (c->dial_self[0]) {
		http1_write_header(&w, "Dial-Self", "true");
		http1_write_header(&w, "Dial-Addr", c->dial_self);
	}
	if (c->close_after)
		http1_write_header(&w, "Connection", "close");
	http1_write_end(&w);
	assert(!w.bad);
	return bytes_append(&c->out, buf, wr_used(&w, sizeof(buf)));
}

/* The answer is complete in 'out': ready for the next request. */
static void next_request(struct conn *c)
{
	c->state = CONN_READING;
	c->gen = ++c->api->gen;
	bytes_wipe(&c->body);
	c->body.max = API_BODY_MAX;
	set_deadline(c, c->close_after ? REQUEST_S : IDLE_S);
}

/* Goes on with what is in 'in' and 'out', unless conn_event() is about to. */
static void go_on(struct conn *c)
{
	if (c->in_event)
		return;
	c->in_event = true;
	conn_work(c);
	c->in_event = false;
	if (c->is_dead)
		conn_free(c);
}

/* Sends one whole answer and makes the connection ready for the next request. */
static void respond(struct conn *c, unsigned status, const char *type, const void *body, size_t size)
{
	int err;

	if (!c->http.keep_alive || c->api->is_stopping)
		c->close_after = true;
	err = put_head(c, status, type, (int64_t)size);
	if (!err && size && !c->is_head && status != 204)
		err = bytes_append(&c->out, body, size);
	if (err) {
		conn_kill(c);
		return;
	}
	next_request(c);
	go_on(c);
}

/* One piece of the body, as a chunk. */
static int put_chunk(struct conn *c, const struct bytes *piece)
{
	uint8_t buf[64];
	struct wr w = WR(buf, sizeof(buf));
	int err;

	http1_write_chunk(&w, bytes_size(piece));
	err = bytes_append(&c->out, buf, wr_used(&w, sizeof(buf)));
	if (!err)
		err = bytes_append(&c->out, bytes_data(piece), bytes_size(piece));
	w = WR(buf, sizeof(buf));
	http1_write_chunk_end(&w);
	return err ? err : bytes_append(&c->out, buf, wr_used(&w, sizeof(buf)));
}

static void source_end(struct conn *c)
{
	c->source.free(c->source.ctx);
	c->source = (struct api_source){ 0 };
	next_request(c);
}

/* Has the next piece of the body made. False: it cannot be, the connection ends. */
static bool conn_pull(struct conn *c)
{
	struct bytes piece = { 0 };
	uint8_t buf[16];
	struct wr w = WR(buf, sizeof(buf));
	const int more = c->source.next(c->source.ctx, &piece);
	int err = more < 0 ? more : bytes_size(&piece) ? put_chunk(c, &piece) : 0;

	bytes_wipe(&piece);
	set_deadline(c, REQUEST_S);
	if (err || more)
		return !err;
	http1_write_last_chunk(&w);
	source_end(c);
	return bytes_append(&c->out, buf, wr_used(&w, sizeof(buf))) == 0;
}

/* The end of a request, whoever asked: an edit gives its turn to the next one. */
static struct conn *finish(struct api *api, struct api_token token)
{
	if (token.id && token.id == api->edit.id)
		api->edit.id = 0;
	return find(api, token);
}

static void answer(struct api *api, struct api_token token, unsigned status, const char *type,
		   const void *body, size_t size)
{
	struct conn *c = finish(api, token);

	if (c && c->state == CONN_WAITING)
		respond(c, status, type, body, size);
	run_deferred(api);
}

void api_reply_done(struct api *api, struct api_token token)
{
	answer(api, token, 204, NULL, NULL, 0);
}

void api_reply_json(struct api *api, struct api_token token, const struct bytes *body)
{
	answer(api, token, 200, "application/json", bytes_data(body), bytes_size(body));
}

void api_reply_text(struct api *api, struct api_token token, int status, const char *text)
{
	answer(api, token, (unsigned)status, "text/plain; charset=utf-8", text, strlen(text));
}

void api_reply_error(struct api *api, struct api_token token, int status, const char *text, bool lower)
{
	struct json_w w = { 0 };
	size_t size;
	char *body;

	json_w_obj(&w, NULL);
	json_w_str(&w, lower ? "error" : "Error", text);
	json_w_end(&w);
	body = json_w_take(&w, &size);
	if (body)
		answer(api, token, (unsigned)status, "application/json", body, size);
	else
		answer(api, token, 500, NULL, NULL, 0);
	free(body);
}

void api_reply_source(struct api *api, struct api_token token, const struct api_source *source)
{
	struct conn *c = find(api, token);
	struct bytes piece = { 0 };
	const int more = source->next(source->ctx, &piece);

	if (more == 1 && c && c->state == CONN_WAITING) {
		c->close_after |= !c->http.keep_alive;
		c->source = *source;
		c->state = CONN_BODY;
		set_deadline(c, REQUEST_S);
		if (put_head(c, 200, "application/json", -1) < 0 || (!c->is_head && put_chunk(c, &piece) < 0)) {
			conn_kill(c);
		} else {
			if (c->is_head)
				source_end(c);
			go_on(c);
		}
	} else {
		source->free(source->ctx);
		if (more < 0)
			api_reply_text(api, token, 500, "out of memory\n");
		else
			answer(api, token, 200, "application/json", bytes_data(&piece), bytes_size(&piece));
	}
	bytes_wipe(&piece);
}

/* A document that may have failed for want of memory. */
static void reply_doc(struct api *api, struct api_token token, struct bytes *doc, int err)
{
	if (err)
		api_reply_text(api, token, 500, "out of memory\n");
	else
		api_reply_json(api, token, doc);
	bytes_wipe(doc);
}

void api_reply_prefs(struct api *api, struct api_token token, const char *err)
{
	const struct api_backend *b = api->cfg.backend;
	struct bytes doc = { 0 };
	int ret;

	if (err) {
		api_reply_error(api, token, 400, err, false);
		return;
	}
	ret = prefs_write(&doc, b->prefs(b->ctx), "\t");
	if (!ret)
		ret = bytes_append(&doc, "\n", 1);
	reply_doc(api, token, &doc, ret);
}

void api_reply_dial_self(struct api *api, struct api_token token, const char *addr)
{
	struct conn *c = find(api, token);

	if (c)
		(void)snprintf(c->dial_self, sizeof(c->dial_self), "%s", addr);
	answer(api, token, 200, NULL, NULL, 0);
}

void api_reply_ping(struct api *api, struct api_token token, const struct pingresult *result)
{
	struct bytes doc = { 0 };

	reply_doc(api, token, &doc, pingresult_write(&doc, result, NULL));
}

void api_reply_netcheck(struct api *api, struct api_token token, const struct netreport *report,
			const char *err)
{
	struct bytes doc = { 0 };

	if (err)
		api_reply_error(api, token, 500, err, false);
	else
		reply_doc(api, token, &doc, netreport_write(&doc, report, "\t", true));
}

/* --- requests --- */

static const struct api_handler *lookup(const struct api *api, const char *method, const char *name,
					const char **allowed)
{
	*allowed = NULL;
	for (size_t t = 0; t < api->n_tables; t++) {
		for (size_t i = 0; i < api->tables[t]->n_rows; i++) {
			const struct api_handler *h = &api->tables[t]->rows[i];
			size_t len = strlen(h->path);

			if (h->path[len - 1] == '/' ? strncmp(h->path, name, len) != 0 :
						      strcmp(h->path, name) != 0)
				continue;
			if (!h->method || strcmp(h->method, method) == 0)
				return h;
			*allowed = h->method;
		}
	}
	return NULL;
}

/* Browsers always send one of these; our clients send none (localapi 1). */
static bool is_from_browser(const struct http1 *h)
{
	const char *host = http1_get(h, "Host");

	if (host && *host && strcmp(host, "local-tailscaled.sock") != 0)
		return true;
	return http1_get(h, "Origin") || http1_get(h, "Referer");
}

/* Who changed what, and why if the caller says so (base64, as the stock program sends it). */
static void log_write(const struct conn *c, const char *path)
{
	const char *header = http1_get(&c->http, "X-Tailscale-Reason");
	char quoted[PREFVAL_QUOTE_MAX];
	uint8_t reason[REASON_MAX];
	size_t size = 0;

	if (header && sodium_base642bin(reason, sizeof(reason), header, strlen(header), NULL, &size, NULL,
					sodium_base64_VARIANT_ORIGINAL) != 0)
		size = 0;
	log_info(c->api->cfg.log, "api: uid %d pid %d: %s %s%s%s", (int)c->uid, (int)c->pid, c->http.method, path,
		 size ? ": " : "", size ? prefval_quote(quoted, (const char *)reason, size) : "");
}

static void call(struct conn *c, const struct api_handler *h)
{
	const struct api_req req = {
		.token = token_of(c),
		.method = c->is_head ? "GET" : c->http.method,
		.path = c->path + strlen(PREFIX),
		.http = &c->http,
		.body = bytes_data(&c->body),
		.body_size = bytes_size(&c->body),
		.uid = c->uid,
		.pid = c->pid,
		.may_write = may_write(c->api, c->uid),
		.is_root = is_root(c->uid),
	};

	if ((h->right == API_WRITE && !req.may_write) || (h->right == API_ROOT && !req.is_root)) {
		api_reply_text(c->api, req.token, 403,
			       h->right == API_ROOT ? "only root may do this\n" :
						      "write access denied\n");
		return;
	}
	if (strcmp(c->http.method, "GET") != 0 && strcmp(req.path, "ping") != 0)
		log_write(c, req.path);
	h->fn(c->api, &req);
}

static void dispatch(struct conn *c)
{
	const struct api_handler *h = NULL;
	const char *allowed = NULL, *method = c->http.method;
	char text[64];

	c->state = CONN_WAITING;
	c->is_head = strcmp(method, "HEAD") == 0;
	set_deadline(c, 0);
	if (is_from_browser(&c->http)) {
		respond(c, 403, "text/plain; charset=utf-8", "invalid localapi request\n", 25);
		return;
	}
	if (!http1_path(&c->http, c->path, sizeof(c->path)))
		c->path[0] = 0;
	if (strcmp(c->path, "/") == 0) {
		respond(c, 200, "text/plain; charset=utf-8", "meshd local API\n", 16);
		return;
	}
	if (strncmp(c->path, PREFIX, strlen(PREFIX)) == 0)
		h = lookup(c->api, c->is_head ? "GET" : method, c->path + strlen(PREFIX), &allowed);
	if (h) {
		call(c, h);
	} else if (allowed) {
		(void)snprintf(text, sizeof(text), "%s required\n", allowed);
		respond(c, 405, "text/plain; charset=utf-8", text, strlen(text));
	} else {
		respond(c, 404, "text/plain; charset=utf-8", "404 page not found\n", 19);
	}
}

/* A request that cannot be understood ends the connection. */
static void reject(struct conn *c, unsigned status, const char *text)
{
	c->state = CONN_WAITING;
	c->http.keep_alive = false;
	respond(c, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* One event of the parser. Returns false when parsing must stop for now. */
static bool on_event(struct conn *c, enum http1_event ev)
{
	const char *expect;

	switch (ev) {
	case HTTP1_MORE:
		return false;
	case HTTP1_HEAD:
		expect = http1_get(&c->http, "Expect");
		if (c->http.content_size > API_BODY_MAX) {
			reject(c, 413, "request body too large\n");
			return false;
		}
		if (expect && strcasecmp(expect, "100-continue") == 0 &&
		    bytes_append(&c->out, "HTTP/1.1 100 Continue\r\n\r\n", 25))
			conn_kill(c);
		return !c->is_dead;
	case HTTP1_BODY:
		if (bytes_append(&c->body, c->http.body, c->http.body_size))
			reject(c, 413, "request body too large\n");
		return !c->close_after && !c->is_dead;
	case HTTP1_END:
		dispatch(c);
		return c->state == CONN_READING && !c->close_after && !c->is_dead;
	case HTTP1_UPGRADE:
		c->http.keep_alive = false;
		if (http1_path(&c->http, c->path, sizeof(c->path)) && strcmp(c->path, PREFIX "dial") == 0)
			dispatch(c);
		else
			reject(c, 501, "feature not included in this build\n");
		return false;
	}
	return false;
}

/* Parses what is in 'in' until it is used up or a request waits for its answer. */
static void conn_feed(struct conn *c)
{
	while (takes_requests(c)) {
		enum http1_event ev = HTTP1_MORE;
		size_t used = 0;
		int err = http1_input(&c->http, bytes_data(&c->in), bytes_size(&c->in), &used, &ev);

		if (err == -ENOBUFS) {
			if (c->http.content_size > API_BODY_MAX || bytes_size(&c->body))
				reject(c, 413, "request body too large\n");
			else
				reject(c, 431, "request head too large\n");
			return;
		}
		if (err) {
			reject(c, 400, "400 Bad Request\n");
			return;
		}
		/* The event's body lies in 'in': it is dropped only afterwards. */
		if (!on_event(c, ev)) {
			bytes_consume(&c->in, used);
			return;
		}
		bytes_consume(&c->in, used);
	}
}

/* Sends, and handles what came while the answer before was sent. */
static void conn_work(struct conn *c)
{
	do {
		conn_feed(c);
		if (!c->is_dead)
			conn_flush(c);
	} while (takes_requests(c) && bytes_size(&c->in));
}

static bool conn_read(struct conn *c)
{
	uint8_t buf[READ_SIZE];
	ssize_t n = recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT);
	int err;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return false;
	if (c->state == CONN_READING && !bytes_size(&c->in) && !bytes_size(&c->body))
		set_deadline(c, REQUEST_S);
	err = bytes_append(&c->in, buf, (size_t)n);
	explicit_bzero(buf, (size_t)n); /* an auth key, perhaps */
	return err == 0;
}

static void conn_event(void *ctx, uint32_t events, struct mono now)
{
	struct conn *c = ctx;

	(void)now;
	c->in_event = true;
	if (events & (EPOLLHUP | EPOLLERR))
		c->is_dead = !(events & EPOLLIN) || c->state != CONN_READING;
	if (!c->is_dead && events & EPOLLIN) {
		if (conn_read(c))
			conn_feed(c);
		else if (bytes_size(&c->out))
			c->close_after = true; /* it sends no more, but may read yet */
		else
			c->is_dead = true;
	}
	if (!c->is_dead)
		conn_work(c);
	c->in_event = false;
	if (c->is_dead)
		conn_free(c);
}

/* --- edits in turn --- */

bool api_begin_edit(struct api *api, const struct api_req *req)
{
	struct conn *c = find(api, req->token);
	const char *allowed;

	if (!api->edit.id) {
		api->edit = req->token;
		return true;
	}
	assert(c); /* handlers run for live connections only */
	c->deferred = lookup(api, req->method, req->path, &allowed);
	return false;
}

static void run_deferred(struct api *api)
{
	for (size_t i = 0; i < API_CONNS_MAX && !api->edit.id && !api->is_stopping; i++) {
		struct conn *c = api->conns[i];
		const struct api_handler *h = c && !c->is_dead ? c->deferred : NULL;

		if (!h)
			continue;
		c->deferred = NULL;
		call(c, h); /* may free 'c' */
	}
}

/* --- the bus --- */

/* Appends one message as a chunk. */
static void stream_put(struct conn *c, const struct notify *n)
{
	struct bytes line = { 0 };
	int err = notify_write(&line, n);

	if (!err && bytes_size(&c->out) + bytes_size(&line) > STREAM_MAX)
		err = -ENOBUFS;
	if (!err)
		err = put_chunk(c, &line);
	bytes_wipe(&line);
	if (err)
		conn_kill(c);
	else if (!c->in_event)
		conn_flush(c);
}

void api_subscribe(struct api *api, struct api_token token, uint64_t mask)
{
	struct conn *c = find(api, token);

	if (!c || c->state != CONN_WAITING)
		return;
	c->state = CONN_STREAM;
	c->bus_mask = mask;
	set_deadline(c, 0);
	if (put_head(c, 200, "application/json", -1))
		conn_kill(c);
}

void api_notify_one(struct api *api, struct api_token token, const struct notify *n)
{
	struct conn *c = find(api, token);

	if (c && c->state == CONN_STREAM)
		stream_put(c, n);
}

void api_notify(struct api *api, const struct notify *n)
{
	for (size_t i = 0; i < API_CONNS_MAX; i++) {
		struct conn *c = api->conns[i];
		struct notify mine = *n;

		if (!c || c->is_dead || c->state != CONN_STREAM)
			continue;
		if (notify_reduce(&mine, c->bus_mask))
			stream_put(c, &mine);
	}
}

uint64_t api_bus_masks(const struct api *api, bool *any)
{
	uint64_t all = 0;

	*any = false;
	for (size_t i = 0; i < API_CONNS_MAX; i++) {
		const struct conn *c = api->conns[i];

		if (!c || c->is_dead || c->state != CONN_STREAM)
			continue;
		*any = true;
		all |= c->bus_mask;
	}
	return all;
}

/* --- life --- */

struct api *api_new(const struct api_cfg *cfg)
{
	struct api *api = calloc(1, sizeof(*api));

	if (!api)
		return NULL;
	api->cfg = *cfg;
	api->tables[api->n_tables++] = &api_core_table;
	api->tables[api->n_tables++] = &api_net_table;
	api->tables[api->n_tables++] = &api_meshd_table;
	api->tables[api->n_tables++] = &api_stock_table;
	return api;
}

void api_stop(struct api *api)
{
	if (!api)
		return;
	api->is_stopping = true;
	for (size_t i = 0; i < api->n_listeners; i++)
		unixlisten_close(&api->listeners[i]);
	api->n_listeners = 0;
}

void api_free(struct api *api)
{
	static const char text[] = "meshd is stopping\n";

	if (!api)
		return;
	api_stop(api);
	for (size_t i = 0; i < API_CONNS_MAX; i++) {
		if (api->conns[i] && api->conns[i]->state == CONN_WAITING)
			respond(api->conns[i], 503, "text/plain; charset=utf-8", text, sizeof(text) - 1);
		if (api->conns[i]) /* that was read but not sent, or has nothing to wait for */
			conn_free(api->conns[i]);
	}
	free(api);
}

int api_add_table(struct api *api, const struct api_table *table)
{
	if (api->n_tables == TABLES_MAX)
		return -ENOBUFS;
	api->tables[api->n_tables++] = table;
	return 0;
}

size_t api_n_conns(const struct api *api)
{
	return api->n_conns;
}

const struct api_backend *api_backend(const struct api *api)
{
	return api->cfg.backend;
}

void *api_coord(const struct api *api)
{
	return api->cfg.coord;
}

const char *api_query(const struct api_req *req, const char *name, char *buf, size_t size)
{
	return http1_query(req->http, name, buf, size) ? buf : NULL;
}
