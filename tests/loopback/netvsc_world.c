/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
#include "tests/loopback/netvsc_world.h"

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

void wire_reset(struct wire *wire)
{
	struct ring_memory *out = &wire->to_host_memory, *in = &wire->to_guest_memory;

	if (!out->control) {
		*out = ring_memory_create(RING_BYTES);
		*in = ring_memory_create(RING_BYTES);
	}
	memset(out->control, 0, sizeof(*out->control));
	memset(in->control, 0, sizeof(*in->control));
	assert_int_equal(vmbus_ring_writer_init(&wire->to_host, out->control, out->data, RING_BYTES),
			 0);
	assert_int_equal(
		vmbus_ring_reader_init(&wire->from_guest, out->control, out->data, RING_BYTES), 0);
	assert_int_equal(vmbus_ring_writer_init(&wire->to_guest, in->control, in->data, RING_BYTES),
			 0);
	assert_int_equal(vmbus_ring_reader_init(&wire->from_host, in->control, in->data, RING_BYTES),
			 0);
}

static void make_memory(struct world *w)
{
	uint8_t *at;

	/* The buffers are apart, so that whoever reads beyond them is found. */
	w->receive.memory = malloc(RECEIVE_PAGES * HV_PAGE_BYTES);
	w->send.memory = malloc(SEND_PAGES * HV_PAGE_BYTES);
	w->memory_pages = 1 + CHANNELS * HEAD_PAGES + FRAME_PAGES;
	w->memory = aligned_alloc(HV_PAGE_BYTES, w->memory_pages * HV_PAGE_BYTES);
	assert_non_null(w->memory);
	assert_non_null(w->receive.memory);
	assert_non_null(w->send.memory);
	memset(w->receive.memory, 0, RECEIVE_PAGES * HV_PAGE_BYTES);
	memset(w->memory, 0, w->memory_pages * HV_PAGE_BYTES);
	w->control = w->memory;
	at = w->memory + HV_PAGE_BYTES;
	for (uint32_t i = 0; i < CHANNELS; i++, at += HEAD_PAGES * HV_PAGE_BYTES) {
		w->heads[i] = at;
		for (uint32_t page = 0; page < HEAD_PAGES; page++)
			w->head_pfns[i][page] = world_pfn(w, at + page * HV_PAGE_BYTES);
	}
	w->frames = at;
}

uint64_t world_pfn(const struct world *w, const void *at)
{
	return WORLD_PFN + (uint64_t)((const uint8_t *)at - w->memory) / HV_PAGE_BYTES;
}

static void make_card(struct host_card *card)
{
	static const uint8_t mac[] = { 0x00, 0x15, 0x5d, 1, 2, 3 };
	uint32_t checksums = NDIS_CHECKSUM_IP_OPTIONS | NDIS_CHECKSUM_TCP_OPTIONS |
			     NDIS_CHECKSUM_TCP | NDIS_CHECKSUM_UDP | NDIS_CHECKSUM_IP;

	*card = (struct host_card){
		.version = NVSP_VERSION_6_1,
		.init = { NVSP_VERSION_6_1, NVSP_MDL_CHAIN_LENGTH_MAX, 0 },
		.receive = { NVSP_STATUS_SUCCESS, 1,
			     { 0, SUB_BYTES, SUB_COUNT, SUB_BYTES * SUB_COUNT } },
		.send = { NVSP_STATUS_SUCCESS, SECTION_BYTES },
		.rndis = { .major = 1, .packets_per_message_max = 8, .transfer_bytes_max = 1u << 20,
			   .packet_alignment_shift = 3 },
		.mtu = 1500, .speed_100 = 100000000, .media = RNDIS_MEDIA_CONNECTED,
		.offload = {
			.object = { NDIS_OBJECT_OFFLOAD, 3, NDIS_OFFLOAD_BYTES_3 },
			.checksum = { 2, checksums, 2, checksums, 2, checksums, 2, checksums },
			.lso_v2 = { 2, 62780, 2, 2, 62780, 2,
				    NDIS_CHECKSUM_IP_OPTIONS | NDIS_CHECKSUM_TCP_OPTIONS },
			.rsc_ipv4 = 1, .rsc_ipv6 = 1,
		},
		.rss = {
			.object = { NDIS_OBJECT_RSS_CAPABILITIES, 2, NDIS_RSS_CAPABILITIES_BYTES },
			.flags = NDIS_RSS_CAPABILITY_UDP_IPV4, .receive_queue_count = 8,
			.table_count = 128,
		},
		.name = { 'n', 0, 'i', 0, 'c', 0 }, .name_bytes = 6,
	};
	memcpy(card->mac, mac, sizeof(mac));
}

void world_begin(struct world *w)
{
	if (!w->memory)
		make_memory(w);
	for (uint32_t i = 0; i < CHANNELS; i++)
		wire_reset(&w->wires[i]);
	memset(&w->netvsc, 0, sizeof(w->netvsc));
	memset(w->channels, 0, sizeof(w->channels));
	w->allocations_left = UINT_MAX;
	w->allocations = 0;
	w->completed = 0;
	w->said = 0;
	w->now_ns = 1000;
	w->receive.bytes = RECEIVE_PAGES * HV_PAGE_BYTES;
	w->receive.gpadl_id = RECEIVE_GPADL;
	w->send.bytes = SEND_PAGES * HV_PAGE_BYTES;
	w->send.gpadl_id = SEND_GPADL;
	w->config = (struct netvsc_config){
		.name = "test", .alloc = world_alloc, .release = world_release, .port = w,
		.control_page = w->control, .control_pfn = world_pfn(w, w->control),
		.control_timeout_ns = TIMEOUT_NS, .coalesce = true,
	};
	w->channel_config = (struct netvsc_channel_config){
		.queue_depth = QUEUE_DEPTH, .head_pages = HEAD_PAGES,
	};
	make_card(&w->card);
}

static void end_requests(struct netvsc_request *requests)
{
	/* They are the tests' own, on their stacks. */
	(void)requests;
}

void world_finish(struct world *w)
{
	for (uint32_t i = CHANNELS; i-- > 0;)
		if (w->channels[i].netvsc)
			end_requests(netvsc_channel_close(&w->channels[i]));
	netvsc_fini(&w->netvsc);
}

int world_setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	*state = w;
	world_begin(w);
	return 0;
}

int world_teardown(void **state)
{
	struct world *w = *state;

	world_finish(w);
	assert_int_equal(w->allocations, 0);
	for (uint32_t i = 0; i < CHANNELS; i++) {
		ring_memory_destroy(&w->wires[i].to_host_memory);
		ring_memory_destroy(&w->wires[i].to_guest_memory);
	}
	free(w->memory);
	free(w->receive.memory);
	free(w->send.memory);
	free(w);
	return 0;
}

/* ---- the guest ---- */

int world_open_channel(struct world *w, uint32_t index)
{
	struct netvsc_channel_config config = w->channel_config;

	config.to_host = &w->wires[index].to_host;
	config.from_host = &w->wires[index].from_host;
	config.index = index;
	config.heads = w->heads[index];
	config.head_pfns = w->head_pfns[index];
	return netvsc_channel_open(&w->netvsc, &w->channels[index], &config);
}

void world_open_primary(struct world *w)
{
	assert_int_equal(netvsc_init(&w->netvsc, &w->config), 0);
	assert_int_equal(world_open_channel(w, 0), 0);
	assert_int_equal(netvsc_start(&w->netvsc, w->now_ns), 0);
}

const struct netvsc_frame *world_next(struct world *w, uint32_t index, uint32_t *out_events)
{
	static struct netvsc_frame frame;
	struct netvsc_channel *channel = &w->channels[index];
	uint32_t events;

	netvsc_channel_mask(channel);
	do {
		if (netvsc_channel_next(channel, &frame))
			return &frame;
		events = netvsc_channel_settle(channel, w->now_ns);
		if (out_events)
			*out_events |= events & ~(NETVSC_EVENT_SIGNAL | NETVSC_EVENT_MORE);
	} while ((events & NETVSC_EVENT_MORE) || netvsc_channel_unmask(channel));
	return NULL;
}

uint32_t world_receive(struct world *w, uint32_t index)
{
	uint32_t events = 0;

	while (world_next(w, index, &events))
		;
	return events;
}

uint64_t world_violations(const struct world *w)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < CHANNELS; i++)
		count += w->channels[i].send_counters.violations +
			 w->channels[i].receive_counters.violations;
	return count;
}

struct netvsc_packet world_packet(const struct world *w, struct netvsc_piece *piece,
				  uint32_t offset, uint32_t bytes)
{
	*piece = (struct netvsc_piece){
		.data = w->frames + offset, .pfn = world_pfn(w, w->frames + offset), .bytes = bytes,
	};
	return (struct netvsc_packet){ .pieces = piece, .piece_count = 1, .bytes = bytes };
}

void world_fill(struct world *w, uint32_t offset, uint32_t bytes)
{
	for (uint32_t i = 0; i < bytes; i++)
		w->frames[offset + i] = (uint8_t)(i * 7 + i / 256 + offset);
}

bool world_send(struct world *w, const struct netvsc_packet *packet, struct netvsc_request *request)
{
	bool done = false;

	assert_int_equal(netvsc_send(&w->channels[0], packet, request, &done), 0);
	return done;
}

/* ---- the host: what the guest sent ---- */

static void gather(struct world *w, struct question *question, const uint8_t *from, uint64_t bytes)
{
	assert_in_range(question->data_bytes + bytes, 0, sizeof(w->data));
	memcpy(w->data + question->data_bytes, from, bytes);
	question->data_bytes += (uint32_t)bytes;
}

static void gather_ranges(struct world *w, struct question *question,
			  const struct vmbus_packet *packet)
{
	struct vmbus_packet_ranges ranges = vmbus_packet_ranges(packet);
	struct vmbus_gpa_run run;

	while (vmbus_packet_next_gpa_run(&ranges, &run)) {
		uint32_t offset = run.byte_offset, left = run.byte_count;

		for (uint32_t i = 0; i < run.pfn_count; i++) {
			uint32_t there = HV_PAGE_BYTES - offset < left ? HV_PAGE_BYTES - offset : left;

			assert_in_range(run.pfns[i], WORLD_PFN, WORLD_PFN + w->memory_pages - 1);
			gather(w, question,
			       w->memory + (run.pfns[i] - WORLD_PFN) * HV_PAGE_BYTES + offset, there);
			left -= there;
			offset = 0;
		}
		assert_int_equal(left, 0);
	}
}

static void gather_rndis(struct world *w, struct question *question,
			 const struct vmbus_packet *packet)
{
	const struct nvsp_rndis_packet *rndis = &question->message.rndis_packet;

	if (rndis->send_section_index != NVSP_SECTION_NONE) {
		assert_in_range(rndis->send_section_index, 0, SECTION_COUNT - 1);
		assert_in_range(rndis->send_section_bytes, 1, w->card.send.section_bytes);
		gather(w, question,
		       w->send.memory + rndis->send_section_index * w->card.send.section_bytes,
		       rndis->send_section_bytes);
	}
	if (packet->type == VMBUS_PACKET_GPA_DIRECT)
		gather_ranges(w, question, packet);
}

static void note_completion(struct world *w, const struct vmbus_packet *packet)
{
	struct nvsp_message message;

	assert_int_equal(packet->payload_bytes, 8);
	memcpy(&message, packet->payload, 8);
	assert_int_equal(message.type, NVSP_SEND_RNDIS_PACKET_COMPLETE);
	w->completed++;
	w->completed_id = packet->id;
	w->completed_status = message.rndis_packet_complete.status;
}

bool host_look(struct world *w, uint32_t index, struct question *out_question)
{
	_Alignas(8) uint8_t buffer[8192];
	struct wire *wire = &w->wires[index];
	struct vmbus_packet packet;
	uint32_t bytes;
	int err;

	(void)!netvsc_channel_flush(&w->channels[index]);
	do {
		err = vmbus_ring_read(&wire->from_guest, buffer, sizeof(buffer), &bytes);
		if (err == -LIS_EMPTY)
			return false;
		assert_int_equal(err, 0);
		(void)!vmbus_ring_reader_publish(&wire->from_guest);
		assert_int_equal(vmbus_packet_parse(buffer, bytes, &packet), 0);
		if (packet.type == VMBUS_PACKET_COMPLETION)
			note_completion(w, &packet);
	} while (packet.type == VMBUS_PACKET_COMPLETION);
	*out_question = (struct question){
		.type = packet.type, .wants_completion = vmbus_packet_wants_completion(&packet),
		.id = packet.id, .bytes = packet.payload_bytes, .range_count = packet.range_count,
	};
	assert_in_range(packet.payload_bytes, 8, sizeof(out_question->message));
	memcpy(&out_question->message, packet.payload, packet.payload_bytes);
	if (out_question->message.type == NVSP_SEND_RNDIS_PACKET)
		gather_rndis(w, out_question, &packet);
	return true;
}

struct question host_take(struct world *w, uint32_t index)
{
	struct question question;

	assert_true(host_look(w, index, &question));
	return question;
}

struct guest_message host_message_at(const struct world *w, const struct question *question, uint32_t at)
{
	struct guest_message message = { .info_count = 0 };
	const uint32_t head_bytes = sizeof(message.header) + sizeof(message.packet);
	const uint8_t *body = w->data + at + sizeof(message.header);
	uint32_t offset, end;

	assert_in_range(question->data_bytes - at, head_bytes + 14, sizeof(w->data));
	memcpy(&message.header, w->data + at, sizeof(message.header));
	memcpy(&message.packet, body, sizeof(message.packet));
	assert_int_equal(message.header.type, RNDIS_PACKET);
	assert_in_range(message.header.bytes, head_bytes, question->data_bytes - at);
	assert_in_range(message.packet.data_offset + message.packet.data_bytes, sizeof(message.packet),
			message.header.bytes - sizeof(message.header));
	message.data = body + message.packet.data_offset;
	offset = message.packet.info_offset;
	end = offset + message.packet.info_bytes;
	assert_in_range(end, offset, message.packet.data_offset);
	while (offset < end) {
		struct rndis_packet_info info;

		memcpy(&info, body + offset, sizeof(info));
		assert_int_equal(info.bytes, 16);
		assert_int_equal(info.offset, 12);
		assert_in_range(message.info_count, 0, 7);
		message.infos[message.info_count][0] = info.type;
		memcpy(&message.infos[message.info_count++][1], body + offset + 12, 4);
		offset += info.bytes;
	}
	return message;
}

/* ---- the host: what it sends ---- */

int host_send(struct world *w, uint32_t index, uint16_t type, uint64_t id, const void *payload,
	      size_t bytes)
{
	struct vmbus_piece piece = { payload, bytes };
	struct vmbus_packet_out packet = {
		.type = type, .id = id, .payload = &piece, .payload_count = 1,
	};
	int err = vmbus_ring_write(&w->wires[index].to_guest, &packet);

	(void)!vmbus_ring_writer_publish(&w->wires[index].to_guest);
	return err;
}

void host_answer(struct world *w, uint32_t index, uint64_t id, const struct nvsp_message *message)
{
	int err = host_send(w, index, VMBUS_PACKET_COMPLETION, id, message, w->netvsc.nvsp_bytes);

	assert_true(!err || w->hostile);
}

void host_complete(struct world *w, uint32_t index, uint64_t id, uint32_t status)
{
	struct nvsp_message message = {
		.type = NVSP_SEND_RNDIS_PACKET_COMPLETE, .rndis_packet_complete = { status },
	};

	host_answer(w, index, id, &message);
}

int host_transfer(struct world *w, uint32_t index, uint64_t id,
		  const struct vmbus_transfer_range *ranges, uint32_t count)
{
	static _Alignas(8) uint8_t buffer[8192];
	struct nvsp_message message = {
		.type = NVSP_SEND_RNDIS_PACKET, .rndis_packet = { NVSP_RNDIS_DATA, UINT32_MAX, 0 },
	};
	struct vmbus_piece piece = { &message, NVSP_MESSAGE_BYTES_6_1 };
	struct vmbus_head_builder head;
	struct vmbus_packet_out packet;
	int err;

	assert_int_equal(vmbus_transfer_head_begin(&head, buffer, sizeof(buffer),
						   NVSP_RECEIVE_BUFFER_ID), 0);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(vmbus_transfer_head_add(&head, ranges[i].byte_count,
							 ranges[i].byte_offset), 0);
	packet = vmbus_packet_transfer_pages(id, &head, &piece, 1);
	err = vmbus_ring_write(&w->wires[index].to_guest, &packet);
	(void)!vmbus_ring_writer_publish(&w->wires[index].to_guest);
	return err;
}

struct vmbus_transfer_range host_put(struct world *w, uint32_t sub, const void *message,
				     uint32_t bytes)
{
	assert_in_range(sub, 0, SUB_COUNT - 1);
	assert_in_range(bytes, 0, SUB_BYTES);
	memcpy(w->receive.memory + sub * SUB_BYTES, message, bytes);
	return (struct vmbus_transfer_range){ bytes, sub * SUB_BYTES };
}

void host_say(struct world *w, uint32_t index, const void *message, uint32_t bytes)
{
	struct vmbus_transfer_range range = host_put(w, w->said++ % SUB_COUNT, message, bytes);
	int err = host_transfer(w, index, 1, &range, 1);

	assert_true(!err || w->hostile);
}

struct host_message host_message(uint32_t type, const void *body, uint32_t body_bytes)
{
	struct host_message message = { .length = sizeof(struct rndis_header) + body_bytes };
	struct rndis_header header = { type, message.length };

	assert_in_range(message.length, 8, SUB_BYTES);
	memcpy(message.bytes, &header, sizeof(header));
	memcpy(message.bytes + sizeof(header), body, body_bytes);
	return message;
}

struct host_message host_frame(const void *data, uint32_t bytes, const uint32_t *infos,
			       uint32_t info_count)
{
	uint8_t body[SUB_BYTES] = { 0 };
	struct rndis_packet packet = {
		.data_offset = sizeof(packet) + 16 * info_count, .data_bytes = bytes,
		.info_offset = info_count ? sizeof(packet) : 0, .info_bytes = 16 * info_count,
	};

	assert_in_range(packet.data_offset + bytes, 36, sizeof(body) - 8);
	memcpy(body, &packet, sizeof(packet));
	for (uint32_t i = 0; i < info_count; i++) {
		struct rndis_packet_info info = { 16, infos[2 * i], sizeof(info) };

		memcpy(body + sizeof(packet) + 16 * i, &info, sizeof(info));
		memcpy(body + sizeof(packet) + 16 * i + 12, &infos[2 * i + 1], 4);
	}
	memcpy(body + packet.data_offset, data, bytes);
	return host_message(RNDIS_PACKET, body, packet.data_offset + bytes);
}

/* ---- set-up ---- */

static uint32_t answer_query(struct world *w, const struct rndis_request *request)
{
	const struct host_card *card = &w->card;
	uint8_t body[1000] = { 0 };
	struct rndis_query_complete complete = {
		.request_id = request->request_id, .info_offset = sizeof(complete),
	};
	const void *info = NULL;
	struct host_message message;

	switch (request->oid) {
	case OID_GEN_MAXIMUM_FRAME_SIZE:
		info = &card->mtu;
		complete.info_bytes = sizeof(card->mtu);
		break;
	case OID_802_3_PERMANENT_ADDRESS:
		info = card->mac;
		complete.info_bytes = sizeof(card->mac);
		break;
	case OID_GEN_FRIENDLY_NAME:
		info = card->name;
		complete.info_bytes = card->name_bytes % (sizeof(card->name) + 1);
		break;
	case OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES:
		info = &card->offload;
		complete.info_bytes = card->offload.object.bytes % (sizeof(card->offload) + 1);
		break;
	case OID_GEN_MEDIA_CONNECT_STATUS:
		info = &card->media;
		complete.info_bytes = sizeof(card->media);
		break;
	case OID_GEN_LINK_SPEED:
		info = &card->speed_100;
		complete.info_bytes = sizeof(card->speed_100);
		break;
	case OID_GEN_RECEIVE_SCALE_CAPABILITIES:
		info = &card->rss;
		complete.info_bytes = NDIS_RSS_CAPABILITIES_BYTES;
		break;
	}
	if (!info || request->oid == card->refuse_oid) {
		complete.status = RNDIS_STATUS_NOT_SUPPORTED;
		complete.info_bytes = 0;
		complete.info_offset = 0;
	}
	if (complete.info_bytes)
		memcpy(body + sizeof(complete), info, complete.info_bytes);
	if (request->oid == card->bent_oid)
		complete.info_bytes = card->bent_bytes % (sizeof(body) - sizeof(complete));
	memcpy(body, &complete, sizeof(complete));
	message = host_message(RNDIS_QUERY | RNDIS_COMPLETION, body,
			       sizeof(complete) + complete.info_bytes);
	host_say(w, 0, message.bytes, message.length);
	return world_receive(w, 0);
}

static uint32_t answer_status(struct world *w, uint32_t type, uint32_t request_id, uint32_t status)
{
	struct rndis_status_complete complete = { request_id, status };
	struct host_message message =
		host_message(type | RNDIS_COMPLETION, &complete, sizeof(complete));

	host_say(w, 0, message.bytes, message.length);
	return world_receive(w, 0);
}

uint32_t host_answer_control(struct world *w, const struct question *question)
{
	struct rndis_initialize_complete complete = w->card.rndis;
	struct rndis_request request = { 0 };
	struct host_message message;
	struct rndis_header header;
	uint32_t bytes = question->data_bytes - (uint32_t)sizeof(header);

	assert_int_equal(question->message.rndis_packet.channel_type, NVSP_RNDIS_CONTROL);
	assert_in_range(question->data_bytes, 12, HV_PAGE_BYTES);
	memcpy(&header, w->data, sizeof(header));
	assert_int_equal(header.bytes, question->data_bytes);
	memcpy(&request, w->data + sizeof(header),
	       bytes < sizeof(request) ? bytes : sizeof(request));
	host_complete(w, 0, question->id, NVSP_STATUS_SUCCESS);
	switch (header.type) {
	case RNDIS_INITIALIZE:
		complete.request_id = request.request_id;
		message = host_message(RNDIS_INITIALIZE | RNDIS_COMPLETION, &complete,
				       sizeof(complete));
		host_say(w, 0, message.bytes, message.length);
		return world_receive(w, 0);
	case RNDIS_HALT:
		return world_receive(w, 0);
	case RNDIS_QUERY:
		return answer_query(w, &request);
	default:
		return answer_status(w, header.type, request.request_id,
				     request.oid == w->card.refuse_oid && request.oid ?
					     RNDIS_STATUS_NOT_SUPPORTED : RNDIS_STATUS_SUCCESS);
	}
}

static uint32_t answer_init(struct world *w, const struct question *question)
{
	struct nvsp_message answer = { .type = NVSP_INIT_COMPLETE, .init_complete = w->card.init };
	uint32_t version = question->message.init.version_max;

	assert_int_equal(question->message.init.version_min, version);
	answer.init_complete.status = version <= w->card.version ? NVSP_STATUS_SUCCESS
								  : NVSP_STATUS_NONE;
	host_answer(w, 0, question->id, &answer);
	return world_receive(w, 0);
}

uint32_t host_serve(struct world *w, const struct question *question)
{
	struct nvsp_message answer = { 0 };

	switch (question->message.type) {
	case NVSP_INIT:
		return answer_init(w, question);
	case NVSP_SEND_RECEIVE_BUFFER:
		assert_int_equal(question->message.buffer.gpadl_id, RECEIVE_GPADL);
		assert_int_equal(question->message.buffer.id, NVSP_RECEIVE_BUFFER_ID);
		answer.type = NVSP_SEND_RECEIVE_BUFFER_COMPLETE;
		answer.receive_buffer_complete = w->card.receive;
		break;
	case NVSP_SEND_SEND_BUFFER:
		assert_int_equal(question->message.buffer.gpadl_id, SEND_GPADL);
		assert_int_equal(question->message.buffer.id, NVSP_SEND_BUFFER_ID);
		answer.type = NVSP_SEND_SEND_BUFFER_COMPLETE;
		answer.send_buffer_complete = w->card.send;
		break;
	case NVSP_SEND_RNDIS_PACKET:
		return host_answer_control(w, question);
	default:
		/* What wants no answer. */
		assert_false(question->wants_completion);
		return world_receive(w, 0);
	}
	host_answer(w, 0, question->id, &answer);
	return world_receive(w, 0);
}

uint32_t host_serve_step(struct world *w, struct question *out_question)
{
	*out_question = host_take(w, 0);
	return host_serve(w, out_question);
}

uint32_t host_serve_setup(struct world *w)
{
	const uint32_t ends = NETVSC_EVENT_READY | NETVSC_EVENT_FAILED;
	struct question question;
	uint32_t events = 0;

	for (int i = 0; i < 40 && !(events & ends); i++) {
		events = host_serve_step(w, &question);
		if (events & NETVSC_EVENT_BUFFERS)
			assert_int_equal(netvsc_set_buffers(&w->netvsc, &w->receive, &w->send,
							    w->now_ns), 0);
	}
	return events;
}

void world_become_ready(struct world *w)
{
	world_open_primary(w);
	assert_int_equal(host_serve_setup(w), NETVSC_EVENT_READY);
	assert_int_equal(world_violations(w), 0);
}
