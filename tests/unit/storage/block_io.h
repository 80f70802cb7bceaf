/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Requests to a block device that wait for their end, for tests. */
#ifndef OPENLIS_TESTS_BLOCK_IO_H
#define OPENLIS_TESTS_BLOCK_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "io/loop.h"
#include "storage/block.h"

/* A request with one buffer and its result. */
struct block_io {
	struct block_request request; /* first */
	struct iovec iov;
	int result;
	int ends; /* how often it was done */
};

static inline void block_io_done(struct block_request *request, int result)
{
	struct block_io *io = (struct block_io *)request;

	io->result = result;
	io->ends++;
}

static inline void block_io_start(struct block_io *io, struct block_device *device, struct io_loop *loop,
				  enum block_op op, uint32_t flags, uint64_t offset_bytes, void *data,
				  uint64_t length_bytes)
{
	*io = (struct block_io){
		.request = { .op = op, .flags = flags, .offset_bytes = offset_bytes,
			     .length_bytes = length_bytes, .done = block_io_done },
		.iov = { .iov_base = data, .iov_len = length_bytes },
		.result = 1,
	};
	if (data) {
		io->request.iov = &io->iov;
		io->request.iov_count = 1;
	}
	block_submit(device, loop, &io->request);
}

static inline int block_io_wait(struct block_io *io, struct io_loop *loop)
{
	while (!io->ends)
		io_loop_turn(loop, true);
	return io->result;
}

/* One request from start to end. */
static inline int block_io(struct block_device *device, struct io_loop *loop, enum block_op op,
			   uint32_t flags, uint64_t offset_bytes, void *data, uint64_t length_bytes)
{
	struct block_io io;

	block_io_start(&io, device, loop, op, flags, offset_bytes, data, length_bytes);
	return block_io_wait(&io, loop);
}

/* A small generator whose sequence depends on its seed only. */
static inline uint64_t block_random(uint64_t *state)
{
	uint64_t value = *state += UINT64_C(0x9e3779b97f4a7c15);

	value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
	return value ^ value >> 31;
}

/* Fills with what depends on the place on the disk and @seed. */
static inline void block_pattern(uint8_t *data, uint64_t bytes, uint64_t offset_bytes, uint64_t seed)
{
	for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
		uint64_t state = seed ^ (offset_bytes + i) * UINT64_C(0x100000001b3);
		uint64_t value = block_random(&state);

		__builtin_memcpy(data + i, &value, 8);
	}
}

#endif
