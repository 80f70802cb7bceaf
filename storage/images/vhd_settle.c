// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Makes the BAT of a VHD file durable, in rounds. Requests that need it queue up; a round takes all
 * that wait and lets them go on when it ends. One round runs at a time, on the loop of one of its
 * requests, so that nothing is under way when no request is.
 *
 * A VHD has no log. What a round does instead, as often as there are dirty sectors of the BAT, or of the
 * bitmaps of a differencing file:
 *   1. copy some of them;
 *   2. flush: blocks, bitmaps, footer and length of the file that the copies speak of are durable, and
 *      so is the data of the requests;
 *   3. write the copies to their place, each sector of which is whole or untouched after a crash;
 * and at the end one more flush. Whatever part of this is lost, no entry points to what is not there, and
 * no bit stands for data that is not.
 *
 * A flush that fails leaves it open what is on disk. From then on everything is refused.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "storage/images/vhd_internal.h"
#include "vmbus/os.h"

#define SECTOR VHD_SECTOR_BYTES

enum stage {
	COLLECT,
	FLUSH_BLOCKS,
	PLACE,
	FLUSHED_LAST,
	ROUND_END,
};

static void run(struct vhd *vhd);

static struct vhd *vhd_of(struct vhd_settle *settle)
{
	return (struct vhd *)((char *)settle - offsetof(struct vhd, settle));
}

void vhd_settle_fail(struct vhd *vhd, int error)
{
	pthread_mutex_lock(&vhd->lock);
	if (!vhd->settle.failed)
		os_log(OS_LOG_ERROR, "%s: is in doubt after a failed flush; it must be opened again",
		       vhd->image.device.path);
	vhd->settle.failed = error;
	atomic_store(&vhd->unsettled, true);
	pthread_mutex_unlock(&vhd->lock);
}

/* ---- I/O of a round ---- */

static void settle_submit(struct vhd *vhd);

static void settle_done(struct io_op *op, int32_t result)
{
	struct vhd_settle *settle = (struct vhd_settle *)((char *)op - offsetof(struct vhd_settle, op));
	struct vhd *vhd = vhd_of(settle);

	if (result == -EAGAIN || result == -EINTR) {
		settle_submit(vhd);
		return;
	}
	if (result < 0 || (settle->io_data && result == 0)) {
		if (image_tell_now(&vhd->image.told, IMAGE_METADATA))
			os_log(OS_LOG_ERROR, "%s: writing metadata failed: %s",
			       vhd->image.device.path, strerror(result < 0 ? -result : EIO));
		settle->error = result < 0 ? image_errno(-result) : -LIS_IO;
	} else if (settle->io_data && (uint64_t)result < settle->io_left_bytes) {
		settle->io_data += result;
		settle->io_offset_bytes += (uint64_t)result;
		settle->io_left_bytes -= (uint64_t)result;
		settle_submit(vhd);
		return;
	}
	run(vhd);
}

static void settle_submit(struct vhd *vhd)
{
	struct vhd_settle *settle = &vhd->settle;
	struct io_uring_sqe *sqe = io_loop_sqe(settle->loop, &settle->op);

	settle->op.done = settle_done;
	if (settle->io_data)
		io_uring_prep_write(sqe, vhd->image.fd, settle->io_data,
				    (unsigned)settle->io_left_bytes, settle->io_offset_bytes);
	else
		io_uring_prep_fsync(sqe, vhd->image.fd, IORING_FSYNC_DATASYNC);
}

static bool flush_then(struct vhd *vhd, int stage)
{
	vhd->settle.stage = stage;
	vhd->settle.io_data = NULL;
	settle_submit(vhd);
	return false;
}

/* ---- rounds ---- */

static bool collect(struct vhd *vhd)
{
	vhd_bat_collect(vhd);
	if (vhd->settle.sector_count)
		return flush_then(vhd, FLUSH_BLOCKS);
	if (vhd->settle.unsynced)
		return flush_then(vhd, FLUSHED_LAST);
	vhd->settle.stage = ROUND_END;
	return true;
}

/* The next run of collected sectors: @out_first, and how many follow one another. */
static uint32_t next_run(struct vhd_settle *settle, uint32_t *out_first)
{
	uint32_t first = settle->sectors_placed, count = 1;

	while (first + count < settle->sector_count &&
	       settle->sector_offset_bytes[first + count] ==
		       settle->sector_offset_bytes[first] + (uint64_t)count * SECTOR)
		count++;
	settle->sectors_placed += count;
	*out_first = first;
	return count;
}

static bool place(struct vhd *vhd)
{
	struct vhd_settle *settle = &vhd->settle;
	uint32_t first, count;

	if (settle->sectors_placed == settle->sector_count) {
		pthread_mutex_lock(&vhd->lock);
		sector_map_settled(&vhd->map, true);
		pthread_mutex_unlock(&vhd->lock);
		settle->stage = COLLECT;
		return true;
	}
	count = next_run(settle, &first);
	settle->unsynced = true;
	settle->stage = PLACE;
	settle->io_data = settle->sectors + first * SECTOR;
	settle->io_offset_bytes = settle->sector_offset_bytes[first];
	settle->io_left_bytes = (uint64_t)count * SECTOR;
	settle_submit(vhd);
	return false;
}

/* One stage. Returns false while I/O is under way. */
static bool step(struct vhd *vhd)
{
	switch ((enum stage)vhd->settle.stage) {
	case COLLECT:
		return collect(vhd);
	case FLUSH_BLOCKS:
		vhd->settle.unsynced = false;
		return place(vhd);
	case PLACE:
		return place(vhd);
	case FLUSHED_LAST:
		vhd->settle.stage = ROUND_END;
		return true;
	case ROUND_END:
		break;
	}
	return true;
}

/* Something failed; can it be tried again? A sector that was not written can, a flush cannot. */
static void failed(struct vhd *vhd)
{
	if (vhd->settle.stage == PLACE)
		vhd_bat_uncollect(vhd);
	else
		vhd_settle_fail(vhd, vhd->settle.error);
	vhd->settle.stage = ROUND_END;
}

static void start_round(struct vhd *vhd)
{
	struct vhd_settle *settle = &vhd->settle;

	pthread_mutex_lock(&vhd->lock);
	settle->error = settle->failed;
	pthread_mutex_unlock(&vhd->lock);
	settle->stage = settle->error ? ROUND_END : COLLECT;
	settle->cursor = 0;
	settle->map_cursor = 0;
	settle->unsynced = true; /* the requests' data */
	run(vhd);
}

static void start_round_here(struct io_call *call)
{
	struct vhd_settle *settle =
		(struct vhd_settle *)((char *)call - offsetof(struct vhd_settle, handover));

	start_round(vhd_of(settle));
}

/* A request whose round ran on another loop ends on its own. */
static void end_here(struct io_call *call)
{
	struct block_request *request = transfer_call_request(call);

	vhd_resume(request, transfer_of(request)->error);
}

/* Takes the next batch. Returns false if there is none and settling has stopped. */
static bool next_batch(struct vhd *vhd)
{
	struct vhd_settle *settle = &vhd->settle;
	bool more;

	pthread_mutex_lock(&vhd->lock);
	if (!vhd->space.dirty_count && !vhd->map.dirty_count && !settle->failed)
		atomic_store(&vhd->unsettled, false);
	settle->batch = settle->queue;
	settle->queue = NULL;
	settle->queue_tail = &settle->queue;
	more = settle->batch;
	settle->running = more;
	pthread_mutex_unlock(&vhd->lock);
	return more;
}

static void end_round(struct vhd *vhd)
{
	struct vhd_settle *settle = &vhd->settle;
	struct block_request *request = settle->batch;
	struct io_loop *loop = settle->loop;
	int error = settle->error;

	/* The next round belongs to its own loop from here on; nothing of @settle is ours any more. */
	if (next_batch(vhd)) {
		settle->loop = settle->batch->loop;
		settle->handover.fn = start_round_here;
		io_loop_call(settle->loop, &settle->handover);
	}
	while (request) {
		struct block_request *next = request->next;

		if (request->loop == loop) {
			vhd_resume(request, error);
		} else {
			transfer_of(request)->error = (int16_t)error;
			transfer_of(request)->call.fn = end_here;
			io_loop_call(request->loop, &transfer_of(request)->call);
		}
		request = next;
	}
}

static void run(struct vhd *vhd)
{
	struct vhd_settle *settle = &vhd->settle;

	do {
		if (settle->error && settle->stage != ROUND_END)
			failed(vhd);
		if (settle->stage == ROUND_END) {
			end_round(vhd);
			return;
		}
	} while (step(vhd));
}

void vhd_settle_wait(struct vhd *vhd, struct block_request *request)
{
	struct vhd_settle *settle = &vhd->settle;
	bool start;
	int error;

	request->next = NULL;
	pthread_mutex_lock(&vhd->lock);
	error = settle->failed;
	start = !error && !settle->running;
	if (start) {
		settle->running = true;
		settle->batch = request;
		settle->loop = request->loop;
	} else if (!error) {
		*settle->queue_tail = request;
		settle->queue_tail = &request->next;
	}
	pthread_mutex_unlock(&vhd->lock);
	if (error)
		vhd_resume(request, error);
	else if (start)
		start_round(vhd);
}

/* ---- closing ---- */

static int sync_file(struct vhd *vhd)
{
	return fdatasync(vhd->image.fd) < 0 ? image_errno(errno) : 0;
}

int vhd_settle_now(struct vhd *vhd)
{
	struct vhd_settle *settle = &vhd->settle;
	int result = settle->failed ? settle->failed : sync_file(vhd);

	settle->cursor = 0;
	settle->map_cursor = 0;
	while (!result) {
		vhd_bat_collect(vhd);
		if (!settle->sector_count) {
			result = sync_file(vhd);
			if (!result)
				atomic_store(&vhd->unsettled, false);
			return result;
		}
		while (settle->sectors_placed < settle->sector_count && !result) {
			uint32_t first, count = next_run(settle, &first);

			result = image_write(vhd->image.fd, settle->sectors + first * SECTOR,
					     (uint64_t)count * SECTOR,
					     settle->sector_offset_bytes[first]);
		}
		sector_map_settled(&vhd->map, !result);
	}
	return result;
}

int vhd_settle_footer(struct vhd *vhd, uint64_t end_bytes)
{
	struct vhd_space *space = &vhd->space;
	uint64_t file_bytes = end_bytes + sizeof(struct vhd_footer);
	int result = image_write(vhd->image.fd, vhd->page, sizeof(struct vhd_footer), end_bytes);

	if (!result)
		result = sync_file(vhd);
	if (!result && ftruncate(vhd->image.fd, (off_t)file_bytes) < 0)
		result = image_errno(errno);
	if (!result)
		result = sync_file(vhd);
	if (result)
		return result;
	space->end_bytes = end_bytes;
	space->file_bytes = file_bytes;
	space->grown = true;
	return 0;
}

int vhd_settle_close(struct vhd *vhd)
{
	struct vhd_space *space = &vhd->space;
	int result = vhd_settle_now(vhd);

	/* Gives back what was kept in store at the end. */
	if (result || !space->grown || space->file_bytes == space->end_bytes + sizeof(struct vhd_footer))
		return result;
	return vhd_settle_footer(vhd, space->end_bytes);
}
