/* SPDX-License-Identifier: MIT */
/* Talking to the daemon: finding its socket, one request and its answer, or a stream of lines; and the
 * sentences for everything that can go wrong on the way (cli 0.2). */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "cli/cmd.h"

enum { CLIENT_REASON_MAX = 300 }; /* bytes of cli.reason */

struct client_reply {
	int status;            /* HTTP status */
	struct bytes body;     /* followed by a NUL that is not counted */
};

/* Sends one request and waits for the whole answer. 'path' is what follows /localapi/v0/ ("status?…").
 * 'timeout_ms' 0 = no limit.
 *
 * Returns EXIT_OK with '*r' filled, whatever the HTTP status; or an exit code after the error was
 * printed on stderr ('*r' is then empty). */
MESH_MUST_USE int client_request(struct cli *c, const char *method, const char *path, const void *body,
				 size_t size, int timeout_ms, struct client_reply *r);
void client_reply_wipe(struct client_reply *r);
/* EXIT_OK for 2xx; else prints what the answer says (its "Error" or "error" member, or the text),
 * with the hint for 403, and returns the exit code. */
MESH_MUST_USE int client_check(struct cli *c, const struct client_reply *r);
/* The error text of an answer in 'text' (cut). */
void client_error_text(const struct client_reply *r, char *text, size_t size);
/* Request and check in one. Prints on failure. */
MESH_MUST_USE int client_call(struct cli *c, const char *method, const char *path, const void *body,
			      size_t size, struct client_reply *r);
static inline int client_get(struct cli *c, const char *path, struct client_reply *r)
{
	return client_call(c, "GET", path, NULL, 0, r);
}

/* A stream of lines (the bus). */
struct client_stream;
/* Returns EXIT_OK, or an exit code after printing. */
MESH_MUST_USE int client_stream_open(struct cli *c, const char *path, struct client_stream **s);
/* The next line without its newline, borrowed until the next call. Returns 0; -ETIMEDOUT; -EPIPE (the
 * daemon closed); another negative errno. 'timeout_ms' < 0 = wait. */
MESH_MUST_USE int client_stream_line(struct client_stream *s, int timeout_ms, const char **line,
				     size_t *len);
void client_stream_close(struct client_stream *s);

/* Appends 'value' percent-encoded. */
void client_query_escape(struct bytes *to, const char *value);

#endif
