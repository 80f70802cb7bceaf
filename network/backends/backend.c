// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* What the back ends of network ports share: see backend.h. */
#include "network/backends/backend.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "io/error.h"

int net_port_error(char *error, int code, const char *format, ...)
{
	va_list arguments;

	if (!error)
		return code;
	va_start(arguments, format);
	vsnprintf(error, NET_PORT_ERROR_BYTES, format, arguments);
	va_end(arguments);
	return code;
}

int net_port_errno(char *error, int posix, const char *what)
{
	return net_port_error(error, lis_error_from_errno(posix), "%s: %s", what, strerror(posix));
}
