// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Both ends over the loopback partition: see pair.h. */
#include "bench/pair.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/error.h"
#include "vmbus/loopback.h"

#define GUEST_CPU 0
#define HOST_CPU 1

void bench_must(const char *what, int err)
{
	if (!err)
		return;
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, lis_error_text(err));
	exit(1);
}

uint64_t bench_clock_ns(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void allow(int first, int last)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int cpu = first; cpu <= last; cpu++)
		CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fprintf(stderr, "%s: cannot pin to CPU %d, figures will vary\n",
			program_invocation_short_name, first);
}

void bench_pin(int cpu)
{
	allow(cpu, cpu);
}

void bench_unpin(void)
{
	allow(GUEST_CPU, HOST_CPU);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double bench_median(double *values, unsigned count)
{
	qsort(values, count, sizeof(*values), compare);
	return values[count / 2];
}

static void pin_host(void *arg)
{
	bench_pin(HOST_CPU);
}

void bench_pair_begin(struct bench_pair *pair, const char *name)
{
	struct io_loop_config loop = { .name = name, .poll_max_ns = IO_LOOP_POLL_NS };
	struct loopback_config memory = { .vp_count = 1, .memory_bytes = 64u << 20 };
	struct vmbus_host_config bus = { 0 };

	memset(pair, 0, sizeof(*pair));
	bench_must("loop", io_loop_create(&loop, &pair->loop));
	bench_must("partition", loopback_create(&memory, &pair->partition));
	bus.partition = pair->partition;
	bus.loop = pair->loop;
	bench_must("bus", vmbus_host_create(&bus, &pair->bus));
	bench_must("thread", io_loop_start(pair->loop));
	io_loop_call_wait(pair->loop, pin_host, NULL);
	bench_pin(GUEST_CPU);
}

void bench_pair_connect(struct bench_pair *pair)
{
	bench_must("guest", loopback_guest_attach(pair->partition, &pair->guest.lo));
	bench_must("contact", mini_connect(&pair->guest, VMBUS_VERSION_IRON));
	bench_must("offers", mini_request_offers(&pair->guest));
}

static void read_cpu(void *arg)
{
	((struct bench_pair *)arg)->cpu_ns = bench_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t bench_pair_cpu_ns(struct bench_pair *pair)
{
	io_loop_call_wait(pair->loop, read_cpu, pair);
	return pair->cpu_ns;
}

static void device_gone(struct io_call *call)
{
	struct bench_pair *pair = (struct bench_pair *)((char *)call - offsetof(struct bench_pair, destroyed));

	atomic_store(&pair->gone, true);
}

static void destroy_device(void *arg)
{
	struct bench_pair *pair = arg;

	pair->destroy(pair, &pair->destroyed);
}

void bench_pair_end(struct bench_pair *pair,
		    void (*destroy)(struct bench_pair *pair, struct io_call *destroyed))
{
	pair->destroy = destroy;
	pair->destroyed.fn = device_gone;
	io_loop_call_wait(pair->loop, destroy_device, pair);
	while (!atomic_load(&pair->gone))
		usleep(1000);
	io_loop_join(pair->loop);
	loopback_guest_detach(pair->guest.lo);
	vmbus_host_destroy(pair->bus);
	loopback_destroy(pair->partition);
	io_loop_destroy(pair->loop);
	bench_unpin();
}
