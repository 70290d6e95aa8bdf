/* SPDX-License-Identifier: MIT */
/* How far a mistyped name is from a known one, for "did you mean". Any thread. */
#ifndef NETSTACK_BASE_NEAR_H
#define NETSTACK_BASE_NEAR_H

#include <stddef.h>

enum { NEAR_LEN_MAX = 64 };

/* Levenshtein distance; 'max' + 1 for texts of more than NEAR_LEN_MAX characters. */
size_t near_distance(const char *a, const char *b, size_t max);

#endif
