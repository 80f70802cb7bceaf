// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* What a VHDX file has to say of itself. */
#include <stdlib.h>
#include <string.h>

#include "storage/images/query.h"
#include "storage/images/vhdx_internal.h"

/* Of a block without a place. */
static bool is_inherited(const struct vhdx *vhdx, uint64_t entry)
{
	return vhdx->differencing && (entry & VHDX_BAT_STATE) == VHDX_BLOCK_NOT_PRESENT;
}

int vhdx_map(struct block_device *device, uint64_t offset_bytes, struct block_extent *out_extent)
{
	struct vhdx *vhdx = (struct vhdx *)device;
	uint64_t block = offset_bytes >> vhdx->block_shift;
	uint64_t within = offset_bytes & (vhdx->block_bytes - 1);
	uint64_t entry = vhdx_bat_entry(vhdx, block);

	if ((entry & VHDX_BAT_STATE) == VHDX_BLOCK_PARTIALLY_PRESENT)
		return vhdx_diff_map(vhdx, offset_bytes, out_extent);
	out_extent->length_bytes = vhdx->block_bytes - within;
	out_extent->data = vhdx_bat_present(entry);
	if (!out_extent->data) {
		bool inherited = is_inherited(vhdx, entry);

		while (++block < vhdx->block_count && !vhdx_bat_has_place(vhdx_bat_entry(vhdx, block)) &&
		       is_inherited(vhdx, vhdx_bat_entry(vhdx, block)) == inherited)
			out_extent->length_bytes += vhdx->block_bytes;
		out_extent->inherited = inherited;
		return 0;
	}
	return query_file(&vhdx->image, (entry & VHDX_BAT_OFFSET) + within, out_extent->length_bytes,
			  &out_extent->length_bytes, &out_extent->data);
}

static bool region_table_good(const struct vhdx *vhdx, uint64_t offset_bytes)
{
	uint8_t *table = NULL;
	bool good = true;
	uint32_t checksum;

	if (posix_memalign((void **)&table, IMAGE_PAGE_BYTES, VHDX_REGION_TABLE_BYTES))
		return true;
	if (image_read(vhdx->image.fd, table, VHDX_REGION_TABLE_BYTES, offset_bytes)) {
		good = false;
	} else {
		memcpy(&checksum, table + VHDX_CHECKSUM_OFFSET, sizeof(checksum));
		good = checksum == vhdx_checksum(table, VHDX_REGION_TABLE_BYTES);
	}
	free(table);
	return good;
}

void vhdx_describe(struct block_device *device, struct block_details *out_details)
{
	struct vhdx *vhdx = (struct vhdx *)device;

	out_details->kind = vhdx->differencing ? "differencing" : vhdx->fixed ? "fixed" : "dynamic";
	out_details->block_bytes = vhdx->block_bytes;
	out_details->blocks = vhdx->block_count;
	out_details->blocks_present = vhdx->block_count - vhdx->space.absent;
	if (!region_table_good(vhdx, VHDX_REGION_TABLE1_OFFSET) ||
	    !region_table_good(vhdx, VHDX_REGION_TABLE2_OFFSET))
		query_add(out_details, true, "one of its two region tables is damaged; the other one is good");
	if (vhdx_is_merging(vhdx))
		query_add(out_details, false, "its parent has part of it already: merging was interrupted, "
			  "'lis disk merge' again brings it to its end");
	if (vhdx->log_was_full)
		query_add(out_details, false, "it was not closed; its log is replayed when it is next opened "
			  "for writing");
	if (vhdx->header_was_lost)
		query_add(out_details, false, "one of its two headers is not valid, as after a power cut; the "
			  "other one is good");
}

/* A region table that is damaged becomes a copy of the other one. */
static int repair_regions(struct vhdx *vhdx, uint64_t offset_bytes)
{
	struct vhdx_change changes[VHDX_REGION_TABLE_BYTES / VHDX_LOG_SECTOR_BYTES];
	uint32_t count = sizeof(changes) / sizeof(changes[0]);
	uint8_t *table = NULL;
	int result;

	if (region_table_good(vhdx, offset_bytes))
		return 0;
	if (posix_memalign((void **)&table, IMAGE_PAGE_BYTES, VHDX_REGION_TABLE_BYTES))
		return -LIS_NOMEM;
	result = vhdx_regions_read(vhdx, table);
	for (uint32_t i = 0; i < count; i++)
		changes[i] = (struct vhdx_change){ offset_bytes + i * VHDX_LOG_SECTOR_BYTES,
						   table + i * VHDX_LOG_SECTOR_BYTES };
	if (!result)
		result = vhdx_journal_change(vhdx, changes, count);
	free(table);
	return result;
}

int vhdx_repair(struct block_device *device)
{
	struct vhdx *vhdx = (struct vhdx *)device;
	/* This writes a header, into the place of the one that does not count. */
	int result = vhdx->header_was_lost || vhdx->log_was_full ? vhdx_journal_settle(vhdx) : 0;

	if (!result)
		result = repair_regions(vhdx, VHDX_REGION_TABLE1_OFFSET);
	return result ? result : repair_regions(vhdx, VHDX_REGION_TABLE2_OFFSET);
}
