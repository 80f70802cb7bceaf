// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A VHDX file forged as the input says, in any structure, checksums set right or not, and then used.
 * The file lives in memory; what is forged starts from a sound one that was not closed, so that its
 * log has something to replay.
 *
 * Whatever opens must be a disk: a sector reads back as it was last written, until the disk is closed
 * and after. That no two blocks, and no block and metadata, share a place follows from it.
 */
#include "fuzz/fuzz.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/vhdx_make.h"

#define MIB (UINT64_C(1) << 20)
#define PAGE 4096u
#define PAGES_MAX 128u
#define WRITTEN_MAX 16u
#define STEPS_MAX 64

/* ---- a loop that does everything at once ---- */

struct io_loop {
	struct io_uring_sqe pending[16];
	uint32_t count;
};

static struct io_loop loop;

struct io_uring_sqe *io_loop_sqe(struct io_loop *on, struct io_op *op)
{
	struct io_uring_sqe *sqe = &on->pending[on->count++];

	FUZZ_CHECK(on->count <= 16);
	memset(sqe, 0, sizeof(*sqe));
	sqe->user_data = (uintptr_t)op;
	return sqe;
}

void io_loop_call(struct io_loop *on, struct io_call *call)
{
	call->fn(call);
}

static int32_t perform(const struct io_uring_sqe *sqe)
{
	void *memory = (void *)(uintptr_t)sqe->addr;

	switch (sqe->opcode) {
	case IORING_OP_READ:
		return (int32_t)pread(sqe->fd, memory, sqe->len, (off_t)sqe->off);
	case IORING_OP_WRITE:
		return (int32_t)pwrite(sqe->fd, memory, sqe->len, (off_t)sqe->off);
	case IORING_OP_READV:
		return (int32_t)preadv(sqe->fd, memory, (int)sqe->len, (off_t)sqe->off);
	case IORING_OP_WRITEV:
		return (int32_t)pwritev(sqe->fd, memory, (int)sqe->len, (off_t)sqe->off);
	case IORING_OP_FALLOCATE:
		return fallocate(sqe->fd, (int)sqe->len, (off_t)sqe->off, (off_t)sqe->addr) ? -95 : 0;
	default:
		return 0;
	}
}

bool io_loop_turn(struct io_loop *on, bool wait)
{
	struct io_uring_sqe sqe;
	struct io_op *op;

	FUZZ_CHECK(on->count); /* or somebody waits for nothing */
	sqe = on->pending[--on->count];
	op = (struct io_op *)(uintptr_t)sqe.user_data;
	op->done(op, perform(&sqe));
	return true;
}

/* ---- the file ---- */

static int file = -1;
static char path[64];
static struct {
	uint64_t offset_bytes;
	uint8_t bytes[PAGE];
} pages[PAGES_MAX];
static uint32_t page_count;
static uint64_t file_bytes;

static const struct place {
	uint64_t offset_bytes;
	uint32_t bytes, sum_bytes; /* the checksum's structure, which starts there too */
} places[] = {
	{ VHDX_HEADER1_OFFSET, 80, VHDX_HEADER_BYTES },
	{ VHDX_HEADER2_OFFSET, 80, VHDX_HEADER_BYTES },
	{ VHDX_REGION_TABLE1_OFFSET, 144, VHDX_REGION_TABLE_BYTES },
	{ MAKE_METADATA_OFFSET, 224, 0 },
	{ MAKE_METADATA_OFFSET + 65536, 320, 0 },
	{ MAKE_BAT_OFFSET, 256, 0 },
	{ MAKE_LOG_OFFSET, 160, 8192 },
	{ MAKE_LOG_OFFSET + 8192, 160, 8192 },
	{ MAKE_LOG_OFFSET + 16384, 160, 8192 },
	{ MAKE_LOG_OFFSET + 16384 + 4096, 256, 0 },
	{ MAKE_LOG_OFFSET + 24576, 160, 8192 },
};

static void keep_pages(void)
{
	static const uint8_t zeroes[PAGE];
	struct stat status;

	FUZZ_CHECK(!fstat(file, &status));
	file_bytes = (uint64_t)status.st_size;
	for (uint64_t at = 0; at + PAGE <= 12 * MIB && page_count < PAGES_MAX; at += PAGE) {
		make_get(file, pages[page_count].bytes, PAGE, at);
		if (memcmp(pages[page_count].bytes, zeroes, PAGE))
			pages[page_count++].offset_bytes = at;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const struct vhdx_make make = { .size_bytes = 20 * MIB, .block_bytes = 1 << 20 };
	static uint8_t data[PAGE];
	struct block_device *device;
	int made, memory = memfd_create("vhdx", MFD_CLOEXEC);

	FUZZ_CHECK(memory >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memory);
	made = make_vhdx(path, &make);
	file = memory;
	FUZZ_CHECK(!block_open(path, NULL, &device, NULL));
	for (uint64_t i = 0; i < 3; i++) {
		memset(data, (int)(i + 1), sizeof(data));
		FUZZ_CHECK(!block_io(device, &loop, BLOCK_WRITE, BLOCK_WRITE_FUA, i * 7 * MIB, data, PAGE));
	}
	keep_pages();
	FUZZ_CHECK(!block_close(device));
	close(made);
	return 0;
}

static void restore(void)
{
	FUZZ_CHECK(!ftruncate(file, 0) && !ftruncate(file, (off_t)file_bytes));
	for (uint32_t i = 0; i < page_count; i++)
		make_put(file, pages[i].bytes, PAGE, pages[i].offset_bytes);
}

static void forge(struct input *input)
{
	const struct place *place = &places[input_u8(input) % (sizeof(places) / sizeof(places[0]))];
	uint32_t at = input_u16(input) % place->bytes;
	uint8_t how = input_u8(input), bytes[16];
	uint32_t count = 1 + how % sizeof(bytes);
	struct stat status;

	input_copy(input, bytes, count);
	make_put(file, bytes, count, place->offset_bytes + at);
	FUZZ_CHECK(!fstat(file, &status));
	if ((how & 0x80) && place->sum_bytes &&
	    (uint64_t)status.st_size >= place->offset_bytes + place->sum_bytes)
		make_checksum(file, place->offset_bytes, place->sum_bytes);
}

/* What is sound in one place is a conflict in another. */
static void copy_word(struct input *input)
{
	static const uint64_t bases[] = { MAKE_BAT_OFFSET, MAKE_BAT_OFFSET, MAKE_METADATA_OFFSET,
					  VHDX_REGION_TABLE1_OFFSET };
	uint64_t base = bases[input_u8(input) % 4], value = 0;

	(void)!pread(file, &value, 8, (off_t)(base + input_u8(input) % 32 * 8));
	make_put(file, &value, 8, base + input_u8(input) % 32 * 8);
}

/* ---- the disk ---- */

/* What was written and not touched since. */
static struct written {
	uint64_t offset_bytes;
	uint8_t byte;
} written[WRITTEN_MAX];
static uint32_t written_count;

static void forget(uint64_t offset_bytes, uint64_t bytes)
{
	for (uint32_t i = 0; i < written_count;) {
		if (written[i].offset_bytes >= offset_bytes && written[i].offset_bytes < offset_bytes + bytes)
			written[i] = written[--written_count];
		else
			i++;
	}
}

static void check(struct block_device *device)
{
	static uint8_t data[4096];
	uint32_t bytes = device->geometry.logical_sector_bytes;

	for (uint32_t i = 0; i < written_count; i++) {
		FUZZ_CHECK(!block_io(device, &loop, BLOCK_READ, 0, written[i].offset_bytes, data, bytes));
		for (uint32_t k = 0; k < bytes; k++)
			FUZZ_CHECK(data[k] == written[i].byte);
	}
}

static void use(struct block_device *device, struct input *input)
{
	static uint8_t data[16 * 4096];
	const struct block_geometry *geometry = &device->geometry;
	uint64_t sector_bytes = geometry->logical_sector_bytes;
	uint8_t what = input_u8(input);
	uint16_t where = input_u16(input);
	uint64_t at = where % 24 * MIB + where / 24 % 4 * sector_bytes;
	uint8_t byte = (uint8_t)(where ^ what ^ where >> 8);
	enum block_op op = what % 5;
	uint64_t bytes = op == BLOCK_WRITE ? sector_bytes : 16 * sector_bytes;
	int result;

	if (what & 0x40) /* anywhere, from the end */
		at = geometry->size_bytes - (UINT64_C(1) + (uint64_t)where * where * where %
					     (geometry->size_bytes / sector_bytes)) * sector_bytes;
	at %= geometry->size_bytes;
	if (bytes > geometry->size_bytes - at)
		bytes = sector_bytes;
	memset(data, byte, sector_bytes);
	result = block_io(device, &loop, op, (what & 0x80) ? BLOCK_WRITE_FUA : 0, at,
			  op == BLOCK_READ || op == BLOCK_WRITE ? data : NULL, bytes);
	if (op == BLOCK_READ || op == BLOCK_FLUSH || geometry->read_only)
		return;
	forget(at, bytes);
	if (op == BLOCK_WRITE && !result && written_count < WRITTEN_MAX)
		written[written_count++] = (struct written){ at, byte };
}

static void session(struct input *input, bool read_only)
{
	struct block_open_options options = { .format = "vhdx", .read_only = read_only };
	char error[BLOCK_ERROR_BYTES] = "";
	struct block_device *device;
	uint32_t steps = input_u8(input) % 8;
	int result = block_open(path, &options, &device, error);

	if (result) {
		FUZZ_CHECK(result != -LIS_BUSY && strlen(error) > strlen(path));
		/* What we left behind must open again. */
		FUZZ_CHECK(!written_count);
		return;
	}
	FUZZ_CHECK(device->geometry.size_bytes && device->geometry.size_bytes <= VHDX_DISK_BYTES_MAX);
	check(device);
	while (steps--)
		use(device, input);
	check(device);
	if (block_close(device))
		written_count = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };

	restore();
	written_count = 0;
	for (int step = 0; step < STEPS_MAX && input.bytes; step++) {
		uint8_t what = input_u8(&input);

		if (what % 4 >= 2) {
			session(&input, what % 4 == 2);
			continue;
		}
		/* Forging a file somebody's data is in may lose it. */
		written_count = 0;
		if (what % 8 == 1)
			copy_word(&input);
		else if (what % 8 == 5)
			FUZZ_CHECK(!ftruncate(file, (off_t)(input_u32(&input) % (16 * MIB))));
		else
			forge(&input);
	}
	return 0;
}
