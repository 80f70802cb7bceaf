// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The block allocation table (BAT) of a dynamic VHD file: loaded whole, checked, and from then on the
 * one truth about where blocks are. Blocks are appended, their data on whole pages. The file grows in
 * large steps, with a new footer at its new end and the bitmaps of the coming blocks set already, so
 * a block needs no writing before it is used.
 *
 * Entries change under vhd.lock, from absent to present, never back; readers take no lock. A changed
 * entry is dirty until vhd_settle.c has written it, which it does only after what the entry points to
 * is durable. A crash may leave the file longer than its blocks need, never a block outside it.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/images/vhd_internal.h"

#define SECTOR VHD_SECTOR_BYTES
#define ENTRIES_PER_SECTOR VHD_BAT_SECTOR_ENTRIES
#define GROW_BYTES (UINT64_C(64) << 20) /* [policy] one step for so much */
#define READ_BYTES 65536u

/* ---- loading ---- */

static uint64_t round_up(uint64_t value, uint64_t unit)
{
	return (value + unit - 1) / unit * unit;
}

static int no_memory(struct vhd *vhd)
{
	return image_error(vhd->error, -LIS_NOMEM, vhd->path, "out of memory");
}

static int place_table(struct vhd *vhd, const struct vhd_header *header)
{
	uint64_t offset_bytes = be64toh(header->bat_offset_bytes);
	uint64_t room_bytes = (uint64_t)be32toh(header->bat_entries) * sizeof(uint32_t);
	uint64_t bytes, end_bytes;

	if (vhd->block_count > be32toh(header->bat_entries))
		return vhd_damaged(vhd, "its BAT is too short for its size");
	if (vhd->block_count > VHD_BAT_ENTRIES_MAX)
		return image_error(vhd->error, -LIS_UNSUPPORTED, vhd->path,
				   "has %llu blocks of %u bytes; %llu are as many as can be used",
				   (unsigned long long)vhd->block_count, vhd->block_bytes,
				   (unsigned long long)VHD_BAT_ENTRIES_MAX);
	vhd->bat_sectors = (uint32_t)((vhd->block_count + ENTRIES_PER_SECTOR - 1) / ENTRIES_PER_SECTOR);
	bytes = (uint64_t)vhd->bat_sectors * SECTOR;
	if (offset_bytes % SECTOR || offset_bytes < sizeof(struct vhd_footer) ||
	    __builtin_add_overflow(offset_bytes, bytes, &end_bytes) || end_bytes > vhd->blocks_end_bytes)
		return vhd_damaged(vhd, "its BAT is not inside the file");
	if (offset_bytes < vhd->space.end_bytes &&
	    end_bytes > vhd->space.end_bytes - sizeof(struct vhd_header))
		return vhd_damaged(vhd, "its BAT overlaps its header");
	vhd->bat_entries = be32toh(header->bat_entries);
	vhd->bat_offset_bytes = offset_bytes;
	/* New blocks keep clear of the room that is the BAT's, as far as there is any. */
	end_bytes = offset_bytes + round_up(room_bytes, SECTOR);
	if (end_bytes > vhd->blocks_end_bytes)
		end_bytes = round_up(vhd->blocks_end_bytes, SECTOR);
	if (end_bytes > vhd->space.end_bytes)
		vhd->space.end_bytes = end_bytes;
	return 0;
}

/* Can this be where the block is? @result: as vhd_found(), if not */
static bool check_entry(struct vhd *vhd, uint64_t block, uint32_t entry, int *result)
{
	uint64_t from = (uint64_t)entry * SECTOR, header_bytes = be64toh(vhd->footer->header_offset_bytes);
	uint64_t to = vhd_data_offset(vhd, entry) + vhd->block_bytes;

	if (vhd_data_offset(vhd, entry) + vhd_block_used_bytes(vhd, block) > vhd->blocks_end_bytes) {
		*result = vhd_found(vhd, "block %llu is behind the end of the file, which was cut off",
				    (unsigned long long)block);
		return false;
	}
	if (from < sizeof(struct vhd_footer) ||
	    (from < header_bytes + sizeof(struct vhd_header) && header_bytes < to) ||
	    (from < vhd->bat_offset_bytes + (uint64_t)vhd->bat_sectors * SECTOR && vhd->bat_offset_bytes < to)) {
		*result = vhd_found(vhd, "block %llu overlaps the metadata", (unsigned long long)block);
		return false;
	}
	if (to > vhd->space.end_bytes)
		vhd->space.end_bytes = to;
	return true;
}

static int read_table(struct vhd *vhd)
{
	uint32_t *piece = malloc(READ_BYTES);
	int result = 0;

	if (!piece)
		return no_memory(vhd);
	for (uint64_t block = 0; block < vhd->block_count && !result;) {
		uint64_t at_bytes = block * sizeof(uint32_t);
		uint64_t bytes = (uint64_t)vhd->bat_sectors * SECTOR - at_bytes;

		if (bytes > READ_BYTES)
			bytes = READ_BYTES;
		if (image_read(vhd->fd, piece, bytes, vhd->bat_offset_bytes + at_bytes)) {
			result = image_error(vhd->error, -LIS_IO, vhd->path, "its BAT cannot be read");
			break;
		}
		/* The rest of the last sector is kept as it is; it may be anything. */
		for (uint64_t i = 0; i < bytes / sizeof(uint32_t) && !result; i++, block++) {
			uint32_t entry = be32toh(piece[i]);

			atomic_init(&vhd->bat[block], entry);
			if (block >= vhd->block_count)
				continue;
			if (entry != VHD_ABSENT && !check_entry(vhd, block, entry, &result)) {
				/* A check goes on without it. */
				entry = VHD_ABSENT;
				atomic_init(&vhd->bat[block], entry);
			}
			vhd->space.absent += entry == VHD_ABSENT;
		}
	}
	free(piece);
	return result;
}

static int compare_places(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

/* No two blocks share a sector. */
static int check_overlap(struct vhd *vhd)
{
	uint64_t count = vhd->block_count - vhd->space.absent, used = 0;
	uint32_t stride = (vhd->bitmap_bytes + vhd->block_bytes) / SECTOR;
	uint32_t *places;
	int result = 0;

	if (!count)
		return 0;
	places = malloc(count * sizeof(*places));
	if (!places)
		return no_memory(vhd);
	for (uint64_t block = 0; block < vhd->block_count && used < count; block++)
		if (vhd_bat_entry(vhd, block) != VHD_ABSENT)
			places[used++] = vhd_bat_entry(vhd, block);
	qsort(places, used, sizeof(*places), compare_places);
	for (uint64_t i = 1; i < used && !result; i++)
		if (places[i] - places[i - 1] < stride)
			result = vhd_found(vhd, "the blocks at sectors %u and %u overlap", places[i - 1],
					   places[i]);
	free(places);
	return result;
}

int vhd_bat_load(struct vhd *vhd, const struct vhd_header *header)
{
	int result = place_table(vhd, header);

	if (result)
		return result;
	vhd->bat = calloc(vhd->bat_sectors, SECTOR);
	vhd->whole = calloc(vhd->block_count, 1);
	if (!vhd->bat || !vhd->whole)
		return no_memory(vhd);
	result = read_table(vhd);
	return result ? result : check_overlap(vhd);
}

void vhd_bat_free(struct vhd *vhd)
{
	free(vhd->bat);
	free(vhd->whole);
}

/* ---- growing ---- */

/* Where the next block's bitmap goes, so that its data begins on a page. */
static uint64_t next_place(const struct vhd *vhd, uint64_t end_bytes)
{
	return round_up(end_bytes + vhd->bitmap_bytes, IMAGE_PAGE_BYTES) - vhd->bitmap_bytes;
}

/* Room for @count blocks, with their bitmaps, and the footer behind. */
static int grow_by(struct vhd *vhd, uint64_t count)
{
	struct vhd_space *space = &vhd->space;
	uint64_t stride_bytes = round_up(vhd->bitmap_bytes, IMAGE_PAGE_BYTES) + vhd->block_bytes;
	uint64_t first = next_place(vhd, space->end_bytes);
	uint64_t old_bytes = round_up(space->file_bytes, SECTOR);
	uint64_t end_bytes = first + (count - 1) * stride_bytes + vhd->bitmap_bytes + vhd->block_bytes;
	uint64_t file_bytes = end_bytes + sizeof(struct vhd_footer);
	int result;

	/*
	 * The new footer before the old one is overwritten: both are there for a while. A writer that
	 * died may have left the file longer than this; what it left must not be seen again.
	 */
	result = image_write(vhd->image.fd, vhd->page, sizeof(struct vhd_footer), end_bytes);
	if (!result && ftruncate(vhd->image.fd, (off_t)file_bytes) < 0)
		result = image_errno(errno);
	if (!result)
		result = image_clear(vhd->image.fd, space->end_bytes, old_bytes < end_bytes ? old_bytes : end_bytes);
	if (!result)
		image_reserve(&vhd->image, vhd->block_bytes, first, end_bytes);
	/* Of a differencing file the bits are clear at first. */
	for (uint64_t i = 0; i < count && !result && !vhd->differencing; i++)
		result = image_write(vhd->image.fd, vhd->page + sizeof(struct vhd_footer), vhd->bitmap_bytes,
				     first + i * stride_bytes);
	if (result)
		return result;
	space->file_bytes = file_bytes;
	space->grown = true;
	return 0;
}

static int grow(struct vhd *vhd)
{
	uint64_t count = GROW_BYTES / vhd->block_bytes;
	int result;

	if (!count)
		count = 1;
	if (count > vhd->space.absent)
		count = vhd->space.absent;
	result = grow_by(vhd, count);
	return result == -LIS_NOSPACE && count > 1 ? grow_by(vhd, 1) : result;
}

/* ---- changing entries ---- */

static void mark_dirty(struct vhd *vhd, uint64_t sector)
{
	uint64_t bit = UINT64_C(1) << sector % 64;

	vhd->space.dirty_count += !(vhd->space.dirty[sector / 64] & bit);
	vhd->space.dirty[sector / 64] |= bit;
}

void vhd_bat_set(struct vhd *vhd, uint64_t block, uint32_t entry)
{
	mark_dirty(vhd, block / ENTRIES_PER_SECTOR);
	/* Whoever sees the entry sees this too, and does not take it for durable. */
	atomic_store_explicit(&vhd->unsettled, true, memory_order_relaxed);
	atomic_store_explicit(&vhd->bat[block], entry, memory_order_release);
}

static int find_room(struct vhd *vhd, uint32_t *out_entry)
{
	struct vhd_space *space = &vhd->space;
	uint64_t place = next_place(vhd, space->end_bytes);
	uint64_t bytes = vhd->bitmap_bytes + (uint64_t)vhd->block_bytes;

	if (place / SECTOR >= VHD_ABSENT)
		return -LIS_NOSPACE; /* entries reach no further */
	if (!space->grown || place + bytes + sizeof(struct vhd_footer) > space->file_bytes) {
		int result = grow(vhd);

		if (result) {
			image_no_room(&vhd->image, result);
			return result;
		}
	}
	*out_entry = (uint32_t)(place / SECTOR);
	space->end_bytes = place + bytes;
	return 0;
}

int vhd_bat_allocate(struct vhd *vhd, uint64_t block)
{
	uint32_t entry;
	int result = 0;

	pthread_mutex_lock(&vhd->lock);
	if (vhd_bat_entry(vhd, block) == VHD_ABSENT) {
		result = vhd->settle.failed;
		if (!result)
			result = find_room(vhd, &entry);
		if (!result) {
			vhd->space.absent--;
			atomic_store_explicit(&vhd->whole[block], !vhd->differencing, memory_order_relaxed);
			vhd_bat_set(vhd, block, entry);
		}
	}
	pthread_mutex_unlock(&vhd->lock);
	return result;
}

/* ---- bitmaps ---- */

bool vhd_bitmap_whole(const struct vhd *vhd, uint64_t block, const uint8_t *bitmap)
{
	uint64_t sectors = vhd_block_used_bytes(vhd, block) / SECTOR;

	for (uint64_t i = 0; i < sectors / 8; i++)
		if (bitmap[i] != 0xff)
			return false;
	for (uint64_t i = sectors & ~UINT64_C(7); i < sectors; i++)
		if (!vhd_bitmap_has(bitmap, i))
			return false;
	return true;
}

/* Zeroes the data of sectors whose bit is clear. */
static int clear_uncounted(struct vhd *vhd, uint64_t data_bytes, const uint8_t *bitmap)
{
	uint64_t sectors = vhd->block_bytes / SECTOR, from = 0;
	int result = 0;

	while (from < sectors && !result) {
		uint64_t to = from;

		while (to < sectors && !vhd_bitmap_has(bitmap, to))
			to++;
		if (to > from)
			result = image_clear(vhd->image.fd, data_bytes + from * SECTOR,
					     data_bytes + to * SECTOR);
		from = to + 1;
	}
	return result;
}

static int make_whole(struct vhd *vhd, uint64_t block, uint8_t *bitmap)
{
	uint64_t place = (uint64_t)vhd_bat_entry(vhd, block) * SECTOR;
	int result = image_read(vhd->image.fd, bitmap, vhd->bitmap_bytes, place);

	if (result)
		return result;
	if (!vhd_bitmap_whole(vhd, block, bitmap)) {
		result = clear_uncounted(vhd, place + vhd->bitmap_bytes, bitmap);
		/* A bit must not count before the zeroes it stands for. */
		if (!result && fdatasync(vhd->image.fd) < 0)
			result = image_errno(errno);
		if (!result)
			result = image_write(vhd->image.fd, vhd->page + sizeof(struct vhd_footer),
					     vhd->bitmap_bytes, place);
		if (!result && fdatasync(vhd->image.fd) < 0)
			result = image_errno(errno);
	}
	if (!result)
		atomic_store_explicit(&vhd->whole[block], 1, memory_order_release);
	return result;
}

int vhd_bat_make_whole(struct vhd *vhd, uint64_t block)
{
	uint8_t *bitmap;
	int result = 0;

	if (posix_memalign((void **)&bitmap, IMAGE_PAGE_BYTES, vhd->bitmap_bytes))
		return -LIS_NOMEM;
	pthread_mutex_lock(&vhd->lock);
	if (!atomic_load_explicit(&vhd->whole[block], memory_order_acquire))
		result = make_whole(vhd, block, bitmap);
	pthread_mutex_unlock(&vhd->lock);
	free(bitmap);
	return result;
}

/* ---- for vhd_settle.c ---- */

void vhd_bat_sector(struct vhd *vhd, uint32_t sector, uint8_t *out)
{
	for (uint32_t i = 0; i < ENTRIES_PER_SECTOR; i++) {
		uint32_t entry = htobe32(vhd_bat_entry(vhd, sector * ENTRIES_PER_SECTOR + i));

		memcpy(out + i * sizeof(entry), &entry, sizeof(entry));
	}
}

static void collect_bitmaps(struct vhd *vhd)
{
	struct vhd_settle *settle = &vhd->settle;

	while (settle->sector_count < VHD_SETTLE_SECTORS_MAX) {
		uint64_t place = sector_map_collect(&vhd->map, &settle->map_cursor,
						    settle->sectors + settle->sector_count * SECTOR);

		if (!place)
			break;
		settle->sector_offset_bytes[settle->sector_count++] = place;
	}
}

void vhd_bat_collect(struct vhd *vhd)
{
	struct vhd_settle *settle = &vhd->settle;
	uint64_t *dirty = vhd->space.dirty;

	settle->sector_count = 0;
	settle->sectors_placed = 0;
	pthread_mutex_lock(&vhd->lock);
	if (vhd->differencing)
		collect_bitmaps(vhd);
	while (vhd->space.dirty_count && settle->sector_count < VHD_SETTLE_SECTORS_MAX &&
	       settle->cursor < vhd->bat_sectors) {
		uint32_t sector = settle->cursor;
		uint64_t word = dirty[sector / 64] >> sector % 64;

		if (!word) {
			settle->cursor = (sector / 64 + 1) * 64;
			continue;
		}
		sector += (uint32_t)__builtin_ctzll(word);
		dirty[sector / 64] &= ~(UINT64_C(1) << sector % 64);
		vhd->space.dirty_count--;
		vhd_bat_sector(vhd, sector, settle->sectors + settle->sector_count * SECTOR);
		settle->sector_offset_bytes[settle->sector_count++] =
			vhd->bat_offset_bytes + (uint64_t)sector * SECTOR;
		settle->cursor = sector + 1;
	}
	pthread_mutex_unlock(&vhd->lock);
}

void vhd_bat_uncollect(struct vhd *vhd)
{
	struct vhd_settle *settle = &vhd->settle;

	pthread_mutex_lock(&vhd->lock);
	for (uint32_t i = 0; i < settle->sector_count; i++) {
		uint64_t sector = (settle->sector_offset_bytes[i] - vhd->bat_offset_bytes) / SECTOR;

		if (sector < vhd->bat_sectors) /* and not of a bitmap */
			mark_dirty(vhd, sector);
	}
	sector_map_settled(&vhd->map, false);
	settle->sector_count = 0;
	pthread_mutex_unlock(&vhd->lock);
}
