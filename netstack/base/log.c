/* SPDX-License-Identifier: MIT */
/* Formats one log line and hands it to the sink. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

void log_at(const struct log *log, enum log_level level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	va_list ap;

	if (!log || !log->write || level > log->level)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap); /* a cut line is still worth having */
	va_end(ap);
	log->write(log->ctx, level, line);
}
