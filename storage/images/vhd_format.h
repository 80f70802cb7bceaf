/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * VHD on disk, big-endian.
 *
 *   fixed     the disk, footer
 *   dynamic   copy of the footer, header, block allocation table (BAT), blocks, footer
 *   differencing   as dynamic, and somewhere the paths of the parent
 *
 * The header says where the BAT is, the BAT where each block is: first its bitmap, one bit for each
 * sector from the highest bit on, padded to whole sectors, then its data. In a differencing file a
 * sector whose bit is clear is as in the parent, and so is a block that is not there.
 *
 * Source: [vhd-spec] by the names of the structures.
 */
#ifndef OPENLIS_STORAGE_IMAGES_VHD_FORMAT_H
#define OPENLIS_STORAGE_IMAGES_VHD_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#include "vmbus/guid.h"

#define VHD_SECTOR_BYTES 512u
#define VHD_VERSION 0x00010000u
#define VHD_NO_OFFSET UINT64_MAX
#define VHD_ABSENT UINT32_MAX /* BAT entry of a block that is not there; others are in sectors */

/* Hyper-V makes and attaches no larger ones. Source: [qemu block/vpc.c VHD_MAX_SECTORS] */
#define VHD_DISK_BYTES_MAX (UINT64_C(2040) << 30)
#define VHD_BLOCK_BYTES_DEFAULT (UINT32_C(2) << 20)
#define VHD_BLOCK_BYTES_MIN 4096u                 /* [policy] eight sectors: whole bytes of bitmap */
#define VHD_BLOCK_BYTES_MAX (UINT32_C(256) << 20) /* [policy] */

#define VHD_FOOTER_COOKIE "conectix"
#define VHD_HEADER_COOKIE "cxsparse"

enum vhd_type {
	VHD_FIXED = 2,
	VHD_DYNAMIC = 3,
	VHD_DIFFERENCING = 4,
};

#define VHD_FEATURE_RESERVED 0x2u /* always set */

/* Times count from 2000-01-01 00:00 UTC. */
#define VHD_EPOCH_S 946684800

/* Largest geometry; whoever sees it takes the size from the footer. */
#define VHD_CYLINDERS_MAX 65535u
#define VHD_HEADS_MAX 16u
#define VHD_TRACK_SECTORS_MAX 255u

/* Source: [vhd-spec] Hard Disk Footer Format. */
struct vhd_footer {
	uint8_t cookie[8];
	uint32_t features;
	uint32_t version;
	uint64_t header_offset_bytes; /* dynamic: of struct vhd_header; fixed: VHD_NO_OFFSET */
	uint32_t time_s;              /* since 2000-01-01 00:00 UTC */
	uint8_t creator[4];
	uint32_t creator_version;
	uint8_t creator_host[4];
	uint64_t original_size_bytes;
	uint64_t current_size_bytes;
	uint16_t cylinders;
	uint8_t heads;
	uint8_t track_sectors;
	uint32_t type;
	uint32_t checksum;            /* complement of the sum of all bytes but these four */
	struct guid unique_id;
	uint8_t saved_state;
	uint8_t reserved[427];
};
_Static_assert(sizeof(struct vhd_footer) == 512, "[vhd-spec] Hard Disk Footer Format");

/* Virtual PC before 2004 wrote one byte less. Source: [vhd-spec] Hard Disk Footer Format */
#define VHD_SHORT_FOOTER_BYTES 511u

/* Where a path of the parent is. Source: [vhd-spec] Parent Locator Entries. */
struct vhd_locator {
	uint8_t code[4];              /* what kind; zero: none */
	uint32_t space_bytes;         /* room, whole sectors; some write the number of sectors */
	uint32_t length_bytes;        /* of the text */
	uint32_t reserved;
	uint64_t offset_bytes;
};
_Static_assert(sizeof(struct vhd_locator) == 24, "[vhd-spec] Parent Locator Entries");

#define VHD_LOCATORS 8

/* Source: [vhd-spec] Dynamic Disk Header Format. Parent fields are for differencing disks. */
struct vhd_header {
	uint8_t cookie[8];
	uint64_t next_offset_bytes;   /* VHD_NO_OFFSET */
	uint64_t bat_offset_bytes;
	uint32_t version;
	uint32_t bat_entries;         /* room for so many */
	uint32_t block_bytes;         /* of data */
	uint32_t checksum;
	struct guid parent_id;
	uint32_t parent_time_s;
	uint32_t reserved;
	uint8_t parent_name[512];     /* UTF-16, big-endian */
	struct vhd_locator parent_locators[VHD_LOCATORS];
	uint8_t reserved2[256];
};
_Static_assert(sizeof(struct vhd_header) == 1024, "[vhd-spec] Dynamic Disk Header Format");

/* The checksum of a footer or header. Source: [vhd-spec] Checksum */
static inline uint32_t vhd_checksum(const void *data, size_t bytes, size_t checksum_offset_bytes)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < bytes; i++)
		if (i < checksum_offset_bytes || i >= checksum_offset_bytes + 4)
			sum += ((const uint8_t *)data)[i];
	return ~sum;
}

/* Bytes of the bitmap of a block. */
static inline uint32_t vhd_bitmap_bytes(uint32_t block_bytes)
{
	uint32_t bytes = (block_bytes / VHD_SECTOR_BYTES + 7) / 8;

	return (bytes + VHD_SECTOR_BYTES - 1) / VHD_SECTOR_BYTES * VHD_SECTOR_BYTES;
}

#endif
