/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * How much a guest gets at once, and how long it is waited for: no more than its sockets hold, one channel of several
 * that is left alone, and the time that a guest needs where it has one CPU with us.
 */
#include "network/netvsp_private.h"
#include "tests/loopback/netvsp_world.h"

#define SUBS_OUT_MAX 128u

/* ---- one channel of several ---- */

#define PATIENCE_NS 1000000000u

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

static bool is_asleep(struct partition *partition)
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_guest_has_no_more_frames_than_its_sockets_hold),
		TEST(a_channel_that_is_left_alone_stops_no_other),
		TEST(a_slow_channel_loses_nothing),
		TEST(where_all_channels_are_full_all_frames_wait),
		TEST(a_guest_with_our_cpu_has_time_to_read_datagrams),
		TEST(a_guest_that_sleeps_or_has_its_own_cpu_gets_all_at_once),
		TEST(tcp_needs_no_rest),
	};

	return cmocka_run_group_tests_name("netvsp_patience", tests, NULL, NULL);
}
