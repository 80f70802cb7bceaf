// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Sub-channels of the storage VSP, resets, the end; guests that break the protocol. */
#include "tests/loopback/storvsp_world.h"

/* ---- sub-channels ---- */

static void sub_channels_are_offered_on_request(void **state)
{
	const struct guid id = storvsp_instance_id(0);
	struct world *world = *state;
	struct storvsp_reply reply;

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	assert_null(mini_find_offer(&world->guest, &id, 1));
	assert_int_equal(
		world_call_operation(world, &world->channel, STORVSC_CREATE_SUB_CHANNELS, 4),
		STORVSC_STATUS_INVALID_PARAMETER);
	assert_int_equal(
		world_call_operation(world, &world->channel, STORVSC_CREATE_SUB_CHANNELS, 2), 0);
	world_settle(world);
	mini_drain(&world->guest);
	assert_non_null(mini_find_offer(&world->guest, &id, 2));
	assert_null(mini_find_offer(&world->guest, &id, 3));
	world_open_channel(world, 1, &world->sub);
	assert_int_equal(storvsp_status(world->storvsp).channels_open, 2);
	assert_int_equal(world_send_transfer(world, &world->sub, 11, SCSI_READ_10, 3, 8, 2), 0);
	reply = world_wait_reply(&world->sub, 11);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 4096);
	world_assert_disk_pattern(world->data + 2 * 4096, 3 * 512, 4096);
	/* Setting up is the primary channel's. */
	assert_int_equal(world_call_operation(world, &world->sub, STORVSC_BEGIN_INITIALIZATION, 0),
			 STORVSC_STATUS_INVALID_DEVICE_STATE);
	assert_int_equal(world_call_operation(world, &world->sub, STORVSC_CREATE_SUB_CHANNELS, 1),
			 STORVSC_STATUS_INVALID_DEVICE_STATE);
	assert_int_equal(mini_close(&world->sub), 0);
	assert_int_equal(mini_close(&world->channel), 0);
}

static void versions_below_5_1_have_no_sub_channels(void **state)
{
	struct world *world = *state;

	world_open_ready(world, STORVSC_VERSION_WIN7);
	assert_int_equal(
		world_call_operation(world, &world->channel, STORVSC_CREATE_SUB_CHANNELS, 1),
		STORVSC_STATUS_INVALID_PARAMETER);
}

/* ---- resets ---- */

/* One channel and its sub-channel; the disk ends nothing by itself. */
static void begin_with_two_channels(struct world *world)
{
	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(
		world_call_operation(world, &world->channel, STORVSC_CREATE_SUB_CHANNELS, 1), 0);
	world_settle(world);
	mini_drain(&world->guest);
	world_open_channel(world, 1, &world->sub);
	world->memory.hold = true;
}

static void a_reset_is_answered_after_what_it_waits_for(void **state)
{
	static const uint32_t operations[] = { STORVSC_RESET_LUN, STORVSC_RESET_BUS,
					       STORVSC_RESET_ADAPTER };
	struct world *world = *state;
	struct storvsc_packet packet = { .flags = STORVSC_FLAG_REQUEST_COMPLETION };
	struct storvsc_packet tur = world_srb(CDB(0x00, 0, 0, 0, 0, 0), 2, 0);
	struct storvsp_reply reply;

	begin_with_two_channels(world);
	for (int i = 0; i < 3; i++) {
		packet.operation = operations[i];
		assert_int_equal(
			world_send_transfer(world, &world->channel, 1, SCSI_READ_10, 0, 1, 0), 0);
		assert_int_equal(world_send_transfer(world, &world->sub, 2, SCSI_READ_10, 1, 1, 1),
				 0);
		world_settle(world);
		assert_int_equal(storvsp_guest_send(&world->channel, 3, &packet, sizeof(packet)),
				 0);
		assert_int_equal(storvsp_guest_send(&world->channel, 4, &tur, sizeof(tur)), 0);
		world_assert_no_reply(world, &world->channel);
		memory_block_release(&world->memory, 1);
		world_wait_reply(&world->channel, 1);
		world_assert_no_reply(world,
				      &world->channel); /* the other channel's is still there */
		memory_block_release(&world->memory, 1);
		world_wait_reply(&world->channel, 3);
		world_wait_reply(&world->channel, 4);
		/* It was in its ring before the reset was answered. */
		assert_int_equal(storvsp_guest_receive(&world->sub, &reply), 0);
		assert_int_equal(reply.id, 2);
	}
	assert_int_equal(storvsp_status(world->storvsp).resets, 3);
	packet.request.lun = 77; /* nothing there: nothing to wait for */
	packet.operation = STORVSC_RESET_LUN;
	assert_int_equal(world_send_transfer(world, &world->channel, 1, SCSI_READ_10, 0, 1, 0), 0);
	assert_int_equal(storvsp_guest_send(&world->channel, 5, &packet, sizeof(packet)), 0);
	world_wait_reply(&world->channel, 5);
	memory_block_release(&world->memory, 1);
	world_wait_reply(&world->channel, 1);
}

static void a_reset_cuts_long_commands_short(void **state)
{
	struct world *world = *state;
	struct storvsc_packet verify =
		world_srb(CDB(0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0), 2, 0);
	struct storvsc_packet reset = { .operation = STORVSC_RESET_BUS };
	struct storvsp_reply reply;

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	world->memory.hold = true;
	assert_int_equal(storvsp_guest_send(&world->channel, 1, &verify, sizeof(verify)), 0);
	assert_int_equal(storvsp_guest_send(&world->channel, 2, &reset, sizeof(reset)), 0);
	world_settle(world);
	assert_int_equal(world->memory.held_count, 1);
	memory_block_release(&world->memory, 1);
	reply = world_wait_reply(&world->channel, 1);
	assert_int_equal(reply.packet.request.srb_status, STORVSC_SRB_ABORTED);
	assert_int_equal(reply.packet.request.scsi_status, SCSI_TASK_ABORTED);
	world_wait_reply(&world->channel, 2);
	assert_int_equal(world->memory.log_count, 1);
}

static void a_reset_cuts_commands_of_all_channels_short(void **state)
{
	struct world *world = *state;
	struct storvsc_packet verify =
		world_srb(CDB(0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0), 2, 0);
	struct storvsc_packet tur = world_srb(CDB(0x00, 0, 0, 0, 0, 0), 2, 0);
	struct storvsc_packet reset = { .operation = STORVSC_RESET_LUN };
	struct storvsp_reply reply;

	begin_with_two_channels(world);
	assert_int_equal(storvsp_guest_send(&world->sub, 1, &verify, sizeof(verify)), 0);
	world_settle(world);
	assert_int_equal(storvsp_guest_send(&world->channel, 2, &reset, sizeof(reset)), 0);
	world_settle(world);
	memory_block_release(&world->memory, 1);
	reply = world_wait_reply(&world->sub, 1);
	assert_int_equal(reply.packet.request.srb_status, STORVSC_SRB_ABORTED);
	world_wait_reply(&world->channel, 2);
	assert_int_equal(world->memory.held_count, 0);
	/* Told once, on whichever channel comes first. */
	assert_int_equal(storvsp_guest_send(&world->channel, 3, &tur, sizeof(tur)), 0);
	reply = world_wait_reply(&world->channel, 3);
	assert_int_equal(reply.packet.request.srb_status,
			 STORVSC_SRB_ERROR | STORVSC_SRB_AUTOSENSE_VALID);
	assert_int_equal(reply.packet.request.sense[2], 0x06);
	assert_int_equal(reply.packet.request.sense[12], 0x29);
	assert_int_equal(storvsp_guest_send(&world->sub, 4, &tur, sizeof(tur)), 0);
	assert_int_equal(world_wait_reply(&world->sub, 4).packet.request.srb_status,
			 STORVSC_SRB_SUCCESS);
}

/* ---- leaving ---- */

static void post_close(struct world *world, struct mini_channel *channel)
{
	struct vmbus_msg_channel close = { { VMBUS_MSG_CLOSE_CHANNEL, 0 },
					   channel->offer.channel_id };

	assert_int_equal(
		mini_post(&world->guest, world->guest.connection_id, &close, sizeof(close)), 0);
}

static void closing_waits_for_commands_under_way(void **state)
{
	struct world *world = *state;
	struct storvsc_packet reset = { .operation = STORVSC_RESET_BUS };

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	world->memory.hold = true;
	for (unsigned id = 1; id <= 12; id++) /* more than there are requests for */
		assert_int_equal(
			world_send_transfer(world, &world->channel, id, SCSI_WRITE_10, id, 1, id),
			0);
	world_settle(world);
	memory_block_release(&world->memory, 3); /* their answers are never read */
	assert_int_equal(storvsp_guest_send(&world->channel, 99, &reset, sizeof(reset)), 0);
	world_settle(world);
	post_close(world, &world->channel);
	world_settle(world);
	assert_int_equal(storvsp_status(world->storvsp).channels_open, 1);
	while (world->memory.held_count > 1)
		memory_block_release(&world->memory, 1);
	world_settle(world);
	assert_int_equal(storvsp_status(world->storvsp).channels_open, 1);
	memory_block_release(&world->memory, 1);
	world_settle(world);
	assert_int_equal(storvsp_status(world->storvsp).channels_open, 0);
	world->memory.hold = false;
	world_open_ready(world, STORVSC_VERSION_BLUE); /* and all begins anew */
	assert_int_equal(world_send_transfer(world, &world->channel, 1, SCSI_READ_10, 100, 8, 0),
			 0);
	world_wait_reply(&world->channel, 1);
}

static void closing_during_a_reset_waits_for_nothing_twice(void **state)
{
	struct world *world = *state;
	struct storvsc_packet reset = { .operation = STORVSC_RESET_ADAPTER };

	begin_with_two_channels(world);
	assert_int_equal(world_send_transfer(world, &world->channel, 1, SCSI_READ_10, 0, 1, 0), 0);
	world_settle(world);
	assert_int_equal(storvsp_guest_send(&world->sub, 2, &reset, sizeof(reset)), 0);
	world_settle(world);
	post_close(world, &world->sub); /* its reset waits for the other channel: abandoned */
	world_settle(world);
	assert_int_equal(storvsp_status(world->storvsp).channels_open, 1);
	memory_block_release(&world->memory, 1);
	world_wait_reply(&world->channel, 1);
}

static void rescind_waits_for_commands_under_way(void **state)
{
	struct world *world = *state;

	begin_with_two_channels(world);
	for (unsigned n = 1; n <= 4; n++) {
		assert_int_equal(
			world_send_transfer(world, &world->channel, n, SCSI_READ_10, n, 1, n), 0);
		assert_int_equal(
			world_send_transfer(world, &world->sub, n, SCSI_READ_10, n, 1, n + 10), 0);
	}
	world_settle(world);
	assert_int_equal(world->memory.held_count, 8);
	assert_int_equal(storvsp_lun_remove(world->storvsp, world_address, &world->call), 0);
	storvsp_destroy(world->storvsp, &world->call);
	world_settle(world);
	assert_int_equal(world->called, 0);
	memory_block_release(&world->memory, 7);
	world_settle(world);
	assert_int_equal(world->called, 0);
	memory_block_release(&world->memory, 1);
	world_settle(world);
	assert_int_equal(world->called, 2); /* the LUN is gone, and the controller */
	world->called = 0;
	world->storvsp = NULL;
	mini_drain(&world->guest);
	assert_int_equal(world->guest.rescinded_count, 2);
}

/* ---- guests that break the protocol ---- */

/* Sends something wrong on a fresh channel; the channel must go, and the next one must work. */
static void assert_breaks(struct world *world, const struct vmbus_packet_out *out)
{
	struct storvsp_reply reply;

	world_settle(world);
	assert_int_equal(storvsp_guest_write(&world->channel, out), 0);
	world_settle(world);
	assert_int_equal(storvsp_status(world->storvsp).channels_open, 0);
	assert_int_equal(storvsp_guest_receive(&world->channel, &reply), -LIS_EMPTY);
	assert_int_equal(mini_close(&world->channel), 0);
	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(storvsp_status(world->storvsp).channels_open, 1);
}

static void malformed_packets_cost_the_channel_and_no_more(void **state)
{
	static const size_t short_srbs[] = { 16, 24, 40 };
	struct world *world = *state;
	struct storvsc_packet packet = world_srb(CDB(0x00, 0, 0, 0, 0, 0), 2, 0);
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	struct vmbus_packet_out out;

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	out = vmbus_packet_completion(1, &piece, 1); /* an answer to nothing */
	assert_breaks(world, &out);
	out = vmbus_packet_in_band(1, false, &piece, 1); /* that wants no answer */
	assert_breaks(world, &out);
	out = vmbus_packet_in_band(1, true, NULL, 0); /* empty */
	assert_breaks(world, &out);
	piece.bytes = 8;
	out = vmbus_packet_in_band(1, true, &piece, 1);
	assert_breaks(world, &out);
	for (size_t i = 0; i < sizeof(short_srbs) / sizeof(short_srbs[0]); i++) {
		piece.bytes = short_srbs[i];
		out = vmbus_packet_in_band(1, true, &piece, 1);
		assert_breaks(world, &out);
	}
	piece.bytes = sizeof(packet);
	packet.request.data_transfer_length = 512; /* data, but no memory */
	out = vmbus_packet_in_band(1, true, &piece, 1);
	assert_breaks(world, &out);
	out.type = 3;
	assert_breaks(world, &out);
}

static void less_memory_than_data_costs_the_channel(void **state)
{
	struct world *world = *state;
	struct storvsc_packet packet = world_srb(CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0), 1, 4096);
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	uint64_t pfn = world->data_gpa.value >> 12;
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;
	uint64_t head[16];

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	assert_int_equal(vmbus_gpa_head_add(&builder, 4095, 0, &pfn), 0);
	out = vmbus_packet_gpa_direct(1, &builder, &piece, 1);
	assert_breaks(world, &out);
	assert_int_equal(world->memory.log_count, 0);
}

static void breaking_a_channel_under_load_waits_for_its_commands(void **state)
{
	struct world *world = *state;
	struct vmbus_packet_out out = vmbus_packet_in_band(1, true, NULL, 0);

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	world->memory.hold = true;
	for (unsigned n = 1; n <= 4; n++)
		assert_int_equal(
			world_send_transfer(world, &world->channel, n, SCSI_READ_10, n, 1, n), 0);
	assert_int_equal(storvsp_guest_write(&world->channel, &out), 0);
	world_settle(world);
	assert_int_equal(world->memory.held_count, 4);
	assert_int_equal(storvsp_status(world->storvsp).channels_open, 1);
	memory_block_release(&world->memory, 4);
	world_settle(world);
	assert_int_equal(storvsp_status(world->storvsp).channels_open, 0);
}

static void odd_questions_are_refused_and_the_channel_lives(void **state)
{
	static const uint32_t unknown[] = { 0,
					    STORVSC_COMPLETE_IO,
					    STORVSC_REMOVE_DEVICE,
					    STORVSC_ENUMERATE_BUS,
					    STORVSC_FC_HBA_DATA,
					    STORVSC_EVENT_NOTIFICATION,
					    15,
					    UINT32_MAX };
	struct world *world = *state;
	struct storvsc_packet packet = world_srb(CDB(0x00, 0, 0, 0, 0, 0), 2, 0);
	struct storvsp_reply reply;

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(world_call_operation(world, &world->channel, unknown[i], 0),
				 STORVSC_STATUS_INVALID_DEVICE_REQUEST);
	packet.request.cdb_length = 17;
	assert_int_equal(storvsp_guest_call(&world->channel, &packet, sizeof(packet), &reply), 0);
	world_assert_srb(&reply, STORVSC_SRB_INVALID_REQUEST, SCSI_GOOD, 0);
	packet.request.cdb_length = 6;
	assert_int_equal(storvsp_guest_call(&world->channel, &packet, sizeof(packet), &reply), 0);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(sub_channels_are_offered_on_request),
		T(versions_below_5_1_have_no_sub_channels),
		T(a_reset_is_answered_after_what_it_waits_for),
		T(a_reset_cuts_long_commands_short),
		T(a_reset_cuts_commands_of_all_channels_short),
		T(closing_waits_for_commands_under_way),
		T(closing_during_a_reset_waits_for_nothing_twice),
		T(rescind_waits_for_commands_under_way),
		T(malformed_packets_cost_the_channel_and_no_more),
		T(less_memory_than_data_costs_the_channel),
		T(breaking_a_channel_under_load_waits_for_its_commands),
		T(odd_questions_are_refused_and_the_channel_lives),
	};

	return cmocka_run_group_tests_name("storage/storvsp_life", tests, NULL, NULL);
}
