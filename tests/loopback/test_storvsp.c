// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The storage VSP over the loopback partition: setting up, commands, LUNs. */
#include "tests/loopback/storvsp_world.h"

/* ---- setting up ---- */

static void instance_ids_are_those_of_a_generation_2_machine(void **state)
{
	char text[GUID_TEXT_BYTES];
	struct guid id = storvsp_instance_id(0);

	guid_format(&id, text);
	assert_string_equal(text, "f8b3781a-1e82-4818-a1c3-63d806ec15bb");
	id = storvsp_instance_id(3);
	guid_format(&id, text);
	assert_string_equal(text, "f8b3781d-1e82-4818-a1c3-63d806ec15bb");
}

static void every_version_is_agreed_on(void **state)
{
	static const uint16_t versions[] = {
#define LIST(version) version,
		STORVSC_VERSIONS(LIST)
#undef LIST
	};
	struct world *world = *state;

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		struct storvsp_reply reply;

		world_open_ready(world, versions[i]);
		assert_int_equal(storvsp_status(world->storvsp).version, versions[i]);
		assert_true(storvsp_status(world->storvsp).ready);
		reply = world_call_srb(world, 0, CDB(0x12, 0, 0, 0, 96, 0), 96);
		world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 96);
		assert_memory_equal(world->data + 8, "Msft    ", 8);
		assert_int_equal(mini_close(&world->channel), 0);
		assert_false(storvsp_status(world->storvsp).ready);
		assert_int_equal(storvsp_status(world->storvsp).channels_open, 0);
	}
}

static void unknown_versions_are_refused_until_one_is_known(void **state)
{
	static const uint16_t unknown[] = { 0, 0x0100, 0x0201, 0x0500, 0x0603, 0x0700, 0xffff };
	struct world *world = *state;

	world_open_channel(world, 0, &world->channel);
	assert_int_equal(
		world_call_operation(world, &world->channel, STORVSC_BEGIN_INITIALIZATION, 0), 0);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(world_call_operation(world, &world->channel,
						      STORVSC_QUERY_PROTOCOL_VERSION, unknown[i]),
				 STORVSC_STATUS_REVISION_MISMATCH);
	assert_int_equal(world_call_operation(world, &world->channel,
					      STORVSC_QUERY_PROTOCOL_VERSION, STORVSC_VERSION_BLUE),
			 0);
	assert_int_equal(storvsp_status(world->storvsp).version, STORVSC_VERSION_BLUE);
}

static void a_capped_version_refuses_the_newer_ones(void **state)
{
	struct world *world = *state;

	world_open_channel(world, 0, &world->channel);
	assert_int_equal(
		world_call_operation(world, &world->channel, STORVSC_BEGIN_INITIALIZATION, 0), 0);
	assert_int_equal(world_call_operation(world, &world->channel,
					      STORVSC_QUERY_PROTOCOL_VERSION, STORVSC_VERSION_BLUE),
			 STORVSC_STATUS_REVISION_MISMATCH);
	assert_int_equal(world_call_operation(world, &world->channel,
					      STORVSC_QUERY_PROTOCOL_VERSION, STORVSC_VERSION_WIN8),
			 0);
}

static void steps_out_of_order_are_refused(void **state)
{
	static const uint32_t order[] = { STORVSC_BEGIN_INITIALIZATION,
					  STORVSC_QUERY_PROTOCOL_VERSION, STORVSC_QUERY_PROPERTIES,
					  STORVSC_END_INITIALIZATION };
	struct world *world = *state;

	world_open_channel(world, 0, &world->channel);
	for (unsigned at = 0; at <= 4; at++) {
		for (unsigned other = 0; other < 4; other++)
			if (other != at)
				assert_int_equal(world_call_operation(world, &world->channel,
								      order[other],
								      STORVSC_VERSION_BLUE),
						 STORVSC_STATUS_INVALID_DEVICE_STATE);
		if (at < 3)
			assert_int_equal(world_call_operation(world, &world->channel,
							      STORVSC_CREATE_SUB_CHANNELS, 1),
					 STORVSC_STATUS_INVALID_DEVICE_STATE);
		if (at < 4) {
			assert_int_equal(world_call_operation(world, &world->channel,
							      STORVSC_EXECUTE_SRB, 0),
					 STORVSC_STATUS_INVALID_DEVICE_STATE);
			assert_int_equal(
				world_call_operation(world, &world->channel, STORVSC_RESET_BUS, 0),
				STORVSC_STATUS_INVALID_DEVICE_STATE);
			assert_int_equal(world_call_operation(world, &world->channel, order[at],
							      STORVSC_VERSION_BLUE),
					 0);
		}
	}
	assert_int_equal(storvsp_status(world->storvsp).commands, 0);
}

static void properties_follow_the_version(void **state)
{
	static const uint16_t versions[] = { STORVSC_VERSION_WIN7, STORVSC_VERSION_WIN8 };
	struct world *world = *state;

	for (int i = 0; i < 2; i++) {
		struct storvsc_packet packet = { .operation = STORVSC_QUERY_PROPERTIES,
						 .flags = STORVSC_FLAG_REQUEST_COMPLETION };
		struct storvsp_reply reply;

		world_open_channel(world, 0, &world->channel);
		assert_int_equal(world_call_operation(world, &world->channel,
						      STORVSC_BEGIN_INITIALIZATION, 0),
				 0);
		assert_int_equal(world_call_operation(world, &world->channel,
						      STORVSC_QUERY_PROTOCOL_VERSION, versions[i]),
				 0);
		assert_int_equal(
			storvsp_guest_call(&world->channel, &packet, sizeof(packet), &reply), 0);
		assert_int_equal(reply.packet.status, 0);
		assert_int_equal(reply.packet.properties.transfer_bytes_max, 1u << 20);
		assert_int_equal(reply.packet.properties.flags, i);
		assert_int_equal(reply.packet.properties.sub_channels_max, i ? 3 : 0);
		assert_int_equal(mini_close(&world->channel), 0);
	}
}

static void answers_are_as_long_as_questions(void **state)
{
	struct world *world = *state;
	struct storvsc_packet packet = { .operation = STORVSC_BEGIN_INITIALIZATION };
	struct storvsp_reply reply;

	world_open_channel(world, 0, &world->channel);
	assert_int_equal(storvsp_guest_call(&world->channel, &packet, 48, &reply), 0);
	assert_int_equal(reply.bytes, 48);
	packet.operation = STORVSC_QUERY_PROTOCOL_VERSION;
	assert_int_equal(storvsp_guest_call(&world->channel, &packet, 64, &reply), 0);
	assert_int_equal(reply.bytes, 64);
	assert_int_equal(storvsp_guest_call(&world->channel, &packet, 16, &reply), 0);
	assert_int_equal(reply.bytes, 16);
}

/* ---- commands ---- */

static void data_moves_to_and_from_odd_places(void **state)
{
	struct world *world = *state;
	/* From the middle of a page, over three pages, and one more range elsewhere. */
	const struct range ranges[] = { { 9216, 1000, 10 }, { 1024, 4000, 40 } };
	struct storvsc_packet packet = world_srb(CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 20, 0), 1, 10240);
	struct storvsp_reply reply;

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	memset(world->data, 0xaa, DATA_PAGES * 4096);
	assert_int_equal(world_send_data(world, &world->channel, 5, &packet, ranges, 2), 0);
	reply = world_wait_reply(&world->channel, 5);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 10240);
	assert_int_equal(reply.bytes, 64);
	assert_int_equal(world->data[10 * 4096 + 999], 0xaa);
	world_assert_disk_pattern(world->data + 10 * 4096 + 1000, 8 * 512, 9216);
	assert_int_equal(world->data[10 * 4096 + 1000 + 9216], 0xaa);
	assert_int_equal(world->data[40 * 4096 + 3999], 0xaa);
	world_assert_disk_pattern(world->data + 40 * 4096 + 4000, 8 * 512 + 9216, 1024);
	assert_int_equal(world->data[40 * 4096 + 5024], 0xaa);
	assert_int_equal(world->memory.log[0].iov_count, 2); /* neighbours go together */

	packet = world_srb(CDB(0x2a, 0, 0, 0, 1, 0, 0, 0, 20, 0), 0, 10240);
	for (int i = 0; i < 9216; i++)
		world->data[10 * 4096 + 1000 + i] = (uint8_t)(i * 7);
	assert_int_equal(world_send_data(world, &world->channel, 6, &packet, ranges, 2), 0);
	reply = world_wait_reply(&world->channel, 6);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 10240);
	assert_memory_equal(world->memory.bytes + 256 * 512, world->data + 10 * 4096 + 1000, 9216);
	assert_memory_equal(world->memory.bytes + 256 * 512 + 9216, world->data + 40 * 4096 + 4000,
			    1024);
}

static void pages_may_come_in_any_order(void **state)
{
	static const uint32_t order[] = { 9, 4, 5, 2 };
	struct world *world = *state;
	const struct storvsc_packet packet = world_srb(CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 28, 0), 1,
						       14336);
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;
	struct storvsp_reply reply;
	uint64_t head[16], pfns[4];

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	memset(world->data, 0xaa, 16 * 4096);
	for (int i = 0; i < 4; i++)
		pfns[i] = (world->data_gpa.value >> HV_PAGE_SHIFT) + order[i];
	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	assert_int_equal(vmbus_gpa_head_add(&builder, 14336, 1024, pfns), 0);
	out = vmbus_packet_gpa_direct(1, &builder, &piece, 1);
	assert_int_equal(storvsp_guest_write(&world->channel, &out), 0);
	reply = world_wait_reply(&world->channel, 1);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 14336);
	assert_int_equal(world->data[9 * 4096 + 1023], 0xaa);
	world_assert_disk_pattern(world->data + 9 * 4096 + 1024, 0, 3072);
	world_assert_disk_pattern(world->data + 4 * 4096, 3072, 8192);
	world_assert_disk_pattern(world->data + 2 * 4096, 3072 + 8192, 3072);
	assert_int_equal(world->data[2 * 4096 + 3072], 0xaa);
	assert_int_equal(world->data[6 * 4096], 0xaa);
}

static void the_largest_transfer_fits_and_no_larger_one(void **state)
{
	struct world *world = *state;
	struct range range = { 1u << 20, 100, 0 };
	struct storvsc_packet packet = world_srb(CDB(0x28, 0, 0, 0, 0, 0, 0, 8, 0, 0), 1, 1u << 20);
	struct storvsp_reply reply;

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(world_send_data(world, &world->channel, 1, &packet, &range, 1), 0);
	reply = world_wait_reply(&world->channel, 1);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 1u << 20);
	world_assert_disk_pattern(world->data + 100, 0, 1u << 20);
	range.bytes += 512;
	packet.request.data_transfer_length += 512;
	assert_int_equal(world_send_data(world, &world->channel, 2, &packet, &range, 1), 0);
	reply = world_wait_reply(&world->channel, 2);
	world_assert_srb(&reply, STORVSC_SRB_INVALID_REQUEST, SCSI_GOOD, 0);
}

static void memory_beyond_the_command_is_left_alone(void **state)
{
	struct world *world = *state;
	struct range range = { 8192, 0, 0 };
	struct storvsc_packet packet = world_srb(CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 1, 0), 1, 1024);
	struct storvsp_reply reply;

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	memset(world->data, 0xaa, 8192);
	assert_int_equal(world_send_data(world, &world->channel, 1, &packet, &range, 1), 0);
	reply = world_wait_reply(&world->channel, 1);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 512);
	world_assert_disk_pattern(world->data, 8 * 512, 512);
	assert_int_equal(world->data[512], 0xaa);
}

static void memory_the_guest_does_not_have_fails_the_command(void **state)
{
	/* The last one would be the first page of memory, were it cut to 64 bits as an address. */
	static const uint64_t nowhere[] = { 0,		0xff,
					    0x90000,	UINT64_MAX >> 12,
					    UINT64_MAX, (1ull << 52) + 0x100 };
	struct world *world = *state;
	const struct storvsc_packet packet = world_srb(CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 16, 0), 1,
						       8192);
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	struct storvsp_reply reply;

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		for (int second = 0; second < 2; second++) {
			uint64_t pfns[2] = { world->data_gpa.value >> 12,
					     world->data_gpa.value >> 12 };
			struct vmbus_head_builder builder;
			struct vmbus_packet_out out;
			uint64_t head[16];

			pfns[second] = nowhere[i];
			assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
			assert_int_equal(vmbus_gpa_head_add(&builder, 8192, 0, pfns), 0);
			out = vmbus_packet_gpa_direct(3, &builder, &piece, 1);
			assert_int_equal(storvsp_guest_write(&world->channel, &out), 0);
			reply = world_wait_reply(&world->channel, 3);
			world_assert_srb(&reply, STORVSC_SRB_INVALID_REQUEST, SCSI_GOOD, 0);
		}
	}
	assert_int_equal(world->memory.log_count, 0);
	reply = world_call_srb(world, 0, CDB(0x00, 0, 0, 0, 0, 0), 0);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 0);
}

static void sense_travels_where_the_guest_looks(void **state)
{
	struct world *world = *state;
	struct storvsp_reply reply;

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	reply = world_call_srb(world, 0, CDB(0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0), 512);
	world_assert_srb(&reply, STORVSC_SRB_ERROR | STORVSC_SRB_AUTOSENSE_VALID,
			 SCSI_CHECK_CONDITION, 0);
	assert_int_equal(reply.packet.status, STORVSC_STATUS_IO_DEVICE_ERROR);
	assert_int_equal(reply.packet.request.sense_bytes, 18);
	assert_int_equal(reply.packet.request.sense[0], 0x70);
	assert_int_equal(reply.packet.request.sense[2], 5);
	assert_int_equal(reply.packet.request.sense[12], 0x21);
	world->memory.fail_at = 1;
	world->memory.fail_with = -LIS_NOSPACE;
	reply = world_call_srb(world, 0, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), 512);
	assert_int_equal(reply.packet.request.sense[2], 7);
	assert_int_equal(reply.packet.request.sense[13], 7);
	world->memory.fail_at = 1;
	world->memory.fail_with = -LIS_NOMEM;
	reply = world_call_srb(world, 0, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), 512);
	world_assert_srb(&reply, STORVSC_SRB_BUSY, SCSI_BUSY, 0);
	assert_int_equal(reply.packet.status, STORVSC_STATUS_DEVICE_BUSY);
}

static void absent_luns_answer_as_hyper_v_does(void **state)
{
	struct world *world = *state;
	struct storvsp_reply reply;
	struct storvsc_packet packet;
	struct range range = { 96, 0, 0 };

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	reply = world_call_srb(world, 1, CDB(0x12, 0, 0, 0, 36, 0), 36);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 36);
	assert_int_equal(world->data[0], 0x7f);
	reply = world_call_srb(world, 1, CDB(0x00, 0, 0, 0, 0, 0), 0);
	world_assert_no_lun(&reply);
	assert_int_equal(reply.packet.status, STORVSC_STATUS_DEVICE_DOES_NOT_EXIST);
	/* Paths and targets beyond what there can be. */
	packet = world_srb(CDB(0x12, 0, 0, 0, 96, 0), 1, 96);
	packet.request.path_id = 255;
	packet.request.target_id = 255;
	packet.request.lun = 255;
	assert_int_equal(world_send_data(world, &world->channel, 9, &packet, &range, 1), 0);
	reply = world_wait_reply(&world->channel, 9);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 96);
	assert_int_equal(world->data[0], 0x7f);
}

static void report_luns_knows_each_target(void **state)
{
	struct world *world = *state;
	struct storvsc_packet packet = world_srb(CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 16, 0), 1, 4096);
	struct range range = { 4096, 0, 0 };
	struct storvsp_reply reply;

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(
		storvsp_lun_add(world->storvsp, (struct storvsp_address){ 0, 0, 63 }, world->disk),
		0);
	assert_int_equal(
		storvsp_lun_add(world->storvsp, (struct storvsp_address){ 7, 1, 255 }, world->disk),
		0);
	assert_int_equal(
		storvsp_lun_add(world->storvsp, (struct storvsp_address){ 8, 0, 0 }, world->disk),
		-LIS_INVALID);
	assert_int_equal(storvsp_guest_wait(&world->channel, &reply), 0); /* ENUMERATE_BUS */
	/* Asked of a LUN that is there or not, the target answers. */
	packet.request.lun = 9;
	assert_int_equal(world_send_data(world, &world->channel, 1, &packet, &range, 1), 0);
	reply = world_wait_reply(&world->channel, 1);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 24);
	assert_int_equal(world->data[3], 16);
	assert_int_equal(world->data[9], 0);
	assert_int_equal(world->data[17], 63);
	packet.request.path_id = 7;
	packet.request.target_id = 1;
	assert_int_equal(world_send_data(world, &world->channel, 2, &packet, &range, 1), 0);
	reply = world_wait_reply(&world->channel, 2);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 16);
	assert_int_equal(world->data[9], 255);
	packet.request.path_id = 200;
	assert_int_equal(world_send_data(world, &world->channel, 3, &packet, &range, 1), 0);
	reply = world_wait_reply(&world->channel, 3);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 8);
}

static void more_packets_than_requests_wait_in_the_ring(void **state)
{
	struct world *world = *state;
	bool seen[21] = { false };

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	world->memory.hold = true;
	for (unsigned id = 1; id <= 20; id++)
		assert_int_equal(
			world_send_transfer(world, &world->channel, id, SCSI_READ_10, id, 1, id),
			0);
	world_settle(world);
	assert_int_equal(world->memory.held_count, QUEUE_DEPTH);
	assert_true(storvsp_status(world->storvsp).starved > 0);
	for (unsigned done = 0; done < 20; done++) {
		struct storvsp_reply reply;

		assert_int_equal(memory_block_release(&world->memory, 1), 1);
		assert_int_equal(storvsp_guest_wait(&world->channel, &reply), 0);
		world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 512);
		assert_in_range(reply.id, 1, 20);
		assert_false(seen[reply.id]);
		seen[reply.id] = true;
		world_assert_disk_pattern(world->data + reply.id * 4096, reply.id * 512, 512);
		world_settle(world);
	}
	world_assert_no_reply(world, &world->channel);
}

static void answers_wait_in_order_while_the_guests_ring_is_full(void **state)
{
	struct world *world = *state;
	struct storvsc_packet tur = world_srb(CDB(0x00, 0, 0, 0, 0, 0), 2, 0);
	unsigned sent = 0, got = 0;

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	/* Without reading: fill the ring to the guest, the pool, then the ring to the host. */
	for (int idle = 0; idle < 3;) {
		if (storvsp_guest_send(&world->channel, sent + 1, &tur, sizeof(tur))) {
			idle++;
			world_settle(world);
		} else {
			sent++;
		}
	}
	assert_true(sent > 32768 / 88 + QUEUE_DEPTH);
	/* Now with ENUMERATE_BUS behind all that. */
	assert_int_equal(
		storvsp_lun_add(world->storvsp, (struct storvsp_address){ 0, 0, 5 }, world->disk),
		0);
	world_settle(world);
	while (got < sent) {
		struct storvsp_reply reply;

		assert_int_equal(storvsp_guest_wait(&world->channel, &reply), 0);
		if (reply.packet.operation == STORVSC_ENUMERATE_BUS)
			continue;
		assert_int_equal(reply.id, got + 1);
		got++;
	}
}

static void no_answer_overtakes_those_that_wait(void **state)
{
	struct world *world = *state;
	struct storvsc_packet tur = world_srb(CDB(0x00, 0, 0, 0, 0, 0), 2, 0);
	struct storvsp_reply reply;
	unsigned sent = 0, got = 0;

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	world->memory.hold = true;
	assert_int_equal(
		world_send_transfer(world, &world->channel, 1000000, SCSI_READ_10, 0, 1, 0), 0);
	while (!storvsp_guest_send(&world->channel, sent + 1, &tur, sizeof(tur))) {
		sent++;
		world_settle(world);
	}
	/* There is room again, but nobody has looked yet, when the last command ends. */
	while (!storvsp_guest_receive(&world->channel, &reply))
		assert_int_equal(reply.id, ++got);
	memory_block_release(&world->memory, 1);
	for (unsigned waiting = 0; waiting < QUEUE_DEPTH - 1; waiting++)
		world_wait_reply(&world->channel, ++got);
	world_wait_reply(&world->channel, 1000000);
	while (got < sent)
		world_wait_reply(&world->channel, ++got);
}

static void counters_are_kept_for_each_lun(void **state)
{
	struct world *world = *state;
	const struct scsi_counters *counters = scsi_unit_counters(world->disk);

	world_open_ready(world, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(world_send_transfer(world, &world->channel, 1, SCSI_READ_10, 0, 8, 0), 0);
	world_wait_reply(&world->channel, 1);
	assert_int_equal(world_send_transfer(world, &world->channel, 2, SCSI_WRITE_10, 0, 16, 0),
			 0);
	world_wait_reply(&world->channel, 2);
	world_call_srb(world, 0, CDB(0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0);
	assert_int_equal(atomic_load(&counters->reads), 1);
	assert_int_equal(atomic_load(&counters->read_bytes), 4096);
	assert_int_equal(atomic_load(&counters->writes), 1);
	assert_int_equal(atomic_load(&counters->written_bytes), 8192);
	assert_int_equal(atomic_load(&counters->flushes), 1);
	assert_int_equal(storvsp_status(world->storvsp).commands, 3);
	assert_int_equal(storvsp_status(world->storvsp).channels_open, 1);
}

/* ---- LUNs that come and go ---- */

static void see_lun(void *arg, struct storvsp_address address, struct scsi_unit *disk)
{
	uint32_t *sum = arg;

	assert_non_null(disk);
	*sum += 1 + 1000u * address.lun;
}

static void the_guest_hears_of_luns_from_4_2_on(void **state)
{
	static const uint16_t versions[] = { STORVSC_VERSION_WIN6, STORVSC_VERSION_WIN7,
					     STORVSC_VERSION_THRESHOLD };
	const struct storvsp_address one = { 0, 0, 1 };
	struct world *world = *state;
	struct storvsp_reply reply;

	for (int i = 0; i < 3; i++) {
		uint32_t sum = 0;

		world_open_ready(world, versions[i]);
		world_assert_no_reply(world,
				      &world->channel); /* nothing about what was there before */
		assert_int_equal(storvsp_lun_add(world->storvsp, one, world->disk), 0);
		assert_int_equal(storvsp_lun_add(world->storvsp, one, world->disk), -LIS_BUSY);
		storvsp_each_lun(world->storvsp, see_lun, &sum);
		assert_int_equal(sum, 1002);
		for (int change = 0; change < 2; change++) {
			if (i == 0) {
				world_assert_no_reply(world, &world->channel);
			} else {
				assert_int_equal(storvsp_guest_wait(&world->channel, &reply), 0);
				assert_int_equal(reply.type, VMBUS_PACKET_IN_BAND);
				assert_int_equal(reply.id, 0);
				assert_int_equal(reply.packet.operation, STORVSC_ENUMERATE_BUS);
				assert_int_equal(reply.bytes, i == 1 ? 48 : 64);
			}
			if (change == 0)
				assert_int_equal(
					storvsp_lun_remove(world->storvsp, one, &world->call), 0);
		}
		world_wait_called(world);
		assert_int_equal(storvsp_lun_remove(world->storvsp, one, &world->call),
				 -LIS_NOTFOUND);
		assert_int_equal(mini_close(&world->channel), 0);
	}
}

static void a_lun_in_use_goes_when_its_commands_have_ended(void **state)
{
	struct world *world = *state;
	struct storvsp_reply reply;

	world_open_ready(world, STORVSC_VERSION_WIN6); /* no ENUMERATE_BUS in between */
	world->memory.hold = true;
	assert_int_equal(world_send_transfer(world, &world->channel, 1, SCSI_READ_10, 0, 1, 0), 0);
	assert_int_equal(world_send_transfer(world, &world->channel, 2, SCSI_READ_10, 1, 1, 1), 0);
	world_settle(world);
	assert_int_equal(storvsp_lun_remove(world->storvsp, world_address, &world->call), 0);
	assert_int_equal(storvsp_lun_add(world->storvsp, world_address, world->disk), -LIS_BUSY);
	reply = world_call_srb(world, 0, CDB(0x00, 0, 0, 0, 0, 0), 0);
	world_assert_no_lun(&reply);
	assert_int_equal(world->called, 0);
	memory_block_release(&world->memory, 1);
	world_wait_reply(&world->channel, 1);
	world_settle(world);
	assert_int_equal(world->called, 0);
	memory_block_release(&world->memory, 1);
	world_wait_called(world);
	world_wait_reply(&world->channel, 2);
	world->memory.hold = false;
	assert_int_equal(storvsp_lun_add(world->storvsp, world_address, world->disk), 0);
	reply = world_call_srb(world, 0, CDB(0x00, 0, 0, 0, 0, 0), 0);
	world_assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_version_is_agreed_on),
		T(unknown_versions_are_refused_until_one_is_known),
		cmocka_unit_test_setup_teardown(a_capped_version_refuses_the_newer_ones,
						world_setup_old, world_teardown),
		T(steps_out_of_order_are_refused),
		T(properties_follow_the_version),
		T(answers_are_as_long_as_questions),
		T(data_moves_to_and_from_odd_places),
		T(pages_may_come_in_any_order),
		T(the_largest_transfer_fits_and_no_larger_one),
		T(memory_beyond_the_command_is_left_alone),
		T(memory_the_guest_does_not_have_fails_the_command),
		T(sense_travels_where_the_guest_looks),
		T(absent_luns_answer_as_hyper_v_does),
		T(report_luns_knows_each_target),
		T(more_packets_than_requests_wait_in_the_ring),
		T(answers_wait_in_order_while_the_guests_ring_is_full),
		T(no_answer_overtakes_those_that_wait),
		T(counters_are_kept_for_each_lun),
		T(the_guest_hears_of_luns_from_4_2_on),
		T(a_lun_in_use_goes_when_its_commands_have_ended),
		cmocka_unit_test(instance_ids_are_those_of_a_generation_2_machine),
	};

	return cmocka_run_group_tests_name("storage/storvsp", tests, NULL, NULL);
}
