// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Do writer and reader ever both sleep with work left? A small model checker over the real ring
 * code: ring.c is compiled in here with its accessors replaced by ones that hand control to a
 * scheduler, and with a store buffer for each side, so that stores become visible late, as they do
 * on x86. All schedules with at most BOUND deviations from running one side to its end are tried.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <cmocka.h>

#include "vmbus/os.h"

static void checked_load(const void *at, void *value, size_t bytes);
static void checked_store(void *at, const void *value, size_t bytes);
static void checked_barrier(void);

#undef os_read_once
#undef os_write_once
#undef os_load_acquire
#undef os_store_release
#undef os_full_barrier
#define os_read_once(field) \
	({ __typeof__((field) + 0) v_; checked_load(&(field), &v_, sizeof(v_)); v_; })
#define os_write_once(field, value) \
	({ __typeof__((field) + 0) w_ = (value); checked_store(&(field), &w_, sizeof(w_)); })
#define os_load_acquire(field) os_read_once(field)
#define os_store_release(field, value) os_write_once(field, value)
#define os_full_barrier() checked_barrier()

#include "vmbus/ring.c"

#define BOUND 3
#define STEPS_MAX 4000
#define BUFFER_MAX 16
#define DATA_BYTES 4096u

enum side { WRITER, READER, SIDES };

struct late_store {
	uint32_t *at;
	uint32_t value;
};

struct thread {
	ucontext_t context;
	bool done, asleep, woken;
	struct late_store stores[BUFFER_MAX];
	unsigned int store_count;
};

static struct {
	ucontext_t scheduler;
	struct thread threads[SIDES];
	enum side running;
	struct vmbus_ring_control control __attribute__((aligned(8)));
	uint64_t data[2 * DATA_BYTES / 8]; /* both mappings; packets here never wrap in content */
	struct vmbus_ring_writer writer;
	struct vmbus_ring_reader reader;
	uint32_t packets, packet_bytes, received;
	bool exposes, lazy_reader;
	/* the schedule: at each step the choice made, of how many, and the deviations so far */
	struct { uint8_t choice, choices; } path[STEPS_MAX];
	unsigned int depth, replay, deviations;
} world;

static bool in_control_page(const void *at)
{
	return (const uint8_t *)at >= (const uint8_t *)&world.control &&
	       (const uint8_t *)at < (const uint8_t *)(&world.control + 1);
}

static void yield_to_scheduler(void)
{
	swapcontext(&world.threads[world.running].context, &world.scheduler);
}

static void flush_one(struct thread *thread)
{
	*thread->stores[0].at = thread->stores[0].value;
	thread->store_count--;
	memmove(thread->stores, thread->stores + 1,
		thread->store_count * sizeof(thread->stores[0]));
}

static void flush_all(struct thread *thread)
{
	while (thread->store_count)
		flush_one(thread);
}

static void checked_load(const void *at, void *value, size_t bytes)
{
	struct thread *thread = &world.threads[world.running];

	memcpy(value, at, bytes);
	if (!in_control_page(at))
		return;
	yield_to_scheduler();
	memcpy(value, at, bytes);
	for (unsigned int i = 0; i < thread->store_count; i++)
		if (thread->stores[i].at == at)
			memcpy(value, &thread->stores[i].value, bytes);
}

static void checked_store(void *at, const void *value, size_t bytes)
{
	struct thread *thread = &world.threads[world.running];
	struct late_store store = { .at = at };

	if (!in_control_page(at)) {
		memcpy(at, value, bytes);
		return;
	}
	yield_to_scheduler();
	memcpy(&store.value, value, sizeof(store.value));
	if (thread->store_count == BUFFER_MAX)
		flush_one(thread);
	thread->stores[thread->store_count++] = store;
}

static void checked_barrier(void)
{
	yield_to_scheduler();
	flush_all(&world.threads[world.running]);
}

/* A hypercall or a system call: all stores are out before the other side hears of it. */
static void signal_side(enum side side)
{
	yield_to_scheduler();
	flush_all(&world.threads[world.running]);
	world.threads[side].woken = true;
}

static void sleep_until_signalled(void)
{
	struct thread *thread = &world.threads[world.running];

	while (!thread->woken) {
		thread->asleep = true;
		yield_to_scheduler();
	}
	thread->asleep = false;
	thread->woken = false;
}

static void writer_main(void)
{
	for (uint32_t sent = 0; sent < world.packets;) {
		void *body;
		int error = vmbus_ring_reserve(&world.writer, 6, 0, sent, 0,
					       world.packet_bytes - 24, &body);

		if (!error) {
			vmbus_ring_commit(&world.writer);
			sent++;
			if (world.exposes && sent < world.packets) {
				vmbus_ring_writer_expose(&world.writer);
				continue;
			}
		}
		if (vmbus_ring_writer_publish(&world.writer))
			signal_side(READER);
		if (error)
			sleep_until_signalled();
	}
	world.threads[WRITER].done = true;
	yield_to_scheduler();
}

static void reader_main(void)
{
	static uint64_t copy[DATA_BYTES / 8];
	uint32_t bytes;

	while (world.received < world.packets) {
		if (!vmbus_ring_read(&world.reader, copy, sizeof(copy), &bytes)) {
			world.received++;
			if (world.lazy_reader)
				continue;
		}
		if (vmbus_ring_reader_publish(&world.reader))
			signal_side(WRITER);
		if (world.reader.out != world.reader.cached_in)
			continue;
		if (!vmbus_ring_reader_unmask(&world.reader) && world.received < world.packets)
			sleep_until_signalled();
		vmbus_ring_reader_mask(&world.reader);
	}
	if (vmbus_ring_reader_publish(&world.reader))
		signal_side(WRITER);
	world.threads[READER].done = true;
	yield_to_scheduler();
}

static bool can_run(const struct thread *thread)
{
	return !thread->done && (!thread->asleep || thread->woken);
}

/* Pick one of @count; 0 is the ordinary course, all else a deviation. */
static unsigned int choose(unsigned int count)
{
	unsigned int choice = 0;

	assert_true(world.depth < STEPS_MAX);
	if (world.deviations >= BOUND)
		count = 1;
	if (world.depth < world.replay)
		choice = world.path[world.depth].choice;
	world.path[world.depth].choice = (uint8_t)choice;
	world.path[world.depth].choices = (uint8_t)count;
	world.depth++;
	world.deviations += choice > 0;
	return choice;
}

enum action { RUN_WRITER, RUN_READER, FLUSH_WRITER, FLUSH_READER };

static void run(enum side side)
{
	world.running = side;
	swapcontext(&world.scheduler, &world.threads[side].context);
}

/* One schedule, from start to where nothing can move. */
static void run_schedule(enum side first)
{
	world.running = first;
	for (;;) {
		enum side current = world.running, other = current == WRITER ? READER : WRITER;
		enum action actions[4];
		unsigned int count = 0;

		if (can_run(&world.threads[current]))
			actions[count++] = current == WRITER ? RUN_WRITER : RUN_READER;
		if (can_run(&world.threads[other]))
			actions[count++] = other == WRITER ? RUN_WRITER : RUN_READER;
		if (world.threads[WRITER].store_count)
			actions[count++] = FLUSH_WRITER;
		if (world.threads[READER].store_count)
			actions[count++] = FLUSH_READER;
		if (!count)
			return;
		switch (actions[choose(count)]) {
		case RUN_WRITER:
			run(WRITER);
			break;
		case RUN_READER:
			run(READER);
			break;
		case FLUSH_WRITER:
			flush_one(&world.threads[WRITER]);
			break;
		case FLUSH_READER:
			flush_one(&world.threads[READER]);
			break;
		}
	}
}

static void start_thread(enum side side, void (*entry)(void), void *stack, size_t stack_bytes)
{
	struct thread *thread = &world.threads[side];

	memset(thread, 0, sizeof(*thread));
	getcontext(&thread->context);
	thread->context.uc_stack.ss_sp = stack;
	thread->context.uc_stack.ss_size = stack_bytes;
	thread->context.uc_link = NULL;
	makecontext(&thread->context, entry, 0);
}

static void set_up_ring(void)
{
	memset(&world.control, 0, sizeof(world.control));
	world.received = 0;
	world.running = WRITER;
	/* Without a scheduler to yield to, so outside the accessors. */
	world.writer = (struct vmbus_ring_writer){
		.control = &world.control, .data = (uint8_t *)world.data, .data_bytes = DATA_BYTES,
	};
	world.reader = (struct vmbus_ring_reader){
		.control = &world.control, .data = (uint8_t *)world.data, .data_bytes = DATA_BYTES,
	};
	world.control.features = VMBUS_RING_FEATURE_PENDING_SEND;
}

/* The next schedule: the last choice with an alternative left moves on. False when all are done. */
static bool next_path(void)
{
	while (world.depth) {
		unsigned int last = world.depth - 1;

		if (world.path[last].choice + 1 < world.path[last].choices) {
			world.path[last].choice++;
			world.replay = world.depth;
			return true;
		}
		world.depth--;
	}
	return false;
}

static void explore(uint32_t packets, uint32_t packet_bytes, bool exposes, bool lazy_reader)
{
	const size_t stack_bytes = 256 * 1024;
	void *stacks[SIDES] = { malloc(stack_bytes), malloc(stack_bytes) };

	world.packets = packets;
	world.packet_bytes = packet_bytes;
	world.exposes = exposes;
	world.lazy_reader = lazy_reader;
	for (int first = WRITER; first <= READER; first++) {
		unsigned long schedules = 0;

		world.replay = 0;
		do {
			set_up_ring();
			start_thread(WRITER, writer_main, stacks[WRITER], stack_bytes);
			start_thread(READER, reader_main, stacks[READER], stack_bytes);
			world.depth = 0;
			world.deviations = 0;
			run_schedule(first);
			schedules++;
			if (!world.threads[WRITER].done || !world.threads[READER].done)
				fail_msg("schedule %lu: stuck, %u of %u packets through", schedules,
					 world.received, packets);
		} while (next_path());
		assert_true(schedules > 100); /* else the checker itself is broken */
	}
	free(stacks[WRITER]);
	free(stacks[READER]);
}

static void no_schedule_loses_a_wake_up_of_the_reader(void **state)
{
	explore(2, 64, false, false);
}

static void no_schedule_loses_a_wake_up_after_exposed_packets(void **state)
{
	explore(2, 64, true, false);
}

static void no_schedule_loses_a_wake_up_of_a_writer_without_room(void **state)
{
	/* One fits, the second has to wait. */
	explore(2, 2104, false, false);
}

static void no_schedule_loses_a_wake_up_when_both_batch(void **state)
{
	/* Three fit; the fourth waits with all before it exposed only. */
	explore(4, 1208, true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_schedule_loses_a_wake_up_of_the_reader),
		cmocka_unit_test(no_schedule_loses_a_wake_up_after_exposed_packets),
		cmocka_unit_test(no_schedule_loses_a_wake_up_of_a_writer_without_room),
		cmocka_unit_test(no_schedule_loses_a_wake_up_when_both_batch),
	};

	return cmocka_run_group_tests_name("ring interleavings", tests, NULL, NULL);
}
