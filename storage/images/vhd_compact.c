// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Makes a dynamic VHD file as small as its contents: blocks that are zero become absent, the rest moves
 * down, each with its bitmap. Entries are durable before what they gave up is used again; a crash
 * leaves room unused, no more.
 */
#include <endian.h>
#include <stdlib.h>

#include "storage/images/compact.h"
#include "storage/images/vhd_internal.h"

static void set(struct image *image, uint64_t block, uint64_t place_bytes)
{
	vhd_bat_set((struct vhd *)image, block, (uint32_t)(place_bytes / VHD_SECTOR_BYTES));
}

static int settle(struct image *image)
{
	return vhd_settle_now((struct vhd *)image);
}

/* Blocks that are zero give up their place. Of one that is not whole what its bitmap leaves out is zero. */
static int free_blocks(struct vhd *vhd, struct compact *compact)
{
	int result = 0;

	for (uint64_t block = 0; block < vhd->block_count && !result; block++) {
		uint32_t entry = vhd_bat_entry(vhd, block);
		bool zero;

		if (entry == VHD_ABSENT)
			continue;
		result = vhd_bat_make_whole(vhd, block);
		if (!result)
			result = compact_scan(compact, vhd_data_offset(vhd, entry), vhd_block_used_bytes(vhd, block), &zero);
		if (!result && zero) {
			vhd->space.absent++;
			vhd_bat_set(vhd, block, VHD_ABSENT);
		}
		if (!result)
			result = compact_goes_on(compact, vhd->block_bytes);
	}
	return result;
}

static void add_item(struct compact *compact, uint64_t place_bytes, uint64_t length_bytes, uint64_t block)
{
	compact->items[compact->item_count++] = (struct compact_item){ place_bytes, length_bytes, block };
}

static int list_items(struct vhd *vhd, struct compact *compact)
{
	uint64_t header = be64toh(vhd->footer->header_offset_bytes);
	uint64_t bat_bytes = (uint64_t)vhd->bat_entries * sizeof(uint32_t);

	if (bat_bytes < (uint64_t)vhd->bat_sectors * VHD_SECTOR_BYTES)
		bat_bytes = (uint64_t)vhd->bat_sectors * VHD_SECTOR_BYTES;
	bat_bytes = (bat_bytes + VHD_SECTOR_BYTES - 1) & ~(uint64_t)(VHD_SECTOR_BYTES - 1);
	compact->items = calloc(vhd->block_count - vhd->space.absent + 3, sizeof(*compact->items));
	if (!compact->items)
		return -LIS_NOMEM;
	add_item(compact, 0, sizeof(struct vhd_footer), COMPACT_STAYS);
	add_item(compact, header, sizeof(struct vhd_header), COMPACT_STAYS);
	add_item(compact, vhd->bat_offset_bytes, bat_bytes, COMPACT_STAYS);
	for (uint64_t block = 0; block < vhd->block_count; block++) {
		uint32_t entry = vhd_bat_entry(vhd, block);

		if (entry != VHD_ABSENT)
			add_item(compact, (uint64_t)entry * VHD_SECTOR_BYTES, compact->block_bytes, block);
	}
	return 0;
}

static int run(struct vhd *vhd, struct compact *compact)
{
	int result = vhd_settle_now(vhd);

	compact->all_bytes = (vhd->block_count - vhd->space.absent) * vhd->block_bytes;
	if (!result)
		result = free_blocks(vhd, compact);
	/* Also what was found before somebody said stop. */
	if (!result || result == -LIS_CANCELED) {
		int settled = vhd_settle_now(vhd);

		result = settled ? settled : result;
	}
	if (!result)
		result = list_items(vhd, compact);
	if (!result)
		result = compact_move(compact);
	if (!result || result == -LIS_CANCELED) {
		int trimmed = vhd_trim(vhd);

		result = trimmed ? trimmed : result;
	}
	return result;
}

int vhd_compact(struct block_device *device, const struct block_compact *how, char *error)
{
	struct vhd *vhd = (struct vhd *)device;
	struct compact compact;
	int result;

	/* A block that is zero and not there would show the parent. */
	if (vhd->fixed || vhd->differencing)
		return image_error(error, -LIS_UNSUPPORTED, device->path, vhd->fixed ?
				   "is a fixed image, which keeps its room; 'lis disk convert' makes it dynamic" :
				   "is a differencing image; only dynamic ones are compacted");
	result = compact_init(&compact, &vhd->image, how);
	compact.block_bytes = vhd->bitmap_bytes + (uint64_t)vhd->block_bytes;
	compact.align_bytes = IMAGE_PAGE_BYTES;
	compact.align_skew_bytes = vhd->bitmap_bytes;
	compact.set = set;
	compact.settle = settle;
	if (!result)
		result = run(vhd, &compact);
	compact_fini(&compact);
	return result;
}
