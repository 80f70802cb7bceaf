// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The common wake-up path over the loopback partition, one request at a time: the guest writes a
 * packet and signals, the host's loop reads it and answers with a completion and an interrupt, the
 * guest reads that. Guest and host are threads on two CPUs. Beside it a bare ping-pong of two
 * threads over two eventfds on the same CPUs, blocking reads, nothing else.
 *
 * loopback_round_trip: both sides sleep each time. loopback_round_trip_polling: both look for a
 * while before they sleep, the host as its loops do (IO_LOOP_POLL_NS). Short runs of all three take
 * turns, so that a machine that changes its speed changes it for all; medians are printed.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "tests/loopback/echo_vsp.h"
#include "tests/loopback/mini_guest.h"

#define RUNS 15
#define RUN_NS 100000000u
#define GUEST_CPU 0
#define HOST_CPU 1
#define PAYLOAD_BYTES 64u
#define RING_PAGES 8u

static const struct guid instance = GUID(0xbe7c4, 0, 0, 0, 0);

static void fail(const char *what)
{
	fprintf(stderr, "wakeup: %s\n", what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		fprintf(stderr, "wakeup: cannot pin to CPU %d, figures will vary\n", cpu);
}

/* The bare peer. */

struct ping_pong {
	int there, back;
};

static void *pong(void *arg)
{
	struct ping_pong *fds = arg;
	uint64_t count;

	pin(HOST_CPU);
	/* A count of more than one is the end. */
	while (read(fds->there, &count, sizeof(count)) == sizeof(count) && count == 1)
		if (eventfd_write(fds->back, 1))
			break;
	return NULL;
}

static double run_ping_pong(void)
{
	struct ping_pong fds = { eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC) };
	uint64_t begin_ns, end_ns, trips = 0, count;
	pthread_t thread;

	if (fds.there < 0 || fds.back < 0 || pthread_create(&thread, NULL, pong, &fds))
		fail("no thread");
	for (int i = 0; i < 20; i++) {
		eventfd_write(fds.there, 1);
		if (read(fds.back, &count, sizeof(count)) != sizeof(count))
			fail("no pong");
	}
	begin_ns = now_ns();
	do {
		eventfd_write(fds.there, 1);
		if (read(fds.back, &count, sizeof(count)) != sizeof(count))
			fail("no pong");
		trips++;
		end_ns = now_ns();
	} while (end_ns - begin_ns < RUN_NS);
	eventfd_write(fds.there, 2);
	pthread_join(thread, NULL);
	close(fds.there);
	close(fds.back);
	return (double)trips * 1e9 / (double)(end_ns - begin_ns);
}

/* A guest and a host. */

struct rig {
	struct partition *partition;
	struct io_loop *loop;
	struct vmbus_host *host;
	struct echo_device echo;
	struct mini_guest guest;
	struct mini_channel channel;
};

static void pin_host(void *arg)
{
	pin(HOST_CPU);
}

static void rig_up(struct rig *rig, uint32_t poll_max_ns)
{
	struct loopback_config memory = { .vp_count = 1, .memory_bytes = 1 << 20 };
	struct io_loop_config loop = { .name = "host", .poll_max_ns = poll_max_ns };
	struct vmbus_host_config config = { 0 };

	memset(rig, 0, sizeof(*rig));
	if (loopback_create(&memory, &rig->partition) || io_loop_create(&loop, &rig->loop))
		fail("no partition or no io_uring");
	config.partition = rig->partition;
	config.loop = rig->loop;
	if (vmbus_host_create(&config, &rig->host) ||
	    echo_offer(rig->host, &rig->echo, "echo", instance, 0, NULL, 0) ||
	    loopback_guest_attach(rig->partition, &rig->guest.lo) || io_loop_start(rig->loop))
		fail("no host");
	io_loop_call_wait(rig->loop, pin_host, NULL);
	if (mini_connect(&rig->guest, VMBUS_VERSION_IRON) || mini_request_offers(&rig->guest) ||
	    mini_open(&rig->guest, &rig->guest.offers[0], RING_PAGES, &rig->channel))
		fail("the channel does not open");
}

static void rescind(void *arg)
{
	struct rig *rig = arg;

	vmbus_host_rescind(rig->echo.device, NULL);
}

static void rig_down(struct rig *rig)
{
	mini_close(&rig->channel);
	io_loop_call_wait(rig->loop, rescind, rig);
	io_loop_join(rig->loop);
	loopback_guest_detach(rig->guest.lo);
	vmbus_host_destroy(rig->host);
	io_loop_destroy(rig->loop);
	loopback_destroy(rig->partition);
}

/* Look for as long as a loop of the host does at most; true where there is something. */
static bool look_for_a_while(struct vmbus_ring_reader *reader)
{
	uint64_t until_ns = now_ns() + IO_LOOP_POLL_NS;

	do {
		for (int i = 0; i < 64; i++)
			if (vmbus_ring_reader_ready(reader))
				return true;
	} while (now_ns() < until_ns);
	return false;
}

static void sleep_for_an_answer(struct rig *rig)
{
	struct vmbus_ring_reader *reader = &rig->channel.from_host;
	uint32_t flag = rig->channel.offer.channel_id;

	while (!vmbus_ring_reader_unmask(reader)) {
		if (loopback_guest_wait(rig->guest.lo, 0, MINI_WAIT_MS))
			fail("no interrupt");
		loopback_guest_take_flag(rig->guest.lo, 0, flag);
	}
}

static void round_trip(struct rig *rig, bool polling, uint64_t id)
{
	static const uint8_t payload[PAYLOAD_BYTES];
	uint64_t buffer[PAYLOAD_BYTES];
	struct vmbus_packet packet;
	uint32_t bytes;

	if (polling)
		vmbus_ring_reader_mask(&rig->channel.from_host);
	if (mini_send(&rig->channel, id, payload, sizeof(payload)))
		fail("no room for a packet");
	if (!polling || !look_for_a_while(&rig->channel.from_host))
		sleep_for_an_answer(rig);
	if (vmbus_ring_read(&rig->channel.from_host, buffer, sizeof(buffer), &bytes) ||
	    vmbus_packet_parse(buffer, bytes, &packet) || packet.id != id)
		fail("a wrong answer");
	if (vmbus_ring_reader_publish(&rig->channel.from_host))
		mini_signal(&rig->channel);
}

static double run_round_trips(struct rig *rig, bool polling)
{
	uint64_t begin_ns, end_ns, trips = 0;

	for (uint64_t i = 0; i < 20; i++)
		round_trip(rig, polling, i);
	begin_ns = now_ns();
	do {
		round_trip(rig, polling, trips++);
		end_ns = now_ns();
	} while (end_ns - begin_ns < RUN_NS);
	return (double)trips * 1e9 / (double)(end_ns - begin_ns);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double values[RUNS])
{
	qsort(values, RUNS, sizeof(values[0]), compare);
	return values[RUNS / 2];
}

static void report(const char *name, double value, double peer)
{
	printf("%s %.0f round_trips/s eventfd_ping_pong %.0f round_trips/s %.2f\n", name, value,
	       peer, value / peer);
}

int main(void)
{
	double bare[RUNS], sleeping[RUNS], polling[RUNS];
	struct rig sleeper, poller;
	double peer;

	rig_up(&sleeper, 0);
	rig_up(&poller, IO_LOOP_POLL_NS);
	pin(GUEST_CPU);
	for (int i = 0; i < RUNS; i++) {
		bare[i] = run_ping_pong();
		sleeping[i] = run_round_trips(&sleeper, false);
		polling[i] = run_round_trips(&poller, true);
	}
	peer = median(bare);
	report("loopback_round_trip", median(sleeping), peer);
	report("loopback_round_trip_polling", median(polling), peer);
	rig_down(&poller);
	rig_down(&sleeper);
	return 0;
}
