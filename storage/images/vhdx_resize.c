// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Changes the size of the disk in a VHDX file. What a longer disk needs is made first, where nobody
 * looks yet: zeroes behind its old end, new BAT entries behind the old ones or a whole new BAT at the
 * end of the file. Then one entry of the log changes all that refers to it, so that after a crash the
 * disk has its old or its new size and nothing between.
 *
 * Nothing is in flight meanwhile: what vhdx.lock guards needs no lock here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/error.h"
#include "storage/images/vhdx_internal.h"

#define SECTOR VHDX_LOG_SECTOR_BYTES

struct resize {
	struct vhdx *vhdx;
	uint64_t size_bytes;
	uint64_t block_count, entries;
	uint32_t bat_sectors;
	uint64_t bat_offset_bytes;
	uint32_t bat_region_bytes;
	_Atomic uint64_t *bat; /* new one, in memory */
	uint64_t *dirty;
	uint8_t *sectors;      /* what changes */
	struct vhdx_change changes[VHDX_JOURNAL_SECTORS_MAX];
	uint32_t change_count;
};

/* ---- preparing ---- */

/* What follows the end of the disk in its last block may be anything. */
static int clear_last_block(struct vhdx *vhdx)
{
	uint64_t block = vhdx->block_count - 1, entry = vhdx_bat_entry(vhdx, block);
	uint64_t used_bytes = vhdx_block_used_bytes(vhdx, block);
	uint64_t from = (entry & VHDX_BAT_OFFSET) + used_bytes;
	uint64_t to = (entry & VHDX_BAT_OFFSET) + vhdx->block_bytes;
	uint64_t page = (from + IMAGE_PAGE_BYTES - 1) & ~(uint64_t)(IMAGE_PAGE_BYTES - 1);
	uint8_t *zeroes;
	int result = 0;

	if (!vhdx_bat_present(entry) || from == to)
		return 0;
	if (vhdx->space.file_bytes < to) {
		if (ftruncate(vhdx->image.fd, (off_t)to) < 0)
			return image_errno(errno);
		vhdx->space.file_bytes = to;
	}
	if (page > from) {
		if (posix_memalign((void **)&zeroes, IMAGE_PAGE_BYTES, IMAGE_PAGE_BYTES))
			return -LIS_NOMEM;
		memset(zeroes, 0, IMAGE_PAGE_BYTES);
		result = image_write(vhdx->image.fd, zeroes, page - from, from);
		free(zeroes);
	}
	return result ? result : image_clear(vhdx->image.fd, page, to);
}

/* The new BAT in memory, with places for the new blocks of a fixed disk. */
static int fill_table(struct resize *resize)
{
	struct vhdx *vhdx = resize->vhdx;
	uint64_t new_blocks = resize->block_count - vhdx->block_count, place = 0;
	uint64_t entries = vhdx_bat_entries(vhdx, vhdx->block_count);
	uint8_t *old = (uint8_t *)vhdx->bat, *new = (uint8_t *)resize->bat;
	int result = 0;

	/* What is not written costs no memory. */
	for (uint64_t i = 0; i < entries / VHDX_BAT_SECTOR_ENTRIES; i++)
		if (!image_is_zero(old + i * SECTOR, SECTOR))
			memcpy(new + i * SECTOR, old + i * SECTOR, SECTOR);
	for (uint64_t i = entries & ~(VHDX_BAT_SECTOR_ENTRIES - 1); i < entries; i++)
		atomic_init(&resize->bat[i], vhdx->bat[i]);
	if (!vhdx->fixed)
		return 0;
	result = vhdx_bat_append(vhdx, new_blocks * vhdx->block_bytes, &place);
	for (uint64_t block = vhdx->block_count; block < resize->block_count && !result; block++) {
		atomic_init(&resize->bat[block + (block >> vhdx->chunk_shift)], place | VHDX_BLOCK_FULLY_PRESENT);
		place += vhdx->block_bytes;
	}
	return result;
}

/*
 * Writes the part of the new BAT that the file does not have yet. In place these are entries behind the
 * last one that counts; what counts of their first sector is written as it is there already. The log may
 * still have these sectors as they were, but vhdx_journal_change() empties it.
 */
static int write_table(struct resize *resize)
{
	struct vhdx *vhdx = resize->vhdx;
	bool moved = resize->bat_offset_bytes != vhdx->bat_offset_bytes;
	uint64_t first = moved ? 0 : vhdx_bat_entries(vhdx, vhdx->block_count) / VHDX_BAT_SECTOR_ENTRIES;
	const uint8_t *table = (const uint8_t *)resize->bat;
	int result = 0;

	if (!moved)
		result = image_clear(vhdx->image.fd, resize->bat_offset_bytes + (first + 1) * SECTOR,
				     resize->bat_offset_bytes + (uint64_t)resize->bat_sectors * SECTOR);
	for (uint64_t i = first; i < resize->bat_sectors && !result; i++)
		if (i == first || !image_is_zero(table + i * SECTOR, SECTOR))
			result = image_write(vhdx->image.fd, table + i * SECTOR, SECTOR,
					     resize->bat_offset_bytes + i * SECTOR);
	return result;
}

static int prepare_growth(struct resize *resize)
{
	struct vhdx *vhdx = resize->vhdx;
	int result = clear_last_block(vhdx);

	if (!result && resize->entries * sizeof(uint64_t) > vhdx->bat_region_bytes) {
		resize->bat_region_bytes = (uint32_t)((resize->entries * sizeof(uint64_t) + VHDX_UNIT_BYTES - 1) &
						      ~(VHDX_UNIT_BYTES - 1));
		result = vhdx_bat_append(vhdx, resize->bat_region_bytes, &resize->bat_offset_bytes);
	}
	if (!result)
		result = fill_table(resize);
	return result ? result : write_table(resize);
}

/* ---- what changes ---- */

/* Adds a sector as it is to be; @data is copied. */
static int add_change(struct resize *resize, uint64_t offset_bytes, const uint8_t *data)
{
	uint8_t *copy = resize->sectors + resize->change_count * SECTOR;

	if (resize->change_count == VHDX_JOURNAL_SECTORS_MAX)
		return -LIS_FULL;
	memcpy(copy, data, SECTOR);
	resize->changes[resize->change_count++] = (struct vhdx_change){ offset_bytes, copy };
	return 0;
}

/* The size may lie across two sectors. */
static int change_size(struct resize *resize)
{
	struct vhdx *vhdx = resize->vhdx;
	uint64_t first = vhdx->size_offset_bytes & ~(uint64_t)(SECTOR - 1);
	uint64_t within = vhdx->size_offset_bytes - first;
	uint32_t count = within + sizeof(uint64_t) > SECTOR ? 2 : 1;
	uint8_t *sectors;
	int result;

	if (posix_memalign((void **)&sectors, IMAGE_PAGE_BYTES, 2 * SECTOR))
		return -LIS_NOMEM;
	result = image_read(vhdx->image.fd, sectors, count * SECTOR, first);
	memcpy(sectors + within, &resize->size_bytes, sizeof(uint64_t));
	for (uint32_t i = 0; i < count && !result; i++)
		result = add_change(resize, first + i * SECTOR, sectors + i * SECTOR);
	free(sectors);
	return result;
}

/* Points the BAT's entry in a region table to the new place. */
static bool move_region(struct resize *resize, uint8_t *table)
{
	struct vhdx_region_entry *entries = (void *)(table + sizeof(struct vhdx_region_table));
	struct vhdx_region_table header;
	uint32_t checksum;

	memcpy(&header, table, sizeof(header));
	memcpy(&checksum, table + VHDX_CHECKSUM_OFFSET, sizeof(checksum));
	if (header.signature != VHDX_REGION_TAG || header.entry_count > VHDX_REGION_ENTRIES_MAX ||
	    checksum != vhdx_checksum(table, VHDX_REGION_TABLE_BYTES))
		return false;
	for (uint32_t i = 0; i < header.entry_count; i++) {
		if (guid_compare(&entries[i].guid, &VHDX_BAT_REGION))
			continue;
		entries[i].file_offset_bytes = resize->bat_offset_bytes;
		entries[i].length_bytes = resize->bat_region_bytes;
	}
	checksum = vhdx_checksum(table, VHDX_REGION_TABLE_BYTES);
	memcpy(table + VHDX_CHECKSUM_OFFSET, &checksum, sizeof(checksum));
	return true;
}

/* Both region tables; of one that is damaged it is left as it is, since it does not count. */
static int change_regions(struct resize *resize)
{
	static const uint64_t offsets[2] = { VHDX_REGION_TABLE1_OFFSET, VHDX_REGION_TABLE2_OFFSET };
	int fd = resize->vhdx->image.fd, result = 0;
	uint8_t *tables;

	if (resize->bat_offset_bytes == resize->vhdx->bat_offset_bytes)
		return 0;
	if (posix_memalign((void **)&tables, IMAGE_PAGE_BYTES, 2 * VHDX_REGION_TABLE_BYTES))
		return -LIS_NOMEM;
	for (int k = 0; k < 2 && !result; k++) {
		uint8_t *new = tables + VHDX_REGION_TABLE_BYTES;

		result = image_read(fd, tables, VHDX_REGION_TABLE_BYTES, offsets[k]);
		memcpy(new, tables, VHDX_REGION_TABLE_BYTES);
		if (result || !move_region(resize, new))
			continue;
		for (uint32_t i = 0; i < VHDX_REGION_TABLE_BYTES && !result; i += SECTOR)
			if (memcmp(tables + i, new + i, SECTOR))
				result = add_change(resize, offsets[k] + i, new + i);
	}
	free(tables);
	return result;
}

/* ---- the whole ---- */

static void adopt(struct resize *resize)
{
	struct vhdx *vhdx = resize->vhdx;

	munmap((void *)vhdx->bat, (size_t)vhdx->bat_sectors * SECTOR);
	free(vhdx->space.dirty);
	vhdx->bat = resize->bat;
	vhdx->space.dirty = resize->dirty;
	resize->bat = NULL;
	resize->dirty = NULL;
	vhdx->bat_sectors = resize->bat_sectors;
	vhdx->bat_offset_bytes = resize->bat_offset_bytes;
	vhdx->bat_region_bytes = resize->bat_region_bytes;
	if (vhdx->regions_end_bytes < vhdx->bat_offset_bytes + vhdx->bat_region_bytes)
		vhdx->regions_end_bytes = vhdx->bat_offset_bytes + vhdx->bat_region_bytes;
	if (!vhdx->fixed)
		vhdx->space.absent += resize->block_count - vhdx->block_count;
	vhdx->block_count = resize->block_count;
	vhdx->image.device.geometry.size_bytes = resize->size_bytes;
}

static int grow_disk(struct resize *resize)
{
	struct vhdx *vhdx = resize->vhdx;
	int result = prepare_growth(resize);

	if (!result)
		result = change_size(resize);
	if (!result)
		result = change_regions(resize);
	/* Settles first, which makes durable what was prepared. */
	if (!result)
		result = vhdx_journal_change(vhdx, resize->changes, resize->change_count);
	if (!result)
		adopt(resize);
	return result;
}

/* Blocks behind the new end lose their places. */
static int shrink_disk(struct resize *resize)
{
	struct vhdx *vhdx = resize->vhdx;
	int result = change_size(resize);

	if (!result)
		result = vhdx_journal_change(vhdx, resize->changes, resize->change_count);
	if (result)
		return result;
	vhdx->image.device.geometry.size_bytes = resize->size_bytes;
	for (uint64_t block = resize->block_count; block < vhdx->block_count; block++) {
		uint64_t entry = vhdx_bat_entry(vhdx, block);

		if (!vhdx_bat_present(entry))
			vhdx->space.absent--;
		if (entry)
			vhdx_bat_set(vhdx, block, 0);
	}
	vhdx->block_count = resize->block_count;
	/* They no longer count: where this fails it only costs room. */
	if (!vhdx_journal_settle(vhdx))
		vhdx_bat_trim(vhdx);
	return 0;
}

static int plan(struct resize *resize)
{
	struct vhdx *vhdx = resize->vhdx;

	resize->block_count = (resize->size_bytes + vhdx->block_bytes - 1) >> vhdx->block_shift;
	resize->entries = vhdx_bat_entries(vhdx, resize->block_count);
	resize->bat_sectors = vhdx_bat_sector_count(resize->entries);
	resize->bat_offset_bytes = vhdx->bat_offset_bytes;
	resize->bat_region_bytes = vhdx->bat_region_bytes;
	if (posix_memalign((void **)&resize->sectors, IMAGE_PAGE_BYTES, VHDX_JOURNAL_SECTORS_MAX * SECTOR))
		return -LIS_NOMEM;
	resize->dirty = calloc((resize->bat_sectors + 63) / 64, sizeof(uint64_t));
	resize->bat = vhdx_bat_reserve((uint64_t)resize->bat_sectors * SECTOR);
	return resize->dirty && resize->bat ? 0 : -LIS_NOMEM;
}

int vhdx_resize(struct block_device *device, uint64_t size_bytes, char *error)
{
	struct vhdx *vhdx = (struct vhdx *)device;
	struct resize resize = { .vhdx = vhdx, .size_bytes = size_bytes };
	int result;

	if (vhdx->differencing)
		return image_error(error, -LIS_UNSUPPORTED, device->path,
				   "is a differencing image: it has the size of its parent");
	if (size_bytes > VHDX_DISK_BYTES_MAX)
		return image_error(error, -LIS_INVALID, device->path, "a VHDX holds at most 64 TiB");
	result = vhdx_journal_settle(vhdx);
	if (!result)
		result = plan(&resize);
	if (!result)
		result = size_bytes > device->geometry.size_bytes ? grow_disk(&resize) : shrink_disk(&resize);
	if (resize.bat)
		munmap((void *)resize.bat, (size_t)resize.bat_sectors * SECTOR);
	free(resize.dirty);
	free(resize.sectors);
	if (result)
		image_error(error, result, device->path, "its size cannot be changed: %s",
			    lis_error_text(result));
	return result;
}
