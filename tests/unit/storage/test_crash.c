// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Power cuts at any instant, for every format: short runs whose crash states are all combinations of what
 * was not flushed, and long ones with samples (crash_load.h). A run depends on its seed only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "storage/block.h"
#include "tests/unit/storage/crash_load.h"
#include "tests/unit/storage/power_cut.h"
#include "vmbus/os.h"

/* In place of io/log.c's: what faults make of the log is test_faults.c's. */
void os_log(enum os_log_level level, const char *format, ...)
{
}

#define MIB (UINT64_C(1) << 20)

/* Dynamic disks are so large that spots lie in blocks of their own, over many sectors of the BAT. */
static const struct crash_image images[] = {
	{ "raw", 8 * MIB, { "disk.raw" }, crash_make,
	  .context = &(const struct block_create_options){ .format = "raw" } },
	{ "fixed VHD", 8 * MIB, { "disk.vhd" }, crash_make,
	  .context = &(const struct block_create_options){ .format = "vhd", .fixed = true } },
	{ "dynamic VHD", 9200 * MIB, { "disk.vhd" }, crash_make, .block_bytes = 2 * MIB,
	  .context = &(const struct block_create_options){ .format = "vhd" } },
	{ "fixed VHDX", 8 * MIB, { "disk.vhdx" }, crash_make,
	  .context = &(const struct block_create_options){ .format = "vhdx", .fixed = true } },
	{ "dynamic VHDX", 9200 * MIB, { "disk.vhdx" }, crash_make, .block_bytes = MIB,
	  .context = &(const struct block_create_options){ .format = "vhdx", .block_bytes = 1 << 20 } },
	{ "differencing VHD", 9200 * MIB, { "disk.vhd", "child.vhd" }, crash_make, crash_derive,
	  .context = &(const struct block_create_options){ .format = "vhd" } },
	{ "differencing VHDX", 9200 * MIB, { "disk.vhdx", "child.vhdx" }, crash_make, crash_derive,
	  .context = &(const struct block_create_options){ .format = "vhdx", .block_bytes = 1 << 20 } },
};

static void every_combination_of_what_was_not_flushed_is_survived(void **state)
{
	const struct crash_image *image = *state;
	uint64_t states = 0;

	for (uint64_t seed = 101; seed <= 108; seed++)
		states += crash_load(image, &(const struct crash_run){ seed, .steps = 60, .combine = 7, .samples = 20 });
	print_message("%s: %llu crash states\n", image->name, (unsigned long long)states);
	assert_true(states > 400);
}

static void what_was_flushed_survives_a_power_cut_at_any_instant(void **state)
{
	const struct crash_image *image = *state;
	uint64_t states = 0;

	for (uint64_t seed = 1; seed <= 2; seed++)
		states += crash_load(image, &(const struct crash_run){ seed, .steps = 1500, .combine = 2, .samples = 5 });
	print_message("%s: %llu crash states\n", image->name, (unsigned long long)states);
	assert_true(states > 400);
}

static void what_was_flushed_survives_faults_and_power_cuts_together(void **state)
{
	const struct crash_image *image = *state;
	uint64_t states = 0;

	for (uint64_t seed = 201; seed <= 206; seed++)
		states += crash_load(image, &(const struct crash_run){ seed, .steps = 400, .combine = 2, .samples = 4,
								       .faults = true });
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
	static const struct {
		const char *name;
		CMUnitTestFunction fn;
	} claims[] = {
		{ "every_combination_of_what_was_not_flushed_is_survived",
		  every_combination_of_what_was_not_flushed_is_survived },
		{ "what_was_flushed_survives_a_power_cut_at_any_instant",
		  what_was_flushed_survives_a_power_cut_at_any_instant },
		{ "what_was_flushed_survives_faults_and_power_cuts_together",
		  what_was_flushed_survives_faults_and_power_cuts_together },
	};
	enum { CLAIMS = sizeof(claims) / sizeof(claims[0]), TESTS = CLAIMS * sizeof(images) / sizeof(images[0]) };
	static struct CMUnitTest tests[TESTS];
	static char names[TESTS][128];

	for (int i = 0; i < TESTS; i++) {
		snprintf(names[i], sizeof(names[i]), "%s: %s", images[i / CLAIMS].name, claims[i % CLAIMS].name);
		tests[i] = (struct CMUnitTest){
			.name = names[i],
			.test_func = claims[i % CLAIMS].fn,
			.teardown_func = teardown,
			.initial_state = (void *)(uintptr_t)&images[i / CLAIMS],
		};
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
