/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Commands for a device of the host: which are let through, and the way there and back.
 *
 * SG_IO sleeps until the command has ended, so it is a worker's; a device has its own, that one which
 * hangs does not hold up others. What is under way cannot be called back one by one: a reset of the
 * device ends all of it, or its time-out.
 *
 * Resets have a worker of their own, for all others may be asleep in what it is to end. The guest's is answered
 * when the commands before it are through, and those after it begin when it is: one that came while a worker was
 * on its way into SG_IO may still miss this.
 */
#include "storage/scsi_passthrough.h"

#include <errno.h>
#include <pthread.h>
#include <scsi/sg.h>
#include <stdlib.h>
#include <string.h>

#include "storage/scsi_internal.h"
#include "vmbus/os.h"

#define TYPE_CD 5u

#define TIMEOUT_MS_DEFAULT 60000u /* [policy] where the guest says none; Linux' own for disks is half */
#define VPD_BLOCK_LIMITS 0xb0u
#define VPD_BYTES_MAX 256u

struct scsi_passthrough {
	struct scsi_unit unit;
	struct scsi_passthrough_config config;
	struct io_workers *workers, *resetter;
	struct io_work reset;
	int reset_error; /* of the last one; the resetter's */
	pthread_mutex_t lock;
	pthread_cond_t is_reset;
	bool reset_wanted, resetting; /* since it was begun; wanted, or under way. Under the lock */
};

/* ---- the filter ---- */

static bool is_in(const uint8_t *list, size_t count, uint8_t operation)
{
	return memchr(list, operation, count);
}

/* Known to change nothing, whatever the device. Source: [spc-4], [sbc-3], [mmc-5] */
static bool only_reads(const uint8_t *cdb, uint8_t device_type)
{
	static const uint8_t any[] = {
		0x00, 0x03, 0x08, 0x12, 0x1a, 0x1b, 0x1c, 0x1e, 0x25, 0x28, 0x2b, 0x2f, 0x35, 0x37, 0x3c,
		0x4d, 0x5a, 0x5e, 0x88, 0x8f, 0x91, 0x9e, 0xa0, 0xa3, 0xa8, 0xaf, 0xb7,
	};
	static const uint8_t cd[] = {
		0x23, 0x42, 0x43, 0x44, 0x46, 0x4a, 0x51, 0x52, 0x5c, 0xa4, 0xac, 0xad, 0xb9, 0xbb, 0xbd, 0xbe,
	};

	return is_in(any, sizeof(any), cdb[0]) ||
	       (device_type == TYPE_CD && is_in(cd, sizeof(cd), cdb[0]));
}

bool scsi_passthrough_permits(const uint8_t *cdb, uint8_t device_type, bool read_only)
{
	/* WRITE BUFFER; EXTENDED COPY and what belongs to it. */
	static const uint8_t refused[] = { 0x3b, 0x83, 0x84 };
	/* ATA PASS-THROUGH 16 and 12, MAINTENANCE OUT, SECURITY PROTOCOL OUT: drives use the codes otherwise. */
	static const uint8_t refused_but_cd[] = { 0x85, 0xa1, 0xa4, 0xb5 };

	if (cdb[0] >> 5 == 3 || cdb[0] >= 0xc0) /* variable length; the vendor's */
		return false;
	if (is_in(refused, sizeof(refused), cdb[0]))
		return false;
	if (device_type != TYPE_CD && is_in(refused_but_cd, sizeof(refused_but_cd), cdb[0]))
		return false;
	return !read_only || only_reads(cdb, device_type);
}

/* ---- there ---- */

static uint8_t cdb_bytes(uint8_t operation)
{
	static const uint8_t bytes[] = { 6, 10, 10, 0, 16, 12, 0, 0 };

	return bytes[operation >> 5];
}

static int direction_of(const struct scsi_request *request)
{
	if (!request->data_bytes)
		return SG_DXFER_NONE;
	switch (request->direction) {
	case SCSI_DATA_IN:
		return SG_DXFER_FROM_DEV;
	case SCSI_DATA_OUT:
		return SG_DXFER_TO_DEV;
	default:
		return SG_DXFER_TO_FROM_DEV;
	}
}

static void prepare(const struct scsi_request *request, uint8_t *sense, struct sg_io_hdr *io)
{
	*io = (struct sg_io_hdr){
		.interface_id = 'S',
		.dxfer_direction = direction_of(request),
		.cmd_len = cdb_bytes(request->cdb[0]),
		.cmdp = (unsigned char *)request->cdb,
		.mx_sb_len = SCSI_SENSE_BYTES,
		.sbp = sense,
		.dxfer_len = (unsigned)request->data_bytes,
		.timeout = request->timeout_ms ? request->timeout_ms : TIMEOUT_MS_DEFAULT,
	};
	if (request->iov_count == 1) {
		io->dxferp = request->iov[0].iov_base;
		io->flags = SG_FLAG_DIRECT_IO;
	} else if (request->iov_count) {
		/* struct sg_iovec and struct iovec are one. */
		io->dxferp = request->iov;
		io->iovec_count = (unsigned short)request->iov_count;
	}
}

_Static_assert(sizeof(struct sg_iovec) == sizeof(struct iovec), "the same");

/* ---- and back ---- */

/* SG_IO was refused: the device never saw the command. */
static void set_refused(struct scsi_request *request, int error)
{
	switch (error) {
	case EPERM:
	case EACCES:
		scsi_set_sense(request, SCSI_SENSE_INVALID_OPERATION);
		return;
	case EINVAL: /* too large for the host's adapter, most likely */
	case EIO:
		scsi_set_invalid_field(request, 0);
		return;
	case ENOMEM:
	case EAGAIN:
	case EBUSY:
		scsi_set_busy(request);
		return;
	case ENODEV:
	case ENXIO:
		scsi_set_sense(request, SCSI_SENSE_NOT_READY);
		return;
	default:
		scsi_set_sense(request, SCSI_SENSE_INTERNAL_FAILURE);
		return;
	}
}

/* Codes of host_status. Source: [linux 6.1 include/scsi/scsi_status.h] */
enum { HOST_OK = 0, HOST_NO_CONNECT = 1, HOST_BUS_BUSY = 2, HOST_TIME_OUT = 3, HOST_ABORT = 5, HOST_RESET = 8 };

/* The way to the device failed, and it has no sense to tell of it. */
static void set_transport_failure(struct scsi_request *request, unsigned host_status)
{
	switch (host_status) {
	case HOST_NO_CONNECT:
		scsi_set_sense(request, SCSI_SENSE_NOT_READY);
		return;
	case HOST_BUS_BUSY:
		scsi_set_busy(request);
		return;
	case HOST_TIME_OUT:
	case HOST_ABORT:
	case HOST_RESET:
		scsi_set_sense(request, SCSI_SENSE_ABORTED);
		return;
	default:
		scsi_set_sense(request, SCSI_SENSE_INTERNAL_FAILURE);
		return;
	}
}

static void set_result(struct scsi_request *request, const struct sg_io_hdr *io)
{
	uint32_t residual = io->resid > 0 ? (uint32_t)io->resid : 0;

	if (io->host_status != HOST_OK && !io->sb_len_wr) {
		set_transport_failure(request, io->host_status);
		return;
	}
	request->status = (enum scsi_status)(io->status & 0xfe);
	request->sense_bytes = io->sb_len_wr < SCSI_SENSE_BYTES ? io->sb_len_wr : SCSI_SENSE_BYTES;
	request->transferred_bytes = residual < io->dxfer_len ? io->dxfer_len - residual : 0;
}

static void count_result(struct scsi_passthrough *passthrough, const struct scsi_request *request)
{
	struct scsi_counters *counters = &passthrough->unit.counters;
	uint8_t operation = request->cdb[0] & 0x1f; /* the same in all lengths */
	bool reads = operation == SCSI_READ_6;

	if (request->status != SCSI_GOOD || (!reads && operation != SCSI_WRITE_6))
		return;
	atomic_fetch_add_explicit(reads ? &counters->reads : &counters->writes, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(reads ? &counters->read_bytes : &counters->written_bytes,
				  request->transferred_bytes, memory_order_relaxed);
}

/* ---- execution ---- */

static void run_sg_io(struct scsi_passthrough *passthrough, struct scsi_request *request)
{
	struct sg_io_hdr io;
	int error;

	prepare(request, request->sense, &io);
	error = passthrough->config.sg_io(passthrough->config.owner, &io);
	if (error)
		set_refused(request, -error);
	else
		set_result(request, &io);
}

/*
 * Block limits: the guest must not send more at once than the host's adapter takes, of which the
 * device knows nothing.
 */
static void run_block_limits(struct scsi_passthrough *passthrough, struct scsi_request *request)
{
	uint32_t allocation_bytes = scsi_get_u16(request->cdb + 3);
	uint32_t limit = passthrough->config.transfer_bytes_max / passthrough->config.block_bytes;
	uint8_t data[VPD_BYTES_MAX] = { 0 };
	struct scsi_request own = *request;
	struct iovec iov = { data, sizeof(data) };
	uint32_t device_limit;

	own.iov = &iov;
	own.iov_count = 1;
	own.data_bytes = sizeof(data);
	own.direction = SCSI_DATA_IN;
	scsi_put_u16(own.cdb + 3, sizeof(data));
	run_sg_io(passthrough, &own);
	if (own.status != SCSI_GOOD) {
		request->status = own.status;
		request->sense_bytes = own.sense_bytes;
		request->transferred_bytes = 0;
		memcpy(request->sense, own.sense, sizeof(request->sense));
		return;
	}
	device_limit = scsi_get_u32(data + 8);
	if (own.transferred_bytes >= 12 && (!device_limit || device_limit > limit))
		scsi_put_u32(data + 8, limit);
	scsi_reply(request, data, (uint32_t)own.transferred_bytes, allocation_bytes);
}

static struct scsi_request *request_of(struct io_work *work)
{
	return (struct scsi_request *)((char *)work - offsetof(struct scsi_request, work));
}

static void wait_for_reset(struct scsi_passthrough *passthrough)
{
	pthread_mutex_lock(&passthrough->lock);
	while (passthrough->resetting)
		pthread_cond_wait(&passthrough->is_reset, &passthrough->lock);
	pthread_mutex_unlock(&passthrough->lock);
}

static void run(struct io_work *work)
{
	struct scsi_request *request = request_of(work);
	struct scsi_passthrough *passthrough = (struct scsi_passthrough *)request->unit;
	const struct scsi_passthrough_config *config = &passthrough->config;
	const uint8_t *cdb = request->cdb;

	wait_for_reset(passthrough);
	if (scsi_aborted(request)) /* while it waited */
		return;
	if (cdb[0] == SCSI_INQUIRY && cdb[1] & 0x01 && cdb[2] == VPD_BLOCK_LIMITS &&
	    config->transfer_bytes_max && config->block_bytes)
		run_block_limits(passthrough, request);
	else
		run_sg_io(passthrough, request);
}

static void run_done(struct io_work *work)
{
	struct scsi_request *request = request_of(work);

	count_result((struct scsi_passthrough *)request->unit, request);
	scsi_finish(request);
}

static void execute(struct scsi_unit *unit, struct scsi_request *request)
{
	struct scsi_passthrough *passthrough = (struct scsi_passthrough *)unit;

	if (!scsi_passthrough_permits(request->cdb, passthrough->config.device_type,
				      passthrough->config.read_only)) {
		scsi_set_sense(request, SCSI_SENSE_INVALID_OPERATION);
		scsi_finish(request);
		return;
	}
	request->work.run = run;
	request->work.done = run_done;
	io_work_start(passthrough->workers, request->loop, &request->work);
}

/* ---- resets ---- */

/* Guests try again and again: the same failure is told once. EAGAIN: the host is at it already. */
static void tell_reset(struct scsi_passthrough *passthrough, int error)
{
	if (error && error != passthrough->reset_error && error != -EAGAIN)
		os_log(OS_LOG_WARNING, "%s: the guest's reset does not reach it: %s%s; commands under way end when "
		       "their time is up", passthrough->config.path, strerror(-error),
		       error == -EACCES || error == -EPERM ? " (it takes CAP_SYS_ADMIN and CAP_SYS_RAWIO)" : "");
	passthrough->reset_error = error;
}

static void reset_run(struct io_work *work)
{
	struct scsi_passthrough *passthrough =
		(struct scsi_passthrough *)((char *)work - offsetof(struct scsi_passthrough, reset));

	pthread_mutex_lock(&passthrough->lock);
	while (passthrough->reset_wanted) {
		passthrough->reset_wanted = false;
		pthread_mutex_unlock(&passthrough->lock);
		tell_reset(passthrough, passthrough->config.reset(passthrough->config.owner));
		pthread_mutex_lock(&passthrough->lock);
	}
	passthrough->resetting = false;
	pthread_cond_broadcast(&passthrough->is_reset);
	pthread_mutex_unlock(&passthrough->lock);
}

static void reset(struct scsi_unit *unit)
{
	struct scsi_passthrough *passthrough = (struct scsi_passthrough *)unit;
	bool begins;

	pthread_mutex_lock(&passthrough->lock);
	begins = !passthrough->resetting;
	passthrough->resetting = passthrough->reset_wanted = true;
	pthread_mutex_unlock(&passthrough->lock);
	if (begins)
		io_work_start(passthrough->resetter, NULL, &passthrough->reset);
}

/* ---- life ---- */

static void destroy(struct scsi_unit *unit)
{
	struct scsi_passthrough *passthrough = (struct scsi_passthrough *)unit;

	io_workers_destroy(passthrough->resetter);
	io_workers_destroy(passthrough->workers);
	passthrough->config.close(passthrough->config.owner);
	pthread_cond_destroy(&passthrough->is_reset);
	pthread_mutex_destroy(&passthrough->lock);
	free(passthrough);
}

static const struct scsi_unit_ops passthrough_ops = {
	.execute = execute,
	.destroy = destroy,
	.reset = reset,
	.has_own_sense = true,
};

int scsi_passthrough_create(const struct scsi_passthrough_config *config, struct scsi_unit **out_unit)
{
	struct scsi_passthrough *passthrough = calloc(1, sizeof(*passthrough));

	if (!passthrough)
		return -LIS_NOMEM;
	if (config->thread_max &&
	    (io_workers_create("lis-sg", config->thread_max, &passthrough->workers) ||
	     io_workers_create("lis-sg-reset", 1, &passthrough->resetter))) {
		io_workers_destroy(passthrough->workers);
		free(passthrough);
		return -LIS_NOMEM;
	}
	pthread_mutex_init(&passthrough->lock, NULL);
	pthread_cond_init(&passthrough->is_reset, NULL);
	passthrough->reset.run = reset_run;
	passthrough->unit.ops = &passthrough_ops;
	passthrough->config = *config;
	*out_unit = &passthrough->unit;
	return 0;
}
