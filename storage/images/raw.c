// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Raw images: a file or a host block device whose bytes are the disk's bytes.
 *
 * Nothing changes after opening but the contents, so any number of loops may be inside at once
 * without a lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "storage/images/compact.h"
#include "storage/images/query.h"
#include "storage/images/transfer.h"

#define SECTOR_BYTES 512u
#define RUN_BYTES (UINT64_C(1) << 30) /* [policy] one run of a huge request */

struct raw {
	struct image image;
	bool is_device;
	uint64_t file_bytes; /* less than the disk's size where a read-only file ends inside a sector */
};

static void raw_step(struct block_request *request);

static void raw_synced(struct block_request *request, int error)
{
	request->done(request, error);
}

static void raw_transferred(struct block_request *request, int error)
{
	struct raw *raw = (struct raw *)transfer_image(request);
	struct transfer *transfer = transfer_of(request);

	if (error == -LIS_EMPTY) {
		/* The end of the file: inside the last sector, or somebody made it shorter. */
		if (request->offset_bytes + transfer->done_bytes < raw->file_bytes) {
			request->done(request, transfer_cut_off(request));
			return;
		}
		transfer_fill_zero(request, request->length_bytes - transfer->done_bytes);
	} else if (error) {
		request->done(request, error);
		return;
	}
	raw_step(request);
}

static void raw_step(struct block_request *request)
{
	struct transfer *transfer = transfer_of(request);
	uint64_t offset_bytes = request->offset_bytes + transfer->done_bytes;
	uint64_t left_bytes = request->length_bytes - transfer->done_bytes;

	if (!left_bytes) {
		/* RWF_DSYNC covers what was written by data; clearing has nothing of the kind. */
		if (request->op == BLOCK_WRITE_ZEROES && (request->flags & BLOCK_WRITE_FUA))
			transfer_sync(request, raw_synced);
		else
			request->done(request, 0);
		return;
	}
	if (left_bytes > RUN_BYTES)
		left_bytes = RUN_BYTES;
	if (request->op == BLOCK_READ || request->op == BLOCK_WRITE) {
		if (request->flags & BLOCK_WRITE_FUA)
			transfer->flags |= TRANSFER_DSYNC;
		transfer_data(request, offset_bytes, left_bytes, raw_transferred);
	} else {
		transfer_clear(request, offset_bytes, left_bytes, raw_transferred);
	}
}

static void raw_submit(struct block_device *device, struct block_request *request)
{
	struct image *image = (struct image *)device;

	transfer_init(image, request);
	if (request->op == BLOCK_FLUSH)
		transfer_sync(request, raw_synced);
	else if (request->op == BLOCK_DISCARD && !device->geometry.discard_granularity_bytes)
		request->done(request, 0);
	else
		raw_step(request);
}

static int raw_close(struct block_device *device)
{
	struct raw *raw = (struct raw *)device;
	int result = 0;

	if (!device->geometry.read_only && fdatasync(raw->image.fd) < 0)
		result = image_errno(errno);
	image_fini(&raw->image);
	free(raw);
	return result;
}

static int raw_map(struct block_device *device, uint64_t offset_bytes, struct block_extent *out_extent)
{
	return query_file((struct image *)device, offset_bytes, out_extent->length_bytes,
			  &out_extent->length_bytes, &out_extent->data);
}

/* A file has any length its file system takes. A device has the one it has: it can only be taken notice of. */
static int raw_resize(struct block_device *device, uint64_t size_bytes, char *error)
{
	struct raw *raw = (struct raw *)device;
	uint64_t device_bytes = 0;

	if (raw->is_device) {
		if (ioctl(raw->image.fd, BLKGETSIZE64, &device_bytes) < 0)
			return image_error(error, -LIS_IO, device->path, "its size cannot be found out: %s",
					   strerror(errno));
		if (device_bytes != size_bytes)
			return image_error(error, -LIS_REFUSED, device->path,
					   "is a device of %llu bytes; it has to be resized by its own tools",
					   (unsigned long long)device_bytes);
	} else if (ftruncate(raw->image.fd, (off_t)size_bytes) < 0 || fdatasync(raw->image.fd) < 0) {
		int code = image_errno(errno);

		image_error(error, code, device->path, "cannot be made %llu bytes long: %s",
			    (unsigned long long)size_bytes, strerror(errno));
		(void)ftruncate(raw->image.fd, (off_t)raw->file_bytes);
		return code;
	}
	raw->file_bytes = size_bytes;
	device->geometry.size_bytes = size_bytes;
	return 0;
}

static int raw_compact(struct block_device *device, const struct block_compact *how, char *error)
{
	if (((struct raw *)device)->is_device)
		return image_error(error, -LIS_UNSUPPORTED, device->path, "is a device, which has no room to give back");
	return compact_raw(device, how, error);
}

static const struct block_driver raw_driver = {
	.name = "raw",
	.submit = raw_submit,
	.close = raw_close,
	.map = raw_map,
	.resize = raw_resize,
	.compact = raw_compact,
};

/* ---- opening ---- */

/* What the device itself says it can discard at once; 0: nothing. */
static uint32_t device_discard_granularity(const struct stat *stat)
{
	static const char *const ups[] = { "", "../" }; /* a partition asks its disk */
	unsigned granularity = 0;

	for (int i = 0; i < 2; i++) {
		char path[128];
		FILE *file;
		int got;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/discard_granularity",
			 major(stat->st_rdev), minor(stat->st_rdev), ups[i]);
		file = fopen(path, "re");
		if (!file)
			continue;
		got = fscanf(file, "%u", &granularity);
		fclose(file);
		if (got == 1)
			return granularity;
	}
	return 0;
}

static void device_geometry(struct raw *raw, const struct image_file *file)
{
	struct block_geometry *geometry = &raw->image.device.geometry;
	int logical_bytes = 0;
	unsigned physical_bytes = 0;

	if (ioctl(file->fd, BLKSSZGET, &logical_bytes) == 0 && logical_bytes >= 512)
		geometry->logical_sector_bytes = (uint32_t)logical_bytes;
	geometry->physical_sector_bytes = geometry->logical_sector_bytes;
	if (ioctl(file->fd, BLKPBSZGET, &physical_bytes) == 0 &&
	    physical_bytes > geometry->logical_sector_bytes)
		geometry->physical_sector_bytes = physical_bytes;
	geometry->discard_granularity_bytes = device_discard_granularity(&file->stat);
	/* Devices that cannot discard may still clear quickly. Both say EOPNOTSUPP where they cannot. */
	raw->image.clear_mode = FALLOC_FL_KEEP_SIZE |
		(geometry->discard_granularity_bytes ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

static void file_geometry(struct raw *raw, const struct image_file *file)
{
	struct block_geometry *geometry = &raw->image.device.geometry;

	/* Smaller writes are read-modify-write in the page cache or the file system. */
	geometry->physical_sector_bytes = IMAGE_PAGE_BYTES;
	if (raw->image.clear_mode) {
		geometry->discard_granularity_bytes = IMAGE_PAGE_BYTES;
		geometry->discard_zeroes = true;
	}
}

int raw_open(const struct image_file *file, struct block_device **out_device, char *error)
{
	struct block_geometry *geometry;
	struct raw *raw = calloc(1, sizeof(*raw));

	if (!raw || image_init(&raw->image, file, &raw_driver)) {
		free(raw);
		return image_error(error, -LIS_NOMEM, file->path, "out of memory");
	}
	geometry = &raw->image.device.geometry;
	raw->is_device = file->is_device;
	raw->file_bytes = file->size_bytes;
	geometry->logical_sector_bytes = SECTOR_BYTES;
	if (file->is_device)
		device_geometry(raw, file);
	else
		file_geometry(raw, file);
	geometry->size_bytes = file->size_bytes + geometry->logical_sector_bytes - 1;
	geometry->size_bytes -= geometry->size_bytes % geometry->logical_sector_bytes;
	image_place_id(file->path, &geometry->unique_id);
	if (!file->read_only && geometry->size_bytes != file->size_bytes) {
		/* The last sector must be there whole to be written in part. */
		if (ftruncate(file->fd, (off_t)geometry->size_bytes) < 0) {
			int code = image_errno(errno);

			image_error(error, code, file->path, "cannot be made a whole number of sectors: %s",
				    strerror(errno));
			free(raw->image.device.path);
			free(raw);
			return code;
		}
		raw->file_bytes = geometry->size_bytes;
	}
	image_finish(&raw->image, file);
	*out_device = &raw->image.device;
	return 0;
}
