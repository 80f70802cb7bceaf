/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The network VSP sleeps when there is nothing to do, and never when there is something. */
#include "tests/loopback/netvsp_world.h"

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

		for (uint32_t i = world_random(&seed) % 40; i; i--)
			(void)!netvsp_guest_send(guest, 0, i, message, way.section_bytes, &way);
		for (uint32_t i = world_random(&seed) % 3; i; i--)
			(void)!netvsp_guest_send_control(guest, i, query, sizeof(query));
		for (uint32_t i = world_random(&seed) % 50; i; i--)
			world_queue_numbered(world, i, 60);
		if (world_random(&seed) % 8 == 0)
			memory_port_set_link(&world->port, world_random(&seed) % 2);
		interrupts.left = world_random(&seed) % 60;
		world_runs(world);
		interrupts.left = 0;
		asked = read_some(guest, UINT32_MAX, true);
		if (!asked) {
			world_runs(world);
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
		world_queue_numbered(world, 0, 60);
		world_runs(world);
	} while (!guest->channels[0].from_host.control->pending_send_bytes);
	world->port.on_flush = read_one;
	world->port.on_flush_arg = world;
	assert_int_equal(netvsp_guest_send(guest, 0, 1, message, way.section_bytes, &way), 0);
	world_runs(world);
	assert_null(world->port.on_flush);
	while (read_some(guest, UINT32_MAX, false))
		world_runs(world);
	world_runs(world);
	assert_false(unread(guest));
}

static uint32_t wakes;

static void count_wake(struct partition *partition, uint32_t vp, uint32_t flag)
{
	wakes++;
}

/* Sends a frame. Returns how often the guest is woken for that; it sleeps on. */
static uint32_t wakes_of_frame(struct world *world, const struct netvsp_guest_way *way)
{
	uint8_t data[60] = { 2, 0, 0, 0, 0, 2 }, message[200];
	struct netvsp_guest_out out = { .data = data, .bytes = sizeof(data) };
	uint32_t before = wakes, bytes = netvsp_guest_message(&out, message);
	struct netvsp_guest_way all = *way;

	all.section_bytes = way->section == NVSP_SECTION_NONE ? 0 : bytes;
	assert_int_equal(netvsp_guest_send(&world->guest, 0, 1, message, bytes, &all), 0);
	world_runs(world);
	assert_true(unread(&world->guest));
	return wakes - before;
}

/* To the guest it is of no use to know at once that what it copied is sent. */
static void what_was_sent_wakes_the_guest_with_something_else_or_later(void **state)
{
	const struct world_config config = { .simulated = true };
	struct world *world = world_again(state, &config);
	struct netvsp_guest *guest = &world->guest;
	struct partition_ops ops = *world->partition->ops;
	const struct netvsp_guest_way copied = { .section = 1 }, shared = { .section = NVSP_SECTION_NONE, .ranges = 2 };
	uint32_t query[] = { RNDIS_QUERY, 28, 0, OID_GEN_XMIT_OK, 0, 0, 0 };

	world_ready(world, FILTER_ALL);
	world_runs(world);
	interrupts.ops = world->partition->ops;
	ops.set_event_flag = count_wake;
	world->partition->ops = &ops;
	wakes = 0;

	/* Later. */
	assert_int_equal(wakes_of_frame(world, &copied), 0);
	world->now_ns += 1999999;
	world_runs(world);
	assert_int_equal(wakes, 0);
	world->now_ns++;
	world_runs(world);
	assert_int_equal(wakes, 1);
	read_some(guest, UINT32_MAX, true);
	/* With a frame, or with an answer. */
	assert_int_equal(wakes_of_frame(world, &copied), 0);
	world_queue_numbered(world, 0, 60);
	world_runs(world);
	assert_int_equal(wakes, 2);
	read_some(guest, UINT32_MAX, true);
	world_runs(world);
	assert_int_equal(wakes_of_frame(world, &copied), 0);
	assert_int_equal(netvsp_guest_send_control(guest, 1, query, sizeof(query)), 0);
	world_runs(world);
	assert_int_equal(wakes, 3);
	read_some(guest, UINT32_MAX, true);
	world_runs(world);
	/* When there are too many. */
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(wakes_of_frame(world, &copied), 0);
	assert_int_equal(wakes_of_frame(world, &copied), 1);
	read_some(guest, UINT32_MAX, true);
	/* At once, where the guest has not copied it. */
	assert_int_equal(wakes_of_frame(world, &shared), 1);
	read_some(guest, UINT32_MAX, true);
	world->now_ns += 1000000000;
	world_runs(world);
	assert_int_equal(wakes, 5);
	assert_int_equal(wakes_of_frame(world, &copied), 0);
	world->partition->ops = interrupts.ops;
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
			world_queue_numbered(world, i, 60);
			world_runs(world);
		}
		if (answers) {
			assert_int_equal(netvsp_guest_send(guest, 0, 1, message, way.section_bytes, &way),
					 0);
			assert_int_equal(netvsp_guest_send_control(guest, 1, query, sizeof(query)), 0);
		}
		netvsp_set_link(world->netvsp, answers);
		world_runs(world);
		for (uint32_t i = 0; i < 20; i++)
			assert_false(io_loop_turn(world->loop, false));
		world_settle(world);
		world_take_numbered(world, &next, 100);
		next = 0;
	}
}

static void a_port_that_fails_does_not_keep_the_loop_busy(void **state)
{
	struct world *world = *state;
	uint64_t receives;

	world_ready(world, FILTER_ALL);
	world->port.receive_error = -LIS_IO;
	world_queue_numbered(world, 0, 60);
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
		TEST(a_host_that_waits_has_asked_for_a_signal),
		TEST(an_answer_that_waits_is_not_forgotten_for_frames),
		TEST(what_was_sent_wakes_the_guest_with_something_else_or_later),
		TEST(a_full_ring_does_not_keep_the_loop_busy),
		TEST(a_port_that_fails_does_not_keep_the_loop_busy),
	};

	return cmocka_run_group_tests_name("netvsp wake", tests, NULL, NULL);
}
