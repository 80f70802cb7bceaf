// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
#include "tests/loopback/storvsp_world.h"

const struct storvsp_address world_address = { 0, 0, 0 };

/* ---- frame ---- */

static void pump(void *arg)
{
	struct world *world = arg;

	for (int i = 0; i < 4; i++) {
		io_loop_turn(world->loops[0], false);
		io_loop_turn(world->loops[1], false);
	}
}

void world_settle(struct world *world)
{
	for (int i = 0; i < 50; i++)
		pump(world);
}

static void on_call(struct io_call *call)
{
	struct world *world = (struct world *)((char *)call - offsetof(struct world, call));

	world->called++;
}

void world_wait_called(struct world *world)
{
	for (int i = 0; i < 1000 && !world->called; i++)
		pump(world);
	assert_int_equal(world->called, 1);
	world->called = 0;
}

void world_create_storvsp(struct world *world, uint16_t version_max)
{
	struct storvsp_config config = {
		.name = "scsi0",
		.instance_id = storvsp_instance_id(0),
		.sub_channels_max = 3,
		.bus_loop = world->loops[0],
		.loops = world->loops,
		.loop_count = 2,
		.queue_depth = QUEUE_DEPTH,
		.version_max = version_max,
	};

	assert_int_equal(storvsp_create(world->host, &config, &world->storvsp), 0);
	assert_int_equal(storvsp_lun_add(world->storvsp, world_address, world->disk), 0);
}

static int setup_version(void **state, uint16_t version_max)
{
	struct world *world = calloc(1, sizeof(*world));
	struct vmbus_host_config host_config = { 0 };

	assert_non_null(world);
	*state = world;
	world->call.fn = on_call;
	for (int i = 0; i < 2; i++)
		assert_int_equal(io_loop_create(NULL, &world->loops[i]), 0);
	assert_int_equal(
		loopback_create(&(struct loopback_config){ 2, 32u << 20 }, &world->partition), 0);
	host_config.partition = world->partition;
	host_config.loop = world->loops[0];
	assert_int_equal(vmbus_host_create(&host_config, &world->host), 0);
	memory_block_init(&world->memory, DISK_BYTES, 512);
	assert_int_equal(
		scsi_disk_create(&(struct scsi_disk_config){ .device = &world->memory.base },
				 &world->disk),
		0);
	world_create_storvsp(world, version_max);
	assert_int_equal(loopback_guest_attach(world->partition, &world->guest.lo), 0);
	world->guest.pump = pump;
	world->guest.pump_arg = world;
	world->data = loopback_guest_alloc_pages(world->guest.lo, DATA_PAGES, false,
						 &world->data_gpa);
	assert_non_null(world->data);
	assert_int_equal(mini_connect(&world->guest, VMBUS_VERSION_IRON), 0);
	assert_int_equal(mini_request_offers(&world->guest), 0);
	return 0;
}

int world_setup(void **state)
{
	return setup_version(state, 0);
}

int world_setup_old(void **state)
{
	return setup_version(state, STORVSC_VERSION_WIN8);
}

int world_teardown(void **state)
{
	struct world *world = *state;

	world->memory.hold = false;
	memory_block_release(&world->memory, UINT32_MAX);
	if (world->storvsp) {
		storvsp_destroy(world->storvsp, &world->call);
		world_wait_called(world);
	}
	loopback_guest_detach(world->guest.lo);
	vmbus_host_destroy(world->host);
	loopback_destroy(world->partition);
	scsi_unit_destroy(world->disk);
	memory_block_fini(&world->memory);
	for (int i = 0; i < 2; i++)
		io_loop_destroy(world->loops[i]);
	free(world);
	return 0;
}

/* ---- the guest's moves ---- */

void world_open_channel(struct world *world, uint16_t index, struct mini_channel *channel)
{
	const struct guid id = storvsp_instance_id(0);
	const struct vmbus_msg_offer_channel *offer = mini_find_offer(&world->guest, &id, index);

	assert_non_null(offer);
	assert_int_equal(mini_open(&world->guest, offer, RING_PAGES, channel), 0);
}

void world_open_ready(struct world *world, uint16_t version)
{
	world_open_channel(world, 0, &world->channel);
	assert_int_equal(storvsp_guest_init(&world->channel, version), 0);
}

struct storvsc_packet world_srb(const uint8_t *cdb, size_t cdb_bytes, uint8_t data_in,
				uint32_t bytes)
{
	struct storvsc_packet packet = {
		.operation = STORVSC_EXECUTE_SRB,
		.flags = STORVSC_FLAG_REQUEST_COMPLETION,
		.request = { .length = STORVSC_REQUEST_BYTES_LONG,
			     .cdb_length = (uint8_t)cdb_bytes,
			     .sense_bytes = STORVSC_SENSE_BYTES,
			     .data_in = data_in,
			     .data_transfer_length = bytes },
	};

	memcpy(packet.request.cdb, cdb, cdb_bytes);
	return packet;
}

int world_send_data(struct world *world, struct mini_channel *channel, uint64_t id,
		    const struct storvsc_packet *packet, const struct range *ranges,
		    size_t range_count)
{
	uint64_t head[2048], pfns[512];
	struct vmbus_piece piece = { packet, STORVSC_PACKET_BYTES_LONG };
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;

	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	for (size_t i = 0; i < range_count; i++) {
		uint32_t count = vmbus_gpa_pfn_count(ranges[i].bytes, ranges[i].offset);

		for (uint32_t p = 0; p < count; p++)
			pfns[p] = (world->data_gpa.value >> HV_PAGE_SHIFT) + ranges[i].first_page +
				  p;
		assert_int_equal(
			vmbus_gpa_head_add(&builder, ranges[i].bytes, ranges[i].offset, pfns), 0);
	}
	out = vmbus_packet_gpa_direct(id, &builder, &piece, 1);
	return storvsp_guest_write(channel, &out);
}

int world_send_transfer(struct world *world, struct mini_channel *channel, uint64_t id,
			uint8_t operation, uint32_t lba, uint16_t blocks, uint32_t page)
{
	uint8_t cdb[10] = {
		operation,    0, (uint8_t)(lba >> 24),	 (uint8_t)(lba >> 16), (uint8_t)(lba >> 8),
		(uint8_t)lba, 0, (uint8_t)(blocks >> 8), (uint8_t)blocks
	};
	struct storvsc_packet packet = world_srb(cdb, sizeof(cdb), operation == SCSI_READ_10,
						 blocks * 512u);
	struct range range = { blocks * 512u, 0, page };

	return world_send_data(world, channel, id, &packet, &range, 1);
}

struct storvsp_reply world_wait_reply(struct mini_channel *channel, uint64_t id)
{
	struct storvsp_reply reply;

	assert_int_equal(storvsp_guest_wait(channel, &reply), 0);
	assert_int_equal(reply.type, VMBUS_PACKET_COMPLETION);
	assert_int_equal(reply.id, id);
	assert_int_equal(reply.packet.operation, STORVSC_COMPLETE_IO);
	return reply;
}

void world_assert_no_reply(struct world *world, struct mini_channel *channel)
{
	struct storvsp_reply reply;

	world_settle(world);
	assert_int_equal(storvsp_guest_receive(channel, &reply), -LIS_EMPTY);
}

void world_assert_srb(const struct storvsp_reply *reply, uint8_t srb_status, uint8_t scsi_status,
		      uint32_t bytes)
{
	assert_int_equal(reply->packet.request.srb_status, srb_status);
	assert_int_equal(reply->packet.request.scsi_status, scsi_status);
	assert_int_equal(reply->packet.request.data_transfer_length, bytes);
	assert_int_equal(reply->packet.status == STORVSC_STATUS_SUCCESS,
			 srb_status == STORVSC_SRB_SUCCESS);
}

void world_assert_no_lun(const struct storvsp_reply *reply)
{
	world_assert_srb(reply, STORVSC_SRB_INVALID_LUN | STORVSC_SRB_AUTOSENSE_VALID,
			 SCSI_CHECK_CONDITION, 0);
	assert_int_equal(reply->packet.request.sense[2] & 0x0f, 0x05);
	assert_int_equal(reply->packet.request.sense[12], 0x25);
}

struct storvsp_reply world_call_srb(struct world *world, uint8_t lun, const uint8_t *cdb,
				    size_t cdb_bytes, uint32_t bytes)
{
	struct storvsc_packet packet = world_srb(cdb, cdb_bytes, STORVSC_DATA_IN, bytes);
	struct range range = { bytes, 0, 0 };

	packet.request.lun = lun;
	if (bytes)
		assert_int_equal(world_send_data(world, &world->channel, 77, &packet, &range, 1),
				 0);
	else
		assert_int_equal(storvsp_guest_send(&world->channel, 77, &packet, sizeof(packet)),
				 0);
	return world_wait_reply(&world->channel, 77);
}

uint32_t world_call_operation(struct world *world, struct mini_channel *channel, uint32_t operation,
			      uint16_t argument)
{
	struct storvsc_packet packet = { .operation = operation,
					 .flags = STORVSC_FLAG_REQUEST_COMPLETION,
					 .sub_channel_count = argument };
	struct storvsp_reply reply;

	assert_int_equal(storvsp_guest_call(channel, &packet, sizeof(packet), &reply), 0);
	assert_int_equal(reply.packet.operation, STORVSC_COMPLETE_IO);
	return reply.packet.status;
}

void world_assert_disk_pattern(const uint8_t *data, uint64_t offset_bytes, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++)
		if (data[i] != memory_block_pattern(offset_bytes + i))
			fail_msg("byte %lu differs", (unsigned long)i);
}
