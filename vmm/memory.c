// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Guest memory: one memfd, mapped once for each slot. A page comes into being when touched. */
#include "vmm/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "vmbus/os.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

/*
 * The window above the RAM: a quarter of the address space, at most 64 GiB, kept clear of the top
 * 1/32, where AMD processors of 40 bits have a hole. [policy]
 */
static void place_high_window(struct memory_map *map, uint32_t physical_bits)
{
	uint64_t space = 1ull << physical_bits;
	uint64_t window = space / 4 < 64 * GIB ? space / 4 : 64 * GIB;

	map->mmio_high_end = space - space / 32;
	map->mmio_high_start = map->mmio_high_end - window;
}

int memory_map_init(struct memory_map *out_map, uint64_t bytes, uint32_t physical_bits, char *error,
		    size_t error_bytes)
{
	struct memory_map map = { 0 };

	if (bytes < MEMORY_BYTES_MIN || bytes % MIB) {
		snprintf(error, error_bytes, "memory: must be whole MiB, at least %u MiB",
			 MEMORY_BYTES_MIN >> 20);
		return -LIS_INVALID;
	}
	if (physical_bits < 36 || physical_bits > 52)
		physical_bits = physical_bits < 36 ? 36 : 52;
	map.low_bytes = bytes < MEMORY_LOW_END ? bytes : MEMORY_LOW_END;
	map.high_bytes = bytes - map.low_bytes;
	place_high_window(&map, physical_bits);
	if (map.high_bytes > map.mmio_high_start - MEMORY_HIGH_START) {
		bytes = map.mmio_high_start - MEMORY_HIGH_START + MEMORY_LOW_END;
		snprintf(error, error_bytes,
			 "memory: %llu MiB at most, as this processor's addresses have %u bits",
			 (unsigned long long)(bytes / MIB), physical_bits);
		return -LIS_INVALID;
	}
	*out_map = map;
	return 0;
}

/* More than this machine will ever have is refused at once, not by a signal in an hour. */
static int check_host(uint64_t bytes, char *error, size_t error_bytes)
{
	struct sysinfo info;
	uint64_t have;

	if (sysinfo(&info) < 0)
		return 0;
	have = ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
	if (bytes <= have)
		return 0;
	snprintf(error, error_bytes,
		 "memory: %llu MiB cannot be had, this machine has %llu MiB in all",
		 (unsigned long long)(bytes / MIB), (unsigned long long)(have / MIB));
	return -LIS_NOMEM;
}

static int map_slot(struct partition *partition, uint64_t gpa, uint64_t bytes, int fd,
		    uint64_t offset)
{
	void *hva = partition_map_file(bytes, fd, offset);

	if (!hva)
		return -LIS_NOMEM;
	/* A core dump of the VMM is not to hold the guest. */
	madvise(hva, bytes, MADV_DONTDUMP);
	/* Huge pages, where the host's shmem_enabled is "advise": a touch then takes one whole. */
	madvise(hva, bytes, MADV_HUGEPAGE);
	partition->slots[partition->slot_count++] = (struct partition_slot){
		.gpa = GPA(gpa), .bytes = bytes, .hva = hva, .fd = fd, .fd_offset_bytes = offset,
	};
	return 0;
}

int memory_create(struct partition *partition, const struct memory_map *map, char *error,
		  size_t error_bytes)
{
	uint64_t bytes = map->low_bytes + map->high_bytes;
	int err, fd;

	err = check_host(bytes, error, error_bytes);
	if (err)
		return err;
	partition->slot_count = 0;
	fd = memfd_create("guest memory", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0) {
		err = errno;
		goto failed;
	}
	if (map_slot(partition, 0, map->low_bytes, fd, 0) ||
	    (map->high_bytes &&
	     map_slot(partition, MEMORY_HIGH_START, map->high_bytes, fd, map->low_bytes))) {
		err = errno;
		goto failed;
	}
	return 0;

failed:
	snprintf(error, error_bytes, "memory: %llu MiB cannot be had: %s",
		 (unsigned long long)(bytes / MIB), strerror(err));
	if (partition->slot_count)
		memory_destroy(partition);
	else if (fd >= 0)
		close(fd);
	return -LIS_NOMEM;
}

static uint64_t make_slot_huge(const struct partition_slot *slot)
{
	uint64_t bytes = slot->bytes - slot->bytes % PARTITION_HUGE_BYTES, huge_bytes = 0;
	char *base = slot->hva;

	/* Nothing is made of what is not there. */
	for (uint64_t at = 0; at < bytes; at += PARTITION_HUGE_BYTES)
		(void)*(volatile char *)(base + at);
	if (!bytes || !madvise(base, bytes, MADV_COLLAPSE))
		return bytes;
	/* Not all of it: how much? */
	for (uint64_t at = 0; at < bytes; at += PARTITION_HUGE_BYTES)
		if (!madvise(base + at, PARTITION_HUGE_BYTES, MADV_COLLAPSE))
			huge_bytes += PARTITION_HUGE_BYTES;
	return huge_bytes;
}

uint64_t memory_make_huge(struct partition *partition)
{
	uint64_t huge_bytes = 0;

	for (uint32_t i = 0; i < partition->slot_count; i++)
		huge_bytes += make_slot_huge(&partition->slots[i]);
	return huge_bytes;
}

void memory_clear(struct partition *partition)
{
	for (uint32_t i = 0; i < partition->slot_count; i++) {
		const struct partition_slot *slot = &partition->slots[i];

		if (fallocate(slot->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)slot->fd_offset_bytes, (off_t)slot->bytes) < 0)
			memset(slot->hva, 0, slot->bytes);
	}
}

void memory_destroy(struct partition *partition)
{
	for (uint32_t i = 0; i < partition->slot_count; i++)
		munmap(partition->slots[i].hva, partition->slots[i].bytes);
	if (partition->slot_count)
		close(partition->slots[0].fd);
	partition->slot_count = 0;
}
