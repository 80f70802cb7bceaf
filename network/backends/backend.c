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

size_t net_frame_copy(const struct net_frame *frame, size_t offset, void *to, size_t bytes)
{
	uint8_t *at = to;

	for (uint32_t i = 0; bytes && i < frame->iov_count; i++) {
		const struct iovec *piece = &frame->iov[i];
		size_t now;

		if (offset >= piece->iov_len) {
			offset -= piece->iov_len;
			continue;
		}
		now = piece->iov_len - offset < bytes ? piece->iov_len - offset : bytes;
		memcpy(at, (const uint8_t *)piece->iov_base + offset, now);
		at += now;
		bytes -= now;
		offset = 0;
	}
	return (size_t)(at - (uint8_t *)to);
}

void net_iov_write(const struct iovec *iov, size_t iov_count, size_t offset, const void *from,
		   size_t bytes)
{
	for (size_t i = 0; bytes && i < iov_count; i++) {
		size_t now;

		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		now = iov[i].iov_len - offset < bytes ? iov[i].iov_len - offset : bytes;
		memcpy((uint8_t *)iov[i].iov_base + offset, from, now);
		from = (const uint8_t *)from + now;
		bytes -= now;
		offset = 0;
	}
}
