// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* What a VHD file has to say of itself. */
#include <string.h>

#include "storage/images/query.h"
#include "storage/images/vhd_internal.h"

int vhd_map(struct block_device *device, uint64_t offset_bytes, struct block_extent *out_extent)
{
	struct vhd *vhd = (struct vhd *)device;
	uint64_t block, within, file_bytes;

	if (vhd->fixed)
		return query_file(&vhd->image, offset_bytes, out_extent->length_bytes,
				  &out_extent->length_bytes, &out_extent->data);
	block = offset_bytes >> vhd->block_shift;
	within = offset_bytes & (vhd->block_bytes - 1);
	out_extent->length_bytes = vhd->block_bytes - within;
	out_extent->data = vhd_bat_entry(vhd, block) != VHD_ABSENT;
	if (!out_extent->data) {
		out_extent->inherited = vhd->differencing;
		while (++block < vhd->block_count && vhd_bat_entry(vhd, block) == VHD_ABSENT)
			out_extent->length_bytes += vhd->block_bytes;
		return 0;
	}
	if (vhd->differencing && !atomic_load_explicit(&vhd->whole[block], memory_order_acquire))
		return vhd_diff_map(vhd, offset_bytes, out_extent);
	file_bytes = vhd_data_offset(vhd, vhd_bat_entry(vhd, block)) + within;
	return query_file(&vhd->image, file_bytes, out_extent->length_bytes, &out_extent->length_bytes,
			  &out_extent->data);
}

void vhd_describe(struct block_device *device, struct block_details *out_details)
{
	struct vhd *vhd = (struct vhd *)device;

	out_details->kind = vhd->fixed ? "fixed" : vhd->differencing ? "differencing" : "dynamic";
	memcpy(out_details->creator, vhd->footer->creator, 4);
	if (!vhd->fixed) {
		out_details->block_bytes = vhd->block_bytes;
		out_details->blocks = vhd->block_count;
		out_details->blocks_present = vhd->block_count - vhd->space.absent;
	}
	if (vhd->tail_damaged)
		query_add(out_details, true, "the footer at its end is missing or was changed; the copy at "
			  "its start is good, and opening it for writing puts it right");
	if (vhd->copy_damaged)
		query_add(out_details, true, "the copy of the footer at its start was changed; the footer is "
			  "good, and opening it for writing puts it right");
	if (vhd->parent_touched)
		query_add(out_details, false, "its parent has another time stamp than when it was made: if the parent "
			  "was written since, what it shows of it is not what it was");
	if (vhd->footer->saved_state)
		query_add(out_details, false, "it belongs to a saved state of a virtual machine");
	if (device->geometry.size_bytes % (UINT64_C(1) << 20))
		query_add(out_details, false, "its size is not a whole number of MiB: Azure does not take it");
}
