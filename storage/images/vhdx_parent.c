// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The parent locator of a differencing VHDX file: keys and values in UTF-16 that say where the parent
 * is, and which DataWriteGuid it had when the child was made. A parent that was written since has
 * another one, and is refused.
 *
 * Source: [ms-vhdx 2.6.2.6] Parent Locator. Hyper-V writes all five keys, the second linkage as a GUID
 * of zeroes and absolute paths without their prefix.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/error.h"
#include "storage/images/parent.h"
#include "storage/images/vhdx_internal.h"

#define KEY_BYTES_MAX 64u /* [policy] the longest that is known has 19 letters */

#define LINKAGE_BYTES (2u * (GUID_TEXT_BYTES - 1 + 2)) /* of the text, in braces and UTF-16 */

static const struct guid zero_guid;

static const char *const path_keys[] = { "relative_path", "absolute_win32_path", "volume_path" };
static const char *const linkage_keys[] = { "parent_linkage", "parent_linkage2" };

/* ---- reading ---- */

/* ASCII in UTF-16; false if it is anything else or does not fit. */
static bool to_ascii(const uint8_t *utf16, uint32_t bytes, char *out, uint32_t out_bytes)
{
	if (bytes / 2 >= out_bytes)
		return false;
	for (uint32_t i = 0; i + 1 < bytes; i += 2) {
		if (utf16[i + 1] || utf16[i] >= 0x80)
			return false;
		*out++ = (char)utf16[i];
	}
	*out = 0;
	return true;
}

/* A value by its key; NULL: it is not there. */
static const uint8_t *find_value(const struct vhdx *vhdx, const char *wanted, uint16_t *out_bytes)
{
	const uint8_t *locator = vhdx->locator;
	struct vhdx_locator header;

	memcpy(&header, locator, sizeof(header));
	for (uint32_t i = 0; i < header.count; i++) {
		struct vhdx_locator_entry entry;
		char key[KEY_BYTES_MAX];

		if (sizeof(header) + (i + 1) * sizeof(entry) > vhdx->locator_bytes)
			return NULL;
		memcpy(&entry, locator + sizeof(header) + i * sizeof(entry), sizeof(entry));
		if (entry.key_offset_bytes > vhdx->locator_bytes ||
		    entry.key_bytes > vhdx->locator_bytes - entry.key_offset_bytes ||
		    entry.value_offset_bytes > vhdx->locator_bytes ||
		    entry.value_bytes > vhdx->locator_bytes - entry.value_offset_bytes)
			continue;
		if (!to_ascii(locator + entry.key_offset_bytes, entry.key_bytes, key, sizeof(key)) ||
		    strcmp(key, wanted))
			continue;
		*out_bytes = entry.value_bytes;
		return locator + entry.value_offset_bytes;
	}
	return NULL;
}

/* "{83ed0ec1-24c8-49a6-a959-5e4bd1288015}", in either case, with braces or without. */
static bool parse_guid(const char *text, struct guid *out_guid)
{
	unsigned a, b, c, d[8];
	int used = 0;

	text += *text == '{';
	if (sscanf(text, "%8x-%4x-%4x-%2x%2x-%2x%2x%2x%2x%2x%2x%n", &a, &b, &c, &d[0], &d[1], &d[2], &d[3],
		   &d[4], &d[5], &d[6], &d[7], &used) != 11 || used != GUID_TEXT_BYTES - 1)
		return false;
	*out_guid = GUID(a, b, c, d[0] << 8 | d[1],
			 (uint64_t)d[2] << 40 | (uint64_t)d[3] << 32 | (uint64_t)d[4] << 24 | d[5] << 16 |
				 d[6] << 8 | d[7]);
	return true;
}

static int take_linkage(struct vhdx *vhdx)
{
	for (int i = 0; i < 2; i++) {
		char text[KEY_BYTES_MAX];
		uint16_t bytes;
		const uint8_t *value = find_value(vhdx, linkage_keys[i], &bytes);
		bool valid = value && to_ascii(value, bytes, text, sizeof(text)) && parse_guid(text, &vhdx->linkage[i]);

		/* The second is no more than another name for the same; a power cut may have torn it. */
		if (!valid && !i)
			return vhdx_damaged(vhdx, "its parent locator has no valid %s", linkage_keys[i]);
		if (value && i && bytes == LINKAGE_BYTES)
			vhdx->linkage2_offset_bytes = vhdx->locator_offset_bytes + (uint64_t)(value - vhdx->locator);
	}
	return 0;
}

static int take_paths(struct vhdx *vhdx, struct parent_search *search)
{
	for (size_t i = 0; i < sizeof(path_keys) / sizeof(path_keys[0]); i++) {
		uint16_t bytes;
		const uint8_t *value = find_value(vhdx, path_keys[i], &bytes);
		int result = value ? parent_add_path(search, value, bytes, false) : 0;

		if (result == -LIS_NOMEM)
			return image_error(vhdx->error, result, vhdx->path, "out of memory");
		if (result)
			return vhdx_damaged(vhdx, "the %s in its parent locator is no path", path_keys[i]);
	}
	return 0;
}

struct guid vhdx_identity(struct vhdx *vhdx)
{
	struct guid id;

	pthread_mutex_lock(&vhdx->lock);
	id = vhdx->header.data_write_guid;
	pthread_mutex_unlock(&vhdx->lock);
	return id;
}

/* What the parent gets as its DataWriteGuid when this child is merged into it. [policy] */
static struct guid merge_guid(const struct vhdx *vhdx)
{
	struct guid guid;

	for (int i = 0; i < 16; i++)
		guid.bytes[i] = vhdx->linkage[0].bytes[i] ^ vhdx->header.data_write_guid.bytes[15 - i];
	guid.bytes[7] = (uint8_t)(0x80 | (guid.bytes[7] & 0x0f)); /* version 8: own making */
	guid.bytes[8] = (uint8_t)(0x80 | (guid.bytes[8] & 0x3f)); /* RFC 9562 variant */
	return guid;
}

void vhdx_begin_merge(struct block_device *child)
{
	const struct vhdx *vhdx = (struct vhdx *)child;
	struct vhdx *parent = (struct vhdx *)child->parent;
	struct guid id = vhdx_identity(parent);

	parent->merge_guid = guid_compare(&vhdx->linkage[1], &zero_guid) ? vhdx->linkage[1] : merge_guid(vhdx);
	if (guid_compare(&id, &parent->merge_guid))
		atomic_store(&parent->begun, false);
}

/*
 * Written over what is there, with nothing in the log that could undo it: a differencing file's log has
 * nothing but its BAT and bitmaps. Torn it is as good as not written.
 */
static int write_linkage2(struct vhdx *vhdx, const struct guid *guid)
{
	uint64_t at_bytes = vhdx->linkage2_offset_bytes & ~(uint64_t)(IMAGE_PAGE_BYTES - 1);
	char text[GUID_TEXT_BYTES], braced[GUID_TEXT_BYTES + 2];
	uint64_t within = vhdx->linkage2_offset_bytes - at_bytes;
	/* Never more than it touches: what is behind it may be in use. */
	uint64_t bytes = within + LINKAGE_BYTES > IMAGE_PAGE_BYTES ? 2 * IMAGE_PAGE_BYTES : IMAGE_PAGE_BYTES;
	uint8_t *pages, *out;
	int result;

	if (posix_memalign((void **)&pages, IMAGE_PAGE_BYTES, bytes))
		return -LIS_NOMEM;
	result = image_read(vhdx->image.fd, pages, bytes, at_bytes);
	guid_format(guid, text);
	snprintf(braced, sizeof(braced), "{%s}", text);
	out = pages + within;
	for (uint32_t i = 0; i < LINKAGE_BYTES / 2; i++) {
		out[2 * i] = (uint8_t)braced[i];
		out[2 * i + 1] = 0;
	}
	if (!result)
		result = image_write(vhdx->image.fd, pages, bytes, at_bytes);
	free(pages);
	if (!result && fdatasync(vhdx->image.fd) < 0)
		result = image_errno(errno);
	return result;
}

int vhdx_prepare_merge(struct block_device *child, char *error)
{
	struct vhdx *vhdx = (struct vhdx *)child;
	struct guid guid;
	int result;

	if (guid_compare(&vhdx->linkage[1], &zero_guid))
		return 0; /* by an earlier merge, which was not brought to its end */
	if (!vhdx->linkage2_offset_bytes)
		return image_error(error, -LIS_UNSUPPORTED, child->path, "has no place for a second linkage to its "
				   "parent: it cannot be merged while it is in use");
	result = vhdx_new_guid(&guid);
	if (!result)
		result = write_linkage2(vhdx, &guid);
	if (result)
		return image_error(error, result, child->path, "cannot be written: %s", lis_error_text(result));
	vhdx->linkage[1] = guid;
	return 0;
}

static bool has_merge_guid(const struct vhdx *vhdx, struct block_device *parent)
{
	struct guid guid = merge_guid(vhdx), id = vhdx_identity((struct vhdx *)parent);

	return !guid_compare(&id, &guid);
}

bool vhdx_is_merging(const struct vhdx *vhdx)
{
	struct block_device *parent = vhdx->image.device.parent;
	struct guid id;

	if (!parent)
		return false;
	id = vhdx_identity((struct vhdx *)parent);
	return has_merge_guid(vhdx, parent) ||
	       (guid_compare(&id, &vhdx->linkage[0]) && !guid_compare(&id, &vhdx->linkage[1]));
}

static bool is_it(const void *child, struct block_device *parent, char reason[PARENT_REASON_BYTES])
{
	const struct vhdx *vhdx = child;
	const struct guid id = vhdx_identity((struct vhdx *)parent);
	char text[2][GUID_TEXT_BYTES];

	if (!guid_compare(&id, &vhdx->linkage[0]) ||
	    (guid_compare(&vhdx->linkage[1], &zero_guid) && !guid_compare(&id, &vhdx->linkage[1])))
		return true;
	if (has_merge_guid(vhdx, parent)) {
		/* Part of it is in the parent already, so it reads the same; written it would not be known again. */
		snprintf(reason, PARENT_REASON_BYTES, "has part of it already: merging was interrupted, run 'lis disk "
			 "merge' again");
		return vhdx->read_only;
	}
	guid_format(&id, text[0]);
	guid_format(&vhdx->linkage[0], text[1]);
	snprintf(reason, PARENT_REASON_BYTES, "is another image, or was written since (%s, not %s)", text[0], text[1]);
	return false;
}

int vhdx_parent_open(struct vhdx *vhdx, const struct image_file *file)
{
	const struct block_geometry *geometry = &vhdx->image.device.geometry;
	struct parent_search search = {
		.format = "vhdx",
		.size_bytes = geometry->size_bytes,
		.sector_bytes = geometry->logical_sector_bytes,
		.is_it = is_it,
		.child = vhdx,
	};
	struct vhdx_locator header;
	int result;

	if (vhdx->locator_bytes < sizeof(header))
		return vhdx_damaged(vhdx, "its parent locator is too short");
	memcpy(&header, vhdx->locator, sizeof(header));
	if (guid_compare(&header.type, &VHDX_LOCATOR_TYPE))
		return image_error(vhdx->error, -LIS_UNSUPPORTED, vhdx->path,
				   "has a parent that is not a VHDX file, of a kind that this program does not know");
	result = take_linkage(vhdx);
	if (!result)
		result = take_paths(vhdx, &search);
	if (!result)
		result = parent_open(file, &search, &vhdx->image.device.parent, vhdx->error);
	parent_search_fini(&search);
	return result;
}

/* ---- for new children ---- */

struct item {
	uint8_t *data;
	uint32_t count; /* of entries so far */
	uint32_t used_bytes;
};

static void put_ascii(struct item *item, const char *text)
{
	for (; *text; text++) {
		item->data[item->used_bytes++] = (uint8_t)*text;
		item->data[item->used_bytes++] = 0;
	}
}

static void put_entry(struct item *item, const char *key, const char *text, const uint8_t *utf16, uint16_t bytes)
{
	struct vhdx_locator_entry entry = { .key_offset_bytes = item->used_bytes };

	put_ascii(item, key);
	entry.key_bytes = (uint16_t)(item->used_bytes - entry.key_offset_bytes);
	entry.value_offset_bytes = item->used_bytes;
	if (text) {
		put_ascii(item, text);
	} else {
		memcpy(item->data + item->used_bytes, utf16, bytes);
		item->used_bytes += bytes;
	}
	entry.value_bytes = (uint16_t)(item->used_bytes - entry.value_offset_bytes);
	memcpy(item->data + sizeof(struct vhdx_locator) + item->count++ * sizeof(entry), &entry, sizeof(entry));
}

int vhdx_parent_locator(const char *path, struct block_device *parent, uint8_t **out_locator,
			uint32_t *out_bytes, char *error)
{
	const struct vhdx_locator header = { .type = VHDX_LOCATOR_TYPE, .count = 4 };
	const struct guid id = vhdx_identity((struct vhdx *)parent);
	char guid[GUID_TEXT_BYTES], linkage[2][GUID_TEXT_BYTES + 2];
	struct parent_names names;
	struct item item = { .used_bytes = sizeof(header) + 4 * sizeof(struct vhdx_locator_entry) };
	int result = parent_name(path, parent->path, &names, error);

	if (result)
		return result;
	item.data = malloc(item.used_bytes + 4 * 2 * (KEY_BYTES_MAX + sizeof(linkage[0])) +
			   names.relative_bytes + names.absolute_bytes);
	if (!item.data) {
		parent_names_fini(&names);
		return image_error(error, -LIS_NOMEM, path, "out of memory");
	}
	memcpy(item.data, &header, sizeof(header));
	for (int i = 0; i < 2; i++) {
		guid_format(i ? &zero_guid : &id, guid);
		snprintf(linkage[i], sizeof(linkage[i]), "{%s}", guid);
		put_entry(&item, linkage_keys[i], linkage[i], NULL, 0);
	}
	put_entry(&item, path_keys[0], NULL, names.relative, names.relative_bytes);
	put_entry(&item, path_keys[1], NULL, names.absolute, names.absolute_bytes);
	parent_names_fini(&names);
	*out_locator = item.data;
	*out_bytes = item.used_bytes;
	return 0;
}
