/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end of the network: what a frame looks like to the host, how frames share a section, and which stay
 * where they are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/loopback/netvsc_world.h"

#define HEAD 44u /* RNDIS' headers without information */

static bool has_info(const struct guest_message *message, uint32_t type, uint32_t *out_value)
{
	for (uint32_t i = 0; i < message->info_count; i++) {
		if (message->infos[i][0] == type) {
			*out_value = message->infos[i][1];
			return true;
		}
	}
	return false;
}
/* ---- short frames ---- */

static void a_short_frame_is_copied_into_a_section(void **state)
{
	struct world *w = *state;
	struct netvsc_request request;
	struct netvsc_piece piece;
	struct netvsc_packet packet;
	struct question question;
	struct guest_message message;
	struct netvsc_ended ended;

	world_become_ready(w);
	memset(w->send.memory, 0xee, w->send.bytes);
	world_fill(w, 100, 1514);
	packet = world_packet(w, &piece, 100, 1514);
	assert_true(world_send(w, &packet, &request));
	memset(w->frames + 100, 0xee, 1514); /* it is the caller's again */
	question = host_take(w, 0);
	assert_int_equal(question.type, VMBUS_PACKET_IN_BAND);
	assert_int_equal(question.message.rndis_packet.channel_type, NVSP_RNDIS_DATA);
	assert_int_not_equal(question.message.rndis_packet.send_section_index, NVSP_SECTION_NONE);
	assert_int_equal(question.data_bytes, (HEAD + 1514 + 7) & ~7);
	message = host_message_at(w, &question, 0);
	assert_int_equal(message.header.bytes, question.data_bytes);
	assert_int_equal(message.packet.data_bytes, 1514);
	assert_int_equal(message.info_count, 0);
	world_fill(w, 100, 1514);
	assert_memory_equal(message.data, w->frames + 100, 1514);
	/* Nothing of what was in the section before. */
	assert_memory_equal(message.data + 1514, "\0\0\0\0\0\0\0", question.data_bytes - HEAD - 1514);
	assert_int_equal(netvsc_in_flight(&w->channels[0]), 1);
	host_complete(w, 0, question.id, NVSP_STATUS_SUCCESS);
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_ENDED);
	ended = netvsc_take_ended(&w->channels[0]);
	assert_null(ended.requests);
	assert_int_equal(ended.frames, 1);
	assert_int_equal(ended.bytes, 1514);
	assert_int_equal(ended.failed, 0);
	assert_int_equal(netvsc_take_ended(&w->channels[0]).frames, 0);
	assert_true(netvsc_idle(&w->channels[0]));
}

static void pieces_are_put_together(void **state)
{
	struct world *w = *state;
	struct netvsc_piece pieces[NETVSC_PIECES_MAX];
	struct netvsc_packet packet = { .pieces = pieces, .piece_count = NETVSC_PIECES_MAX };
	struct netvsc_request request;
	struct question question;
	struct guest_message message;
	uint8_t expect[2048];

	world_become_ready(w);
	for (uint32_t i = 0; i < NETVSC_PIECES_MAX; i++) {
		uint32_t bytes = 1 + i, offset = i * 2000 + 4090;

		world_fill(w, offset, bytes);
		world_packet(w, &pieces[i], offset, bytes);
		memcpy(expect + packet.bytes, w->frames + offset, bytes);
		packet.bytes += bytes;
	}
	assert_true(world_send(w, &packet, &request));
	question = host_take(w, 0);
	message = host_message_at(w, &question, 0);
	assert_int_equal(message.packet.data_bytes, packet.bytes);
	assert_memory_equal(message.data, expect, packet.bytes);
}

static void short_frames_share_a_section_up_to_what_the_host_takes(void **state)
{
	static const struct {
		uint32_t messages_max, bytes, shift, expect;
	} cases[] = {
		{ 8, 60, 3, 8 }, { 1, 60, 3, 1 }, { 100, 60, 0, 6144 / 104 }, { 100, 60, 7, 6144 / 128 },
		{ 8, 1514, 3, 3 }, { 8, 1500 - HEAD, 2, 4 }, { 8, 3000, 3, 2 }, { 8, 3100, 3, 1 },
		{ 8, 6144 - HEAD, 0, 1 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *w = *state;
		uint32_t at = 0, align = 1u << cases[i].shift;
		struct netvsc_request request;
		struct netvsc_piece piece;
		struct netvsc_packet packet;
		struct question question;

		world_finish(w);
		world_begin(w);
		w->card.rndis.packets_per_message_max = cases[i].messages_max;
		w->card.rndis.packet_alignment_shift = cases[i].shift;
		world_become_ready(w);
		for (uint32_t sent = 0; sent <= cases[i].expect; sent++) {
			world_fill(w, sent, cases[i].bytes);
			packet = world_packet(w, &piece, sent, cases[i].bytes);
			assert_true(world_send(w, &packet, &request));
			assert_int_equal(w->channels[0].send_counters.packets,
					 sent < cases[i].expect ? 0 : 1);
		}
		question = host_take(w, 0);
		for (uint32_t seen = 0; seen < cases[i].expect; seen++) {
			struct guest_message message = host_message_at(w, &question, at);

			assert_int_equal(at % align, 0);
			world_fill(w, seen, cases[i].bytes);
			assert_memory_equal(message.data, w->frames + seen, cases[i].bytes);
			at += message.header.bytes;
		}
		assert_int_equal(at, question.data_bytes);
		host_complete(w, 0, question.id, NVSP_STATUS_SUCCESS);
		assert_int_equal(world_receive(w, 0), NETVSC_EVENT_ENDED);
		assert_int_equal(netvsc_take_ended(&w->channels[0]).frames, cases[i].expect);
		question = host_take(w, 0);
	}
}

static void a_section_is_not_filled_beyond_what_the_host_takes_at_once(void **state)
{
	struct world *w = *state;
	struct netvsc_request request;
	struct netvsc_piece piece;
	struct netvsc_packet packet;
	struct question question;

	w->card.rndis.transfer_bytes_max = 1800;
	world_become_ready(w);
	packet = world_packet(w, &piece, 0, 800);
	for (int i = 0; i < 3; i++)
		assert_true(world_send(w, &packet, &request));
	question = host_take(w, 0);
	assert_int_equal(question.data_bytes, 2 * 848);
}

static void flushing_sends_what_was_gathered_with_one_signal(void **state)
{
	struct world *w = *state;
	struct question question;
	struct netvsc_request request;
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 60);

	world_become_ready(w);
	assert_false(host_look(w, 0, &question));
	assert_false(vmbus_ring_reader_unmask(&w->wires[0].from_guest));
	assert_true(world_send(w, &packet, &request));
	assert_true(world_send(w, &packet, &request));
	assert_int_equal(netvsc_in_flight(&w->channels[0]), 0);
	assert_true(netvsc_channel_flush(&w->channels[0]));
	assert_int_equal(netvsc_in_flight(&w->channels[0]), 1);
	assert_false(netvsc_channel_flush(&w->channels[0]));
	assert_int_equal(w->channels[0].send_counters.packets, 1);
}

/* ---- wishes ---- */

static void wishes_travel_beside_the_frame(void **state)
{
	static const struct {
		uint32_t wishes, type, value;
	} cases[] = {
		{ NETVSC_WISH_VLAN, RNDIS_INFO_VLAN, 5u | RNDIS_VLAN_DEI | 0x123u << 4 },
		{ NETVSC_WISH_HASH, RNDIS_INFO_HASH_VALUE, 0xdeadbeef },
		{ NETVSC_WISH_IPV4 | NETVSC_WISH_TCP_CHECKSUM, RNDIS_INFO_CHECKSUM,
		  RNDIS_TX_IPV4 | RNDIS_TX_TCP_CHECKSUM | 34u << 16 },
		{ NETVSC_WISH_IPV6 | NETVSC_WISH_UDP_CHECKSUM, RNDIS_INFO_CHECKSUM,
		  RNDIS_TX_IPV6 | RNDIS_TX_UDP_CHECKSUM | 34u << 16 },
	};

	for (uint32_t set = 1; set < 16; set++) {
		struct world *w = *state;
		struct netvsc_request request;
		struct netvsc_piece piece;
		struct netvsc_packet packet = world_packet(w, &piece, 0, 100);
		struct question question;
		struct guest_message message;
		uint32_t expect = 0, value;

		if ((set & 12) == 12)
			continue;
		world_finish(w);
		world_begin(w);
		world_become_ready(w);
		packet.vlan_tci = 0xb123;
		packet.hash = 0xdeadbeef;
		packet.transport_offset = 34;
		for (uint32_t i = 0; i < 4; i++)
			packet.wishes |= set >> i & 1 ? cases[i].wishes : 0;
		assert_true(world_send(w, &packet, &request));
		question = host_take(w, 0);
		message = host_message_at(w, &question, 0);
		for (uint32_t i = 0; i < 4; i++) {
			if (!(set >> i & 1))
				continue;
			expect++;
			assert_true(has_info(&message, cases[i].type, &value));
			assert_int_equal(value, cases[i].value);
		}
		assert_int_equal(message.info_count, expect);
		assert_memory_equal(message.data, w->frames, 100);
	}
}

/* Ethernet, IP, TCP: lengths and sums of the whole, as a stack leaves them. */
static uint32_t make_tcp(struct world *w, uint32_t offset, bool ipv6, uint32_t bytes)
{
	uint8_t *ip = w->frames + offset + 14, *tcp = ip + (ipv6 ? 40 : 20);

	world_fill(w, offset, bytes);
	if (ipv6) {
		ip[4] = (uint8_t)((bytes - 54) >> 8);
		ip[5] = (uint8_t)(bytes - 54);
	} else {
		ip[2] = (uint8_t)((bytes - 14) >> 8);
		ip[3] = (uint8_t)(bytes - 14);
	}
	return (uint32_t)(tcp - w->frames - offset);
}

static uint16_t pseudo_sum(const uint8_t *addresses, uint32_t bytes)
{
	uint32_t sum = 6;

	for (uint32_t i = 0; i < bytes; i += 2)
		sum += (uint32_t)addresses[i] << 8 | addresses[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static void check_segments(struct world *w, bool ipv6, uint32_t offset, uint32_t bytes,
			   const struct guest_message *message)
{
	static uint8_t expect[70000];
	uint8_t *ip = expect + 14, *tcp = ip + (ipv6 ? 40 : 20);
	uint32_t value;
	uint16_t sum;

	memcpy(expect, w->frames + offset, bytes);
	sum = ipv6 ? pseudo_sum(ip + 8, 32) : pseudo_sum(ip + 12, 8);
	memset(ipv6 ? ip + 4 : ip + 2, 0, 2);
	if (!ipv6)
		memset(ip + 10, 0, 2);
	tcp[16] = (uint8_t)(sum >> 8);
	tcp[17] = (uint8_t)sum;
	assert_int_equal(message->packet.data_bytes, bytes);
	assert_memory_equal(message->data, expect, bytes);
	assert_true(has_info(message, RNDIS_INFO_LSO, &value));
	assert_int_equal(value, (ipv6 ? RNDIS_LSO_IPV6 : 0) | RNDIS_LSO_V2 |
				(uint32_t)(tcp - expect) << 20 | 1460);
	assert_false(has_info(message, RNDIS_INFO_CHECKSUM, &value));
}

static void a_frame_to_be_cut_has_its_headers_changed_in_a_copy(void **state)
{
	static const uint32_t sizes[] = { 74 + 1, 1500, 6000, 9000, 40000, 62780 };
	struct world *w = *state;

	world_become_ready(w);
	for (uint32_t i = 0; i < 4 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		/* In the middle of a page, and so that the page ends within the headers. */
		uint32_t bytes = sizes[i / 4], offset = i & 2 ? HV_PAGE_BYTES - 50 : 77;
		struct netvsc_request request;
		struct netvsc_piece pieces[3];
		struct netvsc_packet packet;
		struct question question;
		struct guest_message message;
		uint8_t before[200];
		bool done;

		packet = world_packet(w, pieces, offset, bytes);
		packet.transport_offset = (uint16_t)make_tcp(w, offset, i & 1, bytes);
		packet.network_offset = 14;
		packet.segment_bytes = 1460;
		packet.wishes = NETVSC_WISH_SEGMENTS | NETVSC_WISH_TCP_CHECKSUM |
				(i & 1 ? NETVSC_WISH_IPV6 : NETVSC_WISH_IPV4);
		if (!(i & 2)) { /* the headers lie in two pieces */
			world_packet(w, &pieces[0], offset, 40);
			world_packet(w, &pieces[1], offset + 40, bytes - 40);
			packet.piece_count = 2;
		}
		memcpy(before, w->frames + offset, 75);
		done = world_send(w, &packet, &request);
		assert_int_equal(done, bytes <= 6000);
		assert_memory_equal(before, w->frames + offset, 75);
		question = host_take(w, 0);
		message = host_message_at(w, &question, 0);
		check_segments(w, i & 1, offset, bytes, &message);
		host_complete(w, 0, question.id, NVSP_STATUS_SUCCESS);
		assert_int_equal(world_receive(w, 0), NETVSC_EVENT_ENDED);
		assert_int_equal(netvsc_take_ended(&w->channels[0]).requests != NULL, !done);
	}
	assert_int_equal(w->channels[0].send_counters.segmented, 24);
}

static void impossible_frames_are_refused(void **state)
{
	struct world *w = *state;
	struct netvsc_request request;
	struct netvsc_piece pieces[NETVSC_PIECES_MAX + 1];
	struct netvsc_packet packet;
	bool done;

	world_become_ready(w);
#define REFUSED(change) \
	do { \
		packet = world_packet(w, pieces, 0, 200); \
		packet.network_offset = 14; \
		packet.transport_offset = 34; \
		packet.segment_bytes = 100; \
		change; \
		assert_int_equal(netvsc_send(&w->channels[0], &packet, &request, &done), \
				 -LIS_INVALID); \
	} while (0)
	REFUSED(packet.piece_count = 0);
	for (uint32_t i = 0; i <= NETVSC_PIECES_MAX; i++)
		(void)world_packet(w, &pieces[i], i * 10, 10);
	packet = (struct netvsc_packet){ .pieces = pieces, .piece_count = NETVSC_PIECES_MAX + 1,
					 .bytes = 10 * (NETVSC_PIECES_MAX + 1) };
	assert_int_equal(netvsc_send(&w->channels[0], &packet, &request, &done), -LIS_INVALID);
	REFUSED(packet.bytes = 199);
	REFUSED(packet.bytes = 201);
	REFUSED(pieces[0].bytes = 13; packet.bytes = 13);
	REFUSED(pieces[0].bytes = 0; packet.bytes = 0);
	REFUSED(pieces[0].bytes = packet.bytes = NETVSC_FRAME_BYTES_MAX + 1);
	REFUSED(packet.wishes = NETVSC_WISH_TCP_CHECKSUM);
	REFUSED(packet.wishes = NETVSC_WISH_TCP_CHECKSUM | NETVSC_WISH_IPV4 | NETVSC_WISH_IPV6);
	REFUSED(packet.wishes = NETVSC_WISH_UDP_CHECKSUM | NETVSC_WISH_IPV4;
		packet.transport_offset = 200);
	REFUSED(packet.wishes = NETVSC_WISH_UDP_CHECKSUM | NETVSC_WISH_IPV4;
		packet.transport_offset = 1024);
	REFUSED(packet.wishes = NETVSC_WISH_SEGMENTS | NETVSC_WISH_IPV4; packet.segment_bytes = 0);
	REFUSED(packet.wishes = NETVSC_WISH_SEGMENTS | NETVSC_WISH_IPV4; packet.network_offset = 15);
	REFUSED(packet.wishes = NETVSC_WISH_SEGMENTS | NETVSC_WISH_IPV6);
	REFUSED(packet.wishes = NETVSC_WISH_SEGMENTS | NETVSC_WISH_IPV4;
		packet.transport_offset = 190);
	REFUSED(packet = world_packet(w, pieces, 0, 500); packet.segment_bytes = 100;
		packet.wishes = NETVSC_WISH_SEGMENTS | NETVSC_WISH_IPV4;
		packet.transport_offset = 240);
#undef REFUSED
	assert_int_equal(w->channels[0].send_counters.frames, 0);
	assert_int_equal(netvsc_in_flight(&w->channels[0]), 0);
}

/* ---- frames that stay where they are ---- */

static void a_long_frame_is_read_from_where_it_is(void **state)
{
	struct world *w = *state;
	struct netvsc_request request;
	struct netvsc_piece pieces[4];
	struct netvsc_packet packet;
	struct question question;
	struct guest_message message;
	struct netvsc_ended ended;

	world_become_ready(w);
	world_fill(w, 500, 60000);
	packet = world_packet(w, pieces, 500, 60000);
	world_packet(w, &pieces[0], 500, 200); /* short: copied */
	world_packet(w, &pieces[1], 700, 30000);
	world_packet(w, &pieces[2], 30700, 1);
	world_packet(w, &pieces[3], 30701, 29799);
	packet.piece_count = 4;
	assert_false(world_send(w, &packet, &request));
	question = host_take(w, 0);
	assert_int_equal(question.type, VMBUS_PACKET_GPA_DIRECT);
	assert_int_equal(question.message.rndis_packet.send_section_index, NVSP_SECTION_NONE);
	assert_int_equal(question.message.rndis_packet.send_section_bytes, 0);
	assert_int_equal(question.range_count, 4);
	message = host_message_at(w, &question, 0);
	assert_int_equal(message.header.bytes, HEAD + 60000);
	assert_memory_equal(message.data, w->frames + 500, 60000);
	host_complete(w, 0, question.id, NVSP_STATUS_SUCCESS);
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_ENDED);
	ended = netvsc_take_ended(&w->channels[0]);
	assert_ptr_equal(ended.requests, &request);
	assert_null(request.next);
	assert_int_equal(ended.frames, 1);
	assert_int_equal(ended.bytes, 60000);
}

static void every_offset_and_length_arrives(void **state)
{
	struct world *w = *state;

	world_become_ready(w);
	for (uint32_t i = 0; i < 400; i++) {
		uint32_t offset = i * 37 % 9000, bytes = 5900 + i * 61 % 30000;
		uint32_t first = 1 + i * 101 % 5000;
		struct netvsc_request request;
		struct netvsc_piece pieces[2];
		struct netvsc_packet packet;
		struct question question;
		struct guest_message message;
		bool done;

		world_fill(w, offset, bytes);
		packet = world_packet(w, pieces, offset, bytes);
		world_packet(w, &pieces[0], offset, first);
		world_packet(w, &pieces[1], offset + first, bytes - first);
		packet.piece_count = 2;
		done = world_send(w, &packet, &request);
		question = host_take(w, 0);
		message = host_message_at(w, &question, 0);
		assert_int_equal(message.packet.data_bytes, bytes);
		assert_memory_equal(message.data, w->frames + offset, bytes);
		host_complete(w, 0, question.id, NVSP_STATUS_SUCCESS);
		assert_int_equal(world_receive(w, 0), NETVSC_EVENT_ENDED);
		assert_int_equal(netvsc_take_ended(&w->channels[0]).requests == &request, !done);
	}
	assert_int_equal(w->channels[0].head_free != UINT16_MAX, 1);
}

static void frames_keep_their_order(void **state)
{
	struct world *w = *state;
	struct netvsc_request requests[4];
	struct netvsc_piece piece;
	struct netvsc_packet packet;
	struct question question;

	world_become_ready(w);
	packet = world_packet(w, &piece, 0, 60);
	assert_true(world_send(w, &packet, &requests[0]));
	packet = world_packet(w, &piece, 0, 9000);
	assert_false(world_send(w, &packet, &requests[1]));
	packet = world_packet(w, &piece, 0, 61);
	assert_true(world_send(w, &packet, &requests[2]));
	question = host_take(w, 0);
	assert_int_equal(host_message_at(w, &question, 0).packet.data_bytes, 60);
	question = host_take(w, 0);
	assert_int_equal(host_message_at(w, &question, 0).packet.data_bytes, 9000);
	question = host_take(w, 0);
	assert_int_equal(host_message_at(w, &question, 0).packet.data_bytes, 61);
	assert_non_null(netvsc_channel_close(&w->channels[0]));
}

static void more_pieces_than_the_host_takes_are_refused(void **state)
{
	struct world *w = *state;
	struct netvsc_request requests[2];
	struct netvsc_piece pieces[8];
	struct netvsc_packet packet = { .pieces = pieces };
	bool done;

	w->card.init.mdl_chain_length_max = 4;
	world_become_ready(w);
	assert_int_equal(w->netvsc.pieces_max, 4);
	for (uint32_t i = 0; i < 8; i++) {
		world_packet(w, &pieces[i], i * 3000, 2500);
		packet.bytes += 2500;
		packet.piece_count++;
		if (i < 2)
			continue;
		/* With the heads in a range of their own. */
		assert_int_equal(netvsc_send(&w->channels[0], &packet, &requests[0], &done),
				 i < 3 ? 0 : -LIS_INVALID);
	}
	/* A first piece that is copied needs none. */
	packet = (struct netvsc_packet){ .pieces = pieces, .piece_count = 4 };
	world_packet(w, &pieces[0], 0, 100);
	packet.bytes = 7600;
	assert_int_equal(netvsc_send(&w->channels[0], &packet, &requests[1], &done), 0);
	assert_non_null(netvsc_channel_close(&w->channels[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
		TEST(a_short_frame_is_copied_into_a_section),
		TEST(pieces_are_put_together),
		TEST(short_frames_share_a_section_up_to_what_the_host_takes),
		TEST(a_section_is_not_filled_beyond_what_the_host_takes_at_once),
		TEST(flushing_sends_what_was_gathered_with_one_signal),
		TEST(wishes_travel_beside_the_frame),
		TEST(a_frame_to_be_cut_has_its_headers_changed_in_a_copy),
		TEST(impossible_frames_are_refused),
		TEST(a_long_frame_is_read_from_where_it_is),
		TEST(every_offset_and_length_arrives),
		TEST(frames_keep_their_order),
		TEST(more_pieces_than_the_host_takes_are_refused),
#undef TEST
	};

	return cmocka_run_group_tests_name("loopback/netvsc_send", tests, NULL, NULL);
}
