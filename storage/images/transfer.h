/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Moves one contiguous run of an image file between the file and a request's buffers, whatever the
 * kernel makes of it: short results are continued, long vectors go in pieces, what cannot be cleared
 * by fallocate() is written. Needs no memory beyond the request's own driver fields.
 *
 * A request goes through any number of runs, one after the other; @done_bytes and the place in the
 * vector move along.
 */
#ifndef OPENLIS_STORAGE_IMAGES_TRANSFER_H
#define OPENLIS_STORAGE_IMAGES_TRANSFER_H

#include <stddef.h>

#include "storage/images/image.h"

#define TRANSFER_DSYNC 0x1u       /* writes of this run are durable when they end */
#define TRANSFER_NEEDS_FLUSH 0x2u /* the format's: something of a FUA request is not durable yet */
#define TRANSFER_WRITE_ZERO 0x4u  /* own use: fallocate() does not work here, zeroes are written */
#define TRANSFER_SETTLE 0x8u      /* the format's: waits until its metadata is durable, to go on after it */

typedef void transfer_finished(struct block_request *request, int error);

/* Lives in block_request.driver_data while the driver has the request. */
struct transfer {
	union {
		struct {
			uint64_t file_offset_bytes; /* of what is left of the run */
			uint64_t left_bytes;
		};
		struct io_call call; /* the format's, between runs */
	};
	uint64_t done_bytes;         /* of the request */
	uint64_t mark_bytes;         /* the format's: the last so many of them are not in its bitmaps yet */
	uint64_t iov_skip_bytes;     /* done of iov[iov_index] */
	uint32_t iov_index;
	int16_t error;               /* the format's, for the time @call is under way */
	uint16_t flags;
	transfer_finished *finished;
};

_Static_assert(sizeof(struct transfer) <= sizeof(((struct block_request *)0)->driver_data),
	       "a transfer fits into the request");

static inline struct transfer *transfer_of(struct block_request *request)
{
	return (struct transfer *)request->driver_data;
}

/* The request whose transfer.call was called. */
static inline struct block_request *transfer_call_request(struct io_call *call)
{
	return (struct block_request *)((char *)call - offsetof(struct transfer, call) -
					offsetof(struct block_request, driver_data));
}

/* The request whose block_request.io was done. */
static inline struct block_request *transfer_io_request(struct io_op *op)
{
	return (struct block_request *)((char *)op - offsetof(struct block_request, io));
}

/* The image a request was submitted to. */
static inline struct image *transfer_image(struct block_request *request)
{
	return request->driver;
}

/** transfer_init() - Start at the request's first byte. */
void transfer_init(struct image *image, struct block_request *request);

/**
 * transfer_data() - Read or write (as request->op says) the next @bytes of the request.
 * @request: initialized, at least @bytes left
 * @file_offset_bytes: where the run begins in the file
 * @bytes: more than 0
 * @finished: gets 0, -LIS_EMPTY (reading met the end of the file; done_bytes says where), or an
 *            error of block_done; called from the loop's completions, or from here if the run is the
 *            whole of a READ and the page cache has it
 *
 * Context: request->loop's thread.
 */
void transfer_data(struct block_request *request, uint64_t file_offset_bytes, uint64_t bytes,
		   transfer_finished *finished);

/**
 * transfer_clear() - As transfer_data() for DISCARD and WRITE_ZEROES. A discard that the file system
 * does not know ends well and changes nothing.
 */
void transfer_clear(struct block_request *request, uint64_t file_offset_bytes, uint64_t bytes,
		    transfer_finished *finished);

/** transfer_cut_off() - What -LIS_EMPTY means where the file once was longer: told, and -LIS_IO. */
int transfer_cut_off(struct block_request *request);

/** transfer_sync() - fdatasync(). */
void transfer_sync(struct block_request *request, transfer_finished *finished);

/** transfer_advance() - The next @bytes were done by other means; moves along. */
void transfer_advance(struct block_request *request, uint64_t bytes);

/** transfer_fill_zero() - The next @bytes of a READ are zero; moves along, submits nothing. */
void transfer_fill_zero(struct block_request *request, uint64_t bytes);

#endif
