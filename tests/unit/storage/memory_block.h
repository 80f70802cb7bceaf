/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A block device in memory for tests: answers at once, or holds requests until the test lets them
 * go, and fails where the test says so. One thread at a time.
 */
#ifndef OPENLIS_TESTS_MEMORY_BLOCK_H
#define OPENLIS_TESTS_MEMORY_BLOCK_H

#include "storage/block.h"

#define MEMORY_BLOCK_LOG_MAX 1024

struct memory_block {
	struct block_device base;
	uint8_t *bytes;
	bool hold;                 /* keep requests until memory_block_release() */
	struct block_request *held;
	uint32_t held_count;
	uint32_t fail_at; /* the n-th request from now on (1: the next) fails, once; 0: none */
	int fail_with;

	/* What came, in order of arrival. */
	uint32_t log_count;
	struct {
		enum block_op op;
		uint32_t flags, iov_count;
		uint64_t offset_bytes, length_bytes;
	} log[MEMORY_BLOCK_LOG_MAX];
};

/** memory_block_init() - A device full of a pattern that differs in each sector. */
void memory_block_init(struct memory_block *memory, uint64_t size_bytes, uint32_t sector_bytes);
void memory_block_fini(struct memory_block *memory);

/** memory_block_release() - Finish up to @count held requests, oldest first; returns how many. */
uint32_t memory_block_release(struct memory_block *memory, uint32_t count);

/** memory_block_pattern() - What byte @offset_bytes holds at first. */
uint8_t memory_block_pattern(uint64_t offset_bytes);

#endif
