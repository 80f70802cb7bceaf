/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What block.c and the image formats share: the opened, locked file, and the base of each format's
 * own struct.
 */
#ifndef OPENLIS_STORAGE_IMAGES_IMAGE_H
#define OPENLIS_STORAGE_IMAGES_IMAGE_H

#include <stdatomic.h>
#include <sys/stat.h>

#include "storage/block.h"

/* Smallest piece of anything in a file; buffers for metadata are aligned to it, which suits O_DIRECT. */
#define IMAGE_PAGE_BYTES 4096u

/* Alignment of buffers in memory that O_DIRECT is asked to take. [policy] checked by a read at open */
#define IMAGE_DIRECT_ALIGN_BYTES 512u

/* A file that is open and locked, before its format took it over. */
struct image_file {
	const char *path;
	int fd;
	struct stat stat;
	uint64_t size_bytes;
	bool is_device;  /* a host block device */
	bool read_only;
	bool direct;     /* O_DIRECT is wanted; image_finish() switches it on */
	bool bulk;       /* block_open_options.bulk: the same, without a word where it does not work */
	bool can_punch;  /* fallocate() punches holes here */
	struct block_device *parent;    /* block_open_options.parent */
	const struct image *instead;    /* as block_open_options.instead of */
	const struct image_file *child; /* it is opened as a parent of this one */
	const struct block_check *check; /* block_open_options.check */
};

/* When the user was last told of a failure of each kind: enum block_op, or this. */
#define IMAGE_METADATA 5u
struct image_told {
	atomic_uint at_s[IMAGE_METADATA + 1];
};

/* Base of raw and vhdx. @device comes first: a struct block_device * is a struct image *. */
struct image {
	struct block_device device;
	int fd;
	/* How ranges are cleared: flags for fallocate(2), 0: by writing zeroes only. */
	int clear_mode;
	bool cached;       /* a file read through the page cache */
	bool reserves;     /* image_reserve() does something */
	atomic_int missed; /* so many reads go by without asking the page cache first */
	struct image_told told;
};

/**
 * image_error() - Write the line for the user.
 * @error: BLOCK_ERROR_BYTES, or NULL
 * @code: negative, handed back
 * @path: file the line is about
 * @format: the reason, as printf
 *
 * Context: any.
 * Return: @code.
 */
int image_error(char *error, int code, const char *path, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/**
 * image_init() - Fill the base from the opened file; geometry is the format's.
 * @image: zeroed
 * @file: stays the caller's; on success its descriptor belongs to @image
 * @driver: of the format
 *
 * Return: 0, -LIS_NOMEM.
 */
int image_init(struct image *image, const struct image_file *file,
	       const struct block_driver *driver) LIS_MUST_USE;

/**
 * image_finish() - Last step of opening: O_DIRECT if wanted and possible with this geometry.
 * @image: with its geometry, whose buffer_align_bytes is set here
 * @file: as given to image_init()
 */
void image_finish(struct image *image, const struct image_file *file);

/** image_fini() - Close the descriptor (which unlocks) and free the path. Not @image itself. */
void image_fini(struct image *image);

/**
 * image_read() - Read synchronously, all of it; for opening and closing.
 *
 * Context: may sleep.
 * Return: 0, -LIS_IO (also where the file ends before).
 */
int image_read(int fd, void *data, uint64_t bytes, uint64_t offset_bytes) LIS_MUST_USE;

/** image_write() - As image_read(), writing. Return: 0, -LIS_IO, -LIS_NOSPACE, -LIS_READONLY. */
int image_write(int fd, const void *data, uint64_t bytes, uint64_t offset_bytes) LIS_MUST_USE;

/**
 * image_clear() - Make a part of a file read as zero, by a hole if possible; whole sectors.
 * Return: as image_write().
 */
int image_clear(int fd, uint64_t from, uint64_t to) LIS_MUST_USE;

/**
 * image_reserve() - Where writes are small and direct, have room on the disk for a part of a file that holds
 * nothing yet. A file system gives it for many blocks at once as quickly as for one, and without the page cache
 * each small write into a hole asks for its own [measured: bench/images.c, "child" and "empty"].
 * @block_bytes: the image's unit of allocation; where it is large, a little data would cost much room, and
 *	nothing is done
 *
 * A help: where it does not work, writes ask for their room as ever. Context: may sleep.
 */
void image_reserve(const struct image *image, uint32_t block_bytes, uint64_t from, uint64_t to);

/** image_is_zero() - Are all of @bytes, more than none, zero? */
bool image_is_zero(const void *data, uint64_t bytes);

/** image_errno() - What block_done says for an errno. Return: -LIS_IO, -LIS_NOSPACE, -LIS_READONLY, -LIS_NOMEM. */
int image_errno(int posix);

/**
 * image_tell_now() - Is this failure worth a line in the log? One a minute is, of its kind; a full disk fails
 * every request. Context: any thread.
 */
bool image_tell_now(struct image_told *told, unsigned kind);

/** image_no_room() - Tell that the file could not be made longer. */
void image_no_room(struct image *image, int error);

/**
 * image_place_id() - An identity for an image that carries none: its place has to do. The same path is the
 * same disk to the guest, also after the file was restored from a backup.
 */
void image_place_id(const char *path, struct guid *out_id);

/**
 * image_open() - Open, lock and parse the file that is at file->path.
 * @file: path, read_only, direct, parent and child are set
 * @format: as block_open_options.format
 *
 * Context and return: as block_open().
 */
int image_open(struct image_file *file, const char *format, struct block_device **out_device,
	       char *error) LIS_MUST_USE;

/**
 * raw_open() - The format that is none.
 * @file: taken over on success
 * @out_device: set on success only
 * @error: as block_open()
 *
 * Context: may sleep.
 * Return: 0, -LIS_FORMAT, -LIS_NOMEM, -LIS_IO.
 */
int raw_open(const struct image_file *file, struct block_device **out_device, char *error) LIS_MUST_USE;

#endif
