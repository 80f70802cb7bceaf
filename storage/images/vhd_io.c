// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Serves requests on a VHD file. A request walks through its blocks; what is absent is zero or is
 * allocated on the way.
 *
 * The common case, blocks that are there and whole, costs a look at the BAT and one submission; no
 * lock, no allocation. The bitmap of a block that was in the file at open is read when the block is
 * first used: nearly always it is whole, and from then on not looked at again. A block that is not
 * stays as it is while it is only read, its bitmap in the file and not in memory; before it is written
 * it is made whole.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "storage/images/vhd_internal.h"
#include "vmbus/os.h"

#define RUN_BYTES (UINT64_C(1) << 30) /* [policy] one run of a huge request */

static struct vhd *vhd_of(struct block_request *request)
{
	return (struct vhd *)transfer_image(request);
}

/* ---- durability ---- */

static void synced(struct block_request *request, int error)
{
	/* BAT sectors in their place may be among what was lost. */
	if (error && !vhd_of(request)->fixed)
		vhd_settle_fail(vhd_of(request), error);
	request->done(request, error);
}

/* Everything completed so far becomes durable, then the request ends. */
static void flush(struct block_request *request)
{
	struct vhd *vhd = vhd_of(request);

	if (atomic_load(&vhd->unsettled))
		vhd_settle_wait(vhd, request);
	else
		transfer_sync(request, synced);
}

static bool wants_fua(const struct block_request *request)
{
	return (request->flags & BLOCK_WRITE_FUA) &&
	       (request->op == BLOCK_WRITE || request->op == BLOCK_WRITE_ZEROES);
}

static void all_done(struct block_request *request)
{
	if (wants_fua(request) && (transfer_of(request)->flags & TRANSFER_NEEDS_FLUSH))
		flush(request);
	else
		request->done(request, 0);
}

void vhd_resume(struct block_request *request, int error)
{
	struct transfer *transfer = transfer_of(request);

	transfer->flags &= (uint16_t)~TRANSFER_SETTLE;
	if (error || request->op == BLOCK_FLUSH ||
	    (transfer->done_bytes == request->length_bytes && !transfer->mark_bytes))
		request->done(request, error);
	else
		vhd_step(request);
}

/* ---- runs ---- */

static void transferred(struct block_request *request, int error)
{
	if (error)
		request->done(request, error == -LIS_EMPTY ? transfer_cut_off(request) : error);
	else
		vhd_step(request);
}

void vhd_submit_run(struct vhd *vhd, struct block_request *request, uint64_t offset_bytes, uint64_t bytes)
{
	struct transfer *transfer = transfer_of(request);

	if (bytes > RUN_BYTES)
		bytes = RUN_BYTES;
	transfer->flags &= (uint16_t)~TRANSFER_DSYNC;
	if (wants_fua(request)) {
		/* Where every entry is durable the data is all that matters. */
		if (request->op == BLOCK_WRITE && !atomic_load(&vhd->unsettled))
			transfer->flags |= TRANSFER_DSYNC;
		else
			transfer->flags |= TRANSFER_NEEDS_FLUSH;
	}
	if (request->op == BLOCK_READ || request->op == BLOCK_WRITE)
		transfer_data(request, offset_bytes, bytes, transferred);
	else
		transfer_clear(request, offset_bytes, bytes, transferred);
}

/* ---- bitmaps ---- */

/* The place of the request in its block. */
struct spot {
	uint64_t block, within_bytes, left_bytes; /* left in the block, of the request */
};

static struct spot spot_of(const struct vhd *vhd, struct block_request *request)
{
	uint64_t at_bytes = request->offset_bytes + transfer_of(request)->done_bytes;
	struct spot spot = {
		.block = at_bytes >> vhd->block_shift,
		.within_bytes = at_bytes & (vhd->block_bytes - 1),
		.left_bytes = request->length_bytes - transfer_of(request)->done_bytes,
	};

	if (spot.left_bytes > vhd->block_bytes - spot.within_bytes)
		spot.left_bytes = vhd->block_bytes - spot.within_bytes;
	return spot;
}

/*
 * Reads from a block of which not all sectors count, up to and with the first run that does. Returns
 * true if that run was submitted, false at the end of the block or request.
 */
static bool read_by_bitmap(struct vhd *vhd, struct block_request *request, const uint8_t *bitmap)
{
	struct spot spot = spot_of(vhd, request);
	uint64_t offset_bytes = vhd_data_offset(vhd, vhd_bat_entry(vhd, spot.block));

	while (spot.left_bytes) {
		uint64_t sector = spot.within_bytes / VHD_SECTOR_BYTES, bytes = VHD_SECTOR_BYTES;
		bool counts = vhd_bitmap_has(bitmap, sector);

		while (bytes < spot.left_bytes && vhd_bitmap_has(bitmap, ++sector) == counts)
			bytes += VHD_SECTOR_BYTES;
		if (counts) {
			vhd_submit_run(vhd, request, offset_bytes + spot.within_bytes, bytes);
			return true;
		}
		transfer_fill_zero(request, bytes);
		spot.within_bytes += bytes;
		spot.left_bytes -= bytes;
	}
	return false;
}

static void use_bitmap(struct vhd *vhd, struct block_request *request, const uint8_t *bitmap)
{
	uint64_t block = spot_of(vhd, request).block;
	int error = 0;

	if (vhd_bitmap_whole(vhd, block, bitmap))
		atomic_store_explicit(&vhd->whole[block], 1, memory_order_release);
	else if (request->op != BLOCK_READ)
		error = vhd_bat_make_whole(vhd, block);
	else if (read_by_bitmap(vhd, request, bitmap))
		return;
	if (error)
		request->done(request, error);
	else
		vhd_step(request);
}

static void read_bitmap(struct vhd *vhd, struct block_request *request, uint8_t *bitmap, uint32_t got_bytes);

static void bitmap_done(struct io_op *op, int32_t result)
{
	struct block_request *request =
		(struct block_request *)((char *)op - offsetof(struct block_request, io));
	struct vhd *vhd = vhd_of(request);
	uint8_t *bitmap = (uint8_t *)(uintptr_t)transfer_of(request)->file_offset_bytes;
	uint32_t got_bytes = (uint32_t)transfer_of(request)->left_bytes;

	if (result > 0)
		got_bytes += (uint32_t)result;
	if (result == -EAGAIN || result == -EINTR || (result > 0 && got_bytes < vhd->bitmap_bytes)) {
		read_bitmap(vhd, request, bitmap, got_bytes);
		return;
	}
	if (result > 0) {
		use_bitmap(vhd, request, bitmap);
	} else {
		if (image_tell_now(&vhd->image.told, BLOCK_READ))
			os_log(OS_LOG_ERROR, "%s: reading the bitmap of block %llu failed: %s",
			       vhd->image.device.path, (unsigned long long)spot_of(vhd, request).block,
			       strerror(result < 0 ? -result : EIO));
		request->done(request, result < 0 ? image_errno(-result) : -LIS_IO);
	}
	free(bitmap);
}

/* @bitmap, and how much of it is there: kept in the transfer, which has no run under way. */
static void read_bitmap(struct vhd *vhd, struct block_request *request, uint8_t *bitmap, uint32_t got_bytes)
{
	uint64_t place = (uint64_t)vhd_bat_entry(vhd, spot_of(vhd, request).block) * VHD_SECTOR_BYTES;

	transfer_of(request)->file_offset_bytes = (uintptr_t)bitmap;
	transfer_of(request)->left_bytes = got_bytes;
	request->io.done = bitmap_done;
	io_uring_prep_read(io_loop_sqe(request->loop, &request->io), vhd->image.fd, bitmap + got_bytes,
			   vhd->bitmap_bytes - got_bytes, place + got_bytes);
}

static void look_at_bitmap(struct vhd *vhd, struct block_request *request)
{
	void *bitmap;

	if (posix_memalign(&bitmap, IMAGE_PAGE_BYTES, vhd->bitmap_bytes))
		request->done(request, -LIS_NOMEM);
	else
		read_bitmap(vhd, request, bitmap, 0);
}

/* ---- requests ---- */

static int absent(struct vhd *vhd, struct block_request *request, const struct spot *spot)
{
	if (request->op == BLOCK_WRITE)
		return vhd_bat_allocate(vhd, spot->block);
	if (request->op == BLOCK_READ)
		transfer_fill_zero(request, spot->left_bytes);
	else
		transfer_of(request)->done_bytes += spot->left_bytes; /* absent is zero */
	return 0;
}

void vhd_step(struct block_request *request)
{
	struct vhd *vhd = vhd_of(request);
	struct transfer *transfer = transfer_of(request);
	int error = transfer->mark_bytes ? vhd_diff_mark(vhd, request) : 0;

	while (!error && transfer->done_bytes < request->length_bytes) {
		struct spot spot = spot_of(vhd, request);
		uint32_t entry = vhd_bat_entry(vhd, spot.block);

		if (entry != VHD_ABSENT && atomic_load_explicit(&vhd->whole[spot.block], memory_order_acquire)) {
			vhd_submit_run(vhd, request, vhd_data_offset(vhd, entry) + spot.within_bytes,
				       spot.left_bytes);
			return;
		}
		if (vhd->differencing) {
			error = vhd_diff_step(vhd, request, spot.left_bytes);
		} else if (entry != VHD_ABSENT) {
			look_at_bitmap(vhd, request);
			return;
		} else {
			error = absent(vhd, request, &spot);
		}
	}
	if (error == -LIS_AGAIN)
		return;
	if (error)
		request->done(request, error);
	else
		all_done(request);
}

/* The disk is the file. */
static void fixed_transferred(struct block_request *request, int error);

static void fixed_step(struct block_request *request)
{
	struct transfer *transfer = transfer_of(request);
	uint64_t left_bytes = request->length_bytes - transfer->done_bytes;
	uint64_t offset_bytes = request->offset_bytes + transfer->done_bytes;

	if (!left_bytes) {
		/* RWF_DSYNC covers what was written by data; clearing has nothing of the kind. */
		if (request->op == BLOCK_WRITE_ZEROES && (request->flags & BLOCK_WRITE_FUA))
			transfer_sync(request, synced);
		else
			request->done(request, 0);
		return;
	}
	if (left_bytes > RUN_BYTES)
		left_bytes = RUN_BYTES;
	if (request->flags & BLOCK_WRITE_FUA)
		transfer->flags |= TRANSFER_DSYNC;
	if (request->op == BLOCK_READ || request->op == BLOCK_WRITE)
		transfer_data(request, offset_bytes, left_bytes, fixed_transferred);
	else
		transfer_clear(request, offset_bytes, left_bytes, fixed_transferred);
}

static void fixed_transferred(struct block_request *request, int error)
{
	if (error)
		request->done(request, error == -LIS_EMPTY ? transfer_cut_off(request) : error);
	else
		fixed_step(request);
}

void vhd_submit(struct block_device *device, struct block_request *request)
{
	struct vhd *vhd = (struct vhd *)device;

	transfer_init(&vhd->image, request);
	if (request->op == BLOCK_FLUSH)
		flush(request);
	else if (request->op == BLOCK_DISCARD && !device->geometry.discard_granularity_bytes)
		request->done(request, 0);
	else if (vhd->fixed)
		fixed_step(request);
	else
		vhd_step(request);
}
