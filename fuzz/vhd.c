// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Hostile VHD files. The input says of which kind and size a sound file is, and how it is bent: bytes of the
 * footer, its copy, the header, the BAT and the locators, with checksums put right or not, and its length;
 * and then what is read and written. Some have a parent, a sound file. What must hold: see image.h.
 */
#include <endian.h>
#include <fcntl.h>
#include <unistd.h>

#include "fuzz/image.h"
#include "storage/images/vhd.h"
#include "storage/images/vhd_format.h"

#define HEADER_OFFSET 512u
#define BAT_OFFSET 1536u
#define BAT_ENTRIES_MAX 4096u
#define LOCATOR_OFFSET (BAT_OFFSET + 4 * BAT_ENTRIES_MAX)
#define DATA_OFFSET (LOCATOR_OFFSET + 512)

static char parent_path[32];
static int parent_fd;

/* A file under construction. */
static struct vhd_footer footer;
static struct vhd_header header;
static uint32_t bat[BAT_ENTRIES_MAX];
static uint8_t locator[512];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	fuzz_image_start();
	parent_fd = fuzz_image_file("parent", parent_path);
	return 0;
}

static void put(int fd, const void *data, size_t bytes, uint64_t offset_bytes)
{
	if (pwrite(fd, data, bytes, (off_t)offset_bytes) != (ssize_t)bytes)
		abort();
}

static void fill_footer(enum vhd_type type, uint64_t size_bytes, uint8_t id)
{
	footer = (struct vhd_footer){
		.features = htobe32(VHD_FEATURE_RESERVED),
		.version = htobe32(VHD_VERSION),
		.header_offset_bytes = htobe64(type == VHD_FIXED ? VHD_NO_OFFSET : HEADER_OFFSET),
		.creator = "lis ", .creator_host = "Wi2k",
		.original_size_bytes = htobe64(size_bytes), .current_size_bytes = htobe64(size_bytes),
		.cylinders = htobe16(65535), .heads = 16, .track_sectors = 255,
		.type = htobe32(type),
		.unique_id.bytes = { id, id, id },
	};
	memcpy(footer.cookie, VHD_FOOTER_COOKIE, sizeof(footer.cookie));
}

static void fill_header(uint64_t size_bytes, uint32_t block_bytes, bool child)
{
	int length;
	char name[16];

	header = (struct vhd_header){
		.next_offset_bytes = VHD_NO_OFFSET,
		.bat_offset_bytes = htobe64(BAT_OFFSET),
		.version = htobe32(VHD_VERSION),
		.bat_entries = htobe32((uint32_t)(size_bytes / block_bytes)),
		.block_bytes = htobe32(block_bytes),
	};
	memcpy(header.cookie, VHD_HEADER_COOKIE, sizeof(header.cookie));
	if (!child)
		return;
	/* The truth of the parent, beside the file. */
	length = snprintf(name, sizeof(name), ".\\%d", parent_fd);
	memset(locator, 0, sizeof(locator));
	for (int i = 0; i < length; i++)
		locator[2 * i] = (uint8_t)name[i];
	header.parent_id = (struct guid){ { 9, 9, 9 } };
	header.parent_locators[0] = (struct vhd_locator){
		.code = "W2ru", .space_bytes = htobe32(512), .length_bytes = htobe32(2 * (uint32_t)length),
		.offset_bytes = htobe64(LOCATOR_OFFSET),
	};
}

/* Checksums of footer and header, or ones that are bent. */
static void put_metadata(int fd, uint64_t end_bytes, uint8_t right)
{
	footer.checksum = htobe32(vhd_checksum(&footer, sizeof(footer), offsetof(struct vhd_footer, checksum)));
	header.checksum = htobe32(vhd_checksum(&header, sizeof(header), offsetof(struct vhd_header, checksum)));
	if (right & 1)
		footer.checksum ^= 1;
	if (right & 2)
		header.checksum ^= 1;
	put(fd, &footer, sizeof(footer), end_bytes);
	if (footer.type == htobe32(VHD_FIXED))
		return;
	if (right & 4)
		footer.checksum ^= 2;
	put(fd, &footer, sizeof(footer), 0);
	put(fd, &header, sizeof(header), HEADER_OFFSET);
	put(fd, bat, sizeof(bat), BAT_OFFSET);
	put(fd, locator, sizeof(locator), LOCATOR_OFFSET);
}

static void make_parent(uint64_t size_bytes)
{
	int fd = open(parent_path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || ftruncate(fd, 0) || ftruncate(fd, (off_t)size_bytes))
		abort();
	fill_footer(VHD_FIXED, size_bytes, 9);
	put_metadata(fd, size_bytes, 0);
	close(fd);
}

static void bend_bytes(struct input *input, void *data, size_t data_bytes)
{
	size_t at = input_u16(input) % data_bytes, bytes = 1 + input_u8(input) % 16;

	input_copy(input, (uint8_t *)data + at, bytes < data_bytes - at ? bytes : data_bytes - at);
}

/* An entry: near one of the blocks, or anything. */
static void bend_bat(struct input *input, uint32_t block_bytes)
{
	uint16_t at = input_u16(input);
	uint8_t place = input_u8(input);
	uint64_t stride_bytes = (uint64_t)block_bytes + vhd_bitmap_bytes(block_bytes);

	bat[at % BAT_ENTRIES_MAX] = htobe32(place & 0x80 ? input_u32(input) :
							  (uint32_t)((DATA_OFFSET + place % 16 * stride_bytes) / 512 +
								     (place >> 4 & 3)));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct input input = { bytes, count };
	uint8_t how = input_u8(&input), bends, finish = input_u8(&input);
	enum vhd_type type = VHD_FIXED + how % 3;
	uint32_t block_bytes = 4096u << (how >> 2 & 15);
	uint64_t size_bytes = (1 + input_u8(&input)) * FUZZ_MIB, end_bytes = size_bytes;
	int fd = open(fuzz_image_path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || ftruncate(fd, 0))
		abort();
	if (how & 0x40)
		size_bytes += FUZZ_MIB << 9;
	if (type == VHD_FIXED)
		end_bytes = size_bytes &= ~(FUZZ_MIB * 512);
	if (type == VHD_DIFFERENCING)
		make_parent(size_bytes);
	memset(bat, 0xff, sizeof(bat));
	if (type != VHD_FIXED)
		end_bytes = DATA_OFFSET + input_u8(&input) % 8 * (uint64_t)(block_bytes + vhd_bitmap_bytes(block_bytes));
	fill_footer(type, size_bytes, 1);
	fill_header(size_bytes, block_bytes, type == VHD_DIFFERENCING);
	for (bends = input_u8(&input) % 16; bends && input.bytes; bends--) {
		switch (input_u8(&input) % 5) {
		case 0:
			bend_bytes(&input, &footer, sizeof(footer));
			break;
		case 1:
			bend_bytes(&input, &header, sizeof(header));
			break;
		case 2:
			bend_bytes(&input, locator, sizeof(locator));
			break;
		case 3:
			end_bytes += input_u16(&input);
			break;
		default:
			bend_bat(&input, block_bytes);
		}
	}
	if (ftruncate(fd, (off_t)end_bytes))
		abort();
	put_metadata(fd, end_bytes, finish);
	if (finish & 8 && ftruncate(fd, (off_t)(end_bytes + 512 - input_u16(&input) % (end_bytes + 512))))
		abort();
	fuzz_image_use(&input, fd, vhd_open, finish & 0x10, finish & 0x30);
	return 0;
}
