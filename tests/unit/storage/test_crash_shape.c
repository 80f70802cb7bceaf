// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Power cuts while an image changes its shape: after some load, all of it must be left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "io/log.h"
#include "storage/merge.h"
#include "tests/unit/storage/crash_load.h"
#include "tests/unit/storage/power_cut.h"
#include "tests/unit/storage/sim_io.h"

#define MIB (UINT64_C(1) << 20)

static char error[BLOCK_ERROR_BYTES];

static struct block_device *open_disk(const char *folder, const struct crash_image *image)
{
	struct block_device *device;
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, image->files[0]);
	if (block_open(path, NULL, &device, error))
		fail_msg("%s: %s", image->name, error);
	return device;
}

/* ---- resize ---- */

/*
 * Longer within a block, by some blocks, by so much that a BAT has to move, and shorter, but never than the
 * load. Fixed disks stay small: here their room is real.
 */
static void resize(const char *folder, const struct crash_image *image)
{
	const uint64_t far = image->size_bytes > 1024 * MIB ? 140 * 1024 * MIB : 5 * MIB;
	const uint64_t more[] = { 4096, 0, 37 * MIB, far, 3 * MIB + 4096 * 9, 0 };
	struct block_device *device = open_disk(folder, image);

	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		uint64_t bytes = image->size_bytes + more[sim_pick(2) ? i : i / 2];

		if (block_resize(device, bytes, error))
			fail_msg("%s: %s", image->name, error);
		power_cut_now();
	}
	assert_int_equal(block_close(device), 0);
}

/* ---- compact ---- */

static bool cut_while_compacting(void *context, uint64_t done_bytes, uint64_t all_bytes)
{
	power_cut_now();
	return true;
}

static void compact(const char *folder, const struct crash_image *image)
{
	const struct block_compact how = { cut_while_compacting, NULL };
	struct block_device *device = open_disk(folder, image);

	if (block_compact(device, &how, error))
		fail_msg("%s: %s", image->name, error);
	power_cut_now();
	assert_int_equal(block_close(device), 0);
}

/* ---- merge ---- */

static bool cut_while_merging(void *context, uint64_t done_bytes)
{
	power_cut_now();
	return true;
}

/* As `lis disk merge` does it. */
static void merge_with(const char *folder, const struct crash_image *image, merge_goes_on *goes_on)
{
	char parent[128], child[128], *paths[] = { child, parent };

	snprintf(parent, sizeof(parent), "%s/%s", folder, image->files[0]);
	snprintf(child, sizeof(child), "%s/%s", folder, image->files[1]);
	if (access(child, F_OK) < 0)
		return;
	if (merge_images(paths, 2, goes_on, NULL, error))
		fail_msg("%s: %s", image->name, error);
	if (goes_on)
		goes_on(NULL, 0);
	assert_int_equal(unlink(child), 0);
}

static void merge(const char *folder, const struct crash_image *image)
{
	merge_with(folder, image, cut_while_merging);
}

static void merge_again(const char *folder, const struct crash_image *image)
{
	merge_with(folder, image, NULL);
}

static const struct crash_image images[] = {
	{ "resizing raw", 8 * MIB, { "disk.raw" }, crash_make, .change = resize,
	  .context = &(const struct block_create_options){ .format = "raw" } },
	{ "resizing fixed VHD", 8 * MIB, { "disk.vhd" }, crash_make, .change = resize,
	  .context = &(const struct block_create_options){ .format = "vhd", .fixed = true } },
	{ "resizing dynamic VHD", 9200 * MIB, { "disk.vhd" }, crash_make, .change = resize,
	  .context = &(const struct block_create_options){ .format = "vhd" } },
	{ "resizing fixed VHDX", 8 * MIB, { "disk.vhdx" }, crash_make, .change = resize,
	  .context = &(const struct block_create_options){ .format = "vhdx", .fixed = true } },
	{ "resizing dynamic VHDX", 9200 * MIB, { "disk.vhdx" }, crash_make, .change = resize,
	  .context = &(const struct block_create_options){ .format = "vhdx", .block_bytes = 1 << 20 } },
	{ "compacting raw", 8 * MIB, { "disk.raw" }, crash_make, .change = compact,
	  .context = &(const struct block_create_options){ .format = "raw" } },
	{ "compacting dynamic VHD", 9200 * MIB, { "disk.vhd" }, crash_make, .change = compact, .block_bytes = 2 * MIB,
	  .context = &(const struct block_create_options){ .format = "vhd" } },
	{ "compacting dynamic VHDX", 9200 * MIB, { "disk.vhdx" }, crash_make, .change = compact, .block_bytes = MIB,
	  .context = &(const struct block_create_options){ .format = "vhdx", .block_bytes = 1 << 20 } },
	{ "merging VHD", 9200 * MIB, { "disk.vhd", "child.vhd" }, crash_make, crash_derive, merge, merge_again,
	  .context = &(const struct block_create_options){ .format = "vhd" } },
	{ "merging VHDX", 9200 * MIB, { "disk.vhdx", "child.vhdx" }, crash_make, crash_derive, merge, merge_again,
	  .context = &(const struct block_create_options){ .format = "vhdx", .block_bytes = 1 << 20 } },
};

static void what_was_there_survives_a_power_cut(void **state)
{
	const struct crash_image *image = *state;
	uint64_t states = 0;

	for (uint64_t seed = 1; seed <= 2; seed++)
		states += crash_load(image, &(const struct crash_run){ seed, .steps = 600, .combine = 5, .samples = 12 });
	print_message("%s: %llu crash states\n", image->name, (unsigned long long)states);
	assert_true(states > 10);
}

/* A failed test leaves in the middle of everything. */
static int teardown(void **state)
{
	power_cut_teardown();
	return 0;
}

int main(void)
{
	enum { IMAGES = sizeof(images) / sizeof(images[0]) };
	static struct CMUnitTest tests[IMAGES];
	static char names[IMAGES][128];

	log_init(OS_LOG_ERROR, NULL, false);
	for (int i = 0; i < IMAGES; i++) {
		snprintf(names[i], sizeof(names[i]), "%s: what_was_there_survives_a_power_cut", images[i].name);
		tests[i] = (struct CMUnitTest){
			.name = names[i],
			.test_func = what_was_there_survives_a_power_cut,
			.teardown_func = teardown,
			.initial_state = (void *)(uintptr_t)&images[i],
		};
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
