/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A random load on an image that is cut off by power cuts (power_cut.h): requests from two loops, several
 * at a time, with writes, zeroes, discards, FUA and flushes. What is left of the image must open, have
 * nothing to complain of afterwards, and hold in each sector what was last flushed or something that was
 * written later.
 *
 * A run makes an image, loads it, and then checks crash states while @change is at work, or, without
 * one, while more load is, in the course of which the image may be changed under the load (@front).
 */
#ifndef OPENLIS_TESTS_CRASH_LOAD_H
#define OPENLIS_TESTS_CRASH_LOAD_H

#include <stdbool.h>
#include <stdint.h>

struct block_device;
struct io_loop;

struct crash_image {
	const char *name;
	uint64_t size_bytes;
	/*
	 * Files of the image, in one folder: what is opened is the last one that exists, but for crash_opens().
	 * All but the first are made by @derive, or later.
	 */
	const char *files[4];
	/** @make: an image at @path that reads as zero */
	void (*make)(const char *path, const struct crash_image *image);
	/** @derive: optional; after some load on files[0], closed: make others that read the same */
	void (*derive)(const char *folder, const struct crash_image *image);
	/** @change: optional; the closed image, derived ones after more load: change its shape, not what it reads as */
	void (*change)(const char *folder, const struct crash_image *image);
	/** @again: optional; bring a change that was cut off to its end: it can only be read before */
	void (*again)(const char *folder, const struct crash_image *image);
	/**
	 * @front: optional; a device in front of the image that was opened, which it owns. Requests come to it
	 * from @loops while crash states are checked.
	 */
	struct block_device *(*front)(const struct crash_image *image, struct block_device *device,
				      struct io_loop *const *loops);
	/** @during: with @front; called between any two steps. Return: something is still under way */
	bool (*during)(void);
	const void *context; /* for these */
	uint32_t block_bytes; /* whole blocks are discarded too, in none of which is more than one spot; 0: they are not */
};

struct crash_run {
	uint64_t seed;
	uint32_t steps;            /* of a request begun, or an operation done */
	uint32_t combine, samples; /* see struct power_cut */
	bool faults;               /* some operations on the file fail, or do only a part; requests may, too */
};

/** crash_load() - One run; fails the test where something was lost. Return: states checked. */
uint64_t crash_load(const struct crash_image *image, const struct crash_run *run);

/** crash_step() - A request begun, or an operation done; for what is called while the load is under way. */
void crash_step(void);

/** crash_opens() - From here on it is @file that is opened of the image, as long as it exists. */
void crash_opens(const char *file);

/** crash_make() - For @make: block_create() with context as its options and size_bytes as size. */
void crash_make(const char *path, const struct crash_image *image);

/** crash_derive() - For @derive: files[1] as a child of files[0], with context as its options. */
void crash_derive(const char *folder, const struct crash_image *image);

#endif
