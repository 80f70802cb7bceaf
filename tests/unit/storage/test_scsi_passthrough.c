/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Pass-through: which commands get through, what SG_IO is given, what becomes of its results, and resets. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <scsi/sg.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/scsi_passthrough.h"
#include "tests/unit/storage/scsi_fixture.h"
#include "vmbus/os.h"

/* A host's device that notes what it is asked and answers what the test says. */
static struct {
	struct sg_io_hdr asked, answer; /* of the answer: status, sense, residual, host_status */
	uint8_t cdb[16], sense[32], data[64];
	int error, reset_error;
	unsigned calls, resets, closed;
} host;

/* What it does on threads: commands hang until a reset, and this takes until it is let go. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool hangs, reset_may_end;
	unsigned hanging, resetting, during_reset; /* commands, resets, commands */
} threads = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static char log_text[1024];

/* In place of io/log.c's. */
void os_log(enum os_log_level level, const char *format, ...)
{
	va_list arguments;

	(void)level;
	va_start(arguments, format);
	vsnprintf(log_text, sizeof(log_text), format, arguments);
	va_end(arguments);
}

static int sg_io(void *owner, struct sg_io_hdr *io)
{
	(void)owner;
	host.calls++;
	host.asked = *io;
	memcpy(host.cdb, io->cmdp, io->cmd_len);
	if (host.error)
		return host.error;
	io->status = host.answer.status;
	io->host_status = host.answer.host_status;
	io->resid = host.answer.resid;
	io->sb_len_wr = host.answer.sb_len_wr;
	memcpy(io->sbp, host.sense, io->sb_len_wr < io->mx_sb_len ? io->sb_len_wr : io->mx_sb_len);
	if (io->dxfer_direction == SG_DXFER_FROM_DEV && !io->iovec_count && io->dxfer_len)
		memcpy(io->dxferp, host.data, io->dxfer_len < 64 ? io->dxfer_len : 64);
	return 0;
}

static int reset_host(void *owner)
{
	(void)owner;
	host.resets++;
	return host.reset_error;
}

static int sg_io_thread(void *owner, struct sg_io_hdr *io)
{
	bool reset = false;

	(void)owner;
	pthread_mutex_lock(&threads.lock);
	host.calls++;
	threads.during_reset += threads.resetting && !threads.hangs;
	threads.hanging += threads.hangs;
	pthread_cond_broadcast(&threads.changed);
	while (threads.hangs) {
		reset = true;
		pthread_cond_wait(&threads.changed, &threads.lock);
	}
	pthread_mutex_unlock(&threads.lock);
	io->host_status = reset ? 8 : 0;
	return 0;
}

/* When all that hung is through it waits a little for commands that must not come; one that is late is not missed. */
static int reset_thread(void *owner)
{
	struct timespec until;

	(void)owner;
	pthread_mutex_lock(&threads.lock);
	host.resets++;
	threads.resetting++;
	pthread_cond_broadcast(&threads.changed);
	while (!threads.reset_may_end)
		pthread_cond_wait(&threads.changed, &threads.lock);
	threads.hangs = false;
	pthread_cond_broadcast(&threads.changed);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += 100000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	while (!threads.during_reset && !pthread_cond_timedwait(&threads.changed, &threads.lock, &until))
		;
	threads.resetting--;
	pthread_mutex_unlock(&threads.lock);
	return 0;
}

static void close_host(void *owner)
{
	(void)owner;
	host.closed++;
}

static void make_unit(struct scsi_fixture *f, uint8_t type, bool read_only, uint32_t thread_max, bool hangs)
{
	const struct scsi_passthrough_config config = {
		.device_type = type, .read_only = read_only, .block_bytes = type ? 0 : 512,
		.transfer_bytes_max = 65536, .sg_io = hangs ? sg_io_thread : sg_io,
		.reset = hangs ? reset_thread : reset_host, .close = close_host, .path = "/dev/sg7",
		.thread_max = thread_max,
	};

	scsi_unit_destroy(f->unit);
	memset(&host, 0, sizeof(host));
	threads.hangs = hangs;
	log_text[0] = 0;
	assert_int_equal(scsi_passthrough_create(&config, &f->unit), 0);
}

static int setup(void **state)
{
	int err = scsi_setup(state);

	if (!err)
		make_unit(*state, 0, false, 0, false);
	return err;
}

/* ---- there ---- */

static void commands_go_as_the_guest_gave_them(void **state)
{
	struct scsi_fixture *f = *state;

	host.answer.resid = 24;
	start(f, CDB(0x28, 0, 1, 2, 3, 4, 0, 0, 2, 0), SCSI_DATA_IN, 1024);
	assert_good(f, 1000);
	assert_int_equal(host.asked.interface_id, 'S');
	assert_int_equal(host.asked.cmd_len, 10);
	assert_memory_equal(host.cdb, "\x28\x00\x01\x02\x03\x04\x00\x00\x02\x00", 10);
	assert_int_equal(host.asked.dxfer_direction, SG_DXFER_FROM_DEV);
	assert_int_equal(host.asked.dxfer_len, 1024);
	assert_ptr_equal(host.asked.dxferp, f->data); /* the guest's own memory */
	assert_int_equal(host.asked.flags, SG_FLAG_DIRECT_IO);
	assert_int_equal(host.asked.mx_sb_len, SCSI_SENSE_BYTES);
	run_16(f, 0x8a, 0, 5, 1, SCSI_DATA_OUT, 512);
	assert_int_equal(host.asked.cmd_len, 16);
	assert_int_equal(host.asked.dxfer_direction, SG_DXFER_TO_DEV);
	run_cdb(f, CDB(0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 1), SCSI_DATA_IN | SCSI_DATA_OUT, 512);
	assert_int_equal(host.asked.cmd_len, 12);
	assert_int_equal(host.asked.dxfer_direction, SG_DXFER_TO_FROM_DEV);
	host.answer.resid = 0;
	run_cdb(f, CDB(0x00), SCSI_DATA_IN, 0);
	assert_good(f, 0);
	assert_int_equal(host.asked.cmd_len, 6);
	assert_int_equal(host.asked.dxfer_direction, SG_DXFER_NONE);
	run_cdb(f, CDB(0x03, 0, 0, 0, 18), SCSI_DATA_IN, 18); /* its sense is its own */
	assert_int_equal(host.cdb[0], 0x03);
	assert_int_equal(host.asked.timeout, 60000);
}

static void memory_in_pieces_and_timeouts_are_passed_on(void **state)
{
	struct scsi_fixture *f = *state;

	memset(&f->request, 0, sizeof(f->request));
	memcpy(f->request.cdb, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0));
	f->request.direction = SCSI_DATA_IN;
	f->request.iov = f->iov;
	f->request.iov_count = 2;
	f->request.data_bytes = 1024;
	f->request.timeout_ms = 1234;
	f->request.done = scsi_on_done;
	f->iov[0] = f->iov[1] = (struct iovec){ f->data, 512 };
	scsi_unit_submit(f->unit, NULL, &f->request);
	assert_good(f, 1024);
	assert_ptr_equal(host.asked.dxferp, f->iov);
	assert_int_equal(host.asked.iovec_count, 2);
	assert_int_equal(host.asked.flags, 0);
	assert_int_equal(host.asked.timeout, 1234);
}

/* ---- and back ---- */

static void status_and_sense_come_as_the_device_has_them(void **state)
{
	struct scsi_fixture *f = *state;

	host.answer.status = SCSI_CHECK_CONDITION;
	host.answer.sb_len_wr = 32; /* more than there is room for */
	for (unsigned i = 0; i < sizeof(host.sense); i++)
		host.sense[i] = (uint8_t)(0x72 + i);
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_int_equal(f->request.status, SCSI_CHECK_CONDITION);
	assert_int_equal(f->request.sense_bytes, SCSI_SENSE_BYTES);
	assert_memory_equal(f->request.sense, host.sense, SCSI_SENSE_BYTES);
	host.answer.sb_len_wr = 8;
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_int_equal(f->request.sense_bytes, 8);
	host.answer.sb_len_wr = 0;
	host.answer.status = SCSI_RESERVATION_CONFLICT;
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_int_equal(f->request.status, SCSI_RESERVATION_CONFLICT);
	host.answer.status = 0;
	host.answer.resid = -5; /* more than was asked for: as if it were all */
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_good(f, 512);
	host.answer.resid = 513;
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_good(f, 0);
}

static void failures_of_the_host_become_sense(void **state)
{
	static const struct {
		unsigned short host_status;
		enum scsi_sense sense;
	} ways[] = { { 1, SCSI_SENSE_NOT_READY }, { 3, SCSI_SENSE_ABORTED }, { 5, SCSI_SENSE_ABORTED },
		     { 7, SCSI_SENSE_INTERNAL_FAILURE } };
	static const struct {
		int error;
		enum scsi_sense sense;
	} errors[] = { { -EPERM, SCSI_SENSE_INVALID_OPERATION }, { -EINVAL, SCSI_SENSE_INVALID_FIELD_IN_CDB },
		       { -ENODEV, SCSI_SENSE_NOT_READY }, { -EFAULT, SCSI_SENSE_INTERNAL_FAILURE } };
	struct scsi_fixture *f = *state;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		host.answer.host_status = ways[i].host_status;
		run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
		assert_sense(f, ways[i].sense);
	}
	host.answer.host_status = 2;
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_int_equal(f->request.status, SCSI_BUSY);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		host.error = errors[i].error;
		run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
		assert_sense(f, errors[i].sense);
	}
	host.error = -ENOMEM;
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_int_equal(f->request.status, SCSI_BUSY);
}

static void the_guest_hears_of_the_hosts_limit(void **state)
{
	struct scsi_fixture *f = *state;

	memset(f->data, 0x77, 100);
	host.data[1] = 0xb0;
	host.data[3] = 60;
	host.answer.resid = 256 - 64;
	run_cdb(f, CDB(0x12, 1, 0xb0, 0, 64), SCSI_DATA_IN, 64);
	assert_good(f, 64);
	assert_int_equal(get_be(f->data + 8, 4), 128); /* of 512 bytes, where the device has none */
	put_be(host.data + 8, 64, 4);
	run_cdb(f, CDB(0x12, 1, 0xb0, 0, 64), SCSI_DATA_IN, 64);
	assert_int_equal(get_be(f->data + 8, 4), 64); /* the device's own is smaller */
	put_be(host.data + 8, 1 << 20, 4);
	run_cdb(f, CDB(0x12, 1, 0xb0, 0, 10), SCSI_DATA_IN, 64);
	assert_good(f, 10);
	host.answer.status = SCSI_CHECK_CONDITION;
	host.answer.sb_len_wr = 18;
	host.sense[2] = 5;
	run_cdb(f, CDB(0x12, 1, 0xb0, 0, 64), SCSI_DATA_IN, 64);
	assert_int_equal(f->request.status, SCSI_CHECK_CONDITION);
	assert_int_equal(f->request.sense[2], 5);
}

/* ---- the filter ---- */

static void what_reaches_beyond_the_device_is_refused(void **state)
{
	static const uint8_t refused[] = { 0x3b, 0x60, 0x7e, 0x7f, 0x83, 0x84, 0x85, 0xa1, 0xa4, 0xb5, 0xc0, 0xff };
	static const uint8_t writes[] = { 0x04, 0x0a, 0x15, 0x2a, 0x41, 0x42, 0x48, 0x5f, 0x8a, 0x93, 0xaa };
	struct scsi_fixture *f = *state;
	uint8_t cdb[16] = { 0 };

	for (size_t i = 0; i < sizeof(refused); i++) {
		run_cdb(f, CDB(refused[i]), SCSI_DATA_IN, 512);
		assert_sense(f, SCSI_SENSE_INVALID_OPERATION);
	}
	assert_int_equal(host.calls, 0);
	for (size_t i = 0; i < sizeof(writes); i++) {
		cdb[0] = writes[i];
		assert_true(scsi_passthrough_permits(cdb, 0, false));
		assert_false(scsi_passthrough_permits(cdb, 0, true));
	}
	cdb[0] = 0x42; /* READ SUB-CHANNEL of a drive is UNMAP of a disk */
	assert_true(scsi_passthrough_permits(cdb, 5, true));
	cdb[0] = 0xa4; /* REPORT KEY is MAINTENANCE OUT */
	assert_true(scsi_passthrough_permits(cdb, 5, true));
	cdb[0] = 0xa1; /* BLANK */
	assert_true(scsi_passthrough_permits(cdb, 5, false));
	assert_false(scsi_passthrough_permits(cdb, 5, true));
	make_unit(f, 0, true, 0, false);
	run_10(f, 0x2a, 0, 0, 1, SCSI_DATA_OUT, 512);
	assert_sense(f, SCSI_SENSE_INVALID_OPERATION);
	run_10(f, 0x28, 0, 0, 1, SCSI_DATA_IN, 512);
	assert_good(f, 512);
	assert_int_equal(host.calls, 1);
}

/* ---- resets ---- */

struct command {
	struct scsi_request request;
	bool done;
};

static void command_done(struct scsi_request *request)
{
	((struct command *)request)->done = true;
}

static void begin(struct scsi_fixture *f, struct command *command)
{
	*command = (struct command){ .request = { .cdb = { 0x00 }, .done = command_done } };
	scsi_unit_submit(f->unit, f->loop, &command->request);
}

static void await(struct scsi_fixture *f, const struct command *command)
{
	while (!command->done)
		io_loop_turn(f->loop, true);
}

static void await_count(const unsigned *count, unsigned value)
{
	pthread_mutex_lock(&threads.lock);
	while (*count != value)
		pthread_cond_wait(&threads.changed, &threads.lock);
	pthread_mutex_unlock(&threads.lock);
}

static void resets_end_what_hangs_and_come_before_what_follows(void **state)
{
	const struct io_loop_config config = { .name = "test" };
	struct command hanging, queued, told, next;
	struct scsi_fixture *f = *state;

	make_unit(f, 0, false, 1, true);
	assert_int_equal(io_loop_create(&config, &f->loop), 0);
	begin(f, &hanging);
	await_count(&threads.hanging, 1);
	begin(f, &queued);
	scsi_unit_reset(f->unit);
	await_count(&threads.resetting, 1);
	scsi_unit_reset(f->unit); /* by another, while the first is under way: once more */
	begin(f, &told);
	begin(f, &next);
	assert_false(hanging.done);
	pthread_mutex_lock(&threads.lock);
	threads.reset_may_end = true;
	pthread_cond_broadcast(&threads.changed);
	pthread_mutex_unlock(&threads.lock);
	await(f, &hanging);
	await(f, &queued);
	await(f, &told);
	await(f, &next);
	assert_int_equal(hanging.request.status, SCSI_CHECK_CONDITION);
	assert_int_equal(hanging.request.sense[2], 0xb); /* ABORTED COMMAND */
	assert_int_equal(queued.request.status, SCSI_TASK_ABORTED);
	assert_int_equal(told.request.sense[12], 0x29); /* it was reset */
	assert_int_equal(next.request.status, SCSI_GOOD);
	assert_int_equal(host.calls, 2);
	assert_int_equal(host.resets, 2);
	assert_int_equal(threads.during_reset, 0);
	scsi_unit_reset(f->unit);
	scsi_unit_destroy(f->unit); /* waits for it */
	f->unit = NULL;
	assert_int_equal(host.resets, 3);
	assert_int_equal(host.closed, 1);
	io_loop_destroy(f->loop);
	f->loop = NULL;
}

static void a_reset_that_fails_is_told_once(void **state)
{
	struct scsi_fixture *f = *state;

	host.reset_error = -EAGAIN; /* the host's kernel is recovering it already */
	scsi_unit_reset(f->unit);
	assert_int_equal(host.resets, 1);
	assert_string_equal(log_text, "");
	host.reset_error = -EACCES;
	scsi_unit_reset(f->unit);
	assert_non_null(strstr(log_text, "/dev/sg7"));
	assert_non_null(strstr(log_text, "CAP_SYS_ADMIN"));
	log_text[0] = 0;
	scsi_unit_reset(f->unit);
	assert_string_equal(log_text, "");
	host.reset_error = -EIO;
	scsi_unit_reset(f->unit);
	assert_null(strstr(log_text, "CAP_SYS_ADMIN"));
	assert_non_null(strstr(log_text, strerror(EIO)));
	log_text[0] = 0;
	host.reset_error = 0;
	scsi_unit_reset(f->unit);
	assert_string_equal(log_text, "");
	host.reset_error = -EIO;
	scsi_unit_reset(f->unit);
	assert_non_null(strstr(log_text, "/dev/sg7"));
	assert_int_equal(host.resets, 6);
	run_cdb(f, CDB(0x00), 0, 0); /* the guest is told that it was reset, and goes on */
	assert_sense(f, SCSI_SENSE_DEVICE_RESET);
	run_cdb(f, CDB(0x00), 0, 0);
	assert_good(f, 0);
}

/* ---- life ---- */

static void commands_sleep_on_threads_and_count(void **state)
{
	const struct io_loop_config config = { .name = "test" };
	struct scsi_fixture *f = *state;

	make_unit(f, 0, false, 2, false);
	assert_int_equal(io_loop_create(&config, &f->loop), 0);
	for (int i = 0; i < 20; i++) {
		start(f, CDB(i % 2 ? 0x2a : 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), i % 2 ? SCSI_DATA_OUT : SCSI_DATA_IN,
		      512);
		assert_int_equal(f->done, 0);
		while (!f->done)
			io_loop_turn(f->loop, true);
		assert_good(f, 512);
	}
	assert_int_equal(scsi_unit_counters(f->unit)->reads, 10);
	assert_int_equal(scsi_unit_counters(f->unit)->written_bytes, 5120);
	scsi_unit_destroy(f->unit);
	f->unit = NULL;
	assert_int_equal(host.closed, 1);
	io_loop_destroy(f->loop);
	f->loop = NULL;
}

static void what_is_no_device_is_named(void **state)
{
	struct scsi_unit *unit = NULL;
	char error[SCSI_PASSTHROUGH_ERROR_BYTES];

	(void)state;
	assert_int_equal(scsi_passthrough_open("/dev/null", true, &unit, error), -LIS_UNSUPPORTED);
	assert_non_null(strstr(error, "/dev/null"));
	assert_int_equal(scsi_passthrough_open("/nowhere", true, &unit, error), -LIS_NOTFOUND);
	assert_non_null(strstr(error, "/nowhere"));
	assert_null(unit);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, scsi_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(commands_go_as_the_guest_gave_them),
		T(memory_in_pieces_and_timeouts_are_passed_on),
		T(status_and_sense_come_as_the_device_has_them),
		T(failures_of_the_host_become_sense),
		T(the_guest_hears_of_the_hosts_limit),
		T(what_reaches_beyond_the_device_is_refused),
		T(resets_end_what_hangs_and_come_before_what_follows),
		T(a_reset_that_fails_is_told_once),
		T(commands_sleep_on_threads_and_count),
		T(what_is_no_device_is_named),
	};

	return cmocka_run_group_tests_name("storage/scsi_passthrough", tests, NULL, NULL);
}
