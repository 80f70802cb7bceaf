/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What happens when there is no room: the guest keeps its buffers, does not read its ring, or both.
 * Nothing is lost, nothing comes twice, everything goes on when there is room again.
 */
#include "network/netvsp_private.h"
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

/* ---- one channel of several ---- */

#define PATIENCE_NS 1000000000u
#define SUBS_OUT_MAX 128u

/* Flows are spread over two. */
static struct world *two_channels(void **state, uint32_t ring_pages)
{
	const struct world_config config = {
		.ring_pages = ring_pages, .channels_max = 2, .simulated = true,
	};
	struct world *world = world_again(state, &config);

	world_ready(world, FILTER_ALL);
	world_channels(world, 1);
	assert_int_equal(world_set_rss(world, NDIS_HASH_UDP_IPV4, 0, 0, 2), 0);
	return world;
}

/* Frames of a flow that @channel gets. */
static void queue_for(struct world *world, uint32_t channel, uint32_t count)
{
	struct net_test_frame frame = { .ip_version = 4, .protocol = NET_TEST_UDP, .payload_bytes = 20 };
	struct net_test_layout layout;
	uint8_t data[128];
	uint32_t hash;

	do {
		frame.source_port++;
		layout = net_test_build(&frame, data);
		/* Addresses and ports lie side by side. */
		hash = net_test_toeplitz(world_key, data + layout.ip_offset + 12, 12);
	} while (world_channel_of(hash, 0, 2) != channel);
	for (uint32_t i = 0; i < count; i++)
		memory_port_queue(&world->port, data, layout.bytes, NULL);
}

static void count_frames(struct world *world, uint32_t came[2])
{
	came[0] = came[1] = 0;
	while (world->guest.frames) {
		struct netvsp_guest_frame *frame = netvsp_guest_take_frame(&world->guest);

		came[frame->channel]++;
		free(frame);
	}
}

/* A guest that has more than it can use drops it, after all the work: the port keeps it, or drops it early. */
static void a_guest_has_no_more_frames_than_its_sockets_hold(void **state)
{
	struct world *world = *state;
	struct netvsp_guest *guest = &world->guest;
	uint32_t next = 0;

	world_ready(world, FILTER_ALL);
	guest->keep = true;
	for (uint32_t i = 0; i < 1000; i++)
		world_queue_numbered(world, i, 60);
	world_settle(world);
	world_take_numbered(world, &next, 1000);
	assert_int_equal(next, SUBS_OUT_MAX);
	while (guest->held_count) {
		netvsp_guest_give_back(guest, 1);
		world_settle(world);
		world_take_numbered(world, &next, 1000);
	}
	assert_int_equal(next, 1000);
	assert_int_equal(netvsp_status(world->netvsp).starved, 0);
}

/* The guest keeps frames of one channel, or does not read it at all: others wait for a while, then go. */
static void a_channel_that_is_left_alone_stops_no_other(void **state)
{
	struct world *world = two_channels(state, 0);
	struct netvsp_guest *guest = &world->guest;
	uint32_t came[2];

	queue_for(world, 0, 1);
	queue_for(world, 1, 1);
	world_settle(world);
	count_frames(world, came);
	assert_true(came[0] == 1 && came[1] == 1);

	guest->keep_channels = 1u << 1;
	guest->keep = true;
	queue_for(world, 1, SUBS_OUT_MAX + 36);
	queue_for(world, 0, 10);
	world_settle(world);
	count_frames(world, came);
	assert_true(came[0] == 0 && came[1] == SUBS_OUT_MAX);
	world->now_ns += PATIENCE_NS - 1;
	world_settle(world);
	assert_int_equal(world->port.waiting.count, 46);
	assert_int_equal(netvsp_status(world->netvsp).unread_dropped, 0);

	world->now_ns += 1;
	world_settle(world);
	count_frames(world, came);
	assert_true(came[0] == 10 && came[1] == 0);
	assert_int_equal(netvsp_status(world->netvsp).unread_dropped, 36);
	queue_for(world, 0, 200);
	queue_for(world, 1, 3);
	world_settle(world);
	count_frames(world, came);
	assert_true(came[0] == 200 && came[1] == 0);
	assert_int_equal(netvsp_status(world->netvsp).unread_dropped, 39);

	/* It goes on, and has all that comes from now on. */
	guest->keep = false;
	netvsp_guest_give_back(guest, UINT32_MAX);
	world_settle(world);
	queue_for(world, 1, 500);
	world_settle(world);
	count_frames(world, came);
	assert_int_equal(came[1], 500);
	assert_int_equal(netvsp_status(world->netvsp).unread_dropped, 39);
}

/* A slow one is waited for each time anew; nothing of it is lost. */
static void a_slow_channel_loses_nothing(void **state)
{
	struct world *world = two_channels(state, 0);
	struct netvsp_guest *guest = &world->guest;
	uint32_t came[2], total = 0;

	guest->keep_channels = 1u << 1;
	guest->keep = true;
	queue_for(world, 1, 1000);
	for (uint32_t round = 0; round < 1000 && total < 1000; round++) {
		world->now_ns += PATIENCE_NS - 1;
		world_settle(world);
		count_frames(world, came);
		total += came[1];
		netvsp_guest_give_back(guest, 1);
	}
	assert_int_equal(total, 1000);
	assert_int_equal(netvsp_status(world->netvsp).unread_dropped, 0);
}

/* A guest that is stopped for a while loses nothing. */
static void where_all_channels_are_full_all_frames_wait(void **state)
{
	struct world *world = two_channels(state, 0);
	struct netvsp_guest *guest = &world->guest;
	uint32_t came[2];

	guest->keep = true;
	queue_for(world, 1, 40);
	queue_for(world, 0, 40);
	queue_for(world, 1, SUBS_OUT_MAX - 41);
	queue_for(world, 0, SUBS_OUT_MAX - 41);
	queue_for(world, 1, 1);
	queue_for(world, 0, 1);
	world_settle(world);
	world->now_ns += PATIENCE_NS;
	queue_for(world, 0, 10);
	queue_for(world, 1, 64);
	world_settle(world);
	count_frames(world, came);
	assert_true(came[0] == SUBS_OUT_MAX && came[1] == SUBS_OUT_MAX);
	for (uint32_t i = 0; i < 3; i++) {
		world->now_ns += PATIENCE_NS;
		world_settle(world);
	}
	assert_int_equal(world->port.waiting.count, 74);
	guest->keep = false;
	netvsp_guest_give_back(guest, UINT32_MAX);
	world_settle(world);
	count_frames(world, came);
	assert_true(came[0] == 10 && came[1] == 64);
	assert_int_equal(netvsp_status(world->netvsp).unread_dropped, 0);
}

/* ---- one CPU for host and guest ---- */

#define REST_TIMES 2u
#define REST_NS_MAX 100000000u
#define REST_LOOKS 8u

static bool guest_is_asleep;

static bool is_asleep(const struct partition *partition)
{
	return guest_is_asleep;
}

/* A guest that has as many frames as it gets at once, and keeps them all; further ones wait. */
static struct world *flooded(void **state, bool shares_cpu, uint8_t protocol)
{
	static struct partition_ops ops;
	const struct world_config config = { .guest_shares_cpu = shares_cpu, .simulated = true };
	struct world *world = world_again(state, &config);
	const struct net_test_frame frame = { .ip_version = 4, .protocol = protocol, .payload_bytes = 20 };
	uint8_t data[128];
	struct net_test_layout layout = net_test_build(&frame, data);

	ops = *world->partition->ops;
	ops.is_asleep = is_asleep;
	world->partition->ops = &ops;
	guest_is_asleep = false;
	world_ready(world, FILTER_ALL);
	world->guest.keep = true;
	for (uint32_t i = 0; i < 4 * SUBS_OUT_MAX; i++)
		memory_port_queue(&world->port, data, layout.bytes, NULL);
	world->guest.packets_total = 0;
	world_settle(world);
	assert_int_equal(world->guest.frames_total, SUBS_OUT_MAX);
	return world;
}

/* The next frames come in so many nanoseconds, and not before. */
static void come_after(struct world *world, uint64_t ns)
{
	uint64_t before = world->guest.frames_total;

	world_settle(world);
	if (ns) {
		world->now_ns += ns - 1;
		world_settle(world);
		assert_int_equal(world->guest.frames_total, before);
		world->now_ns += 1;
		world_settle(world);
	}
	assert_int_equal(world->guest.frames_total, before + SUBS_OUT_MAX);
}

static void a_guest_with_our_cpu_has_time_to_read_datagrams(void **state)
{
	struct world *world = flooded(state, true, NET_TEST_UDP);
	struct netvsp_guest *guest = &world->guest;

	/* It gives them back as one. */
	assert_int_equal(guest->packets_total, 1);
	world->now_ns += 8000;
	netvsp_guest_give_back(guest, 1);
	come_after(world, REST_TIMES * 8000);
	/* Each time anew; one that was away for long may need no longer. */
	world->now_ns += 10000000000u;
	netvsp_guest_give_back(guest, UINT32_MAX);
	come_after(world, REST_NS_MAX);
	/* One that sleeps has read all; the loop looks now and then. */
	world->now_ns += 8000;
	netvsp_guest_give_back(guest, UINT32_MAX);
	world_settle(world);
	assert_int_equal(world->netvsp->patience_timer.due_ns, world->now_ns + REST_TIMES * 8000 / REST_LOOKS);
	guest_is_asleep = true;
	come_after(world, 0);
}

static void a_guest_that_sleeps_or_has_its_own_cpu_gets_all_at_once(void **state)
{
	for (int own_cpu = 0; own_cpu < 2; own_cpu++) {
		struct world *world = flooded(state, !own_cpu, NET_TEST_UDP);

		guest_is_asleep = !own_cpu;
		world->now_ns += 8000;
		netvsp_guest_give_back(&world->guest, UINT32_MAX);
		come_after(world, 0);
	}
}

static void tcp_needs_no_rest(void **state)
{
	struct world *world = flooded(state, true, NET_TEST_TCP);

	world->now_ns += 8000;
	netvsp_guest_give_back(&world->guest, UINT32_MAX);
	come_after(world, 0);
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
		TEST(a_guest_has_no_more_frames_than_its_sockets_hold),
		TEST(a_channel_that_is_left_alone_stops_no_other),
		TEST(a_slow_channel_loses_nothing),
		TEST(where_all_channels_are_full_all_frames_wait),
		TEST(a_guest_with_our_cpu_has_time_to_read_datagrams),
		TEST(a_guest_that_sleeps_or_has_its_own_cpu_gets_all_at_once),
		TEST(tcp_needs_no_rest),
		TEST(a_link_change_is_told_when_there_is_room),
		TEST(a_link_change_that_went_with_the_buffer_is_told_in_the_next),
	};

	return cmocka_run_group_tests_name("netvsp_flow", tests, NULL, NULL);
}
