// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Makes new images: the file, and what all formats need to fill it. */
#include "storage/images/create.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/error.h"
#include "storage/images/image.h"

int create_extend(const struct create_file *file, uint64_t bytes, bool allocate)
{
	int posix = ftruncate(file->fd, (off_t)bytes) < 0 ? errno : 0;

	if (!posix && allocate && fallocate(file->fd, 0, 0, (off_t)bytes) < 0 && errno != EOPNOTSUPP)
		posix = errno;
	if (posix)
		return image_error(file->error, image_errno(posix), file->path,
				   "%llu bytes cannot be had: %s", (unsigned long long)bytes,
				   strerror(posix));
	return 0;
}

int create_write(const struct create_file *file, const void *data, uint64_t bytes, uint64_t offset_bytes)
{
	int result = image_write(file->fd, data, bytes, offset_bytes);

	return result ? image_error(file->error, result, file->path, "cannot be written: %s",
				    lis_error_text(result)) : 0;
}

int create_raw(const struct create_file *file, const struct block_create_options *options)
{
	if (options->block_bytes)
		return image_error(file->error, -LIS_INVALID, file->path, "a raw image has no blocks");
	if (options->logical_sector_bytes && options->logical_sector_bytes != 512)
		return image_error(file->error, -LIS_INVALID, file->path,
				   "a raw image has sectors of 512 bytes: it could not say otherwise");
	return create_extend(file, options->size_bytes, options->allocate);
}

static int fill(const struct create_file *file, const struct block_create_options *options)
{
	const char *format = options->format ? options->format : "raw";

	if (options->parent && strcmp(format, options->parent->driver->name))
		return image_error(file->error, -LIS_INVALID, file->path,
				   "a child is of the format of its parent: %s is %s, not %s",
				   options->parent->path, options->parent->driver->name, format);
	if (options->parent && options->fixed)
		return image_error(file->error, -LIS_INVALID, file->path, "a differencing image cannot be fixed");
	if (!options->size_bytes || options->size_bytes % 512)
		return image_error(file->error, -LIS_INVALID, file->path,
				   "a disk has a whole number of sectors of 512 bytes, one at least");
	if (!strcmp(format, "raw"))
		return create_raw(file, options);
	if (!strcmp(format, "vhd"))
		return create_vhd(file, options);
	if (!strcmp(format, "vhdx"))
		return create_vhdx(file, options);
	return image_error(file->error, -LIS_UNSUPPORTED, file->path,
			   "'%s' is not an image format; there are raw, vhd and vhdx", format);
}

/* What a child has from its parent. */
static int inherit(const struct create_file *file, struct block_create_options *options)
{
	const struct block_geometry *geometry = &options->parent->geometry;

	if ((options->size_bytes && options->size_bytes != geometry->size_bytes) ||
	    (options->logical_sector_bytes && options->logical_sector_bytes != geometry->logical_sector_bytes))
		return image_error(file->error, -LIS_INVALID, file->path,
				   "a child has the size and the sectors of its parent");
	options->size_bytes = geometry->size_bytes;
	options->logical_sector_bytes = geometry->logical_sector_bytes;
	if (!options->format)
		options->format = options->parent->driver->name;
	return 0;
}

int block_create(const char *path, const struct block_create_options *options, char *error)
{
	struct block_create_options all = *options;
	struct create_file file = { .path = path, .error = error };
	int result;

	file.fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666);
	if (file.fd < 0)
		return image_error(error, errno == EEXIST ? -LIS_REFUSED : lis_error_from_errno(errno), path,
				   "cannot be made: %s", strerror(errno));
	result = all.parent ? inherit(&file, &all) : 0;
	if (!result)
		result = fill(&file, &all);
	if (!result && fsync(file.fd) < 0)
		result = image_error(error, image_errno(errno), path, "cannot be written: %s",
				     strerror(errno));
	close(file.fd);
	if (result)
		unlink(path);
	return result;
}

/* A name is durable when its folder is. */
void block_sync_name(const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		(void)fsync(fd);
		close(fd);
	}
	free(copy);
}
