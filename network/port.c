// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Copies to and from a frame's pieces: see port.h. */
#include "network/port.h"

#include <string.h>

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
