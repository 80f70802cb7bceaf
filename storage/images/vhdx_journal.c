// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Makes the metadata of a VHDX file durable, in rounds. Requests that need it queue up; a round takes
 * all that wait, does for all of them what any one needs, and lets them go on. One round runs at a
 * time, on the loop of one of its requests, so that nothing is under way when no request is.
 *
 * What a round does:
 *   1. the first time: write the header with new GUIDs that say "contents changed", flush;
 *   2. write a log entry with all dirty BAT sectors, flush. This flush makes the requests' data
 *      durable too: an entry may point to data that is not, since after a crash replay only makes
 *      the file as long as it must be, and what was not flushed may as well be zero. Not so in a
 *      differencing file, where what was not flushed must be what the parent has: there the data is
 *      flushed first, and the entry has the dirty sectors of bitmaps too;
 *   3. the first time: write the header with the log's GUID, flush. From here on the log counts;
 *   4. write the BAT sectors to their place. They are durable with the next round's flush, hence
 *      each entry names the one before as its tail. Never are more than two entries needed.
 *
 * An entry that no longer fits begins the log anew, at its start and with a new GUID: durable as it is,
 * with everything before in place, it is the whole log once the header has that GUID, and until then it
 * leaves alone what the header's GUID still makes count. A log could go round in circles instead, but
 * QEMU does not get out of one: its search (vhdx_log_search() in block/vhdx-log.c) ends where it comes
 * to a lower sector than it went out from, and the sector behind a sequence that goes all the way round
 * is where it went out from. For the same reason the last two sectors stay unused.
 *
 * A flush that fails leaves it open what is on disk. From then on the journal refuses everything and
 * the log stays as it is: replay at the next open is then the best that can be had. Only step 1 is tried
 * again where there is no log yet, as nothing has been put into place. The same goes for a change made for
 * no request (vhdx_journal_change()) that has an entry but not its place, and for a log whose header could
 * not be written so often that its room is used up.
 *
 * Source: [ms-vhdx 2.2.2] header updates; [ms-vhdx 2.3] log entries, what must be durable when.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "storage/images/crc32c.h"
#include "storage/images/vhdx_internal.h"
#include "vmbus/os.h"

#define SECTOR VHDX_LOG_SECTOR_BYTES
#define UNUSED_BYTES (2 * SECTOR) /* at the log's end */

enum stage {
	ROUND_START,
	BEGIN_WRITTEN,
	BEGIN_FLUSHED,
	COLLECT,
	DATA_DURABLE,
	ENTRY_WRITTEN,
	ENTRY_FLUSHED,
	ACTIVATE_WRITTEN,
	ACTIVATE_FLUSHED,
	PLACE,
	DATA_FLUSHED,
	EMPTY_FLUSHED,
	EMPTY_WRITTEN,
	EMPTIED,
	ROUND_END,
};

static const struct guid zero_guid;

static void run(struct vhdx *vhdx);

/* ---- I/O of a round: asynchronous on its loop, or at once while closing ---- */

static struct vhdx *vhdx_of(struct vhdx_journal *journal)
{
	return (struct vhdx *)((char *)journal - offsetof(struct vhdx, journal));
}

static void journal_submit(struct vhdx *vhdx);

static void journal_done(struct io_op *op, int32_t result)
{
	struct vhdx_journal *journal = (struct vhdx_journal *)((char *)op - offsetof(struct vhdx_journal, op));
	struct vhdx *vhdx = vhdx_of(journal);

	if (result == -EAGAIN || result == -EINTR) {
		journal_submit(vhdx);
		return;
	}
	if (result < 0 || (journal->io_data && result == 0)) {
		if (image_tell_now(&vhdx->image.told, IMAGE_METADATA))
			os_log(OS_LOG_ERROR, "%s: writing metadata failed: %s",
			       vhdx->image.device.path, strerror(result < 0 ? -result : EIO));
		journal->error = result < 0 ? image_errno(-result) : -LIS_IO;
	} else if (journal->io_data && (uint64_t)result < journal->io_left_bytes) {
		journal->io_data += result;
		journal->io_offset_bytes += (uint64_t)result;
		journal->io_left_bytes -= (uint64_t)result;
		journal_submit(vhdx);
		return;
	}
	run(vhdx);
}

static void journal_submit(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;
	struct io_uring_sqe *sqe = io_loop_sqe(journal->loop, &journal->op);

	journal->op.done = journal_done;
	if (journal->io_data)
		io_uring_prep_write(sqe, vhdx->image.fd, journal->io_data,
				    (unsigned)journal->io_left_bytes, journal->io_offset_bytes);
	else
		io_uring_prep_fsync(sqe, vhdx->image.fd, IORING_FSYNC_DATASYNC);
}

/* Starts a write, after which comes @stage. Returns true if it is done already. */
static bool write_then(struct vhdx *vhdx, uint8_t *data, uint64_t bytes, uint64_t offset_bytes, int stage)
{
	struct vhdx_journal *journal = &vhdx->journal;

	journal->stage = stage;
	if (!journal->loop) {
		journal->error = image_write(vhdx->image.fd, data, bytes, offset_bytes);
		return true;
	}
	journal->io_data = data;
	journal->io_left_bytes = bytes;
	journal->io_offset_bytes = offset_bytes;
	journal_submit(vhdx);
	return false;
}

static bool flush_then(struct vhdx *vhdx, int stage)
{
	struct vhdx_journal *journal = &vhdx->journal;

	journal->stage = stage;
	if (!journal->loop) {
		if (fdatasync(vhdx->image.fd) < 0)
			journal->error = image_errno(errno);
		return true;
	}
	journal->io_data = NULL;
	journal_submit(vhdx);
	return false;
}

/* ---- headers ---- */

/* The next header; it counts from header_written() on. */
static bool write_header(struct vhdx *vhdx, struct vhdx_header *header, int stage)
{
	header->sequence_number++;
	vhdx_header_image(header, vhdx->journal.entry);
	return write_then(vhdx, vhdx->journal.entry, VHDX_HEADER_BYTES,
			  vhdx_header_offset(!vhdx->header_slot), stage);
}

static void header_written(struct vhdx *vhdx)
{
	pthread_mutex_lock(&vhdx->lock);
	memcpy(&vhdx->header, vhdx->journal.entry, sizeof(vhdx->header));
	pthread_mutex_unlock(&vhdx->lock);
	vhdx->header_slot = !vhdx->header_slot;
}

static bool write_begin(struct vhdx *vhdx)
{
	struct vhdx_header header = vhdx->header;

	if (vhdx_new_guid(&header.file_write_guid) || vhdx_new_guid(&header.data_write_guid)) {
		vhdx->journal.error = -LIS_IO;
		vhdx->journal.stage = BEGIN_WRITTEN;
		return true;
	}
	if (guid_compare(&vhdx->merge_guid, &zero_guid))
		header.data_write_guid = vhdx->merge_guid;
	return write_header(vhdx, &header, BEGIN_WRITTEN);
}

/* This log, or the one before where this one is not active yet. */
static bool log_in_header(const struct vhdx *vhdx)
{
	return guid_compare(&vhdx->header.log_guid, &zero_guid) != 0;
}

static bool write_log_guid(struct vhdx *vhdx, struct guid log_guid, int stage)
{
	struct vhdx_header header = vhdx->header;

	header.log_guid = log_guid;
	return write_header(vhdx, &header, stage);
}

/* ---- log entries ---- */

static void build_entry(struct vhdx *vhdx, uint32_t entry_bytes)
{
	struct vhdx_journal *journal = &vhdx->journal;
	struct vhdx_log_entry *entry = (struct vhdx_log_entry *)journal->entry;
	struct vhdx_log_descriptor *descriptors = (struct vhdx_log_descriptor *)(entry + 1);

	memset(journal->entry, 0, SECTOR);
	*entry = (struct vhdx_log_entry){
		.signature = VHDX_LOG_ENTRY_TAG,
		.entry_length_bytes = entry_bytes,
		.tail_bytes = journal->log_has_last ? journal->log_last_bytes : journal->log_head_bytes,
		.sequence_number = journal->log_sequence,
		.descriptor_count = journal->sector_count,
		.log_guid = journal->log_guid,
		.flushed_file_offset_bytes = journal->flushed_bytes,
		.last_file_offset_bytes = journal->entry_file_bytes,
	};
	for (uint32_t i = 0; i < journal->sector_count; i++) {
		const uint8_t *sector = journal->sectors + i * SECTOR;
		uint8_t *page = journal->entry + (1 + i) * SECTOR;
		struct vhdx_log_data *data = (struct vhdx_log_data *)page;

		descriptors[i] = (struct vhdx_log_descriptor){
			.signature = VHDX_LOG_WRITE_TAG,
			.file_offset_bytes = journal->sector_offset_bytes[i],
			.sequence_number = journal->log_sequence,
		};
		memcpy(&descriptors[i].leading_bytes, sector, 8);
		memcpy(&descriptors[i].trailing_bytes, sector + SECTOR - 4, 4);
		memcpy(page, sector, SECTOR);
		data->signature = VHDX_LOG_DATA_TAG;
		data->sequence_high = (uint32_t)(journal->log_sequence >> 32);
		data->sequence_low = (uint32_t)journal->log_sequence;
	}
	entry->checksum = vhdx_checksum(journal->entry, entry_bytes);
}

/* Next in the round: the next sectors if any are dirty, else the end. */
static bool collect(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;

	if (!journal->wants_flush) {
		journal->stage = ROUND_END;
		return true;
	}
	if (!journal->sectors_given)
		vhdx_bat_collect(vhdx);
	if (!journal->sector_count) {
		/* An empty log wants one more flush, for what was just put into place. */
		if (!journal->flushed || journal->emptying)
			return flush_then(vhdx, journal->emptying ? EMPTY_FLUSHED : DATA_FLUSHED);
		journal->stage = ROUND_END;
		return true;
	}
	if (vhdx->differencing)
		return flush_then(vhdx, DATA_DURABLE);
	journal->stage = DATA_DURABLE;
	return true;
}

_Static_assert(3 * (1 + VHDX_JOURNAL_SECTORS_MAX) * SECTOR + UNUSED_BYTES <= VHDX_UNIT_BYTES / 2,
	       "the last two entries of a full log are in its second half");

/* The next entry is the first one of a log that is in no header yet. */
static int begin_log(struct vhdx_journal *journal)
{
	if (vhdx_new_guid(&journal->log_guid))
		return -LIS_IO;
	journal->log_active = false;
	journal->log_has_last = false;
	journal->log_head_bytes = 0;
	return 0;
}

/*
 * Makes room for an entry. A log that is not in the header yet, whose header could not be written, has
 * the first half only: in the second may be the last entries of the one that is. Returns an error if
 * there is no room.
 */
static int make_room(struct vhdx *vhdx, uint32_t entry_bytes)
{
	struct vhdx_journal *journal = &vhdx->journal;
	uint32_t log_bytes = vhdx->header.log_length_bytes;

	if (journal->log_head_bytes + entry_bytes <=
	    (journal->log_active ? log_bytes - UNUSED_BYTES : log_bytes / 2))
		return 0;
	return journal->log_active ? begin_log(journal) : -LIS_IO;
}

static bool write_entry(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;
	uint32_t entry_bytes = (1 + journal->sector_count) * SECTOR;

	journal->error = make_room(vhdx, entry_bytes);
	if (journal->error)
		return true;
	build_entry(vhdx, entry_bytes);
	return write_then(vhdx, journal->entry, entry_bytes,
			  vhdx->header.log_offset_bytes + journal->log_head_bytes, ENTRY_WRITTEN);
}

/* The entry is durable, and with it all data before. */
static bool entry_flushed(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;

	journal->flushed = true;
	journal->flushed_bytes = journal->entry_file_bytes;
	journal->log_last_bytes = journal->log_head_bytes;
	journal->log_has_last = true;
	journal->log_head_bytes += (1 + journal->sector_count) * SECTOR;
	journal->log_sequence++;
	journal->sectors_placed = 0;
	journal->stage = PLACE;
	if (journal->log_active)
		return true;
	return write_log_guid(vhdx, journal->log_guid, ACTIVATE_WRITTEN);
}

/* Writes the next run of sectors to its place. */
static bool place(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;
	uint32_t first = journal->sectors_placed, count = 1;

	if (first == journal->sector_count) {
		pthread_mutex_lock(&vhdx->lock);
		sector_map_settled(&vhdx->map, true);
		pthread_mutex_unlock(&vhdx->lock);
		journal->sectors_given = false;
		journal->stage = COLLECT;
		return true;
	}
	while (first + count < journal->sector_count &&
	       journal->sector_offset_bytes[first + count] ==
		       journal->sector_offset_bytes[first] + (uint64_t)count * SECTOR)
		count++;
	journal->sectors_placed += count;
	return write_then(vhdx, journal->sectors + first * SECTOR, (uint64_t)count * SECTOR,
			  journal->sector_offset_bytes[first], PLACE);
}

/* ---- rounds ---- */

/* Something failed; what stands when, and can it be tried again? */
static void failed(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;

	switch (journal->stage) {
	case BEGIN_FLUSHED:
		/* Where a log counts, the flush was for what had been put into place, too. */
		if (log_in_header(vhdx))
			vhdx_journal_fail(vhdx, journal->error);
		break;
	case BEGIN_WRITTEN:
		break; /* the other header still counts, the next round writes this one again */
	case ENTRY_WRITTEN:
		if (!journal->sectors_given)
			vhdx_bat_uncollect(vhdx);
		break; /* an entry that is not whole does not count */
	case ACTIVATE_WRITTEN:
	case PLACE:
		/* The entry lasts. What it has goes into the next ones again; what was given does not. */
		if (journal->sectors_given)
			vhdx_journal_fail(vhdx, journal->error);
		else
			vhdx_bat_uncollect(vhdx);
		break;
	default:
		vhdx_journal_fail(vhdx, journal->error);
	}
	journal->stage = ROUND_END;
}

/* One stage. Returns false while I/O is under way. */
static bool step(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;

	switch ((enum stage)journal->stage) {
	case ROUND_START:
		journal->stage = COLLECT;
		return atomic_load(&vhdx->begun) || write_begin(vhdx);
	case BEGIN_WRITTEN:
		return flush_then(vhdx, BEGIN_FLUSHED);
	case BEGIN_FLUSHED:
		journal->error = vhdx_bat_own_end(vhdx);
		if (journal->error)
			return true;
		header_written(vhdx);
		atomic_store(&vhdx->begun, true);
		journal->stage = COLLECT;
		return true;
	case COLLECT:
		return collect(vhdx);
	case DATA_DURABLE:
		return write_entry(vhdx);
	case ENTRY_WRITTEN:
		return flush_then(vhdx, ENTRY_FLUSHED);
	case ENTRY_FLUSHED:
		return entry_flushed(vhdx);
	case ACTIVATE_WRITTEN:
		return flush_then(vhdx, ACTIVATE_FLUSHED);
	case ACTIVATE_FLUSHED:
		header_written(vhdx);
		journal->log_active = true;
		journal->stage = PLACE;
		return true;
	case PLACE:
		return place(vhdx);
	case DATA_FLUSHED:
		journal->stage = ROUND_END;
		return true;
	case EMPTY_FLUSHED:
		journal->stage = ROUND_END;
		if (!log_in_header(vhdx))
			return true;
		return write_log_guid(vhdx, (struct guid){ { 0 } }, EMPTY_WRITTEN);
	case EMPTY_WRITTEN:
		return flush_then(vhdx, EMPTIED);
	case EMPTIED:
		header_written(vhdx);
		journal->error = begin_log(journal);
		if (!journal->error)
			journal->stage = ROUND_END;
		return true;
	case ROUND_END:
		break;
	}
	return true;
}

static void start_round(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;

	pthread_mutex_lock(&vhdx->lock);
	journal->error = journal->failed;
	pthread_mutex_unlock(&vhdx->lock);
	journal->stage = journal->error ? ROUND_END : ROUND_START;
	journal->left = vhdx->bat_sectors;
	journal->map_cursor = 0;
	journal->flushed = false;
	journal->wants_flush = false;
	for (struct block_request *request = journal->batch; request; request = request->next)
		journal->wants_flush |= request->op == BLOCK_FLUSH ||
					transfer_of(request)->flags & TRANSFER_SETTLE ||
					transfer_of(request)->done_bytes == request->length_bytes;
	run(vhdx);
}

static void start_round_here(struct io_call *call)
{
	struct vhdx_journal *journal =
		(struct vhdx_journal *)((char *)call - offsetof(struct vhdx_journal, handover));

	start_round(vhdx_of(journal));
}

/* A request whose round ran on another loop goes on on its own. */
static void resume_here(struct io_call *call)
{
	struct block_request *request = transfer_call_request(call);

	vhdx_resume(request, transfer_of(request)->error);
}

/* Takes the next batch. Returns false if there is none and the journal has stopped. */
static bool next_batch(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;
	bool more;

	pthread_mutex_lock(&vhdx->lock);
	if (!vhdx->space.dirty_count && !vhdx->map.dirty_count && !journal->failed)
		atomic_store(&vhdx->unsettled, false);
	journal->batch = journal->queue;
	journal->queue = NULL;
	journal->queue_tail = &journal->queue;
	more = journal->batch;
	journal->running = more;
	pthread_mutex_unlock(&vhdx->lock);
	return more;
}

static void end_round(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;
	struct block_request *request = journal->batch;
	struct io_loop *loop = journal->loop;
	int error = journal->error;

	/* The next round belongs to its own loop from here on; nothing of the journal is ours any more. */
	if (next_batch(vhdx)) {
		journal->loop = journal->batch->loop;
		journal->handover.fn = start_round_here;
		io_loop_call(journal->loop, &journal->handover);
	}
	while (request) {
		struct block_request *next = request->next;

		if (request->loop == loop) {
			vhdx_resume(request, error);
		} else {
			transfer_of(request)->error = (int16_t)error;
			transfer_of(request)->call.fn = resume_here;
			io_loop_call(request->loop, &transfer_of(request)->call);
		}
		request = next;
	}
}

static void run(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;

	do {
		if (journal->error && journal->stage != ROUND_END)
			failed(vhdx);
		if (journal->stage == ROUND_END) {
			if (journal->loop)
				end_round(vhdx);
			return;
		}
	} while (step(vhdx));
}

void vhdx_journal_wait(struct vhdx *vhdx, struct block_request *request)
{
	struct vhdx_journal *journal = &vhdx->journal;
	bool start;
	int error;

	request->next = NULL;
	pthread_mutex_lock(&vhdx->lock);
	error = journal->failed;
	start = !error && !journal->running;
	if (start) {
		journal->running = true;
		journal->batch = request;
		journal->loop = request->loop;
	} else if (!error) {
		*journal->queue_tail = request;
		journal->queue_tail = &request->next;
	}
	pthread_mutex_unlock(&vhdx->lock);
	if (error)
		vhdx_resume(request, error);
	else if (start)
		start_round(vhdx);
}

void vhdx_journal_fail(struct vhdx *vhdx, int error)
{
	pthread_mutex_lock(&vhdx->lock);
	if (!vhdx->journal.failed)
		os_log(OS_LOG_ERROR, "%s: its metadata is in doubt after a failure; it must be opened again",
		       vhdx->image.device.path);
	vhdx->journal.failed = error;
	atomic_store(&vhdx->unsettled, true);
	pthread_mutex_unlock(&vhdx->lock);
}

/* A round at once, for no request. */
static int run_now(struct vhdx *vhdx, int stage)
{
	struct vhdx_journal *journal = &vhdx->journal;

	if (journal->failed)
		return journal->failed;
	journal->loop = NULL;
	journal->batch = NULL;
	journal->stage = stage;
	journal->error = 0;
	journal->left = vhdx->bat_sectors;
	journal->map_cursor = 0;
	journal->flushed = false;
	journal->wants_flush = true;
	run(vhdx);
	return journal->error ? journal->error : journal->failed;
}

/* Settles everything, from @stage on, and where that is wanted leaves the log empty. */
static int settle(struct vhdx *vhdx, int stage, bool emptying)
{
	int result;

	vhdx->journal.emptying = emptying;
	result = run_now(vhdx, stage);
	vhdx->journal.emptying = false;
	if (!result)
		atomic_store(&vhdx->unsettled, false);
	return result;
}

int vhdx_journal_settle(struct vhdx *vhdx)
{
	return settle(vhdx, ROUND_START, false);
}

int vhdx_journal_change(struct vhdx *vhdx, const struct vhdx_change *changes, uint32_t count)
{
	struct vhdx_journal *journal = &vhdx->journal;
	/* What belongs to the change may be in place already: the log must not put back what was there before. */
	int result = settle(vhdx, ROUND_START, true);

	if (result)
		return result;
	for (uint32_t i = 0; i < count; i++) {
		memcpy(journal->sectors + i * SECTOR, changes[i].data, SECTOR);
		journal->sector_offset_bytes[i] = changes[i].offset_bytes;
	}
	journal->sector_count = count;
	journal->sectors_given = true;
	journal->entry_file_bytes = vhdx->space.file_bytes;
	result = run_now(vhdx, COLLECT);
	journal->sectors_given = false;
	return result;
}

int vhdx_journal_close(struct vhdx *vhdx)
{
	int result;

	if (!vhdx->journal.failed && !atomic_load(&vhdx->begun) && !log_in_header(vhdx))
		return 0;
	result = settle(vhdx, COLLECT, true);
	if (result)
		return result;
	/* The log is empty, so nothing refers to what was kept in store at the end. */
	if (vhdx->space.grown && vhdx->space.file_bytes > vhdx->space.end_bytes &&
	    (ftruncate(vhdx->image.fd, (off_t)vhdx->space.end_bytes) < 0 || fdatasync(vhdx->image.fd) < 0))
		return image_errno(errno);
	return 0;
}
