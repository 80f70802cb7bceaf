// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Reads what shows through a differencing image from its parent. A request that the parent can serve
 * whole is handed down as it is, so depth costs a look into each table on the way; a part of one
 * becomes a request of its own.
 */
#include "storage/images/inherit.h"

#include <stdlib.h>

/* A part of a child's request. */
struct part {
	struct block_request request; /* first */
	struct block_request *child;
	transfer_finished *finished;
	struct iovec iov[];
};

static void part_done(struct block_request *request, int result)
{
	struct part *part = (struct part *)request;
	struct block_request *child = part->child;
	transfer_finished *finished = part->finished;

	if (!result)
		transfer_advance(child, request->length_bytes);
	free(part);
	finished(child, result);
}

/* The child's buffers for its next @bytes. */
static void cut_buffers(struct part *part, uint64_t bytes)
{
	const struct block_request *child = part->child;
	const struct transfer *transfer = transfer_of(part->child);
	uint64_t skip_bytes = transfer->iov_skip_bytes;

	for (uint32_t i = transfer->iov_index; bytes; i++) {
		const struct iovec *iov = &child->iov[i];
		uint64_t now_bytes = iov->iov_len - skip_bytes;

		if (now_bytes > bytes)
			now_bytes = bytes;
		if (now_bytes)
			part->iov[part->request.iov_count++] =
				(struct iovec){ (char *)iov->iov_base + skip_bytes, now_bytes };
		bytes -= now_bytes;
		skip_bytes = 0;
	}
}

void inherit_read(struct block_request *request, uint64_t bytes, transfer_finished *finished)
{
	struct block_device *parent = transfer_image(request)->device.parent;
	const struct transfer *transfer = transfer_of(request);
	uint32_t iovs = request->iov_count - transfer->iov_index;
	struct part *part;

	if (bytes == request->length_bytes) {
		parent->driver->submit(parent, request);
		return;
	}
	part = malloc(sizeof(*part) + iovs * sizeof(part->iov[0]));
	if (!part) {
		finished(request, -LIS_NOMEM);
		return;
	}
	part->request = (struct block_request){
		.op = BLOCK_READ,
		.offset_bytes = request->offset_bytes + transfer->done_bytes,
		.length_bytes = bytes,
		.iov = part->iov,
		.done = part_done,
		.loop = request->loop,
	};
	part->child = request;
	part->finished = finished;
	cut_buffers(part, bytes);
	parent->driver->submit(parent, &part->request);
}
