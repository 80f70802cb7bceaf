// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Differencing images: what shows through, what is written, which parent is found and which is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/images/parent.h"
#include "storage/images/vhdx_format.h"
#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/image_model.h"

#define MIB (UINT64_C(1) << 20)
#define DEPTH_MAX 6

static char folder[64];
static char error[BLOCK_ERROR_BYTES];
static struct io_loop *loop;
static uint8_t data[4 << 20], back[4 << 20];

static const struct block_open_options read_only = { .read_only = true };

/* ---- helpers ---- */

static const char *path_of(const char *name)
{
	static char paths[4][PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", folder, name);
	return path;
}

static void make_folder(const char *where)
{
	snprintf(folder, sizeof(folder), "%s/lis-chain.XXXXXX", where);
	assert_non_null(mkdtemp(folder));
}

static void remove_folder(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
}

/* In memory, where a flush costs nothing. */
static int set_up(void **state)
{
	make_folder(access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	return io_loop_create(NULL, &loop);
}

static int tear_down(void **state)
{
	io_loop_destroy(loop);
	remove_folder();
	return 0;
}

static struct block_device *open_ok(const char *path, const struct block_open_options *options)
{
	struct block_device *device = NULL;

	error[0] = 0;
	if (block_open(path, options, &device, error))
		fail_msg("%s", error);
	return device;
}

static void assert_refused(const char *path, int code, const char *text)
{
	struct block_device *device;

	assert_int_equal(block_open(path, NULL, &device, error), code);
	if (!strstr(error, text))
		fail_msg("'%s' does not say '%s'", error, text);
	assert_non_null(strstr(error, path));
}

static void create(const char *path, const struct block_create_options *options)
{
	error[0] = 0;
	unlink(path);
	if (block_create(path, options, error))
		fail_msg("%s", error);
}

static void make_base(const char *path, const char *format, uint64_t size_bytes)
{
	create(path, &(struct block_create_options){ .format = format, .size_bytes = size_bytes });
}

static void make_child(const char *path, const char *parent_path, uint32_t block_bytes)
{
	struct block_create_options options = { .block_bytes = block_bytes };

	options.parent = open_ok(parent_path, &read_only);
	create(path, &options);
	assert_int_equal(block_close(options.parent), 0);
}

static void write_byte(struct block_device *device, int byte, uint64_t at, uint64_t bytes)
{
	memset(data, byte, bytes);
	assert_int_equal(block_io(device, loop, BLOCK_WRITE, 0, at, data, bytes), 0);
}

static void assert_byte(struct block_device *device, int byte, uint64_t at, uint64_t bytes)
{
	memset(back, ~byte, bytes);
	memset(data, byte, bytes);
	assert_int_equal(block_io(device, loop, BLOCK_READ, 0, at, back, bytes), 0);
	if (memcmp(back, data, bytes))
		fail_msg("byte %u is 0x%02x and not 0x%02x", (unsigned)at, back[0], byte);
}

static void write_file(const char *path, int byte, uint64_t at, uint64_t bytes)
{
	struct block_device *device = open_ok(path, NULL);

	write_byte(device, byte, at, bytes);
	assert_int_equal(block_close(device), 0);
}

/* ---- against a model ---- */

struct chain {
	const char *format;
	uint64_t size_bytes;
	uint32_t sector_bytes;
	uint32_t depth;
	uint32_t block_bytes[DEPTH_MAX]; /* of the base, and of each child */
	bool direct;
};

static const char *level_path(uint32_t level)
{
	char name[16];

	snprintf(name, sizeof(name), "level%u", level);
	return path_of(name);
}

static void make_level(const struct chain *chain, uint32_t level)
{
	if (level)
		make_child(level_path(level), level_path(level - 1), chain->block_bytes[level]);
	else
		create(level_path(0), &(struct block_create_options){ .format = chain->format,
			.size_bytes = chain->size_bytes, .block_bytes = chain->block_bytes[0],
			.logical_sector_bytes = chain->sector_bytes });
}

/* Data here and there; each level also keeps the one before busy enough to have something to show. */
static void run_chain(const struct chain *chain, uint64_t seed)
{
	const struct block_open_options options = { .direct = chain->direct };
	struct model models[DEPTH_MAX] = { 0 };

	for (uint32_t level = 0; level <= chain->depth; level++) {
		struct model *model = &models[level];

		make_level(chain, level);
		*model = (struct model){ .bytes = calloc(1, chain->size_bytes), .threads = 3, .requests = 130,
					 .flushes = true, .clears = true };
		if (level)
			memcpy(model->bytes, models[level - 1].bytes, chain->size_bytes);
		for (int opening = 0; opening < 2; opening++) {
			model->seed = seed + level * 10 + (uint64_t)opening;
			model->device = open_ok(level_path(level), &options);
			assert_int_equal(model_run(model), 0);
			assert_int_equal(model_compare(model, model->device, loop), 0);
			assert_int_equal(block_close(model->device), 0);
		}
	}
	/* Nothing that was written to a child is in its parent. */
	for (uint32_t level = 0; level <= chain->depth; level++) {
		struct block_device *device = open_ok(level_path(level), &read_only);

		assert_int_equal(model_compare(&models[level], device, loop), 0);
		assert_int_equal(block_close(device), 0);
		free(models[level].bytes);
	}
}

static void chains_of_vhdx_match_a_model(void **state)
{
	static const struct chain chains[] = {
		{ "vhdx", 24 * MIB, 512, 1, { 2 << 20, 2 << 20 }, false },
		{ "vhdx", 20 * MIB + 4096, 4096, 2, { 1 << 20, 8 << 20, 1 << 20 }, false },
		{ "vhdx", 24 * MIB, 512, 3, { 32 << 20, 1 << 20, 256 << 20, 2 << 20 }, false },
		{ "vhdx", 16 * MIB, 4096, 5, { 1 << 20, 2 << 20, 4 << 20, 1 << 20, 64 << 20, 2 << 20 }, false },
	};

	for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++)
		run_chain(&chains[i], 1 + 100 * i);
}

static void chains_of_vhd_match_a_model(void **state)
{
	static const struct chain chains[] = {
		{ "vhd", 24 * MIB, 512, 1, { 2 << 20, 2 << 20 }, false },
		{ "vhd", 20 * MIB + 512, 512, 2, { 512 << 10, 8 << 20, 1 << 20 }, false },
		{ "vhd", 16 * MIB, 512, 5, { 1 << 20, 2 << 20, 4 << 20, 512 << 10, 64 << 20, 2 << 20 }, false },
	};

	for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++)
		run_chain(&chains[i], 1 + 100 * i);
}

/* On a file system that can do it. */
static void chains_without_the_page_cache_match_a_model(void **state)
{
	static const struct chain chains[] = {
		{ "vhdx", 8 * MIB, 512, 1, { 1 << 20, 2 << 20 }, true },
		{ "vhd", 8 * MIB, 512, 1, { 2 << 20, 2 << 20 }, true },
	};

	remove_folder();
	make_folder("/tmp");
	run_chain(&chains[0], 1000);
	run_chain(&chains[1], 1000);
	remove_folder();
	make_folder(access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
}

/* ---- what shows through ---- */

static const char *formats[] = { "vhdx", "vhd" };
#define EACH_FORMAT(format) \
	for (size_t format##_index = 0; format##_index < sizeof(formats) / sizeof(formats[0]); format##_index++) \
		for (const char *format = formats[format##_index]; format; format = NULL)

static void zeroes_and_discards_do_not_uncover_the_parent(void **state)
{
	EACH_FORMAT(format) {
		struct block_device *device;

		make_base(path_of("base"), format, 16 * MIB);
		write_file(path_of("base"), 0x11, 0, 4 * MIB);
		write_file(path_of("base"), 0x12, 4 * MIB, 4 * MIB);
		make_child(path_of("child"), path_of("base"), 2 << 20);
		device = open_ok(path_of("child"), NULL);
		assert_byte(device, 0x11, 0, 4 * MIB);
		assert_int_equal(block_io(device, loop, BLOCK_WRITE_ZEROES, 0, 4096, NULL, 2 * MIB), 0);
		write_byte(device, 0x33, 4 * MIB, 65536);
		assert_int_equal(block_io(device, loop, BLOCK_DISCARD, 0, 4 * MIB, NULL, 65536), 0);
		for (int i = 0; i < 2; i++) {
			assert_byte(device, 0x11, 0, 4096);
			assert_byte(device, 0, 4096, 2 * MIB);
			assert_byte(device, 0x11, 4096 + 2 * MIB, 2 * MIB - 4096);
			assert_byte(device, 0, 4 * MIB, 65536);
			assert_byte(device, 0x12, 4 * MIB + 65536, 65536);
			assert_byte(device, 0, 8 * MIB, 65536);
			assert_int_equal(block_close(device), 0);
			device = open_ok(path_of("child"), &read_only);
		}
		assert_int_equal(block_close(device), 0);
	}
}

static void a_map_says_whose_data_is_where(void **state)
{
	EACH_FORMAT(format) {
		struct block_extent extent;
		struct block_device *device;

		make_base(path_of("base"), format, 16 * MIB);
		write_file(path_of("base"), 0x11, 0, 4 * MIB);
		make_child(path_of("child"), path_of("base"), 2 << 20);
		write_file(path_of("child"), 0x22, 2 * MIB + 8192, 4096);
		device = open_ok(path_of("child"), &read_only);
		assert_int_equal(block_map_own(device, 0, &extent), 0);
		assert_true(extent.inherited && extent.length_bytes == 2 * MIB);
		assert_int_equal(block_map_own(device, 2 * MIB, &extent), 0);
		assert_true(extent.inherited && extent.length_bytes == 8192);
		assert_int_equal(block_map_own(device, 2 * MIB + 8192, &extent), 0);
		assert_true(!extent.inherited && extent.data && extent.length_bytes == 4096);
		assert_int_equal(block_map_own(device, 2 * MIB + 12288, &extent), 0);
		assert_true(extent.inherited && extent.length_bytes == 2 * MIB - 12288);
		assert_int_equal(block_map(device, 2 * MIB, &extent), 0);
		assert_true(!extent.inherited && extent.data);
		assert_int_equal(block_map(device, 8 * MIB, &extent), 0);
		assert_true(!extent.data && !extent.inherited);
		assert_int_equal(block_map_own(device, 16 * MIB, &extent), -LIS_INVALID);
		assert_int_equal(block_close(device), 0);
	}
}

/* More bitmaps than are kept in memory, changed without a flush. */
static void a_bitmap_that_was_put_away_is_read_again(void **state)
{
	const uint64_t stride = 16 * MIB + 4096, count = 2600;
	struct block_device *device;

	make_base(path_of("base"), "vhdx", count * stride + 16 * MIB);
	make_child(path_of("child"), path_of("base"), 1 << 20);
	device = open_ok(path_of("child"), NULL);
	for (uint64_t i = 0; i < count; i++)
		write_byte(device, (int)(i % 255 + 1), i * stride, 4096);
	for (uint64_t i = 0; i < count; i++) {
		assert_byte(device, (int)(i % 255 + 1), i * stride, 4096);
		assert_byte(device, 0, i * stride + 4096, 4096);
	}
	assert_int_equal(block_close(device), 0);
	device = open_ok(path_of("child"), &read_only);
	for (uint64_t i = 0; i < count; i++)
		assert_byte(device, (int)(i % 255 + 1), i * stride, 4096);
	assert_int_equal(block_close(device), 0);
}

/*
 * A bitmap may be in the file before the BAT has the block it is about. Such bits must not count when
 * the block gets its place after all.
 */
static void bits_that_a_crash_left_do_not_count(void **state)
{
	const uint64_t bat_offset = 3 * MIB, none = VHDX_BLOCK_NOT_PRESENT;
	struct block_device *device;
	int fd;

	make_base(path_of("base"), "vhdx", 16 * MIB);
	write_file(path_of("base"), 0x11, 0, 4 * MIB);
	make_child(path_of("child"), path_of("base"), 1 << 20);
	device = open_ok(path_of("child"), NULL);
	write_byte(device, 0x22, 0, 65536);
	write_byte(device, 0x23, MIB, 4096);
	assert_int_equal(block_close(device), 0);
	fd = open(path_of("child"), O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, &none, sizeof(none), (off_t)bat_offset), sizeof(none));
	close(fd);
	device = open_ok(path_of("child"), NULL);
	assert_byte(device, 0x11, 0, 65536);
	write_byte(device, 0x24, 131072, 4096);
	for (int i = 0; i < 2; i++) {
		assert_byte(device, 0x11, 0, 65536);
		assert_byte(device, 0x24, 131072, 4096);
		assert_byte(device, 0x23, MIB, 4096);
		assert_byte(device, 0x11, MIB + 4096, 4096);
		assert_int_equal(block_close(device), 0);
		device = open_ok(path_of("child"), &read_only);
	}
	assert_int_equal(block_close(device), 0);
}

/* ---- parents ---- */

static void children_share_a_parent_that_nobody_writes_to(void **state)
{
	EACH_FORMAT(format) {
		struct block_device *one, *two, *base;

		make_base(path_of("base"), format, 8 * MIB);
		write_file(path_of("base"), 0x11, 0, 4096);
		make_child(path_of("one"), path_of("base"), 0);
		make_child(path_of("two"), path_of("base"), 0);
		one = open_ok(path_of("one"), NULL);
		two = open_ok(path_of("two"), NULL);
		write_byte(one, 0x22, 0, 4096);
		assert_byte(two, 0x11, 0, 4096);
		assert_refused(path_of("base"), -LIS_BUSY, "in use");
		assert_int_equal(block_close(one), 0);
		assert_refused(path_of("base"), -LIS_BUSY, "in use");
		assert_int_equal(block_close(two), 0);
		base = open_ok(path_of("base"), NULL);
		assert_refused(path_of("one"), -LIS_BUSY, "in use");
		assert_int_equal(block_close(base), 0);
	}
}

static void a_parent_is_found_where_it_is_now(void **state)
{
	EACH_FORMAT(format) {
		struct block_device *device;

		mkdir(path_of("Disks"), 0755);
		mkdir(path_of("vm"), 0755);
		mkdir(path_of("other"), 0755);
		make_base(path_of("Disks/base"), format, 8 * MIB);
		write_file(path_of("Disks/base"), 0x11, 0, 4096);
		make_child(path_of("vm/child"), path_of("Disks/base"), 0);
		device = open_ok(path_of("vm/child"), NULL);
		assert_string_equal(strrchr(device->parent->path, '/'), "/base");
		assert_byte(device, 0x11, 0, 4096);
		assert_int_equal(block_close(device), 0);
		/* As on a disk that knows no case. */
		assert_int_equal(rename(path_of("Disks"), path_of("DISKS")), 0);
		assert_int_equal(block_close(open_ok(path_of("vm/child"), NULL)), 0);
		/* The child alone moved, further down: by the absolute path. */
		assert_int_equal(rename(path_of("DISKS"), path_of("Disks")), 0);
		mkdir(path_of("other/down"), 0755);
		assert_int_equal(rename(path_of("vm/child"), path_of("other/down/child")), 0);
		assert_int_equal(block_close(open_ok(path_of("other/down/child"), NULL)), 0);
		/* Both in one folder. */
		assert_int_equal(rename(path_of("Disks/base"), path_of("other/down/BASE")), 0);
		assert_int_equal(block_close(open_ok(path_of("other/down/child"), NULL)), 0);
		assert_int_equal(unlink(path_of("other/down/BASE")), 0);
		assert_refused(path_of("other/down/child"), -LIS_NOTFOUND, "base' is neither there nor beside it");
	}
}

static bool any_is_it(const void *child, struct block_device *parent, char reason[PARENT_REASON_BYTES])
{
	return true;
}

/* What is found for a child in vm/, where the parent is Disks/Base and nowhere else. */
static int find_by(const char *windows_path)
{
	char child[PATH_MAX];
	struct image_file file = { .path = child, .fd = -1 };
	struct parent_search search = { .format = "vhdx", .size_bytes = 8 * MIB, .sector_bytes = 512,
					.is_it = any_is_it };
	struct block_device *parent = NULL;
	uint8_t utf16[2 * PATH_MAX];
	size_t bytes = 0;
	int result;

	snprintf(child, sizeof(child), "%s", path_of("vm/child"));
	for (; *windows_path; windows_path++) {
		utf16[bytes++] = (uint8_t)*windows_path;
		utf16[bytes++] = 0;
	}
	assert_int_equal(parent_add_path(&search, utf16, bytes, false), 0);
	result = parent_open(&file, &search, &parent, error);
	parent_search_fini(&search);
	if (!result)
		assert_int_equal(block_close(parent), 0);
	return result;
}

static void expand(char out[PATH_MAX], const char *path, const char *windows_folder)
{
	size_t before = strcspn(path, "*");

	snprintf(out, PATH_MAX, "%.*s%s%s", (int)before, path, path[before] ? windows_folder : "",
		 path[before] ? path + before + 1 : "");
}

static void windows_paths_lead_where_they_mean(void **state)
{
	static const struct {
		const char *path; /* *: the folder, as Windows would have it */
		int result;
	} cases[] = {
		{ "..\\Disks\\Base", 0 },
		{ ".\\..\\disks\\.\\BASE", 0 },
		{ "../Disks/Base", 0 },
		{ "C:*\\Disks\\Base", 0 },
		{ "\\\\?\\c:*\\Disks\\Base", 0 },
		{ "\\\\?\\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}*\\Disks\\Base", 0 },
		{ "Disks\\Base", -LIS_NOTFOUND },
		{ "C:\\Nowhere\\Base", -LIS_NOTFOUND },
		{ "\\\\server\\share\\Disks\\Base", -LIS_NOTFOUND },
		{ "..\\Disks", -LIS_FORMAT }, /* a folder */
		{ "\\", -LIS_FORMAT },
	};
	char windows_folder[sizeof(folder)], path[PATH_MAX];

	mkdir(path_of("Disks"), 0755);
	mkdir(path_of("vm"), 0755);
	make_base(path_of("Disks/Base"), "vhdx", 8 * MIB);
	unlink(path_of("vm/child"));
	for (size_t i = 0; i < sizeof(folder); i++)
		windows_folder[i] = folder[i] == '/' ? '\\' : folder[i];
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int result;

		expand(path, cases[i].path, windows_folder);
		result = find_by(path);
		if (result != cases[i].result)
			fail_msg("%s: %d and not %d: %s", path, result, cases[i].result, error);
	}
	/* Beside the child, whatever the path was. */
	assert_int_equal(rename(path_of("Disks/Base"), path_of("vm/base")), 0);
	assert_int_equal(find_by("\\\\server\\share\\Disks\\Base"), 0);
	assert_int_equal(find_by("E:\\Nowhere\\Base"), 0);
	unlink(path_of("vm/base"));
}

static void text_that_is_no_path_is_refused(void **state)
{
	static const uint8_t half[] = { 'a', 0, 0x00, 0xd8 }, control[] = { 'a', 0, '\n', 0 };
	struct parent_search search = { .path_count = 0 };

	assert_int_equal(parent_add_path(&search, half, sizeof(half), false), -LIS_FORMAT);
	assert_int_equal(parent_add_path(&search, control, sizeof(control), false), -LIS_FORMAT);
	assert_int_equal(search.path_count, 0);
}

static void a_parent_that_is_not_the_one_is_refused(void **state)
{
	char base[PATH_MAX];

	EACH_FORMAT(format) {
		snprintf(base, sizeof(base), "%s", path_of("base"));
		make_base(base, format, 8 * MIB);
		make_child(path_of("child"), base, 0);
		make_base(base, format, 8 * MIB);
		assert_refused(path_of("child"), -LIS_FORMAT, base);
		assert_non_null(strstr(error, "is not the parent it was made over"));
		create(base, &(struct block_create_options){ .size_bytes = 8 * MIB });
		assert_refused(path_of("child"), -LIS_FORMAT, base);
		/* A name beside it may be right where the first one is wrong. */
		mkdir(path_of("there"), 0755);
		make_base(path_of("there/base"), format, 8 * MIB);
		make_child(path_of("child"), path_of("there/base"), 0);
		assert_int_equal(rename(path_of("there/base"), base), 0);
		make_base(path_of("there/base"), format, 8 * MIB);
		assert_int_equal(block_close(open_ok(path_of("child"), NULL)), 0);
		assert_int_equal(truncate(base, 1000), 0);
		unlink(path_of("there/base"));
		assert_refused(path_of("child"), -LIS_FORMAT, "its parent cannot be used: ");
	}
}

static void a_vhdx_parent_that_was_written_is_refused(void **state)
{
	make_base(path_of("base"), "vhdx", 8 * MIB);
	make_child(path_of("child"), path_of("base"), 0);
	/* Opening it for writing is not writing. */
	assert_int_equal(block_close(open_ok(path_of("base"), NULL)), 0);
	assert_int_equal(block_close(open_ok(path_of("child"), NULL)), 0);
	write_file(path_of("base"), 0x11, 0, 4096);
	assert_refused(path_of("child"), -LIS_FORMAT, "written since");
}

/* A file that a name leads back to, as a hostile or a badly copied one may. */
static void a_chain_in_a_circle_is_refused(void **state)
{
	EACH_FORMAT(format) {
		make_base(path_of("a"), format, 8 * MIB);
		make_child(path_of("b"), path_of("a"), 0);
		make_child(path_of("c"), path_of("b"), 0);
		unlink(path_of("a"));
		assert_int_equal(symlink("c", path_of("a")), 0);
		assert_refused(path_of("c"), -LIS_FORMAT, "the chain goes in a circle");
	}
}

static void a_child_is_put_over_a_disk_that_is_in_use(void **state)
{
	EACH_FORMAT(format) {
		struct block_create_options options = { .format = NULL };
		struct block_open_options over = { .format = NULL };
		struct block_device *base, *child;

		make_base(path_of("base"), format, 8 * MIB);
		base = open_ok(path_of("base"), NULL);
		write_byte(base, 0x11, 0, 65536);
		assert_int_equal(block_io(base, loop, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
		options.parent = base;
		create(path_of("child"), &options);
		over.parent = base;
		child = open_ok(path_of("child"), &over);
		assert_ptr_equal(child->parent, base);
		assert_int_equal(guid_compare(&child->geometry.unique_id, &base->geometry.unique_id), 0);
		write_byte(child, 0x22, 4096, 4096);
		assert_byte(child, 0x11, 8192, 4096);
		assert_refused(path_of("base"), -LIS_BUSY, "in use");
		assert_int_equal(block_close(child), 0);
		child = open_ok(path_of("child"), NULL);
		assert_byte(child, 0x22, 4096, 4096);
		assert_byte(child, 0x11, 0, 4096);
		assert_int_equal(block_close(child), 0);
		/* Given one that is not its own it takes nothing, and none where it needs none. */
		make_base(path_of("strange"), format, 8 * MIB);
		over.parent = open_ok(path_of("strange"), &read_only);
		assert_int_equal(block_open(path_of("child"), &over, &child, error), -LIS_FORMAT);
		assert_int_equal(block_open(path_of("base"), &over, &child, error), -LIS_FORMAT);
		assert_non_null(strstr(error, "has no parent"));
		assert_int_equal(block_close(over.parent), 0);
	}
}

static void a_child_that_cannot_be_is_not_made(void **state)
{
	EACH_FORMAT(format) {
		struct block_create_options options = { .format = "raw" };
		const char *child = path_of("never");

		make_base(path_of("base"), format, 8 * MIB);
		options.parent = open_ok(path_of("base"), &read_only);
		assert_int_equal(block_create(child, &options, error), -LIS_INVALID);
		options.format = NULL;
		options.size_bytes = 9 * MIB;
		assert_int_equal(block_create(child, &options, error), -LIS_INVALID);
		options.size_bytes = 0;
		options.fixed = true;
		assert_int_equal(block_create(child, &options, error), -LIS_INVALID);
		assert_int_equal(access(child, F_OK), -1);
		assert_int_equal(block_close(options.parent), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chains_of_vhdx_match_a_model),
		cmocka_unit_test(chains_of_vhd_match_a_model),
		cmocka_unit_test(chains_without_the_page_cache_match_a_model),
		cmocka_unit_test(zeroes_and_discards_do_not_uncover_the_parent),
		cmocka_unit_test(a_map_says_whose_data_is_where),
		cmocka_unit_test(a_bitmap_that_was_put_away_is_read_again),
		cmocka_unit_test(bits_that_a_crash_left_do_not_count),
		cmocka_unit_test(windows_paths_lead_where_they_mean),
		cmocka_unit_test(text_that_is_no_path_is_refused),
		cmocka_unit_test(children_share_a_parent_that_nobody_writes_to),
		cmocka_unit_test(a_parent_is_found_where_it_is_now),
		cmocka_unit_test(a_parent_that_is_not_the_one_is_refused),
		cmocka_unit_test(a_vhdx_parent_that_was_written_is_refused),
		cmocka_unit_test(a_chain_in_a_circle_is_refused),
		cmocka_unit_test(a_child_is_put_over_a_disk_that_is_in_use),
		cmocka_unit_test(a_child_that_cannot_be_is_not_made),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
