// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Messages through a VMBus ring between two threads on two CPUs, beside a bare single-producer byte
 * ring over the same memory: an 8-byte header, copied in and out, both indexes published for each
 * message on lines of their own, the peer's index cached, a full ring waited for until an eighth is
 * free. That ring checks nothing and cannot sleep.
 *
 * ring_<size> runs as channels do under load: packets exposed in batches, the decision about
 * signals every SETTLE packets, room given back in pieces of the ring. ring_<size>_each exposes
 * each packet as it is written, for comparison. Runs of all three take turns; medians are printed.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/unit/vmbus/ring_memory.h"

#define RING_BYTES (256u * 1024)
#define MESSAGE_BYTES_MAX 4096u
#define RUNS 7
#define RUN_NS 300000000
#define SETTLE 64          /* packets between decisions about signals */
#define BATCH_BYTES 16384u /* exposed at once, and not more than SETTLE packets */
#define IDLE_LOOKS 64      /* looks at an empty ring before room is given back */
#define GIVE_BACK 8        /* parts of the ring */
#define CLOCK_EVERY 256    /* messages between looks at the clock */

/* The bare ring's indexes, in the control page; free-running, so that equal means empty. */
struct bare_control {
	uint64_t in __attribute__((aligned(128)));
	uint64_t out __attribute__((aligned(128)));
};

struct run {
	struct ring_memory *memory;
	uint32_t message_bytes;
	uint32_t batch; /* packets exposed at once */
	/* What one side writes keeps off the lines the other reads. */
	uint64_t received __attribute__((aligned(128)));
	uint64_t bad;
	uint64_t sent __attribute__((aligned(128)));
	int writer_done;
};

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
		fprintf(stderr, "ring: cannot pin to CPU %d, figures will vary\n", cpu);
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#endif
}

static bool time_is_up(uint64_t sent, uint64_t end_ns)
{
	return sent % CLOCK_EVERY == 0 && now_ns() >= end_ns;
}

static uint64_t bare_wait_for_room(struct bare_control *control, uint64_t in)
{
	uint64_t out;

	while (in - (out = os_load_acquire(control->out)) > RING_BYTES - RING_BYTES / GIVE_BACK)
		relax();
	return out;
}

static void *bare_write(void *argument)
{
	struct run *run = argument;
	struct bare_control *control = (struct bare_control *)(void *)run->memory->control;
	uint64_t message[MESSAGE_BYTES_MAX / 8] = { 0 }, in = 0, known_out = 0, sent = 0;
	const uint64_t end_ns = now_ns() + RUN_NS, step = 8 + run->message_bytes;

	for (; !time_is_up(sent, end_ns); sent++) {
		uint8_t *at = run->memory->data + in % RING_BYTES;

		if (in + step - known_out > RING_BYTES)
			known_out = bare_wait_for_room(control, in);
		message[0] = sent;
		*(uint64_t *)(void *)at = run->message_bytes;
		memcpy(at + 8, message, run->message_bytes);
		in += step;
		os_store_release(control->in, in);
	}
	run->sent = sent;
	os_store_release(run->writer_done, 1);
	return NULL;
}

static void bare_read(struct run *run)
{
	struct bare_control *control = (struct bare_control *)(void *)run->memory->control;
	uint64_t message[MESSAGE_BYTES_MAX / 8], out = 0, known_in = 0;

	for (;;) {
		const uint8_t *at = run->memory->data + out % RING_BYTES;
		uint64_t bytes;

		while (out == known_in) {
			known_in = os_load_acquire(control->in);
			if (out != known_in)
				break;
			if (os_load_acquire(run->writer_done) && run->received == run->sent)
				return;
			relax();
		}
		bytes = *(const uint64_t *)(const void *)at;
		memcpy(message, at + 8, bytes);
		run->bad += message[0] != run->received;
		run->received++;
		out += 8 + bytes;
		os_store_release(control->out, out);
	}
}

static void *vmbus_write(void *argument)
{
	struct run *run = argument;
	uint64_t message[MESSAGE_BYTES_MAX / 8] = { 0 }, sent = 0;
	const struct vmbus_piece piece = { message, run->message_bytes };
	const uint64_t end_ns = now_ns() + RUN_NS;
	struct vmbus_ring_writer writer;

	if (vmbus_ring_writer_init(&writer, run->memory->control, run->memory->data, RING_BYTES))
		abort();
	for (; !time_is_up(sent, end_ns); sent++) {
		struct vmbus_packet_out packet = vmbus_packet_in_band(sent, false, &piece, 1);
		int error;

		message[0] = sent;
		while ((error = vmbus_ring_write(&writer, &packet)) == -LIS_FULL)
			relax();
		if (error)
			abort();
		if (sent % run->batch == 0)
			vmbus_ring_writer_expose(&writer);
		if (sent % SETTLE == 0)
			(void)!vmbus_ring_writer_publish(&writer); /* the reader polls */
	}
	(void)!vmbus_ring_writer_publish(&writer);
	run->sent = sent;
	os_store_release(run->writer_done, 1);
	return NULL;
}

static void vmbus_read(struct run *run)
{
	uint64_t copy[(MESSAGE_BYTES_MAX + sizeof(struct vmbus_packet_descriptor)) / 8];
	struct vmbus_ring_reader reader;
	uint32_t bytes, idle = 0;
	int error;

	if (vmbus_ring_reader_init(&reader, run->memory->control, run->memory->data, RING_BYTES))
		abort();
	vmbus_ring_reader_mask(&reader);
	for (;;) {
		error = vmbus_ring_read(&reader, copy, sizeof(copy), &bytes);
		if (!error) {
			run->bad += copy[2] != run->received;
			run->received++;
			if (vmbus_ring_reader_unpublished(&reader) < RING_BYTES / GIVE_BACK)
				continue;
		} else if (error != -LIS_EMPTY) {
			abort();
		} else if (os_load_acquire(run->writer_done) && run->received == run->sent) {
			return;
		} else {
			relax();
			if (++idle < IDLE_LOOKS)
				continue;
		}
		idle = 0;
		(void)!vmbus_ring_reader_publish(&reader); /* the writer polls */
	}
}

/* One run; millions of messages a second. */
static double measure(struct ring_memory *memory, uint32_t message_bytes, uint32_t batch,
		      const int cpus[2], void *(*write)(void *), void (*read)(struct run *))
{
	struct run run = { .memory = memory, .message_bytes = message_bytes, .batch = batch };
	uint64_t start;
	pthread_attr_t attributes;
	pthread_t thread;
	cpu_set_t set;

	memset(memory->control, 0, sizeof(*memory->control));
	CPU_ZERO(&set);
	CPU_SET(cpus[1], &set);
	pthread_attr_init(&attributes);
	pthread_attr_setaffinity_np(&attributes, sizeof(set), &set);
	start = now_ns();
	if (pthread_create(&thread, &attributes, write, &run)) {
		fprintf(stderr, "ring: cannot start a thread: %s\n", strerror(errno));
		exit(1);
	}
	read(&run);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attributes);
	if (run.bad) {
		fprintf(stderr, "ring: %llu messages out of order\n", (unsigned long long)run.bad);
		exit(1);
	}
	return (double)run.received * 1000 / (double)(now_ns() - start);
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

static void report(uint32_t size, const char *suffix, double ours, double peer)
{
	char name[32];

	snprintf(name, sizeof(name), "ring_%uB%s", size, suffix);
	printf("%s %.2f Mmsg/s bare_ring %.2f Mmsg/s %.2f\n", name, ours, peer, ours / peer);
	fflush(stdout);
}

/* The first two CPUs this process may use; false where there is only one. */
static bool two_cpus(int cpus[2])
{
	cpu_set_t set;
	int count = 0;

	if (sched_getaffinity(0, sizeof(set), &set))
		return false;
	for (int cpu = 0; cpu < CPU_SETSIZE && count < 2; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[count++] = cpu;
	return count == 2;
}

int main(void)
{
	static const uint32_t sizes[] = { 64, 256, 4096 };
	struct ring_memory memory = ring_memory_create(RING_BYTES);
	int cpus[2];

	if (!two_cpus(cpus)) {
		fprintf(stderr, "ring: needs two CPUs\n");
		return 1;
	}
	pin(cpus[0]);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t batch = BATCH_BYTES / sizes[i] < SETTLE ? BATCH_BYTES / sizes[i] : SETTLE;
		double bare[RUNS], batched[RUNS], each[RUNS], peer;

		for (int run = 0; run < RUNS; run++) {
			bare[run] = measure(&memory, sizes[i], 0, cpus, bare_write, bare_read);
			batched[run] = measure(&memory, sizes[i], batch, cpus, vmbus_write,
					       vmbus_read);
			each[run] = measure(&memory, sizes[i], 1, cpus, vmbus_write, vmbus_read);
		}
		peer = median(bare);
		report(sizes[i], "", median(batched), peer);
		report(sizes[i], "_each", median(each), peer);
	}
	ring_memory_destroy(&memory);
	return 0;
}
