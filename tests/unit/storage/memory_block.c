/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A block device in memory for tests. */
#include "tests/unit/storage/memory_block.h"

#include <stdlib.h>
#include <string.h>

uint8_t memory_block_pattern(uint64_t offset_bytes)
{
	return (uint8_t)(offset_bytes ^ (offset_bytes >> 9) * 7 ^ 0x5a);
}

static void move(struct memory_block *memory, struct block_request *request, bool to_guest)
{
	uint8_t *at = memory->bytes + request->offset_bytes;

	for (uint32_t i = 0; i < request->iov_count; i++) {
		if (to_guest)
			memcpy(request->iov[i].iov_base, at, request->iov[i].iov_len);
		else
			memcpy(at, request->iov[i].iov_base, request->iov[i].iov_len);
		at += request->iov[i].iov_len;
	}
}

static void finish(struct memory_block *memory, struct block_request *request)
{
	int result = 0;

	if (memory->fail_at && --memory->fail_at == 0)
		result = memory->fail_with;
	if (!result) {
		switch (request->op) {
		case BLOCK_READ:
			move(memory, request, true);
			break;
		case BLOCK_WRITE:
			move(memory, request, false);
			break;
		case BLOCK_DISCARD:
		case BLOCK_WRITE_ZEROES:
			memset(memory->bytes + request->offset_bytes, 0, request->length_bytes);
			break;
		case BLOCK_FLUSH:
			break;
		}
	}
	request->done(request, result);
}

static void memory_submit(struct block_device *device, struct block_request *request)
{
	struct memory_block *memory = (struct memory_block *)device;
	struct block_request **at = &memory->held;

	if (memory->log_count < MEMORY_BLOCK_LOG_MAX) {
		memory->log[memory->log_count].op = request->op;
		memory->log[memory->log_count].flags = request->flags;
		memory->log[memory->log_count].iov_count = request->iov_count;
		memory->log[memory->log_count].offset_bytes = request->offset_bytes;
		memory->log[memory->log_count].length_bytes = request->length_bytes;
		memory->log_count++;
	}
	if (!memory->hold) {
		finish(memory, request);
		return;
	}
	while (*at)
		at = &(*at)->next;
	request->next = NULL;
	*at = request;
	memory->held_count++;
}

static int memory_close(struct block_device *device)
{
	return 0;
}

static const struct block_driver memory_driver = {
	.name = "memory",
	.submit = memory_submit,
	.close = memory_close,
};

uint32_t memory_block_release(struct memory_block *memory, uint32_t count)
{
	uint32_t released = 0;

	while (released < count && memory->held) {
		struct block_request *request = memory->held;

		memory->held = request->next;
		memory->held_count--;
		finish(memory, request);
		released++;
	}
	return released;
}

void memory_block_init(struct memory_block *memory, uint64_t size_bytes, uint32_t sector_bytes)
{
	memset(memory, 0, sizeof(*memory));
	memory->base.driver = &memory_driver;
	memory->base.geometry.size_bytes = size_bytes;
	memory->base.geometry.logical_sector_bytes = sector_bytes;
	memory->base.geometry.physical_sector_bytes = 4096;
	memory->base.geometry.buffer_align_bytes = 1;
	memory->base.geometry.discard_granularity_bytes = 4096;
	memory->base.geometry.discard_zeroes = true;
	memory->base.geometry.unique_id =
		GUID(0x01234567, 0x89ab, 0x4cde, 0x8f01, 0x23456789abcd);
	memory->bytes = malloc(size_bytes);
	for (uint64_t i = 0; memory->bytes && i < size_bytes; i++)
		memory->bytes[i] = memory_block_pattern(i);
}

void memory_block_fini(struct memory_block *memory)
{
	free(memory->bytes);
	memory->bytes = NULL;
}
