/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Between the VHD files: vhd_open.c parses, vhd_bat.c finds and allocates blocks, vhd_settle.c makes
 * the BAT durable, vhd_io.c serves requests; vhd_parent.c finds the parent of a differencing file,
 * vhd_diff.c serves what such a file has only in part.
 *
 * Locking: BAT entries and vhd.whole are atomic and read without a lock. They change, as everything in
 * struct vhd_space and the queue of struct vhd_settle does, under vhd.lock. The rest of struct
 * vhd_settle belongs to the loop that runs the round at the moment.
 */
#ifndef OPENLIS_STORAGE_IMAGES_VHD_INTERNAL_H
#define OPENLIS_STORAGE_IMAGES_VHD_INTERNAL_H

#include <pthread.h>

#include "storage/images/sector_map.h"
#include "storage/images/transfer.h"
#include "storage/images/vhd.h"
#include "storage/images/vhd_format.h"

#define VHD_BAT_SECTOR_ENTRIES (VHD_SECTOR_BYTES / sizeof(uint32_t))
#define VHD_BAT_ENTRIES_MAX (UINT64_C(4) << 20) /* [policy] bounds memory; 2 TiB in blocks of 512 KiB */

/* Sectors of the BAT and of bitmaps that one step of a round takes. [policy] */
#define VHD_SETTLE_SECTORS_MAX SECTOR_MAP_SETTLING_MAX

/* Where blocks come from. Under vhd.lock. */
struct vhd_space {
	uint64_t end_bytes;  /* behind the last thing but the footer; whole sectors */
	uint64_t file_bytes; /* the file's length; its last sector is the footer */
	uint64_t absent;     /* blocks that are not there */
	bool grown;          /* from end_bytes to the footer: zeroes, and bitmaps where blocks will be */
	uint64_t *dirty;     /* one bit for each sector of the BAT that is newer than on disk */
	uint32_t dirty_count;
};

struct vhd_settle {
	/* Under vhd.lock. */
	bool running;
	struct block_request *queue, **queue_tail; /* for the next round */
	int failed;                  /* sticky: what is on disk is in doubt until reopened */

	/* The runner's. */
	struct block_request *batch; /* waits for this round */
	struct io_loop *loop;
	struct io_op op;
	struct io_call handover;
	int stage;
	int error;
	bool unsynced;               /* something was written since the last flush of this round */
	uint32_t cursor;             /* BAT sector to look at next */
	uint32_t map_cursor;         /* as sector_map_collect() */
	const uint8_t *io_data;      /* write under way */
	uint64_t io_offset_bytes, io_left_bytes;
	uint8_t *sectors;            /* what goes into place */
	uint64_t sector_offset_bytes[VHD_SETTLE_SECTORS_MAX]; /* in the file */
	uint32_t sector_count, sectors_placed;
};

struct vhd {
	struct image image;

	/* Fixed while open. */
	bool fixed;
	bool differencing;
	uint32_t block_bytes;
	uint32_t block_shift;
	uint32_t bitmap_bytes;
	uint64_t block_count;
	uint64_t bat_offset_bytes;
	uint32_t bat_entries;     /* that it has room for, as its header says */
	uint32_t bat_sectors;     /* of 512 bytes, that have entries in use */
	_Atomic uint32_t *bat;    /* whole sectors; in the processor's byte order */
	_Atomic uint8_t *whole;   /* for each block: 1 if its bitmap is known to have every bit set */
	uint8_t *page;            /* what is written to the file, aligned: footer; dynamic: then a bitmap of ones */
	struct vhd_footer *footer; /* as on disk */

	atomic_bool unsettled;    /* some BAT entry is not durable yet */

	pthread_mutex_t lock;
	struct vhd_space space;
	struct vhd_settle settle;
	struct sector_map map;    /* differencing only */

	/* What was found at open, for a check. */
	bool tail_damaged;        /* the footer at the end did not count */
	bool copy_damaged;        /* dynamic: its copy at the start is not good */
	bool parent_touched;      /* differencing: its parent's time stamp is another one */

	/* Only while opening. */
	const char *path;
	char *error;
	const struct block_check *check;
	int fd;
	uint64_t file_bytes;
	uint64_t blocks_end_bytes; /* blocks must end before */
};

/* ---- vhd_open.c ---- */

/** vhd_damaged() - "PATH: is a damaged VHD file: REASON". Return: -LIS_FORMAT. */
int vhd_damaged(struct vhd *vhd, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** vhd_found() - As vhd_damaged(), of what does not keep a check from going on. Return: -LIS_FORMAT; 0 in a check. */
int vhd_found(struct vhd *vhd, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- vhd_bat.c ---- */

/** vhd_bat_load() - Read and check the BAT; finds space.end_bytes. Return: 0, or an error with its line. */
int vhd_bat_load(struct vhd *vhd, const struct vhd_header *header) LIS_MUST_USE;

/** vhd_bat_free() - Free what vhd_bat_load() got. */
void vhd_bat_free(struct vhd *vhd);

/** vhd_bat_entry() - Sector of a block's bitmap, or VHD_ABSENT. Any thread. */
static inline uint32_t vhd_bat_entry(struct vhd *vhd, uint64_t block)
{
	/* Pairs with the release in vhd_bat_set(): the file is long enough for what it says. */
	return atomic_load_explicit(&vhd->bat[block], memory_order_acquire);
}

static inline uint64_t vhd_data_offset(const struct vhd *vhd, uint32_t entry)
{
	return (uint64_t)entry * VHD_SECTOR_BYTES + vhd->bitmap_bytes;
}

/**
 * vhd_bat_allocate() - Give a block its place; it reads as zero there, or still as the parent. Any thread.
 * Return: 0 (also where another thread was first), -LIS_NOSPACE, -LIS_IO.
 */
int vhd_bat_allocate(struct vhd *vhd, uint64_t block) LIS_MUST_USE;

/** vhd_block_used_bytes() - How much of a block must be inside the file: the last one ends with the disk. */
static inline uint64_t vhd_block_used_bytes(const struct vhd *vhd, uint64_t block)
{
	uint64_t rest_bytes = vhd->image.device.geometry.size_bytes - (block << vhd->block_shift);

	return rest_bytes < vhd->block_bytes ? rest_bytes : vhd->block_bytes;
}

/** vhd_bat_set() - Change an entry, in memory; settling does the rest. Under vhd.lock. */
void vhd_bat_set(struct vhd *vhd, uint64_t block, uint32_t entry);

/** vhd_bat_sector() - A sector of the BAT as it is on disk. @out: VHD_SECTOR_BYTES */
void vhd_bat_sector(struct vhd *vhd, uint32_t sector, uint8_t *out);

/** vhd_bitmap_whole() - Are the bits of all sectors of @block that the disk has set? */
bool vhd_bitmap_whole(const struct vhd *vhd, uint64_t block, const uint8_t *bitmap);

/** vhd_bitmap_has() - The bit of one sector of a block. */
static inline bool vhd_bitmap_has(const uint8_t *bitmap, uint64_t sector)
{
	return bitmap[sector / 8] & 0x80u >> sector % 8;
}

/**
 * vhd_bat_make_whole() - Before a block with clear bits is written: zero the sectors that do not
 * count, then set all bits, durably, in this order. Any thread; waits for the disk. Such blocks come
 * from other programs, and each is made whole once.
 *
 * Return: 0, an error of block_done.
 */
int vhd_bat_make_whole(struct vhd *vhd, uint64_t block) LIS_MUST_USE;

/** vhd_bat_collect() - Copy dirty sectors, of bitmaps and the BAT, from settle's cursors on and mark them clean. */
void vhd_bat_collect(struct vhd *vhd);

/** vhd_bat_uncollect() - Mark the collected sectors dirty again. */
void vhd_bat_uncollect(struct vhd *vhd);

/* ---- vhd_settle.c ---- */

/**
 * vhd_settle_wait() - All writes completed, all BAT entries and bits set before become durable; then the
 * request goes on with vhd_resume(). Context: request->loop's thread.
 */
void vhd_settle_wait(struct vhd *vhd, struct block_request *request);

/** vhd_settle_fail() - Flushing went wrong elsewhere: the BAT on disk is in doubt. Any thread. */
void vhd_settle_fail(struct vhd *vhd, int error);

/**
 * vhd_settle_now() - All BAT entries set and all writes completed before become durable. Return: as
 * block_done. Context: may sleep, nothing is in flight; so for the next one.
 */
int vhd_settle_now(struct vhd *vhd) LIS_MUST_USE;

/**
 * vhd_settle_footer() - End the file at @end_bytes: the footer there, durably, and only then the length.
 * Nothing that counts is behind.
 */
int vhd_settle_footer(struct vhd *vhd, uint64_t end_bytes) LIS_MUST_USE;

/** vhd_settle_close() - Settle, and put the footer behind the last block, synchronously. */
int vhd_settle_close(struct vhd *vhd) LIS_MUST_USE;

/* ---- vhd_io.c ---- */

void vhd_submit(struct block_device *device, struct block_request *request);

/* ---- vhd_create.c ---- */

/** vhd_footer_resize() - A footer for a disk of another size, with its geometry and checksum. */
void vhd_footer_resize(struct vhd_footer *footer, uint64_t size_bytes);

/* ---- vhd_resize.c ---- */

int vhd_resize(struct block_device *device, uint64_t size_bytes, char *error) LIS_MUST_USE;
/** vhd_resume() - What @request waited for is over. Context: request->loop's thread. */
void vhd_resume(struct block_request *request, int error);

/** vhd_step() - Go on with a request, a run of which has ended. Context: request->loop's thread. */
void vhd_step(struct block_request *request);

/** vhd_submit_run() - Do @bytes, which are contiguous in the file; vhd_step() follows. */
void vhd_submit_run(struct vhd *vhd, struct block_request *request, uint64_t offset_bytes, uint64_t bytes);

/* ---- vhd_parent.c ---- */

/**
 * vhd_parent_open() - Find and open the parent of a differencing file, by its header; sets device.parent.
 * Return: 0, or an error with its line.
 */
int vhd_parent_open(struct vhd *vhd, const struct image_file *file, const struct vhd_header *header) LIS_MUST_USE;

/** vhd_parent_end() - Where in the file the last of the parent's paths ends, in whole sectors; 0: there are none. */
uint64_t vhd_parent_end(const struct vhd *vhd, const struct vhd_header *header);

/**
 * vhd_parent_describe() - Fill in what a new child says of its parent.
 * @path: of the child
 * @offset_bytes: where @out_texts will be in the file
 * @header: gets all but its checksum
 * @out_texts: the paths, whole sectors, to be freed; set on success only
 *
 * Return: 0, or an error with its line.
 */
int vhd_parent_describe(const char *path, struct block_device *parent, uint64_t offset_bytes,
			struct vhd_header *header, uint8_t **out_texts, uint32_t *out_bytes,
			char *error) LIS_MUST_USE;

/* ---- vhd_diff.c ---- */

/** vhd_diff_init() - Get ready for vhd_diff_step(). Return: 0, -LIS_NOMEM. */
int vhd_diff_init(struct vhd *vhd) LIS_MUST_USE;

/**
 * vhd_diff_step() - Do the next part of a request, up to @bytes in a block that is not known to be there as a
 * whole.
 * Return: 0 (look again), -LIS_AGAIN (under way; vhd_step() or the end follows), an error.
 */
int vhd_diff_step(struct vhd *vhd, struct block_request *request, uint64_t bytes) LIS_MUST_USE;

/**
 * vhd_diff_mark() - Set the bits of what was written last (transfer.mark_bytes).
 * Return: 0 (it is done), -LIS_AGAIN (vhd_step() follows), an error.
 */
int vhd_diff_mark(struct vhd *vhd, struct block_request *request) LIS_MUST_USE;

/** vhd_diff_map() - As block_driver.map, for a block that is not known to be whole. */
int vhd_diff_map(struct vhd *vhd, uint64_t offset_bytes, struct block_extent *out_extent) LIS_MUST_USE;

/** vhd_trim() - End the file where its last block does. Context, return: as vhd_settle_footer(). */
int vhd_trim(struct vhd *vhd) LIS_MUST_USE;

/* ---- vhd_compact.c ---- */

int vhd_compact(struct block_device *device, const struct block_compact *how, char *error) LIS_MUST_USE;

/* ---- vhd_query.c ---- */

int vhd_map(struct block_device *device, uint64_t offset_bytes, struct block_extent *out_extent);
void vhd_describe(struct block_device *device, struct block_details *out_details);

#endif
