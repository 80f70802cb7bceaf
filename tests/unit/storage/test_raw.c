// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Raw images: what is written is read, whatever the buffers, the file's end and the file system. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/images/image.h"
#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/image_model.h"

static char path[] = "/tmp/lis-raw.XXXXXX";
static char error[BLOCK_ERROR_BYTES];
static struct io_loop *loop;

static int set_up(void **state)
{
	return io_loop_create(NULL, &loop);
}

static int tear_down(void **state)
{
	io_loop_destroy(loop);
	return 0;
}

static struct block_device *open_raw(uint64_t size_bytes, const struct block_open_options *options)
{
	struct block_device *device;

	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(truncate(path, (off_t)size_bytes), 0);
	assert_int_equal(block_open(path, options, &device, error), 0);
	return device;
}

static void random_requests_from_three_loops_match_a_model(void **state)
{
	struct model model = { .threads = 3, .requests = 400, .seed = 1, .flushes = true, .clears = true };

	model.device = open_raw(32 << 20, NULL);
	model.bytes = calloc(1, 32 << 20);
	assert_int_equal(model_run(&model), 0);
	assert_int_equal(model_compare(&model, model.device, loop), 0);
	assert_int_equal(block_close(model.device), 0);
	free(model.bytes);
}

static void direct_requests_match_a_model(void **state)
{
	struct block_open_options direct = { .direct = true };
	struct model model = { .threads = 2, .requests = 200, .seed = 2, .flushes = true, .clears = true };

	/* Most buffers are misaligned and bounced; where O_DIRECT is unknown the page cache serves. */
	model.device = open_raw(32 << 20, &direct);
	model.bytes = calloc(1, 32 << 20);
	assert_int_equal(model_run(&model), 0);
	assert_int_equal(model_compare(&model, model.device, loop), 0);
	assert_int_equal(block_close(model.device), 0);
	free(model.bytes);
}

static void vectors_longer_than_the_kernel_takes_are_split(void **state)
{
	static struct iovec iov[4 * IOV_MAX];
	static uint8_t data[4 * IOV_MAX * 16], back[sizeof(data)];
	struct block_device *device = open_raw(1 << 20, NULL);
	struct block_io io = { .request = { .op = BLOCK_WRITE, .offset_bytes = 512, .iov = iov,
					    .length_bytes = sizeof(data), .iov_count = 4 * IOV_MAX,
					    .done = block_io_done } };

	for (int i = 0; i < 4 * IOV_MAX; i++)
		iov[i] = (struct iovec){ data + 16 * i, 16 };
	block_pattern(data, sizeof(data), 0, 3);
	block_submit(device, loop, &io.request);
	assert_int_equal(block_io_wait(&io, loop), 0);
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 512, back, sizeof(back)), 0);
	assert_memory_equal(data, back, sizeof(back));
	memset(data, 0, sizeof(data));
	io.request.op = BLOCK_READ;
	io.ends = 0;
	block_submit(device, loop, &io.request);
	assert_int_equal(block_io_wait(&io, loop), 0);
	assert_memory_equal(data, back, sizeof(back));
	assert_int_equal(io.ends, 1);
	assert_int_equal(block_close(device), 0);
}

/* Does the file system tell what it has in its cache? */
static bool cache_can_be_asked(void)
{
	uint8_t data[512];
	struct iovec iov = { data, sizeof(data) };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool can = preadv2(fd, &iov, 1, 0, RWF_NOWAIT) == sizeof(data);

	close(fd);
	return can;
}

static void what_the_page_cache_has_is_read_at_once(void **state)
{
	static uint8_t data[8192], back[sizeof(data)];
	struct block_device *device = open_raw(1 << 20, NULL);
	struct iovec iov[2] = { { back, 512 }, { back + 512, sizeof(back) - 512 } };
	struct block_io io = { .request = { .op = BLOCK_READ, .offset_bytes = 4096, .iov = iov, .iov_count = 2,
					    .length_bytes = sizeof(back), .done = block_io_done } };

	block_pattern(data, sizeof(data), 0, 5);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, 4096, data, sizeof(data)), 0);
	if (!cache_can_be_asked()) {
		assert_int_equal(block_close(device), 0);
		skip();
	}
	block_submit(device, loop, &io.request);
	assert_int_equal(io.ends, 1);
	assert_int_equal(block_io_wait(&io, loop), 0);
	assert_memory_equal(back, data, sizeof(data));
	/* Two sectors are there, the rest is behind the end of the file by now. */
	assert_int_equal(truncate(path, 5120), 0);
	io.ends = 0;
	block_submit(device, loop, &io.request);
	assert_int_equal(block_io_wait(&io, loop), -LIS_IO);
	assert_int_equal(io.ends, 1);
	assert_int_equal(block_close(device), 0);
}

static void a_file_that_ends_inside_a_sector_has_that_sector(void **state)
{
	struct block_open_options read_only = { .read_only = true };
	struct block_device *device;
	uint8_t data[2048];
	struct stat status;
	int fd = open(path, O_RDWR | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	memset(data, 0x77, sizeof(data));
	assert_int_equal(pwrite(fd, data, 1300, 0), 1300);
	assert_int_equal(block_open(path, &read_only, &device, error), 0);
	assert_int_equal(device->geometry.size_bytes, 1536);
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 512, data, 1024), 0);
	for (int i = 0; i < 1024; i++)
		assert_int_equal(data[i], i < 1300 - 512 ? 0x77 : 0);
	assert_int_equal(block_close(device), 0);
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_size, 1300); /* only looked at */

	assert_int_equal(block_open(path, NULL, &device, error), 0);
	memset(data, 0x55, sizeof(data));
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, BLOCK_WRITE_FUA, 1024, data, 512), 0);
	assert_int_equal(block_close(device), 0);
	assert_int_equal(fstat(fd, &status), 0);
	assert_int_equal(status.st_size, 1536);
	close(fd);
}

static void a_file_cut_off_under_us_is_an_error_not_zeroes(void **state)
{
	struct block_device *device = open_raw(1 << 20, NULL);
	uint8_t data[4096];

	assert_int_equal(truncate(path, 4096), 0);
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 0, data, 4096), 0);
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 8192, data, 4096), -LIS_IO);
	assert_int_equal(block_close(device), 0);
}

static void a_discard_gives_room_back_and_reads_as_zero(void **state)
{
	static uint8_t data[1 << 20];
	struct block_device *device = open_raw(4 << 20, NULL);
	struct stat before, after;

	memset(data, 0x11, sizeof(data));
	for (int i = 0; i < 4; i++)
		assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, (uint64_t)i << 20, data, 1 << 20), 0);
	assert_int_equal(block_io(device, loop, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(block_io(device, loop, BLOCK_DISCARD, 0, 1 << 20, NULL, 2 << 20), 0);
	assert_int_equal(stat(path, &after), 0);
	if (device->geometry.discard_granularity_bytes) {
		assert_true(after.st_blocks < before.st_blocks);
		assert_true(device->geometry.discard_zeroes);
		assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 1 << 20, data, 1 << 20), 0);
		for (size_t i = 0; i < sizeof(data); i++)
			assert_int_equal(data[i], 0);
	}
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 3 << 20, data, 512), 0);
	assert_int_equal(data[0], 0x11);
	assert_int_equal(block_close(device), 0);
}

static void zeroes_are_written_where_nothing_can_be_punched(void **state)
{
	static uint8_t data[3 << 20], back[3 << 20];
	struct block_device *device = open_raw(4 << 20, NULL);

	((struct image *)device)->clear_mode = 0;
	memset(data, 0x22, sizeof(data));
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, 0, data, sizeof(data)), 0);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE_ZEROES, BLOCK_WRITE_FUA, 512, NULL,
				  (2 << 20) + 70000 / 512 * 512), 0);
	memset(data + 512, 0, (2 << 20) + 70000 / 512 * 512);
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 0, back, sizeof(back)), 0);
	assert_memory_equal(data, back, sizeof(back));
	assert_int_equal(block_close(device), 0);
}

static void a_closed_disk_can_be_opened_again_at_once(void **state)
{
	struct block_device *device = open_raw(1 << 20, NULL);
	int late = dup(((struct image *)device)->fd);

	/* As io_uring's workers, which may let go of the file only some time after a request has ended. */
	assert_true(late >= 0);
	assert_int_equal(block_close(device), 0);
	if (block_open(path, NULL, &device, error))
		fail_msg("%s", error);
	assert_int_equal(block_close(device), 0);
	close(late);
}

static void a_disk_keeps_its_identity_and_differs_from_others(void **state)
{
	struct block_device *device = open_raw(1 << 20, NULL);
	struct guid first = device->geometry.unique_id, other;
	char link_path[64];

	assert_int_equal(block_close(device), 0);
	device = open_raw(2 << 20, NULL);
	assert_int_equal(guid_compare(&first, &device->geometry.unique_id), 0);
	assert_int_equal(block_close(device), 0);
	snprintf(link_path, sizeof(link_path), "%s.other", path);
	assert_int_equal(link(path, link_path), 0);
	assert_int_equal(block_open(link_path, NULL, &device, error), 0);
	other = device->geometry.unique_id;
	assert_int_equal(block_close(device), 0);
	assert_int_equal(unlink(link_path), 0);
	assert_int_not_equal(guid_compare(&first, &other), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_requests_from_three_loops_match_a_model),
		cmocka_unit_test(direct_requests_match_a_model),
		cmocka_unit_test(vectors_longer_than_the_kernel_takes_are_split),
		cmocka_unit_test(what_the_page_cache_has_is_read_at_once),
		cmocka_unit_test(a_file_that_ends_inside_a_sector_has_that_sector),
		cmocka_unit_test(a_file_cut_off_under_us_is_an_error_not_zeroes),
		cmocka_unit_test(a_discard_gives_room_back_and_reads_as_zero),
		cmocka_unit_test(zeroes_are_written_where_nothing_can_be_punched),
		cmocka_unit_test(a_closed_disk_can_be_opened_again_at_once),
		cmocka_unit_test(a_disk_keeps_its_identity_and_differs_from_others),
	};
	int fd = mkstemp(path), failed;

	if (fd < 0)
		return 1;
	close(fd);
	failed = cmocka_run_group_tests(tests, set_up, tear_down);
	unlink(path);
	return failed;
}
