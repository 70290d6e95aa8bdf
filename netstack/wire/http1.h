/* SPDX-License-Identifier: MIT */
/* HTTP/1.1 messages over a byte stream, both directions: the control connection's upgrade, DERP, our own
 * servers, the local API and its client. A packaged parser (llhttp, else http-parser) does the grammar; this
 * file bounds it, keeps the head and stops at the byte where an upgraded protocol begins.
 *
 * Use: http1_init(), then http1_input() in a loop with what is left of the received bytes until it says
 * HTTP1_MORE. For a whole exchange on one stream:
 *
 *	while (size > 0) {
 *		err = http1_input(h, p, size, &used, &ev);
 *		if (err)
 *			... answer 400 or close
 *		p += used, size -= used;              // the same bytes stay where they are meanwhile
 *		switch (ev) {
 *		case HTTP1_MORE: break;                       // size is 0 now
 *		case HTTP1_HEAD: ... h->method, h->target, h->status, http1_get(h, "Upgrade")
 *		case HTTP1_BODY: ... h->body, h->body_size    // borrowed from p
 *		case HTTP1_END:  ... message complete; the next byte starts another one
 *		case HTTP1_UPGRADE: ... p is the other protocol now; h takes no more input
 *		}
 *	}
 *
 * HTTP1_HEAD comes exactly once per message; then either HTTP1_UPGRADE, or any number of BODY and one END.
 * END may come with 'used' = 0. A request counts as an upgrade when it has an Upgrade header and
 * "Connection: upgrade"; a server that does not want it must answer and close. A response is one when its
 * status is 101. 1xx responses other than 101 are skipped.
 *
 * Bounds: head HTTP1_HEAD_MAX bytes, HTTP1_HEADERS_MAX headers, body 'body_max' bytes. No allocation: the
 * struct holds the head (about 10 KiB), so give it back after an upgrade. Any thread.
 * Page: netstack/wire/http1.md. */
#ifndef NETSTACK_WIRE_HTTP1_H
#define NETSTACK_WIRE_HTTP1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"

enum {
	HTTP1_HEAD_MAX = 8192,   /* target, header names and values together */
	HTTP1_HEADERS_MAX = 64,
	HTTP1_PARSER_SIZE = 160, /* room for either packaged parser */
};

enum http1_role {
	HTTP1_REQUESTS,  /* we are the server */
	HTTP1_RESPONSES, /* we are the client */
};

enum http1_event {
	HTTP1_MORE,    /* everything was consumed; nothing to report */
	HTTP1_HEAD,    /* request line or status line and all headers are there */
	HTTP1_BODY,    /* a piece of the body, chunked coding removed */
	HTTP1_END,     /* the message is complete */
	HTTP1_UPGRADE, /* what follows is another protocol */
};

struct http1_header {
	uint16_t name, value; /* offsets into 'text' of NUL-terminated strings */
};

struct http1 {
	/* Read by the caller from HTTP1_HEAD to the next message. */
	const char *method;    /* "GET"; "" for responses */
	const char *target;    /* as sent, with query; "" for responses */
	uint16_t status;       /* 0 for requests */
	bool keep_alive;       /* the connection may carry another message */
	bool is_upgrade;       /* HTTP1_UPGRADE follows */
	bool is_chunked;
	int64_t content_size;  /* Content-Length; -1 if absent */
	struct http1_header headers[HTTP1_HEADERS_MAX];
	uint16_t n_headers;
	/* With HTTP1_BODY: borrowed from the input. */
	const uint8_t *body;
	size_t body_size;
	/* Private. */
	uint64_t body_max, body_total;
	enum http1_role role;
	bool answers_head;  /* the response answers a HEAD request: no body whatever its headers say */
	bool in_message;    /* between its first byte and its end */
	bool name_done;     /* the name being collected is complete (llhttp says so) */
	bool skip;          /* an interim response: not reported */
	bool upgraded;      /* HTTP1_UPGRADE was given */
	uint8_t part;       /* what the last text in 'text' is */
	uint8_t found;      /* events found by the parser's callbacks and not given yet */
	uint8_t held;       /* bytes parsed but not yet said to be used */
	int err;            /* sticky */
	const char *reason;
	uint16_t text_used;
	char text[HTTP1_HEAD_MAX];
	uint8_t parser[HTTP1_PARSER_SIZE] MESH_ALIGNED(8);
};

/* Starts over for a new stream. 'body_max' limits each message's body. */
void http1_init(struct http1 *h, enum http1_role role, uint64_t body_max);
/* Client: the response that is awaited next answers a HEAD request. */
void http1_expect_head(struct http1 *h);
/* Consumes bytes up to and including the next event. '*used' bytes of 'buf' are done with; they are all of
 * them if '*ev' is HTTP1_MORE. Returns 0; -EBADMSG: not HTTP or against a rule (http1_reason() says which);
 * -ENOBUFS: head or body over its limit (answer 431 or 413); -EPROTO: input after an upgrade or an error. */
MESH_MUST_USE int http1_input(struct http1 *h, const uint8_t *buf, size_t size, size_t *used,
			      enum http1_event *ev);
/* The stream ended. Returns 0 with '*ev' HTTP1_END if that completes a response without a length, HTTP1_MORE
 * if no message was under way; -EBADMSG if one was cut. */
MESH_MUST_USE int http1_eof(struct http1 *h, enum http1_event *ev);
/* Why the last input was refused: static text. */
const char *http1_reason(const struct http1 *h);

/* First header of that name (any case), or null. */
const char *http1_get(const struct http1 *h, const char *name);
/* Does a header's comma-separated list contain 'token' (any case)? */
bool http1_has_token(const struct http1 *h, const char *name, const char *token);
/* The target's path part: copies it without query into 'path'; false if it does not fit. */
bool http1_path(const struct http1 *h, char *path, size_t cap);
/* Value of a query parameter, percent-decoded, into 'value'; false if absent, malformed or too long. */
bool http1_query(const struct http1 *h, const char *name, char *value, size_t cap);

/* Writers. Text that would break the head (control characters) sets w->bad. */
void http1_write_request(struct wr *w, const char *method, const char *target, const char *host);
/* "HTTP/1.1 200 OK"; unknown codes get the reason "Status". */
void http1_write_status(struct wr *w, unsigned status);
void http1_write_header(struct wr *w, const char *name, const char *value);
void http1_write_header_u64(struct wr *w, const char *name, uint64_t value);
void http1_write_end(struct wr *w); /* the empty line */
/* A whole small response: status, Content-Type (null: none), Content-Length, "Connection: close" if 'close',
 * empty line, body. */
void http1_write_answer(struct wr *w, unsigned status, const char *type, const void *body, size_t size,
			bool close);
/* Chunked coding: head of a chunk of 'size' > 0 bytes, which are followed by http1_write_chunk_end(). */
void http1_write_chunk(struct wr *w, size_t size);
void http1_write_chunk_end(struct wr *w);
void http1_write_last_chunk(struct wr *w);

#endif
