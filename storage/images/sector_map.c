// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Keeps pages of sector bitmaps: see sector_map.h. A page has its place in one of WAYS slots of one
 * set, which its place in the file decides; whoever comes new takes the slot of a page that is
 * neither changed, nor being read or written, nor used lately. Memory is bounded, whatever the size
 * of the disk.
 */
#include "storage/images/sector_map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmbus/os.h"

#define KEPT_BYTES (8u << 20) /* [policy] for each image; with VHDX it covers 32 GiB of the disk */
#define WAYS 8u

enum {
	LOADING = 0x1,  /* being read, by the first of those who wait */
	DIRTY = 0x2,
	SETTLING = 0x4, /* a copy is on its way to the disk */
	RECENT = 0x8,
	STALE = 0x10,   /* the file has bits that must not count */
};

static uint32_t set_count(const struct sector_map *map)
{
	return KEPT_BYTES / map->page_bytes / WAYS;
}

static struct sector_page *set_of(const struct sector_map *map, uint64_t offset_bytes)
{
	uint64_t hash = offset_bytes / map->page_bytes * UINT64_C(0x9e3779b97f4a7c15);

	return &map->pages[(hash >> 32) % set_count(map) * WAYS];
}

int sector_map_init(struct sector_map *map, struct image *image, pthread_mutex_t *lock, uint32_t page_bytes,
		    bool high_first, void (*resume)(struct io_call *))
{
	map->image = image;
	map->lock = lock;
	map->page_bytes = page_bytes;
	map->high_first = high_first;
	map->resume = resume;
	map->pages = calloc(KEPT_BYTES / page_bytes, sizeof(*map->pages));
	return map->pages ? 0 : -LIS_NOMEM;
}

void sector_map_fini(struct sector_map *map)
{
	for (uint32_t i = 0; map->pages && i < KEPT_BYTES / map->page_bytes; i++)
		free(map->pages[i].data);
	free(map->pages);
	map->pages = NULL;
}

/* ---- reading pages ---- */

static void load(struct sector_map *map, struct sector_page *page, struct block_request *request);

/* The page is there, or cannot be had: all who wait for it go on, each on its loop. */
static void end_loading(struct sector_map *map, struct sector_page *page, struct io_loop *loop, int error)
{
	struct block_request *request, *next;

	pthread_mutex_lock(map->lock);
	if (!error && map->loaded && map->loaded(map->image, page)) {
		page->flags |= DIRTY | STALE;
		map->dirty_count++;
	}
	page->flags &= (uint8_t)~LOADING;
	if (error)
		page->offset_bytes = 0;
	request = page->waiting;
	page->waiting = NULL;
	pthread_mutex_unlock(map->lock);
	for (; request; request = next) {
		struct transfer *transfer = transfer_of(request);

		next = request->next;
		transfer->error = (int16_t)error;
		transfer->call.fn = map->resume;
		if (request->loop == loop)
			map->resume(&transfer->call);
		else
			io_loop_call(request->loop, &transfer->call);
	}
}

/* The transfer of the request that reads has no run under way; it keeps the page. */
static void loaded(struct io_op *op, int32_t result)
{
	struct block_request *request = transfer_io_request(op);
	struct transfer *transfer = transfer_of(request);
	struct sector_page *page = (struct sector_page *)(uintptr_t)transfer->file_offset_bytes;
	struct sector_map *map = (struct sector_map *)(uintptr_t)transfer->left_bytes;
	int error = 0;

	if (result > 0)
		page->got_bytes += (uint32_t)result;
	if (result == -EAGAIN || result == -EINTR || (result > 0 && page->got_bytes < map->page_bytes)) {
		load(map, page, request);
		return;
	}
	if (result == 0 && map->short_ok) {
		memset(page->data + page->got_bytes, 0, map->page_bytes - page->got_bytes);
	} else if (result <= 0) {
		if (image_tell_now(&map->image->told, BLOCK_READ))
			os_log(OS_LOG_ERROR, "%s: reading a bitmap at byte %llu failed: %s",
			       map->image->device.path, (unsigned long long)page->offset_bytes,
			       strerror(result < 0 ? -result : EIO));
		error = result < 0 ? image_errno(-result) : -LIS_IO;
	}
	end_loading(map, page, request->loop, error);
}

static void load(struct sector_map *map, struct sector_page *page, struct block_request *request)
{
	struct transfer *transfer = transfer_of(request);

	transfer->file_offset_bytes = (uintptr_t)page;
	transfer->left_bytes = (uintptr_t)map;
	request->io.done = loaded;
	io_uring_prep_read(io_loop_sqe(request->loop, &request->io), map->image->fd, page->data + page->got_bytes,
			   map->page_bytes - page->got_bytes, page->offset_bytes + page->got_bytes);
}

static void wait_for(struct sector_page *page, struct block_request *request)
{
	struct block_request **at = &page->waiting;

	/* The first one reads. */
	while (*at)
		at = &(*at)->next;
	request->next = NULL;
	*at = request;
}

/* ---- finding pages ---- */

struct sector_page *sector_map_find(struct sector_map *map, uint64_t offset_bytes)
{
	struct sector_page *set = set_of(map, offset_bytes);

	for (uint32_t i = 0; i < WAYS; i++)
		if (set[i].offset_bytes == offset_bytes)
			return set[i].flags & LOADING ? NULL : &set[i];
	return NULL;
}

/* A slot for a new page, or one in the way that is being read, or NULL: all are changed. */
static struct sector_page *find_slot(struct sector_page *set)
{
	struct sector_page *busy = NULL, *old = NULL;

	for (uint32_t i = 0; i < WAYS; i++) {
		if (!set[i].offset_bytes)
			return &set[i];
		if (set[i].flags & LOADING)
			busy = &set[i];
		else if (!(set[i].flags & (DIRTY | SETTLING)) && (!old || old->flags & RECENT))
			old = &set[i];
	}
	if (!old)
		return busy;
	/* All were used lately: from now on that is past. */
	for (uint32_t i = 0; i < WAYS && old->flags & RECENT; i++)
		if (&set[i] != old)
			set[i].flags &= (uint8_t)~RECENT;
	return old;
}

int sector_map_get(struct sector_map *map, struct block_request *request, const struct sector_place *place,
		   struct sector_page **out_page)
{
	struct sector_page *set = set_of(map, place->offset_bytes), *page;

	for (uint32_t i = 0; i < WAYS; i++) {
		page = &set[i];
		if (page->offset_bytes != place->offset_bytes)
			continue;
		page->flags |= RECENT;
		if (page->flags & LOADING) {
			wait_for(page, request);
			return -LIS_AGAIN;
		}
		*out_page = page;
		return 0;
	}
	page = find_slot(set);
	if (!page)
		return -LIS_FULL;
	if (page->flags & LOADING) {
		wait_for(page, request); /* and then look again */
		return -LIS_AGAIN;
	}
	if (!page->data && posix_memalign((void **)&page->data, IMAGE_PAGE_BYTES, map->page_bytes)) {
		page->data = NULL;
		return -LIS_NOMEM;
	}
	page->offset_bytes = place->offset_bytes;
	page->disk_bytes = place->disk_bytes;
	page->got_bytes = 0;
	page->flags = LOADING | RECENT;
	wait_for(page, request);
	load(map, page, request);
	return -LIS_AGAIN;
}

/* ---- bits ---- */

static uint8_t mask_of(const struct sector_map *map, uint64_t bit)
{
	return (uint8_t)(map->high_first ? 0x80u >> bit % 8 : 1u << bit % 8);
}

uint64_t sector_map_run(const struct sector_map *map, const uint8_t *data, uint64_t bit, uint64_t count,
			bool *out_set)
{
	bool set = data[bit / 8] & mask_of(map, bit);
	uint8_t same = set ? 0xff : 0;
	uint64_t end = bit + count, at = bit + 1;

	while (at < end) {
		if (at % 8 == 0 && end - at >= 8 && data[at / 8] == same)
			at += 8;
		else if (!(data[at / 8] & mask_of(map, at)) == set)
			break;
		else
			at++;
	}
	*out_set = set;
	return at - bit;
}

static uint64_t run_in_page(const struct sector_map *map, const uint8_t *data, const struct sector_place *place,
			    uint64_t count, bool *out_set)
{
	uint64_t rest = UINT64_C(8) * map->page_bytes - place->bit;

	return sector_map_run(map, data, place->bit, count < rest ? count : rest, out_set);
}

int sector_map_look(struct sector_map *map, struct block_request *request, const struct sector_place *place,
		    uint64_t count, uint64_t *out_count, bool *out_own)
{
	struct sector_page *page;
	int result;

	pthread_mutex_lock(map->lock);
	result = sector_map_get(map, request, place, &page);
	if (!result)
		*out_count = run_in_page(map, page->data, place, count, out_own);
	pthread_mutex_unlock(map->lock);
	return result;
}

static int read_now(struct sector_map *map, struct sector_page *page)
{
	ssize_t now = 1;

	while (page->got_bytes < map->page_bytes && now) {
		now = pread(map->image->fd, page->data + page->got_bytes, map->page_bytes - page->got_bytes,
			    (off_t)(page->offset_bytes + page->got_bytes));
		if (now > 0)
			page->got_bytes += (uint32_t)now;
		else if (now < 0 && errno != EINTR)
			return -LIS_IO;
	}
	if (page->got_bytes < map->page_bytes && !map->short_ok)
		return -LIS_IO;
	memset(page->data + page->got_bytes, 0, map->page_bytes - page->got_bytes);
	if (map->loaded)
		(void)map->loaded(map->image, page);
	return 0;
}

int sector_map_peek(struct sector_map *map, const struct sector_place *place, uint64_t count,
		    uint64_t *out_count, bool *out_own)
{
	struct sector_page copy = { .offset_bytes = place->offset_bytes, .disk_bytes = place->disk_bytes };
	const struct sector_page *page;
	int result = 0;

	if (posix_memalign((void **)&copy.data, IMAGE_PAGE_BYTES, map->page_bytes))
		return -LIS_NOMEM;
	pthread_mutex_lock(map->lock);
	page = sector_map_find(map, place->offset_bytes);
	if (!page) {
		result = read_now(map, &copy);
		page = &copy;
	}
	if (!result)
		*out_count = run_in_page(map, page->data, place, count, out_own);
	pthread_mutex_unlock(map->lock);
	free(copy.data);
	return result;
}

void sector_map_set(struct sector_map *map, struct sector_page *page, uint64_t bit, uint64_t count)
{
	bool changed = false;

	for (uint64_t at = bit; at < bit + count;) {
		if (at % 8 == 0 && bit + count - at >= 8) {
			changed |= page->data[at / 8] != 0xff;
			page->data[at / 8] = 0xff;
			at += 8;
		} else {
			changed |= !(page->data[at / 8] & mask_of(map, at));
			page->data[at / 8] |= mask_of(map, at);
			at++;
		}
	}
	if (changed && !(page->flags & DIRTY)) {
		page->flags |= DIRTY;
		map->dirty_count++;
	}
}

bool sector_map_clear(const struct sector_map *map, uint8_t *data, uint64_t bit, uint64_t count)
{
	bool changed = false;

	for (uint64_t at = bit; at < bit + count; at++) {
		changed |= data[at / 8] & mask_of(map, at);
		data[at / 8] &= (uint8_t)~mask_of(map, at);
	}
	return changed;
}

bool sector_map_stale(const struct sector_page *page)
{
	return page->flags & STALE;
}

/* ---- making them durable ---- */

uint64_t sector_map_collect(struct sector_map *map, uint32_t *cursor, uint8_t *data)
{
	uint32_t count = KEPT_BYTES / map->page_bytes;

	while (map->dirty_count && *cursor < count && map->settling_count < SECTOR_MAP_SETTLING_MAX) {
		struct sector_page *page = &map->pages[(*cursor)++];

		if (!(page->flags & DIRTY))
			continue;
		page->flags &= (uint8_t)~DIRTY;
		page->flags |= SETTLING;
		map->dirty_count--;
		map->settling[map->settling_count++] = page;
		memcpy(data, page->data, map->page_bytes);
		return page->offset_bytes;
	}
	return 0;
}

void sector_map_settled(struct sector_map *map, bool good)
{
	for (uint32_t i = 0; i < map->settling_count; i++) {
		struct sector_page *page = map->settling[i];

		page->flags &= (uint8_t)~SETTLING;
		if (good) {
			page->flags &= (uint8_t)~STALE;
		} else if (!(page->flags & DIRTY)) {
			page->flags |= DIRTY;
			map->dirty_count++;
		}
	}
	map->settling_count = 0;
}
