/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Makes small VHDX files for tests, and takes them apart. Layout: log at 1 MiB, metadata at 2 MiB,
 * BAT at 3 MiB (its length follows from the disk), blocks behind.
 */
#ifndef OPENLIS_TESTS_VHDX_MAKE_H
#define OPENLIS_TESTS_VHDX_MAKE_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "storage/images/crc32c.h"
#include "storage/images/vhdx_format.h"

#define MAKE_LOG_OFFSET UINT64_C(0x100000)
#define MAKE_METADATA_OFFSET UINT64_C(0x200000)
#define MAKE_BAT_OFFSET UINT64_C(0x300000)
#define MAKE_PAGE_83 GUID(0x11223344, 0x5566, 0x4788, 0x99aa, 0xbbccddeeff00)

struct vhdx_make {
	uint64_t size_bytes;
	uint32_t block_bytes;
	uint32_t sector_bytes; /* 0: 512 */
	uint32_t parameter_flags;
	const uint8_t *locator; /* VHDX_HAS_PARENT: the item */
	uint32_t locator_bytes;
};

static inline void make_put(int fd, const void *data, size_t bytes, uint64_t offset_bytes)
{
	if (pwrite(fd, data, bytes, (off_t)offset_bytes) != (ssize_t)bytes)
		_exit(99);
}

static inline void make_get(int fd, void *data, size_t bytes, uint64_t offset_bytes)
{
	if (pread(fd, data, bytes, (off_t)offset_bytes) != (ssize_t)bytes)
		_exit(98);
}

/* Sets the checksum of a structure in the file right. */
static inline void make_checksum(int fd, uint64_t offset_bytes, size_t bytes)
{
	static uint8_t data[1 << 20];
	uint32_t checksum;

	make_get(fd, data, bytes, offset_bytes);
	memset(data + 4, 0, 4);
	checksum = crc32c(0, data, bytes);
	make_put(fd, &checksum, 4, offset_bytes + 4);
}

static inline void make_header(int fd, uint64_t offset_bytes, const struct vhdx_header *header)
{
	make_put(fd, header, sizeof(*header), offset_bytes);
	make_checksum(fd, offset_bytes, VHDX_HEADER_BYTES);
}

/* The header that counts. */
static inline struct vhdx_header make_current_header(int fd)
{
	struct vhdx_header headers[2];

	make_get(fd, &headers[0], sizeof(headers[0]), VHDX_HEADER1_OFFSET);
	make_get(fd, &headers[1], sizeof(headers[1]), VHDX_HEADER2_OFFSET);
	return headers[headers[1].sequence_number > headers[0].sequence_number];
}

static inline uint64_t make_bat_entries(const struct vhdx_make *make)
{
	uint64_t sector_bytes = make->sector_bytes ? make->sector_bytes : 512;
	uint64_t blocks = (make->size_bytes + make->block_bytes - 1) / make->block_bytes;

	uint64_t chunk_blocks = VHDX_SECTORS_PER_CHUNK * sector_bytes / make->block_bytes;

	if (make->locator)
		return ((blocks - 1) / chunk_blocks + 1) * (chunk_blocks + 1);
	return blocks + (blocks - 1) / chunk_blocks;
}

static inline uint64_t make_bat_region_bytes(const struct vhdx_make *make)
{
	return (make_bat_entries(make) * 8 + VHDX_UNIT_BYTES - 1) & ~(VHDX_UNIT_BYTES - 1);
}

static inline void make_item(int fd, uint32_t index, struct guid id, uint32_t flags, const void *value,
			     uint32_t bytes)
{
	struct vhdx_metadata_entry entry = {
		.item_id = id,
		.offset_bytes = VHDX_METADATA_TABLE_BYTES + 64 * index,
		.length_bytes = bytes,
		.flags = flags,
	};

	make_put(fd, &entry, sizeof(entry), MAKE_METADATA_OFFSET + 32 + 32 * index);
	make_put(fd, value, bytes, MAKE_METADATA_OFFSET + entry.offset_bytes);
}

/* A dynamic file without blocks, or (parameter_flags) one that is fixed with all of them. */
static inline int make_vhdx(const char *path, const struct vhdx_make *make)
{
	struct vhdx_header header = {
		.signature = VHDX_HEADER_TAG, .sequence_number = 7,
		.file_write_guid = GUID(1, 2, 3, 4, 5), .data_write_guid = GUID(6, 7, 8, 9, 10),
		.version = VHDX_VERSION, .log_length_bytes = 1 << 20, .log_offset_bytes = MAKE_LOG_OFFSET,
	};
	struct vhdx_region_table table = { .signature = VHDX_REGION_TAG, .entry_count = 2 };
	struct vhdx_region_entry regions[2] = {
		{ VHDX_BAT_REGION, MAKE_BAT_OFFSET, (uint32_t)make_bat_region_bytes(make), 1 },
		{ VHDX_METADATA_REGION, MAKE_METADATA_OFFSET, 1 << 20, 1 },
	};
	struct vhdx_metadata_table metadata = { .signature = "metadata", .entry_count = 5 + !!make->locator };
	struct vhdx_file_parameters parameters = { make->block_bytes, make->parameter_flags };
	uint32_t sector_bytes = make->sector_bytes ? make->sector_bytes : 512, physical_bytes = 4096;
	uint64_t end = MAKE_BAT_OFFSET + make_bat_region_bytes(make);
	struct guid id = MAKE_PAGE_83;
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)end) < 0)
		_exit(97);
	make_put(fd, "vhdxfile", 8, 0);
	make_header(fd, VHDX_HEADER1_OFFSET, &header);
	header.sequence_number++;
	make_header(fd, VHDX_HEADER2_OFFSET, &header);
	for (uint64_t at = VHDX_REGION_TABLE1_OFFSET; at <= VHDX_REGION_TABLE2_OFFSET; at += 0x10000) {
		make_put(fd, &table, sizeof(table), at);
		make_put(fd, regions, sizeof(regions), at + sizeof(table));
		make_checksum(fd, at, VHDX_REGION_TABLE_BYTES);
	}
	make_put(fd, &metadata, sizeof(metadata), MAKE_METADATA_OFFSET);
	make_item(fd, 0, VHDX_FILE_PARAMETERS, 4, &parameters, sizeof(parameters));
	make_item(fd, 1, VHDX_VIRTUAL_DISK_SIZE, 6, &make->size_bytes, 8);
	make_item(fd, 2, VHDX_LOGICAL_SECTOR_SIZE, 6, &sector_bytes, 4);
	make_item(fd, 3, VHDX_PHYSICAL_SECTOR_SIZE, 6, &physical_bytes, 4);
	make_item(fd, 4, VHDX_PAGE_83_DATA, 6, &id, sizeof(id));
	if (make->locator)
		make_item(fd, 5, VHDX_PARENT_LOCATOR, 4, make->locator, make->locator_bytes);
	for (uint64_t i = 0; (make->parameter_flags & VHDX_LEAVE_BLOCKS_ALLOCATED) &&
			     i < make->size_bytes / make->block_bytes; i++) {
		uint64_t entry = end | VHDX_BLOCK_FULLY_PRESENT;

		end += make->block_bytes;
		make_put(fd, &entry, 8, MAKE_BAT_OFFSET + 8 * i);
		if (ftruncate(fd, (off_t)end) < 0)
			_exit(97);
	}
	return fd;
}

#endif
