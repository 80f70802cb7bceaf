// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * What waits for the guest of a NAT port: frames one behind the other, each behind its length and
 * in one piece. Places count on and on. The port's loop owns it.
 */
#include "network/backends/nat_private.h"

#include <stdlib.h>
#include <string.h>

/* [policy] What may wait: 30 connections' full windows. A power of two. */
#define QUEUE_BYTES (2u << 20)
#define QUEUE_FRAMES 1024u

#define QUEUE_ALIGN 4u
/* In place of a length: the next frame is at the beginning of the memory. */
#define QUEUE_SKIP UINT32_MAX

int nat_queue_init(struct nat_queue *queue)
{
	*queue = (struct nat_queue){ .memory = malloc(QUEUE_BYTES) };
	return queue->memory ? 0 : -LIS_NOMEM;
}

void nat_queue_fini(struct nat_queue *queue)
{
	free(queue->memory);
}

static uint32_t place_bytes(uint32_t bytes)
{
	return ((uint32_t)sizeof(bytes) + bytes + QUEUE_ALIGN - 1) & ~(QUEUE_ALIGN - 1);
}

bool nat_queue_put(struct nat_queue *queue, const struct iovec *iov, size_t iov_count,
		   uint32_t bytes)
{
	uint32_t need = place_bytes(bytes), at = queue->put % QUEUE_BYTES;
	uint32_t skip = QUEUE_BYTES - at < need ? QUEUE_BYTES - at : 0;
	static const uint32_t skip_mark = QUEUE_SKIP;
	uint8_t *to;

	if (queue->frames == QUEUE_FRAMES || QUEUE_BYTES - (queue->put - queue->take) < skip + need)
		return false;
	if (skip) {
		memcpy(queue->memory + at, &skip_mark, sizeof(skip_mark));
		at = 0;
	}
	to = queue->memory + at;
	memcpy(to, &bytes, sizeof(bytes));
	to += sizeof(bytes);
	for (size_t i = 0; i < iov_count; to += iov[i++].iov_len)
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
	queue->put += skip + need;
	queue->frames++;
	return true;
}

const uint8_t *nat_queue_take(struct nat_queue *queue, uint32_t *out_bytes)
{
	uint32_t at = queue->take % QUEUE_BYTES, bytes;

	if (!queue->frames)
		return NULL;
	memcpy(&bytes, queue->memory + at, sizeof(bytes));
	if (bytes == QUEUE_SKIP) {
		queue->take += QUEUE_BYTES - at;
		at = 0;
		memcpy(&bytes, queue->memory, sizeof(bytes));
	}
	queue->take += place_bytes(bytes);
	queue->frames--;
	*out_bytes = bytes;
	return queue->memory + at + sizeof(bytes);
}

bool nat_queue_is_above(const struct nat_queue *queue, uint32_t part)
{
	return queue->frames > QUEUE_FRAMES / part || queue->put - queue->take > QUEUE_BYTES / part;
}
