/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The guest end of the network: frames in flight. What they hold, where they stay when there is no room, and what
 * becomes of answers that are wrong, doubled or missing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/loopback/netvsc_world.h"

/* ---- no room ---- */

static void without_a_section_short_frames_stay_where_they_are(void **state)
{
	struct world *w = *state;
	struct netvsc_request requests[SECTION_COUNT + 2];
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 5000);
	struct question questions[SECTION_COUNT + 1];
	struct guest_message message;
	bool done;

	world_become_ready(w);
	world_fill(w, 0, 5000);
	/* Another channel has all sections. */
	assert_int_equal(world_open_channel(w, 1), 0);
	for (uint32_t i = 0; i < SECTION_COUNT; i++) {
		assert_int_equal(netvsc_send(&w->channels[1], &packet, &requests[i], &done), 0);
		assert_true(done);
		questions[i] = host_take(w, 1);
	}
	assert_false(world_send(w, &packet, &requests[SECTION_COUNT]));
	assert_int_equal(w->channels[0].send_counters.no_section, 1);
	questions[SECTION_COUNT] = host_take(w, 0);
	assert_int_equal(questions[SECTION_COUNT].type, VMBUS_PACKET_GPA_DIRECT);
	message = host_message_at(w, &questions[SECTION_COUNT], 0);
	assert_memory_equal(message.data, w->frames, 5000);
	/* Where they cannot stay they are refused. */
	assert_int_equal(netvsc_send(&w->channels[0], &packet, NULL, &done), -LIS_AGAIN);
	host_complete(w, 1, questions[0].id, NVSP_STATUS_SUCCESS);
	world_receive(w, 1);
	assert_int_equal(netvsc_send(&w->channels[0], &packet, NULL, &done), 0);
	assert_true(done);
	assert_ptr_equal(netvsc_channel_close(&w->channels[0]), &requests[SECTION_COUNT]);
	assert_null(netvsc_channel_close(&w->channels[1]));
}

/* Those in flight, and the one that is being filled. */
static void sections_of_a_closed_channel_are_the_others(void **state)
{
	struct world *w = *state;
	struct netvsc_request request;
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 5000);
	bool done;

	world_become_ready(w);
	assert_int_equal(world_open_channel(w, 1), 0);
	for (uint32_t i = 0; i < SECTION_COUNT; i++)
		assert_int_equal(netvsc_send(&w->channels[1], &packet, &request, &done), 0);
	assert_null(netvsc_channel_close(&w->channels[1]));
	for (uint32_t i = 0; i < SECTION_COUNT; i++)
		assert_int_equal(netvsc_send(&w->channels[0], &packet, NULL, &done), 0);
	assert_int_equal(netvsc_send(&w->channels[0], &packet, NULL, &done), -LIS_AGAIN);
}

static void without_a_head_a_section_serves(void **state)
{
	struct world *w = *state;
	struct netvsc_request requests[64];
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 1000, 8000);
	struct question question = { 0 };
	uint32_t sent = 0;
	bool done;

	w->channel_config.queue_depth = 64;
	world_become_ready(w);
	world_fill(w, 1000, 8000);
	for (; sent < 8 + SECTION_COUNT; sent++) {
		struct guest_message message;

		assert_false(world_send(w, &packet, &requests[sent]));
		question = host_take(w, 0);
		assert_int_equal(question.message.rndis_packet.send_section_index == NVSP_SECTION_NONE,
				 sent < 8);
		message = host_message_at(w, &question, 0);
		assert_memory_equal(message.data, w->frames + 1000, 8000);
	}
	assert_int_equal(netvsc_send(&w->channels[0], &packet, &requests[sent], &done), -LIS_AGAIN);
	assert_false(netvsc_channel_has_room(&w->channels[0]));
	/* Sections are enough for a new try of nobody's here: a head is what is waited for. */
	host_complete(w, 0, question.id, NVSP_STATUS_SUCCESS);
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_ENDED);
	assert_false(world_send(w, &packet, &requests[sent]));
	assert_non_null(netvsc_channel_close(&w->channels[0]));
}

static void a_short_frame_in_a_section_alone_needs_no_range(void **state)
{
	struct world *w = *state;
	struct netvsc_request requests[64];
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 8000);
	struct question question;
	struct guest_message message;

	w->channel_config.queue_depth = 64;
	w->card.send.section_bytes = 512; /* so that a copied head and a frame do not fit together */
	world_become_ready(w);
	for (uint32_t i = 0; i < 8; i++)
		assert_false(world_send(w, &packet, &requests[i]));
	while (host_look(w, 0, &question))
		;
	world_fill(w, 0, 500);
	packet = world_packet(w, &piece, 0, 500);
	assert_false(world_send(w, &packet, &requests[8]));
	question = host_take(w, 0);
	assert_int_not_equal(question.message.rndis_packet.send_section_index, NVSP_SECTION_NONE);
	message = host_message_at(w, &question, 0);
	assert_memory_equal(message.data, w->frames, 500);
	assert_non_null(netvsc_channel_close(&w->channels[0]));
}

static void a_full_table_says_again_and_then_room(void **state)
{
	struct world *w = *state;
	struct netvsc_request requests[QUEUE_DEPTH + 1];
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 9000);
	struct question questions[QUEUE_DEPTH];
	uint32_t ended = 0;
	bool done;

	world_become_ready(w);
	for (uint32_t i = 0; i < QUEUE_DEPTH; i++) {
		assert_int_equal(netvsc_channel_has_room(&w->channels[0]), i < QUEUE_DEPTH - 1);
		assert_false(world_send(w, &packet, &requests[i]));
		questions[i] = host_take(w, 0);
	}
	assert_int_equal(netvsc_send(&w->channels[0], &packet, &requests[QUEUE_DEPTH], &done),
			 -LIS_AGAIN);
	/* Messages of control have slots of their own. */
	assert_int_equal(netvsc_keep_alive(&w->netvsc, w->now_ns), 0);
	/* Room is said when some is free, once. */
	for (uint32_t i = 0; i < QUEUE_DEPTH; i++) {
		uint32_t events;

		host_complete(w, 0, questions[i].id, NVSP_STATUS_SUCCESS);
		events = world_receive(w, 0);
		ended += netvsc_take_ended(&w->channels[0]).frames;
		assert_int_equal(events, NETVSC_EVENT_ENDED |
						 (i == 2 ? NETVSC_EVENT_ROOM : 0));
	}
	assert_int_equal(ended, QUEUE_DEPTH);
	assert_false(world_send(w, &packet, &requests[QUEUE_DEPTH]));
	assert_non_null(netvsc_channel_close(&w->channels[0]));
}

static void a_full_ring_says_again_and_then_room(void **state)
{
	struct world *w = *state;
	struct netvsc_request request;
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 20);
	struct question question;
	uint64_t packets;
	bool done;
	int err;

	w->channel_config.queue_depth = 1000;
	world_become_ready(w);
	w->netvsc.messages_max = 1;
	while ((err = netvsc_send(&w->channels[0], &packet, &request, &done)) == 0) {
		(void)!netvsc_channel_flush(&w->channels[0]);
		/* So that sections do not run out. */
		for (uint32_t i = 0; i < w->netvsc.section_words; i++)
			w->netvsc.section_bits[i] = 0;
	}
	assert_int_equal(err, -LIS_AGAIN);
	assert_in_range(w->channels[0].send_counters.packets, RING_BYTES / 64 - 20, RING_BYTES / 64);
	assert_false(netvsc_channel_has_room(&w->channels[0]));
	assert_int_not_equal(w->wires[0].to_host_memory.control->pending_send_bytes, 0);
	assert_int_equal(world_receive(w, 0), 0);
	/* The host reads a bit, which is enough for the batch, and then all. */
	assert_int_equal(vmbus_ring_read(&w->wires[0].from_guest, w->data, sizeof(w->data),
					 &question.bytes), 0);
	assert_true(vmbus_ring_reader_publish(&w->wires[0].from_guest));
	packets = w->channels[0].send_counters.packets;
	assert_int_equal(world_receive(w, 0), 0);
	assert_int_equal(w->channels[0].send_counters.packets, packets + 1);
	assert_in_range(w->wires[0].to_host_memory.control->pending_send_bytes, RING_BYTES / 4,
			RING_BYTES);
	while (vmbus_ring_read(&w->wires[0].from_guest, w->data, sizeof(w->data),
			       &question.bytes) == 0)
		;
	assert_true(vmbus_ring_reader_publish(&w->wires[0].from_guest));
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_ROOM);
	assert_true(netvsc_channel_has_room(&w->channels[0]));
	assert_int_equal(netvsc_send(&w->channels[0], &packet, &request, &done), 0);
}

/* Whatever a send takes before it finds the ring full it gives back. */
static void a_send_that_finds_no_room_takes_nothing(void **state)
{
	struct world *w = *state;
	static struct netvsc_request requests[512];
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 60000);
	uint32_t in_flight, head_free;
	bool done;
	int err;

	w->channel_config.queue_depth = 512;
	world_become_ready(w);
	while ((err = netvsc_send(&w->channels[0], &packet,
				  &requests[netvsc_in_flight(&w->channels[0])], &done)) == 0)
		/* So that heads do not run out. */
		w->channels[0].head_free = 0;
	assert_int_equal(err, -LIS_AGAIN);
	in_flight = netvsc_in_flight(&w->channels[0]);
	assert_in_range(in_flight, 20, 500);
	head_free = w->channels[0].head_free;
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(netvsc_send(&w->channels[0], &packet, &requests[511], &done),
				 -LIS_AGAIN);
	assert_int_equal(netvsc_in_flight(&w->channels[0]), in_flight);
	assert_int_equal(w->channels[0].head_free, head_free);
	assert_non_null(netvsc_channel_close(&w->channels[0]));
}

static void a_batch_that_finds_no_room_goes_later(void **state)
{
	struct world *w = *state;
	struct netvsc_request requests[QUEUE_DEPTH];
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 9000);
	struct question question, first;

	world_become_ready(w);
	for (uint32_t i = 0; i < QUEUE_DEPTH - 1; i++)
		assert_false(world_send(w, &packet, &requests[i]));
	packet = world_packet(w, &piece, 0, 60);
	assert_true(world_send(w, &packet, &requests[7]));
	first = host_take(w, 0); /* flushes the batch into the last slot */
	assert_true(world_send(w, &packet, &requests[7]));
	assert_true(world_send(w, &packet, &requests[7]));
	assert_int_equal(netvsc_in_flight(&w->channels[0]), QUEUE_DEPTH);
	while (host_look(w, 0, &question))
		;
	host_complete(w, 0, first.id, NVSP_STATUS_SUCCESS);
	assert_int_equal(world_receive(w, 0) & NETVSC_EVENT_ENDED, NETVSC_EVENT_ENDED);
	/* Settling has sent it. */
	question = host_take(w, 0);
	assert_int_equal(question.data_bytes, 2 * 104);
	assert_non_null(netvsc_channel_close(&w->channels[0]));
}

/* ---- answers ---- */

static void an_answer_of_failure_frees_all_the_same(void **state)
{
	struct world *w = *state;
	struct netvsc_request request;
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 60);
	struct question question;
	struct netvsc_ended ended;

	world_become_ready(w);
	assert_true(world_send(w, &packet, &request));
	assert_true(world_send(w, &packet, &request));
	question = host_take(w, 0);
	host_complete(w, 0, question.id, NVSP_STATUS_INVALID_RNDIS_PACKET);
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_ENDED);
	ended = netvsc_take_ended(&w->channels[0]);
	assert_int_equal(ended.frames, 2);
	assert_int_equal(ended.failed, 2);
	assert_int_equal(w->channels[0].send_counters.failed, 2);
	assert_int_equal(world_violations(w), 0);
}

static void a_request_ends_once_whatever_the_host_answers(void **state)
{
	struct world *w = *state;
	struct netvsc_request request;
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 9000);
	struct nvsp_message message = { .type = 4711 };
	struct question question;

	world_become_ready(w);
	assert_false(world_send(w, &packet, &request));
	question = host_take(w, 0);
	host_complete(w, 0, question.id ^ 1ull << 32, NVSP_STATUS_SUCCESS);
	host_complete(w, 0, question.id + 1, NVSP_STATUS_SUCCESS);
	host_complete(w, 0, 0, NVSP_STATUS_SUCCESS);
	host_complete(w, 0, (uintptr_t)&request, NVSP_STATUS_SUCCESS);
	assert_int_equal(world_receive(w, 0), 0);
	assert_int_equal(world_violations(w), 4);
	/* One that says nothing is one nevertheless. */
	host_answer(w, 0, question.id, &message);
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_ENDED);
	assert_ptr_equal(netvsc_take_ended(&w->channels[0]).requests, &request);
	assert_int_equal(world_violations(w), 5);
	for (int i = 0; i < 3; i++)
		host_complete(w, 0, question.id, NVSP_STATUS_SUCCESS);
	assert_int_equal(world_receive(w, 0), 0);
	assert_int_equal(world_violations(w), 8);
	assert_null(netvsc_take_ended(&w->channels[0]).requests);
	assert_int_equal(netvsc_in_flight(&w->channels[0]), 0);
}

static void an_answer_of_nvsp_to_a_frame_frees_it(void **state)
{
	struct world *w = *state;
	struct netvsc_request request;
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 9000);
	struct nvsp_message message = { .type = NVSP_SUB_CHANNEL,
					.sub_channel_complete = { NVSP_STATUS_SUCCESS, 3 } };
	struct question question;
	struct netvsc_ended ended;

	world_become_ready(w);
	assert_false(world_send(w, &packet, &request));
	question = host_take(w, 0);
	host_answer(w, 0, question.id, &message);
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_ENDED);
	ended = netvsc_take_ended(&w->channels[0]);
	assert_ptr_equal(ended.requests, &request);
	assert_int_equal(ended.failed, 1);
	assert_int_equal(w->netvsc.sub_channels, 0);
}

static void what_was_copied_ends_with_the_host_where_that_is_waited_for(void **state)
{
	struct world *w = *state;
	struct netvsc_request requests[5], *list;
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 60);
	struct question question;
	struct netvsc_ended ended;

	world_become_ready(w);
	/* A batch, one of which nobody waits for, and a long frame after it. */
	for (int i = 0; i < 4; i++) {
		if (i == 2)
			assert_true(world_send(w, &packet, &requests[i]));
		else
			assert_int_equal(netvsc_send(&w->channels[0], &packet, &requests[i], NULL), 0);
	}
	packet = world_packet(w, &piece, 0, 9000);
	assert_int_equal(netvsc_send(&w->channels[0], &packet, &requests[4], NULL), 0);
	(void)!netvsc_channel_flush(&w->channels[0]);
	assert_null(netvsc_take_ended(&w->channels[0]).requests);
	for (int i = 0; i < 2; i++) {
		question = host_take(w, 0);
		host_complete(w, 0, question.id, NVSP_STATUS_SUCCESS);
	}
	assert_int_equal(world_receive(w, 0), NETVSC_EVENT_ENDED);
	ended = netvsc_take_ended(&w->channels[0]);
	assert_int_equal(ended.frames, 5);
	list = ended.requests;
	for (int i = 0; i < 5; i += 1 + (i == 1), list = list->next)
		assert_ptr_equal(list, &requests[i]);
	assert_null(list);
}

static void closing_gives_all_requests_back(void **state)
{
	struct world *w = *state;
	struct netvsc_request requests[8], *list;
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 9000);
	struct question question;
	uint32_t seen = 0;
	bool done;

	world_become_ready(w);
	for (uint32_t i = 0; i < 6; i++)
		assert_false(world_send(w, &packet, &requests[i]));
	question = host_take(w, 0);
	host_complete(w, 0, question.id, NVSP_STATUS_SUCCESS);
	world_receive(w, 0); /* ended, not taken */
	packet = world_packet(w, &piece, 0, 60);
	/* In batches, the second of which is lost; nobody waits for one of its frames. */
	assert_int_equal(netvsc_send(&w->channels[0], &packet, &requests[6], NULL), 0);
	(void)!netvsc_channel_flush(&w->channels[0]);
	assert_int_equal(netvsc_send(&w->channels[0], &packet, &requests[7], NULL), 0);
	assert_true(world_send(w, &packet, &requests[5]));
	netvsc_channel_stop(&w->channels[0]);
	assert_int_equal(netvsc_send(&w->channels[0], &packet, &requests[5], &done), -LIS_GONE);
	for (list = netvsc_channel_close(&w->channels[0]); list; list = list->next) {
		assert_in_range(list - requests, 0, 7);
		seen |= 1u << (list - requests);
	}
	assert_int_equal(seen, 0xff);
	assert_int_equal(netvsc_send(&w->channels[0], &packet, &requests[5], &done), -LIS_GONE);
}

static void a_broken_ring_is_told_and_takes_nothing(void **state)
{
	struct world *w = *state;
	struct netvsc_request request;
	struct netvsc_piece piece;
	struct netvsc_packet packet = world_packet(w, &piece, 0, 60);
	int err = 0;
	bool done;

	world_become_ready(w);
	w->wires[0].to_host_memory.control->out = 12345;
	for (int i = 0; i < 300 && !err; i++) {
		err = netvsc_send(&w->channels[0], &packet, &request, &done);
		(void)!netvsc_channel_flush(&w->channels[0]);
		for (uint32_t word = 0; word < w->netvsc.section_words; word++)
			w->netvsc.section_bits[word] = 0;
		if (err == -LIS_AGAIN) /* the table */
			break;
	}
	assert_true(world_receive(w, 0) & NETVSC_EVENT_BROKEN || err == -LIS_AGAIN);
	w->channels[0].to_host->broken = true;
	assert_int_equal(netvsc_keep_alive(&w->netvsc, 0), -LIS_CORRUPT);
	assert_int_equal(netvsc_send(&w->channels[0], &packet, &request, &done), -LIS_CORRUPT);
	assert_true(world_receive(w, 0) & NETVSC_EVENT_BROKEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
		TEST(without_a_section_short_frames_stay_where_they_are),
		TEST(sections_of_a_closed_channel_are_the_others),
		TEST(without_a_head_a_section_serves),
		TEST(a_short_frame_in_a_section_alone_needs_no_range),
		TEST(a_full_table_says_again_and_then_room),
		TEST(a_full_ring_says_again_and_then_room),
		TEST(a_send_that_finds_no_room_takes_nothing),
		TEST(a_batch_that_finds_no_room_goes_later),
		TEST(an_answer_of_failure_frees_all_the_same),
		TEST(a_request_ends_once_whatever_the_host_answers),
		TEST(an_answer_of_nvsp_to_a_frame_frees_it),
		TEST(what_was_copied_ends_with_the_host_where_that_is_waited_for),
		TEST(closing_gives_all_requests_back),
		TEST(a_broken_ring_is_told_and_takes_nothing),
#undef TEST
	};

	return cmocka_run_group_tests_name("loopback/netvsc_flight", tests, NULL, NULL);
}
