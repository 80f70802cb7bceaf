/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A ring in memory, mapped as the contract of vmbus/ring.h asks: control page, data, data again,
 * with pages on both sides that must not be touched. For tests and benchmarks.
 */
#ifndef OPENLIS_TESTS_RING_MEMORY_H
#define OPENLIS_TESTS_RING_MEMORY_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmbus/ring.h"

struct ring_memory {
	uint8_t *reservation;
	size_t reservation_bytes;
	struct vmbus_ring_control *control;
	uint8_t *data;
	size_t data_bytes;
};

/* Ends the process where memory cannot be had: nothing can be tested then. */
static inline struct ring_memory ring_memory_create(size_t data_bytes)
{
	struct ring_memory memory = { .data_bytes = data_bytes };
	int fd = memfd_create("ring", MFD_CLOEXEC);
	const int access = PROT_READ | PROT_WRITE, how = MAP_SHARED | MAP_FIXED;
	uint8_t *at;

	memory.reservation_bytes = 3 * (size_t)HV_PAGE_BYTES + 2 * data_bytes;
	at = mmap(NULL, memory.reservation_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fd < 0 || at == MAP_FAILED || ftruncate(fd, (off_t)(HV_PAGE_BYTES + data_bytes)))
		abort();
	memory.reservation = at;
	at += HV_PAGE_BYTES;
	if (mmap(at, HV_PAGE_BYTES + data_bytes, access, how, fd, 0) == MAP_FAILED ||
	    mmap(at + HV_PAGE_BYTES + data_bytes, data_bytes, access, how, fd, HV_PAGE_BYTES) ==
		    MAP_FAILED)
		abort();
	close(fd);
	memory.control = (struct vmbus_ring_control *)(void *)at;
	memory.data = at + HV_PAGE_BYTES;
	return memory;
}

static inline void ring_memory_destroy(struct ring_memory *memory)
{
	munmap(memory->reservation, memory->reservation_bytes);
}

#endif
