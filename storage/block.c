// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Block devices: opening an image (which format, who else has it), and the checks every request goes
 * through before a format sees it.
 *
 * No state of its own but the device's, which does not change while open.
 */
#include "storage/block.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "io/error.h"
#include "storage/images/image.h"
#include "storage/images/lock.h"
#include "storage/images/nbd.h"
#include "storage/images/parent.h"
#include "storage/images/vhd.h"
#include "storage/images/vhdx.h"

#define BOUNCE_BYTES (1u << 20) /* [policy] a misaligned request goes in pieces of this */

/* ---- misaligned buffers ---- */

/* A request whose buffers the driver cannot use, done piece by piece through one it can. */
struct bounce {
	struct block_request piece;
	struct block_device *device;
	struct block_request *request;
	struct iovec iov;
	uint64_t done_bytes;
	uint32_t iov_index;
	uint64_t iov_skip_bytes;
};

/* Copies between the piece's buffer and the next bytes of the request's. */
static void bounce_copy(struct bounce *bounce, uint64_t bytes)
{
	char *data = bounce->iov.iov_base;

	while (bytes) {
		const struct iovec *iov = &bounce->request->iov[bounce->iov_index];
		char *base = (char *)iov->iov_base + bounce->iov_skip_bytes;
		uint64_t now_bytes = iov->iov_len - bounce->iov_skip_bytes;

		if (now_bytes > bytes)
			now_bytes = bytes;
		if (bounce->request->op == BLOCK_READ)
			memcpy(base, data, now_bytes);
		else
			memcpy(data, base, now_bytes);
		data += now_bytes;
		bytes -= now_bytes;
		bounce->iov_skip_bytes += now_bytes;
		if (bounce->iov_skip_bytes == iov->iov_len) {
			bounce->iov_index++;
			bounce->iov_skip_bytes = 0;
		}
	}
}

static void bounce_step(struct bounce *bounce)
{
	struct block_request *request = bounce->request;
	uint64_t bytes = request->length_bytes - bounce->done_bytes;

	if (bytes > BOUNCE_BYTES)
		bytes = BOUNCE_BYTES;
	bounce->piece.offset_bytes = request->offset_bytes + bounce->done_bytes;
	bounce->piece.length_bytes = bytes;
	bounce->iov.iov_len = bytes;
	if (request->op == BLOCK_WRITE)
		bounce_copy(bounce, bytes);
	bounce->device->driver->submit(bounce->device, &bounce->piece);
}

static void bounce_done(struct block_request *piece, int result)
{
	struct bounce *bounce = (struct bounce *)piece;
	struct block_request *request = bounce->request;

	if (!result && request->op == BLOCK_READ)
		bounce_copy(bounce, piece->length_bytes);
	bounce->done_bytes += piece->length_bytes;
	if (!result && bounce->done_bytes < request->length_bytes) {
		bounce_step(bounce);
		return;
	}
	free(bounce->iov.iov_base);
	free(bounce);
	request->done(request, result);
}

static void bounce_start(struct block_device *device, struct block_request *request)
{
	uint64_t bytes = request->length_bytes < BOUNCE_BYTES ? request->length_bytes : BOUNCE_BYTES;
	struct bounce *bounce = calloc(1, sizeof(*bounce));

	if (!bounce || posix_memalign(&bounce->iov.iov_base, IMAGE_PAGE_BYTES, bytes)) {
		free(bounce);
		request->done(request, -LIS_NOMEM);
		return;
	}
	bounce->device = device;
	bounce->request = request;
	bounce->piece = (struct block_request){
		.op = request->op,
		.flags = request->flags,
		.iov = &bounce->iov,
		.iov_count = 1,
		.done = bounce_done,
		.loop = request->loop,
	};
	bounce_step(bounce);
}

/* ---- requests ---- */

/* Do the buffers add up to the length? @out_aligned: may the driver use them as they are? */
static bool buffers_fit(const struct block_request *request, uint32_t align_bytes, bool *out_aligned)
{
	uint64_t sum_bytes = 0;
	uintptr_t bits = 0;

	for (uint32_t i = 0; i < request->iov_count; i++) {
		const struct iovec *iov = &request->iov[i];

		if (__builtin_add_overflow(sum_bytes, iov->iov_len, &sum_bytes))
			return false;
		bits |= (uintptr_t)iov->iov_base | iov->iov_len;
	}
	*out_aligned = !(bits & (align_bytes - 1));
	return sum_bytes == request->length_bytes;
}

static bool range_fits(const struct block_geometry *geometry, const struct block_request *request)
{
	uint64_t end_bytes;

	return !__builtin_add_overflow(request->offset_bytes, request->length_bytes, &end_bytes) &&
	       end_bytes <= geometry->size_bytes &&
	       !((request->offset_bytes | request->length_bytes) & (geometry->logical_sector_bytes - 1));
}

void block_submit(struct block_device *device, struct io_loop *loop, struct block_request *request)
{
	const struct block_geometry *geometry = &device->geometry;
	bool data = request->op == BLOCK_READ || request->op == BLOCK_WRITE;
	bool aligned = true;

	request->loop = loop;
	if (device->driver->forwards) {
		device->driver->submit(device, request);
		return;
	}
	if (request->op == BLOCK_FLUSH) {
		if (geometry->read_only)
			request->done(request, 0);
		else
			device->driver->submit(device, request);
		return;
	}
	if (request->op > BLOCK_WRITE_ZEROES || !range_fits(geometry, request) ||
	    (data && !buffers_fit(request, geometry->buffer_align_bytes, &aligned)))
		request->done(request, -LIS_INVALID);
	else if (request->op != BLOCK_READ && geometry->read_only)
		request->done(request, -LIS_READONLY);
	else if (!request->length_bytes)
		request->done(request, 0);
	else if (!aligned)
		bounce_start(device, request);
	else
		device->driver->submit(device, request);
}

/* ---- opening ---- */

/* Kernels differ: some let nobody open such a device for writing, some let the writes fail. */
static bool is_read_only_device(const struct image_file *file)
{
	int read_only = 0, fd = file->is_device ? open(file->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1;

	if (fd < 0)
		return false;
	if (ioctl(fd, BLKROGET, &read_only) < 0)
		read_only = 0;
	close(fd);
	return read_only;
}

static int open_file(struct image_file *file, char *error)
{
	int flags = (file->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY;
	int code;

	/* Looked at before it is opened: opening a FIFO would wait for its other end. */
	if (stat(file->path, &file->stat) < 0)
		goto out_errno;
	if (S_ISDIR(file->stat.st_mode))
		return image_error(error, -LIS_FORMAT, file->path, "is a directory, not a disk image");
	if (!S_ISREG(file->stat.st_mode) && !S_ISBLK(file->stat.st_mode))
		return image_error(error, -LIS_FORMAT, file->path, "is neither a file nor a block device");
	file->is_device = S_ISBLK(file->stat.st_mode);
	if (!file->read_only && is_read_only_device(file))
		return image_error(error, -LIS_READONLY, file->path, "is a read-only device");
	if (file->is_device && !file->read_only)
		flags |= O_EXCL; /* refused while it is mounted or part of something */
	file->fd = open(file->path, flags);
	if (file->fd < 0)
		goto out_errno;
	return 0;

out_errno:
	code = errno == EPERM ? -LIS_DENIED : lis_error_from_errno(errno);
	if (errno == EBUSY)
		return image_error(error, -LIS_BUSY, file->path, "is in use (mounted, or part of another device)");
	if (errno == EROFS || errno == EACCES || errno == EPERM)
		return image_error(error, code, file->path, "cannot be opened%s: %s",
				   file->read_only ? "" : " for writing", strerror(errno));
	return image_error(error, code, file->path, "cannot be opened: %s", strerror(errno));
}

static int measure_file(struct image_file *file, char *error)
{
	uint64_t device_bytes = 0;

	if (fstat(file->fd, &file->stat) < 0 ||
	    (file->is_device && ioctl(file->fd, BLKGETSIZE64, &device_bytes) < 0))
		return image_error(error, -LIS_IO, file->path, "its size cannot be found out: %s",
				   strerror(errno));
	file->size_bytes = file->is_device ? device_bytes : (uint64_t)file->stat.st_size;
	if (!file->size_bytes)
		return image_error(error, -LIS_FORMAT, file->path, "is empty");
	/* Behind the end there is nothing to punch: this only asks whether the file system could. */
	if (!file->is_device && !file->read_only)
		file->can_punch = fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					    (off_t)(file->size_bytes + IMAGE_PAGE_BYTES) & ~4095,
					    IMAGE_PAGE_BYTES) == 0;
	return 0;
}

/* What the first and last bytes say. @other: a format we know of but do not have. */
static const char *detect(const struct image_file *file, const char **other)
{
	static const struct {
		const char *magic;
		const char *name;
	} others[] = { { "QFI\xfb", "a QCOW2" }, { "KDMV", "a VMDK" } };
	uint8_t start[8] = { 0 };

	*other = NULL;
	if (image_read(file->fd, start, sizeof(start), 0))
		return "raw"; /* too short for anything else; a broken disk says so itself later */
	if (!memcmp(start, VHDX_SIGNATURE, sizeof(start)))
		return "vhdx";
	if (vhd_detect(file))
		return "vhd";
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (!memcmp(start, others[i].magic, 4))
			*other = others[i].name;
	return "raw";
}

static int open_format(struct image_file *file, const char *format, struct block_device **out_device,
		       char *error)
{
	const char *other = NULL;

	if (!format)
		format = detect(file, &other);
	if (other)
		return image_error(error, -LIS_UNSUPPORTED, file->path,
				   "is %s image; convert it with 'qemu-img convert -O vhdx', or say that it is raw",
				   other);
	if (!strcmp(format, "vhdx"))
		return vhdx_open(file, out_device, error);
	if (!strcmp(format, "vhd"))
		return vhd_open(file, out_device, error);
	if (!strcmp(format, "raw"))
		return raw_open(file, out_device, error);
	return image_error(error, -LIS_UNSUPPORTED, file->path,
			   "'%s' is not an image format; there are raw, vhd and vhdx", format);
}

int image_open(struct image_file *file, const char *format, struct block_device **out_device, char *error)
{
	char holder[LOCK_HOLDER_BYTES];
	int result = open_file(file, error);

	if (result)
		return result;
	/* Before it is locked: the lock of the same file further down would look like a stranger's. */
	result = parent_check_circle(file, error);
	if (result)
		goto out_close;
	result = lock_take(file->fd, file->instead ? file->instead->fd : -1, file->path, !file->read_only, holder);
	if (result) {
		image_error(error, result, file->path, "is in use%s%s", holder[0] ? " by " : "", holder);
		goto out_close;
	}
	result = measure_file(file, error);
	if (!result)
		result = open_format(file, format, out_device, error);
	if (result)
		goto out_close;
	return 0;

out_close:
	close(file->fd); /* drops the lock; no request was made on it */
	return result;
}

int block_open(const char *path, const struct block_open_options *options,
	       struct block_device **out_device, char *error)
{
	struct image_file file = { .path = path, .fd = -1 };
	struct block_device *device;
	int result;

	if (nbd_is_uri(path) && options && options->parent)
		return image_error(error, -LIS_FORMAT, path, "is not a differencing image: it has no parent");
	if (nbd_is_uri(path))
		return nbd_open(path, options, out_device, error);
	if (options && options->check && !options->read_only)
		return image_error(error, -LIS_INVALID, path, "a check is for reading only");
	if (options) {
		file.check = options->check;
		file.read_only = options->read_only;
		file.direct = options->direct;
		file.bulk = options->bulk;
		file.parent = options->parent;
		file.instead = (const struct image *)options->instead;
	}
	result = image_open(&file, options ? options->format : NULL, &device, error);
	if (result)
		return result;
	if (file.parent && device->parent != file.parent) {
		(void)block_close(device);
		return image_error(error, -LIS_FORMAT, path, "is not a differencing image: it has no parent");
	}
	*out_device = device;
	return 0;
}

int block_resize(struct block_device *device, uint64_t size_bytes, char *error)
{
	const struct block_geometry *geometry = &device->geometry;

	if (geometry->read_only)
		return image_error(error, -LIS_READONLY, device->path, "is open for reading only");
	if (!device->driver->resize)
		return image_error(error, -LIS_UNSUPPORTED, device->path, "its size cannot be changed");
	if (!size_bytes || size_bytes % geometry->logical_sector_bytes)
		return image_error(error, -LIS_INVALID, device->path,
				   "a disk has a whole number of sectors of %u bytes, one at least",
				   geometry->logical_sector_bytes);
	return size_bytes == geometry->size_bytes ? 0 : device->driver->resize(device, size_bytes, error);
}

struct block_device *block_detach(struct block_device *device)
{
	struct block_device *parent = device->parent;

	device->parent = NULL;
	return parent;
}

int block_repair(struct block_device *device)
{
	if (device->geometry.read_only)
		return -LIS_READONLY;
	return device->driver->repair ? device->driver->repair(device) : 0;
}

int block_compact(struct block_device *device, const struct block_compact *how, char *error)
{
	int result;

	if (device->geometry.read_only)
		return image_error(error, -LIS_READONLY, device->path, "is open for reading only");
	if (!device->driver->compact)
		return image_error(error, -LIS_UNSUPPORTED, device->path, "it cannot be compacted");
	result = device->driver->compact(device, how, error);
	if (result && result != -LIS_UNSUPPORTED)
		image_error(error, result, device->path, "%s: %s",
			    result == -LIS_CANCELED ? "interrupted, what is done stays done" : "cannot be compacted",
			    lis_error_text(result));
	return result;
}

int block_close(struct block_device *device)
{
	return device ? device->driver->close(device) : 0;
}
