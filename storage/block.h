/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The block device a storage VSP writes to: asynchronous, vectored, no copy. An image format (images/)
 * implements it; the VSP does not know which.
 */
#ifndef OPENLIS_STORAGE_BLOCK_H
#define OPENLIS_STORAGE_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "io/loop.h"
#include "vmbus/error.h"
#include "vmbus/guid.h"

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,   /* everything completed before it is durable after it */
	BLOCK_DISCARD, /* contents become undefined or zero (see struct block_geometry) */
	BLOCK_WRITE_ZEROES,
};

#define BLOCK_WRITE_FUA 0x1u /* durable at completion */
/* FLUSH: what children will know the image by stays from here on until it is closed, whatever is written to it. */
#define BLOCK_FLUSH_IDENTITY 0x2u

struct block_request;

/**
 * block_done - End of a request; exactly once for each submission, on the loop it was submitted from,
 * possibly before block_submit() returns. @result: 0, -LIS_IO, -LIS_NOSPACE, -LIS_READONLY,
 * -LIS_INVALID (range), -LIS_NOMEM, -LIS_CORRUPT (image damaged), -LIS_GONE.
 */
typedef void block_done(struct block_request *request, int result);

/* Belongs to the caller, and must stay in place until done. */
struct block_request {
	enum block_op op;
	uint32_t flags;
	uint64_t offset_bytes;   /* multiple of the logical sector */
	uint64_t length_bytes;   /* of the data; the sum of the iovecs for READ and WRITE */
	const struct iovec *iov; /* unused by FLUSH, DISCARD, WRITE_ZEROES */
	uint32_t iov_count;
	block_done *done;

	struct io_loop *loop;    /* set by block_submit() */

	/* Those of a device in front of another (live.c) while the request is under way. */
	block_done *above;
	void *layer;

	/* The rest is the image driver's while the request is under way. */
	struct io_op io;
	struct block_request *next;
	void *driver;
	uint64_t driver_data[7];
};

struct block_geometry {
	uint64_t size_bytes;
	uint32_t logical_sector_bytes;  /* 512 or 4096 */
	uint32_t physical_sector_bytes;
	uint32_t buffer_align_bytes;    /* alignment iovecs need for zero copy; 1: none. Others are bounced by block_submit(). */
	uint32_t discard_granularity_bytes; /* 0: DISCARD is accepted and does nothing */
	bool discard_zeroes;            /* discarded sectors read as zero */
	bool read_only;
	struct guid unique_id;          /* stable identity for INQUIRY page 0x83 */
};

struct block_device;

/* A part of a disk from some place on. */
struct block_extent {
	uint64_t length_bytes; /* at least a sector */
	bool data;             /* false: reads as zero, and needs no reading to know it */
	bool inherited;        /* block_map_own() only: what the parent has shows through */
};

#define BLOCK_DETAILS_LINES 4

/* What a format can tell beyond the geometry, for people. Strings live as long as the device. */
struct block_details {
	const char *kind;     /* "fixed", "dynamic"; NULL: there are none */
	char creator[5];      /* program that made it; empty: not told */
	uint32_t block_bytes; /* unit of allocation; 0: none */
	uint64_t blocks, blocks_present;
	const char *problems[BLOCK_DETAILS_LINES]; /* damage that did not keep it from being opened */
	const char *notes[BLOCK_DETAILS_LINES];
};

/* Who has an image compacted. */
struct block_compact {
	/** @goes_on: so much of the work is through; false: stop */
	bool (*goes_on)(void *context, uint64_t done_bytes, uint64_t all_bytes);
	void *context;
};

struct block_driver {
	const char *name; /* "raw", "vhd", "vhdx" */
	bool forwards;    /* by block_submit() to another device, which does the checking */
	void (*submit)(struct block_device *device, struct block_request *request);
	/* Called when nothing is in flight. Makes everything durable. Returns 0 or an error; frees in any case. */
	int (*close)(struct block_device *device);
	/* Optional, see block_map_own() and block_describe(); @out_extent has the rest of the disk as data. */
	int (*map)(struct block_device *device, uint64_t offset_bytes, struct block_extent *out_extent);
	void (*describe)(struct block_device *device, struct block_details *out_details);
	/* Optional, see block_begin_merge(). */
	void (*begin_merge)(struct block_device *child);
	/* Optional, see block_prepare_merge(). */
	int (*prepare_merge)(struct block_device *child, char *error);
	/* Optional, see block_resize(), which has checked what is the same for all formats. */
	int (*resize)(struct block_device *device, uint64_t size_bytes, char *error);
	/* Optional, see block_repair(): what opening for writing has not put right by itself. */
	int (*repair)(struct block_device *device);
	/* Optional, see block_compact(). */
	int (*compact)(struct block_device *device, const struct block_compact *how, char *error);
};

/* Base of each driver's own struct. While it is open only block_resize() changes @geometry: its size. */
struct block_device {
	const struct block_driver *driver;
	struct block_geometry geometry;
	char *path;
	struct block_device *parent; /* differencing: what is under it, its own; NULL: none */
};

/* Who looks for damage. */
struct block_check {
	/** @path: of the image, or of one of its parents; @reason: what is wrong, for the user. Return: go on? */
	bool (*found)(void *context, const char *path, const char *reason);
	void *context;
};

struct block_open_options {
	const char *format;     /* NULL: found out from the contents; raw where nothing else fits */
	bool read_only;
	bool direct;            /* O_DIRECT where the file system has it */
	bool bulk;              /* written once and in large pieces: O_DIRECT, too, but no room ahead of what is written */
	uint32_t timeout_ms;    /* over a network: how long the other side may be silent; 0: 15 s */
	/*
	 * A differencing image only: its parent, open already. NULL: it is looked for where the image says,
	 * and opened read-only. From success on it belongs to the new device, which closes it, and nobody
	 * else writes to it. It may be open for writing: what was written to it is what shows through, and
	 * its exclusive lock is kept.
	 */
	struct block_device *parent;
	/*
	 * With read_only: damage of a table of blocks does not end opening. All of it is told, of the parents too,
	 * and then the device is good only to be described and closed. What nothing can be found behind is an
	 * error as ever.
	 */
	const struct block_check *check;
	/*
	 * The same file, open for reading only and in use: what is opened has its lock from then on, and it none.
	 * On failure it keeps it. A VHD or VHDX, whose parent, if it has one, is given as @parent and has two
	 * children then, until block_detach() of one of them.
	 */
	struct block_device *instead;
};

/* Enough for a path and a reason. */
#define BLOCK_ERROR_BYTES 512

/**
 * block_open() - Open an image with its lock (shared for read-only, exclusive for writing).
 * @path: file, host block device, or the URI of an NBD server's export (images/nbd.h)
 * @options: NULL for defaults
 * @out_device: set on success only
 * @error: BLOCK_ERROR_BYTES; on failure one line for the user that names the file and the reason
 *
 * A differencing image opens its parents with it, each read-only and with a shared lock, whatever
 * @options says for itself: any number of children may be open over one parent, and none while
 * somebody writes to it. On failure options->parent stays the caller's.
 *
 * Context: may sleep; not on a loop that serves guests.
 * Return: 0, -LIS_NOTFOUND, -LIS_DENIED, -LIS_BUSY (somebody has it open for writing), -LIS_READONLY,
 * -LIS_FORMAT (damaged, not of the format, or over another parent), -LIS_UNSUPPORTED, -LIS_NOMEM, -LIS_IO,
 * -LIS_GONE (no server), -LIS_INVALID (a check that would write).
 */
int block_open(const char *path, const struct block_open_options *options,
	       struct block_device **out_device, char *error) LIS_MUST_USE;

/* A new image. */
struct block_create_options {
	const char *format;            /* "raw", "vhd", "vhdx"; NULL: raw, or the parent's */
	uint64_t size_bytes;           /* of the disk */
	uint32_t block_bytes;          /* unit of allocation; 0: the format's usual one */
	uint32_t logical_sector_bytes; /* 0: 512 */
	bool fixed;                    /* all blocks have their place from the start */
	bool allocate;                 /* fixed, raw: and their room on the disk */
	/*
	 * Not NULL: a differencing image over it, of its format and size (size_bytes, logical_sector_bytes: 0 or
	 * the same). It stays the caller's, and may be in use. What the child tells of it is where it is, and as
	 * which it was last changed: whoever has it open for writing has flushed it with BLOCK_FLUSH_IDENTITY.
	 * Then block_open() with the same device as block_open_options.parent gives what can be put in its
	 * place: from then on nobody writes to it, but for what is under way.
	 */
	struct block_device *parent;
};

/**
 * block_create() - Make an image that reads as zero, durably but for its name.
 * @path: must not exist
 * @options: what it is to be
 * @error: as block_open()
 *
 * Context: may sleep.
 * Return: 0, -LIS_REFUSED (it exists), -LIS_INVALID (the format cannot be so), -LIS_UNSUPPORTED (no such
 * format), -LIS_NOSPACE, -LIS_DENIED, -LIS_NOTFOUND, -LIS_NOMEM, -LIS_IO, -LIS_READONLY. On failure there
 * is no file.
 */
int block_create(const char *path, const struct block_create_options *options, char *error) LIS_MUST_USE;

/** block_sync_name() - Make the name of a new file durable, or that it is gone. Context: may sleep. */
void block_sync_name(const char *path);

/**
 * block_submit() - Start a request on @loop (the calling thread's). Checks range, alignment and
 * read-only before the driver sees it. Any number of loops may submit to one device at once.
 */
void block_submit(struct block_device *device, struct io_loop *loop, struct block_request *request);

/**
 * block_map() - Where data is.
 * @offset_bytes: whole sectors, on the disk
 * @out_extent: set on success only; neighbours may be alike
 *
 * Of what is written or discarded meanwhile it may tell either way.
 *
 * Context: any thread; may sleep.
 * Return: 0, -LIS_INVALID, -LIS_IO.
 */
int block_map(struct block_device *device, uint64_t offset_bytes, struct block_extent *out_extent) LIS_MUST_USE;

/**
 * block_map_own() - As block_map(), of the image alone: what shows through from its parent is told as such.
 */
int block_map_own(struct block_device *device, uint64_t offset_bytes,
		  struct block_extent *out_extent) LIS_MUST_USE;

/** block_describe() - What the format tells of itself. Context: as block_map(). */
void block_describe(struct block_device *device, struct block_details *out_details);

/**
 * block_resize() - Make the disk longer or shorter.
 * @size_bytes: whole sectors, at least one; what is behind it is lost, what is new reads as zero
 * @error: as block_open()
 *
 * A crash leaves the disk with its old or its new size. The size in device->geometry changes with
 * success; whoever copied it takes it anew.
 *
 * Context: may sleep; nothing may be in flight, on no loop.
 * Return: 0, -LIS_INVALID (the format cannot have that size), -LIS_UNSUPPORTED (the format cannot
 * change), -LIS_REFUSED (a host's device has another size), -LIS_READONLY, -LIS_NOSPACE, -LIS_NOMEM,
 * -LIS_IO. The disk has its old size then.
 */
int block_resize(struct block_device *device, uint64_t size_bytes, char *error) LIS_MUST_USE;

/**
 * block_detach() - Take the parent out of a differencing image, which is good only to be closed then.
 *
 * Context: nothing may be in flight.
 * Return: the parent, the caller's; NULL where there is none.
 */
struct block_device *block_detach(struct block_device *device);

/**
 * block_prepare_merge() - Have a child that is in use know its parent also when that is being merged into.
 * @child: differencing, open for writing, flushed with BLOCK_FLUSH_IDENTITY
 * @error: as block_open()
 *
 * A VHDX says so in its file, durably, as its second linkage. After this and block_begin_merge() it can be
 * opened over its parent, and written, at any time.
 *
 * Source: [ms-vhdx 2.6.2.6.3] parent_linkage2, which may match in place of parent_linkage.
 *
 * Context: may sleep; requests may be in flight.
 * Return: 0, -LIS_UNSUPPORTED (it has no room to say so), -LIS_NOMEM, -LIS_IO.
 */
int block_prepare_merge(struct block_device *child, char *error) LIS_MUST_USE;

/**
 * block_begin_merge() - What @child has will be written into its parent.
 * @child: differencing; its parent is open for writing, and nobody else writes to that
 *
 * A VHDX that is written gets a new identity, by which its children know that it is not what they were
 * made over. With this call it gets one, the next time that it is written or flushed with
 * BLOCK_FLUSH_IDENTITY, by which @child, and no other, knows that it is being merged: it can be opened
 * over it still, so that an interrupted merge can be run again; read-only, if it was not prepared.
 *
 * Context: any; nothing in flight on the parent but reads.
 */
void block_begin_merge(struct block_device *child);

/**
 * block_repair() - Put right what can be without a loss, of what block_describe() tells: copies of metadata of
 * which another one is good. The rest (footers, logs) opening for writing has done already.
 *
 * Context: as block_resize(). Return: 0, -LIS_READONLY, -LIS_NOSPACE, -LIS_NOMEM, -LIS_IO.
 */
int block_repair(struct block_device *device) LIS_MUST_USE;

/**
 * block_compact() - Give back the room in an image's file that its contents do not need: what is zero, and
 * gaps. The disk reads as before.
 * @error: as block_open()
 *
 * It can be stopped, and a crash may come, at any time: what was done so far stays done.
 *
 * Context: as block_resize().
 * Return: 0, -LIS_CANCELED (stopped by @how), -LIS_UNSUPPORTED (the format keeps its room), -LIS_READONLY,
 * -LIS_NOSPACE, -LIS_NOMEM, -LIS_IO.
 */
int block_compact(struct block_device *device, const struct block_compact *how, char *error) LIS_MUST_USE;

/** block_close() - Flush, close, unlock, free. Nothing may be in flight. NULL is fine. Return: as block_done. */
int block_close(struct block_device *device);

#endif
