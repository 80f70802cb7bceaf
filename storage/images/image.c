// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* What every image format needs of its file: see image.h. */
#include "storage/images/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/error.h"
#include "storage/images/lock.h"
#include "vmbus/os.h"

#define CLEAR_BYTES 65536u /* [policy] written at once */

#define TELL_AGAIN_S 60u /* [policy] */

#define RESERVE_BLOCK_BYTES_MAX (UINT32_C(2) << 20) /* [policy] */

int image_error(char *error, int code, const char *path, const char *format, ...)
{
	va_list arguments;
	int used;

	if (!error)
		return code;
	used = snprintf(error, BLOCK_ERROR_BYTES, "%s: ", path);
	if (used < 0 || used >= BLOCK_ERROR_BYTES)
		return code;
	va_start(arguments, format);
	vsnprintf(error + used, (size_t)(BLOCK_ERROR_BYTES - used), format, arguments);
	va_end(arguments);
	return code;
}

int image_errno(int posix)
{
	switch (posix) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return -LIS_NOSPACE;
	case EROFS:
	case EPERM:
		return -LIS_READONLY;
	case ENOMEM:
		return -LIS_NOMEM;
	default:
		return -LIS_IO;
	}
}

bool image_tell_now(struct image_told *told, unsigned kind)
{
	unsigned last_s = atomic_load(&told->at_s[kind]), now_s;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	now_s = (unsigned)now.tv_sec + 1;
	if (last_s && now_s - last_s < TELL_AGAIN_S)
		return false;
	return atomic_compare_exchange_strong(&told->at_s[kind], &last_s, now_s);
}

void image_no_room(struct image *image, int error)
{
	if (image_tell_now(&image->told, IMAGE_METADATA))
		os_log(OS_LOG_ERROR, "%s: the file cannot be made longer: %s", image->device.path,
		       lis_error_text(error));
}

int image_read(int fd, void *data, uint64_t bytes, uint64_t offset_bytes)
{
	while (bytes) {
		ssize_t got = pread(fd, data, bytes, (off_t)offset_bytes);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -LIS_IO;
		data = (char *)data + got;
		bytes -= (uint64_t)got;
		offset_bytes += (uint64_t)got;
	}
	return 0;
}

int image_write(int fd, const void *data, uint64_t bytes, uint64_t offset_bytes)
{
	while (bytes) {
		ssize_t put = pwrite(fd, data, bytes, (off_t)offset_bytes);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put < 0 ? image_errno(errno) : -LIS_IO;
		data = (const char *)data + put;
		bytes -= (uint64_t)put;
		offset_bytes += (uint64_t)put;
	}
	return 0;
}

int image_clear(int fd, uint64_t from, uint64_t to)
{
	static const uint8_t zeroes[CLEAR_BYTES] __attribute__((aligned(IMAGE_PAGE_BYTES)));
	int result = 0;

	if (from >= to ||
	    !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from)))
		return 0;
	while (from < to && !result) {
		uint64_t bytes = to - from < sizeof(zeroes) ? to - from : sizeof(zeroes);

		result = image_write(fd, zeroes, bytes, from);
		from += bytes;
	}
	return result;
}

void image_reserve(const struct image *image, uint32_t block_bytes, uint64_t from, uint64_t to)
{
	if (image->reserves && block_bytes <= RESERVE_BLOCK_BYTES_MAX)
		(void)!fallocate(image->fd, 0, (off_t)from, (off_t)(to - from));
}

bool image_is_zero(const void *data, uint64_t bytes)
{
	const uint8_t *first = data;

	return !*first && !memcmp(first, first + 1, bytes - 1);
}

int image_init(struct image *image, const struct image_file *file, const struct block_driver *driver)
{
	image->device.path = strdup(file->path);
	if (!image->device.path)
		return -LIS_NOMEM;
	image->device.driver = driver;
	image->device.geometry.read_only = file->read_only;
	image->device.geometry.buffer_align_bytes = 1;
	image->fd = file->fd;
	image->cached = true;
	image->clear_mode = file->can_punch ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : 0;
	return 0;
}

/* Does direct reading work at the smallest offset, length and alignment that may come? */
static bool direct_works(const struct image *image)
{
	uint32_t sector_bytes = image->device.geometry.logical_sector_bytes;
	uint8_t *buffer;
	bool works;

	if (posix_memalign((void **)&buffer, IMAGE_PAGE_BYTES, 2 * IMAGE_PAGE_BYTES))
		return false;
	works = pread(image->fd, buffer + IMAGE_DIRECT_ALIGN_BYTES, sector_bytes, sector_bytes) >= 0;
	free(buffer);
	return works;
}

void image_finish(struct image *image, const struct image_file *file)
{
	int flags;

	/* Requests are handed on to the parent as they are. */
	if (image->device.parent)
		image->device.geometry.buffer_align_bytes = image->device.parent->geometry.buffer_align_bytes;
	if (!file->direct && !file->bulk)
		return;
	flags = fcntl(image->fd, F_GETFL);
	if (flags < 0 || fcntl(image->fd, F_SETFL, flags | O_DIRECT) < 0)
		goto out_buffered;
	if (!direct_works(image)) {
		fcntl(image->fd, F_SETFL, flags);
		goto out_buffered;
	}
	image->cached = false;
	image->reserves = file->direct;
	if (image->device.geometry.buffer_align_bytes < IMAGE_DIRECT_ALIGN_BYTES)
		image->device.geometry.buffer_align_bytes = IMAGE_DIRECT_ALIGN_BYTES;
	return;

out_buffered:
	if (file->direct)
		os_log(OS_LOG_WARNING, "%s: direct I/O in sectors of %u bytes does not work here; using the page cache",
		       image->device.path, image->device.geometry.logical_sector_bytes);
}

void image_fini(struct image *image)
{
	lock_drop(image->fd);
	close(image->fd);
	free(image->device.path);
}

/* 64 bits that depend on every byte of @text. FNV-1a. */
static uint64_t hash_text(const char *text, uint64_t seed)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ seed;

	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	return hash ^ hash >> 29;
}

void image_place_id(const char *path, struct guid *out_id)
{
	char *resolved = realpath(path, NULL);
	uint64_t low = hash_text(resolved ? resolved : path, 0);
	uint64_t high = hash_text(resolved ? resolved : path, UINT64_C(0x9e3779b97f4a7c15));

	memcpy(out_id->bytes, &low, 8);
	memcpy(out_id->bytes + 8, &high, 8);
	out_id->bytes[7] = (uint8_t)(0x80 | (out_id->bytes[7] & 0x0f)); /* version 8: own making */
	out_id->bytes[8] = (uint8_t)(0x80 | (out_id->bytes[8] & 0x3f)); /* RFC 9562 variant */
	free(resolved);
}
