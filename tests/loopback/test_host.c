// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The bus on the host over the loopback partition: an echo device and a guest in a few lines. Most
 * tests run twice: all loops turned by the test's own thread, and each loop on a thread of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/loopback/echo_vsp.h"
#include "tests/loopback/mini_guest.h"

#define RING_PAGES 4u
#define VPS 2u
#define LOOPS 3u /* the first is the bus */

static const struct guid instance_a = GUID(0xaaaaaaaa, 1, 2, 3, 4);
static const struct guid instance_b = GUID(0xbbbbbbbb, 1, 2, 3, 4);

struct rig {
	bool threads;
	struct partition *partition;
	struct io_loop *loops[LOOPS];
	struct vmbus_host *host;
	struct echo_device a, b;
	struct mini_guest guest;
};

static void pump(void *arg)
{
	struct rig *rig = arg;

	for (uint32_t i = 0; i < LOOPS; i++)
		io_loop_turn(rig->loops[i], false);
}

static void rig_up_with(struct rig *rig, bool threads, uint32_t version_max)
{
	struct loopback_config memory = { .vp_count = VPS, .memory_bytes = 8 << 20 };
	struct vmbus_host_config config = { .version_max = version_max };

	memset(rig, 0, sizeof(*rig));
	rig->threads = threads;
	assert_int_equal(loopback_create(&memory, &rig->partition), 0);
	for (uint32_t i = 0; i < LOOPS; i++) {
		struct io_loop_config loop = { .poll_max_ns = i == 1 ? IO_LOOP_POLL_NS : 0 };

		assert_int_equal(io_loop_create(&loop, &rig->loops[i]), 0);
	}
	config.partition = rig->partition;
	config.loop = rig->loops[0];
	assert_int_equal(vmbus_host_create(&config, &rig->host), 0);
	assert_int_equal(echo_offer(rig->host, &rig->a, "echo-a", instance_a, 3, &rig->loops[1], 2),
			 0);
	assert_int_equal(echo_offer(rig->host, &rig->b, "echo-b", instance_b, 0, NULL, 0), 0);
	assert_int_equal(loopback_guest_attach(rig->partition, &rig->guest.lo), 0);
	for (uint32_t i = 0; i < LOOPS && threads; i++)
		assert_int_equal(io_loop_start(rig->loops[i]), 0);
	rig->guest.pump = threads ? NULL : pump;
	rig->guest.pump_arg = rig;
}

static void rig_up(struct rig *rig, bool threads)
{
	rig_up_with(rig, threads, 0);
}

/* Wait for something to become true. */
static void eventually(struct rig *rig, bool (*is)(struct rig *rig))
{
	for (int i = 0; i < 5000; i++) {
		struct timespec ms = { .tv_nsec = 1000000 };

		if (is(rig))
			return;
		if (!rig->threads)
			pump(rig);
		nanosleep(&ms, NULL);
	}
	fail_msg("it never came to be");
}

/* On the bus loop, with an answer by a call. */
struct bus_job {
	struct io_call done;
	atomic_bool is_done;
	struct rig *rig;
	struct vmbus_device *device;
};

static void job_done(struct io_call *call)
{
	atomic_store(&((struct bus_job *)call)->is_done, true);
}

static void run_job(struct rig *rig, struct vmbus_device *device, void (*fn)(void *arg))
{
	struct bus_job job = { .done.fn = job_done, .rig = rig, .device = device };
	struct timespec ms = { .tv_nsec = 1000000 };

	io_loop_call_wait(rig->loops[0], fn, &job);
	for (int i = 0; i < 5000 && !atomic_load(&job.is_done); i++) {
		if (!rig->threads)
			pump(rig);
		nanosleep(&ms, NULL);
	}
	assert_true(atomic_load(&job.is_done));
}

static void do_rescind(void *arg)
{
	struct bus_job *job = arg;

	vmbus_host_rescind(job->device, &job->done);
}

static void do_reset(void *arg)
{
	struct bus_job *job = arg;

	vmbus_host_reset(job->rig->host, &job->done);
}

static void do_offer_a(void *arg)
{
	struct bus_job *job = arg;

	assert_int_equal(echo_offer(job->rig->host, &job->rig->a, "echo-a", instance_a, 3,
				    &job->rig->loops[1], 2), 0);
	job->done.fn(&job->done);
}

static void do_nothing(void *arg)
{
	struct bus_job *job = arg;

	job->done.fn(&job->done);
}

static void rig_down(struct rig *rig)
{
	loopback_guest_detach(rig->guest.lo);
	if (rig->a.device)
		run_job(rig, rig->a.device, do_rescind);
	run_job(rig, rig->b.device, do_rescind);
	assert_int_equal(atomic_load(&rig->a.opens), atomic_load(&rig->a.closes));
	assert_int_equal(atomic_load(&rig->a.receives_after_close), 0);
	for (uint32_t i = 0; i < LOOPS; i++)
		io_loop_join(rig->loops[i]);
	vmbus_host_destroy(rig->host);
	for (uint32_t i = 0; i < LOOPS; i++)
		io_loop_destroy(rig->loops[i]);
	loopback_destroy(rig->partition);
}

static void connect_guest(struct rig *rig, uint32_t version)
{
	assert_int_equal(mini_connect(&rig->guest, version), 0);
	assert_int_equal(mini_request_offers(&rig->guest), 0);
	assert_int_equal(rig->guest.offer_count, 2);
}

static void open_by_instance(struct rig *rig, const struct guid *instance,
			     struct mini_channel *channel)
{
	const struct vmbus_msg_offer_channel *offer = mini_find_offer(&rig->guest, instance, 0);

	assert_non_null(offer);
	assert_int_equal(mini_open(&rig->guest, offer, RING_PAGES, channel), 0);
}

/* Send and wait for the echo. */
static int echo(struct mini_channel *channel, uint64_t id, const void *payload, size_t bytes)
{
	uint64_t buffer[512];
	struct vmbus_packet packet;
	int err = mini_send(channel, id, payload, bytes);

	if (!err)
		err = mini_receive(channel, buffer, sizeof(buffer), &packet);
	if (err)
		return err;
	if (packet.type != VMBUS_PACKET_COMPLETION || packet.id != id ||
	    memcmp(packet.payload, payload, bytes) != 0)
		return -LIS_CORRUPT;
	return 0;
}

static int plain_echo(struct mini_channel *channel, uint64_t id)
{
	uint8_t payload[100] = { ECHO_PLAIN };

	for (size_t i = 1; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(id + i);
	return echo(channel, id, payload, sizeof(payload));
}

static int command(struct mini_channel *channel, uint8_t number, uint8_t argument, uint32_t id)
{
	uint8_t payload[8] = { number, argument };

	memcpy(payload + 4, &id, 4);
	return echo(channel, 77, payload, sizeof(payload));
}

#define BOTH_WAYS(name) \
	static void name##_on_one_thread(void **state) { name(false); } \
	static void name##_on_threads(void **state) { name(true); }
#define UNIT_TESTS(name) cmocka_unit_test(name##_on_one_thread), cmocka_unit_test(name##_on_threads)

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
		connect_guest(&rig, versions[i]);
		open_by_instance(&rig, &instance_a, &channel);
		for (uint64_t id = 0; id < 300; id++)
			assert_int_equal(plain_echo(&channel, id), 0);
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
	connect_guest(&rig, VMBUS_VERSION_WIN10);
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
	connect_guest(&rig, VMBUS_VERSION_IRON);
	open_by_instance(&rig, &instance_a, &channel);
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
	connect_guest(&rig, VMBUS_VERSION_IRON);
	open_by_instance(&rig, &instance_a, &channel);
	rig.guest.test = &channel;
	for (uint64_t id = 0; id < 4; id++) { /* three fit into a ring */
		assert_int_equal(mini_send(&channel, id, payload, sizeof(payload)), 0);
		eventually(&rig, all_taken);
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
	connect_guest(&rig, VMBUS_VERSION_IRON);
	for (int round = 0; round < 60; round++) {
		struct mini_channel channel;

		open_by_instance(&rig, &instance_a, &channel);
		for (uint64_t id = 0; id < 20; id++)
			assert_int_equal(plain_echo(&channel, id), 0);
		mini_send(&channel, 1, "left behind", 11);
		assert_int_equal(mini_close(&channel), 0);
	}
	assert_int_equal(atomic_load(&rig.a.opens), 60);
	rig_down(&rig);
}
BOTH_WAYS(closing_and_opening_again_works_under_traffic)

static bool a_has_closed(struct rig *rig)
{
	return atomic_load(&rig->a.closes) == atomic_load(&rig->a.opens);
}

static void a_rescinded_device_goes_and_may_come_back(bool threads)
{
	struct mini_channel channel, other;
	uint32_t old_id;
	struct rig rig;

	rig_up(&rig, threads);
	atomic_store(&rig.a.close_delay_ms, 3);
	connect_guest(&rig, VMBUS_VERSION_IRON);
	open_by_instance(&rig, &instance_a, &channel);
	open_by_instance(&rig, &instance_b, &other);
	old_id = channel.offer.channel_id;
	for (uint64_t id = 0; id < 10; id++)
		assert_int_equal(mini_send(&channel, id, "on its way", 10), 0);
	run_job(&rig, rig.a.device, do_rescind);
	assert_true(a_has_closed(&rig));
	run_job(&rig, NULL, do_offer_a);
	/* Not before the guest has let go of the old one. */
	assert_int_equal(plain_echo(&other, 1), 0);
	mini_drain(&rig.guest);
	assert_int_equal(rig.guest.rescinded_count, 1);
	assert_int_equal(rig.guest.rescinded[0], old_id);
	assert_int_equal(rig.guest.offer_count, 2);
	assert_int_equal(mini_close(&channel), 0); /* on a dead id */
	assert_int_equal(mini_release(&rig.guest, old_id), 0);
	assert_int_equal(mini_fence(&rig.guest), 0);
	assert_int_equal(rig.guest.offer_count, 3);
	open_by_instance(&rig, &instance_a, &channel);
	assert_int_equal(plain_echo(&channel, 5), 0);
	assert_int_equal(plain_echo(&other, 6), 0);
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
		connect_guest(&rig, VMBUS_VERSION_IRON);
		open_by_instance(&rig, &instance_a, &channel);
		assert_int_equal(command(&channel, ECHO_OFFER_SUB_CHANNELS, 2, 0), 0);
		for (uint64_t id = 0; id < 10; id++)
			mini_send(&channel, id, "on its way", 10);
		run_job(&rig, NULL, do_reset);
		assert_true(a_has_closed(&rig));
		mini_drain(&rig.guest);
	}
	connect_guest(&rig, VMBUS_VERSION_WIN10);
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
		connect_guest(&rig, VMBUS_VERSION_IRON);
		open_by_instance(&rig, &instance_a, &channel);
		assert_int_equal(plain_echo(&channel, 1), 0);
		if (round % 2)
			assert_int_equal(mini_unload(&rig.guest), 0);
	}
	rig_down(&rig);
}
BOTH_WAYS(a_second_kernel_takes_over_without_a_word)

static void wait_offer(struct rig *rig, uint16_t index)
{
	struct timespec ms = { .tv_nsec = 1000000 };

	for (int i = 0; i < 5000 && !mini_find_offer(&rig->guest, &instance_a, index); i++) {
		if (!rig->threads)
			pump(rig);
		nanosleep(&ms, NULL);
		mini_drain(&rig->guest);
	}
	assert_non_null(mini_find_offer(&rig->guest, &instance_a, index));
}

static void sub_channels_come_when_asked_for_and_go_with_the_primary(bool threads)
{
	struct mini_channel primary, subs[3];
	struct rig rig;

	rig_up(&rig, threads);
	atomic_store(&rig.a.close_delay_ms, 2);
	connect_guest(&rig, VMBUS_VERSION_IRON);
	for (int round = 0; round < 3; round++) {
		rig.guest.offer_count = 2;
		rig.guest.rescinded_count = 0;
		open_by_instance(&rig, &instance_a, &primary);
		assert_int_equal(command(&primary, ECHO_OFFER_SUB_CHANNELS, 200, 0), 0);
		for (uint16_t i = 1; i <= 3; i++) {
			wait_offer(&rig, i);
			assert_int_equal(mini_open(&rig.guest,
						   mini_find_offer(&rig.guest, &instance_a, i),
						   RING_PAGES, &subs[i - 1]), 0);
			for (uint64_t id = 0; id < 20; id++)
				assert_int_equal(plain_echo(&subs[i - 1], id), 0);
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
	connect_guest(&rig, VMBUS_VERSION_IRON);
	open_by_instance(&rig, &instance_a, &primary);
	assert_int_equal(command(&primary, ECHO_OFFER_SUB_CHANNELS, 1, 0), 0);
	wait_offer(&rig, 1);
	assert_int_equal(mini_open(&rig.guest, mini_find_offer(&rig.guest, &instance_a, 1),
				   RING_PAGES, &sub),
			 0);
	rig.guest.offer_count = 0;
	mini_post(&rig.guest, rig.guest.connection_id,
		  &(struct vmbus_msg_channel){ .header.type = VMBUS_MSG_CLOSE_CHANNEL,
					       .channel_id = sub.offer.channel_id },
		  sizeof(struct vmbus_msg_channel));
	assert_int_equal(mini_release(&rig.guest, sub.offer.channel_id), 0);
	assert_int_equal(mini_fence(&rig.guest), 0);
	assert_int_equal(command(&primary, ECHO_OFFER_SUB_CHANNELS, 1, 0), 0);
	wait_offer(&rig, 1);
	rig_down(&rig);
}
BOTH_WAYS(a_sub_channel_may_be_asked_for_while_the_last_one_is_closing)

static void a_broken_ring_costs_its_channel_only(bool threads)
{
	struct mini_channel channel, other;
	struct rig rig;

	rig_up(&rig, threads);
	connect_guest(&rig, VMBUS_VERSION_IRON);
	open_by_instance(&rig, &instance_b, &other);
	for (int round = 0; round < 4; round++) {
		open_by_instance(&rig, &instance_a, &channel);
		assert_int_equal(plain_echo(&channel, 1), 0);
		if (round % 2) { /* an index outside the ring */
			os_write_once(channel.to_host.control->in, 0x7fffff00);
			mini_signal(&channel);
		} else { /* the device's own complaint */
			uint8_t payload[8] = { ECHO_BREAK };

			assert_int_equal(mini_send(&channel, 1, payload, 8), 0);
		}
		eventually(&rig, a_has_closed);
		assert_int_equal(plain_echo(&other, 1), 0);
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
	connect_guest(&rig, VMBUS_VERSION_IRON);
	atomic_store(&rig.a.open_error, -LIS_NOMEM);
	assert_int_equal(mini_open(&rig.guest, mini_find_offer(&rig.guest, &instance_a, 0),
				   RING_PAGES, &channel),
			 -LIS_REFUSED);
	atomic_store(&rig.a.open_error, 0);
	atomic_store(&rig.a.break_in_open, true);
	open_by_instance(&rig, &instance_a, &channel);
	eventually(&rig, a_has_closed);
	assert_int_equal(mini_close(&channel), 0);
	atomic_store(&rig.a.break_in_open, false);
	open_by_instance(&rig, &instance_a, &channel);
	assert_int_equal(plain_echo(&channel, 1), 0);
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
	connect_guest(&rig, VMBUS_VERSION_IRON);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
	none = usual;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(mini_open(&rig.guest, mini_find_offer(&rig.guest, &instance_a, 0),
				   RING_PAGES, &channel),
			 -LIS_REFUSED);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
	open_by_instance(&rig, &instance_a, &channel);
	assert_int_equal(plain_echo(&channel, 1), 0);
	rig_down(&rig);
}

/* The guest's control page says so before the channel is even open. */
static void rings_with_impossible_indexes_do_not_open(bool threads)
{
	const struct vmbus_msg_offer_channel *offer;
	struct mini_channel channel = { 0 };
	struct rig rig;

	rig_up(&rig, threads);
	connect_guest(&rig, VMBUS_VERSION_IRON);
	offer = mini_find_offer(&rig.guest, &instance_a, 0);
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
	open_by_instance(&rig, &instance_a, &channel);
	assert_int_equal(plain_echo(&channel, 1), 0);
	rig_down(&rig);
}
BOTH_WAYS(rings_with_impossible_indexes_do_not_open)

static void interrupts_go_to_the_vp_the_guest_moved_them_to(bool threads)
{
	struct vmbus_msg_modify_channel modify = { .header.type = VMBUS_MSG_MODIFY_CHANNEL };
	struct vmbus_msg_modify_channel_response response;
	uint64_t flags[LOOPBACK_FLAG_WORDS], buffer[64];
	struct mini_channel channel;
	struct rig rig;

	rig_up(&rig, threads);
	connect_guest(&rig, VMBUS_VERSION_IRON);
	open_by_instance(&rig, &instance_a, &channel);
	assert_int_equal(plain_echo(&channel, 1), 0);
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
	connect_guest(&rig, VMBUS_VERSION_IRON);
	open_by_instance(&rig, &instance_a, &channel);
	assert_non_null(loopback_guest_alloc_pages(rig.guest.lo, 300, true, &gpa));
	for (int round = 0; round < 2; round++) {
		assert_int_equal(mini_gpadl(&rig.guest, channel.offer.channel_id, gpa, 300, &gpadl),
				 0);
		assert_int_equal(command(&channel, ECHO_HOLD_GPADL, 0, gpadl), 0);
		assert_int_equal(atomic_load(&rig.a.gpadl_bytes), 300 * HV_PAGE_BYTES);
		teardown.channel_id = channel.offer.channel_id;
		teardown.gpadl_id = gpadl;
		mini_post(&rig.guest, rig.guest.connection_id, &teardown, sizeof(teardown));
		for (uint64_t id = 0; id < 50; id++) /* time enough to answer too early */
			assert_int_equal(plain_echo(&channel, id), 0);
		assert_int_equal(loopback_guest_next_message(rig.guest.lo, 0, buffer, &bytes),
				 -LIS_EMPTY);
		if (round == 0) {
			assert_int_equal(command(&channel, ECHO_RELEASE_GPADL, 0, gpadl), 0);
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
	connect_guest(&rig, VMBUS_VERSION_IRON);
	open_by_instance(&rig, &instance_b, &channel);
	assert_int_equal(echo(&channel, 1, payload, 8), 0);
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

static void a_flood_of_messages_is_held_back_and_not_lost(bool threads)
{
	struct vmbus_message_header junk = { .type = VMBUS_MSG_TYPE_MAX };
	struct vmbus_host_status status;
	int refused = 0;
	struct rig rig;

	rig_up(&rig, threads);
	connect_guest(&rig, VMBUS_VERSION_IRON);
	for (int i = 0; i < 2000; i++)
		if (loopback_guest_post_message(rig.guest.lo, rig.guest.connection_id, &junk, 8))
			refused++;
	if (!threads)
		assert_int_equal(refused, 2000 - 64);
	assert_int_equal(mini_unload(&rig.guest), 0);
	run_job(&rig, NULL, do_nothing);
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
	connect_guest(&rig, VMBUS_VERSION_IRON);
	for (int i = 0; i < 10000; i++) {
		posted += loopback_guest_post_message(rig.guest.lo, rig.guest.connection_id,
						      &header, sizeof(header)) == 0;
		pump(&rig);
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
	connect_guest(&rig, VMBUS_VERSION_IRON);
	for (int i = 0; i < 10; i++)
		assert_int_equal(loopback_guest_post_message(rig.guest.lo, 1, &junk, 8), 0);
	for (int i = 0; i < 65; i++)
		rig.partition->ops->post_message(rig.partition, 0, &junk, 8);
	assert_int_equal(loopback_guest_post_message(rig.guest.lo, 1, &junk, 8), -LIS_FULL);
	pump(&rig);
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
	connect_guest(&rig, VMBUS_VERSION_IRON);
	for (int i = 0; i < 10; i++)
		assert_int_equal(loopback_guest_post_message(rig.guest.lo, 1, &junk, 8), 0);
	run_job(&rig, NULL, do_reset);
	vmbus_host_status(rig.host, &status);
	assert_int_equal(status.violations, 0);
	connect_guest(&rig, VMBUS_VERSION_IRON);
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
		const struct vmbus_msg_offer_channel *offer = mini_find_offer(&guest, &instance_a,
									      0);

		if (!offer || mini_open(&guest, offer, RING_PAGES, &channel))
			return 12;
		for (uint64_t id = 0; id < 500; id++)
			if (plain_echo(&channel, id))
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
	run_job(&rig, NULL, do_reset);
	assert_true(a_has_closed(&rig));
	mini_drain(&rig.guest);
	connect_guest(&rig, VMBUS_VERSION_IRON);
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
	connect_guest(&rig, VMBUS_VERSION_IRON);
	open_by_instance(&rig, &instance_a, &channel);
	for (uint64_t id = 0; id < 10; id++)
		assert_int_equal(plain_echo(&channel, id), 0);
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
		UNIT_TESTS(a_broken_ring_costs_its_channel_only),
		UNIT_TESTS(a_device_that_breaks_or_fails_in_open_leaves_nothing_behind),
		cmocka_unit_test(a_host_without_descriptors_refuses_channels_and_recovers),
		UNIT_TESTS(rings_with_impossible_indexes_do_not_open),
		UNIT_TESTS(interrupts_go_to_the_vp_the_guest_moved_them_to),
		UNIT_TESTS(a_gpadl_the_device_holds_is_not_torn_down),
		cmocka_unit_test(a_device_that_takes_nothing_lets_its_loop_sleep),
		UNIT_TESTS(a_flood_of_messages_is_held_back_and_not_lost),
		cmocka_unit_test(a_guest_that_does_not_read_is_not_listened_to),
		cmocka_unit_test(what_is_queued_waits_until_the_guest_has_read),
		cmocka_unit_test(a_reset_forgets_what_was_posted_before),
		cmocka_unit_test(a_guest_may_live_in_another_process_and_die_there),
		cmocka_unit_test(status_counts_what_went_by),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
