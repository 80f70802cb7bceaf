/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Parents of differencing images: how a child says where its parent is, in Windows' paths, and how that
 * is found here. What makes a file the right parent is the format's.
 */
#ifndef OPENLIS_STORAGE_IMAGES_PARENT_H
#define OPENLIS_STORAGE_IMAGES_PARENT_H

#include <stddef.h>

#include "storage/images/image.h"

#define PARENT_PATHS_MAX 8
#define PARENT_DEPTH_MAX 256      /* [policy] images above one another; Hyper-V makes 50 of a machine */
#define PARENT_PATH_BYTES_MAX 32768u /* [policy] of one path in UTF-16 */
#define PARENT_REASON_BYTES 160

/* What a child looks for. */
struct parent_search {
	const char *format;           /* of both */
	uint64_t size_bytes;
	uint32_t sector_bytes;
	char *paths[PARENT_PATHS_MAX]; /* UTF-8, as Windows has them, relative ones first; owned */
	uint32_t path_count;
	/*
	 * Is @parent, of the right format, the one @child was made over? If not, @reason gets why, as what
	 * follows "it": "has another identity".
	 */
	bool (*is_it)(const void *child, struct block_device *parent, char reason[PARENT_REASON_BYTES]);
	const void *child;
};

/**
 * parent_add_path() - One more path to look at, those beyond PARENT_PATHS_MAX are dropped.
 * @utf16: text without a terminating zero, or with
 * @bytes: its length
 * @big_endian: byte order
 *
 * Return: 0, -LIS_FORMAT (not UTF-16, too long), -LIS_NOMEM.
 */
int parent_add_path(struct parent_search *search, const uint8_t *utf16, size_t bytes,
		    bool big_endian) LIS_MUST_USE;

/** parent_search_fini() - Free the paths. */
void parent_search_fini(struct parent_search *search);

/**
 * parent_open() - The parent of @file: the one that is given, or the first one found that is right.
 * @file: the child, open
 * @out_parent: set on success only; block_open_options.parent where that is given
 * @error: a line that names the child, and the parent where there is one
 *
 * Looked for, in this order: where the relative paths lead from the child's folder; a file of that name
 * beside the child; where the absolute paths lead without their drive. Names that are not there are
 * tried again without regard to case.
 *
 * Return: as block_open().
 */
int parent_open(const struct image_file *file, const struct parent_search *search,
		struct block_device **out_parent, char *error) LIS_MUST_USE;

/**
 * parent_check_circle() - Is @file one of its own children?
 * Return: 0, -LIS_FORMAT with the line (also where the chain is too long).
 */
int parent_check_circle(const struct image_file *file, char *error) LIS_MUST_USE;

/* What a new child writes of its parent, as Windows has it, in UTF-16 little-endian. */
struct parent_names {
	uint8_t *relative, *absolute; /* owned */
	uint16_t relative_bytes, absolute_bytes;
};

/**
 * parent_name() - How a child at @child_path will find @parent_path.
 * @out_names: set on success only; parent_names_fini() frees it
 *
 * The absolute one gets the drive letter C, which is dropped again when it is read here; on Windows the
 * relative one will do.
 *
 * Return: 0, or an error with its line.
 */
int parent_name(const char *child_path, const char *parent_path, struct parent_names *out_names,
		char *error) LIS_MUST_USE;

void parent_names_fini(struct parent_names *names);

#endif
