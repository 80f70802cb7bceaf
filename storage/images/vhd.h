/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* VHD images, fixed, dynamic and differencing, as the rest of storage/ sees them. */
#ifndef OPENLIS_STORAGE_IMAGES_VHD_H
#define OPENLIS_STORAGE_IMAGES_VHD_H

#include "storage/images/image.h"

/**
 * vhd_detect() - Does a file look like a VHD, at its end or (dynamic ones) at its start?
 *
 * Context: may sleep.
 */
bool vhd_detect(const struct image_file *file);

/**
 * vhd_open() - Parse and validate a VHD file.
 * @file: taken over on success
 * @out_device: set on success only
 * @error: as block_open()
 *
 * Where the footer at the end is damaged the copy at the start counts, and the reverse; opening for
 * writing puts the damaged one right.
 *
 * Context: may sleep.
 * Return: 0, -LIS_FORMAT (damaged, or over another parent), -LIS_UNSUPPORTED (a newer version), -LIS_NOMEM,
 * -LIS_IO, -LIS_NOSPACE; of the parent's, as block_open().
 */
int vhd_open(const struct image_file *file, struct block_device **out_device, char *error) LIS_MUST_USE;

#endif
