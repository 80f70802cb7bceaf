/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The storage VSP over the loopback partition, with a scripted guest and a block device in memory.
 * All loops are turned by the test's own thread, so every order of events is the test's choice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/scsi_disk.h"
#include "storage/storvsp.h"
#include "tests/loopback/storvsp_guest.h"
#include "tests/unit/storage/memory_block.h"

#define DISK_BYTES (4u << 20)
#define RING_PAGES 9u
#define DATA_PAGES 300u
#define QUEUE_DEPTH 8u

struct fixture {
	struct io_loop *loops[2]; /* the bus, primary and even channels; odd channels */
	struct partition *partition;
	struct vmbus_host *host;
	struct storvsp *storvsp;
	struct memory_block memory;
	struct scsi_unit *disk;
	struct mini_guest guest;
	struct mini_channel channel, sub;
	struct gpa data_gpa;
	uint8_t *data;
	struct io_call call;
	unsigned called;
};

/* ---- frame ---- */

static void pump(void *arg)
{
	struct fixture *f = arg;

	for (int i = 0; i < 4; i++) {
		io_loop_turn(f->loops[0], false);
		io_loop_turn(f->loops[1], false);
	}
}

/* Long enough for everything that can happen by itself. */
static void settle(struct fixture *f)
{
	for (int i = 0; i < 50; i++)
		pump(f);
}

static void on_call(struct io_call *call)
{
	struct fixture *f = (struct fixture *)((char *)call - offsetof(struct fixture, call));

	f->called++;
}

static void wait_called(struct fixture *f)
{
	for (int i = 0; i < 1000 && !f->called; i++)
		pump(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
}

static const struct storvsp_address address0 = { 0, 0, 0 };

static void create_storvsp(struct fixture *f, uint16_t version_max)
{
	struct storvsp_config config = {
		.name = "scsi0",
		.instance_id = storvsp_instance_id(0),
		.sub_channels_max = 3,
		.bus_loop = f->loops[0],
		.loops = f->loops,
		.loop_count = 2,
		.queue_depth = QUEUE_DEPTH,
		.version_max = version_max,
	};

	assert_int_equal(storvsp_create(f->host, &config, &f->storvsp), 0);
	assert_int_equal(storvsp_lun_add(f->storvsp, address0, f->disk), 0);
}

static int setup_version(void **state, uint16_t version_max)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct vmbus_host_config host_config = { 0 };

	assert_non_null(f);
	*state = f;
	f->call.fn = on_call;
	for (int i = 0; i < 2; i++)
		assert_int_equal(io_loop_create(NULL, &f->loops[i]), 0);
	assert_int_equal(loopback_create(&(struct loopback_config){ 2, 32u << 20 }, &f->partition),
			 0);
	host_config.partition = f->partition;
	host_config.loop = f->loops[0];
	assert_int_equal(vmbus_host_create(&host_config, &f->host), 0);
	memory_block_init(&f->memory, DISK_BYTES, 512);
	assert_int_equal(scsi_disk_create(&(struct scsi_disk_config){ .device = &f->memory.base },
					  &f->disk), 0);
	create_storvsp(f, version_max);
	assert_int_equal(loopback_guest_attach(f->partition, &f->guest.lo), 0);
	f->guest.pump = pump;
	f->guest.pump_arg = f;
	f->data = loopback_guest_alloc_pages(f->guest.lo, DATA_PAGES, false, &f->data_gpa);
	assert_non_null(f->data);
	assert_int_equal(mini_connect(&f->guest, VMBUS_VERSION_IRON), 0);
	assert_int_equal(mini_request_offers(&f->guest), 0);
	return 0;
}

static int setup(void **state)
{
	return setup_version(state, 0);
}

static int setup_old(void **state)
{
	return setup_version(state, STORVSC_VERSION_WIN8);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->memory.hold = false;
	memory_block_release(&f->memory, UINT32_MAX);
	if (f->storvsp) {
		storvsp_destroy(f->storvsp, &f->call);
		wait_called(f);
	}
	loopback_guest_detach(f->guest.lo);
	vmbus_host_destroy(f->host);
	loopback_destroy(f->partition);
	scsi_unit_destroy(f->disk);
	memory_block_fini(&f->memory);
	for (int i = 0; i < 2; i++)
		io_loop_destroy(f->loops[i]);
	free(f);
	return 0;
}

/* ---- the guest's moves ---- */

static void open_channel(struct fixture *f, uint16_t index, struct mini_channel *channel)
{
	const struct guid id = storvsp_instance_id(0);
	const struct vmbus_msg_offer_channel *offer = mini_find_offer(&f->guest, &id, index);

	assert_non_null(offer);
	assert_int_equal(mini_open(&f->guest, offer, RING_PAGES, channel), 0);
}

static void open_ready(struct fixture *f, uint16_t version)
{
	open_channel(f, 0, &f->channel);
	assert_int_equal(storvsp_guest_init(&f->channel, version), 0);
}

static struct storvsc_packet srb(const uint8_t *cdb, size_t cdb_bytes, uint8_t data_in,
				 uint32_t bytes)
{
	struct storvsc_packet packet = {
		.operation = STORVSC_EXECUTE_SRB,
		.flags = STORVSC_FLAG_REQUEST_COMPLETION,
		.request = { .length = STORVSC_REQUEST_BYTES_LONG, .cdb_length = (uint8_t)cdb_bytes,
			     .sense_bytes = STORVSC_SENSE_BYTES, .data_in = data_in,
			     .data_transfer_length = bytes },
	};

	memcpy(packet.request.cdb, cdb, cdb_bytes);
	return packet;
}

#define CDB(...) (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })

struct range {
	uint32_t bytes, offset;
	uint32_t first_page; /* of the data pages */
};

/* A question whose data lies in @ranges of the data pages. */
static int send_data(struct fixture *f, struct mini_channel *channel, uint64_t id,
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
			pfns[p] = (f->data_gpa.value >> HV_PAGE_SHIFT) + ranges[i].first_page + p;
		assert_int_equal(
			vmbus_gpa_head_add(&builder, ranges[i].bytes, ranges[i].offset, pfns), 0);
	}
	out = vmbus_packet_gpa_direct(id, &builder, &piece, 1);
	return storvsp_guest_write(channel, &out);
}

/* READ(10) or WRITE(10) of whole sectors at the start of a data page. */
static int send_transfer(struct fixture *f, struct mini_channel *channel, uint64_t id,
			 uint8_t operation, uint32_t lba, uint16_t blocks, uint32_t page)
{
	uint8_t cdb[10] = { operation, 0, (uint8_t)(lba >> 24), (uint8_t)(lba >> 16),
			    (uint8_t)(lba >> 8), (uint8_t)lba, 0, (uint8_t)(blocks >> 8),
			    (uint8_t)blocks };
	struct storvsc_packet packet = srb(cdb, sizeof(cdb), operation == SCSI_READ_10,
					   blocks * 512u);
	struct range range = { blocks * 512u, 0, page };

	return send_data(f, channel, id, &packet, &range, 1);
}

static struct storvsp_reply wait_reply(struct mini_channel *channel, uint64_t id)
{
	struct storvsp_reply reply;

	assert_int_equal(storvsp_guest_wait(channel, &reply), 0);
	assert_int_equal(reply.type, VMBUS_PACKET_COMPLETION);
	assert_int_equal(reply.id, id);
	assert_int_equal(reply.packet.operation, STORVSC_COMPLETE_IO);
	return reply;
}

static void assert_no_reply(struct fixture *f, struct mini_channel *channel)
{
	struct storvsp_reply reply;

	settle(f);
	assert_int_equal(storvsp_guest_receive(channel, &reply), -LIS_EMPTY);
}

static void assert_srb(const struct storvsp_reply *reply, uint8_t srb_status, uint8_t scsi_status,
		       uint32_t bytes)
{
	assert_int_equal(reply->packet.request.srb_status, srb_status);
	assert_int_equal(reply->packet.request.scsi_status, scsi_status);
	assert_int_equal(reply->packet.request.data_transfer_length, bytes);
	assert_int_equal(reply->packet.status == STORVSC_STATUS_SUCCESS,
			 srb_status == STORVSC_SRB_SUCCESS);
}

/* ILLEGAL REQUEST, LOGICAL UNIT NOT SUPPORTED: Linux would go by the sense of an earlier answer if there were none. */
static void assert_no_lun(const struct storvsp_reply *reply)
{
	assert_srb(reply, STORVSC_SRB_INVALID_LUN | STORVSC_SRB_AUTOSENSE_VALID, SCSI_CHECK_CONDITION, 0);
	assert_int_equal(reply->packet.request.sense[2] & 0x0f, 0x05);
	assert_int_equal(reply->packet.request.sense[12], 0x25);
}

static struct storvsp_reply call_srb(struct fixture *f, uint8_t lun, const uint8_t *cdb,
				     size_t cdb_bytes, uint32_t bytes)
{
	struct storvsc_packet packet = srb(cdb, cdb_bytes, STORVSC_DATA_IN, bytes);
	struct range range = { bytes, 0, 0 };

	packet.request.lun = lun;
	if (bytes)
		assert_int_equal(send_data(f, &f->channel, 77, &packet, &range, 1), 0);
	else
		assert_int_equal(storvsp_guest_send(&f->channel, 77, &packet, sizeof(packet)), 0);
	return wait_reply(&f->channel, 77);
}

static uint32_t call_operation(struct fixture *f, struct mini_channel *channel, uint32_t operation,
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

static void assert_disk_pattern(const uint8_t *data, uint64_t offset_bytes, uint64_t bytes)
{
	for (uint64_t i = 0; i < bytes; i++)
		if (data[i] != memory_block_pattern(offset_bytes + i))
			fail_msg("byte %lu differs", (unsigned long)i);
}

/* ---- setting up ---- */

static void every_version_is_agreed_on(void **state)
{
	static const uint16_t versions[] = {
#define LIST(version) version,
		STORVSC_VERSIONS(LIST)
#undef LIST
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		struct storvsp_reply reply;

		open_ready(f, versions[i]);
		assert_int_equal(storvsp_status(f->storvsp).version, versions[i]);
		assert_true(storvsp_status(f->storvsp).ready);
		reply = call_srb(f, 0, CDB(0x12, 0, 0, 0, 96, 0), 96);
		assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 96);
		assert_memory_equal(f->data + 8, "Msft    ", 8);
		assert_int_equal(mini_close(&f->channel), 0);
		assert_false(storvsp_status(f->storvsp).ready);
		assert_int_equal(storvsp_status(f->storvsp).channels_open, 0);
	}
}

static void unknown_versions_are_refused_until_one_is_known(void **state)
{
	static const uint16_t unknown[] = { 0, 0x0100, 0x0201, 0x0500, 0x0603, 0x0700, 0xffff };
	struct fixture *f = *state;

	open_channel(f, 0, &f->channel);
	assert_int_equal(call_operation(f, &f->channel, STORVSC_BEGIN_INITIALIZATION, 0), 0);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(
			call_operation(f, &f->channel, STORVSC_QUERY_PROTOCOL_VERSION, unknown[i]),
			STORVSC_STATUS_REVISION_MISMATCH);
	assert_int_equal(call_operation(f, &f->channel, STORVSC_QUERY_PROTOCOL_VERSION,
					STORVSC_VERSION_BLUE), 0);
	assert_int_equal(storvsp_status(f->storvsp).version, STORVSC_VERSION_BLUE);
}

static void a_capped_version_refuses_the_newer_ones(void **state)
{
	struct fixture *f = *state;

	open_channel(f, 0, &f->channel);
	assert_int_equal(call_operation(f, &f->channel, STORVSC_BEGIN_INITIALIZATION, 0), 0);
	assert_int_equal(call_operation(f, &f->channel, STORVSC_QUERY_PROTOCOL_VERSION,
					STORVSC_VERSION_BLUE), STORVSC_STATUS_REVISION_MISMATCH);
	assert_int_equal(call_operation(f, &f->channel, STORVSC_QUERY_PROTOCOL_VERSION,
					STORVSC_VERSION_WIN8), 0);
}

static void steps_out_of_order_are_refused(void **state)
{
	static const uint32_t order[] = { STORVSC_BEGIN_INITIALIZATION,
					  STORVSC_QUERY_PROTOCOL_VERSION, STORVSC_QUERY_PROPERTIES,
					  STORVSC_END_INITIALIZATION };
	struct fixture *f = *state;

	open_channel(f, 0, &f->channel);
	for (unsigned at = 0; at <= 4; at++) {
		for (unsigned other = 0; other < 4; other++)
			if (other != at)
				assert_int_equal(call_operation(f, &f->channel, order[other],
								STORVSC_VERSION_BLUE),
						 STORVSC_STATUS_INVALID_DEVICE_STATE);
		if (at < 3)
			assert_int_equal(
				call_operation(f, &f->channel, STORVSC_CREATE_SUB_CHANNELS, 1),
				STORVSC_STATUS_INVALID_DEVICE_STATE);
		if (at < 4) {
			assert_int_equal(call_operation(f, &f->channel, STORVSC_EXECUTE_SRB, 0),
					 STORVSC_STATUS_INVALID_DEVICE_STATE);
			assert_int_equal(call_operation(f, &f->channel, STORVSC_RESET_BUS, 0),
					 STORVSC_STATUS_INVALID_DEVICE_STATE);
			assert_int_equal(call_operation(f, &f->channel, order[at],
							STORVSC_VERSION_BLUE), 0);
		}
	}
	assert_int_equal(storvsp_status(f->storvsp).commands, 0);
}

static void properties_follow_the_version(void **state)
{
	static const uint16_t versions[] = { STORVSC_VERSION_WIN7, STORVSC_VERSION_WIN8 };
	struct fixture *f = *state;

	for (int i = 0; i < 2; i++) {
		struct storvsc_packet packet = { .operation = STORVSC_QUERY_PROPERTIES,
						 .flags = STORVSC_FLAG_REQUEST_COMPLETION };
		struct storvsp_reply reply;

		open_channel(f, 0, &f->channel);
		assert_int_equal(call_operation(f, &f->channel, STORVSC_BEGIN_INITIALIZATION, 0),
				 0);
		assert_int_equal(
			call_operation(f, &f->channel, STORVSC_QUERY_PROTOCOL_VERSION, versions[i]),
			0);
		assert_int_equal(storvsp_guest_call(&f->channel, &packet, sizeof(packet), &reply),
				 0);
		assert_int_equal(reply.packet.status, 0);
		assert_int_equal(reply.packet.properties.transfer_bytes_max, 1u << 20);
		assert_int_equal(reply.packet.properties.flags, i);
		assert_int_equal(reply.packet.properties.sub_channels_max, i ? 3 : 0);
		assert_int_equal(mini_close(&f->channel), 0);
	}
}

static void answers_are_as_long_as_questions(void **state)
{
	struct fixture *f = *state;
	struct storvsc_packet packet = { .operation = STORVSC_BEGIN_INITIALIZATION };
	struct storvsp_reply reply;

	open_channel(f, 0, &f->channel);
	assert_int_equal(storvsp_guest_call(&f->channel, &packet, 48, &reply), 0);
	assert_int_equal(reply.bytes, 48);
	packet.operation = STORVSC_QUERY_PROTOCOL_VERSION;
	assert_int_equal(storvsp_guest_call(&f->channel, &packet, 64, &reply), 0);
	assert_int_equal(reply.bytes, 64);
	assert_int_equal(storvsp_guest_call(&f->channel, &packet, 16, &reply), 0);
	assert_int_equal(reply.bytes, 16);
}

/* ---- commands ---- */

static void data_moves_to_and_from_odd_places(void **state)
{
	struct fixture *f = *state;
	/* From the middle of a page, over three pages, and one more range elsewhere. */
	const struct range ranges[] = { { 9216, 1000, 10 }, { 1024, 4000, 40 } };
	struct storvsc_packet packet = srb(CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 20, 0), 1, 10240);
	struct storvsp_reply reply;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	memset(f->data, 0xaa, DATA_PAGES * 4096);
	assert_int_equal(send_data(f, &f->channel, 5, &packet, ranges, 2), 0);
	reply = wait_reply(&f->channel, 5);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 10240);
	assert_int_equal(reply.bytes, 64);
	assert_int_equal(f->data[10 * 4096 + 999], 0xaa);
	assert_disk_pattern(f->data + 10 * 4096 + 1000, 8 * 512, 9216);
	assert_int_equal(f->data[10 * 4096 + 1000 + 9216], 0xaa);
	assert_int_equal(f->data[40 * 4096 + 3999], 0xaa);
	assert_disk_pattern(f->data + 40 * 4096 + 4000, 8 * 512 + 9216, 1024);
	assert_int_equal(f->data[40 * 4096 + 5024], 0xaa);
	assert_int_equal(f->memory.log[0].iov_count, 2); /* neighbours go together */

	packet = srb(CDB(0x2a, 0, 0, 0, 1, 0, 0, 0, 20, 0), 0, 10240);
	for (int i = 0; i < 9216; i++)
		f->data[10 * 4096 + 1000 + i] = (uint8_t)(i * 7);
	assert_int_equal(send_data(f, &f->channel, 6, &packet, ranges, 2), 0);
	reply = wait_reply(&f->channel, 6);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 10240);
	assert_memory_equal(f->memory.bytes + 256 * 512, f->data + 10 * 4096 + 1000, 9216);
	assert_memory_equal(f->memory.bytes + 256 * 512 + 9216, f->data + 40 * 4096 + 4000, 1024);
}

static void pages_may_come_in_any_order(void **state)
{
	static const uint32_t order[] = { 9, 4, 5, 2 };
	struct fixture *f = *state;
	const struct storvsc_packet packet = srb(CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 28, 0), 1, 14336);
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;
	struct storvsp_reply reply;
	uint64_t head[16], pfns[4];

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	memset(f->data, 0xaa, 16 * 4096);
	for (int i = 0; i < 4; i++)
		pfns[i] = (f->data_gpa.value >> HV_PAGE_SHIFT) + order[i];
	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	assert_int_equal(vmbus_gpa_head_add(&builder, 14336, 1024, pfns), 0);
	out = vmbus_packet_gpa_direct(1, &builder, &piece, 1);
	assert_int_equal(storvsp_guest_write(&f->channel, &out), 0);
	reply = wait_reply(&f->channel, 1);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 14336);
	assert_int_equal(f->data[9 * 4096 + 1023], 0xaa);
	assert_disk_pattern(f->data + 9 * 4096 + 1024, 0, 3072);
	assert_disk_pattern(f->data + 4 * 4096, 3072, 8192);
	assert_disk_pattern(f->data + 2 * 4096, 3072 + 8192, 3072);
	assert_int_equal(f->data[2 * 4096 + 3072], 0xaa);
	assert_int_equal(f->data[6 * 4096], 0xaa);
}

static void the_largest_transfer_fits_and_no_larger_one(void **state)
{
	struct fixture *f = *state;
	struct range range = { 1u << 20, 100, 0 };
	struct storvsc_packet packet = srb(CDB(0x28, 0, 0, 0, 0, 0, 0, 8, 0, 0), 1, 1u << 20);
	struct storvsp_reply reply;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(send_data(f, &f->channel, 1, &packet, &range, 1), 0);
	reply = wait_reply(&f->channel, 1);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 1u << 20);
	assert_disk_pattern(f->data + 100, 0, 1u << 20);
	range.bytes += 512;
	packet.request.data_transfer_length += 512;
	assert_int_equal(send_data(f, &f->channel, 2, &packet, &range, 1), 0);
	reply = wait_reply(&f->channel, 2);
	assert_srb(&reply, STORVSC_SRB_INVALID_REQUEST, SCSI_GOOD, 0);
}

static void memory_beyond_the_command_is_left_alone(void **state)
{
	struct fixture *f = *state;
	struct range range = { 8192, 0, 0 };
	struct storvsc_packet packet = srb(CDB(0x28, 0, 0, 0, 0, 8, 0, 0, 1, 0), 1, 1024);
	struct storvsp_reply reply;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	memset(f->data, 0xaa, 8192);
	assert_int_equal(send_data(f, &f->channel, 1, &packet, &range, 1), 0);
	reply = wait_reply(&f->channel, 1);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 512);
	assert_disk_pattern(f->data, 8 * 512, 512);
	assert_int_equal(f->data[512], 0xaa);
}

static void memory_the_guest_does_not_have_fails_the_command(void **state)
{
	/* The last one would be the first page of memory, were it cut to 64 bits as an address. */
	static const uint64_t nowhere[] = { 0, 0xff, 0x90000, UINT64_MAX >> 12, UINT64_MAX,
					    (1ull << 52) + 0x100 };
	struct fixture *f = *state;
	const struct storvsc_packet packet = srb(CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 16, 0), 1, 8192);
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	struct storvsp_reply reply;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	for (size_t i = 0; i < sizeof(nowhere) / sizeof(nowhere[0]); i++) {
		for (int second = 0; second < 2; second++) {
			uint64_t pfns[2] = { f->data_gpa.value >> 12, f->data_gpa.value >> 12 };
			struct vmbus_head_builder builder;
			struct vmbus_packet_out out;
			uint64_t head[16];

			pfns[second] = nowhere[i];
			assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
			assert_int_equal(vmbus_gpa_head_add(&builder, 8192, 0, pfns), 0);
			out = vmbus_packet_gpa_direct(3, &builder, &piece, 1);
			assert_int_equal(storvsp_guest_write(&f->channel, &out), 0);
			reply = wait_reply(&f->channel, 3);
			assert_srb(&reply, STORVSC_SRB_INVALID_REQUEST, SCSI_GOOD, 0);
		}
	}
	assert_int_equal(f->memory.log_count, 0);
	reply = call_srb(f, 0, CDB(0x00, 0, 0, 0, 0, 0), 0);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 0);
}

static void sense_travels_where_the_guest_looks(void **state)
{
	struct fixture *f = *state;
	struct storvsp_reply reply;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	reply = call_srb(f, 0, CDB(0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0), 512);
	assert_srb(&reply, STORVSC_SRB_ERROR | STORVSC_SRB_AUTOSENSE_VALID, SCSI_CHECK_CONDITION,
		   0);
	assert_int_equal(reply.packet.status, STORVSC_STATUS_IO_DEVICE_ERROR);
	assert_int_equal(reply.packet.request.sense_bytes, 18);
	assert_int_equal(reply.packet.request.sense[0], 0x70);
	assert_int_equal(reply.packet.request.sense[2], 5);
	assert_int_equal(reply.packet.request.sense[12], 0x21);
	f->memory.fail_at = 1;
	f->memory.fail_with = -LIS_NOSPACE;
	reply = call_srb(f, 0, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), 512);
	assert_int_equal(reply.packet.request.sense[2], 7);
	assert_int_equal(reply.packet.request.sense[13], 7);
	f->memory.fail_at = 1;
	f->memory.fail_with = -LIS_NOMEM;
	reply = call_srb(f, 0, CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), 512);
	assert_srb(&reply, STORVSC_SRB_BUSY, SCSI_BUSY, 0);
	assert_int_equal(reply.packet.status, STORVSC_STATUS_DEVICE_BUSY);
}

static void absent_luns_answer_as_hyper_v_does(void **state)
{
	struct fixture *f = *state;
	struct storvsp_reply reply;
	struct storvsc_packet packet;
	struct range range = { 96, 0, 0 };

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	reply = call_srb(f, 1, CDB(0x12, 0, 0, 0, 36, 0), 36);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 36);
	assert_int_equal(f->data[0], 0x7f);
	reply = call_srb(f, 1, CDB(0x00, 0, 0, 0, 0, 0), 0);
	assert_no_lun(&reply);
	assert_int_equal(reply.packet.status, STORVSC_STATUS_DEVICE_DOES_NOT_EXIST);
	/* Paths and targets beyond what there can be. */
	packet = srb(CDB(0x12, 0, 0, 0, 96, 0), 1, 96);
	packet.request.path_id = 255;
	packet.request.target_id = 255;
	packet.request.lun = 255;
	assert_int_equal(send_data(f, &f->channel, 9, &packet, &range, 1), 0);
	reply = wait_reply(&f->channel, 9);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 96);
	assert_int_equal(f->data[0], 0x7f);
}

static void report_luns_knows_each_target(void **state)
{
	struct fixture *f = *state;
	struct storvsc_packet packet = srb(CDB(0xa0, 0, 0, 0, 0, 0, 0, 0, 16, 0), 1, 4096);
	struct range range = { 4096, 0, 0 };
	struct storvsp_reply reply;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(storvsp_lun_add(f->storvsp, (struct storvsp_address){ 0, 0, 63 }, f->disk),
			 0);
	assert_int_equal(
		storvsp_lun_add(f->storvsp, (struct storvsp_address){ 7, 1, 255 }, f->disk), 0);
	assert_int_equal(storvsp_lun_add(f->storvsp, (struct storvsp_address){ 8, 0, 0 }, f->disk),
			 -LIS_INVALID);
	assert_int_equal(storvsp_guest_wait(&f->channel, &reply), 0); /* ENUMERATE_BUS */
	/* Asked of a LUN that is there or not, the target answers. */
	packet.request.lun = 9;
	assert_int_equal(send_data(f, &f->channel, 1, &packet, &range, 1), 0);
	reply = wait_reply(&f->channel, 1);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 24);
	assert_int_equal(f->data[3], 16);
	assert_int_equal(f->data[9], 0);
	assert_int_equal(f->data[17], 63);
	packet.request.path_id = 7;
	packet.request.target_id = 1;
	assert_int_equal(send_data(f, &f->channel, 2, &packet, &range, 1), 0);
	reply = wait_reply(&f->channel, 2);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 16);
	assert_int_equal(f->data[9], 255);
	packet.request.path_id = 200;
	assert_int_equal(send_data(f, &f->channel, 3, &packet, &range, 1), 0);
	reply = wait_reply(&f->channel, 3);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 8);
}

static void more_packets_than_requests_wait_in_the_ring(void **state)
{
	struct fixture *f = *state;
	bool seen[21] = { false };

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	f->memory.hold = true;
	for (unsigned id = 1; id <= 20; id++)
		assert_int_equal(send_transfer(f, &f->channel, id, SCSI_READ_10, id, 1, id), 0);
	settle(f);
	assert_int_equal(f->memory.held_count, QUEUE_DEPTH);
	assert_true(storvsp_status(f->storvsp).starved > 0);
	for (unsigned done = 0; done < 20; done++) {
		struct storvsp_reply reply;

		assert_int_equal(memory_block_release(&f->memory, 1), 1);
		assert_int_equal(storvsp_guest_wait(&f->channel, &reply), 0);
		assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 512);
		assert_in_range(reply.id, 1, 20);
		assert_false(seen[reply.id]);
		seen[reply.id] = true;
		assert_disk_pattern(f->data + reply.id * 4096, reply.id * 512, 512);
		settle(f);
	}
	assert_no_reply(f, &f->channel);
}

static void answers_wait_in_order_while_the_guests_ring_is_full(void **state)
{
	struct fixture *f = *state;
	struct storvsc_packet tur = srb(CDB(0x00, 0, 0, 0, 0, 0), 2, 0);
	unsigned sent = 0, got = 0;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	/* Without reading: fill the ring to the guest, the pool, then the ring to the host. */
	for (int idle = 0; idle < 3;) {
		if (storvsp_guest_send(&f->channel, sent + 1, &tur, sizeof(tur))) {
			idle++;
			settle(f);
		} else {
			sent++;
		}
	}
	assert_true(sent > 32768 / 88 + QUEUE_DEPTH);
	/* Now with ENUMERATE_BUS behind all that. */
	assert_int_equal(storvsp_lun_add(f->storvsp, (struct storvsp_address){ 0, 0, 5 }, f->disk),
			 0);
	settle(f);
	while (got < sent) {
		struct storvsp_reply reply;

		assert_int_equal(storvsp_guest_wait(&f->channel, &reply), 0);
		if (reply.packet.operation == STORVSC_ENUMERATE_BUS)
			continue;
		assert_int_equal(reply.id, got + 1);
		got++;
	}
}

static void no_answer_overtakes_those_that_wait(void **state)
{
	struct fixture *f = *state;
	struct storvsc_packet tur = srb(CDB(0x00, 0, 0, 0, 0, 0), 2, 0);
	struct storvsp_reply reply;
	unsigned sent = 0, got = 0;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	f->memory.hold = true;
	assert_int_equal(send_transfer(f, &f->channel, 1000000, SCSI_READ_10, 0, 1, 0), 0);
	while (!storvsp_guest_send(&f->channel, sent + 1, &tur, sizeof(tur))) {
		sent++;
		settle(f);
	}
	/* There is room again, but nobody has looked yet, when the last command ends. */
	while (!storvsp_guest_receive(&f->channel, &reply))
		assert_int_equal(reply.id, ++got);
	memory_block_release(&f->memory, 1);
	for (unsigned waiting = 0; waiting < QUEUE_DEPTH - 1; waiting++)
		wait_reply(&f->channel, ++got);
	wait_reply(&f->channel, 1000000);
	while (got < sent)
		wait_reply(&f->channel, ++got);
}

static void counters_are_kept_for_each_lun(void **state)
{
	struct fixture *f = *state;
	const struct scsi_counters *counters = scsi_unit_counters(f->disk);

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(send_transfer(f, &f->channel, 1, SCSI_READ_10, 0, 8, 0), 0);
	wait_reply(&f->channel, 1);
	assert_int_equal(send_transfer(f, &f->channel, 2, SCSI_WRITE_10, 0, 16, 0), 0);
	wait_reply(&f->channel, 2);
	call_srb(f, 0, CDB(0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0);
	assert_int_equal(atomic_load(&counters->reads), 1);
	assert_int_equal(atomic_load(&counters->read_bytes), 4096);
	assert_int_equal(atomic_load(&counters->writes), 1);
	assert_int_equal(atomic_load(&counters->written_bytes), 8192);
	assert_int_equal(atomic_load(&counters->flushes), 1);
	assert_int_equal(storvsp_status(f->storvsp).commands, 3);
	assert_int_equal(storvsp_status(f->storvsp).channels_open, 1);
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
	struct fixture *f = *state;
	struct storvsp_reply reply;

	for (int i = 0; i < 3; i++) {
		uint32_t sum = 0;

		open_ready(f, versions[i]);
		assert_no_reply(f, &f->channel); /* nothing about what was there before */
		assert_int_equal(storvsp_lun_add(f->storvsp, one, f->disk), 0);
		assert_int_equal(storvsp_lun_add(f->storvsp, one, f->disk), -LIS_BUSY);
		storvsp_each_lun(f->storvsp, see_lun, &sum);
		assert_int_equal(sum, 1002);
		for (int change = 0; change < 2; change++) {
			if (i == 0) {
				assert_no_reply(f, &f->channel);
			} else {
				assert_int_equal(storvsp_guest_wait(&f->channel, &reply), 0);
				assert_int_equal(reply.type, VMBUS_PACKET_IN_BAND);
				assert_int_equal(reply.id, 0);
				assert_int_equal(reply.packet.operation, STORVSC_ENUMERATE_BUS);
				assert_int_equal(reply.bytes, i == 1 ? 48 : 64);
			}
			if (change == 0)
				assert_int_equal(storvsp_lun_remove(f->storvsp, one, &f->call), 0);
		}
		wait_called(f);
		assert_int_equal(storvsp_lun_remove(f->storvsp, one, &f->call), -LIS_NOTFOUND);
		assert_int_equal(mini_close(&f->channel), 0);
	}
}

static void a_lun_in_use_goes_when_its_commands_have_ended(void **state)
{
	struct fixture *f = *state;
	struct storvsp_reply reply;

	open_ready(f, STORVSC_VERSION_WIN6); /* no ENUMERATE_BUS in between */
	f->memory.hold = true;
	assert_int_equal(send_transfer(f, &f->channel, 1, SCSI_READ_10, 0, 1, 0), 0);
	assert_int_equal(send_transfer(f, &f->channel, 2, SCSI_READ_10, 1, 1, 1), 0);
	settle(f);
	assert_int_equal(storvsp_lun_remove(f->storvsp, address0, &f->call), 0);
	assert_int_equal(storvsp_lun_add(f->storvsp, address0, f->disk), -LIS_BUSY);
	reply = call_srb(f, 0, CDB(0x00, 0, 0, 0, 0, 0), 0);
	assert_no_lun(&reply);
	assert_int_equal(f->called, 0);
	memory_block_release(&f->memory, 1);
	wait_reply(&f->channel, 1);
	settle(f);
	assert_int_equal(f->called, 0);
	memory_block_release(&f->memory, 1);
	wait_called(f);
	wait_reply(&f->channel, 2);
	f->memory.hold = false;
	assert_int_equal(storvsp_lun_add(f->storvsp, address0, f->disk), 0);
	reply = call_srb(f, 0, CDB(0x00, 0, 0, 0, 0, 0), 0);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 0);
}

/* ---- sub-channels ---- */

static void sub_channels_are_offered_on_request(void **state)
{
	const struct guid id = storvsp_instance_id(0);
	struct fixture *f = *state;
	struct storvsp_reply reply;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	assert_null(mini_find_offer(&f->guest, &id, 1));
	assert_int_equal(call_operation(f, &f->channel, STORVSC_CREATE_SUB_CHANNELS, 4),
			 STORVSC_STATUS_INVALID_PARAMETER);
	assert_int_equal(call_operation(f, &f->channel, STORVSC_CREATE_SUB_CHANNELS, 2), 0);
	settle(f);
	mini_drain(&f->guest);
	assert_non_null(mini_find_offer(&f->guest, &id, 2));
	assert_null(mini_find_offer(&f->guest, &id, 3));
	open_channel(f, 1, &f->sub);
	assert_int_equal(storvsp_status(f->storvsp).channels_open, 2);
	assert_int_equal(send_transfer(f, &f->sub, 11, SCSI_READ_10, 3, 8, 2), 0);
	reply = wait_reply(&f->sub, 11);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 4096);
	assert_disk_pattern(f->data + 2 * 4096, 3 * 512, 4096);
	/* Setting up is the primary channel's. */
	assert_int_equal(call_operation(f, &f->sub, STORVSC_BEGIN_INITIALIZATION, 0),
			 STORVSC_STATUS_INVALID_DEVICE_STATE);
	assert_int_equal(call_operation(f, &f->sub, STORVSC_CREATE_SUB_CHANNELS, 1),
			 STORVSC_STATUS_INVALID_DEVICE_STATE);
	assert_int_equal(mini_close(&f->sub), 0);
	assert_int_equal(mini_close(&f->channel), 0);
}

static void versions_below_5_1_have_no_sub_channels(void **state)
{
	struct fixture *f = *state;

	open_ready(f, STORVSC_VERSION_WIN7);
	assert_int_equal(call_operation(f, &f->channel, STORVSC_CREATE_SUB_CHANNELS, 1),
			 STORVSC_STATUS_INVALID_PARAMETER);
}

/* ---- resets ---- */

static void a_reset_is_answered_after_what_it_waits_for(void **state)
{
	static const uint32_t operations[] = { STORVSC_RESET_LUN, STORVSC_RESET_BUS,
					       STORVSC_RESET_ADAPTER };
	struct fixture *f = *state;
	struct storvsc_packet packet = { .flags = STORVSC_FLAG_REQUEST_COMPLETION };
	struct storvsc_packet tur = srb(CDB(0x00, 0, 0, 0, 0, 0), 2, 0);
	struct storvsp_reply reply;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(call_operation(f, &f->channel, STORVSC_CREATE_SUB_CHANNELS, 1), 0);
	settle(f);
	mini_drain(&f->guest);
	open_channel(f, 1, &f->sub);
	f->memory.hold = true;
	for (int i = 0; i < 3; i++) {
		packet.operation = operations[i];
		assert_int_equal(send_transfer(f, &f->channel, 1, SCSI_READ_10, 0, 1, 0), 0);
		assert_int_equal(send_transfer(f, &f->sub, 2, SCSI_READ_10, 1, 1, 1), 0);
		settle(f);
		assert_int_equal(storvsp_guest_send(&f->channel, 3, &packet, sizeof(packet)), 0);
		assert_int_equal(storvsp_guest_send(&f->channel, 4, &tur, sizeof(tur)), 0);
		assert_no_reply(f, &f->channel);
		memory_block_release(&f->memory, 1);
		wait_reply(&f->channel, 1);
		assert_no_reply(f, &f->channel); /* the other channel's is still there */
		memory_block_release(&f->memory, 1);
		wait_reply(&f->channel, 3);
		wait_reply(&f->channel, 4);
		/* It was in its ring before the reset was answered. */
		assert_int_equal(storvsp_guest_receive(&f->sub, &reply), 0);
		assert_int_equal(reply.id, 2);
	}
	assert_int_equal(storvsp_status(f->storvsp).resets, 3);
	packet.request.lun = 77; /* nothing there: nothing to wait for */
	packet.operation = STORVSC_RESET_LUN;
	assert_int_equal(send_transfer(f, &f->channel, 1, SCSI_READ_10, 0, 1, 0), 0);
	assert_int_equal(storvsp_guest_send(&f->channel, 5, &packet, sizeof(packet)), 0);
	wait_reply(&f->channel, 5);
	memory_block_release(&f->memory, 1);
	wait_reply(&f->channel, 1);
}

static void a_reset_cuts_long_commands_short(void **state)
{
	struct fixture *f = *state;
	struct storvsc_packet verify = srb(CDB(0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0),
					   2, 0);
	struct storvsc_packet reset = { .operation = STORVSC_RESET_BUS };
	struct storvsp_reply reply;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	f->memory.hold = true;
	assert_int_equal(storvsp_guest_send(&f->channel, 1, &verify, sizeof(verify)), 0);
	assert_int_equal(storvsp_guest_send(&f->channel, 2, &reset, sizeof(reset)), 0);
	settle(f);
	assert_int_equal(f->memory.held_count, 1);
	memory_block_release(&f->memory, 1);
	reply = wait_reply(&f->channel, 1);
	assert_int_equal(reply.packet.request.srb_status, STORVSC_SRB_ABORTED);
	assert_int_equal(reply.packet.request.scsi_status, SCSI_TASK_ABORTED);
	wait_reply(&f->channel, 2);
	assert_int_equal(f->memory.log_count, 1);
}

static void a_reset_cuts_commands_of_all_channels_short(void **state)
{
	struct fixture *f = *state;
	struct storvsc_packet verify = srb(CDB(0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0),
					   2, 0);
	struct storvsc_packet tur = srb(CDB(0x00, 0, 0, 0, 0, 0), 2, 0);
	struct storvsc_packet reset = { .operation = STORVSC_RESET_LUN };
	struct storvsp_reply reply;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(call_operation(f, &f->channel, STORVSC_CREATE_SUB_CHANNELS, 1), 0);
	settle(f);
	mini_drain(&f->guest);
	open_channel(f, 1, &f->sub);
	f->memory.hold = true;
	assert_int_equal(storvsp_guest_send(&f->sub, 1, &verify, sizeof(verify)), 0);
	settle(f);
	assert_int_equal(storvsp_guest_send(&f->channel, 2, &reset, sizeof(reset)), 0);
	settle(f);
	memory_block_release(&f->memory, 1);
	reply = wait_reply(&f->sub, 1);
	assert_int_equal(reply.packet.request.srb_status, STORVSC_SRB_ABORTED);
	wait_reply(&f->channel, 2);
	assert_int_equal(f->memory.held_count, 0);
	/* Told once, on whichever channel comes first. */
	assert_int_equal(storvsp_guest_send(&f->channel, 3, &tur, sizeof(tur)), 0);
	reply = wait_reply(&f->channel, 3);
	assert_int_equal(reply.packet.request.srb_status,
			 STORVSC_SRB_ERROR | STORVSC_SRB_AUTOSENSE_VALID);
	assert_int_equal(reply.packet.request.sense[2], 0x06);
	assert_int_equal(reply.packet.request.sense[12], 0x29);
	assert_int_equal(storvsp_guest_send(&f->sub, 4, &tur, sizeof(tur)), 0);
	assert_int_equal(wait_reply(&f->sub, 4).packet.request.srb_status, STORVSC_SRB_SUCCESS);
}

/* ---- leaving ---- */

static void post_close(struct fixture *f, struct mini_channel *channel)
{
	struct vmbus_msg_channel close = { { VMBUS_MSG_CLOSE_CHANNEL, 0 },
					   channel->offer.channel_id };

	assert_int_equal(mini_post(&f->guest, f->guest.connection_id, &close, sizeof(close)), 0);
}

static void closing_waits_for_commands_under_way(void **state)
{
	struct fixture *f = *state;
	struct storvsc_packet reset = { .operation = STORVSC_RESET_BUS };

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	f->memory.hold = true;
	for (unsigned id = 1; id <= 12; id++) /* more than there are requests for */
		assert_int_equal(send_transfer(f, &f->channel, id, SCSI_WRITE_10, id, 1, id), 0);
	settle(f);
	memory_block_release(&f->memory, 3); /* their answers are never read */
	assert_int_equal(storvsp_guest_send(&f->channel, 99, &reset, sizeof(reset)), 0);
	settle(f);
	post_close(f, &f->channel);
	settle(f);
	assert_int_equal(storvsp_status(f->storvsp).channels_open, 1);
	while (f->memory.held_count > 1)
		memory_block_release(&f->memory, 1);
	settle(f);
	assert_int_equal(storvsp_status(f->storvsp).channels_open, 1);
	memory_block_release(&f->memory, 1);
	settle(f);
	assert_int_equal(storvsp_status(f->storvsp).channels_open, 0);
	f->memory.hold = false;
	open_ready(f, STORVSC_VERSION_BLUE); /* and all begins anew */
	assert_int_equal(send_transfer(f, &f->channel, 1, SCSI_READ_10, 100, 8, 0), 0);
	wait_reply(&f->channel, 1);
}

static void closing_during_a_reset_waits_for_nothing_twice(void **state)
{
	struct fixture *f = *state;
	struct storvsc_packet reset = { .operation = STORVSC_RESET_ADAPTER };

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(call_operation(f, &f->channel, STORVSC_CREATE_SUB_CHANNELS, 1), 0);
	settle(f);
	mini_drain(&f->guest);
	open_channel(f, 1, &f->sub);
	f->memory.hold = true;
	assert_int_equal(send_transfer(f, &f->channel, 1, SCSI_READ_10, 0, 1, 0), 0);
	settle(f);
	assert_int_equal(storvsp_guest_send(&f->sub, 2, &reset, sizeof(reset)), 0);
	settle(f);
	post_close(f, &f->sub); /* its reset waits for the other channel: abandoned */
	settle(f);
	assert_int_equal(storvsp_status(f->storvsp).channels_open, 1);
	memory_block_release(&f->memory, 1);
	wait_reply(&f->channel, 1);
}

static void rescind_waits_for_commands_under_way(void **state)
{
	struct fixture *f = *state;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(call_operation(f, &f->channel, STORVSC_CREATE_SUB_CHANNELS, 1), 0);
	settle(f);
	mini_drain(&f->guest);
	open_channel(f, 1, &f->sub);
	f->memory.hold = true;
	for (unsigned n = 1; n <= 4; n++) {
		assert_int_equal(send_transfer(f, &f->channel, n, SCSI_READ_10, n, 1, n), 0);
		assert_int_equal(send_transfer(f, &f->sub, n, SCSI_READ_10, n, 1, n + 10), 0);
	}
	settle(f);
	assert_int_equal(f->memory.held_count, 8);
	assert_int_equal(storvsp_lun_remove(f->storvsp, address0, &f->call), 0);
	storvsp_destroy(f->storvsp, &f->call);
	settle(f);
	assert_int_equal(f->called, 0);
	memory_block_release(&f->memory, 7);
	settle(f);
	assert_int_equal(f->called, 0);
	memory_block_release(&f->memory, 1);
	settle(f);
	assert_int_equal(f->called, 2); /* the LUN is gone, and the controller */
	f->called = 0;
	f->storvsp = NULL;
	mini_drain(&f->guest);
	assert_int_equal(f->guest.rescinded_count, 2);
}

/* ---- guests that break the protocol ---- */

/* Sends something wrong on a fresh channel; the channel must go, and the next one must work. */
static void assert_breaks(struct fixture *f, const struct vmbus_packet_out *out)
{
	struct storvsp_reply reply;

	settle(f);
	assert_int_equal(storvsp_guest_write(&f->channel, out), 0);
	settle(f);
	assert_int_equal(storvsp_status(f->storvsp).channels_open, 0);
	assert_int_equal(storvsp_guest_receive(&f->channel, &reply), -LIS_EMPTY);
	assert_int_equal(mini_close(&f->channel), 0);
	open_ready(f, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(storvsp_status(f->storvsp).channels_open, 1);
}

static void malformed_packets_cost_the_channel_and_no_more(void **state)
{
	static const size_t short_srbs[] = { 16, 24, 40 };
	struct fixture *f = *state;
	struct storvsc_packet packet = srb(CDB(0x00, 0, 0, 0, 0, 0), 2, 0);
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	struct vmbus_packet_out out;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	out = vmbus_packet_completion(1, &piece, 1); /* an answer to nothing */
	assert_breaks(f, &out);
	out = vmbus_packet_in_band(1, false, &piece, 1); /* that wants no answer */
	assert_breaks(f, &out);
	out = vmbus_packet_in_band(1, true, NULL, 0); /* empty */
	assert_breaks(f, &out);
	piece.bytes = 8;
	out = vmbus_packet_in_band(1, true, &piece, 1);
	assert_breaks(f, &out);
	for (size_t i = 0; i < sizeof(short_srbs) / sizeof(short_srbs[0]); i++) {
		piece.bytes = short_srbs[i];
		out = vmbus_packet_in_band(1, true, &piece, 1);
		assert_breaks(f, &out);
	}
	piece.bytes = sizeof(packet);
	packet.request.data_transfer_length = 512; /* data, but no memory */
	out = vmbus_packet_in_band(1, true, &piece, 1);
	assert_breaks(f, &out);
	out.type = 3;
	assert_breaks(f, &out);
}

static void less_memory_than_data_costs_the_channel(void **state)
{
	struct fixture *f = *state;
	struct storvsc_packet packet = srb(CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0), 1, 4096);
	struct vmbus_piece piece = { &packet, sizeof(packet) };
	uint64_t pfn = f->data_gpa.value >> 12;
	struct vmbus_head_builder builder;
	struct vmbus_packet_out out;
	uint64_t head[16];

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	assert_int_equal(vmbus_gpa_head_begin(&builder, head, sizeof(head)), 0);
	assert_int_equal(vmbus_gpa_head_add(&builder, 4095, 0, &pfn), 0);
	out = vmbus_packet_gpa_direct(1, &builder, &piece, 1);
	assert_breaks(f, &out);
	assert_int_equal(f->memory.log_count, 0);
}

static void breaking_a_channel_under_load_waits_for_its_commands(void **state)
{
	struct fixture *f = *state;
	struct vmbus_packet_out out = vmbus_packet_in_band(1, true, NULL, 0);

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	f->memory.hold = true;
	for (unsigned n = 1; n <= 4; n++)
		assert_int_equal(send_transfer(f, &f->channel, n, SCSI_READ_10, n, 1, n), 0);
	assert_int_equal(storvsp_guest_write(&f->channel, &out), 0);
	settle(f);
	assert_int_equal(f->memory.held_count, 4);
	assert_int_equal(storvsp_status(f->storvsp).channels_open, 1);
	memory_block_release(&f->memory, 4);
	settle(f);
	assert_int_equal(storvsp_status(f->storvsp).channels_open, 0);
}

static void odd_questions_are_refused_and_the_channel_lives(void **state)
{
	static const uint32_t unknown[] = { 0, STORVSC_COMPLETE_IO, STORVSC_REMOVE_DEVICE,
					    STORVSC_ENUMERATE_BUS, STORVSC_FC_HBA_DATA,
					    STORVSC_EVENT_NOTIFICATION, 15, UINT32_MAX };
	struct fixture *f = *state;
	struct storvsc_packet packet = srb(CDB(0x00, 0, 0, 0, 0, 0), 2, 0);
	struct storvsp_reply reply;

	open_ready(f, STORVSC_VERSION_THRESHOLD);
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++)
		assert_int_equal(call_operation(f, &f->channel, unknown[i], 0),
				 STORVSC_STATUS_INVALID_DEVICE_REQUEST);
	packet.request.cdb_length = 17;
	assert_int_equal(storvsp_guest_call(&f->channel, &packet, sizeof(packet), &reply), 0);
	assert_srb(&reply, STORVSC_SRB_INVALID_REQUEST, SCSI_GOOD, 0);
	packet.request.cdb_length = 6;
	assert_int_equal(storvsp_guest_call(&f->channel, &packet, sizeof(packet), &reply), 0);
	assert_srb(&reply, STORVSC_SRB_SUCCESS, SCSI_GOOD, 0);
}

/* ---- life ---- */

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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(every_version_is_agreed_on),
		T(unknown_versions_are_refused_until_one_is_known),
		cmocka_unit_test_setup_teardown(a_capped_version_refuses_the_newer_ones, setup_old,
						teardown),
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
		cmocka_unit_test(instance_ids_are_those_of_a_generation_2_machine),
	};

	return cmocka_run_group_tests_name("storage/storvsp", tests, NULL, NULL);
}
