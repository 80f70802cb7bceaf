/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * A block device that is changed under whoever uses it: devices in memory that hold requests as long as
 * the test wants, and loops that the test turns, so that every order of events is its choice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/live.h"
#include "storage/regions.h"
#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/memory_block.h"

#define DISK_BYTES (1u << 20)

struct fixture {
	struct io_loop *owner, *loops[2];
	uint64_t clock;
	struct memory_block first, second;
	struct live *live;
	struct block_device *device;
	struct io_call call;
	unsigned called;
	uint8_t data[4096];
};

static uint64_t now_ns(void *clock)
{
	return *(uint64_t *)clock;
}

static void on_call(struct io_call *call)
{
	((struct fixture *)((char *)call - offsetof(struct fixture, call)))->called++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct io_loop_config config = { .now_ns = now_ns };

	assert_non_null(f);
	*state = f;
	f->clock = 1000;
	config.clock = &f->clock;
	assert_int_equal(io_loop_create(&config, &f->owner), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(io_loop_create(NULL, &f->loops[i]), 0);
	memory_block_init(&f->first, DISK_BYTES, 512);
	memory_block_init(&f->second, DISK_BYTES, 512);
	memset(f->second.bytes, 0x22, DISK_BYTES);
	assert_int_equal(live_create(&f->first.base, f->loops, 2, f->owner, &f->live), 0);
	f->device = live_device(f->live);
	f->call.fn = on_call;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(block_close(f->device), 0);
	memory_block_fini(&f->first);
	memory_block_fini(&f->second);
	for (int i = 0; i < 2; i++)
		io_loop_destroy(f->loops[i]);
	io_loop_destroy(f->owner);
	free(f);
	return 0;
}

static void turn(struct fixture *f)
{
	for (int i = 0; i < 3; i++) {
		io_loop_turn(f->owner, false);
		io_loop_turn(f->loops[0], false);
		io_loop_turn(f->loops[1], false);
	}
}

static void start(struct fixture *f, struct block_io *io, int loop, enum block_op op, uint32_t flags,
		  uint64_t offset_bytes)
{
	bool data = op == BLOCK_READ || op == BLOCK_WRITE;

	block_io_start(io, f->device, f->loops[loop], op, flags, offset_bytes, data ? f->data : NULL,
		       op == BLOCK_FLUSH ? 0 : sizeof(f->data));
}

static void drain(struct fixture *f)
{
	live_drain(f->live, &f->call);
	turn(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
}

static void resume(struct fixture *f, struct memory_block *behind, bool hold)
{
	live_resume(f->live, &behind->base, hold, &f->call);
	turn(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
}

static void requests_go_to_the_device_and_their_ends_come_back(void **state)
{
	struct fixture *f = *state;
	struct block_io io[3];

	assert_ptr_equal(live_behind(f->live), &f->first.base);
	assert_true(f->device->geometry.size_bytes == DISK_BYTES);
	start(f, &io[0], 0, BLOCK_READ, 0, 8192);
	assert_int_equal(io[0].ends, 1);
	assert_int_equal(io[0].result, 0);
	for (uint32_t i = 0; i < sizeof(f->data); i++)
		assert_int_equal(f->data[i], memory_block_pattern(8192 + i));
	/* What is wrong with a request the device behind finds. */
	start(f, &io[1], 1, BLOCK_READ, 0, DISK_BYTES);
	assert_int_equal(io[1].result, -LIS_INVALID);
	f->first.fail_at = 1;
	f->first.fail_with = -LIS_IO;
	start(f, &io[2], 1, BLOCK_FLUSH, 0, 0);
	assert_int_equal(io[2].result, -LIS_IO);
	/* The owner's loop is none of those it was made for. */
	block_io_start(&io[0], f->device, f->owner, BLOCK_FLUSH, 0, 0, NULL, 0);
	assert_int_equal(io[0].result, -LIS_INVALID);
}

static void draining_waits_for_what_is_under_way_on_every_loop(void **state)
{
	struct fixture *f = *state;
	struct block_io io[2];

	f->first.hold = true;
	start(f, &io[0], 0, BLOCK_WRITE, 0, 0);
	start(f, &io[1], 1, BLOCK_READ, 0, 4096);
	live_drain(f->live, &f->call);
	turn(f);
	assert_int_equal(f->called, 0);
	assert_int_equal(memory_block_release(&f->first, 1), 1);
	turn(f);
	assert_int_equal(f->called, 0);
	assert_int_equal(memory_block_release(&f->first, 1), 1);
	turn(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
	assert_int_equal(io[0].ends + io[1].ends, 2);
	f->first.hold = false;
	resume(f, &f->first, false);
}

static void what_comes_meanwhile_waits_and_goes_to_the_other_device_in_order(void **state)
{
	struct fixture *f = *state;
	struct block_io io[4];
	uint32_t before = f->first.log_count;

	drain(f);
	for (int i = 0; i < 3; i++)
		start(f, &io[i], 0, BLOCK_READ, 0, (uint64_t)i * 4096);
	start(f, &io[3], 1, BLOCK_WRITE, 0, 65536);
	turn(f);
	for (int i = 0; i < 4; i++)
		assert_int_equal(io[i].ends, 0);
	f->clock += 12345;
	resume(f, &f->second, false);
	assert_int_equal(live_pause_ns(f->live), 12345);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(io[i].ends, 1);
		assert_int_equal(io[i].result, 0);
	}
	assert_int_equal(f->first.log_count, before);
	assert_int_equal(f->second.log_count, 4);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(f->second.log[i].offset_bytes, i * 4096);
	assert_ptr_equal(live_behind(f->live), &f->second.base);
}

/* The device may have grown meanwhile: the request was never looked at before. */
static void a_request_that_waits_is_checked_against_what_it_gets(void **state)
{
	struct fixture *f = *state;
	struct block_io grown, shrunk;

	drain(f);
	f->second.base.geometry.size_bytes = DISK_BYTES / 2;
	start(f, &shrunk, 0, BLOCK_READ, 0, DISK_BYTES - 4096);
	resume(f, &f->second, false);
	assert_int_equal(shrunk.result, -LIS_INVALID);
	assert_true(f->device->geometry.size_bytes == DISK_BYTES / 2);
	drain(f);
	start(f, &grown, 0, BLOCK_READ, 0, DISK_BYTES - 4096);
	f->second.base.geometry.size_bytes = DISK_BYTES;
	resume(f, &f->second, false);
	assert_int_equal(grown.result, 0);
	assert_true(f->device->geometry.size_bytes == DISK_BYTES);
}

static void what_wants_to_be_durable_can_be_held_alone(void **state)
{
	struct fixture *f = *state;
	struct block_io flush, fua, write, read, late;

	drain(f);
	start(f, &flush, 0, BLOCK_FLUSH, 0, 0);
	resume(f, &f->second, true);
	start(f, &fua, 1, BLOCK_WRITE, BLOCK_WRITE_FUA, 0);
	start(f, &write, 1, BLOCK_WRITE, 0, 4096);
	start(f, &read, 0, BLOCK_READ, 0, 0);
	assert_int_equal(write.ends + read.ends, 2);
	assert_int_equal(flush.ends + fua.ends, 0);
	/* Not what is under way, so draining does not wait for them. */
	drain(f);
	start(f, &late, 0, BLOCK_FLUSH, 0, 0);
	resume(f, &f->second, true);
	assert_int_equal(flush.ends + fua.ends + late.ends, 0);
	live_release(f->live, &f->call);
	turn(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
	assert_int_equal(flush.ends + fua.ends + late.ends, 3);
	assert_int_equal(flush.result | fua.result | late.result, 0);
	start(f, &flush, 0, BLOCK_FLUSH, 0, 0);
	assert_int_equal(flush.ends, 1);
	drain(f);
	resume(f, &f->first, true);
	start(f, &late, 1, BLOCK_FLUSH, 0, 0);
	drain(f);
	assert_int_equal(late.ends, 0);
	resume(f, &f->first, false);
	assert_int_equal(late.ends, 1);
}

static void stop(struct fixture *f)
{
	live_stop(f->live, &f->call);
	turn(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
}

/* The claim of a pause that does not depend on the disk: it answers nothing, and all goes on. */
static void a_stop_waits_for_nothing_of_the_device(void **state)
{
	struct fixture *f = *state;
	struct block_io old[3], young[3];

	f->first.hold = true;
	start(f, &old[0], 0, BLOCK_WRITE, 0, 0);
	start(f, &old[1], 1, BLOCK_FLUSH, 0, 0);
	start(f, &old[2], 1, BLOCK_READ, 0, 4096);
	stop(f);
	start(f, &young[0], 0, BLOCK_WRITE, 0, 8192);
	assert_int_equal(young[0].ends, 0);
	f->clock += 77;
	resume(f, &f->second, false);
	assert_int_equal(live_pause_ns(f->live), 77);
	start(f, &young[1], 1, BLOCK_READ, 0, 0);
	start(f, &young[2], 1, BLOCK_WRITE, BLOCK_WRITE_FUA, 0);
	assert_int_equal(young[0].ends + young[1].ends + young[2].ends, 3);
	assert_int_equal(f->data[0], 0x22);
	assert_int_equal(f->second.log_count, 3);
	/* What was under way ends where it began. */
	assert_int_equal(old[0].ends + old[1].ends + old[2].ends, 0);
	f->first.hold = false;
	assert_int_equal(memory_block_release(&f->first, 3), 3);
	assert_int_equal(old[0].ends + old[1].ends + old[2].ends, 3);
	assert_int_equal(f->second.log_count, 3);
	live_settle(f->live, &f->call);
	turn(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
}

/* What a guest has flushed is durable, on whichever of the two it is. */
static void flushes_go_to_both_until_the_one_before_is_settled(void **state)
{
	struct fixture *f = *state;
	struct block_io old, flush, fua;
	uint32_t before;

	f->first.hold = true;
	start(f, &old, 0, BLOCK_WRITE, 0, 0);
	stop(f);
	resume(f, &f->second, false);
	before = f->first.log_count;
	start(f, &flush, 1, BLOCK_FLUSH, 0, 0);
	start(f, &fua, 1, BLOCK_WRITE, BLOCK_WRITE_FUA, 0);
	/* First there, then here. */
	assert_int_equal(f->first.log_count, before + 1);
	assert_int_equal(f->second.log_count, 1);
	assert_int_equal(flush.ends, 0);
	/* Settling waits for what is under way there, before it flushes. */
	live_settle(f->live, &f->call);
	turn(f);
	assert_int_equal(f->called, 0);
	assert_int_equal(f->first.log_count, before + 1);
	assert_int_equal(memory_block_release(&f->first, 1), 1);
	turn(f);
	assert_int_equal(f->first.log_count, before + 2);
	assert_int_equal(f->called, 0);
	assert_int_equal(memory_block_release(&f->first, 2), 2);
	turn(f);
	assert_int_equal(f->called, 1);
	assert_int_equal(live_settle_result(f->live), 0);
	assert_int_equal(old.ends + flush.ends + fua.ends, 3);
	assert_int_equal(f->second.log[f->second.log_count - 1].op, BLOCK_FLUSH);
	f->called = 0;
	before = f->first.log_count;
	start(f, &flush, 0, BLOCK_FLUSH, 0, 0);
	assert_int_equal(flush.ends, 1);
	assert_int_equal(f->first.log_count, before);
	/* And again, to a third. */
	f->first.hold = false;
	stop(f);
	resume(f, &f->first, false);
	before = f->second.log_count;
	start(f, &flush, 0, BLOCK_FLUSH, 0, 0);
	assert_int_equal(f->second.log_count, before + 1);
	live_settle(f->live, &f->call);
	turn(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
}

static void what_cannot_be_settled_fails_every_flush(void **state)
{
	struct fixture *f = *state;
	struct block_io flush;

	stop(f);
	resume(f, &f->second, false);
	f->first.fail_at = 1;
	f->first.fail_with = -LIS_IO;
	live_settle(f->live, &f->call);
	turn(f);
	assert_int_equal(f->called, 1);
	assert_int_equal(live_settle_result(f->live), -LIS_IO);
	f->called = 0;
	f->first.fail_at = 1;
	start(f, &flush, 0, BLOCK_FLUSH, 0, 0);
	assert_int_equal(flush.result, -LIS_IO);
	assert_int_equal(f->second.log_count, 0);
	live_settle(f->live, &f->call);
	turn(f);
	assert_int_equal(f->called, 1);
	assert_int_equal(live_settle_result(f->live), 0);
	f->called = 0;
	start(f, &flush, 0, BLOCK_FLUSH, 0, 0);
	assert_int_equal(flush.result, 0);
}

static void draining_waits_for_both_lanes(void **state)
{
	struct fixture *f = *state;
	struct block_io old, young;

	f->first.hold = f->second.hold = true;
	start(f, &old, 0, BLOCK_WRITE, 0, 0);
	stop(f);
	resume(f, &f->second, false);
	start(f, &young, 0, BLOCK_WRITE, 0, 0);
	live_drain(f->live, &f->call);
	turn(f);
	memory_block_release(&f->second, 1);
	turn(f);
	assert_int_equal(f->called, 0);
	memory_block_release(&f->first, 1);
	turn(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
	f->first.hold = f->second.hold = false;
	resume(f, &f->second, false);
	live_settle(f->live, &f->call);
	turn(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
}

static void discarding_does_what_it_was_said_to_do(void **state)
{
	struct fixture *f = *state;
	struct block_io io;

	start(f, &io, 0, BLOCK_DISCARD, 0, 0);
	assert_int_equal(f->first.log[f->first.log_count - 1].op, BLOCK_DISCARD);
	f->second.base.geometry.discard_zeroes = false;
	drain(f);
	resume(f, &f->second, false);
	assert_true(f->device->geometry.discard_zeroes);
	start(f, &io, 0, BLOCK_DISCARD, 0, 0);
	assert_int_equal(f->second.log[0].op, BLOCK_WRITE_ZEROES);
	assert_int_equal(f->second.bytes[0], 0);
}

/* One that ends sends the next from its own end, as drivers of disks do. */
struct chain {
	struct block_io io; /* first */
	struct fixture *f;
	unsigned left;
};

static void chain_done(struct block_request *request, int result)
{
	struct chain *chain = (struct chain *)request;

	assert_int_equal(result, 0);
	if (!chain->left--)
		return;
	block_submit(chain->f->device, chain->f->loops[0], request);
}

static void ends_may_begin_new_ones_at_any_time(void **state)
{
	struct fixture *f = *state;
	struct chain chain = { .f = f, .left = 9 };

	chain.io.request = (struct block_request){ .op = BLOCK_FLUSH, .done = chain_done };
	f->first.hold = true;
	block_submit(f->device, f->loops[0], &chain.io.request);
	live_drain(f->live, &f->call);
	turn(f);
	memory_block_release(&f->first, 1);
	turn(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
	assert_int_equal(chain.left, 8);
	resume(f, &f->second, false);
	assert_int_equal(chain.left, (unsigned)-1);
	f->first.hold = false;
}

/* ---- changes that wait ---- */

#define REGION 65536u

static void track(struct fixture *f, struct regions *regions)
{
	live_track(f->live, regions, &f->call);
	turn(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
}

static void throttle(struct fixture *f)
{
	live_throttle(f->live, &f->call);
	turn(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
}

static void allow(struct fixture *f, uint64_t bytes)
{
	live_allow(f->live, bytes);
	turn(f);
}

static struct regions *throttled(struct fixture *f)
{
	struct regions *regions;

	assert_int_equal(regions_create(DISK_BYTES, &regions), 0);
	track(f, regions);
	throttle(f);
	return regions;
}

static void changes_alone_wait_for_room_and_in_order(void **state)
{
	struct fixture *f = *state;
	struct regions *regions = throttled(f);
	struct block_io changes[5], read, flush;

	start(f, &changes[0], 0, BLOCK_WRITE, 0, 0);
	start(f, &changes[1], 0, BLOCK_WRITE_ZEROES, 0, REGION);
	start(f, &changes[2], 0, BLOCK_DISCARD, 0, 2 * REGION);
	start(f, &changes[3], 0, BLOCK_WRITE, BLOCK_WRITE_FUA, 4 * REGION - 2048); /* a part of two */
	start(f, &changes[4], 0, BLOCK_WRITE, 0, 5 * REGION);
	start(f, &read, 0, BLOCK_READ, 0, 0);
	start(f, &flush, 0, BLOCK_FLUSH, 0, 0);
	turn(f);
	assert_int_equal(read.ends + flush.ends, 2);
	assert_int_equal(regions_marked_bytes(regions), 0);
	allow(f, 0);
	assert_int_equal(changes[0].ends, 0);
	for (uint32_t i = 0; i < 3; i++) {
		allow(f, REGION);
		assert_int_equal(changes[i].ends, 1);
		assert_int_equal(changes[i + 1].ends, 0);
		assert_int_equal(regions_marked_bytes(regions), (i + 1) * REGION);
	}
	/* One byte lets it begin; the rest is owed. Whoever comes before it does has to wait nevertheless. */
	live_allow(f->live, 1);
	start(f, &changes[0], 0, BLOCK_WRITE, 0, 6 * REGION);
	turn(f);
	assert_int_equal(changes[3].ends, 1);
	assert_int_equal(changes[0].ends, 0);
	assert_int_equal(regions_marked_bytes(regions), 5 * REGION);
	allow(f, 2 * REGION - 1);
	assert_int_equal(changes[4].ends, 0);
	allow(f, 1);
	assert_int_equal(changes[4].ends, 1);
	assert_int_equal(changes[0].ends, 0);
	allow(f, REGION);
	assert_int_equal(changes[0].ends, 1);
	track(f, NULL);
	regions_destroy(regions);
}

static void room_is_for_the_loops_where_changes_wait(void **state)
{
	struct fixture *f = *state;
	struct regions *regions = throttled(f);
	struct block_io io[4];

	allow(f, 8 * REGION); /* for nobody: it is not kept */
	start(f, &io[0], 1, BLOCK_WRITE, 0, 0);
	assert_int_equal(io[0].ends, 0);
	start(f, &io[1], 0, BLOCK_WRITE, 0, REGION);
	start(f, &io[2], 0, BLOCK_WRITE, 0, 2 * REGION);
	allow(f, 2 * REGION);
	assert_int_equal(io[0].ends + io[1].ends, 2);
	assert_int_equal(io[2].ends, 0);
	start(f, &io[3], 1, BLOCK_WRITE, 0, 3 * REGION); /* its loop has used up its half */
	assert_int_equal(io[3].ends, 0);
	allow(f, 4 * REGION);
	assert_int_equal(io[2].ends + io[3].ends, 2);
	start(f, &io[0], 1, BLOCK_WRITE, 0, 4 * REGION); /* what is left of that */
	assert_int_equal(io[0].ends, 1);
	start(f, &io[1], 1, BLOCK_WRITE, 0, 5 * REGION);
	assert_int_equal(io[1].ends, 0);
	start(f, &io[2], 0, BLOCK_WRITE, 0, 6 * REGION);
	assert_int_equal(io[2].ends, 1);
	allow(f, 4 * REGION); /* for loop 1 alone */
	assert_int_equal(io[1].ends, 1);
	start(f, &io[2], 0, BLOCK_WRITE, 0, 6 * REGION);
	assert_int_equal(io[2].ends, 0);
	start(f, &io[3], 1, BLOCK_WRITE, 0, 7 * REGION);
	assert_int_equal(io[3].ends, 1);
	allow(f, 2 * REGION);
	assert_int_equal(io[2].ends, 1);
	throttle(f);
	start(f, &io[0], 1, BLOCK_WRITE, 0, 4 * REGION);
	assert_int_equal(io[0].ends, 0); /* begun again, there is none */
	throttle(f);
	allow(f, REGION); /* what waited before waits for this, too */
	assert_int_equal(io[0].ends, 1);
	start(f, &io[0], 1, BLOCK_WRITE, 0, 4 * REGION);
	assert_int_equal(io[0].ends, 0);
	track(f, NULL);
	assert_int_equal(io[0].ends, 1);
	regions_destroy(regions);
}

static void changes_wait_no_more_when_it_goes_on_on_another(void **state)
{
	struct fixture *f = *state;
	struct regions *regions = throttled(f);
	struct block_io io[3];

	start(f, &io[0], 0, BLOCK_WRITE, 0, 0);
	start(f, &io[1], 1, BLOCK_WRITE, 0, REGION);
	drain(f); /* which does not wait for what has not begun */
	start(f, &io[2], 0, BLOCK_WRITE, 0, 2 * REGION);
	allow(f, 2);
	assert_int_equal(io[0].ends + io[1].ends + io[2].ends, 0);
	resume(f, &f->second, false);
	assert_int_equal(io[0].ends + io[1].ends + io[2].ends, 3);
	assert_int_equal(f->second.bytes[0], 0);
	start(f, &io[0], 0, BLOCK_WRITE, 0, 0);
	assert_int_equal(io[0].ends, 1);
	track(f, NULL);
	regions_destroy(regions);
}

/* ---- questions ---- */

static int half_is_zero(struct block_device *device, uint64_t offset_bytes, struct block_extent *out_extent)
{
	out_extent->data = offset_bytes < DISK_BYTES / 2;
	out_extent->length_bytes = out_extent->data ? DISK_BYTES / 2 - offset_bytes : DISK_BYTES - offset_bytes;
	return 0;
}

static void data_is_where_the_device_behind_has_it(void **state)
{
	struct fixture *f = *state;
	static struct block_driver driver; /* closing uses it, too */
	struct block_extent extent;

	driver = *f->first.base.driver;
	driver.map = half_is_zero;
	f->first.base.driver = &driver;
	assert_int_equal(block_map(f->device, 0, &extent), 0);
	assert_true(extent.data && extent.length_bytes == DISK_BYTES / 2);
	assert_int_equal(block_map(f->device, DISK_BYTES / 2, &extent), 0);
	assert_false(extent.data);
	/* From the first call on it may be worked on: nobody is asked. */
	live_drain(f->live, &f->call);
	assert_int_equal(block_map(f->device, DISK_BYTES / 2, &extent), 0);
	assert_true(extent.data && extent.length_bytes == DISK_BYTES / 2);
	turn(f);
	assert_int_equal(f->called, 1);
	f->called = 0;
	resume(f, &f->first, false);
	assert_int_equal(block_map(f->device, DISK_BYTES / 2, &extent), 0);
	assert_false(extent.data);
	drain(f);
	resume(f, &f->second, false);
	assert_int_equal(block_map(f->device, DISK_BYTES / 2, &extent), 0);
	assert_true(extent.data);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(requests_go_to_the_device_and_their_ends_come_back),
		TEST(draining_waits_for_what_is_under_way_on_every_loop),
		TEST(what_comes_meanwhile_waits_and_goes_to_the_other_device_in_order),
		TEST(a_request_that_waits_is_checked_against_what_it_gets),
		TEST(what_wants_to_be_durable_can_be_held_alone),
		TEST(a_stop_waits_for_nothing_of_the_device),
		TEST(flushes_go_to_both_until_the_one_before_is_settled),
		TEST(what_cannot_be_settled_fails_every_flush),
		TEST(draining_waits_for_both_lanes),
		TEST(discarding_does_what_it_was_said_to_do),
		TEST(ends_may_begin_new_ones_at_any_time),
		TEST(changes_alone_wait_for_room_and_in_order),
		TEST(room_is_for_the_loops_where_changes_wait),
		TEST(changes_wait_no_more_when_it_goes_on_on_another),
		TEST(data_is_where_the_device_behind_has_it),
	};

	return cmocka_run_group_tests_name("live", tests, NULL, NULL);
}
