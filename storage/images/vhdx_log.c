// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Replays the log of a VHDX file that was not closed.
 *
 * Every sector of the log is looked at as the possible start of an entry. Of the valid entries the
 * newest one from whose tail an unbroken sequence leads up to it wins; this sequence is replayed.
 * Work and memory are bounded whatever the log holds: a sector that begins an entry cannot be inside
 * another one, by its signature, so looking everywhere reads each sector twice at most.
 *
 * Source: [ms-vhdx 2.3] Log, 2.3.2 the sequence, 2.3.3 replay.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/images/crc32c.h"
#include "storage/images/vhdx_internal.h"
#include "vmbus/os.h"

#define LOG_BYTES_MAX (UINT32_C(256) << 20)    /* [policy] Hyper-V and QEMU make 1 MiB */
#define HEADS_TRIED 1024u                      /* [policy] */
#define PATCHES_MAX 8192u                      /* [policy] 32 MiB of sectors in memory */
#define ZEROES_MAX (UINT64_C(1) << 30)         /* [policy] where holes cannot be punched */
#define SECTOR VHDX_LOG_SECTOR_BYTES

/* What was found at one sector of the log. */
struct spot {
	uint64_t sequence;
	uint32_t length_bytes; /* 0: no valid entry starts here */
	uint32_t tail_bytes;
	uint64_t flushed_bytes; /* length the file durably had */
};

struct log {
	struct vhdx *vhdx;
	uint64_t offset_bytes;
	uint32_t bytes;
	bool any_entry; /* something with our GUID is there, valid or not */
	struct spot *spots;
};

static int read_sector(struct log *log, uint64_t at_bytes, uint8_t *sector)
{
	if (image_read(log->vhdx->fd, sector, SECTOR, log->offset_bytes + at_bytes % log->bytes))
		return image_error(log->vhdx->error, -LIS_IO, log->vhdx->path, "its log cannot be read");
	return 0;
}

/* ---- finding the sequence ---- */

static bool entry_header_valid(struct log *log, const struct vhdx_log_entry *entry)
{
	if (entry->signature != VHDX_LOG_ENTRY_TAG ||
	    guid_compare(&entry->log_guid, &log->vhdx->header.log_guid))
		return false;
	log->any_entry = true;
	return entry->entry_length_bytes >= SECTOR && entry->entry_length_bytes % SECTOR == 0 &&
	       entry->entry_length_bytes <= log->bytes && entry->tail_bytes < log->bytes &&
	       entry->tail_bytes % SECTOR == 0 && entry->sequence_number != 0 &&
	       entry->descriptor_count <=
		       (entry->entry_length_bytes - sizeof(*entry)) / sizeof(struct vhdx_log_descriptor);
}

/* The log says where metadata goes: never into the headers, nor into the log itself. */
static bool target_valid(const struct log *log, uint64_t offset_bytes, uint64_t length_bytes)
{
	uint64_t end_bytes;

	return !(offset_bytes % SECTOR) && !(length_bytes % SECTOR) &&
	       offset_bytes >= VHDX_REGION_TABLE1_OFFSET &&
	       !__builtin_add_overflow(offset_bytes, length_bytes, &end_bytes) &&
	       (end_bytes <= log->offset_bytes || offset_bytes >= log->offset_bytes + log->bytes);
}

/* The descriptors in sector @index of an entry; counts those with data. */
static bool descriptors_valid(const struct log *log, const struct vhdx_log_entry *entry,
			      const uint8_t *sector, uint32_t index, uint32_t *data_count)
{
	uint32_t first = index * (SECTOR / 32) - (index ? 2 : 0); /* the header takes the room of two */
	uint32_t at = index ? 0 : sizeof(*entry);

	for (uint32_t i = first; i < entry->descriptor_count && at < SECTOR; i++, at += 32) {
		struct vhdx_log_descriptor descriptor;
		bool zero;

		memcpy(&descriptor, sector + at, sizeof(descriptor));
		zero = descriptor.signature == VHDX_LOG_ZERO_TAG;
		if ((!zero && descriptor.signature != VHDX_LOG_WRITE_TAG) ||
		    descriptor.sequence_number != entry->sequence_number ||
		    !target_valid(log, descriptor.file_offset_bytes,
				  zero ? descriptor.zero_length_bytes : SECTOR))
			return false;
		*data_count += !zero;
	}
	return true;
}

static bool data_valid(const struct vhdx_log_entry *entry, const uint8_t *sector)
{
	struct vhdx_log_data data;

	memcpy(&data, sector, sizeof(data));
	return data.signature == VHDX_LOG_DATA_TAG &&
	       data.sequence_high == (uint32_t)(entry->sequence_number >> 32) &&
	       data.sequence_low == (uint32_t)entry->sequence_number;
}

/* Looks at one sector as the start of an entry. Returns 0 whether it is one or not. */
static int look_at(struct log *log, uint32_t at_bytes, struct spot *spot)
{
	uint32_t descriptor_sectors, sectors, data_count = 0, crc;
	uint8_t sector[SECTOR];
	struct vhdx_log_entry entry;
	int result = read_sector(log, at_bytes, sector);

	if (result)
		return result;
	memcpy(&entry, sector, sizeof(entry));
	if (!entry_header_valid(log, &entry))
		return 0;
	sectors = entry.entry_length_bytes / SECTOR;
	descriptor_sectors = vhdx_log_descriptor_sectors(entry.descriptor_count);
	crc = vhdx_checksum(sector, SECTOR);
	for (uint32_t i = 0; i < sectors; i++) {
		if (i) {
			result = read_sector(log, (uint64_t)at_bytes + i * SECTOR, sector);
			if (result)
				return result;
			crc = crc32c(crc, sector, SECTOR);
		}
		if (i < descriptor_sectors ? !descriptors_valid(log, &entry, sector, i, &data_count) :
					     !data_valid(&entry, sector))
			return 0;
	}
	if (crc != entry.checksum || descriptor_sectors + data_count != sectors)
		return 0;
	*spot = (struct spot){ .sequence = entry.sequence_number,
			       .length_bytes = entry.entry_length_bytes,
			       .tail_bytes = entry.tail_bytes,
			       .flushed_bytes = entry.flushed_file_offset_bytes };
	return 0;
}

/* Does an unbroken sequence lead from the tail of the entry at @head_bytes to it? */
static bool sequence_whole(const struct log *log, uint32_t head_bytes)
{
	const struct spot *head = &log->spots[head_bytes / SECTOR];
	uint64_t at_bytes = head->tail_bytes, length_bytes = 0;
	uint64_t sequence = log->spots[at_bytes / SECTOR].sequence;

	for (;;) {
		const struct spot *spot = &log->spots[at_bytes / SECTOR];

		length_bytes += spot->length_bytes;
		if (!spot->length_bytes || spot->sequence != sequence++ || length_bytes > log->bytes)
			return false;
		if (at_bytes == head_bytes)
			return true;
		at_bytes = (at_bytes + spot->length_bytes) % log->bytes;
	}
}

/* The newest entry with a whole sequence. */
static bool find_head(struct log *log, uint32_t *out_head_bytes)
{
	uint64_t below = UINT64_MAX;

	for (uint32_t tried = 0; tried < HEADS_TRIED; tried++) {
		const struct spot *best = NULL;

		for (uint32_t i = 0; i < log->bytes / SECTOR; i++) {
			const struct spot *spot = &log->spots[i];

			if (spot->length_bytes && spot->sequence < below &&
			    (!best || spot->sequence > best->sequence))
				best = spot;
		}
		if (!best)
			return false;
		*out_head_bytes = (uint32_t)(best - log->spots) * SECTOR;
		if (sequence_whole(log, *out_head_bytes))
			return true;
		below = best->sequence;
	}
	return false;
}

/* ---- replay ---- */

static int add_patch(struct log *log, uint64_t offset_bytes, uint64_t length_bytes, const uint8_t *data)
{
	struct vhdx_patches *patches = &log->vhdx->patches;
	struct vhdx_patch *patch;

	if (patches->count == PATCHES_MAX)
		return image_error(log->vhdx->error, -LIS_UNSUPPORTED, log->vhdx->path,
				   "was not closed and has a long log; open it for writing once");
	if (patches->count == patches->room) {
		uint32_t room = patches->room ? 2 * patches->room : 64;
		struct vhdx_patch *list = reallocarray(patches->list, room, sizeof(*list));

		if (!list)
			goto out_of_memory;
		patches->list = list;
		patches->room = room;
	}
	patch = &patches->list[patches->count];
	*patch = (struct vhdx_patch){ .offset_bytes = offset_bytes, .length_bytes = length_bytes };
	if (data) {
		patch->data = malloc(SECTOR);
		if (!patch->data)
			goto out_of_memory;
		memcpy(patch->data, data, SECTOR);
	}
	patches->count++;
	return 0;

out_of_memory:
	return image_error(log->vhdx->error, -LIS_NOMEM, log->vhdx->path, "out of memory");
}

static int replay_failed(struct log *log, int result)
{
	return image_error(log->vhdx->error, result, log->vhdx->path,
			   "was not closed, and replaying its log failed: %s", strerror(errno));
}

static int zero_range(struct log *log, uint64_t offset_bytes, uint64_t length_bytes)
{
	static const uint8_t zeroes[SECTOR];
	int fd = log->vhdx->fd;

	if (!length_bytes ||
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset_bytes,
		      (off_t)length_bytes) == 0)
		return 0;
	if (length_bytes > ZEROES_MAX)
		return vhdx_damaged(log->vhdx, "its log zeroes %llu bytes", (unsigned long long)length_bytes);
	for (uint64_t at = 0; at < length_bytes; at += SECTOR) {
		int result = image_write(fd, zeroes, SECTOR, offset_bytes + at);

		if (result)
			return replay_failed(log, result);
	}
	return 0;
}

/* One descriptor, and its data sector if it has one. */
static int replay_descriptor(struct log *log, const struct vhdx_log_descriptor *descriptor, uint8_t *sector)
{
	struct vhdx *vhdx = log->vhdx;
	uint64_t offset_bytes = descriptor->file_offset_bytes;
	bool zero = descriptor->signature == VHDX_LOG_ZERO_TAG;
	uint64_t length_bytes = zero ? descriptor->zero_length_bytes : SECTOR;
	int result;

	if (offset_bytes + length_bytes > vhdx->file_bytes)
		return vhdx_damaged(vhdx, "its log writes behind the end of the file");
	if (!zero) {
		memcpy(sector, &descriptor->leading_bytes, 8);
		memcpy(sector + SECTOR - 4, &descriptor->trailing_bytes, 4);
	}
	if (vhdx->read_only)
		return add_patch(log, offset_bytes, length_bytes, zero ? NULL : sector);
	if (zero)
		return zero_range(log, offset_bytes, length_bytes);
	result = image_write(vhdx->fd, sector, SECTOR, offset_bytes);
	return result ? replay_failed(log, result) : 0;
}

/* The file gets as long as the entry says it shall be. */
static int replay_length(struct log *log, const struct vhdx_log_entry *entry)
{
	struct vhdx *vhdx = log->vhdx;

	if (entry->last_file_offset_bytes <= vhdx->file_bytes)
		return 0;
	if (entry->last_file_offset_bytes > VHDX_DISK_BYTES_MAX * 2)
		return vhdx_damaged(vhdx, "its log makes it longer than any VHDX file is");
	if (vhdx->read_only) {
		vhdx->extended = true;
	} else {
		if (ftruncate(vhdx->fd, (off_t)entry->last_file_offset_bytes) < 0)
			return replay_failed(log, image_errno(errno));
		vhdx->space.file_bytes = entry->last_file_offset_bytes;
	}
	vhdx->file_bytes = entry->last_file_offset_bytes;
	return 0;
}

static int replay_entry(struct log *log, uint32_t at_bytes)
{
	uint8_t descriptors[SECTOR], sector[SECTOR];
	struct vhdx_log_entry entry;
	uint32_t data_sector, at = sizeof(entry);
	int result;

	result = read_sector(log, at_bytes, descriptors);
	if (result)
		return result;
	memcpy(&entry, descriptors, sizeof(entry));
	if (entry.descriptor_count > log->bytes / sizeof(struct vhdx_log_descriptor))
		return vhdx_damaged(log->vhdx, "its log changes while it is read");
	result = replay_length(log, &entry);
	data_sector = vhdx_log_descriptor_sectors(entry.descriptor_count);
	for (uint32_t i = 0; i < entry.descriptor_count && !result; i++, at += 32) {
		struct vhdx_log_descriptor descriptor;

		if (at && at % SECTOR == 0) {
			result = read_sector(log, (uint64_t)at_bytes + at, descriptors);
			if (result)
				break;
		}
		memcpy(&descriptor, descriptors + at % SECTOR, sizeof(descriptor));
		if (!target_valid(log, descriptor.file_offset_bytes, 0))
			return vhdx_damaged(log->vhdx, "its log changes while it is read");
		if (descriptor.signature != VHDX_LOG_ZERO_TAG)
			result = read_sector(log, (uint64_t)at_bytes + data_sector++ * SECTOR, sector);
		if (!result)
			result = replay_descriptor(log, &descriptor, sector);
	}
	return result;
}

/* Makes the replay durable and the log empty. */
static int finish_replay(struct log *log)
{
	struct vhdx *vhdx = log->vhdx;
	struct vhdx_header header = vhdx->header;
	uint8_t page[VHDX_HEADER_BYTES];
	int result;

	header.log_guid = (struct guid){ { 0 } };
	if (vhdx->read_only)
		goto out_empty;
	header.sequence_number++;
	result = vhdx_new_guid(&header.file_write_guid);
	if (result)
		return replay_failed(log, result);
	if (fdatasync(vhdx->fd) < 0)
		return replay_failed(log, image_errno(errno));
	vhdx_header_image(&header, page);
	result = image_write(vhdx->fd, page, sizeof(page), vhdx_header_offset(!vhdx->header_slot));
	if (result)
		return replay_failed(log, result);
	if (fdatasync(vhdx->fd) < 0)
		return replay_failed(log, image_errno(errno));
	vhdx->header_slot = !vhdx->header_slot;
out_empty:
	vhdx->header = header;
	return 0;
}

/* The entry behind the one at @at_bytes. */
static uint32_t next_entry(const struct log *log, uint32_t at_bytes)
{
	return (uint32_t)(((uint64_t)at_bytes + log->spots[at_bytes / SECTOR].length_bytes) % log->bytes);
}

/* Was the file ever known to be longer than it is? Asked before replay makes it longer itself. */
static int check_length(struct log *log, uint32_t tail_bytes, uint32_t head_bytes)
{
	struct vhdx *vhdx = log->vhdx;

	for (uint32_t at_bytes = tail_bytes;; at_bytes = next_entry(log, at_bytes)) {
		uint64_t flushed_bytes = log->spots[at_bytes / SECTOR].flushed_bytes;

		if (flushed_bytes > vhdx->file_bytes)
			return vhdx_damaged(vhdx, "it was cut off (%llu bytes are there, %llu were)",
					    (unsigned long long)vhdx->file_bytes,
					    (unsigned long long)flushed_bytes);
		if (at_bytes == head_bytes)
			return 0;
	}
}

static int replay(struct log *log, uint32_t head_bytes)
{
	uint32_t at_bytes = log->spots[head_bytes / SECTOR].tail_bytes, entries = 0;
	int result = check_length(log, at_bytes, head_bytes);

	for (; !result; at_bytes = next_entry(log, at_bytes)) {
		result = replay_entry(log, at_bytes);
		entries++;
		if (at_bytes == head_bytes)
			break;
	}
	if (result)
		return result;
	os_log(OS_LOG_INFO, "%s: was not closed; replayed %u entries of its log%s", log->vhdx->path,
	       entries, log->vhdx->read_only ? " in memory" : "");
	return finish_replay(log);
}

int vhdx_log_replay(struct vhdx *vhdx)
{
	struct log log = {
		.vhdx = vhdx,
		.offset_bytes = vhdx->header.log_offset_bytes,
		.bytes = vhdx->header.log_length_bytes,
	};
	uint32_t head_bytes;
	int result = 0;

	if (log.bytes > LOG_BYTES_MAX)
		return image_error(vhdx->error, -LIS_UNSUPPORTED, vhdx->path,
				   "was not closed and has a log of %u MiB, which is too large",
				   log.bytes >> 20);
	log.spots = calloc(log.bytes / SECTOR, sizeof(*log.spots));
	if (!log.spots)
		return image_error(vhdx->error, -LIS_NOMEM, vhdx->path, "out of memory");
	for (uint32_t i = 0; i < log.bytes / SECTOR && !result; i++)
		result = look_at(&log, i * SECTOR, &log.spots[i]);
	if (result)
		goto out_free;
	if (find_head(&log, &head_bytes))
		result = replay(&log, head_bytes);
	else if (log.any_entry)
		result = vhdx_damaged(vhdx, "it was not closed, and its log is not valid");
	else
		result = finish_replay(&log); /* its writer died before the first entry: nothing to do */
out_free:
	free(log.spots);
	return result;
}
