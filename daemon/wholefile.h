/* SPDX-License-Identifier: MIT */
/* A small file as a whole: settings, and the state of another program.
 *
 * Any thread; blocks for the disk. */
#ifndef DAEMON_WHOLEFILE_H
#define DAEMON_WHOLEFILE_H

#include <stddef.h>
#include <sys/types.h>

#include "base/compiler.h"

/* Reads the regular file 'path' of at most 'max' bytes. '*text' (malloc'ed, the caller wipes and frees it) has '*size'
 * bytes and a NUL behind them; '*mode' are its permissions.
 *
 * Returns 0; -EINVAL (not a regular file); -EFBIG (larger than 'max'); -ESTALE (its size changed meanwhile); -ENOMEM;
 * another negative errno of opening or reading it. */
MESH_MUST_USE int wholefile_read(const char *path, size_t max, char **text, size_t *size, mode_t *mode);

#endif
