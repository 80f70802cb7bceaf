// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The log of what is fuzzed: nobody reads it, but it must be possible to write it. */
#include <stdarg.h>
#include <stdio.h>

#include "vmbus/os.h"

void os_log(enum os_log_level level, const char *format, ...)
{
	char line[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
}
