// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Makes VHD files, fixed, dynamic and differencing. They say their size in the footer; where it is not exactly that
 * of a geometry the geometry is the largest one, which everybody takes for "see the footer".
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "storage/images/create.h"
#include "storage/images/image.h"
#include "storage/images/vhd_internal.h"
#include "storage/images/vhdx_internal.h"

#define HEADER_OFFSET sizeof(struct vhd_footer)
#define BAT_OFFSET (HEADER_OFFSET + sizeof(struct vhd_header))

/* Source: [vhd-spec] Appendix: CHS Calculation. */
static void set_geometry(struct vhd_footer *footer, uint64_t size_bytes)
{
	uint64_t sectors = size_bytes / VHD_SECTOR_BYTES, cylinder_tracks;
	uint32_t track = 17, heads;

	if (sectors >= UINT64_C(65535) * 16 * 63) {
		track = 255;
		heads = 16;
		cylinder_tracks = sectors / track;
	} else {
		cylinder_tracks = sectors / track;
		heads = (uint32_t)((cylinder_tracks + 1023) / 1024);
		if (heads < 4)
			heads = 4;
		if (cylinder_tracks >= heads * 1024 || heads > 16) {
			track = 31;
			heads = 16;
			cylinder_tracks = sectors / track;
		}
		if (cylinder_tracks >= heads * 1024) {
			track = 63;
			heads = 16;
			cylinder_tracks = sectors / track;
		}
	}
	if (cylinder_tracks / heads * heads * track == sectors && cylinder_tracks / heads <= VHD_CYLINDERS_MAX) {
		footer->cylinders = htobe16((uint16_t)(cylinder_tracks / heads));
		footer->heads = (uint8_t)heads;
		footer->track_sectors = (uint8_t)track;
	} else {
		footer->cylinders = htobe16(VHD_CYLINDERS_MAX);
		footer->heads = VHD_HEADS_MAX;
		footer->track_sectors = VHD_TRACK_SECTORS_MAX;
	}
}

void vhd_footer_resize(struct vhd_footer *footer, uint64_t size_bytes)
{
	footer->current_size_bytes = htobe64(size_bytes);
	set_geometry(footer, size_bytes);
	footer->checksum = htobe32(vhd_checksum(footer, sizeof(*footer), offsetof(struct vhd_footer, checksum)));
}

static int make_footer(const struct create_file *file, const struct block_create_options *options,
		       struct vhd_footer *out_footer)
{
	*out_footer = (struct vhd_footer){
		.cookie = VHD_FOOTER_COOKIE,
		.features = htobe32(VHD_FEATURE_RESERVED),
		.version = htobe32(VHD_VERSION),
		.header_offset_bytes = options->fixed ? VHD_NO_OFFSET : htobe64(HEADER_OFFSET),
		.time_s = htobe32((uint32_t)(time(NULL) - VHD_EPOCH_S)),
		.creator = "lis ",
		.creator_version = htobe32(0x00010000),
		.creator_host = "Wi2k", /* there are this and "Mac " */
		.original_size_bytes = htobe64(options->size_bytes),
		.type = htobe32(options->parent ? VHD_DIFFERENCING : options->fixed ? VHD_FIXED : VHD_DYNAMIC),
	};
	if (vhdx_new_guid(&out_footer->unique_id))
		return image_error(file->error, -LIS_IO, file->path, "no random numbers to be had");
	vhd_footer_resize(out_footer, options->size_bytes);
	return 0;
}

static int write_fixed(const struct create_file *file, const struct block_create_options *options,
		       const struct vhd_footer *footer)
{
	int result;

	if (options->block_bytes)
		return image_error(file->error, -LIS_INVALID, file->path, "a fixed VHD has no blocks");
	result = create_extend(file, options->size_bytes + sizeof(*footer), options->allocate);
	return result ? result : create_write(file, footer, sizeof(*footer), options->size_bytes);
}

static int write_dynamic(const struct create_file *file, const struct block_create_options *options,
			 const struct vhd_footer *footer)
{
	uint32_t block_bytes = options->block_bytes ? options->block_bytes : VHD_BLOCK_BYTES_DEFAULT;
	uint64_t entries = (options->size_bytes + block_bytes - 1) / block_bytes;
	uint64_t bat_bytes = (entries * sizeof(uint32_t) + VHD_SECTOR_BYTES - 1) &
			     ~(uint64_t)(VHD_SECTOR_BYTES - 1);
	struct vhd_header header = {
		.cookie = VHD_HEADER_COOKIE,
		.next_offset_bytes = VHD_NO_OFFSET,
		.bat_offset_bytes = htobe64(BAT_OFFSET),
		.version = htobe32(VHD_VERSION),
		.bat_entries = htobe32((uint32_t)entries),
		.block_bytes = htobe32(block_bytes),
	};
	uint8_t *bat = malloc(bat_bytes), *texts = NULL;
	uint32_t texts_bytes = 0;
	int result = 0;

	if (!bat)
		return image_error(file->error, -LIS_NOMEM, file->path, "out of memory");
	memset(bat, 0xff, bat_bytes);
	if (options->parent)
		result = vhd_parent_describe(file->path, options->parent, BAT_OFFSET + bat_bytes, &header, &texts,
					     &texts_bytes, file->error);
	header.checksum = htobe32(vhd_checksum(&header, sizeof(header), offsetof(struct vhd_header, checksum)));
	if (!result)
		result = create_write(file, footer, sizeof(*footer), 0);
	if (!result)
		result = create_write(file, &header, sizeof(header), HEADER_OFFSET);
	if (!result)
		result = create_write(file, bat, bat_bytes, BAT_OFFSET);
	if (!result && texts)
		result = create_write(file, texts, texts_bytes, BAT_OFFSET + bat_bytes);
	if (!result)
		result = create_write(file, footer, sizeof(*footer), BAT_OFFSET + bat_bytes + texts_bytes);
	free(texts);
	free(bat);
	return result;
}

int create_vhd(const struct create_file *file, const struct block_create_options *options)
{
	struct vhd_footer footer;
	int result;

	if (options->size_bytes > VHD_DISK_BYTES_MAX)
		return image_error(file->error, -LIS_INVALID, file->path,
				   "a VHD holds at most 2040 GiB; VHDX holds 64 TiB");
	/* Virtual PC's 512 KiB is the least that is known; it also bounds the BAT. [policy] */
	if (options->block_bytes && (options->block_bytes < 512 << 10 ||
				     options->block_bytes > VHD_BLOCK_BYTES_MAX ||
				     options->block_bytes & (options->block_bytes - 1)))
		return image_error(file->error, -LIS_INVALID, file->path,
				   "the block size of a VHD is a power of two from 512K to 256M");
	if (options->logical_sector_bytes && options->logical_sector_bytes != VHD_SECTOR_BYTES)
		return image_error(file->error, -LIS_INVALID, file->path, "a VHD has sectors of 512 bytes");
	result = make_footer(file, options, &footer);
	if (result)
		return result;
	return options->fixed ? write_fixed(file, options, &footer) : write_dynamic(file, options, &footer);
}
