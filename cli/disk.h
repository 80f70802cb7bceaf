/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Between the files of `lis disk`. */
#ifndef OPENLIS_CLI_DISK_H
#define OPENLIS_CLI_DISK_H

#include "cli/commands.h"
#include "storage/block.h"

#define DISK_TEXT_BYTES 32

struct json_object;

/* What the options of all sub-commands say. */
struct disk_options {
	const char *paths[2];
	int path_count;
	const char *format;
	uint64_t size_bytes;  /* 0: not given */
	uint32_t block_bytes; /* 0: not given */
	uint32_t sector_bytes; /* 0: not given */
	const char *into;     /* NULL: not given */
	bool fixed, force, json, keep, quiet, shrink, repair, help;
};

/** disk_create(), ... - A sub-command. Return: exit status. */
int disk_create(const struct disk_options *options);
int disk_convert(const struct disk_options *options);
int disk_info(const struct disk_options *options);
int disk_check(const struct disk_options *options);
int disk_resize(const struct disk_options *options);
int disk_compact(const struct disk_options *options);
int disk_map(const struct disk_options *options);
int disk_diff(const struct disk_options *options);
int disk_merge(const struct disk_options *options);

/** disk_lines_json() - block_details.problems or notes as an array. */
struct json_object *disk_lines_json(const char *const *lines);

/** disk_size_text() - "20 GiB". Return: @out. */
const char *disk_size_text(uint64_t bytes, char out[DISK_TEXT_BYTES]);

/* An image on its way: made under another name, so that what is not finished is never seen. */
struct disk_target {
	const char *path;
	char *temporary; /* owned */
	int lock_fd;     /* of the file that is to be replaced; -1: there is none */
	bool force;
};

/**
 * disk_target_begin() - Make an empty image beside @path; complains if it cannot.
 * @create: size and kind; the size is rounded up where the format wants it
 *
 * From here to its end SIGINT, SIGTERM and SIGHUP only set a mark, see disk_interrupted().
 *
 * Return: 0, -1.
 */
int disk_target_begin(struct disk_target *target, const char *path, bool force,
		      struct block_create_options *create) LIS_MUST_USE;

/** disk_round_size() - What a format makes of a size; says so where it is another one. */
uint64_t disk_round_size(const char *path, const char *format, uint64_t size_bytes);

/** disk_target_finish() - Give it its name, durably. Return: 0, -1 (complained, all gone). */
int disk_target_finish(struct disk_target *target) LIS_MUST_USE;

/** disk_target_drop() - Leave nothing. */
void disk_target_drop(struct disk_target *target);

/** disk_catch_signals() - From here on SIGINT, SIGTERM and SIGHUP only set a mark. */
void disk_catch_signals(void);

/** disk_interrupted() - Has a signal asked to stop? */
bool disk_interrupted(void);

/** disk_format() - The format a new file is to have: as given, or by its name; NULL (complained). */
const char *disk_format(const struct disk_options *options, const char *path);

#endif
