/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
#include "tests/loopback/storvsc_world.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- frame ---- */

static void *world_alloc(void *port, size_t bytes)
{
	struct world *w = port;

	if (!w->allocations_left)
		return NULL;
	if (w->allocations_left != UINT_MAX)
		w->allocations_left--;
	w->allocations++;
	return malloc(bytes);
}

static void world_release(void *port, void *memory)
{
	struct world *w = port;

	w->allocations--;
	free(memory);
}

static void wire_init(struct wire *wire)
{
	wire->to_host_memory = ring_memory_create(RING_BYTES);
	wire->to_guest_memory = ring_memory_create(RING_BYTES);
}

void wire_reset(struct wire *wire)
{
	struct ring_memory *out = &wire->to_host_memory, *in = &wire->to_guest_memory;

	memset(out->control, 0, sizeof(*out->control));
	memset(in->control, 0, sizeof(*in->control));
	assert_int_equal(
		vmbus_ring_writer_init(&wire->to_host, out->control, out->data, RING_BYTES), 0);
	assert_int_equal(
		vmbus_ring_reader_init(&wire->from_guest, out->control, out->data, RING_BYTES), 0);
	assert_int_equal(vmbus_ring_writer_init(&wire->to_guest, in->control, in->data, RING_BYTES),
			 0);
	assert_int_equal(
		vmbus_ring_reader_init(&wire->from_host, in->control, in->data, RING_BYTES), 0);
}

static void wire_fini(struct wire *wire)
{
	ring_memory_destroy(&wire->to_host_memory);
	ring_memory_destroy(&wire->to_guest_memory);
}

int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	*state = w;
	wire_init(&w->wire);
	wire_reset(&w->wire);
	w->allocations_left = UINT_MAX;
	w->now_ns = 1000;
	w->config = (struct storvsc_config){
		.name = "test", .alloc = world_alloc, .release = world_release, .port = w,
		.cpu_count = 4, .sub_channels_wanted = 3, .setup_timeout_ns = TIMEOUT_NS,
		.reset_grace_ns = GRACE_NS,
	};
	w->channel_config = (struct storvsc_channel_config){
		.to_host = &w->wire.to_host, .from_host = &w->wire.from_host,
		.queue_depth = QUEUE_DEPTH,
	};
	w->properties = (struct storvsc_channel_properties){
		.transfer_bytes_max = HOST_TRANSFER_BYTES,
	};
	return 0;
}

int world_teardown(void **state)
{
	struct world *w = *state;

	(void)!storvsc_channel_close(&w->channel, false);
	storvsc_fini(&w->storvsc);
	assert_int_equal(w->allocations, 0);
	wire_fini(&w->wire);
	free(w);
	return 0;
}

/* ---- the host's moves ---- */

bool wire_take(struct wire *wire, struct question *out)
{
	_Alignas(8) uint8_t buffer[8192];
	struct vmbus_packet_ranges ranges;
	struct vmbus_packet packet;
	struct vmbus_gpa_run run;
	uint32_t bytes;
	int err = vmbus_ring_read(&wire->from_guest, buffer, sizeof(buffer), &bytes);

	if (err == -LIS_EMPTY)
		return false;
	assert_int_equal(err, 0);
	(void)!vmbus_ring_reader_publish(&wire->from_guest);
	assert_int_equal(vmbus_packet_parse(buffer, bytes, &packet), 0);
	assert_true(vmbus_packet_wants_completion(&packet));
	memset(out, 0, sizeof(*out));
	out->type = packet.type;
	out->id = packet.id;
	out->bytes = packet.payload_bytes;
	assert_in_range(packet.payload_bytes, STORVSC_PACKET_BYTES_SHORT, sizeof(out->packet));
	memcpy(&out->packet, packet.payload, packet.payload_bytes);
	assert_int_equal(out->packet.flags, STORVSC_FLAG_REQUEST_COMPLETION);
	out->range_count = packet.range_count;
	if (packet.type != VMBUS_PACKET_GPA_DIRECT)
		return true;
	ranges = vmbus_packet_ranges(&packet);
	assert_true(vmbus_packet_next_gpa_run(&ranges, &run));
	out->range_bytes = run.byte_count;
	out->range_offset = run.byte_offset;
	out->pfn_count = run.pfn_count;
	assert_in_range(run.pfn_count, 1, 300);
	memcpy(out->pfns, run.pfns, run.pfn_count * sizeof(uint64_t));
	return true;
}

struct question host_take(struct world *w)
{
	struct question question;

	(void)!storvsc_channel_flush(&w->channel);
	assert_true(wire_take(&w->wire, &question));
	return question;
}

int host_send(struct world *w, uint16_t type, uint64_t id, const void *payload, size_t bytes)
{
	struct vmbus_piece piece = { payload, bytes };
	struct vmbus_packet_out packet = { .type = type, .id = id, .payload = &piece,
					   .payload_count = 1 };
	int err = vmbus_ring_write(&w->wire.to_guest, &packet);

	(void)!vmbus_ring_writer_publish(&w->wire.to_guest);
	return err;
}

uint32_t world_receive(struct world *w)
{
	uint32_t events = storvsc_channel_receive(&w->channel, 64);

	(void)!storvsc_channel_unmask(&w->channel);
	return events & ~STORVSC_EVENT_SIGNAL; /* the host looks without being told */
}

/* Sends the answer and has the guest take it. */
uint32_t host_answer(struct world *w, uint64_t id, const struct storvsc_packet *packet,
		     size_t bytes)
{
	assert_int_equal(host_send(w, VMBUS_PACKET_COMPLETION, id, packet, bytes), 0);
	return world_receive(w);
}

uint32_t host_answer_status(struct world *w, const struct question *question, uint32_t status)
{
	struct storvsc_packet packet = question->packet;

	packet.operation = STORVSC_COMPLETE_IO;
	packet.status = status;
	return host_answer(w, question->id, &packet, question->bytes);
}

/* The answer to a command that went well. */
struct storvsc_packet host_good_answer(const struct question *question)
{
	struct storvsc_packet packet = question->packet;

	packet.operation = STORVSC_COMPLETE_IO;
	packet.flags = 0;
	packet.request.srb_status = STORVSC_SRB_SUCCESS;
	packet.request.sense_bytes = 0;
	return packet;
}

uint32_t host_answer_good(struct world *w, const struct question *question)
{
	struct storvsc_packet packet = host_good_answer(question);

	return host_answer(w, question->id, &packet, question->bytes);
}

/* ---- set-up ---- */

void world_open_primary(struct world *w)
{
	assert_int_equal(storvsc_init(&w->storvsc, &w->config), 0);
	assert_int_equal(storvsc_channel_open(&w->storvsc, &w->channel, &w->channel_config), 0);
	assert_int_equal(storvsc_start(&w->storvsc, w->now_ns), 0);
}

/* One step of a host that speaks @version. Returns what the guest made of its answer. */
uint32_t host_serve_step(struct world *w, uint16_t version, struct question *out_question)
{
	struct question question = host_take(w);
	struct storvsc_packet *packet = &question.packet;
	bool known = packet->version.major_minor == version;

	*out_question = question;
	switch (packet->operation) {
	case STORVSC_QUERY_PROTOCOL_VERSION:
		return host_answer_status(w, &question, known ? STORVSC_STATUS_SUCCESS :
						   STORVSC_STATUS_REVISION_MISMATCH);
	case STORVSC_QUERY_PROPERTIES:
		packet->properties = w->properties;
		return host_answer_status(w, &question, STORVSC_STATUS_SUCCESS);
	default:
		return host_answer_status(w, &question, STORVSC_STATUS_SUCCESS);
	}
}

uint32_t host_serve_setup(struct world *w, uint16_t version)
{
	struct question question;
	uint32_t events = 0;

	for (int i = 0; i < 10 && !(events & (STORVSC_EVENT_READY | STORVSC_EVENT_FAILED)); i++)
		events = host_serve_step(w, version, &question);
	return events;
}

void world_become_ready(struct world *w)
{
	world_open_primary(w);
	assert_int_equal(host_serve_setup(w, STORVSC_VERSION_THRESHOLD), STORVSC_EVENT_READY);
}

/* ---- commands ---- */

const uint64_t world_pfns[300] = { 0x100, 0x250, 0x33333, 7, 8, 9 };

struct storvsc_request command_without_data(void)
{
	/* What the driver is to set is garbage at first. */
	struct storvsc_request request;

	memset(&request, 0xa5, sizeof(request));
	request.kind = STORVSC_COMMAND;
	request.path = request.target = request.lun = 0;
	request.direction = STORVSC_NO_DATA;
	request.data_offset = request.data_bytes = 0;
	request.pfns = NULL;
	request.fill_pfns = NULL;
	request.deadline_ns = 0;
	memset(request.cdb, 0, sizeof(request.cdb));
	request.cdb_bytes = 6;
	return request;
}

struct storvsc_request command_with_data(uint32_t offset, uint32_t bytes)
{
	struct storvsc_request request = command_without_data();

	request.cdb[0] = 0x28;
	request.cdb_bytes = 10;
	request.direction = STORVSC_FROM_DEVICE;
	request.data_offset = offset;
	request.data_bytes = bytes;
	request.pfns = world_pfns;
	return request;
}

/* The only request that has ended. */
struct storvsc_request *world_ended_one(struct world *w)
{
	struct storvsc_request *request = storvsc_take_ended(&w->channel);

	assert_non_null(request);
	assert_null(request->next);
	assert_null(storvsc_take_ended(&w->channel));
	return request;
}

void world_end(struct world *w)
{
	assert_null(storvsc_channel_close(&w->channel, false));
	storvsc_fini(&w->storvsc);
}
