/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What happens when there is no room: the guest keeps its buffers, does not read its ring, or both.
 * Nothing is lost, nothing comes twice, everything goes on when there is room again.
 */
#include "tests/loopback/netvsp_world.h"

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* A frame that has its number in it. */
static void queue_numbered(struct world *world, uint32_t number, uint32_t bytes)
{
	uint8_t data[1514];

	memset(data, (int)number, bytes);
	memcpy(data, world_mac, sizeof(world_mac));
	memcpy(data + 14, &number, sizeof(number));
	memory_port_queue(&world->port, data, bytes, NULL);
}

/* All of @first..@end - 1 came, each channel's in order; @channels: how many there are. */
static void take_numbered(struct world *world, uint32_t *next, uint32_t end)
{
	while (world->guest.frames) {
		struct netvsp_guest_frame *came = netvsp_guest_take_frame(&world->guest);
		uint32_t number;

		memcpy(&number, came->data + 14, sizeof(number));
		assert_int_equal(number, *next);
		assert_true(number < end);
		for (uint32_t i = 18; i < came->bytes; i++)
			assert_int_equal(came->data[i], (uint8_t)number);
		++*next;
		free(came);
	}
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
		queue_numbered(world, i, 60 + i);
	world_settle(world);
	take_numbered(world, &next, 200);
	assert_true(next <= guest->sub_count);
	assert_int_equal(world->port.waiting.count, 200 - next);
	assert_true(netvsp_status(world->netvsp).starved > 0);
	while (guest->held_count) {
		netvsp_guest_give_back(guest, 1);
		world_settle(world);
		take_numbered(world, &next, 200);
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
		queue_numbered(world, i, 60);
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
		queue_numbered(world, i, 60);
	world_settle(world);
	assert_int_equal(media_status(world), RNDIS_MEDIA_CONNECTED);
	guest->keep = false;
	netvsp_guest_give_back(guest, UINT32_MAX);
	world_settle(world);
	take_numbered(world, &next, 200);
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
		queue_numbered(world, i, 60);
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
	take_numbered(world, &next, 200);
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

/* Have the host run as long as it likes, without the guest's taking anything. */
static void host_runs(struct world *world)
{
	for (int i = 0; i < 20; i++)
		world->guest.mini.pump(world->guest.mini.pump_arg);
}

static void a_full_ring_loses_nothing(void **state)
{
	const struct world_config config = { .ring_pages = 2 };
	struct world *world = world_again(state, &config);
	uint32_t next = 0, sent = 0;

	world_ready(world, FILTER_ALL);
	for (uint32_t round = 0; round < 50; round++) {
		for (uint32_t i = 0; i < 40 + round; i++)
			queue_numbered(world, sent++, 60 + i % 1400);
		if (round % 3)
			host_runs(world);
		else
			for (uint32_t i = 0; i < 300; i++) {
				queue_numbered(world, sent++, 60);
				world->guest.mini.pump(world->guest.mini.pump_arg);
			}
		world_settle(world);
		take_numbered(world, &next, sent);
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
			queue_numbered(world, sent++, 60);
			host_runs(world);
		}
		world_settle(world);
		take_numbered(world, &next, sent);
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
			host_runs(world);
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
			queue_numbered(world, sent++, 60);
			host_runs(world);
		}
		query[2] = frames;
		assert_int_equal(netvsp_guest_send_control(guest, 1, query, sizeof(query)), 0);
		host_runs(world);
		world_settle(world);
		take_numbered(world, &next, sent);
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
			host_runs(world);
			if (i % 7 == 0)
				queue_numbered(world, i, 60);
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

/* ---- wake-ups ---- */

/*
 * The guest reads whenever it is interrupted, in the middle of whatever the host does, and some of what
 * is there. When it has read all, and is not asked for a signal, the host may go to sleep for good: it
 * must have nothing more to say.
 */
static struct {
	struct world *world;
	const struct partition_ops *ops;
	uint32_t left;                 /* how many packets it reads at the next interrupt */
} interrupts;

static bool read_some(struct netvsp_guest *guest, uint32_t count, bool give_back)
{
	struct mini_channel *channel = &guest->channels[0];
	uint64_t buffer[512];
	uint32_t bytes;

	while (count-- && !vmbus_ring_read(&channel->from_host, buffer, sizeof(buffer), &bytes)) {
		struct vmbus_packet packet;

		assert_int_equal(vmbus_packet_parse(buffer, bytes, &packet), 0);
		if (packet.type == VMBUS_PACKET_TRANSFER_PAGES && give_back)
			assert_int_equal(netvsp_guest_complete(guest, 0, packet.id), 0);
	}
	return vmbus_ring_reader_publish(&channel->from_host);
}

static void on_interrupt(struct partition *partition, uint32_t vp, uint32_t flag)
{
	uint32_t count = interrupts.left;

	interrupts.left = 0;
	if (count)
		read_some(&interrupts.world->guest, count, true);
	interrupts.ops->set_event_flag(partition, vp, flag);
}

static uint32_t unread(struct netvsp_guest *guest)
{
	return vmbus_ring_reader_ready(&guest->channels[0].from_host);
}

static void a_host_that_waits_has_asked_for_a_signal(void **state)
{
	const struct world_config config = { .ring_pages = 2 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	struct partition_ops ops = *world->partition->ops;
	uint8_t data[60] = { 2, 0, 0, 0, 0, 2 }, message[200];
	struct netvsp_guest_out out = { .data = data, .bytes = sizeof(data) };
	struct netvsp_guest_way way = { .section = 1 };
	uint32_t query[] = { RNDIS_QUERY, 28, 0, OID_GEN_MEDIA_CONNECT_STATUS, 0, 0, 0 };
	uint32_t seed = 1;

	world_ready(world, FILTER_ALL);
	way.section_bytes = netvsp_guest_message(&out, message);
	world->port.forget = true;
	interrupts.world = world;
	interrupts.ops = world->partition->ops;
	ops.set_event_flag = on_interrupt;
	world->partition->ops = &ops;
	for (uint32_t step = 0; step < 20000; step++) {
		bool asked;

		for (uint32_t i = next_random(&seed) % 40; i; i--)
			(void)!netvsp_guest_send(guest, 0, i, message, way.section_bytes, &way);
		for (uint32_t i = next_random(&seed) % 3; i; i--)
			(void)!netvsp_guest_send_control(guest, i, query, sizeof(query));
		for (uint32_t i = next_random(&seed) % 50; i; i--)
			queue_numbered(world, i, 60);
		if (next_random(&seed) % 8 == 0)
			memory_port_set_link(&world->port, next_random(&seed) % 2);
		interrupts.left = next_random(&seed) % 60;
		host_runs(world);
		interrupts.left = 0;
		asked = read_some(guest, UINT32_MAX, true);
		if (!asked) {
			host_runs(world);
			if (unread(guest))
				fail_msg("step %u: more came than the guest was asked for", step);
		}
	}
	world->partition->ops = interrupts.ops;
}

static void read_one(void *arg)
{
	struct world *world = arg;

	world->port.on_flush = NULL;
	read_some(&world->guest, 1, false);
}

/*
 * Room comes after an answer found none, and a waiting packet of frames takes it: the wish for a signal
 * is the answer's, and must not go with the frames.
 */
static void an_answer_that_waits_is_not_forgotten_for_frames(void **state)
{
	const struct world_config config = { .ring_pages = 2 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint8_t data[60] = { 2, 0, 0, 0, 0, 2 }, message[200];
	struct netvsp_guest_out out = { .data = data, .bytes = sizeof(data) };
	struct netvsp_guest_way way = { .section = 1 };

	world_ready(world, FILTER_ALL);
	way.section_bytes = netvsp_guest_message(&out, message);
	/* One after the other, until one finds no room. */
	do {
		queue_numbered(world, 0, 60);
		host_runs(world);
	} while (!guest->channels[0].from_host.control->pending_send_bytes);
	world->port.on_flush = read_one;
	world->port.on_flush_arg = world;
	assert_int_equal(netvsp_guest_send(guest, 0, 1, message, way.section_bytes, &way), 0);
	host_runs(world);
	assert_null(world->port.on_flush);
	while (read_some(guest, UINT32_MAX, false))
		host_runs(world);
	host_runs(world);
	assert_false(unread(guest));
}

/* A ring that stays full is no work: the loop may sleep. */
static void a_full_ring_does_not_keep_the_loop_busy(void **state)
{
	const struct world_config config = { .ring_pages = 2 };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	uint8_t data[60] = { 2, 0, 0, 0, 0, 2 }, message[200];
	struct netvsp_guest_out out = { .data = data, .bytes = sizeof(data) };
	struct netvsp_guest_way way = { .section = 1 };
	uint32_t next = 0;

	world_ready(world, FILTER_ALL);
	way.section_bytes = netvsp_guest_message(&out, message);
	for (uint32_t answers = 0; answers < 2; answers++) {
		uint32_t query[] = { RNDIS_QUERY, 28, 0, OID_GEN_XMIT_OK, 0, 0, 0 };

		for (uint32_t i = 0; i < 100; i++) {
			queue_numbered(world, i, 60);
			host_runs(world);
		}
		if (answers) {
			assert_int_equal(netvsp_guest_send(guest, 0, 1, message, way.section_bytes, &way),
					 0);
			assert_int_equal(netvsp_guest_send_control(guest, 1, query, sizeof(query)), 0);
		}
		netvsp_set_link(world->netvsp, answers);
		host_runs(world);
		for (uint32_t i = 0; i < 20; i++)
			assert_false(io_loop_turn(world->loop, false));
		world_settle(world);
		take_numbered(world, &next, 100);
		next = 0;
	}
}

/* ---- both, at random, on several channels ---- */

static void queue_flow(struct world *world, uint32_t number, uint32_t *seed)
{
	struct net_test_frame frame = {
		.ip_version = 4, .protocol = NET_TEST_UDP, .host = number,
		.source_port = (uint16_t)next_random(seed),
		.payload_bytes = 4 + next_random(seed) % 1400, .seed = number,
	};
	uint8_t data[1600];
	struct net_test_layout layout = net_test_build(&frame, data);

	memory_port_queue(&world->port, data, layout.bytes, NULL);
}

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
			uint32_t what = next_random(&seed) % 8;

			guest->keep = next_random(&seed) % 3;
			for (uint32_t i = next_random(&seed) % 4; i && sent < 4000; i--)
				queue_flow(world, sent++, &seed);
			if (what < 4)
				guest->mini.pump(guest->mini.pump_arg);
			else if (what < 6)
				netvsp_guest_poll(guest);
			else if (what == 6)
				netvsp_guest_give_back(guest, next_random(&seed) % 20);
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
				queue_numbered(world, i, 60);
				if (full)
					host_runs(world);
			}
			if (full)
				host_runs(world);
			else
				world_settle(world);
			for (uint32_t flap = 0; flap < 5; flap++) {
				memory_port_set_link(&world->port, up ^ (flap & 1));
				host_runs(world);
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

/* ---- a port that fails ---- */

static void a_port_that_fails_does_not_keep_the_loop_busy(void **state)
{
	struct world *world = *state;
	uint64_t receives;

	world_ready(world, FILTER_ALL);
	world->port.receive_error = -LIS_IO;
	queue_numbered(world, 0, 60);
	world_settle(world);
	receives = world->port.receives;
	world_settle(world);
	assert_true(world->port.receives - receives < 4);
	world_is_alive(world);
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
		TEST(a_host_that_waits_has_asked_for_a_signal),
		TEST(an_answer_that_waits_is_not_forgotten_for_frames),
		TEST(a_full_ring_does_not_keep_the_loop_busy),
		TEST(whatever_is_short_nothing_is_lost),
		TEST(a_link_change_is_told_when_there_is_room),
		TEST(a_port_that_fails_does_not_keep_the_loop_busy),
	};

	return cmocka_run_group_tests_name("netvsp_flow", tests, NULL, NULL);
}
