// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Chance, counters and failing allocations of the simulated world. All calls of malloc() and its
 * kin in this program, of either half, come here (the linker's --wrap).
 */
#include <stdarg.h>

#include "tests/loopback/sim.h"

struct sim_counters sim_counters;

static _Atomic int fail_in;

/* Thousands of lines, of either half; SIM_LOG=1 shows them. */
void os_log(enum os_log_level level, const char *format, ...)
{
	va_list arguments;

	if (!getenv("SIM_LOG"))
		return;
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
}

uint32_t sim_chance(struct sim_random *random, uint32_t below)
{
	random->state = random->state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(random->state >> 33) % below;
}

void sim_fail_allocation(int n)
{
	atomic_store(&fail_in, n);
}

bool sim_allocation_fails(void)
{
	/* A race of two threads costs one failure: what is below 1 never fails. */
	if (atomic_load_explicit(&fail_in, memory_order_relaxed) <= 0 ||
	    atomic_fetch_sub(&fail_in, 1) != 1)
		return false;
	sim_count(&sim_counters.failed_allocations);
	return true;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_aligned_alloc(size_t align, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_aligned_alloc(size_t align, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
	return sim_allocation_fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	return sim_allocation_fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_aligned_alloc(size_t align, size_t bytes)
{
	return sim_allocation_fails() ? NULL : __real_aligned_alloc(align, bytes);
}

void sim_print_counters(void)
{
#define PRINT(name) \
	printf("%-18s %llu\n", #name, (unsigned long long)atomic_load(&sim_counters.name));
	SIM_COUNTERS(PRINT)
#undef PRINT
}
