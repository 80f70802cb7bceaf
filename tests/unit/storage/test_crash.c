// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Power cuts at any instant, for VHDX and VHD. An event loop of our own stands in for io/loop.c: it does one operation
 * at a time, in random order, and remembers what no flush has made durable yet. A power cut keeps what
 * was durable and of the rest any part, sector by sector, in any combination. The file that is left
 * must open and hold, in each sector, what was last flushed or something that was written later.
 *
 * What the formats do by system calls of their own is seen by functions of the same names here.
 *
 * The loop does what it does at once and on one thread, so a run depends on its seed only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "io/log.h"
#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/vhdx_make.h"

#define MIB (UINT64_C(1) << 20)
#define SECTOR 512u

/* Places on the disk that are written: far apart, so that many sectors of the BAT have a part in it. */
#define SPOTS 160u
#define SPOT_SECTORS 24u
#define SPOT_STRIDE (57 * MIB + 256 * 1024)
#define DISK_BYTES (SPOTS * SPOT_STRIDE + MIB)
#define IN_FLIGHT 6

/* ---- the loop ---- */

struct io_loop {
	struct io_uring_sqe pending[64];
	uint32_t count;
};

static uint64_t random_state;

static uint64_t pick(uint64_t below)
{
	return block_random(&random_state) % below;
}

/* What was written and is not durable, by sectors. */
struct unsafe_sector {
	uint64_t offset_bytes;
	uint8_t data[SECTOR];
};

static struct {
	int live, durable; /* files */
	bool on;
	uint64_t durable_bytes; /* length */
	struct unsafe_sector *list;
	uint32_t count, room;
} disk;

static void remember(const uint8_t *data, uint64_t bytes, uint64_t at)
{
	for (; disk.on && bytes; bytes -= SECTOR, at += SECTOR) {
		struct unsafe_sector *sector;

		if (disk.count == disk.room) {
			disk.room = disk.room ? 2 * disk.room : 1024;
			disk.list = realloc(disk.list, disk.room * sizeof(*disk.list));
			assert_non_null(disk.list);
		}
		sector = &disk.list[disk.count++];
		sector->offset_bytes = at;
		memset(sector->data, 0, SECTOR);
		if (data) {
			memcpy(sector->data, data, SECTOR);
			data += SECTOR;
		}
	}
}

static uint64_t length_of(int fd)
{
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	return (uint64_t)status.st_size;
}

static void all_durable(void)
{
	if (!disk.on)
		return;
	disk.durable_bytes = length_of(disk.live);
	assert_int_equal(ftruncate(disk.durable, (off_t)disk.durable_bytes), 0);
	for (uint32_t i = 0; i < disk.count; i++)
		make_put(disk.durable, disk.list[i].data, SECTOR, disk.list[i].offset_bytes);
	disk.count = 0;
}

/* What was written last, and nothing else. */
static void one_durable(uint64_t bytes, uint64_t at)
{
	uint32_t kept = 0, first = disk.count - (uint32_t)(bytes / SECTOR);

	if (!disk.on)
		return;
	if (disk.durable_bytes < at + bytes)
		disk.durable_bytes = at + bytes;
	for (uint32_t i = 0; i < disk.count; i++) {
		if (i >= first)
			make_put(disk.durable, disk.list[i].data, SECTOR, disk.list[i].offset_bytes);
		else if (disk.list[i].offset_bytes < at || disk.list[i].offset_bytes >= at + bytes)
			disk.list[kept++] = disk.list[i];
	}
	disk.count = kept;
}

/* ---- the formats' own system calls ---- */

static bool is_ours(int fd)
{
	return !disk.on || fd == disk.durable || fd == disk.live;
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t at)
{
	ssize_t done = syscall(SYS_pwrite64, fd, data, bytes, at);

	if (!is_ours(fd) && done > 0)
		remember(data, (uint64_t)done, (uint64_t)at);
	return done;
}

int fallocate(int fd, int mode, off_t at, off_t bytes)
{
	int result = (int)syscall(SYS_fallocate, fd, mode, at, bytes);

	if (!is_ours(fd) && !result && at % SECTOR == 0 && bytes % SECTOR == 0)
		remember(NULL, (uint64_t)bytes, (uint64_t)at);
	return result;
}

int fdatasync(int fd)
{
	int result = (int)syscall(SYS_fdatasync, fd);

	if (!is_ours(fd))
		all_durable();
	return result;
}

/* ---- what the loop does ---- */

static int32_t do_rw(const struct io_uring_sqe *sqe, const struct iovec *iov, uint32_t count, bool write)
{
	uint64_t at = sqe->off;
	int32_t sum = 0;

	for (uint32_t i = 0; i < count; i++) {
		ssize_t done;

		if (write) {
			done = pwrite(sqe->fd, iov[i].iov_base, iov[i].iov_len, (off_t)at);
		} else {
			done = pread(sqe->fd, iov[i].iov_base, iov[i].iov_len, (off_t)at);
		}
		assert_true(done >= 0);
		at += (uint64_t)done;
		sum += (int32_t)done;
		if ((size_t)done < iov[i].iov_len)
			break;
	}
	if (write && sqe->rw_flags)
		one_durable((uint64_t)sum, sqe->off);
	return sum;
}

static int32_t perform(const struct io_uring_sqe *sqe)
{
	struct iovec one = { (void *)(uintptr_t)sqe->addr, sqe->len };

	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_WRITE:
		return do_rw(sqe, &one, 1, sqe->opcode == IORING_OP_WRITE);
	case IORING_OP_READV:
	case IORING_OP_WRITEV:
		return do_rw(sqe, one.iov_base, sqe->len, sqe->opcode == IORING_OP_WRITEV);
	case IORING_OP_FSYNC:
		all_durable();
		return 0;
	case IORING_OP_FALLOCATE:
		if (fallocate(sqe->fd, (int)sqe->len, (off_t)sqe->off, (off_t)sqe->addr) < 0)
			return -errno;
		return 0;
	default:
		fail();
		return -EINVAL;
	}
}

struct io_uring_sqe *io_loop_sqe(struct io_loop *loop, struct io_op *op)
{
	struct io_uring_sqe *sqe = &loop->pending[loop->count++];

	assert_true(loop->count <= sizeof(loop->pending) / sizeof(loop->pending[0]));
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
	uint64_t index;

	if (!loop->count)
		return false;
	index = pick(loop->count);
	sqe = loop->pending[index];
	loop->pending[index] = loop->pending[--loop->count];
	op = (struct io_op *)(uintptr_t)sqe.user_data;
	op->done(op, perform(&sqe));
	return true;
}

/* ---- what each sector may hold ---- */

/* Operations are numbered; a sector holds the number of the one that wrote it, or is zero. */
struct promise {
	uint64_t issued;  /* newest operation on it */
	uint64_t done;    /* newest completed one */
	uint64_t flushed; /* this one, or a newer one, must be found */
	uint64_t zeroed;  /* newest operation that made it zero */
};

static struct promise promises[SPOTS * SPOT_SECTORS];
static uint64_t operation;

struct op {
	struct block_request request; /* first */
	struct iovec iov;
	bool active;
	uint64_t number;
	uint32_t first, count; /* sectors, as in promises */
	uint64_t *snapshot;    /* FLUSH: what was done when it began */
	uint8_t data[SPOT_SECTORS * SECTOR];
};

static struct op ops[IN_FLIGHT];
static char live_path[64], durable_path[64], cut_path[64];
static char error[BLOCK_ERROR_BYTES];
static bool vhd; /* not VHDX */

static void fill(uint8_t *sector, uint64_t number, uint64_t index)
{
	for (uint32_t i = 0; i < SECTOR / 16; i++) {
		memcpy(sector + 16 * i, &number, 8);
		memcpy(sector + 16 * i + 8, &index, 8);
	}
}

static void check_sector(const uint8_t *sector, uint64_t index)
{
	const struct promise *promise = &promises[index];
	uint8_t expected[SECTOR];
	uint64_t number;

	memcpy(&number, sector, 8);
	if (number)
		fill(expected, number, index);
	else
		memset(expected, 0, SECTOR);
	if (memcmp(sector, expected, SECTOR))
		fail_msg("sector %u holds what was never written there", (unsigned)index);
	if (number > promise->issued)
		fail_msg("sector %u comes from the future", (unsigned)index);
	if (number ? number < promise->flushed : promise->flushed && promise->zeroed < promise->flushed)
		fail_msg("sector %u lost what was flushed: %u instead of %u", (unsigned)index,
			 (unsigned)number, (unsigned)promise->flushed);
}

static uint64_t disk_offset(uint32_t index)
{
	return index / SPOT_SECTORS * SPOT_STRIDE + index % SPOT_SECTORS * SECTOR;
}

static void check_disk(struct block_device *device)
{
	static uint8_t data[SPOT_SECTORS * SECTOR];
	struct io_loop loop = { .count = 0 };

	for (uint32_t spot = 0; spot < SPOTS; spot++) {
		assert_int_equal(block_io(device, &loop, BLOCK_READ, 0, spot * SPOT_STRIDE, data,
					  sizeof(data)), 0);
		for (uint32_t i = 0; i < SPOT_SECTORS; i++)
			check_sector(data + i * SECTOR, spot * SPOT_SECTORS + i);
	}
}

/* ---- power cuts ---- */

static void copy_data(int from, int to)
{
	static uint8_t data[1 << 16];
	off_t at = 0;

	while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(from, at, SEEK_HOLE);

		while (at < end) {
			size_t bytes = end - at < (off_t)sizeof(data) ? (size_t)(end - at) : sizeof(data);

			make_get(from, data, bytes, (uint64_t)at);
			make_put(to, data, bytes, (uint64_t)at);
			at += (off_t)bytes;
		}
	}
}

static void open_and_check(bool read_only)
{
	struct block_open_options options = { .read_only = read_only };
	struct block_device *device;

	if (block_open(cut_path, &options, &device, error))
		fail_msg("%s", error);
	check_disk(device);
	assert_int_equal(block_close(device), 0);
}

static void cut_power(void)
{
	int cut = open(cut_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint64_t keep = pick(5); /* of four; at the ends nothing and everything */
	bool longer = pick(2);
	bool short_again = !longer && pick(2); /* what was written behind the old end is lost with it */

	assert_true(cut >= 0);
	disk.on = false;
	copy_data(disk.durable, cut);
	assert_int_equal(ftruncate(cut, (off_t)(longer ? length_of(disk.live) : disk.durable_bytes)), 0);
	for (uint32_t i = 0; i < disk.count; i++) {
		/* Sectors of one page mostly share their fate. */
		bool kept = pick(8) ? (disk.list[i].offset_bytes / 4096 * 2654435761u >> 7) % 4 < keep :
				      pick(4) < keep;

		if (short_again && disk.list[i].offset_bytes >= disk.durable_bytes)
			kept = false;
		if (kept)
			make_put(cut, disk.list[i].data, SECTOR, disk.list[i].offset_bytes);
	}
	close(cut);
	if (pick(2))
		open_and_check(true);
	open_and_check(false);
	open_and_check(true);
	disk.on = true;
}

/* ---- work ---- */

static void op_done(struct block_request *request, int result)
{
	struct op *op = (struct op *)request;

	assert_int_equal(result, 0);
	assert_true(op->active);
	op->active = false;
	if (request->op == BLOCK_FLUSH) {
		for (uint32_t i = 0; i < SPOTS * SPOT_SECTORS; i++)
			if (promises[i].flushed < op->snapshot[i])
				promises[i].flushed = op->snapshot[i];
		free(op->snapshot);
		return;
	}
	for (uint32_t i = op->first; i < op->first + op->count; i++) {
		promises[i].done = op->number;
		if (request->flags & BLOCK_WRITE_FUA)
			promises[i].flushed = op->number;
	}
}

static bool overlaps(uint32_t first, uint32_t count)
{
	for (int i = 0; i < IN_FLIGHT; i++)
		if (ops[i].active && ops[i].count && first < ops[i].first + ops[i].count &&
		    ops[i].first < first + count)
			return true;
	return false;
}

static void start_flush(struct op *op)
{
	op->request.op = BLOCK_FLUSH;
	op->count = 0;
	op->snapshot = malloc(SPOTS * SPOT_SECTORS * sizeof(uint64_t));
	assert_non_null(op->snapshot);
	for (uint32_t i = 0; i < SPOTS * SPOT_SECTORS; i++)
		op->snapshot[i] = promises[i].done;
}

static bool start_change(struct op *op, uint64_t kind)
{
	uint32_t spot = (uint32_t)pick(SPOTS), from = (uint32_t)pick(SPOT_SECTORS);

	op->first = spot * SPOT_SECTORS + from;
	op->count = 1 + (uint32_t)pick(SPOT_SECTORS - from);
	if (overlaps(op->first, op->count))
		return false;
	op->number = ++operation;
	op->request.op = kind < 80 ? BLOCK_WRITE : kind < 90 ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD;
	op->request.flags = kind % 8 == 0 && kind < 90 ? BLOCK_WRITE_FUA : 0;
	op->request.offset_bytes = disk_offset(op->first);
	op->request.length_bytes = op->count * SECTOR;
	op->iov = (struct iovec){ op->data, op->count * SECTOR };
	op->request.iov = &op->iov;
	op->request.iov_count = 1;
	for (uint32_t i = 0; i < op->count; i++) {
		fill(op->data + i * SECTOR, op->number, op->first + i);
		promises[op->first + i].issued = op->number;
		if (op->request.op != BLOCK_WRITE)
			promises[op->first + i].zeroed = op->number;
	}
	return true;
}

static void start_one(struct block_device *device, struct io_loop *loops)
{
	struct op *op = &ops[pick(IN_FLIGHT)];
	uint64_t kind = pick(100);

	if (op->active)
		return;
	memset(&op->request, 0, sizeof(op->request));
	op->request.done = op_done;
	if (kind >= 93)
		start_flush(op);
	else if (!start_change(op, kind))
		return;
	op->active = true;
	block_submit(device, &loops[pick(2)], &op->request);
}

static int make_vhd(void)
{
	const struct block_create_options options = { .format = "vhd", .size_bytes = DISK_BYTES };
	int fd;

	unlink(live_path);
	if (block_create(live_path, &options, error))
		fail_msg("%s", error);
	fd = open(live_path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static void run(uint64_t seed, uint32_t steps, uint32_t cut_each)
{
	struct vhdx_make make = { .size_bytes = DISK_BYTES, .block_bytes = 1 << 20 };
	struct io_loop loops[2] = { { .count = 0 } };
	struct block_device *device;
	uint32_t left = 1;

	random_state = seed;
	memset(promises, 0, sizeof(promises));
	memset(ops, 0, sizeof(ops));
	operation = 0;
	disk.live = vhd ? make_vhd() : make_vhdx(live_path, &make);
	disk.durable = open(durable_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(disk.durable >= 0);
	copy_data(disk.live, disk.durable);
	disk.count = 0;
	assert_int_equal(block_open(live_path, NULL, &device, error), 0);
	disk.on = true;
	all_durable();
	for (uint32_t step = 0; step < steps; step++) {
		if (pick(3) == 0)
			start_one(device, loops);
		else
			io_loop_turn(&loops[pick(2)], false);
		if (pick(cut_each) == 0)
			cut_power();
	}
	while (left)
		left = io_loop_turn(&loops[0], false) + io_loop_turn(&loops[1], false);
	disk.on = false;
	for (int i = 0; i < IN_FLIGHT; i++)
		assert_false(ops[i].active);
	assert_int_equal(block_close(device), 0);
	for (uint32_t i = 0; i < SPOTS * SPOT_SECTORS; i++)
		promises[i].flushed = promises[i].done;
	close(disk.live);
	close(disk.durable);
	assert_int_equal(rename(live_path, cut_path), 0);
	open_and_check(true);
}

static int use_vhd(void **state)
{
	vhd = true;
	return 0;
}

static void what_was_flushed_survives_a_power_cut_at_any_instant(void **state)
{
	for (uint64_t seed = 1; seed <= 12; seed++)
		run(seed, 2500, 40);
}

static void cuts_in_quick_succession_at_the_start_are_survived(void **state)
{
	for (uint64_t seed = 101; seed <= 140; seed++)
		run(seed, 60, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_flushed_survives_a_power_cut_at_any_instant),
		cmocka_unit_test(cuts_in_quick_succession_at_the_start_are_survived),
		{ "vhd: what_was_flushed_survives_a_power_cut_at_any_instant",
		  what_was_flushed_survives_a_power_cut_at_any_instant, use_vhd, NULL, NULL },
		{ "vhd: cuts_in_quick_succession_at_the_start_are_survived",
		  cuts_in_quick_succession_at_the_start_are_survived, use_vhd, NULL, NULL },
	};
	const char *folder = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	int failed;

	log_init(OS_LOG_ERROR, NULL, false);
	snprintf(live_path, sizeof(live_path), "%s/lis-crash.%d.live", folder, (int)getpid());
	snprintf(durable_path, sizeof(durable_path), "%s/lis-crash.%d.durable", folder, (int)getpid());
	snprintf(cut_path, sizeof(cut_path), "%s/lis-crash.%d.cut", folder, (int)getpid());
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(live_path);
	unlink(durable_path);
	unlink(cut_path);
	free(disk.list);
	return failed;
}
