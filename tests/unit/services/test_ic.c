// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The framing all services share, seen from a guest: with the heartbeat as the service. */
#include "services/heartbeat_host.h"
#include "services/shutdown_host.h"
#include "services/timesync_host.h"
#include "tests/unit/services/service_world.h"

struct ic_world {
	struct service_world base;
	struct heartbeat_host *heartbeat;
};

static void setup(struct ic_world *world)
{
	world_init(&world->base);
	assert_int_equal(heartbeat_host_create(world->base.host, world->base.loop,
					       &world->heartbeat), 0);
}

static void teardown(struct ic_world *world)
{
	heartbeat_host_destroy(world->heartbeat, NULL);
	world_fini(&world->base);
}

static enum ic_host_state state_of(struct ic_world *world)
{
	struct heartbeat_status status;

	world_settle(&world->base);
	heartbeat_host_status(world->heartbeat, &status);
	return status.ic.state;
}

static uint64_t strays_of(struct ic_world *world)
{
	struct heartbeat_status status;

	heartbeat_host_status(world->heartbeat, &status);
	return status.ic.counters.strays;
}

static void a_service_is_offered_as_a_message_pipe(void **state)
{
	struct guid instance_id = HEARTBEAT_INSTANCE_ID, interface_id = HEARTBEAT_INTERFACE_ID;
	struct ic_world world;
	uint32_t mode;

	setup(&world);
	guest_opens(&world.base, instance_id);
	assert_int_equal(guid_compare(&world.base.channel.offer.interface_id, &interface_id), 0);
	assert_true(world.base.channel.offer.flags & VMBUS_OFFER_NAMED_PIPE);
	memcpy(&mode, world.base.channel.offer.user_data, sizeof(mode));
	assert_int_equal(mode, VMBUS_PIPE_MESSAGE);
	teardown(&world);
}

static void the_host_speaks_first_and_offers_all_its_versions(void **state)
{
	static const struct ic_version all[] = { { 1, 0 }, { 3, 0 }, { 1, 0 }, { 3, 0 } };
	struct ic_negotiate head;
	struct ic_packet packet;
	struct ic_world world;

	setup(&world);
	assert_int_equal(state_of(&world), IC_HOST_CLOSED);
	guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
	guest_takes(&world.base, IC_NEGOTIATE, &packet);
	memcpy(&head, packet.message, sizeof(head));
	assert_int_equal(head.framework_count, 2);
	assert_int_equal(head.message_count, 2);
	assert_int_equal(packet.header.bytes, sizeof(head) + sizeof(all));
	assert_memory_equal(packet.message + sizeof(head), all, sizeof(all));
	guest_has_nothing(&world.base);
	assert_int_equal(state_of(&world), IC_HOST_NEGOTIATING);
	teardown(&world);
}

static void each_version_that_was_offered_can_be_agreed(void **state)
{
	static const struct ic_version versions[] = { { 1, 0 }, { 3, 0 } };

	for (unsigned i = 0; i < 4; i++) {
		struct heartbeat_status status;
		struct ic_packet packet;
		struct ic_world world;

		setup(&world);
		guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
		guest_negotiates(&world.base, versions[i & 1], versions[i >> 1]);
		heartbeat_host_status(world.heartbeat, &status);
		assert_int_equal(status.ic.state, IC_HOST_READY);
		assert_int_equal(ic_version_compare(status.ic.framework, versions[i & 1]), 0);
		assert_int_equal(ic_version_compare(status.ic.version, versions[i >> 1]), 0);
		/* From now on messages carry what was agreed. */
		guest_takes(&world.base, IC_HEARTBEAT, &packet);
		assert_int_equal(ic_version_compare(packet.header.framework, versions[i & 1]), 0);
		assert_int_equal(ic_version_compare(packet.header.message_version, versions[i >> 1]),
				 0);
		teardown(&world);
	}
}

static void of_several_answers_the_best_is_taken(void **state)
{
	struct {
		struct ic_negotiate head;
		struct ic_version versions[4];
	} answer = { { 2, 2, 0 }, { { 3, 0 }, { 1, 0 }, { 1, 0 }, { 3, 0 } } };
	struct heartbeat_status status;
	struct ic_packet packet;
	struct ic_world world;

	setup(&world);
	guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
	guest_takes(&world.base, IC_NEGOTIATE, &packet);
	guest_answers(&world.base, &packet, IC_STATUS_OK, &answer, sizeof(answer));
	heartbeat_host_status(world.heartbeat, &status);
	assert_int_equal(ic_version_compare(status.ic.framework, IC_FRAMEWORK_3_0), 0);
	assert_int_equal(ic_version_compare(status.ic.version, HEARTBEAT_3_0), 0);
	teardown(&world);
}

static void a_guest_that_knows_no_version_is_left_alone(void **state)
{
	struct ic_negotiate none = { 0, 0, 0 };
	struct ic_packet packet;
	struct ic_world world;

	setup(&world);
	guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
	guest_takes(&world.base, IC_NEGOTIATE, &packet);
	guest_answers(&world.base, &packet, IC_STATUS_OK, &none, sizeof(none));
	assert_int_equal(state_of(&world), IC_HOST_REFUSED);
	world_pass_ms(&world.base, 10000);
	guest_has_nothing(&world.base);
	assert_int_equal(state_of(&world), IC_HOST_REFUSED);
	teardown(&world);
}

/* Answers to the version offer that no honest guest gives, one field wrong each. */
static const struct {
	const char *what;
	size_t offset, bytes; /* of the field in the packet */
	uint32_t value;
	size_t packet_bytes;  /* 0: as the request */
} wrong_answers[] = {
	{ "no packet body at all", 0, 0, 0, 8 },
	{ "shorter than its headers", 0, 0, 0, 24 },
	{ "pipe type", 0, 4, 2, 0 },
	{ "pipe length of zero", 4, 4, 0, 0 },
	{ "pipe length below the header", 4, 4, 19, 0 },
	{ "pipe length beyond the packet", 4, 4, 1000, 0 },
	{ "pipe length that wraps", 4, 4, 0xfffffff8, 0 },
	{ "message length beyond the pipe's", 8 + 10, 2, 0xffff, 0 },
	{ "message too short for versions", 8 + 10, 2, 4, 0 },
	{ "message that ends within the versions", 8 + 10, 2, 12, 0 },
	{ "a request instead of an answer", 8 + 17, 1, IC_FLAG_TRANSACTION | IC_FLAG_REQUEST, 0 },
	{ "an answer outside a transaction", 8 + 17, 1, IC_FLAG_RESPONSE, 0 },
	{ "too many frameworks", 28, 2, 3, 0 },
	{ "framework count that overflows", 28, 2, 0xffff, 0 },
	{ "too many versions", 30, 2, 0xffff, 0 },
	{ "a framework that was not offered", 36, 2, 2, 0 },
	{ "a version that was not offered", 40, 2, 7, 0 },
};

static void a_malformed_answer_costs_the_channel_and_nothing_else(void **state)
{
	for (size_t i = 0; i < sizeof(wrong_answers) / sizeof(wrong_answers[0]); i++) {
		uint8_t payload[64] = { 0 };
		struct ic_negotiate head = { 1, 1, 0 };
		struct ic_version versions[2] = { { 3, 0 }, { 3, 0 } };
		struct ic_packet packet;
		struct ic_world world;

		setup(&world);
		guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
		guest_takes(&world.base, IC_NEGOTIATE, &packet);
		packet.header.flags = IC_FLAG_TRANSACTION | IC_FLAG_RESPONSE;
		packet.header.bytes = 16;
		memcpy(payload, &packet.pipe, 8);
		memcpy(payload + 8, &packet.header, 20);
		memcpy(payload + 28, &head, 8);
		memcpy(payload + 36, versions, 8);
		memcpy(payload + wrong_answers[i].offset, &wrong_answers[i].value,
		       wrong_answers[i].bytes);
		guest_sends(&world.base, payload,
			    wrong_answers[i].packet_bytes ? wrong_answers[i].packet_bytes :
							    packet.payload_bytes);
		if (state_of(&world) != IC_HOST_CLOSED)
			fail_msg("survived: %s", wrong_answers[i].what);
		/* The driver comes back, and all is well. */
		guest_closes(&world.base);
		guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
		guest_negotiates(&world.base, IC_FRAMEWORK_3_0, HEARTBEAT_3_0);
		assert_int_equal(state_of(&world), IC_HOST_READY);
		teardown(&world);
	}
}

static void more_versions_than_were_offered_cost_the_channel_though_they_fit_the_packet(void **state)
{
	static const struct ic_negotiate heads[] = { { 3, 1, 0 }, { 1, 3, 0 }, { 200, 1, 0 },
						     { 1, 200, 0 } };

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		struct {
			struct ic_negotiate head;
			struct ic_version versions[201];
		} answer = { .head = heads[i] };
		struct ic_packet packet;
		struct ic_world world;

		for (size_t v = 0; v < 201; v++)
			answer.versions[v] = (struct ic_version){ 3, 0 };
		setup(&world);
		guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
		guest_takes(&world.base, IC_NEGOTIATE, &packet);
		packet.header.bytes = sizeof(answer);
		packet.pipe.bytes = sizeof(packet.header) + sizeof(answer);
		packet.payload_bytes = sizeof(packet.pipe) + packet.pipe.bytes;
		guest_answers(&world.base, &packet, IC_STATUS_OK, &answer, sizeof(answer));
		assert_int_equal(state_of(&world), IC_HOST_CLOSED);
		teardown(&world);
	}
}

static void a_packet_that_is_not_in_band_costs_the_channel(void **state)
{
	struct vmbus_piece piece = { "12345678", 8 };
	struct vmbus_packet_out packet = vmbus_packet_completion(1, &piece, 1);
	struct ic_world world;

	setup(&world);
	guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
	assert_int_equal(vmbus_ring_write(&world.base.channel.to_host, &packet), 0);
	if (vmbus_ring_writer_publish(&world.base.channel.to_host))
		mini_signal(&world.base.channel);
	assert_int_equal(state_of(&world), IC_HOST_CLOSED);
	teardown(&world);
}

static void an_answer_to_nothing_in_flight_is_dropped(void **state)
{
	struct heartbeat_message beat = { 0 };
	struct ic_packet packet, stray;
	struct ic_world world;

	setup(&world);
	guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
	guest_negotiates(&world.base, IC_FRAMEWORK_3_0, HEARTBEAT_3_0);
	guest_takes(&world.base, IC_HEARTBEAT, &packet);
	stray = packet;
	stray.header.transaction_id ^= 0x55;
	guest_answers(&world.base, &stray, IC_STATUS_OK, NULL, 0);
	stray = packet;
	stray.header.type = IC_SHUTDOWN;
	guest_answers(&world.base, &stray, IC_STATUS_OK, NULL, 0);
	assert_int_equal(strays_of(&world), 2);
	assert_int_equal(state_of(&world), IC_HOST_READY);
	/* The right one still counts; a second copy of it does not. */
	memcpy(&beat, packet.message, sizeof(beat));
	beat.sequence++;
	guest_answers(&world.base, &packet, IC_STATUS_OK, &beat, sizeof(beat));
	guest_answers(&world.base, &packet, IC_STATUS_OK, &beat, sizeof(beat));
	assert_int_equal(strays_of(&world), 3);
	assert_int_equal(state_of(&world), IC_HOST_READY);
	teardown(&world);
}

static void an_answer_before_the_offer_was_made_is_dropped(void **state)
{
	struct ic_packet packet = { .payload_bytes = 64 };
	struct ic_world world;

	setup(&world);
	guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
	guest_takes(&world.base, IC_NEGOTIATE, &packet);
	packet.header.transaction_id++;
	guest_answers(&world.base, &packet, IC_STATUS_OK, NULL, 0);
	assert_int_equal(state_of(&world), IC_HOST_NEGOTIATING);
	assert_int_equal(strays_of(&world), 1);
	teardown(&world);
}

static void transaction_ids_differ_from_one_request_to_the_next(void **state)
{
	struct ic_packet first, second;
	struct heartbeat_message beat;
	struct ic_world world;

	setup(&world);
	guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
	guest_negotiates(&world.base, IC_FRAMEWORK_3_0, HEARTBEAT_3_0);
	guest_takes(&world.base, IC_HEARTBEAT, &first);
	memcpy(&beat, first.message, sizeof(beat));
	beat.sequence++;
	guest_answers(&world.base, &first, IC_STATUS_OK, &beat, sizeof(beat));
	world_pass_ms(&world.base, 2000);
	guest_takes(&world.base, IC_HEARTBEAT, &second);
	assert_int_not_equal(first.header.transaction_id, second.header.transaction_id);
	teardown(&world);
}

static void a_flood_of_strays_does_not_keep_the_loop_from_ending(void **state)
{
	struct ic_packet packet;
	struct ic_world world;

	setup(&world);
	guest_opens(&world.base, HEARTBEAT_INSTANCE_ID);
	guest_takes(&world.base, IC_NEGOTIATE, &packet);
	packet.header.transaction_id ^= 0x80;
	for (int i = 0; i < 1000; i++)
		guest_answers(&world.base, &packet, IC_STATUS_OK, NULL, 0);
	assert_int_equal(strays_of(&world), 1000);
	teardown(&world);
}

static void every_service_can_be_offered_twice_in_a_row(void **state)
{
	struct service_world world;

	world_init(&world);
	for (int i = 0; i < 2; i++) {
		struct heartbeat_host *heartbeat;
		struct shutdown_host *shutdown;

		assert_int_equal(heartbeat_host_create(world.host, world.loop, &heartbeat), 0);
		assert_int_equal(shutdown_host_create(world.host, world.loop, &shutdown), 0);
		heartbeat_host_destroy(heartbeat, NULL);
		shutdown_host_destroy(shutdown, NULL);
		world_settle(&world);
	}
	world_fini(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_service_is_offered_as_a_message_pipe),
		cmocka_unit_test(the_host_speaks_first_and_offers_all_its_versions),
		cmocka_unit_test(each_version_that_was_offered_can_be_agreed),
		cmocka_unit_test(of_several_answers_the_best_is_taken),
		cmocka_unit_test(a_guest_that_knows_no_version_is_left_alone),
		cmocka_unit_test(a_malformed_answer_costs_the_channel_and_nothing_else),
		cmocka_unit_test(
			more_versions_than_were_offered_cost_the_channel_though_they_fit_the_packet),
		cmocka_unit_test(a_packet_that_is_not_in_band_costs_the_channel),
		cmocka_unit_test(an_answer_to_nothing_in_flight_is_dropped),
		cmocka_unit_test(an_answer_before_the_offer_was_made_is_dropped),
		cmocka_unit_test(transaction_ids_differ_from_one_request_to_the_next),
		cmocka_unit_test(a_flood_of_strays_does_not_keep_the_loop_from_ending),
		cmocka_unit_test(every_service_can_be_offered_twice_in_a_row),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
