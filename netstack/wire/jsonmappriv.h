/* SPDX-License-Identifier: MIT */
/* How the two halves of the interpreter reach members of described structs: jsonmap.c (texts) and
 * jsonmap_mem.c (memory) only. */
#ifndef NETSTACK_WIRE_JSONMAPPRIV_H
#define NETSTACK_WIRE_JSONMAPPRIV_H

#include <string.h>

#include "wire/jsonmap.h"

static inline void *jsonmap_member(const void *obj, size_t off)
{
	return (char *)(uintptr_t)obj + off;
}

static inline size_t *jsonmap_count_of(const struct jsonmap_field *f, const void *obj)
{
	return (size_t *)jsonmap_member(obj, f->off_n);
}

/* Pointers of any object type are moved as bytes: they are not void pointers to the compiler. */
static inline void *jsonmap_get_ptr(const void *at)
{
	void *p;

	memcpy(&p, at, sizeof(p));
	return p;
}

static inline void jsonmap_set_ptr(void *at, const void *p)
{
	memcpy(at, &p, sizeof(p));
}

static inline void *jsonmap_list_of(const struct jsonmap_field *f, const void *obj)
{
	return jsonmap_get_ptr(jsonmap_member(obj, f->off));
}

/* Bytes of the member itself; of one element for lists. */
size_t jsonmap_kind_size(const struct jsonmap_field *f);
bool jsonmap_is_list(const struct jsonmap_field *f);

#endif
