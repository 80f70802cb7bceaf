// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The bus on the host over the loopback partition: an echo device and a guest in a few lines. Most
 * tests run twice: all loops turned by the test's own thread, and each loop on a thread of its own.
 */
#include "tests/loopback/host_rig.h"

#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void do_offer_a(void *arg)
{
	struct rig_job *job = arg;

	assert_int_equal(echo_offer(job->rig->host, &job->rig->a, "echo-a", rig_instance_a, 3,
				    &job->rig->loops[1], 2), 0);
	job->done.fn(&job->done);
}

static void packets_come_back_in_every_version(bool threads)
{
	static const uint32_t versions[] = {
#define ONE(version) version,
		VMBUS_VERSIONS(ONE)
#undef ONE
	};

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		struct mini_channel channel;
		struct rig rig;

		rig_up(&rig, threads);
		rig_connect(&rig, versions[i]);
		rig_open(&rig, &rig_instance_a, &channel);
		for (uint64_t id = 0; id < 300; id++)
			assert_int_equal(rig_plain_echo(&channel, id), 0);
		if (rig.guest.interrupt_page) /* which only the oldest guests look at */
			assert_int_equal(rig.guest.interrupt_page[0],
					 versions[i] < VMBUS_VERSION_WIN8 ?
					 1u << channel.offer.channel_id : 0);
		assert_int_equal(mini_close(&channel), 0);
		rig_down(&rig);
	}
}
BOTH_WAYS(packets_come_back_in_every_version)

static void a_capped_bus_has_no_port_for_newer_guests(void **state)
{
	struct rig rig;

	rig_up_with(&rig, false, VMBUS_VERSION_WIN10);
	assert_int_equal(mini_connect(&rig.guest, VMBUS_VERSION_IRON), -LIS_NOTFOUND);
	assert_int_equal(mini_connect(&rig.guest, VMBUS_VERSION_WIN10_V4_1), -LIS_REFUSED);
	rig_connect(&rig, VMBUS_VERSION_WIN10);
	rig_down(&rig);
}

/* More than fits into both rings: each end waits for room, none is lost, order is kept. */
static void full_rings_lose_nothing(bool threads)
{
	const uint64_t total = 3000;
	struct mini_channel channel;
	uint64_t sent = 0, received = 0, buffer[512];
	struct rig rig;

	rig_up(&rig, threads);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	rig_open(&rig, &rig_instance_a, &channel);
	while (received < total) {
		struct vmbus_packet packet;
		uint64_t payload[64] = { 0 };

		/* As much as goes in, then one out: the host meets a full ring again and again. */
		while (sent < total) {
			payload[1] = sent;
			if (mini_send(&channel, sent, payload, 16 + sent % 497) == -LIS_FULL)
				break;
			sent++;
		}
		assert_int_equal(mini_receive(&channel, buffer, sizeof(buffer), &packet), 0);
		assert_int_equal(packet.id, received);
		assert_int_equal(((const uint64_t *)(const void *)packet.payload)[1], received);
		received++;
	}
	assert_int_equal(mini_close(&channel), 0);
	rig_down(&rig);
}
BOTH_WAYS(full_rings_lose_nothing)

static bool all_taken(struct rig *rig)
{
	struct mini_channel *channel = rig->guest.test;

	return os_read_once(channel->to_host.control->out) ==
	       os_read_once(channel->to_host.control->in);
}

/* The host has nothing to read, only something to say. */
static void an_answer_that_found_no_room_goes_when_there_is(bool threads)
{
	static uint8_t payload[4000];
	uint64_t buffer[1024];
	struct mini_channel channel;
	struct vmbus_packet packet;
	struct rig rig;

	rig_up(&rig, threads);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	rig_open(&rig, &rig_instance_a, &channel);
	rig.guest.test = &channel;
	for (uint64_t id = 0; id < 4; id++) { /* three fit into a ring */
		assert_int_equal(mini_send(&channel, id, payload, sizeof(payload)), 0);
		rig_eventually(&rig, all_taken);
	}
	for (uint64_t id = 0; id < 4; id++) {
		assert_int_equal(mini_receive(&channel, buffer, sizeof(buffer), &packet), 0);
		assert_int_equal(packet.id, id);
	}
	rig_down(&rig);
}
BOTH_WAYS(an_answer_that_found_no_room_goes_when_there_is)

static void closing_and_opening_again_works_under_traffic(bool threads)
{
	struct rig rig;

	rig_up(&rig, threads);
	atomic_store(&rig.a.close_delay_ms, threads ? 1 : 0);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	for (int round = 0; round < 60; round++) {
		struct mini_channel channel;

		rig_open(&rig, &rig_instance_a, &channel);
		for (uint64_t id = 0; id < 20; id++)
			assert_int_equal(rig_plain_echo(&channel, id), 0);
		mini_send(&channel, 1, "left behind", 11);
		assert_int_equal(mini_close(&channel), 0);
	}
	assert_int_equal(atomic_load(&rig.a.opens), 60);
	rig_down(&rig);
}
BOTH_WAYS(closing_and_opening_again_works_under_traffic)

static void a_rescinded_device_goes_and_may_come_back(bool threads)
{
	struct mini_channel channel, other;
	uint32_t old_id;
	struct rig rig;

	rig_up(&rig, threads);
	atomic_store(&rig.a.close_delay_ms, 3);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	rig_open(&rig, &rig_instance_a, &channel);
	rig_open(&rig, &rig_instance_b, &other);
	old_id = channel.offer.channel_id;
	for (uint64_t id = 0; id < 10; id++)
		assert_int_equal(mini_send(&channel, id, "on its way", 10), 0);
	rig_rescind(&rig, rig.a.device);
	assert_true(rig_a_has_closed(&rig));
	rig_run(&rig, NULL, do_offer_a);
	/* Not before the guest has let go of the old one. */
	assert_int_equal(rig_plain_echo(&other, 1), 0);
	mini_drain(&rig.guest);
	assert_int_equal(rig.guest.rescinded_count, 1);
	assert_int_equal(rig.guest.rescinded[0], old_id);
	assert_int_equal(rig.guest.offer_count, 2);
	assert_int_equal(mini_close(&channel), 0); /* on a dead id */
	assert_int_equal(mini_release(&rig.guest, old_id), 0);
	assert_int_equal(mini_fence(&rig.guest), 0);
	assert_int_equal(rig.guest.offer_count, 3);
	rig_open(&rig, &rig_instance_a, &channel);
	assert_int_equal(rig_plain_echo(&channel, 5), 0);
	assert_int_equal(rig_plain_echo(&other, 6), 0);
	rig_down(&rig);
}
BOTH_WAYS(a_rescinded_device_goes_and_may_come_back)

static void a_reset_closes_all_and_the_next_guest_finds_a_fresh_bus(bool threads)
{
	struct mini_channel channel;
	struct rig rig;

	rig_up(&rig, threads);
	atomic_store(&rig.a.close_delay_ms, 3);
	for (int round = 0; round < 5; round++) {
		rig_connect(&rig, VMBUS_VERSION_IRON);
		rig_open(&rig, &rig_instance_a, &channel);
		assert_int_equal(rig_command(&channel, ECHO_OFFER_SUB_CHANNELS, 2, 0), 0);
		for (uint64_t id = 0; id < 10; id++)
			mini_send(&channel, id, "on its way", 10);
		rig_reset(&rig);
		assert_true(rig_a_has_closed(&rig));
		mini_drain(&rig.guest);
	}
	rig_connect(&rig, VMBUS_VERSION_WIN10);
	rig_down(&rig);
}
BOTH_WAYS(a_reset_closes_all_and_the_next_guest_finds_a_fresh_bus)

static void a_second_kernel_takes_over_without_a_word(bool threads)
{
	struct mini_channel channel;
	struct rig rig;

	rig_up(&rig, threads);
	atomic_store(&rig.a.close_delay_ms, 3);
	for (int round = 0; round < 5; round++) {
		/* kexec: contact while everything is open; a crash: unload first. */
		rig_connect(&rig, VMBUS_VERSION_IRON);
		rig_open(&rig, &rig_instance_a, &channel);
		assert_int_equal(rig_plain_echo(&channel, 1), 0);
		if (round % 2)
			assert_int_equal(mini_unload(&rig.guest), 0);
	}
	rig_down(&rig);
}
BOTH_WAYS(a_second_kernel_takes_over_without_a_word)

static void wait_offer(struct rig *rig, uint16_t index)
{
	struct timespec ms = { .tv_nsec = 1000000 };

	for (int i = 0; i < 5000 && !mini_find_offer(&rig->guest, &rig_instance_a, index); i++) {
		if (!rig->threads)
			rig_pump(rig);
		nanosleep(&ms, NULL);
		mini_drain(&rig->guest);
	}
	assert_non_null(mini_find_offer(&rig->guest, &rig_instance_a, index));
}

static void sub_channels_come_when_asked_for_and_go_with_the_primary(bool threads)
{
	struct mini_channel primary, subs[3];
	struct rig rig;

	rig_up(&rig, threads);
	atomic_store(&rig.a.close_delay_ms, 2);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	for (int round = 0; round < 3; round++) {
		rig.guest.offer_count = 2;
		rig.guest.rescinded_count = 0;
		rig_open(&rig, &rig_instance_a, &primary);
		assert_int_equal(rig_command(&primary, ECHO_OFFER_SUB_CHANNELS, 200, 0), 0);
		for (uint16_t i = 1; i <= 3; i++) {
			wait_offer(&rig, i);
			assert_int_equal(mini_open(&rig.guest,
						   mini_find_offer(&rig.guest, &rig_instance_a, i),
						   RING_PAGES, &subs[i - 1]), 0);
			for (uint64_t id = 0; id < 20; id++)
				assert_int_equal(rig_plain_echo(&subs[i - 1], id), 0);
		}
		assert_int_equal(rig.guest.offer_count, 5);
		if (round == 0) { /* as Linux does it */
			for (int i = 0; i < 3; i++) {
				assert_int_equal(mini_close(&subs[i]), 0);
				mini_release(&rig.guest, subs[i].offer.channel_id);
			}
			assert_int_equal(mini_close(&primary), 0);
			assert_int_equal(rig.guest.rescinded_count, 0);
		} else { /* without a word about them */
			assert_int_equal(mini_close(&primary), 0);
			assert_int_equal(rig.guest.rescinded_count, 3);
			for (int i = 0; i < 3; i++) {
				assert_int_equal(mini_close(&subs[i]), 0);
				mini_release(&rig.guest, subs[i].offer.channel_id);
			}
		}
	}
	rig_down(&rig);
}
BOTH_WAYS(sub_channels_come_when_asked_for_and_go_with_the_primary)

static void a_sub_channel_may_be_asked_for_while_the_last_one_is_closing(bool threads)
{
	struct mini_channel primary, sub;
	struct rig rig;

	rig_up(&rig, threads);
	atomic_store(&rig.a.close_delay_ms, 20);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	rig_open(&rig, &rig_instance_a, &primary);
	assert_int_equal(rig_command(&primary, ECHO_OFFER_SUB_CHANNELS, 1, 0), 0);
	wait_offer(&rig, 1);
	assert_int_equal(mini_open(&rig.guest, mini_find_offer(&rig.guest, &rig_instance_a, 1),
				   RING_PAGES, &sub),
			 0);
	rig.guest.offer_count = 0;
	mini_post(&rig.guest, rig.guest.connection_id,
		  &(struct vmbus_msg_channel){ .header.type = VMBUS_MSG_CLOSE_CHANNEL,
					       .channel_id = sub.offer.channel_id },
		  sizeof(struct vmbus_msg_channel));
	assert_int_equal(mini_release(&rig.guest, sub.offer.channel_id), 0);
	assert_int_equal(mini_fence(&rig.guest), 0);
	assert_int_equal(rig_command(&primary, ECHO_OFFER_SUB_CHANNELS, 1, 0), 0);
	wait_offer(&rig, 1);
	rig_down(&rig);
}
BOTH_WAYS(a_sub_channel_may_be_asked_for_while_the_last_one_is_closing)

static void interrupts_go_to_the_vp_the_guest_moved_them_to(bool threads)
{
	struct vmbus_msg_modify_channel modify = { .header.type = VMBUS_MSG_MODIFY_CHANNEL };
	struct vmbus_msg_modify_channel_response response;
	uint64_t flags[LOOPBACK_FLAG_WORDS], buffer[64];
	struct mini_channel channel;
	struct rig rig;

	rig_up(&rig, threads);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	rig_open(&rig, &rig_instance_a, &channel);
	assert_int_equal(rig_plain_echo(&channel, 1), 0);
	for (int round = 1; round < 20; round++) {
		struct vmbus_packet packet;

		modify.channel_id = channel.offer.channel_id;
		modify.target_vp = round % 2;
		mini_post(&rig.guest, rig.guest.connection_id, &modify, sizeof(modify));
		assert_int_equal(mini_expect(&rig.guest, VMBUS_MSG_MODIFY_CHANNEL_RESPONSE,
					     &response, sizeof(response)),
				 0);
		assert_int_equal(response.status, 0);
		loopback_guest_take_flags(rig.guest.lo, 0, flags);
		loopback_guest_take_flags(rig.guest.lo, 1, flags);
		assert_int_equal(mini_send(&channel, 9, "hello", 5), 0);
		rig.guest.vp = modify.target_vp;
		assert_int_equal(mini_receive(&channel, buffer, sizeof(buffer), &packet), 0);
		rig.guest.vp = 0;
		/* Not one on the old VP. */
		assert_false(loopback_guest_take_flags(rig.guest.lo, !modify.target_vp, flags));
	}
	rig_down(&rig);
}
BOTH_WAYS(interrupts_go_to_the_vp_the_guest_moved_them_to)

struct stats_job {
	struct io_loop *loop;
	struct io_loop_stats stats;
};

static void do_stats(void *arg)
{
	struct stats_job *job = arg;

	job->stats = io_loop_stats(job->loop);
}

static struct io_loop_stats stats_of(struct io_loop *loop)
{
	struct stats_job job = { .loop = loop };

	io_loop_call_wait(loop, do_stats, &job);
	return job.stats;
}

static void a_device_that_takes_nothing_lets_its_loop_sleep(void **state)
{
	struct io_loop_stats before, after;
	struct timespec some_ms = { .tv_nsec = 50000000 };
	uint8_t payload[8] = { ECHO_BUSY };
	struct mini_channel channel;
	uint64_t buffer[64];
	struct vmbus_packet packet;
	struct rig rig;

	rig_up(&rig, true);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	rig_open(&rig, &rig_instance_b, &channel);
	assert_int_equal(rig_echo(&channel, 1, payload, 8), 0);
	assert_int_equal(mini_send(&channel, 2, "waits", 5), 0);
	nanosleep(&some_ms, NULL);
	before = stats_of(rig.loops[0]);
	nanosleep(&some_ms, NULL);
	after = stats_of(rig.loops[0]);
	assert_true(after.turns - before.turns < 10);
	/* Whatever ends the device's trouble wakes the loop, which then looks at the ring again. */
	atomic_store(&rig.b.busy, false);
	stats_of(rig.loops[0]);
	assert_int_equal(mini_receive(&channel, buffer, sizeof(buffer), &packet), 0);
	assert_int_equal(packet.id, 2);
	rig_down(&rig);
}

/* A guest in a process of its own; exit status 0 is success. */
static int other_process(int fd)
{
	struct mini_guest guest = { 0 };
	struct mini_channel channel;
	int err = loopback_guest_connect(fd, &guest.lo);

	if (err)
		return 10;
	if (mini_connect(&guest, VMBUS_VERSION_IRON) || mini_request_offers(&guest))
		return 11;
	for (int round = 0; round < 5; round++) {
		const struct vmbus_msg_offer_channel *offer = mini_find_offer(&guest, &rig_instance_a,
									      0);

		if (!offer || mini_open(&guest, offer, RING_PAGES, &channel))
			return 12;
		for (uint64_t id = 0; id < 500; id++)
			if (rig_plain_echo(&channel, id))
				return 13;
		if (round < 4 && mini_close(&channel))
			return 14;
	}
	if (loopback_guest_post_message(guest.lo, 4711, &channel, 8) != -LIS_NOTFOUND)
		return 15;
	if (loopback_guest_signal(guest.lo, 4711) != -LIS_NOTFOUND)
		return 16;
	loopback_guest_detach(guest.lo);
	return 0;
}

static void a_guest_may_live_in_another_process_and_die_there(void **state)
{
	struct rig rig;
	int fd, status;
	pid_t child;

	rig_up(&rig, true);
	assert_int_equal(loopback_serve(rig.partition, &fd), 0);
	child = fork();
	if (child == 0)
		_exit(other_process(fd));
	assert_true(child > 0);
	close(fd);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	/* It went with a channel open: the machine is reset, the next guest comes. */
	rig_reset(&rig);
	assert_true(rig_a_has_closed(&rig));
	mini_drain(&rig.guest);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	loopback_unserve(rig.partition);
	rig_down(&rig);
}

struct seen {
	size_t devices, channels_open;
	uint64_t packets_in, packets_out, bytes_in;
};

static void see(void *arg, const struct vmbus_device_status *status)
{
	struct seen *seen = arg;

	seen->devices++;
	for (size_t i = 0; i < status->channel_count; i++) {
		seen->channels_open += status->channels[i].open;
		seen->packets_in += status->channels[i].packets_in;
		seen->packets_out += status->channels[i].packets_out;
		seen->bytes_in += status->channels[i].bytes_in;
	}
}

static void status_counts_what_went_by(void **state)
{
	struct vmbus_host_status status;
	struct mini_channel channel;
	struct seen seen = { 0 };
	struct rig rig;

	rig_up(&rig, false);
	rig_connect(&rig, VMBUS_VERSION_IRON);
	rig_open(&rig, &rig_instance_a, &channel);
	for (uint64_t id = 0; id < 10; id++)
		assert_int_equal(rig_plain_echo(&channel, id), 0);
	vmbus_host_status(rig.host, &status);
	assert_int_equal(status.version, VMBUS_VERSION_IRON);
	assert_int_equal(status.contacts, 1);
	assert_int_equal(status.violations, 0);
	vmbus_host_each_device(rig.host, see, &seen);
	assert_int_equal(seen.devices, 2);
	assert_int_equal(seen.channels_open, 1);
	assert_int_equal(seen.packets_in, 10);
	assert_int_equal(seen.packets_out, 10);
	assert_int_equal(seen.bytes_in, 10 * (16 + 104));
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UNIT_TESTS(packets_come_back_in_every_version),
		cmocka_unit_test(a_capped_bus_has_no_port_for_newer_guests),
		UNIT_TESTS(full_rings_lose_nothing),
		UNIT_TESTS(an_answer_that_found_no_room_goes_when_there_is),
		UNIT_TESTS(closing_and_opening_again_works_under_traffic),
		UNIT_TESTS(a_rescinded_device_goes_and_may_come_back),
		UNIT_TESTS(a_reset_closes_all_and_the_next_guest_finds_a_fresh_bus),
		UNIT_TESTS(a_second_kernel_takes_over_without_a_word),
		UNIT_TESTS(sub_channels_come_when_asked_for_and_go_with_the_primary),
		UNIT_TESTS(a_sub_channel_may_be_asked_for_while_the_last_one_is_closing),
		UNIT_TESTS(interrupts_go_to_the_vp_the_guest_moved_them_to),
		cmocka_unit_test(a_device_that_takes_nothing_lets_its_loop_sleep),
		cmocka_unit_test(a_guest_may_live_in_another_process_and_die_there),
		cmocka_unit_test(status_counts_what_went_by),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
