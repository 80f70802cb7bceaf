/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Between the VHDX files: vhdx_open.c parses, vhdx_log.c replays, vhdx_bat.c finds and allocates
 * blocks, vhdx_journal.c makes metadata durable, vhdx_io.c serves requests; vhdx_parent.c finds the
 * parent of a differencing file, vhdx_diff.c serves what such a file has only in part.
 *
 * Locking: BAT entries are atomic and read without a lock. They change, as everything in struct
 * vhdx_space and the queue of struct vhdx_journal does, under vhdx.lock, which is held for memory
 * work and the odd ftruncate() only. The rest of struct vhdx_journal belongs to the loop that runs
 * the journal at the moment.
 */
#ifndef OPENLIS_STORAGE_IMAGES_VHDX_INTERNAL_H
#define OPENLIS_STORAGE_IMAGES_VHDX_INTERNAL_H

#include <pthread.h>

#include "storage/images/sector_map.h"
#include "storage/images/transfer.h"
#include "storage/images/vhdx.h"
#include "storage/images/vhdx_format.h"

/* Sectors of metadata in one log entry. Three entries of this size fit into half the smallest log. [policy] */
#define VHDX_JOURNAL_SECTORS_MAX 32u

#define VHDX_BAT_SECTOR_ENTRIES (VHDX_LOG_SECTOR_BYTES / sizeof(uint64_t))

/* One piece of metadata that the log of a read-only file has newer than the file itself. */
struct vhdx_patch {
	uint64_t offset_bytes;
	uint64_t length_bytes;
	uint8_t *data; /* a sector, or NULL for zeroes */
};

struct vhdx_patches {
	struct vhdx_patch *list; /* in the order of the log */
	uint32_t count, room;
};

/* Where blocks come from. Under vhdx.lock. */
struct vhdx_space {
	uint64_t end_bytes;   /* behind the last thing in the file, 1 MiB aligned: the next block */
	uint64_t file_bytes;  /* the file's length */
	uint64_t absent;      /* blocks without a place in the file */
	uint64_t bitmaps_absent; /* differencing: sector bitmap blocks without one */
	bool grown;           /* begun: end_bytes..file_bytes is known to read as zero */
	uint64_t *dirty;      /* one bit for each sector of the BAT that is newer than on disk */
	uint32_t dirty_count;
};

struct vhdx_journal {
	/* Under vhdx.lock. */
	bool running;
	struct block_request *queue, **queue_tail; /* for the next round */
	int failed;                 /* sticky: metadata on disk is in doubt until reopened */

	/* The runner's. */
	struct block_request *batch; /* waits for this round */
	struct io_loop *loop;        /* NULL: synchronous (closing) */
	struct io_op op;
	struct io_call handover;
	int stage;
	int error;
	bool wants_flush;
	bool flushed;                /* this round */
	bool emptying;               /* the log, too */
	uint32_t left;               /* BAT sectors before this one were not looked at in this round */
	uint32_t map_cursor;         /* as sector_map_collect() */
	uint8_t *io_data;            /* write under way */
	uint64_t io_offset_bytes, io_left_bytes;

	uint8_t *entry;              /* 1 + VHDX_JOURNAL_SECTORS_MAX sectors, for headers too */
	uint8_t *sectors;            /* what goes into place */
	uint64_t sector_offset_bytes[VHDX_JOURNAL_SECTORS_MAX]; /* in the file */
	uint32_t sector_count, sectors_placed;
	bool sectors_given;          /* by vhdx_journal_change(), not from the BAT */
	uint64_t entry_file_bytes;   /* the file's length as this entry has it */

	struct guid log_guid;        /* of the entries written; in the header while @log_active */
	bool log_active;
	uint64_t log_sequence;
	uint32_t log_head_bytes;     /* next entry */
	uint32_t log_last_bytes;     /* entry before, whose sectors may not be durable in place yet */
	bool log_has_last;
	uint64_t flushed_bytes;      /* length of the file that is durable */
};

struct vhdx {
	struct image image;

	/* Fixed while open. */
	bool fixed;            /* blocks stay allocated */
	bool extended;         /* read-only, and its log wants the file longer than it is */
	uint32_t block_bytes;
	uint32_t block_shift;
	uint32_t chunk_shift;  /* payload entries between two sector bitmap entries, as a power of two */
	uint64_t block_count;
	uint64_t bat_offset_bytes;
	uint32_t bat_region_bytes;
	uint32_t bat_sectors;  /* of 4 KiB, that have entries in use */
	_Atomic uint64_t *bat; /* as on disk, whole sectors */
	uint64_t metadata_offset_bytes;
	uint32_t metadata_region_bytes;
	bool differencing;
	struct guid linkage[2]; /* differencing: data_write_guid that the parent may have; the second may be zero */
	uint64_t linkage2_offset_bytes; /* where the text of the second is in the file; 0: nowhere, or too short */
	uint64_t regions_end_bytes; /* nothing but blocks is behind */
	uint64_t size_offset_bytes; /* in the file: the disk's size in the metadata */

	struct guid merge_guid; /* not zero: data_write_guid when it begins, see block_begin_merge() */

	/* Changed at open and by the journal's runner; others take vhdx_identity(). */
	struct vhdx_header header;
	uint32_t header_slot;  /* which of the two is current, 0 or 1 */

	atomic_bool begun;     /* the header says that the contents changed since it was opened */
	atomic_bool unsettled; /* some BAT entry is not durable yet */

	pthread_mutex_t lock;
	struct vhdx_space space;
	struct vhdx_journal journal;
	struct sector_map map; /* differencing only */

	/* What was found at open, for a check. */
	bool log_was_full;
	bool header_was_lost;

	/* Only while opening. */
	const char *path;
	char *error;
	const struct block_check *check;
	int fd;
	bool read_only;
	uint64_t file_bytes;
	uint8_t *locator;      /* differencing: the parent locator item */
	uint32_t locator_bytes;
	uint64_t locator_offset_bytes;
	struct vhdx_patches patches; /* differencing, read-only: kept, for bitmaps */
};

/* ---- vhdx_open.c ---- */

/** vhdx_damaged() - "PATH: is a damaged VHDX file: REASON". Return: -LIS_FORMAT. */
int vhdx_damaged(struct vhdx *vhdx, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** vhdx_found() - As vhdx_damaged(), of what does not keep a check from going on. Return: -LIS_FORMAT; 0 in a check. */
int vhdx_found(struct vhdx *vhdx, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** vhdx_read() - Read metadata at open, as it is after the log. Return: 0, or an error with its line. */
int vhdx_read(struct vhdx *vhdx, void *data, uint64_t bytes, uint64_t offset_bytes) LIS_MUST_USE;

/** vhdx_patch() - Bring @data, read at @offset_bytes, to where the log says. */
void vhdx_patch(const struct vhdx *vhdx, void *data, uint64_t bytes, uint64_t offset_bytes);

/** vhdx_regions_read() - The region table that counts. @table: VHDX_REGION_TABLE_BYTES, aligned. */
int vhdx_regions_read(struct vhdx *vhdx, uint8_t *table) LIS_MUST_USE;

/** vhdx_checksum() - CRC-32C of a structure whose checksum field counts as zero. */
uint32_t vhdx_checksum(const void *data, size_t bytes);

/** vhdx_header_image() - Build the 4 KiB that go into a header's slot. @page: VHDX_HEADER_BYTES */
void vhdx_header_image(const struct vhdx_header *header, uint8_t *page);

/** vhdx_header_offset() - Where header @slot is. */
static inline uint64_t vhdx_header_offset(uint32_t slot)
{
	return slot ? VHDX_HEADER2_OFFSET : VHDX_HEADER1_OFFSET;
}

/** vhdx_new_guid() - A random GUID. Return: 0, -LIS_IO. */
int vhdx_new_guid(struct guid *out_guid) LIS_MUST_USE;

/** vhdx_free() - Free what is there, also of a half-opened image; not its descriptor and path. */
void vhdx_free(struct vhdx *vhdx);

/* ---- vhdx_log.c ---- */

/**
 * vhdx_log_replay() - Bring the file, or for a read-only one vhdx.patches, to where its log says.
 * @vhdx: with its header; the header's log GUID is zero afterwards
 *
 * Return: 0, or an error with its line.
 */
int vhdx_log_replay(struct vhdx *vhdx) LIS_MUST_USE;

/* ---- vhdx_bat.c ---- */

/** vhdx_bat_load() - Read and check the BAT. Return: 0, or an error with its line. */
int vhdx_bat_load(struct vhdx *vhdx) LIS_MUST_USE;

/** vhdx_bat_entries() - Entries of a dynamic or fixed disk of @blocks: the last one is a block's. */
static inline uint64_t vhdx_bat_entries(const struct vhdx *vhdx, uint64_t blocks)
{
	return blocks + ((blocks - 1) >> vhdx->chunk_shift);
}

static inline uint32_t vhdx_bat_sector_count(uint64_t entries)
{
	return (uint32_t)((entries + VHDX_BAT_SECTOR_ENTRIES - 1) / VHDX_BAT_SECTOR_ENTRIES);
}

/** vhdx_bat_reserve() - Zeroed address space that costs memory only where it is written; munmap() it. */
void *vhdx_bat_reserve(uint64_t bytes);

/** vhdx_bat_entry() - The entry of a payload block. Any thread. */
static inline uint64_t vhdx_bat_entry(struct vhdx *vhdx, uint64_t block)
{
	/* Pairs with the release in vhdx_bat_set(): the file is long enough for what the entry says. */
	return atomic_load_explicit(&vhdx->bat[block + (block >> vhdx->chunk_shift)],
				    memory_order_acquire);
}

static inline bool vhdx_bat_present(uint64_t entry)
{
	return (entry & VHDX_BAT_STATE) == VHDX_BLOCK_FULLY_PRESENT;
}

/** vhdx_bat_has_place() - Is all or part of the block in the file? */
static inline bool vhdx_bat_has_place(uint64_t entry)
{
	return (entry & VHDX_BAT_STATE) >= VHDX_BLOCK_FULLY_PRESENT;
}

/** vhdx_bitmap_index() - Where in the BAT the entry of a chunk's sector bitmap block is. */
static inline uint64_t vhdx_bitmap_index(const struct vhdx *vhdx, uint64_t chunk)
{
	return ((chunk + 1) << vhdx->chunk_shift) + chunk;
}

/** vhdx_block_used_bytes() - How much of a block must be inside the file: the last one ends with the disk. */
static inline uint64_t vhdx_block_used_bytes(const struct vhdx *vhdx, uint64_t block)
{
	uint64_t rest_bytes = vhdx->image.device.geometry.size_bytes - (block << vhdx->block_shift);

	return rest_bytes < vhdx->block_bytes ? rest_bytes : vhdx->block_bytes;
}

/**
 * vhdx_bat_allocate() - Give a block its place; it reads as zero there. Any thread.
 * Return: 0 (also where another thread was first), -LIS_NOSPACE, -LIS_IO.
 */
int vhdx_bat_allocate(struct vhdx *vhdx, uint64_t block) LIS_MUST_USE;

/**
 * vhdx_bat_partial() - Give a block that shows the parent its place, as one of which nothing is in the file
 * yet. The bits for it in the file are clear. Any thread. Return: as vhdx_bat_allocate().
 */
int vhdx_bat_partial(struct vhdx *vhdx, uint64_t block) LIS_MUST_USE;

/** vhdx_bat_complete() - All of a partially present block is in the file now. Any thread. */
void vhdx_bat_complete(struct vhdx *vhdx, uint64_t block);

/** vhdx_bat_set() - Change the entry of a block, in memory; the journal does the rest. Under vhdx.lock. */
void vhdx_bat_set(struct vhdx *vhdx, uint64_t block, uint64_t entry);

/**
 * vhdx_bat_own_end() - Cut off what a writer that died left behind the end, which may be anything: it
 * comes back as zero. For the journal, before anything is logged, since entries of the log say how
 * long the file was. Return: 0, -LIS_IO.
 */
int vhdx_bat_own_end(struct vhdx *vhdx) LIS_MUST_USE;

/**
 * vhdx_bat_append() - Take room at the end of what is used of the file; it reads as zero.
 * @out_offset_bytes: set on success only
 *
 * Context: under vhdx.lock. Return: 0, -LIS_NOSPACE, -LIS_IO.
 */
int vhdx_bat_append(struct vhdx *vhdx, uint64_t bytes, uint64_t *out_offset_bytes) LIS_MUST_USE;

/** vhdx_bat_zero() - Make a block that is not present one that is zero by definition. Any thread. */
void vhdx_bat_zero(struct vhdx *vhdx, uint64_t block);

/**
 * vhdx_bat_unmap() - A block whose place in the file has been cleared is not present any more. It
 * reads as zero and keeps its place. Any thread.
 */
void vhdx_bat_unmap(struct vhdx *vhdx, uint64_t block);

/**
 * vhdx_bat_trim() - The end of the file, where no block is any more, is free again; closing cuts it off.
 * Context: may sleep, nothing is in flight, all entries are durable.
 */
void vhdx_bat_trim(struct vhdx *vhdx);

/**
 * vhdx_bat_collect() - Copy dirty sectors, of bitmaps and then of the BAT, as far as one entry of the log has
 * room for them, and mark them clean. None are left when all that were dirty when the round began were taken.
 */
void vhdx_bat_collect(struct vhdx *vhdx);

/** vhdx_bat_uncollect() - Mark the collected sectors dirty again. */
void vhdx_bat_uncollect(struct vhdx *vhdx);

/* ---- vhdx_journal.c ---- */

/**
 * vhdx_journal_wait() - Have the journal run for a request; goes on with vhdx_resume().
 *
 * For a write before vhdx.begun: the header is updated. For anything that must be durable (a flush,
 * a FUA request that is through): all BAT entries set and all writes completed before become durable.
 *
 * Context: request->loop's thread.
 */
void vhdx_journal_wait(struct vhdx *vhdx, struct block_request *request);

/* A sector of metadata as it is to be. */
struct vhdx_change {
	uint64_t offset_bytes; /* in the file; whole sectors */
	const uint8_t *data;   /* a sector */
};

/**
 * vhdx_journal_settle() - All BAT entries set and all writes completed before become durable, the file
 * counts as changed from here on. Return: as block_done. Context: may sleep, nothing is in flight.
 */
int vhdx_journal_settle(struct vhdx *vhdx) LIS_MUST_USE;

/**
 * vhdx_journal_change() - Settle and empty the log, then change sectors of metadata as one: after a crash all of
 * them are changed or none is. At most VHDX_JOURNAL_SECTORS_MAX. Where it fails halfway the journal has failed
 * (vhdx_journal_fail()), and the change may show when the file is opened again.
 * Return, context: as vhdx_journal_settle().
 */
int vhdx_journal_change(struct vhdx *vhdx, const struct vhdx_change *changes, uint32_t count) LIS_MUST_USE;

/** vhdx_journal_fail() - Metadata is in doubt, as after a flush elsewhere that failed. Any thread. */
void vhdx_journal_fail(struct vhdx *vhdx, int error);

/** vhdx_journal_close() - Settle everything and empty the log, synchronously. Return: as block_done. */
int vhdx_journal_close(struct vhdx *vhdx) LIS_MUST_USE;

/* ---- vhdx_io.c ---- */

/** vhdx_resume() - The journal has run for @request. Context: request->loop's thread. */
void vhdx_resume(struct block_request *request, int error);

void vhdx_submit(struct block_device *device, struct block_request *request);

/* ---- vhdx_compact.c ---- */

int vhdx_compact(struct block_device *device, const struct block_compact *how, char *error) LIS_MUST_USE;

/* ---- vhdx_resize.c ---- */

int vhdx_resize(struct block_device *device, uint64_t size_bytes, char *error) LIS_MUST_USE;

/** vhdx_step() - Go on with a request, a run of which has ended. Context: request->loop's thread. */
void vhdx_step(struct block_request *request);

/** vhdx_submit_run() - Do @bytes, which are contiguous in the file; vhdx_step() follows. */
void vhdx_submit_run(struct vhdx *vhdx, struct block_request *request, uint64_t offset_bytes, uint64_t bytes);

/* ---- vhdx_parent.c ---- */

/**
 * vhdx_parent_open() - Find and open the parent of a differencing file, by vhdx.locator; sets device.parent.
 * Return: 0, or an error with its line.
 */
int vhdx_parent_open(struct vhdx *vhdx, const struct image_file *file) LIS_MUST_USE;

/** vhdx_identity() - What children know it by. Context: any thread. */
struct guid vhdx_identity(struct vhdx *vhdx);

/** vhdx_is_merging() - Was merging this child into its parent begun, and not brought to its end? */
bool vhdx_is_merging(const struct vhdx *vhdx);

/** vhdx_begin_merge() - See block_begin_merge(). */
void vhdx_begin_merge(struct block_device *child);

/** vhdx_prepare_merge() - See block_prepare_merge(). */
int vhdx_prepare_merge(struct block_device *child, char *error) LIS_MUST_USE;

/**
 * vhdx_parent_locator() - Build the item for a new child.
 * @out_locator: to be freed
 * Return: 0, or an error with its line.
 */
int vhdx_parent_locator(const char *path, struct block_device *parent, uint8_t **out_locator,
			uint32_t *out_bytes, char *error) LIS_MUST_USE;

/* ---- vhdx_diff.c ---- */

/** vhdx_diff_init() - Get ready for vhdx_diff_step(). Return: 0, -LIS_NOMEM. */
int vhdx_diff_init(struct vhdx *vhdx) LIS_MUST_USE;

/**
 * vhdx_diff_step() - Do the next @bytes of the request, all in one block that is not present as a whole.
 * Return: 0 (look again), -LIS_AGAIN (under way; vhdx_step() or the end follows), an error.
 */
int vhdx_diff_step(struct vhdx *vhdx, struct block_request *request, uint64_t bytes) LIS_MUST_USE;

/**
 * vhdx_diff_mark() - Set the bits of what was written last (transfer.mark_bytes).
 * Return: 0 (it is done), -LIS_AGAIN (vhdx_step() follows), an error.
 */
int vhdx_diff_mark(struct vhdx *vhdx, struct block_request *request) LIS_MUST_USE;

/** vhdx_diff_map() - As block_driver.map, for a block that is partially present. */
int vhdx_diff_map(struct vhdx *vhdx, uint64_t offset_bytes, struct block_extent *out_extent) LIS_MUST_USE;

/* ---- vhdx_query.c ---- */

int vhdx_map(struct block_device *device, uint64_t offset_bytes, struct block_extent *out_extent);
void vhdx_describe(struct block_device *device, struct block_details *out_details);
int vhdx_repair(struct block_device *device) LIS_MUST_USE;

#endif
