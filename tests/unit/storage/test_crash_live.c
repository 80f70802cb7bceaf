// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Power cuts while an image is changed under load (storage/live.h): what was flushed must be left, wherever it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "storage/live_merge.h"
#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/crash_load.h"
#include "tests/unit/storage/power_cut.h"
#include "tests/unit/storage/sim_io.h"
#include "vmbus/os.h"

#define MIB (UINT64_C(1) << 20)
#define CHILDREN 3 /* files[1] to files[3] */

static char error[BLOCK_ERROR_BYTES];

/* Of all runs of a test: that something happened is part of the claim. */
enum { MERGED, CANCELED, THROTTLED, COUNTS };
static unsigned counts[COUNTS];
static bool faults;

/* In place of io/log.c's: what faults make of the log is test_faults.c's. */
void os_log(enum os_log_level level, const char *format, ...)
{
	counts[THROTTLED] += strstr(format, "it has to wait") != NULL;
}

/* What is done to the image, one step at a time. */
static struct {
	const struct crash_image *image;
	struct live *live;
	struct io_loop *loop; /* the owner's */
	struct io_call call;
	bool called;
	struct block_io flush;
	bool (*step)(void);   /* false: it waits */
	uint32_t pause;       /* so many steps before it goes on */
	struct block_device *child, *behind;
	int children, failures;
	struct live_merge *merge;
	uint32_t cancel_after;
	bool hurries;         /* the guest writes much more than is copied meanwhile */
} change;

static void on_call(struct io_call *call)
{
	change.called = true;
}

static struct block_device *front(const struct crash_image *image, struct block_device *device,
				  struct io_loop *const *loops, bool (*first)(void))
{
	memset(&change, 0, sizeof(change));
	change.image = image;
	change.call.fn = on_call;
	change.step = first;
	change.pause = sim_pick(2) ? 100 : 0;
	change.behind = device;
	assert_int_equal(io_loop_create(NULL, &change.loop), 0);
	assert_int_equal(live_create(device, loops, 2, change.loop, &change.live), 0);
	return live_device(change.live);
}

static bool during(void)
{
	if (!change.step)
		return false;
	if (change.pause) {
		change.pause--;
		return true;
	}
	/* On another image, and the owner has much to do just now: what is not durable yet stays so for long. */
	if (change.behind != live_behind(change.live)) {
		change.behind = live_behind(change.live);
		change.pause = 150;
		return true;
	}
	io_loop_turn(change.loop, false);
	(void)change.step();
	if (!change.step) {
		io_loop_destroy(change.loop);
		change.loop = NULL;
	}
	return change.step;
}

/* ---- checkpoints, which are merged back again ---- */

static bool begin_checkpoint(void);
static bool begin_merge(void);

static bool end_checkpoint(void)
{
	if (!change.called)
		return false;
	assert_int_equal(live_settle_result(change.live), 0);
	change.step = ++change.children < CHILDREN ? begin_checkpoint : begin_merge;
	change.pause = 100;
	return true;
}

static bool begin_settling(void)
{
	change.called = false;
	live_settle(change.live, &change.call);
	change.step = end_checkpoint;
	return true;
}

static bool exchange(void)
{
	live_stop(change.live, &change.call);
	live_resume(change.live, change.child, false, &change.call);
	crash_opens(change.image->files[1 + change.children]);
	power_cut_now();
	/* Until then it is the guest's flushes that make the parent durable. */
	change.step = begin_settling;
	return true;
}

static bool make_child(void)
{
	struct block_create_options create = { .parent = live_behind(change.live) };
	struct block_open_options options = { .parent = live_behind(change.live) };
	char path[128];

	if (!change.flush.ends)
		return false;
	assert_int_equal(change.flush.result, 0);
	snprintf(path, sizeof(path), "%s/%s", power_cut_folder(), change.image->files[1 + change.children]);
	if (block_create(path, &create, error) || block_open(path, &options, &change.child, error))
		fail_msg("%s", error);
	/* More is written to the parent. */
	change.step = exchange;
	change.pause = 50;
	return true;
}

static bool begin_checkpoint(void)
{
	block_io_start(&change.flush, live_behind(change.live), change.loop, BLOCK_FLUSH, BLOCK_FLUSH_IDENTITY, 0,
		       NULL, 0);
	change.step = make_child;
	return true;
}

static struct block_device *checkpoints(const struct crash_image *image, struct block_device *device,
					struct io_loop *const *loops)
{
	crash_opens(image->files[0]);
	return front(image, device, loops, begin_checkpoint);
}

/* ---- merging ---- */

static void merged(void *context)
{
	change.called = true;
}

/* Not where it would be what fails. */
static void cut(void)
{
	if (!faults)
		power_cut_now();
}

/* The guest goes on while it is copied. */
static void goes_on(void *context)
{
	uint64_t steps = sim_pick(change.hurries ? 12 : 4);

	while (steps--)
		crash_step();
	if (sim_pick(50) == 0)
		cut();
	if (change.cancel_after && !--change.cancel_after)
		live_merge_cancel(change.merge);
}

static bool end_merge(void)
{
	const char *why;
	int result;

	if (!change.called)
		return false;
	result = live_merge_result(change.merge, &why);
	live_merge_destroy(change.merge);
	cut();
	if (result && !faults)
		assert_int_equal(result, -LIS_CANCELED);
	counts[result ? CANCELED : MERGED]++;
	/* To the end of the chain; what did not go is tried once more. */
	change.failures += result != 0;
	change.step = change.failures < (faults ? 6 : 2) ? begin_merge : NULL;
	change.pause = 100;
	change.cancel_after = 0;
	change.hurries = false;
	return true;
}

static bool begin_merge(void)
{
	const struct live_merge_config config = {
		.live = change.live, .loop = change.loop, .done = merged, .goes_on = goes_on,
	};

	if (!live_behind(change.live)->parent) {
		change.step = NULL;
		return true;
	}
	change.called = false;
	change.step = end_merge;
	assert_int_equal(live_merge_start(&config, &change.merge), 0);
	return true;
}

static struct block_device *merges(const struct crash_image *image, struct block_device *device,
				   struct io_loop *const *loops)
{
	struct block_device *live = front(image, device, loops, begin_merge);

	change.pause = faults ? 60 : 300; /* until the child has something */
	change.cancel_after = sim_pick(2) ? 1 + (uint32_t)sim_pick(40) : 0;
	change.hurries = !change.cancel_after && !faults && !counts[THROTTLED];
	return live;
}

static const struct crash_image images[] = {
	{ "merging a VHD", 9200 * MIB, { "disk.vhd", "child.vhd" }, crash_make, crash_derive, .front = merges,
	  .during = during, .context = &(const struct block_create_options){ .format = "vhd" } },
	{ "merging a VHDX", 9200 * MIB, { "disk.vhdx", "child.vhdx" }, crash_make, crash_derive, .front = merges,
	  .during = during,
	  .context = &(const struct block_create_options){ .format = "vhdx", .block_bytes = 1 << 20 } },
	{ "checkpoints of a VHD", 9200 * MIB, { "disk.vhd", "c1.avhd", "c2.avhd", "c3.avhd" }, crash_make,
	  .front = checkpoints, .during = during,
	  .context = &(const struct block_create_options){ .format = "vhd" } },
	{ "checkpoints of a VHDX", 9200 * MIB, { "disk.vhdx", "c1.avhdx", "c2.avhdx", "c3.avhdx" }, crash_make,
	  .front = checkpoints, .during = during,
	  .context = &(const struct block_create_options){ .format = "vhdx", .block_bytes = 1 << 20 } },
};

static void what_was_flushed_survives_a_power_cut(void **state)
{
	const struct crash_image *image = *state;
	uint64_t states = 0;

	memset(counts, 0, sizeof(counts));
	for (uint64_t seed = 1; seed <= 4; seed++)
		states += crash_load(image, &(const struct crash_run){ seed, .steps = 900, .combine = 2, .samples = 3 });
	print_message("%s: %llu crash states, %u merges, %u canceled, %u throttled\n", image->name,
		      (unsigned long long)states, counts[MERGED], counts[CANCELED], counts[THROTTLED]);
	assert_true(states > 100 && counts[MERGED]);
	assert_true(!image->derive || (counts[CANCELED] && counts[THROTTLED]));
}

/* The guest goes on on one or the other. */
static void what_was_flushed_survives_faults_and_power_cuts_together(void **state)
{
	const struct crash_image *image = *state;
	uint64_t states = 0;

	memset(counts, 0, sizeof(counts));
	faults = true;
	for (uint64_t seed = 201; seed <= 204; seed++)
		states += crash_load(image, &(const struct crash_run){ seed, .steps = 300, .combine = 2, .samples = 3,
								       .faults = true });
	print_message("%s: %llu crash states, %u merges, %u failures\n", image->name, (unsigned long long)states,
		      counts[MERGED], counts[CANCELED]);
	assert_true(states > 100 && counts[CANCELED]);
}

/* A failed test leaves in the middle of everything. */
static int teardown(void **state)
{
	faults = false;
	power_cut_teardown();
	return 0;
}

int main(void)
{
	enum { IMAGES = sizeof(images) / sizeof(images[0]) };
	static struct CMUnitTest tests[2 * IMAGES];
	static char names[2 * IMAGES][128];
	int count = 0;

	for (int i = 0; i < IMAGES; i++) {
		/* What a checkpoint makes of a fault is up to whoever makes it. */
		for (int with = 0; with < (images[i].derive ? 2 : 1); with++) {
			snprintf(names[count], sizeof(names[count]), "%s: %s", images[i].name,
				 with ? "what_was_flushed_survives_faults_and_power_cuts_together" :
					"what_was_flushed_survives_a_power_cut");
			tests[count] = (struct CMUnitTest){
				.name = names[count],
				.test_func = with ? what_was_flushed_survives_faults_and_power_cuts_together :
						    what_was_flushed_survives_a_power_cut,
				.teardown_func = teardown,
				.initial_state = (void *)(uintptr_t)&images[i],
			};
			count++;
		}
	}
	return _cmocka_run_group_tests("live images", tests, (size_t)count, NULL, NULL);
}
