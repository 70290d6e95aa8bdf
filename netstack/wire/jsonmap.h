/* SPDX-License-Identifier: MIT */
/* Structs to JSON and back by description: one table a struct, and writing, reading, copying and
 * freeing follow from it, so that the two programs and the two directions cannot drift apart.
 *
 * Kinds name the C type of the member. Lists are a pointer member and a size_t member for the count.
 * A struct described here owns everything its pointers point to; zeroed memory is a valid empty one.
 * Reading ignores unknown keys, takes null for the zero value, and rejects a value of another type.
 * Tables nest, never recurse: depth is fixed at compile time. */
#ifndef NETSTACK_WIRE_JSONMAP_H
#define NETSTACK_WIRE_JSONMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "wire/json.h"

enum jsonmap_kind {
	JM_STR,      /* char *; null is written as "" */
	JM_BOOL,     /* bool */
	JM_I64,      /* int64_t */
	JM_U64,      /* uint64_t */
	JM_I32,      /* int32_t */
	JM_U32,      /* uint32_t */
	JM_U16,      /* uint16_t */
	JM_F64,      /* double */
	JM_TRI,      /* enum tri; unset = null, read from null or "unset" */
	JM_TIME,     /* int64_t unix nanoseconds, 0 = none; RFC 3339 */
	JM_IP,       /* struct ip; unset = "" */
	JM_EP,       /* struct ep; unset = "" */
	JM_NODE_KEY, /* struct node_key; "nodekey:<hex>" */
	JM_RAW,      /* char *: a JSON text; null = null */
	JM_STRS,     /* char **, count */
	JM_IPS,      /* struct ip *, count */
	JM_PREFIXES, /* struct prefix *, count */
	JM_EPS,      /* struct ep *, count */
	JM_OBJ,      /* embedded struct, 'sub' */
	JM_OPT,      /* pointer to struct, 'sub'; null = null */
	JM_LIST,     /* pointer to structs, count, 'sub' */
	JM_MAP,      /* the same, written as an object keyed by the first member of 'sub' */
	JM_OPT_U16,  /* uint16_t, and at 'off_n' a bool telling that it is there */
};

enum jsonmap_flag {
	JM_OMIT = 1,  /* left out when empty (zero, false, "", no elements) */
	JM_EMPTY = 2, /* a list without elements is [] (a map {}); else null */
	JM_SKIP = 4,  /* neither written nor read: the key of a JM_MAP; still copied and freed */
	JM_VALUE = 8, /* in the 'sub' of a JM_MAP: this member is the whole value */
};

struct jsonmap_field {
	const char *key;
	uint8_t kind;  /* enum jsonmap_kind */
	uint8_t flags; /* enum jsonmap_flag, ored */
	uint16_t off;
	uint16_t off_n; /* count of lists, presence of JM_OPT_U16 */
	const struct jsonmap *sub;
};

struct jsonmap {
	const struct jsonmap_field *fields;
	size_t n_fields;
	size_t size; /* of the struct */
};

#define JM_FIELD(type, kind, key, member, flags) { key, kind, flags, offsetof(type, member), 0, NULL }
#define JM_COUNTED(type, kind, key, member, count, flags, sub) \
	{ key, kind, flags, offsetof(type, member), offsetof(type, count), sub }
#define JM_NESTED(type, kind, key, member, flags, sub) \
	{ key, kind, flags, offsetof(type, member), 0, sub }
#define JM_TABLE(type, fields) { fields, ARRAY_LEN(fields), sizeof(type) }

/* Writes '*obj' as one object; 'key' as in json_w_obj(). */
void jsonmap_write(struct json_w *w, const char *key, const struct jsonmap *m, const void *obj);
/* Writes the members of '*obj' into the object that is open. */
void jsonmap_write_members(struct json_w *w, const struct jsonmap *m, const void *obj);
/* Writes one field, key included, minding its flags. */
void jsonmap_write_field(struct json_w *w, const struct jsonmap_field *f, const void *obj);

/* Reads into an empty '*obj'. Returns 0; -EBADMSG (another type, a number out of range); -ENOMEM. On
 * failure '*obj' is wiped; '*bad_key' (may be null) then names the member at fault. */
MESH_MUST_USE int jsonmap_read(const struct jsonmap *m, void *obj, const cJSON *json,
			       const char **bad_key);
/* The same from text of 'len' bytes. Limits of depth and size are those of
 * wire/json; text that is not JSON is -EBADMSG with '*bad_key' null. */
MESH_MUST_USE int jsonmap_parse(const struct jsonmap *m, void *obj, const char *text, size_t len,
				const char **bad_key);
/* Reads one value into one field, freeing what it held. Returns as jsonmap_read. */
MESH_MUST_USE int jsonmap_read_field(const struct jsonmap_field *f, void *obj,
				     const cJSON *value);

/* Frees everything inside and zeroes '*obj'. */
void jsonmap_wipe(const struct jsonmap *m, void *obj);
/* The same for one field. */
void jsonmap_wipe_field(const struct jsonmap_field *f, void *obj);
/* Deep copy into an empty '*to'. Returns 0 or -ENOMEM ('*to' is then empty). */
MESH_MUST_USE int jsonmap_copy(const struct jsonmap *m, void *to, const void *from);
/* Replaces one field of '*to' by a copy of the same field of '*from'. */
MESH_MUST_USE int jsonmap_copy_field(const struct jsonmap_field *f, void *to, const void *from);

/* Are both fields equal, deeply? */
bool jsonmap_eq_field(const struct jsonmap_field *f, const void *a, const void *b);

/* Appends the finished text of a writer to '*out' and wipes the writer. Returns 0 or the writer's error. */
MESH_MUST_USE int jsonmap_finish(struct json_w *w, struct bytes *out);
/* Appends a checked JSON text laid out anew: 'indent' per level, null = compact. -EBADMSG, -ENOMEM. */
MESH_MUST_USE int jsonmap_relayout(struct bytes *out, const char *text, size_t len, const char *indent);

#endif
