// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The block allocation table (BAT) of a VHDX file: loaded whole, checked, and from then on the one
 * truth about where blocks are. Blocks are appended; the file grows in large steps and its new end
 * reads as zero, so a block needs no writing before it is used.
 *
 * Entries change under vhdx.lock, readers take no lock. A changed entry is dirty until the journal has
 * logged it. A block that is unmapped keeps its place, as the format lets it, and gets no other one
 * when it is written again: a request that is still under way with the entry as it was, at any time,
 * reads and writes at the right place of the disk, so that nobody has to be waited for.
 * In a differencing file not present may also become partially present, which becomes present.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "storage/images/vhdx_internal.h"

#define SECTOR VHDX_LOG_SECTOR_BYTES
#define ENTRIES_PER_SECTOR VHDX_BAT_SECTOR_ENTRIES
#define GROW_BYTES (UINT64_C(64) << 20) /* [policy] one ftruncate() for so much */

/* ---- loading ---- */

void *vhdx_bat_reserve(uint64_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* Reads what has data; holes stay untouched, so that a huge empty table costs nothing. */
static int read_table(struct vhdx *vhdx)
{
	uint64_t at_bytes = vhdx->bat_offset_bytes;
	uint64_t end_bytes = at_bytes + (uint64_t)vhdx->bat_sectors * SECTOR;
	char *bat = (char *)vhdx->bat;

	while (at_bytes < end_bytes) {
		off_t data = lseek(vhdx->fd, (off_t)at_bytes, SEEK_DATA);
		off_t hole = data < 0 ? data : lseek(vhdx->fd, data, SEEK_HOLE);
		uint64_t from = at_bytes, to = end_bytes;
		int result;

		if (data < 0 && errno == ENXIO)
			break;
		if (data >= 0 && hole > data) {
			from = (uint64_t)data;
			to = (uint64_t)hole < end_bytes ? (uint64_t)hole : end_bytes;
		}
		if (from >= end_bytes)
			break;
		result = vhdx_read(vhdx, bat + (from - vhdx->bat_offset_bytes), to - from, from);
		if (result)
			return result;
		at_bytes = to;
	}
	vhdx_patch(vhdx, bat, (uint64_t)vhdx->bat_sectors * SECTOR, vhdx->bat_offset_bytes);
	return 0;
}

static bool hits_metadata(const struct vhdx *vhdx, uint64_t from, uint64_t bytes)
{
	const uint64_t places[][2] = {
		{ 0, VHDX_UNIT_BYTES },
		{ vhdx->header.log_offset_bytes, vhdx->header.log_length_bytes },
		{ vhdx->bat_offset_bytes, vhdx->bat_region_bytes },
		{ vhdx->metadata_offset_bytes, vhdx->metadata_region_bytes },
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (from < places[i][0] + places[i][1] && places[i][0] < from + bytes)
			return true;
	return false;
}

/* Marks the units of a block as taken; false if one was already. */
static bool take_units(uint8_t *taken, uint64_t from, uint64_t bytes)
{
	for (uint64_t unit = from / VHDX_UNIT_BYTES; unit < (from + bytes) / VHDX_UNIT_BYTES; unit++) {
		if (taken[unit / 8] & 1u << unit % 8)
			return false;
		taken[unit / 8] |= (uint8_t)(1u << unit % 8);
	}
	return true;
}

/* These two states may still say where the block was, and keep the room. [ms-vhdx 2.5.1.1] */
static bool remembers_place(uint64_t entry)
{
	uint32_t state = entry & VHDX_BAT_STATE;

	return (state == VHDX_BLOCK_UNDEFINED || state == VHDX_BLOCK_UNMAPPED) && (entry & VHDX_BAT_OFFSET);
}

static uint64_t bitmap_entry(struct vhdx *vhdx, uint64_t chunk)
{
	return atomic_load_explicit(&vhdx->bat[vhdx_bitmap_index(vhdx, chunk)], memory_order_acquire);
}

static bool bitmap_present(uint64_t entry)
{
	return (entry & VHDX_BAT_STATE) == VHDX_BITMAP_PRESENT;
}

static int check_bitmap(struct vhdx *vhdx, uint64_t chunk, uint8_t *taken)
{
	uint64_t entry = bitmap_entry(vhdx, chunk), offset_bytes = entry & VHDX_BAT_OFFSET, end_bytes;

	if (!bitmap_present(entry)) {
		vhdx->space.bitmaps_absent++;
		if (entry & (VHDX_BAT_STATE | VHDX_BAT_RESERVED))
			return vhdx_found(vhdx, "the BAT entry of sector bitmap %llu is not valid",
					  (unsigned long long)chunk);
		return 0;
	}
	if (entry & VHDX_BAT_RESERVED || __builtin_add_overflow(offset_bytes, VHDX_BITMAP_BYTES, &end_bytes) ||
	    end_bytes > vhdx->file_bytes)
		return vhdx_found(vhdx, "sector bitmap %llu is behind the end of the file, which was cut off",
				  (unsigned long long)chunk);
	if (hits_metadata(vhdx, offset_bytes, VHDX_BITMAP_BYTES) ||
	    !take_units(taken, offset_bytes, VHDX_BITMAP_BYTES))
		return vhdx_found(vhdx, "sector bitmap %llu overlaps something else",
				  (unsigned long long)chunk);
	if (end_bytes > vhdx->space.end_bytes)
		vhdx->space.end_bytes = end_bytes;
	return 0;
}

static bool state_valid(struct vhdx *vhdx, uint64_t block, uint32_t state)
{
	if (state == VHDX_BLOCK_PARTIALLY_PRESENT)
		return vhdx->differencing && bitmap_present(bitmap_entry(vhdx, block >> vhdx->chunk_shift));
	return state != 4 && state != 5;
}

static int check_entry(struct vhdx *vhdx, uint64_t block, uint64_t entry, uint8_t *taken)
{
	uint64_t offset_bytes = entry & VHDX_BAT_OFFSET;
	uint32_t state = entry & VHDX_BAT_STATE;
	uint64_t end_bytes;

	if (entry & VHDX_BAT_RESERVED || !state_valid(vhdx, block, state))
		return vhdx_found(vhdx, "the BAT entry of block %llu is not valid", (unsigned long long)block);
	if (!vhdx_bat_has_place(entry) && !remembers_place(entry))
		return 0;
	if (__builtin_add_overflow(offset_bytes, vhdx_block_used_bytes(vhdx, block), &end_bytes) ||
	    end_bytes > vhdx->file_bytes)
		return vhdx_found(vhdx, "block %llu is behind the end of the file, which was cut off",
				  (unsigned long long)block);
	if (hits_metadata(vhdx, offset_bytes, vhdx->block_bytes))
		return vhdx_found(vhdx, "block %llu overlaps the metadata", (unsigned long long)block);
	if (!take_units(taken, offset_bytes, vhdx->block_bytes))
		return vhdx_found(vhdx, "block %llu overlaps another one", (unsigned long long)block);
	if (offset_bytes + vhdx->block_bytes > vhdx->space.end_bytes)
		vhdx->space.end_bytes = offset_bytes + vhdx->block_bytes;
	return 0;
}

static uint64_t chunk_count(const struct vhdx *vhdx)
{
	return ((vhdx->block_count - 1) >> vhdx->chunk_shift) + 1;
}

static int check_table(struct vhdx *vhdx)
{
	/* One bit for each MiB of the file, and of the room its last block may want. */
	uint64_t taken_bytes = (vhdx->file_bytes + VHDX_BLOCK_BYTES_MAX) / VHDX_UNIT_BYTES / 8 + 1;
	uint8_t *taken = vhdx_bat_reserve(taken_bytes);
	int result = 0;

	if (!taken)
		return image_error(vhdx->error, -LIS_NOMEM, vhdx->path, "out of memory");
	for (uint64_t block = 0; block < vhdx->block_count && !result; block++) {
		uint64_t entry = vhdx_bat_entry(vhdx, block);

		if (!vhdx_bat_has_place(entry))
			vhdx->space.absent++;
		if (entry)
			result = check_entry(vhdx, block, entry, taken);
	}
	for (uint64_t chunk = 0; vhdx->differencing && chunk < chunk_count(vhdx) && !result; chunk++)
		result = check_bitmap(vhdx, chunk, taken);
	munmap(taken, taken_bytes);
	return result;
}

int vhdx_bat_load(struct vhdx *vhdx)
{
	uint64_t entries = vhdx_bat_entries(vhdx, vhdx->block_count);
	int result;

	/* The last chunk is whole, with its bitmap, where there are bitmaps. */
	if (vhdx->differencing)
		entries = vhdx_bitmap_index(vhdx, chunk_count(vhdx) - 1) + 1;
	if (entries * sizeof(uint64_t) > vhdx->bat_region_bytes)
		return vhdx_damaged(vhdx, "its BAT is too short for its size");
	vhdx->bat_sectors = vhdx_bat_sector_count(entries);
	vhdx->bat = vhdx_bat_reserve((uint64_t)vhdx->bat_sectors * SECTOR);
	if (!vhdx->bat)
		return image_error(vhdx->error, -LIS_NOMEM, vhdx->path, "out of memory");
	result = read_table(vhdx);
	return result ? result : check_table(vhdx);
}

/* ---- changing entries ---- */

static void set_index(struct vhdx *vhdx, uint64_t index, uint64_t entry)
{
	uint64_t sector = index / ENTRIES_PER_SECTOR;
	uint64_t bit = UINT64_C(1) << sector % 64;

	if (!(vhdx->space.dirty[sector / 64] & bit)) {
		vhdx->space.dirty[sector / 64] |= bit;
		vhdx->space.dirty_count++;
	}
	/* Whoever sees the entry sees this too, and does not take it for durable. */
	atomic_store_explicit(&vhdx->unsettled, true, memory_order_relaxed);
	atomic_store_explicit(&vhdx->bat[index], entry, memory_order_release);
}

void vhdx_bat_set(struct vhdx *vhdx, uint64_t block, uint64_t entry)
{
	set_index(vhdx, block + (block >> vhdx->chunk_shift), entry);
}

int vhdx_bat_own_end(struct vhdx *vhdx)
{
	struct vhdx_space *space = &vhdx->space;

	if (!space->grown && space->file_bytes > space->end_bytes) {
		if (ftruncate(vhdx->image.fd, (off_t)space->end_bytes) < 0)
			return image_errno(errno);
		space->file_bytes = space->end_bytes;
		if (vhdx->journal.flushed_bytes > space->end_bytes)
			vhdx->journal.flushed_bytes = space->end_bytes;
	}
	space->grown = true;
	return 0;
}

/* Makes the file longer by at least @bytes. */
static int grow(struct vhdx *vhdx, uint64_t bytes)
{
	struct vhdx_space *space = &vhdx->space;
	uint64_t all_bytes = space->absent * vhdx->block_bytes + space->bitmaps_absent * VHDX_BITMAP_BYTES;
	uint64_t ahead_bytes = all_bytes < GROW_BYTES ? all_bytes : GROW_BYTES;
	uint64_t size_bytes = space->end_bytes + (ahead_bytes > bytes ? ahead_bytes : bytes);

	if (ftruncate(vhdx->image.fd, (off_t)size_bytes) < 0) {
		size_bytes = space->end_bytes + bytes;
		if (ftruncate(vhdx->image.fd, (off_t)size_bytes) < 0)
			return image_errno(errno);
	}
	image_reserve(&vhdx->image, vhdx->block_bytes, space->end_bytes, size_bytes);
	space->file_bytes = size_bytes;
	return 0;
}

int vhdx_bat_append(struct vhdx *vhdx, uint64_t bytes, uint64_t *out_offset_bytes)
{
	struct vhdx_space *space = &vhdx->space;

	if (space->end_bytes + bytes > space->file_bytes) {
		int result = grow(vhdx, bytes);

		if (result) {
			image_no_room(&vhdx->image, result);
			return result;
		}
	}
	*out_offset_bytes = space->end_bytes;
	space->end_bytes += bytes;
	return 0;
}

/* Finds room for a block: the place it had before it was unmapped, or the end of the file. */
static int find_room(struct vhdx *vhdx, uint64_t entry, uint64_t *out_offset_bytes)
{
	struct vhdx_space *space = &vhdx->space;
	uint64_t old_bytes = entry & VHDX_BAT_OFFSET;

	if (remembers_place(entry) && old_bytes + vhdx->block_bytes <= space->file_bytes &&
	    fallocate(vhdx->image.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)old_bytes,
		      vhdx->block_bytes) == 0) {
		*out_offset_bytes = old_bytes;
		return 0;
	}
	return vhdx_bat_append(vhdx, vhdx->block_bytes, out_offset_bytes);
}

int vhdx_bat_allocate(struct vhdx *vhdx, uint64_t block)
{
	uint64_t entry, offset_bytes;
	int result = 0;

	pthread_mutex_lock(&vhdx->lock);
	entry = vhdx_bat_entry(vhdx, block);
	if (!vhdx_bat_present(entry)) {
		result = vhdx->journal.failed;
		if (!result)
			result = find_room(vhdx, entry, &offset_bytes);
		if (!result) {
			vhdx->space.absent--;
			vhdx_bat_set(vhdx, block, offset_bytes | VHDX_BLOCK_FULLY_PRESENT);
		}
	}
	pthread_mutex_unlock(&vhdx->lock);
	return result;
}

static int append_partial(struct vhdx *vhdx, uint64_t block)
{
	uint64_t chunk = block >> vhdx->chunk_shift, offset_bytes;
	int result;

	if (!bitmap_present(bitmap_entry(vhdx, chunk))) {
		result = vhdx_bat_append(vhdx, VHDX_BITMAP_BYTES, &offset_bytes);
		if (result)
			return result;
		vhdx->space.bitmaps_absent--;
		set_index(vhdx, vhdx_bitmap_index(vhdx, chunk), offset_bytes | VHDX_BITMAP_PRESENT);
	}
	result = vhdx_bat_append(vhdx, vhdx->block_bytes, &offset_bytes);
	if (!result) {
		vhdx->space.absent--;
		vhdx_bat_set(vhdx, block, offset_bytes | VHDX_BLOCK_PARTIALLY_PRESENT);
	}
	return result;
}

int vhdx_bat_partial(struct vhdx *vhdx, uint64_t block)
{
	int result = 0;

	pthread_mutex_lock(&vhdx->lock);
	if ((vhdx_bat_entry(vhdx, block) & VHDX_BAT_STATE) == VHDX_BLOCK_NOT_PRESENT) {
		result = vhdx->journal.failed;
		if (!result)
			result = append_partial(vhdx, block);
	}
	pthread_mutex_unlock(&vhdx->lock);
	return result;
}

void vhdx_bat_complete(struct vhdx *vhdx, uint64_t block)
{
	uint64_t entry;

	pthread_mutex_lock(&vhdx->lock);
	entry = vhdx_bat_entry(vhdx, block);
	if ((entry & VHDX_BAT_STATE) == VHDX_BLOCK_PARTIALLY_PRESENT)
		vhdx_bat_set(vhdx, block, (entry & VHDX_BAT_OFFSET) | VHDX_BLOCK_FULLY_PRESENT);
	pthread_mutex_unlock(&vhdx->lock);
}

/* Is a block that reads as anything, or as what the parent has, until it is zero? */
static bool may_become_zero(const struct vhdx *vhdx, uint64_t entry)
{
	uint32_t state = entry & VHDX_BAT_STATE;

	return state == VHDX_BLOCK_UNDEFINED || state == VHDX_BLOCK_UNMAPPED ||
	       (state == VHDX_BLOCK_NOT_PRESENT && vhdx->differencing);
}

void vhdx_bat_zero(struct vhdx *vhdx, uint64_t block)
{
	if (!may_become_zero(vhdx, vhdx_bat_entry(vhdx, block)))
		return;
	pthread_mutex_lock(&vhdx->lock);
	if (may_become_zero(vhdx, vhdx_bat_entry(vhdx, block)))
		vhdx_bat_set(vhdx, block, VHDX_BLOCK_ZERO);
	pthread_mutex_unlock(&vhdx->lock);
}

void vhdx_bat_unmap(struct vhdx *vhdx, uint64_t block)
{
	uint64_t entry;

	pthread_mutex_lock(&vhdx->lock);
	entry = vhdx_bat_entry(vhdx, block);
	if (vhdx_bat_present(entry)) {
		vhdx->space.absent++;
		vhdx_bat_set(vhdx, block, (entry & VHDX_BAT_OFFSET) | VHDX_BLOCK_UNMAPPED);
	}
	pthread_mutex_unlock(&vhdx->lock);
}

void vhdx_bat_trim(struct vhdx *vhdx)
{
	struct vhdx_space *space = &vhdx->space;
	uint64_t end_bytes = vhdx->regions_end_bytes;

	for (uint64_t block = 0; block < vhdx->block_count; block++) {
		uint64_t place = vhdx_bat_entry(vhdx, block) & VHDX_BAT_OFFSET;

		if (place && place + vhdx->block_bytes > end_bytes)
			end_bytes = place + vhdx->block_bytes;
	}
	if (end_bytes < space->end_bytes && !image_clear(vhdx->image.fd, end_bytes, space->end_bytes))
		space->end_bytes = end_bytes;
}

/* ---- for the journal ---- */

static void collect_sector(struct vhdx *vhdx, uint32_t sector)
{
	struct vhdx_journal *journal = &vhdx->journal;

	vhdx->space.dirty[sector / 64] &= ~(UINT64_C(1) << sector % 64);
	vhdx->space.dirty_count--;
	memcpy(journal->sectors + journal->sector_count * SECTOR, (const char *)vhdx->bat + (uint64_t)sector * SECTOR,
	       SECTOR);
	journal->sector_offset_bytes[journal->sector_count++] = vhdx->bat_offset_bytes + (uint64_t)sector * SECTOR;
}

/* The last dirty sector before @end; @end where there is none. */
static uint32_t last_dirty(const struct vhdx *vhdx, uint32_t end)
{
	uint32_t word = (end + 63) / 64;

	while (word-- > 0) {
		uint64_t bits = vhdx->space.dirty[word];

		if (end - word * 64 < 64)
			bits &= (UINT64_C(1) << (end - word * 64)) - 1;
		if (bits)
			return word * 64 + 63 - (uint32_t)__builtin_clzll(bits);
	}
	return end;
}

static void collect_bitmaps(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;

	while (journal->sector_count < VHDX_JOURNAL_SECTORS_MAX) {
		uint64_t place = sector_map_collect(&vhdx->map, &journal->map_cursor,
						    journal->sectors + journal->sector_count * SECTOR);

		if (!place)
			break;
		journal->sector_offset_bytes[journal->sector_count++] = place;
	}
}

/*
 * From the end to the start: a block that is partially present must not come without its bitmap's entry,
 * which is in the same sector or in one further on, and there may have become dirty since this round took it.
 * What became dirty where the round has been does not keep it from ending.
 */
static void collect_sectors(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;
	uint32_t end = vhdx->bat_sectors;

	if (last_dirty(vhdx, journal->left) == journal->left)
		journal->left = 0;
	while (journal->left && journal->sector_count < VHDX_JOURNAL_SECTORS_MAX) {
		uint32_t sector = last_dirty(vhdx, end);

		if (sector == end)
			break;
		collect_sector(vhdx, sector);
		end = sector;
		if (journal->left > sector)
			journal->left = sector;
	}
}

void vhdx_bat_collect(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;

	journal->sector_count = 0;
	pthread_mutex_lock(&vhdx->lock);
	if (vhdx->differencing)
		collect_bitmaps(vhdx);
	collect_sectors(vhdx);
	journal->entry_file_bytes = vhdx->space.file_bytes;
	pthread_mutex_unlock(&vhdx->lock);
}

void vhdx_bat_uncollect(struct vhdx *vhdx)
{
	struct vhdx_journal *journal = &vhdx->journal;

	pthread_mutex_lock(&vhdx->lock);
	for (uint32_t i = 0; i < journal->sector_count; i++) {
		uint64_t sector = (journal->sector_offset_bytes[i] - vhdx->bat_offset_bytes) / SECTOR;
		uint64_t bit = UINT64_C(1) << sector % 64;

		if (sector >= vhdx->bat_sectors)
			continue; /* of a bitmap */
		vhdx->space.dirty_count += !(vhdx->space.dirty[sector / 64] & bit);
		vhdx->space.dirty[sector / 64] |= bit;
	}
	sector_map_settled(&vhdx->map, false);
	journal->sector_count = 0;
	pthread_mutex_unlock(&vhdx->lock);
}
