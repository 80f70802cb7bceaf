// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* `lis disk resize` and `compact`: change an image where it is. */
#include <stdio.h>
#include <sys/stat.h>

#include "cli/disk.h"
#include "cli/exit.h"
#include "cli/options.h"
#include "cli/progress.h"

/* ---- resize ---- */

/* How much data is behind @from. */
static uint64_t data_behind(struct block_device *device, uint64_t from)
{
	uint64_t sum_bytes = 0;

	while (from < device->geometry.size_bytes) {
		struct block_extent extent;

		if (block_map(device, from, &extent))
			return device->geometry.size_bytes - from;
		sum_bytes += extent.data ? extent.length_bytes : 0;
		from += extent.length_bytes;
	}
	return sum_bytes;
}

static int resize(struct block_device *device, uint64_t size_bytes, bool shrink)
{
	char error[BLOCK_ERROR_BYTES], old[DISK_TEXT_BYTES], new[DISK_TEXT_BYTES], lost[DISK_TEXT_BYTES];
	uint64_t lost_bytes = 0;

	size_bytes = disk_round_size(device->path, device->driver->name, size_bytes);
	disk_size_text(device->geometry.size_bytes, old);
	disk_size_text(size_bytes, new);
	if (size_bytes < device->geometry.size_bytes) {
		lost_bytes = data_behind(device, size_bytes);
		if (!shrink)
			return complain("%s: is %s; to make it %s loses what is behind, %s of data (--shrink does it)",
					device->path, old, new, disk_size_text(lost_bytes, lost));
	}
	if (block_resize(device, size_bytes, error))
		return complain("%s", error);
	if (lost_bytes)
		fprintf(stderr, "lis: %s: %s of data behind %s were cut off\n", device->path,
			disk_size_text(lost_bytes, lost), new);
	return LIS_EXIT_OK;
}

int disk_resize(const struct disk_options *options)
{
	const struct block_open_options open_options = { .format = options->format };
	const char *text = options->paths[1];
	bool more = *text == '+';
	char error[BLOCK_ERROR_BYTES];
	struct block_device *device;
	uint64_t bytes;
	int status;

	if (options_parse_size(text + more, &bytes, error)) {
		complain("resize: %s", error);
		return LIS_EXIT_USAGE;
	}
	if (block_open(options->paths[0], &open_options, &device, error))
		return complain("%s", error);
	if (more && __builtin_add_overflow(bytes, device->geometry.size_bytes, &bytes))
		status = complain("%s: cannot be %s longer", device->path, text + 1);
	else
		status = resize(device, bytes, options->shrink);
	if (block_close(device) && !status)
		status = complain("%s: cannot be written", options->paths[0]);
	return status;
}

/* ---- compact ---- */

static bool show(void *context, uint64_t done_bytes, uint64_t all_bytes)
{
	progress_show(context, done_bytes, all_bytes);
	return !disk_interrupted();
}

static uint64_t room(const char *path)
{
	struct stat status;

	return stat(path, &status) < 0 ? 0 : (uint64_t)status.st_blocks * 512;
}

int disk_compact(const struct disk_options *options)
{
	const struct block_open_options open_options = { .format = options->format };
	char error[BLOCK_ERROR_BYTES], before[DISK_TEXT_BYTES], after[DISK_TEXT_BYTES];
	const char *path = options->paths[0];
	uint64_t before_bytes = room(path);
	struct block_device *device;
	struct progress progress;
	struct block_compact how = { show, &progress };
	int result;

	if (block_open(path, &open_options, &device, error))
		return complain("%s", error);
	disk_catch_signals();
	progress_begin(&progress, options->quiet);
	result = block_compact(device, &how, error);
	progress_end(&progress);
	if (block_close(device) && !result)
		return complain("%s: cannot be written", path);
	if (result)
		return complain("%s", error);
	if (!options->quiet)
		printf("%s: took %s on the disk, takes %s\n", path, disk_size_text(before_bytes, before),
		       disk_size_text(room(path), after));
	return LIS_EXIT_OK;
}
