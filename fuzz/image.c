// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * What fuzzers of image formats share: see image.h. The loop does each operation when it is its turn.
 */
#include "fuzz/image.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/storage/block_io.h"

#define MEMORY_MAX (64 * FUZZ_MIB)
#define FILE_MAX (4096 * FUZZ_MIB)
#define LENGTH_MAX 65536u
#define SPANS_MAX 16u
#define FINDINGS_MAX 64u

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

/* ---- files ---- */

char fuzz_image_path[32];
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

int fuzz_image_file(const char *name, char path[32])
{
	int fd = memfd_create(name, 0);

	if (fd < 0)
		abort();
	snprintf(path, 32, "/proc/self/fd/%d", fd);
	return fd;
}

void fuzz_image_start(void)
{
	struct rlimit limit = { FILE_MAX, FILE_MAX };

	fuzz_image_file("image", fuzz_image_path);
	setrlimit(RLIMIT_FSIZE, &limit);
	__sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
}

static struct block_device *open_image(fuzz_image_open *open_format, int fd, bool read_only,
				       const struct block_check *check)
{
	static char error[BLOCK_ERROR_BYTES];
	struct image_file file = { .path = fuzz_image_path, .fd = fd, .read_only = read_only,
				   .can_punch = true, .check = check };
	struct block_device *device = NULL;
	int result;

	if (fstat(fd, &file.stat))
		abort();
	file.size_bytes = (uint64_t)file.stat.st_size;
	error[0] = 0;
	base_bytes = __sanitizer_get_current_allocated_bytes();
	counting = true;
	result = open_format(&file, &device, error);
	counting = false;
	FUZZ_CHECK(!result == !!device);
	FUZZ_CHECK(!result || (!strncmp(error, fuzz_image_path, strlen(fuzz_image_path)) &&
			 error[strlen(fuzz_image_path)] == ':'));
	FUZZ_CHECK(!result || result == -LIS_FORMAT || result == -LIS_UNSUPPORTED ||
		   result == -LIS_IO || result == -LIS_NOSPACE || result == -LIS_NOMEM ||
		   result == -LIS_NOTFOUND || result == -LIS_BUSY || result == -LIS_DENIED);
	return device;
}

static bool count_finding(void *context, const char *path, const char *reason)
{
	FUZZ_CHECK(*path && *reason);
	return ++*(uint64_t *)context < FINDINGS_MAX;
}

/* Is there damage that a check tells and goes on after? */
static bool is_damaged(fuzz_image_open *open_format)
{
	uint64_t findings = 0;
	const struct block_check check = { .found = count_finding, .context = &findings };
	int fd = open(fuzz_image_path, O_RDWR | O_CLOEXEC);
	struct block_device *device = open_image(open_format, fd, true, &check);
	struct block_details details;

	if (!device) {
		close(fd);
		return findings;
	}
	block_describe(device, &details);
	FUZZ_CHECK(!block_close(device));
	return findings;
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
	uint64_t offset = input_u8(input) * (FUZZ_MIB / 4), bytes;
	enum block_op op = what % 5;
	int result;

	if (geometry->size_bytes > 64 * FUZZ_MIB && what & 0x80)
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

void fuzz_image_use(struct input *input, int fd, fuzz_image_open *open_format, bool read_only,
		    bool read_only_again)
{
	struct io_loop loop = { .count = 0 };
	struct block_device *device;
	bool damaged;

	signal(SIGXFSZ, SIG_IGN); /* the fuzzer's own handler was set after our start */
	damaged = is_damaged(open_format);
	device = open_image(open_format, fd, read_only, NULL);
	FUZZ_CHECK(!device || !damaged);
	if (!device) {
		close(fd);
		return;
	}
	use_image(input, device);
	FUZZ_CHECK(!block_close(device));
	device = open_image(open_format, open(fuzz_image_path, O_RDWR | O_CLOEXEC), read_only_again, NULL);
	FUZZ_CHECK(device);
	check_spans(device, &loop);
	FUZZ_CHECK(!block_close(device));
}
