/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The checksum of VHDX: CRC-32 with Castagnoli's polynomial. */
#ifndef OPENLIS_STORAGE_IMAGES_CRC32C_H
#define OPENLIS_STORAGE_IMAGES_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/**
 * crc32c() - Go on with a checksum.
 * @crc: 0, or the result for what came before
 * @data: any alignment
 * @bytes: of @data
 *
 * Context: any.
 * Return: the checksum of everything so far.
 */
uint32_t crc32c(uint32_t crc, const void *data, size_t bytes);

#endif
