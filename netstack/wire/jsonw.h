/* SPDX-License-Identifier: MIT */
/* Ordered JSON writer with the byte-exact layout of Go's encoding/json, because scripts and the stock
 * command line read our answers: keys in the order written, "key": value when indented, {} and []
 * when empty, <, > and & escaped, invalid UTF-8 replaced by U+FFFD.
 *
 * Errors (memory, size limit of the queue) are sticky: one look at jsonw_done() covers a document. */
#ifndef NETSTACK_WIRE_JSONW_H
#define NETSTACK_WIRE_JSONW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/compiler.h"

enum { JSONW_DEPTH_MAX = 48 };

struct jsonw {
	struct bytes *out;  /* borrowed */
	const char *indent; /* per level; null = everything on one line */
	unsigned depth;     /* open containers */
	bool is_empty;      /* nothing was written into the innermost container */
	bool after_key;     /* the next value belongs to a key */
	int err;            /* sticky: 0, -ENOMEM, -ENOBUFS */
};

/* Writes to the tail of 'out'. 'indent' is null, "  " or "\t". */
void jsonw_init(struct jsonw *w, struct bytes *out, const char *indent);
/* 0 if everything was written and every container was closed, else a negative errno. */
MESH_MUST_USE int jsonw_done(const struct jsonw *w);

void jsonw_object(struct jsonw *w);
void jsonw_object_end(struct jsonw *w);
void jsonw_array(struct jsonw *w);
void jsonw_array_end(struct jsonw *w);
/* The key of the next value. */
void jsonw_key(struct jsonw *w, const char *key);

/* Values. A null 'text' is the empty string. */
void jsonw_str(struct jsonw *w, const char *text);
void jsonw_strn(struct jsonw *w, const char *text, size_t len);
void jsonw_bool(struct jsonw *w, bool v);
void jsonw_i64(struct jsonw *w, int64_t v);
void jsonw_u64(struct jsonw *w, uint64_t v);
/* Shortest decimal text that reads back as 'v', in Go's notation; not finite gives null. */
void jsonw_f64(struct jsonw *w, double v);
void jsonw_null(struct jsonw *w);
/* RFC 3339 in UTC with up to nine digits; 0 gives Go's zero time "0001-01-01T00:00:00Z". */
void jsonw_time(struct jsonw *w, int64_t unix_ns);
/* A complete JSON text, laid out anew in this writer's style. Not JSON (or too deep): null. */
void jsonw_raw(struct jsonw *w, const char *json, size_t len);

/* Key and value in one. */
void jsonw_kstr(struct jsonw *w, const char *key, const char *text);
void jsonw_kbool(struct jsonw *w, const char *key, bool v);
void jsonw_ki64(struct jsonw *w, const char *key, int64_t v);
void jsonw_kf64(struct jsonw *w, const char *key, double v);

/* RFC 3339 text of a wall time, and back. The zero time is 0 both ways. Years 1 to 9999. */
enum { RFC3339_TEXT_MAX = 40 };
char *jsonw_rfc3339(char text[static RFC3339_TEXT_MAX], int64_t unix_ns);
/* Returns 0 or -EBADMSG. Times outside what 64-bit nanoseconds hold are clamped. */
MESH_MUST_USE int jsonw_rfc3339_parse(int64_t *unix_ns, const char *text);

#endif
