// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Serves requests on a VHDX file. A request walks through its blocks: what is contiguous in the file
 * is one run, whatever the number of blocks; what is not present is zero or is allocated on the way.
 *
 * The common case, blocks that are there, costs a look at the BAT and one submission; no lock, no
 * allocation. Everything else is the journal's (vhdx_journal.c) or the BAT's (vhdx_bat.c).
 */
#include "storage/images/vhdx_internal.h"

#define RUN_BYTES (UINT64_C(1) << 30) /* [policy] one run of a huge request */

static struct vhdx *vhdx_of(struct block_request *request)
{
	return (struct vhdx *)transfer_image(request);
}

/* ---- durability ---- */

static void synced(struct block_request *request, int error)
{
	/* BAT sectors in their place may be among what was lost. */
	if (error)
		vhdx_journal_fail(vhdx_of(request), error);
	request->done(request, error);
}

/* Everything completed so far becomes durable, then the request ends. */
static void flush(struct block_request *request)
{
	struct vhdx *vhdx = vhdx_of(request);
	/* A new identity comes with the first change. */
	bool begins = request->op == BLOCK_FLUSH && request->flags & BLOCK_FLUSH_IDENTITY &&
		      !atomic_load(&vhdx->begun);

	if (atomic_load(&vhdx->unsettled) || begins)
		vhdx_journal_wait(vhdx, request);
	else
		transfer_sync(request, synced);
}

static bool wants_fua(const struct block_request *request)
{
	return (request->flags & BLOCK_WRITE_FUA) &&
	       (request->op == BLOCK_WRITE || request->op == BLOCK_WRITE_ZEROES);
}

/* The blocks of which nothing is left; those before and behind keep what was not discarded. */
static void unmap_whole(struct vhdx *vhdx, const struct block_request *request)
{
	uint64_t end_bytes = request->offset_bytes + request->length_bytes;
	uint64_t block = (request->offset_bytes + vhdx->block_bytes - 1) >> vhdx->block_shift;
	uint64_t end = end_bytes == vhdx->image.device.geometry.size_bytes ? vhdx->block_count :
									     end_bytes >> vhdx->block_shift;

	for (; block < end; block++)
		if (vhdx_bat_present(vhdx_bat_entry(vhdx, block)))
			vhdx_bat_unmap(vhdx, block);
}

static void all_done(struct block_request *request)
{
	if (request->op == BLOCK_DISCARD)
		unmap_whole(vhdx_of(request), request);
	if (wants_fua(request) && (transfer_of(request)->flags & TRANSFER_NEEDS_FLUSH))
		flush(request);
	else
		request->done(request, 0);
}

void vhdx_resume(struct block_request *request, int error)
{
	struct transfer *transfer = transfer_of(request);

	transfer->flags &= (uint16_t)~TRANSFER_SETTLE;
	if (error || request->op == BLOCK_FLUSH ||
	    (transfer->done_bytes == request->length_bytes && !transfer->mark_bytes))
		request->done(request, error);
	else
		vhdx_step(request);
}

/* ---- runs ---- */

static void transferred(struct block_request *request, int error)
{
	struct vhdx *vhdx = vhdx_of(request);

	if (error == -LIS_EMPTY && vhdx->extended) {
		/* Behind the end of a file that could not be made longer. */
		transfer_fill_zero(request, transfer_of(request)->left_bytes);
		error = 0;
	}
	if (error)
		request->done(request, error == -LIS_EMPTY ? transfer_cut_off(request) : error);
	else
		vhdx_step(request);
}

/* How far blocks follow one another in the file, from @within in @block; at most @bytes. */
static uint64_t run_bytes(struct vhdx *vhdx, uint64_t block, uint64_t entry, uint64_t within, uint64_t bytes)
{
	uint64_t run = vhdx->block_bytes - within;

	if (bytes > RUN_BYTES)
		bytes = RUN_BYTES;
	while (run < bytes) {
		entry += vhdx->block_bytes; /* offsets are in bytes above the state */
		if (vhdx_bat_entry(vhdx, ++block) != entry)
			break;
		run += vhdx->block_bytes;
	}
	return run < bytes ? run : bytes;
}

void vhdx_submit_run(struct vhdx *vhdx, struct block_request *request, uint64_t offset_bytes, uint64_t bytes)
{
	struct transfer *transfer = transfer_of(request);

	transfer->flags &= (uint16_t)~TRANSFER_DSYNC;
	if (wants_fua(request)) {
		/* Where every entry is durable the data is all that matters. */
		if (request->op == BLOCK_WRITE && !atomic_load(&vhdx->unsettled))
			transfer->flags |= TRANSFER_DSYNC;
		else
			transfer->flags |= TRANSFER_NEEDS_FLUSH;
	}
	if (request->op == BLOCK_READ || request->op == BLOCK_WRITE)
		transfer_data(request, offset_bytes, bytes, transferred);
	else
		transfer_clear(request, offset_bytes, bytes, transferred);
}

/* Part of a block that is not present. Returns an error, or 0 to look again. */
static int absent(struct vhdx *vhdx, struct block_request *request, uint64_t block, uint64_t bytes)
{
	struct transfer *transfer = transfer_of(request);

	switch (request->op) {
	case BLOCK_WRITE:
		return vhdx_bat_allocate(vhdx, block);
	case BLOCK_READ:
		transfer_fill_zero(request, bytes);
		return 0;
	case BLOCK_WRITE_ZEROES:
		vhdx_bat_zero(vhdx, block);
		transfer->flags |= TRANSFER_NEEDS_FLUSH;
		break;
	default:
		break;
	}
	transfer->done_bytes += bytes;
	return 0;
}

/* Is part of the block, or all of it, what the parent has? */
static bool shows_parent(const struct vhdx *vhdx, uint64_t entry)
{
	uint32_t state = entry & VHDX_BAT_STATE;

	return vhdx->differencing && (state == VHDX_BLOCK_NOT_PRESENT || state == VHDX_BLOCK_PARTIALLY_PRESENT);
}

void vhdx_step(struct block_request *request)
{
	struct vhdx *vhdx = vhdx_of(request);
	struct transfer *transfer = transfer_of(request);
	int error = transfer->mark_bytes ? vhdx_diff_mark(vhdx, request) : 0;

	while (!error && transfer->done_bytes < request->length_bytes) {
		uint64_t at_bytes = request->offset_bytes + transfer->done_bytes;
		uint64_t left_bytes = request->length_bytes - transfer->done_bytes;
		uint64_t block = at_bytes >> vhdx->block_shift;
		uint64_t within = at_bytes & (vhdx->block_bytes - 1);
		uint64_t entry = vhdx_bat_entry(vhdx, block);

		if (vhdx_bat_present(entry)) {
			vhdx_submit_run(vhdx, request, (entry & VHDX_BAT_OFFSET) + within,
				   run_bytes(vhdx, block, entry, within, left_bytes));
			return;
		}
		if (left_bytes > vhdx->block_bytes - within)
			left_bytes = vhdx->block_bytes - within;
		error = shows_parent(vhdx, entry) ? vhdx_diff_step(vhdx, request, left_bytes) :
						    absent(vhdx, request, block, left_bytes);
	}
	if (error == -LIS_AGAIN)
		return;
	if (error)
		request->done(request, error);
	else
		all_done(request);
}

void vhdx_submit(struct block_device *device, struct block_request *request)
{
	struct vhdx *vhdx = (struct vhdx *)device;

	transfer_init(&vhdx->image, request);
	if (request->op == BLOCK_FLUSH)
		flush(request);
	else if (request->op == BLOCK_DISCARD && !device->geometry.discard_granularity_bytes)
		request->done(request, 0);
	else if (request->op != BLOCK_READ &&
		 !atomic_load_explicit(&vhdx->begun, memory_order_acquire))
		vhdx_journal_wait(vhdx, request);
	else
		vhdx_step(request);
}
