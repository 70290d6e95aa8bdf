/* SPDX-License-Identifier: MIT */
/* JSON as hostile input: one pass before cJSON, typed getters after it, and a text writer.
 *
 * cJSON alone recurses, keeps numbers as doubles (64-bit ids lose digits) and needs over 40 MB for a map of
 * 10,000 peers. So every text goes through json_check() first, which is not recursive and bounds depth and
 * sizes. json_parse() then gives cJSON a prepared copy: comments and trailing commas blanked (HuJSON),
 * integers of more than 15 digits quoted (json_i64() reads both forms exactly), escaped NULs, lone surrogates
 * and bytes that are not UTF-8 replaced. Large texts are never one tree: json_iter walks the checked text,
 * and only one element at a time becomes a tree (json_tree).
 *
 * Reading a tree: a 'struct json_in' remembers the first wrong field, so that a codec reads all fields and
 * asks once. An absent member and null are the same to every getter and give the documented default; a member
 * of another type is an error. Names are case-sensitive, unknown ones are ignored.
 *
 * Writing: 'struct json_w' appends text to a buffer; its error is sticky and json_w_take() reports it.
 * Any thread. Page: netstack/wire/json.md. */
#ifndef NETSTACK_WIRE_JSON_H
#define NETSTACK_WIRE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cjson/cJSON.h>

#include "base/bytes.h"
#include "base/compiler.h"
#include "base/key.h"

enum {
	JSON_DEPTH_MAX = 64,        /* nested objects and arrays */
	JSON_STRING_MAX = 1 << 20,  /* bytes of one string or number, as written */
	JSON_TEXT_MAX = 64 << 20,   /* bytes of a whole text */
};

/* First byte of the text that stands for an integer of more than 15 digits in a tree (as a string); no other
 * string of a tree is to begin with it, and the getters tell both apart. */
#define JSON_BIG_MARK "\001"

enum json_flags {
	JSON_HUJSON = 1, /* comments and trailing commas are allowed */
	JSON_UNIQUE = 2, /* an object that names a member twice is an error */
};

/* Where and why a text is refused. */
struct json_err {
	const char *reason; /* static text, lower case: "expected a comma or '}'" */
	size_t offset;      /* of the byte that could not be accepted */
	uint32_t line, col; /* 1-based; the column counts bytes */
};

/* A piece of a checked text: one value (or a member name without its quotes), borrowed. */
struct json_span {
	const char *p;
	size_t size;
};

/* -ENOMEM if that is what refused the text, else -EBADMSG: it is wrong. */
int json_err_code(const struct json_err *e);

/* Checks that 'text' is exactly one JSON value within the limits. Returns 0; -EBADMSG and '*err' (may be
 * null) if not; -ENOMEM (JSON_UNIQUE only). */
MESH_MUST_USE int json_check(const char *text, size_t size, unsigned flags, struct json_err *err);

/* The same, and whether cJSON may have the text as it is, for json_tree_prepared(): no escapes, no bytes beyond ASCII,
 * no numbers of many digits, no HuJSON. As a rule it may. */
MESH_MUST_USE int json_check_prepared(const char *text, size_t size, unsigned flags, struct json_err *err,
				      bool *is_prepared);

/* json_check(), then a tree. Null on failure with '*err' (may be null) filled; out of memory has the reason
 * "out of memory" at offset 0. Free with cJSON_Delete(). */
MESH_MUST_USE cJSON *json_parse(const char *text, size_t size, unsigned flags, struct json_err *err);

/* The tree of one span of a checked text; null: out of memory. */
MESH_MUST_USE cJSON *json_tree(struct json_span value);
/* The same without a copy on the way, for a text that json_check_prepared() said so of. */
MESH_MUST_USE cJSON *json_tree_prepared(struct json_span value);

/* Line and column (1-based) of an offset. */
void json_position(const char *text, size_t size, size_t offset, uint32_t *line, uint32_t *col);

/* Bytes from 'p' on that stand in a string as they are, in any direction: ASCII without control characters, quotes,
 * backslashes and what the writer escapes. The others need a look. */
size_t json_plain(const char *p, const char *end);

/* Bytes of the UTF-8 character at 'p' and its code point; 0 if what is there is none. 'p' < 'end'. */
size_t json_utf8(const char *p, const char *end, uint32_t *cp);

/* Walks the members of an object or the elements of an array in a checked text. Comments are skipped. */
struct json_iter {
	const char *p, *end;
	bool is_object;
};

/* False if 'value' is neither an object nor an array (nothing to walk). */
bool json_iter_init(struct json_iter *it, struct json_span value);
/* The next value, and for objects its name as written (escapes kept). False at the end. */
bool json_iter_next(struct json_iter *it, struct json_span *name, struct json_span *value);
bool json_span_is(struct json_span s, const char *text);
/* First character decides: '{', '[', '"', 't', 'f', 'n', or '0' for numbers. */
char json_span_kind(struct json_span s);

/* Offset of the value at a place in a checked text, for messages about well-formed but wrong input: 'steps' are
 * positions from the outside in (n-th member or element). With 'want_name' the place of the last member's
 * name. Returns the offset of the deepest step that exists. */
size_t json_locate(const char *text, size_t size, const size_t *steps, size_t n_steps, bool want_name);

/* --- reading a tree --- */

struct json_in {
	int err;            /* 0, -EBADMSG (wrong type or range) or -ENOMEM; the first one stays */
	const char *field;  /* name of the member that was wrong (the caller's constant), or null */
	const char *reason; /* static text: "is not a number" */
};

/* Records an error unless there is one already. */
void json_fail(struct json_in *in, int err, const char *field, const char *reason);

/* The member, or null if absent or JSON null. 'obj' may be null. */
const cJSON *json_get(const cJSON *obj, const char *key);
/* The member if it is an object (array); null if absent; another type is an error. */
const cJSON *json_obj(struct json_in *in, const cJSON *obj, const char *key);
const cJSON *json_arr(struct json_in *in, const cJSON *obj, const char *key);
/* The text, borrowed from the tree; "" if absent. */
const char *json_str(struct json_in *in, const cJSON *obj, const char *key);
/* A fresh copy of the text; "" if absent; never null unless in->err is set. */
char *json_dup(struct json_in *in, const cJSON *obj, const char *key);
/* The integer, exact over all 64 bits; 0 if absent. A fraction, or a value outside lo..hi, is an error. */
int64_t json_i64(struct json_in *in, const cJSON *obj, const char *key, int64_t lo, int64_t hi);
double json_double(struct json_in *in, const cJSON *obj, const char *key);
bool json_bool(struct json_in *in, const cJSON *obj, const char *key);
/* Copies into a buffer of 'cap' bytes with a final NUL; a longer text is an error. */
void json_text(struct json_in *in, const cJSON *obj, const char *key, char *dst, size_t cap);
/* A list of texts: fresh array of fresh strings ('*n' of them); null and 0 if absent or empty. */
char **json_strs(struct json_in *in, const cJSON *obj, const char *key, size_t *n);
/* A key in text form ("nodekey:..."); zeros if absent or "". */
void json_key(struct json_in *in, const cJSON *obj, const char *name, enum key_kind kind,
	      uint8_t raw[static KEY_SIZE]);
/* An RFC 3339 time as unix seconds; 0 if absent or the zero time (year 1). */
int64_t json_time(struct json_in *in, const cJSON *obj, const char *key);

/* The same on a value that is at hand instead of a member; 'field' names it in errors. */
MESH_MUST_USE bool json_value_i64(const cJSON *v, int64_t *out);
/* Number of elements or members; 0 for anything else. */
size_t json_len(const cJSON *v);

/* --- writing --- */

/* Zeroed: compact text. */
struct json_w {
	struct bytes out;   /* what was written; owned */
	const char *indent; /* null: compact; else one such string per level and a newline per item */
	uint64_t is_array;  /* bit per open level */
	uint32_t depth;     /* open objects and arrays */
	bool has_item;      /* the innermost open level has one already */
	int err;            /* sticky: -ENOMEM, -ENOBUFS */
};

/* In an object every item has a key, in an array and at the top 'key' is null. */
void json_w_obj(struct json_w *w, const char *key); /* '{' */
void json_w_arr(struct json_w *w, const char *key); /* '[' */
void json_w_end(struct json_w *w);                  /* closes the innermost of both */
void json_w_str(struct json_w *w, const char *key, const char *text); /* null text: null */
void json_w_strn(struct json_w *w, const char *key, const char *text, size_t len);
void json_w_i64(struct json_w *w, const char *key, int64_t v);
void json_w_double(struct json_w *w, const char *key, double v); /* not finite: null */
void json_w_bool(struct json_w *w, const char *key, bool v);
void json_w_null(struct json_w *w, const char *key);
/* A value that is JSON already; not checked. */
void json_w_raw(struct json_w *w, const char *key, const char *json, size_t size);
void json_w_strs(struct json_w *w, const char *key, char *const *texts, size_t n);
void json_w_key(struct json_w *w, const char *key, enum key_kind kind, const uint8_t raw[static KEY_SIZE]);
/* Unix seconds as RFC 3339 in UTC; 0 writes the zero time "0001-01-01T00:00:00Z". */
void json_w_time(struct json_w *w, const char *key, int64_t unix_s);
/* A tree (any value). */
void json_w_tree(struct json_w *w, const char *key, const cJSON *v);
/* Hands over the text with a final NUL ('*size', which may be null, counts without it); null and wiped if an error occurred. The
 * writer is empty afterwards. */
MESH_MUST_USE char *json_w_take(struct json_w *w, size_t *size);
void json_w_wipe(struct json_w *w);

#endif
