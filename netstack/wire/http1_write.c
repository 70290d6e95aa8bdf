/* SPDX-License-Identifier: MIT */
/* HTTP/1.1 heads and chunk borders as text. */
#include <stdio.h>
#include <string.h>

#include "wire/http1.h"

static void put(struct wr *w, const char *text)
{
	wr_bytes(w, text, strlen(text));
}

/* Text that would end a line, or the whole head, must not get in: it would be a second message. */
static void put_checked(struct wr *w, const char *text, char lowest)
{
	for (const char *p = text; *p; p++)
		if ((*p < lowest && *p != '\t' && *p >= 0) || *p == 0x7f)
			w->bad = true;
	put(w, text);
}

void http1_write_request(struct wr *w, const char *method, const char *target, const char *host)
{
	put_checked(w, method, '!');
	put(w, " ");
	put_checked(w, target, '!');
	put(w, " HTTP/1.1\r\n");
	http1_write_header(w, "Host", host);
}

static const char *status_text(unsigned status)
{
	static const struct {
		uint16_t status;
		const char *text;
	} names[] = {
		{ 100, "Continue" },
		{ 101, "Switching Protocols" },
		{ 200, "OK" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 301, "Moved Permanently" },
		{ 302, "Found" },
		{ 304, "Not Modified" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 409, "Conflict" },
		{ 411, "Length Required" },
		{ 412, "Precondition Failed" },
		{ 413, "Content Too Large" },
		{ 414, "URI Too Long" },
		{ 415, "Unsupported Media Type" },
		{ 417, "Expectation Failed" },
		{ 426, "Upgrade Required" },
		{ 429, "Too Many Requests" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].status == status)
			return names[i].text;
	return "Status";
}

void http1_write_status(struct wr *w, unsigned status)
{
	char line[64];

	if (status < 100 || status > 999)
		w->bad = true;
	(void)snprintf(line, sizeof(line), "HTTP/1.1 %u %s\r\n", status % 1000, status_text(status));
	put(w, line);
}

void http1_write_header(struct wr *w, const char *name, const char *value)
{
	put_checked(w, name, '!');
	put(w, ": ");
	put_checked(w, value, ' ');
	put(w, "\r\n");
}

void http1_write_header_u64(struct wr *w, const char *name, uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	http1_write_header(w, name, text);
}

void http1_write_end(struct wr *w)
{
	put(w, "\r\n");
}

void http1_write_answer(struct wr *w, unsigned status, const char *type, const void *body, size_t size, bool close)
{
	http1_write_status(w, status);
	if (type)
		http1_write_header(w, "Content-Type", type);
	http1_write_header_u64(w, "Content-Length", size);
	if (close)
		http1_write_header(w, "Connection", "close");
	http1_write_end(w);
	wr_bytes(w, body, size);
}

void http1_write_chunk(struct wr *w, size_t size)
{
	char line[24];

	/* A chunk of 0 bytes would end the body. */
	if (size == 0)
		w->bad = true;
	(void)snprintf(line, sizeof(line), "%zx\r\n", size);
	put(w, line);
}

void http1_write_chunk_end(struct wr *w)
{
	put(w, "\r\n");
}

void http1_write_last_chunk(struct wr *w)
{
	put(w, "0\r\n\r\n");
}
