// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Serves blocks of a differencing VHD file that are not known to be in it as a whole: what is absent
 * shows the parent, of others the bitmap says so sector by sector.
 *
 * A block that is written for the first time gets its place with all of its bits clear: the parent goes
 * on showing through, nothing is copied. When data is written, and not before, its bits are set in memory,
 * and the request ends; vhd_settle.c makes bits durable, always after the data they stand for. A block
 * whose bits are all set is whole, and no longer our business.
 *
 * A VHD cannot say that a block is zero: zeroes take room for their bits, and a discard leaves alone what
 * shows the parent.
 *
 * Pages of bitmaps belong to vhd.lock.
 */
#include "storage/images/inherit.h"
#include "storage/images/query.h"
#include "storage/images/vhd_internal.h"

#define PAGE_BYTES VHD_SECTOR_BYTES
#define PAGE_BITS (UINT64_C(8) * PAGE_BYTES)

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Of a block that is there. */
static struct sector_place place_of(struct vhd *vhd, uint64_t at_bytes)
{
	uint64_t block = at_bytes >> vhd->block_shift;
	uint64_t sector = (at_bytes & (vhd->block_bytes - 1)) / VHD_SECTOR_BYTES;
	uint64_t page = sector / PAGE_BITS;

	return (struct sector_place){
		.offset_bytes = (uint64_t)vhd_bat_entry(vhd, block) * VHD_SECTOR_BYTES + page * PAGE_BYTES,
		.disk_bytes = (block << vhd->block_shift) + page * PAGE_BITS * VHD_SECTOR_BYTES,
		.bit = sector % PAGE_BITS,
	};
}

/* ---- pages ---- */

/* Are all bits of a block set, as far as is known without reading? @fresh: a page that came just now, or NULL. */
static bool block_whole(struct vhd *vhd, uint64_t block, const struct sector_page *fresh)
{
	uint64_t at_bytes = block << vhd->block_shift;
	uint64_t end_bytes = at_bytes + vhd_block_used_bytes(vhd, block);

	while (at_bytes < end_bytes) {
		struct sector_place place = place_of(vhd, at_bytes);
		uint64_t count = smaller((end_bytes - at_bytes) / VHD_SECTOR_BYTES, PAGE_BITS);
		const struct sector_page *page = sector_map_find(&vhd->map, place.offset_bytes);
		bool set;

		if (fresh && fresh->offset_bytes == place.offset_bytes)
			page = fresh;
		if (!page || sector_map_run(&vhd->map, page->data, 0, count, &set) < count || !set)
			return false;
		at_bytes += count * VHD_SECTOR_BYTES;
	}
	return true;
}

static void look_if_whole(struct vhd *vhd, uint64_t block, const struct sector_page *fresh)
{
	if (block_whole(vhd, block, fresh))
		atomic_store_explicit(&vhd->whole[block], 1, memory_order_release);
}

static bool loaded(struct image *image, struct sector_page *page)
{
	struct vhd *vhd = (struct vhd *)image;

	look_if_whole(vhd, page->disk_bytes >> vhd->block_shift, page);
	return false;
}

static void resume(struct io_call *call)
{
	struct block_request *request = transfer_call_request(call);

	vhd_resume(request, transfer_of(request)->error);
}

int vhd_diff_init(struct vhd *vhd)
{
	vhd->map.loaded = loaded;
	return sector_map_init(&vhd->map, &vhd->image, &vhd->lock, PAGE_BYTES, true, resume);
}

/* Has bitmaps made durable; then the request goes on. */
static int settle_first(struct vhd *vhd, struct block_request *request)
{
	transfer_of(request)->flags |= TRANSFER_SETTLE;
	vhd_settle_wait(vhd, request);
	return -LIS_AGAIN;
}

/* ---- requests ---- */

static void moved(struct block_request *request, int error)
{
	if (error)
		request->done(request, error == -LIS_EMPTY ? -LIS_IO : error);
	else
		vhd_step(request); /* which begins with vhd_diff_mark() */
}

/* What is absent: read from the parent as far as that goes, written to a new block, not discarded. */
static int step_absent(struct vhd *vhd, struct block_request *request, uint64_t block, uint64_t bytes)
{
	uint64_t left_bytes = request->length_bytes - transfer_of(request)->done_bytes;

	if (request->op == BLOCK_WRITE || request->op == BLOCK_WRITE_ZEROES)
		return vhd_bat_allocate(vhd, block);
	if (request->op == BLOCK_DISCARD) {
		transfer_of(request)->done_bytes += bytes;
		return 0;
	}
	while (bytes < left_bytes && vhd_bat_entry(vhd, ++block) == VHD_ABSENT)
		bytes += vhd->block_bytes;
	inherit_read(request, smaller(bytes, left_bytes), moved);
	return -LIS_AGAIN;
}

/* What is written counts when its bits are set; until then the parent shows. */
static int write_partial(struct vhd *vhd, struct block_request *request, uint64_t file_bytes, uint64_t bytes)
{
	struct transfer *transfer = transfer_of(request);

	transfer->flags &= (uint16_t)~TRANSFER_DSYNC;
	transfer->flags |= TRANSFER_NEEDS_FLUSH;
	transfer->mark_bytes = bytes;
	if (request->op == BLOCK_WRITE)
		transfer_data(request, file_bytes, bytes, moved);
	else
		transfer_clear(request, file_bytes, bytes, moved);
	return -LIS_AGAIN;
}

int vhd_diff_step(struct vhd *vhd, struct block_request *request, uint64_t bytes)
{
	uint64_t at_bytes = request->offset_bytes + transfer_of(request)->done_bytes;
	uint64_t block = at_bytes >> vhd->block_shift, file_bytes, count;
	uint32_t entry = vhd_bat_entry(vhd, block);
	struct sector_place place;
	bool own;
	int result;

	if (entry == VHD_ABSENT)
		return step_absent(vhd, request, block, bytes);
	file_bytes = vhd_data_offset(vhd, entry) + (at_bytes & (vhd->block_bytes - 1));
	if (request->op == BLOCK_WRITE || request->op == BLOCK_WRITE_ZEROES)
		return write_partial(vhd, request, file_bytes, bytes);
	place = place_of(vhd, at_bytes);
	result = sector_map_look(&vhd->map, request, &place, bytes / VHD_SECTOR_BYTES, &count, &own);
	if (result == -LIS_FULL)
		return settle_first(vhd, request);
	if (result)
		return result;
	if (!own && request->op != BLOCK_READ) {
		transfer_of(request)->done_bytes += count * VHD_SECTOR_BYTES;
		return 0;
	}
	/* Either may end it at once: it is not looked at again. */
	if (own)
		vhd_submit_run(vhd, request, file_bytes, count * VHD_SECTOR_BYTES);
	else
		inherit_read(request, count * VHD_SECTOR_BYTES, moved);
	return -LIS_AGAIN;
}

int vhd_diff_mark(struct vhd *vhd, struct block_request *request)
{
	struct transfer *transfer = transfer_of(request);
	uint64_t end_bytes = request->offset_bytes + transfer->done_bytes;
	uint64_t block = (end_bytes - 1) >> vhd->block_shift;
	int result = 0;

	pthread_mutex_lock(&vhd->lock);
	while (transfer->mark_bytes && !result) {
		struct sector_place place = place_of(vhd, end_bytes - transfer->mark_bytes);
		uint64_t count = smaller(transfer->mark_bytes / VHD_SECTOR_BYTES, PAGE_BITS - place.bit);
		struct sector_page *page;

		result = sector_map_get(&vhd->map, request, &place, &page);
		if (result)
			break;
		sector_map_set(&vhd->map, page, place.bit, count);
		/* A flush that comes after the end of this request sees it. */
		atomic_store(&vhd->unsettled, true);
		transfer->mark_bytes -= count * VHD_SECTOR_BYTES;
	}
	if (!result)
		look_if_whole(vhd, block, NULL);
	pthread_mutex_unlock(&vhd->lock);
	return result == -LIS_FULL ? settle_first(vhd, request) : result;
}

/* ---- questions ---- */

int vhd_diff_map(struct vhd *vhd, uint64_t offset_bytes, struct block_extent *out_extent)
{
	struct sector_place place = place_of(vhd, offset_bytes);
	uint64_t within = offset_bytes & (vhd->block_bytes - 1), file_bytes;
	uint64_t count = smaller(vhd->block_bytes - within, out_extent->length_bytes) / VHD_SECTOR_BYTES;
	bool own;
	int result = sector_map_peek(&vhd->map, &place, count, &count, &own);

	if (result)
		return result;
	out_extent->length_bytes = count * VHD_SECTOR_BYTES;
	out_extent->inherited = !own;
	file_bytes = vhd_data_offset(vhd, vhd_bat_entry(vhd, offset_bytes >> vhd->block_shift)) + within;
	return own ? query_file(&vhd->image, file_bytes, out_extent->length_bytes, &out_extent->length_bytes,
				&out_extent->data) : 0;
}
