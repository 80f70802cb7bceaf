// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Opens a VHDX file: headers, log, regions, metadata, each checked before anything follows from it.
 *
 * Everything is read once into memory of our own. What a damaged or hostile file can make us allocate
 * is bounded by the format's own limits and by the data that is really there.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "storage/images/crc32c.h"
#include "storage/images/vhdx_internal.h"

/* Longer files than this cannot be right: 64 TiB of blocks and what belongs to them. [policy] */
#define FILE_BYTES_MAX (UINT64_C(256) << 40)

#define LOCATOR_BYTES_MAX (UINT32_C(256) << 10) /* [policy] five paths and more */

static const struct guid zero_guid;

int vhdx_damaged(struct vhdx *vhdx, const char *format, ...)
{
	char reason[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	return image_error(vhdx->error, -LIS_FORMAT, vhdx->path, "is a damaged VHDX file: %s", reason);
}

int vhdx_found(struct vhdx *vhdx, const char *format, ...)
{
	char reason[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	if (vhdx->check && vhdx->check->found(vhdx->check->context, vhdx->path, reason))
		return 0;
	return vhdx_damaged(vhdx, "%s", reason);
}

uint32_t vhdx_checksum(const void *data, size_t bytes)
{
	static const uint32_t zero;
	uint32_t crc = crc32c(0, data, VHDX_CHECKSUM_OFFSET);

	crc = crc32c(crc, &zero, sizeof(zero));
	return crc32c(crc, (const char *)data + VHDX_CHECKSUM_OFFSET + 4,
		      bytes - VHDX_CHECKSUM_OFFSET - 4);
}

int vhdx_new_guid(struct guid *out_guid)
{
	struct guid guid;

	if (getrandom(guid.bytes, sizeof(guid.bytes), 0) != (ssize_t)sizeof(guid.bytes))
		return -LIS_IO;
	guid.bytes[7] = (uint8_t)(0x40 | (guid.bytes[7] & 0x0f)); /* version 4, RFC 9562 variant */
	guid.bytes[8] = (uint8_t)(0x80 | (guid.bytes[8] & 0x3f));
	*out_guid = guid;
	return 0;
}

void vhdx_header_image(const struct vhdx_header *header, uint8_t *page)
{
	uint32_t checksum;

	memset(page, 0, VHDX_HEADER_BYTES);
	memcpy(page, header, sizeof(*header));
	checksum = vhdx_checksum(page, VHDX_HEADER_BYTES);
	memcpy(page + VHDX_CHECKSUM_OFFSET, &checksum, sizeof(checksum));
}

void vhdx_patch(const struct vhdx *vhdx, void *data, uint64_t bytes, uint64_t offset_bytes)
{
	uint64_t end_bytes = offset_bytes + bytes;

	for (uint32_t i = 0; i < vhdx->patches.count; i++) {
		const struct vhdx_patch *patch = &vhdx->patches.list[i];
		uint64_t from = patch->offset_bytes, to = from + patch->length_bytes;

		if (from < offset_bytes)
			from = offset_bytes;
		if (to > end_bytes)
			to = end_bytes;
		if (from >= to)
			continue;
		if (patch->data)
			memcpy((char *)data + (from - offset_bytes),
			       patch->data + (from - patch->offset_bytes), to - from);
		else
			memset((char *)data + (from - offset_bytes), 0, to - from);
	}
}

int vhdx_read(struct vhdx *vhdx, void *data, uint64_t bytes, uint64_t offset_bytes)
{
	uint64_t there_bytes = bytes;

	if (vhdx->extended) {
		/* What the log would append, were it replayed into the file, is zero. */
		uint64_t size_bytes = vhdx->space.file_bytes;

		there_bytes = offset_bytes >= size_bytes ? 0 : size_bytes - offset_bytes;
		if (there_bytes > bytes)
			there_bytes = bytes;
		memset((char *)data + there_bytes, 0, bytes - there_bytes);
	}
	if (image_read(vhdx->fd, data, there_bytes, offset_bytes))
		return image_error(vhdx->error, -LIS_IO, vhdx->path, "cannot be read at byte %llu",
				   (unsigned long long)offset_bytes);
	vhdx_patch(vhdx, data, bytes, offset_bytes);
	return 0;
}

/* ---- headers ---- */

static bool read_header(struct vhdx *vhdx, uint32_t slot, struct vhdx_header *out_header)
{
	uint8_t page[VHDX_HEADER_BYTES] __attribute__((aligned(8)));
	struct vhdx_header header;

	if (image_read(vhdx->fd, page, sizeof(page), vhdx_header_offset(slot)))
		return false;
	memcpy(&header, page, sizeof(header));
	if (header.signature != VHDX_HEADER_TAG || header.checksum != vhdx_checksum(page, sizeof(page)))
		return false;
	*out_header = header;
	return true;
}

static int check_log_place(struct vhdx *vhdx)
{
	const struct vhdx_header *header = &vhdx->header;
	uint64_t end_bytes;

	if (guid_compare(&header->log_guid, &zero_guid) && header->log_version != VHDX_LOG_VERSION)
		return image_error(vhdx->error, -LIS_UNSUPPORTED, vhdx->path,
				   "has a log of version %u, this program knows version %u only",
				   header->log_version, VHDX_LOG_VERSION);
	if (!header->log_length_bytes)
		return vhdx_damaged(vhdx, "it has no log");
	if ((header->log_offset_bytes | header->log_length_bytes) & (VHDX_UNIT_BYTES - 1) ||
	    header->log_offset_bytes < VHDX_UNIT_BYTES ||
	    __builtin_add_overflow(header->log_offset_bytes, header->log_length_bytes, &end_bytes) ||
	    end_bytes > vhdx->file_bytes)
		return vhdx_damaged(vhdx, "its log is not inside the file");
	return 0;
}

static int parse_headers(struct vhdx *vhdx)
{
	struct vhdx_header headers[2];
	bool valid[2];

	for (uint32_t slot = 0; slot < 2; slot++)
		valid[slot] = read_header(vhdx, slot, &headers[slot]);
	if (!valid[0] && !valid[1])
		return vhdx_damaged(vhdx, "neither of its two headers is valid");
	vhdx->header_was_lost = !valid[0] || !valid[1];
	vhdx->header_slot = !valid[0] || (valid[1] && headers[1].sequence_number > headers[0].sequence_number);
	vhdx->header = headers[vhdx->header_slot];
	if (vhdx->header.version != VHDX_VERSION)
		return image_error(vhdx->error, -LIS_UNSUPPORTED, vhdx->path,
				   "is a VHDX file of version %u, this program knows version %u only",
				   vhdx->header.version, VHDX_VERSION);
	return check_log_place(vhdx);
}

/* ---- regions ---- */

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

int vhdx_regions_read(struct vhdx *vhdx, uint8_t *table)
{
	static const uint64_t offsets[2] = { VHDX_REGION_TABLE1_OFFSET, VHDX_REGION_TABLE2_OFFSET };
	struct vhdx_region_table header;

	for (int i = 0; i < 2; i++) {
		int result = vhdx_read(vhdx, table, VHDX_REGION_TABLE_BYTES, offsets[i]);

		if (result)
			return result;
		memcpy(&header, table, sizeof(header));
		if (header.signature == VHDX_REGION_TAG &&
		    header.checksum == vhdx_checksum(table, VHDX_REGION_TABLE_BYTES) &&
		    header.entry_count <= VHDX_REGION_ENTRIES_MAX)
			return 0;
	}
	return vhdx_damaged(vhdx, "neither of its two region tables is valid");
}

/* One region: where it is, and whether it is one of ours. */
static int take_region(struct vhdx *vhdx, const struct vhdx_region_entry *entry)
{
	uint64_t end_bytes;

	if (!entry->length_bytes ||
	    (entry->file_offset_bytes | entry->length_bytes) & (VHDX_UNIT_BYTES - 1) ||
	    entry->file_offset_bytes < VHDX_UNIT_BYTES ||
	    __builtin_add_overflow(entry->file_offset_bytes, entry->length_bytes, &end_bytes) ||
	    end_bytes > vhdx->file_bytes)
		return vhdx_damaged(vhdx, "one of its regions is not inside the file");
	if (overlap(entry->file_offset_bytes, entry->length_bytes, vhdx->header.log_offset_bytes,
		    vhdx->header.log_length_bytes))
		return vhdx_damaged(vhdx, "one of its regions overlaps the log");
	if (end_bytes > vhdx->space.end_bytes)
		vhdx->space.end_bytes = end_bytes;
	if (!guid_compare(&entry->guid, &VHDX_BAT_REGION)) {
		vhdx->bat_offset_bytes = entry->file_offset_bytes;
		vhdx->bat_region_bytes = entry->length_bytes;
	} else if (!guid_compare(&entry->guid, &VHDX_METADATA_REGION)) {
		vhdx->metadata_offset_bytes = entry->file_offset_bytes;
		vhdx->metadata_region_bytes = entry->length_bytes;
	} else if (entry->flags & VHDX_REGION_REQUIRED) {
		char text[GUID_TEXT_BYTES];

		guid_format(&entry->guid, text);
		return image_error(vhdx->error, -LIS_UNSUPPORTED, vhdx->path,
				   "needs the unknown VHDX region %s", text);
	}
	return 0;
}

static int compare_regions(const void *a, const void *b)
{
	const struct vhdx_region_entry *left = a, *right = b;

	return left->file_offset_bytes < right->file_offset_bytes ? -1 :
	       left->file_offset_bytes > right->file_offset_bytes;
}

static int take_regions(struct vhdx *vhdx, uint8_t *table)
{
	struct vhdx_region_entry *entries = (void *)(table + sizeof(struct vhdx_region_table));
	struct vhdx_region_table header;

	memcpy(&header, table, sizeof(header));
	qsort(entries, header.entry_count, sizeof(*entries), compare_regions);
	for (uint32_t i = 0; i < header.entry_count; i++) {
		int result = take_region(vhdx, &entries[i]);

		if (result)
			return result;
		if (i && overlap(entries[i - 1].file_offset_bytes, entries[i - 1].length_bytes,
				 entries[i].file_offset_bytes, entries[i].length_bytes))
			return vhdx_damaged(vhdx, "two of its regions overlap");
	}
	if (!vhdx->bat_region_bytes || !vhdx->metadata_region_bytes)
		return vhdx_damaged(vhdx, "it has no %s region", vhdx->bat_region_bytes ? "metadata" : "BAT");
	return 0;
}

static int parse_regions(struct vhdx *vhdx)
{
	uint8_t *table = malloc(VHDX_REGION_TABLE_BYTES);
	int result;

	if (!table)
		return image_error(vhdx->error, -LIS_NOMEM, vhdx->path, "out of memory");
	result = vhdx_regions_read(vhdx, table);
	if (!result)
		result = take_regions(vhdx, table);
	free(table);
	return result;
}

/* ---- metadata ---- */

struct metadata {
	const uint8_t *table;
	uint32_t entry_count;
};

static struct vhdx_metadata_entry metadata_entry(const struct metadata *metadata, uint32_t index)
{
	struct vhdx_metadata_entry entry;

	memcpy(&entry, metadata->table + sizeof(struct vhdx_metadata_table) + index * sizeof(entry),
	       sizeof(entry));
	return entry;
}

/* Where an item of known size is; @name for the error line. */
static int find_item(struct vhdx *vhdx, const struct metadata *metadata, const struct guid *id,
		     const char *name, uint32_t bytes, uint64_t *out_offset_bytes)
{
	for (uint32_t i = 0; i < metadata->entry_count; i++) {
		struct vhdx_metadata_entry entry = metadata_entry(metadata, i);

		if (guid_compare(&entry.item_id, id) || (entry.flags & VHDX_METADATA_IS_USER))
			continue;
		if (entry.length_bytes != bytes || entry.offset_bytes < VHDX_METADATA_TABLE_BYTES ||
		    entry.offset_bytes > vhdx->metadata_region_bytes - bytes)
			return vhdx_damaged(vhdx, "its %s is not where it should be", name);
		*out_offset_bytes = vhdx->metadata_offset_bytes + entry.offset_bytes;
		return 0;
	}
	return vhdx_damaged(vhdx, "it has no %s", name);
}

static int read_item(struct vhdx *vhdx, const struct metadata *metadata, const struct guid *id,
		     const char *name, void *value, uint32_t bytes)
{
	uint64_t offset_bytes;
	int result = find_item(vhdx, metadata, id, name, bytes, &offset_bytes);

	return result ? result : vhdx_read(vhdx, value, bytes, offset_bytes);
}

/* The parent locator, whose size is its own affair. Kept until the parent is open. */
static int read_locator(struct vhdx *vhdx, const struct metadata *metadata)
{
	for (uint32_t i = 0; i < metadata->entry_count; i++) {
		struct vhdx_metadata_entry entry = metadata_entry(metadata, i);

		if (guid_compare(&entry.item_id, &VHDX_PARENT_LOCATOR) || (entry.flags & VHDX_METADATA_IS_USER))
			continue;
		if (entry.length_bytes > LOCATOR_BYTES_MAX || entry.length_bytes > vhdx->metadata_region_bytes ||
		    entry.offset_bytes < VHDX_METADATA_TABLE_BYTES ||
		    entry.offset_bytes > vhdx->metadata_region_bytes - entry.length_bytes)
			return vhdx_damaged(vhdx, "its parent locator is not where it should be");
		vhdx->locator_bytes = entry.length_bytes;
		vhdx->locator_offset_bytes = vhdx->metadata_offset_bytes + entry.offset_bytes;
		vhdx->locator = malloc(entry.length_bytes + 1);
		if (!vhdx->locator)
			return image_error(vhdx->error, -LIS_NOMEM, vhdx->path, "out of memory");
		return vhdx_read(vhdx, vhdx->locator, entry.length_bytes, vhdx->locator_offset_bytes);
	}
	return vhdx_damaged(vhdx, "it is a differencing file and has no parent locator");
}

static int refuse_unknown_items(struct vhdx *vhdx, const struct metadata *metadata)
{
	const struct guid known[] = {
		VHDX_FILE_PARAMETERS, VHDX_VIRTUAL_DISK_SIZE, VHDX_PAGE_83_DATA,
		VHDX_LOGICAL_SECTOR_SIZE, VHDX_PHYSICAL_SECTOR_SIZE, VHDX_PARENT_LOCATOR,
	};

	for (uint32_t i = 0; i < metadata->entry_count; i++) {
		struct vhdx_metadata_entry entry = metadata_entry(metadata, i);
		char text[GUID_TEXT_BYTES];
		bool found = false;

		if (!(entry.flags & VHDX_METADATA_IS_REQUIRED))
			continue;
		for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++)
			found |= !guid_compare(&entry.item_id, &known[k]);
		if (found)
			continue;
		guid_format(&entry.item_id, text);
		return image_error(vhdx->error, -LIS_UNSUPPORTED, vhdx->path,
				   "needs the unknown VHDX metadata item %s", text);
	}
	return 0;
}

static int take_parameters(struct vhdx *vhdx, const struct metadata *metadata)
{
	struct vhdx_file_parameters parameters;
	int result = read_item(vhdx, metadata, &VHDX_FILE_PARAMETERS, "block size", &parameters,
			       sizeof(parameters));

	if (result)
		return result;
	if (parameters.block_bytes < VHDX_BLOCK_BYTES_MIN || parameters.block_bytes > VHDX_BLOCK_BYTES_MAX ||
	    parameters.block_bytes & (parameters.block_bytes - 1))
		return vhdx_damaged(vhdx, "its block size is %u", parameters.block_bytes);
	vhdx->block_bytes = parameters.block_bytes;
	vhdx->block_shift = (uint32_t)__builtin_ctz(parameters.block_bytes);
	vhdx->differencing = parameters.flags & VHDX_HAS_PARENT;
	vhdx->fixed = !vhdx->differencing && parameters.flags & VHDX_LEAVE_BLOCKS_ALLOCATED;
	return vhdx->differencing ? read_locator(vhdx, metadata) : 0;
}

static int take_geometry(struct vhdx *vhdx, const struct metadata *metadata)
{
	struct block_geometry *geometry = &vhdx->image.device.geometry;
	uint32_t *sectors[2] = { &geometry->logical_sector_bytes, &geometry->physical_sector_bytes };
	const struct guid ids[2] = { VHDX_LOGICAL_SECTOR_SIZE, VHDX_PHYSICAL_SECTOR_SIZE };
	static const char *const names[2] = { "logical sector size", "physical sector size" };
	uint64_t size_bytes;
	int result;

	for (int i = 0; i < 2; i++) {
		result = read_item(vhdx, metadata, &ids[i], names[i], sectors[i], 4);
		if (result)
			return result;
		if (*sectors[i] != 512 && *sectors[i] != 4096)
			return vhdx_damaged(vhdx, "its %s is %u", names[i], *sectors[i]);
	}
	result = find_item(vhdx, metadata, &VHDX_VIRTUAL_DISK_SIZE, "disk size", 8, &vhdx->size_offset_bytes);
	if (!result)
		result = vhdx_read(vhdx, &size_bytes, 8, vhdx->size_offset_bytes);
	if (result)
		return result;
	if (!size_bytes || size_bytes > VHDX_DISK_BYTES_MAX || size_bytes % geometry->logical_sector_bytes)
		return vhdx_damaged(vhdx, "its disk size is %llu", (unsigned long long)size_bytes);
	geometry->size_bytes = size_bytes;
	vhdx->block_count = (size_bytes + vhdx->block_bytes - 1) >> vhdx->block_shift;
	/* Both are powers of two. */
	vhdx->chunk_shift = (uint32_t)__builtin_ctzll(
		VHDX_SECTORS_PER_CHUNK * geometry->logical_sector_bytes / vhdx->block_bytes);
	return read_item(vhdx, metadata, &VHDX_PAGE_83_DATA, "identity (page 83 data)",
			 &geometry->unique_id, sizeof(geometry->unique_id));
}

static int parse_metadata(struct vhdx *vhdx)
{
	uint8_t *table = malloc(VHDX_METADATA_TABLE_BYTES);
	struct vhdx_metadata_table header;
	struct metadata metadata;
	int result;

	if (!table)
		return image_error(vhdx->error, -LIS_NOMEM, vhdx->path, "out of memory");
	result = vhdx_read(vhdx, table, VHDX_METADATA_TABLE_BYTES, vhdx->metadata_offset_bytes);
	if (result)
		goto out_free;
	memcpy(&header, table, sizeof(header));
	if (memcmp(header.signature, "metadata", 8) || header.entry_count > VHDX_METADATA_ENTRIES_MAX) {
		result = vhdx_damaged(vhdx, "its metadata table is not valid");
		goto out_free;
	}
	metadata = (struct metadata){ .table = table, .entry_count = header.entry_count };
	result = refuse_unknown_items(vhdx, &metadata);
	if (!result)
		result = take_parameters(vhdx, &metadata);
	if (!result)
		result = take_geometry(vhdx, &metadata);
out_free:
	free(table);
	return result;
}

/* ---- opening and closing ---- */

static void free_patches(struct vhdx *vhdx)
{
	for (uint32_t i = 0; i < vhdx->patches.count; i++)
		free(vhdx->patches.list[i].data);
	free(vhdx->patches.list);
	vhdx->patches = (struct vhdx_patches){ 0 };
}

void vhdx_free(struct vhdx *vhdx)
{
	free_patches(vhdx);
	free(vhdx->locator);
	sector_map_fini(&vhdx->map);
	if (vhdx->bat)
		munmap(vhdx->bat, (size_t)vhdx->bat_sectors * VHDX_LOG_SECTOR_BYTES);
	free(vhdx->space.dirty);
	free(vhdx->journal.entry);
	free(vhdx->journal.sectors);
	pthread_mutex_destroy(&vhdx->lock);
	free(vhdx);
}

static int vhdx_close(struct block_device *device)
{
	struct vhdx *vhdx = (struct vhdx *)device;
	int result = device->geometry.read_only ? 0 : vhdx_journal_close(vhdx);

	if (device->parent) {
		int parent_result = block_close(device->parent);

		result = result ? result : parent_result;
	}
	image_fini(&vhdx->image);
	vhdx_free(vhdx);
	return result;
}

static const struct block_driver vhdx_driver = {
	.name = "vhdx",
	.submit = vhdx_submit,
	.close = vhdx_close,
	.map = vhdx_map,
	.describe = vhdx_describe,
	.begin_merge = vhdx_begin_merge,
	.prepare_merge = vhdx_prepare_merge,
	.resize = vhdx_resize,
	.repair = vhdx_repair,
	.compact = vhdx_compact,
};

static int parse(struct vhdx *vhdx)
{
	int result;

	if (vhdx->file_bytes < VHDX_UNIT_BYTES)
		return vhdx_damaged(vhdx, "it is too short");
	if (vhdx->file_bytes > FILE_BYTES_MAX)
		return vhdx_damaged(vhdx, "it is too long");
	result = parse_headers(vhdx);
	vhdx->log_was_full = !result && guid_compare(&vhdx->header.log_guid, &zero_guid);
	if (vhdx->log_was_full)
		result = vhdx_log_replay(vhdx);
	vhdx->space.end_bytes = vhdx->header.log_offset_bytes + vhdx->header.log_length_bytes;
	if (!result)
		result = parse_regions(vhdx);
	if (!result)
		result = parse_metadata(vhdx);
	vhdx->regions_end_bytes = vhdx->space.end_bytes;
	if (!result)
		result = vhdx_bat_load(vhdx);
	return result;
}

static int prepare_writing(struct vhdx *vhdx, const struct image_file *file)
{
	struct vhdx_journal *journal = &vhdx->journal;
	struct block_geometry *geometry = &vhdx->image.device.geometry;

	vhdx->space.dirty = calloc((vhdx->bat_sectors + 63) / 64, sizeof(uint64_t));
	if (!vhdx->space.dirty ||
	    posix_memalign((void **)&journal->entry, IMAGE_PAGE_BYTES,
			   (1 + VHDX_JOURNAL_SECTORS_MAX) * VHDX_LOG_SECTOR_BYTES) ||
	    posix_memalign((void **)&journal->sectors, IMAGE_PAGE_BYTES,
			   VHDX_JOURNAL_SECTORS_MAX * VHDX_LOG_SECTOR_BYTES))
		return image_error(vhdx->error, -LIS_NOMEM, vhdx->path, "out of memory");
	journal->queue_tail = &journal->queue;
	journal->flushed_bytes = vhdx->file_bytes & ~(VHDX_UNIT_BYTES - 1);
	journal->log_sequence = 1;
	if (vhdx_new_guid(&journal->log_guid))
		return image_error(vhdx->error, -LIS_IO, vhdx->path, "no random numbers to be had");
	if (vhdx->fixed) {
		/* Blocks of a fixed disk keep their room, so there is nothing to discard. */
		vhdx->image.clear_mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	} else if (file->can_punch) {
		geometry->discard_granularity_bytes = IMAGE_PAGE_BYTES;
		geometry->discard_zeroes = true;
	}
	return 0;
}

static int prepare_parent(struct vhdx *vhdx, const struct image_file *file)
{
	int result = vhdx_diff_init(vhdx) ? image_error(vhdx->error, -LIS_NOMEM, vhdx->path, "out of memory") : 0;

	if (!result)
		result = vhdx_parent_open(vhdx, file);
	free(vhdx->locator);
	vhdx->locator = NULL;
	return result;
}

int vhdx_open(const struct image_file *file, struct block_device **out_device, char *error)
{
	struct vhdx *vhdx = calloc(1, sizeof(*vhdx));
	int result;

	if (!vhdx)
		return image_error(error, -LIS_NOMEM, file->path, "out of memory");
	pthread_mutex_init(&vhdx->lock, NULL);
	vhdx->path = file->path;
	vhdx->error = error;
	vhdx->check = file->check;
	vhdx->fd = file->fd;
	vhdx->read_only = file->read_only;
	vhdx->file_bytes = file->size_bytes;
	vhdx->space.file_bytes = file->size_bytes;
	result = parse(vhdx);
	if (result)
		goto out_free;
	/* Bitmaps are read later, with what the log of a read-only file has newer. */
	if (!vhdx->differencing || !file->read_only)
		free_patches(vhdx);
	result = image_init(&vhdx->image, file, &vhdx_driver);
	if (result) {
		image_error(error, result, file->path, "out of memory");
		goto out_free;
	}
	if (!file->read_only) {
		result = prepare_writing(vhdx, file);
		if (result)
			goto out_free_path;
	}
	if (vhdx->differencing) {
		result = prepare_parent(vhdx, file);
		if (result)
			goto out_free_path;
	}
	image_finish(&vhdx->image, file);
	vhdx->path = vhdx->image.device.path;
	vhdx->error = NULL;
	*out_device = &vhdx->image.device;
	return 0;

out_free_path:
	free(vhdx->image.device.path);
out_free:
	vhdx_free(vhdx);
	return result;
}
