// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Hostile VHDX files. The input says how a sound file is bent: bytes of its structures, whole log
 * entries, its length, with checksums put right or not; and then what is read and written. Some have a
 * parent, a sound file, and a locator that is bent too. What must hold: see image.h.
 */
#include "fuzz/image.h"
#include "storage/images/vhdx.h"
#include "tests/unit/storage/vhdx_make.h"

#define MIB FUZZ_MIB

static char parent_path[32];
static int parent_fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	fuzz_image_start();
	parent_fd = fuzz_image_file("parent", parent_path);
	return 0;
}

static uint8_t locator[512];

static uint32_t put_text(uint32_t at, const char *text)
{
	for (; *text; text++, at += 2) {
		locator[at] = (uint8_t)*text;
		locator[at + 1] = 0;
	}
	return at;
}

/* Says the truth of the parent, beside the file. */
static uint32_t make_locator(void)
{
	char name[16];
	const char *texts[2][2] = { { "parent_linkage", "{00000006-0007-0008-0009-00000000000a}" },
				    { "relative_path", name } };
	const struct vhdx_locator header = { .type = VHDX_LOCATOR_TYPE, .count = 2 };
	uint32_t at = sizeof(header) + 2 * sizeof(struct vhdx_locator_entry);

	snprintf(name, sizeof(name), ".\\%d", parent_fd);
	memcpy(locator, &header, sizeof(header));
	for (uint32_t i = 0; i < 2; i++) {
		struct vhdx_locator_entry entry = { .key_offset_bytes = at };

		at = put_text(at, texts[i][0]);
		entry.key_bytes = (uint16_t)(at - entry.key_offset_bytes);
		entry.value_offset_bytes = at;
		at = put_text(at, texts[i][1]);
		entry.value_bytes = (uint16_t)(at - entry.value_offset_bytes);
		memcpy(locator + sizeof(header) + i * sizeof(entry), &entry, sizeof(entry));
	}
	return at;
}

static struct vhdx_make make_by(struct input *input)
{
	uint8_t how = input_u8(input);
	struct vhdx_make make = {
		.block_bytes = (uint32_t)MIB << ((how >> 2 & 3) * 2 + (how >> 2 & 3) / 3 * 2),
		.sector_bytes = how & 1 ? 4096 : 512,
	};

	make.size_bytes = (1 + input_u8(input)) * MIB;
	if (how & 2) {
		make.parameter_flags = VHDX_LEAVE_BLOCKS_ALLOCATED;
		make.block_bytes = (uint32_t)MIB;
		make.size_bytes = (1 + (how >> 4 & 3)) * MIB;
	} else if (how & 0x80) { /* large: several chunks */
		make.size_bytes <<= 6;
	}
	if (!(how & 2) && how & 0x40) {
		struct vhdx_make parent = make;

		close(make_vhdx(parent_path, &parent));
		make.parameter_flags = VHDX_HAS_PARENT;
		make.locator_bytes = make_locator();
		make.locator = locator;
	}
	return make;
}

/* Changes a few bytes of one of the structures. */
static void bend(struct input *input, int fd)
{
	static const uint64_t places[] = {
		0, VHDX_HEADER1_OFFSET, VHDX_HEADER2_OFFSET, VHDX_REGION_TABLE1_OFFSET,
		VHDX_REGION_TABLE2_OFFSET, MAKE_METADATA_OFFSET, MAKE_METADATA_OFFSET + 0x10000,
		MAKE_BAT_OFFSET, MAKE_BAT_OFFSET + 4096, MAKE_LOG_OFFSET, MAKE_LOG_OFFSET + 4096,
		MAKE_METADATA_OFFSET + VHDX_METADATA_TABLE_BYTES + 64 * 5, /* the parent locator */
	};
	uint8_t place = input_u8(input), at = input_u8(input), count = input_u8(input), bytes[64];
	uint64_t offset = places[place % (sizeof(places) / sizeof(places[0]))] + at;

	count = 1 + count % sizeof(bytes);
	input_copy(input, bytes, count);
	make_put(fd, bytes, count, offset);
}

/* A BAT entry: state and place. */
static void bend_bat(struct input *input, int fd)
{
	uint8_t at = input_u8(input);
	uint16_t place = input_u16(input);
	uint64_t entry = (uint64_t)(place >> 3) << 20 | (place & 7);

	make_put(fd, &entry, sizeof(entry), MAKE_BAT_OFFSET + 8 * (at & 0x80 ? at * 4u : at & 7));
}

static struct guid log_guid_of(int fd)
{
	struct vhdx_header header = make_current_header(fd);

	header.log_guid = GUID(0x10, 0x20, 0x30, 0x40, 0x50);
	make_header(fd, VHDX_HEADER1_OFFSET, &header);
	header.sequence_number++;
	make_header(fd, VHDX_HEADER2_OFFSET, &header);
	return header.log_guid;
}

/* A log entry that is valid but for what it says; the header then names the log. */
static void add_log_entry(struct input *input, int fd)
{
	static const uint64_t targets[] = {
		MAKE_BAT_OFFSET, MAKE_BAT_OFFSET + 4096, MAKE_METADATA_OFFSET,
		MAKE_METADATA_OFFSET + 0x10000, VHDX_REGION_TABLE1_OFFSET, MAKE_LOG_OFFSET,
		VHDX_HEADER1_OFFSET, MAKE_BAT_OFFSET + MIB,
	};
	static uint8_t pages[9 * 4096];
	struct vhdx_log_entry *entry = (void *)pages;
	struct vhdx_log_descriptor *descriptors = (void *)(pages + sizeof(*entry));
	uint8_t where = input_u8(input), how = input_u8(input), count = how & 7;
	uint32_t data_count = 0;

	memset(pages, 0, sizeof(pages));
	*entry = (struct vhdx_log_entry){
		.signature = VHDX_LOG_ENTRY_TAG, .tail_bytes = 4096u * (where & 15),
		.sequence_number = 1 + (where >> 4), .descriptor_count = count,
		.log_guid = log_guid_of(fd), .flushed_file_offset_bytes = MIB,
	};
	if (how & 0x40)
		entry->flushed_file_offset_bytes = input_u32(input) * UINT64_C(4096);
	if (how & 0x80)
		entry->last_file_offset_bytes = input_u32(input) * MIB;
	for (uint32_t i = 0; i < count; i++) {
		struct vhdx_log_data *page = (void *)(pages + 4096 * (1 + data_count));
		uint8_t what = input_u8(input);

		descriptors[i] = (struct vhdx_log_descriptor){
			.signature = what & 8 ? VHDX_LOG_ZERO_TAG : VHDX_LOG_WRITE_TAG,
			.file_offset_bytes = targets[what & 7],
			.sequence_number = entry->sequence_number,
		};
		if (what & 0x40)
			descriptors[i].file_offset_bytes = input_u32(input) * UINT64_C(4096);
		if (what & 8) {
			descriptors[i].zero_length_bytes = input_u16(input) * UINT64_C(4096);
			continue;
		}
		descriptors[i].leading_bytes = input_u64(input);
		page->signature = VHDX_LOG_DATA_TAG;
		page->sequence_low = (uint32_t)entry->sequence_number;
		input_copy(input, page->data, 32);
		data_count++;
	}
	entry->entry_length_bytes = 4096 * (1 + data_count);
	entry->checksum = 0;
	entry->checksum = crc32c(0, pages, entry->entry_length_bytes);
	if (how & 0x20) /* or not */
		input_copy(input, pages + input_u8(input), 8);
	make_put(fd, pages, 4096 * (1 + data_count),
		 MAKE_LOG_OFFSET + 4096u * (how >> 3 & 3) * (1 + data_count));
}

static uint64_t length_by(struct input *input)
{
	uint32_t length = input_u16(input);

	return length * UINT64_C(65536) + input_u8(input);
}

static void put_checksums_right(int fd, uint8_t which)
{
	if (which & 1)
		make_checksum(fd, VHDX_HEADER1_OFFSET, VHDX_HEADER_BYTES);
	if (which & 2)
		make_checksum(fd, VHDX_HEADER2_OFFSET, VHDX_HEADER_BYTES);
	if (which & 4)
		make_checksum(fd, VHDX_REGION_TABLE1_OFFSET, VHDX_REGION_TABLE_BYTES);
	if (which & 8)
		make_checksum(fd, VHDX_REGION_TABLE2_OFFSET, VHDX_REGION_TABLE_BYTES);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct input input = { bytes, count };
	struct vhdx_make make = make_by(&input);
	uint8_t finish = input_u8(&input), bends = input_u8(&input) % 16;
	int fd = make_vhdx(fuzz_image_path, &make);
	uint64_t length = 0;

	for (uint32_t i = 0; i < bends && input.bytes; i++) {
		switch (input_u8(&input) % 5) {
		case 0: case 1:
			bend(&input, fd);
			break;
		case 2:
			bend_bat(&input, fd);
			break;
		case 3:
			add_log_entry(&input, fd);
			break;
		default:
			length = length_by(&input);
		}
	}
	put_checksums_right(fd, finish);
	if (length && ftruncate(fd, (off_t)length) < 0)
		abort();
	fuzz_image_use(&input, fd, vhdx_open, finish & 0x10, finish & 0x30);
	return 0;
}
