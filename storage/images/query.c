// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Questions about an open image that are not requests: where its data is, what it is like. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "storage/images/query.h"

int query_file(const struct image *image, uint64_t offset_bytes, uint64_t bytes, uint64_t *out_bytes,
	       bool *out_data)
{
	off_t data = lseek(image->fd, (off_t)offset_bytes, SEEK_DATA), hole;

	*out_data = true;
	*out_bytes = bytes;
	if (data < 0 && errno == ENXIO) {
		*out_data = false; /* a hole up to the end of the file */
		return 0;
	}
	if (data < 0)
		return errno == EIO ? -LIS_IO : 0; /* unknown here: all of it may be data */
	if ((uint64_t)data > offset_bytes) {
		*out_data = false;
		if ((uint64_t)data - offset_bytes < bytes)
			*out_bytes = (uint64_t)data - offset_bytes;
		return 0;
	}
	hole = lseek(image->fd, data, SEEK_HOLE);
	if (hole > data && (uint64_t)hole - offset_bytes < bytes)
		*out_bytes = (uint64_t)hole - offset_bytes;
	return 0;
}

void query_add(struct block_details *details, bool problem, const char *line)
{
	const char **list = problem ? details->problems : details->notes;

	for (int i = 0; i < BLOCK_DETAILS_LINES; i++) {
		if (!list[i]) {
			list[i] = line;
			return;
		}
	}
}

int block_map_own(struct block_device *device, uint64_t offset_bytes, struct block_extent *out_extent)
{
	struct block_extent extent = {
		.length_bytes = device->geometry.size_bytes - offset_bytes,
		.data = true,
	};
	uint64_t rest_bytes = extent.length_bytes, sector_bytes = device->geometry.logical_sector_bytes;
	int result = 0;

	if (offset_bytes >= device->geometry.size_bytes)
		return -LIS_INVALID;
	if (device->driver->map)
		result = device->driver->map(device, offset_bytes, &extent);
	if (result)
		return result;
	/* Holes of a file need not end with sectors of the disk: what touches data is data. */
	if (extent.length_bytes > rest_bytes)
		extent.length_bytes = rest_bytes;
	if (!extent.data)
		extent.length_bytes -= extent.length_bytes % sector_bytes;
	else if (extent.length_bytes % sector_bytes)
		extent.length_bytes += sector_bytes - extent.length_bytes % sector_bytes;
	if (!extent.length_bytes) {
		extent.length_bytes = sector_bytes;
		extent.data = true;
	}
	*out_extent = extent;
	return 0;
}

int block_map(struct block_device *device, uint64_t offset_bytes, struct block_extent *out_extent)
{
	uint64_t bytes = UINT64_MAX;
	struct block_extent extent;

	do {
		int result = block_map_own(device, offset_bytes, &extent);

		if (result)
			return result;
		if (extent.length_bytes < bytes)
			bytes = extent.length_bytes;
		device = device->parent;
	} while (extent.inherited);
	extent.length_bytes = bytes;
	*out_extent = extent;
	return 0;
}

void block_describe(struct block_device *device, struct block_details *out_details)
{
	*out_details = (struct block_details){ .kind = NULL };
	if (device->driver->describe)
		device->driver->describe(device, out_details);
}

int block_prepare_merge(struct block_device *child, char *error)
{
	return child->driver->prepare_merge ? child->driver->prepare_merge(child, error) : 0;
}

void block_begin_merge(struct block_device *child)
{
	if (child->driver->begin_merge)
		child->driver->begin_merge(child);
}
