/* SPDX-License-Identifier: MIT */
/* HTTP/2 (nghttp2) as bytes in, bytes out, for both sides of the control connection.
 *
 *   h2_input(bytes)  ->  h2_poll() events      requests, responses, body pieces, ends
 *   h2_request(), h2_respond(), h2_send()  ->  h2_output(): bytes for the wire
 *
 * The owner calls h2_output() after every other call until it gives nothing. Prior knowledge: the client's
 * preface and both sides' SETTINGS are there from the start. Flow control is handled inside: what arrived is
 * credited when the owner took it (h2_poll), on the stream and on the connection.
 *
 * Limits (RELIABILITY 5): H2_STREAMS_MAX streams, H2_HEADERS_MAX bytes of headers, H2_CONTINUATION_MAX
 * continuation frames, H2_RESETS_MAX resets (and as many pings and settings) per 10 s, bodies of 'body_max',
 * H2_MEMORY_MAX bytes held by one connection. A peer over a limit gets GOAWAY and h2_input() fails.
 * Owner: one thread. Spec: control-transport 7. */
#ifndef NETSTACK_CONTROL_H2_H
#define NETSTACK_CONTROL_H2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/mono.h"

enum {
	H2_STREAMS_MAX = 128,
	H2_HEADERS_MAX = 16 << 10,
	H2_CONTINUATION_MAX = 32,
	H2_RESETS_MAX = 200,
	H2_BODY_MAX = 1 << 20,
	H2_MEMORY_MAX = 4 << 20,
	H2_PATH_MAX = 512, /* longer request paths are answered 414 */
	H2_METHOD_MAX = 16,
};

enum h2_event_kind {
	H2_EV_REQUEST,  /* server: head and whole body of a request */
	H2_EV_RESPONSE, /* client: status line and headers */
	H2_EV_DATA,     /* client: a piece of the body */
	H2_EV_END,      /* client: the response is complete */
	H2_EV_CLOSED,   /* the stream was reset or refused, or (server) the client went away: 'code' */
	H2_EV_GOAWAY,   /* the peer takes no new streams: 'code'; running ones may still finish */
};

struct h2_event {
	enum h2_event_kind kind;
	int32_t stream;
	uint32_t code;          /* CLOSED, GOAWAY: HTTP/2 error code */
	uint16_t status;        /* RESPONSE */
	int64_t retry_after_s;  /* RESPONSE: Retry-After in seconds, or -1 (absent, or a date) */
	/* REQUEST: NUL-terminated. REQUEST and DATA: bytes. Borrowed until the next call on this h2. */
	const char *method;
	const char *path;
	const uint8_t *data;
	size_t size;
};

struct h2_header {
	const char *name; /* lower case */
	const char *value;
};

struct h2; /* about 40 KiB with nghttp2's state */

/* Null: out of memory. 'authority' (client) is the host of the control URL and is copied. */
MESH_MUST_USE struct h2 *h2_client_new(const char *authority);
MESH_MUST_USE struct h2 *h2_server_new(void);
void h2_free(struct h2 *h);

/* Takes plain bytes. Returns 0; -EBADMSG: protocol error or over a limit, h2_output() holds a GOAWAY, close
 * after sending it; -ENOMEM. Some protocol errors show only with the next h2_output(): ask h2_failed() then. */
MESH_MUST_USE int h2_input(struct h2 *h, struct mono now, const uint8_t *buf, size_t size);
/* The next event; false: none. */
bool h2_poll(struct h2 *h, struct h2_event *ev);
/* Appends what has to go out now to 'out', up to about 'max' bytes. Returns 0, -ENOMEM or -ENOBUFS. */
MESH_MUST_USE int h2_output(struct h2 *h, struct bytes *out, size_t max);
/* Is there something for h2_output()? */
bool h2_has_output(const struct h2 *h);

/* Client: sends a request; the body is copied. Returns a stream number > 0; -ENOBUFS: no more streams (too many,
 * or after GOAWAY); -ENOMEM. */
MESH_MUST_USE int32_t h2_request(struct h2 *h, const char *method, const char *path, const struct h2_header *hdrs,
				 size_t n_hdrs, const void *body, size_t size);
/* Server: begins the answer. With 'end' it is complete with 'body', else more follows by h2_send(). Returns 0;
 * -ENOENT: the stream is gone; -EPROTO: it was answered already; -ENOMEM. */
MESH_MUST_USE int h2_respond(struct h2 *h, int32_t stream, unsigned status, const char *content_type,
			     const void *body, size_t size, bool end);
/* Server: appends to the body; with 'end' it is complete. -ENOENT, -ENOMEM; -ENOBUFS: more than H2_MEMORY_MAX
 * would wait. */
MESH_MUST_USE int h2_send(struct h2 *h, int32_t stream, const void *data, size_t size, bool end);
/* Bytes given to h2_respond() and h2_send() that h2_output() has not taken yet (slow reader). */
size_t h2_pending(const struct h2 *h, int32_t stream);
/* Ends a stream early; no further event for it. Unknown streams are ignored. */
void h2_reset(struct h2 *h, int32_t stream, uint32_t code);
/* Tells the peer to open no new streams. */
void h2_goaway(struct h2 *h, uint32_t code);
/* Streams that are open now. */
size_t h2_streams(const struct h2 *h);
/* Is the connection beyond use? */
bool h2_failed(const struct h2 *h);
/* Static text of why h2_input() failed. */
const char *h2_reason(const struct h2 *h);

enum {
	H2_NO_ERROR = 0,
	H2_PROTOCOL_ERROR = 1,
	H2_INTERNAL_ERROR = 2,
	H2_REFUSED_STREAM = 7,
	H2_CANCEL = 8,
	H2_ENHANCE_YOUR_CALM = 11,
};

#endif
