// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Files to be loaded: straight into guest memory, no buffer in between. */
#include "vmm/boot_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/error.h"

int boot_file_fail(const struct boot_file *file, int err, const char *why)
{
	snprintf(file->error, file->error_bytes, "%s: %s", file->path, why);
	return err;
}

int boot_file_open(struct boot_file *out_file, const char *path, char *error, size_t error_bytes)
{
	struct boot_file file = { .path = path, .error = error, .error_bytes = error_bytes };
	struct stat info;

	file.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (file.fd < 0)
		return boot_file_fail(&file, lis_error_from_errno(errno), strerror(errno));
	if (fstat(file.fd, &info) < 0 || !S_ISREG(info.st_mode)) {
		close(file.fd);
		return boot_file_fail(&file, -LIS_FORMAT, "not a regular file");
	}
	file.bytes = (uint64_t)info.st_size;
	*out_file = file;
	return 0;
}

void boot_file_close(struct boot_file *file)
{
	close(file->fd);
	file->fd = -1;
}

int boot_file_read(const struct boot_file *file, uint64_t offset, void *to, uint64_t bytes)
{
	char *at = to;

	if (offset > file->bytes || bytes > file->bytes - offset)
		return boot_file_fail(file, -LIS_FORMAT, "is cut off");
	while (bytes) {
		ssize_t got = pread(file->fd, at, bytes, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return boot_file_fail(file, lis_error_from_errno(errno), strerror(errno));
		if (got == 0)
			return boot_file_fail(file, -LIS_FORMAT, "is cut off");
		at += got;
		offset += (uint64_t)got;
		bytes -= (uint64_t)got;
	}
	return 0;
}
