// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The bus on the host with two devices that echo and a guest in a few lines, for tests. */
#include "tests/loopback/host_rig.h"

#include <string.h>
#include <time.h>

#define VPS 2u

const struct guid rig_instance_a = GUID(0xaaaaaaaa, 1, 2, 3, 4);
const struct guid rig_instance_b = GUID(0xbbbbbbbb, 1, 2, 3, 4);

void rig_pump(void *arg)
{
	struct rig *rig = arg;

	for (uint32_t i = 0; i < LOOPS; i++)
		io_loop_turn(rig->loops[i], false);
}

void rig_up_with(struct rig *rig, bool threads, uint32_t version_max)
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
	assert_int_equal(echo_offer(rig->host, &rig->a, "echo-a", rig_instance_a, 3, &rig->loops[1],
				    2), 0);
	assert_int_equal(echo_offer(rig->host, &rig->b, "echo-b", rig_instance_b, 0, NULL, 0), 0);
	assert_int_equal(loopback_guest_attach(rig->partition, &rig->guest.lo), 0);
	for (uint32_t i = 0; i < LOOPS && threads; i++)
		assert_int_equal(io_loop_start(rig->loops[i]), 0);
	rig->guest.pump = threads ? NULL : rig_pump;
	rig->guest.pump_arg = rig;
}

void rig_up(struct rig *rig, bool threads)
{
	rig_up_with(rig, threads, 0);
}

void rig_eventually(struct rig *rig, bool (*is)(struct rig *rig))
{
	for (int i = 0; i < 5000; i++) {
		struct timespec ms = { .tv_nsec = 1000000 };

		if (is(rig))
			return;
		if (!rig->threads)
			rig_pump(rig);
		nanosleep(&ms, NULL);
	}
	fail_msg("it never came to be");
}

static void rig_job_done(struct io_call *call)
{
	atomic_store(&((struct rig_job *)call)->is_done, true);
}

void rig_run(struct rig *rig, struct vmbus_device *device, void (*fn)(void *arg))
{
	struct rig_job job = { .done.fn = rig_job_done, .rig = rig, .device = device };
	struct timespec ms = { .tv_nsec = 1000000 };

	io_loop_call_wait(rig->loops[0], fn, &job);
	for (int i = 0; i < 5000 && !atomic_load(&job.is_done); i++) {
		if (!rig->threads)
			rig_pump(rig);
		nanosleep(&ms, NULL);
	}
	assert_true(atomic_load(&job.is_done));
}

static void do_rescind(void *arg)
{
	struct rig_job *job = arg;

	vmbus_host_rescind(job->device, &job->done);
}

static void do_reset(void *arg)
{
	struct rig_job *job = arg;

	vmbus_host_reset(job->rig->host, &job->done);
}

void rig_rescind(struct rig *rig, struct vmbus_device *device)
{
	rig_run(rig, device, do_rescind);
}

void rig_reset(struct rig *rig)
{
	rig_run(rig, NULL, do_reset);
}

void rig_down(struct rig *rig)
{
	loopback_guest_detach(rig->guest.lo);
	if (rig->a.device)
		rig_rescind(rig, rig->a.device);
	rig_rescind(rig, rig->b.device);
	assert_int_equal(atomic_load(&rig->a.opens), atomic_load(&rig->a.closes));
	assert_int_equal(atomic_load(&rig->a.receives_after_close), 0);
	for (uint32_t i = 0; i < LOOPS; i++)
		io_loop_join(rig->loops[i]);
	vmbus_host_destroy(rig->host);
	for (uint32_t i = 0; i < LOOPS; i++)
		io_loop_destroy(rig->loops[i]);
	loopback_destroy(rig->partition);
}

void rig_connect(struct rig *rig, uint32_t version)
{
	assert_int_equal(mini_connect(&rig->guest, version), 0);
	assert_int_equal(mini_request_offers(&rig->guest), 0);
	assert_int_equal(rig->guest.offer_count, 2);
}

void rig_open(struct rig *rig, const struct guid *instance, struct mini_channel *channel)
{
	const struct vmbus_msg_offer_channel *offer = mini_find_offer(&rig->guest, instance, 0);

	assert_non_null(offer);
	assert_int_equal(mini_open(&rig->guest, offer, RING_PAGES, channel), 0);
}

int rig_echo(struct mini_channel *channel, uint64_t id, const void *payload, size_t bytes)
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

int rig_plain_echo(struct mini_channel *channel, uint64_t id)
{
	uint8_t payload[100] = { ECHO_PLAIN };

	for (size_t i = 1; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(id + i);
	return rig_echo(channel, id, payload, sizeof(payload));
}

int rig_command(struct mini_channel *channel, uint8_t number, uint8_t argument, uint32_t id)
{
	uint8_t payload[8] = { number, argument };

	memcpy(payload + 4, &id, 4);
	return rig_echo(channel, 77, payload, sizeof(payload));
}

bool rig_a_has_closed(struct rig *rig)
{
	return atomic_load(&rig->a.closes) == atomic_load(&rig->a.opens);
}
