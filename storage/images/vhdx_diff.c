// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Serves blocks of a differencing VHDX file that are not in it as a whole. What is not present shows
 * the parent; of what is partially present a bitmap says so sector by sector.
 *
 * A block that is written for the first time gets its place with all of its bits clear: the parent goes
 * on showing through, nothing is copied. When data is written, and not before, its bits are set in memory,
 * and the request ends; the journal makes bits durable, always after the data they stand for. A block
 * whose bits are all set becomes fully present, and is no longer our business.
 *
 * Pages of bitmaps belong to vhdx.lock.
 */
#include "storage/images/inherit.h"
#include "storage/images/query.h"
#include "storage/images/vhdx_internal.h"

#define PAGE_BYTES VHDX_LOG_SECTOR_BYTES
#define PAGE_BITS (UINT64_C(8) * PAGE_BYTES)

static uint32_t sector_bytes(const struct vhdx *vhdx)
{
	return vhdx->image.device.geometry.logical_sector_bytes;
}

static struct sector_place place_of(struct vhdx *vhdx, uint64_t at_bytes)
{
	uint64_t sector = at_bytes / sector_bytes(vhdx), chunk = sector / VHDX_SECTORS_PER_CHUNK;
	uint64_t page = sector % VHDX_SECTORS_PER_CHUNK / PAGE_BITS;
	/* Pairs with the release where it is set. */
	uint64_t entry = atomic_load_explicit(&vhdx->bat[vhdx_bitmap_index(vhdx, chunk)], memory_order_acquire);

	return (struct sector_place){
		.offset_bytes = (entry & VHDX_BAT_OFFSET) + page * PAGE_BYTES,
		.disk_bytes = sector / PAGE_BITS * PAGE_BITS * sector_bytes(vhdx),
		.bit = sector % PAGE_BITS,
	};
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- pages ---- */

/* A page came from the file, whose log may be in memory only. */
static bool loaded_for_reading(struct image *image, struct sector_page *page)
{
	vhdx_patch((struct vhdx *)image, page->data, PAGE_BYTES, page->offset_bytes);
	return false;
}

/*
 * A crash, or another program, may have left bits of blocks that are not present. They are cleared, in
 * the file too, before such a block becomes partially present.
 */
static bool loaded_for_writing(struct image *image, struct sector_page *page)
{
	struct vhdx *vhdx = (struct vhdx *)image;
	uint64_t block_bits = vhdx->block_bytes / sector_bytes(vhdx), count = smaller(block_bits, PAGE_BITS);
	bool stale = false;

	for (uint64_t bit = 0; bit < PAGE_BITS; bit += count) {
		uint64_t block = (page->disk_bytes + bit * sector_bytes(vhdx)) >> vhdx->block_shift;

		if (block < vhdx->block_count &&
		    (vhdx_bat_entry(vhdx, block) & VHDX_BAT_STATE) == VHDX_BLOCK_NOT_PRESENT)
			stale |= sector_map_clear(&vhdx->map, page->data, bit, count);
	}
	return stale;
}

static void resume(struct io_call *call)
{
	struct block_request *request = transfer_call_request(call);

	vhdx_resume(request, transfer_of(request)->error);
}

int vhdx_diff_init(struct vhdx *vhdx)
{
	int result = sector_map_init(&vhdx->map, &vhdx->image, &vhdx->lock, PAGE_BYTES, false, resume);

	vhdx->map.short_ok = vhdx->extended;
	vhdx->map.loaded = vhdx->read_only ? loaded_for_reading : loaded_for_writing;
	return result;
}

/* Has the journal make bitmaps durable; then the request goes on. */
static int settle_first(struct vhdx *vhdx, struct block_request *request)
{
	transfer_of(request)->flags |= TRANSFER_SETTLE;
	vhdx_journal_wait(vhdx, request);
	return -LIS_AGAIN;
}

/* ---- reading ---- */

static void inherited(struct block_request *request, int error)
{
	if (error)
		request->done(request, error);
	else
		vhdx_step(request);
}

/* How far the parent shows from @block on, at most @bytes. */
static uint64_t inherited_bytes(struct vhdx *vhdx, uint64_t block, uint64_t bytes, uint64_t limit_bytes)
{
	while (bytes < limit_bytes &&
	       (vhdx_bat_entry(vhdx, ++block) & VHDX_BAT_STATE) == VHDX_BLOCK_NOT_PRESENT)
		bytes += vhdx->block_bytes;
	return smaller(bytes, limit_bytes);
}

static int read_partial(struct vhdx *vhdx, struct block_request *request, uint64_t entry, uint64_t bytes)
{
	uint64_t at_bytes = request->offset_bytes + transfer_of(request)->done_bytes, count;
	struct sector_place place = place_of(vhdx, at_bytes);
	bool own;
	int result = sector_map_look(&vhdx->map, request, &place, bytes / sector_bytes(vhdx), &count, &own);

	if (result == -LIS_FULL)
		return settle_first(vhdx, request);
	if (result)
		return result;
	bytes = count * sector_bytes(vhdx);
	if (own)
		vhdx_submit_run(vhdx, request, (entry & VHDX_BAT_OFFSET) + (at_bytes & (vhdx->block_bytes - 1)),
				bytes);
	else
		inherit_read(request, bytes, inherited);
	return -LIS_AGAIN;
}

/* ---- writing ---- */

static void written(struct block_request *request, int error)
{
	if (error)
		request->done(request, error == -LIS_EMPTY ? transfer_cut_off(request) : error);
	else
		vhdx_step(request); /* which begins with vhdx_diff_mark() */
}

/* What is written counts when its bits are set; until then the parent shows. */
static int write_partial(struct vhdx *vhdx, struct block_request *request, uint64_t entry, uint64_t bytes)
{
	struct transfer *transfer = transfer_of(request);
	uint64_t within = (request->offset_bytes + transfer->done_bytes) & (vhdx->block_bytes - 1);

	transfer->flags &= (uint16_t)~TRANSFER_DSYNC;
	transfer->flags |= TRANSFER_NEEDS_FLUSH;
	transfer->mark_bytes = bytes;
	if (request->op == BLOCK_WRITE)
		transfer_data(request, (entry & VHDX_BAT_OFFSET) + within, bytes, written);
	else
		transfer_clear(request, (entry & VHDX_BAT_OFFSET) + within, bytes, written);
	return -LIS_AGAIN;
}

/* A block that shows the parent is written: it gets its place, once no bit of it is set in the file. */
static int make_partial(struct vhdx *vhdx, struct block_request *request, uint64_t block)
{
	uint64_t at_bytes = block << vhdx->block_shift, end_bytes = at_bytes + vhdx->block_bytes;
	bool stale = false;
	int result = 0;

	pthread_mutex_lock(&vhdx->lock);
	while (at_bytes < end_bytes && !result && !stale) {
		struct sector_place place = place_of(vhdx, at_bytes);
		struct sector_page *page;

		if (place.offset_bytes < VHDX_BITMAP_BYTES)
			break; /* there is no bitmap yet: it comes clear */
		result = sector_map_get(&vhdx->map, request, &place, &page);
		stale = !result && sector_map_stale(page);
		at_bytes += (PAGE_BITS - place.bit) * sector_bytes(vhdx);
	}
	pthread_mutex_unlock(&vhdx->lock);
	if (stale || result == -LIS_FULL)
		return settle_first(vhdx, request);
	return result ? result : vhdx_bat_partial(vhdx, block);
}

static int write_absent(struct vhdx *vhdx, struct block_request *request, uint64_t block, uint64_t bytes)
{
	struct transfer *transfer = transfer_of(request);

	if (request->op == BLOCK_WRITE || bytes < vhdx_block_used_bytes(vhdx, block))
		return make_partial(vhdx, request, block);
	/* All of the block becomes zero; that the parent does not show through needs no room. */
	vhdx_bat_zero(vhdx, block);
	if ((vhdx_bat_entry(vhdx, block) & VHDX_BAT_STATE) != VHDX_BLOCK_ZERO)
		return 0;
	transfer->flags |= TRANSFER_NEEDS_FLUSH;
	transfer->done_bytes += bytes;
	return 0;
}

int vhdx_diff_step(struct vhdx *vhdx, struct block_request *request, uint64_t bytes)
{
	uint64_t left_bytes = request->length_bytes - transfer_of(request)->done_bytes;
	uint64_t block = (request->offset_bytes + transfer_of(request)->done_bytes) >> vhdx->block_shift;
	uint64_t entry = vhdx_bat_entry(vhdx, block);
	uint32_t state = entry & VHDX_BAT_STATE;

	if (state == VHDX_BLOCK_PARTIALLY_PRESENT)
		return request->op == BLOCK_READ ? read_partial(vhdx, request, entry, bytes) :
						   write_partial(vhdx, request, entry, bytes);
	if (state != VHDX_BLOCK_NOT_PRESENT)
		return 0; /* it was not, a moment ago */
	if (request->op != BLOCK_READ)
		return write_absent(vhdx, request, block, bytes);
	inherit_read(request, inherited_bytes(vhdx, block, bytes, left_bytes), inherited);
	return -LIS_AGAIN;
}

/* ---- bits ---- */

/* Are all bits of a block set, as far as is known without reading? */
static bool block_whole(struct vhdx *vhdx, uint64_t block)
{
	uint64_t at_bytes = block << vhdx->block_shift;
	uint64_t end_bytes = at_bytes + vhdx_block_used_bytes(vhdx, block);

	while (at_bytes < end_bytes) {
		struct sector_place place = place_of(vhdx, at_bytes);
		uint64_t count = smaller((end_bytes - at_bytes) / sector_bytes(vhdx), PAGE_BITS - place.bit);
		struct sector_page *page = sector_map_find(&vhdx->map, place.offset_bytes);
		bool set;

		if (!page || sector_map_run(&vhdx->map, page->data, place.bit, count, &set) < count || !set)
			return false;
		at_bytes += count * sector_bytes(vhdx);
	}
	return true;
}

int vhdx_diff_mark(struct vhdx *vhdx, struct block_request *request)
{
	struct transfer *transfer = transfer_of(request);
	uint64_t end_bytes = request->offset_bytes + transfer->done_bytes;
	uint64_t block = (end_bytes - 1) >> vhdx->block_shift;
	bool whole = transfer->mark_bytes == vhdx_block_used_bytes(vhdx, block);
	int result = 0;

	pthread_mutex_lock(&vhdx->lock);
	while (transfer->mark_bytes && !whole && !result) {
		struct sector_place place = place_of(vhdx, end_bytes - transfer->mark_bytes);
		uint64_t count = smaller(transfer->mark_bytes / sector_bytes(vhdx), PAGE_BITS - place.bit);
		struct sector_page *page;

		result = sector_map_get(&vhdx->map, request, &place, &page);
		if (result)
			break;
		sector_map_set(&vhdx->map, page, place.bit, count);
		/* A flush that comes after the end of this request sees it. */
		atomic_store(&vhdx->unsettled, true);
		transfer->mark_bytes -= count * sector_bytes(vhdx);
	}
	whole = whole || (!result && block_whole(vhdx, block));
	pthread_mutex_unlock(&vhdx->lock);
	if (result == -LIS_FULL)
		return settle_first(vhdx, request);
	if (!result && whole)
		vhdx_bat_complete(vhdx, block);
	if (!result)
		transfer->mark_bytes = 0;
	return result;
}

/* ---- questions ---- */

int vhdx_diff_map(struct vhdx *vhdx, uint64_t offset_bytes, struct block_extent *out_extent)
{
	struct sector_place place = place_of(vhdx, offset_bytes);
	uint64_t within = offset_bytes & (vhdx->block_bytes - 1), file_bytes;
	uint64_t count = smaller(vhdx->block_bytes - within, out_extent->length_bytes) / sector_bytes(vhdx);
	bool own;
	int result = sector_map_peek(&vhdx->map, &place, count, &count, &own);

	if (result)
		return result;
	out_extent->length_bytes = count * sector_bytes(vhdx);
	out_extent->inherited = !own;
	file_bytes = (vhdx_bat_entry(vhdx, offset_bytes >> vhdx->block_shift) & VHDX_BAT_OFFSET) + within;
	return own ? query_file(&vhdx->image, file_bytes, out_extent->length_bytes, &out_extent->length_bytes,
				&out_extent->data) : 0;
}
