/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The storage VSP with its loops on threads of their own: two channels carry commands for their own
 * LUNs, and now and then a reset, while a third LUN comes and goes under commands for it. Meant for
 * TSan, too.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/scsi_disk.h"
#include "storage/storvsp.h"
#include "tests/loopback/storvsp_guest.h"
#include "tests/unit/storage/memory_block.h"

#define COMMANDS 20000u
#define DEPTH 16u

struct channel_thread {
	pthread_t thread;
	struct mini_channel channel;
	uint8_t lun;
	uint64_t data_pfn;
	uint32_t sent, answered, resets, absent;
	int error;
};

static int send_command(struct channel_thread *t)
{
	struct storvsc_packet packet = {
		.operation = STORVSC_EXECUTE_SRB,
		.request = { .cdb_length = 10, .data_in = STORVSC_DATA_IN, .lun = t->lun,
			     .data_transfer_length = 512, .cdb = { SCSI_READ_10, [8] = 1 } },
	};
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;
	uint64_t head[4];

	if (t->sent % 100 == 50) {
		packet.operation = t->sent % 200 == 50 ? STORVSC_RESET_BUS : STORVSC_RESET_LUN;
		return storvsp_guest_send(&t->channel, t->sent + 1, &packet, sizeof(packet));
	}
	/* The one that comes and goes: no data, so that nobody else's is touched. */
	if (t->sent % 7 == 3)
		packet.request = (struct storvsc_scsi_request){ .cdb_length = 6, .lun = 9 };
	if (!packet.request.data_transfer_length)
		return storvsp_guest_send(&t->channel, t->sent + 1, &packet, sizeof(packet));
	if (vmbus_gpa_head_begin(&builder, head, sizeof(head)) ||
	    vmbus_gpa_head_add(&builder, 512, 0, &t->data_pfn))
		return -LIS_INVALID;
	out = vmbus_packet_gpa_direct(t->sent + 1, &builder, &piece, 1);
	return storvsp_guest_write(&t->channel, &out);
}

static int check_reply(struct channel_thread *t, const struct storvsp_reply *reply)
{
	uint8_t srb_status = reply->packet.request.srb_status;

	if (reply->packet.operation == STORVSC_ENUMERATE_BUS)
		return 0;
	t->answered++;
	if ((reply->id - 1) % 100 == 50) {
		t->resets++;
		return reply->packet.status ? -LIS_REFUSED : 0;
	}
	if ((srb_status & STORVSC_SRB_CODE_MASK) == STORVSC_SRB_INVALID_LUN && (reply->id - 1) % 7 == 3) {
		t->absent++;
		return 0;
	}
	if (srb_status == (STORVSC_SRB_ERROR | STORVSC_SRB_AUTOSENSE_VALID) &&
	    reply->packet.request.sense[12] == 0x29)
		return 0; /* told of a reset */
	return srb_status == STORVSC_SRB_SUCCESS ? 0 : -LIS_REFUSED;
}

static void *run_channel(void *arg)
{
	struct channel_thread *t = arg;
	struct storvsp_reply reply;

	while (t->answered < COMMANDS && !t->error) {
		while (t->sent < COMMANDS && t->sent - t->answered < DEPTH && !send_command(t))
			t->sent++;
		t->error = storvsp_guest_receive(&t->channel, &reply);
		if (t->error == -LIS_EMPTY) {
			t->error = 0;
			sched_yield();
		} else if (!t->error) {
			t->error = check_reply(t, &reply);
		}
	}
	return NULL;
}

struct frame {
	struct io_loop *bus, *loops[2];
	struct partition *partition;
	struct vmbus_host *host;
	struct storvsp *storvsp;
	struct memory_block memory[3];
	struct scsi_unit *disks[3];
	struct mini_guest guest;
	struct channel_thread threads[2];
	struct io_call call;
	_Atomic unsigned called;
};

static void on_call(struct io_call *call)
{
	struct frame *f = (struct frame *)((char *)call - offsetof(struct frame, call));

	atomic_fetch_add(&f->called, 1);
}

static void wait_called(struct frame *f)
{
	for (int i = 0; i < 10000 && !atomic_load(&f->called); i++)
		usleep(500);
	assert_int_equal(atomic_exchange(&f->called, 0), 1);
}

static void begin(struct frame *f)
{
	struct vmbus_host_config host_config;
	struct storvsp_config config = { .name = "scsi0", .instance_id = storvsp_instance_id(0),
					 .sub_channels_max = 1, .loops = f->loops, .loop_count = 2,
					 .queue_depth = 8 };

	f->call.fn = on_call;
	assert_int_equal(io_loop_create(NULL, &f->bus), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(io_loop_create(NULL, &f->loops[i]), 0);
	assert_int_equal(loopback_create(&(struct loopback_config){ 1, 8u << 20 }, &f->partition),
			 0);
	host_config = (struct vmbus_host_config){ .partition = f->partition, .loop = f->bus };
	assert_int_equal(vmbus_host_create(&host_config, &f->host), 0);
	config.bus_loop = f->bus;
	assert_int_equal(storvsp_create(f->host, &config, &f->storvsp), 0);
	for (uint8_t i = 0; i < 3; i++) {
		struct scsi_disk_config disk = { .device = &f->memory[i].base };

		memory_block_init(&f->memory[i], 1u << 20, 512);
		assert_int_equal(scsi_disk_create(&disk, &f->disks[i]), 0);
		if (i < 2)
			assert_int_equal(storvsp_lun_add(f->storvsp,
							 (struct storvsp_address){ 0, 0, i },
							 f->disks[i]),
					 0);
	}
	assert_int_equal(io_loop_start(f->bus), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(io_loop_start(f->loops[i]), 0);
}

static void open_both(struct frame *f)
{
	struct storvsc_packet create = { .operation = STORVSC_CREATE_SUB_CHANNELS,
					 .sub_channel_count = 1 };
	const struct guid id = storvsp_instance_id(0);
	struct storvsp_reply reply;

	assert_int_equal(loopback_guest_attach(f->partition, &f->guest.lo), 0);
	assert_int_equal(mini_connect(&f->guest, VMBUS_VERSION_IRON), 0);
	assert_int_equal(mini_request_offers(&f->guest), 0);
	assert_int_equal(mini_open(&f->guest, mini_find_offer(&f->guest, &id, 0), 5,
				   &f->threads[0].channel), 0);
	assert_int_equal(storvsp_guest_init(&f->threads[0].channel, STORVSC_VERSION_THRESHOLD), 0);
	assert_int_equal(
		storvsp_guest_call(&f->threads[0].channel, &create, sizeof(create), &reply), 0);
	for (int i = 0; i < 5000 && !mini_find_offer(&f->guest, &id, 1); i++) {
		usleep(1000);
		mini_drain(&f->guest);
	}
	assert_int_equal(mini_open(&f->guest, mini_find_offer(&f->guest, &id, 1), 5,
				   &f->threads[1].channel), 0);
}

static void destroy(void *arg)
{
	struct frame *f = arg;

	storvsp_destroy(f->storvsp, &f->call);
}

static void channels_luns_and_resets_do_not_disturb_each_other(void **state)
{
	static struct frame frame;
	struct frame *f = &frame;
	const struct storvsp_address nine = { 0, 0, 9 };
	unsigned changes = 0;

	begin(f);
	open_both(f);
	for (uint8_t i = 0; i < 2; i++) {
		struct gpa gpa;

		assert_non_null(loopback_guest_alloc_pages(f->guest.lo, 1, false, &gpa));
		f->threads[i].data_pfn = gpa.value >> HV_PAGE_SHIFT;
		f->threads[i].lun = i;
		assert_int_equal(pthread_create(&f->threads[i].thread, NULL, run_channel,
						&f->threads[i]), 0);
	}
	while (changes < 150) {
		assert_int_equal(storvsp_lun_add(f->storvsp, nine, f->disks[2]), 0);
		usleep(500);
		assert_int_equal(storvsp_lun_remove(f->storvsp, nine, &f->call), 0);
		wait_called(f);
		changes++;
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(f->threads[i].thread, NULL), 0);
		assert_int_equal(f->threads[i].error, 0);
		assert_int_equal(f->threads[i].answered, COMMANDS);
		assert_int_equal(f->threads[i].resets, COMMANDS / 100);
	}
	io_loop_call_wait(f->bus, destroy, f);
	wait_called(f);
	loopback_guest_detach(f->guest.lo);
	for (int i = 0; i < 2; i++)
		io_loop_join(f->loops[i]);
	io_loop_join(f->bus);
	vmbus_host_destroy(f->host);
	loopback_destroy(f->partition);
	for (int i = 0; i < 3; i++) {
		scsi_unit_destroy(f->disks[i]);
		memory_block_fini(&f->memory[i]);
	}
	for (int i = 0; i < 2; i++)
		io_loop_destroy(f->loops[i]);
	io_loop_destroy(f->bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(channels_luns_and_resets_do_not_disturb_each_other),
	};

	return cmocka_run_group_tests_name("storage/storvsp threads", tests, NULL, NULL);
}
