// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Changes the size of the disk in a VHD file. The footer at the end says it, so writing that one sector
 * is the instant at which it changes; what a longer disk needs is made before: zeroes behind its old
 * end, BAT entries behind the old ones or, where they have no room, a whole new BAT at the end of the
 * file, to which one sector of the header points. A shorter disk gives up its blocks after.
 *
 * Nothing is in flight meanwhile: what vhd.lock guards needs no lock here.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/error.h"
#include "storage/images/vhd_internal.h"

#define SECTOR VHD_SECTOR_BYTES

struct resize {
	struct vhd *vhd;
	uint64_t size_bytes;
	uint64_t block_count;
	uint32_t bat_entries, bat_sectors;
	uint64_t bat_offset_bytes;
	_Atomic uint32_t *bat;
	_Atomic uint8_t *whole;
	uint64_t *dirty;
};

static int sync_file(struct vhd *vhd)
{
	return fdatasync(vhd->image.fd) < 0 ? image_errno(errno) : 0;
}

/* ---- fixed ---- */

/*
 * The footer is written behind the end by one write, which is what makes the file longer: whatever
 * part of that a crash leaves, the file ends with a footer. The old one is no longer that, and is
 * cleared.
 */
static int resize_fixed(struct vhd *vhd, uint64_t size_bytes)
{
	uint64_t old_bytes = vhd->image.device.geometry.size_bytes;
	struct vhd_footer *footer;
	int result;

	if (posix_memalign((void **)&footer, IMAGE_PAGE_BYTES, sizeof(*footer)))
		return -LIS_NOMEM;
	*footer = *vhd->footer;
	vhd_footer_resize(footer, size_bytes);
	result = image_write(vhd->image.fd, footer, sizeof(*footer), size_bytes);
	if (!result)
		result = sync_file(vhd);
	if (!result && ftruncate(vhd->image.fd, (off_t)(size_bytes + sizeof(*footer))) < 0)
		result = image_errno(errno);
	if (!result && size_bytes > old_bytes)
		result = image_clear(vhd->image.fd, old_bytes,
				     vhd->space.file_bytes < size_bytes ? vhd->space.file_bytes : size_bytes);
	if (!result)
		result = sync_file(vhd);
	if (!result) {
		*vhd->footer = *footer;
		vhd->space.file_bytes = size_bytes + sizeof(*footer);
		vhd->image.device.geometry.size_bytes = size_bytes;
	}
	free(footer);
	return result;
}

/* ---- growing ---- */

/* What follows the end of the disk in its last block may be anything, and its bits as well. */
static int clear_last_block(struct vhd *vhd)
{
	uint64_t block = vhd->block_count - 1;
	uint32_t entry = vhd_bat_entry(vhd, block);

	if (entry == VHD_ABSENT)
		return 0;
	return image_clear(vhd->image.fd, vhd_data_offset(vhd, entry) + vhd_block_used_bytes(vhd, block),
			   vhd_data_offset(vhd, entry) + vhd->block_bytes);
}

/*
 * Writes the part of the new BAT that the file does not have yet. In place these are entries behind the
 * last one that counts; what counts of their first sector is written as it is there already.
 */
static int write_table(struct resize *resize)
{
	struct vhd *vhd = resize->vhd;
	bool moved = resize->bat_offset_bytes != vhd->bat_offset_bytes;
	uint32_t first = moved ? 0 : (uint32_t)(vhd->block_count / VHD_BAT_SECTOR_ENTRIES);
	uint64_t bytes = (uint64_t)(resize->bat_sectors - first) * SECTOR;
	uint32_t *table;
	int result;

	if (!bytes)
		return 0;
	if (posix_memalign((void **)&table, IMAGE_PAGE_BYTES, bytes))
		return -LIS_NOMEM;
	for (uint64_t i = 0; i < bytes / sizeof(*table); i++)
		table[i] = htobe32(resize->bat[first * VHD_BAT_SECTOR_ENTRIES + i]);
	result = image_write(vhd->image.fd, table, bytes, resize->bat_offset_bytes + (uint64_t)first * SECTOR);
	free(table);
	return result;
}

/* All that changes of the header is in its first sector. */
static int write_header(struct resize *resize)
{
	uint64_t offset_bytes = be64toh(resize->vhd->footer->header_offset_bytes);
	struct vhd_header *header;
	int result;

	if (resize->bat_entries == resize->vhd->bat_entries &&
	    resize->bat_offset_bytes == resize->vhd->bat_offset_bytes)
		return 0;
	if (posix_memalign((void **)&header, IMAGE_PAGE_BYTES, sizeof(*header)))
		return -LIS_NOMEM;
	result = image_read(resize->vhd->image.fd, header, sizeof(*header), offset_bytes);
	header->bat_offset_bytes = htobe64(resize->bat_offset_bytes);
	header->bat_entries = htobe32(resize->bat_entries);
	header->checksum = htobe32(vhd_checksum(header, sizeof(*header), offsetof(struct vhd_header, checksum)));
	if (!result)
		result = image_write(resize->vhd->image.fd, header, SECTOR, offset_bytes);
	free(header);
	return result ? result : sync_file(resize->vhd);
}

/* The old table and what is absent behind it. */
static int fill_table(struct resize *resize)
{
	struct vhd *vhd = resize->vhd;
	uint64_t last = vhd->block_count - 1;

	resize->bat = calloc(resize->bat_sectors, SECTOR);
	resize->whole = calloc(resize->block_count, 1);
	resize->dirty = calloc((resize->bat_sectors + 63) / 64, sizeof(uint64_t));
	if (!resize->bat || !resize->whole || !resize->dirty)
		return -LIS_NOMEM;
	for (uint64_t i = 0; i < resize->bat_sectors * VHD_BAT_SECTOR_ENTRIES; i++)
		atomic_init(&resize->bat[i], i < vhd->block_count ? vhd_bat_entry(vhd, i) : VHD_ABSENT);
	memcpy((void *)resize->whole, (void *)vhd->whole, vhd->block_count);
	resize->whole[last] = 0; /* more of its bits count than did */
	return 0;
}

static void adopt(struct resize *resize)
{
	struct vhd *vhd = resize->vhd;

	vhd_bat_free(vhd);
	free(vhd->space.dirty);
	vhd->bat = resize->bat;
	vhd->whole = resize->whole;
	vhd->space.dirty = resize->dirty;
	resize->bat = NULL;
	resize->whole = NULL;
	resize->dirty = NULL;
	vhd->bat_entries = resize->bat_entries;
	vhd->bat_sectors = resize->bat_sectors;
	vhd->bat_offset_bytes = resize->bat_offset_bytes;
}

/* ---- dynamic ---- */

/* The footer with the new size: at the end, where it counts, then its copy. */
static int change_size(struct resize *resize)
{
	struct vhd *vhd = resize->vhd;
	struct vhd_footer *page = (struct vhd_footer *)vhd->page;
	int result;

	vhd_footer_resize(page, resize->size_bytes);
	result = vhd_settle_footer(vhd, vhd->space.end_bytes);
	if (result) {
		*page = *vhd->footer;
		return result;
	}
	*vhd->footer = *page;
	vhd->image.device.geometry.size_bytes = resize->size_bytes;
	result = image_write(vhd->image.fd, page, sizeof(*page), 0);
	return result ? result : sync_file(vhd);
}

/* Has the BAT room for its new sectors where it is? What its header says of that is not to be relied on. */
static bool has_room(const struct resize *resize)
{
	struct vhd *vhd = resize->vhd;
	uint64_t from = vhd->bat_offset_bytes, to = from + (uint64_t)resize->bat_sectors * SECTOR;
	uint64_t header = be64toh(vhd->footer->header_offset_bytes);

	if ((uint64_t)vhd->bat_entries * sizeof(uint32_t) + SECTOR - 1 < to - from ||
	    to > vhd->space.end_bytes || (header < to && from < header + sizeof(struct vhd_header)))
		return false;
	for (uint64_t block = 0; block < vhd->block_count; block++) {
		uint32_t entry = vhd_bat_entry(vhd, block);

		if (entry != VHD_ABSENT && (uint64_t)entry * SECTOR < to &&
		    from < vhd_data_offset(vhd, entry) + vhd->block_bytes)
			return false;
	}
	return true;
}

static int grow_disk(struct resize *resize)
{
	struct vhd *vhd = resize->vhd;
	uint64_t end_bytes = vhd->space.end_bytes;
	int result = fill_table(resize);

	if (!has_room(resize)) {
		resize->bat_offset_bytes = end_bytes;
		end_bytes += (uint64_t)resize->bat_sectors * SECTOR;
	}
	/* A footer, as it is, behind all that is written now: it may have stood where that goes. */
	if (!result)
		result = vhd_settle_footer(vhd, end_bytes);
	if (!result)
		result = clear_last_block(vhd);
	if (!result)
		result = write_table(resize);
	if (!result)
		result = sync_file(vhd);
	if (!result)
		result = write_header(resize);
	if (result)
		return result;
	adopt(resize);
	result = change_size(resize);
	if (vhd->image.device.geometry.size_bytes == resize->size_bytes) {
		vhd->space.absent += resize->block_count - vhd->block_count;
		vhd->block_count = resize->block_count;
	}
	return result;
}

int vhd_trim(struct vhd *vhd)
{
	uint64_t end_bytes = be64toh(vhd->footer->header_offset_bytes) + sizeof(struct vhd_header);
	uint64_t bat_bytes = (uint64_t)vhd->bat_entries * sizeof(uint32_t);
	uint64_t bat_end = vhd->bat_offset_bytes + (bat_bytes + SECTOR - 1) / SECTOR * SECTOR;

	if (bat_end > end_bytes)
		end_bytes = bat_end;
	for (uint64_t block = 0; block < vhd->block_count; block++) {
		uint32_t entry = vhd_bat_entry(vhd, block);

		if (entry != VHD_ABSENT && vhd_data_offset(vhd, entry) + vhd->block_bytes > end_bytes)
			end_bytes = vhd_data_offset(vhd, entry) + vhd->block_bytes;
	}
	return end_bytes < vhd->space.end_bytes ? vhd_settle_footer(vhd, end_bytes) : 0;
}

static int shrink_disk(struct resize *resize)
{
	struct vhd *vhd = resize->vhd;
	int result = change_size(resize);

	if (vhd->image.device.geometry.size_bytes != resize->size_bytes)
		return result;
	for (uint64_t block = resize->block_count; block < vhd->block_count; block++) {
		if (vhd_bat_entry(vhd, block) == VHD_ABSENT)
			vhd->space.absent--;
		else
			vhd_bat_set(vhd, block, VHD_ABSENT);
	}
	vhd->block_count = resize->block_count;
	if (!result)
		result = vhd_settle_now(vhd);
	return result ? result : vhd_trim(vhd);
}

static int resize_dynamic(struct vhd *vhd, uint64_t size_bytes, char *error)
{
	struct resize resize = {
		.vhd = vhd,
		.size_bytes = size_bytes,
		.block_count = (size_bytes + vhd->block_bytes - 1) >> vhd->block_shift,
		.bat_entries = vhd->bat_entries,
		.bat_offset_bytes = vhd->bat_offset_bytes,
	};
	int result;

	if (resize.block_count > VHD_BAT_ENTRIES_MAX)
		return image_error(error, -LIS_INVALID, vhd->image.device.path,
				   "in blocks of %u bytes it holds at most %llu GiB", vhd->block_bytes,
				   (unsigned long long)((VHD_BAT_ENTRIES_MAX << vhd->block_shift) >> 30));
	if (resize.block_count > resize.bat_entries)
		resize.bat_entries = (uint32_t)resize.block_count;
	resize.bat_sectors = (uint32_t)((resize.block_count + VHD_BAT_SECTOR_ENTRIES - 1) / VHD_BAT_SECTOR_ENTRIES);
	result = vhd_settle_now(vhd);
	if (!result)
		result = size_bytes > vhd->image.device.geometry.size_bytes ? grow_disk(&resize) :
									      shrink_disk(&resize);
	free((void *)resize.bat);
	free((void *)resize.whole);
	free(resize.dirty);
	return result;
}

int vhd_resize(struct block_device *device, uint64_t size_bytes, char *error)
{
	struct vhd *vhd = (struct vhd *)device;
	int result;

	if (vhd->differencing)
		return image_error(error, -LIS_UNSUPPORTED, device->path,
				   "is a differencing image: it has the size of its parent");
	if (size_bytes > VHD_DISK_BYTES_MAX)
		return image_error(error, -LIS_INVALID, device->path, "a VHD holds at most 2040 GiB");
	if (error)
		*error = 0;
	result = vhd->fixed ? resize_fixed(vhd, size_bytes) : resize_dynamic(vhd, size_bytes, error);
	if (result && error && !*error)
		image_error(error, result, device->path, "its size cannot be changed: %s", lis_error_text(result));
	return result;
}
