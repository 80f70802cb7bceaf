// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* VHD images: what is written is read; footers, sizes, bitmaps of other programs; damaged files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/log.h"
#include "storage/images/vhd_format.h"
#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/image_model.h"

#define MIB (UINT64_C(1) << 20)
#define BAT_OFFSET 1536u
#define SECONDS_MAX 200u

static char path[] = "/tmp/lis-vhd.XXXXXX";
static char error[BLOCK_ERROR_BYTES];
static struct io_loop *loop;
static uint8_t data[4 << 20], back[4 << 20];

static const struct block_open_options read_only = { .read_only = true };
static const struct block_open_options direct = { .direct = true };

static int set_up(void **state)
{
	log_init(OS_LOG_ERROR, NULL, false);
	return io_loop_create(NULL, &loop);
}

static int tear_down(void **state)
{
	io_loop_destroy(loop);
	return 0;
}

static void make(uint64_t size_bytes, uint32_t block_bytes, bool fixed)
{
	struct block_create_options options = { .format = "vhd", .size_bytes = size_bytes,
						.block_bytes = block_bytes, .fixed = fixed };

	unlink(path);
	if (block_create(path, &options, error))
		fail_msg("%s", error);
}

static struct block_device *open_ok(const struct block_open_options *options)
{
	struct block_device *device = NULL;

	if (block_open(path, options, &device, error))
		fail_msg("%s", error);
	assert_string_equal(device->driver->name, "vhd");
	return device;
}

static int try_open(void)
{
	struct block_open_options options = { .read_only = true, .format = "vhd" };
	struct block_device *device;
	int result = block_open(path, &options, &device, error);

	if (!result)
		assert_int_equal(block_close(device), 0);
	return result;
}

static void write_byte(struct block_device *device, int byte, uint64_t at, uint64_t bytes)
{
	memset(data, byte, bytes);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, at, data, bytes), 0);
}

static void assert_byte(struct block_device *device, int byte, uint64_t at, uint64_t bytes)
{
	memset(back, ~byte, bytes);
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, at, back, bytes), 0);
	for (uint64_t i = 0; i < bytes; i++)
		if (back[i] != (uint8_t)byte)
			fail_msg("byte %llu is 0x%02x, not 0x%02x", (unsigned long long)(at + i), back[i], byte);
}

static uint64_t file_bytes(void)
{
	struct stat status;

	assert_int_equal(stat(path, &status), 0);
	return (uint64_t)status.st_size;
}

static void put(const void *bytes, size_t count, uint64_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, count, (off_t)at), count);
	close(fd);
}

static void get(void *bytes, size_t count, uint64_t at)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, bytes, count, (off_t)at), count);
	close(fd);
}

/* Writes a footer, its checksum set right, where it belongs. */
static void put_footer(struct vhd_footer *footer, bool copy)
{
	footer->checksum = htobe32(vhd_checksum(footer, sizeof(*footer), offsetof(struct vhd_footer, checksum)));
	put(footer, sizeof(*footer), file_bytes() - sizeof(*footer));
	if (copy)
		put(footer, sizeof(*footer), 0);
}

static void get_footer(struct vhd_footer *footer)
{
	get(footer, sizeof(*footer), file_bytes() - sizeof(*footer));
	assert_memory_equal(footer->cookie, VHD_FOOTER_COOKIE, 8);
	assert_int_equal(be32toh(footer->checksum),
			 vhd_checksum(footer, sizeof(*footer), offsetof(struct vhd_footer, checksum)));
}

/* ---- reading and writing ---- */

static void run_model(uint64_t size_bytes, uint32_t block_bytes, bool fixed,
		      const struct block_open_options *options, uint64_t seed)
{
	struct model model = { .threads = 3, .requests = 300, .seed = seed, .flushes = true, .clears = true };

	model.bytes = calloc(1, size_bytes);
	make(size_bytes, block_bytes, fixed);
	for (int opening = 0; opening < 2; opening++) {
		model.device = open_ok(options);
		assert_int_equal(model_run(&model), 0);
		assert_int_equal(block_close(model.device), 0);
		model.seed += 100;
	}
	model.device = open_ok(&read_only);
	assert_int_equal(model_compare(&model, model.device, loop), 0);
	assert_int_equal(block_close(model.device), 0);
	free(model.bytes);
}

static void random_requests_from_three_loops_match_a_model(void **state)
{
	run_model(48 * MIB, 0, false, NULL, 1);
	run_model(45 * MIB + 512, 512 << 10, false, NULL, 2);
	run_model(40 * MIB, 16 << 20, false, &direct, 3);
	run_model(32 * MIB, 0, true, NULL, 4);
	run_model(30 * MIB, 0, true, &direct, 5);
}

static void only_the_blocks_written_take_room_and_the_footer_follows_them(void **state)
{
	struct vhd_footer footer;
	struct block_device *device;
	uint64_t before;

	make(200 * MIB, 0, false);
	before = file_bytes();
	device = open_ok(NULL);
	assert_byte(device, 0, 0, 4 * MIB);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE_ZEROES, 0, 0, NULL, 200 * MIB), 0);
	write_byte(device, 1, 50 * MIB, 512);
	write_byte(device, 2, 60 * MIB - 512, 1024); /* over an edge */
	assert_int_equal(block_close(device), 0);
	assert_in_range(file_bytes(), before + 3 * (2 * MIB + 512), before + 3 * (2 * MIB + 4096));
	get_footer(&footer);
	device = open_ok(&read_only);
	assert_byte(device, 1, 50 * MIB, 512);
	assert_byte(device, 0, 50 * MIB + 512, MIB);
	assert_byte(device, 2, 60 * MIB - 512, 1024);
	assert_byte(device, 0, 60 * MIB + 512, MIB);
	assert_int_equal(block_close(device), 0);
}

static void data_begins_on_a_page(void **state)
{
	struct block_device *device;
	uint32_t entry;

	make(200 * MIB, 0, false);
	device = open_ok(NULL);
	for (uint32_t i = 0; i < 50; i++)
		write_byte(device, 1, i * 4 * MIB, 512);
	assert_int_equal(block_close(device), 0);
	for (uint32_t i = 0; i < 50; i++) {
		get(&entry, 4, BAT_OFFSET + 8 * i);
		assert_int_equal((be32toh(entry) * UINT64_C(512) + 512) % 4096, 0);
	}
}

static void a_file_left_by_a_writer_that_died_takes_new_blocks(void **state)
{
	static uint8_t garbage[3 << 20];
	struct vhd_footer footer;
	struct block_device *device;

	make(100 * MIB, 0, false);
	device = open_ok(NULL);
	write_byte(device, 1, 0, 4096);
	assert_int_equal(block_close(device), 0);
	/* Something behind the last block that no entry speaks of, with and without a footer. */
	for (int with = 0; with < 2; with++) {
		get(&footer, sizeof(footer), 0);
		memset(garbage, 0xee, sizeof(garbage));
		put(garbage, sizeof(garbage), file_bytes() - 512);
		if (with)
			put(&footer, sizeof(footer), file_bytes());
		device = open_ok(NULL);
		write_byte(device, 2, (10 + 20 * with) * MIB, 512);
		assert_byte(device, 0, (10 + 20 * with) * MIB + 512, MIB);
		write_byte(device, 3, (20 + 20 * with) * MIB, 512);
		assert_int_equal(block_close(device), 0);
		get_footer(&footer);
		device = open_ok(&read_only);
		assert_byte(device, 1, 0, 4096);
		assert_byte(device, 2, (10 + 20 * with) * MIB, 512);
		assert_byte(device, 0, (10 + 20 * with) * MIB + 512, MIB);
		assert_byte(device, 0, (20 + 20 * with) * MIB + 512, MIB);
		assert_int_equal(block_close(device), 0);
	}
}

/* ---- footers and sizes ---- */

static void the_size_is_that_of_the_footer_unless_virtual_pc_wrote_it(void **state)
{
	static const struct { const char *creator; bool geometry; } creators[] = {
		{ "win ", false }, { "qem2", false }, { "vbox", false }, { "d2v ", false }, { "lis ", false },
		{ "vpc ", true }, { "qemu", true }, { "vs  ", true },
	};
	struct vhd_footer footer;
	struct block_device *device;

	for (size_t i = 0; i < sizeof(creators) / sizeof(creators[0]); i++) {
		make(10 * MIB, 0, true);
		get_footer(&footer);
		memcpy(footer.creator, creators[i].creator, 4);
		footer.cylinders = htobe16(300);
		footer.heads = 4;
		footer.track_sectors = 17;
		put_footer(&footer, false);
		device = open_ok(&read_only);
		assert_int_equal(device->geometry.size_bytes,
				 creators[i].geometry ? 300 * 4 * 17 * 512 : 10 * MIB);
		assert_int_equal(block_close(device), 0);
		footer.cylinders = htobe16(65535);
		footer.heads = 16;
		footer.track_sectors = 255;
		put_footer(&footer, false);
		device = open_ok(&read_only);
		assert_int_equal(device->geometry.size_bytes, 10 * MIB);
		assert_int_equal(block_close(device), 0);
	}
}

static void a_footer_of_511_bytes_is_read(void **state)
{
	struct block_device *device;

	make(10 * MIB, 0, true);
	assert_int_equal(truncate(path, 10 * MIB + 511), 0);
	device = open_ok(NULL);
	assert_int_equal(device->geometry.size_bytes, 10 * MIB);
	write_byte(device, 1, 10 * MIB - 512, 512);
	assert_int_equal(block_close(device), 0);
	assert_int_equal(try_open(), 0);
}

static void a_lost_footer_is_found_in_its_copy_and_put_back_when_written(void **state)
{
	struct vhd_footer footer, before;
	struct block_device *device;
	uint64_t bytes;

	make(10 * MIB, 0, false);
	device = open_ok(NULL);
	write_byte(device, 5, 3 * MIB, 4096);
	assert_int_equal(block_close(device), 0);
	get_footer(&before);
	for (int copy = 0; copy < 2; copy++) {
		memset(&footer, 0xab, sizeof(footer));
		put(&footer, sizeof(footer), copy ? 0 : file_bytes() - 512);
		bytes = file_bytes();
		device = open_ok(&read_only);
		assert_byte(device, 5, 3 * MIB, 4096);
		assert_int_equal(block_close(device), 0);
		assert_int_equal(file_bytes(), bytes);
		device = open_ok(NULL);
		assert_int_equal(block_close(device), 0);
		get_footer(&footer);
		assert_memory_equal(&footer, &before, sizeof(footer));
		get(&footer, sizeof(footer), 0);
		assert_memory_equal(&footer, &before, sizeof(footer));
	}
}

static void a_guest_cannot_make_a_fixed_disk_into_another(void **state)
{
	struct vhd_footer footer;
	struct block_device *device;

	make(10 * MIB, 0, true);
	get_footer(&footer);
	footer.type = htobe32(VHD_DYNAMIC);
	footer.header_offset_bytes = htobe64(512);
	footer.checksum = htobe32(vhd_checksum(&footer, sizeof(footer), offsetof(struct vhd_footer, checksum)));
	put(&footer, sizeof(footer), 0);
	device = open_ok(NULL);
	assert_int_equal(device->geometry.size_bytes, 10 * MIB);
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, 0, back, 512), 0);
	assert_memory_equal(back, &footer, 512);
	assert_int_equal(block_close(device), 0);
}

/* ---- bitmaps ---- */

/* A block as Virtual PC leaves it: only some of its sectors count, the others hold anything. */
static void make_partial(void)
{
	struct block_device *device;
	uint8_t bitmap[512];
	uint32_t entry;

	make(10 * MIB, 0, false);
	device = open_ok(NULL);
	write_byte(device, 0x77, 2 * MIB, 2 * MIB);
	assert_int_equal(block_close(device), 0);
	get(&entry, 4, BAT_OFFSET + 4);
	memset(bitmap, 0, sizeof(bitmap));
	bitmap[0] = 0xa0;   /* sectors 0 and 2 */
	bitmap[100] = 0xff; /* 800 to 807 */
	bitmap[511] = 0x01; /* the last */
	put(bitmap, sizeof(bitmap), be32toh(entry) * UINT64_C(512));
}

static void assert_partial(struct block_device *device)
{
	assert_byte(device, 0x77, 2 * MIB, 512);
	assert_byte(device, 0, 2 * MIB + 512, 512);
	assert_byte(device, 0x77, 2 * MIB + 1024, 512);
	assert_byte(device, 0, 2 * MIB + 1536, 797 * 512);
	assert_byte(device, 0x77, 2 * MIB + 800 * 512, 8 * 512);
	assert_byte(device, 0, 2 * MIB + 808 * 512, 3287 * 512);
	assert_byte(device, 0x77, 4 * MIB - 512, 512);
	assert_byte(device, 0, 4 * MIB, MIB);
	/* In one go, and across the edges. */
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, MIB, back, 4 * MIB), 0);
	for (uint64_t i = 0; i < 4 * MIB; i++) {
		uint64_t sector = i < MIB ? 1 : (i - MIB) / 512;
		bool counts = i >= MIB && i < 3 * MIB &&
			      (sector == 0 || sector == 2 || (sector >= 800 && sector < 808) || sector == 4095);

		assert_int_equal(back[i], counts ? 0x77 : 0);
	}
}

static void sectors_that_do_not_count_read_as_zero_also_after_a_write(void **state)
{
	struct block_device *device;

	make_partial();
	device = open_ok(&read_only);
	assert_partial(device);
	assert_int_equal(block_close(device), 0);
	device = open_ok(NULL);
	assert_partial(device);
	write_byte(device, 0x12, 3 * MIB, 4096);
	write_byte(device, 0, 3 * MIB, 4096);
	assert_partial(device);
	assert_int_equal(block_close(device), 0);
	device = open_ok(&read_only);
	assert_partial(device);
	assert_int_equal(block_close(device), 0);
}

static void a_block_written_to_counts_whole_for_programs_that_look_at_no_bitmap(void **state)
{
	struct block_device *device;
	uint8_t bitmap[512];
	uint32_t entry;

	make_partial();
	device = open_ok(&direct);
	write_byte(device, 0x12, 3 * MIB, 512);
	assert_int_equal(block_close(device), 0);
	get(&entry, 4, BAT_OFFSET + 4);
	get(bitmap, sizeof(bitmap), be32toh(entry) * UINT64_C(512));
	for (size_t i = 0; i < sizeof(bitmap); i++)
		assert_int_equal(bitmap[i], 0xff);
	get(back, 2048, be32toh(entry) * UINT64_C(512) + 512);
	assert_int_equal(back[0], 0x77);
	assert_int_equal(back[512], 0);
	assert_int_equal(back[1024], 0x77);
	assert_int_equal(back[1536], 0);
}

/* ---- refusals and damage ---- */

static void refused_with(int result, const char *words)
{
	assert_int_equal(try_open(), result);
	assert_non_null(strstr(error, path));
	if (!strstr(error, words))
		fail_msg("'%s' does not say '%s'", error, words);
}

static void put_entry(uint32_t index, uint32_t entry)
{
	entry = htobe32(entry);
	put(&entry, 4, BAT_OFFSET + 4 * index);
}

static void refusals_name_what_is_wrong(void **state)
{
	struct vhd_footer footer;

	make(10 * MIB, 0, false);
	assert_int_equal(truncate(path, 10 * MIB), 0);
	put_entry(0, 100);
	assert_int_equal(try_open(), 0);
	put_entry(1, 101);
	refused_with(-LIS_FORMAT, "overlap");
	put_entry(1, 1);
	refused_with(-LIS_FORMAT, "block 1 overlaps the metadata");
	put_entry(1, 3);
	refused_with(-LIS_FORMAT, "block 1 overlaps the metadata");
	put_entry(1, 0);
	refused_with(-LIS_FORMAT, "block 1 overlaps the metadata");
	put_entry(1, 0x70000000);
	refused_with(-LIS_FORMAT, "block 1 is behind the end");
	put_entry(1, UINT32_MAX - 1);
	refused_with(-LIS_FORMAT, "block 1 is behind the end");
	put("x", 1, 512 + 40);
	refused_with(-LIS_FORMAT, "header is missing or was changed");
	make(10 * MIB, 0, true);
	get_footer(&footer);
	footer.type = htobe32(VHD_DIFFERENCING);
	put_footer(&footer, false);
	refused_with(-LIS_FORMAT, "header is not inside the file");
	footer.type = htobe32(VHD_FIXED);
	footer.current_size_bytes = htobe64(11 * MIB);
	put_footer(&footer, false);
	refused_with(-LIS_FORMAT, "shorter than the disk");
	put("x", 1, file_bytes() - 100);
	refused_with(-LIS_FORMAT, "footer is missing or was changed");
}

static void use_whatever_opens(bool write)
{
	struct block_open_options options = { .read_only = !write, .format = "vhd" };
	struct block_device *device;
	uint64_t last;

	error[0] = 0;
	if (block_open(path, &options, &device, error)) {
		assert_non_null(strstr(error, path));
		return;
	}
	last = device->geometry.size_bytes - 512;
	for (uint64_t i = 0; i < 5; i++) {
		uint64_t at = (const uint64_t[]){ 0, 2 * MIB, 5 * MIB, 9 * MIB, last }[i];

		(void)block_io(device, loop, BLOCK_READ, 0, at, back, 512);
		if (write)
			(void)block_io(device, loop, BLOCK_WRITE, i == 2 ? BLOCK_WRITE_FUA : 0, at, data, 512);
	}
	(void)block_io(device, loop, BLOCK_READ, 0, MIB, back, 3 * MIB);
	if (write) {
		(void)block_io(device, loop, BLOCK_DISCARD, 0, 0, NULL, 8192);
		(void)block_io(device, loop, BLOCK_FLUSH, 0, 0, NULL, 0);
	}
	(void)block_close(device);
}

static uint8_t golden[BAT_OFFSET + 512];

static void restore(uint64_t bytes, uint64_t all_bytes)
{
	assert_int_equal(truncate(path, 0), 0);
	assert_int_equal(truncate(path, (off_t)bytes), 0);
	put(golden, bytes < sizeof(golden) ? bytes : sizeof(golden), 0);
	if (bytes == all_bytes)
		put(golden, 512, all_bytes - 512);
}

static void set_checksums(void)
{
	uint8_t start[BAT_OFFSET];
	uint32_t sum;

	get(start, sizeof(start), 0);
	sum = htobe32(vhd_checksum(start, 512, offsetof(struct vhd_footer, checksum)));
	put(&sum, 4, offsetof(struct vhd_footer, checksum));
	sum = htobe32(vhd_checksum(start + 512, 1024, offsetof(struct vhd_header, checksum)));
	put(&sum, 4, 512 + offsetof(struct vhd_header, checksum));
}

static void any_change_and_any_cut_is_survived(void **state)
{
	static const uint64_t values[] = { 0, UINT64_MAX, UINT64_C(0x8000000000000000), 0x0102, 0xff };
	struct block_device *device;
	uint64_t bytes;
	uint8_t byte;

	make(10 * MIB, 0, false);
	device = open_ok(NULL);
	write_byte(device, 1, 0, 512);
	write_byte(device, 2, 5 * MIB, 512);
	assert_int_equal(block_close(device), 0);
	bytes = file_bytes();
	get(golden, sizeof(golden), 0);
	alarm(SECONDS_MAX);
	for (uint32_t at = 0; at < BAT_OFFSET + 24; at += at == 88 ? 424 - 4 : at == 580 ? 900 : 1) {
		for (int way = 0; way < 3; way++) {
			restore(bytes, bytes);
			if (way) /* the copy counts, its checksum right */
				put("x", 1, bytes - 512);
			get(&byte, 1, at);
			byte ^= way == 2 ? 0x80 : 0xff;
			put(&byte, 1, at);
			if (way)
				set_checksums();
			use_whatever_opens(false);
			use_whatever_opens(true);
		}
		for (size_t v = 0; at % 4 == 0 && v < sizeof(values) / sizeof(values[0]); v++) {
			restore(bytes, bytes);
			put("x", 1, bytes - 512);
			put(&values[v], at % 8 ? 4 : 8, at);
			set_checksums();
			use_whatever_opens(true);
		}
	}
	for (uint64_t cut = 256; cut < bytes; cut += cut < 8192 ? 256 : 128 * 1024 - 256) {
		restore(cut, bytes);
		use_whatever_opens(false);
		use_whatever_opens(true);
	}
	alarm(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_requests_from_three_loops_match_a_model),
		cmocka_unit_test(only_the_blocks_written_take_room_and_the_footer_follows_them),
		cmocka_unit_test(data_begins_on_a_page),
		cmocka_unit_test(a_file_left_by_a_writer_that_died_takes_new_blocks),
		cmocka_unit_test(the_size_is_that_of_the_footer_unless_virtual_pc_wrote_it),
		cmocka_unit_test(a_footer_of_511_bytes_is_read),
		cmocka_unit_test(a_lost_footer_is_found_in_its_copy_and_put_back_when_written),
		cmocka_unit_test(a_guest_cannot_make_a_fixed_disk_into_another),
		cmocka_unit_test(sectors_that_do_not_count_read_as_zero_also_after_a_write),
		cmocka_unit_test(a_block_written_to_counts_whole_for_programs_that_look_at_no_bitmap),
		cmocka_unit_test(refusals_name_what_is_wrong),
		cmocka_unit_test(any_change_and_any_cut_is_survived),
	};
	int fd = mkstemp(path), failed;

	if (fd < 0)
		return 1;
	close(fd);
	failed = cmocka_run_group_tests(tests, set_up, tear_down);
	unlink(path);
	return failed;
}
