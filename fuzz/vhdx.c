// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Hostile VHDX files. The input says how a sound file is bent: bytes of its structures, whole log
 * entries, its length, with checksums put right or not; and then what is read and written. A file
 * is refused with a line that says why, in 64 MiB of memory at most, or it is opened, and then
 * behaves: what was written reads back, also after it was closed and opened again. Some have a parent,
 * a sound file, and a locator that is bent too.
 *
 * The file is a memory file, the loop does each operation when it is its turn.
 */
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "fuzz/fuzz.h"
#include "storage/images/vhdx.h"
#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/vhdx_make.h"

#define MIB (UINT64_C(1) << 20)
#define MEMORY_MAX (64 * MIB)
#define FILE_MAX (4096 * MIB)
#define LENGTH_MAX 65536u
#define SPANS_MAX 16u

/* compiler-rt's; its headers are not everywhere. */
size_t __sanitizer_get_current_allocated_bytes(void);
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
					      void (*on_free)(const volatile void *));

/* ---- the loop ---- */

struct io_loop {
	struct io_uring_sqe pending[64];
	uint32_t count;
};

static int32_t do_rw(const struct io_uring_sqe *sqe, const struct iovec *iov, uint32_t count)
{
	bool write = sqe->opcode == IORING_OP_WRITE || sqe->opcode == IORING_OP_WRITEV;
	ssize_t done = write ? pwritev(sqe->fd, iov, (int)count, (off_t)sqe->off) :
			       preadv(sqe->fd, iov, (int)count, (off_t)sqe->off);

	return done < 0 ? -errno : (int32_t)done;
}

static int32_t perform(const struct io_uring_sqe *sqe)
{
	struct iovec one = { (void *)(uintptr_t)sqe->addr, sqe->len };

	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_WRITE:
		return do_rw(sqe, &one, 1);
	case IORING_OP_READV:
	case IORING_OP_WRITEV:
		return do_rw(sqe, one.iov_base, sqe->len);
	case IORING_OP_FSYNC:
		return 0;
	case IORING_OP_FALLOCATE:
		return fallocate(sqe->fd, (int)sqe->len, (off_t)sqe->off, (off_t)sqe->addr) ?
			       -errno : 0;
	default:
		FUZZ_CHECK(!"an operation that nobody asks for");
		return -EINVAL;
	}
}

struct io_uring_sqe *io_loop_sqe(struct io_loop *loop, struct io_op *op)
{
	struct io_uring_sqe *sqe = &loop->pending[loop->count++];

	FUZZ_CHECK(loop->count <= sizeof(loop->pending) / sizeof(loop->pending[0]));
	memset(sqe, 0, sizeof(*sqe));
	sqe->user_data = (uintptr_t)op;
	return sqe;
}

void io_loop_call(struct io_loop *loop, struct io_call *call)
{
	call->fn(call);
}

bool io_loop_turn(struct io_loop *loop, bool wait)
{
	struct io_uring_sqe sqe;
	struct io_op *op;

	FUZZ_CHECK(loop->count); /* else whoever waits waits for ever */
	sqe = loop->pending[0];
	loop->pending[0] = loop->pending[--loop->count];
	op = (struct io_op *)(uintptr_t)sqe.user_data;
	op->done(op, perform(&sqe));
	return true;
}

/* ---- the file ---- */

static char path[32], parent_path[32];
static int parent_fd;
static size_t base_bytes;
static bool counting;

static void on_malloc(const volatile void *memory, size_t bytes)
{
	if (counting)
		FUZZ_CHECK(__sanitizer_get_current_allocated_bytes() - base_bytes <= MEMORY_MAX);
}

static void on_free(const volatile void *memory)
{
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct rlimit limit = { FILE_MAX, FILE_MAX };
	int fd = memfd_create("vhdx", 0);

	parent_fd = memfd_create("parent", 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	snprintf(parent_path, sizeof(parent_path), "/proc/self/fd/%d", parent_fd);
	setrlimit(RLIMIT_FSIZE, &limit);
	__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
	return fd < 0 || parent_fd < 0;
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

static struct block_device *open_image(int fd, bool read_only)
{
	static char error[BLOCK_ERROR_BYTES];
	struct image_file file = { .path = path, .fd = fd, .read_only = read_only,
				   .can_punch = true };
	struct block_device *device = NULL;
	int result;

	if (fstat(fd, &file.stat))
		abort();
	file.size_bytes = (uint64_t)file.stat.st_size;
	error[0] = 0;
	base_bytes = __sanitizer_get_current_allocated_bytes();
	counting = true;
	result = vhdx_open(&file, &device, error);
	counting = false;
	FUZZ_CHECK(!result == !!device);
	FUZZ_CHECK(!result || (!strncmp(error, path, strlen(path)) && error[strlen(path)] == ':'));
	FUZZ_CHECK(!result || result == -LIS_FORMAT || result == -LIS_UNSUPPORTED ||
		   result == -LIS_IO || result == -LIS_NOSPACE || result == -LIS_NOMEM ||
		   result == -LIS_NOTFOUND || result == -LIS_BUSY || result == -LIS_DENIED);
	return device;
}

/* ---- reading and writing ---- */

/* What was written last, where nothing else was written after. */
static struct span {
	uint64_t offset, bytes;
	uint8_t seed;
	bool zero;
} spans[SPANS_MAX];
static uint32_t span_count;
static uint8_t data[LENGTH_MAX], expected[LENGTH_MAX];

static void forget_spans(uint64_t offset, uint64_t bytes)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < span_count; i++)
		if (spans[i].offset >= offset + bytes || offset >= spans[i].offset + spans[i].bytes)
			spans[kept++] = spans[i];
	span_count = kept;
}

static void check_spans(struct block_device *device, struct io_loop *loop)
{
	for (uint32_t i = 0; i < span_count; i++) {
		if (block_io(device, loop, BLOCK_READ, 0, spans[i].offset, data, spans[i].bytes))
			FUZZ_CHECK(!"what was written can be read");
		memset(expected, spans[i].zero ? 0 : spans[i].seed, spans[i].bytes);
		FUZZ_CHECK(!memcmp(data, expected, spans[i].bytes));
	}
}

static void do_io(struct input *input, struct block_device *device, struct io_loop *loop)
{
	const struct block_geometry *geometry = &device->geometry;
	uint8_t what = input_u8(input);
	uint64_t offset = input_u8(input) * (MIB / 4), bytes;
	enum block_op op = what % 5;
	int result;

	if (geometry->size_bytes > 64 * MIB && what & 0x80)
		offset <<= 6;
	offset -= (what >> 4 & 7) * (uint64_t)geometry->logical_sector_bytes;
	bytes = (1 + input_u8(input) % 16) * (uint64_t)geometry->logical_sector_bytes;
	if (offset > geometry->size_bytes || bytes > geometry->size_bytes - offset ||
	    op == BLOCK_FLUSH)
		offset = bytes = 0;
	memset(data, what, sizeof(data));
	result = block_io(device, loop, op, what & 8 ? BLOCK_WRITE_FUA : 0, offset,
			  op == BLOCK_READ || op == BLOCK_WRITE ? data : NULL, bytes);
	if (op == BLOCK_READ || op == BLOCK_FLUSH || !bytes)
		return;
	if (geometry->read_only)
		FUZZ_CHECK(result == -LIS_READONLY);
	else
		forget_spans(offset, bytes);
	if (result || span_count == SPANS_MAX || (op == BLOCK_DISCARD && !geometry->discard_zeroes))
		return;
	spans[span_count++] = (struct span){ offset, bytes, what, op != BLOCK_WRITE };
}

static void use_image(struct input *input, struct block_device *device)
{
	struct io_loop loop = { .count = 0 };

	span_count = 0;
	for (uint32_t i = 0; i < 24 && input->bytes; i++)
		do_io(input, device, &loop);
	check_spans(device, &loop);
	FUZZ_CHECK(!loop.count);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct input input = { bytes, count };
	struct vhdx_make make = make_by(&input);
	uint8_t finish = input_u8(&input), bends = input_u8(&input) % 16;
	int fd = make_vhdx(path, &make), again;
	uint64_t length = 0;
	struct io_loop loop = { .count = 0 };
	struct block_device *device;

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
	signal(SIGXFSZ, SIG_IGN); /* the fuzzer's own handler was set after our start */
	device = open_image(fd, finish & 0x10);
	if (!device) {
		close(fd);
		return 0;
	}
	use_image(&input, device);
	FUZZ_CHECK(!block_close(device));
	again = open(path, O_RDWR | O_CLOEXEC);
	device = open_image(again, finish & 0x30);
	FUZZ_CHECK(device);
	check_spans(device, &loop);
	FUZZ_CHECK(!block_close(device));
	return 0;
}
