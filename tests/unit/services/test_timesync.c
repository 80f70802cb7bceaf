// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Time synchronization: what is sent when, and in which form. */
#include "services/timesync_host.h"
#include "tests/unit/services/service_world.h"

#define UTC_100NS 17000000000000000ull
#define REFERENCE_100NS 123456789ull

struct timesync_world {
	struct service_world base;
	struct timesync_host *timesync;
	uint64_t reference_reads; /* the counter runs while it is read */
};

static uint64_t reference_time(void *clock)
{
	struct timesync_world *world = clock;

	return REFERENCE_100NS + 100 * world->reference_reads++;
}

static uint64_t utc_time(void *clock)
{
	struct timesync_world *world = clock;

	return UTC_100NS + world->base.now_ns / 100;
}

static void setup_without_guest(struct timesync_world *world)
{
	struct timesync_config config = {
		.reference_time_100ns = reference_time,
		.utc_100ns = utc_time,
		.clock = world,
	};

	memset(world, 0, sizeof(*world));
	world_init(&world->base);
	assert_int_equal(timesync_host_create(world->base.host, world->base.loop, &config,
					      &world->timesync), 0);
}

static void setup(struct timesync_world *world, struct ic_version version)
{
	setup_without_guest(world);
	guest_opens(&world->base, TIMESYNC_INSTANCE_ID);
	guest_negotiates(&world->base, IC_FRAMEWORK_3_0, version);
}

static void teardown(struct timesync_world *world)
{
	timesync_host_destroy(world->timesync, NULL);
	world_fini(&world->base);
}

static struct timesync_status status_of(struct timesync_world *world)
{
	struct timesync_status status;

	timesync_host_status(world->timesync, &status);
	return status;
}

/* Takes a message of 4.0 and returns its flags. */
static uint8_t takes_flags(struct timesync_world *world, struct ic_packet *packet)
{
	struct timesync_message_4 message;

	guest_takes(&world->base, IC_TIMESYNC, packet);
	assert_int_equal(packet->header.bytes, sizeof(message));
	memcpy(&message, packet->message, sizeof(message));
	return message.flags;
}

static void answers_ok(struct timesync_world *world, const struct ic_packet *packet)
{
	guest_answers(&world->base, packet, IC_STATUS_OK, NULL, 0);
}

static void the_first_message_sets_the_clock_and_samples_follow(void **state)
{
	struct timesync_world world;
	struct ic_packet packet;

	setup(&world, TIMESYNC_4_0);
	assert_true(status_of(&world).sync_pending);
	assert_true(status_of(&world).since_sync_ms == UINT64_MAX);
	assert_int_equal(takes_flags(&world, &packet), TIMESYNC_SYNC);
	answers_ok(&world, &packet);
	assert_false(status_of(&world).sync_pending);
	for (int i = 0; i < 3; i++) {
		world_pass_ms(&world.base, 4900);
		guest_has_nothing(&world.base);
		world_pass_ms(&world.base, 100);
		assert_int_equal(takes_flags(&world, &packet), TIMESYNC_SAMPLE);
		answers_ok(&world, &packet);
	}
	assert_int_equal(status_of(&world).syncs, 1);
	assert_int_equal(status_of(&world).samples, 3);
	assert_int_equal(status_of(&world).since_sync_ms, 15000);
	teardown(&world);
}

static void version_4_pairs_the_clock_with_the_reference_counter(void **state)
{
	struct timesync_message_4 message;
	struct timesync_world world;
	struct ic_packet packet;

	setup(&world, TIMESYNC_4_0);
	guest_takes(&world.base, IC_TIMESYNC, &packet);
	assert_int_equal(packet.header.bytes, 24);
	memcpy(&message, packet.message, sizeof(message));
	assert_true(message.parent_time_100ns ==
		    116444736000000000ull + UTC_100NS + world.base.now_ns / 100);
	/* Halfway between the reading before the clock's and the one after it. */
	assert_true(message.vm_reference_time_100ns == REFERENCE_100NS + 50);
	assert_int_equal(world.reference_reads, 2);
	assert_int_equal(message.stratum, 0);
	assert_int_equal(message.leap_indicator, 0);
	teardown(&world);
}

static void older_versions_have_the_older_message(void **state)
{
	static const struct ic_version versions[] = { { 1, 0 }, { 3, 0 } };

	for (size_t i = 0; i < 2; i++) {
		struct timesync_message message = { 0 };
		struct timesync_world world;
		struct ic_packet packet;

		setup(&world, versions[i]);
		guest_takes(&world.base, IC_TIMESYNC, &packet);
		assert_int_equal(packet.header.bytes, 28);
		memcpy(&message, packet.message, 28);
		assert_true(message.parent_time_100ns ==
			    116444736000000000ull + UTC_100NS + world.base.now_ns / 100);
		assert_int_equal(message.flags, TIMESYNC_SYNC);
		assert_int_equal(packet.message[24], TIMESYNC_SYNC);
		world.base.now_ns += 3 * MS_NS;
		answers_ok(&world, &packet);
		/* The next one knows how long the first was on its way. */
		world_pass_ms(&world.base, 5000);
		guest_takes(&world.base, IC_TIMESYNC, &packet);
		memcpy(&message, packet.message, 28);
		assert_int_equal(message.flags, TIMESYNC_SAMPLE);
		assert_int_equal(message.round_trip_100ns, 30000);
		teardown(&world);
	}
}

static void after_a_pause_the_clock_is_set_at_once(void **state)
{
	struct timesync_world world;
	struct ic_packet packet;

	setup(&world, TIMESYNC_4_0);
	takes_flags(&world, &packet);
	answers_ok(&world, &packet);
	timesync_host_pause(world.timesync);
	assert_true(status_of(&world).paused);
	world_pass_ms(&world.base, 60000);
	guest_has_nothing(&world.base);
	timesync_host_resume(world.timesync);
	assert_int_equal(takes_flags(&world, &packet), TIMESYNC_SYNC);
	answers_ok(&world, &packet);
	assert_int_equal(status_of(&world).syncs, 2);
	world_pass_ms(&world.base, 5000);
	assert_int_equal(takes_flags(&world, &packet), TIMESYNC_SAMPLE);
	teardown(&world);
}

static void an_order_from_before_the_pause_does_not_do_for_the_resume(void **state)
{
	struct ic_packet old, packet;
	struct timesync_world world;

	setup(&world, TIMESYNC_4_0);
	assert_int_equal(takes_flags(&world, &old), TIMESYNC_SYNC);
	timesync_host_pause(world.timesync);
	world_pass_ms(&world.base, 60000);
	timesync_host_resume(world.timesync);
	guest_has_nothing(&world.base); /* one in flight */
	answers_ok(&world, &old);
	assert_true(status_of(&world).sync_pending);
	assert_int_equal(takes_flags(&world, &packet), TIMESYNC_SYNC);
	answers_ok(&world, &packet);
	assert_false(status_of(&world).sync_pending);
	teardown(&world);
}

static void the_order_follows_even_if_the_guest_dropped_what_was_in_flight(void **state)
{
	struct timesync_world world;
	struct ic_packet packet;

	setup(&world, TIMESYNC_4_0);
	assert_int_equal(takes_flags(&world, &packet), TIMESYNC_SYNC);
	timesync_host_pause(world.timesync);
	timesync_host_resume(world.timesync);
	world_pass_ms(&world.base, 5000);
	assert_int_equal(takes_flags(&world, &packet), TIMESYNC_SYNC);
	assert_int_equal(status_of(&world).unanswered, 1);
	teardown(&world);
}

static void an_order_can_be_asked_for(void **state)
{
	struct timesync_world world;
	struct ic_packet packet;

	setup(&world, TIMESYNC_4_0);
	takes_flags(&world, &packet);
	answers_ok(&world, &packet);
	guest_has_nothing(&world.base);
	timesync_host_sync(world.timesync);
	assert_int_equal(takes_flags(&world, &packet), TIMESYNC_SYNC);
	teardown(&world);
}

static void an_order_asked_for_too_early_waits_for_the_driver(void **state)
{
	struct timesync_world world;
	struct ic_packet packet;

	setup_without_guest(&world);
	timesync_host_sync(world.timesync);
	guest_opens(&world.base, TIMESYNC_INSTANCE_ID);
	timesync_host_sync(world.timesync);
	guest_negotiates(&world.base, IC_FRAMEWORK_3_0, TIMESYNC_4_0);
	assert_int_equal(takes_flags(&world, &packet), TIMESYNC_SYNC);
	teardown(&world);
}

static void an_unanswered_order_is_given_again(void **state)
{
	struct timesync_world world;
	struct ic_packet packet;

	setup(&world, TIMESYNC_4_0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(takes_flags(&world, &packet), TIMESYNC_SYNC);
		world_pass_ms(&world.base, 5000);
	}
	assert_int_equal(status_of(&world).unanswered, 4);
	assert_int_equal(status_of(&world).syncs, 0);
	teardown(&world);
}

static void a_refused_order_is_counted_and_not_repeated(void **state)
{
	struct timesync_world world;
	struct ic_packet packet;

	setup(&world, TIMESYNC_4_0);
	takes_flags(&world, &packet);
	guest_answers(&world.base, &packet, IC_STATUS_FAIL, NULL, 0);
	assert_int_equal(status_of(&world).refused, 1);
	assert_int_equal(status_of(&world).syncs, 0);
	assert_true(status_of(&world).since_sync_ms == UINT64_MAX);
	guest_has_nothing(&world.base);
	world_pass_ms(&world.base, 5000);
	assert_int_equal(takes_flags(&world, &packet), TIMESYNC_SAMPLE);
	teardown(&world);
}

static void a_driver_that_is_reloaded_is_told_the_time_anew(void **state)
{
	struct timesync_world world;
	struct ic_packet packet;

	setup(&world, TIMESYNC_4_0);
	takes_flags(&world, &packet);
	answers_ok(&world, &packet);
	guest_closes(&world.base);
	assert_true(status_of(&world).since_sync_ms == UINT64_MAX);
	world_pass_ms(&world.base, 20000);
	guest_opens(&world.base, TIMESYNC_INSTANCE_ID);
	guest_negotiates(&world.base, IC_FRAMEWORK_3_0, TIMESYNC_4_0);
	assert_int_equal(takes_flags(&world, &packet), TIMESYNC_SYNC);
	teardown(&world);
}

static void a_full_ring_delays_the_order_but_does_not_lose_it(void **state)
{
	struct timesync_world world;
	struct ic_packet packet;
	uint8_t flags = 0;

	setup(&world, TIMESYNC_4_0);
	/* Nobody reads: every period leaves one more in the ring, until it is full. */
	world_pass_ms(&world.base, 1000000);
	while (guest_has(&world.base, &packet))
		;
	world_pass_ms(&world.base, 10000);
	while (guest_has(&world.base, &packet))
		flags = packet.message[16];
	assert_int_equal(flags, TIMESYNC_SYNC);
	answers_ok(&world, &packet);
	teardown(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_message_sets_the_clock_and_samples_follow),
		cmocka_unit_test(version_4_pairs_the_clock_with_the_reference_counter),
		cmocka_unit_test(older_versions_have_the_older_message),
		cmocka_unit_test(after_a_pause_the_clock_is_set_at_once),
		cmocka_unit_test(an_order_from_before_the_pause_does_not_do_for_the_resume),
		cmocka_unit_test(the_order_follows_even_if_the_guest_dropped_what_was_in_flight),
		cmocka_unit_test(an_order_can_be_asked_for),
		cmocka_unit_test(an_order_asked_for_too_early_waits_for_the_driver),
		cmocka_unit_test(an_unanswered_order_is_given_again),
		cmocka_unit_test(a_refused_order_is_counted_and_not_repeated),
		cmocka_unit_test(a_driver_that_is_reloaded_is_told_the_time_anew),
		cmocka_unit_test(a_full_ring_delays_the_order_but_does_not_lose_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
