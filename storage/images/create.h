/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What block_create() asks of each format: fill a new, empty file. See block.h for the options. */
#ifndef OPENLIS_STORAGE_IMAGES_CREATE_H
#define OPENLIS_STORAGE_IMAGES_CREATE_H

#include "storage/block.h"

/* A new file on its way to an image. */
struct create_file {
	const char *path;
	int fd;
	char *error; /* BLOCK_ERROR_BYTES */
};

/**
 * create_extend() - Make the file so long, reading as zero; with its room on the disk if @allocate.
 * Return: 0, or an error with its line.
 */
int create_extend(const struct create_file *file, uint64_t bytes, bool allocate) LIS_MUST_USE;

/** create_write() - Write a part of the file. Return: 0, or an error with its line. */
int create_write(const struct create_file *file, const void *data, uint64_t bytes,
		 uint64_t offset_bytes) LIS_MUST_USE;

/** create_raw(), create_vhd(), create_vhdx() - Return: as block_create(). */
int create_raw(const struct create_file *file, const struct block_create_options *options) LIS_MUST_USE;
int create_vhd(const struct create_file *file, const struct block_create_options *options) LIS_MUST_USE;
int create_vhdx(const struct create_file *file, const struct block_create_options *options) LIS_MUST_USE;

#endif
