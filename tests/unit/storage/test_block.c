// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Opening images: formats, errors, locks. Requests: what is checked, what is bounced. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/vhdx_make.h"

static char folder[] = "/tmp/lis-block.XXXXXX";
static char path[128];
static char error[BLOCK_ERROR_BYTES];

static const char *in_folder(const char *name)
{
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static const char *file_with(const char *name, const void *data, size_t bytes, uint64_t size_bytes)
{
	int fd = open(in_folder(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size_bytes), 0);
	if (bytes)
		make_put(fd, data, bytes, 0);
	close(fd);
	return path;
}

static int try_open(const char *name, const char *format, bool read_only)
{
	struct block_open_options options = { .format = format, .read_only = read_only };
	struct block_device *device;
	int result;

	error[0] = 0;
	result = block_open(name, &options, &device, error);
	if (!result)
		assert_int_equal(block_close(device), 0);
	else
		assert_non_null(strstr(error, name)); /* names the file */
	return result;
}

/* ---- opening ---- */

static void what_is_no_image_is_refused_with_a_reason(void **state)
{
	char fifo[128];

	assert_int_equal(try_open("/nonexistent/disk", NULL, false), -LIS_NOTFOUND);
	assert_int_equal(try_open(folder, NULL, true), -LIS_FORMAT);
	assert_non_null(strstr(error, "directory"));
	assert_int_equal(try_open("/dev/null", NULL, true), -LIS_FORMAT);
	assert_int_equal(try_open(file_with("empty", "", 0, 0), NULL, false), -LIS_FORMAT);
	assert_non_null(strstr(error, "empty"));
	snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(try_open(fifo, NULL, true), -LIS_FORMAT); /* does not wait for a writer */
}

static void formats_are_told_by_their_contents(void **state)
{
	struct vhdx_make make = { .size_bytes = 8 << 20, .block_bytes = 1 << 20 };
	struct block_device *device;

	close(make_vhdx(in_folder("a.raw"), &make)); /* the name says nothing */
	assert_int_equal(block_open(path, NULL, &device, error), 0);
	assert_string_equal(device->driver->name, "vhdx");
	assert_int_equal(device->geometry.size_bytes, 8 << 20);
	assert_int_equal(block_close(device), 0);
	assert_int_equal(try_open(path, "raw", false), 0);

	assert_int_equal(block_open(file_with("b", "anything", 8, 1 << 20), NULL, &device, error), 0);
	assert_string_equal(device->driver->name, "raw");
	assert_int_equal(block_close(device), 0);
	assert_int_equal(try_open(path, "vhdx", false), -LIS_FORMAT);
	assert_int_equal(try_open(path, "qcow2", false), -LIS_UNSUPPORTED);
}

static void formats_we_lack_are_not_taken_for_raw(void **state)
{
	assert_int_equal(try_open(file_with("q", "QFI\xfb", 4, 1 << 20), NULL, false), -LIS_UNSUPPORTED);
	assert_non_null(strstr(error, "QCOW2"));
	assert_int_equal(try_open(path, "raw", false), 0);
	assert_int_equal(try_open(file_with("k", "KDMV", 4, 1 << 20), NULL, false), -LIS_UNSUPPORTED);
	assert_non_null(strstr(error, "VMDK"));
}

/* ---- locks ---- */

static int open_elsewhere(const char *name, bool read_only)
{
	int status;
	pid_t child = fork();

	if (!child) {
		struct block_open_options options = { .read_only = read_only };
		struct block_device *device;

		_exit(-block_open(name, &options, &device, error));
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

static void a_writer_is_alone(void **state)
{
	const char *name = file_with("w", "", 0, 1 << 20);
	struct block_device *device;

	assert_int_equal(block_open(name, NULL, &device, error), 0);
	assert_int_equal(try_open(name, NULL, false), -LIS_BUSY); /* the same process */
	assert_non_null(strstr(error, "this process"));
	assert_int_equal(try_open(name, NULL, true), -LIS_BUSY);
	assert_int_equal(open_elsewhere(name, false), -LIS_BUSY);
	assert_int_equal(open_elsewhere(name, true), -LIS_BUSY);
	assert_int_equal(block_close(device), 0);
	assert_int_equal(open_elsewhere(name, false), 0);
	assert_int_equal(try_open(name, NULL, false), 0);
}

static void readers_share_and_keep_writers_out(void **state)
{
	struct block_open_options read_only = { .read_only = true };
	const char *name = file_with("r", "", 0, 1 << 20);
	struct block_device *device;

	assert_int_equal(block_open(name, &read_only, &device, error), 0);
	assert_int_equal(try_open(name, NULL, true), 0);
	assert_int_equal(open_elsewhere(name, true), 0);
	assert_int_equal(try_open(name, NULL, false), -LIS_BUSY);
	assert_int_equal(open_elsewhere(name, false), -LIS_BUSY);
	assert_int_equal(block_close(device), 0);
	assert_int_equal(try_open(name, NULL, false), 0);
}

static void of_two_that_come_at_once_one_gets_it(void **state)
{
	const char *name = file_with("once", "", 0, 1 << 20);

	for (int round = 0; round < 20; round++) {
		int go[2], held[2], won = 0;
		pid_t children[2];

		assert_int_equal(pipe(go) | pipe(held), 0);
		for (int i = 0; i < 2; i++) {
			children[i] = fork();
			if (!children[i]) {
				struct block_device *device;
				char byte;
				int result;

				close(go[1]);
				close(held[1]);
				if (read(go[0], &byte, 1) < 0)
					_exit(9);
				result = block_open(name, NULL, &device, error);
				/* Held until the other one has tried too. */
				if (!result) {
					struct timespec pause = { .tv_nsec = 30000000 };

					nanosleep(&pause, NULL);
				}
				_exit(result ? 1 : 0);
			}
		}
		close(go[0]);
		close(go[1]);
		close(held[0]);
		close(held[1]);
		for (int i = 0; i < 2; i++) {
			int status;

			assert_int_equal(waitpid(children[i], &status, 0), children[i]);
			won += status == 0;
		}
		assert_int_equal(won, 1);
	}
}

/* ---- room ---- */

/* Of the file at @path, on the disk. */
static uint64_t room_bytes(void)
{
	struct stat stat_buf;

	assert_int_equal(stat(path, &stat_buf), 0);
	return (uint64_t)stat_buf.st_blocks * 512;
}

/* Are there direct I/O and room ahead of data here? */
static bool room_can_be_had(void)
{
	int fd = open(in_folder("room"), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
	bool can = fd >= 0 && !fallocate(fd, 0, 0, 1 << 20) && room_bytes() >= 1 << 20;

	close(fd);
	unlink(path);
	return can;
}

/* Room that an image has when 4 KiB of it are written, and when it was closed then. */
static void use_little(const char *format, uint32_t block_bytes, const struct block_open_options *options,
		       uint64_t *out_open, uint64_t *out_closed)
{
	const struct block_create_options create = { .format = format, .size_bytes = 64 << 20, .block_bytes = block_bytes };
	static uint8_t data[4096] __attribute__((aligned(4096))), zeroes[4096];
	struct block_device *device;
	struct io_loop *loop;

	assert_int_equal(io_loop_create(NULL, &loop), 0);
	assert_int_equal(block_create(in_folder("grows"), &create, error), 0);
	assert_int_equal(block_open(path, options, &device, error), 0);
	memset(data, 1, sizeof(data));
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, 8192, data, sizeof(data)), 0);
	*out_open = room_bytes();
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 4096, data, sizeof(data)), 0);
	assert_memory_equal(data, zeroes, sizeof(data));
	assert_int_equal(block_close(device), 0);
	*out_closed = room_bytes();
	unlink(path);
	io_loop_destroy(loop);
}

static void direct_images_have_room_ahead_while_open(void **state)
{
	static const char *const formats[] = { "vhdx", "vhd" };
	const struct block_open_options direct = { .direct = true };
	/* Not where the page cache collects writes, or a copy is made once, nor where blocks are large. */
	const struct { struct block_open_options options; uint32_t block_bytes; } without[] = {
		{ { 0 }, 2 << 20 },
		{ { .bulk = true }, 2 << 20 },
		{ direct, 32 << 20 },
	};
	uint64_t open_bytes, closed_bytes;

	if (!room_can_be_had())
		skip();
	for (int i = 0; i < 2; i++) {
		use_little(formats[i], 2 << 20, &direct, &open_bytes, &closed_bytes);
		assert_true(open_bytes >= 60 << 20);
		assert_in_range(closed_bytes, 2 << 20, 8 << 20);
		for (int k = 0; k < 3; k++) {
			use_little(formats[i], without[k].block_bytes, &without[k].options, &open_bytes, &closed_bytes);
			assert_true(open_bytes < 2 << 20 && closed_bytes < 2 << 20);
		}
	}
}

/* ---- requests ---- */

/* A driver that notes what reaches it; its disk is in memory. */
struct noting {
	struct block_device base;
	uint8_t bytes[3 << 20];
	int submissions;
	bool misaligned;
	int fail_at;
};

static void noting_submit(struct block_device *device, struct block_request *request)
{
	struct noting *noting = (struct noting *)device;
	uint64_t at = request->offset_bytes;

	if (++noting->submissions == noting->fail_at) {
		request->done(request, -LIS_IO);
		return;
	}
	for (uint32_t i = 0; i < request->iov_count; i++) {
		const struct iovec *iov = &request->iov[i];

		noting->misaligned |= ((uintptr_t)iov->iov_base | iov->iov_len) & 511;
		if (request->op == BLOCK_READ)
			memcpy(iov->iov_base, noting->bytes + at, iov->iov_len);
		else
			memcpy(noting->bytes + at, iov->iov_base, iov->iov_len);
		at += iov->iov_len;
	}
	request->done(request, 0);
}

static const struct block_driver noting_driver = { .name = "noting", .submit = noting_submit };

static struct noting *new_noting(bool read_only)
{
	struct noting *noting = calloc(1, sizeof(*noting));

	assert_non_null(noting);
	noting->base.driver = &noting_driver;
	noting->base.geometry = (struct block_geometry){
		.size_bytes = sizeof(noting->bytes), .logical_sector_bytes = 512,
		.buffer_align_bytes = 512, .read_only = read_only,
	};
	return noting;
}

static void requests_outside_the_disk_or_its_sectors_never_reach_the_driver(void **state)
{
	static uint8_t data[4096] __attribute__((aligned(512)));
	struct noting *noting = new_noting(false);
	struct block_device *device = &noting->base;
	uint64_t size = sizeof(noting->bytes);

	assert_int_equal(block_io(device, NULL, BLOCK_READ, 0, size, data, 512), -LIS_INVALID);
	assert_int_equal(block_io(device, NULL, BLOCK_READ, 0, size - 512, data, 1024), -LIS_INVALID);
	assert_int_equal(block_io(device, NULL, BLOCK_WRITE, 0, UINT64_MAX - 511, data, 512), -LIS_INVALID);
	assert_int_equal(block_io(device, NULL, BLOCK_WRITE, 0, 256, data, 512), -LIS_INVALID);
	assert_int_equal(block_io(device, NULL, BLOCK_WRITE, 0, 0, data, 100), -LIS_INVALID);
	assert_int_equal(block_io(device, NULL, BLOCK_DISCARD, 0, 512, NULL, size), -LIS_INVALID);
	assert_int_equal(block_io(device, NULL, BLOCK_WRITE_ZEROES, 0, 0, NULL, UINT64_MAX - 511), -LIS_INVALID);
	assert_int_equal(block_io(device, NULL, (enum block_op)77, 0, 0, data, 512), -LIS_INVALID);
	assert_int_equal(noting->submissions, 0);
	assert_int_equal(block_io(device, NULL, BLOCK_READ, 0, 512, data, 0), 0);
	assert_int_equal(noting->submissions, 0);
	assert_int_equal(block_io(device, NULL, BLOCK_READ, 0, size - 512, data, 512), 0);
	assert_int_equal(noting->submissions, 1);
	free(noting);
}

static void buffers_that_do_not_add_up_are_refused(void **state)
{
	static uint8_t data[4096] __attribute__((aligned(512)));
	struct noting *noting = new_noting(false);
	struct iovec iov[2] = { { data, 512 }, { data, SIZE_MAX - 511 } };
	struct block_io io = { .request = { .op = BLOCK_WRITE, .length_bytes = 1024, .iov = iov,
					    .iov_count = 1, .done = block_io_done } };

	block_submit(&noting->base, NULL, &io.request);
	assert_int_equal(io.result, -LIS_INVALID);
	io.request.iov_count = 2; /* the sum overflows */
	io.request.length_bytes = 0;
	block_submit(&noting->base, NULL, &io.request);
	assert_int_equal(io.result, -LIS_INVALID);
	assert_int_equal(io.ends, 2);
	assert_int_equal(noting->submissions, 0);
	free(noting);
}

static void read_only_disks_are_not_changed(void **state)
{
	static uint8_t data[512] __attribute__((aligned(512)));
	struct noting *noting = new_noting(true);
	struct block_device *device = &noting->base;

	assert_int_equal(block_io(device, NULL, BLOCK_WRITE, 0, 0, data, 512), -LIS_READONLY);
	assert_int_equal(block_io(device, NULL, BLOCK_WRITE_ZEROES, 0, 0, NULL, 512), -LIS_READONLY);
	assert_int_equal(block_io(device, NULL, BLOCK_DISCARD, 0, 0, NULL, 512), -LIS_READONLY);
	assert_int_equal(block_io(device, NULL, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(noting->submissions, 0);
	assert_int_equal(block_io(device, NULL, BLOCK_READ, 0, 0, data, 512), 0);
	free(noting);
}

static void misaligned_buffers_are_bounced_in_pieces(void **state)
{
	struct noting *noting = new_noting(false);
	uint64_t bytes = (2 << 20) + 5 * 512;
	uint8_t *data = malloc(bytes + 1), *back = malloc(bytes + 1);
	/* Odd pieces, an empty one, none of them a sector. */
	struct iovec iov[4] = { { data + 1, 700001 }, { data, 0 }, { data + 700002, 99 },
				{ data + 700101, bytes - 700100 } };
	struct block_io io = { .request = { .op = BLOCK_WRITE, .offset_bytes = 512, .length_bytes = bytes,
					    .iov = iov, .iov_count = 4, .done = block_io_done } };

	assert_non_null(data);
	assert_non_null(back);
	block_pattern(data + 1, bytes, 0, 42);
	block_submit(&noting->base, NULL, &io.request);
	assert_int_equal(io.result, 0);
	assert_int_equal(io.ends, 1);
	assert_false(noting->misaligned);
	assert_true(noting->submissions > 1);
	assert_memory_equal(noting->bytes + 512, data + 1, bytes);
	assert_int_equal(block_io(&noting->base, NULL, BLOCK_READ, 0, 512, back + 1, bytes), 0);
	assert_memory_equal(back + 1, data + 1, bytes);
	assert_false(noting->misaligned);

	noting->fail_at = noting->submissions + 2; /* the second piece */
	assert_int_equal(block_io(&noting->base, NULL, BLOCK_READ, 0, 512, back + 1, bytes), -LIS_IO);
	free(data);
	free(back);
	free(noting);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_no_image_is_refused_with_a_reason),
		cmocka_unit_test(formats_are_told_by_their_contents),
		cmocka_unit_test(formats_we_lack_are_not_taken_for_raw),
		cmocka_unit_test(a_writer_is_alone),
		cmocka_unit_test(readers_share_and_keep_writers_out),
		cmocka_unit_test(of_two_that_come_at_once_one_gets_it),
		cmocka_unit_test(direct_images_have_room_ahead_while_open),
		cmocka_unit_test(requests_outside_the_disk_or_its_sectors_never_reach_the_driver),
		cmocka_unit_test(buffers_that_do_not_add_up_are_refused),
		cmocka_unit_test(read_only_disks_are_not_changed),
		cmocka_unit_test(misaligned_buffers_are_bounced_in_pieces),
	};
	char command[64];
	int failed;

	if (!mkdtemp(folder))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(command, sizeof(command), "rm -rf %s", folder);
	return system(command) || failed;
}
