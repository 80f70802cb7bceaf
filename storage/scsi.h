/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A SCSI logical unit (SAM-5, SPC-4): a CDB and memory in; data, status and sense out,
 * asynchronously. It knows no guest and no transport; what kind of unit it is (scsi_disk.h and its
 * neighbours) the transport does not know.
 *
 * Memory that a request names may belong to a guest and change at any time: each byte of a
 * parameter list is read once, and the copy is checked.
 */
#ifndef OPENLIS_STORAGE_SCSI_H
#define OPENLIS_STORAGE_SCSI_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "io/worker.h"
#include "storage/block.h"

#define SCSI_CDB_BYTES 16
#define SCSI_SENSE_BYTES 18 /* fixed format */

/* Source: [sam-5 5.3] */
enum scsi_status {
	SCSI_GOOD = 0x00,
	SCSI_CHECK_CONDITION = 0x02,
	SCSI_BUSY = 0x08,
	SCSI_RESERVATION_CONFLICT = 0x18,
	SCSI_TASK_SET_FULL = 0x28,
	SCSI_TASK_ABORTED = 0x40,
};

/* Operation codes. Source: [spc-4], [sbc-3] */
enum scsi_operation {
	SCSI_TEST_UNIT_READY = 0x00,
	SCSI_REQUEST_SENSE = 0x03,
	SCSI_READ_6 = 0x08,
	SCSI_WRITE_6 = 0x0a,
	SCSI_INQUIRY = 0x12,
	SCSI_RESERVE_6 = 0x16,
	SCSI_RELEASE_6 = 0x17,
	SCSI_MODE_SELECT_6 = 0x15,
	SCSI_MODE_SENSE_6 = 0x1a,
	SCSI_START_STOP_UNIT = 0x1b,
	SCSI_PREVENT_ALLOW_REMOVAL = 0x1e,
	SCSI_READ_CAPACITY_10 = 0x25,
	SCSI_READ_10 = 0x28,
	SCSI_WRITE_10 = 0x2a,
	SCSI_WRITE_AND_VERIFY_10 = 0x2e,
	SCSI_VERIFY_10 = 0x2f,
	SCSI_SYNCHRONIZE_CACHE_10 = 0x35,
	SCSI_WRITE_SAME_10 = 0x41,
	SCSI_UNMAP = 0x42,
	SCSI_MODE_SELECT_10 = 0x55,
	SCSI_MODE_SENSE_10 = 0x5a,
	SCSI_PERSISTENT_RESERVE_IN = 0x5e,
	SCSI_PERSISTENT_RESERVE_OUT = 0x5f,
	SCSI_READ_16 = 0x88,
	SCSI_WRITE_16 = 0x8a,
	SCSI_WRITE_AND_VERIFY_16 = 0x8e,
	SCSI_VERIFY_16 = 0x8f,
	SCSI_SYNCHRONIZE_CACHE_16 = 0x91,
	SCSI_WRITE_SAME_16 = 0x93,
	SCSI_SERVICE_ACTION_IN_16 = 0x9e, /* enum scsi_service_action_in */
	SCSI_REPORT_LUNS = 0xa0,
	SCSI_READ_12 = 0xa8,
	SCSI_WRITE_12 = 0xaa,
	SCSI_WRITE_AND_VERIFY_12 = 0xae,
	SCSI_VERIFY_12 = 0xaf,
};

enum scsi_persistent_in {
	SCSI_READ_KEYS = 0,
	SCSI_READ_RESERVATION = 1,
	SCSI_REPORT_CAPABILITIES = 2,
	SCSI_READ_FULL_STATUS = 3,
};

enum scsi_persistent_out {
	SCSI_REGISTER = 0,
	SCSI_RESERVE = 1,
	SCSI_RELEASE = 2,
	SCSI_CLEAR = 3,
	SCSI_PREEMPT = 4,
	SCSI_PREEMPT_AND_ABORT = 5,
	SCSI_REGISTER_AND_IGNORE = 6, /* REGISTER AND IGNORE EXISTING KEY */
};

enum scsi_service_action_in {
	SCSI_READ_CAPACITY_16 = 0x10,
	SCSI_GET_LBA_STATUS = 0x12,
};

/* Sense key, additional code and qualifier in one number. Source: [spc-4 annex D] */
#define SCSI_SENSE(key, asc, ascq) ((uint32_t)(key) << 16 | (uint32_t)(asc) << 8 | (uint32_t)(ascq))

enum scsi_sense {
	SCSI_SENSE_NONE = SCSI_SENSE(0x0, 0x00, 0x00),
	SCSI_SENSE_BECOMING_READY = SCSI_SENSE(0x2, 0x04, 0x01), /* guests try again for a while */
	SCSI_SENSE_NOT_READY = SCSI_SENSE(0x2, 0x04, 0x00),      /* and nobody knows why */
	SCSI_SENSE_MEDIUM_NOT_PRESENT = SCSI_SENSE(0x2, 0x3a, 0x00),
	SCSI_SENSE_WRITE_ERROR = SCSI_SENSE(0x3, 0x0c, 0x00),
	SCSI_SENSE_READ_ERROR = SCSI_SENSE(0x3, 0x11, 0x00),
	SCSI_SENSE_INTERNAL_FAILURE = SCSI_SENSE(0x4, 0x44, 0x00),
	SCSI_SENSE_PARAMETER_LIST_LENGTH = SCSI_SENSE(0x5, 0x1a, 0x00),
	SCSI_SENSE_INVALID_OPERATION = SCSI_SENSE(0x5, 0x20, 0x00),
	SCSI_SENSE_LBA_OUT_OF_RANGE = SCSI_SENSE(0x5, 0x21, 0x00),
	SCSI_SENSE_INVALID_FIELD_IN_CDB = SCSI_SENSE(0x5, 0x24, 0x00),
	SCSI_SENSE_LUN_NOT_SUPPORTED = SCSI_SENSE(0x5, 0x25, 0x00),
	SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS = SCSI_SENSE(0x5, 0x26, 0x00),
	SCSI_SENSE_INVALID_RELEASE = SCSI_SENSE(0x5, 0x26, 0x04),
	SCSI_SENSE_NO_REGISTRATION_RESOURCES = SCSI_SENSE(0x5, 0x55, 0x04),
	SCSI_SENSE_INCOMPATIBLE_MEDIUM = SCSI_SENSE(0x5, 0x30, 0x02),
	SCSI_SENSE_SAVING_NOT_SUPPORTED = SCSI_SENSE(0x5, 0x39, 0x00),
	SCSI_SENSE_REMOVAL_PREVENTED = SCSI_SENSE(0x5, 0x53, 0x02),
	SCSI_SENSE_MEDIUM_MAY_HAVE_CHANGED = SCSI_SENSE(0x6, 0x28, 0x00),
	SCSI_SENSE_DEVICE_RESET = SCSI_SENSE(0x6, 0x29, 0x03),
	SCSI_SENSE_RESERVATIONS_PREEMPTED = SCSI_SENSE(0x6, 0x2a, 0x03),
	SCSI_SENSE_RESERVATIONS_RELEASED = SCSI_SENSE(0x6, 0x2a, 0x04),
	SCSI_SENSE_REGISTRATIONS_PREEMPTED = SCSI_SENSE(0x6, 0x2a, 0x05),
	SCSI_SENSE_CAPACITY_CHANGED = SCSI_SENSE(0x6, 0x2a, 0x09),
	SCSI_SENSE_LUNS_CHANGED = SCSI_SENSE(0x6, 0x3f, 0x0e),
	SCSI_SENSE_WRITE_PROTECTED = SCSI_SENSE(0x7, 0x27, 0x00),
	SCSI_SENSE_SPACE_ALLOCATION_FAILED = SCSI_SENSE(0x7, 0x27, 0x07),
	SCSI_SENSE_ABORTED = SCSI_SENSE(0xb, 0x00, 0x00),
	SCSI_SENSE_MISCOMPARE = SCSI_SENSE(0xe, 0x1d, 0x00),
};

/* Bits of scsi_request.direction; seen from the initiator. */
#define SCSI_DATA_IN 0x1u  /* the unit may write to the memory */
#define SCSI_DATA_OUT 0x2u /* the unit may read it */

struct scsi_unit;
struct scsi_request;

/* End of a request: exactly once, on the loop it came on, possibly before submit returns. */
typedef void scsi_done(struct scsi_request *request);

/* Belongs to the caller, and must stay in place until done. */
struct scsi_request {
	uint8_t cdb[SCSI_CDB_BYTES]; /* zeroes behind the command's own length */
	uint32_t direction;          /* SCSI_DATA_* */
	struct iovec *iov;           /* scratch of the unit while under way: may be cut short */
	uint32_t iov_count;
	uint64_t data_bytes;         /* sum over @iov */
	uint32_t timeout_ms;         /* after which the guest gives up; 0: not said */
	scsi_done *done;

	/* Results, valid in done(). */
	enum scsi_status status;
	uint32_t sense_bytes;        /* 0: none */
	uint8_t sense[SCSI_SENSE_BYTES];
	uint64_t transferred_bytes;  /* in either direction; 0 unless @status is SCSI_GOOD */

	/* The rest is the unit's. */
	struct scsi_unit *unit;
	const struct scsi_medium *medium; /* what it reaches */
	struct io_loop *loop;
	struct block_request block;
	struct io_work work;
	/* Commands of several steps: prepare another one? */
	bool (*next)(struct scsi_request *request);
	bool stepping, step_done;
	int step_result;
	_Atomic bool canceled;
	uint32_t aborts; /* of the unit, when it came */
	void *scratch;
	struct iovec scratch_iov;
	uint64_t lba, blocks_left;
	uint32_t item, item_count;
};

/* Counters, written by every loop that submits, read by anyone. */
struct scsi_counters {
	_Atomic uint64_t reads, read_bytes;
	_Atomic uint64_t writes, written_bytes;
	_Atomic uint64_t flushes;
	_Atomic uint64_t discards, discarded_bytes; /* UNMAP, and WRITE SAME of zeroes */
	_Atomic uint64_t errors; /* of the block device: not what a guest asked wrongly */
};

/* Conditions that a unit tells once, with the next command; of several the first here comes first. */
enum scsi_attention {
	SCSI_ATTENTION_RESET = 0x1u,    /* the unit was reset by a guest */
	SCSI_ATTENTION_MEDIUM = 0x2u,   /* there may be another medium */
	SCSI_ATTENTION_RESERVATIONS_PREEMPTED = 0x4u,
	SCSI_ATTENTION_RESERVATIONS_RELEASED = 0x8u,
	SCSI_ATTENTION_REGISTRATIONS_PREEMPTED = 0x10u,
	SCSI_ATTENTION_CAPACITY = 0x20u, /* there are more blocks, or fewer */
	SCSI_ATTENTION_LUNS = 0x40u,    /* other units of the target came or went */
};

struct scsi_unit_ops {
	/* A command that is the kind's own business; ends as scsi_unit_submit() says. */
	void (*execute)(struct scsi_unit *unit, struct scsi_request *request);
	void (*destroy)(struct scsi_unit *unit);
	/* Optional: may this command tell of a condition instead? All but INQUIRY may. */
	bool (*tells_attention)(const struct scsi_request *request);
	/* Optional: a command executed before ends; its result is set, its owner not called yet. */
	void (*ended)(struct scsi_unit *unit, struct scsi_request *request);
	/* Optional: what else a reset means. Any thread. */
	void (*reset)(struct scsi_unit *unit);
	/* REQUEST SENSE is the kind's own, once there is no condition to tell. */
	bool has_own_sense;
};

/* Base of each kind's own struct. */
struct scsi_unit {
	const struct scsi_unit_ops *ops;
	_Atomic uint32_t attentions; /* enum scsi_attention */
	_Atomic uint32_t aborts;     /* commands from before the last one are to end */
	struct scsi_counters counters;
};

/**
 * scsi_unit_submit() - Execute a command.
 * @unit: whom it is for
 * @loop: the calling thread's, for the block device
 * @request: CDB, memory and @done set
 *
 * Commands without I/O are done before this returns. Any number of loops may submit to one unit.
 *
 * Context: thread of @loop.
 */
void scsi_unit_submit(struct scsi_unit *unit, struct io_loop *loop, struct scsi_request *request);

/**
 * scsi_unit_attend() - Have the next command that may fail so tell of a condition.
 *
 * INQUIRY and REPORT LUNS go on regardless, REQUEST SENSE has it as its data.
 * Source: [sam-5 5.14], [spc-4 5.6]
 *
 * Context: any thread.
 */
void scsi_unit_attend(struct scsi_unit *unit, enum scsi_attention attention);

/** scsi_unit_abort() - Have all commands under way end soon, with TASK ABORTED. Any thread. */
void scsi_unit_abort(struct scsi_unit *unit);

/**
 * scsi_unit_reset() - Have everything under way end soon, as scsi_request_cancel() does it, and the
 * guest told.
 *
 * Context: any thread.
 */
void scsi_unit_reset(struct scsi_unit *unit);

/**
 * scsi_unit_destroy() - Free a unit with nothing in flight; its block device stays open.
 * @unit: may be NULL
 */
void scsi_unit_destroy(struct scsi_unit *unit);

static inline const struct scsi_counters *scsi_unit_counters(const struct scsi_unit *unit)
{
	return &unit->counters;
}

/**
 * scsi_request_cancel() - Have a request end soon, with ABORTED COMMAND unless it succeeds anyway.
 * @request: one that is under way
 *
 * What the block device is doing is waited for, as it moves data to or from the request's memory;
 * further steps of long commands are not begun.
 *
 * Context: any thread that knows that @request is not done.
 */
void scsi_request_cancel(struct scsi_request *request);

/**
 * scsi_no_lun_execute() - Answer a command to a LUN that is not there.
 * @request: CDB and memory set; @done is not called
 *
 * INQUIRY and REQUEST SENSE succeed and say so, everything else gets LOGICAL UNIT NOT SUPPORTED.
 *
 * Context: any; done when it returns.
 */
void scsi_no_lun_execute(struct scsi_request *request);

/**
 * scsi_report_luns() - Answer REPORT LUNS, which is the target's business and not a unit's.
 * @request: CDB and memory set; @done is not called
 * @luns: ascending
 * @lun_count: how many; at most 256
 *
 * Context: any; done when it returns.
 */
void scsi_report_luns(struct scsi_request *request, const uint8_t *luns, uint32_t lun_count);

#endif
