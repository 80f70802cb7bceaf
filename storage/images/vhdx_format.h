/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * VHDX on disk, little-endian. Offsets are from the start of the file unless said otherwise.
 *
 *        0  file identifier        192 KiB  region table
 *   64 KiB  header 1               256 KiB  region table, copy
 *  128 KiB  header 2                 1 MiB  log, metadata, BAT, blocks: anywhere, in units of 1 MiB
 *
 * Source: [ms-vhdx] sections 2.2 to 2.6, by the names of the structures.
 */
#ifndef OPENLIS_STORAGE_IMAGES_VHDX_FORMAT_H
#define OPENLIS_STORAGE_IMAGES_VHDX_FORMAT_H

#include <stdint.h>

#include "vmbus/guid.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structures are used as they are on disk");

#define VHDX_UNIT_BYTES (UINT64_C(1) << 20)       /* alignment of everything behind the first MiB */
#define VHDX_HEADER1_OFFSET UINT64_C(0x10000)
#define VHDX_HEADER2_OFFSET UINT64_C(0x20000)
#define VHDX_REGION_TABLE1_OFFSET UINT64_C(0x30000)
#define VHDX_REGION_TABLE2_OFFSET UINT64_C(0x40000)
#define VHDX_HEADER_BYTES 4096u
#define VHDX_REGION_TABLE_BYTES 65536u
#define VHDX_METADATA_TABLE_BYTES 65536u
#define VHDX_CHECKSUM_OFFSET 4u                   /* in headers, region tables and log entries */

#define VHDX_REGION_ENTRIES_MAX 2047u
#define VHDX_METADATA_ENTRIES_MAX 2047u
#define VHDX_BLOCK_BYTES_MIN (UINT32_C(1) << 20)
#define VHDX_BLOCK_BYTES_MAX (UINT32_C(256) << 20)
#define VHDX_DISK_BYTES_MAX (UINT64_C(64) << 40)
#define VHDX_SECTORS_PER_CHUNK (UINT64_C(1) << 23) /* what one sector bitmap block covers */

#define VHDX_TAG(a, b, c, d) \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

#define VHDX_HEADER_TAG VHDX_TAG('h', 'e', 'a', 'd')
#define VHDX_REGION_TAG VHDX_TAG('r', 'e', 'g', 'i')
#define VHDX_LOG_ENTRY_TAG VHDX_TAG('l', 'o', 'g', 'e')
#define VHDX_LOG_DATA_TAG VHDX_TAG('d', 'a', 't', 'a')
#define VHDX_LOG_WRITE_TAG VHDX_TAG('d', 'e', 's', 'c')
#define VHDX_LOG_ZERO_TAG VHDX_TAG('z', 'e', 'r', 'o')

/* Source: [ms-vhdx 2.2.2] Headers. 4 KiB with the rest zero; the checksum is over all of it. */
struct vhdx_header {
	uint32_t signature;
	uint32_t checksum;        /* CRC-32C with this field as zero */
	uint64_t sequence_number; /* the higher of two valid headers counts */
	struct guid file_write_guid;
	struct guid data_write_guid;
	struct guid log_guid;     /* zero: nothing in the log */
	uint16_t log_version;
	uint16_t version;
	uint32_t log_length_bytes;
	uint64_t log_offset_bytes;
};
_Static_assert(sizeof(struct vhdx_header) == 80, "[ms-vhdx 2.2.2] without its reserved rest");

#define VHDX_VERSION 1u
#define VHDX_LOG_VERSION 0u

/* Source: [ms-vhdx 2.2.3.1] Region Table Header. */
struct vhdx_region_table {
	uint32_t signature;
	uint32_t checksum; /* over 64 KiB */
	uint32_t entry_count;
	uint32_t reserved;
};
_Static_assert(sizeof(struct vhdx_region_table) == 16, "[ms-vhdx 2.2.3.1]");

/* Source: [ms-vhdx 2.2.3.2] Region Table Entry. */
struct vhdx_region_entry {
	struct guid guid;
	uint64_t file_offset_bytes;
	uint32_t length_bytes;
	uint32_t flags;
};
_Static_assert(sizeof(struct vhdx_region_entry) == 32, "[ms-vhdx 2.2.3.2]");

#define VHDX_REGION_REQUIRED 0x1u

#define VHDX_BAT_REGION GUID(0x2dc27766, 0xf623, 0x4200, 0x9d64, 0x115e9bfd4a08)
#define VHDX_METADATA_REGION GUID(0x8b7ca206, 0x4790, 0x4b9a, 0xb8fe, 0x575f050f886e)

/* Source: [ms-vhdx 2.3.1.1] Entry Header. Entries are whole 4 KiB sectors. */
struct vhdx_log_entry {
	uint32_t signature;
	uint32_t checksum; /* over the whole entry */
	uint32_t entry_length_bytes;
	uint32_t tail_bytes; /* offset in the log of the oldest entry that must be replayed with this one */
	uint64_t sequence_number;
	uint32_t descriptor_count;
	uint32_t reserved;
	struct guid log_guid;
	uint64_t flushed_file_offset_bytes; /* the file was at least so long, durably */
	uint64_t last_file_offset_bytes;    /* it must be at least so long after replay */
};
_Static_assert(sizeof(struct vhdx_log_entry) == 64, "[ms-vhdx 2.3.1.1]");

/* Source: [ms-vhdx 2.3.1.2, 2.3.1.3] Zero and Data Descriptor; behind the header, then on in whole sectors. */
struct vhdx_log_descriptor {
	uint32_t signature;
	uint32_t trailing_bytes; /* data: the sector's last 4 bytes */
	union {
		uint64_t leading_bytes; /* data: its first 8 */
		uint64_t zero_length_bytes;
	};
	uint64_t file_offset_bytes;
	uint64_t sequence_number;
};
_Static_assert(sizeof(struct vhdx_log_descriptor) == 32, "[ms-vhdx 2.3.1.2]");

/* Source: [ms-vhdx 2.3.1.4] Data Sector. */
struct vhdx_log_data {
	uint32_t signature;
	uint32_t sequence_high;
	uint8_t data[4084];
	uint32_t sequence_low;
};
_Static_assert(sizeof(struct vhdx_log_data) == 4096, "[ms-vhdx 2.3.1.4]");

#define VHDX_LOG_SECTOR_BYTES 4096u

/* Sectors that the header and @count descriptors of an entry take. */
static inline uint32_t vhdx_log_descriptor_sectors(uint32_t count)
{
	uint64_t bytes = sizeof(struct vhdx_log_entry) + count * sizeof(struct vhdx_log_descriptor);

	return (uint32_t)((bytes + VHDX_LOG_SECTOR_BYTES - 1) / VHDX_LOG_SECTOR_BYTES);
}

/*
 * BAT entries. After every chunk of payload blocks stands one entry for the chunk's sector bitmap.
 *
 * Source: [ms-vhdx 2.5.1] BAT Entry.
 */
#define VHDX_BAT_STATE 0x7u
#define VHDX_BAT_RESERVED UINT64_C(0xffff8)
#define VHDX_BAT_OFFSET (~UINT64_C(0xfffff)) /* the offset in bytes, as it stands */

enum vhdx_payload_state {
	VHDX_BLOCK_NOT_PRESENT = 0,
	VHDX_BLOCK_UNDEFINED = 1,
	VHDX_BLOCK_ZERO = 2,
	VHDX_BLOCK_UNMAPPED = 3,
	VHDX_BLOCK_FULLY_PRESENT = 6,
	VHDX_BLOCK_PARTIALLY_PRESENT = 7, /* differencing only */
};

/* Of the entry for a sector bitmap block. Source: [ms-vhdx 2.5.1.2] Sector Bitmap BAT Entry States. */
#define VHDX_BITMAP_PRESENT 6u

/* One bit for each sector of a chunk, lowest first; set: it is in this file. Source: [ms-vhdx 2.5.1.2] */
#define VHDX_BITMAP_BYTES (UINT32_C(1) << 20)

/* Source: [ms-vhdx 2.6.1.1] Metadata Table Header. */
struct vhdx_metadata_table {
	uint8_t signature[8]; /* "metadata" */
	uint16_t reserved;
	uint16_t entry_count;
	uint32_t reserved2[5];
};
_Static_assert(sizeof(struct vhdx_metadata_table) == 32, "[ms-vhdx 2.6.1.1]");

/* Source: [ms-vhdx 2.6.1.2] Metadata Table Entry. */
struct vhdx_metadata_entry {
	struct guid item_id;
	uint32_t offset_bytes; /* in the region */
	uint32_t length_bytes;
	uint32_t flags;
	uint32_t reserved2;
};
_Static_assert(sizeof(struct vhdx_metadata_entry) == 32, "[ms-vhdx 2.6.1.2]");

#define VHDX_METADATA_IS_USER 0x1u
#define VHDX_METADATA_IS_VIRTUAL_DISK 0x2u
#define VHDX_METADATA_IS_REQUIRED 0x4u

#define VHDX_FILE_PARAMETERS GUID(0xcaa16737, 0xfa36, 0x4d43, 0xb3b6, 0x33f0aa44e76b)
#define VHDX_VIRTUAL_DISK_SIZE GUID(0x2fa54224, 0xcd1b, 0x4876, 0xb211, 0x5dbed83bf4b8)
#define VHDX_PAGE_83_DATA GUID(0xbeca12ab, 0xb2e6, 0x4523, 0x93ef, 0xc309e000c746)
#define VHDX_LOGICAL_SECTOR_SIZE GUID(0x8141bf1d, 0xa96f, 0x4709, 0xba47, 0xf233a8faab5f)
#define VHDX_PHYSICAL_SECTOR_SIZE GUID(0xcda348c7, 0x445d, 0x4471, 0x9cc9, 0xe9885251c556)
#define VHDX_PARENT_LOCATOR GUID(0xa8d35f2d, 0xb30b, 0x454d, 0xabf7, 0xd3d84834ab0c)

/* Source: [ms-vhdx 2.6.2.1] File Parameters. */
struct vhdx_file_parameters {
	uint32_t block_bytes;
	uint32_t flags;
};
_Static_assert(sizeof(struct vhdx_file_parameters) == 8, "[ms-vhdx 2.6.2.1]");

#define VHDX_LEAVE_BLOCKS_ALLOCATED 0x1u /* fixed */
#define VHDX_HAS_PARENT 0x2u             /* differencing */

/* Source: [ms-vhdx 2.6.2.6.1] Parent Locator Header. Keys and values follow, in UTF-16 without a final zero. */
struct vhdx_locator {
	struct guid type;
	uint16_t reserved;
	uint16_t count;
};
_Static_assert(sizeof(struct vhdx_locator) == 20, "[ms-vhdx 2.6.2.6.1]");

/* Source: [ms-vhdx 2.6.2.6.2] Parent Locator Entry. Offsets are from the start of the item. */
struct vhdx_locator_entry {
	uint32_t key_offset_bytes;
	uint32_t value_offset_bytes;
	uint16_t key_bytes;
	uint16_t value_bytes;
};
_Static_assert(sizeof(struct vhdx_locator_entry) == 12, "[ms-vhdx 2.6.2.6.2]");

#define VHDX_LOCATOR_TYPE GUID(0xb04aefb7, 0xd19e, 0x4a81, 0xb789, 0x25b8e9445913)

#endif
