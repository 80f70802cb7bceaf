/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The bitmaps of a differencing image that say, sector by sector, what is in it and what in its parent.
 * They are read in pages when they are needed; a bounded number is kept. Changed pages stay until the
 * format has made them durable (collect, then settled).
 *
 * The lock is the device's. Unless said otherwise it is held when a function is called.
 */
#ifndef OPENLIS_STORAGE_IMAGES_SECTOR_MAP_H
#define OPENLIS_STORAGE_IMAGES_SECTOR_MAP_H

#include <pthread.h>

#include "storage/images/transfer.h"

/* A page, and a bit in it. */
struct sector_place {
	uint64_t offset_bytes, disk_bytes; /* as in struct sector_page */
	uint64_t bit;
};

/* Pages that may be on their way to the disk at one time. [policy] */
#define SECTOR_MAP_SETTLING_MAX 256u

struct sector_page {
	uint64_t offset_bytes; /* in the file; 0: there is none */
	uint64_t disk_bytes;   /* its first bit is for the sector that begins there */
	uint8_t *data;
	struct block_request *waiting; /* for it to be read */
	uint32_t got_bytes;            /* of it so far, while it is read */
	uint8_t flags;
};

struct sector_map {
	/* Fixed. */
	struct image *image;
	pthread_mutex_t *lock;
	uint32_t page_bytes;
	bool high_first;       /* the first sector of a byte is its highest bit, not its lowest */
	struct sector_page *pages;
	/* A request that waited goes on, with transfer.error. On its loop; without the lock. */
	void (*resume)(struct io_call *call);
	bool short_ok;         /* what is behind the end of the file is zero */
	/*
	 * Optional: a page was read. Puts right what the file has older than it is.
	 * Returns whether the page must be written back before its clear bits count in the file too, see
	 * sector_map_stale(). With the lock.
	 */
	bool (*loaded)(struct image *image, struct sector_page *page);

	uint32_t dirty_count;
	uint32_t settling_count;
	struct sector_page *settling[SECTOR_MAP_SETTLING_MAX];
};

/**
 * sector_map_init() - Fill in all but @loaded and @short_ok; without the lock.
 * @map: zeroed
 * @page_bytes: power of two, at least 512
 *
 * Return: 0, -LIS_NOMEM.
 */
int sector_map_init(struct sector_map *map, struct image *image, pthread_mutex_t *lock, uint32_t page_bytes,
		    bool high_first, void (*resume)(struct io_call *)) LIS_MUST_USE;

/** sector_map_fini() - Free; also what was never filled in. Without the lock. */
void sector_map_fini(struct sector_map *map);

/** sector_map_find() - The page at @offset_bytes of the file if it is in memory, else NULL. */
struct sector_page *sector_map_find(struct sector_map *map, uint64_t offset_bytes);

/**
 * sector_map_get() - The page of @place, for a request.
 * @out_page: set on success; good as long as the lock is held
 *
 * Context: request->loop's thread.
 * Return: 0, -LIS_AGAIN (it is read; map->resume() follows), -LIS_FULL (all that could make room must be
 * made durable first), -LIS_NOMEM.
 */
int sector_map_get(struct sector_map *map, struct block_request *request, const struct sector_place *place,
		   struct sector_page **out_page) LIS_MUST_USE;

/** sector_map_run() - How many bits from @bit on are alike, at most @count; @out_set: what they are. Needs no lock. */
uint64_t sector_map_run(const struct sector_map *map, const uint8_t *data, uint64_t bit, uint64_t count,
			bool *out_set);

/**
 * sector_map_look() - How many sectors from @place on are alike, for a request. Takes the lock.
 * @count: at most so many; what is behind the page is not looked at
 * @out_count: set on success only
 * @out_own: are they in the file? Else they show the parent.
 *
 * Return: as sector_map_get().
 */
int sector_map_look(struct sector_map *map, struct block_request *request, const struct sector_place *place,
		    uint64_t count, uint64_t *out_count, bool *out_own) LIS_MUST_USE;

/** sector_map_peek() - The same at once, for block_map(). Takes the lock. Return: 0, -LIS_NOMEM, -LIS_IO. */
int sector_map_peek(struct sector_map *map, const struct sector_place *place, uint64_t count,
		    uint64_t *out_count, bool *out_own) LIS_MUST_USE;

/** sector_map_set() - Set bits of a page, which is changed from then on. */
void sector_map_set(struct sector_map *map, struct sector_page *page, uint64_t bit, uint64_t count);

/** sector_map_clear() - Clear bits of a page's data. Needs no lock. Return: were there any? */
bool sector_map_clear(const struct sector_map *map, uint8_t *data, uint64_t bit, uint64_t count);

/** sector_map_stale() - Has the file bits set that are clear in @page for good, and is not told yet? */
bool sector_map_stale(const struct sector_page *page);

/**
 * sector_map_collect() - Copy the next changed page and mark it as on its way.
 * @cursor: 0 at first; where to go on
 * @data: page_bytes
 * Return: its place in the file; 0: there are no more, or too many are on their way.
 */
uint64_t sector_map_collect(struct sector_map *map, uint32_t *cursor, uint8_t *data);

/** sector_map_settled() - What was collected is written (@good) or was not. */
void sector_map_settled(struct sector_map *map, bool good);

#endif
