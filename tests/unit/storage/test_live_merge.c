// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * A merge under a guest that writes whenever it can, much more than is copied in the same time: it comes to its end
 * nevertheless, and all that was written is there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/live_merge.h"
#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/sim_io.h"
#include "vmbus/os.h"

#define MIB (UINT64_C(1) << 20)
#define DISK_BYTES (16 * MIB)
#define BLOCK_BYTES 16384u
#define BLOCKS ((uint32_t)(DISK_BYTES / BLOCK_BYTES))
#define LITTLE (MIB / BLOCK_BYTES) /* blocks, in fewer regions than are copied while the guest waits */
#define LOOPS 2
#define DEPTH 24             /* requests of each loop */
#define TURNS 10             /* of the guest, while the merge makes one */
#define GOES_ON_MAX 100000   /* then it does not come to an end */

struct slot {
	struct block_request request; /* first */
	struct iovec iov;
	struct io_loop *loop;
	uint32_t block;
	uint64_t seed;
	bool busy;
	_Alignas(8) uint8_t data[BLOCK_BYTES];
};

struct fixture {
	char parent[64], child[64];
	struct io_loop *owner, *loops[LOOPS];
	struct live *live;
	struct live_merge *merge;
	bool merged, stop;
	uint32_t blocks;         /* that are written */
	unsigned cancel_at;      /* turns of the merge while changes wait; 0: not */
	unsigned goes_on, goes_on_throttled;
	uint64_t random, seeds[BLOCKS], writes_throttled;
	bool busy[BLOCKS];
	struct slot slots[LOOPS * DEPTH];
};

static struct fixture fixture;
static unsigned throttled; /* log lines that say so */
static char error[BLOCK_ERROR_BYTES];

/* In place of io/log.c's. */
void os_log(enum os_log_level level, const char *format, ...)
{
	throttled += strstr(format, "it has to wait") != NULL;
}

/* ---- the guest ---- */

static void slot_start(struct slot *slot);

static void fill(uint8_t *data, uint32_t block, uint64_t seed)
{
	memset(data, 0, BLOCK_BYTES);
	if (seed)
		block_pattern(data, BLOCK_BYTES, (uint64_t)block * BLOCK_BYTES, seed);
}

static void slot_done(struct block_request *request, int result)
{
	struct slot *slot = (struct slot *)request;
	struct fixture *f = &fixture;
	uint8_t expected[BLOCK_BYTES];

	assert_int_equal(result, 0);
	slot->busy = false;
	f->busy[slot->block] = false;
	if (request->op == BLOCK_READ) {
		fill(expected, slot->block, f->seeds[slot->block]);
		assert_memory_equal(slot->data, expected, BLOCK_BYTES);
	} else if (request->op != BLOCK_FLUSH) {
		f->seeds[slot->block] = request->op == BLOCK_WRITE ? slot->seed : 0;
		f->writes_throttled += throttled;
	}
	if (!f->stop)
		slot_start(slot);
}

static void slot_start(struct slot *slot)
{
	static const enum block_op ops[] = { BLOCK_READ, BLOCK_WRITE_ZEROES, BLOCK_FLUSH };
	struct fixture *f = &fixture;
	uint64_t dice;

	do {
		dice = block_random(&f->random);
		slot->block = (uint32_t)(dice >> 8) % f->blocks;
	} while (f->busy[slot->block]);
	slot->seed = dice | 1;
	slot->iov = (struct iovec){ slot->data, BLOCK_BYTES };
	slot->request = (struct block_request){
		.op = dice % 16 < 3 ? ops[dice % 16] : BLOCK_WRITE,
		.offset_bytes = (uint64_t)slot->block * BLOCK_BYTES,
		.length_bytes = BLOCK_BYTES,
		.iov = &slot->iov,
		.iov_count = 1,
		.done = slot_done,
	};
	if (slot->request.op == BLOCK_FLUSH)
		slot->request.offset_bytes = slot->request.length_bytes = slot->request.iov_count = 0;
	else
		f->busy[slot->block] = true;
	if (slot->request.op == BLOCK_WRITE)
		fill(slot->data, slot->block, slot->seed);
	slot->busy = true;
	block_submit(live_device(f->live), slot->loop, &slot->request);
}

/* False: all that the guest has under way waits. */
static bool guest_turns(void)
{
	bool any = false;

	for (int i = 0; i < LOOPS; i++)
		any |= io_loop_turn(fixture.loops[i], false);
	return any;
}

static void guest_begins(struct fixture *f, uint32_t blocks)
{
	f->blocks = blocks;
	f->stop = false;
	for (int i = 0; i < LOOPS * DEPTH; i++) {
		f->slots[i].loop = f->loops[i % LOOPS];
		slot_start(&f->slots[i]);
	}
}

static void guest_ends(struct fixture *f)
{
	f->stop = true;
	while (guest_turns())
		;
	for (int i = 0; i < LOOPS * DEPTH; i++)
		assert_false(f->slots[i].busy); /* nothing waits for what will not come */
}

/* ---- the merge ---- */

static void goes_on(void *context)
{
	struct fixture *f = context;

	for (int i = 0; i < TURNS && guest_turns(); i++)
		;
	f->goes_on_throttled += throttled;
	if (++f->goes_on == GOES_ON_MAX || (f->cancel_at && f->goes_on_throttled == f->cancel_at))
		live_merge_cancel(f->merge);
}

static void merged(void *context)
{
	((struct fixture *)context)->merged = true;
}

static int merge(struct fixture *f)
{
	const struct live_merge_config config = {
		.live = f->live, .loop = f->owner, .done = merged, .goes_on = goes_on, .context = f,
	};
	const char *why;
	int result;

	f->merged = false;
	f->goes_on = f->goes_on_throttled = throttled = 0;
	assert_int_equal(live_merge_start(&config, &f->merge), 0);
	while (!f->merged) {
		io_loop_turn(f->owner, false);
		guest_turns();
	}
	result = live_merge_result(f->merge, &why);
	live_merge_destroy(f->merge);
	return result;
}

/* ---- fixture ---- */

static int setup(void **state)
{
	struct block_create_options options = { .format = *state, .size_bytes = DISK_BYTES };
	const struct block_open_options read_only = { .read_only = true };
	const char *folder = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	struct fixture *f = &fixture;
	struct block_device *device;

	memset(f, 0, sizeof(*f));
	sim_seed(1);
	sim_fault(NULL);
	f->random = 1;
	throttled = 0;
	snprintf(f->parent, sizeof(f->parent), "%s/lis-merge.%d", folder, (int)getpid());
	snprintf(f->child, sizeof(f->child), "%s/lis-merge.%d.child", folder, (int)getpid());
	if (block_create(f->parent, &options, error) || block_open(f->parent, &read_only, &options.parent, error) ||
	    block_create(f->child, &options, error) || block_close(options.parent) ||
	    block_open(f->child, NULL, &device, error))
		fail_msg("%s", error);
	assert_int_equal(io_loop_create(NULL, &f->owner), 0);
	for (int i = 0; i < LOOPS; i++)
		assert_int_equal(io_loop_create(NULL, &f->loops[i]), 0);
	assert_int_equal(live_create(device, f->loops, LOOPS, f->owner, &f->live), 0);
	return 0;
}

/* What is left when the VM has ended. */
static void assert_disk(struct fixture *f, const char *path)
{
	uint8_t data[BLOCK_BYTES], expected[BLOCK_BYTES];
	struct block_device *device;

	assert_string_equal(live_behind(f->live)->path, path);
	assert_int_equal(block_close(live_device(f->live)), 0);
	f->live = NULL;
	if (block_open(path, NULL, &device, error))
		fail_msg("%s", error);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		fill(expected, i, f->seeds[i]);
		assert_int_equal(block_io(device, f->owner, BLOCK_READ, 0, (uint64_t)i * BLOCK_BYTES, data, BLOCK_BYTES), 0);
		assert_memory_equal(data, expected, BLOCK_BYTES);
	}
	assert_int_equal(block_close(device), 0);
}

static int teardown(void **state)
{
	struct fixture *f = &fixture;

	for (int i = 0; i < LOOPS; i++)
		io_loop_destroy(f->loops[i]);
	io_loop_destroy(f->owner);
	unlink(f->parent);
	unlink(f->child);
	return 0;
}

/* ---- claims ---- */

static void a_guest_that_never_stops_does_not_keep_it_from_its_end(void **state)
{
	struct fixture *f = &fixture;

	guest_begins(f, BLOCKS);
	assert_int_equal(merge(f), 0);
	assert_int_equal(throttled, 1);
	assert_true(f->writes_throttled > BLOCKS / 8); /* but it got on */
	guest_ends(f);
	assert_int_equal(access(f->child, F_OK), -1);
	assert_disk(f, f->parent);
}

static void canceled_while_changes_wait_it_lets_them_go_on(void **state)
{
	struct fixture *f = &fixture;

	guest_begins(f, BLOCKS);
	f->cancel_at = 20;
	assert_int_equal(merge(f), -LIS_CANCELED);
	assert_int_equal(f->goes_on_throttled, 20);
	assert_string_equal(live_behind(f->live)->path, f->child);
	guest_ends(f);
	f->cancel_at = 0;
	guest_begins(f, BLOCKS);
	assert_int_equal(merge(f), 0);
	guest_ends(f);
	assert_disk(f, f->parent);
}

static void who_writes_a_little_need_not_wait(void **state)
{
	struct fixture *f = &fixture;

	guest_begins(f, BLOCKS);
	guest_ends(f);
	guest_begins(f, LITTLE);
	assert_int_equal(merge(f), 0);
	assert_int_equal(throttled, 0);
	guest_ends(f);
	assert_disk(f, f->parent);
}

int main(void)
{
#define TEST(name, format) { #name ": " format, name, setup, teardown, (void *)(uintptr_t)format }
	const struct CMUnitTest tests[] = {
		TEST(a_guest_that_never_stops_does_not_keep_it_from_its_end, "vhd"),
		TEST(a_guest_that_never_stops_does_not_keep_it_from_its_end, "vhdx"),
		TEST(canceled_while_changes_wait_it_lets_them_go_on, "vhd"),
		TEST(canceled_while_changes_wait_it_lets_them_go_on, "vhdx"),
		TEST(who_writes_a_little_need_not_wait, "vhdx"),
	};

	return cmocka_run_group_tests_name("live merge", tests, NULL, NULL);
}
