// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Opens a VHD file: footer or its copy, size, header and BAT, each checked before anything follows
 * from it.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/images/vhd_internal.h"
#include "vmbus/os.h"

/* Longer files than this are none of ours: BAT entries reach to 2 TiB. [policy] for fixed ones */
#define FILE_BYTES_MAX (UINT64_C(64) << 40)

int vhd_damaged(struct vhd *vhd, const char *format, ...)
{
	char reason[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	return image_error(vhd->error, -LIS_FORMAT, vhd->path, "is a damaged VHD file: %s", reason);
}

int vhd_found(struct vhd *vhd, const char *format, ...)
{
	char reason[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	if (vhd->check && vhd->check->found(vhd->check->context, vhd->path, reason))
		return 0;
	return vhd_damaged(vhd, "%s", reason);
}

/* ---- footers ---- */

static bool has_cookie(int fd, uint64_t offset_bytes)
{
	uint8_t cookie[8];

	return !image_read(fd, cookie, sizeof(cookie), offset_bytes) &&
	       !memcmp(cookie, VHD_FOOTER_COOKIE, sizeof(cookie));
}

bool vhd_detect(const struct image_file *file)
{
	if (file->is_device || file->size_bytes < sizeof(struct vhd_footer))
		return false;
	return has_cookie(file->fd, file->size_bytes - sizeof(struct vhd_footer)) ||
	       has_cookie(file->fd, file->size_bytes - VHD_SHORT_FOOTER_BYTES) || has_cookie(file->fd, 0);
}

/* Reads a footer; false if it is not one or was changed. */
static bool read_footer(const struct vhd *vhd, uint64_t offset_bytes, uint32_t bytes,
			struct vhd_footer *out_footer)
{
	struct vhd_footer footer = { .saved_state = 0 };

	if (image_read(vhd->fd, &footer, bytes, offset_bytes))
		return false;
	if (memcmp(footer.cookie, VHD_FOOTER_COOKIE, sizeof(footer.cookie)) ||
	    be32toh(footer.checksum) != vhd_checksum(&footer, sizeof(footer),
						     offsetof(struct vhd_footer, checksum)))
		return false;
	*out_footer = footer;
	return true;
}

static bool is_dynamic(const struct vhd_footer *footer)
{
	return be32toh(footer->type) == VHD_DYNAMIC || be32toh(footer->type) == VHD_DIFFERENCING;
}

/*
 * The footer at the end counts: what is at the start of a fixed disk its guest can write. Only where
 * there is none the copy at the start does, if it is one of a dynamic disk.
 */
static int find_footer(struct vhd *vhd)
{
	struct vhd_footer copy;
	bool has_tail, has_copy;

	if (vhd->file_bytes < sizeof(copy))
		return vhd_damaged(vhd, "it is too short");
	if (vhd->file_bytes > FILE_BYTES_MAX)
		return vhd_damaged(vhd, "it is too long");
	vhd->blocks_end_bytes = vhd->file_bytes - sizeof(copy);
	has_tail = read_footer(vhd, vhd->blocks_end_bytes, sizeof(copy), vhd->footer);
	if (!has_tail) {
		vhd->blocks_end_bytes = vhd->file_bytes - VHD_SHORT_FOOTER_BYTES;
		has_tail = read_footer(vhd, vhd->blocks_end_bytes, VHD_SHORT_FOOTER_BYTES, vhd->footer);
	}
	has_copy = read_footer(vhd, 0, sizeof(copy), &copy) && is_dynamic(&copy);
	if (!has_tail && !has_copy)
		return vhd_damaged(vhd, "its footer is missing or was changed");
	if (!has_tail) {
		*vhd->footer = copy;
		vhd->blocks_end_bytes = vhd->file_bytes;
		vhd->tail_damaged = true;
	}
	/* They differ where a resize was cut short. */
	vhd->copy_damaged = is_dynamic(vhd->footer) &&
			    (!has_copy || copy.current_size_bytes != vhd->footer->current_size_bytes);
	return 0;
}

/*
 * Virtual PC and its likes show their guests what cylinders, heads and sectors make up; all others the
 * size in the footer. Where both are the same it does not matter.
 *
 * Source: [qemu block/vpc.c vpc_open] which creators count in geometry, and that the largest geometry
 * never counts.
 */
static uint64_t disk_bytes(const struct vhd_footer *footer)
{
	static const char geometry_creators[][5] = { "vpc ", "vs  ", "qemu" };
	uint64_t sectors = (uint64_t)be16toh(footer->cylinders) * footer->heads * footer->track_sectors;

	if (sectors && sectors != (uint64_t)VHD_CYLINDERS_MAX * VHD_HEADS_MAX * VHD_TRACK_SECTORS_MAX)
		for (size_t i = 0; i < sizeof(geometry_creators) / sizeof(geometry_creators[0]); i++)
			if (!memcmp(footer->creator, geometry_creators[i], 4))
				return sectors * VHD_SECTOR_BYTES;
	return be64toh(footer->current_size_bytes);
}

static int take_footer(struct vhd *vhd)
{
	struct block_geometry *geometry = &vhd->image.device.geometry;
	uint32_t version = be32toh(vhd->footer->version), type = be32toh(vhd->footer->type);

	if (version >> 16 != VHD_VERSION >> 16)
		return image_error(vhd->error, -LIS_UNSUPPORTED, vhd->path,
				   "is a VHD file of version %u, this program knows version %u only",
				   version >> 16, VHD_VERSION >> 16);
	if (type != VHD_FIXED && type != VHD_DYNAMIC && type != VHD_DIFFERENCING)
		return vhd_damaged(vhd, "its type is %u", type);
	vhd->fixed = type == VHD_FIXED;
	vhd->differencing = type == VHD_DIFFERENCING;
	geometry->logical_sector_bytes = VHD_SECTOR_BYTES;
	/* Smaller writes are read-modify-write in the page cache or the file system. */
	geometry->physical_sector_bytes = IMAGE_PAGE_BYTES;
	geometry->unique_id = vhd->footer->unique_id;
	geometry->size_bytes = disk_bytes(vhd->footer);
	if (!geometry->size_bytes || geometry->size_bytes % VHD_SECTOR_BYTES ||
	    geometry->size_bytes > FILE_BYTES_MAX)
		return vhd_damaged(vhd, "its disk size is %llu", (unsigned long long)geometry->size_bytes);
	if (vhd->fixed && geometry->size_bytes > vhd->blocks_end_bytes)
		return vhd_damaged(vhd, "the file is shorter than the disk in it");
	return 0;
}

/* ---- header ---- */

static int read_header(struct vhd *vhd, struct vhd_header *out_header)
{
	uint64_t offset_bytes = be64toh(vhd->footer->header_offset_bytes);

	if (offset_bytes < sizeof(struct vhd_footer) || offset_bytes % VHD_SECTOR_BYTES ||
	    offset_bytes > vhd->file_bytes || vhd->file_bytes - offset_bytes < sizeof(*out_header))
		return vhd_damaged(vhd, "its header is not inside the file");
	if (image_read(vhd->fd, out_header, sizeof(*out_header), offset_bytes))
		return image_error(vhd->error, -LIS_IO, vhd->path, "cannot be read at byte %llu",
				   (unsigned long long)offset_bytes);
	if (memcmp(out_header->cookie, VHD_HEADER_COOKIE, sizeof(out_header->cookie)) ||
	    be32toh(out_header->checksum) != vhd_checksum(out_header, sizeof(*out_header),
							  offsetof(struct vhd_header, checksum)))
		return vhd_damaged(vhd, "its header is missing or was changed");
	if (be32toh(out_header->version) >> 16 != VHD_VERSION >> 16)
		return image_error(vhd->error, -LIS_UNSUPPORTED, vhd->path,
				   "has a VHD header of version %u, this program knows version %u only",
				   be32toh(out_header->version) >> 16, VHD_VERSION >> 16);
	vhd->space.end_bytes = offset_bytes + sizeof(*out_header);
	return 0;
}

static int take_header(struct vhd *vhd, const struct vhd_header *header)
{
	uint64_t size_bytes = vhd->image.device.geometry.size_bytes;
	uint32_t block_bytes = be32toh(header->block_bytes);
	int result;

	if (block_bytes < VHD_BLOCK_BYTES_MIN || block_bytes > VHD_BLOCK_BYTES_MAX ||
	    block_bytes & (block_bytes - 1))
		return vhd_damaged(vhd, "its block size is %u", block_bytes);
	vhd->block_bytes = block_bytes;
	vhd->block_shift = (uint32_t)__builtin_ctz(block_bytes);
	vhd->bitmap_bytes = vhd_bitmap_bytes(block_bytes);
	vhd->block_count = (size_bytes + block_bytes - 1) >> vhd->block_shift;
	result = vhd_bat_load(vhd, header);
	/* New blocks keep clear of what is told of the parent. */
	if (!result && vhd->differencing && vhd_parent_end(vhd, header) > vhd->space.end_bytes)
		vhd->space.end_bytes = vhd_parent_end(vhd, header);
	return result;
}

/* ---- opening for writing ---- */

static int prepare_buffers(struct vhd *vhd)
{
	if (posix_memalign((void **)&vhd->page, IMAGE_PAGE_BYTES, sizeof(struct vhd_footer) + vhd->bitmap_bytes))
		return image_error(vhd->error, -LIS_NOMEM, vhd->path, "out of memory");
	memcpy(vhd->page, vhd->footer, sizeof(struct vhd_footer));
	memset(vhd->page + sizeof(struct vhd_footer), 0xff, vhd->bitmap_bytes);
	vhd->space.dirty = calloc((vhd->bat_sectors + 63) / 64, sizeof(uint64_t));
	if (!vhd->space.dirty ||
	    posix_memalign((void **)&vhd->settle.sectors, IMAGE_PAGE_BYTES,
			   VHD_SETTLE_SECTORS_MAX * VHD_SECTOR_BYTES))
		return image_error(vhd->error, -LIS_NOMEM, vhd->path, "out of memory");
	vhd->settle.queue_tail = &vhd->settle.queue;
	return 0;
}

/* A footer that was lost comes back: at the end behind all that may be data, at the start in place. */
static int repair_footers(struct vhd *vhd)
{
	uint64_t at_bytes = (vhd->file_bytes + VHD_SECTOR_BYTES - 1) / VHD_SECTOR_BYTES * VHD_SECTOR_BYTES;
	int result = 0;

	if (vhd->tail_damaged) {
		if (at_bytes < vhd->space.end_bytes)
			at_bytes = vhd->space.end_bytes;
		result = image_write(vhd->fd, vhd->page, sizeof(struct vhd_footer), at_bytes);
		vhd->space.file_bytes = at_bytes + sizeof(struct vhd_footer);
	}
	if (vhd->copy_damaged && !result)
		result = image_write(vhd->fd, vhd->page, sizeof(struct vhd_footer), 0);
	if (result)
		return image_error(vhd->error, result, vhd->path, "its footer cannot be put right");
	if (vhd->tail_damaged || vhd->copy_damaged)
		os_log(OS_LOG_WARNING, "%s: the footer at its %s was damaged and has been put right",
		       vhd->path, vhd->tail_damaged ? "end" : "start");
	return 0;
}

static int prepare_writing(struct vhd *vhd, const struct image_file *file)
{
	struct block_geometry *geometry = &vhd->image.device.geometry;
	int result;

	if (vhd->fixed) {
		/* A fixed disk keeps its room, so there is nothing to discard. */
		vhd->image.clear_mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
		return 0;
	}
	if (file->can_punch) {
		geometry->discard_granularity_bytes = IMAGE_PAGE_BYTES;
		geometry->discard_zeroes = !vhd->differencing;
	}
	result = prepare_buffers(vhd);
	return result ? result : repair_footers(vhd);
}

/* ---- opening and closing ---- */

static void vhd_free(struct vhd *vhd)
{
	vhd_bat_free(vhd);
	sector_map_fini(&vhd->map);
	free(vhd->space.dirty);
	free(vhd->settle.sectors);
	free(vhd->page);
	free(vhd->footer);
	pthread_mutex_destroy(&vhd->lock);
	free(vhd);
}

static int vhd_close(struct block_device *device)
{
	struct vhd *vhd = (struct vhd *)device;
	int result = 0;

	if (!device->geometry.read_only && !vhd->fixed)
		result = vhd_settle_close(vhd);
	else if (!device->geometry.read_only && fdatasync(vhd->image.fd) < 0)
		result = image_errno(errno);
	if (device->parent) {
		int parent_result = block_close(device->parent);

		result = result ? result : parent_result;
	}
	image_fini(&vhd->image);
	vhd_free(vhd);
	return result;
}

static const struct block_driver vhd_driver = {
	.name = "vhd",
	.submit = vhd_submit,
	.close = vhd_close,
	.map = vhd_map,
	.describe = vhd_describe,
	.resize = vhd_resize,
	.compact = vhd_compact,
};

static int parse(struct vhd *vhd, struct vhd_header *header)
{
	int result = find_footer(vhd);

	if (!result)
		result = take_footer(vhd);
	if (result || vhd->fixed)
		return result;
	result = read_header(vhd, header);
	return result ? result : take_header(vhd, header);
}

int vhd_open(const struct image_file *file, struct block_device **out_device, char *error)
{
	struct vhd *vhd = calloc(1, sizeof(*vhd));
	struct vhd_header header;
	int result;

	if (!vhd)
		return image_error(error, -LIS_NOMEM, file->path, "out of memory");
	pthread_mutex_init(&vhd->lock, NULL);
	vhd->path = file->path;
	vhd->error = error;
	vhd->check = file->check;
	vhd->fd = file->fd;
	vhd->file_bytes = file->size_bytes;
	vhd->space.file_bytes = file->size_bytes;
	vhd->footer = calloc(1, sizeof(*vhd->footer));
	if (!vhd->footer) {
		result = image_error(error, -LIS_NOMEM, file->path, "out of memory");
		goto out_free;
	}
	result = parse(vhd, &header);
	if (result)
		goto out_free;
	if (image_init(&vhd->image, file, &vhd_driver)) {
		result = image_error(error, -LIS_NOMEM, file->path, "out of memory");
		goto out_free;
	}
	if (!file->read_only) {
		result = prepare_writing(vhd, file);
		if (result)
			goto out_free_path;
	}
	if (vhd->differencing) {
		result = vhd_diff_init(vhd) ? image_error(error, -LIS_NOMEM, file->path, "out of memory") :
					      vhd_parent_open(vhd, file, &header);
		if (result)
			goto out_free_path;
	}
	image_finish(&vhd->image, file);
	*out_device = &vhd->image.device;
	return 0;

out_free_path:
	free(vhd->image.device.path);
out_free:
	vhd_free(vhd);
	return result;
}
