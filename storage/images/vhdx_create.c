// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Makes VHDX files, fixed, dynamic and differencing: headers in the first MiB, then 1 MiB of log, 1 MiB of metadata,
 * the BAT, and the blocks of a fixed disk in their order.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/images/create.h"
#include "storage/images/vhdx_internal.h"

#define LOG_OFFSET VHDX_UNIT_BYTES
#define METADATA_OFFSET (2 * VHDX_UNIT_BYTES)
#define BAT_OFFSET (3 * VHDX_UNIT_BYTES)
#define BAT_PIECE_ENTRIES 8192u

#define BLOCK_BYTES_SMALL (UINT32_C(2) << 20)   /* [policy] keeps files small */
#define BLOCK_BYTES_LARGE (UINT32_C(32) << 20)  /* [policy] keeps the BAT small */
#define LARGE_DISK_BYTES (UINT64_C(1) << 40)

struct plan {
	uint64_t size_bytes;
	uint32_t block_bytes;
	uint32_t sector_bytes;
	bool fixed;
	struct block_device *parent;
	uint64_t blocks;
	uint64_t chunk_blocks; /* between two sector bitmap entries */
	uint64_t bat_entries;
	uint64_t bat_bytes;    /* whole units */
};

static int write_headers(const struct create_file *file)
{
	static const uint8_t identifier[] = "vhdxfilel\0i\0s\0\0"; /* with the creator in UTF-16 */
	uint8_t page[VHDX_HEADER_BYTES];
	struct vhdx_header header = {
		.signature = VHDX_HEADER_TAG,
		.version = VHDX_VERSION,
		.log_version = VHDX_LOG_VERSION,
		.log_length_bytes = (uint32_t)VHDX_UNIT_BYTES,
		.log_offset_bytes = LOG_OFFSET,
	};
	int result = create_write(file, identifier, sizeof(identifier), 0);

	if (vhdx_new_guid(&header.file_write_guid) || vhdx_new_guid(&header.data_write_guid))
		return image_error(file->error, -LIS_IO, file->path, "no random numbers to be had");
	for (uint32_t slot = 0; slot < 2 && !result; slot++) {
		header.sequence_number++;
		vhdx_header_image(&header, page);
		result = create_write(file, page, sizeof(page), vhdx_header_offset(slot));
	}
	return result;
}

static int write_region_tables(const struct create_file *file, const struct plan *plan)
{
	const struct vhdx_region_table header = { .signature = VHDX_REGION_TAG, .entry_count = 2 };
	const struct vhdx_region_entry entries[2] = {
		{ VHDX_BAT_REGION, BAT_OFFSET, (uint32_t)plan->bat_bytes, VHDX_REGION_REQUIRED },
		{ VHDX_METADATA_REGION, METADATA_OFFSET, (uint32_t)VHDX_UNIT_BYTES, VHDX_REGION_REQUIRED },
	};
	uint8_t *table = calloc(1, VHDX_REGION_TABLE_BYTES);
	uint32_t checksum;
	int result;

	if (!table)
		return image_error(file->error, -LIS_NOMEM, file->path, "out of memory");
	memcpy(table, &header, sizeof(header));
	memcpy(table + sizeof(header), entries, sizeof(entries));
	checksum = vhdx_checksum(table, VHDX_REGION_TABLE_BYTES);
	memcpy(table + VHDX_CHECKSUM_OFFSET, &checksum, sizeof(checksum));
	result = create_write(file, table, VHDX_REGION_TABLE_BYTES, VHDX_REGION_TABLE1_OFFSET);
	if (!result)
		result = create_write(file, table, VHDX_REGION_TABLE_BYTES, VHDX_REGION_TABLE2_OFFSET);
	free(table);
	return result;
}

struct item {
	struct guid id;
	const void *value;
	uint32_t bytes;
	uint32_t flags;
};

static int write_items(const struct create_file *file, const struct item *items, uint16_t count)
{
	const struct vhdx_metadata_table header = {
		.signature = { 'm', 'e', 't', 'a', 'd', 'a', 't', 'a' },
		.entry_count = count,
	};
	uint32_t offset_bytes = VHDX_METADATA_TABLE_BYTES;
	int result = create_write(file, &header, sizeof(header), METADATA_OFFSET);

	for (uint32_t i = 0; i < count && !result; i++) {
		const struct vhdx_metadata_entry entry = {
			.item_id = items[i].id,
			.offset_bytes = offset_bytes,
			.length_bytes = items[i].bytes,
			.flags = items[i].flags,
		};

		result = create_write(file, &entry, sizeof(entry),
				      METADATA_OFFSET + sizeof(header) + i * sizeof(entry));
		if (!result)
			result = create_write(file, items[i].value, items[i].bytes,
					      METADATA_OFFSET + offset_bytes);
		offset_bytes += items[i].bytes;
	}
	return result;
}

static int write_metadata(const struct create_file *file, const struct plan *plan)
{
	const uint32_t required = VHDX_METADATA_IS_REQUIRED, disk = required | VHDX_METADATA_IS_VIRTUAL_DISK;
	const struct vhdx_file_parameters parameters = {
		plan->block_bytes, plan->parent ? VHDX_HAS_PARENT : plan->fixed ? VHDX_LEAVE_BLOCKS_ALLOCATED : 0,
	};
	const uint32_t physical_bytes = plan->parent ? plan->parent->geometry.physical_sector_bytes : 4096;
	uint8_t *locator = NULL;
	struct guid id;
	struct item items[6] = {
		{ VHDX_FILE_PARAMETERS, &parameters, sizeof(parameters), required },
		{ VHDX_VIRTUAL_DISK_SIZE, &plan->size_bytes, 8, disk },
		{ VHDX_PAGE_83_DATA, &id, sizeof(id), disk },
		{ VHDX_LOGICAL_SECTOR_SIZE, &plan->sector_bytes, 4, disk },
		{ VHDX_PHYSICAL_SECTOR_SIZE, &physical_bytes, 4, disk },
		{ VHDX_PARENT_LOCATOR, NULL, 0, required },
	};
	int result = 0;

	if (plan->parent) {
		/* To the guest it stays the same disk. */
		id = plan->parent->geometry.unique_id;
		result = vhdx_parent_locator(file->path, plan->parent, &locator, &items[5].bytes, file->error);
		items[5].value = locator;
	} else if (vhdx_new_guid(&id)) {
		result = image_error(file->error, -LIS_IO, file->path, "no random numbers to be had");
	}
	if (!result)
		result = write_items(file, items, plan->parent ? 6 : 5);
	free(locator);
	return result;
}

/* All blocks of a fixed disk are there, one behind the other. */
static int write_fixed_table(const struct create_file *file, const struct plan *plan)
{
	uint64_t *piece = malloc(BAT_PIECE_ENTRIES * sizeof(*piece));
	uint64_t place = BAT_OFFSET + plan->bat_bytes;
	int result = 0;

	if (!piece)
		return image_error(file->error, -LIS_NOMEM, file->path, "out of memory");
	for (uint64_t at = 0; at < plan->bat_entries && !result; at += BAT_PIECE_ENTRIES) {
		uint64_t count = plan->bat_entries - at;

		if (count > BAT_PIECE_ENTRIES)
			count = BAT_PIECE_ENTRIES;
		for (uint64_t i = 0; i < count; i++) {
			bool bitmap = (at + i) % (plan->chunk_blocks + 1) == plan->chunk_blocks;

			piece[i] = bitmap ? 0 : place | VHDX_BLOCK_FULLY_PRESENT;
			place += bitmap ? 0 : plan->block_bytes;
		}
		result = create_write(file, piece, count * sizeof(*piece), BAT_OFFSET + at * sizeof(*piece));
	}
	free(piece);
	return result;
}

static int make_plan(const struct create_file *file, const struct block_create_options *options,
		     struct plan *out_plan)
{
	struct plan plan = { .size_bytes = options->size_bytes, .fixed = options->fixed, .parent = options->parent };

	plan.block_bytes = options->block_bytes ? options->block_bytes :
			   options->size_bytes > LARGE_DISK_BYTES ? BLOCK_BYTES_LARGE : BLOCK_BYTES_SMALL;
	plan.sector_bytes = options->logical_sector_bytes ? options->logical_sector_bytes : 512;
	if (plan.block_bytes < VHDX_BLOCK_BYTES_MIN || plan.block_bytes > VHDX_BLOCK_BYTES_MAX ||
	    plan.block_bytes & (plan.block_bytes - 1))
		return image_error(file->error, -LIS_INVALID, file->path,
				   "the block size of a VHDX is a power of two from 1M to 256M");
	if (plan.size_bytes > VHDX_DISK_BYTES_MAX)
		return image_error(file->error, -LIS_INVALID, file->path, "a VHDX holds at most 64 TiB");
	if ((plan.sector_bytes != 512 && plan.sector_bytes != 4096) || plan.size_bytes % plan.sector_bytes)
		return image_error(file->error, -LIS_INVALID, file->path,
				   "a VHDX has whole sectors of 512 or 4096 bytes");
	plan.blocks = (plan.size_bytes + plan.block_bytes - 1) / plan.block_bytes;
	plan.chunk_blocks = VHDX_SECTORS_PER_CHUNK * plan.sector_bytes / plan.block_bytes;
	plan.bat_entries = plan.blocks + (plan.blocks - 1) / plan.chunk_blocks;
	if (plan.parent) /* whole chunks, each with its bitmap's entry */
		plan.bat_entries = ((plan.blocks - 1) / plan.chunk_blocks + 1) * (plan.chunk_blocks + 1);
	plan.bat_bytes = (plan.bat_entries * sizeof(uint64_t) + VHDX_UNIT_BYTES - 1) & ~(VHDX_UNIT_BYTES - 1);
	*out_plan = plan;
	return 0;
}

int create_vhdx(const struct create_file *file, const struct block_create_options *options)
{
	struct plan plan;
	uint64_t bytes;
	int result = make_plan(file, options, &plan);

	if (result)
		return result;
	bytes = BAT_OFFSET + plan.bat_bytes + (plan.fixed ? plan.blocks * plan.block_bytes : 0);
	result = create_extend(file, bytes, options->allocate && plan.fixed);
	if (!result)
		result = write_headers(file);
	if (!result)
		result = write_region_tables(file, &plan);
	if (!result)
		result = write_metadata(file, &plan);
	if (!result && plan.fixed)
		result = write_fixed_table(file, &plan);
	return result;
}
