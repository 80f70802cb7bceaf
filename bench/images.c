// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Image formats beside our own raw, through the storage VSP over the loopback partition, direct I/O. The
 * images are full of data, but for the cases that fill them, and for two: the child, the last of three
 * differencing files over a full one, all three empty when a case begins; and, to tell what of its writes
 * is the file system's price for new space, a raw file that is empty then. "grown" is such a child that has
 * all blocks. All formats take turns, medians are printed:
 *
 *	image_<format>_<operation>_<size>_<depth> value unit raw value unit ratio
 *
 * usage: bench_images [CASE [IMAGE]]   only the cases and images whose names contain these
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/storage_load.h"
#include "storage/block.h"

#define RUNS 5

static const struct storage_load_case cases[] = {
	{ "read_4k_1", true, false, false, 4096, 1 },
	{ "read_4k_32", true, false, false, 4096, 32 },
	{ "write_4k_1", true, true, false, 4096, 1 },
	{ "write_4k_32", true, true, false, 4096, 32 },
	{ "read_1m_8", true, false, true, 1u << 20, 8 },
	{ "write_1m_8", true, true, true, 1u << 20, 8 },
	{ "fill_1m_8", true, true, true, 1u << 20, 8, true },
};

#define CASE_COUNT (sizeof(cases) / sizeof(cases[0]))

static const struct storage_load_case fill = { "fill", true, true, true, 1u << 20, 8, true };

/* Raw first. */
static const struct image {
	const char *name, *format, *path;
	bool child; /* over the generations before it */
	bool fresh; /* empty when a case begins */
} images[] = {
	{ "raw", "raw", "bench-image.raw" },
	{ "vhdx", "vhdx", "bench-image.vhdx" },
	{ "vhd", "vhd", "bench-image.vhd" },
	{ "child", "vhdx", "bench-child3.vhdx", true, true },
	{ "grown", "vhdx", "bench-grown3.vhdx", true, false },
	{ "empty", "raw", "bench-empty.raw", false, true },
};

#define IMAGE_COUNT (sizeof(images) / sizeof(images[0]))

/* What the child is over, the full one first. */
static const char *const generations[] = { "bench-base.vhdx", "bench-child1.vhdx", "bench-child2.vhdx" };

#define GENERATION_COUNT (sizeof(generations) / sizeof(generations[0]))

static void fail(const char *error)
{
	fprintf(stderr, "images: %s\n", error);
	exit(1);
}

static void make_empty(const char *path, const char *format, const char *parent_path)
{
	struct block_create_options create = { .format = format };
	const struct block_open_options read_only = { .read_only = true };
	char error[BLOCK_ERROR_BYTES];

	unlink(path);
	if (!parent_path)
		create.size_bytes = STORAGE_LOAD_DISK_BYTES;
	else if (block_open(parent_path, &read_only, &create.parent, error))
		fail(error);
	if (block_create(path, &create, error))
		fail(error);
	bench_must(path, block_close(create.parent));
}

static double run_image(const struct storage_load_case *is, const struct image *image)
{
	const char *parent = image->child ? generations[GENERATION_COUNT - 1] : NULL;
	double cpu_us;

	if (is->once || image->fresh)
		make_empty(image->path, image->format, parent);
	if (image->child)
		for (size_t i = 0; i < GENERATION_COUNT; i++)
			storage_load_forget(generations[i]);
	storage_load_forget(image->path);
	return storage_load_run(is, image->path, image->format, &cpu_us);
}

/* Raw is what the others are compared with. */
static bool wanted(const struct image *image, const char *pattern)
{
	return image == images || strstr(image->name, pattern);
}

static void run_case(const struct storage_load_case *is, const char *pattern)
{
	double rates[IMAGE_COUNT][RUNS], value, raw = 0;
	const char *unit;

	for (unsigned run = 0; run < RUNS; run++)
		for (size_t i = 0; i < IMAGE_COUNT; i++)
			if (wanted(&images[i], pattern))
				rates[i][run] = run_image(is, &images[i]);
	for (size_t i = 0; i < IMAGE_COUNT; i++) {
		if (!wanted(&images[i], pattern))
			continue;
		value = storage_load_in_unit(is, bench_median(rates[i], RUNS), &unit);
		if (!i)
			raw = value;
		else
			printf("image_%s_%s %.1f %s raw %.1f %s %.2f\n", images[i].name, is->name, value,
			       unit, raw, unit, value / raw);
	}
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const struct image base = { "base", "vhdx", generations[0] };
	const char *case_pattern = argc > 1 ? argv[1] : "", *image_pattern = argc > 2 ? argv[2] : "";

	run_image(&fill, &base);
	for (size_t i = 1; i < GENERATION_COUNT; i++)
		make_empty(generations[i], "vhdx", generations[i - 1]);
	for (size_t i = 0; i < IMAGE_COUNT; i++)
		if (wanted(&images[i], image_pattern))
			run_image(&fill, &images[i]);
	for (size_t i = 0; i < CASE_COUNT; i++)
		if (strstr(cases[i].name, case_pattern))
			run_case(&cases[i], image_pattern);
	for (size_t i = 0; i < IMAGE_COUNT; i++)
		unlink(images[i].path);
	for (size_t i = 0; i < GENERATION_COUNT; i++)
		unlink(generations[i]);
	return 0;
}
