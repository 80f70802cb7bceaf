/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What happens when there is no room: the guest keeps its buffers, does not read its ring, or both.
 * Nothing is lost, nothing comes twice, everything goes on when there is room again.
 */
#include "tests/loopback/netvsp_world.h"

static void queue_flow(struct world *world, uint32_t number, uint32_t *seed)
{
	struct net_test_frame frame = {
		.ip_version = 4, .protocol = NET_TEST_UDP, .host = number,
		.source_port = (uint16_t)world_random(seed),
		.payload_bytes = 4 + world_random(seed) % 1400, .seed = number,
	};
	uint8_t data[1600];
	struct net_test_layout layout = net_test_build(&frame, data);

	memory_port_queue(&world->port, data, layout.bytes, NULL);
}

static uint32_t media_status(struct world *world)
{
	uint32_t value = 99, bytes = sizeof(value);

	assert_int_equal(netvsp_guest_query(&world->guest, OID_GEN_MEDIA_CONNECT_STATUS, &value, &bytes),
			 RNDIS_STATUS_SUCCESS);
	return value;
}

/* ---- the guest keeps its buffers ---- */

static void a_guest_that_keeps_its_buffers_gets_the_rest_later(void **state)
{
	const struct world_config config = { .receive_pages = 16 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint32_t next = 0;

	world_ready(world, FILTER_ALL);
	guest->keep = true;
	for (uint32_t i = 0; i < 200; i++)
		world_queue_numbered(world, i, 60 + i);
	world_settle(world);
	world_take_numbered(world, &next, 200);
	assert_true(next <= guest->sub_count);
	assert_int_equal(world->port.waiting.count, 200 - next);
	assert_true(netvsp_status(world->netvsp).starved > 0);
	while (guest->held_count) {
		netvsp_guest_give_back(guest, 1);
		world_settle(world);
		world_take_numbered(world, &next, 200);
	}
	assert_int_equal(next, 200);
	assert_int_equal(world->port.waiting.count, 0);
}

/* It waits for as long as it takes; that is counted once. */
static void starving_is_counted_once_for_each_time(void **state)
{
	const struct world_config config = { .receive_pages = 16 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint64_t before;

	world_ready(world, FILTER_ALL);
	guest->keep = true;
	for (uint32_t i = 0; i < 64; i++)
		world_queue_numbered(world, i, 60);
	world_settle(world);
	before = netvsp_status(world->netvsp).starved;
	assert_int_equal(before, 1);
	world_settle(world);
	world_settle(world);
	assert_int_equal(netvsp_status(world->netvsp).starved, 1);
	netvsp_guest_give_back(guest, 1);
	world_settle(world);
	assert_int_equal(netvsp_status(world->netvsp).starved, 2);
}

/* Questions are answered though every sub-allocation is taken by frames. */
static void a_starving_guest_still_gets_answers(void **state)
{
	const struct world_config config = { .receive_pages = 16 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint32_t next = 0;

	world_ready(world, FILTER_ALL);
	guest->keep = true;
	for (uint32_t i = 0; i < 200; i++)
		world_queue_numbered(world, i, 60);
	world_settle(world);
	assert_int_equal(media_status(world), RNDIS_MEDIA_CONNECTED);
	guest->keep = false;
	netvsp_guest_give_back(guest, UINT32_MAX);
	world_settle(world);
	world_take_numbered(world, &next, 200);
	assert_int_equal(next, 200);
}

/*
 * The guest holds every sub-allocation there is, answers included, and asks once more: what it gives
 * back comes behind the question in the same ring, and has to be seen.
 */
static void a_question_does_not_hide_what_is_given_back_behind_it(void **state)
{
	const struct world_config config = { .receive_pages = 16 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint32_t query[] = { RNDIS_QUERY, 28, 0, OID_GEN_MEDIA_CONNECT_STATUS, 0, 0, 0 };
	uint32_t next = 0;

	world_ready(world, FILTER_ALL);
	guest->keep = true;
	for (uint32_t i = 0; i < 200; i++)
		world_queue_numbered(world, i, 60);
	for (uint32_t i = 0; i < 100; i++) {
		query[2] = i;
		assert_int_equal(netvsp_guest_send_control(guest, i, query, sizeof(query)), 0);
		world_settle(world);
	}
	/* As many as there was room for are answered, the others refused: the guest is told. */
	for (uint32_t i = 0; i < 100; i++) {
		struct netvsp_guest_completion completion;

		assert_int_equal(netvsp_guest_wait(guest, 0, i, &completion), 0);
		assert_true(completion.message.rndis_packet_complete.status == NVSP_STATUS_SUCCESS ||
			    completion.message.rndis_packet_complete.status == NVSP_STATUS_BUSY);
	}
	guest->keep = false;
	netvsp_guest_give_back(guest, UINT32_MAX);
	world_settle(world);
	world_take_numbered(world, &next, 200);
	assert_int_equal(next, 200);
	while (guest->controls)
		free(netvsp_guest_take_control(guest));
	assert_int_equal(media_status(world), RNDIS_MEDIA_CONNECTED);
}

/* Room for an answer of the primary channel comes from a sub-channel. */
static void an_answer_goes_when_another_channel_gives_back(void **state)
{
	const struct world_config config = { .receive_pages = 1, .channels_max = 2 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	struct net_test_frame frame = { .ip_version = 4, .protocol = NET_TEST_UDP };
	uint32_t query[] = { RNDIS_QUERY, 28, 7, OID_GEN_MEDIA_CONNECT_STATUS, 0, 0, 0 };
	uint8_t data[100];
	struct net_test_layout layout = net_test_build(&frame, data);

	world_ready(world, FILTER_ALL);
	world_channels(world, 1);
	assert_int_equal(world_set_rss(world, NDIS_HASH_IPV4, 0, 1, 1), 0);
	world_settle(world);
	guest->keep = true;
	guest->forget = true;
	for (int i = 0; i < 10; i++)
		memory_port_queue(&world->port, data, layout.bytes, NULL);
	world_settle(world);
	assert_true(guest->held_count > 0);
	assert_int_equal(guest->held[0].channel, 1);
	/* The first answer has the one sub-allocation that frames left, and it is kept, too. */
	for (uint64_t id = 1; id <= 2; id++)
		assert_int_equal(netvsp_guest_send_control(guest, id, query, sizeof(query)), 0);
	world_settle(world);
	free(netvsp_guest_take_control(guest));
	assert_null(guest->controls);
	assert_int_equal(guest->held_count, 2);
	netvsp_guest_give_back(guest, 1);
	world_settle(world);
	assert_non_null(guest->controls);
}

/* ---- the ring is full ---- */

static void a_full_ring_loses_nothing(void **state)
{
	const struct world_config config = { .ring_pages = 2 };
	struct world *world = world_again(state, &config);
	uint32_t next = 0, sent = 0;

	world_ready(world, FILTER_ALL);
	for (uint32_t round = 0; round < 50; round++) {
		for (uint32_t i = 0; i < 40 + round; i++)
			world_queue_numbered(world, sent++, 60 + i % 1400);
		if (round % 3)
			world_runs(world);
		else
			for (uint32_t i = 0; i < 300; i++) {
				world_queue_numbered(world, sent++, 60);
				world->guest.mini.pump(world->guest.mini.pump_arg);
			}
		world_settle(world);
		world_take_numbered(world, &next, sent);
		assert_int_equal(next, sent);
	}
}

/* One frame for each packet, so that the ring is full before the frames are at their end. */
static void the_last_frames_of_a_full_ring_come_by_themselves(void **state)
{
	const struct world_config config = { .ring_pages = 2 };
	struct world *world = world_again(state, &config);
	uint32_t next = 0, sent = 0;

	world_ready(world, FILTER_ALL);
	for (uint32_t round = 0; round < 100; round++) {
		/* Nothing waits in the port when the guest begins to read. */
		for (uint32_t i = 0; i < 50 + round; i++) {
			world_queue_numbered(world, sent++, 60);
			world_runs(world);
		}
		world_settle(world);
		world_take_numbered(world, &next, sent);
		assert_int_equal(next, sent);
		assert_int_equal(world->port.waiting.count, 0);
	}
}

static void answers_come_through_a_full_ring(void **state)
{
	const struct world_config config = { .ring_pages = 2 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint32_t query[] = { RNDIS_QUERY, 28, 0, OID_GEN_MEDIA_CONNECT_STATUS, 0, 0, 0 };

	world_ready(world, FILTER_ALL);
	for (uint32_t round = 0; round < 20; round++) {
		uint32_t answers = 0;

		for (uint32_t i = 0; i < 30; i++) {
			query[2] = i;
			assert_int_equal(netvsp_guest_send_control(guest, i, query, sizeof(query)), 0);
			world_runs(world);
		}
		world_settle(world);
		for (uint32_t i = 0; i < 30; i++) {
			struct netvsp_guest_completion completion;

			assert_int_equal(netvsp_guest_wait(guest, 0, i, &completion), 0);
			assert_int_equal(completion.message.rndis_packet_complete.status,
					 NVSP_STATUS_SUCCESS);
		}
		while (guest->controls) {
			struct netvsp_guest_control *control = netvsp_guest_take_control(guest);

			assert_int_equal(((const uint32_t *)(const void *)control->message)[2], answers);
			answers++;
			free(control);
		}
		assert_int_equal(answers, 30);
	}
}

/* The ring gets full of frames first, and the answer is the last thing in it. */
static void an_answer_behind_the_last_frame_comes_by_itself(void **state)
{
	const struct world_config config = { .ring_pages = 2 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint32_t query[] = { RNDIS_QUERY, 28, 0, OID_GEN_MEDIA_CONNECT_STATUS, 0, 0, 0 };
	uint32_t next = 0, sent = 0;

	world_ready(world, FILTER_ALL);
	for (uint32_t frames = 30; frames < 70; frames++) {
		struct netvsp_guest_completion completion;

		for (uint32_t i = 0; i < frames; i++) {
			world_queue_numbered(world, sent++, 60);
			world_runs(world);
		}
		query[2] = frames;
		assert_int_equal(netvsp_guest_send_control(guest, 1, query, sizeof(query)), 0);
		world_runs(world);
		world_settle(world);
		world_take_numbered(world, &next, sent);
		assert_int_equal(next, sent);
		assert_int_equal(netvsp_guest_wait(guest, 0, 1, &completion), 0);
		assert_non_null(guest->controls);
		free(netvsp_guest_take_control(guest));
	}
}

static void what_the_guest_sends_is_answered_through_a_full_ring(void **state)
{
	const struct world_config config = { .ring_pages = 2 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint8_t data[60] = { 2, 0, 0, 0, 0, 2 }, message[200];
	struct netvsp_guest_out out = { .data = data, .bytes = sizeof(data) };
	struct netvsp_guest_way way = { .section = 1 };

	world_ready(world, FILTER_ALL);
	way.section_bytes = netvsp_guest_message(&out, message);
	world->port.forget = true;
	for (uint32_t round = 0; round < 20; round++) {
		uint32_t sent = 0;

		for (uint32_t i = 0; i < 300; i++) {
			int err = netvsp_guest_send(guest, 0, sent, message, way.section_bytes, &way);

			if (!err)
				sent++;
			else
				assert_int_equal(err, -LIS_FULL);
			world_runs(world);
			if (i % 7 == 0)
				world_queue_numbered(world, i, 60);
		}
		assert_true(sent > 50);
		world_settle(world);
		for (uint32_t i = 0; i < sent; i++) {
			struct netvsp_guest_completion completion;

			assert_int_equal(netvsp_guest_wait(guest, 0, i, &completion), 0);
			assert_int_equal(completion.message.rndis_packet_complete.status,
					 NVSP_STATUS_SUCCESS);
		}
		assert_null(guest->completions);
		netvsp_guest_drop(guest);
		guest->frame_count = 0;
	}
}

/* Whatever waits when the guest closes, or takes its buffer away, is nobody's. */
static void what_waits_goes_with_the_channel_and_the_buffer(void **state)
{
	const struct world_config config = { .ring_pages = 2, .receive_pages = 32, .channels_max = 2 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint32_t query[] = { RNDIS_QUERY, 28, 0, OID_GEN_XMIT_OK, 0, 0, 0 }, next, sent = 0;

	for (uint32_t round = 0; round < 6; round++) {
		world_ready(world, FILTER_ALL);
		world_channels(world, 1);
		for (uint32_t i = 0; i < 60; i++) {
			world_queue_numbered(world, sent++, 60);
			world_runs(world);
		}
		for (uint32_t i = 0; i < 10; i++) {
			assert_int_equal(netvsp_guest_send_control(guest, i, query, sizeof(query)), 0);
			world_runs(world);
		}
		if (round % 2) {
			assert_int_equal(netvsp_guest_revoke(guest, true), 0);
			world_runs(world);
		}
		netvsp_guest_close(guest, round % 3 ? 0 : 1);
		world_runs(world);
		netvsp_guest_close(guest, round % 3 ? 1 : 0);
		world_runs(world);
		netvsp_guest_forget_held(guest);
	}
	world_ready(world, FILTER_ALL);
	assert_null(guest->controls);
	assert_int_equal(media_status(world), RNDIS_MEDIA_CONNECTED);
	netvsp_guest_drop(guest);
	guest->frame_count = 0;
	next = sent;
	world_queue_numbered(world, sent++, 60);
	world_settle(world);
	world_take_numbered(world, &next, sent);
	assert_int_equal(next, sent);
}

/* A sub-channel is closed with frames that found no room in its ring: their sub-allocations are free. */
static void frames_that_wait_for_a_closed_channel_take_no_room(void **state)
{
	const struct world_config config = { .ring_pages = 2, .receive_pages = 32, .channels_max = 2 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint32_t seed = 1;

	world_ready(world, FILTER_ALL);
	world_channels(world, 1);
	assert_int_equal(world_set_rss(world, NDIS_HASH_UDP_IPV4, 0, 1, 1), 0);
	for (uint32_t i = 0; i < 60; i++) {
		queue_flow(world, i, &seed);
		world_runs(world);
	}
	assert_true(world->port.waiting.count > 0);
	netvsp_guest_close(guest, 1);
	guest->keep = guest->forget = true;
	for (uint32_t i = 0; i < 200; i++)
		queue_flow(world, i, &seed);
	world_settle(world);
	assert_int_equal(guest->frames_total, guest->sub_count - 1);
}

static uint32_t room_to_guest(struct netvsp_guest *guest)
{
	struct vmbus_ring_status status;

	vmbus_ring_status(guest->channels[0].from_host.control, HV_PAGE_BYTES, &status);
	return status.data_bytes - status.used_bytes - VMBUS_RING_GAP_BYTES;
}

/* Packets of one channel to the front of the list, so that they go back first. Returns their number. */
static uint32_t bring_forward(struct netvsp_guest *guest, uint32_t channel)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < guest->held_count; i++) {
		struct netvsp_guest_held held = guest->held[i];

		if (held.channel != channel)
			continue;
		guest->held[i] = guest->held[count];
		guest->held[count++] = held;
	}
	return count;
}

/*
 * An answer waits for a sub-allocation, gets one by way of another channel, and then finds no room in its
 * ring: frames that wait, too, must not go into its packet.
 */
static void an_answer_shares_no_packet_with_frames(void **state)
{
	const struct world_config config = { .ring_pages = 2, .receive_pages = 4, .channels_max = 2 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint32_t query[] = { RNDIS_QUERY, 28, 0, OID_GEN_XMIT_OK, 0, 0, 0 }, seed = 3, count;
	uint8_t data[60] = { 2, 0, 0, 0, 0, 2 }, message[200];
	struct netvsp_guest_out out = { .data = data, .bytes = sizeof(data) };
	struct netvsp_guest_way way = { .section = 1 };

	world_ready(world, FILTER_ALL);
	world_channels(world, 1);
	assert_int_equal(world_set_rss(world, NDIS_HASH_UDP_IPV4, 0, 0, 2), 0);
	way.section_bytes = netvsp_guest_message(&out, message);
	world->port.forget = guest->keep = guest->forget = true;
	for (uint32_t i = 0; i < 7; i++) {
		queue_flow(world, i, &seed);
		world_settle(world);
	}
	assert_int_equal(guest->held_count, 7);
	for (uint64_t id = 1; id <= 2; id++)
		assert_int_equal(netvsp_guest_send_control(guest, id, query, sizeof(query)), 0);
	world_settle(world);
	for (uint32_t i = 0; i < 10; i++)
		world_queue_numbered(world, i, 60);
	while (room_to_guest(guest) >= 80) {
		assert_int_equal(netvsp_guest_send(guest, 0, 1, message, way.section_bytes, &way), 0);
		world_runs(world);
	}
	count = bring_forward(guest, 1);
	assert_true(count >= 3);
	netvsp_guest_give_back(guest, count);
	world_runs(world);
	guest->keep = false;
	netvsp_guest_give_back(guest, UINT32_MAX);
	world_settle(world);
	assert_int_equal(world->port.waiting.count, 0);
}

/* ---- both, at random, on several channels ---- */

static void check_flows(struct world *world, bool *seen, uint32_t end)
{
	while (world->guest.frames) {
		struct netvsp_guest_frame *came = netvsp_guest_take_frame(&world->guest);
		uint32_t number = (uint32_t)came->data[27] << 16 | (uint32_t)came->data[28] << 8 |
				  came->data[29];

		assert_null(net_test_check(came->data, came->bytes));
		assert_true(number < end && !seen[number]);
		seen[number] = true;
		free(came);
	}
}

static void whatever_is_short_nothing_is_lost(void **state)
{
	for (uint32_t run = 0; run < 12; run++) {
		const struct world_config config = {
			.ring_pages = 2 + run % 3, .receive_pages = 1 + run * 3, .channels_max = 5,
			.simulated = true, /* nobody is out of patience */
		};
		struct world *world = world_again(state, &config);
		struct netvsp_guest *guest = &world->guest;
		uint32_t seed = run, sent = 0, lost = 0;
		bool *seen = calloc(4000, sizeof(*seen));

		assert_non_null(seen);
		world_ready(world, FILTER_ALL);
		world_channels(world, run % 5);
		assert_int_equal(world_set_rss(world, NDIS_HASH_UDP_IPV4, 0, 0, 1 + run % 5), 0);
		for (uint32_t step = 0; step < 1500; step++) {
			uint32_t what = world_random(&seed) % 8;

			guest->keep = world_random(&seed) % 3;
			for (uint32_t i = world_random(&seed) % 4; i && sent < 4000; i--)
				queue_flow(world, sent++, &seed);
			if (what < 4)
				guest->mini.pump(guest->mini.pump_arg);
			else if (what < 6)
				netvsp_guest_poll(guest);
			else if (what == 6)
				netvsp_guest_give_back(guest, world_random(&seed) % 20);
			else if (step % 50 == 0)
				world_settle(world);
		}
		guest->keep = false;
		while (guest->held_count) {
			netvsp_guest_give_back(guest, UINT32_MAX);
			world_settle(world);
		}
		world_settle(world);
		check_flows(world, seen, sent);
		for (uint32_t i = 0; i < sent; i++)
			lost += !seen[i];
		free(seen);
		assert_int_equal(lost, 0);
		assert_int_equal(world->port.waiting.count, 0);
		assert_int_equal(media_status(world), RNDIS_MEDIA_CONNECTED);
	}
}

/* ---- link changes without room ---- */

static uint32_t last_indication(struct world *world)
{
	uint32_t status = 0;

	while (world->guest.indications)
		status = netvsp_guest_take_indication(&world->guest);
	return status;
}

static void a_link_change_is_told_when_there_is_room(void **state)
{
	for (uint32_t full = 0; full < 2; full++) {
		const struct world_config config = { .ring_pages = 2, .receive_pages = 2 + 30 * full };
		struct world *world = world_again(state, &config);
		struct netvsp_guest *guest = &world->guest;

		world_ready(world, FILTER_ALL);
		guest->keep = true;
		guest->forget = true;
		for (uint32_t round = 0; round < 10; round++) {
			bool up = round % 2;

			for (uint32_t i = 0; i < 60; i++) {
				world_queue_numbered(world, i, 60);
				if (full)
					world_runs(world);
			}
			if (full)
				world_runs(world);
			else
				world_settle(world);
			for (uint32_t flap = 0; flap < 5; flap++) {
				memory_port_set_link(&world->port, up ^ (flap & 1));
				world_runs(world);
			}
			while (guest->held_count || world->port.waiting.count) {
				netvsp_guest_give_back(guest, UINT32_MAX);
				world_settle(world);
			}
			assert_int_equal(last_indication(world), up ? RNDIS_STATUS_MEDIA_CONNECT :
							      RNDIS_STATUS_MEDIA_DISCONNECT);
		}
	}
}

/* It waits for room, and the buffer goes before there is any. */
static void a_link_change_that_went_with_the_buffer_is_told_in_the_next(void **state)
{
	const struct world_config config = { .receive_pages = 2 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;

	world_ready(world, FILTER_ALL);
	for (uint32_t round = 0; round < 4; round++) {
		guest->keep = guest->forget = true;
		for (uint32_t i = 0; i < 60; i++)
			world_queue_numbered(world, i, 60);
		world_settle(world);
		/* The one sub-allocation that is left for answers, too. */
		for (uint32_t i = 0; i < guest->sub_count; i++) {
			memory_port_set_link(&world->port, i & 1);
			world_settle(world);
		}
		netvsp_guest_drop(guest);
		memory_port_set_link(&world->port, round % 2);
		netvsp_set_speed(world->netvsp, 100 * (round + 1));
		world_settle(world);
		assert_int_equal(last_indication(world), 0);
		assert_int_equal(netvsp_guest_revoke(guest, true), 0);
		world_settle(world);
		netvsp_guest_forget_held(guest);
		guest->keep = false;
		assert_int_equal(netvsp_guest_share(guest, &guest->receive, 0, guest->receive.bytes), 0);
		assert_int_equal(netvsp_guest_give_receive(guest, guest->receive.gpadl_id), 0);
		world_settle(world);
		assert_int_equal(netvsp_guest_take_indication(guest), RNDIS_STATUS_LINK_SPEED_CHANGE);
		assert_int_equal(guest->indicated, round + 1);
		assert_int_equal(last_indication(world), round % 2 ? RNDIS_STATUS_MEDIA_CONNECT :
							     RNDIS_STATUS_MEDIA_DISCONNECT);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_guest_that_keeps_its_buffers_gets_the_rest_later),
		TEST(starving_is_counted_once_for_each_time),
		TEST(a_starving_guest_still_gets_answers),
		TEST(a_question_does_not_hide_what_is_given_back_behind_it),
		TEST(an_answer_goes_when_another_channel_gives_back),
		TEST(a_full_ring_loses_nothing),
		TEST(the_last_frames_of_a_full_ring_come_by_themselves),
		TEST(answers_come_through_a_full_ring),
		TEST(an_answer_behind_the_last_frame_comes_by_itself),
		TEST(what_the_guest_sends_is_answered_through_a_full_ring),
		TEST(what_waits_goes_with_the_channel_and_the_buffer),
		TEST(frames_that_wait_for_a_closed_channel_take_no_room),
		TEST(an_answer_shares_no_packet_with_frames),
		TEST(whatever_is_short_nothing_is_lost),
		TEST(a_link_change_is_told_when_there_is_room),
		TEST(a_link_change_that_went_with_the_buffer_is_told_in_the_next),
	};

	return cmocka_run_group_tests_name("netvsp_flow", tests, NULL, NULL);
}
