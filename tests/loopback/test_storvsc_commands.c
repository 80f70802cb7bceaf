/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end of storage: what a command looks like to the host, what each answer means, and what
 * becomes of answers that are wrong, doubled, late or missing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/loopback/storvsc_world.h"

/* ---- tests: commands ---- */

static void a_command_names_its_pages_in_place(void **state)
{
	struct world *w = *state;
	struct storvsc_request request = command_with_data(512, 8192);
	struct question question;

	world_become_ready(w);
	request.path = 1;
	request.target = 1;
	request.lun = 200;
	assert_int_equal(storvsc_submit(&w->channel, &request), 0);
	question = host_take(w);
	assert_int_equal(question.type, VMBUS_PACKET_GPA_DIRECT);
	assert_int_equal(question.range_count, 1);
	assert_int_equal(question.range_bytes, 8192);
	assert_int_equal(question.range_offset, 512);
	assert_int_equal(question.pfn_count, 3);
	assert_memory_equal(question.pfns, world_pfns, 24);
	assert_int_equal(question.packet.operation, STORVSC_EXECUTE_SRB);
	assert_int_equal(question.packet.request.path_id, 1);
	assert_int_equal(question.packet.request.target_id, 1);
	assert_int_equal(question.packet.request.lun, 200);
	assert_int_equal(question.packet.request.data_in, STORVSC_DATA_IN);
	assert_int_equal(question.packet.request.data_transfer_length, 8192);
	assert_int_equal(question.packet.request.cdb_length, 10);
	assert_memory_equal(question.packet.request.cdb, request.cdb, 10);
	assert_true(question.id);
	assert_int_not_equal(question.id, (uintptr_t)&request);
	host_answer_good(w, &question);
	assert_ptr_equal(world_ended_one(w), &request);
	assert_int_equal(request.result, STORVSC_RESULT_GOOD);
	assert_int_equal(request.transferred_bytes, 8192);
	assert_int_equal(request.sense_bytes, 0);
	assert_false(request.still_shared);
}

static void fill_pfns(const struct storvsc_request *request, uint64_t *out_pfns, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		out_pfns[i] = 1000 + i;
}

static void page_numbers_can_be_filled_in_place(void **state)
{
	struct world *w = *state;
	struct storvsc_request request = command_with_data(0, 12288);
	struct question question;

	world_become_ready(w);
	request.direction = STORVSC_TO_DEVICE;
	request.pfns = NULL;
	request.fill_pfns = fill_pfns;
	assert_int_equal(storvsc_submit(&w->channel, &request), 0);
	question = host_take(w);
	assert_int_equal(question.pfn_count, 3);
	assert_int_equal(question.pfns[2], 1002);
	assert_int_equal(question.packet.request.data_in, STORVSC_DATA_OUT);
	host_answer_good(w, &question);
	world_ended_one(w);
}

static void a_command_without_data_has_no_ranges(void **state)
{
	struct world *w = *state;
	struct storvsc_request request = command_without_data();
	struct question question;

	world_become_ready(w);
	assert_int_equal(storvsc_submit(&w->channel, &request), 0);
	question = host_take(w);
	assert_int_equal(question.type, VMBUS_PACKET_IN_BAND);
	/* Such a host may say anything about the length. */
	question.packet.request.data_transfer_length = 4711;
	host_answer_good(w, &question);
	assert_int_equal(world_ended_one(w)->result, STORVSC_RESULT_GOOD);
	assert_int_equal(request.transferred_bytes, 0);
}

static void impossible_requests_are_refused(void **state)
{
	struct world *w = *state;
	struct storvsc_request request;

	world_become_ready(w);
#define REFUSED(change) \
	do { \
		request = command_with_data(0, 4096); \
		change; \
		assert_int_equal(storvsc_submit(&w->channel, &request), -LIS_INVALID); \
	} while (0)
	REFUSED(request.cdb_bytes = 0);
	REFUSED(request.cdb_bytes = 17);
	REFUSED(request.direction = 3);
	REFUSED(request.direction = STORVSC_NO_DATA);
	REFUSED(request.data_bytes = 0);
	REFUSED(request.data_bytes = HOST_TRANSFER_BYTES + 1);
	REFUSED(request.data_offset = 4096);
	REFUSED(request.pfns = NULL);
	REFUSED(request.kind = STORVSC_SETUP_STEP);
	REFUSED(request.kind = 77);
#undef REFUSED
	assert_int_equal(storvsc_in_flight(&w->channel), 0);
}

static void many_commands_cost_one_signal(void **state)
{
	struct world *w = *state;
	struct storvsc_request requests[QUEUE_DEPTH];

	world_become_ready(w);
	assert_false(vmbus_ring_reader_unmask(&w->wire.from_guest));
	for (uint32_t i = 0; i < QUEUE_DEPTH; i++) {
		requests[i] = command_with_data(0, 4096);
		assert_int_equal(storvsc_submit(&w->channel, &requests[i]), 0);
	}
	assert_true(storvsc_channel_flush(&w->channel));
	assert_false(storvsc_channel_flush(&w->channel));
	assert_non_null(storvsc_channel_close(&w->channel, false));
}

static void a_host_that_is_awake_is_not_signalled(void **state)
{
	struct world *w = *state;
	struct storvsc_request request = command_with_data(0, 4096);

	world_become_ready(w);
	vmbus_ring_reader_mask(&w->wire.from_guest);
	assert_int_equal(storvsc_submit(&w->channel, &request), 0);
	assert_false(storvsc_channel_flush(&w->channel));
	assert_ptr_equal(storvsc_channel_close(&w->channel, false), &request);
}

static void a_full_table_says_again_and_then_room(void **state)
{
	struct world *w = *state;
	struct storvsc_request requests[QUEUE_DEPTH + 1];
	struct question question;

	world_become_ready(w);
	for (uint32_t i = 0; i < QUEUE_DEPTH + 1; i++) {
		requests[i] = command_without_data();
		assert_int_equal(storvsc_submit(&w->channel, &requests[i]),
				 i < QUEUE_DEPTH ? 0 : -LIS_AGAIN);
	}
	assert_int_equal(storvsc_in_flight(&w->channel), QUEUE_DEPTH);
	question = host_take(w);
	assert_int_equal(host_answer_good(w, &question), STORVSC_EVENT_ENDED | STORVSC_EVENT_ROOM);
	assert_ptr_equal(world_ended_one(w), &requests[0]);
	assert_int_equal(storvsc_submit(&w->channel, &requests[QUEUE_DEPTH]), 0);
	question = host_take(w);
	/* Room is said once for each time it was wanted. */
	assert_int_equal(host_answer_good(w, &question), STORVSC_EVENT_ENDED);
	assert_non_null(storvsc_channel_close(&w->channel, false));
}

static void a_full_ring_says_again_and_then_room(void **state)
{
	struct world *w = *state;
	struct storvsc_request requests[64];
	struct question question;
	uint32_t sent = 0;

	w->channel_config.queue_depth = 64;
	world_become_ready(w);
	for (; sent < 64; sent++) {
		requests[sent] = command_with_data(0, HOST_TRANSFER_BYTES);
		if (storvsc_submit(&w->channel, &requests[sent]))
			break;
	}
	assert_in_range(sent, 20, 40);
	assert_int_equal(storvsc_submit(&w->channel, &requests[sent]), -LIS_AGAIN);
	assert_int_equal(world_receive(w), 0);
	/* The host takes one, without an answer yet: that is enough, and it must signal us. */
	(void)!storvsc_channel_flush(&w->channel);
	assert_int_equal(w->wire.to_host_memory.control->pending_send_bytes,
			 vmbus_packet_ring_bytes(16 + 64 * 8, 64));
	assert_true(wire_take(&w->wire, &question));
	assert_int_equal(world_receive(w), STORVSC_EVENT_ROOM);
	assert_int_equal(storvsc_submit(&w->channel, &requests[sent]), 0);
	assert_non_null(storvsc_channel_close(&w->channel, false));
}

/* ---- tests: answers ---- */

#define SENSE_FIXED(key, asc, ascq) { 0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, ascq }

static void an_answer_becomes_a_result(void **state)
{
	static const struct {
		const char *what;
		uint8_t opcode, srb_status, scsi_status, sense_bytes;
		uint8_t sense[20];
		uint32_t transferred;
		uint8_t result, expect_sense_bytes;
		uint32_t expect_transferred;
	} cases[] = {
		{ "good", 0x28, 0x01, 0, 0, { 0 }, 4096, STORVSC_RESULT_GOOD, 0, 4096 },
		{ "good, but short", 0x28, 0x01, 0, 0, { 0 }, 512, STORVSC_RESULT_GOOD, 0, 512 },
		{ "overrun", 0x28, 0x12, 0, 0, { 0 }, 36, STORVSC_RESULT_GOOD, 0, 36 },
		{ "queue frozen flag", 0x28, 0x41, 0, 0, { 0 }, 4096,
		  STORVSC_RESULT_GOOD, 0, 4096 },
		{ "reservation conflict", 0x28, 0x01, 0x18, 0, { 0 }, 0,
		  STORVSC_RESULT_SCSI_STATUS, 0, 0 },
		{ "medium error", 0x28, 0x84, 0x02, 18, SENSE_FIXED(3, 0x11, 0), 4096,
		  STORVSC_RESULT_SCSI_STATUS, 18, 0 },
		{ "sense flag without check condition", 0x28, 0x84, 0, 18, SENSE_FIXED(3, 0x11, 0), 0,
		  STORVSC_RESULT_FAILED, 0, 0 },
		{ "sense without its flag", 0x28, 0x04, 0x02, 18, SENSE_FIXED(3, 0x11, 0), 0,
		  STORVSC_RESULT_FAILED, 0, 0 },
		{ "capacity changed", 0x28, 0x84, 0x02, 18, SENSE_FIXED(6, 0x2a, 9), 0,
		  STORVSC_RESULT_CHANGED, 18, 0 },
		{ "capacity changed, descriptor form", 0x28, 0x84, 0x02, 8, { 0x72, 6, 0x2a, 9 }, 0,
		  STORVSC_RESULT_CHANGED, 8, 0 },
		{ "operating conditions changed", 0x28, 0x84, 0x02, 18, SENSE_FIXED(6, 0x3f, 1), 0,
		  STORVSC_RESULT_CHANGED, 18, 0 },
		{ "LUNs changed", 0x28, 0x84, 0x02, 18, SENSE_FIXED(6, 0x3f, 0x0e), 0,
		  STORVSC_RESULT_SCSI_STATUS, 18, 0 },
		{ "sense too short to tell", 0x28, 0x84, 0x02, 8, SENSE_FIXED(6, 0x2a, 9), 0,
		  STORVSC_RESULT_SCSI_STATUS, 8, 0 },
		{ "no LUN", 0x28, 0x20, 0x02, 0, { 0 }, 0, STORVSC_RESULT_NO_LUN, 0, 0 },
		{ "busy", 0x28, 0x05, 0x08, 0, { 0 }, 0, STORVSC_RESULT_BUSY, 0, 0 },
		{ "aborted", 0x28, 0x02, 0, 0, { 0 }, 0, STORVSC_RESULT_ABORTED, 0, 0 },
		{ "error", 0x28, 0x04, 0, 0, { 0 }, 99999, STORVSC_RESULT_FAILED, 0, 0 },
		{ "unknown code", 0x28, 0x3f, 0, 0, { 0 }, 0, STORVSC_RESULT_FAILED, 0, 0 },
		{ "error of a question", 0x12, 0x04, 0, 0, { 0 }, 0,
		  STORVSC_RESULT_SCSI_STATUS, 18, 0 },
		{ "error of a question", 0x5a, 0x06, 0, 0, { 0 }, 0,
		  STORVSC_RESULT_SCSI_STATUS, 18, 0 },
		{ "error of test unit ready", 0x00, 0x04, 0x02, 0, { 0 }, 0,
		  STORVSC_RESULT_SCSI_STATUS, 0, 0 },
		{ "more data than asked for", 0x28, 0x01, 0, 0, { 0 }, 4097,
		  STORVSC_RESULT_CORRUPT, 0, 0 },
		{ "overrun beyond what was asked for", 0x28, 0x12, 0, 0, { 0 }, UINT32_MAX,
		  STORVSC_RESULT_CORRUPT, 0, 0 },
		{ "more sense than room", 0x28, 0x84, 0x02, 21, { 0x70 }, 0,
		  STORVSC_RESULT_CORRUPT, 0, 0 },
		{ "more sense than room", 0x28, 0x84, 0x02, 255, { 0x70 }, 0,
		  STORVSC_RESULT_CORRUPT, 0, 0 },
	};
	struct world *w = *state;

	world_become_ready(w);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct storvsc_request request = command_with_data(0, 4096);
		uint64_t violations = w->channel.counters.violations;
		struct storvsc_packet packet;
		struct question question;

		request.cdb[0] = cases[i].opcode;
		assert_int_equal(storvsc_submit(&w->channel, &request), 0);
		question = host_take(w);
		packet = host_good_answer(&question);
		packet.status = STORVSC_STATUS_IO_DEVICE_ERROR;
		packet.request.srb_status = cases[i].srb_status;
		packet.request.scsi_status = cases[i].scsi_status;
		packet.request.sense_bytes = cases[i].sense_bytes;
		packet.request.data_transfer_length = cases[i].transferred;
		memcpy(packet.request.sense, cases[i].sense, 20);
		assert_int_equal(host_answer(w, question.id, &packet, 64), STORVSC_EVENT_ENDED);
		assert_ptr_equal(world_ended_one(w), &request);
		if (request.result != cases[i].result)
			fail_msg("%s: %s", cases[i].what, storvsc_result_text(request.result));
		assert_int_equal(request.sense_bytes, cases[i].expect_sense_bytes);
		assert_int_equal(request.transferred_bytes, cases[i].expect_transferred);
		assert_int_equal(request.host_status, STORVSC_STATUS_IO_DEVICE_ERROR);
		assert_int_equal(w->channel.counters.violations - violations,
				 request.result == STORVSC_RESULT_CORRUPT);
		if (cases[i].sense_bytes && request.sense_bytes)
			assert_memory_equal(request.sense, cases[i].sense, request.sense_bytes);
	}
}

static void an_old_host_gives_no_more_sense_than_its_version_has(void **state)
{
	struct world *w = *state;

	for (uint8_t bytes = 18; bytes <= 19; bytes++) {
		struct storvsc_request request = command_with_data(0, 4096);
		struct storvsc_packet packet;
		struct question question;

		wire_reset(&w->wire);
		world_open_primary(w);
		assert_int_equal(host_serve_setup(w, STORVSC_VERSION_WIN7), STORVSC_EVENT_READY);
		assert_int_equal(storvsc_submit(&w->channel, &request), 0);
		question = host_take(w);
		packet = host_good_answer(&question);
		packet.request.srb_status = STORVSC_SRB_ERROR | STORVSC_SRB_AUTOSENSE_VALID;
		packet.request.scsi_status = 2;
		packet.request.sense_bytes = bytes;
		host_answer(w, question.id, &packet, 48);
		assert_int_equal(world_ended_one(w)->result,
				 bytes == 18 ? STORVSC_RESULT_SCSI_STATUS : STORVSC_RESULT_CORRUPT);
		world_end(w);
	}
}

static void a_short_answer_ends_the_command_as_corrupt(void **state)
{
	struct world *w = *state;

	world_become_ready(w);
	for (uint32_t bytes = 0; bytes < 64; bytes += 8) {
		struct storvsc_request request = command_with_data(0, 4096);
		struct question question;
		struct storvsc_packet packet;

		assert_int_equal(storvsc_submit(&w->channel, &request), 0);
		question = host_take(w);
		packet = host_good_answer(&question);
		assert_int_equal(host_answer(w, question.id, &packet, bytes), STORVSC_EVENT_ENDED);
		assert_ptr_equal(world_ended_one(w), &request);
		assert_int_equal(request.result, STORVSC_RESULT_CORRUPT);
		assert_int_equal(request.transferred_bytes, 0);
		assert_int_equal(request.sense_bytes, 0);
	}
	assert_int_equal(w->channel.counters.violations, 8);
}

static void an_answer_that_is_none_ends_the_command_as_corrupt(void **state)
{
	struct world *w = *state;
	struct storvsc_request request = command_with_data(0, 4096);
	struct question question;

	world_become_ready(w);
	assert_int_equal(storvsc_submit(&w->channel, &request), 0);
	question = host_take(w);
	assert_int_equal(host_answer(w, question.id, &question.packet, 64), STORVSC_EVENT_ENDED);
	assert_int_equal(world_ended_one(w)->result, STORVSC_RESULT_CORRUPT);
}

static void a_second_answer_is_dropped(void **state)
{
	struct world *w = *state;
	struct storvsc_request first = command_with_data(0, 4096),
			       second = command_with_data(0, 4096);
	struct question question;
	uint64_t id;

	world_become_ready(w);
	assert_int_equal(storvsc_submit(&w->channel, &first), 0);
	question = host_take(w);
	id = question.id;
	assert_int_equal(host_answer_good(w, &question), STORVSC_EVENT_ENDED);
	assert_ptr_equal(world_ended_one(w), &first);
	/* The slot is in use again, under another id. */
	assert_int_equal(storvsc_submit(&w->channel, &second), 0);
	assert_int_equal(host_answer_good(w, &question), 0);
	assert_null(storvsc_take_ended(&w->channel));
	assert_int_equal(w->channel.counters.violations, 1);
	question = host_take(w);
	assert_int_not_equal(question.id, id);
	assert_int_equal((uint32_t)question.id, (uint32_t)id);
	host_answer_good(w, &question);
	assert_ptr_equal(world_ended_one(w), &second);
}

static void answers_to_nothing_are_dropped(void **state)
{
	struct world *w = *state;
	struct storvsc_request request = command_with_data(0, 4096);
	struct question question;
	uint64_t ids[8];

	world_become_ready(w);
	assert_int_equal(storvsc_submit(&w->channel, &request), 0);
	question = host_take(w);
	ids[0] = 0;
	ids[1] = question.id + 1;
	ids[2] = question.id | 1ull << 63;
	ids[3] = UINT64_MAX;
	ids[4] = (uintptr_t)&request;
	ids[5] = QUEUE_DEPTH + 3;
	ids[6] = question.id + (1ull << 32);
	ids[7] = question.id & ~0xffffffffull;
	for (size_t i = 0; i < 8; i++) {
		struct storvsc_packet packet = host_good_answer(&question);

		assert_int_equal(host_answer(w, ids[i], &packet, 64), 0);
	}
	assert_int_equal(w->channel.counters.violations, 8);
	assert_int_equal(storvsc_in_flight(&w->channel), 1);
	host_answer_good(w, &question);
	assert_ptr_equal(world_ended_one(w), &request);
}

static void packets_no_host_sends_are_dropped(void **state)
{
	struct world *w = *state;
	struct storvsc_request request = command_with_data(0, 4096);
	struct storvsc_packet packet;
	struct question question;

	world_become_ready(w);
	assert_int_equal(storvsc_submit(&w->channel, &request), 0);
	question = host_take(w);
	packet = host_good_answer(&question);
	/* An answer that is no completion, and news that are an answer. */
	assert_int_equal(host_send(w, VMBUS_PACKET_IN_BAND, question.id, &packet, 64), 0);
	assert_int_equal(host_send(w, VMBUS_PACKET_IN_BAND, 0, &packet, 64), 0);
	assert_int_equal(host_send(w, 8, question.id, &packet, 64), 0);
	assert_int_equal(host_send(w, VMBUS_PACKET_GPA_DIRECT, question.id, &packet, 64), 0);
	assert_int_equal(host_send(w, VMBUS_PACKET_TRANSFER_PAGES, question.id, &packet, 64), 0);
	assert_int_equal(host_send(w, VMBUS_PACKET_IN_BAND, 0, &packet, 0), 0);
	packet.operation = STORVSC_FC_HBA_DATA; /* an answer, to what we never ask */
	assert_int_equal(host_send(w, VMBUS_PACKET_IN_BAND, 0, &packet, 64), 0);
	packet.operation = 4711;
	assert_int_equal(host_send(w, VMBUS_PACKET_IN_BAND, 0, &packet, 64), 0);
	assert_int_equal(world_receive(w), 0);
	assert_int_equal(w->channel.counters.violations, 8);
	host_answer_good(w, &question);
	assert_ptr_equal(world_ended_one(w), &request);
}

static void news_of_luns_ask_for_a_rescan(void **state)
{
	struct world *w = *state;
	struct storvsc_packet packet = { .operation = STORVSC_ENUMERATE_BUS };

	world_become_ready(w);
	assert_int_equal(host_send(w, VMBUS_PACKET_IN_BAND, 0, &packet, 48), 0);
	assert_int_equal(world_receive(w), STORVSC_EVENT_RESCAN);
	packet.operation = STORVSC_REMOVE_DEVICE;
	assert_int_equal(host_send(w, VMBUS_PACKET_IN_BAND, 0, &packet, 8), 0);
	assert_int_equal(world_receive(w), STORVSC_EVENT_RESCAN);
	packet.operation = STORVSC_EVENT_NOTIFICATION;
	assert_int_equal(host_send(w, VMBUS_PACKET_IN_BAND, 0, &packet, 64), 0);
	assert_int_equal(world_receive(w), 0);
	assert_int_equal(w->channel.counters.violations, 0);
}

static void a_broken_ring_breaks_the_channel_and_close_ends_all(void **state)
{
	struct world *w = *state;
	struct storvsc_request requests[2] = { command_with_data(0, 4096),
					       command_with_data(0, 4096) };
	uint8_t long_payload[512] = { 0 };

	world_become_ready(w);
	assert_int_equal(storvsc_submit(&w->channel, &requests[0]), 0);
	/* Longer than anything a host has to say. */
	assert_int_equal(
		host_send(w, VMBUS_PACKET_COMPLETION, 1, long_payload, sizeof(long_payload)), 0);
	assert_int_equal(world_receive(w), STORVSC_EVENT_BROKEN);
	assert_int_equal(storvsc_submit(&w->channel, &requests[1]), -LIS_CORRUPT);
	assert_false(storvsc_channel_unmask(&w->channel));
	assert_int_equal(world_receive(w), STORVSC_EVENT_BROKEN);
	assert_int_equal(w->channel.counters.violations, 1);
	assert_ptr_equal(storvsc_channel_close(&w->channel, false), &requests[0]);
	assert_null(requests[0].next);
	assert_int_equal(requests[0].result, STORVSC_RESULT_GONE);
	assert_false(requests[0].still_shared);
	assert_null(storvsc_channel_close(&w->channel, false));
}

static void an_impossible_read_index_breaks_the_channel(void **state)
{
	struct world *w = *state;
	struct storvsc_request request = command_with_data(0, HOST_TRANSFER_BYTES);
	int err = 0;

	w->channel_config.queue_depth = 64;
	world_become_ready(w);
	w->wire.to_host_memory.control->out = RING_BYTES + 8;
	/* It is looked at when the room known of is used up. */
	for (int i = 0; i < 60 && !err; i++) {
		struct storvsc_request *one = malloc(sizeof(*one));

		*one = request;
		err = storvsc_submit(&w->channel, one);
		if (err)
			free(one);
	}
	assert_int_equal(err, -LIS_CORRUPT);
	for (struct storvsc_request *one = storvsc_channel_close(&w->channel, false), *next; one;
	     one = next) {
		next = one->next;
		free(one);
	}
}

static void a_budget_is_kept(void **state)
{
	struct world *w = *state;
	struct storvsc_packet packet = { .operation = STORVSC_ENUMERATE_BUS };

	world_become_ready(w);
	for (int i = 0; i < 3; i++)
		assert_int_equal(host_send(w, VMBUS_PACKET_IN_BAND, 0, &packet, 64), 0);
	assert_int_equal(storvsc_channel_receive(&w->channel, 2),
			 STORVSC_EVENT_RESCAN | STORVSC_EVENT_MORE);
	assert_true(storvsc_channel_unmask(&w->channel));
	assert_int_equal(storvsc_channel_receive(&w->channel, 2), STORVSC_EVENT_RESCAN);
	assert_false(storvsc_channel_unmask(&w->channel));
}

/* ---- tests: resets and time ---- */

static void a_reset_is_a_request_like_any_other(void **state)
{
	static const struct {
		uint8_t kind;
		uint32_t operation;
	} cases[] = {
		{ STORVSC_LUN_RESET, STORVSC_RESET_LUN },
		{ STORVSC_BUS_RESET, STORVSC_RESET_BUS },
		{ STORVSC_ADAPTER_RESET, STORVSC_RESET_ADAPTER },
	};
	struct world *w = *state;

	world_become_ready(w);
	for (size_t i = 0; i < 3; i++) {
		for (int good = 0; good < 2; good++) {
			struct storvsc_request request = command_without_data();
			struct question question;

			request.kind = cases[i].kind;
			request.lun = 5;
			assert_int_equal(storvsc_submit(&w->channel, &request), 0);
			question = host_take(w);
			assert_int_equal(question.packet.operation, cases[i].operation);
			assert_int_equal(question.packet.request.lun, i ? 0 : 5);
			assert_int_equal(host_answer_status(w, &question,
							    good ? 0 : STORVSC_STATUS_CANCELLED),
					 STORVSC_EVENT_ENDED);
			assert_int_equal(world_ended_one(w)->result,
					 good ? STORVSC_RESULT_GOOD : STORVSC_RESULT_FAILED);
		}
	}
}

static void a_late_command_is_reset_then_given_up_once(void **state)
{
	struct world *w = *state;
	struct storvsc_request request = command_with_data(0, 4096), others[QUEUE_DEPTH];
	struct question command, reset, question;
	uint32_t sent = 0;

	world_become_ready(w);
	request.lun = 3;
	request.deadline_ns = w->now_ns + TIMEOUT_NS;
	assert_int_equal(storvsc_submit(&w->channel, &request), 0);
	command = host_take(w);
	w->now_ns += TIMEOUT_NS - 1;
	assert_int_equal(storvsc_channel_on_timer(&w->channel, w->now_ns), 0);
	w->now_ns += 1;
	assert_int_equal(storvsc_channel_on_timer(&w->channel, w->now_ns) & ~STORVSC_EVENT_SIGNAL,
			 0);
	reset = host_take(w);
	assert_int_equal(reset.packet.operation, STORVSC_RESET_LUN);
	assert_int_equal(reset.packet.request.lun, 3);
	assert_int_equal(host_answer_status(w, &reset, STORVSC_STATUS_SUCCESS), 0);
	w->now_ns += GRACE_NS - 1;
	assert_int_equal(storvsc_channel_on_timer(&w->channel, w->now_ns), 0);
	w->now_ns += 1;
	assert_int_equal(storvsc_channel_on_timer(&w->channel, w->now_ns), STORVSC_EVENT_ENDED);
	assert_ptr_equal(world_ended_one(w), &request);
	assert_int_equal(request.result, STORVSC_RESULT_TIMED_OUT);
	assert_true(request.still_shared);
	assert_true(storvsc_still_shared(&w->channel, request.id));
	assert_int_equal(storvsc_channel_on_timer(&w->channel, w->now_ns + 100 * TIMEOUT_NS), 0);

	/* Its slot is not given to anybody else. */
	for (; sent < QUEUE_DEPTH; sent++) {
		others[sent] = command_without_data();
		if (storvsc_submit(&w->channel, &others[sent]))
			break;
		question = host_take(w);
		assert_int_not_equal((uint32_t)question.id, (uint32_t)command.id);
	}
	assert_int_equal(sent, QUEUE_DEPTH - 1);

	assert_int_equal(host_answer_good(w, &command),
			 STORVSC_EVENT_RELEASED | STORVSC_EVENT_ROOM);
	assert_null(storvsc_take_ended(&w->channel));
	assert_false(storvsc_still_shared(&w->channel, request.id));
	assert_int_equal(host_answer_good(w, &command), 0);
	assert_int_equal(w->channel.counters.late, 1);
	assert_int_equal(w->channel.counters.timed_out, 1);
	assert_non_null(storvsc_channel_close(&w->channel, false));
}

static void an_answer_after_the_reset_ends_the_command_as_usual(void **state)
{
	struct world *w = *state;
	struct storvsc_request request = command_with_data(0, 4096);
	struct question command;

	world_become_ready(w);
	request.deadline_ns = w->now_ns + TIMEOUT_NS;
	assert_int_equal(storvsc_submit(&w->channel, &request), 0);
	command = host_take(w);
	(void)!storvsc_channel_on_timer(&w->channel, w->now_ns + TIMEOUT_NS);
	command.packet.request.srb_status = STORVSC_SRB_ABORTED;
	assert_int_equal(host_answer_status(w, &command, STORVSC_STATUS_CANCELLED),
			 STORVSC_EVENT_ENDED);
	assert_int_equal(world_ended_one(w)->result, STORVSC_RESULT_ABORTED);
	assert_int_equal(storvsc_channel_on_timer(&w->channel, w->now_ns + 9 * TIMEOUT_NS), 0);
}

static void late_commands_of_several_luns_are_reset_one_after_the_other(void **state)
{
	struct world *w = *state;
	struct storvsc_request requests[3] = { command_with_data(0, 4096),
					       command_with_data(0, 4096),
					       command_with_data(0, 4096) };
	struct question question;

	world_become_ready(w);
	for (int i = 0; i < 3; i++) {
		requests[i].lun = (uint8_t)(i / 2); /* 0, 0, 1 */
		requests[i].deadline_ns = w->now_ns + TIMEOUT_NS;
		assert_int_equal(storvsc_submit(&w->channel, &requests[i]), 0);
		host_take(w);
	}
	w->now_ns += TIMEOUT_NS;
	(void)!storvsc_channel_on_timer(&w->channel, w->now_ns);
	question = host_take(w);
	assert_int_equal(question.packet.request.lun, 0);
	assert_false(wire_take(&w->wire, &question));
	/* The host does not answer that either. */
	w->now_ns += GRACE_NS;
	(void)!storvsc_channel_on_timer(&w->channel, w->now_ns);
	(void)!storvsc_channel_on_timer(&w->channel, w->now_ns);
	question = host_take(w);
	assert_int_equal(question.packet.request.lun, 1);
	w->now_ns += GRACE_NS;
	(void)!storvsc_channel_on_timer(&w->channel, w->now_ns);
	for (int i = 0; i < 3; i++)
		assert_int_equal(requests[i].result, STORVSC_RESULT_TIMED_OUT);
	assert_int_equal(w->channel.counters.ended, 3);
	assert_int_equal(w->channel.counters.resets, 2);
	(void)!storvsc_take_ended(&w->channel);
}

static void without_grace_a_late_command_is_given_up_at_once(void **state)
{
	struct world *w = *state;
	struct storvsc_request request = command_without_data();
	struct question question;

	w->config.reset_grace_ns = 0;
	world_become_ready(w);
	request.deadline_ns = w->now_ns + 1;
	assert_int_equal(storvsc_submit(&w->channel, &request), 0);
	host_take(w);
	assert_int_equal(storvsc_channel_on_timer(&w->channel, w->now_ns + 1), STORVSC_EVENT_ENDED);
	assert_int_equal(world_ended_one(w)->result, STORVSC_RESULT_TIMED_OUT);
	assert_false(request.still_shared); /* it had no data */
	assert_false(wire_take(&w->wire, &question));
}

static void a_host_that_answers_nothing_breaks_the_channel(void **state)
{
	struct world *w = *state;
	struct storvsc_request requests[QUEUE_DEPTH];

	w->config.reset_grace_ns = 0;
	world_become_ready(w);
	for (uint32_t i = 0; i < QUEUE_DEPTH; i++) {
		requests[i] = command_with_data(0, 4096);
		requests[i].deadline_ns = w->now_ns + 1;
		assert_int_equal(storvsc_submit(&w->channel, &requests[i]), 0);
	}
	assert_int_equal(storvsc_channel_on_timer(&w->channel, w->now_ns + 1),
			 STORVSC_EVENT_ENDED | STORVSC_EVENT_BROKEN | STORVSC_EVENT_SIGNAL);
	assert_int_equal(w->channel.counters.ended, QUEUE_DEPTH);
	(void)!storvsc_take_ended(&w->channel);
	/* The host consents to the end: nothing is shared any more. */
	assert_null(storvsc_channel_close(&w->channel, false));
	assert_false(storvsc_still_shared(&w->channel, requests[0].id));
}

static void a_close_the_host_does_not_confirm_leaves_memory_shared(void **state)
{
	struct world *w = *state;
	struct storvsc_request with_data = command_with_data(0, 4096),
			       without = command_without_data();

	world_become_ready(w);
	assert_int_equal(storvsc_submit(&w->channel, &with_data), 0);
	assert_int_equal(storvsc_submit(&w->channel, &without), 0);
	assert_non_null(storvsc_channel_close(&w->channel, true));
	assert_true(with_data.still_shared);
	assert_false(without.still_shared);
	assert_true(storvsc_still_shared(&w->channel, with_data.id));
}

static void a_stopped_channel_drains(void **state)
{
	struct world *w = *state;
	struct storvsc_request request = command_with_data(0, 4096),
			       more = command_with_data(0, 4096);
	struct question question;

	world_become_ready(w);
	assert_int_equal(storvsc_submit(&w->channel, &request), 0);
	storvsc_channel_stop(&w->channel);
	assert_int_equal(storvsc_submit(&w->channel, &more), -LIS_GONE);
	question = host_take(w);
	host_answer_good(w, &question);
	assert_ptr_equal(world_ended_one(w), &request);
	assert_int_equal(storvsc_in_flight(&w->channel), 0);
}

static void close_also_gives_what_had_ended_before(void **state)
{
	struct world *w = *state;
	struct storvsc_request requests[2] = { command_with_data(0, 4096),
					       command_with_data(0, 4096) };
	struct question question;

	world_become_ready(w);
	for (int i = 0; i < 2; i++)
		assert_int_equal(storvsc_submit(&w->channel, &requests[i]), 0);
	question = host_take(w);
	host_answer_good(w, &question);
	assert_ptr_equal(storvsc_channel_close(&w->channel, false), &requests[0]);
	assert_ptr_equal(requests[0].next, &requests[1]);
	assert_null(requests[1].next);
	assert_int_equal(requests[0].result, STORVSC_RESULT_GOOD);
	assert_int_equal(requests[1].result, STORVSC_RESULT_GONE);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	static const struct CMUnitTest tests[] = {
		TEST(a_command_names_its_pages_in_place),
		TEST(page_numbers_can_be_filled_in_place),
		TEST(a_command_without_data_has_no_ranges),
		TEST(impossible_requests_are_refused),
		TEST(many_commands_cost_one_signal),
		TEST(a_host_that_is_awake_is_not_signalled),
		TEST(a_full_table_says_again_and_then_room),
		TEST(a_full_ring_says_again_and_then_room),
		TEST(an_answer_becomes_a_result),
		TEST(an_old_host_gives_no_more_sense_than_its_version_has),
		TEST(a_short_answer_ends_the_command_as_corrupt),
		TEST(an_answer_that_is_none_ends_the_command_as_corrupt),
		TEST(a_second_answer_is_dropped),
		TEST(answers_to_nothing_are_dropped),
		TEST(packets_no_host_sends_are_dropped),
		TEST(news_of_luns_ask_for_a_rescan),
		TEST(a_broken_ring_breaks_the_channel_and_close_ends_all),
		TEST(an_impossible_read_index_breaks_the_channel),
		TEST(a_budget_is_kept),
		TEST(a_reset_is_a_request_like_any_other),
		TEST(a_late_command_is_reset_then_given_up_once),
		TEST(an_answer_after_the_reset_ends_the_command_as_usual),
		TEST(late_commands_of_several_luns_are_reset_one_after_the_other),
		TEST(without_grace_a_late_command_is_given_up_at_once),
		TEST(a_host_that_answers_nothing_breaks_the_channel),
		TEST(a_close_the_host_does_not_confirm_leaves_memory_shared),
		TEST(a_stopped_channel_drains),
		TEST(close_also_gives_what_had_ended_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
