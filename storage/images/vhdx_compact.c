// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Makes a dynamic VHDX file as small as its contents: blocks that are zero become so by definition, the
 * rest moves down. The journal makes each step whole; a crash between two leaves room unused, no more.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "storage/images/compact.h"
#include "storage/images/vhdx_internal.h"

static void set(struct image *image, uint64_t block, uint64_t place_bytes)
{
	vhdx_bat_set((struct vhdx *)image, block, place_bytes | VHDX_BLOCK_FULLY_PRESENT);
}

static int settle(struct image *image)
{
	return vhdx_journal_settle((struct vhdx *)image);
}

/* Blocks that are zero, or have a place and nothing in it, give it up. */
static int free_blocks(struct vhdx *vhdx, struct compact *compact)
{
	int result = 0;

	for (uint64_t block = 0; block < vhdx->block_count && !result; block++) {
		uint64_t entry = vhdx_bat_entry(vhdx, block);
		bool zero = true;

		if (!(entry & VHDX_BAT_OFFSET))
			continue;
		if (vhdx_bat_present(entry)) {
			result = compact_scan(compact, entry & VHDX_BAT_OFFSET, vhdx_block_used_bytes(vhdx, block), &zero);
			vhdx->space.absent += !result && zero;
		}
		if (!result && zero)
			vhdx_bat_set(vhdx, block, VHDX_BLOCK_ZERO);
		if (!result)
			result = compact_goes_on(compact, vhdx->block_bytes);
	}
	return result;
}

static void add_item(struct compact *compact, uint64_t place_bytes, uint64_t length_bytes, uint64_t block)
{
	compact->items[compact->item_count++] = (struct compact_item){ place_bytes, length_bytes, block };
}

/* All that is in the file: what may move is known block by block, and regions may be of any kind. */
static int list_items(struct vhdx *vhdx, struct compact *compact)
{
	uint64_t blocks = vhdx->block_count - vhdx->space.absent;
	struct vhdx_region_entry region;
	uint8_t *table;
	uint32_t count;
	int result;

	compact->items = calloc(blocks + VHDX_REGION_ENTRIES_MAX + 2, sizeof(*compact->items));
	if (!compact->items || posix_memalign((void **)&table, IMAGE_PAGE_BYTES, VHDX_REGION_TABLE_BYTES))
		return -LIS_NOMEM;
	result = vhdx_regions_read(vhdx, table);
	memcpy(&count, table + offsetof(struct vhdx_region_table, entry_count), sizeof(count));
	add_item(compact, 0, VHDX_UNIT_BYTES, COMPACT_STAYS);
	add_item(compact, vhdx->header.log_offset_bytes, vhdx->header.log_length_bytes, COMPACT_STAYS);
	for (uint32_t i = 0; i < count && !result; i++) {
		memcpy(&region, table + sizeof(struct vhdx_region_table) + i * sizeof(region), sizeof(region));
		add_item(compact, region.file_offset_bytes, region.length_bytes, COMPACT_STAYS);
	}
	free(table);
	for (uint64_t block = 0; block < vhdx->block_count && !result; block++) {
		uint64_t entry = vhdx_bat_entry(vhdx, block);

		if (vhdx_bat_present(entry))
			add_item(compact, entry & VHDX_BAT_OFFSET, vhdx->block_bytes, block);
	}
	return result;
}

static int run(struct vhdx *vhdx, struct compact *compact)
{
	int result = vhdx_journal_settle(vhdx);

	compact->all_bytes = (vhdx->block_count - vhdx->space.absent) * vhdx->block_bytes;
	if (!result)
		result = free_blocks(vhdx, compact);
	/* Also what was found before somebody said stop. */
	if (!result || result == -LIS_CANCELED) {
		int settled = vhdx_journal_settle(vhdx);

		result = settled ? settled : result;
	}
	if (!result)
		result = list_items(vhdx, compact);
	if (!result)
		result = compact_move(compact);
	if (!result || result == -LIS_CANCELED)
		vhdx_bat_trim(vhdx);
	return result;
}

int vhdx_compact(struct block_device *device, const struct block_compact *how, char *error)
{
	struct vhdx *vhdx = (struct vhdx *)device;
	struct compact compact;
	int result;

	if (vhdx->fixed || vhdx->differencing)
		return image_error(error, -LIS_UNSUPPORTED, device->path, vhdx->fixed ?
				   "is a fixed image, which keeps its room; 'lis disk convert' makes it dynamic" :
				   "is a differencing image; only dynamic ones are compacted");
	result = compact_init(&compact, &vhdx->image, how);
	compact.block_bytes = vhdx->block_bytes;
	compact.align_bytes = VHDX_UNIT_BYTES;
	compact.set = set;
	compact.settle = settle;
	if (!result)
		result = run(vhdx, &compact);
	compact_fini(&compact);
	return result;
}
