/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* A file that is loaded into guest memory; errors become one line with the file's name. */
#ifndef OPENLIS_VMM_BOOT_FILE_H
#define OPENLIS_VMM_BOOT_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "vmbus/error.h"

struct boot_file {
	const char *path;
	int fd;
	uint64_t bytes;
	char *error; /* for what goes wrong */
	size_t error_bytes;
};

/** boot_file_open() - Open a regular file. Return: 0, -LIS_NOTFOUND, -LIS_DENIED, -LIS_FORMAT,
 * -LIS_IO. */
int boot_file_open(struct boot_file *out_file, const char *path, char *error,
		   size_t error_bytes) LIS_MUST_USE;
void boot_file_close(struct boot_file *file);

/** boot_file_read() - All of a range. Return: 0, -LIS_FORMAT (the file ends before), -LIS_IO. */
int boot_file_read(const struct boot_file *file, uint64_t offset, void *to,
		   uint64_t bytes) LIS_MUST_USE;

/** boot_file_fail() - Say what is wrong with it. Return: @err. */
int boot_file_fail(const struct boot_file *file, int err, const char *why);

#endif
