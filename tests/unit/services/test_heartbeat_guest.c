/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* The guest end of the heartbeat, against a scripted host and against ours. */
#include "services/heartbeat_guest.h"
#include "services/heartbeat_host.h"
#include "tests/unit/services/guest_world.h"
#include "tests/unit/services/service_world.h"

#define LIST(...) (const struct ic_version[]){ __VA_ARGS__, { 0, 0 } }

struct fixture {
	struct guest_world *world;
	struct heartbeat_guest heartbeat;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	*state = f;
	f->world = guest_world_create();
	heartbeat_guest_init(&f->heartbeat, &f->world->to_host, &f->world->from_host);
	host_offers(f->world, LIST({ 1, 0 }, { 3, 0 }), LIST({ 1, 0 }, { 3, 0 }));
	assert_int_equal(heartbeat_guest_receive(&f->heartbeat) & ~IC_GUEST_EVENT_SIGNAL,
			 IC_GUEST_EVENT_READY);
	host_takes(f->world, IC_NEGOTIATE, IC_STATUS_OK);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	guest_world_destroy(f->world);
	free(f);
	return 0;
}

static void the_next_number_comes_back(void **state)
{
	static const uint64_t numbers[] = { 0, 1, 41, UINT64_MAX };
	struct fixture *f = *state;

	for (size_t i = 0; i < 4; i++) {
		struct heartbeat_message message = { .sequence = numbers[i],
						     .application_state = 77 };
		struct guest_answer answer;

		host_sends(f->world, IC_HEARTBEAT, &message, sizeof(message));
		assert_int_equal(heartbeat_guest_receive(&f->heartbeat), IC_GUEST_EVENT_SIGNAL);
		answer = host_takes(f->world, IC_HEARTBEAT, IC_STATUS_OK);
		assert_int_equal(answer.header.bytes, sizeof(message));
		memcpy(&message, answer.message, sizeof(message));
		assert_true(message.sequence == numbers[i] + 1);
		assert_int_equal(message.application_state, HEARTBEAT_APPLICATION_UNKNOWN);
	}
}

static void a_short_message_gets_its_number_only(void **state)
{
	struct fixture *f = *state;

	for (uint32_t bytes = 0; bytes <= 16; bytes++) {
		struct heartbeat_message message = { .sequence = 9 };
		struct guest_answer answer;
		uint64_t sequence;

		heartbeat_guest_set_application(&f->heartbeat, HEARTBEAT_APPLICATION_HEALTHY);
		host_sends(f->world, IC_HEARTBEAT, &message, bytes);
		(void)!heartbeat_guest_receive(&f->heartbeat);
		answer = host_takes(f->world, IC_HEARTBEAT,
				    bytes < 8 ? IC_STATUS_FAIL : IC_STATUS_OK);
		assert_int_equal(answer.header.bytes, bytes);
		memcpy(&sequence, answer.message, 8);
		assert_int_equal(sequence, bytes < 1 ? 0 : bytes < 8 ? 9 : 10);
		assert_int_equal(answer.message[8], bytes < 12 ? 0 : HEARTBEAT_APPLICATION_HEALTHY);
	}
	assert_int_equal(f->heartbeat.ic.counters.violations, 8);
}

static void our_host_finds_the_guest_alive(void **state)
{
	static struct service_world world;
	struct heartbeat_guest *guest = malloc(sizeof(*guest));
	struct heartbeat_host *host;
	struct heartbeat_status status;

	world_init(&world);
	assert_int_equal(heartbeat_host_create(world.host, world.loop, &host), 0);
	guest_opens(&world, HEARTBEAT_INSTANCE_ID);
	heartbeat_guest_init(guest, &world.channel.to_host, &world.channel.from_host);
	heartbeat_guest_set_application(guest, HEARTBEAT_APPLICATION_CRITICAL);
	for (int i = 0; i < 100; i++) {
		world_pass_ms(&world, 100);
		if (heartbeat_guest_receive(guest) & IC_GUEST_EVENT_SIGNAL)
			mini_signal(&world.channel);
		world_settle(&world);
	}
	heartbeat_host_status(host, &status);
	assert_int_equal(status.state, HEARTBEAT_OK);
	assert_int_equal(status.application, HEARTBEAT_APPLICATION_CRITICAL);
	assert_in_range(status.answered, 4, 6);
	assert_int_equal(status.lost, 0);
	assert_true(ic_guest_version_is(&guest->ic, 3, 0));
	assert_int_equal(guest->ic.counters.violations, 0);
	guest_closes(&world);
	heartbeat_host_destroy(host, NULL);
	world_fini(&world);
	free(guest);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(the_next_number_comes_back),
		TEST(a_short_message_gets_its_number_only),
		cmocka_unit_test(our_host_finds_the_guest_alive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
