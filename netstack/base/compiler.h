/* SPDX-License-Identifier: MIT */
/* Attributes and small compiler helpers. Nothing here does anything at run time. */
#ifndef NETSTACK_BASE_COMPILER_H
#define NETSTACK_BASE_COMPILER_H

#include <stddef.h>

#define MESH_MUST_USE           __attribute__((warn_unused_result))
#define MESH_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define MESH_UNUSED             __attribute__((unused))
#define MESH_ALIGNED(n)         __attribute__((aligned(n)))

/* Runs 'fn' on the variable's address when it leaves its scope (STYLE 5). */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The struct of type 'type' whose member 'member' is at 'ptr'. */
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#endif
