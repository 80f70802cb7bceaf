// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* Power cuts while an image is changed under load (storage/live.h): what was flushed must be left, wherever it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "storage/live.h"
#include "tests/unit/storage/block_io.h"
#include "tests/unit/storage/crash_load.h"
#include "tests/unit/storage/power_cut.h"
#include "tests/unit/storage/sim_io.h"

#define MIB (UINT64_C(1) << 20)
#define CHILDREN 3

static char error[BLOCK_ERROR_BYTES];

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
	struct block_device *child;
	int children;
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
	assert_int_equal(io_loop_create(NULL, &change.loop), 0);
	assert_int_equal(live_create(device, loops, 2, change.loop, &change.live), 0);
	return live_device(change.live);
}

static bool during(void)
{
	if (!change.step)
		return false;
	io_loop_turn(change.loop, false);
	if (change.pause)
		change.pause--;
	else
		(void)change.step();
	if (!change.step) {
		io_loop_destroy(change.loop);
		change.loop = NULL;
	}
	return change.step;
}

static const char *child_name(int number)
{
	static const char *const names[2][CHILDREN] = { { "c1.avhd", "c2.avhd", "c3.avhd" },
							{ "c1.avhdx", "c2.avhdx", "c3.avhdx" } };

	return names[!strcmp(live_behind(change.live)->driver->name, "vhdx")][number];
}

/* ---- checkpoints ---- */

static bool begin_checkpoint(void);

static bool end_checkpoint(void)
{
	if (!change.called)
		return false;
	assert_int_equal(live_settle_result(change.live), 0);
	change.step = ++change.children < CHILDREN ? begin_checkpoint : NULL;
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
	crash_opens(child_name(change.children));
	power_cut_now();
	/* Until then it is the guest's flushes that make the parent durable. */
	change.step = begin_settling;
	change.pause = 150;
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
	snprintf(path, sizeof(path), "%s/%s", power_cut_folder(), child_name(change.children));
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
	return front(image, device, loops, begin_checkpoint);
}

static const struct crash_image images[] = {
	{ "checkpoints of a VHD", 9200 * MIB, { "disk.vhd" }, crash_make, .front = checkpoints, .during = during,
	  .context = &(const struct block_create_options){ .format = "vhd" } },
	{ "checkpoints of a VHDX", 9200 * MIB, { "disk.vhdx" }, crash_make, .front = checkpoints, .during = during,
	  .context = &(const struct block_create_options){ .format = "vhdx", .block_bytes = 1 << 20 } },
};

static void what_was_flushed_survives_a_power_cut(void **state)
{
	const struct crash_image *image = *state;
	uint64_t states = 0;

	for (uint64_t seed = 1; seed <= 4; seed++)
		states += crash_load(image, &(const struct crash_run){ seed, .steps = 900, .combine = 2, .samples = 5 });
	print_message("%s: %llu crash states\n", image->name, (unsigned long long)states);
	assert_true(states > 100);
}

/* A failed test leaves in the middle of everything. */
static int teardown(void **state)
{
	power_cut_teardown();
	return 0;
}

int main(void)
{
	enum { IMAGES = sizeof(images) / sizeof(images[0]) };
	static struct CMUnitTest tests[IMAGES];
	static char names[IMAGES][128];

	log_init(OS_LOG_ERROR, NULL, false);
	for (int i = 0; i < IMAGES; i++) {
		snprintf(names[i], sizeof(names[i]), "%s: what_was_flushed_survives_a_power_cut", images[i].name);
		tests[i] = (struct CMUnitTest){
			.name = names[i],
			.test_func = what_was_flushed_survives_a_power_cut,
			.teardown_func = teardown,
			.initial_state = (void *)(uintptr_t)&images[i],
		};
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
