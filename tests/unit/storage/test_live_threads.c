/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A block device that is changed under load, with its loops on threads of their own: each reads and
 * writes a part of the disk and knows what is there, while the owner moves the disk from file to file, or
 * on to children of its image.
 * Meant for TSan, too.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/live_merge.h"
#include "storage/regions.h"
#include "tests/unit/storage/block_io.h"

#define LOOPS 3u
#define DEPTH 8u
#define BLOCK_BYTES 4096u
#define BLOCKS 64u /* of each loop */
#define PART_BYTES (BLOCKS * BLOCK_BYTES)
#define DISK_BYTES (LOOPS * PART_BYTES)
#define MOVES 60
#define CHILDREN 8

struct part;

struct slot {
	struct block_request request; /* first */
	struct part *part;
	struct iovec iov;
	uint32_t block;
	uint64_t seed;
	_Alignas(8) uint8_t data[BLOCK_BYTES];
};

/* What a loop works on; its thread's. */
struct part {
	struct frame *frame;
	struct io_loop *loop;
	uint32_t index;
	uint64_t random, seeds[BLOCKS];
	bool busy[BLOCKS];
	uint32_t under_way;
	_Atomic uint32_t done, wrong;
	struct io_call begin_call;
	struct slot slots[DEPTH];
};

struct frame {
	char paths[CHILDREN + 1][64];
	struct block_device *files[2];
	struct io_loop *owner;
	struct io_loop *loops[LOOPS];
	struct live *live;
	struct part parts[LOOPS];
	struct io_call call;
	unsigned called;
	_Atomic bool stop;
	_Atomic uint32_t resting;
};

static void slot_start(struct slot *slot);

static void fill(uint8_t *data, const struct part *part, uint32_t block, uint64_t seed)
{
	memset(data, 0, BLOCK_BYTES);
	if (seed)
		block_pattern(data, BLOCK_BYTES, (uint64_t)part->index * PART_BYTES + block * BLOCK_BYTES, seed);
}

static void slot_done(struct block_request *request, int result)
{
	struct slot *slot = (struct slot *)request;
	struct part *part = slot->part;
	uint8_t expected[BLOCK_BYTES];

	part->under_way--;
	part->busy[slot->block] = false;
	if (request->op == BLOCK_WRITE)
		part->seeds[slot->block] = slot->seed;
	fill(expected, part, slot->block, part->seeds[slot->block]);
	if (result || (request->op == BLOCK_READ && memcmp(expected, slot->data, BLOCK_BYTES)))
		atomic_fetch_add(&part->wrong, 1);
	atomic_fetch_add(&part->done, 1);
	slot_start(slot);
}

static void slot_start(struct slot *slot)
{
	struct part *part = slot->part;
	uint64_t dice;

	if (atomic_load(&part->frame->stop)) {
		if (!part->under_way)
			atomic_fetch_add(&part->frame->resting, 1);
		return;
	}
	do {
		dice = block_random(&part->random);
		slot->block = (uint32_t)(dice >> 8) % BLOCKS;
	} while (part->busy[slot->block]);
	part->busy[slot->block] = true;
	part->under_way++;
	slot->seed = dice | 1;
	slot->iov = (struct iovec){ slot->data, BLOCK_BYTES };
	slot->request = (struct block_request){
		.op = dice & 1 ? BLOCK_WRITE : BLOCK_READ,
		.flags = (dice & 0x3f) == 1 ? BLOCK_WRITE_FUA : 0,
		.offset_bytes = (uint64_t)part->index * PART_BYTES + slot->block * BLOCK_BYTES,
		.length_bytes = BLOCK_BYTES,
		.iov = &slot->iov,
		.iov_count = 1,
		.done = slot_done,
	};
	if (slot->request.op == BLOCK_WRITE)
		fill(slot->data, part, slot->block, slot->seed);
	block_submit(live_device(part->frame->live), part->loop, &slot->request);
}

static void part_begin(struct io_call *call)
{
	struct part *part = (struct part *)((char *)call - offsetof(struct part, begin_call));

	for (uint32_t i = 0; i < DEPTH; i++) {
		part->slots[i].part = part;
		slot_start(&part->slots[i]);
	}
}

static void on_call(struct io_call *call)
{
	((struct frame *)((char *)call - offsetof(struct frame, call)))->called++;
}

static void wait_called(struct frame *f)
{
	while (!f->called)
		io_loop_turn(f->owner, true);
	f->called = 0;
}

/* As QEMU and cp would do it, behind the live device's back. */
static void copy(const char *from, const char *to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CLOEXEC);
	uint8_t *data = malloc(DISK_BYTES);

	assert_true(in >= 0 && out >= 0);
	assert_int_equal(pread(in, data, DISK_BYTES, 0), DISK_BYTES);
	assert_int_equal(pwrite(out, data, DISK_BYTES, 0), DISK_BYTES);
	free(data);
	close(in);
	close(out);
}

static void begin(struct frame *f, const char *format, int files)
{
	struct block_create_options options = { .format = format, .size_bytes = DISK_BYTES };

	memset(f, 0, sizeof(*f));
	assert_int_equal(io_loop_create(NULL, &f->owner), 0);
	for (int i = 0; i <= CHILDREN; i++)
		snprintf(f->paths[i], sizeof(f->paths[i]), "/tmp/lis-live-%d-%d", (int)getpid(), i);
	for (int i = 0; i < files; i++) {
		char error[BLOCK_ERROR_BYTES];

		assert_int_equal(block_create(f->paths[i], &options, error), 0);
		assert_int_equal(block_open(f->paths[i], NULL, &f->files[i], error), 0);
	}
	for (uint32_t i = 0; i < LOOPS; i++)
		assert_int_equal(io_loop_create(NULL, &f->loops[i]), 0);
	assert_int_equal(live_create(f->files[0], f->loops, LOOPS, f->owner, &f->live), 0);
	f->call.fn = on_call;
	for (uint32_t i = 0; i < LOOPS; i++) {
		f->parts[i].frame = f;
		f->parts[i].index = i;
		f->parts[i].loop = f->loops[i];
		f->parts[i].random = i;
		f->parts[i].begin_call.fn = part_begin;
		assert_int_equal(io_loop_start(f->loops[i]), 0);
		io_loop_call(f->loops[i], &f->parts[i].begin_call);
	}
}

/* It gets on between two changes. */
static void wait_for_more(struct frame *f)
{
	uint32_t before = atomic_load(&f->parts[0].done);

	while (atomic_load(&f->parts[0].done) == before)
		usleep(100);
}

static void end(struct frame *f, uint32_t changes)
{
	atomic_store(&f->stop, true);
	while (atomic_load(&f->resting) < LOOPS)
		usleep(100);
	for (uint32_t i = 0; i < LOOPS; i++) {
		io_loop_join(f->loops[i]);
		assert_int_equal(atomic_load(&f->parts[i].wrong), 0);
		assert_true(atomic_load(&f->parts[i].done) > changes / 2);
	}
	assert_int_equal(block_close(live_device(f->live)), 0);
	for (uint32_t i = 0; i < LOOPS; i++)
		io_loop_destroy(f->loops[i]);
	io_loop_destroy(f->owner);
	for (int i = 0; i <= CHILDREN; i++)
		unlink(f->paths[i]);
}

static struct frame frame;

static void a_disk_that_moves_under_load_keeps_all_it_holds(void **state)
{
	struct frame *f = &frame;
	bool holds = false;

	begin(f, "raw", 2);
	for (int i = 0; i < MOVES; i++) {
		/* Not while what it waits for is held. */
		if (!holds)
			wait_for_more(f);
		live_drain(f->live, &f->call);
		wait_called(f);
		copy(f->paths[i % 2], f->paths[1 - i % 2]);
		holds = i % 3 == 1;
		live_resume(f->live, f->files[1 - i % 2], holds, &f->call);
		wait_called(f);
		if (holds && i % 2) {
			live_release(f->live, &f->call);
			wait_called(f);
			holds = false;
		}
	}
	live_release(f->live, &f->call);
	wait_called(f);
	end(f, MOVES);
	assert_int_equal(block_close(f->files[1 - MOVES % 2]), 0);
}

/* Room comes a little at a time; what waits for it goes on with it, or when there is no more waiting. */
static void a_disk_whose_changes_wait_loses_none(void **state)
{
	struct frame *f = &frame;
	struct regions *regions;

	assert_int_equal(regions_create(DISK_BYTES, &regions), 0);
	begin(f, "raw", 1);
	for (int i = 0; i < MOVES; i++) {
		wait_for_more(f);
		live_track(f->live, regions, &f->call);
		wait_called(f);
		live_throttle(f->live, &f->call);
		wait_called(f);
		for (int given = 0; given < 100; given++) {
			live_allow(f->live, PART_BYTES);
			if (given % 10 == 0)
				sched_yield();
		}
		if (i % 3 == 0) {
			live_drain(f->live, &f->call);
			wait_called(f);
			live_resume(f->live, f->files[0], false, &f->call);
			wait_called(f);
			wait_for_more(f);
		}
		live_track(f->live, NULL, &f->call);
		wait_called(f);
	}
	assert_true(regions_marked_bytes(regions) > 0);
	end(f, MOVES);
	regions_destroy(regions);
}

static void merged(void *context)
{
	((struct frame *)context)->called++;
}

/* And back again, one after the other. */
static void merge_all(struct frame *f)
{
	struct live_merge_config config = { .live = f->live, .loop = f->owner, .done = merged, .context = f };

	assert_int_equal(io_workers_create("merge", 1, &config.workers), 0);
	for (int i = CHILDREN; i > 0; i--) {
		struct live_merge *merge;
		const char *error;

		assert_int_equal(live_merge_start(&config, &merge), 0);
		wait_called(f);
		if (live_merge_result(merge, &error))
			fail_msg("%s", error);
		live_merge_destroy(merge);
		assert_int_equal(access(f->paths[i], F_OK), -1);
		assert_string_equal(live_behind(f->live)->path, f->paths[i - 1]);
		wait_for_more(f);
	}
	io_workers_destroy(config.workers);
}

static void a_disk_goes_on_on_children_and_back_under_load(void **state)
{
	struct frame *f = &frame;

	begin(f, "vhdx", 1);
	for (int i = 1; i <= CHILDREN; i++) {
		struct block_create_options create = { .parent = live_behind(f->live) };
		struct block_open_options options = { .parent = live_behind(f->live) };
		char error[BLOCK_ERROR_BYTES];
		struct block_device *child;

		wait_for_more(f);
		assert_int_equal(block_io(create.parent, f->owner, BLOCK_FLUSH, BLOCK_FLUSH_IDENTITY, 0, NULL, 0), 0);
		assert_int_equal(block_create(f->paths[i], &create, error), 0);
		assert_int_equal(block_open(f->paths[i], &options, &child, error), 0);
		live_stop(f->live, &f->call);
		wait_called(f);
		live_resume(f->live, child, false, &f->call);
		wait_called(f);
		live_settle(f->live, &f->call);
		wait_called(f);
		assert_int_equal(live_settle_result(f->live), 0);
	}
	wait_for_more(f);
	merge_all(f);
	end(f, CHILDREN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_that_moves_under_load_keeps_all_it_holds),
		cmocka_unit_test(a_disk_whose_changes_wait_loses_none),
		cmocka_unit_test(a_disk_goes_on_on_children_and_back_under_load),
	};

	return cmocka_run_group_tests_name("live threads", tests, NULL, NULL);
}
