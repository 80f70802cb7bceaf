// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* os_log() for hosted programs: one write(2) for each line, so that lines of threads do not mix. */
#include "io/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static enum os_log_level shown = OS_LOG_WARNING;
static const char *line_prefix = "";
static const char *line_end = "\n";

void log_init(enum os_log_level level, const char *prefix, bool crlf)
{
	shown = level;
	line_prefix = prefix ? prefix : "";
	line_end = crlf ? "\r\n" : "\n";
}

void os_log(enum os_log_level level, const char *format, ...)
{
	char text[448], line[512];
	va_list args;
	int n;

	if (level > shown)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	n = snprintf(line, sizeof(line), "%s%s%s%s", line_prefix,
		     level == OS_LOG_WARNING ? "warning: " : level == OS_LOG_ERROR ? "error: " : "",
		     text, line_end);
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nobody listens; there is nowhere to say so */
}
