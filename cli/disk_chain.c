// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * `lis disk diff` and `merge`: differencing images, made and merged into their parents.
 *
 * A merge writes what the child has into the parent, makes that durable, and only then removes the
 * child; of several levels the lowest first, all into the base. Whenever it is interrupted the child still
 * reads the same, over a base that has part of it already, so it can be run again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/disk.h"
#include "cli/exit.h"
#include "io/error.h"
#include "storage/merge.h"

/* ---- diff ---- */

/* A new child of an image that is open. Return: 0, -1 (complained). */
static int make_child(struct block_device *parent, const char *path, uint32_t block_bytes, bool force)
{
	struct block_create_options create = {
		.format = parent->driver->name,
		.block_bytes = block_bytes,
		.parent = parent,
	};
	struct disk_target target;

	return disk_target_begin(&target, path, force, &create) || disk_target_finish(&target) ? -1 : 0;
}

static struct block_device *open_reading(const char *path, const char *format)
{
	const struct block_open_options open_options = { .format = format, .read_only = true };
	char error[BLOCK_ERROR_BYTES];
	struct block_device *device;

	if (block_open(path, &open_options, &device, error)) {
		complain("%s", error);
		return NULL;
	}
	return device;
}

int disk_diff(const struct disk_options *options)
{
	struct block_device *parent = open_reading(options->paths[0], options->format);
	int result;

	if (!parent)
		return LIS_EXIT_ERROR;
	if (!strcmp(parent->driver->name, "raw")) {
		(void)block_close(parent);
		return complain("%s: is raw; only VHD and VHDX can have children (convert it first)",
				options->paths[0]);
	}
	result = make_child(parent, options->paths[1], options->block_bytes, options->force);
	(void)block_close(parent);
	return result ? LIS_EXIT_ERROR : LIS_EXIT_OK;
}

/* ---- merge ---- */

#define CHAIN_MAX 257

/* Paths from a child to the image it is merged into. */
struct chain {
	char *paths[CHAIN_MAX];
	int count;
};

static bool same_file(const char *a, const char *b)
{
	struct stat left, right;

	return stat(a, &left) == 0 && stat(b, &right) == 0 && left.st_dev == right.st_dev &&
	       left.st_ino == right.st_ino;
}

/* Which images are merged; opening them all says whether they belong together. */
static int find_chain(const struct disk_options *options, struct chain *chain)
{
	struct block_device *device = open_reading(options->paths[0], options->format);
	bool found = false;

	if (!device)
		return LIS_EXIT_ERROR;
	for (struct block_device *at = device; at && !found && chain->count < CHAIN_MAX; at = at->parent) {
		chain->paths[chain->count] = realpath(at->path, NULL);
		if (!chain->paths[chain->count])
			break;
		chain->count++;
		found = chain->count > 1 && (!options->into || same_file(at->path, options->into));
	}
	(void)block_close(device);
	if (found)
		return LIS_EXIT_OK;
	if (options->into)
		return complain("%s: is not over %s", options->paths[0], options->into);
	return complain("%s: is not a differencing image: it has no parent", options->paths[0]);
}

/* What was merged goes; first the child, so that at no time one is there without its parent. */
static int remove_merged(const struct chain *chain, const struct disk_options *options)
{
	int status = LIS_EXIT_OK;

	if (options->keep) {
		struct block_device *base = open_reading(chain->paths[chain->count - 1], NULL);

		if (!base)
			return LIS_EXIT_ERROR;
		if (make_child(base, chain->paths[0], options->block_bytes, true))
			status = LIS_EXIT_ERROR;
		(void)block_close(base);
	}
	for (int i = options->keep; i + 1 < chain->count && !status; i++)
		if (unlink(chain->paths[i]) < 0)
			status = complain("%s: is merged, but cannot be removed: %s", chain->paths[i],
					  strerror(errno));
	return status;
}

int disk_merge(const struct disk_options *options)
{
	struct chain chain = { .count = 0 };
	char error[BLOCK_ERROR_BYTES];
	int status = find_chain(options, &chain);

	if (!status && merge_images(chain.paths, (size_t)chain.count, NULL, NULL, error))
		status = complain("%s", error);
	if (!status)
		status = remove_merged(&chain, options);
	for (int i = 0; i < chain.count; i++)
		free(chain.paths[i]);
	return status;
}
