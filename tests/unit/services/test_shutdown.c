// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Shutdown requests of every kind, and every way they can end. */
#include "services/shutdown_host.h"
#include "tests/unit/services/service_world.h"

struct shutdown_world {
	struct service_world base;
	struct shutdown_host *shutdown;
	struct shutdown_request request;
	int done_count;
	enum shutdown_result result;
	uint32_t status;
};

static struct shutdown_world *current; /* the request has no room for one */

static void done(struct shutdown_request *request, enum shutdown_result result, uint32_t status)
{
	assert_ptr_equal(request, &current->request);
	current->done_count++;
	current->result = result;
	current->status = status;
}

static int ask(struct shutdown_world *world, enum shutdown_kind kind, bool force)
{
	world->request = (struct shutdown_request){ .kind = kind, .force = force, .done = done };
	return shutdown_host_request(world->shutdown, &world->request);
}

static void setup_without_guest(struct shutdown_world *world)
{
	memset(world, 0, sizeof(*world));
	current = world;
	world_init(&world->base);
	assert_int_equal(shutdown_host_create(world->base.host, world->base.loop,
					      &world->shutdown), 0);
}

static void setup(struct shutdown_world *world, struct ic_version version)
{
	setup_without_guest(world);
	guest_opens(&world->base, SHUTDOWN_INSTANCE_ID);
	guest_negotiates(&world->base, IC_FRAMEWORK_3_0, version);
}

static void teardown(struct shutdown_world *world)
{
	shutdown_host_destroy(world->shutdown, NULL);
	world_fini(&world->base);
}

static struct shutdown_message taken(struct shutdown_world *world, struct ic_packet *packet)
{
	struct shutdown_message message;

	guest_takes(&world->base, IC_SHUTDOWN, packet);
	/* Linux insists on all of it. */
	assert_int_equal(packet->header.bytes, sizeof(message));
	memcpy(&message, packet->message, sizeof(message));
	return message;
}

static void each_kind_has_its_flags_and_the_version_it_needs(void **state)
{
	static const struct ic_version versions[] = { { 1, 0 }, { 3, 0 }, { 3, 1 }, { 3, 2 } };
	static const struct {
		enum shutdown_kind kind;
		uint32_t flags;
		size_t from_version; /* in @versions */
	} kinds[] = {
		{ SHUTDOWN_POWER_OFF, 0, 0 },
		{ SHUTDOWN_REBOOT, 2, 2 },
		{ SHUTDOWN_HIBERNATE_GUEST, 4, 3 },
	};

	for (size_t v = 0; v < 4; v++) {
		for (size_t k = 0; k < 6; k++) {
			bool force = k >= 3, can = v >= kinds[k % 3].from_version;
			struct shutdown_world world;
			struct ic_packet packet;

			setup(&world, versions[v]);
			assert_int_equal(ask(&world, kinds[k % 3].kind, force),
					 can ? 0 : -LIS_UNSUPPORTED);
			if (can) {
				assert_int_equal(taken(&world, &packet).flags,
						 kinds[k % 3].flags | force);
				guest_answers(&world.base, &packet, IC_STATUS_OK, NULL, 0);
				assert_int_equal(world.done_count, 1);
				assert_int_equal(world.result, SHUTDOWN_ACCEPTED);
			}
			guest_has_nothing(&world.base);
			teardown(&world);
		}
	}
}

static void the_status_says_what_the_agreed_version_can_do(void **state)
{
	struct shutdown_status status;
	struct shutdown_world world;

	setup(&world, SHUTDOWN_3_1);
	shutdown_host_status(world.shutdown, &status);
	assert_true(status.reboot_supported);
	assert_false(status.hibernate_supported);
	assert_false(status.pending);
	assert_int_equal(ask(&world, SHUTDOWN_POWER_OFF, false), 0);
	shutdown_host_status(world.shutdown, &status);
	assert_true(status.pending);
	teardown(&world);
}

static void a_refusal_is_told_from_what_the_guest_cannot_do(void **state)
{
	static const struct {
		uint32_t status;
		enum shutdown_result result;
	} answers[] = {
		{ IC_STATUS_FAIL, SHUTDOWN_REFUSED },
		{ IC_STATUS_NOT_SUPPORTED, SHUTDOWN_UNSUPPORTED },
		{ 0x12345678, SHUTDOWN_REFUSED },
	};

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		struct shutdown_world world;
		struct ic_packet packet;

		setup(&world, SHUTDOWN_3_2);
		assert_int_equal(ask(&world, SHUTDOWN_HIBERNATE_GUEST, false), 0);
		taken(&world, &packet);
		guest_answers(&world.base, &packet, answers[i].status, NULL, 0);
		assert_int_equal(world.done_count, 1);
		assert_int_equal(world.result, answers[i].result);
		assert_int_equal(world.status, answers[i].status);
		/* It may be asked again. */
		assert_int_equal(ask(&world, SHUTDOWN_POWER_OFF, false), 0);
		teardown(&world);
	}
}

static void no_answer_is_a_timeout_and_a_late_one_changes_nothing(void **state)
{
	struct ic_packet late, packet;
	struct shutdown_world world;

	setup(&world, SHUTDOWN_3_2);
	assert_int_equal(ask(&world, SHUTDOWN_POWER_OFF, false), 0);
	taken(&world, &late);
	world_pass_ms(&world.base, SHUTDOWN_ANSWER_MS - 100);
	assert_int_equal(world.done_count, 0);
	world_pass_ms(&world.base, 100);
	assert_int_equal(world.done_count, 1);
	assert_int_equal(world.result, SHUTDOWN_TIMED_OUT);
	assert_int_equal(ask(&world, SHUTDOWN_POWER_OFF, false), 0);
	guest_answers(&world.base, &late, IC_STATUS_OK, NULL, 0);
	assert_int_equal(world.done_count, 1);
	taken(&world, &packet);
	guest_answers(&world.base, &packet, IC_STATUS_OK, NULL, 0);
	assert_int_equal(world.done_count, 2);
	assert_int_equal(world.result, SHUTDOWN_ACCEPTED);
	teardown(&world);
}

static void the_caller_may_choose_the_time_for_the_answer(void **state)
{
	struct shutdown_world world;

	setup(&world, SHUTDOWN_3_2);
	world.request = (struct shutdown_request){ .timeout_ms = 500, .done = done };
	assert_int_equal(shutdown_host_request(world.shutdown, &world.request), 0);
	world_pass_ms(&world.base, 500);
	assert_int_equal(world.result, SHUTDOWN_TIMED_OUT);
	assert_int_equal(world.done_count, 1);
	teardown(&world);
}

static void one_request_at_a_time(void **state)
{
	struct shutdown_request second = { .done = done };
	struct shutdown_world world;

	setup(&world, SHUTDOWN_3_2);
	assert_int_equal(ask(&world, SHUTDOWN_POWER_OFF, false), 0);
	assert_int_equal(shutdown_host_request(world.shutdown, &second), -LIS_BUSY);
	assert_int_equal(world.done_count, 0);
	teardown(&world);
	/* It ended with the service. */
	assert_int_equal(world.done_count, 1);
	assert_int_equal(world.result, SHUTDOWN_NO_ANSWER);
}

static void a_guest_without_a_driver_is_not_asked(void **state)
{
	struct shutdown_world world;

	setup_without_guest(&world);
	assert_int_equal(ask(&world, SHUTDOWN_POWER_OFF, false), -LIS_GONE);
	guest_opens(&world.base, SHUTDOWN_INSTANCE_ID);
	assert_int_equal(ask(&world, SHUTDOWN_POWER_OFF, false), -LIS_GONE);
	guest_negotiates(&world.base, IC_FRAMEWORK_3_0, SHUTDOWN_3_2);
	assert_int_equal(ask(&world, SHUTDOWN_POWER_OFF, false), 0);
	teardown(&world);
}

static void a_driver_that_leaves_ends_the_request(void **state)
{
	struct shutdown_world world;

	setup(&world, SHUTDOWN_3_2);
	assert_int_equal(ask(&world, SHUTDOWN_POWER_OFF, false), 0);
	guest_closes(&world.base);
	assert_int_equal(world.done_count, 1);
	assert_int_equal(world.result, SHUTDOWN_NO_ANSWER);
	world_pass_ms(&world.base, 2 * SHUTDOWN_ANSWER_MS);
	assert_int_equal(world.done_count, 1);
	teardown(&world);
}

static void every_result_has_words(void **state)
{
	for (int result = SHUTDOWN_ACCEPTED; result <= SHUTDOWN_NO_ANSWER; result++)
		assert_string_not_equal(shutdown_result_text((enum shutdown_result)result),
					"unknown result");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_has_its_flags_and_the_version_it_needs),
		cmocka_unit_test(the_status_says_what_the_agreed_version_can_do),
		cmocka_unit_test(a_refusal_is_told_from_what_the_guest_cannot_do),
		cmocka_unit_test(no_answer_is_a_timeout_and_a_late_one_changes_nothing),
		cmocka_unit_test(the_caller_may_choose_the_time_for_the_answer),
		cmocka_unit_test(one_request_at_a_time),
		cmocka_unit_test(a_guest_without_a_driver_is_not_asked),
		cmocka_unit_test(a_driver_that_leaves_ends_the_request),
		cmocka_unit_test(every_result_has_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
