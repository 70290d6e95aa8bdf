/* SPDX-License-Identifier: MIT */
/* The packaged HTTP/1 parser behind http1.c: llhttp where the release has it, else its ancestor http-parser.
 * Both are driven alike: a callback that found something asks to pause, and http1_lib_run() says how many bytes
 * are done with. Private to http1.c. */
#ifndef NETSTACK_WIRE_HTTP1_LIB_H
#define NETSTACK_WIRE_HTTP1_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef HAVE_LLHTTP
#include <llhttp.h>

typedef llhttp_t http1_parser;
typedef llhttp_settings_t http1_settings;

enum {
	HTTP1_LIB_PAUSE = HPE_PAUSED, /* what a callback returns to stop after it */
	HTTP1_LIB_FAIL = -1,
	/* An event may be found without consuming a byte: the caller must come back with at least one. */
	HTTP1_LIB_HOLD = 1,
};

static inline void http1_lib_init(http1_parser *p, bool requests, const http1_settings *settings)
{
	llhttp_init(p, requests ? HTTP_REQUEST : HTTP_RESPONSE, settings);
}

static inline const char *http1_lib_method(const http1_parser *p)
{
	return llhttp_method_name((llhttp_method_t)p->method);
}

static inline bool http1_lib_keep_alive(const http1_parser *p)
{
	return llhttp_should_keep_alive(p) != 0;
}

static inline void http1_lib_skip_body(http1_parser *p)
{
	p->flags |= F_SKIPBODY;
}

/* Parses; '*used' gets the bytes done with. Null, or the reason of a failure. */
static inline const char *http1_lib_run(http1_parser *p, const http1_settings *settings, const uint8_t *buf,
					size_t size, size_t *used)
{
	enum llhttp_errno err;

	(void)settings;
	if (llhttp_get_errno(p) == HPE_PAUSED)
		llhttp_resume(p);
	err = llhttp_execute(p, (const char *)buf, size);
	*used = err == HPE_OK ? size : (size_t)(llhttp_get_error_pos(p) - (const char *)buf);
	if (err == HPE_OK || err == HPE_PAUSED || err == HPE_PAUSED_UPGRADE)
		return NULL;
	return llhttp_get_error_reason(p) ? llhttp_get_error_reason(p) : llhttp_errno_name(err);
}

static inline const char *http1_lib_finish(http1_parser *p, const http1_settings *settings)
{
	enum llhttp_errno err;

	(void)settings;
	if (llhttp_get_errno(p) == HPE_PAUSED)
		llhttp_resume(p);
	err = llhttp_finish(p);
	return err == HPE_OK || err == HPE_PAUSED ? NULL : llhttp_errno_name(err);
}
#else
#include <http_parser.h>

typedef http_parser http1_parser;
typedef http_parser_settings http1_settings;

enum {
	HTTP1_LIB_PAUSE = 0, /* the callback calls http1_lib_pause() itself */
	HTTP1_LIB_FAIL = -1,
	HTTP1_LIB_HOLD = 0, /* the byte behind which an event was found is left to be read again */
};

static inline void http1_lib_init(http1_parser *p, bool requests, const http1_settings *settings)
{
	(void)settings;
	http_parser_init(p, requests ? HTTP_REQUEST : HTTP_RESPONSE);
}

static inline const char *http1_lib_method(const http1_parser *p)
{
	return http_method_str((enum http_method)p->method);
}

static inline bool http1_lib_keep_alive(const http1_parser *p)
{
	return http_should_keep_alive(p) != 0;
}

static inline void http1_lib_skip_body(http1_parser *p)
{
	p->flags |= F_SKIPBODY;
}

static inline const char *http1_lib_run(http1_parser *p, const http1_settings *settings, const uint8_t *buf,
					size_t size, size_t *used)
{
	if (HTTP_PARSER_ERRNO(p) == HPE_PAUSED)
		http_parser_pause(p, 0);
	*used = size ? http_parser_execute(p, settings, (const char *)buf, size) : 0;
	if (HTTP_PARSER_ERRNO(p) == HPE_OK || HTTP_PARSER_ERRNO(p) == HPE_PAUSED)
		return NULL;
	return http_errno_description(HTTP_PARSER_ERRNO(p));
}

static inline const char *http1_lib_finish(http1_parser *p, const http1_settings *settings)
{
	if (HTTP_PARSER_ERRNO(p) == HPE_PAUSED)
		http_parser_pause(p, 0);
	(void)http_parser_execute(p, settings, "", 0);
	if (HTTP_PARSER_ERRNO(p) == HPE_OK || HTTP_PARSER_ERRNO(p) == HPE_PAUSED)
		return NULL;
	return http_errno_description(HTTP_PARSER_ERRNO(p));
}
#endif

/* To be returned from a callback: stop behind what was just found. */
static inline int http1_lib_pause(http1_parser *p)
{
#ifndef HAVE_LLHTTP
	http_parser_pause(p, 1);
#else
	(void)p;
#endif
	return HTTP1_LIB_PAUSE;
}

#endif
