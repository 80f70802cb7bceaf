// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A hostile host and netvsc: it answers what it was asked, what it was not, twice, late or never, with
 * any fields; puts frames and messages of any form into the receive buffer, and changes it while they
 * are looked at; and writes what it likes into its ring and its indexes. Each request that was kept ends
 * exactly once; each frame that comes out lies in the receive buffer with all its parts; each packet of
 * the driver is sound, and holds the frames that were sent, in their order.
 */
#include <limits.h>

#include "fuzz/fuzz.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "tests/loopback/netvsc_world.h"

#define REQUESTS 16u
#define QUESTIONS 32u
#define SENT 64u

static struct world w;

static struct {
	struct netvsc_request request; /* first */
	bool out;
} requests[REQUESTS];

static struct question questions[QUESTIONS];
static uint32_t question_lane[QUESTIONS], question_count;
static bool lied; /* the host told an index that is not its own: its ring is anyhow */
/* It may have answered what it has not read: then that is used for something else already. */
static bool hasty;
static uint64_t frames_sent, frames_ended;
/* Lengths of the frames that a lane has sent and the host has not seen. */
static uint32_t sent[CHANNELS][SENT], sent_first[CHANNELS], sent_count[CHANNELS];

static void begin(void)
{
	world_begin(&w);
	w.hostile = true;
	memset(w.receive.memory, 0, w.receive.bytes);
	memset(requests, 0, sizeof(requests));
	memset(sent_count, 0, sizeof(sent_count));
	memset(sent_first, 0, sizeof(sent_first));
	question_count = 0;
	frames_sent = frames_ended = 0;
	lied = hasty = false;
}

/* ---- the guest ---- */

static void collect(struct netvsc_request *list)
{
	while (list) {
		uint32_t at = (uint32_t)((__typeof__(&requests[0]))list - requests);
		struct netvsc_request *next = list->next;

		FUZZ_CHECK(at < REQUESTS && requests[at].out);
		requests[at].out = false;
		memset(list, 0xee, sizeof(*list)); /* it is the caller's again */
		list = next;
	}
}

static void collect_ended(uint32_t lane)
{
	struct netvsc_ended ended = netvsc_take_ended(&w.channels[lane]);

	FUZZ_CHECK(ended.failed <= ended.frames);
	FUZZ_CHECK(ended.bytes >= ended.frames * NETVSC_ETHERNET_BYTES);
	frames_ended += ended.frames;
	FUZZ_CHECK(frames_ended <= frames_sent);
	collect(ended.requests);
}

static void guest_sends(struct input *input)
{
	uint8_t what = input_u8(input), how = input_u8(input);
	uint32_t at = what % REQUESTS, lane = what >> 6, pieces = 1 + (how & 3);
	uint32_t offset = (how & 4 ? 4090 : 0), bytes = 14 + input_u16(input);
	struct netvsc_piece piece[4];
	struct netvsc_packet packet;
	struct netvsc_request *request = what & 0x20 ? NULL : &requests[at].request;
	bool done, waits = at & 1;
	int error;

	if (requests[at].out || sent_count[lane] == SENT)
		return;
	if (how & 8)
		bytes = 14 + bytes % 1600;
	packet = world_packet(&w, piece, offset, bytes);
	for (uint32_t i = 0, from = 0; i < pieces; i++) {
		uint32_t length = i + 1 < pieces ? bytes / pieces : bytes - from;

		world_packet(&w, &piece[i], offset + from, length);
		from += length;
	}
	packet.piece_count = pieces;
	packet.wishes = how >> 4;
	if (how & 0x40)
		packet.wishes |= NETVSC_WISH_VLAN | NETVSC_WISH_HASH;
	if (how & 0x80)
		packet.wishes |= NETVSC_WISH_SEGMENTS;
	packet.network_offset = 14;
	packet.transport_offset = how & 2 ? 34 : 54;
	packet.segment_bytes = 1460;
	error = netvsc_send(&w.channels[lane], &packet, request, waits ? NULL : &done);
	if (!error) {
		frames_sent++;
		FUZZ_CHECK(waits || done || request);
		requests[at].out = request && (waits || !done);
		sent[lane][(sent_first[lane] + sent_count[lane]++) % SENT] = bytes;
		return;
	}
	FUZZ_CHECK(error == -LIS_AGAIN || error == -LIS_GONE || error == -LIS_CORRUPT ||
		   error == -LIS_INVALID);
}

static void check_frame(const struct netvsc_frame *frame)
{
	const uint8_t *end = w.receive.memory + w.receive.bytes;
	uint32_t bytes = 0;

	FUZZ_CHECK(frame->part_count && frame->part_count <= NETVSC_PARTS_MAX);
	FUZZ_CHECK(frame->bytes >= NETVSC_ETHERNET_BYTES && frame->bytes <= NETVSC_FRAME_BYTES_MAX);
	for (uint32_t i = 0; i < frame->part_count; i++) {
		const struct netvsc_part *part = &frame->parts[i];

		FUZZ_CHECK(part->bytes && part->bytes <= w.netvsc.sub_bytes);
		FUZZ_CHECK(part->data >= w.receive.memory && part->data <= end &&
			   part->bytes <= (size_t)(end - part->data));
		bytes += part->bytes;
	}
	FUZZ_CHECK(bytes == frame->bytes);
}

static void check_ready(void)
{
	FUZZ_CHECK((uint64_t)w.netvsc.sub_bytes * w.netvsc.sub_count <= w.receive.bytes);
	FUZZ_CHECK((uint64_t)w.netvsc.section_bytes * w.netvsc.section_count <= w.send.bytes);
	FUZZ_CHECK(w.netvsc.section_count && w.netvsc.pieces_max &&
		   w.netvsc.pieces_max <= NETVSC_PIECES_MAX);
	FUZZ_CHECK(w.netvsc.mtu >= 68 && w.netvsc.mtu <= w.config.mtu);
	FUZZ_CHECK(w.netvsc.rss.table_count <= NDIS_RSS_TABLE_COUNT);
	FUZZ_CHECK(w.netvsc.offloads.segments_ipv4_bytes <= 65549);
	FUZZ_CHECK(!(w.netvsc.mac[0] & 1));
	FUZZ_CHECK(w.netvsc.name_bytes <= NETVSC_NAME_BYTES_MAX);
}

static void guest_receives(uint8_t how)
{
	uint32_t lane = how >> 6, events, budget = 1 + how % 8;
	struct netvsc_channel *channel = &w.channels[lane];
	struct netvsc_frame frame;

	netvsc_channel_mask(channel);
	while (budget-- && netvsc_channel_next(channel, &frame))
		check_frame(&frame);
	if (how & 0x20)
		return;
	events = netvsc_channel_settle(channel, w.now_ns);
	collect_ended(lane);
	if (how & 0x10)
		(void)!netvsc_channel_unmask(channel);
	if (events & NETVSC_EVENT_BUFFERS)
		(void)!netvsc_set_buffers(&w.netvsc, &w.receive, &w.send, w.now_ns);
	if (events & NETVSC_EVENT_READY)
		check_ready();
	FUZZ_CHECK(w.netvsc.sub_channels < CHANNELS);
	FUZZ_CHECK(w.netvsc.control.bytes <= sizeof(w.netvsc.control_info));
	for (uint32_t i = 0; i < NVSP_SEND_TABLE_COUNT; i++)
		FUZZ_CHECK(netvsc_channel_of_hash(&w.netvsc, i) < NETVSC_CHANNELS_MAX);
}

static void guest_asks(struct input *input)
{
	static const struct netvsc_rss rss = { .enabled = true, .table_count = 128 };
	uint8_t what = input_u8(input);
	int error;

	switch (what % 8) {
	case 0:
		error = netvsc_set_filter(&w.netvsc, what, w.now_ns);
		break;
	case 1:
		error = netvsc_set_mac(&w.netvsc, w.card.mac, w.now_ns);
		break;
	case 2:
		error = netvsc_set_rss(&w.netvsc, &rss, w.now_ns);
		break;
	case 3:
		error = netvsc_set_coalescing(&w.netvsc, what & 8, w.now_ns);
		break;
	case 4:
		error = netvsc_query(&w.netvsc, OID_GEN_LINK_SPEED, w.now_ns);
		break;
	case 5:
		error = netvsc_ask_sub_channels(&w.netvsc, CHANNELS - 1, w.now_ns);
		break;
	case 6:
		error = netvsc_keep_alive(&w.netvsc, w.now_ns);
		break;
	default:
		if (what < 0xf0)
			return;
		error = netvsc_halt(&w.netvsc, w.now_ns);
		netvsc_revoke(&w.netvsc);
	}
	FUZZ_CHECK(!error || error == -LIS_BUSY || error == -LIS_AGAIN || error == -LIS_GONE ||
		   error == -LIS_INVALID || error == -LIS_CORRUPT);
}

static void forget_questions(uint32_t lane)
{
	for (uint32_t i = 0; i < question_count;) {
		if (question_lane[i] == lane) {
			questions[i] = questions[--question_count];
			question_lane[i] = question_lane[question_count];
		} else {
			i++;
		}
	}
}

static void guest_opens(uint8_t how)
{
	uint32_t lane = 1 + how % (CHANNELS - 1);

	if (w.channels[lane].open) {
		collect(netvsc_channel_close(&w.channels[lane]));
		forget_questions(lane);
		sent_count[lane] = 0;
	}
	wire_reset(&w.wires[lane]);
	(void)!world_open_channel(&w, lane);
}

static void close_all(void)
{
	for (uint32_t i = CHANNELS; i-- > 0;) {
		if (w.channels[i].netvsc)
			collect(netvsc_channel_close(&w.channels[i]));
		sent_count[i] = 0;
	}
	for (uint32_t i = 0; i < REQUESTS; i++)
		FUZZ_CHECK(!requests[i].out);
	question_count = 0;
	/* Whatever was taken of the send buffer is free again. */
	for (uint32_t i = 0; i < w.netvsc.section_count; i++)
		FUZZ_CHECK(!(w.netvsc.section_bits[i / 64] >> i % 64 & 1));
}

static void host_serves(uint8_t how);

static void guest_begins_anew(uint8_t how)
{
	close_all();
	for (uint32_t i = 0; i < CHANNELS; i++)
		wire_reset(&w.wires[i]);
	lied = hasty = false;
	frames_sent = frames_ended = 0;
	if (world_open_channel(&w, 0) || netvsc_start(&w.netvsc, w.now_ns))
		return;
	if (how & 1) {
		w.card.version = nvsp_versions[(how >> 1) % NVSP_VERSION_COUNT];
		for (int i = 0; i < 4 && w.netvsc.state != NETVSC_READY; i++)
			host_serves(7);
	}
}

/* ---- the host ---- */

/* The messages in it must be frames that were sent, the next ones. */
static void check_question(const struct question *question, uint32_t lane)
{
	uint32_t at = 0;

	if (question->message.type != NVSP_SEND_RNDIS_PACKET ||
	    question->message.rndis_packet.channel_type != NVSP_RNDIS_DATA)
		return;
	if (hasty) {
		sent_count[lane] = 0;
		return;
	}
	while (at < question->data_bytes) {
		struct rndis_header header;
		struct rndis_packet packet;

		FUZZ_CHECK(question->data_bytes - at >= sizeof(header) + sizeof(packet));
		memcpy(&header, w.data + at, sizeof(header));
		memcpy(&packet, w.data + at + sizeof(header), sizeof(packet));
		FUZZ_CHECK(header.type == RNDIS_PACKET);
		FUZZ_CHECK(header.bytes <= question->data_bytes - at);
		FUZZ_CHECK(packet.data_offset <= header.bytes - 8 &&
			   packet.data_bytes <= header.bytes - 8 - packet.data_offset);
		FUZZ_CHECK(packet.info_offset + packet.info_bytes <= packet.data_offset);
		FUZZ_CHECK(sent_count[lane]);
		FUZZ_CHECK(packet.data_bytes == sent[lane][sent_first[lane] % SENT]);
		sent_first[lane]++;
		sent_count[lane]--;
		at += header.bytes;
	}
}

/* The host's sections are as it said at the beginning, whatever it says now. */
static bool host_looks(uint32_t lane, struct question *out_question)
{
	uint32_t bytes = w.card.send.section_bytes;
	bool there;

	if (lied || !w.channels[lane].open)
		return false;
	if (w.netvsc.section_bytes)
		w.card.send.section_bytes = w.netvsc.section_bytes;
	there = host_look(&w, lane, out_question);
	w.card.send.section_bytes = bytes;
	return there;
}

static void host_takes(uint32_t lane)
{
	while (question_count < QUESTIONS && host_looks(lane, &questions[question_count])) {
		check_question(&questions[question_count], lane);
		question_lane[question_count++] = lane;
	}
}

static struct nvsp_message good_answer(const struct question *question)
{
	struct nvsp_message answer = { .type = NVSP_SEND_RNDIS_PACKET_COMPLETE };

	answer.rndis_packet_complete.status = NVSP_STATUS_SUCCESS;
	switch (question->message.type) {
	case NVSP_INIT:
		answer.type = NVSP_INIT_COMPLETE;
		answer.init_complete = w.card.init;
		answer.init_complete.status = NVSP_STATUS_SUCCESS;
		break;
	case NVSP_SEND_RECEIVE_BUFFER:
		answer.type = NVSP_SEND_RECEIVE_BUFFER_COMPLETE;
		answer.receive_buffer_complete = w.card.receive;
		break;
	case NVSP_SEND_SEND_BUFFER:
		answer.type = NVSP_SEND_SEND_BUFFER_COMPLETE;
		answer.send_buffer_complete = w.card.send;
		break;
	case NVSP_SUB_CHANNEL:
		answer.type = NVSP_SUB_CHANNEL;
		answer.sub_channel_complete.status = NVSP_STATUS_SUCCESS;
		answer.sub_channel_complete.count = question->message.sub_channel_request.count;
		break;
	}
	return answer;
}

static void host_answers_by(struct input *input)
{
	uint8_t which = input_u8(input), how = input_u8(input);
	struct question *question;
	struct nvsp_message answer;
	uint32_t bytes = sizeof(answer), at;

	if (!question_count)
		return;
	at = which % question_count;
	question = &questions[at];
	answer = good_answer(question);
	hasty |= how & 64;
	if (how & 1)
		input_copy(input, answer.payload, 24);
	if (how & 2)
		answer.type = input_u8(input);
	if (how & 4)
		bytes = input_u8(input) % (sizeof(answer) + 1);
	if (how & 8)
		answer.rndis_packet_complete.status = input_u8(input);
	(void)host_send(&w, question_lane[at], VMBUS_PACKET_COMPLETION,
			how & 64 ? question->id ^ 1ull << (which & 63) : question->id, &answer, bytes);
	if (!(how & 128)) { /* else it is answered again */
		*question = questions[--question_count];
		question_lane[at] = question_lane[question_count];
	}
}

/* A message of RNDIS', in a sub-allocation or anywhere, its fields right or a little off. */
static struct vmbus_transfer_range put_frame(struct input *input)
{
	uint8_t how = input_u8(input), where = input_u8(input);
	uint32_t infos[] = {
		RNDIS_INFO_CHECKSUM, 0x128, (uint32_t)RNDIS_INFO_PACKET_ID, 0, RNDIS_INFO_VLAN, 0x770,
	};
	struct rndis_packet_id id = { 1, (uint8_t)(how & 7), 0 };
	struct host_message message;
	struct vmbus_transfer_range range;
	uint16_t bytes = 14 + input_u16(input) % 1500;

	memcpy(&infos[3], &id, sizeof(id));
	message = host_frame(w.frames, bytes, infos, how >> 3 & 3);
	if (how & 0x20) {
		uint8_t at = input_u8(input);
		uint32_t value = input_u32(input);

		memcpy(message.bytes + at % 100, &value, sizeof(value));
	}
	range = host_put(&w, where % SUB_COUNT, message.bytes, message.length);
	if (how & 0x40) {
		range.byte_count = input_u16(input);
		range.byte_offset = input_u32(input) % (w.receive.bytes + 256);
	}
	if (how & 0x80)
		range.byte_offset = input_u32(input);
	return range;
}

static void host_sends_frames(struct input *input)
{
	uint8_t how = input_u8(input);
	struct vmbus_transfer_range ranges[8];
	uint32_t count = how % 9;

	for (uint32_t i = 0; i < count; i++)
		ranges[i] = put_frame(input);
	(void)host_transfer(&w, how >> 6, input_u8(input), ranges, count);
}

/* Of RNDIS' control, to the last question or to none. */
static void host_sends_control(struct input *input)
{
	uint8_t how = input_u8(input), bytes = input_u8(input);
	struct vmbus_transfer_range range;
	struct host_message message;
	uint8_t body[256] = { 0 };
	uint32_t id = w.netvsc.control.request_id;
	uint32_t type = w.netvsc.control.kind | RNDIS_COMPLETION;

	input_copy(input, body, bytes);
	if (how & 1)
		memcpy(body, &id, sizeof(id));
	if (how & 2)
		memset(body + 4, 0, 4);
	if (how & 4) {
		struct rndis_query_complete complete = { id, 0, input_u8(input), 16 };

		memcpy(body, &complete, sizeof(complete));
	}
	if (how & 8)
		type = input_u32(input);
	if (how & 16) {
		struct rndis_indicate_status news = { RNDIS_STATUS_LINK_SPEED_CHANGE, 4, 12 };

		type = RNDIS_INDICATE_STATUS;
		if (how & 32)
			news.status = RNDIS_STATUS_MEDIA_CONNECT + (how >> 7);
		memcpy(body, &news, sizeof(news));
	}
	message = host_message(type, body, bytes);
	range = host_put(&w, how % 4, message.bytes, message.length);
	(void)host_transfer(&w, how >> 6 & 1, 3, &range, 1);
}

/* What the host says of its card is anything. */
static void host_bends_card(struct input *input)
{
	uint16_t at = input_u16(input);
	uint8_t bytes = 1 + input_u8(input) % 4;

	input_copy(input, (uint8_t *)&w.card + at % (sizeof(w.card) - 4), bytes);
}

/* The host let go of the control page too early, and another question is there by now. */
static bool page_is_another(const struct question *question)
{
	struct rndis_header header;

	memcpy(&header, w.data, sizeof(header));
	return question->message.type == NVSP_SEND_RNDIS_PACKET &&
	       header.bytes != question->data_bytes;
}

/* As a host that means well would, step by step, with what it says of its card. */
static void host_serves(uint8_t how)
{
	struct question question;
	uint32_t events;

	for (uint32_t i = 0; i < 1u + how % 8; i++) {
		if (!host_looks(0, &question))
			return;
		check_question(&question, 0);
		if (!question.wants_completion ||
		    (question.message.type == NVSP_SEND_RNDIS_PACKET &&
		     question.message.rndis_packet.channel_type == NVSP_RNDIS_DATA) ||
		    question.message.type == NVSP_SUB_CHANNEL)
			continue;
		if (hasty && page_is_another(&question))
			continue;
		events = host_serve(&w, &question);
		collect_ended(0);
		if (events & NETVSC_EVENT_BUFFERS)
			(void)!netvsc_set_buffers(&w.netvsc, &w.receive, &w.send, w.now_ns);
		if (events & NETVSC_EVENT_READY)
			check_ready();
	}
}

static void host_sends_anything(struct input *input)
{
	uint8_t type = input_u8(input), bytes = input_u8(input), payload[256];
	uint64_t id = type & 0x80 ? input_u64(input) : type >> 4 & 7;

	hasty = true;
	input_copy(input, payload, bytes);
	(void)host_send(&w, type >> 5 & 3, type & 15, id, payload, bytes);
}

static void host_scribbles(struct input *input)
{
	uint8_t what = input_u8(input), bytes = input_u8(input), data[256];
	struct wire *wire = &w.wires[what >> 5 & 3];
	uint32_t value;

	hasty |= what % 5 == 0 || what % 5 == 2;
	switch (what % 5) {
	case 0:
		wire->to_guest_memory.control->in = what & 0x80 ? input_u32(input) : 8 * bytes;
		break;
	case 1:
		lied = true;
		wire->to_host_memory.control->out = what & 0x80 ? input_u32(input) : 8 * bytes;
		break;
	case 2:
		value = wire->to_guest_memory.control->in + input_u8(input);
		input_copy(input, data, bytes);
		for (uint32_t i = 0; i < bytes; i++)
			wire->to_guest_memory.data[(value + i) % RING_BYTES] = data[i];
		break;
	case 3:
		value = input_u16(input);
		input_copy(input, data, bytes);
		memcpy(w.receive.memory + value % (w.receive.bytes - 256), data, bytes);
		break;
	default:
		wire->to_host_memory.control->interrupt_mask = what >> 7;
		wire->to_guest_memory.control->pending_send_bytes = bytes;
	}
}

static void time_passes(uint8_t how)
{
	w.now_ns += (how & 15) * SECOND_NS;
	(void)!netvsc_on_timer(&w.netvsc, w.now_ns);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	return setenv("CMOCKA_TEST_ABORT", "1", 1);
}

static void step(struct input *input)
{
	uint8_t how = input_u8(input);

	switch (how % 16) {
	case 0: case 1: case 2:
		guest_sends(input);
		break;
	case 3: case 4:
		guest_receives(input_u8(input));
		break;
	case 5:
		guest_asks(input);
		break;
	case 6:
		if (how >= 0xe0)
			guest_begins_anew(input_u8(input));
		else
			guest_opens(input_u8(input));
		break;
	case 7:
		host_takes(how >> 4 & 3);
		break;
	case 8: case 9:
		host_takes(how >> 4 & 3);
		host_answers_by(input);
		break;
	case 10: case 11:
		host_sends_frames(input);
		break;
	case 12:
		host_sends_control(input);
		break;
	case 13:
		if (how & 0x80)
			host_bends_card(input);
		else
			host_serves(how >> 4);
		break;
	case 14:
		if (how & 0x80)
			host_sends_anything(input);
		else
			host_scribbles(input);
		break;
	default:
		time_passes(how >> 4);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct input input = { data, bytes };
	uint8_t how = input_u8(&input);

	begin();
	if (how & 1) {
		w.config.version_max = nvsp_versions[(how >> 1) % NVSP_VERSION_COUNT];
		w.config.mtu = 9000;
	}
	w.config.isolated = (how & 0x30) == 0x30;
	if (!w.config.mtu)
		w.config.mtu = NETVSC_MTU_DEFAULT;
	w.card.init.mdl_chain_length_max = how & 0x40 ? 3 : 34;
	if (how & 8)
		host_bends_card(&input);
	world_open_primary(&w);
	if (how & 0x80)
		for (int i = 0; i < 4 && w.netvsc.state != NETVSC_READY; i++)
			host_serves(7);
	if (w.netvsc.state == NETVSC_READY)
		check_ready();
	while (input.bytes)
		step(&input);
	close_all();
	netvsc_fini(&w.netvsc);
	FUZZ_CHECK(!w.allocations);
	return 0;
}
