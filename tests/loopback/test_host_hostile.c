// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The bus on the host with a guest that breaks its rings, floods or does not listen, with a device that fails, and
 * with a process that has nothing left. Most tests run twice: all loops turned by the test's own thread, and each
 * loop on a thread of its own.
 */
#include "tests/loopback/host_rig.h"

#include <sys/resource.h>

static void do_nothing(void *arg)
{
	struct rig_job *job = arg;

	job->done.fn(&job->done);
}

static void a_broken_ring_costs_its_channel_only(bool threads)
{
	struct mini_channel channel, other;
	struct rig rig;

	rig_up(&rig, threads);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	rig_open(&rig, &rig_instance_b, &other);
	for (int round = 0; round < 4; round++) {
		rig_open(&rig, &rig_instance_a, &channel);
		assert_int_equal(rig_plain_echo(&channel, 1), 0);
		if (round % 2) { /* an index outside the ring */
			os_write_once(channel.to_host.control->in, 0x7fffff00);
			mini_signal(&channel);
		} else { /* the device's own complaint */
			uint8_t payload[8] = { ECHO_BREAK };

			assert_int_equal(mini_send(&channel, 1, payload, 8), 0);
		}
		rig_eventually(&rig, rig_a_has_closed);
		assert_int_equal(rig_plain_echo(&other, 1), 0);
		assert_int_equal(mini_close(&channel), 0);
	}
	rig_down(&rig);
}
BOTH_WAYS(a_broken_ring_costs_its_channel_only)

static void a_device_that_breaks_or_fails_in_open_leaves_nothing_behind(bool threads)
{
	struct mini_channel channel;
	struct rig rig;

	rig_up(&rig, threads);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	atomic_store(&rig.a.open_error, -LIS_NOMEM);
	assert_int_equal(mini_open(&rig.guest, mini_find_offer(&rig.guest, &rig_instance_a, 0),
				   RING_PAGES, &channel),
			 -LIS_REFUSED);
	atomic_store(&rig.a.open_error, 0);
	atomic_store(&rig.a.break_in_open, true);
	rig_open(&rig, &rig_instance_a, &channel);
	rig_eventually(&rig, rig_a_has_closed);
	assert_int_equal(mini_close(&channel), 0);
	atomic_store(&rig.a.break_in_open, false);
	rig_open(&rig, &rig_instance_a, &channel);
	assert_int_equal(rig_plain_echo(&channel, 1), 0);
	rig_down(&rig);
}
BOTH_WAYS(a_device_that_breaks_or_fails_in_open_leaves_nothing_behind)

/* Neither a channel nor a device is worth the process. */
static void a_host_without_descriptors_refuses_channels_and_recovers(void **state)
{
	struct mini_channel channel;
	struct rlimit usual, none;
	struct rig rig;

	rig_up(&rig, false);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
	none = usual;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(mini_open(&rig.guest, mini_find_offer(&rig.guest, &rig_instance_a, 0),
				   RING_PAGES, &channel),
			 -LIS_REFUSED);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
	rig_open(&rig, &rig_instance_a, &channel);
	assert_int_equal(rig_plain_echo(&channel, 1), 0);
	rig_down(&rig);
}

/* The guest's control page says so before the channel is even open. */
static void rings_with_impossible_indexes_do_not_open(bool threads)
{
	const struct vmbus_msg_offer_channel *offer;
	struct mini_channel channel = { 0 };
	struct rig rig;

	rig_up(&rig, threads);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	offer = mini_find_offer(&rig.guest, &rig_instance_a, 0);
	for (int i = 0; i < 4; i++) {
		struct vmbus_msg_open_channel open = { .header.type = VMBUS_MSG_OPEN_CHANNEL };
		struct vmbus_msg_open_result result;
		struct vmbus_ring_control *control;
		uint32_t gpadl;
		struct gpa gpa;

		control = loopback_guest_alloc_pages(rig.guest.lo, 4, false, &gpa);
		assert_non_null(control);
		*(i % 2 ? &control[i / 2 * 2].in : &control[i / 2 * 2].out) = 4096;
		assert_int_equal(mini_gpadl(&rig.guest, offer->channel_id, gpa, 4, &gpadl), 0);
		open.channel_id = offer->channel_id;
		open.ring_gpadl_id = gpadl;
		open.host_to_guest_page_offset = 2;
		mini_post(&rig.guest, rig.guest.connection_id, &open, sizeof(open));
		assert_int_equal(mini_expect(&rig.guest, VMBUS_MSG_OPEN_RESULT, &result,
					     sizeof(result)), 0);
		assert_int_not_equal(result.status, 0);
		assert_int_equal(mini_gpadl_teardown(&rig.guest, offer->channel_id, gpadl), 0);
		loopback_guest_free_pages(rig.guest.lo, gpa, 4);
	}
	assert_int_equal(atomic_load(&rig.a.opens), 0);
	rig_open(&rig, &rig_instance_a, &channel);
	assert_int_equal(rig_plain_echo(&channel, 1), 0);
	rig_down(&rig);
}
BOTH_WAYS(rings_with_impossible_indexes_do_not_open)

static void a_gpadl_the_device_holds_is_not_torn_down(bool threads)
{
	struct vmbus_msg_gpadl_teardown teardown = { .header.type = VMBUS_MSG_GPADL_TEARDOWN };
	struct vmbus_msg_gpadl_torndown torndown;
	struct mini_channel channel;
	uint64_t buffer[VMBUS_MESSAGE_BYTES_MAX / 8];
	struct gpa gpa;
	uint32_t gpadl;
	size_t bytes;
	struct rig rig;

	rig_up(&rig, threads);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	rig_open(&rig, &rig_instance_a, &channel);
	assert_non_null(loopback_guest_alloc_pages(rig.guest.lo, 300, true, &gpa));
	for (int round = 0; round < 2; round++) {
		assert_int_equal(mini_gpadl(&rig.guest, channel.offer.channel_id, gpa, 300, &gpadl),
				 0);
		assert_int_equal(rig_command(&channel, ECHO_HOLD_GPADL, 0, gpadl), 0);
		assert_int_equal(atomic_load(&rig.a.gpadl_bytes), 300 * HV_PAGE_BYTES);
		teardown.channel_id = channel.offer.channel_id;
		teardown.gpadl_id = gpadl;
		mini_post(&rig.guest, rig.guest.connection_id, &teardown, sizeof(teardown));
		for (uint64_t id = 0; id < 50; id++) /* time enough to answer too early */
			assert_int_equal(rig_plain_echo(&channel, id), 0);
		assert_int_equal(loopback_guest_next_message(rig.guest.lo, 0, buffer, &bytes),
				 -LIS_EMPTY);
		if (round == 0) {
			assert_int_equal(rig_command(&channel, ECHO_RELEASE_GPADL, 0, gpadl), 0);
		} else { /* the device forgets to: its close is enough */
			struct vmbus_msg_channel close = {
				.header.type = VMBUS_MSG_CLOSE_CHANNEL,
				.channel_id = channel.offer.channel_id,
			};

			mini_post(&rig.guest, rig.guest.connection_id, &close, sizeof(close));
		}
		assert_int_equal(mini_expect(&rig.guest, VMBUS_MSG_GPADL_TORNDOWN, &torndown,
					     sizeof(torndown)), 0);
		assert_int_equal(torndown.gpadl_id, gpadl);
	}
	rig_down(&rig);
}
BOTH_WAYS(a_gpadl_the_device_holds_is_not_torn_down)

static void a_flood_of_messages_is_held_back_and_not_lost(bool threads)
{
	struct vmbus_message_header junk = { .type = VMBUS_MSG_TYPE_MAX };
	struct vmbus_host_status status;
	int refused = 0;
	struct rig rig;

	rig_up(&rig, threads);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	for (int i = 0; i < 2000; i++)
		if (loopback_guest_post_message(rig.guest.lo, rig.guest.connection_id, &junk, 8))
			refused++;
	if (!threads)
		assert_int_equal(refused, 2000 - 64);
	assert_int_equal(mini_unload(&rig.guest), 0);
	rig_run(&rig, NULL, do_nothing);
	vmbus_host_status(rig.host, &status);
	assert_int_equal(status.violations, 2000 - refused);
	rig_down(&rig);
}
BOTH_WAYS(a_flood_of_messages_is_held_back_and_not_lost)

/* It is told more than it reads: nobody listens to it until it does. */
static void a_guest_that_does_not_read_is_not_listened_to(void **state)
{
	struct vmbus_msg_gpadl_header header = { .header.type = VMBUS_MSG_GPADL_HEADER };
	int posted = 0;
	struct rig rig;

	rig_up(&rig, false);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	for (int i = 0; i < 10000; i++) {
		posted += loopback_guest_post_message(rig.guest.lo, rig.guest.connection_id,
						      &header, sizeof(header)) == 0;
		rig_pump(&rig);
	}
	assert_true(posted > 64 && posted <= 64 + 64 + 2);
	mini_drain(&rig.guest);
	assert_int_equal(mini_unload(&rig.guest), 0);
	rig_down(&rig);
}

static void what_is_queued_waits_until_the_guest_has_read(void **state)
{
	struct vmbus_message_header junk = { .type = VMBUS_MSG_TYPE_MAX };
	struct vmbus_host_status status;
	struct rig rig;

	rig_up(&rig, false);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	for (int i = 0; i < 10; i++)
		assert_int_equal(loopback_guest_post_message(rig.guest.lo, 1, &junk, 8), 0);
	for (int i = 0; i < 65; i++)
		rig.partition->ops->post_message(rig.partition, 0, &junk, 8);
	assert_int_equal(loopback_guest_post_message(rig.guest.lo, 1, &junk, 8), -LIS_FULL);
	rig_pump(&rig);
	vmbus_host_status(rig.host, &status);
	assert_int_equal(status.violations, 0);
	mini_drain(&rig.guest);
	assert_int_equal(mini_unload(&rig.guest), 0);
	vmbus_host_status(rig.host, &status);
	assert_int_equal(status.violations, 10);
	rig_down(&rig);
}

static void a_reset_forgets_what_was_posted_before(void **state)
{
	struct vmbus_message_header junk = { .type = VMBUS_MSG_TYPE_MAX };
	struct vmbus_host_status status;
	struct rig rig;

	rig_up(&rig, false);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	for (int i = 0; i < 10; i++)
		assert_int_equal(loopback_guest_post_message(rig.guest.lo, 1, &junk, 8), 0);
	rig_reset(&rig);
	vmbus_host_status(rig.host, &status);
	assert_int_equal(status.violations, 0);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT_TESTS(a_broken_ring_costs_its_channel_only),
		UNIT_TESTS(a_device_that_breaks_or_fails_in_open_leaves_nothing_behind),
		cmocka_unit_test(a_host_without_descriptors_refuses_channels_and_recovers),
		UNIT_TESTS(rings_with_impossible_indexes_do_not_open),
		UNIT_TESTS(a_gpadl_the_device_holds_is_not_torn_down),
		UNIT_TESTS(a_flood_of_messages_is_held_back_and_not_lost),
		cmocka_unit_test(a_guest_that_does_not_read_is_not_listened_to),
		cmocka_unit_test(what_is_queued_waits_until_the_guest_has_read),
		cmocka_unit_test(a_reset_forgets_what_was_posted_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
