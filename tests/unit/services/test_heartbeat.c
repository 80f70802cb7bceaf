// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Heartbeats over simulated time. */
#include "services/heartbeat_host.h"
#include "tests/unit/services/service_world.h"

struct heartbeat_world {
	struct service_world base;
	struct heartbeat_host *heartbeat;
};

static struct heartbeat_status status_of(struct heartbeat_world *world)
{
	struct heartbeat_status status;

	heartbeat_host_status(world->heartbeat, &status);
	return status;
}

static void setup(struct heartbeat_world *world, struct ic_version version)
{
	world_init(&world->base);
	assert_int_equal(heartbeat_host_create(world->base.host, world->base.loop,
					       &world->heartbeat), 0);
	assert_int_equal(status_of(world).state, HEARTBEAT_NO_CONTACT);
	guest_opens(&world->base, HEARTBEAT_INSTANCE_ID);
	assert_int_equal(status_of(world).state, HEARTBEAT_NO_CONTACT);
	guest_negotiates(&world->base, IC_FRAMEWORK_3_0, version);
	assert_int_equal(status_of(world).state, HEARTBEAT_OK);
}

static void teardown(struct heartbeat_world *world)
{
	heartbeat_host_destroy(world->heartbeat, NULL);
	world_fini(&world->base);
}

static void answer_beat(struct heartbeat_world *world, const struct ic_packet *packet,
			uint32_t application_state)
{
	struct heartbeat_message beat;

	memcpy(&beat, packet->message, sizeof(beat));
	beat.sequence++;
	beat.application_state = application_state;
	guest_answers(&world->base, packet, IC_STATUS_OK, &beat, sizeof(beat));
}

static void a_beat_comes_every_two_seconds(void **state)
{
	static const struct ic_version versions[] = { { 1, 0 }, { 3, 0 } };

	for (size_t i = 0; i < 2; i++) {
		struct heartbeat_world world;
		struct ic_packet packet;

		setup(&world, versions[i]);
		for (int n = 0; n < 5; n++) {
			guest_takes(&world.base, IC_HEARTBEAT, &packet);
			answer_beat(&world, &packet, 0);
			world_pass_ms(&world.base, 1900);
			guest_has_nothing(&world.base);
			world_pass_ms(&world.base, 100);
		}
		assert_int_equal(status_of(&world).sent, 6);
		assert_int_equal(status_of(&world).answered, 5);
		assert_int_equal(status_of(&world).lost, 0);
		assert_int_equal(status_of(&world).state, HEARTBEAT_OK);
		assert_int_equal(status_of(&world).application, HEARTBEAT_APPLICATION_UNKNOWN);
		teardown(&world);
	}
}

static void numbers_go_up(void **state)
{
	struct heartbeat_world world;
	struct ic_packet packet;
	uint64_t last = 0;

	setup(&world, HEARTBEAT_3_0);
	for (int n = 0; n < 5; n++) {
		uint64_t sequence;

		guest_takes(&world.base, IC_HEARTBEAT, &packet);
		memcpy(&sequence, packet.message, sizeof(sequence));
		assert_true(sequence > last);
		last = sequence;
		answer_beat(&world, &packet, 0);
		world_pass_ms(&world.base, 2000);
	}
	teardown(&world);
}

static void lost_beats_are_counted_and_the_state_says_for_how_long(void **state)
{
	struct heartbeat_world world;
	struct ic_packet packet;

	setup(&world, HEARTBEAT_3_0);
	guest_takes(&world.base, IC_HEARTBEAT, &packet);
	world_pass_ms(&world.base, 1900);
	assert_int_equal(status_of(&world).state, HEARTBEAT_OK);
	world_pass_ms(&world.base, 4200);
	assert_int_equal(status_of(&world).state, HEARTBEAT_LOST);
	assert_int_equal(status_of(&world).lost, 3);
	assert_int_equal(status_of(&world).silent_ms, 6100);
	/* One in flight: nothing more is sent to a guest that does not answer. */
	guest_has_nothing(&world.base);
	answer_beat(&world, &packet, 0);
	assert_int_equal(status_of(&world).state, HEARTBEAT_OK);
	assert_int_equal(status_of(&world).silent_ms, 0);
	assert_int_equal(status_of(&world).lost, 3);
	world_pass_ms(&world.base, 2000);
	guest_takes(&world.base, IC_HEARTBEAT, &packet);
	teardown(&world);
}

static void a_guest_that_dropped_a_beat_is_asked_again(void **state)
{
	struct heartbeat_world world;
	struct ic_packet dropped, packet;

	setup(&world, HEARTBEAT_3_0);
	guest_takes(&world.base, IC_HEARTBEAT, &dropped);
	world_pass_ms(&world.base, 10100);
	assert_int_equal(status_of(&world).lost, 5);
	guest_takes(&world.base, IC_HEARTBEAT, &packet);
	/* The late answer is none, the new one counts. */
	answer_beat(&world, &dropped, 0);
	assert_int_equal(status_of(&world).state, HEARTBEAT_LOST);
	answer_beat(&world, &packet, 0);
	assert_int_equal(status_of(&world).state, HEARTBEAT_OK);
	teardown(&world);
}

static void a_guest_that_never_answers_does_not_fill_its_ring_for_ever(void **state)
{
	struct heartbeat_world world;
	struct ic_packet packet;
	int count = 0;

	setup(&world, HEARTBEAT_3_0);
	world_pass_ms(&world.base, 3600000);
	assert_int_equal(status_of(&world).state, HEARTBEAT_LOST);
	assert_int_equal(status_of(&world).lost, 1800);
	assert_int_equal(status_of(&world).silent_ms, 3600000);
	while (guest_has(&world.base, &packet))
		count++;
	assert_in_range(count, 2, 200);
	/* Now that it reads, it is asked again. */
	world_pass_ms(&world.base, 2000);
	guest_takes(&world.base, IC_HEARTBEAT, &packet);
	answer_beat(&world, &packet, 0);
	assert_int_equal(status_of(&world).state, HEARTBEAT_OK);
	teardown(&world);
}

static void what_the_guest_says_of_its_applications_is_shown(void **state)
{
	struct heartbeat_world world;
	struct ic_packet packet;

	setup(&world, HEARTBEAT_3_0);
	for (uint32_t said = 1; said <= 4; said++) {
		guest_takes(&world.base, IC_HEARTBEAT, &packet);
		answer_beat(&world, &packet, said);
		/* 4 is no state: the last one stands. */
		assert_int_equal(status_of(&world).application, said < 4 ? said : 3);
		world_pass_ms(&world.base, 2000);
	}
	teardown(&world);
}

static void silence_while_paused_is_no_loss(void **state)
{
	struct heartbeat_world world;
	struct ic_packet packet;

	setup(&world, HEARTBEAT_3_0);
	guest_takes(&world.base, IC_HEARTBEAT, &packet);
	heartbeat_host_pause(world.heartbeat);
	assert_int_equal(status_of(&world).state, HEARTBEAT_PAUSED);
	world_pass_ms(&world.base, 60000);
	guest_has_nothing(&world.base);
	heartbeat_host_resume(world.heartbeat);
	assert_int_equal(status_of(&world).state, HEARTBEAT_OK);
	world_pass_ms(&world.base, 1900);
	assert_int_equal(status_of(&world).lost, 0);
	/* The answer to the beat of before the pause is in time; without it this is a loss. */
	world_pass_ms(&world.base, 200);
	assert_int_equal(status_of(&world).lost, 1);
	assert_int_equal(status_of(&world).silent_ms, 2100);
	answer_beat(&world, &packet, 0);
	assert_int_equal(status_of(&world).state, HEARTBEAT_OK);
	teardown(&world);
}

static void a_driver_that_comes_up_during_a_pause_is_served_after_it(void **state)
{
	struct heartbeat_world world;
	struct ic_packet packet;

	world_init(&world.base);
	assert_int_equal(heartbeat_host_create(world.base.host, world.base.loop, &world.heartbeat),
			 0);
	guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
	heartbeat_host_pause(world.heartbeat);
	guest_negotiates(&world.base, IC_FRAMEWORK_3_0, HEARTBEAT_3_0);
	guest_has_nothing(&world.base);
	heartbeat_host_resume(world.heartbeat);
	world_pass_ms(&world.base, 2000);
	guest_takes(&world.base, IC_HEARTBEAT, &packet);
	teardown(&world);
}

static void a_wrong_number_costs_the_channel(void **state)
{
	static const int64_t offsets[] = { 0, 2, -1 };

	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		struct heartbeat_message beat;
		struct heartbeat_world world;
		struct ic_packet packet;

		setup(&world, HEARTBEAT_3_0);
		guest_takes(&world.base, IC_HEARTBEAT, &packet);
		memcpy(&beat, packet.message, sizeof(beat));
		beat.sequence += (uint64_t)offsets[i];
		guest_answers(&world.base, &packet, IC_STATUS_OK, &beat, sizeof(beat));
		assert_int_equal(status_of(&world).ic.state, IC_HOST_CLOSED);
		assert_int_equal(status_of(&world).state, HEARTBEAT_NO_CONTACT);
		teardown(&world);
	}
}

static void an_answer_of_the_number_alone_is_enough(void **state)
{
	struct heartbeat_world world;
	struct ic_packet packet;
	uint64_t sequence;

	setup(&world, HEARTBEAT_3_0);
	guest_takes(&world.base, IC_HEARTBEAT, &packet);
	memcpy(&sequence, packet.message, sizeof(sequence));
	sequence++;
	packet.header.bytes = sizeof(sequence);
	packet.pipe.bytes = sizeof(packet.header) + sizeof(sequence);
	guest_answers(&world.base, &packet, IC_STATUS_OK, &sequence, sizeof(sequence));
	assert_int_equal(status_of(&world).answered, 1);
	assert_int_equal(status_of(&world).state, HEARTBEAT_OK);
	teardown(&world);
}

static void an_answer_without_a_number_costs_the_channel(void **state)
{
	struct heartbeat_world world;
	struct ic_packet packet;

	setup(&world, HEARTBEAT_3_0);
	guest_takes(&world.base, IC_HEARTBEAT, &packet);
	/* Right as far as it goes, but one byte short. */
	packet.message[0]++;
	packet.header.bytes = 7;
	guest_answers(&world.base, &packet, IC_STATUS_OK, NULL, 0);
	assert_int_equal(status_of(&world).ic.state, IC_HOST_CLOSED);
	teardown(&world);
}

static void a_driver_that_is_reloaded_gets_beats_again(void **state)
{
	struct heartbeat_world world;
	struct ic_packet packet;

	setup(&world, HEARTBEAT_3_0);
	world_pass_ms(&world.base, 4100);
	assert_int_equal(status_of(&world).state, HEARTBEAT_LOST);
	guest_closes(&world.base);
	assert_int_equal(status_of(&world).state, HEARTBEAT_NO_CONTACT);
	world_pass_ms(&world.base, 60000);
	assert_int_equal(status_of(&world).lost, 2);
	guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
	guest_negotiates(&world.base, IC_FRAMEWORK_1_0, HEARTBEAT_1_0);
	assert_int_equal(status_of(&world).state, HEARTBEAT_OK);
	guest_takes(&world.base, IC_HEARTBEAT, &packet);
	answer_beat(&world, &packet, 0);
	assert_int_equal(status_of(&world).ic.state, IC_HOST_READY);
	teardown(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_beat_comes_every_two_seconds),
		cmocka_unit_test(numbers_go_up),
		cmocka_unit_test(lost_beats_are_counted_and_the_state_says_for_how_long),
		cmocka_unit_test(a_guest_that_dropped_a_beat_is_asked_again),
		cmocka_unit_test(a_guest_that_never_answers_does_not_fill_its_ring_for_ever),
		cmocka_unit_test(what_the_guest_says_of_its_applications_is_shown),
		cmocka_unit_test(silence_while_paused_is_no_loss),
		cmocka_unit_test(a_driver_that_comes_up_during_a_pause_is_served_after_it),
		cmocka_unit_test(a_wrong_number_costs_the_channel),
		cmocka_unit_test(an_answer_of_the_number_alone_is_enough),
		cmocka_unit_test(an_answer_without_a_number_costs_the_channel),
		cmocka_unit_test(a_driver_that_is_reloaded_gets_beats_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
