/* SPDX-License-Identifier: MIT */
/* Bounds, head storage and events around the packaged parser (http1_lib.h). The head's texts lie one behind the
 * other in h->text, each with its NUL. */
#include "config.h"

#include "wire/http1.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "wire/http1_lib.h"

static_assert(sizeof(http1_parser) <= HTTP1_PARSER_SIZE, "room for the parser");
static_assert(HTTP1_HEAD_MAX <= UINT16_MAX, "offsets are 16 bits");

/* What the text being collected is part of. */
enum part { PART_NONE, PART_TARGET, PART_NAME, PART_VALUE };

enum { FOUND_HEAD = 1, FOUND_BODY = 2, FOUND_END = 4 };

static struct http1 *self(http1_parser *p)
{
	return p->data;
}

static http1_parser *parser(struct http1 *h)
{
	return (http1_parser *)(void *)h->parser;
}

static int fail(struct http1 *h, int err, const char *reason)
{
	if (!h->err) {
		h->err = err;
		h->reason = reason;
	}
	return HTTP1_LIB_FAIL;
}

static int append(struct http1 *h, const char *p, size_t size)
{
	if (size > (size_t)HTTP1_HEAD_MAX - h->text_used)
		return fail(h, -ENOBUFS, "the head is too large");
	memcpy(h->text + h->text_used, p, size);
	h->text_used = (uint16_t)(h->text_used + size);
	return 0;
}

/* Ends the text being collected and begins the next. */
static int part_begin(struct http1 *h, enum part part)
{
	if (h->part == part)
		return 0;
	if (h->part != PART_NONE && append(h, "", 1) != 0)
		return HTTP1_LIB_FAIL;
	if (part == PART_NAME) {
		if (h->n_headers == HTTP1_HEADERS_MAX)
			return fail(h, -ENOBUFS, "too many headers");
		h->headers[h->n_headers++].name = h->text_used;
	} else if (part == PART_VALUE) {
		h->headers[h->n_headers - 1].value = h->text_used;
	}
	h->part = (uint8_t)part;
	return 0;
}

static int on_begin(http1_parser *p)
{
	struct http1 *h = self(p);

	h->part = PART_NONE;
	h->text_used = 0;
	h->n_headers = 0;
	h->method = h->target = "";
	h->status = 0;
	h->body_total = 0;
	h->skip = false;
	h->in_message = true;
	return 0;
}

static int on_url(http1_parser *p, const char *at, size_t len)
{
	struct http1 *h = self(p);

	return part_begin(h, PART_TARGET) || append(h, at, len) ? HTTP1_LIB_FAIL : 0;
}

/* After a value, or for the first header, a new header begins. */
static int on_field(http1_parser *p, const char *at, size_t len)
{
	struct http1 *h = self(p);

	/* A name straight after a name: the value between them was empty and never announced. */
	if (h->part == PART_NAME && h->name_done && part_begin(h, PART_VALUE) != 0)
		return HTTP1_LIB_FAIL;
	h->name_done = false;
	return part_begin(h, PART_NAME) || append(h, at, len) ? HTTP1_LIB_FAIL : 0;
}

static int on_value(http1_parser *p, const char *at, size_t len)
{
	struct http1 *h = self(p);

	if (h->part != PART_NAME && h->part != PART_VALUE)
		return fail(h, -EBADMSG, "a header without a name");
	h->name_done = false;
	return part_begin(h, PART_VALUE) || append(h, at, len) ? HTTP1_LIB_FAIL : 0;
}

#ifdef HAVE_LLHTTP
static int on_field_complete(http1_parser *p)
{
	self(p)->name_done = true;
	return 0;
}
#endif

static bool content_size(struct http1 *h)
{
	const char *text = http1_get(h, "Content-Length");
	int64_t v = 0;

	h->content_size = -1;
	if (!text)
		return true;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, *text - '0', &v))
			return false;
	}
	h->content_size = v;
	return true;
}

static int on_head(http1_parser *p)
{
	struct http1 *h = self(p);
	const bool requests = h->role == HTTP1_REQUESTS;

	if (h->part == PART_NAME && part_begin(h, PART_VALUE) != 0)
		return HTTP1_LIB_FAIL;
	if (part_begin(h, PART_NONE) != 0)
		return HTTP1_LIB_FAIL;
	if (p->http_major != 1 || p->http_minor > 1)
		return fail(h, -EBADMSG, "not HTTP/1.0 or HTTP/1.1");
	h->status = requests ? 0 : (uint16_t)p->status_code;
	h->skip = !requests && h->status >= 100 && h->status < 200 && h->status != 101;
	if (h->skip)
		return 0;
	h->method = requests ? http1_lib_method(p) : "";
	h->target = requests ? h->text : "";
	if (requests && strcmp(h->method, "CONNECT") == 0)
		return fail(h, -EBADMSG, "CONNECT is not served");
	if (!content_size(h))
		return fail(h, -EBADMSG, "a malformed Content-Length");
	h->keep_alive = http1_lib_keep_alive(p);
	h->is_chunked = http1_has_token(h, "Transfer-Encoding", "chunked");
	h->is_upgrade = http1_get(h, "Upgrade") && http1_has_token(h, "Connection", "upgrade") &&
			(requests || h->status == 101);
	/* The packaged parsers differ in what they take for the end of such an answer. */
	if (h->status == 101 && !h->is_upgrade)
		return fail(h, -EBADMSG, "a switch of protocols that names none");
	if (h->content_size > 0 && (uint64_t)h->content_size > h->body_max && !h->answers_head)
		return fail(h, -ENOBUFS, "the body is too large");
	if (h->answers_head)
		http1_lib_skip_body(p);
	h->answers_head = false;
	h->found |= FOUND_HEAD;
	return http1_lib_pause(p);
}

static int on_body(http1_parser *p, const char *at, size_t len)
{
	struct http1 *h = self(p);

	if (h->skip || len == 0)
		return 0;
	if (len > h->body_max - h->body_total)
		return fail(h, -ENOBUFS, "the body is too large");
	h->body_total += len;
	h->body = (const uint8_t *)at;
	h->body_size = len;
	h->found |= FOUND_BODY;
	return http1_lib_pause(p);
}

static int on_end(http1_parser *p)
{
	struct http1 *h = self(p);

	h->in_message = false;
	if (h->skip)
		return 0;
	h->found |= FOUND_END;
	return http1_lib_pause(p);
}

/* const would be right, but http-parser's callbacks and llhttp's init both take it so. */
static const http1_settings settings = {
	.on_message_begin = on_begin,
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
#ifdef HAVE_LLHTTP
	.on_header_field_complete = on_field_complete,
#endif
	.on_headers_complete = on_head,
	.on_body = on_body,
	.on_message_complete = on_end,
};

void http1_init(struct http1 *h, enum http1_role role, uint64_t body_max)
{
	/* The text needs no clearing: 'text_used' bounds it. */
	memset(h, 0, offsetof(struct http1, text));
	memset(h->parser, 0, sizeof(h->parser));
	h->role = role;
	h->body_max = body_max;
	h->method = h->target = "";
	http1_lib_init(parser(h), role == HTTP1_REQUESTS, &settings);
	parser(h)->data = h;
}

void http1_expect_head(struct http1 *h)
{
	h->answers_head = true;
}

/* One event out of what was found; at most one per run, because each callback pauses. */
static enum http1_event take_found(struct http1 *h)
{
	const uint8_t found = h->found;

	h->found = 0;
	if (found & FOUND_HEAD)
		return HTTP1_HEAD;
	if (found & FOUND_BODY)
		return HTTP1_BODY;
	if (!(found & FOUND_END))
		return HTTP1_MORE;
	h->upgraded = h->is_upgrade;
	return h->is_upgrade ? HTTP1_UPGRADE : HTTP1_END;
}

int http1_input(struct http1 *h, const uint8_t *buf, size_t size, size_t *used, enum http1_event *ev)
{
	const char *reason;
	size_t n = 0, done;

	*used = 0;
	*ev = HTTP1_MORE;
	if (h->err || h->upgraded)
		return h->err ? h->err : -EPROTO;
	if (size < h->held)
		return -EPROTO; /* not the bytes that were left */
	reason = http1_lib_run(parser(h), &settings, size ? buf + h->held : buf, size - h->held, &n);
	if (!h->err && reason)
		(void)fail(h, -EBADMSG, reason);
	if (h->err)
		return h->err;
	done = h->held + n;
	*ev = take_found(h);
	h->held = *ev == HTTP1_HEAD || *ev == HTTP1_BODY ? HTTP1_LIB_HOLD : 0;
	*used = done - h->held;
	return 0;
}

int http1_eof(struct http1 *h, enum http1_event *ev)
{
	const char *reason;

	*ev = HTTP1_MORE;
	if (h->err)
		return h->err;
	if (h->upgraded || !h->in_message)
		return 0;
	reason = http1_lib_finish(parser(h), &settings);
	if (reason || !(h->found & FOUND_END))
		(void)fail(h, -EBADMSG, "the stream ended inside a message");
	*ev = h->err ? HTTP1_MORE : take_found(h);
	return h->err;
}

const char *http1_reason(const struct http1 *h)
{
	return h->reason ? h->reason : "no error";
}

const char *http1_get(const struct http1 *h, const char *name)
{
	for (uint16_t i = 0; i < h->n_headers; i++)
		if (strcasecmp(h->text + h->headers[i].name, name) == 0)
			return h->text + h->headers[i].value;
	return NULL;
}

static bool list_has(const char *p, const char *token)
{
	const size_t len = strlen(token);

	while (*p) {
		size_t n;

		p += strspn(p, " \t,");
		n = strcspn(p, " \t,;");
		if (n == len && strncasecmp(p, token, len) == 0)
			return true;
		p += strcspn(p, ",");
	}
	return false;
}

bool http1_has_token(const struct http1 *h, const char *name, const char *token)
{
	for (uint16_t i = 0; i < h->n_headers; i++)
		if (strcasecmp(h->text + h->headers[i].name, name) == 0 &&
		    list_has(h->text + h->headers[i].value, token))
			return true;
	return false;
}

bool http1_path(const struct http1 *h, char *path, size_t cap)
{
	const size_t n = strcspn(h->target, "?#");

	if (n >= cap)
		return false;
	memcpy(path, h->target, n);
	path[n] = 0;
	return true;
}

static int hex_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool percent_decode(const char *p, const char *end, char *value, size_t cap)
{
	size_t n = 0;

	while (p < end) {
		char c = *p++;

		if (c == '+') {
			c = ' ';
		} else if (c == '%') {
			if (end - p < 2 || hex_of(p[0]) < 0 || hex_of(p[1]) < 0)
				return false;
			c = (char)(hex_of(p[0]) << 4 | hex_of(p[1]));
			p += 2;
		}
		if (c == 0 || n + 1 >= cap)
			return false;
		value[n++] = c;
	}
	value[n] = 0;
	return true;
}

bool http1_query(const struct http1 *h, const char *name, char *value, size_t cap)
{
	const char *p = h->target + strcspn(h->target, "?#");
	const size_t len = strlen(name);

	if (*p != '?' || cap == 0)
		return false;
	for (p++; *p && *p != '#';) {
		const char *end = p + strcspn(p, "&#");

		if ((size_t)(end - p) >= len && memcmp(p, name, len) == 0 && (p[len] == '=' || p + len == end))
			return percent_decode(p + len == end ? end : p + len + 1, end, value, cap);
		p = *end == '&' ? end + 1 : end;
	}
	return false;
}
