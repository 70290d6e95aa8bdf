/* SPDX-License-Identifier: MIT */
/* The log interface of the library: lines go to a sink that the owner supplies.
 *
 * "area: what: why", lower case, no full stop (STYLE 10). A null 'struct log' drops everything,
 * which is what unit tests pass. */
#ifndef NETSTACK_BASE_LOG_H
#define NETSTACK_BASE_LOG_H

#include "base/compiler.h"

enum log_level {
	LOG_LEVEL_ERROR, /* needs a human */
	LOG_LEVEL_WARN,  /* degraded */
	LOG_LEVEL_INFO,  /* state changes an operator follows */
	LOG_LEVEL_DEBUG, /* everything else */
};

struct log {
	/* Takes one line without newline; borrowed until it returns. */
	void (*write)(void *ctx, enum log_level level, const char *line);
	void *ctx;
	enum log_level level; /* lines above this level are not formatted */
};

/* Longest line; what is longer is cut. */
#define LOG_LINE_MAX 512

MESH_PRINTF(3, 4) void log_at(const struct log *log, enum log_level level, const char *fmt, ...);

#define log_error(log, ...) log_at((log), LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(log, ...)  log_at((log), LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(log, ...)  log_at((log), LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_at((log), LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
