// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Runs of an image file to and from a request's buffers: see transfer.h.
 *
 * A transfer belongs to the loop its request was submitted from; nothing here is shared.
 */
#include "storage/images/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>

#include "vmbus/os.h"

#define ONE_IO_BYTES (1u << 30) /* [policy] below what the kernel takes in one go */
#define AFTER_MISS 16 /* [policy] reads that go by the ring when the page cache did not have one */

#define ZERO_BYTES 65536u
#define ZERO_IOVS 16u

static const uint8_t zeroes[ZERO_BYTES] __attribute__((aligned(IMAGE_PAGE_BYTES)));

#define ZERO_IOV { .iov_base = (void *)(uintptr_t)zeroes, .iov_len = ZERO_BYTES }
static const struct iovec zero_iov[ZERO_IOVS] = {
	ZERO_IOV, ZERO_IOV, ZERO_IOV, ZERO_IOV, ZERO_IOV, ZERO_IOV, ZERO_IOV, ZERO_IOV,
	ZERO_IOV, ZERO_IOV, ZERO_IOV, ZERO_IOV, ZERO_IOV, ZERO_IOV, ZERO_IOV, ZERO_IOV,
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void transfer_init(struct image *image, struct block_request *request)
{
	request->driver = image;
	memset(request->driver_data, 0, sizeof(request->driver_data));
}

void transfer_advance(struct block_request *request, uint64_t bytes)
{
	struct transfer *transfer = transfer_of(request);

	transfer->done_bytes += bytes;
	if (transfer->done_bytes >= request->length_bytes)
		return; /* the place in the vector is not needed again */
	bytes += transfer->iov_skip_bytes;
	while (transfer->iov_index < request->iov_count &&
	       bytes >= request->iov[transfer->iov_index].iov_len)
		bytes -= request->iov[transfer->iov_index++].iov_len;
	transfer->iov_skip_bytes = bytes;
}

void transfer_fill_zero(struct block_request *request, uint64_t bytes)
{
	struct transfer *transfer = transfer_of(request);

	while (bytes) {
		const struct iovec *iov = &request->iov[transfer->iov_index];
		uint64_t now_bytes = smaller(bytes, iov->iov_len - transfer->iov_skip_bytes);

		memset((char *)iov->iov_base + transfer->iov_skip_bytes, 0, now_bytes);
		bytes -= now_bytes;
		transfer_advance(request, now_bytes); /* also past empty buffers */
	}
}

static void log_error(struct block_request *request, int posix)
{
	static const char *const names[] = { "reading", "writing", "flushing", "discarding", "zeroing" };
	struct image *image = transfer_image(request);

	if (image_tell_now(&image->told, request->op))
		os_log(OS_LOG_ERROR, "%s: %s at byte %llu failed: %s", image->device.path,
		       names[request->op],
		       (unsigned long long)(request->offset_bytes + transfer_of(request)->done_bytes),
		       strerror(posix));
}

int transfer_cut_off(struct block_request *request)
{
	struct image *image = transfer_image(request);

	if (image_tell_now(&image->told, request->op))
		os_log(OS_LOG_ERROR, "%s: the file ends where byte %llu should be: it was cut off meanwhile",
		       image->device.path,
		       (unsigned long long)(request->offset_bytes + transfer_of(request)->done_bytes));
	return -LIS_IO;
}

/* True where @result asks for the same again. */
static bool is_transient(int32_t result)
{
	return result == -EAGAIN || result == -EINTR;
}

/* ---- data ---- */

/* Whole buffers from @iov that fit into @bytes, as many as one call takes. */
static uint32_t whole_buffers(const struct iovec *iov, uint32_t count, uint64_t bytes)
{
	uint32_t whole = 0;

	if (count > IOV_MAX)
		count = IOV_MAX;
	while (whole < count && iov[whole].iov_len <= bytes)
		bytes -= iov[whole++].iov_len;
	return whole;
}

static void submit_data(struct block_request *request)
{
	struct transfer *transfer = transfer_of(request);
	struct image *image = transfer_image(request);
	struct io_uring_sqe *sqe = io_loop_sqe(request->loop, &request->io);
	const struct iovec *iov = &request->iov[transfer->iov_index];
	uint32_t count = request->iov_count - transfer->iov_index;
	bool write = request->op == BLOCK_WRITE;

	if (!transfer->iov_skip_bytes && transfer->left_bytes != iov->iov_len) {
		if (transfer->left_bytes != request->length_bytes || count > IOV_MAX)
			count = whole_buffers(iov, count, transfer->left_bytes);
	} else {
		count = 0;
	}
	if (count) {
		if (write)
			io_uring_prep_writev(sqe, image->fd, iov, count, transfer->file_offset_bytes);
		else
			io_uring_prep_readv(sqe, image->fd, iov, count, transfer->file_offset_bytes);
	} else {
		char *base = (char *)iov->iov_base + transfer->iov_skip_bytes;
		uint64_t bytes = smaller(iov->iov_len - transfer->iov_skip_bytes, ONE_IO_BYTES);

		bytes = smaller(bytes, transfer->left_bytes);
		if (write)
			io_uring_prep_write(sqe, image->fd, base, (unsigned)bytes,
					    transfer->file_offset_bytes);
		else
			io_uring_prep_read(sqe, image->fd, base, (unsigned)bytes,
					   transfer->file_offset_bytes);
	}
	if (write && (transfer->flags & TRANSFER_DSYNC))
		sqe->rw_flags = RWF_DSYNC;
}

static void data_done(struct io_op *op, int32_t result)
{
	struct block_request *request = transfer_io_request(op);
	struct transfer *transfer = transfer_of(request);

	if (is_transient(result)) {
		submit_data(request);
	} else if (result < 0) {
		log_error(request, -result);
		transfer->finished(request, image_errno(-result));
	} else if (result == 0) {
		/* A write that takes nothing would do so for ever. */
		transfer->finished(request, request->op == BLOCK_READ ? -LIS_EMPTY : -LIS_IO);
	} else {
		transfer_advance(request, (uint64_t)result);
		transfer->file_offset_bytes += (uint64_t)result;
		transfer->left_bytes -= (uint64_t)result;
		if (transfer->left_bytes)
			submit_data(request);
		else
			transfer->finished(request, 0);
	}
}

/*
 * What the page cache has is copied by one system call, and needs no way through the ring and back. Only where
 * the run is the request: many runs could nest as deep as they are many. Returns false where the ring has to.
 */
static bool read_cached(struct block_request *request)
{
	struct transfer *transfer = transfer_of(request);
	struct image *image = transfer_image(request);
	int missed;
	ssize_t got;

	if (request->op != BLOCK_READ || !image->cached || transfer->left_bytes != request->length_bytes ||
	    request->iov_count > IOV_MAX)
		return false;
	missed = atomic_load_explicit(&image->missed, memory_order_relaxed);
	if (missed) {
		atomic_store_explicit(&image->missed, missed - 1, memory_order_relaxed);
		return false;
	}
	got = preadv2(image->fd, request->iov, (int)request->iov_count, (off_t)transfer->file_offset_bytes,
		      RWF_NOWAIT);
	if (got <= 0) {
		atomic_store_explicit(&image->missed, AFTER_MISS, memory_order_relaxed);
		return false;
	}
	data_done(&request->io, (int32_t)got);
	return true;
}

void transfer_data(struct block_request *request, uint64_t file_offset_bytes, uint64_t bytes,
		   transfer_finished *finished)
{
	struct transfer *transfer = transfer_of(request);

	transfer->file_offset_bytes = file_offset_bytes;
	transfer->left_bytes = bytes;
	transfer->finished = finished;
	request->io.done = data_done;
	/* Empty buffers at the front would look like the end of the file. */
	while (request->iov[transfer->iov_index].iov_len == transfer->iov_skip_bytes) {
		transfer->iov_index++;
		transfer->iov_skip_bytes = 0;
	}
	if (!read_cached(request))
		submit_data(request);
}

/* ---- discard, zeroes ---- */

static void submit_clear(struct block_request *request)
{
	struct transfer *transfer = transfer_of(request);
	struct image *image = transfer_image(request);
	struct io_uring_sqe *sqe = io_loop_sqe(request->loop, &request->io);

	if (!(transfer->flags & TRANSFER_WRITE_ZERO))
		io_uring_prep_fallocate(sqe, image->fd, image->clear_mode,
					transfer->file_offset_bytes, transfer->left_bytes);
	else if (transfer->left_bytes >= ZERO_BYTES)
		io_uring_prep_writev(sqe, image->fd, zero_iov,
				     (unsigned)smaller(transfer->left_bytes / ZERO_BYTES, ZERO_IOVS),
				     transfer->file_offset_bytes);
	else
		io_uring_prep_write(sqe, image->fd, zeroes, (unsigned)transfer->left_bytes,
				    transfer->file_offset_bytes);
}

static void clear_written(struct block_request *request, int32_t result)
{
	struct transfer *transfer = transfer_of(request);

	if (result == 0) {
		transfer->finished(request, -LIS_IO);
		return;
	}
	transfer->done_bytes += (uint64_t)result;
	transfer->file_offset_bytes += (uint64_t)result;
	transfer->left_bytes -= (uint64_t)result;
	if (transfer->left_bytes)
		submit_clear(request);
	else
		transfer->finished(request, 0);
}

static void clear_done(struct io_op *op, int32_t result)
{
	struct block_request *request = transfer_io_request(op);
	struct transfer *transfer = transfer_of(request);
	bool unknown = result == -EOPNOTSUPP || result == -ENOSYS || result == -ENODEV;

	if (is_transient(result)) {
		submit_clear(request);
	} else if (result < 0 && unknown && !(transfer->flags & TRANSFER_WRITE_ZERO) &&
		   request->op == BLOCK_WRITE_ZEROES) {
		transfer->flags |= TRANSFER_WRITE_ZERO;
		submit_clear(request);
	} else if (result < 0 && !unknown) {
		log_error(request, -result);
		transfer->finished(request, image_errno(-result));
	} else if (transfer->flags & TRANSFER_WRITE_ZERO) {
		clear_written(request, result);
	} else {
		transfer->done_bytes += transfer->left_bytes;
		transfer->finished(request, 0);
	}
}

void transfer_clear(struct block_request *request, uint64_t file_offset_bytes, uint64_t bytes,
		    transfer_finished *finished)
{
	struct transfer *transfer = transfer_of(request);

	transfer->file_offset_bytes = file_offset_bytes;
	transfer->left_bytes = bytes;
	transfer->finished = finished;
	request->io.done = clear_done;
	if (!transfer_image(request)->clear_mode)
		transfer->flags |= TRANSFER_WRITE_ZERO;
	submit_clear(request);
}

/* ---- flush ---- */

static void sync_done(struct io_op *op, int32_t result)
{
	struct block_request *request = transfer_io_request(op);
	struct transfer *transfer = transfer_of(request);

	if (is_transient(result)) {
		transfer_sync(request, transfer->finished);
		return;
	}
	if (result < 0)
		log_error(request, -result);
	transfer->finished(request, result < 0 ? image_errno(-result) : 0);
}

void transfer_sync(struct block_request *request, transfer_finished *finished)
{
	transfer_of(request)->finished = finished;
	request->io.done = sync_done;
	io_uring_prep_fsync(io_loop_sqe(request->loop, &request->io), transfer_image(request)->fd,
			    IORING_FSYNC_DATASYNC);
}
