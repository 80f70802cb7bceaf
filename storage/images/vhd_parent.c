// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * What a differencing VHD file says of its parent: its identity and time stamp, its name, and up to
 * eight paths of different kinds. The identity decides. It does not change when the parent is written,
 * and the time stamp does also where nothing was; so a different one is only worth a note.
 *
 * Source: [vhd-spec] Parent Locator Entries; W2ru is a relative path, W2ku an absolute one, both in UTF-16
 * little-endian; Wi2r and Wi2k are their forerunners in eight bits; Mac's are not for us.
 */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "storage/images/parent.h"
#include "storage/images/vhd_internal.h"

static const char codes[][5] = { "W2ru", "W2ku", "Wi2r", "Wi2k" };
#define CODES (sizeof(codes) / sizeof(codes[0]))
#define WIDE_CODES 2 /* the first so many are in UTF-16 */

static bool is_code(const struct vhd_locator *locator, size_t code)
{
	return !memcmp(locator->code, codes[code], sizeof(locator->code));
}

uint64_t vhd_parent_end(const struct vhd *vhd, const struct vhd_header *header)
{
	uint64_t end_bytes = 0;

	for (int i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator *locator = &header->parent_locators[i];
		uint64_t at_bytes = be64toh(locator->offset_bytes), bytes = be32toh(locator->length_bytes);
		uint64_t space_bytes = be32toh(locator->space_bytes);

		if (!locator->code[0] || at_bytes > vhd->file_bytes || bytes > vhd->file_bytes - at_bytes)
			continue;
		/* As written by those who count in sectors, or in bytes. */
		if (space_bytes > bytes && space_bytes <= vhd->file_bytes - at_bytes)
			bytes = space_bytes;
		if (at_bytes + bytes > end_bytes)
			end_bytes = at_bytes + bytes;
	}
	/* Also where the file ends within it: what is written goes behind it. */
	return (end_bytes + VHD_SECTOR_BYTES - 1) & ~(uint64_t)(VHD_SECTOR_BYTES - 1);
}

/* One path; what is not where it says is passed over, for there are others. */
static int take_locator(struct vhd *vhd, const struct vhd_locator *locator, bool wide, struct parent_search *search)
{
	uint64_t at_bytes = be64toh(locator->offset_bytes);
	uint32_t bytes = be32toh(locator->length_bytes);
	uint8_t *text;
	int result;

	if (!bytes || bytes > PARENT_PATH_BYTES_MAX / 2 || at_bytes > vhd->file_bytes ||
	    bytes > vhd->file_bytes - at_bytes)
		return 0;
	text = calloc(2, bytes);
	if (!text)
		return -LIS_NOMEM;
	result = image_read(vhd->fd, text, bytes, at_bytes);
	if (!result && !wide)
		for (uint32_t i = bytes; i-- > 0;) {
			text[2 * i] = text[i];
			text[2 * i + 1] = 0;
		}
	if (!result)
		result = parent_add_path(search, text, wide ? bytes : 2 * (size_t)bytes, false);
	free(text);
	return result == -LIS_FORMAT ? 0 : result;
}

static int take_paths(struct vhd *vhd, const struct vhd_header *header, struct parent_search *search)
{
	int result = 0;

	for (size_t code = 0; code < CODES; code++)
		for (int i = 0; i < VHD_LOCATORS && !result; i++)
			if (is_code(&header->parent_locators[i], code))
				result = take_locator(vhd, &header->parent_locators[i], code < WIDE_CODES, search);
	if (!result)
		result = parent_add_path(search, header->parent_name, sizeof(header->parent_name), true);
	if (result == -LIS_FORMAT)
		result = 0;
	return result ? image_error(vhd->error, result, vhd->path, "where its parent is cannot be read") : 0;
}

static bool is_it(const void *child, struct block_device *parent, char reason[PARENT_REASON_BYTES])
{
	const struct vhd_header *header = child;
	const struct guid *id = &((struct vhd *)parent)->footer->unique_id;
	char text[2][GUID_TEXT_BYTES];

	if (!guid_compare(id, &header->parent_id))
		return true;
	guid_format(id, text[0]);
	guid_format(&header->parent_id, text[1]);
	snprintf(reason, PARENT_REASON_BYTES, "has another identity (%s, not %s)", text[0], text[1]);
	return false;
}

static bool was_touched(const struct vhd *parent, const struct vhd_header *header)
{
	uint32_t time_s = be32toh(header->parent_time_s);
	struct stat status;

	return time_s != be32toh(parent->footer->time_s) && fstat(parent->image.fd, &status) == 0 &&
	       time_s != (uint32_t)(status.st_mtim.tv_sec - VHD_EPOCH_S);
}

int vhd_parent_open(struct vhd *vhd, const struct image_file *file, const struct vhd_header *header)
{
	struct block_device **parent = &vhd->image.device.parent;
	struct parent_search search = {
		.format = "vhd",
		.size_bytes = vhd->image.device.geometry.size_bytes,
		.sector_bytes = VHD_SECTOR_BYTES,
		.is_it = is_it,
		.child = header,
	};
	int result = take_paths(vhd, header, &search);

	if (!result)
		result = parent_open(file, &search, parent, vhd->error);
	parent_search_fini(&search);
	if (result)
		return result;
	vhd->parent_touched = was_touched((struct vhd *)*parent, header);
	/* To the guest it stays the same disk. */
	vhd->image.device.geometry.unique_id = (*parent)->geometry.unique_id;
	return 0;
}

/* ---- for new children ---- */

static uint32_t whole_sectors(uint32_t bytes)
{
	return (bytes + VHD_SECTOR_BYTES - 1) & ~(VHD_SECTOR_BYTES - 1);
}

/* The last part of a path, big-endian, as far as it fits. */
static void put_name(struct vhd_header *header, const struct parent_names *names)
{
	const uint8_t *text = names->absolute;
	size_t from = 0;

	for (size_t i = 0; i + 1 < names->absolute_bytes; i += 2)
		if (text[i] == '\\' && !text[i + 1])
			from = i + 2;
	for (size_t i = 0; from + i + 1 < names->absolute_bytes && i + 3 < sizeof(header->parent_name); i += 2) {
		header->parent_name[i] = text[from + i + 1];
		header->parent_name[i + 1] = text[from + i];
	}
}

int vhd_parent_describe(const char *path, struct block_device *parent, uint64_t offset_bytes,
			struct vhd_header *header, uint8_t **out_texts, uint32_t *out_bytes, char *error)
{
	const struct vhd *vhd = (struct vhd *)parent;
	struct parent_names names;
	uint32_t relative_bytes, absolute_bytes;
	struct stat status;
	int result = parent_name(path, parent->path, &names, error);

	if (result)
		return result;
	relative_bytes = whole_sectors(names.relative_bytes);
	absolute_bytes = whole_sectors(names.absolute_bytes);
	*out_bytes = relative_bytes + absolute_bytes;
	*out_texts = calloc(1, *out_bytes);
	if (!*out_texts) {
		parent_names_fini(&names);
		return image_error(error, -LIS_NOMEM, path, "out of memory");
	}
	header->parent_id = vhd->footer->unique_id;
	if (fstat(vhd->image.fd, &status) == 0)
		header->parent_time_s = htobe32((uint32_t)(status.st_mtim.tv_sec - VHD_EPOCH_S));
	put_name(header, &names);
	memcpy(*out_texts, names.relative, names.relative_bytes);
	memcpy(*out_texts + relative_bytes, names.absolute, names.absolute_bytes);
	header->parent_locators[0] = (struct vhd_locator){
		.code = { 'W', '2', 'r', 'u' },
		.space_bytes = htobe32(relative_bytes),
		.length_bytes = htobe32(names.relative_bytes),
		.offset_bytes = htobe64(offset_bytes),
	};
	header->parent_locators[1] = (struct vhd_locator){
		.code = { 'W', '2', 'k', 'u' },
		.space_bytes = htobe32(absolute_bytes),
		.length_bytes = htobe32(names.absolute_bytes),
		.offset_bytes = htobe64(offset_bytes + relative_bytes),
	};
	parent_names_fini(&names);
	return 0;
}
