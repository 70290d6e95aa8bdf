/* SPDX-License-Identifier: MIT */
/* nghttp2 as bytes in, bytes out. nghttp2's callbacks only collect: what happened goes into a queue that the owner
 * polls, so nothing re-enters. */
#include "control/h2.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	MAGIC_SIZE = 24,       /* the client's preface */
	FRAME_HDR_SIZE = 9,
	STREAM_WINDOW = 1 << 20,
	CONNECTION_WINDOW = H2_MEMORY_MAX,
	COUNT_WINDOW_S = 10,   /* RELIABILITY 5: resets per 10 s */
	AUTHORITY_MAX = 300,
	QUEUE_MAX = 4096,      /* events; each costs its sender more bytes than it costs us */
};

struct stream {
	struct stream *next;
	int32_t id;
	/* Server: the request while it comes in. */
	char method[H2_METHOD_MAX];
	char path[H2_PATH_MAX];
	struct bytes in;
	/* Both: what goes out. */
	struct bytes out;
	size_t headers_size; /* bytes of header fields seen */
	int64_t retry_after_s;
	uint16_t status;
	bool out_end;     /* nothing follows behind 'out' */
	bool is_deferred; /* nghttp2 waits for h2_send() */
	bool is_known;    /* server: the owner got its request */
	bool is_answered; /* server: h2_respond() was called */
	bool is_ended;    /* client: END was queued; server: the last byte is out */
	bool is_refused;  /* a limit was passed: no event for it */
};

struct event {
	struct event *next;
	struct h2_event ev;
	size_t credit;       /* bytes of flow control to give back when it is taken */
	struct bytes data;
	char method[H2_METHOD_MAX];
	char path[H2_PATH_MAX];
};

struct h2 {
	nghttp2_session *session;
	bool is_server;
	bool failed;
	bool goaway_received;
	const char *reason;
	char authority[AUTHORITY_MAX];
	struct stream *streams;
	size_t n_streams;
	struct event *first, **last, *current;
	struct event *newest; /* last of the queue; null when it is empty */
	size_t n_events;
	size_t memory;       /* bytes in streams and events */
	/* The frame scanner, which counts what nghttp2 itself may not. */
	size_t magic_left;
	uint8_t hdr[FRAME_HDR_SIZE];
	size_t hdr_size, body_left;
	unsigned n_continuation;
	struct mono count_start;
	unsigned n_resets, n_pings, n_settings, n_empty;
};

static int fail(struct h2 *h, const char *reason, uint32_t code)
{
	if (!h->failed) {
		h->failed = true;
		h->reason = reason;
		(void)nghttp2_session_terminate_session(h->session, code);
	}
	return -EBADMSG;
}

/* --- events --- */

static struct event *queue(struct h2 *h, enum h2_event_kind kind, int32_t id)
{
	struct event *e;

	if (h->n_events >= QUEUE_MAX) {
		(void)fail(h, "too many events", NGHTTP2_ENHANCE_YOUR_CALM);
		return NULL;
	}
	e = calloc(1, sizeof(*e));
	if (!e) {
		(void)fail(h, "out of memory", NGHTTP2_INTERNAL_ERROR);
		return NULL;
	}
	e->ev.kind = kind;
	e->ev.stream = id;
	e->ev.retry_after_s = -1;
	*h->last = e;
	h->last = &e->next;
	h->newest = e;
	h->n_events++;
	return e;
}

static void event_free(struct h2 *h, struct event *e)
{
	if (!e)
		return;
	h->memory -= bytes_size(&e->data);
	bytes_wipe(&e->data);
	sodium_memzero(e->path, sizeof(e->path));
	free(e);
}

bool h2_poll(struct h2 *h, struct h2_event *ev)
{
	struct event *e = h->first;

	event_free(h, h->current);
	h->current = NULL;
	if (!e)
		return false;
	h->first = e->next;
	if (!h->first) {
		h->last = &h->first;
		h->newest = NULL;
	}
	h->n_events--;
	if (e->credit)
		(void)nghttp2_session_consume(h->session, e->ev.stream, e->credit);
	e->ev.method = e->method;
	e->ev.path = e->path;
	e->ev.data = bytes_data(&e->data);
	e->ev.size = bytes_size(&e->data);
	*ev = e->ev;
	h->current = e;
	return true;
}

/* --- streams --- */

/* Our own list: nghttp2 does not know a request before it has sent its headers. */
static struct stream *find(const struct h2 *h, int32_t id)
{
	struct stream *s = h->streams;

	while (s && s->id != id)
		s = s->next;
	return s;
}

static struct stream *stream_new(struct h2 *h, int32_t id)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->id = id;
	s->retry_after_s = -1;
	s->in.max = H2_BODY_MAX;
	s->out.max = H2_MEMORY_MAX;
	s->next = h->streams;
	h->streams = s;
	h->n_streams++;
	return s;
}

static void stream_free(struct h2 *h, struct stream *s)
{
	struct stream **p = &h->streams;

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	h->n_streams--;
	h->memory -= bytes_size(&s->in) + bytes_size(&s->out);
	bytes_wipe(&s->in);
	bytes_wipe(&s->out);
	free(s);
}

/* Ends a stream that passed a limit. */
static void refuse(struct h2 *h, struct stream *s, uint32_t code)
{
	s->is_refused = true;
	(void)nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, s->id, code);
}

/* --- nghttp2's callbacks --- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2 *h = user;
	struct stream *s;

	(void)session;
	if (!h->is_server || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	s = stream_new(h, frame->hd.stream_id);
	return s ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static bool is_name(const uint8_t *name, size_t size, const char *want)
{
	return size == strlen(want) && memcmp(name, want, size) == 0;
}

static bool copy_text(char *dst, size_t cap, const uint8_t *value, size_t size)
{
	if (size >= cap || memchr(value, 0, size))
		return false;
	memcpy(dst, value, size);
	dst[size] = 0;
	return true;
}

/* Decimal seconds; -1 for anything else, such as a date. */
static int64_t seconds(const uint8_t *p, size_t size)
{
	int64_t v = 0;

	if (size == 0 || size > 9)
		return -1;
	for (size_t i = 0; i < size; i++) {
		if (p[i] < '0' || p[i] > '9')
			return -1;
		v = 10 * v + (p[i] - '0');
	}
	return v;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
		     const uint8_t *value, size_t value_size, uint8_t flags, void *user)
{
	struct h2 *h = user;
	struct stream *s = find(h, frame->hd.stream_id);

	(void)session;
	(void)flags;
	if (!s)
		return 0;
	s->headers_size += name_size + value_size + 32; /* RFC 9113 6.5.2 counts so */
	if (s->headers_size > H2_HEADERS_MAX) {
		s->is_refused = true;
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	if (h->is_server && is_name(name, name_size, ":method") &&
	    !copy_text(s->method, sizeof(s->method), value, value_size))
		s->method[0] = 0;
	if (h->is_server && is_name(name, name_size, ":path") &&
	    !copy_text(s->path, sizeof(s->path), value, value_size))
		s->path[0] = 0;
	if (!h->is_server && is_name(name, name_size, ":status"))
		s->status = (uint16_t)(value_size == 3 ? seconds(value, 3) : 0);
	if (!h->is_server && is_name(name, name_size, "retry-after"))
		s->retry_after_s = seconds(value, value_size);
	return 0;
}

/* Server: the whole request is there. */
static void request_done(struct h2 *h, struct stream *s)
{
	struct event *e;

	if (s->is_refused || s->is_known)
		return;
	if (!s->path[0] || !s->method[0]) {
		s->is_refused = true;
		if (h2_respond(h, s->id, s->path[0] ? 405 : 414, NULL, NULL, 0, true) != 0)
			refuse(h, s, NGHTTP2_INTERNAL_ERROR);
		return;
	}
	e = queue(h, H2_EV_REQUEST, s->id);
	if (!e)
		return;
	s->is_known = true;
	memcpy(e->method, s->method, sizeof(e->method));
	memcpy(e->path, s->path, sizeof(e->path));
	e->data = s->in; /* the bytes change hands, the count stays */
	s->in = (struct bytes){ .max = H2_BODY_MAX };
}

static void response_head(struct h2 *h, struct stream *s)
{
	struct event *e;

	if (s->status < 200) { /* interim */
		s->headers_size = 0;
		return;
	}
	if (s->is_known)
		return; /* trailers */
	e = queue(h, H2_EV_RESPONSE, s->id);
	if (!e)
		return;
	s->is_known = true;
	e->ev.status = s->status;
	e->ev.retry_after_s = s->retry_after_s;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2 *h = user;
	struct stream *s = frame->hd.stream_id ? find(h, frame->hd.stream_id) : NULL;
	const bool is_end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	struct event *e;

	(void)session;
	if (frame->hd.type == NGHTTP2_GOAWAY) {
		h->goaway_received = true;
		e = queue(h, H2_EV_GOAWAY, 0);
		if (e)
			e->ev.code = frame->goaway.error_code;
	}
	if (!s || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
		return 0;
	if (h->is_server) {
		if (is_end)
			request_done(h, s);
		return 0;
	}
	if (frame->hd.type == NGHTTP2_HEADERS)
		response_head(h, s);
	if (is_end && s->is_known && !s->is_refused && queue(h, H2_EV_END, s->id))
		s->is_ended = true;
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t size, void *user)
{
	struct h2 *h = user;
	struct stream *s = find(h, id);
	struct event *e;

	(void)flags;
	if (!s || s->is_refused) {
		(void)nghttp2_session_consume(session, id, size);
		return 0;
	}
	h->memory += size;
	if (h->is_server) {
		/* Held here and bounded here: credit at once, or a body over the window would stall. */
		(void)nghttp2_session_consume(session, id, size);
		if (h->memory > H2_MEMORY_MAX || bytes_append(&s->in, data, size) != 0) {
			h->memory -= size;
			refuse(h, s, NGHTTP2_ENHANCE_YOUR_CALM);
		}
		return 0;
	}
	e = h->newest; /* pieces that nobody has seen yet are one piece */
	if (!e || e->ev.kind != H2_EV_DATA || e->ev.stream != id)
		e = queue(h, H2_EV_DATA, id);
	if (!e || bytes_append(&e->data, data, size) != 0) {
		h->memory -= size;
		(void)fail(h, "out of memory", NGHTTP2_INTERNAL_ERROR);
		return 0;
	}
	e->credit += size;
	return 0;
}

/* The stream is over. The owner is told unless the exchange was complete, or it never knew the stream. */
static void stream_over(struct h2 *h, struct stream *s, uint32_t code)
{
	const bool tell = h->is_server ? s->is_known && !s->is_ended : !s->is_ended;
	struct event *e = tell ? queue(h, H2_EV_CLOSED, s->id) : NULL;

	if (e)
		e->ev.code = s->is_refused ? NGHTTP2_ENHANCE_YOUR_CALM : code;
	stream_free(h, s);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct stream *s = find(user, id);

	(void)session;
	if (s)
		stream_over(user, s, code);
	return 0;
}

/* A request that could not go out, after GOAWAY for instance. */
static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
	struct stream *s = find(user, frame->hd.stream_id);

	(void)session;
	(void)error;
	if (s && frame->hd.type == NGHTTP2_HEADERS)
		stream_over(user, s, NGHTTP2_REFUSED_STREAM);
	return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct h2 *h = user;

	(void)session;
	if (frame->hd.type == NGHTTP2_RST_STREAM)
		h->n_resets++; /* made by the peer's errors, or by our own h2_reset(), which is rare */
	if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR && !h->failed) {
		h->failed = true;
		h->reason = "HTTP/2 protocol error";
	}
	return 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t cap, uint32_t *flags,
		       nghttp2_data_source *source, void *user)
{
	struct h2 *h = user;
	struct stream *s = find(h, id);
	size_t n;

	(void)session;
	(void)source;
	if (!s)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = bytes_size(&s->out);
	if (n == 0 && !s->out_end) {
		s->is_deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	n = n < cap ? n : cap;
	if (n)
		memcpy(buf, bytes_data(&s->out), n);
	bytes_consume(&s->out, n);
	h->memory -= n;
	if (s->out_end && bytes_size(&s->out) == 0) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (h->is_server)
			s->is_ended = true;
	}
	return (ssize_t)n;
}

/* --- life --- */

static int make_session(struct h2 *h)
{
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *opt = NULL;
	int err = -ENOMEM;

	if (nghttp2_session_callbacks_new(&cb) != 0 || nghttp2_option_new(&opt) != 0)
		goto out;
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
	nghttp2_option_set_no_auto_window_update(opt, 1);
	/* Streams that are over need not be remembered: nobody here depends on priorities. */
	nghttp2_option_set_no_closed_streams(opt, 1);
	if (h->is_server)
		err = nghttp2_session_server_new2(&h->session, cb, h, opt) ? -ENOMEM : 0;
	else
		err = nghttp2_session_client_new2(&h->session, cb, h, opt) ? -ENOMEM : 0;
out:
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(opt);
	return err;
}

static int send_settings(struct h2 *h)
{
	const nghttp2_settings_entry client[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEADERS_MAX },
	};
	const nghttp2_settings_entry server[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEADERS_MAX },
	};

	if (nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, h->is_server ? server : client, 3) != 0 ||
	    nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW) != 0)
		return -ENOMEM;
	return 0;
}

static struct h2 *make(bool is_server, const char *authority)
{
	struct h2 *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->is_server = is_server;
	h->magic_left = is_server ? MAGIC_SIZE : 0;
	h->last = &h->first;
	(void)snprintf(h->authority, sizeof(h->authority), "%s", authority);
	if (make_session(h) != 0 || send_settings(h) != 0) {
		h2_free(h);
		return NULL;
	}
	return h;
}

struct h2 *h2_client_new(const char *authority)
{
	return make(false, authority);
}

struct h2 *h2_server_new(void)
{
	return make(true, "");
}

void h2_free(struct h2 *h)
{
	if (!h)
		return;
	while (h->streams)
		stream_free(h, h->streams);
	while (h->first) {
		struct event *e = h->first;

		h->first = e->next;
		event_free(h, e);
	}
	event_free(h, h->current);
	nghttp2_session_del(h->session);
	free(h);
}

/* --- input --- */

static void count_frame(struct h2 *h)
{
	const uint8_t type = h->hdr[3], flags = h->hdr[4];

	h->n_continuation = type == NGHTTP2_CONTINUATION ? h->n_continuation + 1 : 0;
	h->n_resets += type == NGHTTP2_RST_STREAM;
	h->n_pings += type == NGHTTP2_PING;
	h->n_settings += type == NGHTTP2_SETTINGS;
	h->n_empty += (type == NGHTTP2_DATA && h->body_left == 0 && !(flags & NGHTTP2_FLAG_END_STREAM)) ||
		      type == NGHTTP2_PRIORITY;
}

static bool over_limit(const struct h2 *h)
{
	return h->n_continuation > H2_CONTINUATION_MAX || h->n_resets > H2_RESETS_MAX ||
	       h->n_pings > H2_RESETS_MAX || h->n_settings > H2_RESETS_MAX || h->n_empty > H2_RESETS_MAX;
}

/* Follows the frame borders and counts. */
static void scan(struct h2 *h, const uint8_t *p, size_t size)
{
	for (size_t at = 0; at < size && !over_limit(h);) {
		size_t *left = h->magic_left ? &h->magic_left : &h->body_left;

		if (*left) {
			const size_t n = *left < size - at ? *left : size - at;

			*left -= n;
			at += n;
			continue;
		}
		h->hdr[h->hdr_size++] = p[at++];
		if (h->hdr_size < FRAME_HDR_SIZE)
			continue;
		h->hdr_size = 0;
		h->body_left = (size_t)h->hdr[0] << 16 | (size_t)h->hdr[1] << 8 | h->hdr[2];
		count_frame(h);
	}
}

int h2_input(struct h2 *h, struct mono now, const uint8_t *buf, size_t size)
{
	ssize_t n;

	if (h->failed)
		return -EBADMSG;
	if (mono_since_ns(now, h->count_start) > COUNT_WINDOW_S * NS_PER_S) {
		h->count_start = now;
		h->n_resets = h->n_pings = h->n_settings = h->n_empty = 0;
	}
	scan(h, buf, size);
	if (over_limit(h))
		return fail(h, "flood of HTTP/2 control frames", NGHTTP2_ENHANCE_YOUR_CALM);
	n = nghttp2_session_mem_recv(h->session, buf, size);
	if (h->failed)
		return -EBADMSG;
	if (n == NGHTTP2_ERR_NOMEM)
		return -ENOMEM;
	if (n < 0)
		return fail(h, nghttp2_strerror((int)n), NGHTTP2_PROTOCOL_ERROR);
	if (!nghttp2_session_want_read(h->session) && !h->goaway_received)
		return fail(h, "HTTP/2 protocol error", NGHTTP2_PROTOCOL_ERROR);
	return 0;
}

/* --- output --- */

int h2_output(struct h2 *h, struct bytes *out, size_t max)
{
	const size_t before = bytes_size(out);

	while (bytes_size(out) - before < max) {
		const uint8_t *p;
		const ssize_t n = nghttp2_session_mem_send(h->session, &p);
		int err;

		if (n < 0)
			return -ENOMEM;
		if (n == 0)
			break;
		err = bytes_append(out, p, (size_t)n);
		if (err)
			return err;
	}
	return 0;
}

bool h2_has_output(const struct h2 *h)
{
	return nghttp2_session_want_write(h->session) != 0;
}

/* A header field that nghttp2 copies. */
static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name,
			     .value = (uint8_t *)(uintptr_t)value,
			     .namelen = strlen(name),
			     .valuelen = strlen(value),
			     .flags = NGHTTP2_NV_FLAG_NONE };
}

static int queue_out(struct h2 *h, struct stream *s, const void *data, size_t size)
{
	int err;

	if (size > (size_t)H2_MEMORY_MAX - (h->memory < H2_MEMORY_MAX ? h->memory : H2_MEMORY_MAX))
		return -ENOBUFS;
	err = bytes_append(&s->out, data, size);
	if (!err)
		h->memory += size;
	return err;
}

int32_t h2_request(struct h2 *h, const char *method, const char *path, const struct h2_header *hdrs, size_t n_hdrs,
		   const void *body, size_t size)
{
	enum { FIXED = 5, EXTRA = 8 };
	const nghttp2_data_provider provider = { .read_callback = on_read };
	nghttp2_nv list[FIXED + EXTRA];
	char length[24];
	size_t n = 0;
	struct stream *s;
	int32_t id;

	if (h->failed || !nghttp2_session_check_request_allowed(h->session) || h->n_streams >= H2_STREAMS_MAX)
		return -ENOBUFS;
	list[n++] = nv(":method", method);
	list[n++] = nv(":scheme", "https");
	list[n++] = nv(":authority", h->authority);
	list[n++] = nv(":path", path);
	(void)snprintf(length, sizeof(length), "%zu", size);
	if (size)
		list[n++] = nv("content-length", length);
	for (size_t i = 0; i < n_hdrs && i < EXTRA; i++)
		list[n++] = nv(hdrs[i].name, hdrs[i].value);
	s = stream_new(h, 0);
	if (!s)
		return -ENOMEM;
	s->out_end = true;
	if (size && queue_out(h, s, body, size) != 0) {
		stream_free(h, s);
		return -ENOMEM;
	}
	id = nghttp2_submit_request(h->session, NULL, list, n, size ? &provider : NULL, NULL);
	if (id < 0) {
		stream_free(h, s);
		return id == NGHTTP2_ERR_NOMEM ? -ENOMEM : -ENOBUFS;
	}
	s->id = id;
	return id;
}

int h2_respond(struct h2 *h, int32_t stream, unsigned status, const char *content_type, const void *body, size_t size,
	       bool end)
{
	const nghttp2_data_provider provider = { .read_callback = on_read };
	struct stream *s = find(h, stream);
	const bool has_body = s && (size > 0 || !end) && strcmp(s->method, "HEAD") != 0;
	nghttp2_nv list[3];
	char code[8], length[24];
	size_t n = 0;
	int err;

	if (!s)
		return -ENOENT;
	if (s->is_answered)
		return -EPROTO;
	(void)snprintf(code, sizeof(code), "%u", status % 1000);
	list[n++] = nv(":status", code);
	if (content_type)
		list[n++] = nv("content-type", content_type);
	(void)snprintf(length, sizeof(length), "%zu", size);
	if (end)
		list[n++] = nv("content-length", length);
	if (has_body && size > 0) {
		err = queue_out(h, s, body, size);
		if (err)
			return err;
	}
	s->out_end = end;
	s->is_answered = true;
	s->is_ended = !has_body;
	return nghttp2_submit_response(h->session, stream, list, n, has_body ? &provider : NULL) ? -ENOMEM : 0;
}

int h2_send(struct h2 *h, int32_t stream, const void *data, size_t size, bool end)
{
	struct stream *s = find(h, stream);
	int err = 0;

	if (!s || !s->is_answered || s->out_end)
		return -ENOENT;
	if (size)
		err = queue_out(h, s, data, size);
	if (err)
		return err;
	s->out_end = end;
	if (s->is_deferred) {
		s->is_deferred = false;
		(void)nghttp2_session_resume_data(h->session, stream);
	}
	return 0;
}

size_t h2_pending(const struct h2 *h, int32_t stream)
{
	const struct stream *s = find(h, stream);

	return s ? bytes_size(&s->out) : 0;
}

void h2_reset(struct h2 *h, int32_t stream, uint32_t code)
{
	struct stream *s = find(h, stream);
	struct event **p = &h->first;

	h->newest = NULL;
	/* Nothing that is queued for it may come any more; its bytes are credited as if taken. */
	while (*p) {
		struct event *e = *p;

		if (e->ev.stream != stream) {
			h->newest = e;
			p = &e->next;
			continue;
		}
		*p = e->next;
		h->n_events--;
		if (e->credit)
			(void)nghttp2_session_consume(h->session, stream, e->credit);
		event_free(h, e);
	}
	h->last = p;
	if (!s)
		return;
	(void)nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, stream, code);
	stream_free(h, s);
}

void h2_goaway(struct h2 *h, uint32_t code)
{
	(void)nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
				    nghttp2_session_get_last_proc_stream_id(h->session), code, NULL, 0);
}

bool h2_failed(const struct h2 *h)
{
	return h->failed;
}

size_t h2_streams(const struct h2 *h)
{
	return h->n_streams;
}

const char *h2_reason(const struct h2 *h)
{
	return h->reason ? h->reason : "no error";
}
