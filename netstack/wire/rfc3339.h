/* SPDX-License-Identifier: MIT */
/* RFC 3339 times <-> unix seconds, without the C library's calendar (which reads files and the environment).
 * Any thread. */
#ifndef NETSTACK_WIRE_RFC3339_H
#define NETSTACK_WIRE_RFC3339_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* "-2147483648-12-31T23:59:59.999999999Z" never occurs: years are 1..9999. */
enum { RFC3339_TEXT_MAX = 36 };

/* 0001-01-01T00:00:00Z, which the control protocol uses for "no time". */
#define RFC3339_ZERO_S INT64_C(-62135596800)

/* Reads 'len' characters: date, 'T', time, up to nine fraction digits, 'Z' or an offset. '*s' gets unix
 * seconds, '*ns' (may be null) the fraction. Returns 0 or -EBADMSG. */
MESH_MUST_USE int rfc3339_parse(int64_t *s, int32_t *ns, const char *text, size_t len);
/* In UTC with 'Z'; the fraction is left out when 'ns' is 0, else without trailing zeros. Times outside years
 * 1..9999 are clamped. Returns 'text'. */
char *rfc3339_write(char text[static RFC3339_TEXT_MAX], int64_t s, int32_t ns);

#endif
